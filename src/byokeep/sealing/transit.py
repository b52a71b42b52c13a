"""The key provider (KMS): one derived AES-256-GCM key for each client in a Transit mount of OpenBao (ADR 0051).

Rules
- The name of the key is ``{environment}-{client_id}``. A lease's policy names exactly that key, so OpenBao itself keeps
  tenants apart; a lease of another client gets 403.
- Profiles are kept apart by derivation: the key that wraps is made from the KEK and the canonical context.
- A key is checked before it protects: one that somebody else made or opened up under its name is refused.
- A key that was deleted and made again under its name has another creation time, which is its ``identity``.
- Each call logs in again and names its lease, so the store's own log explains it.
- Rewrapping happens inside OpenBao; the DEK does not pass through here. OpenBao refuses ciphertext with associated
  data, so the context is the only binding.

It may not make a key of another kind, and the policy would not let it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from byokeep.core.errors import ByokeepError, Rejected, Unavailable, refusing
from byokeep.core.kek import (
    DEK_BYTES,
    FIRST_VERSION,
    MOUNT,
    TRANSIT,
    KekFault,
    KekScope,
    KekStatus,
    KekVersion,
    KeyContext,
    Wrapped,
    broken,
    check_dek_size,
    check_environment,
    check_retirement,
    check_rotation,
    check_wrapped,
    is_unfinished,
    unusable,
)
from byokeep.core.model import Environment
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp, BaoReply

Login = Callable[[], Awaitable[tuple[BaoHttp, Secret, str]]]
_CIPHERTEXT: Final = re.compile(r"vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/=]{1,200}\Z")
_KIND: Final[Mapping[str, object]] = {"type": "aes256-gcm96", "derived": True}
_CLOSED: Final = ("exportable", "allow_plaintext_backup", "deletion_allowed", "imported_key", "convergent_encryption")
_FAULTS: Final = {
    "store_key_missing": KekFault.MISSING,
    "store_key_retired": KekFault.DISABLED,
    "store_key_disabled": KekFault.DISABLED,
}


class TransitKeys:
    """Wraps data-encryption keys under the client's own key-encryption key, which never leaves OpenBao.

    Each method raises Unavailable if it could not be done, Denied(``other_environment``, ``store_denied``) for a
    context that is not the caller's, and Rejected with a code of :class:`byokeep.core.kek.KekFault` when the state of
    the KEK forbids it.

    Args:
        login: Returns the store, a live token and the id of a lease that declared ``profile``; called for each act;
            the token is wiped after it.
        environment: This installation's.
    """

    def __init__(self, login: Login, environment: Environment) -> None:
        self._login = login
        self._environment = environment

    async def wrap(self, dek: Secret, context: KeyContext) -> Wrapped:
        """Wrap 32 bytes under the newest version. Raises Rejected(``bad_dek_length``)."""
        check_environment(self._environment, context)
        raw = dek.reveal()
        check_dek_size(len(raw))
        await self._check(context.scope)
        body = {"plaintext": Secret(base64.b64encode(raw)), **_bound(context)}
        return _wrapped(context.scope, await self._send("encrypt", context.scope, body))

    async def unwrap(self, wrapped: Wrapped, context: KeyContext) -> Secret:
        """Return the DEK, which the caller wipes. Raises Integrity(``wrapped_key_broken``), whatever OpenBao says."""
        reply = await self._open("decrypt", wrapped, context)
        with refusing("store_garbage", Unavailable):
            raw = base64.b64decode(str(reply.data.get("plaintext")), validate=True)
        if len(raw) != DEK_BYTES:
            raise broken()
        return Secret(raw)

    async def rewrap(self, wrapped: Wrapped, context: KeyContext) -> Wrapped:
        """Move a wrapped DEK to the newest version, inside OpenBao. Raises as :meth:`unwrap`."""
        check_environment(self._environment, context)
        await self._check(context.scope)
        return _wrapped(context.scope, await self._open("rewrap", wrapped, context))

    async def rotate(self, scope: KekScope, *, expected: int) -> KekStatus:
        """Make version ``expected + 1``, the first if 0; older ones then only open. A cut one is finished.

        Raises:
            Conflict: ``kek_version_moved``: somebody else rotated.
        """
        status = await self.versions(scope)
        if not is_unfinished(status, expected):
            check_rotation(status, expected)
            if expected == 0:
                await self._send("keys", scope, _KIND)
            else:
                await self._send("keys", scope, {}, below="/rotate")
            check_rotation(await self.versions(scope), expected + 1)
        return await self._limit(scope, min_encryption_version=expected + 1)

    async def versions(self, scope: KekScope) -> KekStatus:
        """Return what exists; no KEK is a status without versions. What was done outside appears in it as faults.

        An empty write to the key's configuration changes nothing and returns this.
        """
        return await self._limit(scope)

    async def retire(self, scope: KekScope, *, below: int) -> KekStatus:
        """Let no version below ``below`` open anything any more. The caller has moved every wrapped DEK (R6.1-8).

        Raises:
            Rejected: ``bad_kek_version``: the newest always stays.
        """
        check_retirement(await self.versions(scope), below)
        return await self._limit(scope, min_decryption_version=below)

    async def _check(self, scope: KekScope) -> None:
        """Pass if a KEK exists and is ours: OpenBao would wrap under any key of that name (S-NIST-11)."""
        status = await self.versions(scope)
        if status.faults or not status.newest:
            raise unusable(status.faults[0] if status.faults else KekFault.MISSING)

    async def _limit(self, scope: KekScope, **limits: int) -> KekStatus:
        check_environment(self._environment, scope)
        try:
            reply = await self._send("keys", scope, limits, below="/config")
        except Rejected as refused:
            if refused.code != KekFault.MISSING.value:
                raise
            return KekStatus(kek_id=scope.tenant_kek, versions=(), min_encryption=0)
        return _status(scope, reply.data)

    async def _open(self, act: str, wrapped: Wrapped, context: KeyContext) -> BaoReply:
        check_environment(self._environment, context)
        check_wrapped(wrapped, context.scope.tenant_kek)
        found = _CIPHERTEXT.match(wrapped.ciphertext)
        if found is None or int(found.group(1)) != wrapped.kek_version:
            raise broken()
        try:
            return await self._send(act, context.scope, {"ciphertext": wrapped.ciphertext, **_bound(context)})
        except Rejected as refused:
            if refused.code == "store_rejected":
                raise broken() from None
            raise

    async def _send(self, act: str, scope: KekScope, body: Mapping[str, object], *, below: str = "") -> BaoReply:
        http, token, lease_id = await self._login()
        path = f"{MOUNT}/{act}/{scope.tenant_kek}{below}"
        failed: ByokeepError
        try:
            return await http.request("POST", path, token=token, body=body, lease_header=lease_id)
        except Rejected as refused:
            fault = _FAULTS.get(refused.code)
            failed = refused if fault is None else unusable(fault)
        finally:
            token.wipe()
        raise failed from None


def _bound(context: KeyContext) -> dict[str, str]:
    return {"context": base64.b64encode(context.canonical).decode()}


def _wrapped(scope: KekScope, reply: BaoReply) -> Wrapped:
    ciphertext = str(reply.data.get("ciphertext"))
    found = _CIPHERTEXT.match(ciphertext)
    if found is None:
        raise Unavailable("store_garbage")
    return Wrapped(holder=TRANSIT, kek_id=scope.tenant_kek, kek_version=int(found.group(1)), ciphertext=ciphertext)


def _status(scope: KekScope, data: Mapping[str, Any]) -> KekStatus:
    with refusing("store_garbage", Unavailable):
        made = {int(number): datetime.fromtimestamp(at, UTC) for number, at in data["keys"].items()}
        newest, opens, protects = (
            int(data[name]) for name in ("latest_version", "min_decryption_version", "min_encryption_version")
        )
        own = data["exportable"] is False and not any(data.get(name) for name in _CLOSED)
        own = own and all(data[name] == value for name, value in _KIND.items())
        gone = bool(data.get("soft_deleted"))
    fault = None if own else KekFault.FOREIGN
    fault = KekFault.DISABLED if gone else fault
    names = {number: f"made:{int(at.timestamp())}" for number, at in made.items()}
    return KekStatus(
        kek_id=scope.tenant_kek,
        versions=tuple(
            KekVersion(number=n, created_at=made.get(n), fault=fault, identity=names.get(n, ""))
            for n in range(opens, newest + 1)
        ),
        min_encryption=max(protects, FIRST_VERSION),
    )
