"""Nouns of key wrapping: which data-encryption key (DEK) is whose, and what its key-encryption key (KEK) looks like.

Rules
- A DEK is 32 bytes. It is wrapped for exactly one environment, client and profile; the three are bound to the wrapped
  bytes by OpenBao's cipher, so a wrapped key that is moved elsewhere does not open.
- A KEK belongs to one environment. The environment is part of its id, so no id can stand for two of them (R2.3-1).
- Why a wrapped key does not open is not said: one code for a flipped bit, another context, another key.

It may not hold a key: the KEK stays in OpenBao, the DEK is a :class:`~byokeep.core.secret.Secret` in transit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID

from byokeep.core.canonical import canonical_json
from byokeep.core.errors import Conflict, Denied, Integrity, Rejected
from byokeep.core.model import ClientId, Environment
from byokeep.core.ref import KeyRef

DEK_BYTES: Final = 32
TRANSIT: Final = "transit"  # the key provider (KMS), as ``kms://`` references, records and rows name it
MOUNT: Final = "tenant"  # a Transit of its own at OpenBao: one key for each client, and no key of ours beside them
FIRST_VERSION: Final = 1
_FORMAT: Final = "byokeep-kek/1"
_KEK_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_CIPHERTEXT: Final = re.compile(r"[A-Za-z0-9+/=:_-]{16,4096}\Z")
_MAX_VERSION: Final = 2**31 - 1


class KekFault(StrEnum):
    """What somebody else did to a version of a KEK, as OpenBao shows it.

    ``FOREIGN``: it is not the kind of key we make: exportable, deletable, not derived, imported, of another
    environment; or another key than the one that was made.
    """

    DISABLED = "kek_disabled"
    MISSING = "kek_missing"
    FOREIGN = "kek_foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class KekScope:
    """Whose KEK: one client's in one environment."""

    environment: Environment
    client_id: ClientId

    @property
    def tenant_kek(self) -> str:
        """The id of a KEK of this client's own: ``{environment}-{client_id}``."""
        return f"{self.environment.value}-{self.client_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyContext:
    """What a wrapped DEK is bound to."""

    environment: Environment
    client_id: ClientId
    profile_id: UUID

    @property
    def scope(self) -> KekScope:
        """Whose KEK wraps it."""
        return KekScope(environment=self.environment, client_id=self.client_id)

    @property
    def pairs(self) -> Mapping[str, str]:
        """The context as text pairs. No secret is in it."""
        return MappingProxyType(
            {"environment": self.environment.value, "client": str(self.client_id), "profile": str(self.profile_id)}
        )

    @property
    def canonical(self) -> bytes:
        """The context as bytes: one context has one spelling, and no two contexts share one."""
        return canonical_json({"format": _FORMAT, **self.pairs})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """A wrapped DEK, fit to be stored. Useless without its KEK and its context.

    Attributes:
        holder: The key provider; :data:`TRANSIT`, or what an older release offered.
        kek_id: The KEK's name there.
        kek_version: Under which it was wrapped, 1 or more.
        ciphertext: Opaque ASCII text of the provider.

    Raises:
        Integrity: ``wrapped_key_broken``: fields that no provider would have written.
    """

    holder: str
    kek_id: str
    kek_version: int
    ciphertext: str

    def __post_init__(self) -> None:
        number = type(self.kek_version) is int and FIRST_VERSION <= self.kek_version <= _MAX_VERSION
        if not number or not _KEK_ID.match(self.kek_id) or not _CIPHERTEXT.match(self.ciphertext):
            raise broken()

    @property
    def key_ref(self) -> KeyRef:
        """Where the KEK is."""
        return KeyRef(self.holder, self.kek_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class KekVersion:
    """One version of a KEK.

    Attributes:
        fault: None as long as OpenBao shows nothing that we did not do.
        identity: Tells this key from any other that is put in its place: the second it was made in.
    """

    number: int
    created_at: datetime | None
    fault: KekFault | None = None
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KekStatus:
    """A KEK as OpenBao shows it now.

    Attributes:
        versions: All that can still open something or are faulty, oldest first; empty = there is no such KEK.
        min_encryption: The oldest version that may protect new keys; 0 without a KEK.
        min_decryption: The oldest version that may open something; 0 without a KEK.
    """

    kek_id: str
    versions: tuple[KekVersion, ...]
    min_encryption: int
    min_decryption: int

    @property
    def newest(self) -> int:
        """The version that wraps; 0 without a KEK."""
        return self.versions[-1].number if self.versions else 0

    @property
    def faults(self) -> tuple[KekFault, ...]:
        """Everything that was done outside, once each."""
        return tuple(dict.fromkeys(version.fault for version in self.versions if version.fault is not None))


def broken() -> Integrity:
    """Return the one answer to a wrapped key that does not open."""
    return Integrity("wrapped_key_broken", next_step="Do not use it; restore the sealed record from its last version.")


def check_dek_size(size: int) -> None:
    """Let a DEK of 32 bytes pass (S-GCM-11).

    Raises:
        Rejected: ``bad_dek_length``.
    """
    if size != DEK_BYTES:
        raise Rejected("bad_dek_length", expected=DEK_BYTES)


def check_environment(own: Environment, asked: KeyContext | KekScope) -> None:
    """Let pass what is of this installation's environment (R2.3-1).

    Raises:
        Denied: ``other_environment``.
    """
    if asked.environment is not own:
        raise Denied("other_environment", next_step="Keys never cross environments; make a new profile here.",
                     configured=own.value, asked=asked.environment.value)  # fmt: skip


def check_provider(holder: str) -> None:
    """Let pass what is OpenBao's; older releases also offered AWS KMS and hardware modules (ADR 0051).

    Raises:
        Conflict: ``kek_of_another_holder``.
    """
    if holder != TRANSIT:
        raise Conflict("kek_of_another_holder", next_step="Log in to the profile again; see docs/key-providers.md.",
                       stored=holder)  # fmt: skip


def check_wrapped(wrapped: Wrapped, kek_id: str) -> None:
    """Let pass what OpenBao wrapped under this KEK.

    Raises:
        Conflict: As :func:`check_provider`.
        Integrity: ``wrapped_key_broken``: the KEK is another client's or environment's.
    """
    check_provider(wrapped.holder)
    if wrapped.kek_id != kek_id:
        raise broken()


def check_rotation(status: KekStatus, expected: int) -> None:
    """Let a rotation pass that starts from the version its caller saw, on a KEK that nobody else touched.

    Raises:
        Conflict: ``kek_version_moved``: somebody else rotated meanwhile.
        Rejected: A code of :class:`KekFault`: a new version does not cure it, and would hide it.
    """
    if status.newest != expected:
        raise Conflict("kek_version_moved", expected=expected, newest=status.newest)
    if status.faults:
        raise unusable(status.faults[0])


def is_unfinished(status: KekStatus, expected: int) -> bool:
    """Whether a rotation from ``expected`` has made its version and was cut before the older ones were closed."""
    return 0 < status.min_encryption <= expected == status.newest - 1 and not status.faults


def check_retirement(status: KekStatus, below: int) -> None:
    """Let versions below ``below`` be retired: never the newest, never one that does not exist.

    Raises:
        Rejected: ``bad_kek_version``.
    """
    if not FIRST_VERSION < below <= status.newest:
        raise Rejected("bad_kek_version", newest=status.newest)


def unusable(fault: KekFault) -> Rejected:
    """Return the answer to a use of a KEK whose state forbids it."""
    steps = {
        KekFault.MISSING: "Make the client's KEK first, or restore it from a snapshot of OpenBao.",
        KekFault.DISABLED: "Enable the version at OpenBao, or restore a record under a live version.",
        KekFault.FOREIGN: "This key was not made here or was opened up; do not protect anything with it.",
    }
    return Rejected(fault.value, next_step=steps[fault])
