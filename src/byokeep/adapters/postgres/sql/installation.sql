-- Who this installation is.

-- name: installation_get
SELECT id, environment FROM byokeep.installation;

-- name: store_recording_proved
-- The broker has just proved that the store records (kernel/store_recording.py).
UPDATE byokeep.installation SET store_recorded_at = clock_timestamp() WHERE id = :installation_id
RETURNING id;

-- name: store_recording
SELECT store_recorded_at > clock_timestamp() - make_interval(secs => :holds_s) AS recording
  FROM byokeep.installation WHERE id = :installation_id;

-- name: installation_create
-- One row at most: the second of two first starts gets nothing back and reads the winner's.
INSERT INTO byokeep.installation (id, environment) VALUES (:id, :environment)
ON CONFLICT (singleton) DO NOTHING
RETURNING id, environment;

-- name: schema_fit
-- On which schema this database stands; one before r0047 has no such column, and says nothing.
SELECT v.version_num AS stands, to_jsonb(o) ->> 'runs_from' AS runs_from
  FROM byokeep.alembic_version v CROSS JOIN byokeep.schema_objects o;

-- name: roles_missing
SELECT coalesce(array_agg(name ORDER BY name), '{}') AS missing
  FROM unnest(CAST(:names AS text[])) AS name WHERE name NOT IN (SELECT rolname FROM pg_roles);

-- name: database_size
SELECT pg_database_size(current_database()) AS size;

-- name: procedures_open
SELECT procedure FROM byokeep.procedure_run WHERE closed_at IS NULL;

-- name: installation_since
SELECT created_at FROM byokeep.installation;
