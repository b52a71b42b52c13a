"""How long starts take: OpenBao alone and the whole stack, on an empty home and on one that is set up; and the CPU of a
command, beside that of a Python that does nothing.
"""

from __future__ import annotations

import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.report import Row
from byokeep.processes.supervisor import Stack
from byokeep.processes.wiring import embedded_store
from byokeep.settings import Settings, load
from byokeep.telemetry import log

LATER = 3
STARTS = 10  # of each command; the least CPU of them is what it needs, the rest is what else the machine did
COMMANDS = {  # arguments -> the aim in seconds of CPU
    ("--help",): 0.25, ("key", "list", "--help"): 0.4,
    ("client", "list", "--url", "http://127.0.0.1:9", "--token-file", "TOKEN"): 0.4,
}  # fmt: skip


async def _timed(work: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def new_home() -> Path:
    """Return an empty folder for a stack; the database's own user may pass through it."""
    home = Path(tempfile.mkdtemp(prefix="byokeep-bench-"))
    home.chmod(0o711)  # the database's own user must reach its data below
    return home


def _settings(home: Path) -> Settings:
    return load(home=home, web_listen="127.0.0.1:0", broker_listen="127.0.0.1:0")


async def start() -> list[Row]:
    home = new_home()
    try:
        store = embedded_store(_settings(home))
        times = []
        for _ in range(1 + LATER):
            times.append(await _timed(store.start))
            await store.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    rows = _rows("OpenBao", times)
    home = new_home()
    settings = _settings(home)
    log.configure("bench", path=home / "bench.log")
    try:
        times = []
        for _ in range(1 + LATER):
            stack = Stack(settings)
            try:
                times.append(await _timed(stack.start))
            finally:
                await stack.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return rows + _rows("the stack", times) + _commands()


def _cpu(*command: str) -> float:
    """Return the least CPU, of user and kernel, that a command took."""
    took = []
    for _ in range(STARTS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, capture_output=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(took)


def _commands() -> list[Row]:
    nothing = _cpu(sys.executable, "-c", "pass")
    rows = [Row(what="CPU of `python -c pass`", p50=f"{nothing:.3f} s")]
    with tempfile.NamedTemporaryFile("w") as token:  # nobody listens at that port, so that nobody gets it
        token.write("bko_" + "A" * 43)
        token.flush()
        for words, aim in COMMANDS.items():
            given = [token.name if word == "TOKEN" else word for word in words]
            took = _cpu(sys.executable, "-m", "byokeep.cli", *given)
            what = f"CPU of `byokeep {' '.join(words[:2])}{' --help' if words[2:] == ('--help',) else ''}`"
            rows.append(Row(what=what, p50=f"{took:.3f} s", ratio=f"{took / nothing:.0f} x python -c pass",
                            aim=f"<= {aim} s", held=took <= aim))  # fmt: skip
    return rows


def _rows(what: str, times: list[float]) -> list[Row]:
    return [
        Row(what=f"{what} starts on an empty home", p50=f"{times[0]:.2f} s"),
        Row(what=f"{what} starts again (median of {LATER})", p50=f"{statistics.median(times[1:]):.2f} s"),
    ]
