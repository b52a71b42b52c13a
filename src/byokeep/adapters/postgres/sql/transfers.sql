-- An account of a platform goes to another client: asked for by one person, approved by another, used by one consent.

-- name: transfer_live
SELECT count(*) AS found FROM byokeep.approval
 WHERE action = 'transfer_account' AND scope = :scope AND approved_by <> requested_by AND used_at IS NULL
   AND expires_at > clock_timestamp() AND byokeep.approval_given(id);

-- name: transfer_use
UPDATE byokeep.approval SET used_at = clock_timestamp()
 WHERE action = 'transfer_account' AND scope = :scope AND approved_by <> requested_by AND used_at IS NULL
   AND expires_at > clock_timestamp() AND byokeep.approval_given(id)
RETURNING id;

-- name: grant_elsewhere
-- Whether the client that had this account of the platform last is another one (R5.2-15); says nothing of which.
SELECT COALESCE((SELECT g.client_id <> :client_id FROM byokeep.account_grant g
                  WHERE g.login = :login AND g.external_id = :external_id
                  ORDER BY g.state = 'revoked', g.changed_at DESC LIMIT 1), false) AS found;
