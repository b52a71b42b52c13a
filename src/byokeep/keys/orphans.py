"""Destroy, with two people's consent, what the store holds without a record for a client and provider (R9.2-3).

Rules
- For one provider this covers the client's key, its webhook's signing secret and the account's administrator key.
- An operator asks for the versions that are there now, an approver approves exactly these, and a worker destroys them.
- A version that has a record by then is spared: its write was recorded late, or another restore brought it back.
- A version is recorded as found before it is destroyed, and as destroyed afterwards.

It may not destroy what the sweeps of :mod:`byokeep.keys.onboard` and :mod:`byokeep.keys.webhooks` keep without that
approval, nor read a value. What is held of accounts and profiles is not looked at.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from uuid import NAMESPACE_OID, UUID, uuid5

from byokeep.core.errors import Conflict
from byokeep.core.events import EventName
from byokeep.core.model import Actor, ClientId, Provider
from byokeep.core.policy import Verb
from byokeep.core.procedure import Fields, Procedure, Run, Step
from byokeep.core.ref import SecretPart, SecretRef, parse_provider
from byokeep.jobs.jobs import in_custody
from byokeep.kernel import procedures
from byokeep.kernel.app import WebApp, WorkerApp
from byokeep.kernel.command import command, record
from byokeep.kernel.procedures import RunStatus
from byokeep.keys.refs import orphan_of

_NAME: Final = "purge_orphans"
_PARTS: Final = {"version": None, "webhook": SecretPart.WEBHOOK, "admin": SecretPart.ADMIN}  # as facts call them


async def purge(app: WebApp, actor: Actor, client_id: ClientId, provider: str) -> RunStatus:
    """Ask for the versions at a provider that no record explains to be destroyed, or return the request that waits.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
        Rejected: ``unknown_provider``.
        Conflict: ``no_orphans``: a record explains whatever lies there.
        Unavailable: The store cannot be asked.
    """
    async with command(app, actor, Verb.KEY_STATE, client_id=client_id, on_client=True):
        place, facts = SecretRef(client_id, parse_provider(provider)), dict[str, int | str]()
    for name, part in _PARTS.items():
        one = SecretRef(client_id, place.provider, part)
        if found := await orphan_of(app, one, await app.intake.live_versions(one)):
            facts |= {f"{name}_{version}": version for version in found.versions}
    async with command(app, actor, Verb.KEY_STATE, client_id=client_id, on_client=True) as tx:
        if not facts:
            raise Conflict("no_orphans", next_step="Nothing to do: see `byokeep key inventory`.")
        facts |= {"provider": place.provider.value}
        await tx.all(None, "ref_lock", client_id=client_id, provider=place.provider.value)
        about = uuid5(NAMESPACE_OID, place.path)
        run = await procedures.asked_for(tx, app, actor, app.procedures[_NAME], client_id, about, facts)
    return await procedures.resume(app, actor, run.id)


async def _purged(app: WorkerApp, actor: Actor, run: Run) -> Fields:
    """Destroy what was approved and still has no record."""
    client_id, provider, count = ClientId(run.client_id or run.id), Provider(run.facts["provider"]), 0
    async with in_custody(app, app.custodian.open, app.custodian.close, client_id, provider.value) as custody:
        for called, part in _PARTS.items():
            place = SecretRef(client_id, provider, part)
            approved = [number for name, number in run.facts.items() if name.startswith(f"{called}_")]
            found = await orphan_of(app, place, sorted(approved))
            if found is None:
                continue
            gone = found.versions  # with those that a try destroyed and was cut off before it said so
            live = await custody.live_versions(place)
            await _say(app, actor, EventName.ORPHAN_FOUND, place, run.object_id, gone)
            if there := [one for one in gone if one in live]:
                await custody.destroy(place, there)
            await _say(app, actor, EventName.ORPHAN_DESTROYED, place, run.object_id, gone)
            count += len(gone)
    return {"provider": provider.value, "count": count}


async def _say(
    app: WorkerApp, actor: Actor, name: EventName, place: SecretRef, about: UUID, versions: Collection[int]
) -> None:
    async with app.db.begin(client_id=place.client_id) as tx:
        for version in versions:
            await record(
                tx, actor, name, client_id=place.client_id, object_id=about, provider=place.provider.value,
                version=version, path=place.path,
            )  # fmt: skip


PURGE_ORPHANS: Final = Procedure(
    name=_NAME, verb=Verb.KEY_STATE, abortable=True,
    steps=(Step(name="destroy", act=_purged, approval=Verb.KEY_PURGE),),
)  # fmt: skip
