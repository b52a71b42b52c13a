"""The audit log kept honest: signed each minute, verified as a whole, rebased by two people, its clocks watched
(runbook 8.2).

Rules
- Only what continues the published log is signed. The published log is kept where the database cannot write, so a
  restored, forked or edited database is refused, and people are notified (S-TLOG-3).
- A record is hashed again before a checkpoint covers it. A head alone is never trusted.
- The epoch is committed before it is signed, so that one number never gets two signatures. If there is a crash in
  between, the next run finishes it.
- A rebase forgets nothing: the epochs that do not fit stay in place, signed. One more epoch says that it continues none
  of them, and names every current head and the reason (ADR 0036). Only the approval that releases the global switch can
  make it.
- Verification covers every epoch's signature, every record's hash and every published head. Columns must match the
  payload. A payload that is not one of ours is named and counted, and does not hide the others. Checking nothing is not
  a pass. The result is recorded either way (R1.4-4).
- The wall clock is compared with a clock that cannot be set, and the database's clock with ours. A difference only
  raises an alert: a jump prolongs nothing that was handed out (S-OWASP-2).

It may not read a value, change a record, or repair a chain that is broken in itself: then restore the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from byokeep.core.audit import ChainHead, Facts, Record, empty, read_payload, verify_log
from byokeep.core.checkpoint import (
    LogState,
    NoteKey,
    PublicKeys,
    SignedEpoch,
    heads_data,
    inconsistent,
    open_checkpoint,
    parse_heads,
    parse_leaf,
    replay,
    write_note,
)
from byokeep.core.errors import Conflict, Integrity, Unavailable
from byokeep.core.events import EventName, Outcome
from byokeep.core.model import Actor
from byokeep.core.policy import Verb, authorise_every_client
from byokeep.kernel.app import App, BrokerApp
from byokeep.kernel.command import raise_alert, record, unblocked
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row, Shape, reader

T = TypeVar("T")
BATCH: Final = 1_000  # records at a time: hashing them keeps the process from other work for about 10 ms
EPOCHS: Final = 500  # at a time: replaying them takes some 150 ms, in a thread
OVERDUE_S: Final = 180.0  # three missed heartbeats
PURPOSE: Final = "checkpoints"
_RUNNING: Final = "Wait for its end, then look at its record: `byokeep audit list --event audit.verified`."


@dataclass(frozen=True, slots=True)
class StoredEpoch:
    """An epoch as the database has it."""

    number: int
    leaf: bytes
    heads: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A checkpoint that was published: how many epochs and chains it covers, and the note."""

    size: int
    chains: int
    root_hex: str
    note: bytes


def origin(app: App) -> str:
    """Return the name of this installation's log."""
    return f"byokeep/{app.installation_id}"


async def note_keys(app: BrokerApp) -> list[NoteKey]:
    """Return the log's public keys, all versions (S-TLOG-8)."""
    return [NoteKey(origin(app), public) for public in (await app.signer.public_keys(PURPOSE)).values()]


async def checkpoint(app: BrokerApp, actor: Actor | None = None) -> Signed:
    """Commit to all chains as they stand now, sign and publish. Run each minute, also when nothing happened.

    Raises:
        Denied: Not the actor's to run.
        Integrity: ``checkpoint_inconsistent`` or ``audit_chain_broken``; nothing was signed, an alert is open.
        Unavailable: Signer, database or checkpoint directory; the next run goes on from there.
    """
    by = actor or app.system()
    authorise_every_client(by, Verb.AUDIT_RUN)
    try:
        while True:
            signed, caught_up = await _next_epoch(app, by)
            if caught_up:
                return signed
    except Integrity as error:
        await raise_alert(app, reason="checkpoint_refused", key="audit/checkpoint", severity="critical")
        raise error from None


async def _next_epoch(app: BrokerApp, actor: Actor) -> tuple[Signed, bool]:
    """Publish one epoch: the one a crash left unsigned, else a new one."""
    await app.checkpoints.latest()  # a start reads all of the log, for longer than a transaction may last
    async with unblocked(app) as tx:
        await tx.one(None, "audit_epoch_lock")
        state = await published(app)
        pending = await compare(tx, state)
        moved = parse_heads(pending.heads) if pending else await _moved(tx, state)
        async for _ in segments(tx, state.heads, moved):  # each record is hashed again
            pass
        if pending:
            leaf = pending.leaf
        else:
            # A clock that ran back does not stop the log.
            leaf = state.next_leaf(moved, at_us=max(microseconds(app.clock.now()), state.at_us)).data()
        after = state.advance(leaf, moved)
        if not pending:
            await tx.one(int, "audit_epoch_insert", number=state.size, leaf=leaf, heads=heads_data(moved))
            await _say(tx, actor, after)
    if not pending:
        app.platform_chain.proved(app.clock.monotonic())
    return await sign_epoch(app, state, SignedEpoch(leaf, heads_data(moved), b"")), pending is None


async def published(app: BrokerApp) -> LogState:
    """Return the state kept outside. Raises Integrity when its newest note is not ours or says something else."""
    state, note = await app.checkpoints.latest()
    if note and open_checkpoint(note, await note_keys(app), origin=origin(app)) != state.checkpoint(origin(app)):
        raise inconsistent("note", epoch=state.size)
    return state


def microseconds(at: datetime) -> int:
    """Return Unix time in microseconds, exactly."""
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


async def _say(tx: Tx, actor: Actor, after: LogState, **why: str) -> None:
    """Record what is committed to: the root is signed afterwards, hence *intended*."""
    await record(
        tx, actor, EventName.CHECKPOINT_SIGNED, why, outcome=Outcome.INTENDED, epoch=after.size - 1, size=after.size,
        count=len(after.heads), root=after.edge.root().hex(),
    )  # fmt: skip


async def compare(tx: Tx, state: LogState) -> StoredEpoch | None:
    """Hold the database against what was published. Returns the one epoch that may be waiting for its signature."""
    stored = await tx.all(StoredEpoch, "audit_epochs_from", number=max(state.size - 1, 0), limit=3)
    if state.size:
        _must_begin(stored, state.size - 1, state.leaf)
        stored = stored[1:]
    await must_hold(tx, state.heads.values())
    if not stored:
        return None
    if len(stored) > 1 or stored[0].number != state.size:
        raise inconsistent("published_epochs_lost", epoch=state.size)
    return stored[0]


def _must_begin(stored: list[StoredEpoch], number: int, leaf: bytes) -> None:
    """Refuse a database whose epoch is not the one that was published under this number."""
    if not stored or stored[0].number != number:
        raise inconsistent("database_rolled_back", epoch=number)
    if stored[0].leaf != leaf:
        raise inconsistent("epoch_differs", epoch=number)


async def must_hold(tx: Tx, heads: Iterable[ChainHead]) -> None:
    """Refuse a database that no longer has a record it once had, or has another in its place."""
    known = {head.chain: head for head in heads}
    if not known:
        return
    found = await tx.all(ChainHead, "audit_at", chains=list(known), seqs=[head.seq for head in known.values()])
    there = {head.chain: head for head in found}
    for chain, head in known.items():
        if there.get(chain) != head:
            reason = "records_differ" if chain in there else "records_lost"
            raise inconsistent(reason, chain=chain, seq=head.seq)


async def _moved(tx: Tx, state: LogState) -> list[ChainHead]:
    heads = await tx.all(ChainHead, "audit_heads")
    missing = set(state.heads) - {head.chain for head in heads}
    if missing:
        raise inconsistent("chain_lost", chain=min(missing))
    return [head for head in heads if state.heads.get(head.chain) != head]


async def segments(tx: Tx, starts: Mapping[UUID, ChainHead], ends: Iterable[ChainHead]) -> AsyncIterator[list[Record]]:
    """Yield the records between two sets of heads, verified, in batches.

    Raises:
        Integrity: ``audit_chain_broken``; also when the last record is not the head that was asked for.
    """
    goals = {head.chain: head for head in ends}
    at = {chain: starts.get(chain) or empty(chain) for chain in goals}
    for chain, head in goals.items():
        if head.seq < at[chain].seq:
            raise inconsistent("chain_went_back", chain=chain, seq=head.seq)
    while any(at[chain].seq < head.seq for chain, head in goals.items()):
        records = await records_after(tx, at, goals, Record)
        at = verify_log(records, starts=at)
        yield records
        if len(records) < BATCH:
            break
    verify_log((), starts=at, through={c: {head.seq: head.hash} for c, head in goals.items() if at[c] != head})


async def records_after(
    tx: Tx, at: Mapping[UUID, ChainHead], goals: Mapping[UUID, ChainHead], shape: Shape[T]
) -> list[T]:
    """Return the next records between two sets of heads as they are stored, not yet verified; fewer: the last.

    No chain has gaps, so what is asked for is exactly one batch: the database sorts nothing that it does not return.
    """
    room, spans = BATCH, list[tuple[UUID, int, int]]()
    for chain, head in goals.items():
        after = at[chain].seq
        if room and after < head.seq:
            upto = min(head.seq, after + room)
            spans.append((chain, after, upto))
            room -= upto - after
    chains, afters, uptos = zip(*spans, strict=True)
    return await tx.all(shape, "audit_segments", chains=list(chains), after=list(afters), upto=list(uptos))


async def sign_epoch(app: BrokerApp, state: LogState, epoch: SignedEpoch) -> Signed:
    """Sign what is committed to the database and publish it."""
    keys = await app.signer.public_keys(PURPOSE)
    after = state.advance(epoch.leaf, parse_heads(epoch.heads))
    text = after.checkpoint(origin(app)).text()
    signature, key_id = await app.signer.sign(PURPOSE, text.encode())
    note = write_note(text, [(NoteKey(origin(app), keys[key_id]), signature)])
    signed = epoch._replace(note=note)
    replay(state, signed, origin=origin(app), keys=await note_keys(app))
    try:
        await app.checkpoints.publish(signed)
    except Integrity:
        newest, _ = await app.checkpoints.latest()
        if newest.size <= state.size or (newest.size == after.size and newest.leaf != epoch.leaf):
            raise
        # Another process of ours finished this very epoch first.
    return Signed(size=after.size, chains=len(after.heads), root_hex=after.edge.root().hex(), note=note)


OVERDUE_KEY: Final = "state/checkpoint"


async def check_heartbeat(app: App) -> float | None:
    """Return the age of the newest epoch in seconds; an overdue or missing one raises an alert (S-TLOG-10)."""
    async with app.db.begin(every_client=True) as tx:
        age = await tx.one(lambda row: row["age_s"], "audit_epoch_age")
    if age is None or age > OVERDUE_S:
        await raise_alert(app, reason="checkpoint_overdue", key=OVERDUE_KEY, severity="critical")
    return None if age is None else float(age)


async def public_keys(app: BrokerApp) -> PublicKeys:
    """Return what a stranger needs to check checkpoints, proofs and evidence of this installation."""
    return PublicKeys(log=tuple(await note_keys(app)), evidence=await app.signer.public_keys("evidence"))


REASON: Final = "checkpoint_mismatch"
KEY: Final = f"state/{REASON}"  # of the alert, which two people's rebase ends


async def look(app: BrokerApp) -> None:
    """Compare the database with the last epoch and the last records copied: two questions, whatever the log's length.

    Raises:
        Integrity: ``checkpoint_inconsistent``.
        Unavailable: Database or checkpoint directory.
    """
    epoch, tail = await app.checkpoints.newest()
    async with app.db.begin(every_client=True) as tx:
        if epoch is not None:
            number = parse_leaf(epoch.leaf).epoch
            stored = await tx.all(StoredEpoch, "audit_epochs_from", number=number, limit=1)
            _must_begin(stored, number, epoch.leaf)
        await must_hold(tx, tail)


async def rebase(app: BrokerApp, actor: Actor) -> bool:
    """Make the database as it stands the new base of the log, if it does not continue what was published.

    Returns:
        False when it does, and nothing was to be done.

    Raises:
        Integrity: What stands outside is broken in itself, or the database holds another log than this one.
        Unavailable: Signer, database or checkpoint directory; nothing was opened, and the next try goes on from there.
    """
    await app.checkpoints.latest()  # as above
    with suppress(Integrity):
        await app.checkpoints.copied_heads()
    while True:
        async with app.db.begin(every_client=True) as tx:
            await tx.one(None, "audit_epoch_lock")
            state = await published(app)
            if await _fits(app, tx, state):
                return False
            waiting = await tx.all(StoredEpoch, "audit_epochs_from", number=state.size, limit=1)
            if waiting:  # committed and not published: an epoch whose line was lost outside, or a rebase cut off
                epoch = SignedEpoch(waiting[0].leaf, waiting[0].heads, b"")
            else:
                await _give_back(app, tx, state)
                epoch = await _rebased(app, tx, state, actor)
        await sign_epoch(app, state, epoch)
        if parse_leaf(epoch.leaf).rebased:
            return True


async def _fits(app: BrokerApp, tx: Tx, state: LogState) -> bool:
    try:
        await compare(tx, state)
        await must_hold(tx, (await app.checkpoints.copied_heads()).values())
    except Integrity:
        return False
    return True


async def _give_back(app: BrokerApp, tx: Tx, state: LogState) -> None:
    """Put the epochs that were published and are lost back into the database, so that it knows of each number."""
    newest = await tx.one(int, "audit_epoch_newest")
    if newest + 1 == state.size:
        return
    number = 0
    async for epoch in app.checkpoints.epochs():
        if newest < number < state.size:
            await tx.one(int, "audit_epoch_insert", number=number, leaf=epoch.leaf, heads=epoch.heads)
        number += 1


async def _rebased(app: BrokerApp, tx: Tx, state: LogState, actor: Actor) -> SignedEpoch:
    heads = await tx.all(ChainHead, "audit_heads")
    leaf = state.next_leaf(heads, at_us=max(microseconds(app.clock.now()), state.at_us), rebased=REASON).data()
    after = state.advance(leaf, heads)
    epoch = SignedEpoch(leaf, heads_data(heads), b"")
    await tx.one(int, "audit_epoch_insert", number=state.size, leaf=leaf, heads=epoch.heads)
    await _say(tx, actor, after, reason=REASON)
    return epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """A record whose payload cannot be read, by its place in the log."""

    chain: UUID
    seq: int
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """What was checked and held. ``uncovered`` records are newer than the newest checkpoint.

    ``malformed`` records stand where they were written and say nothing that we would write: a finding. ``rebased`` is
    the last epoch that continued none before it, and since which records are held against epochs; 0 = since the first.
    """

    epochs: int
    chains: int
    records: int
    uncovered: int
    malformed: tuple[Malformed, ...] = ()
    rebased: int = 0


Points = dict[UUID, dict[int, bytes]]


async def verify(app: BrokerApp, actor: Actor, *, signs: bool = False) -> LogReport:
    """Verify everything, one at a time: some 30,000 records a second.

    Args:
        signs: Make a checkpoint first, so that it covers what is newest; one that is refused is a finding.

    Raises:
        Denied: Not the actor's to run.
        Conflict: ``verification_running``: another one reads the log now; what it finds is on record.
        Integrity: The first thing that does not hold, with chain and sequence number; an alert is open.
        Unavailable: ``nothing_published`` - there is no checkpoint yet; or a part could not be read.
    """
    authorise_every_client(actor, Verb.AUDIT_RUN)
    try:
        if signs:
            await checkpoint(app, actor)
        report = await _verify(app)
    except Integrity as error:
        await raise_alert(app, reason="audit_log_broken", key="audit/verify", severity="critical")
        await _record(app, actor, Outcome.FAILED, {"reason": error.code})
        raise error from None
    facts: dict[str, str | int] = {"size": report.epochs, "count": report.chains, "rows": report.records}
    if report.malformed:
        await raise_alert(app, reason="audit_record_malformed", key="audit/malformed", severity="critical")
        await _record(app, actor, Outcome.FAILED, {**facts, "reason": "audit_record_malformed"})
        return report
    await _record(app, actor, Outcome.OK, facts)
    return report


async def _record(app: BrokerApp, actor: Actor, outcome: Outcome, facts: Mapping[str, str | int]) -> None:
    async with app.db.begin(every_client=True) as tx:
        await record(tx, actor, EventName.AUDIT_VERIFIED, facts, outcome=outcome)


async def _verify(app: BrokerApp) -> LogReport:
    state, _ = await app.checkpoints.latest()  # before the heads: what is published later is not looked at
    if not state.size:
        raise Unavailable("nothing_published", next_step="Run `byokeep audit checkpoint` first.")
    async with app.db.begin(every_client=True) as tx:
        if not await tx.one(bool, "audit_verify_lock"):
            raise Conflict("verification_running", next_step=_RUNNING)
        heads = {head.chain: head for head in await tx.all(ChainHead, "audit_heads")}
        for chain, head in state.heads.items():
            if chain not in heads or heads[chain].seq < head.seq:
                raise inconsistent("records_lost", chain=chain, seq=head.seq)
        for chain, seq in await tx.all(lambda row: (UUID(str(row["chain"])), int(row["seq"])), "audit_beyond"):
            raise inconsistent("record_beyond_head", chain=chain, seq=seq)
        malformed: list[Malformed] = []
        at = {chain: empty(chain) for chain in heads}
        async for points in _published(app, tx, state):
            at = await _records(tx, at, points, malformed)
        at = await _records(tx, at, {chain: {head.seq: head.hash} for chain, head in heads.items()}, malformed)
        newest = await tx.one(int, "audit_epoch_newest")  # first: one more begins when this one is published
    now, _ = await app.checkpoints.latest()
    if newest > now.size:  # one may wait for its signature
        raise inconsistent("published_epochs_lost", epoch=now.size)
    records, covered = (sum(head.seq for head in some.values()) for some in (at, state.heads))
    return LogReport(
        epochs=state.size, chains=len(heads), records=records, uncovered=records - covered, malformed=tuple(malformed),
        rebased=state.base,
    )  # fmt: skip


async def _published(app: BrokerApp, tx: Tx, known: LogState) -> AsyncIterator[Points]:
    """Replay the epochs with their signatures, in step with the database's; yield the heads since the last rebase.

    Some epochs at a time, so that a long log takes no more memory than a short one.
    """
    replayed = partial(_replayed, base=known.base, origin=origin(app), keys=await note_keys(app))
    state, epochs = LogState(), app.checkpoints.epochs()
    while state.size < known.size:
        many = range(min(EPOCHS, known.size - state.size))
        batch = [epoch for _ in many if (epoch := await anext(epochs, None)) is not None]
        stored = await tx.all(StoredEpoch, "audit_epochs_from", number=state.size, limit=EPOCHS)
        state, points = await asyncio.to_thread(replayed, state, batch, stored)
        if len(batch) < len(many):
            break
        yield points
    if state != known:
        raise inconsistent("epochs_changed", epoch=state.size)


def _replayed(
    state: LogState, epochs: Sequence[SignedEpoch], stored: Sequence[StoredEpoch], *, base: int, origin: str,
    keys: Sequence[NoteKey],
) -> tuple[LogState, Points]:  # fmt: skip
    """Epochs before ``base`` need not be the database's: a rebased one continued none of them."""
    points, here = Points(), {one.number: (one.leaf, one.heads) for one in stored}
    for epoch in epochs:
        number = state.size
        state = replay(state, epoch, origin=origin, keys=keys)
        if number < base:
            continue
        if here.get(number) != (epoch.leaf, epoch.heads):
            raise inconsistent("epoch_differs", epoch=number)
        for head in parse_heads(epoch.heads):
            points.setdefault(head.chain, {})[head.seq] = head.hash
    return state, points


async def _records(
    tx: Tx, at: dict[UUID, ChainHead], points: Points, malformed: list[Malformed]
) -> dict[UUID, ChainHead]:
    """Hash every record up to the last head of each chain, and note the malformed ones; returns where it came to."""
    goals = {chain: ChainHead(chain, *max(seqs.items())) for chain, seqs in points.items()}
    while any(at[chain].seq < head.seq for chain, head in goals.items()):
        rows = await records_after(tx, at, goals, dict)
        at = await asyncio.to_thread(_batch, rows, at, points, malformed)  # leases and permits are not to wait for it
        if len(rows) < BATCH:
            break
    verify_log((), starts=at, through={c: {head.seq: head.hash} for c, head in goals.items() if at[c] != head})
    return at


def _batch(
    rows: Sequence[Row], starts: Mapping[UUID, ChainHead], points: Points, malformed: list[Malformed]
) -> dict[UUID, ChainHead]:
    records = [reader(Record)(row) for row in rows]
    at = verify_log(records, starts=starts)
    for one, row in zip(records, rows, strict=True):
        try:
            said = read_payload(one.payload)
        except Integrity as error:
            malformed.append(Malformed(chain=one.chain, seq=one.seq, code=error.code))
        else:
            _check_columns(one, row, said)
        if points.get(one.chain, {}).get(one.seq, one.hash) != one.hash:
            raise Integrity("audit_chain_broken", chain=one.chain, seq=one.seq, reason="forked")
    return at


def _check_columns(record: Record, row: Row, said: Facts) -> None:
    columns = (row["event"], row["outcome"], row["actor_id"], row["object_id"], row["request_id"])
    of = said.client in (None, record.chain)
    if not of or columns != (said.event, said.outcome, said.actor, said.object, said.request):
        raise Integrity("audit_chain_broken", chain=record.chain, seq=record.seq, reason="column_edited")


TOLERATED_S: Final = 300.0  # seconds


class ClockWatch:
    """Looks at the clocks of one process.

    Args:
        app: Its ports.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._offset = self._apart()

    async def look(self) -> bool:
        """Raise ``clock_jump`` or ``clock_skew`` alerts; returns whether all is well.

        Raises:
            Unavailable: The database could not be asked, or did not take the alert.
        """
        offset = self._apart()
        jumped = abs(offset - self._offset) > TOLERATED_S
        if jumped:
            await raise_alert(self._app, reason="clock_jump", key="clock/jump", severity="critical")
        self._offset = offset
        async with self._app.db.begin() as tx:
            theirs: datetime = await tx.one(datetime, "clock_now")
        skewed = abs((theirs - self._app.clock.now()).total_seconds()) > TOLERATED_S
        if skewed:
            await raise_alert(self._app, reason="clock_skew", key="clock/skew", severity="critical")
        return not jumped and not skewed

    def _apart(self) -> float:
        return self._app.clock.now().timestamp() - self._app.clock.monotonic()
