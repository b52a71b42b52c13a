"""The checks of the surface's documents notice what they are for; what is read from a query has one meaning."""

from __future__ import annotations

import ast
import json
from typing import Any
from uuid import UUID

import pytest
from fastapi.routing import APIRoute

from byokeep.audit.routes import window_of
from byokeep.core.errors import Rejected, Unauthenticated
from byokeep.core.model import Actor
from byokeep.http.openapi import Routes, describe
from byokeep.http.request import Strict
from tests.support.surface import Surface
from tools.error_codes import Source, _calls, codes
from tools.openapi import faults_of


class Wish(Strict):
    """A body."""

    reason: str


REPLY = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}


def document(**responses: Any) -> dict[str, Any]:
    """A document with one operation; its replies are the defaults and those that are named."""
    good = {"description": "", "content": {"application/json": {"schema": REPLY}}}
    refused = {"$ref": "#/components/responses/Denied"}
    operation = {"operationId": "one", "responses": {"200": good, "403": refused} | responses}
    denied = {"description": "", "content": {"application/problem+json": {"schema": {"type": "object"}}}}
    return {"paths": {"/v1/things/{id}": {"get": operation}}, "components": {"responses": {"Denied": denied}}}


def test_documents_have_no_holes() -> None:
    """A lost reference, a schema that nothing names, one id for two operations, a reply of any shape: faults."""
    assert not list(faults_of("d", document()))
    assert [one.text for one in faults_of("d", document(**{"404": {"$ref": "#/components/responses/None"}}))] == [
        "#/components/responses/None leads nowhere"
    ]
    assert len(list(faults_of("d", document(**{"201": {"description": ""}})))) == 1
    unused = document()
    unused["components"]["schemas"] = {"Old": {}}
    assert [one.text for one in faults_of("d", unused)] == ["nothing names the schema Old"]
    twice = document()
    twice["paths"]["/v1/others"] = twice["paths"]["/v1/things/{id}"]
    assert [one.text for one in faults_of("d", twice)] == ["two operations are called one"]


@pytest.mark.parametrize(
    ("status", "media", "body", "word"),
    [
        (409, "application/problem+json", {}, "not documented"),
        (200, "text/plain", {"id": "a"}, "as text/plain"),
        (200, "application/json", {"id": 1}, "at \\['id'\\]"),
        (200, "application/json", {}, "required"),
    ],
)
def test_answers_that_are_not_described_are_noticed(status: int, media: str, body: Any, word: str) -> None:
    """An undocumented status, another media type, a wrong and a missing field each fail; what is described passes."""
    surface = Surface(document())
    surface.check("GET", "/v1/things/1?a=b", 200, "application/json", b'{"id":"a"}')
    surface.check("GET", "/v1/things/1", 403, "application/problem+json", b"{}")
    surface.check("GET", "/v1/other", 599, "text/plain", b"")
    with pytest.raises(AssertionError, match=word):
        surface.check("GET", "/v1/things/1", status, media, json.dumps(body).encode())


def test_codes_are_found_where_they_are_raised() -> None:
    """Constants, choices, local names and parameters are read, with fields and a code's own steps; no guess is made."""
    text = """
def one(name, late):
    step = "Wait."
    raise Denied("too_late" if late else "too_early", next_step=step, count=1)
def two(code):
    raise Conflict(code)
def three():
    two("taken")
def four():
    raise Rejected(made_up())
def five(code, what):
    raise Conflict(code, next_step=what)
def six(early):
    step = "Come later."
    if early:
        five("closed", step)
    step = "Come tomorrow."
    step = f"{step} Or {early}."
    five("over", f"{step} Not now.")
"""
    found, faults = codes([Source("byokeep.core.errors", "a.py", list(_calls(ast.parse(text))))])
    assert set(found) == {"too_late", "too_early", "taken", "closed", "over"}
    assert (found["closed"].steps, found["over"].steps) == (
        ["Come later."],
        ["Come tomorrow. Or {early}. Not now."],
    )
    assert (found["too_late"].steps, found["too_late"].fields, found["taken"].classes) == (
        ["Wait."],
        {"count"},
        {"Conflict"},
    )
    assert [one.line for one in faults] == [10]


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-05:00", "2026-01-31T12:00:00", "now"]
)
def test_times_that_are_none_in_utc_are_refused(text: str) -> None:
    """A time before the first or after the last in UTC, one without a zone, and no time at all are rejected input."""
    with pytest.raises(Rejected, match="bad_time field=since"):
        window_of({"since": text})


def test_who_asks_is_known_before_a_body_is_read() -> None:
    """Whatever order an endpoint names them in, the caller's token is looked at first; built when asked for."""

    async def nobody(_token: str, _request_id: UUID, **_: bool) -> Actor:
        raise Unauthenticated("bad_token")

    routes = Routes("acts", nobody, 403)

    @routes.post("/acts")
    async def act(body: Wish, actor: Actor) -> dict[str, str]:
        return {"by": str(actor.id), "why": body.reason}

    (route,) = routes.routes
    assert isinstance(route, APIRoute)
    assert "dependant" not in vars(route), "a start waits for no route that nobody asks for"
    assert [one.name for one in route.dependant.dependencies if one.name] == ["actor", "body"]
    assert route.openapi_extra == describe(Wish)
