"""The tables, as SQLAlchemy metadata. Migrations must add up to exactly this; a test compares.

Rules
- No column holds or could hold a value: references, ids, enums, times, counters, keyed digests (R1.1-2).
- Client data carries ``client_id`` in every key and every foreign key, so a row can not hang on another
  client's parent (S-OWASP-23).
- What must be unique or well-formed is a constraint here, not only a check in code.
- Schema ``byokeep``. The queue's own tables live in schema ``procrastinate``.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from byokeep.adapters.postgres.columns import PLATFORM_NAMES, SCHEMA, metadata
from byokeep.adapters.postgres.columns import at as _at
from byokeep.adapters.postgres.columns import one_of as _one_of
from byokeep.adapters.postgres.columns import row_id as _id
from byokeep.adapters.postgres.columns import text_column as _text
from byokeep.adapters.postgres.columns import texts as _words
from byokeep.adapters.postgres.tables_profiles import (
    kek_rotation,
    kek_version,
    profile,
    profile_account,
    profile_generation,
    profile_incident,
    profile_incident_item,
    profile_opening,
    profile_work,
    vault_key_transition,
)
from byokeep.adapters.postgres.tables_social import (
    account_grant,
    connection,
    platform_app,
    reenabling,
    refresh_journal,
    scheduled_effect,
)
from byokeep.core.model import Provider

__all__ = [
    "SCHEMA",
    "account_grant",
    "connection",
    "kek_rotation",
    "kek_version",
    "metadata",
    "platform_app",
    "profile",
    "profile_account",
    "profile_generation",
    "profile_incident",
    "profile_incident_item",
    "profile_opening",
    "profile_work",
    "reenabling",
    "refresh_journal",
    "scheduled_effect",
    "vault_key_transition",
]


# A display name: letters, digits, plain punctuation. Nothing secret-shaped fits (20+ unbroken characters).
def _display_name() -> CheckConstraint:
    return CheckConstraint(
        "name ~ '^[[:alnum:]][[:alnum:] ._&''()-]{0,79}$' AND name !~ '[[:alnum:]_-]{25,}'", name="name"
    )


installation = Table(
    "installation", metadata, _id(), _text("environment"), _at("created_at"),
    # When the broker last proved that an audit device of the store records; web reads it before it writes a value.
    _at("store_recorded_at", nullable=True),
    Column("singleton", Boolean, nullable=False, unique=True, server_default=text("true")),
    CheckConstraint("singleton", name="singleton"),
    _one_of("environment", "production", "staging", "development"),
)  # fmt: skip

subject = Table(
    "subject", metadata, _id(),
    _text("kind"), _text("name"), _words("roles"), _text("state", default="active"),
    _text("password_phc", nullable=True), Column("all_clients", Boolean, nullable=False, server_default=text("false")),
    _at("created_at"), Column("created_by", Uuid, nullable=True),
    # Set by objects/subjects.sql alone: the digest of password_phc, the record that says what this row says, until when
    # this person approves nothing, and until when an admin whom another stopped counts on as one.
    _text("password_mark", nullable=True), Column("record_seq", BigInteger, nullable=True),
    _at("held_until", nullable=True), _at("admin_until", nullable=True),
    UniqueConstraint("name"), _display_name(),
    _one_of("kind", "operator", "machine"), _one_of("state", "active", "disabled"),
    CheckConstraint(
        "kind = 'operator' AND roles <@ ARRAY['admin','operator','approver','auditor']"
        " OR kind = 'machine' AND roles <@ ARRAY['dispatcher','runner','custodian'] AND cardinality(roles) = 1",
        name="roles",
    ),
    # R4.1-12, as core/policy.py has it: whoever writes rows past the code gives nobody both sides either.
    CheckConstraint(
        "NOT roles @> ARRAY['operator','approver'] AND NOT roles @> ARRAY['admin','approver']"
        " AND NOT roles @> ARRAY['admin','operator'] AND NOT roles @> ARRAY['admin','auditor']"
        " AND NOT roles @> ARRAY['operator','auditor']",
        name="separate_roles",
    ),
    CheckConstraint("password_phc IS NULL OR password_phc LIKE '$argon2id$%'", name="password_phc"),
)  # fmt: skip

subject_client = Table(
    "subject_client", metadata,
    Column("subject_id", Uuid, ForeignKey("byokeep.subject.id"), nullable=False),
    Column("client_id", Uuid, ForeignKey("byokeep.client.id"), nullable=False),
    PrimaryKeyConstraint("subject_id", "client_id"),
)  # fmt: skip

api_token = Table(
    "api_token", metadata, _id(),
    Column("subject_id", Uuid, ForeignKey("byokeep.subject.id"), nullable=False),
    Column("keyed_hash", LargeBinary, nullable=False, unique=True),
    _text("kind"), _at("created_at"), _at("expires_at"), _at("revoked_at", nullable=True),
    Column("record_seq", BigInteger, nullable=True), Column("issued_by", Uuid, nullable=True),
    _one_of("kind", "api", "session", "invitation"),
    CheckConstraint("octet_length(keyed_hash) = 32", name="keyed_hash"),
    CheckConstraint("expires_at > created_at AND expires_at <= created_at + interval '90 days'", name="expires_at"),
)  # fmt: skip

client = Table(
    "client", metadata, _id(),
    _text("name"), _text("state", default="enrolling"), _text("risk", default="standard"),
    _text("entity_id", nullable=True), _at("created_at"), Column("created_by", Uuid, nullable=False),
    UniqueConstraint("name"), _display_name(),
    _one_of("state", "enrolling", "active", "suspended", "closed"), _one_of("risk", "standard", "high"),
)  # fmt: skip

credential_ref = Table(
    "credential_ref", metadata,
    Column("id", Uuid, nullable=False), Column("client_id", Uuid, ForeignKey("byokeep.client.id"), nullable=False),
    _text("provider"), _text("kind"), _text("purpose", default="default"), _text("environment"),
    _text("secret_ref"), Column("version", Integer, nullable=False), _text("state"), _text("verification"),
    _text("risk"), _at("created_at"), Column("created_by", Uuid, nullable=False), _at("rotation_due_at"),
    _at("expires_at", nullable=True), Column("account_id", Uuid, nullable=True),
    Column("previous_version", Integer, nullable=True), _at("previous_until", nullable=True),
    # A newer value that waits for its verification; the pinned one goes on serving until then.
    Column("candidate_version", Integer, nullable=True), _text("candidate_risk", nullable=True),
    _at("candidate_due_at", nullable=True), _at("candidate_at", nullable=True),
    Column("candidate_by", Uuid, nullable=True),
    PrimaryKeyConstraint("client_id", "id"), UniqueConstraint("id"),
    ForeignKeyConstraint(["client_id", "account_id"],
                         ["byokeep.platform_account.client_id", "byokeep.platform_account.id"]),
    _one_of("provider", *Provider),
    _one_of("kind", "provider_api_key", "oauth_token_set", "session_cookie", "webhook_signing_secret",
            "internal_service_token", "database_credential"),
    _one_of("environment", "production", "staging", "development"),
    _one_of("state", "pre_activation", "active", "suspended", "deactivated", "compromised", "destroyed"),
    _one_of("verification", "pending", "verified", "failed", "quarantined"),
    _one_of("risk", "standard", "high"),
    CheckConstraint("version >= 1", name="version"),
    CheckConstraint("purpose ~ '^[a-z][a-z0-9_]{0,31}$'", name="purpose"),
    # R1.1-3 and R3.2-3: the grammar, and that the place is this row's own client, provider and account.
    CheckConstraint(
        "secret_ref = 'vault://kv/clients/' || client_id::text || '/providers/' || provider || CASE kind"
        " WHEN 'oauth_token_set' THEN '/accounts/' || account_id::text || '/tokens'"
        " WHEN 'webhook_signing_secret' THEN '/webhook' ELSE '' END",
        name="secret_ref",
    ),
    CheckConstraint(
        "(kind = 'oauth_token_set') = (account_id IS NOT NULL) AND (kind = 'oauth_token_set') = (purpose = 'account')"
        " AND (kind = 'webhook_signing_secret') = (purpose = 'webhook')",
        name="belongs",
    ),
    CheckConstraint("(previous_version IS NULL) = (previous_until IS NULL)", name="previous"),
    CheckConstraint(
        "num_nulls(candidate_version, candidate_risk, candidate_due_at, candidate_at, candidate_by) IN (0, 5)"
        " AND coalesce(candidate_version > version, true)"
        " AND coalesce(candidate_risk IN ('standard', 'high'), true)",
        name="candidate",
    ),
    CheckConstraint(
        "rotation_due_at > created_at AND rotation_due_at <= created_at + interval '400 days'", name="rotation_due_at"
    ),
    Index("credential_ref_one_live_uq", "client_id", "provider", "purpose", unique=True,
          postgresql_where=text("state IN ('pre_activation','active','suspended') AND account_id IS NULL")),
    Index("credential_ref_account_live_uq", "client_id", "account_id", unique=True,
          postgresql_where=text("state IN ('pre_activation','active','suspended') AND account_id IS NOT NULL")),
)  # fmt: skip

sop_run = Table(
    "sop_run", metadata, _id(),
    Column("client_id", Uuid, ForeignKey("byokeep.client.id"), nullable=False),
    _text("sop"), _text("provider"), Column("ref_id", Uuid, nullable=True), Column("version", Integer, nullable=True),
    _text("state", default="running"), _text("reason", default=""), _at("started_at"), _at("closed_at", nullable=True),
    Column("started_by", Uuid, nullable=False),
    Column("write_seq", BigInteger, nullable=True), Column("verify_seq", BigInteger, nullable=True),
    Column("leak_seq", BigInteger, nullable=True), Column("done_seq", BigInteger, nullable=True),
    _text("store_request", default=""),
    _one_of("sop", "onboard_key", "connect_account", "create_profile", "profile_compromise"),
    _one_of("state", "running", "complete", "failed"),
)  # fmt: skip

platform_account = Table(
    "platform_account", metadata,
    Column("id", Uuid, nullable=False), Column("client_id", Uuid, ForeignKey("byokeep.client.id"), nullable=False),
    _text("platform"), _text("account"), _text("username"), _text("display_name"),
    _words("lanes"), _at("identified_at", nullable=True), _text("identity", default="unchecked"),
    _at("created_at"), Column("created_by", Uuid, nullable=False),
    PrimaryKeyConstraint("client_id", "id"), UniqueConstraint("client_id", "platform", "account"),
    _one_of("platform", *PLATFORM_NAMES),
    _one_of("identity", "unchecked", "match", "mismatch", "unknown"),
    CheckConstraint("account ~ '^[A-Za-z0-9_.-]{1,64}$'", name="account"),
    # Typed by an operator, or as a platform says it: any script then, and empty where a platform tells none.
    CheckConstraint("length(username) <= 400 AND username !~ '[[:cntrl:]]'", name="username"),
    CheckConstraint("length(display_name) <= 400 AND display_name !~ '[[:cntrl:]]'", name="display_name"),
)  # fmt: skip

job = Table(
    "job", metadata,
    Column("id", Uuid, nullable=False), Column("client_id", Uuid, ForeignKey("byokeep.client.id"), nullable=False),
    Column("dispatcher_id", Uuid, ForeignKey("byokeep.subject.id"), nullable=False),
    Column("runner_id", Uuid, ForeignKey("byokeep.subject.id"), nullable=False),
    _text("kind"), _words("secrets"), _words("platforms"), _words("lanes"), _words("effects"),
    _text("state", default="open"), _text("reason", default=""),
    _at("opened_at"), _at("expires_at"), _at("closed_at", nullable=True),
    _at("sealing_at", nullable=True),  # from here on it seals the profile that it used, and causes no effect
    PrimaryKeyConstraint("client_id", "id"), UniqueConstraint("id"),
    _one_of("kind", "use", "custody"), _one_of("state", "open", "closed", "expired", "killed"),
    CheckConstraint("kind = 'use' OR effects = '{}'", name="custody_has_no_effects"),
    CheckConstraint("expires_at > opened_at AND expires_at <= opened_at + interval '24 hours'", name="expires_at"),
)  # fmt: skip

lease = Table(
    "lease", metadata,
    Column("id", Uuid, nullable=False), Column("client_id", Uuid, nullable=False),
    Column("job_id", Uuid, nullable=False), Column("runner_id", Uuid, nullable=False),
    _text("kind"), _words("secrets"), Column("jwt_iat", BigInteger, nullable=False),
    Column("jwt_exp", BigInteger, nullable=False), _at("issued_at"), _at("expires_at"),
    PrimaryKeyConstraint("client_id", "id"), UniqueConstraint("id"),
    ForeignKeyConstraint(["client_id", "job_id"], ["byokeep.job.client_id", "byokeep.job.id"]),
    Index("lease_issued_at_ix", "issued_at"), Index("lease_client_issued_at_ix", "client_id", "issued_at"),
    _one_of("kind", "use", "custody", "enroll"),
)  # fmt: skip

permit = Table(
    "permit", metadata,
    Column("id", Uuid, nullable=False), Column("client_id", Uuid, nullable=False),
    Column("job_id", Uuid, nullable=False), Column("lease_id", Uuid, nullable=False),
    _text("platform"), _text("account"), _text("lane"), _text("effect"), _text("idempotency_key"),
    _text("state", default="issued"), _at("issued_at"), _at("expires_at"), _at("closed_at", nullable=True),
    # Where a canary of re-enabling took this act (core/reenable.py); null outside one.
    Column("way", Integer, nullable=True), Column("stage", Integer, nullable=True),
    PrimaryKeyConstraint("client_id", "id"), UniqueConstraint("id"),
    ForeignKeyConstraint(["client_id", "job_id"], ["byokeep.job.client_id", "byokeep.job.id"]),
    ForeignKeyConstraint(["client_id", "lease_id"], ["byokeep.lease.client_id", "byokeep.lease.id"]),
    _one_of("state", "issued", "done", "failed", "unknown"),
    CheckConstraint("idempotency_key ~ '^[A-Za-z0-9_.:-]{8,64}$'", name="idempotency_key"),
    # R1.5-6: one key never yields two effects; a failed attempt (surely not done) frees the key.
    Index("permit_idempotency_uq", "client_id", "idempotency_key", unique=True,
          postgresql_where=text("state <> 'failed'")),
)  # fmt: skip

switch = Table(
    "switch", metadata,
    Column("scope", Text, primary_key=True), Column("client_id", Uuid, nullable=True),
    Column("closed", Boolean, nullable=False), Column("epoch", BigInteger, nullable=False),
    _text("reason"), Column("by", Uuid, nullable=False), _at("at"),
    Column("installation_id", Uuid, ForeignKey("byokeep.installation.id"), nullable=False),
    Column("store_cut_off", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("reason ~ '^[a-z][a-z0-9_]{1,62}$'", name="reason"),
)  # fmt: skip

approval = Table(
    "approval", metadata, _id(),
    _text("action"), _text("scope"), Column("epoch", BigInteger, nullable=False), _text("reason"),
    Column("requested_by", Uuid, nullable=False), Column("approved_by", Uuid, nullable=True),
    _at("requested_at"), _at("expires_at"), _at("approved_at", nullable=True), _at("used_at", nullable=True),
    _text("asked", nullable=True),  # what was asked for, as canonical JSON; the scope binds the approval to it
    _one_of("action", "open_switch", "start_canary", "transfer_account", "give_rights", "issue_token"),
    CheckConstraint("approved_by IS NULL OR approved_by <> requested_by", name="two_people"),
)  # fmt: skip

alert = Table(
    "alert", metadata, _id(),
    Column("client_id", Uuid, nullable=True), Column("object_id", Uuid, nullable=True),
    _text("reason"), _text("severity"), _text("dedup_key"), _at("opened_at"), _at("closed_at", nullable=True),
    Column("closed_by", Uuid, nullable=True), Column("count", Integer, nullable=False, server_default=text("1")),
    _text("code_points", default=""),  # as in connection
    _at("last_seen_at"),
    _one_of("severity", "info", "warning", "critical"),
    CheckConstraint("code_points ~ '^([0-9a-f]{4,6}(,[0-9a-f]{4,6}){0,7})?$'", name="code_points"),
    Index("alert_open_uq", "dedup_key", "reason", "severity", unique=True, postgresql_where=text("closed_at IS NULL")),
)  # fmt: skip

value_fingerprint = Table(
    "value_fingerprint", metadata,
    Column("ref_id", Uuid, nullable=False), Column("version", Integer, nullable=False), _text("fingerprint"),
    PrimaryKeyConstraint("ref_id", "version"),
    Index("value_fingerprint_fingerprint_ix", "fingerprint"),
    CheckConstraint("fingerprint ~ '^[0-9a-f]{64}$'", name="fingerprint"),
)  # fmt: skip

# Keyed digests of a few windows of a value, by which a copy of it is found (docs/spec/leak-fingerprints.md). Announced
# with the write, so before there is a reference; a version written by an earlier release has no row.
leak_fingerprint = Table(
    "leak_fingerprint", metadata,
    Column("client_id", Uuid, ForeignKey("byokeep.client.id"), nullable=False),
    Column("ref_id", Uuid, nullable=False), Column("version", Integer, nullable=False),
    Column("format", Integer, nullable=False), _words("digests"), _at("made_at"),
    PrimaryKeyConstraint("client_id", "ref_id", "version"),
    CheckConstraint("version >= 1", name="version"), CheckConstraint("format >= 1", name="format"),
    CheckConstraint(
        "cardinality(digests) <= 16"
        " AND array_to_string(digests, ',', 'null') ~ '^([0-9a-f]{32}(,[0-9a-f]{32})*)?$'",
        name="digests",
    ),
)  # fmt: skip

key_transition = Table(
    "key_transition", metadata, _id(),
    Column("client_id", Uuid, nullable=False), Column("ref_id", Uuid, nullable=False),
    _text("state_from"), _text("state_to"), _text("reason"), _at("at"), Column("by", Uuid, nullable=False),
    ForeignKeyConstraint(["client_id", "ref_id"], ["byokeep.credential_ref.client_id", "byokeep.credential_ref.id"]),
)  # fmt: skip

audit_head = Table(
    "audit_head", metadata,
    Column("chain", Uuid, primary_key=True), Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False), _at("at"),
)  # fmt: skip

audit_record = Table(
    "audit_record", metadata,
    Column("chain", Uuid, nullable=False), Column("seq", BigInteger, nullable=False), _at("at"),
    _text("event"), Column("actor_id", Uuid, nullable=False), Column("object_id", Uuid, nullable=True),
    Column("request_id", Uuid, nullable=False), _text("outcome"), _text("writer"),
    Column("payload", LargeBinary, nullable=False), Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("chain", "seq"),
    Index("audit_record_at_ix", "at"), Index("audit_record_object_ix", "chain", "object_id", "seq"),
    # What a reconciliation looks for among all that happened: writes at the store and changes of its set-up.
    Index("audit_record_store_ix", "at", postgresql_where=text(
        "event IN ('key.write', 'key.stored', 'tokens.stored', 'webhook_secret.stored', 'connection.started',"
        " 'connection.answered', 'platform_app.set', 'profile.sealed', 'kek.rewrapped', 'installation.created',"
        " 'service.started', 'config.changed')")),
    Index("audit_record_switch_ix", "chain", "seq",
          postgresql_where=text("event IN ('switch.closed', 'switch.opened')")),
    # What a reconciliation holds alerts against.
    Index("audit_record_alert_ix", "at", postgresql_where=text("event IN ('alert.raised', 'alert.closed')")),
    # What a reconciliation holds people, machines and their tokens against.
    Index("audit_record_subject_ix", "object_id", "seq",
          postgresql_where=text(
              "outcome = 'ok' AND event IN ('operator.created', 'operator.changed', 'machine.created',"
              " 'machine.changed', 'token.issued', 'token.revoked')")),
)  # fmt: skip

audit_epoch = Table(
    "audit_epoch", metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False), _at("at"),
    Column("leaf", LargeBinary, nullable=False), Column("heads", LargeBinary, nullable=False),
)  # fmt: skip

# Which events there are, which role may write each, and which fields it may have: what the appending function checks
# against. Filled from the code's own vocabulary by the migrations, so that the two walls cannot drift apart.
audit_vocabulary = Table(
    "audit_vocabulary", metadata,
    Column("event", Text, primary_key=True), _words("writers"), _text("fields", default=""),
)  # fmt: skip

# Digest of the functions, triggers, row policies and grants that stand in this database.
schema_objects = Table(
    "schema_objects", metadata, Column("digest", Text, primary_key=True),
    CheckConstraint("digest ~ '^[0-9a-f]{64}$'", name="digest"),
)  # fmt: skip
