-- Sessions of the console, with when they were last used, and the codes that open one. Frozen.

ALTER TABLE byokeep.api_token
    ADD COLUMN seen_at TIMESTAMP WITH TIME ZONE,
    DROP CONSTRAINT api_token_kind_ck,
    ADD CONSTRAINT api_token_kind_ck CHECK (kind IN ('api', 'session', 'invitation', 'console', 'code')) NOT VALID,
    ADD CONSTRAINT api_token_seen_at_ck CHECK ((kind = 'console') = (seen_at IS NOT NULL)) NOT VALID;
ALTER TABLE byokeep.api_token VALIDATE CONSTRAINT api_token_kind_ck;
ALTER TABLE byokeep.api_token VALIDATE CONSTRAINT api_token_seen_at_ck;
