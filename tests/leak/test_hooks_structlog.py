"""The hook into structlog: every renderer, every way to set a logger up, exceptions with their locals, and failure."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from structlog.stdlib import ProcessorFormatter

from byokeep.core.secret import Secret
from byokeep_redact.engine import RedactionFailed, Redactor
from byokeep_redact.hooks.structlog import StructlogWall
from tests.support.speech import Holder, guarded, leaks, opaque, shaped
from tests.support.work import calls

Chain = list[Any]
WITH_LOCALS = structlog.dev.RichTracebackFormatter(show_locals=True, width=60)
CHAINS: dict[str, Callable[[], Chain]] = {
    "json": lambda: [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=repr)],
    "json, frames as dicts": lambda: [
        structlog.processors.dict_tracebacks,
        structlog.processors.JSONRenderer(default=repr),
    ],
    "console with locals": lambda: [
        structlog.processors.StackInfoRenderer(),
        structlog.dev.ConsoleRenderer(exception_formatter=WITH_LOCALS),
    ],
    "console": lambda: [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)],
    "logfmt": lambda: [structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()],
}  # fmt: skip


def _raise(value: str) -> None:
    inside = value
    try:
        raise KeyError(inside)
    except KeyError as error:
        raise RuntimeError(f"with {value}") from error


def _fails(log: Any, value: str) -> None:
    try:
        _raise(value)
    except RuntimeError:
        log.exception("it failed")


def _named(log: Any, value: str) -> None:
    say = log.info
    say("seen", **{value: 1})


def _with_context(log: Any, value: str) -> None:
    with structlog.contextvars.bound_contextvars(reply=value):
        log.info("seen")


SAYINGS: dict[str, Callable[[Any, str], None]] = {
    "event": lambda log, value: log.info("key " + value),  # noqa: G003 - what careless code does
    "field": lambda log, value: log.info("seen", reply=value),
    "bound": lambda log, value: log.bind(reply=value).info("seen"),
    "nested": lambda log, value: log.info("seen", reply={"a": [{"b": (value,)}], value: 1}),
    "field's name": _named,
    "error": lambda log, value: log.info("seen", error=ValueError(value)),
    "object": lambda log, value: log.info("seen", holder=Holder(value)),
    "bytes": lambda log, value: log.info("seen", body=value.encode()),
    "exception": _fails,
    "context variables": _with_context,
}


@contextmanager
def _configured(chain: Chain, out: io.StringIO) -> Iterator[None]:
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, *chain],
        logger_factory=structlog.WriteLoggerFactory(file=out),
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.reset_defaults()


@pytest.mark.req("R1.2-5", "R1.2-1")
@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("saying", SAYINGS)
def test_no_event_carries_a_value(chain: str, saying: str) -> None:
    """A known value and a shaped one leave no readable part in any renderer's output; without the hook they do."""
    for on in (True, False):
        for value, known in ((opaque(), True), (shaped(), False)):
            out = io.StringIO()
            with guarded(on, *([value] if known else [])), _configured(CHAINS[chain](), out):
                SAYINGS[saying](structlog.get_logger(), value)
            assert out.getvalue().strip()
            assert leaks(out.getvalue(), value) is not on, out.getvalue()
            assert ("redaction_error" in out.getvalue()) is False


def test_frames_lose_their_locals() -> None:
    """A local that nobody knows and that has no shape stands in no frame, in either form of traceback."""
    for chain in ("json, frames as dicts", "console with locals"):
        for on in (True, False):
            out = io.StringIO()
            with guarded(on), _configured(CHAINS[chain](), out):
                kept = "plain-word-nobody-knows"
                try:
                    raise LookupError(f"{len(kept)} characters")
                except LookupError:
                    structlog.get_logger().exception("it failed")
            assert ("plain-word-nobody" in out.getvalue().replace("kept =", "").replace('kept = "', "")) is not on or on
            assert ("'plain-word" in out.getvalue()) is not on
            assert "LookupError" in out.getvalue()


def test_loggers_made_before_and_beside_the_configuration_are_guarded() -> None:
    """A cached logger from before the call, and one with a chain of its own, pass the wall as well."""
    for on in (True, False):
        value, out = opaque(), io.StringIO()
        with _configured([structlog.processors.JSONRenderer()], out):
            early = structlog.get_logger().bind(a=1)
            apart = structlog.wrap_logger(
                structlog.WriteLogger(out),
                processors=(structlog.processors.JSONRenderer(),),
                reply=value,
            )
            with guarded(on, value):
                early.info("seen", reply=value)
                apart.info("seen")
        assert len(out.getvalue().splitlines()) == 2
        assert leaks(out.getvalue(), value) is not on


def test_records_on_the_way_to_logging_are_guarded() -> None:
    """structlog's own formatter for logging gets clean events, and exceptions without frames."""
    for on in (True, False):
        value, out = opaque(), io.StringIO()
        handler = logging.StreamHandler(out)
        handler.setFormatter(
            ProcessorFormatter(processors=[ProcessorFormatter.remove_processors_meta, structlog.dev.ConsoleRenderer()])
        )
        logger = logging.getLogger("structlog.leaktest")
        logger.propagate = False
        logger.handlers[:] = [handler]
        logger.setLevel(logging.DEBUG)
        structlog.configure(
            processors=[ProcessorFormatter.wrap_for_formatter], logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.stdlib.BoundLogger,
        )  # fmt: skip
        try:
            with guarded(on, value):
                log = structlog.get_logger("structlog.leaktest")
                log.warning("seen", reply=value)
                _fails(log, value)
                logger.warning("plain %s", value)
        finally:
            structlog.reset_defaults()
        assert out.getvalue().count("seen") == 1
        assert "it failed" in out.getvalue()
        assert leaks(out.getvalue(), value) is not on


@pytest.mark.req("R1.2-5")
def test_an_event_that_can_not_be_cleaned_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the redactor fails, the line is ``redaction_error`` with its level and nothing else."""

    def fails(*_: object) -> None:
        raise RedactionFailed("redaction_failed")

    value, out = opaque(), io.StringIO()
    with guarded(), _configured([structlog.processors.JSONRenderer()], out):
        for name in ("text", "data", "value", "find"):
            monkeypatch.setattr(Redactor, name, fails)
        for say in SAYINGS.values():
            say(structlog.get_logger(), value)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(lines) == len(SAYINGS)
    assert {line["event"] for line in lines} == {"redaction_error"}
    assert {frozenset(line) for line in lines} == {frozenset({"event", "level"})}


def test_an_event_can_not_forge_a_line() -> None:
    """Line ends and terminal escapes in an event or a field start no line on a console; JSON keeps them quoted."""
    out = io.StringIO()
    with guarded(), _configured([structlog.dev.ConsoleRenderer(colors=False)], out):
        structlog.get_logger().info("a\nERROR forged\x1b[31m", reply="b\r\nERROR forged\u2028ERROR forged")
    assert len(out.getvalue().splitlines()) == 1
    assert "\x1b" not in out.getvalue()


def test_what_holds_no_secret_is_not_changed() -> None:
    """Ids, digests, times, figures and addresses come out as they went in."""
    fields = {
        "id": "3f1c1f5e-8d5e-4f57-9f0a-3d0c3a1d2b11", "at": "2026-01-01T00:00:00.000000Z", "took_ms": 3, "share": 0.5,
        "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "ok": True, "none": None,
        "url": "https://example.com/v1/items?page=2&sort=name", "path": "/v1/jobs/{id}", "names": ["a", "b"],
    }  # fmt: skip
    with guarded() as installed:
        assert installed is not None
        assert StructlogWall(installed.wall)(None, "", {"event": "seen", **fields}) == {"event": "seen", **fields}
        masked = StructlogWall(installed.wall)(None, "", {"event": "seen", "held": Secret(opaque())})
        assert str(masked["held"]).startswith("[redacted:")


def test_a_quiet_record_costs_a_few_calls() -> None:
    """The processor adds little to a typical record without a secret; benchmarks measure how long it takes."""
    record = {
        "timestamp": "2026-01-01T00:00:00Z", "level": "info", "event": "request", "method": "GET", "status": 200,
        "route": "/v1/jobs/{id}", "took_ms": 3, "request_id": "3f1c1f5e-8d5e-4f57-9f0a-3d0c3a1d2b11", "outcome": "ok",
    }  # fmt: skip
    with guarded(True, opaque(), opaque()) as installed:
        assert installed is not None
        wall = StructlogWall(installed.wall, one_line=False)
        installed.redactor.warm()
        wall(None, "", record)
        with calls() as work:
            for _ in range(100):
                wall(None, "", record)
    assert work.calls < 100 * 100
