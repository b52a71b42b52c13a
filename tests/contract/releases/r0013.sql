--
-- PostgreSQL database dump
--


-- Dumped from database version 18.4
-- Dumped by pg_dump version 18.4

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: byokeep; Type: SCHEMA; Schema: -; Owner: byokeep_owner
--

CREATE SCHEMA byokeep;


ALTER SCHEMA byokeep OWNER TO byokeep_owner;

--
-- Name: procrastinate; Type: SCHEMA; Schema: -; Owner: byokeep_owner
--

CREATE SCHEMA procrastinate;


ALTER SCHEMA procrastinate OWNER TO byokeep_owner;

--
-- Name: procrastinate_job_event_type; Type: TYPE; Schema: procrastinate; Owner: byokeep_owner
--

CREATE TYPE procrastinate.procrastinate_job_event_type AS ENUM (
    'deferred',
    'started',
    'deferred_for_retry',
    'failed',
    'succeeded',
    'cancelled',
    'abort_requested',
    'aborted',
    'scheduled',
    'retried'
);


ALTER TYPE procrastinate.procrastinate_job_event_type OWNER TO byokeep_owner;

--
-- Name: procrastinate_job_status; Type: TYPE; Schema: procrastinate; Owner: byokeep_owner
--

CREATE TYPE procrastinate.procrastinate_job_status AS ENUM (
    'todo',
    'doing',
    'succeeded',
    'failed',
    'cancelled',
    'aborting',
    'aborted'
);


ALTER TYPE procrastinate.procrastinate_job_status OWNER TO byokeep_owner;

--
-- Name: procrastinate_job_to_defer_v1; Type: TYPE; Schema: procrastinate; Owner: byokeep_owner
--

CREATE TYPE procrastinate.procrastinate_job_to_defer_v1 AS (
	queue_name character varying,
	task_name character varying,
	priority integer,
	lock text,
	queueing_lock text,
	args jsonb,
	scheduled_at timestamp with time zone
);


ALTER TYPE procrastinate.procrastinate_job_to_defer_v1 OWNER TO byokeep_owner;

--
-- Name: api_token_only_ends(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.api_token_only_ends() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
BEGIN
    IF NEW.expires_at > OLD.expires_at OR (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS NULL) THEN
        RAISE EXCEPTION 'a token only ends' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;


ALTER FUNCTION byokeep.api_token_only_ends() OWNER TO byokeep_owner;

--
-- Name: audit_append(uuid, text, uuid, uuid, uuid, text, bytea); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.audit_append(p_chain uuid, p_event text, p_actor uuid, p_object uuid, p_request uuid, p_outcome text, p_payload bytea) RETURNS TABLE(seq bigint, hash bytea, at timestamp with time zone)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    v_writers text[];
    v_said    jsonb;
    v_writer  bytea := convert_to(session_user::text, 'UTF8');
    v_head    byokeep.audit_head%ROWTYPE;
    v_at      timestamptz;
    v_hash    bytea;
BEGIN
    SELECT writers INTO v_writers FROM byokeep.audit_vocabulary WHERE event = p_event;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such audit event' USING ERRCODE = 'BK002';
    END IF;
    IF NOT session_user::text = ANY (v_writers) THEN
        RAISE EXCEPTION 'this role may not write this audit event' USING ERRCODE = 'BK003';
    END IF;
    IF p_chain IS NULL OR octet_length(p_payload) > 16384 THEN
        RAISE EXCEPTION 'audit record without a chain, or too large' USING ERRCODE = 'BK004';
    END IF;
    -- What stands beside the payload must be what the payload says; a payload that is not JSON raises 22P02.
    v_said := convert_from(p_payload, 'UTF8')::jsonb;
    IF v_said ->> 'event' IS DISTINCT FROM p_event
        OR v_said ->> 'outcome' IS DISTINCT FROM p_outcome
        OR v_said ->> 'actor' IS DISTINCT FROM p_actor::text
        OR v_said ->> 'object' IS DISTINCT FROM p_object::text
        OR v_said ->> 'request' IS DISTINCT FROM p_request::text
        OR coalesce(v_said ->> 'client', (SELECT id::text FROM byokeep.installation)) IS DISTINCT FROM p_chain::text
    THEN
        RAISE EXCEPTION 'audit payload and columns differ' USING ERRCODE = 'BK004';
    END IF;

    SELECT * INTO v_head FROM byokeep.audit_head AS head WHERE head.chain = p_chain FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO byokeep.audit_head (chain, seq, hash) VALUES (p_chain, 0, decode(repeat('00', 32), 'hex'))
            ON CONFLICT (chain) DO NOTHING;
        SELECT * INTO v_head FROM byokeep.audit_head AS head WHERE head.chain = p_chain FOR UPDATE;
    END IF;

    v_head.seq := v_head.seq + 1;
    v_at := clock_timestamp();
    v_hash := sha256(
        convert_to('byokeep/audit/v1', 'UTF8') || '\x00'::bytea || v_head.hash || uuid_send(p_chain)
        || int8send(v_head.seq) || int8send((extract(epoch FROM v_at) * 1000000)::bigint)
        || int4send(octet_length(v_writer)) || v_writer || p_payload
    );
    INSERT INTO byokeep.audit_record
        (chain, seq, at, event, actor_id, object_id, request_id, outcome, writer, payload, hash)
    VALUES
        (p_chain, v_head.seq, v_at, p_event, p_actor, p_object, p_request, p_outcome, session_user::text, p_payload, v_hash);
    UPDATE byokeep.audit_head AS head SET seq = v_head.seq, hash = v_hash, at = v_at WHERE head.chain = p_chain;
    RETURN QUERY SELECT v_head.seq, v_hash, v_at;
END
$$;


ALTER FUNCTION byokeep.audit_append(p_chain uuid, p_event text, p_actor uuid, p_object uuid, p_request uuid, p_outcome text, p_payload bytea) OWNER TO byokeep_owner;

--
-- Name: FUNCTION audit_append(p_chain uuid, p_event text, p_actor uuid, p_object uuid, p_request uuid, p_outcome text, p_payload bytea); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.audit_append(p_chain uuid, p_event text, p_actor uuid, p_object uuid, p_request uuid, p_outcome text, p_payload bytea) IS 'Appends one record to a chain; the chain stays locked until the caller commits.';


--
-- Name: audit_head_step(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.audit_head_step() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.chain = OLD.chain AND NEW.seq = OLD.seq + 1 THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'an audit head only moves forward, one record at a time' USING ERRCODE = 'BK001';
END
$$;


ALTER FUNCTION byokeep.audit_head_step() OWNER TO byokeep_owner;

--
-- Name: FUNCTION audit_head_step(); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.audit_head_step() IS 'Lets a head move by exactly one.';


--
-- Name: audit_refuse_change(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.audit_refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'BK001';
END
$$;


ALTER FUNCTION byokeep.audit_refuse_change() OWNER TO byokeep_owner;

--
-- Name: FUNCTION audit_refuse_change(); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.audit_refuse_change() IS 'Refuses UPDATE, DELETE and TRUNCATE, whoever asks.';


--
-- Name: profile_usable(uuid, uuid); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.profile_usable(p_client uuid, p_profile uuid) RETURNS boolean
    LANGUAGE sql STABLE STRICT
    SET search_path TO 'pg_catalog'
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


ALTER FUNCTION byokeep.profile_usable(p_client uuid, p_profile uuid) OWNER TO byokeep_owner;

--
-- Name: FUNCTION profile_usable(p_client uuid, p_profile uuid); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.profile_usable(p_client uuid, p_profile uuid) IS 'Whether a use job may open this profile. No row: null.';


--
-- Name: scope_lock_key(text); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.scope_lock_key(scope text) RETURNS bigint
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog'
    AS $$ SELECT ('x' || left(encode(sha256(convert_to('byokeep/scope/' || scope, 'UTF8')), 'hex'), 16))::bit(64)::bigint $$;


ALTER FUNCTION byokeep.scope_lock_key(scope text) OWNER TO byokeep_owner;

--
-- Name: FUNCTION scope_lock_key(scope text); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.scope_lock_key(scope text) IS 'Advisory lock key of a switch scope.';


--
-- Name: procrastinate_cancel_job_v1(bigint, boolean, boolean); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_cancel_job_v1(job_id bigint, abort boolean, delete_job boolean) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
    _job_id bigint;
BEGIN
    IF delete_job THEN
        DELETE FROM procrastinate_jobs
        WHERE id = job_id AND status = 'todo'
        RETURNING id INTO _job_id;
    END IF;
    IF _job_id IS NULL THEN
        IF abort THEN
            UPDATE procrastinate_jobs
            SET abort_requested = true,
                status = CASE status
                    WHEN 'todo' THEN 'cancelled'::procrastinate_job_status ELSE status
                END
            WHERE id = job_id AND status IN ('todo', 'doing')
            RETURNING id INTO _job_id;
        ELSE
            UPDATE procrastinate_jobs
            SET status = 'cancelled'::procrastinate_job_status
            WHERE id = job_id AND status = 'todo'
            RETURNING id INTO _job_id;
        END IF;
    END IF;
    RETURN _job_id;
END;
$$;


ALTER FUNCTION procrastinate.procrastinate_cancel_job_v1(job_id bigint, abort boolean, delete_job boolean) OWNER TO byokeep_owner;

--
-- Name: procrastinate_defer_jobs_v1(procrastinate.procrastinate_job_to_defer_v1[]); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_defer_jobs_v1(jobs procrastinate.procrastinate_job_to_defer_v1[]) RETURNS bigint[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    job_ids bigint[];
BEGIN
    WITH inserted_jobs AS (
        INSERT INTO procrastinate_jobs (queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at)
        SELECT (job).queue_name,
               (job).task_name,
               (job).priority,
               (job).lock,
               (job).queueing_lock,
               (job).args,
               (job).scheduled_at
        FROM unnest(jobs) AS job
        RETURNING id
    )
    SELECT array_agg(id) FROM inserted_jobs INTO job_ids;

    RETURN job_ids;
END;
$$;


ALTER FUNCTION procrastinate.procrastinate_defer_jobs_v1(jobs procrastinate.procrastinate_job_to_defer_v1[]) OWNER TO byokeep_owner;

--
-- Name: procrastinate_defer_periodic_job_v2(character varying, character varying, character varying, character varying, integer, character varying, bigint, jsonb); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_defer_periodic_job_v2(_queue_name character varying, _lock character varying, _queueing_lock character varying, _task_name character varying, _priority integer, _periodic_id character varying, _defer_timestamp bigint, _args jsonb) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
	_job_id bigint;
	_defer_id bigint;
BEGIN
    INSERT
        INTO procrastinate_periodic_defers (task_name, periodic_id, defer_timestamp)
        VALUES (_task_name, _periodic_id, _defer_timestamp)
        ON CONFLICT DO NOTHING
        RETURNING id into _defer_id;

    IF _defer_id IS NULL THEN
        RETURN NULL;
    END IF;

    UPDATE procrastinate_periodic_defers
        SET job_id = (
            SELECT COALESCE((
                SELECT unnest(procrastinate_defer_jobs_v1(
                    ARRAY[
                        ROW(
                            _queue_name,
                            _task_name,
                            _priority,
                            _lock,
                            _queueing_lock,
                            _args,
                            NULL::timestamptz
                        )
                    ]::procrastinate_job_to_defer_v1[]
                ))
            ), NULL)
        )
        WHERE id = _defer_id
        RETURNING job_id INTO _job_id;

    DELETE
        FROM procrastinate_periodic_defers
        USING (
            SELECT id
            FROM procrastinate_periodic_defers
            WHERE procrastinate_periodic_defers.task_name = _task_name
            AND procrastinate_periodic_defers.periodic_id = _periodic_id
            AND procrastinate_periodic_defers.defer_timestamp < _defer_timestamp
            ORDER BY id
            FOR UPDATE
        ) to_delete
        WHERE procrastinate_periodic_defers.id = to_delete.id;

    RETURN _job_id;
END;
$$;


ALTER FUNCTION procrastinate.procrastinate_defer_periodic_job_v2(_queue_name character varying, _lock character varying, _queueing_lock character varying, _task_name character varying, _priority integer, _periodic_id character varying, _defer_timestamp bigint, _args jsonb) OWNER TO byokeep_owner;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: procrastinate_jobs; Type: TABLE; Schema: procrastinate; Owner: byokeep_owner
--

CREATE TABLE procrastinate.procrastinate_jobs (
    id bigint NOT NULL,
    queue_name character varying(128) NOT NULL,
    task_name character varying(128) NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    lock text,
    queueing_lock text,
    args jsonb DEFAULT '{}'::jsonb NOT NULL,
    status procrastinate.procrastinate_job_status DEFAULT 'todo'::procrastinate.procrastinate_job_status NOT NULL,
    scheduled_at timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    abort_requested boolean DEFAULT false NOT NULL,
    worker_id bigint,
    CONSTRAINT check_not_todo_abort_requested CHECK ((NOT ((status = 'todo'::procrastinate.procrastinate_job_status) AND (abort_requested = true)))),
    CONSTRAINT procrastinate_jobs_args_are_ids CHECK (((jsonb_typeof(args) = 'object'::text) AND (NOT jsonb_path_exists(args, 'strict $.*?(@.type() != "string" && @.type() != "number")'::jsonpath, '{}'::jsonb, true)) AND (NOT jsonb_path_exists(args, 'strict $.*?(@.type() == "string" && !(@ like_regex "^[a-z0-9_:./-]{0,128}$"))'::jsonpath, '{}'::jsonb, true))))
);


ALTER TABLE procrastinate.procrastinate_jobs OWNER TO byokeep_owner;

--
-- Name: procrastinate_fetch_job_v2(character varying[], bigint); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_fetch_job_v2(target_queue_names character varying[], p_worker_id bigint) RETURNS procrastinate.procrastinate_jobs
    LANGUAGE plpgsql
    AS $$
DECLARE
	found_jobs procrastinate_jobs;
BEGIN
    WITH candidate AS (
        SELECT jobs.*
            FROM procrastinate_jobs AS jobs
            WHERE
                -- reject the job if its lock has earlier or higher priority jobs
                NOT EXISTS (
                    SELECT 1
                        FROM procrastinate_jobs AS other_jobs
                        WHERE
                            jobs.lock IS NOT NULL
                            AND other_jobs.lock = jobs.lock
                            AND (
                                -- job with same lock is already running
                                other_jobs.status = 'doing'
                                OR
                                -- job with same lock is waiting and has higher priority (or same priority but was queued first)
                                (
                                    other_jobs.status = 'todo'
                                    AND (
                                        other_jobs.priority > jobs.priority
                                        OR (
                                        other_jobs.priority = jobs.priority
                                        AND other_jobs.id < jobs.id
                                        )
                                    )
                                )
                            )
                )
                AND jobs.status = 'todo'
                AND (target_queue_names IS NULL OR jobs.queue_name = ANY( target_queue_names ))
                AND (jobs.scheduled_at IS NULL OR jobs.scheduled_at <= now())
            ORDER BY jobs.priority DESC, jobs.id ASC LIMIT 1
            FOR UPDATE OF jobs SKIP LOCKED
    )
    UPDATE procrastinate_jobs
        SET status = 'doing', worker_id = p_worker_id
        FROM candidate
        WHERE procrastinate_jobs.id = candidate.id
        RETURNING procrastinate_jobs.* INTO found_jobs;

 RETURN found_jobs;
END;
$$;


ALTER FUNCTION procrastinate.procrastinate_fetch_job_v2(target_queue_names character varying[], p_worker_id bigint) OWNER TO byokeep_owner;

--
-- Name: procrastinate_finish_job_v1(bigint, procrastinate.procrastinate_job_status, boolean); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_finish_job_v1(job_id bigint, end_status procrastinate.procrastinate_job_status, delete_job boolean) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    _job_id bigint;
BEGIN
    IF end_status NOT IN ('succeeded', 'failed', 'aborted') THEN
        RAISE 'End status should be either "succeeded", "failed" or "aborted" (job id: %)', job_id;
    END IF;
    IF delete_job THEN
        DELETE FROM procrastinate_jobs
        WHERE id = job_id AND status IN ('todo', 'doing')
        RETURNING id INTO _job_id;
    ELSE
        UPDATE procrastinate_jobs
        SET status = end_status,
            abort_requested = false,
            attempts = CASE status
                WHEN 'doing' THEN attempts + 1 ELSE attempts
            END
        WHERE id = job_id AND status IN ('todo', 'doing')
        RETURNING id INTO _job_id;
    END IF;
    IF _job_id IS NULL THEN
        RAISE 'Job was not found or not in "doing" or "todo" status (job id: %)', job_id;
    END IF;
END;
$$;


ALTER FUNCTION procrastinate.procrastinate_finish_job_v1(job_id bigint, end_status procrastinate.procrastinate_job_status, delete_job boolean) OWNER TO byokeep_owner;

--
-- Name: procrastinate_notify_queue_abort_job_v1(); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_notify_queue_abort_job_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    payload TEXT;
BEGIN
    SELECT json_build_object('type', 'abort_job_requested', 'job_id', NEW.id)::text INTO payload;
	PERFORM pg_notify('procrastinate_queue_v1#' || NEW.queue_name, payload);
	PERFORM pg_notify('procrastinate_any_queue_v1', payload);
	RETURN NEW;
END;
$$;


ALTER FUNCTION procrastinate.procrastinate_notify_queue_abort_job_v1() OWNER TO byokeep_owner;

--
-- Name: procrastinate_notify_queue_job_inserted_v1(); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_notify_queue_job_inserted_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    payload TEXT;
BEGIN
    SELECT json_build_object('type', 'job_inserted', 'job_id', NEW.id)::text INTO payload;
	PERFORM pg_notify('procrastinate_queue_v1#' || NEW.queue_name, payload);
	PERFORM pg_notify('procrastinate_any_queue_v1', payload);
	RETURN NEW;
END;
$$;


ALTER FUNCTION procrastinate.procrastinate_notify_queue_job_inserted_v1() OWNER TO byokeep_owner;

--
-- Name: procrastinate_prune_stalled_workers_v1(double precision); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_prune_stalled_workers_v1(seconds_since_heartbeat double precision) RETURNS TABLE(worker_id bigint)
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN QUERY
    DELETE FROM procrastinate_workers
    WHERE last_heartbeat < NOW() - (seconds_since_heartbeat || 'SECOND')::INTERVAL
    RETURNING procrastinate_workers.id;
END;
$$;


ALTER FUNCTION procrastinate.procrastinate_prune_stalled_workers_v1(seconds_since_heartbeat double precision) OWNER TO byokeep_owner;

--
-- Name: procrastinate_register_worker_v1(); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_register_worker_v1() RETURNS TABLE(worker_id bigint)
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN QUERY
    INSERT INTO procrastinate_workers DEFAULT VALUES
    RETURNING procrastinate_workers.id;
END;
$$;


ALTER FUNCTION procrastinate.procrastinate_register_worker_v1() OWNER TO byokeep_owner;

--
-- Name: procrastinate_retry_job_v1(bigint, timestamp with time zone, integer, character varying, character varying); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_retry_job_v1(job_id bigint, retry_at timestamp with time zone, new_priority integer, new_queue_name character varying, new_lock character varying) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    _job_id bigint;
    _abort_requested boolean;
BEGIN
    SELECT abort_requested FROM procrastinate_jobs
    WHERE id = job_id AND status = 'doing'
    FOR UPDATE
    INTO _abort_requested;
    IF _abort_requested THEN
        UPDATE procrastinate_jobs
        SET status = 'failed'::procrastinate_job_status
        WHERE id = job_id AND status = 'doing'
        RETURNING id INTO _job_id;
    ELSE
        UPDATE procrastinate_jobs
        SET status = 'todo'::procrastinate_job_status,
            attempts = attempts + 1,
            scheduled_at = retry_at,
            priority = COALESCE(new_priority, priority),
            queue_name = COALESCE(new_queue_name, queue_name),
            lock = COALESCE(new_lock, lock)
        WHERE id = job_id AND status = 'doing'
        RETURNING id INTO _job_id;
    END IF;

    IF _job_id IS NULL THEN
        RAISE 'Job was not found or not in "doing" status (job id: %)', job_id;
    END IF;
END;
$$;


ALTER FUNCTION procrastinate.procrastinate_retry_job_v1(job_id bigint, retry_at timestamp with time zone, new_priority integer, new_queue_name character varying, new_lock character varying) OWNER TO byokeep_owner;

--
-- Name: procrastinate_retry_job_v2(bigint, timestamp with time zone, integer, character varying, character varying); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_retry_job_v2(job_id bigint, retry_at timestamp with time zone, new_priority integer, new_queue_name character varying, new_lock character varying) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    _job_id bigint;
    _abort_requested boolean;
    _current_status procrastinate_job_status;
BEGIN
    SELECT status, abort_requested FROM procrastinate_jobs
    WHERE id = job_id AND status IN ('doing', 'failed')
    FOR UPDATE
    INTO _current_status, _abort_requested;
    IF _current_status = 'doing' AND _abort_requested THEN
        UPDATE procrastinate_jobs
        SET status = 'failed'::procrastinate_job_status
        WHERE id = job_id AND status = 'doing'
        RETURNING id INTO _job_id;
    ELSE
        UPDATE procrastinate_jobs
        SET status = 'todo'::procrastinate_job_status,
            attempts = attempts + 1,
            scheduled_at = retry_at,
            priority = COALESCE(new_priority, priority),
            queue_name = COALESCE(new_queue_name, queue_name),
            lock = COALESCE(new_lock, lock)
        WHERE id = job_id AND status IN ('doing', 'failed')
        RETURNING id INTO _job_id;
    END IF;

    IF _job_id IS NULL THEN
        RAISE 'Job was not found or has an invalid status to retry (job id: %)', job_id;
    END IF;

END;
$$;


ALTER FUNCTION procrastinate.procrastinate_retry_job_v2(job_id bigint, retry_at timestamp with time zone, new_priority integer, new_queue_name character varying, new_lock character varying) OWNER TO byokeep_owner;

--
-- Name: procrastinate_trigger_abort_requested_events_procedure_v1(); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_trigger_abort_requested_events_procedure_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO procrastinate_events(job_id, type)
        VALUES (NEW.id, 'abort_requested'::procrastinate_job_event_type);
    RETURN NEW;
END;
$$;


ALTER FUNCTION procrastinate.procrastinate_trigger_abort_requested_events_procedure_v1() OWNER TO byokeep_owner;

--
-- Name: procrastinate_trigger_function_scheduled_events_v1(); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_trigger_function_scheduled_events_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO procrastinate_events(job_id, type, at)
        VALUES (NEW.id, 'scheduled'::procrastinate_job_event_type, NEW.scheduled_at);

	RETURN NEW;
END;
$$;


ALTER FUNCTION procrastinate.procrastinate_trigger_function_scheduled_events_v1() OWNER TO byokeep_owner;

--
-- Name: procrastinate_trigger_function_status_events_insert_v1(); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_trigger_function_status_events_insert_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO procrastinate_events(job_id, type)
        VALUES (NEW.id, 'deferred'::procrastinate_job_event_type);
	RETURN NEW;
END;
$$;


ALTER FUNCTION procrastinate.procrastinate_trigger_function_status_events_insert_v1() OWNER TO byokeep_owner;

--
-- Name: procrastinate_trigger_function_status_events_update_v1(); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_trigger_function_status_events_update_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    WITH t AS (
        SELECT CASE
            WHEN OLD.status = 'todo'::procrastinate_job_status
                AND NEW.status = 'doing'::procrastinate_job_status
                THEN 'started'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'todo'::procrastinate_job_status
                THEN 'deferred_for_retry'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'failed'::procrastinate_job_status
                THEN 'failed'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'succeeded'::procrastinate_job_status
                THEN 'succeeded'::procrastinate_job_event_type
            WHEN OLD.status = 'todo'::procrastinate_job_status
                AND (
                    NEW.status = 'cancelled'::procrastinate_job_status
                    OR NEW.status = 'failed'::procrastinate_job_status
                    OR NEW.status = 'succeeded'::procrastinate_job_status
                )
                THEN 'cancelled'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'aborted'::procrastinate_job_status
                THEN 'aborted'::procrastinate_job_event_type
            WHEN OLD.status = 'failed'::procrastinate_job_status
                AND NEW.status = 'todo'::procrastinate_job_status
                THEN 'retried'::procrastinate_job_event_type
            ELSE NULL
        END as event_type
    )
    INSERT INTO procrastinate_events(job_id, type)
        SELECT NEW.id, t.event_type
        FROM t
        WHERE t.event_type IS NOT NULL;
	RETURN NEW;
END;
$$;


ALTER FUNCTION procrastinate.procrastinate_trigger_function_status_events_update_v1() OWNER TO byokeep_owner;

--
-- Name: procrastinate_unlink_periodic_defers_v1(); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_unlink_periodic_defers_v1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    UPDATE procrastinate_periodic_defers
    SET job_id = NULL
    WHERE job_id = OLD.id;
    RETURN OLD;
END;
$$;


ALTER FUNCTION procrastinate.procrastinate_unlink_periodic_defers_v1() OWNER TO byokeep_owner;

--
-- Name: procrastinate_unregister_worker_v1(bigint); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_unregister_worker_v1(worker_id bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    DELETE FROM procrastinate_workers
    WHERE id = worker_id;
END;
$$;


ALTER FUNCTION procrastinate.procrastinate_unregister_worker_v1(worker_id bigint) OWNER TO byokeep_owner;

--
-- Name: procrastinate_update_heartbeat_v1(bigint); Type: FUNCTION; Schema: procrastinate; Owner: byokeep_owner
--

CREATE FUNCTION procrastinate.procrastinate_update_heartbeat_v1(worker_id bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    UPDATE procrastinate_workers
    SET last_heartbeat = NOW()
    WHERE id = worker_id;
END;
$$;


ALTER FUNCTION procrastinate.procrastinate_update_heartbeat_v1(worker_id bigint) OWNER TO byokeep_owner;

--
-- Name: account_grant; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.account_grant (
    client_id uuid NOT NULL,
    account_id uuid NOT NULL,
    provider text NOT NULL,
    login text NOT NULL,
    app_id text NOT NULL,
    external_id text NOT NULL,
    username text,
    display_name text,
    link text,
    state text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    version integer NOT NULL,
    access_version integer DEFAULT 0 NOT NULL,
    purposes text[] DEFAULT '{}'::text[] NOT NULL,
    scopes text[] DEFAULT '{}'::text[] NOT NULL,
    scopes_known boolean NOT NULL,
    obtained_by uuid NOT NULL,
    obtained_at timestamp with time zone DEFAULT now() NOT NULL,
    access_expires_at timestamp with time zone,
    refresh_expires_at timestamp with time zone,
    consent_expires_at timestamp with time zone,
    reauth_at timestamp with time zone,
    alarm_at timestamp with time zone,
    due_at timestamp with time zone,
    tries integer DEFAULT 0 NOT NULL,
    verified_at timestamp with time zone,
    drift boolean DEFAULT false NOT NULL,
    connected_seq bigint,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    superseded_at timestamp with time zone,
    CONSTRAINT account_grant_external_id_ck CHECK (((length(external_id) <= 256) AND (external_id ~ '^[!-~]+$'::text))),
    CONSTRAINT account_grant_numbers_ck CHECK (((version >= 1) AND (access_version >= 0) AND (tries >= 0))),
    CONSTRAINT account_grant_provider_ck CHECK ((provider = ANY (ARRAY['meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text]))),
    CONSTRAINT account_grant_state_ck CHECK ((state = ANY (ARRAY['unverified'::text, 'live'::text, 'needs_reauth'::text, 'revoked'::text])))
);


ALTER TABLE byokeep.account_grant OWNER TO byokeep_owner;

--
-- Name: alembic_version; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.alembic_version (
    version_num character varying(32) NOT NULL
);


ALTER TABLE byokeep.alembic_version OWNER TO byokeep_owner;

--
-- Name: alert; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.alert (
    id uuid NOT NULL,
    client_id uuid,
    object_id uuid,
    reason text NOT NULL,
    severity text NOT NULL,
    dedup_key text NOT NULL,
    opened_at timestamp with time zone DEFAULT now() NOT NULL,
    closed_at timestamp with time zone,
    closed_by uuid,
    count integer DEFAULT 1 NOT NULL,
    code_points text DEFAULT ''::text NOT NULL,
    CONSTRAINT alert_code_points_ck CHECK ((code_points ~ '^([0-9a-f]{4,6}(,[0-9a-f]{4,6}){0,7})?$'::text)),
    CONSTRAINT alert_severity_ck CHECK ((severity = ANY (ARRAY['info'::text, 'warning'::text, 'critical'::text])))
);


ALTER TABLE byokeep.alert OWNER TO byokeep_owner;

--
-- Name: api_token; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.api_token (
    id uuid NOT NULL,
    subject_id uuid NOT NULL,
    keyed_hash bytea NOT NULL,
    kind text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone,
    CONSTRAINT api_token_expires_at_ck CHECK (((expires_at > created_at) AND (expires_at <= (created_at + '90 days'::interval)))),
    CONSTRAINT api_token_keyed_hash_ck CHECK ((octet_length(keyed_hash) = 32)),
    CONSTRAINT api_token_kind_ck CHECK ((kind = ANY (ARRAY['api'::text, 'session'::text])))
);


ALTER TABLE byokeep.api_token OWNER TO byokeep_owner;

--
-- Name: approval; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.approval (
    id uuid NOT NULL,
    action text NOT NULL,
    scope text NOT NULL,
    epoch bigint NOT NULL,
    reason text NOT NULL,
    requested_by uuid NOT NULL,
    approved_by uuid,
    requested_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone DEFAULT now() NOT NULL,
    approved_at timestamp with time zone,
    used_at timestamp with time zone,
    CONSTRAINT approval_action_ck CHECK ((action = ANY (ARRAY['open_switch'::text, 'start_canary'::text, 'transfer_account'::text]))),
    CONSTRAINT approval_two_people_ck CHECK (((approved_by IS NULL) OR (approved_by <> requested_by)))
);


ALTER TABLE byokeep.approval OWNER TO byokeep_owner;

--
-- Name: audit_epoch; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.audit_epoch (
    number bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    leaf bytea NOT NULL,
    heads bytea NOT NULL
);


ALTER TABLE byokeep.audit_epoch OWNER TO byokeep_owner;

--
-- Name: audit_head; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.audit_head (
    chain uuid NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL
);


ALTER TABLE byokeep.audit_head OWNER TO byokeep_owner;

--
-- Name: audit_record; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.audit_record (
    chain uuid NOT NULL,
    seq bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    event text NOT NULL,
    actor_id uuid NOT NULL,
    object_id uuid,
    request_id uuid NOT NULL,
    outcome text NOT NULL,
    writer text NOT NULL,
    payload bytea NOT NULL,
    hash bytea NOT NULL
);


ALTER TABLE byokeep.audit_record OWNER TO byokeep_owner;

--
-- Name: audit_vocabulary; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.audit_vocabulary (
    event text NOT NULL,
    writers text[] DEFAULT '{}'::text[] NOT NULL
);


ALTER TABLE byokeep.audit_vocabulary OWNER TO byokeep_owner;

--
-- Name: client; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.client (
    id uuid NOT NULL,
    name text NOT NULL,
    state text DEFAULT 'enrolling'::text NOT NULL,
    risk text DEFAULT 'standard'::text NOT NULL,
    entity_id text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by uuid NOT NULL,
    CONSTRAINT client_name_ck CHECK (((name ~ '^[[:alnum:]][[:alnum:] ._&''()-]{0,79}$'::text) AND (name !~ '[[:alnum:]_-]{25,}'::text))),
    CONSTRAINT client_risk_ck CHECK ((risk = ANY (ARRAY['standard'::text, 'high'::text]))),
    CONSTRAINT client_state_ck CHECK ((state = ANY (ARRAY['enrolling'::text, 'active'::text, 'suspended'::text, 'closed'::text])))
);


ALTER TABLE byokeep.client OWNER TO byokeep_owner;

--
-- Name: connection; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.connection (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    account_id uuid NOT NULL,
    job_id uuid NOT NULL,
    sop_id uuid NOT NULL,
    login text NOT NULL,
    purposes text[] DEFAULT '{}'::text[] NOT NULL,
    state_hash bytea NOT NULL,
    binding_hash bytea NOT NULL,
    redirect_uri text NOT NULL,
    wanted text,
    replaces integer,
    state text DEFAULT 'started'::text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    started_by uuid NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone DEFAULT now() NOT NULL,
    answered_at timestamp with time zone,
    ended_at timestamp with time zone,
    request_id uuid NOT NULL,
    code_points text DEFAULT ''::text NOT NULL,
    held_as text DEFAULT ''::text NOT NULL,
    offered text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT connection_code_points_ck CHECK ((code_points ~ '^([0-9a-f]{4,6}(,[0-9a-f]{4,6}){0,7})?$'::text)),
    CONSTRAINT connection_digests_ck CHECK (((octet_length(state_hash) = 32) AND (octet_length(binding_hash) = 32))),
    CONSTRAINT connection_expires_at_ck CHECK (((expires_at > started_at) AND (expires_at <= (started_at + '00:15:00'::interval)))),
    CONSTRAINT connection_held_as_ck CHECK ((held_as ~ '^[A-Za-z0-9_.-]{0,64}$'::text)),
    CONSTRAINT connection_offered_ck CHECK (((cardinality(offered) <= 40) AND (array_to_string(offered, ''::text) ~ '^[ -~]*$'::text))),
    CONSTRAINT connection_state_ck CHECK ((state = ANY (ARRAY['started'::text, 'answered'::text, 'taken'::text, 'connected'::text, 'failed'::text, 'quarantined'::text, 'expired'::text])))
);


ALTER TABLE byokeep.connection OWNER TO byokeep_owner;

--
-- Name: credential_ref; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.credential_ref (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    provider text NOT NULL,
    kind text NOT NULL,
    purpose text DEFAULT 'default'::text NOT NULL,
    environment text NOT NULL,
    secret_ref text NOT NULL,
    version integer NOT NULL,
    state text NOT NULL,
    verification text NOT NULL,
    risk text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by uuid NOT NULL,
    rotation_due_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone,
    account_id uuid,
    previous_version integer,
    previous_until timestamp with time zone,
    CONSTRAINT credential_ref_belongs_ck CHECK ((((kind = 'oauth_token_set'::text) = (account_id IS NOT NULL)) AND ((kind = 'oauth_token_set'::text) = (purpose = 'account'::text)) AND ((kind = 'webhook_signing_secret'::text) = (purpose = 'webhook'::text)))),
    CONSTRAINT credential_ref_environment_ck CHECK ((environment = ANY (ARRAY['production'::text, 'staging'::text, 'development'::text]))),
    CONSTRAINT credential_ref_kind_ck CHECK ((kind = ANY (ARRAY['provider_api_key'::text, 'oauth_token_set'::text, 'session_cookie'::text, 'webhook_signing_secret'::text, 'internal_service_token'::text, 'database_credential'::text]))),
    CONSTRAINT credential_ref_previous_ck CHECK (((previous_version IS NULL) = (previous_until IS NULL))),
    CONSTRAINT credential_ref_provider_ck CHECK ((provider = ANY (ARRAY['google'::text, 'anthropic'::text, 'openai'::text, 'openrouter'::text, 'heygen'::text, 'kie'::text, 'meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text, 'skool'::text]))),
    CONSTRAINT credential_ref_purpose_ck CHECK ((purpose ~ '^[a-z][a-z0-9_]{0,31}$'::text)),
    CONSTRAINT credential_ref_risk_ck CHECK ((risk = ANY (ARRAY['standard'::text, 'high'::text]))),
    CONSTRAINT credential_ref_rotation_due_at_ck CHECK (((rotation_due_at > created_at) AND (rotation_due_at <= (created_at + '400 days'::interval)))),
    CONSTRAINT credential_ref_secret_ref_ck CHECK ((secret_ref = (((('vault://kv/clients/'::text || (client_id)::text) || '/providers/'::text) || provider) ||
CASE kind
    WHEN 'oauth_token_set'::text THEN (('/accounts/'::text || (account_id)::text) || '/tokens'::text)
    WHEN 'webhook_signing_secret'::text THEN '/webhook'::text
    ELSE ''::text
END))),
    CONSTRAINT credential_ref_state_ck CHECK ((state = ANY (ARRAY['pre_activation'::text, 'active'::text, 'suspended'::text, 'deactivated'::text, 'compromised'::text, 'destroyed'::text]))),
    CONSTRAINT credential_ref_verification_ck CHECK ((verification = ANY (ARRAY['pending'::text, 'verified'::text, 'failed'::text, 'quarantined'::text]))),
    CONSTRAINT credential_ref_version_ck CHECK ((version >= 1))
);


ALTER TABLE byokeep.credential_ref OWNER TO byokeep_owner;

--
-- Name: installation; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.installation (
    id uuid NOT NULL,
    environment text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    singleton boolean DEFAULT true NOT NULL,
    CONSTRAINT installation_environment_ck CHECK ((environment = ANY (ARRAY['production'::text, 'staging'::text, 'development'::text]))),
    CONSTRAINT installation_singleton_ck CHECK (singleton)
);


ALTER TABLE byokeep.installation OWNER TO byokeep_owner;

--
-- Name: job; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.job (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    dispatcher_id uuid NOT NULL,
    runner_id uuid NOT NULL,
    kind text NOT NULL,
    secrets text[] DEFAULT '{}'::text[] NOT NULL,
    platforms text[] DEFAULT '{}'::text[] NOT NULL,
    lanes text[] DEFAULT '{}'::text[] NOT NULL,
    effects text[] DEFAULT '{}'::text[] NOT NULL,
    state text DEFAULT 'open'::text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    opened_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone DEFAULT now() NOT NULL,
    closed_at timestamp with time zone,
    sealing_at timestamp with time zone,
    CONSTRAINT job_custody_has_no_effects_ck CHECK (((kind = 'use'::text) OR (effects = '{}'::text[]))),
    CONSTRAINT job_expires_at_ck CHECK (((expires_at > opened_at) AND (expires_at <= (opened_at + '24:00:00'::interval)))),
    CONSTRAINT job_kind_ck CHECK ((kind = ANY (ARRAY['use'::text, 'custody'::text]))),
    CONSTRAINT job_state_ck CHECK ((state = ANY (ARRAY['open'::text, 'closed'::text, 'expired'::text, 'killed'::text])))
);


ALTER TABLE byokeep.job OWNER TO byokeep_owner;

--
-- Name: kek_rotation; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.kek_rotation (
    id uuid NOT NULL,
    client_id uuid,
    holder text NOT NULL,
    kek_id text NOT NULL,
    from_version integer NOT NULL,
    to_version integer NOT NULL,
    state text DEFAULT 'rewrapping'::text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    moved integer DEFAULT 0 NOT NULL,
    started_by uuid NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT kek_rotation_ended_ck CHECK (((ended_at IS NOT NULL) = (state = 'done'::text))),
    CONSTRAINT kek_rotation_holder_ck CHECK ((holder = ANY (ARRAY['transit'::text, 'aws'::text, 'pkcs11'::text]))),
    CONSTRAINT kek_rotation_numbers_ck CHECK (((to_version > from_version) AND (from_version >= 1) AND (moved >= 0))),
    CONSTRAINT kek_rotation_state_ck CHECK ((state = ANY (ARRAY['rewrapping'::text, 'done'::text])))
);


ALTER TABLE byokeep.kek_rotation OWNER TO byokeep_owner;

--
-- Name: kek_version; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.kek_version (
    holder text NOT NULL,
    kek_id text NOT NULL,
    version integer NOT NULL,
    client_id uuid,
    environment text NOT NULL,
    algorithm text NOT NULL,
    bits integer NOT NULL,
    state text DEFAULT 'active'::text NOT NULL,
    owner text NOT NULL,
    made_at timestamp with time zone DEFAULT now() NOT NULL,
    protect_until timestamp with time zone DEFAULT now() NOT NULL,
    process_until timestamp with time zone DEFAULT now() NOT NULL,
    compromised_at timestamp with time zone,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    changed_by uuid NOT NULL,
    identity text DEFAULT ''::text NOT NULL,
    CONSTRAINT kek_version_environment_ck CHECK ((environment = ANY (ARRAY['production'::text, 'staging'::text, 'development'::text]))),
    CONSTRAINT kek_version_holder_ck CHECK ((holder = ANY (ARRAY['transit'::text, 'aws'::text, 'pkcs11'::text]))),
    CONSTRAINT kek_version_identity_ck CHECK ((identity ~ '^[A-Za-z0-9:/_.-]{0,200}$'::text)),
    CONSTRAINT kek_version_kek_id_ck CHECK ((kek_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'::text)),
    CONSTRAINT kek_version_numbers_ck CHECK (((version >= 1) AND (bits >= 256))),
    CONSTRAINT kek_version_owner_ck CHECK ((owner ~ '^[a-z][a-z0-9_.@-]{0,62}$'::text)),
    CONSTRAINT kek_version_periods_ck CHECK (((protect_until > made_at) AND (protect_until <= (made_at + '732 days'::interval)) AND (process_until >= protect_until) AND (process_until <= (protect_until + '1097 days'::interval)))),
    CONSTRAINT kek_version_state_ck CHECK ((state = ANY (ARRAY['pre_activation'::text, 'active'::text, 'suspended'::text, 'deactivated'::text, 'compromised'::text, 'destroyed'::text])))
);


ALTER TABLE byokeep.kek_version OWNER TO byokeep_owner;

--
-- Name: key_transition; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.key_transition (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    ref_id uuid NOT NULL,
    state_from text NOT NULL,
    state_to text NOT NULL,
    reason text NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    by uuid NOT NULL
);


ALTER TABLE byokeep.key_transition OWNER TO byokeep_owner;

--
-- Name: leak_fingerprint; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.leak_fingerprint (
    client_id uuid NOT NULL,
    ref_id uuid NOT NULL,
    version integer NOT NULL,
    format integer NOT NULL,
    digests text[] DEFAULT '{}'::text[] NOT NULL,
    made_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT leak_fingerprint_digests_ck CHECK (((cardinality(digests) <= 16) AND (array_to_string(digests, ','::text, 'null'::text) ~ '^([0-9a-f]{32}(,[0-9a-f]{32})*)?$'::text))),
    CONSTRAINT leak_fingerprint_format_ck CHECK ((format >= 1)),
    CONSTRAINT leak_fingerprint_version_ck CHECK ((version >= 1))
);


ALTER TABLE byokeep.leak_fingerprint OWNER TO byokeep_owner;

--
-- Name: lease; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.lease (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    job_id uuid NOT NULL,
    runner_id uuid NOT NULL,
    kind text NOT NULL,
    secrets text[] DEFAULT '{}'::text[] NOT NULL,
    jwt_iat bigint NOT NULL,
    jwt_exp bigint NOT NULL,
    issued_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT lease_kind_ck CHECK ((kind = ANY (ARRAY['use'::text, 'custody'::text, 'enroll'::text])))
);


ALTER TABLE byokeep.lease OWNER TO byokeep_owner;

--
-- Name: permit; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.permit (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    job_id uuid NOT NULL,
    lease_id uuid NOT NULL,
    platform text NOT NULL,
    account text NOT NULL,
    lane text NOT NULL,
    effect text NOT NULL,
    idempotency_key text NOT NULL,
    state text DEFAULT 'issued'::text NOT NULL,
    issued_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone DEFAULT now() NOT NULL,
    closed_at timestamp with time zone,
    way integer,
    stage integer,
    CONSTRAINT permit_idempotency_key_ck CHECK ((idempotency_key ~ '^[A-Za-z0-9_.:-]{8,64}$'::text)),
    CONSTRAINT permit_state_ck CHECK ((state = ANY (ARRAY['issued'::text, 'done'::text, 'failed'::text, 'unknown'::text])))
);


ALTER TABLE byokeep.permit OWNER TO byokeep_owner;

--
-- Name: platform_account; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.platform_account (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    platform text NOT NULL,
    account text NOT NULL,
    username text NOT NULL,
    display_name text NOT NULL,
    lanes text[] DEFAULT '{}'::text[] NOT NULL,
    identified_at timestamp with time zone,
    identity text DEFAULT 'unchecked'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by uuid NOT NULL,
    CONSTRAINT platform_account_account_ck CHECK ((account ~ '^[A-Za-z0-9_.-]{1,64}$'::text)),
    CONSTRAINT platform_account_display_name_ck CHECK (((length(display_name) <= 400) AND (display_name !~ '[[:cntrl:]]'::text))),
    CONSTRAINT platform_account_identity_ck CHECK ((identity = ANY (ARRAY['unchecked'::text, 'match'::text, 'mismatch'::text, 'unknown'::text]))),
    CONSTRAINT platform_account_platform_ck CHECK ((platform = ANY (ARRAY['meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text, 'skool'::text]))),
    CONSTRAINT platform_account_username_ck CHECK (((length(username) <= 400) AND (username !~ '[[:cntrl:]]'::text)))
);


ALTER TABLE byokeep.platform_account OWNER TO byokeep_owner;

--
-- Name: platform_app; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.platform_app (
    login text NOT NULL,
    provider text NOT NULL,
    environment text NOT NULL,
    app_id text NOT NULL,
    redirect_uri text NOT NULL,
    secret_version integer NOT NULL,
    set_at timestamp with time zone DEFAULT now() NOT NULL,
    set_by uuid NOT NULL,
    CONSTRAINT platform_app_app_id_ck CHECK (((length(app_id) <= 256) AND (app_id ~ '^[!-~]+$'::text))),
    CONSTRAINT platform_app_environment_ck CHECK ((environment = ANY (ARRAY['production'::text, 'staging'::text, 'development'::text]))),
    CONSTRAINT platform_app_login_ck CHECK ((login ~ '^[a-z][a-z0-9_]{0,31}$'::text)),
    CONSTRAINT platform_app_provider_ck CHECK ((provider = ANY (ARRAY['meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text]))),
    CONSTRAINT platform_app_redirect_uri_ck CHECK (((length(redirect_uri) <= 400) AND (redirect_uri ~ '^(https://|http://(127[.]0[.]0[.]1|localhost)[:/])[!-~]+$'::text))),
    CONSTRAINT platform_app_secret_version_ck CHECK ((secret_version >= 0))
);


ALTER TABLE byokeep.platform_app OWNER TO byokeep_owner;

--
-- Name: profile; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.profile (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    packing text NOT NULL,
    state text DEFAULT 'created'::text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    generation integer DEFAULT 0 NOT NULL,
    epoch bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by uuid NOT NULL,
    confirmed_at timestamp with time zone,
    confirmed_by uuid,
    validated_generation integer DEFAULT 0 NOT NULL,
    validated_at timestamp with time zone,
    due_at timestamp with time zone,
    due_cause text DEFAULT ''::text NOT NULL,
    replaces uuid,
    CONSTRAINT profile_confirmed_ck CHECK (((confirmed_at IS NULL) = (confirmed_by IS NULL))),
    CONSTRAINT profile_numbers_ck CHECK (((generation >= 0) AND (epoch >= 0) AND ((validated_generation >= 0) AND (validated_generation <= generation)))),
    CONSTRAINT profile_packing_ck CHECK ((packing = ANY (ARRAY['portable'::text, 'full'::text]))),
    CONSTRAINT profile_sealed_after_confirmed_ck CHECK (((generation = 0) OR (confirmed_at IS NOT NULL))),
    CONSTRAINT profile_state_ck CHECK ((state = ANY (ARRAY['created'::text, 'confirmed'::text, 'sealed'::text, 'valid'::text, 'quarantined'::text, 'retired'::text, 'shredded'::text])))
);


ALTER TABLE byokeep.profile OWNER TO byokeep_owner;

--
-- Name: profile_account; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.profile_account (
    client_id uuid NOT NULL,
    profile_id uuid NOT NULL,
    account_id uuid NOT NULL,
    platform text NOT NULL,
    retired_at timestamp with time zone,
    CONSTRAINT profile_account_platform_ck CHECK ((platform = ANY (ARRAY['meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text, 'skool'::text])))
);


ALTER TABLE byokeep.profile_account OWNER TO byokeep_owner;

--
-- Name: profile_generation; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.profile_generation (
    client_id uuid NOT NULL,
    profile_id uuid NOT NULL,
    generation integer NOT NULL,
    dek_id uuid NOT NULL,
    holder text NOT NULL,
    kek_id text NOT NULL,
    kek_version integer NOT NULL,
    blob_key text NOT NULL,
    blob_sha256 bytea NOT NULL,
    blob_size bigint NOT NULL,
    packed_size bigint NOT NULL,
    manifest_hash bytea NOT NULL,
    record_version integer NOT NULL,
    browser_version text NOT NULL,
    key_state text DEFAULT 'active'::text NOT NULL,
    sealed_at timestamp with time zone DEFAULT now() NOT NULL,
    sealed_by uuid NOT NULL,
    job_id uuid NOT NULL,
    store_request text DEFAULT ''::text NOT NULL,
    gone_at timestamp with time zone,
    CONSTRAINT profile_generation_digests_ck CHECK (((octet_length(blob_sha256) = 32) AND (octet_length(manifest_hash) = 32))),
    CONSTRAINT profile_generation_holder_ck CHECK ((holder = ANY (ARRAY['transit'::text, 'aws'::text, 'pkcs11'::text]))),
    CONSTRAINT profile_generation_key_state_ck CHECK ((key_state = ANY (ARRAY['pre_activation'::text, 'active'::text, 'suspended'::text, 'deactivated'::text, 'compromised'::text, 'destroyed'::text]))),
    CONSTRAINT profile_generation_numbers_ck CHECK (((generation >= 1) AND (kek_version >= 1) AND (record_version >= 1) AND (blob_size > 0) AND (packed_size >= 0)))
);


ALTER TABLE byokeep.profile_generation OWNER TO byokeep_owner;

--
-- Name: profile_incident; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.profile_incident (
    id uuid NOT NULL,
    client_id uuid,
    cause text NOT NULL,
    step text DEFAULT 'opened'::text NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL,
    opened_by uuid NOT NULL,
    opened_at timestamp with time zone DEFAULT now() NOT NULL,
    closed_at timestamp with time zone,
    closed_by uuid,
    CONSTRAINT profile_incident_cause_ck CHECK ((cause = ANY (ARRAY['suspected_leak'::text, 'artifact_store_exposure'::text, 'runner_compromise'::text, 'account_lockout'::text, 'drill'::text]))),
    CONSTRAINT profile_incident_closed_ck CHECK (((closed_at IS NOT NULL) = (step = 'closed'::text))),
    CONSTRAINT profile_incident_step_ck CHECK ((step = ANY (ARRAY['opened'::text, 'lane_off'::text, 'sessions_ended'::text, 'recreated'::text, 'rekeyed'::text, 'validated'::text, 'closed'::text])))
);


ALTER TABLE byokeep.profile_incident OWNER TO byokeep_owner;

--
-- Name: profile_incident_item; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.profile_incident_item (
    incident_id uuid NOT NULL,
    client_id uuid NOT NULL,
    profile_id uuid NOT NULL,
    platform text NOT NULL,
    session text DEFAULT 'pending'::text NOT NULL,
    session_by uuid,
    session_at timestamp with time zone,
    new_profile_id uuid,
    key_destroyed_at timestamp with time zone,
    identity_at timestamp with time zone,
    wrong_account_at timestamp with time zone,
    CONSTRAINT profile_incident_item_platform_ck CHECK ((platform = ANY (ARRAY['meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text, 'skool'::text]))),
    CONSTRAINT profile_incident_item_session_ck CHECK ((session = ANY (ARRAY['pending'::text, 'revoked'::text, 'unsupported'::text, 'failed'::text, 'ended_by_hand'::text])))
);


ALTER TABLE byokeep.profile_incident_item OWNER TO byokeep_owner;

--
-- Name: profile_opening; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.profile_opening (
    client_id uuid NOT NULL,
    profile_id uuid NOT NULL,
    epoch bigint NOT NULL,
    generation integer NOT NULL,
    purpose text NOT NULL,
    job_id uuid NOT NULL,
    opener_id uuid NOT NULL,
    opened_at timestamp with time zone DEFAULT now() NOT NULL,
    until timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT profile_opening_purpose_ck CHECK ((purpose = ANY (ARRAY['login'::text, 'use'::text, 'validate'::text, 'rekey'::text, 'logout'::text]))),
    CONSTRAINT profile_opening_until_ck CHECK ((until >= opened_at))
);


ALTER TABLE byokeep.profile_opening OWNER TO byokeep_owner;

--
-- Name: profile_work; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.profile_work (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    profile_id uuid NOT NULL,
    job_id uuid,
    incident_id uuid,
    generation integer,
    kind text NOT NULL,
    state text DEFAULT 'asked'::text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    result text DEFAULT ''::text NOT NULL,
    owner uuid,
    beat_at timestamp with time zone,
    asked_by uuid NOT NULL,
    asked_at timestamp with time zone DEFAULT now() NOT NULL,
    confirmed_by uuid,
    confirmed_at timestamp with time zone,
    ended_at timestamp with time zone,
    CONSTRAINT profile_work_confirmed_ck CHECK (((confirmed_at IS NULL) = (confirmed_by IS NULL))),
    CONSTRAINT profile_work_ended_ck CHECK (((ended_at IS NOT NULL) = (state = ANY (ARRAY['done'::text, 'failed'::text, 'expired'::text, 'cancelled'::text])))),
    CONSTRAINT profile_work_kind_ck CHECK ((kind = ANY (ARRAY['login'::text, 'validate'::text, 'rekey'::text, 'restore'::text, 'shred'::text, 'logout'::text]))),
    CONSTRAINT profile_work_state_ck CHECK ((state = ANY (ARRAY['asked'::text, 'running'::text, 'waiting'::text, 'confirmed'::text, 'done'::text, 'failed'::text, 'expired'::text, 'cancelled'::text])))
);


ALTER TABLE byokeep.profile_work OWNER TO byokeep_owner;

--
-- Name: reenabling; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.reenabling (
    client_id uuid NOT NULL,
    platform text NOT NULL,
    cause text NOT NULL,
    stage text NOT NULL,
    stages integer[] NOT NULL,
    number integer NOT NULL,
    taken integer NOT NULL,
    done integer NOT NULL,
    way integer NOT NULL,
    revision bigint NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    closed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT reenabling_cause_ck CHECK ((cause = ANY (ARRAY['revoked'::text, 'lockout'::text, 'missing_scope'::text, 'chain_broken'::text, 'compromised'::text, 'identity_mismatch'::text, 'identity_unchecked'::text, 'scopes_unchecked'::text, 'canary_failed'::text]))),
    CONSTRAINT reenabling_numbers_ck CHECK (((number >= 0) AND (done >= 0) AND (taken >= done) AND (way >= 1) AND (revision >= 0))),
    CONSTRAINT reenabling_platform_ck CHECK ((platform = ANY (ARRAY['meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text, 'skool'::text]))),
    CONSTRAINT reenabling_stage_ck CHECK ((stage = ANY (ARRAY['closed'::text, 'reauthorised'::text, 'identified'::text, 'permitted'::text, 'canary'::text, 'open'::text])))
);


ALTER TABLE byokeep.reenabling OWNER TO byokeep_owner;

--
-- Name: refresh_journal; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.refresh_journal (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    account_id uuid NOT NULL,
    base integer NOT NULL,
    phase text NOT NULL,
    lost integer DEFAULT 0 NOT NULL,
    sent_at timestamp with time zone,
    owner uuid NOT NULL,
    landing_version integer DEFAULT 0 NOT NULL,
    job_id uuid NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT refresh_journal_numbers_ck CHECK (((base >= 1) AND (lost >= 0) AND ((phase <> 'sent'::text) OR (sent_at IS NOT NULL)))),
    CONSTRAINT refresh_journal_phase_ck CHECK ((phase = ANY (ARRAY['started'::text, 'sent'::text, 'landed'::text, 'placed'::text, 'closed'::text, 'broken'::text])))
);


ALTER TABLE byokeep.refresh_journal OWNER TO byokeep_owner;

--
-- Name: scheduled_effect; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.scheduled_effect (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    platform text NOT NULL,
    account text NOT NULL,
    lane text NOT NULL,
    effect text NOT NULL,
    idempotency_key text NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    state text DEFAULT 'scheduled'::text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by uuid NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT scheduled_effect_account_ck CHECK ((account ~ '^[A-Za-z0-9_.-]{1,64}$'::text)),
    CONSTRAINT scheduled_effect_idempotency_key_ck CHECK ((idempotency_key ~ '^[A-Za-z0-9_.:-]{8,64}$'::text)),
    CONSTRAINT scheduled_effect_platform_ck CHECK ((platform = ANY (ARRAY['meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text, 'skool'::text]))),
    CONSTRAINT scheduled_effect_state_ck CHECK ((state = ANY (ARRAY['scheduled'::text, 'held'::text, 'missed'::text, 'done'::text, 'cancelled'::text])))
);


ALTER TABLE byokeep.scheduled_effect OWNER TO byokeep_owner;

--
-- Name: schema_objects; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.schema_objects (
    digest text NOT NULL,
    CONSTRAINT schema_objects_digest_ck CHECK ((digest ~ '^[0-9a-f]{64}$'::text))
);


ALTER TABLE byokeep.schema_objects OWNER TO byokeep_owner;

--
-- Name: sop_run; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.sop_run (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    sop text NOT NULL,
    provider text NOT NULL,
    ref_id uuid,
    version integer,
    state text DEFAULT 'running'::text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    closed_at timestamp with time zone,
    started_by uuid NOT NULL,
    write_seq bigint,
    verify_seq bigint,
    leak_seq bigint,
    done_seq bigint,
    store_request text DEFAULT ''::text NOT NULL,
    CONSTRAINT sop_run_sop_ck CHECK ((sop = ANY (ARRAY['onboard_key'::text, 'connect_account'::text, 'create_profile'::text, 'profile_compromise'::text]))),
    CONSTRAINT sop_run_state_ck CHECK ((state = ANY (ARRAY['running'::text, 'complete'::text, 'failed'::text])))
);


ALTER TABLE byokeep.sop_run OWNER TO byokeep_owner;

--
-- Name: subject; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.subject (
    id uuid NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    roles text[] DEFAULT '{}'::text[] NOT NULL,
    state text DEFAULT 'active'::text NOT NULL,
    password_phc text,
    all_clients boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by uuid,
    CONSTRAINT subject_kind_ck CHECK ((kind = ANY (ARRAY['operator'::text, 'machine'::text]))),
    CONSTRAINT subject_name_ck CHECK (((name ~ '^[[:alnum:]][[:alnum:] ._&''()-]{0,79}$'::text) AND (name !~ '[[:alnum:]_-]{25,}'::text))),
    CONSTRAINT subject_password_phc_ck CHECK (((password_phc IS NULL) OR (password_phc ~~ '$argon2id$%'::text))),
    CONSTRAINT subject_roles_ck CHECK ((((kind = 'operator'::text) AND (roles <@ ARRAY['admin'::text, 'operator'::text, 'approver'::text, 'auditor'::text])) OR ((kind = 'machine'::text) AND (roles <@ ARRAY['dispatcher'::text, 'runner'::text, 'custodian'::text]) AND (cardinality(roles) = 1)))),
    CONSTRAINT subject_separate_roles_ck CHECK (((NOT (roles @> ARRAY['operator'::text, 'approver'::text])) AND (NOT (roles @> ARRAY['admin'::text, 'approver'::text])) AND (NOT (roles @> ARRAY['admin'::text, 'operator'::text])) AND (NOT (roles @> ARRAY['admin'::text, 'auditor'::text])) AND (NOT (roles @> ARRAY['operator'::text, 'auditor'::text])))),
    CONSTRAINT subject_state_ck CHECK ((state = ANY (ARRAY['active'::text, 'disabled'::text])))
);


ALTER TABLE byokeep.subject OWNER TO byokeep_owner;

--
-- Name: subject_client; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.subject_client (
    subject_id uuid NOT NULL,
    client_id uuid NOT NULL
);


ALTER TABLE byokeep.subject_client OWNER TO byokeep_owner;

--
-- Name: switch; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.switch (
    scope text NOT NULL,
    client_id uuid,
    closed boolean NOT NULL,
    epoch bigint NOT NULL,
    reason text NOT NULL,
    by uuid NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    installation_id uuid NOT NULL,
    store_cut_off boolean DEFAULT false NOT NULL,
    CONSTRAINT switch_reason_ck CHECK ((reason ~ '^[a-z][a-z0-9_]{1,62}$'::text))
);


ALTER TABLE byokeep.switch OWNER TO byokeep_owner;

--
-- Name: value_fingerprint; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.value_fingerprint (
    ref_id uuid NOT NULL,
    version integer NOT NULL,
    fingerprint text NOT NULL,
    CONSTRAINT value_fingerprint_fingerprint_ck CHECK ((fingerprint ~ '^[0-9a-f]{64}$'::text))
);


ALTER TABLE byokeep.value_fingerprint OWNER TO byokeep_owner;

--
-- Name: vault_key_transition; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.vault_key_transition (
    id uuid NOT NULL,
    client_id uuid,
    kind text NOT NULL,
    key_id text NOT NULL,
    version integer NOT NULL,
    state_from text NOT NULL,
    state_to text NOT NULL,
    reason text NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    by uuid NOT NULL,
    CONSTRAINT vault_key_transition_key_id_ck CHECK ((key_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'::text)),
    CONSTRAINT vault_key_transition_kind_ck CHECK ((kind = ANY (ARRAY['dek'::text, 'kek'::text]))),
    CONSTRAINT vault_key_transition_state_to_ck CHECK ((state_to = ANY (ARRAY['pre_activation'::text, 'active'::text, 'suspended'::text, 'deactivated'::text, 'compromised'::text, 'destroyed'::text])))
);


ALTER TABLE byokeep.vault_key_transition OWNER TO byokeep_owner;

--
-- Name: procrastinate_events; Type: TABLE; Schema: procrastinate; Owner: byokeep_owner
--

CREATE TABLE procrastinate.procrastinate_events (
    id bigint NOT NULL,
    job_id bigint NOT NULL,
    type procrastinate.procrastinate_job_event_type,
    at timestamp with time zone DEFAULT now()
);


ALTER TABLE procrastinate.procrastinate_events OWNER TO byokeep_owner;

--
-- Name: procrastinate_events_id_seq; Type: SEQUENCE; Schema: procrastinate; Owner: byokeep_owner
--

CREATE SEQUENCE procrastinate.procrastinate_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


ALTER SEQUENCE procrastinate.procrastinate_events_id_seq OWNER TO byokeep_owner;

--
-- Name: procrastinate_events_id_seq; Type: SEQUENCE OWNED BY; Schema: procrastinate; Owner: byokeep_owner
--

ALTER SEQUENCE procrastinate.procrastinate_events_id_seq OWNED BY procrastinate.procrastinate_events.id;


--
-- Name: procrastinate_jobs_id_seq; Type: SEQUENCE; Schema: procrastinate; Owner: byokeep_owner
--

CREATE SEQUENCE procrastinate.procrastinate_jobs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


ALTER SEQUENCE procrastinate.procrastinate_jobs_id_seq OWNER TO byokeep_owner;

--
-- Name: procrastinate_jobs_id_seq; Type: SEQUENCE OWNED BY; Schema: procrastinate; Owner: byokeep_owner
--

ALTER SEQUENCE procrastinate.procrastinate_jobs_id_seq OWNED BY procrastinate.procrastinate_jobs.id;


--
-- Name: procrastinate_periodic_defers; Type: TABLE; Schema: procrastinate; Owner: byokeep_owner
--

CREATE TABLE procrastinate.procrastinate_periodic_defers (
    id bigint NOT NULL,
    task_name character varying(128) NOT NULL,
    defer_timestamp bigint,
    job_id bigint,
    periodic_id character varying(128) DEFAULT ''::character varying NOT NULL
);


ALTER TABLE procrastinate.procrastinate_periodic_defers OWNER TO byokeep_owner;

--
-- Name: procrastinate_periodic_defers_id_seq; Type: SEQUENCE; Schema: procrastinate; Owner: byokeep_owner
--

CREATE SEQUENCE procrastinate.procrastinate_periodic_defers_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


ALTER SEQUENCE procrastinate.procrastinate_periodic_defers_id_seq OWNER TO byokeep_owner;

--
-- Name: procrastinate_periodic_defers_id_seq; Type: SEQUENCE OWNED BY; Schema: procrastinate; Owner: byokeep_owner
--

ALTER SEQUENCE procrastinate.procrastinate_periodic_defers_id_seq OWNED BY procrastinate.procrastinate_periodic_defers.id;


--
-- Name: procrastinate_workers; Type: TABLE; Schema: procrastinate; Owner: byokeep_owner
--

CREATE TABLE procrastinate.procrastinate_workers (
    id bigint NOT NULL,
    last_heartbeat timestamp with time zone DEFAULT now() NOT NULL
);


ALTER TABLE procrastinate.procrastinate_workers OWNER TO byokeep_owner;

--
-- Name: procrastinate_workers_id_seq; Type: SEQUENCE; Schema: procrastinate; Owner: byokeep_owner
--

ALTER TABLE procrastinate.procrastinate_workers ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME procrastinate.procrastinate_workers_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: procrastinate_events id; Type: DEFAULT; Schema: procrastinate; Owner: byokeep_owner
--

ALTER TABLE ONLY procrastinate.procrastinate_events ALTER COLUMN id SET DEFAULT nextval('procrastinate.procrastinate_events_id_seq'::regclass);


--
-- Name: procrastinate_jobs id; Type: DEFAULT; Schema: procrastinate; Owner: byokeep_owner
--

ALTER TABLE ONLY procrastinate.procrastinate_jobs ALTER COLUMN id SET DEFAULT nextval('procrastinate.procrastinate_jobs_id_seq'::regclass);


--
-- Name: procrastinate_periodic_defers id; Type: DEFAULT; Schema: procrastinate; Owner: byokeep_owner
--

ALTER TABLE ONLY procrastinate.procrastinate_periodic_defers ALTER COLUMN id SET DEFAULT nextval('procrastinate.procrastinate_periodic_defers_id_seq'::regclass);


--
-- Data for Name: account_grant; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.account_grant VALUES ('97e396f5-63cd-4cbe-9347-ad11988b7b63', 'f56439ff-9a4b-4553-bfdb-92cacd6182e0', 'tiktok', 'tiktok', 'app', '97e396f563cd4cbe9347ad11988b7b63', NULL, NULL, NULL, 'live', '', 1, 0, '{}', '{}', true, '00000000-0000-4000-8000-000000000001', '2026-11-27 14:02:53.433737+00', NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, false, NULL, '2026-11-27 14:02:53.433737+00', NULL);


--
-- Data for Name: alembic_version; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.alembic_version VALUES ('0013');


--
-- Data for Name: alert; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.alert VALUES ('083f196d-dd30-48d1-b38d-fe56754c5c3e', '97e396f5-63cd-4cbe-9347-ad11988b7b63', NULL, 'test', 'info', '97e396f5-63cd-4cbe-9347-ad11988b7b63', '2026-11-27 14:02:53.443319+00', NULL, NULL, 1, '');


--
-- Data for Name: api_token; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.api_token VALUES ('62554145-c3ce-4ebb-af76-4a1e7525f3a0', '00000000-0000-4000-8000-000000000001', '\x48168fa99cb7e014e77dbf4af79fc5b2a50caac8e820883ea7326f88bc713ac9', 'api', '2026-11-27 14:02:53.44374+00', '2026-11-28 14:02:53.44374+00', NULL);


--
-- Data for Name: approval; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.approval VALUES ('9128da97-89fa-4a45-bfb3-b537ba2d9b87', 'open_switch', 'global', 1, 'drill', '00000000-0000-4000-8000-000000000001', NULL, '2026-11-27 14:02:53.444522+00', '2026-11-27 14:02:53.444522+00', NULL, NULL);


--
-- Data for Name: audit_epoch; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.audit_epoch VALUES (0, '2026-11-27 14:02:53.4452+00', '\x7b7d', '\x7b7d');


--
-- Data for Name: audit_head; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.audit_head VALUES ('97e396f5-63cd-4cbe-9347-ad11988b7b63', 6, '\x31d5e5edfa7ba04d458a6aa5c4175c82e72430cfb0df067c62c00fc1ee503ca7', '2026-11-27 14:02:53.462968+00');
INSERT INTO byokeep.audit_head VALUES ('00000000-0000-4000-8000-000000000003', 2, '\xbb68a122e9608f06e30bb3d1a65542badd904d1bc14053d9a538df1fc46d405c', '2026-11-27 14:02:53.463523+00');


--
-- Data for Name: audit_record; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.audit_record VALUES ('00000000-0000-4000-8000-000000000003', 1, '2026-11-27 14:02:53.459028+00', 'installation.created', '00000000-0000-4000-8000-000000000003', NULL, '220356ce-d137-4177-ad32-5678d3e911a5', 'ok', 'byokeep_web', '\x7b226163746f72223a2230303030303030302d303030302d343030302d383030302d303030303030303030303033222c22636c69656e74223a6e756c6c2c226576656e74223a22696e7374616c6c6174696f6e2e63726561746564222c226669656c6473223a7b22656e7669726f6e6d656e74223a22646576656c6f706d656e74222c22696e7374616c6c6174696f6e223a2230303030303030302d303030302d343030302d383030302d303030303030303030303033227d2c226f626a656374223a6e756c6c2c226f7574636f6d65223a226f6b222c2272657175657374223a2232323033353663652d643133372d343137372d616433322d353637386433653931316135222c22726f6c6573223a5b2273797374656d225d2c2276223a317d', '\x1fd4daca2e82b96bca0f97aa5271bd528324e4c3ebc33b4b54096ed45c6a3a9b');
INSERT INTO byokeep.audit_record VALUES ('97e396f5-63cd-4cbe-9347-ad11988b7b63', 1, '2026-11-27 14:02:53.460347+00', 'client.created', '00000000-0000-4000-8000-000000000001', '97e396f5-63cd-4cbe-9347-ad11988b7b63', 'ebfa05dc-7fc0-45b0-aadb-0aa017d27be4', 'ok', 'byokeep_web', '\x7b226163746f72223a2230303030303030302d303030302d343030302d383030302d303030303030303030303031222c22636c69656e74223a2239376533393666352d363363642d346362652d393334372d616431313938386237623633222c226576656e74223a22636c69656e742e63726561746564222c226669656c6473223a7b227269736b223a227374616e64617264227d2c226f626a656374223a2239376533393666352d363363642d346362652d393334372d616431313938386237623633222c226f7574636f6d65223a226f6b222c2272657175657374223a2265626661303564632d376663302d343562302d616164622d306161303137643237626534222c22726f6c6573223a5b226f70657261746f72225d2c2276223a317d', '\xd973efa38f6526bad39325c0042b0d1b541eaba3164c2eb40b7c38e673a5277c');
INSERT INTO byokeep.audit_record VALUES ('97e396f5-63cd-4cbe-9347-ad11988b7b63', 2, '2026-11-27 14:02:53.460916+00', 'account.registered', '00000000-0000-4000-8000-000000000001', 'f56439ff-9a4b-4553-bfdb-92cacd6182e0', 'fe73dc38-5fa4-484e-b7cf-00fd749d1c2a', 'ok', 'byokeep_web', '\x7b226163746f72223a2230303030303030302d303030302d343030302d383030302d303030303030303030303031222c22636c69656e74223a2239376533393666352d363363642d346362652d393334372d616431313938386237623633222c226576656e74223a226163636f756e742e72656769737465726564222c226669656c6473223a7b226c616e6573223a22617069222c22706c6174666f726d223a2274696b746f6b227d2c226f626a656374223a2266353634333966662d396134622d343535332d626664622d393263616364363138326530222c226f7574636f6d65223a226f6b222c2272657175657374223a2266653733646333382d356661342d343834652d623763662d303066643734396431633261222c22726f6c6573223a5b226f70657261746f72225d2c2276223a317d', '\xad0e97dced98ad4756c2e25755572bdb3c33a978b043f24e9b6ec2054c2e03e4');
INSERT INTO byokeep.audit_record VALUES ('97e396f5-63cd-4cbe-9347-ad11988b7b63', 3, '2026-11-27 14:02:53.461393+00', 'key.stored', '00000000-0000-4000-8000-000000000001', '8689fd99-a516-4bbb-ba67-70a60f1f09e0', '547ea91a-085a-41a7-9f66-26be0afef24c', 'ok', 'byokeep_web', '\x7b226163746f72223a2230303030303030302d303030302d343030302d383030302d303030303030303030303031222c22636c69656e74223a2239376533393666352d363363642d346362652d393334372d616431313938386237623633222c226576656e74223a226b65792e73746f726564222c226669656c6473223a7b2270726f7669646572223a226f70656e6169222c2276657273696f6e223a317d2c226f626a656374223a2238363839666439392d613531362d346262622d626136372d373061363066316630396530222c226f7574636f6d65223a226f6b222c2272657175657374223a2235343765613931612d303835612d343161372d396636362d323662653061666566323463222c22726f6c6573223a5b226f70657261746f72225d2c2276223a317d', '\x49c588e6b601264c5633935d21b8971af2d7c42cb2c7a82a0f1788f8a7515578');
INSERT INTO byokeep.audit_record VALUES ('97e396f5-63cd-4cbe-9347-ad11988b7b63', 4, '2026-11-27 14:02:53.461899+00', 'key.verified', '00000000-0000-4000-8000-000000000003', '8689fd99-a516-4bbb-ba67-70a60f1f09e0', '7e405833-ba9a-4f19-aaee-029d15c75391', 'ok', 'byokeep_worker', '\x7b226163746f72223a2230303030303030302d303030302d343030302d383030302d303030303030303030303033222c22636c69656e74223a2239376533393666352d363363642d346362652d393334372d616431313938386237623633222c226576656e74223a226b65792e7665726966696564222c226669656c6473223a7b2270726f7669646572223a226f70656e6169222c22766572696669636174696f6e223a227665726966696564222c2276657273696f6e223a317d2c226f626a656374223a2238363839666439392d613531362d346262622d626136372d373061363066316630396530222c226f7574636f6d65223a226f6b222c2272657175657374223a2237653430353833332d626139612d346631392d616165652d303239643135633735333931222c22726f6c6573223a5b2273797374656d225d2c2276223a317d', '\x04e5ab893146b9a4e5c2ebd42b29f131770d3ddc6311e8b718abcec3819688a3');
INSERT INTO byokeep.audit_record VALUES ('97e396f5-63cd-4cbe-9347-ad11988b7b63', 5, '2026-11-27 14:02:53.462454+00', 'key.state_changed', '00000000-0000-4000-8000-000000000003', '8689fd99-a516-4bbb-ba67-70a60f1f09e0', '4824a9be-e246-4419-bbea-4aadddb81a0f', 'ok', 'byokeep_worker', '\x7b226163746f72223a2230303030303030302d303030302d343030302d383030302d303030303030303030303033222c22636c69656e74223a2239376533393666352d363363642d346362652d393334372d616431313938386237623633222c226576656e74223a226b65792e73746174655f6368616e676564222c226669656c6473223a7b2273746174655f66726f6d223a227072655f61637469766174696f6e222c2273746174655f746f223a22616374697665222c2276657273696f6e223a317d2c226f626a656374223a2238363839666439392d613531362d346262622d626136372d373061363066316630396530222c226f7574636f6d65223a226f6b222c2272657175657374223a2234383234613962652d653234362d343431392d626265612d346161646464623831613066222c22726f6c6573223a5b2273797374656d225d2c2276223a317d', '\x9c863130f316ad1a97e510c9039be5b23ec20ab248f9db12ae35444d965d5241');
INSERT INTO byokeep.audit_record VALUES ('97e396f5-63cd-4cbe-9347-ad11988b7b63', 6, '2026-11-27 14:02:53.462968+00', 'job.opened', '00000000-0000-4000-8000-000000000002', '909e63b6-2d02-4633-809a-191d3f7b4b80', '0470c980-c73a-45e6-9953-3351c713b01c', 'ok', 'byokeep_broker', '\x7b226163746f72223a2230303030303030302d303030302d343030302d383030302d303030303030303030303032222c22636c69656e74223a2239376533393666352d363363642d346362652d393334372d616431313938386237623633222c226576656e74223a226a6f622e6f70656e6564222c226669656c6473223a7b22657870697265735f6174223a22323032362d31312d32375431353a30323a35335a222c226b696e64223a22757365222c2272756e6e6572223a2230303030303030302d303030302d343030302d383030302d303030303030303030303032222c2273656372657473223a226f70656e6169227d2c226f626a656374223a2239303965363362362d326430322d343633332d383039612d313931643366376234623830222c226f7574636f6d65223a226f6b222c2272657175657374223a2230343730633938302d633733612d343565362d393935332d333335316337313362303163222c22726f6c6573223a5b2264697370617463686572225d2c2276223a317d', '\x31d5e5edfa7ba04d458a6aa5c4175c82e72430cfb0df067c62c00fc1ee503ca7');
INSERT INTO byokeep.audit_record VALUES ('00000000-0000-4000-8000-000000000003', 2, '2026-11-27 14:02:53.463523+00', 'switch.opened', '00000000-0000-4000-8000-000000000003', NULL, '6d64f930-ee66-43af-8c6d-36b4d7ea11bc', 'ok', 'byokeep_broker', '\x7b226163746f72223a2230303030303030302d303030302d343030302d383030302d303030303030303030303033222c22636c69656e74223a6e756c6c2c226576656e74223a227377697463682e6f70656e6564222c226669656c6473223a7b2265706f6368223a312c22726561736f6e223a226f70656e65645f61745f7374617274222c2273636f7065223a22676c6f62616c227d2c226f626a656374223a6e756c6c2c226f7574636f6d65223a226f6b222c2272657175657374223a2236643634663933302d656536362d343361662d386336642d333662346437656131316263222c22726f6c6573223a5b2273797374656d225d2c2276223a317d', '\xbb68a122e9608f06e30bb3d1a65542badd904d1bc14053d9a538df1fc46d405c');


--
-- Data for Name: audit_vocabulary; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.audit_vocabulary VALUES ('installation.created', '{byokeep_owner,byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('service.started', '{byokeep_owner,byokeep_web,byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('config.changed', '{byokeep_owner,byokeep_web,byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('dek.state_changed', '{byokeep_web,byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('access.decided', '{byokeep_web,byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('alert.raised', '{byokeep_web,byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('alert.closed', '{byokeep_web,byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('audit.device_changed', '{byokeep_web,byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('job.opened', '{byokeep_web,byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('tokens.refresh_asked', '{byokeep_web,byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.due', '{byokeep_web,byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.quarantined', '{byokeep_web,byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('session.login', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('session.logout', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('token.issued', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('token.revoked', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('operator.created', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('operator.changed', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('machine.created', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('machine.changed', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('client.created', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.registered', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.listed', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.metadata_read', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('leaks.fingerprints_read', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('platform_app.set', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('connection.started', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('connection.answered', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.name_confirmed', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('webhook_secret.stored', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('webhook_secret.retired', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('refresher.declared_gone', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.created', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.work_asked', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.confirmed', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('vault_incident.opened', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('vault_incident.closed', '{byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('client.enrolled', '{byokeep_web,byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('client.suspended', '{byokeep_web,byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('client.resumed', '{byokeep_web,byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('evidence.read', '{byokeep_web,byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.write', '{byokeep_web,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.stored', '{byokeep_web,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.state_changed', '{byokeep_web,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.destroyed', '{byokeep_web,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('client_key_onboarding_failed', '{byokeep_web,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.shared_value_found', '{byokeep_web,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('platform_connect_failed', '{byokeep_web,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.lanes_set', '{byokeep_web,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('kek.state_changed', '{byokeep_web,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.retired', '{byokeep_web,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.work_ended', '{byokeep_web,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('vault_incident.stepped', '{byokeep_web,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('vault_incident.session_ended', '{byokeep_web,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('platform.closed', '{byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('platform.reenabling_stepped', '{byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.transferred', '{byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.reauth_needed', '{byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.opened', '{byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.opening_ended', '{byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.seal', '{byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.sealed', '{byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.validated', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.restored', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.shredded', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('browser_profile_created', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('browser_profile_creation_failed', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('kek.made', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('kek.rotated', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('kek.rewrapped', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('kek.rotation_done', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('kek.checked', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.verified', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.leak_checked', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('client_key_onboarded', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.orphan_found', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.orphan_destroyed', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('platform_connected', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('tokens.stored', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.verified', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.quarantined', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.name_changed', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('tokens.refresh_started', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('tokens.refreshed', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('tokens.refresh_failed', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('tokens.chain_broken', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('grant.revoked', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.identified', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('lease.issued', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('permit.issued', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('permit.closed', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('permit.unknown', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('job.closed', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('job.expired', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('job.sealing', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('switch.closed', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('switch.store_cut_off', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('switch.open_requested', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('switch.opened', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('effect.scheduled', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('effect.held', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('effect.missed', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('effect.requeued', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('effect.cancelled', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('audit.hashed', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('checkpoint.signed', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('evidence.signed', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('audit.read', '{byokeep_web,byokeep_broker,byokeep_auditor}');
INSERT INTO byokeep.audit_vocabulary VALUES ('audit.exported', '{byokeep_web,byokeep_broker,byokeep_auditor}');
INSERT INTO byokeep.audit_vocabulary VALUES ('audit.verified', '{byokeep_web,byokeep_broker,byokeep_worker,byokeep_auditor}');
INSERT INTO byokeep.audit_vocabulary VALUES ('audit.reconciled', '{byokeep_web,byokeep_broker,byokeep_worker,byokeep_auditor}');


--
-- Data for Name: client; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.client VALUES ('97e396f5-63cd-4cbe-9347-ad11988b7b63', 'Client 97e396f5', 'enrolling', 'standard', NULL, '2026-11-27 14:02:53.427124+00', '00000000-0000-4000-8000-000000000001');


--
-- Data for Name: connection; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.connection VALUES ('e2ac9474-35ac-4f3a-8140-4f348f643415', '97e396f5-63cd-4cbe-9347-ad11988b7b63', 'f56439ff-9a4b-4553-bfdb-92cacd6182e0', '909e63b6-2d02-4633-809a-191d3f7b4b80', '7fdd4327-f5a4-41f4-849c-088e30a43741', 'tiktok', '{}', '\x7ca2daf2f02a00902c757f487c0e974bca726a9658490636e9b0af1dbbc3b66a', '\x5e1cf42878df58fea7bfa45b715b7832d889092ad23e802e63912b1bfd205630', 'http://127.0.0.1:8431/callback', NULL, NULL, 'started', '', '00000000-0000-4000-8000-000000000001', '2026-11-27 14:02:53.434474+00', '2026-11-27 14:12:53.434474+00', NULL, NULL, '3bea29ba-5a61-46be-8bcf-03ace594cd35', '', '', '{}');


--
-- Data for Name: credential_ref; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.credential_ref VALUES ('8689fd99-a516-4bbb-ba67-70a60f1f09e0', '97e396f5-63cd-4cbe-9347-ad11988b7b63', 'openai', 'provider_api_key', 'default', 'development', 'vault://kv/clients/97e396f5-63cd-4cbe-9347-ad11988b7b63/providers/openai', 1, 'active', 'verified', 'standard', '2026-11-27 14:02:53.428448+00', '00000000-0000-4000-8000-000000000001', '2027-02-25 14:02:53.428448+00', NULL, NULL, NULL, NULL);


--
-- Data for Name: installation; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.installation VALUES ('00000000-0000-4000-8000-000000000003', 'development', '2026-11-27 14:02:53.424704+00', true);


--
-- Data for Name: job; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.job VALUES ('909e63b6-2d02-4633-809a-191d3f7b4b80', '97e396f5-63cd-4cbe-9347-ad11988b7b63', '00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000002', 'use', '{openai}', '{}', '{}', '{}', 'open', '', '2026-11-27 14:02:53.430541+00', '2026-11-27 15:02:53.430541+00', NULL, NULL);


--
-- Data for Name: kek_rotation; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.kek_rotation VALUES ('e07dcd06-35b7-4b81-bb8e-8fd044cf0fe2', '97e396f5-63cd-4cbe-9347-ad11988b7b63', 'transit', '97e396f5-63cd-4cbe-9347-ad11988b7b63', 1, 2, 'rewrapping', '', 0, '00000000-0000-4000-8000-000000000001', '2026-11-27 14:02:53.441784+00', NULL);


--
-- Data for Name: kek_version; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.kek_version VALUES ('transit', '97e396f5-63cd-4cbe-9347-ad11988b7b63', 1, '97e396f5-63cd-4cbe-9347-ad11988b7b63', 'development', 'aes256-gcm96', 256, 'active', 'security', '2026-11-27 14:02:53.440364+00', '2027-11-27 14:02:53.440364+00', '2028-11-26 14:02:53.440364+00', NULL, '2026-11-27 14:02:53.440364+00', '00000000-0000-4000-8000-000000000001', '');


--
-- Data for Name: key_transition; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.key_transition VALUES ('09ea7e7d-f263-432d-92a2-d51749e235fd', '97e396f5-63cd-4cbe-9347-ad11988b7b63', '8689fd99-a516-4bbb-ba67-70a60f1f09e0', 'pre_activation', 'active', 'verified', '2026-11-27 14:02:53.432522+00', '00000000-0000-4000-8000-000000000001');


--
-- Data for Name: leak_fingerprint; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.leak_fingerprint VALUES ('97e396f5-63cd-4cbe-9347-ad11988b7b63', '8689fd99-a516-4bbb-ba67-70a60f1f09e0', 1, 1, '{0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b,0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c}', '2026-11-27 14:02:53.433224+00');


--
-- Data for Name: lease; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.lease VALUES ('94012ab7-d459-46e8-bac0-de984a8d183a', '97e396f5-63cd-4cbe-9347-ad11988b7b63', '909e63b6-2d02-4633-809a-191d3f7b4b80', '00000000-0000-4000-8000-000000000002', 'use', '{openai}', 1, 4, '2026-11-27 14:02:53.431073+00', '2026-11-27 14:02:53.431073+00');


--
-- Data for Name: permit; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.permit VALUES ('001b9598-f136-489f-95fb-4ffd5f87fd67', '97e396f5-63cd-4cbe-9347-ad11988b7b63', '909e63b6-2d02-4633-809a-191d3f7b4b80', '94012ab7-d459-46e8-bac0-de984a8d183a', 'tiktok', 'acct1', 'api', 'publish', 'key-97e396f5', 'issued', '2026-11-27 14:02:53.431708+00', '2026-11-27 14:02:53.431708+00', NULL, NULL, NULL);


--
-- Data for Name: platform_account; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.platform_account VALUES ('f56439ff-9a4b-4553-bfdb-92cacd6182e0', '97e396f5-63cd-4cbe-9347-ad11988b7b63', 'tiktok', 'acct1', 'acct', 'Acct', '{}', NULL, 'unchecked', '2026-11-27 14:02:53.430063+00', '00000000-0000-4000-8000-000000000001');


--
-- Data for Name: platform_app; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.platform_app VALUES ('tiktok', 'tiktok', 'development', 'app', 'http://127.0.0.1:8431/callback', 1, '2026-11-27 14:02:53.44476+00', '00000000-0000-4000-8000-000000000001');


--
-- Data for Name: profile; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.profile VALUES ('9ac46c2c-cac8-4744-8147-f9cdc2deae3f', '97e396f5-63cd-4cbe-9347-ad11988b7b63', 'portable', 'sealed', '', 1, 0, '2026-11-27 14:02:53.43733+00', '00000000-0000-4000-8000-000000000001', '2026-11-27 14:02:53.43733+00', '00000000-0000-4000-8000-000000000001', 0, NULL, NULL, '', NULL);


--
-- Data for Name: profile_account; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.profile_account VALUES ('97e396f5-63cd-4cbe-9347-ad11988b7b63', '9ac46c2c-cac8-4744-8147-f9cdc2deae3f', 'f56439ff-9a4b-4553-bfdb-92cacd6182e0', 'tiktok', NULL);


--
-- Data for Name: profile_generation; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.profile_generation VALUES ('97e396f5-63cd-4cbe-9347-ad11988b7b63', '9ac46c2c-cac8-4744-8147-f9cdc2deae3f', 1, '51e37942-25b3-49e8-80e7-cb274d74c89b', 'transit', '97e396f5-63cd-4cbe-9347-ad11988b7b63', 1, '9ac46c2c-cac8-4744-8147-f9cdc2deae3f-1', '\xfa2c8cc4f28176bbeed4b736df569a34c79cd3723e9ec42f9674b4d46ac6b8b8', 9, 9, '\x05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f', 1, '156', 'active', '2026-11-27 14:02:53.438439+00', '00000000-0000-4000-8000-000000000002', '909e63b6-2d02-4633-809a-191d3f7b4b80', '', NULL);


--
-- Data for Name: profile_incident; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.profile_incident VALUES ('506e892a-4619-44ac-8de6-674db7051a63', '97e396f5-63cd-4cbe-9347-ad11988b7b63', 'suspected_leak', 'opened', '2026-11-27 14:02:53.44261+00', '00000000-0000-4000-8000-000000000001', '2026-11-27 14:02:53.44261+00', NULL, NULL);


--
-- Data for Name: profile_incident_item; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.profile_incident_item VALUES ('506e892a-4619-44ac-8de6-674db7051a63', '97e396f5-63cd-4cbe-9347-ad11988b7b63', '9ac46c2c-cac8-4744-8147-f9cdc2deae3f', 'tiktok', 'pending', NULL, NULL, NULL, NULL, NULL, NULL);


--
-- Data for Name: profile_opening; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.profile_opening VALUES ('97e396f5-63cd-4cbe-9347-ad11988b7b63', '9ac46c2c-cac8-4744-8147-f9cdc2deae3f', 1, 1, 'use', '909e63b6-2d02-4633-809a-191d3f7b4b80', '00000000-0000-4000-8000-000000000002', '2026-11-27 14:02:53.439349+00', '2026-11-27 14:03:53.439349+00');


--
-- Data for Name: profile_work; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.profile_work VALUES ('47fe4f4f-d555-4b87-8836-1244ae3a7fab', '97e396f5-63cd-4cbe-9347-ad11988b7b63', '9ac46c2c-cac8-4744-8147-f9cdc2deae3f', NULL, NULL, NULL, 'validate', 'asked', '', '', NULL, NULL, '00000000-0000-4000-8000-000000000001', '2026-11-27 14:02:53.439815+00', NULL, NULL, NULL);


--
-- Data for Name: reenabling; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.reenabling VALUES ('97e396f5-63cd-4cbe-9347-ad11988b7b63', 'x', 'revoked', 'closed', '{1,5,20}', 0, 0, 0, 1, 0, '2026-11-27 14:02:53.436275+00', '2026-11-27 14:02:53.436275+00');


--
-- Data for Name: refresh_journal; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.refresh_journal VALUES ('e774e00a-b741-46bb-8edd-24eca8ac83c9', '97e396f5-63cd-4cbe-9347-ad11988b7b63', 'f56439ff-9a4b-4553-bfdb-92cacd6182e0', 1, 'started', 0, NULL, '6afebf63-670a-4179-9f53-91de3a13b865', 0, '909e63b6-2d02-4633-809a-191d3f7b4b80', '', '2026-11-27 14:02:53.435581+00', NULL);


--
-- Data for Name: scheduled_effect; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.scheduled_effect VALUES ('ca016e2a-7f3f-4e4d-8cac-8a916b8fb33e', '97e396f5-63cd-4cbe-9347-ad11988b7b63', 'tiktok', 'acct1', 'api', 'publish', 'later-97e396f5', '2026-11-27 14:02:53.436746+00', 'scheduled', '', '2026-11-27 14:02:53.436746+00', '00000000-0000-4000-8000-000000000001', '2026-11-27 14:02:53.436746+00');


--
-- Data for Name: schema_objects; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.schema_objects VALUES ('8544c4eb4bc9853cdfd675074f7b29d4b8224e88cd6618c19785cdfd51444591');


--
-- Data for Name: sop_run; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.sop_run VALUES ('080e28d3-8731-4073-9983-30513bfec508', '97e396f5-63cd-4cbe-9347-ad11988b7b63', 'onboard_key', 'openai', NULL, NULL, 'running', '', '2026-11-27 14:02:53.429707+00', NULL, '00000000-0000-4000-8000-000000000001', NULL, NULL, NULL, NULL, '');


--
-- Data for Name: subject; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.subject VALUES ('00000000-0000-4000-8000-000000000001', 'operator', 'Ada', '{operator}', 'active', NULL, false, '2026-11-27 14:02:53.425781+00', NULL);
INSERT INTO byokeep.subject VALUES ('00000000-0000-4000-8000-000000000002', 'machine', 'Runner 1', '{runner}', 'active', NULL, false, '2026-11-27 14:02:53.425781+00', NULL);


--
-- Data for Name: subject_client; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.subject_client VALUES ('00000000-0000-4000-8000-000000000001', '97e396f5-63cd-4cbe-9347-ad11988b7b63');


--
-- Data for Name: switch; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.switch VALUES ('global', NULL, false, 1, 'opened_at_start', '00000000-0000-4000-8000-000000000001', '2026-11-27 14:02:53.444145+00', '00000000-0000-4000-8000-000000000003', false);


--
-- Data for Name: value_fingerprint; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.value_fingerprint VALUES ('8689fd99-a516-4bbb-ba67-70a60f1f09e0', 1, '0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a');


--
-- Data for Name: vault_key_transition; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.vault_key_transition VALUES ('c435ad61-9f08-40de-b7fb-667726aca9e3', '97e396f5-63cd-4cbe-9347-ad11988b7b63', 'kek', '97e396f5-63cd-4cbe-9347-ad11988b7b63', 1, 'pre_activation', 'active', 'made', '2026-11-27 14:02:53.442229+00', '00000000-0000-4000-8000-000000000001');


--
-- Data for Name: procrastinate_events; Type: TABLE DATA; Schema: procrastinate; Owner: byokeep_owner
--



--
-- Data for Name: procrastinate_jobs; Type: TABLE DATA; Schema: procrastinate; Owner: byokeep_owner
--



--
-- Data for Name: procrastinate_periodic_defers; Type: TABLE DATA; Schema: procrastinate; Owner: byokeep_owner
--



--
-- Data for Name: procrastinate_workers; Type: TABLE DATA; Schema: procrastinate; Owner: byokeep_owner
--



--
-- Name: procrastinate_events_id_seq; Type: SEQUENCE SET; Schema: procrastinate; Owner: byokeep_owner
--

SELECT pg_catalog.setval('procrastinate.procrastinate_events_id_seq', 1, false);


--
-- Name: procrastinate_jobs_id_seq; Type: SEQUENCE SET; Schema: procrastinate; Owner: byokeep_owner
--

SELECT pg_catalog.setval('procrastinate.procrastinate_jobs_id_seq', 1, false);


--
-- Name: procrastinate_periodic_defers_id_seq; Type: SEQUENCE SET; Schema: procrastinate; Owner: byokeep_owner
--

SELECT pg_catalog.setval('procrastinate.procrastinate_periodic_defers_id_seq', 1, false);


--
-- Name: procrastinate_workers_id_seq; Type: SEQUENCE SET; Schema: procrastinate; Owner: byokeep_owner
--

SELECT pg_catalog.setval('procrastinate.procrastinate_workers_id_seq', 1, false);


--
-- Name: account_grant account_grant_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.account_grant
    ADD CONSTRAINT account_grant_pk PRIMARY KEY (client_id, account_id);


--
-- Name: alembic_version alembic_version_pkc; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);


--
-- Name: alert alert_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.alert
    ADD CONSTRAINT alert_pk PRIMARY KEY (id);


--
-- Name: api_token api_token_keyed_hash_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.api_token
    ADD CONSTRAINT api_token_keyed_hash_uq UNIQUE (keyed_hash);


--
-- Name: api_token api_token_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.api_token
    ADD CONSTRAINT api_token_pk PRIMARY KEY (id);


--
-- Name: approval approval_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.approval
    ADD CONSTRAINT approval_pk PRIMARY KEY (id);


--
-- Name: audit_epoch audit_epoch_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.audit_epoch
    ADD CONSTRAINT audit_epoch_pk PRIMARY KEY (number);


--
-- Name: audit_head audit_head_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.audit_head
    ADD CONSTRAINT audit_head_pk PRIMARY KEY (chain);


--
-- Name: audit_record audit_record_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.audit_record
    ADD CONSTRAINT audit_record_pk PRIMARY KEY (chain, seq);


--
-- Name: audit_vocabulary audit_vocabulary_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.audit_vocabulary
    ADD CONSTRAINT audit_vocabulary_pk PRIMARY KEY (event);


--
-- Name: client client_name_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.client
    ADD CONSTRAINT client_name_uq UNIQUE (name);


--
-- Name: client client_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.client
    ADD CONSTRAINT client_pk PRIMARY KEY (id);


--
-- Name: connection connection_id_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.connection
    ADD CONSTRAINT connection_id_uq UNIQUE (id);


--
-- Name: connection connection_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.connection
    ADD CONSTRAINT connection_pk PRIMARY KEY (client_id, id);


--
-- Name: connection connection_state_hash_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.connection
    ADD CONSTRAINT connection_state_hash_uq UNIQUE (state_hash);


--
-- Name: credential_ref credential_ref_id_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.credential_ref
    ADD CONSTRAINT credential_ref_id_uq UNIQUE (id);


--
-- Name: credential_ref credential_ref_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.credential_ref
    ADD CONSTRAINT credential_ref_pk PRIMARY KEY (client_id, id);


--
-- Name: installation installation_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.installation
    ADD CONSTRAINT installation_pk PRIMARY KEY (id);


--
-- Name: installation installation_singleton_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.installation
    ADD CONSTRAINT installation_singleton_uq UNIQUE (singleton);


--
-- Name: job job_id_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.job
    ADD CONSTRAINT job_id_uq UNIQUE (id);


--
-- Name: job job_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.job
    ADD CONSTRAINT job_pk PRIMARY KEY (client_id, id);


--
-- Name: kek_rotation kek_rotation_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.kek_rotation
    ADD CONSTRAINT kek_rotation_pk PRIMARY KEY (id);


--
-- Name: kek_version kek_version_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.kek_version
    ADD CONSTRAINT kek_version_pk PRIMARY KEY (holder, kek_id, version);


--
-- Name: key_transition key_transition_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.key_transition
    ADD CONSTRAINT key_transition_pk PRIMARY KEY (id);


--
-- Name: leak_fingerprint leak_fingerprint_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.leak_fingerprint
    ADD CONSTRAINT leak_fingerprint_pk PRIMARY KEY (client_id, ref_id, version);


--
-- Name: lease lease_id_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.lease
    ADD CONSTRAINT lease_id_uq UNIQUE (id);


--
-- Name: lease lease_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.lease
    ADD CONSTRAINT lease_pk PRIMARY KEY (client_id, id);


--
-- Name: permit permit_id_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.permit
    ADD CONSTRAINT permit_id_uq UNIQUE (id);


--
-- Name: permit permit_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.permit
    ADD CONSTRAINT permit_pk PRIMARY KEY (client_id, id);


--
-- Name: platform_account platform_account_client_id_platform_account_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.platform_account
    ADD CONSTRAINT platform_account_client_id_platform_account_uq UNIQUE (client_id, platform, account);


--
-- Name: platform_account platform_account_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.platform_account
    ADD CONSTRAINT platform_account_pk PRIMARY KEY (client_id, id);


--
-- Name: platform_app platform_app_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.platform_app
    ADD CONSTRAINT platform_app_pk PRIMARY KEY (login);


--
-- Name: profile_account profile_account_client_id_profile_id_platform_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_account
    ADD CONSTRAINT profile_account_client_id_profile_id_platform_uq UNIQUE (client_id, profile_id, platform);


--
-- Name: profile_account profile_account_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_account
    ADD CONSTRAINT profile_account_pk PRIMARY KEY (client_id, profile_id, account_id);


--
-- Name: profile_generation profile_generation_blob_key_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_generation
    ADD CONSTRAINT profile_generation_blob_key_uq UNIQUE (blob_key);


--
-- Name: profile_generation profile_generation_dek_id_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_generation
    ADD CONSTRAINT profile_generation_dek_id_uq UNIQUE (dek_id);


--
-- Name: profile_generation profile_generation_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_generation
    ADD CONSTRAINT profile_generation_pk PRIMARY KEY (client_id, profile_id, generation);


--
-- Name: profile profile_id_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile
    ADD CONSTRAINT profile_id_uq UNIQUE (id);


--
-- Name: profile_incident_item profile_incident_item_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_incident_item
    ADD CONSTRAINT profile_incident_item_pk PRIMARY KEY (incident_id, client_id, profile_id, platform);


--
-- Name: profile_incident profile_incident_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_incident
    ADD CONSTRAINT profile_incident_pk PRIMARY KEY (id);


--
-- Name: profile_opening profile_opening_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_opening
    ADD CONSTRAINT profile_opening_pk PRIMARY KEY (client_id, profile_id);


--
-- Name: profile profile_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile
    ADD CONSTRAINT profile_pk PRIMARY KEY (client_id, id);


--
-- Name: profile_work profile_work_id_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_work
    ADD CONSTRAINT profile_work_id_uq UNIQUE (id);


--
-- Name: profile_work profile_work_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_work
    ADD CONSTRAINT profile_work_pk PRIMARY KEY (client_id, id);


--
-- Name: reenabling reenabling_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.reenabling
    ADD CONSTRAINT reenabling_pk PRIMARY KEY (client_id, platform);


--
-- Name: refresh_journal refresh_journal_id_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.refresh_journal
    ADD CONSTRAINT refresh_journal_id_uq UNIQUE (id);


--
-- Name: refresh_journal refresh_journal_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.refresh_journal
    ADD CONSTRAINT refresh_journal_pk PRIMARY KEY (client_id, id);


--
-- Name: scheduled_effect scheduled_effect_client_id_idempotency_key_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.scheduled_effect
    ADD CONSTRAINT scheduled_effect_client_id_idempotency_key_uq UNIQUE (client_id, idempotency_key);


--
-- Name: scheduled_effect scheduled_effect_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.scheduled_effect
    ADD CONSTRAINT scheduled_effect_pk PRIMARY KEY (client_id, id);


--
-- Name: schema_objects schema_objects_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.schema_objects
    ADD CONSTRAINT schema_objects_pk PRIMARY KEY (digest);


--
-- Name: sop_run sop_run_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.sop_run
    ADD CONSTRAINT sop_run_pk PRIMARY KEY (id);


--
-- Name: subject_client subject_client_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.subject_client
    ADD CONSTRAINT subject_client_pk PRIMARY KEY (subject_id, client_id);


--
-- Name: subject subject_name_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.subject
    ADD CONSTRAINT subject_name_uq UNIQUE (name);


--
-- Name: subject subject_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.subject
    ADD CONSTRAINT subject_pk PRIMARY KEY (id);


--
-- Name: switch switch_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.switch
    ADD CONSTRAINT switch_pk PRIMARY KEY (scope);


--
-- Name: value_fingerprint value_fingerprint_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.value_fingerprint
    ADD CONSTRAINT value_fingerprint_pk PRIMARY KEY (ref_id, version);


--
-- Name: vault_key_transition vault_key_transition_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.vault_key_transition
    ADD CONSTRAINT vault_key_transition_pk PRIMARY KEY (id);


--
-- Name: procrastinate_events procrastinate_events_pkey; Type: CONSTRAINT; Schema: procrastinate; Owner: byokeep_owner
--

ALTER TABLE ONLY procrastinate.procrastinate_events
    ADD CONSTRAINT procrastinate_events_pkey PRIMARY KEY (id);


--
-- Name: procrastinate_jobs procrastinate_jobs_pkey; Type: CONSTRAINT; Schema: procrastinate; Owner: byokeep_owner
--

ALTER TABLE ONLY procrastinate.procrastinate_jobs
    ADD CONSTRAINT procrastinate_jobs_pkey PRIMARY KEY (id);


--
-- Name: procrastinate_periodic_defers procrastinate_periodic_defers_pkey; Type: CONSTRAINT; Schema: procrastinate; Owner: byokeep_owner
--

ALTER TABLE ONLY procrastinate.procrastinate_periodic_defers
    ADD CONSTRAINT procrastinate_periodic_defers_pkey PRIMARY KEY (id);


--
-- Name: procrastinate_periodic_defers procrastinate_periodic_defers_unique; Type: CONSTRAINT; Schema: procrastinate; Owner: byokeep_owner
--

ALTER TABLE ONLY procrastinate.procrastinate_periodic_defers
    ADD CONSTRAINT procrastinate_periodic_defers_unique UNIQUE (task_name, periodic_id, defer_timestamp);


--
-- Name: procrastinate_workers procrastinate_workers_pkey; Type: CONSTRAINT; Schema: procrastinate; Owner: byokeep_owner
--

ALTER TABLE ONLY procrastinate.procrastinate_workers
    ADD CONSTRAINT procrastinate_workers_pkey PRIMARY KEY (id);


--
-- Name: account_grant_due_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX account_grant_due_ix ON byokeep.account_grant USING btree (due_at) WHERE (state = 'live'::text);


--
-- Name: account_grant_one_client_uq; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE UNIQUE INDEX account_grant_one_client_uq ON byokeep.account_grant USING btree (login, external_id) WHERE (state <> 'revoked'::text);


--
-- Name: alert_open_uq; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE UNIQUE INDEX alert_open_uq ON byokeep.alert USING btree (dedup_key) WHERE (closed_at IS NULL);


--
-- Name: audit_record_at_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX audit_record_at_ix ON byokeep.audit_record USING btree (at);


--
-- Name: audit_record_object_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX audit_record_object_ix ON byokeep.audit_record USING btree (chain, object_id);


--
-- Name: audit_record_store_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX audit_record_store_ix ON byokeep.audit_record USING btree (at) WHERE (event = ANY (ARRAY['key.write'::text, 'key.stored'::text, 'tokens.stored'::text, 'webhook_secret.stored'::text, 'connection.started'::text, 'connection.answered'::text, 'platform_app.set'::text, 'profile.sealed'::text, 'kek.rewrapped'::text, 'installation.created'::text, 'service.started'::text, 'config.changed'::text]));


--
-- Name: audit_record_switch_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX audit_record_switch_ix ON byokeep.audit_record USING btree (chain, seq) WHERE (event = ANY (ARRAY['switch.closed'::text, 'switch.opened'::text]));


--
-- Name: connection_answered_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX connection_answered_ix ON byokeep.connection USING btree (answered_at) WHERE (state = ANY (ARRAY['answered'::text, 'taken'::text]));


--
-- Name: credential_ref_account_live_uq; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE UNIQUE INDEX credential_ref_account_live_uq ON byokeep.credential_ref USING btree (client_id, account_id) WHERE ((state = ANY (ARRAY['pre_activation'::text, 'active'::text, 'suspended'::text])) AND (account_id IS NOT NULL));


--
-- Name: credential_ref_one_live_uq; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE UNIQUE INDEX credential_ref_one_live_uq ON byokeep.credential_ref USING btree (client_id, provider, purpose) WHERE ((state = ANY (ARRAY['pre_activation'::text, 'active'::text, 'suspended'::text])) AND (account_id IS NULL));


--
-- Name: kek_rotation_open_uq; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE UNIQUE INDEX kek_rotation_open_uq ON byokeep.kek_rotation USING btree (holder, kek_id) WHERE (ended_at IS NULL);


--
-- Name: lease_client_issued_at_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX lease_client_issued_at_ix ON byokeep.lease USING btree (client_id, issued_at);


--
-- Name: lease_issued_at_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX lease_issued_at_ix ON byokeep.lease USING btree (issued_at);


--
-- Name: permit_idempotency_uq; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE UNIQUE INDEX permit_idempotency_uq ON byokeep.permit USING btree (client_id, idempotency_key) WHERE (state <> 'failed'::text);


--
-- Name: profile_account_live_uq; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE UNIQUE INDEX profile_account_live_uq ON byokeep.profile_account USING btree (client_id, account_id) WHERE (retired_at IS NULL);


--
-- Name: profile_generation_kek_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX profile_generation_kek_ix ON byokeep.profile_generation USING btree (holder, kek_id, kek_version) WHERE (key_state <> 'destroyed'::text);


--
-- Name: profile_work_open_uq; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE UNIQUE INDEX profile_work_open_uq ON byokeep.profile_work USING btree (client_id, profile_id) WHERE (ended_at IS NULL);


--
-- Name: refresh_journal_open_uq; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE UNIQUE INDEX refresh_journal_open_uq ON byokeep.refresh_journal USING btree (client_id, account_id) WHERE (ended_at IS NULL);


--
-- Name: scheduled_effect_due_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX scheduled_effect_due_ix ON byokeep.scheduled_effect USING btree (due_at) WHERE (state = ANY (ARRAY['scheduled'::text, 'held'::text]));


--
-- Name: value_fingerprint_fingerprint_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX value_fingerprint_fingerprint_ix ON byokeep.value_fingerprint USING btree (fingerprint);


--
-- Name: vault_key_transition_key_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX vault_key_transition_key_ix ON byokeep.vault_key_transition USING btree (kind, key_id, version);


--
-- Name: idx_procrastinate_jobs_worker_not_null; Type: INDEX; Schema: procrastinate; Owner: byokeep_owner
--

CREATE INDEX idx_procrastinate_jobs_worker_not_null ON procrastinate.procrastinate_jobs USING btree (worker_id) WHERE ((worker_id IS NOT NULL) AND (status = 'doing'::procrastinate.procrastinate_job_status));


--
-- Name: idx_procrastinate_workers_last_heartbeat; Type: INDEX; Schema: procrastinate; Owner: byokeep_owner
--

CREATE INDEX idx_procrastinate_workers_last_heartbeat ON procrastinate.procrastinate_workers USING btree (last_heartbeat);


--
-- Name: procrastinate_events_job_id_fkey_v1; Type: INDEX; Schema: procrastinate; Owner: byokeep_owner
--

CREATE INDEX procrastinate_events_job_id_fkey_v1 ON procrastinate.procrastinate_events USING btree (job_id);


--
-- Name: procrastinate_jobs_id_lock_idx_v1; Type: INDEX; Schema: procrastinate; Owner: byokeep_owner
--

CREATE INDEX procrastinate_jobs_id_lock_idx_v1 ON procrastinate.procrastinate_jobs USING btree (id, lock) WHERE (status = ANY (ARRAY['todo'::procrastinate.procrastinate_job_status, 'doing'::procrastinate.procrastinate_job_status]));


--
-- Name: procrastinate_jobs_lock_idx_v1; Type: INDEX; Schema: procrastinate; Owner: byokeep_owner
--

CREATE UNIQUE INDEX procrastinate_jobs_lock_idx_v1 ON procrastinate.procrastinate_jobs USING btree (lock) WHERE (status = 'doing'::procrastinate.procrastinate_job_status);


--
-- Name: procrastinate_jobs_priority_idx_v1; Type: INDEX; Schema: procrastinate; Owner: byokeep_owner
--

CREATE INDEX procrastinate_jobs_priority_idx_v1 ON procrastinate.procrastinate_jobs USING btree (priority DESC, id) WHERE (status = 'todo'::procrastinate.procrastinate_job_status);


--
-- Name: procrastinate_jobs_queue_name_idx_v1; Type: INDEX; Schema: procrastinate; Owner: byokeep_owner
--

CREATE INDEX procrastinate_jobs_queue_name_idx_v1 ON procrastinate.procrastinate_jobs USING btree (queue_name);


--
-- Name: procrastinate_jobs_queueing_lock_idx_v1; Type: INDEX; Schema: procrastinate; Owner: byokeep_owner
--

CREATE UNIQUE INDEX procrastinate_jobs_queueing_lock_idx_v1 ON procrastinate.procrastinate_jobs USING btree (queueing_lock) WHERE (status = 'todo'::procrastinate.procrastinate_job_status);


--
-- Name: procrastinate_periodic_defers_job_id_fkey_v1; Type: INDEX; Schema: procrastinate; Owner: byokeep_owner
--

CREATE INDEX procrastinate_periodic_defers_job_id_fkey_v1 ON procrastinate.procrastinate_periodic_defers USING btree (job_id);


--
-- Name: api_token api_token_only_ends; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE TRIGGER api_token_only_ends BEFORE UPDATE ON byokeep.api_token FOR EACH ROW EXECUTE FUNCTION byokeep.api_token_only_ends();

ALTER TABLE byokeep.api_token ENABLE ALWAYS TRIGGER api_token_only_ends;


--
-- Name: audit_epoch audit_epoch_append_only; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE TRIGGER audit_epoch_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON byokeep.audit_epoch FOR EACH STATEMENT EXECUTE FUNCTION byokeep.audit_refuse_change();

ALTER TABLE byokeep.audit_epoch ENABLE ALWAYS TRIGGER audit_epoch_append_only;


--
-- Name: audit_head audit_head_no_truncate; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE TRIGGER audit_head_no_truncate BEFORE TRUNCATE ON byokeep.audit_head FOR EACH STATEMENT EXECUTE FUNCTION byokeep.audit_refuse_change();

ALTER TABLE byokeep.audit_head ENABLE ALWAYS TRIGGER audit_head_no_truncate;


--
-- Name: audit_head audit_head_step; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE TRIGGER audit_head_step BEFORE DELETE OR UPDATE ON byokeep.audit_head FOR EACH ROW EXECUTE FUNCTION byokeep.audit_head_step();

ALTER TABLE byokeep.audit_head ENABLE ALWAYS TRIGGER audit_head_step;


--
-- Name: audit_record audit_record_append_only; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE TRIGGER audit_record_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON byokeep.audit_record FOR EACH STATEMENT EXECUTE FUNCTION byokeep.audit_refuse_change();

ALTER TABLE byokeep.audit_record ENABLE ALWAYS TRIGGER audit_record_append_only;


--
-- Name: key_transition key_transition_append_only; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE TRIGGER key_transition_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON byokeep.key_transition FOR EACH STATEMENT EXECUTE FUNCTION byokeep.audit_refuse_change();

ALTER TABLE byokeep.key_transition ENABLE ALWAYS TRIGGER key_transition_append_only;


--
-- Name: procrastinate_jobs procrastinate_jobs_notify_queue_job_aborted_v1; Type: TRIGGER; Schema: procrastinate; Owner: byokeep_owner
--

CREATE TRIGGER procrastinate_jobs_notify_queue_job_aborted_v1 AFTER UPDATE OF abort_requested ON procrastinate.procrastinate_jobs FOR EACH ROW WHEN (((old.abort_requested = false) AND (new.abort_requested = true) AND (new.status = 'doing'::procrastinate.procrastinate_job_status))) EXECUTE FUNCTION procrastinate.procrastinate_notify_queue_abort_job_v1();


--
-- Name: procrastinate_jobs procrastinate_jobs_notify_queue_job_inserted_v1; Type: TRIGGER; Schema: procrastinate; Owner: byokeep_owner
--

CREATE TRIGGER procrastinate_jobs_notify_queue_job_inserted_v1 AFTER INSERT ON procrastinate.procrastinate_jobs FOR EACH ROW WHEN ((new.status = 'todo'::procrastinate.procrastinate_job_status)) EXECUTE FUNCTION procrastinate.procrastinate_notify_queue_job_inserted_v1();


--
-- Name: procrastinate_jobs procrastinate_trigger_abort_requested_events_v1; Type: TRIGGER; Schema: procrastinate; Owner: byokeep_owner
--

CREATE TRIGGER procrastinate_trigger_abort_requested_events_v1 AFTER UPDATE OF abort_requested ON procrastinate.procrastinate_jobs FOR EACH ROW WHEN ((new.abort_requested = true)) EXECUTE FUNCTION procrastinate.procrastinate_trigger_abort_requested_events_procedure_v1();


--
-- Name: procrastinate_jobs procrastinate_trigger_delete_jobs_v1; Type: TRIGGER; Schema: procrastinate; Owner: byokeep_owner
--

CREATE TRIGGER procrastinate_trigger_delete_jobs_v1 BEFORE DELETE ON procrastinate.procrastinate_jobs FOR EACH ROW EXECUTE FUNCTION procrastinate.procrastinate_unlink_periodic_defers_v1();


--
-- Name: procrastinate_jobs procrastinate_trigger_scheduled_events_v1; Type: TRIGGER; Schema: procrastinate; Owner: byokeep_owner
--

CREATE TRIGGER procrastinate_trigger_scheduled_events_v1 AFTER INSERT OR UPDATE ON procrastinate.procrastinate_jobs FOR EACH ROW WHEN (((new.scheduled_at IS NOT NULL) AND (new.status = 'todo'::procrastinate.procrastinate_job_status))) EXECUTE FUNCTION procrastinate.procrastinate_trigger_function_scheduled_events_v1();


--
-- Name: procrastinate_jobs procrastinate_trigger_status_events_insert_v1; Type: TRIGGER; Schema: procrastinate; Owner: byokeep_owner
--

CREATE TRIGGER procrastinate_trigger_status_events_insert_v1 AFTER INSERT ON procrastinate.procrastinate_jobs FOR EACH ROW WHEN ((new.status = 'todo'::procrastinate.procrastinate_job_status)) EXECUTE FUNCTION procrastinate.procrastinate_trigger_function_status_events_insert_v1();


--
-- Name: procrastinate_jobs procrastinate_trigger_status_events_update_v1; Type: TRIGGER; Schema: procrastinate; Owner: byokeep_owner
--

CREATE TRIGGER procrastinate_trigger_status_events_update_v1 AFTER UPDATE OF status ON procrastinate.procrastinate_jobs FOR EACH ROW EXECUTE FUNCTION procrastinate.procrastinate_trigger_function_status_events_update_v1();


--
-- Name: account_grant account_grant_client_id_account_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.account_grant
    ADD CONSTRAINT account_grant_client_id_account_id_fk FOREIGN KEY (client_id, account_id) REFERENCES byokeep.platform_account(client_id, id);


--
-- Name: api_token api_token_subject_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.api_token
    ADD CONSTRAINT api_token_subject_id_fk FOREIGN KEY (subject_id) REFERENCES byokeep.subject(id);


--
-- Name: connection connection_client_id_account_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.connection
    ADD CONSTRAINT connection_client_id_account_id_fk FOREIGN KEY (client_id, account_id) REFERENCES byokeep.platform_account(client_id, id);


--
-- Name: connection connection_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.connection
    ADD CONSTRAINT connection_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


--
-- Name: connection connection_client_id_job_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.connection
    ADD CONSTRAINT connection_client_id_job_id_fk FOREIGN KEY (client_id, job_id) REFERENCES byokeep.job(client_id, id);


--
-- Name: credential_ref credential_ref_client_id_account_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.credential_ref
    ADD CONSTRAINT credential_ref_client_id_account_id_fk FOREIGN KEY (client_id, account_id) REFERENCES byokeep.platform_account(client_id, id);


--
-- Name: credential_ref credential_ref_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.credential_ref
    ADD CONSTRAINT credential_ref_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


--
-- Name: job job_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.job
    ADD CONSTRAINT job_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


--
-- Name: job job_dispatcher_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.job
    ADD CONSTRAINT job_dispatcher_id_fk FOREIGN KEY (dispatcher_id) REFERENCES byokeep.subject(id);


--
-- Name: job job_runner_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.job
    ADD CONSTRAINT job_runner_id_fk FOREIGN KEY (runner_id) REFERENCES byokeep.subject(id);


--
-- Name: kek_rotation kek_rotation_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.kek_rotation
    ADD CONSTRAINT kek_rotation_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


--
-- Name: kek_version kek_version_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.kek_version
    ADD CONSTRAINT kek_version_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


--
-- Name: key_transition key_transition_client_id_ref_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.key_transition
    ADD CONSTRAINT key_transition_client_id_ref_id_fk FOREIGN KEY (client_id, ref_id) REFERENCES byokeep.credential_ref(client_id, id);


--
-- Name: leak_fingerprint leak_fingerprint_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.leak_fingerprint
    ADD CONSTRAINT leak_fingerprint_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


--
-- Name: lease lease_client_id_job_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.lease
    ADD CONSTRAINT lease_client_id_job_id_fk FOREIGN KEY (client_id, job_id) REFERENCES byokeep.job(client_id, id);


--
-- Name: permit permit_client_id_job_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.permit
    ADD CONSTRAINT permit_client_id_job_id_fk FOREIGN KEY (client_id, job_id) REFERENCES byokeep.job(client_id, id);


--
-- Name: permit permit_client_id_lease_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.permit
    ADD CONSTRAINT permit_client_id_lease_id_fk FOREIGN KEY (client_id, lease_id) REFERENCES byokeep.lease(client_id, id);


--
-- Name: platform_account platform_account_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.platform_account
    ADD CONSTRAINT platform_account_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


--
-- Name: profile_account profile_account_client_id_account_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_account
    ADD CONSTRAINT profile_account_client_id_account_id_fk FOREIGN KEY (client_id, account_id) REFERENCES byokeep.platform_account(client_id, id);


--
-- Name: profile_account profile_account_client_id_profile_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_account
    ADD CONSTRAINT profile_account_client_id_profile_id_fk FOREIGN KEY (client_id, profile_id) REFERENCES byokeep.profile(client_id, id);


--
-- Name: profile profile_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile
    ADD CONSTRAINT profile_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


--
-- Name: profile profile_client_id_replaces_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile
    ADD CONSTRAINT profile_client_id_replaces_fk FOREIGN KEY (client_id, replaces) REFERENCES byokeep.profile(client_id, id);


--
-- Name: profile_generation profile_generation_client_id_job_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_generation
    ADD CONSTRAINT profile_generation_client_id_job_id_fk FOREIGN KEY (client_id, job_id) REFERENCES byokeep.job(client_id, id);


--
-- Name: profile_generation profile_generation_client_id_profile_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_generation
    ADD CONSTRAINT profile_generation_client_id_profile_id_fk FOREIGN KEY (client_id, profile_id) REFERENCES byokeep.profile(client_id, id);


--
-- Name: profile_incident profile_incident_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_incident
    ADD CONSTRAINT profile_incident_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


--
-- Name: profile_incident_item profile_incident_item_client_id_new_profile_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_incident_item
    ADD CONSTRAINT profile_incident_item_client_id_new_profile_id_fk FOREIGN KEY (client_id, new_profile_id) REFERENCES byokeep.profile(client_id, id);


--
-- Name: profile_incident_item profile_incident_item_client_id_profile_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_incident_item
    ADD CONSTRAINT profile_incident_item_client_id_profile_id_fk FOREIGN KEY (client_id, profile_id) REFERENCES byokeep.profile(client_id, id);


--
-- Name: profile_incident_item profile_incident_item_incident_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_incident_item
    ADD CONSTRAINT profile_incident_item_incident_id_fk FOREIGN KEY (incident_id) REFERENCES byokeep.profile_incident(id);


--
-- Name: profile_opening profile_opening_client_id_job_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_opening
    ADD CONSTRAINT profile_opening_client_id_job_id_fk FOREIGN KEY (client_id, job_id) REFERENCES byokeep.job(client_id, id);


--
-- Name: profile_opening profile_opening_client_id_profile_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_opening
    ADD CONSTRAINT profile_opening_client_id_profile_id_fk FOREIGN KEY (client_id, profile_id) REFERENCES byokeep.profile(client_id, id);


--
-- Name: profile_work profile_work_client_id_job_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_work
    ADD CONSTRAINT profile_work_client_id_job_id_fk FOREIGN KEY (client_id, job_id) REFERENCES byokeep.job(client_id, id);


--
-- Name: profile_work profile_work_client_id_profile_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.profile_work
    ADD CONSTRAINT profile_work_client_id_profile_id_fk FOREIGN KEY (client_id, profile_id) REFERENCES byokeep.profile(client_id, id);


--
-- Name: reenabling reenabling_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.reenabling
    ADD CONSTRAINT reenabling_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


--
-- Name: refresh_journal refresh_journal_client_id_account_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.refresh_journal
    ADD CONSTRAINT refresh_journal_client_id_account_id_fk FOREIGN KEY (client_id, account_id) REFERENCES byokeep.account_grant(client_id, account_id);


--
-- Name: refresh_journal refresh_journal_client_id_job_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.refresh_journal
    ADD CONSTRAINT refresh_journal_client_id_job_id_fk FOREIGN KEY (client_id, job_id) REFERENCES byokeep.job(client_id, id);


--
-- Name: scheduled_effect scheduled_effect_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.scheduled_effect
    ADD CONSTRAINT scheduled_effect_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


--
-- Name: sop_run sop_run_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.sop_run
    ADD CONSTRAINT sop_run_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


--
-- Name: subject_client subject_client_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.subject_client
    ADD CONSTRAINT subject_client_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


--
-- Name: subject_client subject_client_subject_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.subject_client
    ADD CONSTRAINT subject_client_subject_id_fk FOREIGN KEY (subject_id) REFERENCES byokeep.subject(id);


--
-- Name: switch switch_installation_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.switch
    ADD CONSTRAINT switch_installation_id_fk FOREIGN KEY (installation_id) REFERENCES byokeep.installation(id);


--
-- Name: vault_key_transition vault_key_transition_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.vault_key_transition
    ADD CONSTRAINT vault_key_transition_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


--
-- Name: procrastinate_events procrastinate_events_job_id_fkey; Type: FK CONSTRAINT; Schema: procrastinate; Owner: byokeep_owner
--

ALTER TABLE ONLY procrastinate.procrastinate_events
    ADD CONSTRAINT procrastinate_events_job_id_fkey FOREIGN KEY (job_id) REFERENCES procrastinate.procrastinate_jobs(id) ON DELETE CASCADE;


--
-- Name: procrastinate_jobs procrastinate_jobs_worker_id_fkey; Type: FK CONSTRAINT; Schema: procrastinate; Owner: byokeep_owner
--

ALTER TABLE ONLY procrastinate.procrastinate_jobs
    ADD CONSTRAINT procrastinate_jobs_worker_id_fkey FOREIGN KEY (worker_id) REFERENCES procrastinate.procrastinate_workers(id) ON DELETE SET NULL;


--
-- Name: procrastinate_periodic_defers procrastinate_periodic_defers_job_id_fkey; Type: FK CONSTRAINT; Schema: procrastinate; Owner: byokeep_owner
--

ALTER TABLE ONLY procrastinate.procrastinate_periodic_defers
    ADD CONSTRAINT procrastinate_periodic_defers_job_id_fkey FOREIGN KEY (job_id) REFERENCES procrastinate.procrastinate_jobs(id);


--
-- Name: account_grant; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.account_grant ENABLE ROW LEVEL SECURITY;

--
-- Name: alert; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.alert ENABLE ROW LEVEL SECURITY;

--
-- Name: audit_head; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.audit_head ENABLE ROW LEVEL SECURITY;

--
-- Name: audit_record; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.audit_record ENABLE ROW LEVEL SECURITY;

--
-- Name: client; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.client ENABLE ROW LEVEL SECURITY;

--
-- Name: account_grant client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.account_grant USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: alert client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.alert USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text) OR (client_id IS NULL))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text) OR (client_id IS NULL)));


--
-- Name: audit_head client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.audit_head USING (((chain = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((chain = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: audit_record client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.audit_record USING (((chain = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((chain = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: client client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.client USING (((id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: connection client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.connection USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: credential_ref client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.credential_ref USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: job client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.job USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: kek_rotation client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.kek_rotation USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text) OR (client_id IS NULL))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text) OR (client_id IS NULL)));


--
-- Name: kek_version client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.kek_version USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text) OR (client_id IS NULL))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text) OR (client_id IS NULL)));


--
-- Name: key_transition client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.key_transition USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: leak_fingerprint client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.leak_fingerprint USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: lease client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.lease USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: permit client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.permit USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: platform_account client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.platform_account USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: profile client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.profile USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: profile_account client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.profile_account USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: profile_generation client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.profile_generation USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: profile_incident client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.profile_incident USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text) OR (client_id IS NULL))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text) OR (client_id IS NULL)));


--
-- Name: profile_incident_item client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.profile_incident_item USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: profile_opening client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.profile_opening USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: profile_work client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.profile_work USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: reenabling client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.reenabling USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: refresh_journal client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.refresh_journal USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: scheduled_effect client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.scheduled_effect USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: sop_run client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.sop_run USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: vault_key_transition client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.vault_key_transition USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text) OR (client_id IS NULL))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text) OR (client_id IS NULL)));


--
-- Name: connection; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.connection ENABLE ROW LEVEL SECURITY;

--
-- Name: credential_ref; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.credential_ref ENABLE ROW LEVEL SECURITY;

--
-- Name: job custody_only; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY custody_only ON byokeep.job AS RESTRICTIVE FOR INSERT TO byokeep_web, byokeep_worker WITH CHECK (((kind = 'custody'::text) AND (effects = '{}'::text[])));


--
-- Name: job; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.job ENABLE ROW LEVEL SECURITY;

--
-- Name: kek_rotation; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.kek_rotation ENABLE ROW LEVEL SECURITY;

--
-- Name: kek_version; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.kek_version ENABLE ROW LEVEL SECURITY;

--
-- Name: key_transition; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.key_transition ENABLE ROW LEVEL SECURITY;

--
-- Name: leak_fingerprint; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.leak_fingerprint ENABLE ROW LEVEL SECURITY;

--
-- Name: lease; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.lease ENABLE ROW LEVEL SECURITY;

--
-- Name: permit; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.permit ENABLE ROW LEVEL SECURITY;

--
-- Name: platform_account; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.platform_account ENABLE ROW LEVEL SECURITY;

--
-- Name: profile; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.profile ENABLE ROW LEVEL SECURITY;

--
-- Name: profile_account; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.profile_account ENABLE ROW LEVEL SECURITY;

--
-- Name: profile_generation; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.profile_generation ENABLE ROW LEVEL SECURITY;

--
-- Name: profile_incident; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.profile_incident ENABLE ROW LEVEL SECURITY;

--
-- Name: profile_incident_item; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.profile_incident_item ENABLE ROW LEVEL SECURITY;

--
-- Name: profile_opening; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.profile_opening ENABLE ROW LEVEL SECURITY;

--
-- Name: profile_work; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.profile_work ENABLE ROW LEVEL SECURITY;

--
-- Name: reenabling; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.reenabling ENABLE ROW LEVEL SECURITY;

--
-- Name: refresh_journal; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.refresh_journal ENABLE ROW LEVEL SECURITY;

--
-- Name: scheduled_effect; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.scheduled_effect ENABLE ROW LEVEL SECURITY;

--
-- Name: sop_run; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.sop_run ENABLE ROW LEVEL SECURITY;

--
-- Name: credential_ref tokens_only; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY tokens_only ON byokeep.credential_ref AS RESTRICTIVE FOR INSERT TO byokeep_worker WITH CHECK ((kind = 'oauth_token_set'::text));


--
-- Name: vault_key_transition; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.vault_key_transition ENABLE ROW LEVEL SECURITY;

--
-- Name: SCHEMA byokeep; Type: ACL; Schema: -; Owner: byokeep_owner
--

GRANT USAGE ON SCHEMA byokeep TO byokeep_web;
GRANT USAGE ON SCHEMA byokeep TO byokeep_broker;
GRANT USAGE ON SCHEMA byokeep TO byokeep_worker;
GRANT USAGE ON SCHEMA byokeep TO byokeep_auditor;


--
-- Name: SCHEMA procrastinate; Type: ACL; Schema: -; Owner: byokeep_owner
--

GRANT USAGE ON SCHEMA procrastinate TO byokeep_web;
GRANT USAGE ON SCHEMA procrastinate TO byokeep_broker;
GRANT USAGE ON SCHEMA procrastinate TO byokeep_worker;


--
-- Name: SCHEMA public; Type: ACL; Schema: -; Owner: pg_database_owner
--

REVOKE USAGE ON SCHEMA public FROM PUBLIC;


--
-- Name: FUNCTION api_token_only_ends(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.api_token_only_ends() FROM PUBLIC;


--
-- Name: FUNCTION audit_append(p_chain uuid, p_event text, p_actor uuid, p_object uuid, p_request uuid, p_outcome text, p_payload bytea); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.audit_append(p_chain uuid, p_event text, p_actor uuid, p_object uuid, p_request uuid, p_outcome text, p_payload bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.audit_append(p_chain uuid, p_event text, p_actor uuid, p_object uuid, p_request uuid, p_outcome text, p_payload bytea) TO byokeep_web;
GRANT ALL ON FUNCTION byokeep.audit_append(p_chain uuid, p_event text, p_actor uuid, p_object uuid, p_request uuid, p_outcome text, p_payload bytea) TO byokeep_broker;
GRANT ALL ON FUNCTION byokeep.audit_append(p_chain uuid, p_event text, p_actor uuid, p_object uuid, p_request uuid, p_outcome text, p_payload bytea) TO byokeep_worker;
GRANT ALL ON FUNCTION byokeep.audit_append(p_chain uuid, p_event text, p_actor uuid, p_object uuid, p_request uuid, p_outcome text, p_payload bytea) TO byokeep_auditor;


--
-- Name: FUNCTION audit_head_step(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.audit_head_step() FROM PUBLIC;


--
-- Name: FUNCTION audit_refuse_change(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.audit_refuse_change() FROM PUBLIC;


--
-- Name: FUNCTION profile_usable(p_client uuid, p_profile uuid); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.profile_usable(p_client uuid, p_profile uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.profile_usable(p_client uuid, p_profile uuid) TO byokeep_web;
GRANT ALL ON FUNCTION byokeep.profile_usable(p_client uuid, p_profile uuid) TO byokeep_broker;
GRANT ALL ON FUNCTION byokeep.profile_usable(p_client uuid, p_profile uuid) TO byokeep_worker;


--
-- Name: FUNCTION scope_lock_key(scope text); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.scope_lock_key(scope text) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.scope_lock_key(scope text) TO byokeep_web;
GRANT ALL ON FUNCTION byokeep.scope_lock_key(scope text) TO byokeep_broker;
GRANT ALL ON FUNCTION byokeep.scope_lock_key(scope text) TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_cancel_job_v1(job_id bigint, abort boolean, delete_job boolean); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_cancel_job_v1(job_id bigint, abort boolean, delete_job boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_cancel_job_v1(job_id bigint, abort boolean, delete_job boolean) TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_defer_jobs_v1(jobs procrastinate.procrastinate_job_to_defer_v1[]); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_defer_jobs_v1(jobs procrastinate.procrastinate_job_to_defer_v1[]) FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_defer_jobs_v1(jobs procrastinate.procrastinate_job_to_defer_v1[]) TO byokeep_web;
GRANT ALL ON FUNCTION procrastinate.procrastinate_defer_jobs_v1(jobs procrastinate.procrastinate_job_to_defer_v1[]) TO byokeep_broker;
GRANT ALL ON FUNCTION procrastinate.procrastinate_defer_jobs_v1(jobs procrastinate.procrastinate_job_to_defer_v1[]) TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_defer_periodic_job_v2(_queue_name character varying, _lock character varying, _queueing_lock character varying, _task_name character varying, _priority integer, _periodic_id character varying, _defer_timestamp bigint, _args jsonb); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_defer_periodic_job_v2(_queue_name character varying, _lock character varying, _queueing_lock character varying, _task_name character varying, _priority integer, _periodic_id character varying, _defer_timestamp bigint, _args jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_defer_periodic_job_v2(_queue_name character varying, _lock character varying, _queueing_lock character varying, _task_name character varying, _priority integer, _periodic_id character varying, _defer_timestamp bigint, _args jsonb) TO byokeep_worker;


--
-- Name: TABLE procrastinate_jobs; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT INSERT ON TABLE procrastinate.procrastinate_jobs TO byokeep_web;
GRANT INSERT ON TABLE procrastinate.procrastinate_jobs TO byokeep_broker;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE procrastinate.procrastinate_jobs TO byokeep_worker;


--
-- Name: COLUMN procrastinate_jobs.id; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT SELECT(id) ON TABLE procrastinate.procrastinate_jobs TO byokeep_web;
GRANT SELECT(id) ON TABLE procrastinate.procrastinate_jobs TO byokeep_broker;


--
-- Name: COLUMN procrastinate_jobs.queueing_lock; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT SELECT(queueing_lock) ON TABLE procrastinate.procrastinate_jobs TO byokeep_web;
GRANT SELECT(queueing_lock) ON TABLE procrastinate.procrastinate_jobs TO byokeep_broker;


--
-- Name: FUNCTION procrastinate_fetch_job_v2(target_queue_names character varying[], p_worker_id bigint); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_fetch_job_v2(target_queue_names character varying[], p_worker_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_fetch_job_v2(target_queue_names character varying[], p_worker_id bigint) TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_finish_job_v1(job_id bigint, end_status procrastinate.procrastinate_job_status, delete_job boolean); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_finish_job_v1(job_id bigint, end_status procrastinate.procrastinate_job_status, delete_job boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_finish_job_v1(job_id bigint, end_status procrastinate.procrastinate_job_status, delete_job boolean) TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_notify_queue_abort_job_v1(); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_notify_queue_abort_job_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_notify_queue_abort_job_v1() TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_notify_queue_job_inserted_v1(); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_notify_queue_job_inserted_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_notify_queue_job_inserted_v1() TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_prune_stalled_workers_v1(seconds_since_heartbeat double precision); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_prune_stalled_workers_v1(seconds_since_heartbeat double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_prune_stalled_workers_v1(seconds_since_heartbeat double precision) TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_register_worker_v1(); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_register_worker_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_register_worker_v1() TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_retry_job_v1(job_id bigint, retry_at timestamp with time zone, new_priority integer, new_queue_name character varying, new_lock character varying); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_retry_job_v1(job_id bigint, retry_at timestamp with time zone, new_priority integer, new_queue_name character varying, new_lock character varying) FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_retry_job_v1(job_id bigint, retry_at timestamp with time zone, new_priority integer, new_queue_name character varying, new_lock character varying) TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_retry_job_v2(job_id bigint, retry_at timestamp with time zone, new_priority integer, new_queue_name character varying, new_lock character varying); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_retry_job_v2(job_id bigint, retry_at timestamp with time zone, new_priority integer, new_queue_name character varying, new_lock character varying) FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_retry_job_v2(job_id bigint, retry_at timestamp with time zone, new_priority integer, new_queue_name character varying, new_lock character varying) TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_trigger_abort_requested_events_procedure_v1(); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_trigger_abort_requested_events_procedure_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_trigger_abort_requested_events_procedure_v1() TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_trigger_function_scheduled_events_v1(); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_trigger_function_scheduled_events_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_trigger_function_scheduled_events_v1() TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_trigger_function_status_events_insert_v1(); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_trigger_function_status_events_insert_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_trigger_function_status_events_insert_v1() TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_trigger_function_status_events_update_v1(); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_trigger_function_status_events_update_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_trigger_function_status_events_update_v1() TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_unlink_periodic_defers_v1(); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_unlink_periodic_defers_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_unlink_periodic_defers_v1() TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_unregister_worker_v1(worker_id bigint); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_unregister_worker_v1(worker_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_unregister_worker_v1(worker_id bigint) TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_update_heartbeat_v1(worker_id bigint); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_update_heartbeat_v1(worker_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_update_heartbeat_v1(worker_id bigint) TO byokeep_worker;


--
-- Name: TABLE account_grant; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.account_grant TO byokeep_web;
GRANT SELECT ON TABLE byokeep.account_grant TO byokeep_broker;
GRANT SELECT,INSERT,UPDATE ON TABLE byokeep.account_grant TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.account_grant TO byokeep_auditor;


--
-- Name: COLUMN account_grant.username; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(username) ON TABLE byokeep.account_grant TO byokeep_web;


--
-- Name: COLUMN account_grant.display_name; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(display_name) ON TABLE byokeep.account_grant TO byokeep_web;


--
-- Name: COLUMN account_grant.state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(state) ON TABLE byokeep.account_grant TO byokeep_broker;


--
-- Name: COLUMN account_grant.reason; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(reason) ON TABLE byokeep.account_grant TO byokeep_broker;


--
-- Name: COLUMN account_grant.due_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(due_at) ON TABLE byokeep.account_grant TO byokeep_web;
GRANT UPDATE(due_at) ON TABLE byokeep.account_grant TO byokeep_broker;


--
-- Name: COLUMN account_grant.verified_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(verified_at) ON TABLE byokeep.account_grant TO byokeep_web;


--
-- Name: COLUMN account_grant.drift; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(drift) ON TABLE byokeep.account_grant TO byokeep_web;


--
-- Name: COLUMN account_grant.changed_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(changed_at) ON TABLE byokeep.account_grant TO byokeep_web;
GRANT UPDATE(changed_at) ON TABLE byokeep.account_grant TO byokeep_broker;


--
-- Name: TABLE alembic_version; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.alembic_version TO byokeep_web;
GRANT SELECT ON TABLE byokeep.alembic_version TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.alembic_version TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.alembic_version TO byokeep_auditor;


--
-- Name: TABLE alert; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.alert TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.alert TO byokeep_broker;
GRANT SELECT,INSERT ON TABLE byokeep.alert TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.alert TO byokeep_auditor;


--
-- Name: COLUMN alert.severity; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(severity) ON TABLE byokeep.alert TO byokeep_web;
GRANT UPDATE(severity) ON TABLE byokeep.alert TO byokeep_broker;
GRANT UPDATE(severity) ON TABLE byokeep.alert TO byokeep_worker;


--
-- Name: COLUMN alert.closed_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(closed_at) ON TABLE byokeep.alert TO byokeep_web;
GRANT UPDATE(closed_at) ON TABLE byokeep.alert TO byokeep_broker;
GRANT UPDATE(closed_at) ON TABLE byokeep.alert TO byokeep_worker;


--
-- Name: COLUMN alert.closed_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(closed_by) ON TABLE byokeep.alert TO byokeep_web;
GRANT UPDATE(closed_by) ON TABLE byokeep.alert TO byokeep_broker;
GRANT UPDATE(closed_by) ON TABLE byokeep.alert TO byokeep_worker;


--
-- Name: COLUMN alert.count; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(count) ON TABLE byokeep.alert TO byokeep_web;
GRANT UPDATE(count) ON TABLE byokeep.alert TO byokeep_broker;
GRANT UPDATE(count) ON TABLE byokeep.alert TO byokeep_worker;


--
-- Name: COLUMN alert.code_points; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(code_points) ON TABLE byokeep.alert TO byokeep_web;
GRANT UPDATE(code_points) ON TABLE byokeep.alert TO byokeep_broker;
GRANT UPDATE(code_points) ON TABLE byokeep.alert TO byokeep_worker;


--
-- Name: TABLE api_token; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.api_token TO byokeep_web;
GRANT SELECT ON TABLE byokeep.api_token TO byokeep_broker;


--
-- Name: COLUMN api_token.expires_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(expires_at) ON TABLE byokeep.api_token TO byokeep_web;


--
-- Name: COLUMN api_token.revoked_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(revoked_at) ON TABLE byokeep.api_token TO byokeep_web;


--
-- Name: TABLE approval; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.approval TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.approval TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.approval TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.approval TO byokeep_auditor;


--
-- Name: COLUMN approval.approved_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(approved_by) ON TABLE byokeep.approval TO byokeep_broker;


--
-- Name: COLUMN approval.approved_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(approved_at) ON TABLE byokeep.approval TO byokeep_broker;


--
-- Name: COLUMN approval.used_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(used_at) ON TABLE byokeep.approval TO byokeep_broker;
GRANT UPDATE(used_at) ON TABLE byokeep.approval TO byokeep_worker;


--
-- Name: TABLE audit_epoch; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.audit_epoch TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.audit_epoch TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.audit_epoch TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.audit_epoch TO byokeep_auditor;


--
-- Name: TABLE audit_head; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.audit_head TO byokeep_web;
GRANT SELECT ON TABLE byokeep.audit_head TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.audit_head TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.audit_head TO byokeep_auditor;


--
-- Name: TABLE audit_record; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.audit_record TO byokeep_web;
GRANT SELECT ON TABLE byokeep.audit_record TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.audit_record TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.audit_record TO byokeep_auditor;


--
-- Name: TABLE audit_vocabulary; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.audit_vocabulary TO byokeep_web;
GRANT SELECT ON TABLE byokeep.audit_vocabulary TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.audit_vocabulary TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.audit_vocabulary TO byokeep_auditor;


--
-- Name: TABLE client; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.client TO byokeep_web;
GRANT SELECT ON TABLE byokeep.client TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.client TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.client TO byokeep_auditor;


--
-- Name: COLUMN client.name; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(name) ON TABLE byokeep.client TO byokeep_web;


--
-- Name: COLUMN client.state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(state) ON TABLE byokeep.client TO byokeep_web;
GRANT UPDATE(state) ON TABLE byokeep.client TO byokeep_broker;


--
-- Name: COLUMN client.risk; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(risk) ON TABLE byokeep.client TO byokeep_web;


--
-- Name: COLUMN client.entity_id; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(entity_id) ON TABLE byokeep.client TO byokeep_web;
GRANT UPDATE(entity_id) ON TABLE byokeep.client TO byokeep_broker;


--
-- Name: TABLE connection; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.connection TO byokeep_web;
GRANT SELECT ON TABLE byokeep.connection TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.connection TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.connection TO byokeep_auditor;


--
-- Name: COLUMN connection.replaces; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(replaces) ON TABLE byokeep.connection TO byokeep_worker;


--
-- Name: COLUMN connection.state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(state) ON TABLE byokeep.connection TO byokeep_web;
GRANT UPDATE(state) ON TABLE byokeep.connection TO byokeep_worker;


--
-- Name: COLUMN connection.reason; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(reason) ON TABLE byokeep.connection TO byokeep_web;
GRANT UPDATE(reason) ON TABLE byokeep.connection TO byokeep_worker;


--
-- Name: COLUMN connection.answered_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(answered_at) ON TABLE byokeep.connection TO byokeep_web;


--
-- Name: COLUMN connection.ended_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(ended_at) ON TABLE byokeep.connection TO byokeep_web;
GRANT UPDATE(ended_at) ON TABLE byokeep.connection TO byokeep_worker;


--
-- Name: COLUMN connection.code_points; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(code_points) ON TABLE byokeep.connection TO byokeep_web;
GRANT UPDATE(code_points) ON TABLE byokeep.connection TO byokeep_worker;


--
-- Name: COLUMN connection.held_as; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(held_as) ON TABLE byokeep.connection TO byokeep_worker;


--
-- Name: COLUMN connection.offered; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(offered) ON TABLE byokeep.connection TO byokeep_worker;


--
-- Name: TABLE credential_ref; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT SELECT ON TABLE byokeep.credential_ref TO byokeep_broker;
GRANT SELECT,INSERT ON TABLE byokeep.credential_ref TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.credential_ref TO byokeep_auditor;


--
-- Name: COLUMN credential_ref.version; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(version) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT UPDATE(version) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: COLUMN credential_ref.state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(state) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT UPDATE(state) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: COLUMN credential_ref.verification; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(verification) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT UPDATE(verification) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: COLUMN credential_ref.risk; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(risk) ON TABLE byokeep.credential_ref TO byokeep_web;


--
-- Name: COLUMN credential_ref.created_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(created_at) ON TABLE byokeep.credential_ref TO byokeep_web;


--
-- Name: COLUMN credential_ref.created_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(created_by) ON TABLE byokeep.credential_ref TO byokeep_web;


--
-- Name: COLUMN credential_ref.rotation_due_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(rotation_due_at) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT UPDATE(rotation_due_at) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: COLUMN credential_ref.expires_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(expires_at) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT UPDATE(expires_at) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: COLUMN credential_ref.previous_version; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(previous_version) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT UPDATE(previous_version) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: COLUMN credential_ref.previous_until; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(previous_until) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT UPDATE(previous_until) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: TABLE installation; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.installation TO byokeep_web;
GRANT SELECT ON TABLE byokeep.installation TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.installation TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.installation TO byokeep_auditor;


--
-- Name: TABLE job; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.job TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.job TO byokeep_broker;
GRANT SELECT,INSERT ON TABLE byokeep.job TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.job TO byokeep_auditor;


--
-- Name: COLUMN job.state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(state) ON TABLE byokeep.job TO byokeep_broker;


--
-- Name: COLUMN job.reason; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(reason) ON TABLE byokeep.job TO byokeep_broker;


--
-- Name: COLUMN job.closed_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(closed_at) ON TABLE byokeep.job TO byokeep_broker;


--
-- Name: COLUMN job.sealing_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(sealing_at) ON TABLE byokeep.job TO byokeep_broker;


--
-- Name: TABLE kek_rotation; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.kek_rotation TO byokeep_web;
GRANT SELECT ON TABLE byokeep.kek_rotation TO byokeep_broker;
GRANT SELECT,INSERT,UPDATE ON TABLE byokeep.kek_rotation TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.kek_rotation TO byokeep_auditor;


--
-- Name: TABLE kek_version; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.kek_version TO byokeep_web;
GRANT SELECT ON TABLE byokeep.kek_version TO byokeep_broker;
GRANT SELECT,INSERT,UPDATE ON TABLE byokeep.kek_version TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.kek_version TO byokeep_auditor;


--
-- Name: COLUMN kek_version.state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(state) ON TABLE byokeep.kek_version TO byokeep_web;


--
-- Name: COLUMN kek_version.compromised_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(compromised_at) ON TABLE byokeep.kek_version TO byokeep_web;


--
-- Name: COLUMN kek_version.changed_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(changed_at) ON TABLE byokeep.kek_version TO byokeep_web;


--
-- Name: COLUMN kek_version.changed_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(changed_by) ON TABLE byokeep.kek_version TO byokeep_web;


--
-- Name: TABLE key_transition; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.key_transition TO byokeep_web;
GRANT SELECT ON TABLE byokeep.key_transition TO byokeep_broker;
GRANT SELECT,INSERT ON TABLE byokeep.key_transition TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.key_transition TO byokeep_auditor;


--
-- Name: TABLE leak_fingerprint; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.leak_fingerprint TO byokeep_web;


--
-- Name: COLUMN leak_fingerprint.format; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(format) ON TABLE byokeep.leak_fingerprint TO byokeep_web;


--
-- Name: COLUMN leak_fingerprint.digests; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(digests) ON TABLE byokeep.leak_fingerprint TO byokeep_web;


--
-- Name: COLUMN leak_fingerprint.made_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(made_at) ON TABLE byokeep.leak_fingerprint TO byokeep_web;


--
-- Name: TABLE lease; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.lease TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.lease TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.lease TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.lease TO byokeep_auditor;


--
-- Name: TABLE permit; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.permit TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.permit TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.permit TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.permit TO byokeep_auditor;


--
-- Name: COLUMN permit.state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(state) ON TABLE byokeep.permit TO byokeep_broker;


--
-- Name: COLUMN permit.closed_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(closed_at) ON TABLE byokeep.permit TO byokeep_broker;


--
-- Name: TABLE platform_account; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.platform_account TO byokeep_web;
GRANT SELECT ON TABLE byokeep.platform_account TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.platform_account TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.platform_account TO byokeep_auditor;


--
-- Name: COLUMN platform_account.username; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(username) ON TABLE byokeep.platform_account TO byokeep_web;
GRANT UPDATE(username) ON TABLE byokeep.platform_account TO byokeep_worker;


--
-- Name: COLUMN platform_account.display_name; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(display_name) ON TABLE byokeep.platform_account TO byokeep_web;
GRANT UPDATE(display_name) ON TABLE byokeep.platform_account TO byokeep_worker;


--
-- Name: COLUMN platform_account.lanes; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(lanes) ON TABLE byokeep.platform_account TO byokeep_web;
GRANT UPDATE(lanes) ON TABLE byokeep.platform_account TO byokeep_broker;
GRANT UPDATE(lanes) ON TABLE byokeep.platform_account TO byokeep_worker;


--
-- Name: COLUMN platform_account.identified_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(identified_at) ON TABLE byokeep.platform_account TO byokeep_broker;
GRANT UPDATE(identified_at) ON TABLE byokeep.platform_account TO byokeep_worker;


--
-- Name: COLUMN platform_account.identity; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(identity) ON TABLE byokeep.platform_account TO byokeep_broker;
GRANT UPDATE(identity) ON TABLE byokeep.platform_account TO byokeep_worker;


--
-- Name: TABLE platform_app; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.platform_app TO byokeep_web;
GRANT SELECT ON TABLE byokeep.platform_app TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.platform_app TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.platform_app TO byokeep_auditor;


--
-- Name: COLUMN platform_app.app_id; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(app_id) ON TABLE byokeep.platform_app TO byokeep_web;


--
-- Name: COLUMN platform_app.redirect_uri; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(redirect_uri) ON TABLE byokeep.platform_app TO byokeep_web;


--
-- Name: COLUMN platform_app.secret_version; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(secret_version) ON TABLE byokeep.platform_app TO byokeep_web;


--
-- Name: COLUMN platform_app.set_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(set_at) ON TABLE byokeep.platform_app TO byokeep_web;


--
-- Name: COLUMN platform_app.set_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(set_by) ON TABLE byokeep.platform_app TO byokeep_web;


--
-- Name: TABLE profile; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.profile TO byokeep_web;
GRANT SELECT ON TABLE byokeep.profile TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.profile TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.profile TO byokeep_auditor;


--
-- Name: COLUMN profile.state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(state) ON TABLE byokeep.profile TO byokeep_web;
GRANT UPDATE(state) ON TABLE byokeep.profile TO byokeep_broker;
GRANT UPDATE(state) ON TABLE byokeep.profile TO byokeep_worker;


--
-- Name: COLUMN profile.reason; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(reason) ON TABLE byokeep.profile TO byokeep_web;
GRANT UPDATE(reason) ON TABLE byokeep.profile TO byokeep_broker;
GRANT UPDATE(reason) ON TABLE byokeep.profile TO byokeep_worker;


--
-- Name: COLUMN profile.generation; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(generation) ON TABLE byokeep.profile TO byokeep_broker;
GRANT UPDATE(generation) ON TABLE byokeep.profile TO byokeep_worker;


--
-- Name: COLUMN profile.epoch; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(epoch) ON TABLE byokeep.profile TO byokeep_broker;
GRANT UPDATE(epoch) ON TABLE byokeep.profile TO byokeep_worker;


--
-- Name: COLUMN profile.confirmed_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(confirmed_at) ON TABLE byokeep.profile TO byokeep_web;


--
-- Name: COLUMN profile.confirmed_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(confirmed_by) ON TABLE byokeep.profile TO byokeep_web;


--
-- Name: COLUMN profile.validated_generation; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(validated_generation) ON TABLE byokeep.profile TO byokeep_worker;


--
-- Name: COLUMN profile.validated_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(validated_at) ON TABLE byokeep.profile TO byokeep_worker;


--
-- Name: COLUMN profile.due_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(due_at) ON TABLE byokeep.profile TO byokeep_web;
GRANT UPDATE(due_at) ON TABLE byokeep.profile TO byokeep_broker;
GRANT UPDATE(due_at) ON TABLE byokeep.profile TO byokeep_worker;


--
-- Name: COLUMN profile.due_cause; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(due_cause) ON TABLE byokeep.profile TO byokeep_web;
GRANT UPDATE(due_cause) ON TABLE byokeep.profile TO byokeep_broker;
GRANT UPDATE(due_cause) ON TABLE byokeep.profile TO byokeep_worker;


--
-- Name: TABLE profile_account; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.profile_account TO byokeep_web;
GRANT SELECT ON TABLE byokeep.profile_account TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.profile_account TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.profile_account TO byokeep_auditor;


--
-- Name: COLUMN profile_account.retired_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(retired_at) ON TABLE byokeep.profile_account TO byokeep_web;
GRANT UPDATE(retired_at) ON TABLE byokeep.profile_account TO byokeep_worker;


--
-- Name: TABLE profile_generation; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.profile_generation TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.profile_generation TO byokeep_broker;
GRANT SELECT,INSERT,UPDATE ON TABLE byokeep.profile_generation TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.profile_generation TO byokeep_auditor;


--
-- Name: COLUMN profile_generation.key_state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(key_state) ON TABLE byokeep.profile_generation TO byokeep_web;
GRANT UPDATE(key_state) ON TABLE byokeep.profile_generation TO byokeep_broker;


--
-- Name: TABLE profile_incident; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.profile_incident TO byokeep_web;
GRANT SELECT ON TABLE byokeep.profile_incident TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.profile_incident TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.profile_incident TO byokeep_auditor;


--
-- Name: COLUMN profile_incident.step; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(step) ON TABLE byokeep.profile_incident TO byokeep_web;
GRANT UPDATE(step) ON TABLE byokeep.profile_incident TO byokeep_worker;


--
-- Name: COLUMN profile_incident.closed_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(closed_at) ON TABLE byokeep.profile_incident TO byokeep_web;
GRANT UPDATE(closed_at) ON TABLE byokeep.profile_incident TO byokeep_worker;


--
-- Name: COLUMN profile_incident.closed_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(closed_by) ON TABLE byokeep.profile_incident TO byokeep_web;
GRANT UPDATE(closed_by) ON TABLE byokeep.profile_incident TO byokeep_worker;


--
-- Name: TABLE profile_incident_item; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.profile_incident_item TO byokeep_web;
GRANT SELECT ON TABLE byokeep.profile_incident_item TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.profile_incident_item TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.profile_incident_item TO byokeep_auditor;


--
-- Name: COLUMN profile_incident_item.session; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(session) ON TABLE byokeep.profile_incident_item TO byokeep_web;
GRANT UPDATE(session) ON TABLE byokeep.profile_incident_item TO byokeep_worker;


--
-- Name: COLUMN profile_incident_item.session_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(session_by) ON TABLE byokeep.profile_incident_item TO byokeep_web;
GRANT UPDATE(session_by) ON TABLE byokeep.profile_incident_item TO byokeep_worker;


--
-- Name: COLUMN profile_incident_item.session_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(session_at) ON TABLE byokeep.profile_incident_item TO byokeep_web;
GRANT UPDATE(session_at) ON TABLE byokeep.profile_incident_item TO byokeep_worker;


--
-- Name: COLUMN profile_incident_item.new_profile_id; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(new_profile_id) ON TABLE byokeep.profile_incident_item TO byokeep_web;
GRANT UPDATE(new_profile_id) ON TABLE byokeep.profile_incident_item TO byokeep_worker;


--
-- Name: COLUMN profile_incident_item.key_destroyed_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(key_destroyed_at) ON TABLE byokeep.profile_incident_item TO byokeep_web;
GRANT UPDATE(key_destroyed_at) ON TABLE byokeep.profile_incident_item TO byokeep_worker;


--
-- Name: COLUMN profile_incident_item.identity_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(identity_at) ON TABLE byokeep.profile_incident_item TO byokeep_web;
GRANT UPDATE(identity_at) ON TABLE byokeep.profile_incident_item TO byokeep_worker;


--
-- Name: COLUMN profile_incident_item.wrong_account_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(wrong_account_at) ON TABLE byokeep.profile_incident_item TO byokeep_web;
GRANT UPDATE(wrong_account_at) ON TABLE byokeep.profile_incident_item TO byokeep_worker;


--
-- Name: TABLE profile_opening; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.profile_opening TO byokeep_web;
GRANT SELECT,INSERT,UPDATE ON TABLE byokeep.profile_opening TO byokeep_broker;
GRANT SELECT,INSERT,UPDATE ON TABLE byokeep.profile_opening TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.profile_opening TO byokeep_auditor;


--
-- Name: TABLE profile_work; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.profile_work TO byokeep_web;
GRANT SELECT ON TABLE byokeep.profile_work TO byokeep_broker;
GRANT SELECT,UPDATE ON TABLE byokeep.profile_work TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.profile_work TO byokeep_auditor;


--
-- Name: COLUMN profile_work.state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(state) ON TABLE byokeep.profile_work TO byokeep_web;


--
-- Name: COLUMN profile_work.reason; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(reason) ON TABLE byokeep.profile_work TO byokeep_web;


--
-- Name: COLUMN profile_work.confirmed_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(confirmed_by) ON TABLE byokeep.profile_work TO byokeep_web;


--
-- Name: COLUMN profile_work.confirmed_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(confirmed_at) ON TABLE byokeep.profile_work TO byokeep_web;


--
-- Name: COLUMN profile_work.ended_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(ended_at) ON TABLE byokeep.profile_work TO byokeep_web;


--
-- Name: TABLE reenabling; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.reenabling TO byokeep_web;
GRANT SELECT,INSERT,UPDATE ON TABLE byokeep.reenabling TO byokeep_broker;
GRANT SELECT,INSERT,UPDATE ON TABLE byokeep.reenabling TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.reenabling TO byokeep_auditor;


--
-- Name: TABLE refresh_journal; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.refresh_journal TO byokeep_web;
GRANT SELECT ON TABLE byokeep.refresh_journal TO byokeep_broker;
GRANT SELECT,INSERT,UPDATE ON TABLE byokeep.refresh_journal TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.refresh_journal TO byokeep_auditor;


--
-- Name: COLUMN refresh_journal.reason; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(reason) ON TABLE byokeep.refresh_journal TO byokeep_web;


--
-- Name: TABLE scheduled_effect; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.scheduled_effect TO byokeep_web;
GRANT SELECT,INSERT,UPDATE ON TABLE byokeep.scheduled_effect TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.scheduled_effect TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.scheduled_effect TO byokeep_auditor;


--
-- Name: TABLE schema_objects; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.schema_objects TO byokeep_web;
GRANT SELECT ON TABLE byokeep.schema_objects TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.schema_objects TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.schema_objects TO byokeep_auditor;


--
-- Name: TABLE sop_run; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT,UPDATE ON TABLE byokeep.sop_run TO byokeep_web;
GRANT SELECT ON TABLE byokeep.sop_run TO byokeep_broker;
GRANT SELECT,UPDATE ON TABLE byokeep.sop_run TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.sop_run TO byokeep_auditor;


--
-- Name: TABLE subject; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.subject TO byokeep_web;


--
-- Name: COLUMN subject.id; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(id) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(id) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(id) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.kind; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(kind) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(kind) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(kind) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.name; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(name) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(name) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(name) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.roles; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(roles) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(roles) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(roles) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(roles) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(state) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(state) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(state) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(state) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.password_phc; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(password_phc) ON TABLE byokeep.subject TO byokeep_web;


--
-- Name: COLUMN subject.all_clients; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(all_clients) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(all_clients) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(all_clients) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(all_clients) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.created_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(created_at) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(created_at) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(created_at) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.created_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(created_by) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(created_by) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: TABLE subject_client; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT,DELETE ON TABLE byokeep.subject_client TO byokeep_web;
GRANT SELECT ON TABLE byokeep.subject_client TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.subject_client TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.subject_client TO byokeep_auditor;


--
-- Name: TABLE switch; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.switch TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.switch TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.switch TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.switch TO byokeep_auditor;


--
-- Name: COLUMN switch.closed; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(closed) ON TABLE byokeep.switch TO byokeep_broker;


--
-- Name: COLUMN switch.epoch; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(epoch) ON TABLE byokeep.switch TO byokeep_broker;


--
-- Name: COLUMN switch.reason; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(reason) ON TABLE byokeep.switch TO byokeep_broker;


--
-- Name: COLUMN switch.by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(by) ON TABLE byokeep.switch TO byokeep_broker;


--
-- Name: COLUMN switch.at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(at) ON TABLE byokeep.switch TO byokeep_broker;


--
-- Name: COLUMN switch.installation_id; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(installation_id) ON TABLE byokeep.switch TO byokeep_broker;


--
-- Name: COLUMN switch.store_cut_off; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(store_cut_off) ON TABLE byokeep.switch TO byokeep_broker;


--
-- Name: TABLE value_fingerprint; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.value_fingerprint TO byokeep_web;
GRANT SELECT ON TABLE byokeep.value_fingerprint TO byokeep_worker;


--
-- Name: COLUMN value_fingerprint.fingerprint; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(fingerprint) ON TABLE byokeep.value_fingerprint TO byokeep_web;


--
-- Name: TABLE vault_key_transition; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.vault_key_transition TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.vault_key_transition TO byokeep_broker;
GRANT SELECT,INSERT ON TABLE byokeep.vault_key_transition TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.vault_key_transition TO byokeep_auditor;


--
-- Name: TABLE procrastinate_events; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT INSERT ON TABLE procrastinate.procrastinate_events TO byokeep_web;
GRANT INSERT ON TABLE procrastinate.procrastinate_events TO byokeep_broker;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE procrastinate.procrastinate_events TO byokeep_worker;


--
-- Name: SEQUENCE procrastinate_events_id_seq; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT USAGE ON SEQUENCE procrastinate.procrastinate_events_id_seq TO byokeep_web;
GRANT USAGE ON SEQUENCE procrastinate.procrastinate_events_id_seq TO byokeep_broker;
GRANT USAGE ON SEQUENCE procrastinate.procrastinate_events_id_seq TO byokeep_worker;


--
-- Name: SEQUENCE procrastinate_jobs_id_seq; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT USAGE ON SEQUENCE procrastinate.procrastinate_jobs_id_seq TO byokeep_web;
GRANT USAGE ON SEQUENCE procrastinate.procrastinate_jobs_id_seq TO byokeep_broker;
GRANT USAGE ON SEQUENCE procrastinate.procrastinate_jobs_id_seq TO byokeep_worker;


--
-- Name: TABLE procrastinate_periodic_defers; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE procrastinate.procrastinate_periodic_defers TO byokeep_worker;


--
-- Name: SEQUENCE procrastinate_periodic_defers_id_seq; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT USAGE ON SEQUENCE procrastinate.procrastinate_periodic_defers_id_seq TO byokeep_worker;


--
-- Name: TABLE procrastinate_workers; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE procrastinate.procrastinate_workers TO byokeep_worker;


--
-- Name: SEQUENCE procrastinate_workers_id_seq; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT USAGE ON SEQUENCE procrastinate.procrastinate_workers_id_seq TO byokeep_worker;


--
-- PostgreSQL database dump complete
--


