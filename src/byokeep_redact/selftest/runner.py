"""The runner: a process that sets up logging as a project does, and feeds made-up secrets to every way out of it.

``python -m byokeep_redact.selftest.runner JOB`` registers the live values and feeds every sink; with ``engine: off``
the redactor is taken out first. The two plainest sinks take every sample of every run. The others take some, others in
every run, unless all are asked for: what a redactor does not know by its looks shows in the first, what a hook misses
with any.

Rules
- It is a process of its own, so that exit paths are real and the caller's logging is out of the way. Nothing is
  evaluated here.
- Whatever text left by another way than standard output, standard error or a log file is written to the job's folder.
- With ``--try`` it imports a function that a project's settings name and says why that cannot be used; nothing that an
  import printed or raised is repeated but the names of modules.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import resource
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from byokeep_redact.selftest import samples
from byokeep_redact.selftest.samples import COST, ENCODED, EVASION, HEADERS, MADE, OWN, SURVIVE, Sample
from byokeep_redact.selftest.sinks import LOGGER, SINKS, WAYS, SinkContext


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


TRIED: Final = "leak-pack: "  # stands before what is said of a function that was tried


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
    sys.stdout.write(f"\n{TRIED}{why}\n")


if __name__ == "__main__":
    if sys.argv[1] == "--try":
        _try(sys.argv[2])
    else:
        main()
