"""What leaves the audit log: the second copy, exports, a client's proof, an auditor's reads, and signed evidence.

Rules
- The copy continues from its own end. If the copy and the database differ, nothing is added, and people are notified
  (R8.2-4).
- Reads and exports are recorded before anything is read (R1.4-4, R8.1).
- A client's proof holds only that client's records and hashes. About others it tells only how many chains there are.
- Only a complete run is signed as evidence (SOP 5.1, 5.2, 5.3); what is missing is named (R5.1-15). The bundle carries
  its records verbatim, and the proof that a published checkpoint covers them (S-TLOG-9). It ends there.
- Each bundle is on its client's record before the key signs it.

It may not change a byte of a record, nor judge a record by a column: payloads leave exactly as they are stored.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from byokeep.audit.log import checkpoint, must_hold, origin, public_keys, records_after, segments
from byokeep.core import evidence
from byokeep.core.audit import ChainHead, Record, empty, export_line, verify_log
from byokeep.core.canonical import parse_canonical
from byokeep.core.checkpoint import client_proof_data, include
from byokeep.core.errors import Conflict, Integrity, NotFound, Rejected, Unavailable, refusing
from byokeep.core.events import HEARTBEATS, EventName, FieldValue, Outcome
from byokeep.core.evidence import CONNECT, PROFILE, EvidencePiece, Onboarding
from byokeep.core.model import Actor, ClientId
from byokeep.core.next_steps import instead_of_evidence, of_connection, of_profile
from byokeep.core.policy import Verb, authorise, require_proof
from byokeep.core.procedure import Run
from byokeep.kernel import procedures
from byokeep.kernel.app import App, BrokerApp
from byokeep.kernel.command import command, raise_alert, record
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row
from byokeep.kernel.sops import SOPS, SopRun, SopStatus, status_of
from byokeep.tenancy.clients import names_of

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
        step = "Run `byokeep audit verify` on the copy and on the database."
        raise Integrity("audit_copy_diverged", next_step=step) from None
    return added


def export_lines(records: list[Record], heads: dict[UUID, ChainHead]) -> list[bytes]:
    """Return the records' lines, each with the hash before it; moves ``heads`` on to the last records."""
    lines = []
    for one in records:
        before = heads.get(one.chain) or empty(one.chain)
        lines.append(export_line(one, prev=before.hash))
        heads[one.chain] = ChainHead(one.chain, one.seq, one.hash)
    return lines


async def export(app: BrokerApp, actor: Actor, chain: UUID) -> AsyncIterator[bytes]:
    """Return the lines of a chain, each with its line end, up to where it stood when asked.

    Args:
        app: The broker.
        actor: An auditor.
        chain: A client's id, or the installation's for the platform's chain.

    Raises:
        Denied, NotFound: Not the actor's to read, or no such chain.
        Unauthenticated: ``step_up_required``, as of all that leaves here.
        Integrity: While reading, ``audit_chain_broken``; what was yielded so far is sound.
    """
    client_id = None if chain == app.installation_id else chain
    authorise(actor, Verb.AUDIT_READ, client_id=client_id)
    if client_id is None and actor.clients is not None:  # the platform's chain names every client
        raise NotFound("not_found")
    require_proof(actor)
    async with app.db.begin(every_client=True) as tx:
        head = await tx.one(ChainHead, "audit_head", chain=chain)
        await _say_exported(tx, actor, chain, client_id, head.seq)
    return _lines(app, head)


async def _say_exported(tx: Tx, actor: Actor, chain: UUID, client_id: UUID | None, last: int) -> None:
    await record(
        tx, actor, EventName.AUDIT_EXPORTED, client_id=client_id, object_id=chain, chain=str(chain), first_seq=1,
        last_seq=last, count=last,
    )  # fmt: skip


async def _lines(app: BrokerApp, head: ChainHead) -> AsyncIterator[bytes]:
    """Each batch in a transaction of its own: a slow reader holds none open."""
    heads = {head.chain: empty(head.chain)}
    while heads[head.chain].seq < head.seq:
        async with app.db.begin(every_client=True) as tx:
            batch = await records_after(tx, heads, {head.chain: head}, Record)
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
    require_proof(actor)
    async with app.db.begin(every_client=True) as tx:
        head = await tx.one(ChainHead, "audit_head", chain=client_id)
        if head.seq >= MAX_PROOF:
            raise Unavailable("too_many_records", next_step="Use `byokeep audit export` for a chain of this length.")
        await _say_exported(tx, actor, client_id, client_id, head.seq + 1)
    await checkpoint(app, app.system(actor.request_id))
    state, note = await app.checkpoints.latest()
    if client_id not in state.heads:
        raise NotFound("not_found")
    inclusion = include(state, client_id, note=note)
    async with app.db.begin(every_client=True) as tx:
        lines = await lines_between(tx, empty(client_id), inclusion.head)
    return client_proof_data(origin(app), lines, inclusion)


async def lines_between(tx: Tx, start: ChainHead, end: ChainHead) -> list[bytes]:
    """Return the export lines of the records after ``start`` up to ``end``, verified."""
    heads = {start.chain: start}
    lines: list[bytes] = []
    async for records in segments(tx, dict(heads), [end]):
        lines += export_lines(records, heads)
    return lines


MAX_RECORDS: Final = 500
DEFAULT_RECORDS: Final = 100
MOST_LOOKED_AT: Final = 4_000  # records that fit, for one page
MOST_PASSED: Final = 200_000  # records of a chain, for one page, whether they fit or not


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordWindow:
    """What to show: ``None`` = no bound. ``since_seq`` and ``before`` are numbers of records, ``before`` for paging."""

    since: datetime | None = None
    until: datetime | None = None
    since_seq: int = 0
    before: int | None = None
    limit: int = DEFAULT_RECORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFilter:
    """Which records of a window; what is left out fits everything.

    Attributes:
        actor: Who acted.
        event: An event, or how several begin, such as ``key.``.
        outcome: How it ended.
        ref_id: A key, of ``provider``: what names it, and the leases that could read it.
        fold: Count our own heartbeats (:data:`byokeep.core.events.HEARTBEATS`) instead of showing them.
    """

    actor: UUID | None = None
    event: str = ""
    outcome: str = ""
    ref_id: UUID | None = None
    provider: str = ""
    fold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRecord:
    """A record: its place, what it says, and the names of who acted and of what it is about."""

    seq: int
    at: datetime
    hash_hex: str
    said: dict[str, Any]
    actor_name: str | None
    object_name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPage:
    """Records, and what is not among them.

    Attributes:
        folded: Heartbeats between these records that are not shown.
        left: Records that fit and come after these; at least so many when ``counted`` is False: older ones than
            ``next`` were not looked at.
        next: ``before`` of the next page; None = there is none.
    """

    records: tuple[ShownRecord, ...]
    folded: int
    left: int
    counted: bool
    next: int | None


def said_in(row: Row) -> dict[str, Any]:
    """Return what the record in a row says. Raises Integrity: ``audit_record_unreadable``."""
    with refusing("audit_record_unreadable", seq=row["seq"]):
        said: Any = parse_canonical(bytes(row["payload"]))
    return dict(said)


_EVERYTHING: Final = RecordFilter()
_NO_END: Final = 2**62  # a bound that is always there lets the index find the rows between


async def read_audit(
    app: App, actor: Actor, client_id: ClientId | None, window: RecordWindow, wanted: RecordFilter = _EVERYTHING
) -> RecordPage:
    """Return records of a client's chain, or of the platform's, newest first.

    Raises:
        Denied: ``not_permitted``.
        NotFound: The chain is not the actor's to read.
        Rejected: ``unknown_event``.
        Integrity: ``audit_record_unreadable``.
    """
    chain, limit = client_id or app.installation_id, max(1, min(window.limit, MAX_RECORDS))
    async with command(app, actor, Verb.AUDIT_READ, client_id=client_id, object_id=chain) as tx:
        if client_id is None and actor.clients is not None:
            raise NotFound("not_found")
        if not any(event.startswith(wanted.event) for event in EventName):
            raise Rejected("unknown_event", next_step="Give an event of docs/events.md, or a prefix: `key.`.")
        await record(
            tx, actor, EventName.AUDIT_READ, object_id=chain, chain=str(chain), count=min(window.limit, MAX_RECORDS)
        )
    before = _NO_END if window.before is None else window.before
    async with app.db.begin(client_id=client_id, every_client=client_id is None) as tx:
        reach = await tx.maybe(
            dict, "audit_reach", chain=chain, before=before, since_seq=window.since_seq, most=MOST_PASSED
        )
        # What was written before the window is no part that a look leaves out.
        floor = reach["floor"] if reach and (window.since is None or reach["at"] >= window.since) else None
        rows = await tx.all(
            dict, "audit_browse", chain=chain, since_seq=reach["floor"] if reach else window.since_seq, before=before,
            since=window.since, until=window.until,
            actor=wanted.actor, event=wanted.event, outcome=wanted.outcome, ref_id=wanted.ref_id,
            provider=wanted.provider, folded=sorted(HEARTBEATS) if wanted.fold else [], most=MOST_LOOKED_AT,
            limit=limit,
        )  # fmt: skip
    return _page(rows, limit, floor, await names_of(app, actor, {row[at] for row in rows for at in _NAMED} - {None}))


_NAMED: Final = ("actor_id", "object_id")


def _page(rows: Sequence[Row], limit: int, floor: int | None, names: Mapping[UUID, str]) -> RecordPage:
    """Put a page together; its last row is where the look ended, and is shown only if it has a place.

    Args:
        floor: Below which record of the window nothing was looked at; None = there is none.
    """
    if not rows:
        return RecordPage(records=(), folded=0, left=0, counted=floor is None, next=floor)
    end = rows[-1]
    shown = [row for row in rows if row["place"] <= limit and (row is not end or row["is_shown"])]
    left, full = end["total"] - len(shown), end["looked"] >= MOST_LOOKED_AT
    last = shown[-1] if left else end
    following = last["seq"] if left or full else floor
    counted = floor is None and not full
    records = tuple(_shown(row, names) for row in shown)
    return RecordPage(records=records, folded=last["folded_before"], left=left, counted=counted, next=following)


def _shown(row: Row, names: Mapping[UUID, str]) -> ShownRecord:
    return ShownRecord(
        seq=row["seq"], at=row["at"], hash_hex=bytes(row["hash"]).hex(), said=said_in(row),
        actor_name=names.get(row["actor_id"]), object_name=names.get(row["object_id"]),
    )  # fmt: skip


PURPOSE: Final = "evidence"


async def sign_evidence(app: BrokerApp, actor: Actor, sop_id: UUID) -> bytes:
    """Return the signed bundle of a run.

    Raises:
        NotFound: ``not_found``, also for another client's run.
        Conflict: ``sop_incomplete`` with what is missing.
        Integrity: The log does not verify.
        Unavailable: Signer, database or checkpoint directory.
    """
    authorise(actor, Verb.EVIDENCE_READ)
    require_proof(actor)
    async with app.db.begin(every_client=True) as tx:
        run = await tx.one(Run, "procedure_get", id=sop_id)
        if run.procedure not in app.procedures or (run.client_id is None and actor.clients is not None):
            raise NotFound("not_found")
        authorise(actor, Verb.EVIDENCE_READ, client_id=run.client_id)
        if run.procedure in SOPS:
            about = await _of_sop(tx, app, await tx.one(SopRun, "sop_get", id=sop_id))
        else:
            about = await _of_procedure(tx, app, run)
        said: dict[str, FieldValue] = {"sop": str(run.id)}
        if about.provider is not None:
            said |= {"version": about.version, "provider": about.provider.value}
        signed, intended = EventName.EVIDENCE_SIGNED, Outcome.INTENDED
        await record(tx, actor, signed, said, outcome=intended, client_id=run.client_id, object_id=run.object_id)
    return await _bundle(app, actor, about)


async def _of_sop(tx: Tx, app: BrokerApp, run: SopRun) -> Onboarding:
    status = await status_of(tx, run)
    if status.state != "complete":
        raise _incomplete(run, status.state, status.missing, _instead(status))
    return Onboarding(
        origin=origin(app), sop=run.id, client=run.client_id, provider=run.provider, ref=run.object_id,
        version=run.version, kind=run.procedure, items={item: record.seq for item, record in status.evidence.items()},
    )  # fmt: skip


async def _of_procedure(tx: Tx, app: BrokerApp, run: Run) -> Onboarding:
    procedure = app.procedures[run.procedure]
    status = await procedures.status_of(tx, app, procedure, run)
    if run.state != "complete" or status.missing:
        raise _incomplete(run, run.state, status.missing, f"See {procedure.look(run.id)}.")
    return Onboarding(
        origin=origin(app), sop=run.id, client=run.client_id or app.installation_id, ref=run.object_id,
        kind=evidence.PROCEDURE, name=run.procedure, items={one.name: one.seq for one in status.steps},
        steps={step.name: step.evidence.value for step in procedure.steps},
    )  # fmt: skip


def _incomplete(run: Run, state: str, missing: tuple[str, ...], step: str) -> Conflict:
    return Conflict("sop_incomplete", sop=run.id, state=state, missing=", ".join(missing), next_step=step)


def _instead(status: SopStatus) -> str:
    run = status.run
    if run.procedure == CONNECT:
        return of_connection(status.state, run.reason)[:200]
    if run.procedure == PROFILE:
        return of_profile(status.state, status.missing)
    return instead_of_evidence(status.state, run.reason, status.missing, ref=run.object_id)


async def _bundle(app: BrokerApp, actor: Actor, about: Onboarding) -> bytes:
    pieces: list[EvidencePiece] = []
    for seq in sorted(about.items.values()):
        if not pieces or seq > pieces[-1].inclusion.head.seq:
            pieces.append(await _piece(app, actor, about.client, seq))
    payload = evidence.statement(about, pieces)
    signature, key_id = await app.signer.sign(PURPOSE, evidence.pae(payload))
    bundle = evidence.envelope(payload, signature=signature, key_id=key_id)
    if not evidence.verify_evidence(bundle, await public_keys(app)).complete:
        raise Integrity("evidence_incomplete", sop=about.sop)
    return bundle


async def _piece(app: BrokerApp, actor: Actor, client: UUID, seq: int) -> EvidencePiece:
    """Return the client's records from ``seq`` to the first checkpoint that covers it; one is made if none does."""
    found = await app.checkpoints.covering(client, seq)
    if found is None:
        await checkpoint(app, app.system(actor.request_id))
        found = await app.checkpoints.covering(client, seq)
    if found is None:
        raise NotFound("not_found")
    state, note = found
    inclusion = include(state, client, note=note)
    async with app.db.begin(client_id=client) as tx:
        before = empty(client)
        if seq > 1:
            before = await tx.one(ChainHead, "audit_at", chains=[client], seqs=[seq - 1])
        lines = await lines_between(tx, before, inclusion.head)
    return EvidencePiece(before=before, lines=lines, inclusion=inclusion)
