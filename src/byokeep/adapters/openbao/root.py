"""Root credentials: made by a quorum, used once, and proven dead.

Rules
- A new root token needs two things held apart: the machine identity ``provisioner`` and a quorum of recovery keys.
- After use every root token of the store is revoked, and the store must say so.

It may not store a token.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from byokeep.core.errors import ByokeepError, Denied, Integrity, Unavailable
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp


async def generate_root(http: BaoHttp, provisioner: Secret, shares: Sequence[Secret]) -> Secret:
    """Make a root token from recovery keys. An attempt that somebody else left open is cancelled.

    Raises:
        Denied: ``recovery_quorum_missing`` (too few shares, or a wrong one), ``store_denied``.
        Unavailable: ``store_garbage`` and what :meth:`BaoHttp.request` raises.
    """
    path = "sys/generate-root-token"
    await http.request("DELETE", f"{path}/attempt", token=provisioner)
    started = await http.request("POST", f"{path}/attempt", token=provisioner, body={})
    nonce, pad = started.data.get("nonce"), started.data.get("otp")
    if not isinstance(nonce, str) or not isinstance(pad, str) or not pad:
        raise Unavailable("store_garbage")
    try:
        for share in shares:
            reply = await http.request("POST", f"{path}/update", token=provisioner, body={"nonce": nonce, "key": share})
            if reply.data.get("complete") is True:
                return _unpad(reply.data.get("encoded_token"), Secret(pad))
    except Unavailable as failed:
        if failed.code != "store_failed":  # a wrong share answers 500
            raise
    await http.request("DELETE", f"{path}/attempt", token=provisioner)
    raise Denied("recovery_quorum_missing", next_step="Bring the threshold of recovery keys together.")


async def retire_roots(http: BaoHttp, root: Secret) -> None:
    """Revoke every root token, ``root`` last, and prove that it is refused.

    Raises:
        Integrity: ``root_token_alive``.
        Unavailable: What :meth:`BaoHttp.request` raises; then count it as alive.
    """
    own = (await http.request("GET", "auth/token/lookup-self", token=root)).data.get("accessor")
    listed = await http.request("LIST", "auth/token/accessors", token=root)
    for accessor in listed.data.get("keys", []):
        if accessor != own and await _is_root(http, root, accessor):
            await http.request("POST", "auth/token/revoke-accessor", token=root, body={"accessor": Secret(accessor)})
    await http.request("POST", "auth/token/revoke-self", token=root)
    try:
        await http.request("GET", "auth/token/lookup-self", token=root)
    except Denied:
        return
    raise Integrity("root_token_alive")


async def _is_root(http: BaoHttp, root: Secret, accessor: str) -> bool:
    try:
        found = await http.request(
            "POST", "auth/token/lookup-accessor", token=root, body={"accessor": Secret(accessor)}
        )
    except ByokeepError as gone:
        # A token that ran out between the listing and the look is no root: those do not run out.
        if isinstance(gone, Unavailable):
            raise
        return False
    return "root" in found.data.get("policies", [])


def _unpad(encoded: object, pad: Secret) -> Secret:
    try:
        raw = base64.b64decode(str(encoded) + "=" * (-len(str(encoded)) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Unavailable("store_garbage") from None
    key = pad.reveal()
    if len(raw) != len(key):
        raise Unavailable("store_garbage")
    return Secret(bytes(a ^ b for a, b in zip(raw, key, strict=True)))
