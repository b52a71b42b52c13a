"""Ports over the store's KV: Intake, AppSecrets and ScanKey of ``web``, ProfileRecords of ``broker``.

Rules
- ``web`` writes clients' values and the secrets of our own apps, and looks at versions; it reads neither.
- The one key that ``web`` may read is that of the leak fingerprints, which is no client's value. It is read for each
  use and not kept (docs/adr/0019-fingerprints-of-live-values.md).
- ``broker`` reads the record of a profile that a runner has open, and writes the next one. A record holds a wrapped key
  and no value. A runner's own login reaches none, so it can neither read nor touch another profile's; the store could
  not tell two profiles of one client apart.
"""

from __future__ import annotations

import base64
import binascii

from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.adapters.openbao.provisioning import SCAN_KEY_PATH
from byokeep.core.errors import Denied, NotFound, Rejected, Unavailable
from byokeep.core.model import Provider
from byokeep.core.ref import ProfileRef, SecretRef, app_path
from byokeep.core.secret import Secret
from byokeep.kernel.ports import Written
from byokeep.wire import openbao as wire
from byokeep_redact.fingerprint import KEY, fingerprints_of


class _Kv:
    """What the ports have in common: writing the next version of a path, and looking at its versions."""

    def __init__(self, login: AppRoleLogin) -> None:
        self._login = login

    async def _write(self, path: str, value: Secret, cas: int) -> Written:
        stored = await self._login.retrying(
            lambda token: wire.write_secret(self._login.http, token, path, value, cas=cas)
        )
        return Written(version=stored.version, request_id=stored.request_id)

    async def _versions(self, path: str) -> tuple[int, list[int]]:
        """The newest version's number, 0 when the path was never written, and those that live."""
        return await self._login.retrying(lambda token: wire.live_versions(self._login.http, token, path))


class BaoIntake(_Kv):
    """Writes values at the clients' paths as the identity ``web``."""

    async def put(self, ref: SecretRef, value: Secret, *, cas: int) -> Written:
        """Write version ``cas + 1``.

        Raises:
            Conflict: ``stale_version``.
            Rejected: ``value_not_text``.
            Unavailable: The store could not be reached or asked; the write may have happened.
        """
        return await self._write(ref.path, value, cas)

    async def current_version(self, ref: SecretRef) -> int:
        """Return the newest version's number, 0 when the path was never written. Raises Unavailable."""
        return (await self._versions(ref.path))[0]

    async def live_versions(self, ref: SecretRef) -> list[int]:
        """Return versions neither deleted nor destroyed. Raises Unavailable."""
        return (await self._versions(ref.path))[1]

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


class BaoAppSecrets(_Kv):
    """Writes the secrets of our own apps as the identity ``web``, which cannot read them."""

    async def put(self, provider: Provider, login: str, value: Secret, *, cas: int) -> Written:
        """Write version ``cas + 1``. Raises Conflict(``stale_version``), Rejected(``value_not_text``), Unavailable."""
        return await self._write(app_path(provider, login), value, cas)

    async def current(self, provider: Provider, login: str) -> int:
        """Return the newest version's number, 0 when there is none. Raises Unavailable."""
        return (await self._versions(app_path(provider, login)))[0]


class BaoScanKey(_Kv):
    """Reads the key of the leak fingerprints, makes digests with it, and hands it out for a scan."""

    async def digests(self, value: Secret) -> list[str]:
        """Return the digests of a value's windows in hex; none when it is too weak to be known again.

        Raises:
            Unavailable: As :meth:`shown`.
        """
        key = await self._key()
        try:
            return [digest.hex() for digest in fingerprints_of(value.reveal(), key.reveal())]
        except Rejected:  # it can be stored, not looked for
            return []
        finally:
            key.wipe()

    async def shown(self) -> str:
        """Return the key as 64 hex digits.

        Raises:
            Unavailable: ``scan_key_missing`` - the store was set up by a release that had none; or the store is away.
        """
        key = await self._key()
        text = key.reveal().hex()
        key.wipe()
        return text

    async def _key(self) -> Secret:
        try:
            reply = await self._login.request("GET", SCAN_KEY_PATH)
            key = base64.b64decode(str((reply.data.get("data") or {}).get("value")), validate=True)
        except (Denied, binascii.Error, ValueError):
            key = b""
        if len(key) == KEY:
            return Secret(key)
        raise Unavailable("scan_key_missing", next_step="Provision the store again: `byokeep up` or `byokeep init`.")


class BaoProfileRecords(_Kv):
    """Reads and writes as the identity ``broker``, under no lease."""

    async def newest(self, ref: ProfileRef) -> int:
        """Return the newest version's number, 0 when the path was never written. Raises Unavailable."""
        return (await self._versions(ref.path))[0]

    async def read(self, ref: ProfileRef, version: int) -> bytes:
        """Return exactly this version.

        Raises:
            NotFound: ``record_missing``.
            Unavailable: ``records_refused``: the store was set up before ``broker`` got this right.
        """
        try:
            value = await self._login.retrying(
                lambda token: wire.read_secret(self._login.http, token, ref.path, version, None)
            )
        except (NotFound, Unavailable) as error:
            if error.code not in ("store_not_found", "secret_version_gone"):
                raise
            raise NotFound("record_missing") from None
        except Denied:  # of this process, and not of the runner that asked
            step = "Bring the store up to date: `byokeep up`, or `byokeep init` for one of your own."
            raise Unavailable("records_refused", next_step=step) from None
        try:
            return bytes(value.reveal())
        finally:
            value.wipe()

    async def write(self, ref: ProfileRef, record: bytes, *, cas: int) -> Written:
        """Write version ``cas + 1``. Raises Conflict(``stale_version``), Unavailable."""
        return await self._write(ref.path, Secret(record), cas)
