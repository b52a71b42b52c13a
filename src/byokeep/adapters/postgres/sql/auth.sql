-- Whose token is it. Known and unknown, live and ended tokens are one look-up: one cost.

-- name: auth_token
SELECT t.id AS token_id, s.id AS subject_id, s.roles, s.all_clients,
       t.revoked_at IS NULL AND t.expires_at > clock_timestamp() AND s.state = 'active' AS live,
       ARRAY(SELECT sc.client_id FROM byokeep.subject_client sc WHERE sc.subject_id = s.id) AS clients
  FROM byokeep.api_token t
  JOIN byokeep.subject s ON s.id = t.subject_id
 WHERE t.keyed_hash = :keyed_hash;

-- name: auth_client_of_job
SELECT client_id FROM byokeep.job WHERE id = :id;

-- name: auth_client_of_lease
SELECT client_id FROM byokeep.lease WHERE id = :id;

-- name: auth_client_of_permit
SELECT client_id FROM byokeep.permit WHERE id = :id;
