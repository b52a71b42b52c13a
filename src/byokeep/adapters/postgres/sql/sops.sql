-- Runs of a procedure, and the audit records that are their evidence.

-- name: sop_insert
INSERT INTO byokeep.sop_run (id, client_id, sop, provider, ref_id, version, started_by, write_seq, store_request)
VALUES (:id, :client_id, 'onboard_key', :provider, :ref_id, :version, :started_by, CAST(:write_seq AS bigint),
        :store_request)
RETURNING *;

-- name: sop_get
SELECT * FROM byokeep.sop_run WHERE id = :id;

-- name: sop_lock
SELECT * FROM byokeep.sop_run WHERE client_id = :client_id AND id = :id FOR UPDATE;

-- name: sop_open_write
-- The run that has announced a write and not recorded it: in flight, or cut off.
SELECT * FROM byokeep.sop_run
 WHERE client_id = :client_id AND provider = :provider AND sop = 'onboard_key' AND state = 'running' AND write_seq IS NULL
 ORDER BY started_at DESC LIMIT 1;

-- name: sop_under_way
-- The run that has stored its value a moment ago and is not verified yet.
SELECT * FROM byokeep.sop_run
 WHERE client_id = :client_id AND provider = :provider AND sop = 'onboard_key' AND state = 'running' AND write_seq IS NOT NULL
   AND verify_seq IS NULL AND started_at > now() - make_interval(secs => :within_s)
 ORDER BY started_at DESC LIMIT 1;

-- name: sop_of_version
SELECT * FROM byokeep.sop_run
 WHERE client_id = :client_id AND ref_id = :ref_id AND version = :version AND write_seq IS NOT NULL
 ORDER BY started_at DESC LIMIT 1;

-- name: sop_stored
UPDATE byokeep.sop_run SET write_seq = :write_seq, store_request = :store_request
 WHERE client_id = :client_id AND id = :id AND state = 'running' AND write_seq IS NULL
RETURNING *;

-- name: sop_evidence
UPDATE byokeep.sop_run
   SET verify_seq = COALESCE(CAST(:verify_seq AS bigint), verify_seq),
       leak_seq = COALESCE(CAST(:leak_seq AS bigint), leak_seq), reason = ''
 WHERE client_id = :client_id AND id = :id AND state = 'running'
RETURNING *;

-- name: sop_waits
-- Why a run that goes on is not decided yet, for people; what is decided takes it away.
UPDATE byokeep.sop_run SET reason = :reason
 WHERE client_id = :client_id AND id = :id AND state = 'running' AND verify_seq IS NULL
RETURNING *;

-- name: sop_complete
UPDATE byokeep.sop_run SET state = 'complete', done_seq = :done_seq, closed_at = now()
 WHERE client_id = :client_id AND id = :id AND state = 'running'
RETURNING *;

-- name: sop_fail
UPDATE byokeep.sop_run SET state = 'failed', reason = :reason, closed_at = now()
 WHERE client_id = :client_id AND id = :id AND state = 'running'
RETURNING *;

-- name: sop_supersede
-- A newer value of the same reference ends what still runs for the older one.
UPDATE byokeep.sop_run SET state = 'failed', reason = 'superseded', closed_at = now()
 WHERE client_id = :client_id AND ref_id = :ref_id AND id <> :id AND state = 'running' AND write_seq IS NOT NULL
RETURNING *;

-- name: sops_cut_off
SELECT * FROM byokeep.sop_run
 WHERE sop = 'onboard_key'
   AND ((state = 'running' AND write_seq IS NULL AND started_at < now() - make_interval(secs => :older_than_s))
        OR (state = 'failed' AND reason = 'cut_off'))
 ORDER BY started_at LIMIT :limit;

-- name: sop_set_reason
UPDATE byokeep.sop_run SET reason = :reason_to
 WHERE client_id = :client_id AND id = :id AND state = 'failed' AND reason = :reason_from
RETURNING *;

-- name: versions_on_record
-- Every version of one place whose write was recorded, or announced by a run that goes on.
SELECT DISTINCT version FROM byokeep.sop_run
 WHERE client_id = :client_id AND provider = :provider AND (write_seq IS NOT NULL OR state = 'running');

-- name: custody_job_open
-- A job under which this one secret may be looked after now.
SELECT id FROM byokeep.job
 WHERE client_id = :client_id AND kind = 'custody' AND secrets = ARRAY[CAST(:provider AS text)]
   AND state = 'open' AND expires_at > clock_timestamp() + interval '10 seconds'
 ORDER BY expires_at DESC LIMIT 1;

-- name: evidence_records
SELECT seq, event, outcome, object_id, payload, at, actor_id, hash FROM byokeep.audit_record
 WHERE chain = :chain AND seq = ANY(CAST(:seqs AS bigint[]));

-- name: audit_browse
SELECT seq, at, payload, hash FROM byokeep.audit_record
 WHERE chain = :chain AND (CAST(:before AS bigint) IS NULL OR seq < :before)
   AND (CAST(:since AS timestamptz) IS NULL OR at >= CAST(:since AS timestamptz))
   AND (CAST(:until AS timestamptz) IS NULL OR at < CAST(:until AS timestamptz))
 ORDER BY seq DESC LIMIT :limit;

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
