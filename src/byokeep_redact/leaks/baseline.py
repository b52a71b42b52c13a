"""The baseline: findings that somebody has looked at and gives a reason for, so that a scan speaks of new ones only.

An entry is known by rule, file and a fingerprint under the baseline's own key, so the file tells nobody a value and
four bytes of fingerprint confirm no guess. Rules: a live value cannot be put in a baseline; an entry that fits nothing
any more is reported; there is no comment that turns the scan off in a file, for whoever leaks a value could write it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from byokeep_redact.errors import Rejected
from byokeep_redact.leaks.fingerprints import KIND as LIVE
from byokeep_redact.walk import Finding

FORMAT: Final = "byokeep-leaks-baseline/1"
NO_REASON: Final = "not looked at yet"
_KEY: Final = re.compile(r"[0-9a-f]{64}")
_PRINT: Final = re.compile(r"[0-9a-f]{8}")
_FIELDS: Final = ("rule", "source", "fingerprint", "reason")


@dataclass(frozen=True, slots=True, order=True)
class BaselineEntry:
    """A known finding. `source` is relative to the baseline's directory."""

    source: str
    rule: str
    fingerprint: str
    reason: str = field(default=NO_REASON, compare=False)


@dataclass(frozen=True, slots=True)
class Baseline:
    """Known findings and the key of their fingerprints."""

    key: bytes = field(repr=False)
    entries: frozenset[BaselineEntry] = frozenset()

    @classmethod
    def new(cls) -> Baseline:
        """Return an empty one with a fresh key."""
        return cls(secrets.token_bytes(32))

    def known(self, finding: Finding, folder: Path) -> BaselineEntry | None:
        """Return the entry that a finding fits, or None."""
        wanted = entry_of(finding, folder)
        return next((entry for entry in self.entries if entry == wanted), None) if finding.kind != LIVE else None

    def document(self) -> str:
        """Return the JSON form."""
        rows = [{name: getattr(entry, name) for name in _FIELDS} for entry in sorted(self.entries)]
        return json.dumps({"format": FORMAT, "key": self.key.hex(), "findings": rows}, indent=1) + "\n"


def entry_of(finding: Finding, folder: Path) -> BaselineEntry:
    """Return the entry for a finding. `folder` is where the baseline stands."""
    return BaselineEntry(os.path.relpath(finding.source, folder), finding.label, finding.fingerprint)


def written(findings: Iterable[Finding], folder: Path, before: Baseline) -> Baseline:
    """Return a baseline of these findings, with the reasons of `before`; live values are left out."""
    reasons = {entry: entry.reason for entry in before.entries}
    entries = {entry_of(finding, folder) for finding in findings if finding.kind != LIVE}
    return Baseline(
        before.key,
        frozenset(BaselineEntry(one.source, one.rule, one.fingerprint, reasons.get(one, NO_REASON)) for one in entries),
    )


def read(path: Path) -> Baseline:
    """Read a baseline file.

    Raises:
        Rejected: ``baseline_unreadable``, or ``bad_baseline`` with the ``part`` that is wrong.
    """
    try:
        data: Any = json.loads(path.read_bytes())
    except OSError:
        raise Rejected("baseline_unreadable", next_step="Check the path, or make one with --write-baseline.") from None
    except (ValueError, RecursionError):
        raise _bad("json") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise _bad("format")
    if data.keys() != {"format", "key", "findings"} or not isinstance(data["findings"], list):
        raise _bad("fields")
    if not isinstance(data["key"], str) or not _KEY.fullmatch(data["key"]):
        raise _bad("key")
    return Baseline(bytes.fromhex(data["key"]), frozenset(_entry(row) for row in data["findings"]))


def _entry(row: object) -> BaselineEntry:
    if (
        not isinstance(row, dict)
        or row.keys() != set(_FIELDS)
        or not all(isinstance(row[name], str) for name in _FIELDS)
    ):
        raise _bad("findings")
    if not _PRINT.fullmatch(row["fingerprint"]):
        raise _bad("fingerprint")
    return BaselineEntry(row["source"], row["rule"], row["fingerprint"], row["reason"])


def _bad(part: str) -> Rejected:
    return Rejected("bad_baseline", next_step="Mend the file, or make a new one with --write-baseline.", part=part)
