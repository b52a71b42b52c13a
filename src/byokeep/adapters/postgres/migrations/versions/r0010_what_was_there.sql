-- What a person needs to connect an account otherwise, frozen; see tables_social.py.

ALTER TABLE byokeep.connection
    ADD COLUMN held_as TEXT DEFAULT '' NOT NULL,
    ADD COLUMN offered TEXT[] DEFAULT '{}' NOT NULL,
    ADD CONSTRAINT connection_held_as_ck CHECK (held_as ~ '^[A-Za-z0-9_.-]{0,64}$'),
    ADD CONSTRAINT connection_offered_ck CHECK (cardinality(offered) <= 40 AND array_to_string(offered, '') ~ '^[ -~]*$');
