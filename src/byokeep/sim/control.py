"""The simulator's own switches, under ``/_sim/``.

Rules
- Bad input is answered by 400 with one sentence; a submitted key is never repeated in it.
- Reading the log or the effects changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web

from byokeep.sim.book import Book, BookFullError
from byokeep.sim.faults import BadControlError, FaultList, choice, text
from byokeep.sim.reply import COMMON_STATES, KeyState
from byokeep.sim.vendors import VENDORS

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_LONGEST_KEY: Final = 8192


async def _object(request: web.Request, *known: str) -> dict[str, Any]:
    try:
        value = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise BadControlError("the body must be JSON") from None
    if not isinstance(value, dict):
        raise BadControlError("the body must be a JSON object")
    if known and set(value) - set(known):
        raise BadControlError(f"known fields: {', '.join(known)}")
    return value


def _needed(spec: Mapping[str, Any], name: str, longest: int) -> str:
    value = text(spec, name, longest)
    if not value:
        raise BadControlError(f"{name} is missing")
    return value


def _guarded(handler: Handler) -> Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except (BadControlError, BookFullError) as problem:
            return web.json_response({"error": str(problem)}, status=400)

    return guarded


def routes(book: Book, faults: FaultList) -> list[web.RouteDef]:
    """Return the control routes over this memory."""

    async def reset(_: web.Request) -> web.Response:
        book.reset()
        faults.clear()
        return web.json_response({"reset": True})

    return [*_what_is_known(book), *_what_goes_wrong(faults), *_what_was_seen(book), web.post("/_sim/reset", reset)]


def _what_is_known(book: Book) -> list[web.RouteDef]:
    async def put_key(request: web.Request) -> web.Response:
        spec = await _object(request, "provider", "key", "state", "account_id")
        vendor = VENDORS[choice(spec, "provider", VENDORS)]
        allowed = sorted(COMMON_STATES | vendor.extra_states)
        state = KeyState(choice(spec, "state", allowed, "valid"))
        account = text(spec, "account_id", 100) or None
        known = book.keys.put(vendor.name, _needed(spec, "key", _LONGEST_KEY), state, account)
        return web.json_response({"provider": vendor.name, "state": known.state, "account_id": known.account})

    async def put_account(request: web.Request) -> web.Response:
        spec = await _object(request, "platform", "account", "id", "username", "display_name")
        identity = {name: _needed(spec, name, 200) for name in ("id", "username", "display_name")}
        book.accounts.put(_needed(spec, "platform", 64), _needed(spec, "account", 64), identity)
        return web.json_response(identity)

    return [web.post("/_sim/keys", _guarded(put_key)), web.post("/_sim/accounts", _guarded(put_account))]


def _what_goes_wrong(faults: FaultList) -> list[web.RouteDef]:
    async def get_faults(_: web.Request) -> web.Response:
        return web.json_response({"faults": [fault.report() for fault in faults.active]})

    async def post_fault(request: web.Request) -> web.Response:
        return web.json_response(faults.add(await _object(request)).report(), status=201)

    async def delete_faults(_: web.Request) -> web.Response:
        return web.json_response({"removed": faults.clear()})

    return [
        web.get("/_sim/faults", get_faults),
        web.post("/_sim/faults", _guarded(post_fault)),
        web.delete("/_sim/faults", delete_faults),
    ]


def _what_was_seen(book: Book) -> list[web.RouteDef]:
    async def get_requests(_: web.Request) -> web.Response:
        return web.json_response({"seen": book.log.seen, "requests": list(book.log.entries)})

    async def post_hash(request: web.Request) -> web.Response:
        spec = await _object(request, "value")
        return web.json_response({"hash": book.keys.digest(_needed(spec, "value", _LONGEST_KEY))})

    async def get_effects(_: web.Request) -> web.Response:
        return web.json_response(book.effects.report())

    return [
        web.get("/_sim/requests", get_requests),
        web.post("/_sim/hash", _guarded(post_hash)),
        web.get("/_sim/effects", get_effects),
    ]
