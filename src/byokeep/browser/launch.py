"""Starts the system's Chromium on a directory, and closes it so that the directory is whole.

Rules
- Always the same switches, so that the login and every run are one browser: no keyring (`--password-store=basic`), no
  crash reports, no updates, no calls of its own, no downloads, no extensions.
- Nothing is recorded: no trace, HAR or video can be asked for here.
- What the browser writes beside its directory (shared memory, sockets, artifacts) goes to `scratch`, which is the
  caller's and lies in memory as well.
- The sandbox is off for root alone, where Chromium has none.
- Only a close that was asked for and that the browser confirms gives a complete profile; all others are told apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from byokeep.browser import processes
from byokeep.browser.driver import driver
from byokeep.browser.preferences import ended_cleanly, settle
from byokeep.chromium import find_chromium
from byokeep.core.errors import Conflict, Rejected, Unavailable
from byokeep.process import clean_environment

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Frame, Page, Playwright

START_S: Final = 60.0
CLOSE_S: Final = 20.0
MOST_PATH: Final = 60  # bytes: Chromium makes a socket below scratch, whose whole name has at most 107
_LEFTOVERS_S: Final = 5.0
# On top of Playwright's own. Chromium takes the last `--disable-features` alone, so none is given here.
_SWITCHES: Final = (
    "--password-store=basic",
    "--disable-crash-reporter",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-background-networking",
    "--disable-client-side-phishing-detection",
    "--disable-domain-reliability",
    "--disable-save-password-bubble",
    "--disable-notifications",
    "--no-pings",
    "--dns-prefetch-disable",
    "--disk-cache-size=33554432",
    # Measured on 156: despite the switches above it asks for updates and for Google accounts, so nobody is there.
    "--component-updater=url-source=https://127.0.0.1:9/",
    "--gaia-url=https://127.0.0.1:9/",
)
# Playwright's: shared memory would become files in the system's temporary folder, on disk.
_NOT_PLAYWRIGHTS: Final = ("--disable-dev-shm-usage",)
_OF_A_DESKTOP: Final = ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How a browser is started.

    Args:
        directory: Its user-data-dir: the caller's alone (0700), in memory, used by nobody else meanwhile.
        scratch: A folder of the same kind beside it, for what the browser writes elsewhere.
        headed: With a window, for a person at this machine.
        proxy: Address of a proxy that all its calls go through, loopback included; None for none.
    """

    directory: Path
    scratch: Path
    headed: bool = False
    proxy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserEnd:
    """How a browser ended. ``clean``: its directory is complete; ``killed``: how many processes had to be killed."""

    clean: bool
    killed: int


@dataclass(slots=True, kw_only=True)
class Running:
    """A browser that runs.

    Args:
        visited: Origins of all pages so far, in their tabs: what may hold storage.
        framed: Origins of the frames inside them.
        ended: Set when it does no more.
    """

    start: Start
    context: BrowserContext
    version: str
    visited: set[str] = field(default_factory=set)
    framed: set[str] = field(default_factory=set)
    ended: BrowserEnd | None = None

    @property
    def page(self) -> Page:
        """The tab to work in; per-tab storage is restored into this one. Raises Unavailable(``browser_failed``)."""
        pages = self.context.pages
        if not pages:  # a person closed the last one
            raise Unavailable("browser_failed")
        return pages[0]

    async def close(self) -> BrowserEnd:
        """Close it; a browser that will not close is killed, and that is said. A second call says the same.

        Raises:
            Unavailable: ``browser_not_ended``.
        """
        if self.ended is None:
            asked = await _asked_to_close(self.context)
            asked = await processes.gone(self.start.directory, within_s=_LEFTOVERS_S if asked else 0) and asked
            killed = await processes.end_all(partial(processes.of_directory, self.start.directory))
            clean = asked and not killed and await asyncio.to_thread(ended_cleanly, self.start.directory)
            self.ended = BrowserEnd(clean=clean, killed=killed)
        return self.ended


@contextlib.asynccontextmanager
async def running(start: Start) -> AsyncIterator[Running]:
    """Start a browser and give it; close it at the end of the block, whatever happened in it.

    Raises:
        Conflict: ``profile_in_use``: a browser runs on this directory.
        Rejected: ``profile_directory_open``, ``profile_path_too_long``.
        Integrity: ``profile_damaged``.
        Unavailable: ``chromium_missing``, ``browser_not_started``, ``browser_not_ended``.
    """
    if len(os.fsencode(start.scratch)) > MOST_PATH:
        raise Rejected("profile_path_too_long", next_step="Give the folder a shorter name.", most=MOST_PATH)
    if await asyncio.to_thread(processes.of_directory, start.directory):
        raise Conflict("profile_in_use", next_step="Wait until the other run has ended.")
    await asyncio.to_thread(settle, start.directory)
    async with driver() as playwright:
        try:
            context = await _launched(playwright, start)
        except BaseException as failed:
            await processes.end_all(partial(processes.of_directory, start.directory))
            if isinstance(failed, Exception):  # Playwright's words hold arguments, paths and output of the browser
                raise Unavailable("browser_not_started") from None
            raise
        browser = context.browser
        one = Running(start=start, context=context, version=browser.version if browser is not None else "")
        _watch(one)
        try:
            yield one
        finally:
            await _to_its_end(one.close())


async def _to_its_end(work: Coroutine[Any, Any, BrowserEnd]) -> None:
    """Wait for a close also when we are cancelled meanwhile: nobody else would end the browser."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def switches() -> tuple[str, ...]:
    """Return the switches that we add to Playwright's."""
    return _SWITCHES


def sandboxed() -> bool:
    """Whether Chromium's sandbox is on: for everybody but root, for whom it has none."""
    return os.geteuid() != 0


async def _launched(playwright: Playwright, start: Start) -> BrowserContext:
    folder = str(start.scratch)
    return await playwright.chromium.launch_persistent_context(
        start.directory,
        executable_path=find_chromium(),
        headless=not start.headed,
        chromium_sandbox=sandboxed(),
        args=list(switches()),
        ignore_default_args=list(_NOT_PLAYWRIGHTS),
        env=dict(environment(start)),
        accept_downloads=False,
        downloads_path=folder,
        artifacts_dir=folder,
        traces_dir=folder,
        ignore_https_errors=False,
        no_viewport=start.headed or None,
        proxy={"server": start.proxy} if start.proxy else None,
        handle_sigint=False,
        handle_sigterm=False,
        handle_sighup=False,
        timeout=START_S * 1000,
    )


def environment(start: Start) -> Mapping[str, str]:
    """Return the environment of the browser: short, with no bus to a keyring, and with all its folders in scratch."""
    folder = str(start.scratch)
    own = dict.fromkeys(("TMPDIR", "HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"), folder)
    screen = {name: os.environ[name] for name in _OF_A_DESKTOP if start.headed and name in os.environ}
    return clean_environment(**own, **screen)


def _watch(running: Running) -> None:
    def seen(frame: Frame) -> None:
        if origin := origin_of(frame.url):
            (running.visited if frame.parent_frame is None else running.framed).add(origin)

    def opened(page: Page) -> None:
        page.on("framenavigated", seen)
        for frame in page.frames:
            seen(frame)

    for page in running.context.pages:
        opened(page)
    running.context.on("page", opened)


def origin_of(address: str) -> str | None:
    """Return the origin of a page's address, None for pages that have no storage of their own."""
    try:
        split = urlsplit(address)
        host, port = split.hostname or "", split.port
    except ValueError:
        return None
    if split.scheme not in ("http", "https") or not host:
        return None
    # Made of its parts: a name and a password may stand before the host.
    shown = f"[{host}]" if ":" in host else host
    return f"{split.scheme}://{shown}" + ("" if port is None else f":{port}")


def same_site(one: str, other: str) -> bool:
    """Whether two origins are of one site: the same host, or names that end in the same two labels."""
    ends = [(urlsplit(origin).hostname or "").split(".") for origin in (one, other)]
    named = not any(end[-1].isdigit() or ":" in end[-1] for end in ends)
    return ends[0] == ends[1] or (named and ends[0][-2:] == ends[1][-2:] and len(ends[0][-2:]) > 1)


async def _asked_to_close(context: BrowserContext) -> bool:
    try:
        await asyncio.wait_for(context.close(), CLOSE_S)
    except Exception:  # it crashed, or does not answer: what follows looks for itself
        return False
    return True
