"""The broker's operator-facing routes, forwarded.

Rules
- A fixed list of methods and paths. Ids are checked before they become part of a path.
- Of the caller's headers only ``Authorization`` goes along. The broker authenticates the caller itself, so ``web``
  cannot do anything here that its caller may not.
- A login has no token yet; the address that it came from goes along instead. A body is forwarded unread, in a
  :class:`Secret`, because it may be a password.
- Status and body come back as they are, bounded in size and time; what grows with the log comes piece by piece. No
  broker means 503.
- What stops things goes to the kill process, and to the broker only if that one does not answer itself: engaging a
  switch twice does no harm.

It may not hold a token of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import UUID

import aiohttp
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse

from byokeep.core.errors import Rejected, Unavailable, refusing
from byokeep.core.secret import Secret
from byokeep.http.openapi import LateRoute, operation_id
from byokeep.http.request import MAX_BODY, MEDIA_TYPE, bearer, canonical_id, no_query, read_bytes
from byokeep.tenancy.schemas import login_from
from byokeep.wire.transport import PIECE, TooLarge, Transport

MAX_REPLY: Final = 64 * 1024 * 1024  # bytes of a reply that is passed on whole
_STREAMED: Final = frozenset({"/v1/audit/export", "/v1/audit/proof/{client_id}"})  # they grow with the log
_PIECE_S: Final = 120.0  # seconds for each piece of those
_LOGINS: Final = "session session/console session/passkey session/sso session/sso/answer session/sso/logout"
# A method, and below ``/v1`` the paths that are forwarded with it; in the order of the document.
_OTHERS: Final = """
POST session/code
DELETE sessions session
POST passkeys/options passkeys
DELETE passkeys/{passkey_id}
PUT operators/{subject_id}/password
DELETE operators/{subject_id}/link
POST operators
PATCH operators/{subject_id}
POST operators/{subject_id}/tokens operators/{subject_id}/vouch machines
PATCH machines/{subject_id}
POST machines/{subject_id}/tokens
DELETE tokens/{token_id}
GET approvals
POST approvals/{request_id}/approve procedures/{run_id}/approve
POST clients/{client_id}/enroll clients/{client_id}/suspend clients/{client_id}/resume clients/{client_id}/contacts
GET clients/{client_id}/contacts
DELETE contacts/{contact_id}
GET switches
POST switches/close switches/preview switches/open-requests switches/open-requests/{request_id}/approve
GET clients/{client_id}/effects/scheduled
POST clients/{client_id}/effects/scheduled/{effect_id}/requeue clients/{client_id}/effects/scheduled/{effect_id}/cancel
GET clients/{client_id}/platforms
POST platforms/close platforms/canary-requests platforms/canary-requests/{request_id}/approve
POST accounts/transfers accounts/transfers/{request_id}/approve
GET clients/{client_id}/jobs jobs/{job_id} gate/schema
POST evidence/{sop_id} exposure due/sign lists/sign checklists/fill checklists/sign breakglass
GET breakglass breakglass/{grant_id}
POST breakglass/{grant_id}/approve breakglass/{grant_id}/deny breakglass/{grant_id}/open breakglass/{grant_id}/revoke
POST breakglass/{grant_id}/misused breakglass/{grant_id}/review breakglass/{grant_id}/close
POST audit/checkpoint audit/verify audit/reconcile audit/hash audit/export audit/proof/{client_id}
GET audit/health audit/keys
"""
LOGINS: Final = tuple(("POST", f"/v1/{path}") for path in _LOGINS.split())
ROUTES: Final = LOGINS + tuple(
    (method, f"/v1/{path}") for method, *paths in map(str.split, _OTHERS.strip().splitlines()) for path in paths
)
_KILL_S: Final = 10.0  # seconds that the kill process has for a kill before the broker is asked
_KILL_READ_S: Final = 2.0  # seconds for anything else
_ANSWER_S: Final = 5.0  # seconds for an answer: a broker that hangs must not hang its callers
_SLOW_S: Final = {  # what waits for the store or its turn at a password, or reads whole logs
    "/v1/session": 10.0, "/v1/session/console": 10.0, "/v1/session/sso": 15.0,
    "/v1/session/sso/answer": 35.0, "/v1/session/sso/logout": 25.0, "/v1/operators/{subject_id}/password": 10.0,
    "/v1/switches/close": 10.0, "/v1/platforms/close": 10.0, "/v1/switches/open-requests/{request_id}/approve": 10.0,
    "/v1/clients/{client_id}/enroll": 10.0, "/v1/audit/checkpoint": 30.0, "/v1/audit/verify": 600.0,
    "/v1/audit/reconcile": 30.0, "/v1/exposure": 50.0, "/v1/audit/proof/{client_id}": 30.0,
    "/v1/breakglass/{grant_id}/open": 15.0, "/v1/checklists/fill": 15.0, "/v1/checklists/sign": 15.0,
    "/v1/lists/sign": 30.0,
    **dict.fromkeys((f"/v1/breakglass/{{grant_id}}/{act}" for act in ("revoke", "misused", "review")), 50.0),
}  # fmt: skip
KILLS: Final = frozenset({"/v1/switches", "/v1/switches/close", "/v1/switches/preview"})
_OURS: Final = "application/json"
_PASSED_ON: Final = ("content-type",)
_PASSED_BACK: Final = ("content-type", "retry-after", "www-authenticate")
_FEWER: Final = "Ask for fewer results. These write what is longer: `byokeep audit proof`, `byokeep audit export`."
_BROKEN: Final = (aiohttp.ClientError, TimeoutError, OSError)
Handler = Callable[[Request], Awaitable[Response]]


class BrokerDoor:
    """A connection pool to the broker.

    Args:
        address: ``http://127.0.0.1:8421``, ``https://...`` or ``unix:///path``.
        ca_file: PEM of the only issuer to trust; default: the system's.
    """

    def __init__(self, address: str, *, ca_file: Path | None = None) -> None:
        self._socket = address.removeprefix("unix://") if address.startswith("unix://") else None
        self._base = "http://broker" if self._socket else address.rstrip("/")
        self._transport = Transport(self._socket, ca_file=ca_file)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def pass_on(
        self, method: str, path: str, headers: dict[str, str], body: Secret, *, within_s: float = _ANSWER_S
    ) -> Response:
        """Forward one call and return the broker's answer.

        Raises:
            Unavailable: ``broker_unreachable``, ``broker_reply_too_large``.
        """
        within = aiohttp.ClientTimeout(total=within_s, connect=2)
        try:
            status, content, said = await self._transport.exchange(
                method, self._base + path, headers=headers, within=within, most=MAX_REPLY, data=body.reveal() or None
            )
            return Response(content, status, {name: said[name] for name in _PASSED_BACK if name in said})
        except TooLarge:
            raise Unavailable("broker_reply_too_large", next_step=_FEWER) from None
        except _BROKEN:
            raise _unreachable(method) from None

    async def stream(self, method: str, path: str, headers: dict[str, str], body: Secret) -> Response:
        """Forward one call and return the broker's answer as it comes; if that breaks off, so does the answer.

        Raises:
            Unavailable: ``broker_unreachable``.
        """
        within = aiohttp.ClientTimeout(total=None, connect=2, sock_read=_PIECE_S)
        try:
            reply = await self._transport.request(
                method, self._base + path, headers=headers, within=within, data=body.reveal() or None
            )
        except _BROKEN:
            raise _unreachable(method) from None
        said = {name: reply.headers[name] for name in _PASSED_BACK if name in reply.headers}
        return StreamingResponse(_pieces(reply), reply.status, said)


async def _pieces(reply: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with reply:
        async for piece in reply.content.iter_chunked(PIECE):
            yield piece


def _unreachable(method: str) -> Unavailable:
    step = "The broker did not answer. Try again. If it persists, run `byokeep doctor` on the server's host."
    if method != "GET":
        step = "The broker did not answer, so this may or may not be done. Look first, then try again."
    return Unavailable("broker_unreachable", next_step=step)


class Forwarder:
    """Sends a call to whoever answers it; what stops things goes to the kill process first.

    Args:
        door: The broker's.
        kill: The kill process's; ``None`` = the broker does its work.
    """

    def __init__(self, door: BrokerDoor, kill: BrokerDoor | None = None) -> None:
        self._door, self._kill = door, kill

    async def send(self, method: str, path: str, headers: dict[str, str], body: Secret, **given: UUID) -> Response:
        """Send one call of ``ROUTES``; ``given`` are the ids in its path. Raises as :meth:`BrokerDoor.pass_on`."""
        at = path.format(**given)
        if self._kill is not None and path in KILLS:
            first_s = _KILL_S if path == "/v1/switches/close" else _KILL_READ_S
            with suppress(Unavailable):
                found = await self._kill.pass_on(method, at, headers, body, within_s=first_s)
                if found.headers.get("content-type") == (_OURS if found.status_code < 400 else MEDIA_TYPE):
                    return found  # and nobody on the way there
        return await self._door.pass_on(method, at, headers, body, within_s=_SLOW_S.get(path, _ANSWER_S))

    async def stream(self, method: str, path: str, headers: dict[str, str], body: Secret, **given: UUID) -> Response:
        """As :meth:`send`, for an answer that may be as long as a log. Raises as :meth:`BrokerDoor.stream`."""
        return await self._door.stream(method, path.format(**given), headers, body)


def router(forwarder: Forwarder) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(
        tags=["broker"], dependencies=[Depends(no_query)], generate_unique_id_function=operation_id,
        route_class=LateRoute,
    )  # fmt: skip
    for method, path in ROUTES:
        routes.add_api_route(path, _handler(forwarder, method, path), methods=[method], include_in_schema=False)
    return routes


def _handler(forwarder: Forwarder, method: str, path: str) -> Handler:
    login = (method, path) in LOGINS

    async def forward(request: Request) -> Response:
        headers = login_from(request) if login else {"Authorization": f"Bearer {bearer(request)}"}
        given: dict[str, UUID] = {}
        for name, text in request.path_params.items():
            with refusing("bad_request", Rejected, next_step="Use ids exactly as they are printed."):
                given[name] = canonical_id(text)
        headers |= {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        body = Secret(await read_bytes(request, limit=MAX_BODY))
        return await (forwarder.stream if path in _STREAMED else forwarder.send)(method, path, headers, body, **given)

    forward.__doc__ = "Passed on to the broker, with the caller's own token."
    forward.__name__ = "forward_" + path.strip("/").replace("/", "_").replace("{", "").replace("}", "")
    return forward
