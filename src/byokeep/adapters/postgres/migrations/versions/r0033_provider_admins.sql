-- The keys that administer a client's account at a provider are references of their own kind, frozen. `provider_place`
-- says where in that account the client's keys are.

ALTER TABLE byokeep.credential_ref
    ADD COLUMN provider_place TEXT DEFAULT '' NOT NULL,
    ADD CONSTRAINT credential_ref_provider_place_ck CHECK (
        provider_place ~ '^([a-z_]{1,32}=[A-Za-z0-9._-]{1,128}(,[a-z_]{1,32}=[A-Za-z0-9._-]{1,128}){0,3})?$'),
    DROP CONSTRAINT credential_ref_kind_ck,
    ADD CONSTRAINT credential_ref_kind_ck CHECK (kind IN ('provider_api_key', 'provider_admin_key', 'oauth_token_set',
        'session_cookie', 'webhook_signing_secret', 'internal_service_token', 'database_credential')),
    DROP CONSTRAINT credential_ref_belongs_ck,
    ADD CONSTRAINT credential_ref_belongs_ck CHECK (
        (kind = 'oauth_token_set') = (account_id IS NOT NULL) AND (kind = 'oauth_token_set') = (purpose = 'account')
        AND (kind = 'webhook_signing_secret') = (purpose = 'webhook') AND (kind = 'provider_admin_key') = (purpose = 'admin')),
    DROP CONSTRAINT credential_ref_secret_ref_ck,
    ADD CONSTRAINT credential_ref_secret_ref_ck CHECK (
        secret_ref = 'vault://kv/clients/' || client_id::text || '/providers/' || provider
            || CASE kind WHEN 'oauth_token_set' THEN '/accounts/' || account_id::text || '/tokens'
                         WHEN 'webhook_signing_secret' THEN '/webhook' WHEN 'provider_admin_key' THEN '/admin' ELSE '' END);
