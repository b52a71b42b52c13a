"""What HTTP clients and servers log at their loudest: real exchanges with keys in addresses, headers and cookies."""

from __future__ import annotations

import asyncio
import secrets
import time

import pytest

from byokeep_redact.engine import Redactor
from byokeep_redact.hooks.http import clean_query, clean_url
from byokeep_redact.hooks.wall import Wall
from tests.support.speech import leaks, phrase, program, shaped

LOUD = """
import asyncio, logging, threading, http.client
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(name)s %(message)s %(args)r")
HEADERS = {"Authorization": "Bearer " + VALUE, "X-Api-Key": VALUE, "Cookie": "sid=" + VALUE}
PATH = "/v1/models?key=" + VALUE + "&page=2"
def told(): print("REACHED", flush=True)
"""
SERVER = """
from aiohttp import web
async def answer(request): return web.Response(text="no", status=401, headers={"Set-Cookie": "sid=" + VALUE})
async def fails(request): raise ValueError("refused " + str(request.url))
async def serve():
    app = web.Application(); app.router.add_get("/v1/models", answer); app.router.add_get("/fails", fails)
    runner = web.AppRunner(app, access_log_format='%r "%{Authorization}i" "%{Set-Cookie}o"'); await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, "http://127.0.0.1:%d" % runner.addresses[0][1]
"""
ASGI = """
async def app(scope, receive, send):
    if scope["type"] != "http": return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"set-cookie", b"sid=" + VALUE.encode())]})
    await send({"type": "http.response.body", "body": b"ok"})
def ask(port):
    import urllib.request
    urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:%d" % port + PATH, headers=HEADERS)).read()
"""
PROGRAMS = {
    "aiohttp": LOUD + SERVER + """
import aiohttp
async def main():
    runner, at = await serve()
    async with aiohttp.ClientSession() as session:
        async with session.get(at + PATH, headers=HEADERS) as reply: logging.info("%s %s", reply, reply.headers)
        async with session.get(at + "/fails" + PATH[10:], headers=HEADERS) as reply: await reply.text()
    await runner.cleanup(); told()
asyncio.run(main())
""",
    "httpx2": LOUD + SERVER + """
import httpx2
async def main():
    runner, at = await serve()
    async with httpx2.AsyncClient() as client:
        reply = await client.get(at + PATH, headers=HEADERS)
        logging.info("%r %s", reply.request.headers, reply.headers)
        try: reply.raise_for_status()
        except Exception: logging.exception("refused")
    await runner.cleanup(); told()
asyncio.run(main())
""",
    "requests": LOUD + SERVER + """
import requests
http.client.HTTPConnection.debuglevel = 1
async def main():
    runner, at = await serve()
    def ask():
        with requests.Session() as session:
            try: session.get(at + PATH, headers=HEADERS).raise_for_status()
            except requests.HTTPError: logging.exception("refused")
            try: session.get("http://127.0.0.1:1" + PATH, headers=HEADERS)
            except requests.ConnectionError: logging.exception("unreachable")
    await asyncio.to_thread(ask); await runner.cleanup(); told()
asyncio.run(main())
""",
    "uvicorn": LOUD + ASGI + """
import uvicorn
server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="trace"))
async def main():
    serving = asyncio.create_task(server.serve())
    while not server.started: await asyncio.sleep(0.05)
    await asyncio.to_thread(ask, server.servers[0].sockets[0].getsockname()[1])
    server.should_exit = True; await serving; told()
asyncio.run(main())
""",
    "granian": LOUD + ASGI + """
import socket
from granian.server.embed import Server
with socket.socket() as free:
    free.bind(("127.0.0.1", 0)); port = free.getsockname()[1]
LINE = '%(path)s %(query_string)s %(header{authorization})s %(header{cookie})s %(status)d'
async def main():
    server = Server(app, port=port, interface="asgi", log_access=True, log_access_format=LINE)
    serving = asyncio.create_task(server.serve())
    for _ in range(100):
        await asyncio.sleep(0.05)
        try: await asyncio.to_thread(ask, port); break
        except OSError: pass
    await asyncio.sleep(0.2); server.stop(); await serving; told()
asyncio.run(main())
""",
}  # fmt: skip


@pytest.mark.req("R1.2-1", "R8.1-3")
@pytest.mark.parametrize("name", PROGRAMS)
async def test_libraries_at_their_loudest_show_no_value(name: str) -> None:
    """With all loggers at DEBUG a vendor's key that nobody registered stands in no line; without the hooks it does."""
    value = shaped()
    guarded, unguarded = await asyncio.gather(
        program(PROGRAMS[name], value, on=True, known=False), program(PROGRAMS[name], value, on=False)
    )
    assert "redaction_error" not in guarded
    assert not leaks(guarded, value)
    assert "/v1/models" in guarded
    assert leaks(unguarded, value)


async def test_a_known_value_without_a_shape_is_not_shown_either() -> None:
    """A made-up phrase that a lease holds stands in no line of the loudest client; without the hooks it does."""
    value = phrase()
    guarded, unguarded = await asyncio.gather(
        program(PROGRAMS["requests"], value, on=True), program(PROGRAMS["requests"], value, on=False)
    )
    assert not leaks(guarded, value)
    assert leaks(unguarded, value)


@pytest.mark.req("R8.3-5")
def test_addresses_lose_what_is_named_like_a_credential() -> None:
    """Users, keys, tokens, codes and signatures go, whatever they look like; the rest of an address stays."""
    wall = Wall(Redactor())
    for name in (
        "key",
        "api_key",
        "access_token",
        "code",
        "sig",
        "X-Goog-Signature",
        "client_secret",
        "password",
        "sid",
    ):
        value = phrase()
        for address in (
            f"https://h.example/p?page=2&{name}={value}&z=1",
            f"https://h.example/p?page=2#z=1&{name}={value}",
            f"https://h.example/p;z=1#{name}={value}?page=2",
        ):
            assert not leaks(clean_url(wall, address), value), name
            assert "page=2" in clean_url(wall, address)
            assert "z=1" in clean_url(wall, address)
        assert not leaks(clean_query(wall, f"{name}={value}&page=2"), value)
    hexadecimal = secrets.token_hex(20)  # looks like nothing, but for the header that it is in
    assert not leaks(clean_url(wall, f"cookie: auth_token={phrase()}; ct0={hexadecimal}"), hexadecimal)
    user = phrase()
    for said in (f"app:{user}", f"app:p@{user}", f"{user}@:x"):
        assert clean_url(wall, f"postgresql://{said}@db.example:5432/x") == "postgresql://db.example:5432/x"
    for kept in ("https://h.example/v1/items?page=2&sort=name#top", "/v1/jobs/{id}", "GET /v1/items"):
        assert clean_url(wall, kept) == kept


def test_a_name_that_is_a_secret_itself_is_masked_with_the_rest() -> None:
    """A parameter whose name holds a live value costs no span."""
    wall, value = Wall(Redactor(engine="pure")), phrase()
    with wall.redactor.register(value):
        assert not leaks(clean_query(wall, f"{value}=1&page=2"), value)


def test_an_address_of_one_long_word_costs_what_it_is_long() -> None:
    """A query of 60,000 letters without a name is read from its first letter alone; from each it took nine seconds."""
    began = time.process_time()
    assert clean_query(Wall(Redactor(engine="pure")), "ab" * 30_000) == "ab" * 30_000
    assert time.process_time() - began < 3
