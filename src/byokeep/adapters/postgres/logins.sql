
-- The role that makes the logins of our processes, and ends them. Nobody logs in as it before you say so:
--     ALTER ROLE byokeep_logins LOGIN PASSWORD '...';
-- It may give these roles away and end sessions of their logins, so it can do what they can: keep its password to the
-- host that `byokeep init` and `byokeep rotate internal` run on.
DO $logins$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'byokeep_logins') THEN
        CREATE ROLE byokeep_logins NOLOGIN NOSUPERUSER NOCREATEDB CREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT;
    END IF;
END
$logins$;

GRANT byokeep_owner, byokeep_web, byokeep_broker, byokeep_killswitch, byokeep_worker
    TO byokeep_logins WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;
GRANT pg_signal_backend TO byokeep_logins WITH INHERIT TRUE;
GRANT CONNECT ON DATABASE byokeep TO byokeep_logins;
