"""A profile is destroyed for good: first it can not be opened any more, then its keys, its records, its
blobs go, and the pictures that proved it.

Rules
- Two people wanted it (:mod:`.profile_work`); nothing brings it back, old backups of either store included: the row
  says so, and the row is what an opening looks at first.
- Keys before blobs: once no record is left, a blob is noise.
- A cut leaves a profile that is shredded and whose things are taken away by the next round (:mod:`.profile_care`).
"""

from __future__ import annotations

from uuid import UUID

from byokeep.core.events import EventName, Outcome
from byokeep.core.model import Actor
from byokeep.core.profile import ProfileAct
from byokeep.core.ref import ProfileRef
from byokeep.flows import profile_book, profiles
from byokeep.flows.profile_app import Bench, ProfileApp
from byokeep.flows.profile_ports import ProfileCustody
from byokeep.flows.profiles import Profile
from byokeep.sealing.generation import Generation, key_of


async def shred(bench: Bench) -> str:
    """Destroy a profile; returns ``shredded``.

    Raises:
        Conflict: ``profile_state``.
        Unavailable: Something could not be destroyed now; the profile is out of use already, and the rest follows.
    """
    async with bench.app.db.begin(client_id=bench.profile.client_id) as tx:
        now = await bench.now(tx)
        await profiles.move(tx, now, ProfileAct.SHRED, reason="shredded")
        await tx.all(UUID, "profile_account_retired", client_id=now.client_id, profile_id=now.id)
        await tx.append(
            profiles.event(EventName.PROFILE_SHREDDED, Outcome.INTENDED, bench.actor, now, work=str(bench.work.id))
        )
    count = await destroy_all(bench.app, bench.actor, bench.custody, now)
    async with bench.app.db.begin(client_id=now.client_id) as tx:
        await tx.append(
            profiles.event(EventName.PROFILE_SHREDDED, Outcome.OK, bench.actor, now, count=count,
                           work=str(bench.work.id))
        )  # fmt: skip
    return "shredded"


async def destroy_all(app: ProfileApp, actor: Actor, custody: ProfileCustody, profile: Profile) -> int:
    """Destroy every record, blob and picture of a profile; returns how many generations that were."""
    ref = ProfileRef(profile.client_id, profile.id)
    live = await custody.live_versions(ref)
    if live:
        await custody.destroy(ref, live)
    async with app.db.begin(client_id=profile.client_id) as tx:
        rows = await tx.all(
            Generation, "generations_of", client_id=profile.client_id, profile_id=profile.id, limit=10_000
        )
    left = [row for row in rows if row.gone_at is None]
    for row in left:
        async with app.db.begin(client_id=profile.client_id) as tx:
            await profile_book.destroy_key(tx, app, actor, row)
        await app.artifacts.delete(profile.client_id, key_of(row))
        async with app.db.begin(client_id=profile.client_id) as tx:
            await tx.maybe(
                UUID, "generation_gone", client_id=row.client_id, profile_id=row.profile_id, generation=row.generation
            )
    await app.proofs.remove(profile.client_id, profile.id)
    return len(left)


async def destroy_one(app: ProfileApp, actor: Actor, custody: ProfileCustody, row: Generation) -> None:
    """Destroy one generation's record and blob; its key is *destroyed* from then on."""
    ref = ProfileRef(row.client_id, row.profile_id)
    if row.record_version in await custody.live_versions(ref):
        await custody.destroy(ref, [row.record_version])
    async with app.db.begin(client_id=row.client_id) as tx:
        await profile_book.destroy_key(tx, app, actor, row)
    await app.artifacts.delete(row.client_id, key_of(row))
    async with app.db.begin(client_id=row.client_id) as tx:
        await tx.maybe(
            UUID, "generation_gone", client_id=row.client_id, profile_id=row.profile_id, generation=row.generation
        )
