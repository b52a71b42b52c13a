"""A desk whose accounts live on the simulated platforms, and the part of the refresher that finishes consents.

Use it with ``pytest_plugins = [..., "tests.support.connect"]`` and the fixture ``office``.
"""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID, uuid4

import httpx2
import pytest

from byokeep.adapters.platforms import PLATFORM_DESCRIPTORS, Place, PlatformApp, PlatformClient
from byokeep.adapters.postgres.embedded import EmbeddedPostgres
from byokeep.client import ClientSettings
from byokeep.core.fault import Fault
from byokeep.core.identity import Face
from byokeep.core.model import ClientId, LeaseKind
from byokeep.core.ref import Part, SecretRef
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet
from byokeep.flows import connect_finish
from byokeep.flows.jobs import JobSpec, open_job
from byokeep.flows.refresher_app import AppAt, Ended, Login, Posts, RefresherApp, Slots
from byokeep.wire.outbound import new_outbound_client
from byokeep.wire.tokens import unpack_tokens
from byokeep.worker.custodian import BrokerCustodian, LeasedCustody
from tests.support.broker import Person, Store, standing
from tests.support.postgres import drop_database, fresh_database
from tests.support.social import ACCOUNTS, SECRET, Social, running_platforms
from tests.support.web import Desk, desk_on

LOGINS = sorted(ACCOUNTS)


def back(login: str) -> str:
    """The redirect address of a login's app: each has its own."""
    return f"http://127.0.0.1:8431/{login}"


class Port:
    """:class:`byokeep.flows.refresher_app.PlatformMore` over the adapter."""

    def __init__(self, client: PlatformClient) -> None:
        self._client = client

    async def exchange(self, code: Secret, verifier: Secret | None, *, by: UUID) -> TokenSet | Fault:
        return await self._client.exchange(code, verifier, by=by, clock=lambda: datetime.now(UTC))

    async def refresh(
        self, tokens: TokenSet, *, landed: Callable[[int, Secret, datetime], Awaitable[None]]
    ) -> TokenSet | Fault:
        raise AssertionError("nothing is renewed here")

    def read_landed(self, tokens: TokenSet, *, status: int, body: Secret, at: datetime) -> TokenSet | Fault:
        raise AssertionError("nothing is renewed here")

    async def identify(self, tokens: TokenSet) -> tuple[Face, ...] | Fault:
        return await self._client.identify(tokens)

    async def look(self, tokens: TokenSet, account: Face) -> Posts | Fault:
        found = await self._client.recent_posts(tokens, account)
        return found if isinstance(found, Fault) else Posts(count=found.count, newest_id=found.newest_id)

    async def granted(self, tokens: TokenSet) -> tuple[str, ...] | Fault | None:
        return await self._client.granted(tokens)

    async def consent_end(self, tokens: TokenSet) -> datetime | Fault | None:
        return await self._client.consent_end(tokens)

    async def revoke(self, tokens: TokenSet) -> Ended:
        return Ended((await self._client.revoke(tokens)).value)


def login_of(name: str) -> Login:
    """What the flows know of a login."""
    one = PLATFORM_DESCRIPTORS[name]
    assert one.oauth is not None
    return Login(
        id=name, provider=one.provider, issuer=one.oauth.issuer, rules=one.oauth.refresh_rules,
        needed={purpose.value: scopes for purpose, scopes in one.oauth.scopes.items()},
        posts_scope=one.oauth.posts.scope, several_allowed=one.oauth.identity.several_allowed,
        endpoint=one.oauth.identity.call.name, check_every_s=one.oauth.health.every_s,
    )  # fmt: skip


@dataclass
class Office:
    """Everything that an account needs to be connected."""

    desk: Desk
    social: Social
    app: RefresherApp
    http: httpx2.AsyncClient
    seen: list[str] = field(default_factory=list)  # codes, verifiers, states: they may stand nowhere

    def sql(self, statement: str) -> str:
        return self.desk.sql(statement)

    async def client(self) -> UUID:
        """An active client."""
        return await self.desk.stand.client()

    async def set_apps(self, *logins: str) -> None:
        """Name our app at logins, as an admin does."""
        for login in logins or LOGINS:
            await self.social.tell(
                "apps", platform=login, client_id="app", client_secret=SECRET, redirect_uris=[back(login)],
                partner=True,
            )  # fmt: skip
            query = urlencode({"app_id": "app", "redirect_uri": back(login)})
            status, reply = await self.desk.call("PUT", f"/v1/apps/{login}?{query}", "admin", raw=SECRET.encode())
            assert status == 200, reply

    async def begin(
        self, client: UUID, login: str, account: str = "acme", who: str | Person = "operator", **body: Any
    ) -> dict[str, Any]:
        """Begin a consent; it must begin."""
        status, reply = await self.desk.call(
            "POST", f"/v1/clients/{client}/logins/{login}/accounts/{account}/connect", who, body
        )
        assert status == 201, reply
        self.seen.append(dict(parse_qsl(urlsplit(reply["authorize_url"]).query))["state"])
        return dict(reply)

    async def consent(self, url: str, login: str, account: str | None = "acme", **more: Any) -> dict[str, str]:
        """Let the scripted person answer at the platform; returns the parameters that the browser brings back."""
        if account is not None:
            await self.social.tell("consent", platform=login, account=account, **more)
        answer = await self.social.ask("GET", url)
        assert answer.status == 302, answer.text
        where = urlsplit(answer.headers["Location"])
        found = dict(parse_qsl(where.query, strict_parsing=True))
        self.seen.append(found.get("code", "-none-").removesuffix("#_"))
        return found

    async def bring(
        self, client: UUID, begun: dict[str, Any], said: dict[str, str], who: str | Person = "operator",
        **changed: str,
    ) -> tuple[int, Any]:  # fmt: skip
        """Bring an answer to web."""
        form = {"binding": begun["binding"], "redirect": begun["redirect_uri"]}
        form |= {name: said[name] for name in ("state", "code", "iss", "error") if name in said}
        form = {name: value for name, value in (form | changed).items() if value}
        path = f"/v1/clients/{client}/connections/{begun['connection']}/answer"
        return await self.desk.call("POST", path, who, raw=urlencode(form).encode())

    async def finish(self) -> int:
        """What the refresher's loop calls."""
        return await connect_finish.take_answered(self.app)

    async def look(self, client: UUID, begun: dict[str, Any]) -> dict[str, Any]:
        status, reply = await self.desk.call(
            "GET", f"/v1/clients/{client}/connections/{begun['connection']}", "operator"
        )
        assert status == 200, reply
        return dict(reply)

    async def connect(
        self, client: UUID, login: str, name: str = "acme", *, account: str = "acme", consent: Any = None, **body: Any
    ) -> dict[str, Any]:
        """All of it; returns how the consent stands then. ``name`` is ours, ``account`` the platform's."""
        begun = await self.begin(client, login, name, **body)
        said = await self.consent(begun["authorize_url"], login, account, **(consent or {}))
        status, reply = await self.bring(client, begun, said)
        assert (status, reply["state"]) == (200, "answered"), reply
        assert await self.finish() == 1
        return begun | await self.look(client, begun)

    async def fault(self, login: str, kind: str, call: str, **spec: Any) -> None:
        """Script a fault of one call."""
        await self.social.tell("faults", provider=login, kind=kind, match={"call": call}, **spec)

    @contextlib.asynccontextmanager
    async def custody(self, client: UUID, login: str) -> AsyncIterator[LeasedCustody]:
        """A custody lease of a job of its own."""
        spec = JobSpec(
            client_id=ClientId(client), runner_id=None, kind=LeaseKind.CUSTODY,
            secrets=(PLATFORM_DESCRIPTORS[login].provider.value,),
        )  # fmt: skip
        async with self.app.db.begin(client_id=client) as tx:
            job = await open_job(tx, self.app, self.app.system(), spec)
        async with self.app.custodian.open(job.id) as custody:
            yield cast(LeasedCustody, custody)

    def place(self, client: UUID, login: str, account_id: str, part: str) -> SecretRef:
        """A part of an account."""
        return SecretRef(ClientId(client), PLATFORM_DESCRIPTORS[login].provider, Part(part), UUID(account_id))

    async def live(self, client: UUID, login: str, account_id: str) -> dict[str, list[int]]:
        """The versions of every part of an account that the store still holds."""
        async with self.custody(client, login) as custody:
            return {
                part: await custody.live_versions(self.place(client, login, account_id, part))
                for part in ("tokens", "access", "code", "verifier")
            }

    async def tokens(self, client: UUID, login: str, account_id: str) -> TokenSet:
        """The newest token set, as the store holds it."""
        place = self.place(client, login, account_id, "tokens")
        async with self.custody(client, login) as custody:
            return unpack_tokens(await custody.read(place, await custody.newest(place)))

    async def nothing_kept(self, client: UUID, login: str, account_id: str) -> None:
        """The store holds nothing of the account, and no row speaks of a grant."""
        assert not any((await self.live(client, login, account_id)).values())
        assert self.sql(f"SELECT count(*) FROM byokeep.account_grant WHERE account_id = '{account_id}'") == "0"
        assert self.sql(f"SELECT count(*) FROM byokeep.credential_ref WHERE account_id = '{account_id}'") == "0"
        assert not self.desk.stand.events("platform_connected")


@contextlib.asynccontextmanager
async def office_on(database: Any, store: Store) -> AsyncIterator[Office]:
    """Put everything up."""
    async with contextlib.AsyncExitStack() as stack:
        social = await stack.enter_async_context(running_platforms())
        stand = await stack.enter_async_context(standing(database, store))
        places = {login: social.sim.base_url(login) for login in LOGINS}
        desk = await stack.enter_async_context(desk_on(stand, places))
        http = await stack.enter_async_context(new_outbound_client())

        def platform(at: AppAt, secret: Secret | None) -> Port:
            app = PlatformApp(client_id=at.app_id, client_secret=secret, redirect_uri=at.redirect_uri)
            return Port(PlatformClient(PLATFORM_DESCRIPTORS[at.login], app, http, Place(base=places[at.login])))

        token = stand.home / "custodian.token"
        worker = desk.worker
        app = RefresherApp(
            db=worker.db, clock=worker.clock, ids=worker.ids, installation_id=worker.installation_id,
            environment=worker.environment, limits=worker.limits,
            custodian=BrokerCustodian(ClientSettings(broker_url=stand.url, runner_token_file=token, attempts=1)),
            slots=cast(Slots, None), owner=uuid4(), logins={name: login_of(name) for name in LOGINS},
            platform=platform, digest=lambda text: hmac.digest(b"k" * 32, text.encode(), hashlib.sha256).hex()[:32],
        )  # fmt: skip
        office = Office(desk, social, app, http)
        await office.set_apps()
        yield office


@pytest.fixture
async def office(postgres_server: EmbeddedPostgres, store: Store) -> AsyncIterator[Office]:
    database = fresh_database(postgres_server)
    try:
        async with office_on(database, store) as made:
            yield made
    finally:
        drop_database(database)
