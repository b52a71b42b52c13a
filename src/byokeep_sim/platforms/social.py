"""Takes every call of a social platform: reads it, logs it, answers it, or spoils the answer.

``https://HOST/PATH`` of a platform is ``URL/PLATFORM/HOST/PATH`` here. A lie is an identity reply that is wrong in a
way that a careless reader takes for right.

Rules
- Calls are counted on arrival and again by outcome, so that a lost reply and a refused call are told apart.
- A call that takes effect does so once, whatever a fault does to its answer.
- Each lie is a complete HTTP reply in the platform's own form, as far as the lie allows; cut connections, HTML,
  redirects and endless bodies are faults of their own.
"""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web

from byokeep_sim.book import Book, BookFullError
from byokeep_sim.faults import FaultKind, FaultList, Lie, SimFault
from byokeep_sim.platforms import PLATFORMS
from byokeep_sim.platforms.model import (
    API,
    OAUTH,
    PAGE,
    STRANGER,
    Ask,
    Endpoint,
    SimCase,
    SimPlatform,
    SimRefusal,
    Turn,
    digits,
)
from byokeep_sim.platforms.oauth import authorize
from byokeep_sim.platforms.world import SimClock, World
from byokeep_sim.reply import SimAnswers, SimReply, spoiled

_MOST_FIELDS: Final = 100
_WHOSE: Final = ("refresh_token", "access_token", "fb_exchange_token", "token", "input_token")
_KEEPS_REPLY: Final = frozenset(
    {FaultKind.SLOW, FaultKind.LATE, FaultKind.HUGE, FaultKind.NO_SCOPE, FaultKind.WRONG_IDENTITY, FaultKind.ECHO_KEY}
)
_SCOPE_FIELDS: Final = frozenset({"scope", "permissions"})
# Latin letters and Cyrillic ones that look the same.
_TWINS: Final = str.maketrans(
    {"a": "\u0430", "e": "\u0435", "o": "\u043e", "c": "\u0441", "p": "\u0440", "x": "\u0445", "i": "\u0456"}
)


@dataclass(slots=True)
class _Answering:
    """One call on its way: what it is, whose it is, and whether it has taken effect yet."""

    platform: SimPlatform
    endpoint: Endpoint | None
    turn: Turn
    call: str
    account: str
    outcome: str = ""

    def true(self) -> SimReply:
        """Run the call and return the platform's own answer."""
        reply, self.outcome = self._run(self.turn, metered=True)
        return reply.with_headers(date=self.turn.world.clock.http_date())

    def feigned(self) -> SimReply:
        """Return the answer to a revocation that did not happen."""
        before = [(family, family.dead, family.scopes) for family in self.turn.world.ledger.families]
        reply = self.true()
        for family, dead, scopes in before:
            family.dead, family.scopes = dead, scopes
        return reply

    def of_stranger(self) -> SimReply:
        """Return the answer as if another account were behind the token."""
        return self._run(replace(self.turn, stranger=STRANGER), metered=False)[0]

    def refusal(self, fault: SimFault) -> SimReply:
        """Return a scripted refusal; with a status of 200 the error is where the platform puts one beside data."""
        surface = self.endpoint.surface if self.endpoint else API
        reply = self.platform.refuse(SimCase(fault.case or ""), surface)
        if self.platform.errors_beside_data and surface == API and fault.status == 200:
            true = self.true()
            reply = replace(true, status=200, body={**true.body, "errors": [reply.body]})
        elif fault.after:
            self.true()
        if fault.retry_after_s is not None:
            reply = reply.with_headers(retry_after=str(fault.retry_after_s))
        return replace(reply, status=fault.status or reply.status)

    def _run(self, turn: Turn, *, metered: bool) -> tuple[SimReply, str]:
        if self.endpoint is None:
            return self.platform.error(404), "refused"
        headers: dict[str, str] = {}
        handle = authorize if self.endpoint.surface == PAGE else self.platform.handlers[self.endpoint.name]
        try:
            if metered and self.platform.meter is not None and self.endpoint.surface == API:
                headers, within = self.platform.meter(turn, self.call, self.account)
                if not within:
                    raise SimRefusal(SimCase.RATE_LIMITED)
            reply, outcome = handle(turn), "granted"
        except SimRefusal as refused:
            reply, outcome = self.platform.refuse(refused.case, self.endpoint.surface), "refused"
        except BookFullError:
            reply, outcome = self.platform.error(507), "refused"
        return replace(reply, headers={**headers, **reply.headers}), outcome


class Social:
    """All social platforms of one simulator."""

    def __init__(self, book: Book, faults: FaultList, chance: random.Random) -> None:
        self.clock = SimClock()
        self.worlds = {name: World(one, book, self.clock) for name, one in PLATFORMS.items()}
        self._book, self._faults, self._chance = book, faults, chance

    def reset(self) -> None:
        """Forget everything and return to real time."""
        self.clock.reset()
        for world in self.worlds.values():
            world.reset()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one call."""
        platform = PLATFORMS[request.match_info["platform"]]
        world, ask = self.worlds[platform.name], await _read(request)
        found = platform.find(ask)
        endpoint, parts = found if found else (None, {})
        call = endpoint.named(ask) if endpoint else ""
        one = _Answering(platform, endpoint, Turn(world=world, ask=ask, parts=parts), call, _account(world, ask))
        basic = ask.basic()
        shown = {"client_secret": basic[1]} if basic else {}
        secrets = self._book.secrets_of(query=ask.query, form=ask.form, basic=shown)
        said = {"call": call, "account": one.account, "form_names": sorted(ask.form)[:50], "secrets": secrets}
        await self._book.record(request, platform.name, ask.bearer(), **said)
        world.ledger.count(one.account, call or "other", "received")
        fault = self._faults.take(platform.name, ask.method, f"/{ask.host}{ask.path}", call, _barred(endpoint))
        try:
            return await self._answered(request, one, fault)
        finally:
            lost = fault is not None and fault.kind not in _KEEPS_REPLY
            world.ledger.count(one.account, call or "other", one.outcome or "not_run")
            if lost and one.outcome:
                world.ledger.count(one.account, call or "other", "reply_lost")

    async def _answered(self, request: web.Request, one: _Answering, fault: SimFault | None) -> web.StreamResponse:
        shape, kind = one.endpoint.shape if one.endpoint else None, fault and fault.kind
        if fault and kind is FaultKind.REFUSAL:
            return one.refusal(fault).sent()
        if kind is FaultKind.FEIGNED:
            return one.feigned().sent()
        if kind is FaultKind.NO_SCOPE:
            reply = one.true()
            kept = {name: value for name, value in reply.body.items() if name not in _SCOPE_FIELDS}
            return replace(reply, body=kept).sent()
        if fault and kind is FaultKind.WRONG_IDENTITY and shape is not None:
            wrong = one.platform.refuse(SimCase.UNKNOWN, API)
            return _lied(fault.lie, shape, one.true(), one.of_stranger(), wrong).sent()
        answers = SimAnswers(one.true, one.of_stranger, one.platform.error, one.turn.ask.bearer())
        return await spoiled(request, fault, answers, self._chance)


def _barred(endpoint: Endpoint | None) -> frozenset[FaultKind]:
    if endpoint is None or endpoint.surface == PAGE:
        return frozenset({FaultKind.REFUSAL, FaultKind.NO_SCOPE, FaultKind.WRONG_IDENTITY, FaultKind.FEIGNED})
    able = {
        FaultKind.WRONG_IDENTITY: endpoint.shape is not None,
        FaultKind.NO_SCOPE: endpoint.surface == OAUTH and endpoint.call != "revoke",
        FaultKind.FEIGNED: endpoint.call == "revoke",
    }
    return frozenset(kind for kind, can in able.items() if not can)


def _account(world: World, ask: Ask) -> str:
    for value in (ask.bearer(), *(ask.param(name) for name in _WHOSE)):
        token = world.ledger.find(value)
        if token is not None:
            return token.family.account
    code = world.find_code(ask.param("code"))
    return code.account if code is not None else ""


async def _read(request: web.Request) -> Ask:
    body = await request.read()
    form: list[tuple[str, str]] = []
    if request.content_type == "application/x-www-form-urlencoded":
        try:
            form = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
        except ValueError:
            form = []
    query = list(request.query.items())
    names = Counter(name for name, _ in query) + Counter(name for name, _ in form)
    return Ask(
        method=request.method,
        host=request.match_info["host"],
        path=request.match_info["tail"],
        query=dict(reversed(query)),
        form=dict(reversed(form)),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
        repeated=frozenset(name for name, times in names.items() if times > 1),
        base=f"http://{request.host}/{request.match_info['platform']}",
    )


def _lied(lie: Lie, shape: Mapping[str, Any], true: SimReply, stranger: SimReply, error: SimReply) -> SimReply:
    """Return the wrong reply.

    Args:
        shape: Where the identity is.
        true: What the platform would say.
        stranger: The same of another account.
        error: Refusal of the API, for ``error_200``.
    """
    if true.status != 200:
        return true
    if lie is Lie.ERROR_200:
        return replace(error, status=200)
    if lie is Lie.CUT_JSON:
        text = true.encoded()
        return replace(true, raw=text[: len(text) - len(text) // 3])
    if lie is Lie.OTHER:
        return stranger
    body = copy.deepcopy(dict(true.body))
    who = _inside(body, shape)
    if lie is Lie.NO_ACCOUNT:
        return replace(true, body=_with_list(body, shape, []))
    if lie is Lie.TWO_ACCOUNTS:
        return replace(true, body=_with_list(body, shape, [who, _inside(stranger.body, shape)]))
    if lie is Lie.DUPLICATE_KEYS:
        # The stranger's id comes first: a reader that keeps the last of two equal names sees nothing wrong.
        ids = [one.get(shape["id"], "") for one in (_inside(stranger.body, shape), who)]
        other, own = (json.dumps({shape["id"]: value})[1:-1] for value in ids)
        return replace(true, raw=json.dumps(body).replace(own, f"{other}, {own}", 1).encode())
    _bend(lie, who, shape)
    return replace(true, body=body)


def _inside(body: Any, shape: Mapping[str, Any]) -> dict[str, Any]:
    for step in shape["inside"]:
        body = body[step]
    found: dict[str, Any] = body
    return found


def _with_list(body: dict[str, Any], shape: Mapping[str, Any], accounts: list[dict[str, Any]]) -> dict[str, Any]:
    steps = [step for step in shape["inside"] if isinstance(step, str)]
    if not steps:
        return {"data": accounts}
    holder = body
    for step in steps[:-1]:
        holder = holder[step]
    holder[steps[-1]] = accounts
    return body


def _bend(lie: Lie, who: dict[str, Any], shape: Mapping[str, Any]) -> None:
    value = str(who.get(shape["id"], ""))
    match lie:
        case Lie.MISSING_ID:
            who.pop(shape["id"], None)
        case Lie.NULL_ID:
            who[shape["id"]] = None
        case Lie.EMPTY_ID:
            who[shape["id"]] = ""
        case Lie.NUMERIC_ID:
            who[shape["id"]] = int(value if value.isascii() and value.isdigit() else digits(value, 17))
        case Lie.OTHER_CASE if value.swapcase() != value:
            who[shape["id"]] = value.swapcase()
        case Lie.OTHER_CASE:
            _change(who, shape["username"] or shape["name"], str.swapcase)
        case Lie.OTHER_NAME:
            _change(who, shape["name"], lambda name: f"{name} Official")
        case Lie.LOOKALIKE:
            _change(who, shape["name"], lambda name: name.translate(_TWINS))
            _change(who, shape["username"], lambda name: name.translate(_TWINS))


def _change(who: dict[str, Any], way: list[str], change: Any) -> None:
    for step in way[:-1]:
        who = who.get(step, {})
    if way and way[-1] in who:
        who[way[-1]] = change(who[way[-1]])
