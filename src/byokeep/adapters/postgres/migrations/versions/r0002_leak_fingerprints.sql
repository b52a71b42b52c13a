-- Keyed digests of windows of live values; see tables.py.
CREATE TABLE byokeep.leak_fingerprint (
    client_id UUID NOT NULL,
    ref_id UUID NOT NULL,
    version INTEGER NOT NULL,
    format INTEGER NOT NULL,
    digests TEXT[] DEFAULT '{}' NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT leak_fingerprint_pk PRIMARY KEY (client_id, ref_id, version),
    CONSTRAINT leak_fingerprint_version_ck CHECK (version >= 1),
    CONSTRAINT leak_fingerprint_format_ck CHECK (format >= 1),
    CONSTRAINT leak_fingerprint_digests_ck CHECK (cardinality(digests) <= 16 AND array_to_string(digests, ',', 'null') ~ '^([0-9a-f]{32}(,[0-9a-f]{32})*)?$'),
    CONSTRAINT leak_fingerprint_client_id_fk FOREIGN KEY(client_id) REFERENCES byokeep.client (id)
);
