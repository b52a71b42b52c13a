"""The audit log kept honest: signed each minute, copied out, checked against what was published (runbook 8.2).

Rules
- Nothing is signed that does not continue what was published before, as kept where the database can not write:
  a database restored, forked or edited is refused, and people are told (S-TLOG-3).
- A record is hashed again before a checkpoint covers it; a head alone is never believed.
- The epoch is committed before it is signed, so one number never gets two signatures; a crash in between is
  finished by the next run.

It may not read a value, and it changes no record.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from byokeep.core.audit import ChainHead, Record, empty, verify_log
from byokeep.core.epoch import LogState, SignedEpoch, heads_data, inconsistent, parse_heads, replay
from byokeep.core.errors import Integrity
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.keys import PublicKeys
from byokeep.core.model import Actor
from byokeep.core.note import NoteKey, open_checkpoint, write_note
from byokeep.core.policy import Verb, authorise
from byokeep.kernel.alarm import raise_alert, unblocked
from byokeep.kernel.app import App, BrokerApp
from byokeep.kernel.ports import Tx

BATCH: Final = 1_000  # records at a time: hashing them keeps the process from other work for about 10 ms
OVERDUE_S: Final = 180.0  # three missed heartbeats
PURPOSE: Final = "checkpoints"


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
    authorise(by, Verb.AUDIT_RUN)
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
    async with unblocked(app) as tx:
        await tx.one(None, "audit_epoch_lock")
        state = await published(app)
        pending = await compare(tx, state)
        if pending:
            leaf, moved = pending.leaf, parse_heads(pending.heads)
            await _verify_moves(tx, state, moved)
        else:
            moved = await _moved(tx, state)
            await _verify_moves(tx, state, moved)
            # A clock that ran back does not stop the log.
            leaf = state.next_leaf(moved, at_us=max(microseconds(app.clock.now()), state.at_us)).data()
        after = state.advance(leaf, moved)
        if not pending:
            await tx.one(int, "audit_epoch_insert", number=state.size, leaf=leaf, heads=heads_data(moved))
            await tx.append(_event(actor, after))
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


def _event(actor: Actor, after: LogState) -> Event:
    """What goes on record: the root is signed once this is committed, hence *intended*."""
    return Event(
        name=EventName.CHECKPOINT_SIGNED,
        actor=actor,
        outcome=Outcome.INTENDED,
        fields={
            "epoch": after.size - 1,
            "size": after.size,
            "count": len(after.heads),
            "root": after.edge.root().hex(),
        },
    )


async def compare(tx: Tx, state: LogState) -> StoredEpoch | None:
    """Hold the database against what was published. Returns the one epoch that may be waiting for its signature."""
    stored = await tx.all(
        StoredEpoch,
        "audit_epochs_from",
        number=max(state.size - 1, 0),
        limit=3,
    )
    if state.size:
        if not stored or stored[0].number != state.size - 1:
            raise inconsistent("database_rolled_back", epoch=state.size - 1)
        if stored[0].leaf != state.leaf:
            raise inconsistent("epoch_differs", epoch=state.size - 1)
        stored = stored[1:]
    await must_hold(tx, state.heads.values())
    if not stored:
        return None
    if len(stored) > 1 or stored[0].number != state.size:
        raise inconsistent("published_epochs_lost", epoch=state.size)
    return stored[0]


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


async def _verify_moves(tx: Tx, state: LogState, moved: Iterable[ChainHead]) -> None:
    async for _ in segments(tx, state.heads, moved):
        pass


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
        records = await records_after(tx, at, goals)
        at = verify_log(records, starts=at)
        yield records
        if len(records) < BATCH:
            break
    verify_log((), starts=at, through={c: {head.seq: head.hash} for c, head in goals.items() if at[c] != head})


async def records_after(tx: Tx, at: Mapping[UUID, ChainHead], goals: Mapping[UUID, ChainHead]) -> list[Record]:
    """Return the next records between two sets of heads as they are stored, not yet verified."""
    chains = [chain for chain, head in goals.items() if at[chain].seq < head.seq]
    return await tx.all(
        Record,
        "audit_segments",
        chains=chains,
        after=[at[c].seq for c in chains],
        upto=[goals[c].seq for c in chains],
        limit=BATCH,
    )


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
