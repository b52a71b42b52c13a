"""Every platform through everything, for months: connected, verified, renewed, revoked, connected again, ended, proved.

The flows are the product's own, on real PostgreSQL and OpenBao; the platforms are simulated, and so is the time.
"""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from byokeep.accounts import maintenance
from byokeep.accounts.maintenance import remind
from byokeep.accounts.refresh import Renewals
from byokeep.accounts.refresher_app import asker
from byokeep.adapters.files.slots import SlotDirectory
from byokeep.audit.disclosure import sign_evidence
from byokeep.audit.log import public_keys
from byokeep.client.verify import read_keys, verify_evidence
from byokeep.core.model import Actor, Role
from byokeep.core.refresh import TokenModel
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS
from tests.support.connect import LOGINS, Office
from tests.support.renewal import CALL, Ahead
from tests.support.social import DAY
from tests.support.stack import until

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.connect",
]  # fmt: skip
SHORT = ("tiktok", "x", "youtube")  # their tokens live for hours; here for two days, so that months go by
ENDS = {"renewed", "reauth", "reuse_suspected"}
ENDING = ("linkedin", "meta")  # a consent ends there after a year or three months, whatever is renewed


@dataclass
class Life:
    """One account and what it went through."""

    office: Office
    clock: Ahead
    renewals: Renewals
    login: str
    client: UUID
    account_id: str = ""
    sops: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    logins: int = 0

    async def connect(self) -> None:
        """A person's login."""
        done = await self.office.connected(self.client, self.login, purposes=["publish"])
        self.account_id = done["account_id"]
        self.sops.append(done["sop"])
        self.logins += 1

    def at(self, column: str) -> datetime | None:
        text = self.office.sql(f"SELECT {column} FROM byokeep.account_grant WHERE account_id = '{self.account_id}'")
        return datetime.fromisoformat(text) if text else None

    async def to(self, moment: datetime) -> None:
        """Move time, here and at the platforms."""
        span = max((moment - self.clock.now()).total_seconds(), 0) + 1
        self.clock.ahead += timedelta(seconds=span)
        await self.office.social.tell("clock", advance_s=span)

    async def renew(self) -> str:
        """Go to where the tokens are due and renew once; returns how it ended."""
        await self.to_due()
        return await self.renew_now()

    async def to_due(self) -> None:
        """Go to where the tokens are due. A person who is told meanwhile that the login ends logs in."""
        due = self.at("due_at")
        assert due is not None
        await self.to(due)
        if await remind(self.office.app):
            assert "account_reauth_due" in self.office.desk.stand.alerts()
            self.office.sql("UPDATE byokeep.alert SET closed_at = now()")
            await self.connect()
            due = self.at("due_at")
            assert due is not None
            await self.to(due)

    async def renew_now(self) -> str:
        """Renew as the rounds do: what a busy machine kept from the broker or the store in time is taken up again."""
        before = len(self.told)
        await until(self._renewed, 120, "it is renewed", each_s=1)
        self.told[before:] = self.told[-1:]
        return self.told[-1]

    async def _renewed(self) -> bool:
        before = len(self.told)
        await self.renewals.resume()
        await self.renewals.start_due()
        await self.renewals.settle()
        return bool(ENDS & {*self.told[before:]})

    async def calls(self) -> int:
        """How many renewals the platform got; a consent counts where it makes the same call."""
        found = await self.office.social.calls(self.login)
        received = int(found.get(CALL.get(self.login, "refresh"), {}).get("received", 0))
        return received - (self.logins if self.login == "meta" else 0)

    def events(self, name: str) -> int:
        return int(
            self.office.sql(
                f"SELECT count(*) FROM byokeep.audit_record WHERE event = '{name}' AND outcome = 'ok'"
                f" AND object_id = '{self.account_id}'"
            )
        )


@pytest.fixture
async def office_ahead(office: Office) -> AsyncIterator[tuple[Office, Ahead]]:
    """An office whose refresher has slots, and a clock that can be moved."""
    stand, clock = office.desk.stand, Ahead(office.desk.stand)
    slots = SlotDirectory(stand.home / "slots", stand.app.installation_id)
    places = {login: office.social.sim.base_url(login) for login in LOGINS}
    office.app = replace(
        office.app, clock=clock, slots=slots, owner=slots.owner, platform=asker(office.http, clock.now, places)
    )
    for login in SHORT:
        await office.social.tell("rules", platform=login, access_ttl_s=2 * DAY)
    try:
        yield office, clock
    finally:
        slots.close()


async def months(office: Office, clock: Ahead, login: str, renewals: int) -> Life:
    client = await office.client()
    life = Life(office, clock, Renewals(office.app), login, client)
    life.renewals = Renewals(office.app, lambda _, ended: life.told.append(ended))
    await life.connect()
    assert (await office.act(client, login, "lane", {"policy": "api"}))[0] == 200
    began, before = clock.now(), await life.calls()
    for number in range(renewals):
        assert await life.renew() == "renewed", (login, number)

    async def verified() -> bool:
        assert (await office.act(client, login, "verify"))[0] == 202
        assert await maintenance.check_due(office.app) == 1
        return (await office.state(client, login))["identity"] == "match"

    await until(verified, 120, "it is looked at", each_s=1)
    state = await office.state(client, login)
    assert (state["state"], state["policy"]) == ("connected", "api")
    assert await life.calls() - before == renewals
    assert (life.events("tokens.refreshed"), life.told) == (renewals, ["renewed"] * renewals)
    assert life.events("platform_connected") == life.logins
    await life.to_due()
    days, logins = (clock.now() - began).days, life.logins
    await revoked(life)
    model = PLATFORM_DESCRIPTORS[login].oauth.refresh_rules.model
    assert (await office.act(client, login, "disconnect"))[0] == 200  # or time would go on for it with the next one

    async def ended() -> bool:
        await maintenance.end_disconnected(office.app)
        return (await office.state(client, login))["state"] == "disconnected"

    await until(ended, 120, "it is ended", each_s=1)
    state = await office.state(client, login)
    # What a login replaced long ago is only known by its access token, which has died by itself meanwhile.
    said = {"instagram": "not_offered", "linkedin": "unconfirmed" if logins > 2 else "confirmed"}
    assert state["reason"] == said.get(login, "confirmed")
    office.sql("UPDATE byokeep.alert SET closed_at = now()")
    sys.stdout.write(f"{login}: {model}, {renewals} renewals in {days} days, {logins - 1} logins because it ends\n")
    return life


async def revoked(life: Life) -> None:
    """The owner takes the consent back of what is due; then they log in again."""
    office, client, login = life.office, life.client, life.login
    await office.social.tell("grants", platform=login, account="acme", event="revoked")
    assert await life.renew_now() in ("reauth", "reuse_suspected")
    state = await office.state(client, login)
    assert (state["state"], state["policy"], state["next"]) == ("needs_reauth", "off", "connect")
    way = f"SELECT stage FROM byokeep.reenabling WHERE client_id = '{client}'"
    assert office.sql(way) == "closed"
    assert (await office.act(client, login, "lane", {"policy": "api"}))[1]["code"] == "account_not_verified"
    await life.connect()
    assert (await office.state(client, login))["state"] == "connected"
    assert office.sql(way) == "permitted"
    access = (await office.tokens(client, login, life.account_id)).access.reveal().decode()
    assert (await office.social.identity(login, access)).status == 200


async def proved(life: Life, place: Path) -> None:
    """Each login's evidence verifies with the public keys alone."""
    stand = life.office.desk.stand
    keys = place / "keys.txt"
    keys.write_text(str(await public_keys(stand.app)))
    auditor = Actor(id=stand.people["auditor"].id, roles=frozenset({Role.AUDITOR}), clients=None, request_id=uuid4())
    for sop in {life.sops[0], life.sops[-1]}:
        file = place / f"{sop}.json"
        file.write_bytes(await sign_evidence(stand.app, auditor, UUID(sop)))
        report = verify_evidence(file, read_keys(keys))
        assert report.complete
        assert set(report.onboarding.items) == {"vault_write_event", "identity_verification", "platform_connected"}
        assert str(report.onboarding.ref) == life.account_id
    assert len(set(life.sops)) == life.logins


async def every_platform(office: Office, clock: Ahead, place: Path, renewals: int) -> None:
    lives = [await months(office, clock, login, renewals) for login in LOGINS]
    assert {life.login for life in lives} == {"instagram", "linkedin", "meta", "tiktok", "x", "youtube"}
    for life in lives:
        await proved(life, place)
    client = await office.client()
    path = f"/v1/clients/{client}/logins/skool/accounts/acme/connect"
    status, reply = await office.desk.call("POST", path, "operator", {})
    assert (status, reply["code"]) == (422, "platform_without_oauth")
    assert "browser lane" in reply["next_step"]
    models = {PLATFORM_DESCRIPTORS[life.login].oauth.refresh_rules.model for life in lives}
    assert models == {TokenModel.ROTATING_STRICT, TokenModel.FIXED, TokenModel.EXTEND, TokenModel.EXCHANGE}
    if renewals >= 50:  # what ends was said to end, and a person logged in for it; what does not end asked for nobody
        assert {life.login for life in lives if life.logins > 2} == set(ENDING)


@pytest.mark.req("R2.1-7", "R6.1-2")
@pytest.mark.timeout(300)
async def test_every_platform_from_the_first_login_to_the_next(
    office_ahead: tuple[Office, Ahead], tmp_path: Path
) -> None:
    """Six logins, renewed a few times each, revoked, connected again, all of it in signed evidence; Skool says that it
    has none of this."""
    await every_platform(*office_ahead, tmp_path, 3)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
async def test_every_platform_renewed_fifty_times_over_months(
    office_ahead: tuple[Office, Ahead], tmp_path: Path
) -> None:
    """The same with fifty renewals each. Where a consent ends in between, the person was told before and logged in."""
    await every_platform(*office_ahead, tmp_path, 50)
