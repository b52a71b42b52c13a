"""A platform that says our secrets back, in names, ids or scopes: nothing of it is stored, shown or on record.

Real store and database; the platform is a server of this file, which says what a case tells it to.
"""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web

from byokeep.accounts import maintenance
from byokeep.accounts.refresh import Renewals
from byokeep.accounts.refresher_app import RefresherApp, asker
from byokeep.adapters.files.slots import SlotDirectory
from tests.support.connect import Office, finished
from tests.support.social import SECRET

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.connect",
]  # fmt: skip
SCOPES = "users.read tweet.read offline.access tweet.write media.write"


@dataclass
class Parrot:
    """X, with replies that a case changes."""

    url: str = ""
    access: str = ""
    refresh: str = ""
    secrets: set[str] = field(default_factory=lambda: {SECRET})
    token: Callable[[Parrot], dict[str, Any]] = lambda _: {}
    me: Callable[[Parrot], dict[str, Any]] = lambda _: {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer as X, changed by the case."""
        if request.path.endswith("/oauth2/token"):
            self.access, self.refresh = f"AcCeSs-{uuid4().hex}{uuid4().hex}", f"ReFrEsH-{uuid4().hex}{uuid4().hex}"
            self.secrets |= {self.access, self.refresh}
            reply = {"access_token": self.access, "refresh_token": self.refresh, "token_type": "bearer",
                     "expires_in": 7200, "scope": SCOPES}  # fmt: skip
            return web.json_response(reply | self.token(self))
        if request.path.endswith("/users/me"):
            who = {"id": "2244994945", "username": "acme.bakery", "name": "Acme Bakery"}
            return web.json_response({"data": who | self.me(self)})
        return web.json_response({"data": [{"id": "1"}], "meta": {"result_count": 1}})


@contextlib.asynccontextmanager
async def parrot_on() -> AsyncIterator[Parrot]:
    """Run the platform."""
    parrot, server = Parrot(), web.Application()
    server.router.add_route("*", "/{rest:.*}", parrot.answer)
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    parrot.url = f"http://{host}:{port}"
    try:
        yield parrot
    finally:
        await runner.cleanup()


def aimed(office: Office, parrot: Parrot) -> RefresherApp:
    """The refresher, with the parrot for X."""
    return replace(office.app, platform=asker(office.http, office.app.clock.now, {"x": parrot.url}))


async def connect(office: Office, app: RefresherApp, client: UUID) -> dict[str, Any]:
    """Connect an account; returns how the consent stands then."""
    begun = await office.begin(client, "x")
    said = await office.consent(begun["authorize_url"], "x")
    assert (await office.bring(client, begun, said))[0] == 200
    await finished(app)
    return begun | await office.look(client, begun)


def nothing_said(office: Office, parrot: Parrot) -> None:
    """No secret stands in a table, a record or a file of ours, in any case of letters."""
    tables = office.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'byokeep'").split()
    kept = "".join(office.sql(f"SELECT * FROM byokeep.{table}") for table in tables)
    kept += office.sql("SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record")
    kept += "".join(path.read_text(errors="replace") for path in office.desk.files.rglob("*") if path.is_file())
    assert not [one[:12] for one in parrot.secrets if one.lower()[4:40] in kept.lower()]


SAID: dict[str, tuple[str, Callable[[Parrot], dict[str, Any]]]] = {
    "name": ("me", lambda one: {"name": one.access}),
    "username": ("me", lambda one: {"username": f"acme {one.refresh.lower()}"}),
    "id": ("me", lambda one: {"id": one.access}),
    "part": ("me", lambda one: {"name": f"Acme {one.access[10:40]}"}),
    "app_secret": ("me", lambda _: {"name": SECRET}),
    "scope": ("token", lambda one: {"scope": f"{SCOPES} {one.access}"}),
    "scope_refresh": ("token", lambda one: {"scope": f"{SCOPES} {one.refresh.upper()}"}),
}


@pytest.mark.parametrize("what", SAID)
async def test_a_reply_that_repeats_a_secret_connects_nothing(office: Office, what: str) -> None:
    """At the first consent: it fails with a reason of its own, and the secret is nowhere."""
    client, (where, said) = await office.client(), SAID[what]
    async with parrot_on() as parrot:
        setattr(parrot, where, said)
        done = await connect(office, aimed(office, parrot), client)
        assert (done["state"], done["reason"]) == ("failed", "reply_repeats_secret")
        nothing_said(office, parrot)
        await office.nothing_kept(client, "x", done["account_id"])


async def test_a_look_that_repeats_a_secret_is_no_match(office: Office) -> None:
    """A later look: what was said is not kept, and the account is not verified by it."""
    client = await office.client()
    async with parrot_on() as parrot:
        app = aimed(office, parrot)
        done = await connect(office, app, client)
        assert (done["state"], done["reason"]) == ("connected", "")
        parrot.me = lambda one: {"name": one.refresh}
        assert (await office.act(client, "x", "verify"))[0] == 202
        assert await maintenance.check_due(app) == 1
        now = await office.state(client, "x")
        assert (now["identity"], now["reason"]) == ("unknown", "reply_repeats_secret")
        nothing_said(office, parrot)


async def test_a_look_that_shows_a_name_nobody_can_print_is_no_match(office: Office) -> None:
    """A later look: the name is not kept, and the look says why it proves nothing."""
    client = await office.client()
    async with parrot_on() as parrot:
        app = aimed(office, parrot)
        assert (await connect(office, app, client))["state"] == "connected"
        parrot.me = lambda _: {"name": "Acme\x1b[31m"}
        assert (await office.act(client, "x", "verify"))[0] == 202
        assert await maintenance.check_due(app) == 1
        now = await office.state(client, "x")
        assert (now["identity"], now["reason"]) == ("unknown", "name_not_printable")


async def test_a_name_with_control_characters_connects_nothing(office: Office) -> None:
    """The consent fails with a reason that says what to do, and nothing is stored."""
    client = await office.client()
    async with parrot_on() as parrot:
        parrot.me = lambda _: {"name": "Acme\nBakery"}
        done = await connect(office, aimed(office, parrot), client)
        assert (done["state"], done["reason"]) == ("failed", "name_not_printable")
        await office.nothing_kept(client, "x", done["account_id"])


async def test_one_value_as_both_tokens_connects_nothing(office: Office) -> None:
    """Jobs would lease what renews: the exchange gave nothing, and nothing is stored."""
    client = await office.client()
    async with parrot_on() as parrot:
        parrot.token = lambda one: {"refresh_token": one.access}
        done = await connect(office, aimed(office, parrot), client)
        assert (done["state"], done["reason"]) == ("failed", "exchange_refused")
        await office.nothing_kept(client, "x", done["account_id"])


async def test_a_renewal_that_repeats_a_secret_is_not_taken(office: Office) -> None:
    """The token is spent with it: a person logs in again, people are told why, and the secret is nowhere."""
    client = await office.client()
    async with parrot_on() as parrot:
        slots = SlotDirectory(office.desk.stand.home / "slots-of-the-parrot", office.app.installation_id)
        app = replace(aimed(office, parrot), slots=slots, owner=slots.owner)
        done = await connect(office, app, client)
        parrot.token = lambda one: {"scope": f"{SCOPES} {one.access}"}
        office.sql(f"UPDATE byokeep.account_grant SET due_at = now() WHERE account_id = '{done['account_id']}'")
        ended: list[str] = []
        renewals = Renewals(app, lambda _, how: ended.append(how))
        await renewals.start_due()
        await renewals.settle()
        assert ended == ["chain_broken"]
        assert "reply_repeats_secret" in str(office.desk.stand.alerts())
        nothing_said(office, parrot)
        slots.close()
