-- Requests to let a platform back in stages: asked for by one person, approved by another, for one state of it.

-- name: canary_request
INSERT INTO byokeep.approval (id, action, scope, epoch, reason, requested_by, requested_at, expires_at)
VALUES (:id, 'start_canary', :scope, :epoch, :reason, :requested_by, statement_timestamp(),
        statement_timestamp() + interval '15 minutes')
RETURNING id, scope, epoch, reason, requested_by, expires_at;

-- name: canary_requests_live
-- What somebody may approve now: unused, in time, and for the state that the platform is in.
SELECT a.id, a.scope, a.epoch, a.reason, a.requested_by, a.expires_at
  FROM byokeep.approval a
  JOIN byokeep.reenabling w
    ON a.scope = concat_ws(':', 'client', w.client_id, 'platform', w.platform) AND w.revision = a.epoch
 WHERE a.action = 'start_canary' AND a.used_at IS NULL AND a.expires_at > clock_timestamp()
   AND w.client_id = :client_id AND (CAST(:platform AS text) IS NULL OR w.platform = :platform)
 ORDER BY a.requested_at;

-- name: canary_approval
SELECT id, scope, epoch, reason, requested_by, expires_at, used_at,
       (SELECT s.name FROM byokeep.subject s WHERE s.id = approved_by) AS used_by, expires_at > clock_timestamp() AS unexpired
  FROM byokeep.approval WHERE id = :id AND action = 'start_canary';

-- name: canary_use_approval
UPDATE byokeep.approval SET approved_by = :approved_by, approved_at = clock_timestamp(), used_at = clock_timestamp()
 WHERE id = :id AND action = 'start_canary' AND used_at IS NULL AND requested_by <> :approved_by
   AND expires_at > clock_timestamp()
RETURNING id;
