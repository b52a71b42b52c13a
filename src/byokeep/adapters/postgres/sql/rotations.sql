-- Rotations of keys: runs of the procedures `rotate_key*`, of which one reference has one at a time.

-- name: rotation_open
SELECT * FROM byokeep.procedure_run
 WHERE client_id = :client_id AND object_id = :ref_id AND procedure LIKE 'rotate\_key%' AND closed_at IS NULL
   FOR UPDATE;

-- name: rotation_paused
-- The rotation that paused a key and has not served it again.
SELECT * FROM byokeep.procedure_run
 WHERE client_id = :client_id AND object_id = :ref_id AND procedure IN ('rotate_key_leaked', 'rotate_key_cutover')
   AND closed_at IS NULL AND evidence -> 'stop' IS NOT NULL AND evidence -> 'serve' IS NULL;

-- name: rotations_list
SELECT * FROM byokeep.procedure_run
 WHERE (procedure LIKE 'rotate\_key%' OR procedure = 'end_unused_key')
   AND (CAST(:ids AS uuid[]) IS NULL OR client_id = ANY (CAST(:ids AS uuid[])))
   AND (CAST(:ref_id AS uuid) IS NULL OR object_id = :ref_id)
 ORDER BY closed_at DESC NULLS FIRST, started_at DESC LIMIT :limit;

-- name: rotations_running
SELECT * FROM byokeep.procedure_run
 WHERE client_id = :client_id AND procedure LIKE 'rotate\_key%' AND closed_at IS NULL;

-- name: rotation_history
-- What is on record of a run: its steps, what was undone, where it stopped and how it ended.
SELECT r.seq, r.at, r.event, r.outcome, r.actor_id AS by, f ->> 'stage' AS stage,
       coalesce(f ->> 'reason', f ->> 'cause') AS cause
  FROM byokeep.audit_record r
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) said
 WHERE r.chain = :client_id AND r.object_id = :id AND f ->> 'run' = :run
 ORDER BY r.seq DESC LIMIT :limit;

-- name: rotation_grade
-- How many credentials of a client are rotated in which way. Without the key that administers the account at a provider
-- a person does all of it, whatever calls the provider has.
SELECT g.mode, count(*) AS count FROM (
    SELECT CASE WHEN r.provider_place <> '' THEN 'keyless'
                WHEN m.mode IN ('full', 'assisted') AND NOT EXISTS (
                     SELECT FROM byokeep.credential_ref a
                      WHERE a.client_id = r.client_id AND a.provider = r.provider AND a.state = 'active'
                        AND a.kind = 'provider_admin_key') THEN 'manual'
                ELSE coalesce(m.mode, 'manual') END AS mode
      FROM byokeep.credential_ref r
      LEFT JOIN unnest(CAST(:providers AS text[]), CAST(:modes AS text[])) m (provider, mode) ON m.provider = r.provider
     WHERE r.client_id = :client_id AND r.kind = 'provider_api_key' AND r.state IN ('active', 'suspended')
    UNION ALL
    SELECT CASE WHEN g.due_at IS NULL THEN 'manual' ELSE 'continuous' END FROM byokeep.account_grant g
     WHERE g.client_id = :client_id AND g.state = 'live') g
 GROUP BY g.mode;

-- name: rotation_accounts
-- Whose account each of two versions is, as the provider told: digests, or null where it tells none.
SELECT (convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,version}')::integer AS version,
       convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,account_hash}' AS account
  FROM byokeep.audit_record r
 WHERE r.chain = :client_id AND r.object_id = :ref_id AND r.event = 'key.verified' AND r.outcome = 'ok'
   AND r.writer = 'byokeep_worker'
   AND (convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,version}')::integer = ANY (CAST(:versions AS integer[]))
 ORDER BY r.seq;

-- name: rotation_jobs_on_old
-- How many open jobs were given the secret before the cutover: they end on the version that they began with. The five
-- seconds are for the difference of clocks.
SELECT count(DISTINCT j.id) FROM byokeep.job j
  JOIN byokeep.lease l ON l.client_id = j.client_id AND l.job_id = j.id
 WHERE j.client_id = :client_id AND j.kind = 'use' AND j.state = 'open' AND j.expires_at > clock_timestamp()
   AND :provider = ANY (l.secrets) AND l.issued_at <= CAST(:until AS timestamptz) + interval '5 seconds';

-- name: rotation_jobs_on_new
-- How many open jobs were given the secret between the cutover and its rollback: they hold the version that was taken back.
SELECT count(DISTINCT j.id) FROM byokeep.job j
  JOIN byokeep.lease l ON l.client_id = j.client_id AND l.job_id = j.id
 WHERE j.client_id = :client_id AND j.kind = 'use' AND j.state = 'open' AND j.expires_at > clock_timestamp()
   AND :provider = ANY (l.secrets) AND l.issued_at > CAST(:since AS timestamptz) - interval '5 seconds'
   AND l.issued_at <= (SELECT max(r.at) FROM byokeep.audit_record r
                        WHERE r.chain = :client_id AND r.object_id = :ref_id AND r.event = 'key.pinned')
                      + interval '5 seconds';

-- name: rotation_pinned_at
-- When a version was cut over to, by the database's clock; nothing, if it never was.
SELECT max(r.at) AS at FROM byokeep.audit_record r
 WHERE r.chain = :client_id AND r.object_id = :id AND r.event = 'key.pinned'
   AND (convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,version}')::integer = :version
HAVING max(r.at) IS NOT NULL;

-- name: rotation_outcomes
-- What calls came to that jobs made with a lease from after the cutover, as their runners told. Of those whose end nobody
-- knows nothing follows; a provider that limits calls did not answer them.
SELECT count(*) FILTER (WHERE t.outcome <> 'unknown') AS count,
       count(*) FILTER (WHERE t.outcome IN ('denied', 'failed', 'limited')) AS failed
  FROM byokeep.tool_call t JOIN byokeep.lease l ON l.client_id = t.client_id AND l.id = t.lease_id
 WHERE t.client_id = :client_id AND t.provider = :provider AND l.issued_at > CAST(:since AS timestamptz);

-- name: rotation_admin
SELECT id, version, provider_place FROM byokeep.credential_ref
 WHERE client_id = :client_id AND provider = :provider AND purpose = 'admin' AND state = 'active'
 ORDER BY created_at DESC LIMIT 1;

-- name: rotation_admin_refused
-- The open alert that a provider refuses this administrator's key, unless another one was given since.
SELECT a.id FROM byokeep.alert a JOIN byokeep.credential_ref r ON r.client_id = a.client_id AND r.id = a.object_id
 WHERE r.client_id = :client_id AND r.id = :id AND a.reason = :reason AND a.closed_at IS NULL
   AND a.last_seen_at > r.created_at;

-- name: rotation_key_id
-- Under which id the provider knows a version: it was made there by us, or a call to end it was cut off.
SELECT convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,provider_key}' AS id FROM byokeep.audit_record r
 WHERE r.chain = :client_id AND r.object_id = :id AND r.event = 'key.rotation' AND r.outcome IN ('ok', 'intended')
   AND r.writer = 'byokeep_worker' AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,stage}' IN ('mint_call', 'revoke_call')
   AND convert_from(r.payload, 'UTF8')::jsonb #> '{fields,provider_key}' IS NOT NULL
   AND (convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,version}')::integer = :version
 ORDER BY r.seq DESC LIMIT 1;

-- name: rotation_version_of
-- Which version of a key we made at its provider under this id.
SELECT (convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,version}')::integer AS version FROM byokeep.audit_record r
 WHERE r.chain = :client_id AND r.object_id = :id AND r.event = 'key.rotation' AND r.outcome = 'ok'
   AND r.writer = 'byokeep_worker' AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,stage}' = 'mint_call'
   AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,provider_key}' = :key_id
 ORDER BY r.seq DESC LIMIT 1;

-- name: rotation_accepted
-- The records that a person accepted what a run stops for: of its new version, or before there was one.
SELECT r.seq FROM byokeep.audit_record r
 WHERE r.chain = :client_id AND r.object_id = :id AND r.event = 'key.rotation' AND r.outcome = 'ok'
   AND r.writer = 'byokeep_web' AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,stage}' = 'accept'
   AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,run}' = :run
   AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,cause}' = :cause
   AND (convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,version}')::integer IN (0, :version);

-- name: rotation_leaked
-- The record that a person said that the old version of a rotation leaked.
SELECT r.seq FROM byokeep.audit_record r
 WHERE r.chain = :client_id AND r.object_id = :id AND r.event = 'key.rotation' AND r.outcome = 'ok'
   AND r.writer = 'byokeep_web' AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,stage}' = 'leaked'
   AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,run}' = :run
   AND (convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,version}')::integer = :version;

-- name: rotation_revocations
-- The calls of a run to end a version's key at its provider: those that were answered, and those that were begun.
SELECT r.seq FROM byokeep.audit_record r
 WHERE r.chain = :client_id AND r.object_id = :id AND r.event = 'key.rotation' AND r.outcome IN ('ok', 'intended')
   AND r.writer = 'byokeep_worker' AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,stage}' = 'revoke_call'
   AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,run}' = :run
   AND (convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,version}')::integer = :version;

-- name: rotation_versions_of_others
-- Versions that other runs made or have yet to end, or a mass revocation, and those that other references served last
-- unless they are known to be dead: the keys of a client at a provider share a place.
SELECT CAST(p.facts ->> fact.name AS integer) AS version
  FROM byokeep.procedure_run p JOIN byokeep.credential_ref r ON r.client_id = p.client_id AND r.id = :id
 CROSS JOIN (VALUES ('version'), ('from_version'), ('also_version')) AS fact (name)
 WHERE p.client_id = :client_id AND p.facts ->> 'provider' = r.provider AND p.id <> :run AND p.closed_at IS NULL
   AND (p.procedure LIKE 'rotate\_key%' OR p.procedure = 'end_unused_key') AND CAST(p.facts ->> fact.name AS integer) > 0
UNION
SELECT i.version FROM byokeep.revocation_item i JOIN byokeep.credential_ref r ON r.client_id = i.client_id AND r.id = :id
 WHERE i.client_id = :client_id AND i.kind = 'key' AND i.provider = r.provider AND i.state <> 'revoked'
   AND i.settled_by IS NULL
UNION
SELECT o.version FROM byokeep.credential_ref o
  JOIN byokeep.credential_ref r ON r.client_id = o.client_id AND r.provider = o.provider AND r.kind = o.kind
 WHERE r.client_id = :client_id AND r.id = :id AND o.id <> r.id
   AND NOT EXISTS (SELECT FROM byokeep.revocation_item i
                    WHERE i.client_id = o.client_id AND i.object_id = o.id AND i.version = o.version
                      AND (i.state = 'revoked' OR i.settled_by IS NOT NULL));

-- name: ref_of_version
-- The reference that a version of a place was written for.
SELECT p.object_id FROM byokeep.procedure_run p
  JOIN byokeep.credential_ref r ON r.client_id = p.client_id AND r.provider = p.facts ->> 'provider'
 WHERE p.client_id = :client_id AND r.id = :id AND p.procedure = 'onboard_key'
   AND (p.facts ->> 'version')::integer = :version AND p.evidence -> 'vault_write_event' IS NOT NULL
 ORDER BY p.started_at DESC LIMIT 1;

-- name: rotation_destroyed_untold
-- Versions of a place whose destruction was announced, and of which no record says that they are destroyed.
SELECT CAST(said.fields ->> 'version' AS integer) AS version FROM byokeep.audit_record r
  JOIN byokeep.credential_ref own ON own.client_id = :client_id AND own.id = :id
  JOIN byokeep.credential_ref o ON o.client_id = own.client_id AND o.provider = own.provider AND o.id = r.object_id
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS fields) said
 WHERE r.chain = :client_id AND r.event = 'key.destroyed' AND r.writer = 'byokeep_worker' AND said.fields ->> 'path' = :path
 GROUP BY 1 HAVING bool_and(r.outcome = 'intended');

-- name: rotation_keyless
-- Whether a version is the ids of a keyless credential, so that no key of it lives at a provider.
SELECT r.seq FROM byokeep.audit_record r
 WHERE r.chain = :client_id AND r.object_id = :ref_id AND r.event = 'key.stored'
   AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,mode}' = 'keyless'
   AND (convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,version}')::integer = :version;

-- name: rotation_calls
-- How many calls of a kind to a provider's administration are on record for a run, or for one version in it.
SELECT count(*) FROM byokeep.audit_record r
 WHERE r.chain = :client_id AND r.object_id = :id AND r.event = 'key.rotation' AND r.outcome = :outcome
   AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,run}' = :run
   AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,stage}' = :stage
   AND (CAST(:version AS integer) IS NULL
        OR (convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,version}')::integer = :version);

-- name: rotation_told_lately
-- Whether a provider has just said that it ends a version: some take it for a while yet.
SELECT EXISTS (SELECT FROM byokeep.audit_record r
                WHERE r.chain = :client_id AND r.object_id = :id AND r.event = 'key.rotation' AND r.outcome = 'ok'
                  AND r.at > clock_timestamp() - make_interval(secs => :within_s)
                  AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,stage}' = 'revoke_call'
                  AND (convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,version}')::integer = :version) AS told;

-- name: rotation_of_name
-- The rotation that made a key at its provider, if it is over and its version is not the one in use; of a key whose value
-- never arrived there is none.
SELECT p.* FROM byokeep.procedure_run p JOIN byokeep.credential_ref r ON r.client_id = p.client_id AND r.id = p.object_id
 WHERE p.client_id = :client_id AND p.id = :run_id AND p.procedure = 'rotate_key_minted' AND p.closed_at IS NOT NULL
   AND coalesce((p.facts ->> 'version')::integer, 0) IS DISTINCT FROM r.version
   AND coalesce((p.facts ->> 'version')::integer, 0) IS DISTINCT FROM r.candidate_version;

-- name: template_set
INSERT INTO byokeep.job_template AS t (client_id, name, runner_id, secrets, platforms, lanes, set_by)
VALUES (:client_id, :name, :runner_id, CAST(:secrets AS text[]), CAST(:platforms AS text[]), CAST(:lanes AS text[]), :by)
    ON CONFLICT (client_id, name) DO UPDATE
   SET runner_id = excluded.runner_id, secrets = excluded.secrets, platforms = excluded.platforms, lanes = excluded.lanes,
       set_at = now(), set_by = excluded.set_by, ended_at = NULL
RETURNING *;

-- name: template_end
UPDATE byokeep.job_template SET ended_at = now() WHERE client_id = :client_id AND name = :name AND ended_at IS NULL
RETURNING *;

-- name: templates_list
SELECT * FROM byokeep.job_template
 WHERE client_id = :client_id AND ended_at IS NULL AND CAST(:name AS text) IN ('', name)
 ORDER BY name;

-- name: templates_named
SELECT name FROM byokeep.job_template WHERE client_id = :client_id AND ended_at IS NULL AND :provider = ANY (secrets);

-- name: dry_run_facts
-- The rotation that a dry run is of: whether its new version was verified and still waits, and how many there were.
SELECT r.id AS ref_id, r.provider, r.candidate_version AS version,
       p.evidence -> 'verify' IS NOT NULL AS verified,
       p.evidence -> 'rehearse' IS NOT NULL OR p.closed_at IS NOT NULL OR p.state = 'undoing' AS over,
       (SELECT count(*) FROM byokeep.dry_run d WHERE d.run_id = p.id AND d.version = r.candidate_version) AS count
  FROM byokeep.procedure_run p JOIN byokeep.credential_ref r ON r.client_id = p.client_id AND r.id = p.object_id
 WHERE p.client_id = :client_id AND p.id = :run_id AND p.procedure LIKE 'rotate\_key%';

-- name: dry_run_insert
INSERT INTO byokeep.dry_run (client_id, job_id, template, run_id, ref_id, version, number)
VALUES (:client_id, :job_id, :template, :run_id, :ref_id, :version, :number)
    ON CONFLICT DO NOTHING RETURNING job_id;

-- name: dry_runs_told
-- What the dry runs of a version came to: over once the job is and its holders said how many calls they made, or two
-- minutes after; passed if calls with the key were told of and all went well, no permit was given, and the holder of
-- each lease said how many calls it made, of which none is missing: one that died says nothing.
SELECT d.job_id, d.number,
       (j.state <> 'open' OR j.expires_at <= clock_timestamp())
           AND (coalesce(j.closed_at, j.expires_at) <= clock_timestamp() - interval '2 minutes'
                OR NOT EXISTS (SELECT FROM byokeep.lease l WHERE l.client_id = j.client_id AND l.job_id = j.id
                                  AND NOT EXISTS (SELECT FROM byokeep.lease_calls c
                                                   WHERE c.client_id = l.client_id AND c.lease_id = l.id))) AS over,
       j.state = 'closed' AND t.good > 0 AND t.bad = 0
           AND NOT EXISTS (SELECT FROM byokeep.lease l
                             LEFT JOIN byokeep.lease_calls c ON c.client_id = l.client_id AND c.lease_id = l.id
                            WHERE l.client_id = j.client_id AND l.job_id = j.id AND c.missing IS DISTINCT FROM 0)
           AND NOT EXISTS (SELECT FROM byokeep.permit x WHERE x.client_id = j.client_id AND x.job_id = j.id) AS passed
  FROM byokeep.dry_run d JOIN byokeep.job j ON j.client_id = d.client_id AND j.id = d.job_id
 CROSS JOIN LATERAL (
       SELECT count(*) FILTER (WHERE c.outcome = 'ok') AS good, count(*) FILTER (WHERE c.outcome <> 'ok') AS bad
         FROM byokeep.tool_call c
        WHERE c.client_id = j.client_id AND c.job_id = j.id AND c.provider = :provider) t
 WHERE d.client_id = :client_id AND d.run_id = :run_id AND d.version = :version
 ORDER BY d.number;

-- name: rotation_end_jobs
-- Ends the jobs that were given a key which its successor ended at the provider, or that leaked once jobs got another one,
-- by a lease up to then; of one that leaked while it served all that declared it, for a lease may be on its way.
WITH ended AS (
    UPDATE byokeep.job j SET state = 'killed', reason = :reason, closed_at = clock_timestamp()
     WHERE j.client_id = :client_id AND j.state = 'open' AND j.kind = 'use' AND :provider = ANY (j.secrets)
       AND (NOT CAST(:given AS boolean)
            OR EXISTS (SELECT FROM byokeep.lease l
                        WHERE l.client_id = j.client_id AND l.job_id = j.id AND :provider = ANY (l.secrets)
                          AND (CAST(:until AS timestamptz) IS NULL OR l.issued_at <= CAST(:until AS timestamptz) + interval '5 seconds')))
    RETURNING 1)
SELECT count(*) FROM ended;
