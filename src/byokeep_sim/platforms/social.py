"""Takes every call of a social platform: reads it, logs it, answers it, or spoils the answer.

``https://HOST/PATH`` of a platform is ``URL/PLATFORM/HOST/PATH`` here.

Rules
- Counted on arrival and again by outcome, so that a lost reply and a refused call are told apart.
- A call that takes effect does so once, whatever a fault does to its answer.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from byokeep_sim import spoil
from byokeep_sim.book import Book, BookFullError
from byokeep_sim.faults import FaultKind, FaultList, SimFault
from byokeep_sim.platforms import PLATFORMS, lies
from byokeep_sim.platforms.clock import SimClock
from byokeep_sim.platforms.kit import API, OAUTH, PAGE, Ask, Endpoint, SimCase, SimPlatform, SimRefusal, Turn
from byokeep_sim.platforms.people import STRANGER
from byokeep_sim.platforms.world import World
from byokeep_sim.record import record, secrets_of
from byokeep_sim.reply import SimReply

_MOST_FIELDS: Final = 100
_WHOSE: Final = ("refresh_token", "access_token", "fb_exchange_token", "token", "input_token")
_KEEPS_REPLY: Final = frozenset(
    {FaultKind.SLOW, FaultKind.LATE, FaultKind.HUGE, FaultKind.NO_SCOPE, FaultKind.WRONG_IDENTITY, FaultKind.ECHO_KEY}
)
_SCOPE_FIELDS: Final = frozenset({"scope", "permissions"})


@dataclass(slots=True)
class _Answering:
    """One call on its way: what it is, whose it is, and whether it took effect yet."""

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
        """Return a scripted refusal; with a status of 200 the error stands where the platform puts one beside data."""
        surface = self.endpoint.surface if self.endpoint else API
        reply = self.platform.refuse(SimCase(fault.case), surface)
        beside = self.platform.beside if surface == API and fault.status == 200 else None
        if beside is not None:
            reply = beside(self.true(), reply)
        elif fault.after:
            self.true()
        if fault.retry_after_s is not None:
            reply = reply.with_headers(retry_after=str(fault.retry_after_s))
        return replace(reply, status=fault.status or reply.status)

    def _run(self, turn: Turn, *, metered: bool) -> tuple[SimReply, str]:
        if self.endpoint is None:
            return self.platform.error(404), "refused"
        headers: dict[str, str] = {}
        try:
            if metered and self.platform.meter is not None and self.endpoint.surface == API:
                headers, within = self.platform.meter(turn, self.call, self.account)
                if not within:
                    raise SimRefusal(SimCase.RATE_LIMITED)
            reply, outcome = self.endpoint.handle(turn), "granted"
        except SimRefusal as refused:
            reply, outcome = self.platform.refuse(refused.case, self.endpoint.surface), "refused"
        except BookFullError:
            reply, outcome = self.platform.error(507), "refused"
        return replace(reply, headers={**headers, **reply.headers}), outcome


class Social:
    """All social platforms of one simulator."""

    def __init__(self, book: Book, faults: FaultList, chance: random.Random) -> None:
        self.clock = SimClock()
        self.worlds: dict[str, World] = {
            name: World(name, one.rules, book, self.clock) for name, one in PLATFORMS.items()
        }
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
        await record(
            self._book,
            request,
            platform.name,
            ask.bearer(),
            call=call,
            account=one.account,
            form_names=sorted(ask.form)[:50],
            secrets=secrets_of(self._book, (("query", ask.query), ("form", ask.form), ("basic", _basic(ask)))),
        )
        world.ledger.count(one.account, call or "other", "received")
        fault = self._faults.take(platform.name, ask.method, f"/{ask.host}{ask.path}", call, _barred(endpoint))
        try:
            return spoil.plain(one.true()) if fault is None else await self._spoiled(request, one, fault)
        finally:
            lost = fault is not None and fault.kind not in _KEEPS_REPLY
            world.ledger.count(one.account, call or "other", one.outcome or "not_run")
            if lost and one.outcome:
                world.ledger.count(one.account, call or "other", "reply_lost")

    async def _spoiled(self, request: web.Request, one: _Answering, fault: SimFault) -> web.StreamResponse:
        if fault.kind is FaultKind.REFUSAL:
            return spoil.plain(one.refusal(fault))
        if fault.kind is FaultKind.FEIGNED:
            return spoil.plain(one.feigned())
        if fault.kind is FaultKind.NO_SCOPE:
            reply = one.true()
            kept = {name: value for name, value in reply.body.items() if name not in _SCOPE_FIELDS}
            return spoil.plain(replace(reply, body=kept))
        if fault.kind is FaultKind.WRONG_IDENTITY and one.endpoint is not None and one.endpoint.shape is not None:
            wrong = one.platform.refuse(SimCase.UNKNOWN, API)
            return spoil.plain(lies.tell(fault.lie, one.endpoint.shape, one.true(), one.of_stranger(), wrong))
        return await spoil.spoiled(
            request,
            fault,
            answer=one.true,
            stranger=one.of_stranger,
            error=one.platform.error,
            key=one.turn.ask.bearer(),
            chance=self._chance,
        )


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


def _basic(ask: Ask) -> Mapping[str, str]:
    shown = ask.basic()
    return {"client_secret": shown[1]} if shown else {}


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
