"""What a provisioned OpenBao holds, as data (mounts, keys, policies, roles, quotas), and how it gets there.

Rules
- A second run changes nothing that matters; what we no longer want is removed. Every field of a role is written out, so
  that nothing of an earlier version can stay.
- Nothing secret is written before an audit device is proved (R1.4-2).
- An existing mount or key of another kind is not repaired: it means somebody else's store.
- :func:`content_hash` covers all of it: the same hash means the same rights. It is recorded last, readable by the
  identity ``provisioner``, so that a later start may skip the work.
- A new root token needs two things held apart: the machine identity ``provisioner`` and a quorum of recovery keys.
  After use every root token of the store is revoked, and the store must confirm it.

It may not store a token. Whoever brought the admin token revokes it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from byokeep.adapters.openbao.login import log_in, private_dir, read_private
from byokeep.core import kek
from byokeep.core.canonical import read_json
from byokeep.core.errors import ByokeepError, Conflict, Denied, Integrity, NotFound, Rejected, Unavailable, refusing
from byokeep.core.exchange import IDENTITY_LIFE_S, identity_path
from byokeep.core.model import PLATFORMS, SEAL, Environment, LeaseKind, Provider
from byokeep.core.sealed_record import KEPT
from byokeep.core.secret import Secret
from byokeep.kernel.durable_write import durable_write
from byokeep.wire.bao_http import LEASE_HEADER, BaoHttp, BaoReply
from byokeep.wire.fingerprints import HMAC_PATH, SCAN_KEY_PATH

MINIMUM: Final = (2, 6, 2)  # an older standby does not pass on every request that it must not answer itself
_VERSION: Final = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?![\d.])")
AUDIENCE: Final = "openbao"
LOGIN_PATH: Final = "auth/lease/cel/login"
MAX_TOKEN_TTL_S: Final = 60
LOGIN_LIFE_S: Final = 5  # seconds after issue; then the store accepts no login token, whatever the token says
_BATCH: Final = 2  # the store's number of a batch token
_CLIENT_ID: Final = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
MACHINES: Final = ("web", "broker", "killswitch", "backup", "provisioner")
MACHINE_TTL_S: Final = 20 * 60
SETTLE_S: Final = 120  # seconds for which a new key of leases is accepted but not yet signed with
KV_MAX_VERSIONS: Final = KEPT
TOKEN_KEY_PATH: Final = "kv/data/platform/token-key"  # noqa: S105 - a path; keys the hashes of people's tokens
MACHINE_KEY_PATH: Final = "kv/data/platform/machine-key"  # the same, for machines' tokens
APPS_PATH: Final = "kv/data/platform/apps"
KEK_MOUNT: Final = kek.MOUNT
PROFILE: Final = "profile"  # what a lease for browser profiles declares as its secret
_SEALING: Final = f"{SEAL}-{PROFILE}"
GLASS: Final = "breakglass"  # the one role that gives a person a token, wrapped; the claims say what it opens
GLASS_POLICY: Final = "glass"  # and a secret: what a job may read of it, without the client's identity
GLASS_MAX_S: Final = 3600
DRILL: Final = "drill"  # what a drill reads: a marker of ours
DRILL_PATH: Final = "kv/data/platform/breakglass-drill"
BATCH_ONLY: Final = "token_type: 2u"  # what every other role issues
_PARTS_OF_KV: Final = ("kv/data/", "kv/metadata/", "kv/destroy/")
_BELOW: Final = re.compile(
    r"(/webhook|/admin|/accounts/\+/(tokens|access|landing|verifier|code))?"
)  # an account's id: any
_OF_KEK: Final = re.compile(r"tenant/((encrypt|decrypt|rewrap)/<KEK>|keys/<KEK>(/rotate|/config)?)")
_POLICY_BLOCK: Final = re.compile(r"^[^#\n]*\bpath\b", re.MULTILINE)
_POLICY_PATH: Final = re.compile(r'^path "([^"]*)" \{$', re.MULTILINE)
# Signs a client's identity tokens, one key per client. Providers fetch the public halves of the newest and the next.
IDENTITY_TTL: Final = f"{IDENTITY_LIFE_S}s"
IDENTITY_KEY: Final = {
    "algorithm": "RS256", "rotation_period": "720h", "verification_ttl": "1h", "allowed_client_ids": ["*"],
}  # fmt: skip
RECORD_PATH: Final = "kv/metadata/platform/provisioning"

MOUNTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "kv": {"type": "kv", "options": {"version": "2"}},
    "transit": {"type": "transit"},
    KEK_MOUNT: {"type": "transit"},
}
AUTH_MOUNTS: Final = {"lease": "jwt", "approle": "approle"}
KEYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "leases": {"type": "ed25519"},
    "checkpoints": {"type": "ed25519"},
    "evidence": {"type": "ed25519"},
    "fingerprints": {"type": "hmac", "key_size": 32},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What an installation wants of its store.

    Attributes:
        installation_id: Part of the issuer, so that another installation's leases are refused.
        lease_token_ttl_s: Life of a lease's token in seconds, 1-60.
        lease_cidrs: Networks from which a lease may log in and read; empty = any (unix sockets have no network).
        environment: Part of the name of each client's KEK, so that no lease of this installation opens another's.
        oidc_issuer: Address under which providers find the public keys of identity tokens: ``https://host[:port]``,
            without a path; empty = nobody outside finds them.
        per_second: Limit of signatures, and of logins, per client address; None = no limit. Over a unix socket there
            is no address, and OpenBao answers 500 to every request that a quota covers.
    """

    installation_id: UUID
    environment: Environment = Environment.DEVELOPMENT
    lease_token_ttl_s: int = 2
    lease_cidrs: tuple[str, ...] = ()
    per_second: int | None = None
    oidc_issuer: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.lease_token_ttl_s <= MAX_TOKEN_TTL_S:
            raise Rejected("bad_lease_token_ttl", maximum_s=MAX_TOKEN_TTL_S)

    @property
    def issuer(self) -> str:
        """The ``iss`` of this installation's leases."""
        return f"byokeep/{self.installation_id}"


def lease_roles(desired: Desired) -> dict[str, dict[str, Any]]:
    """Return role name -> body: ``use-<secret>``, ``custody-<secret>`` for providers and profiles, and two more.

    ``enroll`` has no right at all; ``seal-profile`` is for a runner that seals the profile it had open.
    """
    roles = {"enroll": _lease_role(desired, "enroll", "", []), GLASS: _glass_role()}
    roles[_SEALING] = _lease_role(desired, LeaseKind.CUSTODY.value, SEAL, [_SEALING])
    for kind in LeaseKind:
        for secret in (*(provider.value for provider in Provider), PROFILE):
            name = f"{kind.value}-{secret}"
            roles[name] = _lease_role(desired, kind.value, secret, [name])
    return roles


def _lease_role(desired: Desired, kind: str, secret: str, policies: list[str]) -> dict[str, Any]:
    """Return a program: no other setting of the store limits how long its signer lets a token live (ADR 0037)."""
    checks = [f"claims.kind == '{kind}'", *([f"'{secret}' in claims.secrets"] if secret else []), *_fresh_checks()]
    ttl = desired.lease_token_ttl_s * 1_000_000_000
    auth = (
        f"pb.Auth{{policies: {_texts(policies)}, no_default_policy: true, token_type: {_BATCH}u,"
        " alias: logical.Alias{name: claims.client_id},"
        f" lease_options: pb.LeaseOptions{{TTL: {ttl}, MaxTTL: {ttl}, issue_time: now}},"
        f" bound_cidrs: {_texts(desired.lease_cidrs)}}}"
    )
    return _role(checks, auth)


def _glass_role() -> dict[str, Any]:
    """Return a role for one client and exactly what the claims name: read-only, not renewed, over at its end."""
    known = [*(provider.value for provider in Provider), DRILL]
    checks = [
        f"claims.kind == '{GLASS}'",
        f"size(claims.secrets) > 0 && claims.secrets.all(one, one in {_texts(known)})",
        f"claims.life_s >= 1.0 && claims.life_s <= {GLASS_MAX_S}.0",
        *_fresh_checks(),
    ]
    life = "int(claims.life_s) * 1000000000"
    auth = (
        f"pb.Auth{{policies: claims.secrets.map(one, '{GLASS_POLICY}-' + one), no_default_policy: true, token_type: 1u,"
        f" explicit_max_ttl: {life}, alias: logical.Alias{{name: claims.client_id}},"
        f" lease_options: pb.LeaseOptions{{TTL: {life}, MaxTTL: {life}, renewable: false, issue_time: now}}}}"
    )
    return _role(checks, auth)


def _fresh_checks() -> list[str]:
    return [
        f"claims.exp - claims.iat <= {LOGIN_LIFE_S}.0",
        f"now - timestamp(int(claims.iat)) <= duration('{LOGIN_LIFE_S}s')",
        f"claims.client_id.matches('^{_CLIENT_ID}$')",
        "claims.sub == claims.job_id",
    ]


def _role(checks: Sequence[str], auth: str) -> dict[str, Any]:
    return {
        "bound_audiences": [AUDIENCE],
        "cel_program": {"expression": f"{' && '.join(checks)} ? {auth} : false"},
        # -1 is "none"; 0 would be the library's default of 60 or 150 seconds.
        "clock_skew_leeway": -1,
        "expiration_leeway": -1,
        "not_before_leeway": -1,
    }


def _texts(words: Sequence[str]) -> str:
    return "[" + ", ".join(f"'{word}'" for word in words) + "]"


def machine_role(name: str) -> dict[str, Any]:
    """Return the body of a machine identity's AppRole; its policy has the same name."""
    return {
        "bind_secret_id": True,
        "secret_id_bound_cidrs": [],
        "secret_id_num_uses": 0,
        "secret_id_ttl": 0,
        "token_type": "service",
        "token_policies": [name],
        "token_no_default_policy": True,
        "token_ttl": MACHINE_TTL_S,
        "token_max_ttl": MACHINE_TTL_S,
        "token_explicit_max_ttl": 0,
        "token_num_uses": 0,
        "token_period": 0,
        "token_bound_cidrs": [],
    }


def policies(lease_accessor: str, environment: Environment = Environment.DEVELOPMENT) -> dict[str, str]:
    """Return policy name -> HCL text. ``lease_accessor`` is the auth mount ``lease``'s; KEKs are of ``environment``.

    Raises:
        Rejected: ``lease_policy_too_wide``, ``lease_policy_unreadable``: a lease's policy reaches beyond its client.
    """

    def source(name: str) -> str:
        text = (files(__package__) / "policies" / f"{name}.hcl").read_text("utf-8")
        return text.replace("<<lease_accessor>>", lease_accessor).replace("<<environment>>", environment.value)

    found = {name: source(name) for name in MACHINES}
    for kind in LeaseKind:
        text, accounts, identity = source(kind.value), source(f"{kind.value}-account"), source("identity")
        keys = source("custody-key") if kind is LeaseKind.CUSTODY else ""
        for provider in Provider:
            stored = (text + (accounts if provider in PLATFORMS else keys)).replace("<<provider>>", provider.value)
            one = stored + identity.replace("<<provider>>", provider.value)
            found[f"{kind.value}-{provider.value}"] = _narrow(one, lease_accessor, provider, makes=bool(keys))
            if kind is LeaseKind.USE:  # a provider's own token, got with an identity token, would outlive a grant
                found[f"{GLASS_POLICY}-{provider.value}"] = _narrow(stored, lease_accessor, provider)
    found[f"{GLASS_POLICY}-{DRILL}"] = f'path "{DRILL_PATH}" {{\n  capabilities = ["read"]\n}}\n'
    for name in (*(f"{kind.value}-{PROFILE}" for kind in LeaseKind), _SEALING):
        records = name == f"{LeaseKind.CUSTODY.value}-{PROFILE}"
        found[name] = _narrow_profile(source(name), lease_accessor, environment, records=records)
    return found


def _narrow(text: str, lease_accessor: str, provider: Provider, *, makes: bool = False) -> str:
    """Return a lease's policy unchanged if each of its paths is one provider's, of the client that the lease names.

    ``makes``: what recognises a key later is allowed too, where there are keys.
    """
    others = {f"{APPS_PATH}/{provider.value}/+", identity_path(_client(lease_accessor), provider.value)}
    if makes and provider not in PLATFORMS:
        others |= {HMAC_PATH, SCAN_KEY_PATH}
    own = f"clients/{_client(lease_accessor)}/providers/"
    for path in _paths(text):
        mount, found, rest = path.partition(own)
        below = rest.removeprefix(provider.value) if found and rest.startswith(provider.value) else "?"
        one_place = mount in _PARTS_OF_KV and _BELOW.fullmatch(below) is not None
        if not one_place and path not in others:
            raise Rejected("lease_policy_too_wide")
    return text


def _narrow_profile(text: str, lease_accessor: str, environment: Environment, *, records: bool) -> str:
    """Return a policy for profiles unchanged if each of its paths is the KEK of the lease's client.

    With ``records``, a record of one of its profiles is allowed too.
    """
    client = _client(lease_accessor)
    kek, own = f"{environment.value}-{client}", f"clients/{client}/profiles/+"
    places = {part + own for part in _PARTS_OF_KV} if records else set()
    for path in _paths(text):
        if not _OF_KEK.fullmatch(path.replace(kek, "<KEK>")) and path not in places:
            raise Rejected("lease_policy_too_wide")
    return text


def _client(lease_accessor: str) -> str:
    return f"{{{{identity.entity.aliases.{lease_accessor}.name}}}}"


def _paths(text: str) -> list[str]:
    paths = _POLICY_PATH.findall(text)
    if not paths or len(paths) != len(_POLICY_BLOCK.findall(text)):
        raise Rejected("lease_policy_unreadable")
    return paths


def quotas(desired: Desired) -> dict[str, dict[str, Any]]:
    """Return the rate limits of signing and of logging in, per client address."""
    if desired.per_second is None:
        return {}
    paths = {"byokeep-sign": "transit/sign/leases", "byokeep-login": LOGIN_PATH}
    return {name: {"path": path, "rate": desired.per_second, "interval": "1s"} for name, path in paths.items()}


def content_hash(desired: Desired) -> str:
    """Return SHA-256 in hex over everything that provisioning writes, except keys, values and server-made ids."""
    everything = {
        "mounts": MOUNTS,
        "auth": AUTH_MOUNTS,
        "keys": KEYS,
        "max_versions": KV_MAX_VERSIONS,
        "issuer": desired.issuer,
        "oidc_issuer": desired.oidc_issuer,
        "lease_roles": lease_roles(desired),
        "machines": {name: machine_role(name) for name in MACHINES},
        "policies": policies("<<lease_accessor>>", desired.environment),
        "quotas": quotas(desired),
    }
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


_KV_READY_S: Final = 20.0  # a new KV v2 mount refuses requests until it has set itself up, at each node
_LOOK_AGAIN_S: Final = 0.05


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
            except Unavailable as error:  # surely not done, so it may be repeated
                if error.code != "store_mount_not_ready" or time.monotonic() > until:
                    raise
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def hold(
        self, path: str, wanted: Mapping[str, Mapping[str, Any]], *, ours: tuple[str, ...] = ("",), anew: bool = False
    ) -> None:
        """Make a path hold what is wanted and, of the names that begin with one of ``ours``, nothing else.

        Args:
            path: Where names are listed and written.
            wanted: Name -> body.
            ours: Prefixes of names.
            anew: Writing keeps fields that are not named, so the old one goes first and is missing for a moment.
        """
        there = await self.names(path)
        for name in there:
            if name.startswith(ours) and name not in wanted:
                await self("DELETE", f"{path}/{name}")
        for name, body in wanted.items():
            if anew and name in there:
                await self("DELETE", f"{path}/{name}")
            await self("POST", f"{path}/{name}", body)

    async def names(self, path: str) -> list[str]:
        """List a path; an empty path gives an empty list."""
        try:
            return [str(name) for name in (await self("LIST", path)).data.get("keys", [])]
        except NotFound:
            return []


async def provision(http: BaoHttp, admin_token: Secret, desired: Desired, *, credentials_dir: Path) -> tuple[str, ...]:
    """Bring the store into the desired state and write the machines' credentials files; return the audit devices.

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
    texts = policies(accessor, desired.environment)
    rules = {name: {"policy": text} for name, text in texts.items()}
    await admin.hold("sys/policies/acl", rules, ours=("use-", "custody-", "seal-", f"{GLASS_POLICY}-"))
    await _lease_method(admin, desired)
    await admin("POST", "identity/oidc/config", {"issuer": desired.oidc_issuer})
    for machine in MACHINES:
        await admin("POST", f"auth/approle/role/{machine}", machine_role(machine))
    await admin.hold("sys/quotas/rate-limit", quotas(desired), ours=("byokeep-",))
    for path in (TOKEN_KEY_PATH, MACHINE_KEY_PATH, SCAN_KEY_PATH, DRILL_PATH):
        key = Secret(base64.b64encode(secrets.token_bytes(32)))
        with suppress(Conflict):  # it exists, and stays: every digest made with it depends on it
            await admin("POST", path, {"options": {"cas": 0}, "data": {"value": key}})
    for machine in MACHINES:
        await _credentials(admin, machine, private_dir(credentials_dir))
    recorded = await _recorded(admin) | {"content": content_hash(desired)}
    await admin("POST", RECORD_PATH, {"custom_metadata": recorded})
    return devices


async def require_version(http: BaoHttp) -> str:
    """Check that a store is of the minimum release or later; return its release and the minimum.

    Raises:
        Rejected: ``openbao_too_old``.
        Unavailable: ``openbao_version_unknown``, and what :meth:`BaoHttp.request` raises.
    """
    version = str((await http.request("GET", "sys/seal-status")).data.get("version", ""))
    found, needed = _VERSION.match(version), ".".join(map(str, MINIMUM))
    if found is None:
        raise Unavailable("openbao_version_unknown", next_step="Have the store report its version in sys/seal-status.")
    if tuple(int(part or 0) for part in found.groups()) < MINIMUM:
        raise Rejected("openbao_too_old", next_step=f"Upgrade OpenBao to {needed} or a later release.")
    return f"{version}, at least {needed} is needed"


async def prove_audit(http: BaoHttp, admin_token: Secret) -> tuple[str, ...]:
    """Return the names of the audit devices, once each is seen to hash and the store answers with them on.

    A store with devices answers an audited request only after at least one of them has taken the entry; with none it
    answers everything and records nothing, so the list must not be empty.

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
    """Return the hash that the last provisioning recorded; empty if there is none. Raises Unavailable."""
    try:
        reply = await http.request("GET", RECORD_PATH, token=provisioner)
    except NotFound:
        return ""
    return str((reply.data.get("custom_metadata") or {}).get("content", ""))


async def rotate_leases(http: BaoHttp, admin_token: Secret) -> int:
    """Give the leases a new signing key and let the store accept no other: whatever was signed before is worthless.

    The broker signs with it once it is settled (:data:`~.signer.SETTLE_S`); until then the store refuses every lease.
    Earlier versions stay for the reconciliation, which explains earlier logins.

    Returns:
        The new version's number.

    Raises:
        Unavailable: Not rotated, or not known whether; repeat it.
    """
    await _Admin(http, admin_token)("POST", "transit/keys/leases/rotate", {})
    return await accept_newest(http, admin_token)


async def accept_newest(http: BaoHttp, admin_token: Secret) -> int:
    """Let the store accept the newest key of leases alone, as a cut-off :func:`rotate_leases` left undone."""
    admin = _Admin(http, admin_token)
    newest = max(int(number) for number in (await admin("GET", "transit/keys/leases")).data["keys"])
    await _believe(admin, newest)
    return newest


async def _believe(admin: _Admin, first: int) -> None:
    """Let the store accept the keys of leases from a version on. It forgets what is not named here."""
    await admin("POST", RECORD_PATH, {"custom_metadata": await _recorded(admin) | {"leases_from": str(first)}})
    found = (await admin("GET", "auth/lease/config")).data
    kept = {name: found[name] for name in ("jwt_supported_algs", "bound_issuer", "default_role")}
    await admin("POST", "auth/lease/config", kept | {"jwt_validation_pubkeys": await _lease_keys(admin)})


async def rotate_signing_keys(http: BaoHttp, admin_token: Secret, *, public: bool) -> int:
    """Give the leases a new signing key while they are issued and, with ``public``, checkpoints and evidence as well.

    The new key of leases is accepted at once and signed with once it is settled. The one that is settled now is
    accepted as well. Every version of the other two verifies what it signed.

    Returns:
        How many keys.

    Raises:
        Unavailable: Not rotated, or not known whether; repeat it, within the time in which a new key settles.
    """
    admin = _Admin(http, admin_token)
    await admin("POST", "transit/keys/leases/rotate", {})
    versions = (await admin("GET", "transit/keys/leases")).data["keys"]
    before = time.time() - SETTLE_S
    settled = [int(n) for n, key in versions.items()
               if datetime.fromisoformat(key["creation_time"]).timestamp() <= before]  # fmt: skip
    await _believe(admin, max(int((await _recorded(admin)).get("leases_from", "1")), *settled, 1))
    others = ("checkpoints", "evidence") if public else ()
    for name in others:
        await admin("POST", f"transit/keys/{name}/rotate", {})
    return 1 + len(others)


async def rotate_secret_ids(http: BaoHttp, admin_token: Secret, *, credentials_dir: Path, alone: bool) -> int:
    """Give each machine with credentials here a new secret id, and end the old one once the new one has logged in.

    Cut off anywhere, it ends what it left alive when it is repeated: a note beside the file says which that is, and is
    written before the file.

    Args:
        http: The store.
        admin_token: As :func:`provision`.
        credentials_dir: Where the files are.
        alone: No other host has credentials: every secret id except the new one ends, whoever made it.

    Returns:
        How many machines.
    """
    admin, done = _Admin(http, admin_token), 0
    for machine in MACHINES:
        file = credentials_dir / f"{machine}.approle"
        if not await asyncio.to_thread(file.exists):
            continue
        old = read_json(await asyncio.to_thread(read_private, file))["secret_id"]
        await _issue(admin, machine, credentials_dir, old=None if alone else Secret(old))
        done += 1
    return done


async def _mounts(admin: _Admin) -> str:
    """Mount what is missing; returns the accessor of the auth mount ``lease``."""
    present = (await admin("GET", "sys/mounts")).data
    for name, body in MOUNTS.items():
        found = present.get(f"{name}/")
        if found is None:
            await admin("POST", f"sys/mounts/{name}", body)
        elif found.get("type") != body["type"] or (found.get("options") or {}) != body.get("options", {}):
            raise Integrity("store_mount_foreign", mount=name)
    for name, kind in AUTH_MOUNTS.items():
        found = (await admin("GET", "sys/auth")).data.get(f"{name}/")
        if found is None:
            await admin("POST", f"sys/auth/{name}", {"type": kind})
        elif found.get("type") != kind:
            raise Integrity("store_mount_foreign", mount=name)
    await admin("POST", "kv/config", {"cas_required": True, "max_versions": KV_MAX_VERSIONS})
    return str((await admin("GET", "sys/auth")).data["lease/"]["accessor"])


async def _keys(admin: _Admin) -> None:
    for mount in ("transit", KEK_MOUNT):
        await admin("POST", f"{mount}/config/keys", {"disable_upsert": True})
    for name, body in KEYS.items():
        try:
            found = (await admin("GET", f"transit/keys/{name}")).data
        except NotFound:
            await admin("POST", f"transit/keys/{name}", body)
            found = (await admin("GET", f"transit/keys/{name}")).data
        open_to_copying = found.get("exportable") or found.get("allow_plaintext_backup") or found.get("imported_key")
        if found.get("type") != body["type"] or open_to_copying:
            raise Integrity("store_key_foreign", key=name)


async def _lease_method(admin: _Admin, desired: Desired) -> None:
    config = {
        "jwt_validation_pubkeys": await _lease_keys(admin),
        "jwt_supported_algs": ["EdDSA"],
        "bound_issuer": desired.issuer,
        "default_role": "",
    }
    await admin("POST", "auth/lease/config", config)
    await admin.hold("auth/lease/role", {})  # roles of earlier releases: they accepted whatever end a token named
    await admin.hold("auth/lease/cel/role", lease_roles(desired), anew=True)


async def _lease_keys(admin: _Admin) -> list[str]:
    """Return the public keys of the leases, from the last rotation on."""
    keys = (await admin("GET", "transit/keys/leases")).data["keys"]
    first = int((await _recorded(admin)).get("leases_from", "1"))
    return [_pem(keys[number]["public_key"]) for number in sorted(keys, key=int) if int(number) >= first]


async def _recorded(admin: _Admin) -> dict[str, str]:
    """Return what provisioning keeps for the next time; at first nothing."""
    try:
        return dict((await admin("GET", RECORD_PATH)).data.get("custom_metadata") or {})
    except NotFound:
        return {}


async def _credentials(admin: _Admin, machine: str, directory: Path) -> None:
    """Keep a credentials file that still logs in; otherwise write a new one."""
    try:
        token, _ = await log_in(admin.http, directory / f"{machine}.approle")
    except ByokeepError:
        await _issue(admin, machine, directory)
    else:
        await admin.http.request("POST", "auth/token/revoke-self", token=token)


async def _issue(admin: _Admin, machine: str, directory: Path, *, old: Secret | None = None) -> None:
    """Write a new secret id, prove it, and end ``old``, or every other one."""
    role = f"auth/approle/role/{machine}"
    role_id = (await admin("GET", f"{role}/role-id")).data["role_id"]
    issued = (await admin("POST", f"{role}/secret-id", {})).data
    kept, note = str(issued["secret_id_accessor"]), directory / f"{machine}.ending"
    ending = await _ending(admin, role, old, note) if old is not None else set()
    if old is not None:
        await asyncio.to_thread(durable_write, note, json.dumps(sorted({*ending, kept})).encode())
    content = json.dumps({"role_id": role_id, "secret_id": issued["secret_id"]})
    await asyncio.to_thread(durable_write, directory / f"{machine}.approle", content.encode())
    token, _ = await log_in(admin.http, directory / f"{machine}.approle")
    await admin.http.request("POST", "auth/token/revoke-self", token=token)
    for accessor in await admin.names(f"{role}/secret-id"):
        if accessor != kept and (old is None or accessor in ending):
            await admin("POST", f"{role}/secret-id-accessor/destroy", {"secret_id_accessor": Secret(accessor)})
    await asyncio.to_thread(note.unlink, missing_ok=True)


async def _ending(admin: _Admin, role: str, old: Secret, note: Path) -> set[str]:
    """Return the accessors of the secret id that is replaced, and of those that a cut-off rotation left."""
    left = read_json(await asyncio.to_thread(read_private, note)) if await asyncio.to_thread(note.exists) else []
    if not isinstance(left, list):
        raise Integrity("note_unreadable", next_step=f"Remove {note.name} from the credentials directory, then repeat.")
    found = (await admin("POST", f"{role}/secret-id/lookup", {"secret_id": old})).data.get("secret_id_accessor")
    return {str(one) for one in left} | ({str(found)} if found else set())


def _pem(public_key: Any) -> str:
    raw = base64.b64decode(str(public_key))
    return (
        Ed25519PublicKey.from_public_bytes(raw).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    )


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
    raise Denied("recovery_quorum_missing", next_step="Give as many recovery keys as the threshold requires.")


async def retire_roots(http: BaoHttp, root: Secret) -> None:
    """Revoke every root token, ``root`` last, and prove that it is refused.

    Raises:
        Integrity: ``root_token_alive``.
        Unavailable: What :meth:`BaoHttp.request` raises; then treat it as alive.
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
        # A token that expired between the listing and the look is no root: those do not expire.
        if isinstance(gone, Unavailable):
            raise
        return False
    return "root" in found.data.get("policies", [])


def _unpad(encoded: object, pad: Secret) -> Secret:
    with refusing("store_garbage", Unavailable):
        raw = base64.b64decode(str(encoded) + "=" * (-len(str(encoded)) % 4), validate=True)
    key = pad.reveal()
    if len(raw) != len(key):
        raise Unavailable("store_garbage")
    return Secret(bytes(a ^ b for a, b in zip(raw, key, strict=True)))
