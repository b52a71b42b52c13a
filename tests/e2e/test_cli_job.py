"""`byokeep job run` on a real stack: how the command gets its secret, and how everything ends when something fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from byokeep.core.errors import Denied, Unavailable
from tests.support.cli import Shell, Watch, ended
from tests.support.stack import World, family, lives, running_stack, until

pytestmark = pytest.mark.timeout(300)  # a whole stack starts; how fast is a benchmark


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    async with running_stack() as made:
        yield made


@pytest.fixture(scope="module")
async def shell(world: World) -> Shell:
    return Shell(world.home)


@pytest.fixture
async def key(world: World, client: str) -> bytes:
    return await world.onboard(client)


@pytest.fixture
async def client(world: World) -> str:
    return await world.client()


def run(client: str, *command: str) -> tuple[str, ...]:
    return ("job", "run", "--client", client, "--secret", "openai", "--", *command)


@pytest.mark.req("S-OWASP-8")
async def test_the_secret_is_a_file_in_memory_and_nothing_else(
    shell: Shell, client: str, key: bytes, tmp_path: Path
) -> None:
    """The command reads the value from a memory file; no argument and no environment of any process holds it."""
    look = tmp_path / "look.py"
    look.write_text(
        "import os, sys, time\n"
        "value = open(sys.argv[1], 'rb').read()\n"
        "assert open(os.environ['BYOKEEP_SECRET_OPENAI_FILE'], 'rb').read() == value\n"
        "assert os.readlink('/proc/self/fd/' + sys.argv[1].rsplit('/', 1)[1]).startswith('/memfd:')\n"
        "open(sys.argv[2], 'wb').write(bytes(byte ^ 0x55 for byte in value))\n"
        "open(sys.argv[2] + '.env', 'wb').write(open('/proc/self/environ', 'rb').read())\n"
        "ends = time.monotonic() + 40\n"
        "while not os.path.exists(sys.argv[2] + '.seen') and time.monotonic() < ends: time.sleep(0.05)\n"
    )
    copy = tmp_path / "copy"
    with Watch(key, key[20:44]) as watch:

        async def seen() -> None:
            await until(lambda: watch.saw("look.py", "/dev/fd/"), 30)
            (tmp_path / "copy.seen").touch()

        ran, _ = await asyncio.gather(
            shell.run(
                *run(client, sys.executable, str(look), "{openai}", str(copy)), AWS_SECRET_ACCESS_KEY="inherited",
                BYOKEEP_LOG_LEVEL="DEBUG",
            ),
            seen(),
        )  # fmt: skip
    assert ran.code == 0, ran.said
    assert bytes(byte ^ 0x55 for byte in copy.read_bytes()) == key
    assert watch.found == []
    names = {line.split(b"=")[0] for line in (tmp_path / "copy.env").read_bytes().split(b"\0") if line}
    assert b"AWS_SECRET_ACCESS_KEY" not in names
    assert {name for name in names if name.startswith(b"BYOKEEP")} == {b"BYOKEEP_JOB", b"BYOKEEP_SECRET_OPENAI_FILE"}
    assert ran.out == ""
    assert re.fullmatch(r"job [0-9a-f-]{36}\n", ran.err)


@pytest.mark.req("S-VAULT-11")
async def test_after_the_job_its_memory_file_is_empty(shell: Shell, client: str, key: bytes, tmp_path: Path) -> None:
    """What the command left running in the background, with the file still open, reads nothing of it after the end."""
    go, seen = tmp_path / "go", tmp_path / "seen"
    wait = f"while [ ! -e {go} ]; do sleep 0.05; done"
    behind = f"({wait}; cat <&3 > {seen}.new; cat {{openai}} >> {seen}.new; mv {seen}.new {seen}) > /dev/null 2>&1 &"
    ran = await shell.run(*run(client, "sh", "-c", f"exec 3< {{openai}}; test -s {{openai}} || exit 9; {behind}"))
    assert ran.code == 0, ran.said
    go.touch()
    await until(seen.exists, 20, "what was left behind did not end")
    assert seen.read_bytes() == b""


async def test_a_command_of_a_job_may_be_byokeep_itself(world: World, shell: Shell, client: str, key: bytes) -> None:
    """The variables of the job do not stop a nested command; one that is not the job's still does."""
    nested = (sys.executable, "-m", "byokeep.cli", "doctor", "--json", "--home", str(world.home))
    ran = await shell.run(*run(client, "env", f"PYTHONPATH={Path(__file__).parents[2] / 'src'}", *nested))
    assert ran.code == 0, ran.said
    typo = (*nested[:3], "client", "list", "--home", str(world.home))
    source = f"PYTHONPATH={Path(__file__).parents[2] / 'src'}"
    ran = await shell.run(*run(client, "env", source, "BYOKEEP_JOBS=1", *typo))
    assert (ran.code, "unknown_setting" in ran.err) == (2, True)


@pytest.mark.req("S-VAULT-11")
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["sh", "-c", "cat {openai} > /dev/null; exit 7"], 7),
        (["sh", "-c", "cat {openai} > /dev/null; kill -SEGV $$"], 139),
        (["no-such-program", "{openai}"], 2),
        (["sh", "-c", "cat {openai} > /dev/full 2> /dev/null"], 1),
    ],
)
async def test_a_fault_of_the_command_prints_nothing_of_the_secret(
    shell: Shell, client: str, key: bytes, command: list[str], code: int
) -> None:
    """Whatever happens to the command, its exit code comes back and no output holds the value."""
    ran = await shell.run(*run(client, *command))
    assert ran.code == code, ran.said
    assert key[20:32].decode() not in ran.said
    assert "Traceback" not in ran.said


@pytest.mark.parametrize(
    ("secret", "code", "reason"), [("google", 3, "missing_credential"), ("nobody", 2, "unknown_secret")]
)
async def test_without_a_usable_secret_the_command_does_not_start(
    shell: Shell, client: str, tmp_path: Path, secret: str, code: int, reason: str
) -> None:
    """There is no fallback: a missing key is a refusal, and nothing ran."""
    mark = tmp_path / "ran"
    ran = await shell.run("job", "run", "--client", client, "--secret", secret, "--", "touch", str(mark))
    assert (ran.code, reason in ran.err) == (code, True), ran.said
    assert not mark.exists()


async def test_a_job_without_a_command_is_refused(shell: Shell, client: str) -> None:
    """Exit code 2, and how to write it."""
    ran = await shell.run("job", "run", "--client", client, "--secret", "openai")
    assert (ran.code, "after --" in ran.err) == (2, True)


async def _started(
    shell: Shell, client: str, mark: Path, *, wrapped: bool = True
) -> tuple[asyncio.subprocess.Process, int]:
    """Run a command, or a wrapper that waits for one; returns the process id of what has the key."""
    wrapper = f"sleep 60 & echo $! > {mark}; wait"
    words = run(client, "sh", "-c", wrapper if wrapped else f"echo $$ > {mark}; exec sleep 60")
    process = await shell.start(*words)
    await until(lambda: mark.exists() and mark.read_text().strip(), 20, "the command did not start")
    return process, int(mark.read_text())


@pytest.mark.parametrize("scope", ["client", "global"])
async def test_a_kill_ends_the_command(
    world: World, shell: Shell, client: str, key: bytes, tmp_path: Path, scope: str
) -> None:
    """When the switch is closed the running command is ended, with what it started, and `job run` says so with 3."""
    process, pid = await _started(shell, client, tmp_path / "pid")
    try:
        where = {"client_id": client} if scope == "client" else {}
        await world.must("operator", "POST", "/v1/switches/close", {**where, "reason": "drill"})
        ran = await shell.finish(process, "job", "run", within_s=15)
        assert ran.code == Denied.exit_code, ran.said
        assert "The job was stopped: a kill switch was engaged" in ran.err
        assert key[20:32].decode() not in ran.said
        assert not lives(pid)
    finally:
        await ended(process)
        asked = await world.must("operator", "POST", "/v1/switches/open-requests", {**where, "reason": "drill"})
        await world.must("approver", "POST", f"/v1/switches/open-requests/{asked['id']}/approve")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_a_signal_ends_command_and_job(
    world: World, shell: Shell, client: str, key: bytes, tmp_path: Path, number: int
) -> None:
    """Ctrl-C or SIGTERM on `job run` leaves no command running and no lease open; SIGKILL not the command itself."""
    process, pid = await _started(shell, client, tmp_path / "pid", wrapped=number != signal.SIGKILL)
    try:
        below = family(process.pid)
        process.send_signal(number)
        ran = await shell.finish(process, "job", "run", within_s=15)
        assert ran.code == (-9 if number == signal.SIGKILL else 128 + number), ran.said
        assert "Traceback" not in ran.said
        await until(lambda: not [one for one in (*below, pid) if lives(one)], 5, "something of it still runs")
    finally:
        await ended(process)
        with contextlib.suppress(ProcessLookupError):
            if lives(pid):
                os.kill(pid, signal.SIGKILL)


async def test_with_the_store_stopped_nothing_starts(
    world: World, shell: Shell, client: str, key: bytes, tmp_path: Path
) -> None:
    """Exit code 4, nothing ran; when the store is back the same command works."""
    mark = tmp_path / "ran"
    await world.stack.stop_part("store")
    try:
        ran = await shell.run(*run(client, "touch", str(mark)))
        assert ran.code == Unavailable.exit_code, ran.said
        assert not mark.exists()
        assert key[20:32].decode() not in ran.said
    finally:
        await world.stack.start_part("store")
    await world.stack.ready()
    assert (await shell.run(*run(client, "touch", str(mark)))).code == 0
    assert mark.exists()


async def test_job_show_tells_no_secret(world: World, shell: Shell, client: str, key: bytes, tmp_path: Path) -> None:
    """The job can be looked at by its id, while it runs and afterwards."""
    mark = tmp_path / "job"
    assert (await shell.run(*run(client, "sh", "-c", f"echo $BYOKEEP_JOB > {mark}"))).code == 0
    ran = await shell.run("job", "show", mark.read_text().strip(), "--json", token=world.token_file("operator"))
    assert ran.code == 0, ran.said
    assert ran.document["client_id"] == client
    assert ran.document["state"] == "closed"


async def test_jobs_are_listed_with_names(world: World, shell: Shell, client: str, key: bytes) -> None:
    """`job run` says its id, `job list` shows it with the runner's name; a revoked key is said to be unusable."""
    operator = world.token_file("operator")
    ran = await shell.run(*run(client, "true"))
    (job,) = re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", ran.err)
    shown = (await shell.run("job", "list", client, token=operator)).out
    (listed,) = [line for line in shown.splitlines() if line.startswith(job)]
    assert ("closed" in listed, "local-runner" in listed) == (True, True)
    assert job in [one["id"] for one in (await shell.run("job", "list", client, "--json", token=operator)).document]
    (ref,) = [one["id"] for one in (await shell.run("key", "list", client, "--json", token=operator)).document]
    marked = await shell.run("key", "state", ref, "compromised", "--reason", "seen_in_chat", token=operator)
    assert marked.code == 0
    refused = await shell.run(*run(client, "true"))
    assert (refused.code, "credential_not_usable" in refused.err, "key list" in refused.err) == (3, True, True)


async def test_what_used_a_key_is_told_by_its_name(world: World, shell: Shell, client: str, key: bytes) -> None:
    """A job for a client by name; then who used the key, how often, and that its calls are unknown, not zero."""
    name = await world.sql(f"SELECT name FROM byokeep.client WHERE id = '{client}'")  # noqa: S608
    operator = world.token_file("operator")
    ran = await shell.run(*run(name, sys.executable, "-c", "pass"), BYOKEEP_TOKEN_FILE=str(operator))
    assert ran.code == 0, ran.said
    job = re.search(r"job ([0-9a-f-]{36})", ran.err)
    assert job is not None
    used = await shell.run("key", "used", f"{name}/openai", "--since", "1h", token=operator)
    assert (used.code, "read 1 time" in used.out, job[1] in used.out) == (0, True, True), used.said
    assert "the runner never reported how many calls it made" in used.err
    history = await shell.run("key", "history", f"{name}/openai", token=operator)
    assert (history.code, "local-runner" in history.out, "key.verified" in history.out) == (0, True, True), history.said
    counted = await shell.run("usage", "--client", name, token=operator)
    assert (counted.code, counted.out.split()[-4:]) == (0, ["1", "0", "?", "?"]), counted.said
    shown = await shell.run("job", "show", job[1][:8], "--json", token=operator)
    assert shown.document["id"] == job[1], shown.said
    assert key not in (used.out + history.out + counted.out).encode()
