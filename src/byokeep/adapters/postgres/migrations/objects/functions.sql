-- Small functions that queries use.

CREATE OR REPLACE FUNCTION byokeep.scope_lock_key(scope text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog
AS $$ SELECT ('x' || left(encode(sha256(convert_to('byokeep/scope/' || scope, 'UTF8')), 'hex'), 16))::bit(64)::bigint $$;
COMMENT ON FUNCTION byokeep.scope_lock_key(text) IS 'Advisory lock key of a switch scope.';

-- Whose login a name is: `byokeep_web` of `byokeep_web_3f2a91bc04de`, which adapters/postgres/logins.py makes. Any other
-- name is its own.
CREATE OR REPLACE FUNCTION byokeep.role_of(p_login name) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog
AS $$ SELECT regexp_replace(p_login::text, '_[0-9a-f]{12}$', '') $$;
COMMENT ON FUNCTION byokeep.role_of(name) IS 'The role of a login.';

-- Whether a job may open a profile as it is sealed now: validated by a run of ours, and since then sealed again only by
-- jobs that were in it as the right account (ADR 0029); its key lives and is not overdue (runbook 6.1).
CREATE OR REPLACE FUNCTION byokeep.profile_usable(p_client uuid, p_profile uuid) RETURNS boolean
LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog
AS $$
    SELECT p.state = 'valid' AND g.key_state = 'active' AND g.gone_at IS NULL AND p.validated_generation > 0
           AND g.sealed_at > clock_timestamp() - interval '60 days'  -- core.profile.MAX_REKEY_DAYS
           -- The key that wrapped its key: known, in its period, and not suspended when it did (S-NIST-3..8).
           AND EXISTS (
               SELECT FROM byokeep.kek_version k
                WHERE k.holder = g.holder AND k.kek_id = g.kek_id AND k.version = g.kek_version
                  AND k.process_until > clock_timestamp()
                  AND (k.state IN ('active', 'deactivated') OR (k.state = 'suspended' AND g.sealed_at < k.changed_at)))
           AND NOT EXISTS (
               SELECT FROM byokeep.profile_generation n
                 JOIN byokeep.job j ON j.client_id = n.client_id AND j.id = n.job_id
                WHERE n.client_id = p.client_id AND n.profile_id = p.id AND n.generation > p.validated_generation
                  AND (j.kind <> 'use' OR j.sealing_at IS NULL))
      FROM byokeep.profile p
      JOIN byokeep.profile_generation g
        ON g.client_id = p.client_id AND g.profile_id = p.id AND g.generation = p.generation
     WHERE p.client_id = p_client AND p.id = p_profile
$$;
COMMENT ON FUNCTION byokeep.profile_usable(uuid, uuid) IS 'Whether a use job may open this profile. No row: null.';

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

-- The profile that used a key's id, whose client's it may be: ids are used once, and the row policy shows one client's.
CREATE OR REPLACE FUNCTION byokeep.dek_used(p_dek uuid) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT profile_id FROM byokeep.profile_generation WHERE dek_id = p_dek $$;
COMMENT ON FUNCTION byokeep.dek_used(uuid) IS 'The profile that used a key''s id, of whichever client.';

-- Ends who keeps a session of the broker's or the kill process's waiting: every session that holds, or stands in line
-- for, the very lock that this one has waited for since half a second, or in a kill since 20 ms: what a kill waits for
-- is what it stops, and a broker that hangs would hold it for ever. A kill ends no other kill, unless it has waited for
-- that one for almost as long as it waits for a lock at all. A superuser's session is not ours to end.
CREATE OR REPLACE FUNCTION byokeep.end_blockers(p_waiting integer) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE waits (pid, since) AS (
        SELECT a.pid, l.waitstart FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted
         WHERE a.pid = p_waiting AND a.usename = session_user AND a.datname = current_database()
           AND l.waitstart < clock_timestamp() - CASE byokeep.role_of(session_user)
               WHEN 'byokeep_killswitch' THEN interval '20 milliseconds' ELSE interval '0.5 seconds' END
        UNION
        SELECT unnest(pg_blocking_pids(waits.pid)), waits.since FROM waits
    )
    SELECT count(*) FILTER (WHERE pg_terminate_backend(b.pid))::integer
      FROM waits
      JOIN pg_stat_activity b ON b.pid = waits.pid
      JOIN pg_roles r ON r.rolname = b.usename
     WHERE b.pid <> p_waiting AND b.datname = current_database() AND NOT r.rolsuper
       AND (byokeep.role_of(b.usename) <> 'byokeep_killswitch' OR waits.since < clock_timestamp() - interval '2.5 seconds')
$$;
COMMENT ON FUNCTION byokeep.end_blockers(integer) IS 'Ends the sessions that a kill waits for.';

-- Withdraws again what a restore gave back. It can end, and never give: the broker, which may call it, makes no people.
CREATE OR REPLACE FUNCTION byokeep.withdraw_again(p_kind text, p_id uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_kind text;
BEGIN
    IF p_kind = 'token' THEN
        UPDATE byokeep.api_token SET revoked_at = clock_timestamp() WHERE id = p_id AND revoked_at IS NULL
            RETURNING 'token' INTO v_kind;
    ELSIF p_kind = 'subject' THEN
        UPDATE byokeep.subject SET state = 'disabled' WHERE id = p_id AND state <> 'disabled' RETURNING kind INTO v_kind;
    ELSIF p_kind = 'client' THEN
        UPDATE byokeep.client SET state = 'suspended' WHERE id = p_id AND state = 'active' RETURNING 'client' INTO v_kind;
    END IF;
    RETURN v_kind;
END
$$;
COMMENT ON FUNCTION byokeep.withdraw_again(text, uuid) IS 'Ends a token, a subject or a client once more; null = nothing.';

-- What runners told of their calls, and providers of what they counted, is kept for 35 days; nobody can let a younger one go.
CREATE OR REPLACE FUNCTION byokeep.calls_forget() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH gone AS (
        DELETE FROM byokeep.tool_call c USING (
            SELECT client_id, id FROM byokeep.tool_call
             WHERE told_at < clock_timestamp() - interval '35 days' ORDER BY told_at LIMIT 10000) AS old
         WHERE c.client_id = old.client_id AND c.id = old.id RETURNING 1),
    told AS (DELETE FROM byokeep.provider_usage WHERE told_at < clock_timestamp() - interval '35 days')
    SELECT count(*) FROM gone
$$;
COMMENT ON FUNCTION byokeep.calls_forget() IS 'Deletes calls that are older than they are kept; returns how many.';

-- So are messages that were sent.
CREATE OR REPLACE FUNCTION byokeep.notifications_forget() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH gone AS (
        DELETE FROM byokeep.notification WHERE id IN (
            SELECT id FROM byokeep.notification
             WHERE sent_at < clock_timestamp() - interval '35 days' ORDER BY sent_at LIMIT 10000) RETURNING 1)
    SELECT count(*) FROM gone
$$;
COMMENT ON FUNCTION byokeep.notifications_forget() IS 'Deletes messages that were sent longer ago than they are kept.';

-- Which alerts are of a rotation, and over with it.
CREATE OR REPLACE FUNCTION byokeep.tells_of_rotation(p_reason text) RETURNS boolean
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p_reason IN ('key_leak_suspected', 'minted_key_refused', 'mint_gave_up', 'old_key_alive', 'old_key_not_proved',
                        'revocation_refused', 'soak_spike', 'unused_key_alive')
$$;
COMMENT ON FUNCTION byokeep.tells_of_rotation(text) IS 'Whether an alert of this reason is over when its rotation is.';

-- Whether a mass revocation has not ended a key or an account yet: what tells of it is not over.
CREATE OR REPLACE FUNCTION byokeep.revocation_left(p_object uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM byokeep.revocation_item i
                    WHERE i.object_id = p_object AND i.state <> 'revoked' AND i.settled_by IS NULL)
$$;
COMMENT ON FUNCTION byokeep.revocation_left(uuid) IS 'Whether a mass revocation has yet to end one at its provider.';

-- Closes what the rounds and rotations raised of a state that is over, and no other alert: nothing is overdue under that
-- key any more, no message waits at that target that could not be delivered, the rotation that it tells of has ended and
-- no mass revocation has the key left.
CREATE OR REPLACE FUNCTION byokeep.reminders_over(p_overdue text[])
RETURNS TABLE (id uuid, reason text, client_id uuid, object_id uuid)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE byokeep.alert a SET closed_at = clock_timestamp(), closed_by = (SELECT i.id FROM byokeep.installation i)
     WHERE a.closed_at IS NULL AND (
           a.reason = 'rotation_overdue' AND a.dedup_key LIKE 'rotation\_overdue/%' AND a.dedup_key <> ALL (p_overdue)
           OR a.reason = 'notification_failing' AND NOT EXISTS (
               SELECT FROM byokeep.notification n
                WHERE 'notification_failing/' || n.target = a.dedup_key AND n.sent_at IS NULL AND n.failure <> '')
           OR a.dedup_key = a.reason || ':' || a.object_id AND byokeep.tells_of_rotation(a.reason)
              AND NOT byokeep.revocation_left(a.object_id)
              AND EXISTS (SELECT FROM byokeep.procedure_run p
                           WHERE p.object_id = a.object_id AND p.closed_at > a.last_seen_at
                             AND (p.procedure LIKE 'rotate\_key%' OR p.procedure = 'end_unused_key'))
              AND NOT EXISTS (SELECT FROM byokeep.procedure_run p
                               WHERE p.object_id = a.object_id AND p.closed_at IS NULL
                                 AND (p.procedure LIKE 'rotate\_key%' AND a.reason <> 'unused_key_alive'
                                      OR p.procedure = 'end_unused_key' AND a.reason IN (
                                          'old_key_alive', 'old_key_not_proved', 'revocation_refused',
                                          'unused_key_alive'))))
    RETURNING a.id, a.reason, a.client_id, a.object_id
$$;
COMMENT ON FUNCTION byokeep.reminders_over(text[]) IS 'Closes alerts of what is overdue no more, or fails no more.';

-- Holds what a transaction changed so far against its records now, and not all of it when it commits.
CREATE OR REPLACE FUNCTION byokeep.hold_rows() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SET CONSTRAINTS ALL IMMEDIATE;
    SET CONSTRAINTS ALL DEFERRED;
END
$$;
COMMENT ON FUNCTION byokeep.hold_rows() IS 'Fires the deferred triggers of the transaction.';

-- What was read under break glass is due now; the broker, which may call it, postpones nothing.
CREATE OR REPLACE FUNCTION byokeep.rotation_due_now(p_client uuid, p_secret_ref text) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH due AS (
        UPDATE byokeep.credential_ref SET rotation_due_at = least(rotation_due_at, clock_timestamp())
         WHERE client_id = p_client AND secret_ref = p_secret_ref AND state IN ('active', 'suspended') RETURNING 1)
    SELECT count(*)::integer FROM due
$$;
COMMENT ON FUNCTION byokeep.rotation_due_now(uuid, text) IS 'Makes the rotation of what was read due at once.';

-- Each use of a credential, from where it is on record: a lease (custody: one of our own workers'), a permit, a call that
-- the runner told of. A caller sees what it may see of these tables.
DROP VIEW IF EXISTS byokeep.usage;
CREATE VIEW byokeep.usage WITH (security_invoker = true) AS
SELECT l.client_id, secret.provider, l.issued_at AS at, CASE l.kind WHEN 'use' THEN 'lease' ELSE 'custody' END AS what,
       l.id, l.job_id, l.id AS lease_id, l.runner_id, '' AS tool, 'ok' AS outcome, NULL::text AS args_digest
  FROM byokeep.lease l CROSS JOIN unnest(l.secrets) AS secret (provider)
 WHERE l.kind IN ('use', 'custody')
UNION ALL
SELECT p.client_id, p.platform, p.issued_at, 'permit', p.id, p.job_id, p.lease_id,
       (SELECT l.runner_id FROM byokeep.lease l WHERE l.client_id = p.client_id AND l.id = p.lease_id), p.effect,
       CASE p.state WHEN 'done' THEN 'ok' WHEN 'failed' THEN 'failed' ELSE 'unknown' END, NULL
  FROM byokeep.permit p
UNION ALL
SELECT c.client_id, c.provider, c.at, 'call', c.id, c.job_id, c.lease_id,
       (SELECT l.runner_id FROM byokeep.lease l WHERE l.client_id = c.client_id AND l.id = c.lease_id), c.tool, c.outcome,
       c.args_digest
  FROM byokeep.tool_call c;
