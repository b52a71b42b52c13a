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
    CONSTRAINT approval_action_ck CHECK ((action = 'open_switch'::text)),
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
    CONSTRAINT credential_ref_environment_ck CHECK ((environment = ANY (ARRAY['production'::text, 'staging'::text, 'development'::text]))),
    CONSTRAINT credential_ref_kind_ck CHECK ((kind = ANY (ARRAY['provider_api_key'::text, 'oauth_token_set'::text, 'session_cookie'::text, 'webhook_signing_secret'::text, 'internal_service_token'::text, 'database_credential'::text]))),
    CONSTRAINT credential_ref_provider_ck CHECK ((provider = ANY (ARRAY['google'::text, 'anthropic'::text, 'openai'::text, 'openrouter'::text, 'heygen'::text, 'kie'::text, 'meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text, 'skool'::text]))),
    CONSTRAINT credential_ref_purpose_ck CHECK ((purpose ~ '^[a-z][a-z0-9_]{0,31}$'::text)),
    CONSTRAINT credential_ref_risk_ck CHECK ((risk = ANY (ARRAY['standard'::text, 'high'::text]))),
    CONSTRAINT credential_ref_rotation_due_at_ck CHECK (((rotation_due_at > created_at) AND (rotation_due_at <= (created_at + '400 days'::interval)))),
    CONSTRAINT credential_ref_secret_ref_ck CHECK ((secret_ref = ((('vault://kv/clients/'::text || (client_id)::text) || '/providers/'::text) || provider))),
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
    CONSTRAINT job_custody_has_no_effects_ck CHECK (((kind = 'use'::text) OR (effects = '{}'::text[]))),
    CONSTRAINT job_expires_at_ck CHECK (((expires_at > opened_at) AND (expires_at <= (opened_at + '24:00:00'::interval)))),
    CONSTRAINT job_kind_ck CHECK ((kind = ANY (ARRAY['use'::text, 'custody'::text]))),
    CONSTRAINT job_state_ck CHECK ((state = ANY (ARRAY['open'::text, 'closed'::text, 'expired'::text, 'killed'::text])))
);


ALTER TABLE byokeep.job OWNER TO byokeep_owner;

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
    CONSTRAINT platform_account_display_name_ck CHECK ((display_name ~ '^[[:alnum:]][[:alnum:] ._&''()-]{0,79}$'::text)),
    CONSTRAINT platform_account_identity_ck CHECK ((identity = ANY (ARRAY['unchecked'::text, 'match'::text, 'mismatch'::text, 'unknown'::text]))),
    CONSTRAINT platform_account_platform_ck CHECK ((platform = ANY (ARRAY['meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text, 'skool'::text]))),
    CONSTRAINT platform_account_username_ck CHECK ((username ~ '^[A-Za-z0-9_.@-]{1,64}$'::text))
);


ALTER TABLE byokeep.platform_account OWNER TO byokeep_owner;

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
    CONSTRAINT sop_run_sop_ck CHECK ((sop = 'onboard_key'::text)),
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
-- Data for Name: alembic_version; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.alembic_version VALUES ('0001');


--
-- Data for Name: alert; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.alert VALUES ('c0b929ca-814f-4760-82a5-69d628d163bb', '35374668-130d-4614-a3b6-058de9c9a591', NULL, 'test', 'info', '35374668-130d-4614-a3b6-058de9c9a591', '2026-11-25 03:28:16.621434+00', NULL, NULL, 1);


--
-- Data for Name: api_token; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.api_token VALUES ('79a8a434-ccbb-4fab-9874-8f71641ef49b', '00000000-0000-4000-8000-000000000001', '\x48168fa99cb7e014e77dbf4af79fc5b2a50caac8e820883ea7326f88bc713ac9', 'api', '2026-11-25 03:28:16.621952+00', '2026-11-26 03:28:16.621952+00', NULL);


--
-- Data for Name: approval; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.approval VALUES ('100fe4be-22b3-43e4-99a9-2b408b98bf03', 'open_switch', 'global', 1, 'drill', '00000000-0000-4000-8000-000000000001', NULL, '2026-11-25 03:28:16.623195+00', '2026-11-25 03:28:16.623195+00', NULL, NULL);


--
-- Data for Name: audit_epoch; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.audit_epoch VALUES (0, '2026-11-25 03:28:16.623637+00', '\x7b7d', '\x7b7d');


--
-- Data for Name: audit_head; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--



--
-- Data for Name: audit_record; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--



--
-- Data for Name: audit_vocabulary; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.audit_vocabulary VALUES ('installation.created', '{byokeep_owner,byokeep_web}');
INSERT INTO byokeep.audit_vocabulary VALUES ('service.started', '{byokeep_owner,byokeep_web,byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('config.changed', '{byokeep_owner,byokeep_web,byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('access.decided', '{byokeep_web,byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('alert.raised', '{byokeep_web,byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('alert.closed', '{byokeep_web,byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('audit.device_changed', '{byokeep_web,byokeep_broker,byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('job.opened', '{byokeep_web,byokeep_broker,byokeep_worker}');
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
INSERT INTO byokeep.audit_vocabulary VALUES ('key.verified', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.leak_checked', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('client_key_onboarded', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.orphan_found', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.orphan_destroyed', '{byokeep_worker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.identified', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('lease.issued', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('permit.issued', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('permit.closed', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('permit.unknown', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('job.closed', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('job.expired', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('switch.closed', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('switch.store_cut_off', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('switch.open_requested', '{byokeep_broker}');
INSERT INTO byokeep.audit_vocabulary VALUES ('switch.opened', '{byokeep_broker}');
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

INSERT INTO byokeep.client VALUES ('35374668-130d-4614-a3b6-058de9c9a591', 'Client 35374668', 'enrolling', 'standard', NULL, '2026-11-25 03:28:16.613881+00', '00000000-0000-4000-8000-000000000001');


--
-- Data for Name: credential_ref; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.credential_ref VALUES ('7bcbbe75-e0c3-4a27-ad66-400fab47cdd2', '35374668-130d-4614-a3b6-058de9c9a591', 'openai', 'provider_api_key', 'default', 'development', 'vault://kv/clients/35374668-130d-4614-a3b6-058de9c9a591/providers/openai', 1, 'active', 'verified', 'standard', '2026-11-25 03:28:16.615488+00', '00000000-0000-4000-8000-000000000001', '2027-02-23 03:28:16.615488+00', NULL);


--
-- Data for Name: installation; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.installation VALUES ('00000000-0000-4000-8000-000000000003', 'development', '2026-11-25 03:28:16.611488+00', true);


--
-- Data for Name: job; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.job VALUES ('0da431df-b365-4b64-9068-8528a8eb346d', '35374668-130d-4614-a3b6-058de9c9a591', '00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000002', 'use', '{openai}', '{}', '{}', '{}', 'open', '', '2026-11-25 03:28:16.617874+00', '2026-11-25 04:28:16.617874+00', NULL);


--
-- Data for Name: key_transition; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.key_transition VALUES ('be1cec7a-4a0e-4afd-9a33-b63d460b53e7', '35374668-130d-4614-a3b6-058de9c9a591', '7bcbbe75-e0c3-4a27-ad66-400fab47cdd2', 'pre_activation', 'active', 'verified', '2026-11-25 03:28:16.620164+00', '00000000-0000-4000-8000-000000000001');


--
-- Data for Name: lease; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.lease VALUES ('cb493217-a05c-48f2-83d0-f046f5a4ba38', '35374668-130d-4614-a3b6-058de9c9a591', '0da431df-b365-4b64-9068-8528a8eb346d', '00000000-0000-4000-8000-000000000002', 'use', '{openai}', 1, 4, '2026-11-25 03:28:16.618587+00', '2026-11-25 03:28:16.618587+00');


--
-- Data for Name: permit; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.permit VALUES ('7f566868-0962-42b8-b730-67528679fed1', '35374668-130d-4614-a3b6-058de9c9a591', '0da431df-b365-4b64-9068-8528a8eb346d', 'cb493217-a05c-48f2-83d0-f046f5a4ba38', 'tiktok', 'acct1', 'api', 'publish', 'key-35374668', 'issued', '2026-11-25 03:28:16.619325+00', '2026-11-25 03:28:16.619325+00', NULL);


--
-- Data for Name: platform_account; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.platform_account VALUES ('8c2d52b6-3312-4d65-b623-5ac0ef924a1a', '35374668-130d-4614-a3b6-058de9c9a591', 'tiktok', 'acct1', 'acct', 'Acct', '{}', NULL, 'unchecked', '2026-11-25 03:28:16.61712+00', '00000000-0000-4000-8000-000000000001');


--
-- Data for Name: schema_objects; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.schema_objects VALUES ('3db10e261d53fb4ab7642e3013c90b29c481a6337d3e71841819f7fbf01e640b');


--
-- Data for Name: sop_run; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.sop_run VALUES ('370050e3-649a-4b0a-b682-5211614fd182', '35374668-130d-4614-a3b6-058de9c9a591', 'onboard_key', 'openai', NULL, NULL, 'running', '', '2026-11-25 03:28:16.616492+00', NULL, '00000000-0000-4000-8000-000000000001', NULL, NULL, NULL, NULL, '');


--
-- Data for Name: subject; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.subject VALUES ('00000000-0000-4000-8000-000000000001', 'operator', 'Ada', '{operator}', 'active', NULL, false, '2026-11-25 03:28:16.612717+00', NULL);
INSERT INTO byokeep.subject VALUES ('00000000-0000-4000-8000-000000000002', 'machine', 'Runner 1', '{runner}', 'active', NULL, false, '2026-11-25 03:28:16.612717+00', NULL);


--
-- Data for Name: subject_client; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.subject_client VALUES ('00000000-0000-4000-8000-000000000001', '35374668-130d-4614-a3b6-058de9c9a591');


--
-- Data for Name: switch; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.switch VALUES ('global', NULL, false, 1, 'opened_at_start', '00000000-0000-4000-8000-000000000001', '2026-11-25 03:28:16.622592+00', '00000000-0000-4000-8000-000000000003', false);


--
-- Data for Name: value_fingerprint; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.value_fingerprint VALUES ('7bcbbe75-e0c3-4a27-ad66-400fab47cdd2', 1, '0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a');


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
-- Name: key_transition key_transition_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.key_transition
    ADD CONSTRAINT key_transition_pk PRIMARY KEY (id);


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
-- Name: credential_ref_one_live_uq; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE UNIQUE INDEX credential_ref_one_live_uq ON byokeep.credential_ref USING btree (client_id, provider, purpose) WHERE (state = ANY (ARRAY['pre_activation'::text, 'active'::text, 'suspended'::text]));


--
-- Name: lease_issued_at_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX lease_issued_at_ix ON byokeep.lease USING btree (issued_at);


--
-- Name: permit_idempotency_uq; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE UNIQUE INDEX permit_idempotency_uq ON byokeep.permit USING btree (client_id, idempotency_key) WHERE (state <> 'failed'::text);


--
-- Name: value_fingerprint_fingerprint_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX value_fingerprint_fingerprint_ix ON byokeep.value_fingerprint USING btree (fingerprint);


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
-- Name: api_token api_token_subject_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.api_token
    ADD CONSTRAINT api_token_subject_id_fk FOREIGN KEY (subject_id) REFERENCES byokeep.subject(id);


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
-- Name: key_transition key_transition_client_id_ref_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.key_transition
    ADD CONSTRAINT key_transition_client_id_ref_id_fk FOREIGN KEY (client_id, ref_id) REFERENCES byokeep.credential_ref(client_id, id);


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
-- Name: credential_ref client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.credential_ref USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: job client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.job USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: key_transition client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.key_transition USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


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
-- Name: sop_run client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.sop_run USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


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
-- Name: key_transition; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.key_transition ENABLE ROW LEVEL SECURITY;

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
-- Name: sop_run; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.sop_run ENABLE ROW LEVEL SECURITY;

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
-- Name: TABLE credential_ref; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT SELECT ON TABLE byokeep.credential_ref TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.credential_ref TO byokeep_worker;
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
-- Name: TABLE key_transition; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.key_transition TO byokeep_web;
GRANT SELECT ON TABLE byokeep.key_transition TO byokeep_broker;
GRANT SELECT,INSERT ON TABLE byokeep.key_transition TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.key_transition TO byokeep_auditor;


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


--
-- Name: COLUMN platform_account.display_name; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(display_name) ON TABLE byokeep.platform_account TO byokeep_web;


--
-- Name: COLUMN platform_account.lanes; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(lanes) ON TABLE byokeep.platform_account TO byokeep_web;


--
-- Name: COLUMN platform_account.identified_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(identified_at) ON TABLE byokeep.platform_account TO byokeep_broker;


--
-- Name: COLUMN platform_account.identity; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(identity) ON TABLE byokeep.platform_account TO byokeep_broker;


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
GRANT SELECT ON TABLE byokeep.subject TO byokeep_broker;


--
-- Name: COLUMN subject.id; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(id) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(id) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.kind; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(kind) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(kind) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.name; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(name) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(name) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.roles; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(roles) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(roles) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(roles) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(state) ON TABLE byokeep.subject TO byokeep_web;
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
GRANT SELECT(all_clients) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(all_clients) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.created_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(created_at) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(created_at) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.created_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

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


