"""What a request's body may be before anybody parses it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import Message

from byokeep.console.visit import SESSION, browser_of
from byokeep.core.errors import NotFound, Rejected
from byokeep.http.request import parse_object, read_bytes, shape, stream_bytes, unserved
from byokeep.tenancy.routes import ClientBody

BYTES = "application/octet-stream"


def request(**headers: str) -> Request:
    """A request with a small body."""
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x", "more_body": False}

    return Request({"type": "http", "method": "PUT", "headers": pairs}, receive)


async def gathered(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


@pytest.mark.req("S-ASVS-9")
@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "GZIP", "identity, gzip", "x", ""])
async def test_a_body_in_another_encoding_is_refused(coding: str) -> None:
    """Who sends a body packed is refused before a byte of it is taken, on the short way and on the streaming one."""
    with pytest.raises(Rejected, match="content_encoding"):
        await read_bytes(request(content_encoding=coding))
    with pytest.raises(Rejected, match="content_encoding"):
        await gathered(stream_bytes(request(content_encoding=coding, content_type=BYTES), media=BYTES))
    for plain in ({}, {"content_encoding": "identity"}):
        assert await read_bytes(request(**plain)) == b"x"
        assert await gathered(stream_bytes(request(content_type=BYTES, **plain), media=BYTES)) == b"x"


@pytest.mark.parametrize("path", ["", "127.0.0.1:22", "*", "/nothing"])
async def test_an_address_that_is_no_path_is_not_found(path: str) -> None:
    """As that of CONNECT: it is refused like any other that nobody serves."""
    scope = {"type": "http", "method": "CONNECT", "path": path, "query_string": b"", "headers": [(b"host", b"a")],
             "scheme": "http", "server": ("a", 80), "app": Starlette(), "state": {"request_id": uuid4()}}  # fmt: skip
    assert (await unserved(Request(scope), NotFound("not_found"), 404)).status_code == 404


@pytest.mark.parametrize("depth", [6, 400, 900, 8000])
def test_an_object_is_refused_however_deep_it_is(depth: int) -> None:
    """Six levels below its own are too many, and so are those that no call stack of ours could follow."""
    assert parse_object(b'{"a":' + b"[" * 5 + b"]" * 5 + b"}")
    with pytest.raises(Rejected, match="bad_json"):
        parse_object(b'{"a":' + b"[" * depth + b"]" * depth + b"}")


@pytest.mark.parametrize("other", [b"\xa0" + SESSION.encode(), SESSION.encode() + b"\x85", b"\x1f" + SESSION.encode()])
def test_a_cookie_of_another_name_is_none_of_ours(other: bytes) -> None:
    """A host beside ours may give one for our whole domain; two of our own name are none."""

    def whose(*pairs: bytes) -> str:
        return browser_of(Request({"type": "http", "headers": [(b"cookie", b"; ".join(pairs))]}))

    ours = SESSION.encode() + b"=ours"
    assert whose(ours, other + b"=theirs") == whose(other + b"=theirs", ours) == whose(ours)
    assert whose(other + b"=theirs") == whose(ours, SESSION.encode() + b"=theirs") == whose()


@pytest.mark.parametrize(("name", "said"), [("x" * 5000, "It is longer than 200 characters; "), (7, "Check names")])
def test_a_text_that_is_too_long_is_told_its_limit(name: object, said: str) -> None:
    """What is wrong otherwise is not told a length."""
    with pytest.raises(Rejected) as refused:
        shape(ClientBody, {"name": name})
    assert refused.value.fields == {"field": "name"}
    assert refused.value.next_step.startswith(said)
