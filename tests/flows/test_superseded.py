"""A consent that is not kept ends at some platforms what lives of whoever answered: found out at once, and no theft."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock
from uuid import UUID, uuid4

import pytest

from byokeep.accounts import connect_finish, maintenance
from byokeep.accounts.refresh import Renewals
from byokeep.adapters.files.slots import SlotDirectory
from byokeep.backup import backups
from byokeep.core.events import EventName
from tests.support.connect import Office, finished
from tests.support.social import Around

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.connect",
]  # fmt: skip


async def renewed(office: Office, place: Path) -> list[str]:
    """Renew what is due; how each ended."""
    ended: list[str] = []
    slots = SlotDirectory(place / "slots", office.app.installation_id)
    try:
        renewals = Renewals(replace(office.app, slots=slots), lambda _, how: ended.append(how))
        await renewals.start_due()
        await renewals.settle()
    finally:
        slots.close()
    return ended


def marked(office: Office, client: UUID, name: str = "acme") -> str:
    return office.sql(
        "SELECT a.identity, g.verified_at IS NULL, g.superseded_at IS NOT NULL, g.due_at <= now()"
        " FROM byokeep.account_grant g JOIN byokeep.platform_account a ON a.id = g.account_id"
        f" WHERE g.client_id = '{client}' AND a.account = '{name}'"
    )


def alerts_of(office: Office, client: UUID, reason: str) -> int:
    return int(office.sql(f"SELECT count(*) FROM byokeep.alert WHERE client_id = '{client}' AND reason = '{reason}'"))


async def test_the_account_that_answered_is_renewed_at_once_and_told(office: Office, tmp_path: Path) -> None:
    """Quarantined as another account; the one that answered is marked and named, its lanes can not be set, its renewal
    is refused as superseded: no theft, and the platform is not closed as compromised. The other one stays."""
    client = await office.client()
    await office.connected(client, "x")
    second = await office.connected(client, "x", "acme2", account="bravo")
    assert marked(office, client, "acme2") == "match|f|f|f"
    done = await office.connect(client, "x", account="bravo")
    assert (done["state"], done["reason"], done["held_as"]) == ("quarantined", "other_account", "acme2")
    assert (marked(office, client), marked(office, client, "acme2")) == ("match|f|f|f", "unchecked|t|t|t")
    assert alerts_of(office, client, "tokens_maybe_superseded") == 1
    status, reply = await office.act(client, "x", "lane", {"policy": "api"}, "acme2")
    assert (status, reply["code"]) == (409, "account_not_verified")
    assert await renewed(office, tmp_path) == ["superseded"]
    state = await office.state(client, "x", "acme2")
    assert (state["state"], state["reason"]) == ("needs_reauth", "superseded")
    assert state["superseded_at"] is not None
    assert office.sql("SELECT stage, cause FROM byokeep.reenabling") == "closed|revoked"
    assert alerts_of(office, client, "account_superseded") == 1
    assert alerts_of(office, client, "account_reuse_suspected") == 0
    assert (await office.state(client, "x"))["state"] == "connected"
    again = await office.connected(client, "x", "acme2", account="bravo")
    assert again["account_id"] == second["account_id"]
    assert marked(office, client, "acme2") == "match|f|f|f"


async def test_another_clients_account_is_told_to_that_client_alone(office: Office, tmp_path: Path) -> None:
    """Taken: the client that has it sees the alert and the cause, the other one no name of it."""
    first, second = await office.client(), await office.client()
    await office.connected(first, "x", "theirs")
    done = await office.connect(second, "x", "mine")
    assert (done["reason"], done["held_as"]) == ("account_taken", "")
    assert marked(office, first, "theirs") == "unchecked|t|t|t"
    told = (alerts_of(office, first, "tokens_maybe_superseded"), alerts_of(office, second, "tokens_maybe_superseded"))
    assert told == (1, 0)
    assert await renewed(office, tmp_path) == ["superseded"]
    assert office.sql("SELECT client_id, cause FROM byokeep.reenabling") == f"{first}|revoked"


async def test_a_platform_that_keeps_both_goes_on(office: Office, tmp_path: Path) -> None:
    """Tokens that live are renewed, and nothing is held against the account; a loss after that is a loss as ever."""
    client = await office.client()
    await office.connected(client, "tiktok")
    done = await office.connect(client, "tiktok", "twice")
    assert (done["reason"], done["held_as"]) == ("already_connected", "acme")
    assert marked(office, client) == "unchecked|t|t|t"
    assert await renewed(office, tmp_path) == ["renewed"]
    assert await maintenance.check_due(office.app) == 1
    assert marked(office, client) == "match|f|f|f"
    await office.social.tell("grants", platform="tiktok", account="acme", event="revoked")
    office.sql("UPDATE byokeep.account_grant SET due_at = now()")
    assert await renewed(office, tmp_path) == ["reuse_suspected"]


async def test_one_that_renews_otherwise_is_looked_at(office: Office) -> None:
    """Where no token is one-time nothing is held up: a look, and that is all."""
    client = await office.client()
    await office.connected(client, "youtube")
    done = await office.connect(client, "youtube", "twice")
    assert done["reason"] == "already_connected"
    assert marked(office, client) == "match|t|f|f"
    assert alerts_of(office, client, "tokens_maybe_superseded") == 0


async def test_a_reconnect_that_is_refused_marks_the_account_itself(office: Office, tmp_path: Path) -> None:
    """The right account, too few permissions: at X its older tokens are dead by then, and that is no theft either."""
    client = await office.client()
    await office.connected(client, "x", purposes=["publish"])
    done = await office.connect(
        client, "x", purposes=["publish"], consent={"scopes": ["users.read", "tweet.read", "offline.access"]}
    )
    assert (done["reason"], done["held_as"]) == ("missing_scope", "")
    assert marked(office, client) == "unchecked|t|t|t"
    assert await renewed(office, tmp_path) == ["superseded"]


async def test_a_code_whose_reply_was_lost_marks_the_account(office: Office, tmp_path: Path) -> None:
    """Nobody has what X gave, and its older tokens are dead by then: no theft. A code that is refused ended nothing."""
    client = await office.client()
    await office.connected(client, "x")
    await office.fault("x", "status", "token", status=400)
    assert (await office.connect(client, "x"))["reason"] == "exchange_refused"
    assert marked(office, client) == "match|f|f|f"
    await office.fault("x", "reset", "token", when="after")
    assert (await office.connect(client, "x"))["reason"] == "exchange_refused"
    assert marked(office, client) == "unchecked|t|t|t"
    assert await renewed(office, tmp_path) == ["superseded"]


async def test_the_end_of_one_page_names_those_that_end_with_it(office: Office) -> None:
    """Refused with their names, in words and over HTTP; confirmed, it ends, and the others are looked at at once."""
    client, other = await office.client(), await office.client()
    await office.connected(client, "meta", "cafe")
    await office.connected(client, "meta", "tea", account="bravo")
    await office.connected(other, "youtube", "cafe")
    status, reply = await office.act(client, "meta", "disconnect", name="tea")
    assert (status, reply["code"], reply["accounts"]) == (409, "others_end_too", "cafe")
    assert (await office.state(client, "meta", "tea"))["state"] == "connected"
    status, reply = await office.act(client, "meta", "disconnect", {"also": True}, "tea")
    assert (status, reply["state"]) == (200, "disconnecting")
    assert (await office.act(other, "youtube", "disconnect", name="cafe"))[0] == 200, "nobody else hangs on it"
    assert await maintenance.end_disconnected(office.app) == 2
    assert (await office.state(client, "meta", "cafe"))["verified_at"] is None
    assert await maintenance.check_due(office.app) == 1


async def test_an_end_that_ends_nobody_else_is_not_asked_about(office: Office) -> None:
    """X, TikTok and the rest revoke one account alone."""
    client = await office.client()
    for login in ("x", "tiktok", "linkedin"):
        await office.connected(client, login, f"{login}-a")
        await office.connected(client, login, f"{login}-b", account="bravo")
        assert (await office.act(client, login, "disconnect", name=f"{login}-a"))[0] == 200


async def test_a_look_alike_shows_its_name_after_a_look(office: Office) -> None:
    """The id is the expected one: the names that give it away can be seen, spelt, beside the expected ones."""
    client = await office.client()
    await office.connected(client, "x")
    await office.act(client, "x", "verify")
    await office.fault("x", "wrong_identity", "identity", lie="lookalike")
    assert await maintenance.check_due(office.app) == 1
    state = await office.state(client, "x")
    assert (state["state"], state["reason"], state["verified_at"]) == ("mismatch", "identity_mismatch", None)
    assert "<U+0430>" in state["said_display_name"] + state["said_username"]
    assert "<U+" not in state["display_name"] + state["username"]


@pytest.mark.parametrize("sent", [False, True], ids=["before the request", "before the refusal"])
async def test_a_renewal_beside_a_consent_finds_no_theft(office: Office, tmp_path: Path, sent: bool) -> None:
    """The consent has ended the older tokens at X and is not on record yet: a renewal waits for it, whether its request
    had left or not; the account is connected, nobody is told of a loss, and the next renewal works."""
    client = await office.client()
    await office.connected(client, "x")
    begun = await office.begin(client, "x")
    said = await office.consent(begun["authorize_url"], "x")
    office.sql("UPDATE byokeep.account_grant SET due_at = now()")
    exchanged, go_on, consents = asyncio.Event(), asyncio.Event(), list[asyncio.Task[int]]()

    async def consent(app: Any) -> None:
        assert (await office.bring(client, begun, said))[0] == 200
        consents.append(asyncio.create_task(finished(app)))
        await exchanged.wait()

    class Held(Around):
        async def exchange(self, *args: Any, **more: Any) -> Any:
            tokens = await self.inner.exchange(*args, **more)
            exchanged.set()
            await go_on.wait()
            return tokens

        async def refresh(self, *args: Any, **more: Any) -> Any:
            await consent(held)
            return await self.inner.refresh(*args, **more)

    real = office.app
    odd: Any = lambda at, secret: Held(real.platform(at, secret))  # noqa: E731
    held = replace(real, platform=odd)
    if sent:
        office.app = held
    else:
        await consent(held)
    assert await renewed(office, tmp_path) == ["connection_in_progress"]
    office.app = real
    go_on.set()
    await asyncio.gather(*consents)
    assert (await office.look(client, begun))["state"] == "connected"
    assert office.desk.stand.alerts() == []
    office.sql("UPDATE byokeep.account_grant SET due_at = now()")
    assert await renewed(office, tmp_path) == ["renewed"]


@pytest.mark.parametrize(("login", "ended"), [("x", "superseded"), ("tiktok", "renewed")])
async def test_tokens_of_a_consent_whose_finisher_died_are_adopted_by_no_renewal(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: str, ended: str
) -> None:
    """They are destroyed, for the consent has failed on record; whether it has ended the older ones a renewal finds out
    at once, and finds no theft."""
    client = await office.client()
    await office.connected(client, login)
    begun = await office.begin(client, login)
    assert (await office.bring(client, begun, await office.consent(begun["authorize_url"], login)))[0] == 200
    with monkeypatch.context() as dying:
        dying.setattr(connect_finish, "record", AsyncMock(side_effect=asyncio.CancelledError))
        assert await office.finish() == 1
    assert (await office.live(client, login, begun["account_id"]))["tokens"] == [1, 2]
    office.sql("UPDATE byokeep.connection SET answered_at = now() - interval '1 hour' WHERE state = 'taken'")
    assert await maintenance.sweep_lost(office.app) == 1
    assert (await office.look(client, begun))["reason"] == "interrupted"
    live = {"tokens": [1], "access": [1], "code": [], "verifier": []}
    assert await office.live(client, login, begun["account_id"]) == live
    assert marked(office, client) == "unchecked|t|t|t"
    assert await renewed(office, tmp_path) == [ended]
    assert alerts_of(office, client, "account_reuse_suspected") == 0


@pytest.mark.parametrize("why", ["suspended", "restored"])
async def test_what_a_dead_finisher_stored_stays_where_nobody_may_or_can_tell_whose_it_is(
    office: Office, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Of a client that is suspended it is told, and the consent ends; what is newer than a grant of an older database
    may be that grant's own."""
    client = await office.client()
    if why == "restored":
        await office.connected(client, "x")
        said: dict[str, Any] = {"backup": str(uuid4()), "epoch": 0, "count": 0, "found": 0}
        await backups.say(office.desk.stand.app, EventName.BACKUP_RESTORED, said)
    begun = await office.begin(client, "x")
    assert (await office.bring(client, begun, await office.consent(begun["authorize_url"], "x")))[0] == 200
    with monkeypatch.context() as dying:
        dying.setattr(connect_finish, "record", AsyncMock(side_effect=asyncio.CancelledError))
        assert await office.finish() == 1
    there = await office.live(client, "x", begun["account_id"])
    office.sql("UPDATE byokeep.connection SET answered_at = now() - interval '1 hour' WHERE state = 'taken'")
    if why == "suspended":
        office.sql(f"UPDATE byokeep.client SET state = 'suspended' WHERE id = '{client}'")
    await maintenance.sweep_lost(office.app)
    assert (await office.look(client, begun))["reason"] == "interrupted"
    office.sql(f"UPDATE byokeep.client SET state = 'active' WHERE id = '{client}'")
    assert (await office.live(client, "x", begun["account_id"]))["tokens"] == there["tokens"]
    assert alerts_of(office, client, "orphan_not_destroyed") == (why == "suspended")
