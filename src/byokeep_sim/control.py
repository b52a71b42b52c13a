"""The simulator's own switches, under ``/_sim/``.

Rules
- Bad input is answered by 400 with one sentence; a submitted key or secret is never repeated in it.
- Tokens are shown as hashes, secrets not at all.
- Reading the log or the effects changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

from aiohttp import web

from byokeep_sim.book import Book, SimKeyState
from byokeep_sim.faults import LONGEST_SECRET, BadControlError, FaultList, Spec, changing
from byokeep_sim.federation import TRUSTING, Federation, TrustRule
from byokeep_sim.platforms import PLATFORMS, webhooks
from byokeep_sim.platforms.model import ACCOUNT_FIELDS, APP_FIELDS, CONSENT_FIELDS, Consent, SimCase, account_of, app_of
from byokeep_sim.platforms.social import Social
from byokeep_sim.platforms.world import Family, TokenKind, World
from byokeep_sim.site import Site
from byokeep_sim.vendors import VENDORS

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
