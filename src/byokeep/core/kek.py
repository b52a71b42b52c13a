"""Keys: how long one may protect and process, which data-encryption key (DEK) is whose, and the life of a KEK.

*Protect* is to wrap; *process* is to unwrap what was protected before: NIST SP 800-57 Part 1 Rev 5, sections 5.3.5,
5.3.6 and 7. A KEK, key-encryption key, wraps the DEKs of one client's profiles.

Rules
- The two periods are separate. After the originator-usage period (OUP) a key protects nothing; after the
  recipient-usage period (RUP), which starts with it and is never shorter, it processes nothing. The state of a key
  comes first, then its periods: no period makes a key usable that its state forbids.
- A suspended key processes what was protected before the suspension. What is stamped inside the span of a suspension is
  not processed, then or later: nobody knows who made it.
- What a compromise, the end of a period or a destruction took away is not recovered: a person logs in again.
- A DEK is 32 bytes. It is wrapped for exactly one environment, client and profile. OpenBao's cipher binds these three
  to the wrapped bytes, so a wrapped key that is moved elsewhere does not open. Nobody is told why one does not open.
- A KEK belongs to one environment, which is part of its id, so no id can stand for two of them (R2.3-1). It is rotated
  once in 366 days or more often; a policy that says nothing, or never, is refused (R6.1-7, R6.1-9).
- What OpenBao shows and what our rows say are compared version by version. A difference is a finding, which says what
  somebody did outside of byokeep (R9.2-2). The recorded moves of a key must lead from its first state to the state in
  its row, each by the table of key states; otherwise somebody edited the row (R2.3-7).

It may not hold a key, read a clock, or ask OpenBao or a database: the caller brings both sides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from byokeep.core.canonical import canonical_json
from byokeep.core.errors import Conflict, Denied, Integrity, Rejected
from byokeep.core.keystate import TRANSITIONS, KeyState
from byokeep.core.model import ClientId, Environment
from byokeep.core.ref import KeyRef

YEAR: Final = timedelta(days=365)
PURPOSE: Final = "wrap"  # of a KEK, and nothing else (S-NIST-10)
MOST_OUP: Final = 2 * YEAR
MOST_BEYOND: Final = 3 * YEAR  # by which a KEK may process for longer than it protects
DEFAULT_OUP, DEFAULT_RUP = YEAR, 4 * YEAR
_NEXT: Final = "Make a new version of the key, and move what the old one protects."


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """From when and for how long a KEK is used.

    Attributes:
        starts_at: When the key became active.
        oup: Originator-usage period, from ``starts_at``.
        rup: Recipient-usage period, from ``starts_at`` too; never shorter than ``oup``.

    Raises:
        Rejected: ``bad_key_period``: outside the limits (S-NIST-8).
    """

    starts_at: datetime
    oup: timedelta
    rup: timedelta

    def __post_init__(self) -> None:
        if self.starts_at.tzinfo is None:
            raise ValueError("times are aware")
        if not timedelta(0) < self.oup <= MOST_OUP or not self.oup <= self.rup <= self.oup + MOST_BEYOND:
            raise Rejected("bad_key_period", next_step="See the limits in docs/architecture.md.",
                           longest_oup_d=MOST_OUP.days, longest_beyond_d=MOST_BEYOND.days)  # fmt: skip

    @property
    def protects_until(self) -> datetime:
        """The first moment at which it protects nothing."""
        return self.starts_at + self.oup

    @property
    def processes_until(self) -> datetime:
        """The first moment at which it processes nothing."""
        return self.starts_at + self.rup


def default_periods(starts_at: datetime) -> Periods:
    """Return the default periods of a KEK."""
    return Periods(starts_at=starts_at, oup=DEFAULT_OUP, rup=DEFAULT_RUP)


@dataclass(frozen=True, slots=True)
class Suspension:
    """A span in which a key was suspended; ``until`` is None while it still is."""

    since: datetime
    until: datetime | None = None

    def holds(self, at: datetime) -> bool:
        """Whether ``at`` is inside. The first moment is, the last is not."""
        return self.since <= at and (self.until is None or at < self.until)


def may_protect(state: KeyState, now: datetime, periods: Periods) -> None:
    """Let an active key protect new data inside its originator-usage period.

    Raises:
        Rejected: ``key_state``; ``key_not_yet_valid``; ``key_period_over``.
    """
    if state is not KeyState.ACTIVE:
        raise _wrong_state(state)
    _check_started(now, periods)
    if now >= periods.protects_until:
        raise Rejected("key_period_over", next_step=_NEXT, period="originator")


def may_process(
    state: KeyState, now: datetime, periods: Periods, *, protected_at: datetime,
    suspensions: tuple[Suspension, ...] = (),
) -> None:  # fmt: skip
    """Let a key open or verify what was protected at ``protected_at``.

    Args:
        state: Of the key, now.
        now: The time.
        periods: Of the key.
        protected_at: When the data was protected, as its record says.
        suspensions: All spans in which the key was suspended, past and present.

    Raises:
        Denied: ``key_compromised``.
        Rejected: ``key_state``; ``key_not_yet_valid``; ``key_period_over``; ``protected_in_suspension``;
            ``protected_outside_period``: stamped when the key protected nothing.
    """
    if state in (KeyState.PRE_ACTIVATION, KeyState.DESTROYED):
        raise _wrong_state(state)
    if state is KeyState.COMPROMISED:
        raise Denied("key_compromised", next_step="`byokeep incident vault open` leads to a new login.")
    _check_started(now, periods)
    if any(span.holds(protected_at) for span in suspensions):
        raise Rejected("protected_in_suspension", next_step="Recreate this data from its source.")
    if not periods.starts_at <= protected_at < periods.protects_until or protected_at > now:
        raise Rejected(
            "protected_outside_period", next_step="The record's time or the key is wrong. Do not use the data."
        )
    if state is KeyState.SUSPENDED and not any(span.until is None for span in suspensions):
        raise Rejected("suspension_unknown", next_step="Give the time since when the key is suspended.")
    if now >= periods.processes_until:
        raise Rejected("key_period_over", next_step="Log in again, which makes a new one.", period="recipient")


def may_resume(state: KeyState, now: datetime, periods: Periods) -> None:
    """Let a suspended key become active again, before its originator-usage period ends (S-NIST-3).

    Raises:
        Rejected: ``key_state``; ``key_period_over``.
    """
    if state is not KeyState.SUSPENDED:
        raise _wrong_state(state)
    if now >= periods.protects_until:
        raise Rejected("key_period_over", next_step=_NEXT, period="originator")


def _check_started(now: datetime, periods: Periods) -> None:
    if now < periods.starts_at:
        raise Rejected("key_not_yet_valid", next_step="Check the clock of this machine.")


def _wrong_state(state: KeyState) -> Rejected:
    return Rejected("key_state", next_step="See the table of key states in docs/architecture.md.", state=state.value)


DEK_BYTES: Final = 32
TRANSIT: Final = "transit"  # the key provider (KMS), as ``kms://`` references, records and rows name it
MOUNT: Final = "tenant"  # a separate Transit engine of OpenBao: one key for each client, and none of our own keys
FIRST_VERSION: Final = 1
_FORMAT: Final = "byokeep-kek/1"
_KEK_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_CIPHERTEXT: Final = re.compile(r"[A-Za-z0-9+/=:_-]{16,4096}\Z")
_MAX_VERSION: Final = 2**31 - 1


class KekFault(StrEnum):
    """What somebody else did to a version of a KEK, as OpenBao shows it.

    ``FOREIGN``: it is not the kind of key that we make (it is exportable, deletable, not derived, imported, or of
    another environment), or it is not the key that was made.
    """

    DISABLED = "kek_disabled"
    MISSING = "kek_missing"
    FOREIGN = "kek_foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class KekScope:
    """Whose KEK it is: one client's, in one environment."""

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
    def canonical(self) -> bytes:
        """The context as bytes, none of them secret. Each context has one spelling, and no two share one."""
        ids = {"client": str(self.client_id), "profile": str(self.profile_id)}
        return canonical_json({"format": _FORMAT, "environment": self.environment.value, **ids})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """A wrapped DEK, which may be stored: it is useless without its KEK and its context.

    Attributes:
        holder: The key provider, :data:`TRANSIT`.
        kek_id: The KEK's name there.
        kek_version: The version that wrapped it, 1 or more.
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
        fault: What somebody else did to it; None if OpenBao shows nothing that we did not do.
        identity: Distinguishes this key from another put in its place: the second in which it was made.
    """

    number: int
    created_at: datetime | None
    fault: KekFault | None = None
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KekStatus:
    """A KEK as OpenBao shows it now.

    Attributes:
        versions: All that can still decrypt or are faulty, oldest first; empty = there is no such KEK.
        min_encryption: The oldest version that may protect new keys; 0 without a KEK.
    """

    kek_id: str
    versions: tuple[KekVersion, ...]
    min_encryption: int

    @property
    def newest(self) -> int:
        """The version that wraps; 0 without a KEK."""
        return self.versions[-1].number if self.versions else 0

    @property
    def faults(self) -> tuple[KekFault, ...]:
        """Everything that was done outside of byokeep, once each."""
        return tuple(dict.fromkeys(version.fault for version in self.versions if version.fault is not None))


def broken() -> Integrity:
    """Return the one answer to a wrapped key that does not open."""
    return Integrity("wrapped_key_broken", next_step="Do not use it. Restore the sealed record from its last version.")


def check_dek_size(size: int) -> None:
    """Check that a DEK has 32 bytes (S-GCM-11).

    Raises:
        Rejected: ``bad_dek_length``.
    """
    if size != DEK_BYTES:
        raise Rejected("bad_dek_length", expected=DEK_BYTES)


def check_environment(own: Environment, asked: KeyContext | KekScope) -> None:
    """Check that something is of this installation's environment (R2.3-1).

    Raises:
        Denied: ``other_environment``.
    """
    if asked.environment is not own:
        raise Denied("other_environment", next_step="Keys never cross environments. Create a new profile here.",
                     configured=own.value, asked=asked.environment.value)  # fmt: skip


def check_wrapped(wrapped: Wrapped, kek_id: str) -> None:
    """Check that OpenBao wrapped a DEK under this KEK.

    Raises:
        Integrity: ``wrapped_key_broken``: the KEK is another client's or environment's, or not OpenBao's.
    """
    if wrapped.key_ref != KeyRef(TRANSIT, kek_id):
        raise broken()


def check_rotation(status: KekStatus, expected: int) -> None:
    """Check that a rotation starts from the version that its caller saw, on a KEK that nobody else touched.

    Raises:
        Conflict: ``kek_version_moved``: somebody else has rotated it.
        Rejected: A code of :class:`KekFault`: a new version would not cure it, and would hide it.
    """
    if status.newest != expected:
        raise Conflict("kek_version_moved", expected=expected, newest=status.newest)
    if status.faults:
        raise unusable(status.faults[0])


def is_unfinished(status: KekStatus, expected: int) -> bool:
    """Whether a rotation from ``expected`` made its version and was cut off before it closed the older ones."""
    return 0 < status.min_encryption <= expected == status.newest - 1 and not status.faults


def check_retirement(status: KekStatus, below: int) -> None:
    """Check that versions below ``below`` may be retired: never the newest, never one that does not exist.

    Raises:
        Rejected: ``bad_kek_version``.
    """
    if not FIRST_VERSION < below <= status.newest:
        raise Rejected("bad_kek_version", newest=status.newest)


def unusable(fault: KekFault) -> Rejected:
    """Return the refusal to use a KEK with a fault."""
    steps = {
        KekFault.MISSING: "Make the client's KEK first, or restore it from a snapshot of OpenBao.",
        KekFault.DISABLED: "Enable the version at OpenBao, or restore a record under a live version.",
        KekFault.FOREIGN: "This key was not made here, or was made exportable. Do not protect anything with it.",
    }
    return Rejected(fault.value, next_step=steps[fault])


MAX_ROTATION_DAYS: Final = 366
DEFAULT_ROTATION_DAYS: Final = 365
OVERDUE_AFTER: Final = timedelta(days=7)  # after the day it was due
KEK_BITS: Final = 256
ALGORITHM: Final = "aes256-gcm96"
# States in which OpenBao still has a version, whatever it may open.
STILL_THERE: Final = frozenset({KeyState.ACTIVE, KeyState.SUSPENDED, KeyState.DEACTIVATED, KeyState.COMPROMISED})


class KekFinding(StrEnum):
    """What is wrong with a KEK, as OpenBao and our rows show it."""

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


def check_rotation_days(days: int | None) -> int:
    """Return the rotation interval of a policy, in days.

    Raises:
        Rejected: ``kek_rotation_days_out_of_range``: there is none, or it is below 1 or above 366 days.
    """
    if days is None or not 1 <= days <= MAX_ROTATION_DAYS:
        raise Rejected("kek_rotation_days_out_of_range", next_step="Give 1 to 366 days. It cannot be switched off.",
                       maximum=MAX_ROTATION_DAYS)  # fmt: skip
    return days


def rotation_due(made_at: datetime, days: int, protect_until: datetime) -> datetime:
    """Return when a version must be rotated: by the policy, and no later than it stops protecting."""
    return min(made_at + timedelta(days=check_rotation_days(days)), protect_until)


def urgency(now: datetime, due_at: datetime, protect_until: datetime) -> str:
    """Return how urgent a rotation is: ``""``, ``due`` or ``overdue``."""
    if now < due_at:
        return ""
    return "overdue" if now >= min(due_at + OVERDUE_AFTER, protect_until) else "due"


def differences(status: KekStatus, ours: Mapping[int, KeyState]) -> tuple[Difference, ...]:
    """Compare what OpenBao shows with the states that our rows give its versions; empty if they agree."""
    found = [_shown(version.number, version.fault, ours.get(version.number)) for version in status.versions]
    theirs = {version.number for version in status.versions}
    found += [
        Difference(version=number, finding=KekFinding.MISSING)
        for number, state in ours.items()
        if state in STILL_THERE and number not in theirs
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
    """Whether the recorded moves of a key, oldest first, lead from its first state to the state in its row."""
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
