"""`byokeep redact` in real pipes and `byokeep leaks` on real files, each as its own process, tables on a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from byokeep_redact.canary import new_canary
from byokeep_redact.encodings import recoverable
from byokeep_redact.fingerprint import fingerprints_from, fingerprints_of
from byokeep_redact.scan import LOCATIONS
from tests.support.cli import Ran, Shell, pipe_with
from tests.support.stack import environment

KEY = bytes(range(32))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "home")


@pytest.fixture
def pipe(shell: Shell) -> Iterator[subprocess.Popen[bytes]]:
    """A running `byokeep redact --report`, its standard streams in our hands."""
    with subprocess.Popen(
        shell.command(("redact", "--report", "--json"), None), env=environment(), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
    ) as process:  # fmt: skip
        yield process
        process.kill()


def _write(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)


def _until(process: subprocess.Popen[bytes], ending: bytes, within_s: float = 20.0) -> bytes:
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    got, stop = b"", time.monotonic() + within_s
    while not got.endswith(ending):
        assert time.monotonic() < stop, got
        got += process.stdout.read(65536) or b""
        time.sleep(0.01)
    return got


def _end(process: subprocess.Popen[bytes]) -> tuple[bytes, Any, int]:
    assert process.stdout is not None
    assert process.stderr is not None
    os.set_blocking(process.stdout.fileno(), True)
    if process.stdin is not None and not process.stdin.closed:
        process.stdin.close()
    out, said = process.stdout.read(), process.stderr.read()
    return out, json.loads(said) if said.strip() else None, process.wait(20)


def test_a_pipe_is_redacted_as_it_flows(pipe: subprocess.Popen[bytes]) -> None:
    """Lines come at once, a prompt at the pause, a key in halves not at all; the report counts; exit code 0."""
    key = new_canary("openai")
    _write(pipe, b"hello\n")
    assert _until(pipe, b"\n") == b"hello\n"
    _write(pipe, b"Continue? [y/N] ")
    assert _until(pipe, b"] ") == b"Continue? [y/N] "
    _write(pipe, b"\nAuthorization: Bearer " + key[:30])
    time.sleep(0.5)
    _write(pipe, key[30:] + b" ok\n")
    seen = _until(pipe, b" ok\n")
    rest, report, code = _end(pipe)
    assert (rest, code) == (b"", 0)
    assert not recoverable(seen, key)
    assert report["masked"]
    assert sum(report["masked"].values()) == 1
    assert report["dropped"] == 0


def test_an_interrupt_lets_the_last_words_through(pipe: subprocess.Popen[bytes]) -> None:
    """After SIGINT the rest of the stream still comes, redacted; its end ends the filter with 0."""
    _write(pipe, b"first\n")
    assert _until(pipe, b"\n") == b"first\n"
    pipe.send_signal(signal.SIGINT)
    key = new_canary("anthropic")
    _write(pipe, b"last key " + key + b" words\n")
    out, report, code = _end(pipe)
    assert code == 0
    assert out.startswith(b"last key [redacted:")
    assert out.endswith(b" words\n")
    assert not recoverable(out, key)
    assert report["masked"]


def test_a_reader_that_leaves_ends_the_filter(pipe: subprocess.Popen[bytes]) -> None:
    """With nobody behind the pipe the filter ends by itself, without a traceback."""
    assert pipe.stdout is not None
    _write(pipe, b"first\n")
    assert _until(pipe, b"\n") == b"first\n"
    pipe.stdout.close()
    _write(pipe, b"second\n" * 10)
    assert pipe.wait(20) in (1, 141)  # as other programs end
    assert pipe.stderr is not None
    assert b"Traceback" not in pipe.stderr.read()


async def test_values_come_by_descriptor_and_weak_ones_are_refused(shell: Shell) -> None:
    """A value without a shape is masked, in base64 too; a weak one stops the start before anything is read."""
    value = new_canary("openai")[8:40]
    with pipe_with(value + b"\n") as values:
        ran = await shell.run("redact", "--values-fd", str(values), fds=[values], stdin=b"a " + value + b" b\n")
    assert ran.code == 0
    assert ran.out.startswith("a [redacted:")
    assert ran.out.endswith(" b\n")
    with pipe_with(b"test\n") as values:
        refused = await shell.run("redact", "--values-fd", str(values), fds=[values], stdin=b"a test b\n")
    assert (refused.code, refused.out) == (2, "")


async def test_files_are_changed_only_when_asked(shell: Shell, tmp_path: Path) -> None:
    """Without --in-place the redacted text is printed and the file stays; with it the file is replaced, mode kept."""
    file = tmp_path / "app.log"
    raw = b"a\nkey " + new_canary("openai") + b"\n"
    file.write_bytes(raw)
    file.chmod(0o640)
    printed = await shell.run("redact", str(file))
    assert printed.out.startswith("a\nkey [redacted:api_key:")
    assert file.read_bytes() == raw
    assert (await shell.run("redact", "--in-place", str(file))).code == 0
    assert file.read_bytes().startswith(b"a\nkey [redacted:api_key:")
    assert file.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["app.log"]
    assert (await shell.run("redact", str(tmp_path / "absent"))).code == 2
    assert (await shell.run("redact", "--rules", str(file), stdin=b"x\n")).code == 2


def _plant(place: str, folder: Path, value: bytes) -> str:
    """Plant a value in one kind of place; return the name of the file in which it is."""
    folder.mkdir()
    text = b"name = 'demo'\nopenai_api_key = '" + value + b"'\n"
    if place == "name":
        (folder / f"shot-{value.decode()}.txt").write_text("nothing inside")
        return "(name)"  # the name itself holds the key, so it is not shown
    if place == "database":
        (folder / "app.sqlite").write_bytes(LOCATIONS["app.sqlite"](b" " + value + b" "))
        return "app.sqlite"
    if place == "repository":
        (folder / ".git").mkdir()
        (folder / ".git" / "5aa3").write_bytes(zlib.compress(b"blob %d\0" % len(text) + text))
        return "5aa3"
    (folder / place).write_bytes(text)
    return place


@pytest.mark.req("R1.3-2")
@pytest.mark.parametrize("place", [".env", "config.toml", "repository", "database", "name"])
async def test_sprawl_in_each_place_ends_in_a_finding(shell: Shell, tmp_path: Path, place: str) -> None:
    """Found where it is, by place, type and fingerprint, code 1; clean 0; a path that cannot be read is unknown, 4."""
    value = new_canary("openai")
    file = _plant(place, tmp_path / "tree", value)
    ran = await shell.run("leaks", "scan", str(tmp_path / "tree"), "--json")
    assert ran.code == 1
    assert all(file in one["source"] and len(one["fingerprint"]) == 8 for one in ran.document["findings"])
    assert {one["kind"] for one in ran.document["findings"]} <= {"api_key", "base64"}
    assert value.decode()[12:] not in ran.said
    shutil.rmtree(tmp_path / "tree")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "app.py").write_text("print('hello')\n")
    assert (await shell.run("leaks", "scan", str(tmp_path / "tree"))).code == 0
    unread = await shell.run("leaks", "scan", str(tmp_path / "tree"), str(tmp_path / "absent"))
    assert (unread.code, "unknown" in unread.out, "absent" in unread.out) == (4, True, True)


async def test_scan_exit_codes_and_forms(shell: Shell, tmp_path: Path) -> None:
    """Clean 0, found 1, unreadable or nothing 4; place, type, fingerprint in each form and never the value; SARIF."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "app.py").write_text("print('hello')\n")
    clean = await shell.run("leaks", "scan", str(tree), "--json")
    assert (clean.code, clean.document["state"], clean.document["files"]) == (0, "clean", 1)
    unknown = await shell.run("leaks", "scan", str(tree), str(tmp_path / "absent"), "--json")
    assert (unknown.code, unknown.document["state"]) == (4, "unknown")
    assert unknown.document["unreadable"][0]["state"] == "unknown"
    (tmp_path / "empty").mkdir()
    assert (await shell.run("leaks", "scan", str(tmp_path / "empty"))).code == 4
    value = new_canary("openai").decode()
    (tree / ".env").write_text(f"# keys\nOPENAI_API_KEY={value}\n")
    sarif = tmp_path / "scan.sarif"
    for words in ((), ("--replace", "--json")):
        ran = await shell.run("leaks", "scan", str(tree), "--sarif", str(sarif), *words)
        assert ran.code == 1
        assert value[10:] not in ran.said + sarif.read_text()
    (finding,) = ran.document["findings"]
    assert (finding["source"], finding["line"], finding["kind"]) == (str(tree / ".env"), 2, "api_key")
    log = json.loads(sarif.read_text())
    (result,) = log["runs"][0]["results"]
    assert (log["version"], result["ruleId"]) == ("2.1.0", log["runs"][0]["tool"]["driver"]["rules"][0]["id"])
    assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": 2}
    assert result["partialFingerprints"]["byokeepPlace/v1"]
    assert log["runs"][0]["invocations"][0]["executionSuccessful"] is True


async def test_baseline_suppresses_and_tells_what_is_stale(shell: Shell, tmp_path: Path) -> None:
    """A known finding is quiet, a new one in the same file is not, a repaired one is named as stale."""
    file, known = tmp_path / "a.txt", str(tmp_path / "known.json")
    first, second = (new_canary("anthropic").decode() for _ in range(2))
    file.write_text(f"key {first}\n")
    scan = ("leaks", "scan", str(file), "--baseline", known)
    assert (await shell.run(*scan)).code == 2  # there is none yet
    assert (await shell.run(*scan, "--write-baseline")).code == 0
    assert first[20:40] not in Path(known).read_text()
    quiet = await shell.run(*scan, "--json")
    assert (quiet.code, quiet.document["known"], quiet.document["findings"]) == (0, 1, [])
    file.write_text(f"key {first}\nkey {second}\n")
    loud = await shell.run(*scan, "--json")
    assert (loud.code, [one["line"] for one in loud.document["findings"]]) == (1, [2])
    file.write_text("all keys are gone from here\n")
    stale = await shell.run(*scan, "--json")
    assert (stale.code, len(stale.document["stale_entries"])) == (0, 1)
    Path(known).write_text("{}")
    assert (await shell.run(*scan)).code == 2


async def test_a_key_does_not_get_into_a_commit(shell: Shell, tmp_path: Path) -> None:
    """The hook of the page, in a real repository: a real-shaped key stops the commit unless the baseline knows it."""
    page = (Path(__file__).parents[2] / "docs" / "leaks.md").read_text()
    script = page.partition("```sh\n#!/bin/sh\n")[2].partition("```")[0]
    command = f"{shlex.quote(sys.executable)} -m byokeep.cli"
    tree, home = tmp_path / "tree", environment() | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        named = ["git", "-c", "user.name=a", "-c", "user.email=a@example.test", *words]
        return subprocess.run(named, cwd=tree, env=home, capture_output=True, text=True, timeout=60, check=False)

    tree.mkdir()
    assert git("init", "-q").returncode == 0
    hook = tree / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nset -e\n{script}".replace("byokeep leaks", f"{command} leaks"))
    hook.chmod(0o755)
    known = str(tree / "leaks.json")
    (tree / "empty.py").touch()
    assert (await shell.run("leaks", "scan", str(hook), "--baseline", known, "--write-baseline")).code == 0
    assert git("add", "empty.py").returncode == 0
    assert git("commit", "-qm", "clean").returncode == 0
    value = new_canary("anthropic").decode()
    (tree / "settings.py").write_text(f"KEY = '{value}'\n")
    git("add", "settings.py")
    stopped = git("commit", "-qm", "with a key")
    assert stopped.returncode != 0
    assert "settings.py:1" in stopped.stderr
    assert value[13:] not in stopped.stdout + stopped.stderr
    taken = await shell.run("leaks", "scan", str(tree / "settings.py"), "--baseline", known, "--write-baseline")
    assert taken.code == 0
    assert git("commit", "-qm", "a test key, looked at").returncode == 0


async def test_live_values_by_fingerprint_alone(shell: Shell, tmp_path: Path) -> None:
    """A value without a shape is found by its fingerprints; without a server or with a bad document it is unknown."""
    value = new_canary("kie")
    document = fingerprints_from([("ref-1", one) for one in fingerprints_of(value, KEY)], KEY).document()
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "notes.txt").write_bytes(b"see " + value.hex().encode() + b"\n")
    scan = ("leaks", "scan", str(tmp_path / "t"), "--json")
    assert (await shell.run(*scan)).code == 0  # 32 hex digits look like any id
    with pipe_with(document) as prints:
        found = await shell.run(*scan, "--fingerprints-fd", str(prints), fds=[prints])
    assert found.code == 1
    assert [(one["rule"], one["kind"], one["encoding"]) for one in found.document["findings"]] == [
        ("ref-1", "live_value", "hex")
    ]
    assert value.decode() not in found.said
    with pipe_with(document[:-9]) as prints:
        bad = await shell.run(*scan, "--fingerprints-fd", str(prints), fds=[prints])
    assert (bad.code, bad.document["not_looked_for"]) == (4, ["bad_fingerprints"])
    alone = await shell.run(*scan, "--live")
    assert (alone.code, alone.document["state"], len(alone.document["not_looked_for"])) == (4, "unknown", 1)


async def test_sweep_lists_what_it_found_and_could_not_read(shell: Shell, tmp_path: Path) -> None:
    """In human output too: place and encoding of each finding, each source that was not read; 0, 1 and 4."""
    value = new_canary("openai")
    (tmp_path / "a.txt").write_bytes(b"nothing here\n")
    sweep = ("leaks", "sweep", "--no-processes", str(tmp_path / "a.txt"))
    assert (await shell.run(*sweep, stdin=value)).code == 0
    partly = await shell.run(*sweep, str(tmp_path / "absent"), stdin=value)
    assert partly.code == 4
    assert "absent" in partly.out
    assert "enoent" in partly.out
    (tmp_path / "a.txt").write_bytes(b"x " + value.hex().encode())
    found = await shell.run(*sweep, str(tmp_path / "absent"), stdin=value)
    assert found.code == 1
    assert all(word in found.out for word in ("a.txt", "hex", "absent", "enoent"))
    assert value.decode() not in found.said


async def test_the_table_on_a_terminal(shell: Shell, tmp_path: Path) -> None:
    """On a terminal the findings stand in a table of their own, the value in none of it."""
    value = new_canary("openai").decode()
    (tmp_path / "a.env").write_text(f"KEY={value}\n")
    ran: Ran = await asyncio.to_thread(_on_terminal, shell, tmp_path)
    assert ran.code == 1
    assert "a.env:1" in ran.out
    assert "api_key" in ran.out
    assert "findings" in ran.out
    assert value not in ran.out


def _on_terminal(shell: Shell, folder: Path) -> Ran:
    token = folder / "token"
    token.write_text("x")
    return shell._on_terminal(("leaks", "scan", str(folder / "a.env")), token, "fingerprint", "")
