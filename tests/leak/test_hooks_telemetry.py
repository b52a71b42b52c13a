"""The program's own logs and spans behind the redactor, and what leases and custody make it know."""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog

from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretRef
from byokeep.core.secret import Secret
from byokeep.telemetry import log
from byokeep.telemetry.log import REQUIRED
from byokeep.worker.ports import LeasedValues
from byokeep_redact.engine import RedactionFailed, Redactor, default
from byokeep_redact.rules import RuleError, Rules, default_rules
from tests.support.broker import Stand
from tests.support.speech import guarded, leaks, opaque, phrase, program, shaped

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Logging of the program, into a file."""
    root = logging.getLogger()
    handlers, level, raises = root.handlers[:], root.level, logging.raiseExceptions
    with guarded(False):
        log.configure("test", path=tmp_path / "x.log", level=logging.DEBUG)
        yield tmp_path / "x.log"
        logging.captureWarnings(capture=False)
        root.handlers[:], logging.raiseExceptions = handlers, raises
        root.setLevel(level)
        structlog.reset_defaults()


def _token() -> str:
    """A key that the allow-list takes for a short token."""
    return "sk-or-v1-" + secrets.token_hex(32)


@pytest.mark.req("R1.2-5", "R1.2-1")
def test_what_the_list_lets_through_the_redactor_stops(path: Path) -> None:
    """A key in a listed field, known or by its shape, is masked; ids and figures beside it are not."""
    known, request = phrase(), str(uuid4())
    with default().register(known):
        log.get_log().info("request", route="/v1/x", code=_token(), request_id=request, status=200, took_ms=3)
        log.get_log().info("request", route=f"/v1/{known}", status=200, outcome="ok")
    log.get_log().info("request", route=f"/v1/{known}")
    first, second, after = (json.loads(line) for line in path.read_text().splitlines())
    assert first["code"].startswith("[redacted:")
    assert (first["route"], first["request_id"], first["status"], first["took_ms"]) == ("/v1/x", request, 200, 3)
    assert not leaks(json.dumps(second), known)
    assert second["outcome"] == "ok"
    assert leaks(json.dumps(after), known)  # forgotten, and without a shape: what the mask above was for


@pytest.mark.req("R1.2-5")
def test_a_line_that_can_not_be_cleaned_is_dropped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the redactor fails, the line says ``redaction_error`` with the required fields, and is counted."""

    def fails(*_: object) -> None:
        raise RedactionFailed("redaction_failed")

    value, before = _token(), log.dropped_fields
    for name in ("text", "data", "value", "find"):
        monkeypatch.setattr(Redactor, name, fails)
    log.get_log().warning("request", route="/v1/x", code=value)
    (line,) = [json.loads(text) for text in path.read_text().splitlines()]
    assert (line["event"], line["level"]) == ("redaction_error", "warning")
    assert set(line) == {"at", "level", "event", "process", *REQUIRED}
    assert log.dropped_fields == before + 1


def test_without_rules_no_process_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule file that is gone or empty ends the start; nothing is configured before."""
    with guarded(False):
        default.cache_clear()
        default_rules.cache_clear()
        kept = logging.getLogger().handlers[:]
        with monkeypatch.context() as broken:
            broken.setattr(Rules, "load", classmethod(lambda _cls, _path=None: _refuse()))
            with pytest.raises(RuleError):
                log.configure("test", path=tmp_path / "x.log")
        assert logging.getLogger().handlers == kept
        default.cache_clear()


def _refuse() -> Any:
    raise RuleError("rules_empty")


@pytest.mark.req("R8.1-1")
def test_an_object_of_an_unknown_type_is_dropped(path: Path) -> None:
    """What the program does not know becomes the name of its type, whatever it could say of itself."""

    class Holder:
        def __init__(self, value: str) -> None:
            self.value = value

        def __repr__(self) -> str:
            return self.value

    value = opaque()
    for held in (Holder(value), {"a": value}, [value], value.encode(), ValueError(value), Secret(value)):
        log.get_log().info("request", code=held)
    said = path.read_text()
    assert not leaks(said, value)
    assert "<Holder>" in said
    assert "<Secret>" in said


def test_threads_of_the_program_are_guarded(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """An exception in a thread of ours is told without values: the guard is on wherever the log is."""
    value = shaped()
    told: list[Any] = []
    with guarded(False), monkeypatch.context() as quiet:
        quiet.setattr(threading, "excepthook", told.append)
        log.configure("test", path=path)
        thread = threading.Thread(target=Secret(value).matches, args=(object(),), name=value)
        threading.excepthook(threading.ExceptHookArgs((ValueError, ValueError(value), None, thread)))
    assert not leaks(str(told[0].exc_value), value)


SPANS = """
from pathlib import Path
from byokeep.telemetry import spans
spans.configure("test", Path("/dev/stdout"))
with spans.span("work " + VALUE, route="/v1/" + VALUE, version=3): pass
print("REACHED")
"""


@pytest.mark.req("R1.2-2")
async def test_spans_are_behind_the_redactor_too() -> None:
    """A key in a listed attribute or in a span's name is masked in the file."""
    value = shaped()
    said = await program(SPANS, value, on=False)
    assert not leaks(said, value)
    line = json.loads(said.splitlines()[0])
    assert line["attributes"]["version"] == 3
    assert line["name"].startswith("work [redacted:")


async def test_a_lease_makes_its_values_known_and_forgotten(stand: Stand) -> None:
    """While the lease holds a value no text shows it in any form; from its end on the redactor holds nothing of it."""
    client = await stand.client()
    value = await stand.key(client, "heygen", phrase())
    held = len(default().known)
    async with stand.keep() as keep, keep.job(client=client, secrets=["heygen"]) as job:
        assert default().text(value) == value
        await job.secret("heygen")
        for text in (value, value.encode().hex(), value.replace(".", "%2E")):
            assert not leaks(default().text(f"seen {text} twice"), value)
        await job.secret("heygen")
        assert len(default().known) == held + 1
    assert len(default().known) == held
    assert default().text(value) == value


async def test_a_value_too_weak_to_be_known_is_still_given(stand: Stand) -> None:
    """A short value can not be looked for; the job gets it all the same."""
    client = await stand.client()
    value = await stand.key(client, "heygen", "short")
    held = len(default().known)
    async with stand.keep() as keep, keep.job(client=client, secrets=["heygen"]) as job:
        assert (await job.secret("heygen")).matches(value.encode())
        assert len(default().known) == held


async def test_a_lapsed_lease_forgets(stand: Stand) -> None:
    """A lease that is ended by a denial wipes and forgets in the same step."""
    client = await stand.client()
    value = await stand.key(client, "heygen", phrase())
    held = len(default().known)
    async with stand.keep() as keep, keep.job(client=client, secrets=["heygen"]) as job:
        key = await job.secret("heygen")
        await stand.call("POST", "/v1/switches/close", "operator", {"client_id": str(client), "reason": "drill"})
        await job.lease._beat_once()
        assert not job.lease.holds
        assert key.wiped
        assert len(default().known) == held
        assert default().text(value) == value


async def test_custody_makes_what_it_reads_known_until_it_ends(stand: Stand) -> None:
    """A value read in custody is masked until custody forgets it."""
    client = await stand.client()
    value = await stand.key(client, "heygen", phrase())
    held = len(default().known)
    async with stand.keep() as keep, keep.job(client=client, secrets=["heygen"]) as job:
        custody = LeasedValues(job)
        ref = SecretRef(client_id=ClientId(client), provider=Provider("heygen"))
        read = await custody.read(ref, 1)
        assert read.matches(value.encode())
        assert len(default().known) == held + 1
        assert not leaks(default().text(f"seen {value}"), value)
        custody.forget()
        custody.forget()
        assert len(default().known) == held
        assert default().text(value) == value
