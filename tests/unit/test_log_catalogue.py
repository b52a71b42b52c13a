"""The log has a closed catalogue, the program keeps to it, and nothing gets around the redaction."""

from __future__ import annotations

import ast
import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from byokeep.telemetry import log
from byokeep.telemetry.log import EVENTS, REQUIRED, UNLISTED
from byokeep_redact.canary import Canary, new_canary
from byokeep_redact.search import Sweep

SOURCE = Path(__file__).parents[2] / "src"
LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "log"}
BY_NAME = {"log", "logger", "_logger", "write"}  # what a logger, or one of its methods, is called in the program


@dataclass(frozen=True)
class Said:
    """One call of the logger, as it stands in the source."""

    place: str
    event: str | None
    fields: frozenset[str | None]


def calls(text: str, name: str) -> Iterator[Said]:
    """Every call that writes a log line. A ``**`` is the field None."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not _writes(node.func):
            continue
        first = node.args[0] if node.args else None
        event = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
        if len(node.args) > 1:
            event = None  # text with holes to fill
        yield Said(f"{name}:{node.lineno}", event, frozenset(keyword.arg for keyword in node.keywords))


def _writes(called: ast.expr) -> bool:
    if isinstance(called, ast.Name):
        return called.id == "write"
    if not isinstance(called, ast.Attribute) or called.attr not in LEVELS:
        return False
    owner = called.value
    if isinstance(owner, ast.Call):
        return ast.unparse(owner.func).endswith("get_log")
    return (owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")) in BY_NAME


def loose_loggers(text: str) -> int:
    """How many loggers are asked for and neither written to at once nor kept under a name that is looked for."""
    found = 0
    for node in ast.walk(ast.parse(text)) if "get_log" in text else ():
        kept = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(node, ast.Call):
            found += ast.unparse(node.func).endswith("get_log")
            found -= _writes(node.func) and ast.unparse(node.func).rpartition(".")[0].endswith("get_log()")
        elif isinstance(kept, ast.Name) and kept.id in BY_NAME:
            found -= ast.unparse(node).endswith("get_log()")
    return found


def wrong(said: Said, events: Mapping[str, frozenset[str]] = EVENTS) -> str:
    """Why a call is not of the catalogue; empty when it is."""
    if said.event is None:
        return f"{said.place}: the event is no constant"
    if said.event not in events:
        return f"{said.place}: {said.event} is not in the catalogue"
    odd = said.fields - events[said.event] - set(REQUIRED)
    return f"{said.place}: {said.event} may not carry {sorted(map(str, odd))}" if odd else ""


@pytest.mark.req("R1.2-6")
def test_every_line_of_the_program_is_of_the_catalogue() -> None:
    """Each logging call names a listed event with listed fields, and each listed event is written somewhere."""
    found: list[Said] = []
    for path in sorted(SOURCE.rglob("*.py")):
        if "byokeep_redact" in path.parts:
            continue  # it may not import the program's log: the loggers it calls are those it guards, and its controls
        text = path.read_text("utf-8")
        found += calls(text, str(path.relative_to(SOURCE)))
        assert loose_loggers(text) == 0, path
        assert path.parent.name == "telemetry" or "structlog" not in text, path
    assert len(found) >= 15
    assert [reason for said in found if (reason := wrong(said))] == []
    assert {said.event for said in found} == set(EVENTS) - {UNLISTED, "redaction_error"}


@pytest.mark.req("R1.2-6")
@pytest.mark.parametrize(
    "line",
    [
        "get_log().info('made_up')", "get_log().warning('request', body=body)",
        "get_log().info('request', **everything)",
        "log.info(text)", "logger.error(f'failed for {key}')", "write('request', headers=1)",
        "log.info('request', vars(self))", "self._logger.debug('process_started', port=1)",
    ],
)  # fmt: skip
def test_a_line_off_the_catalogue_would_be_found(line: str) -> None:
    """Made-up events, foreign fields, whole objects and built texts are found by the reading above."""
    [said] = calls(line, "planted")
    assert wrong(said)


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "x.log"
    before = logging.getLogger().handlers[:]
    log.configure("test", path=path, level=logging.DEBUG)
    yield lambda: [json.loads(line) for line in path.read_text().splitlines()]
    logging.captureWarnings(capture=False)
    logging.getLogger().handlers[:] = before


@pytest.mark.req("R1.2-6")
def test_what_slips_through_is_dropped_and_counted(lines: Any) -> None:
    """At run time a field of another event is left out, an unlisted event says only that it was one; both count."""
    before = log.dropped_fields
    log.get_log().info("process_started", version="1", body="b", status=200)
    log.get_log().info("made_up", code="c", actor="somebody")
    first, second = lines()
    assert (first["event"], first["version"]) == ("process_started", "1")
    assert {"body", "status"}.isdisjoint(first)
    assert second["event"] == UNLISTED
    assert second["actor"] is None
    assert "made_up" not in json.dumps(second)
    assert log.dropped_fields == before + 2 + 3


@pytest.mark.req("R1.2-5")
def test_a_redaction_that_breaks_writes_nothing_raw(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the redaction itself raises, the line says so and nothing of the record is written."""

    def breaks(_: object) -> str:
        raise RuntimeError("sk-proj-" + "Zq8v" * 8)

    monkeypatch.setattr(log, "_plain", breaks)
    log.get_log().error("cut_off_pending", code="sk-proj-value")
    [line] = lines()
    assert (line["event"], line["level"]) == ("redaction_error", "error")
    assert "sk-proj" not in json.dumps(line)
    assert set(REQUIRED) <= set(line)


_LOOSE = """
import faulthandler, logging, os, subprocess, sys, warnings
from pathlib import Path
from byokeep.telemetry import log
from byokeep.telemetry.log import no_loose_output
value = Path({value!r}).read_text()
log.configure("test", path=Path({path!r}), level=logging.DEBUG)
with no_loose_output():
    logging.getLogger("library").error("key %s", value)
    logging.getLogger("library").debug("header", extra={{"key": value}})
    try:
        raise ValueError(value)
    except ValueError:
        logging.getLogger("library").exception("failed with %s", value)
    warnings.warn(value)
    print(value); print(value, file=sys.stderr, flush=True)
    os.write(1, value.encode()); os.write(2, value.encode())
    subprocess.run(["sh", "-c", "cat $0 >&2; cat $0", {value!r}], check=True)
    faulthandler.dump_traceback()
    {last}
raise KeyError(value)
"""


@pytest.mark.req("R1.2-5")
@pytest.mark.parametrize("last", ["pass", "raise RuntimeError(value)"])
def test_nothing_is_said_past_the_log(tmp_path: Path, last: str) -> None:
    """A value in library logs, warnings, prints, a child's output, a dump or a crash is in no file and on no stream."""
    value, path, secret = new_canary("openai"), tmp_path / "process.log", tmp_path / "value"
    secret.write_bytes(value)
    code = _LOOSE.format(value=str(secret), path=str(path), last=last)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 1
    sweep = Sweep([Canary("value", value)])
    report = sweep.scan_bytes(path.read_bytes() + done.stdout + done.stderr, source="everything")
    assert report.bytes_scanned > 0
    assert not report.findings
    assert sweep.scan_bytes(b"x" + value, source="planted").findings
    said = [json.loads(line) for line in path.read_text().splitlines()]
    assert sum(line["size"] for line in said if line["event"] == "loose_output") > 6 * len(value)
    assert [line["event"] for line in said].count("library_log") >= 4
    assert [line["error"] for line in said if line["event"] == "uncaught_error"]
