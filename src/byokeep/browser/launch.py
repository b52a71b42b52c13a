"""The system's Chromium on a directory: started, found by its processes, closed so that it is whole, or killed.

Rules
- Always the same switches and settings (``chromium.toml``), written before each start, so that the login and every run
  are one browser: no keyring, no crash reports, no updates, no calls of its own, no downloads, no extensions. No
  setting of a profile counts: whoever sealed it could have named a proxy, or a certificate to trust. The tabs of the
  last run are forgotten: a browser that opens pages by itself would act before identity was looked at.
- Playwright's driver gets a short environment; otherwise it would inherit ours, credentials included. Other users of
  Playwright in this process get what they always got.
- Nothing is recorded: no trace, HAR or video can be asked for here.
- What the browser writes beside its directory (shared memory, sockets, artifacts) goes to `scratch`, which is the
  caller's and is in memory as well.
- The sandbox is off for root only, for whom Chromium has none.
- Only a close that was asked for and that the browser confirms gives a complete profile; all others are told apart.
  ``exit_type`` goes with the old settings: Chromium writes it late, so after a kill the value from the run before would
  still be there and pass for a clean end.
- A process belongs to a browser if the directory is in its arguments, or if such a process is its ancestor. Ended
  means: no process left, seen by looking again. SIGKILL, because a browser that was asked has had its chance.

It may not look at a page.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import stat
import tomllib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib import import_module, resources
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, Frame, Page, Playwright, async_playwright

from byokeep.chromium import find_chromium
from byokeep.core.errors import Conflict, Integrity, Rejected, Unavailable, refusing
from byokeep.process import below, clean_environment, living_processes, to_its_end


def resource(name: str) -> str:
    """Return the text of a file beside this module."""
    return resources.files("byokeep.browser").joinpath(name).read_text("utf-8")


_PLAYWRIGHTS: Final = frozenset({
    "PW_LANG_NAME", "PW_LANG_NAME_VERSION", "PW_CLI_DISPLAY_VERSION", "PLAYWRIGHT_BROWSERS_PATH",
    "PLAYWRIGHT_NODEJS_PATH",
})  # fmt: skip
_short: Final[ContextVar[bool]] = ContextVar("short_driver_environment", default=False)


@asynccontextmanager
async def driver() -> AsyncIterator[Playwright]:
    """Run the driver for the length of the block."""
    transport: Any = import_module("playwright._impl.transport")
    whole: Any = transport.get_driver_env
    if not isinstance(whole, _Environment):
        transport.get_driver_env = _Environment(whole)
    manager = async_playwright()
    before = _short.set(True)
    try:
        try:
            playwright = await to_its_end(manager.__aenter__())  # with the variable; cut off, it leaves node
        finally:
            _short.reset(before)
        yield playwright
    finally:
        await to_its_end(manager.__aexit__(None, None, None))


class _Environment:
    """Stands in for the function that makes the driver's environment."""

    def __init__(self, whole: Callable[[], dict[str, str]]) -> None:
        self._whole = whole

    def __call__(self) -> dict[str, str]:
        given = self._whole()
        if not _short.get():
            return given
        kept = _PLAYWRIGHTS | clean_environment().keys()
        return {name: value for name, value in given.items() if name in kept}


_CHROMIUM: Final = tomllib.loads(resource("chromium.toml"))
PREFERENCES: Final = "Default/Preferences"
SINGLETONS: Final = ("SingletonLock", "SingletonCookie", "SingletonSocket")
_FORGOTTEN: Final = (
    "Default/Sessions", "Default/Sessions_Encrypted", "Default/Session Storage", "DevToolsActivePort",
    "Default/Secure Preferences",
)  # fmt: skip
_MOST: Final = 4 * 1024 * 1024


def new_directory(directory: Path) -> None:
    """Make an empty directory for a browser, mode 0700. Raises FileExistsError."""
    directory.mkdir(mode=0o700)
    directory.chmod(0o700)  # whatever the umask is


def settle(directory: Path) -> None:
    """Make a directory fit for a start: ours and closed to others, without locks, open tabs and settings of others.

    Raises:
        Rejected: ``profile_directory_open``: it is a link, another user's, or others may look into it.
    """
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o700:
        raise Rejected("profile_directory_open", next_step="Give the profile's directory mode 0700.")
    for name in (*SINGLETONS, *_FORGOTTEN):
        _remove(directory / name)
    (directory / "Default").mkdir(mode=0o700, exist_ok=True)
    _write(directory / PREFERENCES, json.dumps(_CHROMIUM["preferences"]).encode())


def ended_cleanly(directory: Path) -> bool:
    """Whether the last run on `directory` ended as it should: it said so itself, and left no lock behind."""
    if any(os.path.lexists(directory / name) for name in SINGLETONS):
        return False
    try:
        profile = _read(directory).get("profile", {})
    except Integrity:
        return False
    return isinstance(profile, dict) and profile.get("exit_type") == "Normal"


def _read(directory: Path) -> dict[str, Any]:
    place = directory / PREFERENCES
    if not os.path.lexists(place):
        return {}
    with refusing("profile_damaged", on=(OSError, ValueError, RecursionError)):
        if place.is_symlink() or place.stat().st_size > _MOST:
            raise ValueError
        settings = json.loads(place.read_bytes())
        if not isinstance(settings, dict):
            raise ValueError
    return settings


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _write(place: Path, data: bytes) -> None:
    place.unlink(missing_ok=True)
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(data)


_OPTION: Final = "--user-data-dir="
_LOOK_EVERY_S: Final = 0.05
_GONE_WITHIN_S: Final = 10.0


def of_directory(place: Path) -> frozenset[int]:
    """Return the ids of all living processes of our browsers on directories at or below `place`."""
    wanted, living = os.path.realpath(place), living_processes()
    found = {one.pid for one in living if (directory := _directory(one.arguments)) and
             f"{os.path.realpath(directory)}/".startswith(f"{wanted}/") and _ours(one.pid)}  # fmt: skip
    # Playwright makes the browser the leader of its own group; helpers stay in it even when their parent is gone.
    groups = {one.group for one in living if one.pid in found and one.group == one.pid}
    found |= {one.pid for one in living if one.group in groups}
    return frozenset(found.union(below(*found, among=living)) - {os.getpid()})


def _ours(pid: int) -> bool:
    """Whether a process is our user's: another's may name any directory, and is neither waited for nor ended."""
    try:
        return f"\nUid:\t{os.geteuid()}\t" in Path(f"/proc/{pid}/status").read_text("latin-1")
    except OSError:  # it has ended
        return False


async def end_all(place: Path) -> int:
    """Kill the browsers at or below `place` until none is left; return how many processes were killed.

    Raises:
        Unavailable: ``browser_not_ended``: something still runs after ten seconds.
    """
    ended: set[int] = set()
    clock = asyncio.get_running_loop()
    until = clock.time() + _GONE_WITHIN_S
    while found := await asyncio.to_thread(of_directory, place):
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # one of them keeps no other alive
                os.kill(pid, signal.SIGKILL)
        ended |= found
        if clock.time() > until:
            raise Unavailable("browser_not_ended", next_step="End it by hand. Until then its profile stays locked.")
        await asyncio.sleep(_LOOK_EVERY_S)
    return len(ended)


async def gone(directory: Path, *, within_s: float) -> bool:
    """Whether no process of the browser on `directory` is left within `within_s` seconds."""
    clock = asyncio.get_running_loop()
    until = clock.time() + within_s
    while await asyncio.to_thread(of_directory, directory):
        if clock.time() > until:
            return False
        await asyncio.sleep(_LOOK_EVERY_S)
    return True


def _directory(arguments: Iterable[bytes]) -> str:
    for argument in map(os.fsdecode, arguments):
        # A helper process shows its arguments as one text, separated by blanks.
        at = argument.find(_OPTION)
        if at == 0 or (at > 0 and argument[at - 1] == " "):
            rest = argument[at + len(_OPTION) :]
            return rest if at == 0 and " --" not in rest else rest.partition(" --")[0]
    return ""


START_S: Final = 60.0
CLOSE_S: Final = 20.0
MOST_PATH: Final = 60  # bytes: Chromium makes a socket below scratch, whose whole name has at most 107


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How a browser is started.

    Args:
        directory: Its user-data-dir: only the caller's (0700), in memory, used by nobody else meanwhile.
        scratch: A folder of the same kind beside it, for what the browser writes elsewhere.
        proxy: Address of a proxy for all its calls, loopback included; None for none.
    """

    directory: Path
    scratch: Path
    proxy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserEnd:
    """How a browser ended. ``clean``: its directory is complete; ``killed``: how many processes had to be killed."""

    clean: bool
    killed: int


@dataclass(slots=True, kw_only=True)
class Running:
    """A running browser.

    Args:
        visited: Origins of all pages so far, in their tabs: what may hold storage.
        framed: Origins of the frames inside them.
        ended: Set when it no longer runs.
    """

    start: Start
    context: BrowserContext
    version: str
    visited: set[str] = field(default_factory=set)
    framed: set[str] = field(default_factory=set)
    ended: BrowserEnd | None = None

    @property
    def page(self) -> Page:
        """Return the tab to work in; per-tab storage is restored into it. Raises Unavailable(``browser_failed``)."""
        pages = self.context.pages
        if not pages:  # a person closed the last one
            raise Unavailable("browser_failed")
        return pages[0]

    async def close(self, within_s: float | None = None) -> BrowserEnd:
        """Close it. A browser that will not close is killed, and the result says so. A second call returns the same.

        Args:
            within_s: How long it is waited for; default ``CLOSE_S``.

        Raises:
            Unavailable: ``browser_not_ended``.
        """
        if self.ended is None:
            patience_s = within_s or CLOSE_S
            asked = await _asked_to_close(self.context, patience_s)
            asked = await gone(self.start.directory, within_s=patience_s / 4 if asked else 0) and asked
            killed = await end_all(self.start.directory)
            clean = asked and not killed and await asyncio.to_thread(ended_cleanly, self.start.directory)
            self.ended = BrowserEnd(clean=clean, killed=killed)
        return self.ended


@contextlib.asynccontextmanager
async def running(start: Start) -> AsyncIterator[Running]:
    """Start a browser and give it; close it at the end of the block, whatever happened in it.

    Raises:
        Conflict: ``profile_in_use``: a browser runs on this directory.
        Rejected: ``profile_directory_open``, ``profile_path_too_long``.
        Unavailable: ``chromium_missing``, ``browser_not_started``, ``browser_not_ended``.
    """
    if len(os.fsencode(start.scratch)) > MOST_PATH:
        raise Rejected("profile_path_too_long", next_step="Give the folder a shorter name.", most=MOST_PATH)
    if await asyncio.to_thread(of_directory, start.directory):
        raise Conflict("profile_in_use", next_step="Wait until the other run has ended.")
    await asyncio.to_thread(settle, start.directory)
    async with driver() as playwright:
        try:
            context = await _launched(playwright, start)
        except BaseException as failed:
            await to_its_end(end_all(start.directory))  # nobody else would
            if isinstance(failed, Exception):  # Playwright's text holds arguments, paths and output of the browser
                raise Unavailable("browser_not_started") from None
            raise
        browser = context.browser
        one = Running(start=start, context=context, version=browser.version if browser is not None else "")
        _watch(one)
        try:
            yield one
        finally:
            await to_its_end(one.close())  # nobody else would end the browser


def sandboxed() -> bool:
    """Whether Chromium's sandbox is on: for everybody except root, for whom it has none."""
    return os.geteuid() != 0


async def _launched(playwright: Playwright, start: Start) -> BrowserContext:
    folder = str(start.scratch)
    return await playwright.chromium.launch_persistent_context(
        start.directory,
        executable_path=find_chromium(),
        headless=True,
        chromium_sandbox=sandboxed(),
        args=[
            *_CHROMIUM["switches"],
            "--disable-features=" + ",".join(_CHROMIUM["off"]),
            *([] if start.proxy else ["--no-proxy-server"]),
        ],
        ignore_default_args=_CHROMIUM["left_out"],
        env=dict(environment(start)),
        accept_downloads=False,
        downloads_path=folder,
        artifacts_dir=folder,
        traces_dir=folder,
        ignore_https_errors=False,
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
    return clean_environment(**own)


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
    """Return the origin of a page's address, None for pages without storage of their own."""
    try:
        split = urlsplit(address)
        host, port = split.hostname or "", split.port
    except ValueError:
        return None
    if split.scheme not in ("http", "https") or not host:
        return None
    # Built from its parts: a name and a password may precede the host.
    shown = f"[{host}]" if ":" in host else host
    return f"{split.scheme}://{shown}" + ("" if port is None else f":{port}")


def same_site(one: str, other: str) -> bool:
    """Whether two origins are of one site: the same host, or names that end in the same two labels."""
    ends = [(urlsplit(origin).hostname or "").split(".") for origin in (one, other)]
    named = not any(end[-1].isdigit() or ":" in end[-1] for end in ends)
    return ends[0] == ends[1] or (named and ends[0][-2:] == ends[1][-2:] and len(ends[0][-2:]) > 1)


async def _asked_to_close(context: BrowserContext, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await context.close()
    except Exception:  # it crashed, or does not answer: the next steps check for themselves
        return False
    return True
