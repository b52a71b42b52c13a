"""The OpenBao (Vault) HTTP protocol, as much of it as byokeep needs, and what a lease can do with it.

A lease can log in, read one pinned version, and, in custody, write, look and destroy. The SDK, the worker and the
adapters all use it.

Rules
- Three kinds of address: ``unix:///path/bao.sock``, ``https://host[:port]`` with verified TLS, ``http://`` on loopback.
- One deadline for the whole exchange, one limit for the body, no redirects, no cookies, no proxy from the environment.
- Every failure is a code. The server's words decide between codes and are then dropped. A refusal that is not in the
  store's own form is somebody's on the way there: it says nothing of what was asked.
- A path is refused unless it is plain: the server must not be given a second spelling of a place (R4.1-5).
- In a cluster the active node is asked: a standby may answer from an older state. If its own address cannot be reached
  (a load balancer), whoever has just written names that write, and a node that has not applied it forwards the request
  (OpenBao 2.7).
- A value is a :class:`~byokeep.core.secret.Secret` on both sides; it is never in an error. A reply is checked against
  what was asked: version, type, emptiness.

It may not keep a token or a value, or retry: only the caller knows whether an act may be repeated.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Final, Self, cast

from yarl import URL

from byokeep.core.canonical import read_json
from byokeep.core.errors import ByokeepError, Conflict, Denied, NotFound, RateLimited, Rejected, Unavailable, refusing
from byokeep.core.secret import Secret
from byokeep.wire.address import parse_address
from byokeep.wire.transport import CaFileUnreadable, Transport, failing, read_body

MAX_BODY: Final = 1 << 20  # bytes of a reply
TRANSFER_S: Final = 600.0  # seconds for a file of any size
LEASE_HEADER: Final = "X-Byokeep-Lease"
LOOK_EVERY_S: Final = 5.0  # seconds for which the answer which node is active counts
LOOK_WITHIN_S: Final = 1.0
NAMED_FOR_S: Final = 2.0  # seconds for which a write is named; every node has applied it long before

_PATH: Final = re.compile(r"(?:identity/oidc/\.well-known/)?[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_-]+)*\Z")
_INDEX: Final = re.compile(r"[A-Za-z0-9+/=_-]{1,512}\Z")
_LEASE_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
_NOT_READY: Final = "backend will be unavailable for a brief period"  # a new KV mount, at this node
_STALE: Final = "check-and-set parameter did not match"
# What the store says about a Transit key, or about a token, in answers of status 400 -> our code.
_OF_KEYS: Final = {
    "encryption key not found": "store_key_missing",
    "no existing key named": "store_key_missing",
    "disallowed by policy (too old)": "store_key_retired",
    "soft-deleted key": "store_key_disabled",
    "token not found": "store_token_unknown",
    "invalid accessor": "store_token_unknown",
}
_OWN: Final = frozenset({"errors", "lease_id"})  # a refusal of the store's has one of these
_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class BaoReply:
    """An accepted answer. ``data`` and ``auth`` may hold secrets, so they stay out of ``repr``.

    Attributes:
        status: HTTP status.
        data: The ``data`` object, or the whole document of the few routes that have no envelope (init, health).
        request_id: The store's own id of the exchange, as in its audit log; empty without an envelope.
        auth: The ``auth`` object of a login.
        wrap: The ``wrap_info`` object of a wrapped reply.
    """

    status: int
    data: Mapping[str, Any] = field(repr=False)
    request_id: str
    auth: Mapping[str, Any] = field(repr=False, default_factory=dict)
    wrap: Mapping[str, Any] = field(repr=False, default_factory=dict)


class BaoHttp:
    """A connection pool to one OpenBao address.

    Args:
        address: ``unix://``, ``https://`` or loopback ``http://`` address, without path, query or user info.
        ca_file: PEM file of the only CA to trust; default: the system's.
        timeout_s: Deadline in seconds for one exchange, connecting included.
        this_node: Ask only the node at the address, whichever is active.

    Raises:
        Rejected: ``bad_store_address``, ``store_address_insecure``.
    """

    def __init__(
        self, address: str, *, ca_file: Path | None = None, timeout_s: float = 2.0, this_node: bool = False
    ) -> None:
        self._socket, self._base = parse_address(
            address, "http://openbao", "bad_store_address", "store_address_insecure"
        )
        self._timeout_s = timeout_s
        self._transport = Transport(self._socket, ca_file=ca_file, connections=64)
        self._one_node = this_node or self._socket is not None
        self._active, self._looked_at = self._base, -LOOK_EVERY_S
        self._sure = False  # the node asked last said itself that it is the active one, or the only one
        self._written: tuple[str, float] = "", 0.0  # the store's name of the last write, and when

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def may_be_behind(self) -> bool:
        """Whether the node that answered last may decide by an older state than the active one's."""
        return self._socket is None and not self._sure

    async def close(self) -> None:
        """Close all connections. The object may be used again afterwards."""
        await self._transport.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        token: Secret | None = None,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str | int] | None = None,
        lease_header: str | None = None,
        wrap_ttl_s: int | None = None,
        accept: frozenset[int] = frozenset(),
        timeout_s: float | None = None,
    ) -> BaoReply:
        """Send one request below ``/v1/`` and return an accepted reply.

        Args:
            method: HTTP verb, or ``LIST``.
            path: Plain path below ``/v1/``, no leading slash.
            token: Sent as ``X-Vault-Token``.
            body: JSON object; a :class:`Secret` inside it is written as its UTF-8 text.
            query: Query fields; never a secret.
            lease_header: Sent as ``X-Byokeep-Lease``, which the store's audit log shows in clear.
            wrap_ttl_s: Ask for a wrapped reply with this life, in seconds.
            accept: Error statuses to return instead of raising.
            timeout_s: Another deadline for this exchange.

        Raises:
            Denied: ``store_denied`` (403).
            NotFound: ``store_not_found`` (404).
            Conflict: ``stale_version`` (a check-and-set that did not match).
            Rejected: ``store_rejected``, ``store_key_missing``, ``store_key_retired``, ``store_key_disabled``,
                ``store_token_unknown``, ``bad_store_path``, ``bad_lease_header``, ``value_not_text``.
            RateLimited: ``store_rate_limited``.
            Unavailable: ``store_unreachable``, ``store_timeout``, ``store_sealed``, ``store_audit_failed``,
                ``store_failed``, ``store_garbage``, ``store_tls_failed``, ``store_redirected``,
                ``store_mount_not_ready``.
        """
        url = self._url(await self._find_active(), path, query)
        headers = _headers(token, lease_header, wrap_ttl_s)
        if self._written[0] and time.monotonic() - self._written[1] < NAMED_FOR_S:
            headers |= {"X-Vault-Index": self._written[0], "X-Vault-Inconsistent": "forward-active-node"}
        payload = None if body is None else _encode(body)
        try:
            status, raw, said = await self._exchange(method, url, headers, payload, timeout_s or self._timeout_s)
        except Unavailable:
            self._looked_at = time.monotonic() - LOOK_EVERY_S  # another node may be active now
            raise
        if method not in ("GET", "LIST") and (index := said.get("X-Vault-Index")) and _INDEX.match(index):
            self._written = index, time.monotonic()
        document = _decode(raw)
        if 200 <= status < 300 or status in accept:
            if document is None or (status == 404 and document.keys().isdisjoint(_OWN)):
                raise Unavailable("store_garbage")
            return _reply(status, document)
        raise _failure(status, document, said.get("Retry-After", "")) from None

    async def transfer(
        self, method: str, path: str, *, token: Secret, into: BinaryIO | None = None, body: BinaryIO | None = None
    ) -> None:
        """Take a reply of any size into a file, or send a file. Raises as :meth:`request`, and OSError of the file."""
        url, sent = self._url(await self._find_active(), path, None), None if body is None else _pieces(body)
        full: OSError | None = None
        with failing("store_unreachable", "store_timeout", "store_tls_failed", "store_garbage"):
            asked = self._transport.request(
                method, url, headers=_headers(token, None, None), within=TRANSFER_S, data=sent
            )
            async with asked as reply:
                if not 200 <= reply.status < 300:
                    raise _failure(reply.status, _decode(await read_body(reply, MAX_BODY)), "")
                async for piece in reply.content.iter_chunked(1 << 20):
                    try:
                        if into is not None:
                            await asyncio.to_thread(into.write, piece)
                    except OSError as error:
                        full = error
                        break
        if full is not None:
            raise full

    async def _find_active(self) -> str:
        """Return the base URL of the active node, or of the address itself if the node cannot be reached."""
        if not self._one_node and time.monotonic() - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            self._active, self._sure = await self._leader()
        return self._active

    async def _leader(self) -> tuple[str, bool]:
        """Ask the node at the address, and then the one that it calls active, which must say so itself.

        Returns the URL, and whether it is surely the active node's: a balancer's is not, whoever answers there.
        """
        try:
            said = await self._of_leader(self._base)
            if said.get("ha_enabled") is False:
                return self._base, True
            address, is_self = str(said.get("leader_address", "")), said.get("is_self") is True
            if address:
                _, base = parse_address(address, "", "bad_store_address", "store_address_insecure")
                if base and base != self._base and not is_self:
                    is_self = (await self._of_leader(base)).get("is_self") is True
                    return (base, True) if is_self else (self._base, False)
                return self._base, is_self and base == self._base
        except ByokeepError:
            pass
        return self._base, False

    async def _of_leader(self, base: str) -> dict[str, Any]:
        url = self._url(base, "sys/leader", None)
        status, raw, _ = await self._exchange("GET", url, _headers(None, None, None), None, LOOK_WITHIN_S)
        return (_decode(raw) if status == 200 else None) or {}

    def _url(self, base: str, path: str, query: Mapping[str, str | int] | None) -> URL:
        if not _PATH.match(path):
            raise Rejected("bad_store_path")
        url = URL(f"{base}/v1/{path}", encoded=True)
        return url.with_query(dict(query)) if query else url

    async def _exchange(
        self, method: str, url: URL, headers: Mapping[str, str], payload: bytes | None, timeout_s: float
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Return status, bounded body and headers; transport failures become codes without their text."""
        trusting = refusing("store_ca_unreadable", Unavailable, on=CaFileUnreadable)
        with failing("store_unreachable", "store_timeout", "store_tls_failed", "store_garbage"), trusting:
            return await self._transport.exchange(
                method, url, headers=headers, within=timeout_s, most=MAX_BODY, data=payload
            )


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, 1 << 20):
        yield piece


def _headers(token: Secret | None, lease_header: str | None, wrap_ttl_s: int | None) -> dict[str, str]:
    headers = {"X-Vault-Request": "true"}
    if token is not None:
        headers["X-Vault-Token"] = token.reveal().decode("ascii", "replace")
    if lease_header is not None:
        if not _LEASE_ID.match(lease_header):
            raise Rejected("bad_lease_header")
        headers[LEASE_HEADER] = lease_header
    if wrap_ttl_s is not None:
        headers["X-Vault-Wrap-TTL"] = f"{wrap_ttl_s}s"
    return headers


def _encode(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, default=_text, separators=(",", ":")).encode()


def _text(value: object) -> str:
    if not isinstance(value, Secret):
        raise TypeError("only JSON values and secrets can be sent")
    step = "Secrets are stored as UTF-8 text; encode bytes first."
    with refusing("value_not_text", Rejected, on=UnicodeDecodeError, next_step=step):
        return value.reveal().decode()


def _decode(raw: bytes) -> dict[str, Any] | None:
    """Parse a reply: None if it is not a JSON object; an empty reply is an empty object."""
    if not raw.strip():
        return {}
    try:
        document = read_json(raw)
    except ValueError:
        return None
    return cast("dict[str, Any]", document) if isinstance(document, dict) else None


def _reply(status: int, document: dict[str, Any]) -> BaoReply:
    request_id = document.get("request_id")
    if not isinstance(request_id, str):
        return BaoReply(status, document, "")
    parts = {name: document.get(name) for name in ("data", "auth", "wrap_info")}
    data, auth, wrap = (part if isinstance(part, dict) else _EMPTY for part in parts.values())
    return BaoReply(status, data, request_id, auth, wrap)


def _failure(status: int, document: Mapping[str, Any] | None, retry_after: str) -> ByokeepError:
    document = document or {}
    errors = document.get("errors")
    said = " ".join(e for e in errors if isinstance(e, str)) if isinstance(errors, list) else ""
    if 400 <= status < 500 and status != 429 and document.keys().isdisjoint(_OWN):
        return Unavailable("store_garbage")
    if status == 403:
        return Denied("store_denied")
    if status == 404:
        return NotFound("store_not_found")
    if status == 429:
        wait = int(retry_after) if retry_after.isdecimal() and len(retry_after) < 6 else 1
        return RateLimited("store_rate_limited", retry_after_s=wait)
    if 300 <= status < 400:
        return Unavailable("store_redirected")
    if 400 <= status < 500:
        if status == 400 and _STALE in said:
            return Conflict("stale_version")
        if status == 400 and _NOT_READY in said:
            return Unavailable("store_mount_not_ready")
        return Rejected(next((code for words, code in _OF_KEYS.items() if words in said), "store_rejected"))
    if status == 503 and "sealed" in said:
        return Unavailable("store_sealed")
    return Unavailable("store_audit_failed" if "audit" in said else "store_failed")


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version that the store has accepted, and the store's id of that request."""

    version: int
    request_id: str


async def lease_login(http: BaoHttp, jwt: Secret, role: str, *, lease_id: str | None = None) -> Secret:
    """Trade a lease's JWT for the store's own token, which opens one client's declared secret for seconds.

    Raises:
        Denied: ``lease_refused``: expired, another role's, cut off, or not ours. The store does not say which.
        Unavailable: ``store_garbage`` and what :meth:`BaoHttp.request` raises.
    """
    step = "Run it again. For two minutes after a restore, or after a new lease key, the store refuses every lease."
    with refusing("lease_refused", Denied, on=(Rejected, Denied), next_step=step):
        reply = await http.request(
            "POST", "auth/lease/cel/login", body={"role": role, "jwt": jwt}, lease_header=lease_id
        )
    token = reply.auth.get("client_token")
    if not isinstance(token, str) or not token:
        raise Unavailable("store_garbage")
    return Secret(token)


async def read_secret(http: BaoHttp, token: Secret, path: str, version: int, lease_id: str | None) -> Secret:
    """Read one pinned version.

    Args:
        http: The store.
        token: What :func:`lease_login` returned.
        path: The reference's path, ``kv/clients/{client id}/providers/{provider}``.
        version: The pinned version; any other version in the reply is refused.
        lease_id: For the store's audit log; None if it is read under no lease.

    Raises:
        Unavailable: ``secret_version_gone`` (deleted or destroyed), ``store_garbage`` (not the pinned version, not a
            non-empty string), and what :meth:`BaoHttp.request` raises.
        NotFound: ``store_not_found``: nothing was ever written there.
        Denied: ``store_denied``.
    """
    reply = await http.request(
        "GET",
        _kv(path, "data"),
        token=token,
        query={"version": version},
        lease_header=lease_id,
        accept=frozenset({404}),
    )
    if reply.status == 404:
        if isinstance(reply.data.get("metadata"), dict):
            raise Unavailable("secret_version_gone")
        raise NotFound("store_not_found")
    metadata, values = reply.data.get("metadata"), reply.data.get("data")
    if not isinstance(metadata, dict) or not isinstance(values, dict):
        raise Unavailable("store_garbage")
    found = metadata.get("version")
    if type(found) is not int or found != version or not isinstance(values.get("value"), str) or not values["value"]:
        raise Unavailable("store_garbage")
    return Secret(values["value"])


async def read_identity(http: BaoHttp, token: Secret, path: str, lease_id: str | None) -> Secret:
    """Have the store sign that whoever logged in is this client, for one provider and for seconds.

    Raises:
        Denied: ``store_denied``: cut off, or another's.
        Unavailable: ``identity_not_set_up``, ``store_garbage`` and what :meth:`BaoHttp.request` raises.
    """
    try:
        reply = await http.request("GET", path, token=token, lease_header=lease_id)
    except Rejected as error:
        if error.code != "store_rejected":
            raise
        raise Unavailable("identity_not_set_up", next_step="Declare it again: `byokeep key add --keyless`.") from None
    found = reply.data.get("token")
    if not isinstance(found, str) or found.count(".") != 2:
        raise Unavailable("store_garbage")
    return Secret(found)


async def record_from(reading: Awaitable[Secret]) -> bytes:
    """Return what is read of a profile's record, and wipe it. Raises NotFound(``record_missing``): there is none."""
    try:
        value = await reading
    except (NotFound, Unavailable) as error:
        if error.code not in ("store_not_found", "secret_version_gone"):
            raise
        raise NotFound("record_missing") from None
    with value:
        return bytes(value.reveal())


async def write_secret(
    http: BaoHttp, token: Secret, path: str, value: Secret, *, cas: int, lease_id: str | None = None
) -> StoredVersion:
    """Write version ``cas + 1``.

    Raises:
        Conflict: ``stale_version``: another version was written meanwhile.
        Rejected: ``value_not_text``.
        Unavailable: ``store_garbage`` and what :meth:`BaoHttp.request` raises; the write may have happened.
    """
    reply = await http.request(
        "POST",
        _kv(path, "data"),
        token=token,
        body={"options": {"cas": cas}, "data": {"value": value}},
        lease_header=lease_id,
    )
    version = reply.data.get("version")
    if type(version) is not int or version != cas + 1 or not reply.request_id:
        raise Unavailable("store_garbage")
    return StoredVersion(version, reply.request_id)


async def live_versions(
    http: BaoHttp, token: Secret, path: str, *, lease_id: str | None = None
) -> tuple[int, list[int]]:
    """Return the newest version's number (0: never written) and the versions neither deleted nor destroyed.

    Raises:
        Unavailable: ``store_garbage`` and what :meth:`BaoHttp.request` raises.
    """
    try:
        reply = await http.request("GET", _kv(path, "metadata"), token=token, lease_header=lease_id)
    except NotFound:
        return 0, []
    newest, versions = reply.data.get("current_version"), reply.data.get("versions")
    if type(newest) is not int or not isinstance(versions, dict):
        raise Unavailable("store_garbage")
    live = []
    for number, state in versions.items():
        if not isinstance(state, dict) or not number.isdecimal() or type(state.get("destroyed")) is not bool:
            raise Unavailable("store_garbage")
        if not state["destroyed"] and state.get("deletion_time") == "":
            live.append(int(number))
    return newest, sorted(live)


async def keep_more(http: BaoHttp, token: Secret, path: str, most: int, *, lease_id: str | None = None) -> None:
    """Have the store keep ``most`` versions of a path. Raises what :meth:`BaoHttp.request` raises."""
    body = {"max_versions": str(most)}  # as text: the store's policies compare it with theirs
    await http.request("POST", _kv(path, "metadata"), token=token, body=body, lease_header=lease_id)


async def destroy_versions(
    http: BaoHttp, token: Secret, path: str, versions: list[int], *, lease_id: str | None = None
) -> None:
    """Destroy versions for good. Raises what :meth:`BaoHttp.request` raises."""
    await http.request("POST", _kv(path, "destroy"), token=token, body={"versions": versions}, lease_header=lease_id)


def _kv(path: str, part: str) -> str:
    mount, _, rest = path.partition("/")
    return f"{mount}/{part}/{rest}"
