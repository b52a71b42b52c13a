"""The result of a scan as SARIF 2.1.0, for the code hosts and editors that read it.

Rules: like every other form it carries no value; known findings are there, as suppressed; what could not be read makes
the run unsuccessful, so that no reader takes it for clean.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from byokeep_redact import __version__
from byokeep_redact.leaks.fingerprints import KIND as LIVE
from byokeep_redact.walk import Finding, Report

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def document(report: Report, known: Mapping[Finding, str], *, keyed: bool) -> dict[str, Any]:
    """Return the SARIF log of a scan.

    Args:
        report: The scan, known findings included.
        known: Findings of the baseline, with their reasons.
        keyed: Whether fingerprints of values stay the same from run to run, because a baseline gives their key.
    """
    names = sorted({_rule(finding) for finding in report.findings})
    seen: Counter[tuple[str, str]] = Counter()
    results = []
    for finding in report.findings:
        place = (_rule(finding), finding.source)
        results.append(_result(finding, names, seen[place], known.get(finding), keyed=keyed))
        seen[place] += 1
    driver = {
        "name": "byokeep",
        "semanticVersion": __version__,
        "rules": [{"id": name, "shortDescription": {"text": f"Secret: {name}"}} for name in names],
    }
    unread = [{"level": "error", "message": {"text": f"{one.source}: {one.reason}"}} for one in report.unreadable]
    nothing = not report.sources_scanned
    invocation: dict[str, Any] = {"executionSuccessful": not unread and not nothing}
    if unread:
        invocation["toolExecutionNotifications"] = unread
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(finding: Finding) -> str:
    return "live-value" if finding.kind == LIVE else finding.label


def _result(finding: Finding, names: Sequence[str], number: int, reason: str | None, *, keyed: bool) -> dict[str, Any]:
    rule = _rule(finding)
    region = {"startLine": finding.line} if finding.line else {"byteOffset": finding.offset, "byteLength": 1}
    place = f"{rule}\0{finding.source}\0{finding.encoding}\0{number}".encode()
    prints = {"byokeepPlace/v1": hashlib.sha256(place).hexdigest()[:32]}
    if keyed:
        prints["byokeepValue/v1"] = finding.fingerprint
    what = f"Live value {finding.label}" if finding.kind == LIVE else f"Secret ({finding.kind})"
    result: dict[str, Any] = {
        "ruleId": rule,
        "ruleIndex": names.index(rule),
        "level": "error",
        "message": {"text": f"{what}, {finding.encoding}, fingerprint {finding.fingerprint}"},
        "locations": [
            {"physicalLocation": {"artifactLocation": {"uri": quote(_file(finding.source))}, "region": region}}
        ],
        "partialFingerprints": prints,
    }
    if reason is not None:
        result["suppressions"] = [{"kind": "external", "justification": reason}]
    return result


def _file(source: str) -> str:
    return source.removesuffix(" (name)").removesuffix(" (link target)")
