"""Ports Intake and AppSecrets: what ``web`` may do at the store. It writes and looks at versions, and reads nothing."""

from __future__ import annotations

import base64
import binascii

from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.core.errors import Unavailable
from byokeep.core.model import Provider
from byokeep.core.ref import SecretRef, app_path
from byokeep.core.secret import Secret
from byokeep.kernel.ports import Written
from byokeep.wire import openbao as wire


class BaoIntake:
    """Writes values at the clients' paths as the identity ``web``."""

    def __init__(self, login: AppRoleLogin) -> None:
        self._login = login

    async def put(self, ref: SecretRef, value: Secret, *, cas: int) -> Written:
        """Write version ``cas + 1``.

        Raises:
            Conflict: ``stale_version``.
            Rejected: ``value_not_text``.
            Unavailable: The store could not be reached or asked; the write may have happened.
        """
        stored = await self._login.retrying(
            lambda token: wire.write_secret(self._login.http, token, ref.path, value, cas=cas)
        )
        return Written(version=stored.version, request_id=stored.request_id)

    async def current_version(self, ref: SecretRef) -> int:
        """Return the newest version's number, 0 when the path was never written. Raises Unavailable."""
        newest, _ = await self._versions(ref)
        return newest

    async def live_versions(self, ref: SecretRef) -> list[int]:
        """Return versions neither deleted nor destroyed. Raises Unavailable."""
        _, live = await self._versions(ref)
        return live

    async def value_fingerprint(self, value: Secret) -> str:
        """Return HMAC-SHA256 in hex, under a Transit key that never leaves the store. Raises Unavailable."""
        body = {"input": Secret(base64.b64encode(value.reveal()))}
        reply = await self._login.request("POST", "transit/hmac/fingerprints/sha2-256", body=body)
        prefix, _, text = str(reply.data.get("hmac")).rpartition(":")
        try:
            digest = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            digest = b""
        if not prefix.startswith("vault:v") or len(digest) != 32:
            raise Unavailable("store_garbage")
        return digest.hex()

    async def _versions(self, ref: SecretRef) -> tuple[int, list[int]]:
        return await self._login.retrying(lambda token: wire.live_versions(self._login.http, token, ref.path))


class BaoAppSecrets:
    """Port AppSecrets: writes the secrets of our own apps as the identity ``web``, which can not read them."""

    def __init__(self, login: AppRoleLogin) -> None:
        self._login = login

    async def put(self, provider: Provider, login: str, value: Secret, *, cas: int) -> Written:
        """Write version ``cas + 1``. Raises Conflict(``stale_version``), Rejected(``value_not_text``), Unavailable."""
        path = app_path(provider, login)
        stored = await self._login.retrying(
            lambda token: wire.write_secret(self._login.http, token, path, value, cas=cas)
        )
        return Written(version=stored.version, request_id=stored.request_id)

    async def current(self, provider: Provider, login: str) -> int:
        """Return the newest version's number, 0 when there is none. Raises Unavailable."""
        path = app_path(provider, login)
        newest, _ = await self._login.retrying(lambda token: wire.live_versions(self._login.http, token, path))
        return newest
