-- What the transactions of this room need for themselves.

-- name: audit_append
-- A record without a client stands in the platform's chain, which is named by the installation.
SELECT place.chain, entry.seq, encode(entry.hash, 'hex') AS hash_hex
  FROM (SELECT coalesce(CAST(:chain AS uuid), (SELECT id FROM byokeep.installation)) AS chain) AS place,
       LATERAL byokeep.audit_append(
           place.chain, :event, CAST(:actor AS uuid), CAST(:object AS uuid), CAST(:request AS uuid), :outcome,
           CAST(:payload AS bytea)
       ) AS entry

-- name: lock_scopes_shared
-- Sorted keys, so that two callers never wait for each other. Held until commit.
SELECT count(pg_advisory_xact_lock_shared(scope.key)) AS locked
  FROM (SELECT DISTINCT byokeep.scope_lock_key(named) AS key
          FROM unnest(CAST(:scopes AS text[])) AS named ORDER BY key) AS scope

-- name: lock_scope_exclusive
-- Waits until everybody who holds the scope has committed; newcomers wait behind it. Held until commit.
SELECT pg_advisory_xact_lock(byokeep.scope_lock_key(:scope)) IS NULL AS locked

-- name: clock_now
SELECT clock_timestamp() AS now
