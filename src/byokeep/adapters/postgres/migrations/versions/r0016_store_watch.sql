-- When the store was last proved to record, and what a lease's holder says it did at the store, frozen; see tables.py.

ALTER TABLE byokeep.installation ADD COLUMN store_recorded_at TIMESTAMP WITH TIME ZONE;
ALTER TABLE byokeep.lease
    ADD COLUMN used_logins INTEGER,
    ADD COLUMN used_reads JSONB,
    ADD COLUMN used_at TIMESTAMP WITH TIME ZONE;
