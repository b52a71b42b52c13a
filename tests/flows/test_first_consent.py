"""What was said of an account before its first verified consent, and which account a name can stand for."""

from __future__ import annotations

import json
from typing import Any, Final
from uuid import UUID

import pytest

from byokeep.accounts import accounts
from tests.support.connect import Office
from tests.support.social import ACCOUNTS

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.connect",
]  # fmt: skip
API: Final = {"policy": "api"}


async def answered(office: Office, client: UUID, begun: dict[str, Any]) -> None:
    said = await office.consent(begun["authorize_url"], "x")
    assert (await office.bring(client, begun, said))[0] == 200


@pytest.mark.req("R5.2-9")
async def test_no_lane_is_set_before_the_first_verification(office: Office) -> None:
    """While the first consent is under way, answered or not, a lane is refused; off is no lane. After it one is set."""
    client = await office.client()
    begun = await office.begin(client, "x", "acme")
    assert (await office.act(client, "x", "lane", API))[1]["code"] == "account_not_verified"
    await answered(office, client, begun)
    assert (await office.act(client, "x", "lane", API))[1]["code"] == "account_not_verified"
    assert (await office.act(client, "x", "lane", {"policy": "off"}))[0] == 200
    assert await office.finish() == 1
    seen = await office.state(client, "x")
    assert (seen["state"], seen["policy"]) == ("connected", "off")
    assert (await office.act(client, "x", "lane", API))[0] == 200
    assert (await office.state(client, "x"))["policy"] == "api"


@pytest.mark.req("R5.2-9")
async def test_a_lane_of_before_does_not_outlive_the_first_consent(office: Office) -> None:
    """One that was registered by hand may have lanes; its first consent takes them, on record, and a later one does
    not."""
    client = await office.client()
    who = ACCOUNTS["x"][0]
    body = {"platform": "x", "account": who["id"], "username": who["username"], "display_name": who["display_name"]}
    assert (await office.desk.call("POST", f"/v1/clients/{client}/accounts", "operator", body))[0] == 201
    assert (await office.act(client, "x", "lane", API, who["id"]))[0] == 200
    begun = await office.begin(client, "x", who["id"])
    assert (await office.act(client, "x", "lane", API, who["id"]))[0] == 200
    await answered(office, client, begun)
    assert await office.finish() == 1
    seen = await office.state(client, "x", who["id"])
    assert (seen["state"], seen["policy"]) == ("connected", "off")
    said = [json.loads(one)["fields"]["lanes"] for one in office.desk.stand.events("account.lanes_set")]
    assert said == ["api", "api", ""]
    assert (await office.act(client, "x", "lane", API, who["id"]))[0] == 200
    await office.connected(client, "x", who["id"])
    assert (await office.state(client, "x", who["id"]))["policy"] == "api"


@pytest.mark.req("R5.2-9")
async def test_a_lane_asked_for_before_the_first_consent_is_not_set_after_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The consent is finished between the look at an account that was registered by hand and the act on it."""
    client = await office.client()
    who = ACCOUNTS["x"][0]
    body = {"platform": "x", "account": who["id"], "username": who["username"], "display_name": who["display_name"]}
    assert (await office.desk.call("POST", f"/v1/clients/{client}/accounts", "operator", body))[0] == 201
    await answered(office, client, await office.begin(client, "x", who["id"]))
    find = accounts._find

    async def beside(*asked: Any) -> accounts.AccountState:
        found = await find(*asked)
        await office.finish()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(accounts, "_find", beside)
        status, reply = await office.act(client, "x", "lane", API, who["id"])
    assert (status, reply.get("code")) == (409, "connected_meanwhile")
    seen = await office.state(client, "x", who["id"])
    assert (seen["state"], seen["policy"]) == ("connected", "off")


@pytest.mark.req("R5.2-5")
async def test_no_other_account_is_picked_under_a_name_that_is_one_s(office: Office) -> None:
    """Connected, registered by hand, disconnected: a pick of another id is refused, and of the same one is not."""
    client = await office.client()
    mine, other = (one["id"] for one in ACCOUNTS["meta"][:2])
    await office.connected(client, "meta")

    async def begun(name: str, pick: str) -> str:
        path = f"/v1/clients/{client}/logins/meta/accounts/{name}/connect"
        status, reply = await office.desk.call("POST", path, "operator", {"pick": pick})
        return "" if status == 201 else str(reply["code"])

    assert await begun("acme", other) == "pick_is_another_account"
    assert (await office.state(client, "meta"))["state"] == "connected"
    assert await begun("acme", mine) == ""
    body = {"platform": "meta", "account": other, "username": "by-hand", "display_name": "By hand"}
    assert (await office.desk.call("POST", f"/v1/clients/{client}/accounts", "operator", body))[0] == 201
    assert await begun(other, mine) == "pick_is_another_account"
    assert await begun(other, other) == ""
    assert (await office.act(client, "meta", "disconnect"))[0] == 200
    office.sql("UPDATE byokeep.account_grant SET state = 'revoked'")
    done = await office.connect(client, "meta", pick=other)
    assert (done["state"], done["reason"]) == ("failed", "pick_is_another_account")
