-- People, machines and tokens: each row exists with the record that says what it says, and in no other way.
-- A function here writes a row and appends its record in one transaction. The broker alone may call those; web looks up.

-- What a row gives its holder, as one digest: tenancy/tokens.py, `rights`, makes the same.
CREATE OR REPLACE FUNCTION byokeep.subject_rights(p_id uuid) RETURNS text
LANGUAGE plpgsql STABLE STRICT  -- its plan is kept: every authentication asks
SET search_path = pg_catalog
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
COMMENT ON FUNCTION byokeep.subject_rights(uuid) IS 'The digest of all that a person''s or machine''s row says.';

CREATE OR REPLACE FUNCTION byokeep.subject_recorded(p_id uuid) RETURNS boolean
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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
COMMENT ON FUNCTION byokeep.subject_recorded(uuid) IS 'Whether a person''s or machine''s row says what its record says.';

CREATE OR REPLACE FUNCTION byokeep.token_recorded(p_id uuid) RETURNS boolean
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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
COMMENT ON FUNCTION byokeep.token_recorded(uuid) IS 'Whether a token is the one, for as long, that its record says.';

CREATE OR REPLACE FUNCTION byokeep.subject_lock() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- No service's role may take this lock, or one that conflicts: each may only read the table. An advisory lock anybody
    -- could hold, and keep those waiting who end somebody's access.
    LOCK TABLE byokeep.subject_client IN SHARE ROW EXCLUSIVE MODE;
END
$$;
COMMENT ON FUNCTION byokeep.subject_lock() IS 'Changes of who may do what stand in line.';

CREATE OR REPLACE FUNCTION byokeep.sso_recorded(p_identity bytea) RETURNS boolean
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM byokeep.sso_link l
          JOIN byokeep.audit_record r
            ON r.chain = (SELECT i.id FROM byokeep.installation i) AND r.seq = l.record_seq
         WHERE l.identity = p_identity AND r.object_id = l.subject_id AND r.outcome = 'ok' AND r.event = 'sso.linked'
           AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,digest}' = encode(l.identity, 'hex'))
$$;
COMMENT ON FUNCTION byokeep.sso_recorded(bytea) IS 'Whether a link is to the person that its record says.';

-- Admins who could sign in now: active, with a password, a passkey, a link to elsewhere or a live token. Two of them can be two people.
-- Whom another person stopped counts on for a day, or the one who did it would be alone at once.
CREATE OR REPLACE FUNCTION byokeep.able_admins() RETURNS TABLE (id uuid, stopped_until timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT s.id, CASE WHEN NOT now.able THEN s.admin_until END
      FROM byokeep.subject s
     CROSS JOIN LATERAL (
           SELECT s.state = 'active' AND 'admin' = ANY (s.roles)
              AND (s.password_phc IS NOT NULL
                   OR EXISTS (SELECT FROM byokeep.passkey k WHERE k.subject_id = s.id AND k.ended_at IS NULL)
                   OR EXISTS (SELECT FROM byokeep.sso_link l
                               WHERE l.subject_id = s.id AND byokeep.sso_recorded(l.identity))
                   OR EXISTS (SELECT FROM byokeep.api_token t
                               WHERE t.subject_id = s.id AND t.revoked_at IS NULL
                                 AND t.expires_at > clock_timestamp())) AS able) now
     WHERE now.able OR s.admin_until > clock_timestamp()
$$;
COMMENT ON FUNCTION byokeep.able_admins() IS
    'The admins who count where something takes two; until when those do who were stopped.';

-- Before the first value there is nothing that a made-up approver could let go.
CREATE OR REPLACE FUNCTION byokeep.subject_hold(p_hold_s bigint) RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog
AS $$
    SELECT clock_timestamp() + make_interval(secs => p_hold_s)
     WHERE p_hold_s > 0 AND (EXISTS (SELECT FROM byokeep.credential_ref) OR EXISTS (SELECT FROM byokeep.profile))
$$;
COMMENT ON FUNCTION byokeep.subject_hold(bigint) IS 'Until when what an admin gave approves nothing; null: no hold.';

CREATE OR REPLACE FUNCTION byokeep.subject_put(
    p_id uuid, p_kind text, p_name text, p_roles text[], p_state text, p_all_clients boolean, p_clients uuid[],
    p_approval uuid, p_hold_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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
    -- A contact person is nothing else, and of one client for good.
    IF 'contact' = ANY (p_roles || coalesce(v_old.roles, '{}'))
        AND (p_kind <> 'operator' OR p_roles <> ARRAY['contact'] OR p_all_clients OR cardinality(p_clients) <> 1
             OR v_known AND (v_old.roles <> p_roles
                             OR p_clients <> ARRAY(SELECT c.client_id FROM byokeep.subject_client c
                                                    WHERE c.subject_id = p_id)))
    THEN
        RAISE EXCEPTION 'a contact person is of one client' USING ERRCODE = 'BK007';
    END IF;
    -- Whoever invites a client's person learns nothing of another client's: those may have one name.
    IF NOT v_known AND EXISTS (
        SELECT FROM byokeep.subject s
         WHERE s.name = p_name AND ('contact' <> ALL (p_roles) OR 'contact' <> ALL (s.roles) OR EXISTS (
               SELECT FROM byokeep.subject_client c WHERE c.subject_id = s.id AND c.client_id = ANY (p_clients))))
    THEN
        RAISE unique_violation USING MESSAGE = 'the name is taken', CONSTRAINT = 'subject_name_uq';
    END IF;
    -- What takes two people: machines, approvers and admins, new, back in use, or by a new role. Not an admin who
    -- counts on as one: who stopped them, or another, lets them back.
    v_gains := p_state = 'active' AND EXISTS (
        SELECT FROM unnest(p_roles) AS one WHERE one NOT IN ('operator', 'auditor', 'contact')
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
COMMENT ON FUNCTION byokeep.subject_put(
    uuid, text, text, text[], text, boolean, uuid[], uuid, bigint, text, uuid, uuid, bytea) IS
    'Makes or changes a person or machine, together with the record that says so.';

CREATE OR REPLACE FUNCTION byokeep.password_put(p_id uuid, p_phc text, p_request uuid, p_payload bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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
COMMENT ON FUNCTION byokeep.password_put(uuid, text, uuid, bytea) IS 'A person''s own password, with its record.';

-- Who made a machine with a second person's approval has its token anyway. Not whose credentials another issued lately.
CREATE OR REPLACE FUNCTION byokeep.machine_own(p_id uuid, p_actor uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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
COMMENT ON FUNCTION byokeep.machine_own(uuid, uuid) IS
    'Whether this admin, with a second, or the installation itself made the machine.';

CREATE OR REPLACE FUNCTION byokeep.token_issue(
    p_id uuid, p_subject uuid, p_keyed_hash bytea, p_kind text, p_life_s bigint, p_approval uuid, p_hold_s bigint,
    p_event text, p_actor uuid, p_request uuid, p_payload bytea, p_shown uuid DEFAULT NULL
) RETURNS SETOF byokeep.api_token
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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
        OR p_event NOT IN ('session.login', 'token.issued')
        OR (p_kind IN ('session', 'cli', 'console', 'portal')) <> (p_event = 'session.login')
        OR v_said ->> 'subject' IS DISTINCT FROM p_subject::text OR v_said ->> 'token' IS DISTINCT FROM p_id::text
        OR v_said ->> 'kind' IS DISTINCT FROM p_kind OR v_said ->> 'life_s' IS DISTINCT FROM p_life_s::text
        OR v_said ->> 'digest' IS DISTINCT FROM encode(sha256(p_keyed_hash), 'hex')
    THEN
        RAISE EXCEPTION 'record and row differ' USING ERRCODE = 'BK004';
    END IF;
    -- A person's credential comes from the person; what somebody else issues is an invitation.
    IF p_kind IN ('session', 'cli', 'console', 'portal') AND (NOT v_self OR p_life_s > 28800)  -- tenancy/tokens.py, SESSION_S
        -- A code leads from the command line to the console, or from a console just signed in to, to the command line. What
        -- a code of the console opened makes none, or it would prolong and prove itself.
        OR p_kind IN ('code', 'cli_code') AND (NOT v_self OR p_life_s > 120  -- CODE_S
            OR NOT EXISTS (SELECT FROM byokeep.api_token t
                            WHERE t.id = p_shown AND t.subject_id = p_subject AND t.revoked_at IS NULL AND t.expires_at > now()
                              AND (p_kind = 'code' AND t.kind IN ('api', 'session') OR p_kind = 'cli_code' AND t.kind = 'console'
                                   AND t.created_at > clock_timestamp() - interval '5 minutes')))
        -- A contact person comes to the portal and nowhere else: tenancy/contacts.py, MAX_INVITE_DAYS, MAILED_S.
        OR ('contact' = ANY (v_whose.roles)) <> (p_kind IN ('portal', 'mailed')) AND p_kind <> 'invitation'
        OR 'contact' = ANY (v_whose.roles) AND p_kind = 'invitation' AND p_life_s > 2592000
        OR p_kind = 'mailed' AND (NOT v_self OR p_life_s > 600)
        OR v_whose.kind = 'machine' AND (p_kind <> 'api' OR p_life_s > 2592000)  -- TOKEN_DAYS
        OR v_whose.kind = 'operator' AND NOT v_first AND v_self = (p_kind = 'invitation')
    THEN
        RAISE EXCEPTION 'not a token that may be issued so' USING ERRCODE = 'BK007';
    END IF;
    -- A machine's token is the machine. Used in this transaction by who asked, approved by another, for exactly this.
    IF v_whose.kind = 'machine' AND NOT byokeep.machine_own(p_subject, p_actor)
        AND (SELECT count(*) FROM byokeep.able_admins()) > 1
        -- A process of ours prolongs the one it shows, while it works: tokens.py.
        AND NOT (v_self AND v_whose.roles = ARRAY['custodian']
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
    -- It stays so while it lives: with each passkey added or removed its owner's other sessions end.
    INSERT INTO byokeep.api_token (id, subject_id, keyed_hash, kind, expires_at, issued_by, seen_at, unproved)
    VALUES (p_id, p_subject, p_keyed_hash, p_kind, now() + make_interval(secs => p_life_s), p_actor,
            CASE WHEN p_kind IN ('console', 'portal') THEN clock_timestamp() END,
            p_kind = 'session' AND EXISTS (
                SELECT FROM byokeep.passkey k WHERE k.subject_id = p_subject AND k.ended_at IS NULL))
    RETURNING * INTO v_made;
    UPDATE byokeep.api_token SET renewed_to = p_id WHERE id = p_shown AND subject_id = p_subject AND p_kind = 'api';
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
COMMENT ON FUNCTION byokeep.token_issue(uuid, uuid, bytea, text, bigint, uuid, bigint, text, uuid, uuid, bytea, uuid) IS
    'Issues a token, together with the record that says so.';

CREATE OR REPLACE FUNCTION byokeep.token_end(
    p_id uuid, p_in_s bigint, p_event text, p_actor uuid, p_request uuid, p_payload bytea
) RETURNS SETOF byokeep.api_token
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_ended byokeep.api_token%ROWTYPE;
    v_said  jsonb := convert_from(p_payload, 'UTF8')::jsonb -> 'fields';
    v_seq   bigint;
BEGIN
    -- With an overlap what is in use dies by itself; else now.
    UPDATE byokeep.api_token
       SET expires_at = CASE WHEN p_in_s = 0 THEN expires_at
                             ELSE least(expires_at, now() + make_interval(secs => p_in_s)) END,
           revoked_at = CASE WHEN p_in_s = 0 THEN clock_timestamp() END,
           end_reason = CASE WHEN p_in_s = 0 THEN coalesce(v_said ->> 'reason', '') ELSE '' END
     WHERE id = p_id AND revoked_at IS NULL AND (p_in_s = 0 OR p_in_s > 0 AND expires_at > now())
    RETURNING * INTO v_ended;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF p_event NOT IN ('token.revoked', 'session.logout')
        OR v_said ->> 'token' IS DISTINCT FROM p_id::text OR coalesce(v_said ->> 'life_s', '0') <> p_in_s::text
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
COMMENT ON FUNCTION byokeep.token_end(uuid, bigint, text, uuid, uuid, bytea) IS
    'Ends a token, together with the record that says so. An ended one: no row.';

CREATE OR REPLACE FUNCTION byokeep.session_seen(p_id uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    -- Not each page is written: a minute more or less of half an hour.
    UPDATE byokeep.api_token SET seen_at = clock_timestamp()
     WHERE id = p_id AND kind IN ('console', 'portal') AND revoked_at IS NULL AND expires_at > clock_timestamp()
       AND seen_at BETWEEN clock_timestamp() - interval '30 minutes' AND clock_timestamp() - interval '1 minute'
$$;
COMMENT ON FUNCTION byokeep.session_seen(uuid) IS
    'A session in a browser that works is in use: it does not end idle for now. One that ended stays ended.';

-- What a passkey is, as one digest: tenancy/passkeys.py makes the same.
CREATE OR REPLACE FUNCTION byokeep.passkey_digest(p_identifier bytea, p_public_half bytea) RETURNS text
LANGUAGE sql IMMUTABLE STRICT
SET search_path = pg_catalog
AS $$
    SELECT encode(sha256(sha256(p_identifier) || sha256(p_public_half)), 'hex')
$$;
COMMENT ON FUNCTION byokeep.passkey_digest(bytea, bytea) IS 'What the record of a passkey says of it.';

CREATE OR REPLACE FUNCTION byokeep.passkey_recorded(p_id uuid) RETURNS boolean
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM byokeep.passkey k
          JOIN byokeep.audit_record r
            ON r.chain = (SELECT i.id FROM byokeep.installation i) AND r.seq = k.record_seq
         CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'fields' AS f) said
         WHERE k.id = p_id AND r.object_id = k.subject_id AND r.outcome = 'ok' AND r.event = 'passkey.added'
           AND said.f ->> 'passkey' = k.id::text
           AND said.f ->> 'digest' = byokeep.passkey_digest(k.identifier, k.public_half))
$$;
COMMENT ON FUNCTION byokeep.passkey_recorded(uuid) IS 'Whether a passkey is the one, of whom, that its record says.';

CREATE OR REPLACE FUNCTION byokeep.passkey_put(
    p_id uuid, p_identifier bytea, p_public_half bytea, p_uses bigint, p_name text,
    p_event text, p_actor uuid, p_request uuid, p_payload bytea
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_said jsonb := convert_from(p_payload, 'UTF8')::jsonb -> 'fields';
    v_seq  bigint;
BEGIN
    -- Its owner is who acts: nobody adds another's.
    PERFORM FROM byokeep.subject WHERE id = p_actor AND kind = 'operator' AND state = 'active' FOR UPDATE;
    IF NOT FOUND OR p_event <> 'passkey.added' OR v_said ->> 'subject' IS DISTINCT FROM p_actor::text
        OR v_said ->> 'passkey' IS DISTINCT FROM p_id::text
        OR v_said ->> 'digest' IS DISTINCT FROM byokeep.passkey_digest(p_identifier, p_public_half)
    THEN
        RAISE EXCEPTION 'record and row differ' USING ERRCODE = 'BK004';
    END IF;
    INSERT INTO byokeep.passkey (id, subject_id, identifier, public_half, uses, name)
    VALUES (p_id, p_actor, p_identifier, p_public_half, p_uses, p_name);
    SELECT seq INTO v_seq FROM byokeep.audit_append(
        (SELECT i.id FROM byokeep.installation i), p_event, p_actor, p_actor, p_request, 'ok', p_payload);
    UPDATE byokeep.passkey SET record_seq = v_seq WHERE id = p_id;
END
$$;
COMMENT ON FUNCTION byokeep.passkey_put(uuid, bytea, bytea, bigint, text, text, uuid, uuid, bytea) IS
    'A person''s own passkey, with its record.';

CREATE OR REPLACE FUNCTION byokeep.passkey_end(
    p_id uuid, p_event text, p_actor uuid, p_request uuid, p_payload bytea
) RETURNS SETOF uuid
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_seq bigint;
BEGIN
    UPDATE byokeep.passkey SET ended_at = clock_timestamp()
     WHERE id = p_id AND subject_id = p_actor AND ended_at IS NULL;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF p_event <> 'passkey.removed'
        OR convert_from(p_payload, 'UTF8')::jsonb #>> '{fields,passkey}' IS DISTINCT FROM p_id::text
    THEN
        RAISE EXCEPTION 'record and row differ' USING ERRCODE = 'BK004';
    END IF;
    SELECT seq INTO v_seq FROM byokeep.audit_append(
        (SELECT i.id FROM byokeep.installation i), p_event, p_actor, p_actor, p_request, 'ok', p_payload);
    -- Brought back in the row, it still stands with the record of its end.
    UPDATE byokeep.passkey SET record_seq = v_seq WHERE id = p_id;
    RETURN NEXT p_id;
END
$$;
COMMENT ON FUNCTION byokeep.passkey_end(uuid, text, uuid, uuid, bytea) IS
    'Ends a person''s own passkey, with its record. An ended one, or another''s: no row.';

CREATE OR REPLACE FUNCTION byokeep.passkey_used(p_id uuid, p_uses bigint) RETURNS SETOF uuid
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    -- An authenticator that counts only counts up; one that does not says 0 each time.
    UPDATE byokeep.passkey SET uses = p_uses, used_at = clock_timestamp()
     WHERE id = p_id AND ended_at IS NULL AND (p_uses > uses OR p_uses = 0 AND uses = 0)
    RETURNING id
$$;
COMMENT ON FUNCTION byokeep.passkey_used(uuid, bigint) IS 'A passkey was used once more. One that did not count up: no row.';

CREATE OR REPLACE FUNCTION byokeep.sso_link_put(
    p_identity bytea, p_event text, p_actor uuid, p_request uuid, p_payload bytea
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_said jsonb := convert_from(p_payload, 'UTF8')::jsonb -> 'fields';
    v_seq  bigint;
BEGIN
    -- Who is linked is who acts: nobody links another.
    PERFORM FROM byokeep.subject
      WHERE id = p_actor AND kind = 'operator' AND state = 'active' AND NOT 'contact' = ANY (roles) FOR UPDATE;
    IF NOT FOUND OR p_event <> 'sso.linked' OR v_said ->> 'subject' IS DISTINCT FROM p_actor::text
        OR v_said ->> 'digest' IS DISTINCT FROM encode(p_identity, 'hex')
    THEN
        RAISE EXCEPTION 'record and row differ' USING ERRCODE = 'BK004';
    END IF;
    SELECT seq INTO v_seq FROM byokeep.audit_append(
        (SELECT i.id FROM byokeep.installation i), p_event, p_actor, p_actor, p_request, 'ok', p_payload);
    INSERT INTO byokeep.sso_link (subject_id, identity, record_seq) VALUES (p_actor, p_identity, v_seq)
    ON CONFLICT (subject_id) DO UPDATE
       SET identity = excluded.identity, record_seq = excluded.record_seq, linked_at = clock_timestamp();
END
$$;
COMMENT ON FUNCTION byokeep.sso_link_put(bytea, text, uuid, uuid, bytea) IS
    'Who at the OpenID provider a person is, with its record; the one before is that no more.';

CREATE OR REPLACE FUNCTION byokeep.sso_link_end(
    p_subject uuid, p_event text, p_actor uuid, p_request uuid, p_payload bytea
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_said jsonb := convert_from(p_payload, 'UTF8')::jsonb -> 'fields';
BEGIN
    DELETE FROM byokeep.sso_link
     WHERE subject_id = p_subject AND encode(identity, 'hex') = v_said ->> 'digest' AND p_event = 'sso.unlinked'
       AND v_said ->> 'subject' = p_subject::text;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'record and row differ' USING ERRCODE = 'BK004';
    END IF;
    -- Whoever ends another admin's only way in would be alone at once: disabled, they count on for a day.
    IF p_actor <> p_subject AND EXISTS (
        SELECT FROM byokeep.subject s
         WHERE s.id = p_subject AND s.state = 'active' AND 'admin' = ANY (s.roles) AND s.password_phc IS NULL)
    THEN
        RAISE EXCEPTION 'it may be the only way in' USING ERRCODE = 'BK007';
    END IF;
    PERFORM byokeep.audit_append(
        (SELECT i.id FROM byokeep.installation i), p_event, p_actor, p_subject, p_request, 'ok', p_payload);
END
$$;
COMMENT ON FUNCTION byokeep.sso_link_end(uuid, text, uuid, uuid, bytea) IS
    'Ends who at the OpenID provider a person is, with its record.';
