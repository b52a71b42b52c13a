-- Mass revocation: what fits, the local cut as few statements over arrays, and how far each end at a provider is.

-- name: revocation_hold_keys
-- Nobody cuts over, replaces or ends a key between the look at its versions and its end.
SELECT r.id FROM byokeep.credential_ref r
 WHERE r.kind = 'provider_api_key' AND r.purpose = 'default' AND r.state IN ('pre_activation', 'active', 'suspended')
   AND (CAST(:ids AS uuid[]) IS NULL OR r.client_id = ANY (CAST(:ids AS uuid[])))
   AND CAST(:provider AS text) IN ('', r.provider)
 ORDER BY r.id FOR UPDATE;

-- name: revocation_targets
-- Live keys of providers, and accounts that act or hold a grant: of one provider, or whose secrets jobs held in a span, by
-- a lease of before it, too.
-- Of a key each version that may be alive: the one that serves, the one that waits, and what its open runs made or end.
WITH used AS MATERIALIZED (
    SELECT DISTINCT l.client_id, secret.provider
      FROM byokeep.lease l
      JOIN byokeep.job j ON j.client_id = l.client_id AND j.id = l.job_id
     CROSS JOIN LATERAL unnest(l.secrets || CASE WHEN 'profile' = ANY (l.secrets) THEN j.platforms ELSE '{}' END)
           AS secret (provider)
     WHERE CAST(:since AS timestamptz) IS NOT NULL AND l.kind = 'use'
       AND l.issued_at < :until AND least(l.expires_at, j.closed_at) >= CAST(:since AS timestamptz)
       AND (CAST(:runner_id AS uuid) IS NULL OR l.runner_id = CAST(:runner_id AS uuid))
), one AS (
    SELECT r.client_id, r.id AS object_id, 'key' AS kind, r.provider, v.version, r.id AS ref_id
      FROM byokeep.credential_ref r
     CROSS JOIN LATERAL (
           SELECT r.version UNION SELECT r.candidate_version WHERE r.candidate_version IS NOT NULL
           UNION
           SELECT CAST(p.facts ->> fact.name AS integer) FROM byokeep.procedure_run p
            CROSS JOIN (VALUES ('version'), ('from_version'), ('also_version')) AS fact (name)
            WHERE p.client_id = r.client_id AND p.object_id = r.id AND p.closed_at IS NULL
              AND (p.procedure LIKE 'rotate\_key%' OR p.procedure = 'end_unused_key')
              AND CAST(p.facts ->> fact.name AS integer) > 0) AS v (version)
     WHERE r.kind = 'provider_api_key' AND r.purpose = 'default' AND r.state IN ('pre_activation', 'active', 'suspended')
    UNION ALL
    SELECT a.client_id, a.id, 'account', a.platform, coalesce(g.version, 0),
           (SELECT r.id FROM byokeep.credential_ref r WHERE r.client_id = a.client_id AND r.account_id = a.id
               AND r.state IN ('pre_activation', 'active', 'suspended') ORDER BY r.id LIMIT 1)
      FROM byokeep.platform_account a
      LEFT JOIN byokeep.account_grant g ON g.client_id = a.client_id AND g.account_id = a.id
     WHERE cardinality(a.lanes) > 0 OR g.state <> 'revoked')
SELECT one.*, c.name AS client_name FROM one JOIN byokeep.client c ON c.id = one.client_id
 WHERE (CAST(:ids AS uuid[]) IS NULL OR one.client_id = ANY (CAST(:ids AS uuid[])))
   AND CAST(:provider AS text) IN ('', one.provider)
   AND (CAST(:since AS timestamptz) IS NULL OR (one.client_id, one.provider) IN (SELECT client_id, provider FROM used))
 ORDER BY one.client_id, one.object_id, one.version DESC LIMIT :limit;

-- name: revocation_hold_grants
-- Held before the consents, as by everybody else.
SELECT account_id FROM byokeep.account_grant
 WHERE account_id = ANY (CAST(:accounts AS uuid[])) AND state <> 'revoked' ORDER BY client_id, account_id FOR UPDATE;

-- name: revocation_rest_grants
UPDATE byokeep.account_grant SET due_at = NULL, changed_at = clock_timestamp()
 WHERE account_id = ANY (CAST(:accounts AS uuid[])) AND state <> 'revoked';

-- name: revocation_end_refs
-- Nobody gets them from now on: keys as compromised, tokens so that their grants are ended at the platforms.
WITH old AS (
    SELECT r.client_id, r.id, r.state, r.version,
           CASE WHEN r.account_id IS NULL OR r.state = 'pre_activation' THEN 'compromised' ELSE 'deactivated' END AS state_to
      FROM byokeep.credential_ref r
     WHERE r.id = ANY (CAST(:refs AS uuid[])) AND r.state IN ('pre_activation', 'active', 'suspended')
     ORDER BY r.id FOR UPDATE
), moved AS (
    UPDATE byokeep.credential_ref r SET state = old.state_to FROM old WHERE r.client_id = old.client_id AND r.id = old.id
), told AS (
    INSERT INTO byokeep.key_transition (id, client_id, ref_id, state_from, state_to, reason, "by")
    SELECT gen_random_uuid(), old.client_id, old.id, old.state, old.state_to, :reason, :by FROM old
)
SELECT client_id, id, state AS state_from, state_to, version FROM old ORDER BY client_id, id;

-- name: revocation_lanes_off
UPDATE byokeep.platform_account SET lanes = '{}' WHERE id = ANY (CAST(:accounts AS uuid[])) AND lanes <> '{}';

-- name: revocation_end_jobs
-- Open jobs that were given one of them, or act there; of a runner all.
WITH ended AS (
    UPDATE byokeep.job j SET state = 'killed', reason = 'credentials_revoked', closed_at = clock_timestamp()
     WHERE j.state = 'open' AND j.kind = 'use'
       AND (CAST(:ids AS uuid[]) IS NULL OR j.client_id = ANY (CAST(:ids AS uuid[])))
       AND (j.runner_id = CAST(:runner_id AS uuid)
            OR EXISTS (SELECT FROM unnest(CAST(:clients AS uuid[]), CAST(:providers AS text[])) AS one (client_id, provider)
                        WHERE one.client_id = j.client_id
                          AND (one.provider = ANY (j.secrets) OR one.provider = ANY (j.platforms))))
    RETURNING 1)
SELECT count(*) FROM ended;

-- name: revocation_jobs
SELECT count(*) FROM byokeep.job j
 WHERE j.state = 'open' AND j.kind = 'use' AND j.expires_at > clock_timestamp()
   AND (CAST(:ids AS uuid[]) IS NULL OR j.client_id = ANY (CAST(:ids AS uuid[])))
   AND (j.runner_id = CAST(:runner_id AS uuid)
        OR EXISTS (SELECT FROM unnest(CAST(:clients AS uuid[]), CAST(:providers AS text[])) AS one (client_id, provider)
                    WHERE one.client_id = j.client_id
                      AND (one.provider = ANY (j.secrets) OR one.provider = ANY (j.platforms))));

-- name: revocation_consents
-- Consents of these accounts that are under way.
SELECT * FROM byokeep.connection
 WHERE account_id = ANY (CAST(:accounts AS uuid[])) AND state IN ('started', 'answered', 'taken')
 ORDER BY client_id, started_at FOR UPDATE;

-- name: revocation_record
-- Appends many records in their order; the last one of an object is its number.
SELECT said.object AS id, record.seq
  FROM unnest(CAST(:chains AS uuid[]), CAST(:objects AS uuid[]), CAST(:events AS text[]), CAST(:payloads AS text[]))
       WITH ORDINALITY AS said (chain, object, event, payload, place)
 CROSS JOIN LATERAL byokeep.audit_append(said.chain, said.event, :actor, said.object, :request, 'ok',
                                         convert_to(said.payload, 'UTF8')) AS record;

-- name: revocation_insert
INSERT INTO byokeep.revocation_item (run_id, client_id, object_id, kind, provider, version, cut_seq)
SELECT :run_id, * FROM unnest(CAST(:clients AS uuid[]), CAST(:objects AS uuid[]), CAST(:kinds AS text[]),
                              CAST(:providers AS text[]), CAST(:versions AS integer[]), CAST(:seqs AS bigint[]));

-- name: revocation_hold
-- Each row is held against its record now, and not all of them at the end.
SELECT byokeep.hold_rows();

-- name: revocation_items
-- What is left first.
SELECT i.*, c.name AS client_name,
       CASE i.kind WHEN 'account' THEN (SELECT a.account FROM byokeep.platform_account a
                                         WHERE a.client_id = i.client_id AND a.id = i.object_id) ELSE '' END AS account
  FROM byokeep.revocation_item i JOIN byokeep.client c ON c.id = i.client_id
 WHERE i.run_id = :run_id
 ORDER BY i.state = 'revoked' OR i.settled_by IS NOT NULL, i.client_id, i.provider, i.object_id, i.version DESC;

-- name: revocation_pending
-- Where an account's grant is over, with the record that says how; ends_by_itself: it is ended by its refresher; keyless:
-- the version is no key, but ids that the provider knows.
SELECT i.*, g.state AS grant_state, g.reason AS grant_reason,
       EXISTS (SELECT FROM byokeep.credential_ref r WHERE r.client_id = i.client_id AND r.id = i.object_id
                  AND (i.version = r.version AND r.provider_place <> ''
                       OR i.version = r.candidate_version AND r.candidate_place <> '')) AS keyless,
       EXISTS (SELECT FROM byokeep.credential_ref r WHERE r.client_id = i.client_id AND r.account_id = i.object_id
                  AND r.state = 'deactivated') AS ends_by_itself,
       (SELECT r.seq FROM byokeep.audit_record r
         WHERE r.chain = i.client_id AND r.object_id = i.object_id AND r.event = 'grant.revoked'
           AND r.outcome IN ('ok', 'failed') AND r.seq > i.cut_seq ORDER BY r.seq DESC LIMIT 1) AS ended_seq
  FROM byokeep.revocation_item i
  LEFT JOIN byokeep.account_grant g ON g.client_id = i.client_id AND g.account_id = i.object_id
 WHERE i.run_id = :run_id AND i.state = 'pending'
 -- What was tried last comes last: one that hangs holds up no other.
 ORDER BY i.kind, i.changed_at, i.client_id, i.object_id, i.version DESC;

-- name: revocation_again
-- A run of which nothing is pending was resumed: what failed is tried again, unless a person ended it by hand.
UPDATE byokeep.revocation_item SET state = 'pending', cause = '', changed_at = clock_timestamp()
 WHERE run_id = :run_id AND state = 'failed' AND settled_by IS NULL
   AND NOT EXISTS (SELECT FROM byokeep.revocation_item p WHERE p.run_id = :run_id AND p.state = 'pending');

-- name: revocation_tried
UPDATE byokeep.revocation_item SET cause = :cause, changed_at = clock_timestamp()
 WHERE run_id = :run_id AND object_id = :object_id AND version = :version AND state = 'pending';

-- name: revocation_called
-- The call of a run that told the provider to end a version, if it was answered.
SELECT r.seq FROM byokeep.audit_record r
 WHERE r.chain = :client_id AND r.object_id = :id AND r.event = 'key.rotation' AND r.outcome = 'ok'
   AND r.writer = 'byokeep_worker' AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,stage}' = 'revoke_call'
   AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,run}' = :run
   AND (convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,version}')::integer = :version;

-- name: revocation_said
UPDATE byokeep.revocation_item SET state = :state, cause = :cause, seq = :seq, changed_at = clock_timestamp(),
       settled_by = CASE WHEN :state IN ('revoked', 'unsupported') THEN settled_by END,
       settled_at = CASE WHEN :state IN ('revoked', 'unsupported') THEN settled_at END
 WHERE run_id = :run_id AND object_id = :object_id AND version = :version AND state = 'pending'
RETURNING object_id;

-- name: revocation_settle
-- A person ended it at the provider, a key in all its versions. Of a key that is proved by a call, so that it is looked at
-- again; of a keyless one nobody can ask. One after the other: whoever settles the last one has to see that it is.
WITH held AS MATERIALIZED (SELECT id FROM byokeep.procedure_run WHERE id = :run_id FOR UPDATE)
UPDATE byokeep.revocation_item
   SET settled_by = :by, settled_at = clock_timestamp(), changed_at = clock_timestamp(),
       cause = CASE WHEN cause = 'keyless' THEN cause ELSE 'by_hand' END,
       state = CASE WHEN kind = 'key' AND state <> 'unconfirmed' AND cause <> 'keyless' THEN 'pending' ELSE state END
 WHERE run_id = (SELECT id FROM held) AND object_id = :object_id AND state IN ('unsupported', 'failed', 'unconfirmed')
   AND settled_by IS NULL
RETURNING object_id;

-- name: revocation_counts
SELECT count(*) AS total, count(*) FILTER (WHERE state = 'pending') AS pending,
       count(*) FILTER (WHERE state <> 'pending' AND state <> 'revoked' AND settled_by IS NULL) AS remaining
  FROM byokeep.revocation_item WHERE run_id = :run_id;
