-- Alerts as people see and close them.

-- name: alert_get
SELECT * FROM byokeep.alert WHERE id = :id;

-- name: alert_raise
-- One open alert for each key, reason and severity; another occurrence counts up. When it happened is no later than now;
-- what happened at a time that was counted already is the same occurrence, looked at again.
INSERT INTO byokeep.alert AS a (id, client_id, object_id, reason, severity, dedup_key, opened_at, last_seen_at,
                                code_points)
VALUES (:id, :client_id, :object_id, :reason, :severity, :dedup_key, clock_timestamp(),
        least(CAST(:at AS timestamptz), clock_timestamp()), :code_points)
ON CONFLICT (dedup_key, reason, severity) WHERE closed_at IS NULL
DO UPDATE SET count = least(a.count, 2147483646)
           + CASE WHEN CAST(:at AS timestamptz) <= a.last_seen_at THEN 0 ELSE 1 END,
       last_seen_at = greatest(a.last_seen_at, excluded.last_seen_at),
       code_points = coalesce(nullif(excluded.code_points, ''), a.code_points)
RETURNING a.id, byokeep.alert_on_record(a.id, a.opened_at) AS on_record;

-- name: alerts_listed
-- Open ones, critical first, then by when they last happened; or all that were opened in a span, newest first.
SELECT *, count(*) OVER () AS total FROM byokeep.alert
 WHERE (CAST(:history AS boolean) OR closed_at IS NULL) AND (CAST(:ids AS uuid[]) IS NULL OR client_id = ANY(CAST(:ids AS uuid[])))
   AND (CAST(:client_id AS uuid) IS NULL OR client_id = CAST(:client_id AS uuid))
   AND CAST(:reason AS text) IN ('', reason) AND CAST(:severity AS text) IN ('', severity)
   AND (CAST(:since AS timestamptz) IS NULL OR opened_at >= CAST(:since AS timestamptz))
   AND (CAST(:until AS timestamptz) IS NULL OR opened_at < CAST(:until AS timestamptz))
   AND (CAST(:seen_until AS timestamptz) IS NULL OR last_seen_at < CAST(:seen_until AS timestamptz))
   AND (CAST(:untaken AS boolean) IS FALSE OR acknowledged_at IS NULL)
 ORDER BY CASE WHEN CAST(:history AS boolean) THEN 0 ELSE array_position(ARRAY['critical', 'warning', 'info'], severity) END,
          CASE WHEN CAST(:history AS boolean) THEN opened_at ELSE last_seen_at END DESC, id
 LIMIT :limit;

-- name: alerts_critical
SELECT reason FROM byokeep.alert WHERE severity = 'critical' AND closed_at IS NULL ORDER BY opened_at;

-- name: alert_close
UPDATE byokeep.alert SET closed_at = now(), closed_by = :by
 WHERE id = :id AND closed_at IS NULL
   AND (CAST(:seen_until AS timestamptz) IS NULL OR last_seen_at < CAST(:seen_until AS timestamptz))
RETURNING *;

-- name: alert_acknowledge
UPDATE byokeep.alert SET acknowledged_at = now(), acknowledged_by = :by
 WHERE id = :id AND closed_at IS NULL AND acknowledged_by IS DISTINCT FROM CAST(:by AS uuid)
   AND (CAST(:seen_until AS timestamptz) IS NULL OR last_seen_at < CAST(:seen_until AS timestamptz))
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
