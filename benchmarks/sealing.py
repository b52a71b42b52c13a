"""Sealing and opening a browser profile, beside `tar | zstd | age` (and pyrage) and `tar | zstd`, in turn in one run.

``BYOKEEP_BENCH_PROFILE_MB`` is the size of the profile, 300 when it is not set; 2147 is 2 GiB.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.report import ROOT, Row

SIZE: Final = int(os.environ.get("BYOKEEP_BENCH_PROFILE_MB", "300")) * 1_000_000  # bytes
ROUNDS: Final = 5 if SIZE < 1_000_000_000 else 3
LEAST_OF_ZSTD, LEAST_OF_AGE, MOST_MIB = 0.9, 1.5, 64
OURS, AGE, PLAIN, ALL_CORES = "byokeep", "tar, zstd, age", "tar, zstd", "tar, zstd -T0"
PYRAGE: Final = "tar, zstd, pyrage"
PEER_PYTHON: Final = ROOT / ".venv-peers" / "bin" / "python"  # tools/peers.sh makes it
_PYRAGE_SEALS: Final = """
import sys, pyrage
to = pyrage.x25519.Recipient.from_str(sys.argv[1])
pyrage.encrypt_io(sys.stdin.buffer, sys.stdout.buffer, [to])
"""
_PYRAGE_OPENS: Final = """
import sys, pathlib, pyrage
key = pathlib.Path(sys.argv[1]).read_text().splitlines()[-1]
pyrage.decrypt_io(sys.stdin.buffer, sys.stdout.buffer, [pyrage.x25519.Identity.from_str(key)])
"""


@dataclass(frozen=True, slots=True)
class Took:
    """One run: seconds, CPU seconds, MiB of memory at its peak (of all processes; ours: on top of the interpreter)."""

    seconds: float
    cpu: float
    mib: float


def make_profile(folder: Path, size: int) -> int:
    """Fill a folder with what a browser leaves: databases, logs of key and value, pictures. Returns its bytes."""
    draw, made, number = random.Random(20261125), 0, 0
    words = [draw.randbytes(draw.randint(4, 24)).hex().encode() for _ in range(4000)]
    while made < size:
        kind, number = number % 10, number + 1
        length = min(draw.choice((8_000, 60_000, 400_000, 1_200_000)), size - made)
        if kind < 4:  # a picture, a font, a blob of IndexedDB: compressed already
            data = draw.randbytes(length)
        elif kind < 8:  # a LevelDB log or a script: words that come again
            data = b" ".join(draw.choices(words, k=length // 25 + 1))[:length]
        else:  # pages of a database, partly empty
            data = b"".join(draw.randbytes(1500) + bytes(2596) for _ in range(length // 4096 + 1))[:length]
        place = folder / "Default" / ("IndexedDB", "Local Storage", "Service Worker")[number % 3] / f"d{number % 40}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:06}.ldb").write_bytes(data)
        made += length
    return made


def pipeline(commands: Sequence[Sequence[str]], *, source: Path | None = None, target: Path | None = None) -> Took:
    """Run programs, each reading what the one before it writes. Raises RuntimeError when one fails."""
    began, used, ends, statuses = time.perf_counter(), 0.0, [], []
    reading = source.open("rb") if source else None
    writing = target.open("wb") if target else None
    before = reading.fileno() if reading else subprocess.DEVNULL
    running = []
    for place, command in enumerate(commands):
        last = place == len(commands) - 1
        out = (writing.fileno() if writing else subprocess.DEVNULL) if last else subprocess.PIPE
        process = subprocess.Popen(command, stdin=before, stdout=out)
        if place:
            ends[-1].close()
        if process.stdout is not None:
            ends.append(process.stdout)
            before = process.stdout.fileno()
        running.append(process)
    most = dict.fromkeys((process.pid for process in running), 0.0)
    left = dict.fromkeys(most)
    while left:
        for pid in list(left):
            # Not the kernel's own figure of a child that ended: that one begins with what we had when we forked.
            most[pid] = max(most[pid], peak_of(pid))
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            if ended:
                del left[pid]
                statuses.append(status)
                used += usage.ru_utime + usage.ru_stime
        time.sleep(0.002)
    seconds = time.perf_counter() - began
    for process in running:
        process.returncode = 0  # waited for above
    for file in (reading, writing):
        if file:
            file.close()
    if any(statuses):
        raise RuntimeError(f"{commands[0][0]} failed")
    return Took(seconds, used, sum(most.values()))


def peak_of(pid: int) -> float:
    """The most memory that a process had until now, MiB; 0 when it ended."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def ours(what: str, profile: Path, blob: Path) -> Took:
    command = [sys.executable, "-m", "benchmarks.sealing_ours", what, str(profile), str(blob)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    said = json.loads(ended.stdout)
    return Took(said["seconds"], said["cpu"], said["extra_mib"])


def halves(folder: Path) -> dict[str, tuple[Callable[[], Took], Callable[[Path], Took]]]:
    """How each seals the profile of a folder, and opens what it sealed into another place."""
    profile, key = str(folder / "profile"), str(folder / "key")
    tar, untar = ["tar", "-cf", "-", "-C", profile, "."], ["tar", "-xf", "-", "-C"]
    found: dict[str, tuple[Callable[[], Took], Callable[[Path], Took]]] = {
        OURS: (
            lambda: ours("seal", folder / "profile", folder / "ours"),
            lambda to: ours("open", to / "opened", folder / "ours"),
        )
    }
    if shutil.which("age"):
        subprocess.run(["age-keygen", "-o", key], check=True, capture_output=True)
        said = subprocess.run(["age-keygen", "-y", key], check=True, capture_output=True, text=True)
        to_key = ["age", "-r", said.stdout.strip()]
        found[AGE] = (
            lambda: pipeline([tar, ["zstd", "-q", "-3"], to_key], target=folder / "age"),
            lambda to: pipeline([["age", "-d", "-i", key], ["zstd", "-dq"], [*untar, str(to)]], source=folder / "age"),
        )
        if has_pyrage():
            seal = [str(PEER_PYTHON), "-c", _PYRAGE_SEALS, to_key[-1]]
            unseal = [str(PEER_PYTHON), "-c", _PYRAGE_OPENS, key]
            found[PYRAGE] = (
                lambda: pipeline([tar, ["zstd", "-q", "-3"], seal], target=folder / "rage"),
                lambda to: pipeline([unseal, ["zstd", "-dq"], [*untar, str(to)]], source=folder / "rage"),
            )
    for name, threads in ((PLAIN, []), (ALL_CORES, ["-T0"])):
        file = folder / f"plain{''.join(threads)}"
        found[name] = (
            lambda threads=threads, file=file: pipeline([tar, ["zstd", "-q", "-3", *threads]], target=file),
            lambda to, file=file: pipeline([["zstd", "-dq"], [*untar, str(to)]], source=file),
        )
    return found


def has_pyrage() -> bool:
    """Whether the peers' environment is there and holds it."""
    command = [str(PEER_PYTHON), "-c", "import pyrage"]
    return PEER_PYTHON.exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0


async def sealing() -> list[Row]:
    return await asyncio.to_thread(_sealing)


def _sealing() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="byokeep-bench-") as name:
        folder = Path(name)
        size = make_profile(folder / "profile", SIZE)
        both = halves(folder)
        took: dict[tuple[str, str], list[Took]] = {}
        for _ in range(ROUNDS):  # in turn, so that a busy minute is everybody's
            for who, (seals, _) in both.items():
                took.setdefault((who, "seal"), []).append(seals())
        for number in range(ROUNDS):
            for who, (_, opens) in both.items():
                to = folder / f"to{number}"
                to.mkdir()
                took.setdefault((who, "open"), []).append(opens(to))
                _same(folder / "profile", to / "opened" if who == OURS else to)
                shutil.rmtree(to)
    return [row for what in ("seal", "open") for row in _rows(what, size, took)]


def _same(one: Path, other: Path) -> None:
    """What came out is what went in, by names and sizes. Raises RuntimeError."""

    def seen(root: Path) -> set[tuple[Path, int]]:
        return {(path.relative_to(root), path.stat().st_size) for path in root.rglob("*") if path.is_file()}

    if seen(one) != seen(other):
        raise RuntimeError("what was opened is not what was sealed")


def _rows(what: str, size: int, took: dict[tuple[str, str], list[Took]]) -> list[Row]:
    rows = []
    mine = statistics.median(one.seconds for one in took[OURS, what])
    for (who, half), runs in took.items():
        if half != what:
            continue
        seconds = statistics.median(run.seconds for run in runs)
        cpu, mib = statistics.median(run.cpu for run in runs), max(run.mib for run in runs)
        least = {AGE: LEAST_OF_AGE, PYRAGE: LEAST_OF_AGE, PLAIN: LEAST_OF_ZSTD}.get(who)
        rows.append(
            Row(
                what=f"{what} {size / 1e6:,.0f} MB: {who}", p50=f"{seconds:.2f} s", p99=f"{cpu:.2f} s CPU",
                rate=f"{size / 1e6 / seconds:,.0f} MB/s", ratio="" if who == OURS else f"ours {seconds / mine:.2f}x",
                aim=f"< {MOST_MIB} MiB more" if who == OURS else "" if least is None else f"ours >= {least}x",
                held=mib < MOST_MIB if who == OURS else None if least is None else seconds / mine >= least,
                note=f"peak {mib:,.0f} MiB{' on top of the interpreter' if who == OURS else ''}, median of {len(runs)}",
            )
        )  # fmt: skip
    if (AGE, what) not in took:
        rows.append(Row(what=f"{what}: {AGE}", note="not measured: age is not installed"))
    if (PYRAGE, what) not in took:
        rows.append(Row(what=f"{what}: {PYRAGE}", note="not measured: it needs age and tools/peers.sh"))
    return rows


def versions() -> dict[str, str]:
    """The versions of the programs that were measured beside ours."""
    found = {}
    for name in ("tar", "zstd", "age"):
        try:
            said = subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            said = ""
        number = re.search(r"[0-9]+(\.[0-9]+)+", said)
        found[name] = number[0] if number else "absent"
    return found
