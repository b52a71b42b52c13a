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

-- name: app_hold
-- No other app is named while something that came of the present one is written down.
SELECT pg_advisory_xact_lock_shared(hashtextextended('platform_app', 0));

-- name: app_of_redirect
-- Another login's app at this address: its answers could be taken for ours.
SELECT login FROM byokeep.platform_app WHERE redirect_uri = :redirect_uri AND login <> :login;

-- name: app_in_use
-- Accounts that live under another app of this login, and consents under way that began under it.
SELECT (SELECT count(*) FROM byokeep.account_grant
         WHERE login = :login AND app_id <> :app_id AND state <> 'revoked')
     + (SELECT count(*) FROM byokeep.connection c JOIN byokeep.platform_app a ON a.login = c.login
         WHERE c.login = :login AND a.app_id <> :app_id
           AND (c.state IN ('answered', 'taken') OR (c.state = 'started' AND c.expires_at > clock_timestamp()))) AS found;

-- name: connect_lock
-- Consents for one account stand in line here until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('connect:' || CAST(:client_id AS text) || ':' || :platform || ':' || :account, 0));

-- name: account_find
SELECT * FROM byokeep.platform_account
 WHERE client_id = :client_id AND platform = :platform AND account = :account;

-- name: account_hold
SELECT * FROM byokeep.platform_account
 WHERE client_id = :client_id AND platform = :platform AND account = :account FOR UPDATE;

-- name: account_of
SELECT * FROM byokeep.platform_account WHERE client_id = :client_id AND id = :id;

-- name: grant_of
SELECT * FROM byokeep.account_grant WHERE client_id = :client_id AND account_id = :account_id;

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
UPDATE byokeep.connection
   SET state = :state, reason = :reason, code_points = :code_points, ended_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :id AND state = :state_from
RETURNING *;

-- name: connection_disown
-- Its person disconnected the account while the platform is being asked: who finishes it may not record it any more.
UPDATE byokeep.connection SET reason = 'disconnected'
 WHERE client_id = :client_id AND id = :id AND state = 'taken'
RETURNING id;

-- name: connection_replaces
-- The version that a login replaced; 0 once that was ended at the platform, proved by use.
UPDATE byokeep.connection SET replaces = CAST(:version AS integer)
 WHERE client_id = :client_id AND id = :id
RETURNING id;

-- name: connections_replaced
-- Versions that logins of a living grant replaced and that were not proved to be ended, newest first; what came before
-- the login that found no grant was ended then.
SELECT c.replaces AS version FROM byokeep.connection c
  JOIN byokeep.procedure_run s ON s.client_id = c.client_id AND s.id = c.sop_id
 WHERE c.client_id = :client_id AND c.account_id = :account_id AND c.state = 'connected' AND c.replaces > 0
   AND (s.facts ->> 'version')::integer > (SELECT COALESCE(max((f.facts ->> 'version')::integer), 0) FROM byokeep.connection o
                      JOIN byokeep.procedure_run f ON f.client_id = o.client_id AND f.id = o.sop_id
                     WHERE o.client_id = :client_id AND o.account_id = :account_id AND o.state = 'connected'
                       AND o.replaces IS NULL)
 ORDER BY (s.facts ->> 'version')::integer DESC;

-- name: connections_replaced_left
-- Logins on record whose finisher died before it said what became of the tokens that they replaced.
SELECT c.* FROM byokeep.connection c
  JOIN byokeep.account_grant g ON g.client_id = c.client_id AND g.account_id = c.account_id AND g.state <> 'revoked'
 WHERE c.state = 'connected' AND c.replaces > 0 AND c.login = ANY (CAST(:logins AS text[]))
   AND c.ended_at BETWEEN clock_timestamp() - interval '7 days' AND clock_timestamp() - make_interval(secs => :taken_for_s)
   AND NOT EXISTS (SELECT FROM byokeep.audit_record r
                    WHERE r.chain = c.client_id AND r.object_id = c.account_id AND r.event = 'grant.revoked'
                      AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,sop}' = CAST(c.sop_id AS text))
   AND c.account_id <> ALL (CAST(:resting AS uuid[]))
 ORDER BY c.ended_at LIMIT 20;

-- name: connection_told
-- What a person needs to begin otherwise, of a consent that its finisher is about to end.
UPDATE byokeep.connection SET held_as = :held_as, offered = CAST(:offered AS text[])
 WHERE client_id = :client_id AND id = :id AND state = 'taken'
RETURNING id;

-- name: connections_forget
UPDATE byokeep.connection SET offered = '{}'
 WHERE offered <> '{}' AND ended_at < clock_timestamp() - interval '1 day'
RETURNING id;

-- name: connection_notify
SELECT pg_notify('byokeep_connection', '');

-- name: connection_take
-- The oldest answer that nobody has taken, but for logins that have their share; a sibling's is passed over, not waited for.
-- Whoever takes it is presumed dead some minutes after this, however long it had waited.
UPDATE byokeep.connection SET state = 'taken', answered_at = clock_timestamp()
 WHERE id = (SELECT id FROM byokeep.connection WHERE state = 'answered' AND login <> ALL (CAST(:full AS text[]))
              ORDER BY answered_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING *;

-- name: connections_lost
-- Consents that nobody will finish: not answered in time, or taken by somebody who died.
SELECT * FROM byokeep.connection
 WHERE ((state = 'started' AND expires_at < clock_timestamp())
    OR (state = 'answered' AND answered_at < clock_timestamp() - interval '10 minutes')
    OR (state = 'taken' AND answered_at < clock_timestamp() - make_interval(secs => :taken_for_s)))
   AND account_id <> ALL (CAST(:resting AS uuid[]))
 ORDER BY started_at LIMIT 50;

-- name: connections_left
-- Consents that ended without the refresher: what they wrote still lies in the store while their job is open.
SELECT c.* FROM byokeep.connection c
  JOIN byokeep.job j ON j.client_id = c.client_id AND j.id = c.job_id
 WHERE c.state IN ('failed', 'expired') AND c.ended_at > clock_timestamp() - interval '1 hour'
   AND j.state = 'open' AND j.expires_at > clock_timestamp()
   AND c.account_id <> ALL (CAST(:resting AS uuid[]))
 ORDER BY c.ended_at LIMIT 20;

-- name: grant_taken
-- Whether this account of the platform is another's already (R5.2-15); says nothing of whose, but its name where it is
-- this very client's.
SELECT count(*) AS found, max(a.account) AS ours FROM byokeep.account_grant g
  LEFT JOIN byokeep.platform_account a
    ON a.client_id = g.client_id AND a.id = g.account_id AND a.client_id = :client_id
 WHERE g.login = :login AND g.external_id = :external_id AND g.state <> 'revoked'
   AND NOT (g.client_id = :client_id AND g.account_id = :account_id);

-- name: grants_answered
-- Living grants of the accounts that answered a consent, of whatever client.
SELECT g.client_id, g.account_id, a.account FROM byokeep.account_grant g
  JOIN byokeep.platform_account a ON a.client_id = g.client_id AND a.id = g.account_id
 WHERE g.login = :login AND g.app_id = :app_id AND g.external_id = ANY(CAST(:ids AS text[])) AND g.state = 'live'
 ORDER BY g.client_id, g.account_id;

-- name: grant_superseded
-- To be looked at, and where it may have ended to be renewed, at once.
UPDATE byokeep.account_grant
   SET verified_at = NULL, changed_at = clock_timestamp(),
       superseded_at = CASE WHEN :ends THEN clock_timestamp() ELSE superseded_at END,
       due_at = CASE WHEN :ends AND due_at IS NOT NULL THEN LEAST(due_at, clock_timestamp()) ELSE due_at END
 WHERE client_id = :client_id AND account_id = :account_id AND state = 'live'
RETURNING *;

-- name: grant_put
INSERT INTO byokeep.account_grant
       (client_id, account_id, provider, login, app_id, external_id, username, display_name, link, state, version,
        access_version, purposes, scopes, scopes_known, obtained_by, obtained_at, access_expires_at,
        refresh_expires_at, consent_expires_at, reauth_at, alarm_at, due_at, verified_at, drift)
VALUES (:client_id, :account_id, :provider, :login, :app_id, :external_id, :username, :display_name, :link, 'live',
        :version, :access_version, CAST(:purposes AS text[]), CAST(:scopes AS text[]), true, :obtained_by,
        :obtained_at, :access_expires_at, :refresh_expires_at, :consent_expires_at, :reauth_at, :alarm_at, :due_at,
        now(), :drift)
ON CONFLICT (client_id, account_id) DO UPDATE
   SET login = EXCLUDED.login, app_id = EXCLUDED.app_id, external_id = EXCLUDED.external_id,
       username = EXCLUDED.username, display_name = EXCLUDED.display_name, link = EXCLUDED.link, state = 'live',
       reason = '', version = EXCLUDED.version, access_version = EXCLUDED.access_version,
       purposes = EXCLUDED.purposes, scopes = EXCLUDED.scopes, scopes_known = true,
       obtained_by = EXCLUDED.obtained_by, obtained_at = EXCLUDED.obtained_at,
       access_expires_at = EXCLUDED.access_expires_at, refresh_expires_at = EXCLUDED.refresh_expires_at,
       consent_expires_at = EXCLUDED.consent_expires_at, reauth_at = EXCLUDED.reauth_at,
       alarm_at = EXCLUDED.alarm_at, due_at = EXCLUDED.due_at, tries = 0, verified_at = now(),
       drift = EXCLUDED.drift, connected_seq = NULL, superseded_at = NULL, changed_at = now()
RETURNING *;

-- name: grant_connected
UPDATE byokeep.account_grant SET connected_seq = :connected_seq
 WHERE client_id = :client_id AND account_id = :account_id
RETURNING account_id;

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
-- A reference that a person suspended stays suspended: whoever logs in anew may be the client, who did not decide it.
UPDATE byokeep.credential_ref
   SET version = :version, state = CASE state WHEN 'suspended' THEN state ELSE 'active' END, verification = 'verified',
       rotation_due_at = LEAST(GREATEST(COALESCE(CAST(:due_at AS timestamptz), now() + interval '365 days'), created_at + interval '1 second'),
                               created_at + interval '399 days')
 WHERE client_id = :client_id AND id = :id
RETURNING *;

-- name: account_lanes_anew
-- What an account may do is said after its first verification, and nothing that was said before outlives it.
WITH was AS (SELECT lanes FROM byokeep.platform_account WHERE client_id = :client_id AND id = :id FOR UPDATE)
UPDATE byokeep.platform_account a SET lanes = '{}' FROM was
 WHERE a.client_id = :client_id AND a.id = :id
RETURNING cardinality(was.lanes) AS had;

-- name: account_named
UPDATE byokeep.platform_account
   SET username = :username, display_name = :display_name, identity = 'match', identified_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :id
RETURNING *;

-- name: account_seen
-- What could not be checked takes no mismatch back.
UPDATE byokeep.platform_account
   SET identity = CASE WHEN identity = 'mismatch' AND CAST(:identity AS text) <> 'match' THEN identity
                       ELSE CAST(:identity AS text) END,
       identified_at = clock_timestamp()
 WHERE client_id = :client_id AND id = :id
RETURNING *;

-- name: journal_end
-- A person's login replaces the whole chain: a renewal that was broken, or has not left, has nothing left to find.
UPDATE byokeep.refresh_journal SET phase = 'closed', reason = 'reconnected', ended_at = now()
 WHERE client_id = :client_id AND account_id = :account_id AND ended_at IS NULL
   AND (phase = 'broken' OR phase = 'started' AND lost = 0)
RETURNING id;

-- name: grants_without_person
-- Other accounts of this platform that still wait for their person. One that a person has disconnected does not.
SELECT count(*) AS found FROM byokeep.account_grant g
 WHERE g.client_id = :client_id AND g.provider = :provider AND g.account_id <> :account_id AND g.state = 'needs_reauth'
   AND EXISTS (SELECT FROM byokeep.credential_ref r WHERE r.client_id = g.client_id AND r.account_id = g.account_id
                  AND r.state IN ('pre_activation', 'active', 'suspended'));

-- name: grants_to_check
-- Accounts of a login that are due for a look; one that was not to be looked at is left alone for a while.
SELECT g.* FROM byokeep.account_grant g
  JOIN byokeep.platform_account a ON a.client_id = g.client_id AND a.id = g.account_id
 WHERE g.login = :login AND g.state = 'live'
   AND (g.verified_at IS NULL OR g.verified_at < now() - make_interval(secs => :every_s))
   AND (a.identity NOT IN ('unknown', 'mismatch') OR a.identified_at < now() - interval '5 minutes'
        OR g.changed_at > a.identified_at AND g.verified_at IS NULL)
   AND EXISTS (SELECT FROM byokeep.credential_ref r
                WHERE r.client_id = g.client_id AND r.account_id = g.account_id AND r.state = 'active')
   AND g.account_id <> ALL (CAST(:resting AS uuid[]))
 ORDER BY g.verified_at NULLS FIRST LIMIT 20;

-- name: grant_checked
UPDATE byokeep.account_grant
   SET verified_at = now(), drift = :drift, username = :username, display_name = :display_name,
       reason = CASE WHEN reason = 'revoking' THEN reason ELSE '' END
 WHERE client_id = :client_id AND account_id = :account_id AND state = 'live'
RETURNING *;

-- name: grant_said
-- The names that a platform says now, of an account that is lost for them.
UPDATE byokeep.account_grant SET username = :username, display_name = :display_name
 WHERE client_id = :client_id AND account_id = :account_id
RETURNING account_id;

-- name: grant_unchecked
-- The look failed; where the token may be over, the renewal finds out. One that failed comes in its own time.
UPDATE byokeep.account_grant
   SET due_at = CASE WHEN :renew AND tries = 0 AND due_at IS NOT NULL THEN LEAST(due_at, now()) ELSE due_at END,
       reason = CASE WHEN reason = 'revoking' THEN reason ELSE :cause END
 WHERE client_id = :client_id AND account_id = :account_id AND state = 'live'
RETURNING *;

-- name: grants_to_end
-- Accounts that a person disconnected; one that could not be ended is tried again, later each time. One that has not
-- been tried waits for its renewal.
SELECT g.* FROM byokeep.account_grant g
 WHERE g.state <> 'revoked'
   AND EXISTS (SELECT FROM byokeep.credential_ref r WHERE r.client_id = g.client_id
                  AND r.account_id = g.account_id AND r.state = 'deactivated')
   AND NOT EXISTS (SELECT FROM byokeep.credential_ref r WHERE r.client_id = g.client_id
                      AND r.account_id = g.account_id AND r.state IN ('pre_activation', 'active', 'suspended'))
   AND (g.reason <> 'revoking' OR g.tries = 0
        OR g.changed_at < now() - make_interval(secs => 15 * power(2, LEAST(g.tries, 10))))
   AND g.account_id <> ALL (CAST(:resting AS uuid[]))
 ORDER BY g.changed_at LIMIT 20;

-- name: grant_ending
UPDATE byokeep.account_grant
   SET reason = 'revoking', tries = CASE WHEN reason = 'revoking' THEN tries ELSE 0 END, due_at = NULL,
       alarm_at = NULL, changed_at = CASE WHEN reason = 'revoking' THEN changed_at ELSE now() END
 WHERE client_id = :client_id AND account_id = :account_id AND state <> 'revoked'
RETURNING account_id;

-- name: grant_end_tried
-- What counts is how often the platform was asked, not how often the store could not be.
UPDATE byokeep.account_grant SET tries = tries + 1, changed_at = now()
 WHERE client_id = :client_id AND account_id = :account_id AND state <> 'revoked' AND reason = 'revoking'
RETURNING tries;

-- name: grant_end_later
-- The pause before the next try is counted from here: a platform that says when to come back is not asked before.
UPDATE byokeep.account_grant
   SET changed_at = now() + make_interval(secs => GREATEST(:wait_s - 15 * power(2, LEAST(tries, 10)), 0))
 WHERE client_id = :client_id AND account_id = :account_id AND state <> 'revoked' AND reason = 'revoking'
RETURNING account_id;

-- name: grant_ended
-- What has ended acts through nothing.
WITH gone AS (
    UPDATE byokeep.account_grant
       SET state = 'revoked', reason = :reason, due_at = NULL, alarm_at = NULL, reauth_at = NULL, changed_at = now()
     WHERE client_id = :client_id AND account_id = :account_id AND state <> 'revoked'
    RETURNING *
), off AS (
    UPDATE byokeep.platform_account SET lanes = '{}', identity = 'unchecked', identified_at = clock_timestamp()
     WHERE client_id = :client_id AND id = :account_id AND EXISTS (SELECT FROM gone)
)
SELECT * FROM gone;

-- name: accounts_states
-- Accounts with what their grants say, and their living profiles; a registered one may have no grant. A name for which
-- every consent failed is nobody's account: who asks for all is not told of it, and who uses it again takes its row.
SELECT a.*, p.profile, g.login, g.external_id, g.username AS said_username, g.display_name AS said_display_name,
       g.state AS grant_state, g.reason AS grant_reason, g.purposes, g.scopes, g.reauth_at, g.access_expires_at,
       g.verified_at, g.drift, g.connected_seq, g.obtained_at, g.due_at, g.superseded_at,
       g.state <> 'revoked'
         AND EXISTS (SELECT FROM byokeep.credential_ref r WHERE r.client_id = g.client_id
                        AND r.account_id = g.account_id AND r.state = 'deactivated')
         AND NOT EXISTS (SELECT FROM byokeep.credential_ref r WHERE r.client_id = g.client_id
                            AND r.account_id = g.account_id AND r.state IN ('pre_activation', 'active', 'suspended'))
         AS ending
  FROM byokeep.platform_account a
  LEFT JOIN byokeep.account_grant g ON g.client_id = a.client_id AND g.account_id = a.id
  LEFT JOIN LATERAL (
      SELECT jsonb_build_object('id', o.id, 'state', o.state,
                                'proved', o.generation > 0 AND o.generation = o.validated_generation,
                                'usable', coalesce(byokeep.profile_usable(o.client_id, o.id), false)) AS profile
        FROM byokeep.profile_account pa
        JOIN byokeep.profile o ON o.client_id = pa.client_id AND o.id = pa.profile_id
       WHERE pa.client_id = a.client_id AND pa.account_id = a.id AND pa.retired_at IS NULL) p ON true
 WHERE a.client_id = :client_id AND (CAST(:account AS text) IS NULL OR a.account = CAST(:account AS text))
   AND (CAST(:platform AS text) IS NULL OR a.platform = CAST(:platform AS text))
   AND (CAST(:account AS text) IS NOT NULL OR g.account_id IS NOT NULL OR a.username <> ''
        OR EXISTS (SELECT FROM byokeep.connection c WHERE c.client_id = a.client_id AND c.account_id = a.id
                      AND c.state IN ('started', 'answered', 'taken'))
        OR EXISTS (SELECT FROM byokeep.profile_account p WHERE p.client_id = a.client_id AND p.account_id = a.id))
 ORDER BY a.platform, a.account LIMIT :limit;

-- name: grant_steady
-- Who changes what an account may do and who disconnects it stand in line here.
SELECT account_id FROM byokeep.account_grant WHERE client_id = :client_id AND account_id = :account_id FOR UPDATE;

-- name: grant_ask_look
UPDATE byokeep.account_grant SET verified_at = NULL, changed_at = clock_timestamp()
 WHERE client_id = :client_id AND account_id = :account_id AND state = 'live'
RETURNING account_id;

-- name: grant_confirm
UPDATE byokeep.account_grant SET drift = false, changed_at = clock_timestamp()
 WHERE client_id = :client_id AND account_id = :account_id AND state = 'live' AND drift
   AND username IS NOT DISTINCT FROM :username AND display_name IS NOT DISTINCT FROM :display_name
RETURNING account_id;

-- name: account_confirm
UPDATE byokeep.platform_account SET username = :username, display_name = :display_name
 WHERE client_id = :client_id AND id = :id
RETURNING *;

-- name: grants_beside
-- Other accounts of a client at the same login, which may be of the same owner's consent.
SELECT a.account FROM byokeep.account_grant g
  JOIN byokeep.platform_account a ON a.client_id = g.client_id AND a.id = g.account_id
 WHERE g.client_id = :client_id AND g.login = :login AND g.account_id <> :account_id AND g.state = 'live'
   AND EXISTS (SELECT FROM byokeep.credential_ref r WHERE r.client_id = g.client_id AND r.account_id = g.account_id
                  AND r.state IN ('pre_activation', 'active', 'suspended'))
 ORDER BY a.account;

-- name: grants_beside_look
UPDATE byokeep.account_grant SET verified_at = NULL, changed_at = clock_timestamp()
 WHERE client_id = :client_id AND login = :login AND account_id <> :account_id AND state = 'live'
RETURNING account_id;

-- name: grant_rest
UPDATE byokeep.account_grant SET due_at = NULL, changed_at = clock_timestamp()
 WHERE client_id = :client_id AND account_id = :account_id AND state <> 'revoked'
RETURNING account_id;

-- name: account_ref_any
SELECT * FROM byokeep.credential_ref
 WHERE client_id = :client_id AND account_id = :account_id
   AND state IN ('pre_activation', 'active', 'suspended') FOR UPDATE;

-- name: account_refs_retired
SELECT * FROM byokeep.credential_ref
 WHERE client_id = :client_id AND account_id = :account_id AND state = 'deactivated' FOR UPDATE;
