-- The tables of revision 0001, frozen.

CREATE TABLE byokeep.alert (
    id UUID NOT NULL,
    client_id UUID,
    object_id UUID,
    reason TEXT NOT NULL,
    severity TEXT NOT NULL,
    dedup_key TEXT NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    closed_by UUID,
    count INTEGER DEFAULT 1 NOT NULL,
    CONSTRAINT alert_pk PRIMARY KEY (id),
    CONSTRAINT alert_severity_ck CHECK (severity IN ('info', 'warning', 'critical'))
);

CREATE UNIQUE INDEX alert_open_uq ON byokeep.alert (dedup_key) WHERE closed_at IS NULL;

CREATE TABLE byokeep.approval (
    id UUID NOT NULL,
    action TEXT NOT NULL,
    scope TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    reason TEXT NOT NULL,
    requested_by UUID NOT NULL,
    approved_by UUID,
    requested_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    approved_at TIMESTAMP WITH TIME ZONE,
    used_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT approval_pk PRIMARY KEY (id),
    CONSTRAINT approval_action_ck CHECK (action IN ('open_switch')),
    CONSTRAINT approval_two_people_ck CHECK (approved_by IS NULL OR approved_by <> requested_by)
);

CREATE TABLE byokeep.audit_epoch (
    number BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    leaf BYTEA NOT NULL,
    heads BYTEA NOT NULL,
    CONSTRAINT audit_epoch_pk PRIMARY KEY (number)
);

CREATE TABLE byokeep.audit_head (
    chain UUID NOT NULL,
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT audit_head_pk PRIMARY KEY (chain)
);

CREATE TABLE byokeep.audit_record (
    chain UUID NOT NULL,
    seq BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    event TEXT NOT NULL,
    actor_id UUID NOT NULL,
    object_id UUID,
    request_id UUID NOT NULL,
    outcome TEXT NOT NULL,
    writer TEXT NOT NULL,
    payload BYTEA NOT NULL,
    hash BYTEA NOT NULL,
    CONSTRAINT audit_record_pk PRIMARY KEY (chain, seq)
);

CREATE INDEX audit_record_at_ix ON byokeep.audit_record (at);

CREATE INDEX audit_record_object_ix ON byokeep.audit_record (chain, object_id);

CREATE TABLE byokeep.audit_vocabulary (
    event TEXT NOT NULL,
    writers TEXT[] DEFAULT '{}' NOT NULL,
    CONSTRAINT audit_vocabulary_pk PRIMARY KEY (event)
);

CREATE TABLE byokeep.client (
    id UUID NOT NULL,
    name TEXT NOT NULL,
    state TEXT DEFAULT 'enrolling' NOT NULL,
    risk TEXT DEFAULT 'standard' NOT NULL,
    entity_id TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_by UUID NOT NULL,
    CONSTRAINT client_pk PRIMARY KEY (id),
    CONSTRAINT client_name_uq UNIQUE (name),
    CONSTRAINT client_name_ck CHECK (name ~ '^[[:alnum:]][[:alnum:] ._&''()-]{0,79}$' AND name !~ '[[:alnum:]_-]{25,}'),
    CONSTRAINT client_state_ck CHECK (state IN ('enrolling', 'active', 'suspended', 'closed')),
    CONSTRAINT client_risk_ck CHECK (risk IN ('standard', 'high'))
);

CREATE TABLE byokeep.installation (
    id UUID NOT NULL,
    environment TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    singleton BOOLEAN DEFAULT true NOT NULL,
    CONSTRAINT installation_pk PRIMARY KEY (id),
    CONSTRAINT installation_singleton_ck CHECK (singleton),
    CONSTRAINT installation_environment_ck CHECK (environment IN ('production', 'staging', 'development')),
    CONSTRAINT installation_singleton_uq UNIQUE (singleton)
);

CREATE TABLE byokeep.schema_objects (
    digest TEXT NOT NULL,
    CONSTRAINT schema_objects_pk PRIMARY KEY (digest),
    CONSTRAINT schema_objects_digest_ck CHECK (digest ~ '^[0-9a-f]{64}$')
);

CREATE TABLE byokeep.subject (
    id UUID NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    roles TEXT[] DEFAULT '{}' NOT NULL,
    state TEXT DEFAULT 'active' NOT NULL,
    password_phc TEXT,
    all_clients BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_by UUID,
    CONSTRAINT subject_pk PRIMARY KEY (id),
    CONSTRAINT subject_name_uq UNIQUE (name),
    CONSTRAINT subject_name_ck CHECK (name ~ '^[[:alnum:]][[:alnum:] ._&''()-]{0,79}$' AND name !~ '[[:alnum:]_-]{25,}'),
    CONSTRAINT subject_kind_ck CHECK (kind IN ('operator', 'machine')),
    CONSTRAINT subject_state_ck CHECK (state IN ('active', 'disabled')),
    CONSTRAINT subject_roles_ck CHECK (kind = 'operator' AND roles <@ ARRAY['admin','operator','approver','auditor'] OR kind = 'machine' AND roles <@ ARRAY['dispatcher','runner','custodian'] AND cardinality(roles) = 1),
    CONSTRAINT subject_password_phc_ck CHECK (password_phc IS NULL OR password_phc LIKE '$argon2id$%')
);

CREATE TABLE byokeep.value_fingerprint (
    ref_id UUID NOT NULL,
    version INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    CONSTRAINT value_fingerprint_pk PRIMARY KEY (ref_id, version),
    CONSTRAINT value_fingerprint_fingerprint_ck CHECK (fingerprint ~ '^[0-9a-f]{64}$')
);

CREATE INDEX value_fingerprint_fingerprint_ix ON byokeep.value_fingerprint (fingerprint);

CREATE TABLE byokeep.api_token (
    id UUID NOT NULL,
    subject_id UUID NOT NULL,
    keyed_hash BYTEA NOT NULL,
    kind TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT api_token_pk PRIMARY KEY (id),
    CONSTRAINT api_token_kind_ck CHECK (kind IN ('api', 'session')),
    CONSTRAINT api_token_keyed_hash_ck CHECK (octet_length(keyed_hash) = 32),
    CONSTRAINT api_token_expires_at_ck CHECK (expires_at > created_at AND expires_at <= created_at + interval '90 days'),
    CONSTRAINT api_token_subject_id_fk FOREIGN KEY(subject_id) REFERENCES byokeep.subject (id),
    CONSTRAINT api_token_keyed_hash_uq UNIQUE (keyed_hash)
);

CREATE TABLE byokeep.credential_ref (
    id UUID NOT NULL,
    client_id UUID NOT NULL,
    provider TEXT NOT NULL,
    kind TEXT NOT NULL,
    purpose TEXT DEFAULT 'default' NOT NULL,
    environment TEXT NOT NULL,
    secret_ref TEXT NOT NULL,
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    verification TEXT NOT NULL,
    risk TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_by UUID NOT NULL,
    rotation_due_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT credential_ref_pk PRIMARY KEY (client_id, id),
    CONSTRAINT credential_ref_id_uq UNIQUE (id),
    CONSTRAINT credential_ref_provider_ck CHECK (provider IN ('google', 'anthropic', 'openai', 'openrouter', 'heygen', 'kie', 'meta', 'tiktok', 'linkedin', 'youtube', 'x', 'skool')),
    CONSTRAINT credential_ref_kind_ck CHECK (kind IN ('provider_api_key', 'oauth_token_set', 'session_cookie', 'webhook_signing_secret', 'internal_service_token', 'database_credential')),
    CONSTRAINT credential_ref_environment_ck CHECK (environment IN ('production', 'staging', 'development')),
    CONSTRAINT credential_ref_state_ck CHECK (state IN ('pre_activation', 'active', 'suspended', 'deactivated', 'compromised', 'destroyed')),
    CONSTRAINT credential_ref_verification_ck CHECK (verification IN ('pending', 'verified', 'failed', 'quarantined')),
    CONSTRAINT credential_ref_risk_ck CHECK (risk IN ('standard', 'high')),
    CONSTRAINT credential_ref_version_ck CHECK (version >= 1),
    CONSTRAINT credential_ref_purpose_ck CHECK (purpose ~ '^[a-z][a-z0-9_]{0,31}$'),
    CONSTRAINT credential_ref_secret_ref_ck CHECK (secret_ref = 'vault://kv/clients/' || client_id::text || '/providers/' || provider),
    CONSTRAINT credential_ref_rotation_due_at_ck CHECK (rotation_due_at > created_at AND rotation_due_at <= created_at + interval '400 days'),
    CONSTRAINT credential_ref_client_id_fk FOREIGN KEY(client_id) REFERENCES byokeep.client (id)
);

CREATE UNIQUE INDEX credential_ref_one_live_uq ON byokeep.credential_ref (client_id, provider, purpose) WHERE state IN ('pre_activation','active','suspended');

CREATE TABLE byokeep.job (
    id UUID NOT NULL,
    client_id UUID NOT NULL,
    dispatcher_id UUID NOT NULL,
    runner_id UUID NOT NULL,
    kind TEXT NOT NULL,
    secrets TEXT[] DEFAULT '{}' NOT NULL,
    platforms TEXT[] DEFAULT '{}' NOT NULL,
    lanes TEXT[] DEFAULT '{}' NOT NULL,
    effects TEXT[] DEFAULT '{}' NOT NULL,
    state TEXT DEFAULT 'open' NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT job_pk PRIMARY KEY (client_id, id),
    CONSTRAINT job_id_uq UNIQUE (id),
    CONSTRAINT job_kind_ck CHECK (kind IN ('use', 'custody')),
    CONSTRAINT job_state_ck CHECK (state IN ('open', 'closed', 'expired', 'killed')),
    CONSTRAINT job_custody_has_no_effects_ck CHECK (kind = 'use' OR effects = '{}'),
    CONSTRAINT job_expires_at_ck CHECK (expires_at > opened_at AND expires_at <= opened_at + interval '24 hours'),
    CONSTRAINT job_client_id_fk FOREIGN KEY(client_id) REFERENCES byokeep.client (id),
    CONSTRAINT job_dispatcher_id_fk FOREIGN KEY(dispatcher_id) REFERENCES byokeep.subject (id),
    CONSTRAINT job_runner_id_fk FOREIGN KEY(runner_id) REFERENCES byokeep.subject (id)
);

CREATE TABLE byokeep.platform_account (
    id UUID NOT NULL,
    client_id UUID NOT NULL,
    platform TEXT NOT NULL,
    account TEXT NOT NULL,
    username TEXT NOT NULL,
    display_name TEXT NOT NULL,
    lanes TEXT[] DEFAULT '{}' NOT NULL,
    identified_at TIMESTAMP WITH TIME ZONE,
    identity TEXT DEFAULT 'unchecked' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_by UUID NOT NULL,
    CONSTRAINT platform_account_pk PRIMARY KEY (client_id, id),
    CONSTRAINT platform_account_client_id_platform_account_uq UNIQUE (client_id, platform, account),
    CONSTRAINT platform_account_platform_ck CHECK (platform IN ('meta', 'tiktok', 'linkedin', 'youtube', 'x', 'skool')),
    CONSTRAINT platform_account_identity_ck CHECK (identity IN ('unchecked', 'match', 'mismatch', 'unknown')),
    CONSTRAINT platform_account_account_ck CHECK (account ~ '^[A-Za-z0-9_.-]{1,64}$'),
    CONSTRAINT platform_account_username_ck CHECK (username ~ '^[A-Za-z0-9_.@-]{1,64}$'),
    CONSTRAINT platform_account_display_name_ck CHECK (display_name ~ '^[[:alnum:]][[:alnum:] ._&''()-]{0,79}$'),
    CONSTRAINT platform_account_client_id_fk FOREIGN KEY(client_id) REFERENCES byokeep.client (id)
);

CREATE TABLE byokeep.sop_run (
    id UUID NOT NULL,
    client_id UUID NOT NULL,
    sop TEXT NOT NULL,
    provider TEXT NOT NULL,
    ref_id UUID,
    version INTEGER,
    state TEXT DEFAULT 'running' NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    started_by UUID NOT NULL,
    write_seq BIGINT,
    verify_seq BIGINT,
    leak_seq BIGINT,
    done_seq BIGINT,
    store_request TEXT DEFAULT '' NOT NULL,
    CONSTRAINT sop_run_pk PRIMARY KEY (id),
    CONSTRAINT sop_run_sop_ck CHECK (sop IN ('onboard_key')),
    CONSTRAINT sop_run_state_ck CHECK (state IN ('running', 'complete', 'failed')),
    CONSTRAINT sop_run_client_id_fk FOREIGN KEY(client_id) REFERENCES byokeep.client (id)
);

CREATE TABLE byokeep.subject_client (
    subject_id UUID NOT NULL,
    client_id UUID NOT NULL,
    CONSTRAINT subject_client_pk PRIMARY KEY (subject_id, client_id),
    CONSTRAINT subject_client_subject_id_fk FOREIGN KEY(subject_id) REFERENCES byokeep.subject (id),
    CONSTRAINT subject_client_client_id_fk FOREIGN KEY(client_id) REFERENCES byokeep.client (id)
);

CREATE TABLE byokeep.switch (
    scope TEXT NOT NULL,
    client_id UUID,
    closed BOOLEAN NOT NULL,
    epoch BIGINT NOT NULL,
    reason TEXT NOT NULL,
    by UUID NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    installation_id UUID NOT NULL,
    store_cut_off BOOLEAN DEFAULT false NOT NULL,
    CONSTRAINT switch_pk PRIMARY KEY (scope),
    CONSTRAINT switch_reason_ck CHECK (reason ~ '^[a-z][a-z0-9_]{1,62}$'),
    CONSTRAINT switch_installation_id_fk FOREIGN KEY(installation_id) REFERENCES byokeep.installation (id)
);

CREATE TABLE byokeep.key_transition (
    id UUID NOT NULL,
    client_id UUID NOT NULL,
    ref_id UUID NOT NULL,
    state_from TEXT NOT NULL,
    state_to TEXT NOT NULL,
    reason TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    by UUID NOT NULL,
    CONSTRAINT key_transition_pk PRIMARY KEY (id),
    CONSTRAINT key_transition_client_id_ref_id_fk FOREIGN KEY(client_id, ref_id) REFERENCES byokeep.credential_ref (client_id, id)
);

CREATE TABLE byokeep.lease (
    id UUID NOT NULL,
    client_id UUID NOT NULL,
    job_id UUID NOT NULL,
    runner_id UUID NOT NULL,
    kind TEXT NOT NULL,
    secrets TEXT[] DEFAULT '{}' NOT NULL,
    jwt_iat BIGINT NOT NULL,
    jwt_exp BIGINT NOT NULL,
    issued_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT lease_pk PRIMARY KEY (client_id, id),
    CONSTRAINT lease_id_uq UNIQUE (id),
    CONSTRAINT lease_client_id_job_id_fk FOREIGN KEY(client_id, job_id) REFERENCES byokeep.job (client_id, id),
    CONSTRAINT lease_kind_ck CHECK (kind IN ('use', 'custody', 'enroll'))
);

CREATE INDEX lease_issued_at_ix ON byokeep.lease (issued_at);

CREATE TABLE byokeep.permit (
    id UUID NOT NULL,
    client_id UUID NOT NULL,
    job_id UUID NOT NULL,
    lease_id UUID NOT NULL,
    platform TEXT NOT NULL,
    account TEXT NOT NULL,
    lane TEXT NOT NULL,
    effect TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    state TEXT DEFAULT 'issued' NOT NULL,
    issued_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT permit_pk PRIMARY KEY (client_id, id),
    CONSTRAINT permit_id_uq UNIQUE (id),
    CONSTRAINT permit_client_id_job_id_fk FOREIGN KEY(client_id, job_id) REFERENCES byokeep.job (client_id, id),
    CONSTRAINT permit_client_id_lease_id_fk FOREIGN KEY(client_id, lease_id) REFERENCES byokeep.lease (client_id, id),
    CONSTRAINT permit_state_ck CHECK (state IN ('issued', 'done', 'failed', 'unknown')),
    CONSTRAINT permit_idempotency_key_ck CHECK (idempotency_key ~ '^[A-Za-z0-9_.:-]{8,64}$')
);

CREATE UNIQUE INDEX permit_idempotency_uq ON byokeep.permit (client_id, idempotency_key) WHERE state <> 'failed';
