"""The simulator's own switches, under ``/_sim/``.

Rules
- Bad input is answered by 400 with one sentence; a submitted key is never repeated in it.
- Reading the log or the effects changes nothing.
"""

from __future__ import annotations

from aiohttp import web

from byokeep_sim.asked import LONGEST_SECRET, guarded, needed, object_of
from byokeep_sim.book import Book
from byokeep_sim.faults import FaultList, choice, text
from byokeep_sim.platforms.people import ACCOUNT_FIELDS, account
from byokeep_sim.platforms.social import Social
from byokeep_sim.reply import COMMON_STATES, SimKeyState
from byokeep_sim.site import Site
from byokeep_sim.vendors import VENDORS


def routes(book: Book, faults: FaultList, social: Social, site: Site) -> list[web.RouteDef]:
    """Return the control routes over this memory."""

    async def reset(_: web.Request) -> web.Response:
        book.reset()
        faults.clear()
        social.reset()
        site.memory.reset()
        return web.json_response({"reset": True})

    forget = web.post("/_sim/reset", reset)
    return [*_what_is_known(book, social), *_what_goes_wrong(faults), *_what_was_seen(book), forget]


def _what_is_known(book: Book, social: Social) -> list[web.RouteDef]:
    async def put_key(request: web.Request) -> web.Response:
        spec = await object_of(request, "provider", "key", "state", "account_id")
        vendor = VENDORS[choice(spec, "provider", VENDORS)]
        allowed = sorted(COMMON_STATES | vendor.extra_states)
        state = SimKeyState(choice(spec, "state", allowed, "valid"))
        owner = text(spec, "account_id", 100) or None
        known = book.keys.put(vendor.name, needed(spec, "key", LONGEST_SECRET), state, owner)
        return web.json_response({"provider": vendor.name, "state": known.state, "account_id": known.account})

    async def put_account(request: web.Request) -> web.Response:
        spec = await object_of(request, *ACCOUNT_FIELDS)
        identity = {name: needed(spec, name, 200) for name in ("id", "username", "display_name")}
        platform, seeded = needed(spec, "platform", 64), account(spec)
        book.accounts.put(platform, seeded.name, identity)
        if platform in social.worlds:
            social.worlds[platform].put_account(seeded)
        return web.json_response(identity)

    return [web.post("/_sim/keys", guarded(put_key)), web.post("/_sim/accounts", guarded(put_account))]


def _what_goes_wrong(faults: FaultList) -> list[web.RouteDef]:
    async def get_faults(_: web.Request) -> web.Response:
        return web.json_response({"faults": [fault.report() for fault in faults.active]})

    async def post_fault(request: web.Request) -> web.Response:
        return web.json_response(faults.add(await object_of(request)).report(), status=201)

    async def delete_faults(_: web.Request) -> web.Response:
        return web.json_response({"removed": faults.clear()})

    return [
        web.get("/_sim/faults", get_faults),
        web.post("/_sim/faults", guarded(post_fault)),
        web.delete("/_sim/faults", delete_faults),
    ]


def _what_was_seen(book: Book) -> list[web.RouteDef]:
    async def get_requests(_: web.Request) -> web.Response:
        return web.json_response({"seen": book.log.seen, "requests": list(book.log.entries)})

    async def post_hash(request: web.Request) -> web.Response:
        spec = await object_of(request, "value")
        return web.json_response({"hash": book.keys.digest(needed(spec, "value", LONGEST_SECRET))})

    async def get_effects(_: web.Request) -> web.Response:
        return web.json_response(book.effects.report())

    return [
        web.get("/_sim/requests", get_requests),
        web.post("/_sim/hash", guarded(post_hash)),
        web.get("/_sim/effects", get_effects),
    ]
