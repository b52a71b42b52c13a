-- The keys that guard browser profiles: the inventory of key-encryption keys, their rotations, and what hangs on them.

-- name: keks_list
-- Every version that the caller may see, with what still hangs on it, its last check and the rotation under way.
SELECT k.holder, k.kek_id, k.version, k.client_id, k.environment, k.algorithm, k.bits, k.state, k.owner, k.made_at,
       k.protect_until, k.process_until, k.compromised_at, k.changed_at, k.changed_by, k.identity,
       clock_timestamp() AS now,
       (SELECT count(*) FROM byokeep.profile_generation g
         WHERE g.holder = k.holder AND g.kek_id = k.kek_id AND g.kek_version = k.version
           AND g.key_state <> 'destroyed') AS dependents
  FROM byokeep.kek_version k
 WHERE (CAST(:ids AS uuid[]) IS NULL OR k.client_id = ANY (CAST(:ids AS uuid[])))
   AND (CAST(:kek_id AS text) IS NULL OR k.kek_id = :kek_id)
 ORDER BY k.kek_id, k.holder, k.version LIMIT :limit;

-- name: kek_look
SELECT k.holder, k.kek_id, k.version, k.client_id, k.environment, k.algorithm, k.bits, k.state, k.owner, k.made_at,
       k.protect_until, k.process_until, k.compromised_at, k.changed_at, k.changed_by, k.identity,
       clock_timestamp() AS now,
       (SELECT count(*) FROM byokeep.profile_generation g
         WHERE g.holder = k.holder AND g.kek_id = k.kek_id AND g.kek_version = k.version
           AND g.key_state <> 'destroyed') AS dependents
  FROM byokeep.kek_version k
 WHERE k.holder = :holder AND k.kek_id = :kek_id AND k.version = :version;

-- name: kek_lock
-- Whoever makes, rotates or ends a version of one key stands in line here.
SELECT pg_advisory_xact_lock(hashtextextended('kek:' || CAST(:kek_id AS text), 0));

-- name: kek_now
SELECT clock_timestamp() AS now;

-- name: kek_version_insert
INSERT INTO byokeep.kek_version
       (holder, kek_id, version, client_id, environment, algorithm, bits, state, owner, made_at, protect_until,
        process_until, changed_by)
VALUES (:holder, :kek_id, :version, :client_id, :environment, :algorithm, :bits, 'pre_activation', :owner, :made_at,
        :protect_until, :process_until, :changed_by)
ON CONFLICT DO NOTHING
RETURNING version;

-- name: kek_pin
-- Which key a version is, once; it is never told anew.
UPDATE byokeep.kek_version SET identity = :identity
 WHERE holder = :holder AND kek_id = :kek_id AND version = :version AND identity = ''
RETURNING version;

-- name: kek_set_state
UPDATE byokeep.kek_version
   SET state = :state_to, changed_at = clock_timestamp(), changed_by = :changed_by,
       compromised_at = CASE WHEN :state_to = 'compromised' THEN clock_timestamp() ELSE compromised_at END
 WHERE holder = :holder AND kek_id = :kek_id AND version = :version AND state = :state_from
RETURNING version;

-- name: kek_compromised_late
-- A compromise that came to light after the end (S-NIST-6): the state stays, the time is kept.
UPDATE byokeep.kek_version
   SET compromised_at = clock_timestamp(), changed_at = clock_timestamp(), changed_by = :changed_by
 WHERE holder = :holder AND kek_id = :kek_id AND version = :version AND state = 'destroyed' AND compromised_at IS NULL
RETURNING version;

-- name: kek_transition_insert
INSERT INTO byokeep.vault_key_transition (id, client_id, kind, key_id, version, state_from, state_to, reason, by)
VALUES (:id, :client_id, 'kek', :kek_id, :version, :state_from, :state_to, :reason, :by)
RETURNING id;

-- name: kek_transitions
SELECT state_from, state_to, reason, at, by FROM byokeep.vault_key_transition
 WHERE kind = 'kek' AND key_id = :kek_id AND version = :version ORDER BY at, id;

-- name: kek_stopped_by
-- Who let a version that is to be ended protect nothing more, or called it compromised, last: its end takes another person.
-- An end takes every older version along.
SELECT DISTINCT ON (t.version) t.version, t.by
  FROM byokeep.vault_key_transition t
  JOIN byokeep.kek_version k ON k.kek_id = t.key_id AND k.version = t.version
 WHERE t.kind = 'kek' AND t.key_id = :kek_id AND t.version <= :version
   AND (k.state <> 'destroyed' OR t.version = :version)
   AND t.state_to IN ('deactivated', 'compromised')
 ORDER BY t.version, t.at DESC;

-- name: kek_dependents
-- What hangs on a version, or on a key: artifacts, tenants, profiles, accounts (S-NIST-16). No version: on any. With
-- ``exposed`` also what hung on that version once and was wrapped anew since.
SELECT g.client_id, c.name AS client, g.profile_id, g.generation, g.dek_id, g.kek_version, g.blob_key, g.blob_size,
       g.key_state, g.sealed_at, p.state AS profile_state, g.generation = p.generation AS newest,
       (SELECT coalesce(array_agg(a.platform || '/' || a.account ORDER BY a.platform), '{}')
          FROM byokeep.profile_account o
          JOIN byokeep.platform_account a ON a.client_id = o.client_id AND a.id = o.account_id
         WHERE o.client_id = g.client_id AND o.profile_id = g.profile_id) AS accounts
  FROM byokeep.profile_generation g
  JOIN byokeep.profile p ON p.client_id = g.client_id AND p.id = g.profile_id
  JOIN byokeep.client c ON c.id = g.client_id
 WHERE g.holder = :holder AND g.kek_id = :kek_id AND g.key_state <> 'destroyed'
   AND (CAST(:version AS integer) IS NULL OR g.kek_version = CAST(:version AS integer)
        OR CAST(:exposed AS boolean) AND EXISTS (
           SELECT FROM byokeep.audit_record r
            WHERE r.chain = g.client_id AND r.object_id = g.profile_id AND r.event = 'kek.rewrapped'
              AND convert_from(r.payload, 'UTF8')::jsonb -> 'fields' @> jsonb_build_object(
                  'dek', CAST(g.dek_id AS text), 'kek', g.kek_id, 'from_version', CAST(:version AS integer))))
   AND (CAST(:ids AS uuid[]) IS NULL OR g.client_id = ANY (CAST(:ids AS uuid[])))
 ORDER BY g.client_id, g.profile_id, g.generation LIMIT :limit;

-- name: kek_dependents_below
-- How many wrapped keys an end of all versions below one would take along.
SELECT count(*) AS found FROM byokeep.profile_generation g
 WHERE g.holder = :holder AND g.kek_id = :kek_id AND g.kek_version < :below AND g.key_state <> 'destroyed';

-- name: kek_clients_behind
-- Whose wrapped keys still stand on versions below one. A compromised one is not moved: it opens nothing, and is destroyed.
SELECT DISTINCT g.client_id FROM byokeep.profile_generation g
 WHERE g.holder = :holder AND g.kek_id = :kek_id AND g.kek_version < :below AND g.key_state NOT IN ('compromised', 'destroyed')
 ORDER BY g.client_id;

-- name: kek_profiles_behind
-- Profiles of a client with wrapped keys on versions below one; those that somebody has open come last, for a seal may
-- be on its way. In no order, so that many that cannot be moved keep no other from its turn.
SELECT p.id, coalesce(o.until > clock_timestamp(), false) AS open
  FROM byokeep.profile p
  LEFT JOIN byokeep.profile_opening o ON o.client_id = p.client_id AND o.profile_id = p.id
 WHERE p.client_id = :client_id
   AND EXISTS (SELECT FROM byokeep.profile_generation g
                WHERE g.client_id = p.client_id AND g.profile_id = p.id AND g.holder = :holder AND g.kek_id = :kek_id
                  AND g.kek_version < :below AND g.key_state NOT IN ('compromised', 'destroyed'))
 ORDER BY 2, random() LIMIT :limit;

-- name: kek_generations_behind
SELECT g.* FROM byokeep.profile_generation g
 WHERE g.client_id = :client_id AND g.profile_id = :profile_id AND g.holder = :holder AND g.kek_id = :kek_id
   AND g.kek_version < :below AND g.key_state NOT IN ('compromised', 'destroyed')
 ORDER BY g.generation;

-- name: kek_rewrapped
-- The row follows the record; only from what it was when the record was read, and never for a destroyed key.
WITH moved AS (
UPDATE byokeep.profile_generation
   SET kek_version = :kek_version, record_version = :record_version
 WHERE client_id = :client_id AND profile_id = :profile_id AND generation = :generation AND dek_id = :dek_id
   AND kek_version = :from_version AND record_version = :base AND key_state NOT IN ('compromised', 'destroyed')
RETURNING dek_id)
UPDATE byokeep.kek_rotation SET moved = moved + 1
 WHERE id = :rotation AND state = 'rewrapping' AND EXISTS (SELECT FROM moved)
RETURNING moved;

-- name: kek_rotation_start
-- One that is open goes on to the next version: the one that it went to was compromised, or lies before those that the
-- database lacked.
INSERT INTO byokeep.kek_rotation (id, client_id, holder, kek_id, from_version, to_version, reason, started_by)
VALUES (:id, :client_id, :holder, :kek_id, :from_version, :to_version, :reason, :started_by)
ON CONFLICT (holder, kek_id) WHERE ended_at IS NULL
DO UPDATE SET from_version = EXCLUDED.from_version, to_version = EXCLUDED.to_version, reason = EXCLUDED.reason,
              started_by = EXCLUDED.started_by
RETURNING *, 0::bigint AS remaining;

-- name: kek_rotation_get
SELECT r.*, (SELECT count(*) FROM byokeep.profile_generation g
              WHERE g.holder = r.holder AND g.kek_id = r.kek_id AND g.kek_version < r.to_version
                AND g.key_state NOT IN ('compromised', 'destroyed')) AS remaining
  FROM byokeep.kek_rotation r WHERE r.id = :id;

-- name: kek_rotations
-- Those under way first, then the newest.
SELECT r.*, (SELECT count(*) FROM byokeep.profile_generation g
              WHERE g.holder = r.holder AND g.kek_id = r.kek_id AND g.kek_version < r.to_version
                AND g.key_state NOT IN ('compromised', 'destroyed')) AS remaining
  FROM byokeep.kek_rotation r
 WHERE (CAST(:ids AS uuid[]) IS NULL OR r.client_id = ANY (CAST(:ids AS uuid[])))
   AND (CAST(:kek_id AS text) IS NULL OR r.kek_id = :kek_id) AND (NOT CAST(:open AS boolean) OR r.state = 'rewrapping')
 ORDER BY r.ended_at DESC NULLS FIRST, r.started_at DESC LIMIT :limit;

-- name: kek_rotations_cut
-- Clients with a version that was announced a while ago and protects nothing yet. What was refused waits for a person.
-- In no order: those that nobody may act for keep no other from its turn.
SELECT k.client_id FROM byokeep.kek_version k
 WHERE k.state = 'pre_activation' AND k.version > 1 AND k.made_at < clock_timestamp() - interval '1 minute'
   AND NOT EXISTS (SELECT FROM byokeep.alert a
                    WHERE a.client_id = k.client_id AND a.reason = 'kek_not_moved' AND a.closed_at IS NULL
                      AND a.last_seen_at >= k.made_at)
 ORDER BY random() LIMIT :limit;

-- name: kek_rotation_end
-- Done is what has nothing left on the old versions, by one statement.
UPDATE byokeep.kek_rotation r SET state = 'done', ended_at = clock_timestamp()
 WHERE r.id = :id AND r.state = 'rewrapping'
   AND NOT EXISTS (SELECT FROM byokeep.profile_generation g
                    WHERE g.holder = r.holder AND g.kek_id = r.kek_id AND g.kek_version < r.to_version
                      AND g.key_state NOT IN ('compromised', 'destroyed'))
RETURNING r.moved;

-- name: kek_last_check
-- When each key was compared with its holder last, and what came of it.
SELECT DISTINCT ON (f ->> 'kek') f ->> 'kek' AS kek_id, r.at, r.outcome, coalesce((f ->> 'found')::integer, 0) AS found,
       coalesce(f ->> 'cause', '') AS cause
  FROM byokeep.audit_record r
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) said
 WHERE r.event = 'kek.checked' AND (CAST(:ids AS uuid[]) IS NULL OR r.chain = ANY (CAST(:ids AS uuid[])))
 ORDER BY f ->> 'kek', r.at DESC;

-- name: keks_to_check
-- The clients whose keys were not compared with OpenBao for a while.
SELECT DISTINCT k.client_id
  FROM byokeep.kek_version k
 WHERE k.holder = 'transit' AND NOT EXISTS (SELECT FROM byokeep.audit_record r
                    WHERE r.event = 'kek.checked' AND r.chain = k.client_id
                      AND r.at > clock_timestamp() - make_interval(secs => :within_s)
                      AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,kek}' = k.kek_id)
 ORDER BY k.client_id LIMIT :limit;

-- name: keks_to_tidy
-- A client of whose key a rotation ended a while ago, and within a week: whatever kept it out of reach is tried that long.
SELECT DISTINCT r.client_id FROM byokeep.kek_rotation r
 WHERE r.client_id = :client_id
   AND r.ended_at BETWEEN clock_timestamp() - interval '7 days' AND clock_timestamp() - make_interval(secs => :after_s)
   AND NOT EXISTS (SELECT FROM byokeep.kek_rotation n
                    WHERE n.kek_id = r.kek_id AND coalesce(n.ended_at, 'infinity') > clock_timestamp() - make_interval(secs => :after_s));

-- name: deks_with_broken_history
-- Keys of profiles whose moves do not lead to the state that their row shows, or are not on record: an edit (R2.3-7).
-- Nothing comes after destroyed; the two moves of an end once had one time.
WITH steps AS (
SELECT t.key_id, t.client_id, t.version, t.state_from, t.state_to, t.at, t.id,
       lag(t.state_to) OVER (PARTITION BY t.key_id ORDER BY t.at, t.state_to = 'destroyed', t.id) AS before,
       row_number() OVER (PARTITION BY t.key_id ORDER BY t.at DESC, t.state_to = 'destroyed' DESC, t.id DESC) = 1 AS last
  FROM byokeep.vault_key_transition t WHERE t.kind = 'dek')
SELECT g.client_id, g.profile_id, g.generation, g.dek_id
  FROM byokeep.profile_generation g
 WHERE (CAST(:ids AS uuid[]) IS NULL OR g.client_id = ANY (CAST(:ids AS uuid[])))
   AND (g.key_state <> coalesce((SELECT s.state_to FROM steps s WHERE s.key_id = CAST(g.dek_id AS text) AND s.last),
                                'active')
        OR EXISTS (SELECT FROM steps s
                    WHERE s.key_id = CAST(g.dek_id AS text) AND s.state_from <> coalesce(s.before, 'active'))
        OR EXISTS (SELECT FROM steps s
                    WHERE s.key_id = CAST(g.dek_id AS text) AND NOT EXISTS (
                        SELECT FROM byokeep.audit_record r
                         WHERE r.chain = g.client_id AND r.event = 'dek.state_changed' AND r.outcome = 'ok'
                           AND r.object_id = g.profile_id
                           AND convert_from(r.payload, 'UTF8')::jsonb -> 'fields' @> jsonb_build_object(
                               'dek', s.key_id, 'state_from', s.state_from, 'state_to', s.state_to))))
 ORDER BY g.client_id, g.profile_id, g.generation LIMIT :limit;

-- name: kek_moves_on_record
-- How many moves of a version to a state the audit trail has; each row of its history must have one.
SELECT count(*) AS found FROM byokeep.audit_record r
 WHERE r.event = 'kek.state_changed' AND r.outcome = 'ok' AND r.chain = :client_id
   AND convert_from(r.payload, 'UTF8')::jsonb -> 'fields' @> jsonb_build_object(
       'kek', CAST(:kek_id AS text), 'kek_version', CAST(:version AS integer));

-- name: kek_exposed
-- Every key that a version ever wrapped: what it wraps now, and what was moved away from it.
SELECT g.* FROM byokeep.profile_generation g
 WHERE g.holder = :holder AND g.kek_id = :kek_id
   AND (g.kek_version = :version OR EXISTS (
        SELECT FROM byokeep.audit_record r
         WHERE r.chain = g.client_id AND r.object_id = g.profile_id AND r.event = 'kek.rewrapped'
           AND convert_from(r.payload, 'UTF8')::jsonb -> 'fields' @> jsonb_build_object(
               'dek', CAST(g.dek_id AS text), 'kek', g.kek_id, 'from_version', CAST(:version AS integer))))
 ORDER BY g.client_id, g.profile_id, g.generation;

-- name: kek_guarded_hold
-- The profiles and generations that one key guards, held until the transaction ends.
SELECT g.dek_id
  FROM byokeep.profile_generation g
  JOIN byokeep.profile p ON p.client_id = g.client_id AND p.id = g.profile_id
 WHERE g.holder = :holder AND g.kek_id = :kek_id
 ORDER BY g.client_id, g.profile_id, g.generation
   FOR UPDATE OF p, g;

-- name: kek_last_asked
-- Who asked a worker last for something about a client's keys, and in which request.
SELECT actor_id, request_id FROM byokeep.audit_record
 WHERE chain = :chain AND object_id = :chain AND event = 'access.decided' AND outcome = 'intended'
   AND convert_from(payload, 'UTF8')::jsonb -> 'fields' ->> 'verb' = :verb
 ORDER BY seq DESC LIMIT 1;

-- name: kek_profiles_due
-- A compromised key makes every profile due that it guarded since a person last logged in, with an empty browser: a job
-- that seals anew keeps the session. What was restored since may be of before.
UPDATE byokeep.profile p SET due_at = LEAST(p.due_at, clock_timestamp()), due_cause = 'incident'
 WHERE p.state NOT IN ('retired', 'shredded')
   AND EXISTS (SELECT FROM byokeep.profile_generation g
                WHERE g.client_id = p.client_id AND g.profile_id = p.id AND g.dek_id = ANY (CAST(:deks AS uuid[]))
                  AND g.generation >= coalesce((
                      SELECT CASE WHEN w.kind = 'login' THEN n.generation END
                        FROM byokeep.profile_generation n
                        JOIN byokeep.profile_work w ON w.client_id = n.client_id AND w.job_id = n.job_id
                       WHERE n.client_id = p.client_id AND n.profile_id = p.id
                         AND (w.kind = 'login' AND w.confirmed_by IS NOT NULL OR w.kind = 'restore')
                       ORDER BY n.generation DESC LIMIT 1), 0))
RETURNING p.id, p.client_id;
