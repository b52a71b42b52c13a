-- Keyless credentials, frozen: `provider_place` of a provider's key holds the ids that it is instead of a value, and
-- `candidate_place` those of a candidate.

ALTER TABLE byokeep.credential_ref
    ADD COLUMN candidate_place TEXT DEFAULT '' NOT NULL,
    ADD CONSTRAINT credential_ref_candidate_place_ck CHECK (
        candidate_place ~ '^([a-z_]{1,32}=[A-Za-z0-9._-]{1,128}(,[a-z_]{1,32}=[A-Za-z0-9._-]{1,128}){0,3})?$'
        AND (candidate_place = '' OR candidate_version IS NOT NULL)) NOT VALID;
ALTER TABLE byokeep.credential_ref VALIDATE CONSTRAINT credential_ref_candidate_place_ck;
