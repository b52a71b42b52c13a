-- What an exposure report reads of ours: leases from the audit chain, held against their rows, and what jobs did with them.

-- name: exposure_leases
-- Leases that could read a secret, as the chain has them, with what their holders told; row_there: so have the rows;
-- held: it was held in the span, as revocation_targets says it. No job lives for more than a day.
SELECT r.seq, r.at, r.object_id AS lease_id, said.f ->> 'job' AS job_id, r.actor_id AS by, s.name, said.f ->> 'kind' AS kind,
       said.secrets, l.id IS NOT NULL AS row_there, lasted.held,
       CAST(said.f ->> 'jwt_iat' AS bigint) AS jwt_iat, CAST(said.f ->> 'jwt_exp' AS bigint) AS jwt_exp,
       (SELECT jsonb_agg(convert_from(t.payload, 'UTF8')::jsonb -> 'fields') FROM byokeep.audit_record t
         WHERE t.chain = r.chain AND t.object_id = r.object_id AND t.event = 'lease.use_told') AS told
  FROM byokeep.audit_record r
 CROSS JOIN LATERAL (SELECT f, string_to_array(f ->> 'secrets', ',') AS secrets
                       FROM (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) one) said
  LEFT JOIN byokeep.lease l ON l.client_id = r.chain AND l.id = r.object_id
  LEFT JOIN byokeep.job j ON j.client_id = l.client_id AND j.id = l.job_id
  LEFT JOIN byokeep.subject s ON s.id = r.actor_id
 CROSS JOIN LATERAL (SELECT r.at >= :since OR coalesce(least(l.expires_at, j.closed_at) >= :since, true) AS held) lasted
 WHERE r.chain = :client_id AND r.event = 'lease.issued' AND r.outcome = 'intended'
   AND r.at >= CAST(:since AS timestamptz) - interval '24 hours' AND r.at < :until AND (lasted.held OR r.at >= :before)
   AND said.f ->> 'kind' IN ('use', 'custody')
   AND (CAST(:secret AS text) = '' OR CAST(:secret AS text) = ANY (said.secrets))
 ORDER BY r.seq LIMIT :limit;

-- name: exposure_openings
-- Who opened a browser profile, as the chain has it; held: by a job that went on in the span.
SELECT r.seq, r.at, said.f ->> 'lease' AS lease_id, said.f ->> 'job' AS job_id, r.actor_id AS by, s.name,
       said.f ->> 'kind' AS kind, CAST(said.f ->> 'generation' AS bigint) AS generation, lasted.held
  FROM byokeep.audit_record r
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) said
  LEFT JOIN byokeep.job j ON j.client_id = r.chain AND j.id = CAST(said.f ->> 'job' AS uuid)
  LEFT JOIN byokeep.subject s ON s.id = r.actor_id
 CROSS JOIN LATERAL (SELECT r.at >= :since OR coalesce(least(j.expires_at, j.closed_at) >= :since, true) AS held) lasted
 WHERE r.chain = :client_id AND r.event = 'profile.opened' AND r.outcome = 'ok' AND r.object_id = :profile_id
   AND r.at >= CAST(:since AS timestamptz) - interval '24 hours' AND r.at < :until AND (lasted.held OR r.at >= :before)
 ORDER BY r.seq LIMIT :limit;

-- name: exposure_grants
-- Grants of break glass that could read a secret in a span; `client` of a report has every secret.
SELECT r.seq, r.at, r.object_id AS grant_id, asked.actor_id AS by, s.name, said.f ->> 'scope' AS scope
  FROM byokeep.audit_record r
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) said
  LEFT JOIN LATERAL (SELECT q.actor_id FROM byokeep.audit_record q
                      WHERE q.chain = r.chain AND q.object_id = r.object_id AND q.event = 'breakglass.requested'
                        AND q.outcome = 'ok' ORDER BY q.seq LIMIT 1) asked ON true
  LEFT JOIN byokeep.subject s ON s.id = asked.actor_id
 WHERE r.chain = :client_id AND r.event = 'breakglass.issued' AND r.outcome = 'intended' AND r.writer = 'byokeep_broker'
   AND r.at >= CAST(:since AS timestamptz) - interval '70 minutes' AND r.at < :until
   AND said.f ->> 'scope' <> 'drill' AND CAST(:secret AS text) <> 'profile'
   AND (CAST(:secret AS text) = '' OR said.f ->> 'scope' IN ('all', CAST(:secret AS text)))
 ORDER BY r.seq LIMIT :limit;

-- name: exposure_grant_reads
-- What was read under a grant, by the store's own id of the request.
SELECT convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,store_request}' AS store_request, r.object_id AS grant_id
  FROM byokeep.audit_record r
 WHERE r.chain = :client_id AND r.event = 'breakglass.used' AND r.outcome = 'ok' AND r.writer = 'byokeep_broker'
   AND r.object_id = ANY (CAST(:grants AS uuid[]));

-- name: exposure_unrecorded
-- Rows of leases that were held in the span and that no record explains.
SELECT l.id AS lease_id, l.job_id, l.issued_at AS at
  FROM byokeep.lease l JOIN byokeep.job j ON j.client_id = l.client_id AND j.id = l.job_id
 WHERE l.client_id = :client_id AND l.issued_at < :until AND least(l.expires_at, j.closed_at) >= CAST(:since AS timestamptz)
   AND l.kind IN ('use', 'custody')
   AND (CAST(:secret AS text) = '' OR CAST(:secret AS text) = ANY (l.secrets))
   AND NOT EXISTS (SELECT FROM byokeep.audit_record r WHERE r.chain = l.client_id AND r.object_id = l.id
                      AND r.event = 'lease.issued')
 ORDER BY l.issued_at LIMIT :limit;

-- name: exposure_calls
SELECT u.at, u.what, u.provider, u.tool, u.outcome, u.args_digest, u.job_id, u.lease_id, u.runner_id AS by, s.name
  FROM byokeep.usage u LEFT JOIN byokeep.subject s ON s.id = u.runner_id
 WHERE u.client_id = :client_id AND u.at >= :since AND u.at < :until AND u.what IN ('permit', 'call')
   AND CAST(:secret AS text) IN ('', u.provider)
   AND (CAST(:jobs AS uuid[]) IS NULL OR u.job_id = ANY (CAST(:jobs AS uuid[])))
 ORDER BY u.at, u.id LIMIT :limit;

-- name: exposure_account
SELECT a.* FROM byokeep.platform_account a WHERE a.id = :id;

-- name: exposure_providers
SELECT DISTINCT provider FROM byokeep.credential_ref
 WHERE client_id = :client_id AND kind = 'provider_api_key' AND purpose = 'default' ORDER BY provider;
