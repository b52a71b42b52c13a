"""The vocabulary of the simulated platforms: what is asked, why it is refused, which path does what.

Rules
- No sockets here; a platform file reads as a table of paths and answers.
- A refusal has a cause of one list, so that scripted and true refusals have the same body.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from byokeep_sim.reply import SimReply

if TYPE_CHECKING:
    from byokeep_sim.platforms.people import SimAccount
    from byokeep_sim.platforms.world import World

OAUTH: Final = "oauth"
API: Final = "api"
PAGE: Final = "page"
DAY: Final = 86_400

# What the grant type of a call to a token endpoint makes of it.
CALLS: Final = {
    "refresh_token": "refresh",
    "ig_refresh_token": "refresh",
    "fb_exchange_token": "exchange",
    "ig_exchange_token": "exchange",
}


class SimCase(StrEnum):
    """Why a platform refuses."""

    ABSENT = "absent"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"
    REUSED = "reused"
    SUPERSEDED = "superseded"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a cause, no password
    LOGGED_OUT = "logged_out"
    ROLE_LOST = "role_lost"
    SESSION_INVALID = "session_invalid"
    DATA_EXPIRED = "data_expired"
    LOCKOUT = "lockout"
    UNCONFIRMED = "unconfirmed"
    BLOCKED = "blocked"
    RESTRICTED = "restricted"
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    USER_CAP = "user_cap"
    MISSING_SCOPE = "missing_scope"
    WRONG_AUTH = "wrong_auth"
    BAD_APP = "bad_app"
    NO_CHANNEL = "no_channel"
    TRANSIENT = "transient"
    TOO_YOUNG = "too_young"
    BAD_CLIENT = "bad_client"
    BAD_CODE = "bad_code"
    BAD_PKCE = "bad_pkce"
    BAD_REDIRECT = "bad_redirect"
    BAD_REQUEST = "bad_request"
    BAD_GRANT_TYPE = "bad_grant_type"
    UNSUPPORTED_TOKEN = "unsupported_token"  # noqa: S105 - a cause, no password
    BAD_VERSION = "bad_version"
    BAD_PROOF = "bad_proof"
    NOT_FOUND = "not_found"


class SimRefusal(Exception):
    """The platform refuses a call."""

    def __init__(self, case: SimCase) -> None:
        super().__init__(str(case))
        self.case = case


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One call as the platform sees it.

    Args:
        path: Path after the host, with its leading slash.
        form: Fields of a form body; of repeated fields the first.
        repeated: Names that came more than once in query or form.
        base: The simulator's URL of this platform; a host and a path follow it.
    """

    method: str
    host: str
    path: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    repeated: frozenset[str]
    base: str

    def param(self, name: str) -> str:
        """Return a field of the form or else of the query, empty when absent."""
        return self.form.get(name) or self.query.get(name, "")

    def bearer(self) -> str:
        """Return the bearer token of the Authorization header, empty when absent."""
        kind, _, value = self.headers.get("authorization", "").partition(" ")
        return value.strip() if kind.lower() == "bearer" else ""

    def basic(self) -> tuple[str, str] | None:
        """Return user and password of the Authorization header."""
        kind, _, value = self.headers.get("authorization", "").partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return user, password

    def document(self) -> dict[str, Any]:
        """Return the JSON object of the body, empty when it is none."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    def count(self, name: str, default: int, most: int) -> int:
        """Return a number of the query, within 1 and ``most``."""
        value = self.query.get(name, "")
        return max(1, min(int(value), most)) if value.isascii() and value.isdigit() else default


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One call being answered. With ``stranger`` the platform speaks of somebody else's account."""

    world: World
    ask: Ask
    parts: Mapping[str, str]
    stranger: SimAccount | None = None

    def who(self, account: SimAccount) -> SimAccount:
        """Return the account to speak of."""
        return self.stranger or account


@dataclass(frozen=True, slots=True, kw_only=True)
class SimShape:
    """Where an identity stands in a reply: the way to the object, then the names in it."""

    inside: tuple[str | int, ...] = ()
    id: str
    username: tuple[str, ...] = ()
    name: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A path of a platform. ``surface`` decides the form of its refusals."""

    call: str
    methods: frozenset[str]
    host: str
    pattern: re.Pattern[str]
    handle: Callable[[Turn], SimReply]
    surface: str
    shape: SimShape | None

    def named(self, ask: Ask) -> str:
        """Return what this call is; a token endpoint's grant type decides."""
        return CALLS.get(ask.param("grant_type"), self.call) if self.surface == OAUTH else self.call


def endpoint(
    call: str,
    methods: str,
    place: str,
    handle: Callable[[Turn], SimReply],
    *,
    surface: str = API,
    shape: SimShape | None = None,
) -> Endpoint:
    """Build an endpoint.

    Args:
        call: Name for faults and counters.
        methods: HTTP methods, separated by blanks.
        place: Host, then a regular expression over the whole path.
    """
    host, _, pattern = place.partition("/")
    return Endpoint(
        call=call,
        methods=frozenset(methods.split()),
        host=host,
        pattern=re.compile("/" + pattern),
        handle=handle,
        surface=surface,
        shape=shape,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SimPlatform:
    """A simulated platform.

    Args:
        rules: Defaults of what differs between copies of the documents or is not published.
        refuse: Body of a refusal on a surface.
        cases: Refusals that a fault can script here.
        error: Body for an HTTP status without a cause.
        scopes: What can be asked for.
        beside: Puts an error beside the data of a reply with status 200, where the platform does that.
        meter: Counts a call of the API by its name and account; gives rate headers and whether it may go on.
    """

    name: str
    endpoints: tuple[Endpoint, ...]
    rules: Mapping[str, int | str | bool]
    refuse: Callable[[SimCase, str], SimReply]
    cases: frozenset[SimCase]
    error: Callable[[int], SimReply]
    scopes: frozenset[str]
    beside: Callable[[SimReply, SimReply], SimReply] | None = None
    meter: Callable[[Turn, str, str], tuple[dict[str, str], bool]] | None = None

    def find(self, ask: Ask) -> tuple[Endpoint, Mapping[str, str]] | None:
        """Return the endpoint of this call and the named parts of its path."""
        for one in self.endpoints:
            found = one.pattern.fullmatch(ask.path) if one.host == ask.host and ask.method in one.methods else None
            if found is not None:
                return one, found.groupdict()
        return None
