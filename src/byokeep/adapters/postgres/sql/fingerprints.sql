-- Keyed digests of values, to notice one value in two places. The key never leaves the store.

-- name: fingerprint_put
INSERT INTO byokeep.value_fingerprint AS f (ref_id, version, fingerprint)
VALUES (:ref_id, :version, :fingerprint)
ON CONFLICT (ref_id, version) DO UPDATE SET fingerprint = EXCLUDED.fingerprint
RETURNING f.ref_id;

-- name: fingerprint_get
SELECT fingerprint FROM byokeep.value_fingerprint WHERE ref_id = :ref_id AND version = :version;

-- name: fingerprint_sharers
-- Other references that hold or held the value of this one.
SELECT DISTINCT o.ref_id
  FROM byokeep.value_fingerprint f
  JOIN byokeep.value_fingerprint o ON o.fingerprint = f.fingerprint AND o.ref_id <> f.ref_id
  JOIN byokeep.credential_ref r ON r.id = o.ref_id
 WHERE f.ref_id = :ref_id AND f.version = :version
 ORDER BY o.ref_id LIMIT 100;

-- name: fingerprint_serves
-- References of which another version that serves or waits has the value of this one. Of a key only keys for the same
-- provider count: what is no key there keeps none alive.
SELECT r.id
  FROM byokeep.value_fingerprint f
  JOIN byokeep.value_fingerprint o ON o.fingerprint = f.fingerprint AND (o.ref_id, o.version) <> (f.ref_id, f.version)
  JOIN byokeep.credential_ref r ON r.id = o.ref_id AND o.version IN (r.version, r.candidate_version)
  LEFT JOIN byokeep.credential_ref own ON own.id = f.ref_id AND own.purpose <> 'webhook'
 WHERE f.ref_id = :ref_id AND f.version = :version AND r.state IN ('pre_activation', 'active', 'suspended')
   AND (own.id IS NULL OR (r.provider = own.provider AND r.purpose <> 'webhook'))
 LIMIT 100;

-- name: fingerprint_administers
-- References of keys that administer an account, with the value of this version.
SELECT r.id
  FROM byokeep.value_fingerprint f
  JOIN byokeep.value_fingerprint o ON o.fingerprint = f.fingerprint
  JOIN byokeep.credential_ref r ON r.id = o.ref_id AND r.version = o.version
 WHERE f.ref_id = :ref_id AND f.version = :version AND r.purpose = 'admin'
   AND r.state IN ('pre_activation', 'active', 'suspended')
 LIMIT 1;
