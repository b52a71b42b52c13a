-- Names behind ids that are known already.

-- name: names_known
SELECT s.id, s.name FROM byokeep.subject s WHERE s.id = ANY (CAST(:wanted AS uuid[]))
UNION ALL
SELECT i.id, 'byokeep' FROM byokeep.installation i WHERE i.id = ANY (CAST(:wanted AS uuid[]))
UNION ALL
SELECT c.id, c.name FROM byokeep.client c
 WHERE c.id = ANY (CAST(:wanted AS uuid[]))
   AND (CAST(:clients AS uuid[]) IS NULL OR c.id = ANY (CAST(:clients AS uuid[])));
