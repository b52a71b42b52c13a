"""What a lease can do at OpenBao: log in, read one pinned version, and, in custody, write, look and destroy.

Rules
- Works on :class:`~byokeep.wire.bao_http.BaoHttp`; used by the SDK, the worker and the adapters alike.
- A value is a :class:`~byokeep.core.secret.Secret` on both sides; it never stands in an error.
- What a reply says is checked against what was asked: version, type, emptiness.

It may not keep a token or a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from byokeep.core.errors import Denied, NotFound, Rejected, Unavailable
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp, BaoReply

__all__ = [
    "BaoHttp",
    "BaoReply",
    "StoredVersion",
    "destroy_versions",
    "lease_login",
    "live_versions",
    "read_secret",
    "write_secret",
]

LEASE_MOUNT: Final = "lease"


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version that the store has accepted, and the store's id of that request."""

    version: int
    request_id: str


async def lease_login(
    http: BaoHttp, jwt: Secret, role: str, *, lease_id: str | None = None, mount: str = LEASE_MOUNT
) -> Secret:
    """Trade a lease's JWT for the store's own token, which opens one client's declared secret for seconds.

    Raises:
        Denied: ``lease_refused``: expired, another role's, cut off, or not ours. The store does not say which.
        Unavailable: ``store_garbage`` and what :meth:`BaoHttp.request` raises.
    """
    try:
        reply = await http.request(
            "POST", f"auth/{mount}/cel/login", body={"role": role, "jwt": jwt}, lease_header=lease_id
        )
    except (Rejected, Denied):
        raise Denied("lease_refused") from None
    token = reply.auth.get("client_token")
    if not isinstance(token, str) or not token:
        raise Unavailable("store_garbage")
    return Secret(token)


async def read_secret(http: BaoHttp, token: Secret, path: str, version: int, lease_id: str | None) -> Secret:
    """Read one pinned version.

    Args:
        http: The store.
        token: What :func:`lease_login` gave.
        path: The reference's path, ``kv/clients/{client id}/providers/{provider}``.
        version: The pinned version; any other version in the reply is refused.
        lease_id: For the store's audit log; None when it is read under no lease.

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


async def destroy_versions(
    http: BaoHttp, token: Secret, path: str, versions: list[int], *, lease_id: str | None = None
) -> None:
    """Destroy versions for ever. What :meth:`BaoHttp.request` raises."""
    await http.request("POST", _kv(path, "destroy"), token=token, body={"versions": versions}, lease_header=lease_id)


def _kv(path: str, part: str) -> str:
    mount, _, rest = path.partition("/")
    return f"{mount}/{part}/{rest}"
