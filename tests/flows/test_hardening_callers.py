"""Who is let in: bearer tokens of ours in one header, and nothing that merely looks like a credential."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import secrets
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from typing import Any
from uuid import uuid4

import pytest

from byokeep.adapters.passwords import Passwords
from byokeep.broker.app import create_app as create_broker
from byokeep.broker.app import create_host_app
from byokeep.core.errors import Denied
from byokeep.core.model import Environment
from byokeep.core.secret import Secret
from byokeep.http.emergency import Emergency
from byokeep.killswitch.app import create_app as create_killswitch
from byokeep.tenancy.authenticate import authenticate
from byokeep.web.app import create_app as create_web
from byokeep.wire.bao_http import BaoHttp, lease_login
from tests.support.portal import invited
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]

PUBLIC = {f"GET /v1/identity/oidc/.well-known/{name}" for name in ("keys", "openid-configuration")}
# The description is of a broker in development; PUBLIC: what providers fetch who swap a client's identity.
LOGINS = {f"POST /v1/session{one}" for one in ("", "/console", "/passkey", "/sso", "/sso/answer", "/sso/logout")}
PORTAL = {
    f"POST /v1/portal/{name}"
    for name in ("code", "invitation", "invitation/code", "invitation/redeem", "session", "session/passkey")
}
OPEN = {"GET /healthz", "GET /readyz", "GET /openapi.json", *LOGINS, *PUBLIC, *PORTAL}
NOBODY = "00000000-0000-4000-8000-00000000000f"
EACH = 3  # forged tokens for each route; the next route gets the next ones, so that each of them comes to many


def routes_of(api: Any) -> set[str]:
    """Every method and path of an application, the undocumented ones too; the console's are in test_console.py."""
    found: set[str] = set()

    def walk(routes: Any) -> None:
        for route in routes:
            if getattr(route, "methods", None):
                if not route.path.startswith(("/console", "/portal")):
                    found.update(f"{method} {route.path}" for method in route.methods if method != "HEAD")
            else:
                walk(getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", ()))

    walk(api.routes)
    return found


def filled(path: str) -> str:
    """A path with made-up parameters."""
    words = {"provider": "openai", "platform": "x", "account": "acme"}
    return "/".join(words.get(part[1:-1], NOBODY) if part.startswith("{") else part for part in path.split("/"))


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token_of(header: bytes, claims: bytes, signature: bytes = b"") -> str:
    return f"{b64(header)}.{b64(claims)}.{b64(signature)}"


def corpus(real: str, admin: str) -> list[str]:
    """Tokens that somebody might take for one: all of them must be refused."""
    now = int(time.time())
    claims = json.dumps({"sub": admin, "roles": ["admin"], "iat": now, "exp": now + 3600}).encode()
    header, body, signature = real.split(".")
    twice = b'{"sub":"x","sub":"' + admin.encode() + b'","role":"admin","role":"runner"}'
    return [
        real,
        *(token_of(f'{{"alg":"{name}"}}'.encode(), claims) for name in ("none", "None", "NoNe", "NONE", "")),
        token_of(b'{"alg":"HS256"}', claims, secrets.token_bytes(32)),
        token_of(b'{"alg":"EdDSA","typ":"byokeep-lease+jwt","kid":"1"}', claims, secrets.token_bytes(64)),
        token_of(b'{"alg":"EdDSA","alg":"none"}', twice),
        token_of(b'{"alg":"none"}', b'{"sub":"\xff\xfe\x80"}'),
        token_of(b"\xff\xfe", b"\x80\x81"),
        token_of(b'{"alg":"none","jwk":{"kty":"oct"}}', json.dumps({"nested": real[:40]}).encode()),
        token_of(b'{"alg":"dir","enc":"A128GCM"}', b"", b"") + "..",
        f"{header}.{body}.", f"{header}..{signature}", f"{body}.{header}.{signature}", real[: real.rindex(".")],
        "bko_" + real[:43], f"bko_{b64(claims)[:43]}", "..", "eyJ",
    ]  # fmt: skip


async def sent(http: Any, method: str, path: str, token: str | None) -> tuple[int, str, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with http.request(method, "http://host" + path, headers=headers) as reply:
        text = await reply.text()
        code = json.loads(text).get("code", "") if text.startswith("{") else text
        return reply.status, code, reply.headers.get("WWW-Authenticate")


@pytest.mark.req("S-ASVS-30", "S-JWT-6", "S-ASVS-29")
@pytest.mark.parametrize("each", [EACH, pytest.param(None, marks=pytest.mark.campaign)])
async def test_no_route_takes_anything_but_our_own_tokens(desk: Desk, each: int | None) -> None:
    """On every route of web and broker: no credential, a true lease JWT, and forged ones get 401 and nothing."""
    stand = desk.stand
    lease = await stand.lease(await stand.job(await stand.client("openai")))
    real, *forged = corpus(lease["jwt"], str(desk.people["admin"].id))
    turns, took = cycle(forged), Counter[str]()
    broker = create_broker(stand.app, partial(authenticate, stand.app), passwords=Passwords())
    changed = (
        "SELECT (SELECT count(*) FROM byokeep.audit_record WHERE event NOT IN ('access.decided', 'alert.raised')),"
        " (SELECT count(*) FROM byokeep.job)"
    )
    before = desk.sql(changed)
    for api, http in ((desk.api, desk.http), (broker, stand.http)):
        routes = routes_of(api)
        assert len(routes) > 20
        for route in sorted(routes - OPEN):
            if http is stand.http and route == "GET /openapi.json":
                continue
            method, _, path = route.partition(" ")
            tokens = [None, real, *islice(turns, each or len(forged))]
            for token in tokens[http is stand.http and route == "GET /v1/gate/schema" :]:  # public without a token
                answer = await sent(http, method, filled(path), token)
                assert answer in ((401, "no_token", "Bearer"), (401, "bad_token", "Bearer")), (route, token)
                took[token or ""] += 1
    assert min(took[token] for token in forged) > 40
    assert took[real] > 200
    assert desk.sql(changed) == before
    assert "bad_tokens" in stand.alerts()
    assert (await sent(desk.http, "GET", "/openapi.json", None))[0] == 401
    assert (await sent(desk.http, "GET", "/v1/self", desk.people["admin"].token))[0] == 200


@pytest.mark.req("S-JWT-6")
async def test_bytes_that_are_no_text_are_no_token(desk: Desk) -> None:
    """A header that is not UTF-8, holds a NUL or stands twice is refused like any other wrong token."""
    good = desk.people["admin"].token.encode()
    for lines in (
        b"Authorization: Bearer \xff\xfe\x80\r\n", b"Authorization: Bearer " + good + b"\xff\r\n",
        b"Authorization: Bearer " + good + b"\r\nAuthorization: Bearer " + good + b"\r\n",
        b"Authorization: Bearer " + "bko_\u0435".encode() + good[5:] + b"\r\n",
    ):  # fmt: skip
        reader, writer = await asyncio.open_unix_connection(str(desk.stand.home / "w.sock"))
        writer.write(b"GET /v1/self HTTP/1.1\r\nHost: web\r\nConnection: close\r\n" + lines + b"\r\n")
        status = (await reader.readline()).split()[1]
        writer.close()
        assert status in (b"401", b"400"), lines


@pytest.mark.req("S-JWT-4")
async def test_kinds_of_tokens_do_not_stand_in_for_one_another(desk: Desk) -> None:
    """A lease is no API token, an API token no lease; a use lease is no custody, an enrolment neither."""
    stand = desk.stand
    client = await stand.client("openai")
    lease = await stand.lease(await stand.job(client))
    for http in (desk.http, stand.http):
        assert (await sent(http, "GET", "/v1/self", lease["jwt"]))[0] == 401
        assert (await sent(http, "GET", "/v1/self", lease["lease_id"]))[0] == 401
    header = json.loads(base64.urlsafe_b64decode(lease["jwt"].split(".")[0] + "=="))
    assert header["typ"] == "byokeep-lease+jwt"
    for role in ("dispatcher", "runner", "custodian"):  # the kind a token names must be the kind it is
        token = desk.people[role].token
        assert (await sent(stand.http, "GET", "/v1/self", token))[0] == 200
        for other in {"bko_", "bkd_", "bkr_", "bkc_"} - {token[:4]}:
            assert (await sent(stand.http, "GET", "/v1/self", other + token[4:]))[0] == 401
        assert (await sent(stand.http, "GET", "/v1/approvals", token))[0] == 403
        assert (await sent(desk.http, "GET", "/v1/operators", token))[0] == 401  # web knows people alone
    assert (await sent(stand.http, "POST", f"/v1/jobs/{uuid4()}/leases", desk.people["operator"].token))[0] == 403
    now = int(time.time())
    base = {"iss": f"byokeep/{stand.app.installation_id}", "aud": "openbao", "sub": "s", "job_id": "s",
            "client_id": str(client), "iat": now, "nbf": now, "exp": now + 3}  # fmt: skip
    use = await stand.app.signer.sign_jwt(base | {"kind": "use", "secrets": ["openai"]})
    enroll = await stand.app.signer.sign_jwt(base | {"kind": "enroll", "secrets": []})
    async with BaoHttp(stand.store.address) as http:
        await lease_login(http, Secret(use), "use-openai")
        for jwt, role in (
            (use, "custody-openai"), (use, "use-anthropic"), (enroll, "use-openai"), (enroll, "custody-openai"),
            (use, "enroll"), (desk.people["runner"].token, "use-openai"), (desk.people["admin"].token, "enroll"),
        ):  # fmt: skip
            with pytest.raises(Denied):
                await lease_login(http, Secret(jwt), role)
        for token in (desk.people["admin"].token, use):
            with pytest.raises(Denied):
                await http.request("GET", "auth/token/lookup-self", token=Secret(token))


@pytest.mark.req("S-ASVS-14")
async def test_a_token_in_the_address_is_no_token(desk: Desk) -> None:
    """A token in query or path is 401 and in no log; what goes out to vendors has no key in its address."""
    token = desk.people["admin"].token
    for http in (desk.http, desk.stand.http):
        for name in ("token", "access_token", "key", "authorization"):
            assert (await sent(http, "GET", f"/v1/self?{name}={token}", None))[:2] == (401, "no_token")
        assert (await sent(http, "GET", f"/v1/self/{token}", None))[0] == 404
    assert (await sent(desk.http, "GET", f"/v1/audit?token={token}", None))[0] == 401
    client = await desk.stand.client()
    guest = await invited(desk, client)  # an invitation in a query lets nobody in, and is as good as before
    refused = await guest.ask("GET", f"/portal/invitation?i={guest.invited['token']}")
    assert (refused.status, guest.invited["token"] in refused.raw) == (401, False)
    assert (await guest.look()).status == 200
    for provider in ("google", "openai"):
        await desk.onboard(client, provider=provider)
    assert len(desk.sim.book.log.entries) >= 2
    for entry in desk.sim.book.log.entries:
        assert not entry["key_in_url"]
        assert not {"key", "token", "api_key"} & set(entry["query_names"])
        assert entry["auth"] is not None
    logs = (desk.files / "web.log").read_text()
    assert '"route": "/v1/self"' in logs
    assert token not in logs
    assert guest.invited["token"] not in logs
    assert not [canary for canary in desk.canaries if canary.value.decode() in logs]


@pytest.mark.req("S-OWASP-20")
async def test_an_id_is_no_capability(desk: Desk) -> None:
    """Whoever knows every id of a job, lease, permit, client and key can do nothing with them but be refused."""
    stand = desk.stand
    client = await stand.client("openai")
    stand.account(client)
    job = await stand.job(client)
    lease = await stand.lease(job)
    permit = (await stand.permit(lease["lease_id"]))[1]["permit_id"]
    stranger = stand.subject("runner", "stranger")
    paths = (
        ("POST", f"/v1/jobs/{job}/leases"), ("GET", f"/v1/leases/{lease['lease_id']}"), ("GET", f"/v1/jobs/{job}"),
        ("POST", f"/v1/jobs/{job}/close"), ("POST", f"/v1/permits/{permit}/close"),
        ("POST", f"/v1/leases/{lease['lease_id']}/permits"),
    )  # fmt: skip
    body = {"version": 1, "effect": "publish", "platform": "x", "account": "acme", "lane": "api",
            "idempotency_key": "a-strangers-key", "outcome": "done"}  # fmt: skip
    for method, path in paths:
        assert (await sent(stand.http, method, path, None))[0] == 401
        wanted = {"outcome": "done"} if "permits/" in path else body if path.endswith("permits") else None
        if wanted is body:
            wanted = {name: value for name, value in body.items() if name != "outcome"}
        assert (await stand.call(method, path, stranger, wanted))[0] == 404, path
        for known in (job, lease["lease_id"], client, stand.people["runner"].id):
            assert (await sent(stand.http, method, path, str(known)))[0] == 401
    for path, said in (
        (f"/v1/accounts/{client}/x/acme/identity",
         {"lease_id": lease["lease_id"], "id": "other", "username": "other", "display_name": "Other"}),
        ("/v1/leases/use", {"leases": [{"lease_id": lease["lease_id"], "logins": 9, "reads": {}}]}),
    ):  # fmt: skip
        assert (await stand.call("POST", path, stranger, said))[0] == 404, path
    assert "identity_mismatch" not in stand.alerts()
    assert not stand.events("lease.use_told")
    assert desk.sql(f"SELECT state FROM byokeep.job WHERE id = '{job}'") == "open"  # noqa: S608
    assert desk.sql(f"SELECT state FROM byokeep.permit WHERE id = '{permit}'") == "issued"  # noqa: S608


@pytest.mark.req("S-OWASP-20")
def test_tokens_come_from_the_kernel_with_256_bits(desk: Desk) -> None:
    """Two thousand tokens are all different, every character position varies, and no bit leans to one side."""
    made = [desk.web.ids.token() for _ in range(2000)]
    raw = [base64.urlsafe_b64decode(token + "=") for token in made]
    assert {len(value) for value in raw} == {32}
    assert len({value[:16] for value in raw}) == len({value[16:] for value in raw}) == 2000
    for bit in range(256):
        ones = sum(value[bit // 8] >> (bit % 8) & 1 for value in raw)
        assert 800 < ones < 1200, bit
    assert type(desk.web.ids).__module__ == "byokeep.adapters.system"
    state = random.getstate()
    try:  # what a program can set again is no source of it
        random.seed(1)
        first = desk.web.ids.token()
        random.seed(1)
        assert desk.web.ids.token() != first
    finally:
        random.setstate(state)


@pytest.mark.req("S-ASVS-31")
def test_production_has_no_documents_and_no_hooks(desk: Desk) -> None:
    """In production neither process describes itself; docs, metrics and debug pages exist in no environment."""
    stand = desk.stand
    development = [desk.api, create_broker(stand.app, partial(authenticate, stand.app), passwords=Passwords())]
    live = replace(stand.app, environment=Environment.PRODUCTION)
    web = replace(desk.web, environment=Environment.PRODUCTION)
    production = [
        create_broker(live, partial(authenticate, live), passwords=Passwords()),
        create_web(web, partial(authenticate, web), broker_address=stand.url),
        create_killswitch(live, partial(authenticate, live), Emergency()),
        create_host_app(live, partial(authenticate, live), Emergency(), passwords=Passwords()),
    ]
    for api in (*development, *production):
        assert not api.debug
        words = " ".join(routes_of(api)).replace("/v1/notifications/test", "")  # a message to see that it comes
        for hook in ("/docs", "/redoc", "/metrics", "/debug", "/_", "/test", "/clock", "/fault"):
            assert hook not in words
    assert all("GET /openapi.json" in routes_of(api) for api in development)
    assert not any("GET /openapi.json" in routes_of(api) for api in production)


@pytest.mark.req("S-ASVS-27")
async def test_a_decision_is_about_who_asked(desk: Desk) -> None:
    """Through web, and as a runner with wide reach, a caller gets what it may itself for this job, and no more."""
    stand = desk.stand
    a, b = await stand.client("openai", "anthropic"), await stand.client("openai")
    narrow = stand.subject("operator", "narrow", clients=(a,))
    body = {"client_id": str(b), "reason": "a_test"}
    assert (await desk.call("POST", "/v1/switches/close", narrow, body))[0] == 404
    assert (await desk.call("POST", "/v1/audit/checkpoint", "operator"))[0] == 403
    assert (await desk.call("GET", "/v1/self", narrow))[1]["id"] == str(narrow.id)
    # The runner is assigned to all clients, yet on behalf of job A it reaches A's declared secret alone.
    lease = await stand.lease(await stand.job(a))
    assert list(lease["secrets"]) == ["openai"]
    async with BaoHttp(stand.store.address) as http:
        token = await lease_login(http, Secret(lease["jwt"]), "use-openai")
        paths = {"own": lease["secrets"]["openai"]["path"]}
        paths["other"] = paths["own"].replace(str(a), str(b))
        paths["undeclared"] = paths["own"].replace("openai", "anthropic")
        seen = {}
        for name, path in paths.items():
            try:
                await http.request("GET", path.replace("kv/", "kv/data/", 1), token=token)
                seen[name] = True
            except Denied:
                seen[name] = False
    assert seen == {"own": True, "other": False, "undeclared": False}
    assert json.loads(stand.events("lease.issued")[-1])["actor"] == str(stand.people["runner"].id)
    closed = await desk.call("POST", "/v1/switches/close", narrow, {"client_id": str(a), "reason": "a_test"})
    assert closed[0] == 200
    assert json.loads(stand.events("switch.closed")[-1])["actor"] == str(narrow.id)
