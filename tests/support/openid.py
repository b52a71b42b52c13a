"""An OpenID provider that signs whatever it is told to, for sign-ins that must not work; and what asks it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, Key, KeySet, RSAKey

from byokeep.adapters.openid import OpenIdProvider
from byokeep.adapters.system import SystemClock
from byokeep.core.secret import Secret
from byokeep.wire.transport import Outbound
from tests.support.ports import free_port

SECRET = "a made-up secret of a client"
CLIENT = "byokeep"


@dataclass
class Provider:
    """What it says is there to be changed.

    Attributes:
        metadata, headers, claims: What differs from what is right; a value of None leaves it out.
        key: What signs, in the place of its own.
        published: What it publishes.
        down: Whether it answers nothing.
        status: What a client that it does not take is answered; 401 = nobody is.
        calls: The paths that were asked for.
    """

    redirect: str
    base: str = ""
    own: Key = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    metadata: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    key: Any = None
    published: Any = None
    answer: Any = None
    down: bool = False
    status: int = 400
    calls: list[str] = field(default_factory=list)
    _codes: dict[str, tuple[dict[str, str], dict[str, Any]]] = field(default_factory=dict)

    def let_in(self, address: str, subject: str = "ann", groups: object = ("operators",)) -> dict[str, str]:
        """Let somebody in who was sent to an address; returns what the browser brings back."""
        assert address.startswith(f"{self.base}/authorize?")
        asked = {name: it[0] for name, it in parse_qs(urlsplit(address).query).items()}
        assert asked["redirect_uri"] == self.redirect
        assert (asked["client_id"], asked["response_type"], asked["code_challenge_method"]) == (CLIENT, "code", "S256")
        assert (asked["prompt"], asked["max_age"]) == ("login", "0")
        code = f"code-{len(self.calls)}"
        self._codes[code] = asked, {"sub": subject, "groups": groups}
        return {"state": asked["state"], "code": code, "iss": self.base, "error": ""}

    def token(self, nonce: str | None, who: Mapping[str, Any]) -> str:
        """An ID token: the right one, but for what is to be wrong."""
        now = int(time.time())
        claims = {"iss": self.base, "aud": CLIENT, "exp": now + 60, "iat": now, "auth_time": now, "nonce": nonce, **who}
        key = self.key or self.own
        headers = {"alg": "RS256", "kid": "one"} | self.headers
        said = {name: it for name, it in (claims | self.claims).items() if it is not None}
        return jwt.encode(
            {name: it for name, it in headers.items() if it is not None}, said, key,
            algorithms=["RS256", "PS256", "ES256", "HS256", "RS512", "none"],
        )  # fmt: skip

    def logout(self, subject: str = "ann", **other: Any) -> str:
        """A logout token: the right one, but for what is to be wrong."""
        event = {"http://schemas.openid.net/event/backchannel-logout": {}}
        said = {"sub": subject, "jti": os.urandom(8).hex(), "events": event, "sid": "s-1", "auth_time": None}
        return self.token(None, said | other)

    async def _described(self, _: web.Request) -> web.Response:
        said = {
            "issuer": self.base, "authorization_endpoint": f"{self.base}/authorize",
            "token_endpoint": f"{self.base}/token", "jwks_uri": f"{self.base}/keys",
            "authorization_response_iss_parameter_supported": True,
        } | self.metadata  # fmt: skip
        return web.json_response(said)

    async def _keys(self, _: web.Request) -> web.Response:
        keys = [self.own.as_dict(private=False)]
        return web.json_response({"keys": keys} if self.published is None else self.published)

    async def _token(self, request: web.Request) -> web.Response:
        given = await request.post()
        asked, who = self._codes.pop(str(given["code"]), (None, {}))
        basic = base64.b64encode(urlencode({CLIENT: SECRET}).replace("=", ":").encode()).decode()
        proof = hashlib.sha256(str(given["code_verifier"]).encode()).digest()
        good = asked is not None and asked["code_challenge"] == base64.urlsafe_b64encode(proof).rstrip(b"=").decode()
        posted = (given.get("client_id"), given.get("client_secret")) == (CLIENT, SECRET)
        known = posted if self.metadata.get("token_endpoint_auth_methods_supported") else (
            request.headers.get("Authorization") == f"Basic {basic}" and "client_secret" not in given
        )  # fmt: skip
        if self.status != 400 or not good or asked is None or not known:
            return web.json_response(self.answer or {"error": "invalid_grant"}, status=self.status)
        assert given["redirect_uri"] == self.redirect
        said = {"access_token": "not-wanted", "token_type": "Bearer", "id_token": self.token(asked["nonce"], who)}
        return web.json_response(said if self.answer is None else self.answer)

    @web.middleware
    async def _seen(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.calls.append(request.path)
        if self.down:
            return web.Response(status=503)
        return await handler(request)  # type: ignore[no-any-return]


@contextlib.asynccontextmanager
async def provider(redirect: str) -> AsyncIterator[Provider]:
    """Serve one on this machine."""
    made = Provider(redirect)
    app = web.Application(middlewares=[made._seen])
    app.add_routes([
        web.get("/.well-known/openid-configuration", made._described), web.get("/keys", made._keys),
        web.post("/token", made._token),
    ])  # fmt: skip
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    made.base = f"http://127.0.0.1:{port}"
    try:
        yield made
    finally:
        await runner.cleanup()


def ours(http: Outbound, issuer: str, redirect: str, **more: str) -> OpenIdProvider:
    """What asks a provider."""
    given: Mapping[str, str] = {"scopes": "openid", "groups_claim": "groups"} | more
    return OpenIdProvider(
        http, SystemClock(), issuer=issuer, client_id=CLIENT, secret=lambda: Secret(SECRET.encode()), redirect=redirect,
        **given,
    )  # fmt: skip


def set_of(*keys: Key) -> dict[str, Any]:
    """Public halves as a provider publishes them."""
    return KeySet(list(keys)).as_dict(private=False)  # type: ignore[return-value]


def elliptic() -> Key:
    """A key of another kind."""
    return ECKey.generate_key("P-256", {"kid": "one"})
