"""The sinks of OpenTelemetry: spans, events, links and logs, with every header captured.

Rules: what an exporter is handed is what counts, so the exporter here stands where the project's own stands. Captured
headers are attributes of the form the instrumentations give them with ``capture headers: .*``.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from byokeep_redact.pack.corpus import Sample
from byokeep_redact.pack.draw import Draw
from byokeep_redact.pack.outlet import Marked, Outlet

HEADERS: Final = "span-headers"
_REQUEST: Final = (
    "authorization", "proxy-authorization", "cookie", "x-api-key", "x-goog-api-key", "x-vault-token", "x-acme-token",
    "x-acme-key", "x-acme-secret", "api-key", "x-auth-token", "x-csrf-token",
)  # fmt: skip
_RESPONSE: Final = ("set-cookie", "x-vault-token", "x-acme-session-token")
_ADDRESSES: Final = {
    "url.full": "https://api.example.com/v1/models?key={}&page=2", "url.query": "alt=json&access_token={}",
    "http.url": "https://api.example.com/cb?code={}&state=1", "http.target": "/v1/models?api_key={}",
    "url.full.fragment": "https://app.example.com/cb#access_token={}&token_type=bearer",
    "url.full.userinfo": "https://svc:{}@proxy.example.com/",
}  # fmt: skip


def header_samples(seed: str) -> list[Sample]:
    """Return a sample for each captured header and each attribute that holds an address; ``shape`` is its name."""
    draw, made = Draw(seed, HEADERS), []
    for direction, names in (("request", _REQUEST), ("response", _RESPONSE)):
        for name in names:
            value = draw.secret()
            text = {"cookie": f"sid={value}", "set-cookie": f"sid={value}; Path=/", "authorization": f"Bearer {value}"}
            made.append((f"http.{direction}.header.{name}", text.get(name, value), value))
    for name, place in _ADDRESSES.items():
        value = draw.secret()
        made.append((name, place.format(value), value))
    return [Sample(HEADERS, shape, text, (value.encode(),)) for shape, text, value in made]


@contextmanager
def _tracer(out: Outlet) -> Iterator[Any]:
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


def spans(out: Outlet, samples: Sequence[Marked]) -> None:
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


def headers(out: Outlet, samples: Sequence[Marked]) -> None:
    """Capture headers and addresses as attributes, each in a span of its own."""
    with _tracer(out) as tracer:
        for mark, text, name in samples:
            attribute = name.removesuffix(".fragment").removesuffix(".userinfo")
            value = [text] if ".header." in name else text
            with tracer.start_as_current_span(mark, attributes={attribute: value}):
                pass


def logs(out: Outlet, samples: Sequence[Marked]) -> None:
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
