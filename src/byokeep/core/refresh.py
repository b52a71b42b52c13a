"""When a token is due for renewal, and what a refusal to renew it leads to.

Rules
- Due by the life that the reply gave, late in it, with a jitter that follows from a seed: never by a constant, never
  all at once, never because somebody looked.
- A life that no reply gave is unknown, and then renewal is tried daily.
- Between two renewals there is a pause, whatever life a reply gave: a platform that lies about it costs us no storm.
- A refusal is not death before the store has been read again: a sibling may have renewed. One more try, no storm.
- An outage changes nothing but the time of the next try; a stored token is never given up for it.

It may not know the time or roll dice: the caller passes time and seed in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from byokeep.core.fault import Fault, FaultCause
from byokeep.core.tokens import TokenSet

MIN_MARGIN_S: Final = 300  # before the end of a token
LEAST_PAUSE_S: Final = 60  # between two renewals; a shorter life can not be served, and asks for no storm
_SHORTEST_PAUSE_S: Final = 5
UNKNOWN_LIFE_S: Final = 86_400  # between tries when no reply has said how long a token lives
FIRST_WAIT_S: Final = 30
LONGEST_WAIT_S: Final = 3_600
LONGEST_ASKED_S: Final = 86_400  # what a platform may make us wait


class TokenModel(StrEnum):
    """How a platform keeps a grant alive.

    ``rotating_strict``: each renewal gives a new refresh token, the old one dies at once. ``rotating_grace``: it may be
    shown again for some seconds. ``fixed``: the refresh token stays the same. ``extend``: the access token renews
    itself. ``exchange``: a living access token is traded for a later one. ``none``: no renewal.
    """

    ROTATING_STRICT = "rotating_strict"
    ROTATING_GRACE = "rotating_grace"
    FIXED = "fixed"
    EXTEND = "extend"
    EXCHANGE = "exchange"
    NONE = "none"


ROTATING: Final = frozenset({TokenModel.ROTATING_STRICT, TokenModel.ROTATING_GRACE})
# The access token is what renews: once it is over, only a person helps.
SELF_RENEWING: Final = frozenset({TokenModel.EXTEND, TokenModel.EXCHANGE})


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshRules:
    """A platform's rules of renewal.

    Args:
        due_from, due_to: Shares of the token's life, in percent, between which renewal falls.
        grace_s: Seconds for which a spent refresh token may be shown again (``rotating_grace`` alone).
        min_age_s: Seconds that a token must be old before it can be renewed.
        confirm_s: Seconds to wait, and ask once more, before a refusal as revoked is believed; 0 = believe it.
        alarm_days: Days before the end of the grant at which people are told.

    Raises:
        ValueError: Numbers that contradict each other.
    """

    model: TokenModel
    due_from: int = 80
    due_to: int = 90
    grace_s: int = 0
    min_age_s: int = 0
    confirm_s: int = 0
    alarm_days: int = 0

    def __post_init__(self) -> None:
        if not 10 <= self.due_from <= self.due_to <= 95:
            raise ValueError("due_from and due_to are percent, 10 to 95")
        if (self.grace_s > 0) != (self.model is TokenModel.ROTATING_GRACE):
            raise ValueError("a grace belongs to rotating_grace")
        if min(self.grace_s, self.min_age_s, self.confirm_s, self.alarm_days) < 0:
            raise ValueError("seconds and days are not negative")


def renewable(rules: RefreshRules, tokens: TokenSet) -> bool:
    """Whether there is anything to renew with."""
    if rules.model is TokenModel.NONE:
        return False
    return rules.model in SELF_RENEWING or tokens.refresh is not None


def due_at(rules: RefreshRules, tokens: TokenSet, *, seed: bytes) -> datetime | None:
    """Return when to renew, None when it can not be renewed.

    Args:
        seed: Makes the jitter; the same seed gives the same time.
    """
    if not renewable(rules, tokens):
        return None
    share = rules.due_from + (rules.due_to - rules.due_from) * _fraction(seed)
    end = tokens.access_expires_at
    life_s = (end - tokens.obtained_at).total_seconds() if end is not None else float(UNKNOWN_LIFE_S)
    after_s = life_s * share / 100
    if end is not None:
        # A short-lived token keeps at least a tenth of its life, or five minutes when that is less than half of it.
        after_s = min(after_s, max(life_s - MIN_MARGIN_S, life_s / 2))
    due = tokens.obtained_at + timedelta(seconds=max(after_s, rules.min_age_s))
    if tokens.refresh_expires_at is not None:
        due = min(due, tokens.refresh_expires_at - timedelta(seconds=MIN_MARGIN_S))
    return max(due, tokens.obtained_at + timedelta(seconds=_pause_s(tokens)))


def _pause_s(tokens: TokenSet) -> float:
    """The pause before the next renewal; shorter where a refresh token would not live through it."""
    if tokens.refresh_expires_at is None:
        return LEAST_PAUSE_S
    half = (tokens.refresh_expires_at - tokens.obtained_at).total_seconds() / 2
    return min(max(half, _SHORTEST_PAUSE_S), LEAST_PAUSE_S)


def too_short(tokens: TokenSet) -> bool:
    """Whether a token ends before the next renewal may be, so that jobs find it dead again and again."""
    end = tokens.access_expires_at
    return end is not None and (end - tokens.obtained_at).total_seconds() <= LEAST_PAUSE_S


def reauth_at(rules: RefreshRules, tokens: TokenSet) -> datetime | None:
    """Return when the grant ends unless a person logs in again or, for some models, a renewal succeeds before.

    None = no reply has given an end.
    """
    by_access = rules.model in SELF_RENEWING or not renewable(rules, tokens)
    ends = (tokens.access_expires_at if by_access else tokens.refresh_expires_at, tokens.consent_expires_at)
    return min((end for end in ends if end is not None), default=None)


def alarm_at(rules: RefreshRules, tokens: TokenSet) -> datetime | None:
    """Return when people must hear that the grant is about to end, None when no end is known."""
    end = reauth_at(rules, tokens)
    return None if end is None else max(end - timedelta(days=rules.alarm_days), tokens.obtained_at)


class RenewalAct(StrEnum):
    """What to do after a refusal.

    ``retry``: try again after a wait, state unchanged. ``reread``: read the store again; a sibling may have renewed.
    ``adopt``: use the sibling's tokens. ``confirm``: wait, then ask once more. ``reauth``: a person must log in again;
    close the platform for this client, raise an alert. ``locked``: as ``reauth``, and the person must act at the
    platform first. ``fix_app``: our app is refused; alert the operators, state unchanged, try slowly.
    """

    RETRY = "retry"
    REREAD = "reread"
    ADOPT = "adopt"
    CONFIRM = "confirm"
    REAUTH = "reauth"
    LOCKED = "locked"
    FIX_APP = "fix_app"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known when a renewal was refused.

    Args:
        tries: Renewals of this version refused so far in a row, this one included.
        reread: Whether the store was read after the refusal.
        newer: Whether that reading found a newer version than the one that was shown.
        confirmed: Whether the refusal was asked for a second time after ``confirm_s``.
    """

    tries: int
    reread: bool = False
    newer: bool = False
    confirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do, and after how many seconds.

    Args:
        suspect_reuse: A one-time token was refused although nobody of ours had used it: it may have been stolen.
        alert: Whether people hear of it at once.
    """

    act: RenewalAct
    wait_s: float = 0.0
    suspect_reuse: bool = False
    alert: bool = False


def after_fault(rules: RefreshRules, fault: Fault, now: Situation, *, seed: bytes) -> Decision:
    """Decide what a refused renewal leads to.

    An answer that was lost is not a refusal: :mod:`byokeep.core.landing` decides that.

    Args:
        seed: Makes the jitter of a wait.
    """
    if fault.cause in (FaultCause.TRANSIENT, FaultCause.UNKNOWN, FaultCause.RATE_LIMITED, FaultCause.TOO_EARLY):
        return Decision(act=RenewalAct.RETRY, wait_s=_wait(rules, fault, now.tries, seed))
    if fault.cause is FaultCause.APP:
        return Decision(act=RenewalAct.FIX_APP, wait_s=float(LONGEST_WAIT_S), alert=True)
    if fault.cause is FaultCause.LOCKOUT:
        return Decision(act=RenewalAct.LOCKED, alert=True)
    if not now.reread:
        return Decision(act=RenewalAct.REREAD)
    if now.newer:
        return Decision(act=RenewalAct.ADOPT)
    if rules.confirm_s and not now.confirmed:
        return Decision(act=RenewalAct.CONFIRM, wait_s=float(rules.confirm_s))
    stolen = rules.model in ROTATING and fault.cause is FaultCause.REVOKED
    return Decision(act=RenewalAct.REAUTH, suspect_reuse=stolen, alert=True)


def _wait(rules: RefreshRules, fault: Fault, tries: int, seed: bytes) -> float:
    jitter = 0.75 + 0.5 * _fraction(seed + tries.to_bytes(8, "big"))
    own = min(FIRST_WAIT_S * 2.0 ** min(max(tries, 1) - 1, 12), float(LONGEST_WAIT_S)) * jitter
    if fault.cause is FaultCause.TOO_EARLY:
        own = max(own, min(float(rules.min_age_s), float(LONGEST_ASKED_S)))
    asked = fault.retry_after_s
    return own if asked is None else max(own, min(max(asked, 0.0), float(LONGEST_ASKED_S)))


def _fraction(seed: bytes) -> float:
    return int.from_bytes(hashlib.sha256(seed).digest()[:8], "big") / 2**64
