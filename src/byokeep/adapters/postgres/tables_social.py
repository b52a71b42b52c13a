"""The tables of accounts on social platforms: apps, grants, consents, renewals, the way back, what is to be done.

Rules as in :mod:`.tables`, which names these too: no token, code, verifier or app secret has a column here.
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
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

from byokeep.adapters.postgres.columns import PLATFORM_NAMES, metadata
from byokeep.adapters.postgres.columns import at as _at
from byokeep.adapters.postgres.columns import one_of as _one_of
from byokeep.adapters.postgres.columns import text_column as _text
from byokeep.adapters.postgres.columns import texts as _words
from byokeep.core.model import OAUTH_PLATFORMS

# Our app at a platform's login: its public half. The secret half lies in the store, for custody alone.
platform_app = Table(
    "platform_app", metadata,
    Column("login", Text, primary_key=True), _text("provider"), _text("environment"), _text("app_id"),
    _text("redirect_uri"), Column("secret_version", Integer, nullable=False), _at("set_at"),
    Column("set_by", Uuid, nullable=False),
    CheckConstraint("login ~ '^[a-z][a-z0-9_]{0,31}$'", name="login"),
    _one_of("provider", *OAUTH_PLATFORMS),
    _one_of("environment", "production", "staging", "development"),
    CheckConstraint("length(app_id) <= 256 AND app_id ~ '^[!-~]+$'", name="app_id"),
    CheckConstraint("length(redirect_uri) <= 400 AND redirect_uri ~ '^(https://|http://(127[.]0[.]0[.]1|localhost)[:/])[!-~]+$'",
                    name="redirect_uri"),
    CheckConstraint("secret_version >= 0", name="secret_version"),  # 0: the app has no secret
)  # fmt: skip

# What a client's consent gave us for one account: ends, scopes, the fingerprint as the platform said it; no token.
account_grant = Table(
    "account_grant", metadata,
    Column("client_id", Uuid, nullable=False), Column("account_id", Uuid, nullable=False),
    _text("provider"), _text("login"), _text("app_id"), _text("external_id"),
    _text("username", nullable=True), _text("display_name", nullable=True), _text("link", nullable=True),
    _text("state"), _text("reason", default=""), Column("version", Integer, nullable=False),
    Column("access_version", Integer, nullable=False, server_default=text("0")),
    _words("purposes"), _words("scopes"), Column("scopes_known", Boolean, nullable=False),
    Column("obtained_by", Uuid, nullable=False), _at("obtained_at"), _at("access_expires_at", nullable=True),
    _at("refresh_expires_at", nullable=True), _at("consent_expires_at", nullable=True),
    _at("reauth_at", nullable=True), _at("alarm_at", nullable=True), _at("due_at", nullable=True),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    _at("verified_at", nullable=True), Column("drift", Boolean, nullable=False, server_default=text("false")),
    Column("connected_seq", BigInteger, nullable=True), _at("changed_at"), _at("superseded_at", nullable=True),
    PrimaryKeyConstraint("client_id", "account_id"),
    ForeignKeyConstraint(["client_id", "account_id"],
                         ["byokeep.platform_account.client_id", "byokeep.platform_account.id"]),
    _one_of("provider", *OAUTH_PLATFORMS),
    _one_of("state", "unverified", "live", "needs_reauth", "revoked"),
    CheckConstraint("length(external_id) <= 256 AND external_id ~ '^[!-~]+$'", name="external_id"),
    CheckConstraint("version >= 1 AND access_version >= 0 AND tries >= 0", name="numbers"),
    Index("account_grant_due_ix", "due_at", postgresql_where=text("state = 'live'")),
    # R5.2-15: one account on a platform is one client's.
    Index("account_grant_one_client_uq", "login", "external_id", unique=True,
          postgresql_where=text("state <> 'revoked'")),
)  # fmt: skip

# One consent under way. State and binding are secrets that somebody brings back: keyed digests of them are kept.
connection = Table(
    "connection", metadata,
    Column("id", Uuid, nullable=False), Column("client_id", Uuid, ForeignKey("byokeep.client.id"), nullable=False),
    Column("account_id", Uuid, nullable=False), Column("job_id", Uuid, nullable=False),
    Column("sop_id", Uuid, nullable=False), _text("login"), _words("purposes"),
    Column("state_hash", LargeBinary, nullable=False, unique=True),
    Column("binding_hash", LargeBinary, nullable=False), _text("redirect_uri"), _text("wanted", nullable=True),
    Column("replaces", Integer, nullable=True), _text("state", default="started"), _text("reason", default=""),
    Column("started_by", Uuid, nullable=False), _at("started_at"), _at("expires_at"),
    _at("answered_at", nullable=True), _at("ended_at", nullable=True), Column("request_id", Uuid, nullable=False),
    _text("code_points", default=""),  # of a look-alike, the characters that give it away
    _text("held_as", default=""),  # the name under which this client has the account already
    _words("offered"),  # what a person may pick from, "ID NAME" each, in printable ASCII; empty again after a day
    PrimaryKeyConstraint("client_id", "id"), UniqueConstraint("id"),
    ForeignKeyConstraint(["client_id", "account_id"],
                         ["byokeep.platform_account.client_id", "byokeep.platform_account.id"]),
    ForeignKeyConstraint(["client_id", "job_id"], ["byokeep.job.client_id", "byokeep.job.id"]),
    _one_of("state", "started", "answered", "taken", "connected", "failed", "quarantined", "expired"),
    CheckConstraint("octet_length(state_hash) = 32 AND octet_length(binding_hash) = 32", name="digests"),
    CheckConstraint("code_points ~ '^([0-9a-f]{4,6}(,[0-9a-f]{4,6}){0,7})?$'", name="code_points"),
    CheckConstraint("held_as ~ '^[A-Za-z0-9_.-]{0,64}$'", name="held_as"),
    CheckConstraint("cardinality(offered) <= 40 AND array_to_string(offered, '') ~ '^[ -~]*$'", name="offered"),
    CheckConstraint("expires_at > started_at AND expires_at <= started_at + interval '15 minutes'", name="expires_at"),
    Index("connection_answered_ix", "answered_at", postgresql_where=text("state IN ('answered', 'taken')")),
)  # fmt: skip

# The journal of renewals (core/landing.py). ``owner`` names the slots that a reply may lie in; at most one is open.
refresh_journal = Table(
    "refresh_journal", metadata,
    Column("id", Uuid, nullable=False), Column("client_id", Uuid, nullable=False),
    Column("account_id", Uuid, nullable=False), Column("base", Integer, nullable=False), _text("phase"),
    Column("lost", Integer, nullable=False, server_default=text("0")), _at("sent_at", nullable=True),
    Column("owner", Uuid, nullable=False), Column("landing_version", Integer, nullable=False, server_default=text("0")),
    Column("job_id", Uuid, nullable=False), _text("reason", default=""), _at("started_at"),
    _at("ended_at", nullable=True),
    PrimaryKeyConstraint("client_id", "id"), UniqueConstraint("id"),
    ForeignKeyConstraint(["client_id", "account_id"],
                         ["byokeep.account_grant.client_id", "byokeep.account_grant.account_id"]),
    ForeignKeyConstraint(["client_id", "job_id"], ["byokeep.job.client_id", "byokeep.job.id"]),
    _one_of("phase", "started", "sent", "landed", "placed", "closed", "broken"),
    CheckConstraint("base >= 1 AND lost >= 0 AND (phase <> 'sent' OR sent_at IS NOT NULL)", name="numbers"),
    Index("refresh_journal_open_uq", "client_id", "account_id", unique=True,
          postgresql_where=text("ended_at IS NULL")),
)  # fmt: skip

# The way back of a platform after its grant was lost (core/reenable.py). No row: it was never closed.
reenabling = Table(
    "reenabling", metadata,
    Column("client_id", Uuid, ForeignKey("byokeep.client.id"), nullable=False), _text("platform"),
    _text("cause"), _text("stage"), Column("stages", ARRAY(Integer), nullable=False),
    Column("number", Integer, nullable=False), Column("taken", Integer, nullable=False),
    Column("done", Integer, nullable=False), Column("way", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False), _at("changed_at"),
    _at("closed_at"),  # a consent that was begun before leads nowhere
    PrimaryKeyConstraint("client_id", "platform"),
    _one_of("platform", *PLATFORM_NAMES),
    _one_of("cause", "revoked", "lockout", "missing_scope", "chain_broken", "compromised", "identity_mismatch",
            "identity_unchecked", "scopes_unchecked", "canary_failed"),
    _one_of("stage", "closed", "reauthorised", "identified", "permitted", "canary", "open"),
    CheckConstraint("number >= 0 AND done >= 0 AND taken >= done AND way >= 1 AND revision >= 0", name="numbers"),
)  # fmt: skip

# What is to be done at a later time, as a dispatcher announced it: held while its platform is closed, never dropped.
scheduled_effect = Table(
    "scheduled_effect", metadata,
    Column("id", Uuid, nullable=False), Column("client_id", Uuid, ForeignKey("byokeep.client.id"), nullable=False),
    _text("platform"), _text("account"), _text("lane"), _text("effect"), _text("idempotency_key"),
    _at("due_at"), _text("state", default="scheduled"), _text("reason", default=""), _at("created_at"),
    Column("created_by", Uuid, nullable=False), _at("changed_at"),
    PrimaryKeyConstraint("client_id", "id"), UniqueConstraint("client_id", "idempotency_key"),
    _one_of("platform", *PLATFORM_NAMES),
    _one_of("state", "scheduled", "held", "missed", "done", "cancelled"),
    CheckConstraint("account ~ '^[A-Za-z0-9_.-]{1,64}$'", name="account"),
    CheckConstraint("idempotency_key ~ '^[A-Za-z0-9_.:-]{8,64}$'", name="idempotency_key"),
    Index("scheduled_effect_due_ix", "due_at", postgresql_where=text("state IN ('scheduled', 'held')")),
)  # fmt: skip
