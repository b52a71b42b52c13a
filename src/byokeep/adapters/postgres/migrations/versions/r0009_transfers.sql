-- An account of a platform goes from one client to another with a second person's word, frozen; see tables.py.

ALTER TABLE byokeep.approval
    DROP CONSTRAINT approval_action_ck,
    ADD CONSTRAINT approval_action_ck CHECK (action IN ('open_switch', 'start_canary', 'transfer_account'));
