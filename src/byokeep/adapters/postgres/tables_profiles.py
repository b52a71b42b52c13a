"""The tables of browser profiles and their keys: generations, openings, work, the way out of a break-in.

Rules as in :mod:`.tables`, which names these too: no cookie, no key and no wrapped key has a column here. What a
generation needs to be opened lies in the store (the record) and in the artifact store (the blob); a row says which.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    Uuid,
    text,
)

from byokeep.adapters.postgres.columns import PLATFORM_NAMES, metadata
from byokeep.adapters.postgres.columns import at as _at
from byokeep.adapters.postgres.columns import one_of as _one_of
from byokeep.adapters.postgres.columns import row_id as _id
from byokeep.adapters.postgres.columns import text_column as _text

_KEY_STATES = ("pre_activation", "active", "suspended", "deactivated", "compromised", "destroyed")
_HOLDERS = ("transit", "aws", "pkcs11")

# One Chromium profile of one client (SOP 5.3). ``generation`` 0: nothing was sealed yet.
profile = Table(
    "profile", metadata,
    Column("id", Uuid, nullable=False), Column("client_id", Uuid, ForeignKey("byokeep.client.id"), nullable=False),
    _text("packing"), _text("state", default="created"), _text("reason", default=""),
    Column("generation", Integer, nullable=False, server_default=text("0")),
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),  # counts openings; an older one may not seal
    _at("created_at"), Column("created_by", Uuid, nullable=False),
    _at("confirmed_at", nullable=True), Column("confirmed_by", Uuid, nullable=True),
    Column("validated_generation", Integer, nullable=False, server_default=text("0")),
    _at("validated_at", nullable=True),
    _at("due_at", nullable=True), _text("due_cause", default=""), Column("replaces", Uuid, nullable=True),
    PrimaryKeyConstraint("client_id", "id"), UniqueConstraint("id"),
    ForeignKeyConstraint(["client_id", "replaces"], ["byokeep.profile.client_id", "byokeep.profile.id"]),
    _one_of("packing", "portable", "full"),
    _one_of("state", "created", "confirmed", "sealed", "valid", "quarantined", "retired", "shredded"),
    CheckConstraint("(confirmed_at IS NULL) = (confirmed_by IS NULL)", name="confirmed"),
    CheckConstraint("generation >= 0 AND epoch >= 0 AND validated_generation BETWEEN 0 AND generation", name="numbers"),
    # R5.3-6: nothing is sealed that no person confirmed.
    CheckConstraint("generation = 0 OR confirmed_at IS NOT NULL", name="sealed_after_confirmed"),
)  # fmt: skip

# Whose accounts it is logged in to: one for each platform, and an account has one living profile.
profile_account = Table(
    "profile_account", metadata,
    Column("client_id", Uuid, nullable=False), Column("profile_id", Uuid, nullable=False),
    Column("account_id", Uuid, nullable=False), _text("platform"), _at("retired_at", nullable=True),
    PrimaryKeyConstraint("client_id", "profile_id", "account_id"),
    UniqueConstraint("client_id", "profile_id", "platform"),
    ForeignKeyConstraint(["client_id", "profile_id"], ["byokeep.profile.client_id", "byokeep.profile.id"]),
    ForeignKeyConstraint(["client_id", "account_id"],
                         ["byokeep.platform_account.client_id", "byokeep.platform_account.id"]),
    _one_of("platform", *PLATFORM_NAMES),
    Index("profile_account_live_uq", "client_id", "account_id", unique=True,
          postgresql_where=text("retired_at IS NULL")),
)  # fmt: skip

# One sealed state: which blob, which key, and where in the store its record lies. Rows are never taken away.
profile_generation = Table(
    "profile_generation", metadata,
    Column("client_id", Uuid, nullable=False), Column("profile_id", Uuid, nullable=False),
    Column("generation", Integer, nullable=False), Column("dek_id", Uuid, nullable=False),
    _text("holder"), _text("kek_id"), Column("kek_version", Integer, nullable=False),
    _text("blob_key"), Column("blob_sha256", LargeBinary, nullable=False),
    Column("blob_size", BigInteger, nullable=False),
    Column("packed_size", BigInteger, nullable=False), Column("manifest_hash", LargeBinary, nullable=False),
    Column("record_version", Integer, nullable=False), _text("browser_version"), _text("key_state", default="active"),
    _at("sealed_at"), Column("sealed_by", Uuid, nullable=False), Column("job_id", Uuid, nullable=False),
    _text("store_request", default=""), _at("gone_at", nullable=True),
    PrimaryKeyConstraint("client_id", "profile_id", "generation"),
    UniqueConstraint("dek_id"), UniqueConstraint("blob_key"),
    ForeignKeyConstraint(["client_id", "profile_id"], ["byokeep.profile.client_id", "byokeep.profile.id"]),
    ForeignKeyConstraint(["client_id", "job_id"], ["byokeep.job.client_id", "byokeep.job.id"]),
    _one_of("holder", *_HOLDERS), _one_of("key_state", *_KEY_STATES),
    CheckConstraint("octet_length(blob_sha256) = 32 AND octet_length(manifest_hash) = 32", name="digests"),
    CheckConstraint("generation >= 1 AND kek_version >= 1 AND record_version >= 1 AND blob_size > 0"
                    " AND packed_size >= 0", name="numbers"),
    Index("profile_generation_kek_ix", "holder", "kek_id", "kek_version",
          postgresql_where=text("key_state <> 'destroyed'")),
)  # fmt: skip

# Who has a profile open just now: one opener at a time, and its epoch is what a seal must still hold.
profile_opening = Table(
    "profile_opening", metadata,
    Column("client_id", Uuid, nullable=False), Column("profile_id", Uuid, nullable=False),
    Column("epoch", BigInteger, nullable=False), Column("generation", Integer, nullable=False),
    _text("purpose"), Column("job_id", Uuid, nullable=False), Column("opener_id", Uuid, nullable=False),
    _at("opened_at"), _at("until"),
    PrimaryKeyConstraint("client_id", "profile_id"),
    ForeignKeyConstraint(["client_id", "profile_id"], ["byokeep.profile.client_id", "byokeep.profile.id"]),
    ForeignKeyConstraint(["client_id", "job_id"], ["byokeep.job.client_id", "byokeep.job.id"]),
    _one_of("purpose", "login", "use", "validate", "rekey", "logout"),
    CheckConstraint("until >= opened_at", name="until"),  # closed: until = now; the row stays
)  # fmt: skip

# What a person asked for and a worker does with a browser or a key; at most one under way for a profile.
profile_work = Table(
    "profile_work", metadata,
    Column("id", Uuid, nullable=False), Column("client_id", Uuid, nullable=False),
    Column("profile_id", Uuid, nullable=False), Column("job_id", Uuid, nullable=True),
    Column("incident_id", Uuid, nullable=True), Column("generation", Integer, nullable=True),
    _text("kind"), _text("state", default="asked"), _text("reason", default=""), _text("result", default=""),
    Column("owner", Uuid, nullable=True), _at("beat_at", nullable=True),
    Column("asked_by", Uuid, nullable=False), _at("asked_at"),
    Column("confirmed_by", Uuid, nullable=True), _at("confirmed_at", nullable=True), _at("ended_at", nullable=True),
    PrimaryKeyConstraint("client_id", "id"), UniqueConstraint("id"),
    ForeignKeyConstraint(["client_id", "profile_id"], ["byokeep.profile.client_id", "byokeep.profile.id"]),
    ForeignKeyConstraint(["client_id", "job_id"], ["byokeep.job.client_id", "byokeep.job.id"]),
    _one_of("kind", "login", "validate", "rekey", "restore", "shred", "logout"),
    _one_of("state", "asked", "running", "waiting", "confirmed", "done", "failed", "expired", "cancelled"),
    CheckConstraint("(confirmed_at IS NULL) = (confirmed_by IS NULL)", name="confirmed"),
    CheckConstraint("(ended_at IS NOT NULL) = (state IN ('done', 'failed', 'expired', 'cancelled'))", name="ended"),
    Index("profile_work_open_uq", "client_id", "profile_id", unique=True, postgresql_where=text("ended_at IS NULL")),
)  # fmt: skip

# One version of a key-encryption key, from the moment it is made: the inventory (S-NIST-12, S-NIST-13).
# ``client_id`` is null for a key that guards every client.
kek_version = Table(
    "kek_version", metadata,
    _text("holder"), _text("kek_id"), Column("version", Integer, nullable=False),
    Column("client_id", Uuid, ForeignKey("byokeep.client.id"), nullable=True), _text("environment"),
    _text("algorithm"), Column("bits", Integer, nullable=False), _text("state", default="active"),
    _text("owner"), _at("made_at"), _at("protect_until"), _at("process_until"), _at("compromised_at", nullable=True),
    _at("changed_at"), Column("changed_by", Uuid, nullable=False), _text("identity", default=""),
    PrimaryKeyConstraint("holder", "kek_id", "version"),
    CheckConstraint("identity ~ '^[A-Za-z0-9:/_.-]{0,200}$'", name="identity"),
    _one_of("holder", *_HOLDERS), _one_of("state", *_KEY_STATES),
    _one_of("environment", "production", "staging", "development"),
    CheckConstraint("kek_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="kek_id"),
    CheckConstraint("owner ~ '^[a-z][a-z0-9_.@-]{0,62}$'", name="owner"),
    CheckConstraint("version >= 1 AND bits >= 256", name="numbers"),  # S-NIST-11: never weaker than what it wraps
    CheckConstraint("protect_until > made_at AND protect_until <= made_at + interval '732 days'"
                    " AND process_until >= protect_until AND process_until <= protect_until + interval '1097 days'",
                    name="periods"),
)  # fmt: skip

# A rotation of a key-encryption key: done only when no wrapped key is left on the old versions (R6.1-8).
kek_rotation = Table(
    "kek_rotation", metadata, _id(),
    Column("client_id", Uuid, ForeignKey("byokeep.client.id"), nullable=True), _text("holder"), _text("kek_id"),
    Column("from_version", Integer, nullable=False), Column("to_version", Integer, nullable=False),
    _text("state", default="rewrapping"), _text("reason", default=""),
    Column("moved", Integer, nullable=False, server_default=text("0")),
    Column("started_by", Uuid, nullable=False), _at("started_at"), _at("ended_at", nullable=True),
    _one_of("holder", *_HOLDERS), _one_of("state", "rewrapping", "done"),
    CheckConstraint("to_version > from_version AND from_version >= 1 AND moved >= 0", name="numbers"),
    CheckConstraint("(ended_at IS NOT NULL) = (state = 'done')", name="ended"),
    Index("kek_rotation_open_uq", "holder", "kek_id", unique=True, postgresql_where=text("ended_at IS NULL")),
)  # fmt: skip

# Every move of a key of the vault, beside its audit record (S-NIST-1). A destroyed key's row is its tombstone.
vault_key_transition = Table(
    "vault_key_transition", metadata, _id(),
    Column("client_id", Uuid, ForeignKey("byokeep.client.id"), nullable=True), _text("kind"), _text("key_id"),
    Column("version", Integer, nullable=False), _text("state_from"), _text("state_to"), _text("reason"), _at("at"),
    Column("by", Uuid, nullable=False),
    _one_of("kind", "dek", "kek"), _one_of("state_to", *_KEY_STATES),
    CheckConstraint("key_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="key_id"),
    Index("vault_key_transition_key_ix", "kind", "key_id", "version"),
)  # fmt: skip

# The profile vault is suspected compromised (runbook 7.3): the procedure, and how far it got. Null client: all.
profile_incident = Table(
    "profile_incident", metadata, _id(),
    Column("client_id", Uuid, ForeignKey("byokeep.client.id"), nullable=True), _text("cause"),
    _text("step", default="opened"), _at("since"), Column("opened_by", Uuid, nullable=False), _at("opened_at"),
    _at("closed_at", nullable=True), Column("closed_by", Uuid, nullable=True),
    _one_of("cause", "suspected_leak", "artifact_store_exposure", "runner_compromise", "account_lockout", "drill"),
    _one_of("step", "opened", "lane_off", "sessions_ended", "recreated", "rekeyed", "validated", "closed"),
    CheckConstraint("(closed_at IS NOT NULL) = (step = 'closed')", name="closed"),
)  # fmt: skip

# One profile's way through it, and for each platform what became of the session; never a success that was not seen.
profile_incident_item = Table(
    "profile_incident_item", metadata,
    Column("incident_id", Uuid, ForeignKey("byokeep.profile_incident.id"), nullable=False),
    Column("client_id", Uuid, nullable=False), Column("profile_id", Uuid, nullable=False), _text("platform"),
    _text("session", default="pending"), Column("session_by", Uuid, nullable=True), _at("session_at", nullable=True),
    Column("new_profile_id", Uuid, nullable=True), _at("key_destroyed_at", nullable=True),
    _at("identity_at", nullable=True), _at("wrong_account_at", nullable=True),
    PrimaryKeyConstraint("incident_id", "client_id", "profile_id", "platform"),
    ForeignKeyConstraint(["client_id", "profile_id"], ["byokeep.profile.client_id", "byokeep.profile.id"]),
    ForeignKeyConstraint(["client_id", "new_profile_id"], ["byokeep.profile.client_id", "byokeep.profile.id"]),
    _one_of("platform", *PLATFORM_NAMES),
    _one_of("session", "pending", "revoked", "unsupported", "failed", "ended_by_hand"),
)  # fmt: skip
