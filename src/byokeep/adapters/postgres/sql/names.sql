-- Names of what is known by an id, and ids of what is known by a name.

-- name: names_known
-- Every name within the caller's clients, of some ids or of some kinds. A key is named by client and provider, an account
-- by client, platform and account; so is each profile of the account. A job has no name but its id. Live = what a name
-- means where it once meant another. People: those assigned to one of some clients, or all.
SELECT named.id, named.kind, named.name, named.live
  FROM (
    SELECT i.id, 'installation' AS kind, 'byokeep' AS name, true AS live, NULL::uuid AS client_id
      FROM byokeep.installation i
    UNION ALL
    SELECT s.id, s.kind, s.name, true, NULL FROM byokeep.subject s
     WHERE CAST(:people AS uuid[]) IS NULL OR s.all_clients OR EXISTS (
           SELECT FROM byokeep.subject_client o WHERE o.subject_id = s.id AND o.client_id = ANY (CAST(:people AS uuid[])))
    UNION ALL
    SELECT c.id, 'client', c.name, true, c.id FROM byokeep.client c
    UNION ALL
    SELECT r.id, 'key', concat_ws('/', c.name, r.provider, nullif(r.purpose, 'default')),
           r.state IN ('pre_activation', 'active', 'suspended'), c.id
      FROM byokeep.credential_ref r JOIN byokeep.client c ON c.id = r.client_id WHERE r.account_id IS NULL
    UNION ALL
    SELECT a.id, 'account', concat_ws('/', c.name, a.platform, a.account), true, c.id
      FROM byokeep.platform_account a JOIN byokeep.client c ON c.id = a.client_id
    UNION ALL
    SELECT p.id, 'profile', concat_ws('/', c.name, a.platform, a.account), o.retired_at IS NULL, c.id
      FROM byokeep.profile_account o
      JOIN byokeep.profile p ON p.client_id = o.client_id AND p.id = o.profile_id
      JOIN byokeep.platform_account a ON a.client_id = o.client_id AND a.id = o.account_id
      JOIN byokeep.client c ON c.id = o.client_id
    UNION ALL
    SELECT i.id, 'incident', concat_ws('/', coalesce(c.name, 'everybody'), i.kind), i.closed_at IS NULL, i.client_id
      FROM byokeep.incident i LEFT JOIN byokeep.client c ON c.id = i.client_id
    UNION ALL
    SELECT j.id, 'job', j.id::text, true, j.client_id FROM byokeep.job j WHERE starts_with(j.id::text, :begins)
  ) AS named
 WHERE (CAST(:clients AS uuid[]) IS NULL OR named.client_id = ANY (CAST(:clients AS uuid[]))
        OR named.client_id IS NULL AND named.kind <> 'incident')  -- everybody's is for people of all clients
   AND (CAST(:wanted AS uuid[]) IS NULL OR named.id = ANY (CAST(:wanted AS uuid[])))
   AND (CAST(:spelt AS text) IS NULL OR named.kind = 'job'
        OR lower(normalize(named.name, NFKC)) = lower(normalize(CAST(:spelt AS text), NFKC)))
   AND (CAST(:kinds AS text[]) IS NULL OR named.kind = ANY (CAST(:kinds AS text[])))
 ORDER BY named.live DESC, named.name LIMIT :limit;
