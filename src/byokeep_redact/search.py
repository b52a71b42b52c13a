"""The search through files, trees, processes and bytes: windows of an input, the layers in each, the streams in those.

What is looked for is the business of whoever inherits `ScanTargets`; every layer of every source is brought to it, and
the account is kept here. Rules: a finding names what, where and how encoded, never the value, and a name that holds one
is never shown; a source that could not be read, or not to the end, is listed and makes the report not clean; nothing
searched is not clean; links inside a tree are not followed. Limits bound time and memory; reaching one is reported.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Final

from byokeep_redact.canary import Canary
from byokeep_redact.containers import STRONG_MAGIC, Haystack, OpenedContainer, open_bare_deflate, open_streams
from byokeep_redact.decoders import SQUEEZED_OUT, Layer, Seen, decoded
from byokeep_redact.known import KnownValues

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
        return _together((self, other))


def _together(reports: Iterable[Report]) -> Report:
    """Return the outcome of several searches as that of one, without a control."""
    parts = list(reports)
    return Report(
        tuple(one for part in parts for one in part.findings),
        sum(part.sources_scanned for part in parts),
        sum(part.bytes_scanned for part in parts),
        tuple(one for part in parts for one in part.unreadable),
        sum(part.findings_dropped for part in parts),
        sum(part.denied for part in parts),
    )


Reader = Callable[[int, int], bytes]  # (offset, size) -> bytes, fewer at the end


@dataclass(slots=True)
class Search:
    """The state of the search through one source."""

    detector: ScanTargets
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
        for seen in self.detector.seen(layer):
            self._found(layer, seen)
        if layer.depth >= self.limits.depth:
            if STRONG_MAGIC.search(layer.data):
                self.troubles["nested_too_deep"] = None
            return
        for opened in self._opened(layer, haystack, stop):
            self._stream(layer, opened)
        for view in self.detector.decoded(layer):
            self.view_left -= len(view.data)
            if self.view_left < 0:
                self.troubles["work_limit"] = None
                return
            self.layer(view, Haystack(view.data, lambda _at, _size: b"", view.ends), len(view.data))

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
        data, depth = opened.data, layer.depth + 1

        def layer_of(window: bytes, at: int) -> Layer:
            first = () if at else (0,)
            return Layer(window, depth, lambda _at: opened.at, lambda _at, _size: opened.name, layer, first)

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
        findings = tuple(sorted(self.findings.values(), key=lambda found: found.offset))
        return Report(findings, 1, size, tuple(Unreadable(self.source, why) for why in self.troubles), self.dropped)


def _from(read: Reader, base: int) -> Reader:
    return lambda at, size: read(base + at, size)


def _ends_outside_run(data: bytes) -> bool:
    return not all(code in _RUN_BYTES for code in data[-16:])


_KERNEL: Final = frozenset((
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "efivarfs", "fusectl",
    "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs", "selinuxfs", "sysfs", "tracefs",
))  # fmt: skip
_GONE: Final = "enoent"
_LISTINGS: Final = 5  # of one folder in which files come and go


class ScanTargets(ABC):
    """A search through many places. `limits` hold for each source."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._clean: set[bytes] = set()  # digests of what was searched

    @property
    def withheld(self) -> int:
        """How often something was seen that is not reported. Here: never."""
        return 0

    @abstractmethod
    def seen(self, layer: Layer) -> Iterator[Seen]:
        """Yield what is in this layer."""

    def decoded(self, layer: Layer) -> Iterator[Layer]:
        """Yield the layers inside this one, one level deeper."""
        return decoded(layer)

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

        What `passes_over` says yes to is left out. Sockets, pipes, devices and what the kernel makes up (`/proc`,
        `/sys`), in which files have no end, hold nothing at rest: inside a tree they are left out too; named outright,
        they are reported. So is what is gone, and a folder in which something is gone at each look; a file inside a
        tree that is gone when it is to be opened was replaced or removed, and its folder is looked at again.
        """
        made_up = _made_up()

        def each(path: Path) -> Report:
            if _device(path.resolve()) in made_up:
                return Report(unreadable=(Unreadable(self._shown(path), "made_up_by_the_kernel"),))
            is_dir = os.path.isdir(path)  # noqa: PTH112 - `is_dir` raises for what it may not look at
            return _together(self._scan_tree(path, made_up)) if is_dir else self.scan_file(path)

        return _together(map(each, map(Path, paths)))

    def scan_proc(self, pids: Iterable[int] | None = None) -> Report:
        """Search the command line and environment of processes (default: all). Linux only.

        A process that ends meanwhile is passed over. One of this user that will not be read makes the report not clean;
        one of another user is counted in `denied`.
        """
        wanted = (
            [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()] if pids is None else list(pids)
        )
        return _together(self._scan_process(pid, name) for pid in wanted for name in ("cmdline", "environ"))

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

    def _scan_tree(self, top: Path, made_up: frozenset[int]) -> Iterator[Report]:
        """Search a folder and all below it. What is gone when it is opened is no source; the folder is listed again."""
        seen: set[str] = set()
        for _ in range(_LISTINGS):
            try:
                names = sorted({path.name for path in top.iterdir()} - seen)
            except OSError as error:
                yield _unreadable(self._shown(top), error)
                return
            seen.update(names)
            for name in names:
                path = Path(top, name)
                if self.passes_over(path):
                    continue
                found = self._scan_inside(path, made_up)
                if found.unreadable == (Unreadable(self._shown(path), _GONE),):
                    seen.discard(name)
                    found = replace(found, unreadable=())
                yield found
            if seen.issuperset(names):
                return
        yield Report(unreadable=(Unreadable(self._shown(top), "keeps_changing"),))

    def _scan_inside(self, path: Path, made_up: frozenset[int]) -> Report:
        source = self._shown(path)
        try:
            mode = path.lstat().st_mode
            target = os.fsencode(path.readlink()) if stat.S_ISLNK(mode) else b""
        except OSError as error:
            return _unreadable(source, error)
        if stat.S_ISREG(mode):
            return self.scan_file(path)
        if stat.S_ISDIR(mode):
            if _device(path) in made_up:
                return Report()
            return _together((self._scan_name(path, source), *self._scan_tree(path, made_up)))
        named = self._scan_name(path, source)
        return named + self.scan_bytes(target, source=f"{source} (link target)") if target else named

    def _scan(self, read: Reader, source: str) -> Report:
        """Search a source. The same bytes as of a clean one are clean: a database's files are full of copies."""
        data, before = read(0, self._limits.window), self.withheld
        if len(data) == self._limits.window:
            return self._search(read, source)
        digest = blake2b(data, digest_size=32).digest()
        if digest not in self._clean:
            report = self._search(lambda at, size: data[at : at + size], source)
            if not report.clean or self.withheld != before:
                return report
            self._clean.add(digest)
        return Report(sources_scanned=1, bytes_scanned=len(data))

    def _search(self, read: Reader, source: str) -> Report:
        search = Search(self, self._limits, source, self._limits.opened_bytes)
        size = search.input(
            read, lambda window, at: Layer(window, 0, lambda inside: at + inside, deflate_at=() if at else (0,))
        )
        return search.report(size)

    def _scan_name(self, path: Path, source: str) -> Report:
        """Search a file's own name; the name is no source of its own, so that an empty tree stays empty."""
        return Report(findings=self.scan_bytes(os.fsencode(path.name), source=f"{source} (name)").findings)

    def passes_over(self, path: Path) -> bool:
        """Return whether a path inside a tree is left out, with all that is below it. Here: never."""
        return False

    def _shown(self, path: Path) -> str:
        """Return the path with every part that holds what is looked for replaced by what it is."""
        if self._mark_of(str(path)) is None:
            return os.fsencode(path).decode("utf-8", "backslashreplace")
        shown = str(Path(*(self._mark_of(part) or part for part in path.parts)))
        return self._mark_of(shown) or os.fsencode(shown).decode("utf-8", "backslashreplace")

    def _mark_of(self, name: str) -> str | None:
        for one in self.scan_bytes(os.fsencode(name), source="").findings:
            return f"[{one.kind}:{one.fingerprint}]" if one.kind else f"[{one.label}]"
        return None


def _made_up() -> frozenset[int]:
    """Return the devices that are no storage but what the kernel tells as files. Linux only; empty elsewhere."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return frozenset()
    places = [mount.split(" ")[1] for mount in mounts if mount.split(" ")[2] in _KERNEL]
    unquoted = (re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place) for place in places)
    return frozenset(found for place in unquoted if (found := _device(Path(place))))


def _device(path: Path) -> int:
    """Return the number of the device that a path is on; 0, which none has, when it cannot be asked."""
    try:
        return path.lstat().st_dev
    except (OSError, ValueError):
        return 0


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


class Sweep(ScanTargets):
    """A search for `canaries`, compiled once and usable for many sources.

    Raises ValueError without canaries or for one too short to search for.
    """

    def __init__(self, canaries: Iterable[Canary], *, limits: Limits | None = None) -> None:
        super().__init__(limits)
        self._known = KnownValues(lambda _: "", squeezed=SQUEEZED_OUT + b",;")
        for canary in canaries:
            self._known.watch(canary.label, canary.searched)
        if not len(self._known):
            raise ValueError("no_canaries")

    def seen(self, layer: Layer) -> Iterator[Seen]:
        """Yield values that are at hand."""
        for start, end, hit in self._known.search(layer.data):
            names: tuple[str, ...] = ()
            if end - start > hit.end - hit.start:
                names = ("utf16" if b"\0" in layer.data[start:end] else "split",)
            yield Seen(start, end, hit.kind, names if hit.form == "raw" else (*names, hit.form))
