"""Takes a browser that comes back from a platform: one address on this machine, for one consent.

Rules
- It listens only on 127.0.0.1, at the redirect address of the app, for as long as the consent lives.
- The page it shows is its own, with nothing from others and no referrer. The browser is sent at once to an address
  without code or state (S-OAUTH-13). What came is shown nowhere.
- Requests that are not the redirect are answered and forgotten; so is one without this consent's state.

It may not judge the answer: the server does.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import subprocess
import sys
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from byokeep.core.errors import Rejected, Unavailable, refusing
from byokeep.core.secret import Secret

_LONGEST: Final = 16 * 1024  # bytes of a request
_READ_S: Final = 10
_LINGER_S: Final = 3
_FIELDS: Final = ("state", "code", "iss", "error")
_STYLE: Final = (
    "body{margin:0;min-height:100vh;display:flex;align-items:center;justify-content:center;background:#0f172a;"
    "color:#e2e8f0;font:16px/1.5 system-ui,'Segoe UI','Helvetica Neue',Arial,sans-serif}"
    "main{background:#1e293b;border:1px solid #334155;border-radius:10px;padding:28px 36px;margin:16px;max-width:30em}"
    "strong{letter-spacing:.02em}h1{font-size:20px;margin:12px 0 4px}p{margin:0;color:#94a3b8}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()  # no other style is let in
_HEADERS: Final = (
    "Content-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n"
    "X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n"
    "Content-Security-Policy: default-src 'none'; style-src 'sha256-" + _STYLE_HASH + "';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'none'\r\n"
    "Connection: close\r\n"
)
_HTML: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><title>byokeep</title>'
    f"<style>{_STYLE}</style><main><strong>byokeep</strong>"
)
_LOOK: Final = "Close this window and return to the terminal."
_PAGE: Final = f"{_HTML}<h1>The answer has arrived.</h1><p>{_LOOK}</p></main></html>"
_NOTHING: Final = f"{_HTML}<h1>Nothing here.</h1></main></html>"


def is_local(redirect_uri: str) -> bool:
    """Whether a redirect address is on this machine."""
    return urlsplit(redirect_uri).scheme == "http"


async def need_free(redirect_uri: str) -> None:
    """Pass if it is possible to listen at a redirect address now.

    Raises:
        Unavailable: ``port_taken``.
    """
    async with Listener(redirect_uri, state=Secret(b"-"), binding=Secret(b"-")):
        pass


def form_of(address: str, *, redirect_uri: str, state: Secret, binding: Secret) -> Secret | None:
    """Return the answer in an address as a form to send on, None if it is not this consent's.

    Args:
        address: Where the browser arrived, with its query.
    """
    split = urlsplit(address)
    here = f"{split.scheme}://{split.netloc}{split.path}"
    pairs = parse_qsl(split.query, keep_blank_values=True)
    given = {name: value for name, value in pairs if name in _FIELDS}
    # A name that stands twice is no answer of a platform.
    if here != redirect_uri or len([name for name, _ in pairs if name in _FIELDS]) != len(given):
        return None
    if not state.matches(given.get("state", "").encode()):
        return None
    return Secret(urlencode({**given, "binding": binding.reveal().decode(), "redirect": here}))


def pasted_form(came: Secret, *, redirect_uri: str, state: Secret, binding: Secret) -> Secret:
    """Return the answer in a pasted address as a form to send on; wipes the address.

    Raises:
        Rejected: ``not_the_answer``.
    """
    address = came.reveal().decode("utf-8", "replace").strip()
    came.wipe()
    form = form_of(address, redirect_uri=redirect_uri, state=state, binding=binding)
    if form is None:
        raise Rejected(
            "not_the_answer", next_step="Start again, and paste the whole address that the browser ended at."
        )
    return form


class Listener:
    """Waits at a redirect address.

    Args:
        redirect_uri: ``http://127.0.0.1:PORT/PATH`` or ``localhost``.
        state, binding: The consent's.
    """

    def __init__(self, redirect_uri: str, *, state: Secret, binding: Secret) -> None:
        self._uri, self._state, self._binding = redirect_uri, state, binding
        self._came: asyncio.Future[Secret] = asyncio.get_running_loop().create_future()
        self._shown = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[Any] | None, asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Listener:
        """Listen.

        Raises:
            Unavailable: ``port_taken``.
        """
        try:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", urlsplit(self._uri).port or 80, limit=_LONGEST
            )
        except OSError:
            raise Unavailable(
                "port_taken",
                next_step="Something else listens at the redirect address, perhaps another "
                "`account connect`: stop it, or use --paste.",
            ) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            for writer in self._open.values():  # a browser connects in advance, and says nothing there
                writer.close()
            if serving := [task for task in self._open if task]:
                await asyncio.wait(serving)

    async def answer(self, *, limit_s: float, sop: str) -> Secret:
        """Return the answer as a form to send on.

        Args:
            limit_s: How long to wait.
            sop: The run that waits; named if nobody came.

        Raises:
            Rejected: ``not_answered``.
        """
        with refusing("not_answered", Rejected, on=TimeoutError, next_step="Start the connection again.", sop=sop):
            async with asyncio.timeout(limit_s):
                return await self._came

    async def linger(self) -> None:
        """Give the browser a moment to fetch the page that it was sent to."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                await self._shown.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[asyncio.current_task()] = writer
        with suppress(OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_READ_S):
                head = await reader.readuntil(b"\r\n\r\n")
            reply = self._reply(head.decode("latin-1"))
            writer.write(reply.encode())
            await writer.drain()
            if _PAGE in reply:
                self._shown.set()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    def _reply(self, head: str) -> str:
        first, *lines = head.split("\r\n")
        method, _, rest = first.partition(" ")
        target = rest.partition(" ")[0]
        names = [line.partition(":") for line in lines if line]
        hosts = [value.strip() for name, _, value in names if name.strip().lower() == "host"]
        here, done = urlsplit(self._uri), urlsplit(self._uri).path.rstrip("/") + "/done"
        if method != "GET" or hosts != [here.netloc] or not target.startswith("/"):
            return _page("400 Bad Request", _NOTHING)
        if target == done:
            return _page("200 OK", _PAGE)
        form = form_of(f"{here.scheme}://{here.netloc}{target}", redirect_uri=self._uri, state=self._state,
                       binding=self._binding)  # fmt: skip
        if form is None or self._came.done():
            return _page("404 Not Found", _NOTHING)
        self._came.set_result(form)
        return _page("303 See Other", "", f"Location: {done}\r\n")


def _page(status: str, body: str, more: str = "") -> str:
    return f"HTTP/1.1 {status}\r\n{_HEADERS}{more}Content-Length: {len(body.encode())}\r\n\r\n{body}"


def open_browser(url: str) -> bool:
    """Open an address in this machine's browser; False if there is none."""
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    try:
        subprocess.Popen([opener, url], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        return False
    return True
