"""How far the store's log was explained: in memory while the broker runs, on record across its starts.

Rules
- A running broker goes on where it was itself, also after runs that failed. What a record claims is taken over by a
  start alone.
- It knows its own records by their hashes, before they are committed; any other is the alert ``reconciled_by_another``.
- At a start each record must begin where the one before it ended. One that begins behind that end is passed over; one
  that begins before it takes back what lies behind its own end. Either is the same alert, once.

It may not judge what was explained: that is :mod:`byokeep.reconciliation.reconcile`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from byokeep.kernel.alarm import raise_alert
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.rows import Row

LOOK_BACK: Final = 1_000  # records that a start reads: a few hours of rounds
ANOTHER: Final = "reconciled_by_another"


@dataclass(frozen=True, slots=True)
class _RunRecord:
    """A record of the broker's that says that a span was explained, or, without times, that one was not."""

    seq: int
    hash_hex: str
    at: datetime
    since: datetime | None
    until: datetime | None
    malformed: bool


@dataclass(frozen=True, slots=True)
class _Begin:
    """Where the first run began, and the last record that told of somebody else's."""

    until: datetime
    told_seq: int


def _run(row: Row) -> _RunRecord:
    since, until = _time(row["since"]), _time(row["until"])
    without = row["since"] is None and row["until"] is None
    sound = since is not None and until is not None and since <= until <= row["at"]
    return _RunRecord(row["seq"], row["hash_hex"], row["at"], since, until, malformed=not (without or sound))


def _time(text: str | None) -> datetime | None:
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return at if at.tzinfo else None


async def resume(app: BrokerApp) -> datetime:
    """Return the end of the broker's last complete run, as on record; before the first, when it was installed.

    Raises:
        Unavailable: The database.
    """
    return (await _on_record(app))[0]


class Reconciled:
    """How far one broker process has reconciled."""

    def __init__(self) -> None:
        self._until: datetime | None = None
        self._seq = 0  # of the last record that was looked at
        self._own: dict[str, datetime | None] = {}  # hashes of our records that were not looked at yet -> what they end

    async def look(self, app: BrokerApp) -> datetime:
        """Return where the next run begins, and tell of records that somebody else wrote.

        Raises:
            Unavailable: The database.
        """
        if self._until is None:
            until, runs, others = await _on_record(app)
        else:
            runs = await _runs(app, self._seq)
            ends = [end for run in runs if (end := self._own.get(run.hash_hex)) is not None]
            until, others = max([self._until, *ends]), any(run.hash_hex not in self._own for run in runs)
        if others:
            await raise_alert(app, reason=ANOTHER, key="audit/reconciled", severity="critical")
        self._until = until
        for run in runs:
            self._seq = max(self._seq, run.seq)
            self._own.pop(run.hash_hex, None)
        return until

    def say(self, hash_hex: str, until: datetime | None) -> None:
        """Know a record as our own; said before it is committed, for the answer to a commit can be lost."""
        self._own[hash_hex] = until

    def done(self, until: datetime) -> None:
        """Go on behind a part that is on record."""
        self._until = until


async def _runs(app: BrokerApp, after: int) -> list[_RunRecord]:
    asked = {"installation_id": app.installation_id, "after": after, "limit": LOOK_BACK}
    return await app.db.read(_run, "audit_reconciled_runs", asked, every_client=True)


async def _on_record(app: BrokerApp) -> tuple[datetime, list[_RunRecord], bool]:
    """The end without a seam, what was read, and whether a seam was found that nobody was told of."""
    asked = {"installation_id": app.installation_id}
    [begin] = await app.db.read(_Begin, "audit_reconciled_begin", asked, every_client=True)
    runs = await _runs(app, 0)
    until, seam = _joined(begin.until, runs, whole=len(runs) < LOOK_BACK)
    return until, runs, seam > begin.told_seq


def _joined(begin: datetime, runs: Sequence[_RunRecord], *, whole: bool) -> tuple[datetime, int]:
    """The end of the runs that follow each other, and the number of the last record that follows nothing."""
    until, first, seam = begin, True, 0
    for run in sorted(runs, key=lambda run: run.seq):
        if run.malformed:
            seam = run.seq
        elif run.since is None or run.until is None:
            continue
        elif (first and (not whole or run.since <= begin)) or run.since == until:
            until, first = run.until, False
        else:
            until, seam = (min(until, run.until) if run.since < until else until), run.seq
    return until, seam
