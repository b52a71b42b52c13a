"""Enrolment: the client's entity comes to life at the store, by its own first login.

Rules
- No process may create an entity or an alias; the store does, when a token signed for exactly this client logs in
  under a role without any policy. So nothing can bind a client to another's entity.
- Doing it twice gives the same entity and changes nothing.
- An entity that comes to life while a switch is closed is put out at once.
"""

from __future__ import annotations

from uuid import UUID

from byokeep.core.errors import Conflict
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, ClientId
from byokeep.core.policy import Verb, authorise
from byokeep.jobs.lease import claims
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.record import record_params
from byokeep.kernel.rows import Row
from byokeep.tenancy.scopes import client_scopes, hold_open, require_open, switches_open


async def enroll_client(app: BrokerApp, actor: Actor, client_id: ClientId) -> str:
    """Bring a new client to life; returns its state.

    Raises:
        NotFound: No such client.
        Denied: ``switch_closed``, ``switch_unknown``, ``not_permitted``.
        Conflict: ``client_not_enrolling``, ``entity_differs``.
        Unavailable: Store or database; it can be tried again.
    """
    authorise(actor, Verb.CLIENT_CHANGE, client_id=client_id)
    job_id, lease_id = app.ids.uuid(), app.ids.uuid()
    scopes = client_scopes(client_id)
    async with app.db.begin(client_id=client_id) as tx:
        await hold_open(tx, scopes)
        row = await tx.one(
            dict, "lease_enroll_facts", client_id=client_id, scopes=scopes, installation_id=app.installation_id
        )
        if row["client_state"] == "active" and row["entity_id"]:
            return "active"
        if row["client_state"] != "enrolling":
            raise Conflict("client_not_enrolling", next_step="Only a new client can be enrolled.")
        require_open(row)
        # A login at the store needs a lease to explain it, and a lease needs a job; this one is over as it begins.
        await tx.one(
            lambda row: UUID(str(row["id"])), "job_insert", id=job_id, client_id=client_id, dispatcher_id=actor.id,
            runner_id=actor.id, kind="custody",
            secrets=[], platforms=[], lanes=[], effects=[], state="closed", reason="enroll", ttl_s=60,
        )  # fmt: skip
        await tx.one(
            None, "lease_insert", id=lease_id, client_id=client_id, job_id=job_id, runner_id=actor.id, kind="enroll",
            secrets=[],
            jwt_iat=row["now_s"], jwt_exp=row["now_s"] + app.limits.lease_jwt_ttl_s, expires_at=row["now"],
            **record_params(_event(actor, client_id, Outcome.INTENDED, job_id, lease_id)),
        )  # fmt: skip
    token = await app.signer.sign_jwt(
        claims(app, client_id=client_id, job_id=job_id, lease_id=lease_id, kind="enroll", secrets=[],
               iat=row["now_s"])
    )  # fmt: skip
    entity_id = await app.cutoff.enroll(token, lease_id)
    return await _finish(app, actor, client_id, job_id, lease_id, entity_id)


async def _finish(
    app: BrokerApp, actor: Actor, client_id: ClientId, job_id: UUID, lease_id: UUID, entity_id: str
) -> str:
    scopes = client_scopes(client_id)
    async with app.db.begin(client_id=client_id) as tx:
        await hold_open(tx, scopes)
        row: Row = await tx.one(
            dict, "lease_enroll_facts", client_id=client_id, scopes=scopes, installation_id=app.installation_id
        )
        state = await tx.maybe(str, "lease_enrolled", client_id=client_id, entity_id=entity_id)
        if state is None:
            raise Conflict("entity_differs", next_step="The store knows another entity of this client.")
        await tx.append(_event(actor, client_id, Outcome.OK, job_id, lease_id))
    if switches_open(row) is not True:
        await app.cutoff.disable(entity_id)
    return state


def _event(actor: Actor, client_id: UUID, outcome: Outcome, job_id: UUID, lease_id: UUID) -> Event:
    return Event(
        name=EventName.CLIENT_ENROLLED, actor=actor, outcome=outcome, client_id=client_id, object_id=client_id,
        fields={"job": str(job_id), "lease": str(lease_id)},
    )  # fmt: skip
