-- Jobs: opened by a dispatcher for one client and one runner; ended by close, expiry or a kill.

-- name: job_open_facts
SELECT c.state AS client_state,
       (SELECT count(*) = 1 FROM byokeep.switch s
         WHERE s.scope = 'global' AND s.installation_id = :installation_id AND s.epoch >= 0) AS switch_known,
       coalesce((SELECT concat_ws(' ', s.scope, CASE WHEN s.closed THEN s.reason ELSE 'other_installation' END)
                  FROM byokeep.switch s
                WHERE s.scope = ANY (CAST(:scopes AS text[]))
                  AND (s.closed OR s.installation_id <> :installation_id)
                 ORDER BY length(s.scope) LIMIT 1), '') AS switch_engaged
  FROM byokeep.client c
 WHERE c.id = :client_id;

-- name: job_runner
SELECT s.id
  FROM byokeep.subject s
 WHERE s.kind = 'machine' AND s.state = 'active' AND s.roles = ARRAY[CAST(:role AS text)]
   AND (CAST(:runner_id AS uuid) IS NULL OR s.id = :runner_id)
   AND (s.all_clients OR EXISTS (SELECT FROM byokeep.subject_client sc
                                  WHERE sc.subject_id = s.id AND sc.client_id = :client_id))
 ORDER BY s.created_at, s.id
 LIMIT 1;

-- name: job_insert
INSERT INTO byokeep.job (id, client_id, dispatcher_id, runner_id, kind, secrets, platforms, lanes, effects,
                         state, reason, opened_at, expires_at, closed_at)
SELECT :id, :client_id, :dispatcher_id, :runner_id, :kind, CAST(:secrets AS text[]), CAST(:platforms AS text[]),
       CAST(:lanes AS text[]), CAST(:effects AS text[]), CAST(:state AS text), :reason, t.now,
       t.now + make_interval(secs => CAST(:ttl_s AS double precision)),
       CASE WHEN CAST(:state AS text) = 'open' THEN NULL ELSE t.now END
  FROM (SELECT clock_timestamp() AS now) t
RETURNING id, client_id, dispatcher_id, runner_id, kind, secrets, platforms, lanes, effects, state, opened_at,
          expires_at;

-- name: job_read
SELECT id, client_id, dispatcher_id, runner_id, kind, secrets, platforms, lanes, effects,
       CASE WHEN state = 'open' AND expires_at <= clock_timestamp() THEN 'expired' ELSE state END AS state,
       opened_at, expires_at
  FROM byokeep.job
 WHERE client_id = :client_id AND id = :id;

-- name: jobs_newest
-- :machine is null for people; a machine sees what it opened or runs. Of each kind: our own custody crowds nothing out.
SELECT newest.*
  FROM unnest(ARRAY['use', 'custody']) AS of_kind (wanted)
 CROSS JOIN LATERAL (
       SELECT id, client_id, dispatcher_id, runner_id, kind, secrets, platforms, lanes, effects,
              CASE WHEN state = 'open' AND expires_at <= clock_timestamp() THEN 'expired' ELSE state END AS state,
              opened_at, expires_at
         FROM byokeep.job
        WHERE client_id = :client_id AND kind = of_kind.wanted
          AND (CAST(:machine AS uuid) IS NULL OR CAST(:machine AS uuid) IN (dispatcher_id, runner_id))
        ORDER BY opened_at DESC, id LIMIT :limit) AS newest
 ORDER BY newest.opened_at DESC, newest.id;

-- name: job_close
UPDATE byokeep.job SET state = 'closed', reason = 'closed', closed_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :id AND state = 'open'
RETURNING id, client_id, dispatcher_id, runner_id, kind, secrets, platforms, lanes, effects, state, opened_at,
          expires_at;

-- name: job_expired
SELECT id, client_id FROM byokeep.job
 WHERE state = 'open' AND expires_at <= clock_timestamp()
 ORDER BY expires_at LIMIT 500;

-- name: job_expire
UPDATE byokeep.job SET state = 'expired', reason = 'expired', closed_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :id AND state = 'open' AND expires_at <= clock_timestamp()
RETURNING id;
