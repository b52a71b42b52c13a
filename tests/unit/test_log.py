"""Log lines: one JSON object each, allow-listed, foreign text dropped."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from byokeep.telemetry import log, spans

VALUE = "sk-proj-Zq8vT1nW4xY7bC0dF3gH6jK9mP2rS5u"


@pytest.fixture
def lines(tmp_path: Path) -> Any:
    """Configure logging into a file; return a reader."""
    path = tmp_path / "x.log"
    before = logging.getLogger().handlers[:]
    log.configure("test", path=path, level=logging.DEBUG)
    yield lambda: [json.loads(line) for line in path.read_text().splitlines()]
    logging.captureWarnings(capture=False)
    logging.getLogger().handlers[:] = before


def test_every_line_has_the_required_fields(lines: Any) -> None:
    """UTC time, level, event, process, actor, tenant, request and outcome stand on each line."""
    log.get_log().info("process_started", version="1")
    (line,) = lines()
    assert {"at", "level", "event", "actor", "tenant", "request_id", "outcome", "process"} <= set(line)
    assert line["at"].endswith("Z")


@pytest.mark.req("R1.2-4")
@pytest.mark.parametrize(
    "text", ["a\r\nb", "\x1b[31mred", "line\u2028sep", "x" * 1_000_000, '","level":"error', VALUE + "\n"]
)
def test_hostile_text_stays_one_line_without_content(lines: Any, text: str) -> None:
    """Control characters, megabytes and injections become the name of their type."""
    log.get_log().info("cut_off_pending", code=text)
    (line,) = lines()
    assert line["code"] == "<str>"
    assert line["level"] == "info"


def test_libraries_can_not_say_anything(lines: Any) -> None:
    """A library's message, arguments and exception text are dropped; its place is kept."""
    logging.getLogger("lib").error("key %s", VALUE)
    try:
        raise ValueError(VALUE)
    except ValueError:
        logging.getLogger("lib").exception(VALUE)
    warnings.warn(VALUE, stacklevel=1)
    got = lines()
    assert len(got) == 3
    assert all(VALUE not in json.dumps(line) for line in got)
    assert got[1]["error"] == "ValueError"


def test_fields_off_the_list_are_dropped_and_counted(lines: Any) -> None:
    """An unknown field does not reach the file."""
    before = log.dropped_fields
    log.get_log().info("process_started", password=VALUE, body={"k": VALUE})
    (line,) = lines()
    assert "password" not in line
    assert VALUE not in json.dumps(line)
    assert log.dropped_fields == before + 2


def test_an_uncaught_error_prints_no_text(tmp_path: Path) -> None:
    """A crash prints its type into the log, and one line that names type and log to standard error."""
    path = tmp_path / "crash.log"
    code = (
        "import sys; from pathlib import Path; from byokeep.telemetry import log;"
        f"log.configure('t', path=Path({str(path)!r})); raise RuntimeError('sk-proj-' + 'Zq8v' * 8)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert done.returncode == 1
    assert "Zq8v" not in done.stderr + path.read_text()
    assert done.stderr == f"byokeep: an unexpected RuntimeError ended this; see {path}\n"
    assert json.loads(path.read_text())["error"] == "RuntimeError"


def test_spans_keep_allow_listed_attributes_only(tmp_path: Path) -> None:
    """A span's attributes obey the list, and an exception leaves no text."""
    path = tmp_path / "spans.jsonl"
    spans.configure("test", path)
    with pytest.raises(ValueError, match="sk-proj"), spans.span("work", route="/v1/x", password=VALUE):  # type: ignore[arg-type]
        raise ValueError(VALUE)
    (line,) = [json.loads(text) for text in path.read_text().splitlines()]
    assert line["attributes"] == {"route": "/v1/x"}
    assert VALUE not in path.read_text()


def test_a_process_that_configured_no_log_prints_nothing() -> None:
    """A command's output is its own, also where a flow that it calls has something to log."""
    code = "from byokeep.telemetry.log import get_log; get_log().error('disk_reserve_given_back', size=1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout + done.stderr == b""
