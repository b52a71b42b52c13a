"""``byokeep up``: starts OpenBao, PostgreSQL and our processes, keeps them running, stops them cleanly.

Rules
- One stack per home: a lock file holds the pid. A second start is refused and changes nothing.
- Order: store and database first, then migrations and provisioning, then our processes; the reverse when stopping.
- A starting part is waited for while it makes progress, and the progress is shown. One that is stuck is named.
- A part that dies is started again, with a growing pause. Nothing is served meanwhile, because every process fails
  closed by itself. A killed supervisor takes its children with it (Linux), so a new start finds nothing left over.
- What takes long (a backup, a database's recovery) goes on beside the watch and ends when the stack stops. Whatever a
  look cannot do now, on a full disk for example, the next one tries again: only people end a stack.
- Parts that settings point elsewhere (an agency's own OpenBao, PostgreSQL) are neither started nor stopped.

It may not decide anything about secrets: provisioning and bootstrap live in :mod:`.installation`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp

from byokeep import __version__
from byokeep.adapters.openbao.embedded import EmbeddedOpenBao
from byokeep.adapters.postgres.embedded import EmbeddedPostgres
from byokeep.core.errors import ByokeepError, Conflict, Rejected, Unavailable, refusing
from byokeep.kernel.durable_write import draft, durable_write
from byokeep.process import WORKER_READY, Progress, clean_environment, end, hold, is_held, size_of, spawn, work_of
from byokeep.processes import drill_place
from byokeep.processes.backup import backup_if_due
from byokeep.processes.installation import install, no_signing_key, renew_machines
from byokeep.processes.platform_secrets import rotate_if_due, was_cut_off
from byokeep.processes.wiring import embedded_database, embedded_store, killswitch_url, windows
from byokeep.settings import DRILL, RESTORING, RUN_FILE, Settings, to_toml
from byokeep.telemetry import log
from byokeep.telemetry.log import code_of, get_log
from byokeep.wire.address import parse_address
from byokeep.wire.transport import MOST_TOLD, TooLarge, Transport

AN_HOUR_S: Final = 3600.0
CUT_OFF_S: Final = 15.0  # well before a new key of leases is signed with
SAY_EVERY_S: Final = 5.0
SAY_EVERY_PIPED_S: Final = 15.0  # a log keeps every line
STOP_WITHIN_S: Final = 10.0
# The refresher lets renewals finish: a one-time token may be spent with nobody left to take the new one.
_DRAINS_S: Final = {"refresher": 95.0}
# The broker first: the others ask it.
_OURS: Final = ("broker", "killswitch", "web", "worker", "refresher")
_PORTS: Final = range(20_000, 32_000)  # below those that Linux gives to connections, one of which could take it first
_PAUSE_S: Final = 0.2  # before the second attempt at what did not start; each pause is twice the one before
_LONGEST_PAUSE_S: Final = 10.0
_PART_PAUSE_S: Final = 1.0  # the longest for store and database: a kill that made room waits for them, for 8 s in all
_OWN_ONE: Final = "Give a directory that you own with --home. See that its disk has room and can be written to."
_STARTS_NOTHING: Final = {  # a file in a home -> why no stack starts there
    RESTORING: ("restore_unfinished", "A restore was interrupted here. Run it again: it starts over."),
    DRILL: ("home_of_a_drill", "A recovery drill's home starts nothing else. Restore the backup into another home."),
}
Say = Callable[[str], None]


@dataclass(slots=True)
class Child:
    """One of our own processes."""

    name: str
    process: subprocess.Popen[bytes]
    started: float
    deaths: int = 0


class Stack:
    """The embedded stack of one home.

    Args:
        settings: Port 0 in ``web_listen`` / ``broker_listen`` picks free ports.
        say: Where progress lines go.
    """

    def __init__(self, settings: Settings, *, say: Say = lambda _: None) -> None:
        self.settings = _with_ports(settings)
        self._say = say
        self._lock: int | None = None
        self._children: dict[str, Child] = {}
        self._parts: dict[str, EmbeddedOpenBao | EmbeddedPostgres] = {}
        self._store: EmbeddedOpenBao | None = None
        self._database: EmbeddedPostgres | None = None
        self._beside: dict[str, asyncio.Task[None]] = {}  # what goes on beside the watch, one of each name
        self._told: dict[str, int] = {}  # the process ids in stack.json
        self._stopping = asyncio.Event()

    @property
    def web_url(self) -> str:
        """Return the address of the operator API."""
        return f"http://{self.settings.web_listen}"

    @property
    def broker_url(self) -> str:
        """Return the address of the broker."""
        return f"http://{self.settings.broker_listen}"

    @property
    def killswitch_url(self) -> str:
        """Return the address of the kill process."""
        return killswitch_url(self.settings)

    def pid(self, name: str) -> int:
        """Return the pid of ``store``, ``database`` or one of our processes, such as ``broker``."""
        if name in self._children:
            return self._children[name].process.pid
        return self._parts[name].pid or 0

    @property
    def pids(self) -> dict[str, int]:
        """Return the process ids of everything that runs, by name."""
        return {name: self.pid(name) for name in (*self._parts, *self._children)}

    async def stop_part(self, name: str) -> None:
        """Stop only the store or the database, as a failure would; :meth:`start_part` brings it back."""
        await self._parts[name].stop()

    async def start_part(self, name: str) -> None:
        """Start a part that was stopped."""
        await self._parts[name].start()

    def dump_database(self) -> bytes:
        """Return a logical dump of the embedded database. Blocking.

        Raises:
            Unavailable: The database is not embedded, or does not answer.
        """
        if self._database is None:
            raise Unavailable("database_not_embedded", next_step="Dump your own server with its own tools.")
        return self._database.run_tool("pg_dump", "--dbname=byokeep")

    async def start(self) -> None:
        """Start everything and return when it answers.

        Raises:
            Conflict: ``already_running`` with the pid, ``port_not_free``, ``home_was_elsewhere``.
            Rejected: ``home_too_open``, ``signing_key_on_disk``.
            Unavailable: A part did not come up; what was started is stopped again.
        """
        self._take_home()
        try:
            self._check_ports()
            no_signing_key(self.settings)
            await self._start_parts()
            self._say("provisioning")
            if await install(self.settings, self._store):
                self._say("this home is a copy or was moved: everything is closed (`byokeep alert list`)")
            said = to_toml(self.settings, sources=True)
            durable_write(self.settings.home / RUN_FILE, said.encode(), mode=0o644)
            for name in _OURS:
                self._say(f"starting {name}")
                self._spawn(name)
            await asyncio.gather(
                self.ready(), self._started("worker", self._worker_ready),
                self._started("refresher", self._refresher_ready),
            )  # fmt: skip
            self._write_stack_file()
        except BaseException:
            await self.stop()
            raise

    async def ready(self) -> None:
        """Wait until broker, kill process and web serve: database and store answer, and the store records.

        Raises:
            Unavailable: ``part_not_ready``.
        """
        socket, url = parse_address(self.killswitch_url, "http://killswitch", "bad_address", "insecure_address")
        async with Transport() as http, Transport(socket) as kill:
            await asyncio.gather(
                self._started("broker", lambda: readiness(http, self.broker_url)),
                self._started("killswitch", lambda: readiness(kill, url)),
                self._started("web", lambda: readiness(http, self.web_url)),
            )

    async def run(self) -> None:
        """Keep the parts running until :meth:`ask_to_stop`."""
        begun_at = time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.25):
                    await self._stopping.wait()
            if self._stopping.is_set():
                return
            self._revive()
            since = time.monotonic() - begun_at
            if since >= AN_HOUR_S or (since >= CUT_OFF_S and was_cut_off(self.settings)):
                begun_at = time.monotonic()
                self._begin("hourly", self._hourly)
                self._begin("backup", lambda: self._try(backup_if_due))

    def _begin(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Let something go on beside the watch, unless it still does."""
        if (task := self._beside.get(name)) is None or task.done():
            self._beside[name] = asyncio.create_task(work())

    async def _hourly(self) -> None:
        """Do this stack's duties that are due, each by itself; what fails now is retried next time."""
        await self._try(renew_machines, rotate_if_due, _clear_drill, _empty_logs)

    async def _try(self, *works: Callable[[Settings], Awaitable[object]]) -> None:
        for work in works:
            try:
                await work(self.settings)
            except Exception as error:
                get_log().error("hourly_duty_failed", component=work.__name__.strip("_"), code=code_of(error))

    def ask_to_stop(self) -> None:
        """End :meth:`run`. Safe in a signal handler of the loop."""
        self._stopping.set()

    async def stop(self) -> None:
        """Stop our processes, then database and store; release the home. Calling it twice is fine."""
        self._stopping.set()
        beside, self._beside = [*self._beside.values()], {}
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        for names in (_OURS[2:], _OURS[:2]):  # those that ask the broker or the kill process, then these two
            ending = [self._children.pop(name) for name in names if name in self._children]
            await asyncio.gather(*(end(one.process, _DRAINS_S.get(one.name, STOP_WITHIN_S)) for one in ending))
        parts, self._parts = [*self._parts.values()], {}
        await asyncio.gather(*(part.stop() for part in parts))
        (self.settings.home / "stack.json").unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_home(self) -> None:
        home = self.settings.home
        with _usable():
            _make_home(home)
            found = home.stat()
            if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
                raise Rejected("home_too_open", next_step="Own the home, and let nobody else write to it: chmod go-w.")
            lock = os.open(home / "byokeep.pid", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            hold(lock)
        except OSError:
            holder = os.read(lock, 16).decode("ascii", "replace").strip()
            os.close(lock)
            step, pid = "Stop that process first, or use another --home.", int(holder) if holder.isdigit() else 0
            raise Conflict("already_running", next_step=step, pid=pid) from None
        for mark, (code, step) in _STARTS_NOTHING.items():
            if (home / mark).exists():
                os.close(lock)
                raise Conflict(code, next_step=step)
        with contextlib.suppress(ByokeepError, OSError):  # the doctor names it
            drill_place.clear(home.absolute())
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._lock = lock

    def _check_ports(self) -> None:
        for name in ("web_listen", "broker_listen"):
            host, _, port = str(getattr(self.settings, name)).rpartition(":")
            try:
                _must_be_free(host, int(port))
            except (OSError, OverflowError):
                step = f"Stop what listens on port {port}, or set BYOKEEP_{name.upper()}. Port 0 takes a free one."
                raise Conflict("port_not_free", next_step=step, setting=name, port=port) from None

    async def _start_parts(self) -> None:
        if self.settings.embedded_store:
            self._parts["store"] = self._store = embedded_store(self.settings)
            self._store.require_place()  # before the database starts beside it
        if self.settings.embedded_database:
            self._parts["database"] = self._database = embedded_database(self.settings)
        for name in self._parts:
            self._say(f"starting {name}")
        await asyncio.gather(*(part.start() for part in self._parts.values()))

    def _spawn(self, name: str) -> None:
        settings = self.settings
        # -P: Python would look for modules in the current directory first, whoever can write there.
        command = [sys.executable, "-Pm", "byokeep.cli", name, "--config", str(settings.home / RUN_FILE)]
        listen = {"web": self.web_url, "broker": self.broker_url, "killswitch": self.killswitch_url}.get(name)
        log = settings.path("log_dir")
        log.mkdir(mode=0o700, parents=True, exist_ok=True)
        process = spawn(command, log / f"{name}.err", env=clean_environment())  # its own log is a different file
        deaths = self._children[name].deaths if name in self._children else 0
        self._children[name] = Child(name, process, time.monotonic(), deaths)
        get_log().info("child_started", component=name, pid=process.pid, url=listen)

    def _revive(self) -> None:
        """Start again what has died. A child that cannot be started now is tried again like one that died."""
        for name, part in self._parts.items():
            if not part.pid:
                self._begin(name, partial(self._bring_back, name))
        for name, child in list(self._children.items()):
            if child.process.poll() is None:
                continue
            if name == "worker":
                with contextlib.suppress(OSError):  # at once: anybody may take the port of a browser that is gone
                    windows(self.settings).clear()
            lived_s = time.monotonic() - child.started
            if lived_s < min(_PAUSE_S * 2 ** min(child.deaths, 10), _LONGEST_PAUSE_S):
                continue
            child.deaths = 0 if lived_s > 60.0 else child.deaths + 1
            child.started = time.monotonic()
            get_log().warning("child_died", component=name, exit_code=child.process.returncode)
            self._say(f"{name} died: starting it again")
            try:
                self._spawn(name)
            except OSError as error:
                get_log().error("part_not_started", component=name, code=code_of(error))
        if self.pids != self._told:  # `byokeep doctor` looks at the processes that it names
            with contextlib.suppress(OSError):
                self._write_stack_file()

    async def _bring_back(self, name: str) -> None:
        """Start the store or the database until it runs, with a growing pause."""
        get_log().warning("part_died", component=name)
        self._say(f"{name} died: starting it again")
        pause_s = _PAUSE_S
        while True:
            try:
                return await self._parts[name].start()
            except Exception as error:
                get_log().error("part_not_started", component=name, code=code_of(error))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PART_PAUSE_S)

    async def _started(self, name: str, look: Callable[[], Awaitable[object]]) -> None:
        process, log_dir = self._children[name].process, self.settings.path("log_dir")
        await started(name, process, look, log_dir=log_dir, say=self._say, progress=Progress())

    async def _worker_ready(self) -> object:
        """Return whether the worker takes tasks. It has no listener; a file that it holds says so."""
        return is_held(self.settings.path("log_dir") / WORKER_READY, shared=True)

    async def _refresher_ready(self) -> object:
        """Return whether it holds its slots, as it does once the database has answered. Leak checks need its log."""
        return is_held(self.settings.path("slots_dir")) and (self.settings.path("log_dir") / "refresher.log").exists()

    def _write_stack_file(self) -> None:
        urls = {"version": __version__, "web_url": self.web_url, "broker_url": self.broker_url}
        urls |= {"killswitch_url": self.killswitch_url}
        document = json.dumps(urls | {"pids": self.pids, "supervisor_pid": os.getpid()}, indent=1) + "\n"
        durable_write(self.settings.home / "stack.json", document.encode(), mode=0o644)
        self._told = self.pids


async def up(settings: Settings, *, say: Say, ready: Callable[[Stack], Awaitable[None] | None]) -> None:
    """Run a stack until SIGINT or SIGTERM.

    Args:
        settings: The stack's.
        say: Where progress lines go.
        ready: Called once when everything answers.
    """
    with _usable():
        _make_home(settings.home)  # before a log is opened in it, which would make it as open as the umask says
        log.configure("up", path=settings.path("log_dir") / "up.log")
    stack = Stack(settings, say=say)
    starting, loop = asyncio.create_task(stack.start()), asyncio.get_running_loop()

    def told() -> None:
        stack.ask_to_stop()
        if not starting.cancelling():  # a second signal does not cut the stop off
            starting.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told)
    await asyncio.wait({starting})
    if starting.cancelled():
        return
    with _usable():
        starting.result()
    try:
        result = ready(stack)
        if result is not None:
            await result
        await stack.run()
    finally:
        say("stopping")
        await stack.stop()


def _usable() -> contextlib.AbstractContextManager[None]:
    return refusing("home_unusable", Unavailable, on=OSError, next_step=_OWN_ONE)


def _make_home(home: Path) -> None:
    # Root's home must let the database's own user through to its data directory.
    home.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)


def _with_ports(settings: Settings) -> Settings:
    """Replace port 0 by a free one, so that every child can be told all addresses before it starts."""
    chosen: dict[str, Any] = {"home": settings.home.absolute()}
    for name in ("web_listen", "broker_listen"):
        host, _, port = str(getattr(settings, name)).rpartition(":")
        if port == "0":
            chosen[name] = f"{host}:{_free_port(host)}"
    return replace(settings, **chosen)


def _must_be_free(host: str, port: int) -> None:
    """Raise OSError if somebody has the port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host.strip("[]"), port))


def _free_port(host: str) -> int:
    """Return a port that is free now and still is when its part binds it. Raises OSError: none was found."""
    for _ in range(50):
        with contextlib.suppress(OSError):
            _must_be_free(host, port := secrets.choice(_PORTS))
            return port
    raise OSError(errno.EADDRINUSE, "")


async def _clear_drill(settings: Settings) -> None:
    await asyncio.to_thread(drill_place.clear, settings.home.absolute())


async def _empty_logs(settings: Settings) -> None:
    """Keep a full log of what logs by being printed as NAME.1, and empty it: whoever prints holds the file open."""
    logs = [settings.home / "logs" / f"{name}.log" for name in ("openbao", "postgres")]
    for file in (*logs, *settings.path("log_dir").glob("*.err")):
        with contextlib.suppress(OSError):  # it may go on without the others
            if file.stat().st_size >= log.FULL:
                with draft(file.with_name(f"{file.name}.1")) as kept, file.open("rb") as content:
                    await asyncio.to_thread(shutil.copyfileobj, content, kept)
                    os.truncate(file, 0)  # before the copy is synced: what is printed meanwhile is in neither


async def readiness(http: Transport, url: str) -> object:
    """Return True if a process says that it is ready, else what it says."""
    try:
        status, body, _ = await http.exchange("GET", f"{url}/readyz", headers={}, within=4.0, most=MOST_TOLD)
        return status == 200 or (status, json.loads(body).get("code"))
    except (aiohttp.ClientError, TimeoutError, TooLarge, OSError, ValueError, AttributeError):
        return ""


async def started(
    name: str, process: subprocess.Popen[bytes], look: Callable[[], Awaitable[object]], *, log_dir: Path, say: Say,
    progress: Progress, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:  # fmt: skip
    """Wait for a part to start, for as long as its state, its logs or, before it answers, its work makes progress.

    Args:
        name: The part's.
        process: The part's.
        look: Returns True when it has started, else its state.
        log_dir: Where its logs are.
        say: Where to say that it takes long.
        progress: Tells slow from stuck.
        sleep: Pauses between two looks.

    Raises:
        Unavailable: ``part_not_ready``: it ended by itself, or made no progress.
    """
    said_at = SAY_EVERY_S
    while (state := await look()) is not True:
        if process.poll() is not None:
            raise not_ready(log_dir, name, "ended by itself")
        written = size_of(log_dir / f"{name}.log", log_dir / f"{name}.err")
        if not progress.goes_on(state, written, 0 if state else work_of(process.pid)):
            raise not_ready(log_dir, name, f"made no progress for {progress.stall_s:.0f} s")
        if progress.took_s >= said_at:
            say(f"{name} is still starting ({progress.took_s:.0f} s)")
            said_at += SAY_EVERY_S if sys.stderr.isatty() else SAY_EVERY_PIPED_S
        await sleep(0.05)


def not_ready(log_dir: Path, name: str, why: str) -> Unavailable:
    """Return the refusal to go on without a part: which one, why, and where to read more."""
    errors = log_dir / f"{name}.err"
    ending = "log" if not errors.exists() or errors.stat().st_size == 0 else "err"
    step = f"{name} {why}: see {name}.{ending} in the log directory"
    busy = "; start it again when the machine is less busy." if ending == "log" else "."
    return Unavailable("part_not_ready", next_step=step + busy, part=name)
