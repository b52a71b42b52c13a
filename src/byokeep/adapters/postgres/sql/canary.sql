-- Requests to let a platform back in stages: asked for by one person, approved by another, for one state of it.

-- name: canary_requests_live
-- What somebody may approve now: unused, in time, and for the state that the platform is in.
SELECT a.id, a.action, a.scope, a.epoch, a.reason, a.requested_by, a.expires_at, a.asked, a.used_at,
       a.approved_at, NULL AS used_by, true AS in_time
  FROM byokeep.approval a
  JOIN byokeep.reenabling w
    ON a.scope = concat_ws(':', 'client', w.client_id, 'platform', w.platform) AND w.revision = a.epoch
 WHERE a.action = 'start_canary' AND a.used_at IS NULL AND a.expires_at > clock_timestamp()
   AND w.client_id = :client_id
 ORDER BY a.requested_at;
