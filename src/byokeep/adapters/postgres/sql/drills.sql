-- Recovery drills: what is chosen and compared in what was restored, and what production has on record of drills.

-- name: drill_clients
-- Tenants that something can be verified of: at work, nothing of theirs stopped, and with a key that serves.
SELECT c.id FROM byokeep.client c
 WHERE c.state = 'active'
   AND NOT EXISTS (SELECT FROM byokeep.switch s WHERE s.closed AND (s.client_id = c.id))
   AND EXISTS (SELECT FROM byokeep.credential_ref r
                WHERE r.client_id = c.id AND r.kind = 'provider_api_key' AND r.state = 'active'
                  AND r.verification = 'verified' AND r.version > 0 AND r.provider_place = '')
 ORDER BY c.id;

-- name: drill_keys
SELECT provider, version FROM byokeep.credential_ref
 WHERE client_id = :client_id AND kind = 'provider_api_key' AND state = 'active' AND verification = 'verified'
   AND version > 0 AND provider_place = ''
 ORDER BY provider;

-- name: drill_grants
SELECT * FROM byokeep.account_grant WHERE client_id = :client_id AND state = 'live' ORDER BY account_id;

-- name: drill_accounts
SELECT platform, account FROM byokeep.platform_account WHERE client_id = :client_id ORDER BY platform, account LIMIT 1;

-- name: drill_people
-- Two people of the restored database who may open what is closed: one asks, one approves.
SELECT min(CAST(o.id AS text)) FILTER (WHERE 'operator' = ANY (o.roles)) AS operator,
       min(CAST(o.id AS text)) FILTER (WHERE 'approver' = ANY (o.roles)) AS approver
  FROM byokeep.subject o
 WHERE o.kind = 'operator' AND o.state = 'active' AND o.all_clients AND (o.held_until IS NULL OR o.held_until < now());

-- name: drill_newest
-- When the newest record was written; of the records at these heads, where any are named.
SELECT max(r.at) AS at FROM byokeep.audit_record r
 WHERE CAST(:chains AS uuid[]) IS NULL
    OR (r.chain, r.seq) IN (SELECT h.chain, h.seq FROM unnest(CAST(:chains AS uuid[]), CAST(:seqs AS bigint[])) h (chain, seq));

-- name: drill_passed
-- When a drill last passed and its report's digest, and since when the first is waited for. As sql/due.sql says it is due.
SELECT passed.at, coalesce(passed.digest, '') AS digest, n.created_at AS since
  FROM byokeep.installation n
  LEFT JOIN LATERAL (
       SELECT r.at, convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,digest}' AS digest FROM byokeep.audit_record r
        WHERE r.chain = n.id AND r.object_id = n.id AND r.event = 'drill.completed' AND r.outcome = 'ok'
          AND r.at < now() + interval '1 minute'
        ORDER BY r.seq DESC LIMIT 1) passed ON true;

-- name: drills
-- Each recovery drill by its newest record, the newest first: one that only began is under way, or was interrupted.
SELECT * FROM (
    SELECT DISTINCT ON (f.fields ->> 'drill') CAST(f.fields ->> 'drill' AS uuid) AS id, r.at, r.outcome,
           f.fields ->> 'backup' AS backup, coalesce(f.fields ->> 'digest', '') AS digest,
           CAST(f.fields ->> 'rto_s' AS bigint) AS rto_s, CAST(f.fields ->> 'rpo_s' AS bigint) AS rpo_s,
           coalesce(f.fields ->> 'stage', '') AS stage, coalesce(f.fields ->> 'reason', '') AS reason
      FROM byokeep.audit_record r
     CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS fields) f
     WHERE r.chain = CAST(:installation_id AS uuid) AND r.event = 'drill.completed'
     ORDER BY f.fields ->> 'drill', r.seq DESC) d
 ORDER BY at DESC;
