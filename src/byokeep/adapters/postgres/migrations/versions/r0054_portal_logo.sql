-- The logo of a client's pages of the portal: a PNG that we wrote (core/png.py). Frozen.

ALTER TABLE byokeep.portal_look
    ADD COLUMN logo bytea,
    ADD CONSTRAINT portal_look_logo_ck CHECK (
        octet_length(logo) >= 57 AND octet_length(logo) <= 131072
        AND substr(logo, 1, 8) = '\x89504e470d0a1a0a'::bytea) NOT VALID;
ALTER TABLE byokeep.portal_look VALIDATE CONSTRAINT portal_look_logo_ck;
