"""Whoever comes to the console over HTTP, as a browser does that runs no script: cookies, forms, where they lead."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from html import unescape
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode, urlsplit

from granian.constants import Interfaces
from granian.server.embed import Server

from tests.support.broker import Person, listening
from tests.support.web import Desk

ORIGIN = "https://byokeep.example"
SAME = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
PASSWORD = "a long password of somebody"
_VARIES = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{16,}|\d{4}-\d\d-\d\d(T[0-9:.]+Z)?")  # ids, digests, times


@dataclass
class Shown:
    """A reply; ``at`` is where it leads, if it leads anywhere."""

    status: int
    raw: str
    text: str
    headers: Mapping[str, str]
    cookies: list[str]
    at: str = ""


@dataclass
class Visit:
    """A browser: its cookies, and the word of the form that it was shown last."""

    desk: Desk
    cookies: dict[str, str] = field(default_factory=dict)
    word: str = ""

    async def ask(self, method: str, path: str, *, data: object = None, **headers: str) -> Shown:
        sent = {"Host": "byokeep.example", "Cookie": "; ".join(f"{one}={it}" for one, it in self.cookies.items())}
        sent |= {name.replace("_", "-"): text for name, text in headers.items()}
        request = self.desk.http.request(method, "http://web" + path, data=data, headers=sent, allow_redirects=False)
        async with request as reply:
            text, given = (await reply.read()).decode(errors="replace"), reply.headers.getall("Set-Cookie", [])
            for one in given:
                for name, morsel in SimpleCookie(one).items():
                    self.cookies.pop(name, None) if morsel["max-age"] == "0" else self.cookies.update(
                        {name: morsel.value}
                    )
            if found := re.search(r'name="form" value="([^"]+)"', text):
                self.word = found[1]
            return Shown(reply.status, text, unescape(text), reply.headers, given, reply.headers.get("Location", ""))

    async def get(self, path: str = "/console") -> Shown:
        """A page, followed to where it leads."""
        shown = await self.ask("GET", path)
        return await self.get(shown.at) if shown.status == 303 else shown

    async def send(self, path: str, **fields: str) -> Shown:
        """A form of the page that was shown last; where it leads is not followed."""
        return await self.ask("POST", path, data={"form": self.word} | fields, **SAME)

    async def take(self, name: str, kind: str, /, **asked: str) -> bytes:
        """A list of that name, as the button on its page gives it."""
        fields = {"form": self.word, "list": name, "asked": urlencode(asked), "as": kind}
        sent = {"Host": "byokeep.example", **SAME, "Cookie": "; ".join(f"{a}={b}" for a, b in self.cookies.items())}
        async with self.desk.http.post("http://web/console/export", data=fields, headers=sent) as reply:
            assert reply.status == 200, await reply.text()
            return await reply.read()

    async def sign_in(self, who: str, **fields: str) -> Shown:
        """With a password, which the person gets if it has none."""
        name = await named(self.desk, self.desk.people[who])
        await self.get("/console/sign-in")
        return await self.send("/console/sign-in", **({"name": name, "password": PASSWORD} | fields))


async def named(desk: Desk, person: Person) -> str:
    """The name of a person who can sign in with ``PASSWORD``; a new password ends the token that there was."""
    name, has = desk.sql(
        f"SELECT name || '|' || (password_phc IS NOT NULL) FROM byokeep.subject WHERE id = '{person.id}'"  # noqa: S608
    ).split("|")
    if has == "false":
        path = f"/v1/operators/{person.id}/password"
        assert (await desk.call("PUT", path, person, raw=PASSWORD.encode()))[0] == 204
        session = (await desk.call("POST", "/v1/session", body={"name": name, "password": PASSWORD}))[1]["token"]
        path, body = f"/v1/operators/{person.id}/tokens", {"days": 20}
        person.token = (await desk.call("POST", path, Person(person.id, session), body))[1]["token"]
    return name


async def code_of(desk: Desk, who: str) -> str:
    """A code that the command line makes."""
    status, made = await desk.call("POST", "/v1/session/code", who)
    assert status == 201, made
    return str(made["token"])


def alike(said: Mapping[str, Any]) -> str:
    """What is said, with whatever one of its kind says otherwise than the next masked: ids, digests, times, places."""
    measured = ("_ms", "_us", "took_s", "seq", "lines", "spans", "size")
    kept = {name: "*" if name.endswith(measured) else it for name, it in sorted(said.items())}
    return _VARIES.sub("*", json.dumps(kept))


def trail(desk: Desk, where: str) -> list[str]:
    """What was done, as it is on record in order: event, outcome, roles and fields; ``where`` is SQL on the records.

    So what was done in two ways is compared. How often somebody looked differs between them, and is left out.
    """
    rows = desk.sql(
        f"SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record WHERE {where}"  # noqa: S608
        " AND event NOT IN ('key.metadata_read', 'key.listed', 'audit.read') ORDER BY chain, seq"
    )
    return [f"{one['event']} {one['outcome']} {one['roles']} {alike(one['fields'])}"
            for one in map(json.loads, rows.splitlines())]  # fmt: skip


HOSTILE = (
    "<script>document.title='run'</script>", "<img src=x onerror=document.title='run'>", "'\"><svg onload=alert(1)>",
    "</title></textarea><b>bold", "{{ 7 * 7 }}", "{% raw %}", "javascript:document.title='run'", "' onfocus='x",
    "\u202egnp.exe", "a\u200bb\u200dc", "\u0430cme", "W" * 80, "&lt;b&gt;", "]]><!--", "`${7*7}`",
)  # fmt: skip


async def hostile(desk: Desk) -> tuple[str, list[str]]:
    """A client with accounts that somebody named as no check of ours would let them; returns its id and the names."""
    client = await desk.stand.client("openai")
    for number, text in enumerate(HOSTILE):
        account = desk.stand.account(client, account=f"acme{number}")
        said = text.replace("'", "''")
        desk.sql(f"UPDATE byokeep.platform_account SET username = '{said}', display_name = '{said}'"  # noqa: S608
                 f" WHERE id = '{account}'")  # fmt: skip
    return str(client), list(HOSTILE)


class Lasting:
    """Lets a browser keep the files that each page of the console loads: style, script and picture."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        async def keep(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                others = [one for one in message["headers"] if one[0] != b"cache-control"]
                message["headers"] = [*others, (b"cache-control", b"max-age=600")]
            await send(message)

        lasts = scope.get("path", "").startswith("/console/") and scope["path"].endswith((".css", ".js", ".svg"))
        await self.app(scope, receive, keep if lasts else send)


@contextlib.asynccontextmanager
async def on_loopback(desk: Desk, *, lasting: bool = False) -> AsyncIterator[str]:
    """``web`` on a port of this machine, as a browser reaches it; yields its address. To load a page's files anew, as
    in production, is a third of what it costs to show it; ``lasting`` does not."""
    port = urlsplit(desk.web.limits.console_origin).port or 0
    app = Lasting(desk.api) if lasting else desk.api
    server = Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False)
    task = asyncio.create_task(server.serve())
    await listening(port)
    try:
        yield desk.web.limits.console_origin
    finally:
        server.stop()
        await task
