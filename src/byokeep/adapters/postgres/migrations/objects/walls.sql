-- Row policies: a transaction sees the rows of the client it was opened for, of every client when it says so,
-- and otherwise of none. The settings are made by Database.begin(); they guard against our own mistakes, not
-- against a stolen connection, which could make them too.
--
-- Without a wall, and why: switch (a hidden closed switch would read as open), subject, subject_client, api_token,
-- passkey, sso_link and approval (people, asked before any client is known), value_fingerprint (exists to compare across clients),
-- platform_app (the agency's own).

CREATE OR REPLACE FUNCTION byokeep.lay_wall(p_table text, p_column text, p_unowned_visible boolean) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    v_rule text := format(
        '(%1$I = nullif(current_setting(''byokeep.client_id'', true), '''')::uuid'
        ' OR current_setting(''byokeep.scope'', true) = ''all''%2$s)',
        p_column, CASE WHEN p_unowned_visible THEN format(' OR %I IS NULL', p_column) ELSE '' END
    );
BEGIN
    EXECUTE format('DROP POLICY IF EXISTS client_wall ON byokeep.%I', p_table);
    EXECUTE format('CREATE POLICY client_wall ON byokeep.%I USING %s WITH CHECK %s', p_table, v_rule, v_rule);
    EXECUTE format('ALTER TABLE byokeep.%I ENABLE ROW LEVEL SECURITY', p_table);
END
$$;

SELECT byokeep.lay_wall(walled, keyed, unowned) FROM (VALUES
    ('client', 'id', false),
    ('credential_ref', 'client_id', false),
    ('sop_run', 'client_id', false),
    ('platform_account', 'client_id', false),
    ('job', 'client_id', false),
    ('job_template', 'client_id', false),
    ('dry_run', 'client_id', false),
    ('lease', 'client_id', false),
    ('permit', 'client_id', false),
    ('key_transition', 'client_id', false),
    ('leak_fingerprint', 'client_id', false),
    ('account_grant', 'client_id', false),
    ('connection', 'client_id', false),
    ('refresh_journal', 'client_id', false),
    ('reenabling', 'client_id', false),
    ('scheduled_effect', 'client_id', false),
    ('profile', 'client_id', false),
    ('profile_account', 'client_id', false),
    ('profile_generation', 'client_id', false),
    ('profile_opening', 'client_id', false),
    ('profile_work', 'client_id', false),
    ('profile_incident_item', 'client_id', false),
    ('procedure_run', 'client_id', true),
    ('profile_incident', 'client_id', true),
    ('incident', 'client_id', true),
    ('tool_call', 'client_id', false),
    ('lease_calls', 'client_id', false),
    ('kek_version', 'client_id', true),
    ('kek_rotation', 'client_id', true),
    ('vault_key_transition', 'client_id', true),
    ('alert', 'client_id', true),
    ('notification', 'client_id', true),
    ('due_start', 'client_id', false),
    ('revocation_item', 'client_id', false),
    ('provider_usage', 'client_id', false),
    ('contact_address', 'client_id', false),
    ('portal_look', 'client_id', false),
    ('audit_record', 'chain', false),
    ('audit_head', 'chain', false)
) AS wall (walled, keyed, unowned);

DROP FUNCTION byokeep.lay_wall(text, text, boolean);

-- Others than the broker ask for the approval of a procedure's step and for nothing else, and approve nothing.
DROP POLICY IF EXISTS by_broker ON byokeep.approval;
CREATE POLICY by_broker ON byokeep.approval USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS steps_only ON byokeep.approval;
CREATE POLICY steps_only ON byokeep.approval AS RESTRICTIVE FOR INSERT TO byokeep_web, byokeep_worker
    WITH CHECK (action = 'procedure_step' AND approved_by IS NULL AND approved_at IS NULL AND used_at IS NULL);
ALTER TABLE byokeep.approval ENABLE ROW LEVEL SECURITY;

-- The worker connects accounts; the key of a provider comes in through web alone.
DROP POLICY IF EXISTS tokens_only ON byokeep.credential_ref;
CREATE POLICY tokens_only ON byokeep.credential_ref AS RESTRICTIVE FOR INSERT TO byokeep_worker
    WITH CHECK (kind = 'oauth_token_set');

-- The worker begins nothing but the onboarding of a key that it was asked to make at its provider, and the end of a new
-- key that a rotation took back.
DROP POLICY IF EXISTS begun_by_worker ON byokeep.procedure_run;
CREATE POLICY begun_by_worker ON byokeep.procedure_run AS RESTRICTIVE FOR INSERT TO byokeep_worker
    WITH CHECK (procedure IN ('onboard_key', 'end_unused_key'));

-- A grant of break glass begins, moves on and ends at the broker alone.
DROP POLICY IF EXISTS glass_by_broker ON byokeep.procedure_run;
CREATE POLICY glass_by_broker ON byokeep.procedure_run AS RESTRICTIVE FOR INSERT TO byokeep_web, byokeep_worker
    WITH CHECK (procedure NOT LIKE 'break\_glass%');
DROP POLICY IF EXISTS glass_moved_by_broker ON byokeep.procedure_run;
CREATE POLICY glass_moved_by_broker ON byokeep.procedure_run AS RESTRICTIVE FOR UPDATE TO byokeep_web, byokeep_worker
    USING (procedure NOT LIKE 'break\_glass%') WITH CHECK (procedure NOT LIKE 'break\_glass%');

-- The clock gives a profile another key; what else is done to one, people ask for.
DROP POLICY IF EXISTS rekey_only ON byokeep.profile_work;
CREATE POLICY rekey_only ON byokeep.profile_work AS RESTRICTIVE FOR INSERT TO byokeep_worker
    WITH CHECK (kind = 'rekey' AND state = 'asked');

-- A verification or a sweep needs a custody job, which causes no effect; use jobs are a dispatcher's, at the broker.
DROP POLICY IF EXISTS custody_only ON byokeep.job;
CREATE POLICY custody_only ON byokeep.job AS RESTRICTIVE FOR INSERT TO byokeep_web, byokeep_worker
    WITH CHECK (kind = 'custody' AND effects = '{}');

-- The queue: web and broker put in what people ask for, to be done now, in the shape that their code gives it, and never
-- what comes by the clock: whoever holds the key under which a round of the worker waits ends that round. No row policy:
-- behind one the queue does not learn from a refusal which key waits already.
CREATE OR REPLACE FUNCTION byokeep.task_asked_for() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    v_client text := NEW.args ->> 'client_id';
    v_run    text := 'procedure:' || (NEW.args ->> 'run_id');
    v_kek    text := NEW.task_name || ':' || v_client;
    v_rewrap text := 'kek_rewrap:' || (NEW.args ->> 'rotation_id') || ':' || v_client;
BEGIN
    IF NEW.queue_name <> 'default' OR NEW.scheduled_at IS NOT NULL OR NEW.priority <> (NEW.lock IS NOT NULL)::integer
        OR NOT EXISTS (
            SELECT FROM (VALUES
                ('procedure', '{byokeep_web,byokeep_broker}'::text[], v_run, v_run),
                ('verify_key', '{byokeep_web}', NULL, NULL),
                ('profile_work', '{byokeep_web}', NULL, NULL),
                ('kek_rotate', '{byokeep_web}', v_kek, v_kek),
                ('kek_check', '{byokeep_web}', v_kek, v_kek),
                ('kek_end', '{byokeep_web}', v_kek || ':' || (NEW.args ->> 'version'), v_kek),
                ('kek_end', '{byokeep_web}', v_kek, v_kek),  -- as the release before
                ('kek_rewrap', '{byokeep_web}', v_rewrap, v_rewrap)
            ) AS may (task, roles, key, lock)
            WHERE may.task = NEW.task_name AND byokeep.role_of(session_user) = ANY (may.roles)
              AND NEW.queueing_lock IS NOT DISTINCT FROM may.key
              AND (NEW.lock IS NOT DISTINCT FROM may.lock
                   OR NEW.lock IS NULL AND may.task LIKE 'kek\_%'))  -- as the release before
    THEN
        RAISE EXCEPTION 'not a task that this role asks for' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER task_asked_for BEFORE INSERT ON procrastinate.procrastinate_jobs
    FOR EACH ROW WHEN (byokeep.role_of(session_user) <> 'byokeep_worker' AND NOT byokeep.is_owner())
    EXECUTE FUNCTION byokeep.task_asked_for();
ALTER TABLE procrastinate.procrastinate_jobs ENABLE ALWAYS TRIGGER task_asked_for;

-- The kill process engages switches and ends jobs; it releases none and opens none. Web ends jobs in a mass revocation,
-- the worker those that hold a key whose successor ended it.
-- Everybody sees every switch.
DROP POLICY IF EXISTS seen_by_all ON byokeep.switch;
CREATE POLICY seen_by_all ON byokeep.switch USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS engage_only ON byokeep.switch;
CREATE POLICY engage_only ON byokeep.switch AS RESTRICTIVE TO byokeep_killswitch USING (true) WITH CHECK (closed);
ALTER TABLE byokeep.switch ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS kill_only ON byokeep.job;
CREATE POLICY kill_only ON byokeep.job AS RESTRICTIVE FOR UPDATE TO byokeep_killswitch, byokeep_web, byokeep_worker
    USING (true) WITH CHECK (state = 'killed');

-- Web begins a mass revocation and notes what a person settled; that something is revoked the worker alone says.
DROP POLICY IF EXISTS begun_only ON byokeep.revocation_item;
CREATE POLICY begun_only ON byokeep.revocation_item AS RESTRICTIVE FOR INSERT TO byokeep_web
    WITH CHECK (state = 'pending' AND settled_by IS NULL);
DROP POLICY IF EXISTS not_revoked ON byokeep.revocation_item;
CREATE POLICY not_revoked ON byokeep.revocation_item AS RESTRICTIVE FOR UPDATE TO byokeep_web
    USING (true) WITH CHECK (state <> 'revoked');
