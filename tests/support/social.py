"""A simulator with one app and two accounts on every social platform, and a client that speaks their dialects."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp

import byokeep_sim as simulator
from byokeep.core.identity import Face, Fingerprint
from byokeep_sim.platforms.oauth import base64url_s256, hex_s256

DAY = 86_400
BACK = "http://127.0.0.1:8431/callback"
VERIFIER = "a-verifier-of-at-least-forty-three-characters-0"
SECRET = "made-up-client-secret-0123456789"


class Around:
    """A platform's client, of which a test changes some calls by inheriting from this."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one platform is spoken to."""

    authorize: str
    token: str
    scope: str
    identity: str
    client: str = "client_id"
    pkce: str = ""
    refresh: bool = True


GOOGLE = "https://www.googleapis.com/auth/"
DIALECTS: dict[str, Dialect] = {
    "meta": Dialect(
        authorize="www.facebook.com/v26.0/dialog/oauth",
        token="graph.facebook.com/v26.0/oauth/access_token",
        scope="pages_show_list,pages_read_engagement,instagram_basic,instagram_content_publish",
        identity="graph.facebook.com/v26.0/me?fields=id,name",
        refresh=False,
    ),
    "instagram": Dialect(
        authorize="www.instagram.com/oauth/authorize",
        token="api.instagram.com/oauth/access_token",
        scope="instagram_business_basic,instagram_business_content_publish",
        identity="graph.instagram.com/v26.0/me?fields=user_id,username,name,account_type,profile_picture_url",
        refresh=False,
    ),
    "tiktok": Dialect(
        authorize="www.tiktok.com/v2/auth/authorize/",
        token="open.tiktokapis.com/v2/oauth/token/",
        scope="user.info.basic,user.info.profile,video.list",
        identity="open.tiktokapis.com/v2/user/info/?fields=open_id,union_id,display_name,username,avatar_url",
        client="client_key",
        pkce="hex",
    ),
    "linkedin": Dialect(
        authorize="www.linkedin.com/oauth/v2/authorization",
        token="www.linkedin.com/oauth/v2/accessToken",
        scope="openid profile r_basicprofile",
        identity="api.linkedin.com/v2/userinfo",
    ),
    "youtube": Dialect(
        authorize="accounts.google.com/o/oauth2/v2/auth",
        token="oauth2.googleapis.com/token",
        scope=GOOGLE + "youtube.readonly",
        identity="www.googleapis.com/youtube/v3/channels?part=id,snippet,contentDetails&mine=true",
        pkce="base64url",
    ),
    "x": Dialect(
        authorize="x.com/i/oauth2/authorize",
        token="api.x.com/2/oauth2/token",
        scope="tweet.read users.read offline.access tweet.write",
        identity="api.x.com/2/users/me?user.fields=id,name,username,verified,protected",
        pkce="base64url",
    ),
}

ACCOUNTS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    name: (
        {"account": "acme", "id": first, "username": "acme.bakery", "display_name": "Acme Bakery"},
        {"account": "bravo", "id": second, "username": "bravo.cafe", "display_name": "Bravo Cafe"},
    )
    for name, first, second in (
        ("meta", "104000000000001", "104000000000002"),
        ("instagram", "17841400000000001", "17841400000000002"),
        ("tiktok", "-000AcmeOpenId", "-000BravoOpenId"),
        ("linkedin", "AcmeSub01", "BravoSub02"),
        ("youtube", "UCacme0000000000000000aa", "UCbravo000000000000000bb"),
        ("x", "2244994945", "2244994946"),
    )
}


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def body(self) -> Any:
        """The JSON of the body."""
        return json.loads(self.text)


class Social:
    """A running simulator and a client of it."""

    def __init__(self, sim: simulator.Sim, http: aiohttp.ClientSession) -> None:
        self.sim = sim
        self.http = http

    async def ask(self, method: str, url: str, **more: Any) -> Answer:
        """One call, no redirect followed."""
        async with self.http.request(method, url, allow_redirects=False, **more) as reply:
            return Answer(reply.status, (await reply.read()).decode(), reply.headers)

    async def tell(self, what: str, **spec: Any) -> Any:
        """Use a control; it must work."""
        answer = await self.ask("POST", f"{self.sim.url}/_sim/{what}", json=spec)
        assert answer.status in (200, 201), answer.text
        return answer.body

    async def show(self, what: str) -> Any:
        """Read a control."""
        return (await self.ask("GET", f"{self.sim.url}/_sim/{what}")).body

    async def call(self, method: str, platform: str, place: str, **more: Any) -> Answer:
        """Call a host and path of a platform."""
        return await self.ask(method, f"{self.sim.base_url(platform)}/{place}", **more)

    async def authorize(self, platform: str, **changes: str | None) -> Answer:
        """Open the consent page; a change of None leaves a parameter out."""
        talk = DIALECTS[platform]
        query: dict[str, str | None] = {
            talk.client: "app",
            "redirect_uri": BACK,
            "response_type": "code",
            "scope": talk.scope,
            "state": "state-1",
        }
        if talk.pkce:
            made = hex_s256(VERIFIER) if talk.pkce == "hex" else base64url_s256(VERIFIER)
            query |= {"code_challenge": made, "code_challenge_method": "S256"}
        if platform == "youtube":
            query |= {"access_type": "offline", "prompt": "consent"}
        query |= changes
        sent = {name: value for name, value in query.items() if value is not None}
        return await self.call("GET", platform, talk.authorize, params=sent)

    async def code(self, platform: str, **changes: str | None) -> str:
        """Consent and return the code."""
        return arrived(await self.authorize(platform, **changes))["code"]

    async def redeem(
        self, platform: str, code: str, *, client: str = "app", secret: str = SECRET, **changes: str | None
    ) -> Answer:
        """Exchange a code for tokens."""
        fields: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": BACK,
            "code_verifier": VERIFIER if DIALECTS[platform].pkce else None,
        }
        return await self.token(platform, client=client, secret=secret, **{**fields, **changes})

    async def token(self, platform: str, *, client: str = "app", secret: str = SECRET, **fields: str | None) -> Answer:
        """Call the token endpoint as the app does there."""
        talk = DIALECTS[platform]
        form = {name: value for name, value in fields.items() if value is not None}
        if platform == "x":
            shown = {"Authorization": aiohttp.encode_basic_auth(client, secret)}
            return await self.call("POST", platform, talk.token, data=form, headers=shown)
        return await self.call(
            "POST", platform, talk.token, data={talk.client: client, "client_secret": secret, **form}
        )

    async def refresh(self, platform: str, value: str, **more: Any) -> Answer:
        """Present a refresh token."""
        return await self.token(platform, grant_type="refresh_token", refresh_token=value, **more)

    async def connect(self, platform: str, account: str = "acme", **changes: str | None) -> dict[str, Any]:
        """Consent as an account and return the token reply."""
        await self.tell("consent", platform=platform, account=account)
        answer = await self.redeem(platform, await self.code(platform, **changes))
        assert answer.status == 200, answer.text
        tokens: dict[str, Any] = answer.body
        return tokens

    async def identity(self, platform: str, access: str) -> Answer:
        """Ask who the token belongs to."""
        return await self.read(platform, DIALECTS[platform].identity, access)

    async def read(self, platform: str, place: str, access: str, method: str = "GET", **more: Any) -> Answer:
        """Call the API with a bearer token."""
        headers = {"Authorization": f"Bearer {access}", **more.pop("headers", {})}
        return await self.call(method, platform, place, headers=headers, **more)

    async def calls(self, platform: str, account: str = "acme") -> Any:
        """The counters of an account."""
        return (await self.show(f"tokens?platform={platform}"))["calls"][platform].get(account, {})

    async def families(self, platform: str) -> Any:
        """The families of a platform."""
        return (await self.show(f"tokens?platform={platform}"))["families"][platform]


def arrived(answer: Answer) -> dict[str, str]:
    """The parameters of a redirect back to the client."""
    assert answer.status == 302, answer.text
    where = urlsplit(answer.headers["Location"])
    assert f"{where.scheme}://{where.netloc}{where.path}" == BACK
    return dict(parse_qsl(where.query, strict_parsing=True))


@asynccontextmanager
async def running_platforms() -> AsyncIterator[Social]:
    """A simulator with an app and two accounts on each platform."""
    sim = await simulator.start()
    try:
        async with aiohttp.ClientSession() as http:
            social = Social(sim, http)
            for platform, accounts in ACCOUNTS.items():
                await social.tell(
                    "apps", platform=platform, client_id="app", client_secret=SECRET, redirect_uris=[BACK], partner=True
                )
                for account in accounts:
                    await social.tell("accounts", platform=platform, posts=3, **account)
            yield social
    finally:
        await sim.stop()


def fingerprint_of(face: Face, *, app_id: str) -> Fingerprint:
    """Whom a platform must name that has named this account."""
    names = {"username": face.username, "display_name": face.display_name}
    return Fingerprint(account_id=face.account_id, app_id=app_id, **names)
