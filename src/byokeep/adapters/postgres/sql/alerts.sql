-- Alerts as people see and close them.

-- name: alert_get
SELECT * FROM byokeep.alert WHERE id = :id;

-- name: alerts_open
SELECT * FROM byokeep.alert
 WHERE closed_at IS NULL AND (CAST(:ids AS uuid[]) IS NULL OR client_id = ANY(CAST(:ids AS uuid[])))
 ORDER BY opened_at DESC LIMIT :limit;

-- name: alert_close
UPDATE byokeep.alert SET closed_at = now(), closed_by = :closed_by WHERE id = :id AND closed_at IS NULL
RETURNING *;

-- name: alert_caused_by
-- Whether this person issued an invitation that the alert tells of; its transaction began a little before the alert.
SELECT EXISTS (SELECT FROM byokeep.api_token
                WHERE subject_id = :subject_id AND issued_by = :actor_id AND kind = 'invitation'
                  AND created_at > CAST(:opened_at AS timestamptz) - interval '1 minute') AS found;
