"""``byokeep leaks pack``: canaries into every input of a running instance; a search of what it says and keeps."""

from __future__ import annotations

import asyncio
import importlib
import json
from pathlib import Path
from typing import Any, Final

import aiohttp
from yarl import URL

from byokeep.cli.api import fetch, own_token, run, stack, web_url
from byokeep.cli.leaks import app
from byokeep.cli.terminal import busy, session, show
from byokeep.core.errors import Denied, Unavailable
from byokeep.core.secret import Secret
from byokeep.wire.transport import TooLarge, Transport, read_body

# What an embedded stack writes, below its home.
_PLACES: Final = {
    "logs and spans": "logs", "database": "postgres", "store": "openbao", "store audit": "store-audit",
    "checkpoints": "checkpoints",
}  # fmt: skip
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, connect=3)
_MOST: Final = 64 << 20  # bytes of one reply
_AT_ONCE: Final = 8
_SETTLE_S: Final = 1.0  # for the last log lines and spans to be written


@app.command
def pack() -> int:
    """Send canaries in every input of a running server, in requests that it must refuse; search what it says and keeps.

    Searched are all answers and, on the host of an embedded stack, its logs, spans, database, store, audit logs and
    checkpoints, in every encoding. Nothing is changed: what could act if accepted is sent without a token. Each
    request leaves its refusal in the logs. Exit code 0 means all searched and clean, 1 found, 4 not everything known.

    Example: byokeep leaks pack --token-file operator.token
    """
    live = importlib.import_module("byokeep_redact.selftest.live")
    exits = importlib.import_module("byokeep_redact.selftest.evaluator").EXIT
    try:
        with busy("Sending canaries and searching"):
            places = run(_places(live))
    except (Unavailable, Denied) as error:
        places = [live.LivePlace("server", 0, 0, 1, (str(error),))]
    verdict = live.overall(places)
    rows = [{"place": one.name, "looked_at": one.looked_at, "found": one.found, "unknown": one.unknown,
             "state": one.verdict} for one in places]  # fmt: skip
    details = [{"place": one.name, "detail": detail} for one in places for detail in one.details]
    if session().as_json:
        show({"state": verdict, "places": rows, "details": details})
    else:
        show(rows, title="Leak pack")
        if details:
            show(details, title="Details")
    return int(exits[verdict])


async def _places(live: Any) -> list[Any]:
    """Send, wait for the logs, search. What can not be searched is a place of its own."""
    probes = live.probes(json.loads(await fetch("GET", "/openapi.json")))
    if not probes:
        raise Unavailable("description_empty", next_step="The server describes no operations.")
    sent, search, home = await _send(probes), live.search_for(probes), session().settings.home
    await asyncio.sleep(_SETTLE_S)
    places = [await asyncio.to_thread(live.evaluate_control)]
    places.append(await asyncio.to_thread(live.evaluate_replies, sent, search))
    if str(stack(home).get("web_url", "")).rstrip("/") == web_url():
        for name, below in _PLACES.items():
            places.append(await asyncio.to_thread(live.evaluate_files, name, Path(home, below), search))
    return places


async def _send(probes: list[Any]) -> list[tuple[Any, Any]]:
    reply = importlib.import_module("byokeep_redact.selftest.live").LiveReply
    token, gate = own_token(), asyncio.Semaphore(_AT_ONCE)
    async with Transport(ca_file=session().settings.file("web_ca_file")) as http:

        async def one(probe: Any) -> Any:
            async with gate:
                try:
                    return reply(*await _ask(http, probe, token))
                except (aiohttp.ClientError, TimeoutError, OSError):
                    return reply(0)

        replies = await asyncio.gather(*(one(probe) for probe in probes))
    return list(zip(probes, replies, strict=True))


async def _ask(http: Transport, probe: Any, token: Secret) -> tuple[int, bytes]:
    headers = dict(probe.headers)
    if probe.with_token:
        headers["Authorization"] = "Bearer " + token.reveal().decode()
    url = URL(web_url() + probe.path)
    async with http.request(probe.method, url, headers=headers, within=_TIMEOUT, data=probe.body) as reply:
        said = repr(sorted(reply.headers.items())).encode() + b"\n"
        try:
            return reply.status, said + await read_body(reply, _MOST)
        except TooLarge:  # not read to its end, so nothing is known of it
            return 0, said
