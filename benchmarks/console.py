"""The console: how long until a page is painted, with 1,000 clients and 100,000 records; 200 people at once."""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from typing import Any, Final
from uuid import UUID

import aiohttp
import psycopg
from playwright.async_api import Page, async_playwright

from benchmarks import kill
from benchmarks.audit import _event
from benchmarks.load import Run, cpu_used
from benchmarks.report import Row
from benchmarks.stage import Stage
from byokeep.adapters.postgres.connections import driver_arguments
from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.chromium import find_chromium
from byokeep.processes.wiring import database_url

CLIENTS: Final = 1000
RECORDS: Final = 100_000
PEOPLE: Final = 200
SESSIONS: Final = 8
LOADS: Final = 15
SECONDS: Final = 30.0
READS_S: Final = 5.0  # how long a person looks at a page
PAINTED_MS, ANSWERED_MS = 300, 500
_BATCH: Final = 50
_PAGES: Final = {"operator": ("", "/clients", "/usage", "/alerts"), "auditor": ("/audit",)}
_LOOKED_AT: Final = ("", "/clients", "/alerts", "/due")  # by the 200
_PAINTED: Final = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1"


async def console(ready: Stage) -> list[Row]:
    await _filled(ready)
    return [await _verified(ready), *await _painted(ready), *await _at_once(ready)]


async def _verified(ready: Stage) -> Row:
    """The whole log in the database, as `byokeep audit verify` asks for it."""
    await ready.scene.api("auditor", "POST", "/v1/audit/checkpoint")
    began = time.perf_counter()
    found = await ready.scene.api("auditor", "POST", "/v1/audit/verify")
    took = time.perf_counter() - began
    return Row(
        what=f"{found['records']:,} records in the database verified", p50=f"{took * 1000:,.0f} ms",
        rate=f"{found['records'] / took:,.0f}/s", aim="within 30 s", held=took <= 30,
    )  # fmt: skip


async def _filled(ready: Stage) -> None:
    """Clients as rows; records as the product appends them, a part of them on the platform's chain."""
    settings = ready.scene.stack.settings
    arguments = driver_arguments(database_url(settings, "byokeep_owner"), "bench")
    async with await psycopg.AsyncConnection.connect(**arguments, autocommit=True) as owner:  # type: ignore[arg-type]
        await owner.execute(
            "INSERT INTO byokeep.client (id, name, created_by) SELECT gen_random_uuid(), 'Agency client ' || n,"
            " (SELECT id FROM byokeep.installation) FROM generate_series(1, %s) AS n", [CLIENTS - len(ready.clients)],
        )  # fmt: skip
    db = PostgresDatabase(database_url(settings, "byokeep_broker"), pool_size=4)
    chains = [None, *(UUID(one) for one in ready.clients[:3])]

    async def fill(chain: UUID | None) -> None:
        for _ in range(RECORDS // len(chains) // _BATCH):
            async with db.begin(client_id=chain, every_client=chain is None) as tx:
                for _ in range(_BATCH):
                    await tx.append(_event(chain))

    await asyncio.gather(*map(fill, chains))
    await db.close()


async def _code(ready: Stage, who: str) -> str:
    return str((await ready.scene.api(who, "POST", "/v1/session/code"))["token"])


async def _painted(ready: Stage) -> list[Row]:
    rows, url = [], ready.scene.stack.web_url
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(find_chromium()), args=["--no-sandbox"])
        for who, paths in _PAGES.items():
            context = await browser.new_context()
            page = await context.new_page()
            await page.goto(f"{url}/console/sign-in")
            await page.get_by_label("Code").fill(await _code(ready, who))
            await page.get_by_role("button", name="Sign in with the code").click()
            await page.wait_for_url(lambda at: "sign-in" not in at)
            for path in paths:
                times = sorted([await _paint(page, f"{url}/console{path}") for _ in range(LOADS)])
                middle = statistics.median(times)
                rows.append(Row(
                    what=f"console{path} painted, {CLIENTS} clients, {RECORDS:,} records", p50=f"{middle:.0f} ms",
                    p99=f"{times[-1]:.0f} ms", aim=f"p50 <= {PAINTED_MS} ms", held=middle <= PAINTED_MS,
                ))  # fmt: skip
            await context.close()
        await browser.close()
    return rows


async def _paint(page: Page, url: str) -> float:
    """Milliseconds until something of the page stands there; its policy lets no script ask, the protocol does."""
    reply = await page.goto(url, wait_until="load")
    assert reply is not None
    assert reply.ok, f"{url}: {reply.status}"
    session = await page.context.new_cdp_session(page)
    painted: Any = -1
    while painted < 0:
        painted = (await session.send("Runtime.evaluate", {"expression": _PAINTED}))["result"]["value"]
    await session.detach()
    return float(painted)


async def _at_once(ready: Stage) -> list[Row]:
    """What 200 people wait for a page, and then how a kill does while they look."""
    url = ready.scene.stack.web_url
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    ) as http:
        visits = [await _session(ready, http, url) for _ in range(SESSIONS)]  # more sign-ins a minute are braked
        run, before = Run(PEOPLE, seconds=SECONDS), cpu_used(ready.pids)

        async def person(number: int) -> None:
            await asyncio.sleep(READS_S * number / PEOPLE)  # nobody begins at the same moment as everybody else
            while True:
                start, at = time.perf_counter(), f"{url}/console{_LOOKED_AT[number % len(_LOOKED_AT)]}"
                headers = {"Cookie": visits[number % SESSIONS]}
                async with http.get(at, headers=headers, allow_redirects=False) as reply:
                    await reply.read()
                    if reply.status == 200:
                        run.took.append(time.perf_counter() - start)
                    else:
                        run.failures[str(reply.status)] += 1
                await asyncio.sleep(READS_S)

        looking = asyncio.gather(*(person(number) for number in range(PEOPLE)))
        await asyncio.wait([looking], timeout=SECONDS)
        run.cpu.update({name: used - before.get(name, 0.0) for name, used in cpu_used(ready.pids).items()})
        pages = _pages(run)  # before the kills: their 200 holders read beside
        kills = await kill.kill(ready, ("browsed",))
        looking.cancel()
        await asyncio.wait([looking])
    return [pages, *(one for one in kills if one.aim)]


def _pages(run: Run) -> Row:
    held = run.ms(95) <= ANSWERED_MS and not run.failures
    return Row(
        what=f"{PEOPLE} browsers of {SESSIONS} sessions, each a page every {READS_S:.0f} s", callers=PEOPLE,
        p50=f"{run.ms(50):.0f} ms",
        p99=f"{run.ms(99):.0f} ms", rate=f"{run.per_second:,.0f}/s", ratio=f"p95 {run.ms(95):.0f} ms",
        aim=f"p95 <= {ANSWERED_MS} ms", held=held, note=f"refused {dict(run.failures)}; CPU ms a page: {run.cpu_ms()}",
    )  # fmt: skip


async def _session(ready: Stage, http: aiohttp.ClientSession, url: str) -> str:
    async with http.get(f"{url}/console/sign-in") as page:
        word = re.search(r'name="form" value="([^"]+)"', await page.text())
        stranger = page.headers["Set-Cookie"].partition(";")[0]
    assert word is not None
    fields = {"form": word[1], "name": "", "password": "", "code": await _code(ready, "operator"), "next": "/console"}
    sent = {"Cookie": stranger, "Origin": url, "Sec-Fetch-Site": "same-origin"}
    async with http.post(f"{url}/console/sign-in", data=fields, headers=sent, allow_redirects=False) as reply:
        found = [one.partition(";")[0] for one in reply.headers.getall("Set-Cookie", []) if "__Host-byokeep=" in one]
        assert found, reply.status
        return found[0]
