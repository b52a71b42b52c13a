"""One process, one port: every vendor under its own path prefix, the platforms and their websites, and
the simulator's own switches, under ``/_sim/``.

The small platform under ``/platform`` is nobody's: it counts what was done on it. A new effect counts once. A repeat
with the same idempotency key returns the first effect. Reading an identity is never an effect.

Rules
- Loopback only: it answers anybody who reaches it.
- Each call is logged before it is answered, faults included.
- Bad input is answered by 400 with one sentence; a submitted key or secret is never repeated in it.
- Tokens are shown as hashes, secrets not at all.
- Reading the log or the effects changes nothing.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final

from aiohttp import web

from byokeep_sim import issuing
from byokeep_sim.book import Book, BookFullError, SimKeyState
from byokeep_sim.faults import LONGEST_SECRET, BadControlError, FaultList, Spec, changing
from byokeep_sim.federation import TRUSTING, Federation, TrustRule, fields_of
from byokeep_sim.platforms import PLATFORMS, webhooks
from byokeep_sim.platforms.model import ACCOUNT_FIELDS, APP_FIELDS, CONSENT_FIELDS, Consent, SimCase, account_of, app_of
from byokeep_sim.platforms.oauth import is_loopback
from byokeep_sim.platforms.social import Social
from byokeep_sim.platforms.world import Family, TokenKind, World
from byokeep_sim.reply import SimAnswers, SimReply, ok, spoiled
from byokeep_sim.site import Site
from byokeep_sim.vendors import VENDORS, SimCall, Vendor

MAX_BODY: Final = 1024 * 1024
_STRANGER: Final = {"id": "stranger-1", "username": "stranger", "display_name": "Somebody Else"}
_PLATFORM: Final = "platform"
_PART: Final = r"[A-Za-z0-9_.-]{1,64}"
_PATH: Final = re.compile(rf"/(?P<platform>{_PART})/(?P<account>{_PART})/(?P<what>[a-z]+)(?:/(?P<id>{_PART}))?")
_KINDS: Final = {"posts": "publish", "comments": "comment", "messages": "dm", "likes": "engage"}
_CODES: Final = {400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 429: "rate_limited"}


@dataclass(slots=True, kw_only=True)
class Sim:
    """A running simulator."""

    url: str
    book: Book
    faults: FaultList
    social: Social
    site: Site
    federation: Federation
    _runner: web.AppRunner = field(repr=False)

    def base_url(self, provider: str) -> str:
        """Return the base URL that stands for a vendor's host, or for ``https:/`` of a social platform's hosts.

        Raises:
            KeyError: Neither a vendor nor a platform has this name.
        """
        return f"{self.url}/{PLATFORMS[provider].name if provider in PLATFORMS else VENDORS[provider].name}"

    def site_url(self, platform: str) -> str:
        """Return the base URL that stands for ``https:/`` of a social platform's websites."""
        return f"{self.url}/web/{platform}"

    @property
    def platform_url(self) -> str:
        """Return the base URL of the platform that is nobody's."""
        return f"{self.url}/{_PLATFORM}"

    async def stop(self) -> None:
        """Close the port and drop open calls."""
        await self._runner.cleanup()


@dataclass(slots=True)
class _Desk:
    """Takes every call that is not a control and not for a social platform or a website."""

    book: Book
    faults: FaultList
    federation: Federation
    chance: random.Random

    async def vendor(self, request: web.Request) -> web.StreamResponse:
        vendor = VENDORS.get(request.match_info["provider"])
        path = "/" + request.match_info["tail"]
        key = _presented(vendor, request) if vendor else ""
        await self.book.record(request, vendor.name if vendor else "", key)
        if vendor is None:
            return web.json_response({"error": "no such vendor"}, status=404)
        fault = self.faults.take(vendor.name, request.method, path)
        lower = {name.lower(): value for name, value in request.headers.items()}
        if self.federation.serves(vendor.name, request.method, path):
            known_by = await self.federation.keys(vendor.name, request)
            swap = partial(self.federation.answer, vendor.name, lower, *known_by)
            return await spoiled(request, fault, SimAnswers(swap, swap, vendor.error, ""), self.chance)
        over = self.federation.refuses(vendor.name, key, lower)
        known = None if over else self.book.keys.find(vendor.name, key)
        own = {name for name, _ in vendor.key_headers}
        issues = issuing.route(vendor, request.method, path)
        body = await fields_of(request) if issues[0] else {}

        def answer(account: str = known.account if known else "") -> SimReply:
            if issues[0]:
                admin = issuing.presented(request.headers)
                return issuing.answer(self.book, vendor, issues, admin, body, request.query)
            call = SimCall(
                route=vendor.route(request.method, path),
                state=self.book.state_of(known) if known else "unknown",
                key=key,
                account=account,
                headers=lower,
                seq=self.book.log.seen,
                both_credentials="authorization" in request.headers and "authorization" not in own and bool(key),
            )
            return vendor.answer(call)

        answers = SimAnswers(answer, lambda: answer(_STRANGER["id"]), vendor.error, key)
        return await spoiled(request, fault, answers, self.chance)

    async def platform(self, request: web.Request) -> web.StreamResponse:
        path = "/" + request.match_info["tail"]
        _, _, token = request.headers.get("Authorization", "").rpartition(" ")
        await self.book.record(request, _PLATFORM, token)
        once = request.headers.get("Idempotency-Key", "")[:200]
        fault = self.faults.take(_PLATFORM, request.method, path)
        answers = SimAnswers(lambda: self._acted(request.method, path, once), lambda: ok(_STRANGER), _error, token)
        return await spoiled(request, fault, answers, self.chance)

    def _acted(self, method: str, path: str, once: str) -> SimReply:
        """Answer one call of the platform; a POST or DELETE that succeeds is one effect."""
        found, effects = _PATH.fullmatch(path), self.book.effects
        if found is None:
            return _error(404)
        platform, account, what, target = found.groups()
        if method == "GET" and what == "identity" and target is None:
            return ok(self.book.accounts.get(platform, account))
        if method == "POST" and what in _KINDS and target is None:
            kind, status = _KINDS[what], 201
        elif method == "DELETE" and what == "posts" and target is not None:
            kind, status = "delete", 200
        else:
            return _error(404)
        effect = effects.replay(platform, account, kind, once)
        post = effects.posts.get(target or "")
        if (
            kind == "delete"
            and effect is None
            and (post is None or (post.platform, post.account) != (platform, account))
        ):
            return _error(404)
        replayed = effect is not None
        if effect is None:
            try:
                effect = effects.add(platform, account, kind, once)
            except BookFullError:
                return _error(507, "too_many_accounts")
        effects.posts.pop(target or "", None)
        body = {"id": effect.id, "kind": effect.kind, "replayed": replayed}
        return SimReply(status=200 if replayed else status, body=body)


def _error(status: int, code: str = "") -> SimReply:
    return SimReply(status=status, body={"error": {"code": code or _CODES.get(status, "error")}})


def _presented(vendor: Vendor, request: web.Request) -> str:
    for name, prefix in vendor.key_headers:
        value = request.headers.get(name, "")
        if value[: len(prefix)].lower() == prefix.lower() and value[len(prefix) :]:
            return value[len(prefix) :].strip()
    return request.query.get(vendor.table.get("key_query", ""), "")


async def start(host: str = "127.0.0.1", port: int = 0, *, seed: int = 0) -> Sim:
    """Start a simulator in the running event loop.

    Args:
        host: A loopback address.
        port: TCP port, 0 for a free one.
        seed: Makes garbage answers repeatable.

    Raises:
        ValueError: The host is not a loopback address.
        OSError: The port is taken.
    """
    if not is_loopback(host):
        raise ValueError("the simulator listens on loopback addresses only")
    book = Book()
    cases = {name: frozenset(map(str, one.cases)) for name, one in PLATFORMS.items()}
    faults = FaultList(targets=frozenset({*VENDORS, _PLATFORM, *PLATFORMS}), cases=cases)
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    social, site, federation = Social(book, faults, chance), Site(book), Federation(book)
    desk = _Desk(book=book, faults=faults, federation=federation, chance=chance)
    app = web.Application(client_max_size=MAX_BODY)
    app.add_routes([*Control(book, faults, social, site, federation).routes(), *site.routes()])
    app.router.add_route("*", f"/{{platform:{'|'.join(PLATFORMS)}}}/{{host:[a-z0-9.-]+}}{{tail:/.*}}", social.handle)
    app.router.add_route("*", f"/{_PLATFORM}/{{tail:.*}}", desk.platform)
    app.router.add_route("*", "/{provider}/{tail:.*}", desk.vendor)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except BaseException:
        await runner.cleanup()
        raise
    name, number, *_ = runner.addresses[0]
    url = f"http://[{name}]:{number}" if ":" in name else f"http://{name}:{number}"
    return Sim(url=url, book=book, faults=faults, social=social, site=site, federation=federation, _runner=runner)


# The simulator's own switches, under `/_sim/`.
_ENDS: Final = ("logged_out", "password_changed", "revoked", "role_lost", "session_invalid", "superseded")
_LOCKS: Final = ("blocked", "checkpoint", "lockout", "no_channel", "restricted", "unconfirmed")
_EXPIRES: Final = {
    "access_expired": (TokenKind.ACCESS, TokenKind.SHORT, TokenKind.LONG, TokenKind.PAGE),
    "refresh_expired": (TokenKind.REFRESH,),
}
_EVENTS: Final = (*_ENDS, *_LOCKS, *_EXPIRES, "unlocked", "scopes")
_WEBHOOK_FIELDS: Final = (
    "platform, client_id, secret, payload, age_s, spoil, deliver_to, challenge, verify_token, removed, reason"
)
_FAR_S: Final = 10_000_000_000


class Control:
    """Answers the controls of one simulator: a GET shows, a POST changes."""

    def __init__(
        self, book: Book, faults: FaultList, social: Social, site: Site, federation: Federation
    ) -> None:  # fmt: skip
        self._book, self._faults, self._social, self._site = book, faults, social, site
        self._federation = federation

    def routes(self) -> list[web.RouteDef]:
        """Return the control routes."""
        shown = {
            "faults": lambda _: {"faults": [asdict(fault) for fault in self._faults.active]},
            "requests": lambda _: {"seen": self._book.log.seen, "requests": list(self._book.log.entries)},
            "effects": lambda _: self._book.effects.report(),
            "apps": lambda _: self._of_each(lambda world: [app.report() for app in world.apps.values()]),
            "accounts": lambda _: self._of_each(lambda world: [one.report() for one in world.accounts.values()]),
            "clock": lambda _: self._clock(),
            "rules": lambda _: self._of_each(lambda world: world.rules),
            "tokens": self._tokens,
            "usage": lambda _: self._of_each(World.usage),
        }
        return [
            web.post("/_sim/reset", self._reset),
            web.delete("/_sim/faults", _showing(lambda _: {"removed": self._faults.clear()})),
            *(web.get(f"/_sim/{name}", _showing(report)) for name, report in shown.items()),
            changing("keys", self._put_key, "provider, key, state, account_id"),
            changing("accounts", self._put_account, ACCOUNT_FIELDS),
            changing("faults", lambda spec: asdict(self._faults.add(spec)), status=201),
            changing(
                "hash", lambda spec: {"hash": self._book.keys.digest(spec.needed("value", LONGEST_SECRET))}, "value"
            ),
            changing("apps", self._put_app, APP_FIELDS),
            changing("consent", self._put_consent, CONSENT_FIELDS),
            changing("clock", self._move_clock, "now, advance_s, frozen"),
            changing("rules", self._set_rules),
            changing("grants", self._happen, "platform, account, client_id, event, scopes"),
            changing("trust", self._trust, "provider, ids, issuer, keys_url, audience, subject, account_id, life_s"),
            changing("webhooks", self._webhook, _WEBHOOK_FIELDS),
        ]

    def _of_each(self, report: Any) -> dict[str, Any]:
        return {name: report(world) for name, world in self._social.worlds.items()}

    def _world(self, spec: Spec) -> World:
        return self._social.worlds[spec.choice("platform", PLATFORMS)]

    def _clock(self) -> dict[str, Any]:
        return {"now": self._social.clock.now(), "frozen": self._social.clock.frozen_at is not None}

    def _tokens(self, request: web.Request) -> dict[str, Any]:
        name, account = request.query.get("platform", ""), request.query.get("account", "")
        now = self._social.clock.now()
        shown = {one: world for one, world in self._social.worlds.items() if name in ("", one)}
        families = {one: world.ledger.report(now, account) for one, world in shown.items()}
        return {"now": now, "families": families, "calls": {one: world.ledger.calls() for one, world in shown.items()}}

    async def _reset(self, _: web.Request) -> web.Response:
        self._book.reset()
        self._faults.clear()
        self._social.reset()
        self._site.reset()
        self._federation.reset()
        return web.json_response({"reset": True})

    def _put_key(self, spec: Spec) -> dict[str, Any]:
        vendor = VENDORS[spec.choice("provider", VENDORS)]
        state = SimKeyState(spec.choice("state", sorted(vendor.states), "valid"))
        owner = spec.text("account_id", 100) or None
        known = self._book.keys.put(vendor.name, spec.needed("key", LONGEST_SECRET), state, owner)
        return {"provider": vendor.name, "state": known.state, "account_id": known.account}

    def _trust(self, spec: Spec) -> dict[str, Any]:
        ids = spec.get("ids")
        if not isinstance(ids, dict) or not all(isinstance(one, str) for one in ids.values()) or len(ids) > 4:
            raise BadControlError("ids must be texts by name")
        vendor = spec.choice("provider", TRUSTING)
        texts = {name: spec.needed(name, 300) for name in ("issuer", "keys_url", "audience", "subject")}
        account, life_s = spec.text("account_id", 100) or "federated", spec.number("life_s", 1, 3600)
        self._federation.trust(vendor, TrustRule(ids=ids, account=account, life_s=life_s or 0, **texts))
        return {"provider": vendor, "account_id": account, "rules": len(self._federation.rules)}

    def _put_account(self, spec: Spec) -> dict[str, Any]:
        identity = {name: spec.needed(name, 200) for name in ("id", "username", "display_name")}
        platform, seeded = spec.needed("platform", 64), account_of(spec)
        self._book.accounts.put(platform, seeded.name, identity)
        if platform in self._social.worlds:
            self._social.worlds[platform].put_account(seeded)
        return identity

    def _put_app(self, spec: Spec) -> dict[str, Any]:
        app = app_of(spec)
        self._world(spec).put_app(app)
        return app.report()

    def _put_consent(self, spec: Spec) -> dict[str, Any]:
        world = self._world(spec)
        consent = Consent(
            account=spec.text("account", 64),
            accounts=spec.texts("accounts", 64, 100),
            scopes=spec.texts("scopes", 200, 50),
            deny=spec.flag("deny"),
        )
        if {consent.account, *(consent.accounts or ())} - {"", *world.accounts}:
            raise BadControlError("no such account; seed it first")
        world.consent = consent
        return {"account": consent.account or None, "deny": consent.deny}

    def _move_clock(self, spec: Spec) -> dict[str, Any]:
        clock = self._social.clock
        if "frozen" in spec:
            clock.freeze(spec.flag("frozen"))
        if "now" in spec:
            clock.move_to(spec.seconds("now", 0, _FAR_S))
        if "advance_s" in spec:
            clock.move_to(clock.now() + spec.seconds("advance_s", -_FAR_S, _FAR_S))
        return self._clock()

    def _set_rules(self, spec: Spec) -> dict[str, Any]:
        world = self._world(spec)
        world.set_rules({name: value for name, value in spec.items() if name != "platform"})
        return world.rules

    def _happen(self, spec: Spec) -> dict[str, Any]:
        return {"families": _event(self._world(spec), spec)}

    async def _webhook(self, spec: Spec) -> dict[str, Any]:
        platform, secret = spec.choice("platform", webhooks.SIGNERS), self._secret(spec)
        where, word = spec.text("deliver_to", 2048), spec.text("challenge", 200)
        if word:
            query, right = webhooks.challenge(platform, secret, word, spec.text("verify_token", 200))
            status, answered = await webhooks.ask(where, query, right)
            return {"status": status, "right": answered}
        body, headers = self._signed(platform, secret, spec)
        delivered = await webhooks.deliver(where, body, headers) if where else None
        return {"headers": headers, "body": body.decode(), "status": delivered}

    def _secret(self, spec: Spec) -> str:
        given = spec.text("secret", LONGEST_SECRET)
        if given:
            return given
        world = self._social.worlds.get(str(spec.get("platform")))
        app = world.apps.get(spec.needed("client_id", 200)) if world else None
        if app is None:
            raise BadControlError("give secret, or client_id of a registered app")
        return app.webhook_secret

    def _signed(self, platform: str, secret: str, spec: Spec) -> tuple[bytes, dict[str, str]]:
        spoilt = spec.choice("spoil", ("none", "absent", "wrong_secret", "changed_body"), "none")
        age_s = spec.seconds("age_s", -_FAR_S, _FAR_S)
        used, moment = secret + ("-other" if spoilt == "wrong_secret" else ""), int(self._social.clock.now() - age_s)
        body, kind = json.dumps(spec.get("payload", {})).encode(), "application/json"
        if spec.text("removed", 64):
            body, kind = self._removal(platform, used, spec, moment)
        headers = {} if spoilt == "absent" else webhooks.signature(platform, used, body, moment)
        return body + (b" " if spoilt == "changed_body" else b""), {"Content-Type": kind, **headers}

    def _removal(self, platform: str, secret: str, spec: Spec, moment: int) -> tuple[bytes, str]:
        world = self._social.worlds.get(platform)
        app = world.apps.get(spec.text("client_id", 200)) if world else None
        account = world.accounts.get(spec.text("removed", 64)) if world else None
        if app is None or account is None:
            raise BadControlError("removed needs a seeded account and the client_id of a registered app")
        user_id = {"meta": account.person_id, "tiktok": account.seen_by(app)}.get(platform, account.id)
        reason = spec.number("reason", 0, 5)
        return webhooks.removal(platform, secret, app.client_id, user_id, 1 if reason is None else reason, moment)


def _showing(report: Any) -> Any:
    async def shown(request: web.Request) -> web.Response:
        return web.json_response(report(request))

    return shown


def _event(world: World, spec: Spec) -> int:
    event, account = spec.choice("event", _EVENTS), spec.needed("account", 64)
    if account not in world.accounts:
        raise BadControlError("no such account; seed it first")
    if event in {*_ENDS, *_LOCKS} - world.platform.cases - {"superseded"}:
        raise BadControlError(f"{world.platform.name} has no refusal for {event}")
    families = list(world.ledger.of(account=account, client_id=spec.text("client_id", 200)))
    if event == "scopes":
        kept = spec.texts("scopes", 200, 50) or ()
        for family in families:
            family.scopes = tuple(scope for scope in family.scopes if scope in kept)
    elif event == "unlocked":
        world.locks.pop(account, None)
    elif event in _LOCKS:
        world.locks[account] = SimCase(event)
    else:
        _end(world, families, event)
    return len(families)


def _end(world: World, families: list[Family], event: str) -> None:
    for family in families:
        if event not in _EXPIRES and event != "role_lost":
            family.dead = SimCase(event)
            continue
        for token in family.tokens:
            if event == "role_lost" and token.kind is TokenKind.PAGE:
                token.dead = SimCase.ROLE_LOST
            elif token.kind in _EXPIRES.get(event, ()):
                token.expires_at = world.now
