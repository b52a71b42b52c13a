"""What an account is for outlives its logins; a login that grants less than it was for leads to no canary."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import json
from urllib.parse import parse_qsl, urlsplit

from tests.support.connect import Office

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.connect",
]  # fmt: skip


async def test_a_reconnect_keeps_what_the_account_is_for(office: Office) -> None:
    """Nothing said: asked for as before, also after it was disconnected; said: as said, and nothing is a word too."""
    client = await office.client()
    await office.connected(client, "x", purposes=["publish", "engage"])
    begun = await office.begin(client, "x")
    asked = dict(parse_qsl(urlsplit(begun["authorize_url"]).query))["scope"].split()
    assert {"tweet.write", "media.write"} <= set(asked)
    await office.connected(client, "x")
    assert (await office.state(client, "x"))["purposes"] == ["engage", "publish"]
    await office.act(client, "x", "disconnect")
    office.sql("UPDATE byokeep.account_grant SET state = 'revoked'")
    await office.connected(client, "x")
    assert (await office.state(client, "x"))["purposes"] == ["engage", "publish"]
    await office.connected(client, "x", purposes=["engage"])
    assert (await office.state(client, "x"))["purposes"] == ["engage"]
    await office.connected(client, "x", purposes=[])
    assert (await office.state(client, "x"))["purposes"] == []
    await office.connected(client, "x", "fresh", account="bravo")
    assert (await office.state(client, "x", "fresh"))["purposes"] == []


async def test_a_login_with_fewer_permissions_than_the_account_had_is_not_permitted(office: Office) -> None:
    """Step 3 of runbook 7.2 fails and says what is missing; the former permissions, or the fewer ones said again by a
    login of their own, lead on."""
    client, stand = await office.client(), office.desk.stand
    await office.connected(client, "x", purposes=["publish"])
    body = {"client_id": str(client), "platform": "x", "cause": "compromised"}
    assert (await stand.call("POST", "/v1/platforms/close", "operator", body))[0] == 200
    await office.connected(client, "x", purposes=[])
    way = f"SELECT stage, cause FROM byokeep.reenabling WHERE client_id = '{client}'"
    assert office.sql(way) == "closed|missing_scope"
    assert json.loads(stand.events("platform.reenabling_stepped")[-1])["fields"]["missing"] == "publish"
    assert "reenabling_failed" in stand.alerts()
    await office.connected(client, "x")
    assert office.sql(way) == "permitted|missing_scope"
    await office.connected(client, "x", purposes=["publish"])
    assert (await stand.call("POST", "/v1/platforms/close", "operator", body))[0] == 200
    await office.connected(client, "x")
    assert office.sql(way) == "permitted|compromised"
    assert (await office.state(client, "x"))["purposes"] == ["publish"]
