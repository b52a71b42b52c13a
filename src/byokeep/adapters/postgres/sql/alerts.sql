-- Alerts: one open row for each dedup key.

-- name: alert_raise
INSERT INTO byokeep.alert AS a (id, client_id, object_id, reason, severity, dedup_key)
VALUES (:id, CAST(:client_id AS uuid), CAST(:object_id AS uuid), :reason, :severity, :dedup_key)
ON CONFLICT (dedup_key) WHERE closed_at IS NULL DO UPDATE SET count = a.count + 1
RETURNING a.*;

-- name: alert_get
SELECT * FROM byokeep.alert WHERE id = :id;

-- name: alerts_open
SELECT * FROM byokeep.alert
 WHERE closed_at IS NULL AND (CAST(:ids AS uuid[]) IS NULL OR client_id = ANY(CAST(:ids AS uuid[])))
 ORDER BY opened_at DESC LIMIT :limit;

-- name: alert_close
UPDATE byokeep.alert SET closed_at = now(), closed_by = :closed_by WHERE id = :id AND closed_at IS NULL
RETURNING *;
