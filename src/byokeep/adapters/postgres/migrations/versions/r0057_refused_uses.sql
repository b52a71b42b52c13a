-- Leases and permits that were refused in a span, without a look at every record of it. Frozen.

CREATE INDEX audit_record_refused_ix ON byokeep.audit_record (at)
 WHERE event IN ('lease.issued', 'permit.issued') AND outcome IN ('denied', 'rejected');
