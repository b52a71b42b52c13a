-- Backups, as their records on the installation say. A file that was altered since has another digest than its record.

-- name: backups
WITH said AS (
    SELECT r.event, r.at, CAST(f.fields ->> 'backup' AS uuid) AS id, f.fields ->> 'digest' AS digest,
           CAST(f.fields ->> 'size' AS bigint) AS size, CAST(f.fields ->> 'count' AS integer) AS parts
      FROM byokeep.audit_record r
     CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS fields) f
     WHERE r.chain = (SELECT i.id FROM byokeep.installation i) AND r.object_id = r.chain
       AND r.event IN ('backup.created', 'backup.verified') AND r.outcome = 'ok')
SELECT c.id, c.at AS created_at, c.digest, c.size, c.parts, max(v.at) AS verified_at
  FROM said c
  LEFT JOIN said v ON v.event = 'backup.verified' AND v.id = c.id AND v.digest = c.digest
 WHERE c.event = 'backup.created'
 GROUP BY c.id, c.at, c.digest, c.size, c.parts
 ORDER BY c.at DESC;

-- name: backup_artifacts
-- The sealed profiles that can still be opened, by the names that they have in the artifact store.
SELECT CAST(client_id AS text) || '/' || CAST(profile_id AS text) || '/' || CAST(generation AS text) || '-'
       || replace(CAST(dek_id AS text), '-', '') || '.sealed' AS name,
       blob_size AS size, encode(blob_sha256, 'hex') AS sha256
  FROM byokeep.profile_generation WHERE key_state <> 'destroyed' AND gone_at IS NULL;

-- name: backup_schema
SELECT version_num AS schema, current_setting('server_version_num') AS number FROM byokeep.alembic_version;

-- name: backups_since
SELECT created_at AS at FROM byokeep.installation;

-- name: backup_refs
-- What the database believes of the store, for a comparison after a restore. `used`: the version has to be there.
SELECT replace(secret_ref, 'vault://kv/', '') AS path, version, greatest(version, candidate_version) AS newest,
       state IN ('active', 'suspended') AND kind = 'provider_api_key' AND provider_place = '' AS used
  FROM byokeep.credential_ref;

-- name: backup_accounts
-- Where what is held of an account begins.
SELECT 'clients/' || client_id || '/providers/' || platform || '/accounts/' || id FROM byokeep.platform_account;

-- name: backup_clients
SELECT id FROM byokeep.client ORDER BY id;

-- name: restores
-- Each restore on record, the newest first, with the record of two people opening what came of it; until then it is closed.
SELECT r.seq, encode(r.hash, 'hex') AS hash, r.at, f.fields ->> 'backup' AS backup,
       CAST(f.fields ->> 'epoch' AS bigint) AS behind, CAST(f.fields ->> 'count' AS bigint) AS again,
       CAST(f.fields ->> 'found' AS bigint) AS skewed, o.seq AS opened_seq, o.hash AS opened_hash, o.at AS opened_at,
       o.actor_id AS opened_by
  FROM byokeep.audit_record r
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS fields) f
  LEFT JOIN LATERAL (
       SELECT n.seq, encode(n.hash, 'hex') AS hash, n.at, n.actor_id FROM byokeep.audit_record n
        WHERE n.chain = r.chain AND n.seq > r.seq AND n.event = 'switch.opened' AND n.outcome = 'ok'
          AND position('"scope":"global"'::bytea IN n.payload) > 0
        ORDER BY n.seq LIMIT 1) o ON true
 WHERE r.chain = CAST(:installation_id AS uuid) AND r.event = 'backup.restored' AND r.outcome = 'ok'
 ORDER BY r.seq DESC;

-- name: restored_at
-- When this database last became an older one, if ever: it was restored, or two people opened one that was behind.
-- The index audit_record_older_ix says the same words.
SELECT r.at FROM byokeep.audit_record r
 WHERE r.chain = (SELECT i.id FROM byokeep.installation i)
   AND (r.event = 'backup.restored' AND r.outcome = 'ok'
        OR r.event = 'checkpoint.signed' AND position('"reason":"checkpoint_mismatch"'::bytea IN r.payload) > 0)
 ORDER BY r.seq DESC LIMIT 1;
