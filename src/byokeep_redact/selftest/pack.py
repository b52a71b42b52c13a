"""The pack: runners that feed made-up secrets to every way out of a process, and the count of what came out of them.

A runner (``python -m byokeep_redact.selftest.pack JOB``) sets up logging as the project does, registers the live values
and feeds every sink; with ``engine: off`` the redactor is taken out first. The evaluator starts runners with the engine
on and off and reads what came out; both work out alike what is emitted where. The two plainest sinks take every sample
of every run. The others take some, others in every run, unless all are asked for: what a redactor does not know by its
looks shows in the first, what a hook misses with any.

Rules
- A runner is a process of its own, so that exit paths are real and this process's logging is out of the way. Nothing is
  evaluated there, and nothing that it wrote is kept.
- Whatever text left by another way than standard output, standard error or a log file is written to the job's folder.
- The functions that the project's settings name are first imported in a process of their own, so that its logging is
  not set up in the caller's; nothing that an import printed or raised is repeated but the names of modules.
- The evaluator decodes by itself (``recoverable``); it is never told what the engine did.
- Shapes and places are named, samples never. "clean" only when everything was looked at; ``unknown`` weighs less than
  ``found`` and more than ``clean``.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Literal

from byokeep_redact.encodings import recoverable
from byokeep_redact.errors import Rejected
from byokeep_redact.selftest import samples
from byokeep_redact.selftest.samples import COST, ENCODED, EVASION, HEADERS, LONG, MADE, OWN, SURVIVE, Sample
from byokeep_redact.selftest.sinks import LOGGER, SINKS, WAYS, SinkContext

_MARK: Final = "leak-pack: "
_IMPORT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Setup:
    """The project under test, and what one runner is to do with it.

    Attributes:
        setup: ``module:function`` that sets up its logging and redaction; empty = ``byokeep_redact.install()`` over
            plain logging.
        register: ``module:function`` that takes a live value (``str``); empty = the engine of ``byokeep_redact``.
        corpus: Path of a corpus of its own; empty = none.
        root: Where its modules are imported from.
        full: Every sample through every sink, which takes minutes.
        seed: Draws the same samples again.
        sinks: Which of SINKS are fed.
        engine: Whether the redactor stays; "bare" stands for a plain process without any set-up.
    """

    setup: str = ""
    register: str = ""
    corpus: str = ""
    root: str | Path = "."
    full: bool = False
    seed: str = ""
    sinks: tuple[str, ...] = ()
    engine: Literal["on", "off", "bare"] = "on"


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
    command = [sys.executable, "-m", __name__, "--try", reference]
    try:
        ran = subprocess.run(
            command, cwd=root, env=environment(root), stdin=subprocess.DEVNULL, capture_output=True, timeout=_IMPORT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not imported within {_IMPORT_S} seconds"
    said = [line.partition(_MARK)[2] for line in ran.stdout.decode("utf-8", "replace").split("\n") if _MARK in line]
    return said[-1] if said else f"its import ended the process with exit code {ran.returncode}"


def _named(reference: str) -> Callable[..., Any]:
    """Return the function that ``module:function`` names. Raises LookupError, which says why it cannot be used."""
    module, _, name = reference.partition(":")
    if not (module and name):
        raise LookupError("must be module:function")
    try:
        found: Callable[..., Any] | None = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        missing = error.name or module
        wrong = f"there is no module {missing}" if module.startswith(missing) else f"{module} needs a module {missing}"
        raise LookupError(wrong) from None
    except Exception as error:
        raise LookupError(f"importing {module} raises {type(error).__name__}") from None
    if found is None:
        raise LookupError(f"module {module} has no {name}")
    if not callable(found):
        raise LookupError(f"{name} in {module} is not a function")
    return found


def _try(reference: str) -> None:
    """Import a function; print why it cannot be used, or nothing."""
    why = ""
    try:
        _named(reference)
    except LookupError as error:
        why = str(error)
    sys.stdout.write(f"\n{_MARK}{why}\n")


GROUPS: Final = (*MADE, ENCODED, EVASION, HEADERS, SURVIVE, COST, OWN)
MARK: Final = re.compile(r"pk(\d{6})z")
# One sink of each family takes every encoding of every kind of key; the others take each encoding once.
_EVERY_KIND: Final = frozenset({"logging-message", "stream-filter"})
# Where the text itself is what is shown, so that an id can be looked for in it.
_SHOWS_TEXT: Final = frozenset({"logging-message", "logging-args", "structlog", "stream-filter", "otel-span"})


@dataclass(frozen=True, slots=True)
class Emission:
    """One sample through one sink; ``mark`` is what shows where in the output it is."""

    mark: str
    sink: str
    sample: Sample


def available_sinks() -> tuple[list[str], list[str]]:
    """Return the sinks that can run here, and those whose library is not installed."""
    present = [name for name, sink in SINKS.items() if sink.available]
    return present, [name for name in SINKS if name not in present]


def classes(job: Setup, present: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the classes that the sinks present are to show samples of, and those that only other sinks do."""
    groups = [group for group in GROUPS if job.corpus or group != OWN]
    mine, others = (
        {one.sample.group for one in plan(replace(job, sinks=tuple(names)))}
        for names in (present, [name for name in SINKS if name not in present])
    )
    absent = [group for group in groups if group in others - mine]
    return [group for group in groups if group not in absent], absent


def plan(job: Setup) -> list[Emission]:
    """Return everything a job emits, in order."""
    live, own = samples.encoded(job.seed), samples.load_own(Path(job.corpus), job.seed) if job.corpus else []
    made: list[Emission] = []
    for name in job.sinks:
        sink = SINKS[name]
        fitting = [sample for sample in _for_sink(job.seed, name, live, own) if sink.takes(sample.text)]
        for sample in _shared(fitting, 1 if job.full else sink.share, job.seed):
            made.append(Emission(f"pk{len(made) + 1:06d}z", name, sample))
    return made


def _shared(fitting: list[Sample], share: int, seed: str) -> list[Sample]:
    """One in ``share``, which ones by the seed; of every class at least one."""
    first = zlib.crc32(seed.encode()) % share
    return [
        one for at, one in enumerate(fitting) if at % share == first or at == 0 or one.group != fitting[at - 1].group
    ]


def _for_sink(seed: str, name: str, live: list[Sample], own: list[Sample]) -> Iterator[Sample]:
    if name == "evasions":
        yield from samples.evading(seed, WAYS)
    elif name == "long-lines":
        yield from samples.costly(seed)
    elif name == "otel-headers":
        yield from samples.shapes(f"{seed}/{name}", HEADERS)
    else:
        for group in MADE:
            yield from samples.shapes(f"{seed}/{name}", group)
        # Every encoding of every kind, or every encoding once, the kinds of keys by turns.
        turns = len(samples.KINDS)
        yield from (one for at, one in enumerate(live) if name in _EVERY_KIND or at % turns == at // turns % turns)
        yield from (one for one in own if one.group == OWN)
        if name in _SHOWS_TEXT:
            yield from samples.shapes(f"{seed}/{name}", SURVIVE)
            yield from (one for one in own if one.group == SURVIVE)


DYING: Final = "excepthook"
LINE_S: Final = 1.0  # CPU seconds for one long line
_TRIES: Final = 3  # the best counts: a busy machine, or an engine that is just being compiled, costs a try
_FORMAT: Final = "%(asctime)s %(levelname)s %(threadName)s %(name)s %(message)s"
_OWN_FIELDS: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


@dataclass
class RunOutcome:
    """What the evaluator is told: the state of each sink, where to look, and what the long lines cost."""

    engine: str = ""
    states: dict[str, str] = field(default_factory=dict)
    files: list[tuple[str, int]] = field(default_factory=list)  # log file, offset at which the run began
    cost_s: dict[str, float] = field(default_factory=dict)  # CPU seconds by shape of line
    grown_bytes: int = 0  # of the process while the long lines went through


class _Everything(logging.Formatter):
    """Shows a record whole, so that nothing of it goes unseen: fields given as ``extra`` too."""

    def format(self, record: logging.LogRecord) -> str:
        more = {name: item for name, item in record.__dict__.items() if name not in _OWN_FIELDS}
        return super().format(record) + (f" {more!r}" if more else "")


def _plain(*, force: bool) -> None:
    """Log to standard error, as a program does that has nothing set up."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Everything(_FORMAT))
    logging.basicConfig(level=logging.DEBUG, handlers=[handler], force=force)


def _set_up(job: Setup, folder: Path) -> str:
    """Set up as told; return whose engine it is: ``byokeep``, ``foreign`` or none (``off``)."""
    if job.engine == "bare":
        _plain(force=True)
        return "off"
    if job.setup:
        _named(job.setup)()
    else:
        _plain(force=False)
        importlib.import_module("byokeep_redact.install").install()
    ours = "byokeep_redact.engine" in sys.modules
    if job.engine == "on":
        return "byokeep" if ours else "foreign"
    if not ours:  # another redactor cannot be taken out of its own setup: begin anew without
        again = folder / "bare.json"
        again.write_text(json.dumps(asdict(job) | {"engine": "bare"}, default=str))
        os.execv(sys.executable, [sys.executable, "-m", "byokeep_redact.selftest.pack", str(again)])  # noqa: S606 - itself
    _take_out()
    return "off"


def _take_out() -> None:
    """Make every redactor of this process hand back what it was given."""
    engine = importlib.import_module("byokeep_redact.engine").Redactor
    for name in ("text", "data", "value"):
        setattr(engine, name, lambda _self, given, *_args, **_named: given)
    engine.find = lambda _self, _given: []
    importlib.import_module("byokeep_redact.install").install().uninstall()


def _register(job: Setup, emissions: list[Emission]) -> list[object]:
    """Register the live values; what is returned must be kept while they live."""
    if job.engine in ("off", "bare"):
        return []
    live = {one.sample.live: one.sample.kind for one in emissions if one.sample.live}
    if job.register:
        register = _named(job.register)
        return [register(value.decode("latin-1")) for value in live]
    if "byokeep_redact.install" in sys.modules:
        redactor = sys.modules["byokeep_redact.install"].install().redactor
    else:
        redactor = importlib.import_module("byokeep_redact.engine").default()
    return [redactor.register(value, kind) for value, kind in live.items()]


def _open_up(folder: Path) -> list[tuple[str, int]]:
    """Let every handler speak at DEBUG; return the log files, and tee what goes elsewhere into the folder."""
    logging.getLogger().setLevel(logging.DEBUG)
    for name in ("urllib3", "httpx", "httpx2", "httpcore", "aiohttp.access", "asyncio", LOGGER):
        logging.getLogger(name).setLevel(logging.DEBUG)
        logging.getLogger(name).disabled = False
    loggers = [logging.getLogger(), *(one for one in logging.Logger.manager.loggerDict.values())]
    files = []
    for handler in {handler for one in loggers if isinstance(one, logging.Logger) for handler in one.handlers}:
        handler.setLevel(logging.NOTSET)
        if isinstance(handler, logging.FileHandler):
            path = Path(handler.baseFilename)
            files.append((str(path), path.stat().st_size if path.exists() else 0))
        elif getattr(handler, "stream", None) not in (sys.stdout, sys.stderr):
            _tee(handler, folder / f"handler-{id(handler)}.txt")
    return files


def _tee(handler: logging.Handler, path: Path) -> None:
    emit = handler.emit

    def both(record: logging.LogRecord) -> None:
        with path.open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(handler.format(record) + "\n")
        emit(record)

    handler.emit = both  # type: ignore[method-assign]


def _feed_all(job: Setup, emissions: list[Emission], folder: Path, outcome: RunOutcome) -> None:
    """Feed all sinks of a job; a sink that raises is written down by the type of its error."""
    with (folder / "shown.txt").open("a", encoding="utf-8", errors="surrogateescape") as shown:
        out = SinkContext(logging.getLogger(LOGGER), folder, lambda text: shown.writelines((text, "\n")))
        for name in job.sinks:
            mine = [one for one in emissions if one.sink == name]
            if (outcome.engine == "foreign" or job.engine == "bare") and SINKS[name].ours:
                outcome.states[name] = "absent"
                continue
            try:
                if mine and mine[0].sample.group == COST:
                    _measured(out, mine, outcome)
                else:
                    _feed(out, mine)
                outcome.states[name] = "ran"
            except Exception as error:
                outcome.states[name] = f"failed:{type(error).__name__}"
                (folder / f"error-{name}.txt").write_text(_where(error))


def _feed(out: SinkContext, emissions: list[Emission]) -> None:
    SINKS[emissions[0].sink].feed(out, [(one.mark, one.sample.text, one.sample.shape) for one in emissions])


def _where(error: BaseException) -> str:
    """Say where an error arose, without its text, which may hold a sample."""
    frames = traceback.extract_tb(error.__traceback__)
    return "\n".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)


def _measured(out: SinkContext, emissions: list[Emission], outcome: RunOutcome) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for one in emissions:
        for _ in range(_TRIES):
            began = time.process_time()
            _feed(out, [one])
            cost = time.process_time() - began
            outcome.cost_s[one.sample.shape] = min(cost, outcome.cost_s.get(one.sample.shape, cost))
            if cost < LINE_S:
                break
    outcome.grown_bytes = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def main() -> None:
    """Run the job named by the one argument, and write ``outcome.json`` beside it."""
    path = Path(sys.argv[1])
    given, folder = json.loads(path.read_text("utf-8")), path.parent
    job = Setup(**given | {"sinks": tuple(given["sinks"])})
    outcome = RunOutcome(engine=_set_up(job, folder))
    emissions = plan(job)
    kept = _register(job, emissions)
    outcome.files = _open_up(folder)
    dying = job.sinks == (DYING,)
    if dying:
        outcome.states[DYING] = "ran"
    else:
        _feed_all(job, emissions, folder, outcome)
        logging.shutdown()
    (folder / "outcome.json").write_text(json.dumps(asdict(outcome)))
    if dying:
        _feed(SinkContext(logging.getLogger(LOGGER), folder, lambda _text: None), emissions)
    del kept


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
    present, absent = available_sinks()
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
    result.expected, result.absent = classes(job, [name for name, state in result.sinks.items() if state != "absent"])
    uncontrolled = [group for group in order if not any(row.control for row in result.of(group))]
    result.rejected = [f"{group} passes with the engine off" for group in uncontrolled]
    return result


def _start(job: Setup, place: Path) -> tuple[subprocess.Popen[bytes], Path]:
    place.mkdir(mode=0o700)
    (place / "job.json").write_text(json.dumps(asdict(job), default=str))
    command = [sys.executable, "-m", "byokeep_redact.selftest.pack", str(place / "job.json")]
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


if __name__ == "__main__":
    if sys.argv[1] == "--try":
        _try(sys.argv[2])
    else:
        main()
