"""The pack: what comes out of every way out of a process that is fed made-up secrets, counted by class and sink.

Runners (``runner``) are started with the engine on and off, and what came out of them is read; both work out alike what
is emitted where.

Rules
- Nothing that a runner wrote is kept.
- The functions that the project's settings name are first imported in a process of their own, so that its logging is
  not set up in the caller's.
- The evaluator decodes by itself (``recoverable``); it is never told what the engine did.
- Shapes and places are named, samples never. "clean" only when everything was looked at; ``unknown`` weighs less than
  ``found`` and more than ``clean``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Literal

from byokeep_redact.encodings import recoverable
from byokeep_redact.errors import Rejected
from byokeep_redact.selftest import runner, samples
from byokeep_redact.selftest.runner import DYING, LINE_S, MARK, TRIED, Emission, RunOutcome, Setup, plan
from byokeep_redact.selftest.samples import COST, LONG, SURVIVE

_IMPORT_S: Final = 60


def environment(root: str | Path) -> dict[str, str]:
    """Return the variables of a process that imports the project's modules."""
    path = os.pathsep.join(dict.fromkeys([str(Path(root).absolute()), *(entry for entry in sys.path if entry)]))
    return os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8:surrogateescape"}


def faults(project: Setup) -> list[str]:
    """Say which settings name something that cannot be used; then a run would only show that."""
    references = {"secrets_leak_setup": project.setup, "secrets_leak_register": project.register}
    found = [
        f"{setting} = {reference}: {why}"
        for setting, reference in references.items()
        if reference and (why := _tried(reference, project.root))
    ]
    try:
        if project.corpus:
            samples.load_own(Path(project.corpus), "")
    except Rejected as error:
        entry = error.fields["entry"]
        why = "cannot be read, or is no TOML of the form that it must have" if entry == "file" else f"{entry} is wrong"
        found.append(f"secrets_leak_corpus = {project.corpus}: {why}")
    return found


def _tried(reference: str, root: str | Path) -> str:
    """Import a function in a process of its own; say why it cannot be used, or nothing."""
    command = [sys.executable, "-m", runner.__name__, "--try", reference]
    try:
        ran = subprocess.run(
            command, cwd=root, env=environment(root), stdin=subprocess.DEVNULL, capture_output=True, timeout=_IMPORT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not imported within {_IMPORT_S} seconds"
    said = [line.partition(TRIED)[2] for line in ran.stdout.decode("utf-8", "replace").split("\n") if TRIED in line]
    return said[-1] if said else f"its import ended the process with exit code {ran.returncode}"


Verdict = Literal["clean", "found", "unknown"]
Standing = Literal["clean", "found", "slow", "unknown", "absent"]
EXIT: Final[Mapping[Verdict, int]] = {"clean": 0, "found": 1, "unknown": 4}


@dataclass(slots=True)
class Row:
    """One class through one sink.

    Attributes:
        samples: How many were emitted.
        leaked: Of how many 12 bytes or more could be read.
        altered: Of how many something came out changed that must survive.
        unseen: How many left no trace at all, so that nothing is known of them.
        control: How many leaked with the engine off; 0 = this sink could not have shown a leak.
        slow: How many took more time than they may: a warning, for a busy machine is slow too.
        heavy: 1 when the process grew by more memory than it may.
        shapes: What leaked or was altered.
    """

    group: str
    sink: str
    samples: int = 0
    leaked: int = 0
    altered: int = 0
    unseen: int = 0
    control: int = 0
    slow: int = 0
    heavy: int = 0
    shapes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Result:
    """A whole run.

    Attributes:
        seed: Draws the same samples again.
        engine: ``byokeep`` or ``foreign``.
        sinks: What became of each sink: ``ran``, ``absent`` or ``failed:<error type>``.
        expected: Classes that must have samples, for they have a sink here.
        absent: Classes that have none: every sink of theirs needs a library that is not installed.
        missed: Samples, as class/shape, that the leak criterion does not find even where they stand unredacted.
        cost_s: CPU seconds of each long line.
        rejected: Why the pack itself proves nothing; empty when it does.
    """

    seed: str
    engine: str = "unknown"
    rows: list[Row] = field(default_factory=list)
    sinks: dict[str, str] = field(default_factory=dict)
    expected: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    cost_s: dict[str, float] = field(default_factory=dict)
    grown_bytes: int = 0
    rejected: list[str] = field(default_factory=list)

    def groups(self) -> list[str]:
        """Return the classes that were, or should have been, looked at, in order."""
        return list(dict.fromkeys([*self.expected, *(row.group for row in self.rows)]))

    def of(self, group: str) -> list[Row]:
        """Return the rows of a class."""
        return [row for row in self.rows if row.group == group]

    def verdict(self, group: str) -> Standing:
        """Return what is known of a class."""
        if group in self.absent:
            return "absent"
        rows = self.of(group)
        if any(row.leaked or row.altered or row.heavy for row in rows):
            return "found"
        failed = any(state.startswith("failed") for state in self.sinks.values())
        looked = sum(row.samples for row in rows) and sum(row.control for row in rows)
        unseen, missed = sum(row.unseen for row in rows), any(one.startswith(f"{group}/") for one in self.missed)
        if not looked or failed or unseen or missed or self.rejected:
            return "unknown"
        return "slow" if any(row.slow for row in rows) else "clean"

    def overall(self) -> Verdict:
        """Return what is known of everything; a run without classes is unknown, one that is slow is clean."""
        return worst(self.verdict(group) for group in self.groups())

    def doubts(self) -> list[str]:
        """Return why the pack as a whole proves nothing: sinks that could not run, controls that did not hold."""
        states = [f"sink {name}: {state}" for name, state in self.sinks.items() if state.startswith("failed")]
        missed = [f"not found where planted: {one}" for one in self.missed]
        empty = [] if any(row.samples for row in self.rows) else ["no samples"]
        return empty + states + missed + [f"pack rejected: {one}" for one in self.rejected]

    def to_json(self) -> str:
        """Return the run as one JSON document."""
        return json.dumps(asdict(self) | {"verdict": self.overall()}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Return a run from what :meth:`to_json` made of it."""
        fields: dict[str, Any] = json.loads(text)
        fields.pop("verdict")
        return cls(**fields | {"rows": [Row(**row) for row in fields["rows"]]})

    def failure(self, group: str) -> str:
        """Say why a class is not clean: shapes and sinks, never a sample."""
        lines = [f"{group}: {self.verdict(group)} (seed {self.seed}, engine {self.engine})"]
        for row in self.of(group):
            if row.leaked or row.altered or row.unseen or row.slow or row.heavy:
                shown = ", ".join(row.shapes[:12]) + (" ..." if len(row.shapes) > 12 else "")
                lines.append(
                    f"  {row.sink}: {row.samples} samples, {row.leaked} leaked, {row.altered} altered,"
                    f" {row.unseen} unseen, {row.slow} slow" + (f": {shown}" if shown else "")
                )
        lines += [f"  {doubt}" for doubt in self.doubts()]
        if not sum(row.samples for row in self.of(group)):
            lines.append("  no samples")
        return "\n".join(lines)


def worst(verdicts: Iterable[Standing]) -> Verdict:
    """Return what is known of everything together; nothing is unknown."""
    known = set(verdicts) or {"unknown"}
    return "found" if "found" in known else "unknown" if "unknown" in known else "clean"


def table(result: Result) -> str:
    """Return the counts per class as text."""
    lines = [f"{'class':<14}{'samples':>9}{'leaked':>8}{'altered':>9}{'unseen':>8}{'slow':>6}  verdict"]
    for group in result.groups():
        counts = [(row.samples, row.leaked, row.altered, row.unseen, row.slow) for row in result.of(group)]
        sums = [sum(column) for column in zip(*counts, strict=True)] or [0] * 5
        lines.append("{:<14}{:>9}{:>8}{:>9}{:>8}{:>6}  {}".format(group, *sums, result.verdict(group)))
    lines += [f"{group:<14}{'':>40}  not available" for group in result.absent]
    ran = sorted(name for name, state in result.sinks.items() if state == "ran")
    absent = sorted(name for name, state in result.sinks.items() if state == "absent")
    lines.append(f"seed {result.seed}, engine {result.engine}, {len(ran)} sinks: {', '.join(ran)}")
    if absent:
        lines.append(f"not available: {', '.join(absent)}")
    return "\n".join(lines)


RUNNER_S: Final = 240  # longest life of a runner
GROWTH: Final = 512 << 20  # bytes that a process may grow by while long lines go through
_BYTES_MARK: Final = re.compile(MARK.pattern.encode())
_BLUNT: Final = re.compile(rb"[A-Za-z0-9+/=:._-]{6,}")


@dataclass(slots=True)
class _Output:
    """What one runner left behind: the text around each mark."""

    outcome: RunOutcome
    around: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))

    def read(self, text: bytes) -> None:
        """Cut a stream at its marks: what belongs to a sample stands between the marks before and after its own."""
        runs = [list(run) for _, run in groupby(_BYTES_MARK.finditer(text), key=itemgetter(0))]
        starts = [0, *(run[-1].end() for run in runs)]
        ends = [*(run[0].start() for run in runs[1:]), len(text)]
        for run, start, end in zip(runs, starts, ends, strict=False):
            self.around[run[0][0].decode()].append(text[start:end])


def run(project: Setup | None = None) -> Result:
    """Run the whole self-test; never raises for what a runner does.

    Raises:
        Rejected: ``bad_leak_corpus``.
    """
    present, absent = runner.available_sinks()
    job = project or Setup()
    job = replace(job, seed=job.seed or samples.fresh_seed())
    result = Result(job.seed, sinks=dict.fromkeys(absent, "absent"))
    # One runner for what dies of its samples, one for everything else; all run at once.
    parts = [replace(job, sinks=tuple(name for name in present if name != DYING)), replace(job, sinks=(DYING,))]
    with tempfile.TemporaryDirectory(prefix="leakpack-") as folder:
        started = [
            _start(replace(part, engine=engine), Path(folder, f"{number}-{engine}"))
            for number, part in enumerate(parts)
            for engine in ("on", "off")
        ]
        outputs = [_finish(*one) for one in started]
    for part, on, off in zip(parts, outputs[::2], outputs[1::2], strict=True):
        result.engine = on.outcome.engine or result.engine
        result.sinks |= dict.fromkeys(part.sinks, "failed:died") | on.outcome.states
        result.cost_s |= on.outcome.cost_s
        result.grown_bytes = max(result.grown_bytes, on.outcome.grown_bytes)
        emissions = plan(part)
        result.rows += _rows(emissions, on, off)
        result.missed += _missed(emissions)
    order = list(dict.fromkeys(row.group for row in result.rows))
    result.rows.sort(key=lambda row: order.index(row.group))
    ran = [name for name, state in result.sinks.items() if state != "absent"]
    result.expected, result.absent = runner.classes(job, ran)
    uncontrolled = [group for group in order if not any(row.control for row in result.of(group))]
    result.rejected = [f"{group} passes with the engine off" for group in uncontrolled]
    return result


def _start(job: Setup, place: Path) -> tuple[subprocess.Popen[bytes], Path]:
    place.mkdir(mode=0o700)
    (place / "job.json").write_text(json.dumps(asdict(job), default=str))
    command = [sys.executable, "-m", runner.__name__, str(place / "job.json")]
    with (place / "stdout.txt").open("wb") as out, (place / "stderr.txt").open("wb") as err:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=job.root, env=environment(job.root)
        )
    return process, place


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
