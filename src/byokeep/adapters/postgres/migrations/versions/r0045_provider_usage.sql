-- What a provider counted for a client's account, as a worker was told, frozen.

CREATE TABLE byokeep.provider_usage (
    run_id UUID NOT NULL,
    client_id UUID NOT NULL,
    told TEXT NOT NULL,
    told_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT provider_usage_pk PRIMARY KEY (run_id),
    CONSTRAINT provider_usage_run_id_fk FOREIGN KEY (run_id) REFERENCES byokeep.procedure_run (id),
    CONSTRAINT provider_usage_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client (id),
    CONSTRAINT provider_usage_told_ck CHECK (octet_length(told) <= 4194304)
);
