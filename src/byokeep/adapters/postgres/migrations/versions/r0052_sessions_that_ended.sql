-- Why a token was ended, and whether a session is of somebody who has a passkey, and was opened without it: whoever judges a
-- token, the kill process among them, reads no passkeys. Frozen.

ALTER TABLE byokeep.api_token
    ADD COLUMN end_reason text NOT NULL DEFAULT '',
    ADD COLUMN unproved boolean NOT NULL DEFAULT false;
UPDATE byokeep.api_token t SET end_reason = 'passkeys_changed'
 WHERE t.kind IN ('console', 'session') AND EXISTS (
       SELECT FROM byokeep.passkey k WHERE k.subject_id = t.subject_id
          AND (t.revoked_at BETWEEN k.created_at AND k.created_at + interval '5 seconds'
               OR t.revoked_at BETWEEN k.ended_at AND k.ended_at + interval '5 seconds'));
UPDATE byokeep.api_token t SET unproved = true
 WHERE t.kind = 'session' AND t.revoked_at IS NULL
   AND EXISTS (SELECT FROM byokeep.passkey k WHERE k.subject_id = t.subject_id AND k.ended_at IS NULL);
ALTER TABLE byokeep.api_token
    ADD CONSTRAINT api_token_end_reason_ck CHECK (end_reason = '' OR revoked_at IS NOT NULL) NOT VALID,
    ADD CONSTRAINT api_token_unproved_ck CHECK (NOT unproved OR kind = 'session') NOT VALID;
ALTER TABLE byokeep.api_token VALIDATE CONSTRAINT api_token_end_reason_ck;
ALTER TABLE byokeep.api_token VALIDATE CONSTRAINT api_token_unproved_ck;
