"""The hook into OpenTelemetry: spans and log records on their way to exporters, baggage on its way to other processes.

Rules
- Everything a span says is cleaned: name, attributes, events, status, links, trace state, scope, resource.
- Whatever is set to capture headers (``.*`` too), a header named like a credential is dropped, known or not.
- A record that cannot be cleaned keeps its ids and times and is called ``redaction_error``.
- When an exporter fails, its spans are gone: nothing of them is logged or kept.

It may not change a span that is still open, nor whether it is sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote_plus

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter, Setter, TextMapPropagator, default_getter, default_setter
from opentelemetry.sdk import _logs as logs
from opentelemetry.sdk import trace
from opentelemetry.sdk._logs import ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status, TraceState

from byokeep_redact.hooks.http import clean_query, clean_url
from byokeep_redact.hooks.wall import REDACTION_ERROR, PatchingHook, Wall

_HEADERS: Final = (
    "http.request.header.", "http.response.header.", "rpc.request.metadata.", "rpc.response.metadata.",
    "rpc.grpc.request.metadata.", "rpc.grpc.response.metadata.", "rpc.connect_rpc.request.metadata.",
    "rpc.connect_rpc.response.metadata.", "messaging.header.",
)  # fmt: skip
_ENDINGS: Final = (
    "token", "key", "secret", "auth", "session", "cookie", "signature", "password", "credential",
    "sec-websocket-protocol",  # in which pages, that can set no other header, pass a token
)  # fmt: skip
_HARMLESS: Final = frozenset({"idempotency-key", "sec-websocket-key"})
_URLS: Final = frozenset(
    {
        "url.full",
        "http.url",
        "http.target",
        "url.original",
        "http.request.header.referer",
        "http.response.header.location",
    }
)
_QUERIES: Final = frozenset({"url.query", "url.fragment"})


class Cleaned:
    """What spans and log records become on their way out.

    Args:
        wall: What cleans.
    """

    def __init__(self, wall: Wall) -> None:
        self._wall = wall
        self._resource: tuple[Resource, Resource] | None = None  # the last one: a process has one

    def span(self, span: ReadableSpan) -> ReadableSpan:
        """Return a copy of an ended span without secrets; never raises."""
        try:
            return self._span(span)
        except Exception:  # better no span than a raw one
            return ReadableSpan(
                REDACTION_ERROR, _bare(span.context), span.parent and _bare(span.parent), Resource({}),
                kind=span.kind, start_time=span.start_time, end_time=span.end_time,
            )  # fmt: skip

    def record(self, found: ReadWriteLogRecord) -> None:
        """Take the secrets out of a log record, in place; never raises."""
        record = found.log_record
        try:
            record.body = self._wall.value(record.body)
            record.attributes = self.attributes(record.attributes)
            record.event_name = self._line(record.event_name)
            record.severity_text = self._line(record.severity_text)
            found.resource = None if found.resource is None else self._same(found.resource)
            found.instrumentation_scope = self._scope(found.instrumentation_scope)
        except Exception:  # better no record than a raw one
            record.body, record.attributes, record.event_name = REDACTION_ERROR, {}, None
            record.severity_text, found.resource, found.instrumentation_scope = None, Resource({}), None

    def attributes(self, attributes: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return attributes without secrets and without headers named like credentials."""
        kept: dict[str, Any] = {}
        for name, value in (attributes or {}).items():
            header = next((name[len(lead) :] for lead in _HEADERS if name.startswith(lead)), None)
            if header is not None and self._credential(header.lower().replace("_", "-")):
                continue
            kept[name] = self._url(name, value) if name in _URLS or name in _QUERIES else value
        cleaned: dict[str, Any] = self._wall.value(kept)
        return cleaned

    def _credential(self, header: str) -> bool:
        return header not in _HARMLESS and (header.endswith(_ENDINGS) or self._wall.secret_name(header))

    def _url(self, name: str, value: Any) -> Any:
        if isinstance(value, (list, tuple)):  # headers are captured as lists
            return tuple(self._url(name, one) for one in value)
        if not isinstance(value, str):
            return value
        return (clean_query if name in _QUERIES else clean_url)(self._wall, value)

    def _span(self, span: ReadableSpan) -> ReadableSpan:
        wall = self._wall
        text = span.status.description
        return ReadableSpan(
            name=wall.line(clean_url(wall, span.name)),
            context=self._known(span.context),
            parent=span.parent and self._known(span.parent),
            resource=self._same(span.resource),
            attributes=self.attributes(span.attributes),
            events=[Event(wall.line(e.name), self.attributes(e.attributes), e.timestamp) for e in span.events],
            links=[Link(self._known(link.context), self.attributes(link.attributes)) for link in span.links],
            kind=span.kind,
            status=Status(span.status.status_code, None if text is None else wall.text(text)),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=self._scope(span.instrumentation_scope),
        )

    def _same(self, resource: Resource) -> Resource:
        if self._resource is None or self._resource[0] is not resource:
            clean = Resource(self.attributes(resource.attributes), self._wall.text(resource.schema_url))
            self._resource = (resource, clean)
        return self._resource[1]

    def _scope(self, scope: InstrumentationScope | None) -> InstrumentationScope | None:
        if scope is None:
            return None
        version, schema = self._line(scope.version), self._line(scope.schema_url)
        return InstrumentationScope(self._wall.line(scope.name), version, schema, self.attributes(scope.attributes))

    def _line(self, text: str | None) -> str | None:
        return None if text is None else self._wall.line(text)

    def _known(self, context: SpanContext) -> SpanContext:
        state = context.trace_state
        if not state:
            return context
        kept = [(key, item) for key, item in state.items() if not changed(self._wall, key, item)]
        return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags, TraceState(kept))


def changed(wall: Wall, name: str, value: str) -> bool:
    """Whether an entry of baggage or of a trace state holds a secret, encoded or by its name."""
    plain = unquote_plus(value)
    return wall.secret_name(name) or wall.text(f"{name}={plain}") != f"{name}={plain}" or wall.text(value) != value


def _bare(context: SpanContext) -> SpanContext:
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags)


class RedactingExporter(SpanExporter):
    """Cleans spans before another exporter has them; for a set-up without :func:`byokeep_redact.install`.

    Args:
        exporter: Who has the spans then. What it raises is dropped with its spans.
        wall: What cleans.
    """

    def __init__(self, exporter: SpanExporter, wall: Wall) -> None:
        self._exporter, self._cleaned = exporter, Cleaned(wall)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export cleaned copies; ``FAILURE`` for whatever goes wrong, without a word about it."""
        try:
            return self._exporter.export([self._cleaned.span(span) for span in spans])
        except Exception:  # a sink that is down costs its spans, not a line with their content
            return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Shut the other exporter down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the other exporter."""
        return self._exporter.force_flush(timeout_millis)


class CleanPropagator(TextMapPropagator):
    """Passes on what another propagator passes on, without secrets in baggage and trace state."""

    def __init__(self, inner: TextMapPropagator, wall: Wall) -> None:
        self.inner, self._wall = inner, wall

    def extract(self, carrier: Any, context: Context | None = None, getter: Getter[Any] = default_getter) -> Context:
        """Read as the other one reads."""
        return self.inner.extract(carrier, context, getter)

    def inject(self, carrier: Any, context: Context | None = None, setter: Setter[Any] = default_setter) -> None:
        """Write what the other one writes; baggage and trace state without the entries that hold secrets."""
        held: dict[str, str] = {}
        self.inner.inject(held, context)
        for key, value in held.items():
            cleans = self._wall.on and key.lower() in ("baggage", "tracestate")
            if kept := self._without_secrets(value) if cleans else value:
                setter.set(carrier, key, kept)

    def _without_secrets(self, header: str) -> str:
        try:
            entries = [(entry, *entry.strip().partition("=")[::2]) for entry in header.split(",")]
            return ",".join(entry for entry, key, item in entries if not changed(self._wall, unquote_plus(key), item))
        except Exception:
            return ""

    @property
    def fields(self) -> set[str]:
        """The fields of the other one."""
        return self.inner.fields


class TracingHook(PatchingHook):
    """Puts the wall between every provider, set up or not yet, and its processors."""

    def __init__(self, wall: Wall) -> None:
        super().__init__(wall)
        self._cleaned = Cleaned(wall)

    def place(self) -> None:
        """Take the SDK's fan-out to processors, and the exporters' calls."""
        for spans in (trace.SynchronousMultiSpanProcessor, trace.ConcurrentMultiSpanProcessor):
            self._take(spans, "on_end", self._on_end)
        for records in (logs.SynchronousMultiLogRecordProcessor, logs.ConcurrentMultiLogRecordProcessor):
            self._take(records, "on_emit", self._on_emit)
        propagate.set_global_textmap(CleanPropagator(propagate.get_global_textmap(), self._wall))

    def remove(self) -> None:
        """Give everything back."""
        super().remove()
        placed = propagate.get_global_textmap()
        if isinstance(placed, CleanPropagator):
            propagate.set_global_textmap(placed.inner)

    def _on_end(self, original: Callable[..., None], processors: Any, span: ReadableSpan) -> None:
        original(processors, self._cleaned.span(span))

    def _on_emit(self, original: Callable[..., None], processors: Any, record: ReadWriteLogRecord) -> None:
        self._cleaned.record(record)
        original(processors, record)
