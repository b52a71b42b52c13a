-- Small functions that queries use.

CREATE OR REPLACE FUNCTION byokeep.scope_lock_key(scope text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog
AS $$ SELECT ('x' || left(encode(sha256(convert_to('byokeep/scope/' || scope, 'UTF8')), 'hex'), 16))::bit(64)::bigint $$;
COMMENT ON FUNCTION byokeep.scope_lock_key(text) IS 'Advisory lock key of a switch scope.';
