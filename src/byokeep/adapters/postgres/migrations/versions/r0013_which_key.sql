-- What tells a key from another that is put in its place, frozen; see tables_profiles.py.

ALTER TABLE byokeep.kek_version
    ADD COLUMN identity TEXT DEFAULT '' NOT NULL,
    ADD CONSTRAINT kek_version_identity_ck CHECK (identity ~ '^[A-Za-z0-9:/_.-]{0,200}$');
