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
