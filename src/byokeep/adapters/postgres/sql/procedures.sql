-- Runs of procedures, moved on by compare-and-set.

-- name: procedure_start
INSERT INTO byokeep.procedure_run
    (id, client_id, procedure, object_id, facts, evidence, asked_by, started_by, due_at)
VALUES (:id, CAST(:client_id AS uuid), :procedure, :object_id, CAST(:facts AS jsonb), CAST(:evidence AS jsonb), :by, :by,
        CASE WHEN CAST(:wait_s AS double precision) > 0 THEN now() + make_interval(secs => :wait_s) END)
RETURNING *;

-- name: procedure_get
SELECT * FROM byokeep.procedure_run WHERE id = :id;

-- name: procedure_hold
-- Held until the transaction ends, if nobody has moved it.
SELECT id FROM byokeep.procedure_run WHERE id = :id AND revision = :revision FOR UPDATE;

-- name: procedure_asked
-- The run that was begun for the same and has not ended or stopped.
SELECT * FROM byokeep.procedure_run
 WHERE procedure = :procedure AND object_id = :object_id AND facts = CAST(:facts AS jsonb) AND state = 'running'
 ORDER BY started_at LIMIT 1;

-- name: procedures_list
SELECT *, count(*) OVER () AS total FROM byokeep.procedure_run
 WHERE (CAST(:ids AS uuid[]) IS NULL OR client_id = ANY (CAST(:ids AS uuid[])))
   AND procedure = ANY (CAST(:names AS text[])) AND starts_with(state, :state)
   AND (NOT CAST(:is_open AS boolean) OR closed_at IS NULL)
 ORDER BY closed_at DESC NULLS FIRST, started_at DESC LIMIT :limit;

-- name: procedure_move
UPDATE byokeep.procedure_run
   SET revision = revision + 1, evidence = CAST(:evidence AS jsonb), facts = CAST(:facts AS jsonb), state = :state,
       reason = :reason, asked_by = :asked_by,
       due_at = CASE WHEN CAST(:wait_s AS double precision) > 0 THEN now() + make_interval(secs => :wait_s)
                     WHEN CAST(:wait_s AS double precision) IS NULL THEN due_at END,
       closed_at = CASE WHEN CAST(:over AS boolean) THEN now() END,
       closed_by = CASE WHEN CAST(:over AS boolean) THEN CAST(:by AS uuid) END
 WHERE id = :id AND revision = :revision
RETURNING *;

-- name: procedures_due
SELECT * FROM byokeep.procedure_run
 WHERE procedure = ANY (CAST(:names AS text[])) AND (state = 'running' OR state = 'undoing' AND reason = '') AND (due_at IS NULL OR due_at <= now()) AND started_at < now() - interval '1 minute'
   AND (CAST(:after AS uuid) IS NULL OR (started_at, id) > (SELECT p.started_at, p.id FROM byokeep.procedure_run p WHERE p.id = :after))
 ORDER BY started_at, id LIMIT :limit;

-- name: procedure_approvals
-- The broker's records of second persons, by step.
SELECT r.seq, convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,stage}' AS stage
  FROM byokeep.audit_record r
 WHERE r.chain = :chain AND r.event = 'procedure.approved' AND r.outcome = 'ok' AND r.writer = 'byokeep_broker'
   AND r.object_id = :object_id AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,run}' = :run
 ORDER BY r.seq;

-- name: internal_last
-- The rotation of the platform's own secrets: the run under way or stopped, and when one was complete.
SELECT (SELECT p.id FROM byokeep.procedure_run p
         WHERE p.procedure = 'rotate_internal' AND p.state IN ('running', 'failed') ORDER BY p.started_at LIMIT 1) AS running,
       coalesce((SELECT max(p.closed_at) FROM byokeep.procedure_run p
                  WHERE p.procedure = 'rotate_internal' AND p.state = 'complete'), i.created_at) AS rotated_at
  FROM byokeep.installation i;
