-- From which revision on a release's code runs on this schema (docs/adr/0079). Frozen.

ALTER TABLE byokeep.schema_objects ADD COLUMN runs_from TEXT;
ALTER TABLE byokeep.schema_objects
    ADD CONSTRAINT schema_objects_runs_from_ck CHECK (runs_from ~ '^[0-9]{4}$') NOT VALID;
ALTER TABLE byokeep.schema_objects VALIDATE CONSTRAINT schema_objects_runs_from_ck;
