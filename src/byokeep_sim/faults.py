"""Scripted faults: what goes wrong, where, how often; and how the input of a control call is checked.

Rules
- A fault is checked when it is set; one that could not act is refused with a sentence that says why.
- Faults are taken in the order they were set; each is used ``times`` times and then gone.
- Bad input of a control is answered by 400 with one sentence; a submitted secret is never repeated in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from inspect import isawaitable
from typing import Any, Final

from aiohttp import web

from byokeep_sim.book import BookFullError

MAX_FAULTS: Final = 200
MAX_TIMES: Final = 100_000
MAX_DELAY_S: Final = 60.0
LONGEST_SECRET: Final = 8192
_DEFAULT_DELAY_S: Final = {"hang": MAX_DELAY_S, "slow": 1.0, "late": 1.0}


class BadControlError(ValueError):
    """Control input that cannot be used; the message says what to change."""


class Spec(dict[str, Any]):
    """The fields of a control's body. Every method raises BadControlError."""

    def text(self, name: str, longest: int) -> str:
        """Return an optional text field."""
        value = self.get(name)
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > longest or any(ord(c) < 32 or ord(c) == 127 for c in value):
            raise BadControlError(f"{name} must be text of at most {longest} characters, without control characters")
        return value

    def needed(self, name: str, longest: int) -> str:
        """Return a text field that may not be empty."""
        value = self.text(name, longest)
        if not value:
            raise BadControlError(f"{name} is missing")
        return value

    def texts(self, name: str, longest: int, most: int) -> tuple[str, ...] | None:
        """Return an optional list of texts, None when it is absent."""
        values = self.get(name)
        if values is None:
            return None
        if not isinstance(values, list) or len(values) > most:
            raise BadControlError(f"{name} must be a list of at most {most} texts")
        return tuple(Spec({name: value}).needed(name, longest) for value in values)

    def flag(self, name: str) -> bool:
        """Return an optional truth value."""
        value = self.get(name, False)
        if not isinstance(value, bool):
            raise BadControlError(f"{name} must be true or false")
        return value

    def number(self, name: str, low: int, high: int) -> int | None:
        """Return an optional whole number."""
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise BadControlError(f"{name} must be a whole number from {low} to {high}")
        return value

    def seconds(self, name: str, low: float, high: float, default: float = 0.0) -> float:
        """Return an optional number of seconds."""
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise BadControlError(f"{name} must be a number of seconds between {low:.0f} and {high:.0f}")
        return float(value)

    def choice(self, name: str, allowed: Any, default: str | None = None) -> str:
        """Return a field that must be one of a few words."""
        words = [str(word) for word in allowed]
        value = self.get(name, default)
        if not isinstance(value, str) or value not in words:
            raise BadControlError(f"{name} must be one of {', '.join(words)}")
        return value


# What goes wrong.
FaultKind = StrEnum(
    "FaultKind",
    "STATUS HANG SLOW RESET REDIRECT GARBAGE HTML HUGE EMPTY ECHO_KEY TRUNCATED WRONG_IDENTITY LATE REFUSAL "
    "NO_SCOPE FEIGNED",
)


# How an identity is wrong.
Lie = StrEnum(
    "Lie",
    "OTHER OTHER_CASE OTHER_NAME LOOKALIKE MISSING_ID NULL_ID EMPTY_ID NUMERIC_ID TWO_ACCOUNTS NO_ACCOUNT "
    "DUPLICATE_KEYS CUT_JSON ERROR_200",
)


# Where an echoed key appears.
FaultPlace = StrEnum("FaultPlace", "BODY HEADER")


# How an echoed key is written.
Encoding = StrEnum("Encoding", "RAW URL BASE64")


@dataclass(slots=True, kw_only=True)
class SimFault:
    """One scripted fault: ``match`` says for which calls, ``when`` whether the call takes effect before it."""

    id: int
    provider: str
    match: dict[str, str | None]
    kind: FaultKind
    status: int | None
    delay_s: float
    delay_max_s: float
    location: str | None
    retry_after_s: int | None
    place: FaultPlace
    encoding: Encoding
    lie: Lie
    case: str | None
    when: str
    left: int

    @property
    def after(self) -> bool:
        """Whether the call takes effect and only its answer is spoiled."""
        return self.when == "after"

    def matches(self, provider: str, method: str, path: str, call: str) -> bool:
        """Whether this fault is for that call; a path ending in ``*`` matches as a prefix."""
        if self.provider != provider or self.match["method"] not in (None, method):
            return False
        wanted = self.match["path"] or "*"
        found = path.startswith(wanted[:-1]) if wanted.endswith("*") else path == wanted
        return found and self.match["call"] in (None, call)


_KNOWN: Final = {one.name for one in fields(SimFault)} - {"id", "left"} | {"times"}


@dataclass(slots=True)
class FaultList:
    """The faults in force.

    Args:
        targets: Providers and platforms that a fault may name.
        cases: For each platform with an OAuth API, the refusals it knows.
    """

    targets: frozenset[str]
    cases: Mapping[str, frozenset[str]]
    active: list[SimFault] = field(default_factory=list)
    _made: int = 0

    def add(self, spec: Mapping[str, Any]) -> SimFault:
        """Check and add a fault. Raises BadControlError."""
        if len(self.active) >= MAX_FAULTS:
            raise BadControlError(f"at most {MAX_FAULTS} faults at once")
        self._made += 1
        fault = self._parsed(Spec(spec))
        self._check_platform(fault, spec)
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

    def _parsed(self, spec: Spec) -> SimFault:
        unknown = sorted(set(spec) - _KNOWN)
        if unknown:
            raise BadControlError(f"unknown field {unknown[0]!r}; known: {', '.join(sorted(_KNOWN))}")
        if spec.get("provider") not in self.targets:
            raise BadControlError(f"provider must be one of {', '.join(sorted(self.targets))}")
        kind = FaultKind(spec.choice("kind", FaultKind))
        match = spec.get("match") or {}
        if not isinstance(match, dict) or set(match) - {"method", "path", "call"}:
            raise BadControlError("match may have method, path and call only")
        where = Spec(match)
        method, path, call = where.text("method", 10).upper(), where.text("path", 512), where.text("call", 32)
        fault = SimFault(
            id=self._made,
            provider=str(spec["provider"]),
            match={"method": method or None, "path": path or None, "call": call or None},
            kind=kind,
            status=spec.number("status", 200, 599),
            delay_s=spec.seconds("delay_s", 0, MAX_DELAY_S, _DEFAULT_DELAY_S.get(kind, 0.0)),
            delay_max_s=spec.seconds("delay_max_s", 0, MAX_DELAY_S, 0.0),
            location=spec.text("location", 2048) or None,
            retry_after_s=spec.number("retry_after_s", 0, 86_400),
            place=FaultPlace(spec.choice("place", FaultPlace, "body")),
            encoding=Encoding(spec.choice("encoding", Encoding, "raw")),
            lie=Lie(spec.choice("lie", Lie, "other")),
            case=spec.text("case", 32) or None,
            when=spec.choice("when", ("before", "after"), "before"),
            left=spec.number("times", 1, MAX_TIMES) or 1,
        )
        if kind is FaultKind.STATUS and fault.status is None:
            raise BadControlError("kind status needs status")
        if fault.delay_max_s and fault.delay_max_s < fault.delay_s:
            raise BadControlError("delay_max_s may not be less than delay_s")
        if kind is FaultKind.REDIRECT and not fault.location:
            raise BadControlError("kind redirect needs location")
        return fault

    def _check_platform(self, fault: SimFault, spec: Mapping[str, Any]) -> None:
        known = self.cases.get(fault.provider)
        of_platforms = fault.kind in (FaultKind.REFUSAL, FaultKind.NO_SCOPE, FaultKind.FEIGNED)
        if known is None and (of_platforms or fault.match["call"] or "lie" in spec or fault.case):
            raise BadControlError(
                f"refusal, no_scope, feigned, lie, case and match.call are for {', '.join(sorted(self.cases))}"
            )
        if known is not None and fault.kind is FaultKind.REFUSAL and fault.case not in known:
            raise BadControlError(f"case must be one of {', '.join(sorted(known))}")


def _object_of(body: bytes, known: str) -> Spec:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise BadControlError("the body must be JSON") from None
    if not isinstance(value, dict):
        raise BadControlError("the body must be a JSON object")
    if known and set(value) - set(known.split(", ")):
        raise BadControlError(f"known fields: {known}")
    return Spec(value)


def changing(path: str, act: Callable[[Spec], Any], known: str = "", *, status: int = 200) -> web.RouteDef:
    """Return the route of a control that changes something; what it refuses is answered by 400.

    Args:
        act: Makes the answer of the JSON object of the body.
        known: The fields that are allowed, with a comma and a blank between them; empty for any.
    """

    async def answered(request: web.Request) -> web.Response:
        try:
            made = act(_object_of(await request.read(), known))
            return web.json_response(await made if isawaitable(made) else made, status=status)
        except (BadControlError, BookFullError) as problem:
            return web.json_response({"error": str(problem)}, status=400)

    return web.post(f"/_sim/{path}", answered)
