"""The wire client against a server that misbehaves on purpose, over real sockets."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from byokeep.core.errors import ByokeepError, Conflict, Denied, NotFound, RateLimited, Rejected, Unavailable
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import MAX_BODY, BaoHttp, lease_login, live_versions, read_secret, write_secret

CANARY = "sk-canary-0123456789abcdef"
PATH = "kv/clients/2254b762-def9-49ed-a436-ca4b9391ee23/providers/openai"


def _answer(status: int, body: bytes, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def _json(status: int, document: object, headers: str = "") -> bytes:
    return _answer(status, json.dumps(document).encode(), headers)


@asynccontextmanager
async def _server(tmp_path: Path, answer: bytes | Callable[[bytes], bytes], **options: Any) -> AsyncIterator[BaoHttp]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            if callable(answer):
                writer.write(answer(request))
            elif answer:
                writer.write(answer)
            else:
                await asyncio.sleep(30)
            await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    path = tmp_path / "s"
    server = await asyncio.start_unix_server(serve, path)
    try:
        async with BaoHttp(f"unix://{path}", **options) as http:
            yield http
    finally:
        server.close()


class _Full(io.BytesIO):
    """A file on a disk without room."""

    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, "")


async def test_a_full_disk_is_the_files_error_and_not_the_stores(tmp_path: Path) -> None:
    """A snapshot that has no room here does not say that the store is away."""
    async with _server(tmp_path, _answer(200, b"x" * 100)) as http:
        with pytest.raises(OSError, match="28") as full:
            await http.transfer("GET", "sys/storage/raft/snapshot", token=Secret("t"), into=_Full())
    assert full.value.errno == errno.ENOSPC


def _read(data: object, version: object = 3) -> bytes:
    document = {"request_id": "r", "data": {"data": data, "metadata": {"version": version, "destroyed": False}}}
    return _json(200, document)


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        (_json(403, {"errors": [CANARY]}), Denied, "store_denied"),
        (_json(404, {"errors": []}), NotFound, "store_not_found"),
        (
            _json(400, {"errors": ["check-and-set parameter did not match the current version"]}),
            Conflict,
            "stale_version",
        ),
        (_json(400, {"errors": [CANARY]}), Rejected, "store_rejected"),
        (_json(405, {"errors": [CANARY]}), Rejected, "store_rejected"),
        (_json(429, {"errors": [CANARY]}, "Retry-After: 7\r\n"), RateLimited, "store_rate_limited"),
        (_json(503, {"errors": ["Vault is sealed"]}), Unavailable, "store_sealed"),
        (_json(500, {"errors": ["failed to audit request"]}), Unavailable, "store_audit_failed"),
        (_json(500, {"errors": [CANARY]}), Unavailable, "store_failed"),
        (_answer(502, CANARY.encode()), Unavailable, "store_failed"),
        (_json(307, {}, "Location: http://elsewhere.invalid/v1/x\r\n"), Unavailable, "store_redirected"),
        (_answer(200, b"<html>" + CANARY.encode()), Unavailable, "store_garbage"),
        *((_answer(status, b"<html>" + CANARY.encode()), Unavailable, "store_garbage") for status in (400, 403, 404)),
        *((_answer(status, b""), Unavailable, "store_garbage") for status in (403, 404)),
        *((_json(code, {"message": CANARY, "request_id": "r"}), Unavailable, "store_garbage") for code in (403, 404)),
        (_json(404, {"message": CANARY}), Unavailable, "store_garbage"),
        (_answer(200, b"[1]"), Unavailable, "store_garbage"),
        (_answer(200, b"[" * 200_000), Unavailable, "store_garbage"),
        (_answer(200, b"\xff\xfe{}"), Unavailable, "store_garbage"),
        (_answer(200, b" " * (MAX_BODY + 1)), Unavailable, "store_garbage"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}", Unavailable, "store_unreachable"),
        (b"nonsense\r\n\r\n", Unavailable, "store_unreachable"),
        (b"", Unavailable, "store_timeout"),
    ],
)
async def test_each_failure_is_a_code_without_the_servers_words(
    tmp_path: Path, answer: bytes, error: type[ByokeepError], code: str
) -> None:
    """Whatever the server answers, the error has our code and not a word of the answer or the token."""
    async with _server(tmp_path, answer, timeout_s=0.3) as http:
        with pytest.raises(error) as raised:
            await http.request("GET", "kv/data/x", token=Secret(CANARY), body={"value": Secret(CANARY)})
    assert type(raised.value) is error
    assert raised.value.code == code
    assert raised.value.__cause__ is None
    assert CANARY not in "".join(traceback.format_exception(raised.value))
    if code == "store_rate_limited":
        assert raised.value.fields == {"retry_after_s": 7}


@pytest.mark.parametrize(
    "answer",
    [
        _read({"value": CANARY}, version=4),
        _read({"value": CANARY}, version="3"),
        _read({"value": CANARY}, version=True),
        _read({"value": CANARY}, version=None),
        _read({"value": ""}),
        _read({"value": 7}),
        _read({"value": [CANARY]}),
        _read({"other": CANARY}),
        _read(None),
        _read(CANARY),
        _json(200, {"request_id": "r", "data": None}),
        _json(200, {"data": {"value": CANARY}}),
        _json(200, {}),
        _answer(204, b""),
        *(_answer(404, said) for said in (b"", b"default backend - 404", b'{"message": "no route"}')),
        _json(404, {"message": "no Route matched", "request_id": "r"}),
        _json(404, {"metadata": {}}),
        _json(404, {"request_id": "r", "data": {"metadata": {}}}),
    ],
)
async def test_a_reply_that_is_not_the_pinned_value_gives_none(tmp_path: Path, answer: bytes) -> None:
    """Another version, another type, emptiness, a missing part: no value comes out."""
    async with _server(tmp_path, answer) as http:
        with pytest.raises(Unavailable, match="store_garbage") as raised:
            await read_secret(http, Secret("t"), PATH, 3, "lease")
    assert CANARY not in "".join(traceback.format_exception(raised.value))


async def test_the_pinned_value_comes_out_and_the_request_says_whose_lease_it_is(tmp_path: Path) -> None:
    """A true reply gives the value; the request carries path, version, token and lease header, and no cookie."""
    seen: list[bytes] = []

    def answer(request: bytes) -> bytes:
        seen.append(request)
        return _read({"value": CANARY})

    async with _server(tmp_path, answer) as http:
        assert (await read_secret(http, Secret("t-1"), PATH, 3, "lease-9")).matches(CANARY.encode())
    head = seen[0].decode().lower()
    assert head.startswith(f"get /v1/{PATH.replace('kv/', 'kv/data/')}?version=3 http/1.1\r\n")
    assert "x-vault-token: t-1\r\n" in head
    assert "x-byokeep-lease: lease-9\r\n" in head
    assert "cookie" not in head


async def test_a_deleted_version_and_a_path_never_written_differ(tmp_path: Path) -> None:
    """A 404 that tells of a version means gone; an empty one means never there."""
    gone = {"request_id": "r", "lease_id": "", "data": {"data": None, "metadata": {"version": 3, "destroyed": True}}}
    async with _server(tmp_path, _json(404, gone)) as http:
        with pytest.raises(Unavailable, match="secret_version_gone"):
            await read_secret(http, Secret("t"), PATH, 3, "lease")
        with pytest.raises(NotFound, match="store_not_found"):
            await http.request("GET", "kv/data/x")


@pytest.mark.parametrize(
    "document", [{}, {"request_id": "r", "auth": {}}, {"request_id": "r", "auth": {"client_token": ""}}]
)
async def test_a_login_without_a_token_is_none(tmp_path: Path, document: object) -> None:
    """An accepted login that gives no token is an error; a refused one says `lease_refused`, whatever the reason."""
    async with _server(tmp_path, _json(200, document)) as http:
        with pytest.raises(Unavailable, match="store_garbage"):
            await lease_login(http, Secret(CANARY), "use-openai")
    for status in (400, 403):
        async with _server(tmp_path, _json(status, {"errors": [CANARY]})) as http:
            with pytest.raises(Denied, match="lease_refused") as raised:
                await lease_login(http, Secret(CANARY), "use-openai")
        assert CANARY not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    "versions",
    [None, [], {"1": None}, {"1": {"destroyed": "no", "deletion_time": ""}}, {"x": {"destroyed": False}}],
)
async def test_metadata_that_cannot_be_read_is_no_empty_list(tmp_path: Path, versions: object) -> None:
    """Strange metadata is an error: not knowing which versions live is not knowing that none does."""
    document = {"request_id": "r", "data": {"current_version": 1, "versions": versions}}
    async with _server(tmp_path, _json(200, document)) as http:
        with pytest.raises(Unavailable, match="store_garbage"):
            await live_versions(http, Secret("t"), PATH)


async def test_a_write_answered_with_another_version_is_not_taken_for_ours(tmp_path: Path) -> None:
    """The accepted version must be the one after the base version."""
    async with _server(tmp_path, _json(200, {"request_id": "r", "data": {"version": 9}})) as http:
        with pytest.raises(Unavailable, match="store_garbage"):
            await write_secret(http, Secret("t"), PATH, Secret(CANARY), cas=2)
        assert (await write_secret(http, Secret("t"), PATH, Secret(CANARY), cas=8)).version == 9


@pytest.mark.req("R4.1-5")
@pytest.mark.parametrize(
    "path",
    [
        *(
            "kv/data/../x",
            "kv/./x",
            "kv//x",
            "/kv/x",
            "kv/x/",
            "kv/%2e%2e/x",
            "kv/%252e/x",
            "kv\\x",
            "kv/x;y",
            "kv/x?y=1",
        ),
        *(
            "kv/x#y",
            "kv/x\x00",
            "kv/\N{FULLWIDTH FULL STOP}",
            "kv/*",
            "kv/+",
            "kv/{{x}}",
            "kv/x ",
            "kv/x\n",
            "",
            "..",
            "kv/..",
        ),
    ],
)
async def test_a_path_that_is_not_plain_is_never_sent(tmp_path: Path, path: str) -> None:
    """The client refuses every second spelling before a byte leaves; the store is never asked."""
    called: list[bytes] = []

    def answer(request: bytes) -> bytes:
        called.append(request)
        return _json(200, {})

    async with _server(tmp_path, answer) as http:
        with pytest.raises(Rejected, match="bad_store_path"):
            await http.request("GET", path)
        await http.request("GET", "kv/data/x-1_2.3")
    assert len(called) == 1


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("http://store.example:8200", "store_address_insecure"),
        ("http://localhost:8200", "store_address_insecure"),
        ("http://169.254.169.254", "store_address_insecure"),
        ("http://127.0.0.1.example.org", "store_address_insecure"),
        ("https://user:pw@store.example", "bad_store_address"),
        ("https://user@store.example", "bad_store_address"),
        ("https://store.example/ui", "bad_store_address"),
        ("https://store.example?x=1", "bad_store_address"),
        ("https://store.example#x", "bad_store_address"),
        ("https://", "bad_store_address"),
        ("https://store.example:99999", "bad_store_address"),
        ("unix://relative/bao.sock", "bad_store_address"),
        ("unix://", "bad_store_address"),
        ("ftp://store.example", "bad_store_address"),
        ("store.example:8200", "bad_store_address"),
        ("", "bad_store_address"),
    ],
)
async def test_addresses_that_could_leak_or_mislead_are_refused(address: str, code: str) -> None:
    """Plain HTTP off loopback, user info, extra parts, other schemes: no client is made."""
    with pytest.raises(Rejected, match=code):
        BaoHttp(address)


async def test_headers_and_values_that_could_smuggle_are_refused(tmp_path: Path) -> None:
    """A lease id with a line break and a value that is no text never leave."""
    async with _server(tmp_path, _json(200, {})) as http:
        for header in ("a\r\nX-Vault-Token: x", "", "x" * 65, "ä"):
            with pytest.raises(Rejected, match="bad_lease_header"):
                await http.request("GET", "kv/x", lease_header=header)
        with pytest.raises(Rejected, match="value_not_text") as raised:
            await http.request("POST", "kv/x", body={"value": Secret(CANARY.encode() + b"\xff")})
        assert CANARY not in "".join(traceback.format_exception(raised.value))
        with pytest.raises(Unavailable):
            await http.request("GET", "kv/x", token=Secret("t\r\nX-Other: 1"))


async def test_a_certificate_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    """Over https an unknown authority, and a certificate file that is not there, end the connection."""
    import ssl

    from byokeep.adapters.openbao import embedded

    embedded.write_closed_port(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "closed-port.pem", tmp_path / "closed-port.key")

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        address = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for ca_file, code in ((None, "store_tls_failed"), (tmp_path / "none.pem", "store_ca_unreadable")):
            async with BaoHttp(address, ca_file=ca_file) as http:
                with pytest.raises(Unavailable, match=code):
                    await http.request("GET", "sys/health", token=Secret(CANARY))
