-- Approvals of machines' tokens, frozen; see tables.py. The function that issues tokens takes one more argument now.

ALTER TABLE byokeep.approval
    DROP CONSTRAINT approval_action_ck,
    ADD CONSTRAINT approval_action_ck CHECK (
        action IN ('open_switch', 'start_canary', 'transfer_account', 'give_rights', 'issue_token'));
DROP FUNCTION IF EXISTS byokeep.token_issue(uuid, uuid, bytea, text, bigint, bigint, text, uuid, uuid, bytea);
-- Its record says the day for which a stopped admin counts from now on; a day that is over says nothing.
UPDATE byokeep.subject SET admin_until = NULL WHERE admin_until <= clock_timestamp();
