"""Scripted faults: what goes wrong, where, how often.

Rules
- A fault is checked when it is set; one that could not act is refused with a sentence that says why.
- Faults are taken in the order they were set; each is used ``times`` times and then gone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

MAX_FAULTS: Final = 200
MAX_TIMES: Final = 100_000
MAX_DELAY_S: Final = 60.0
_DEFAULT_DELAY_S: Final = {"hang": MAX_DELAY_S, "slow": 1.0, "late": 1.0}


class BadControlError(ValueError):
    """Control input that can not be used; the message says what to change."""


class FaultKind(StrEnum):
    """What goes wrong."""

    STATUS = "status"
    HANG = "hang"
    SLOW = "slow"
    RESET = "reset"
    REDIRECT = "redirect"
    GARBAGE = "garbage"
    HTML = "html"
    HUGE = "huge"
    EMPTY = "empty"
    ECHO_KEY = "echo_key"
    TRUNCATED = "truncated"
    WRONG_IDENTITY = "wrong_identity"
    LATE = "late"
    REFUSAL = "refusal"
    NO_SCOPE = "no_scope"
    FEIGNED = "feigned"


class Lie(StrEnum):
    """How an identity is wrong."""

    OTHER = "other"
    OTHER_CASE = "other_case"
    OTHER_NAME = "other_name"
    LOOKALIKE = "lookalike"
    MISSING_ID = "missing_id"
    NULL_ID = "null_id"
    EMPTY_ID = "empty_id"
    NUMERIC_ID = "numeric_id"
    TWO_ACCOUNTS = "two_accounts"
    NO_ACCOUNT = "no_account"
    DUPLICATE_KEYS = "duplicate_keys"
    CUT_JSON = "cut_json"
    ERROR_200 = "error_200"


class FaultPlace(StrEnum):
    """Where an echoed key stands."""

    BODY = "body"
    HEADER = "header"


class Encoding(StrEnum):
    """How an echoed key is written."""

    RAW = "raw"
    URL = "url"
    BASE64 = "base64"


@dataclass(slots=True, kw_only=True)
class SimFault:
    """One scripted fault. ``after`` lets the call take effect first and spoils only the answer."""

    id: int
    provider: str
    kind: FaultKind
    method: str = ""
    path: str = ""
    call: str = ""
    status: int | None = None
    delay_s: float = 0.0
    delay_max_s: float = 0.0
    location: str = ""
    retry_after_s: int | None = None
    place: FaultPlace = FaultPlace.BODY
    encoding: Encoding = Encoding.RAW
    lie: Lie = Lie.OTHER
    case: str = ""
    after: bool = False
    left: int = 1

    def matches(self, provider: str, method: str, path: str, call: str = "") -> bool:
        """Whether this fault is for that call; a path ending in ``*`` matches as a prefix."""
        if self.provider != provider or self.left <= 0 or (self.method and self.method != method):
            return False
        if self.call and self.call != call:
            return False
        if self.path.endswith("*"):
            return path.startswith(self.path[:-1])
        return not self.path or self.path == path

    def report(self) -> dict[str, Any]:
        """Return the fault as JSON-ready fields."""
        return {
            "id": self.id,
            "provider": self.provider,
            "match": {"method": self.method or None, "path": self.path or None, "call": self.call or None},
            "kind": str(self.kind),
            "status": self.status,
            "delay_s": self.delay_s,
            "delay_max_s": self.delay_max_s,
            "location": self.location or None,
            "retry_after_s": self.retry_after_s,
            "place": str(self.place),
            "encoding": str(self.encoding),
            "lie": str(self.lie),
            "case": self.case or None,
            "when": "after" if self.after else "before",
            "left": self.left,
        }


@dataclass(slots=True)
class FaultList:
    """The faults in force.

    Args:
        targets: Providers and platforms that a fault may name.
        cases: For each platform with an OAuth API, the refusals it knows.
    """

    targets: frozenset[str]
    cases: Mapping[str, frozenset[str]] = field(default_factory=dict)
    active: list[SimFault] = field(default_factory=list)
    _made: int = 0

    def add(self, spec: Mapping[str, Any]) -> SimFault:
        """Check and add a fault. Raises BadControlError."""
        if len(self.active) >= MAX_FAULTS:
            raise BadControlError(f"at most {MAX_FAULTS} faults at once")
        self._made += 1
        fault = parse(spec, self._made, self.targets)
        _check_platform(fault, spec, self.cases)
        self.active.append(fault)
        return fault

    def take(
        self, provider: str, method: str, path: str, call: str = "", barred: frozenset[FaultKind] = frozenset()
    ) -> SimFault | None:
        """Return the fault for this call and count its use; one of a barred kind could not act here and waits."""
        for fault in self.active:
            if fault.kind not in barred and fault.matches(provider, method, path, call):
                fault.left -= 1
                if fault.left <= 0:
                    self.active.remove(fault)
                return fault
        return None

    def clear(self) -> int:
        """Drop all faults and return how many there were."""
        count = len(self.active)
        self.active.clear()
        return count


_KNOWN: Final = frozenset(
    {
        "provider",
        "match",
        "kind",
        "status",
        "delay_s",
        "delay_max_s",
        "location",
        "retry_after_s",
        "place",
        "encoding",
        "lie",
        "case",
        "when",
        "times",
    }
)


def parse(spec: Mapping[str, Any], number: int, targets: frozenset[str]) -> SimFault:
    """Check one fault. Raises BadControlError."""
    unknown = sorted(set(spec) - _KNOWN)
    if unknown:
        raise BadControlError(f"unknown field {unknown[0]!r}; known: {', '.join(sorted(_KNOWN))}")
    if spec.get("provider") not in targets:
        raise BadControlError(f"provider must be one of {', '.join(sorted(targets))}")
    kind = FaultKind(choice(spec, "kind", FaultKind))
    match = spec.get("match") or {}
    if not isinstance(match, dict) or set(match) - {"method", "path", "call"}:
        raise BadControlError("match may have method, path and call only")
    fault = SimFault(
        id=number,
        provider=str(spec["provider"]),
        kind=kind,
        method=text(match, "method", 10).upper(),
        path=text(match, "path", 512),
        call=text(match, "call", 32),
        status=number_in(spec, "status", 200, 599),
        delay_s=_delay(spec, "delay_s", _DEFAULT_DELAY_S.get(kind, 0.0)),
        delay_max_s=_delay(spec, "delay_max_s", 0.0),
        location=text(spec, "location", 2048),
        retry_after_s=number_in(spec, "retry_after_s", 0, 86_400),
        place=FaultPlace(choice(spec, "place", FaultPlace, "body")),
        encoding=Encoding(choice(spec, "encoding", Encoding, "raw")),
        lie=Lie(choice(spec, "lie", Lie, "other")),
        case=text(spec, "case", 32),
        after=choice(spec, "when", ("before", "after"), "before") == "after",
        left=number_in(spec, "times", 1, MAX_TIMES) or 1,
    )
    if kind is FaultKind.STATUS and fault.status is None:
        raise BadControlError("kind status needs status")
    if fault.delay_max_s and fault.delay_max_s < fault.delay_s:
        raise BadControlError("delay_max_s may not be less than delay_s")
    if kind is FaultKind.REDIRECT and not fault.location:
        raise BadControlError("kind redirect needs location")
    return fault


def _check_platform(fault: SimFault, spec: Mapping[str, Any], cases: Mapping[str, frozenset[str]]) -> None:
    known = cases.get(fault.provider)
    only_there = (
        fault.kind in (FaultKind.REFUSAL, FaultKind.NO_SCOPE, FaultKind.FEIGNED)
        or fault.call
        or "lie" in spec
        or fault.case
    )
    if known is None and only_there:
        raise BadControlError(
            f"refusal, no_scope, feigned, lie, case and match.call are for {', '.join(sorted(cases))}"
        )
    if known is not None and fault.kind is FaultKind.REFUSAL and fault.case not in known:
        raise BadControlError(f"case must be one of {', '.join(sorted(known))}")


def _delay(spec: Mapping[str, Any], name: str, default: float) -> float:
    value = spec.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadControlError(f"{name} must be a number of seconds")
    if not 0 <= value <= MAX_DELAY_S:
        raise BadControlError(f"{name} must be between 0 and {MAX_DELAY_S:g}")
    return float(value)


def text(spec: Mapping[str, Any], name: str, longest: int) -> str:
    """Return an optional text field. Raises BadControlError."""
    value = spec.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > longest or any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise BadControlError(f"{name} must be text of at most {longest} characters, without control characters")
    return value


def number_in(spec: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    """Return an optional whole number. Raises BadControlError."""
    value = spec.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadControlError(f"{name} must be a whole number from {low} to {high}")
    return value


def choice(spec: Mapping[str, Any], name: str, allowed: Any, default: str | None = None) -> str:
    """Return a field that must be one of a few words. Raises BadControlError."""
    words = [str(word) for word in allowed]
    value = spec.get(name, default)
    if not isinstance(value, str) or value not in words:
        raise BadControlError(f"{name} must be one of {', '.join(words)}")
    return value
