-- The way back of a platform after its grant was lost. A row is held before the transaction appends to the audit
-- trail: whoever has the client's chain must not wait for somebody who waits for the chain.

-- name: reenabling_begin
INSERT INTO byokeep.reenabling (client_id, platform, cause, stage, stages, number, taken, done, way, revision,
                                changed_at)
VALUES (:client_id, :platform, :cause, :stage, CAST(:stages AS integer[]), :number, :taken, :done, :way, :revision,
        clock_timestamp())
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
       revision = :revision, changed_at = clock_timestamp()
 WHERE client_id = :client_id AND platform = :platform AND revision = :seen
RETURNING revision;

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
