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
-- Whose a key, an account or a profile is, and on which platform it is, if it is of one.
SELECT client_id, '' AS platform FROM byokeep.credential_ref WHERE id = :id AND :kind = 'key' AND account_id IS NULL
UNION ALL
SELECT client_id, platform FROM byokeep.platform_account WHERE id = :id AND :kind = 'account'
UNION ALL
SELECT client_id, '' FROM byokeep.profile WHERE id = :id AND :kind = 'profile';

-- name: incident_told
UPDATE byokeep.incident SET postmortem = :postmortem, postmortem_sha256 = :sha256 WHERE id = :id AND closed_at IS NULL
RETURNING *;

-- name: incident_close
UPDATE byokeep.incident SET closed_at = now(), closed_by = :by WHERE id = :id AND closed_at IS NULL RETURNING *;

-- name: incident_timeline
-- The records that name an incident, in the chain of its client and in the platform's; oldest first.
SELECT r.chain, r.seq, r.at, r.payload, r.object_id, s.name
  FROM byokeep.audit_record r LEFT JOIN byokeep.subject s ON s.id = r.actor_id
 WHERE r.chain = ANY (CAST(:chains AS uuid[]))
   AND (r.object_id = CAST(:id AS uuid)
        OR (r.event = ANY (CAST(:events AS text[])) AND r.at >= CAST(:since AS timestamptz)
            AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,incident}' = CAST(:id AS text)))
   AND (CAST(:after AS timestamptz) IS NULL OR r.at > CAST(:after AS timestamptz))
 ORDER BY r.at, r.chain, r.seq LIMIT :limit;
