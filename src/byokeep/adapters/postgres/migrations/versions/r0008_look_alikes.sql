-- What gives a look-alike away, frozen; see tables.py and tables_social.py.

ALTER TABLE byokeep.connection
    ADD COLUMN code_points TEXT DEFAULT '' NOT NULL,
    ADD CONSTRAINT connection_code_points_ck CHECK (code_points ~ '^([0-9a-f]{4,6}(,[0-9a-f]{4,6}){0,7})?$');
ALTER TABLE byokeep.alert
    ADD COLUMN code_points TEXT DEFAULT '' NOT NULL,
    ADD CONSTRAINT alert_code_points_ck CHECK (code_points ~ '^([0-9a-f]{4,6}(,[0-9a-f]{4,6}){0,7})?$');
