"""Callers that wait for each answer, and what they saw."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from byokeep.core.errors import ByokeepError

Act = Callable[[int], Awaitable[object]]
_TICKS: Final = 100  # the kernel's unit of CPU time in /proc, per second


@dataclass(slots=True)
class Run:
    """What callers saw: seconds of each call, seconds of the whole, failures by code, CPU seconds by process."""

    callers: int
    seconds: float = 0.0
    took: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    cpu: Counter[str] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        return len(self.took) / self.seconds if self.seconds else 0.0

    def ms(self, percent: float) -> float:
        """Percentile of the latency, milliseconds."""
        ordered = sorted(self.took)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] * 1000 if ordered else float("nan")

    def cpu_ms(self) -> str:
        """CPU milliseconds of each process for one call."""
        calls = max(len(self.took), 1)
        return " ".join(f"{name} {used / calls * 1000:.2f}" for name, used in self.cpu.items() if used / calls > 5e-6)

    def add(self, other: Run) -> None:
        """Count another slice of the same kind in."""
        self.seconds += other.seconds
        self.took += other.took
        self.failures += other.failures
        self.cpu.update(other.cpu)


async def closed_loop(act: Act, *, callers: int, seconds: float, pids: dict[str, int] | None = None) -> Run:
    """Let ``callers`` call again and again for ``seconds``; ``act`` is given the caller's number."""
    run = Run(callers)
    before = cpu_used(pids or {})
    began = time.perf_counter()
    until = began + seconds

    async def caller(number: int) -> None:
        while (start := time.perf_counter()) < until:
            try:
                await act(number)
            except ByokeepError as error:
                run.failures[error.code] += 1
                await asyncio.sleep(0.01)
                continue
            run.took.append(time.perf_counter() - start)

    await asyncio.gather(*(caller(number) for number in range(callers)))
    run.seconds = time.perf_counter() - began
    run.cpu.update({name: used - before.get(name, 0.0) for name, used in cpu_used(pids or {}).items()})
    return run


async def in_turns(acts: Mapping[str, Act], *, callers: int, seconds: float, turns: int,
                   pids: dict[str, int] | None = None) -> dict[str, Run]:  # fmt: skip
    """Run several kinds of call one after the other, ``turns`` times, so that a busy moment hits all of them."""
    runs = {name: Run(callers) for name in acts}
    for act in acts.values():
        await closed_loop(act, callers=callers, seconds=0.5)
    for _ in range(turns):
        for name, act in acts.items():
            runs[name].add(await closed_loop(act, callers=callers, seconds=seconds, pids=pids))
    return runs


def cpu_used(pids: dict[str, int]) -> dict[str, float]:
    """CPU seconds that each process and its children have used, and this process as ``caller``."""
    if not pids:
        return {}
    names = {pid: name for name, pid in pids.items()}
    used = dict.fromkeys(pids, 0.0) | {"caller": time.process_time()}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        own = names.get(int(stat.parent.name)) or names.get(int(fields[1]))
        if own is not None:
            used[own] += (int(fields[11]) + int(fields[12])) / _TICKS
    return used
