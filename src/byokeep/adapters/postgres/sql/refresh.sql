-- Renewals of tokens: grants that are due, the journal of what is under way, and what became of it.

-- name: refresh_due
-- A renewal that another machine has under way is its own.
SELECT g.* FROM byokeep.account_grant g
 WHERE g.state = 'live' AND g.due_at <= :now
   AND NOT EXISTS (SELECT FROM byokeep.refresh_journal j
                    WHERE j.client_id = g.client_id AND j.account_id = g.account_id AND j.ended_at IS NULL
                      AND j.owner <> :owner)
 ORDER BY g.due_at LIMIT :limit;

-- name: refresh_cut_off
-- What a crash, or a store that was away, left after the request: to be taken up whatever the time.
SELECT g.* FROM byokeep.account_grant g
  JOIN byokeep.refresh_journal j ON j.client_id = g.client_id AND j.account_id = g.account_id
 WHERE j.ended_at IS NULL AND j.owner = :owner AND j.phase IN ('sent', 'landed')
 ORDER BY j.started_at LIMIT :limit;

-- name: refresh_foreign
-- Renewals that have been under way on another machine for longer than any takes.
SELECT * FROM byokeep.refresh_journal
 WHERE ended_at IS NULL AND owner <> :owner AND started_at < clock_timestamp() - interval '15 minutes'
   AND phase <> 'started'
 ORDER BY started_at LIMIT 50;

-- name: refreshers_list
-- Owners of slots that have renewals under way: how many, and when the first and the last of them began.
SELECT owner, count(*) AS renewals, min(started_at) AS oldest_at, max(started_at) AS newest_at,
       bool_or(reason = 'owner_gone') AS gone
  FROM byokeep.refresh_journal WHERE ended_at IS NULL
 GROUP BY owner ORDER BY min(started_at) LIMIT 200;

-- name: refresher_gone
UPDATE byokeep.refresh_journal SET reason = 'owner_gone' WHERE owner = :owner AND ended_at IS NULL
RETURNING started_at > clock_timestamp() - interval '15 minutes' AS fresh;

-- name: refresh_take_over
-- What a machine left that a person has declared gone. Its slots are gone with it, so that a request it sent counts as
-- a lost answer; of two that take over each row goes to one.
UPDATE byokeep.refresh_journal SET owner = :owner, reason = ''
 WHERE ended_at IS NULL AND owner <> :owner AND reason = 'owner_gone'
RETURNING id;

-- name: refresh_grant
SELECT * FROM byokeep.account_grant WHERE client_id = :client_id AND account_id = :account_id;

-- name: refresh_grant_hold
SELECT * FROM byokeep.account_grant WHERE client_id = :client_id AND account_id = :account_id FOR UPDATE;

-- name: grant_standing
-- Whether a person has ended a grant; under the lock of its row nobody changes that.
SELECT CASE WHEN g.state = 'revoked' THEN 'ended'
            WHEN EXISTS (SELECT FROM byokeep.credential_ref r WHERE r.client_id = g.client_id
                            AND r.account_id = g.account_id AND r.state = 'deactivated')
             AND NOT EXISTS (SELECT FROM byokeep.credential_ref r WHERE r.client_id = g.client_id
                                AND r.account_id = g.account_id
                                AND r.state IN ('pre_activation', 'active', 'suspended')) THEN 'ending'
            ELSE 'held' END AS standing
  FROM byokeep.account_grant g WHERE g.client_id = :client_id AND g.account_id = :account_id;

-- name: refresh_replaced
-- The version of the first login by which a person replaced what was renewed; 0 when nobody did.
SELECT COALESCE(min((s.facts ->> 'version')::integer), 0) AS version FROM byokeep.connection c
  JOIN byokeep.procedure_run s ON s.client_id = c.client_id AND s.id = c.sop_id
 WHERE c.client_id = :client_id AND c.account_id = :account_id AND c.state = 'connected' AND (s.facts ->> 'version')::integer > :base;

-- name: refresh_unsent_close
-- Nothing of it has left, and nothing will: who has it under way finds no row to write *sent* into.
UPDATE byokeep.refresh_journal SET phase = 'closed', reason = 'disconnected', ended_at = clock_timestamp()
 WHERE client_id = :client_id AND account_id = :account_id AND ended_at IS NULL AND phase = 'started'
RETURNING id;

-- name: grant_waits
-- The end of a grant waits for a request that has left; from the first time on, and not for ever.
UPDATE byokeep.account_grant
   SET reason = 'revoking', tries = 0, due_at = NULL, alarm_at = NULL,
       changed_at = CASE WHEN reason = 'revoking' THEN changed_at ELSE now() END
 WHERE client_id = :client_id AND account_id = :account_id AND state <> 'revoked'
   AND (reason <> 'revoking' OR (tries = 0 AND changed_at > now() - make_interval(secs => :wait_s)))
   AND EXISTS (SELECT FROM byokeep.refresh_journal j WHERE j.client_id = :client_id AND j.account_id = :account_id
                  AND j.ended_at IS NULL AND j.phase IN ('sent', 'landed'))
RETURNING account_id;

-- name: refresh_traces
-- Whether a renewal is still open, and whether one of the pinned version may have had a reply that nobody has.
SELECT COALESCE(bool_or(j.ended_at IS NULL AND j.phase <> 'broken'), false) AS open,
       COALESCE(bool_or(j.base = g.version AND j.reason <> 'handed_over'
                        AND (j.lost > 0 OR j.phase = 'broken' OR j.ended_at IS NULL)), false) AS lost
  FROM byokeep.account_grant g
  LEFT JOIN byokeep.refresh_journal j ON j.client_id = g.client_id AND j.account_id = g.account_id
 WHERE g.client_id = :client_id AND g.account_id = :account_id;

-- name: refresh_app
SELECT * FROM byokeep.platform_app
 WHERE login = :login AND environment = :environment;

-- name: refresh_journal_open
SELECT j.*, EXISTS (SELECT FROM byokeep.job b
                     WHERE b.client_id = j.client_id AND b.id = j.job_id AND b.state = 'open'
                       AND b.expires_at > clock_timestamp() + interval '3 minutes') AS job_open
  FROM byokeep.refresh_journal j
 WHERE j.client_id = :client_id AND j.account_id = :account_id AND j.ended_at IS NULL;

-- name: refresh_journals_ended
SELECT id FROM byokeep.refresh_journal WHERE id = ANY(CAST(:ids AS uuid[])) AND ended_at IS NOT NULL;

-- name: refresh_journal_begin
-- The open row is what makes a renewal the only one.
INSERT INTO byokeep.refresh_journal (id, client_id, account_id, base, phase, owner, job_id, started_at)
VALUES (:id, :client_id, :account_id, :base, 'started', :owner, :job_id, clock_timestamp())
ON CONFLICT (client_id, account_id) WHERE ended_at IS NULL DO NOTHING
RETURNING *, true AS job_open;

-- name: refresh_journal_move
UPDATE byokeep.refresh_journal
   SET phase = :phase, lost = :lost, sent_at = :sent_at, landing_version = :landing_version, job_id = :job_id,
       reason = :reason, ended_at = CASE WHEN :over THEN clock_timestamp() END
 WHERE client_id = :client_id AND id = :id AND owner = :owner AND ended_at IS NULL
RETURNING id;

-- name: refresh_placed
-- What was given after a consent that may have ended the tokens proves that it did not; times of tokens are whole seconds.
UPDATE byokeep.account_grant
   SET version = :version, access_version = :access_version, scopes = CAST(:scopes AS text[]),
       scopes_known = :scopes_known, obtained_at = :obtained_at, access_expires_at = :access_expires_at,
       refresh_expires_at = :refresh_expires_at, consent_expires_at = :consent_expires_at, reauth_at = :reauth_at,
       alarm_at = :alarm_at, due_at = CASE WHEN state = 'live' THEN CAST(:due_at AS timestamptz) END, tries = 0,
       superseded_at = CASE WHEN date_trunc('second', superseded_at) > CAST(:obtained_at AS timestamptz)
                            THEN superseded_at END,
       changed_at = clock_timestamp()
 WHERE client_id = :client_id AND account_id = :account_id AND version <= :version
RETURNING version;

-- name: refresh_ref_move
UPDATE byokeep.credential_ref
   SET version = :version,
       rotation_due_at = LEAST(GREATEST(COALESCE(CAST(:due_at AS timestamptz), now() + interval '365 days'),
                                        created_at + interval '1 second'), created_at + interval '399 days')
 WHERE client_id = :client_id AND account_id = :account_id AND version <= :version
   AND state IN ('pre_activation', 'active', 'suspended')
RETURNING id;

-- name: refresh_put_off
UPDATE byokeep.account_grant SET due_at = :due_at, tries = :tries, changed_at = clock_timestamp()
 WHERE client_id = :client_id AND account_id = :account_id AND state = 'live' AND reason <> 'revoking'
   AND due_at IS NOT NULL
RETURNING version;

-- name: refresh_ended
UPDATE byokeep.account_grant SET state = 'needs_reauth', reason = :reason, due_at = NULL, changed_at = clock_timestamp()
 WHERE client_id = :client_id AND account_id = :account_id AND state IN ('live', 'unverified')
RETURNING version;

-- name: refresh_lanes_off
UPDATE byokeep.platform_account SET lanes = '{}'
 WHERE client_id = :client_id AND id = :account_id
RETURNING id;

-- name: refresh_ends_soon
-- Whoever was told is told anew only after the alert was closed.
SELECT g.* FROM byokeep.account_grant g
 WHERE g.state = 'live'
   AND (g.alarm_at <= :now OR g.obtained_at < CAST(:now AS timestamptz) - make_interval(days => :idle_days))
   AND NOT EXISTS (SELECT FROM byokeep.alert a
                    WHERE a.object_id = g.account_id AND a.closed_at IS NULL
                      AND a.reason = CASE WHEN g.alarm_at <= :now THEN 'account_reauth_due' ELSE 'account_idle_reauth_due' END)
 ORDER BY g.alarm_at LIMIT 200;
