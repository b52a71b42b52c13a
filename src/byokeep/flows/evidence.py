"""Signed evidence of a procedure (SOP 5.1, 5.2, 5.3), for somebody who trusts nobody here.

Rules
- Only a complete run is signed; what is missing is named (R5.1-15).
- The bundle carries its records verbatim and the proof that a published checkpoint covers them (S-TLOG-9).
- Each bundle is on its client's record before the key signs it.

It may not judge a record by a column: the records themselves decide.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from byokeep.core import evidence
from byokeep.core.audit import empty
from byokeep.core.errors import Conflict, Integrity, NotFound
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.evidence import Onboarding
from byokeep.core.model import Actor
from byokeep.core.next_steps import instead_of_evidence, of_connection, of_profile
from byokeep.core.policy import Verb, authorise
from byokeep.flows.app import BrokerApp
from byokeep.flows.audit import AT, origin, public_keys
from byokeep.flows.audit_out import lines_between, prove_inclusion
from byokeep.flows.sops import CONNECT, GET, PROFILE, SopRun, SopStatus, status_of

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
        run = await tx.maybe(GET, id=sop_id)
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
    first = min(about.items.values())
    inclusion = await prove_inclusion(app, actor, about.client)
    async with app.db.begin(client_id=about.client) as tx:
        before = empty(about.client)
        if first > 1:
            before = await tx.one(AT, chains=[about.client], seqs=[first - 1])
        lines = await lines_between(tx, before, inclusion.head)
    payload = evidence.statement(about, before=before, lines=lines, inclusion=inclusion)
    signature, key_id = await app.signer.sign(PURPOSE, evidence.pae(payload))
    bundle = evidence.envelope(payload, signature=signature, key_id=key_id)
    if not evidence.verify_evidence(bundle, await public_keys(app)).complete:
        raise Integrity("evidence_incomplete", sop=about.sop)
    return bundle


def _event(actor: Actor, run: SopRun) -> Event:
    return Event(
        name=EventName.EVIDENCE_SIGNED, actor=actor, outcome=Outcome.INTENDED, client_id=run.client_id,
        object_id=run.ref_id, fields={"sop": str(run.id), "version": run.version, "provider": run.provider.value},
    )  # fmt: skip
