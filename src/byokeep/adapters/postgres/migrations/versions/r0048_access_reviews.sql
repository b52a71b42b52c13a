-- What a review of access reads of each chain: what lets more be reached, and up to where it was reviewed. Frozen.

CREATE INDEX audit_record_access_ix ON byokeep.audit_record (chain, seq)
 WHERE event IN ('access.reviewed', 'operator.created', 'operator.changed', 'machine.created', 'machine.changed',
                 'platform_app.set', 'key.stored', 'key.admin_stored', 'webhook_secret.stored', 'platform_connected',
                 'profile.created', 'account.lanes_set', 'job.template_set', 'breakglass.issued');
