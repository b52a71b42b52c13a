-- Runs of procedures, frozen.

CREATE TABLE byokeep.procedure_run (
    id UUID NOT NULL,
    client_id UUID,
    procedure TEXT NOT NULL,
    object_id UUID NOT NULL,
    revision INTEGER DEFAULT 0 NOT NULL,
    state TEXT DEFAULT 'running' NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    evidence JSONB DEFAULT '{}' NOT NULL,
    facts JSONB DEFAULT '{}' NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE,
    asked_by UUID NOT NULL,
    started_by UUID NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    closed_by UUID,
    -- Numbers of records; figures, ids, codes and times: nothing that could be a value (R1.1-2).
    CONSTRAINT procedure_run_evidence_ck CHECK (
        jsonb_typeof(evidence) = 'object' AND NOT jsonb_path_exists(evidence, 'strict $.* ? (@.type() != "number")')),
    CONSTRAINT procedure_run_facts_ck CHECK (
        jsonb_typeof(facts) = 'object' AND NOT jsonb_path_exists(facts,
            'strict $.* ? (@.type() == "object" || @.type() == "array"
                    || (@.type() == "string" && !(@ like_regex "^([a-z][a-z0-9_]{0,39}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}Z|)$")))')),
    CONSTRAINT procedure_run_pk PRIMARY KEY (id),
    CONSTRAINT procedure_run_client_id_fk FOREIGN KEY(client_id) REFERENCES byokeep.client (id),
    CONSTRAINT procedure_run_state_ck CHECK (state IN ('running', 'complete', 'failed', 'undoing', 'aborted')),
    CONSTRAINT procedure_run_closed_ck CHECK ((closed_at IS NOT NULL) = (state IN ('complete', 'aborted')))
);
ALTER TABLE byokeep.approval
    DROP CONSTRAINT approval_action_ck,
    ADD CONSTRAINT approval_action_ck CHECK (
        action IN ('open_switch', 'start_canary', 'transfer_account', 'give_rights', 'issue_token', 'procedure_step'));
