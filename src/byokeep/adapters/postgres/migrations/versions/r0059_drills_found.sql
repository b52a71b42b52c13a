-- When a drill, or one of the break-glass door, last passed: few records of very many, asked for by the first page. Frozen.

CREATE INDEX audit_record_drill_ix ON byokeep.audit_record (chain, seq)
 WHERE event IN ('breakglass.drilled', 'drill.completed') AND outcome = 'ok';
