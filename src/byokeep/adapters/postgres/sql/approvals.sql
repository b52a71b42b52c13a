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
   AND approved_by <> requested_by AND used_at IS NULL AND expires_at > clock_timestamp()
RETURNING id;

-- name: approval_used
-- Who approved something in this state, if that was used.
SELECT approved_by FROM byokeep.approval
 WHERE action = :action AND scope = :scope AND epoch = :epoch AND approved_by <> requested_by AND used_at IS NOT NULL
 LIMIT 1;
