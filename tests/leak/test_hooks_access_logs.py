"""Access logs whose formatters take a record's arguments apart: each request leaves its line, and no value in it."""

from __future__ import annotations

import datetime
import io
import logging
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from byokeep_redact.engine import RedactionFailed, Redactor
from tests.support.speech import guarded, leaks, opaque, phrase, shaped

Ask = Callable[[str, str], None]  # (path with its query, value of a header) -> the server logs the request


class Socket:
    """What Django's development server passes along as the request."""


def _uvicorn(out: io.StringIO) -> tuple[str, logging.Formatter, Ask]:
    from uvicorn.logging import AccessFormatter

    logger = logging.getLogger("uvicorn.access")

    def ask(path: str, _header: str) -> None:  # uvicorn/protocols/http/h11_impl.py
        logger.info('%s - "%s %s HTTP/%s" %d', "203.0.113.9:5123", "GET", path, "1.1", 200)

    form = '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s'
    return "uvicorn.access", AccessFormatter(form, use_colors=False), ask


def _gunicorn(out: io.StringIO) -> tuple[str, logging.Formatter, Ask]:
    from gunicorn.config import Config
    from gunicorn.glogging import Logger

    form = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%({authorization}i)s" "%({absent}i)s"'
    config = Config()
    config.set("accesslog", "-")
    config.set("access_log_format", form)
    server = Logger(config)
    server.access_log.handlers.clear()
    response = types.SimpleNamespace(status="200 OK", sent=5, headers=[])

    def ask(path: str, header: str) -> None:
        place, _, query = path.partition("?")
        environ = {
            "REMOTE_ADDR": "203.0.113.9", "REQUEST_METHOD": "GET", "RAW_URI": path, "SERVER_PROTOCOL": "HTTP/1.1",
            "PATH_INFO": place, "QUERY_STRING": query,
        }  # fmt: skip
        request = types.SimpleNamespace(headers=[("AUTHORIZATION", header)])
        server.access(response, request, environ, datetime.timedelta(milliseconds=3))

    return "gunicorn.access", logging.Formatter("%(asctime)s [%(process)d] %(message)s"), ask


def _granian(out: io.StringIO) -> tuple[str, logging.Formatter, Ask]:
    from granian.log import DEFAULT_ACCESSLOG_FMT, log_request_builder

    log = log_request_builder(DEFAULT_ACCESSLOG_FMT + " %(query_string)s")

    def ask(path: str, _header: str) -> None:
        place, _, query = path.partition("?")
        log(0.0, 0.0, {
            "addr_remote": "203.0.113.9", "path": place, "qs": query, "method": "GET", "scheme": "http",
            "protocol": "HTTP/1.1",
        }, 200)  # fmt: skip

    return "granian.access", logging.Formatter("%(message)s"), ask


def _django(out: io.StringIO) -> tuple[str, logging.Formatter, Ask]:
    from django.core.servers.basehttp import WSGIRequestHandler
    from django.utils.log import ServerFormatter

    handler = WSGIRequestHandler.__new__(WSGIRequestHandler)
    handler.request = Socket()

    def ask(path: str, _header: str) -> None:
        handler.requestline = f"GET {path} HTTP/1.1"
        handler.log_request(200, 5)

    return "django.server", ServerFormatter("[{server_time}] {message}", style="{"), ask


def _flask(out: io.StringIO) -> tuple[str, logging.Formatter, Ask]:
    from werkzeug.serving import WSGIRequestHandler

    handler = WSGIRequestHandler.__new__(WSGIRequestHandler)
    handler.client_address = ("203.0.113.9", 5123)
    handler.command, handler.request_version = "GET", "HTTP/1.1"

    def ask(path: str, _header: str) -> None:
        handler.path = path
        handler.requestline = f"GET {path} HTTP/1.1"
        handler.log_request(200, 5)

    return "werkzeug", logging.Formatter("[%(asctime)s] %(levelname)s in %(module)s: %(message)s"), ask


SERVERS = {"uvicorn": _uvicorn, "gunicorn": _gunicorn, "granian": _granian, "django": _django, "flask": _flask}
# What a visitor may ask for, with a value in it. The long ones are longer than a record whose parts are read apart.
PATHS = {
    "token": "/asked?token={0}&page=2",
    "password": "/asked?password={0}",
    "value in the path": "/asked/{0}/x",
    "authorization": "/asked?authorization=Token+{0}",
    "cookie": "/asked?cookie=sid={0}",
    "long": "/asked?q=" + "a-" * 8700 + "&token={0}",
    "very long": "/asked?q=" + "a-" * 600_000 + "&token={0}",
    "per cent": "/asked?q=100%25&d=%d&s=%s&(x)=%(x)s&token={0}",
    "line end": "/asked?token={0}\nERROR\x1b[2K\x85forged",
    "pair of a name": "token {0}",
}


@contextmanager
def _log(server: str) -> Iterator[tuple[Ask, Callable[[], list[str]], list[logging.LogRecord]]]:
    """The server's own logger and formatter, what it wrote, and the records that handlers were given."""
    out, records = io.StringIO(), list[logging.LogRecord]()
    name, formatter, ask = SERVERS[server](out)

    class Keep(logging.StreamHandler[io.StringIO]):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)
            super().emit(record)

    handler = Keep(out)
    handler.setFormatter(formatter)
    logger = logging.getLogger(name)
    before, level, passes = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:], logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    try:
        yield ask, lambda: out.getvalue().splitlines(), records
    finally:
        logger.handlers[:], logger.propagate = before, passes
        logger.setLevel(level)


def _kinds(record: logging.LogRecord) -> Any:
    args = record.args
    if isinstance(args, dict):
        return type(args), {name: type(item) for name, item in args.items()}
    return type(args), [type(item) for item in args or ()]


@pytest.mark.req("R1.2-5")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("server", SERVERS)
def test_every_request_leaves_its_line(server: str, path: str, capsys: Any) -> None:
    """Whatever a visitor asks for, one line says so, without the value, and the arguments keep number and types."""
    values = [(opaque(), True), (shaped(), False), (phrase(), True)]
    if path in ("token", "password", "long"):  # by its name alone, in the query and in gunicorn's header
        values.append((opaque(40), False))
    for value, known in values:
        with guarded(False), _log(server) as (ask, _, records):
            ask(PATHS[path].format(value), f"Splunk {value}")
            kinds = _kinds(records[0])
        with guarded(True, *([value] if known else [])), _log(server) as (ask, said, records):
            ask(PATHS[path].format(value), f"Splunk {value}")
        caught = capsys.readouterr()
        assert "Logging error" not in caught.err + caught.out
        assert len(said()) == 1
        assert "GET" in said()[0]
        assert "203.0.113.9" in said()[0] or server == "django"
        assert "redaction_error" not in said()[0]
        assert not leaks(said()[0], value)
        assert not leaks(repr(records[0].__dict__), value)
        assert _kinds(records[0]) == kinds


@pytest.mark.req("R1.2-5")
@pytest.mark.parametrize("server", SERVERS)
def test_a_request_that_can_not_be_cleaned_leaves_a_line_that_says_so(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """When the redactor fails, the line is there, says so, and holds nothing of the request."""

    def fails(*_: object) -> None:
        raise RedactionFailed("redaction_failed")

    value = opaque()
    with guarded(), _log(server) as (ask, said, records):
        for name in ("text", "data", "value", "find", "clean"):
            monkeypatch.setattr(Redactor, name, fails)
        ask(f"/asked?token={value}", value)
    caught = capsys.readouterr()
    assert "Logging error" not in caught.err + caught.out
    assert len(said()) == 1
    assert "redaction_error" in said()[0]
    assert not leaks(said()[0] + repr(records[0].__dict__), value)


def test_a_formatter_that_misses_what_was_taken_out_still_writes_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A field that a formatter asks for, of a type that it wants, may be gone; the line is there all the same."""

    class Wants(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return f"{record.args[0].host} {record.user:d}"  # type: ignore[union-attr, index, attr-defined]

    value, out = opaque(), io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(Wants())
    logger = logging.getLogger("apart")
    logger.addHandler(handler)
    try:
        with guarded(True, value):
            logger.warning("asked by %s", types.SimpleNamespace(host=value), extra={"user": value})
    finally:
        logger.removeHandler(handler)
    assert "asked by" in out.getvalue()
    assert len(out.getvalue().splitlines()) == 1
    assert not leaks(out.getvalue(), value)
    assert capsys.readouterr().err == ""


def test_a_value_that_only_the_whole_line_shows_is_in_no_argument() -> None:
    """A name in the text and its value in an argument, or a value cut over arguments, are masked in both."""
    value = opaque()
    with guarded(), _log("uvicorn") as (_, _said, records):
        logger = logging.getLogger("uvicorn.access")
        logger.handlers[0].setFormatter(None)
        logger.info("client_secret=%s %d", value, 5)
        logger.info("token=q7Zr%d and %s", 982451653017, "words")
        logger.info("%s: %s", "client_secret", value)
        logger.info("%(a)s=%(b)s", {"a": "client_secret", "b": value})
    said = "\n".join(repr(record.__dict__) + record.getMessage() for record in records)
    assert not leaks(said, value)
    assert "982451653017" not in said
    assert [len(record.args or ()) for record in records] == [2, 2, 2, 2]


def test_a_value_that_the_line_shows_elsewhere_is_kept_no_oftener_than_there() -> None:
    """A name that is the password too, and a key letter by letter: the line may hold such text in another place."""
    with guarded(), _log("uvicorn") as (_, _said, records):
        logger = logging.getLogger("uvicorn.access")
        logger.handlers[0].setFormatter(None)
        logger.info("login of %s with password: %s at %s", "hunter22", "hunter22", "example.org")
        logger.info("a fine old quiz, password: %s%s%s%s%s%s", *"fine4o")
    assert "hunter22" not in repr(records[0].args)
    assert records[0].args[2] == "example.org"  # type: ignore[index]
    assert not set("fine4o") & set(records[1].args or ())
