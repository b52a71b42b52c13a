-- Browser profiles and their keys, frozen; see tables_profiles.py.

ALTER TABLE byokeep.job ADD COLUMN sealing_at TIMESTAMP WITH TIME ZONE;
ALTER TABLE byokeep.sop_run
    DROP CONSTRAINT sop_run_sop_ck,
    ADD CONSTRAINT sop_run_sop_ck CHECK (sop IN ('onboard_key', 'connect_account', 'create_profile', 'profile_compromise'));

CREATE INDEX audit_record_store_ix ON byokeep.audit_record (at) WHERE event IN ('key.write', 'key.stored', 'tokens.stored', 'webhook_secret.stored', 'connection.started', 'connection.answered', 'platform_app.set', 'profile.sealed', 'kek.rewrapped', 'installation.created', 'service.started', 'config.changed');

CREATE TABLE byokeep.profile (
    id UUID NOT NULL,
    client_id UUID NOT NULL,
    packing TEXT NOT NULL,
    state TEXT DEFAULT 'created' NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    generation INTEGER DEFAULT 0 NOT NULL,
    epoch BIGINT DEFAULT 0 NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_by UUID NOT NULL,
    confirmed_at TIMESTAMP WITH TIME ZONE,
    confirmed_by UUID,
    validated_generation INTEGER DEFAULT 0 NOT NULL,
    validated_at TIMESTAMP WITH TIME ZONE,
    due_at TIMESTAMP WITH TIME ZONE,
    due_cause TEXT DEFAULT '' NOT NULL,
    replaces UUID,
    CONSTRAINT profile_pk PRIMARY KEY (client_id, id),
    CONSTRAINT profile_id_uq UNIQUE (id),
    CONSTRAINT profile_client_id_replaces_fk FOREIGN KEY(client_id, replaces) REFERENCES byokeep.profile (client_id, id),
    CONSTRAINT profile_packing_ck CHECK (packing IN ('portable', 'full')),
    CONSTRAINT profile_state_ck CHECK (state IN ('created', 'confirmed', 'sealed', 'valid', 'quarantined', 'retired', 'shredded')),
    CONSTRAINT profile_confirmed_ck CHECK ((confirmed_at IS NULL) = (confirmed_by IS NULL)),
    CONSTRAINT profile_numbers_ck CHECK (generation >= 0 AND epoch >= 0 AND validated_generation BETWEEN 0 AND generation),
    CONSTRAINT profile_sealed_after_confirmed_ck CHECK (generation = 0 OR confirmed_at IS NOT NULL),
    CONSTRAINT profile_client_id_fk FOREIGN KEY(client_id) REFERENCES byokeep.client (id)
);

CREATE TABLE byokeep.profile_account (
    client_id UUID NOT NULL,
    profile_id UUID NOT NULL,
    account_id UUID NOT NULL,
    platform TEXT NOT NULL,
    retired_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT profile_account_pk PRIMARY KEY (client_id, profile_id, account_id),
    CONSTRAINT profile_account_client_id_profile_id_platform_uq UNIQUE (client_id, profile_id, platform),
    CONSTRAINT profile_account_client_id_profile_id_fk FOREIGN KEY(client_id, profile_id) REFERENCES byokeep.profile (client_id, id),
    CONSTRAINT profile_account_client_id_account_id_fk FOREIGN KEY(client_id, account_id) REFERENCES byokeep.platform_account (client_id, id),
    CONSTRAINT profile_account_platform_ck CHECK (platform IN ('meta', 'tiktok', 'linkedin', 'youtube', 'x', 'skool'))
);

CREATE UNIQUE INDEX profile_account_live_uq ON byokeep.profile_account (client_id, account_id) WHERE retired_at IS NULL;

CREATE TABLE byokeep.profile_generation (
    client_id UUID NOT NULL,
    profile_id UUID NOT NULL,
    generation INTEGER NOT NULL,
    dek_id UUID NOT NULL,
    holder TEXT NOT NULL,
    kek_id TEXT NOT NULL,
    kek_version INTEGER NOT NULL,
    blob_key TEXT NOT NULL,
    blob_sha256 BYTEA NOT NULL,
    blob_size BIGINT NOT NULL,
    packed_size BIGINT NOT NULL,
    manifest_hash BYTEA NOT NULL,
    record_version INTEGER NOT NULL,
    browser_version TEXT NOT NULL,
    key_state TEXT DEFAULT 'active' NOT NULL,
    sealed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    sealed_by UUID NOT NULL,
    job_id UUID NOT NULL,
    store_request TEXT DEFAULT '' NOT NULL,
    gone_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT profile_generation_pk PRIMARY KEY (client_id, profile_id, generation),
    CONSTRAINT profile_generation_dek_id_uq UNIQUE (dek_id),
    CONSTRAINT profile_generation_blob_key_uq UNIQUE (blob_key),
    CONSTRAINT profile_generation_client_id_profile_id_fk FOREIGN KEY(client_id, profile_id) REFERENCES byokeep.profile (client_id, id),
    CONSTRAINT profile_generation_client_id_job_id_fk FOREIGN KEY(client_id, job_id) REFERENCES byokeep.job (client_id, id),
    CONSTRAINT profile_generation_holder_ck CHECK (holder IN ('transit', 'aws', 'pkcs11')),
    CONSTRAINT profile_generation_key_state_ck CHECK (key_state IN ('pre_activation', 'active', 'suspended', 'deactivated', 'compromised', 'destroyed')),
    CONSTRAINT profile_generation_digests_ck CHECK (octet_length(blob_sha256) = 32 AND octet_length(manifest_hash) = 32),
    CONSTRAINT profile_generation_numbers_ck CHECK (generation >= 1 AND kek_version >= 1 AND record_version >= 1 AND blob_size > 0 AND packed_size >= 0)
);

CREATE INDEX profile_generation_kek_ix ON byokeep.profile_generation (holder, kek_id, kek_version) WHERE key_state <> 'destroyed';

CREATE TABLE byokeep.profile_opening (
    client_id UUID NOT NULL,
    profile_id UUID NOT NULL,
    epoch BIGINT NOT NULL,
    generation INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    job_id UUID NOT NULL,
    opener_id UUID NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    until TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT profile_opening_pk PRIMARY KEY (client_id, profile_id),
    CONSTRAINT profile_opening_client_id_profile_id_fk FOREIGN KEY(client_id, profile_id) REFERENCES byokeep.profile (client_id, id),
    CONSTRAINT profile_opening_client_id_job_id_fk FOREIGN KEY(client_id, job_id) REFERENCES byokeep.job (client_id, id),
    CONSTRAINT profile_opening_purpose_ck CHECK (purpose IN ('login', 'use', 'validate', 'rekey', 'logout')),
    CONSTRAINT profile_opening_until_ck CHECK (until >= opened_at)
);

CREATE TABLE byokeep.profile_work (
    id UUID NOT NULL,
    client_id UUID NOT NULL,
    profile_id UUID NOT NULL,
    job_id UUID,
    incident_id UUID,
    generation INTEGER,
    kind TEXT NOT NULL,
    state TEXT DEFAULT 'asked' NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    result TEXT DEFAULT '' NOT NULL,
    owner UUID,
    beat_at TIMESTAMP WITH TIME ZONE,
    asked_by UUID NOT NULL,
    asked_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    confirmed_by UUID,
    confirmed_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT profile_work_pk PRIMARY KEY (client_id, id),
    CONSTRAINT profile_work_id_uq UNIQUE (id),
    CONSTRAINT profile_work_client_id_profile_id_fk FOREIGN KEY(client_id, profile_id) REFERENCES byokeep.profile (client_id, id),
    CONSTRAINT profile_work_client_id_job_id_fk FOREIGN KEY(client_id, job_id) REFERENCES byokeep.job (client_id, id),
    CONSTRAINT profile_work_kind_ck CHECK (kind IN ('login', 'validate', 'rekey', 'restore', 'shred', 'logout')),
    CONSTRAINT profile_work_state_ck CHECK (state IN ('asked', 'running', 'waiting', 'confirmed', 'done', 'failed', 'expired', 'cancelled')),
    CONSTRAINT profile_work_confirmed_ck CHECK ((confirmed_at IS NULL) = (confirmed_by IS NULL)),
    CONSTRAINT profile_work_ended_ck CHECK ((ended_at IS NOT NULL) = (state IN ('done', 'failed', 'expired', 'cancelled')))
);

CREATE UNIQUE INDEX profile_work_open_uq ON byokeep.profile_work (client_id, profile_id) WHERE ended_at IS NULL;

CREATE TABLE byokeep.kek_version (
    holder TEXT NOT NULL,
    kek_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    client_id UUID,
    environment TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    bits INTEGER NOT NULL,
    state TEXT DEFAULT 'active' NOT NULL,
    owner TEXT NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    protect_until TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    process_until TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    compromised_at TIMESTAMP WITH TIME ZONE,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    changed_by UUID NOT NULL,
    CONSTRAINT kek_version_pk PRIMARY KEY (holder, kek_id, version),
    CONSTRAINT kek_version_holder_ck CHECK (holder IN ('transit', 'aws', 'pkcs11')),
    CONSTRAINT kek_version_state_ck CHECK (state IN ('pre_activation', 'active', 'suspended', 'deactivated', 'compromised', 'destroyed')),
    CONSTRAINT kek_version_environment_ck CHECK (environment IN ('production', 'staging', 'development')),
    CONSTRAINT kek_version_kek_id_ck CHECK (kek_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    CONSTRAINT kek_version_owner_ck CHECK (owner ~ '^[a-z][a-z0-9_.@-]{0,62}$'),
    CONSTRAINT kek_version_numbers_ck CHECK (version >= 1 AND bits >= 256),
    CONSTRAINT kek_version_periods_ck CHECK (protect_until > made_at AND protect_until <= made_at + interval '732 days' AND process_until >= protect_until AND process_until <= protect_until + interval '1097 days'),
    CONSTRAINT kek_version_client_id_fk FOREIGN KEY(client_id) REFERENCES byokeep.client (id)
);

CREATE TABLE byokeep.kek_rotation (
    id UUID NOT NULL,
    client_id UUID,
    holder TEXT NOT NULL,
    kek_id TEXT NOT NULL,
    from_version INTEGER NOT NULL,
    to_version INTEGER NOT NULL,
    state TEXT DEFAULT 'rewrapping' NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    moved INTEGER DEFAULT 0 NOT NULL,
    started_by UUID NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT kek_rotation_pk PRIMARY KEY (id),
    CONSTRAINT kek_rotation_holder_ck CHECK (holder IN ('transit', 'aws', 'pkcs11')),
    CONSTRAINT kek_rotation_state_ck CHECK (state IN ('rewrapping', 'done')),
    CONSTRAINT kek_rotation_numbers_ck CHECK (to_version > from_version AND from_version >= 1 AND moved >= 0),
    CONSTRAINT kek_rotation_ended_ck CHECK ((ended_at IS NOT NULL) = (state = 'done')),
    CONSTRAINT kek_rotation_client_id_fk FOREIGN KEY(client_id) REFERENCES byokeep.client (id)
);

CREATE UNIQUE INDEX kek_rotation_open_uq ON byokeep.kek_rotation (holder, kek_id) WHERE ended_at IS NULL;

CREATE TABLE byokeep.vault_key_transition (
    id UUID NOT NULL,
    client_id UUID,
    kind TEXT NOT NULL,
    key_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    state_from TEXT NOT NULL,
    state_to TEXT NOT NULL,
    reason TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    by UUID NOT NULL,
    CONSTRAINT vault_key_transition_pk PRIMARY KEY (id),
    CONSTRAINT vault_key_transition_kind_ck CHECK (kind IN ('dek', 'kek')),
    CONSTRAINT vault_key_transition_state_to_ck CHECK (state_to IN ('pre_activation', 'active', 'suspended', 'deactivated', 'compromised', 'destroyed')),
    CONSTRAINT vault_key_transition_key_id_ck CHECK (key_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    CONSTRAINT vault_key_transition_client_id_fk FOREIGN KEY(client_id) REFERENCES byokeep.client (id)
);

CREATE INDEX vault_key_transition_key_ix ON byokeep.vault_key_transition (kind, key_id, version);

CREATE TABLE byokeep.profile_incident (
    id UUID NOT NULL,
    client_id UUID,
    cause TEXT NOT NULL,
    step TEXT DEFAULT 'opened' NOT NULL,
    since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    opened_by UUID NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    closed_by UUID,
    CONSTRAINT profile_incident_pk PRIMARY KEY (id),
    CONSTRAINT profile_incident_cause_ck CHECK (cause IN ('suspected_leak', 'artifact_store_exposure', 'runner_compromise', 'account_lockout', 'drill')),
    CONSTRAINT profile_incident_step_ck CHECK (step IN ('opened', 'lane_off', 'sessions_ended', 'recreated', 'rekeyed', 'validated', 'closed')),
    CONSTRAINT profile_incident_closed_ck CHECK ((closed_at IS NOT NULL) = (step = 'closed')),
    CONSTRAINT profile_incident_client_id_fk FOREIGN KEY(client_id) REFERENCES byokeep.client (id)
);

CREATE TABLE byokeep.profile_incident_item (
    incident_id UUID NOT NULL,
    client_id UUID NOT NULL,
    profile_id UUID NOT NULL,
    platform TEXT NOT NULL,
    session TEXT DEFAULT 'pending' NOT NULL,
    session_by UUID,
    session_at TIMESTAMP WITH TIME ZONE,
    new_profile_id UUID,
    key_destroyed_at TIMESTAMP WITH TIME ZONE,
    identity_at TIMESTAMP WITH TIME ZONE,
    wrong_account_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT profile_incident_item_pk PRIMARY KEY (incident_id, client_id, profile_id, platform),
    CONSTRAINT profile_incident_item_client_id_profile_id_fk FOREIGN KEY(client_id, profile_id) REFERENCES byokeep.profile (client_id, id),
    CONSTRAINT profile_incident_item_client_id_new_profile_id_fk FOREIGN KEY(client_id, new_profile_id) REFERENCES byokeep.profile (client_id, id),
    CONSTRAINT profile_incident_item_platform_ck CHECK (platform IN ('meta', 'tiktok', 'linkedin', 'youtube', 'x', 'skool')),
    CONSTRAINT profile_incident_item_session_ck CHECK (session IN ('pending', 'revoked', 'unsupported', 'failed', 'ended_by_hand')),
    CONSTRAINT profile_incident_item_incident_id_fk FOREIGN KEY(incident_id) REFERENCES byokeep.profile_incident (id)
);
