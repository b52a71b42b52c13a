-- Platform accounts as the gate sees them: the registered fingerprint and the last comparison.

-- name: account_facts
SELECT a.id, a.account, a.username, a.display_name, l.runner_id, l.job_id,
       l.expires_at > t.now AS lease_unexpired,
       j.state = 'open' AND j.expires_at > t.now AND j.opened_at <= t.now + interval '5 seconds' AS job_open,
       j.kind, a.platform = ANY (j.platforms) AS platform_declared,
       (SELECT jsonb_build_object('external_id', g.external_id, 'username', g.username,
                   'display_name', g.display_name, 'app_id', g.app_id)
          FROM byokeep.account_grant g WHERE g.client_id = a.client_id AND g.account_id = a.id) AS account_grant
  FROM byokeep.lease l
  JOIN byokeep.job j ON j.client_id = l.client_id AND j.id = l.job_id
 CROSS JOIN (SELECT clock_timestamp() AS now) t
  JOIN byokeep.platform_account a
    ON a.client_id = l.client_id AND a.platform = :platform AND a.account = :account
 WHERE l.client_id = :client_id AND l.id = :lease_id;

-- name: account_identified
-- No job's word takes a mismatch back, nor puts off the look that may: a verification, a login or a person does.
UPDATE byokeep.platform_account a
   SET identity = CASE WHEN a.identity = 'mismatch' THEN a.identity ELSE :identity END,
       identified_at = CASE WHEN a.identity = 'mismatch' THEN a.identified_at ELSE clock_timestamp() END
 WHERE a.client_id = :client_id AND a.id = :id
RETURNING a.identified_at;

-- name: account_lanes_off
UPDATE byokeep.platform_account SET lanes = '{}'
 WHERE client_id = :client_id AND id = :id AND lanes <> '{}'
RETURNING id;
