"""The runner: a process that sets up logging as the project does, registers the live values and feeds every sink.

Run as ``python -m byokeep_redact.selftest.runner JOB`` by the evaluator, which reads what came out; both work out alike
what is emitted where. The two plainest sinks take every sample of every run. The others take some, others in every run,
unless all are asked for: what a redactor does not know by its looks shows in the first, what a hook misses with any.

Rules
- Nothing is evaluated here.
- Whatever text left by another way than standard output, standard error or a log file is written to the job's folder.
- With ``engine: off`` the redactor is taken out before the first sample; how that looks is for the evaluator to see.
- The functions that the project's settings name are first imported in a process of their own, so that its logging is
  not set up in the caller's; nothing that an import printed or raised is repeated but the names of modules.
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
import time
import tomllib
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from byokeep_redact.errors import Rejected
from byokeep_redact.selftest.samples import (
    ALNUM,
    COST,
    ENCODED,
    EVASION,
    HEADERS,
    HEX,
    KINDS,
    MADE,
    SURVIVE,
    UPPER,
    URL_SAFE,
    RegisteredValues,
    Sample,
    ValueGenerator,
    costly,
    encoded,
    evading,
    header_samples,
    shapes,
    survivors,
)
from byokeep_redact.selftest.sinks import LOGGER, SINKS, WAYS, OutputSink, SinkContext

OWN: Final = "own"
_ALPHABETS: Final = {"alnum": ALNUM, "hex": HEX, "url-safe": URL_SAFE, "upper": UPPER}
_SAMPLE: Final = {"shape", "text", "prefix", "alphabet", "length", "registered"}
_KEEP: Final = {"shape", "text", "keep"}
_LEAST: Final = 16  # random characters: fewer would be found by chance
_MARK: Final = "leak-pack: "
_IMPORT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Setup:
    """The project under test.

    Attributes:
        setup: ``module:function`` that sets up its logging and redaction; empty = ``byokeep_redact.install()`` over
            plain logging.
        register: ``module:function`` that takes a live value (``str``); empty = the engine of ``byokeep_redact``.
        corpus: Path of a corpus of its own; empty = none.
        root: Where its modules are imported from.
        full: Every sample through every sink, which takes minutes.
    """

    setup: str = ""
    register: str = ""
    corpus: str = ""
    root: Path = field(default_factory=Path.cwd)
    full: bool = False


def environment(root: Path) -> dict[str, str]:
    """Return the variables of a process that imports the project's modules."""
    path = os.pathsep.join(dict.fromkeys([str(root), *(entry for entry in sys.path if entry)]))
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
            load_own(Path(project.corpus), "")
    except Rejected as error:
        entry = error.fields["entry"]
        why = "cannot be read, or is no TOML of the form that it must have" if entry == "file" else f"{entry} is wrong"
        found.append(f"secrets_leak_corpus = {project.corpus}: {why}")
    return found


def _tried(reference: str, root: Path) -> str:
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


def why_not(reference: str) -> str:
    """Say why ``module:function`` cannot be used; nothing when it can."""
    module, colon, name = reference.partition(":")
    if not (module and colon and name):
        return "must be module:function"
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        missing = error.name or module
        return f"there is no module {missing}" if module.startswith(missing) else f"{module} needs a module {missing}"
    except Exception as error:
        return f"importing {module} raises {type(error).__name__}"
    if found is None:
        return f"module {module} has no {name}"
    return "" if callable(found) else f"{name} in {module} is not a function"


def _refuse(at: str) -> Rejected:
    return Rejected("bad_leak_corpus", next_step="See docs/leak-pack.md for the form of the file.", entry=at)


def load_own(path: Path, seed: str) -> tuple[list[Sample], list[RegisteredValues]]:
    """Read the file; return its samples (survivors too) and its registered ones.

    Raises:
        Rejected: ``bad_leak_corpus`` - unreadable, empty, an unknown field, a template without ``{value}``.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise _refuse("file") from None
    draw, plain, live = ValueGenerator(seed, OWN), [], []
    for at, entry in enumerate(_entries(document, "sample", _SAMPLE)):
        prefix, sample = _sample(entry, draw, f"sample[{at}]")
        if entry.get("registered") is True:
            live.append(RegisteredValues("opaque", prefix.encode() + sample.secrets[0], sample))
        else:
            plain.append(sample)
    for at, entry in enumerate(_entries(document, "keep", _KEEP)):
        if set(entry) != _KEEP or str(entry["keep"]) not in str(entry["text"]):
            raise _refuse(f"keep[{at}]")
        plain.append(Sample(SURVIVE, f"own-{entry['shape']}", str(entry["text"]), keep=(str(entry["keep"]),)))
    if not plain and not live:
        raise _refuse("file")
    return plain, live


def _entries(document: Mapping[str, Any], name: str, fields: set[str]) -> list[dict[str, Any]]:
    found = document.get(name, [])
    if not set(document) <= {"sample", "keep"} or not isinstance(found, list):
        raise _refuse("file")
    for at, entry in enumerate(found):
        if not isinstance(entry, dict) or not {"shape", "text"} <= set(entry) <= fields:
            raise _refuse(f"{name}[{at}]")
    return found


def _sample(entry: Mapping[str, Any], draw: ValueGenerator, at: str) -> tuple[str, Sample]:
    alphabet, length = entry.get("alphabet", "alnum"), entry.get("length", 40)
    known = alphabet in _ALPHABETS and type(length) is int and length >= _LEAST
    if not known or str(entry["text"]).count("{value}") != 1:
        raise _refuse(at)
    prefix, body = str(entry.get("prefix", "")), draw.text(_ALPHABETS[alphabet], length)
    text = str(entry["text"]).replace("{value}", prefix + body)
    return prefix, Sample(OWN, str(entry["shape"]), text, (body.encode(),))


_Planned = tuple[Sample, RegisteredValues | None]
GROUPS: Final = (*MADE, ENCODED, EVASION, HEADERS, SURVIVE, COST, OWN)
MARK: Final = re.compile(r"pk(\d{6})z")
# One sink of each family takes every encoding of every kind of key; the others take each encoding once.
_EVERY_KIND: Final = frozenset({"logging-message", "stream-filter"})
# Where the text itself is what is shown, so that an id can be looked for in it.
_SHOWS_TEXT: Final = frozenset({"logging-message", "logging-args", "structlog", "stream-filter", "otel-span"})
_SPECIAL: Final = {"evasions": EVASION, "long-lines": COST, "otel-headers": HEADERS}


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """What one runner is to do. ``engine`` "bare" stands for a plain process without any set-up."""

    seed: str
    sinks: tuple[str, ...]
    engine: Literal["on", "off", "bare"] = "on"
    setup: str = ""
    register: str = ""
    corpus: str = ""
    full: bool = False

    @classmethod
    def read(cls, path: Path) -> PlannedRun:
        """Read a job from its file."""
        fields = json.loads(path.read_text("utf-8"))
        return cls(**fields | {"sinks": tuple(fields["sinks"])})


@dataclass(frozen=True, slots=True)
class Emission:
    """One sample through one sink; ``mark`` is what shows where in the output it is."""

    mark: str
    sink: str
    way: OutputSink
    sample: Sample
    live: RegisteredValues | None = None


def available_sinks() -> tuple[list[str], list[str]]:
    """Return the sinks that can run here, and those whose library is not installed."""
    present = [name for name, sink in SINKS.items() if sink.available]
    return present, [name for name in SINKS if name not in present]


def classes(job: PlannedRun, present: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the classes that the sinks present are to show samples of, and those that only other sinks do."""
    groups = [group for group in GROUPS if job.corpus or group != OWN]
    mine, others = (
        {one.sample.group for one in plan(replace(job, sinks=tuple(names)))}
        for names in (present, [name for name in SINKS if name not in present])
    )
    absent = [group for group in groups if group in others - mine]
    return [group for group in groups if group not in absent], absent


def plan(job: PlannedRun) -> list[Emission]:
    """Return everything a job emits, in order."""
    live = encoded(job.seed)
    own_plain, own_live = load_own(Path(job.corpus), job.seed) if job.corpus else ([], [])
    made: list[Emission] = []
    for name in job.sinks:
        sink = SINKS[name]
        fitting = [pair for pair in _for_sink(job.seed, name, live, (own_plain, own_live)) if sink.takes(pair[0].text)]
        for sample, value in _shared(fitting, 1 if job.full else sink.share, job.seed):
            made.append(Emission(f"pk{len(made) + 1:06d}z", name, sink, sample, value))
    return made


def _shared(pairs: list[_Planned], share: int, seed: str) -> list[_Planned]:
    """One in ``share``, which ones by the seed; of every class at least one."""
    first = zlib.crc32(seed.encode()) % share
    kept = {at for at in range(len(pairs)) if at % share == first}
    kept |= {at for at, pair in enumerate(pairs) if at == 0 or pair[0].group != pairs[at - 1][0].group}
    return [pairs[at] for at in sorted(kept)]


def _for_sink(
    seed: str, name: str, live: Sequence[RegisteredValues], own: tuple[list[Sample], list[RegisteredValues]]
) -> Iterator[_Planned]:
    match _SPECIAL.get(name):
        case "evasions":
            yield from _with(evading(seed, list(WAYS)))
        case "cost":
            yield from _with(costly(seed))
        case "span-headers":
            yield from ((sample, None) for sample in header_samples(f"{seed}/{name}"))
        case _:
            for group in MADE:
                yield from ((sample, None) for sample in shapes(f"{seed}/{name}", group))
            yield from _with(live if name in _EVERY_KIND else _each_once(live))
            yield from ((sample, None) for sample in own[0] if sample.group == OWN)
            yield from _with(own[1])
            if name in _SHOWS_TEXT:
                kept = survivors(f"{seed}/{name}") + [sample for sample in own[0] if sample.group == SURVIVE]
                yield from ((sample, None) for sample in kept)


def _each_once(live: Sequence[RegisteredValues]) -> list[RegisteredValues]:
    """Every encoding once, the kinds of keys by turns."""
    return [one for at, one in enumerate(live) if at % len(KINDS) == (at // len(KINDS)) % len(KINDS)]


def _with(live: Iterable[RegisteredValues]) -> Iterator[_Planned]:
    return ((one.sample, one) for one in live)


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


def _named(reference: str) -> Callable[..., Any]:
    """Return the function that ``module:function`` names. Raises LookupError."""
    if why_not(reference):
        raise LookupError(reference)
    module, _, name = reference.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


class _Everything(logging.Formatter):
    """Shows a record whole, so that nothing of it goes unseen: fields given as ``extra`` too."""

    def format(self, record: logging.LogRecord) -> str:
        more = {name: item for name, item in record.__dict__.items() if name not in _OWN_FIELDS}
        return super().format(record) + (f" {more!r}" if more else "")


def _usual() -> None:
    """What a program does that has nothing set up: logging to standard error, and one call of ours."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Everything(_FORMAT))
    logging.basicConfig(level=logging.DEBUG, handlers=[handler])
    importlib.import_module("byokeep_redact.install").install()


def _bare() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Everything(_FORMAT))
    logging.basicConfig(level=logging.DEBUG, handlers=[handler], force=True)


def _set_up(job: PlannedRun, folder: Path) -> str:
    """Set up as told; return whose engine it is: ``byokeep``, ``foreign`` or none (``off``)."""
    if job.engine == "bare":
        _bare()
        return "off"
    if job.setup:
        _named(job.setup)()
    else:
        _usual()
    ours = "byokeep_redact.engine" in sys.modules
    if job.engine == "on":
        return "byokeep" if ours else "foreign"
    if not ours:  # another redactor cannot be taken out of its own setup: begin anew without
        again = folder / "bare.json"
        again.write_text(json.dumps(asdict(job) | {"engine": "bare"}))
        os.execv(sys.executable, [sys.executable, "-m", "byokeep_redact.selftest.runner", str(again)])  # noqa: S606 - itself
    _take_out()
    return "off"


def _take_out() -> None:
    """Make every redactor of this process hand back what it was given."""
    engine = importlib.import_module("byokeep_redact.engine").Redactor
    for name in ("text", "data", "value"):
        setattr(engine, name, lambda _self, given, *_args, **_named: given)
    engine.find = lambda _self, _given: []
    importlib.import_module("byokeep_redact.install").install().uninstall()


def _register(job: PlannedRun, emissions: list[Emission]) -> list[object]:
    """Register the live values; what is returned must be kept while they live."""
    if job.engine in ("off", "bare"):
        return []
    live = {one.live.value: one.live.kind for one in emissions if one.live}
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


def _feed_all(job: PlannedRun, emissions: list[Emission], folder: Path, outcome: RunOutcome) -> None:
    """Feed all sinks of a job; a sink that raises is written down by the type of its error."""
    with (folder / "shown.txt").open("a", encoding="utf-8", errors="surrogateescape") as shown:
        out = SinkContext(logging.getLogger(LOGGER), folder, lambda text: shown.writelines((text, "\n")))
        for name in job.sinks:
            mine = [one for one in emissions if one.sink == name]
            if (outcome.engine == "foreign" or job.engine == "bare") and mine[0].way.ours:
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
    emissions[0].way.feed(out, [(one.mark, one.sample.text, one.sample.shape) for one in emissions])


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
    job, folder = PlannedRun.read(path), path.parent
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


if __name__ == "__main__":
    if sys.argv[1] == "--try":
        sys.stdout.write(f"\n{_MARK}{why_not(sys.argv[2])}\n")
    else:
        main()
