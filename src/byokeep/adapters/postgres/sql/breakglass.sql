-- Break glass: a grant is a run of a procedure; what was asked for and given is read from its records.

-- name: glass_grants
-- `a.` stands before an accessor on record, whatever letter it begins with. Times are the database's: a host whose clock was set back makes no grant longer.
SELECT p.*, coalesce(asked.said ->> 'ticket', '') AS ticket, coalesce(asked.said ->> 'digest', '') AS digest,
       coalesce(substr(given.said ->> 'accessor', 3), '') AS accessor,
       coalesce(substr(given.said ->> 'wrap_accessor', 3), '') AS wrap_accessor,
       coalesce(given.said ->> 'wrap_mark', '') AS wrap_mark, a.id AS approval_id, a.scope AS approval_scope,
       a.approved_by, a.expires_at AS lapses_at, a.used_at AS approval_used_at, coalesce(a.expires_at > clock_timestamp(), false) AS approval_in_time,
       coalesce(s.state = 'active' AND 'approver' = ANY (s.roles)
                AND (s.held_until IS NULL OR s.held_until <= clock_timestamp())
                AND (s.all_clients OR EXISTS (SELECT FROM byokeep.subject_client sc
                                               WHERE sc.subject_id = s.id AND sc.client_id = p.client_id)), false) AS approver_able,
       h.state = 'active' AND 'operator' = ANY (h.roles) AND (h.held_until IS NULL OR h.held_until <= clock_timestamp())
           AND (h.all_clients OR EXISTS (SELECT FROM byokeep.subject_client hc
                                          WHERE hc.subject_id = h.id AND hc.client_id = p.client_id)) AS holder_able,
       begun.at AS begun_at, given.at AS issued_at,
       given.at + make_interval(secs => CAST(p.facts ->> 'life_s' AS integer)) AS expires_at,
       CAST(p.facts ->> 'ended_at' AS timestamptz) AS ended_at,
       EXISTS (SELECT FROM byokeep.audit_record r
                WHERE r.chain = p.client_id AND r.object_id = p.id AND r.event = 'breakglass.reviewed' AND r.outcome = 'ok'
                  AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,cause}' = 'log_not_whole') AS gaps_accepted,
       EXISTS (SELECT FROM byokeep.audit_record r
                WHERE r.chain = p.client_id AND r.object_id = p.id AND r.event = 'breakglass.misused') AS misused, clock_timestamp() AS looked_at
  FROM byokeep.procedure_run p
  LEFT JOIN byokeep.approval a ON a.action = 'break_glass' AND a.id = CAST(p.facts ->> 'approval' AS uuid)
  LEFT JOIN byokeep.subject s ON s.id = a.approved_by
  JOIN byokeep.subject h ON h.id = p.started_by
  LEFT JOIN LATERAL (
      SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS said FROM byokeep.audit_record r
       WHERE r.chain = p.client_id AND r.object_id = p.id AND r.event = 'breakglass.requested' AND r.outcome = 'ok'
       ORDER BY r.seq LIMIT 1) asked ON true
  LEFT JOIN LATERAL (
      SELECT r.at FROM byokeep.audit_record r
       WHERE r.chain = p.client_id AND r.object_id = p.id AND r.event = 'breakglass.issued' AND r.outcome = 'intended'
       ORDER BY r.seq LIMIT 1) begun ON true
  LEFT JOIN LATERAL (
      SELECT r.at, convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS said FROM byokeep.audit_record r
       WHERE r.chain = p.client_id AND r.object_id = p.id AND r.event = 'breakglass.issued' AND r.outcome = 'ok'
       ORDER BY r.seq LIMIT 1) given ON true
 WHERE p.procedure LIKE 'break\_glass%' AND (CAST(:id AS uuid) IS NULL OR p.id = :id)
   AND (CAST(:ids AS uuid[]) IS NULL OR p.client_id = ANY (CAST(:ids AS uuid[]))) AND (NOT :only_open OR p.closed_at IS NULL)
 ORDER BY p.closed_at DESC NULLS FIRST, p.started_at DESC LIMIT :limit;

-- name: glass_uses
-- What was done with a grant, each request of the store once.
SELECT r.at, r.event, r.outcome, coalesce(said.fields ->> 'path', '') AS path, said.fields ->> 'store_request' AS store_request,
       coalesce(CAST(said.fields ->> 'count' AS integer), 1) AS count
  FROM byokeep.audit_record r
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS fields) said
 WHERE r.chain = :client_id AND r.object_id = :id AND said.fields ? 'store_request'
   AND r.event IN ('breakglass.unwrapped', 'breakglass.misused', 'breakglass.used')
 ORDER BY r.seq;

-- name: glass_rotate_key
-- How many references name a place that was read; each is due now.
SELECT byokeep.rotation_due_now(:client_id, :secret_ref) AS due;

-- name: glass_renew_account
-- Only a live grant is renewed; the old access token ends with that.
UPDATE byokeep.account_grant SET due_at = clock_timestamp()
 WHERE client_id = :client_id AND account_id = :account_id AND state = 'live' AND due_at > clock_timestamp() AND tries = 0
RETURNING access_version;

-- name: glass_not_renewed
-- Whether an account's grant is in use and is not renewed at once: it has no time for that, or a renewal fails already.
SELECT 1 AS left FROM byokeep.account_grant
 WHERE client_id = :client_id AND account_id = :account_id AND state = 'live' AND (due_at IS NULL OR tries > 0);

-- name: glass_issued_between
-- Grants as the reconciliation knows them: enough to sign their claims again.
SELECT r.object_id AS id, r.chain AS client_id, said.fields ->> 'scope' AS scope, r.at AS issued_at,
       CAST(said.fields ->> 'life_s' AS integer) AS life_s, CAST(said.fields ->> 'jwt_iat' AS bigint) AS jwt_iat,
       CAST(said.fields ->> 'jwt_exp' AS bigint) AS jwt_exp, coalesce(substr(done.accessor, 3), '') AS accessor
  FROM byokeep.audit_record r
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS fields) said
  LEFT JOIN LATERAL (
      SELECT convert_from(o.payload, 'UTF8')::jsonb #>> '{fields,accessor}' AS accessor FROM byokeep.audit_record o
       WHERE o.chain = r.chain AND o.object_id = r.object_id AND o.event = r.event AND o.outcome = 'ok'
         AND o.writer = r.writer ORDER BY o.seq LIMIT 1) done ON true
 WHERE r.event = 'breakglass.issued' AND r.outcome = 'intended' AND r.writer = 'byokeep_broker'
   AND r.at >= CAST(:first AS timestamptz) - interval '70 minutes' AND r.at <= :last;

-- name: glass_last_drill
-- As sql/due.sql says it is due: not one from the future.
SELECT max(r.at) AS at,
       max(r.at) FILTER (WHERE convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,component}' = 'host') AS on_host_at
  FROM byokeep.audit_record r
 WHERE r.event = 'breakglass.drilled' AND r.outcome = 'ok' AND r.at < now() + interval '1 minute';

-- name: glass_switches
SELECT (SELECT count(*) = 1 FROM byokeep.switch s
         WHERE s.scope = 'global' AND s.installation_id = :installation_id AND s.epoch >= 0) AS switch_known,
       coalesce((SELECT concat_ws(' ', s.scope, CASE WHEN s.closed THEN s.reason ELSE 'other_installation' END)
                  FROM byokeep.switch s
                WHERE s.scope = ANY (CAST(:scopes AS text[]))
                  AND (s.closed OR s.installation_id <> :installation_id)
                 ORDER BY length(s.scope) LIMIT 1), '') AS switch_engaged;

-- name: glass_told_today
SELECT 1 AS told FROM byokeep.alert WHERE dedup_key = :key AND closed_at IS NULL AND last_seen_at > clock_timestamp() - interval '1 day';
