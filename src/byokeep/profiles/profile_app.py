"""What a flow of ``byokeep worker`` gets for browser profiles: its ports, and the context of a piece of work.

Rules
- A key in clear is a Secret that its user wipes; a session in clear exists in a workspace alone, which is memory: it
  ends with its process, and what is in it was never on a disk (R5.3-7).
- A browser says what it sees; whether that is right the flow decides.
- Everything is done inside a custody lease of the work's own job; when that ends, so does the work.
- While work goes on it shows life, for itself and for the opening; who is told to stop leaves the last good generation.

It may not know a library.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar
from uuid import UUID

from byokeep.core.errors import Conflict
from byokeep.core.manifest import ExpectedAccount, Packing
from byokeep.core.model import Actor, Provider
from byokeep.core.ref import ProfileRef
from byokeep.kernel.app import App
from byokeep.kernel.ports import ArtifactStore, Look, Shot, Tx, Window, Written
from byokeep.profiles import profile_book, profiles
from byokeep.profiles.profile_work import Work
from byokeep.profiles.profiles import Opening, Profile
from byokeep.sealing.generation import Generation
from byokeep.sealing.store import Sealing, Sink, Source

if TYPE_CHECKING:
    from byokeep.sealing.sealer import Sealer
if TYPE_CHECKING:
    from byokeep.sealing.transit import TransitKeys

T = TypeVar("T")
BEAT_S: Final = 5.0  # seconds between two signs of life
ASK_S: Final = 1.0  # seconds between two looks at the lease


class Records(Protocol):
    """The records of one client's profiles in the store, inside a held lease."""

    async def newest(self, ref: ProfileRef) -> int:
        """Return the newest version's number, 0 when nothing was ever written."""

    async def read(self, ref: ProfileRef, version: int) -> bytes:
        """Return exactly this version. Raises NotFound(``record_missing``), Unavailable, Denied."""

    async def write(self, ref: ProfileRef, record: bytes, *, cas: int) -> Written:
        """Write version ``cas + 1``. Raises Conflict(``stale_version``), Unavailable, Denied."""

    async def live_versions(self, ref: ProfileRef) -> list[int]:
        """Return versions neither deleted nor destroyed."""

    async def destroy(self, ref: ProfileRef, versions: list[int]) -> None:
        """Destroy versions for good."""


class ProfileCustody(Records, Protocol):
    """Custody of a client's profiles: their records, and the KEK that wraps their keys."""

    @property
    def keys(self) -> TransitKeys:
        """Wraps and unwraps."""

    @property
    def lease_id(self) -> str:
        """Of the lease in force."""


class HeldCustody(ProfileCustody, Protocol):
    """Custody that somebody may end: a kill, the client's suspension, the job's end."""

    async def still(self) -> None:
        """Return if it may go on. Raises Denied: stop; Unavailable: could not be asked, so stop as well."""


class ProfileCustodian(Protocol):
    """The worker's own identity at the broker, for jobs about profiles."""

    def open_profile(self, job_id: UUID, profile_id: UUID) -> AbstractAsyncContextManager[HeldCustody]:
        """Hold a custody lease of a job. Raises Denied, Unavailable."""

    async def close(self, job_id: UUID) -> None:
        """End a job. Raises Unavailable, Denied."""


class Browser(Protocol):
    """A browser that runs in a room."""

    @property
    def version(self) -> str:
        """Four numbers."""

    def hand_over(
        self, platform: Provider, *, facts: Mapping[str, str], then: str
    ) -> AbstractAsyncContextManager[Window]:
        """Show a platform's login page to a person, for as long as the block runs.

        Args:
            facts: What the person is to know, by its label.
            then: The command to run after Done.

        Raises:
            Unavailable: There is no such browser any more.
        """

    async def look(self, expected: ExpectedAccount) -> Look:
        """Say whose page a platform shows. Raises nothing that a page can bring about."""

    async def prove(self, expected: ExpectedAccount) -> Shot:
        """Photograph the page that was looked at last. Raises Rejected, Unavailable."""

    async def log_out(self, platform: Provider) -> str:
        """End the session at a platform and show it once more: ``revoked``, ``unsupported`` or ``failed``.

        The browser holds no session afterwards. Raises Unavailable, Rejected.
        """

    async def pack(self) -> None:
        """Take the session out, as the last act, and close; it is the room's content then.

        Raises:
            Conflict: ``not_closed_cleanly``.
            Rejected: What can not be packed.
            Unavailable: The browser failed.
        """


class TaskRoom(Protocol):
    """A place in memory for one profile."""

    @property
    def sink(self) -> Sink:
        """Where an opened blob goes; what was committed is the room's content."""

    def content(self) -> AbstractContextManager[Source]:
        """Give the room's content, to be sealed."""

    def browser(self) -> AbstractAsyncContextManager[Browser]:
        """Start a browser on the room's content, or a clean one when there is none; it is gone after the block."""


class TaskRooms(Protocol):
    """Makes rooms."""

    def enter(self, profile_id: UUID, packing: Packing) -> AbstractAsyncContextManager[TaskRoom]:
        """Give a room for the length of the block; it is wiped then. Raises Unavailable: there is no such memory."""


class Notes(Protocol):
    """Where people at the worker's host find the address of a waiting browser; files of mode 0600."""

    async def leave(self, work_id: UUID, window: Window) -> None:
        """Leave it. Raises Unavailable."""

    async def take_away(self, work_id: UUID) -> None:
        """Remove it; one that is gone is fine."""


class Proofs(Protocol):
    """Where proof screenshots are kept; they hold nothing that is secret, and are named by what they prove."""

    async def keep(self, client_id: UUID, profile_id: UUID, generation: int, shot: Shot) -> str:
        """Keep one as long as its profile; returns its name. Raises Unavailable."""

    async def altered(self, client_id: UUID, profile_id: UUID) -> bool:
        """Whether one that was kept is not what it was."""

    async def remove(self, client_id: UUID, profile_id: UUID) -> None:
        """Remove all of a profile; none is fine. Raises Unavailable."""


Digest = Callable[[str], str]


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
