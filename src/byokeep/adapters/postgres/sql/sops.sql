-- Runs of a procedure, and the audit records that are their evidence.

-- name: sop_get
SELECT * FROM byokeep.procedure_run WHERE id = :id AND procedure IN ('onboard_key', 'connect_account', 'create_profile');

-- name: sop_lock
SELECT * FROM byokeep.procedure_run WHERE client_id = :client_id AND id = :id FOR UPDATE;

-- name: sop_open_write
-- The run that has announced a write and not recorded it: in flight, or cut off.
SELECT * FROM byokeep.procedure_run
 WHERE client_id = :client_id AND facts ->> 'provider' = :provider AND procedure = 'onboard_key' AND state = 'running'
   AND evidence -> 'vault_write_event' IS NULL
 ORDER BY started_at DESC LIMIT 1;

-- name: sop_under_way
-- The run that has stored its value a moment ago and is not verified yet.
SELECT * FROM byokeep.procedure_run
 WHERE client_id = :client_id AND facts ->> 'provider' = :provider AND procedure = 'onboard_key' AND state = 'running'
   AND evidence -> 'vault_write_event' IS NOT NULL AND evidence -> 'verification_success' IS NULL
   AND started_at > now() - make_interval(secs => :within_s)
 ORDER BY started_at DESC LIMIT 1;

-- name: sop_of_version
SELECT * FROM byokeep.procedure_run
 WHERE client_id = :client_id AND object_id = :ref_id AND procedure = 'onboard_key'
   AND (facts ->> 'version')::integer = :version AND evidence -> 'vault_write_event' IS NOT NULL
 ORDER BY started_at DESC LIMIT 1;

-- name: sop_waits
-- Why a run that goes on is not decided yet, for people; what is decided takes it away.
UPDATE byokeep.procedure_run SET reason = :reason
 WHERE client_id = :client_id AND id = :id AND state = 'running' AND evidence -> 'verification_success' IS NULL
RETURNING *;

-- name: sop_fail
UPDATE byokeep.procedure_run SET state = 'failed', reason = :reason, closed_at = now(), revision = revision + 1
 WHERE client_id = :client_id AND id = :id AND state = 'running'
RETURNING *;

-- name: sop_supersede
-- A newer value of the same reference ends what still runs for the older one.
UPDATE byokeep.procedure_run SET state = 'failed', reason = 'superseded', closed_at = now(), revision = revision + 1
 WHERE client_id = :client_id AND object_id = :ref_id AND id <> :id AND procedure = 'onboard_key' AND state = 'running'
   AND evidence -> 'vault_write_event' IS NOT NULL
RETURNING *;

-- name: sops_cut_off
-- All of a place, oldest first; which places is left to chance: those that cannot be cleaned keep no other from its turn.
WITH cut AS (
  SELECT * FROM byokeep.procedure_run
   WHERE procedure = 'onboard_key'
     AND ((state = 'running' AND evidence -> 'vault_write_event' IS NULL
           AND started_at < now() - make_interval(secs => :older_than_s))
          OR (state = 'failed' AND reason = 'cut_off')))
SELECT cut.* FROM cut
  JOIN (SELECT client_id, facts ->> 'provider' AS provider FROM cut GROUP BY 1, 2 ORDER BY random() LIMIT :limit) place
    ON cut.client_id = place.client_id AND cut.facts ->> 'provider' = place.provider
 ORDER BY cut.started_at;

-- name: sop_set_reason
UPDATE byokeep.procedure_run SET reason = :reason_to
 WHERE client_id = :client_id AND id = :id AND state = 'failed' AND reason = :reason_from
RETURNING *;

-- name: versions_on_record
-- Every version of one place whose write was recorded, or announced by a run that goes on.
SELECT DISTINCT (facts ->> 'version')::integer AS version FROM byokeep.procedure_run
 WHERE client_id = :client_id AND facts ->> 'provider' = :provider
   AND (evidence -> 'vault_write_event' IS NOT NULL OR state = 'running');

-- name: oldest_needed
-- The oldest version of a place that serves or still holds, or that an open run or a mass revocation has yet to end.
SELECT min(needed.version) FROM (
    SELECT least(r.version, CASE WHEN r.previous_until > clock_timestamp() THEN r.previous_version END)
      FROM byokeep.credential_ref r
     WHERE r.client_id = :client_id AND r.provider = :provider AND r.purpose = :purpose
       AND r.state IN ('pre_activation', 'active', 'suspended')
    UNION ALL
    SELECT CAST(p.facts ->> fact.name AS integer) FROM byokeep.procedure_run p
     CROSS JOIN (VALUES ('version'), ('from_version'), ('also_version')) AS fact (name)
     WHERE p.client_id = :client_id AND p.facts ->> 'provider' = :provider AND p.closed_at IS NULL AND :purpose = 'default'
       AND (p.procedure LIKE 'rotate\_key%' OR p.procedure = 'end_unused_key')
    UNION ALL
    SELECT i.version FROM byokeep.revocation_item i
     WHERE i.client_id = :client_id AND i.kind = 'key' AND i.provider = :provider AND i.state <> 'revoked'
       AND i.settled_by IS NULL AND :purpose = 'default') AS needed (version)
 WHERE needed.version > 0 HAVING count(*) > 0;

-- name: evidence_records
SELECT seq, event, outcome, object_id, payload, at, actor_id, hash, writer = 'byokeep_worker' AS by_worker
  FROM byokeep.audit_record
 WHERE chain = :chain AND seq = ANY(CAST(:seqs AS bigint[]));

-- name: audit_count_denied
-- How often an actor was denied within ten minutes, at most :many; for one reason, or '' = for any.
SELECT count(*) AS found FROM (
    SELECT FROM byokeep.audit_record
     WHERE chain = :chain AND actor_id = :actor_id AND event = 'access.decided' AND outcome = 'denied'
       AND at > now() - interval '10 minutes'
       AND (CAST(:reason AS text) = '' OR convert_from(payload, 'UTF8')::jsonb -> 'fields' ->> 'reason' = :reason)
     LIMIT :many) AS denied;

-- name: audit_count_failed_logins
-- How often a password was refused within an hour, at most :many; for one person, or for names that nobody has.
SELECT count(*) AS found FROM (
    SELECT FROM byokeep.audit_record
     WHERE chain = :chain AND event = 'session.login' AND outcome = 'denied' AND at > now() - interval '1 hour'
       AND object_id IS NOT DISTINCT FROM CAST(:object_id AS uuid)
     LIMIT :many) AS failed;
