"""A full disk: what stops things must still work, and what starts things must not use up the room for it.

Rules
- The reserve is given back only if an act that stops something could not be recorded and the disk is short.
- From then on, and whenever the reserve is not held, nothing new is started: no job, no lease, no permit. Another
  process may have given it back: ``web`` records a key's revocation, the broker a kill.
- The broker's rounds take the reserve again as soon as there is room. Then work continues by itself.

It may not judge an act: a refusal is not retried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeVar
from uuid import UUID

from byokeep.core.errors import ByokeepError, Unavailable
from byokeep.core.model import Actor
from byokeep.telemetry.log import get_log

if TYPE_CHECKING:  # it loads the web framework, which worker and refresher do without
    from byokeep.http.request import Authenticator

T = TypeVar("T")
_PAUSES_S: Final = (0.2, 0.3, 0.5, *(1.0,) * 7)  # seconds; a database that failed for lack of room needs some time


class Reserve(Protocol):
    """Disk space set aside for the emergency."""

    def hold(self) -> bool:
        """Set it aside; False if there is no room."""

    def kept(self) -> bool:
        """Whether it is still there, wherever it was set aside; this looks only at the file's name."""

    def short(self) -> bool:
        """Whether there is less room than the reserve keeps."""

    def release(self) -> int:
        """Give it back; returns how many bytes."""


class Emergency:
    """Whether the disk has room, and what to do if it has not.

    Args:
        reserve: The space; ``None`` = this process keeps none, so it never refuses work for lack of room.
    """

    def __init__(self, reserve: Reserve | None = None) -> None:
        self._reserve = reserve
        self._short = False
        self._held = False

    def hold(self) -> bool:
        """Take the reserve if there is room; False = there is none, and no work is started meanwhile. Blocking.

        Raises:
            Unavailable: ``file_unusable``.
        """
        if self._reserve is None:
            return True
        held = self._reserve.hold()
        self._short, self._held = not held, held
        return held

    def require_room(self) -> None:
        """Refuse to start something while the reserve is not held.

        Raises:
            Unavailable: ``disk_full``.
        """
        if self._short or (self._held and self._reserve is not None and not self._reserve.kept()):
            raise Unavailable(
                "disk_full", next_step="Free disk space. Kill and revoke still work; the rest then resumes by itself."
            )

    def admitting(self, auth: Authenticator) -> Authenticator:
        """Return ``auth`` for acts that stop something: it first frees the reserve for a database that lacks room.

        Nobody can be identified without the database. So even a stranger can cause the reserve to be given back, while
        the database is away and the disk is full. That starts nothing and lets nobody in.
        """

        async def admit(token: str, request_id: UUID, *, by_itself: bool = False) -> Actor:
            return await self.stopping(lambda: auth(token, request_id, by_itself=by_itself))

        return admit

    async def stopping(self, act: Callable[[], Awaitable[T]]) -> T:
        """Do what stops something; on a full disk, give the reserve back and retry for some seconds.

        Raises:
            ByokeepError: What ``act`` raised last.
        """
        try:
            return await act()
        except Unavailable as error:
            failure: Unavailable = error
        if not await self._give_back():
            raise failure
        for pause in _PAUSES_S:
            await asyncio.sleep(pause)
            try:
                return await act()
            except Unavailable as error:
                failure = error
        raise failure

    async def _give_back(self) -> bool:
        reserve = self._reserve
        try:
            if reserve is None:
                return False
            if not await asyncio.to_thread(reserve.short):
                return not await asyncio.to_thread(reserve.kept)  # another process has just given it back
            self._short = True
            freed = await asyncio.to_thread(reserve.release)
        except ByokeepError as error:
            get_log().error("disk_reserve_kept", code=error.code)
            return False
        get_log().error("disk_reserve_given_back", size=freed)
        return True
