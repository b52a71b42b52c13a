-- What is withdrawn now, for the broker that keeps it outside the database as well.

-- name: withdrawals
-- Engaged switches, disabled people and machines, suspended clients: each with the record that says so.
SELECT 'switch:' || s.scope AS what, r.chain, r.seq, r.hash
  FROM byokeep.switch s
 CROSS JOIN LATERAL (
       SELECT r.chain, r.seq, r.hash FROM byokeep.audit_record r
        WHERE r.chain = coalesce(s.client_id, (SELECT id FROM byokeep.installation))
          AND r.event IN ('switch.closed', 'switch.opened')  -- its index
          AND r.event = 'switch.closed' AND r.outcome = 'ok'
          AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,scope}' = s.scope
          AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,epoch}' = s.epoch::text
        ORDER BY r.seq DESC LIMIT 1) r
 WHERE s.closed
UNION ALL
SELECT 'subject:' || u.id::text, r.chain, r.seq, r.hash
  FROM byokeep.subject u
 CROSS JOIN LATERAL (
       SELECT r.chain, r.seq, r.hash FROM byokeep.audit_record r
        WHERE r.chain = (SELECT id FROM byokeep.installation) AND r.object_id = u.id
          AND r.event IN ('operator.changed', 'machine.changed') AND r.outcome = 'ok'
        ORDER BY r.seq DESC LIMIT 1) r
 WHERE u.state = 'disabled'
UNION ALL
SELECT 'client:' || c.id::text, r.chain, r.seq, r.hash
  FROM byokeep.client c
 CROSS JOIN LATERAL (
       SELECT r.chain, r.seq, r.hash FROM byokeep.audit_record r
        WHERE r.chain = c.id AND r.object_id = c.id AND r.event = 'client.suspended' AND r.outcome = 'ok'
        ORDER BY r.seq DESC LIMIT 1) r
 WHERE c.state = 'suspended';

-- name: withdrawals_tokens
-- Of a token that has expired nothing can come back.
SELECT id FROM byokeep.api_token WHERE revoked_at IS NOT NULL AND expires_at > clock_timestamp();

-- name: withdrawals_tokens_back
SELECT id FROM byokeep.api_token WHERE id = ANY (CAST(:ids AS uuid[])) AND revoked_at IS NULL;

-- name: withdraw_again
SELECT byokeep.withdraw_again(:kind, CAST(:id AS uuid)) AS kind;
