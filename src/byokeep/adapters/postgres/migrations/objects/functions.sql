-- Small functions that queries use.

CREATE OR REPLACE FUNCTION byokeep.scope_lock_key(scope text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog
AS $$ SELECT ('x' || left(encode(sha256(convert_to('byokeep/scope/' || scope, 'UTF8')), 'hex'), 16))::bit(64)::bigint $$;
COMMENT ON FUNCTION byokeep.scope_lock_key(text) IS 'Advisory lock key of a switch scope.';

-- A token only ends: whoever may write its row can neither bring it back nor make it live longer.
CREATE OR REPLACE FUNCTION byokeep.api_token_only_ends() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    IF NEW.expires_at > OLD.expires_at OR (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS NULL) THEN
        RAISE EXCEPTION 'a token only ends' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER api_token_only_ends BEFORE UPDATE ON byokeep.api_token
    FOR EACH ROW EXECUTE FUNCTION byokeep.api_token_only_ends();
ALTER TABLE byokeep.api_token ENABLE ALWAYS TRIGGER api_token_only_ends;
