-- The writes that a reconciliation explains include those of administrators' keys. Frozen.

DROP INDEX byokeep.audit_record_store_ix;
CREATE INDEX audit_record_store_ix ON byokeep.audit_record (at) WHERE event IN ('key.write', 'key.stored', 'key.admin_stored', 'tokens.stored', 'webhook_secret.stored', 'connection.started', 'connection.answered', 'platform_app.set', 'profile.sealed', 'kek.rewrapped', 'installation.created', 'service.started', 'config.changed');
