--
-- PostgreSQL database dump
--

\restrict L32aQivUH8Pvx6j6wvMCuj1o0gbjeDvPc4LYE0h2szLIgXxwL18SuPGTfNVuP0D

-- Dumped from database version 17.12 (Debian 17.12-0+deb13u1)
-- Dumped by pg_dump version 17.12 (Debian 17.12-0+deb13u1)

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
-- Name: able_admins(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.able_admins() RETURNS TABLE(id uuid, stopped_until timestamp with time zone)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT s.id, CASE WHEN NOT now.able THEN s.admin_until END
      FROM byokeep.subject s
     CROSS JOIN LATERAL (
           SELECT s.state = 'active' AND 'admin' = ANY (s.roles)
              AND (s.password_phc IS NOT NULL
                   OR EXISTS (SELECT FROM byokeep.api_token t
                               WHERE t.subject_id = s.id AND t.revoked_at IS NULL
                                 AND t.expires_at > clock_timestamp())) AS able) now
     WHERE now.able OR s.admin_until > clock_timestamp()
$$;


ALTER FUNCTION byokeep.able_admins() OWNER TO byokeep_owner;

--
-- Name: FUNCTION able_admins(); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.able_admins() IS 'The admins who count where something takes two; until when those do who were stopped.';


--
-- Name: account_recorded(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.account_recorded() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_client  uuid := NEW.client_id;
    v_account uuid := CASE TG_TABLE_NAME WHEN 'account_grant' THEN to_jsonb(NEW) ->> 'account_id'
                                         ELSE to_jsonb(NEW) ->> 'id' END;
BEGIN
    IF NOT byokeep.is_owner() AND (
        (SELECT byokeep.row_said(v_client, v_account, 'row') IS DISTINCT FROM byokeep.account_row(a, g)
           FROM byokeep.platform_account a
           LEFT JOIN byokeep.account_grant g ON g.client_id = a.client_id AND g.account_id = a.id
          WHERE a.client_id = v_client AND a.id = v_account)
        OR NOT byokeep.said_here(v_client, ARRAY[v_account], ARRAY['account.registered', 'account.identified',
            'account.verified', 'account.quarantined', 'account.name_changed', 'account.name_confirmed',
            'account.lanes_set', 'account.reauth_needed', 'platform_connected', 'tokens.refreshed',
            'tokens.chain_broken', 'grant.revoked']))
    THEN
        PERFORM byokeep.refuse_unrecorded('platform_account');
    END IF;
    IF TG_TABLE_NAME = 'platform_account' AND NOT byokeep.is_owner() THEN
        -- What opens the gate has its own word, and that only who may say it says: who looked, and a person.
        IF NEW.identity = 'match' AND (TG_OP = 'INSERT' OR (OLD.identity, OLD.identified_at)
                                       IS DISTINCT FROM (NEW.identity, NEW.identified_at))
                AND NOT byokeep.said_here(v_client, ARRAY[v_account],
                    ARRAY['account.identified', 'account.verified', 'platform_connected'])
            OR byokeep.role_of(session_user) <> 'byokeep_web' AND NEW.lanes <> '{}'
                AND (TG_OP = 'INSERT' OR NOT NEW.lanes <@ OLD.lanes)
        THEN
            PERFORM byokeep.refuse_unrecorded('platform_account');
        END IF;
    END IF;
    RETURN NULL;
END
$$;


ALTER FUNCTION byokeep.account_recorded() OWNER TO byokeep_owner;

SET default_tablespace = '';

SET default_table_access_method = heap;

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
-- Name: TABLE account_grant; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.account_grant IS 'What a client''s consent gave us for one account: ends, scopes, the fingerprint as the platform said it; no token.';


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
-- Name: COLUMN platform_account.username; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.platform_account.username IS 'Typed by an operator, or as a platform says it: any script then, and empty where a platform tells none.';


--
-- Name: account_row(byokeep.platform_account, byokeep.account_grant); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.account_row(a byokeep.platform_account, g byokeep.account_grant) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
    SELECT byokeep.digest_of(jsonb_build_array(a.id, a.client_id, a.platform, a.account, a.username, a.display_name,
        to_jsonb(a.lanes), a.identity, extract(epoch FROM a.identified_at), g.account_id, g.app_id, g.external_id,
        g.username, g.display_name, g.state, g.version, g.access_version, g.drift))
$$;


ALTER FUNCTION byokeep.account_row(a byokeep.platform_account, g byokeep.account_grant) OWNER TO byokeep_owner;

--
-- Name: FUNCTION account_row(a byokeep.platform_account, g byokeep.account_grant); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.account_row(a byokeep.platform_account, g byokeep.account_grant) IS 'What the gate believes of an account and its grant. Not when the grant was verified: that may be forgotten at any
 time, and unrecorded.sql holds it against the records of verifications.';


--
-- Name: alert_on_record(uuid, timestamp with time zone); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.alert_on_record(p_alert uuid, p_opened timestamp with time zone) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT coalesce((
        SELECT r.event = 'alert.raised' FROM byokeep.audit_record r
         WHERE r.event IN ('alert.raised', 'alert.closed')
           AND r.at > least(p_opened, clock_timestamp()) - interval '10 minutes'
           AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,alert}' = p_alert::text
         ORDER BY r.at DESC, r.seq DESC LIMIT 1), false)
$$;


ALTER FUNCTION byokeep.alert_on_record(p_alert uuid, p_opened timestamp with time zone) OWNER TO byokeep_owner;

--
-- Name: alert_only_counts(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.alert_only_counts() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
BEGIN
    IF NOT byokeep.is_owner() AND (
        OLD.closed_at IS NOT NULL OR NEW.count - OLD.count NOT IN (0, 1)
        -- By itself the broker closes what tells of a state when that is over, and the worker what tells of something due
        -- or of a target, and of a rotation that has ended (reminders_over), in the service's name; not of a key that a mass
        -- revocation has left.
        OR NEW.closed_at IS NOT NULL AND byokeep.role_of(session_user) <> 'byokeep_web' AND (
            NEW.dedup_key !~ '^(state|rotation_overdue|notification_failing)/' AND (
                byokeep.role_of(session_user) <> 'byokeep_worker' OR NEW.dedup_key <> NEW.reason || ':' || NEW.object_id
                OR NOT byokeep.tells_of_rotation(NEW.reason) OR byokeep.revocation_left(NEW.object_id))
            OR NEW.closed_by IS DISTINCT FROM (SELECT id FROM byokeep.installation))
        OR NEW.last_seen_at < OLD.last_seen_at OR NEW.last_seen_at > greatest(OLD.last_seen_at, clock_timestamp()))
    THEN
        PERFORM byokeep.refuse_unrecorded('alert');
    END IF;
    RETURN NEW;
END
$$;


ALTER FUNCTION byokeep.alert_only_counts() OWNER TO byokeep_owner;

--
-- Name: alert_opens_now(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.alert_opens_now() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
BEGIN
    IF NOT byokeep.is_owner() THEN
        NEW.opened_at := clock_timestamp();
    END IF;
    RETURN NEW;
END
$$;


ALTER FUNCTION byokeep.alert_opens_now() OWNER TO byokeep_owner;

--
-- Name: alert_recorded(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.alert_recorded() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_chains uuid[] := ARRAY[NEW.client_id, (SELECT id FROM byokeep.installation)];
    v_fields jsonb := jsonb_build_object('alert', NEW.id, 'reason', NEW.reason);
    v_raised jsonb := jsonb_build_object(
        'severity', NEW.severity, 'chain', coalesce(NEW.client_id, (SELECT id FROM byokeep.installation)));
BEGIN
    IF NOT byokeep.is_owner() AND (CASE TG_OP
        WHEN 'INSERT' THEN
            NEW.count <> 1 OR NEW.closed_at IS NOT NULL OR NEW.acknowledged_at IS NOT NULL OR NEW.last_seen_at > clock_timestamp()
            OR NOT byokeep.fields_said_here(v_chains, 'alert.raised', v_fields || v_raised)
        ELSE
            OLD.closed_at IS DISTINCT FROM NEW.closed_at AND NOT byokeep.fields_said_here(v_chains, 'alert.closed', v_fields)
            OR (OLD.acknowledged_at, OLD.acknowledged_by) IS DISTINCT FROM (NEW.acknowledged_at, NEW.acknowledged_by)
            AND (NEW.acknowledged_by IS NULL OR NOT byokeep.fields_said_here(v_chains, 'alert.acknowledged', v_fields)) END)
    THEN
        PERFORM byokeep.refuse_unrecorded('alert');
    END IF;
    RETURN NULL;
END
$$;


ALTER FUNCTION byokeep.alert_recorded() OWNER TO byokeep_owner;

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
    AS $_$
#variable_conflict use_column
DECLARE
    -- Whole numbers below 2^53, and text that needs no escape.
    c_fields  CONSTANT text := '^(?:,"[a-z0-9_]+":(?:-?(?:0|[1-9][0-9]{0,14}|[1-8][0-9]{15}|900[0-6][0-9]{12})'
        '|"(?:[a-z0-9][a-zA-Z0-9_.:/,+-]*)?"))+$';
    v_allowed byokeep.audit_vocabulary%ROWTYPE;
    v_text    text;
    v_front   text;
    v_back    text;
    v_rest    text;
    v_cut     integer;
    v_fields  text;
    v_platform uuid := (SELECT id FROM byokeep.installation);
    v_role    text := byokeep.role_of(session_user);
    v_writer  bytea := convert_to(v_role, 'UTF8');
    v_head    byokeep.audit_head%ROWTYPE;
    v_at      timestamptz;
    v_hash    bytea;
    v_rows    jsonb;
BEGIN
    SELECT * INTO v_allowed FROM byokeep.audit_vocabulary WHERE event = p_event;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such audit event' USING ERRCODE = 'BK002';
    END IF;
    IF NOT v_role = ANY (v_allowed.writers) THEN
        RAISE EXCEPTION 'this role may not write this audit event' USING ERRCODE = 'BK003';
    END IF;
    IF p_chain IS NULL OR octet_length(p_payload) > 16384 THEN
        RAISE EXCEPTION 'audit record without a chain, or too large' USING ERRCODE = 'BK004';
    END IF;
    -- The auditor's own reading stands in the platform's chain; it holds no client's.
    IF v_role = 'byokeep_auditor' AND p_chain IS DISTINCT FROM v_platform THEN
        RAISE EXCEPTION 'this role may not write to a client''s chain' USING ERRCODE = 'BK003';
    END IF;
    -- Of its own the worker ends alerts of what is due, of messages and of rotations (reminders_over); a person who closed
    -- another one is web's to tell.
    IF p_event = 'alert.closed' AND v_role = 'byokeep_worker'
        AND convert_from(p_payload, 'UTF8') !~ '"reason":"(rotation_overdue|notification_failing)"'
        AND byokeep.tells_of_rotation(substring(convert_from(p_payload, 'UTF8') FROM '"reason":"([a-z_]+)"')) IS NOT TRUE
    THEN
        RAISE EXCEPTION 'this role may not write this audit event' USING ERRCODE = 'BK003';
    END IF;
    -- The payload must be, byte for byte, the one spelling of what stands beside it and of fields that the vocabulary
    -- lists for this event: all of it, for nobody can take a record back. No value holds a quote or a brace, so it is cut
    -- at its own words; nothing is parsed, for every act of the service comes by here. What the fields look like is one
    -- small expression; which they are, and that each stands once and in its place, is a LIKE on the vocabulary's list:
    -- one expression for both takes five times as long.
    v_text := convert_from(p_payload, 'UTF8');
    v_front := '{"actor":"' || p_actor || '","client":' || coalesce('"' || nullif(p_chain, v_platform) || '"', 'null')
        || ',"event":"' || p_event || '","fields":{';
    v_back := '},"object":' || coalesce('"' || p_object || '"', 'null') || ',"outcome":"' || p_outcome
        || '","request":"' || p_request || '","roles":[';
    v_rest := substr(v_text, length(v_front) + 1);
    v_cut := strpos(v_rest, v_back);
    v_fields := left(v_rest, v_cut - 1);
    IF (starts_with(v_text, v_front) AND v_cut > 0
        AND (v_fields = '' OR ',' || v_fields ~ c_fields AND v_allowed.fields LIKE '%'
            || replace(replace(regexp_replace(',' || v_fields, ':(?:[0-9-]+|"[^"]*")', '', 'g'), '_', '\_'), ',', '%,')
            || '%')
        AND v_fields !~ '[^"]{129}' AND substr(v_rest, v_cut + length(v_back)) ~ '^"[a-z_]+"(?:,"[a-z_]+")*\],"v":1\}$'
        AND p_outcome IN ('intended', 'ok', 'denied', 'rejected', 'failed')) IS NOT TRUE
    THEN
        RAISE EXCEPTION 'audit payload and columns differ, or a field is not of the vocabulary' USING ERRCODE = 'BK004';
    END IF;

    SELECT * INTO v_head FROM byokeep.audit_head AS head WHERE head.chain = p_chain FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO byokeep.audit_head (chain, seq, hash) VALUES (p_chain, 0, decode(repeat('00', 32), 'hex'))
            ON CONFLICT (chain) DO NOTHING;
        SELECT * INTO v_head FROM byokeep.audit_head AS head WHERE head.chain = p_chain FOR UPDATE;
    END IF;

    v_rows := byokeep.rows_now(p_event, p_chain, p_object);
    IF v_rows <> '{}' THEN
        p_payload := byokeep.audit_canonical(jsonb_set(v_text::jsonb, '{fields}', (v_text::jsonb -> 'fields') || v_rows));
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
        (p_chain, v_head.seq, v_at, p_event, p_actor, p_object, p_request, p_outcome, v_role, p_payload, v_hash);
    UPDATE byokeep.audit_head AS head SET seq = v_head.seq, hash = v_hash, at = v_at WHERE head.chain = p_chain;
    RETURN QUERY SELECT v_head.seq, v_hash, v_at;
END
$_$;


ALTER FUNCTION byokeep.audit_append(p_chain uuid, p_event text, p_actor uuid, p_object uuid, p_request uuid, p_outcome text, p_payload bytea) OWNER TO byokeep_owner;

--
-- Name: FUNCTION audit_append(p_chain uuid, p_event text, p_actor uuid, p_object uuid, p_request uuid, p_outcome text, p_payload bytea); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.audit_append(p_chain uuid, p_event text, p_actor uuid, p_object uuid, p_request uuid, p_outcome text, p_payload bytea) IS 'Appends one record to a chain, if its payload is ours to the byte; the chain stays locked until the caller commits.';


--
-- Name: audit_canonical(jsonb); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.audit_canonical(said jsonb) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT
    SET search_path TO 'pg_catalog'
    AS $$
    SELECT convert_to('{' || string_agg(to_jsonb(m.key)::text || ':' || CASE jsonb_typeof(m.value)
               WHEN 'object' THEN '{' || coalesce((SELECT string_agg(to_jsonb(f.key)::text || ':' || f.value::text, ','
                   ORDER BY f.key COLLATE "C") FROM jsonb_each(m.value) f), '') || '}'
               WHEN 'array' THEN '[' || coalesce((SELECT string_agg(e.value::text, ',' ORDER BY e.place)
                   FROM jsonb_array_elements(m.value) WITH ORDINALITY AS e (value, place)), '') || ']'
               ELSE m.value::text END, ',' ORDER BY m.key COLLATE "C") || '}', 'UTF8')
      FROM jsonb_each(said) m
$$;


ALTER FUNCTION byokeep.audit_canonical(said jsonb) OWNER TO byokeep_owner;

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
-- Name: audit_hold(uuid); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.audit_hold(p_chain uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT FROM byokeep.audit_head AS head WHERE head.chain = p_chain FOR UPDATE
$$;


ALTER FUNCTION byokeep.audit_hold(p_chain uuid) OWNER TO byokeep_owner;

--
-- Name: FUNCTION audit_hold(p_chain uuid); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.audit_hold(p_chain uuid) IS 'Locks a chain until the caller commits, as appending to it does.';


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
-- Name: calls_forget(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.calls_forget() RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    WITH gone AS (
        DELETE FROM byokeep.tool_call c USING (
            SELECT client_id, id FROM byokeep.tool_call
             WHERE told_at < clock_timestamp() - interval '35 days' ORDER BY told_at LIMIT 10000) AS old
         WHERE c.client_id = old.client_id AND c.id = old.id RETURNING 1),
    told AS (DELETE FROM byokeep.provider_usage WHERE told_at < clock_timestamp() - interval '35 days')
    SELECT count(*) FROM gone
$$;


ALTER FUNCTION byokeep.calls_forget() OWNER TO byokeep_owner;

--
-- Name: FUNCTION calls_forget(); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.calls_forget() IS 'Deletes calls that are older than they are kept; returns how many.';


--
-- Name: client_recorded(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.client_recorded() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF NOT byokeep.is_owner() AND NOT (
        -- What a kill cuts off at the store is named once; another name would let the client go on reading.
        (TG_OP = 'INSERT' OR OLD.entity_id IS NULL OR NEW.entity_id IS NOT DISTINCT FROM OLD.entity_id)
        AND byokeep.said_here(NEW.id, ARRAY[NEW.id],
            ARRAY['client.created', 'client.enrolled', 'client.suspended', 'client.resumed'])
        AND byokeep.row_said(NEW.id, NEW.id, 'row')
            = (SELECT byokeep.client_row(c) FROM byokeep.client c WHERE c.id = NEW.id))
    THEN
        PERFORM byokeep.refuse_unrecorded('client');
    END IF;
    RETURN NULL;
END
$$;


ALTER FUNCTION byokeep.client_recorded() OWNER TO byokeep_owner;

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
-- Name: client_row(byokeep.client); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.client_row(c byokeep.client) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$ SELECT byokeep.digest_of(jsonb_build_array(c.id, c.state, c.entity_id)) $$;


ALTER FUNCTION byokeep.client_row(c byokeep.client) OWNER TO byokeep_owner;

--
-- Name: FUNCTION client_row(c byokeep.client); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.client_row(c byokeep.client) IS 'What the gate, and a kill at the store, believe of a client.';


--
-- Name: digest_of(jsonb); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.digest_of(said jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog'
    AS $$ SELECT '1:' || left(encode(sha256(convert_to(said::text, 'UTF8')), 'hex'), 32) $$;


ALTER FUNCTION byokeep.digest_of(said jsonb) OWNER TO byokeep_owner;

--
-- Name: end_blockers(integer); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.end_blockers(p_waiting integer) RETURNS integer
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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


ALTER FUNCTION byokeep.end_blockers(p_waiting integer) OWNER TO byokeep_owner;

--
-- Name: FUNCTION end_blockers(p_waiting integer); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.end_blockers(p_waiting integer) IS 'Ends the sessions that a kill waits for.';


--
-- Name: fields_said_here(uuid[], text, jsonb); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.fields_said_here(p_chains uuid[], p_event text, p_fields jsonb) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
    SELECT EXISTS (
        SELECT FROM byokeep.audit_head h
          JOIN byokeep.audit_record r ON r.chain = h.chain AND r.seq > h.seq - 2000
         WHERE h.chain = ANY (p_chains) AND r.event = p_event AND r.outcome = 'ok'
           AND r.xmin = pg_current_xact_id()::xid AND r.at >= transaction_timestamp()
           AND convert_from(r.payload, 'UTF8')::jsonb -> 'fields' @> p_fields)
$$;


ALTER FUNCTION byokeep.fields_said_here(p_chains uuid[], p_event text, p_fields jsonb) OWNER TO byokeep_owner;

--
-- Name: hold_rows(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.hold_rows() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    SET CONSTRAINTS ALL IMMEDIATE;
    SET CONSTRAINTS ALL DEFERRED;
END
$$;


ALTER FUNCTION byokeep.hold_rows() OWNER TO byokeep_owner;

--
-- Name: FUNCTION hold_rows(); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.hold_rows() IS 'Fires the deferred triggers of the transaction.';


--
-- Name: is_owner(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.is_owner() RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$ SELECT pg_has_role(session_user, 'byokeep_owner', 'USAGE') $$;


ALTER FUNCTION byokeep.is_owner() OWNER TO byokeep_owner;

--
-- Name: FUNCTION is_owner(); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.is_owner() IS 'Whether the session is one that could turn these triggers off anyway.';


--
-- Name: job_only_ends(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.job_only_ends() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
BEGIN
    IF NOT byokeep.is_owner() AND (
        OLD.state <> 'open' AND NEW.state = 'open' OR OLD.sealing_at IS NOT NULL AND NEW.sealing_at IS NULL)
    THEN
        PERFORM byokeep.refuse_unrecorded('job');
    END IF;
    RETURN NEW;
END
$$;


ALTER FUNCTION byokeep.job_only_ends() OWNER TO byokeep_owner;

--
-- Name: job_recorded(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.job_recorded() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF NOT byokeep.is_owner() AND NOT (
        byokeep.said_here(NEW.client_id, ARRAY[NEW.id], ARRAY['job.opened'])
        AND byokeep.row_said(NEW.client_id, NEW.id, 'row') = byokeep.job_row(NEW))
    THEN
        PERFORM byokeep.refuse_unrecorded('job');
    END IF;
    RETURN NULL;
END
$$;


ALTER FUNCTION byokeep.job_recorded() OWNER TO byokeep_owner;

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
-- Name: COLUMN job.sealing_at; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.job.sealing_at IS 'From here on it seals the profile that it used, and causes no effect.';


--
-- Name: job_row(byokeep.job); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.job_row(j byokeep.job) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
    SELECT byokeep.digest_of(jsonb_build_array(j.id, j.client_id, j.dispatcher_id, j.runner_id, j.kind,
        to_jsonb(j.secrets), to_jsonb(j.platforms), to_jsonb(j.lanes), to_jsonb(j.effects),
        extract(epoch FROM j.opened_at), extract(epoch FROM j.expires_at)))
$$;


ALTER FUNCTION byokeep.job_row(j byokeep.job) OWNER TO byokeep_owner;

--
-- Name: FUNCTION job_row(j byokeep.job); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.job_row(j byokeep.job) IS 'What a job declared. Whether it is over is apart: a job only ends.';


--
-- Name: key_recorded(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.key_recorded() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_new  boolean := TG_OP = 'INSERT';
    v_here uuid[] := ARRAY[NEW.id, NEW.account_id];
    v_now  byokeep.credential_ref;
BEGIN
    IF byokeep.is_owner() THEN
        RETURN NULL;
    END IF;
    SELECT * INTO v_now FROM byokeep.credential_ref WHERE client_id = NEW.client_id AND id = NEW.id;
    IF byokeep.key_said(v_now) IS DISTINCT FROM byokeep.key_row(v_now)
        OR NOT byokeep.said_here(NEW.client_id, v_here, ARRAY['key.stored', 'key.admin_stored', 'key.verified', 'key.leak_checked',
            'key.state_changed', 'key.pinned', 'client_key_onboarded', 'client_key_onboarding_failed',
            'webhook_secret.stored', 'webhook_secret.retired', 'platform_connected', 'tokens.stored',
            'tokens.refreshed', 'grant.revoked'])
        -- What opens the gate has its own word, and that only who may say it says.
        OR NEW.verification = 'verified' AND (v_new OR OLD.verification <> 'verified')
            AND NOT byokeep.said_here(NEW.client_id, v_here, ARRAY['key.verified', 'platform_connected'])
            -- A candidate was verified as such: the record that it took over says so of the version that it names.
            AND (v_new OR NEW.version = OLD.version OR NOT byokeep.said_here(NEW.client_id, v_here, ARRAY['key.pinned']))
        OR NEW.state = 'active' AND (v_new OR OLD.state <> 'active')
            AND NOT byokeep.said_here(NEW.client_id, v_here,
                ARRAY['key.state_changed', 'platform_connected', 'webhook_secret.stored', 'key.admin_stored'])
        OR (v_new OR NEW.version <> OLD.version)
            AND NOT byokeep.said_here(NEW.client_id, v_here, ARRAY['key.stored', 'key.pinned', 'webhook_secret.stored', 'key.admin_stored',
                'platform_connected', 'tokens.refreshed'])
        -- Another version of a provider's key was not verified with the one before it, and an ended key stays ended.
        OR NOT v_new AND NEW.purpose = 'default' AND (
            NEW.version <> OLD.version AND NEW.verification = 'verified'
                AND NOT byokeep.said_here(NEW.client_id, v_here, ARRAY['key.verified', 'key.pinned'])
            OR OLD.state IN ('deactivated', 'compromised', 'destroyed')
                AND NEW.state IN ('pre_activation', 'active', 'suspended'))
    THEN
        PERFORM byokeep.refuse_unrecorded('credential_ref');
    END IF;
    RETURN NULL;
END
$$;


ALTER FUNCTION byokeep.key_recorded() OWNER TO byokeep_owner;

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
    candidate_version integer,
    candidate_risk text,
    candidate_due_at timestamp with time zone,
    candidate_at timestamp with time zone,
    candidate_by uuid,
    provider_place text DEFAULT ''::text NOT NULL,
    candidate_place text DEFAULT ''::text NOT NULL,
    candidate_expires_at timestamp with time zone,
    CONSTRAINT credential_ref_belongs_ck CHECK ((((kind = 'oauth_token_set'::text) = (account_id IS NOT NULL)) AND ((kind = 'oauth_token_set'::text) = (purpose = 'account'::text)) AND ((kind = 'webhook_signing_secret'::text) = (purpose = 'webhook'::text)) AND ((kind = 'provider_admin_key'::text) = (purpose = 'admin'::text)))),
    CONSTRAINT credential_ref_candidate_ck CHECK (((num_nulls(candidate_version, candidate_risk, candidate_due_at, candidate_at, candidate_by) = ANY (ARRAY[0, 5])) AND COALESCE((candidate_version > version), true) AND COALESCE((candidate_risk = ANY (ARRAY['standard'::text, 'high'::text])), true))),
    CONSTRAINT credential_ref_candidate_expires_at_ck CHECK (((candidate_expires_at IS NULL) OR (candidate_version IS NOT NULL))),
    CONSTRAINT credential_ref_candidate_place_ck CHECK (((candidate_place ~ '^([a-z_]{1,32}=[A-Za-z0-9._-]{1,128}(,[a-z_]{1,32}=[A-Za-z0-9._-]{1,128}){0,3})?$'::text) AND ((candidate_place = ''::text) OR (candidate_version IS NOT NULL)))),
    CONSTRAINT credential_ref_environment_ck CHECK ((environment = ANY (ARRAY['production'::text, 'staging'::text, 'development'::text]))),
    CONSTRAINT credential_ref_kind_ck CHECK ((kind = ANY (ARRAY['provider_api_key'::text, 'provider_admin_key'::text, 'oauth_token_set'::text, 'session_cookie'::text, 'webhook_signing_secret'::text, 'internal_service_token'::text, 'database_credential'::text]))),
    CONSTRAINT credential_ref_previous_ck CHECK (((previous_version IS NULL) = (previous_until IS NULL))),
    CONSTRAINT credential_ref_provider_ck CHECK ((provider = ANY (ARRAY['google'::text, 'anthropic'::text, 'openai'::text, 'openrouter'::text, 'heygen'::text, 'kie'::text, 'meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text, 'skool'::text]))),
    CONSTRAINT credential_ref_provider_place_ck CHECK ((provider_place ~ '^([a-z_]{1,32}=[A-Za-z0-9._-]{1,128}(,[a-z_]{1,32}=[A-Za-z0-9._-]{1,128}){0,3})?$'::text)),
    CONSTRAINT credential_ref_purpose_ck CHECK ((purpose ~ '^[a-z][a-z0-9_]{0,31}$'::text)),
    CONSTRAINT credential_ref_risk_ck CHECK ((risk = ANY (ARRAY['standard'::text, 'high'::text]))),
    CONSTRAINT credential_ref_rotation_due_at_ck CHECK (((rotation_due_at > created_at) AND (rotation_due_at <= (created_at + '400 days'::interval)))),
    CONSTRAINT credential_ref_secret_ref_ck CHECK ((secret_ref = (((('vault://kv/clients/'::text || (client_id)::text) || '/providers/'::text) || provider) ||
CASE kind
    WHEN 'oauth_token_set'::text THEN (('/accounts/'::text || (account_id)::text) || '/tokens'::text)
    WHEN 'webhook_signing_secret'::text THEN '/webhook'::text
    WHEN 'provider_admin_key'::text THEN '/admin'::text
    ELSE ''::text
END))),
    CONSTRAINT credential_ref_state_ck CHECK ((state = ANY (ARRAY['pre_activation'::text, 'active'::text, 'suspended'::text, 'deactivated'::text, 'compromised'::text, 'destroyed'::text]))),
    CONSTRAINT credential_ref_verification_ck CHECK ((verification = ANY (ARRAY['pending'::text, 'verified'::text, 'failed'::text, 'quarantined'::text]))),
    CONSTRAINT credential_ref_version_ck CHECK ((version >= 1))
);


ALTER TABLE byokeep.credential_ref OWNER TO byokeep_owner;

--
-- Name: COLUMN credential_ref.candidate_version; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.credential_ref.candidate_version IS 'A newer value that waits for its verification; the pinned one goes on serving until then.';


--
-- Name: COLUMN credential_ref.provider_place; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.credential_ref.provider_place IS 'Of a keyless credential the ids of the provider that it is; of an administrator''s key where in the account it works.';


--
-- Name: key_row(byokeep.credential_ref); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.key_row(r byokeep.credential_ref) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
    SELECT byokeep.digest_of(jsonb_build_array(r.id, r.client_id, r.provider, r.kind, r.purpose, r.environment,
        r.secret_ref, r.account_id, r.version, r.state, r.verification, extract(epoch FROM r.expires_at)))
$$;


ALTER FUNCTION byokeep.key_row(r byokeep.credential_ref) OWNER TO byokeep_owner;

--
-- Name: FUNCTION key_row(r byokeep.credential_ref); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.key_row(r byokeep.credential_ref) IS 'What the gate believes of a reference.';


--
-- Name: key_said(byokeep.credential_ref); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.key_said(r byokeep.credential_ref) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
    SELECT CASE WHEN r.account_id IS NULL THEN byokeep.row_said(r.client_id, r.id, 'row')
                ELSE (SELECT a.said FROM (
                    (SELECT o.seq, convert_from(o.payload, 'UTF8')::jsonb #>> '{fields,row}' AS said
                       FROM byokeep.audit_record o
                      WHERE o.chain = r.client_id AND o.object_id = r.id
                        AND convert_from(o.payload, 'UTF8')::jsonb -> 'fields' ? 'row'
                      ORDER BY o.seq DESC LIMIT 1)
                    UNION ALL
                    (SELECT o.seq, convert_from(o.payload, 'UTF8')::jsonb #>> '{fields,tokens_row}'
                       FROM byokeep.audit_record o
                      WHERE o.chain = r.client_id AND o.object_id = r.account_id
                        AND convert_from(o.payload, 'UTF8')::jsonb -> 'fields' ? 'tokens_row'
                      ORDER BY o.seq DESC LIMIT 1)) a ORDER BY a.seq DESC LIMIT 1) END
$$;


ALTER FUNCTION byokeep.key_said(r byokeep.credential_ref) OWNER TO byokeep_owner;

--
-- Name: machine_own(uuid, uuid); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.machine_own(p_id uuid, p_actor uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT EXISTS (
        SELECT FROM byokeep.subject m
         WHERE m.id = p_id AND m.kind = 'machine' AND m.created_by = p_actor
           AND (p_actor = (SELECT i.id FROM byokeep.installation i)
                OR EXISTS (SELECT FROM byokeep.approval a
                            WHERE a.action = 'give_rights' AND starts_with(a.scope, 'rights:' || p_id || ':')
                              AND a.epoch = 0 AND a.requested_by = p_actor AND a.approved_by <> p_actor
                              AND a.used_at IS NOT NULL))
           AND NOT EXISTS (SELECT FROM byokeep.subject s WHERE s.id = p_actor AND s.held_until > clock_timestamp()))
$$;


ALTER FUNCTION byokeep.machine_own(p_id uuid, p_actor uuid) OWNER TO byokeep_owner;

--
-- Name: FUNCTION machine_own(p_id uuid, p_actor uuid); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.machine_own(p_id uuid, p_actor uuid) IS 'Whether this admin, with a second, or the installation itself made the machine.';


--
-- Name: notifications_forget(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.notifications_forget() RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    WITH gone AS (
        DELETE FROM byokeep.notification WHERE id IN (
            SELECT id FROM byokeep.notification
             WHERE sent_at < clock_timestamp() - interval '35 days' ORDER BY sent_at LIMIT 10000) RETURNING 1)
    SELECT count(*) FROM gone
$$;


ALTER FUNCTION byokeep.notifications_forget() OWNER TO byokeep_owner;

--
-- Name: FUNCTION notifications_forget(); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.notifications_forget() IS 'Deletes messages that were sent longer ago than they are kept.';


--
-- Name: password_put(uuid, text, uuid, bytea); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.password_put(p_id uuid, p_phc text, p_request uuid, p_payload bytea) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_seq bigint;
BEGIN
    PERFORM byokeep.subject_lock();
    UPDATE byokeep.subject
       SET password_phc = p_phc, password_mark = encode(sha256(convert_to(p_phc, 'UTF8')), 'hex')
     WHERE id = p_id AND kind = 'operator' AND state = 'active';
    IF NOT FOUND
        OR convert_from(p_payload, 'UTF8')::jsonb #>> '{fields,rights}' IS DISTINCT FROM byokeep.subject_rights(p_id)
    THEN
        RAISE EXCEPTION 'record and row differ' USING ERRCODE = 'BK004';
    END IF;
    -- The actor is the person: nobody sets another's.
    SELECT seq INTO v_seq FROM byokeep.audit_append(
        (SELECT i.id FROM byokeep.installation i), 'operator.changed', p_id, p_id, p_request, 'ok', p_payload);
    UPDATE byokeep.subject SET record_seq = v_seq WHERE id = p_id;
END
$$;


ALTER FUNCTION byokeep.password_put(p_id uuid, p_phc text, p_request uuid, p_payload bytea) OWNER TO byokeep_owner;

--
-- Name: FUNCTION password_put(p_id uuid, p_phc text, p_request uuid, p_payload bytea); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.password_put(p_id uuid, p_phc text, p_request uuid, p_payload bytea) IS 'A person''s own password, with its record.';


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
-- Name: refuse_unrecorded(text); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.refuse_unrecorded(p_table text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
BEGIN
    RAISE EXCEPTION 'a row of % changed without its record', p_table USING ERRCODE = 'BK005';
END
$$;


ALTER FUNCTION byokeep.refuse_unrecorded(p_table text) OWNER TO byokeep_owner;

--
-- Name: reminders_over(text[]); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.reminders_over(p_overdue text[]) RETURNS TABLE(id uuid, reason text, client_id uuid, object_id uuid)
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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


ALTER FUNCTION byokeep.reminders_over(p_overdue text[]) OWNER TO byokeep_owner;

--
-- Name: FUNCTION reminders_over(p_overdue text[]); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.reminders_over(p_overdue text[]) IS 'Closes alerts of what is overdue no more, or fails no more.';


--
-- Name: revocation_left(uuid); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.revocation_left(p_object uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT EXISTS (SELECT FROM byokeep.revocation_item i
                    WHERE i.object_id = p_object AND i.state <> 'revoked' AND i.settled_by IS NULL)
$$;


ALTER FUNCTION byokeep.revocation_left(p_object uuid) OWNER TO byokeep_owner;

--
-- Name: FUNCTION revocation_left(p_object uuid); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.revocation_left(p_object uuid) IS 'Whether a mass revocation has yet to end one at its provider.';


--
-- Name: role_of(name); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.role_of(p_login name) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog'
    AS $_$ SELECT regexp_replace(p_login::text, '_[0-9a-f]{12}$', '') $_$;


ALTER FUNCTION byokeep.role_of(p_login name) OWNER TO byokeep_owner;

--
-- Name: FUNCTION role_of(p_login name); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.role_of(p_login name) IS 'The role of a login.';


--
-- Name: rotation_due_now(uuid, text); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.rotation_due_now(p_client uuid, p_secret_ref text) RETURNS integer
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    WITH due AS (
        UPDATE byokeep.credential_ref SET rotation_due_at = least(rotation_due_at, clock_timestamp())
         WHERE client_id = p_client AND secret_ref = p_secret_ref AND state IN ('active', 'suspended') RETURNING 1)
    SELECT count(*)::integer FROM due
$$;


ALTER FUNCTION byokeep.rotation_due_now(p_client uuid, p_secret_ref text) OWNER TO byokeep_owner;

--
-- Name: FUNCTION rotation_due_now(p_client uuid, p_secret_ref text); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.rotation_due_now(p_client uuid, p_secret_ref text) IS 'Makes the rotation of what was read due at once.';


--
-- Name: row_said(uuid, uuid, text); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.row_said(p_chain uuid, p_object uuid, p_field text) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
    SELECT convert_from(r.payload, 'UTF8')::jsonb #>> ARRAY['fields', p_field]
      FROM byokeep.audit_record r
     WHERE r.chain = p_chain AND r.object_id = p_object
       AND convert_from(r.payload, 'UTF8')::jsonb -> 'fields' ? p_field
     ORDER BY r.seq DESC LIMIT 1
$$;


ALTER FUNCTION byokeep.row_said(p_chain uuid, p_object uuid, p_field text) OWNER TO byokeep_owner;

--
-- Name: rows_now(text, uuid, uuid); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.rows_now(p_event text, p_chain uuid, p_object uuid) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_now    xid := pg_current_xact_id()::xid;
    v_all    boolean := p_event = 'config.changed' AND byokeep.is_owner();
    v_kind   text := split_part(p_event, '.', 1);
    v_row    text;
    v_tokens text;
BEGIN
    IF p_object IS NULL THEN
        RETURN '{}';
    END IF;
    IF v_all OR v_kind IN ('key', 'webhook_secret', 'client_key_onboarded', 'client_key_onboarding_failed') THEN
        SELECT byokeep.key_row(r) INTO v_row FROM byokeep.credential_ref r
         WHERE r.client_id = p_chain AND r.id = p_object AND (v_all OR r.xmin = v_now);
    END IF;
    IF v_row IS NULL AND (v_all OR v_kind IN ('account', 'platform_connected', 'tokens', 'grant')) THEN
        SELECT CASE WHEN v_all OR a.xmin = v_now OR g.xmin = v_now THEN byokeep.account_row(a, g) END,
               CASE WHEN v_all OR r.xmin = v_now THEN byokeep.key_row(r) END
          INTO v_row, v_tokens
          FROM byokeep.platform_account a
          LEFT JOIN byokeep.account_grant g ON g.client_id = a.client_id AND g.account_id = a.id
          LEFT JOIN byokeep.credential_ref r
            ON r.client_id = a.client_id AND r.account_id = a.id AND r.state IN ('pre_activation', 'active', 'suspended')
         WHERE a.client_id = p_chain AND a.id = p_object;
    END IF;
    IF v_row IS NULL AND (v_all OR v_kind = 'job') THEN
        SELECT byokeep.job_row(j) INTO v_row FROM byokeep.job j
         WHERE j.client_id = p_chain AND j.id = p_object AND (v_all OR j.xmin = v_now);
    END IF;
    IF v_row IS NULL AND (v_all OR v_kind = 'client') THEN
        SELECT byokeep.client_row(c) INTO v_row FROM byokeep.client c
         WHERE c.id = p_chain AND c.id = p_object AND (v_all OR c.xmin = v_now);
    END IF;
    IF p_event IN ('operator.created', 'operator.changed', 'machine.created', 'machine.changed', 'token.issued',
                   'token.revoked') THEN
        SELECT byokeep.subject_row(s) INTO v_row FROM byokeep.subject s WHERE s.id = p_object AND s.xmin = v_now;
    END IF;
    RETURN jsonb_strip_nulls(jsonb_build_object('row', v_row, 'tokens_row', v_tokens));
END
$$;


ALTER FUNCTION byokeep.rows_now(p_event text, p_chain uuid, p_object uuid) OWNER TO byokeep_owner;

--
-- Name: said_here(uuid, uuid[], text[]); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.said_here(p_chain uuid, p_objects uuid[], p_events text[]) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
    SELECT EXISTS (
        SELECT FROM byokeep.audit_record r
         WHERE r.chain = p_chain AND r.object_id = ANY (p_objects)
           AND r.seq > (SELECT h.seq - 2000 FROM byokeep.audit_head h WHERE h.chain = p_chain)
           AND r.event = ANY (p_events) AND r.outcome IN ('ok', 'failed')
           AND r.xmin = pg_current_xact_id()::xid AND r.at >= transaction_timestamp())
$$;


ALTER FUNCTION byokeep.said_here(p_chain uuid, p_objects uuid[], p_events text[]) OWNER TO byokeep_owner;

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
-- Name: state_rows(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.state_rows() RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_home  uuid := (SELECT id FROM byokeep.installation);
    v_found record;
    v_count bigint := 0;
    v_said  jsonb;
BEGIN
    FOR v_found IN
        SELECT r.client_id AS chain, r.id AS object FROM byokeep.credential_ref r
         WHERE r.account_id IS NULL AND byokeep.key_said(r) IS DISTINCT FROM byokeep.key_row(r)
        UNION ALL
        SELECT a.client_id, a.id FROM byokeep.platform_account a
          LEFT JOIN byokeep.account_grant g ON g.client_id = a.client_id AND g.account_id = a.id
          LEFT JOIN byokeep.credential_ref r ON r.client_id = a.client_id AND r.account_id = a.id
                AND r.state IN ('pre_activation', 'active', 'suspended')
         WHERE byokeep.row_said(a.client_id, a.id, 'row') IS DISTINCT FROM byokeep.account_row(a, g)
            OR r.id IS NOT NULL AND byokeep.key_said(r) IS DISTINCT FROM byokeep.key_row(r)
        UNION ALL
        SELECT j.client_id, j.id FROM byokeep.job j
         WHERE j.state = 'open' AND byokeep.row_said(j.client_id, j.id, 'row') IS DISTINCT FROM byokeep.job_row(j)
        UNION ALL
        SELECT c.id, c.id FROM byokeep.client c
         WHERE byokeep.row_said(c.id, c.id, 'row') IS DISTINCT FROM byokeep.client_row(c)
        ORDER BY 1, 2
    LOOP
        v_said := jsonb_build_object('v', 1, 'event', 'config.changed', 'outcome', 'ok', 'actor', v_home,
            'roles', jsonb_build_array('system'), 'client', v_found.chain, 'object', v_found.object,
            'request', v_home, 'fields', jsonb_build_object('component', 'database', 'reason', 'row_as_found'));
        PERFORM byokeep.audit_append(v_found.chain, 'config.changed', v_home, v_found.object, v_home, 'ok',
            byokeep.audit_canonical(v_said));
        v_count := v_count + 1;
    END LOOP;
    RETURN v_count;
END
$$;


ALTER FUNCTION byokeep.state_rows() OWNER TO byokeep_owner;

--
-- Name: subject_hold(bigint); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.subject_hold(p_hold_s bigint) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
    SELECT clock_timestamp() + make_interval(secs => p_hold_s)
     WHERE p_hold_s > 0 AND (EXISTS (SELECT FROM byokeep.credential_ref) OR EXISTS (SELECT FROM byokeep.profile))
$$;


ALTER FUNCTION byokeep.subject_hold(p_hold_s bigint) OWNER TO byokeep_owner;

--
-- Name: FUNCTION subject_hold(p_hold_s bigint); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.subject_hold(p_hold_s bigint) IS 'Until when what an admin gave approves nothing; null: no hold.';


--
-- Name: subject_lock(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.subject_lock() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    -- No service's role may take this lock, or one that conflicts: each may only read the table. An advisory lock anybody
    -- could hold, and keep those waiting who end somebody's access.
    LOCK TABLE byokeep.subject_client IN SHARE ROW EXCLUSIVE MODE;
END
$$;


ALTER FUNCTION byokeep.subject_lock() OWNER TO byokeep_owner;

--
-- Name: FUNCTION subject_lock(); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.subject_lock() IS 'Changes of who may do what stand in line.';


--
-- Name: subject_put(uuid, text, text, text[], text, boolean, uuid[], uuid, bigint, text, uuid, uuid, bytea); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.subject_put(p_id uuid, p_kind text, p_name text, p_roles text[], p_state text, p_all_clients boolean, p_clients uuid[], p_approval uuid, p_hold_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_old   byokeep.subject%ROWTYPE;
    v_known boolean;
    v_was   boolean;
    v_gains boolean;
    v_wider boolean;
    v_odd   boolean;
    v_said  jsonb := convert_from(p_payload, 'UTF8')::jsonb -> 'fields';
    v_seq   bigint;
BEGIN
    PERFORM byokeep.subject_lock();
    SELECT * INTO v_old FROM byokeep.subject WHERE id = p_id FOR UPDATE;
    v_known := FOUND;
    -- This record would say as it is what nobody said: such a change begins a hold anew.
    v_odd := v_known AND NOT byokeep.subject_recorded(p_id);
    IF p_event IS DISTINCT FROM p_kind || (CASE WHEN v_known THEN '.changed' ELSE '.created' END)
        OR v_known AND (v_old.kind, v_old.name) IS DISTINCT FROM (p_kind, p_name)
    THEN
        RAISE EXCEPTION 'the record speaks of another act' USING ERRCODE = 'BK004';
    END IF;
    IF p_actor = p_id THEN
        RAISE EXCEPTION 'nobody changes their own rights' USING ERRCODE = 'BK007';
    END IF;
    -- What takes two people: machines, approvers and admins, new, back in use, or by a new role. Not an admin who
    -- counts on as one: who stopped them, or another, lets them back.
    v_gains := p_state = 'active' AND EXISTS (
        SELECT FROM unnest(p_roles) AS one WHERE one NOT IN ('operator', 'auditor')
           AND NOT (v_known AND v_old.state = 'active' AND one = ANY (v_old.roles))
           AND NOT (one = 'admin' AND coalesce(v_old.admin_until > clock_timestamp(), false)));
    -- A machine's clients, too: in use or not, for who lets it back in is not shown what changed before.
    v_wider := v_known AND p_kind = 'machine' AND NOT v_old.all_clients
        AND (p_all_clients OR EXISTS (SELECT unnest(p_clients) EXCEPT
                                      SELECT c.client_id FROM byokeep.subject_client c WHERE c.subject_id = p_id));
    IF (v_gains OR v_wider) AND p_approval IS NULL AND (SELECT count(*) FROM byokeep.able_admins()) > 1 THEN
        RAISE EXCEPTION 'this takes a second admin' USING ERRCODE = 'BK006';
    END IF;
    v_was := v_known AND v_old.state = 'active' AND 'admin' = ANY (v_old.roles)
        AND EXISTS (SELECT FROM byokeep.able_admins() a WHERE a.id = p_id);

    INSERT INTO byokeep.subject AS s (id, kind, name, roles, state, all_clients, created_by)
    VALUES (p_id, p_kind, p_name, p_roles, p_state, p_all_clients,
            coalesce((SELECT a.requested_by FROM byokeep.approval a WHERE a.id = p_approval), p_actor))
    ON CONFLICT (id) DO UPDATE
       SET roles = excluded.roles, state = excluded.state, all_clients = excluded.all_clients;
    DELETE FROM byokeep.subject_client WHERE subject_id = p_id AND client_id <> ALL (p_clients);
    INSERT INTO byokeep.subject_client (subject_id, client_id)
    SELECT p_id, one FROM unnest(p_clients) AS one ON CONFLICT DO NOTHING;
    IF v_said ->> 'subject' IS DISTINCT FROM p_id::text
        OR v_said ->> 'roles' IS DISTINCT FROM array_to_string(ARRAY(SELECT unnest(p_roles) ORDER BY 1), ',')
        OR v_said ->> 'rights' IS DISTINCT FROM byokeep.subject_rights(p_id)
    THEN
        RAISE EXCEPTION 'record and row differ' USING ERRCODE = 'BK004';
    END IF;
    IF p_approval IS NOT NULL THEN
        -- Used by this actor in this transaction, for exactly this.
        PERFORM FROM byokeep.approval
         WHERE id = p_approval AND action = 'give_rights' AND approved_by = p_actor AND requested_by <> p_actor
           AND used_at >= now() AND used_at < expires_at
           AND scope = 'rights:' || p_id || ':' || (v_said ->> 'rights')
           -- Whose credentials another admin issued may be that admin.
           AND NOT EXISTS (SELECT FROM byokeep.subject s
                            WHERE s.id = requested_by AND s.held_until > clock_timestamp());
        IF NOT FOUND THEN
            RAISE EXCEPTION 'no such approval' USING ERRCODE = 'BK006';
        END IF;
        UPDATE byokeep.subject SET held_until = NULL WHERE id = p_id;
    ELSIF v_gains OR v_odd OR NOT v_known THEN
        UPDATE byokeep.subject SET held_until = greatest(held_until, byokeep.subject_hold(p_hold_s)) WHERE id = p_id;
    END IF;
    IF v_was AND NOT (p_state = 'active' AND 'admin' = ANY (p_roles)) THEN
        UPDATE byokeep.subject SET admin_until = clock_timestamp() + interval '1 day' WHERE id = p_id;
    END IF;
    SELECT seq INTO v_seq FROM byokeep.audit_append(
        (SELECT i.id FROM byokeep.installation i), p_event, p_actor, p_id, p_request, 'ok', p_payload);
    UPDATE byokeep.subject SET record_seq = v_seq WHERE id = p_id;
END
$$;


ALTER FUNCTION byokeep.subject_put(p_id uuid, p_kind text, p_name text, p_roles text[], p_state text, p_all_clients boolean, p_clients uuid[], p_approval uuid, p_hold_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea) OWNER TO byokeep_owner;

--
-- Name: FUNCTION subject_put(p_id uuid, p_kind text, p_name text, p_roles text[], p_state text, p_all_clients boolean, p_clients uuid[], p_approval uuid, p_hold_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.subject_put(p_id uuid, p_kind text, p_name text, p_roles text[], p_state text, p_all_clients boolean, p_clients uuid[], p_approval uuid, p_hold_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea) IS 'Makes or changes a person or machine, together with the record that says so.';


--
-- Name: subject_recorded(uuid); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.subject_recorded(p_id uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM byokeep.subject s
          JOIN byokeep.audit_record r
            ON r.chain = (SELECT i.id FROM byokeep.installation i) AND r.seq = s.record_seq
         WHERE s.id = p_id AND r.object_id = s.id AND r.outcome = 'ok'
           AND r.event IN (s.kind || '.created', s.kind || '.changed')
           AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,rights}' = byokeep.subject_rights(s.id)
           -- The hold, and until when a stopped admin counts, are as the last record that speaks of it says; of before there were such records, nothing does.
           AND coalesce((
               SELECT convert_from(o.payload, 'UTF8')::jsonb #>> '{fields,row}'
                 FROM byokeep.audit_record o
                WHERE o.object_id = s.id AND o.outcome = 'ok' AND o.chain = r.chain
                  AND o.event IN ('operator.created', 'operator.changed', 'machine.created', 'machine.changed',
                                  'token.issued', 'token.revoked')
                  AND convert_from(o.payload, 'UTF8')::jsonb -> 'fields' ? 'row'
                ORDER BY o.seq DESC LIMIT 1) = byokeep.subject_row(s), true));
END
$$;


ALTER FUNCTION byokeep.subject_recorded(p_id uuid) OWNER TO byokeep_owner;

--
-- Name: FUNCTION subject_recorded(p_id uuid); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.subject_recorded(p_id uuid) IS 'Whether a person''s or machine''s row says what its record says.';


--
-- Name: subject_rights(uuid); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.subject_rights(p_id uuid) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path TO 'pg_catalog'
    AS $$
BEGIN
    RETURN (SELECT encode(sha256(convert_to(concat_ws('|', s.id, s.kind, s.name,
               array_to_string(ARRAY(SELECT unnest(s.roles) ORDER BY 1), ','), s.state,
               CASE WHEN s.all_clients THEN 'all' ELSE 'some' END,
               array_to_string(ARRAY(SELECT c.client_id FROM byokeep.subject_client c
                                      WHERE c.subject_id = s.id ORDER BY 1), ','),
               coalesce(encode(sha256(convert_to(s.password_phc, 'UTF8')), 'hex'), '')), 'UTF8')), 'hex')
      FROM byokeep.subject s WHERE s.id = p_id);
END
$$;


ALTER FUNCTION byokeep.subject_rights(p_id uuid) OWNER TO byokeep_owner;

--
-- Name: FUNCTION subject_rights(p_id uuid); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.subject_rights(p_id uuid) IS 'The digest of all that a person''s or machine''s row says.';


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
    password_mark text,
    record_seq bigint,
    held_until timestamp with time zone,
    admin_until timestamp with time zone,
    CONSTRAINT subject_kind_ck CHECK ((kind = ANY (ARRAY['operator'::text, 'machine'::text]))),
    CONSTRAINT subject_name_ck CHECK (((name ~ '^[[:alnum:]][[:alnum:] ._&''()-]{0,79}$'::text) AND (name !~ '[[:alnum:]_-]{25,}'::text))),
    CONSTRAINT subject_password_phc_ck CHECK (((password_phc IS NULL) OR (password_phc ~~ '$argon2id$%'::text))),
    CONSTRAINT subject_roles_ck CHECK ((((kind = 'operator'::text) AND (roles <@ ARRAY['admin'::text, 'operator'::text, 'approver'::text, 'auditor'::text])) OR ((kind = 'machine'::text) AND (roles <@ ARRAY['dispatcher'::text, 'runner'::text, 'custodian'::text]) AND (cardinality(roles) = 1)))),
    CONSTRAINT subject_separate_roles_ck CHECK (((NOT (roles @> ARRAY['operator'::text, 'approver'::text])) AND (NOT (roles @> ARRAY['admin'::text, 'approver'::text])) AND (NOT (roles @> ARRAY['admin'::text, 'operator'::text])) AND (NOT (roles @> ARRAY['admin'::text, 'auditor'::text])) AND (NOT (roles @> ARRAY['operator'::text, 'auditor'::text])))),
    CONSTRAINT subject_state_ck CHECK ((state = ANY (ARRAY['active'::text, 'disabled'::text])))
);


ALTER TABLE byokeep.subject OWNER TO byokeep_owner;

--
-- Name: COLUMN subject.password_mark; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.subject.password_mark IS 'The digest of password_phc; set by objects/subjects.sql alone.';


--
-- Name: COLUMN subject.record_seq; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.subject.record_seq IS 'The record that says what this row says; set by objects/subjects.sql alone.';


--
-- Name: COLUMN subject.held_until; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.subject.held_until IS 'Until when this person approves nothing.';


--
-- Name: COLUMN subject.admin_until; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.subject.admin_until IS 'Until when an admin whom another stopped counts on as one.';


--
-- Name: CONSTRAINT subject_name_ck ON subject; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON CONSTRAINT subject_name_ck ON byokeep.subject IS 'Letters, digits, plain punctuation. Nothing secret-shaped fits (25 unbroken characters and more).';


--
-- Name: CONSTRAINT subject_separate_roles_ck ON subject; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON CONSTRAINT subject_separate_roles_ck ON byokeep.subject IS 'R4.1-12, as core/policy.py has it: whoever writes rows past the code gives nobody both sides either.';


--
-- Name: subject_row(byokeep.subject); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.subject_row(s byokeep.subject) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
    SELECT byokeep.digest_of(jsonb_build_array(s.id, extract(epoch FROM s.held_until))
        || CASE WHEN s.admin_until IS NULL THEN '[]' ELSE jsonb_build_array(extract(epoch FROM s.admin_until)) END)
$$;


ALTER FUNCTION byokeep.subject_row(s byokeep.subject) OWNER TO byokeep_owner;

--
-- Name: FUNCTION subject_row(s byokeep.subject); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.subject_row(s byokeep.subject) IS 'Until when a person approves nothing, and counts as an admin; the database sets both. The rest: subject_rights.';


--
-- Name: switch_recorded(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.switch_recorded() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_chain uuid := coalesce(NEW.client_id, (SELECT id FROM byokeep.installation));
    v_event text := CASE WHEN NOT NEW.closed THEN 'switch.opened' WHEN NEW.store_cut_off THEN 'switch.store_cut_off' END;
BEGIN
    IF byokeep.is_owner() OR v_event IS NULL THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' AND NEW.epoch = 0 AND NOT NEW.store_cut_off AND NOT EXISTS (
        SELECT FROM byokeep.audit_record r
         WHERE r.chain = v_chain AND r.event IN ('switch.closed', 'switch.opened')
           AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,scope}' = NEW.scope)
    THEN
        RETURN NULL;
    END IF;
    IF NOT byokeep.fields_said_here(
        ARRAY[v_chain], v_event, jsonb_build_object('scope', NEW.scope, 'epoch', NEW.epoch))
    THEN
        PERFORM byokeep.refuse_unrecorded('switch');
    END IF;
    RETURN NULL;
END
$$;


ALTER FUNCTION byokeep.switch_recorded() OWNER TO byokeep_owner;

--
-- Name: task_asked_for(); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.task_asked_for() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
DECLARE
    v_client text := NEW.args ->> 'client_id';
    v_run    text := 'procedure:' || (NEW.args ->> 'run_id');
    v_rewrap text := 'kek_rewrap:' || (NEW.args ->> 'rotation_id') || ':' || v_client;
BEGIN
    IF NEW.queue_name <> 'default' OR NEW.scheduled_at IS NOT NULL OR NEW.priority <> (NEW.lock IS NOT NULL)::integer
        OR NOT EXISTS (
            SELECT FROM (VALUES
                ('procedure', '{byokeep_web,byokeep_broker}'::text[], v_run, v_run),
                ('verify_key', '{byokeep_web}', NULL, NULL),
                ('profile_work', '{byokeep_web}', NULL, NULL),
                ('kek_rotate', '{byokeep_web}', 'kek_rotate:' || v_client, NULL),
                ('kek_check', '{byokeep_web}', 'kek_check:' || v_client, NULL),
                ('kek_end', '{byokeep_web}', 'kek_end:' || v_client, NULL),
                ('kek_rewrap', '{byokeep_web}', v_rewrap, NULL)
            ) AS may (task, roles, key, lock)
            WHERE may.task = NEW.task_name AND byokeep.role_of(session_user) = ANY (may.roles)
              AND NEW.queueing_lock IS NOT DISTINCT FROM may.key AND NEW.lock IS NOT DISTINCT FROM may.lock)
    THEN
        RAISE EXCEPTION 'not a task that this role asks for' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;


ALTER FUNCTION byokeep.task_asked_for() OWNER TO byokeep_owner;

--
-- Name: tells_of_rotation(text); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.tells_of_rotation(p_reason text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT p_reason IN ('key_leak_suspected', 'minted_key_refused', 'mint_gave_up', 'old_key_alive', 'old_key_not_proved',
                        'revocation_refused', 'soak_spike', 'unused_key_alive')
$$;


ALTER FUNCTION byokeep.tells_of_rotation(p_reason text) OWNER TO byokeep_owner;

--
-- Name: FUNCTION tells_of_rotation(p_reason text); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.tells_of_rotation(p_reason text) IS 'Whether an alert of this reason is over when its rotation is.';


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
    record_seq bigint,
    issued_by uuid,
    renewed_to uuid,
    CONSTRAINT api_token_expires_at_ck CHECK (((expires_at > created_at) AND (expires_at <= (created_at + '90 days'::interval)))),
    CONSTRAINT api_token_keyed_hash_ck CHECK ((octet_length(keyed_hash) = 32)),
    CONSTRAINT api_token_kind_ck CHECK ((kind = ANY (ARRAY['api'::text, 'session'::text, 'invitation'::text])))
);


ALTER TABLE byokeep.api_token OWNER TO byokeep_owner;

--
-- Name: token_end(uuid, bigint, text, uuid, uuid, bytea); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.token_end(p_id uuid, p_in_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea) RETURNS SETOF byokeep.api_token
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_ended byokeep.api_token%ROWTYPE;
    v_seq   bigint;
BEGIN
    -- With an overlap what is in use dies by itself; else now.
    UPDATE byokeep.api_token
       SET expires_at = CASE WHEN p_in_s = 0 THEN expires_at
                             ELSE least(expires_at, now() + make_interval(secs => p_in_s)) END,
           revoked_at = CASE WHEN p_in_s = 0 THEN clock_timestamp() END
     WHERE id = p_id AND revoked_at IS NULL AND (p_in_s = 0 OR p_in_s > 0 AND expires_at > now())
    RETURNING * INTO v_ended;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF p_event NOT IN ('token.revoked', 'session.logout')
        OR convert_from(p_payload, 'UTF8')::jsonb #>> '{fields,token}' IS DISTINCT FROM p_id::text
        OR coalesce(convert_from(p_payload, 'UTF8')::jsonb #>> '{fields,life_s}', '0') <> p_in_s::text
    THEN
        RAISE EXCEPTION 'record and row differ' USING ERRCODE = 'BK004';
    END IF;
    IF p_event = 'session.logout' AND p_actor <> v_ended.subject_id THEN
        RAISE EXCEPTION 'nobody logs another out' USING ERRCODE = 'BK007';
    END IF;
    -- It may have been an admin's only way in.
    UPDATE byokeep.subject SET admin_until = clock_timestamp() + interval '1 day'
     WHERE id = v_ended.subject_id AND id <> p_actor AND state = 'active' AND 'admin' = ANY (roles);
    SELECT seq INTO v_seq FROM byokeep.audit_append(
        (SELECT i.id FROM byokeep.installation i), p_event, p_actor, v_ended.subject_id, p_request, 'ok', p_payload);
    IF p_in_s = 0 THEN  -- brought back in the row, it still stands with the record of its end
        UPDATE byokeep.api_token SET record_seq = v_seq WHERE id = p_id;
    END IF;
    RETURN NEXT v_ended;
END
$$;


ALTER FUNCTION byokeep.token_end(p_id uuid, p_in_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea) OWNER TO byokeep_owner;

--
-- Name: FUNCTION token_end(p_id uuid, p_in_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.token_end(p_id uuid, p_in_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea) IS 'Ends a token, together with the record that says so. An ended one: no row.';


--
-- Name: token_issue(uuid, uuid, bytea, text, bigint, uuid, bigint, text, uuid, uuid, bytea, uuid); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.token_issue(p_id uuid, p_subject uuid, p_keyed_hash bytea, p_kind text, p_life_s bigint, p_approval uuid, p_hold_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea, p_shown uuid DEFAULT NULL::uuid) RETURNS SETOF byokeep.api_token
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_whose byokeep.subject%ROWTYPE;
    v_said  jsonb := convert_from(p_payload, 'UTF8')::jsonb -> 'fields';
    v_made  byokeep.api_token%ROWTYPE;
    v_self  boolean := p_actor = p_subject;
    v_first boolean := p_actor = (SELECT i.id FROM byokeep.installation i);  -- the installation's own first identities
BEGIN
    SELECT * INTO v_whose FROM byokeep.subject WHERE id = p_subject AND state = 'active' FOR UPDATE;
    IF NOT FOUND
        OR (p_kind = 'session') <> (p_event = 'session.login') OR p_kind <> 'session' AND p_event <> 'token.issued'
        OR v_said ->> 'subject' IS DISTINCT FROM p_subject::text OR v_said ->> 'token' IS DISTINCT FROM p_id::text
        OR v_said ->> 'kind' IS DISTINCT FROM p_kind OR v_said ->> 'life_s' IS DISTINCT FROM p_life_s::text
        OR v_said ->> 'digest' IS DISTINCT FROM encode(sha256(p_keyed_hash), 'hex')
    THEN
        RAISE EXCEPTION 'record and row differ' USING ERRCODE = 'BK004';
    END IF;
    -- A person's credential comes from the person; what somebody else issues is an invitation.
    IF p_kind = 'session' AND (NOT v_self OR p_life_s > 28800)  -- tenancy/tokens.py, SESSION_S
        OR v_whose.kind = 'machine' AND p_kind <> 'api'
        OR v_whose.kind = 'operator' AND NOT v_first AND v_self = (p_kind = 'invitation')
    THEN
        RAISE EXCEPTION 'not a token that may be issued so' USING ERRCODE = 'BK007';
    END IF;
    -- A machine's token is the machine. Used in this transaction by who asked, approved by another, for exactly this.
    IF v_whose.kind = 'machine' AND NOT byokeep.machine_own(p_subject, p_actor)
        AND (SELECT count(*) FROM byokeep.able_admins()) > 1
        -- A process of ours prolongs the one it shows, while it works and for no longer than a token is given: tokens.py.
        AND NOT (v_self AND v_whose.roles = ARRAY['custodian'] AND p_life_s <= 2592000
                 AND EXISTS (SELECT FROM byokeep.api_token t
                              WHERE t.id = p_shown AND t.subject_id = p_subject AND t.revoked_at IS NULL
                                AND t.expires_at > now() AND t.expires_at > t.created_at + interval '14 days'))
        AND NOT EXISTS (SELECT FROM byokeep.approval a
                         WHERE a.id = p_approval AND a.action = 'issue_token' AND a.requested_by = p_actor
                           AND a.approved_by <> p_actor AND a.used_at >= now() AND a.used_at < a.expires_at
                           AND a.scope = 'token:' || p_subject || ':' || p_life_s AND a.epoch = v_whose.record_seq
                           AND NOT EXISTS (SELECT FROM byokeep.subject s
                                            WHERE s.id = p_actor AND s.held_until > clock_timestamp()))
    THEN
        RAISE EXCEPTION 'this takes a second admin' USING ERRCODE = 'BK006';
    END IF;
    INSERT INTO byokeep.api_token (id, subject_id, keyed_hash, kind, expires_at, issued_by)
    VALUES (p_id, p_subject, p_keyed_hash, p_kind, now() + make_interval(secs => p_life_s), p_actor)
    RETURNING * INTO v_made;
    UPDATE byokeep.api_token SET renewed_to = p_id WHERE id = p_shown AND subject_id = p_subject;
    IF v_whose.kind = 'operator' AND NOT v_self THEN
        UPDATE byokeep.subject SET held_until = greatest(held_until, byokeep.subject_hold(p_hold_s))
         WHERE id = p_subject;
    END IF;
    SELECT seq INTO v_made.record_seq FROM byokeep.audit_append(
        (SELECT i.id FROM byokeep.installation i), p_event, p_actor, p_subject, p_request, 'ok', p_payload);
    UPDATE byokeep.api_token SET record_seq = v_made.record_seq WHERE id = p_id;
    RETURN NEXT v_made;
END
$$;


ALTER FUNCTION byokeep.token_issue(p_id uuid, p_subject uuid, p_keyed_hash bytea, p_kind text, p_life_s bigint, p_approval uuid, p_hold_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea, p_shown uuid) OWNER TO byokeep_owner;

--
-- Name: FUNCTION token_issue(p_id uuid, p_subject uuid, p_keyed_hash bytea, p_kind text, p_life_s bigint, p_approval uuid, p_hold_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea, p_shown uuid); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.token_issue(p_id uuid, p_subject uuid, p_keyed_hash bytea, p_kind text, p_life_s bigint, p_approval uuid, p_hold_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea, p_shown uuid) IS 'Issues a token, together with the record that says so.';


--
-- Name: token_recorded(uuid); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.token_recorded(p_id uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM byokeep.api_token t
          JOIN byokeep.audit_record r
            ON r.chain = (SELECT i.id FROM byokeep.installation i) AND r.seq = t.record_seq
         CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) said
         WHERE t.id = p_id AND r.object_id = t.subject_id AND r.outcome = 'ok'
           AND r.event IN ('token.issued', 'session.login')
           AND said.f ->> 'token' = t.id::text AND said.f ->> 'kind' = t.kind
           AND said.f ->> 'digest' = encode(sha256(t.keyed_hash), 'hex')
           AND t.expires_at <= r.at + make_interval(secs => (said.f ->> 'life_s')::double precision));
END
$$;


ALTER FUNCTION byokeep.token_recorded(p_id uuid) OWNER TO byokeep_owner;

--
-- Name: FUNCTION token_recorded(p_id uuid); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.token_recorded(p_id uuid) IS 'Whether a token is the one, for as long, that its record says.';


--
-- Name: withdraw_again(text, uuid); Type: FUNCTION; Schema: byokeep; Owner: byokeep_owner
--

CREATE FUNCTION byokeep.withdraw_again(p_kind text, p_id uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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


ALTER FUNCTION byokeep.withdraw_again(p_kind text, p_id uuid) OWNER TO byokeep_owner;

--
-- Name: FUNCTION withdraw_again(p_kind text, p_id uuid); Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON FUNCTION byokeep.withdraw_again(p_kind text, p_id uuid) IS 'Ends a token, a subject or a client once more; null = nothing.';


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
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'procrastinate', 'pg_catalog'
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
    code_points text DEFAULT ''::text NOT NULL,
    last_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    acknowledged_at timestamp with time zone,
    acknowledged_by uuid,
    CONSTRAINT alert_acknowledged_ck CHECK (((acknowledged_at IS NULL) = (acknowledged_by IS NULL))),
    CONSTRAINT alert_code_points_ck CHECK ((code_points ~ '^([0-9a-f]{4,6}(,[0-9a-f]{4,6}){0,7})?$'::text)),
    CONSTRAINT alert_severity_ck CHECK ((severity = ANY (ARRAY['info'::text, 'warning'::text, 'critical'::text])))
);


ALTER TABLE byokeep.alert OWNER TO byokeep_owner;

--
-- Name: COLUMN alert.code_points; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.alert.code_points IS 'Of a look-alike: the characters that give it away.';


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
    asked text,
    CONSTRAINT approval_action_ck CHECK ((action = ANY (ARRAY['open_switch'::text, 'start_canary'::text, 'transfer_account'::text, 'give_rights'::text, 'issue_token'::text, 'procedure_step'::text, 'break_glass'::text]))),
    CONSTRAINT approval_two_people_ck CHECK (((approved_by IS NULL) OR (approved_by <> requested_by)))
);


ALTER TABLE byokeep.approval OWNER TO byokeep_owner;

--
-- Name: COLUMN approval.asked; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.approval.asked IS 'What was asked for, as canonical JSON; the scope binds the approval to it.';


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
    writers text[] DEFAULT '{}'::text[] NOT NULL,
    fields text DEFAULT ''::text NOT NULL
);


ALTER TABLE byokeep.audit_vocabulary OWNER TO byokeep_owner;

--
-- Name: TABLE audit_vocabulary; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.audit_vocabulary IS 'Which events there are, which role may write each, and which fields it may have: filled from the code''s own vocabulary.';


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
-- Name: TABLE connection; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.connection IS 'One consent under way. State and binding are secrets that somebody brings back: keyed digests of them are kept.';


--
-- Name: COLUMN connection.code_points; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.connection.code_points IS 'Of a look-alike: the characters that give it away.';


--
-- Name: COLUMN connection.held_as; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.connection.held_as IS 'The name under which this client has the account already.';


--
-- Name: COLUMN connection.offered; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.connection.offered IS 'What a person may pick from, "ID NAME" each, in printable ASCII; empty again after a day.';


--
-- Name: dry_run; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.dry_run (
    client_id uuid NOT NULL,
    job_id uuid NOT NULL,
    template text NOT NULL,
    run_id uuid NOT NULL,
    ref_id uuid NOT NULL,
    version integer NOT NULL,
    number smallint NOT NULL,
    CONSTRAINT dry_run_number_ck CHECK (((number >= 1) AND (number <= 3)))
);


ALTER TABLE byokeep.dry_run OWNER TO byokeep_owner;

--
-- Name: TABLE dry_run; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.dry_run IS 'A job that is given the new version of a key before its cutover, and no permit.';


--
-- Name: due_start; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.due_start (
    kind text NOT NULL,
    item text NOT NULL,
    client_id uuid NOT NULL,
    provider text NOT NULL,
    due_at timestamp with time zone NOT NULL,
    tried_at timestamp with time zone NOT NULL,
    tries integer NOT NULL,
    CONSTRAINT due_start_words_ck CHECK (((kind ~ '^[a-z][a-z0-9_]{0,31}$'::text) AND (item ~ '^[A-Za-z0-9_.:/-]{1,100}$'::text) AND (provider ~ '^[a-z0-9_]{0,31}$'::text)))
);


ALTER TABLE byokeep.due_start OWNER TO byokeep_owner;

--
-- Name: incident; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.incident (
    id uuid NOT NULL,
    client_id uuid,
    kind text NOT NULL,
    severity text NOT NULL,
    object_kind text DEFAULT ''::text NOT NULL,
    object_id uuid,
    platform text DEFAULT ''::text NOT NULL,
    source text NOT NULL,
    dedup_key text NOT NULL,
    noticed_at timestamp with time zone NOT NULL,
    began_at timestamp with time zone NOT NULL,
    began_assumed boolean NOT NULL,
    opened_by uuid NOT NULL,
    opened_at timestamp with time zone DEFAULT now() NOT NULL,
    ticket text DEFAULT ''::text NOT NULL,
    ticket_at timestamp with time zone,
    postmortem text DEFAULT ''::text NOT NULL,
    postmortem_sha256 text DEFAULT ''::text NOT NULL,
    closed_at timestamp with time zone,
    closed_by uuid,
    CONSTRAINT incident_closed_ck CHECK (((closed_at IS NULL) = (closed_by IS NULL))),
    CONSTRAINT incident_severity_ck CHECK ((severity = ANY (ARRAY['P0'::text, 'P1'::text, 'P2'::text, 'P3'::text]))),
    CONSTRAINT incident_since_ck CHECK ((began_at <= noticed_at)),
    CONSTRAINT incident_words_ck CHECK (((kind ~ '^[a-z][a-z0-9_]{0,39}$'::text) AND (source ~ '^[a-z][a-z0-9_]{0,39}$'::text) AND (platform ~ '^[a-z0-9_]{0,39}$'::text) AND (object_kind = ANY (ARRAY[''::text, 'key'::text, 'account'::text, 'profile'::text, 'vault'::text])) AND (dedup_key ~ '^[a-z0-9_/-]{3,128}$'::text) AND (postmortem_sha256 ~ '^([0-9a-f]{64})?$'::text) AND (length(ticket) <= 300) AND (length(postmortem) <= 300)))
);


ALTER TABLE byokeep.incident OWNER TO byokeep_owner;

--
-- Name: TABLE incident; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.incident IS 'What happened and is to be answered (runbook sections 6.3 and 7): one open row for a kind and a thing. The run of its
     playbook has its id, if it has begun.';


--
-- Name: installation; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.installation (
    id uuid NOT NULL,
    environment text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    singleton boolean DEFAULT true NOT NULL,
    store_recorded_at timestamp with time zone,
    CONSTRAINT installation_environment_ck CHECK ((environment = ANY (ARRAY['production'::text, 'staging'::text, 'development'::text]))),
    CONSTRAINT installation_singleton_ck CHECK (singleton)
);


ALTER TABLE byokeep.installation OWNER TO byokeep_owner;

--
-- Name: COLUMN installation.store_recorded_at; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.installation.store_recorded_at IS 'When the broker last proved that an audit device of the store records; web reads it before it writes a value.';


--
-- Name: job_template; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.job_template (
    client_id uuid NOT NULL,
    name text NOT NULL,
    runner_id uuid NOT NULL,
    secrets text[] NOT NULL,
    platforms text[] NOT NULL,
    lanes text[] NOT NULL,
    set_at timestamp with time zone DEFAULT now() NOT NULL,
    set_by uuid NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT job_template_name_ck CHECK ((name ~ '^[a-z][a-z0-9_-]{0,40}$'::text))
);


ALTER TABLE byokeep.job_template OWNER TO byokeep_owner;

--
-- Name: TABLE job_template; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.job_template IS 'What a client''s regular job declares, so that a new key can be tried with it.';


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
-- Name: TABLE kek_rotation; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.kek_rotation IS 'A rotation of a key-encryption key: done only when no wrapped key is left on the old versions (R6.1-8).';


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
-- Name: TABLE kek_version; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.kek_version IS 'One version of a key-encryption key, from the moment it is made: the inventory (S-NIST-12, S-NIST-13).';


--
-- Name: COLUMN kek_version.client_id; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.kek_version.client_id IS 'Null for a key that guards every client.';


--
-- Name: CONSTRAINT kek_version_numbers_ck ON kek_version; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON CONSTRAINT kek_version_numbers_ck ON byokeep.kek_version IS 'S-NIST-11: never weaker than what it wraps.';


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
-- Name: TABLE leak_fingerprint; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.leak_fingerprint IS 'Keyed digests of a few windows of a value, by which a copy of it is found (docs/spec/leak-fingerprints.md). Announced with the write, so before there is a reference; a version written by an early release has no row.';


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
-- Name: lease_calls; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.lease_calls (
    client_id uuid NOT NULL,
    lease_id uuid NOT NULL,
    count integer NOT NULL,
    missing integer NOT NULL,
    told_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT lease_calls_count_ck CHECK (((count >= 0) AND (count <= 1000000)))
);


ALTER TABLE byokeep.lease_calls OWNER TO byokeep_owner;

--
-- Name: TABLE lease_calls; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.lease_calls IS 'How many calls a holder says it made under a lease; without a row: unknown.';


--
-- Name: COLUMN lease_calls.missing; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.lease_calls.missing IS 'How many of these had not been told of when the number was said.';


--
-- Name: notification; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.notification (
    id uuid NOT NULL,
    client_id uuid,
    source text NOT NULL,
    about text NOT NULL,
    at timestamp with time zone NOT NULL,
    stage text NOT NULL,
    target text NOT NULL,
    code text NOT NULL,
    urgent boolean NOT NULL,
    made_at timestamp with time zone NOT NULL,
    next_at timestamp with time zone NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    failure text DEFAULT ''::text NOT NULL,
    sent_at timestamp with time zone,
    CONSTRAINT notification_about_ck CHECK ((about ~ '^[A-Za-z0-9_.:/-]{1,128}$'::text)),
    CONSTRAINT notification_source_ck CHECK ((source = ANY (ARRAY['alert'::text, 'due'::text, 'incident'::text]))),
    CONSTRAINT notification_target_ck CHECK ((target ~ '^[a-z][a-z0-9_-]{0,31}$'::text)),
    CONSTRAINT notification_words_ck CHECK (((stage ~ '^[a-z][a-z0-9_]{0,31}$'::text) AND (code ~ '^[a-z][a-z0-9_]{0,63}$'::text) AND (failure ~ '^[a-z0-9_]{0,63}$'::text)))
);


ALTER TABLE byokeep.notification OWNER TO byokeep_owner;

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
-- Name: COLUMN permit.way; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.permit.way IS 'Where a canary of re-enabling took this act (core/reenable.py); null outside one.';


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
-- Name: TABLE platform_app; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.platform_app IS 'Our app at a platform''s login: its public half. The secret half lies in the store, for custody alone.';


--
-- Name: COLUMN platform_app.secret_version; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.platform_app.secret_version IS '0: the app has no secret.';


--
-- Name: procedure_run; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.procedure_run (
    id uuid NOT NULL,
    client_id uuid,
    procedure text NOT NULL,
    object_id uuid NOT NULL,
    revision integer DEFAULT 0 NOT NULL,
    state text DEFAULT 'running'::text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    evidence jsonb DEFAULT '{}'::jsonb NOT NULL,
    facts jsonb DEFAULT '{}'::jsonb NOT NULL,
    due_at timestamp with time zone,
    asked_by uuid NOT NULL,
    started_by uuid NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    closed_at timestamp with time zone,
    closed_by uuid,
    CONSTRAINT procedure_run_closed_ck CHECK ((((state = ANY (ARRAY['complete'::text, 'aborted'::text])) AND (closed_at IS NOT NULL)) OR (state = 'failed'::text) OR ((state = ANY (ARRAY['running'::text, 'undoing'::text])) AND (closed_at IS NULL)))),
    CONSTRAINT procedure_run_evidence_ck CHECK (((jsonb_typeof(evidence) = 'object'::text) AND (NOT jsonb_path_exists(evidence, 'strict $.*?(@.type() != "number")'::jsonpath)))),
    CONSTRAINT procedure_run_facts_ck CHECK (((jsonb_typeof(facts) = 'object'::text) AND (NOT jsonb_path_exists(facts, 'strict $.*?((@.type() == "object" || @.type() == "array") || @.type() == "string" && !(@ like_regex "^([a-z][a-z0-9_]{0,39}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}Z|)$"))'::jsonpath)))),
    CONSTRAINT procedure_run_numbers_ck CHECK (((NOT jsonb_path_exists(evidence, 'strict $.*?((@ < 0 || @ > 9007199254740991) || @.floor() != @)'::jsonpath)) AND (NOT jsonb_path_exists(facts, 'strict $.*?(@.type() == "number" && (@.abs() > 9007199254740991 || @.floor() != @))'::jsonpath)))),
    CONSTRAINT procedure_run_state_ck CHECK ((state = ANY (ARRAY['running'::text, 'complete'::text, 'failed'::text, 'undoing'::text, 'aborted'::text])))
);


ALTER TABLE byokeep.procedure_run OWNER TO byokeep_owner;

--
-- Name: TABLE procedure_run; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.procedure_run IS 'How far a procedure is: evidence names the records of its steps, facts what they hand on, revision each move.';


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
-- Name: TABLE profile; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.profile IS 'One Chromium profile of one client (SOP 5.3).';


--
-- Name: COLUMN profile.generation; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.profile.generation IS '0: nothing was sealed yet.';


--
-- Name: COLUMN profile.epoch; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.profile.epoch IS 'Counts openings; an older one may not seal.';


--
-- Name: CONSTRAINT profile_sealed_after_confirmed_ck ON profile; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON CONSTRAINT profile_sealed_after_confirmed_ck ON byokeep.profile IS 'R5.3-6: nothing is sealed that no person confirmed.';


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
-- Name: TABLE profile_account; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.profile_account IS 'Whose accounts a profile is logged in to: one for each platform, and an account has one living profile.';


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
-- Name: TABLE profile_generation; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.profile_generation IS 'One sealed state: which blob, which key, and where in the store its record lies. Rows are never taken away.';


--
-- Name: profile_incident; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.profile_incident (
    id uuid NOT NULL,
    client_id uuid,
    cause text NOT NULL,
    step text DEFAULT 'opened'::text NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL,
    opened_by uuid,
    opened_at timestamp with time zone DEFAULT now() NOT NULL,
    closed_at timestamp with time zone,
    closed_by uuid,
    CONSTRAINT profile_incident_cause_ck CHECK ((cause = ANY (ARRAY['suspected_leak'::text, 'artifact_store_exposure'::text, 'runner_compromise'::text, 'account_lockout'::text, 'drill'::text]))),
    CONSTRAINT profile_incident_step_ck CHECK ((step = ANY (ARRAY['opened'::text, 'lane_off'::text, 'sessions_ended'::text, 'recreated'::text, 'rekeyed'::text, 'validated'::text, 'closed'::text])))
);


ALTER TABLE byokeep.profile_incident OWNER TO byokeep_owner;

--
-- Name: TABLE profile_incident; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.profile_incident IS 'The profile vault is suspected compromised (runbook 7.3): the procedure, and how far it got.';


--
-- Name: COLUMN profile_incident.client_id; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.profile_incident.client_id IS 'Null: every client.';


--
-- Name: COLUMN profile_incident.step; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.profile_incident.step IS 'No longer said, nor who opened and closed it: its run of the same id says so.';


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
-- Name: TABLE profile_incident_item; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.profile_incident_item IS 'One profile''s way through an incident, and for each platform what became of the session; never a success unseen.';


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
-- Name: TABLE profile_opening; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.profile_opening IS 'Who has a profile open just now: one opener at a time, and its epoch is what a seal must still hold.';


--
-- Name: COLUMN profile_opening.until; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.profile_opening.until IS 'Closed: until = now; the row stays.';


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
-- Name: TABLE profile_work; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.profile_work IS 'What a person asked for and a worker does with a browser or a key; at most one under way for a profile.';


--
-- Name: provider_usage; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.provider_usage (
    run_id uuid NOT NULL,
    client_id uuid NOT NULL,
    told text NOT NULL,
    told_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT provider_usage_told_ck CHECK ((octet_length(told) <= 4194304))
);


ALTER TABLE byokeep.provider_usage OWNER TO byokeep_owner;

--
-- Name: TABLE provider_usage; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.provider_usage IS 'What a provider counted, models and numbers, as a worker was told for one report; the record of its run names it.';


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
-- Name: TABLE reenabling; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.reenabling IS 'The way back of a platform after its grant was lost (core/reenable.py). No row: it was never closed.';


--
-- Name: COLUMN reenabling.closed_at; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.reenabling.closed_at IS 'A consent that was begun before leads nowhere.';


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
-- Name: TABLE refresh_journal; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.refresh_journal IS 'The journal of renewals (core/landing.py). The owner names the slots that a reply may lie in; at most one is open.';


--
-- Name: revocation_item; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.revocation_item (
    run_id uuid NOT NULL,
    client_id uuid NOT NULL,
    object_id uuid NOT NULL,
    kind text NOT NULL,
    provider text NOT NULL,
    version integer NOT NULL,
    cut_seq bigint NOT NULL,
    state text DEFAULT 'pending'::text NOT NULL,
    cause text DEFAULT ''::text NOT NULL,
    seq bigint,
    settled_by uuid,
    settled_at timestamp with time zone,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT revocation_item_cause_ck CHECK ((cause ~ '^[a-z0-9_]{0,63}$'::text)),
    CONSTRAINT revocation_item_kind_ck CHECK ((kind = ANY (ARRAY['key'::text, 'account'::text]))),
    CONSTRAINT revocation_item_proof_ck CHECK (((state = 'pending'::text) OR (seq IS NOT NULL))),
    CONSTRAINT revocation_item_state_ck CHECK ((state = ANY (ARRAY['pending'::text, 'revoked'::text, 'unsupported'::text, 'failed'::text, 'unconfirmed'::text])))
);


ALTER TABLE byokeep.revocation_item OWNER TO byokeep_owner;

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
-- Name: TABLE scheduled_effect; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.scheduled_effect IS 'What is to be done at a later time, as a dispatcher announced it: held while its platform is closed, never dropped.';


--
-- Name: schema_objects; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.schema_objects (
    digest text NOT NULL,
    runs_from text,
    CONSTRAINT schema_objects_digest_ck CHECK ((digest ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT schema_objects_runs_from_ck CHECK ((runs_from ~ '^[0-9]{4}$'::text))
);


ALTER TABLE byokeep.schema_objects OWNER TO byokeep_owner;

--
-- Name: TABLE schema_objects; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.schema_objects IS 'Digest of the functions, triggers, row policies, grants and comments that stand in this database.';


--
-- Name: COLUMN schema_objects.runs_from; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.schema_objects.runs_from IS 'The oldest revision whose release runs on this schema; a database that an older release laid does not say.';


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
-- Name: tool_call; Type: TABLE; Schema: byokeep; Owner: byokeep_owner
--

CREATE TABLE byokeep.tool_call (
    client_id uuid NOT NULL,
    id uuid NOT NULL,
    job_id uuid NOT NULL,
    lease_id uuid NOT NULL,
    provider text NOT NULL,
    tool text NOT NULL,
    outcome text NOT NULL,
    args_digest text,
    at timestamp with time zone NOT NULL,
    told_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT tool_call_args_digest_ck CHECK ((args_digest ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT tool_call_outcome_ck CHECK ((outcome = ANY (ARRAY['ok'::text, 'denied'::text, 'limited'::text, 'failed'::text, 'unknown'::text]))),
    CONSTRAINT tool_call_tool_ck CHECK ((tool ~ '^[a-z][a-z0-9_.]{0,63}$'::text))
);


ALTER TABLE byokeep.tool_call OWNER TO byokeep_owner;

--
-- Name: TABLE tool_call; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.tool_call IS 'A call that a job made with a credential, as its runner told; kept for 35 days.';


--
-- Name: COLUMN tool_call.args_digest; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON COLUMN byokeep.tool_call.args_digest IS 'Keyed digest of the arguments: equal ones can be told, none read.';


--
-- Name: usage; Type: VIEW; Schema: byokeep; Owner: byokeep_owner
--

CREATE VIEW byokeep.usage WITH (security_invoker='true') AS
 SELECT l.client_id,
    secret.provider,
    l.issued_at AS at,
        CASE l.kind
            WHEN 'use'::text THEN 'lease'::text
            ELSE 'custody'::text
        END AS what,
    l.id,
    l.job_id,
    l.id AS lease_id,
    l.runner_id,
    ''::text AS tool,
    'ok'::text AS outcome,
    NULL::text AS args_digest
   FROM (byokeep.lease l
     CROSS JOIN LATERAL unnest(l.secrets) secret(provider))
  WHERE (l.kind = ANY (ARRAY['use'::text, 'custody'::text]))
UNION ALL
 SELECT p.client_id,
    p.platform AS provider,
    p.issued_at AS at,
    'permit'::text AS what,
    p.id,
    p.job_id,
    p.lease_id,
    ( SELECT l.runner_id
           FROM byokeep.lease l
          WHERE ((l.client_id = p.client_id) AND (l.id = p.lease_id))) AS runner_id,
    p.effect AS tool,
        CASE p.state
            WHEN 'done'::text THEN 'ok'::text
            WHEN 'failed'::text THEN 'failed'::text
            ELSE 'unknown'::text
        END AS outcome,
    NULL::text AS args_digest
   FROM byokeep.permit p
UNION ALL
 SELECT c.client_id,
    c.provider,
    c.at,
    'call'::text AS what,
    c.id,
    c.job_id,
    c.lease_id,
    ( SELECT l.runner_id
           FROM byokeep.lease l
          WHERE ((l.client_id = c.client_id) AND (l.id = c.lease_id))) AS runner_id,
    c.tool,
    c.outcome,
    c.args_digest
   FROM byokeep.tool_call c;


ALTER VIEW byokeep.usage OWNER TO byokeep_owner;

--
-- Name: VIEW usage; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON VIEW byokeep.usage IS 'Uses of credentials: leases, permits, and calls that runners told of.';


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
-- Name: TABLE vault_key_transition; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON TABLE byokeep.vault_key_transition IS 'Every move of a key of the vault, beside its audit record (S-NIST-1). A destroyed key''s row is its tombstone.';


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

INSERT INTO byokeep.account_grant VALUES ('36873e01-944c-4d31-899e-d7e1108665b6', 'c78a6be6-eed2-4625-9d03-a43f4d3505e8', 'tiktok', 'tiktok', 'app', '36873e01944c4d31899ed7e1108665b6', NULL, NULL, NULL, 'live', '', 1, 0, '{}', '{}', true, '00000000-0000-4000-8000-000000000001', '2026-11-28 17:36:28.157775+00', NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, false, NULL, '2026-11-28 17:36:28.157775+00', NULL);


--
-- Data for Name: alembic_version; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.alembic_version VALUES ('0047');


--
-- Data for Name: alert; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.alert VALUES ('8998fbea-05fd-4b13-9514-2b4f212fb2ce', '36873e01-944c-4d31-899e-d7e1108665b6', NULL, 'test', 'info', '36873e01-944c-4d31-899e-d7e1108665b6', '2026-11-28 17:36:28.259584+00', NULL, NULL, 1, '', '2026-11-28 17:36:28.259584+00', NULL, NULL);


--
-- Data for Name: api_token; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.api_token VALUES ('57aaff37-afe2-4f6e-9139-20f5d345e30e', '00000000-0000-4000-8000-000000000001', '\x48168fa99cb7e014e77dbf4af79fc5b2a50caac8e820883ea7326f88bc713ac9', 'api', '2026-11-28 17:36:28.310152+00', '2026-11-29 17:36:28.310152+00', NULL, NULL, NULL, NULL);


--
-- Data for Name: approval; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.approval VALUES ('b1040778-0967-4554-af85-bffe7e644f4d', 'open_switch', 'global', 1, 'drill', '00000000-0000-4000-8000-000000000001', NULL, '2026-11-28 17:36:28.332451+00', '2026-11-28 17:36:28.332451+00', NULL, NULL, NULL);


--
-- Data for Name: audit_epoch; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.audit_epoch VALUES (0, '2026-11-28 17:36:28.336399+00', '\x7b7d', '\x7b7d');


--
-- Data for Name: audit_head; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--



--
-- Data for Name: audit_record; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--



--
-- Data for Name: audit_vocabulary; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.audit_vocabulary VALUES ('installation.created', '{byokeep_owner,byokeep_web}', ',"environment","installation","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('service.started', '{byokeep_owner,byokeep_web,byokeep_broker,byokeep_worker}', ',"component","reason","schema"');
INSERT INTO byokeep.audit_vocabulary VALUES ('config.changed', '{byokeep_owner,byokeep_web,byokeep_broker,byokeep_worker}', ',"component","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('incident.opened', '{byokeep_web,byokeep_broker,byokeep_worker}', ',"about","incident","kind","noticed_at","platform","reason","severity","since","source"');
INSERT INTO byokeep.audit_vocabulary VALUES ('incident.changed', '{byokeep_web,byokeep_broker,byokeep_worker}', ',"digest","incident","reason","run","severity","stage"');
INSERT INTO byokeep.audit_vocabulary VALUES ('dek.state_changed', '{byokeep_web,byokeep_broker,byokeep_worker}', ',"dek","generation","holder","incident","job","kek","kek_version","profile","reason","sop","state_from","state_to","work"');
INSERT INTO byokeep.audit_vocabulary VALUES ('audit.device_changed', '{byokeep_web,byokeep_broker,byokeep_worker}', ',"device","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('job.opened', '{byokeep_web,byokeep_broker,byokeep_worker}', ',"effects","expires_at","kind","lanes","platforms","reason","rotation","runner","secrets","template","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('procedure.stepped', '{byokeep_web,byokeep_broker,byokeep_worker}', ',"cause","count","digest","provider","reason","run","stage","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('procedure.undone', '{byokeep_web,byokeep_broker,byokeep_worker}', ',"cause","count","reason","run","stage","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('procedure.ended', '{byokeep_web,byokeep_broker,byokeep_worker}', ',"reason","run"');
INSERT INTO byokeep.audit_vocabulary VALUES ('alert.closed', '{byokeep_web,byokeep_broker,byokeep_worker}', ',"alert","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.lanes_set', '{byokeep_web,byokeep_broker,byokeep_worker}', ',"account","job","lanes","login","platform","reason","sop","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('tokens.refresh_asked', '{byokeep_web,byokeep_broker,byokeep_worker}', ',"account","job","login","platform","reason","sop","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.due', '{byokeep_web,byokeep_broker,byokeep_worker}', ',"cause","due_at","generation","incident","job","profile","reason","sop","work"');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.quarantined', '{byokeep_web,byokeep_broker,byokeep_worker}', ',"account","cause","expected_id","generation","job","observed_id","platform","profile","reason","sop","work"');
INSERT INTO byokeep.audit_vocabulary VALUES ('incident.stepped', '{byokeep_web}', ',"cause","epoch","incident","reason","rotation","stage","version","way"');
INSERT INTO byokeep.audit_vocabulary VALUES ('incident.closed', '{byokeep_web}', ',"incident","reason","severity"');
INSERT INTO byokeep.audit_vocabulary VALUES ('alert.acknowledged', '{byokeep_web}', ',"alert","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('client.created', '{byokeep_web}', ',"reason","risk"');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.registered', '{byokeep_web}', ',"lanes","platform","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.listed', '{byokeep_web}', ',"count","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.metadata_read', '{byokeep_web}', ',"reason","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('leaks.fingerprints_read', '{byokeep_web}', ',"count","reason","unknown"');
INSERT INTO byokeep.audit_vocabulary VALUES ('platform_app.set', '{byokeep_web}', ',"app","login","path","reason","store_request","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.admin_stored', '{byokeep_web}', ',"job","path","provider","reason","sop","store_request","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('connection.started', '{byokeep_web}', ',"account","connection","job","login","path","platform","purposes","reason","sop","store_request","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('connection.answered', '{byokeep_web}', ',"account","connection","job","login","path","platform","reason","sop","store_request","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.name_confirmed', '{byokeep_web}', ',"account","job","login","platform","reason","sop","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('webhook_secret.stored', '{byokeep_web}', ',"job","path","provider","reason","sop","store_request","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('webhook_secret.retired', '{byokeep_web}', ',"job","path","provider","reason","sop","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('refresher.declared_gone', '{byokeep_web}', ',"count","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.created', '{byokeep_web}', ',"accounts","generation","job","packing","platforms","profile","reason","replaces","sop","work"');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.confirmed', '{byokeep_web}', ',"account","expected_id","generation","job","observed_id","platform","profile","reason","sop","work"');
INSERT INTO byokeep.audit_vocabulary VALUES ('vault_incident.opened', '{byokeep_web}', ',"cause","count","incident","reason","since"');
INSERT INTO byokeep.audit_vocabulary VALUES ('vault_incident.closed', '{byokeep_web}', ',"count","incident","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('procedure.started', '{byokeep_web,byokeep_broker}', ',"incident","procedure","reason","run"');
INSERT INTO byokeep.audit_vocabulary VALUES ('evidence.read', '{byokeep_web,byokeep_broker}', ',"reason","sop"');
INSERT INTO byokeep.audit_vocabulary VALUES ('due.listed', '{byokeep_web,byokeep_broker}', ',"count","digest","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.work_asked', '{byokeep_web,byokeep_worker}', ',"generation","incident","job","kind","profile","reason","sop","work"');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.write', '{byokeep_web,byokeep_worker}', ',"job","path","provider","reason","sop","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.stored', '{byokeep_web,byokeep_worker}', ',"due_at","job","mode","path","provider","reason","risk","rule","sop","store_request","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.state_changed', '{byokeep_web,byokeep_worker}', ',"reason","state_from","state_to","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.rotation', '{byokeep_web,byokeep_worker}', ',"account_hash","cause","count","endpoint","failed","from_version","http_status","job","mode","pinned_at","provider","provider_key","reason","run","stage","stopped_at","took_s","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.destroyed', '{byokeep_web,byokeep_worker}', ',"job","path","provider","reason","sop","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('client_key_onboarding_failed', '{byokeep_web,byokeep_worker}', ',"job","path","provider","reason","sop","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.shared_value_found', '{byokeep_web,byokeep_worker}', ',"count","reason","ref","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('platform_connect_failed', '{byokeep_web,byokeep_worker}', ',"account","cause","code_points","connection","http_status","job","login","missing","platform","reason","sop","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('kek.state_changed', '{byokeep_web,byokeep_worker}', ',"dek","holder","kek","kek_version","reason","state_from","state_to"');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.retired', '{byokeep_web,byokeep_worker}', ',"cause","generation","incident","job","profile","reason","sop","work"');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.work_ended', '{byokeep_web,byokeep_worker}', ',"cause","generation","incident","job","kind","profile","reason","result","sop","work"');
INSERT INTO byokeep.audit_vocabulary VALUES ('vault_incident.stepped', '{byokeep_web,byokeep_worker}', ',"count","incident","reason","stage"');
INSERT INTO byokeep.audit_vocabulary VALUES ('vault_incident.session_ended', '{byokeep_web,byokeep_worker}', ',"incident","platform","profile","reason","verification"');
INSERT INTO byokeep.audit_vocabulary VALUES ('access.decided', '{byokeep_web,byokeep_broker,byokeep_killswitch,byokeep_worker}', ',"reason","route","task","verb"');
INSERT INTO byokeep.audit_vocabulary VALUES ('alert.raised', '{byokeep_web,byokeep_broker,byokeep_killswitch,byokeep_worker}', ',"alert","chain","reason","severity"');
INSERT INTO byokeep.audit_vocabulary VALUES ('switch.closed', '{byokeep_broker,byokeep_killswitch}', ',"count","epoch","reason","scope"');
INSERT INTO byokeep.audit_vocabulary VALUES ('switch.store_cut_off', '{byokeep_broker,byokeep_killswitch}', ',"entities","epoch","reason","scope","took_us"');
INSERT INTO byokeep.audit_vocabulary VALUES ('platform.closed', '{byokeep_broker,byokeep_worker}', ',"account","cause","job","login","platform","reason","sop","version","way"');
INSERT INTO byokeep.audit_vocabulary VALUES ('platform.reenabling_stepped', '{byokeep_broker,byokeep_worker}', ',"account","cause","count","job","login","missing","number","platform","reason","sop","stage","version","way"');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.transferred', '{byokeep_broker,byokeep_worker}', ',"login","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.reauth_needed', '{byokeep_broker,byokeep_worker}', ',"account","attempts","base","cause","due_at","http_status","job","journal","latency_ms","login","platform","reason","reauth_at","sop","store_request","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.opened', '{byokeep_broker,byokeep_worker}', ',"epoch","generation","job","kind","lease","profile","reason","sop","work"');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.opening_ended', '{byokeep_broker,byokeep_worker}', ',"cause","epoch","generation","job","kind","profile","reason","sop","work"');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.seal', '{byokeep_broker,byokeep_worker}', ',"dek","epoch","generation","holder","job","kek","kek_version","path","profile","reason","sop","work"');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.sealed', '{byokeep_broker,byokeep_worker}', ',"blob_digest","browser","dek","due_at","epoch","generation","holder","job","kek","kek_version","manifest","path","profile","reason","size","sop","store_request","version","work"');
INSERT INTO byokeep.audit_vocabulary VALUES ('notification.sent', '{byokeep_worker}', ',"count","reason","target"');
INSERT INTO byokeep.audit_vocabulary VALUES ('due.started', '{byokeep_worker}', ',"due_at","kind","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.validated', '{byokeep_worker}', ',"account","browser","cause","endpoint","expected_id","generation","job","observed_id","platform","profile","reason","screenshot","sop","verification","work"');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.restored', '{byokeep_worker}', ',"generation","job","number","profile","reason","sop","work"');
INSERT INTO byokeep.audit_vocabulary VALUES ('profile.shredded', '{byokeep_worker}', ',"cause","count","dek","generation","holder","incident","job","kek","kek_version","profile","reason","sop","work"');
INSERT INTO byokeep.audit_vocabulary VALUES ('browser_profile_created', '{byokeep_worker}', ',"generation","job","profile","reason","sop","work"');
INSERT INTO byokeep.audit_vocabulary VALUES ('browser_profile_creation_failed', '{byokeep_worker}', ',"cause","generation","job","profile","reason","sop","work"');
INSERT INTO byokeep.audit_vocabulary VALUES ('kek.made', '{byokeep_worker}', ',"algorithm","bits","dek","holder","kek","kek_version","owner","process_until","protect_until","purpose","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('kek.rotated', '{byokeep_worker}', ',"count","dek","from_version","holder","kek","kek_version","reason","rotation"');
INSERT INTO byokeep.audit_vocabulary VALUES ('kek.rewrapped', '{byokeep_worker}', ',"dek","from_version","generation","holder","kek","kek_version","profile","reason","rotation","store_request","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('kek.rotation_done', '{byokeep_worker}', ',"count","dek","from_version","holder","kek","kek_version","reason","rotation"');
INSERT INTO byokeep.audit_vocabulary VALUES ('kek.checked', '{byokeep_worker}', ',"cause","count","dek","found","holder","kek","kek_version","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.verified', '{byokeep_worker}', ',"account_hash","attempts","endpoint","http_status","job","latency_ms","path","provider","reason","sop","verification","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.leak_checked', '{byokeep_worker}', ',"found","job","lines","path","provider","reason","sop","sources","spans","verification","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.pinned', '{byokeep_worker}', ',"from_version","job","path","provider","reason","sop","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('client_key_onboarded', '{byokeep_worker}', ',"job","path","provider","reason","sop","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.orphan_found', '{byokeep_worker}', ',"job","path","provider","reason","sop","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('key.orphan_destroyed', '{byokeep_worker}', ',"job","path","provider","reason","sop","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('platform_connected', '{byokeep_worker}', ',"account","account_id","connection","job","login","platform","reason","sop","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('tokens.stored', '{byokeep_worker}', ',"account","connection","due_at","job","login","path","platform","reason","reauth_at","sop","store_request","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.verified', '{byokeep_worker}', ',"account","cause","connection","count","endpoint","expected_id","http_status","job","login","missing","newest","observed_id","platform","reason","sop","verification","version","wider"');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.quarantined', '{byokeep_worker}', ',"account","cause","code_points","connection","expected_id","job","login","observed_id","platform","reason","sop","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.name_changed', '{byokeep_worker}', ',"account","count","job","login","platform","reason","sop","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('tokens.refresh_started', '{byokeep_worker}', ',"account","attempts","base","cause","due_at","http_status","job","journal","latency_ms","login","platform","reason","sop","store_request","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('tokens.refreshed', '{byokeep_worker}', ',"account","attempts","base","cause","due_at","http_status","job","journal","latency_ms","login","platform","reason","sop","store_request","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('tokens.refresh_failed', '{byokeep_worker}', ',"account","attempts","base","cause","due_at","http_status","job","journal","latency_ms","login","platform","reason","sop","store_request","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('tokens.chain_broken', '{byokeep_worker}', ',"account","attempts","base","cause","due_at","http_status","job","journal","latency_ms","login","platform","reason","sop","store_request","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('grant.revoked', '{byokeep_worker}', ',"account","job","login","platform","reason","sop","verification","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('procedure.approved', '{byokeep_broker}', ',"reason","run","stage"');
INSERT INTO byokeep.audit_vocabulary VALUES ('client.enrolled', '{byokeep_broker}', ',"job","lease","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('client.suspended', '{byokeep_broker}', ',"reason","risk"');
INSERT INTO byokeep.audit_vocabulary VALUES ('client.resumed', '{byokeep_broker}', ',"reason","risk"');
INSERT INTO byokeep.audit_vocabulary VALUES ('session.login', '{byokeep_broker}', ',"digest","kind","life_s","reason","rights","roles","subject","token"');
INSERT INTO byokeep.audit_vocabulary VALUES ('session.logout', '{byokeep_broker}', ',"digest","kind","life_s","reason","rights","roles","subject","token"');
INSERT INTO byokeep.audit_vocabulary VALUES ('token.issued', '{byokeep_broker}', ',"digest","kind","life_s","reason","rights","roles","subject","token"');
INSERT INTO byokeep.audit_vocabulary VALUES ('token.revoked', '{byokeep_broker}', ',"digest","kind","life_s","reason","rights","roles","subject","token"');
INSERT INTO byokeep.audit_vocabulary VALUES ('operator.created', '{byokeep_broker}', ',"digest","kind","life_s","reason","rights","roles","subject","token"');
INSERT INTO byokeep.audit_vocabulary VALUES ('operator.changed', '{byokeep_broker}', ',"digest","kind","life_s","reason","rights","roles","subject","token"');
INSERT INTO byokeep.audit_vocabulary VALUES ('machine.created', '{byokeep_broker}', ',"digest","kind","life_s","reason","rights","roles","subject","token"');
INSERT INTO byokeep.audit_vocabulary VALUES ('machine.changed', '{byokeep_broker}', ',"digest","kind","life_s","reason","rights","roles","subject","token"');
INSERT INTO byokeep.audit_vocabulary VALUES ('account.identified', '{byokeep_broker}', ',"job","lease","platform","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('lease.issued', '{byokeep_broker}', ',"job","jwt_exp","jwt_iat","kind","lease","reason","secrets"');
INSERT INTO byokeep.audit_vocabulary VALUES ('job.template_set', '{byokeep_broker}', ',"lanes","platforms","reason","runner","secrets","state","template"');
INSERT INTO byokeep.audit_vocabulary VALUES ('lease.use_told', '{byokeep_broker}', ',"logins","reads","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('lease.calls_told', '{byokeep_broker}', ',"count","job","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('permit.issued', '{byokeep_broker}', ',"account","effect","idempotency","job","lane","lease","platform","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('permit.closed', '{byokeep_broker}', ',"job","lease","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('permit.unknown', '{byokeep_broker}', ',"job","lease","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('job.closed', '{byokeep_broker}', ',"kind","reason","runner"');
INSERT INTO byokeep.audit_vocabulary VALUES ('job.expired', '{byokeep_broker}', ',"kind","reason","runner"');
INSERT INTO byokeep.audit_vocabulary VALUES ('job.sealing', '{byokeep_broker}', ',"kind","profile","reason","runner"');
INSERT INTO byokeep.audit_vocabulary VALUES ('switch.open_requested', '{byokeep_broker}', ',"epoch","reason","scope"');
INSERT INTO byokeep.audit_vocabulary VALUES ('switch.opened', '{byokeep_broker}', ',"epoch","reason","scope"');
INSERT INTO byokeep.audit_vocabulary VALUES ('effect.scheduled', '{byokeep_broker}', ',"account","due_at","effect","idempotency","lane","platform","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('effect.held', '{byokeep_broker}', ',"account","due_at","effect","idempotency","lane","platform","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('effect.missed', '{byokeep_broker}', ',"account","due_at","effect","idempotency","lane","platform","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('effect.requeued', '{byokeep_broker}', ',"account","due_at","effect","idempotency","lane","platform","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('effect.cancelled', '{byokeep_broker}', ',"account","due_at","effect","idempotency","lane","platform","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('breakglass.requested', '{byokeep_broker}', ',"digest","life_s","reason","run","scope","ticket"');
INSERT INTO byokeep.audit_vocabulary VALUES ('breakglass.approved', '{byokeep_broker}', ',"digest","reason","run","ticket"');
INSERT INTO byokeep.audit_vocabulary VALUES ('breakglass.denied', '{byokeep_broker}', ',"reason","run","ticket"');
INSERT INTO byokeep.audit_vocabulary VALUES ('breakglass.issued', '{byokeep_broker}', ',"accessor","component","jwt_exp","jwt_iat","life_s","reason","run","scope","ticket","wrap_accessor","wrap_mark"');
INSERT INTO byokeep.audit_vocabulary VALUES ('breakglass.unwrapped', '{byokeep_broker}', ',"reason","run","store_request","ticket"');
INSERT INTO byokeep.audit_vocabulary VALUES ('breakglass.misused', '{byokeep_broker}', ',"cause","count","reason","run","store_request","ticket"');
INSERT INTO byokeep.audit_vocabulary VALUES ('breakglass.used', '{byokeep_broker}', ',"count","path","reason","run","store_request","ticket"');
INSERT INTO byokeep.audit_vocabulary VALUES ('breakglass.revoked', '{byokeep_broker}', ',"cause","reason","run","ticket"');
INSERT INTO byokeep.audit_vocabulary VALUES ('breakglass.expired', '{byokeep_broker}', ',"cause","reason","run","ticket"');
INSERT INTO byokeep.audit_vocabulary VALUES ('breakglass.reviewed', '{byokeep_broker}', ',"cause","count","failed","reason","run","ticket"');
INSERT INTO byokeep.audit_vocabulary VALUES ('breakglass.closed', '{byokeep_broker}', ',"reason","run","ticket"');
INSERT INTO byokeep.audit_vocabulary VALUES ('breakglass.drilled', '{byokeep_broker}', ',"cause","component","reason","run","ticket"');
INSERT INTO byokeep.audit_vocabulary VALUES ('backup.created', '{byokeep_broker}', ',"backup","count","digest","reason","size"');
INSERT INTO byokeep.audit_vocabulary VALUES ('backup.verified', '{byokeep_broker}', ',"backup","digest","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('backup.restored', '{byokeep_broker}', ',"backup","count","epoch","found","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('audit.hashed', '{byokeep_broker}', ',"reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('audit.reconciled', '{byokeep_broker}', ',"count","found","reason","rows","since","until"');
INSERT INTO byokeep.audit_vocabulary VALUES ('checkpoint.signed', '{byokeep_broker}', ',"count","epoch","reason","root","size"');
INSERT INTO byokeep.audit_vocabulary VALUES ('evidence.signed', '{byokeep_broker}', ',"provider","reason","sop","version"');
INSERT INTO byokeep.audit_vocabulary VALUES ('exposure.reported', '{byokeep_broker}', ',"count","digest","found","incident","provider","reason","since","until","verification"');
INSERT INTO byokeep.audit_vocabulary VALUES ('audit.read', '{byokeep_web,byokeep_broker,byokeep_auditor}', ',"chain","count","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('audit.exported', '{byokeep_web,byokeep_broker,byokeep_auditor}', ',"chain","count","first_seq","last_seq","reason"');
INSERT INTO byokeep.audit_vocabulary VALUES ('audit.verified', '{byokeep_web,byokeep_broker,byokeep_worker,byokeep_auditor}', ',"count","reason","rows","size"');


--
-- Data for Name: client; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.client VALUES ('36873e01-944c-4d31-899e-d7e1108665b6', 'Client 36873e01', 'enrolling', 'standard', NULL, '2026-11-28 17:36:28.028377+00', '00000000-0000-4000-8000-000000000001');


--
-- Data for Name: connection; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.connection VALUES ('3d6110f7-60db-4318-bce7-d495c89e25d4', '36873e01-944c-4d31-899e-d7e1108665b6', 'c78a6be6-eed2-4625-9d03-a43f4d3505e8', '0eb382ba-82b7-4244-b176-4f2cb2c98ce4', 'f2e77ec3-395b-4451-a004-337634e5c78b', 'tiktok', '{}', '\xcb5dca90256fb66cdee5321b84840e9f929317c4d67405c56377a7e27cfb146b', '\x5e1cf42878df58fea7bfa45b715b7832d889092ad23e802e63912b1bfd205630', 'http://127.0.0.1:8431/callback', NULL, NULL, 'started', '', '00000000-0000-4000-8000-000000000001', '2026-11-28 17:36:28.158875+00', '2026-11-28 17:46:28.158875+00', NULL, NULL, '0260bb11-642b-4858-bdc3-0e4ab2376872', '', '', '{}');


--
-- Data for Name: credential_ref; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.credential_ref VALUES ('4793754c-6a75-4897-a65b-1c7514a2655a', '36873e01-944c-4d31-899e-d7e1108665b6', 'openai', 'provider_api_key', 'default', 'development', 'vault://kv/clients/36873e01-944c-4d31-899e-d7e1108665b6/providers/openai', 1, 'active', 'verified', 'standard', '2026-11-28 17:36:28.054826+00', '00000000-0000-4000-8000-000000000001', '2027-02-26 17:36:28.054826+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '', '', NULL);


--
-- Data for Name: dry_run; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.dry_run VALUES ('36873e01-944c-4d31-899e-d7e1108665b6', '0eb382ba-82b7-4244-b176-4f2cb2c98ce4', 'daily-post', '840d9235-ba7c-4543-839b-595ac9385a57', '4793754c-6a75-4897-a65b-1c7514a2655a', 1, 1);


--
-- Data for Name: due_start; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.due_start VALUES ('profile', '0bdb2324-798b-4b1c-9b97-da2d0353bb7f', '36873e01-944c-4d31-899e-d7e1108665b6', '', '2026-11-28 17:36:28.276377+00', '2026-11-28 17:36:28.276377+00', 1);


--
-- Data for Name: incident; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.incident VALUES ('136ed14d-7656-4350-91ae-7b01412a7036', '36873e01-944c-4d31-899e-d7e1108665b6', 'artifact_exposure', 'P1', '', NULL, '', 'person', 'artifact_exposure/36873e01-944c-4d31-899e-d7e1108665b6', '2026-11-28 17:36:28.26838+00', '2026-11-28 17:36:28.26838+00', false, '00000000-0000-4000-8000-000000000001', '2026-11-28 17:36:28.26838+00', '', NULL, '', '', NULL, NULL);


--
-- Data for Name: installation; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.installation VALUES ('00000000-0000-4000-8000-000000000003', 'development', '2026-11-28 17:36:28.010179+00', true, 'infinity');


--
-- Data for Name: job; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.job VALUES ('0eb382ba-82b7-4244-b176-4f2cb2c98ce4', '36873e01-944c-4d31-899e-d7e1108665b6', '00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000002', 'use', '{openai}', '{}', '{}', '{}', 'open', '', '2026-11-28 17:36:28.093335+00', '2026-11-28 18:36:28.093335+00', NULL, NULL);


--
-- Data for Name: job_template; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.job_template VALUES ('36873e01-944c-4d31-899e-d7e1108665b6', 'daily-post', '00000000-0000-4000-8000-000000000001', '{openai}', '{}', '{}', '2026-11-28 17:36:28.125175+00', '00000000-0000-4000-8000-000000000001', NULL);


--
-- Data for Name: kek_rotation; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.kek_rotation VALUES ('a74fd259-5a68-4a0c-9dee-efb762fdfb4c', '36873e01-944c-4d31-899e-d7e1108665b6', 'transit', '36873e01-944c-4d31-899e-d7e1108665b6', 1, 2, 'rewrapping', '', 0, '00000000-0000-4000-8000-000000000001', '2026-11-28 17:36:28.216372+00', NULL);


--
-- Data for Name: kek_version; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.kek_version VALUES ('transit', '36873e01-944c-4d31-899e-d7e1108665b6', 1, '36873e01-944c-4d31-899e-d7e1108665b6', 'development', 'aes256-gcm96', 256, 'active', 'security', '2026-11-28 17:36:28.215377+00', '2027-11-28 17:36:28.215377+00', '2028-11-27 17:36:28.215377+00', NULL, '2026-11-28 17:36:28.215377+00', '00000000-0000-4000-8000-000000000001', '');


--
-- Data for Name: key_transition; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.key_transition VALUES ('3a0eb84c-433e-4287-b750-7744d5a6ff1a', '36873e01-944c-4d31-899e-d7e1108665b6', '4793754c-6a75-4897-a65b-1c7514a2655a', 'pre_activation', 'active', 'verified', '2026-11-28 17:36:28.153624+00', '00000000-0000-4000-8000-000000000001');


--
-- Data for Name: leak_fingerprint; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.leak_fingerprint VALUES ('36873e01-944c-4d31-899e-d7e1108665b6', '4793754c-6a75-4897-a65b-1c7514a2655a', 1, 1, '{0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b,0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c}', '2026-11-28 17:36:28.157285+00');


--
-- Data for Name: lease; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.lease VALUES ('b1a2c415-d261-4212-b76d-85da95400530', '36873e01-944c-4d31-899e-d7e1108665b6', '0eb382ba-82b7-4244-b176-4f2cb2c98ce4', '00000000-0000-4000-8000-000000000002', 'use', '{openai}', 1, 4, '2026-11-28 17:36:28.096381+00', '2026-11-28 17:36:28.096381+00');


--
-- Data for Name: lease_calls; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.lease_calls VALUES ('36873e01-944c-4d31-899e-d7e1108665b6', 'b1a2c415-d261-4212-b76d-85da95400530', 1, 0, '2026-11-28 17:36:28.15054+00');


--
-- Data for Name: notification; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.notification VALUES ('accd0cf5-ac87-4515-a0ad-33ff31b1e814', '36873e01-944c-4d31-899e-d7e1108665b6', 'due', 'profile/0bdb2324-798b-4b1c-9b97-da2d0353bb7f', '2026-11-28 17:36:28.292394+00', 'due', 'oncall', 'profile', false, '2026-11-28 17:36:28.292394+00', '2026-11-28 17:36:28.292394+00', 0, '', NULL);


--
-- Data for Name: permit; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.permit VALUES ('c564fadd-cfb8-479e-84f3-56c57e4b2386', '36873e01-944c-4d31-899e-d7e1108665b6', '0eb382ba-82b7-4244-b176-4f2cb2c98ce4', 'b1a2c415-d261-4212-b76d-85da95400530', 'tiktok', 'acct1', 'api', 'publish', 'key-36873e01', 'issued', '2026-11-28 17:36:28.108317+00', '2026-11-28 17:36:28.108317+00', NULL, NULL, NULL);


--
-- Data for Name: platform_account; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.platform_account VALUES ('c78a6be6-eed2-4625-9d03-a43f4d3505e8', '36873e01-944c-4d31-899e-d7e1108665b6', 'tiktok', 'acct1', 'acct', 'Acct', '{}', NULL, 'unchecked', '2026-11-28 17:36:28.080544+00', '00000000-0000-4000-8000-000000000001');


--
-- Data for Name: platform_app; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.platform_app VALUES ('tiktok', 'tiktok', 'development', 'app', 'http://127.0.0.1:8431/callback', 1, '2026-11-28 17:36:28.332977+00', '00000000-0000-4000-8000-000000000001');


--
-- Data for Name: procedure_run; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.procedure_run VALUES ('219f6f34-fa45-4c77-a041-b3ddda40b756', '36873e01-944c-4d31-899e-d7e1108665b6', 'x', '4793754c-6a75-4897-a65b-1c7514a2655a', 0, 'running', '', '{}', '{}', NULL, '00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000001', '2026-11-28 17:36:28.078744+00', NULL, NULL);


--
-- Data for Name: profile; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.profile VALUES ('0bdb2324-798b-4b1c-9b97-da2d0353bb7f', '36873e01-944c-4d31-899e-d7e1108665b6', 'portable', 'sealed', '', 1, 0, '2026-11-28 17:36:28.195454+00', '00000000-0000-4000-8000-000000000001', '2026-11-28 17:36:28.195454+00', '00000000-0000-4000-8000-000000000001', 0, NULL, NULL, '', NULL);


--
-- Data for Name: profile_account; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.profile_account VALUES ('36873e01-944c-4d31-899e-d7e1108665b6', '0bdb2324-798b-4b1c-9b97-da2d0353bb7f', 'c78a6be6-eed2-4625-9d03-a43f4d3505e8', 'tiktok', NULL);


--
-- Data for Name: profile_generation; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.profile_generation VALUES ('36873e01-944c-4d31-899e-d7e1108665b6', '0bdb2324-798b-4b1c-9b97-da2d0353bb7f', 1, '00021e0a-5583-40c3-8561-c8ef43384506', 'transit', '36873e01-944c-4d31-899e-d7e1108665b6', 1, '0bdb2324-798b-4b1c-9b97-da2d0353bb7f-1', '\xfa2c8cc4f28176bbeed4b736df569a34c79cd3723e9ec42f9674b4d46ac6b8b8', 9, 9, '\x05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f', 1, '156', 'active', '2026-11-28 17:36:28.213285+00', '00000000-0000-4000-8000-000000000002', '0eb382ba-82b7-4244-b176-4f2cb2c98ce4', '', NULL);


--
-- Data for Name: profile_incident; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.profile_incident VALUES ('136ed14d-7656-4350-91ae-7b01412a7036', '36873e01-944c-4d31-899e-d7e1108665b6', 'suspected_leak', 'opened', '2026-11-28 17:36:28.228406+00', NULL, '2026-11-28 17:36:28.228406+00', NULL, NULL);


--
-- Data for Name: profile_incident_item; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.profile_incident_item VALUES ('136ed14d-7656-4350-91ae-7b01412a7036', '36873e01-944c-4d31-899e-d7e1108665b6', '0bdb2324-798b-4b1c-9b97-da2d0353bb7f', 'tiktok', 'pending', NULL, NULL, NULL, NULL, NULL, NULL);


--
-- Data for Name: profile_opening; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.profile_opening VALUES ('36873e01-944c-4d31-899e-d7e1108665b6', '0bdb2324-798b-4b1c-9b97-da2d0353bb7f', 1, 1, 'use', '0eb382ba-82b7-4244-b176-4f2cb2c98ce4', '00000000-0000-4000-8000-000000000002', '2026-11-28 17:36:28.214512+00', '2026-11-28 17:37:28.214512+00');


--
-- Data for Name: profile_work; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.profile_work VALUES ('97ea1559-0fa7-48f2-826c-0c00a13fa9a4', '36873e01-944c-4d31-899e-d7e1108665b6', '0bdb2324-798b-4b1c-9b97-da2d0353bb7f', NULL, NULL, NULL, 'validate', 'asked', '', '', NULL, NULL, '00000000-0000-4000-8000-000000000001', '2026-11-28 17:36:28.214919+00', NULL, NULL, NULL);


--
-- Data for Name: provider_usage; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.provider_usage VALUES ('219f6f34-fa45-4c77-a041-b3ddda40b756', '36873e01-944c-4d31-899e-d7e1108665b6', '{}', '2026-11-28 17:36:28.273828+00');


--
-- Data for Name: reenabling; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.reenabling VALUES ('36873e01-944c-4d31-899e-d7e1108665b6', 'x', 'revoked', 'closed', '{1,5,20}', 0, 0, 0, 1, 0, '2026-11-28 17:36:28.172417+00', '2026-11-28 17:36:28.172417+00');


--
-- Data for Name: refresh_journal; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.refresh_journal VALUES ('cf1088fb-71cf-45ed-ba74-3f26e5054bbd', '36873e01-944c-4d31-899e-d7e1108665b6', 'c78a6be6-eed2-4625-9d03-a43f4d3505e8', 1, 'started', 0, NULL, 'ebaf7052-3963-439c-a65d-1979627ca0b8', 0, '0eb382ba-82b7-4244-b176-4f2cb2c98ce4', '', '2026-11-28 17:36:28.16389+00', NULL);


--
-- Data for Name: revocation_item; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.revocation_item VALUES ('219f6f34-fa45-4c77-a041-b3ddda40b756', '36873e01-944c-4d31-899e-d7e1108665b6', '0bdb2324-798b-4b1c-9b97-da2d0353bb7f', 'account', 'x', 1, 1, 'pending', '', NULL, NULL, NULL, '2026-11-28 17:36:28.272474+00');


--
-- Data for Name: scheduled_effect; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.scheduled_effect VALUES ('d0fe2e0a-cd9c-431c-8ffa-8cf2f06fea85', '36873e01-944c-4d31-899e-d7e1108665b6', 'tiktok', 'acct1', 'api', 'publish', 'later-36873e01', '2026-11-28 17:36:28.184387+00', 'scheduled', '', '2026-11-28 17:36:28.184387+00', '00000000-0000-4000-8000-000000000001', '2026-11-28 17:36:28.184387+00');


--
-- Data for Name: schema_objects; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.schema_objects VALUES ('030d92e6625ba0011fe7590cea8479f3a554029ba9a32ae4f46b504603a44793', '0047');


--
-- Data for Name: sop_run; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.sop_run VALUES ('8f8b23a3-496d-4805-8c80-fef3d12ce3db', '36873e01-944c-4d31-899e-d7e1108665b6', 'onboard_key', 'openai', NULL, NULL, 'running', '', '2026-11-28 17:36:28.077453+00', NULL, '00000000-0000-4000-8000-000000000001', NULL, NULL, NULL, NULL, '');


--
-- Data for Name: subject; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.subject VALUES ('00000000-0000-4000-8000-000000000001', 'operator', 'Ada', '{operator}', 'active', NULL, false, '2026-11-28 17:36:28.0199+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO byokeep.subject VALUES ('00000000-0000-4000-8000-000000000002', 'machine', 'Runner 1', '{runner}', 'active', NULL, false, '2026-11-28 17:36:28.0199+00', NULL, NULL, NULL, NULL, NULL);


--
-- Data for Name: subject_client; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.subject_client VALUES ('00000000-0000-4000-8000-000000000001', '36873e01-944c-4d31-899e-d7e1108665b6');


--
-- Data for Name: switch; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.switch VALUES ('global', NULL, false, 1, 'opened_at_start', '00000000-0000-4000-8000-000000000001', '2026-11-28 17:36:28.326241+00', '00000000-0000-4000-8000-000000000003', false);


--
-- Data for Name: tool_call; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.tool_call VALUES ('36873e01-944c-4d31-899e-d7e1108665b6', '53528d1e-7be1-48e7-8559-4831040afcf7', '0eb382ba-82b7-4244-b176-4f2cb2c98ce4', 'b1a2c415-d261-4212-b76d-85da95400530', 'openai', 'responses.create', 'ok', NULL, '2026-11-28 17:36:28.122498+00', '2026-11-28 17:36:28.122498+00');


--
-- Data for Name: value_fingerprint; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.value_fingerprint VALUES ('4793754c-6a75-4897-a65b-1c7514a2655a', 1, '0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a');


--
-- Data for Name: vault_key_transition; Type: TABLE DATA; Schema: byokeep; Owner: byokeep_owner
--

INSERT INTO byokeep.vault_key_transition VALUES ('2b16406c-a177-481e-9c47-723dd57c3a5c', '36873e01-944c-4d31-899e-d7e1108665b6', 'kek', '36873e01-944c-4d31-899e-d7e1108665b6', 1, 'pre_activation', 'active', 'made', '2026-11-28 17:36:28.219624+00', '00000000-0000-4000-8000-000000000001');


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
-- Name: dry_run dry_run_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.dry_run
    ADD CONSTRAINT dry_run_pk PRIMARY KEY (client_id, job_id);


--
-- Name: dry_run dry_run_run_id_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.dry_run
    ADD CONSTRAINT dry_run_run_id_uq UNIQUE (run_id, version, number);


--
-- Name: due_start due_start_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.due_start
    ADD CONSTRAINT due_start_pk PRIMARY KEY (client_id, kind, item);


--
-- Name: incident incident_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.incident
    ADD CONSTRAINT incident_pk PRIMARY KEY (id);


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
-- Name: job_template job_template_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.job_template
    ADD CONSTRAINT job_template_pk PRIMARY KEY (client_id, name);


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
-- Name: lease_calls lease_calls_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.lease_calls
    ADD CONSTRAINT lease_calls_pk PRIMARY KEY (client_id, lease_id);


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
-- Name: notification notification_once_uq; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.notification
    ADD CONSTRAINT notification_once_uq UNIQUE (source, about, at, stage, target);


--
-- Name: notification notification_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.notification
    ADD CONSTRAINT notification_pk PRIMARY KEY (id);


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
-- Name: procedure_run procedure_run_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.procedure_run
    ADD CONSTRAINT procedure_run_pk PRIMARY KEY (id);


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
-- Name: provider_usage provider_usage_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.provider_usage
    ADD CONSTRAINT provider_usage_pk PRIMARY KEY (run_id);


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
-- Name: revocation_item revocation_item_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.revocation_item
    ADD CONSTRAINT revocation_item_pk PRIMARY KEY (run_id, object_id, version);


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
-- Name: tool_call tool_call_pk; Type: CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.tool_call
    ADD CONSTRAINT tool_call_pk PRIMARY KEY (client_id, id);


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
-- Name: INDEX account_grant_one_client_uq; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON INDEX byokeep.account_grant_one_client_uq IS 'R5.2-15: one account on a platform is one client''s.';


--
-- Name: alert_open_uq; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE UNIQUE INDEX alert_open_uq ON byokeep.alert USING btree (dedup_key, reason, severity) WHERE (closed_at IS NULL);


--
-- Name: audit_epoch_at_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX audit_epoch_at_ix ON byokeep.audit_epoch USING btree (at);


--
-- Name: audit_record_alert_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX audit_record_alert_ix ON byokeep.audit_record USING btree (at) WHERE (event = ANY (ARRAY['alert.raised'::text, 'alert.closed'::text]));


--
-- Name: INDEX audit_record_alert_ix; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON INDEX byokeep.audit_record_alert_ix IS 'What a reconciliation holds alerts against.';


--
-- Name: audit_record_at_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX audit_record_at_ix ON byokeep.audit_record USING btree (at);


--
-- Name: audit_record_object_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX audit_record_object_ix ON byokeep.audit_record USING btree (chain, object_id, seq);


--
-- Name: audit_record_store_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX audit_record_store_ix ON byokeep.audit_record USING btree (at) WHERE (event = ANY (ARRAY['key.write'::text, 'key.stored'::text, 'tokens.stored'::text, 'webhook_secret.stored'::text, 'connection.started'::text, 'connection.answered'::text, 'platform_app.set'::text, 'profile.sealed'::text, 'kek.rewrapped'::text, 'installation.created'::text, 'service.started'::text, 'config.changed'::text]));


--
-- Name: INDEX audit_record_store_ix; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON INDEX byokeep.audit_record_store_ix IS 'What a reconciliation looks for among all that happened: writes at the store and changes of its set-up.';


--
-- Name: audit_record_subject_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX audit_record_subject_ix ON byokeep.audit_record USING btree (object_id, seq) WHERE ((outcome = 'ok'::text) AND (event = ANY (ARRAY['operator.created'::text, 'operator.changed'::text, 'machine.created'::text, 'machine.changed'::text, 'token.issued'::text, 'token.revoked'::text])));


--
-- Name: INDEX audit_record_subject_ix; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON INDEX byokeep.audit_record_subject_ix IS 'What a reconciliation holds people, machines and their tokens against.';


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
-- Name: due_start_tried_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX due_start_tried_ix ON byokeep.due_start USING btree (provider, tried_at);


--
-- Name: incident_client_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX incident_client_ix ON byokeep.incident USING btree (client_id, opened_at);


--
-- Name: incident_open_uq; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE UNIQUE INDEX incident_open_uq ON byokeep.incident USING btree (dedup_key) WHERE (closed_at IS NULL);


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
-- Name: notification_sent_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX notification_sent_ix ON byokeep.notification USING btree (target, sent_at) WHERE (sent_at IS NOT NULL);


--
-- Name: notification_waiting_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX notification_waiting_ix ON byokeep.notification USING btree (target, next_at) WHERE (sent_at IS NULL);


--
-- Name: permit_idempotency_uq; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE UNIQUE INDEX permit_idempotency_uq ON byokeep.permit USING btree (client_id, idempotency_key) WHERE (state <> 'failed'::text);


--
-- Name: INDEX permit_idempotency_uq; Type: COMMENT; Schema: byokeep; Owner: byokeep_owner
--

COMMENT ON INDEX byokeep.permit_idempotency_uq IS 'R1.5-6: one key never yields two effects; a failed attempt (surely not done) frees the key.';


--
-- Name: permit_issued_at_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX permit_issued_at_ix ON byokeep.permit USING btree (issued_at);


--
-- Name: procedure_run_break_glass_uq; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE UNIQUE INDEX procedure_run_break_glass_uq ON byokeep.procedure_run USING btree ((true)) WHERE ((procedure ~~ 'break\_glass%'::text) AND (closed_at IS NULL));


--
-- Name: procedure_run_object_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX procedure_run_object_ix ON byokeep.procedure_run USING btree (object_id, started_at);


--
-- Name: procedure_run_rotation_uq; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE UNIQUE INDEX procedure_run_rotation_uq ON byokeep.procedure_run USING btree (object_id) WHERE ((procedure ~~ 'rotate\_key%'::text) AND (closed_at IS NULL));


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
-- Name: revocation_item_object_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX revocation_item_object_ix ON byokeep.revocation_item USING btree (object_id);


--
-- Name: scheduled_effect_due_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX scheduled_effect_due_ix ON byokeep.scheduled_effect USING btree (due_at) WHERE (state = ANY (ARRAY['scheduled'::text, 'held'::text]));


--
-- Name: tool_call_at_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX tool_call_at_ix ON byokeep.tool_call USING btree (at);


--
-- Name: tool_call_lease_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX tool_call_lease_ix ON byokeep.tool_call USING btree (client_id, lease_id);


--
-- Name: tool_call_told_at_ix; Type: INDEX; Schema: byokeep; Owner: byokeep_owner
--

CREATE INDEX tool_call_told_at_ix ON byokeep.tool_call USING btree (told_at);


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
-- Name: platform_account account_made_recorded; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE CONSTRAINT TRIGGER account_made_recorded AFTER INSERT ON byokeep.platform_account DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION byokeep.account_recorded();

ALTER TABLE byokeep.platform_account ENABLE ALWAYS TRIGGER account_made_recorded;


--
-- Name: platform_account account_recorded; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE CONSTRAINT TRIGGER account_recorded AFTER UPDATE ON byokeep.platform_account DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((old.* IS DISTINCT FROM new.*)) EXECUTE FUNCTION byokeep.account_recorded();

ALTER TABLE byokeep.platform_account ENABLE ALWAYS TRIGGER account_recorded;


--
-- Name: alert alert_closed_recorded; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE CONSTRAINT TRIGGER alert_closed_recorded AFTER UPDATE ON byokeep.alert DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((((old.closed_at IS DISTINCT FROM new.closed_at) OR (old.acknowledged_at IS DISTINCT FROM new.acknowledged_at)) OR (old.acknowledged_by IS DISTINCT FROM new.acknowledged_by))) EXECUTE FUNCTION byokeep.alert_recorded();

ALTER TABLE byokeep.alert ENABLE ALWAYS TRIGGER alert_closed_recorded;


--
-- Name: alert alert_only_counts; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE TRIGGER alert_only_counts BEFORE UPDATE ON byokeep.alert FOR EACH ROW EXECUTE FUNCTION byokeep.alert_only_counts();

ALTER TABLE byokeep.alert ENABLE ALWAYS TRIGGER alert_only_counts;


--
-- Name: alert alert_opens_now; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE TRIGGER alert_opens_now BEFORE INSERT ON byokeep.alert FOR EACH ROW EXECUTE FUNCTION byokeep.alert_opens_now();

ALTER TABLE byokeep.alert ENABLE ALWAYS TRIGGER alert_opens_now;


--
-- Name: alert alert_raised_recorded; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE CONSTRAINT TRIGGER alert_raised_recorded AFTER INSERT ON byokeep.alert DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION byokeep.alert_recorded();

ALTER TABLE byokeep.alert ENABLE ALWAYS TRIGGER alert_raised_recorded;


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
-- Name: client client_made_recorded; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE CONSTRAINT TRIGGER client_made_recorded AFTER INSERT ON byokeep.client DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((new.state <> 'enrolling'::text) OR (new.entity_id IS NOT NULL))) EXECUTE FUNCTION byokeep.client_recorded();

ALTER TABLE byokeep.client ENABLE ALWAYS TRIGGER client_made_recorded;


--
-- Name: client client_recorded; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE CONSTRAINT TRIGGER client_recorded AFTER UPDATE ON byokeep.client DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((((old.id IS DISTINCT FROM new.id) OR (old.state IS DISTINCT FROM new.state)) OR (old.entity_id IS DISTINCT FROM new.entity_id))) EXECUTE FUNCTION byokeep.client_recorded();

ALTER TABLE byokeep.client ENABLE ALWAYS TRIGGER client_recorded;


--
-- Name: account_grant grant_made_recorded; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE CONSTRAINT TRIGGER grant_made_recorded AFTER INSERT ON byokeep.account_grant DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION byokeep.account_recorded();

ALTER TABLE byokeep.account_grant ENABLE ALWAYS TRIGGER grant_made_recorded;


--
-- Name: account_grant grant_recorded; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE CONSTRAINT TRIGGER grant_recorded AFTER UPDATE ON byokeep.account_grant DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((((((((((((old.account_id IS DISTINCT FROM new.account_id) OR (old.client_id IS DISTINCT FROM new.client_id)) OR (old.app_id IS DISTINCT FROM new.app_id)) OR (old.external_id IS DISTINCT FROM new.external_id)) OR (old.username IS DISTINCT FROM new.username)) OR (old.display_name IS DISTINCT FROM new.display_name)) OR (old.state IS DISTINCT FROM new.state)) OR (old.version IS DISTINCT FROM new.version)) OR (old.access_version IS DISTINCT FROM new.access_version)) OR (old.drift IS DISTINCT FROM new.drift)) OR (new.verified_at > old.verified_at) OR ((old.verified_at IS NULL) AND (new.verified_at IS NOT NULL)))) EXECUTE FUNCTION byokeep.account_recorded();

ALTER TABLE byokeep.account_grant ENABLE ALWAYS TRIGGER grant_recorded;


--
-- Name: job job_only_ends; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE TRIGGER job_only_ends BEFORE UPDATE ON byokeep.job FOR EACH ROW EXECUTE FUNCTION byokeep.job_only_ends();

ALTER TABLE byokeep.job ENABLE ALWAYS TRIGGER job_only_ends;


--
-- Name: job job_recorded; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE CONSTRAINT TRIGGER job_recorded AFTER INSERT ON byokeep.job DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((new.state = 'open'::text)) EXECUTE FUNCTION byokeep.job_recorded();

ALTER TABLE byokeep.job ENABLE ALWAYS TRIGGER job_recorded;


--
-- Name: credential_ref key_made_recorded; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE CONSTRAINT TRIGGER key_made_recorded AFTER INSERT ON byokeep.credential_ref DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION byokeep.key_recorded();

ALTER TABLE byokeep.credential_ref ENABLE ALWAYS TRIGGER key_made_recorded;


--
-- Name: credential_ref key_recorded; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE CONSTRAINT TRIGGER key_recorded AFTER UPDATE ON byokeep.credential_ref DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((((((((((((old.id IS DISTINCT FROM new.id) OR (old.client_id IS DISTINCT FROM new.client_id)) OR (old.provider IS DISTINCT FROM new.provider)) OR (old.kind IS DISTINCT FROM new.kind)) OR (old.purpose IS DISTINCT FROM new.purpose)) OR (old.environment IS DISTINCT FROM new.environment)) OR (old.secret_ref IS DISTINCT FROM new.secret_ref)) OR (old.account_id IS DISTINCT FROM new.account_id)) OR (old.version IS DISTINCT FROM new.version)) OR (old.state IS DISTINCT FROM new.state)) OR (old.verification IS DISTINCT FROM new.verification)) OR (old.expires_at IS DISTINCT FROM new.expires_at))) EXECUTE FUNCTION byokeep.key_recorded();

ALTER TABLE byokeep.credential_ref ENABLE ALWAYS TRIGGER key_recorded;


--
-- Name: key_transition key_transition_append_only; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE TRIGGER key_transition_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON byokeep.key_transition FOR EACH STATEMENT EXECUTE FUNCTION byokeep.audit_refuse_change();

ALTER TABLE byokeep.key_transition ENABLE ALWAYS TRIGGER key_transition_append_only;


--
-- Name: switch switch_made_recorded; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE CONSTRAINT TRIGGER switch_made_recorded AFTER INSERT ON byokeep.switch DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION byokeep.switch_recorded();

ALTER TABLE byokeep.switch ENABLE ALWAYS TRIGGER switch_made_recorded;


--
-- Name: switch switch_recorded; Type: TRIGGER; Schema: byokeep; Owner: byokeep_owner
--

CREATE CONSTRAINT TRIGGER switch_recorded AFTER UPDATE ON byokeep.switch DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((((((old.scope IS DISTINCT FROM new.scope) OR (old.client_id IS DISTINCT FROM new.client_id)) OR (old.closed IS DISTINCT FROM new.closed)) OR (old.epoch IS DISTINCT FROM new.epoch)) OR (old.installation_id IS DISTINCT FROM new.installation_id)) OR (old.store_cut_off IS DISTINCT FROM new.store_cut_off))) EXECUTE FUNCTION byokeep.switch_recorded();

ALTER TABLE byokeep.switch ENABLE ALWAYS TRIGGER switch_recorded;


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
-- Name: procrastinate_jobs task_asked_for; Type: TRIGGER; Schema: procrastinate; Owner: byokeep_owner
--

CREATE TRIGGER task_asked_for BEFORE INSERT ON procrastinate.procrastinate_jobs FOR EACH ROW WHEN (((byokeep.role_of(SESSION_USER) <> 'byokeep_worker'::text) AND (NOT byokeep.is_owner()))) EXECUTE FUNCTION byokeep.task_asked_for();

ALTER TABLE procrastinate.procrastinate_jobs ENABLE ALWAYS TRIGGER task_asked_for;


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
-- Name: dry_run dry_run_client_id_job_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.dry_run
    ADD CONSTRAINT dry_run_client_id_job_id_fk FOREIGN KEY (client_id, job_id) REFERENCES byokeep.job(client_id, id);


--
-- Name: due_start due_start_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.due_start
    ADD CONSTRAINT due_start_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


--
-- Name: incident incident_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.incident
    ADD CONSTRAINT incident_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


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
-- Name: job_template job_template_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.job_template
    ADD CONSTRAINT job_template_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


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
-- Name: lease_calls lease_calls_client_id_lease_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.lease_calls
    ADD CONSTRAINT lease_calls_client_id_lease_id_fk FOREIGN KEY (client_id, lease_id) REFERENCES byokeep.lease(client_id, id);


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
-- Name: procedure_run procedure_run_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.procedure_run
    ADD CONSTRAINT procedure_run_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


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
-- Name: provider_usage provider_usage_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.provider_usage
    ADD CONSTRAINT provider_usage_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


--
-- Name: provider_usage provider_usage_run_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.provider_usage
    ADD CONSTRAINT provider_usage_run_id_fk FOREIGN KEY (run_id) REFERENCES byokeep.procedure_run(id);


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
-- Name: revocation_item revocation_item_client_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.revocation_item
    ADD CONSTRAINT revocation_item_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id);


--
-- Name: revocation_item revocation_item_run_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.revocation_item
    ADD CONSTRAINT revocation_item_run_id_fk FOREIGN KEY (run_id) REFERENCES byokeep.procedure_run(id);


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
-- Name: tool_call tool_call_client_id_lease_id_fk; Type: FK CONSTRAINT; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE ONLY byokeep.tool_call
    ADD CONSTRAINT tool_call_client_id_lease_id_fk FOREIGN KEY (client_id, lease_id) REFERENCES byokeep.lease(client_id, id);


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
-- Name: approval; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.approval ENABLE ROW LEVEL SECURITY;

--
-- Name: audit_head; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.audit_head ENABLE ROW LEVEL SECURITY;

--
-- Name: audit_record; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.audit_record ENABLE ROW LEVEL SECURITY;

--
-- Name: procedure_run begun_by_worker; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY begun_by_worker ON byokeep.procedure_run AS RESTRICTIVE FOR INSERT TO byokeep_worker WITH CHECK ((procedure = ANY (ARRAY['onboard_key'::text, 'end_unused_key'::text])));


--
-- Name: revocation_item begun_only; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY begun_only ON byokeep.revocation_item AS RESTRICTIVE FOR INSERT TO byokeep_web WITH CHECK (((state = 'pending'::text) AND (settled_by IS NULL)));


--
-- Name: approval by_broker; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY by_broker ON byokeep.approval USING (true) WITH CHECK (true);


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
-- Name: dry_run client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.dry_run USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: due_start client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.due_start USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: incident client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.incident USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text) OR (client_id IS NULL))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text) OR (client_id IS NULL)));


--
-- Name: job client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.job USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: job_template client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.job_template USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


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
-- Name: lease_calls client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.lease_calls USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: notification client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.notification USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text) OR (client_id IS NULL))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text) OR (client_id IS NULL)));


--
-- Name: permit client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.permit USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: platform_account client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.platform_account USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: procedure_run client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.procedure_run USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text) OR (client_id IS NULL))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text) OR (client_id IS NULL)));


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
-- Name: provider_usage client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.provider_usage USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: reenabling client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.reenabling USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: refresh_journal client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.refresh_journal USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: revocation_item client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.revocation_item USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: scheduled_effect client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.scheduled_effect USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: sop_run client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.sop_run USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


--
-- Name: tool_call client_wall; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY client_wall ON byokeep.tool_call USING (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text))) WITH CHECK (((client_id = (NULLIF(current_setting('byokeep.client_id'::text, true), ''::text))::uuid) OR (current_setting('byokeep.scope'::text, true) = 'all'::text)));


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
-- Name: dry_run; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.dry_run ENABLE ROW LEVEL SECURITY;

--
-- Name: due_start; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.due_start ENABLE ROW LEVEL SECURITY;

--
-- Name: switch engage_only; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY engage_only ON byokeep.switch AS RESTRICTIVE TO byokeep_killswitch USING (true) WITH CHECK (closed);


--
-- Name: procedure_run glass_by_broker; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY glass_by_broker ON byokeep.procedure_run AS RESTRICTIVE FOR INSERT TO byokeep_web, byokeep_worker WITH CHECK ((procedure !~~ 'break\_glass%'::text));


--
-- Name: procedure_run glass_moved_by_broker; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY glass_moved_by_broker ON byokeep.procedure_run AS RESTRICTIVE FOR UPDATE TO byokeep_web, byokeep_worker USING ((procedure !~~ 'break\_glass%'::text)) WITH CHECK ((procedure !~~ 'break\_glass%'::text));


--
-- Name: incident; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.incident ENABLE ROW LEVEL SECURITY;

--
-- Name: job; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.job ENABLE ROW LEVEL SECURITY;

--
-- Name: job_template; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.job_template ENABLE ROW LEVEL SECURITY;

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
-- Name: job kill_only; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY kill_only ON byokeep.job AS RESTRICTIVE FOR UPDATE TO byokeep_web, byokeep_killswitch, byokeep_worker USING (true) WITH CHECK ((state = 'killed'::text));


--
-- Name: leak_fingerprint; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.leak_fingerprint ENABLE ROW LEVEL SECURITY;

--
-- Name: lease; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.lease ENABLE ROW LEVEL SECURITY;

--
-- Name: lease_calls; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.lease_calls ENABLE ROW LEVEL SECURITY;

--
-- Name: revocation_item not_revoked; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY not_revoked ON byokeep.revocation_item AS RESTRICTIVE FOR UPDATE TO byokeep_web USING (true) WITH CHECK ((state <> 'revoked'::text));


--
-- Name: notification; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.notification ENABLE ROW LEVEL SECURITY;

--
-- Name: permit; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.permit ENABLE ROW LEVEL SECURITY;

--
-- Name: platform_account; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.platform_account ENABLE ROW LEVEL SECURITY;

--
-- Name: procedure_run; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.procedure_run ENABLE ROW LEVEL SECURITY;

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
-- Name: provider_usage; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.provider_usage ENABLE ROW LEVEL SECURITY;

--
-- Name: reenabling; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.reenabling ENABLE ROW LEVEL SECURITY;

--
-- Name: refresh_journal; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.refresh_journal ENABLE ROW LEVEL SECURITY;

--
-- Name: profile_work rekey_only; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY rekey_only ON byokeep.profile_work AS RESTRICTIVE FOR INSERT TO byokeep_worker WITH CHECK (((kind = 'rekey'::text) AND (state = 'asked'::text)));


--
-- Name: revocation_item; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.revocation_item ENABLE ROW LEVEL SECURITY;

--
-- Name: scheduled_effect; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.scheduled_effect ENABLE ROW LEVEL SECURITY;

--
-- Name: switch seen_by_all; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY seen_by_all ON byokeep.switch USING (true) WITH CHECK (true);


--
-- Name: sop_run; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.sop_run ENABLE ROW LEVEL SECURITY;

--
-- Name: approval steps_only; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY steps_only ON byokeep.approval AS RESTRICTIVE FOR INSERT TO byokeep_web, byokeep_worker WITH CHECK (((action = 'procedure_step'::text) AND (approved_by IS NULL) AND (approved_at IS NULL) AND (used_at IS NULL)));


--
-- Name: switch; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.switch ENABLE ROW LEVEL SECURITY;

--
-- Name: credential_ref tokens_only; Type: POLICY; Schema: byokeep; Owner: byokeep_owner
--

CREATE POLICY tokens_only ON byokeep.credential_ref AS RESTRICTIVE FOR INSERT TO byokeep_worker WITH CHECK ((kind = 'oauth_token_set'::text));


--
-- Name: tool_call; Type: ROW SECURITY; Schema: byokeep; Owner: byokeep_owner
--

ALTER TABLE byokeep.tool_call ENABLE ROW LEVEL SECURITY;

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
GRANT USAGE ON SCHEMA byokeep TO byokeep_killswitch;


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
-- Name: FUNCTION able_admins(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.able_admins() FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.able_admins() TO byokeep_broker;


--
-- Name: FUNCTION account_recorded(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.account_recorded() FROM PUBLIC;


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

GRANT UPDATE(identity) ON TABLE byokeep.platform_account TO byokeep_web;
GRANT UPDATE(identity) ON TABLE byokeep.platform_account TO byokeep_broker;
GRANT UPDATE(identity) ON TABLE byokeep.platform_account TO byokeep_worker;


--
-- Name: FUNCTION account_row(a byokeep.platform_account, g byokeep.account_grant); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.account_row(a byokeep.platform_account, g byokeep.account_grant) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.account_row(a byokeep.platform_account, g byokeep.account_grant) TO byokeep_broker;


--
-- Name: FUNCTION alert_on_record(p_alert uuid, p_opened timestamp with time zone); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.alert_on_record(p_alert uuid, p_opened timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.alert_on_record(p_alert uuid, p_opened timestamp with time zone) TO byokeep_web;
GRANT ALL ON FUNCTION byokeep.alert_on_record(p_alert uuid, p_opened timestamp with time zone) TO byokeep_broker;
GRANT ALL ON FUNCTION byokeep.alert_on_record(p_alert uuid, p_opened timestamp with time zone) TO byokeep_worker;
GRANT ALL ON FUNCTION byokeep.alert_on_record(p_alert uuid, p_opened timestamp with time zone) TO byokeep_killswitch;


--
-- Name: FUNCTION alert_only_counts(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.alert_only_counts() FROM PUBLIC;


--
-- Name: FUNCTION alert_opens_now(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.alert_opens_now() FROM PUBLIC;


--
-- Name: FUNCTION alert_recorded(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.alert_recorded() FROM PUBLIC;


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
GRANT ALL ON FUNCTION byokeep.audit_append(p_chain uuid, p_event text, p_actor uuid, p_object uuid, p_request uuid, p_outcome text, p_payload bytea) TO byokeep_killswitch;


--
-- Name: FUNCTION audit_canonical(said jsonb); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.audit_canonical(said jsonb) FROM PUBLIC;


--
-- Name: FUNCTION audit_head_step(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.audit_head_step() FROM PUBLIC;


--
-- Name: FUNCTION audit_hold(p_chain uuid); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.audit_hold(p_chain uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.audit_hold(p_chain uuid) TO byokeep_web;
GRANT ALL ON FUNCTION byokeep.audit_hold(p_chain uuid) TO byokeep_broker;
GRANT ALL ON FUNCTION byokeep.audit_hold(p_chain uuid) TO byokeep_worker;


--
-- Name: FUNCTION audit_refuse_change(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.audit_refuse_change() FROM PUBLIC;


--
-- Name: FUNCTION calls_forget(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.calls_forget() FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.calls_forget() TO byokeep_worker;


--
-- Name: FUNCTION client_recorded(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.client_recorded() FROM PUBLIC;


--
-- Name: TABLE client; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.client TO byokeep_web;
GRANT SELECT ON TABLE byokeep.client TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.client TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.client TO byokeep_auditor;
GRANT SELECT ON TABLE byokeep.client TO byokeep_killswitch;


--
-- Name: COLUMN client.state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(state) ON TABLE byokeep.client TO byokeep_broker;


--
-- Name: COLUMN client.entity_id; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(entity_id) ON TABLE byokeep.client TO byokeep_broker;


--
-- Name: FUNCTION client_row(c byokeep.client); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.client_row(c byokeep.client) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.client_row(c byokeep.client) TO byokeep_broker;


--
-- Name: FUNCTION digest_of(said jsonb); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.digest_of(said jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.digest_of(said jsonb) TO byokeep_broker;


--
-- Name: FUNCTION end_blockers(p_waiting integer); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.end_blockers(p_waiting integer) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.end_blockers(p_waiting integer) TO byokeep_broker;
GRANT ALL ON FUNCTION byokeep.end_blockers(p_waiting integer) TO byokeep_killswitch;


--
-- Name: FUNCTION fields_said_here(p_chains uuid[], p_event text, p_fields jsonb); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.fields_said_here(p_chains uuid[], p_event text, p_fields jsonb) FROM PUBLIC;


--
-- Name: FUNCTION hold_rows(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.hold_rows() FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.hold_rows() TO byokeep_web;


--
-- Name: FUNCTION is_owner(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.is_owner() FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.is_owner() TO byokeep_web;
GRANT ALL ON FUNCTION byokeep.is_owner() TO byokeep_broker;
GRANT ALL ON FUNCTION byokeep.is_owner() TO byokeep_worker;
GRANT ALL ON FUNCTION byokeep.is_owner() TO byokeep_killswitch;


--
-- Name: FUNCTION job_only_ends(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.job_only_ends() FROM PUBLIC;


--
-- Name: FUNCTION job_recorded(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.job_recorded() FROM PUBLIC;


--
-- Name: TABLE job; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.job TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.job TO byokeep_broker;
GRANT SELECT,INSERT ON TABLE byokeep.job TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.job TO byokeep_auditor;
GRANT SELECT ON TABLE byokeep.job TO byokeep_killswitch;


--
-- Name: COLUMN job.state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(state) ON TABLE byokeep.job TO byokeep_web;
GRANT UPDATE(state) ON TABLE byokeep.job TO byokeep_worker;
GRANT UPDATE(state) ON TABLE byokeep.job TO byokeep_broker;
GRANT UPDATE(state) ON TABLE byokeep.job TO byokeep_killswitch;


--
-- Name: COLUMN job.reason; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(reason) ON TABLE byokeep.job TO byokeep_web;
GRANT UPDATE(reason) ON TABLE byokeep.job TO byokeep_worker;
GRANT UPDATE(reason) ON TABLE byokeep.job TO byokeep_broker;
GRANT UPDATE(reason) ON TABLE byokeep.job TO byokeep_killswitch;


--
-- Name: COLUMN job.closed_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(closed_at) ON TABLE byokeep.job TO byokeep_web;
GRANT UPDATE(closed_at) ON TABLE byokeep.job TO byokeep_worker;
GRANT UPDATE(closed_at) ON TABLE byokeep.job TO byokeep_broker;
GRANT UPDATE(closed_at) ON TABLE byokeep.job TO byokeep_killswitch;


--
-- Name: COLUMN job.sealing_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(sealing_at) ON TABLE byokeep.job TO byokeep_broker;


--
-- Name: FUNCTION job_row(j byokeep.job); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.job_row(j byokeep.job) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.job_row(j byokeep.job) TO byokeep_broker;


--
-- Name: FUNCTION key_recorded(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.key_recorded() FROM PUBLIC;


--
-- Name: TABLE credential_ref; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT SELECT ON TABLE byokeep.credential_ref TO byokeep_broker;
GRANT SELECT,INSERT ON TABLE byokeep.credential_ref TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.credential_ref TO byokeep_auditor;


--
-- Name: COLUMN credential_ref.client_id; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(client_id) ON TABLE byokeep.credential_ref TO byokeep_killswitch;


--
-- Name: COLUMN credential_ref.provider; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(provider) ON TABLE byokeep.credential_ref TO byokeep_killswitch;


--
-- Name: COLUMN credential_ref.kind; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(kind) ON TABLE byokeep.credential_ref TO byokeep_killswitch;


--
-- Name: COLUMN credential_ref.version; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(version) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT UPDATE(version) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: COLUMN credential_ref.state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(state) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT SELECT(state) ON TABLE byokeep.credential_ref TO byokeep_killswitch;
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
GRANT UPDATE(risk) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: COLUMN credential_ref.created_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(created_at) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT UPDATE(created_at) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: COLUMN credential_ref.created_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(created_by) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT UPDATE(created_by) ON TABLE byokeep.credential_ref TO byokeep_worker;


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
-- Name: COLUMN credential_ref.candidate_version; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(candidate_version) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT UPDATE(candidate_version) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: COLUMN credential_ref.candidate_risk; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(candidate_risk) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT UPDATE(candidate_risk) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: COLUMN credential_ref.candidate_due_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(candidate_due_at) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT UPDATE(candidate_due_at) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: COLUMN credential_ref.candidate_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(candidate_at) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT UPDATE(candidate_at) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: COLUMN credential_ref.candidate_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(candidate_by) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT UPDATE(candidate_by) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: COLUMN credential_ref.provider_place; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(provider_place) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT SELECT(provider_place) ON TABLE byokeep.credential_ref TO byokeep_killswitch;
GRANT UPDATE(provider_place) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: COLUMN credential_ref.candidate_place; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(candidate_place) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT UPDATE(candidate_place) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: COLUMN credential_ref.candidate_expires_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(candidate_expires_at) ON TABLE byokeep.credential_ref TO byokeep_web;
GRANT UPDATE(candidate_expires_at) ON TABLE byokeep.credential_ref TO byokeep_worker;


--
-- Name: FUNCTION key_row(r byokeep.credential_ref); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.key_row(r byokeep.credential_ref) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.key_row(r byokeep.credential_ref) TO byokeep_broker;


--
-- Name: FUNCTION key_said(r byokeep.credential_ref); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.key_said(r byokeep.credential_ref) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.key_said(r byokeep.credential_ref) TO byokeep_broker;


--
-- Name: FUNCTION machine_own(p_id uuid, p_actor uuid); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.machine_own(p_id uuid, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.machine_own(p_id uuid, p_actor uuid) TO byokeep_broker;


--
-- Name: FUNCTION notifications_forget(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.notifications_forget() FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.notifications_forget() TO byokeep_worker;


--
-- Name: FUNCTION password_put(p_id uuid, p_phc text, p_request uuid, p_payload bytea); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.password_put(p_id uuid, p_phc text, p_request uuid, p_payload bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.password_put(p_id uuid, p_phc text, p_request uuid, p_payload bytea) TO byokeep_broker;


--
-- Name: FUNCTION profile_usable(p_client uuid, p_profile uuid); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.profile_usable(p_client uuid, p_profile uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.profile_usable(p_client uuid, p_profile uuid) TO byokeep_web;
GRANT ALL ON FUNCTION byokeep.profile_usable(p_client uuid, p_profile uuid) TO byokeep_broker;
GRANT ALL ON FUNCTION byokeep.profile_usable(p_client uuid, p_profile uuid) TO byokeep_worker;


--
-- Name: FUNCTION refuse_unrecorded(p_table text); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.refuse_unrecorded(p_table text) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.refuse_unrecorded(p_table text) TO byokeep_web;
GRANT ALL ON FUNCTION byokeep.refuse_unrecorded(p_table text) TO byokeep_broker;
GRANT ALL ON FUNCTION byokeep.refuse_unrecorded(p_table text) TO byokeep_worker;
GRANT ALL ON FUNCTION byokeep.refuse_unrecorded(p_table text) TO byokeep_killswitch;


--
-- Name: FUNCTION reminders_over(p_overdue text[]); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.reminders_over(p_overdue text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.reminders_over(p_overdue text[]) TO byokeep_worker;


--
-- Name: FUNCTION revocation_left(p_object uuid); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.revocation_left(p_object uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.revocation_left(p_object uuid) TO byokeep_web;
GRANT ALL ON FUNCTION byokeep.revocation_left(p_object uuid) TO byokeep_broker;
GRANT ALL ON FUNCTION byokeep.revocation_left(p_object uuid) TO byokeep_worker;
GRANT ALL ON FUNCTION byokeep.revocation_left(p_object uuid) TO byokeep_killswitch;


--
-- Name: FUNCTION role_of(p_login name); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.role_of(p_login name) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.role_of(p_login name) TO byokeep_web;
GRANT ALL ON FUNCTION byokeep.role_of(p_login name) TO byokeep_broker;
GRANT ALL ON FUNCTION byokeep.role_of(p_login name) TO byokeep_worker;
GRANT ALL ON FUNCTION byokeep.role_of(p_login name) TO byokeep_killswitch;


--
-- Name: FUNCTION rotation_due_now(p_client uuid, p_secret_ref text); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.rotation_due_now(p_client uuid, p_secret_ref text) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.rotation_due_now(p_client uuid, p_secret_ref text) TO byokeep_broker;


--
-- Name: FUNCTION row_said(p_chain uuid, p_object uuid, p_field text); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.row_said(p_chain uuid, p_object uuid, p_field text) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.row_said(p_chain uuid, p_object uuid, p_field text) TO byokeep_broker;


--
-- Name: FUNCTION rows_now(p_event text, p_chain uuid, p_object uuid); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.rows_now(p_event text, p_chain uuid, p_object uuid) FROM PUBLIC;


--
-- Name: FUNCTION said_here(p_chain uuid, p_objects uuid[], p_events text[]); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.said_here(p_chain uuid, p_objects uuid[], p_events text[]) FROM PUBLIC;


--
-- Name: FUNCTION scope_lock_key(scope text); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.scope_lock_key(scope text) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.scope_lock_key(scope text) TO byokeep_web;
GRANT ALL ON FUNCTION byokeep.scope_lock_key(scope text) TO byokeep_broker;
GRANT ALL ON FUNCTION byokeep.scope_lock_key(scope text) TO byokeep_worker;
GRANT ALL ON FUNCTION byokeep.scope_lock_key(scope text) TO byokeep_killswitch;


--
-- Name: FUNCTION state_rows(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.state_rows() FROM PUBLIC;


--
-- Name: FUNCTION subject_hold(p_hold_s bigint); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.subject_hold(p_hold_s bigint) FROM PUBLIC;


--
-- Name: FUNCTION subject_lock(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.subject_lock() FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.subject_lock() TO byokeep_broker;


--
-- Name: FUNCTION subject_put(p_id uuid, p_kind text, p_name text, p_roles text[], p_state text, p_all_clients boolean, p_clients uuid[], p_approval uuid, p_hold_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.subject_put(p_id uuid, p_kind text, p_name text, p_roles text[], p_state text, p_all_clients boolean, p_clients uuid[], p_approval uuid, p_hold_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.subject_put(p_id uuid, p_kind text, p_name text, p_roles text[], p_state text, p_all_clients boolean, p_clients uuid[], p_approval uuid, p_hold_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea) TO byokeep_broker;


--
-- Name: FUNCTION subject_recorded(p_id uuid); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.subject_recorded(p_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.subject_recorded(p_id uuid) TO byokeep_web;
GRANT ALL ON FUNCTION byokeep.subject_recorded(p_id uuid) TO byokeep_broker;
GRANT ALL ON FUNCTION byokeep.subject_recorded(p_id uuid) TO byokeep_killswitch;


--
-- Name: FUNCTION subject_rights(p_id uuid); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.subject_rights(p_id uuid) FROM PUBLIC;


--
-- Name: COLUMN subject.id; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(id) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(id) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(id) ON TABLE byokeep.subject TO byokeep_killswitch;
GRANT SELECT(id) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(id) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.kind; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(kind) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(kind) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(kind) ON TABLE byokeep.subject TO byokeep_killswitch;
GRANT SELECT(kind) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(kind) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.name; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(name) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(name) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(name) ON TABLE byokeep.subject TO byokeep_killswitch;
GRANT SELECT(name) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(name) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.roles; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(roles) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(roles) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(roles) ON TABLE byokeep.subject TO byokeep_killswitch;
GRANT SELECT(roles) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(roles) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(state) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(state) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(state) ON TABLE byokeep.subject TO byokeep_killswitch;
GRANT SELECT(state) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(state) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.password_phc; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(password_phc) ON TABLE byokeep.subject TO byokeep_broker;


--
-- Name: COLUMN subject.all_clients; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(all_clients) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(all_clients) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(all_clients) ON TABLE byokeep.subject TO byokeep_killswitch;
GRANT SELECT(all_clients) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(all_clients) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.created_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(created_at) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(created_at) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(created_at) ON TABLE byokeep.subject TO byokeep_killswitch;
GRANT SELECT(created_at) ON TABLE byokeep.subject TO byokeep_worker;
GRANT SELECT(created_at) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.created_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(created_by) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(created_by) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(created_by) ON TABLE byokeep.subject TO byokeep_killswitch;
GRANT SELECT(created_by) ON TABLE byokeep.subject TO byokeep_auditor;


--
-- Name: COLUMN subject.password_mark; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(password_mark) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(password_mark) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(password_mark) ON TABLE byokeep.subject TO byokeep_killswitch;


--
-- Name: COLUMN subject.record_seq; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(record_seq) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(record_seq) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(record_seq) ON TABLE byokeep.subject TO byokeep_killswitch;


--
-- Name: COLUMN subject.held_until; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(held_until) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(held_until) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(held_until) ON TABLE byokeep.subject TO byokeep_killswitch;


--
-- Name: COLUMN subject.admin_until; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(admin_until) ON TABLE byokeep.subject TO byokeep_web;
GRANT SELECT(admin_until) ON TABLE byokeep.subject TO byokeep_broker;
GRANT SELECT(admin_until) ON TABLE byokeep.subject TO byokeep_killswitch;


--
-- Name: FUNCTION subject_row(s byokeep.subject); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.subject_row(s byokeep.subject) FROM PUBLIC;


--
-- Name: FUNCTION switch_recorded(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.switch_recorded() FROM PUBLIC;


--
-- Name: FUNCTION task_asked_for(); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.task_asked_for() FROM PUBLIC;


--
-- Name: FUNCTION tells_of_rotation(p_reason text); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.tells_of_rotation(p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.tells_of_rotation(p_reason text) TO byokeep_web;
GRANT ALL ON FUNCTION byokeep.tells_of_rotation(p_reason text) TO byokeep_broker;
GRANT ALL ON FUNCTION byokeep.tells_of_rotation(p_reason text) TO byokeep_worker;
GRANT ALL ON FUNCTION byokeep.tells_of_rotation(p_reason text) TO byokeep_killswitch;


--
-- Name: TABLE api_token; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.api_token TO byokeep_web;
GRANT SELECT ON TABLE byokeep.api_token TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.api_token TO byokeep_killswitch;


--
-- Name: COLUMN api_token.subject_id; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(subject_id) ON TABLE byokeep.api_token TO byokeep_worker;


--
-- Name: COLUMN api_token.kind; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(kind) ON TABLE byokeep.api_token TO byokeep_worker;


--
-- Name: COLUMN api_token.created_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(created_at) ON TABLE byokeep.api_token TO byokeep_worker;


--
-- Name: COLUMN api_token.expires_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(expires_at) ON TABLE byokeep.api_token TO byokeep_worker;


--
-- Name: COLUMN api_token.revoked_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT(revoked_at) ON TABLE byokeep.api_token TO byokeep_worker;


--
-- Name: FUNCTION token_end(p_id uuid, p_in_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.token_end(p_id uuid, p_in_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.token_end(p_id uuid, p_in_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea) TO byokeep_broker;


--
-- Name: FUNCTION token_issue(p_id uuid, p_subject uuid, p_keyed_hash bytea, p_kind text, p_life_s bigint, p_approval uuid, p_hold_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea, p_shown uuid); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.token_issue(p_id uuid, p_subject uuid, p_keyed_hash bytea, p_kind text, p_life_s bigint, p_approval uuid, p_hold_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea, p_shown uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.token_issue(p_id uuid, p_subject uuid, p_keyed_hash bytea, p_kind text, p_life_s bigint, p_approval uuid, p_hold_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea, p_shown uuid) TO byokeep_broker;


--
-- Name: FUNCTION token_recorded(p_id uuid); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.token_recorded(p_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.token_recorded(p_id uuid) TO byokeep_web;
GRANT ALL ON FUNCTION byokeep.token_recorded(p_id uuid) TO byokeep_broker;
GRANT ALL ON FUNCTION byokeep.token_recorded(p_id uuid) TO byokeep_killswitch;


--
-- Name: FUNCTION withdraw_again(p_kind text, p_id uuid); Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION byokeep.withdraw_again(p_kind text, p_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION byokeep.withdraw_again(p_kind text, p_id uuid) TO byokeep_broker;


--
-- Name: FUNCTION procrastinate_cancel_job_v1(job_id bigint, abort boolean, delete_job boolean); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_cancel_job_v1(job_id bigint, abort boolean, delete_job boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_cancel_job_v1(job_id bigint, abort boolean, delete_job boolean) TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_defer_jobs_v1(jobs procrastinate.procrastinate_job_to_defer_v1[]); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_defer_jobs_v1(jobs procrastinate.procrastinate_job_to_defer_v1[]) FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_defer_jobs_v1(jobs procrastinate.procrastinate_job_to_defer_v1[]) TO byokeep_worker;


--
-- Name: FUNCTION procrastinate_defer_periodic_job_v2(_queue_name character varying, _lock character varying, _queueing_lock character varying, _task_name character varying, _priority integer, _periodic_id character varying, _defer_timestamp bigint, _args jsonb); Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

REVOKE ALL ON FUNCTION procrastinate.procrastinate_defer_periodic_job_v2(_queue_name character varying, _lock character varying, _queueing_lock character varying, _task_name character varying, _priority integer, _periodic_id character varying, _defer_timestamp bigint, _args jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION procrastinate.procrastinate_defer_periodic_job_v2(_queue_name character varying, _lock character varying, _queueing_lock character varying, _task_name character varying, _priority integer, _periodic_id character varying, _defer_timestamp bigint, _args jsonb) TO byokeep_worker;


--
-- Name: TABLE procrastinate_jobs; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE procrastinate.procrastinate_jobs TO byokeep_worker;


--
-- Name: COLUMN procrastinate_jobs.id; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT SELECT(id) ON TABLE procrastinate.procrastinate_jobs TO byokeep_web;
GRANT SELECT(id) ON TABLE procrastinate.procrastinate_jobs TO byokeep_broker;


--
-- Name: COLUMN procrastinate_jobs.queue_name; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT INSERT(queue_name) ON TABLE procrastinate.procrastinate_jobs TO byokeep_web;
GRANT INSERT(queue_name) ON TABLE procrastinate.procrastinate_jobs TO byokeep_broker;


--
-- Name: COLUMN procrastinate_jobs.task_name; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT INSERT(task_name) ON TABLE procrastinate.procrastinate_jobs TO byokeep_web;
GRANT INSERT(task_name) ON TABLE procrastinate.procrastinate_jobs TO byokeep_broker;


--
-- Name: COLUMN procrastinate_jobs.priority; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT INSERT(priority) ON TABLE procrastinate.procrastinate_jobs TO byokeep_web;
GRANT INSERT(priority) ON TABLE procrastinate.procrastinate_jobs TO byokeep_broker;


--
-- Name: COLUMN procrastinate_jobs.lock; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT INSERT(lock) ON TABLE procrastinate.procrastinate_jobs TO byokeep_web;
GRANT INSERT(lock) ON TABLE procrastinate.procrastinate_jobs TO byokeep_broker;


--
-- Name: COLUMN procrastinate_jobs.queueing_lock; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT SELECT(queueing_lock),INSERT(queueing_lock) ON TABLE procrastinate.procrastinate_jobs TO byokeep_web;
GRANT SELECT(queueing_lock),INSERT(queueing_lock) ON TABLE procrastinate.procrastinate_jobs TO byokeep_broker;


--
-- Name: COLUMN procrastinate_jobs.args; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT INSERT(args) ON TABLE procrastinate.procrastinate_jobs TO byokeep_web;
GRANT INSERT(args) ON TABLE procrastinate.procrastinate_jobs TO byokeep_broker;


--
-- Name: COLUMN procrastinate_jobs.scheduled_at; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT INSERT(scheduled_at) ON TABLE procrastinate.procrastinate_jobs TO byokeep_web;
GRANT INSERT(scheduled_at) ON TABLE procrastinate.procrastinate_jobs TO byokeep_broker;


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
GRANT SELECT ON TABLE byokeep.alembic_version TO byokeep_killswitch;


--
-- Name: TABLE alert; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.alert TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.alert TO byokeep_broker;
GRANT SELECT,INSERT ON TABLE byokeep.alert TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.alert TO byokeep_auditor;
GRANT SELECT,INSERT ON TABLE byokeep.alert TO byokeep_killswitch;


--
-- Name: COLUMN alert.closed_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(closed_at) ON TABLE byokeep.alert TO byokeep_web;
GRANT UPDATE(closed_at) ON TABLE byokeep.alert TO byokeep_broker;


--
-- Name: COLUMN alert.closed_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(closed_by) ON TABLE byokeep.alert TO byokeep_web;
GRANT UPDATE(closed_by) ON TABLE byokeep.alert TO byokeep_broker;


--
-- Name: COLUMN alert.count; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(count) ON TABLE byokeep.alert TO byokeep_web;
GRANT UPDATE(count) ON TABLE byokeep.alert TO byokeep_broker;
GRANT UPDATE(count) ON TABLE byokeep.alert TO byokeep_worker;
GRANT UPDATE(count) ON TABLE byokeep.alert TO byokeep_killswitch;


--
-- Name: COLUMN alert.code_points; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(code_points) ON TABLE byokeep.alert TO byokeep_web;
GRANT UPDATE(code_points) ON TABLE byokeep.alert TO byokeep_broker;
GRANT UPDATE(code_points) ON TABLE byokeep.alert TO byokeep_worker;
GRANT UPDATE(code_points) ON TABLE byokeep.alert TO byokeep_killswitch;


--
-- Name: COLUMN alert.last_seen_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(last_seen_at) ON TABLE byokeep.alert TO byokeep_web;
GRANT UPDATE(last_seen_at) ON TABLE byokeep.alert TO byokeep_broker;
GRANT UPDATE(last_seen_at) ON TABLE byokeep.alert TO byokeep_worker;
GRANT UPDATE(last_seen_at) ON TABLE byokeep.alert TO byokeep_killswitch;


--
-- Name: COLUMN alert.acknowledged_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(acknowledged_at) ON TABLE byokeep.alert TO byokeep_web;


--
-- Name: COLUMN alert.acknowledged_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(acknowledged_by) ON TABLE byokeep.alert TO byokeep_web;


--
-- Name: TABLE approval; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.approval TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.approval TO byokeep_broker;
GRANT SELECT,INSERT ON TABLE byokeep.approval TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.approval TO byokeep_auditor;
GRANT SELECT ON TABLE byokeep.approval TO byokeep_killswitch;


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
-- Name: TABLE dry_run; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.dry_run TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.dry_run TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.dry_run TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.dry_run TO byokeep_auditor;


--
-- Name: TABLE due_start; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.due_start TO byokeep_web;
GRANT SELECT ON TABLE byokeep.due_start TO byokeep_broker;
GRANT SELECT,INSERT ON TABLE byokeep.due_start TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.due_start TO byokeep_auditor;


--
-- Name: COLUMN due_start.due_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(due_at) ON TABLE byokeep.due_start TO byokeep_worker;


--
-- Name: COLUMN due_start.tried_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(tried_at) ON TABLE byokeep.due_start TO byokeep_worker;


--
-- Name: COLUMN due_start.tries; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(tries) ON TABLE byokeep.due_start TO byokeep_worker;


--
-- Name: TABLE incident; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.incident TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.incident TO byokeep_broker;
GRANT SELECT,INSERT ON TABLE byokeep.incident TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.incident TO byokeep_auditor;


--
-- Name: COLUMN incident.kind; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(kind) ON TABLE byokeep.incident TO byokeep_web;


--
-- Name: COLUMN incident.severity; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(severity) ON TABLE byokeep.incident TO byokeep_web;
GRANT UPDATE(severity) ON TABLE byokeep.incident TO byokeep_broker;
GRANT UPDATE(severity) ON TABLE byokeep.incident TO byokeep_worker;


--
-- Name: COLUMN incident.dedup_key; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(dedup_key) ON TABLE byokeep.incident TO byokeep_web;


--
-- Name: COLUMN incident.began_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(began_at) ON TABLE byokeep.incident TO byokeep_web;
GRANT UPDATE(began_at) ON TABLE byokeep.incident TO byokeep_broker;
GRANT UPDATE(began_at) ON TABLE byokeep.incident TO byokeep_worker;


--
-- Name: COLUMN incident.began_assumed; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(began_assumed) ON TABLE byokeep.incident TO byokeep_web;
GRANT UPDATE(began_assumed) ON TABLE byokeep.incident TO byokeep_broker;
GRANT UPDATE(began_assumed) ON TABLE byokeep.incident TO byokeep_worker;


--
-- Name: COLUMN incident.ticket; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(ticket) ON TABLE byokeep.incident TO byokeep_web;


--
-- Name: COLUMN incident.ticket_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(ticket_at) ON TABLE byokeep.incident TO byokeep_web;


--
-- Name: COLUMN incident.postmortem; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(postmortem) ON TABLE byokeep.incident TO byokeep_web;


--
-- Name: COLUMN incident.postmortem_sha256; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(postmortem_sha256) ON TABLE byokeep.incident TO byokeep_web;


--
-- Name: COLUMN incident.closed_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(closed_at) ON TABLE byokeep.incident TO byokeep_web;


--
-- Name: COLUMN incident.closed_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(closed_by) ON TABLE byokeep.incident TO byokeep_web;


--
-- Name: TABLE installation; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.installation TO byokeep_web;
GRANT SELECT ON TABLE byokeep.installation TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.installation TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.installation TO byokeep_auditor;
GRANT SELECT ON TABLE byokeep.installation TO byokeep_killswitch;


--
-- Name: COLUMN installation.store_recorded_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(store_recorded_at) ON TABLE byokeep.installation TO byokeep_broker;


--
-- Name: TABLE job_template; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.job_template TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.job_template TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.job_template TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.job_template TO byokeep_auditor;


--
-- Name: COLUMN job_template.runner_id; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(runner_id) ON TABLE byokeep.job_template TO byokeep_broker;


--
-- Name: COLUMN job_template.secrets; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(secrets) ON TABLE byokeep.job_template TO byokeep_broker;


--
-- Name: COLUMN job_template.platforms; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(platforms) ON TABLE byokeep.job_template TO byokeep_broker;


--
-- Name: COLUMN job_template.lanes; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(lanes) ON TABLE byokeep.job_template TO byokeep_broker;


--
-- Name: COLUMN job_template.set_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(set_at) ON TABLE byokeep.job_template TO byokeep_broker;


--
-- Name: COLUMN job_template.set_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(set_by) ON TABLE byokeep.job_template TO byokeep_broker;


--
-- Name: COLUMN job_template.ended_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(ended_at) ON TABLE byokeep.job_template TO byokeep_broker;


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
-- Name: TABLE lease_calls; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.lease_calls TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.lease_calls TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.lease_calls TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.lease_calls TO byokeep_auditor;


--
-- Name: TABLE notification; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.notification TO byokeep_web;
GRANT SELECT ON TABLE byokeep.notification TO byokeep_broker;
GRANT SELECT,INSERT ON TABLE byokeep.notification TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.notification TO byokeep_auditor;


--
-- Name: COLUMN notification.next_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(next_at) ON TABLE byokeep.notification TO byokeep_worker;


--
-- Name: COLUMN notification.tries; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(tries) ON TABLE byokeep.notification TO byokeep_worker;


--
-- Name: COLUMN notification.failure; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(failure) ON TABLE byokeep.notification TO byokeep_worker;


--
-- Name: COLUMN notification.sent_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(sent_at) ON TABLE byokeep.notification TO byokeep_worker;


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
-- Name: TABLE procedure_run; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.procedure_run TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.procedure_run TO byokeep_broker;
GRANT SELECT,INSERT ON TABLE byokeep.procedure_run TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.procedure_run TO byokeep_auditor;


--
-- Name: COLUMN procedure_run.revision; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(revision) ON TABLE byokeep.procedure_run TO byokeep_web;
GRANT UPDATE(revision) ON TABLE byokeep.procedure_run TO byokeep_broker;
GRANT UPDATE(revision) ON TABLE byokeep.procedure_run TO byokeep_worker;


--
-- Name: COLUMN procedure_run.state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(state) ON TABLE byokeep.procedure_run TO byokeep_web;
GRANT UPDATE(state) ON TABLE byokeep.procedure_run TO byokeep_broker;
GRANT UPDATE(state) ON TABLE byokeep.procedure_run TO byokeep_worker;


--
-- Name: COLUMN procedure_run.reason; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(reason) ON TABLE byokeep.procedure_run TO byokeep_web;
GRANT UPDATE(reason) ON TABLE byokeep.procedure_run TO byokeep_broker;
GRANT UPDATE(reason) ON TABLE byokeep.procedure_run TO byokeep_worker;


--
-- Name: COLUMN procedure_run.evidence; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(evidence) ON TABLE byokeep.procedure_run TO byokeep_web;
GRANT UPDATE(evidence) ON TABLE byokeep.procedure_run TO byokeep_broker;
GRANT UPDATE(evidence) ON TABLE byokeep.procedure_run TO byokeep_worker;


--
-- Name: COLUMN procedure_run.facts; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(facts) ON TABLE byokeep.procedure_run TO byokeep_web;
GRANT UPDATE(facts) ON TABLE byokeep.procedure_run TO byokeep_broker;
GRANT UPDATE(facts) ON TABLE byokeep.procedure_run TO byokeep_worker;


--
-- Name: COLUMN procedure_run.due_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(due_at) ON TABLE byokeep.procedure_run TO byokeep_web;
GRANT UPDATE(due_at) ON TABLE byokeep.procedure_run TO byokeep_broker;
GRANT UPDATE(due_at) ON TABLE byokeep.procedure_run TO byokeep_worker;


--
-- Name: COLUMN procedure_run.asked_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(asked_by) ON TABLE byokeep.procedure_run TO byokeep_web;
GRANT UPDATE(asked_by) ON TABLE byokeep.procedure_run TO byokeep_broker;
GRANT UPDATE(asked_by) ON TABLE byokeep.procedure_run TO byokeep_worker;


--
-- Name: COLUMN procedure_run.closed_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(closed_at) ON TABLE byokeep.procedure_run TO byokeep_web;
GRANT UPDATE(closed_at) ON TABLE byokeep.procedure_run TO byokeep_broker;
GRANT UPDATE(closed_at) ON TABLE byokeep.procedure_run TO byokeep_worker;


--
-- Name: COLUMN procedure_run.closed_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(closed_by) ON TABLE byokeep.procedure_run TO byokeep_web;
GRANT UPDATE(closed_by) ON TABLE byokeep.procedure_run TO byokeep_broker;
GRANT UPDATE(closed_by) ON TABLE byokeep.procedure_run TO byokeep_worker;


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
GRANT SELECT,INSERT,UPDATE ON TABLE byokeep.profile_work TO byokeep_worker;
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
-- Name: TABLE provider_usage; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.provider_usage TO byokeep_web;
GRANT SELECT ON TABLE byokeep.provider_usage TO byokeep_broker;
GRANT SELECT,INSERT ON TABLE byokeep.provider_usage TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.provider_usage TO byokeep_auditor;


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
-- Name: TABLE revocation_item; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT,INSERT ON TABLE byokeep.revocation_item TO byokeep_web;
GRANT SELECT ON TABLE byokeep.revocation_item TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.revocation_item TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.revocation_item TO byokeep_auditor;


--
-- Name: COLUMN revocation_item.state; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(state) ON TABLE byokeep.revocation_item TO byokeep_web;
GRANT UPDATE(state) ON TABLE byokeep.revocation_item TO byokeep_worker;


--
-- Name: COLUMN revocation_item.cause; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(cause) ON TABLE byokeep.revocation_item TO byokeep_web;
GRANT UPDATE(cause) ON TABLE byokeep.revocation_item TO byokeep_worker;


--
-- Name: COLUMN revocation_item.seq; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(seq) ON TABLE byokeep.revocation_item TO byokeep_worker;


--
-- Name: COLUMN revocation_item.settled_by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(settled_by) ON TABLE byokeep.revocation_item TO byokeep_web;
GRANT UPDATE(settled_by) ON TABLE byokeep.revocation_item TO byokeep_worker;


--
-- Name: COLUMN revocation_item.settled_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(settled_at) ON TABLE byokeep.revocation_item TO byokeep_web;
GRANT UPDATE(settled_at) ON TABLE byokeep.revocation_item TO byokeep_worker;


--
-- Name: COLUMN revocation_item.changed_at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(changed_at) ON TABLE byokeep.revocation_item TO byokeep_web;
GRANT UPDATE(changed_at) ON TABLE byokeep.revocation_item TO byokeep_worker;


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
GRANT SELECT ON TABLE byokeep.schema_objects TO byokeep_killswitch;


--
-- Name: TABLE sop_run; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.sop_run TO byokeep_web;
GRANT SELECT ON TABLE byokeep.sop_run TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.sop_run TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.sop_run TO byokeep_auditor;


--
-- Name: TABLE subject_client; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.subject_client TO byokeep_web;
GRANT SELECT ON TABLE byokeep.subject_client TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.subject_client TO byokeep_killswitch;
GRANT SELECT ON TABLE byokeep.subject_client TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.subject_client TO byokeep_auditor;


--
-- Name: TABLE switch; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.switch TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.switch TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.switch TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.switch TO byokeep_auditor;
GRANT SELECT,INSERT ON TABLE byokeep.switch TO byokeep_killswitch;


--
-- Name: COLUMN switch.closed; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(closed) ON TABLE byokeep.switch TO byokeep_broker;
GRANT UPDATE(closed) ON TABLE byokeep.switch TO byokeep_killswitch;


--
-- Name: COLUMN switch.epoch; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(epoch) ON TABLE byokeep.switch TO byokeep_broker;
GRANT UPDATE(epoch) ON TABLE byokeep.switch TO byokeep_killswitch;


--
-- Name: COLUMN switch.reason; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(reason) ON TABLE byokeep.switch TO byokeep_broker;
GRANT UPDATE(reason) ON TABLE byokeep.switch TO byokeep_killswitch;


--
-- Name: COLUMN switch.by; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(by) ON TABLE byokeep.switch TO byokeep_broker;
GRANT UPDATE(by) ON TABLE byokeep.switch TO byokeep_killswitch;


--
-- Name: COLUMN switch.at; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(at) ON TABLE byokeep.switch TO byokeep_broker;
GRANT UPDATE(at) ON TABLE byokeep.switch TO byokeep_killswitch;


--
-- Name: COLUMN switch.installation_id; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(installation_id) ON TABLE byokeep.switch TO byokeep_broker;
GRANT UPDATE(installation_id) ON TABLE byokeep.switch TO byokeep_killswitch;


--
-- Name: COLUMN switch.store_cut_off; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT UPDATE(store_cut_off) ON TABLE byokeep.switch TO byokeep_broker;
GRANT UPDATE(store_cut_off) ON TABLE byokeep.switch TO byokeep_killswitch;


--
-- Name: TABLE tool_call; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.tool_call TO byokeep_web;
GRANT SELECT,INSERT ON TABLE byokeep.tool_call TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.tool_call TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.tool_call TO byokeep_auditor;


--
-- Name: TABLE usage; Type: ACL; Schema: byokeep; Owner: byokeep_owner
--

GRANT SELECT ON TABLE byokeep.usage TO byokeep_web;
GRANT SELECT ON TABLE byokeep.usage TO byokeep_broker;
GRANT SELECT ON TABLE byokeep.usage TO byokeep_worker;
GRANT SELECT ON TABLE byokeep.usage TO byokeep_auditor;


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

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE procrastinate.procrastinate_events TO byokeep_worker;


--
-- Name: SEQUENCE procrastinate_events_id_seq; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

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
-- Name: COLUMN procrastinate_periodic_defers.task_name; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT SELECT(task_name) ON TABLE procrastinate.procrastinate_periodic_defers TO byokeep_broker;


--
-- Name: COLUMN procrastinate_periodic_defers.defer_timestamp; Type: ACL; Schema: procrastinate; Owner: byokeep_owner
--

GRANT SELECT(defer_timestamp) ON TABLE procrastinate.procrastinate_periodic_defers TO byokeep_broker;


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

\unrestrict L32aQivUH8Pvx6j6wvMCuj1o0gbjeDvPc4LYE0h2szLIgXxwL18SuPGTfNVuP0D

