"""Every page of console and portal, found by its links and held against the routes: nothing runs, breaks or leaks."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import pytest
from playwright.async_api import Error

from byokeep.core.events import EventName, Outcome
from byokeep.kernel.command import record
from byokeep_redact.canary import Canary, new_canary
from byokeep_redact.search import Sweep
from tests.flows.test_console import proved
from tests.support import markup
from tests.support.connect import Office
from tests.support.console import HOSTILE, hostile, named
from tests.support.portal import code_for, invited
from tests.support.reading import plain, read
from tests.support.screen import Screen, screen_on
from tests.support.web import Desk
from tests.support.website import fresh

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.screen",
    "tests.support.connect",
]  # fmt: skip
ROLES = ("operator", "admin", "auditor", "approver")
# Columns that hold what a person, a client, a platform or a provider said; what they may hold is checked elsewhere.
SAID = ("name", "username", "display_name", "address", "ticket", "postmortem", "offered", "wanted", "entity_id",
        "reason", "link", "external_id", "result", "provider_place", "app_id")  # fmt: skip
CORPUS = (
    *HOSTILE,
    "\N{PILE OF POO}\N{ZERO WIDTH JOINER}\N{FIRE}" * 9,
    "a\x01b\x7f\u2028c",
    "\u2067\u05d0\u05d1\u2069 back",
)
# All that a page, and what its scripts could keep, holds: each a way by which a value could be found.
WAYS = """(() => {
  const base = new Set(%s), own = {};
  for (const name of Object.getOwnPropertyNames(window).filter(name => !base.has(name) && name !== "axe"))
    own[name] = String(window[name]);
  return {
    markup: document.documentElement.outerHTML,
    fields: [...document.querySelectorAll("input, textarea")].map(one => one.value).join("\\n"),
    address: location.href, title: document.title, referrer: document.referrer, cookie: document.cookie,
    state: JSON.stringify(history.state), window: window.name, globals: JSON.stringify(own),
    local: JSON.stringify({...localStorage}), session: JSON.stringify({...sessionStorage}),
  };
})()"""
_FILE = re.compile(r"[.](css|js|svg|png)$|/live$")
PLANTED = """(values => {
  document.body.dataset.planted = values.markup;
  document.querySelector("main").append(values.picture);
  document.querySelector("input[type=text]").value = values.fields;
  history.replaceState(values.state, "", "?" + values.address);
  document.title = values.title; window.name = values.window; window.planted = values.globals;
  localStorage.planted = values.local; sessionStorage.planted = values.session; document.cookie = "c=" + values.cookie;
  document.body.append(Object.assign(document.createElement("img"), {src: "data:,"}));  // the policy forbids it
})(%s)"""


def routes_of(api: Any) -> dict[str, re.Pattern[str]]:
    """The pages that the application says it has, by their routes."""
    found: dict[str, re.Pattern[str]] = {}

    def walk(routes: Any) -> None:
        for route in routes:
            if "GET" in (getattr(route, "methods", None) or ()):
                if route.path.startswith(("/console", "/portal")) and not _FILE.search(route.path):
                    found[route.path] = re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(route.path)))
            else:
                walk(getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", ()))

    walk(api.routes)
    return found


@dataclass
class Walk:
    """Somebody who opens every page once or twice, and looks at each."""

    screen: Screen
    routes: dict[str, re.Pattern[str]]
    values: list[Canary]
    base: str = "[]"
    opened: Counter[str] = field(default_factory=Counter)
    shapes: Counter[tuple[str, frozenset[str]]] = field(default_factory=Counter)
    pictures: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def route(self, path: str) -> str:
        # A word before a parameter: /console/incidents/new is no incident.
        fits = [name for name, pattern in self.routes.items() if pattern.fullmatch(path)]
        return min(fits, key=lambda name: name.count("{"), default="")

    async def ways(self) -> dict[str, str]:
        """What the page holds, by where."""
        found: Any = await self.screen.ask(WAYS % self.base)
        return dict(found)

    def search(self, ways: dict[str, str]) -> set[tuple[str, str]]:
        """Which values are found where."""
        sweep = Sweep(self.values)
        found = {way: sweep.scan_bytes(text.encode(), source=way).findings for way, text in ways.items()}
        return {(way, one.label) for way, findings in found.items() for one in findings}

    async def look(self, at: str, *, picture: bool = True) -> None:
        """Hold the page that is shown against all that no page may do."""
        page, route = self.screen.page, self.route(at.partition("?")[0])
        self.faults += [f"{at}: {one} in {way}" for way, one in self.search(await self.ways())]
        if self.opened[route]:
            self.faults += [f"{at}: {one}" for one in await self.screen.faults(axe=False)]
        else:
            self.faults += await self.screen.judged(at, thoroughly=True)
            await page.set_viewport_size({"width": 320, "height": 800})
            await page.emulate_media(color_scheme="light")
        if await page.title() == "run":
            self.faults.append(f"{at}: ran")
        if picture and route not in self.pictures:
            self.pictures[route] = await page.screenshot(full_page=True)

    async def through(self, *starts: str) -> None:
        """Follow every link from here, to no more than two pages of a shape: a route, and what is asked of it."""
        page, waiting, known = self.screen.page, list(starts), set(starts)
        while waiting:
            at = waiting.pop(0)
            parts = urlsplit(at)
            shape = self.route(parts.path), frozenset(name for name, _ in parse_qsl(parts.query))
            if not shape[0] or (at not in starts and (self.shapes[shape] >= 2 or self.opened[shape[0]] >= 5)):
                continue
            reply = await page.goto(self.screen.url + at)
            assert reply is not None
            if reply.status == 403 or page.url != self.screen.url + at:  # another role's, or nobody's
                continue
            if not reply.ok:
                self.faults.append(f"{at}: {reply.status}")
                continue
            await self.look(at)
            self.shapes[shape] += 1
            self.opened[shape[0]] += 1
            found: Any = await self.screen.ask(
                "[...document.querySelectorAll('a[href]')].filter(one => one.origin === location.origin)"
                ".map(one => one.pathname + one.search)"
            )
            waiting += [one for one in dict.fromkeys(found) if one not in known]
            known |= set(found)


async def filled(office: Office) -> tuple[UUID, str]:
    """A client of which there is one of everything; returns its id, and that of a consent."""
    desk, (name, _) = office.desk, await hostile(office.desk)
    client = UUID(name)

    async def done(path: str, who: str = "operator", **body: Any) -> Any:
        status, reply = await desk.call("POST", f"/v1/{path}", who, body)
        assert status in (200, 201, 202), (path, reply)
        return reply

    await proved(desk, client)
    job = await desk.stand.job(client)
    await desk.stand.lease(job)
    ref = (await desk.onboard(client, provider="openrouter"))["ref"]
    assert (await desk.call("POST", f"/v1/refs/{ref}/rotations", "operator", {}))[0] in (200, 201, 202)
    await office.connected(client, "x", "aaa")  # the first of the list
    consent = (await office.begin(client, "x", "new"))["connection"]
    await done(f"clients/{client}/contacts")
    await done("incidents", kind="drill", client_id=str(client))
    await desk.onboard(client, provider="google")
    await done("mass-revocations", reason="provider_breached", provider="google")
    await done("breakglass", client_id=str(client), scope="openai", reason="runner_down", ticket="INC-42", life_s=900)
    await done("switches/close", client_id=str(client), platform="tiktok", reason="leak")
    await done("switches/open-requests", client_id=str(client), platform="tiktok", reason="cause_removed")
    await done("vault-incidents", client_id=str(client), cause="drill")
    app = desk.stand.app
    async with app.db.begin(every_client=True) as tx:
        await record(tx, app.system(), EventName.DRILL_COMPLETED, {"drill": str(client), "seed": 7},
                     outcome=Outcome.INTENDED, object_id=app.installation_id)  # fmt: skip
    desk.sql("UPDATE byokeep.credential_ref SET created_at = now() - interval '99 days',"
             " rotation_due_at = now() - interval '9 days'")  # fmt: skip
    return client, consent


def said_by_all(desk: Desk) -> int:
    """Put the corpus wherever somebody else's words stand, past every check; returns how many rows have it."""
    quoted = ", ".join("'" + text.replace("'", "''") + "'" for text in CORPUS)
    names = ", ".join(f"'{name}'" for name in SAID)
    rows = desk.sql(
        "SELECT c.table_name || ' ' || c.column_name || ' ' || c.data_type FROM information_schema.columns c JOIN"
        " information_schema.tables USING (table_schema, table_name) WHERE table_schema = 'byokeep' AND table_type ="
        f" 'BASE TABLE' AND c.column_name IN ({names}) AND c.table_name NOT IN ('audit_record', 'key_transition')"
    ).splitlines()
    statements = ["SET session_replication_role = replica"]
    for row in rows:
        table, column, kind = row.split(" ", 2)
        checks = desk.sql(
            "SELECT conname FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)"
            f" WHERE conrelid = 'byokeep.{table}'::regclass AND contype = 'c' AND attname = '{column}'"
        ).splitlines()
        statements += [f"ALTER TABLE byokeep.{table} DROP CONSTRAINT IF EXISTS {name}" for name in checks]
        text = f"(ARRAY[{quoted}])[1 + n % {len(CORPUS)}] || ' ' || n"
        value = f"(SELECT array_agg(m || ' ' || one) FROM unnest(ARRAY[{quoted}]) WITH ORDINALITY o (one, m))"
        value = value if kind == "ARRAY" else text
        # Whose name is another than on record is let in no more.
        machines = " AND it.kind = 'machine'" if table == "subject" else ""
        statements.append(
            f"UPDATE byokeep.{table} it SET {column} = {value} FROM (SELECT ctid AS at, row_number() OVER () AS n"
            f" FROM byokeep.{table}) r WHERE it.ctid = r.at AND it.{column} IS NOT NULL{machines}"
        )
    desk.sql("; ".join([*statements, "SET session_replication_role = origin"]))
    return len(rows)


@contextlib.asynccontextmanager
async def elsewhere(value: bytes) -> AsyncIterator[str]:
    """A server whose page a browser may keep; yields an address of it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: max-age=9999\r\nConnection: close\r\n"
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(value) + value)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def read_in(picture: bytes, *values: bytes) -> bool:
    """Whether some of a value can be read in a picture."""
    seen, texts = read(picture), [plain(value.decode()) for value in values]
    return any(text[at : at + 10] in seen for text in texts for at in range(len(text) - 10))


async def seen_in(pictures: dict[str, bytes], *values: bytes) -> list[str]:
    """In which pictures some of a value can be read; two are read at a time."""
    room = asyncio.Semaphore(2)

    async def look(picture: bytes) -> bool:
        async with room:
            return await asyncio.to_thread(read_in, picture, *values)

    found = await asyncio.gather(*map(look, pictures.values()))
    return [name for name, seen in zip(pictures, found, strict=True) if seen]


@pytest.mark.campaign
@pytest.mark.timeout(900)
async def test_every_page_holds_nothing_and_does_nothing(office: Office, axe: str, judges: Path) -> None:
    """Keys were typed, all names are hostile: no value in any way, nothing runs or is refused, nothing is too wide.

    Each route of a page is reached by links, or from what a form leads to; each way finds what is planted for it.
    """
    desk = office.desk
    client, consent = await filled(office)
    kinds = {"wrong": "anthropic", "console": "openai", "mistaken": "anthropic", "portal": "heygen"}
    typed = {name: desk.canary(kind) for name, kind in kinds.items()}
    async with fresh() as browser, screen_on(desk, axe, browser.context) as screen:
        page = screen.page
        await page.set_viewport_size({"width": 320, "height": 800})
        blank = json.dumps(await screen.ask("Object.getOwnPropertyNames(window)"))
        walk = Walk(screen, routes_of(desk.api), [Canary(name, value) for name, value in typed.items()], blank)
        await screen.sign_in()
        for name in ("wrong", "console"):
            await page.goto(f"{screen.url}/console/clients/{client}/new-key?provider=openai")
            await page.get_by_label("Provider").select_option("openai")
            await page.get_by_label("Key", exact=True).fill(typed[name].decode())
            async with page.expect_navigation():
                await page.keyboard.press("Enter")
            await walk.look(page.url.removeprefix(screen.url))
        for _ in range(4):
            try:
                await page.go_back()
            except Error:  # what a form led to is not kept
                await page.wait_for_url("chrome-error://*/")
                continue
            # Of a page to which one comes back Chromium takes no picture while it waits for a frame.
            await walk.look(page.url.removeprefix(screen.url), picture=False)
        await page.context.clear_cookies()
        person = await invited(desk, client)
        await page.goto(f"{screen.url}/portal/invitation#{person.invited['token']}", wait_until="commit")
        await page.get_by_label("What is your e-mail address?").fill("ada@client.example")
        await walk.look("/portal/invitation?taken")
        await page.keyboard.press("Enter")
        await page.get_by_label("What is the code?").fill(await code_for("ada@client.example"))
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Keys and accounts of").wait_for()
        for name in ("mistaken", "portal"):
            await page.goto(f"{screen.url}/portal/keys/new?provider=heygen")
            await page.get_by_label("What is the key?").fill(typed[name].decode())
            async with page.expect_navigation():
                await page.keyboard.press("Enter")
            await walk.look("/portal/keys/new")
        await desk.work()
        for role in ROLES:
            await named(desk, desk.people[role])
        assert said_by_all(desk) > 20
        await walk.through("/portal", f"/portal/connections/{consent}")
        await page.context.clear_cookies()
        for role in ROLES:
            await screen.sign_in(role)
            await walk.through("/console", "/console/search?find=a", f"/console/clients/{client}/consents/{consent}")
            await page.context.clear_cookies()
        await walk.through("/console/sign-in", "/console/sso?error=access_denied")
        await walk.through("/portal/sign-in", "/portal/connected", "/portal/invitation")
        assert walk.faults == [], "\n".join(walk.faults)
        assert sorted(set(walk.routes) - set(walk.opened)) == [], "a page to which no link leads"
        assert screen.breaches == []
        assert markup.faults_of(judges, markup.SENT) == {}
        assert walk.search(markup.SENT) == set()
        pictures = dict(walk.pictures)

        planted = {way: new_canary("openai") for way in ("cache", "picture", *await walk.ways())}
        async with elsewhere(planted["cache"]) as other:
            await page.goto(other)
        await page.goto(f"{screen.url}/console/sign-in")
        await screen.ask(PLANTED % json.dumps({way: value.decode() for way, value in planted.items()}))
        walk.values = [Canary(way, value) for way, value in planted.items()]
        found = walk.search(await walk.ways())
        assert {(way, way) for way in planted} - found == {(way, way) for way in ("cache", "picture", "referrer")}
        pictures["planted"] = await page.screenshot(full_page=True)
        assert ["img-src" in one for one in screen.breaches] == [True]
        await browser.close()
        walk.values += [Canary(name, value) for name, value in typed.items()]
        kept = Sweep(walk.values).scan_paths([browser.start.directory])
        assert {one.label for one in kept.findings} >= {"cache", "address", "local"}, kept
        assert {one.label for one in kept.findings} & set(typed) == set()
        assert set(walk.routes) < set(pictures)
        assert await seen_in(pictures, planted["picture"], *typed.values()) == ["planted"]
