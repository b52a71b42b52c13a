-- What a machine's token was renewed to: who renews it once more holds a copy. The function takes the token that was shown.

ALTER TABLE byokeep.api_token ADD COLUMN renewed_to uuid;
DROP FUNCTION IF EXISTS byokeep.token_issue(
    uuid, uuid, bytea, text, bigint, uuid, bigint, text, uuid, uuid, bytea);
