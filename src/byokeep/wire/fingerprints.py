"""What recognises a value later: its fingerprint, under a key that never leaves the store, and the leak digests' key.

Rules
- Whoever puts a value into the store makes both before it writes: ``web`` of what people bring, a worker under
  custody of what it has a provider make (docs/adr/0103-who-mints-a-key-makes-its-fingerprints.md).
- The key of the digests is read for each use, and whoever asks for it wipes it.

It may not keep the value, or make digests of a value that is already in the store.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from byokeep.core.errors import Unavailable
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp

HMAC_PATH: Final = "transit/hmac/fingerprints/sha2-256"
SCAN_KEY_PATH: Final = "kv/data/platform/scan-key"
_KEY: Final = 32  # bytes


async def value_fingerprint(http: BaoHttp, token: Secret, value: Secret, lease_id: str | None = None) -> str:
    """Return HMAC-SHA256 of the whole value in hex.

    Raises:
        Denied, Unavailable: ``store_garbage`` and what :meth:`BaoHttp.request` raises.
    """
    with Secret(base64.b64encode(value.reveal())) as told:
        reply = await http.request("POST", HMAC_PATH, token=token, body={"input": told}, lease_header=lease_id)
    prefix, _, text = str(reply.data.get("hmac")).rpartition(":")
    digest = unb64(text)
    if not prefix.startswith("vault:v") or len(digest) != 32:
        raise Unavailable("store_garbage")
    return digest.hex()


async def scan_key(http: BaoHttp, token: Secret, lease_id: str | None = None) -> Secret:
    """Return the key of the leak digests.

    Raises:
        Denied: ``store_denied``.
        Unavailable: ``scan_key_missing``, and what :meth:`BaoHttp.request` raises.
    """
    reply = await http.request("GET", SCAN_KEY_PATH, token=token, lease_header=lease_id)
    key = unb64(str((reply.data.get("data") or {}).get("value")))
    if len(key) != _KEY:
        raise key_missing()
    return Secret(key)


def key_missing() -> Unavailable:
    """Return what is raised of a store that a release without this key set up."""
    return Unavailable("scan_key_missing", next_step="Provision the store again: `byokeep up` or `byokeep init`.")


def unb64(text: str) -> bytes:
    """Return the bytes; none if the text is no Base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
