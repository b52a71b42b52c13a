"""A refresher on a broker's stand: simulated platforms, accounts that are connected, a clock that runs ahead."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from byokeep.accounts.model import OAuthGrant
from byokeep.accounts.refresh import Renewals
from byokeep.accounts.refresher_app import RefresherApp, asker, logins
from byokeep.adapters.files.slots import SlotDirectory
from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.client import ClientSettings
from byokeep.core.errors import Denied, Unavailable
from byokeep.core.fault import Fault
from byokeep.core.model import ClientId, Environment, LeaseKind, Provider
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.core.refresh import alarm_at, due_at, reauth_at
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet
from byokeep.jobs.jobs import JobSpec, open_job
from byokeep.platforms.client import PlatformClient
from byokeep.platforms.consent import PlatformApp, TokenPlace, authorization_url, new_verifier
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS, Pkce, ScopePurpose
from byokeep.wire import bao_http
from byokeep.wire.tokens import pack_tokens, unpack_tokens
from byokeep.wire.transport import Outbound
from byokeep.worker.ports import BrokerCustodian
from tests.support.broker import Stand
from tests.support.postgres_rows import state_rows
from tests.support.social import BACK, SECRET, Social, running_platforms

PLATFORMS = ("instagram", "linkedin", "meta", "tiktok", "x", "youtube")
CALL = {"meta": "exchange"}  # what the simulator calls a renewal, where not ``refresh``
BY = UUID(int=7)


@dataclass
class Ahead:
    """The system's clock, moved ahead with the platforms'."""

    stand: Stand
    ahead: timedelta = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return self.stand.app.clock.monotonic()


@dataclass
class Account:
    """A connected account: who it is at the platform, and where its tokens lie."""

    client_id: ClientId
    id: UUID
    platform: str
    name: str

    @property
    def provider(self) -> Provider:
        return PLATFORM_DESCRIPTORS[self.platform].provider

    def place(self, part: SecretPart) -> SecretRef:
        return SecretRef(self.client_id, self.provider, part, self.id)


class LateReplies(Renewals):
    """Renewals whose requests leave at once, and whose replies come no earlier than one waits for them."""

    def __init__(self, app: RefresherApp, told: Callable[[OAuthGrant, str], None]) -> None:
        super().__init__(replace(app, platform=self._client), told)
        self._real, self._may_come = app.platform, asyncio.Event()

    def _client(self, *ours: Any) -> Any:
        client = self._real(*ours)

        class Late:
            def __getattr__(self, name: str) -> Any:
                return getattr(client, name)

            async def refresh(_, tokens: TokenSet, *, landed: Callable[..., Awaitable[None]]) -> Any:  # noqa: N805
                async def late(*reply: Any) -> None:
                    await self._may_come.wait()
                    await landed(*reply)

                return await client.refresh(tokens, landed=late)

        return Late()

    async def settle(self) -> None:
        self._may_come.set()
        await super().settle()


@dataclass
class Bench:
    """A refresher in this loop and everything around it."""

    stand: Stand
    social: Social
    clock: Ahead
    db: PostgresDatabase
    http: Outbound
    stack: contextlib.AsyncExitStack
    app: RefresherApp
    ended: list[str] = field(default_factory=list)
    seen: list[Secret] = field(default_factory=list)  # copies of tokens that were ever stored, to look for

    def refresher(self, name: str, **changed: Any) -> RefresherApp:
        """The ports of another refresher, with slots of its own."""
        slots = SlotDirectory(self.stand.home / name, self.stand.app.installation_id)
        self.stack.callback(slots.close)
        return replace(self.app, slots=slots, owner=slots.owner, **changed)

    def renewals(self, app: RefresherApp | None = None) -> Renewals:
        return Renewals(app or self.app, self._told)

    async def under_way(self, account: Account) -> Renewals:
        """A renewal whose request has left; the reply comes when it is settled."""
        before, renewals = await self.calls(account), LateReplies(self.app, self._told)
        await renewals.start_due()
        while await self.calls(account) == before or self.journals(account)[-1]["phase"] != "sent":
            await asyncio.sleep(0.02)
        return renewals

    def _told(self, _: OAuthGrant, ended: str) -> None:
        self.ended.append(ended)

    async def round(self, renewals: Renewals | None = None) -> list[str]:
        """Take up, renew what is due, wait for it; returns how each ended."""
        renewals, before = renewals or self.renewals(), len(self.ended)
        await renewals.resume()
        await renewals.settle()
        await renewals.start_due()
        await renewals.settle()
        return self.ended[before:]

    async def advance(self, **span: float) -> None:
        self.clock.ahead += timedelta(**span)
        await self.social.tell("clock", advance_s=timedelta(**span).total_seconds())

    async def to_due(self, account: Account) -> None:
        """Move time to where the account's tokens are due."""
        left = (self.grant(account)["due_at"] - self.clock.now()).total_seconds()
        await self.advance(seconds=max(left, 0) + 1)

    def grant(self, account: Account) -> dict[str, Any]:
        """The row of the account's grant."""
        text = self.stand.db.sql(
            f"SELECT row_to_json(g) FROM byokeep.account_grant g WHERE account_id = '{account.id}'"
        )
        row: dict[str, Any] = json.loads(text)
        return {k: datetime.fromisoformat(v) if k.endswith("_at") and v else v for k, v in row.items()}

    def journals(self, account: Account) -> list[dict[str, Any]]:
        text = self.stand.db.sql(
            "SELECT coalesce(json_agg(j ORDER BY started_at), '[]') FROM byokeep.refresh_journal j"
            f" WHERE account_id = '{account.id}'"
        )
        found: list[dict[str, Any]] = json.loads(text)
        return found

    async def fault(self, platform: str, kind: str, **spec: Any) -> None:
        """Script a fault of the renewal call."""
        call = CALL.get(platform, "refresh")
        await self.social.tell("faults", provider=platform, kind=kind, match={"call": spec.pop("call", call)}, **spec)

    async def connect(self, platform: str, account: str = "acme", client: UUID | None = None) -> Account:
        """Consent at the platform and put the tokens where connecting puts them."""
        client_id = ClientId(client or await self.stand.client())
        tokens = await self.consent(platform, account)
        name = PLATFORM_DESCRIPTORS[platform].provider.value
        account_id = self.stand.account(client_id, name, f"{account}-{platform}")
        made = Account(client_id, account_id, platform, account)
        version, access = await self._stored_first(made, tokens)
        rules, seed = self.app.logins[platform].refresh_rules, f"{account_id}:{version}".encode()
        ends = [tokens.obtained_at, tokens.access_expires_at, tokens.refresh_expires_at, reauth_at(rules, tokens),
                alarm_at(rules, tokens), due_at(rules, tokens, seed=seed)]  # fmt: skip
        times = ", ".join("NULL" if end is None else f"'{end.isoformat()}'" for end in ends)
        scopes = "{" + ",".join(tokens.scopes or ()) + "}"
        state_rows(
            self.stand.db,
            "INSERT INTO byokeep.account_grant (client_id, account_id, provider, login, app_id, external_id, state,"
            " version, access_version, purposes, scopes, scopes_known, obtained_by, obtained_at, access_expires_at,"
            " refresh_expires_at, reauth_at, alarm_at, due_at, verified_at) VALUES"
            f" ('{client_id}', '{account_id}', '{name}', '{platform}', 'app', 'ext-{account_id.hex}', 'live',"
            f" {version}, {access}, '{{connect}}', '{scopes}', {tokens.scopes is not None}, '{BY}', {times}, now());"
            "INSERT INTO byokeep.credential_ref (id, client_id, provider, kind, purpose, environment, secret_ref,"
            " version, state, verification, risk, created_by, rotation_due_at, account_id) VALUES"
            f" (gen_random_uuid(), '{client_id}', '{name}', 'oauth_token_set', 'account', 'development',"
            f" '{made.place(SecretPart.TOKENS)}', {version}, 'active', 'verified', 'standard', '{BY}',"
            f" now() + interval '60 days', '{account_id}')",
        )
        return made

    async def consent(self, platform: str, account: str = "acme") -> TokenSet:
        """What a consent gives."""
        app = PlatformApp(client_id="app", client_secret=Secret(SECRET), redirect_uri=BACK)
        at = TokenPlace(base=self.social.sim.base_url(platform))
        client = PlatformClient(PLATFORM_DESCRIPTORS[platform].oauth, app, self.http, at, clock=self.clock.now)
        await self.social.tell("consent", platform=platform, account=account)
        verifier = None if client.oauth.pkce is Pkce.NONE else new_verifier()
        url = authorization_url(
            client.oauth,
            client.app,
            client.place,
            state=token_urlsafe(32),
            verifier=verifier,
            scopes=client.oauth.scopes_for(ScopePurpose.READ),
        )
        answer = await self.social.ask("GET", url)
        code = client.oauth.clean_code(dict(parse_qsl(urlsplit(answer.headers["Location"]).query))["code"])
        tokens = await client.exchange(code, verifier, by=BY)
        assert isinstance(tokens, TokenSet), tokens
        granted = await client.granted(tokens)
        assert not isinstance(granted, Fault)
        return replace(tokens, scopes=granted)

    async def _stored_first(self, account: Account, tokens: TokenSet) -> tuple[int, int]:
        """Store until it is done: a token of the store lives two seconds, and the machine may be busy."""
        codes = []
        for _ in range(20):
            try:
                async with self.custody(account) as custody:
                    newest = await custody.newest(account.place(SecretPart.TOKENS))
                return await self.store(account, tokens, cas=newest)
            except (Denied, Unavailable) as error:
                codes.append(error.code)
        raise AssertionError(codes)

    async def store(self, account: Account, tokens: TokenSet, *, cas: int) -> tuple[int, int]:
        """Write a token set and its access token under custody; returns both versions."""
        async with self.custody(account) as custody:
            stored = await custody.write(account.place(SecretPart.TOKENS), pack_tokens(tokens), cas=cas)
            place = account.place(SecretPart.ACCESS)
            access = await custody.write(place, tokens.access, cas=await custody.newest(place))
        self._see(tokens)
        return stored.version, access.version

    def _see(self, tokens: TokenSet) -> None:
        self.seen += [Secret(one.reveal()) for one in (tokens.access, tokens.refresh) if one is not None]

    @contextlib.asynccontextmanager
    async def custody(self, account: Account) -> AsyncIterator[Any]:
        """Hold custody of an account, as the worker's machine."""
        spec = JobSpec(
            client_id=account.client_id, runner_id=None, kind=LeaseKind.CUSTODY, secrets=(account.provider.value,)
        )
        async with self.db.begin(client_id=account.client_id) as tx:
            job = await open_job(tx, self.app, self.app.system(), spec)
        async with self.app.custodian.open(job.id) as custody:
            yield custody

    async def stored(self, account: Account) -> tuple[int, TokenSet, str]:
        """The newest token set, its version, and the newest access token."""
        async with self.custody(account) as custody:
            version = await custody.newest(account.place(SecretPart.TOKENS))
            tokens = unpack_tokens(await custody.read(account.place(SecretPart.TOKENS), version))
            place = account.place(SecretPart.ACCESS)
            access = await custody.read(place, await custody.newest(place))
        self._see(tokens)
        return version, tokens, access.reveal().decode()

    async def works(self, account: Account) -> bool:
        """Whether the access token that jobs get opens the account."""
        _, _, access = await self.stored(account)
        return (await self.social.identity(account.platform, access)).status == 200

    async def calls(self, account: Account) -> int:
        """How many renewal calls of the account reached the platform."""
        found = await self.social.calls(account.platform, account.name)
        return int(found.get(CALL.get(account.platform, "refresh"), {}).get("received", 0))

    def audited(self, account: Account, event: str) -> list[dict[str, Any]]:
        """Fields of the account's records of an event."""
        found = [json.loads(text) for text in self.stand.events(event)]
        return [one for one in found if str(account.id) in json.dumps(one)]


async def _app_secrets(stand: Stand) -> dict[str, int]:
    """Put our app's secret at each login, as ``web`` does; returns versions."""
    login, versions = stand.intake._login, {}
    for platform in PLATFORMS:
        path = f"kv/platform/apps/{PLATFORM_DESCRIPTORS[platform].provider.value}/{platform}"

        async def put(token: Secret, path: str = path) -> int:
            newest, _ = await bao_http.live_versions(login.http, token, path)
            return (await bao_http.write_secret(login.http, token, path, Secret(SECRET), cas=newest)).version

        versions[platform] = await login.retrying(put)
    return versions


@contextlib.asynccontextmanager
async def bench_on(stand: Stand, *, slots: Path | None = None, social: Social | None = None) -> AsyncIterator[Bench]:
    """Put a refresher and the simulated platforms on a stand."""
    async with contextlib.AsyncExitStack() as stack:
        social = social or await stack.enter_async_context(running_platforms())
        http = await stack.enter_async_context(Outbound())
        db = PostgresDatabase(stand.db.url("byokeep_worker"))
        stack.push_async_callback(db.close)
        for login, version in (await _app_secrets(stand)).items():
            stand.db.sql(
                "INSERT INTO byokeep.platform_app (login, provider, environment, app_id, redirect_uri, secret_version,"
                f" set_by) VALUES ('{login}', '{PLATFORM_DESCRIPTORS[login].provider.value}', 'development', 'app',"
                f" '{BACK}', {version}, '{BY}')"
            )
        token = stand.home / "custodian.token"
        token.touch(mode=0o600)
        token.write_text(stand.people["custodian"].token)
        clock = Ahead(stand)
        held = SlotDirectory(slots or stand.home / "slots", stand.app.installation_id)
        stack.callback(held.close)
        places = {name: social.sim.base_url(name) for name in PLATFORMS}
        app = RefresherApp(
            db=db, clock=clock, ids=stand.app.ids, installation_id=stand.app.installation_id,
            environment=stand.app.environment, limits=stand.app.limits,
            custodian=BrokerCustodian(
                ClientSettings(broker_url=stand.url, runner_token_file=token, attempts=2), Environment.DEVELOPMENT
            ),
            slots=held, owner=held.owner, logins=logins(), platform=asker(http, clock.now, places),
            digest=lambda text: text[::-1],
        )  # fmt: skip
        yield Bench(stand, social, clock, db, http, stack, app)
