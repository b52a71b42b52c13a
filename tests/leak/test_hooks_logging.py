"""The hook into logging: every way into a record, every way out of it, and what happens when the redactor fails."""

from __future__ import annotations

import io
import json
import logging
import logging.handlers
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from byokeep.core.secret import Secret
from byokeep_redact.engine import RedactionFailed, Redactor
from byokeep_redact.hooks.http import token_reply
from byokeep_redact.hooks.wall import PatchingHook
from byokeep_redact.install import current, install
from byokeep_redact.rules import RuleError, Rules
from tests.support.speech import EVASIONS, SAYINGS, Talkative, guarded, leaks, opaque, shaped

NAME = "leaktest"


class Pages(logging.Handler):
    """A handler that formats by itself."""

    def __init__(self, stream: io.StringIO) -> None:
        super().__init__()
        self.stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.stream.write(Talkative().format(record) + json.dumps(record.__dict__, default=str) + "\n")
        except Exception:
            self.handleError(record)


class Adds(logging.Filter):
    """A filter that brings a value in where the record is handled."""

    value = ""

    def filter(self, record: logging.LogRecord) -> bool:
        record.added = self.value
        return True


def _stream(stream: io.StringIO, formatter: logging.Formatter | None = None) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter or Talkative())
    return handler


@pytest.fixture(autouse=True)
def errors_of_handlers_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard library's own default, whatever an earlier test has set up in this process."""
    monkeypatch.setattr(logging, "raiseExceptions", True)


@contextmanager
def _logger(*handlers: logging.Handler, propagate: bool = False) -> Iterator[logging.Logger]:
    logger = logging.getLogger(NAME) if propagate is False else logging.getLogger()
    before, level, passes = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:] = handlers
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield logging.getLogger(NAME)
    finally:
        logger.handlers[:] = before
        logger.setLevel(level)
        logger.propagate = passes


def _through_queue(stream: io.StringIO, say: Callable[[logging.Logger], None]) -> None:
    waiting: queue.Queue[Any] = queue.Queue()
    listener = logging.handlers.QueueListener(waiting, _stream(stream))
    with _logger(logging.handlers.QueueHandler(waiting)) as logger:
        listener.start()
        say(logger)
        listener.stop()


def _through(*handlers: logging.Handler, root: bool = False) -> Callable[[Callable[[logging.Logger], None]], None]:
    def run(say: Callable[[logging.Logger], None]) -> None:
        with _logger(*handlers, propagate=root) as logger:
            say(logger)

    return run


# Name -> (stream -> how the record is heard). The handlers are made after the redactor is on.
WAYS: dict[str, Callable[[io.StringIO], Callable[[Callable[[logging.Logger], None]], None]]] = {
    "own logger": lambda out: _through(_stream(out)),
    "root": lambda out: _through(_stream(out), root=True),
    "own emit": lambda out: _through(Pages(out)),
    "memory": lambda out: _through(logging.handlers.MemoryHandler(1, target=_stream(out))),
    "queue": lambda out: lambda say: _through_queue(out, say),
}
# The standard library's queue passes on the text of a record and not its parts.
SAYS_LESS = {("queue", "unprinted argument"), ("queue", "local")}


def _hear(way: str, say: Callable[[logging.Logger, str], None], value: str, capsys: Any) -> str:
    out = io.StringIO()
    WAYS[way](out)(lambda logger: say(logger, value))
    caught = capsys.readouterr()
    return f"{out.getvalue()}{caught.out}{caught.err}"


@pytest.mark.req("R1.2-5", "R1.2-1")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("saying", SAYINGS)
def test_no_record_carries_a_value(way: str, saying: str, capsys: Any) -> None:
    """A value that is known, and one that only has a shape, leave no readable part; without the hook they do."""
    for value, known in ((opaque(), True), (shaped(), False)):
        with guarded(True, *([value] if known else [])):
            said = _hear(way, SAYINGS[saying], value, capsys)
        assert said.strip()
        assert "redaction_error" not in said
        assert not leaks(said, value), f"{way}, {saying}, known={known}"
    with guarded(False):
        heard = leaks(_hear(way, SAYINGS[saying], value, capsys), value)
        assert heard is ((way, saying) not in SAYS_LESS)


@pytest.mark.parametrize("saying", EVASIONS)
def test_no_record_carries_a_known_value_in_another_form(saying: str, capsys: Any) -> None:
    """Split, spelled or encoded, a known value is recognised; without the hook it is readable."""
    value = opaque()
    with guarded(True, value):
        assert not leaks(_hear("own logger", EVASIONS[saying], value, capsys), value)
    with guarded(False):
        assert leaks(_hear("own logger", EVASIONS[saying], value, capsys), value)


def test_handlers_from_before_are_guarded_too() -> None:
    """A handler that was there before the call, and one whose filter brings the value in, say nothing."""
    value, out = opaque(), io.StringIO()
    early = _stream(out)
    adds = Pages(out)
    adds.addFilter(Adds())
    Adds.value = value
    for on in (True, False):
        out.truncate(0)
        with _logger(early, adds) as logger, guarded(on, value):
            logger.warning("key %s", value)
        assert leaks(out.getvalue(), value) is not on


def test_arguments_stay_for_formatters_that_take_them_apart() -> None:
    """An access log's five arguments are still five, cleaned; a clean record stays as it is."""
    seen: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    value = shaped()
    with _logger(Keep()) as logger, guarded():
        logger.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:5", "GET", f"/v1/models?key={value}", "1.1", 200)
        logger.info("took %d ms of %5.1f for %s", 3, 4.5, "/v1/models")
    assert isinstance(seen[0].args, tuple)
    assert (len(seen[0].args), seen[0].args[4]) == (5, 200)
    assert not leaks(repr(seen[0].__dict__), value)
    assert seen[0].getMessage().startswith('127.0.0.1:5 - "GET /v1/models?key=[redacted:')
    assert seen[1].args == (3, 4.5, "/v1/models")
    assert seen[1].msg == "took %d ms of %5.1f for %s"


@pytest.mark.req("R1.2-5")
def test_a_record_that_can_not_be_cleaned_is_dropped(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """When the redactor fails, ``redaction_error`` stands in the record's place and nothing of it is written."""

    def fails(*_: object) -> None:
        raise RedactionFailed("redaction_failed")

    for saying, say in SAYINGS.items():
        value = opaque()
        with guarded(), monkeypatch.context() as broken:
            for name in ("text", "data", "value", "find"):
                broken.setattr(Redactor, name, fails)
            for way in ("own logger", "own emit"):
                said = _hear(way, say, value, capsys)
                assert "redaction_error" in said, saying
                assert not leaks(said, value), saying


@pytest.mark.parametrize("saying", ["message", "argument", "exception", "chain of causes", "group", "note", "extra"])
def test_a_message_can_not_forge_a_line(saying: str, capsys: Any) -> None:
    """Line ends, terminal escapes and separators start no line of their own, wherever they come from."""
    for end in ("\n", "\r\n", "\u2028", "\x85", "\x1b[2K\r"):
        out = io.StringIO()
        handler = _stream(out, logging.Formatter("%(levelname)s %(message)s"))
        with _logger(handler) as logger, guarded():
            SAYINGS[saying](logger, f"a{end}ERROR forged")
        assert not any(line.startswith("ERROR forged") for line in out.getvalue().splitlines())
        assert "\x1b" not in out.getvalue()


def test_a_name_can_not_forge_a_line() -> None:
    """Nor does the name of a logger or thread, under a message that has nothing to be cleaned."""
    out = io.StringIO()
    with _logger(_stream(out, logging.Formatter("%(name)s %(threadName)s %(message)s"))) as logger, guarded():
        say = logger.getChild("a\nERROR forged").error
        thread = threading.Thread(target=say, args=("done",), name="b\rERROR forged")
        thread.start()
        thread.join()
    assert len(out.getvalue().splitlines()) == 1


@pytest.mark.req("R8.1-1")
def test_objects_that_hold_a_value_do_not_show_it(capsys: Any) -> None:
    """%s, %r, f-strings, JSON, reprs and locals of a holder show a mask; a type nobody knows shows its name alone."""
    value = opaque()
    held = Secret(value)

    class Unknown:
        def __init__(self) -> None:
            self.inside = value

        def __repr__(self) -> str:
            return self.inside

    texts = ["%s", "%r"]
    for on in (True, False):
        out = io.StringIO()
        with _logger(_stream(out)) as logger, guarded(on, value):
            for text in texts:
                logger.warning(text, held)
            logger.warning(f"{held}")  # noqa: G004
            logger.warning(json.dumps({"v": str(held)}))
            assert not leaks(out.getvalue(), value)
            assert out.getvalue().count("***") >= len(texts) + 2
            logger.warning(f"{locals()}")  # noqa: G004
            logger.warning("done", extra={"holder": Unknown()})
            logger.warning("done", extra={"holders": {Unknown(): 1}})
        assert leaks(out.getvalue(), value) is not on
        assert ("Unknown>" in out.getvalue()) is on
        assert ("holders={'<" in out.getvalue()) is on


@pytest.mark.req("R8.1-2")
@pytest.mark.parametrize("form", ["dict", "json", "text", "extra", "bytes"])
def test_token_payloads_do_not_show_tokens(form: str, capsys: Any) -> None:
    """Replies, requests, ID tokens, codes and verifiers go; the type, life and scopes stay."""
    names = ("access_token", "refresh_token", "id_token", "client_secret", "device_code", "code_verifier", "code")
    values = {name: opaque(28) for name in names}  # too short to go by its length
    payload = values | {"token_type": "Bearer", "expires_in": 3599, "scope": "read:posts offline"}
    say: dict[str, Callable[[logging.Logger], None]] = {
        "dict": lambda log: log.info("reply %s", payload),
        "json": lambda log: log.info("reply %s", json.dumps(payload)),
        "text": lambda log: log.info("reply " + "&".join(f"{k}={v}" for k, v in payload.items())),  # noqa: G003
        "extra": lambda log: log.info("reply", extra={"payload": payload}),
        "bytes": lambda log: log.info("reply %s", json.dumps(payload).encode()),
    }
    for on in (True, False):
        out = io.StringIO()
        with _logger(_stream(out)) as logger, guarded(on):
            say[form](logger)
        for name, value in values.items():
            assert leaks(out.getvalue(), value) is not on, name
        assert "3599" in out.getvalue()
        assert "read:posts offline" in out.getvalue()


@pytest.mark.req("R8.1-2")
def test_a_token_reply_is_told_by_what_may_be_told() -> None:
    """Type, life, scopes and a fingerprint of a reply; of one that is no token reply its length and status alone."""
    value = opaque()
    body = json.dumps({"access_token": value, "token_type": "Bearer", "expires_in": 60, "scope": "a b", "note": value})
    with guarded() as installed:
        assert installed is not None
        told = token_reply(installed.wall, 200, body.encode())
        fingerprint = told.pop("fingerprint")
        assert told == {"status": 200, "token_type": "Bearer", "expires_in": 60, "scope": "a b"}
        assert fingerprint == token_reply(installed.wall, 200, body.encode())["fingerprint"]
        assert not leaks(str(fingerprint), value)
        for garbage in (f"<html>{value}</html>", f'{{"access_token": {{"{value}": 1}}}}', f'["{value}"]', value, ""):
            assert token_reply(installed.wall, 502, garbage.encode()) == {"status": 502, "length": len(garbage)}
        odd = json.dumps({"access_token": value, "token_type": value, "expires_in": value, "scope": f"a {value}"})
        assert not leaks(repr(token_reply(installed.wall, 200, odd.encode())), value)


COOKIES = {
    "request header": "Cookie: sessionid={0}; theme=dark",
    "reply header": "Set-Cookie: sessionid={0}; Path=/; HttpOnly",
    "pairs": "[(b'Set-Cookie', b'sessionid={0}; Path=/')]",
    "debugger": '{{"method":"Network.requestWillBeSentExtraInfo","params":{{"headers":{{"Cookie":"sessionid={0}"}}}}}}',
    "storage state": '{{"cookies":[{{"name":"sessionid","value":"{0}","domain":".x.com","path":"/"}}],"origins":[]}}',
    "script": 'document.cookie="sessionid={0}; path=/"',
    "address": "https://example.com/in?sessionid={0}&page=2",
    "error page": "<pre>Bad request\nCookie: sessionid={0}; theme=dark</pre>",
}


@pytest.mark.req("R8.1-3")
@pytest.mark.parametrize("form", COOKIES)
def test_cookies_do_not_show_their_values(form: str) -> None:
    """Headers, debugger events, storage states, scripts, addresses and error pages keep names and lose values."""
    for on in (True, False):
        value, out = opaque(28), io.StringIO()  # too short to go by its length
        with _logger(_stream(out, logging.Formatter("%(message)s"))) as logger, guarded(on):
            logger.info("seen %s", COOKIES[form].format(value))
        assert leaks(out.getvalue(), value) is not on
        assert "seen " in out.getvalue()


def test_without_rules_nothing_is_hooked(tmp_path: Path) -> None:
    """Missing and empty rules are refused, and logging is as it was."""
    empty = tmp_path / "rules.toml"
    empty.write_text("")
    with guarded(False):
        before = logging.Logger.callHandlers, logging.Handler.handle
        for path in (tmp_path / "missing.toml", empty):
            with pytest.raises(RuleError):
                install(rules=Rules.load(path))
        assert (logging.Logger.callHandlers, logging.Handler.handle) == before


def test_installing_twice_is_installing_once_and_it_can_be_undone() -> None:
    """A second call changes nothing; a hook that can not be placed undoes all; uninstalling restores all."""
    import sys
    import threading
    import warnings

    def state() -> list[object]:
        return [
            logging.Logger.callHandlers, logging.Handler.handle, logging.Handler.format, logging.Handler.handleError,
            logging.Formatter.formatException, sys.excepthook, threading.excepthook, sys.unraisablehook,
            warnings.showwarning, warnings.formatwarning,
        ]  # fmt: skip

    with guarded(False):
        before = state()
        first = install()
        assert install() is first
        assert not set(map(id, state())) & set(map(id, before))
        first.uninstall()
        first.uninstall()
        assert state() == before
        with pytest.MonkeyPatch.context() as broken:
            broken.setattr(PatchingHook, "_put", lambda *_: (_ for _ in ()).throw(AttributeError("gone")))
            with pytest.raises(AttributeError):
                install()
        assert state() == before
        assert current() is None
