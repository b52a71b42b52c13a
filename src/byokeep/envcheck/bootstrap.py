"""What the variables hold that a host may have: where the store is, which role, which key, and feature flags.

Rules
- Each of the names of :data:`ALLOWED` has one strict form; a token, key material or another address is a finding.
- A flag is named by a closed list and has a value from that list; any other is off (:func:`is_on`). The gate of effects
  asks no flag: none releases a kill switch.
- A role that names an environment serves only that one.

It may not connect to anything.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from byokeep.core.errors import Denied
from byokeep.envcheck.secret import bare_name, in_value
from byokeep.envcheck.sources import STAGES

Flags = Mapping[str, Collection[str]]
FLAG_VALUES: Final = ("on", "off")
_ON: Final = "on"
_FLAG: Final = re.compile(r"(?:FEATURE|FLAG)_[A-Z0-9_]{1,60}\Z")
_HOST: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z][a-z0-9-]{0,61}\.?\Z")
_DRAWN: Final = re.compile(r"[0-9a-f]{32}")  # in a host's name this is key material
_METADATA: Final = frozenset({"metadata", "metadata.google.internal", "instance-data", "100.100.100.200",
                              "192.0.0.192", "fd00:ec2::254"})  # fmt: skip
_ROLE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}\Z")
_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\Z", re.IGNORECASE)
_REFERENCE: Final = re.compile(
    r"arn:aws[a-z-]*:kms:[a-z0-9-]{1,30}:[0-9]{12}:(?:key/(?:mrk-)?[0-9a-f-]{32,36}|alias/[A-Za-z0-9/_-]{1,250})"
    r"|alias/[A-Za-z0-9/_-]{1,250}|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|mrk-[0-9a-f]{32}"
    r"|projects/[a-z0-9:.-]{1,63}/locations/[a-z0-9-]{1,63}/keyRings/[\w-]{1,63}/cryptoKeys/[\w-]{1,63}"
    r"(?:/cryptoKeyVersions/[0-9]{1,9})?"
    r"|https://[a-z0-9-]{3,24}\.(?:vault|managedhsm)\.azure\.net/keys/[A-Za-z0-9-]{1,127}(?:/[0-9a-f]{32})?"
    r"|[a-z0-9_-]{1,60}/keys/[A-Za-z0-9_.-]{1,127}"
)
_MATERIAL: Final = frozenset({16, 24, 32, 48, 64})  # bytes of a key


def _address(value: str) -> str:
    """Accept ``https://host[:port]`` if the host is not a service of machine identities."""
    try:
        parts = urlsplit(value)
        host, _ = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return "bad_address"
    if in_value(value) is not None or _DRAWN.search(host):
        return "bad_address"
    if parts.scheme != "https" or "@" in value or parts.query or parts.fragment or parts.path not in ("", "/"):
        return "bad_address"
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return "metadata_address" if host in _METADATA else "" if _HOST.match(host) else "bad_address"
    mapped = getattr(ip, "ipv4_mapped", None) or ip
    odd = mapped.is_link_local or mapped.is_multicast or mapped.is_unspecified or str(mapped) in _METADATA
    return "metadata_address" if odd else ""


def _role(value: str) -> str:
    """Accept the name of a role. An id in the form of a UUID cannot be told from a secret id."""
    return "" if _ROLE.match(value) and not _UUID.match(value) and in_value(value) is None else "not_a_role_name"


def _key_id(value: str) -> str:
    """Accept a key's name, alias or id at its key provider."""
    if _REFERENCE.fullmatch(value) and in_value(value) is None:
        return ""
    return "looks_like_key_material" if _is_material(value.strip()) else "not_a_key_reference"


def _is_material(value: str) -> bool:
    if re.fullmatch(r"(?:0x)?[0-9A-Fa-f]+", value) and len(value.removeprefix("0x")) // 2 in _MATERIAL:
        return True
    try:
        plain = base64.b64decode(value + "=" * (-len(value) % 4), altchars="-_" if set(value) & {"-", "_"} else None,
                                 validate=True)  # fmt: skip
    except (binascii.Error, ValueError):
        return value.startswith("-----BEGIN")
    return len(plain) in _MATERIAL


ALLOWED: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType({
    "VAULT_ADDR": _address, "BAO_ADDR": _address, "VAULT_AUTH_ROLE": _role, "BAO_AUTH_ROLE": _role,
    "KMS_KEY_ID": _key_id,
})  # fmt: skip
ROLES: Final = frozenset({"VAULT_AUTH_ROLE", "BAO_AUTH_ROLE"})


def refused(name: str, value: str | None, flags: Flags) -> str:
    """Return the code for which a bootstrap variable or a flag is refused, empty when it is neither or is right."""
    plain = bare_name(name)
    if plain in ALLOWED:
        return "" if value is None else ALLOWED[plain](value)
    if not _FLAG.match(plain):
        return ""
    if plain not in flags:
        return "unknown_flag"
    return "" if value is None or value in flags[plain] else "bad_flag_value"


def is_on(name: str, environment: Mapping[str, str], flags: Flags) -> bool:
    """Whether a feature flag is on: the list names it, and its value is from the list and is ``on``."""
    value = environment.get(name, "")
    return refused(name, value, flags) == "" and bare_name(name) in flags and value == _ON


def stage_of(role: str) -> str:
    """Return the environment that a role's name contains: production, preview, development, or none."""
    words = re.split(r"[^a-z0-9]+", role.lower())
    return next((STAGES[word] for word in words if word in STAGES), "")


def refuse_foreign_role(environment: Mapping[str, str], own: str) -> None:
    """Let a process start unless its role at the store belongs to another environment.

    Args:
        environment: Variables; what the host says about itself in ``VERCEL_ENV`` takes precedence over ``own``.
        own: The installation's: production, staging or development.

    Raises:
        Denied: ``role_of_other_environment``.
    """
    stage = stage_of(environment.get("VERCEL_ENV") or own)
    for name in sorted(ROLES & environment.keys()):
        named = stage_of(environment[name])
        if named and named != stage:
            step = f"Give each environment its own role: this process is of {stage or 'none that is known'}."
            raise Denied("role_of_other_environment", next_step=step, variable=name, role_of=named)
