"""The simulated vendors: reads a call and answers it from the tables of ``vendors.toml``.

A refusal is the first row of ``refusals`` whose conditions all hold; a call that none refuses gets the ``success`` of
its route. A row without ``message`` or ``code`` takes those of its HTTP status from ``statuses``. ``$name`` in a table
is replaced by a value of the call, the row or the key's state; a field of an absent value is left out, ``$none`` is
null.

Rules
- A vendor knows nothing of faults, logs or effects.
- A reply shows the presented key masked at most, as the vendor's own does.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from byokeep_sim.book import SimKeyState
from byokeep_sim.reply import SimReply, filled


@dataclass(frozen=True, slots=True, kw_only=True)
class SimCall:
    """One call as the vendor sees it. ``state`` is ``unknown`` for an unknown or missing key."""

    route: str
    state: SimKeyState | str
    key: str
    account: str
    headers: Mapping[str, str]
    seq: int
    both_credentials: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """A simulated vendor. ``key_headers`` are the (header, prefix) pairs in which it looks for the key."""

    name: str
    table: Mapping[str, Any]
    key_headers: tuple[tuple[str, str], ...]
    states: frozenset[str]

    def route(self, method: str, path: str) -> str:
        """Return the name of the route that serves this call, empty for none."""
        for name, place in self.table["routes"].items():
            served, _, pattern = place.partition(" ")
            if method == served and re.fullmatch(pattern, path):
                return str(name)
        return ""

    def error(self, status: int) -> SimReply:
        """Return the vendor's own error for an HTTP status."""
        return self._refused({"status": status}, {"limits": self.table.get("limits")})

    def answer(self, call: SimCall) -> SimReply:
        """Answer one call."""
        if not call.route:
            return self.error(404)
        states = self.table.get("values", {})
        values = {"seq": call.seq, "account": call.account, "masked": self._masked(call.key)}
        values |= {"limits": self.table.get("limits"), **states.get("default", {}), **states.get(call.state, {})}
        row = next((row for row in self.table["refusals"] if _holds(row, call)), None)
        if row is None or call.route == self.table.get("public"):
            success = self.table["success"][call.route]
            reply = SimReply(
                status=200, body=filled(success["body"], values), headers=_headers(success.get("headers", {}), values)
            )
        else:
            reply = self._refused(row, values)
        added: dict[str, str] = {}
        for row in self.table.get("headers", ()):
            if _holds(row, call) and row.get("answered", reply.status) == reply.status:
                added |= _headers(row["set"], values)
        return reply.with_headers(**added)

    def _refused(self, row: Mapping[str, Any], values: Mapping[str, Any]) -> SimReply:
        statuses, status, error = self.table["statuses"], row["status"], self.table["error"]
        rest = statuses.get("5xx", statuses["other"]) if status >= 500 else statuses["other"]
        row = {"message": "simulated error", "code": status, **statuses.get(str(status), rest), **row}
        headers = _headers({**error.get("headers", {}), **row.get("headers", {})}, values)
        return SimReply(status=status, body=filled(error["body"], filled(row, values)), headers=headers)

    def _masked(self, key: str) -> str:
        """Mask a key the way the vendor does; a short key is masked completely."""
        head, tail, filler = self.table.get("mask", (0, 0, ""))
        return f"{key[:head]}{filler}{key[-tail:]}" if len(key) > 2 * (head + tail) else filler


def _holds(row: Mapping[str, Any], call: SimCall) -> bool:
    return (
        call.state in row.get("states", (call.state,))
        and call.state not in row.get("not_states", ())
        and call.route in row.get("routes", (call.route,))
        and call.route not in row.get("not_routes", ())
        and call.key.startswith(row.get("key_starts", ""))
        and not ("no_key" in row and call.key)
        and not ("both_credentials" in row and not call.both_credentials)
        and row.get("missing_header") not in call.headers
    )


def _headers(table: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, str]:
    made: dict[str, Any] = {}
    for name, value in filled(table, values).items():
        made |= value if isinstance(value, dict) else {name: value}
    return made


def _vendor(name: str, table: Mapping[str, Any]) -> Vendor:
    rare = {SimKeyState.MANAGEMENT, SimKeyState.CAP_REACHED, SimKeyState.MAINTENANCE}
    return Vendor(
        name=name,
        table=table,
        key_headers=tuple((header, prefix) for header, prefix in table["key_headers"]),
        states=frozenset({*SimKeyState} - rare) | {*table.get("extra_states", ())},
    )


_TABLES: Final = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
VENDORS: Final[Mapping[str, Vendor]] = {name: _vendor(name, table) for name, table in _TABLES.items()}
