"""The nouns of the product: frozen, typed, free of secrets.

Rules
- Ids are UUIDs that we make. Knowing one never grants anything (S-OWASP-20).
- Names of providers, platforms, lanes and states are closed sets: no text adds to them.
- ``*_at`` is an aware UTC datetime; ``*_s`` is seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NewType
from uuid import UUID

ClientId = NewType("ClientId", UUID)
RefId = NewType("RefId", UUID)
JobId = NewType("JobId", UUID)
LeaseId = NewType("LeaseId", UUID)
PermitId = NewType("PermitId", UUID)
SopId = NewType("SopId", UUID)
ProfileId = NewType("ProfileId", UUID)


class Environment(StrEnum):
    """Where this installation runs; keys and refs never cross it."""

    PRODUCTION = "production"
    STAGING = "staging"
    DEVELOPMENT = "development"


class Provider(StrEnum):
    """Who issues the secret (runbook 3.2; ``openrouter`` added, see ADR 0010)."""

    # made from the catalog: begin
    GOOGLE = "google"
    ANTHROPIC = "anthropic"
    OPENAI = "openai"
    OPENROUTER = "openrouter"
    HEYGEN = "heygen"
    KIE = "kie"
    META = "meta"
    TIKTOK = "tiktok"
    LINKEDIN = "linkedin"
    YOUTUBE = "youtube"
    X = "x"
    SKOOL = "skool"
    # made from the catalog: end


# What people call them; providers of API keys; platforms with an API, in the order of their names above.
# made from the catalog: begin
TITLES: Final[Mapping[str, str]] = {
    "google": "Google", "anthropic": "Anthropic", "openai": "OpenAI", "openrouter": "OpenRouter",
    "heygen": "HeyGen", "kie": "Kie", "meta": "Meta", "tiktok": "TikTok", "linkedin": "LinkedIn",
    "youtube": "YouTube", "x": "X", "skool": "Skool",
}  # fmt: skip
API_PROVIDERS: Final = frozenset({
    Provider.GOOGLE, Provider.ANTHROPIC, Provider.OPENAI, Provider.OPENROUTER, Provider.HEYGEN, Provider.KIE,
})  # fmt: skip
OAUTH_PLATFORMS: Final = (
    Provider.META, Provider.TIKTOK, Provider.LINKEDIN, Provider.YOUTUBE, Provider.X,
)  # fmt: skip
# made from the catalog: end
PLATFORMS: Final = frozenset(Provider) - API_PROVIDERS
SEAL: Final = "seal"  # what the lease says of a job that seals its profile; no job declares it
PROFILE: Final = "profile"  # what a job declares as a secret to get its accounts' sealed browser profiles


class SecretKind(StrEnum):
    """What a secret is (runbook section 0). The kind never changes after creation."""

    PROVIDER_API_KEY = "provider_api_key"
    PROVIDER_ADMIN_KEY = "provider_admin_key"
    OAUTH_TOKEN_SET = "oauth_token_set"  # noqa: S105 - a kind, not a value
    SESSION_COOKIE = "session_cookie"
    WEBHOOK_SIGNING_SECRET = "webhook_signing_secret"  # noqa: S105 - a kind, not a value
    INTERNAL_SERVICE_TOKEN = "internal_service_token"  # noqa: S105 - a kind, not a value
    DATABASE_CREDENTIAL = "database_credential"


class Risk(StrEnum):
    """How much harm a stolen key does; shortens the rotation period."""

    STANDARD = "standard"
    HIGH = "high"


class ClientState(StrEnum):
    """Life of a tenant."""

    ENROLLING = "enrolling"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class Verification(StrEnum):
    """What is known of a stored version at its provider. Only VERIFIED is usable."""

    PENDING = "pending"
    VERIFIED = "verified"
    FAILED = "failed"
    QUARANTINED = "quarantined"


class LeaseKind(StrEnum):
    """USE reads and may ask for permits; CUSTODY reads and writes and may not cause effects."""

    USE = "use"
    CUSTODY = "custody"


class Lane(StrEnum):
    """How an effect reaches a platform."""

    API = "api"
    BROWSER = "browser"


class LanePolicy(StrEnum):
    """Through what an account may act: exactly one of these (runbook 5.2, step 6)."""

    API = "api"
    BROWSER = "browser"
    HYBRID = "hybrid"
    OFF = "off"


# A policy -> the lanes that it enables.
LANES_OF: Final[Mapping[LanePolicy, tuple[Lane, ...]]] = {
    LanePolicy.API: (Lane.API,),
    LanePolicy.BROWSER: (Lane.BROWSER,),
    LanePolicy.HYBRID: (Lane.API, Lane.BROWSER),
    LanePolicy.OFF: (),
}


class EffectKind(StrEnum):
    """Every kind of action that changes something outside. An unknown action counts as an effect (R0-6)."""

    PUBLISH = "publish"
    ENGAGE = "engage"
    COMMENT = "comment"
    DM = "dm"
    DELETE = "delete"
    PROFILE_EDIT = "profile_edit"
    OTHER = "other"


class Role(StrEnum):
    """What a person or machine is. Separation of duties is decided on these (R4.1-12)."""

    ADMIN = "admin"
    OPERATOR = "operator"
    APPROVER = "approver"
    AUDITOR = "auditor"
    DISPATCHER = "dispatcher"
    RUNNER = "runner"
    CUSTODIAN = "custodian"
    SYSTEM = "system"
    INVITED = "invited"
    CONTACT = "contact"  # a person of a client's, at the portal


HUMAN_ROLES: Final = frozenset({Role.ADMIN, Role.OPERATOR, Role.APPROVER, Role.AUDITOR})
MACHINE_ROLES: Final = frozenset({Role.DISPATCHER, Role.RUNNER, Role.CUSTODIAN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks. Made only by authentication, never from request fields.

    Attributes:
        id: Operator or machine id.
        roles: Its roles, read from the database at each call, so that a change takes effect at once.
        clients: Clients that it is assigned to; ``None`` = all (admin, auditor, broker's own tasks).
        request_id: Joins log, audit and provider call of one request.
        held: Whether this person may approve nothing for now, because one admin alone, or a recovery on the host, gave
            the role or a credential.
        held_until: Until when, UTC.
        name: Of the account.
        token_id: Of the token that was shown.
        token_since: When that token was issued, UTC.
        token_until: When that token ends, UTC.
        proved: False = a console session whose person signed in more than 5 minutes ago, or a command line session
            whose person has a passkey.
    """

    id: UUID
    roles: frozenset[Role]
    clients: frozenset[UUID] | None
    request_id: UUID
    held: bool = False
    held_until: datetime | None = None
    name: str = ""
    token_id: UUID | None = None
    token_since: datetime | None = None
    token_until: datetime | None = None
    proved: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A tenant."""

    id: ClientId
    name: str
    state: ClientState
    risk: Risk
    entity_id: str | None
    created_at: datetime
    created_by: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRef:
    """Where a secret is, never what it is (runbook 3.2, R3.2-1).

    ``version`` is the pinned version in the store; ``state`` a NIST key state (:mod:`byokeep.core.keystate`).
    ``candidate`` is a newer version that waits for its verification while ``version`` goes on serving.
    ``rotation_days``: the interval that was chosen for it and its later values; ``None``: the provider's default.
    ``provider_place``: of a keyless credential the provider's ids that it is; of an administrator's key where it works.
    """

    id: RefId
    client_id: ClientId
    provider: Provider
    kind: SecretKind
    purpose: str
    environment: Environment
    secret_ref: str
    version: int
    state: str
    verification: Verification
    risk: Risk
    created_at: datetime
    created_by: UUID
    rotation_due_at: datetime
    expires_at: datetime | None
    rotation_days: int | None = None
    candidate: int | None = None
    candidate_expires_at: datetime | None = None
    provider_place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredJob:
    """A unit of work for exactly one client and one runner, opened by a dispatcher."""

    id: JobId
    client_id: ClientId
    dispatcher_id: UUID
    runner_id: UUID
    kind: LeaseKind
    secrets: tuple[str, ...]
    platforms: tuple[str, ...]
    lanes: tuple[str, ...]
    effects: tuple[str, ...]
    state: str
    opened_at: datetime
    expires_at: datetime
