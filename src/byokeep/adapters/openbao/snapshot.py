"""Snapshots of the store, and markers that prove after a restore that each version of each KEK is there.

Rules
- An identity of its own takes them, and reads no value: a snapshot is encrypted under the seal.
- A store without raft storage has no snapshots, and says so before anything is made.
- A restored snapshot brings back every token of its time, root tokens included. All of them end before anything else;
  machines get new secret ids, and the leases another key.
- The embedded store loads a snapshot of another place while it has no audit device, because the snapshot's devices name
  files there. It is then started without any, which removes them, and once more with its own. Nobody is served
  meanwhile.

It may not start a store, or decide which snapshot is the right one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias
from uuid import UUID

from byokeep.adapters.openbao import provisioning
from byokeep.adapters.openbao.embedded import EmbeddedOpenBao
from byokeep.adapters.openbao.login import AppRoleLogin, log_in, private_dir
from byokeep.core.backup import MARKER_CONTEXT, BackupRefused, Marker, marker_text
from byokeep.core.errors import ByokeepError, NotFound, Rejected, Unavailable
from byokeep.core.kek import MOUNT
from byokeep.core.secret import Secret
from byokeep.kernel.durable_write import durable_write
from byokeep.wire.bao_http import BaoHttp, live_versions

_SNAPSHOT: Final = "sys/storage/raft/snapshot"
_CONTEXT: Final = base64.b64encode(MARKER_CONTEXT).decode()
Versions: TypeAlias = tuple[int, list[int]]  # the newest, and those neither deleted nor destroyed
_LOGINS: Final = ("auth/approle/login", "auth/lease", "auth/token")


async def take(login: AppRoleLogin, file: BinaryIO) -> str:
    """Write a snapshot; return the store's release.

    Raises:
        Rejected: ``store_not_raft``.
        Unavailable: The store is away. OSError: the file.
    """
    status = (await login.http.request("GET", "sys/seal-status")).data
    if status.get("storage_type") != "raft":
        step = "Only raft storage has snapshots. Back up the store by your storage's own method."
        raise Rejected("store_not_raft", next_step=step)
    token = await login.token()
    await login.http.transfer("GET", _SNAPSHOT, token=token, into=file)
    return str(status.get("version", "unknown"))


async def markers(login: AppRoleLogin, backup: UUID) -> tuple[Marker, ...]:
    """Return each version of each KEK, with a marker under those that still encrypt. Raises Unavailable."""
    try:
        keys = (await login.request("LIST", f"{MOUNT}/keys")).data.get("keys", [])
    except NotFound:
        return ()
    found = []
    for key in sorted(keys):
        data = (await login.request("GET", f"{MOUNT}/keys/{key}")).data
        for version, made_at in sorted((int(number), int(at)) for number, at in data["keys"].items()):
            text = ""
            if version >= max(int(data.get("min_encryption_version") or 0), 1):
                plain = base64.b64encode(marker_text(backup, key, version)).decode()
                body = {"plaintext": plain, "context": _CONTEXT, "key_version": version}
                text = str((await login.request("POST", f"{MOUNT}/encrypt/{key}", body=body)).data.get("ciphertext"))
            found.append(Marker(key=key, version=version, made_at=made_at, ciphertext=text))
    return tuple(found)


async def must_open(http: BaoHttp, admin: Secret, backup: UUID, expected: Sequence[Marker]) -> None:
    """Check that the store has every version of every KEK. Raises BackupRefused(``kek_missing``), Unavailable."""
    for marker in expected:
        try:
            found = (await http.request("GET", f"{MOUNT}/keys/{marker.key}", token=admin)).data["keys"]
            same = int(found[str(marker.version)]) == marker.made_at
            if same and marker.ciphertext:
                body = {"ciphertext": marker.ciphertext, "context": _CONTEXT}
                said = (await http.request("POST", f"{MOUNT}/decrypt/{marker.key}", token=admin, body=body)).data
                plain = base64.b64decode(str(said.get("plaintext")))
                same = plain == marker_text(backup, marker.key, marker.version)
        except (Rejected, NotFound, KeyError, ValueError):
            same = False
        if not same:
            raise BackupRefused("kek_missing")


async def restore(store: EmbeddedOpenBao, snapshot: Path) -> None:
    """Make the store of an empty home hold a snapshot, and start it with its own audit devices.

    Args:
        store: Not started. Its home holds the seal key of the store that the snapshot was taken of.
        snapshot: The file.

    Raises:
        BackupRefused: ``seal_key``: the store does not accept it, so the seal key is another one.
        Unavailable: As :meth:`EmbeddedOpenBao.start`.
    """
    keys = {path: path.read_bytes() for path in (store.home / "keys").glob("recovery*.key")}
    store.recording = False
    await store.start()
    try:
        root = store.initial_root
        if root is None:
            raise Unavailable("store_garbage")
        async with BaoHttp(store.address) as http:
            with snapshot.open("rb") as content:
                await http.transfer("POST", _SNAPSHOT, token=root, body=content)
            await _taken_over(http, store.credentials / "provisioner.approle")
    except (Rejected, Unavailable) as error:
        raise BackupRefused("seal_key") if error.code in ("store_rejected", "store_failed") else error from None
    finally:
        await store.stop()
    store.initial_root = None
    for path in (store.home / "keys").glob("recovery*.key"):  # of the store that was made to be overwritten
        path.unlink()
    for path, key in keys.items():
        durable_write(path, key)
    store.unfinished.unlink(missing_ok=True)
    await store.start()
    await store.stop()
    store.recording = True
    await store.start()


async def _taken_over(http: BaoHttp, credentials: Path) -> None:
    """Wait until the store serves from a snapshot that it has accepted; if in vain, its next start shows why."""
    for _ in range(40):
        with contextlib.suppress(ByokeepError):
            await AppRoleLogin(http, credentials).write()
            return
        await asyncio.sleep(0.5)


async def _held(http: BaoHttp, admin: Secret, folder: str) -> dict[str, Versions]:
    """Return the versions of everything below a folder."""
    try:
        names = (await http.request("LIST", f"kv/metadata/{folder}".rstrip("/"), token=admin)).data.get("keys", [])
    except NotFound:
        return {}
    found: dict[str, Versions] = {}
    for name in names:
        if name.endswith("/"):
            found |= await _held(http, admin, folder + name)
        else:
            found[folder + name] = await live_versions(http, admin, f"kv/{folder}{name}")
    return found


async def renew_rights(
    store: EmbeddedOpenBao, desired: provisioning.Desired, backup: UUID, expected: Sequence[Marker]
) -> tuple[dict[str, bytes], dict[str, Versions]]:
    """End every right from the time of the backup, once every KEK is seen to be there; write new credentials.

    Returns the public keys of evidence, by number, and what is stored of clients, by path.

    Raises:
        Denied: ``recovery_quorum_missing``.
        BackupRefused: ``kek_missing``.
        Unavailable, Integrity: As :func:`~.provisioning.provision`.
    """
    place = private_dir(store.credentials)
    async with BaoHttp(store.address) as http:
        provisioner, _ = await log_in(http, place / "provisioner.approle")
        root = await provisioning.generate_root(http, provisioner, store.recovery_keys())
        try:
            await must_open(http, root, backup, expected)
            for prefix in _LOGINS:
                with contextlib.suppress(NotFound):
                    await http.request("POST", f"sys/leases/revoke-prefix/{prefix}", token=root, timeout_s=60)
            await provisioning.provision(http, root, desired, credentials_dir=place)
            await provisioning.rotate_secret_ids(http, root, credentials_dir=place, alone=True)
            await provisioning.rotate_leases(http, root)
            found = (await http.request("GET", "transit/keys/evidence", token=root)).data["keys"]
            evidence = {str(number): base64.b64decode(key["public_key"]) for number, key in found.items()}
            return evidence, await _held(http, root, "clients/")
        finally:  # one of the backup's time may be somebody else's: unless all have ended, nothing is restored
            await provisioning.retire_roots(http, root)
