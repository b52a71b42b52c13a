"""The person at a platform and the operator at the command line, on a real stack: accounts by commands alone."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.support.cli import Ran, Shell
from tests.support.social import ACCOUNTS, SECRET
from tests.support.stack import World

ADDRESS = re.compile(r"^http://\S+$", re.MULTILINE)


@dataclass
class Owner:
    """The person at the platform, and the operator at the command line."""

    world: World
    shell: Shell
    http: aiohttp.ClientSession
    port: int

    async def tell(self, what: str, **spec: Any) -> None:
        async with self.http.post(f"{self.world.sim.url}/_sim/{what}", json=spec) as reply:
            assert reply.status in (200, 201), await reply.text()

    def back(self, login: str) -> str:
        return f"http://127.0.0.1:{self.port}/{login}"

    async def run(self, *words: str, who: str = "operator", stdin: bytes | None = None) -> Ran:
        return await self.shell.run(*words, token=self.world.token_file(who), stdin=stdin)

    async def json(self, *words: str, who: str = "operator", stdin: bytes | None = None) -> Any:
        ran = await self.run(*words, "--json", who=who, stdin=stdin)
        assert ran.code == 0, ran.said
        return ran.document

    async def prepare(self, login: str) -> None:
        """Our app and two accounts, at the platform and here."""
        await self.tell("apps", platform=login, client_id="app", client_secret=SECRET, redirect_uris=[self.back(login)],
                        partner=True)  # fmt: skip
        for account in ACCOUNTS[login]:
            await self.tell("accounts", platform=login, posts=3, **account)
        words = ("account", "app", "set", login, "--app-id", "app", "--redirect-uri", self.back(login))
        assert (await self.json(*words, who="admin", stdin=SECRET.encode()))["secret_version"] >= 1

    async def connect(
        self, client: str, login: str, name: str = "acme", account: str = "acme"
    ) -> tuple[Ran, list[aiohttp.ClientResponse]]:
        """Run the command, be the person and the browser."""
        await self.tell("consent", platform=login, account=account)
        pick = ["--pick", ACCOUNTS[login][0]["id"]] if login == "meta" else []
        words = ("account", "connect", client, login, name, *pick)
        process = await self.shell.begin(*words, token=self.world.token_file("operator"))
        url = ""
        while not url:
            line = (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
            assert line, "the command ended before it showed an address"
            url = line.strip() if ADDRESS.match(line.strip()) else ""
        # A stranger on this machine who does not know the state gets nothing.
        async with self.http.get(self.back(login), params={"state": "x" * 43, "code": "stolen"}) as reply:
            assert reply.status == 404
        async with self.http.get(url, allow_redirects=False) as reply:
            assert reply.status == 302, await reply.text()
            where = reply.headers["Location"]
        replies = []
        async with self.http.get(where, allow_redirects=False) as reply:
            await reply.read()
            replies.append(reply)
        async with self.http.get(f"{self.back(login)}/done", allow_redirects=False) as reply:
            page = await reply.text()
            assert "code" not in page
            assert "http" not in page
            replies.append(reply)
        return await self.shell.finish(process, *words, within_s=60), replies
