-- Clients' signing secrets of webhooks and the keys that administer their accounts at providers: references with the
-- purposes `webhook` and `admin`.

-- name: webhook_live
SELECT *, previous_until > clock_timestamp() AS previous_holds FROM byokeep.credential_ref
 WHERE client_id = :client_id AND provider = :provider AND purpose = :purpose
   AND state IN ('pre_activation', 'active', 'suspended');

-- name: webhooks_list
SELECT *, previous_until > clock_timestamp() AS previous_holds FROM byokeep.credential_ref
 WHERE client_id = :client_id AND purpose = 'webhook' ORDER BY provider, created_at LIMIT :limit;

-- name: webhook_insert
-- Nobody can be asked whether a signing secret is right: it is in use at once, and the first delivery shows it.
INSERT INTO byokeep.credential_ref
       (id, client_id, provider, kind, purpose, environment, secret_ref, version, state, verification, risk,
        created_at, created_by, rotation_due_at, provider_place)
VALUES (:id, :client_id, :provider, :kind, :purpose, :environment, :secret_ref, :version, 'active',
        'pending', :risk, :created_at, :created_by, :rotation_due_at, :provider_place)
RETURNING *, previous_until > clock_timestamp() AS previous_holds;

-- name: webhook_renew
-- A value stored earlier never replaces a later one. The one before it stays named until it is destroyed. A place that
-- is not said anew stays.
UPDATE byokeep.credential_ref
   SET version = :version, risk = :risk, rotation_due_at = :rotation_due_at, created_at = :created_at,
       created_by = :created_by, provider_place = coalesce(nullif(:provider_place, ''), provider_place),
       previous_version = version, previous_until = clock_timestamp() + make_interval(secs => :keep_s)
 WHERE client_id = :client_id AND id = :id AND version < :version AND state IN ('pre_activation', 'active', 'suspended')
RETURNING *, previous_until > clock_timestamp() AS previous_holds;

-- name: webhook_drop_previous
UPDATE byokeep.credential_ref SET previous_until = clock_timestamp()
 WHERE client_id = :client_id AND id = :id AND previous_until > clock_timestamp()
RETURNING *, previous_until > clock_timestamp() AS previous_holds;

-- name: webhooks_to_sweep
-- Signing secrets that were retired, or of which one was replaced and holds no more. In no order: those that cannot be
-- swept keep no other from its turn.
SELECT r.client_id, r.provider, r.purpose, r.id AS ref_id FROM byokeep.credential_ref r
  JOIN byokeep.client c ON c.id = r.client_id AND c.state = 'active'
 WHERE r.purpose IN ('webhook', 'admin') AND (r.state = 'deactivated' OR r.previous_until <= clock_timestamp())
 ORDER BY random() LIMIT :limit;

-- name: webhook_writes_cut_off
-- Secrets that were announced, perhaps written, and never recorded: whatever was pinned since, they hold nothing.
-- `at`: when a version was last announced; it was not in the store then. Version 0 destroyed: of that reference nothing is.
SELECT a.chain AS client_id, a.object_id AS ref_id,
       CASE a.event WHEN 'key.admin_stored' THEN 'admin' ELSE 'webhook' END AS purpose,
       s.fields ->> 'provider' AS provider, CAST(s.fields ->> 'version' AS integer) AS version, max(a.at) AS at
  FROM byokeep.value_fingerprint f
 CROSS JOIN byokeep.client c
  JOIN byokeep.audit_record a ON a.chain = c.id AND a.object_id = f.ref_id
 CROSS JOIN LATERAL (SELECT convert_from(a.payload, 'UTF8')::jsonb -> 'fields' AS fields) s
 WHERE NOT EXISTS (SELECT FROM byokeep.credential_ref r WHERE r.id = f.ref_id AND r.version >= f.version)
   AND c.state = 'active' AND a.event IN ('webhook_secret.stored', 'key.admin_stored') AND a.outcome = 'intended'
   AND a.at < clock_timestamp() - make_interval(secs => :older_than_s)
   AND NOT EXISTS (SELECT FROM byokeep.audit_record b
                    WHERE b.chain = a.chain AND b.object_id = a.object_id AND b.seq > a.seq
                      AND (b.event = a.event AND b.outcome = 'ok' OR b.event = 'key.orphan_destroyed'
                           AND convert_from(b.payload, 'UTF8')::jsonb #>> '{fields,version}' IN ('0', s.fields ->> 'version')))
 GROUP BY a.chain, a.object_id, purpose, s.fields ->> 'provider', CAST(s.fields ->> 'version' AS integer)
 ORDER BY random() LIMIT :limit;

-- name: webhook_in_flight
-- Whether a write was announced that may be on its way.
SELECT EXISTS (SELECT FROM byokeep.audit_record a
                WHERE a.chain = :client_id AND a.event IN ('webhook_secret.stored', 'key.admin_stored') AND a.outcome = 'intended'
                  AND a.at >= clock_timestamp() - make_interval(secs => :older_than_s)
                  AND NOT EXISTS (SELECT FROM byokeep.audit_record b
                                   WHERE b.chain = a.chain AND b.object_id = a.object_id AND b.seq > a.seq
                                     AND b.event = a.event AND b.outcome = 'ok')) AS found;

-- name: webhook_refs
SELECT *, previous_until > clock_timestamp() AS previous_holds FROM byokeep.credential_ref
 WHERE client_id = :client_id AND provider = :provider AND purpose = :purpose ORDER BY created_at;

-- name: webhook_forget_previous
UPDATE byokeep.credential_ref SET previous_version = NULL, previous_until = NULL
 WHERE client_id = :client_id AND provider = :provider AND purpose = :purpose AND previous_until <= clock_timestamp()
RETURNING id;
