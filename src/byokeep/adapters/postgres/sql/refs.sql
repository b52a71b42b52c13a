-- References to stored keys, and their changes of state.

-- name: ref_lock
-- Onboardings of one client and provider stand in line here until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('onboard:' || CAST(:client_id AS text) || ':' || CAST(:provider AS text), 0));

-- name: ref_insert
INSERT INTO byokeep.credential_ref
       (id, client_id, provider, kind, environment, secret_ref, version, state, verification, risk,
        created_at, created_by, rotation_due_at, rotation_days, provider_place)
VALUES (:id, :client_id, :provider, :kind, :environment, :secret_ref, :version, 'pre_activation', 'pending', :risk,
        :created_at, :created_by, :rotation_due_at, :rotation_days, :place)
RETURNING *;

-- name: ref_offer
-- A new value beside one that serves, or is paused until its rotation has another one, whatever is known of that by
-- now: it waits as the candidate, and what is pinned stays as it is. A minted one comes also beside one that has ended.
UPDATE byokeep.credential_ref
   SET candidate_version = :version, candidate_risk = :risk, candidate_due_at = :rotation_due_at,
       candidate_at = :created_at, candidate_by = :created_by, candidate_place = :place,
       candidate_expires_at = CAST(:expires_at AS timestamptz), candidate_days = :rotation_days
 WHERE client_id = :client_id AND id = :id
   AND (state = 'active' AND verification = 'verified' AND (expires_at IS NULL OR expires_at > clock_timestamp() OR CAST(:minted AS boolean))
        OR CAST(:stopped AS boolean) AND state = 'suspended')
RETURNING *;

-- name: ref_pin_candidate
-- The cutover: from the next lease on the candidate serves, which was verified; what was known of the one before it ends.
UPDATE byokeep.credential_ref
   SET version = candidate_version, verification = 'verified', expires_at = candidate_expires_at,
       risk = candidate_risk, rotation_due_at = candidate_due_at,
       created_at = candidate_at, created_by = candidate_by, provider_place = candidate_place,
       rotation_days = COALESCE(candidate_days, rotation_days), candidate_days = NULL,
       candidate_version = NULL, candidate_risk = NULL, candidate_due_at = NULL, candidate_at = NULL,
       candidate_by = NULL, candidate_place = '', candidate_expires_at = NULL
 WHERE client_id = :client_id AND id = :id AND candidate_version = :version AND state IN ('active', 'suspended')
RETURNING *;

-- name: ref_pin_back
-- Back to the version before, with what was known of it; the newer one serves nobody any more. No rotation begins with
-- a keyless one, so that before it is a key. An interval that was chosen meanwhile counts for it, too.
UPDATE byokeep.credential_ref
   SET version = :version, risk = :risk, created_at = :created_at,
       rotation_due_at = least(CAST(:rotation_due_at AS timestamptz), CAST(:created_at AS timestamptz) + make_interval(days => rotation_days)),
       created_by = :created_by, provider_place = '', expires_at = CAST(:expires_at AS timestamptz),
       verification = CASE WHEN CAST(:verified AS boolean) THEN 'verified' ELSE verification END
 WHERE client_id = :client_id AND id = :id AND version = :from_version AND candidate_version IS NULL
   AND state IN ('active', 'suspended')
RETURNING *;

-- name: ref_drop_candidate
UPDATE byokeep.credential_ref
   SET candidate_version = NULL, candidate_risk = NULL, candidate_due_at = NULL, candidate_at = NULL,
       candidate_by = NULL, candidate_place = '', candidate_expires_at = NULL, candidate_days = NULL
 WHERE client_id = :client_id AND id = :id AND candidate_version = :version
RETURNING *;

-- name: ref_renew
-- A new value where none serves: unusable until it is verified. Who and when speak of the value that is pinned; those
-- before it are in the audit log.
UPDATE byokeep.credential_ref
   SET version = :version, verification = 'pending', risk = :risk, rotation_due_at = :rotation_due_at,
       created_at = :created_at, created_by = :created_by, provider_place = :place, expires_at = NULL,
       rotation_days = COALESCE(:rotation_days, rotation_days), candidate_version = NULL, candidate_risk = NULL, candidate_due_at = NULL, candidate_at = NULL,
       candidate_by = NULL, candidate_place = '', candidate_expires_at = NULL, candidate_days = NULL
 WHERE client_id = :client_id AND id = :id AND state IN ('pre_activation', 'active', 'suspended')
RETURNING *;

-- name: ref_set_interval
-- The days count from when the value came, for the one that serves and for one that waits. What is due stays due.
UPDATE byokeep.credential_ref
   SET rotation_days = :days, candidate_days = NULL,
       rotation_due_at = CASE WHEN rotation_due_at > clock_timestamp() THEN :due_at ELSE rotation_due_at END,
       candidate_due_at = candidate_at + (CAST(:due_at AS timestamptz) - created_at)
 WHERE client_id = :client_id AND id = :id AND state IN ('pre_activation', 'active', 'suspended')
RETURNING *;

-- name: ref_live
SELECT * FROM byokeep.credential_ref
 WHERE client_id = :client_id AND provider = :provider AND purpose = 'default'
   AND state IN ('pre_activation', 'active', 'suspended');

-- name: ref_get
SELECT * FROM byokeep.credential_ref WHERE id = :id;

-- name: ref_lock_row
SELECT * FROM byokeep.credential_ref WHERE client_id = :client_id AND id = :id FOR UPDATE;

-- name: refs_list
SELECT * FROM byokeep.credential_ref WHERE client_id = :client_id ORDER BY provider, created_at LIMIT :limit;

-- name: ref_set_verification
UPDATE byokeep.credential_ref SET verification = :verification
 WHERE client_id = :client_id AND id = :id AND version = :version
RETURNING *;

-- name: ref_set_state
UPDATE byokeep.credential_ref SET state = :state_to
 WHERE client_id = :client_id AND id = :id AND state = :state_from
RETURNING *;

-- name: transition_insert
INSERT INTO byokeep.key_transition (id, client_id, ref_id, state_from, state_to, reason, "by")
VALUES (:id, :client_id, :ref_id, :state_from, :state_to, :reason, :by)
RETURNING id;

-- name: transitions_list
SELECT * FROM byokeep.key_transition WHERE client_id = :client_id ORDER BY at LIMIT :limit;

-- name: inventory
SELECT r.*, c.name AS client_name,
       (SELECT s.name FROM byokeep.subject s WHERE s.id = r.created_by) AS owner,
       (SELECT max(l.issued_at) FROM byokeep.lease l  -- a lease names the provider: whose key served then?
         WHERE l.client_id = r.client_id AND l.kind = 'use' AND r.provider = ANY(l.secrets)
           AND r.purpose <> 'admin'
           AND l.issued_at >= CASE r.purpose WHEN 'webhook' THEN '-infinity' ELSE coalesce(s.began, r.created_at) END
           AND l.issued_at <= coalesce(s.ended, 'infinity')) AS last_leased_at,
       EXISTS (SELECT FROM byokeep.audit_record a
                WHERE a.chain = r.client_id AND a.object_id = r.id AND a.event = 'key.destroyed' AND a.outcome = 'ok'
                  AND a.writer = 'byokeep_worker'
                  AND convert_from(a.payload, 'UTF8')::jsonb #>> '{fields,version}' = CAST(r.version AS text)) AS destroyed
  FROM byokeep.credential_ref r
  JOIN byokeep.client c ON c.id = r.client_id
  LEFT JOIN (
       SELECT t.client_id, t.ref_id,
              min(t.at) FILTER (WHERE t.state_from = 'pre_activation' AND t.state_to = 'active') AS began,
              min(t.at) FILTER (WHERE t.state_to IN ('deactivated', 'compromised', 'destroyed')) AS ended
         FROM byokeep.key_transition t
        WHERE CAST(:ids AS uuid[]) IS NULL OR t.client_id = ANY(CAST(:ids AS uuid[]))
        GROUP BY t.client_id, t.ref_id) AS s ON (s.client_id, s.ref_id) = (r.client_id, r.id)
 WHERE CAST(:ids AS uuid[]) IS NULL OR r.client_id = ANY(CAST(:ids AS uuid[]))
 ORDER BY c.name, r.provider, r.created_at LIMIT :limit;

-- name: newest_stored
-- The secret that was stored last, of each kind, and the profile's record.
(SELECT DISTINCT ON (r.purpose) r.secret_ref, r.version
   FROM byokeep.credential_ref r
   LEFT JOIN byokeep.account_grant g ON g.client_id = r.client_id AND g.account_id = r.account_id
  WHERE r.purpose IN ('default', 'account', 'webhook', 'admin') AND r.state IN ('active', 'suspended')
  ORDER BY r.purpose, coalesce(g.obtained_at, r.created_at) DESC)
UNION ALL
(SELECT 'vault://kv/clients/' || client_id || '/profiles/' || profile_id, record_version FROM byokeep.profile_generation
  WHERE gone_at IS NULL ORDER BY sealed_at DESC LIMIT 1);
