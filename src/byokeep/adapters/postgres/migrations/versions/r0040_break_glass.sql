-- Break glass: an approval of its own kind, and one grant at a time until it is reviewed, frozen.

ALTER TABLE byokeep.approval
    DROP CONSTRAINT approval_action_ck,
    ADD CONSTRAINT approval_action_ck CHECK (action IN (
        'open_switch', 'start_canary', 'transfer_account', 'give_rights', 'issue_token', 'procedure_step', 'break_glass'));
CREATE UNIQUE INDEX procedure_run_break_glass_uq ON byokeep.procedure_run ((true))
 WHERE procedure LIKE 'break\_glass%' AND closed_at IS NULL;
