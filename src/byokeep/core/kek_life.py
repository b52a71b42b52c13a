"""The life of a key-encryption key (KEK): how often it is rotated, how long it serves, and what OpenBao must show.

Rules
- A KEK is rotated once in 366 days or more often; a policy that says nothing, or never, is refused (R6.1-7, R6.1-9).
- What OpenBao shows and what our rows say are compared version by version. A difference is a finding, and it is said
  on which side somebody acted outside of us (R9.2-2).
- The moves of a key lead from its first state to the one that its row shows, each by the table of key states. What does
  not is an edit (R2.3-7).

It may not ask OpenBao or a database: the caller brings both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from byokeep.core.errors import Rejected
from byokeep.core.kek import KekFault, KekStatus
from byokeep.core.key_periods import KeyPurpose, Periods, default_periods
from byokeep.core.keystate import TRANSITIONS, KeyState

MAX_ROTATION_DAYS: Final = 366
DEFAULT_ROTATION_DAYS: Final = 365
OVERDUE_AFTER: Final = timedelta(days=7)  # after the day it was due
KEK_BITS: Final = 256
ALGORITHM: Final = "aes256-gcm96"
# What can still open something that it wrapped, if OpenBao lets it.
OPENS: Final = frozenset({KeyState.ACTIVE, KeyState.SUSPENDED, KeyState.DEACTIVATED, KeyState.COMPROMISED})


class KekFinding(StrEnum):
    """What is wrong with a KEK, as far as OpenBao and our rows show."""

    MISSING = "kek_missing_outside"
    DISABLED = "kek_disabled_outside"
    UNKNOWN = "kek_unknown_outside"
    ALTERED = "kek_altered_outside"
    PROTECTS = "kek_protects_outside"
    BACK = "kek_destroyed_is_back"
    HISTORY = "kek_history_broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One finding, at one version."""

    version: int
    finding: KekFinding


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVersion:
    """What our row says of a version."""

    version: int
    state: KeyState


def check_rotation_days(days: int | None) -> int:
    """Return the interval of a policy.

    Raises:
        Rejected: ``kek_rotation_days_out_of_range``: none is named, or it is longer than 366 days, or below one.
    """
    if days is None or not 1 <= days <= MAX_ROTATION_DAYS:
        raise Rejected("kek_rotation_days_out_of_range", next_step="Give 1 to 366 days; it cannot be switched off.",
                       maximum=MAX_ROTATION_DAYS)  # fmt: skip
    return days


def check_strength(bits: int) -> None:
    """Let a KEK wrap our DEKs of 256 bits (S-NIST-11).

    Raises:
        Rejected: ``kek_too_weak``.
    """
    if bits < KEK_BITS:
        raise Rejected("kek_too_weak", next_step="A wrapping key is never weaker than what it wraps.", bits=bits)


def periods_of(made_at: datetime) -> Periods:
    """Return the periods of a KEK version that is made now (S-NIST-8)."""
    return default_periods(KeyPurpose.WRAP, made_at)


def rotation_due(made_at: datetime, days: int, protect_until: datetime) -> datetime:
    """Return when a version is to be followed by another: by the policy, and in any case before it may not protect."""
    return min(made_at + timedelta(days=check_rotation_days(days)), protect_until)


def urgency(now: datetime, due_at: datetime, protect_until: datetime) -> str:
    """Return ``""``, ``due`` or ``overdue``."""
    if now < due_at:
        return ""
    return "overdue" if now >= min(due_at + OVERDUE_AFTER, protect_until) else "due"


def differences(status: KekStatus, rows: Sequence[KnownVersion]) -> tuple[Difference, ...]:
    """Compare what OpenBao shows with what we know; empty when they say the same."""
    ours = {row.version: row.state for row in rows}
    found = [_shown(version.number, version.fault, ours.get(version.number)) for version in status.versions]
    theirs = {version.number for version in status.versions}
    found += [
        Difference(version=number, finding=KekFinding.MISSING)
        for number, state in ours.items()
        if state in OPENS and number not in theirs
    ]
    active = [number for number, state in ours.items() if state is KeyState.ACTIVE]
    if active and status.newest and status.min_encryption < max(active):
        found.append(Difference(version=status.min_encryption, finding=KekFinding.PROTECTS))
    return tuple(sorted((one for one in found if one is not None), key=lambda one: (one.version, one.finding)))


def _shown(number: int, fault: KekFault | None, state: KeyState | None) -> Difference | None:
    if state is None:
        return Difference(version=number, finding=KekFinding.UNKNOWN)
    if state is KeyState.DESTROYED:
        return None if fault is not None else Difference(version=number, finding=KekFinding.BACK)
    named = {
        KekFault.DISABLED: KekFinding.DISABLED,
        KekFault.MISSING: KekFinding.MISSING,
        KekFault.FOREIGN: KekFinding.ALTERED,
    }
    return None if fault is None else Difference(version=number, finding=named[fault])


def follows(first: KeyState, steps: Iterable[tuple[str, str]], now: str) -> bool:
    """Whether the moves of a key, oldest first, lead from its first state to the one that its row shows."""
    at = first.value
    for before, after in steps:
        try:
            legal = KeyState(after) in TRANSITIONS[KeyState(before)]
        except ValueError:
            return False
        if before != at or not legal:
            return False
        at = after
    return at == now
