-- The tables of byokeep as the migrations leave them: made by `python -m tests.support.postgres > docs/schema.sql`, and
-- compared by a test with what a database says. Functions, triggers, row policies and rights are declared in
-- src/byokeep/adapters/postgres/migrations/objects/; the queue's own tables live in schema `procrastinate`.
--
-- - No column holds or could hold a value: references, ids, enums, times, counters, keyed digests (R1.1-2).
-- - Client data carries client_id in every key and every foreign key, so a row cannot hang on another client's parent
--   (S-OWASP-23).
-- - What must be unique or well-formed is a constraint here, not only a check in code.

-- What a client's consent gave us for one account: ends, scopes, the fingerprint as the platform said it; no token.
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
    reason text NOT NULL DEFAULT ''::text,
    version integer NOT NULL,
    access_version integer NOT NULL DEFAULT 0,
    purposes text[] NOT NULL DEFAULT '{}'::text[],
    scopes text[] NOT NULL DEFAULT '{}'::text[],
    scopes_known boolean NOT NULL,
    obtained_by uuid NOT NULL,
    obtained_at timestamp with time zone NOT NULL DEFAULT now(),
    access_expires_at timestamp with time zone,
    refresh_expires_at timestamp with time zone,
    consent_expires_at timestamp with time zone,
    reauth_at timestamp with time zone,
    alarm_at timestamp with time zone,
    due_at timestamp with time zone,
    tries integer NOT NULL DEFAULT 0,
    verified_at timestamp with time zone,
    drift boolean NOT NULL DEFAULT false,
    connected_seq bigint,
    changed_at timestamp with time zone NOT NULL DEFAULT now(),
    superseded_at timestamp with time zone,
    CONSTRAINT account_grant_client_id_account_id_fk FOREIGN KEY (client_id, account_id) REFERENCES byokeep.platform_account(client_id, id),
    CONSTRAINT account_grant_external_id_ck CHECK (((length(external_id) <= 256) AND (external_id ~ '^[!-~]+$'::text))),
    CONSTRAINT account_grant_numbers_ck CHECK (((version >= 1) AND (access_version >= 0) AND (tries >= 0))),
    CONSTRAINT account_grant_pk PRIMARY KEY (client_id, account_id),
    CONSTRAINT account_grant_provider_ck CHECK ((provider = ANY (ARRAY['meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text]))),
    CONSTRAINT account_grant_state_ck CHECK ((state = ANY (ARRAY['unverified'::text, 'live'::text, 'needs_reauth'::text, 'revoked'::text])))
);
CREATE INDEX account_grant_due_ix ON byokeep.account_grant USING btree (due_at) WHERE (state = 'live'::text);
-- R5.2-15: one account on a platform is one client's.
CREATE UNIQUE INDEX account_grant_one_client_uq ON byokeep.account_grant USING btree (login, external_id) WHERE (state <> 'revoked'::text);

CREATE TABLE byokeep.alert (
    id uuid NOT NULL,
    client_id uuid,
    object_id uuid,
    reason text NOT NULL,
    severity text NOT NULL,
    dedup_key text NOT NULL,
    opened_at timestamp with time zone NOT NULL DEFAULT now(),
    closed_at timestamp with time zone,
    closed_by uuid,
    count integer NOT NULL DEFAULT 1,
    -- Of a look-alike: the characters that give it away.
    code_points text NOT NULL DEFAULT ''::text,
    last_seen_at timestamp with time zone NOT NULL DEFAULT now(),
    acknowledged_at timestamp with time zone,
    acknowledged_by uuid,
    CONSTRAINT alert_acknowledged_ck CHECK (((acknowledged_at IS NULL) = (acknowledged_by IS NULL))),
    CONSTRAINT alert_code_points_ck CHECK ((code_points ~ '^([0-9a-f]{4,6}(,[0-9a-f]{4,6}){0,7})?$'::text)),
    CONSTRAINT alert_pk PRIMARY KEY (id),
    CONSTRAINT alert_severity_ck CHECK ((severity = ANY (ARRAY['info'::text, 'warning'::text, 'critical'::text])))
);
CREATE UNIQUE INDEX alert_open_uq ON byokeep.alert USING btree (dedup_key, reason, severity) WHERE (closed_at IS NULL);

CREATE TABLE byokeep.api_token (
    id uuid NOT NULL,
    subject_id uuid NOT NULL,
    keyed_hash bytea NOT NULL,
    kind text NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    expires_at timestamp with time zone NOT NULL DEFAULT now(),
    revoked_at timestamp with time zone,
    record_seq bigint,
    issued_by uuid,
    renewed_to uuid,
    seen_at timestamp with time zone,
    end_reason text NOT NULL DEFAULT ''::text,
    unproved boolean NOT NULL DEFAULT false,
    CONSTRAINT api_token_end_reason_ck CHECK (((end_reason = ''::text) OR (revoked_at IS NOT NULL))),
    CONSTRAINT api_token_expires_at_ck CHECK (((expires_at > created_at) AND (expires_at <= (created_at + '90 days'::interval)))),
    CONSTRAINT api_token_keyed_hash_ck CHECK ((octet_length(keyed_hash) = 32)),
    CONSTRAINT api_token_keyed_hash_uq UNIQUE (keyed_hash),
    CONSTRAINT api_token_kind_ck CHECK ((kind = ANY (ARRAY['api'::text, 'session'::text, 'invitation'::text, 'console'::text, 'code'::text, 'portal'::text, 'mailed'::text, 'cli'::text, 'cli_code'::text]))),
    CONSTRAINT api_token_pk PRIMARY KEY (id),
    CONSTRAINT api_token_seen_at_ck CHECK (((kind = ANY (ARRAY['console'::text, 'portal'::text])) = (seen_at IS NOT NULL))),
    CONSTRAINT api_token_subject_id_fk FOREIGN KEY (subject_id) REFERENCES byokeep.subject(id),
    CONSTRAINT api_token_unproved_ck CHECK (((NOT unproved) OR (kind = 'session'::text)))
);

CREATE TABLE byokeep.approval (
    id uuid NOT NULL,
    action text NOT NULL,
    scope text NOT NULL,
    epoch bigint NOT NULL,
    reason text NOT NULL,
    requested_by uuid NOT NULL,
    approved_by uuid,
    requested_at timestamp with time zone NOT NULL DEFAULT now(),
    expires_at timestamp with time zone NOT NULL DEFAULT now(),
    approved_at timestamp with time zone,
    used_at timestamp with time zone,
    -- What was asked for, as canonical JSON; the scope binds the approval to it.
    asked text,
    CONSTRAINT approval_action_ck CHECK ((action = ANY (ARRAY['open_switch'::text, 'start_canary'::text, 'transfer_account'::text, 'give_rights'::text, 'issue_token'::text, 'procedure_step'::text, 'break_glass'::text]))),
    CONSTRAINT approval_pk PRIMARY KEY (id),
    CONSTRAINT approval_two_people_ck CHECK (((approved_by IS NULL) OR (approved_by <> requested_by)))
);

CREATE TABLE byokeep.audit_epoch (
    number bigint NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT now(),
    leaf bytea NOT NULL,
    heads bytea NOT NULL,
    CONSTRAINT audit_epoch_pk PRIMARY KEY (number)
);
CREATE INDEX audit_epoch_at_ix ON byokeep.audit_epoch USING btree (at);

CREATE TABLE byokeep.audit_head (
    chain uuid NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT audit_head_pk PRIMARY KEY (chain)
);

CREATE TABLE byokeep.audit_record (
    chain uuid NOT NULL,
    seq bigint NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT now(),
    event text NOT NULL,
    actor_id uuid NOT NULL,
    object_id uuid,
    request_id uuid NOT NULL,
    outcome text NOT NULL,
    writer text NOT NULL,
    payload bytea NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT audit_record_pk PRIMARY KEY (chain, seq)
);
CREATE INDEX audit_record_access_ix ON byokeep.audit_record USING btree (chain, seq) WHERE (event = ANY (ARRAY['access.reviewed'::text, 'operator.created'::text, 'operator.changed'::text, 'machine.created'::text, 'machine.changed'::text, 'platform_app.set'::text, 'key.stored'::text, 'key.admin_stored'::text, 'webhook_secret.stored'::text, 'platform_connected'::text, 'profile.created'::text, 'account.lanes_set'::text, 'job.template_set'::text, 'breakglass.issued'::text]));
-- What a reconciliation holds alerts against.
CREATE INDEX audit_record_alert_ix ON byokeep.audit_record USING btree (at) WHERE (event = ANY (ARRAY['alert.raised'::text, 'alert.closed'::text]));
CREATE INDEX audit_record_at_ix ON byokeep.audit_record USING btree (at);
CREATE INDEX audit_record_drill_ix ON byokeep.audit_record USING btree (chain, seq) WHERE ((event = ANY (ARRAY['breakglass.drilled'::text, 'drill.completed'::text])) AND (outcome = 'ok'::text));
CREATE INDEX audit_record_object_ix ON byokeep.audit_record USING btree (chain, object_id, seq);
CREATE INDEX audit_record_older_ix ON byokeep.audit_record USING btree (chain, seq) WHERE (((event = 'backup.restored'::text) AND (outcome = 'ok'::text)) OR ((event = 'checkpoint.signed'::text) AND (POSITION(('\x22726561736f6e223a22636865636b706f696e745f6d69736d6174636822'::bytea) IN (payload)) > 0)));
-- What the page of usage counts as refused.
CREATE INDEX audit_record_refused_ix ON byokeep.audit_record USING btree (at) WHERE ((event = ANY (ARRAY['lease.issued'::text, 'permit.issued'::text])) AND (outcome = ANY (ARRAY['denied'::text, 'rejected'::text])));
-- What a reconciliation looks for among all that happened: writes at the store and changes of its set-up.
CREATE INDEX audit_record_store_ix ON byokeep.audit_record USING btree (at) WHERE (event = ANY (ARRAY['key.write'::text, 'key.stored'::text, 'key.admin_stored'::text, 'tokens.stored'::text, 'webhook_secret.stored'::text, 'connection.started'::text, 'connection.answered'::text, 'platform_app.set'::text, 'profile.sealed'::text, 'kek.rewrapped'::text, 'installation.created'::text, 'service.started'::text, 'config.changed'::text]));
-- What a reconciliation holds people, machines and their tokens against.
CREATE INDEX audit_record_subject_ix ON byokeep.audit_record USING btree (object_id, seq) WHERE ((outcome = 'ok'::text) AND (event = ANY (ARRAY['operator.created'::text, 'operator.changed'::text, 'machine.created'::text, 'machine.changed'::text, 'token.issued'::text, 'token.revoked'::text])));
CREATE INDEX audit_record_switch_ix ON byokeep.audit_record USING btree (chain, seq) WHERE (event = ANY (ARRAY['switch.closed'::text, 'switch.opened'::text]));

-- Which events there are, which role may write each, and which fields it may have: filled from the code's own vocabulary.
CREATE TABLE byokeep.audit_vocabulary (
    event text NOT NULL,
    writers text[] NOT NULL DEFAULT '{}'::text[],
    fields text NOT NULL DEFAULT ''::text,
    CONSTRAINT audit_vocabulary_pk PRIMARY KEY (event)
);

CREATE TABLE byokeep.client (
    id uuid NOT NULL,
    name text NOT NULL,
    state text NOT NULL DEFAULT 'enrolling'::text,
    risk text NOT NULL DEFAULT 'standard'::text,
    entity_id text,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    created_by uuid NOT NULL,
    CONSTRAINT client_name_ck CHECK (((name ~ '^[[:alnum:]][[:alnum:] ._&''()-]{0,79}$'::text) AND (name !~ '[[:alnum:]_-]{25,}'::text))),
    CONSTRAINT client_name_uq UNIQUE (name),
    CONSTRAINT client_pk PRIMARY KEY (id),
    CONSTRAINT client_risk_ck CHECK ((risk = ANY (ARRAY['standard'::text, 'high'::text]))),
    CONSTRAINT client_state_ck CHECK ((state = ANY (ARRAY['enrolling'::text, 'active'::text, 'suspended'::text, 'closed'::text])))
);

-- One consent under way. State and binding are secrets that somebody brings back: keyed digests of them are kept.
CREATE TABLE byokeep.connection (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    account_id uuid NOT NULL,
    job_id uuid NOT NULL,
    sop_id uuid NOT NULL,
    login text NOT NULL,
    purposes text[] NOT NULL DEFAULT '{}'::text[],
    state_hash bytea NOT NULL,
    binding_hash bytea NOT NULL,
    redirect_uri text NOT NULL,
    wanted text,
    replaces integer,
    state text NOT NULL DEFAULT 'started'::text,
    reason text NOT NULL DEFAULT ''::text,
    started_by uuid NOT NULL,
    started_at timestamp with time zone NOT NULL DEFAULT now(),
    expires_at timestamp with time zone NOT NULL DEFAULT now(),
    -- When the answer came, and then when a refresher took it.
    answered_at timestamp with time zone,
    ended_at timestamp with time zone,
    request_id uuid NOT NULL,
    -- Of a look-alike: the characters that give it away.
    code_points text NOT NULL DEFAULT ''::text,
    -- The name under which this client has the account already.
    held_as text NOT NULL DEFAULT ''::text,
    -- What a person may pick from, "ID NAME" each, in printable ASCII; empty again after a day.
    offered text[] NOT NULL DEFAULT '{}'::text[],
    CONSTRAINT connection_client_id_account_id_fk FOREIGN KEY (client_id, account_id) REFERENCES byokeep.platform_account(client_id, id),
    CONSTRAINT connection_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT connection_client_id_job_id_fk FOREIGN KEY (client_id, job_id) REFERENCES byokeep.job(client_id, id),
    CONSTRAINT connection_code_points_ck CHECK ((code_points ~ '^([0-9a-f]{4,6}(,[0-9a-f]{4,6}){0,7})?$'::text)),
    CONSTRAINT connection_digests_ck CHECK (((octet_length(state_hash) = 32) AND (octet_length(binding_hash) = 32))),
    CONSTRAINT connection_expires_at_ck CHECK (((expires_at > started_at) AND (expires_at <= (started_at + '00:15:00'::interval)))),
    CONSTRAINT connection_held_as_ck CHECK ((held_as ~ '^[A-Za-z0-9_.-]{0,64}$'::text)),
    CONSTRAINT connection_id_uq UNIQUE (id),
    CONSTRAINT connection_offered_ck CHECK (((cardinality(offered) <= 40) AND (array_to_string(offered, ''::text) ~ '^[ -~]*$'::text))),
    CONSTRAINT connection_pk PRIMARY KEY (client_id, id),
    CONSTRAINT connection_state_ck CHECK ((state = ANY (ARRAY['started'::text, 'answered'::text, 'taken'::text, 'connected'::text, 'failed'::text, 'quarantined'::text, 'expired'::text]))),
    CONSTRAINT connection_state_hash_uq UNIQUE (state_hash)
);
CREATE INDEX connection_answered_ix ON byokeep.connection USING btree (answered_at) WHERE (state = ANY (ARRAY['answered'::text, 'taken'::text]));

CREATE TABLE byokeep.contact_address (
    subject_id uuid NOT NULL,
    client_id uuid NOT NULL,
    address text NOT NULL,
    made_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT contact_address_address_ck CHECK (((address ~ '^[!-~]+@[!-~]+$'::text) AND (length(address) <= 254))),
    CONSTRAINT contact_address_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT contact_address_pk PRIMARY KEY (subject_id),
    CONSTRAINT contact_address_subject_id_fk FOREIGN KEY (subject_id) REFERENCES byokeep.subject(id)
);
CREATE INDEX contact_address_address_ix ON byokeep.contact_address USING btree (address);
CREATE INDEX contact_address_client_id_ix ON byokeep.contact_address USING btree (client_id);

CREATE TABLE byokeep.credential_ref (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    provider text NOT NULL,
    kind text NOT NULL,
    purpose text NOT NULL DEFAULT 'default'::text,
    environment text NOT NULL,
    secret_ref text NOT NULL,
    version integer NOT NULL,
    state text NOT NULL,
    verification text NOT NULL,
    risk text NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    created_by uuid NOT NULL,
    rotation_due_at timestamp with time zone NOT NULL DEFAULT now(),
    expires_at timestamp with time zone,
    account_id uuid,
    previous_version integer,
    previous_until timestamp with time zone,
    -- A newer value that waits for its verification; the pinned one goes on serving until then.
    candidate_version integer,
    candidate_risk text,
    candidate_due_at timestamp with time zone,
    candidate_at timestamp with time zone,
    candidate_by uuid,
    -- Of a keyless credential the ids of the provider that it is; of an administrator's key where in the account it works.
    provider_place text NOT NULL DEFAULT ''::text,
    candidate_place text NOT NULL DEFAULT ''::text,
    candidate_expires_at timestamp with time zone,
    rotation_days smallint,
    candidate_days smallint,
    CONSTRAINT credential_ref_belongs_ck CHECK ((((kind = 'oauth_token_set'::text) = (account_id IS NOT NULL)) AND ((kind = 'oauth_token_set'::text) = (purpose = 'account'::text)) AND ((kind = 'webhook_signing_secret'::text) = (purpose = 'webhook'::text)) AND ((kind = 'provider_admin_key'::text) = (purpose = 'admin'::text)))),
    CONSTRAINT credential_ref_candidate_ck CHECK (((num_nulls(candidate_version, candidate_risk, candidate_due_at, candidate_at, candidate_by) = ANY (ARRAY[0, 5])) AND COALESCE((candidate_version > version), true) AND COALESCE((candidate_risk = ANY (ARRAY['standard'::text, 'high'::text])), true))),
    CONSTRAINT credential_ref_candidate_days_ck CHECK (((candidate_days >= 1) AND (candidate_days <= 366))),
    CONSTRAINT credential_ref_candidate_expires_at_ck CHECK (((candidate_expires_at IS NULL) OR (candidate_version IS NOT NULL))),
    CONSTRAINT credential_ref_candidate_place_ck CHECK (((candidate_place ~ '^([a-z_]{1,32}=[A-Za-z0-9._-]{1,128}(,[a-z_]{1,32}=[A-Za-z0-9._-]{1,128}){0,3})?$'::text) AND ((candidate_place = ''::text) OR (candidate_version IS NOT NULL)))),
    CONSTRAINT credential_ref_client_id_account_id_fk FOREIGN KEY (client_id, account_id) REFERENCES byokeep.platform_account(client_id, id),
    CONSTRAINT credential_ref_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT credential_ref_environment_ck CHECK ((environment = ANY (ARRAY['production'::text, 'staging'::text, 'development'::text]))),
    CONSTRAINT credential_ref_id_uq UNIQUE (id),
    CONSTRAINT credential_ref_kind_ck CHECK ((kind = ANY (ARRAY['provider_api_key'::text, 'provider_admin_key'::text, 'oauth_token_set'::text, 'session_cookie'::text, 'webhook_signing_secret'::text, 'internal_service_token'::text, 'database_credential'::text]))),
    CONSTRAINT credential_ref_pk PRIMARY KEY (client_id, id),
    CONSTRAINT credential_ref_previous_ck CHECK (((previous_version IS NULL) = (previous_until IS NULL))),
    CONSTRAINT credential_ref_provider_ck CHECK ((provider = ANY (ARRAY['google'::text, 'anthropic'::text, 'openai'::text, 'openrouter'::text, 'heygen'::text, 'kie'::text, 'meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text, 'skool'::text]))),
    CONSTRAINT credential_ref_provider_place_ck CHECK ((provider_place ~ '^([a-z_]{1,32}=[A-Za-z0-9._-]{1,128}(,[a-z_]{1,32}=[A-Za-z0-9._-]{1,128}){0,3})?$'::text)),
    CONSTRAINT credential_ref_purpose_ck CHECK ((purpose ~ '^[a-z][a-z0-9_]{0,31}$'::text)),
    CONSTRAINT credential_ref_risk_ck CHECK ((risk = ANY (ARRAY['standard'::text, 'high'::text]))),
    CONSTRAINT credential_ref_rotation_days_ck CHECK (((rotation_days >= 1) AND (rotation_days <= 366))),
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
CREATE UNIQUE INDEX credential_ref_account_live_uq ON byokeep.credential_ref USING btree (client_id, account_id) WHERE ((state = ANY (ARRAY['pre_activation'::text, 'active'::text, 'suspended'::text])) AND (account_id IS NOT NULL));
CREATE UNIQUE INDEX credential_ref_one_live_uq ON byokeep.credential_ref USING btree (client_id, provider, purpose) WHERE ((state = ANY (ARRAY['pre_activation'::text, 'active'::text, 'suspended'::text])) AND (account_id IS NULL));

-- A job that is given the new version of a key before its cutover, and no permit.
CREATE TABLE byokeep.dry_run (
    client_id uuid NOT NULL,
    job_id uuid NOT NULL,
    template text NOT NULL,
    run_id uuid NOT NULL,
    ref_id uuid NOT NULL,
    version integer NOT NULL,
    number smallint NOT NULL,
    CONSTRAINT dry_run_client_id_job_id_fk FOREIGN KEY (client_id, job_id) REFERENCES byokeep.job(client_id, id),
    CONSTRAINT dry_run_number_ck CHECK (((number >= 1) AND (number <= 3))),
    CONSTRAINT dry_run_pk PRIMARY KEY (client_id, job_id),
    CONSTRAINT dry_run_run_id_uq UNIQUE (run_id, version, number)
);

CREATE TABLE byokeep.due_start (
    kind text NOT NULL,
    item text NOT NULL,
    client_id uuid NOT NULL,
    provider text NOT NULL,
    due_at timestamp with time zone NOT NULL,
    tried_at timestamp with time zone NOT NULL,
    tries integer NOT NULL,
    CONSTRAINT due_start_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT due_start_pk PRIMARY KEY (client_id, kind, item),
    CONSTRAINT due_start_words_ck CHECK (((kind ~ '^[a-z][a-z0-9_]{0,31}$'::text) AND (item ~ '^[A-Za-z0-9_.:/-]{1,100}$'::text) AND (provider ~ '^[a-z0-9_]{0,31}$'::text)))
);
CREATE INDEX due_start_tried_ix ON byokeep.due_start USING btree (provider, tried_at);

-- What happened and is to be answered (runbook sections 6.3 and 7): one open row for a kind and a thing. The run of its
     playbook has its id, if it has begun.
CREATE TABLE byokeep.incident (
    id uuid NOT NULL,
    client_id uuid,
    kind text NOT NULL,
    severity text NOT NULL,
    object_kind text NOT NULL DEFAULT ''::text,
    object_id uuid,
    platform text NOT NULL DEFAULT ''::text,
    source text NOT NULL,
    dedup_key text NOT NULL,
    noticed_at timestamp with time zone NOT NULL,
    began_at timestamp with time zone NOT NULL,
    began_assumed boolean NOT NULL,
    opened_by uuid NOT NULL,
    opened_at timestamp with time zone NOT NULL DEFAULT now(),
    ticket text NOT NULL DEFAULT ''::text,
    ticket_at timestamp with time zone,
    postmortem text NOT NULL DEFAULT ''::text,
    postmortem_sha256 text NOT NULL DEFAULT ''::text,
    closed_at timestamp with time zone,
    closed_by uuid,
    CONSTRAINT incident_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT incident_closed_ck CHECK (((closed_at IS NULL) = (closed_by IS NULL))),
    CONSTRAINT incident_pk PRIMARY KEY (id),
    CONSTRAINT incident_severity_ck CHECK ((severity = ANY (ARRAY['P0'::text, 'P1'::text, 'P2'::text, 'P3'::text]))),
    CONSTRAINT incident_since_ck CHECK ((began_at <= noticed_at)),
    CONSTRAINT incident_words_ck CHECK (((kind ~ '^[a-z][a-z0-9_]{0,39}$'::text) AND (source ~ '^[a-z][a-z0-9_]{0,39}$'::text) AND (platform ~ '^[a-z0-9_]{0,39}$'::text) AND (object_kind = ANY (ARRAY[''::text, 'key'::text, 'account'::text, 'profile'::text, 'vault'::text])) AND (dedup_key ~ '^[a-z0-9_/-]{3,128}$'::text) AND (postmortem_sha256 ~ '^([0-9a-f]{64})?$'::text) AND (length(ticket) <= 300) AND (length(postmortem) <= 300)))
);
CREATE INDEX incident_client_ix ON byokeep.incident USING btree (client_id, opened_at);
CREATE UNIQUE INDEX incident_open_uq ON byokeep.incident USING btree (dedup_key) WHERE (closed_at IS NULL);

CREATE TABLE byokeep.installation (
    id uuid NOT NULL,
    environment text NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    singleton boolean NOT NULL DEFAULT true,
    -- When the broker last proved that an audit device of the store records; web reads it before it writes a value.
    store_recorded_at timestamp with time zone,
    CONSTRAINT installation_environment_ck CHECK ((environment = ANY (ARRAY['production'::text, 'staging'::text, 'development'::text]))),
    CONSTRAINT installation_pk PRIMARY KEY (id),
    CONSTRAINT installation_singleton_ck CHECK (singleton),
    CONSTRAINT installation_singleton_uq UNIQUE (singleton)
);

CREATE TABLE byokeep.job (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    dispatcher_id uuid NOT NULL,
    runner_id uuid NOT NULL,
    kind text NOT NULL,
    secrets text[] NOT NULL DEFAULT '{}'::text[],
    platforms text[] NOT NULL DEFAULT '{}'::text[],
    lanes text[] NOT NULL DEFAULT '{}'::text[],
    effects text[] NOT NULL DEFAULT '{}'::text[],
    state text NOT NULL DEFAULT 'open'::text,
    reason text NOT NULL DEFAULT ''::text,
    opened_at timestamp with time zone NOT NULL DEFAULT now(),
    expires_at timestamp with time zone NOT NULL DEFAULT now(),
    closed_at timestamp with time zone,
    -- From here on it seals the profile that it used, and causes no effect.
    sealing_at timestamp with time zone,
    CONSTRAINT job_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT job_custody_has_no_effects_ck CHECK (((kind = 'use'::text) OR (effects = '{}'::text[]))),
    CONSTRAINT job_dispatcher_id_fk FOREIGN KEY (dispatcher_id) REFERENCES byokeep.subject(id),
    CONSTRAINT job_expires_at_ck CHECK (((expires_at > opened_at) AND (expires_at <= (opened_at + '24:00:00'::interval)))),
    CONSTRAINT job_id_uq UNIQUE (id),
    CONSTRAINT job_kind_ck CHECK ((kind = ANY (ARRAY['use'::text, 'custody'::text]))),
    CONSTRAINT job_pk PRIMARY KEY (client_id, id),
    CONSTRAINT job_runner_id_fk FOREIGN KEY (runner_id) REFERENCES byokeep.subject(id),
    CONSTRAINT job_state_ck CHECK ((state = ANY (ARRAY['open'::text, 'closed'::text, 'expired'::text, 'killed'::text])))
);

-- What a client's regular job declares, so that a new key can be tried with it.
CREATE TABLE byokeep.job_template (
    client_id uuid NOT NULL,
    name text NOT NULL,
    runner_id uuid NOT NULL,
    secrets text[] NOT NULL,
    platforms text[] NOT NULL,
    lanes text[] NOT NULL,
    set_at timestamp with time zone NOT NULL DEFAULT now(),
    set_by uuid NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT job_template_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT job_template_name_ck CHECK ((name ~ '^[a-z][a-z0-9_-]{0,40}$'::text)),
    CONSTRAINT job_template_pk PRIMARY KEY (client_id, name)
);

-- A rotation of a key-encryption key: done only when no wrapped key is left on the old versions (R6.1-8).
CREATE TABLE byokeep.kek_rotation (
    id uuid NOT NULL,
    client_id uuid,
    holder text NOT NULL,
    kek_id text NOT NULL,
    from_version integer NOT NULL,
    to_version integer NOT NULL,
    state text NOT NULL DEFAULT 'rewrapping'::text,
    reason text NOT NULL DEFAULT ''::text,
    moved integer NOT NULL DEFAULT 0,
    started_by uuid NOT NULL,
    started_at timestamp with time zone NOT NULL DEFAULT now(),
    ended_at timestamp with time zone,
    CONSTRAINT kek_rotation_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT kek_rotation_ended_ck CHECK (((ended_at IS NOT NULL) = (state = 'done'::text))),
    CONSTRAINT kek_rotation_holder_ck CHECK ((holder = ANY (ARRAY['transit'::text, 'aws'::text, 'pkcs11'::text]))),
    CONSTRAINT kek_rotation_numbers_ck CHECK (((to_version > from_version) AND (from_version >= 1) AND (moved >= 0))),
    CONSTRAINT kek_rotation_pk PRIMARY KEY (id),
    CONSTRAINT kek_rotation_state_ck CHECK ((state = ANY (ARRAY['rewrapping'::text, 'done'::text])))
);
CREATE UNIQUE INDEX kek_rotation_open_uq ON byokeep.kek_rotation USING btree (holder, kek_id) WHERE (ended_at IS NULL);

-- One version of a key-encryption key, from the moment it is made: the inventory (S-NIST-12, S-NIST-13).
CREATE TABLE byokeep.kek_version (
    holder text NOT NULL,
    kek_id text NOT NULL,
    version integer NOT NULL,
    -- Null for a key that guards every client.
    client_id uuid,
    environment text NOT NULL,
    algorithm text NOT NULL,
    bits integer NOT NULL,
    state text NOT NULL DEFAULT 'active'::text,
    owner text NOT NULL,
    made_at timestamp with time zone NOT NULL DEFAULT now(),
    protect_until timestamp with time zone NOT NULL DEFAULT now(),
    process_until timestamp with time zone NOT NULL DEFAULT now(),
    compromised_at timestamp with time zone,
    changed_at timestamp with time zone NOT NULL DEFAULT now(),
    changed_by uuid NOT NULL,
    identity text NOT NULL DEFAULT ''::text,
    CONSTRAINT kek_version_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT kek_version_environment_ck CHECK ((environment = ANY (ARRAY['production'::text, 'staging'::text, 'development'::text]))),
    CONSTRAINT kek_version_holder_ck CHECK ((holder = ANY (ARRAY['transit'::text, 'aws'::text, 'pkcs11'::text]))),
    CONSTRAINT kek_version_identity_ck CHECK ((identity ~ '^[A-Za-z0-9:/_.-]{0,200}$'::text)),
    CONSTRAINT kek_version_kek_id_ck CHECK ((kek_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'::text)),
    -- S-NIST-11: never weaker than what it wraps.
    CONSTRAINT kek_version_numbers_ck CHECK (((version >= 1) AND (bits >= 256))),
    CONSTRAINT kek_version_owner_ck CHECK ((owner ~ '^[a-z][a-z0-9_.@-]{0,62}$'::text)),
    CONSTRAINT kek_version_periods_ck CHECK (((protect_until > made_at) AND (protect_until <= (made_at + '732 days'::interval)) AND (process_until >= protect_until) AND (process_until <= (protect_until + '1097 days'::interval)))),
    CONSTRAINT kek_version_pk PRIMARY KEY (holder, kek_id, version),
    CONSTRAINT kek_version_state_ck CHECK ((state = ANY (ARRAY['pre_activation'::text, 'active'::text, 'suspended'::text, 'deactivated'::text, 'compromised'::text, 'destroyed'::text])))
);

CREATE TABLE byokeep.key_transition (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    ref_id uuid NOT NULL,
    state_from text NOT NULL,
    state_to text NOT NULL,
    reason text NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT now(),
    by uuid NOT NULL,
    CONSTRAINT key_transition_client_id_ref_id_fk FOREIGN KEY (client_id, ref_id) REFERENCES byokeep.credential_ref(client_id, id),
    CONSTRAINT key_transition_pk PRIMARY KEY (id)
);

-- Keyed digests of a few windows of a value, by which a copy of it is found (docs/spec/leak-fingerprints.md). Announced with the write, so before there is a reference; a version written by an early release has no row.
CREATE TABLE byokeep.leak_fingerprint (
    client_id uuid NOT NULL,
    ref_id uuid NOT NULL,
    version integer NOT NULL,
    format integer NOT NULL,
    digests text[] NOT NULL DEFAULT '{}'::text[],
    made_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT leak_fingerprint_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT leak_fingerprint_digests_ck CHECK (((cardinality(digests) <= 16) AND (array_to_string(digests, ','::text, 'null'::text) ~ '^([0-9a-f]{32}(,[0-9a-f]{32})*)?$'::text))),
    CONSTRAINT leak_fingerprint_format_ck CHECK ((format >= 1)),
    CONSTRAINT leak_fingerprint_pk PRIMARY KEY (client_id, ref_id, version),
    CONSTRAINT leak_fingerprint_version_ck CHECK ((version >= 1))
);

CREATE TABLE byokeep.lease (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    job_id uuid NOT NULL,
    runner_id uuid NOT NULL,
    kind text NOT NULL,
    secrets text[] NOT NULL DEFAULT '{}'::text[],
    jwt_iat bigint NOT NULL,
    jwt_exp bigint NOT NULL,
    issued_at timestamp with time zone NOT NULL DEFAULT now(),
    expires_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT lease_client_id_job_id_fk FOREIGN KEY (client_id, job_id) REFERENCES byokeep.job(client_id, id),
    CONSTRAINT lease_id_uq UNIQUE (id),
    CONSTRAINT lease_kind_ck CHECK ((kind = ANY (ARRAY['use'::text, 'custody'::text, 'enroll'::text]))),
    CONSTRAINT lease_pk PRIMARY KEY (client_id, id)
);
CREATE INDEX lease_client_issued_at_ix ON byokeep.lease USING btree (client_id, issued_at);
CREATE INDEX lease_issued_at_ix ON byokeep.lease USING btree (issued_at);

-- How many calls a holder says it made under a lease; without a row: unknown.
CREATE TABLE byokeep.lease_calls (
    client_id uuid NOT NULL,
    lease_id uuid NOT NULL,
    count integer NOT NULL,
    -- How many of these had not been told of when the number was said.
    missing integer NOT NULL,
    told_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT lease_calls_client_id_lease_id_fk FOREIGN KEY (client_id, lease_id) REFERENCES byokeep.lease(client_id, id),
    CONSTRAINT lease_calls_count_ck CHECK (((count >= 0) AND (count <= 1000000))),
    CONSTRAINT lease_calls_pk PRIMARY KEY (client_id, lease_id)
);

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
    tries integer NOT NULL DEFAULT 0,
    failure text NOT NULL DEFAULT ''::text,
    sent_at timestamp with time zone,
    CONSTRAINT notification_about_ck CHECK ((about ~ '^[A-Za-z0-9_.:/-]{1,128}$'::text)),
    CONSTRAINT notification_once_uq UNIQUE (source, about, at, stage, target),
    CONSTRAINT notification_pk PRIMARY KEY (id),
    CONSTRAINT notification_source_ck CHECK ((source = ANY (ARRAY['alert'::text, 'due'::text, 'incident'::text]))),
    CONSTRAINT notification_target_ck CHECK ((target ~ '^[a-z][a-z0-9_-]{0,31}$'::text)),
    CONSTRAINT notification_words_ck CHECK (((stage ~ '^[a-z][a-z0-9_]{0,31}$'::text) AND (code ~ '^[a-z][a-z0-9_]{0,63}$'::text) AND (failure ~ '^[a-z0-9_]{0,63}$'::text)))
);
CREATE INDEX notification_sent_ix ON byokeep.notification USING btree (target, sent_at) WHERE (sent_at IS NOT NULL);
CREATE INDEX notification_waiting_ix ON byokeep.notification USING btree (target, next_at) WHERE (sent_at IS NULL);

CREATE TABLE byokeep.passkey (
    id uuid NOT NULL,
    subject_id uuid NOT NULL,
    identifier bytea NOT NULL,
    public_half bytea NOT NULL,
    uses bigint NOT NULL,
    name text NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    used_at timestamp with time zone,
    ended_at timestamp with time zone,
    record_seq bigint,
    CONSTRAINT passkey_identifier_ck CHECK (((octet_length(identifier) >= 16) AND (octet_length(identifier) <= 1023))),
    CONSTRAINT passkey_identifier_uq UNIQUE (identifier),
    CONSTRAINT passkey_name_ck CHECK (((length(name) >= 1) AND (length(name) <= 64))),
    CONSTRAINT passkey_pk PRIMARY KEY (id),
    CONSTRAINT passkey_public_half_ck CHECK (((octet_length(public_half) >= 1) AND (octet_length(public_half) <= 2048))),
    CONSTRAINT passkey_subject_id_fk FOREIGN KEY (subject_id) REFERENCES byokeep.subject(id),
    CONSTRAINT passkey_uses_ck CHECK ((uses >= 0))
);
CREATE INDEX passkey_subject_ix ON byokeep.passkey USING btree (subject_id);

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
    state text NOT NULL DEFAULT 'issued'::text,
    issued_at timestamp with time zone NOT NULL DEFAULT now(),
    expires_at timestamp with time zone NOT NULL DEFAULT now(),
    closed_at timestamp with time zone,
    -- Where a canary of re-enabling took this act (core/reenable.py); null outside one.
    way integer,
    stage integer,
    CONSTRAINT permit_client_id_job_id_fk FOREIGN KEY (client_id, job_id) REFERENCES byokeep.job(client_id, id),
    CONSTRAINT permit_client_id_lease_id_fk FOREIGN KEY (client_id, lease_id) REFERENCES byokeep.lease(client_id, id),
    CONSTRAINT permit_id_uq UNIQUE (id),
    CONSTRAINT permit_idempotency_key_ck CHECK ((idempotency_key ~ '^[A-Za-z0-9_.:-]{8,64}$'::text)),
    CONSTRAINT permit_pk PRIMARY KEY (client_id, id),
    CONSTRAINT permit_state_ck CHECK ((state = ANY (ARRAY['issued'::text, 'done'::text, 'failed'::text, 'unknown'::text])))
);
-- R1.5-6: one key never yields two effects; a failed attempt (surely not done) frees the key.
CREATE UNIQUE INDEX permit_idempotency_uq ON byokeep.permit USING btree (client_id, idempotency_key) WHERE (state <> 'failed'::text);
CREATE INDEX permit_issued_at_ix ON byokeep.permit USING btree (issued_at);

CREATE TABLE byokeep.platform_account (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    platform text NOT NULL,
    account text NOT NULL,
    -- Typed by an operator, or as a platform says it: any script then, and empty where a platform tells none.
    username text NOT NULL,
    display_name text NOT NULL,
    lanes text[] NOT NULL DEFAULT '{}'::text[],
    identified_at timestamp with time zone,
    identity text NOT NULL DEFAULT 'unchecked'::text,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    created_by uuid NOT NULL,
    CONSTRAINT platform_account_account_ck CHECK ((account ~ '^[A-Za-z0-9_.-]{1,64}$'::text)),
    CONSTRAINT platform_account_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT platform_account_client_id_platform_account_uq UNIQUE (client_id, platform, account),
    CONSTRAINT platform_account_display_name_ck CHECK (((length(display_name) <= 400) AND (display_name !~ '[[:cntrl:]]'::text))),
    CONSTRAINT platform_account_identity_ck CHECK ((identity = ANY (ARRAY['unchecked'::text, 'match'::text, 'mismatch'::text, 'unknown'::text]))),
    CONSTRAINT platform_account_pk PRIMARY KEY (client_id, id),
    CONSTRAINT platform_account_platform_ck CHECK ((platform = ANY (ARRAY['meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text, 'skool'::text]))),
    CONSTRAINT platform_account_username_ck CHECK (((length(username) <= 400) AND (username !~ '[[:cntrl:]]'::text)))
);

-- Our app at a platform's login: its public half. The secret half lies in the store, for custody alone.
CREATE TABLE byokeep.platform_app (
    login text NOT NULL,
    provider text NOT NULL,
    environment text NOT NULL,
    app_id text NOT NULL,
    redirect_uri text NOT NULL,
    -- 0: the app has no secret.
    secret_version integer NOT NULL,
    set_at timestamp with time zone NOT NULL DEFAULT now(),
    set_by uuid NOT NULL,
    CONSTRAINT platform_app_app_id_ck CHECK (((length(app_id) <= 256) AND (app_id ~ '^[!-~]+$'::text))),
    CONSTRAINT platform_app_environment_ck CHECK ((environment = ANY (ARRAY['production'::text, 'staging'::text, 'development'::text]))),
    CONSTRAINT platform_app_login_ck CHECK ((login ~ '^[a-z][a-z0-9_]{0,31}$'::text)),
    CONSTRAINT platform_app_pk PRIMARY KEY (login),
    CONSTRAINT platform_app_provider_ck CHECK ((provider = ANY (ARRAY['meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text]))),
    CONSTRAINT platform_app_redirect_uri_ck CHECK (((length(redirect_uri) <= 400) AND (redirect_uri ~ '^(https://|http://(127[.]0[.]0[.]1|localhost)[:/])[!-~]+$'::text))),
    CONSTRAINT platform_app_secret_version_ck CHECK ((secret_version >= 0))
);

CREATE TABLE byokeep.portal_look (
    client_id uuid NOT NULL,
    colour text NOT NULL,
    logo bytea,
    CONSTRAINT portal_look_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT portal_look_colour_ck CHECK ((colour ~ '^#[0-9a-f]{6}$'::text)),
    CONSTRAINT portal_look_logo_ck CHECK (((octet_length(logo) >= 57) AND (octet_length(logo) <= 131072) AND (substr(logo, 1, 8) = '\x89504e470d0a1a0a'::bytea))),
    CONSTRAINT portal_look_pk PRIMARY KEY (client_id)
);

-- How far a procedure is: evidence names the records of its steps, facts what they hand on, revision each move.
CREATE TABLE byokeep.procedure_run (
    id uuid NOT NULL,
    client_id uuid,
    procedure text NOT NULL,
    object_id uuid NOT NULL,
    revision integer NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'running'::text,
    reason text NOT NULL DEFAULT ''::text,
    evidence jsonb NOT NULL DEFAULT '{}'::jsonb,
    facts jsonb NOT NULL DEFAULT '{}'::jsonb,
    due_at timestamp with time zone,
    asked_by uuid NOT NULL,
    started_by uuid NOT NULL,
    started_at timestamp with time zone NOT NULL DEFAULT now(),
    closed_at timestamp with time zone,
    closed_by uuid,
    CONSTRAINT procedure_run_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT procedure_run_closed_ck CHECK ((((state = ANY (ARRAY['complete'::text, 'aborted'::text])) AND (closed_at IS NOT NULL)) OR (state = 'failed'::text) OR ((state = ANY (ARRAY['running'::text, 'undoing'::text])) AND (closed_at IS NULL)))),
    CONSTRAINT procedure_run_evidence_ck CHECK (((jsonb_typeof(evidence) = 'object'::text) AND (NOT jsonb_path_exists(evidence, 'strict $.*?(@.type() != "number")'::jsonpath)))),
    CONSTRAINT procedure_run_facts_ck CHECK (((jsonb_typeof(facts) = 'object'::text) AND (NOT jsonb_path_exists(facts, 'strict $.*?((@.type() == "object" || @.type() == "array") || @.type() == "string" && !(@ like_regex "^([a-z][a-z0-9_]{0,39}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}Z|)$"))'::jsonpath)))),
    CONSTRAINT procedure_run_numbers_ck CHECK (((NOT jsonb_path_exists(evidence, 'strict $.*?((@ < 0 || @ > 9007199254740991) || @.floor() != @)'::jsonpath)) AND (NOT jsonb_path_exists(facts, 'strict $.*?(@.type() == "number" && (@.abs() > 9007199254740991 || @.floor() != @))'::jsonpath)))),
    CONSTRAINT procedure_run_pk PRIMARY KEY (id),
    CONSTRAINT procedure_run_state_ck CHECK ((state = ANY (ARRAY['running'::text, 'complete'::text, 'failed'::text, 'undoing'::text, 'aborted'::text])))
);
CREATE UNIQUE INDEX procedure_run_break_glass_uq ON byokeep.procedure_run USING btree ((true)) WHERE ((procedure ~~ 'break\_glass%'::text) AND (closed_at IS NULL));
CREATE INDEX procedure_run_object_ix ON byokeep.procedure_run USING btree (object_id, started_at);
CREATE UNIQUE INDEX procedure_run_rotation_uq ON byokeep.procedure_run USING btree (object_id) WHERE ((procedure ~~ 'rotate\_key%'::text) AND (closed_at IS NULL));

-- One Chromium profile of one client (SOP 5.3).
CREATE TABLE byokeep.profile (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    packing text NOT NULL,
    state text NOT NULL DEFAULT 'created'::text,
    reason text NOT NULL DEFAULT ''::text,
    -- 0: nothing was sealed yet.
    generation integer NOT NULL DEFAULT 0,
    -- Counts openings; an older one may not seal.
    epoch bigint NOT NULL DEFAULT 0,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    created_by uuid NOT NULL,
    confirmed_at timestamp with time zone,
    confirmed_by uuid,
    validated_generation integer NOT NULL DEFAULT 0,
    validated_at timestamp with time zone,
    due_at timestamp with time zone,
    due_cause text NOT NULL DEFAULT ''::text,
    replaces uuid,
    CONSTRAINT profile_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT profile_client_id_replaces_fk FOREIGN KEY (client_id, replaces) REFERENCES byokeep.profile(client_id, id),
    CONSTRAINT profile_confirmed_ck CHECK (((confirmed_at IS NULL) = (confirmed_by IS NULL))),
    CONSTRAINT profile_id_uq UNIQUE (id),
    CONSTRAINT profile_numbers_ck CHECK (((generation >= 0) AND (epoch >= 0) AND ((validated_generation >= 0) AND (validated_generation <= generation)))),
    CONSTRAINT profile_packing_ck CHECK ((packing = ANY (ARRAY['portable'::text, 'full'::text]))),
    CONSTRAINT profile_pk PRIMARY KEY (client_id, id),
    -- R5.3-6: nothing is sealed that no person confirmed.
    CONSTRAINT profile_sealed_after_confirmed_ck CHECK (((generation = 0) OR (confirmed_at IS NOT NULL))),
    CONSTRAINT profile_state_ck CHECK ((state = ANY (ARRAY['created'::text, 'confirmed'::text, 'sealed'::text, 'valid'::text, 'quarantined'::text, 'retired'::text, 'shredded'::text])))
);

-- Whose accounts a profile is logged in to: one for each platform, and an account has one living profile.
CREATE TABLE byokeep.profile_account (
    client_id uuid NOT NULL,
    profile_id uuid NOT NULL,
    account_id uuid NOT NULL,
    platform text NOT NULL,
    retired_at timestamp with time zone,
    CONSTRAINT profile_account_client_id_account_id_fk FOREIGN KEY (client_id, account_id) REFERENCES byokeep.platform_account(client_id, id),
    CONSTRAINT profile_account_client_id_profile_id_fk FOREIGN KEY (client_id, profile_id) REFERENCES byokeep.profile(client_id, id),
    CONSTRAINT profile_account_client_id_profile_id_platform_uq UNIQUE (client_id, profile_id, platform),
    CONSTRAINT profile_account_pk PRIMARY KEY (client_id, profile_id, account_id),
    CONSTRAINT profile_account_platform_ck CHECK ((platform = ANY (ARRAY['meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text, 'skool'::text])))
);
CREATE UNIQUE INDEX profile_account_live_uq ON byokeep.profile_account USING btree (client_id, account_id) WHERE (retired_at IS NULL);

-- One sealed state: which blob, which key, and where in the store its record lies. Rows are never taken away.
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
    key_state text NOT NULL DEFAULT 'active'::text,
    sealed_at timestamp with time zone NOT NULL DEFAULT now(),
    sealed_by uuid NOT NULL,
    job_id uuid NOT NULL,
    store_request text NOT NULL DEFAULT ''::text,
    gone_at timestamp with time zone,
    -- Of the accounts in its manifest, which a job that seals it again must name. Null: an older release sealed it.
    accounts_hash bytea,
    CONSTRAINT profile_generation_accounts_hash_ck CHECK ((octet_length(accounts_hash) = 32)),
    CONSTRAINT profile_generation_blob_key_uq UNIQUE (blob_key),
    CONSTRAINT profile_generation_client_id_job_id_fk FOREIGN KEY (client_id, job_id) REFERENCES byokeep.job(client_id, id),
    CONSTRAINT profile_generation_client_id_profile_id_fk FOREIGN KEY (client_id, profile_id) REFERENCES byokeep.profile(client_id, id),
    CONSTRAINT profile_generation_dek_id_uq UNIQUE (dek_id),
    CONSTRAINT profile_generation_digests_ck CHECK (((octet_length(blob_sha256) = 32) AND (octet_length(manifest_hash) = 32))),
    CONSTRAINT profile_generation_holder_ck CHECK ((holder = ANY (ARRAY['transit'::text, 'aws'::text, 'pkcs11'::text]))),
    CONSTRAINT profile_generation_key_state_ck CHECK ((key_state = ANY (ARRAY['pre_activation'::text, 'active'::text, 'suspended'::text, 'deactivated'::text, 'compromised'::text, 'destroyed'::text]))),
    CONSTRAINT profile_generation_numbers_ck CHECK (((generation >= 1) AND (kek_version >= 1) AND (record_version >= 1) AND (blob_size > 0) AND (packed_size >= 0))),
    CONSTRAINT profile_generation_pk PRIMARY KEY (client_id, profile_id, generation)
);
CREATE INDEX profile_generation_kek_ix ON byokeep.profile_generation USING btree (holder, kek_id, kek_version) WHERE (key_state <> 'destroyed'::text);

-- The profile vault is suspected compromised (runbook 7.3): the procedure, and how far it got.
CREATE TABLE byokeep.profile_incident (
    id uuid NOT NULL,
    -- Null: every client.
    client_id uuid,
    cause text NOT NULL,
    -- No longer said, nor who opened and closed it: its run of the same id says so.
    step text NOT NULL DEFAULT 'opened'::text,
    since timestamp with time zone NOT NULL DEFAULT now(),
    opened_by uuid,
    opened_at timestamp with time zone NOT NULL DEFAULT now(),
    closed_at timestamp with time zone,
    closed_by uuid,
    CONSTRAINT profile_incident_cause_ck CHECK ((cause = ANY (ARRAY['suspected_leak'::text, 'artifact_store_exposure'::text, 'runner_compromise'::text, 'account_lockout'::text, 'drill'::text]))),
    CONSTRAINT profile_incident_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT profile_incident_pk PRIMARY KEY (id),
    CONSTRAINT profile_incident_step_ck CHECK ((step = ANY (ARRAY['opened'::text, 'lane_off'::text, 'sessions_ended'::text, 'recreated'::text, 'rekeyed'::text, 'validated'::text, 'closed'::text])))
);

-- One profile's way through an incident, and for each platform what became of the session; never a success unseen.
CREATE TABLE byokeep.profile_incident_item (
    incident_id uuid NOT NULL,
    client_id uuid NOT NULL,
    profile_id uuid NOT NULL,
    platform text NOT NULL,
    session text NOT NULL DEFAULT 'pending'::text,
    session_by uuid,
    session_at timestamp with time zone,
    new_profile_id uuid,
    key_destroyed_at timestamp with time zone,
    identity_at timestamp with time zone,
    wrong_account_at timestamp with time zone,
    CONSTRAINT profile_incident_item_client_id_new_profile_id_fk FOREIGN KEY (client_id, new_profile_id) REFERENCES byokeep.profile(client_id, id),
    CONSTRAINT profile_incident_item_client_id_profile_id_fk FOREIGN KEY (client_id, profile_id) REFERENCES byokeep.profile(client_id, id),
    CONSTRAINT profile_incident_item_incident_id_fk FOREIGN KEY (incident_id) REFERENCES byokeep.profile_incident(id),
    CONSTRAINT profile_incident_item_pk PRIMARY KEY (incident_id, client_id, profile_id, platform),
    CONSTRAINT profile_incident_item_platform_ck CHECK ((platform = ANY (ARRAY['meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text, 'skool'::text]))),
    CONSTRAINT profile_incident_item_session_ck CHECK ((session = ANY (ARRAY['pending'::text, 'revoked'::text, 'unsupported'::text, 'failed'::text, 'ended_by_hand'::text])))
);

-- Who has a profile open just now: one opener at a time, and its epoch is what a seal must still hold.
CREATE TABLE byokeep.profile_opening (
    client_id uuid NOT NULL,
    profile_id uuid NOT NULL,
    epoch bigint NOT NULL,
    generation integer NOT NULL,
    purpose text NOT NULL,
    job_id uuid NOT NULL,
    opener_id uuid NOT NULL,
    opened_at timestamp with time zone NOT NULL DEFAULT now(),
    -- Closed: until = now; the row stays.
    until timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT profile_opening_client_id_job_id_fk FOREIGN KEY (client_id, job_id) REFERENCES byokeep.job(client_id, id),
    CONSTRAINT profile_opening_client_id_profile_id_fk FOREIGN KEY (client_id, profile_id) REFERENCES byokeep.profile(client_id, id),
    CONSTRAINT profile_opening_pk PRIMARY KEY (client_id, profile_id),
    CONSTRAINT profile_opening_purpose_ck CHECK ((purpose = ANY (ARRAY['login'::text, 'use'::text, 'validate'::text, 'rekey'::text, 'logout'::text]))),
    CONSTRAINT profile_opening_until_ck CHECK ((until >= opened_at))
);

-- What a person asked for and a worker does with a browser or a key; at most one under way for a profile.
CREATE TABLE byokeep.profile_work (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    profile_id uuid NOT NULL,
    job_id uuid,
    incident_id uuid,
    generation integer,
    kind text NOT NULL,
    state text NOT NULL DEFAULT 'asked'::text,
    reason text NOT NULL DEFAULT ''::text,
    result text NOT NULL DEFAULT ''::text,
    owner uuid,
    beat_at timestamp with time zone,
    asked_by uuid NOT NULL,
    asked_at timestamp with time zone NOT NULL DEFAULT now(),
    confirmed_by uuid,
    confirmed_at timestamp with time zone,
    ended_at timestamp with time zone,
    CONSTRAINT profile_work_client_id_job_id_fk FOREIGN KEY (client_id, job_id) REFERENCES byokeep.job(client_id, id),
    CONSTRAINT profile_work_client_id_profile_id_fk FOREIGN KEY (client_id, profile_id) REFERENCES byokeep.profile(client_id, id),
    CONSTRAINT profile_work_confirmed_ck CHECK (((confirmed_at IS NULL) = (confirmed_by IS NULL))),
    CONSTRAINT profile_work_ended_ck CHECK (((ended_at IS NOT NULL) = (state = ANY (ARRAY['done'::text, 'failed'::text, 'expired'::text, 'cancelled'::text])))),
    CONSTRAINT profile_work_id_uq UNIQUE (id),
    CONSTRAINT profile_work_kind_ck CHECK ((kind = ANY (ARRAY['login'::text, 'validate'::text, 'rekey'::text, 'restore'::text, 'shred'::text, 'logout'::text]))),
    CONSTRAINT profile_work_pk PRIMARY KEY (client_id, id),
    CONSTRAINT profile_work_state_ck CHECK ((state = ANY (ARRAY['asked'::text, 'running'::text, 'waiting'::text, 'confirmed'::text, 'done'::text, 'failed'::text, 'expired'::text, 'cancelled'::text])))
);
CREATE UNIQUE INDEX profile_work_open_uq ON byokeep.profile_work USING btree (client_id, profile_id) WHERE (ended_at IS NULL);

-- What a provider counted, models and numbers, as a worker was told for one report; the record of its run names it.
CREATE TABLE byokeep.provider_usage (
    run_id uuid NOT NULL,
    client_id uuid NOT NULL,
    told text NOT NULL,
    told_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT provider_usage_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT provider_usage_pk PRIMARY KEY (run_id),
    CONSTRAINT provider_usage_run_id_fk FOREIGN KEY (run_id) REFERENCES byokeep.procedure_run(id),
    CONSTRAINT provider_usage_told_ck CHECK ((octet_length(told) <= 4194304))
);

-- The way back of a platform after its grant was lost (core/reenable.py). No row: it was never closed.
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
    changed_at timestamp with time zone NOT NULL DEFAULT now(),
    -- A consent that was begun before leads nowhere.
    closed_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT reenabling_cause_ck CHECK ((cause = ANY (ARRAY['revoked'::text, 'lockout'::text, 'missing_scope'::text, 'chain_broken'::text, 'compromised'::text, 'identity_mismatch'::text, 'identity_unchecked'::text, 'scopes_unchecked'::text, 'canary_failed'::text]))),
    CONSTRAINT reenabling_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT reenabling_numbers_ck CHECK (((number >= 0) AND (done >= 0) AND (taken >= done) AND (way >= 1) AND (revision >= 0))),
    CONSTRAINT reenabling_pk PRIMARY KEY (client_id, platform),
    CONSTRAINT reenabling_platform_ck CHECK ((platform = ANY (ARRAY['meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text, 'skool'::text]))),
    CONSTRAINT reenabling_stage_ck CHECK ((stage = ANY (ARRAY['closed'::text, 'reauthorised'::text, 'identified'::text, 'permitted'::text, 'canary'::text, 'open'::text])))
);

-- The journal of renewals (core/landing.py). The owner names the slots that a reply may lie in; at most one is open.
CREATE TABLE byokeep.refresh_journal (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    account_id uuid NOT NULL,
    base integer NOT NULL,
    phase text NOT NULL,
    lost integer NOT NULL DEFAULT 0,
    sent_at timestamp with time zone,
    owner uuid NOT NULL,
    landing_version integer NOT NULL DEFAULT 0,
    job_id uuid NOT NULL,
    reason text NOT NULL DEFAULT ''::text,
    started_at timestamp with time zone NOT NULL DEFAULT now(),
    ended_at timestamp with time zone,
    CONSTRAINT refresh_journal_client_id_account_id_fk FOREIGN KEY (client_id, account_id) REFERENCES byokeep.account_grant(client_id, account_id),
    CONSTRAINT refresh_journal_client_id_job_id_fk FOREIGN KEY (client_id, job_id) REFERENCES byokeep.job(client_id, id),
    CONSTRAINT refresh_journal_id_uq UNIQUE (id),
    CONSTRAINT refresh_journal_numbers_ck CHECK (((base >= 1) AND (lost >= 0) AND ((phase <> 'sent'::text) OR (sent_at IS NOT NULL)))),
    CONSTRAINT refresh_journal_phase_ck CHECK ((phase = ANY (ARRAY['started'::text, 'sent'::text, 'landed'::text, 'placed'::text, 'closed'::text, 'broken'::text]))),
    CONSTRAINT refresh_journal_pk PRIMARY KEY (client_id, id)
);
CREATE UNIQUE INDEX refresh_journal_open_uq ON byokeep.refresh_journal USING btree (client_id, account_id) WHERE (ended_at IS NULL);

CREATE TABLE byokeep.revocation_item (
    run_id uuid NOT NULL,
    client_id uuid NOT NULL,
    object_id uuid NOT NULL,
    kind text NOT NULL,
    provider text NOT NULL,
    version integer NOT NULL,
    cut_seq bigint NOT NULL,
    state text NOT NULL DEFAULT 'pending'::text,
    cause text NOT NULL DEFAULT ''::text,
    seq bigint,
    settled_by uuid,
    settled_at timestamp with time zone,
    changed_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT revocation_item_cause_ck CHECK ((cause ~ '^[a-z0-9_]{0,63}$'::text)),
    CONSTRAINT revocation_item_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT revocation_item_kind_ck CHECK ((kind = ANY (ARRAY['key'::text, 'account'::text]))),
    CONSTRAINT revocation_item_pk PRIMARY KEY (run_id, object_id, version),
    CONSTRAINT revocation_item_proof_ck CHECK (((state = 'pending'::text) OR (seq IS NOT NULL))),
    CONSTRAINT revocation_item_run_id_fk FOREIGN KEY (run_id) REFERENCES byokeep.procedure_run(id),
    CONSTRAINT revocation_item_state_ck CHECK ((state = ANY (ARRAY['pending'::text, 'revoked'::text, 'unsupported'::text, 'failed'::text, 'unconfirmed'::text])))
);
CREATE INDEX revocation_item_object_ix ON byokeep.revocation_item USING btree (object_id);

-- What is to be done at a later time, as a dispatcher announced it: held while its platform is closed, never dropped.
CREATE TABLE byokeep.scheduled_effect (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    platform text NOT NULL,
    account text NOT NULL,
    lane text NOT NULL,
    effect text NOT NULL,
    idempotency_key text NOT NULL,
    due_at timestamp with time zone NOT NULL DEFAULT now(),
    state text NOT NULL DEFAULT 'scheduled'::text,
    reason text NOT NULL DEFAULT ''::text,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    created_by uuid NOT NULL,
    changed_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT scheduled_effect_account_ck CHECK ((account ~ '^[A-Za-z0-9_.-]{1,64}$'::text)),
    CONSTRAINT scheduled_effect_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT scheduled_effect_client_id_idempotency_key_uq UNIQUE (client_id, idempotency_key),
    CONSTRAINT scheduled_effect_idempotency_key_ck CHECK ((idempotency_key ~ '^[A-Za-z0-9_.:-]{8,64}$'::text)),
    CONSTRAINT scheduled_effect_pk PRIMARY KEY (client_id, id),
    CONSTRAINT scheduled_effect_platform_ck CHECK ((platform = ANY (ARRAY['meta'::text, 'tiktok'::text, 'linkedin'::text, 'youtube'::text, 'x'::text, 'skool'::text]))),
    CONSTRAINT scheduled_effect_state_ck CHECK ((state = ANY (ARRAY['scheduled'::text, 'held'::text, 'missed'::text, 'done'::text, 'cancelled'::text])))
);
CREATE INDEX scheduled_effect_due_ix ON byokeep.scheduled_effect USING btree (due_at) WHERE (state = ANY (ARRAY['scheduled'::text, 'held'::text]));

-- Digest of the functions, triggers, row policies, grants and comments that stand in this database.
CREATE TABLE byokeep.schema_objects (
    digest text NOT NULL,
    -- The oldest revision whose release runs on this schema; a database that an older release laid does not say.
    runs_from text,
    CONSTRAINT schema_objects_digest_ck CHECK ((digest ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT schema_objects_pk PRIMARY KEY (digest),
    CONSTRAINT schema_objects_runs_from_ck CHECK ((runs_from ~ '^[0-9]{4}$'::text))
);

CREATE TABLE byokeep.sop_run (
    id uuid NOT NULL,
    client_id uuid NOT NULL,
    sop text NOT NULL,
    provider text NOT NULL,
    ref_id uuid,
    version integer,
    state text NOT NULL DEFAULT 'running'::text,
    reason text NOT NULL DEFAULT ''::text,
    started_at timestamp with time zone NOT NULL DEFAULT now(),
    closed_at timestamp with time zone,
    started_by uuid NOT NULL,
    write_seq bigint,
    verify_seq bigint,
    leak_seq bigint,
    done_seq bigint,
    store_request text NOT NULL DEFAULT ''::text,
    CONSTRAINT sop_run_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT sop_run_pk PRIMARY KEY (id),
    CONSTRAINT sop_run_sop_ck CHECK ((sop = ANY (ARRAY['onboard_key'::text, 'connect_account'::text, 'create_profile'::text, 'profile_compromise'::text]))),
    CONSTRAINT sop_run_state_ck CHECK ((state = ANY (ARRAY['running'::text, 'complete'::text, 'failed'::text])))
);

CREATE TABLE byokeep.sso_link (
    subject_id uuid NOT NULL,
    identity bytea NOT NULL,
    linked_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    record_seq bigint,
    CONSTRAINT sso_link_identity_ck CHECK ((octet_length(identity) = 32)),
    CONSTRAINT sso_link_identity_uq UNIQUE (identity),
    CONSTRAINT sso_link_pk PRIMARY KEY (subject_id),
    CONSTRAINT sso_link_subject_id_fk FOREIGN KEY (subject_id) REFERENCES byokeep.subject(id)
);

CREATE TABLE byokeep.subject (
    id uuid NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    roles text[] NOT NULL DEFAULT '{}'::text[],
    state text NOT NULL DEFAULT 'active'::text,
    password_phc text,
    all_clients boolean NOT NULL DEFAULT false,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    created_by uuid,
    -- The digest of password_phc; set by objects/subjects.sql alone.
    password_mark text,
    -- The record that says what this row says; set by objects/subjects.sql alone.
    record_seq bigint,
    -- Until when this person approves nothing.
    held_until timestamp with time zone,
    -- Until when an admin whom another stopped counts on as one.
    admin_until timestamp with time zone,
    CONSTRAINT subject_kind_ck CHECK ((kind = ANY (ARRAY['operator'::text, 'machine'::text]))),
    -- Letters, digits, plain punctuation. Nothing secret-shaped fits (25 unbroken characters and more).
    CONSTRAINT subject_name_ck CHECK (((name ~ '^[[:alnum:]][[:alnum:] ._&''()-]{0,79}$'::text) AND (name !~ '[[:alnum:]_-]{25,}'::text))),
    CONSTRAINT subject_password_phc_ck CHECK (((password_phc IS NULL) OR (password_phc ~~ '$argon2id$%'::text))),
    CONSTRAINT subject_pk PRIMARY KEY (id),
    CONSTRAINT subject_roles_ck CHECK ((((kind = 'operator'::text) AND ((roles <@ ARRAY['admin'::text, 'operator'::text, 'approver'::text, 'auditor'::text]) OR ((roles = ARRAY['contact'::text]) AND (NOT all_clients)))) OR ((kind = 'machine'::text) AND (roles <@ ARRAY['dispatcher'::text, 'runner'::text, 'custodian'::text]) AND (cardinality(roles) = 1)))),
    -- R4.1-12, as core/policy.py has it: whoever writes rows past the code gives nobody both sides either.
    CONSTRAINT subject_separate_roles_ck CHECK (((NOT (roles @> ARRAY['operator'::text, 'approver'::text])) AND (NOT (roles @> ARRAY['admin'::text, 'approver'::text])) AND (NOT (roles @> ARRAY['admin'::text, 'operator'::text])) AND (NOT (roles @> ARRAY['admin'::text, 'auditor'::text])) AND (NOT (roles @> ARRAY['operator'::text, 'auditor'::text])))),
    CONSTRAINT subject_state_ck CHECK ((state = ANY (ARRAY['active'::text, 'disabled'::text])))
);
CREATE UNIQUE INDEX subject_name_uq ON byokeep.subject USING btree (name) WHERE (NOT ('contact'::text = ANY (roles)));

CREATE TABLE byokeep.subject_client (
    subject_id uuid NOT NULL,
    client_id uuid NOT NULL,
    CONSTRAINT subject_client_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT subject_client_pk PRIMARY KEY (subject_id, client_id),
    CONSTRAINT subject_client_subject_id_fk FOREIGN KEY (subject_id) REFERENCES byokeep.subject(id)
);

CREATE TABLE byokeep.switch (
    scope text NOT NULL,
    client_id uuid,
    closed boolean NOT NULL,
    epoch bigint NOT NULL,
    reason text NOT NULL,
    by uuid NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT now(),
    installation_id uuid NOT NULL,
    store_cut_off boolean NOT NULL DEFAULT false,
    CONSTRAINT switch_installation_id_fk FOREIGN KEY (installation_id) REFERENCES byokeep.installation(id),
    CONSTRAINT switch_pk PRIMARY KEY (scope),
    CONSTRAINT switch_reason_ck CHECK ((reason ~ '^[a-z][a-z0-9_]{1,62}$'::text))
);

-- A call that a job made with a credential, as its runner told; kept for 35 days.
CREATE TABLE byokeep.tool_call (
    client_id uuid NOT NULL,
    id uuid NOT NULL,
    job_id uuid NOT NULL,
    lease_id uuid NOT NULL,
    provider text NOT NULL,
    tool text NOT NULL,
    outcome text NOT NULL,
    -- Keyed digest of the arguments: equal ones can be told, none read.
    args_digest text,
    at timestamp with time zone NOT NULL,
    told_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT tool_call_args_digest_ck CHECK ((args_digest ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT tool_call_client_id_lease_id_fk FOREIGN KEY (client_id, lease_id) REFERENCES byokeep.lease(client_id, id),
    CONSTRAINT tool_call_outcome_ck CHECK ((outcome = ANY (ARRAY['ok'::text, 'denied'::text, 'limited'::text, 'failed'::text, 'unknown'::text]))),
    CONSTRAINT tool_call_pk PRIMARY KEY (client_id, id),
    CONSTRAINT tool_call_tool_ck CHECK ((tool ~ '^[a-z][a-z0-9_.]{0,63}$'::text))
);
CREATE INDEX tool_call_at_ix ON byokeep.tool_call USING btree (at);
CREATE INDEX tool_call_lease_ix ON byokeep.tool_call USING btree (client_id, lease_id);
CREATE INDEX tool_call_told_at_ix ON byokeep.tool_call USING btree (told_at);

CREATE TABLE byokeep.value_fingerprint (
    ref_id uuid NOT NULL,
    version integer NOT NULL,
    fingerprint text NOT NULL,
    CONSTRAINT value_fingerprint_fingerprint_ck CHECK ((fingerprint ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT value_fingerprint_pk PRIMARY KEY (ref_id, version)
);
CREATE INDEX value_fingerprint_fingerprint_ix ON byokeep.value_fingerprint USING btree (fingerprint);

-- Every move of a key of the vault, beside its audit record (S-NIST-1). A destroyed key's row is its tombstone.
CREATE TABLE byokeep.vault_key_transition (
    id uuid NOT NULL,
    client_id uuid,
    kind text NOT NULL,
    key_id text NOT NULL,
    version integer NOT NULL,
    state_from text NOT NULL,
    state_to text NOT NULL,
    reason text NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT now(),
    by uuid NOT NULL,
    CONSTRAINT vault_key_transition_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client(id),
    CONSTRAINT vault_key_transition_key_id_ck CHECK ((key_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'::text)),
    CONSTRAINT vault_key_transition_kind_ck CHECK ((kind = ANY (ARRAY['dek'::text, 'kek'::text]))),
    CONSTRAINT vault_key_transition_pk PRIMARY KEY (id),
    CONSTRAINT vault_key_transition_state_to_ck CHECK ((state_to = ANY (ARRAY['pre_activation'::text, 'active'::text, 'suspended'::text, 'deactivated'::text, 'compromised'::text, 'destroyed'::text])))
);
CREATE INDEX vault_key_transition_key_ix ON byokeep.vault_key_transition USING btree (kind, key_id, version);
