"""Tokens of consents that serve nobody any more: replaced by a later login, or late because a person disconnected.

Real store and database, simulated platforms.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any
from unittest.mock import Mock
from uuid import UUID

import pytest

from byokeep.accounts import connect_finish, leftovers, maintenance
from byokeep.adapters.postgres.database import PostgresTransaction
from byokeep.core.errors import Unavailable
from tests.support.connect import LOGINS, Office, finished
from tests.support.social import Around

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.connect",
]  # fmt: skip
REVOKING = [login for login in LOGINS if login != "instagram"]


async def pair(office: Office, client: UUID, login: str, account_id: str) -> tuple[str, str | None]:
    """The plain tokens that the store has."""
    tokens = await office.tokens(client, login, account_id)
    refresh = tokens.refresh.reveal().decode() if tokens.refresh is not None else None
    return tokens.access.reveal().decode(), refresh


async def lives(office: Office, login: str, tokens: tuple[str, str | None]) -> bool:
    """Whether any of a pair is of any use at the platform."""
    seen = [(await office.social.identity(login, tokens[0])).status]
    if tokens[1]:
        seen.append((await office.social.refresh(login, tokens[1])).status)
    return 200 in seen


def revocations(office: Office) -> list[tuple[str, str, str]]:
    """Outcome, reason and verification of what stands on record about ends, oldest first."""
    found = [json.loads(one) for one in office.desk.stand.events("grant.revoked")]
    return [(one["outcome"], one["fields"].get("reason", ""), one["fields"].get("verification", "")) for one in found]


async def end(office: Office, client: UUID, login: str) -> tuple[str, str]:
    """Disconnect, and let the refresher end it; returns how the account stands."""
    assert (await office.act(client, login, "disconnect"))[0] == 200
    assert await maintenance.end_disconnected(office.app) == 1
    now = await office.state(client, login)
    return now["state"], now["reason"]


@pytest.mark.req("S-OAUTH-9")
@pytest.mark.parametrize("login", REVOKING)
async def test_an_end_ends_every_login_of_the_grant(office: Office, login: str) -> None:
    """An account was connected three times: after the disconnect no pair of any of them is of use, and it says so."""
    client, pairs, made = await office.client(), [], dict[str, Any]()
    if login == "x":
        await office.social.tell("rules", platform="x", single_grant=False)
    for _ in range(3):
        made = await office.connected(client, login)
        pairs.append(await pair(office, client, login, made["account_id"]))
    assert await end(office, client, login) == ("disconnected", "confirmed")
    assert [await lives(office, login, one) for one in pairs] == [False] * 3
    assert not any((await office.live(client, login, made["account_id"])).values())


@pytest.mark.req("S-OAUTH-9")
async def test_a_replaced_login_that_nobody_can_end_leaves_the_end_unconfirmed(office: Office) -> None:
    """The tokens of an earlier login are out of the store: nobody can prove that they are dead, and nobody says so."""
    client = await office.client()
    first = await office.connected(client, "linkedin")
    old = await pair(office, client, "linkedin", first["account_id"])
    await office.connected(client, "linkedin")
    async with office.custody(client, "linkedin") as custody:
        await custody.destroy(office.place(client, "linkedin", first["account_id"], "tokens"), [1])
    assert await end(office, client, "linkedin") == ("disconnected", "unconfirmed")
    assert await lives(office, "linkedin", old)
    assert "revocation_unconfirmed" in str(office.desk.stand.alerts())


async def test_a_login_ends_what_it_replaced_where_that_spares_the_new_one(office: Office) -> None:
    """At X the replaced pair is revoked when the new login is on record, and the new pair works."""
    client = await office.client()
    await office.social.tell("rules", platform="x", single_grant=False)
    first = await office.connected(client, "x")
    old = await pair(office, client, "x", first["account_id"])
    ref = office.sql("SELECT id FROM byokeep.credential_ref")
    paused = {"to": "suspended", "reason": "a_pause"}
    assert (await office.desk.call("POST", f"/v1/refs/{ref}/state", "operator", paused))[0] == 200
    await office.connected(client, "x")
    assert office.sql("SELECT state FROM byokeep.credential_ref") == "suspended"  # whoever logs in did not decide that
    assert not await lives(office, "x", old)
    assert (await office.social.identity("x", (await pair(office, client, "x", first["account_id"]))[0])).status == 200
    assert revocations(office) == [("ok", "replaced", "confirmed")]
    assert office.sql("SELECT replaces FROM byokeep.connection WHERE replaces IS NOT NULL") == "0"
    assert office.desk.stand.alerts() == []


@pytest.mark.parametrize("stolen", [False, True], ids=["routine", "stolen"])
async def test_what_can_not_be_ended_alone_is_called_unsupported(office: Office, stolen: bool) -> None:
    """Where to revoke the old pair could end the new login nothing is sent; after a theft people are told."""
    client = await office.client()
    first = await office.connected(client, "tiktok")
    old = await pair(office, client, "tiktok", first["account_id"])
    if stolen:
        body = {"client_id": str(client), "platform": "tiktok", "cause": "compromised"}
        assert (await office.desk.stand.call("POST", "/v1/platforms/close", "operator", body))[0] == 200
    await office.connected(client, "tiktok")
    assert await lives(office, "tiktok", old)
    assert revocations(office) == [("failed", "replaced", "unsupported")]
    assert ("replaced_tokens_left" in str(office.desk.stand.alerts())) is stolen


async def test_what_a_login_replaced_is_ended_though_its_finisher_died(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed once the new login is on record: the next refresher ends the old pair, or says that it is left, once."""
    client = await office.client()
    await office.social.tell("rules", platform="x", single_grant=False)
    first = await office.connected(client, "x")
    old = await pair(office, client, "x", first["account_id"])

    async def killed(*_: Any, **__: Any) -> None:
        """Nothing more came of it."""

    with monkeypatch.context() as dies:
        dies.setattr(leftovers, "end_replaced", killed)
        await office.connected(client, "x")
    assert await maintenance.tend(office.app) == 0  # whoever finishes it may be at it
    assert (await office.social.identity("x", old[0])).status == 200
    past = ", ".join(f"{name} = {name} - interval '1 hour'" for name in ("started_at", "expires_at", "ended_at"))
    office.sql(f"UPDATE byokeep.connection SET {past}")  # noqa: S608 - names of columns
    assert await maintenance.end_replaced(replace(office.app, logins={})) == 0  # the login is gone from the settings
    with monkeypatch.context() as fails:
        fails.setattr(leftovers, "end_replaced", Mock(side_effect=RuntimeError))
        assert await maintenance.end_replaced(office.app) == 1
    assert office.desk.stand.alerts() == ["replaced_end_failed"]
    office.app.apart.worked("replaced_end", UUID(first["account_id"]))
    assert [await maintenance.tend(office.app) for _ in range(2)] == [1, 0]
    assert not await lives(office, "x", old)
    assert revocations(office) == [("ok", "replaced", "confirmed")]
    assert (await office.social.identity("x", (await pair(office, client, "x", first["account_id"]))[0])).status == 200


async def test_a_replaced_login_that_could_not_be_ended_is_told_and_ended_later(office: Office) -> None:
    """X can not revoke at the moment: the new login stands, people are told, and the end of the grant ends both."""
    client = await office.client()
    await office.social.tell("rules", platform="x", single_grant=False)
    first = await office.connected(client, "x")
    old = await pair(office, client, "x", first["account_id"])
    await office.fault("x", "status", "revoke", status=503, times=2)
    await office.connected(client, "x")
    assert (await office.social.identity("x", old[0])).status == 200
    assert revocations(office) == [("failed", "replaced", "unconfirmed")]
    assert "replaced_tokens_left" in str(office.desk.stand.alerts())
    assert await end(office, client, "x") == ("disconnected", "confirmed")
    assert not await lives(office, "x", old)


async def test_a_login_whose_commit_comes_late_keeps_its_tokens(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is lost at the commit, which the database does a moment later: what that pins is not destroyed."""
    client = await office.client()
    begun = await office.begin(client, "x")
    await office.bring(client, begun, await office.consent(begun["authorize_url"], "x"))
    real, commit, under_way = connect_finish.record, PostgresTransaction.commit, list[asyncio.Task[int]]()

    async def record(*given: Any) -> int:
        at_commit = asyncio.Event()

        async def late(tx: PostgresTransaction) -> None:
            if asyncio.current_task() in under_way:
                at_commit.set()
                await asyncio.sleep(0.7)
            await commit(tx)

        monkeypatch.setattr(PostgresTransaction, "commit", late)
        under_way.append(asyncio.create_task(real(*given)))
        await at_commit.wait()
        raise Unavailable("commit_outcome_unknown")

    monkeypatch.setattr(connect_finish, "record", record)
    await finished(office.app)
    await asyncio.gather(*under_way)
    assert (await office.look(client, begun))["state"] == "connected"
    assert await lives(office, "x", await pair(office, client, "x", begun["account_id"]))


@pytest.mark.req("S-OAUTH-9")
@pytest.mark.parametrize("login", ["linkedin", "tiktok", "x"])
async def test_a_disconnect_wins_over_a_consent_that_is_being_finished(office: Office, login: str) -> None:
    """The platform is being asked while a person disconnects: what it gives is revoked, and the account is over."""
    client = await office.client()
    made = await office.connected(client, login)
    begun = await office.begin(client, login)
    said = await office.consent(begun["authorize_url"], login)
    await office.bring(client, begun, said)
    real, late = office.app.platform, []

    class Slow(Around):
        async def exchange(self, *args: Any, **more: Any) -> Any:
            tokens = await self.inner.exchange(*args, **more)
            late.append((tokens.access.reveal().decode(), tokens.refresh.reveal().decode()))
            status, reply = await office.act(client, login, "disconnect")
            assert (status, reply["state"]) == (200, "disconnecting")
            await maintenance.end_disconnected(office.app)  # it waits for the consent
            assert (await office.state(client, login))["state"] == "disconnecting"
            return tokens

    odd: Any = lambda at, secret: Slow(real(at, secret))  # noqa: E731
    old = await pair(office, client, login, made["account_id"])
    await finished(replace(office.app, platform=odd))
    done = await office.look(client, begun)
    assert (done["state"], done["reason"]) == ("failed", "disconnected")
    assert not await lives(office, login, late[0])
    assert revocations(office)[-1] == ("ok", "came_too_late", "confirmed")
    await maintenance.end_disconnected(office.app)
    now = await office.state(client, login)
    assert (now["state"], now["reason"], now["policy"]) == ("disconnected", "confirmed", "off")
    assert not await lives(office, login, old)
    assert not any((await office.live(client, login, made["account_id"])).values())


@pytest.mark.parametrize("answered", [False, True])
async def test_a_disconnect_ends_a_consent_that_nobody_has_taken(office: Office, answered: bool) -> None:
    """A consent that was begun before the disconnect connects nothing after it, and its code is not shown."""
    client = await office.client()
    await office.connected(client, "linkedin")
    begun = await office.begin(client, "linkedin")
    said = await office.consent(begun["authorize_url"], "linkedin")
    if answered:
        await office.bring(client, begun, said)
    assert await end(office, client, "linkedin") == ("disconnected", "confirmed")
    if not answered:
        status, reply = await office.bring(client, begun, said)
        assert (status, reply["code"]) == (422, "connection_over")
    assert await office.finish() == 0
    done = await office.look(client, begun)
    assert (done["state"], done["reason"]) == ("expired", "disconnected")
    assert (await office.state(client, "linkedin"))["state"] == "disconnected"


async def test_a_consent_that_begins_after_the_disconnect_connects(office: Office) -> None:
    """Whoever connects again after the disconnect is connected, for that is what was said last."""
    client = await office.client()
    await office.connected(client, "linkedin")
    assert (await office.act(client, "linkedin", "disconnect"))[0] == 200
    await office.connected(client, "linkedin")
    assert (await office.state(client, "linkedin"))["state"] == "connected"


@pytest.mark.parametrize("login", ["tiktok", "x"])
async def test_a_consent_waits_for_an_end_that_is_under_way(office: Office, login: str) -> None:
    """While the platform is asked to end the grant no consent begins and no answer is taken, for it would be destroyed
    with the rest; afterwards the same answer connects."""
    client = await office.client()
    await office.connected(client, login)
    assert (await office.act(client, login, "disconnect"))[0] == 200
    begun = await office.begin(client, login)
    said = await office.consent(begun["authorize_url"], login)
    real, refused = office.app.platform, list[tuple[int, str]]()

    class Slow(Around):
        async def revoke(self, tokens: Any) -> Any:
            again = f"/v1/clients/{client}/logins/{login}/accounts/acme/connect"
            for status, reply in (await office.bring(client, begun, said),
                                  await office.desk.call("POST", again, "operator", {})):  # fmt: skip
                refused.append((status, reply.get("code", "")))
            await office.finish()
            return await self.inner.revoke(tokens)

    odd: Any = lambda at, secret: Slow(real(at, secret))  # noqa: E731
    assert await maintenance.end_disconnected(replace(office.app, platform=odd)) == 1
    assert refused == [(409, "disconnecting")] * 2
    now = await office.state(client, login)
    assert (now["state"], now["reason"]) == ("disconnected", "confirmed")
    assert (await office.bring(client, begun, said))[0] == 200
    assert await office.finish() == 1
    assert (await office.state(client, login))["state"] == "connected"
    assert await lives(office, login, await pair(office, client, login, begun["account_id"]))
