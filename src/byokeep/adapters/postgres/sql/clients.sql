-- Clients (tenants) and their platform accounts.

-- name: client_insert
INSERT INTO byokeep.client (id, name, risk, created_by)
VALUES (:id, :name, :risk, :created_by)
RETURNING *;

-- name: client_names_lock
-- Of two who make a client at once, the second sees the first one's name.
SELECT pg_advisory_xact_lock(hashtextextended('client_names', 0));

-- name: client_names
SELECT name FROM byokeep.client;

-- name: client_get
SELECT * FROM byokeep.client WHERE id = :id;

-- name: clients_list
SELECT * FROM byokeep.client
 WHERE CAST(:ids AS uuid[]) IS NULL OR id = ANY(CAST(:ids AS uuid[]))
 ORDER BY name;

-- name: client_set_state
-- The old state stands in the WHERE, so that of two callers one changes it and the other finds nothing.
UPDATE byokeep.client SET state = :state_to
 WHERE id = :id AND state = :state_from
RETURNING *;

-- name: account_insert
INSERT INTO byokeep.platform_account (id, client_id, platform, account, username, display_name, created_by)
VALUES (:id, :client_id, :platform, :account, :username, :display_name, :created_by)
RETURNING *;

-- name: account_names_lock
-- Of two who name an account of a client at once, the second sees the first one's name.
SELECT pg_advisory_xact_lock(hashtextextended('account_names:' || CAST(:client_id AS text), 0));

-- name: account_names
SELECT account FROM byokeep.platform_account WHERE client_id = :client_id AND platform = :platform;

-- name: accounts_list
SELECT * FROM byokeep.platform_account WHERE client_id = :client_id ORDER BY platform, account LIMIT :limit;

-- name: account_set_lanes
-- A person who lets an account act again has looked: what a runner saw is over, and the next one has to see the right one.
UPDATE byokeep.platform_account
   SET lanes = CAST(:lanes AS text[]),
       identity = CASE WHEN identity = 'mismatch' AND cardinality(CAST(:lanes AS text[])) > 0 THEN 'unchecked'
                       ELSE identity END
 WHERE client_id = :client_id AND platform = :platform AND account = :account
RETURNING *;

-- name: look_put
INSERT INTO byokeep.portal_look (client_id, colour) VALUES (:client_id, :colour)
ON CONFLICT (client_id) DO UPDATE SET colour = excluded.colour;

-- name: look_get
SELECT colour FROM byokeep.portal_look WHERE client_id = :client_id;

-- name: logo_put
INSERT INTO byokeep.portal_look (client_id, colour, logo) VALUES (:client_id, :colour, CAST(:logo AS bytea))
ON CONFLICT (client_id) DO UPDATE SET logo = excluded.logo;

-- name: logo_get
SELECT logo FROM byokeep.portal_look WHERE client_id = :client_id AND logo IS NOT NULL;
