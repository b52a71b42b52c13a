-- Codes of the console that log in on the command line, and the sessions that they open. Frozen.

ALTER TABLE byokeep.api_token
    DROP CONSTRAINT api_token_kind_ck,
    ADD CONSTRAINT api_token_kind_ck CHECK (
        kind IN ('api', 'session', 'invitation', 'console', 'code', 'portal', 'mailed', 'cli', 'cli_code')) NOT VALID;
ALTER TABLE byokeep.api_token VALIDATE CONSTRAINT api_token_kind_ck;
