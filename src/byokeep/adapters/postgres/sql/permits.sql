-- Effect permits. The facts of one decision come from one statement, run after the switch locks are held.

-- name: permit_facts
SELECT t.now, j.id AS job_id, l.runner_id, l.kind AS lease_kind, l.expires_at > t.now AS lease_unexpired,
       j.state = 'open' AND j.expires_at > t.now AND j.opened_at <= t.now + interval '5 seconds' AS job_open,
       j.sealing_at IS NOT NULL AS job_sealing,
       EXISTS (SELECT FROM byokeep.dry_run y WHERE y.client_id = j.client_id AND y.job_id = j.id) AS dry_run, j.effects, j.platforms, j.lanes,
       c.state = 'active' AS client_active,
       a.id AS account_id, a.lanes AS enabled_lanes, a.identity, a.identified_at,
       -- Every provider's key that the job declared, and the tokens of this very account; another platform's are not
       -- this act's business. A profile is looked at below.
       (SELECT coalesce(bool_and(CASE WHEN asked.name = 'profile' THEN true
                   WHEN asked.name = :platform AND (a.id IS NOT NULL AND g.client_id IS NOT NULL)
                   THEN EXISTS (SELECT FROM byokeep.credential_ref r
                                 WHERE r.client_id = j.client_id AND r.account_id = a.id AND r.purpose = 'account'
                                   AND r.environment = :environment AND r.state = 'active'
                                   AND r.verification = 'verified'
                                   AND (r.expires_at IS NULL OR r.expires_at > t.now))
                   ELSE EXISTS (SELECT FROM byokeep.credential_ref r
                                 WHERE r.client_id = j.client_id AND r.provider = asked.name AND r.purpose = 'default'
                                   AND r.environment = :environment AND r.state = 'active'
                                   AND r.verification = 'verified'
                                   AND (r.expires_at IS NULL OR r.expires_at > t.now)) END), false)
          FROM unnest(j.secrets) AS asked (name)
         WHERE (asked.name = :platform OR asked.name <> ALL (CAST(:platforms AS text[])))
           AND (asked.name <> 'profile' OR :lane = 'browser')) AS credentials_usable,
       -- In the browser lane the profile is the credential. What counts is what this job reported since it opened it:
       -- what others saw, such as our own look by API, was not in this browser.
       CASE WHEN :lane = 'browser' THEN (
           SELECT jsonb_build_object('usable', byokeep.profile_usable(o.client_id, o.profile_id),
                      'open', h.job_id IS NOT NULL,
                      'seen', (SELECT jsonb_build_object('identity', r.said ->> 'reason', 'at', r.at)
                                 FROM (SELECT r.seq, r.at, convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS said
                                         FROM byokeep.audit_record r
                                        WHERE r.chain = o.client_id AND r.object_id = a.id
                                          AND r.event = 'account.identified' AND r.at >= h.opened_at) r
                                WHERE r.said ->> 'job' = CAST(j.id AS text) ORDER BY r.seq DESC LIMIT 1))
             FROM byokeep.profile_account o
             LEFT JOIN byokeep.profile_opening h
               ON h.client_id = o.client_id AND h.profile_id = o.profile_id AND h.job_id = j.id AND h.until > t.now
              AND h.purpose = 'use'
            WHERE o.client_id = l.client_id AND o.account_id = a.id AND o.retired_at IS NULL)
       END AS profile,
       CASE WHEN g.client_id IS NOT NULL THEN jsonb_build_object(
           'state', g.state, 'drift', g.drift, 'verified_at', g.verified_at,
           'recorded', EXISTS (
               SELECT FROM byokeep.audit_record c
                WHERE c.chain = g.client_id AND c.seq = g.connected_seq AND c.object_id = g.account_id
                  AND c.event = 'platform_connected' AND c.outcome = 'ok'))
       END AS account_grant,
       EXISTS (SELECT FROM byokeep.connection n WHERE n.client_id = a.client_id AND n.account_id = a.id) AS begun,
       (SELECT to_jsonb(w) FROM byokeep.reenabling w
         WHERE w.client_id = l.client_id AND w.platform = :platform) AS way_back,
       (SELECT jsonb_build_object('state', e.state, 'same', (e.platform, e.account, e.lane, e.effect)
                   = (:platform, :account, :lane, :effect))
          FROM byokeep.scheduled_effect e
         WHERE e.client_id = l.client_id AND e.idempotency_key = :idempotency_key) AS announced,
       (SELECT count(*) = 1 FROM byokeep.switch s
         WHERE s.scope = 'global' AND s.installation_id = :installation_id AND s.epoch >= 0) AS switch_known,
       coalesce((SELECT concat_ws(' ', s.scope, CASE WHEN s.closed THEN s.reason ELSE 'other_installation' END)
                  FROM byokeep.switch s
                WHERE s.scope = ANY (CAST(:scopes AS text[]))
                  AND (s.closed OR s.installation_id <> :installation_id)
                 ORDER BY length(s.scope) LIMIT 1), '') AS switch_engaged,
       p.id AS held_by, p.state AS held_state,
       p.id IS NULL OR (p.platform, p.account, p.lane, p.effect) = (:platform, :account, :lane, :effect) AS held_same
  FROM byokeep.lease l
  JOIN byokeep.job j ON j.client_id = l.client_id AND j.id = l.job_id
  JOIN byokeep.client c ON c.id = l.client_id
 CROSS JOIN (SELECT clock_timestamp() AS now) t
  LEFT JOIN byokeep.platform_account a
    ON a.client_id = l.client_id AND a.platform = :platform AND a.account = :account
  LEFT JOIN byokeep.account_grant g ON g.client_id = a.client_id AND g.account_id = a.id
  LEFT JOIN byokeep.permit p
    ON p.client_id = l.client_id AND p.idempotency_key = :idempotency_key AND p.state <> 'failed'
 WHERE l.client_id = :client_id AND l.id = :lease_id;

-- name: permit_insert
-- Row and record in one round trip; a taken key makes neither.
WITH made AS (
INSERT INTO byokeep.permit (id, client_id, job_id, lease_id, platform, account, lane, effect, idempotency_key,
                            state, issued_at, expires_at, way, stage)
SELECT :id, :client_id, :job_id, :lease_id, :platform, :account, :lane, :effect, :idempotency_key, 'issued', t.now,
       t.now + make_interval(secs => CAST(:ttl_s AS double precision)), CAST(:way AS integer), CAST(:stage AS integer)
  FROM (SELECT clock_timestamp() AS now) t
ON CONFLICT (client_id, idempotency_key) WHERE state <> 'failed' DO NOTHING
RETURNING expires_at)
SELECT made.expires_at, record.seq
  FROM made, byokeep.audit_append(:client_id, :event, :actor, :object, :request, :outcome, :payload) AS record;

-- name: permit_holder
SELECT id, state FROM byokeep.permit
 WHERE client_id = :client_id AND idempotency_key = :idempotency_key AND state <> 'failed';

-- name: permit_read
SELECT p.id, p.state, p.job_id, p.lease_id, l.runner_id, p.expires_at, p.platform, p.way, p.stage,
       EXISTS (SELECT FROM byokeep.scheduled_effect e
                WHERE e.client_id = p.client_id AND e.idempotency_key = p.idempotency_key) AS announced
  FROM byokeep.permit p
  JOIN byokeep.lease l ON l.client_id = p.client_id AND l.id = p.lease_id
 WHERE p.client_id = :client_id AND p.id = :id
   FOR UPDATE OF p;

-- name: permit_close
-- Row and record in one round trip; a permit in another state makes neither.
WITH closed AS (
UPDATE byokeep.permit SET state = :state, closed_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :id AND state = ANY (CAST(:from_states AS text[]))
RETURNING id)
SELECT closed.id, record.seq
  FROM closed,
       LATERAL byokeep.audit_append(:client_id, :event, :actor, closed.id, :request, :outcome, :payload) AS record;

-- name: permit_announced_done
-- What was announced under a permit's key is done with it, whatever became of the announcement meanwhile.
UPDATE byokeep.scheduled_effect e SET state = 'done', changed_at = clock_timestamp()
  FROM byokeep.permit p
 WHERE p.client_id = :client_id AND p.id = :id AND e.client_id = p.client_id AND e.idempotency_key = p.idempotency_key
   AND e.state <> 'done'
RETURNING e.id;

-- name: permit_overdue
SELECT id, client_id FROM byokeep.permit
 WHERE state = 'issued' AND expires_at <= clock_timestamp()
 ORDER BY expires_at LIMIT 500;

-- name: permit_unknown
UPDATE byokeep.permit SET state = 'unknown', closed_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :id AND state = 'issued' AND expires_at <= clock_timestamp()
RETURNING id, job_id, lease_id, platform, way, stage;
