-- What each minute's reconciliation looks up of every client's chain; see tables.py.
CREATE INDEX audit_record_switch_ix ON byokeep.audit_record (chain, seq) WHERE event IN ('switch.closed', 'switch.opened');
