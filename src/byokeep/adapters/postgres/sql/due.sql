-- The due list: everything that is to be renewed by a date, one branch for each kind.

-- name: due_list
-- `words` is the command that does it; `provider` is whose budget an automatic start counts against. Without a date it
-- is unknown when an item is due, and it is always listed. Of the platform's own items whoever is held to some clients
-- sees none.
WITH item AS (
    -- A compromised key is due until another one serves in its place; a rotation that stopped is due since it began, and
    -- one that asks a person a day after it did; one that a person brings the key for within a week. Past its date a key
    -- is overdue, also when a rotation is under way, and so is one that has had two versions for too long.
    SELECT 'key' AS kind, CAST(r.id AS text) AS item, r.client_id, r.provider,
           r.provider || CASE r.purpose WHEN 'default' THEN '' ELSE '/' || r.purpose END AS name,
           CASE WHEN r.state = 'compromised' THEN (
               SELECT max(t.at) FROM byokeep.key_transition t
                WHERE t.client_id = r.client_id AND t.ref_id = r.id AND t.state_to = 'compromised')
           WHEN o.state = 'failed' AND NOT coalesce(w.waits, false) THEN least(r.rotation_due_at, r.expires_at,
               coalesce(w.until, o.started_at))
           ELSE least(r.rotation_due_at, r.expires_at, w.brought, d.until) END AS due_at,
           CASE WHEN r.state = 'compromised' THEN 'compromised' WHEN o.state = 'failed' THEN o.reason
                WHEN d.until <= CAST(:now AS timestamptz) THEN 'dual_period_over' ELSE '' END AS cause,
           (o.state IS DISTINCT FROM 'failed' OR w.waits) AND (r.candidate_version IS NOT NULL OR o.id IS NOT NULL)
               AND w.brought IS NULL
               AND least(r.rotation_due_at, r.expires_at, d.until) > CAST(:now AS timestamptz) AS under_way,
           CASE WHEN o.id IS NOT NULL THEN ARRAY['rotate', 'status', CAST(o.id AS text)]
                WHEN EXISTS (SELECT FROM byokeep.credential_ref a
                              WHERE a.client_id = r.client_id AND a.provider = r.provider AND a.state = 'active'
                                AND a.kind = 'provider_admin_key' AND a.provider = ANY (CAST(:mints AS text[])))
                THEN ARRAY['rotate', 'start', CAST(r.id AS text), '--mint']
                ELSE ARRAY['key', 'add', CAST(r.client_id AS text), r.provider] END AS words
      FROM byokeep.credential_ref r
      LEFT JOIN byokeep.procedure_run o
        ON o.object_id = r.id AND o.procedure LIKE 'rotate\_key%' AND o.closed_at IS NULL
      -- Where it asks a person: until when nobody is reminded; where a person brings a key: within a week.
      CROSS JOIN LATERAL (SELECT a.until, a.until > CAST(:now AS timestamptz) AS waits,
             CASE WHEN o.procedure = 'rotate_key' AND o.state = 'running' AND o.evidence -> 'create' IS NULL
                  THEN o.started_at + interval '7 days' END AS brought
        FROM (SELECT CASE WHEN o.state = 'failed' AND o.reason = ANY (CAST(:asks AS text[])) THEN
                     interval '1 day' + coalesce((SELECT max(s.at) FROM byokeep.audit_record s
                       WHERE s.chain = r.client_id AND s.object_id = r.id AND s.event = 'procedure.stepped'),
                       o.started_at) END AS until) a) w
     CROSS JOIN LATERAL (SELECT CASE WHEN o.evidence -> 'create' IS NOT NULL
                                     THEN o.started_at + make_interval(days => :dual_days) END AS until) d
     WHERE r.kind = 'provider_api_key' AND r.provider_place = '' AND (r.state IN ('active', 'suspended') OR o.id IS NOT NULL OR r.state = 'compromised'
           AND NOT EXISTS (SELECT FROM byokeep.credential_ref n
                            WHERE n.client_id = r.client_id AND n.provider = r.provider AND n.purpose = r.purpose
                              AND n.kind = r.kind AND n.created_at > r.created_at))
    UNION ALL
    -- A new key that was taken back and may be alive at its provider.
    SELECT 'unused_key', CAST(o.id AS text), o.client_id, o.facts ->> 'provider',
           (o.facts ->> 'provider') || '/version ' || (o.facts ->> 'from_version'), o.started_at + interval '1 day',
           o.reason, false, ARRAY['rotate', 'status', CAST(o.id AS text)]
      FROM byokeep.procedure_run o
     WHERE o.procedure = 'end_unused_key' AND o.closed_at IS NULL
    UNION ALL
    -- Keyless: there is nothing to rotate, which is said to whoever asks for keys.
    SELECT 'key', CAST(r.id AS text), r.client_id, r.provider, r.provider, NULL, 'keyless', false,
           ARRAY['key', 'verify', CAST(r.id AS text)]
      FROM byokeep.credential_ref r
     WHERE r.kind = 'provider_api_key' AND r.provider_place <> '' AND r.state IN ('active', 'suspended')
       AND CAST(:kind AS text) = 'key'
    UNION ALL
    SELECT 'admin_key', CAST(r.id AS text), r.client_id, r.provider, r.provider,
           least(r.rotation_due_at, r.expires_at), '', false,
           ARRAY['key', 'admin', CAST(r.client_id AS text), r.provider]
               || CASE r.provider_place WHEN '' THEN ARRAY[]::text[] ELSE ARRAY['--at', r.provider_place] END
      FROM byokeep.credential_ref r
     WHERE r.kind = 'provider_admin_key' AND r.state IN ('active', 'suspended')
    UNION ALL
    SELECT 'webhook_secret', CAST(r.id AS text), r.client_id, r.provider, r.provider,
           least(r.rotation_due_at, r.expires_at), '', false,
           ARRAY['account', 'webhook', 'set', CAST(r.client_id AS text), r.provider]
      FROM byokeep.credential_ref r
     WHERE r.kind = 'webhook_signing_secret' AND r.state IN ('active', 'suspended')
    UNION ALL
    -- A grant that is renewed all along is due when its consent ends; one that is lost has been since then.
    SELECT 'oauth', CAST(g.account_id AS text), g.client_id, a.platform, a.platform || '/' || a.account,
           CASE g.state WHEN 'live' THEN g.reauth_at ELSE least(g.reauth_at, g.changed_at) END, g.reason,
           EXISTS (SELECT FROM byokeep.connection n
                    WHERE n.client_id = g.client_id AND n.account_id = g.account_id AND n.ended_at IS NULL),
           ARRAY['account', 'connect', CAST(g.client_id AS text), g.login, a.account]
      FROM byokeep.account_grant g
      JOIN byokeep.platform_account a ON a.client_id = g.client_id AND a.id = g.account_id
     WHERE g.state = 'needs_reauth' OR g.state = 'live' AND g.reauth_at IS NOT NULL
    UNION ALL
    SELECT 'profile', CAST(p.id AS text), p.client_id, '',
           coalesce((SELECT string_agg(x.platform, '+' ORDER BY x.platform) FROM byokeep.profile_account x
                      WHERE x.client_id = p.client_id AND x.profile_id = p.id), ''), p.due_at, p.due_cause,
           EXISTS (SELECT FROM byokeep.profile_work w
                    WHERE w.client_id = p.client_id AND w.profile_id = p.id AND w.ended_at IS NULL),
           ARRAY['profile', 'rekey', CAST(p.id AS text)]
      FROM byokeep.profile p
     WHERE p.generation > 0 AND p.state NOT IN ('retired', 'shredded')
    UNION ALL
    -- The newest version of each key that guards profiles, as core.kek.rotation_due has it.
    SELECT 'kek', k.kek_id, k.client_id, '', k.kek_id || '/' || k.version,
           CASE k.state WHEN 'active' THEN least(k.made_at + make_interval(days => :kek_days), k.protect_until)
                        ELSE k.changed_at END, CASE k.state WHEN 'active' THEN '' ELSE k.state END,
           EXISTS (SELECT FROM byokeep.kek_rotation o
                    WHERE o.holder = k.holder AND o.kek_id = k.kek_id AND o.ended_at IS NULL),
           ARRAY['kek', 'rotate', CAST(k.client_id AS text)]
      FROM (SELECT DISTINCT ON (holder, kek_id) * FROM byokeep.kek_version WHERE state <> 'pre_activation'
             ORDER BY holder, kek_id, version DESC) k
     WHERE k.client_id IS NOT NULL
    UNION ALL
    -- A person who goes on without a token for programs is not told for ever. The machines of the embedded stack are
    -- renewed with the platform's own secrets.
    SELECT CASE s.kind WHEN 'machine' THEN 'machine_token' ELSE 'person_token' END, CAST(s.id AS text),
           CAST(NULL AS uuid), '', s.name, max(t.expires_at), '', false,
           CASE WHEN s.kind = 'machine' AND s.name IN ('local-worker', 'local-dispatcher', 'local-runner')
                THEN ARRAY['rotate', 'internal']
                WHEN s.kind = 'machine' THEN ARRAY['operator', 'token', CAST(s.id AS text), '--machine']
                ELSE ARRAY['operator', 'token', CAST(s.id AS text)] END
      FROM byokeep.subject s
      JOIN byokeep.api_token t ON t.subject_id = s.id AND t.kind = 'api' AND t.revoked_at IS NULL
     WHERE s.state = 'active' AND (s.kind = 'machine' OR t.expires_at > t.created_at + interval '14 days')
     GROUP BY s.id, s.kind, s.name
    HAVING s.kind = 'machine' OR max(t.expires_at) > CAST(:now AS timestamptz) - interval '14 days'
    UNION ALL
    -- The platform's own, which the host rotates together; what the installation was made with is as old as it is.
    SELECT 'platform_secret', own.name, NULL, '', own.name,
           coalesce((SELECT max(p.closed_at) FROM byokeep.procedure_run p
                      WHERE p.procedure = 'rotate_internal' AND p.state = 'complete'), n.created_at)
             + make_interval(days => :internal_days), '',
           EXISTS (SELECT FROM byokeep.procedure_run p WHERE p.procedure = 'rotate_internal' AND p.state = 'running'),
           ARRAY['rotate', 'internal']
      FROM byokeep.installation n, (VALUES ('secret_ids'), ('signing_keys'), ('database_logins')) own (name)
     WHERE own.name <> 'database_logins' OR EXISTS (
               SELECT FROM pg_roles r WHERE r.rolname <> byokeep.role_of(r.rolname) AND r.rolname LIKE 'byokeep\_%')
    UNION ALL
    -- A grant of break glass that is over is reviewed within a day; a drill proves each quarter that the door opens.
    -- What lies in the future, for a clock ran ahead, counts as none here and below.
    SELECT 'break_glass', CAST(b.id AS text), b.client_id, '', 'review', CAST(b.facts ->> 'ended_at' AS timestamptz)
             + interval '1 day', '', false,
           ARRAY['breakglass', CASE WHEN b.evidence ? 'review' THEN 'close' ELSE 'review' END, CAST(b.id AS text)]
      FROM byokeep.procedure_run b
     WHERE b.procedure = 'break_glass' AND b.closed_at IS NULL AND b.evidence ? 'end'
    UNION ALL
    SELECT 'break_glass', 'drill', NULL, '', 'drill', coalesce((
               SELECT max(r.at) FROM byokeep.audit_record r
                WHERE r.event = 'breakglass.drilled' AND r.outcome = 'ok'
                  AND r.at < CAST(:now AS timestamptz) + interval '1 minute'),
               n.created_at) + interval '90 days', '', false,
           ARRAY['breakglass', 'drill', '--client', 'NAME', '--ticket', 'ID']
      FROM byokeep.installation n
    UNION ALL
    -- Where backups are made: the next one, which the clock makes and which is overdue when the alert says so, another
    -- interval later; and the next proof, a quarter after one was opened as it was made.
    SELECT 'backup', 'next', NULL, '', 'next', m.due_at, '', m.due_at <= CAST(:now AS timestamptz)
               AND m.due_at + make_interval(hours => :backup_hours) >= CAST(:now AS timestamptz),
           ARRAY['backup', 'create']
      FROM (SELECT coalesce((
               SELECT max(r.at) FROM byokeep.audit_record r
                WHERE r.chain = n.id AND r.object_id = n.id AND r.event = 'backup.created' AND r.outcome = 'ok'
                  AND r.at < CAST(:now AS timestamptz) + interval '1 minute'),
               n.created_at) + make_interval(hours => :backup_hours) AS due_at FROM byokeep.installation n) m
     WHERE :backup_hours > 0
    UNION ALL
    SELECT 'backup_proof', 'next', NULL, '', 'next', coalesce((
               WITH said AS (
                   SELECT r.event, r.at, f.fields ->> 'backup' AS id, f.fields ->> 'digest' AS digest
                     FROM byokeep.audit_record r
                    CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS fields) f
                    WHERE r.chain = n.id AND r.object_id = n.id
                      AND r.event IN ('backup.created', 'backup.verified') AND r.outcome = 'ok')
               SELECT max(v.at) FROM said v JOIN said c USING (id, digest)
                WHERE v.event = 'backup.verified' AND c.event = 'backup.created'
                  AND v.at < CAST(:now AS timestamptz) + interval '1 minute'), n.created_at)
             + make_interval(days => :quarter_days), '', false,
           ARRAY['backup', 'verify', 'BACKUP', '--identity-file', 'KEY']
      FROM byokeep.installation n
     WHERE :backup_hours > 0
    UNION ALL
    -- Where backups are made, a drill proves each quarter that one can be restored; one that did not pass moves nothing.
    SELECT 'recovery_drill', 'drill', NULL, '', 'drill', coalesce((
               SELECT max(r.at) FROM byokeep.audit_record r
                WHERE r.chain = n.id AND r.object_id = n.id AND r.event = 'drill.completed' AND r.outcome = 'ok'
                  AND r.at < CAST(:now AS timestamptz) + interval '1 minute'),
               n.created_at) + make_interval(days => :quarter_days), '', false,
           ARRAY['drill', 'run', '--identity-file', 'KEY', '--seal-key-file', 'KEY', '--recovery-key-file', 'KEY']
      FROM byokeep.installation n
     WHERE :backup_hours > 0 AND CAST(:drills AS boolean)
    UNION ALL
    SELECT 'app_secret', f.login, NULL, f.provider, f.login, f.set_at + make_interval(days => :app_days), '', false,
           ARRAY['account', 'app', 'set', f.login, '--app-id', f.app_id, '--redirect-uri', f.redirect_uri]
      FROM byokeep.platform_app f
     WHERE f.secret_version > 0
)
SELECT i.*, c.name AS client, count(*) OVER () AS total,
       CASE WHEN i.under_way THEN 'under_way' WHEN i.cause = 'keyless' THEN 'keyless'
            WHEN i.due_at IS NULL THEN 'unknown'
            WHEN i.due_at <= CAST(:now AS timestamptz) THEN 'overdue' ELSE 'due' END AS state,
       CAST(i.due_at AT TIME ZONE 'UTC' AS date) - CAST(CAST(:now AS timestamptz) AT TIME ZONE 'UTC' AS date) AS days
  FROM item i
  LEFT JOIN byokeep.client c ON c.id = i.client_id
 WHERE (CAST(:ids AS uuid[]) IS NULL OR i.client_id = ANY (CAST(:ids AS uuid[])))
   AND (CAST(:kind AS text) IS NULL OR i.kind = :kind)
   AND (i.due_at IS NULL OR i.under_way OR i.due_at < CAST(:until AS timestamptz))
   AND (CAST(:since AS timestamptz) IS NULL OR i.due_at > CAST(:since AS timestamptz))
   AND c.state IS DISTINCT FROM 'closed'
 ORDER BY i.due_at NULLS LAST, i.kind, i.item LIMIT :limit;

-- name: due_start_budget
-- How many starts a provider's last hour saw; everybody who starts something stands in line here.
SELECT (SELECT count(*) FROM byokeep.due_start s
         WHERE s.provider = :provider AND abs(extract(epoch FROM s.tried_at - CAST(:now AS timestamptz))) < 3600) AS started
  FROM pg_advisory_xact_lock(hashtextextended('due_start:' || CAST(:provider AS text), 0));

-- name: due_start_claim
-- No row: it was tried lately. A try of hours to come is of a clock that ran ahead.
INSERT INTO byokeep.due_start AS s (kind, item, client_id, provider, due_at, tried_at, tries)
VALUES (:kind, :item, :client_id, :provider, :due_at, :now, 1)
    ON CONFLICT (client_id, kind, item) DO UPDATE
   SET due_at = excluded.due_at, tried_at = excluded.tried_at,
       tries = CASE WHEN s.due_at = excluded.due_at THEN s.tries + 1 ELSE 1 END
 WHERE s.due_at <> excluded.due_at OR abs(extract(epoch FROM s.tried_at - excluded.tried_at)) >= 21600
RETURNING tries;
