"""Rooms with a browser in them: joins memory, archive and Chromium to what the flows of profiles ask for.

Rules
- A plain session is in the room's directory, in a Secret, or in the browser that runs there; nowhere else.
- The full packing is an allow-list of a user-data-dir's files: what is not named here is left out, and refused on the
  way back. Left out on purpose: caches, history, saved passwords, autofill, open tabs, crash reports, locks. A link, a
  socket or a file that somebody else can reach too is refused.
- A directory whose last run did not end cleanly is not packed: its cookies may never have been written. Every cookie
  must be of the form that travels (`v10`); one locked to somebody's keyring is silently lost elsewhere.
- A packed directory is checked before a browser is started on it. A document goes only into a clean browser.
- The comparison decides whose page it is. A page that could not be reached is *unknown*, which is no match.

It may not know a database, a store or a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final, cast

from playwright.async_api import Error

from byokeep.browser import ephemeral, launch, session
from byokeep.browser.archive import Pack, Unpack
from byokeep.browser.handoff import handed_over
from byokeep.browser.identify import IdentityOutcome, from_network, identify, photographed
from byokeep.browser.launch import Running, Start, ended_cleanly, new_directory, running
from byokeep.browser.session import logged_out
from byokeep.core.errors import Conflict, Integrity, Rejected, Unavailable, refusing
from byokeep.core.identity import Fingerprint
from byokeep.core.manifest import ExpectedAccount, Packing
from byokeep.core.model import Provider
from byokeep.core.secret import Secret
from byokeep.core.vault_incident import SessionEnd
from byokeep.kernel.ports import Look, Shot, Window
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS
from byokeep.platforms.website import SitePlace, Website, websites
from byokeep.sealing.generation import Sink, Source

MOST_FILES: Final = 20_000
MOST_BYTES: Final = 1024 * 1024 * 1024
COOKIES: Final = ("Default/Cookies", "Default/Network/Cookies")
_FILES: Final = frozenset(
    {*COOKIES, "Last Version", "Default/Preferences", "Default/Secure Preferences", "Default/Network/TransportSecurity",
     "Default/TransportSecurity"}
)  # fmt: skip
# Folders whose whole content is kept. Worker scripts stay with the registrations: one without its script is dropped by
# the browser, and the site's worker with it.
_FOLDERS: Final = (
    "Default/Local Storage/leveldb/",
    "Default/IndexedDB/",
    "Default/WebStorage/",
    "Default/Service Worker/Database/",
    "Default/Service Worker/ScriptCache/",
)
# Names that are not content wherever they are, and the caches inside kept folders.
_NEVER: Final = re.compile(r"(?:^|/)(?:LOCK|LOG|LOG\.old|CacheStorage(?:/.*)?|[^/]*-journal|[^/]*-wal|[^/]*-shm)\Z")
_PLAIN: Final = re.compile(r"[A-Za-z0-9._@+^&=, ~%{}\[\]()#!$'-]{1,200}\Z")
_PORTABLE: Final = b"v10"
_ROWS: Final = "SELECT CAST(substr(encrypted_value, 1, 3) AS BLOB), length(value) FROM cookies"


def contents(directory: Path) -> tuple[str, ...]:
    """Return what of a closed browser's directory is packed: relative paths in order.

    Raises:
        Conflict: ``profile_in_use``; ``not_closed_cleanly``: the last run was killed, or left its lock behind.
        Rejected: ``cookie_not_portable``; ``profile_too_large``.
        Integrity: ``profile_damaged``: the cookies cannot be read.
    """
    if launch.of_directory(directory):
        raise Conflict("profile_in_use", next_step="Close the browser first.")
    if not ended_cleanly(directory):
        raise Conflict("not_closed_cleanly", next_step="Open the profile, check that it is logged in, close it.")
    kept = {path: status.st_size for path, status in _files(directory) if is_kept(path)}
    _cookies(directory)
    if len(kept) > MOST_FILES or sum(kept.values()) > MOST_BYTES:
        raise Rejected("profile_too_large", files=len(kept), bytes=sum(kept.values()))
    return tuple(sorted(kept))


def is_kept(path: str) -> bool:
    """Whether a file of this relative path belongs to a packed profile; used on an archive before it is unpacked."""
    parts = PurePosixPath(path).parts
    if not parts or path != "/".join(parts) or not all(_PLAIN.match(one) and one not in (".", "..") for one in parts):
        return False
    inside = path in _FILES or any(path.startswith(folder) for folder in _FOLDERS)
    return inside and not _NEVER.search(path)


def unpacked(directory: Path) -> None:
    """Check a directory that was just unpacked; what does not belong there is refused.

    Raises:
        Integrity: ``profile_damaged``: a file that no packing writes, a link, or cookies that cannot be read.
        Rejected: ``cookie_not_portable``.
    """
    for path, status in _files(directory):
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or not is_kept(path):
            raise Integrity("profile_damaged")
    _cookies(directory)


def _files(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield everything below except folders, by relative path; links are named and never followed."""
    for folder, folders, names in os.walk(directory, onerror=_raise):
        for place in (Path(folder, name) for name in (*folders, *names)):
            status = place.lstat()
            if not stat.S_ISDIR(status.st_mode):
                yield place.relative_to(directory).as_posix(), status


def _raise(error: OSError) -> None:
    """Raise the error: a folder that cannot be listed is not an empty one."""
    raise error


def _cookies(directory: Path) -> int:
    """Count the cookies; all must be of the form that travels."""
    total = 0
    for name in COOKIES:
        place = directory / name
        if not place.exists():
            continue
        if place.is_symlink():
            raise Rejected("profile_odd_file")
        journal = place.with_name(place.name + "-journal")
        if journal.exists() and journal.stat().st_size:
            # A cut-off transaction: the journal is not packed, so its rows would be neither old nor new.
            raise Conflict("not_closed_cleanly", next_step="Open the profile, check that it is logged in, close it.")
        for prefix, plain in _rows(place):
            if prefix != _PORTABLE and (prefix or plain):
                raise Rejected("cookie_not_portable", next_step="Log in again in a browser that byokeep started.")
            total += 1
    return total


def _rows(place: Path) -> list[tuple[bytes, int]]:
    with refusing("profile_damaged", on=(sqlite3.Error, TypeError)):
        address = place.absolute().as_uri() + "?mode=ro&immutable=1"
        with closing(sqlite3.connect(address, uri=True)) as database:
            if database.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise sqlite3.DatabaseError
            return [(bytes(prefix), plain) for prefix, plain in database.execute(_ROWS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomSite:
    """A platform's website, and its address."""

    website: Website
    place: SitePlace


def sites(urls: Mapping[str, str], own: Path | None = None) -> Mapping[Provider, RoomSite]:
    """Return each platform's website.

    Args:
        urls: Login -> address of a simulator, for tests and demos.
        own: An operator's own descriptions.

    Raises:
        Rejected: ``bad_website_file``.
    """
    found: dict[Provider, RoomSite] = {}
    for login, website in websites(own).items():
        platform = PLATFORM_DESCRIPTORS[login].provider
        if platform not in found or login == platform.value:
            found[platform] = RoomSite(website=website, place=SitePlace(base=urls.get(login)))
    return found


class ProfileRooms:
    """:class:`byokeep.profiles.login.Rooms` of this process.

    Args:
        rooms: Where in memory they are.
        known: The platforms' websites.
    """

    def __init__(self, rooms: ephemeral.Rooms, known: Mapping[Provider, RoomSite]) -> None:
        self._rooms, self._sites = rooms, known

    @contextlib.asynccontextmanager
    async def enter(self, packing: Packing) -> AsyncIterator[ProfileRoom]:
        """Yield a room; it is wiped at the end. No path in it names the profile."""
        with self._rooms.open() as room:
            room.must_be_guarded()
            one = ProfileRoom(room.path, packing, self._sites)
            try:
                yield one
            finally:
                one.forget()


class ProfileRoom:
    """One room. Its content is a document (portable) or a directory (full)."""

    def __init__(self, path: Path, packing: Packing, known: Mapping[Provider, RoomSite]) -> None:
        self._directory, self._scratch = path / "p", path / "s"
        self._packing, self._sites = packing, known
        self.document: Secret | None = None
        self._opened = ""  # digest of the document that a browser was started on
        new_directory(self._scratch)

    @property
    def sink(self) -> Sink:
        """Return where an opened blob goes."""
        return Unpack(self._directory) if self._packing is Packing.FULL else _Document(self)

    @contextlib.contextmanager
    def content(self) -> Iterator[Source]:
        """Yield the content, to be sealed.

        Raises:
            Conflict: ``room_is_empty``; and what packing a directory raises.
        """
        if self._packing is Packing.FULL:
            with contextlib.closing(Pack(self._directory, contents(self._directory))) as packed:
                yield cast("Source", packed)
        elif self.document is None:
            raise Conflict("room_is_empty")
        else:
            yield io.BytesIO(self.document.reveal())

    @contextlib.asynccontextmanager
    async def browser(self) -> AsyncIterator[RoomBrowser]:
        """Start a browser on the content, or a clean one."""
        if not self._directory.exists():
            new_directory(self._directory)
        else:
            await asyncio.to_thread(unpacked, self._directory)
        async with running(Start(directory=self._directory, scratch=self._scratch)) as one:
            origins: tuple[str, ...] = ()
            if self.document is not None:
                state = session.read(self.document)
                self._opened = _lasting(state)
                origins = state.visited()
                await session.restored(one, state)
            yield RoomBrowser(one, self, self._sites, origins)

    async def take(self, one: Running, origins: tuple[str, ...]) -> bool:
        """Take the session out of a browser and close it; returns whether it changed, as an open directory does."""
        packed: Secret | None = None
        moved = True
        if self._packing is Packing.PORTABLE:
            state = await session.taken(one, also=origins)
            packed, moved = session.written(state), _lasting(state) != self._opened
        ended = await one.close()
        if not ended.clean:
            raise Conflict("not_closed_cleanly", next_step="Log in again: what was not written is lost.")
        self.forget()
        self.document = packed
        return moved

    def forget(self) -> None:
        """Wipe what is held beside the directory."""
        if self.document is not None:
            self.document.wipe()
            self.document = None


class RoomBrowser:
    """A browser that runs in a room, as the flows of profiles use it."""

    def __init__(
        self, one: Running, room: ProfileRoom, known: Mapping[Provider, RoomSite], origins: tuple[str, ...]
    ) -> None:
        self.running, self._room, self._sites, self._origins = one, room, known, origins
        self._session: session.PortableState | None = None

    @property
    def version(self) -> str:
        """Return four numbers."""
        return self.running.version

    def hand_over(
        self, platform: Provider, *, facts: Mapping[str, str], then: str
    ) -> contextlib.AbstractAsyncContextManager[Window]:
        """Show a platform's login page to a person while the block runs.

        Args:
            facts: What the person must know, by label.
            then: The command to run after Done.

        Raises:
            Unavailable: The browser no longer exists.
        """
        site = self._site(platform)
        return handed_over(self.running, site.website, site.place, facts=facts, then=then)

    async def look(self, expected: ExpectedAccount) -> Look:
        """Say whose page a platform shows. Nothing that a page can do makes it raise."""
        site = self._site(expected.platform)
        seen = await identify(self.running.page, site.website, site.place)
        compared = seen.compared(told(site.website, expected))
        verdict = "unknown" if seen.outcome is IdentityOutcome.UNREACHABLE else compared.verdict.value
        cause = compared.why.value if seen.outcome is IdentityOutcome.IDENTIFIED else seen.outcome.value
        return Look(
            platform=expected.platform, verdict=verdict, cause=cause, endpoint=f"website/{site.website.id}",
            face=seen.face,
        )  # fmt: skip

    async def prove(self, expected: ExpectedAccount) -> Shot:
        """Photograph the page that was last looked at, loaded again: a worker may have replaced it since.

        Raises Rejected, Unavailable.
        """
        site, page = self._site(expected.platform), self.running.page
        with refusing("proof_failed", Unavailable, on=(Error, TimeoutError)):
            async with from_network(page, site.website, site.place):
                await identify(page, site.website, site.place)
                return await photographed(page, site.website, site.place, told(site.website, expected))

    async def log_out(self, expected: ExpectedAccount) -> SessionEnd:
        """End an account's session and show it once more. It is taken out once and put back for each platform.

        The browser holds no session afterwards. Raises Unavailable, Rejected.
        """
        site = self._site(expected.platform)
        if self._session is None:
            self._session = await session.taken(self.running, also=self._origins)
        return await logged_out(self.running, site.website, site.place, self._session, expected.account_id)

    async def pack(self) -> bool:
        """Take the session out, as the last act, and close; it becomes the room's content. Returns whether it changed.

        Raises:
            Conflict: ``not_closed_cleanly``.
            Rejected: What cannot be packed.
            Unavailable: The browser failed.
        """
        return await self._room.take(self.running, self._origins)

    def _site(self, platform: Provider) -> RoomSite:
        if platform not in self._sites:
            raise Rejected("platform_without_website", platform=platform.value)
        return self._sites[platform]


def told(website: Website, expected: ExpectedAccount) -> Fingerprint:
    """Return the fingerprint, without the names that this website does not tell."""
    place, fingerprint = website.account, expected.fingerprint
    tells_user = bool(place.json_username or place.username)
    tells_display = bool(place.json_display_name or place.display_name)
    return replace(
        fingerprint, username=fingerprint.username if tells_user else None,
        display_name=fingerprint.display_name if tells_display else None,
    )  # fmt: skip


def _lasting(state: session.PortableState) -> str:
    """Return the digest of what outlives a tab: what lives in a tab changes when it is looked at."""
    bare = ({**one, "sessionStorage": []} for one in state.origins)
    kept = tuple(one for one in bare if one["localStorage"] or one["indexedDB"])
    return session.digest(session.PortableState(state.cookies, kept))


class _Document:
    """A document on its way into a room; readable once it is committed."""

    def __init__(self, room: ProfileRoom) -> None:
        self._room, self._taken = room, bytearray()

    def write(self, data: memoryview) -> int:
        if len(self._taken) + len(data) > session.MOST_BYTES:
            raise Integrity("state_damaged")
        self._taken += data
        return len(data)

    def commit(self) -> None:
        self._room.forget()
        self._room.document = Secret(bytes(self._taken))
        self.abort()

    def abort(self) -> None:
        self._taken[:] = bytes(len(self._taken))
        self._taken.clear()
