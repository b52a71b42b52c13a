"""What a provisioned OpenBao holds, as data: mounts, keys, policies, roles, quotas.

Rules
- Every field of a role is written out, so that nothing of an earlier version of it can stay.
- :func:`content_hash` covers all of it: the same hash means the same rights.

It may not talk to a server: :mod:`.provision` does.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final
from uuid import UUID

from byokeep.core import kek
from byokeep.core.errors import Rejected
from byokeep.core.model import PLATFORMS, SEAL, Environment, LeaseKind, Provider
from byokeep.core.record_room import KEPT

AUDIENCE: Final = "openbao"
LOGIN_PATH: Final = "auth/lease/cel/login"
MAX_TOKEN_TTL_S: Final = 60
LOGIN_LIFE_S: Final = 5  # seconds after its issue at which the store takes no login token, whatever it says itself
_BATCH: Final = 2  # the store's number of a batch token
_CLIENT_ID: Final = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
MACHINES: Final = ("web", "broker", "provisioner")
MACHINE_TTL_S: Final = 20 * 60
KV_MAX_VERSIONS: Final = KEPT
TOKEN_KEY_PATH: Final = "kv/data/platform/token-key"  # noqa: S105 - a path; keys the hashes of people's tokens
MACHINE_KEY_PATH: Final = "kv/data/platform/machine-key"  # the same for machines' tokens
SCAN_KEY_PATH: Final = "kv/data/platform/scan-key"
APPS_PATH: Final = "kv/data/platform/apps"
KEK_MOUNT: Final = kek.MOUNT
PROFILE: Final = "profile"  # what a lease for browser profiles declares as its secret
_SEALING: Final = f"{SEAL}-{PROFILE}"
_PARTS_OF_KV: Final = ("kv/data/", "kv/metadata/", "kv/destroy/")
_BELOW: Final = re.compile(r"(/webhook|/accounts/\+/(tokens|access|landing|verifier|code))?")  # an account's id: any
_OF_KEK: Final = re.compile(r"tenant/((encrypt|decrypt|rewrap)/<KEK>|keys/<KEK>(/rotate|/config)?)")
_POLICY_BLOCK: Final = re.compile(r"^[^#\n]*\bpath\b", re.MULTILINE)
_POLICY_PATH: Final = re.compile(r'^path "([^"]*)" \{$', re.MULTILINE)
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
        per_second: Cap of signatures, and of logins, for each client address; None = no cap. Over a unix socket there
            is no address, and OpenBao answers 500 to every request that a quota covers.
    """

    installation_id: UUID
    environment: Environment = Environment.DEVELOPMENT
    lease_token_ttl_s: int = 2
    lease_cidrs: tuple[str, ...] = ()
    per_second: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.lease_token_ttl_s <= MAX_TOKEN_TTL_S:
            raise Rejected("bad_lease_token_ttl", maximum_s=MAX_TOKEN_TTL_S)

    @property
    def issuer(self) -> str:
        """The ``iss`` of this installation's leases."""
        return f"byokeep/{self.installation_id}"


def lease_roles(desired: Desired) -> dict[str, dict[str, Any]]:
    """Role name -> body: ``use-<secret>``, ``custody-<secret>`` for each provider and for profiles, and two more.

    ``enroll`` has no right at all; ``seal-profile`` is for a runner that seals the profile it had open.
    """
    roles = {"enroll": _lease_role(desired, "enroll", "", [])}
    roles[_SEALING] = _lease_role(desired, LeaseKind.CUSTODY.value, SEAL, [_SEALING])
    for kind in LeaseKind:
        for secret in (*(provider.value for provider in Provider), PROFILE):
            name = f"{kind.value}-{secret}"
            roles[name] = _lease_role(desired, kind.value, secret, [name])
    return roles


def _lease_role(desired: Desired, kind: str, secret: str, policies: list[str]) -> dict[str, Any]:
    """A program, for no other setting of the store bounds how long its signer lets a token live (ADR 0037)."""
    checks = [
        f"claims.kind == '{kind}'",
        *([f"'{secret}' in claims.secrets"] if secret else []),
        f"claims.exp - claims.iat <= {LOGIN_LIFE_S}.0",
        f"now - timestamp(int(claims.iat)) <= duration('{LOGIN_LIFE_S}s')",
        f"claims.client_id.matches('^{_CLIENT_ID}$')",
    ]
    ttl = desired.lease_token_ttl_s * 1_000_000_000
    auth = (
        f"pb.Auth{{policies: {_texts(policies)}, no_default_policy: true, token_type: {_BATCH}u,"
        " alias: logical.Alias{name: claims.client_id},"
        f" lease_options: pb.LeaseOptions{{TTL: {ttl}, MaxTTL: {ttl}, issue_time: now}},"
        f" bound_cidrs: {_texts(desired.lease_cidrs)}}}"
    )
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
    """Body of the AppRole of a machine identity; its policy has its name."""
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
    """Policy name -> HCL text. ``lease_accessor`` is that of the auth mount ``lease``; KEKs are of ``environment``.

    Raises:
        Rejected: ``lease_policy_too_wide``, ``lease_policy_unreadable``: a lease's policy reaches beyond its client.
    """
    sources = files(__package__) / "policies"
    found = {name: (sources / f"{name}.hcl").read_text("utf-8") for name in MACHINES}
    for kind in LeaseKind:
        text = (sources / f"{kind.value}.hcl").read_text("utf-8").replace("<<lease_accessor>>", lease_accessor)
        accounts = (sources / f"{kind.value}-account.hcl").read_text("utf-8")
        accounts = accounts.replace("<<lease_accessor>>", lease_accessor)
        for provider in Provider:
            one = text + accounts if provider in PLATFORMS else text
            one = one.replace("<<provider>>", provider.value)
            found[f"{kind.value}-{provider.value}"] = _narrow(one, lease_accessor, provider)
    for name in (*(f"{kind.value}-{PROFILE}" for kind in LeaseKind), _SEALING):
        text = (sources / f"{name}.hcl").read_text("utf-8").replace("<<lease_accessor>>", lease_accessor)
        text = text.replace("<<environment>>", environment.value)
        records = name == f"{LeaseKind.CUSTODY.value}-{PROFILE}"
        found[name] = _narrow_profile(text, lease_accessor, environment, records=records)
    return found


def _narrow(text: str, lease_accessor: str, provider: Provider) -> str:
    """Return a lease's policy unchanged, if each of its paths is one provider's of the client that the lease names."""
    own = f"clients/{_client(lease_accessor)}/providers/"
    for path in _paths(text):
        mount, found, rest = path.partition(own)
        below = rest.removeprefix(provider.value) if found and rest.startswith(provider.value) else "?"
        one_place = mount in _PARTS_OF_KV and _BELOW.fullmatch(below) is not None
        if not one_place and path != f"{APPS_PATH}/{provider.value}/+":
            raise Rejected("lease_policy_too_wide")
    return text


def _narrow_profile(text: str, lease_accessor: str, environment: Environment, *, records: bool) -> str:
    """Return a policy for profiles unchanged, if each of its paths is the KEK of the lease's client.

    With ``records`` a record of one of its profiles is fine, too.
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
    """Rate limits of signing and of logging in, for each client address."""
    if desired.per_second is None:
        return {}
    paths = {"byokeep-sign": "transit/sign/leases", "byokeep-login": LOGIN_PATH}
    return {name: {"path": path, "rate": desired.per_second, "interval": "1s"} for name, path in paths.items()}


def content_hash(desired: Desired) -> str:
    """SHA-256 in hex over everything that provisioning writes, but for keys, values and server-made ids."""
    everything = {
        "mounts": MOUNTS,
        "auth": AUTH_MOUNTS,
        "keys": KEYS,
        "max_versions": KV_MAX_VERSIONS,
        "issuer": desired.issuer,
        "lease_roles": lease_roles(desired),
        "machines": {name: machine_role(name) for name in MACHINES},
        "policies": policies("<<lease_accessor>>", desired.environment),
        "quotas": quotas(desired),
    }
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()
