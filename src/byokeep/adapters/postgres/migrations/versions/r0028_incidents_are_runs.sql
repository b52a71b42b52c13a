-- Each incident's run, with the records of its steps, frozen. Nobody writes what is about to be copied.

LOCK TABLE byokeep.profile_incident, byokeep.audit_head IN ACCESS EXCLUSIVE MODE;

INSERT INTO byokeep.procedure_run
    (id, client_id, procedure, object_id, state, evidence, asked_by, started_by, started_at, closed_at, closed_by)
SELECT i.id, i.client_id, 'profile_incident', i.id, CASE WHEN i.closed_at IS NULL THEN 'running' ELSE 'complete' END,
       coalesce((SELECT jsonb_object_agg(said.stage, said.seq)
                   FROM (SELECT DISTINCT ON (1) coalesce(convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,stage}', 'closed')
                                AS stage, r.seq
                           FROM byokeep.audit_record r
                          WHERE r.chain = coalesce(i.client_id, (SELECT n.id FROM byokeep.installation n))
                            AND r.event IN ('vault_incident.stepped', 'vault_incident.closed') AND r.outcome = 'ok'
                            AND r.object_id = i.id
                          ORDER BY 1, r.seq) said), '{}'),
       i.opened_by, i.opened_by, i.opened_at, i.closed_at, i.closed_by
  FROM byokeep.profile_incident i;

ALTER TABLE byokeep.profile_incident
    DROP CONSTRAINT profile_incident_closed_ck,
    ALTER COLUMN opened_by DROP NOT NULL;
