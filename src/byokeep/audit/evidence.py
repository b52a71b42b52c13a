"""Signed evidence of a procedure (SOP 5.1, 5.2, 5.3), for somebody who trusts nobody here.

Rules
- Only a complete run is signed; what is missing is named (R5.1-15).
- The bundle carries its records verbatim and the proof that a published checkpoint covers them (S-TLOG-9). It ends at
  the first one that does: its size and cost are those of the run, however long the client's chain has grown since.
- Each bundle is on its client's record before the key signs it.

It may not judge a record by a column: the records themselves decide.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from byokeep.audit.audit import checkpoint, origin, public_keys
from byokeep.audit.audit_out import lines_between
from byokeep.core import evidence
from byokeep.core.audit import ChainHead, empty
from byokeep.core.epoch import include
from byokeep.core.errors import Conflict, Integrity, NotFound
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.evidence import EvidencePiece, Onboarding
from byokeep.core.model import Actor
from byokeep.core.next_steps import instead_of_evidence, of_connection, of_profile
from byokeep.core.policy import Verb, authorise
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.sops import CONNECT, PROFILE, SopRun, SopStatus, status_of

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
    async with app.db.begin(every_client=True) as tx:
        run = await tx.maybe(SopRun, "sop_get", id=sop_id)
        if run is None:
            raise NotFound("not_found")
        authorise(actor, Verb.EVIDENCE_READ, client_id=run.client_id)
        status = await status_of(tx, run)
        if status.state != "complete":
            raise Conflict(
                "sop_incomplete", sop=sop_id, state=status.state, missing=", ".join(status.missing),
                next_step=_instead(status),
            )  # fmt: skip
        about = Onboarding(
            origin=origin(app), sop=run.id, client=run.client_id, provider=run.provider, ref=run.ref_id,
            version=run.version, kind=run.sop, items={item: record.seq for item, record in status.evidence.items()},
        )  # fmt: skip
        await tx.append(_event(actor, run))
    return await _bundle(app, actor, about)


def _instead(status: SopStatus) -> str:
    run = status.run
    if run.sop == CONNECT:
        return of_connection(status.state, run.reason)[:200]
    if run.sop == PROFILE:
        return of_profile(status.state, status.missing)
    return instead_of_evidence(status.state, run.reason, status.missing, ref=run.ref_id)


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


def _event(actor: Actor, run: SopRun) -> Event:
    return Event(
        name=EventName.EVIDENCE_SIGNED, actor=actor, outcome=Outcome.INTENDED, client_id=run.client_id,
        object_id=run.ref_id, fields={"sop": str(run.id), "version": run.version, "provider": run.provider.value},
    )  # fmt: skip
