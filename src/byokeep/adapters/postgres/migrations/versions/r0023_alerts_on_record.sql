-- When an alert last happened, and alerts held against their records, frozen; see tables.py.

ALTER TABLE byokeep.alert ADD COLUMN last_seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL;
UPDATE byokeep.alert SET last_seen_at = opened_at;

-- An open alert under the same key that says something else does not swallow this one.
DROP INDEX byokeep.alert_open_uq;
CREATE UNIQUE INDEX alert_open_uq ON byokeep.alert (dedup_key, reason, severity) WHERE closed_at IS NULL;

CREATE INDEX audit_record_alert_ix ON byokeep.audit_record (at) WHERE event IN ('alert.raised', 'alert.closed');

-- What a lease's holder told is a record, lease.use_told.
ALTER TABLE byokeep.lease DROP COLUMN used_logins, DROP COLUMN used_reads, DROP COLUMN used_at;
