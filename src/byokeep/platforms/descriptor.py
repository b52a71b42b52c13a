"""What one social platform is, as data: the record that a file of ``data/`` becomes.

Rules
- Everything that differs between platforms stands here; the code that calls them knows no platform by name.
- A call's addresses and parameters are templates: text with ``{name}`` places from a closed list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from byokeep.core.fault import FaultCause
from byokeep.core.model import Lane, Provider
from byokeep.core.refresh import RefreshRules

# Places that hold secrets, and those that do not. ``proof`` is Meta's HMAC over the access token.
SECRET_PLACES: Final = frozenset({"client_secret", "code", "verifier", "refresh_token", "access_token"})
OPEN_PLACES: Final = frozenset(
    {"client_id", "redirect_uri", "state", "scope", "challenge", "account", "username", "link", "proof"}
)


class Pkce(StrEnum):
    """How the challenge is written. ``hex`` is TikTok's; ``none``: the platform's flow has none, or breaks on one."""

    S256 = "s256"
    HEX = "hex"
    NONE = "none"


class ClientAuth(StrEnum):
    """How our app shows its secret at the token endpoint; ``basic_or_public``: without one its id is in the form."""

    FORM = "form"
    BASIC_OR_PUBLIC = "basic_or_public"


class MixUp(StrEnum):
    """What keeps an issuer's answer from being taken to another: ``iss`` (RFC 9207), or its own redirect address."""

    ISS = "iss"
    REDIRECT = "redirect"


class ScopePurpose(StrEnum):
    """What scopes are asked for."""

    CONNECT = "connect"
    READ = "read"
    PUBLISH = "publish"
    ENGAGE = "engage"


class Surface(StrEnum):
    """Which of a platform's two manners of speaking a call has."""

    OAUTH = "oauth"
    API = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedCall:
    """One HTTP call.

    Args:
        name: The call's name in evidence, such as ``tiktok.identity``.
        url: Template of scheme, host and path; places in the path only.
        query, form: Templates by parameter name.
        json: Fixed JSON body of a read by POST, None for none.
        headers: Fixed headers.
        bearer: Whether the access token goes into the Authorization header.
        secret_in_query: Whether the platform wants secrets in the query, as its documents have it.
    """

    name: str
    surface: Surface
    method: str
    url: str
    host: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    json: str | None
    headers: Mapping[str, str]
    bearer: bool = False
    secret_in_query: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorize:
    """The page where a person consents. ``fixed`` are parameters that never vary."""

    url: str
    host: str
    client_id_name: str = "client_id"
    scope_separator: str
    fixed: Mapping[str, str]
    code_suffix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyFields:
    """Names in a token reply. ``inside``: paths at which the fields may stand, the reply itself as an empty one.

    ``needed`` are fields without which a first reply is refused; a renewal needs the access token alone, for one that
    was rotated must not be lost over anything else.
    """

    inside: tuple[str, ...] = ("",)
    access: str = "access_token"
    refresh: str = ""
    expires_in: str = "expires_in"
    refresh_expires_in: str = ""
    scope: str = ""
    account: str = ""
    needed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Where an account stands in the identity reply: ``at`` the object or the list of them, then paths in each."""

    call: DescribedCall
    at: str
    listed: bool = False
    several_allowed: bool = False
    id: str
    username: str
    display_name: str
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostsCall:
    """Where the list of recent posts stands. ``empty``: a path whose value 0 says that an absent list is empty."""

    call: DescribedCall
    at: str
    id: str
    empty: str = ""
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """Where the granted scopes are read when no token reply has them: a list of names with a status."""

    call: DescribedCall
    at: str
    name: str
    status: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspect:
    """A call that tells when the person must consent again: Unix seconds at a path, 0 for never."""

    call: DescribedCall
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRule:
    """What a refusal means. Every condition that is given must hold; the first rule that fits decides.

    Args:
        calls: Names of calls without the platform's, such as ``refresh``; empty for all.
        surface: None for both.
        statuses: HTTP statuses; empty for all.
        where: Paths into the body and the values of which one must stand there.
    """

    calls: frozenset[str]
    surface: Surface | None
    statuses: frozenset[int]
    where: tuple[tuple[str, frozenset[str]], ...]
    cause: FaultCause


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """How refusals are told from answers. ``ok``: a path and value that an answer of the API must have, or empty."""

    ok_path: str = ""
    ok_value: str = ""
    reset_header: str = ""
    rules: tuple[ErrorRule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCost:
    """What one identity call costs. ``every_s``: the rhythm that prices and limits suggest, in seconds."""

    limit: str
    usd_micros: int
    quota_units: int
    every_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth:
    """Everything about a platform's OAuth."""

    issuer: str
    mix_up: MixUp
    pkce: Pkce
    client_auth: ClientAuth
    authorize: Authorize
    scopes: Mapping[ScopePurpose, tuple[str, ...]]
    exchange: DescribedCall
    lengthen: DescribedCall | None
    refresh: DescribedCall
    refresh_rules: RefreshRules
    revoke: tuple[DescribedCall, ...]
    proof_of_revocation: str
    revokes_alone: bool = False
    revokes_all: bool = False
    reply: ReplyFields
    granted: Granted | None
    inspect: Inspect | None
    identity: Identity
    posts: PostsCall
    errors: Errors
    health: HealthCost


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformDescriptor:
    """One way to log in at a social platform.

    Args:
        id: Name of the data file. Two logins of one platform are two descriptors.
        provider: The platform as the rest of the product names it.
        oauth: None when there is no usable API; then the browser lane is the only one.
        webhook: Name of the scheme in :data:`byokeep.core.webhook.SCHEMES`, empty for none.
        unverified: What the platform's documents do not say and was taken from the field.
    """

    id: str
    provider: Provider
    published_name: str
    lanes: tuple[Lane, ...]
    oauth: OAuth | None
    why_no_oauth: str = ""
    webhook: str = ""
    unverified: tuple[str, ...] = ()
    docs_url: str
