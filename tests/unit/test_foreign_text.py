"""Foreign JSON with a text that nobody can write down is not read."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
from starlette.responses import Response

from byokeep.client.http import _decode
from byokeep.core.canonical import check_texts, read_json, strict_object
from byokeep.core.errors import Rejected, Unavailable
from byokeep.core.secret import Secret
from byokeep.http.request import parse_object
from byokeep.web.forward import Forwarder

BAD = [r"\ud83d", r"\ude00", r"a\ud83db", r"\ude00\ud83d", r"\u0000", r"a\u0000"]
GOOD = [r"\ud83d\ude00", "\U0001f600", r"\\ud83d", r"\\u0000", r"\u00e4", ""]
FORMS = ['{{"name":"{}"}}', '{{"{}":1}}', '{{"data":[{{"deep":["{}"]}}]}}']


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", BAD)
def test_half_a_character_or_a_nul_anywhere_is_refused(text: str, form: str) -> None:
    """In a value, a name, or deep inside: no object, from a platform or from a caller of ours."""
    body = form.format(text).encode()
    assert isinstance(json.loads(body), dict)
    assert strict_object(body) is None
    with pytest.raises(Rejected, match="bad_json"):
        parse_object(body)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", GOOD)
def test_whole_characters_are_read(text: str, form: str) -> None:
    """Pairs, letters of any script and texts that only look like an escape are read as they are."""
    body = form.format(text).encode()
    assert strict_object(body) == json.loads(body)
    assert parse_object(body) == json.loads(body)


def test_half_a_character_as_bytes_is_refused() -> None:
    """Bytes that are half a pair in another encoding are no way around."""
    assert strict_object(b'{"name":"\xed\xa0\xbd"}') is None


def test_deep_nesting_is_looked_through() -> None:
    """The search needs no stack of its own."""
    document: object = "\ud83d"
    for _ in range(100_000):
        document = [document]
    with pytest.raises(ValueError, match="surrogates"):
        check_texts(document)
    while isinstance(document, list):  # taken apart by hand: freeing it in one go is the interpreter's recursion
        document = document.pop()


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', '[{"b":{"a":1,"a":1}}]', '{"a":NaN}', "[-Infinity]", "[" * 100_000])
def test_what_two_readers_would_read_as_two_things_is_refused(text: str) -> None:
    """A name twice, a number that is none, and nesting without end: from the store, a broker, a platform, a caller."""
    with pytest.raises(ValueError, match=r"."):
        read_json(text)
    assert strict_object(text) is None
    with pytest.raises(Unavailable, match="broker_garbage"):
        _decode(200, text.encode())


@pytest.mark.parametrize("text", ["[1.5]", "[1e3]", "[12345678901234567]"])
def test_fractions_and_long_numbers_are_refused_where_whole_ones_are_asked_for(text: str) -> None:
    """Our own routes take no number that another reader rounds."""
    read_json(text)
    with pytest.raises(ValueError, match="refused"):
        read_json(text, whole_numbers=True)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 502])
@pytest.mark.parametrize("body", ["", "<html>", '{"code": "forbidden", "message": "x"}', '{"type": "about:blank"}'])
def test_a_refusal_in_another_form_is_not_the_brokers(status: int, body: str) -> None:
    """What a proxy on the way to the broker refuses is an outage, which is tried again."""
    with pytest.raises(Unavailable, match="broker_garbage"):
        _decode(status, body.encode())


@pytest.mark.parametrize(("status", "kind"), [(502, "text/html"), (404, "text/plain"), (503, "application/json")])
async def test_a_kill_that_a_proxy_answers_goes_to_the_broker(status: int, kind: str) -> None:
    """A kill process that is gone behind a load balancer has not answered; a refusal of its own has."""
    ours = Response(b"{}", headers={"content-type": "application/json"})
    kill, door = AsyncMock(return_value=Response(b"", status, media_type=kind)), AsyncMock(return_value=ours)
    both = Forwarder(cast("Any", SimpleNamespace(pass_on=door)), cast("Any", SimpleNamespace(pass_on=kill)))
    assert await both.send("POST", "/v1/switches/close", {}, Secret(b"{}")) is ours
    kill.return_value = refused = Response(b"{}", 403, media_type="application/problem+json")
    assert await both.send("POST", "/v1/switches/close", {}, Secret(b"{}")) is refused
    door.assert_awaited_once()
