"""The sinks: every way in which text leaves a Python process, each fed as an application would feed it.

Rules
- A sink takes all its samples in one call and puts each one's mark beside it; what needs a library says which.
- A sink may raise: the runner writes down that it could not run. Sinks know nothing of redaction.
- The evasions are ways in which an application splits, wraps or misplaces a value without meaning to.
- HTTP libraries ask a real server on loopback that answers 404: the secret is in the query and in a header, the mark in
  the path, and the error is logged as an application would log it.
- What an OpenTelemetry exporter is handed is what counts, so the exporter here stands where the project's own stands;
  headers are captured as the instrumentations do with ``capture headers: .*``.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.server
import importlib
import json
import logging
import runpy
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class _Settings:
    name: str
    token: str


class _Answer:
    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return f"<Answer {self._text!r}>"


def _calls(mark: str, value: str) -> dict[str, tuple[Any, ...]]:
    """Return what one call for a line in the log is given, for the evasions that are no more than that."""
    first, second = value[: len(value) // 2], value[len(value) // 2 :]
    quoted = "".join(f"%{byte:02X}" for byte in value.encode())
    inner = json.dumps({"body": json.dumps({"inner": json.dumps([value])})})
    return {
        "two-arguments": ("%s parts %s %s", mark, first, second),
        "joined-arguments": ("%s whole %s%s", mark, first, second),
        "two-fields": ("%s %s", mark, {"part_a": first, "part_b": second}),
        "two-lines": ("%s\n%s\n%s", mark, first, second),
        "nested-6": ("%s %s", mark, {"a": [{"b": ({"c": [{"d": {"e": value}}]},)}]}),
        "list-of-chars": ("%s %s", mark, list(value)),
        "bytes": ("%s %r %r", mark, value.encode(), bytearray(value.encode())),
        "json-in-string": ("%s %s", mark, inner),
        "url-encoded": ("%s https://api.example.com/?state=%s", mark, quoted),
        "url-encoded-twice": ("%s https://api.example.com/?state=%s", mark, quote(quoted)),
        "key-name": ("%s %s", mark, {value: 1, "other": {value: None}}),
        "named-arguments": ("%(mark)s %(text)s", {"mark": mark, "text": value}),
        "dataclass": ("%s %s", mark, _Settings("live", value)),
        "object-repr": ("%s %s", mark, [_Answer(value)]),
        "bad-format": (f"{mark} %s %s %d", value),  # a wrong call: logging prints its arguments to stderr
    }


def _fail(way: str, value: str) -> None:
    """Raise an exception that holds the value where one does not look for it."""
    if way == "exception-cause":
        raise RuntimeError("outer") from LookupError(value)
    if way == "exception-context":
        try:
            raise LookupError(value)
        except LookupError:
            int(value)
    if way == "exception-note":
        error = RuntimeError("outer")
        error.add_note(value)
        raise error
    raise ExceptionGroup("several", [KeyError(value), ValueError("other")])


def _thread(mark: str, text: str, name: str | None = None) -> None:
    thread = threading.Thread(target=_raise, args=(mark, text), name=name)
    thread.start()
    thread.join()


async def _task(mark: str, text: str, name: str | None = None) -> None:
    async def fail() -> None:
        _raise(mark, text)

    task = asyncio.create_task(fail(), name=name)
    await asyncio.wait({task})
    del task
    gc.collect()  # nobody asked for the result: asyncio says so, with the task's name


_ELSEWHERE: Final = (
    "exception-cause", "exception-context", "exception-note", "exception-group", "thread-name", "task-name",
    "logger-name",
)  # fmt: skip
WAYS: Final = (*_calls("", ""), *_ELSEWHERE)


def _evaded(log: logging.Logger, mark: str, value: str, way: str) -> None:
    """Write a value to the log in a way that splits, wraps or misplaces it, as real code did."""
    if way == "thread-name":
        _thread(mark, "", name=value)
    elif way == "task-name":
        asyncio.run(_task(mark, "", name=value))
    elif way == "logger-name":
        log.getChild(value).error("%s", mark)
    elif way in _ELSEWHERE:
        try:
            _fail(way, value)
        except (RuntimeError, ValueError, ExceptionGroup):
            log.exception("%s", mark)
    else:
        log.error(*_calls(mark, value)[way])
        if way == "bad-format":
            log.error("%s", mark)


Marked = tuple[str, str, str]  # the mark of a sample, its text, its shape


@dataclass(frozen=True, slots=True)
class SinkContext:
    """What a sink may use: a logger, a scratch directory, and where to put text that no process stream carries."""

    log: logging.Logger
    scratch: Path
    show: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class OutputSink:
    """One way out.

    Attributes:
        needs: Modules that must be importable.
        takes: Whether a text fits.
        share: One in this many samples goes through it, others in other runs.
        ours: It is a filter of ``byokeep_redact`` that a project with another redactor does not have.
    """

    feed: Callable[[SinkContext, Sequence[Marked]], None]
    needs: tuple[str, ...] = ()
    takes: Callable[[str], bool] = lambda _text: True
    share: int = 4
    ours: bool = False

    @property
    def available(self) -> bool:
        """Whether the libraries it needs are installed."""
        return all(find_spec(name) for name in self.needs)


def one_line(text: str) -> bool:
    """Whether a text is printable and of one line."""
    return text.isascii() and text.isprintable()


LOGGER: Final = "leakpack"


def _each(say: Callable[[Any, str, str], object], library: str = "") -> Callable[[SinkContext, Sequence[Marked]], None]:
    """Return the sink that says one sample after the other to a logger, of `library` if one is named."""

    def feed(out: SinkContext, samples: Sequence[Marked]) -> None:
        log = importlib.import_module(library).get_logger(LOGGER) if library else out.log
        for mark, text, _ in samples:
            say(log, mark, text)

    return feed


def _message(log: logging.Logger, mark: str, text: str) -> None:
    message = f"{mark} {text}"
    log.error(message)


def _fields(text: str) -> dict[str, Any]:
    return {"detail": text, "nested": {"body": [text]}}


def _caught(log: Any, mark: str, text: str) -> None:
    """Log an exception. The frame holds this sample alone: some formatters print its locals."""
    try:
        raise ValueError(text)
    except ValueError:
        log.exception(mark)


def _stack_info(out: SinkContext, samples: Sequence[Marked]) -> None:
    """A stack shows source lines: a value written into the source of a caller."""
    calls = "\n".join(f'    log.error("{mark}", stack_info=True)  # {text}' for mark, text, _ in samples)
    path = out.scratch / "leakpack_calls.py"
    path.write_text(f"def run(log):\n{calls}\n", encoding="utf-8")
    runpy.run_path(str(path))["run"](out.log)


def _warnings(out: SinkContext, samples: Sequence[Marked]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for mark, text, _ in samples:
            warnings.warn(f"{mark} {text}", UserWarning, stacklevel=1)


def _raise(mark: str, text: str) -> None:
    raise RuntimeError(f"{mark} {text}")


def _asyncio(out: SinkContext, samples: Sequence[Marked]) -> None:
    async def run() -> None:
        gc.freeze()  # what is loaded need not be gone through for every task
        for mark, text, _ in samples:
            await _task(mark, text)

    asyncio.run(run())


class _UnraisableSink:
    def __init__(self, mark: str, text: str) -> None:
        self._said = (mark, text)

    def __del__(self) -> None:
        _raise(*self._said)


def _excepthook(out: SinkContext, samples: Sequence[Marked]) -> None:
    """Dies, with one exception per sample in its chain of causes. Runs in a process of its own."""
    error: BaseException | None = None
    for mark, text, _ in samples:
        following = RuntimeError(f"{mark} {text}")
        following.__cause__ = error
        error = following
    if error is not None:
        raise error


_CHILD: Final = (
    "import json, sys\n"
    "for mark, text, _ in json.load(sys.stdin):\n"
    "    sys.stderr.buffer.write(f'{mark} {text}\\n'.encode('utf-8', 'surrogateescape'))\n"
)


def _subprocess(out: SinkContext, samples: Sequence[Marked]) -> None:
    """A child's stderr, through the descriptor that the hooks give for it."""
    streams = importlib.import_module("byokeep_redact.hooks.streams")
    sent = json.dumps(list(samples)).encode()
    with streams.filtered() as stderr:
        subprocess.run([sys.executable, "-I", "-c", _CHILD], input=sent, stderr=stderr, check=True, timeout=60)


def _stream_filter(out: SinkContext, samples: Sequence[Marked]) -> None:
    """The filter of pipes, fed in pieces that end anywhere."""
    engine, stream = (importlib.import_module(f"byokeep_redact.{name}") for name in ("engine", "hooks.streams"))
    passing = stream.StreamFilter(engine.default())
    data = "".join(f"{mark} {text}\n" for mark, text, _ in samples).encode("utf-8", "surrogateescape")
    pieces = [passing.feed(data[at : at + 997]) for at in range(0, len(data), 997)]
    out.show(b"".join([*pieces, passing.end()]).decode("utf-8", "surrogateescape"))


def _browser_files(out: SinkContext, samples: Sequence[Marked]) -> None:
    """What is kept of a browser's storage state and of a HAR."""
    browser = importlib.import_module("byokeep_redact.hooks.browser")
    for mark, text, _ in samples:
        state = {
            "cookies": [{"name": "sessionid", "value": text, "domain": ".example.com", "path": "/"}],
            "origins": [{"origin": "https://example.com", "localStorage": [{"name": "token", "value": text}]}],
        }
        quoted = quote(text, safe="")
        request = {
            "method": "GET", "url": f"https://example.com/?key={quoted}",
            "headers": [{"name": "Cookie", "value": f"sid={quoted}"}, {"name": "Authorization", "value": text}],
            "cookies": [{"name": "sid", "value": text}],
        }  # fmt: skip
        entries = [{"request": request, "response": {"content": {"mimeType": "text/plain", "text": text}}}]
        for document in (state, {"log": {"version": "1.2", "entries": entries}}):
            out.show(f"{mark} {json.dumps(browser.redact_document(document))}")


def _evade(out: SinkContext, samples: Sequence[Marked]) -> None:
    for mark, text, way in samples:
        with contextlib.suppress(Exception):  # logging that raises: this sample stays unseen
            _evaded(out.log, mark, text, way)


class _NotFound(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer 404 and keep the connection."""
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing: the clients are on stage, not this server."""


@contextmanager
def _server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _NotFound)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _path(mark: str, text: str) -> str:
    return f"/v1/{mark}?page=2&key={quote(text, safe='')}"


def _ask(out: SinkContext, samples: Sequence[Marked], get: Callable[..., Any]) -> None:
    with _server() as base:
        for mark, text, _ in samples:
            _refused(out, get, base + _path(mark, text), mark, text)


def _refused(out: SinkContext, get: Callable[..., Any], url: str, mark: str, text: str) -> None:
    """Ask and log the refusal. A frame of its own, for some formatters print its locals."""
    try:
        get(url, headers={"X-Api-Key": text.strip()}).raise_for_status()
    except Exception:
        out.log.exception("%s refused", mark)


def _httpx_like(out: SinkContext, samples: Sequence[Marked], name: str) -> None:
    """The library's INFO line with the URL, its DEBUG lines, and its error."""
    with importlib.import_module(name).Client(trust_env=False) as client:
        _ask(out, samples, client.get)


def _requests(out: SinkContext, samples: Sequence[Marked]) -> None:
    """The DEBUG line of urllib3 with the path, and the error with the URL."""
    with importlib.import_module("requests").Session() as session:
        session.trust_env = False
        _ask(out, samples, session.get)


def _aiohttp(out: SinkContext, samples: Sequence[Marked]) -> None:
    """The access log of a server, and the client's error with the URL."""
    asyncio.run(_aiohttp_requests(out, samples))


async def _aiohttp_requests(out: SinkContext, samples: Sequence[Marked]) -> None:
    library, web = importlib.import_module("aiohttp"), importlib.import_module("aiohttp.web")
    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with library.ClientSession(raise_for_status=True) as session:
        for mark, text, _ in samples:
            try:
                url = f"http://127.0.0.1:{port}{_path(mark, text)}"
                await session.get(url, headers={"X-Api-Key": text.strip()})
            except library.ClientResponseError as error:
                out.log.error("%s %s %r", mark, error, error.request_info)
    await runner.cleanup()


@contextmanager
def _tracer(out: SinkContext) -> Iterator[Any]:
    """A tracer of the project's provider, or of a new one; what it exports is shown when the block ends."""
    trace = importlib.import_module("opentelemetry.trace")
    sdk = importlib.import_module("opentelemetry.sdk.trace")
    export = importlib.import_module("opentelemetry.sdk.trace.export")
    memory = importlib.import_module("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    provider = trace.get_tracer_provider()
    if not isinstance(provider, sdk.TracerProvider):
        provider = sdk.TracerProvider()
    exporter = memory.InMemorySpanExporter()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    yield provider.get_tracer("leakpack")
    for span in exporter.get_finished_spans():
        out.show(span.to_json(indent=None))


def _spans(out: SinkContext, samples: Sequence[Marked]) -> None:
    """Put each text into a span's name, attributes, an event, a link, its status and a recorded exception."""
    trace = importlib.import_module("opentelemetry.trace")
    with _tracer(out) as tracer:
        for mark, text, _ in samples:
            link = trace.Link(trace.SpanContext(1, 1, is_remote=True), {"detail": text})
            with tracer.start_as_current_span(f"{mark} {text}", links=[link]) as span:
                span.set_attributes({"detail": text, "parts": [text, "other"]})
                span.add_event("sent", {"body": text})
                span.record_exception(ValueError(text))
                span.set_status(trace.Status(trace.StatusCode.ERROR, text))


def _headers(out: SinkContext, samples: Sequence[Marked]) -> None:
    """Capture headers and addresses as attributes, each in a span of its own."""
    with _tracer(out) as tracer:
        for mark, text, name in samples:
            attribute = name.removesuffix(".fragment").removesuffix(".userinfo")
            value = [text] if ".header." in name else text
            with tracer.start_as_current_span(mark, attributes={attribute: value}):
                pass


def _logs(out: SinkContext, samples: Sequence[Marked]) -> None:
    """Emit each text as body and attribute of a log record."""
    api = importlib.import_module("opentelemetry._logs")
    sdk = importlib.import_module("opentelemetry.sdk._logs")
    export = importlib.import_module("opentelemetry.sdk._logs.export")
    provider = api.get_logger_provider()
    if not isinstance(provider, sdk.LoggerProvider):
        provider = sdk.LoggerProvider()
    exporter = export.InMemoryLogRecordExporter()
    provider.add_log_record_processor(export.SimpleLogRecordProcessor(exporter))
    log = provider.get_logger("leakpack")
    for mark, text, _ in samples:
        log.emit(api.LogRecord(body=f"{mark} {text}", attributes={"detail": text}, severity_text="ERROR"))
    for done in exporter.get_finished_logs():
        out.show(json.dumps([done.log_record.body, dict(done.log_record.attributes or {})], default=str))


SINKS: Final[dict[str, OutputSink]] = {
    "logging-message": OutputSink(_each(_message), share=1),
    "logging-args": OutputSink(_each(lambda log, mark, text: log.error("%s %s", mark, text))),
    "logging-extra": OutputSink(_each(lambda log, mark, text: log.error(mark, extra=_fields(text)))),
    "logging-exc-info": OutputSink(_each(_caught)),
    "logging-stack-info": OutputSink(_stack_info, takes=one_line),
    "structlog": OutputSink(
        _each(lambda to, mark, text: to.error(mark, **_fields(text)), "structlog"), needs=("structlog",)
    ),
    "structlog-exception": OutputSink(_each(_caught, "structlog"), needs=("structlog",)),
    "warnings": OutputSink(_warnings),
    "threading": OutputSink(_each(lambda _log, mark, text: _thread(mark, text))),
    "asyncio": OutputSink(_asyncio),
    "unraisable": OutputSink(_each(lambda _log, mark, text: _UnraisableSink(mark, text))),
    "subprocess-stderr": OutputSink(_subprocess, ours=True),
    "excepthook": OutputSink(_excepthook, share=6),
    "otel-span": OutputSink(_spans, needs=("opentelemetry", "opentelemetry.sdk")),
    "otel-headers": OutputSink(_headers, share=1, needs=("opentelemetry", "opentelemetry.sdk")),
    "otel-log": OutputSink(_logs, needs=("opentelemetry", "opentelemetry.sdk")),
    "httpx2": OutputSink(partial(_httpx_like, name="httpx2"), needs=("httpx2",), takes=one_line, share=6),
    "httpx": OutputSink(partial(_httpx_like, name="httpx"), needs=("httpx",), takes=one_line, share=6),
    "requests": OutputSink(_requests, needs=("requests",), takes=one_line, share=6),
    "aiohttp": OutputSink(_aiohttp, needs=("aiohttp",), takes=one_line, share=6),
    "stream-filter": OutputSink(_stream_filter, share=1, ours=True),
    "browser-files": OutputSink(_browser_files, share=6, ours=True),
    "evasions": OutputSink(_evade, share=1),
    "long-lines": OutputSink(_each(_message), share=1),
}
