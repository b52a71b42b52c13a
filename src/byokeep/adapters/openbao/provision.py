"""Brings an OpenBao into the state of :mod:`.layout`, and does nothing else.

Rules
- Idempotent: a second run changes nothing that matters; what we no longer want is removed.
- Nothing secret is written before an audit device has been proven (R1.4-2).
- An existing mount or key of another kind is not repaired: that is somebody else's store.
- The content's hash is recorded last, readable by the identity ``provisioner``, so that a later start may skip.

It may not keep the admin token; who brought it revokes it (:mod:`.root`).
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from byokeep.adapters.openbao import layout
from byokeep.adapters.openbao.files import private_dir
from byokeep.adapters.openbao.health import require_version
from byokeep.adapters.openbao.layout import Desired
from byokeep.adapters.openbao.login import log_in
from byokeep.core.errors import ByokeepError, Conflict, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.secret import Secret
from byokeep.kernel.durable_write import durable_write
from byokeep.wire.bao_http import LEASE_HEADER, BaoHttp, BaoReply

_KV_READY_S: Final = 20.0  # a new KV v2 mount refuses requests until it has set itself up, at each node
_LOOK_AGAIN_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioned:
    """What was found or made.

    Attributes:
        content: Hash of the layout.
        changed: False when the recorded hash was already this one.
        audit_devices: Names of the proven audit devices; empty when nothing had to be done.
    """

    content: str
    changed: bool
    audit_devices: tuple[str, ...]


class _Admin:
    """Requests as administrator."""

    def __init__(self, http: BaoHttp, token: Secret) -> None:
        self.http = http
        self._token = token

    async def __call__(self, method: str, path: str, body: Mapping[str, object] | None = None) -> BaoReply:
        until = time.monotonic() + _KV_READY_S
        while True:
            try:
                return await self.http.request(method, path, token=self._token, body=body, timeout_s=30)
            except Unavailable as error:  # one that surely was not done, so it may be repeated
                if error.code != "store_mount_not_ready" or time.monotonic() > until:
                    raise
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def names(self, path: str) -> list[str]:
        """List a path; nothing there is an empty list."""
        try:
            return [str(name) for name in (await self("LIST", path)).data.get("keys", [])]
        except NotFound:
            return []


async def provision(http: BaoHttp, admin_token: Secret, desired: Desired, *, credentials_dir: Path) -> Provisioned:
    """Bring the store into the desired state and write the machines' credentials files.

    Args:
        http: An OpenBao of the minimum release or a later one.
        admin_token: Root, or a token with rights over all of the paths below.
        desired: What this installation wants.
        credentials_dir: Gets ``<machine>.approle``, mode 0600; a file that still logs in is kept.

    Raises:
        Rejected: ``openbao_too_old``.
        Unavailable: ``no_audit_device``, ``audit_device_raw``, ``openbao_version_unknown``, and what
            :meth:`BaoHttp.request` raises.
        Integrity: ``store_mount_foreign``, ``store_key_foreign``.
    """
    await require_version(http)
    admin = _Admin(http, admin_token)
    await admin("POST", f"sys/config/auditing/request-headers/{LEASE_HEADER}", {"hmac": False})
    devices = await prove_audit(http, admin_token)
    accessor = await _mounts(admin)
    await _keys(admin)
    await _policies(admin, layout.policies(accessor, desired.environment))
    await _lease_method(admin, desired)
    for machine in layout.MACHINES:
        await admin("POST", f"auth/approle/role/{machine}", layout.machine_role(machine))
    await _quotas(admin, layout.quotas(desired))
    for path in (layout.TOKEN_KEY_PATH, layout.MACHINE_KEY_PATH, layout.SCAN_KEY_PATH):
        await _platform_key(admin, path)
    for machine in layout.MACHINES:
        await _credentials(admin, machine, private_dir(credentials_dir))
    content = layout.content_hash(desired)
    await admin("POST", layout.RECORD_PATH, {"custom_metadata": await _recorded(admin) | {"content": content}})
    return Provisioned(content=content, changed=True, audit_devices=devices)


async def prove_audit(http: BaoHttp, admin_token: Secret) -> tuple[str, ...]:
    """Return the names of the audit devices, having seen that each hashes and that the store answers with them on.

    A store with devices answers an audited request only after at least one of them has taken the entry; with none it
    answers everything and records nothing, which is why the list must not be empty.

    Raises:
        Unavailable: ``no_audit_device``, ``audit_device_raw`` (a device that logs values in clear).
    """
    admin = _Admin(http, admin_token)
    devices = (await admin("GET", "sys/audit")).data
    if not devices:
        raise Unavailable("no_audit_device", next_step="Declare an audit device in OpenBao's configuration.")
    for name, device in devices.items():
        options = device.get("options") or {} if isinstance(device, dict) else {"log_raw": "true"}
        if str(options.get("log_raw", "false")).lower() not in ("false", ""):
            raise Unavailable("audit_device_raw", next_step="Remove log_raw from the audit device.")
        await admin("POST", f"sys/audit-hash/{name.rstrip('/')}", {"input": "byokeep-probe"})
    return tuple(sorted(name.rstrip("/") for name in devices))


async def recorded_content(http: BaoHttp, provisioner: Secret) -> str:
    """Return the hash that the last provisioning recorded; empty when there is none. Raises Unavailable."""
    try:
        reply = await http.request("GET", layout.RECORD_PATH, token=provisioner)
    except NotFound:
        return ""
    return str((reply.data.get("custom_metadata") or {}).get("content", ""))


async def rotate_leases(http: BaoHttp, admin_token: Secret) -> int:
    """Give the leases a new signing key, and let the store believe no other: whatever was signed before is worthless.

    The broker signs with it once it is settled (:data:`~.signer.SETTLE_S`); until then the store refuses every lease.
    Earlier versions go on existing for the reconciliation, which explains the logins of before.

    Returns:
        The new version's number.

    Raises:
        Unavailable: Not rotated, or not known whether; repeat it.
    """
    admin = _Admin(http, admin_token)
    await admin("POST", "transit/keys/leases/rotate", {})
    newest = max(int(number) for number in (await admin("GET", "transit/keys/leases")).data["keys"])
    recorded = await _recorded(admin) | {"leases_from": str(newest)}
    await admin("POST", layout.RECORD_PATH, {"custom_metadata": recorded})
    keys = await _lease_keys(admin)
    await admin("POST", "auth/lease/config", {"jwt_validation_pubkeys": keys})
    return newest


async def rotate_credentials(http: BaoHttp, admin_token: Secret, machine: str, credentials_dir: Path) -> None:
    """Give a machine a new secret id, and make every earlier one worthless. Its live tokens run out by themselves.

    Raises:
        Rejected: ``unknown_machine``.
        Unavailable: Not rotated, or not known whether the old one is dead.
    """
    if machine not in layout.MACHINES:
        raise Rejected("unknown_machine")
    await _issue(_Admin(http, admin_token), machine, private_dir(credentials_dir))


async def _mounts(admin: _Admin) -> str:
    """Mount what is missing; returns the accessor of the auth mount ``lease``."""
    present = (await admin("GET", "sys/mounts")).data
    for name, body in layout.MOUNTS.items():
        found = present.get(f"{name}/")
        if found is None:
            await admin("POST", f"sys/mounts/{name}", body)
        elif found.get("type") != body["type"] or (found.get("options") or {}) != body.get("options", {}):
            raise Integrity("store_mount_foreign", mount=name)
    for name, kind in layout.AUTH_MOUNTS.items():
        found = (await admin("GET", "sys/auth")).data.get(f"{name}/")
        if found is None:
            await admin("POST", f"sys/auth/{name}", {"type": kind})
        elif found.get("type") != kind:
            raise Integrity("store_mount_foreign", mount=name)
    await admin("POST", "kv/config", {"cas_required": True, "max_versions": layout.KV_MAX_VERSIONS})
    return str((await admin("GET", "sys/auth")).data["lease/"]["accessor"])


async def _keys(admin: _Admin) -> None:
    for mount in ("transit", layout.KEK_MOUNT):
        await admin("POST", f"{mount}/config/keys", {"disable_upsert": True})
    for name, body in layout.KEYS.items():
        try:
            found = (await admin("GET", f"transit/keys/{name}")).data
        except NotFound:
            await admin("POST", f"transit/keys/{name}", body)
            found = (await admin("GET", f"transit/keys/{name}")).data
        open_to_copying = found.get("exportable") or found.get("allow_plaintext_backup") or found.get("imported_key")
        if found.get("type") != body["type"] or open_to_copying:
            raise Integrity("store_key_foreign", key=name)


async def _policies(admin: _Admin, wanted: Mapping[str, str]) -> None:
    for name, text in wanted.items():
        await admin("POST", f"sys/policies/acl/{name}", {"policy": text})
    for name in await admin.names("sys/policies/acl"):
        if name.startswith(("use-", "custody-", "seal-")) and name not in wanted:
            await admin("DELETE", f"sys/policies/acl/{name}")


async def _lease_method(admin: _Admin, desired: Desired) -> None:
    config = {
        "jwt_validation_pubkeys": await _lease_keys(admin),
        "jwt_supported_algs": ["EdDSA"],
        "bound_issuer": desired.issuer,
        "default_role": "",
    }
    await admin("POST", "auth/lease/config", config)
    wanted = layout.lease_roles(desired)
    for name in await admin.names("auth/lease/role"):  # of releases before: they took whatever end a token named
        await admin("DELETE", f"auth/lease/role/{name}")
    for name in await admin.names("auth/lease/cel/role"):
        if name not in wanted:
            await admin("DELETE", f"auth/lease/cel/role/{name}")
    for name, body in wanted.items():
        path = f"auth/lease/cel/role/{name}"
        # Writing a role again keeps fields that are not named, so an old role goes first. Logins fail for that moment.
        await admin("DELETE", path)
        await admin("POST", path, body)


async def _lease_keys(admin: _Admin) -> list[str]:
    """Return the public keys of the leases, from the last rotation on."""
    keys = (await admin("GET", "transit/keys/leases")).data["keys"]
    first = int((await _recorded(admin)).get("leases_from", "1"))
    return [_pem(keys[number]["public_key"]) for number in sorted(keys, key=int) if int(number) >= first]


async def _recorded(admin: _Admin) -> dict[str, str]:
    """Return what provisioning keeps for the next time; nothing at first."""
    try:
        return dict((await admin("GET", layout.RECORD_PATH)).data.get("custom_metadata") or {})
    except NotFound:
        return {}


async def _quotas(admin: _Admin, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    for name in await admin.names("sys/quotas/rate-limit"):
        if name.startswith("byokeep-") and name not in wanted:
            await admin("DELETE", f"sys/quotas/rate-limit/{name}")
    for name, quota in wanted.items():
        await admin("POST", f"sys/quotas/rate-limit/{name}", quota)


async def _platform_key(admin: _Admin, path: str) -> None:
    key = Secret(base64.b64encode(secrets.token_bytes(32)))
    with suppress(Conflict):  # it is there, and stays: every digest made with it depends on it
        await admin("POST", path, {"options": {"cas": 0}, "data": {"value": key}})


async def _credentials(admin: _Admin, machine: str, directory: Path) -> None:
    """Keep a credentials file that still logs in; write a new one otherwise."""
    try:
        token, _ = await log_in(admin.http, directory / f"{machine}.approle")
    except ByokeepError:
        await _issue(admin, machine, directory)
    else:
        await admin.http.request("POST", "auth/token/revoke-self", token=token)


async def _issue(admin: _Admin, machine: str, directory: Path) -> None:
    role = f"auth/approle/role/{machine}"
    role_id = (await admin("GET", f"{role}/role-id")).data["role_id"]
    issued = (await admin("POST", f"{role}/secret-id", {})).data
    content = json.dumps({"role_id": role_id, "secret_id": issued["secret_id"]})
    await asyncio.to_thread(durable_write, directory / f"{machine}.approle", content.encode())
    for accessor in await admin.names(f"{role}/secret-id"):
        if accessor != issued["secret_id_accessor"]:
            await admin("POST", f"{role}/secret-id-accessor/destroy", {"secret_id_accessor": Secret(accessor)})


def _pem(public_key: Any) -> str:
    raw = base64.b64decode(str(public_key))
    return (
        Ed25519PublicKey.from_public_bytes(raw).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    )
