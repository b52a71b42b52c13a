-- The interval that was chosen for a key holds for its later values, too. Frozen.

ALTER TABLE byokeep.credential_ref
    ADD COLUMN rotation_days SMALLINT,
    ADD CONSTRAINT credential_ref_rotation_days_ck CHECK (rotation_days BETWEEN 1 AND 366) NOT VALID;
ALTER TABLE byokeep.credential_ref VALIDATE CONSTRAINT credential_ref_rotation_days_ck;
