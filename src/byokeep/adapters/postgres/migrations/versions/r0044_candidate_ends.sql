-- When a candidate that was made at its provider ends there by itself, frozen.

ALTER TABLE byokeep.credential_ref
    ADD COLUMN candidate_expires_at TIMESTAMP WITH TIME ZONE,
    ADD CONSTRAINT credential_ref_candidate_expires_at_ck CHECK (
        candidate_expires_at IS NULL OR candidate_version IS NOT NULL) NOT VALID;
ALTER TABLE byokeep.credential_ref VALIDATE CONSTRAINT credential_ref_candidate_expires_at_ck;
