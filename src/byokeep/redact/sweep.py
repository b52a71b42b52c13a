"""The leak search: are any of these known values in these bytes, files or processes, in any encoding?

Rules: a finding names what, where and how encoded, never the value; a source that could not be read, or not to the end,
is listed and makes the report not clean; nothing searched is not clean. Limits bound time and memory; reaching one is
reported like any other thing that could not be read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from byokeep.redact.canary import Canary
from byokeep.redact.containers import STRONG_MAGIC, Haystack, Opened, open_bare_deflate, open_streams
from byokeep.redact.needles import Engine, Hit, NeedleSet, Squeezed
from byokeep.redact.views import Layer, views

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
    """A canary seen. `offset` is in bytes from the start of the source; `encoding` reads from the outside in."""

    label: str
    source: str
    offset: int
    encoding: str


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


_Reader = Callable[[int, int], bytes]


@dataclass(slots=True)
class _Search:
    """The state of the search through one source."""

    needles: NeedleSet
    limits: Limits
    source: str
    opened_left: int
    view_left: int = 0
    dropped: int = 0
    findings: dict[tuple[str, int], Finding] = field(default_factory=dict)  # by label and offset // _ONE_SIGHTING
    troubles: dict[str, None] = field(default_factory=dict)

    def input(self, read: _Reader, layer_of: Callable[[bytes, int], Layer]) -> int:
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

    def _window(self, read: _Reader, at: int) -> tuple[bytes, bool]:
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
        squeezed = Squeezed(layer.data)
        for hit in self.needles.search(squeezed):
            self._found(layer, squeezed, hit)
        if layer.depth >= self.limits.depth:
            if STRONG_MAGIC.search(layer.data):
                self.troubles["nested_too_deep"] = None
            return
        for opened in self._opened(layer, haystack, stop):
            self._stream(layer, opened)
        for view in views(layer, squeezed):
            self.view_left -= len(view.data)
            if self.view_left < 0:
                self.troubles["work_limit"] = None
                return
            self.layer(view, Haystack(view.data, lambda _at, _size: b""), len(view.data))

    def _opened(self, layer: Layer, haystack: Haystack, stop: int) -> Iterator[Opened]:
        for at in layer.deflate_at:
            if opened := open_bare_deflate(haystack, at, self._room()):
                yield opened
        yield from open_streams(haystack, stop, self._room)

    def _room(self) -> int:
        return max(0, min(self.limits.stream_bytes, self.opened_left))

    def _stream(self, layer: Layer, opened: Opened) -> None:
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

    def _found(self, layer: Layer, squeezed: Squeezed, hit: Hit) -> None:
        if len(self.findings) >= self.limits.findings:
            self.dropped += 1
            return
        start, end = squeezed.origin(hit.start), squeezed.origin(hit.end - 1) + 1
        offset, names = layer.chain(start, end - start)
        if end - start > hit.end - hit.start:
            names.append("utf16" if b"\0" in layer.data[start:end] else "split")
        if hit.encoding != "raw" or not names:
            names.append(hit.encoding)
        place = offset // _ONE_SIGHTING
        near = [self.findings.get((hit.label, place + step)) for step in (-1, 0, 1)]
        if not any(seen and abs(seen.offset - offset) < _ONE_SIGHTING for seen in near):
            self.findings[hit.label, place] = Finding(hit.label, self.source, offset, ">".join(names))

    def report(self, size: int) -> Report:
        return Report(
            tuple(sorted(self.findings.values(), key=lambda found: found.offset)),
            1,
            size,
            tuple(Unreadable(self.source, reason) for reason in self.troubles),
            self.dropped,
        )


def _from(read: _Reader, base: int) -> _Reader:
    return lambda at, size: read(base + at, size)


def _ends_outside_run(data: bytes) -> bool:
    return not all(code in _RUN_BYTES for code in data[-16:])


class Sweep:
    """A search for `canaries`, compiled once and usable for many sources.

    Raises ValueError without canaries or for one too short to search for, ImportError if `engine` is "hyperscan" and it
    is not installed ("auto" then uses the pure engine, which finds the same).
    """

    def __init__(self, canaries: Iterable[Canary], *, engine: Engine = "auto", limits: Limits | None = None) -> None:
        self._needles = NeedleSet(canaries, engine)
        self._limits = limits or Limits()

    def scan_bytes(self, data: bytes, *, source: str) -> Report:
        """Search bytes at hand. `source` is how findings name them."""
        return self._scan(lambda at, size: data[at : at + size], source)

    def scan_file(self, path: Path | str) -> Report:
        """Search one regular file, its name included. A file that cannot be read is reported, not raised."""
        path = Path(path)
        source = self._shown(path)
        named = self._scan_name(path, source)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            return named + _unreadable(source, error)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return named + Report(unreadable=(Unreadable(source, "not_a_regular_file"),))
            return named + self._scan(lambda at, size: _read_fully(handle, at, size), source)
        except OSError as error:
            return named + _unreadable(source, error)
        finally:
            os.close(handle)

    def scan_paths(self, paths: Iterable[Path | str]) -> Report:
        """Search files and whole trees, names and link targets included. Links inside a tree are not followed.

        Sockets, pipes and devices inside a tree hold nothing at rest and are passed over; named outright, they are
        reported.
        """
        total = Report()
        for path in map(Path, paths):
            total += self._scan_tree(path) if path.is_dir() else self.scan_file(path)
        return total

    def scan_proc(self, pids: Iterable[int] | None = None) -> Report:
        """Search the command line and environment of processes (default: all). Linux only.

        A process that ends meanwhile is passed over. One of this user that will not be read makes the report not clean;
        one of another user is counted in `denied`.
        """
        wanted = (
            [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()] if pids is None else list(pids)
        )
        total = Report()
        for pid in wanted:
            for name in ("cmdline", "environ"):
                total += self._scan_process(pid, name)
        return total

    def _scan_process(self, pid: int, name: str) -> Report:
        source = f"/proc/{pid}/{name}"
        try:
            data = Path(source).read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return Report()
        except PermissionError as error:
            owner = _owner(pid)
            if owner is None:
                return Report()
            return _unreadable(source, error) if owner == os.getuid() else Report(denied=1)
        except OSError as error:
            return _unreadable(source, error)
        return self.scan_bytes(data, source=source)

    def _scan_tree(self, top: Path) -> Report:
        total = Report()
        problems: list[OSError] = []
        for folder, names, files in os.walk(top, onerror=problems.append):
            for name in sorted(names + files):
                path = Path(folder, name)
                try:
                    mode = path.lstat().st_mode
                    target = os.fsencode(path.readlink()) if stat.S_ISLNK(mode) else b""
                except OSError as error:
                    total += _unreadable(self._shown(path), error)
                    continue
                if stat.S_ISREG(mode):
                    total += self.scan_file(path)
                    continue
                source = self._shown(path)
                total += self._scan_name(path, source)
                if target:
                    total += self.scan_bytes(target, source=f"{source} (link target)")
        for problem in problems:
            total += _unreadable(self._shown(Path(os.fsdecode(problem.filename))), problem)
        return total

    def _scan(self, read: _Reader, source: str) -> Report:
        search = _Search(self._needles, self._limits, source, self._limits.opened_bytes)
        size = search.input(
            read, lambda window, at: Layer(window, 0, lambda inside: at + inside, deflate_at=() if at else (0,))
        )
        return search.report(size)

    def _scan_name(self, path: Path, source: str) -> Report:
        """Search a file's own name; the name is no source of its own, so that an empty tree stays empty."""
        return Report(findings=self.scan_bytes(os.fsencode(path.name), source=f"{source} (name)").findings)

    def _shown(self, path: Path) -> str:
        """Return the path with every part that holds a canary replaced by that canary's label."""
        whole = self._label_in(str(path))
        if whole is None:
            return os.fsencode(path).decode("utf-8", "backslashreplace")
        parts = [(label and f"[{label}]") or part for part in path.parts for label in [self._label_in(part)]]
        shown = os.fsencode(Path(*parts)).decode("utf-8", "backslashreplace")
        return f"[{whole}]" if self._label_in(shown) else shown

    def _label_in(self, text: str) -> str | None:
        found = self.scan_bytes(os.fsencode(text), source="").findings
        return found[0].label if found else None


def scan_bytes(data: bytes, canaries: Iterable[Canary], *, source: str) -> list[Finding]:
    """Search bytes at hand for canaries and return the findings.

    Raises ValueError when the bytes could not be searched to the end, for an empty list would then say too much.
    """
    report = Sweep(canaries).scan_bytes(data, source=source)
    if report.unreadable and not report.findings:
        raise ValueError(report.unreadable[0].reason)
    return list(report.findings)


def _read_fully(handle: int, at: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size and (part := os.pread(handle, size, at)):
        parts.append(part)
        at, size = at + len(part), size - len(part)
    return b"".join(parts)


def _owner(pid: int) -> int | None:
    """Return the real uid of a process, or None when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("Uid:")), None)


def _unreadable(source: str, error: OSError) -> Report:
    code = errno.errorcode.get(error.errno or 0, "EIO").lower()
    return Report(unreadable=(Unreadable(source, code),))
