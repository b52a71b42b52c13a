-- A person's record of a hold is found as those of what the row says are, frozen; see tables.py.

DROP INDEX byokeep.audit_record_subject_ix;
CREATE INDEX audit_record_subject_ix ON byokeep.audit_record (object_id, seq)
 WHERE outcome = 'ok'
   AND event IN ('operator.created', 'operator.changed', 'machine.created', 'machine.changed', 'token.issued',
                 'token.revoked');
