"""When a token is due for renewal, what a refusal leads to, and the journal of one renewal.

The journal goes ``started -> sent -> landed -> placed``. A reply that may hold tokens is landed (sealed on disk) before
anything reads it. The store's compare-and-set then decides whose tokens become the next version.

Rules
- A token is due late in the life that the reply gave it, with a jitter that a seed decides: never by a constant, never
  all at once, never because somebody looked. If no reply gave a life, it is unknown and renewal is tried daily.
- There is a pause between two renewals, whatever life a reply gave, so a platform that gives a wrong one causes no
  storm.
- A refusal is final only after the store has been read again, because a sibling may have renewed. There is one more
  try, no storm.
- An outage changes only the time of the next try. A stored token is never given up because of one.
- ``next_step(journal, event)`` is the whole machine. After a lost answer a one-time token is shown once more to a
  strict platform, and again within the grace to a graceful one. A refresh token that stays the same may always be shown
  again.
- A chain that may no longer hold ends ``broken`` and is reported. No path ends in silence.
- A newer version in the store wins over anything here. A version older than the journal's base means that the store was
  rolled back, and stops everything.

It may not know the time, roll dice, write, send or wait: the caller passes in time and seed, and it returns what to do.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from byokeep.core.fault import Fault, FaultCause
from byokeep.core.tokens import TokenSet

MIN_MARGIN_S: Final = 300  # before the end of a token
LEAST_PAUSE_S: Final = 60  # between two renewals; a shorter life cannot be served, and must cause no storm
_SHORTEST_PAUSE_S: Final = 5
UNKNOWN_LIFE_S: Final = 86_400  # between tries if no reply has said how long a token lives
FIRST_WAIT_S: Final = 30
LONGEST_WAIT_S: Final = 3_600
LONGEST_ASKED_S: Final = 86_400  # longest wait that a platform may ask for


class TokenModel(StrEnum):
    """How a platform keeps a grant alive.

    ``rotating_strict``: each renewal gives a new refresh token; the old one dies at once. ``rotating_grace``: the old
    one may be shown again for some seconds. ``fixed``: the refresh token stays the same. ``extend``: the access token
    renews itself. ``exchange``: a live access token is exchanged for a later one. ``none``: no renewal.
    """

    ROTATING_STRICT = "rotating_strict"
    ROTATING_GRACE = "rotating_grace"
    FIXED = "fixed"
    EXTEND = "extend"
    EXCHANGE = "exchange"
    NONE = "none"


ROTATING: Final = frozenset({TokenModel.ROTATING_STRICT, TokenModel.ROTATING_GRACE})
# The access token itself is what renews: once it has expired, only a person can help.
SELF_RENEWING: Final = frozenset({TokenModel.EXTEND, TokenModel.EXCHANGE})


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshRules:
    """A platform's rules for renewal.

    Args:
        due_from, due_to: Shares of the token's life, in percent, between which it is renewed.
        grace_s: Seconds for which a spent refresh token may be shown again (only ``rotating_grace``).
        min_age_s: Age in seconds before which a token cannot be renewed.
        confirm_s: Seconds to wait before asking once more, when a refusal says that the grant is revoked; 0 = believe
            the first.
        alarm_days: How many days before the end of the grant people are told.

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
    """Return when to renew; None if it cannot be renewed.

    Args:
        seed: Decides the jitter; the same seed gives the same time.
    """
    if not renewable(rules, tokens):
        return None
    share = rules.due_from + (rules.due_to - rules.due_from) * _fraction(seed)
    end = tokens.access_expires_at
    life_s = (end - tokens.obtained_at).total_seconds() if end is not None else float(UNKNOWN_LIFE_S)
    after_s = life_s * share / 100
    if end is not None:
        # Renew five minutes before the end, or at half of a life too short for that, if the share falls later.
        after_s = min(after_s, max(life_s - MIN_MARGIN_S, life_s / 2))
    due = tokens.obtained_at + timedelta(seconds=max(after_s, rules.min_age_s))
    if tokens.refresh_expires_at is not None:
        due = min(due, tokens.refresh_expires_at - timedelta(seconds=MIN_MARGIN_S))
    return max(due, tokens.obtained_at + timedelta(seconds=_pause_s(tokens)))


def _pause_s(tokens: TokenSet) -> float:
    """Return the pause before the next renewal, in seconds; shorter if a refresh token would not outlive it."""
    if tokens.refresh_expires_at is None:
        return LEAST_PAUSE_S
    half = (tokens.refresh_expires_at - tokens.obtained_at).total_seconds() / 2
    return min(max(half, _SHORTEST_PAUSE_S), LEAST_PAUSE_S)


def too_short(tokens: TokenSet) -> bool:
    """Whether a token ends before it may be renewed, so that jobs find it expired again and again."""
    end = tokens.access_expires_at
    return end is not None and (end - tokens.obtained_at).total_seconds() <= LEAST_PAUSE_S


def reauth_at(rules: RefreshRules, tokens: TokenSet) -> datetime | None:
    """Return when the grant ends unless a person logs in again or, for some models, a renewal succeeds first.

    None = no reply has given an end.
    """
    by_access = rules.model in SELF_RENEWING or not renewable(rules, tokens)
    ends = (tokens.access_expires_at if by_access else tokens.refresh_expires_at, tokens.consent_expires_at)
    return min((end for end in ends if end is not None), default=None)


def alarm_at(rules: RefreshRules, tokens: TokenSet) -> datetime | None:
    """Return when people must be told that the grant is about to end; None if no end is known."""
    end = reauth_at(rules, tokens)
    return None if end is None else max(end - timedelta(days=rules.alarm_days), tokens.obtained_at)


class RenewalAct(StrEnum):
    """What to do after a refusal.

    ``retry``: wait and try again, state unchanged. ``reread``: read the store again; a sibling may have renewed.
    ``adopt``: use the sibling's tokens. ``confirm``: wait, then ask once more. ``reauth``: a person must log in again;
    close the platform for this client, raise an alert. ``locked``: like ``reauth``, but the person must act at the
    platform first. ``fix_app``: our app is refused; alert the operators, state unchanged, retry slowly.
    """

    RETRY = "retry"
    REREAD = "reread"
    ADOPT = "adopt"
    CONFIRM = "confirm"
    REAUTH = "reauth"
    LOCKED = "locked"
    FIX_APP = "fix_app"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do, and after how many seconds.

    Args:
        suspect_reuse: A one-time token was refused although none of our processes had used it: it may be stolen.
        alert: Whether people are told at once.
    """

    act: RenewalAct
    wait_s: float = 0.0
    suspect_reuse: bool = False
    alert: bool = False


def after_fault(
    rules: RefreshRules, fault: Fault, *, tries: int, reread: bool = False, newer: bool = False,
    confirmed: bool = False, seed: bytes,
) -> Decision:  # fmt: skip
    """Decide what to do after a refused renewal.

    A lost answer is not a refusal: :func:`next_step` decides on those.

    Args:
        tries: How many renewals of this version were refused in a row, including this one.
        reread: Whether the store was read after the refusal.
        newer: Whether it then had a newer version than the one that was shown.
        confirmed: Whether this is the second refusal, asked for after ``confirm_s``.
        seed: Decides the jitter of a wait.
    """
    if fault.cause in (FaultCause.TRANSIENT, FaultCause.UNKNOWN, FaultCause.RATE_LIMITED, FaultCause.TOO_EARLY):
        return Decision(act=RenewalAct.RETRY, wait_s=_wait(rules, fault, tries, seed))
    if fault.cause is FaultCause.APP:
        return Decision(act=RenewalAct.FIX_APP, wait_s=float(LONGEST_WAIT_S), alert=True)
    if fault.cause is FaultCause.LOCKOUT:
        return Decision(act=RenewalAct.LOCKED, alert=True)
    if not reread:
        return Decision(act=RenewalAct.REREAD)
    if newer:
        return Decision(act=RenewalAct.ADOPT)
    if rules.confirm_s and not confirmed:
        return Decision(act=RenewalAct.CONFIRM, wait_s=float(rules.confirm_s))
    if fault.cause is FaultCause.LOCK_UNKNOWN:  # known only by its words, maybe of a token already renewed
        return Decision(act=RenewalAct.LOCKED, alert=True)
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


class Phase(StrEnum):
    """How far a renewal has come. ``placed``, ``closed`` and ``broken`` are final."""

    STARTED = "started"
    SENT = "sent"
    LANDED = "landed"
    PLACED = "placed"
    CLOSED = "closed"
    BROKEN = "broken"


ENDS: Final = frozenset({Phase.PLACED, Phase.CLOSED, Phase.BROKEN})


class Do(StrEnum):
    """What the owner of the renewal does next.

    ``mark``: give the machine :class:`Sent` and write what it returns. ``send``: send the request now. ``place``: read
    the landed reply and write it as the next version, if the store's newest is still the journal's base. ``adopt``: use
    the store's newest version. ``decide``: ask :func:`~byokeep.core.refresh.after_fault`. ``report_broken``: close the
    platform for the client, alert, ask for a new login. ``halt``: the store is older than the journal; make no call at
    all. ``finish``: nothing left to do.
    """

    MARK = "mark"
    SEND = "send"
    PLACE = "place"
    ADOPT = "adopt"
    DECIDE = "decide"
    REPORT_BROKEN = "report_broken"
    HALT = "halt"
    FINISH = "finish"


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """One renewal.

    Args:
        base: Store version of the token set that is being renewed.
        lost: How many requests had an answer that never came or could not be read.
        sent_at: When the first request whose answer may be lost was marked, UTC.
    """

    base: int
    phase: Phase = Phase.STARTED
    lost: int = 0
    sent_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.base < 1 or self.lost < 0 or (self.phase is Phase.SENT and self.sent_at is None):
            raise ValueError("not a journal")


class Sent(NamedTuple):
    """The *sent* mark is being written; the request leaves once it is durable."""

    at: datetime


class Landed(NamedTuple):
    """A reply that may hold tokens is in the landing place."""


class UnreadableResponse(NamedTuple):
    """The landed reply holds no usable tokens, and the landing place was cleared."""

    at: datetime


class RefusedResponse(NamedTuple):
    """The call gave a fault instead of a reply."""

    fault: Fault
    at: datetime


class GaveUp(NamedTuple):
    """The owner ended this renewal: a person must log in again, and has been told."""


class PlacedResponse(NamedTuple):
    """The compare-and-set was done. ``won`` is False if another version was there first."""

    won: bool


class Resumed(NamedTuple):
    """The journal is taken up again: by the same process later, or by the next one after a crash.

    Args:
        newest: The newest version of the token set in the store.
        landed: Whether the landing place holds a reply to this journal.
    """

    newest: int
    landed: bool
    at: datetime


LandingEvent = Sent | Landed | UnreadableResponse | RefusedResponse | GaveUp | PlacedResponse | Resumed


class LandingStep(NamedTuple):
    """The journal to write now, and what to do after that."""

    journal: Journal
    do: Do


def next_step(rules: RefreshRules, journal: Journal, event: LandingEvent) -> LandingStep:
    """Return the journal after an event, and what to do.

    Raises:
        ValueError: An event that cannot happen in this phase.
    """
    if isinstance(event, Resumed):
        return _resumed(rules, journal, event)
    if journal.phase in ENDS:
        raise ValueError("the renewal has ended")
    if isinstance(event, Sent) and journal.phase is Phase.STARTED:
        # After a lost answer the grace runs from the first request, which may have spent the token.
        at = journal.sent_at if journal.lost else event.at
        return LandingStep(replace(journal, phase=Phase.SENT, sent_at=at), Do.SEND)
    if isinstance(event, Landed) and journal.phase is Phase.SENT:
        return LandingStep(replace(journal, phase=Phase.LANDED), Do.PLACE)
    if isinstance(event, RefusedResponse) and journal.phase in (Phase.SENT, Phase.LANDED):
        return _refused(rules, journal, event)
    if isinstance(event, GaveUp) and journal.phase is Phase.STARTED:
        return LandingStep(replace(journal, phase=Phase.CLOSED), Do.FINISH)
    if isinstance(event, UnreadableResponse) and journal.phase is Phase.LANDED:
        return _lost(rules, journal, event.at)
    if isinstance(event, PlacedResponse) and journal.phase is Phase.LANDED:
        won = event.won
        return LandingStep(
            replace(journal, phase=Phase.PLACED if won else Phase.CLOSED), Do.FINISH if won else Do.ADOPT
        )
    raise ValueError(f"{type(event).__name__} does not follow {journal.phase}")


def _resumed(rules: RefreshRules, journal: Journal, event: Resumed) -> LandingStep:
    if event.newest < journal.base:
        return LandingStep(journal, Do.HALT)
    if journal.phase is Phase.BROKEN and event.newest == journal.base:
        # The report may not have gone out before the crash. Two reports are better than none.
        return LandingStep(journal, Do.REPORT_BROKEN)
    if event.newest > journal.base:
        # Ours or a sibling's: what the store has counts. A landed reply is no longer of use.
        return LandingStep(replace(journal, phase=Phase.CLOSED), Do.ADOPT)
    if journal.phase in ENDS:
        # If it was placed, the store has lost that version.
        return LandingStep(journal, Do.HALT if journal.phase is Phase.PLACED else Do.FINISH)
    if event.landed:
        return LandingStep(replace(journal, phase=Phase.LANDED), Do.PLACE)
    if journal.phase is Phase.STARTED:
        return LandingStep(journal, Do.MARK)
    return _lost(rules, journal, event.at)


def _refused(rules: RefreshRules, journal: Journal, event: RefusedResponse) -> LandingStep:
    fault = event.fault
    if not fault.sent:
        return LandingStep(_again(journal, lost=journal.lost), Do.DECIDE)
    if fault.lost:
        return _lost(rules, journal, event.at)
    if fault.cause in (FaultCause.REVOKED, FaultCause.EXPIRED) and journal.lost and rules.model in ROTATING:
        # The lost answer held the new token: the platform shows that by refusing the old one.
        return LandingStep(replace(journal, phase=Phase.BROKEN), Do.REPORT_BROKEN)
    return LandingStep(_again(journal, lost=journal.lost), Do.DECIDE)


def _lost(rules: RefreshRules, journal: Journal, at: datetime) -> LandingStep:
    """Handle an answer that is lost for good: show the token again if the model allows that, or give up the chain."""
    lost = journal.lost + 1
    if rules.model not in ROTATING:
        # The same token can be shown again. After the first loss the caller's own rules for retries apply.
        return LandingStep(_again(journal, lost=lost), Do.MARK if lost == 1 else Do.DECIDE)
    in_grace = (
        rules.model is TokenModel.ROTATING_GRACE
        and journal.sent_at is not None
        and timedelta(0) <= at - journal.sent_at < timedelta(seconds=rules.grace_s)
    )
    if lost == 1 or in_grace:
        return LandingStep(_again(journal, lost=lost), Do.MARK)
    return LandingStep(replace(journal, phase=Phase.BROKEN, lost=lost), Do.REPORT_BROKEN)


def _again(journal: Journal, *, lost: int) -> Journal:
    return replace(journal, phase=Phase.STARTED, lost=lost)
