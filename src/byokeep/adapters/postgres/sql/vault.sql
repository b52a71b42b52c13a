-- Runbook 7.3: the vault of browser profiles is suspected compromised.

-- name: vault_open
WITH i AS (
    INSERT INTO byokeep.profile_incident (id, client_id, cause, since)
    VALUES (:id, CAST(:client_id AS uuid), :cause, :since) RETURNING id, cause, since)
SELECT r.*, i.cause, i.since FROM i JOIN byokeep.procedure_run r ON r.id = i.id;

-- name: vault_lock
SELECT pg_advisory_xact_lock(hashtextextended('vault_incident', 0));

-- name: vault_open_ones
-- Incidents that are not closed and that cover a client (none: everybody).
SELECT r.*, i.cause, i.since FROM byokeep.profile_incident i JOIN byokeep.procedure_run r ON r.id = i.id
 WHERE r.state <> 'complete'
   AND (CAST(:client_id AS uuid) IS NULL OR i.client_id IS NULL OR i.client_id = CAST(:client_id AS uuid));

-- name: vault_get
SELECT r.*, i.cause, i.since FROM byokeep.profile_incident i JOIN byokeep.procedure_run r ON r.id = i.id
 WHERE i.id = :id;

-- name: vault_hold
SELECT r.*, i.cause, i.since FROM byokeep.profile_incident i JOIN byokeep.procedure_run r ON r.id = i.id
 WHERE i.id = :id FOR UPDATE OF r;

-- name: vault_list
SELECT r.*, i.cause, i.since FROM byokeep.profile_incident i JOIN byokeep.procedure_run r ON r.id = i.id
 WHERE CAST(:ids AS uuid[]) IS NULL OR r.client_id = ANY (CAST(:ids AS uuid[]))
 ORDER BY r.closed_at DESC NULLS FIRST, r.started_at DESC LIMIT :limit;

-- name: vault_cover
-- Every profile of the scope that was ever sealed and is not destroyed, for each of its platforms.
INSERT INTO byokeep.profile_incident_item (incident_id, client_id, profile_id, platform)
SELECT :incident_id, p.client_id, p.id, a.platform
  FROM byokeep.profile p
  JOIN byokeep.profile_account a ON a.client_id = p.client_id AND a.profile_id = p.id
 WHERE (CAST(:client_id AS uuid) IS NULL OR p.client_id = CAST(:client_id AS uuid))
   AND p.generation > 0 AND p.state NOT IN ('retired', 'shredded')
RETURNING client_id;

-- name: vault_items
SELECT i.*, p.state AS profile_state, p.generation, n.state AS new_state, n.generation AS new_generation,
       n.validated_generation AS new_validated, n.validated_at AS new_validated_at,
       -- The new profile's first seal came of a person's login, and of nothing else.
       EXISTS (SELECT FROM byokeep.profile_generation g
                 JOIN byokeep.profile_work w ON w.client_id = g.client_id AND w.job_id = g.job_id
                WHERE g.client_id = n.client_id AND g.profile_id = n.id AND g.generation = 1 AND w.kind = 'login'
                  AND w.confirmed_by IS NOT NULL) AS fresh_login,
       -- Old keys: how many there are, and how many are destroyed by a move on record. One that was marked compromised
       -- went from there; retention, for one, destroyed the others before step 4, which marks all that are left.
       (SELECT count(*) FROM byokeep.profile_generation g
         WHERE g.client_id = i.client_id AND g.profile_id = i.profile_id) AS keys,
       (SELECT count(*) FROM byokeep.profile_generation g
         WHERE g.client_id = i.client_id AND g.profile_id = i.profile_id AND g.key_state = 'destroyed'
           AND EXISTS (SELECT FROM byokeep.vault_key_transition t
                        WHERE t.kind = 'dek' AND t.key_id = CAST(g.dek_id AS text)
                          AND t.state_to = 'destroyed')) AS keys_destroyed,
       (SELECT w.state FROM byokeep.profile_work w
         WHERE w.client_id = i.client_id AND w.profile_id = i.profile_id AND w.incident_id = i.incident_id
           AND w.kind = 'logout' ORDER BY w.asked_at DESC LIMIT 1) AS logout_state,
       (SELECT w.state FROM byokeep.profile_work w
         WHERE w.client_id = i.client_id AND w.profile_id = i.profile_id AND w.incident_id = i.incident_id
           AND w.kind = 'shred' ORDER BY w.asked_at DESC LIMIT 1) AS shred_state,
       EXISTS (SELECT FROM byokeep.profile_work w
                WHERE w.client_id = i.client_id AND w.profile_id = i.profile_id AND w.ended_at IS NULL) AS old_busy,
       EXISTS (SELECT FROM byokeep.profile_work w
                WHERE w.client_id = i.client_id AND w.profile_id = i.new_profile_id AND w.ended_at IS NULL) AS new_busy,
       -- Of an exposed store: its browser lane is not off, or nobody was given its new sealing.
       p.state NOT IN ('retired', 'shredded')
       AND EXISTS (SELECT FROM byokeep.profile_incident o
                    WHERE o.id = i.incident_id AND o.cause = 'artifact_store_exposure')
       AND (EXISTS (SELECT FROM byokeep.profile_account pa
                      JOIN byokeep.platform_account a ON a.client_id = pa.client_id AND a.id = pa.account_id
                     WHERE pa.client_id = i.client_id AND pa.profile_id = i.profile_id AND 'browser' = ANY (a.lanes))
            OR NOT EXISTS (SELECT FROM byokeep.profile_work w
                            WHERE w.client_id = i.client_id AND w.profile_id = i.profile_id
                              AND w.incident_id = i.incident_id AND w.kind = 'rekey'
                              AND w.state NOT IN ('failed', 'expired', 'cancelled'))) AS exposed
  FROM byokeep.profile_incident_item i
  JOIN byokeep.profile p ON p.client_id = i.client_id AND p.id = i.profile_id
  LEFT JOIN byokeep.profile n ON n.client_id = i.client_id AND n.id = i.new_profile_id
 WHERE i.incident_id = :incident_id
 ORDER BY i.client_id, i.profile_id, i.platform;

-- name: vault_lane_off
-- Whether the browser lane of the scope is closed by a switch of its own, here.
SELECT EXISTS (SELECT FROM byokeep.switch s
                WHERE s.closed AND s.installation_id = :installation_id
                  AND (s.scope = 'lane:browser' OR s.scope = concat_ws(':', 'client', CAST(:client_id AS uuid),
                                                                       'lane:browser'))) AS off;

-- name: vault_still_open
-- Browsers of jobs that are not closed yet.
SELECT count(*) AS found FROM byokeep.profile_opening o
 WHERE o.purpose = 'use' AND o.until > clock_timestamp()
   AND (CAST(:client_id AS uuid) IS NULL OR o.client_id = CAST(:client_id AS uuid));

-- name: vault_session
UPDATE byokeep.profile_incident_item
   SET session = :session, session_at = clock_timestamp(), session_by = CAST(:by AS uuid)
 WHERE incident_id = :incident_id AND client_id = :client_id AND profile_id = :profile_id AND platform = :platform
   AND session = ANY (CAST(:from_states AS text[]))
RETURNING platform;

-- name: vault_replaced
UPDATE byokeep.profile_incident_item SET new_profile_id = :new_profile_id
 WHERE incident_id = :incident_id AND client_id = :client_id AND profile_id = :profile_id AND new_profile_id IS NULL
RETURNING platform;

-- name: vault_place
-- What replaces a profile that an open incident counted on takes its place there, if it is of the same accounts: nothing
-- of it is proved yet.
UPDATE byokeep.profile_incident_item n
   SET new_profile_id = :new_profile_id, identity_at = NULL, wrong_account_at = NULL
  FROM byokeep.procedure_run i
 WHERE i.id = n.incident_id AND i.state <> 'complete' AND n.client_id = :client_id AND n.new_profile_id = :profile_id
   AND NOT EXISTS (SELECT a.account_id FROM byokeep.profile_account a
                    WHERE a.client_id = :client_id AND a.profile_id = :profile_id
                   EXCEPT
                   SELECT a.account_id FROM byokeep.profile_account a
                    WHERE a.client_id = :client_id AND a.profile_id = :new_profile_id)
RETURNING n.platform;

-- name: vault_needs
-- The open incident that still needs a profile: as one whose keys it must see destroyed, or as a new one.
SELECT i.id, n.profile_id = :profile_id AS old
  FROM byokeep.profile_incident_item n
  JOIN byokeep.procedure_run i ON i.id = n.incident_id AND i.state <> 'complete'
 WHERE n.client_id = :client_id
   AND (n.new_profile_id = :profile_id OR (n.profile_id = :profile_id AND n.key_destroyed_at IS NULL))
 LIMIT 1;

-- name: vault_key_gone
UPDATE byokeep.profile_incident_item SET key_destroyed_at = clock_timestamp()
 WHERE incident_id = :incident_id AND client_id = :client_id AND profile_id = :profile_id AND key_destroyed_at IS NULL
RETURNING platform;

-- name: vault_proved
-- The right account showed itself, and a wrong one was told from it; of the new profile, at one look.
UPDATE byokeep.profile_incident_item SET identity_at = clock_timestamp(), wrong_account_at = clock_timestamp()
 WHERE incident_id = :incident_id AND client_id = :client_id AND new_profile_id = :profile_id AND platform = :platform
RETURNING platform;

-- name: vault_unproved
UPDATE byokeep.profile_incident_item SET identity_at = NULL, wrong_account_at = NULL
 WHERE incident_id = :incident_id AND client_id = :client_id AND new_profile_id = :profile_id
RETURNING platform;

-- name: vault_shreds
-- Destructions that an incident asked for and that wait for a second person.
SELECT w.* FROM byokeep.profile_work w
 WHERE w.incident_id = :incident_id AND w.kind = 'shred' AND w.state = 'waiting' AND w.ended_at IS NULL
   AND EXISTS (SELECT FROM byokeep.profile_incident_item n
                WHERE n.incident_id = w.incident_id AND n.client_id = w.client_id AND n.profile_id = w.profile_id)
 ORDER BY w.client_id, w.profile_id;

-- name: vault_covering
-- Open incidents that keep the browser lane of a scope off: those whose new profiles are not all proved.
SELECT i.id FROM byokeep.procedure_run i
 WHERE i.procedure = 'profile_incident' AND i.state <> 'complete'
   AND (i.evidence -> 'validated' IS NULL
        OR EXISTS (SELECT FROM byokeep.profile_incident_item n
                     LEFT JOIN byokeep.profile p ON p.client_id = n.client_id AND p.id = n.new_profile_id
                    WHERE n.incident_id = i.id AND (n.identity_at IS NULL OR n.wrong_account_at IS NULL
                                                    OR p.id IS NULL OR p.state IN ('retired', 'shredded'))))
   AND (CAST(:client_id AS uuid) IS NULL OR i.client_id IS NULL OR i.client_id = CAST(:client_id AS uuid))
 LIMIT 1;

-- name: vault_generations
SELECT * FROM byokeep.profile_generation WHERE client_id = :client_id ORDER BY profile_id, generation;

-- name: vault_profiles
SELECT id FROM byokeep.profile WHERE client_id = :client_id ORDER BY id;

-- name: vault_seals_under_way
-- Keys of seals that were announced lately: what they write is theirs until they end, or are swept.
SELECT convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,dek}' AS dek
  FROM byokeep.audit_record r
 WHERE r.chain = :client_id AND r.event = 'profile.seal' AND r.outcome = 'intended'
   AND r.at > clock_timestamp() - interval '15 minutes';

-- name: vault_inventory_keys
-- Every key that guards profiles: class, whose, state, age, due, last used.
SELECT 'kek' AS kind, k.client_id, k.kek_id || '/' || k.version AS about, k.owner, k.state, k.made_at,
       CASE WHEN k.state = 'active' THEN LEAST(k.made_at + make_interval(days => :days), k.protect_until) END AS due_at,
       (SELECT max(g.sealed_at) FROM byokeep.profile_generation g
         WHERE g.holder = k.holder AND g.kek_id = k.kek_id AND g.kek_version = k.version) AS last_used_at
  FROM byokeep.kek_version k
 WHERE CAST(:ids AS uuid[]) IS NULL OR k.client_id = ANY (CAST(:ids AS uuid[]))
UNION ALL
SELECT 'dek', g.client_id, g.profile_id || '/' || g.generation, coalesce(s.name, ''), g.key_state, g.sealed_at,
       CASE WHEN g.generation = p.generation THEN p.due_at END,
       CASE WHEN g.generation = p.generation THEN (
           SELECT o.opened_at FROM byokeep.profile_opening o
            WHERE o.client_id = g.client_id AND o.profile_id = g.profile_id AND o.generation = g.generation) END
  FROM byokeep.profile_generation g
  JOIN byokeep.profile p ON p.client_id = g.client_id AND p.id = g.profile_id
  LEFT JOIN byokeep.subject s ON s.id = p.created_by
 WHERE CAST(:ids AS uuid[]) IS NULL OR g.client_id = ANY (CAST(:ids AS uuid[]))
 ORDER BY 1, 2, 3 LIMIT :limit;

-- name: vault_inventory_checks
-- Of every client that has profiles or a key of its own: what its last comparison came to, if that is not too old.
SELECT c.id AS client_id, coalesce(last.cause, 'unknown') AS cause, coalesce(last.found, 0) AS found,
       last.at AS checked_at
  FROM byokeep.client c
  LEFT JOIN LATERAL (
       SELECT r.at, convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,cause}' AS cause,
              (convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,found}')::integer AS found
         FROM byokeep.audit_record r
        WHERE r.chain = c.id AND r.event = 'kek.checked' AND r.object_id = c.id
          AND convert_from(r.payload, 'UTF8')::jsonb -> 'fields' ->> 'kek' IS NULL
          AND r.at > clock_timestamp() - make_interval(secs => :fresh_s)
        ORDER BY r.seq DESC LIMIT 1) last ON true
 WHERE (CAST(:ids AS uuid[]) IS NULL OR c.id = ANY (CAST(:ids AS uuid[])))
   AND (EXISTS (SELECT FROM byokeep.profile p WHERE p.client_id = c.id)
        OR EXISTS (SELECT FROM byokeep.kek_version k WHERE k.client_id = c.id))
 ORDER BY c.id;

-- name: vault_inventory_findings
SELECT a.reason, a.client_id, a.object_id AS profile_id, regexp_replace(a.dedup_key, '^.*:', '') AS place,
       a.opened_at AS since
  FROM byokeep.alert a
 WHERE a.closed_at IS NULL AND a.reason = ANY (CAST(:reasons AS text[]))
   AND (CAST(:ids AS uuid[]) IS NULL OR a.client_id = ANY (CAST(:ids AS uuid[])))
 ORDER BY a.opened_at LIMIT :limit;
