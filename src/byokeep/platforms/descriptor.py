"""The data that describes one social platform, and the strict reader of its file in ``data/``.

Rules
- Everything that differs between platforms is in that file; the code that calls them knows no platform by name.
  Addresses and parameters are templates: text with ``{name}`` places from a closed list.
- A file does not load if it has an unknown or missing field, an address that is not https, a secret in a path, or one
  in a query that was not declared for it. Neither does an implicit or password grant (S-OAUTH-5).
- Every address, including the issuer, is in one of the platform's own domains, so a file cannot send a token elsewhere.
- A platform without OAuth says why and has no API lane; nothing is made up for it.
- Adding a platform takes one file here and one of vectors; `make names` takes its name into the code.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from types import MappingProxyType
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from byokeep.core.data_file import Table
from byokeep.core.errors import Rejected
from byokeep.core.fault import FaultCause
from byokeep.core.model import PLATFORMS, Lane, Provider
from byokeep.core.refresh import RefreshRules
from byokeep.core.secret import Secret
from byokeep.core.webhook import SCHEMES

# Places that hold secrets, and places that do not. ``proof`` is Meta's HMAC over the access token.
SECRET_PLACES: Final = frozenset({"client_secret", "code", "verifier", "refresh_token", "access_token"})
OPEN_PLACES: Final = frozenset(
    {"client_id", "redirect_uri", "state", "scope", "challenge", "account", "username", "link", "proof"}
)


class Pkce(StrEnum):
    """How the challenge is written. ``hex`` is TikTok's; ``none``: the platform has no challenge, or breaks on one."""

    S256 = "s256"
    HEX = "hex"
    NONE = "none"


class ClientAuth(StrEnum):
    """How our app shows its secret at the token endpoint; ``basic_or_public``: without a secret, its id is in the form.
    """

    FORM = "form"
    BASIC_OR_PUBLIC = "basic_or_public"


class MixUp(StrEnum):
    """What keeps an issuer's answer from being taken for another's: ``iss`` (RFC 9207), or its own redirect address."""

    ISS = "iss"
    REDIRECT = "redirect"


class ScopePurpose(StrEnum):
    """For what scopes are asked."""

    CONNECT = "connect"
    READ = "read"
    PUBLISH = "publish"
    ENGAGE = "engage"


# What every consent asks for: who it is, and the posts that prove it (SOP 5.2, step 5).
ALWAYS: Final = (ScopePurpose.CONNECT, ScopePurpose.READ)


class Surface(StrEnum):
    """Which of a platform's two protocols a call uses."""

    OAUTH = "oauth"
    API = "api"


PLACE: Final = re.compile(r"\{([a-z_]+)\}")


def _host(url: str) -> str:
    """Return the host of an address that is ``https://host/path``, and nothing more."""
    split = urlsplit(url)
    odd = split.username or split.port or split.query or split.fragment or PLACE.search(split.netloc)
    if split.scheme != "https" or not split.hostname or odd:
        raise ValueError("an address must be https://host/path")
    return split.hostname


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedCall:
    """One HTTP call.

    Args:
        name: The call's name in evidence, such as ``tiktok.identity``.
        url: Template of scheme, host and path; places only in the path.
        query, form: Templates by parameter name.
        json: Fixed JSON body of a read by POST; None for none.
        headers: Fixed headers.
        bearer: Whether the access token goes into the Authorization header.
        secret_in_query: Whether the platform wants secrets in the query, as its documentation says.
    """

    name: str
    surface: Surface
    method: str
    url: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    json: str | None
    headers: Mapping[str, str]
    bearer: bool = False
    secret_in_query: bool = False

    def __post_init__(self) -> None:
        _host(self.url)
        texts = {"path": (self.url, str(self.headers)), "query": self.query.values(), "form": self.form.values()}
        used = {where: {place for text in found for place in PLACE.findall(text)} for where, found in texts.items()}
        if set().union(*used.values()) - SECRET_PLACES - OPEN_PLACES:
            raise ValueError(f"{self.name}: unknown place")
        if used["path"] & SECRET_PLACES:
            raise ValueError(f"{self.name}: a secret may not stand in a path or a fixed header")
        if bool(used["query"] & SECRET_PLACES) != self.secret_in_query:
            raise ValueError(f"{self.name}: secrets in the query are declared, and declared only where they are")
        if self.method not in ("GET", "POST", "DELETE") or (self.method == "GET" and (self.form or self.json)):
            raise ValueError(f"{self.name}: method and body do not go together")
        reads = self.method == "GET" or (self.method == "POST" and self.json)
        if self.surface is Surface.API and not reads:
            raise ValueError(f"{self.name}: reads only")


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorize:
    """The page where a person consents. ``fixed`` are parameters that never vary."""

    url: str
    client_id_name: str = "client_id"
    scope_separator: str
    fixed: Mapping[str, str]
    code_suffix: str = ""

    def __post_init__(self) -> None:
        _host(self.url)
        if self.fixed.get("response_type") != "code" or any(PLACE.search(value) for value in self.fixed.values()):
            raise ValueError("authorize: the consent page is asked for a code")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyFields:
    """Names in a token reply; ``access_token`` and ``expires_in`` are the standard's. ``inside``: paths at which the
    fields may be; empty is the reply itself.

    ``needed`` are fields without which a first reply is refused. A renewal needs only the access token, because a
    rotated token must not be lost over anything else.
    """

    inside: tuple[str, ...] = ("",)
    refresh: str = ""
    refresh_expires_in: str = ""
    scope: str = ""
    account: str = ""
    needed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Where an account is in the identity reply: ``at`` the object or the list of them, then paths in each.

    A list goes on if something is at ``next``; what is at ``cursor`` is then put into the query under its last name.
    """

    call: DescribedCall
    at: str
    listed: bool = False
    several_allowed: bool = False
    next: str = ""
    cursor: str = ""
    id: str
    username: str
    display_name: str
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostsCall:
    """Where the list of recent posts is. ``empty``: a path whose value 0 means that an absent list is empty."""

    call: DescribedCall
    at: str
    id: str
    empty: str = ""
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """Where the granted scopes are read if no token reply has them: a list of names with a status."""

    call: DescribedCall
    at: str
    name: str
    status: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspect:
    """A call that says when the person must consent again: Unix seconds at a path, 0 for never."""

    call: DescribedCall
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRule:
    """What a refusal means. Every given condition must hold; the first rule that matches decides.

    Args:
        calls: Names of calls without the platform's, such as ``refresh``; empty for all.
        surface: None for both.
        statuses: HTTP statuses; empty for all.
        where: Paths into the body, each with the values of which one must be there.
    """

    calls: frozenset[str]
    surface: Surface | None
    statuses: frozenset[int]
    where: tuple[tuple[str, frozenset[str]], ...]
    cause: FaultCause


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """How to tell refusals from answers. ``ok``: a path and value that an answer of the API must have, or empty."""

    ok_path: str = ""
    ok_value: str = ""
    reset_header: str = ""
    rules: tuple[ErrorRule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCost:
    """What one identity call costs. ``every_s``: the interval that prices and limits suggest, in seconds."""

    limit: str
    usd_micros: int
    quota_units: int
    every_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth:
    """Everything about the OAuth of one way to log in.

    Args:
        id: The id of the login, as in :class:`PlatformDescriptor`.
        revokes_alone: Whether revoking a pair ends only the login that it came from, not a later one of the same
            person.
        revokes_all: Whether revoking a pair ends every login of that person with our app, as the platform documents.
    """

    id: str
    provider: Provider
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
    revokes_alone: bool = False
    revokes_all: bool = False
    reply: ReplyFields
    granted: Granted | None
    inspect: Inspect | None
    identity: Identity
    posts: PostsCall
    errors: Errors
    health: HealthCost

    @property
    def revokes_by_access(self) -> bool:
        """Whether a pair is revoked only by its access token: then an expired one proves nothing about the other."""
        return not any("{refresh_token}" in call.form.values() for call in self.revoke)

    def scopes_for(self, *purposes: str) -> tuple[str, ...]:
        """Return the scopes for some purposes, sorted; those for connecting are always included."""
        wanted = (ScopePurpose.CONNECT, *purposes)
        return tuple(sorted({scope for what, scopes in self.scopes.items() if what in wanted for scope in scopes}))

    def check_issuer(self, iss: str | None) -> None:
        """Check that an answer cannot be another issuer's.

        Args:
            iss: The answer's ``iss``; None without one. If the platform sends none, its own redirect address tells
                issuers apart, and the caller has compared that.

        Raises:
            Rejected: ``wrong_issuer``.
        """
        needed = self.mix_up is MixUp.ISS
        if (iss is None and needed) or (iss is not None and iss != self.issuer):
            raise Rejected("wrong_issuer", next_step="Start the connection again.", platform=self.id)

    def clean_code(self, code: str | None) -> Secret:
        """Return the code of an answer without the suffix that the platform appends.

        Raises:
            Rejected: ``bad_code``.
        """
        code = (code or "").removesuffix(self.authorize.code_suffix)
        if not 1 <= len(code) <= _LONGEST_CODE or not code.isascii() or not code.isprintable() or " " in code:
            raise Rejected("bad_code", next_step="Start the connection again.", platform=self.id)
        return Secret(code)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformDescriptor:
    """One way to log in at a social platform.

    Args:
        id: Name of the data file. Two logins of one platform are two descriptors.
        provider: The platform as the rest of the product names it.
        oauth: None if there is no usable API; then the browser lane is the only one.
        webhook: Name of the scheme in :data:`byokeep.core.webhook.SCHEMES`; empty for none.
        unverified: What the platform's documentation does not say and was learned in practice.
    """

    id: str
    provider: Provider
    published_name: str
    title: str = ""
    lanes: tuple[Lane, ...]
    oauth: OAuth | None
    why_no_oauth: str = ""
    webhook: str = ""
    unverified: tuple[str, ...] = ()
    docs_url: str

    @property
    def purposes(self) -> tuple[str, ...]:
        """For what scopes can be asked besides what every consent asks for."""
        known = self.oauth.scopes if self.oauth else {}
        return tuple(purpose.value for purpose in ScopePurpose if purpose not in ALWAYS and known.get(purpose))


T = TypeVar("T")
_LONGEST_CODE: Final = 4096
_GRANTS: Final = frozenset(
    {"authorization_code", "refresh_token", "fb_exchange_token", "ig_exchange_token", "ig_refresh_token"}
)
_DOMAIN: Final = re.compile(r"[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,3}")


# The owners of domains are code, so that a changed data file cannot claim one (S-OAUTH-12). A platform that was added
# only by its file names its own domains, and none that is listed here.
_DOMAINS: Final[Mapping[Provider, tuple[str, ...]]] = MappingProxyType(
    {
        Provider.META: ("facebook.com", "instagram.com"),
        Provider.TIKTOK: ("tiktok.com", "tiktokapis.com"),
        Provider.LINKEDIN: ("linkedin.com",),
        Provider.YOUTUBE: ("google.com", "googleapis.com"),
        Provider.X: ("x.com",),
    }
)


def load(platform: str, document: Mapping[str, Any]) -> PlatformDescriptor:
    """Build a descriptor from a parsed data file.

    Raises:
        ValueError: The file breaks a rule of this module; the message names the field.
    """
    top = Table(platform, document)
    named = top.take("provider", str)
    if named not in PLATFORMS:
        raise ValueError(f"no platform is named {named!r} in the code; `make names` takes the names of all files")
    provider = Provider(named)
    oauth = top.optional("oauth")
    domains = _domains(platform, provider, top.texts("domains", []))
    found = top.fill(
        PlatformDescriptor,
        id=platform,
        provider=provider,
        oauth=None if oauth is None else _oauth(platform, provider, oauth),
    )
    if (oauth is None) != bool(found.why_no_oauth) or (oauth is None) != (Lane.API not in found.lanes):
        raise ValueError(f"{platform}: either OAuth and an API lane, or a reason why not")
    if found.webhook and found.webhook not in SCHEMES:
        raise ValueError(f"{platform}: no such webhook scheme")
    if found.oauth is not None:
        _check_hosts(platform, domains, found.oauth)
    return found


def _domains(platform: str, provider: Provider, said: tuple[str, ...]) -> tuple[str, ...]:
    """Return a platform's own domains, from the code or else from its file."""
    if provider in _DOMAINS:
        if said:
            raise ValueError(f"{platform}: its domains stand in the code")
        return _DOMAINS[provider]
    owned = [one for domains in _DOMAINS.values() for one in domains]
    for domain in said:
        if not _DOMAIN.fullmatch(domain) or any(f".{domain}".endswith(f".{one}") for one in owned):
            raise ValueError(f"{platform}: {domain} is no domain of its own")
    return said


def _check_hosts(platform: str, domains: tuple[str, ...], oauth: OAuth) -> None:
    calls = [oauth.exchange, oauth.lengthen, oauth.refresh, *oauth.revoke, oauth.identity.call, oauth.posts.call]
    calls += [one.call for one in (oauth.granted, oauth.inspect) if one is not None]
    hosts = {_host(url) for url in (oauth.issuer, oauth.authorize.url, *(call.url for call in calls if call))}
    if any(not any(host == one or host.endswith("." + one) for one in domains) for host in hosts):
        raise ValueError(f"{platform}: an address outside the platform's own domains")


def _oauth(platform: str, provider: Provider, table: Table) -> OAuth:
    def oauth_call(at: Table | None, name: str) -> DescribedCall | None:
        return None if at is None else _call(f"{platform}.{name}", at, Surface.OAUTH)

    def read(at: Table, kind: type[T], name: str) -> T:
        return at.fill(kind, call=_call(f"{platform}.{name}", at.table("call"), Surface.API))

    calls, errors = table.table("calls"), table.table("errors")
    granted, inspect = table.optional("granted"), table.optional("inspect")
    revoke = [calls.optional(name) for name in ("revoke", "revoke_access")]
    found = table.fill(
        OAuth,
        id=platform,
        provider=provider,
        scopes=_scopes(table.table("scopes")),
        exchange=oauth_call(calls.table("exchange"), "exchange"),
        lengthen=oauth_call(calls.optional("lengthen"), "lengthen"),
        refresh=oauth_call(calls.table("refresh"), "refresh"),
        refresh_rules=table.table("refresh").fill(RefreshRules, needed=("due_from", "due_to", "alarm_days")),
        revoke=tuple(call for one in revoke if (call := oauth_call(one, "revoke")) is not None),
        granted=None if granted is None else read(granted, Granted, "granted"),
        inspect=None if inspect is None else read(inspect, Inspect, "inspect"),
        identity=read(table.table("identity"), Identity, "identity"),
        posts=read(table.table("posts"), PostsCall, "posts"),
        errors=errors.fill(
            Errors, rules=tuple(_rule(Table("errors.rules", one)) for one in errors.take("rules", list))
        ),
    )
    calls.done()
    if (found.pkce is Pkce.NONE) == ("code_verifier" in found.exchange.form):
        raise ValueError(f"{platform}: the verifier is sent exactly where there is a challenge")
    for call in (found.exchange, found.lengthen, found.refresh):
        grant = None if call is None else (call.form.get("grant_type") or call.query.get("grant_type"))
        if call is not None and grant not in _GRANTS:
            raise ValueError(f"{call.name}: this grant type is not used")
    return found


def _scopes(table: Table) -> Mapping[ScopePurpose, tuple[str, ...]]:
    found = {purpose: table.texts(purpose.value) for purpose in ScopePurpose}
    table.done()
    if not found[ScopePurpose.CONNECT]:
        raise ValueError("scopes.connect must not be empty")
    return MappingProxyType(found)


def _call(name: str, table: Table, surface: Surface) -> DescribedCall:
    body = table.take("json", dict, {})
    return table.fill(DescribedCall, name=name, surface=surface, json=json.dumps(body) if body else None)


def _rule(table: Table) -> ErrorRule:
    where = Table("errors.where", table.take("where", dict, {}))
    rule = table.fill(
        ErrorRule,
        calls=frozenset(table.texts("calls", [])),
        statuses=frozenset(int(status) for status in table.take("statuses", list, [])),
        where=tuple((path, frozenset(where.texts(path))) for path in where.names()),
    )
    if not (rule.statuses or rule.where):
        raise ValueError("an error rule needs a condition")
    return rule


def _load_all() -> Mapping[str, PlatformDescriptor]:
    folder = resources.files("byokeep.platforms").joinpath("data")
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".toml"))
    found = {}
    for name in files:
        text = folder.joinpath(name).read_text(encoding="utf-8")
        platform = name.removesuffix(".toml")
        try:
            found[platform] = load(platform, tomllib.loads(text))
        except ValueError as wrong:  # the file is ours, and so is the message about it
            raise Rejected("platform_file_wrong", platform=platform, next_step=f"Mend {name}: {wrong}.") from None
    missing = PLATFORMS - {one.provider for one in found.values()}
    if missing:
        raise Rejected("platform_file_missing", platform=min(missing), next_step="Put its data file back.")
    return MappingProxyType(found)


PLATFORM_DESCRIPTORS: Final[Mapping[str, PlatformDescriptor]] = _load_all()
