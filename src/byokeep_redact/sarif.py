"""SARIF 2.1.0, in which code hosts read what was found: one log of one run.

Rule: a run that could not read everything, or had nothing to read, is marked as unsuccessful.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from byokeep_redact import __version__

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def log(
    rules: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]], unread: Iterable[str], *, nothing: bool
) -> dict[str, Any]:
    """Return a SARIF log.

    Args:
        rules: What the results may name.
        results: What was found.
        unread: What could not be read, and why.
        nothing: Nothing was there to read.
    """
    driver = {"name": "byokeep", "semanticVersion": __version__, "rules": list(rules)}
    notes = [{"level": "error", "message": {"text": text}} for text in unread]
    invocation: dict[str, Any] = {"executionSuccessful": not notes and not nothing}
    if notes:
        invocation["toolExecutionNotifications"] = notes
    run = {"tool": {"driver": driver}, "invocations": [invocation], "columnKind": "unicodeCodePoints"}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run | {"results": list(results)}]}
