-- A runner and a sealed browser profile: what a decision about a job and a profile needs. What is kept of openings and
-- seals is in profiles.sql.

-- name: profile_use_facts
SELECT j.runner_id, j.kind = 'use' AND 'profile' = ANY (j.secrets) AND 'browser' = ANY (j.lanes) AS declared,
       j.state = 'open' AND j.expires_at > t.now AND j.opened_at <= t.now + interval '5 seconds' AS job_open,
       j.sealing_at IS NOT NULL AS sealing, j.lanes, c.state = 'active' AS client_active,
       p.id AS profile_id, byokeep.profile_usable(p.client_id, p.id) AS usable,
       EXISTS (SELECT FROM byokeep.profile_account a
                WHERE a.client_id = p.client_id AND a.profile_id = p.id AND a.retired_at IS NULL
                  AND a.platform = ANY (j.platforms)) AS of_a_declared_platform,
       EXISTS (SELECT FROM byokeep.lease l
                WHERE l.client_id = j.client_id AND l.id = CAST(:lease_id AS uuid) AND l.job_id = j.id
                  AND l.kind = 'use' AND l.expires_at > t.now) AS leased,
       (SELECT count(*) = 1 FROM byokeep.switch s
         WHERE s.scope = 'global' AND s.installation_id = :installation_id AND s.epoch >= 0) AS switch_known,
       coalesce((SELECT concat_ws(' ', s.scope, CASE WHEN s.closed THEN s.reason ELSE 'other_installation' END)
                  FROM byokeep.switch s
                WHERE s.scope = ANY (CAST(:scopes AS text[]))
                  AND (s.closed OR s.installation_id <> :installation_id)
                 ORDER BY length(s.scope) LIMIT 1), '') AS switch_engaged
  FROM byokeep.job j
  JOIN byokeep.client c ON c.id = j.client_id
 CROSS JOIN (SELECT clock_timestamp() AS now) t
  LEFT JOIN byokeep.profile p ON p.client_id = j.client_id AND p.id = :profile_id
 WHERE j.client_id = :client_id AND j.id = :job_id;

-- name: profile_use_seen
-- What is known of the profile's accounts, and what this job reported of each since it opened the profile: a mismatch,
-- or else the last. What others saw, such as our own look by API, was not in this browser.
SELECT a.platform, a.identity,
       (SELECT r.said ->> 'reason'
          FROM (SELECT r.seq, convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS said FROM byokeep.audit_record r
                 WHERE r.chain = o.client_id AND r.object_id = a.id AND r.event = 'account.identified'
                   AND r.at >= :opened_at) r
         WHERE r.said ->> 'job' = CAST(CAST(:job_id AS uuid) AS text)
         ORDER BY r.said ->> 'reason' = 'mismatch' DESC, r.seq DESC LIMIT 1) AS seen
  FROM byokeep.profile_account o
  JOIN byokeep.platform_account a ON a.client_id = o.client_id AND a.id = o.account_id
 WHERE o.client_id = :client_id AND o.profile_id = :profile_id AND o.retired_at IS NULL;

-- name: profile_use_left_open
-- What keeps a job from sealing: permits whose acts may not be over, other profiles that it has open.
SELECT (SELECT count(*) FROM byokeep.permit
         WHERE client_id = :client_id AND job_id = :job_id AND state = 'issued'
           AND expires_at > clock_timestamp()) AS permits,
       (SELECT count(*) FROM byokeep.profile_opening
         WHERE client_id = :client_id AND job_id = :job_id AND profile_id <> :profile_id
           AND until > clock_timestamp()) AS openings;

-- name: profile_use_sealing
UPDATE byokeep.job SET sealing_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :job_id AND state = 'open' AND sealing_at IS NULL
RETURNING id;

-- name: profile_use_announced
-- When this job announced a seal with this key, in whole seconds, if it did; and whether that is sealed already.
SELECT (SELECT date_trunc('second', max(r.at)) FROM byokeep.audit_record r
         WHERE r.chain = :client_id AND r.object_id = :profile_id AND r.event = 'profile.seal'
           AND r.outcome = 'intended'
           AND convert_from(r.payload, 'UTF8')::jsonb @> CAST(:said AS jsonb)) AS announced_at,
       EXISTS (SELECT FROM byokeep.profile_generation g
                WHERE g.client_id = :client_id AND g.profile_id = :profile_id AND g.dek_id = :dek_id) AS sealed;

-- name: profile_use_unrecorded
-- How many other keys this opening announced a seal with: recording one ends it.
SELECT count(DISTINCT r.said -> 'fields' ->> 'dek')
  FROM (SELECT convert_from(o.payload, 'UTF8')::jsonb AS said FROM byokeep.audit_record o
         WHERE o.chain = :client_id AND o.object_id = :profile_id AND o.event = 'profile.seal'
           AND o.outcome = 'intended') r
 WHERE r.said @> CAST(:said AS jsonb) AND NOT r.said @> CAST(:dek AS jsonb);
