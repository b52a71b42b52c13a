-- Messages to people: queued once for each target, taken by one worker at a time, sent or tried again.

-- name: notification_remind
INSERT INTO byokeep.notification (id, client_id, source, about, at, stage, target, code, urgent, made_at, next_at)
SELECT gen_random_uuid(), d.client_id, 'due', d.about, d.at, d.stage, t.target, d.code, false, :now, :now
  FROM unnest(CAST(:clients AS uuid[]), CAST(:abouts AS text[]), CAST(:ats AS timestamptz[]), CAST(:stages AS text[]),
              CAST(:codes AS text[])) AS d (client_id, about, at, stage, code)
 CROSS JOIN unnest(CAST(:targets AS text[])) AS t (target)
    ON CONFLICT DO NOTHING
RETURNING id;

-- name: notification_of_alerts
-- Every open alert of the last week that a target was not told of. What the due list reminds of is told by it alone.
INSERT INTO byokeep.notification (id, client_id, source, about, at, stage, target, code, urgent, made_at, next_at)
SELECT gen_random_uuid(), a.client_id, 'alert', CAST(a.id AS text), a.opened_at, 'raised', t.target, a.reason,
       a.severity = 'critical' OR a.reason = 'notification_test', :now, :now
  FROM byokeep.alert a CROSS JOIN unnest(CAST(:targets AS text[])) AS t (target)
 WHERE a.closed_at IS NULL AND a.opened_at > CAST(:now AS timestamptz) - interval '7 days'
   AND a.reason <> ALL (CAST(:told AS text[]))
   AND NOT EXISTS (SELECT FROM byokeep.notification n
                    WHERE n.source = 'alert' AND n.about = CAST(a.id AS text) AND n.target = t.target)
 LIMIT 1000
    ON CONFLICT DO NOTHING
RETURNING id;

-- name: notification_of_incidents
-- The ticket of every incident that was to be told of how far it is within the last week: each time once to each target.
INSERT INTO byokeep.notification (id, client_id, source, about, at, stage, target, code, urgent, made_at, next_at)
SELECT gen_random_uuid(), i.client_id, 'incident', CAST(i.id AS text), i.ticket_at,
       coalesce('report_' || (p.facts ->> 'version'), 'updated'), t.target, i.kind, i.severity IN ('P0', 'P1'), :now, :now
  FROM byokeep.incident i
  LEFT JOIN byokeep.procedure_run p ON p.id = i.id AND p.procedure = 'provider_key_leaked'
 CROSS JOIN unnest(CAST(:targets AS text[])) AS t (target)
 WHERE i.ticket_at > CAST(:now AS timestamptz) - interval '7 days'
   AND NOT EXISTS (SELECT FROM byokeep.notification n
                    WHERE n.source = 'incident' AND n.about = CAST(i.id AS text) AND n.at = i.ticket_at
                      AND n.target = t.target)
 LIMIT 1000
    ON CONFLICT DO NOTHING
RETURNING id;

-- name: notifications_take
-- What waits for a target, for one worker: the next try stands before this one begins, later each time. Something urgent
-- takes everything along; else a target gets one message within a quarter of an hour. A time further ahead than any pause
-- is of a clock that ran ahead, and counts for nothing.
WITH taken AS (
    UPDATE byokeep.notification
       SET tries = tries + 1,
           next_at = CAST(:now AS timestamptz) + make_interval(secs => least(60 * power(2, least(tries, 10)), 3600))
     WHERE id IN (
           SELECT n.id FROM byokeep.notification n
            WHERE n.target = :target AND n.sent_at IS NULL
              AND (n.next_at <= CAST(:now AS timestamptz) OR n.next_at > CAST(:now AS timestamptz) + interval '2 hours')
              AND (EXISTS (SELECT FROM byokeep.notification u
                            WHERE u.target = :target AND u.sent_at IS NULL AND u.urgent
                              AND (u.next_at <= CAST(:now AS timestamptz)
                                   OR u.next_at > CAST(:now AS timestamptz) + interval '2 hours'))
                   OR NOT EXISTS (SELECT FROM byokeep.notification s
                                   WHERE s.target = :target
                                     AND s.sent_at > CAST(:now AS timestamptz) - interval '15 minutes'
                                     AND s.sent_at < CAST(:now AS timestamptz) + interval '2 hours'))
            ORDER BY n.urgent DESC, n.made_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
    RETURNING *
)
SELECT t.*, c.name AS client, coalesce(r.provider, p.platform, '') AS provider
  FROM taken t
  LEFT JOIN byokeep.client c ON c.id = t.client_id
  LEFT JOIN byokeep.alert a ON t.source = 'alert' AND CAST(a.id AS text) = t.about
  LEFT JOIN byokeep.credential_ref r
    ON CAST(r.id AS text) = coalesce(CAST(a.object_id AS text), split_part(t.about, '/', 2))
  LEFT JOIN byokeep.platform_account p
    ON CAST(p.id AS text) = coalesce(CAST(a.object_id AS text), split_part(t.about, '/', 2))
 ORDER BY t.urgent DESC, t.at, t.about;

-- name: notifications_sent
-- A failure that is empty is none.
UPDATE byokeep.notification
   SET failure = :failure, sent_at = CASE WHEN CAST(:failure AS text) = '' THEN CAST(:now AS timestamptz) END
 WHERE id = ANY (CAST(:sent AS uuid[])) AND sent_at IS NULL;

-- name: reminders_over
SELECT * FROM byokeep.reminders_over(CAST(:overdue AS text[]));

-- name: notifications_list
SELECT n.*, c.name AS client, '' AS provider
  FROM byokeep.notification n LEFT JOIN byokeep.client c ON c.id = n.client_id
 WHERE (CAST(:ids AS uuid[]) IS NULL OR n.client_id = ANY (CAST(:ids AS uuid[])))
   AND (CAST(:about AS text) IS NULL OR n.about = :about)
 ORDER BY n.sent_at DESC NULLS FIRST, n.made_at DESC LIMIT :limit;
