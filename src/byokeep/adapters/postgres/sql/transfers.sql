-- An account of a platform goes to another client: asked for by one person, approved by another, used by one consent.

-- name: transfer_request
INSERT INTO byokeep.approval (id, action, scope, epoch, reason, requested_by, requested_at, expires_at)
VALUES (:id, 'transfer_account', :scope, 0, :reason, :requested_by, statement_timestamp(),
        statement_timestamp() + interval '1 day')
RETURNING id, scope, reason, requested_by, expires_at;

-- name: transfer_waiting
-- Asked for, not approved, in time.
SELECT id, scope, reason, requested_by, expires_at FROM byokeep.approval
 WHERE action = 'transfer_account' AND scope = :scope AND approved_at IS NULL AND expires_at > clock_timestamp()
 ORDER BY requested_at LIMIT 1;

-- name: transfer_get
SELECT id, scope, requested_by, approved_at, expires_at > clock_timestamp() AS unexpired FROM byokeep.approval
 WHERE id = :id AND action = 'transfer_account';

-- name: transfer_approve
UPDATE byokeep.approval SET approved_by = :approved_by, approved_at = clock_timestamp()
 WHERE id = :id AND action = 'transfer_account' AND approved_at IS NULL AND requested_by <> :approved_by
   AND expires_at > clock_timestamp()
RETURNING id, scope, reason, requested_by, expires_at;

-- name: transfer_live
SELECT count(*) AS found FROM byokeep.approval
 WHERE action = 'transfer_account' AND scope = :scope AND approved_by <> requested_by AND used_at IS NULL
   AND expires_at > clock_timestamp();

-- name: transfer_use
UPDATE byokeep.approval SET used_at = clock_timestamp()
 WHERE action = 'transfer_account' AND scope = :scope AND approved_by <> requested_by AND used_at IS NULL
   AND expires_at > clock_timestamp()
RETURNING id;

-- name: grant_elsewhere
-- Whether the client that had this account of the platform last is another one (R5.2-15); says nothing of which.
SELECT COALESCE((SELECT g.client_id <> :client_id FROM byokeep.account_grant g
                  WHERE g.login = :login AND g.external_id = :external_id
                  ORDER BY g.state = 'revoked', g.changed_at DESC LIMIT 1), false) AS found;
