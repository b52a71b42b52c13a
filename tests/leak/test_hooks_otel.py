"""The hook into OpenTelemetry: all parts of spans and log records, captured headers, baggage, a dead collector."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from opentelemetry import baggage, propagate
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from byokeep_redact.engine import RedactionFailed, Redactor
from byokeep_redact.hooks.otel import RedactingExporter
from byokeep_redact.hooks.wall import Wall
from tests.support.speech import guarded, leaks, opaque, phrase, shaped

Span = Any


def _fail(span: Span, value: str) -> None:
    def inner(kept: str) -> None:
        raise ValueError(f"refused {kept}")

    try:
        inner(value)
    except ValueError as error:
        span.record_exception(error)


# How a value gets into a span that is open.
SAYINGS: dict[str, Callable[[Span, str], None]] = {
    "name": lambda span, value: span.update_name(f"GET /v1/{value}"),
    "attribute": lambda span, value: span.set_attribute("reply", value),
    "attribute's name": lambda span, value: span.set_attribute(value, 1),
    "sequence": lambda span, value: span.set_attribute("all", ["a", value]),
    "event": lambda span, value: span.add_event(f"seen {value}"),
    "event's attribute": lambda span, value: span.add_event("seen", {"reply": value}),
    "exception": _fail,
    "status": lambda span, value: span.set_status(Status(StatusCode.ERROR, f"refused {value}")),
    "link": lambda span, value: span.add_link(_context("a"), {"reply": value}),
    "link's trace state": lambda span, value: span.add_link(_context(value)),
}
AROUND: dict[str, Callable[[TracerProvider, str], Span]] = {
    "scope": lambda provider, value: provider.get_tracer(f"lib {value}").start_span("work"),
    "scope's version": lambda provider, value: provider.get_tracer("lib", value).start_span("work"),
    "scope's address": lambda provider, value: provider.get_tracer("lib", schema_url=f"x:{value}").start_span("work"),
    "scope's attribute": lambda provider, value: provider.get_tracer("lib", attributes={"a": value}).start_span("work"),
    "trace state": lambda provider, value: provider.get_tracer("lib").start_span(
        "work", context=set_span_in_context(NonRecordingSpan(_context(value)))
    ),
}


def _context(state: str) -> SpanContext:
    sampled = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(7, 8, True, sampled, TraceState([("vendor", state)]))


def _written(spans: Sequence[ReadableSpan]) -> str:
    parts = []
    for span in spans:
        parts += [span.to_json(), repr(span.instrumentation_scope), repr(span.parent), repr(span.context)]
        parts += [repr(link.context) for link in span.links]
    return "\n".join(parts)


@pytest.mark.req("R1.2-2")
@pytest.mark.parametrize("saying", [*SAYINGS, *AROUND, "resource"])
def test_no_part_of_a_span_carries_a_value(saying: str) -> None:
    """Names, attributes, events, status, links, states, scopes and resources lose known and shaped values."""
    for on in (True, False):
        for value, known in ((opaque(), True), (shaped(), False)):
            exported = InMemorySpanExporter()
            resource = Resource({"service.name": "x", "note": value if saying == "resource" else "none"})
            provider = TracerProvider(resource=resource, shutdown_on_exit=False)
            provider.add_span_processor(SimpleSpanProcessor(exported))  # before the redactor is on
            with guarded(on, *([value] if known else [])):
                span = AROUND[saying](provider, value) if saying in AROUND else provider.get_tracer("l").start_span("w")
                if saying in SAYINGS:
                    SAYINGS[saying](span, value)
                span.end()
            said = _written(exported.get_finished_spans())
            assert said
            assert leaks(said, value) is not on, said
            assert "redaction_error" not in said


@pytest.mark.req("R1.2-2")
def test_every_kind_of_processor_is_guarded() -> None:
    """Processors that fan out concurrently, that export in batches and that print get clean spans."""
    for on in (True, False):
        value, printed, exported = opaque(), io.StringIO(), InMemorySpanExporter()
        with guarded(on, value):
            provider = TracerProvider(active_span_processor=ConcurrentMultiSpanProcessor(), shutdown_on_exit=False)
            provider.add_span_processor(BatchSpanProcessor(exported))
            provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=printed)))
            with provider.get_tracer("lib").start_as_current_span(f"work {value}"):
                pass
            provider.shutdown()
        assert exported.get_finished_spans()
        assert leaks(_written(exported.get_finished_spans()), value) is not on
        assert leaks(printed.getvalue(), value) is not on


def test_what_holds_no_secret_is_not_changed() -> None:
    """Ids, times, links, states, figures, routes and addresses come out as they went in."""
    exported = InMemorySpanExporter()
    attributes: dict[str, Any] = {
        "http.request.method": "GET", "http.route": "/v1/jobs/{id}", "http.response.status_code": 200, "ok": True,
        "url.full": "https://example.com/v1/items?page=2&sort=name#top", "all": ("a", "b"), "share": 0.5,
        "http.request.header.content-type": ("application/json",), "http.request.header.x-request-id": ("r-1",),
        "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }  # fmt: skip
    provider = TracerProvider(resource=Resource({"service.name": "x"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    spans = []
    for on in (True, False):
        with guarded(on):
            span = provider.get_tracer("lib", "1").start_span("GET /v1/jobs/{id}", attributes=attributes)
            span.add_event("seen", {"n": 1})
            span.add_link(_context("a"), {"n": 2})
            span.set_status(Status(StatusCode.ERROR, "it failed"))
            span.end()
        spans.append(json.loads(exported.get_finished_spans()[-1].to_json()))
    for name in ("context", "start_time", "end_time", "events"):
        assert (type(spans[0].pop(name)) is type(spans[1].pop(name))) is True
    assert spans[0] == spans[1]


SECRET_HEADERS = (
    "authorization", "cookie", "set-cookie", "x-api-key", "x-goog-api-key", "x-vault-token", "proxy-authorization",
    "x-acme-token", "acme-key", "x-very-secret", "X_Odd_Token", "x-auth", "sec-websocket-protocol",
)  # fmt: skip
ADDRESS = "/v1/models?key={0}&page=2&access_token={0}&sig={0}#access_token={0}"


@contextmanager
def _tracing(exported: SpanExporter) -> Iterator[Any]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    yield provider.get_tracer("capture everything")


def _captured(side: str, headers: Any) -> dict[str, list[str]]:
    """Attributes of all headers, under the names that the conventions prescribe for a capture of ``.*``."""
    return {f"http.{side}.header.{name.lower()}": headers.getall(name) for name in headers}


async def _serving(tracer: Any, values: list[str]) -> tuple[web.AppRunner, int]:
    """A server that traces all it gets, and answers with a cookie and a token."""

    async def answer(request: web.Request) -> web.Response:
        with tracer.start_as_current_span("server") as span:
            span.set_attributes(_captured("request", request.headers))
            span.set_attributes({"url.full": str(request.url), "url.query": request.query_string})
            span.set_attribute("http.target", request.raw_path)
        return web.Response(headers={"set-cookie": f"sid={values[0]}; Path=/", "x-acme-token": values[1]})

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


@pytest.mark.req("R8.3-5")
@pytest.mark.parametrize("known", [True, False])
async def test_captured_headers_and_addresses_carry_no_credential(known: bool) -> None:
    """With all headers of real exchanges captured, credentials are dropped, unknown ones too; the harmless stay."""
    for on in (True, False):
        values = [phrase() for _ in SECRET_HEADERS]
        exported = InMemorySpanExporter()
        with guarded(on, *(values if known else [])), _tracing(exported) as tracer:
            runner, port = await _serving(tracer, values)
            sent = dict(zip(SECRET_HEADERS, values, strict=True)) | {"x-plain": "kept", "accept": "text/html"}
            address = f"http://user:{values[2]}@127.0.0.1:{port}" + ADDRESS.format(values[0])
            sent.pop("authorization")
            async with aiohttp.ClientSession() as session:
                with tracer.start_as_current_span("client") as span:
                    async with session.get(address, headers=sent) as reply:
                        span.set_attributes(_captured("request", reply.request_info.headers))
                        span.set_attributes(_captured("response", reply.headers))
                        span.set_attributes({"url.full": address, "http.url": address})
                        back = ["/back?code=q7-W", "/back?state=q7-W"]  # captured headers are lists
                        away = {"http.response.header.location": back, "http.request.header.referer": back}
                        span.set_attributes(away)
                        span.set_attribute("rpc.grpc.request.metadata.x-acme-auth", [values[-2]])
            await runner.cleanup()
        said = _written(exported.get_finished_spans())
        assert len(exported.get_finished_spans()) == 2
        assert ("q7-W" in said) is not on
        for name, value in zip(SECRET_HEADERS, values, strict=True):
            shown = name == "authorization"  # it went as the user of the address
            assert shown or leaks(said, value) is not on, name
            assert (f"request.header.{name.lower()}" in said) is (not on), name
        for kept in ('"kept"', "text/html", "page=2", "/v1/models"):
            assert kept in said


class Dead(SpanExporter):
    """Fails with all of its spans in the error."""

    def __init__(self, kind: type[Exception] = ConnectionError) -> None:
        self._kind = kind

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise self._kind("could not send " + _written(spans))


@contextmanager
def _heard() -> Iterator[io.StringIO]:
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield heard
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@pytest.mark.req("R1.2-2")
def test_a_dead_collector_costs_spans_and_nothing_else() -> None:
    """When the exporter fails with all of a span in its error, no log has a value of it, and the work is done."""
    value, done = opaque(), 0
    for on in (True, False):
        with _heard() as heard, guarded(on, value), _tracing(Dead()) as tracer, tracer.start_as_current_span(value):
            done += 1
        assert "Exception while exporting" in heard.getvalue()
        assert leaks(heard.getvalue(), value) is not on
    for kind in (ConnectionError, ValueError):
        quiet = RedactingExporter(Dead(kind), Wall(Redactor()))
        with _heard() as heard, guarded(False), _tracing(quiet) as tracer, tracer.start_as_current_span(f"w {value}"):
            done += 1
        assert "could not send" not in heard.getvalue()
    assert done == 4


@pytest.mark.req("R1.2-2")
def test_a_span_that_can_not_be_cleaned_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the redactor fails, a span keeps its ids and times and is called ``redaction_error``."""

    def fails(*_: object) -> None:
        raise RedactionFailed("redaction_failed")

    value, exported = opaque(), InMemorySpanExporter()
    with guarded(), _tracing(exported) as tracer, monkeypatch.context() as broken:
        for name in ("text", "data", "value", "find"):
            broken.setattr(Redactor, name, fails)
        span = tracer.start_span(f"work {value}", attributes={"a": value})
        for say in SAYINGS.values():
            say(span, value)
        span.end()
    (told,) = exported.get_finished_spans()
    assert told.name == "redaction_error"
    assert told.context.span_id == span.get_span_context().span_id
    assert not leaks(_written([told]), value)


@pytest.mark.req("R1.2-2")
def test_baggage_does_not_carry_a_value_away() -> None:
    """Entries of baggage and trace state that hold a value, or are named like one, are not sent on; others are."""
    for on in (True, False):
        value, word = opaque(), phrase()
        context = baggage.set_baggage("reply", value)
        context = baggage.set_baggage("api_token", word, context)
        context = baggage.set_baggage("tenant", "acme", context)
        context = set_span_in_context(NonRecordingSpan(_context(value)), context)
        headers: dict[str, str] = {}
        with guarded(on, value):
            propagate.inject(headers, context)
        assert "tenant=acme" in headers["baggage"]
        for kept in (value, word):
            assert leaks(json.dumps(headers), kept) is not on
        assert "traceparent" in headers


@pytest.mark.req("R1.2-2")
def test_log_records_of_the_sdk_are_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies, attributes, names and resources of log records lose values; a failing redactor costs the record."""
    for on in (True, False):
        value, exported = opaque(), InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        provider = LoggerProvider(resource=Resource({"note": value}), shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleLogRecordProcessor(exported))
        with guarded(on, value), monkeypatch.context() as broken:
            for body in (f"seen {value}", {"a": [value]}):
                provider.get_logger(value).emit(
                    LogRecord(
                        timestamp=1,
                        severity_text=value,
                        severity_number=SeverityNumber.WARN,
                        body=body,
                        attributes={"reply": value, value: 1, "http.request.header.x-acme-token": "x"},
                        event_name=value,
                    )
                )
            told = exported.get_finished_logs()
            said = "\n".join(one.to_json() + repr(one.instrumentation_scope) for one in told)
            assert len(told) == 2
            assert leaks(said, value) is not on
            assert ("x-acme-token" in said) is not on
            if on:
                exported.clear()
                broken.setattr(Redactor, "value", lambda *_: (_ for _ in ()).throw(RedactionFailed("redaction_failed")))
                provider.get_logger(value).emit(LogRecord(timestamp=1, body={"a": value}))
                said = exported.get_finished_logs()[0].to_json()
                assert "redaction_error" in said
                assert not leaks(said, value)
