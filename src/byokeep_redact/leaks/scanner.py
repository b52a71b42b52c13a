"""The scanner: what looks like a secret, and live values by fingerprint, in files, trees and bytes, however hidden.

Rules: a finding carries place, type and keyed fingerprint, never the value, and a name that holds a secret is shown
masked; nothing searched is not clean; a file that cannot be read is listed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from byokeep_redact.decoders import Layer
from byokeep_redact.encoded_patterns import Engine, Squeezed
from byokeep_redact.leaks.fingerprints import Fingerprints, LiveValues
from byokeep_redact.leaks.marked_decoders import MarkedDecoders
from byokeep_redact.leaks.shapes import Shapes
from byokeep_redact.mask import Mask
from byokeep_redact.rules import Rules
from byokeep_redact.scan_targets import ScanTargets
from byokeep_redact.walk import Finding, Limits, Report, Seen

_BLOCK = 1 << 20
_STREAMS = frozenset(("gzip", "zlib", "zip", "zstd", "bzip2", "xz", "deflate"))


class _Detector:
    """Shapes and live values in every layer."""

    def __init__(self, shapes: Shapes, live: LiveValues | None, hidden: MarkedDecoders) -> None:
        self.shapes, self.live, self.hidden = shapes, live, hidden

    def seen(self, layer: Layer, squeezed: Squeezed) -> Iterator[Seen]:
        if self.live is not None:
            yield from self.live.find(layer.data)
        yield from self.shapes.find(layer.data)

    def decoded(self, layer: Layer, squeezed: Squeezed) -> Iterator[Layer]:
        return self.hidden.decoded(layer, squeezed)


class Scanner(ScanTargets):
    """A scan with one set of rules and, when given, the fingerprints of live values.

    Args:
        fingerprints: Live values to look for.
        rules: Shapes; the packaged ones unless given.
        key: Key of the fingerprints of findings (at least 16 bytes); drawn afresh unless given.
        exclude: Globs; a path inside a tree is left out when one fits its name or the whole path.
        weak: Report values that were not drawn by chance too, such as `password=changeme`.
        engine: "auto" takes hyperscan where it is installed; the results are the same.
        watch: Told the size of each file when it is done.

    Raises:
        RuleError: The rules cannot be used.
        ImportError: `engine` is "hyperscan" and it is not installed.
    """

    def __init__(
        self,
        *,
        fingerprints: Fingerprints | None = None,
        rules: Rules | None = None,
        key: bytes | None = None,
        exclude: Iterable[str] = (),
        weak: bool = False,
        engine: Engine = "auto",
        limits: Limits | None = None,
        watch: Callable[[int], None] | None = None,
    ) -> None:
        self._watch = watch
        live = None if fingerprints is None else LiveValues(fingerprints)
        self._shapes = Shapes(Mask(key), rules, engine, weak=weak)
        super().__init__(_Detector(self._shapes, live, MarkedDecoders(engine)), limits)
        self._exclude = tuple(exclude)
        self.excluded = 0

    @property
    def withheld(self) -> int:
        """How often a rule matched what is not reported: not drawn by chance, public by its form, an example."""
        return self._shapes.withheld

    def scan_file(self, path: Path | str) -> Report:
        """Search one regular file, its name included; findings in text get their line."""
        report = super().scan_file(path)
        if self._watch is not None:
            self._watch(report.bytes_scanned)
        return replace(report, findings=_with_lines(Path(path), report.findings)) if report.findings else report

    def passes_over(self, path: Path) -> bool:
        """Return whether a path fits one of the globs that were given."""
        fits = any(fnmatchcase(name, glob) for glob in self._exclude for name in (path.name, str(path)))
        self.excluded += fits
        return fits

    def _shown(self, path: Path) -> str:
        """Return the path with every part that holds a secret replaced by what it is."""
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        if self._mark_of(os.fsencode(path)) is None:
            return shown
        shown = str(Path(*(self._mark_of(os.fsencode(part)) or part for part in path.parts)))
        return self._mark_of(os.fsencode(shown)) or os.fsencode(shown).decode("utf-8", "backslashreplace")

    def _mark_of(self, name: bytes) -> str | None:
        found = self.scan_bytes(name, source="").findings
        return f"[{found[0].kind}:{found[0].fingerprint}]" if found else None


def _with_lines(path: Path, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Return the findings with line numbers where the file is text and no stream, and the finding not in the name."""
    lines: list[Finding] = []
    try:
        with path.open("rb") as handle:
            at, line, text = 0, 1, True
            for finding in sorted(findings, key=lambda one: one.offset):
                while at < finding.offset and text:
                    block = handle.read(min(_BLOCK, finding.offset - at))
                    text = bool(block) and b"\0" not in block
                    at += len(block)
                    line += block.count(b"\n")
                packed = finding.encoding.partition(">")[0] in _STREAMS
                in_text = text and not packed and not finding.source.endswith(" (name)")
                lines.append(replace(finding, line=line) if in_text else finding)
    except OSError:
        return findings
    return tuple(lines)
