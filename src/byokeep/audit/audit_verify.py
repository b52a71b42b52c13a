"""The whole log, in the database, against every checkpoint that was ever published.

Rules
- Every epoch's signature, every epoch in the database, every record's hash and every head that was published.
- What stands beside a payload in columns must be what the payload says.
- A payload that is not one of ours is named and counted, and the rest is verified all the same: nobody can take such a
  record back, and it may not hide what becomes of the others.
- Nothing checked is not a pass; the result is on record either way (R1.4-4).

It may not mend anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from byokeep.audit.audit import BATCH, StoredEpoch, note_keys, origin
from byokeep.core.audit import ChainHead, Facts, Record, empty, read_payload, verify_log
from byokeep.core.epoch import LogState, inconsistent, parse_heads, replay
from byokeep.core.errors import Integrity, Unavailable
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor
from byokeep.core.policy import Verb, authorise
from byokeep.kernel.alarm import raise_alert
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row, reader


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


async def verify(app: BrokerApp, actor: Actor) -> LogReport:
    """Verify everything.

    Raises:
        Denied: Not the actor's to run.
        Integrity: The first thing that does not hold, with chain and sequence number; an alert is open.
        Unavailable: ``nothing_published`` - there is no checkpoint yet; or a part could not be read.
    """
    authorise(actor, Verb.AUDIT_RUN)
    try:
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
        await tx.append(Event(name=EventName.AUDIT_VERIFIED, actor=actor, outcome=outcome, fields=facts))


async def _verify(app: BrokerApp) -> LogReport:
    async with app.db.begin(every_client=True) as tx:
        size = (await app.checkpoints.latest())[0].size  # before the heads: what is published later is not looked at
        heads = {head.chain: head for head in await tx.all(ChainHead, "audit_heads")}
        state, points = await _published(app, tx, size)
        if not state.size:
            raise Unavailable("nothing_published", next_step="Run `byokeep audit checkpoint` first.")
        for chain, head in state.heads.items():
            if chain not in heads or heads[chain].seq < head.seq:
                raise inconsistent("records_lost", chain=chain, seq=head.seq)
        for chain, seq in await tx.all(lambda row: (UUID(str(row["chain"])), int(row["seq"])), "audit_beyond"):
            raise inconsistent("record_beyond_head", chain=chain, seq=seq)
        malformed: list[Malformed] = []
        records = await _records(tx, heads, points, malformed)
    covered = sum(head.seq for head in state.heads.values())
    return LogReport(
        epochs=state.size, chains=len(heads), records=records, uncovered=records - covered, malformed=tuple(malformed),
        rebased=state.base,
    )  # fmt: skip


async def _published(app: BrokerApp, tx: Tx, size: int) -> tuple[LogState, Points]:
    """Replay the first ``size`` epochs with their signatures, in step with the database's."""
    keys, name = await note_keys(app), origin(app)
    state, points = LogState(), Points()
    stored = await tx.all(
        StoredEpoch,
        "audit_epochs_from",
        number=0,
        limit=BATCH,
    )
    differs: int | None = None  # an epoch that is not the database's; of those before a rebase none is asked for
    async for epoch in app.checkpoints.epochs():
        number = state.size
        if number == size:
            break
        state = replay(state, epoch, origin=name, keys=keys)
        if number and number % BATCH == 0:
            stored = await tx.all(
                StoredEpoch,
                "audit_epochs_from",
                number=number,
                limit=BATCH,
            )
        here = stored[number % BATCH] if number % BATCH < len(stored) else None
        if state.base == number > 0:
            points.clear()
            differs = None
        if here is None or (here.number, here.leaf, here.heads) != (number, epoch.leaf, epoch.heads):
            differs = number if differs is None else differs
        for head in parse_heads(epoch.heads):
            points.setdefault(head.chain, {})[head.seq] = head.hash
    if differs is not None:
        raise inconsistent("epoch_differs", epoch=differs)
    return state, points


async def _records(tx: Tx, heads: Mapping[UUID, ChainHead], points: Points, malformed: list[Malformed]) -> int:
    """Hash every record up to the heads, and note the malformed ones; returns how many there are."""
    at, count = {chain: empty(chain) for chain in heads}, 0
    while open_ := [chain for chain, head in heads.items() if at[chain].seq < head.seq]:
        rows = await tx.all(
            dict,
            "audit_segments",
            chains=open_,
            after=[at[c].seq for c in open_],
            upto=[heads[c].seq for c in open_],
            limit=BATCH,
        )
        records = [reader(Record)(row) for row in rows]
        at = verify_log(records, starts=at)
        for record, row in zip(records, rows, strict=True):
            try:
                said = read_payload(record.payload)
            except Integrity as error:
                malformed.append(Malformed(chain=record.chain, seq=record.seq, code=error.code))
            else:
                _check_columns(record, row, said)
            if points.get(record.chain, {}).get(record.seq, record.hash) != record.hash:
                raise Integrity("audit_chain_broken", chain=record.chain, seq=record.seq, reason="forked")
        count += len(records)
        if len(rows) < BATCH:
            break
    verify_log((), starts=at, through={c: {head.seq: head.hash} for c, head in heads.items() if at[c] != head})
    return count


def _check_columns(record: Record, row: Row, said: Facts) -> None:
    columns = (row["event"], row["outcome"], row["actor_id"], row["object_id"], row["request_id"])
    of = said.client in (None, record.chain)
    if not of or columns != (said.event, said.outcome, said.actor, said.object, said.request):
        raise Integrity("audit_chain_broken", chain=record.chain, seq=record.seq, reason="column_edited")
