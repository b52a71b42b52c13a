-- Calls that jobs made with a credential, as their runners told; frozen. A lease whose holder has said how many it made has
-- a row in lease_calls; of any other lease the calls are unknown.

CREATE TABLE byokeep.tool_call (
    client_id UUID NOT NULL,
    id UUID NOT NULL,
    job_id UUID NOT NULL,
    lease_id UUID NOT NULL,
    provider TEXT NOT NULL,
    tool TEXT NOT NULL,
    outcome TEXT NOT NULL,
    args_digest TEXT,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    told_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT tool_call_pk PRIMARY KEY (client_id, id),
    CONSTRAINT tool_call_client_id_lease_id_fk FOREIGN KEY (client_id, lease_id) REFERENCES byokeep.lease (client_id, id),
    CONSTRAINT tool_call_tool_ck CHECK (tool ~ '^[a-z][a-z0-9_.]{0,63}$'),
    CONSTRAINT tool_call_outcome_ck CHECK (outcome IN ('ok', 'denied', 'limited', 'failed', 'unknown')),
    CONSTRAINT tool_call_args_digest_ck CHECK (args_digest ~ '^[0-9a-f]{64}$')
);

CREATE INDEX tool_call_lease_ix ON byokeep.tool_call (client_id, lease_id);
CREATE INDEX tool_call_at_ix ON byokeep.tool_call (at);
CREATE INDEX tool_call_told_at_ix ON byokeep.tool_call (told_at);

CREATE TABLE byokeep.lease_calls (
    client_id UUID NOT NULL,
    lease_id UUID NOT NULL,
    count INTEGER NOT NULL,
    missing INTEGER NOT NULL,
    told_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT lease_calls_pk PRIMARY KEY (client_id, lease_id),
    CONSTRAINT lease_calls_client_id_lease_id_fk FOREIGN KEY (client_id, lease_id)
        REFERENCES byokeep.lease (client_id, id),
    CONSTRAINT lease_calls_count_ck CHECK (count BETWEEN 0 AND 1000000)
);

CREATE INDEX permit_issued_at_ix ON byokeep.permit (issued_at);
CREATE INDEX audit_epoch_at_ix ON byokeep.audit_epoch (at);
