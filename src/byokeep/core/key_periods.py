"""How long a key may protect and how long it may process: NIST SP 800-57 Part 1 Rev 5, sections 5.3.5, 5.3.6 and 7.

*Protect* is to encrypt, wrap or sign; *process* is to decrypt, unwrap or verify what was protected before.

Rules
- The two periods are separate. After the originator-usage period (OUP) a key protects nothing; after the
  recipient-usage period (RUP), which starts with it and is never shorter, it processes nothing.
- The state of a key comes first, then its periods: no period makes a key usable that its state forbids.
- A suspended key processes what was protected before the suspension. What is stamped inside the span of a suspension is
  not processed, then or later: nobody knows who made it.
- Recovery is a way of its own, approved and audited by its caller. It reaches what a compromise or the end of a period
  took away, never what was destroyed.

It may not read a clock or a record: the caller brings state, times and approval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from byokeep.core.errors import Denied, Rejected
from byokeep.core.keystate import KeyState

YEAR: Final = timedelta(days=365)
_NEXT: Final = "Make a new version of the key and move what the old one protects."


class KeyPurpose(StrEnum):
    """What a key is for, and nothing else (S-NIST-10)."""

    ENCRYPT = "encrypt"
    WRAP = "wrap"
    SIGN = "sign"
    DERIVE = "derive"


@dataclass(frozen=True, slots=True)
class _Limit:
    """The longest OUP, how much longer the RUP may be, and what holds when nothing is said."""

    oup: timedelta
    beyond: timedelta
    default_oup: timedelta
    default_rup: timedelta


LIMITS: Final[Mapping[KeyPurpose, _Limit]] = MappingProxyType(
    {
        KeyPurpose.ENCRYPT: _Limit(2 * YEAR, 3 * YEAR, YEAR, 4 * YEAR),
        KeyPurpose.WRAP: _Limit(2 * YEAR, 3 * YEAR, YEAR, 4 * YEAR),
        # A signature is verified with the public key for as long as there is something to verify.
        KeyPurpose.SIGN: _Limit(3 * YEAR, 30 * YEAR, YEAR, 11 * YEAR),
        KeyPurpose.DERIVE: _Limit(YEAR, timedelta(0), YEAR, YEAR),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """From when and for how long a key is used.

    Attributes:
        starts_at: When it became active.
        oup: Originator-usage period, from ``starts_at``.
        rup: Recipient-usage period, from ``starts_at`` too; never shorter than ``oup``.

    Raises:
        Rejected: ``bad_key_period``: outside the limits of its purpose (S-NIST-8).
    """

    purpose: KeyPurpose
    starts_at: datetime
    oup: timedelta
    rup: timedelta

    def __post_init__(self) -> None:
        limit = LIMITS[self.purpose]
        if self.starts_at.tzinfo is None:
            raise ValueError("times are aware")
        if not timedelta(0) < self.oup <= limit.oup or not self.oup <= self.rup <= self.oup + limit.beyond:
            raise Rejected(
                "bad_key_period",
                next_step="See the limits in docs/architecture.md.",
                purpose=self.purpose.value,
                longest_oup_d=limit.oup.days,
                longest_beyond_d=limit.beyond.days,
            )

    @property
    def protects_until(self) -> datetime:
        """The first moment at which it protects nothing."""
        return self.starts_at + self.oup

    @property
    def processes_until(self) -> datetime:
        """The first moment at which it processes nothing."""
        return self.starts_at + self.rup


def default_periods(purpose: KeyPurpose, starts_at: datetime) -> Periods:
    """Return the periods of a key of which nothing else is said."""
    limit = LIMITS[purpose]
    return Periods(purpose=purpose, starts_at=starts_at, oup=limit.default_oup, rup=limit.default_rup)


@dataclass(frozen=True, slots=True)
class Suspension:
    """A span in which a key was suspended; ``until`` is None while it is."""

    since: datetime
    until: datetime | None = None

    def holds(self, at: datetime) -> bool:
        """Whether ``at`` lies inside; the first moment does, the last does not."""
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
    suspensions: tuple[Suspension, ...] = (), recovery: bool = False,
) -> None:  # fmt: skip
    """Let a key open or verify what was protected at ``protected_at``.

    Args:
        state: Of the key, now.
        now: The time.
        periods: Of the key.
        protected_at: When the data was protected, as its record says.
        suspensions: All spans in which the key was suspended, past and present.
        recovery: The caller has an approval to recover, and writes it down. It opens no signature for new trust.

    Raises:
        Denied: ``key_compromised``: without an approval to recover.
        Rejected: ``key_state``; ``key_not_yet_valid``; ``key_period_over``; ``protected_in_suspension``;
            ``protected_outside_period``: stamped when the key protected nothing.
    """
    if state in (KeyState.PRE_ACTIVATION, KeyState.DESTROYED):
        raise _wrong_state(state)
    if state is KeyState.COMPROMISED:
        _check_recovery(periods, recovery=recovery)
    _check_started(now, periods)
    if any(span.holds(protected_at) for span in suspensions):
        raise Rejected("protected_in_suspension", next_step="Make this data anew from its source.")
    if not periods.starts_at <= protected_at < periods.protects_until or protected_at > now:
        raise Rejected("protected_outside_period", next_step="The record's time or the key is wrong; do not use it.")
    if state is KeyState.SUSPENDED and not any(span.until is None for span in suspensions):
        raise Rejected("suspension_unknown", next_step="Say since when the key is suspended.")
    if now >= periods.processes_until and not recovery:
        raise Rejected("key_period_over", next_step=_NEXT, period="recipient")


def may_resume(state: KeyState, now: datetime, periods: Periods) -> None:
    """Let a suspended key become active again, before its originator-usage period ends (S-NIST-3).

    Raises:
        Rejected: ``key_state``; ``key_period_over``.
    """
    if state is not KeyState.SUSPENDED:
        raise _wrong_state(state)
    if now >= periods.protects_until:
        raise Rejected("key_period_over", next_step=_NEXT, period="originator")


def _check_recovery(periods: Periods, *, recovery: bool) -> None:
    if not recovery:
        raise Denied("key_compromised", next_step="Recovery needs an approval by a second person.")
    if periods.purpose is KeyPurpose.SIGN:
        raise Rejected("key_state", next_step="What a leaked key signed proves nothing.", state="compromised")


def _check_started(now: datetime, periods: Periods) -> None:
    if now < periods.starts_at:
        raise Rejected("key_not_yet_valid", next_step="Check the clock of this machine.")


def _wrong_state(state: KeyState) -> Rejected:
    return Rejected("key_state", next_step="See the table of key states in docs/architecture.md.", state=state.value)
