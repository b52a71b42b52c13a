-- What the transactions of this room need for themselves.

-- name: audit_append
-- A record without a client stands in the platform's chain, which is named by the installation.
SELECT place.chain, entry.seq, encode(entry.hash, 'hex') AS hash_hex
  FROM (SELECT coalesce(CAST(:chain AS uuid), (SELECT id FROM byokeep.installation)) AS chain) AS place,
       LATERAL byokeep.audit_append(
           place.chain, :event, CAST(:actor AS uuid), CAST(:object AS uuid), CAST(:request AS uuid), :outcome,
           CAST(:payload AS bytea)
       ) AS entry

-- name: clock_now
SELECT clock_timestamp() AS now

-- name: open_scope
-- Whose rows a transaction sees, until it ends; walls.sql reads both.
SELECT set_config('byokeep.client_id', :client_id, true), set_config('byokeep.scope', :scope, true)

-- name: open_reading
-- The same for one question, which may not write. Not in a block: both end with the trip.
SELECT set_config('byokeep.client_id', :client_id, true), set_config('byokeep.scope', :scope, true),
       set_config('transaction_read_only', 'on', true)

-- name: end_blockers
SELECT byokeep.end_blockers(CAST(:waiting AS integer)) AS ended

-- name: server_release
SELECT current_setting('server_version_num')::int AS number;

-- name: roles_bounded
-- Roles of the services that the server itself would let hold a lock without end, and whether the owner may end a
-- session: both are made by provision.sql.
SELECT ARRAY(SELECT r.rolname::text FROM pg_roles r
              WHERE byokeep.role_of(r.rolname) IN ('byokeep_web', 'byokeep_broker', 'byokeep_killswitch', 'byokeep_worker', 'byokeep_auditor')
                AND (SELECT count(*) FROM unnest(r.rolconfig) AS one
                      WHERE one ~ '^(idle_in_transaction_session_timeout|lock_timeout)=[1-9]') < 2
              ORDER BY r.rolname) AS unbounded,
       pg_has_role('byokeep_owner', 'pg_signal_backend', 'USAGE') AS ends_sessions

-- name: logins_undropped
-- Logins of our processes that were ended and could not be dropped.
SELECT rolname::text AS name FROM pg_roles
 WHERE NOT rolcanlogin AND rolname ~ '^byokeep_(owner|web|broker|killswitch|worker)_[0-9a-f]{12}$'
 ORDER BY rolname

-- name: task_deferred
-- Into the queue with this transaction; a trigger wakes the worker at its commit. One of this key that waits stays alone.
-- Of those with one lock one is worked on at a time, and none of now waits behind one that is for later.
INSERT INTO procrastinate.procrastinate_jobs (queue_name, task_name, queueing_lock, lock, priority, args, scheduled_at)
VALUES ('default', :task, :key, CAST(:lock AS text),
        CASE WHEN CAST(:lock AS text) IS NOT NULL AND CAST(:at AS timestamptz) IS NULL THEN 1 ELSE 0 END,
        CAST(:ids AS jsonb), CAST(:at AS timestamptz))
ON CONFLICT DO NOTHING
RETURNING id

-- name: rounds_late
-- Rounds of the workers that the queue took none of for a while, or ever. One that a clock which ran ahead dated is none.
SELECT r.round, count(d.defer_timestamp) > 0 AS begun
  FROM unnest(CAST(:rounds AS text[])) AS r (round)
  LEFT JOIN procrastinate.procrastinate_periodic_defers d
    ON d.task_name = r.round AND d.defer_timestamp < extract(epoch FROM clock_timestamp()) + :late_s
 WHERE r.round <> 'profile_care' OR EXISTS (SELECT FROM byokeep.profile p WHERE p.state NOT IN ('retired', 'shredded'))
 GROUP BY r.round
HAVING extract(epoch FROM clock_timestamp()) - coalesce(max(d.defer_timestamp), 0) > :late_s
 ORDER BY r.round

-- name: asked_on_record
-- The record of what a person asked a worker for, if that person is active, has the client and holds a role for it; or
-- the worker's own, of what the clock began.
SELECT r.seq FROM byokeep.audit_record r
  LEFT JOIN byokeep.subject s ON s.id = r.actor_id AND s.state = 'active' AND s.roles && CAST(:roles AS text[])
 WHERE r.chain = :chain AND r.object_id = :object_id AND r.event = :event AND r.outcome = :outcome
   AND r.actor_id = :by AND convert_from(r.payload, 'UTF8')::jsonb -> 'fields' @> CAST(:said AS jsonb)
   AND (CAST(:clock AS boolean) AND r.writer = 'byokeep_worker'
        OR r.writer = 'byokeep_web' AND (s.all_clients OR EXISTS (
            SELECT FROM byokeep.subject_client c WHERE c.subject_id = s.id AND c.client_id = :chain)))
 LIMIT 1
