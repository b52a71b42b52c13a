"""The vocabulary of the simulated platforms: who there is, what is asked, why it is refused, which path does what.

Rules
- No sockets here; a platform is a table of paths, rules and refusals in ``NAME.toml``, and the functions that answer.
- A refusal has a cause of one list, so that scripted and true refusals have the same body.
- All people and apps are made up; a client secret stays in memory because the platforms sign with it, and is shown
  nowhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from byokeep_sim.faults import LONGEST_SECRET, BadControlError, Spec
from byokeep_sim.reply import SimReply, filled

if TYPE_CHECKING:
    from byokeep_sim.platforms.world import SimToken, World

OAUTH: Final = "oauth"
API: Final = "api"
PAGE: Final = "page"
DAY: Final = 86_400
ACCOUNT_FIELDS: Final = "platform, account, id, username, display_name, posts, owner, kind"
APP_FIELDS: Final = (
    "platform, client_id, client_secret, redirect_uris, public, partner, testing, require_proof, id_scope, "
    "webhook_secret"
)
CONSENT_FIELDS: Final = "platform, account, accounts, scopes, deny"
_MOST_POSTS: Final = 100

# What the grant type of a call to a token endpoint makes of it.
_CALLS: Final = {
    "refresh_token": "refresh",
    "ig_refresh_token": "refresh",
    "fb_exchange_token": "exchange",
    "ig_exchange_token": "exchange",
}


# Why a platform refuses.
SimCase = StrEnum(
    "SimCase",
    "ABSENT UNKNOWN EXPIRED REVOKED REUSED SUPERSEDED PASSWORD_CHANGED LOGGED_OUT ROLE_LOST SESSION_INVALID "
    "DATA_EXPIRED LOCKOUT CHECKPOINT UNCONFIRMED BLOCKED RESTRICTED RATE_LIMITED QUOTA USER_CAP MISSING_SCOPE "
    "WRONG_AUTH BAD_APP NO_CHANNEL TRANSIENT TOO_YOUNG BAD_CLIENT BAD_CODE BAD_PKCE BAD_REDIRECT BAD_REQUEST "
    "BAD_GRANT_TYPE UNSUPPORTED_TOKEN BAD_VERSION BAD_PROOF NOT_FOUND",
)


class SimRefusal(Exception):
    """The platform refuses a call."""

    def __init__(self, case: SimCase) -> None:
        super().__init__(str(case))
        self.case = case


def digits(seed: str, count: int) -> str:
    """Return a decimal number without leading zero that follows from the seed."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest(), "big")
    return str(10 ** (count - 1) + number % (9 * 10 ** (count - 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SimAccount:
    """An account on a platform.

    Args:
        name: How the controls call it.
        owner: The person behind it; several accounts may have one, such as pages or channels.
        kind: ``person`` or ``organization``.
        posts: Texts of its posts, newest first.
    """

    name: str
    id: str
    username: str
    display_name: str
    owner: str
    kind: str = "person"
    posts: tuple[str, ...] = ()

    @property
    def person_id(self) -> str:
        """Id of the person behind the account."""
        return digits(f"person {self.owner}", 16)

    @property
    def linked_id(self) -> str:
        """Id of the Instagram account that belongs to a page."""
        return "1784" + digits(f"instagram {self.id}", 13)

    @property
    def union_id(self) -> str:
        """Id that all apps of one developer see."""
        return "u-" + hashlib.sha256(f"union {self.id}".encode()).hexdigest()[:32]

    def seen_by(self, app: SimApp) -> str:
        """Return the id that this app sees, if a platform gives each app another one."""
        return self.id if not app.id_scope else digits(f"{app.id_scope} {self.id}", 19)

    def values(self, app: SimApp | None = None) -> dict[str, str]:
        """Return what a reply may say about it, by the names used in a platform's ``bodies``."""
        first, _, last = self.display_name.partition(" ")
        names = {"id": self.id, "username": self.username, "name": self.display_name, "first": first, "last": last}
        ids = {"linked_id": self.linked_id, "union_id": self.union_id, "person_id": self.person_id}
        return names | ids | ({"seen_id": self.seen_by(app)} if app else {})

    def newest(self, most: int = _MOST_POSTS) -> Iterator[tuple[str, str, int]]:
        """Yield id, text and time of the newest posts, in seconds since 1970."""
        for number, words in enumerate(self.posts[:most]):
            yield digits(f"post {self.id} {len(self.posts) - number}", 19), words, 1_750_000_000 - number * 3600

    def report(self) -> dict[str, Any]:
        """Return the account as JSON-ready fields."""
        own = asdict(self)
        shown = {"account": own.pop("name"), **own, "person_id": self.person_id, "linked_id": self.linked_id}
        return shown | {"union_id": self.union_id, "posts": [post for post, _, _ in self.newest()]}


STRANGER: Final = SimAccount(
    name="stranger",
    id="9999999999999999999",
    username="stranger",
    display_name="Somebody Else",
    owner="stranger",
    posts=("not yours",),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimApp:
    """A client app.

    Args:
        public: It has no secret (X).
        partner: It gets refresh tokens (LinkedIn).
        testing: Its refresh tokens live seven days (Google).
        require_proof: Every call of its tokens must carry ``appsecret_proof`` (Meta).
        id_scope: Apps with another word here see other account ids.
    """

    client_id: str
    secret: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    redirect_uris: tuple[str, ...]
    public: bool
    partner: bool
    testing: bool
    require_proof: bool
    id_scope: str

    def accepts(self, secret: str) -> bool:
        """Whether this is the app's secret."""
        return bool(secret) and hmac.compare_digest(self.secret.encode(), secret.encode())

    def report(self) -> dict[str, Any]:
        """Return the app as JSON-ready fields, without its secrets."""
        return {name: value for name, value in asdict(self).items() if name not in ("secret", "webhook_secret")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """What the person at the browser will answer.

    Args:
        account: The account picked, empty for the first one of the platform.
        accounts: Further accounts of the same person that are ticked, such as pages; None for all.
        scopes: The scopes granted, None for all that are asked for.
    """

    account: str = ""
    accounts: tuple[str, ...] | None = None
    scopes: tuple[str, ...] | None = None
    deny: bool = False


def account_of(spec: Spec) -> SimAccount:
    """Read an account. Raises BadControlError."""
    posts = spec.get("posts", 0)
    if isinstance(posts, int) and not isinstance(posts, bool) and 0 <= posts <= _MOST_POSTS:
        posts = [f"post {number}" for number in range(posts, 0, -1)]
    name = spec.needed("account", 64)
    return SimAccount(
        name=name,
        id=spec.needed("id", 200),
        username=spec.needed("username", 200),
        display_name=spec.needed("display_name", 200),
        owner=spec.text("owner", 64) or name,
        kind=spec.choice("kind", ("person", "organization"), "person"),
        posts=Spec(posts=posts).texts("posts", 500, _MOST_POSTS) or (),
    )


def app_of(spec: Spec) -> SimApp:
    """Read a client app. Raises BadControlError."""
    flags = {name: spec.flag(name) for name in ("public", "partner", "testing", "require_proof")}
    secret = spec.text("client_secret", LONGEST_SECRET)
    if flags["public"] == bool(secret):
        raise BadControlError("an app has a client_secret or is public")
    return SimApp(
        client_id=spec.needed("client_id", 200),
        secret=secret,
        webhook_secret=spec.text("webhook_secret", LONGEST_SECRET) or secret,
        redirect_uris=spec.texts("redirect_uris", 2048, 20) or (),
        id_scope=spec.text("id_scope", 64),
        **flags,
    )


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
    """One call being answered. With ``stranger`` the platform answers for somebody else's account."""

    world: World
    ask: Ask
    parts: Mapping[str, str]
    stranger: SimAccount | None = None

    def who(self, account: SimAccount) -> SimAccount:
        """Return the account to answer for."""
        return self.stranger or account

    def body(self, name: str, account: SimAccount | None = None, **values: Any) -> dict[str, Any]:
        """Return a body from the platform's table, filled with the account's values and with these."""
        said = account.values(values.pop("app", None)) if account else {}
        made: dict[str, Any] = filled(self.world.platform.bodies[name], {**said, **values})
        return made

    def signed_in(self, *scopes: str) -> tuple[SimToken, SimAccount]:
        """Return the living bearer token, which has the scopes, and its account. Raises SimRefusal."""
        token = self.world.usable(self.ask.bearer(), "access", scopes=scopes)
        return token, self.world.account_of(token.family)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A path of a platform.

    Args:
        call: Its name for faults and counters.
        surface: Decides the form of its refusals.
        shape: Where an identity is in its reply: the path to the object (``inside``), then the names in it.
    """

    name: str
    call: str
    methods: frozenset[str]
    host: str
    pattern: re.Pattern[str]
    surface: str
    shape: Mapping[str, Any] | None

    def named(self, ask: Ask) -> str:
        """Return what this call is; a token endpoint's grant type decides."""
        return _CALLS.get(ask.param("grant_type"), self.call) if self.surface == OAUTH else self.call


Handler = Callable[[Turn], SimReply]
_HERE: Final = Path(__file__).parent
_SHAPE: Final[dict[str, Any]] = {"inside": [], "username": [], "name": []}


class SimPlatform:
    """A simulated platform: what its tables say, and the functions that answer its calls.

    Args:
        tables: Names of the tables to read; a later one takes precedence.
        api_error: Makes an error of the API of a status and the words of a row of ``refusals.api`` or ``statuses``.
        meter: Counts a call of the API by its name and account; gives rate headers and whether it may go on.
    """

    def __init__(
        self,
        *tables: str,
        api_error: Callable[..., SimReply],
        meter: Callable[[Turn, str, str], tuple[dict[str, str], bool]] | None = None,
    ) -> None:
        table: dict[str, Any] = {}
        for name in tables:
            table |= tomllib.loads((_HERE / f"{name}.toml").read_text())
        self.name, self.api_error, self.meter = tables[-1], api_error, meter
        self.rules: Mapping[str, int | str | bool] = table["rules"]
        self.scopes = frozenset(table["scopes"])
        self.errors_beside_data = bool(table.get("errors_beside_data"))
        self.tokens: Mapping[str, str] = table["tokens"]
        self.consent: Mapping[str, Any] = table["consent"]
        self.bodies: Mapping[str, Any] = table.get("bodies", {})
        self.handlers: dict[str, Handler] = {}
        self._refusals: Mapping[str, Mapping[str, list[Any]]] = table["refusals"]
        self._statuses: Mapping[str, list[Any]] = table["statuses"]
        named = {case for rows in self._refusals.values() for case in rows if case != "other"}
        self.cases = frozenset(named | set(table.get("cases", ())))
        self.endpoints = tuple(_endpoint(name, row, table.get("parts", {})) for name, row in table["endpoints"].items())

    def answers(self, name: str) -> Callable[[Handler], Handler]:
        """Let the decorated function answer the endpoint of this name."""

        def taken(handler: Handler) -> Handler:
            self.handlers[name] = handler
            return handler

        return taken

    def refuse(self, case: str, surface: str) -> SimReply:
        """Return the refusal of a surface."""
        rows = self._refusals["oauth" if surface != API and "oauth" in self._refusals else "api"]
        status, *words = rows.get(case, rows["other"])
        if rows is self._refusals["api"]:
            return self.api_error(status, *words)
        body = {"error": words[0], "error_description": words[1], **self.consent.get("beside_errors", {})}
        return SimReply(status=status, body=body)

    def error(self, status: int) -> SimReply:
        """Return the error for an HTTP status without a cause."""
        rest = self._statuses["5xx"] if status >= 500 else self._statuses["other"]
        return self.api_error(status, *self._statuses.get(str(status), rest), "simulated error")

    def find(self, ask: Ask) -> tuple[Endpoint, Mapping[str, str]] | None:
        """Return the endpoint of this call and the named parts of its path."""
        for one in self.endpoints:
            found = one.pattern.fullmatch(ask.path) if one.host == ask.host and ask.method in one.methods else None
            if found is not None:
                return one, found.groupdict()
        return None


def _endpoint(name: str, row: Mapping[str, Any], parts: Mapping[str, str]) -> Endpoint:
    host, _, pattern = row["at"].partition("/")
    for part, written in parts.items():
        pattern = pattern.replace(f"{{{part}}}", written)
    return Endpoint(
        name=name,
        call=row.get("call", name),
        methods=frozenset(row["methods"].split()),
        host=host,
        pattern=re.compile("/" + pattern),
        surface=row.get("surface", API),
        shape={**_SHAPE, **row} if "id" in row else None,
    )
