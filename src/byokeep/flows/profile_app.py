"""What a flow of ``byokeep worker`` gets for profiles, and the bench that a piece of work is done on.

Rules
- Everything is done inside a custody lease of the work's own job; when that ends, so does the work.
- While work goes on it shows life, for itself and for the opening; who is told to stop leaves the last good generation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import UUID

from byokeep.core.errors import Conflict
from byokeep.core.model import Actor
from byokeep.flows import profile_book, profiles
from byokeep.flows.app import App
from byokeep.flows.profile_ports import HeldCustody, Notes, ProfileCustodian, Proofs, TaskRooms
from byokeep.flows.profile_work import Work
from byokeep.flows.profiles import Opening, Profile
from byokeep.ports import ArtifactStore, Tx
from byokeep.sealing.generation import Generation
from byokeep.sealing.store import Sealing

if TYPE_CHECKING:
    from byokeep.sealing.sealer import Sealer

T = TypeVar("T")
BEAT_S: Final = 5.0  # seconds between two signs of life
ASK_S: Final = 1.0  # seconds between two looks at the lease


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileApp(App):
    """``byokeep worker``, as far as it looks after profiles.

    Attributes:
        owner: This process, for the work that it takes up.
        digest: Keyed digest of an account's id, for records.
        rekey_days: The installation's interval between two keys; 0 = by risk.
    """

    custodian: ProfileCustodian
    sealer: Sealer
    artifacts: ArtifactStore
    rooms: TaskRooms
    notes: Notes
    proofs: Proofs
    owner: UUID
    digest: Callable[[str], str]
    rekey_days: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A piece of work under way, with the profile as it was when it began, and the opening that is held for it."""

    app: ProfileApp
    actor: Actor
    work: Work
    profile: Profile
    opening: Opening
    custody: HeldCustody

    @property
    def sealing(self) -> Sealing:
        """What seals and opens, under this work's lease."""
        return Sealing(sealer=self.app.sealer, artifacts=self.app.artifacts, keys=self.custody.keys)

    async def now(self, tx: Tx) -> Profile:
        """Return the profile as it stands, in its line."""
        await tx.all(None, "profile_lock", profile_id=self.profile.id)
        return await tx.one(Profile, "profile_get", client_id=self.profile.client_id, id=self.profile.id)

    async def rows(self, tx: Tx) -> list[Generation]:
        """Return every generation that is kept in view, newest first."""
        return await tx.all(
            Generation, "generations_of", client_id=self.profile.client_id, profile_id=self.profile.id,
            limit=profiles.KEPT_IN_VIEW,
        )  # fmt: skip

    async def beat(self, *, state: str | None = None, result: str | None = None) -> Work:
        """Show life; returns the work as it stands.

        Args:
            state: Where it stands from now on; None: where it stood.
            result: How far a person got; None: as before.

        Raises:
            Conflict: ``work_ended``, ``opening_lost``: stop.
        """
        at = {"client_id": self.work.client_id, "id": self.work.id}
        async with self.app.db.begin(client_id=self.work.client_id) as tx:
            now = await tx.maybe(Work, "work_beat", **at, owner=self.app.owner, state=state, result=result)
            if now is None:
                raise Conflict("work_ended", next_step="It was cancelled, or another worker took it up.")
            await profile_book.beat(tx, self.opening)
        return now

    async def while_alive(self, work: Awaitable[T]) -> T:
        """Do something and show life meanwhile; it is cancelled when life is refused.

        Raises:
            Conflict: As :meth:`beat`; and what the work raises.
            Denied, Unavailable: The lease holds no more, or nobody could say.
        """
        doing = asyncio.ensure_future(work)
        beating = asyncio.ensure_future(self._beat_on())
        try:
            await asyncio.wait({doing, beating}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                doing.cancel()
                await asyncio.wait({doing})
                beating.result()
            return doing.result()
        finally:
            for task in (doing, beating):
                task.cancel()
                with suppress(BaseException):
                    await task

    async def _beat_on(self) -> None:
        """Ask every second whether the lease holds, so that a kill closes a browser that waits; beat now and then."""
        since = 0.0
        while True:
            await asyncio.sleep(ASK_S)
            await self.custody.still()
            since += ASK_S
            if since >= BEAT_S:
                since = 0.0
                await self.beat()
