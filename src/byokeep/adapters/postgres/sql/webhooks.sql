-- Clients' signing secrets of webhooks: references with the purpose `webhook`.

-- name: webhook_live
SELECT * FROM byokeep.credential_ref
 WHERE client_id = :client_id AND provider = :provider AND purpose = 'webhook'
   AND state IN ('pre_activation', 'active', 'suspended');

-- name: webhooks_list
SELECT * FROM byokeep.credential_ref
 WHERE client_id = :client_id AND purpose = 'webhook' ORDER BY provider, created_at LIMIT :limit;

-- name: webhook_insert
-- Nobody can be asked whether a signing secret is right: it is in use at once, and the first delivery shows it.
INSERT INTO byokeep.credential_ref
       (id, client_id, provider, kind, purpose, environment, secret_ref, version, state, verification, risk,
        created_at, created_by, rotation_due_at)
VALUES (:id, :client_id, :provider, 'webhook_signing_secret', 'webhook', :environment, :secret_ref, :version, 'active',
        'pending', :risk, :created_at, :created_by, :rotation_due_at)
RETURNING *;

-- name: webhook_renew
-- A value stored earlier never replaces a later one.
UPDATE byokeep.credential_ref
   SET version = :version, risk = :risk, rotation_due_at = :rotation_due_at, created_at = :created_at,
       created_by = :created_by,
       previous_version = CASE WHEN :keep_s > 0 THEN version END,
       previous_until = CASE WHEN :keep_s > 0 THEN clock_timestamp() + make_interval(secs => :keep_s) END
 WHERE client_id = :client_id AND id = :id AND version < :version AND state IN ('pre_activation', 'active', 'suspended')
RETURNING *;

-- name: webhook_drop_previous
UPDATE byokeep.credential_ref SET previous_version = NULL, previous_until = NULL
 WHERE client_id = :client_id AND id = :id AND previous_version IS NOT NULL
RETURNING *;
