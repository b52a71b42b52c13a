"""The self-test of a running instance: canaries where none belong, in requests that can only be refused.

Rules
- What is sent can change nothing: without a valid token; or with a body of the wrong type; or with an id that is none.
  A request that would act if it were accepted is sent without a token only.
- An instance that accepts one, breaks at one or cannot be reached leaves the answer unknown.
- Sending is the caller's: this module makes requests and evaluates what came back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from byokeep_redact.canary import PROVIDERS, Canary, new_canary
from byokeep_redact.scan import ENCODINGS
from byokeep_redact.search import Sweep
from byokeep_redact.selftest.pack import Verdict, worst

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_NOBODY: Final = "00000000-0000-4000-8000-000000000000"  # an id that no object has
_JSON: Final = "application/json"
_HERE: Final = "CANARY"


@dataclass(frozen=True, slots=True)
class Probe:
    """One request. ``label`` says operation and place; ``with_token``: send the operator's token along."""

    label: str
    method: str
    path: str = field(repr=False)
    canary: Canary
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    with_token: bool = False


@dataclass(frozen=True, slots=True)
class LivePlace:
    """What was found in one place. ``looked_at``: replies, or files and processes."""

    name: str
    looked_at: int
    found: int
    unknown: int
    details: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """What is known of the place; nothing looked at is unknown."""
        return "found" if self.found else "unknown" if self.unknown or not self.looked_at else "clean"


def probes(description: Mapping[str, Any]) -> list[Probe]:
    """Return the requests for an OpenAPI description. Empty for a document that is none."""
    made: list[Probe] = []
    kinds = cycle(PROVIDERS)
    for path, operations in description.get("paths", {}).items():
        for method in _METHODS:
            if isinstance(operations, Mapping) and method in operations:
                made += _for_operation(description, path, method.upper(), operations[method], kinds)
    return made


def _for_operation(
    document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any], kinds: Iterator[str]
) -> Iterator[Probe]:
    for place, fields, with_token in _places(document, path, method, operation):
        label, value = f"{method} {path} {place}", new_canary(next(kinds))
        key = value.decode()
        body = fields.get("body")
        yield Probe(
            label,
            method,
            path=fields.get("path", _filled(path, operation)).replace(_HERE, quote(key, safe="")),
            canary=Canary(label, value),
            headers={name: text.replace(_HERE, key) for name, text in fields.get("headers", {}).items()},
            body=None if body is None else body.replace(_HERE, key).encode(),
            with_token=with_token,
        )


def _places(
    document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield each input of an operation, the request with the canary in it, and whether a token is sent along."""
    empty = _filled(path, operation)
    yield "query", {"path": f"{empty}?value={_HERE}&{_HERE}=1"}, method == "GET"
    yield "token", {"headers": {"Authorization": f"Bearer {_HERE}"}}, False
    headers = {"X-Api-Key": _HERE, "Cookie": f"session={_HERE}", "X-Request-Id": _HERE, "User-Agent": _HERE}
    yield "headers", {"headers": headers}, False
    yield "body", {"body": _HERE, "headers": {"Content-Type": _HERE}}, False
    for item in _ids(operation):
        typed = item.get("schema", {}).get("format") == "uuid"
        filled = _filled(path.replace(f"{{{item['name']}}}", _HERE), operation)
        yield f"path {item['name']}", {"path": filled}, typed or method == "GET"
    schema = _schema(document, operation)
    for place, body in _bodies(schema) if schema else ():
        yield place, {"body": body, "headers": {"Content-Type": _JSON}}, True


def _ids(operation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [item for item in operation.get("parameters", []) if item.get("in") == "path"]


def _filled(path: str, operation: Mapping[str, Any]) -> str:
    for item in _ids(operation):
        path = path.replace(f"{{{item['name']}}}", _NOBODY)
    return path


def _schema(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the schema of a JSON body that is an object with something required; None if there is none."""
    found = operation.get("requestBody", {}).get("content", {}).get(_JSON, {}).get("schema", {})
    if "$ref" in found:
        for part in found["$ref"].removeprefix("#/").split("/"):
            document = document.get(part, {})
        found = document
    return found if found.get("properties") else None


def _bodies(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Bodies of which each alone must be refused: another type at the top, a broken end, a field of the wrong type."""
    yield "body of another type", '["CANARY"]'
    yield "body cut off", '{"value": "CANARY'
    for name, about in schema["properties"].items():
        types = _types(about)
        wrong = '"CANARY"' if {"array", "object"} & types else '["CANARY"]'
        if "string" not in types or wrong != '"CANARY"':
            yield f"body field {name}", f'{{"{name}": {wrong}, "CANARY": "CANARY"}}'


def _types(about: Mapping[str, Any]) -> set[str]:
    found = {str(about["type"])} if "type" in about else set()
    for inner in (*about.get("anyOf", ()), *about.get("oneOf", ())):
        found |= _types(inner)
    return found or {"object", "string"}  # a reference or anything goes: not known to be wrong


def search_for(made: Sequence[Probe]) -> Sweep:
    """Return the search for the canaries of all probes. Raises ValueError for none."""
    return Sweep([probe.canary for probe in made])


def evaluate_replies(sent: Sequence[tuple[Probe, int, bytes]], search: Sweep) -> LivePlace:
    """Search every reply for every canary, and say whether each request was refused as it had to be.

    What came back on a request is its status, 0 = nothing, and the content.
    """
    details, found, unknown = [], 0, 0
    for probe, status, content in sent:
        reading = probe.method == "GET" and 200 <= status < 300
        if content:
            report = search.scan_bytes(content, source=probe.label)
            if report.findings:
                found += 1
                details.append(f"{probe.label}: given back as {report.findings[0].encoding}")
            elif report.unreadable:
                unknown += 1
                details.append(f"{probe.label}: {report.unreadable[0].reason}")
        if not reading and not 400 <= status < 500:
            unknown += 1
            details.append(f"{probe.label}: status {status}")
    return LivePlace("answers", len(sent), found, unknown, tuple(details))


def evaluate_files(name: str, path: Path, search: Sweep) -> LivePlace:
    """Search a file or directory for every canary; nothing there to search is unknown."""
    report = search.scan_paths([path])
    details = [f"{one.source}: {one.label} as {one.encoding}" for one in report.findings]
    details += [f"{one.source}: {one.reason}" for one in report.unreadable]
    unknown = len(report.unreadable) or int(not report.findings and not report.clean)
    return LivePlace(name, report.sources_scanned, len(report.findings), unknown, tuple(details))


def evaluate_control() -> LivePlace:
    """Plant fresh canaries in every encoding and see that the same search finds them."""
    planted = {name: Canary(name, new_canary("openai")) for name in ENCODINGS}
    search = Sweep(planted.values())
    missed = []
    for name, canary in planted.items():
        found = search.scan_bytes(b"GET /v1/x " + ENCODINGS[name](canary.value) + b"\n", source=name).findings
        if not any(one.label == name for one in found):
            missed.append(name)
    return LivePlace("search itself", len(planted), 0, len(missed), tuple(missed))


def overall(places: Sequence[LivePlace]) -> Verdict:
    """Return what is known of all places together; none is unknown."""
    return worst(place.verdict for place in places)
