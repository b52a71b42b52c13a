"""In production the doctor is green when all is well, and each fault turns its own line red and no other."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
import pytest

from byokeep_redact.canary import new_canary
from tests.e2e.test_up import NOBODY, Up, lowered, up
from tests.support.cli import Ran, Shell
from tests.support.hang import hung
from tests.support.postgres import lacks_fixes
from tests.support.stack import family, until
from tests.support.wheels import environment_of_wheels

pytestmark = pytest.mark.timeout(900)
# Whoever is not root owns what was installed for this test, and the services run as the same user.
OWNED = {} if os.geteuid() == 0 else {"own code": "writable"}


@dataclass
class Installed(Shell):
    """A service's user who runs what the wheels brought."""

    python: str = ""

    def command(self, words: Any, token: Path | None) -> list[str]:
        plain = super().command(words, token)
        at = plain.index("-m") - 1
        return [*plain[:at], self.python, *plain[at + 1 :]]


@dataclass
class Site:
    """A production stack; ``packages``: what is installed, ``key``: opens its backups."""

    shell: Installed
    running: Up
    packages: Path
    key: Path

    @property
    def home(self) -> Path:
        return self.shell.home

    async def run(self, *words: str, **variables: str) -> Ran:
        return await self.shell.run(*words, within_s=180, HOME=str(self.home), PYTHONPATH="", **variables)

    async def red(self, **variables: str) -> dict[str, str]:
        """The lines that are not ok, with their codes; each says what to do, and the exit code tells of them."""
        ran = await self.run("doctor", "--json", **variables)
        rows = [row for row in ran.document if row["state"] != "ok"]
        assert all(row["next_step"] for row in rows), rows
        assert ran.code == (4 if rows else 0), ran.said
        return {row["check"]: row["code"] for row in rows}


@asynccontextmanager
async def production() -> AsyncIterator[Site]:
    place = Path(tempfile.mkdtemp(prefix="byk-", dir="/tmp"))
    elsewhere = Path(tempfile.mkdtemp(prefix="byk-", dir="/dev/shm"))  # another disk than the home's
    place.chmod(0o711)
    python, packages = environment_of_wheels(place)
    who, identity = pwd.getpwnam(NOBODY), pyrage.x25519.Identity.generate()
    home, key = place / "home", place / "home" / "offline.key"
    (home / "notify").mkdir(mode=0o700, parents=True)
    (home / "notify" / "oncall.url").write_text("json://127.0.0.1:9/hook")
    key.write_text(f"{identity}\n")
    backups = f'backup_recipients = "{identity.to_public()}"\nbackup_target = "{elsewhere}"\n'
    (home / "config.toml").write_text('environment = "production"\n' + backups)
    for path in (elsewhere, home, *home.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
        if os.geteuid() == 0:
            os.chown(path, who.pw_uid, who.pw_gid)
    shell = Installed(home, before=lowered(), python=str(python))
    try:
        async with up(shell, HOME=str(home), PYTHONPATH="") as running:
            yield Site(shell, running, packages, key)
    finally:
        for one in (place, elsewhere):
            shutil.rmtree(one, ignore_errors=True)


@contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    before = path.stat().st_mode
    path.chmod(before | bits)
    yield
    path.chmod(before)


@contextmanager
def wrote(path: Path, text: str) -> Iterator[None]:
    path.write_text(text)
    path.chmod(0o644)
    yield
    path.unlink()


@contextmanager
def away(path: Path) -> Iterator[None]:
    path.rename(path.with_suffix(".away"))
    yield
    path.with_suffix(".away").rename(path)


@contextmanager
def other_release(file: Path) -> Iterator[None]:
    before = file.read_text()
    file.write_text(before.replace('"version": "', '"version": "9'))
    yield
    file.write_text(before)


Plant = Callable[[Site], AbstractContextManager[None]]
NOT_READY = dict.fromkeys(("web", "broker", "killswitch"), "not_ready")
FAULTS: dict[str, tuple[Plant, dict[str, str]]] = {
    "credentials": (lambda s: mode(s.home / "credentials", 0o055), {"credentials directory": "open_to_others"}),
    "seal key": (lambda s: mode(s.home / "keys", 0o050), {"keys directory": "open_to_others"}),
    "slots": (lambda s: mode(s.home / "slots", 0o055), {"slots": "open_to_others"}),
    "code": (lambda s: mode(s.packages / "byokeep" / "settings.py", 0o002), {"own code": "writable"}),
    "added": (lambda s: wrote(s.packages / "byokeep_sim" / "new.py", ""), {"byokeep-sim files": "changed"}),
    "pth": (lambda s: wrote(s.packages / "x.pth", "import os\n"), {".pth files": "foreign_code"}),
    "history": (
        lambda s: wrote(s.home / ".bash_history", f"curl -H 'x-api-key: {new_canary('anthropic').decode()}'\n"),
        {"shell history": "holds_secrets"},
    ),
    "nobody told": (lambda s: away(s.home / "notify" / "oncall.url"), {"notifications": "nobody_told"}),
    "audit log": (
        lambda s: away(s.home / "store-audit" / "store-audit-b" / "audit-b.jsonl"), {"store audit device b": "no_log"},
    ),
    "release": (lambda s: other_release(s.home / "stack.json"), {"version": "other_release"}),
    "store": (
        lambda s: hung(*family(s.running.stack["pids"]["store"])), {"secret store": "store_timeout"} | NOT_READY
    ),
    "database": (
        lambda s: hung(*family(s.running.stack["pids"]["database"])), {"database": "database_unavailable"} | NOT_READY
    ),
}  # fmt: skip

_HUNG = ("store", "database")
_FILES = [name for name in FAULTS if name not in _HUNG]
# Each look of the doctor costs seconds of a processor.
TOGETHER = (*(_FILES[at::2] for at in range(2)), *((name,) for name in _HUNG))


async def test_green_when_all_is_well_and_red_where_it_is_not() -> None:
    """Before a backup was opened its line alone is red; then none is; then that of each planted fault, and no other."""
    if lacks_fixes():  # then there is no production on this machine, and that is shown elsewhere
        return
    seen: dict[str, str] = {}
    async with production() as site:

        async def only(expected: dict[str, str], **variables: str) -> bool:
            nonlocal seen
            seen = await site.red(**variables)
            return seen == expected | OWNED

        lacking = {"backup": "none_opened"}
        try:
            await until(lambda: only(lacking), 240, "the worker's first rounds come", each_s=15)
            made = await site.run("backup", "create", "--json")
            assert made.code == 0, made.said
            assert await only(lacking), "one that was not opened does not count"
            opened = await site.run("backup", "verify", made.document["id"], "--identity-file", str(site.key))
            assert opened.code == 0, opened.said
            assert await only({}), "all is well"
            for names in TOGETHER:
                wide = {"BYOKEEP_BROKER_LISTEN": "0.0.0.0:8421"} if names is TOGETHER[0] else {}
                expected = {"listeners": "open_to_all"} if wide else {}
                with ExitStack() as planted:
                    for plant, lines in (FAULTS[name] for name in names):
                        planted.enter_context(plant(site))
                        assert not expected.keys() & lines.keys(), names
                        expected |= lines
                    assert await only(expected, **wide), names
            await until(lambda: only({}), 120, "all is well again", each_s=6)
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen}") from error
