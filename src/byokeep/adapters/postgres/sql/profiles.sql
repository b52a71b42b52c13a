-- Browser profiles (SOP 5.3): what there is, who has it open, what was asked for, what was sealed.

-- name: profile_insert
INSERT INTO byokeep.profile (id, client_id, packing, created_by, replaces)
VALUES (:id, :client_id, :packing, :created_by, CAST(:replaces AS uuid))
RETURNING *, '[]'::jsonb AS accounts, NULL::timestamptz AS sealed_at, NULL::uuid AS sop_id, NULL::uuid AS incident;

-- name: profile_account_insert
INSERT INTO byokeep.profile_account (client_id, profile_id, account_id, platform)
VALUES (:client_id, :profile_id, :account_id, :platform)
RETURNING account_id;

-- name: profile_lock
-- Acts on one profile stand in line here until the transaction ends; an id that nobody has yet can be locked too.
SELECT pg_advisory_xact_lock(hashtextextended('profile:' || CAST(:profile_id AS text), 0));

-- name: profile_taken
-- The living profile of an account, if it has one.
SELECT profile_id AS id FROM byokeep.profile_account
 WHERE client_id = :client_id AND account_id = :account_id AND retired_at IS NULL;

-- name: profile_get
-- Of a client (none: whoever's it is), with its accounts, whose expected ids are the platform's own where one was ever connected (as the gate has it), and the newest seal's time.
SELECT p.*,
       (SELECT g.sealed_at FROM byokeep.profile_generation g
         WHERE g.client_id = p.client_id AND g.profile_id = p.id AND g.generation = p.generation) AS sealed_at,
       (SELECT s.id FROM byokeep.procedure_run s
         WHERE s.client_id = p.client_id AND s.object_id = p.id AND s.procedure = 'create_profile'
         ORDER BY s.started_at DESC LIMIT 1) AS sop_id,
       (SELECT i.id FROM byokeep.profile_incident_item n
          JOIN byokeep.procedure_run i ON i.id = n.incident_id AND i.state <> 'complete'
         WHERE n.client_id = p.client_id AND p.id IN (n.profile_id, n.new_profile_id) LIMIT 1) AS incident,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'account_id', a.id, 'platform', a.platform, 'account', a.account,
                   'username', coalesce(t.username, a.username),
                   'display_name', coalesce(t.display_name, a.display_name),
                   'external_id', coalesce(t.external_id, a.account), 'lanes', a.lanes,
                   'retired', pa.retired_at IS NOT NULL) ORDER BY a.platform), '[]')
          FROM byokeep.profile_account pa
          JOIN byokeep.platform_account a ON a.client_id = pa.client_id AND a.id = pa.account_id
          LEFT JOIN byokeep.account_grant t ON t.client_id = a.client_id AND t.account_id = a.id
         WHERE pa.client_id = p.client_id AND pa.profile_id = p.id) AS accounts
  FROM byokeep.profile p
 WHERE (CAST(:client_id AS uuid) IS NULL OR p.client_id = CAST(:client_id AS uuid)) AND p.id = :id;

-- name: profiles_list
SELECT p.*,
       (SELECT g.sealed_at FROM byokeep.profile_generation g
         WHERE g.client_id = p.client_id AND g.profile_id = p.id AND g.generation = p.generation) AS sealed_at,
       (SELECT s.id FROM byokeep.procedure_run s
         WHERE s.client_id = p.client_id AND s.object_id = p.id AND s.procedure = 'create_profile'
         ORDER BY s.started_at DESC LIMIT 1) AS sop_id,
       (SELECT i.id FROM byokeep.profile_incident_item n
          JOIN byokeep.procedure_run i ON i.id = n.incident_id AND i.state <> 'complete'
         WHERE n.client_id = p.client_id AND p.id IN (n.profile_id, n.new_profile_id) LIMIT 1) AS incident,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'account_id', a.id, 'platform', a.platform, 'account', a.account,
                   'username', coalesce(t.username, a.username),
                   'display_name', coalesce(t.display_name, a.display_name),
                   'external_id', coalesce(t.external_id, a.account), 'lanes', a.lanes,
                   'retired', pa.retired_at IS NOT NULL) ORDER BY a.platform), '[]')
          FROM byokeep.profile_account pa
          JOIN byokeep.platform_account a ON a.client_id = pa.client_id AND a.id = pa.account_id
          LEFT JOIN byokeep.account_grant t ON t.client_id = a.client_id AND t.account_id = a.id
         WHERE pa.client_id = p.client_id AND pa.profile_id = p.id) AS accounts
  FROM byokeep.profile p
 WHERE p.client_id = :client_id
   AND (NOT CAST(:due AS boolean) OR (p.due_at <= clock_timestamp() AND p.state NOT IN ('retired', 'shredded')))
 ORDER BY p.created_at, p.id LIMIT :limit;

-- name: profile_move
UPDATE byokeep.profile SET state = :state, reason = :reason
 WHERE client_id = :client_id AND id = :id AND state = :state_from
RETURNING id;

-- name: profile_confirmed
UPDATE byokeep.profile SET state = :state, reason = '', confirmed_at = clock_timestamp(), confirmed_by = :confirmed_by
 WHERE client_id = :client_id AND id = :id AND state = :state_from
RETURNING confirmed_at;

-- name: profile_sealed
-- The newest generation moves with its row; only from the one that the seal began with, and under its epoch.
UPDATE byokeep.profile
   SET generation = :generation, state = :state, reason = '',
       due_at = CASE WHEN :clears THEN :due_at ELSE LEAST(due_at, :due_at) END,
       due_cause = CASE WHEN :clears THEN '' ELSE due_cause END
 WHERE client_id = :client_id AND id = :id AND generation = :base AND epoch = :epoch AND state = :state_from
RETURNING id;

-- name: profile_validated
UPDATE byokeep.profile
   SET state = :state, reason = '', validated_generation = :generation, validated_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :id AND generation = :generation AND state = :state_from
RETURNING validated_at;

-- name: profile_due
UPDATE byokeep.profile SET due_at = clock_timestamp(), due_cause = :cause
 WHERE client_id = :client_id AND state NOT IN ('retired', 'shredded') AND generation > 0
   AND (CAST(:id AS uuid) IS NULL OR id = CAST(:id AS uuid))
RETURNING id, due_at;

-- name: profiles_come_due
-- Due by the clock, and nobody was told yet.
SELECT p.id, p.client_id, p.due_at FROM byokeep.profile p
 WHERE p.due_at <= clock_timestamp() AND p.due_cause = '' AND p.state NOT IN ('retired', 'shredded')
 ORDER BY p.due_at LIMIT 200;

-- name: profile_marked_due
UPDATE byokeep.profile SET due_cause = :cause
 WHERE client_id = :client_id AND id = :id AND due_at <= clock_timestamp() AND due_cause = ''
   AND state NOT IN ('retired', 'shredded')
RETURNING due_at;

-- name: profiles_overdue
-- Past the longest time that one key may guard a session, and no alert of it is open.
SELECT p.id, p.client_id FROM byokeep.profile p
  JOIN byokeep.profile_generation g
    ON g.client_id = p.client_id AND g.profile_id = p.id AND g.generation = p.generation
 WHERE g.sealed_at <= clock_timestamp() - make_interval(days => :days) AND p.state NOT IN ('retired', 'shredded')
   AND NOT EXISTS (SELECT FROM byokeep.alert l
                    WHERE l.dedup_key = 'profile_overdue:' || CAST(p.id AS text) AND l.closed_at IS NULL)
 ORDER BY g.sealed_at LIMIT 200;

-- name: profile_account_retired
UPDATE byokeep.profile_account SET retired_at = clock_timestamp()
 WHERE client_id = :client_id AND profile_id = :profile_id AND retired_at IS NULL
RETURNING account_id;

-- name: generations_of
SELECT * FROM byokeep.profile_generation
 WHERE client_id = :client_id AND profile_id = :profile_id
 ORDER BY generation DESC LIMIT :limit;

-- name: generation_of
SELECT * FROM byokeep.profile_generation
 WHERE client_id = :client_id AND profile_id = :profile_id AND generation = :generation;

-- name: generation_insert
INSERT INTO byokeep.profile_generation
       (client_id, profile_id, generation, dek_id, holder, kek_id, kek_version, blob_key, blob_sha256, blob_size,
        packed_size, manifest_hash, accounts_hash, record_version, browser_version, sealed_at, sealed_by, job_id,
        store_request)
VALUES (:client_id, :profile_id, :generation, :dek_id, :holder, :kek_id, :kek_version, :blob_key, :blob_sha256,
        :blob_size, :packed_size, :manifest_hash, :accounts_hash, :record_version, :browser_version, clock_timestamp(),
        :sealed_by, :job_id, :store_request)
RETURNING sealed_at;

-- name: generation_key_state
UPDATE byokeep.profile_generation SET key_state = :state_to
 WHERE client_id = :client_id AND profile_id = :profile_id AND generation = :generation AND key_state = :state_from
RETURNING dek_id;

-- name: generation_gone
UPDATE byokeep.profile_generation SET gone_at = clock_timestamp()
 WHERE client_id = :client_id AND profile_id = :profile_id AND generation = :generation AND gone_at IS NULL
RETURNING dek_id;

-- name: vault_key_moved
-- Later than every move of this key before, also of one in the same transaction, or with a clock that was set back.
INSERT INTO byokeep.vault_key_transition (id, client_id, kind, key_id, version, state_from, state_to, reason, by, at)
VALUES (:id, :client_id, 'dek', :key_id, :version, :state_from, :state_to, :reason, :by,
        GREATEST(clock_timestamp(), (SELECT max(t.at) + interval '1 microsecond' FROM byokeep.vault_key_transition t
                                      WHERE t.kind = 'dek' AND t.key_id = :key_id)))
RETURNING id;

-- name: profiles_with_old_keys
-- Profiles of which an older generation's key still protects, or is kept longer than it should be; and what a shred that
-- was cut off left. In no order, so that many that nobody can work on now keep no other from its turn.
SELECT p.id, p.client_id FROM byokeep.profile p
  JOIN byokeep.profile_generation g ON g.client_id = p.client_id AND g.profile_id = p.id
 WHERE CASE p.state
       WHEN 'shredded' THEN g.gone_at IS NULL AND NOT EXISTS (
            SELECT FROM byokeep.profile_opening o
             WHERE o.client_id = p.client_id AND o.profile_id = p.id AND o.until > clock_timestamp())
       ELSE (g.generation < p.generation AND g.key_state = 'active')
            OR (g.generation < p.generation - :retained AND g.key_state = 'deactivated')
            OR (g.key_state = 'destroyed' AND g.gone_at IS NULL)
       END
 GROUP BY p.id, p.client_id ORDER BY random() LIMIT :limit;

-- name: opening_of
SELECT o.*, o.until > clock_timestamp() AS open FROM byokeep.profile_opening o
 WHERE o.client_id = :client_id AND o.profile_id = :profile_id;

-- name: opening_fresh
-- Whether an opening is so young that what it opens is still handed out.
SELECT o.opened_at > clock_timestamp() - make_interval(secs => :within_s) AS fresh FROM byokeep.profile_opening o
 WHERE o.client_id = :client_id AND o.profile_id = :profile_id;

-- name: opening_epoch
-- Counts one more opening; whoever holds an older number may not seal any more.
UPDATE byokeep.profile SET epoch = epoch + 1 WHERE client_id = :client_id AND id = :id RETURNING epoch;

-- name: opening_take
-- One opener at a time: an opening that is not over stays, and no row comes back.
INSERT INTO byokeep.profile_opening AS o
       (client_id, profile_id, epoch, generation, purpose, job_id, opener_id, opened_at, until)
SELECT :client_id, :profile_id, :epoch, :generation, :purpose, :job_id, :opener_id, t.now,
       t.now + make_interval(secs => :life_s)
  FROM (SELECT clock_timestamp() AS now) t
ON CONFLICT (client_id, profile_id) DO UPDATE
   SET epoch = EXCLUDED.epoch, generation = EXCLUDED.generation, purpose = EXCLUDED.purpose, job_id = EXCLUDED.job_id,
       opener_id = EXCLUDED.opener_id, opened_at = EXCLUDED.opened_at, until = EXCLUDED.until
 WHERE o.until <= clock_timestamp()
RETURNING *, true AS open;

-- name: opening_beat
UPDATE byokeep.profile_opening SET until = clock_timestamp() + make_interval(secs => :life_s)
 WHERE client_id = :client_id AND profile_id = :profile_id AND epoch = :epoch AND until > clock_timestamp()
RETURNING until;

-- name: opening_end
UPDATE byokeep.profile_opening SET until = clock_timestamp()
 WHERE client_id = :client_id AND profile_id = :profile_id AND epoch = :epoch AND until > clock_timestamp()
RETURNING purpose;

-- name: work_insert
INSERT INTO byokeep.profile_work
       (id, client_id, profile_id, job_id, incident_id, generation, kind, asked_by, asked_at)
VALUES (:id, :client_id, :profile_id, :job_id, CAST(:incident_id AS uuid), CAST(:generation AS integer), :kind,
        :asked_by, clock_timestamp())
RETURNING *;

-- name: work_get
SELECT * FROM byokeep.profile_work WHERE client_id = :client_id AND id = :id;

-- name: work_open
-- What is under way for a profile.
SELECT * FROM byokeep.profile_work WHERE client_id = :client_id AND profile_id = :profile_id AND ended_at IS NULL;

-- name: work_newest
SELECT * FROM byokeep.profile_work
 WHERE client_id = :client_id AND profile_id = :profile_id ORDER BY asked_at DESC LIMIT :limit;

-- name: work_take
-- One worker takes it up; another's that gives no sign of life any more is taken over.
UPDATE byokeep.profile_work SET state = 'running', owner = :owner, beat_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :id AND ended_at IS NULL
   AND (state = 'asked' OR (state = 'confirmed' AND owner IS NULL)
        OR beat_at < clock_timestamp() - make_interval(secs => :dead_s))
RETURNING *;

-- name: work_beat
UPDATE byokeep.profile_work SET beat_at = clock_timestamp(), state = coalesce(CAST(:state AS text), state),
       result = coalesce(CAST(:result AS text), result)
 WHERE client_id = :client_id AND id = :id AND owner = :owner AND ended_at IS NULL
RETURNING *;

-- name: work_wait
-- Asked for, and not to be done before a second person agrees.
UPDATE byokeep.profile_work SET state = 'waiting' WHERE client_id = :client_id AND id = :id AND state = 'asked'
RETURNING *;

-- name: work_confirm
UPDATE byokeep.profile_work SET state = 'confirmed', confirmed_by = :confirmed_by, confirmed_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :id AND state = 'waiting' AND ended_at IS NULL
RETURNING *;

-- name: work_end
UPDATE byokeep.profile_work SET state = :state, reason = :reason, result = :result, ended_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :id AND ended_at IS NULL
RETURNING *;

-- name: work_cancel
UPDATE byokeep.profile_work SET state = 'cancelled', reason = :reason, ended_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :id AND ended_at IS NULL
RETURNING *;

-- name: works_lost
-- Work whose worker died, or that nobody took up.
SELECT * FROM byokeep.profile_work
 WHERE ended_at IS NULL
   AND (((state = 'asked' OR (state = 'waiting' AND kind = 'shred'))
         AND asked_at < clock_timestamp() - make_interval(secs => :asked_s))
        OR (state = 'confirmed' AND owner IS NULL
            AND confirmed_at < clock_timestamp() - make_interval(secs => :asked_s))
        OR (state <> 'asked' AND beat_at < clock_timestamp() - make_interval(secs => :dead_s)))
 ORDER BY asked_at LIMIT 50;

-- name: seals_cut_off
-- Seals that were announced, never recorded, and not cleared away yet: what they may have written is nobody's. In no
-- order: those that cannot be cleared away keep no other from its turn. Of those of more than a week ago only where a
-- comparison has found something.
WITH announced AS (
SELECT p.client_id, p.id AS profile_id, r.seq, r.at, r.payload
  FROM byokeep.profile p
  JOIN byokeep.audit_record r ON r.chain = p.client_id AND r.object_id = p.id
 WHERE r.event = 'profile.seal' AND r.outcome = 'intended'
   AND r.at BETWEEN clock_timestamp() - interval '7 days' AND clock_timestamp() - make_interval(secs => :older_than_s)
UNION ALL
SELECT p.client_id, p.id, r.seq, r.at, r.payload
  FROM byokeep.profile p
  JOIN byokeep.audit_record r ON r.chain = p.client_id AND r.object_id = p.id
 WHERE r.event = 'profile.seal' AND r.outcome = 'intended' AND r.at < clock_timestamp() - interval '7 days'
   AND p.id IN (SELECT a.object_id FROM byokeep.alert a
                 WHERE a.closed_at IS NULL AND a.reason IN ('profile_record_orphan', 'profile_blob_orphan')))
SELECT p.client_id, p.profile_id, p.seq, p.at, p.payload
  FROM announced p
 CROSS JOIN LATERAL (SELECT convert_from(p.payload, 'UTF8')::jsonb #>> '{fields,dek}' AS id) d
 WHERE NOT EXISTS (SELECT FROM byokeep.profile_generation g
                    WHERE g.client_id = p.client_id AND CAST(g.dek_id AS text) = d.id)
   AND NOT EXISTS (SELECT FROM byokeep.audit_record e
                    WHERE e.chain = p.client_id AND e.object_id = p.profile_id AND e.event = 'profile.seal'
                      AND e.outcome = 'failed' AND e.seq > p.seq
                      AND convert_from(e.payload, 'UTF8')::jsonb #>> '{fields,dek}' = d.id)
 ORDER BY random() LIMIT :limit;

-- name: dek_known
-- The profile of this client that used a key's id.
SELECT profile_id FROM byokeep.profile_generation WHERE dek_id = :dek_id;

-- name: dek_used
-- The same, of whichever client.
SELECT profile_id FROM byokeep.dek_used(:dek_id) AS profile_id;

-- name: profile_sealed_last
-- The newest generation that the client's chain says was sealed; a seal that came to nothing stands there as none.
SELECT coalesce(max(CAST(convert_from(r.payload, 'UTF8')::jsonb -> 'fields' ->> 'generation' AS integer)), 0) AS generation
  FROM byokeep.audit_record r
 WHERE r.chain = :client_id AND r.object_id = :profile_id AND r.event = 'profile.sealed' AND r.outcome = 'ok';

-- name: generations_like
-- Whose blob, key or profile turned up in another's place.
SELECT DISTINCT client_id, profile_id FROM byokeep.profile_generation
 WHERE dek_id = CAST(:dek_id AS uuid) OR blob_sha256 = CAST(:blob_sha256 AS bytea)
    OR profile_id = CAST(:profile_id AS uuid)
 LIMIT 10;

-- name: profile_lanes_off
UPDATE byokeep.platform_account a SET lanes = array_remove(a.lanes, 'browser')
  FROM byokeep.profile_account pa
 WHERE pa.client_id = :client_id AND pa.profile_id = :profile_id
   AND a.client_id = pa.client_id AND a.id = pa.account_id AND 'browser' = ANY (a.lanes)
RETURNING a.id, a.platform, a.lanes;

-- name: sop_of_profile
SELECT * FROM byokeep.procedure_run
 WHERE client_id = :client_id AND object_id = :profile_id AND procedure = 'create_profile'
 ORDER BY started_at DESC LIMIT 1;

-- name: sop_of_account_profile
-- The run of an account's living profile.
SELECT s.* FROM byokeep.procedure_run s
  JOIN byokeep.profile_account pa ON pa.client_id = s.client_id AND pa.profile_id = s.object_id
 WHERE s.client_id = :client_id AND s.procedure = 'create_profile' AND pa.account_id = :account_id AND pa.retired_at IS NULL
 ORDER BY s.started_at DESC LIMIT 1;

-- name: profile_generation_now
SELECT generation FROM byokeep.profile WHERE client_id = :client_id AND id = :id;

-- name: sealed_record
-- Where the newest seal of a profile stands on record.
SELECT r.seq, r.payload FROM byokeep.audit_record r
 WHERE r.chain = :client_id AND r.object_id = :profile_id AND r.event = 'profile.sealed' AND r.outcome = 'ok'
 ORDER BY r.seq DESC LIMIT 1;

-- name: tombstones_destroyed
-- Keys that are destroyed, and profiles that are to be: those are known before the first of their keys goes.
SELECT g.dek_id AS id FROM byokeep.profile_generation g WHERE g.key_state = 'destroyed'
UNION SELECT p.id FROM byokeep.profile p WHERE p.state = 'shredded';

-- name: tombstones_back
-- Keys that were destroyed once and are not now, and all keys of a profile that was shredded and is not now: a restore
-- brought them back. One that is being shredded loses its keys to its worker.
SELECT g.* FROM byokeep.profile_generation g
  JOIN byokeep.profile p ON p.client_id = g.client_id AND p.id = g.profile_id
 WHERE g.key_state <> 'destroyed'
   AND (g.dek_id = ANY (CAST(:ids AS uuid[])) OR p.id = ANY (CAST(:ids AS uuid[])) AND p.state <> 'shredded')
 ORDER BY g.client_id, g.profile_id, g.generation;

-- name: profile_proofs
-- The newest records of proofs of some profiles, of each one for each platform at the most.
SELECT r.object_id, r.payload FROM unnest(CAST(:profiles AS uuid[])) AS want (id)
 CROSS JOIN LATERAL (
       SELECT p.object_id, p.payload, p.seq FROM byokeep.audit_record p
        WHERE p.chain = :client_id AND p.object_id = want.id AND p.event = 'profile.validated' AND p.outcome = 'ok'
        ORDER BY p.seq DESC LIMIT 3) AS r
 ORDER BY r.seq DESC;

-- name: account_profile
-- An account by its names, and its living profile.
SELECT a.platform, a.account, pa.profile_id FROM byokeep.platform_account a
  LEFT JOIN byokeep.profile_account pa ON pa.client_id = a.client_id AND pa.account_id = a.id AND pa.retired_at IS NULL
 WHERE a.client_id = :client_id AND a.id = :account_id;
