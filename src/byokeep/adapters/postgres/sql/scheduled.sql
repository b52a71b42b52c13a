-- What is to be done later, as a dispatcher announced it. A row changes its state by compare-and-set on the state.

-- name: scheduled_insert
INSERT INTO byokeep.scheduled_effect AS s (id, client_id, platform, account, lane, effect, idempotency_key, due_at, state,
                                      reason, created_at, created_by, changed_at)
SELECT :id, :client_id, :platform, :account, :lane, :effect, :idempotency_key, :due_at, 'scheduled', '', t.now,
       :created_by, t.now
  FROM (SELECT clock_timestamp() AS now) t
ON CONFLICT (client_id, idempotency_key) DO NOTHING
RETURNING s.id, s.client_id, s.platform, s.account, s.lane, s.effect, s.due_at, s.state, s.reason, s.created_at,
          s.created_by, s.changed_at,
          (SELECT a.id FROM byokeep.platform_account a
            WHERE a.client_id = s.client_id AND a.platform = s.platform AND a.account = s.account) AS account_id;

-- name: scheduled_by_key
SELECT s.id, s.client_id, s.platform, s.account, s.lane, s.effect, s.due_at, s.state, s.reason, s.created_at,
       s.created_by, s.changed_at,
       (SELECT a.id FROM byokeep.platform_account a
         WHERE a.client_id = s.client_id AND a.platform = s.platform AND a.account = s.account) AS account_id
  FROM byokeep.scheduled_effect s
 WHERE client_id = :client_id AND idempotency_key = :idempotency_key;

-- name: scheduled_facts
SELECT c.state = 'active' AS client_active,
       CAST(:due_at AS timestamptz) > t.now AND CAST(:due_at AS timestamptz) < t.now + interval '400 days' AS in_time,
       EXISTS (SELECT FROM byokeep.platform_account a
                WHERE a.client_id = c.id AND a.platform = :platform AND a.account = :account) AS account_known
  FROM byokeep.client c
 CROSS JOIN (SELECT clock_timestamp() AS now) t
 WHERE c.id = :client_id;

-- name: scheduled_list
-- What is still to come or asks for somebody, the oldest first; then the newest of what is over.
SELECT s.id, s.client_id, s.platform, s.account, s.lane, s.effect, s.due_at, s.state, s.reason, s.created_at,
       s.created_by, s.changed_at,
       (SELECT a.id FROM byokeep.platform_account a
         WHERE a.client_id = s.client_id AND a.platform = s.platform AND a.account = s.account) AS account_id
  FROM byokeep.scheduled_effect s
 WHERE client_id = :client_id AND (CAST(:machine AS uuid) IS NULL OR created_by = CAST(:machine AS uuid))
 ORDER BY state IN ('done', 'cancelled'), CASE WHEN state IN ('done', 'cancelled') THEN NULL ELSE due_at END,
          due_at DESC, id
 LIMIT :limit;

-- name: scheduled_hold
SELECT platform, account, idempotency_key, state
  FROM byokeep.scheduled_effect
 WHERE client_id = :client_id AND id = :id
   FOR UPDATE;

-- name: scheduled_move
UPDATE byokeep.scheduled_effect AS s
   SET state = :state, reason = :reason, due_at = coalesce(CAST(:due_at AS timestamptz), s.due_at),
       changed_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :id AND state = :seen
RETURNING s.id, s.client_id, s.platform, s.account, s.lane, s.effect, s.due_at, s.state, s.reason, s.created_at,
          s.created_by, s.changed_at,
          (SELECT a.id FROM byokeep.platform_account a
            WHERE a.client_id = s.client_id AND a.platform = s.platform AND a.account = s.account) AS account_id;

-- name: scheduled_to_move
-- Where the state is not what the switches, the client, the platform and the clock say it must be. Shut is what is
-- not known to be open.
SELECT s.id, s.client_id, s.platform, s.idempotency_key, s.state, s.due_at <= t.now AS passed, d.shut
  FROM byokeep.scheduled_effect s
  JOIN byokeep.client c ON c.id = s.client_id
 CROSS JOIN (SELECT clock_timestamp() AS now) t
 CROSS JOIN LATERAL (SELECT
       c.state <> 'active'
       OR NOT EXISTS (SELECT FROM byokeep.switch g
                       WHERE g.scope = 'global' AND g.installation_id = :installation_id AND g.epoch >= 0)
       OR EXISTS (SELECT FROM byokeep.switch k
                   WHERE (k.closed OR k.installation_id <> :installation_id)
                     AND k.scope IN ('global', concat_ws(':', 'lane', s.lane),
                                     concat_ws(':', 'client', s.client_id),
                                     concat_ws(':', 'client', s.client_id, 'platform', s.platform),
                                     concat_ws(':', 'client', s.client_id, 'lane', s.lane)))
       OR EXISTS (SELECT FROM byokeep.reenabling w
                   WHERE w.client_id = s.client_id AND w.platform = s.platform
                     AND w.stage NOT IN ('canary', 'open')) AS shut) d
 WHERE s.state IN ('scheduled', 'held')
   AND (s.state = 'held' AND (s.due_at <= t.now OR NOT d.shut) OR s.state = 'scheduled' AND d.shut)
 ORDER BY s.due_at
 LIMIT 500;
