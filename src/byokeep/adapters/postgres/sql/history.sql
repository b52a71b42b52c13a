-- One key's history, read from the audit log: the records that name the reference, and the leases for its provider.
-- A lease names providers, not references; a client has one live reference for a provider.

-- name: history_records
SELECT r.seq, r.at, r.payload, s.name
  FROM byokeep.audit_record r
  LEFT JOIN byokeep.subject s ON s.id = r.actor_id
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) said
 WHERE r.chain = :chain
   AND (r.object_id = CAST(:ref_id AS uuid)
        OR (r.event = 'lease.issued' AND CAST(:provider AS text) = ANY (string_to_array(said.f ->> 'secrets', ','))))
   AND (CAST(:before AS bigint) IS NULL OR r.seq < :before)
   AND (CAST(:since AS timestamptz) IS NULL OR r.at >= CAST(:since AS timestamptz))
   AND (CAST(:until AS timestamptz) IS NULL OR r.at < CAST(:until AS timestamptz))
 ORDER BY r.seq DESC LIMIT :limit;

-- name: history_holders
SELECT r.actor_id AS actor, s.name, count(*) AS leases, min(r.at) AS first_at, max(r.at) AS last_at
  FROM byokeep.audit_record r
  LEFT JOIN byokeep.subject s ON s.id = r.actor_id
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) said
 WHERE r.chain = :chain AND r.event = 'lease.issued' AND r.outcome = 'intended'
   AND CAST(:provider AS text) = ANY (string_to_array(said.f ->> 'secrets', ','))
   AND (CAST(:since AS timestamptz) IS NULL OR r.at >= CAST(:since AS timestamptz))
   AND (CAST(:until AS timestamptz) IS NULL OR r.at < CAST(:until AS timestamptz))
 GROUP BY r.actor_id, s.name ORDER BY max(r.at) DESC LIMIT 500;

-- name: history_marks
SELECT max(r.at) FILTER (WHERE r.event = 'lease.issued' AND r.outcome = 'intended') AS last_used_at,
       max(r.at) FILTER (WHERE r.event = 'key.stored' AND r.outcome = 'ok') AS last_rotated_at,
       count(*) FILTER (WHERE r.outcome IN ('denied', 'rejected')) AS refused
  FROM byokeep.audit_record r
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) said
 WHERE r.chain = :chain
   AND (r.object_id = CAST(:ref_id AS uuid)
        OR (r.event = 'lease.issued' AND CAST(:provider AS text) = ANY (string_to_array(said.f ->> 'secrets', ','))))
   AND (CAST(:since AS timestamptz) IS NULL OR r.at >= CAST(:since AS timestamptz))
   AND (CAST(:until AS timestamptz) IS NULL OR r.at < CAST(:until AS timestamptz));
