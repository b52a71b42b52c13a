"""Evaluate the self-test: start runners with the engine on and off, and read all that came out of them.

Rules
- A runner is a process of its own, so that exit paths are real and this process's logging is out of the way.
- The evaluator decodes by itself (``recoverable``); it is never told what the engine did.
- Nothing the runners wrote is kept.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from byokeep_redact.encodings import recoverable
from byokeep_redact.selftest.generator import fresh_seed
from byokeep_redact.selftest.plan import MARK, Emission, PlannedRun, available_sinks, classes, plan
from byokeep_redact.selftest.project import Setup, environment
from byokeep_redact.selftest.report import Result, Row
from byokeep_redact.selftest.runner import DYING, LINE_S, RunOutcome
from byokeep_redact.selftest.samples import COST, LONG, SURVIVE

RUNNER_S: Final = 240  # longest life of a runner
GROWTH: Final = 512 << 20  # bytes that a process may grow by while long lines go through
_BYTES_MARK: Final = re.compile(MARK.pattern.encode())
_BLUNT: Final = re.compile(rb"[A-Za-z0-9+/=:._-]{6,}")
_ENGINES: Final[tuple[Literal["on", "off"], ...]] = ("on", "off")


@dataclass(slots=True)
class _Output:
    """What one runner left behind: the text around each mark."""

    outcome: RunOutcome
    around: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))

    def read(self, text: bytes) -> None:
        """Cut a stream at its marks: what belongs to a sample stands between the marks before and after its own."""
        found = [(match[0].decode(), match.start(), match.end()) for match in _BYTES_MARK.finditer(text)]
        runs: list[list[tuple[str, int, int]]] = []
        for mark in found:
            if runs and runs[-1][0][0] == mark[0]:
                runs[-1].append(mark)
            else:
                runs.append([mark])
        for at, run in enumerate(runs):
            start = runs[at - 1][-1][2] if at else 0
            end = runs[at + 1][0][1] if at + 1 < len(runs) else len(text)
            self.around[run[0][0]].append(text[start:end])


def run(project: Setup | None = None, seed: str = "") -> Result:
    """Run the whole self-test; never raises for what a runner does.

    Raises:
        Rejected: ``bad_leak_corpus``.
    """
    project, seed = project or Setup(), seed or fresh_seed()
    present, absent = available_sinks()
    job = PlannedRun(seed, tuple(present), "on", project.setup, project.register, project.corpus, project.full)
    result = Result(seed, sinks=dict.fromkeys(absent, "absent"))
    with tempfile.TemporaryDirectory(prefix="leakpack-") as folder:
        outputs = _run_all(job, project.root, Path(folder))
    for part in _parts(job):
        on, off = outputs[part.sinks, "on"], outputs[part.sinks, "off"]
        result.engine = on.outcome.engine or result.engine
        result.sinks |= on.outcome.states | {
            name: "failed:died" for name in part.sinks if name not in on.outcome.states
        }
        result.cost_s |= on.outcome.cost_s
        result.grown_bytes = max(result.grown_bytes, on.outcome.grown_bytes)
        emissions = plan(part)
        result.rows += _rows(emissions, on, off)
        result.missed += _missed(emissions)
    result.rows = _merged(result.rows)
    result.expected, result.absent = classes(job, [name for name, state in result.sinks.items() if state != "absent"])
    emitted = dict.fromkeys(row.group for row in result.rows)
    uncontrolled = [group for group in emitted if not any(row.control for row in result.of(group))]
    result.rejected = [f"{group} passes with the engine off" for group in uncontrolled]
    return result


def _parts(job: PlannedRun) -> list[PlannedRun]:
    """One runner for what dies of its samples, one for everything else."""
    living = tuple(name for name in job.sinks if name != DYING)
    return [replace(job, sinks=living), replace(job, sinks=(DYING,))]


def _run_all(job: PlannedRun, root: Path, folder: Path) -> dict[tuple[tuple[str, ...], str], _Output]:
    """Run all runners at once."""
    running = []
    for part in _parts(job):
        for engine in _ENGINES:
            place = folder / f"{engine}-{len(part.sinks)}"
            place.mkdir(mode=0o700)
            running.append((part.sinks, engine, place, _start(replace(part, engine=engine), place, root)))
    return {(sinks, engine): _finish(process, place) for sinks, engine, place, process in running}


def _start(job: PlannedRun, place: Path, root: Path) -> subprocess.Popen[bytes]:
    (place / "job.json").write_text(json.dumps(asdict(job)))
    command = [sys.executable, "-m", "byokeep_redact.selftest.runner", str(place / "job.json")]
    with (place / "stdout.txt").open("wb") as out, (place / "stderr.txt").open("wb") as err:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=root, env=environment(root)
        )


def _finish(process: subprocess.Popen[bytes], place: Path) -> _Output:
    try:
        process.wait(RUNNER_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    try:
        fields = json.loads((place / "outcome.json").read_text())
        output = _Output(RunOutcome(**fields | {"files": [(name, at) for name, at in fields["files"]]}))
    except (OSError, ValueError):
        return _Output(RunOutcome())  # it died before it could tell: every sink counts as failed
    for path in sorted(place.glob("*.txt")):
        output.read(path.read_bytes())
    for name, offset in output.outcome.files:
        if Path(name).is_file():  # one that is not there leaves its samples unseen
            output.read(Path(name).read_bytes()[offset:])
    return output


def _rows(emissions: Sequence[Emission], on: _Output, off: _Output) -> list[Row]:
    rows: dict[tuple[str, str], Row] = {}
    for one in emissions:
        if on.outcome.states.get(one.sink) != "ran":
            continue
        row = rows.setdefault((one.sample.group, one.sink), Row(one.sample.group, one.sink))
        _count(row, one, on)
        if not row.control:  # one that leaks with the engine off shows that this sink can leak
            around = off.around.get(one.mark, [])
            if one.sample.group == SURVIVE:
                around = [_BLUNT.sub(b"-", text) for text in around]
            row.control = int(_leaked(one, around) or _altered(one, around))
    for row in rows.values():
        if row.group == COST:
            _evaluate_cost(row, on.outcome)
    return list(rows.values())


def _count(row: Row, one: Emission, output: _Output) -> None:
    around = output.around.get(one.mark, [])
    leaked, altered = _leaked(one, around), _altered(one, around)
    row.samples += 1
    row.leaked, row.altered, row.unseen = row.leaked + leaked, row.altered + altered, row.unseen + (not around)
    if leaked or altered:
        row.shapes.append(one.sample.shape)


def _leaked(one: Emission, around: Sequence[bytes]) -> bool:
    if one.sample.group == COST:
        shorter = 1 if one.sample.shape == LONG else 0  # such a line must have been cut
        return any(one.sample.secrets[0] in text or len(text) * shorter > len(one.sample.text) for text in around)
    plainly = any(secret[:12] in text or secret[-12:] in text for text in around for secret in one.sample.secrets)
    return plainly or any(recoverable(text, b"\n".join(one.sample.secrets)) for text in around if one.sample.secrets)


def _altered(one: Emission, around: Iterable[bytes]) -> bool:
    """Whether something that must survive did not, in any place where its sample came out."""
    for text in around:
        plain = text.replace(b'\\"', b'"').replace(b"\\n", b"\n")
        if any(kept.encode() not in text and kept.encode() not in plain for kept in one.sample.keep):
            return True
    return False


def _evaluate_cost(row: Row, outcome: RunOutcome) -> None:
    """Count lines that took too long, and a process that grew too much; nothing need have leaked."""
    slow = [shape for shape, seconds in outcome.cost_s.items() if seconds >= LINE_S]
    grown = ["memory"] if outcome.grown_bytes > GROWTH else []
    row.slow, row.heavy = len(slow), len(grown)
    row.shapes += [f"{shape} (too slow)" for shape in slow] + grown


def _missed(emissions: Sequence[Emission]) -> list[str]:
    """Positive control: what the criterion does not find in the sample itself, unredacted."""
    missed = set()
    for sample in {id(one.sample): one.sample for one in emissions if one.sample.group not in (COST, SURVIVE)}.values():
        text = sample.text.encode("utf-8", "surrogateescape")
        if not all(recoverable(text, secret) for secret in sample.secrets):
            missed.add(f"{sample.group}/{sample.shape}")
    return sorted(missed)


def _merged(rows: Sequence[Row]) -> list[Row]:
    """Rows in the order of their classes."""
    order = list(dict.fromkeys(row.group for row in rows))
    return sorted(rows, key=lambda row: order.index(row.group))
