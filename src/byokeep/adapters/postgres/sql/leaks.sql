-- Keyed digests of windows of live values, by which a copy of one is found (docs/spec/leak-fingerprints.md).

-- name: leak_fingerprint_put
-- Again for the same version when a cut-off onboarding is repeated: the value is the same, so is the row. When a mint is,
-- the value is another one. Not by EXCLUDED: for that one must be able to read digests, which a worker is not.
INSERT INTO byokeep.leak_fingerprint AS f (client_id, ref_id, version, format, digests)
VALUES (:client_id, :ref_id, :version, :format, CAST(:digests AS text[]))
ON CONFLICT (client_id, ref_id, version)
DO UPDATE SET format = :format, digests = CAST(:digests AS text[]), made_at = now()
RETURNING f.ref_id;

-- name: leak_live
-- Every reference in one of the states, once for each version that was ever announced or written under it, with the
-- digests of this format if there are any: an earlier release announced none of what it had made at a provider.
-- References that follow each other share their place in the store, but no version.
-- Tokens of accounts are not looked for: they are replaced every few hours. A keyless credential has no value of its own.
SELECT r.client_id, r.id AS ref_id, r.secret_ref, r.version AS pinned, v.version, f.digests,
       r.kind = 'provider_api_key' AND r.provider_place <> '' AS keyless
  FROM byokeep.credential_ref r
  LEFT JOIN LATERAL (
       SELECT version FROM byokeep.value_fingerprint WHERE ref_id = r.id
        UNION SELECT (facts ->> 'version')::integer FROM byokeep.procedure_run
               WHERE client_id = r.client_id AND object_id = r.id AND procedure = 'onboard_key'
                 AND evidence -> 'vault_write_event' IS NOT NULL
       ) AS v ON true
  LEFT JOIN byokeep.leak_fingerprint f
         ON f.client_id = r.client_id AND f.ref_id = r.id AND f.version = v.version AND f.format = :format
 WHERE r.state = ANY(CAST(:states AS text[])) AND r.account_id IS NULL
   AND (CAST(:ids AS uuid[]) IS NULL OR r.client_id = ANY(CAST(:ids AS uuid[])))
 ORDER BY r.client_id, r.id, v.version;
