-- Incidents (runbook sections 6.3 and 7).

-- name: incident_open
-- One open incident about a thing; of what opens by itself no more than so many of a client in a day.
INSERT INTO byokeep.incident AS i
    (id, client_id, kind, severity, object_kind, object_id, platform, source, dedup_key, noticed_at, began_at,
     began_assumed, opened_by)
SELECT :id, CAST(:client_id AS uuid), :kind, :severity, :object_kind, CAST(:object_id AS uuid), :platform, :source,
       :dedup_key, :noticed_at, :began_at, :began_assumed, :by
 WHERE CAST(:most AS integer) IS NULL
    OR (SELECT count(*) FROM byokeep.incident o
         WHERE o.client_id IS NOT DISTINCT FROM CAST(:client_id AS uuid) AND o.source <> 'person'
           AND o.opened_at > now() - interval '1 day') < CAST(:most AS integer)
    ON CONFLICT (dedup_key) WHERE closed_at IS NULL DO NOTHING
RETURNING *;

-- name: incident_of
SELECT * FROM byokeep.incident WHERE dedup_key = :dedup_key AND closed_at IS NULL;

-- name: incident_again
-- What is noticed again is as bad as the worse word says, since the earlier time that somebody knows.
UPDATE byokeep.incident
   SET severity = least(severity, CAST(:severity AS text)),
       began_at = CASE WHEN :began_assumed THEN began_at ELSE least(began_at, :began_at) END,
       began_assumed = began_assumed AND (:began_assumed OR began_at <= CAST(:began_at AS timestamptz))
 WHERE id = :id AND closed_at IS NULL
   AND (severity > CAST(:severity AS text) OR (NOT :began_assumed AND began_at > CAST(:began_at AS timestamptz)))
RETURNING *;

-- name: incident_get
SELECT * FROM byokeep.incident WHERE id = :id;

-- name: incident_hold
SELECT * FROM byokeep.incident WHERE id = :id FOR UPDATE;

-- name: incidents_list
-- Open ones first, the worst of them at the top.
SELECT * FROM byokeep.incident
 WHERE (CAST(:ids AS uuid[]) IS NULL OR client_id = ANY (CAST(:ids AS uuid[])))
   AND (CAST(:only_open AS boolean) IS FALSE OR closed_at IS NULL)
 ORDER BY closed_at DESC NULLS FIRST, severity, opened_at DESC LIMIT :limit;

-- name: incident_object
-- Whose a key, an account or a profile is, and on which platform it is, if it is of one; of a key whether a provider
-- takes it.
SELECT client_id, '' AS platform, kind = 'provider_api_key' AS of_provider FROM byokeep.credential_ref WHERE id = :id AND :kind = 'key' AND account_id IS NULL
UNION ALL
SELECT client_id, platform, false FROM byokeep.platform_account WHERE id = :id AND :kind = 'account'
UNION ALL
SELECT client_id, '', false FROM byokeep.profile WHERE id = :id AND :kind = 'profile';

-- name: incident_told
UPDATE byokeep.incident SET postmortem = :postmortem, postmortem_sha256 = :sha256 WHERE id = :id AND closed_at IS NULL
RETURNING *;

-- name: incident_close
UPDATE byokeep.incident SET closed_at = now(), closed_by = :by WHERE id = :id AND closed_at IS NULL RETURNING *;

-- name: incident_held_by
-- Whether a person held break glass of the incident's client since it may have begun.
SELECT true AS held FROM byokeep.incident i JOIN byokeep.procedure_run p ON p.client_id = i.client_id
 WHERE i.id = :id AND p.procedure LIKE 'break\_glass%' AND p.started_by = :by
   AND coalesce(p.closed_at, 'infinity') >= i.began_at LIMIT 1;

-- name: incident_timeline
-- The records that name an incident, in the chain of its client and in the platform's; oldest first.
SELECT r.chain, r.seq, r.at, r.payload, r.object_id, s.name
  FROM byokeep.audit_record r LEFT JOIN byokeep.subject s ON s.id = r.actor_id
 WHERE r.chain = ANY (CAST(:chains AS uuid[]))
   AND (r.object_id = CAST(:id AS uuid)
        OR (r.event = ANY (CAST(:events AS text[])) AND r.at >= CAST(:since AS timestamptz)
            AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,incident}' = CAST(:id AS text)))
   AND (r.at, r.chain, r.seq) > (CAST(:after AS timestamptz), CAST(:after_chain AS uuid), CAST(:after_seq AS bigint))
 ORDER BY r.at, r.chain, r.seq LIMIT :limit;

-- name: incident_severity
UPDATE byokeep.incident SET severity = :severity WHERE id = :id AND closed_at IS NULL AND severity = :was RETURNING id;

-- name: incident_kind
-- No row: it is closed, or one of this kind about the same is open.
UPDATE byokeep.incident i SET kind = :kind, dedup_key = :dedup_key, severity = least(i.severity, CAST(:severity AS text))
 WHERE i.id = :id AND i.closed_at IS NULL
   AND NOT EXISTS (SELECT FROM byokeep.incident o WHERE o.dedup_key = :dedup_key AND o.closed_at IS NULL AND o.id <> i.id)
RETURNING i.*;

-- name: incident_ticket
-- Where the ticket is; without that, that it is to be told now.
UPDATE byokeep.incident
   SET ticket = coalesce(CAST(:ticket AS text), ticket),
       ticket_at = CASE WHEN CAST(:ticket AS text) IS NULL THEN clock_timestamp() ELSE ticket_at END
 WHERE id = :id AND closed_at IS NULL
RETURNING id;

-- name: incident_ticket_state
-- Whether the ticket's update left: to every target that was to be told of it.
SELECT CASE WHEN i.ticket_at IS NULL THEN '' WHEN count(n.id) > 0 AND count(n.id) = count(n.sent_at) THEN 'sent'
            ELSE 'pending' END AS state
  FROM byokeep.incident i
  LEFT JOIN byokeep.notification n ON n.source = 'incident' AND n.about = CAST(i.id AS text) AND n.at = i.ticket_at
 WHERE i.id = :id GROUP BY i.id;

-- name: incident_key
-- What became of the key of an incident: its emergency rotation, or the verified key in the place of a compromised one.
-- An emergency rotation whose reference is over counts when it ends the version that served last. One that was retired is
-- not over: jobs that were given it go on until it is called compromised. Provable: a call can tell whether it is dead.
SELECT c.provider, c.state IN ('active', 'suspended') AS live,
       c.state IN ('compromised', 'destroyed') AS over, r.id AS rotation_id, s.id AS successor_id,
       c.kind = 'provider_api_key' AND c.purpose = 'default' AND c.provider_place = '' AS provable
  FROM byokeep.incident i
  JOIN byokeep.credential_ref c ON c.client_id = i.client_id AND c.id = i.object_id
  LEFT JOIN LATERAL (
       SELECT p.id FROM byokeep.procedure_run p
        WHERE p.object_id = i.object_id AND p.state <> 'aborted'
          AND (p.procedure = 'rotate_key_leaked' AND (p.closed_at IS NULL OR p.started_at >= i.opened_at)
               -- A stored key that leaked while its keyless successor served.
               OR p.procedure LIKE 'rotate\_key%' AND p.facts ->> 'leaked' = '1'
                  AND (p.closed_at IS NULL OR p.closed_at >= i.opened_at))
          AND (c.state IN ('active', 'suspended') OR p.facts ->> 'from_version' = CAST(c.version AS text))
        ORDER BY p.started_at DESC LIMIT 1) r ON true
  LEFT JOIN LATERAL (
       SELECT o.id FROM byokeep.credential_ref o
        WHERE o.client_id = c.client_id AND o.provider = c.provider AND o.purpose = c.purpose AND o.kind = c.kind
          AND o.account_id IS NULL AND o.id <> c.id AND o.state = 'active' AND o.verification = 'verified'
        LIMIT 1) s ON c.state NOT IN ('active', 'suspended')
 WHERE i.id = :id AND i.client_id = :client_id;

-- name: incident_report
-- The newest exposure report that was made for an incident, of its object or of all that its client has; whole: it has no
-- gap, and is of all the time from when it may have been so until its kill switch was engaged.
SELECT r.seq, said.f ->> 'digest' AS digest,
       coalesce(said.f ->> 'verification' = 'complete'
                AND CAST(said.f ->> 'since' AS timestamptz) <= i.began_at
                AND CAST(said.f ->> 'until' AS timestamptz) >= date_trunc('second', k.at), false) AS whole
  FROM byokeep.incident i
  JOIN byokeep.audit_record r ON r.chain = i.client_id AND r.object_id IN (i.object_id, i.client_id)
  JOIN byokeep.audit_record k ON k.chain = i.client_id AND k.seq = :kill
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) said
 WHERE i.id = :id AND i.client_id = :client_id AND r.event = 'exposure.reported' AND r.outcome = 'ok'
   AND r.writer = 'byokeep_broker' AND said.f ->> 'incident' = CAST(i.id AS text)
 ORDER BY r.seq DESC LIMIT 1;

-- name: incident_accepted
SELECT EXISTS (SELECT FROM byokeep.audit_record r
                WHERE r.chain = coalesce(CAST(:client_id AS uuid), (SELECT id FROM byokeep.installation))
                  AND r.object_id = :id AND r.event = 'incident.changed' AND r.outcome = 'ok'
                  AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,stage}' = CAST(:stage AS text)
                  AND coalesce(convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,digest}', '') = CAST(:digest AS text)
               ) AS found;

-- name: incident_platform
SELECT stage, cause, way, closed_at FROM byokeep.reenabling WHERE client_id = :client_id AND platform = :platform;

-- name: incident_switches
SELECT scope, epoch, by FROM byokeep.switch WHERE client_id = :client_id AND closed;

-- name: incident_engaged_by
-- Everybody who engaged one of some switches since it was released last: who engages it anew hides nobody.
SELECT DISTINCT r.actor_id AS id
  FROM byokeep.audit_record r
 CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,scope}' AS scope) said
 WHERE r.chain = :client_id AND r.event = 'switch.closed' AND r.outcome = 'ok'
   AND said.scope = ANY (CAST(:scopes AS text[]))
   AND NOT EXISTS (SELECT FROM byokeep.audit_record o
                    WHERE o.chain = r.chain AND o.event = 'switch.opened' AND o.outcome = 'ok' AND o.seq > r.seq
                      AND convert_from(o.payload, 'UTF8')::jsonb #>> '{fields,scope}' = said.scope);

-- name: incident_holding
-- The playbooks that hold the kill switch of a client.
SELECT * FROM byokeep.procedure_run
 WHERE procedure = 'provider_key_leaked' AND client_id = :client_id AND state = 'running' ORDER BY started_at;
