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

-- name: alert_open_of
SELECT id FROM byokeep.alert WHERE dedup_key = :key AND closed_at IS NULL;

-- name: alert_over
UPDATE byokeep.alert SET closed_at = now(), closed_by = :by WHERE dedup_key = :key AND closed_at IS NULL
RETURNING id, reason, client_id, object_id;

-- name: alert_caused_by
-- Whether an act of this person raised the alert.
SELECT EXISTS (SELECT FROM byokeep.audit_record
                WHERE chain = (SELECT i.id FROM byokeep.installation i) AND object_id = :object_id
                  AND event = 'alert.raised' AND actor_id = :actor_id
                  AND convert_from(payload, 'UTF8')::jsonb #>> '{fields,alert}' = :id) AS found;
