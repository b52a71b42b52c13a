"""Our OAuth client against a certified server: node's oidc-provider, installed from pinned packages, on loopback."""

from __future__ import annotations

import asyncio
import os
import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit
from uuid import UUID

import aiohttp
import pytest

from byokeep.core.errors import Rejected
from byokeep.core.fault import Fault, FaultCause
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet
from byokeep.platforms.client import PlatformClient, RevocationResult
from byokeep.platforms.consent import PlatformApp, TokenPlace, authorization_url, new_verifier
from byokeep.platforms.descriptor import load
from byokeep.wire.transport import Got, Outbound
from tests.support import npm

HERE = Path(__file__).parents[1] / "support" / "oidc"
OAUTH = load("standard", tomllib.loads((HERE / "data" / "standard.toml").read_text())).oauth
BACK = "http://127.0.0.1:8431/callback"
SECRET = "made-up-client-secret-0123456789"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the server and its pinned packages."""
    return npm.installed(HERE, tmp_path_factory.mktemp("oidc"), "runs a real OpenID provider")


@dataclass
class Bench:
    """The running server, a person's browser, and our client."""

    base: str
    http: Outbound
    browser: aiohttp.ClientSession
    landed: list[Got] = field(default_factory=list)

    def client(self, *, back: str = BACK, secret: str = SECRET) -> PlatformClient:
        app = PlatformApp(client_id="app", client_secret=Secret(secret), redirect_uri=back)
        return PlatformClient(OAUTH, app, self.http, TokenPlace(base=self.base), clock=lambda: datetime.now(UTC))

    async def open(self, url: str) -> tuple[int, dict[str, str]]:
        """Follow a consent to where it leads; returns the last status, and what came back to our address."""
        for _ in range(10):
            async with self.browser.get(url, allow_redirects=False) as reply:
                if reply.status not in (302, 303):
                    return reply.status, {}
                url = urljoin(url, reply.headers["Location"])
            if url.startswith(BACK + "?"):
                return 302, dict(parse_qsl(urlsplit(url).query, strict_parsing=True))
        raise AssertionError("the consent never came back")

    async def code(self, client: PlatformClient, verifier: Secret) -> Secret:
        state = Secret(token_urlsafe(32))
        url = authorization_url(
            client.oauth,
            client.app,
            client.place,
            state=state.reveal().decode(),
            verifier=verifier,
            scopes=client.oauth.scopes_for(),
        )
        status, found = await self.open(url)
        assert status == 302
        assert "code" in found, found
        assert state.matches(found["state"].encode())
        client.oauth.check_issuer(found["iss"])
        return client.oauth.clean_code(found["code"])

    async def exchange(self, client: PlatformClient, code: Secret, verifier: Secret) -> TokenSet | Fault:
        return await client.exchange(code, verifier, by=UUID(int=7))

    async def connect(self) -> tuple[PlatformClient, TokenSet]:
        client, verifier = self.client(), new_verifier()
        tokens = await self.exchange(client, await self.code(client, verifier), verifier)
        assert isinstance(tokens, TokenSet), tokens
        return client, tokens

    async def refresh(self, client: PlatformClient, tokens: TokenSet) -> TokenSet | Fault:
        async def land(status: int, body: Secret, at: datetime) -> None:
            self.landed.append(Got(status=status, body=body))

        return await client.refresh(tokens, landed=land)


@pytest.fixture
async def bench(installed: Path) -> AsyncIterator[Bench]:
    process = await asyncio.create_subprocess_exec(
        "node", "server.mjs", BACK, cwd=installed, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "NODE_ENV": "test", "OIDC_CLIENT_SECRET": SECRET},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        async with asyncio.timeout(30):
            while not (line := (await process.stdout.readline()).decode()).startswith("http://"):
                assert line, "the server ended before it listened"
        jar = aiohttp.CookieJar(unsafe=True)
        async with Outbound() as http, aiohttp.ClientSession(cookie_jar=jar) as browser:
            yield Bench(line.strip(), http, browser)
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 60)


def refused(found: Any, cause: FaultCause = FaultCause.REVOKED) -> bool:
    return isinstance(found, Fault) and found.answered and found.cause is cause


async def test_connect_identify_renew_and_revoke(bench: Bench) -> None:
    """Code with PKCE, identity by userinfo, rotation at each renewal, and an end that is proved by use."""
    client, tokens = await bench.connect()
    assert tokens.scopes == client.oauth.scopes_for()
    seen = await client.identify(tokens)
    assert not isinstance(seen, Fault)
    assert [(face.account_id, face.username, face.display_name) for face in seen] == [
        ("account-1", "acme.bakery", "Acme Bakery")
    ]
    spent = []
    for _ in range(5):
        spent.append(tokens)
        renewed = await bench.refresh(client, tokens)
        assert isinstance(renewed, TokenSet), renewed
        tokens = renewed
    assert tokens.refresh is not None
    assert all(one.refresh is not None and not tokens.refresh.matches(one.refresh) for one in spent)
    assert len(bench.landed) == 5
    assert not isinstance(await client.identify(tokens), Fault)
    assert (await client.revoke(tokens)).ended is RevocationResult.CONFIRMED
    assert refused(await bench.refresh(client, tokens))


async def test_a_spent_refresh_token_ends_the_whole_family(bench: Bench) -> None:
    """Who comes with a spent token is refused, and so is the newest one after that."""
    client, first = await bench.connect()
    second = await bench.refresh(client, first)
    assert isinstance(second, TokenSet)
    assert refused(await bench.refresh(client, first))
    assert refused(await bench.refresh(client, second))
    assert len(bench.landed) == 1


async def test_a_code_is_redeemed_once_by_who_began(bench: Bench) -> None:
    """A second redemption, another's verifier, another address and a wrong secret are each refused."""
    client, verifier = bench.client(), new_verifier()
    code = await bench.code(client, verifier)
    tokens = await bench.exchange(client, code, verifier)
    assert isinstance(tokens, TokenSet)
    assert refused(await bench.exchange(client, code, verifier))
    assert refused(await client.identify(tokens))  # the replay ended what the code had given
    assert refused(await bench.exchange(client, await bench.code(client, verifier), new_verifier()))
    other = bench.client(back="http://127.0.0.1:8431/elsewhere")
    assert refused(await bench.exchange(other, await bench.code(client, verifier), verifier))
    stranger = bench.client(secret="another-made-up-secret-0123456789")
    assert refused(await bench.exchange(stranger, await bench.code(client, verifier), verifier), FaultCause.APP)


async def test_consent_is_not_sent_to_another_address_nor_given_without_a_challenge(bench: Bench) -> None:
    """A redirect address that is not registered gets nothing; no challenge, no code; another issuer is refused."""
    client = bench.client()
    other = bench.client(back="http://127.0.0.1:8431/elsewhere")
    url = authorization_url(
        other.oauth,
        other.app,
        other.place,
        state=token_urlsafe(32),
        verifier=new_verifier(),
        scopes=other.oauth.scopes_for(),
    )
    assert await bench.open(url) == (400, {})
    url = authorization_url(
        client.oauth,
        client.app,
        client.place,
        state=token_urlsafe(32),
        verifier=new_verifier(),
        scopes=client.oauth.scopes_for(),
    )
    _, found = await bench.open(url.partition("&code_challenge=")[0])
    assert (found["error"], "code" in found) == ("invalid_request", False)
    for issuer in (None, "https://x.com"):
        with pytest.raises(Rejected) as caught:
            client.oauth.check_issuer(issuer)
        assert caught.value.code == "wrong_issuer"
