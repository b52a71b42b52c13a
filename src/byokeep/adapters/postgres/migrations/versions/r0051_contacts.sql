-- People of clients: the role, their sessions and mailed codes, and where a code is mailed to. Frozen.

ALTER TABLE byokeep.subject
    DROP CONSTRAINT subject_roles_ck,
    ADD CONSTRAINT subject_roles_ck CHECK (
        kind = 'operator' AND (roles <@ ARRAY['admin', 'operator', 'approver', 'auditor']
                               OR roles = ARRAY['contact'] AND NOT all_clients)
        OR kind = 'machine' AND roles <@ ARRAY['dispatcher', 'runner', 'custodian'] AND cardinality(roles) = 1)
        NOT VALID;
ALTER TABLE byokeep.subject VALIDATE CONSTRAINT subject_roles_ck;
ALTER TABLE byokeep.api_token
    DROP CONSTRAINT api_token_kind_ck,
    ADD CONSTRAINT api_token_kind_ck CHECK (
        kind IN ('api', 'session', 'invitation', 'console', 'code', 'portal', 'mailed')) NOT VALID,
    DROP CONSTRAINT api_token_seen_at_ck,
    ADD CONSTRAINT api_token_seen_at_ck CHECK ((kind IN ('console', 'portal')) = (seen_at IS NOT NULL)) NOT VALID;
ALTER TABLE byokeep.api_token VALIDATE CONSTRAINT api_token_kind_ck;
ALTER TABLE byokeep.api_token VALIDATE CONSTRAINT api_token_seen_at_ck;

CREATE TABLE byokeep.contact_address (
    subject_id uuid NOT NULL,
    client_id uuid NOT NULL,
    address text NOT NULL,
    made_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT contact_address_pk PRIMARY KEY (subject_id),
    CONSTRAINT contact_address_subject_id_fk FOREIGN KEY (subject_id) REFERENCES byokeep.subject (id),
    CONSTRAINT contact_address_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client (id),
    CONSTRAINT contact_address_address_ck CHECK (address ~ '^[!-~]+@[!-~]+$' AND length(address) <= 254)
);
CREATE INDEX contact_address_address_ix ON byokeep.contact_address (address);
CREATE INDEX contact_address_client_id_ix ON byokeep.contact_address (client_id);

CREATE TABLE byokeep.portal_look (
    client_id uuid NOT NULL,
    colour text NOT NULL,
    CONSTRAINT portal_look_pk PRIMARY KEY (client_id),
    CONSTRAINT portal_look_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client (id),
    CONSTRAINT portal_look_colour_ck CHECK (colour ~ '^#[0-9a-f]{6}$')
);
