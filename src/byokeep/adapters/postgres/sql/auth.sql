-- Whose token is it. Known and unknown, live and ended tokens are one look-up: one cost.

-- name: auth_token
-- A row that its record does not carry is nobody's: it was not made by us (objects/subjects.sql).
SELECT t.id AS token_id, t.kind, s.id AS subject_id, s.roles, s.all_clients,
       s.held_until > clock_timestamp() AS held,
       t.revoked_at IS NULL AND t.expires_at > clock_timestamp() AND s.state = 'active' AS live,
       byokeep.subject_recorded(s.id) AS subject_recorded, byokeep.token_recorded(t.id) AS token_recorded,
       ARRAY(SELECT sc.client_id FROM byokeep.subject_client sc WHERE sc.subject_id = s.id) AS clients
  FROM byokeep.api_token t
  JOIN byokeep.subject s ON s.id = t.subject_id
 WHERE t.keyed_hash = ANY (CAST(:hashes AS bytea[]));

-- name: auth_client_of_job
SELECT client_id FROM byokeep.job WHERE id = :id;

-- name: auth_client_of_lease
SELECT client_id FROM byokeep.lease WHERE id = :id;

-- name: auth_client_of_permit
SELECT client_id FROM byokeep.permit WHERE id = :id;
