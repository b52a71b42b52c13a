-- The operators' checklists: what their items ask, and what is on record of them (runbook 10).

-- name: checklist_leaks
-- What tells of a leak: alerts and incidents of one, since a time or still open.
SELECT a.reason, c.name AS client, a.id AS item FROM byokeep.alert a LEFT JOIN byokeep.client c ON c.id = a.client_id
 WHERE a.reason = ANY (CAST(:reasons AS text[])) AND (a.closed_at IS NULL OR a.last_seen_at >= CAST(:since AS timestamptz))
UNION ALL
SELECT i.kind, c.name, i.id FROM byokeep.incident i LEFT JOIN byokeep.client c ON c.id = i.client_id
 WHERE i.kind = ANY (CAST(:kinds AS text[])) AND (i.closed_at IS NULL OR i.opened_at >= CAST(:since AS timestamptz))
 ORDER BY 1, 2, 3;

-- name: checklist_scans
-- Leak scans since a time, the newest first; of the same paths the newest alone. A clean one that did not look for live
-- values replaces none that did.
SELECT * FROM (
    SELECT DISTINCT ON (scanned.of, scanned.less) r.seq, r.at, f.fields
      FROM byokeep.audit_record r
     CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS fields) f
     CROSS JOIN LATERAL (SELECT coalesce(f.fields ->> 'digest', CAST(r.seq AS text)) AS of,
                                f.fields ->> 'result' = 'clean' AND coalesce(f.fields ->> 'live', '0') = '0' AS less) scanned
     WHERE r.chain = CAST(:installation_id AS uuid) AND r.object_id = CAST(:installation_id AS uuid)
       AND r.event = 'leaks.scanned' AND r.at >= CAST(:since AS timestamptz)
     ORDER BY scanned.of, scanned.less, r.seq DESC) s
 ORDER BY s.seq DESC;

-- name: checklist_last
-- The newest record of an event about an object of the platform, the fields of which hold the given ones; with the place
-- where it stands.
SELECT r.seq, r.at, r.actor_id, r.outcome, f.fields
  FROM byokeep.audit_record r
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS fields) f
 WHERE r.chain = CAST(:installation_id AS uuid) AND r.object_id = CAST(:about AS uuid) AND r.event = :event
   AND (CAST(:actor_id AS uuid) IS NULL OR r.actor_id = CAST(:actor_id AS uuid))
   AND f.fields @> CAST(:fields AS jsonb) AND CAST(:outcome AS text) IN ('', r.outcome)
   AND (CAST(:before AS text) = '' OR f.fields ->> 'period' < :before)
 ORDER BY r.seq DESC LIMIT 1;

-- name: checklist_unusual
-- Hours of unusual usage that were told of since a time or still stand, by client and provider.
SELECT DISTINCT c.name AS client, split_part(split_part(a.dedup_key, '/', 2), '/', 1) AS provider
  FROM byokeep.alert a JOIN byokeep.client c ON c.id = a.client_id
 WHERE a.reason = 'usage_unusual' AND (a.closed_at IS NULL OR a.last_seen_at >= CAST(:since AS timestamptz))
 ORDER BY 1, 2;

-- name: checklist_usage
-- Whether there is anything to compare: uses since a time, the days since the first one, hours without a sign of life.
SELECT (SELECT count(*) FROM byokeep.lease l WHERE l.kind = 'use' AND l.issued_at >= CAST(:since AS timestamptz)) AS uses,
       coalesce(extract(day FROM clock_timestamp() - (SELECT min(l.issued_at) FROM byokeep.lease l WHERE l.kind = 'use')), 0)::integer AS days;

-- name: checklist_periods
-- Days, weeks or months, newest first, with who signed each off when. The first that counts is the first whole one of the
-- installation; the present one is always there.
WITH span AS (
    SELECT date_trunc(:unit, now() AT TIME ZONE 'UTC') AS present,
           date_trunc(:unit, i.created_at AT TIME ZONE 'UTC') + CAST('1 ' || CAST(:unit AS text) AS interval) AS first
      FROM byokeep.installation i
)
SELECT CAST(p.period AS date) AS period, s.at AS signed_at, s.actor_id AS signed_by, coalesce(s.not_ok, 0) AS not_ok,
       CASE WHEN s.at IS NOT NULL THEN 'signed' WHEN p.period = span.present THEN 'to_do' ELSE 'missed' END AS state
  FROM span
 CROSS JOIN LATERAL generate_series(
           span.present, greatest(least(span.first, span.present),
                                  span.present - CAST(:count AS integer) * CAST('1 ' || CAST(:unit AS text) AS interval)),
           - CAST('1 ' || CAST(:unit AS text) AS interval)) AS p (period)
  LEFT JOIN (
       SELECT DISTINCT ON (f.fields ->> 'period') f.fields ->> 'period' AS period, r.at, r.actor_id,
              CAST(f.fields ->> 'failed' AS integer) AS not_ok
         FROM byokeep.audit_record r
        CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS fields) f
        WHERE r.chain = CAST(:installation_id AS uuid) AND r.object_id = CAST(:about AS uuid)
          AND r.event = 'checklist.signed' AND r.outcome = 'ok'
        ORDER BY f.fields ->> 'period', r.seq DESC) s ON s.period = to_char(p.period, 'YYYY-MM-DD')
 ORDER BY p.period DESC;

-- name: checklist_signed_items
-- What was found of each item of a period when it was signed, in the order of the list.
SELECT f.fields ->> 'item' AS item, f.fields ->> 'verification' AS verification, f.fields ->> 'cause' AS cause,
       f.fields ->> 'ticket' AS ticket, f.fields ->> 'digest' AS digest
  FROM byokeep.audit_record r
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS fields) f
 WHERE r.chain = CAST(:installation_id AS uuid) AND r.object_id = CAST(:about AS uuid) AND r.event = 'checklist.ticked'
   AND r.outcome = 'ok' AND f.fields ->> 'period' = :period
 ORDER BY r.seq LIMIT 100;

-- name: checklist_access
-- Who may reach what more than at the last review: records after the place up to which each chain was reviewed. The list
-- of events is the index's (audit_record_access_ix).
-- A path is listed when it is new, rights each time they change. A reader of a client's path is a machine that runs jobs
-- for it.
SELECT r.chain, r.seq, r.at, r.event, r.actor_id AS by, c.id AS client_id, r.object_id,
       CASE WHEN r.event IN ('operator.created', 'operator.changed', 'machine.created', 'machine.changed') THEN 'role'
            WHEN r.event IN ('job.template_set', 'account.lanes_set', 'breakglass.issued') THEN 'grant' ELSE 'path' END AS kind,
       coalesce(f.fields ->> 'path', (f.fields ->> 'roles') || coalesce(', ' || (f.fields ->> 'reason'), ''), f.fields ->> 'template', f.fields ->> 'lanes', f.fields ->> 'scope',
                concat_ws('/', f.fields ->> 'platform', f.fields ->> 'platforms', f.fields ->> 'provider')) AS what,
       CASE WHEN c.id IS NULL THEN '{}' ELSE ARRAY(
           SELECT s.name FROM byokeep.subject s
            WHERE s.state = 'active' AND s.roles && ARRAY['runner', 'custodian'] AND (s.all_clients OR EXISTS (
                      SELECT FROM byokeep.subject_client a WHERE a.subject_id = s.id AND a.client_id = c.id))
            ORDER BY s.name) END AS readers,
       count(*) OVER () AS total
  FROM (SELECT h.chain, coalesce((
            SELECT CAST(convert_from(v.payload, 'UTF8')::jsonb #>> '{fields,last_seq}' AS bigint)
              FROM byokeep.audit_record v
             WHERE v.chain = h.chain AND v.event = 'access.reviewed' ORDER BY v.seq DESC LIMIT 1), 0) AS seq
          FROM byokeep.audit_head h) reviewed
  JOIN byokeep.audit_record r ON r.chain = reviewed.chain AND r.seq > reviewed.seq
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS fields) f
  LEFT JOIN byokeep.client c ON c.id = r.chain
 WHERE r.outcome = 'ok'
   AND r.event IN ('operator.created', 'operator.changed', 'machine.created', 'machine.changed', 'platform_app.set',
                   'key.stored', 'key.admin_stored', 'webhook_secret.stored', 'platform_connected', 'profile.created',
                   'account.lanes_set', 'job.template_set', 'breakglass.issued')
   AND (r.event NOT IN ('key.stored', 'key.admin_stored', 'webhook_secret.stored', 'platform_connected', 'platform_app.set')
        OR NOT EXISTS (SELECT FROM byokeep.audit_record b
                        WHERE b.chain = r.chain AND b.object_id = r.object_id AND b.event = r.event AND b.outcome = 'ok'
                          AND b.seq < r.seq))
 ORDER BY r.chain, r.seq LIMIT :limit;

-- name: checklist_unused
-- What was given and not used for a while. `words` is the command that takes it back.
SELECT g.*, c.name AS client FROM (
    SELECT 'key' AS kind, r.id AS item, r.client_id, r.provider AS name, r.created_at AS since,
           ARRAY['key', 'state', CAST(r.id AS text), 'suspended', '--reason', 'unused'] AS words
      FROM byokeep.credential_ref r
     WHERE r.kind = 'provider_api_key' AND r.state = 'active' AND r.account_id IS NULL
       AND NOT EXISTS (SELECT FROM byokeep.lease l WHERE l.client_id = r.client_id AND l.kind = 'use'
                          AND r.provider = ANY (l.secrets) AND l.issued_at >= CAST(:before AS timestamptz))
    UNION ALL
    SELECT 'machine', s.id, NULL, s.name, s.created_at,
           ARRAY['operator', 'change', CAST(s.id AS text), '--state', 'disabled']
      FROM byokeep.subject s
     WHERE s.kind = 'machine' AND s.state = 'active' AND s.roles && ARRAY['runner', 'dispatcher']
       AND NOT EXISTS (SELECT FROM byokeep.lease l WHERE l.runner_id = s.id AND l.issued_at >= CAST(:before AS timestamptz))
       AND NOT EXISTS (SELECT FROM byokeep.job j WHERE j.dispatcher_id = s.id AND j.opened_at >= CAST(:before AS timestamptz))
    UNION ALL
    SELECT 'person', s.id, NULL, s.name, s.created_at,
           ARRAY['operator', 'change', CAST(s.id AS text), '--state', 'disabled']
      FROM byokeep.subject s
     WHERE s.kind = 'operator' AND s.state = 'active'
       AND NOT EXISTS (SELECT FROM byokeep.audit_record u WHERE u.actor_id = s.id AND u.at >= CAST(:before AS timestamptz))
       AND NOT EXISTS (SELECT FROM byokeep.audit_record l
                        WHERE l.chain = (SELECT id FROM byokeep.installation) AND l.object_id = s.id
                          AND l.event = 'session.login' AND l.outcome = 'ok' AND l.at >= CAST(:before AS timestamptz))
) g LEFT JOIN byokeep.client c ON c.id = g.client_id
 WHERE g.since < CAST(:before AS timestamptz) AND c.state IS DISTINCT FROM 'closed'
 ORDER BY g.kind, g.since, g.item LIMIT :limit;
