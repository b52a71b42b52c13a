-- Rows that the gate believes, held against their last records: what the tables' owner changed past us (ADR 0039). Only
-- rows that can open something are looked at.

-- name: unrecorded_keys
SELECT r.client_id, r.id FROM byokeep.credential_ref r
 WHERE r.state IN ('pre_activation', 'active', 'suspended')
   AND byokeep.key_said(r) IS DISTINCT FROM byokeep.key_row(r);

-- name: unrecorded_accounts
-- A grant may be verified by a record alone, and not later than that.
SELECT a.client_id, a.id FROM byokeep.platform_account a
  LEFT JOIN byokeep.account_grant g ON g.client_id = a.client_id AND g.account_id = a.id
 WHERE (cardinality(a.lanes) > 0 OR g.state = 'live')
   AND (byokeep.row_said(a.client_id, a.id, 'row') IS DISTINCT FROM byokeep.account_row(a, g)
        OR g.verified_at > coalesce((
            SELECT r.at FROM byokeep.audit_record r
             WHERE r.chain = a.client_id AND r.object_id = a.id AND r.outcome = 'ok'
               AND (r.event IN ('account.verified', 'platform_connected')
                    OR r.event = 'config.changed' AND convert_from(r.payload, 'UTF8')::jsonb -> 'fields' ? 'row')
             ORDER BY r.seq DESC LIMIT 1), '-infinity'));

-- name: unrecorded_jobs
-- One that is open past its end, its seal, or a kill of its client is none that we opened.
SELECT j.client_id, j.id FROM byokeep.job j
 WHERE j.state = 'open' AND j.expires_at > clock_timestamp()
   AND (byokeep.row_said(j.client_id, j.id, 'row') IS DISTINCT FROM byokeep.job_row(j)
        OR EXISTS (SELECT FROM byokeep.audit_record r
                    WHERE r.chain = j.client_id AND r.object_id = j.id AND r.outcome = 'ok'
                      AND (r.event IN ('job.closed', 'job.expired')
                           OR r.event = 'job.sealing' AND j.sealing_at IS NULL))
        OR j.kind = 'use' AND EXISTS (
            SELECT FROM byokeep.audit_record r
             WHERE r.chain IN (j.client_id, (SELECT id FROM byokeep.installation)) AND r.outcome = 'ok'
               AND r.event IN ('switch.closed', 'switch.opened') AND r.event = 'switch.closed' AND r.at > j.opened_at
               AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,scope}' IN ('global', 'client:' || j.client_id)));

-- name: unrecorded_clients
SELECT c.id AS client_id, c.id FROM byokeep.client c
 WHERE c.state = 'active' AND byokeep.row_said(c.id, c.id, 'row') IS DISTINCT FROM byokeep.client_row(c);

-- name: unrecorded_switches
-- A switch that does not stand as its last record says, or is gone. One that is engaged waits a while for its record.
WITH said AS (
    SELECT DISTINCT ON (r.chain, f ->> 'scope') r.chain, f ->> 'scope' AS scope, f ->> 'epoch' AS epoch,
           r.event = 'switch.closed' AS closed
      FROM byokeep.audit_record r
     CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) fields
     WHERE r.event IN ('switch.closed', 'switch.opened') AND r.outcome = 'ok'
     ORDER BY r.chain, f ->> 'scope', r.seq DESC
)
SELECT coalesce(s.client_id, nullif(said.chain, i.id)) AS client_id, CAST(NULL AS uuid) AS id
  FROM byokeep.installation i
 CROSS JOIN (said FULL JOIN byokeep.switch s
             ON s.scope = said.scope AND said.chain = coalesce(s.client_id, (SELECT id FROM byokeep.installation)))
 WHERE CASE WHEN s.scope IS NULL THEN true
            WHEN said.scope IS NULL THEN s.epoch > 0
            ELSE s.closed <> said.closed OR s.epoch::text <> said.epoch END
   AND NOT coalesce(s.closed AND s.at > clock_timestamp() - interval '30 seconds', false);
