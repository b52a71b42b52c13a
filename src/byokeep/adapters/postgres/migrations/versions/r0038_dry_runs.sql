-- Dry runs of a rotation: jobs of registered templates, which are given the new version of a key and cause no effects.

CREATE TABLE byokeep.job_template (
    client_id UUID NOT NULL,
    name TEXT NOT NULL,
    runner_id UUID NOT NULL,
    secrets TEXT[] NOT NULL,
    platforms TEXT[] NOT NULL,
    lanes TEXT[] NOT NULL,
    set_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    set_by UUID NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT job_template_pk PRIMARY KEY (client_id, name),
    CONSTRAINT job_template_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client (id),
    CONSTRAINT job_template_name_ck CHECK (name ~ '^[a-z][a-z0-9_-]{0,40}$')
);

CREATE TABLE byokeep.dry_run (
    client_id UUID NOT NULL,
    job_id UUID NOT NULL,
    template TEXT NOT NULL,
    run_id UUID NOT NULL,
    ref_id UUID NOT NULL,
    version INTEGER NOT NULL,
    number SMALLINT NOT NULL,
    CONSTRAINT dry_run_pk PRIMARY KEY (client_id, job_id),
    CONSTRAINT dry_run_run_id_uq UNIQUE (run_id, version, number),
    CONSTRAINT dry_run_client_id_job_id_fk FOREIGN KEY (client_id, job_id) REFERENCES byokeep.job (client_id, id),
    CONSTRAINT dry_run_number_ck CHECK (number BETWEEN 1 AND 3)
);
