-- Who at the organisation's OpenID provider is which person here. Frozen.

CREATE TABLE byokeep.sso_link (
    subject_id UUID NOT NULL,
    identity BYTEA NOT NULL,
    linked_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    record_seq BIGINT,
    CONSTRAINT sso_link_pk PRIMARY KEY (subject_id),
    CONSTRAINT sso_link_identity_uq UNIQUE (identity),
    CONSTRAINT sso_link_subject_id_fk FOREIGN KEY (subject_id) REFERENCES byokeep.subject (id),
    CONSTRAINT sso_link_identity_ck CHECK (octet_length(identity) = 32)
);
