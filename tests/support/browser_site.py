"""A real site for a real browser: login, HttpOnly and other cookies, bearer calls, web socket, storage, a shown key.

Every credential of the site is a fresh canary, and reaches the browser only the way it would on a real site: the page's
source holds none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import WSMsgType, web
from playwright.async_api import Browser

from byokeep.browser import launch
from byokeep.chromium import find_chromium
from byokeep_redact.canary import Canary

# A browser that only shows pages goes without these: a page is left before what a compiler makes of its scripts pays.
CHEAP = ("--disable-gpu", "--js-flags=--no-opt,--no-maglev")
LOGIN = """<!doctype html><html><head><title>Sign in</title></head><body><form action="/login" method="post">
<input id="user" name="user"><input id="pw" type="password" name="password">
<input id="otp" name="otp" autocomplete="one-time-code"><input type="hidden" name="csrf_token" value="%s">
<button id="go">Sign in</button></form></body></html>"""

APP = """<!doctype html><html><head><title>App</title></head><body><h1>Keys</h1>
<pre><code id="key"></code></pre><script>
(async () => {
  const session = await (await fetch('/api/session')).json();
  localStorage.setItem('refresh', session.refresh_token);
  sessionStorage.setItem('draft', 'nothing');
  await new Promise(done => { const open = indexedDB.open('app', 1);
    open.onupgradeneeded = () => open.result.createObjectStore('keys');
    open.onsuccess = () => { const put = open.result.transaction('keys', 'readwrite');
      put.objectStore('keys').put(session.device_secret, 'device'); put.oncomplete = done; }; });
  const keys = await (await fetch('/api/keys?key=' + session.query_key,
    {headers: {Authorization: 'Bearer ' + session.access_token}})).json();
  document.getElementById('key').textContent = keys.api_key;
  console.log('signed in with', document.cookie, {session});
  const socket = new WebSocket(location.origin.replace('http', 'ws') + '/socket');
  const hello = JSON.stringify({type: 'auth', token: session.socket_token});
  await new Promise(done => { socket.onopen = () => socket.send(hello);
    socket.onmessage = () => { socket.close(); done(); }; });
  await (await fetch('/boom')).text();
  document.body.dataset.ready = 'yes';
  setTimeout(() => { throw new Error('lost ' + document.cookie); }, 0);
})();
</script></body></html>"""


def _fresh() -> str:
    return secrets.token_urlsafe(32)


@dataclass
class Site:
    """The site's credentials, and where it is."""

    base: str = ""
    session: str = field(default_factory=_fresh)
    visible: str = field(default_factory=_fresh)
    csrf: str = field(default_factory=_fresh)
    password: str = field(default_factory=_fresh)
    url_token: str = field(default_factory=_fresh)
    access: str = field(default_factory=_fresh)
    refresh: str = field(default_factory=_fresh)
    device: str = field(default_factory=_fresh)
    query_key: str = field(default_factory=_fresh)
    socket: str = field(default_factory=_fresh)
    api_key: str = field(default_factory=_fresh)
    otp: str = field(default_factory=lambda: f"{secrets.randbelow(900_000) + 100_000}")

    def canaries(self) -> list[Canary]:
        """All of them but the one-time code, which is too short to be told from chance."""
        names = ("session", "visible", "csrf", "password", "url_token", "access", "refresh", "device", "query_key",
                 "socket", "api_key")  # fmt: skip
        return [Canary(name, getattr(self, name).encode()) for name in names]

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [web.get("/", self._login_page), web.post("/login", self._login), web.get("/app", self._app),
             web.get("/api/session", self._session), web.get("/api/keys", self._keys), web.get("/boom", self._boom),
             web.get("/socket", self._socket)]
        )  # fmt: skip
        return app

    async def _login_page(self, request: web.Request) -> web.Response:
        return web.Response(text=LOGIN % self.csrf, content_type="text/html")

    async def _login(self, request: web.Request) -> web.Response:
        posted = await request.post()
        if posted.get("password") != self.password or posted.get("csrf_token") != self.csrf:
            return web.Response(status=403)
        reply = web.Response(status=303, headers={"Location": f"/app?access_token={self.url_token}&page=1"})
        reply.set_cookie("sid", self.session, httponly=True, samesite="Lax")
        reply.set_cookie("visible", self.visible)
        return reply

    def _known(self, request: web.Request) -> None:
        if request.cookies.get("sid") != self.session:
            raise web.HTTPUnauthorized

    async def _app(self, request: web.Request) -> web.Response:
        self._known(request)
        return web.Response(text=APP, content_type="text/html")

    async def _session(self, request: web.Request) -> web.Response:
        self._known(request)
        return web.json_response(
            {"access_token": self.access, "refresh_token": self.refresh, "device_secret": self.device,
             "query_key": self.query_key, "socket_token": self.socket}
        )  # fmt: skip

    async def _keys(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.access}":
            raise web.HTTPUnauthorized
        return web.json_response({"api_key": self.api_key, "name": "first key"})

    async def _boom(self, request: web.Request) -> web.Response:
        text = f"<html><body><h1>500</h1><pre>{request.headers.get('Cookie', '')}</pre></body></html>"
        return web.Response(status=500, text=text, content_type="text/html")

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(f"hello {message.data}")
        return socket


@contextlib.asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """Serve `app` on the loopback; gives its address."""
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def engine() -> Path:
    """Chromium's headless shell, which is the same engine without what surrounds a page, or else the whole browser."""
    return Path(shell) if (shell := shutil.which("chromium-headless-shell")) else find_chromium()


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The system's Chromium, without a window."""
    async with launch.driver() as playwright:
        browser = await playwright.chromium.launch(executable_path=engine(), args=list(CHEAP))
        try:
            yield browser
        finally:
            await browser.close()
            await asyncio.sleep(0)
