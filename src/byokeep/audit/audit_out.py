"""The audit log carried out of the database: the second copy, an export, a client's own proof.

Rules
- The copy goes on from its own end; where copy and database differ, nothing is added and people are told (R8.2-4).
- An export is on record before its first line leaves (R1.4-4).
- A client's proof holds that client's records and hashes, nothing of anybody else but how many chains there are.

It may not change a byte of a record: payloads leave as they are stored.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

from byokeep.audit.audit import checkpoint, must_hold, origin, records_after, segments
from byokeep.core.audit import ChainHead, Record, empty, export_line, verify_log
from byokeep.core.epoch import Inclusion, include
from byokeep.core.errors import Integrity, NotFound, Unavailable
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor
from byokeep.core.policy import Verb, authorise
from byokeep.core.proof import client_proof_data
from byokeep.kernel.alarm import raise_alert
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.ports import Tx

MAX_PROOF: Final = 200_000  # records of one client in one file


async def copy(app: BrokerApp) -> int:
    """Bring the second copy up to date; returns how many records were added. Run each minute.

    Raises:
        Integrity: ``audit_copy_diverged``; nothing was added after the last good batch, an alert is open.
        Unavailable: Database or copy; the next run goes on from the copy's end.
    """
    added = 0
    try:
        heads = await app.checkpoints.copied_heads()
        async with app.db.begin(every_client=True) as tx:
            await must_hold(tx, heads.values())
            async for records in segments(tx, heads, await tx.all(ChainHead, "audit_heads")):
                await app.checkpoints.copy_append(export_lines(records, heads))
                added += len(records)
    except Integrity as error:
        await raise_alert(app, reason="audit_copy_diverged", key="audit/copy", severity="critical")
        if error.code == "file_replaced":
            raise error from None
        raise Integrity(
            "audit_copy_diverged", next_step="Run `byokeep audit verify` on the copy and on the database."
        ) from None
    return added


def export_lines(records: list[Record], heads: dict[UUID, ChainHead]) -> list[bytes]:
    """Return the records' lines, each with the hash before it; moves ``heads`` on to the last records."""
    lines = []
    for record in records:
        before = heads.get(record.chain) or empty(record.chain)
        lines.append(export_line(record, prev=before.hash))
        heads[record.chain] = ChainHead(record.chain, record.seq, record.hash)
    return lines


async def export(app: BrokerApp, actor: Actor, chain: UUID) -> AsyncIterator[bytes]:
    """Return the lines of a chain, each with its line end, up to where it stood when asked.

    Args:
        app: The broker.
        actor: An auditor.
        chain: A client's id, or the installation's for the platform's chain.

    Raises:
        Denied, NotFound: Not the actor's to read, or no such chain.
        Integrity: While reading, ``audit_chain_broken``; what was yielded so far is sound.
    """
    client_id = None if chain == app.installation_id else chain
    authorise(actor, Verb.AUDIT_READ, client_id=client_id)
    if client_id is None and actor.clients is not None:  # the platform's chain names every client
        raise NotFound("not_found")
    async with app.db.begin(every_client=True) as tx:
        head = await _head_of(tx, chain)
        await tx.append(_exported(actor, chain, client_id, head.seq))
    return _lines(app, head)


def _exported(actor: Actor, chain: UUID, client_id: UUID | None, last: int) -> Event:
    return Event(
        name=EventName.AUDIT_EXPORTED, actor=actor, outcome=Outcome.OK, client_id=client_id, object_id=chain,
        fields={"chain": str(chain), "first_seq": 1, "last_seq": last, "count": last},
    )  # fmt: skip


async def _lines(app: BrokerApp, head: ChainHead) -> AsyncIterator[bytes]:
    """Each batch in a transaction of its own: a slow reader holds none open."""
    heads = {head.chain: empty(head.chain)}
    while heads[head.chain].seq < head.seq:
        async with app.db.begin(every_client=True) as tx:
            batch = await records_after(tx, heads, {head.chain: head})
        verify_log(batch, starts=heads)
        if not batch:
            break
        for line in export_lines(batch, heads):
            yield line + b"\n"
    if heads[head.chain] != head:
        verify_log((), starts=heads, through={head.chain: {head.seq: head.hash}})


async def client_proof(app: BrokerApp, actor: Actor, client_id: UUID) -> bytes:
    """Return a file with which a stranger, who has the public key alone, can check all of a client's records.

    A fresh checkpoint is made first, so that the proof reaches to now; making it is on the client's record too.

    Raises:
        Denied, NotFound: Not the actor's to read, or nothing was ever recorded of this client.
        Integrity: The log does not verify.
        Unavailable: ``too_many_records`` beyond 200,000: export the chain and its checkpoint instead.
    """
    authorise(actor, Verb.AUDIT_READ, client_id=client_id)
    async with app.db.begin(every_client=True) as tx:
        head = await _head_of(tx, client_id)
        if head.seq >= MAX_PROOF:
            raise Unavailable("too_many_records", next_step="Use `byokeep audit export` for a chain of this length.")
        await tx.append(_exported(actor, client_id, client_id, head.seq + 1))
    inclusion = await prove_inclusion(app, actor, client_id)
    async with app.db.begin(every_client=True) as tx:
        lines = await lines_between(tx, empty(client_id), inclusion.head)
    return client_proof_data(origin(app), lines, inclusion)


async def prove_inclusion(app: BrokerApp, actor: Actor, chain: UUID) -> Inclusion:
    """Make a checkpoint and return the proof that it covers ``chain`` as it stands now."""
    await checkpoint(app, app.system(actor.request_id))
    state, note = await app.checkpoints.latest()
    if chain not in state.heads:
        raise NotFound("not_found")
    return include(state, chain, note=note)


async def lines_between(tx: Tx, start: ChainHead, end: ChainHead) -> list[bytes]:
    """Return the export lines of the records after ``start`` up to ``end``, verified."""
    heads = {start.chain: start}
    lines: list[bytes] = []
    async for records in segments(tx, dict(heads), [end]):
        lines += export_lines(records, heads)
    return lines


async def _head_of(tx: Tx, chain: UUID) -> ChainHead:
    head = await tx.maybe(ChainHead, "audit_head", chain=chain)
    if head is None:
        raise NotFound("not_found")
    return head
