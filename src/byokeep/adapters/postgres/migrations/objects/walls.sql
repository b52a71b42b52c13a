-- Row policies: a transaction sees the rows of the client it was opened for, of every client when it says so,
-- and otherwise of none. The settings are made by Database.begin(); they guard against our own mistakes, not
-- against a stolen connection, which could make them too.
--
-- Without a policy, and why: switch (a hidden closed switch would read as open), subject, subject_client, api_token
-- and approval (people, asked before any client is known), value_fingerprint (exists to compare across clients),
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
    ('kek_version', 'client_id', true),
    ('kek_rotation', 'client_id', true),
    ('vault_key_transition', 'client_id', true),
    ('alert', 'client_id', true),
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

-- A verification or a sweep needs a custody job, which causes no effect; use jobs are a dispatcher's, at the broker.
DROP POLICY IF EXISTS custody_only ON byokeep.job;
CREATE POLICY custody_only ON byokeep.job AS RESTRICTIVE FOR INSERT TO byokeep_web, byokeep_worker
    WITH CHECK (kind = 'custody' AND effects = '{}');
