-- Usage of credentials: leases, permits and what runners told of their calls, each from the place where it is on record.

-- name: calls_insert
-- Told again after a lost reply, a call is there already. A call is no older than its lease.
INSERT INTO byokeep.tool_call (client_id, id, job_id, lease_id, provider, tool, outcome, args_digest, at)
SELECT l.client_id, told.id, l.job_id, l.id, told.provider, told.tool, told.outcome, nullif(told.args, ''),
       greatest(l.issued_at, clock_timestamp() - make_interval(secs => told.age_s))
  FROM byokeep.lease l
 CROSS JOIN unnest(CAST(:ids AS uuid[]), CAST(:providers AS text[]), CAST(:tools AS text[]), CAST(:outcomes AS text[]),
                   CAST(:args AS text[]), CAST(:ages_s AS double precision[]))
       AS told (id, provider, tool, outcome, args, age_s)
 WHERE l.client_id = :client_id AND l.id = :lease_id AND told.provider = ANY (l.secrets)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: calls_lease
SELECT l.job_id, l.runner_id, l.secrets,
       (SELECT count(*) FROM byokeep.tool_call c WHERE c.client_id = l.client_id AND c.lease_id = l.id) AS told,
       EXISTS (SELECT FROM byokeep.lease_calls d WHERE d.client_id = l.client_id AND d.lease_id = l.id) AS done
  FROM byokeep.lease l WHERE l.client_id = :client_id AND l.id = :lease_id;

-- name: calls_done
INSERT INTO byokeep.lease_calls (client_id, lease_id, count, missing)
SELECT :client_id, :lease_id, told.count, abs(told.count - (SELECT count(*) FROM byokeep.tool_call c
                                               WHERE c.client_id = :client_id AND c.lease_id = :lease_id))
  FROM (SELECT CAST(:count AS integer) AS count) AS told
ON CONFLICT DO NOTHING
RETURNING lease_id;

-- name: calls_forget
SELECT byokeep.calls_forget() + byokeep.notifications_forget() AS gone;

-- name: usage_of_key
-- Everything that used a key, newest first; ties of the last are shown too, so that a page can end at a time.
-- With a lease stands what its holder told of it, and with a provider's key the permits of the jobs that had it.
SELECT page.*, s.name AS actor_name, l.secrets,
       (SELECT jsonb_agg(convert_from(r.payload, 'UTF8')::jsonb -> 'fields') FROM byokeep.audit_record r
         WHERE r.chain = page.client_id AND r.object_id = page.id AND r.event = 'lease.use_told') AS told
  FROM (
    SELECT u.*, count(*) OVER () AS total
      FROM byokeep.usage u
     WHERE u.client_id = :client_id AND u.at >= :since AND u.at < :until
       AND (u.provider = :provider
            OR u.what = 'permit' AND EXISTS (SELECT FROM byokeep.lease h WHERE h.client_id = u.client_id
                                               AND h.id = u.lease_id AND CAST(:provider AS text) = ANY (h.secrets)))
     ORDER BY u.at DESC FETCH FIRST :limit ROWS WITH TIES) AS page
  JOIN byokeep.lease l ON l.client_id = page.client_id AND l.id = page.lease_id
  LEFT JOIN byokeep.subject s ON s.id = page.runner_id
 ORDER BY page.at DESC, page.id;

-- name: usage_untold
-- Leases that could use a provider's credential in a span and whose holder has not said how many calls it made, or of
-- whose calls some are missing: from its issue until its job's end, what was called is unknown.
SELECT l.client_id, l.id AS lease_id, l.job_id, secret.provider, l.issued_at AS since,
       least(l.expires_at, j.closed_at, clock_timestamp()) AS until,
       CASE WHEN d.lease_id IS NOT NULL THEN 'calls_missing' WHEN j.state = 'open' THEN 'job_open' ELSE 'not_told' END AS why
  FROM byokeep.lease l
  JOIN byokeep.job j ON j.client_id = l.client_id AND j.id = l.job_id
 CROSS JOIN unnest(l.secrets) AS secret (provider)
  LEFT JOIN byokeep.lease_calls d ON d.client_id = l.client_id AND d.lease_id = l.id
 WHERE l.kind = 'use' AND l.issued_at < :until AND l.issued_at > CAST(:since AS timestamptz) - interval '24 hours'
   AND least(l.expires_at, j.closed_at, clock_timestamp()) >= :since
   AND (CAST(:ids AS uuid[]) IS NULL OR l.client_id = ANY (CAST(:ids AS uuid[])))
   AND CAST(:provider AS text) IN ('', secret.provider)
   AND d.missing IS DISTINCT FROM 0
 ORDER BY l.issued_at DESC LIMIT :limit;

-- name: usage_unseen
-- Hours of a span in which nothing shows that the installation ran: no checkpoint. What was used then is unknown.
SELECT hour AS since, hour + interval '1 hour' AS until
  FROM generate_series(date_trunc('hour', CAST(:since AS timestamptz)),
                       CAST(:until AS timestamptz) - interval '1 microsecond', interval '1 hour') AS hour
 WHERE hour + interval '1 hour' > (SELECT created_at FROM byokeep.installation)
   AND NOT EXISTS (SELECT FROM byokeep.audit_epoch e WHERE e.at >= hour AND e.at < hour + interval '1 hour')
 ORDER BY hour;

-- name: usage_hours
SELECT u.client_id, u.provider, date_trunc('hour', u.at) AS hour,
       count(*) FILTER (WHERE u.what = 'lease') AS leases, count(*) FILTER (WHERE u.what = 'permit') AS permits,
       count(*) FILTER (WHERE u.what = 'call') AS calls,
       count(*) FILTER (WHERE u.what = 'call' AND u.outcome <> 'ok') AS calls_failed
  FROM byokeep.usage u
 WHERE u.at >= :since AND u.at < :until
   AND (CAST(:ids AS uuid[]) IS NULL OR u.client_id = ANY (CAST(:ids AS uuid[])))
   AND CAST(:provider AS text) IN ('', u.provider)
 GROUP BY 1, 2, 3 ORDER BY 3 DESC, 1, 2 LIMIT :limit;

-- name: usage_refused
-- Leases and permits that were refused, by reason, on the chain of the client whose they would have been.
SELECT found.*, count(*) OVER () AS total FROM (
    SELECT r.chain AS client_id, split_part(r.event, '.', 1) AS what, coalesce(f ->> 'platform', '') AS provider,
           coalesce(f ->> 'reason', 'unknown') AS reason, count(*) AS number, max(r.at) AS last_at
      FROM byokeep.audit_record r CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) said
     WHERE r.at >= :since AND r.at < :until AND r.event IN ('lease.issued', 'permit.issued')
       AND r.outcome IN ('denied', 'rejected') AND r.chain IN (SELECT id FROM byokeep.client)
       AND (CAST(:ids AS uuid[]) IS NULL OR r.chain = ANY (CAST(:ids AS uuid[])))
       AND CAST(:provider AS text) IN ('', coalesce(f ->> 'platform', ''))
     GROUP BY 1, 2, 3, 4) AS found
 ORDER BY number DESC, last_at DESC LIMIT :limit;

-- name: usage_jobs
SELECT found.*, count(*) OVER () AS total FROM (
    SELECT u.client_id, u.job_id, (array_agg(u.runner_id))[1] AS runner_id, u.provider,
           count(*) FILTER (WHERE u.what = 'lease') AS leases, count(*) FILTER (WHERE u.what = 'permit') AS permits,
           count(*) FILTER (WHERE u.what = 'call') AS calls,
           count(*) FILTER (WHERE u.what = 'call' AND u.outcome <> 'ok') AS calls_failed,
           min(u.at) AS first_at, max(u.at) AS last_at
      FROM byokeep.usage u
     WHERE u.at >= :since AND u.at < :until AND u.what <> 'custody'
       AND (CAST(:ids AS uuid[]) IS NULL OR u.client_id = ANY (CAST(:ids AS uuid[])))
       AND CAST(:provider AS text) IN ('', u.provider)
     GROUP BY u.client_id, u.job_id, u.provider) AS found
 ORDER BY calls DESC, leases DESC, last_at DESC LIMIT :limit;

-- name: usage_counted
-- The newest that each provider told of a client's account, if the record of that step names it by its digest.
SELECT DISTINCT ON (u.client_id, p.facts ->> 'provider') u.client_id, p.facts ->> 'provider' AS provider, u.told
  FROM byokeep.provider_usage u
  JOIN byokeep.procedure_run p ON p.id = u.run_id
 WHERE u.told_at >= CAST(:since AS timestamptz) AND CAST(p.facts ->> 'since' AS timestamptz) < :until
   AND (CAST(:ids AS uuid[]) IS NULL OR u.client_id = ANY (CAST(:ids AS uuid[])))
   AND CAST(:provider AS text) IN ('', p.facts ->> 'provider')
   AND EXISTS (SELECT FROM byokeep.audit_record r
                WHERE r.chain = u.client_id AND r.object_id = p.object_id AND r.event = 'procedure.stepped'
                  AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,digest}'
                      = encode(sha256(convert_to(u.told, 'UTF8')), 'hex'))
 ORDER BY u.client_id, p.facts ->> 'provider', u.told_at DESC LIMIT :limit;

-- name: usage_compared
-- One hour of each client and provider beside the same hour of the days before it: the middle of them (median) and how far
-- they usually lie from it (median of the distances). A day counts from the first use of more than a few at this hour on, or
-- at any hour if there was none, only if the installation is known to have run in that hour, and for calls only if some were told of
-- or there was no lease: what is not known is no zero.
WITH days AS MATERIALIZED (
    SELECT n, CAST(:hour AS timestamptz) - n * interval '1 day' AS hour,
           CAST(:hour AS timestamptz) - n * interval '1 day' + interval '1 hour' AS ends FROM generate_series(0, CAST(:days AS integer)) AS n
     WHERE EXISTS (SELECT FROM byokeep.audit_epoch e
                    WHERE e.at >= CAST(:hour AS timestamptz) - n * interval '1 day'
                      AND e.at < CAST(:hour AS timestamptz) - n * interval '1 day' + interval '1 hour')
), used AS MATERIALIZED (
    SELECT d.n, u.client_id, u.provider, what.measure, count(*) AS number
      FROM days d
     -- OFFSET 0: each hour by the indexes of its tables, never all of them against all hours.
     CROSS JOIN LATERAL (SELECT w.client_id, w.provider, w.what, w.outcome FROM byokeep.usage w
                          WHERE w.at >= d.hour AND w.at < d.ends AND w.what <> 'custody'
                         OFFSET 0) AS u
     CROSS JOIN LATERAL (SELECT u.what || 's' AS measure
                         UNION ALL SELECT 'calls_failed' WHERE u.what = 'call' AND u.outcome <> 'ok') AS what
     GROUP BY 1, 2, 3, 4
), now AS (
    SELECT u.client_id, u.provider, u.measure, u.number,
           -- Much use at this hour before is what to compare with; a little would shorten the past that there is.
           coalesce((SELECT max(f.n) FROM used f
                      WHERE (f.client_id, f.provider, f.measure) = (u.client_id, u.provider, u.measure)
                        AND f.n > 0 AND f.number > CAST(:above AS integer)),
                    (SELECT max(d.n) FROM days d WHERE d.ends > (
                         SELECT min(l.issued_at) FROM byokeep.lease l
                          WHERE l.client_id = u.client_id AND u.provider = ANY (l.secrets) AND l.kind = 'use'
                            AND l.issued_at >= CAST(:hour AS timestamptz) - CAST(:days AS integer) * interval '1 day'))) AS first_n
      FROM used u WHERE u.n = 0 AND (CAST(:ids AS uuid[]) IS NULL OR u.client_id = ANY (CAST(:ids AS uuid[])))
       AND CAST(:provider AS text) IN ('', u.provider)
), before AS (
    SELECT now.client_id, now.provider, now.measure, coalesce(u.number, 0) AS number
      FROM now JOIN days d ON d.n BETWEEN 1 AND now.first_n
      LEFT JOIN used u ON (u.n, u.client_id, u.provider, u.measure) = (d.n, now.client_id, now.provider, now.measure)
     WHERE u.number IS NOT NULL OR now.measure NOT IN ('calls', 'calls_failed')
        OR NOT EXISTS (SELECT FROM used o WHERE (o.n, o.client_id, o.provider, o.measure)
                                              = (d.n, now.client_id, now.provider, 'leases'))
        OR now.measure = 'calls_failed'
           AND EXISTS (SELECT FROM used o WHERE (o.n, o.client_id, o.provider, o.measure)
                                              = (d.n, now.client_id, now.provider, 'calls'))
), middle AS (
    SELECT client_id, provider, measure, count(*) AS days,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY number) AS median
      FROM before GROUP BY 1, 2, 3
)
SELECT now.client_id, now.provider, CAST(:hour AS timestamptz) AS hour, now.measure, now.number, coalesce(m.days, 0) AS days, coalesce(m.median, 0) AS median,
       coalesce((SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(b.number - m.median)) FROM before b
                  WHERE (b.client_id, b.provider, b.measure) = (now.client_id, now.provider, now.measure)), 0) AS deviation,
       (SELECT r.id FROM byokeep.credential_ref r
         WHERE r.client_id = now.client_id AND r.provider = now.provider AND r.account_id IS NULL
           AND r.purpose = 'default' AND r.state IN ('pre_activation', 'active', 'suspended')) AS ref_id
  FROM now LEFT JOIN middle m USING (client_id, provider, measure)
 ORDER BY now.client_id, now.provider, now.measure;

-- name: usage_told
-- Whether an alert of this key was raised since; an hour is told of once, whoever has closed its alert since.
SELECT EXISTS (SELECT FROM byokeep.alert a WHERE a.dedup_key = :key AND a.last_seen_at >= :since) AS told;

-- name: provider_usage_insert
INSERT INTO byokeep.provider_usage (run_id, client_id, told) VALUES (:run_id, :client_id, :told) RETURNING run_id;

-- name: provider_usage_told
-- What a worker was told, if the record of the step names it by its digest.
SELECT u.told FROM byokeep.provider_usage u
  JOIN byokeep.audit_record r ON r.chain = u.client_id AND r.seq = :seq
 WHERE u.run_id = :run_id AND r.event = 'procedure.stepped'
   AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,digest}' = encode(sha256(convert_to(u.told, 'UTF8')), 'hex');
