"""The window through which a person logs in by hand to a browser on a server: pictures out, mouse and keys in.

Rules
- It is reached on the loopback only, under a path that holds 256 random bits, by one viewer at a time. Other pages and
  other names for this machine are turned away. A person comes through a tunnel (``Window.instructions``).
- What the person types passes from the viewer to Chromium and is kept nowhere: not logged, not counted, not repeated.
- A viewer is told why it ends: the login is over, was stopped, or somebody else is at the browser.
- A tab whose script never ends hears nothing: nobody waits for it for long, and what the person does there
  may come late or be lost. What is done in another tab waits for nothing of it.
- Code cannot act through it: it starts a viewer, waits, and is told that the person is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import re
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from html import escape
from string import Template
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web
from playwright.async_api import CDPSession, Error, Page

from byokeep.browser.launch import Running, resource
from byokeep.core.canonical import read_json
from byokeep.core.errors import Unavailable, refusing
from byokeep.kernel.ports import Window
from byokeep.platforms.website import SitePlace, Website

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:;"
    " connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}
_MOUSE: Final = {"press": "mousePressed", "release": "mouseReleased", "move": "mouseMoved", "wheel": "mouseWheel"}
_KEYS: Final = {"down": "keyDown", "raw": "rawKeyDown", "up": "keyUp"}
_BUTTONS: Final = frozenset({"none", "left", "middle", "right"})
_HOST: Final = re.compile(r"[A-Za-z0-9.:_-]{1,253}")
_MOST_MESSAGE: Final = 64 * 1024
OVER: Final = 4000  # our codes that close a viewer's socket: the login went on without it,
STOPPED: Final = 4001  # was cancelled or came to nothing,
TAKEN: Final = 4002  # or somebody else is at it
_GOODBYE_S: Final = 1.0
_OPEN_S: Final = 60.0  # more than a page has to load
_HEARD_S: Final = 2.0  # for a tab to hear something
_LOOKED_AT_S: Final = 10.0  # for the browser, which may be busy, to show a tab
_MOST_SAID: Final = 4096  # keys and clicks that wait for a tab


@contextlib.asynccontextmanager
async def handed_over(
    running: Running, website: Website, place: SitePlace, *, facts: Mapping[str, str], then: str
) -> AsyncIterator[Window]:
    """Open the platform's login page and a viewer of it, for as long as the block runs.

    Args:
        facts: What the person must know, by label: whose login it is.
        then: The command to run after Done; the person replaces the word ``ACCOUNT`` in it.

    Raises:
        Unavailable: ``browser_failed``, ``no_free_port``.
    """
    await opened(running, website, place)
    desk = _HandoffDesk(running, _page(facts, then))
    app = web.Application(client_max_size=1024)
    app.add_routes([web.get("/{token}/view", desk.view), web.get(r"/{token}/{name:(viewer\.(js|css))?}", desk.file)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        with refusing("no_free_port", Unavailable, on=OSError):
            await web.TCPSite(runner, "127.0.0.1", 0).start()
        desk.port = runner.addresses[0][1]
        try:
            yield desk.window
        except BaseException:
            await desk.end(STOPPED)
            raise
        await desk.end(OVER)
    finally:
        await runner.cleanup()


async def opened(running: Running, website: Website, place: SitePlace) -> None:
    """Show the platform's login page in a tab; on a desktop the window itself is the person's.

    Raises:
        Unavailable: ``browser_failed``.
    """
    with refusing("browser_failed", Unavailable, on=(Error, TimeoutError)):
        async with asyncio.timeout(_OPEN_S):
            await running.page.goto(place.at(website.login), wait_until="domcontentloaded")
            await running.page.bring_to_front()


def _page(facts: Mapping[str, str], then: str) -> str:
    rows = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in facts.items())
    hint = "ACCOUNT is the user name that you saw." if "ACCOUNT" in then else ""
    text = Template(resource("viewer.html"))
    return text.substitute(facts=f"<dl>{rows}</dl>", then=escape(then), hint=hint)


def host_of(url: str) -> tuple[str, bool]:
    """Return the host of a page as the person may see it, and whether the page came encrypted.

    Never the path or the query, which may hold a token. A name in another script stays in its ASCII form, so that it
    cannot pass for another.
    """
    try:
        split = urlsplit(url)
        host, port = split.hostname or "", split.port
    except ValueError:
        return "", False
    if split.scheme not in ("http", "https") or not _HOST.fullmatch(host):
        return "", False
    return host if port is None else f"{host}:{port}", split.scheme == "https"


class _HandoffDesk:
    """Answers the viewer."""

    def __init__(self, running: Running, page: str) -> None:
        self._running, self._token, self._done = running, secrets.token_urlsafe(32), asyncio.Event()
        self._files = {
            "": (page, "text/html"), "viewer.js": (resource("viewer.js"), "text/javascript"),
            "viewer.css": (resource("viewer.css"), "text/css"),
        }  # fmt: skip
        self._viewer: web.WebSocketResponse | None = None
        self.port = 0

    @property
    def window(self) -> Window:
        """Return what to tell the operator; the server is named as ssh knows it."""
        address = f"http://127.0.0.1:{self.port}/{self._token}/"
        instructions = (
            f"On your own computer:  ssh -N -L {self.port}:127.0.0.1:{self.port} {socket.gethostname()}\n"
            f"Then open there:       {address}\n"
            "Log in by hand, check that it is the right account, and press Done."
        )
        return Window(address=address, instructions=instructions, done=self._finished)

    async def _finished(self, within_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._done.wait()
        return self._done.is_set()

    async def file(self, request: web.Request) -> web.Response:
        self._let_in(request)
        text, kind = self._files[request.match_info["name"]]
        return web.Response(text=text, content_type=kind, headers=_HEADERS)

    async def view(self, request: web.Request) -> web.WebSocketResponse:
        self._let_in(request)
        origins = request.headers.getall("Origin", [])
        if len(origins) != 1 or origins[0] not in {f"http://{name}" for name in self._names()}:
            raise web.HTTPForbidden
        viewer = web.WebSocketResponse(max_msg_size=_MOST_MESSAGE, heartbeat=20, timeout=_GOODBYE_S)
        if self._viewer is not None and not self._viewer.closed:
            await viewer.prepare(request)  # a page can read a closing code, but not a refusal of the socket
            await viewer.close(code=TAKEN)
            return viewer
        self._viewer = viewer
        try:
            await viewer.prepare(request)
            async with _Screen(self._running, viewer) as screen:
                async for message in viewer:
                    if message.type is WSMsgType.TEXT and screen.taken(message.data):
                        await screen.passed_on()
                        self._done.set()
        finally:
            if self._viewer is viewer:  # a page that was loaded again came while this one let go of the tab
                self._viewer = None
        return viewer

    async def end(self, code: int) -> None:
        """Tell the viewer that it ends, and why. One that does not answer is cut off afterwards."""
        viewer = self._viewer
        if viewer is not None and viewer.prepared:
            with contextlib.suppress(Exception):  # it is already gone
                async with asyncio.timeout(_GOODBYE_S):
                    await viewer.close(code=code)

    def _names(self) -> tuple[str, str]:
        return f"127.0.0.1:{self.port}", f"localhost:{self.port}"

    def _let_in(self, request: web.Request) -> None:
        shown = request.match_info["token"].encode()
        if request.host not in self._names() or not hmac.compare_digest(shown, self._token.encode()):
            raise web.HTTPNotFound


class _Screen:
    """Shows the newest tab to the viewer, and passes on what the person does."""

    def __init__(self, running: Running, socket: web.WebSocketResponse) -> None:
        self._running, self._socket = running, socket
        self._session: CDPSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._said: asyncio.Queue[tuple[CDPSession, str, dict[str, Any]]] = asyncio.Queue(_MOST_SAID)

    async def __aenter__(self) -> _Screen:
        self._running.context.on("page", self._changed)
        self._start(self._pass_on())
        self._start(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.context.remove_listener("page", self._changed)
        for task in self._tasks:
            task.cancel()
        await self._let_go()

    def _changed(self, page: Page) -> None:
        page.on("close", lambda _: self._start(self._follow()))
        self._start(self._follow())

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the tab or the viewer is gone, so there is nothing to show

    async def _follow(self) -> None:
        async with self._turn:
            await self._let_go()
            page = self._running.context.pages[-1]
            async with asyncio.timeout(_LOOKED_AT_S):
                session = await self._running.context.new_cdp_session(page)
            session.on("Page.screencastFrame", lambda frame: self._start(self._show(page, session, frame)))
            self._session = session
            await _heard(session, "Page.startScreencast", {"format": "jpeg", "quality": 70, "everyNthFrame": 1})

    async def _let_go(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(Exception):  # its tab is closed
                async with asyncio.timeout(_HEARD_S):
                    await session.detach()  # ends its pictures, too

    async def _show(self, page: Page, session: CDPSession, frame: dict[str, Any]) -> None:
        size, (host, tls) = frame["metadata"], host_of(page.url)
        told = {"width": size["deviceWidth"], "height": size["deviceHeight"], "host": host, "tls": tls}
        await self._socket.send_str(json.dumps({"picture": frame["data"]} | told))
        await _heard(session, "Page.screencastFrameAck", {"sessionId": frame["sessionId"]})

    def taken(self, text: str) -> bool:
        """Pass one message on; True if it says that the person is done. Anything odd is dropped."""
        session = self._session
        try:
            said = read_json(text)
            if said.get("done") is True:
                return True
            call = _call(said)
        except (ValueError, AttributeError, TypeError):
            return False
        if call is not None and session is not None:
            while call[0] == "Page.reload" and not self._said.empty():  # what was meant for the page as it was
                self._said.get_nowait()
                self._said.task_done()
            with contextlib.suppress(asyncio.QueueFull):
                self._said.put_nowait((session, *call))
        return False

    async def _pass_on(self) -> None:
        """Send what the person does to the tab that is shown, one after the other."""
        while True:
            session, call, said = await self._said.get()
            with contextlib.suppress(Exception):  # the tab closed meanwhile, or hears nothing
                if session is self._session:
                    await _heard(session, call, said)
            self._said.task_done()

    async def passed_on(self) -> None:
        """Wait until what the person did so far has been heard, though not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HEARD_S):
                await self._said.join()


async def _heard(session: CDPSession, call: str, said: dict[str, Any]) -> None:
    async with asyncio.timeout(_HEARD_S):
        await session.send(call, said)


def _call(said: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return the protocol's call for a message: mouse, keys, reload, nothing else."""
    if said.get("mouse") in _MOUSE:
        button = said.get("button", "none")
        if button not in _BUTTONS:
            return None
        numbers = {name: float(said.get(name, 0)) for name in ("x", "y", "deltaX", "deltaY")}
        counted = {name: int(said.get(name, 0)) for name in ("clickCount", "modifiers")}
        return "Input.dispatchMouseEvent", {"type": _MOUSE[said["mouse"]], "button": button, **numbers, **counted}
    if said.get("key") in _KEYS:
        texts = {name: str(said[name])[:32] for name in ("name", "code", "text") if said.get(name)}
        number = int(said.get("number", 0))
        named = {"key": texts.get("name", ""), "code": texts.get("code", ""), "windowsVirtualKeyCode": number}
        more = {"text": texts["text"]} if "text" in texts else {}
        return "Input.dispatchKeyEvent", {
            "type": _KEYS[said["key"]], "modifiers": int(said.get("modifiers", 0)), **named, **more,
        }  # fmt: skip
    if said.get("do") == "reload":
        return "Page.reload", {}
    return None
