"""The switches of the social platforms, under ``/_sim/``.

Rules
- Bad input is answered by 400 with one sentence; a submitted secret is never repeated in it.
- Tokens are shown as hashes, secrets not at all.
"""

from __future__ import annotations

import json
from typing import Any, Final

from aiohttp import web

from byokeep_sim.asked import LONGEST_SECRET, flag, guarded, needed, object_of, texts
from byokeep_sim.faults import BadControlError, choice, number_in, text
from byokeep_sim.platforms import PLATFORMS, people, webhooks
from byokeep_sim.platforms.kit import SimCase
from byokeep_sim.platforms.ledger import Family, TokenKind
from byokeep_sim.platforms.social import Social
from byokeep_sim.platforms.world import World

_ENDS: Final = frozenset(
    {
        SimCase.REVOKED,
        SimCase.PASSWORD_CHANGED,
        SimCase.LOGGED_OUT,
        SimCase.SESSION_INVALID,
        SimCase.SUPERSEDED,
        SimCase.ROLE_LOST,
    }
)
_LOCKS: Final = frozenset(
    {SimCase.LOCKOUT, SimCase.UNCONFIRMED, SimCase.BLOCKED, SimCase.RESTRICTED, SimCase.NO_CHANNEL}
)
_EXPIRES: Final = {
    "access_expired": frozenset({TokenKind.ACCESS, TokenKind.SHORT, TokenKind.LONG, TokenKind.PAGE}),
    "refresh_expired": frozenset({TokenKind.REFRESH}),
}
_EVENTS: Final = (*sorted(_ENDS), *sorted(_LOCKS), *_EXPIRES, "unlocked", "scopes")
_WEBHOOK_FIELDS: Final = (
    "platform",
    "client_id",
    "secret",
    "payload",
    "age_s",
    "spoil",
    "deliver_to",
    "challenge",
    "verify_token",
    "removed",
    "reason",
)
_FAR_S: Final = 10_000_000_000


def social_routes(social: Social) -> list[web.RouteDef]:
    """Return the control routes of the platforms."""
    return [*_who_there_is(social), *_what_happens(social), *_what_became(social), *_webhooks(social)]


def _world(social: Social, spec: dict[str, Any]) -> World:
    return social.worlds[choice(spec, "platform", PLATFORMS)]


def _who_there_is(social: Social) -> list[web.RouteDef]:
    async def put_app(request: web.Request) -> web.Response:
        spec = await object_of(request, *people.APP_FIELDS)
        app = people.app(spec)
        _world(social, spec).put_app(app)
        return web.json_response(app.report())

    async def get_apps(_: web.Request) -> web.Response:
        return web.json_response(
            {name: [app.report() for app in world.apps.values()] for name, world in social.worlds.items()}
        )

    async def get_accounts(_: web.Request) -> web.Response:
        return web.json_response(
            {name: [one.report() for one in world.accounts.values()] for name, world in social.worlds.items()}
        )

    async def put_consent(request: web.Request) -> web.Response:
        spec = await object_of(request, *people.CONSENT_FIELDS)
        world, consent = _world(social, spec), people.consent(spec)
        for name in (consent.account, *(consent.accounts or ())):
            if name and name not in world.accounts:
                raise BadControlError("no such account; seed it first")
        world.consent = consent
        return web.json_response({"account": consent.account or None, "deny": consent.deny})

    return [
        web.post("/_sim/apps", guarded(put_app)),
        web.get("/_sim/apps", get_apps),
        web.get("/_sim/accounts", get_accounts),
        web.post("/_sim/consent", guarded(put_consent)),
    ]


def _what_happens(social: Social) -> list[web.RouteDef]:
    async def get_clock(_: web.Request) -> web.Response:
        return web.json_response({"now": social.clock.now(), "frozen": social.clock.frozen_at is not None})

    async def move_clock(request: web.Request) -> web.Response:
        spec = await object_of(request, "now", "advance_s", "frozen")
        if "frozen" in spec:
            social.clock.freeze(flag(spec, "frozen"))
        if "now" in spec:
            social.clock.move_to(_moment(spec, "now", 0))
        if "advance_s" in spec:
            social.clock.move_to(social.clock.now() + _moment(spec, "advance_s", -_FAR_S))
        return await get_clock(request)

    async def set_rules(request: web.Request) -> web.Response:
        spec = await object_of(request)
        world = _world(social, spec)
        world.set_rules({name: value for name, value in spec.items() if name != "platform"})
        return web.json_response(world.rules)

    async def get_rules(_: web.Request) -> web.Response:
        return web.json_response({name: world.rules for name, world in social.worlds.items()})

    async def happen(request: web.Request) -> web.Response:
        spec = await object_of(request, "platform", "account", "client_id", "event", "scopes")
        return web.json_response({"families": _event(_world(social, spec), spec)})

    return [
        web.get("/_sim/clock", get_clock),
        web.post("/_sim/clock", guarded(move_clock)),
        web.get("/_sim/rules", get_rules),
        web.post("/_sim/rules", guarded(set_rules)),
        web.post("/_sim/grants", guarded(happen)),
    ]


def _moment(spec: dict[str, Any], name: str, low: float) -> float:
    value = spec[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= _FAR_S:
        raise BadControlError(f"{name} must be a number of seconds")
    return float(value)


def _event(world: World, spec: dict[str, Any]) -> int:
    event, account = choice(spec, "event", _EVENTS), needed(spec, "account", 64)
    if account not in world.accounts:
        raise BadControlError("no such account; seed it first")
    if event in set(_ENDS | _LOCKS) and event not in {*PLATFORMS[world.name].cases, SimCase.SUPERSEDED}:
        raise BadControlError(f"{world.name} has no refusal for {event}")
    families = list(world.ledger.of(account=account, client_id=text(spec, "client_id", 200)))
    if event == "scopes":
        kept = texts(spec, "scopes", 200, 50) or ()
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
        if event not in _EXPIRES and event != SimCase.ROLE_LOST:
            family.dead = SimCase(event)
            continue
        for token in family.tokens:
            if event == SimCase.ROLE_LOST and token.kind is TokenKind.PAGE:
                token.dead = SimCase.ROLE_LOST
            elif token.kind in _EXPIRES.get(event, ()):
                token.expires_at = world.now


def _what_became(social: Social) -> list[web.RouteDef]:
    async def get_tokens(request: web.Request) -> web.Response:
        name, account = request.query.get("platform", ""), request.query.get("account", "")
        now = social.clock.now()
        shown = {one: world for one, world in social.worlds.items() if name in ("", one)}
        families = {one: world.ledger.report(now, account) for one, world in shown.items()}
        calls = {one: world.ledger.calls() for one, world in shown.items()}
        return web.json_response({"now": now, "families": families, "calls": calls})

    async def get_usage(_: web.Request) -> web.Response:
        return web.json_response(
            {
                name: {"windows": world.windows.report(), "thousandths_of_a_dollar": dict(world.money)}
                for name, world in social.worlds.items()
            }
        )

    return [web.get("/_sim/tokens", get_tokens), web.get("/_sim/usage", get_usage)]


def _webhooks(social: Social) -> list[web.RouteDef]:
    async def send(request: web.Request) -> web.Response:
        spec = await object_of(request, *_WEBHOOK_FIELDS)
        platform, secret = choice(spec, "platform", webhooks.SIGNERS), _secret(social, spec)
        where, word = text(spec, "deliver_to", 2048), text(spec, "challenge", 200)
        if word:
            query, right = webhooks.challenge(platform, secret, word, text(spec, "verify_token", 200))
            status, answered = await webhooks.ask(where, query, right)
            return web.json_response({"status": status, "right": answered})
        body, headers = _signed(social, platform, secret, spec)
        delivered = await webhooks.deliver(where, body, headers) if where else None
        return web.json_response({"headers": headers, "body": body.decode(), "status": delivered})

    return [web.post("/_sim/webhooks", guarded(send))]


def _secret(social: Social, spec: dict[str, Any]) -> str:
    given = text(spec, "secret", LONGEST_SECRET)
    if given:
        return given
    world = social.worlds.get(str(spec.get("platform")))
    app = world.apps.get(needed(spec, "client_id", 200)) if world else None
    if app is None:
        raise BadControlError("give secret, or client_id of a registered app")
    return app.webhook_secret


def _signed(social: Social, platform: str, secret: str, spec: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    spoilt = choice(spec, "spoil", ("none", "absent", "wrong_secret", "changed_body"), "none")
    age_s = _moment(spec, "age_s", -_FAR_S) if "age_s" in spec else 0.0
    used, moment = secret + ("-other" if spoilt == "wrong_secret" else ""), int(social.clock.now() - age_s)
    body, kind = json.dumps(spec.get("payload", {})).encode(), "application/json"
    if text(spec, "removed", 64):
        body, kind = _removal(social, platform, used, spec, moment)
    headers = {} if spoilt == "absent" else webhooks.signature(platform, used, body, moment)
    return body + (b" " if spoilt == "changed_body" else b""), {"Content-Type": kind, **headers}


def _removal(social: Social, platform: str, secret: str, spec: dict[str, Any], moment: int) -> tuple[bytes, str]:
    world = social.worlds.get(platform)
    app = world.apps.get(text(spec, "client_id", 200)) if world else None
    account = world.accounts.get(text(spec, "removed", 64)) if world else None
    if app is None or account is None:
        raise BadControlError("removed needs a seeded account and the client_id of a registered app")
    user_id = {"meta": account.person_id, "tiktok": account.seen_by(app)}.get(platform, account.id)
    reason = number_in(spec, "reason", 0, 5)
    return webhooks.removal(platform, secret, app.client_id, user_id, 1 if reason is None else reason, moment)
