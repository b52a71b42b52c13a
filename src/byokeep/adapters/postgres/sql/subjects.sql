-- People and machines, their assignments and tokens.

-- name: subject_lock
-- Changes of who may do what stand in line, so that a rule about all of them (a last admin) holds.
SELECT pg_advisory_xact_lock(hashtextextended('byokeep:subjects', 0));

-- name: subject_count
SELECT count(*) AS found FROM byokeep.subject;

-- name: subject_insert
INSERT INTO byokeep.subject (id, kind, name, roles, all_clients, created_by)
VALUES (:id, :kind, :name, CAST(:roles AS text[]), :all_clients, CAST(:created_by AS uuid))
RETURNING *, ARRAY[]::uuid[] AS clients;

-- name: subject_get
SELECT s.*, ARRAY(SELECT sc.client_id FROM byokeep.subject_client sc WHERE sc.subject_id = s.id) AS clients
  FROM byokeep.subject s WHERE s.id = :id;

-- name: subject_named
SELECT s.*, ARRAY(SELECT sc.client_id FROM byokeep.subject_client sc WHERE sc.subject_id = s.id) AS clients
  FROM byokeep.subject s WHERE s.name = :name AND s.kind = 'operator';

-- name: machine_named
SELECT s.*, ARRAY(SELECT sc.client_id FROM byokeep.subject_client sc WHERE sc.subject_id = s.id) AS clients
  FROM byokeep.subject s WHERE s.name = :name AND s.kind = 'machine';

-- name: subjects_list
SELECT s.*, ARRAY(SELECT sc.client_id FROM byokeep.subject_client sc WHERE sc.subject_id = s.id) AS clients
  FROM byokeep.subject s ORDER BY s.kind, s.name LIMIT :limit;

-- name: subject_update
UPDATE byokeep.subject
   SET roles = CAST(:roles AS text[]), state = :state, all_clients = :all_clients
 WHERE id = :id
RETURNING *, ARRAY(SELECT sc.client_id FROM byokeep.subject_client sc WHERE sc.subject_id = id) AS clients;

-- name: subject_set_password
UPDATE byokeep.subject SET password_phc = :password_phc WHERE id = :id AND state = 'active'
RETURNING id;

-- name: subject_unassign
DELETE FROM byokeep.subject_client WHERE subject_id = :subject_id RETURNING client_id;

-- name: subject_assign
INSERT INTO byokeep.subject_client (subject_id, client_id)
SELECT :subject_id, c.id FROM byokeep.client c WHERE c.id = ANY(CAST(:clients AS uuid[]))
RETURNING client_id;

-- name: admins_left
SELECT count(*) AS found FROM byokeep.subject WHERE state = 'active' AND 'admin' = ANY(roles) AND id <> :id;

-- name: token_insert
INSERT INTO byokeep.api_token (id, subject_id, keyed_hash, kind, expires_at)
VALUES (:id, :subject_id, :keyed_hash, :kind, now() + make_interval(secs => :life_s))
RETURNING id, subject_id, kind, created_at, expires_at, revoked_at;

-- name: token_get
SELECT id, subject_id, kind, created_at, expires_at, revoked_at FROM byokeep.api_token WHERE id = :id;

-- name: tokens_list
SELECT id, subject_id, kind, created_at, expires_at, revoked_at FROM byokeep.api_token
 WHERE subject_id = :subject_id AND revoked_at IS NULL AND expires_at > now()
 ORDER BY created_at LIMIT :limit;

-- name: token_revoke
UPDATE byokeep.api_token SET revoked_at = clock_timestamp() WHERE id = :id AND revoked_at IS NULL
RETURNING id, subject_id, kind, created_at, expires_at, revoked_at;

-- name: token_revoke_shown
UPDATE byokeep.api_token SET revoked_at = clock_timestamp()
 WHERE keyed_hash = :keyed_hash AND kind = 'session' AND revoked_at IS NULL
RETURNING id, subject_id, kind, created_at, expires_at, revoked_at;

-- name: tokens_revoke
UPDATE byokeep.api_token SET revoked_at = clock_timestamp()
 WHERE subject_id = :subject_id AND id <> :except_id AND revoked_at IS NULL
   AND (CAST(:kind AS text) IS NULL OR kind = :kind)
RETURNING id, subject_id, kind, created_at, expires_at, revoked_at;

-- name: tokens_end_soon
-- Rotation with overlap: what is in use dies by itself.
UPDATE byokeep.api_token SET expires_at = least(expires_at, now() + make_interval(secs => :overlap_s))
 WHERE subject_id = :subject_id AND id <> :except_id AND kind = 'api' AND revoked_at IS NULL AND expires_at > now()
RETURNING id, subject_id, kind, created_at, expires_at, revoked_at;
