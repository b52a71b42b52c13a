-- Who this installation is.

-- name: installation_get
SELECT id, environment FROM byokeep.installation;

-- name: installation_create
-- One row at most: the second of two first starts gets nothing back and reads the winner's.
INSERT INTO byokeep.installation (id, environment) VALUES (:id, :environment)
ON CONFLICT (singleton) DO NOTHING
RETURNING id, environment;
