"""What sealing, opening and working with a browser profile needs of the outside, in the words of the flows.

Rules
- A key in clear is a Secret that its user wipes; a session in clear exists in a room alone.
- A room is memory: it ends with its process, and what is in it was never on a disk (R5.3-7).
- A browser says what it sees; whether that is right the flow decides.

It may not know a library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from byokeep.core.manifest import ExpectedAccount, Packing
from byokeep.core.model import Provider
from byokeep.core.ref import ProfileRef
from byokeep.ports import Look, Shot, Window, Written
from byokeep.sealing.store import Sink, Source

if TYPE_CHECKING:
    from byokeep.sealing.transit import TransitKeys


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
