-- An object's last record is found without reading those before it, frozen; see tables.py.

DROP INDEX byokeep.audit_record_object_ix;
CREATE INDEX audit_record_object_ix ON byokeep.audit_record (chain, object_id, seq);

-- The migration states the rows that are there when its functions are laid (objects/rows.sql).
SELECT pg_catalog.set_config('byokeep.state_rows', 'on', true);
