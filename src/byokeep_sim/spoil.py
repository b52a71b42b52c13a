"""Turns a reply, or a fault, into bytes on the wire.

Rules
- Nothing here decides; it sends what the vendor answered or what the fault says.
- A connection is never held longer than the fault's delay, at most a minute.
"""

from __future__ import annotations

import asyncio
import base64
import random
import socket
import struct
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from aiohttp import web

from byokeep_sim.faults import Encoding, FaultKind, FaultPlace, SimFault
from byokeep_sim.reply import SimReply

HUGE_BYTES: Final = 8 * 1024 * 1024
_PIECES: Final = 10
_BLANKS: Final = b" " * (64 * 1024)
_NEEDS_ANSWER: Final = (FaultKind.SLOW, FaultKind.ECHO_KEY, FaultKind.TRUNCATED, FaultKind.HUGE)
_HTML: Final = b"<!doctype html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"


def plain(reply: SimReply) -> web.Response:
    """Return the reply unspoiled."""
    return web.Response(
        status=reply.status, body=reply.encoded(), headers=reply.headers, content_type=reply.content_type
    )


async def spoiled(
    request: web.Request,
    fault: SimFault,
    *,
    answer: Callable[[], SimReply],
    stranger: Callable[[], SimReply],
    error: Callable[[int], SimReply],
    key: str,
    chance: random.Random,
) -> web.StreamResponse:
    """Answer a call the way the fault says.

    Args:
        answer: Runs the call and gives the true reply; called for faults that need it, or when ``fault.after``.
        stranger: The reply for somebody else's account.
        error: Native error body for a status.
        key: The presented credential, for ``echo_key``.
        chance: Seeded source of garbage.
    """
    delay_s = chance.uniform(fault.delay_s, fault.delay_max_s) if fault.delay_max_s else fault.delay_s
    true = answer() if fault.after or fault.kind in _NEEDS_ANSWER else None
    match fault.kind:
        case FaultKind.HANG:
            await asyncio.sleep(delay_s)
            return _dropped(request)
        case FaultKind.LATE:
            await asyncio.sleep(delay_s)
            return plain(true or answer())
        case FaultKind.RESET:
            return _dropped(request)
        case FaultKind.WRONG_IDENTITY:
            return plain(stranger())
        case FaultKind.SLOW if true is not None:
            return await _trickled(request, true, delay_s)
        case FaultKind.TRUNCATED if true is not None:
            return await _cut(request, true)
        case FaultKind.ECHO_KEY if true is not None:
            return _echoed(true, key, fault)
        case FaultKind.HUGE if true is not None:
            return await _huge(request, true)
        case _:
            return _canned(fault, error, chance)


def _canned(fault: SimFault, error: Callable[[int], SimReply], chance: random.Random) -> web.Response:
    if fault.kind is FaultKind.STATUS:
        reply = error(fault.status or 500)
        if fault.retry_after_s is not None:
            reply = reply.with_headers(retry_after=str(fault.retry_after_s))
        return plain(reply)
    if fault.kind is FaultKind.REDIRECT:
        return web.Response(status=fault.status or 302, headers={"Location": fault.location})
    status = fault.status or 200
    if fault.kind is FaultKind.GARBAGE:
        return web.Response(status=status, body=chance.randbytes(512), content_type="application/json")
    if fault.kind is FaultKind.HTML:
        return web.Response(status=status, body=_HTML, content_type="text/html")
    return web.Response(status=status, body=b"", content_type="application/json")


def _dropped(request: web.Request) -> web.Response:
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            # Linger of zero makes the close a TCP reset instead of an orderly end.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=500)


def _echoed(reply: SimReply, key: str, fault: SimFault) -> web.Response:
    written = {
        Encoding.RAW: key,
        Encoding.URL: "".join(f"%{byte:02X}" if not chr(byte).isalnum() else chr(byte) for byte in key.encode()),
        Encoding.BASE64: base64.b64encode(b"key=" + key.encode()).decode(),
    }[fault.encoding]
    if fault.place is FaultPlace.HEADER:
        return plain(reply.with_headers(x_debug_token=quote(written, safe="%=+/-_.~") if written else ""))
    body = {**reply.body, "debug": {"received": written}}
    return plain(SimReply(status=reply.status, body=body, headers=reply.headers))


async def _trickled(request: web.Request, reply: SimReply, delay_s: float) -> web.StreamResponse:
    body = reply.encoded()
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_type = reply.content_type
    response.content_length = len(body)
    size = max(1, -(-len(body) // _PIECES))
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    try:
        await response.prepare(request)
        for piece in pieces:
            await asyncio.sleep(delay_s / len(pieces))
            await response.write(piece)
        await response.write_eof()
    except ConnectionError:
        return response
    return response


async def _cut(request: web.Request, reply: SimReply) -> web.StreamResponse:
    body = reply.encoded()
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_type = reply.content_type
    response.content_length = len(body)
    try:
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
    except ConnectionError:
        return response
    if request.transport is not None:
        request.transport.close()
    return response


async def _huge(request: web.Request, reply: SimReply) -> web.StreamResponse:
    # The true answer and then megabytes of blanks: valid JSON, so that only a reader's own bound refuses it.
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_type = reply.content_type
    try:
        await response.prepare(request)
        await response.write(reply.encoded())
        for _ in range(HUGE_BYTES // len(_BLANKS)):
            await response.write(_BLANKS)
        await response.write_eof()
    except ConnectionError:
        return response
    return response
