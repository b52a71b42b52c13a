"""The record of a profile goes to the runner that has it open, and to nobody else (ADR 0033).

Rules
- A runner's lease reads no record at the store. What it opens it gets here, for as long as the opening is fresh, and of
  the generation that it has open alone: so it holds the wrapped key of no other profile.
- The record is compared with the row first. One that is not what was sealed takes the profile out of use, and its text
  goes nowhere.
- The switches are held open while the store is asked, for a bounded time: a kill that was acknowledged came after the
  reading, or there is none. No other lock is waited for meanwhile.
- The opening is on the client's chain before the record is read; it explains the entry in the store's own log.

It may not unwrap a key: what it passes on is a wrapped one.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from byokeep.core.errors import Conflict, Integrity
from byokeep.core.model import Actor, ClientId
from byokeep.core.policy import DenyReason
from byokeep.flows import profiles
from byokeep.flows.app import BrokerApp
from byokeep.flows.lease import deny
from byokeep.flows.profile_record import stored
from byokeep.flows.profile_use import held_by, open_now, take_out, whose
from byokeep.flows.profiles import Profile
from byokeep.flows.scopes import browser_scopes, hold_open, while_held
from byokeep.ports import Tx
from byokeep.sealing.generation import Generation, StoredGeneration

FRESH_S: Final = 30  # seconds from the opening in which its record is handed out; a holder asks for it at once


async def record(app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, epoch: int) -> bytes:
    """Return the record of the generation that the job has open: docs/spec/manifest.md.

    Raises:
        NotFound: No such job or profile for this runner.
        Denied: As :func:`byokeep.flows.profile_use.may_use`; ``profile_not_usable``.
        Conflict: ``opening_lost``; ``opening_not_fresh``.
        Integrity: ``manifest_missing``, ``dek_missing``, ``superseded``, ``sealed_profile_altered``; the profile is out
            of use then.
        Unavailable: The store; ``store_timeout``.
    """
    client_id, looked_at = await whose(app, actor, job_id), 0
    while True:
        async with app.db.begin(client_id=client_id) as tx:
            await hold_open(tx, browser_scopes(client_id))
            rows = await _open_now(tx, app, actor, client_id, job_id, profile_id, epoch)
            try:
                async with while_held():
                    text = await stored(app.records, rows[0], app.environment, found=StoredGeneration(), others=rows)
                await held_by(tx, client_id, job_id, profile_id, epoch)
            except Integrity as error:
                refused = error
            else:
                return text
        # A key that is wrapped anew meanwhile takes the row to another version, and this one away.
        if refused.code != "manifest_missing" or rows[0].record_version == looked_at:
            break
        looked_at = rows[0].record_version
    async with app.db.begin(client_id=client_id) as tx:
        await tx.all(None, "profile_lock", profile_id=profile_id)
        await take_out(
            tx, app, actor, await tx.one(Profile, "profile_get", client_id=client_id, id=profile_id), "altered"
        )
    raise refused


async def _open_now(
    tx: Tx, app: BrokerApp, actor: Actor, client_id: ClientId, job_id: UUID, profile_id: UUID, epoch: int
) -> list[Generation]:
    """Return the rows of a profile that this job has just opened, the one that it opened first."""
    row, profile = await open_now(tx, app, actor, client_id, job_id, profile_id, epoch)
    at = {"client_id": client_id, "profile_id": profile_id}
    rows = await tx.all(Generation, "generations_of", **at, limit=profiles.KEPT_IN_VIEW)
    if row["usable"] is not True or not rows or rows[0].generation != profile.generation:
        raise deny(DenyReason.PROFILE_NOT_USABLE)
    if not await tx.one(lambda row: row["fresh"] is True, "opening_fresh", **at, within_s=FRESH_S):
        raise Conflict("opening_not_fresh", next_step="Open the profile again and take its record at once.")
    return rows
