-- What one person asks for and another approves: once, in time, and bound to what was asked.

-- name: approval_ask
INSERT INTO byokeep.approval (id, action, scope, epoch, reason, requested_by, requested_at, expires_at, asked)
VALUES (:id, :action, :scope, :epoch, :reason, :requested_by, statement_timestamp(),
        statement_timestamp() + make_interval(secs => CAST(:life_s AS bigint)), :asked)
RETURNING id, action, scope, epoch, reason, requested_by, expires_at, asked, used_at, approved_at, NULL AS used_by, true AS in_time;

-- name: approval_lock
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws('/', 'approval', CAST(:action AS text), CAST(:scope AS text)), 0));

-- name: approval_get
SELECT id, action, scope, epoch, reason, requested_by, expires_at, asked, used_at,
       approved_at, (SELECT s.name FROM byokeep.subject s WHERE s.id = approved_by) AS used_by, expires_at > clock_timestamp() AS in_time
  FROM byokeep.approval WHERE id = :id AND action = ANY (CAST(:actions AS text[]));

-- name: approvals_waiting
SELECT id, action, scope, epoch, reason, requested_by, expires_at, asked, used_at, approved_at, NULL AS used_by, true AS in_time
  FROM byokeep.approval
 WHERE action = ANY (CAST(:actions AS text[])) AND approved_at IS NULL AND used_at IS NULL AND expires_at > clock_timestamp()
   AND (CAST(:scope AS text) IS NULL OR scope = :scope)
 ORDER BY requested_at LIMIT :limit;

-- name: approvals_number
-- How many requests one person may approve now: those of a switch are for the state that it is in, those of a run for the
-- step at which it stands.
SELECT count(*) AS number
  FROM byokeep.approval a
  LEFT JOIN byokeep.switch s ON a.action = 'open_switch' AND s.scope = a.scope AND s.epoch = a.epoch AND s.closed
  LEFT JOIN byokeep.procedure_run p ON p.closed_at IS NULL AND p.id =
       CASE WHEN a.action IN ('procedure_step', 'break_glass') THEN CAST(split_part(a.scope, '/', 1) AS uuid) END
 WHERE a.action = ANY (CAST(:actions AS text[])) AND a.approved_at IS NULL AND a.used_at IS NULL
   AND a.expires_at > clock_timestamp() AND a.requested_by <> :by
   AND CASE a.action WHEN 'open_switch' THEN s.scope IS NOT NULL WHEN 'break_glass' THEN p.id IS NOT NULL
                     WHEN 'procedure_step' THEN p.state = 'running' AND p.revision = a.epoch AND p.started_by <> :by
                          AND p.procedure || '/' || split_part(a.scope, '/', 2) = ANY (CAST(:steps AS text[]))
                     ELSE true END
   AND (CAST(:ids AS uuid[]) IS NULL OR coalesce(s.client_id, p.client_id) = ANY (CAST(:ids AS uuid[]))
        OR p.id IS NULL AND s.client_id IS NULL);

-- name: approval_asked
SELECT byokeep.approval_asked(:id) AS asked;

-- name: approval_use
UPDATE byokeep.approval SET approved_by = :approved_by, approved_at = clock_timestamp(), used_at = clock_timestamp()
 WHERE id = :id AND used_at IS NULL AND requested_by <> :approved_by AND expires_at > clock_timestamp()
RETURNING id;

-- name: approval_give
-- Approved, and used by who asked.
UPDATE byokeep.approval SET approved_by = :approved_by, approved_at = clock_timestamp()
 WHERE id = :id AND approved_at IS NULL AND requested_by <> :approved_by AND expires_at > clock_timestamp()
RETURNING id;

-- name: approval_collect
UPDATE byokeep.approval SET used_at = clock_timestamp()
 WHERE action = :action AND scope = :scope AND epoch = :epoch AND requested_by = :requested_by
   AND approved_by <> requested_by AND used_at IS NULL AND expires_at > clock_timestamp() AND byokeep.approval_given(id)
RETURNING id;

-- name: approval_used
-- Who approved something in this state, if that was used.
SELECT approved_by FROM byokeep.approval
 WHERE action = :action AND scope = :scope AND epoch = :epoch AND approved_by <> requested_by AND used_at IS NOT NULL
   AND byokeep.approval_given(id)
 LIMIT 1;
