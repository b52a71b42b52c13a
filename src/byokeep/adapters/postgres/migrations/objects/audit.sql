-- The audit chain: one door in, no door out. docs/spec/audit-record.md is the format.

CREATE OR REPLACE FUNCTION byokeep.audit_refuse_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'BK001';
END
$$;
COMMENT ON FUNCTION byokeep.audit_refuse_change() IS 'Refuses UPDATE, DELETE and TRUNCATE, whoever asks.';

CREATE OR REPLACE FUNCTION byokeep.audit_head_step() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.chain = OLD.chain AND NEW.seq = OLD.seq + 1 THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'an audit head only moves forward, one record at a time' USING ERRCODE = 'BK001';
END
$$;
COMMENT ON FUNCTION byokeep.audit_head_step() IS 'Lets a head move by exactly one.';

-- ENABLE ALWAYS: a session that calls itself a replica does not get around them.
CREATE OR REPLACE TRIGGER audit_record_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON byokeep.audit_record
    FOR EACH STATEMENT EXECUTE FUNCTION byokeep.audit_refuse_change();
ALTER TABLE byokeep.audit_record ENABLE ALWAYS TRIGGER audit_record_append_only;

CREATE OR REPLACE TRIGGER audit_epoch_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON byokeep.audit_epoch
    FOR EACH STATEMENT EXECUTE FUNCTION byokeep.audit_refuse_change();
ALTER TABLE byokeep.audit_epoch ENABLE ALWAYS TRIGGER audit_epoch_append_only;

CREATE OR REPLACE TRIGGER audit_head_step BEFORE UPDATE OR DELETE ON byokeep.audit_head
    FOR EACH ROW EXECUTE FUNCTION byokeep.audit_head_step();
ALTER TABLE byokeep.audit_head ENABLE ALWAYS TRIGGER audit_head_step;

CREATE OR REPLACE TRIGGER audit_head_no_truncate BEFORE TRUNCATE ON byokeep.audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION byokeep.audit_refuse_change();
ALTER TABLE byokeep.audit_head ENABLE ALWAYS TRIGGER audit_head_no_truncate;

CREATE OR REPLACE TRIGGER key_transition_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON byokeep.key_transition
    FOR EACH STATEMENT EXECUTE FUNCTION byokeep.audit_refuse_change();
ALTER TABLE byokeep.key_transition ENABLE ALWAYS TRIGGER key_transition_append_only;

CREATE OR REPLACE FUNCTION byokeep.audit_append(
    p_chain uuid, p_event text, p_actor uuid, p_object uuid, p_request uuid, p_outcome text, p_payload bytea
) RETURNS TABLE (seq bigint, hash bytea, at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
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
$$;
COMMENT ON FUNCTION byokeep.audit_append(uuid, text, uuid, uuid, uuid, text, bytea) IS
    'Appends one record to a chain, if its payload is ours to the byte; the chain stays locked until the caller commits.';

-- Holds a chain as one who appends to it does; where a row and a record are locked both, the chain comes first.
CREATE OR REPLACE FUNCTION byokeep.audit_hold(p_chain uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT FROM byokeep.audit_head AS head WHERE head.chain = p_chain FOR UPDATE
$$;
COMMENT ON FUNCTION byokeep.audit_hold(uuid) IS 'Locks a chain until the caller commits, as appending to it does.';
