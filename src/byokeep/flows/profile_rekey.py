"""A profile gets a new key: the newest generation, or an older one that comes back, is sealed again (runbook 6.1).

Rules
- A new key and a new blob, never the old key wrapped anew: that would leave whoever has the key with it (R7.3-5).
- No browser runs: what was opened is sealed as it is, in memory.
- An older generation comes back as the newest, with a new number; one whose key was in doubt does not.
- The new generation is proved before anybody acts with it; the same work does that next (:mod:`.profile_do`).
"""

from __future__ import annotations

from byokeep.core import profile as life
from byokeep.core.errors import Integrity
from byokeep.core.events import EventName, Outcome
from byokeep.flows import profiles
from byokeep.flows.profile_app import Bench
from byokeep.flows.profile_login import reseal
from byokeep.flows.profile_validate import open_into


async def rekey(bench: Bench) -> str:
    """Seal the newest generation under a new key; returns ``rekeyed``.

    Raises:
        Conflict, Integrity, Rejected, Unavailable: As opening and sealing do; the last generation stays.
    """
    async with bench.app.rooms.enter(bench.profile.id, bench.profile.packing) as room:
        generation, _ = await open_into(bench, room, bench.profile.generation)
        await reseal(bench, room, generation.browser_version)
    return "rekeyed"


async def restore(bench: Bench) -> str:
    """Make an older generation the newest again; returns ``restored``. Raises as :func:`rekey`."""
    number = bench.work.generation or 0
    async with bench.app.db.begin(client_id=bench.profile.client_id) as tx:
        rows = await bench.rows(tx)
    old = next((row for row in rows if row.generation == number), None)
    life.check_restorable(
        wanted=number, newest=bench.profile.generation, key_state=None if old is None else old.key_state,
        gone=old is not None and old.gone_at is not None,
    )  # fmt: skip
    if old is None:
        raise Integrity("generation_row_missing", generation=number)
    async with bench.app.rooms.enter(bench.profile.id, bench.profile.packing) as room:
        await open_into(bench, room, number)
        sealed = await reseal(bench, room, old.browser_version, base=number)
    async with bench.app.db.begin(client_id=bench.profile.client_id) as tx:
        await tx.append(
            profiles.event(EventName.PROFILE_RESTORED, Outcome.OK, bench.actor, sealed, number=number,
                           work=str(bench.work.id), job=str(bench.opening.job_id))
        )  # fmt: skip
    return "restored"
