-- The interval that is chosen with a new value holds from when that value serves. Frozen.

ALTER TABLE byokeep.credential_ref
    ADD COLUMN candidate_days SMALLINT,
    ADD CONSTRAINT credential_ref_candidate_days_ck CHECK (candidate_days BETWEEN 1 AND 366) NOT VALID;
ALTER TABLE byokeep.credential_ref VALIDATE CONSTRAINT credential_ref_candidate_days_ck;
