"""The journal of one renewal: what was done before a crash, and what may be done after it.

``started -> sent -> landed -> placed``. A reply that may hold tokens is written to its landing place before anything
reads it; the store's compare-and-set then decides whose tokens become the next version.

Rules
- ``next_step(journal, event)`` is the whole machine. After a lost answer a one-time token is shown once more
  with a strict platform, within the grace with a graceful one, and freely where the refresh token stays.
- A chain that can no longer be known to hold ends ``broken`` and is reported. No path ends in silence.
- A newer version in the store wins over anything here; an older one than the journal began with means that the store
  was rolled back, and stops everything.

It may not write, send or wait: it returns what to do. A journal begins as ``Journal(base=version)`` with ``mark``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from byokeep.core.fault import Fault, FaultCause
from byokeep.core.refresh import ROTATING, RefreshRules, TokenModel


class Phase(StrEnum):
    """How far a renewal is. ``placed``, ``closed`` and ``broken`` are ends."""

    STARTED = "started"
    SENT = "sent"
    LANDED = "landed"
    PLACED = "placed"
    CLOSED = "closed"
    BROKEN = "broken"


ENDS: Final = frozenset({Phase.PLACED, Phase.CLOSED, Phase.BROKEN})


class Do(StrEnum):
    """What the owner of the renewal does next.

    ``mark``: tell the machine :class:`Sent`, write what it returns. ``send``: the request leaves now. ``place``: read
    the landed reply and write it as the next version, if the store's newest is still the journal's base. ``adopt``:
    point at the store's newest version. ``decide``: ask :func:`~byokeep.core.refresh.after_fault`. ``report_broken``:
    close the platform for the client, alert, ask for a new login. ``halt``: the store is older than the journal; no
    call at all. ``finish``: nothing left to do.
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
        lost: Sendings whose answer never came or could not be read.
        sent_at: When the first sending was marked whose answer may be lost, UTC.
    """

    base: int
    phase: Phase = Phase.STARTED
    lost: int = 0
    sent_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.base < 1 or self.lost < 0 or (self.phase is Phase.SENT and self.sent_at is None):
            raise ValueError("not a journal")


@dataclass(frozen=True, slots=True)
class Sent:
    """The *sent* mark is being written; the request leaves once it is durable."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Landed:
    """A reply that may hold tokens lies in the landing place."""


@dataclass(frozen=True, slots=True)
class UnreadableResponse:
    """The landed reply holds no tokens that can be used, and the landing place was cleared."""

    at: datetime


@dataclass(frozen=True, slots=True)
class RefusedResponse:
    """The call gave a fault instead of a reply."""

    fault: Fault
    at: datetime


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The owner decided that this renewal ends: a person must log in again, and has been told."""


@dataclass(frozen=True, slots=True)
class PlacedResponse:
    """The compare-and-set was done. ``won`` is False when another version was there first."""

    won: bool


@dataclass(frozen=True, slots=True)
class Resumed:
    """Somebody takes the journal up: the same process later, or the next one after a crash.

    Args:
        newest: Newest version of the token set in the store.
        landed: Whether the landing place holds a reply to this journal.
    """

    newest: int
    landed: bool
    at: datetime


Event = Sent | Landed | UnreadableResponse | RefusedResponse | GaveUp | PlacedResponse | Resumed


@dataclass(frozen=True, slots=True)
class LandingStep:
    """The journal as it must now be written, and what to do after that."""

    journal: Journal
    do: Do


def next_step(rules: RefreshRules, journal: Journal, event: Event) -> LandingStep:
    """Return the journal after an event and what to do.

    Raises:
        ValueError: An event that can not happen in this phase.
    """
    if isinstance(event, Resumed):
        return _resumed(rules, journal, event)
    if journal.phase in ENDS:
        raise ValueError("the renewal has ended")
    if isinstance(event, Sent) and journal.phase is Phase.STARTED:
        # After a lost answer the grace runs from the first sending: that is the one that may have spent the token.
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
        # The report may not have gone out before the crash; hearing twice is better than not at all.
        return LandingStep(journal, Do.REPORT_BROKEN)
    if event.newest > journal.base:
        # Ours or a sibling's: what the store took is what counts. A landed reply is of no more use.
        return LandingStep(replace(journal, phase=Phase.CLOSED), Do.ADOPT)
    if journal.phase in ENDS:
        # A placed version that the store does not have.
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
        # The answer that was lost had the new token: the platform says so by refusing the old one.
        return LandingStep(replace(journal, phase=Phase.BROKEN), Do.REPORT_BROKEN)
    return LandingStep(_again(journal, lost=journal.lost), Do.DECIDE)


def _lost(rules: RefreshRules, journal: Journal, at: datetime) -> LandingStep:
    """An answer is lost for good. Show the token again if the model lets us, or give the chain up."""
    lost = journal.lost + 1
    if rules.model not in ROTATING:
        # The same token serves again; a pause belongs to the caller's own rules of retrying.
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
