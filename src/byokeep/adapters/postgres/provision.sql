-- The roles and the database of byokeep, for psql, run as a superuser, any number of times.
-- A role is a login without rights of its own; the migrations grant what each may do. A production cluster adds
-- its own way of authentication (client certificates, SCRAM or peer maps).
DO $roles$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY
        ARRAY['byokeep_owner', 'byokeep_web', 'byokeep_broker', 'byokeep_killswitch', 'byokeep_worker', 'byokeep_auditor']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format(
                'CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT', role_name
            );
        END IF;
    END LOOP;
    -- What a connection says of itself is the same; these hold for a client that says nothing. Who sets them aside and
    -- keeps a kill waiting is ended: the owner's function byokeep.end_blockers needs the right for that.
    FOREACH role_name IN ARRAY
        ARRAY['byokeep_web', 'byokeep_broker', 'byokeep_killswitch', 'byokeep_worker', 'byokeep_auditor']
    LOOP
        EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = ''10s''', role_name);
        EXECUTE format('ALTER ROLE %I SET lock_timeout = ''3s''', role_name);
    END LOOP;
END
$roles$;

GRANT pg_signal_backend TO byokeep_owner WITH INHERIT TRUE;

-- An error message can quote the value it is about, so the server logs no errors of the services (theirs are in their own
-- logs, as codes). Migrations handle no values; what goes wrong there must be found.
ALTER ROLE byokeep_owner SET log_min_messages = 'warning';

SELECT 'CREATE DATABASE byokeep OWNER byokeep_owner'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'byokeep') \gexec

REVOKE ALL ON DATABASE byokeep, postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE byokeep
    TO byokeep_owner, byokeep_web, byokeep_broker, byokeep_killswitch, byokeep_worker, byokeep_auditor;

-- A large object lies outside every table, so whoever may make or change one can fill the disk whatever else it may not do.
-- The owner keeps the right, without which it could not load a dump that says so too.
SELECT current_database() AS here \gset
\connect byokeep
DO $large$
DECLARE
    makes regprocedure;
BEGIN
    FOR makes IN SELECT oid FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
        AND proname ~ '^(lo_(creat|create|from_bytea|open|put|truncate|truncate64)|lowrite)$'
        AND (has_function_privilege('public', oid, 'EXECUTE') OR NOT has_function_privilege('byokeep_owner', oid, 'EXECUTE'))
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', makes);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO byokeep_owner', makes);
    END LOOP;
END
$large$;
\connect :here
