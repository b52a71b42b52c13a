-- Our apps at platforms, consents under way, and what comes of them (SOP 5.2).

-- name: app_put
INSERT INTO byokeep.platform_app (login, provider, environment, app_id, redirect_uri, secret_version, set_by)
VALUES (:login, :provider, :environment, :app_id, :redirect_uri, :secret_version, :set_by)
ON CONFLICT (login) DO UPDATE
   SET app_id = EXCLUDED.app_id, redirect_uri = EXCLUDED.redirect_uri, secret_version = EXCLUDED.secret_version,
       set_at = now(), set_by = EXCLUDED.set_by
RETURNING *;

-- name: app_get
SELECT * FROM byokeep.platform_app WHERE login = :login;

-- name: apps_list
SELECT * FROM byokeep.platform_app ORDER BY login;

-- name: app_lock
SELECT pg_advisory_xact_lock(hashtextextended('platform_app', 0));

-- name: app_of_redirect
-- Another login's app at this address: its answers could be taken for ours.
SELECT login FROM byokeep.platform_app WHERE redirect_uri = :redirect_uri AND login <> :login;

-- name: app_in_use
-- Accounts that live under another app of this login.
SELECT count(*) AS found FROM byokeep.account_grant
 WHERE login = :login AND app_id <> :app_id AND state <> 'revoked';

-- name: connect_lock
-- Consents for one account stand in line here until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('connect:' || CAST(:client_id AS text) || ':' || :platform || ':' || :account, 0));

-- name: account_find
SELECT * FROM byokeep.platform_account
 WHERE client_id = :client_id AND platform = :platform AND account = :account;

-- name: account_of
SELECT * FROM byokeep.platform_account WHERE client_id = :client_id AND id = :id;

-- name: grant_of
SELECT * FROM byokeep.account_grant WHERE client_id = :client_id AND account_id = :account_id;

-- name: sop_insert_connect
INSERT INTO byokeep.sop_run (id, client_id, sop, provider, ref_id, started_by)
VALUES (:id, :client_id, 'connect_account', :provider, :account_id, :started_by)
RETURNING *;

-- name: connection_insert
INSERT INTO byokeep.connection (id, client_id, account_id, job_id, sop_id, login, purposes, state_hash, binding_hash,
                                redirect_uri, wanted, replaces, started_by, started_at, expires_at, request_id)
SELECT :id, :client_id, :account_id, :job_id, :sop_id, :login, CAST(:purposes AS text[]), :state_hash, :binding_hash,
       :redirect_uri, :wanted, CAST(:replaces AS integer), :started_by, t.now,
       t.now + make_interval(secs => :life_s), :request_id
  FROM (SELECT clock_timestamp() AS now) t
RETURNING *;

-- name: connection_get
SELECT * FROM byokeep.connection WHERE client_id = :client_id AND id = :id;

-- name: connection_lock
SELECT *, expires_at <= clock_timestamp() AS over FROM byokeep.connection
 WHERE client_id = :client_id AND id = :id FOR UPDATE;

-- name: connections_of
-- Those of an account that have not ended.
SELECT * FROM byokeep.connection
 WHERE client_id = :client_id AND account_id = :account_id AND state IN ('started', 'answered', 'taken')
 ORDER BY started_at FOR UPDATE;

-- name: connection_answered
UPDATE byokeep.connection SET state = 'answered', answered_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :id AND state = 'started' AND expires_at > clock_timestamp()
RETURNING *;

-- name: connection_end
UPDATE byokeep.connection SET state = :state, reason = :reason, ended_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :id AND state = :state_from
RETURNING *;

-- name: connection_notify
SELECT pg_notify('byokeep_connection', '');

-- name: connection_take
-- The oldest answer that nobody has taken; a sibling's is passed over, not waited for.
UPDATE byokeep.connection SET state = 'taken'
 WHERE id = (SELECT id FROM byokeep.connection WHERE state = 'answered'
              ORDER BY answered_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING *;

-- name: connections_lost
-- Consents that nobody will finish: not answered in time, or taken by somebody who died.
SELECT * FROM byokeep.connection
 WHERE (state = 'started' AND expires_at < clock_timestamp())
    OR (state = 'answered' AND answered_at < clock_timestamp() - interval '10 minutes')
    OR (state = 'taken' AND answered_at < clock_timestamp() - make_interval(secs => :taken_for_s))
 ORDER BY started_at LIMIT 50;

-- name: grant_taken
-- Whether this account of the platform is another's already (R5.2-15); says nothing of whose.
SELECT count(*) AS found FROM byokeep.account_grant
 WHERE login = :login AND external_id = :external_id AND state <> 'revoked'
   AND NOT (client_id = :client_id AND account_id = :account_id);

-- name: grant_put
INSERT INTO byokeep.account_grant
       (client_id, account_id, provider, login, app_id, external_id, username, display_name, link, state, version,
        access_version, purposes, scopes, scopes_known, obtained_by, obtained_at, access_expires_at,
        refresh_expires_at, consent_expires_at, reauth_at, alarm_at, due_at, verified_at, drift, connected_seq)
VALUES (:client_id, :account_id, :provider, :login, :app_id, :external_id, :username, :display_name, :link, 'live',
        :version, :access_version, CAST(:purposes AS text[]), CAST(:scopes AS text[]), true, :obtained_by,
        :obtained_at, :access_expires_at, :refresh_expires_at, :consent_expires_at, :reauth_at, :alarm_at, :due_at,
        now(), :drift, :connected_seq)
ON CONFLICT (client_id, account_id) DO UPDATE
   SET login = EXCLUDED.login, app_id = EXCLUDED.app_id, external_id = EXCLUDED.external_id,
       username = EXCLUDED.username, display_name = EXCLUDED.display_name, link = EXCLUDED.link, state = 'live',
       reason = '', version = EXCLUDED.version, access_version = EXCLUDED.access_version,
       purposes = EXCLUDED.purposes, scopes = EXCLUDED.scopes, scopes_known = true,
       obtained_by = EXCLUDED.obtained_by, obtained_at = EXCLUDED.obtained_at,
       access_expires_at = EXCLUDED.access_expires_at, refresh_expires_at = EXCLUDED.refresh_expires_at,
       consent_expires_at = EXCLUDED.consent_expires_at, reauth_at = EXCLUDED.reauth_at,
       alarm_at = EXCLUDED.alarm_at, due_at = EXCLUDED.due_at, tries = 0, verified_at = now(),
       drift = EXCLUDED.drift, connected_seq = EXCLUDED.connected_seq, changed_at = now()
RETURNING *;

-- name: account_ref_live
SELECT * FROM byokeep.credential_ref
 WHERE client_id = :client_id AND account_id = :account_id AND state IN ('pre_activation', 'active', 'suspended');

-- name: account_ref_insert
INSERT INTO byokeep.credential_ref
       (id, client_id, provider, kind, purpose, environment, secret_ref, version, state, verification, risk,
        created_at, created_by, rotation_due_at, account_id)
VALUES (:id, :client_id, :provider, 'oauth_token_set', 'account', :environment, :secret_ref, :version, 'active',
        'verified', :risk, now(), :created_by,
        LEAST(COALESCE(CAST(:due_at AS timestamptz), 'infinity'), now() + interval '365 days'), :account_id)
RETURNING *;

-- name: account_ref_renew
UPDATE byokeep.credential_ref
   SET version = :version, state = 'active', verification = 'verified',
       rotation_due_at = LEAST(GREATEST(COALESCE(CAST(:due_at AS timestamptz), now() + interval '365 days'), created_at + interval '1 second'),
                               created_at + interval '399 days')
 WHERE client_id = :client_id AND id = :id
RETURNING *;

-- name: account_named
UPDATE byokeep.platform_account
   SET username = :username, display_name = :display_name, identity = 'match', identified_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :id
RETURNING *;

-- name: account_seen
UPDATE byokeep.platform_account SET identity = :identity, identified_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :id
RETURNING *;

-- name: sop_connected
UPDATE byokeep.sop_run
   SET state = 'complete', version = :version, write_seq = :write_seq, verify_seq = :verify_seq,
       done_seq = :done_seq, store_request = :store_request, closed_at = now()
 WHERE client_id = :client_id AND id = :id AND state = 'running'
RETURNING *;

-- name: journal_end
-- A person's login replaces the whole chain: a renewal that was broken has nothing left to find.
UPDATE byokeep.refresh_journal SET phase = 'closed', reason = 'reconnected', ended_at = now()
 WHERE client_id = :client_id AND account_id = :account_id AND ended_at IS NULL AND phase = 'broken'
RETURNING id;

-- name: way_lock
SELECT * FROM byokeep.reenabling WHERE client_id = :client_id AND platform = :platform FOR UPDATE;

-- name: way_step
UPDATE byokeep.reenabling
   SET cause = :cause, stage = :stage, number = :number, taken = :taken, done = :done, way = :way,
       revision = :revision, changed_at = now()
 WHERE client_id = :client_id AND platform = :platform AND revision = :revision_from
RETURNING revision;

-- name: grants_without_person
-- Other accounts of this platform that still wait for their person.
SELECT count(*) AS found FROM byokeep.account_grant
 WHERE client_id = :client_id AND provider = :provider AND account_id <> :account_id AND state = 'needs_reauth';
