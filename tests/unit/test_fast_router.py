"""The fast router: whatever is asked, the answer and the log line are those that the framework would give."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from starlette.types import Message

from byokeep.broker import app as broker_app
from byokeep.core.errors import Conflict, Denied, RateLimited, Unauthenticated, Unavailable
from byokeep.core.model import Actor, Environment, Role
from byokeep.http import guard, openapi
from byokeep.http.guard import FastRouter
from byokeep.http.request import PathId
from byokeep.jobs import effect, lease, switches

ID = "0b6c7a52-6a0e-4a53-9d1c-1c6f2b9f3a11"
WHO = UUID(int=7)
WISH = {"version": 1, "effect": "publish", "platform": "x", "account": "a", "lane": "api", "idempotency_key": "k" * 8}
JSON = {"content-type": "application/json"}
OUTCOMES: dict[str, Exception | None] = {
    "good": None, "denied": Denied("switch_closed", next_step="Wait."), "away": Unavailable("database_unavailable"),
    "held": Conflict("already_done", permit=WHO), "many": RateLimited("too_many_leases", retry_after_s=1),
    "broken": ZeroDivisionError(),
}  # fmt: skip
PATHS = (
    ("POST", f"/v1/jobs/{ID}/leases"), ("GET", f"/v1/leases/{ID}"), ("POST", f"/v1/leases/{ID}/permits"),
    ("POST", f"/v1/permits/{ID}/close"), ("POST", "/v1/switches/close"),
)  # fmt: skip
BODIES: Mapping[str, bytes] = {
    f"/v1/leases/{ID}/permits": json.dumps(WISH).encode(),
    f"/v1/permits/{ID}/close": b'{"outcome":"done"}',
    "/v1/switches/close": json.dumps({"client_id": ID, "reason": "leak"}).encode(),
}


class Lines:
    """Stands for log and records: keeps what would be written, without what differs from call to call."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []
        self.recorded: list[dict[str, Any]] = []

    def info(self, _event: str, **fields: Any) -> None:
        line = {name: fields[name] for name in fields if name not in ("took_ms", "request_id")}
        self.kept.append(line | {"recorded": tuple(map(str, self.recorded))})
        self.recorded.clear()

    error = info


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Any, Any, Lines, dict[str, str]]]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield _both(monkeypatch)


@pytest.fixture
def made(both: tuple[Any, Any, Lines, dict[str, str]]) -> tuple[Any, Any, Lines, dict[str, str]]:
    """The two applications as if nobody had called them: what they remember of callers lies in their middleware."""
    short, long, lines, outcome = both
    for api in (short, long):
        api.middleware_stack = None
    lines.kept.clear()
    lines.recorded.clear()
    outcome["is"] = "good"
    return both


def _both(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any, Lines, dict[str, str]]:
    """The broker's application twice, with the short way and without it, over flows that do what is in ``outcome``."""
    outcome = {"is": "good"}

    def flow(answer: Any) -> Any:
        async def act(*_: Any, **__: Any) -> Any:
            if (error := OUTCOMES[outcome["is"]]) is not None:
                raise error
            return answer

        return act

    async def auth(token: str, request_id: UUID, **_: bool) -> Actor:
        if token != "good":
            raise Unauthenticated("bad_token")
        return Actor(id=WHO, roles=frozenset({Role.RUNNER}), clients=None, request_id=request_id)

    monkeypatch.setattr(lease, "issue_lease", flow(None))
    monkeypatch.setattr("byokeep.jobs.broker_routes.lease_out", lambda _: {"lease_id": ID})
    monkeypatch.setattr(lease, "heartbeat", flow(5))
    granted = effect.IssuedPermit(effect.PermitId(WHO), SimpleNamespace(isoformat=lambda: "then"), 15)  # type: ignore[arg-type]
    monkeypatch.setattr(effect, "issue_permit", flow(granted))
    monkeypatch.setattr(effect, "close_permit", flow("done"))
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    closed = {"scope": "global", "client_id": None, "closed": True, "epoch": 1, "reason": "leak", "by": WHO, "at": now}
    killed = SimpleNamespace(**closed, store_cut_off=True, keyless=[], keyless_until=None)
    monkeypatch.setattr(switches, "close", flow(killed))
    lines = Lines()

    async def recorded(_app: Any, actor: Any, error: Any, *, request_id: UUID, **about: Any) -> None:
        lines.recorded.append({"error": error.code, "by": actor and actor.id, **about})

    monkeypatch.setattr(openapi, "record_refused_call", recorded)
    monkeypatch.setattr(guard, "get_log", lambda: lines)
    ports: Any = SimpleNamespace(environment=Environment.DEVELOPMENT, clock=None)
    short = broker_app.create_app(ports, auth, passwords=ports)
    monkeypatch.setattr(broker_app, "ALL_THE_TIME", frozenset())
    return short, broker_app.create_app(ports, auth, passwords=ports), lines, outcome


async def call(
    api: Any, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", query: bytes = b""
) -> tuple[int, dict[str, str], Any]:
    """One request without a network; the reply without its id."""
    sent: list[Message] = []
    parts = [body[:7], body[7:]]

    async def receive() -> Message:
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "query_string": query, "root_path": "", "scheme": "http", "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2), "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    await api(scope, receive, send)
    start, rest = sent[0], b"".join(message.get("body", b"") for message in sent[1:])
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    UUID(found.pop("x-request-id"))
    document = json.loads(rest) if rest else None
    if isinstance(document, dict):
        document.pop("request_id", None)
    found.pop("content-length", None)
    return start["status"], found, document


GOOD = {"authorization": "Bearer good"}
CASES: dict[str, dict[str, Any]] = {
    "as meant": {},
    "no token": {"headers": JSON},
    "bad token": {"headers": JSON | {"authorization": "Bearer bad"}},
    "bad token and bad body": {"headers": {"authorization": "Bearer bad"}, "body": b"{"},
    "another scheme": {"headers": JSON | {"authorization": "Basic good"}},
    "query": {"query": b"token=x"},
    "query and no token": {"query": b"token=x", "headers": JSON},
    "no body": {"body": b""},
    "broken body": {"body": b'{"a":1,"a":2}'},
    "unknown field": {"body": b'{"reason":"leak","more":1}'},
    "long body": {"body": b'{"reason":"' + b"x" * 20_000 + b'"}'},
    "other media type": {"headers": GOOD | {"content-type": "text/plain"}},
    "packed": {"headers": GOOD | JSON | {"content-encoding": "gzip"}},
    "other method": {"method": "DELETE"},
    "head": {"method": "HEAD"},
    "slash": {"path": lambda path: path + "/"},
    "double slash": {"path": lambda path: path.replace("/v1/", "//v1/")},
    "upper case": {"path": lambda path: path.upper()},
    "upper-case id": {"path": lambda path: path.replace(ID, ID.upper())},
    "no id": {"path": lambda path: path.replace(ID, "me")},
    "empty id": {"path": lambda path: path.replace(ID, "")},
    "blank id": {"path": lambda path: path.replace(ID, ID + " ")},
}


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("case", CASES)
async def test_short_way_answers_as_the_framework_does(
    made: tuple[Any, Any, Lines, dict[str, str]], method: str, path: str, case: str
) -> None:
    """Status, headers, document and log line are equal, for what is meant and for what is not."""
    short, long, lines, _ = made
    told = CASES[case]
    asked: dict[str, Any] = {
        "method": told.get("method", method), "path": told.get("path", lambda same: same)(path),
        "headers": told.get("headers", GOOD | JSON), "body": told.get("body", BODIES.get(path, b"")),
        "query": told.get("query", b""),
    }  # fmt: skip
    assert await call(short, **asked) == await call(long, **asked)
    assert len(lines.kept) == 2
    assert lines.kept[0] == lines.kept[1]
    if case == "as meant":
        assert lines.kept[0]["status"] in (200, 201)
        assert lines.kept[0]["route"] == path.replace(ID, f"{{{_name(path)}}}")


def _name(path: str) -> str:
    return {"jobs": "job_id", "leases": "lease_id", "permits": "permit_id"}.get(path.split("/")[2], "")


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("outcome", [name for name in OUTCOMES if name != "good"])
async def test_errors_leave_the_short_way_as_the_framework_sends_them(
    made: tuple[Any, Any, Lines, dict[str, str]], method: str, path: str, outcome: str
) -> None:
    """Refusals, failures and what nobody foresaw are the same problem documents, records and log lines."""
    short, long, lines, is_now = made
    is_now["is"] = outcome
    body = BODIES.get(path, b"")
    first, second = [await call(api, method, path, GOOD | JSON, body) for api in (short, long)]
    assert first == second
    assert first[0] >= 400
    assert lines.kept[0] == lines.kept[1]


async def test_short_way_is_taken(
    made: tuple[Any, Any, Lines, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The five routes are answered here: with the framework's routing broken they still work, others do not."""
    short, _, _, _ = made

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(short.router, "app", broken)
    monkeypatch.setattr(type(short.router), "__call__", broken)
    for method, path in PATHS:
        assert (await call(short, method, path, GOOD | JSON, BODIES.get(path, b"")))[0] in (200, 201)
    assert (await call(short, "GET", "/v1/self", GOOD))[0] == 503


def test_route_that_can_not_be_filled_stops_the_start() -> None:
    """A parameter of an unknown kind is a TypeError when the application is made, not a wrong value in a request."""
    routes, who = APIRouter(), Depends(uuid4)

    @routes.get("/a/{one}/{two}")
    async def plain(one: PathId, two: str, who: Any = who) -> None:
        """Not for the short way: ``two`` is text."""

    declared = [route for route in routes.routes if isinstance(route, APIRoute)]
    with pytest.raises(TypeError, match="two cannot be filled here"):
        FastRouter(lambda *_: None, declared)  # type: ignore[arg-type, return-value]
