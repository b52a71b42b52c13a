"""What was announced for later: held while it may not be, missed when its time passes, never dropped silently."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.core.reenable import RecoveryCause
from byokeep.jobs import reenabling
from byokeep.jobs.scheduled import move_scheduled
from tests.support.broker import Person, Stand
from tests.support.connected import Account, connect

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]
LATER = timedelta(hours=2)


async def announce(
    stand: Stand, client: UUID, who: str | Person = "dispatcher", *, at: datetime | None = None, **changed: Any
) -> tuple[int, Any]:
    due = at or datetime.now(UTC) + LATER
    body = {
        "client_id": str(client), "platform": "x", "account": "acme", "lane": "api", "effect": "publish",
        "idempotency_key": "post-0001", "due_at": due.isoformat(), **changed,
    }  # fmt: skip
    return await stand.call("POST", "/v1/effects/scheduled", who, body)


async def listed(stand: Stand, client: UUID, who: str | Person = "auditor") -> list[dict[str, Any]]:
    status, reply = await stand.call("GET", f"/v1/clients/{client}/effects/scheduled", who)
    assert status == 200
    return list(reply["effects"])


async def state(stand: Stand, client: UUID) -> str:
    [one] = await listed(stand, client)
    return str(one["state"])


async def change(
    stand: Stand, client: UUID, effect: str, how: str, who: str | Person = "operator", **body: Any
) -> tuple[int, Any]:
    path = f"/v1/clients/{client}/effects/scheduled/{effect}/{how}"
    return await stand.call("POST", path, who, body or None)


async def ready(stand: Stand) -> tuple[Account, str, str]:
    """An account, a lease of a job there, and something announced."""
    account = await connect(stand, await stand.client())
    lease = await stand.lease(await stand.job(account.client, secrets=["x"]))
    status, made = await announce(stand, account.client)
    assert status == 201, made
    return account, str(lease["lease_id"]), str(made["id"])


async def lost(stand: Stand, client: UUID) -> None:
    async with stand.app.db.begin(client_id=client) as tx:
        await reenabling.lose(tx, stand.app, stand.app.system(), client, "x", RecoveryCause.REVOKED)


def pass_time(stand: Stand) -> None:
    stand.db.sql("UPDATE byokeep.scheduled_effect SET due_at = now() - interval '1 second'")


@pytest.mark.req("R7.2-2")
async def test_a_lost_platform_holds_what_was_announced_and_time_makes_it_missed(stand: Stand) -> None:
    """Publishing is denied, the announced post is held; its time passes: missed, an alert, and a person must act."""
    account, lease, effect = await ready(stand)
    other = await connect(stand, account.client, "tiktok", "acme")
    tiktok = {"platform": "tiktok", "idempotency_key": "post-0002"}
    assert (await announce(stand, account.client, **tiktok))[0] == 201
    await lost(stand, account.client)
    assert (await stand.permit(lease, "post-0009"))[1]["code"] == "platform_closed"
    assert await move_scheduled(stand.app) == 1
    states = {one["platform"]: one["state"] for one in await listed(stand, account.client)}
    assert states == {"x": "held", other.platform: "scheduled"}
    assert (await stand.permit(lease, "post-0001"))[1]["code"] == "platform_closed"
    stand.db.sql("UPDATE byokeep.reenabling SET stage = 'reauthorised'")  # somebody logged in: it is not open yet
    assert await move_scheduled(stand.app) == 0
    pass_time(stand)
    assert await move_scheduled(stand.app) == 1
    assert "effect_missed" in stand.alerts()
    # The platform opens: what was missed is not done by itself.
    stand.db.sql("UPDATE byokeep.reenabling SET stage = 'open'")
    assert await move_scheduled(stand.app) == 0
    assert (await stand.permit(lease, "post-0001"))[1]["code"] == "effect_missed"
    for who in ("dispatcher", "runner", "approver", "auditor"):
        status, reply = await change(stand, account.client, effect, "requeue", who, due_at="2030-01-01T00:00:00Z")
        assert (status, reply["code"]) == (403, "not_permitted"), who
    due = (datetime.now(UTC) + LATER).isoformat()
    status, reply = await change(stand, account.client, effect, "requeue", due_at=due)
    assert (status, reply["state"]) == (200, "scheduled")
    status, permit = await stand.permit(lease, "post-0001")
    assert status == 201
    await stand.call("POST", f"/v1/permits/{permit['permit_id']}/close", "runner", {"outcome": "done"})
    done = {one["platform"]: one["state"] for one in await listed(stand, account.client)}
    assert done == {"x": "done", "tiktok": "scheduled"}
    assert [json.loads(one)["fields"]["reason"] for one in stand.events("effect.held")] == ["closed"]
    assert [len(stand.events(f"effect.{name}")) for name in ("scheduled", "missed", "requeued")] == [2, 1, 1]


@pytest.mark.parametrize("what", ["platform", "lane", "client", "global", "suspended", "foreign"])
async def test_whatever_is_closed_holds_and_opening_in_time_lets_it_go_on(stand: Stand, what: str) -> None:
    """Each switch, a suspended client, a switch that is another installation's: held, then scheduled again."""
    account, lease, _ = await ready(stand)
    client = account.client
    scope = {
        "platform": f"client:{client}:platform:x", "lane": f"client:{client}:lane:api", "client": f"client:{client}",
    }  # fmt: skip
    owner = stand.app.installation_id
    if what in scope:
        shut = (
            "INSERT INTO byokeep.switch (scope, client_id, closed, epoch, reason, by, installation_id) VALUES"
            f" ('{scope[what]}', '{client}', true, 1, 'test', '{owner}', '{owner}')"
        )
        opened = f"UPDATE byokeep.switch SET closed = false WHERE scope = '{scope[what]}'"
    elif what == "global":
        shut, opened = ("UPDATE byokeep.switch SET closed = true", "UPDATE byokeep.switch SET closed = false")
    elif what == "suspended":
        shut, opened = ("UPDATE byokeep.client SET state = 'suspended'", "UPDATE byokeep.client SET state = 'active'")
    else:
        shut, opened = (
            "SET session_replication_role = replica;"
            f" UPDATE byokeep.switch SET installation_id = '{uuid4()}' WHERE scope = 'global'",
            f"UPDATE byokeep.switch SET installation_id = '{owner}' WHERE scope = 'global'",
        )
    stand.db.sql(shut)
    assert await move_scheduled(stand.app) == 1
    assert await state(stand, client) == "held"
    assert await move_scheduled(stand.app) == 0
    stand.db.sql(opened)
    assert (await stand.permit(lease, "post-0001"))[1]["code"] == "effect_held"
    assert await move_scheduled(stand.app) == 1
    assert await state(stand, client) == "scheduled"
    assert (await stand.permit(lease, "post-0001"))[0] == 201


async def test_a_cancelled_act_is_denied_and_over(stand: Stand) -> None:
    """An operator calls it off: the gate denies its key, and nobody puts it back."""
    account, lease, effect = await ready(stand)
    assert (await change(stand, account.client, effect, "cancel", "dispatcher"))[0] == 403
    status, reply = await change(stand, account.client, effect, "cancel")
    assert (status, reply["state"]) == (200, "cancelled")
    assert (await stand.permit(lease, "post-0001"))[1]["code"] == "effect_cancelled"
    due = (datetime.now(UTC) + LATER).isoformat()
    for how, body in (("requeue", {"due_at": due}), ("cancel", {})):
        status, reply = await change(stand, account.client, effect, how, **body)
        assert (status, reply["code"]) == (409, "effect_cancelled")
    assert (await change(stand, account.client, str(uuid4()), "cancel"))[0] == 404


async def test_an_announcement_that_can_not_be_meant_is_refused(stand: Stand) -> None:
    """A time that is over or has no zone, a name nobody knows, a key for two acts, a person, another's client."""
    account, lease, _ = await ready(stand)
    client = account.client
    due = datetime.now(UTC) + LATER
    fresh = {"idempotency_key": "post-0002"}
    for changed, code in (
        ({"at": datetime.now(UTC) - timedelta(seconds=1), **fresh}, "bad_due_at"),
        ({"due_at": "2030-01-01T00:00:00", **fresh}, "bad_due_at"),
        ({"due_at": "tomorrow", **fresh}, "bad_due_at"),
        ({"account": "nobody", **fresh}, "unknown_account"),
        ({"effect": "launch", **fresh}, "bad_effect"),
        ({"idempotency_key": "short"}, "bad_effect"),
    ):
        status, reply = await announce(stand, client, **changed)  # type: ignore[arg-type]
        assert (status, reply["code"]) == (422, code), changed
    assert (await announce(stand, client, effect="dm"))[1]["code"] == "idempotency_key_reused"
    status, made = await announce(stand, client, at=due, **fresh)
    assert (await announce(stand, client, at=due, **fresh))[1]["id"] == made["id"]
    assert (await announce(stand, client, "operator", **fresh))[1]["code"] == "not_permitted"
    assert (await announce(stand, await stand.client(), "dispatcher", **fresh))[1]["code"] == "unknown_account"
    foreign = stand.subject("dispatcher", "Foreign", clients=(await stand.client(),))
    assert (await announce(stand, client, foreign, **fresh))[0] == 404
    assert await listed(stand, client, stand.subject("dispatcher", "Second")) == []
    # The gate keeps to what was announced: the same key for another act is refused.
    assert (await stand.permit(lease, "post-0001", lane="browser"))[0] == 403
    stand.db.sql("UPDATE byokeep.scheduled_effect SET effect = 'dm'")
    assert (await stand.permit(lease, "post-0001"))[1]["code"] == "idempotency_key_reused"


async def test_the_sdk_announces(stand: Stand) -> None:
    """As the dispatcher, once for each key however often it is said."""
    account = await connect(stand, await stand.client())
    due = datetime.now(UTC) + LATER
    async with stand.keep() as keep:
        wish: dict[str, Any] = {
            "client": account.client, "effect": "publish", "platform": "x", "account": "acme", "key": "post-0001",
            "due_at": due,
        }  # fmt: skip
        first = await keep.schedule(**wish)
        assert await keep.schedule(**wish) == first
    [one] = await listed(stand, account.client)
    assert (one["id"], datetime.fromisoformat(one["due_at"])) == (str(first), due)
