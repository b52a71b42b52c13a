-- People and machines, their assignments and tokens: read here, written by the functions of objects/subjects.sql.

-- name: subject_lock
-- Changes of who may do what stand in line, so that a rule about all of them (a last admin) holds.
SELECT byokeep.subject_lock();

-- name: subject_count
SELECT count(*) AS found FROM byokeep.subject;

-- name: subject_put
SELECT byokeep.subject_put(
    CAST(:id AS uuid), :kind, :name, CAST(:roles AS text[]), :state, :all_clients, CAST(:clients AS uuid[]),
    CAST(:approval AS uuid), CAST(:hold_s AS bigint), :event, CAST(:actor AS uuid), CAST(:request AS uuid),
    CAST(:payload AS bytea));

-- name: subject_get
SELECT s.id, s.kind, s.name, s.roles, s.state, s.all_clients, s.created_at, s.created_by, s.password_mark, s.record_seq,
       s.held_until, s.admin_until, ARRAY(SELECT sc.client_id FROM byokeep.subject_client sc WHERE sc.subject_id = s.id) AS clients,
       (SELECT max(t.expires_at) FROM byokeep.api_token t
         WHERE t.subject_id = s.id AND t.kind = 'api' AND t.revoked_at IS NULL AND t.expires_at > now()) AS token_until
  FROM byokeep.subject s WHERE s.id = :id;

-- name: subject_names
-- Of the agency's people and its machines: a client's person comes to the portal alone.
SELECT name FROM byokeep.subject WHERE NOT 'contact' = ANY (roles);

-- name: subject_named
SELECT s.id, s.kind, s.name, s.roles, s.state, s.all_clients, s.created_at, s.created_by, s.password_mark, s.record_seq,
       s.held_until, s.admin_until, ARRAY(SELECT sc.client_id FROM byokeep.subject_client sc WHERE sc.subject_id = s.id) AS clients,
       (SELECT max(t.expires_at) FROM byokeep.api_token t
         WHERE t.subject_id = s.id AND t.kind = 'api' AND t.revoked_at IS NULL AND t.expires_at > now()) AS token_until,
       s.password_phc, byokeep.subject_recorded(s.id) AS recorded
  FROM byokeep.subject s WHERE s.name = :name AND s.kind = 'operator' AND NOT 'contact' = ANY (s.roles);

-- name: machine_named
SELECT s.id, s.kind, s.name, s.roles, s.state, s.all_clients, s.created_at, s.created_by, s.password_mark, s.record_seq,
       s.held_until, s.admin_until, ARRAY(SELECT sc.client_id FROM byokeep.subject_client sc WHERE sc.subject_id = s.id) AS clients,
       (SELECT max(t.expires_at) FROM byokeep.api_token t
         WHERE t.subject_id = s.id AND t.kind = 'api' AND t.revoked_at IS NULL AND t.expires_at > now()) AS token_until
  FROM byokeep.subject s WHERE s.name = :name AND s.kind = 'machine';

-- name: subjects_list
SELECT s.id, s.kind, s.name, s.roles, s.state, s.all_clients, s.created_at, s.created_by, s.password_mark, s.record_seq,
       s.held_until, s.admin_until, ARRAY(SELECT sc.client_id FROM byokeep.subject_client sc WHERE sc.subject_id = s.id) AS clients,
       (SELECT max(t.expires_at) FROM byokeep.api_token t
         WHERE t.subject_id = s.id AND t.kind = 'api' AND t.revoked_at IS NULL AND t.expires_at > now()) AS token_until
  FROM byokeep.subject s ORDER BY s.kind = 'machine', s.name;

-- name: subject_set_password
SELECT byokeep.password_put(CAST(:id AS uuid), :password_phc, CAST(:request AS uuid), CAST(:payload AS bytea));

-- name: subject_clients_known
SELECT id FROM byokeep.client WHERE id = ANY (CAST(:clients AS uuid[]));

-- name: admins_left
SELECT count(*) AS found FROM byokeep.subject WHERE state = 'active' AND 'admin' = ANY(roles) AND id <> :id;

-- name: admins_able
SELECT count(*) FILTER (WHERE stopped_until IS NULL) AS able, max(stopped_until) AS stopped_until
  FROM byokeep.able_admins();

-- name: admins_others
-- Who could agree to another admin's recovery: whom nobody stopped.
SELECT count(*) AS found FROM byokeep.able_admins() a WHERE a.id <> :id AND a.stopped_until IS NULL;

-- name: admins_ways_in
-- The admins, and by what each could sign in now.
SELECT s.name, s.password_phc IS NOT NULL AS password, EXISTS (
       SELECT FROM byokeep.able_admins() a WHERE a.id = s.id AND a.stopped_until IS NULL) AS able
  FROM byokeep.subject s
 WHERE s.kind = 'operator' AND s.state = 'active' AND 'admin' = ANY (s.roles) ORDER BY s.name LIMIT 200;

-- name: machine_own
SELECT byokeep.machine_own(CAST(:id AS uuid), CAST(:actor AS uuid)) AS own;

-- name: token_issue
SELECT id, subject_id, kind, created_at, expires_at, revoked_at
  FROM byokeep.token_issue(
       CAST(:id AS uuid), CAST(:subject_id AS uuid), CAST(:keyed_hash AS bytea), :kind, CAST(:life_s AS bigint),
       CAST(:approval AS uuid), CAST(:hold_s AS bigint), :event, CAST(:actor AS uuid), CAST(:request AS uuid), CAST(:payload AS bytea),
       CAST(:shown AS uuid));

-- name: token_end
SELECT id, subject_id, kind, created_at, expires_at, revoked_at
  FROM byokeep.token_end(
       CAST(:id AS uuid), CAST(:in_s AS bigint), :event, CAST(:actor AS uuid), CAST(:request AS uuid),
       CAST(:payload AS bytea));

-- name: token_get
SELECT id, subject_id, kind, created_at, expires_at, revoked_at FROM byokeep.api_token WHERE id = :id;

-- name: token_renewals
-- Whether a token was renewed before, and how many its machine has that work.
SELECT t.renewed_to IS NOT NULL AS renewed,
       (SELECT count(*) FROM byokeep.api_token o
         WHERE o.subject_id = t.subject_id AND o.revoked_at IS NULL AND o.expires_at > now()) AS live
  FROM byokeep.api_token t WHERE t.id = :id;

-- name: token_left
-- How long a machine's token, known by its hash, still works.
SELECT extract(epoch FROM t.expires_at - now())::double precision AS left_s
  FROM byokeep.api_token t
  JOIN byokeep.subject s ON s.id = t.subject_id
 WHERE t.keyed_hash = :keyed_hash AND s.kind = 'machine' AND s.name = :name AND t.revoked_at IS NULL;

-- name: machines_local
-- The machines of the embedded stack, and for how long their newest token works.
SELECT s.name, extract(epoch FROM max(t.expires_at) - now())::double precision AS left_s
  FROM byokeep.subject s
  LEFT JOIN byokeep.api_token t ON t.subject_id = s.id AND t.revoked_at IS NULL
 WHERE s.kind = 'machine' AND s.name = ANY (CAST(:names AS text[])) GROUP BY s.name ORDER BY s.name;

-- name: tokens_list
SELECT id, subject_id, kind, created_at, expires_at, revoked_at FROM byokeep.api_token
 WHERE subject_id = :subject_id AND revoked_at IS NULL AND expires_at > now()
 ORDER BY created_at;

-- name: tokens_shown
SELECT id, subject_id, kind, created_at, expires_at, revoked_at FROM byokeep.api_token
 WHERE keyed_hash = :keyed_hash AND kind IN ('session', 'cli', 'console', 'portal') AND revoked_at IS NULL;

-- name: token_code
SELECT t.id, t.subject_id, t.kind, t.created_at, t.expires_at, t.revoked_at
  FROM byokeep.api_token t JOIN byokeep.subject s ON s.id = t.subject_id
 WHERE t.keyed_hash = :keyed_hash AND t.kind = :kind AND t.revoked_at IS NULL AND t.expires_at > clock_timestamp()
   AND s.state = 'active' AND byokeep.subject_recorded(s.id) AND byokeep.token_recorded(t.id)
   AND (t.kind = 'cli_code' OR NOT EXISTS (SELECT FROM byokeep.passkey k WHERE k.subject_id = s.id AND k.ended_at IS NULL));

-- name: tokens_live
-- What is to end: not what ended by itself long ago. Sessions of each kind, and codes that open one, are sessions.
SELECT id, subject_id, kind, created_at, expires_at, revoked_at FROM byokeep.api_token
 WHERE subject_id = :subject_id AND id <> :except_id AND revoked_at IS NULL AND expires_at > now()
   AND (CAST(:kind AS text) IS NULL OR kind = :kind OR :kind = 'session' AND kind NOT IN ('api', 'invitation'))
   AND (NOT CAST(:given AS boolean) OR issued_by IS DISTINCT FROM subject_id)
   -- Whose console made the code that opened a session later, nobody knows: it may have been one that began by then.
   AND (CAST(:begun_by AS timestamptz) IS NULL OR created_at <= :begun_by OR kind IN ('cli', 'cli_code'))
 ORDER BY created_at, id;

-- name: token_invited
-- A contact person's invitation that works, and what whoever holds it is told.
SELECT t.id, t.subject_id, t.kind, t.created_at, t.expires_at, t.revoked_at, c.id AS client_id, c.name AS client,
       coalesce(b.name, '') AS invited_by
  FROM byokeep.api_token t
  JOIN byokeep.subject s ON s.id = t.subject_id
  JOIN byokeep.subject_client sc ON sc.subject_id = s.id
  JOIN byokeep.client c ON c.id = sc.client_id
  LEFT JOIN byokeep.subject b ON b.id = t.issued_by
 WHERE t.keyed_hash = :keyed_hash AND t.kind = 'invitation' AND t.revoked_at IS NULL
   AND t.expires_at > clock_timestamp() AND s.state = 'active' AND s.roles = ARRAY['contact']
   AND c.state IN ('active', 'enrolling', 'suspended')
   AND byokeep.subject_recorded(s.id) AND byokeep.token_recorded(t.id);

-- name: token_mailed
SELECT t.id, t.subject_id, t.kind, t.created_at, t.expires_at, t.revoked_at
  FROM byokeep.api_token t JOIN byokeep.subject s ON s.id = t.subject_id
 WHERE t.keyed_hash = ANY (CAST(:hashes AS bytea[])) AND t.kind = 'mailed' AND t.revoked_at IS NULL
   AND t.expires_at > clock_timestamp() AND s.state = 'active'
   AND NOT EXISTS (SELECT FROM byokeep.subject_client sc JOIN byokeep.client c ON c.id = sc.client_id
                    WHERE sc.subject_id = s.id AND c.state = 'closed')
   AND byokeep.subject_recorded(s.id) AND byokeep.token_recorded(t.id);

-- name: contact_address_put
INSERT INTO byokeep.contact_address (subject_id, client_id, address) VALUES (:subject_id, :client_id, :address);

-- name: contacts_at
-- Who is mailed at an address, and as whose contact person.
SELECT s.id, c.name AS client
  FROM byokeep.contact_address a
  JOIN byokeep.subject s ON s.id = a.subject_id
  JOIN byokeep.client c ON c.id = a.client_id
 WHERE a.address = :address AND s.state = 'active' AND c.state <> 'closed' ORDER BY a.made_at LIMIT :limit;

-- name: contacts_list
-- The contact persons of a client; `invited_until`: of an invitation that nobody has redeemed.
SELECT s.id, s.name, s.state, s.created_at, s.created_by, sc.client_id,
       coalesce((SELECT a.address FROM byokeep.contact_address a WHERE a.subject_id = s.id), '') AS address,
       (SELECT max(t.expires_at) FROM byokeep.api_token t
         WHERE t.subject_id = s.id AND t.kind = 'invitation' AND t.revoked_at IS NULL AND t.expires_at > now())
           AS invited_until,
       (SELECT max(t.created_at) FROM byokeep.api_token t WHERE t.subject_id = s.id AND t.kind = 'portal')
           AS signed_in_at
  FROM byokeep.subject s JOIN byokeep.subject_client sc ON sc.subject_id = s.id
 WHERE s.roles = ARRAY['contact'] AND sc.client_id = :client_id ORDER BY s.created_at DESC;

-- name: contact_live
-- By what a contact person can come in now: an invitation, a code, or a session that did not end idle.
SELECT id FROM byokeep.api_token
 WHERE subject_id = :id AND revoked_at IS NULL AND expires_at > clock_timestamp()
   AND (kind <> 'portal' OR seen_at > clock_timestamp() - interval '30 minutes');

-- name: contact_get
SELECT s.id, s.name, s.state, s.created_at, s.created_by, sc.client_id, NULL::timestamptz AS invited_until,
       coalesce((SELECT a.address FROM byokeep.contact_address a WHERE a.subject_id = s.id), '') AS address,
       NULL::timestamptz AS signed_in_at
  FROM byokeep.subject s JOIN byokeep.subject_client sc ON sc.subject_id = s.id
 WHERE s.roles = ARRAY['contact'] AND s.id = :id;

-- name: tokens_given
-- Credentials of a person that somebody else issued, lately.
SELECT t.kind, s.name AS by, t.created_at AS at
  FROM byokeep.api_token t
  LEFT JOIN byokeep.subject s ON s.id = t.issued_by
 WHERE t.subject_id = :subject_id AND t.issued_by <> t.subject_id AND t.created_at > now() - interval '30 days'
 ORDER BY t.created_at DESC LIMIT 5;

-- name: sso_linked
SELECT l.subject_id,
       s.state = 'active' AND byokeep.subject_recorded(s.id) AND byokeep.sso_recorded(l.identity) AS good
  FROM byokeep.sso_link l JOIN byokeep.subject s ON s.id = l.subject_id
 WHERE l.identity = :identity;

-- name: sso_link
SELECT byokeep.sso_link_put(
    CAST(:identity AS bytea), :event, CAST(:actor AS uuid), CAST(:request AS uuid), CAST(:payload AS bytea));

-- name: sso_digest
SELECT encode(identity, 'hex') FROM byokeep.sso_link WHERE subject_id = :subject_id;

-- name: sso_since
-- Of one person, or of all.
SELECT subject_id, linked_at FROM byokeep.sso_link
 WHERE CAST(:subject_id AS uuid) IS NULL OR subject_id = :subject_id;

-- name: sso_unlink
SELECT byokeep.sso_link_end(
    CAST(:subject AS uuid), :event, CAST(:actor AS uuid), CAST(:request AS uuid), CAST(:payload AS bytea));

-- name: passkeys_of
SELECT id, name, created_at, used_at FROM byokeep.passkey
 WHERE subject_id = :subject_id AND ended_at IS NULL ORDER BY created_at, id;

-- name: passkeys_known
SELECT identifier FROM byokeep.passkey WHERE subject_id = :subject_id AND ended_at IS NULL;

-- name: passkey_shown
SELECT k.id, k.subject_id, k.public_half, k.uses,
       k.ended_at IS NULL AND s.state = 'active' AND byokeep.subject_recorded(s.id) AND byokeep.passkey_recorded(k.id) AS good
  FROM byokeep.passkey k JOIN byokeep.subject s ON s.id = k.subject_id
 WHERE k.identifier = :identifier;

-- name: passkey_put
SELECT byokeep.passkey_put(
    CAST(:id AS uuid), CAST(:identifier AS bytea), CAST(:public_half AS bytea), CAST(:uses AS bigint), :name, :event,
    CAST(:actor AS uuid), CAST(:request AS uuid), CAST(:payload AS bytea));

-- name: passkey_end
SELECT passkey_end AS id FROM byokeep.passkey_end(
    CAST(:id AS uuid), :event, CAST(:actor AS uuid), CAST(:request AS uuid), CAST(:payload AS bytea));

-- name: passkey_used
SELECT passkey_used AS id FROM byokeep.passkey_used(CAST(:id AS uuid), CAST(:uses AS bigint));
