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
    CONSTRAINT procedure_run_pk PRIMARY KEY (id),
    CONSTRAINT procedure_run_client_id_fk FOREIGN KEY(client_id) REFERENCES byokeep.client (id),
    CONSTRAINT procedure_run_state_ck CHECK (state IN ('running', 'complete', 'failed', 'undoing', 'aborted')),
    CONSTRAINT procedure_run_closed_ck CHECK ((closed_at IS NOT NULL) = (state IN ('complete', 'aborted')))
);
ALTER TABLE byokeep.approval
    DROP CONSTRAINT approval_action_ck,
    ADD CONSTRAINT approval_action_ck CHECK (
        action IN ('open_switch', 'start_canary', 'transfer_account', 'give_rights', 'issue_token', 'procedure_step'));
