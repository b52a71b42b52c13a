-- Passkeys of people: public keys, with how often each was used. Frozen.

CREATE TABLE byokeep.passkey (
    id UUID NOT NULL,
    subject_id UUID NOT NULL,
    identifier BYTEA NOT NULL,
    public_half BYTEA NOT NULL,
    uses BIGINT NOT NULL,
    name TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    record_seq BIGINT,
    CONSTRAINT passkey_pk PRIMARY KEY (id),
    CONSTRAINT passkey_identifier_uq UNIQUE (identifier),
    CONSTRAINT passkey_subject_id_fk FOREIGN KEY (subject_id) REFERENCES byokeep.subject (id),
    CONSTRAINT passkey_identifier_ck CHECK (octet_length(identifier) BETWEEN 16 AND 1023),
    CONSTRAINT passkey_public_half_ck CHECK (octet_length(public_half) BETWEEN 1 AND 2048),
    CONSTRAINT passkey_uses_ck CHECK (uses >= 0),
    CONSTRAINT passkey_name_ck CHECK (length(name) BETWEEN 1 AND 64)
);
CREATE INDEX passkey_subject_ix ON byokeep.passkey (subject_id);
