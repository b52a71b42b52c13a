"""Accounts connected, renewed, looked at and ended on a real stack, with every secret overheard at the platforms.

What a consent makes can not be planted: codes, verifiers and tokens are noted where the simulated platforms hand them
out or are shown them, and the secrets of our apps and of webhooks are made here. All are canaries for a search.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from unittest.mock import patch
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp

from byokeep_redact.canary import Canary
from byokeep_sim.platforms import social
from byokeep_sim.platforms.world import World as PlatformWorld
from tests.support.cli import Shell
from tests.support.ports import free_port
from tests.support.social import ACCOUNTS
from tests.support.stack import World, until

CLASSES = ("code", "verifier", "access", "refresh", "app-secret", "webhook-secret")
_ADDRESS = re.compile(r"^http://\S+$", re.MULTILINE)
_SHOWN = {"code": "code", "code_verifier": "verifier"}
_KINDS = {"refresh": "refresh", "access": "access", "short": "access", "long": "access", "page": "access"}


class Flows(Protocol):
    """What is asked of the flows of a search: a stack, commands, and a place for canaries."""

    world: World
    shell: Shell
    canaries: list[Canary]

    async def command(self, *words: str, who: str = "operator", stdin: bytes | None = None) -> int: ...

    async def send(self, method: str, url: str, **sent: Any) -> int: ...


@contextmanager
def overheard(note: Callable[[str, str], None]) -> Iterator[None]:
    """Tell ``note`` the class and the value of every code, verifier and token that the platforms see or make."""
    mint, read = PlatformWorld.mint, social._read

    def minted(self: PlatformWorld, family: Any, kind: Any, ttl_s: float | None, **more: str) -> str:
        value = mint(self, family, kind, ttl_s, **more)
        note(_KINDS[str(kind)], value)
        return value

    async def asked(request: Any) -> Any:
        ask = await read(request)
        for name, kind in _SHOWN.items():
            if ask.form.get(name):
                note(kind, ask.form[name])
        return ask

    with patch.object(PlatformWorld, "mint", minted), patch.object(social, "_read", asked):
        yield


async def accounts(flows: Flows) -> None:
    """Go through SOP 5.2 on every login, with what can go wrong, until every class of secret was there."""
    seen: set[str] = set()

    def note(kind: str, value: str) -> None:
        if value not in seen:
            seen.add(value)
            flows.canaries.append(Canary(f"{kind}-{len(seen)}", value.encode()))

    client, port = await flows.world.client(), free_port()
    with overheard(note):
        for login in sorted(ACCOUNTS):
            await prepare(flows, login, port, note)
            await connected(flows, client, login, port)
        await misplaced(flows, client, sorted(seen)[:4])
        await renewed(flows, client)
        await shown(flows, client)
        await ended(flows, client)
    await webhooks(flows, client, note)


async def tell(flows: Flows, what: str, **spec: Any) -> None:
    async with flows.world.http.post(f"{flows.world.sim.url}/_sim/{what}", json=spec) as reply:
        assert reply.status in (200, 201), await reply.text()


def back(login: str, port: int) -> str:
    return f"http://127.0.0.1:{port}/{login}"


async def prepare(flows: Flows, login: str, port: int, note: Callable[[str, str], None]) -> None:
    """Our app with a secret of its own, and accounts."""
    secret = "app-" + secrets.token_hex(20)
    note("app-secret", secret)
    await tell(flows, "apps", platform=login, client_id="app", client_secret=secret, redirect_uris=[back(login, port)],
               partner=True)  # fmt: skip
    for account in ACCOUNTS[login]:
        await tell(flows, "accounts", platform=login, posts=2, **account)
    words = ("account", "app", "set", login, "--app-id", "app", "--redirect-uri", back(login, port))
    assert await flows.command(*words, who="admin", stdin=secret.encode()) == 0


async def connected(flows: Flows, client: str, login: str, port: int) -> None:
    """Once with a token endpoint that talks nonsense, once well."""
    await tell(flows, "faults", provider=login, kind="garbage", match={"call": "token"})
    assert await consented(flows, client, login, port, "nonsense") == 2
    assert await consented(flows, client, login, port, "acme") == 0
    assert await flows.command("account", "lane", client, login, f"{login}-acme", "api") == 0


async def consented(flows: Flows, client: str, login: str, port: int, name: str) -> int:
    """Run the command and be its browser; returns its exit code."""
    await tell(flows, "consent", platform=login, account="acme")
    pick = ["--pick", ACCOUNTS[login][0]["id"]] if login == "meta" else []
    words = ("account", "connect", client, login, f"{login}-{name}", *pick)
    process = await flows.shell.begin(*words, token=flows.world.token_file("operator"))
    url = ""
    while not url:
        line = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
        assert line, "the command ended before it showed an address"
        url = line.strip() if _ADDRESS.match(line.strip()) else ""
    async with aiohttp.ClientSession() as browser:
        async with browser.get(url, allow_redirects=False) as reply:
            where = reply.headers["Location"]
        code = dict(parse_qsl(urlsplit(where).query))["code"]
        stolen = urlencode({"state": "x" * 43, "code": code})
        async with browser.get(f"{back(login, port)}?{stolen}") as reply:
            assert reply.status == 404
        async with browser.get(where) as reply:
            await reply.read()
    return (await flows.shell.finish(process, *words, within_s=120)).code


async def misplaced(flows: Flows, client: str, values: list[str]) -> None:
    """A code or a token where none belongs: in paths, queries, headers, bodies of web and broker."""
    stack, auth = flows.world.stack, {"Authorization": f"Bearer {flows.world.tokens['operator']}"}
    for value in values:
        for base in (stack.web_url, stack.broker_url):
            place = f"{base}/v1/clients/{client}"
            for method, url, sent in (
                ("GET", f"{place}/accounts/x/{value}", {"headers": auth}),
                ("GET", f"{place}/connections/{value}", {"headers": auth}),
                ("POST", f"{place}/logins/x/accounts/{value}/connect", {"headers": auth, "json": {"pick": value}}),
                ("POST", f"{place}/accounts/x/acme/lane", {"headers": auth, "json": {"policy": value}}),
                ("GET", f"{base}/v1/apps?code={value}", {"headers": auth | {"X-Code": value}}),
                ("PUT", f"{base}/v1/apps/x?app_id={value}&redirect_uri={value}", {"headers": auth, "data": value}),
            ):
                assert await flows.send(method, url, **sent) >= 400, (method, url)


async def renewed(flows: Flows, client: str) -> None:
    """Let every grant be due, and once more behind a platform that is down; wait until all were renewed."""
    database: Any = flows.world.stack._database

    async def versions() -> int:
        said = await database.as_superuser("SELECT sum(version) FROM byokeep.account_grant", database="byokeep")
        return int(said)

    await tell(flows, "faults", provider="x", kind="status", status=503, match={"call": "refresh"})
    await tell(flows, "clock", advance_s=2 * 86_400)  # a token has an age at which it may be renewed
    before = await versions()
    due = f"UPDATE byokeep.account_grant SET due_at = now(), tries = 0 WHERE client_id = '{client}'"  # noqa: S608
    for _ in range(40):
        await database.as_superuser(due, database="byokeep")
        await asyncio.sleep(1)
        if await versions() >= before + 3:
            return
    raise AssertionError("nothing was renewed")


async def shown(flows: Flows, client: str) -> None:
    """A platform whose identity call repeats the token, and everything that shows accounts."""
    await tell(flows, "faults", provider="linkedin", kind="echo_key", place="body", encoding="raw",
               match={"call": "identity"})  # fmt: skip
    for login in sorted(ACCOUNTS):
        await flows.command("account", "verify", client, login, f"{login}-acme")
        await flows.command("account", "show", client, login, f"{login}-acme", "--json")
    assert await flows.command("account", "list", client, "--json") == 0
    assert await flows.command("account", "app", "list", who="admin") == 0


async def ended(flows: Flows, client: str) -> None:
    """Disconnect them all."""
    for login in sorted(ACCOUNTS):
        assert await flows.command("account", "disconnect", client, login, f"{login}-acme") == 0
    sql = "SELECT count(*) FROM byokeep.account_grant WHERE state <> 'revoked'"
    database: Any = flows.world.stack._database

    async def over() -> bool:
        return bool((await database.as_superuser(sql, database="byokeep")).strip() == "0")

    await until(over, 60, "the grants to end")


async def webhooks(flows: Flows, client: str, note: Callable[[str, str], None]) -> None:
    """A signing secret, its successor, one of a wrong form, and the end of both."""
    for _ in range(2):
        value = "whsec-" + secrets.token_hex(20)
        note("webhook-secret", value)
        words = ("account", "webhook", "set", client, "tiktok", "--keep-previous", "1h")
        assert await flows.command(*words, stdin=value.encode()) == 0
    wrong = "whsec-" + secrets.token_hex(20)
    note("webhook-secret", wrong)
    assert await flows.command("account", "webhook", "set", client, "tiktok", stdin=f"{wrong} x".encode()) == 2
    assert await flows.command("account", "webhook", "list", client, "--json") == 0
    assert await flows.command("account", "webhook", "retire", client, "tiktok", "--reason", "not_used") == 0
