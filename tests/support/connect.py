"""A desk whose accounts live on the simulated platforms, and the part of the refresher that finishes consents.

Use it with ``pytest_plugins = [..., "tests.support.connect"]`` and the fixture ``office``.
"""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any, cast
from unittest.mock import AsyncMock
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

import pytest

from byokeep.accounts.connect_finish import ConsentTasks
from byokeep.accounts.refresher_app import RefresherApp, asker, logins
from byokeep.adapters.files.slots import SlotDirectory
from byokeep.adapters.postgres.embedded import EmbeddedPostgres
from byokeep.client import ClientSettings
from byokeep.core.model import ClientId, Environment, LeaseKind
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.core.tokens import TokenSet
from byokeep.jobs.jobs import JobSpec, open_job
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS
from byokeep.wire.tokens import unpack_tokens
from byokeep.wire.transport import Outbound
from byokeep.worker.ports import BrokerCustodian, LeasedValues
from tests.support.broker import Person, Store, installed, standing
from tests.support.social import ACCOUNTS, SECRET, Social, running_platforms
from tests.support.web import Desk, desk_on

LOGINS = sorted(ACCOUNTS)


def back(login: str) -> str:
    """The redirect address of a login's app: each has its own."""
    return f"http://127.0.0.1:8431/{login}"


async def finished(app: RefresherApp) -> int:
    """Finish what was answered; returns how many consents were taken."""
    consents = ConsentTasks(app)
    started = await consents.start_answered()
    await consents.settle()
    return started


@dataclass
class Office:
    """Everything that an account needs to be connected."""

    desk: Desk
    social: Social
    app: RefresherApp
    http: Outbound
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
        """What the refresher's loop calls; waits for what it began."""
        return await finished(self.app)

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

    async def connected(
        self, client: UUID, login: str, name: str = "acme", *, account: str = "acme", **more: Any
    ) -> dict[str, Any]:
        """Connect, and it must end well; where a consent opens several accounts the right one is picked."""
        which = 0 if account == "acme" else 1
        pick = {"pick": ACCOUNTS[login][which]["id"]} if login == "meta" else {}
        done = await self.connect(client, login, name, account=account, **{**pick, **more})
        assert (done["state"], done["reason"]) == ("connected", ""), done
        return done

    async def state(self, client: UUID, login: str, name: str = "acme") -> dict[str, Any]:
        """How an account stands, as an operator sees it."""
        status, reply = await self.desk.call("GET", f"/v1/clients/{client}/accounts/{login}/{name}", "operator")
        assert status == 200, reply
        return dict(reply)

    async def act(self, client: UUID, login: str, act: str, body: Any = None, name: str = "acme") -> tuple[int, Any]:
        """One of the acts on an account."""
        path = f"/v1/clients/{client}/accounts/{login}/{name}/{act}"
        return await self.desk.call("POST", path, "operator", body)

    async def fault(self, login: str, kind: str, call: str, **spec: Any) -> None:
        """Script a fault of one call."""
        await self.social.tell("faults", provider=login, kind=kind, match={"call": call}, **spec)

    @contextlib.asynccontextmanager
    async def custody(self, client: UUID, login: str) -> AsyncIterator[LeasedValues]:
        """A custody lease of a job of its own."""
        spec = JobSpec(
            client_id=ClientId(client), runner_id=None, kind=LeaseKind.CUSTODY,
            secrets=(PLATFORM_DESCRIPTORS[login].provider.value,),
        )  # fmt: skip
        async with self.app.db.begin(client_id=client) as tx:
            job = await open_job(tx, self.app, self.app.system(), spec)
        async with self.app.custodian.open(job.id) as custody:
            yield cast(LeasedValues, custody)

    def place(self, client: UUID, login: str, account_id: str, part: str) -> SecretRef:
        """A part of an account."""
        return SecretRef(ClientId(client), PLATFORM_DESCRIPTORS[login].provider, SecretPart(part), UUID(account_id))

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

    async def nothing_kept_of(self, client: UUID, login: str, account_id: str) -> None:
        """The store holds nothing of the account, and no row speaks of a grant."""
        assert not any((await self.live(client, login, account_id)).values())
        assert self.sql(f"SELECT count(*) FROM byokeep.account_grant WHERE account_id = '{account_id}'") == "0"
        assert self.sql(f"SELECT count(*) FROM byokeep.credential_ref WHERE account_id = '{account_id}'") == "0"

    async def nothing_kept(self, client: UUID, login: str, account_id: str) -> None:
        """The store holds nothing of the account, no row speaks of a grant, and nothing was done at a platform."""
        await self.nothing_kept_of(client, login, account_id)
        assert (await self.social.show("effects"))["total"] == 0
        assert self.sql(f"SELECT lanes FROM byokeep.platform_account WHERE id = '{account_id}'") == "{}"
        assert not self.desk.stand.events("platform_connected")


@contextlib.asynccontextmanager
async def office_on(database: Any, store: Store, people: dict[str, Person]) -> AsyncIterator[Office]:
    """Put everything up."""
    async with contextlib.AsyncExitStack() as stack:
        social = await stack.enter_async_context(running_platforms())
        stand = await stack.enter_async_context(standing(database, store, people))
        places = {login: social.sim.base_url(login) for login in LOGINS}
        desk = await stack.enter_async_context(desk_on(stand, places))
        http = await stack.enter_async_context(Outbound())

        token = stand.home / "custodian.token"
        worker = desk.worker
        slots = SlotDirectory(stand.home / "slots-of-the-office", worker.installation_id)
        stack.callback(slots.close)
        known = logins()["linkedin"]  # asks twice before it believes a refusal; ten seconds later in earnest
        rules = replace(known.refresh_rules, confirm_s=1)
        settings = ClientSettings(broker_url=stand.url, runner_token_file=token, attempts=1, timeout_s=10)
        app = RefresherApp(
            db=worker.db, clock=worker.clock, ids=worker.ids, installation_id=worker.installation_id,
            environment=worker.environment, limits=worker.limits,
            custodian=BrokerCustodian(settings, Environment.DEVELOPMENT),
            slots=slots, owner=slots.owner, logins=logins() | {"linkedin": replace(known, refresh_rules=rules)},
            platform=asker(http, worker.clock.now, places),
            digest=lambda text: hmac.digest(b"k" * 32, text.encode(), hashlib.sha256).hex()[:32],
        )  # fmt: skip
        office = Office(desk, social, app, http)
        await office.set_apps()
        yield office


@pytest.fixture
async def office(
    postgres_server: EmbeddedPostgres, store: Store, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Office]:
    monkeypatch.setattr("byokeep.platforms.client.sleep", AsyncMock())  # a fresh token's revocation is proved at once
    with installed(postgres_server, store) as (database, people):
        async with office_on(database, store, people) as made:
            yield made
