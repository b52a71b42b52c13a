-- The way back of a platform after its grant was lost. A row is held before the transaction appends to the audit
-- trail: whoever has the client's chain must not wait for somebody who waits for the chain.

-- name: reenabling_begin
INSERT INTO byokeep.reenabling (client_id, platform, cause, stage, stages, number, taken, done, way, revision,
                                changed_at, closed_at)
VALUES (:client_id, :platform, :cause, :stage, CAST(:stages AS integer[]), :number, :taken, :done, :way, :revision,
        clock_timestamp(), clock_timestamp())
ON CONFLICT (client_id, platform) DO NOTHING
RETURNING revision;

-- name: reenabling_hold
SELECT cause, stage, stages, number, taken, done, way, revision
  FROM byokeep.reenabling
 WHERE client_id = :client_id AND platform = :platform
   FOR UPDATE;

-- name: reenabling_move
UPDATE byokeep.reenabling
   SET cause = :cause, stage = :stage, number = :number, taken = :taken, done = :done, way = :way,
       revision = :revision, changed_at = clock_timestamp(),
       closed_at = CASE WHEN :stage = 'closed' THEN clock_timestamp() ELSE closed_at END
 WHERE client_id = :client_id AND platform = :platform AND revision = :seen
RETURNING revision;

-- name: reenabling_said_again
-- Closed for the same cause once more: the state stays, and a consent of before this word counts no more.
UPDATE byokeep.reenabling SET closed_at = clock_timestamp()
 WHERE client_id = :client_id AND platform = :platform
RETURNING platform;

-- name: reenabling_closed_since
-- Whether a platform was closed after a moment. Its answer holds for who has the client's chain: a close is on it.
SELECT EXISTS (SELECT FROM byokeep.reenabling
                WHERE client_id = :client_id AND platform = :platform AND closed_at >= :since) AS found;

-- name: reenabling_list
SELECT platform, cause, stage, stages, number, taken, done, way, revision, changed_at
  FROM byokeep.reenabling
 WHERE client_id = :client_id
 ORDER BY platform;

-- name: reenabling_person
-- Whether somebody is a person who may log in for a client: only such a login leads back.
SELECT s.id
  FROM byokeep.subject s
 WHERE s.id = :id AND s.kind = 'operator' AND s.state = 'active' AND 'operator' = ANY (s.roles)
   AND (s.all_clients OR EXISTS (SELECT FROM byokeep.subject_client sc
                                  WHERE sc.subject_id = s.id AND sc.client_id = :client_id));

-- name: grants_hold
-- Every account that could act on a platform, in one order.
SELECT account_id FROM byokeep.account_grant
 WHERE client_id = :client_id AND provider = :platform AND state <> 'revoked'
 ORDER BY account_id FOR UPDATE;

-- name: grants_doubted
-- Whose tokens nobody trusts any more: each waits for its own login, and has to be told anew what it may do.
WITH lost AS (
    UPDATE byokeep.account_grant
       SET state = 'needs_reauth', due_at = NULL, changed_at = clock_timestamp(),
           reason = CASE WHEN reason = 'revoking' THEN reason ELSE :reason END
     WHERE client_id = :client_id AND provider = :platform AND state IN ('live', 'unverified')
    RETURNING account_id, login, version
), off AS (
    UPDATE byokeep.platform_account SET lanes = '{}'
     WHERE client_id = :client_id AND id IN (SELECT account_id FROM lost)
)
SELECT account_id, login, version FROM lost ORDER BY account_id;
