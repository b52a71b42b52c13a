"""A reply, and its way onto the wire: as it is, or spoiled by a fault.

Rules
- Nothing here decides; it sends what was answered or what the fault says.
- A reply holds the presented key only when a fault asks for it.
- A connection is never held longer than the fault's delay, at most a minute.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from aiohttp import web

from byokeep_sim.faults import Encoding, FaultKind, FaultPlace, SimFault

HUGE_BYTES: Final = 8 * 1024 * 1024
_PIECES: Final = 10
_NAME: Final = re.compile(r"\$([a-z_]+)")
_BLANKS: Final = b" " * (64 * 1024)
_HTML: Final = b"<!doctype html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimReply:
    """One HTTP answer; ``body`` is sent as JSON, unless there are ``raw`` bytes to send instead."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    content_type: str = "application/json"

    def encoded(self) -> bytes:
        """Return the raw bytes, or the body as UTF-8 JSON."""
        return json.dumps(self.body).encode() if self.raw is None else self.raw

    def with_headers(self, **headers: str) -> SimReply:
        """Return a copy with headers added; underscores in names become dashes."""
        added = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **added})

    def sent(self) -> web.Response:
        """Return the reply unspoiled."""
        return web.Response(
            status=self.status, body=self.encoded(), headers=self.headers, content_type=self.content_type
        )


def ok(body: Mapping[str, Any]) -> SimReply:
    """Return a reply of success."""
    return SimReply(status=200, body=body)


def filled(part: Any, values: Mapping[str, Any]) -> Any:
    """Return a table with its ``$name`` replaced; a field whose value is absent is left out, ``$none`` is null."""
    if isinstance(part, dict):
        absent = {name for name, value in part.items() if _lacks(value, values)}
        return {name: filled(value, values) for name, value in part.items() if name not in absent}
    if isinstance(part, list):
        return [filled(one, values) for one in part]
    if not isinstance(part, str):
        return part
    whole = _NAME.fullmatch(part)
    if whole is None:
        return _NAME.sub(lambda found: str(values[found[1]]), part)
    found = values.get(whole[1])
    return None if found == "$none" else found


def _lacks(value: Any, values: Mapping[str, Any]) -> bool:
    whole = _NAME.fullmatch(value) if isinstance(value, str) else None
    return whole is not None and whole[1] not in {*values, "none"}


class SimAnswers(NamedTuple):
    """What a call can be answered.

    Args:
        true: Runs the call and gives the true reply; called for faults that need it, or that let it take effect.
        stranger: The reply for somebody else's account.
        error: Native error body for a status.
        key: The presented credential, for ``echo_key``.
    """

    true: Callable[[], SimReply]
    stranger: Callable[[], SimReply]
    error: Callable[[int], SimReply]
    key: str


async def spoiled(
    request: web.Request, fault: SimFault | None, answers: SimAnswers, chance: random.Random
) -> web.StreamResponse:
    """Answer a call the way the fault says, truly without one. ``chance`` is the seeded source of garbage."""
    if fault is None:
        return answers.true().sent()
    delay_s = chance.uniform(fault.delay_s, fault.delay_max_s) if fault.delay_max_s else fault.delay_s
    true = answers.true() if fault.after else None
    match fault.kind:
        case FaultKind.HANG:
            await asyncio.sleep(delay_s)
            return _dropped(request)
        case FaultKind.LATE:
            await asyncio.sleep(delay_s)
            return (true or answers.true()).sent()
        case FaultKind.RESET:
            return _dropped(request)
        case FaultKind.WRONG_IDENTITY:
            return answers.stranger().sent()
        case FaultKind.ECHO_KEY:
            return _echoed(true or answers.true(), answers.key, fault)
        case FaultKind.SLOW | FaultKind.TRUNCATED | FaultKind.HUGE:
            return await _streamed(request, true or answers.true(), fault.kind, delay_s)
        case FaultKind.STATUS:
            reply = answers.error(fault.status or 500)
            if fault.retry_after_s is not None:
                reply = reply.with_headers(retry_after=str(fault.retry_after_s))
            return reply.sent()
        case FaultKind.REDIRECT:
            return web.Response(status=fault.status or 302, headers={"Location": fault.location or ""})
    if fault.kind is FaultKind.HTML:
        return web.Response(status=fault.status or 200, body=_HTML, content_type="text/html")
    body = chance.randbytes(512) if fault.kind is FaultKind.GARBAGE else b""
    return web.Response(status=fault.status or 200, body=body, content_type="application/json")


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
        return reply.with_headers(x_debug_token=quote(written, safe="%=+/-_.~") if written else "").sent()
    body = {**reply.body, "debug": {"received": written}}
    return SimReply(status=reply.status, body=body, headers=reply.headers).sent()


async def _streamed(request: web.Request, reply: SimReply, kind: FaultKind, delay_s: float) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_type = reply.content_type
    body = reply.encoded()
    if kind is not FaultKind.HUGE:
        response.content_length = len(body)
    try:
        await response.prepare(request)
        async for piece in _pieces(body, kind, delay_s):
            await response.write(piece)
        if kind is FaultKind.TRUNCATED and request.transport is not None:
            request.transport.close()
        else:
            await response.write_eof()
    except ConnectionError:
        pass
    return response


async def _pieces(body: bytes, kind: FaultKind, delay_s: float) -> AsyncIterator[bytes]:
    if kind is FaultKind.TRUNCATED:
        yield body[: len(body) // 2]
    elif kind is FaultKind.HUGE:
        # The true answer and then megabytes of blanks: valid JSON, so that only a reader's own bound refuses it.
        yield body
        for _ in range(HUGE_BYTES // len(_BLANKS)):
            yield _BLANKS
    else:
        size = max(1, -(-len(body) // _PIECES))
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        for piece in pieces:
            await asyncio.sleep(delay_s / len(pieces))
            yield piece
