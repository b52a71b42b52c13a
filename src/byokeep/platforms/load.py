"""Reads the data file of each platform, strictly.

Rules
- An unknown or missing field, an address that is not https, a secret in a path, or in a query that was not declared for
  it, does not load. Neither does an implicit or password grant (S-OAUTH-5).
- Every address lies in a domain of the platform's own, its issuer too: a file can not send a token elsewhere.
- A platform without OAuth says why and has no API lane; nothing is filled in for it.
- Adding a platform is one file here and one of vectors; `make names` takes its name into the code.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from byokeep.core.errors import Rejected
from byokeep.core.fault import FaultCause
from byokeep.core.model import PLATFORMS, Lane, Provider
from byokeep.core.refresh import RefreshRules, TokenModel
from byokeep.core.webhook import SCHEMES
from byokeep.platforms.descriptor import (
    OPEN_PLACES,
    SECRET_PLACES,
    Authorize,
    ClientAuth,
    DescribedCall,
    ErrorRule,
    Errors,
    Granted,
    HealthCost,
    Identity,
    Inspect,
    MixUp,
    OAuth,
    Pkce,
    PlatformDescriptor,
    PostsCall,
    ReplyFields,
    ScopePurpose,
    Surface,
)

PLACE: Final = re.compile(r"\{([a-z_]+)\}")
_GRANTS: Final = frozenset(
    {"authorization_code", "refresh_token", "fb_exchange_token", "ig_exchange_token", "ig_refresh_token"}
)
_DOMAIN: Final = re.compile(r"[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,3}")
_TEXT: Final = re.compile(r"[ -~]{0,300}\Z")


class Table:
    """A table of the file that must be read to its last field."""

    def __init__(self, name: str, fields: Any) -> None:
        if not isinstance(fields, dict):
            raise ValueError(f"{name} must be a table")
        self._name = name
        self._left = dict(fields)

    def take(self, field: str, kind: type, default: Any = None) -> Any:
        """Return a field of this type. Raises ValueError when it is absent, without default, or of another type."""
        value: Any = self._left.pop(field, default)
        if type(value) is not kind:
            raise ValueError(f"{self._name}.{field} must be {kind.__name__}")
        if isinstance(value, str) and not _TEXT.match(value):
            raise ValueError(f"{self._name}.{field} must be printable ASCII")
        return value

    def texts(self, field: str, default: list[str] | None = None) -> tuple[str, ...]:
        """Return a list of texts."""
        values = self.take(field, list, default)
        if not all(isinstance(value, str) and _TEXT.match(value) for value in values):
            raise ValueError(f"{self._name}.{field} must be texts")
        return tuple(values)

    def table(self, field: str) -> Table:
        """Return a table that must be there."""
        return Table(f"{self._name}.{field}", self._left.pop(field, None))

    def optional(self, field: str) -> Table | None:
        """Return a table that may be absent."""
        return self.table(field) if field in self._left else None

    def templates(self, field: str) -> Mapping[str, str]:
        """Return templates by name."""
        table = Table(f"{self._name}.{field}", self._left.pop(field, {}))
        return MappingProxyType({name: str(table.take(name, str)) for name in table.names()})

    def names(self) -> list[str]:
        """Return what was not read yet."""
        return list(self._left)

    def done(self) -> None:
        """Raises ValueError when something was not read."""
        if self._left:
            raise ValueError(f"{self._name} has unknown fields: {', '.join(sorted(self._left))}")


# Who owns which domains is code, so that a changed data file can not say it of itself (S-OAUTH-12). A platform that was
# added by its file alone says its own, and none that stands here.
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
    found = PlatformDescriptor(
        id=platform,
        provider=provider,
        published_name=top.take("published_name", str),
        lanes=tuple(Lane(lane) for lane in top.texts("lanes")),
        oauth=None if oauth is None else _oauth(platform, oauth),
        why_no_oauth=top.take("why_no_oauth", str, ""),
        webhook=top.take("webhook", str, ""),
        unverified=top.texts("unverified", []),
        docs_url=top.take("docs_url", str),
    )
    domains = _domains(platform, provider, top.texts("domains", []))
    top.done()
    if (oauth is None) != bool(found.why_no_oauth) or (oauth is None) != (Lane.API not in found.lanes):
        raise ValueError(f"{platform}: either OAuth and an API lane, or a reason why not")
    if found.webhook and found.webhook not in SCHEMES:
        raise ValueError(f"{platform}: no such webhook scheme")
    if found.oauth is not None:
        _check_hosts(platform, domains, found.oauth)
    return found


def _domains(platform: str, provider: Provider, said: tuple[str, ...]) -> tuple[str, ...]:
    """Return the domains of a platform's own, from the code or else from its file."""
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
    hosts = {call.host for call in calls if call is not None} | {oauth.authorize.host}
    hosts.add(urlsplit(oauth.issuer).hostname or "")
    if any(not any(host == one or host.endswith("." + one) for one in domains) for host in hosts):
        raise ValueError(f"{platform}: an address outside the platform's own domains")


def _oauth(platform: str, table: Table) -> OAuth:
    calls = table.table("calls")
    lengthen, granted, inspect = calls.optional("lengthen"), table.optional("granted"), table.optional("inspect")
    revoke = [calls.optional(name) for name in ("revoke", "revoke_access")]
    found = OAuth(
        issuer=_https(platform, table.take("issuer", str))[0],
        mix_up=MixUp(table.take("mix_up", str)),
        pkce=Pkce(table.take("pkce", str)),
        client_auth=ClientAuth(table.take("client_auth", str)),
        authorize=_authorize(platform, table.table("authorize")),
        scopes=_scopes(table.table("scopes")),
        exchange=_call(f"{platform}.exchange", calls.table("exchange"), Surface.OAUTH),
        lengthen=None if lengthen is None else _call(f"{platform}.lengthen", lengthen, Surface.OAUTH),
        refresh=_call(f"{platform}.refresh", calls.table("refresh"), Surface.OAUTH),
        refresh_rules=_rules(table.table("refresh")),
        revoke=tuple(_call(f"{platform}.revoke", one, Surface.OAUTH) for one in revoke if one is not None),
        proof_of_revocation=table.take("proof_of_revocation", str),
        revokes_alone=table.take("revokes_alone", bool, False),
        revokes_all=table.take("revokes_all", bool, False),
        reply=_reply(table.table("reply")),
        granted=None if granted is None else _granted(platform, granted),
        inspect=None if inspect is None else _inspect(platform, inspect),
        identity=_identity(platform, table.table("identity")),
        posts=_posts(platform, table.table("posts")),
        errors=_errors(table.table("errors")),
        health=_health(table.table("health")),
    )
    calls.done()
    table.done()
    if (found.pkce is Pkce.NONE) == ("code_verifier" in found.exchange.form):
        raise ValueError(f"{platform}: the verifier is sent exactly where there is a challenge")
    for call in (found.exchange, found.lengthen, found.refresh):
        grant = None if call is None else (call.form.get("grant_type") or call.query.get("grant_type"))
        if call is not None and grant not in _GRANTS:
            raise ValueError(f"{call.name}: this grant type is not used")
    return found


def _https(platform: str, url: str) -> tuple[str, str]:
    split = urlsplit(url)
    odd = split.username or split.port or split.query or split.fragment or PLACE.search(split.netloc)
    if split.scheme != "https" or not split.hostname or odd:
        raise ValueError(f"{platform}: an address must be https://host/path")
    return url, split.hostname


def _authorize(platform: str, table: Table) -> Authorize:
    url, host = _https(platform, table.take("url", str))
    found = Authorize(
        url=url,
        host=host,
        client_id_name=table.take("client_id_name", str, "client_id"),
        scope_separator=table.take("scope_separator", str),
        fixed=table.templates("fixed"),
        code_suffix=table.take("code_suffix", str, ""),
    )
    table.done()
    if found.fixed.get("response_type") != "code" or any(PLACE.search(value) for value in found.fixed.values()):
        raise ValueError(f"{platform}: the consent page is asked for a code")
    return found


def _scopes(table: Table) -> Mapping[ScopePurpose, tuple[str, ...]]:
    found = {purpose: table.texts(purpose.value) for purpose in ScopePurpose}
    table.done()
    if not found[ScopePurpose.CONNECT]:
        raise ValueError("scopes.connect must not be empty")
    return MappingProxyType(found)


def _call(name: str, table: Table, surface: Surface) -> DescribedCall:
    url, host = _https(name, table.take("url", str))
    body = table.take("json", dict, {})
    call = DescribedCall(
        name=name,
        surface=surface,
        method=table.take("method", str),
        url=url,
        host=host,
        query=table.templates("query"),
        form=table.templates("form"),
        json=json.dumps(body) if body else None,
        headers=table.templates("headers"),
        bearer=table.take("bearer", bool, False),
        secret_in_query=table.take("secret_in_query", bool, False),
    )
    table.done()
    _check_places(call)
    if call.method not in ("GET", "POST", "DELETE") or (call.method == "GET" and (call.form or call.json)):
        raise ValueError(f"{name}: method and body do not go together")
    if surface is Surface.API and call.method != "GET" and not (call.method == "POST" and call.json):
        raise ValueError(f"{name}: reads only")
    return call


def _check_places(call: DescribedCall) -> None:
    used = {where: set(PLACE.findall(text)) for where, text in (("url", call.url), ("headers", str(call.headers)))}
    used["query"] = {place for text in call.query.values() for place in PLACE.findall(text)}
    used["form"] = {place for text in call.form.values() for place in PLACE.findall(text)}
    if set().union(*used.values()) - SECRET_PLACES - OPEN_PLACES:
        raise ValueError(f"{call.name}: unknown place")
    if (used["url"] | used["headers"]) & SECRET_PLACES:
        raise ValueError(f"{call.name}: a secret may not stand in a path or a fixed header")
    if bool(used["query"] & SECRET_PLACES) != call.secret_in_query:
        raise ValueError(f"{call.name}: secrets in the query are declared, and declared only where they are")


def _rules(table: Table) -> RefreshRules:
    found = RefreshRules(
        model=TokenModel(table.take("model", str)),
        due_from=table.take("due_from", int),
        due_to=table.take("due_to", int),
        grace_s=table.take("grace_s", int, 0),
        min_age_s=table.take("min_age_s", int, 0),
        confirm_s=table.take("confirm_s", int, 0),
        alarm_days=table.take("alarm_days", int),
    )
    table.done()
    return found


def _reply(table: Table) -> ReplyFields:
    found = ReplyFields(
        inside=table.texts("inside", [""]),
        access=table.take("access", str, "access_token"),
        refresh=table.take("refresh", str, ""),
        expires_in=table.take("expires_in", str, "expires_in"),
        refresh_expires_in=table.take("refresh_expires_in", str, ""),
        scope=table.take("scope", str, ""),
        account=table.take("account", str, ""),
        needed=table.texts("needed"),
    )
    table.done()
    return found


def _granted(platform: str, table: Table) -> Granted:
    found = Granted(
        call=_call(f"{platform}.granted", table.table("call"), Surface.API),
        at=table.take("at", str),
        name=table.take("name", str),
        status=table.take("status", str),
        value=table.take("value", str),
    )
    table.done()
    return found


def _inspect(platform: str, table: Table) -> Inspect:
    call = _call(f"{platform}.inspect", table.table("call"), Surface.API)
    found = Inspect(call=call, at=table.take("at", str))
    table.done()
    return found


def _identity(platform: str, table: Table) -> Identity:
    found = Identity(
        call=_call(f"{platform}.identity", table.table("call"), Surface.API),
        at=table.take("at", str),
        listed=table.take("listed", bool, False),
        several_allowed=table.take("several_allowed", bool, False),
        id=table.take("id", str),
        username=table.take("username", str),
        display_name=table.take("display_name", str),
        link=table.take("link", str, ""),
    )
    table.done()
    return found


def _posts(platform: str, table: Table) -> PostsCall:
    found = PostsCall(
        call=_call(f"{platform}.posts", table.table("call"), Surface.API),
        at=table.take("at", str),
        id=table.take("id", str),
        empty=table.take("empty", str, ""),
        scope=table.take("scope", str),
    )
    table.done()
    return found


def _errors(table: Table) -> Errors:
    rules = tuple(_rule(Table("errors.rules", rule)) for rule in table.take("rules", list))
    found = Errors(
        ok_path=table.take("ok_path", str, ""),
        ok_value=table.take("ok_value", str, ""),
        reset_header=table.take("reset_header", str, ""),
        rules=rules,
    )
    table.done()
    return found


def _rule(table: Table) -> ErrorRule:
    where = Table("errors.where", table.take("where", dict, {}))
    surface = table.take("surface", str, "")
    conditions = [(path, frozenset(where.texts(path))) for path in where.names()]
    rule = ErrorRule(
        calls=frozenset(table.texts("calls", [])),
        surface=Surface(surface) if surface else None,
        statuses=frozenset(int(status) for status in table.take("statuses", list, [])),
        where=tuple(conditions),
        cause=FaultCause(table.take("cause", str)),
    )
    table.done()
    if not (rule.statuses or rule.where):
        raise ValueError("an error rule needs a condition")
    return rule


def _health(table: Table) -> HealthCost:
    found = HealthCost(
        limit=table.take("limit", str),
        usd_micros=table.take("usd_micros", int),
        quota_units=table.take("quota_units", int),
        every_s=table.take("every_s", int),
    )
    table.done()
    return found


def _load_all() -> Mapping[str, PlatformDescriptor]:
    folder = resources.files("byokeep.platforms").joinpath("data")
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".toml"))
    found = {}
    for name in files:
        text = folder.joinpath(name).read_text(encoding="utf-8")
        platform = name.removesuffix(".toml")
        try:
            found[platform] = load(platform, tomllib.loads(text))
        except ValueError as wrong:  # the file is ours, and so is what is said of it
            raise Rejected("platform_file_wrong", platform=platform, next_step=f"Mend {name}: {wrong}.") from None
    missing = PLATFORMS - {one.provider for one in found.values()}
    if missing:
        raise Rejected("platform_file_missing", platform=min(missing), next_step="Put its data file back.")
    return MappingProxyType(found)


PLATFORM_DESCRIPTORS: Final[Mapping[str, PlatformDescriptor]] = _load_all()
