-- What a mass revocation revokes, one row for each key or account: how far its end at the provider is, and the record that
-- says so (frozen).

CREATE TABLE byokeep.revocation_item (
    run_id UUID NOT NULL,
    client_id UUID NOT NULL,
    object_id UUID NOT NULL,
    kind TEXT NOT NULL,
    provider TEXT NOT NULL,
    version INTEGER NOT NULL,
    cut_seq BIGINT NOT NULL,
    state TEXT DEFAULT 'pending' NOT NULL,
    cause TEXT DEFAULT '' NOT NULL,
    seq BIGINT,
    settled_by UUID,
    settled_at TIMESTAMP WITH TIME ZONE,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT revocation_item_pk PRIMARY KEY (run_id, object_id),
    CONSTRAINT revocation_item_run_id_fk FOREIGN KEY (run_id) REFERENCES byokeep.procedure_run (id),
    CONSTRAINT revocation_item_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client (id),
    CONSTRAINT revocation_item_kind_ck CHECK (kind IN ('key', 'account')),
    CONSTRAINT revocation_item_state_ck CHECK (state IN ('pending', 'revoked', 'unsupported', 'failed', 'unconfirmed')),
    CONSTRAINT revocation_item_cause_ck CHECK (cause ~ '^[a-z0-9_]{0,63}$'),
    CONSTRAINT revocation_item_proof_ck CHECK (state = 'pending' OR seq IS NOT NULL)
);
