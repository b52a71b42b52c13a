-- Whose token is it. Known and unknown, live and ended tokens are one look-up: one cost.

-- name: auth_token
-- `mark` and `clients` are all that the records are asked about: who has seen them agree need not ask again.
SELECT t.id AS token_id, t.kind, t.created_at AS token_since, t.expires_at AS token_until, s.id AS subject_id, s.roles, s.all_clients,
       s.name, s.held_until, s.held_until > clock_timestamp() AS held,
       t.revoked_at IS NULL AND t.expires_at > clock_timestamp() AND s.state = 'active'
           AND (t.kind NOT IN ('console', 'portal') OR t.seen_at > clock_timestamp() - interval '30 minutes')
           AND (t.kind <> 'portal' OR NOT EXISTS (
               SELECT FROM byokeep.subject_client sc JOIN byokeep.client c ON c.id = sc.client_id
                WHERE sc.subject_id = s.id AND c.state = 'closed')) AS live,
       -- Nobody kept what ended by time, or with all of its owner's sessions: a passkey was added or removed, or they
       -- logged out at the provider.
       CASE WHEN t.revoked_at IS NULL THEN t.kind IN ('console', 'portal')
            ELSE t.end_reason IN ('passkeys_changed', 'logged_out_there') END AS lapsed,
       CASE WHEN t.kind IN ('console', 'portal', 'cli') THEN t.created_at > clock_timestamp() - interval '5 minutes'
                   ELSE NOT t.unproved END AS proved,
       ARRAY(SELECT sc.client_id FROM byokeep.subject_client sc WHERE sc.subject_id = s.id) AS clients,
       concat_ws('|', t.xmin, s.record_seq, s.id, s.kind, s.name, s.roles, s.state, s.all_clients, s.password_mark,
                 s.held_until, s.admin_until) AS mark
  FROM byokeep.api_token t
  JOIN byokeep.subject s ON s.id = t.subject_id
 WHERE t.keyed_hash = ANY (CAST(:hashes AS bytea[]));

-- name: session_seen
SELECT byokeep.session_seen(CAST(:id AS uuid));

-- name: auth_living
-- Which of some tokens live, and of which clients their owners are: one question for everybody who follows the switches.
SELECT t.id, s.all_clients, ARRAY(SELECT sc.client_id FROM byokeep.subject_client sc WHERE sc.subject_id = s.id) AS clients
  FROM byokeep.api_token t JOIN byokeep.subject s ON s.id = t.subject_id
 WHERE t.id = ANY (CAST(:ids AS uuid[])) AND t.revoked_at IS NULL AND t.expires_at > clock_timestamp() AND s.state = 'active'
   AND (t.kind <> 'console' OR t.seen_at > clock_timestamp() - interval '30 minutes');

-- name: auth_recorded
-- A row that its record does not carry is nobody's: it was not made by us (objects/subjects.sql).
SELECT byokeep.subject_recorded(:subject_id) AS subject_recorded, byokeep.token_recorded(:token_id) AS token_recorded;

-- name: auth_client_of_client
SELECT id AS client_id FROM byokeep.client WHERE id = :id;

-- name: auth_client_of_job
SELECT client_id FROM byokeep.job WHERE id = :id;

-- name: auth_client_of_lease
SELECT client_id FROM byokeep.lease WHERE id = :id;

-- name: auth_client_of_permit
SELECT client_id FROM byokeep.permit WHERE id = :id;
