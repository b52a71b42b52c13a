"""How long a start takes: OpenBao alone, and the whole stack, on an empty home and on one that is set up."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.report import Row
from byokeep.settings import Settings, load
from byokeep.supervisor import Stack
from byokeep.telemetry import log
from byokeep.wiring import embedded_store

LATER = 3


async def _timed(work: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def _home() -> Path:
    home = Path(tempfile.mkdtemp(prefix="byokeep-bench-"))
    home.chmod(0o711)  # the database's own user must reach its data below
    return home


def _settings(home: Path) -> Settings:
    return load(home=home, web_listen="127.0.0.1:0", broker_listen="127.0.0.1:0")


async def start() -> list[Row]:
    home = _home()
    try:
        store = embedded_store(_settings(home))
        times = []
        for _ in range(1 + LATER):
            times.append(await _timed(store.start))
            await store.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    rows = _rows("OpenBao", times)
    home = _home()
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
    return rows + _rows("the stack", times)


def _rows(what: str, times: list[float]) -> list[Row]:
    return [
        Row(what=f"{what} starts on an empty home", p50=f"{times[0]:.2f} s"),
        Row(what=f"{what} starts again (median of {LATER})", p50=f"{statistics.median(times[1:]):.2f} s"),
    ]
