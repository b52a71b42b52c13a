"""Spans as JSON lines, attributes allow-listed by the same rule as log fields.

Rules
- Only spans we open are exported; their attributes are ids, enums and integers.
- No exception text, no events, no baggage: a span says where, how long, and which code.
- What passes the list then passes the redactor, as log lines do.
- If the file cannot be written, spans are dropped, not printed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from byokeep.telemetry.log import SPAN_FIELDS, Lossy
from byokeep_redact.engine import default
from byokeep_redact.hooks.otel import RedactingExporter
from byokeep_redact.hooks.wall import Wall

_tracer: Final = trace.get_tracer("byokeep")


class _Lines(SpanExporter):
    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = Lossy(path)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            context = span.get_span_context()
            line = {
                "name": span.name,
                "trace": f"{context.trace_id:032x}" if context else None,
                "span": f"{context.span_id:016x}" if context else None,
                "start_ns": span.start_time,
                "end_ns": span.end_time,
                "attributes": dict(span.attributes or {}),
            }
            self._file.write(json.dumps(line) + "\n")
        return SpanExportResult.SUCCESS


def configure(process: str, path: Path) -> None:
    """Export this process's spans to ``path`` (JSON lines, created 0600)."""
    provider = TracerProvider(resource=Resource({"service.name": f"byokeep-{process}"}))
    provider.add_span_processor(SimpleSpanProcessor(RedactingExporter(_Lines(path), Wall(default()))))
    trace.set_tracer_provider(provider)


@contextmanager
def span(name: str, **attributes: str | int | UUID) -> Iterator[None]:
    """Open a span. Attributes outside the allow-list are dropped."""
    with _tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as current:
        for key, value in attributes.items():
            if key in SPAN_FIELDS:
                current.set_attribute(key, str(value) if isinstance(value, UUID) else value)
        yield
