"""Port ScanKey: the key of the leak fingerprints, which the identity ``web`` alone may read.

It is no client's value. It is read for each use and not kept (docs/adr/0019-fingerprints-of-live-values.md).
"""

from __future__ import annotations

import base64
import binascii

from byokeep.adapters.openbao.layout import SCAN_KEY_PATH
from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.core.errors import Denied, Rejected, Unavailable
from byokeep.core.secret import Secret
from byokeep_redact.fingerprint import KEY, fingerprints_of


class BaoScanKey:
    """Reads the key from the store, makes digests with it, and hands it out for a scan."""

    def __init__(self, login: AppRoleLogin) -> None:
        self._login = login

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
