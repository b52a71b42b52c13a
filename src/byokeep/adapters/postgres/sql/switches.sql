-- Kill switches. Locks are a statement of their own: in READ COMMITTED the next statement then sees everything
-- that was committed before the lock was granted.

-- name: switch_lock_shared
-- By keys, which tenancy/scopes.py makes as byokeep.scope_lock_key does: every decision comes by here.
SELECT pg_advisory_xact_lock_shared(key)
  FROM unnest(CAST(:keys AS bigint[])) AS key;

-- name: switch_lock_exclusive
SELECT pg_advisory_xact_lock(byokeep.scope_lock_key(:scope));

-- name: switch_install
INSERT INTO byokeep.switch (scope, client_id, closed, epoch, reason, by, at, installation_id)
VALUES ('global', NULL, false, 0, 'installed', :by, clock_timestamp(), :installation_id)
ON CONFLICT (scope) DO NOTHING
RETURNING scope;

-- name: switch_close
-- No row: there is no such client. Where the scope is everything or a client its jobs end with it, and the store must
-- refuse these entities: read under the lock that an enrolment waits for. Keyless: providers whose tokens end by themselves.
WITH engaged AS (
    INSERT INTO byokeep.switch AS s (scope, client_id, closed, epoch, reason, by, at, installation_id, store_cut_off)
    SELECT :scope, CAST(:client_id AS uuid), true, 1, :reason, CAST(:by AS uuid), clock_timestamp(),
           CAST(:installation_id AS uuid), CAST(:cut_off AS boolean)
     WHERE CAST(:client_id AS uuid) IS NULL OR EXISTS (SELECT FROM byokeep.client WHERE id = :client_id)
    ON CONFLICT (scope) DO UPDATE
       SET closed = true, epoch = s.epoch + 1, reason = excluded.reason, by = excluded.by, at = excluded.at,
           installation_id = excluded.installation_id, store_cut_off = excluded.store_cut_off
    RETURNING scope, client_id, closed, epoch, reason, by, at, store_cut_off, installation_id),
killed AS (
    UPDATE byokeep.job SET state = 'killed', reason = 'switch_closed', closed_at = clock_timestamp()
     WHERE state = 'open' AND CAST(:cuts_store AS boolean) AND EXISTS (SELECT FROM engaged)
       AND (CAST(:client_id AS uuid) IS NULL OR client_id = :client_id)
    RETURNING id)
SELECT engaged.*, (SELECT count(*) FROM killed)::int AS jobs,
       ARRAY(SELECT c.entity_id FROM byokeep.client c
              WHERE c.entity_id IS NOT NULL AND CAST(:cuts_store AS boolean)
                AND (CAST(:client_id AS uuid) IS NULL OR c.id = :client_id)) AS entities,
       ARRAY(SELECT DISTINCT r.provider FROM byokeep.credential_ref r
              WHERE r.kind = 'provider_api_key' AND r.provider_place <> '' AND r.state <> 'destroyed'
                AND (CAST(:client_id AS uuid) IS NULL OR r.client_id = :client_id)) AS keyless
  FROM engaged;

-- name: switch_mark_cut_off
-- Row and record in one round trip. Caller and round may finish the same one: the first of them records it.
WITH marked AS (
    UPDATE byokeep.switch SET store_cut_off = true
     WHERE scope = :scope AND epoch = :epoch AND closed AND NOT store_cut_off
    RETURNING scope, client_id, closed, epoch, reason, by, at, store_cut_off, installation_id)
SELECT marked.*
  FROM marked,
       LATERAL (SELECT coalesce(marked.client_id, (SELECT id FROM byokeep.installation)) AS chain) AS place,
       LATERAL byokeep.audit_append(
           place.chain, :event, CAST(:actor AS uuid), CAST(:object AS uuid), CAST(:request AS uuid), :outcome,
           CAST(:payload AS bytea)) AS entry;

-- name: switch_mark_cut_off_unheld
-- The round's: who engages it and is about to mark it is not waited for, and so not ended.
WITH marked AS (
    UPDATE byokeep.switch SET store_cut_off = true
     WHERE scope = (SELECT scope FROM byokeep.switch
                     WHERE scope = :scope AND epoch = :epoch AND closed AND NOT store_cut_off FOR UPDATE SKIP LOCKED)
    RETURNING scope, client_id, closed, epoch, reason, by, at, store_cut_off, installation_id)
SELECT marked.*
  FROM marked,
       LATERAL (SELECT coalesce(marked.client_id, (SELECT id FROM byokeep.installation)) AS chain) AS place,
       LATERAL byokeep.audit_append(
           place.chain, :event, CAST(:actor AS uuid), CAST(:object AS uuid), CAST(:request AS uuid), :outcome,
           CAST(:payload AS bytea)) AS entry;

-- name: switch_open
UPDATE byokeep.switch
   SET closed = false, epoch = epoch + 1, reason = :reason, by = :by, at = clock_timestamp(), store_cut_off = false
 WHERE scope = :scope AND epoch = :epoch AND closed AND installation_id = :installation_id
RETURNING scope, client_id, closed, epoch, reason, by, at, store_cut_off, installation_id;

-- name: switch_read
SELECT scope, client_id, closed, epoch, reason, by, at, store_cut_off, installation_id
  FROM byokeep.switch WHERE scope = :scope;

-- name: switch_hold_row
-- Whoever asks for opening stands in line here, so that one state has one request.
SELECT scope, client_id, closed, epoch, reason, by, at, store_cut_off, installation_id
  FROM byokeep.switch WHERE scope = :scope FOR UPDATE;

-- name: switch_engaged
-- Another installation's record counts as engaged.
SELECT scope, client_id, reason FROM byokeep.switch
 WHERE closed OR installation_id <> :installation_id;

-- name: switch_list
SELECT scope, client_id, closed, epoch, reason, by, at, store_cut_off, installation_id
  FROM byokeep.switch
 WHERE client_id IS NULL OR CAST(:clients AS uuid[]) IS NULL OR client_id = ANY (CAST(:clients AS uuid[]))
 ORDER BY scope;

-- name: switch_pending_cut_off
SELECT scope, client_id, closed, epoch, reason, by, at, store_cut_off, installation_id
  FROM byokeep.switch
 WHERE closed AND NOT store_cut_off AND (scope = 'global' OR scope = 'client:' || client_id::text)
   AND at <= clock_timestamp() - make_interval(secs => :older_s);

-- name: switch_jobs
-- The open jobs that a scope stops, or whose acts it refuses.
SELECT id, client_id, dispatcher_id, runner_id, kind, secrets, platforms, lanes, effects, state, opened_at, expires_at
  FROM byokeep.job
 WHERE state = 'open' AND expires_at > clock_timestamp()
   AND (CAST(:client_id AS uuid) IS NULL OR client_id = :client_id)
   AND (CAST(:clients AS uuid[]) IS NULL OR client_id = ANY (CAST(:clients AS uuid[])))
   AND (CAST(:platform AS text) IS NULL OR :platform = ANY (platforms))
   AND (CAST(:lane AS text) IS NULL OR :lane = ANY (lanes))
 ORDER BY client_id, opened_at, id LIMIT :limit;

-- name: switch_entities
-- Whom a cut-off must reach, and whom nothing but the switch about to be opened keeps out.
SELECT c.id AS client_id, c.entity_id, c.state,
       coalesce(s.closed, false) AND s.scope <> :opening AS own_closed,
       coalesce(g.closed AND g.scope <> :opening, true) AS global_closed,
       coalesce(s.closed AND s.store_cut_off, false) OR coalesce(g.closed AND g.store_cut_off, false) AS cut_off
  FROM byokeep.client c
  LEFT JOIN byokeep.switch s ON s.scope = 'client:' || c.id::text
  LEFT JOIN byokeep.switch g ON g.scope = 'global'
 WHERE c.entity_id IS NOT NULL AND (CAST(:client_id AS uuid) IS NULL OR c.id = :client_id);

-- name: switch_client_known
SELECT id FROM byokeep.client WHERE id = :client_id;

-- name: switch_requests_live
-- What somebody may approve now: unused, in time, and for the state that the switch is in.
SELECT a.id, a.action, a.scope, a.epoch, a.reason, a.requested_by, a.expires_at, a.asked, a.used_at,
       a.approved_at, NULL AS used_by, true AS in_time
  FROM byokeep.approval a
  JOIN byokeep.switch s ON s.scope = a.scope AND s.epoch = a.epoch AND s.closed
 WHERE a.action = 'open_switch' AND a.used_at IS NULL AND a.expires_at > clock_timestamp()
   AND (s.client_id IS NULL OR CAST(:clients AS uuid[]) IS NULL OR s.client_id = ANY (CAST(:clients AS uuid[])))
 ORDER BY a.requested_at;

-- name: switch_lease_key_suspect
-- Alerts that tell of a stolen signer and happened, the last time, after the last rotation of the key that signs
-- leases. Closing one rotates nothing, and that a rotation was made is the owner's word alone.
SELECT a.id FROM byokeep.alert a
 WHERE a.reason IN ('login_unexplained', 'lease_use_surplus')
   AND NOT EXISTS (
       SELECT FROM byokeep.audit_record r
        WHERE r.event = 'config.changed' AND r.writer = 'byokeep_owner' AND r.at >= a.last_seen_at
          AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,component}' = 'lease-key')
 LIMIT 1;
