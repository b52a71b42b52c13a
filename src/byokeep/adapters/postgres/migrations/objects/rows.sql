-- Rows that the gate believes: keys, accounts and their grants, jobs, clients, kill switches (ADR 0039); and alerts,
-- which people and the release of a kill believe.
--
-- A record that is appended in the transaction that changed such a row says the digest of what the row is then: the
-- database puts it there, no process can. A service's transaction that leaves a row without such a record does not
-- commit. The owner of the tables is let through here; what he changes is found by the broker's rounds, which hold each
-- row against its last record.

-- Digests. '1:' names what is digested; another choice of columns gets another number, and migrates.
CREATE OR REPLACE FUNCTION byokeep.digest_of(said jsonb) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog
AS $$ SELECT '1:' || left(encode(sha256(convert_to(said::text, 'UTF8')), 'hex'), 32) $$;

CREATE OR REPLACE FUNCTION byokeep.key_row(r byokeep.credential_ref) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog
AS $$
    SELECT byokeep.digest_of(jsonb_build_array(r.id, r.client_id, r.provider, r.kind, r.purpose, r.environment,
        r.secret_ref, r.account_id, r.version, r.state, r.verification, extract(epoch FROM r.expires_at)))
$$;
COMMENT ON FUNCTION byokeep.key_row(byokeep.credential_ref) IS 'What the gate believes of a reference.';

CREATE OR REPLACE FUNCTION byokeep.account_row(a byokeep.platform_account, g byokeep.account_grant) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog
AS $$
    SELECT byokeep.digest_of(jsonb_build_array(a.id, a.client_id, a.platform, a.account, a.username, a.display_name,
        to_jsonb(a.lanes), a.identity, extract(epoch FROM a.identified_at), g.account_id, g.app_id, g.external_id,
        g.username, g.display_name, g.state, g.version, g.access_version, g.drift))
$$;
COMMENT ON FUNCTION byokeep.account_row(byokeep.platform_account, byokeep.account_grant) IS
    'What the gate believes of an account and its grant. Not when the grant was verified: that may be forgotten at any
 time, and unrecorded.sql holds it against the records of verifications.';

CREATE OR REPLACE FUNCTION byokeep.job_row(j byokeep.job) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog
AS $$
    SELECT byokeep.digest_of(jsonb_build_array(j.id, j.client_id, j.dispatcher_id, j.runner_id, j.kind,
        to_jsonb(j.secrets), to_jsonb(j.platforms), to_jsonb(j.lanes), to_jsonb(j.effects),
        extract(epoch FROM j.opened_at), extract(epoch FROM j.expires_at)))
$$;
COMMENT ON FUNCTION byokeep.job_row(byokeep.job) IS 'What a job declared. Whether it is over is apart: a job only ends.';

CREATE OR REPLACE FUNCTION byokeep.client_row(c byokeep.client) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog
AS $$ SELECT byokeep.digest_of(jsonb_build_array(c.id, c.state, c.entity_id)) $$;
COMMENT ON FUNCTION byokeep.client_row(byokeep.client) IS 'What the gate, and a kill at the store, believe of a client.';

CREATE OR REPLACE FUNCTION byokeep.subject_row(s byokeep.subject) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog
AS $$
    SELECT byokeep.digest_of(jsonb_build_array(s.id, extract(epoch FROM s.held_until))
        || CASE WHEN s.admin_until IS NULL THEN '[]' ELSE jsonb_build_array(extract(epoch FROM s.admin_until)) END)
$$;
COMMENT ON FUNCTION byokeep.subject_row(byokeep.subject) IS
    'Until when a person approves nothing, and counts as an admin; the database sets both. The rest: subject_rights.';

-- The last digest that a record says of an object; null when none ever did.
CREATE OR REPLACE FUNCTION byokeep.row_said(p_chain uuid, p_object uuid, p_field text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog
AS $$
    SELECT convert_from(r.payload, 'UTF8')::jsonb #>> ARRAY['fields', p_field]
      FROM byokeep.audit_record r
     WHERE r.chain = p_chain AND r.object_id = p_object
       AND convert_from(r.payload, 'UTF8')::jsonb -> 'fields' ? p_field
     ORDER BY r.seq DESC LIMIT 1
$$;

-- Of a reference: by its own records, or by those of the account whose tokens it names; the later one counts.
CREATE OR REPLACE FUNCTION byokeep.key_said(r byokeep.credential_ref) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog
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

-- What a record that is being appended has to say of the rows that its object is: those that this transaction changed.
-- Called while the chain is held, so that of two transactions the later record says what both have left.
CREATE OR REPLACE FUNCTION byokeep.rows_now(p_event text, p_chain uuid, p_object uuid) RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
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

-- The canonical form of a payload (RFC 8785; docs/spec/audit-record.md): text and integers alone stand in it.
CREATE OR REPLACE FUNCTION byokeep.audit_canonical(said jsonb) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT
SET search_path = pg_catalog
AS $$
    SELECT convert_to('{' || string_agg(to_jsonb(m.key)::text || ':' || CASE jsonb_typeof(m.value)
               WHEN 'object' THEN '{' || coalesce((SELECT string_agg(to_jsonb(f.key)::text || ':' || f.value::text, ','
                   ORDER BY f.key COLLATE "C") FROM jsonb_each(m.value) f), '') || '}'
               WHEN 'array' THEN '[' || coalesce((SELECT string_agg(e.value::text, ',' ORDER BY e.place)
                   FROM jsonb_array_elements(m.value) WITH ORDINALITY AS e (value, place)), '') || ']'
               ELSE m.value::text END, ',' ORDER BY m.key COLLATE "C") || '}', 'UTF8')
      FROM jsonb_each(said) m
$$;

CREATE OR REPLACE FUNCTION byokeep.is_owner() RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog
AS $$ SELECT pg_has_role(session_user, 'byokeep_owner', 'USAGE') $$;
COMMENT ON FUNCTION byokeep.is_owner() IS 'Whether the session is one that could turn these triggers off anyway.';

-- Whether this transaction appended one of some events about one of some objects. The chain is held since then, so they
-- stand at its end.
CREATE OR REPLACE FUNCTION byokeep.said_here(p_chain uuid, p_objects uuid[], p_events text[]) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog
AS $$
    SELECT EXISTS (
        SELECT FROM byokeep.audit_record r
         WHERE r.chain = p_chain AND r.object_id = ANY (p_objects)
           AND r.seq > (SELECT h.seq - 2000 FROM byokeep.audit_head h WHERE h.chain = p_chain)
           AND r.event = ANY (p_events) AND r.outcome IN ('ok', 'failed')
           AND r.xmin = pg_current_xact_id()::xid AND r.at >= transaction_timestamp())
$$;

-- The same by what the record's fields say, for what is no object of its own in a chain.
CREATE OR REPLACE FUNCTION byokeep.fields_said_here(p_chains uuid[], p_event text, p_fields jsonb) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog
AS $$
    SELECT EXISTS (
        SELECT FROM byokeep.audit_head h
          JOIN byokeep.audit_record r ON r.chain = h.chain AND r.seq > h.seq - 2000
         WHERE h.chain = ANY (p_chains) AND r.event = p_event AND r.outcome = 'ok'
           AND r.xmin = pg_current_xact_id()::xid AND r.at >= transaction_timestamp()
           AND convert_from(r.payload, 'UTF8')::jsonb -> 'fields' @> p_fields)
$$;

-- A row alone approves nothing: whoever gives an approval puts that on record in the transaction that writes the row. Nor
-- does one of somebody who may approve no more, or not for this client: whoever stopped them, or took the client from them, did
-- not mean what they left behind to go on.
CREATE OR REPLACE FUNCTION byokeep.approval_given(p_id uuid) RETURNS boolean
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM byokeep.approval a
          JOIN byokeep.audit_record r ON r.at BETWEEN a.approved_at AND a.approved_at + interval '1 minute'
          JOIN byokeep.subject s ON s.id = a.approved_by AND s.state = 'active'
           AND (s.held_until IS NULL OR s.held_until <= clock_timestamp()) AND CASE
               WHEN a.action IN ('give_rights', 'issue_token', 'transfer_account') THEN 'admin' ELSE 'approver' END = ANY (s.roles)
           AND (s.all_clients OR CASE
               WHEN a.action = 'transfer_account' THEN EXISTS (
                    SELECT FROM byokeep.subject_client c
                     WHERE c.subject_id = s.id AND c.client_id = CAST(split_part(a.scope, ':', 2) AS uuid))
               WHEN a.action IN ('procedure_step', 'break_glass') THEN EXISTS (
                    SELECT FROM byokeep.procedure_run p JOIN byokeep.subject_client c ON c.client_id = p.client_id
                     WHERE c.subject_id = s.id AND p.id = CAST(split_part(a.scope, '/', 1) AS uuid))
               ELSE true END)  -- of people and machines
         WHERE a.id = p_id AND r.actor_id = a.approved_by AND r.xmin = a.xmin AND r.writer = 'byokeep_broker'
           AND r.outcome IN ('intended', 'ok'))
$$;
COMMENT ON FUNCTION byokeep.approval_given(uuid) IS 'Whether whoever gave an approval put that on record, and still may.';

-- Nor does a row alone ask: until it is approved it is as whoever asked wrote it, in the transaction of their record. What
-- a procedure's step asks for, and by whom, its run says.
CREATE OR REPLACE FUNCTION byokeep.approval_asked(p_id uuid) RETURNS boolean
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM byokeep.approval a
         WHERE a.id = p_id AND (a.action = 'procedure_step' OR num_nonnulls(a.approved_at, a.used_at) > 0 OR EXISTS (
            SELECT FROM byokeep.audit_record r
             WHERE r.at BETWEEN a.requested_at AND a.requested_at + interval '1 minute'
               AND r.actor_id = a.requested_by AND r.xmin = a.xmin AND r.outcome IN ('intended', 'ok'))))
$$;
COMMENT ON FUNCTION byokeep.approval_asked(uuid) IS 'Whether whoever asked for an approval put that on record.';

CREATE OR REPLACE FUNCTION byokeep.refuse_unrecorded(p_table text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    RAISE EXCEPTION 'a row of % changed without its record', p_table USING ERRCODE = 'BK005';
END
$$;

CREATE OR REPLACE FUNCTION byokeep.key_recorded() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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

CREATE OR REPLACE FUNCTION byokeep.account_recorded() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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

CREATE OR REPLACE FUNCTION byokeep.job_recorded() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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

-- A job only ends, and goes on sealing once it seals.
CREATE OR REPLACE FUNCTION byokeep.job_only_ends() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
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

CREATE OR REPLACE FUNCTION byokeep.client_recorded() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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

-- A kill waits for nothing, so a row that engages is let through; releasing, and saying that the store refuses, has its
-- record. The first row of an installation releases nothing.
CREATE OR REPLACE FUNCTION byokeep.switch_recorded() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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

-- An alert is raised and closed with the record that names it; where it happens again it counts up without one.
CREATE OR REPLACE FUNCTION byokeep.alert_recorded() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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

-- Whether the last record of an open alert is that of its raising; a row that somebody put there or opened again has none.
-- VOLATILE: it sees the records of the transaction for which a second raising of the same alert waited.
CREATE OR REPLACE FUNCTION byokeep.alert_on_record(p_alert uuid, p_opened timestamptz) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((
        SELECT r.event = 'alert.raised' FROM byokeep.audit_record r
         WHERE r.event IN ('alert.raised', 'alert.closed')
           AND r.at > least(p_opened, clock_timestamp()) - interval '10 minutes'
           AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,alert}' = p_alert::text
         ORDER BY r.at DESC, r.seq DESC LIMIT 1), false)
$$;

CREATE OR REPLACE FUNCTION byokeep.alert_opens_now() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    IF NOT byokeep.is_owner() THEN
        NEW.opened_at := clock_timestamp();
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION byokeep.alert_only_counts() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
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

-- A constraint trigger has no OR REPLACE.
DROP TRIGGER IF EXISTS key_made_recorded ON byokeep.credential_ref;
CREATE CONSTRAINT TRIGGER key_made_recorded AFTER INSERT ON byokeep.credential_ref
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION byokeep.key_recorded();
DROP TRIGGER IF EXISTS key_recorded ON byokeep.credential_ref;
CREATE CONSTRAINT TRIGGER key_recorded AFTER UPDATE ON byokeep.credential_ref
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (
        (OLD.id, OLD.client_id, OLD.provider, OLD.kind, OLD.purpose, OLD.environment, OLD.secret_ref, OLD.account_id,
         OLD.version, OLD.state, OLD.verification, OLD.expires_at)
        IS DISTINCT FROM
        (NEW.id, NEW.client_id, NEW.provider, NEW.kind, NEW.purpose, NEW.environment, NEW.secret_ref, NEW.account_id,
         NEW.version, NEW.state, NEW.verification, NEW.expires_at))
    EXECUTE FUNCTION byokeep.key_recorded();

DROP TRIGGER IF EXISTS account_made_recorded ON byokeep.platform_account;
CREATE CONSTRAINT TRIGGER account_made_recorded AFTER INSERT ON byokeep.platform_account
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION byokeep.account_recorded();
DROP TRIGGER IF EXISTS account_recorded ON byokeep.platform_account;
CREATE CONSTRAINT TRIGGER account_recorded AFTER UPDATE ON byokeep.platform_account
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION byokeep.account_recorded();

DROP TRIGGER IF EXISTS grant_made_recorded ON byokeep.account_grant;
CREATE CONSTRAINT TRIGGER grant_made_recorded AFTER INSERT ON byokeep.account_grant
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION byokeep.account_recorded();
DROP TRIGGER IF EXISTS grant_recorded ON byokeep.account_grant;
CREATE CONSTRAINT TRIGGER grant_recorded AFTER UPDATE ON byokeep.account_grant
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (
        (OLD.account_id, OLD.client_id, OLD.app_id, OLD.external_id, OLD.username, OLD.display_name, OLD.state,
         OLD.version, OLD.access_version, OLD.drift)
        IS DISTINCT FROM
        (NEW.account_id, NEW.client_id, NEW.app_id, NEW.external_id, NEW.username, NEW.display_name, NEW.state,
         NEW.version, NEW.access_version, NEW.drift)
        OR NEW.verified_at > OLD.verified_at OR OLD.verified_at IS NULL AND NEW.verified_at IS NOT NULL)
    EXECUTE FUNCTION byokeep.account_recorded();

DROP TRIGGER IF EXISTS job_recorded ON byokeep.job;
CREATE CONSTRAINT TRIGGER job_recorded AFTER INSERT ON byokeep.job
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state = 'open') EXECUTE FUNCTION byokeep.job_recorded();
CREATE OR REPLACE TRIGGER job_only_ends BEFORE UPDATE ON byokeep.job
    FOR EACH ROW EXECUTE FUNCTION byokeep.job_only_ends();

DROP TRIGGER IF EXISTS client_made_recorded ON byokeep.client;
-- A client that has not come to life yet opens nothing.
CREATE CONSTRAINT TRIGGER client_made_recorded AFTER INSERT ON byokeep.client
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state <> 'enrolling' OR NEW.entity_id IS NOT NULL)
    EXECUTE FUNCTION byokeep.client_recorded();
DROP TRIGGER IF EXISTS client_recorded ON byokeep.client;
CREATE CONSTRAINT TRIGGER client_recorded AFTER UPDATE ON byokeep.client
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (
        (OLD.id, OLD.state, OLD.entity_id) IS DISTINCT FROM (NEW.id, NEW.state, NEW.entity_id))
    EXECUTE FUNCTION byokeep.client_recorded();

DROP TRIGGER IF EXISTS switch_made_recorded ON byokeep.switch;
CREATE CONSTRAINT TRIGGER switch_made_recorded AFTER INSERT ON byokeep.switch
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION byokeep.switch_recorded();
DROP TRIGGER IF EXISTS switch_recorded ON byokeep.switch;
CREATE CONSTRAINT TRIGGER switch_recorded AFTER UPDATE ON byokeep.switch
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (
        (OLD.scope, OLD.client_id, OLD.closed, OLD.epoch, OLD.installation_id, OLD.store_cut_off)
        IS DISTINCT FROM
        (NEW.scope, NEW.client_id, NEW.closed, NEW.epoch, NEW.installation_id, NEW.store_cut_off))
    EXECUTE FUNCTION byokeep.switch_recorded();

DROP TRIGGER IF EXISTS alert_raised_recorded ON byokeep.alert;
CREATE CONSTRAINT TRIGGER alert_raised_recorded AFTER INSERT ON byokeep.alert
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION byokeep.alert_recorded();
DROP TRIGGER IF EXISTS alert_closed_recorded ON byokeep.alert;
CREATE CONSTRAINT TRIGGER alert_closed_recorded AFTER UPDATE ON byokeep.alert
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (
        (OLD.closed_at, OLD.acknowledged_at, OLD.acknowledged_by)
        IS DISTINCT FROM (NEW.closed_at, NEW.acknowledged_at, NEW.acknowledged_by))
    EXECUTE FUNCTION byokeep.alert_recorded();
CREATE OR REPLACE TRIGGER alert_opens_now BEFORE INSERT ON byokeep.alert
    FOR EACH ROW EXECUTE FUNCTION byokeep.alert_opens_now();
CREATE OR REPLACE TRIGGER alert_only_counts BEFORE UPDATE ON byokeep.alert
    FOR EACH ROW EXECUTE FUNCTION byokeep.alert_only_counts();

-- ENABLE ALWAYS: a session that calls itself a replica does not get around them.
ALTER TABLE byokeep.credential_ref ENABLE ALWAYS TRIGGER key_made_recorded;
ALTER TABLE byokeep.credential_ref ENABLE ALWAYS TRIGGER key_recorded;
ALTER TABLE byokeep.platform_account ENABLE ALWAYS TRIGGER account_made_recorded;
ALTER TABLE byokeep.platform_account ENABLE ALWAYS TRIGGER account_recorded;
ALTER TABLE byokeep.account_grant ENABLE ALWAYS TRIGGER grant_made_recorded;
ALTER TABLE byokeep.account_grant ENABLE ALWAYS TRIGGER grant_recorded;
ALTER TABLE byokeep.job ENABLE ALWAYS TRIGGER job_recorded;
ALTER TABLE byokeep.job ENABLE ALWAYS TRIGGER job_only_ends;
ALTER TABLE byokeep.client ENABLE ALWAYS TRIGGER client_made_recorded;
ALTER TABLE byokeep.client ENABLE ALWAYS TRIGGER client_recorded;
ALTER TABLE byokeep.switch ENABLE ALWAYS TRIGGER switch_made_recorded;
ALTER TABLE byokeep.switch ENABLE ALWAYS TRIGGER switch_recorded;
ALTER TABLE byokeep.alert ENABLE ALWAYS TRIGGER alert_raised_recorded;
ALTER TABLE byokeep.alert ENABLE ALWAYS TRIGGER alert_closed_recorded;
ALTER TABLE byokeep.alert ENABLE ALWAYS TRIGGER alert_opens_now;
ALTER TABLE byokeep.alert ENABLE ALWAYS TRIGGER alert_only_counts;

-- Puts on record how every live row stands that no record speaks of: once, when a release without these records is
-- upgraded. For the owner alone.
CREATE OR REPLACE FUNCTION byokeep.state_rows() RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
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
