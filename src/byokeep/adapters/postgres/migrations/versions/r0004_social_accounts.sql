-- Accounts on social platforms, frozen; see tables.py and tables_social.py.

ALTER TABLE byokeep.credential_ref
    ADD COLUMN account_id UUID, ADD COLUMN previous_version INTEGER, ADD COLUMN previous_until TIMESTAMP WITH TIME ZONE,
    DROP CONSTRAINT credential_ref_secret_ref_ck,
    ADD CONSTRAINT credential_ref_client_id_account_id_fk FOREIGN KEY(client_id, account_id)
        REFERENCES byokeep.platform_account (client_id, id),
    ADD CONSTRAINT credential_ref_secret_ref_ck CHECK (secret_ref = 'vault://kv/clients/' || client_id::text || '/providers/' || provider || CASE kind WHEN 'oauth_token_set' THEN '/accounts/' || account_id::text || '/tokens' WHEN 'webhook_signing_secret' THEN '/webhook' ELSE '' END),
    ADD CONSTRAINT credential_ref_belongs_ck CHECK ((kind = 'oauth_token_set') = (account_id IS NOT NULL) AND (kind = 'oauth_token_set') = (purpose = 'account') AND (kind = 'webhook_signing_secret') = (purpose = 'webhook')),
    ADD CONSTRAINT credential_ref_previous_ck CHECK ((previous_version IS NULL) = (previous_until IS NULL));
DROP INDEX byokeep.credential_ref_one_live_uq;
CREATE UNIQUE INDEX credential_ref_one_live_uq ON byokeep.credential_ref (client_id, provider, purpose) WHERE state IN ('pre_activation','active','suspended') AND account_id IS NULL;
CREATE UNIQUE INDEX credential_ref_account_live_uq ON byokeep.credential_ref (client_id, account_id) WHERE state IN ('pre_activation','active','suspended') AND account_id IS NOT NULL;

ALTER TABLE byokeep.sop_run
    DROP CONSTRAINT sop_run_sop_ck,
    ADD CONSTRAINT sop_run_sop_ck CHECK (sop IN ('onboard_key', 'connect_account'));
ALTER TABLE byokeep.platform_account
    DROP CONSTRAINT platform_account_username_ck, DROP CONSTRAINT platform_account_display_name_ck,
    ADD CONSTRAINT platform_account_username_ck CHECK (length(username) <= 400 AND username !~ '[[:cntrl:]]'),
    ADD CONSTRAINT platform_account_display_name_ck CHECK (length(display_name) <= 400 AND display_name !~ '[[:cntrl:]]');
ALTER TABLE byokeep.approval
    DROP CONSTRAINT approval_action_ck,
    ADD CONSTRAINT approval_action_ck CHECK (action IN ('open_switch', 'start_canary'));
ALTER TABLE byokeep.permit ADD COLUMN way INTEGER, ADD COLUMN stage INTEGER;

CREATE TABLE byokeep.platform_app (
    login TEXT NOT NULL,
    provider TEXT NOT NULL,
    environment TEXT NOT NULL,
    app_id TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    secret_version INTEGER NOT NULL,
    set_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    set_by UUID NOT NULL,
    CONSTRAINT platform_app_pk PRIMARY KEY (login),
    CONSTRAINT platform_app_login_ck CHECK (login ~ '^[a-z][a-z0-9_]{0,31}$'),
    CONSTRAINT platform_app_provider_ck CHECK (provider IN ('meta', 'tiktok', 'linkedin', 'youtube', 'x')),
    CONSTRAINT platform_app_environment_ck CHECK (environment IN ('production', 'staging', 'development')),
    CONSTRAINT platform_app_app_id_ck CHECK (length(app_id) <= 256 AND app_id ~ '^[!-~]+$'),
    CONSTRAINT platform_app_redirect_uri_ck CHECK (length(redirect_uri) <= 400 AND redirect_uri ~ '^(https://|http://(127[.]0[.]0[.]1|localhost)[:/])[!-~]+$'),
    CONSTRAINT platform_app_secret_version_ck CHECK (secret_version >= 0)
);

CREATE TABLE byokeep.account_grant (
    client_id UUID NOT NULL,
    account_id UUID NOT NULL,
    provider TEXT NOT NULL,
    login TEXT NOT NULL,
    app_id TEXT NOT NULL,
    external_id TEXT NOT NULL,
    username TEXT,
    display_name TEXT,
    link TEXT,
    state TEXT NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    version INTEGER NOT NULL,
    access_version INTEGER DEFAULT 0 NOT NULL,
    purposes TEXT[] DEFAULT '{}' NOT NULL,
    scopes TEXT[] DEFAULT '{}' NOT NULL,
    scopes_known BOOLEAN NOT NULL,
    obtained_by UUID NOT NULL,
    obtained_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    access_expires_at TIMESTAMP WITH TIME ZONE,
    refresh_expires_at TIMESTAMP WITH TIME ZONE,
    consent_expires_at TIMESTAMP WITH TIME ZONE,
    reauth_at TIMESTAMP WITH TIME ZONE,
    alarm_at TIMESTAMP WITH TIME ZONE,
    due_at TIMESTAMP WITH TIME ZONE,
    tries INTEGER DEFAULT 0 NOT NULL,
    verified_at TIMESTAMP WITH TIME ZONE,
    drift BOOLEAN DEFAULT false NOT NULL,
    connected_seq BIGINT,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT account_grant_pk PRIMARY KEY (client_id, account_id),
    CONSTRAINT account_grant_client_id_account_id_fk FOREIGN KEY(client_id, account_id) REFERENCES byokeep.platform_account (client_id, id),
    CONSTRAINT account_grant_provider_ck CHECK (provider IN ('meta', 'tiktok', 'linkedin', 'youtube', 'x')),
    CONSTRAINT account_grant_state_ck CHECK (state IN ('unverified', 'live', 'needs_reauth', 'revoked')),
    CONSTRAINT account_grant_external_id_ck CHECK (length(external_id) <= 256 AND external_id ~ '^[!-~]+$'),
    CONSTRAINT account_grant_numbers_ck CHECK (version >= 1 AND access_version >= 0 AND tries >= 0)
);

CREATE INDEX account_grant_due_ix ON byokeep.account_grant (due_at) WHERE state = 'live';

CREATE UNIQUE INDEX account_grant_one_client_uq ON byokeep.account_grant (login, external_id) WHERE state <> 'revoked';

CREATE TABLE byokeep.connection (
    id UUID NOT NULL,
    client_id UUID NOT NULL,
    account_id UUID NOT NULL,
    job_id UUID NOT NULL,
    sop_id UUID NOT NULL,
    login TEXT NOT NULL,
    purposes TEXT[] DEFAULT '{}' NOT NULL,
    state_hash BYTEA NOT NULL,
    binding_hash BYTEA NOT NULL,
    redirect_uri TEXT NOT NULL,
    wanted TEXT,
    replaces INTEGER,
    state TEXT DEFAULT 'started' NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    started_by UUID NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    answered_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    request_id UUID NOT NULL,
    CONSTRAINT connection_pk PRIMARY KEY (client_id, id),
    CONSTRAINT connection_id_uq UNIQUE (id),
    CONSTRAINT connection_client_id_account_id_fk FOREIGN KEY(client_id, account_id) REFERENCES byokeep.platform_account (client_id, id),
    CONSTRAINT connection_client_id_job_id_fk FOREIGN KEY(client_id, job_id) REFERENCES byokeep.job (client_id, id),
    CONSTRAINT connection_state_ck CHECK (state IN ('started', 'answered', 'taken', 'connected', 'failed', 'quarantined', 'expired')),
    CONSTRAINT connection_digests_ck CHECK (octet_length(state_hash) = 32 AND octet_length(binding_hash) = 32),
    CONSTRAINT connection_expires_at_ck CHECK (expires_at > started_at AND expires_at <= started_at + interval '15 minutes'),
    CONSTRAINT connection_client_id_fk FOREIGN KEY(client_id) REFERENCES byokeep.client (id),
    CONSTRAINT connection_state_hash_uq UNIQUE (state_hash)
);

CREATE INDEX connection_answered_ix ON byokeep.connection (answered_at) WHERE state IN ('answered', 'taken');

CREATE TABLE byokeep.refresh_journal (
    id UUID NOT NULL,
    client_id UUID NOT NULL,
    account_id UUID NOT NULL,
    base INTEGER NOT NULL,
    phase TEXT NOT NULL,
    lost INTEGER DEFAULT 0 NOT NULL,
    sent_at TIMESTAMP WITH TIME ZONE,
    owner UUID NOT NULL,
    landing_version INTEGER DEFAULT 0 NOT NULL,
    job_id UUID NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT refresh_journal_pk PRIMARY KEY (client_id, id),
    CONSTRAINT refresh_journal_id_uq UNIQUE (id),
    CONSTRAINT refresh_journal_client_id_account_id_fk FOREIGN KEY(client_id, account_id) REFERENCES byokeep.account_grant (client_id, account_id),
    CONSTRAINT refresh_journal_client_id_job_id_fk FOREIGN KEY(client_id, job_id) REFERENCES byokeep.job (client_id, id),
    CONSTRAINT refresh_journal_phase_ck CHECK (phase IN ('started', 'sent', 'landed', 'placed', 'closed', 'broken')),
    CONSTRAINT refresh_journal_numbers_ck CHECK (base >= 1 AND lost >= 0 AND (phase <> 'sent' OR sent_at IS NOT NULL))
);

CREATE UNIQUE INDEX refresh_journal_open_uq ON byokeep.refresh_journal (client_id, account_id) WHERE ended_at IS NULL;

CREATE TABLE byokeep.reenabling (
    client_id UUID NOT NULL,
    platform TEXT NOT NULL,
    cause TEXT NOT NULL,
    stage TEXT NOT NULL,
    stages INTEGER[] NOT NULL,
    number INTEGER NOT NULL,
    taken INTEGER NOT NULL,
    done INTEGER NOT NULL,
    way INTEGER NOT NULL,
    revision BIGINT NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT reenabling_pk PRIMARY KEY (client_id, platform),
    CONSTRAINT reenabling_platform_ck CHECK (platform IN ('meta', 'tiktok', 'linkedin', 'youtube', 'x', 'skool')),
    CONSTRAINT reenabling_cause_ck CHECK (cause IN ('revoked', 'lockout', 'missing_scope', 'chain_broken', 'compromised', 'identity_mismatch', 'identity_unchecked', 'scopes_unchecked', 'canary_failed')),
    CONSTRAINT reenabling_stage_ck CHECK (stage IN ('closed', 'reauthorised', 'identified', 'permitted', 'canary', 'open')),
    CONSTRAINT reenabling_numbers_ck CHECK (number >= 0 AND done >= 0 AND taken >= done AND way >= 1 AND revision >= 0),
    CONSTRAINT reenabling_client_id_fk FOREIGN KEY(client_id) REFERENCES byokeep.client (id)
);

CREATE TABLE byokeep.scheduled_effect (
    id UUID NOT NULL,
    client_id UUID NOT NULL,
    platform TEXT NOT NULL,
    account TEXT NOT NULL,
    lane TEXT NOT NULL,
    effect TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    state TEXT DEFAULT 'scheduled' NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_by UUID NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT scheduled_effect_pk PRIMARY KEY (client_id, id),
    CONSTRAINT scheduled_effect_client_id_idempotency_key_uq UNIQUE (client_id, idempotency_key),
    CONSTRAINT scheduled_effect_platform_ck CHECK (platform IN ('meta', 'tiktok', 'linkedin', 'youtube', 'x', 'skool')),
    CONSTRAINT scheduled_effect_state_ck CHECK (state IN ('scheduled', 'held', 'missed', 'done', 'cancelled')),
    CONSTRAINT scheduled_effect_account_ck CHECK (account ~ '^[A-Za-z0-9_.-]{1,64}$'),
    CONSTRAINT scheduled_effect_idempotency_key_ck CHECK (idempotency_key ~ '^[A-Za-z0-9_.:-]{8,64}$'),
    CONSTRAINT scheduled_effect_client_id_fk FOREIGN KEY(client_id) REFERENCES byokeep.client (id)
);

CREATE INDEX scheduled_effect_due_ix ON byokeep.scheduled_effect (due_at) WHERE state IN ('scheduled', 'held');

