-- The audit log as its flows read it. Records are written by byokeep.audit_append alone.

-- name: audit_hold
SELECT byokeep.audit_hold(coalesce(CAST(:client_id AS uuid), (SELECT id FROM byokeep.installation))) IS NULL AS unused;

-- name: audit_browse
-- A page of a chain, newest first. Of the newest :most records that fit, the heartbeats among them are folded: counted and
-- not shown. Each row tells how many were folded before it, how many that fit come after it, and where the look ended.
SELECT shown.seq, r.at, r.payload, r.hash, r.actor_id, r.object_id, shown.place, NOT shown.folded AS is_shown,
       shown.folded_before, shown.total, shown.looked, shown.last_seq
  FROM (
    SELECT fits.*, count(*) FILTER (WHERE NOT folded) OVER newest AS place,
           count(*) FILTER (WHERE folded) OVER newest AS folded_before,
           count(*) FILTER (WHERE NOT folded) OVER () AS total, count(*) OVER () AS looked,
           min(seq) OVER () AS last_seq
      FROM (
        SELECT r.seq, r.event = ANY (CAST(:folded AS text[])) AND r.outcome IN ('ok', 'intended') AS folded
          FROM byokeep.audit_record r
         WHERE r.chain = :chain AND r.seq >= :since_seq AND r.seq < :before
           AND (CAST(:since AS timestamptz) IS NULL OR r.at >= CAST(:since AS timestamptz))
           AND (CAST(:until AS timestamptz) IS NULL OR r.at < CAST(:until AS timestamptz))
           AND (CAST(:actor AS uuid) IS NULL OR r.actor_id = CAST(:actor AS uuid))
           AND starts_with(r.event, :event) AND starts_with(r.outcome, :outcome)
           AND (CAST(:ref_id AS uuid) IS NULL OR r.object_id = CAST(:ref_id AS uuid)
                OR (r.event = 'lease.issued'
                    AND :provider = ANY (string_to_array(
                        convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,secrets}', ','))))
         ORDER BY r.seq DESC LIMIT :most) AS fits
    WINDOW newest AS (ORDER BY seq DESC)) AS shown
 -- OFFSET 0: what a record says is read of those alone that are shown, each by its key.
 CROSS JOIN LATERAL (SELECT o.at, o.payload, o.hash, o.actor_id, o.object_id FROM byokeep.audit_record o
                      WHERE o.chain = :chain AND o.seq = shown.seq OFFSET 0) AS r
 WHERE NOT shown.folded AND shown.place <= :limit OR shown.seq = shown.last_seq
 ORDER BY shown.seq DESC;

-- name: audit_reach
-- Where a look at the newest :most records before a number ends, and when what stands there was written.
SELECT l.floor, (SELECT r.at FROM byokeep.audit_record r WHERE r.chain = h.chain AND r.seq = l.floor) AS at
  FROM byokeep.audit_head h CROSS JOIN LATERAL (SELECT least(h.seq + 1, CAST(:before AS bigint)) - CAST(:most AS bigint) AS floor) l
 WHERE h.chain = :chain AND l.floor > :since_seq;

-- name: audit_epoch_lock
SELECT pg_advisory_xact_lock(byokeep.scope_lock_key('audit/epoch')) IS NULL AS unused;

-- name: audit_heads
SELECT chain, seq, hash FROM byokeep.audit_head WHERE seq > 0 ORDER BY chain;

-- name: audit_head
SELECT chain, seq, hash FROM byokeep.audit_head WHERE chain = :chain AND seq > 0;

-- name: audit_segments
-- Records after given places and up to given places, in the order of each chain.
SELECT r.chain, r.seq, (extract(epoch FROM r.at) * 1000000)::bigint AS at_us, r.writer, r.payload, r.hash,
       r.event, r.actor_id, r.object_id, r.request_id, r.outcome
  FROM unnest(CAST(:chains AS uuid[]), CAST(:after AS bigint[]), CAST(:upto AS bigint[])) AS want (chain, after, upto)
  JOIN byokeep.audit_record r ON r.chain = want.chain AND r.seq > want.after AND r.seq <= want.upto
 ORDER BY r.chain, r.seq;

-- name: audit_at
SELECT r.chain, r.seq, r.hash
  FROM unnest(CAST(:chains AS uuid[]), CAST(:seqs AS bigint[])) AS want (chain, seq)
  JOIN byokeep.audit_record r ON r.chain = want.chain AND r.seq = want.seq;

-- name: audit_verify_lock
SELECT pg_try_advisory_xact_lock(byokeep.scope_lock_key('audit/verify')) AS alone;

-- name: audit_beyond
-- Chains whose last record is later than their head, or that have no head. Goes from chain to chain in the index.
WITH RECURSIVE chains AS (
    (SELECT chain FROM byokeep.audit_record ORDER BY chain LIMIT 1)
    UNION ALL
    SELECT (SELECT r.chain FROM byokeep.audit_record r WHERE r.chain > c.chain ORDER BY r.chain LIMIT 1)
      FROM chains c WHERE c.chain IS NOT NULL
)
SELECT c.chain, last.seq
  FROM chains c
  CROSS JOIN LATERAL (SELECT max(r.seq) AS seq FROM byokeep.audit_record r WHERE r.chain = c.chain) AS last
  LEFT JOIN byokeep.audit_head h ON h.chain = c.chain
 WHERE c.chain IS NOT NULL AND last.seq > coalesce(h.seq, 0)
 ORDER BY c.chain;

-- name: audit_epochs_from
SELECT number, at, leaf, heads FROM byokeep.audit_epoch WHERE number >= :number ORDER BY number LIMIT :limit;

-- name: audit_epoch_insert
INSERT INTO byokeep.audit_epoch (number, at, leaf, heads)
VALUES (:number, clock_timestamp(), :leaf, :heads)
RETURNING number;

-- name: audit_epoch_newest
SELECT coalesce(max(number), -1) AS number FROM byokeep.audit_epoch;

-- name: audit_epoch_age
SELECT extract(epoch FROM clock_timestamp() - max(at))::double precision AS age_s FROM byokeep.audit_epoch;

-- name: audit_reconciled_begin
-- Where the first run of the reconciliation began: at the installation. Before the present release runs told no end.
-- And the last record that told people of a run that somebody else put on record.
SELECT coalesce((SELECT max(r.at) - interval '5 minutes' FROM byokeep.audit_record r
                  WHERE r.chain = i.id AND r.event = 'audit.reconciled' AND r.writer = 'byokeep_broker'
                    AND r.actor_id = i.id AND (convert_from(r.payload, 'UTF8')::jsonb -> 'fields') ->> 'until' IS NULL),
                i.created_at) AS until,
       coalesce((SELECT max(r.seq) FROM byokeep.audit_record r
                  WHERE r.chain = i.id AND r.event IN ('alert.raised', 'alert.closed')
                    AND (convert_from(r.payload, 'UTF8')::jsonb -> 'fields') ->> 'reason' = 'reconciled_by_another'),
                0) AS told_seq
  FROM byokeep.installation i WHERE i.id = :installation_id;

-- name: audit_reconciled_runs
-- The last records of the broker's own runs. Their times are text: whoever has its role can write any.
SELECT r.seq, encode(r.hash, 'hex') AS hash_hex, r.at,
       (convert_from(r.payload, 'UTF8')::jsonb -> 'fields') ->> 'since' AS since,
       (convert_from(r.payload, 'UTF8')::jsonb -> 'fields') ->> 'until' AS until
  FROM byokeep.audit_record r
 WHERE r.chain = :installation_id AND r.seq > :after AND r.event = 'audit.reconciled'
   AND r.writer = 'byokeep_broker' AND r.actor_id = :installation_id
 ORDER BY r.seq DESC LIMIT :limit;

-- name: audit_leases_between
-- Leases whose login token could have been used in a span of time; an enrolment has one too. A row that no record
-- speaks of, or whose token would live longer than any of ours, was not made by us and explains nothing.
SELECT l.id, l.client_id, l.job_id, l.kind, l.secrets, l.jwt_iat, l.jwt_exp, l.issued_at, l.expires_at,
       (SELECT jsonb_agg(convert_from(r.payload, 'UTF8')::jsonb -> 'fields') FROM byokeep.audit_record r
         WHERE r.chain = l.client_id AND r.object_id = l.id AND r.event = 'lease.use_told') AS told,
       (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' ->> 'versions' FROM byokeep.audit_record r
         WHERE r.chain = l.client_id AND r.object_id = l.id AND r.event = 'lease.issued' AND r.outcome = 'intended'
         ORDER BY r.seq LIMIT 1) AS versions
  FROM byokeep.lease l
 WHERE l.issued_at BETWEEN :first AND :last AND l.jwt_exp - l.jwt_iat BETWEEN 1 AND 30
   -- Apart, so that each is looked up by its object: joined by an OR the whole chain is read for each lease.
   AND (EXISTS (SELECT FROM byokeep.audit_record r
                 WHERE r.chain = l.client_id AND r.object_id = l.id AND r.event = 'lease.issued'
                   AND r.outcome = 'intended')
        OR l.kind = 'enroll'
           AND EXISTS (SELECT FROM byokeep.audit_record r
                        WHERE r.chain = l.client_id AND r.object_id = l.client_id AND r.event = 'client.enrolled'
                          AND r.outcome = 'intended'));

-- name: audit_leases_told_twice
-- Leases of which something else was told in a span than before, or in another's name.
SELECT DISTINCT ON (l.id) l.id, l.client_id, r.at
  FROM byokeep.audit_record r
  JOIN byokeep.lease l ON l.client_id = r.chain AND l.id = r.object_id
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) said
 WHERE r.event = 'lease.use_told' AND r.at > :first AND r.at <= :last
   AND (r.actor_id <> l.runner_id
        OR EXISTS (SELECT FROM byokeep.audit_record e
                    CROSS JOIN LATERAL (SELECT convert_from(e.payload, 'UTF8')::jsonb -> 'fields' AS f) before
                    WHERE e.chain = r.chain AND e.object_id = r.object_id AND e.event = r.event AND e.seq < r.seq
                      AND (before.f ->> 'logins', before.f ->> 'reads')
                          IS DISTINCT FROM (said.f ->> 'logins', said.f ->> 'reads')))
 ORDER BY l.id, r.at DESC;

-- name: audit_switch_moves
-- Switches that cut clients off at the store, as they were closed and opened, the attempts to open among them.
SELECT r.at, s.client_id, r.event = 'switch.opened' AS opens,
       convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,reason}' = 'panic' IS TRUE AS panic
  FROM byokeep.switch s
  JOIN byokeep.audit_record r
    ON r.chain = coalesce(s.client_id, (SELECT id FROM byokeep.installation))
   AND r.event IN ('switch.closed', 'switch.opened')  -- its index
   AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,scope}' = s.scope
 WHERE (s.client_id IS NULL AND s.scope = 'global' OR s.scope = concat('client:', s.client_id))
   AND r.outcome IN ('ok', 'intended') AND r.at >= :first
 ORDER BY r.at;

-- name: audit_subjects_unrecorded
-- People and machines that are not as their last record says: somebody wrote the row past us.
SELECT s.id
  FROM byokeep.subject s
-- Except whom a restore had given back and we disabled again: that is on record as such, and gives nobody anything.
 WHERE (NOT byokeep.subject_recorded(s.id)
    OR EXISTS (SELECT FROM byokeep.audit_record r
                WHERE r.object_id = s.id AND r.seq > s.record_seq AND r.outcome = 'ok'
                  AND r.event IN ('operator.created', 'operator.changed', 'machine.created', 'machine.changed')
                  AND r.chain = (SELECT id FROM byokeep.installation)))
   AND NOT (s.state = 'disabled'
            AND EXISTS (SELECT FROM byokeep.audit_record r
                         WHERE r.object_id = s.id AND r.seq > s.record_seq AND r.outcome = 'ok'
                           AND r.event IN ('operator.changed', 'machine.changed')
                           AND r.chain = (SELECT id FROM byokeep.installation)
                           AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,reason}' = 'withdrawal_undone'))
 ORDER BY s.id LIMIT 50;

-- name: audit_tokens_unrecorded
-- Live tokens that nobody issued, or not to this subject and for so long, or that were ended before.
SELECT t.id
  FROM byokeep.api_token t
 WHERE t.revoked_at IS NULL AND t.expires_at > clock_timestamp()
   AND (NOT byokeep.token_recorded(t.id)
        OR EXISTS (SELECT FROM byokeep.audit_record r
                    CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) said
                    WHERE r.object_id = t.subject_id AND r.seq > t.record_seq AND r.outcome = 'ok'
                      AND r.event = 'token.revoked' AND r.chain = (SELECT id FROM byokeep.installation)
                      AND said.f ->> 'token' = t.id::text AND said.f ->> 'life_s' IS NULL))
 ORDER BY t.id LIMIT 50;

-- name: audit_alerts_unrecorded
-- Alerts that somebody made, closed, opened again, changed or removed past us, against the records of their raising and
-- closing; each is told once, for nobody can mend it. Records of before said the client of some only.
WITH said AS (
    SELECT (f ->> 'alert')::uuid AS id, (array_agg(r.event ORDER BY r.at DESC, r.seq DESC))[1] AS last,
           max(f ->> 'reason') FILTER (WHERE r.event = 'alert.raised') AS reason,
           max(f ->> 'severity') AS severity, min(r.at) AS at,
           (array_agg(coalesce(f ->> 'chain', nullif(r.chain, i.id)::text) ORDER BY r.at, r.seq))[1] AS chain,
           (array_agg(coalesce(r.object_id, nullif(r.chain, i.id)) ORDER BY r.at, r.seq))[1] AS about
      FROM byokeep.installation i, byokeep.audit_record r
     CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) fields
     WHERE r.event IN ('alert.raised', 'alert.closed') AND f ->> 'alert' ~ '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$'
     GROUP BY 1
), found AS (
    SELECT coalesce(a.id, said.id) AS id FROM byokeep.alert a FULL JOIN said ON said.id = a.id
     WHERE a.id IS NULL AND said.reason IS NOT NULL
        OR a.closed_at IS NOT NULL AND said.last IS DISTINCT FROM 'alert.closed'
        OR a.closed_at IS NULL AND (
            said.last IS DISTINCT FROM 'alert.raised' OR (a.reason, a.severity) <> (said.reason, said.severity)
            OR coalesce(a.object_id, a.client_id) IS DISTINCT FROM said.about
            OR said.chain <> coalesce(a.client_id, (SELECT id FROM byokeep.installation))::text
            OR a.opened_at NOT BETWEEN said.at - interval '10 minutes' AND said.at + interval '10 minutes')
)
SELECT found.id FROM found
 WHERE NOT EXISTS (SELECT FROM byokeep.audit_record r
                    WHERE r.chain = (SELECT id FROM byokeep.installation) AND r.object_id = found.id
                      AND r.event = 'alert.raised'
                      AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,reason}' = 'alert_unrecorded')
 ORDER BY found.id LIMIT 50;

-- name: audit_alerts_flood
-- The installation, once one role has raised more than 300 alerts within an hour.
SELECT i.id FROM byokeep.installation i
 WHERE EXISTS (SELECT FROM byokeep.audit_record r
                WHERE r.event = 'alert.raised' AND r.at > clock_timestamp() - interval '1 hour'
                GROUP BY r.writer HAVING count(*) > 300);

-- name: audit_store_requests
SELECT DISTINCT said.f ->> 'store_request' AS store_request, r.chain AS client_id, said.f ->> 'path' AS path
  FROM byokeep.audit_record r
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) said
 WHERE r.event IN ('key.write', 'key.stored', 'key.admin_stored', 'tokens.stored', 'webhook_secret.stored',
                   'connection.started', 'connection.answered', 'platform_app.set', 'profile.sealed')
   AND r.at BETWEEN :first AND :last
   AND said.f ->> 'store_request' IS NOT NULL;

-- name: audit_seals_announced
-- Seals of profiles as they were announced: the record's place, since when, and when one was recorded; NULL = never.
SELECT said.f ->> 'path' AS path, r.at AS since,
       (SELECT min(e.at) FROM byokeep.audit_record e
         WHERE e.chain = r.chain AND e.object_id = r.object_id AND e.event = 'profile.sealed' AND e.seq > r.seq
           AND convert_from(e.payload, 'UTF8')::jsonb #>> '{fields,dek}' = said.f ->> 'dek') AS until
  FROM byokeep.audit_record r
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) said
 WHERE r.event = 'profile.seal' AND r.outcome = 'intended' AND r.at BETWEEN :first AND :last
 ORDER BY r.at;

-- name: audit_profile_openings
-- Openings by jobs that use a profile: the broker reads its record then, under no lease.
SELECT r.chain AS client_id, r.object_id AS profile_id, r.at
  FROM byokeep.audit_record r
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) said
 WHERE r.event = 'profile.opened' AND r.outcome = 'ok' AND r.at BETWEEN :first AND :last
   AND said.f ->> 'kind' = 'use';

-- name: audit_backups_begun
-- Spans in which a backup took its part of the store: until it was recorded as made or failed, an hour at most.
SELECT b.at AS begun, least(b.at + interval '1 hour', coalesce((
           SELECT min(r.at) FROM byokeep.audit_record r
            WHERE r.event = 'backup.created' AND r.outcome <> 'intended' AND r.chain = b.chain AND r.seq > b.seq),
           'infinity')) AS over
  FROM byokeep.audit_record b
 WHERE b.event = 'backup.created' AND b.outcome = 'intended' AND b.writer = 'byokeep_broker'
   AND b.at BETWEEN CAST(:first AS timestamptz) - interval '1 hour' AND :last
 ORDER BY b.at;

-- name: audit_mints
-- When a worker was about to have a provider make a key.
SELECT chain AS client_id, convert_from(payload, 'UTF8')::jsonb #>> '{fields,provider}' AS provider, at
  FROM byokeep.audit_record
 WHERE event = 'key.rotation' AND outcome = 'intended' AND writer = 'byokeep_worker' AND at BETWEEN :first AND :last
   AND convert_from(payload, 'UTF8')::jsonb #>> '{fields,stage}' = 'mint_call';

-- name: audit_restores
-- Times at which this installation had been made of a backup.
SELECT at FROM byokeep.audit_record
 WHERE event = 'backup.restored' AND outcome = 'ok' AND writer = 'byokeep_broker'
   AND at BETWEEN :first AND CAST(:last AS timestamptz) + interval '1 hour'
 ORDER BY at;

-- name: audit_config_times
-- Times at which the store was set up or changed on purpose; the broker does neither.
SELECT at FROM byokeep.audit_record
 WHERE event IN ('installation.created', 'config.changed') AND writer <> 'byokeep_broker' AND at BETWEEN :first AND :last
   AND NOT convert_from(payload, 'UTF8')::jsonb -> 'fields' ? 'row'  -- that a row was found as it is sets nothing up
   AND convert_from(payload, 'UTF8')::jsonb #>> '{fields,component}' IS DISTINCT FROM 'database-logins'
 ORDER BY at;
