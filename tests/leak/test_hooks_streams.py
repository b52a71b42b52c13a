"""Children, prints and crash reports: what passes a filtered descriptor."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from byokeep_redact.engine import RedactionFailed, Redactor
from byokeep_redact.hooks import streams
from byokeep_redact.hooks.streams import DescriptorHook, filtered, write_all
from tests.support.speech import ROOT, guarded, leaks, opaque, program, shaped


async def test_a_crash_report_is_filtered_and_arrives() -> None:
    """faulthandler's report of a killed interpreter arrives through the filter, with its frames."""
    body = """
import faulthandler, byokeep_redact
GUARD.uninstall(); byokeep_redact.install(faulthandler=True)
def {name}(): faulthandler._sigsegv()
print('REACHED', flush=True); {name}()
"""
    value = shaped()
    name = "f_" + value.replace("-", "_")
    said = await program(body.replace("{name}", name), value, on=True, known=False)
    assert "Segmentation fault" in said
    assert "most recent call first" in said


@pytest.mark.req("R1.2-5")
async def test_children_and_prints_pass_the_filter(tmp_path: Any) -> None:
    """A child's standard error, and all that is written to a descriptor of this process, comes out cleaned."""
    value = opaque()
    child = [sys.executable, "-c", "import sys; sys.stderr.write('seen ' + sys.stdin.read() + ' end')"]
    for on in (True, False):
        with guarded(on, value) as installed, (tmp_path / f"{on}").open("wb+") as out:
            redactor = installed.redactor if installed else None
            if redactor is None:
                subprocess.run(child, input=value.encode(), stderr=out, check=True)
            else:
                with filtered(out.fileno(), redactor) as stderr:
                    running = await asyncio.create_subprocess_exec(*child, stdin=asyncio.subprocess.PIPE, stderr=stderr)
                    await running.communicate(value.encode())
                hook = DescriptorHook([out.fileno()], redactor)
                hook.place()
                os.write(out.fileno(), b"printed " + value.encode() + b" unended")
                hook.remove()
            os.write(out.fileno(), b"|after")
            said = (tmp_path / f"{on}").read_text()
        assert said.startswith("seen ")
        assert said.endswith("|after")
        assert leaks(said, value) is not on


@pytest.mark.req("R1.2-5")
async def test_bytes_that_can_not_be_cleaned_are_dropped(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the redactor fails, a stream says ``redaction_error`` and goes on."""
    value = opaque()

    def fails(*_: object) -> None:
        raise RedactionFailed("redaction_failed")

    with guarded() as installed, (tmp_path / "out").open("wb+") as out:
        assert installed is not None
        with monkeypatch.context() as broken, filtered(out.fileno(), installed.redactor) as stream:
            for name in ("text", "data", "value", "find"):
                broken.setattr(Redactor, name, fails)
            os.write(stream, b"seen " + value.encode() + b"\n")
            for _ in range(100):
                if (tmp_path / "out").read_text():
                    break
                await asyncio.sleep(0.05)
    said = (tmp_path / "out").read_text()
    assert "redaction_error" in said
    assert not leaks(said, value)


INSTALLED = """
import atexit, logging, os, sys, threading, time
VALUE = sys.stdin.readline().strip()
{before}
import byokeep_redact
GUARD = byokeep_redact.install(descriptors=(1, 2))
GUARD.redactor.register(VALUE)
"""
ENDS = {
    "print": ("print('said', VALUE)", "", r"said \[redacted:\S+\]\n", 0),
    "unended": ("print('said', VALUE, end='')", "", r"said \[redacted:\S+\]", 0),
    "exit": ("print('said'); sys.exit(3)", "", r"said\n", 3),
    "raise": (
        "logging.basicConfig()\nfor n in range(2000): logging.error('line %d', n)\nraise ValueError('so ' + VALUE)", "",
        r"(ERROR:root:line \d+\n){2000}Traceback [\s\S]*ValueError: so \[redacted:\S+\]\n", 1,
    ),
    "late": (
        "print('said')", "atexit.register(lambda: print('late', VALUE, flush=True))",
        r"said\nlate \[redacted:\S+\]\n", 0,
    ),
    "fork": (
        "print('said', flush=True)\nif not (pid := os.fork()): print('child', VALUE); sys.exit()\n"
        "os.waitpid(pid, 0)", "", r"said\nchild \[redacted:\S+\]\n", 0,
    ),
    "grandchild": (
        "import subprocess; subprocess.Popen(['sleep', '3']); print('said', VALUE)", "", r"said \[redacted:\S+\]\n", 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.campaign)])
@pytest.mark.parametrize("end", list(ENDS))
def test_a_process_that_ends_loses_nothing(end: str, times: int) -> None:
    """However a program ends, all it printed comes out, cleaned, with its exit code; time after time."""
    body, before, expected, code = ENDS[end]
    command = [sys.executable, "-c", INSTALLED.replace("{before}", before) + body]
    for _ in range(times):
        value = opaque()
        env = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin",
               "PYTHONWARNINGS": "ignore:This process:DeprecationWarning"}  # Python 3.12 and newer tell of its threads
        ran = subprocess.run(
            command, input=value.encode(), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
            check=False,
        )  # fmt: skip
        assert re.fullmatch(expected, ran.stdout.decode()), ran.stdout[-2000:]
        assert ran.returncode == code


LAST = """
import sys, threading, types
import byokeep_redact
from byokeep_redact.hooks import streams
wait, end, looked, ended = streams.select.select, streams._Copy.end, threading.Event(), threading.Event()

def select(*asked):
    ready = wait(*asked)
    if not ready[0] and threading.current_thread() is not threading.main_thread() and not looked.is_set():
        looked.set()
        ended.wait()
    return ready

def says_end(self):
    end(self)
    ended.set()

streams._Copy.end = says_end
streams.select = types.SimpleNamespace(select=select, PIPE_BUF=4096)
byokeep_redact.install(descriptors=(2,))
looked.wait()
for n in range(51): print('line', n, file=sys.stderr)
raise ValueError('so')
"""


def test_the_last_lines_come_out_however_late_the_filter_looks() -> None:
    """What is written between the filter's look and the end of the process comes out, its traceback too."""
    ran = subprocess.run(
        [sys.executable, "-c", LAST], env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert re.fullmatch(r"(line \d+\n){51}Traceback [\s\S]*ValueError: so\n", ran.stderr.decode()), ran.stderr[-2000:]


def test_halves_with_a_pause_between_do_not_pass(tmp_path: Any) -> None:
    """A value that is written in two parts, the writer silent for longer than the filter waits, is masked whole."""
    value = opaque()
    with guarded(True, value) as installed, (tmp_path / "out").open("wb+") as out:
        assert installed is not None
        with filtered(out.fileno(), installed.redactor) as stream:
            os.write(stream, b"seen " + value[:30].encode())
            time.sleep(0.5)
            assert (tmp_path / "out").read_text() == "seen "
            os.write(stream, value[30:].encode() + b" end\n")
        said = (tmp_path / "out").read_text()
    assert re.fullmatch(r"seen \[redacted:\S+\] end\n", said)


def test_a_slow_reader_is_waited_for(tmp_path: Any) -> None:
    """At the end of a block more than a pipe holds has come out, though the reader took a while."""
    reader, writer = os.pipe()
    text = b"".join(b"line %d\n" % number for number in range(20_000))
    got: list[bytes] = []

    def read() -> None:
        while data := os.read(reader, 4096):
            got.append(data)
            time.sleep(0.03)

    slow = threading.Thread(target=read)
    with guarded() as installed:
        assert installed is not None
        slow.start()
        with filtered(writer, installed.redactor) as stream:
            write_all(stream, text)
        os.close(writer)
        slow.join()
    os.close(reader)
    assert b"".join(got) == text


@contextmanager
def steps(monkeypatch: pytest.MonkeyPatch, at_step: Callable[[Any, int], None]) -> Iterator[list[int]]:
    """Waiting for the filter gives up after 10 quiet steps; ``at_step`` is told who copies and each step's number."""
    taken: list[int] = []

    def join(copy: threading.Thread, step_s: float) -> None:
        taken.append(len(taken) + 1)
        at_step(copy, taken[-1])
        threading.Thread.join(copy, step_s)

    with monkeypatch.context() as bound:
        bound.setattr(streams, "_WAIT_S", 10 * streams._STEP_S)
        bound.setattr(streams._Copy, "join", join)
        yield taken


def test_a_reader_that_takes_little_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that takes a page each few steps gets all of it, though that takes longer than a stuck one is given."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    text, got = b"".join(b"line %d\n" % number for number in range(4_000)), bytearray()

    def read(copy: Any, step: int) -> None:
        if step % 3 == 0 and select.select([reader], [], [], 0)[0]:
            moves = copy._moves
            got.extend(os.read(reader, 4096))
            while copy.is_alive() and copy._moves == moves:
                time.sleep(0.01)  # until the next page has come

    with guarded() as installed, steps(monkeypatch, read) as taken:
        assert installed is not None
        with filtered(writer, installed.redactor) as stream:
            write_all(stream, text)
    os.close(writer)
    while data := os.read(reader, 4096):
        got.extend(data)
    os.close(reader)
    assert bytes(got) == text
    assert len(taken) > 20


def test_cleaning_is_waited_for_however_slow(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece whose cleaning takes longer than the wait for a stuck reader comes out."""
    begun, cleaned, find = threading.Event(), threading.Event(), Redactor.find

    def slow(redactor: Redactor, data: bytes) -> Any:
        begun.set()
        cleaned.wait()
        return find(redactor, data)

    def clean(copy: threading.Thread, step: int) -> None:
        if step > 20:
            cleaned.set()
            threading.Thread.join(copy)

    with guarded() as installed, (tmp_path / "out").open("wb+") as out:
        assert installed is not None
        with steps(monkeypatch, clean):
            monkeypatch.setattr(Redactor, "find", slow)
            with filtered(out.fileno(), installed.redactor) as stream:
                os.write(stream, b"seen\n")
                begun.wait()
        assert (tmp_path / "out").read_text() == "seen\n"


def test_a_reader_that_is_stuck_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes nothing for so many steps holds nobody up."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with guarded() as installed, steps(monkeypatch, lambda *_: None) as taken:
        assert installed is not None
        with filtered(writer, installed.redactor) as stream:
            write_all(stream, b"line\n" * 4_000)
        ended = len(taken)
    os.close(reader)
    os.close(writer)
    assert ended >= 10
