"""Every platform's OAuth against its simulator, over real HTTP: connect, renew, identify, list, revoke, fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import pytest
from aiohttp import web

from byokeep.core.errors import Integrity, Rejected
from byokeep.core.fault import Fault, FaultCause
from byokeep.core.identity import Face, Fingerprint, IdentityVerdict, Why, choose, compare
from byokeep.core.refresh import TokenModel, due_at, reauth_at
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet, missing_scopes
from byokeep.platforms.client import PlatformClient, Posts, RevocationResult
from byokeep.platforms.consent import PlatformApp, TokenPlace, authorization_url, new_verifier
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS, MixUp, Pkce, ScopePurpose
from byokeep.wire.transport import Got, NotGot, Outbound, exchange
from tests.support.social import ACCOUNTS, BACK, DAY, SECRET, Social, fingerprint_of, running_platforms

PLATFORMS = sorted(ACCOUNTS)
RENEWABLE_BY_TOKEN = ["linkedin", "tiktok", "x", "youtube"]
BY = UUID(int=7)
START = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass
class Bench:
    social: Social
    http: Outbound
    landed: list[Got] = field(default_factory=list)
    now: datetime = field(default_factory=lambda: START)

    def client(self, platform: str, *, app_id: str = "app", secret: str | None = SECRET) -> PlatformClient:
        app = PlatformApp(client_id=app_id, client_secret=Secret(secret) if secret else None, redirect_uri=BACK)
        place = TokenPlace(base=self.social.sim.base_url(platform))
        return PlatformClient(PLATFORM_DESCRIPTORS[platform].oauth, app, self.http, place, clock=lambda: self.now)

    async def advance(self, **span: float) -> None:
        moved = timedelta(**span)
        self.now += moved
        await self.social.tell("clock", advance_s=moved.total_seconds())

    async def land(self, status: int, body: Secret, at: datetime) -> None:
        self.landed.append(Got(status=status, body=body))

    async def code(self, client: PlatformClient, verifier: Secret | None, *purposes: ScopePurpose) -> Secret:
        """Send the scripted person to the consent page and take the code from the redirect."""
        state = Secret(token_urlsafe(32))
        url = authorization_url(
            client.oauth,
            client.app,
            client.place,
            state=state.reveal().decode(),
            verifier=verifier,
            scopes=client.oauth.scopes_for(*purposes),
        )
        answer = await self.social.ask("GET", url)
        assert answer.status == 302, answer.text
        # A browser keeps the fragment; what hangs on to the code is the client's to take off.
        found = dict(parse_qsl(urlsplit(answer.headers["Location"]).query, strict_parsing=True))
        assert state.matches(found["state"].encode())
        client.oauth.check_issuer(found.get("iss"))
        return client.oauth.clean_code(found["code"])

    async def connect(
        self, platform: str, *purposes: ScopePurpose, account: str = "acme"
    ) -> tuple[PlatformClient, TokenSet]:
        client = self.client(platform)
        await self.social.tell("consent", platform=platform, account=account)
        verifier = None if client.oauth.pkce is Pkce.NONE else new_verifier()
        code = await self.code(client, verifier, *purposes)
        tokens = await client.exchange(code, verifier, by=BY)
        assert isinstance(tokens, TokenSet), tokens
        granted = await client.granted(tokens)
        assert isinstance(granted, tuple)
        end = await client.consent_end(tokens)
        assert not isinstance(end, Fault)
        return client, replace(tokens, scopes=granted, consent_expires_at=end)

    async def refresh(self, client: PlatformClient, tokens: TokenSet) -> TokenSet | Fault:
        return await client.refresh(tokens, landed=self.land)

    async def renewed(self, client: PlatformClient, tokens: TokenSet) -> TokenSet:
        found = await self.refresh(client, tokens)
        assert isinstance(found, TokenSet), found
        return found

    async def fault(self, platform: str, kind: str, *, call: str, **spec: Any) -> None:
        await self.social.tell("faults", provider=platform, kind=kind, match={"call": call}, **spec)


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async with running_platforms() as social, Outbound() as http:
        await social.tell("clock", frozen=True, now=START.timestamp())
        made = Bench(social, http)
        monkeypatch.setattr("byokeep.platforms.client.sleep", lambda s: made.advance(seconds=s))  # time of its own
        yield made


def acme(platform: str) -> Face:
    one = ACCOUNTS[platform][0]
    return Face(account_id=one["id"], username=one["username"], display_name=one["display_name"])


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_connected_identified_and_listed(bench: Bench, platform: str) -> None:
    """Consent, code, tokens, scopes, identity and the newest posts, as the platform itself publishes them."""
    client, tokens = await bench.connect(platform, ScopePurpose.READ)
    assert (tokens.platform, tokens.app_id, tokens.obtained_by) == (platform, "app", BY)
    assert missing_scopes(tokens, frozenset(client.oauth.scopes_for(ScopePurpose.READ))) == set()
    assert tokens.access_expires_at is not None
    assert (tokens.refresh is None) == (platform in ("meta", "instagram"))
    faces = await client.identify(tokens)
    assert not isinstance(faces, Fault)
    seen = choose(faces, wanted=None)
    assert isinstance(seen, Face)
    assert seen.account_id == ACCOUNTS[platform][0]["id"]
    assert seen.display_name == "Acme Bakery"
    assert seen.username in ({None} if platform == "linkedin" else {"acme.bakery", "@acme.bakery"})
    ours = fingerprint_of(seen, app_id="app")
    several = client.oauth.identity.several_allowed
    assert compare(ours, faces, app_id="app", several_allowed=several).verdict is IdentityVerdict.MATCH
    posts = await client.look(tokens, seen)
    assert isinstance(posts, Posts)
    assert posts.count == 3
    assert posts.newest_id
    seen_calls = (await bench.social.show("requests"))["requests"]
    assert all(one["method"] == "GET" for one in seen_calls[-2:]) or platform == "tiktok"


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_fifty_renewals_over_simulated_months(bench: Bench, platform: str) -> None:
    """Each is one request, lands before it is read, and gives tokens that work; lifetimes are the replies' own."""
    client, tokens = await bench.connect(platform)
    first = tokens
    for number in range(50):
        due = due_at(client.oauth.refresh_rules, tokens, seed=f"{platform}{number}".encode())
        assert due is not None
        if platform == "linkedin":
            due = bench.now + timedelta(days=7)
        await bench.advance(seconds=max((due - bench.now).total_seconds(), 0))
        tokens = await bench.renewed(client, tokens)
        assert tokens.obtained_at == bench.now.replace(microsecond=0)
        assert tokens.access_expires_at is not None
        assert tokens.access_expires_at > bench.now
    assert len(bench.landed) == 50
    seen = await client.identify(tokens)
    if platform == "meta":
        assert first.consent_expires_at == START + timedelta(days=90)
        assert reauth_at(client.oauth.refresh_rules, tokens) == first.consent_expires_at
        assert isinstance(seen, Fault)
        assert seen.cause is FaultCause.MISSING_SCOPE
    else:
        assert not isinstance(seen, Fault)
    calls = await bench.social.calls(platform)
    kind = "exchange" if platform == "meta" else "refresh"
    assert calls[kind]["received"] - calls[kind].get("replayed", 0) == (51 if platform == "meta" else 50)
    assert tokens.scopes == first.scopes
    if client.oauth.refresh_rules.model is TokenModel.FIXED:
        assert tokens.refresh is not None
        assert first.refresh is not None
        assert tokens.refresh.matches(first.refresh)


async def test_linkedin_s_year_ends_when_it_said(bench: Bench) -> None:
    """The refresh token's end does not move; after it the renewal is refused as revoked."""
    client, tokens = await bench.connect("linkedin")
    end = tokens.refresh_expires_at
    assert end == bench.now + timedelta(days=365)
    await bench.advance(days=300)
    tokens = await bench.renewed(client, tokens)
    assert tokens.refresh_expires_at == end
    assert tokens.access_expires_at == bench.now + timedelta(days=60)
    await bench.advance(days=66)
    assert await bench.refresh(client, tokens) == Fault(cause=FaultCause.REVOKED, http_status=400)


async def test_without_partnership_linkedin_gives_no_refresh_token(bench: Bench) -> None:
    """It is stored as none, and there is nothing to renew with: refused before anything is sent."""
    await bench.social.tell("apps", platform="linkedin", client_id="app", client_secret=SECRET, redirect_uris=[BACK])
    client, tokens = await bench.connect("linkedin")
    assert tokens.refresh is None
    assert due_at(client.oauth.refresh_rules, tokens, seed=b"") is None
    before = (await bench.social.show("requests"))["seen"]
    with pytest.raises(Rejected) as refused:
        await bench.refresh(client, tokens)
    assert refused.value.code == "call_lacks_a_value"
    assert (await bench.social.show("requests"))["seen"] == before


@pytest.mark.parametrize("platform", ["x", "tiktok"])
async def test_a_spent_refresh_token_is_revoked_and_the_landed_reply_saves_the_chain(
    bench: Bench, platform: str
) -> None:
    """Who crashed after landing reads the landed reply and goes on; who shows the old token again is refused."""
    client, old = await bench.connect(platform)
    await bench.renewed(client, old)
    (landed,) = bench.landed
    saved = client.read_landed(old, status=landed.status, body=landed.body, at=bench.now)
    assert isinstance(saved, TokenSet)
    assert not isinstance(await client.identify(saved), Fault)
    await bench.renewed(client, saved)
    assert await bench.refresh(client, old) == Fault(cause=FaultCause.REVOKED, http_status=400)


async def test_instagram_s_youth_is_no_failure(bench: Bench) -> None:
    """Before a day has passed an extension is too early; after it, it works; after its end, nothing does."""
    client, tokens = await bench.connect("instagram")
    early = await bench.refresh(client, tokens)
    assert early == Fault(cause=FaultCause.TOO_EARLY, http_status=400)
    await bench.advance(days=1)
    tokens = await bench.renewed(client, tokens)
    await bench.advance(days=61)
    late = await bench.refresh(client, tokens)
    assert isinstance(late, Fault)
    assert late.cause is FaultCause.EXPIRED


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_a_revoked_grant_is_known_everywhere(bench: Bench, platform: str) -> None:
    """After the person removed the app, renewal says revoked; reading says so too, or expired where not told apart."""
    client, tokens = await bench.connect(platform)
    await bench.advance(days=2)
    await bench.social.tell("grants", platform=platform, account="acme", event="revoked")
    refused = await bench.refresh(client, tokens)
    assert isinstance(refused, Fault)
    assert (refused.cause, refused.answered) == (FaultCause.REVOKED, True)
    seen = await client.identify(tokens)
    assert isinstance(seen, Fault)
    assert seen.cause in (FaultCause.REVOKED, FaultCause.EXPIRED)
    ours = fingerprint_of(acme(platform), app_id="app")
    assert compare(ours, None, app_id="app").why is Why.COULD_NOT_CHECK


@pytest.mark.parametrize("platform", ["meta", "instagram", "x", "youtube"])
async def test_a_lockout_is_told_apart(bench: Bench, platform: str) -> None:
    """The person must act at the platform: another word than revoked."""
    client, tokens = await bench.connect(platform)
    await bench.social.tell("grants", platform=platform, account="acme", event="lockout")
    seen = await client.identify(tokens)
    assert isinstance(seen, Fault)
    assert seen.cause is FaultCause.LOCKOUT


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_revoking_is_proved_by_use(bench: Bench, platform: str) -> None:
    """The platform's yes is not believed: the token is tried. Where there is no call, that is said."""
    client, tokens = await bench.connect(platform)
    expected = RevocationResult.NOT_OFFERED if platform == "instagram" else RevocationResult.CONFIRMED
    assert (await client.revoke(tokens)).ended is expected
    if platform == "instagram":
        return
    client, tokens = await bench.connect(platform)
    await bench.fault(platform, "status", status=200, call="revoke", times=2)
    assert (await client.revoke(tokens)).ended is RevocationResult.UNCONFIRMED
    await bench.fault(platform, "status", status=503, call="identity", times=1)
    await bench.fault(platform, "status", status=503, call="accounts", times=1)
    assert (await client.revoke(tokens)).ended is RevocationResult.UNCONFIRMED
    await bench.fault(platform, "html", status=401, call="accounts" if platform == "meta" else "identity")
    assert (await client.revoke(tokens)).ended is RevocationResult.UNCONFIRMED, "a proxy proves nothing"


async def test_a_fresh_token_that_is_falsely_called_dead_proves_no_revocation(bench: Bench) -> None:
    """LinkedIn says so for some seconds: a revocation that was feigned is found out once they are over."""
    await bench.social.tell("rules", platform="linkedin", false_revoked_s=8)
    client, tokens = await bench.connect("linkedin")
    await bench.fault("linkedin", "feigned", call="revoke")
    assert (await client.revoke(tokens)).ended is RevocationResult.UNCONFIRMED
    assert (bench.now - START).total_seconds() == client.oauth.refresh_rules.confirm_s
    assert (await client.revoke(tokens)).ended is RevocationResult.CONFIRMED
    assert (bench.now - START).total_seconds() == client.oauth.refresh_rules.confirm_s  # no longer a fresh one


@pytest.mark.req("S-OAUTH-11")
@pytest.mark.parametrize("platform", ["x", "youtube"])
async def test_the_refresh_token_is_revoked_first(bench: Bench, platform: str) -> None:
    """It takes the rest with it; then the access token is shown, and then tried."""
    client, tokens = await bench.connect(platform)
    assert tokens.refresh is not None
    await client.revoke(tokens)
    hashes = [
        (await bench.social.tell("hash", value=one.reveal().decode()))["hash"]
        for one in (tokens.refresh, tokens.access)
    ]
    log = (await bench.social.show("requests"))["requests"][-3:]
    shown = [one["hash"] for entry in log for one in entry["secrets"] if one["name"] == "token"]
    assert shown == hashes
    assert log[2]["auth"]["hash"] == hashes[1]
    refused = await bench.refresh(client, tokens)  # both are dead, not the one that was tried alone
    assert isinstance(refused, Fault)
    assert refused.cause is FaultCause.REVOKED


LIES = [
    ("other", Why.OTHER_ID), ("other_case", None), ("lookalike", Why.LOOK_ALIKE), ("missing_id", Why.NO_ID),
    ("null_id", Why.NO_ID), ("empty_id", Why.NO_ID), ("numeric_id", Why.NO_ID), ("two_accounts", None),
    ("no_account", None), ("duplicate_keys", Why.COULD_NOT_CHECK), ("cut_json", Why.COULD_NOT_CHECK),
    ("error_200", Why.COULD_NOT_CHECK), ("other_name", Why.NAME_CHANGED),
]  # fmt: skip


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(("lie", "why"), LIES, ids=[lie for lie, _ in LIES])
async def test_a_lying_identity_endpoint_never_passes(bench: Bench, platform: str, lie: str, why: Why | None) -> None:
    """Thirteen ways of answering wrongly: none is a match, and the fingerprint stays what it was."""
    client, tokens = await bench.connect(platform)
    faces = await client.identify(tokens)
    assert not isinstance(faces, Fault)
    ours = fingerprint_of(faces[0], app_id="app")
    call = "accounts" if platform == "meta" else "identity"
    await bench.fault(platform, "wrong_identity", lie=lie, call=call)
    seen = await client.identify(tokens)
    found = compare(
        ours, None if isinstance(seen, Fault) else seen, app_id="app",
        several_allowed=client.oauth.identity.several_allowed and lie != "two_accounts",
    )  # fmt: skip
    assert found.verdict is not IdentityVerdict.MATCH
    assert why is None or found.why is why
    again = await client.identify(tokens)
    assert not isinstance(again, Fault)
    assert compare(ours, again, app_id="app", several_allowed=True).verdict is IdentityVerdict.MATCH


WEATHER = [
    ({"kind": "status", "status": 503}, FaultCause.TRANSIENT, True),
    ({"kind": "status", "status": 429, "retry_after_s": 7}, FaultCause.RATE_LIMITED, True),
    ({"kind": "redirect", "location": "http://127.0.0.1:9/elsewhere"}, FaultCause.UNKNOWN, True),
    ({"kind": "html"}, FaultCause.UNKNOWN, False),
    ({"kind": "huge"}, FaultCause.TRANSIENT, False),
    ({"kind": "truncated"}, FaultCause.TRANSIENT, False),
    ({"kind": "reset"}, FaultCause.TRANSIENT, False),
]


@pytest.mark.parametrize("platform", RENEWABLE_BY_TOKEN)
@pytest.mark.parametrize(
    ("spec", "cause", "answered"), WEATHER, ids=[spec["kind"] + str(spec.get("status", "")) for spec, _, _ in WEATHER]
)
async def test_bad_weather_on_a_renewal(
    bench: Bench, platform: str, spec: dict[str, Any], cause: FaultCause, answered: bool
) -> None:
    """Outage, redirect, HTML, endless or cut body, reset: a fault that says whether the token may be spent."""
    client, tokens = await bench.connect(platform)
    await bench.fault(platform, **spec, call="refresh")
    found = await bench.refresh(client, tokens)
    assert isinstance(found, Fault)
    assert found.sent
    assert found.answered == answered
    assert found.cause is cause or (platform, spec.get("status")) == ("linkedin", 429)
    if spec.get("retry_after_s"):
        assert found.retry_after_s == 7


async def test_nothing_reachable_means_nothing_sent() -> None:
    """A refused connection leaves the token unspent, and the fault says so."""
    async with running_platforms() as social, Outbound() as http:
        bench = Bench(social, http)
        client, tokens = await bench.connect("x")
        away = PlatformClient(
            client.oauth, client.app, http, TokenPlace(base="http://127.0.0.1:1/x"), clock=lambda: bench.now
        )
        found = await bench.refresh(away, tokens)
    assert found == Fault(cause=FaultCause.TRANSIENT, sent=False, answered=False)
    assert bench.landed == []


async def test_an_exchange_with_a_wrong_verifier_code_or_secret_gives_no_tokens(bench: Bench) -> None:
    """Foreign verifier, used code, wrong secret, another redirect: a fault each, on every platform that can tell."""
    for platform in PLATFORMS:
        client = bench.client(platform)
        await bench.social.tell("consent", platform=platform, account="acme")
        verifier = None if client.oauth.pkce is Pkce.NONE else new_verifier()
        code = await bench.code(client, verifier)
        stranger = bench.client(platform, secret="another-secret-0123456789")
        for who, what, shown in (
            (stranger, code, verifier),
            (client, Secret("made-up-code"), verifier),
            (client, code, None if verifier is None else new_verifier()),
        ):
            if who is client and what is code and verifier is None:
                continue
            found = await who.exchange(what, shown, by=BY)
            assert isinstance(found, Fault), platform
    client, _ = await bench.connect("x")


async def test_a_narrow_consent_is_seen(bench: Bench) -> None:
    """A person who unticks a permission leaves it missing by name, also where a call of its own tells."""
    for platform, kept, lost in (
        ("tiktok", ["user.info.basic", "user.info.profile"], "video.list"),
        ("meta", ["pages_show_list"], "pages_read_engagement"),
    ):
        client = bench.client(platform)
        await bench.social.tell("consent", platform=platform, account="acme", scopes=kept)
        verifier = None if client.oauth.pkce is Pkce.NONE else new_verifier()
        code = await bench.code(client, verifier, ScopePurpose.READ)
        tokens = await client.exchange(code, verifier, by=BY)
        assert isinstance(tokens, TokenSet)
        granted = await client.granted(tokens)
        assert isinstance(granted, tuple)
        tokens = replace(tokens, scopes=granted)
        assert lost in missing_scopes(tokens, frozenset(client.oauth.scopes_for(ScopePurpose.READ)))
        posts = await client.look(tokens, acme(platform))
        assert isinstance(posts, Fault)
        assert posts.cause is FaultCause.MISSING_SCOPE
        await bench.social.tell("consent", platform=platform)


async def test_meta_s_pages_need_a_choice_and_are_found_by_id(bench: Bench) -> None:
    """A person with two pages: nobody's first one is taken."""
    for account in ACCOUNTS["meta"]:
        await bench.social.tell("accounts", platform="meta", owner="dana", **account)
    client, tokens = await bench.connect("meta")
    faces = await client.identify(tokens)
    assert not isinstance(faces, Fault)
    assert len(faces) == 2
    assert choose(faces, wanted=None) is Why.SEVERAL_ACCOUNTS
    wanted = ACCOUNTS["meta"][1]["id"]
    chosen = choose(faces, wanted=wanted)
    assert isinstance(chosen, Face)
    ours = fingerprint_of(chosen, app_id="app")
    assert compare(ours, faces, app_id="app", several_allowed=True).verdict is IdentityVerdict.MATCH


async def test_meta_s_proof_of_the_app_s_secret_is_sent(bench: Bench) -> None:
    """An app that demands it on every call is served."""
    await bench.social.tell(
        "apps", platform="meta", client_id="app", client_secret=SECRET, redirect_uris=[BACK], require_proof=True
    )
    client, tokens = await bench.connect("meta", ScopePurpose.READ)
    faces = await client.identify(tokens)
    assert not isinstance(faces, Fault)
    assert isinstance(await client.look(tokens, faces[0]), Posts)
    assert (await client.revoke(tokens)).ended is RevocationResult.CONFIRMED


async def test_a_public_app_of_x_shows_its_id_alone(bench: Bench) -> None:
    """Without a secret there is no Authorization header at the token endpoint."""
    await bench.social.tell("apps", platform="x", client_id="public", public=True, redirect_uris=[BACK])
    client = bench.client("x", app_id="public", secret=None)
    verifier = new_verifier()
    code = await bench.code(client, verifier)
    tokens = await client.exchange(code, verifier, by=BY)
    assert isinstance(tokens, TokenSet)
    assert isinstance(await bench.refresh(client, tokens), TokenSet)


async def test_another_account_s_reply_never_replaces_ours(bench: Bench) -> None:
    """A renewal that names another account is an integrity error, not a token set."""
    client, tokens = await bench.connect("tiktok")
    with pytest.raises(Integrity):
        await bench.refresh(client, replace(tokens, account_id="-000Somebody"))


async def test_where_a_token_may_go(bench: Bench) -> None:
    """Only to the platform's own host, or to this machine; an id can not climb out of its path."""
    client, tokens = await bench.connect("x")
    for base in (
        "http://192.0.2.1",
        "https://evil.example",
        "http://127.0.0.1@evil.example",
        "http://127.0.0.1:1/?a=",
        "ftp://127.0.0.1",
    ):
        away = PlatformClient(client.oauth, client.app, bench.http, TokenPlace(base=base), clock=lambda: bench.now)
        with pytest.raises(Rejected) as refused:
            await away.identify(tokens)
        assert refused.value.code in ("host_not_allowed", "bad_base_url")
    before = (await bench.social.show("requests"))["seen"]
    for name in ("..", ".", ""):
        with pytest.raises(Rejected):
            await client.look(tokens, Face(account_id=name, username=None, display_name=None))
    assert (await bench.social.show("requests"))["seen"] == before
    found = await client.look(tokens, Face(account_id="../users/me?x=", username=None, display_name=None))
    assert isinstance(found, Fault)


async def test_no_token_gets_into_a_path(bench: Bench) -> None:
    """Not even where somebody takes it for an account's id: refused before it is sent."""
    client, tokens = await bench.connect("x")
    before = (await bench.social.show("requests"))["seen"]
    with pytest.raises(Rejected) as refused:
        await client.look(tokens, Face(account_id=tokens.access.reveal().decode(), username=None, display_name=None))
    assert refused.value.code == "secret_in_url"
    assert (await bench.social.show("requests"))["seen"] == before


async def test_a_name_that_leads_to_a_private_address_gets_no_byte(bench: Bench) -> None:
    """The far end is judged before anything is connected."""
    got: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(Rejected) as refused:
        await exchange(bench.http, "GET", f"https://localhost:{port}/", headers={"a": SECRET}, loopback=False)
    assert refused.value.code == "host_not_allowed"
    found = await exchange(
        bench.http, "GET", f"http://localhost:{port}/", headers={"a": SECRET}, loopback=True, deadline_s=5
    )
    assert found == NotGot(sent=True)
    server.close()
    await server.wait_closed()
    assert len(got) == 1
    assert got[0].startswith(b"GET / ")


@asynccontextmanager
async def stub(handler: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_what_lands_is_what_came_and_a_landing_that_fails_ends_the_call(bench: Bench) -> None:
    """The bytes are handed over before anything reads them; a full disk there is not swallowed."""
    client, tokens = await bench.connect("x")
    raw = b'{"access_token": "aaaaaaaaaaaaaaaaaaaa", \n "expires_in": 60}'

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=raw, content_type="application/json")

    async def full(status: int, body: Secret, at: datetime) -> None:
        raise OSError(28, "full")

    async with stub(answer) as base:
        away = PlatformClient(client.oauth, client.app, bench.http, TokenPlace(base=base), clock=lambda: bench.now)
        found = await bench.refresh(away, tokens)
        with pytest.raises(OSError, match="full"):
            await away.refresh(tokens, landed=full)
    assert bench.landed[0].body.reveal() == raw
    assert isinstance(found, TokenSet)
    assert tokens.refresh is not None
    assert found.refresh is not None
    assert found.refresh.matches(tokens.refresh)


async def test_a_slow_token_endpoint_is_waited_for(bench: Bench) -> None:
    """Giving up after seconds is what loses a rotated token; three seconds are nothing."""
    client, tokens = await bench.connect("x")
    await bench.fault("x", "slow", delay_s=3.0, call="refresh")
    assert isinstance(await asyncio.wait_for(bench.refresh(client, tokens), 60), TokenSet)


async def test_a_list_that_moves_names_each_account_once_and_has_an_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Page that is renamed between two pages of a list is one account; a list that is too slow is an outage."""
    client, tokens = await bench.connect("meta")
    took_s = 0.0

    async def answer(asked: web.Request) -> web.Response:
        await asyncio.sleep(took_s)
        later = "after" in asked.query
        rows = [{"id": "1", "name": "new" if later else "old"}, *[{"id": "2", "name": "two"}] * later]
        paging = {"cursors": {"after": "a"}} | ({} if later else {"next": "x"})
        return web.json_response({"data": rows, "paging": paging})

    async with stub(answer) as base:
        place = TokenPlace(base=base)
        away = PlatformClient(client.oauth, client.app, bench.http, place, clock=lambda: bench.now)
        faces = await away.identify(tokens)
        assert not isinstance(faces, Fault)
        assert [(one.account_id, one.display_name) for one in faces] == [("1", "old"), ("2", "two")]
        took_s = 0.3
        monkeypatch.setattr("byokeep.platforms.client._LIST_S", 0.5)
        assert await away.identify(tokens) == Fault(cause=FaultCause.TRANSIENT, answered=False)


async def test_no_log_and_no_fault_holds_a_token(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """With every logger at its loudest, URLs with secrets in their query included."""
    caplog.set_level(logging.DEBUG)
    client, tokens = await bench.connect("instagram")
    await bench.advance(days=2)
    tokens = await bench.renewed(client, tokens)
    await bench.fault("instagram", "echo_key", call="identity")
    seen = await client.identify(tokens)
    values = [tokens.access.reveal().decode(), SECRET]
    texts = [caplog.text, repr(tokens), repr(seen), repr(bench.landed), repr(client.app)]
    assert not [value for value in values for text in texts if value in text]


async def test_answers_of_another_issuer_are_refused(bench: Bench) -> None:
    """An ``iss`` that is not the platform's is refused, and where one is promised its absence as well."""
    client = bench.client("x")
    client.oauth.check_issuer(None)
    client.oauth.check_issuer("https://x.com")
    for iss in ("https://www.tiktok.com", "https://x.com/", ""):
        with pytest.raises(Rejected) as refused:
            client.oauth.check_issuer(iss)
        assert refused.value.code == "wrong_issuer"
    with pytest.raises(Rejected):
        replace(client.oauth, mix_up=MixUp.ISS).check_issuer(None)


async def test_the_consent_address_asks_for_what_was_named_and_no_more(bench: Bench) -> None:
    """Exact scopes, exact redirect, a code, the challenge in the platform's form; the verifier is not in it."""
    for platform in PLATFORMS:
        client = PlatformClient(
            PLATFORM_DESCRIPTORS[platform].oauth,
            PlatformApp(client_id="app", client_secret=Secret(SECRET), redirect_uri="https://a.test/cb/" + platform),
            bench.http,
            clock=lambda: bench.now,
        )
        verifier = None if client.oauth.pkce is Pkce.NONE else new_verifier()
        scopes = client.oauth.scopes_for(ScopePurpose.PUBLISH)
        url = authorization_url(
            client.oauth, client.app, client.place, state="state-1", verifier=verifier, scopes=scopes
        )
        where = urlsplit(url)
        query = dict(parse_qsl(where.query, strict_parsing=True))
        assert f"{where.scheme}://{where.netloc}{where.path}" == client.oauth.authorize.url
        assert query["response_type"] == "code"
        assert query["redirect_uri"] == "https://a.test/cb/" + platform
        assert tuple(query["scope"].split(client.oauth.authorize.scope_separator)) == scopes
        assert ("code_challenge" in query) == (verifier is not None)
        assert query.get("code_challenge_method", "S256") == "S256"
        if verifier is not None:
            assert verifier.reveal().decode() not in url
            assert len(query["code_challenge"]) == (64 if platform == "tiktok" else 43)
        assert SECRET not in url
        with pytest.raises(ValueError, match="verifier"):
            authorization_url(
                client.oauth,
                client.app,
                client.place,
                state="s",
                verifier=new_verifier() if verifier is None else None,
                scopes=scopes,
            )


async def test_a_fingerprint_holds_for_one_app(bench: Bench) -> None:
    """Another app of ours sees another id; it is said to be another app, not another account."""
    ours = Fingerprint(account_id="1", username=None, display_name=None, app_id="app")
    assert compare(ours, [Face(account_id="1", username=None, display_name=None)], app_id="app-2").why is Why.OTHER_APP
    assert DAY == 86_400
    client = bench.client("x")
    for code in ("", "a b", "\u0430", "x" * 5000):
        with pytest.raises(Rejected):
            client.oauth.clean_code(code)
    assert bench.client("meta").oauth.clean_code("code-1#_=_").reveal() == b"code-1"
