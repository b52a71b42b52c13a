"""What a driver's failure means to a caller: one of our errors, with codes and constraint names and nothing else.

Rules
- Not knowing is Unavailable. A constraint that says "already there" is Conflict; one that says "not well-formed" is
  Rejected; a row policy, a missing grant or a refusal by the audit functions is Denied.
- The driver's text holds rows and parameters: it is dropped, and with it the exception that carried it.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

import psycopg

from byokeep.core.errors import ByokeepError, Conflict, Denied, Rejected, Unavailable

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")
# Raised by objects/audit.sql, rows.sql and subjects.sql; class BK is ours.
_AUDIT_RULES: Final = MappingProxyType(
    {
        "BK001": "append_only", "BK002": "unknown_event", "BK003": "not_this_writer", "BK004": "payload_differs",
        "BK005": "row_unrecorded", "BK007": "not_yours",
    }
)  # fmt: skip
_BUSY: Final = frozenset({"55P03", "57014", "40P01", "40001"})  # lock or statement timeout, deadlock, serialization
_GONE: Final = frozenset({"08", "53", "57", "58"})


def unavailable() -> Unavailable:
    """The database did not answer, or not in time."""
    return Unavailable("database_unavailable", next_step="Try again; if it stays, see that PostgreSQL runs.")


def busy() -> Unavailable:
    """The database works for others; the same question may be answered in a moment."""
    return Unavailable("database_busy", next_step="Try again in a moment.")


def translate(error: BaseException) -> ByokeepError:
    """Return our error for a driver's."""
    if isinstance(error, psycopg.OperationalError) and "unsupported startup parameter" in str(error):
        return Unavailable(
            "database_behind_pooler",
            next_step="This is PgBouncer or its like; name PostgreSQL itself, byokeep keeps its own pool.",
        )
    if not isinstance(error, psycopg.Error) or not error.sqlstate:
        return unavailable()
    state, constraint = error.sqlstate, error.diag.constraint_name or ""
    if state in _AUDIT_RULES:
        return Denied("audit_refused", rule=_AUDIT_RULES[state])
    if state == "BK006":  # objects/subjects.sql
        return Denied("second_admin_needed", next_step="Ask for it; another admin approves: `byokeep approve`.")
    if state in _BUSY:
        return busy()
    if state[:2] in _GONE:
        return unavailable()
    named = {"constraint": constraint} if _NAME.match(constraint) else {}
    if state in ("23505", "23P01"):
        return Conflict("conflict", next_step="It is there already: look it up, or use another name.", **named)
    if state[:2] == "23":
        return Rejected("constraint_violated", **named)
    if state[:2] == "22":
        return Rejected("value_not_accepted")
    if state == "42501":
        return Denied("database_denied")
    return Unavailable("database_error", state=state)
