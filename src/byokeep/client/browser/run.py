"""One run on a sealed profile: opened, seen to be the right account's, handed out, sealed again when it moved, wiped.

Rules
- The context is handed out after the account was compared with what is bound to the blob, and with what the broker
  knows; whatever could not be checked counts as another's (R5.3-17).
- What moved is sealed only when the browser has closed cleanly and still was the right account's; else the last good
  generation stays, and what moved is lost.
- However the block ends, the opening is ended with a word for why, and the room is wiped before that.

It may not act on a page but to look whose it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from byokeep.browser.ephemeral.rooms import Rooms, shared_place
from byokeep.browser.ephemeral.sweeping import swept
from byokeep.browser.identify import IdentityOutcome, identify
from byokeep.browser.rooms import ProfileRoom, ProfileRooms, RoomBrowser, RoomSite, sites, told
from byokeep.client.browser.keys import leased_keys
from byokeep.client.browser.opening import ProfileOpening
from byokeep.client.browser.unrecorded import unrecorded
from byokeep.client.browser.watch import OpeningWatch, watched
from byokeep.client.http import Broker
from byokeep.client.lease import HeldLease
from byokeep.core.errors import ByokeepError, Conflict, Denied, Integrity, Rejected, Unavailable
from byokeep.core.identity import Face, IdentityVerdict
from byokeep.core.manifest import ExpectedAccount
from byokeep.core.model import PROFILE, Environment, Provider
from byokeep.core.sealed_record import SealedRecord
from byokeep.core.secret import Secret
from byokeep.sealing.generation import StoredGeneration
from byokeep.sealing.sealer import Sealer
from byokeep.sealing.store import Sealing

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext

PERMITS_END_S: Final = 20.0  # seconds after which a permit that nobody closed is called unknown
_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a run has of its job.

    Attributes:
        identify: Reports a face to the broker, as ``job.identify`` does; returns its word.
        site_urls: Login -> address of a simulator; refused in production.
        room_dir: A directory in memory; ``None`` = one in shared memory.
    """

    job_id: UUID
    client_id: UUID
    broker: Broker
    token: Secret
    lease: HeldLease
    identify: Callable[[str, str, Mapping[str, str | None] | None], Awaitable[str]]
    site_urls: Mapping[str, str]
    room_dir: Path | None


@asynccontextmanager
async def opened(use: Use, name: str) -> AsyncIterator[BrowserContext]:
    """Give the browser of an account's sealed profile.

    Args:
        name: ``platform/account``, as they were registered.

    Raises:
        Denied: ``not_declared``, ``profile_not_usable``, ``switch_closed``, ``identity_mismatch``,
            ``identity_unproven``, ``identity_drift``, ...
        Conflict: ``profile_in_use``, with ``since``; ``opening_lost``.
        Integrity: The sealed profile is not what it was.
        Unavailable: Something could not be asked, or started; ``sealing_self_test_failed``, before anything is asked;
            ``profile_not_sealed``: what moved is lost.
    """
    sealer = await asyncio.to_thread(Sealer)
    platform, _, account = name.partition("/")
    profile_id = await use.lease.profile(f"{PROFILE}/{name}")
    opening = await ProfileOpening.begin(
        use.broker, use.token, job_id=use.job_id, client_id=use.client_id, profile_id=profile_id,
        lease_id=await use.lease.renewed(),
    )  # fmt: skip
    run = _Run(use, opening, Provider(platform), account, profile_id, sealer)
    try:
        async with watched(opening) as watch, run.room() as room:
            try:
                async with run.browser(room, watch) as context:
                    yield context
            finally:
                await run.seal(room, watch)
                watch.finish()
    finally:
        await asyncio.shield(opening.end(run.cause))


class _Run:
    def __init__(
        self, use: Use, opening: ProfileOpening, platform: Provider, account: str, profile_id: UUID, sealer: Sealer
    ) -> None:
        self.cause = "failed"
        self._use, self._opening, self._profile_id, self._sealer = use, opening, profile_id, sealer
        self._platform, self._account = platform, account
        self._name = f"{PROFILE}/{platform.value}/{account}"
        self._moved = self._failed = False

    @asynccontextmanager
    async def room(self) -> AsyncIterator[ProfileRoom]:
        """Give a room in memory; it is wiped at the end."""
        if self._use.site_urls and self._opening.environment is Environment.PRODUCTION:
            raise Rejected("test_hook_in_production", next_step="Remove site_urls.")
        place = self._use.room_dir or shared_place()
        rooms = await asyncio.to_thread(Rooms, place, private=False)
        known: Mapping[Provider, RoomSite] = sites(self._use.site_urls)
        if self._platform not in known:
            raise Rejected("platform_without_website", platform=self._platform.value)
        self._site = known[self._platform]
        async with swept(rooms), ProfileRooms(rooms, known).enter(self._profile_id, self._opening.packing) as room:
            yield room

    @asynccontextmanager
    async def browser(self, room: ProfileRoom, watch: OpeningWatch) -> AsyncIterator[BrowserContext]:
        """Give the context of a browser on the opened profile, and take out what moved."""
        self._record = await self._unsealed(room)
        try:
            async with room.browser() as browser:
                watch.guard(browser.running)
                self._version = browser.version
                await self._prove(browser)
                self.cause = "failed"
                failure: Exception | None = None
                with unrecorded(browser.running.context) as context:
                    try:
                        yield context
                    except Exception as error:
                        failure = error
                self._failed = failure is not None
                await self._leave(browser)
                if failure is not None:
                    raise failure
        finally:
            if watch.stopped is not None:
                self.cause = "killed" if watch.killed else "stopped"

    async def seal(self, room: ProfileRoom, watch: OpeningWatch) -> None:
        """Seal what moved as the next generation, also after an error of the block, which says more than one of ours.

        Raises:
            Unavailable: ``profile_not_sealed``.
        """
        if not self._moved:
            return
        try:
            await self._begin_sealing()
            await self._sealed(room, watch)
        except ByokeepError as error:
            if not self._failed:
                raise _not_sealed(error) from None

    async def _unsealed(self, room: ProfileRoom) -> SealedRecord:
        opening = self._opening
        keys = leased_keys(self._use.lease, self._name, opening.environment)
        sealing = Sealing(sealer=self._sealer, artifacts=opening, keys=keys)
        try:
            text = await opening.sealed_record()
            return await sealing.unseal(text, opening.row, opening.environment, room.sink, found=StoredGeneration())
        except Integrity:
            self.cause = "altered"
            raise

    async def _prove(self, browser: RoomBrowser) -> None:
        """Let pass what is plainly the expected account, to us and to the broker."""
        self.cause = "not_identified"
        expected = self._expected()
        face = await self._seen(browser, expected)
        said = await self._use.identify(self._platform.value, self._account, _said(face))
        if said == "mismatch":
            self.cause = "wrong_account"
        if said != "match" or self.cause == "wrong_account":
            code = {"mismatch": "identity_mismatch", "drift": "identity_drift"}.get(said, "identity_unproven")
            code = "identity_mismatch" if self.cause == "wrong_account" else code
            raise Denied(code, next_step="The browser was closed before anything was done. An operator looks at it.")

    async def _seen(self, browser: RoomBrowser, expected: ExpectedAccount) -> Face | None:
        """Return whom the platform shows, None when that could not be read; notes what needs a person."""
        seen = await identify(browser.running.page, self._site.website, self._site.place)
        verdict = seen.compared(told(self._site.website, expected)).verdict
        if seen.outcome is IdentityOutcome.IDENTIFIED and verdict is IdentityVerdict.MISMATCH:
            self.cause = "wrong_account"
        elif seen.outcome in (IdentityOutcome.LOGGED_OUT, IdentityOutcome.CHALLENGE):
            self.cause = seen.outcome.value
        return seen.face

    def _expected(self) -> ExpectedAccount:
        for one in self._record.manifest.accounts:
            if (one.platform, one.account) == (self._platform, self._account):
                return one
        raise Denied("identity_unproven", next_step="The profile was sealed for other accounts; an operator looks.")

    async def _leave(self, browser: RoomBrowser) -> None:
        """Look once more, take the session out as the last act, close. Never raises for what a page did."""
        try:
            if not browser.running.context.pages:
                await browser.running.context.new_page()
            await self._prove(browser)
            self.cause = "crashed"
            self._moved = await browser.packed()
            self.cause = "closed"
        except ByokeepError as error:
            if not self._failed:
                raise _not_sealed(error) from None
        except Exception:  # Playwright's words hold addresses and values of the page
            self.cause = "crashed"
            if not self._failed:
                raise Unavailable("browser_failed") from None

    async def _begin_sealing(self) -> None:
        waited = 0.0
        while True:
            try:
                await self._opening.begin_sealing()
            except Conflict as error:
                if error.code != "permits_open" or self._failed or waited >= PERMITS_END_S:
                    raise
                waited += _LOOK_S
                await asyncio.sleep(_LOOK_S)
            else:
                return

    async def _sealed(self, room: ProfileRoom, watch: OpeningWatch) -> None:
        use, opening = self._use, self._opening
        await use.lease.close()  # the job acts no more, and reads nothing else
        custody = HeldLease(use.broker, use.token, use.job_id)
        try:
            await custody.open()
            dek_id = uuid4()
            plan = await opening.announce(dek_id)
            manifest = replace(
                self._record.manifest, generation=plan.generation, created_by=plan.created_by,
                created_at=plan.created_at, browser_version=self._version,
            )  # fmt: skip
            keys = leased_keys(custody, f"{PROFILE}/{self._profile_id}", opening.environment)
            sealing = Sealing(sealer=self._sealer, artifacts=opening, keys=keys)
            with room.content() as source:
                record = await sealing.seal(manifest, dek_id, source)
            watch.finish()  # the opening ends with the record
            await opening.record(record)
        finally:
            await custody.close()


def _not_sealed(error: ByokeepError) -> Unavailable:
    step = "The acts are done. What moved in the session is lost; the last good profile stays."
    return Unavailable("profile_not_sealed", next_step=step, reason=error.code)


def _said(face: Face | None) -> Mapping[str, str | None] | None:
    if face is None:
        return None
    return {"id": face.account_id, "username": face.username, "display_name": face.display_name}
