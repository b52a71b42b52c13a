-- Leases: everything a decision needs in one statement, run after the switch locks are held.

-- name: lease_facts
-- A use job with a browser profile is stopped by the lanes' switches too; the worker's custody of one is not, for the way
-- out of a break-in (runbook 7.3) goes through it.
SELECT j.id AS job_id, j.runner_id, j.kind, j.secrets, j.sealing_at IS NOT NULL AS sealing,
       j.state = 'open' AND j.expires_at > t.now AND j.opened_at <= t.now + interval '5 seconds' AS job_open,
       j.expires_at, t.now, floor(extract(epoch FROM t.now))::bigint AS now_s,
       c.state AS client_state,
       (SELECT count(*) = 1 FROM byokeep.switch s
         WHERE s.scope = 'global' AND s.installation_id = :installation_id AND s.epoch >= 0) AS switch_known,
       coalesce((SELECT concat_ws(' ', s.scope, CASE WHEN s.closed THEN s.reason ELSE 'other_installation' END)
                  FROM byokeep.switch s
                WHERE (s.scope = ANY (CAST(:scopes AS text[]))
                       OR (j.kind = 'use' AND 'profile' = ANY (j.secrets)
                           AND s.scope IN ('lane:browser', concat_ws(':', 'client', j.client_id, 'lane:browser'))))
                  AND (s.closed OR s.installation_id <> :installation_id)
                 ORDER BY length(s.scope) LIMIT 1), '') AS switch_engaged,
       (SELECT count(*) FROM byokeep.lease l
         WHERE l.client_id = j.client_id AND l.issued_at > t.now - interval '1 second') AS recent,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'provider', r.provider, 'ref', r.secret_ref, 'state', r.state,
                   -- A dry run is given the new version while it waits, and nothing else: it was verified before, and
                   -- what is known of the old one says nothing of it.
                   'version', CASE WHEN d.job_id IS NULL THEN r.version
                                   WHEN d.version = r.candidate_version THEN d.version END,
                   'verification', CASE WHEN d.job_id IS NULL THEN r.verification ELSE 'verified' END,
                   'unexpired', coalesce(CASE WHEN d.job_id IS NULL THEN r.expires_at ELSE r.candidate_expires_at END > t.now, true),
                   'keyless', CASE WHEN d.job_id IS NULL THEN r.provider_place ELSE r.candidate_place END <> '')), '[]')
          FROM byokeep.credential_ref r
          LEFT JOIN byokeep.dry_run d ON d.client_id = j.client_id AND d.job_id = j.id AND d.ref_id = r.id
         WHERE r.client_id = j.client_id AND r.provider = ANY (j.secrets) AND r.purpose = 'default'
           AND r.environment = :environment AND r.state IN ('pre_activation', 'active', 'suspended')) AS refs,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'provider', r.provider, 'ref', r.secret_ref, 'version', r.version,
                   'previous', CASE WHEN r.previous_until > t.now THEN r.previous_version END)), '[]')
          FROM byokeep.credential_ref r
         WHERE r.client_id = j.client_id AND r.provider = ANY (j.secrets) AND r.purpose = 'webhook'
           AND r.environment = :environment AND r.state = 'active' AND r.verification IN ('pending', 'verified')
           AND (r.expires_at IS NULL OR r.expires_at > t.now)) AS hooks,
       ARRAY(SELECT r.provider FROM byokeep.credential_ref r
              WHERE r.client_id = j.client_id AND r.provider = ANY (j.secrets) AND r.purpose = 'default'
                AND r.environment = :environment
                AND r.state IN ('deactivated', 'compromised', 'destroyed')) AS ended,
       -- Connected accounts of the platforms that a use job declared; a job never gets more than the access token.
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'platform', r.provider, 'account', a.account, 'account_id', a.id, 'version', g.access_version,
                   'usable', g.state = 'live' AND g.access_version > 0 AND r.state = 'active'
                       AND r.verification = 'verified' AND (r.expires_at IS NULL OR r.expires_at > t.now))), '[]')
          FROM byokeep.account_grant g
          JOIN byokeep.platform_account a ON a.client_id = g.client_id AND a.id = g.account_id
          JOIN byokeep.credential_ref r
            ON r.client_id = g.client_id AND r.account_id = g.account_id AND r.provider = a.platform
           AND r.kind = 'oauth_token_set' AND r.purpose = 'account' AND r.environment = :environment
           AND r.state IN ('pre_activation', 'active', 'suspended')
         WHERE j.kind = 'use' AND g.client_id = j.client_id AND a.platform = ANY (j.secrets)) AS accounts,
       -- Browser profiles: of the accounts on the platforms that a use job declared; the one that a sealing job still
       -- has open; the one that a worker's work is about.
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'platform', a.platform, 'account', a.account, 'profile', p.id, 'generation', p.generation,
                   'version', g.record_version, 'blob', g.blob_key, 'usable', u.usable)), '[]')
          FROM byokeep.profile_account o
          JOIN byokeep.platform_account a ON a.client_id = o.client_id AND a.id = o.account_id
          JOIN byokeep.profile p ON p.client_id = o.client_id AND p.id = o.profile_id
          LEFT JOIN byokeep.profile_generation g
            ON g.client_id = p.client_id AND g.profile_id = p.id AND g.generation = p.generation
         CROSS JOIN LATERAL byokeep.profile_usable(p.client_id, p.id) AS u (usable)
         WHERE 'profile' = ANY (j.secrets) AND j.kind = 'use' AND j.sealing_at IS NULL
           AND o.client_id = j.client_id AND o.retired_at IS NULL AND a.platform = ANY (j.platforms)) AS profiles,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('profile', p.id, 'generation', p.generation,
                   'version', coalesce(g.record_version, 0), 'blob', g.blob_key)), '[]')
          FROM byokeep.profile p
          LEFT JOIN byokeep.profile_generation g
            ON g.client_id = p.client_id AND g.profile_id = p.id AND g.generation = p.generation
         WHERE 'profile' = ANY (j.secrets) AND p.client_id = j.client_id
           AND CASE WHEN j.kind = 'use'
                    THEN j.sealing_at IS NOT NULL AND p.id IN (
                        SELECT o.profile_id FROM byokeep.profile_opening o
                         WHERE o.client_id = j.client_id AND o.job_id = j.id AND o.until > t.now)
                    -- Of work: the one that it is about, while it goes on. Without work, the client's: to clear up.
                    ELSE p.id IN (
                        SELECT w.profile_id FROM byokeep.profile_work w
                         WHERE w.client_id = j.client_id AND w.job_id = j.id AND w.ended_at IS NULL)
                      OR NOT EXISTS (
                        SELECT FROM byokeep.profile_work w WHERE w.client_id = j.client_id AND w.job_id = j.id)
               END) AS profiles_in_custody
  FROM byokeep.job j
  JOIN byokeep.client c ON c.id = j.client_id
 CROSS JOIN (SELECT clock_timestamp() AS now) t
 WHERE j.client_id = :client_id AND j.id = :job_id;

-- name: lease_ended_secret
-- Whether a job asks for a secret after its end: expired, or revoked (S-OWASP-1).
SELECT CASE WHEN bool_or(r.state IN ('pre_activation', 'active', 'suspended') AND r.expires_at <= clock_timestamp())
                 THEN 'secret_reuse_expired'
            WHEN bool_or(r.state IN ('deactivated', 'compromised', 'destroyed'))
                 AND NOT bool_or(r.state IN ('pre_activation', 'active', 'suspended')) THEN 'secret_reuse_revoked'
            ELSE '' END AS reason
  FROM byokeep.job j
  LEFT JOIN byokeep.credential_ref r
    ON r.client_id = j.client_id AND r.provider = ANY (j.secrets) AND r.purpose = 'default'
   AND r.environment = :environment
 WHERE j.client_id = :client_id AND j.id = :job_id;

-- name: lease_insert
-- Row and record in one round trip.
WITH made AS (
INSERT INTO byokeep.lease (id, client_id, job_id, runner_id, kind, secrets, jwt_iat, jwt_exp, issued_at, expires_at)
VALUES (:id, :client_id, :job_id, :runner_id, :kind, CAST(:secrets AS text[]), :jwt_iat, :jwt_exp,
        clock_timestamp(), :expires_at)
RETURNING id)
SELECT made.id, record.seq
  FROM made, byokeep.audit_append(:client_id, :event, :actor, :object, :request, :outcome, :payload) AS record;

-- name: lease_heartbeat
SELECT l.runner_id,
       l.expires_at > t.now AS lease_unexpired,
       -- A job that seals its profile has no use lease any more.
       j.state = 'open' AND j.expires_at > t.now AND j.opened_at <= t.now + interval '5 seconds'
           AND (j.sealing_at IS NULL OR l.kind = 'custody') AS job_open,
       c.state AS client_state,
       (SELECT count(*) = 1 FROM byokeep.switch s
         WHERE s.scope = 'global' AND s.installation_id = :installation_id AND s.epoch >= 0) AS switch_known,
       coalesce((SELECT concat_ws(' ', s.scope, CASE WHEN s.closed THEN s.reason ELSE 'other_installation' END)
                  FROM byokeep.switch s
                WHERE (s.scope = ANY (CAST(:scopes AS text[]))
                       OR (j.kind = 'use' AND 'profile' = ANY (j.secrets)
                           AND s.scope IN ('lane:browser', concat_ws(':', 'client', j.client_id, 'lane:browser'))))
                  AND (s.closed OR s.installation_id <> :installation_id)
                 ORDER BY length(s.scope) LIMIT 1), '') AS switch_engaged
  FROM byokeep.lease l
  JOIN byokeep.job j ON j.client_id = l.client_id AND j.id = l.job_id
  JOIN byokeep.client c ON c.id = l.client_id
 CROSS JOIN (SELECT clock_timestamp() AS now) t
 WHERE l.client_id = :client_id AND l.id = :lease_id;

-- name: leases_of_holder
-- What leases name, and what their holder told of them, as on record.
SELECT l.id, l.secrets,
       ARRAY(SELECT concat_ws(' ', said.f ->> 'logins', said.f ->> 'reads')
               FROM byokeep.audit_record r
              CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) said
              WHERE r.chain = l.client_id AND r.object_id = l.id AND r.event = 'lease.use_told') AS told
  FROM byokeep.lease l
 WHERE l.client_id = :client_id AND l.id = ANY (CAST(:ids AS uuid[])) AND l.runner_id = :runner_id;

-- name: lease_enroll_facts
SELECT c.state AS client_state, c.entity_id, floor(extract(epoch FROM clock_timestamp()))::bigint AS now_s,
       clock_timestamp() AS now,
       (SELECT count(*) = 1 FROM byokeep.switch s
         WHERE s.scope = 'global' AND s.installation_id = :installation_id AND s.epoch >= 0) AS switch_known,
       coalesce((SELECT concat_ws(' ', s.scope, CASE WHEN s.closed THEN s.reason ELSE 'other_installation' END)
                  FROM byokeep.switch s
                WHERE s.scope = ANY (CAST(:scopes AS text[]))
                  AND (s.closed OR s.installation_id <> :installation_id)
                 ORDER BY length(s.scope) LIMIT 1), '') AS switch_engaged
  FROM byokeep.client c
 WHERE c.id = :client_id;

-- name: lease_enrolled
UPDATE byokeep.client SET entity_id = :entity_id, state = CASE WHEN state = 'enrolling' THEN 'active' ELSE state END
 WHERE id = :client_id AND (entity_id IS NULL OR entity_id = :entity_id)
RETURNING state;
