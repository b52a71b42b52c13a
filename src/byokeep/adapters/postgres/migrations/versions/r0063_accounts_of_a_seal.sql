-- A generation's row says for which accounts it was sealed, as a digest; null: it was sealed before. Frozen.

ALTER TABLE byokeep.profile_generation
    ADD COLUMN accounts_hash BYTEA,
    ADD CONSTRAINT profile_generation_accounts_hash_ck CHECK (octet_length(accounts_hash) = 32) NOT VALID;
ALTER TABLE byokeep.profile_generation VALIDATE CONSTRAINT profile_generation_accounts_hash_ck;
