"""The sinks of HTTP libraries: what they log at DEBUG and say in errors about a request that carries a secret.

Rules: one real server on loopback that answers 404 to everything; the secret is in the query and in a header, the mark
in the path, and the library's error is logged as an application would log it.
"""

from __future__ import annotations

import asyncio
import http.server
import importlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from byokeep_redact.pack.outlet import Marked, Outlet


class _NotFound(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer 404 and keep the connection."""
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing: the clients are on stage, not this server."""


@contextmanager
def _server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _NotFound)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _path(mark: str, text: str) -> str:
    return f"/v1/{mark}?page=2&key={quote(text, safe='')}"


def _ask(out: Outlet, samples: Sequence[Marked], get: Callable[..., Any]) -> None:
    with _server() as base:
        for mark, text, _ in samples:
            _refused(out, get, base + _path(mark, text), mark, text)


def _refused(out: Outlet, get: Callable[..., Any], url: str, mark: str, text: str) -> None:
    """Ask and log the refusal. A frame of its own, for some formatters print its locals."""
    try:
        get(url, headers={"X-Api-Key": text.strip()}).raise_for_status()
    except Exception:
        out.log.exception("%s refused", mark)


def _httpx_like(out: Outlet, samples: Sequence[Marked], name: str) -> None:
    with importlib.import_module(name).Client(trust_env=False) as client:
        _ask(out, samples, client.get)


def httpx2(out: Outlet, samples: Sequence[Marked]) -> None:
    """The library's INFO line with the URL, its DEBUG lines, and its error."""
    _httpx_like(out, samples, "httpx2")


def httpx(out: Outlet, samples: Sequence[Marked]) -> None:
    """As with its successor."""
    _httpx_like(out, samples, "httpx")


def requests(out: Outlet, samples: Sequence[Marked]) -> None:
    """The DEBUG line of urllib3 with the path, and the error with the URL."""
    with importlib.import_module("requests").Session() as session:
        session.trust_env = False
        _ask(out, samples, session.get)


def aiohttp(out: Outlet, samples: Sequence[Marked]) -> None:
    """The access log of a server, and the client's error with the URL."""
    asyncio.run(_aiohttp(out, samples))


async def _aiohttp(out: Outlet, samples: Sequence[Marked]) -> None:
    library, web = importlib.import_module("aiohttp"), importlib.import_module("aiohttp.web")
    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with library.ClientSession(raise_for_status=True) as session:
        for mark, text, _ in samples:
            try:
                url = f"http://127.0.0.1:{port}{_path(mark, text)}"
                await session.get(url, headers={"X-Api-Key": text.strip()})
            except library.ClientResponseError as error:
                out.log.error("%s %s %r", mark, error, error.request_info)
    await runner.cleanup()
