"""The leak search for known values: are any of these in these bytes, files or processes, in any encoding?

Rule: a finding names what, where and how encoded, never the value.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from byokeep_redact.canary import Canary
from byokeep_redact.decoders import Layer, decoded
from byokeep_redact.encoded_patterns import EncodedPatterns, Engine, Hit, Squeezed
from byokeep_redact.scan_targets import ScanTargets
from byokeep_redact.walk import ControlResult, Finding, Limits, Report, Seen, Unreadable

__all__ = ["ControlResult", "Finding", "Limits", "Report", "Sweep", "Unreadable", "scan_bytes"]


class _Canaries:
    """The detector of values that are at hand."""

    def __init__(self, patterns: EncodedPatterns) -> None:
        self._patterns = patterns

    def seen(self, layer: Layer, squeezed: Squeezed) -> Iterator[Seen]:
        for hit in self._patterns.search(squeezed):
            yield _seen(layer, squeezed, hit)

    def decoded(self, layer: Layer, squeezed: Squeezed) -> Iterator[Layer]:
        return decoded(layer, squeezed)


def _seen(layer: Layer, squeezed: Squeezed, hit: Hit) -> Seen:
    start, end = squeezed.origin(hit.start), squeezed.origin(hit.end - 1) + 1
    names: tuple[str, ...] = ()
    if end - start > hit.end - hit.start:
        names = ("utf16" if b"\0" in layer.data[start:end] else "split",)
    return Seen(start, end, hit.label, names if hit.encoding == "raw" else (*names, hit.encoding))


class Sweep(ScanTargets):
    """A search for `canaries`, compiled once and usable for many sources.

    Raises ValueError without canaries or for one too short to search for, ImportError if `engine` is "hyperscan" and it
    is not installed ("auto" then uses the pure engine, which finds the same).
    """

    def __init__(self, canaries: Iterable[Canary], *, engine: Engine = "auto", limits: Limits | None = None) -> None:
        super().__init__(_Canaries(EncodedPatterns(canaries, engine)), limits)

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
