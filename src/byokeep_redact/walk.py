"""The walk of a search: windows of an input, the layers in each window, the streams in each layer, files, processes.

What is looked for is the business of a detector; this module brings it every layer of every source and keeps the
account. Rules: a finding names what, where and how encoded, never the value; a source that could not be read, or not
to the end, is listed and makes the report not clean; nothing searched is not clean. Limits bound time and memory;
reaching one is reported like any other thing that could not be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from byokeep_redact.containers import STRONG_MAGIC, Haystack, OpenedContainer, open_bare_deflate, open_streams
from byokeep_redact.decoders import Layer
from byokeep_redact.encoded_patterns import Squeezed

_ONE_SIGHTING = 24  # bytes: the same canary seen again this close, through another view, is the same leak
_RUN_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=\r\n: \\")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one search, in layers, bytes and findings; the byte bounds hold per source unless said otherwise."""

    depth: int = 4
    window: int = 8 << 20
    overlap: int = 64 << 10
    longest_run: int = 64 << 20
    stream_bytes: int = 256 << 20  # of one compressed stream
    opened_bytes: int = 1 << 30
    view_factor: int = 64  # decoded text may come to this many times the text it was in
    findings: int = 1000

    def __post_init__(self) -> None:
        if not 0 < self.overlap < self.window:
            raise ValueError("overlap_not_below_window")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something seen. `offset` is in bytes from the start of the source; `encoding` reads from the outside in.

    `kind` says what it is and `fingerprint` which one, under a key; both are empty for a canary, whose label says it
    all. `line` counts from 1 and is 0 where there are no lines.
    """

    label: str
    source: str
    offset: int
    encoding: str
    kind: str = ""
    fingerprint: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A source that was not, or not wholly, searched, and a code that says why."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class ControlResult:
    """What the positive control planted, and which of it the search missed, as "location/encoding"."""

    planted: int
    missed: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """True when something was planted and all of it was found."""
        return self.planted > 0 and not self.missed


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a search.

    `findings_dropped` counts what was seen after the limit of findings was reached, once per view that shows it;
    `denied` counts processes of other users that this user may not look into.
    """

    findings: tuple[Finding, ...] = ()
    sources_scanned: int = 0
    bytes_scanned: int = 0
    unreadable: tuple[Unreadable, ...] = ()
    findings_dropped: int = 0
    denied: int = 0
    control: ControlResult | None = None

    @property
    def void(self) -> bool:
        """True when a positive control was run and the search missed part of it."""
        return self.control is not None and not self.control.passed

    @property
    def clean(self) -> bool:
        """True only if something was searched, all of it could be read, nothing was found and the control held."""
        searched = self.sources_scanned > 0 and self.bytes_scanned > 0
        return searched and not (self.findings or self.unreadable or self.void)

    def __add__(self, other: Report) -> Report:
        return Report(
            self.findings + other.findings,
            self.sources_scanned + other.sources_scanned,
            self.bytes_scanned + other.bytes_scanned,
            self.unreadable + other.unreadable,
            self.findings_dropped + other.findings_dropped,
            self.denied + other.denied,
            self.control or other.control,
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """What a detector saw at [start, end) of a layer; `names` are encodings that the detector itself saw through."""

    start: int
    end: int
    label: str
    names: tuple[str, ...] = ()
    kind: str = ""
    fingerprint: str = ""


class Detector(Protocol):
    """What is looked for, and which text encodings are taken off to look further."""

    def seen(self, layer: Layer, squeezed: Squeezed) -> Iterable[Seen]:
        """Return what is in this layer. `squeezed` is its squeezed form."""
        ...

    def decoded(self, layer: Layer, squeezed: Squeezed) -> Iterator[Layer]:
        """Yield the layers inside this one, one level deeper."""
        ...


Reader = Callable[[int, int], bytes]  # (offset, size) -> bytes, fewer at the end


@dataclass(slots=True)
class Search:
    """The state of the search through one source."""

    detector: Detector
    limits: Limits
    source: str
    opened_left: int
    view_left: int = 0
    dropped: int = 0
    findings: dict[tuple[str, int], Finding] = field(default_factory=dict)  # by label and offset // _ONE_SIGHTING
    troubles: dict[str, None] = field(default_factory=dict)

    def input(self, read: Reader, layer_of: Callable[[bytes, int], Layer]) -> int:
        """Search an input window by window; return its size. `layer_of` makes the layer of a window at an offset."""
        at = 0
        while True:
            window, last = self._window(read, at)
            self.view_left += self.limits.view_factor * (len(window) + 4096)
            stop = len(window) if last else len(window) - self.limits.overlap
            self.layer(layer_of(window, at), Haystack(window, _from(read, at)), stop)
            if last:
                return at + len(window)
            at += stop

    def _window(self, read: Reader, at: int) -> tuple[bytes, bool]:
        """Read a window that does not end inside a run of encoded text; say whether the input ends with it."""
        window = read(at, self.limits.window)
        if len(window) < self.limits.window:
            return window, True
        parts = [window]
        size = len(window)
        while not _ends_outside_run(parts[-1]):
            if size > self.limits.longest_run:
                self.troubles["encoded_run_too_long"] = None
                break
            more = read(at + size, 1 << 16)
            if not more:
                return b"".join(parts), True
            parts.append(more)
            size += len(more)
        return b"".join(parts), False

    def layer(self, layer: Layer, haystack: Haystack, stop: int) -> None:
        """Search a layer and all that is inside; streams that start at `stop` or later are for the next window."""
        squeezed = Squeezed(layer.data)
        for seen in self.detector.seen(layer, squeezed):
            self._found(layer, seen)
        if layer.depth >= self.limits.depth:
            if STRONG_MAGIC.search(layer.data):
                self.troubles["nested_too_deep"] = None
            return
        for opened in self._opened(layer, haystack, stop):
            self._stream(layer, opened)
        for view in self.detector.decoded(layer, squeezed):
            self.view_left -= len(view.data)
            if self.view_left < 0:
                self.troubles["work_limit"] = None
                return
            self.layer(view, Haystack(view.data, lambda _at, _size: b""), len(view.data))

    def _opened(self, layer: Layer, haystack: Haystack, stop: int) -> Iterator[OpenedContainer]:
        for at in layer.deflate_at:
            if opened := open_bare_deflate(haystack, at, self._room()):
                yield opened
        yield from open_streams(haystack, stop, self._room)

    def _room(self) -> int:
        return max(0, min(self.limits.stream_bytes, self.opened_left))

    def _stream(self, layer: Layer, opened: OpenedContainer) -> None:
        self.opened_left -= len(opened.data)
        if opened.trouble:
            self.troubles[opened.trouble] = None
        data = opened.data

        def layer_of(window: bytes, at: int) -> Layer:
            return Layer(
                window,
                layer.depth + 1,
                lambda _at: opened.at,
                lambda _at, _size: opened.name,
                layer,
                () if at else (0,),
            )

        if data:
            self.input(lambda at, size: data[at : at + size], layer_of)

    def _found(self, layer: Layer, seen: Seen) -> None:
        if len(self.findings) >= self.limits.findings:
            self.dropped += 1
            return
        offset, names = layer.chain(seen.start, seen.end - seen.start)
        encoding = ">".join([*names, *seen.names]) or "raw"
        place = offset // _ONE_SIGHTING
        near = [self.findings.get((seen.label, place + step)) for step in (-1, 0, 1)]
        if not any(one and abs(one.offset - offset) < _ONE_SIGHTING for one in near):
            finding = Finding(seen.label, self.source, offset, encoding, seen.kind, seen.fingerprint)
            self.findings[seen.label, place] = finding

    def report(self, size: int) -> Report:
        """Return the account of one source of `size` bytes."""
        return Report(
            tuple(sorted(self.findings.values(), key=lambda found: found.offset)),
            1,
            size,
            tuple(Unreadable(self.source, reason) for reason in self.troubles),
            self.dropped,
        )


def _from(read: Reader, base: int) -> Reader:
    return lambda at, size: read(base + at, size)


def _ends_outside_run(data: bytes) -> bool:
    return not all(code in _RUN_BYTES for code in data[-16:])
