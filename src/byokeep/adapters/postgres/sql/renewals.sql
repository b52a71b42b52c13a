-- A job asks for a newer access token: the renewal becomes due, once for each token.

-- name: renewal_facts
SELECT j.runner_id, j.kind = 'use' AND j.state = 'open' AND j.expires_at > t.now AS job_open,
       c.state = 'active' AS client_active, :platform = ANY (j.secrets) AS declared,
       a.id AS account_id, g.state = 'live' AS live,
       (SELECT count(*) = 1 FROM byokeep.switch s
         WHERE s.scope = 'global' AND s.installation_id = :installation_id AND s.epoch >= 0) AS switch_known,
       coalesce((SELECT concat_ws(' ', s.scope, CASE WHEN s.closed THEN s.reason ELSE 'other_installation' END)
                  FROM byokeep.switch s
                WHERE s.scope = ANY (CAST(:scopes AS text[]))
                  AND (s.closed OR s.installation_id <> :installation_id)
                 ORDER BY length(s.scope) LIMIT 1), '') AS switch_engaged
  FROM byokeep.job j
  JOIN byokeep.client c ON c.id = j.client_id
 CROSS JOIN (SELECT clock_timestamp() AS now) t
  LEFT JOIN byokeep.platform_account a
    ON a.client_id = j.client_id AND a.platform = :platform AND a.account = :account
  LEFT JOIN byokeep.account_grant g ON g.client_id = a.client_id AND g.account_id = a.id
 WHERE j.client_id = :client_id AND j.id = :job_id;

-- name: renewal_due
-- A renewal that failed is tried again in its own time, however often it is asked for; what cannot be renewed is not.
-- False: it would be due, but jobs had that many made due within the last hour.
WITH asked AS (
    SELECT g.client_id, g.account_id,
           (SELECT count(*) FROM byokeep.audit_record r
             WHERE r.chain = g.client_id AND r.object_id = g.account_id AND r.event = 'tokens.refresh_asked'
               AND r.at BETWEEN clock_timestamp() - interval '1 hour' AND clock_timestamp()
               AND convert_from(r.payload, 'UTF8')::jsonb -> 'fields' ? 'job') < :most AS made
      FROM byokeep.account_grant g
     WHERE g.client_id = :client_id AND g.account_id = :account_id AND g.state = 'live' AND g.access_version = :version
       AND g.due_at > clock_timestamp() AND g.tries = 0
       FOR UPDATE
), due AS (
    UPDATE byokeep.account_grant g SET due_at = clock_timestamp()
      FROM asked a WHERE a.made AND g.client_id = a.client_id AND g.account_id = a.account_id
)
SELECT made FROM asked;
