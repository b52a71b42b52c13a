"""What was said of an account before its first verified consent, and which account a name can stand for."""

from __future__ import annotations

import pytest

from tests.support.connect import Office
from tests.support.social import ACCOUNTS

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.connect",
]  # fmt: skip


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
