"""The runner: a process that sets up logging as the project does, registers the live values and feeds every sink.

Run as ``python -m byokeep_redact.selftest.runner JOB`` by the evaluator, which reads what came out. Rules
- Nothing is evaluated here.
- Whatever text left by another way than standard output, standard error or a log file is written to the job's folder.
- With ``engine: off`` the redactor is taken out before the first sample; how that looks is for the evaluator to see.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from byokeep_redact.selftest.plan import Emission, PlannedRun, plan
from byokeep_redact.selftest.project import why_not
from byokeep_redact.selftest.samples import COST
from byokeep_redact.selftest.sinks import LOGGER, SinkContext

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
    main()
