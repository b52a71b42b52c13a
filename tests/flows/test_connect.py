"""SOP 5.2 on real PostgreSQL and OpenBao: an account of every platform is connected, verified, and proved."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import AsyncMock
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID, uuid4

import pytest

from byokeep.accounts import connect_finish, maintenance
from byokeep.accounts.model import Connection
from byokeep.backup import backups
from byokeep.core.errors import Conflict, Unavailable
from byokeep.core.events import EventName
from byokeep.core.fault import Fault, FaultCause
from byokeep.core.identity import Face
from byokeep.core.model import LANES_OF, Lane, LanePolicy, Provider
from byokeep.core.ref import SecretPart
from byokeep.core.secret import Secret
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS
from byokeep.worker.ports import LeasedValues
from tests.support.connect import LOGINS, Office
from tests.support.social import ACCOUNTS

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.connect",
]  # fmt: skip
REFRESHED = {"linkedin", "tiktok", "x", "youtube"}


@pytest.mark.req("R2.1-7", "R5.2-3", "R5.2-4", "R5.2-5", "R5.2-13")
@pytest.mark.parametrize("login", LOGINS)
async def test_an_account_is_connected_and_proved(office: Office, login: str) -> None:
    """The whole set lies in the store, the database names its place, the names are the platform's, the run is complete;
    where a platform gives no refresh token that is said, with the day of the next login."""
    client, known = await office.client(), ACCOUNTS[login][0]
    done = await office.connected(client, login, purposes=["publish"])
    tokens = await office.tokens(client, login, done["account_id"])
    assert (tokens.platform, tokens.issuer, tokens.app_id) == (login, PLATFORM_DESCRIPTORS[login].oauth.issuer, "app")
    assert tokens.scopes
    assert not tokens.access.matches(b"")
    assert tokens.access_expires_at is not None
    assert str(tokens.obtained_by) == str(office.desk.people["operator"].id)
    assert (tokens.refresh is not None) == (login in REFRESHED)
    state = await office.state(client, login)
    said = (state["external_id"], state["username"], state["display_name"])
    named = {"linkedin": "", "youtube": f"@{known['username']}"}.get(login, known["username"])
    assert said == (known["id"], named, known["display_name"])  # nobody had typed them
    assert (state["state"], state["policy"], state["lanes"], state["next"]) == ("connected", "off", [], "lane")
    if login not in REFRESHED:
        assert state["reauth_at"] is not None
    row = office.sql(
        f"SELECT kind, secret_ref, version, state, verification FROM byokeep.credential_ref"
        f" WHERE client_id = '{client}'"
    )
    place = office.place(client, login, done["account_id"], "tokens")
    assert row == f"oauth_token_set|{place}|1|active|verified"
    assert await office.live(client, login, done["account_id"]) == {
        "tokens": [1], "access": [1], "code": [], "verifier": [],
    }  # fmt: skip
    sop = await office.desk.sop(done["sop"])
    assert (sop["state"], sop["missing"]) == ("complete", [])
    assert set(sop["evidence"]) == {"vault_write_event", "identity_verification", "platform_connected"}
    assert len(office.desk.stand.events("platform_connected")) == 1
    assert (
        office.sql(
            "SELECT evidence -> 'vault_write_event' < evidence -> 'platform_connected',"
            " evidence -> 'identity_verification' < evidence -> 'platform_connected' FROM byokeep.procedure_run"
        )
        == "t|t"
    )
    status, kept = await office.desk.call("GET", "/v1/inventory", "operator")
    assert (status, kept["result"]) == (200, "match")
    assert [one["store"] for one in kept["items"]] == ["present"]


@pytest.mark.req("R5.2-7")
async def test_posts_are_read_and_counted_never_kept(office: Office) -> None:
    """The record has the count and a digest of the newest; none at all is fine; a 403 is not verified."""
    client = await office.client()
    await office.connected(client, "x")
    (said,) = [json.loads(line)["fields"] for line in office.desk.stand.events("account.verified", "ok")]
    assert (said["count"], len(said["newest"]), said["verification"]) == (3, 32, "first")
    calls = await office.social.calls("x")
    assert set(calls) == {"token", "identity", "posts"}  # each of the API a GET
    await office.social.tell("accounts", platform="x", account="quiet", id="5550001", username="quiet",
                             display_name="Quiet", posts=0)  # fmt: skip
    await office.connected(client, "x", "quiet", account="quiet")
    assert json.loads(office.desk.stand.events("account.verified", "ok")[-1])["fields"]["count"] == 0
    await office.fault("x", "status", "posts", status=403)
    refused = await office.connect(client, "x", "bravo", account="bravo")
    assert (refused["state"], refused["reason"]) == ("failed", "posts_unreadable")
    assert not any((await office.live(client, "x", refused["account_id"])).values())


async def test_two_accounts_on_one_platform_are_two(office: Office) -> None:
    """Each has a set and a reference of its own, and both are listed."""
    client = await office.client()
    for login in LOGINS:
        first = await office.connected(client, login, f"{login}-a")
        second = await office.connected(client, login, f"{login}-b", account="bravo")
        assert first["account_id"] != second["account_id"]
        one, two = [await office.tokens(client, login, one["account_id"]) for one in (first, second)]
        assert not one.access.matches(two.access)
    status, reply = await office.desk.call("GET", f"/v1/clients/{client}/accounts", "operator")
    assert (status, len(reply["accounts"])) == (200, 12)
    assert {one["state"] for one in reply["accounts"]} == {"connected"}


@pytest.mark.req("R5.2-16", "S-OAUTH-6")
@pytest.mark.parametrize("login", ["x", "youtube", "meta"])
async def test_scopes_that_are_missing_or_unknown_fail(office: Office, login: str) -> None:
    """Fewer than asked fails and lists them; none told fails; more than asked passes with a warning."""
    client, oauth = await office.client(), PLATFORM_DESCRIPTORS[login].oauth
    pick = {"pick": ACCOUNTS[login][0]["id"]} if login == "meta" else {}
    kept = [*oauth.scopes["connect"], *oauth.scopes["read"]]
    done = await office.connect(client, login, purposes=["publish"], consent={"scopes": kept}, **pick)
    assert (done["state"], done["reason"]) == ("failed", "missing_scope")
    missing = json.loads(office.desk.stand.events("platform_connect_failed")[-1])["fields"]["missing"]
    assert set(missing.split(",")) == {scope.rpartition("/")[2] for scope in oauth.scopes["publish"]}
    await office.nothing_kept(client, login, done["account_id"])
    await office.fault(login, *(("html", "permissions") if login == "meta" else ("no_scope", "token")))
    untold = await office.connect(client, login, "untold", **pick)
    assert (untold["state"], untold["reason"]) == (
        "failed", "scopes_unchecked" if login == "meta" else "exchange_refused",
    )  # fmt: skip
    await office.nothing_kept(client, login, untold["account_id"])
    known = office.app.logins[login]
    office.app.logins[login] = replace(known, scopes=known.scopes | {"engage": ()})  # as if it had not been asked for
    wide = await office.connect(client, login, "wide", purposes=["engage"], **pick)
    assert wide["state"] == "connected"
    said = json.loads(office.desk.stand.events("account.verified", "ok")[-1])["fields"]
    assert set(said["wider"].split(",")) == {scope.rpartition("/")[2] for scope in oauth.scopes["engage"]}
    assert "scopes_wider" in office.desk.stand.alerts()


class Told:
    """A platform as it is, but for one answer."""

    def __init__(self, platform: Any, call: str, answer: Any) -> None:
        self._platform, self._call, self._answer = platform, call, answer

    def __getattr__(self, name: str) -> Any:
        async def told(*_: Any, **__: Any) -> Any:
            return self._answer

        return told if name == self._call else getattr(self._platform, name)


@pytest.mark.req("R5.2-16", "R5.2-12")
@pytest.mark.parametrize(
    ("call", "answer", "reason"),
    [
        ("granted", None, "scopes_unknown"),
        ("granted", Fault(cause=FaultCause.TRANSIENT, answered=False), "scopes_unchecked"),
        ("granted", (), "missing_scope"),
        ("identify", Fault(cause=FaultCause.TRANSIENT, answered=False), "identity_unchecked"),
        ("identify", (), "no_account"),
        ("identify", (Face(account_id="", username="acme", display_name="Acme"),), "account_not_chosen"),
    ],
)
async def test_what_could_not_be_checked_connects_nothing(office: Office, call: str, answer: Any, reason: str) -> None:
    """Scopes or an identity that nobody tells, or that cannot be asked for, fail the consent; nothing is kept."""
    client, platform = await office.client(), office.app.platform
    object.__setattr__(office.app, "platform", lambda at, secret: Told(platform(at, secret), call, answer))
    done = await office.connect(client, "x")
    assert (done["state"], done["reason"]) == ("failed", reason)
    await office.nothing_kept(client, "x", done["account_id"])
    object.__setattr__(office.app, "platform", platform)
    await office.connected(client, "x")


@pytest.mark.req("S-OAUTH-6")
@pytest.mark.parametrize("login", LOGINS)
async def test_no_more_is_asked_for_than_an_account_is_for(office: Office, login: str) -> None:
    """The address names the scopes of reading and of the purposes that were given, and not one more; a purpose that
    the login does not know is refused. A grant that is wider warns: see the test of scopes."""
    client, oauth = await office.client(), PLATFORM_DESCRIPTORS[login].oauth
    known = [one for one in ("publish", "engage") if oauth.scopes[one]]
    for purposes in ([], known[:1], known):
        begun = await office.begin(client, login, purposes=purposes)
        (asked,) = [value for name, value in parse_qsl(urlsplit(begun["authorize_url"]).query) if name == "scope"]
        needed = {scope for one in ("connect", "read", *purposes) for scope in oauth.scopes[one]}
        assert sorted(asked.split(oauth.authorize.scope_separator)) == sorted(needed), purposes
    path = f"/v1/clients/{client}/logins/{login}/accounts/acme/connect"
    status, reply = await office.desk.call("POST", path, "operator", {"purposes": ["everything"]})
    assert (status, reply["code"]) == (422, "bad_purpose")


@pytest.mark.req("R5.2-15")
async def test_an_account_is_one_clients(office: Office) -> None:
    """A second client is refused without a word of the first, and of two that race exactly one wins."""
    first, second = await office.client(), await office.client()
    await office.connected(first, "x")
    done = await office.connect(second, "x", "mine")
    assert (done["state"], done["reason"]) == ("failed", "account_taken")
    assert not any((await office.live(second, "x", done["account_id"])).values())
    assert office.desk.stand.alerts().count("account_taken") == 1
    again = await office.connect(first, "x", "twice")  # the same client's second name for it is nobody's quarrel
    assert (again["state"], again["reason"]) == ("failed", "already_connected")
    assert (again["held_as"], again["offered"]) == ("acme", [])
    assert (done["held_as"], done["offered"]) == ("", []), "another client's name for it is nobody's to know"
    assert office.desk.stand.alerts().count("account_taken") == 1
    assert not any((await office.live(first, "x", again["account_id"])).values())
    for row in office.sql(
        f"SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record WHERE chain = '{second}'"
    ).splitlines():
        assert str(first) not in row
    begun = []
    for client in (first, second):
        one = await office.begin(client, "linkedin", "race")
        said = await office.consent(one["authorize_url"], "linkedin", "bravo")
        assert (await office.bring(client, one, said))[0] == 200
        begun.append((client, one))
    await asyncio.gather(office.finish(), office.finish())
    ends = [(await office.look(client, one))["state"] for client, one in begun]
    assert sorted(ends) == ["connected", "failed"]
    lost, one = begun[ends.index("failed")]
    assert not any((await office.live(lost, "linkedin", one["account_id"])).values())
    held = office.sql("SELECT count(*) FROM byokeep.account_grant WHERE external_id = 'BravoSub02'")
    assert held == "1"


@pytest.mark.req("R5.2-5", "R5.2-8")
async def test_a_changed_name_waits_for_a_person(office: Office) -> None:
    """The same id under another name warns and waits for a confirmation that names what was seen; a look-alike is no
    drift but another account."""
    client = await office.client()
    await office.connected(client, "x")
    await office.social.tell("accounts", platform="x", account="acme", id="2244994945", username="acme.bakes",
                             display_name="Acme Bakery", posts=3)  # fmt: skip
    again = await office.connect(client, "x")
    assert again["state"] == "connected"
    state = await office.state(client, "x")
    assert (state["state"], state["username"], state["said_username"]) == ("name_changed", "acme.bakery", "acme.bakes")
    assert len(office.desk.stand.events("account.name_changed")) == 1
    assert "account_name_changed" in office.desk.stand.alerts()
    assert office.sql("SELECT drift FROM byokeep.account_grant") == "t"  # and what the gate makes of it: identity_drift
    wrong = {"username": "somebody", "display_name": "Acme Bakery"}
    assert (await office.act(client, "x", "confirm-name", wrong))[1]["code"] == "other_name"
    status, reply = await office.act(client, "x", "confirm-name", wrong | {"username": "acme.bakes"})
    assert (status, reply["state"], reply["username"]) == (200, "connected", "acme.bakes")
    await office.fault("x", "wrong_identity", "identity", lie="lookalike")
    twin = await office.connect(client, "x")
    assert (twin["state"], twin["reason"]) == ("quarantined", "other_account")
    said = json.loads(office.desk.stand.events("account.quarantined")[-1])["fields"]
    assert (said["cause"], said["code_points"]) == ("look_alike", "0430,0441,0435")
    assert twin["code_points"] == "<U+0430><U+0441><U+0435>"


async def transfer(office: Office, client: UUID, number: str, **changed: Any) -> tuple[int, Any]:
    """Ask for an account of X to go to a client, and have an admin approve it."""
    body = {"client_id": str(client), "login": "x", "account": number}
    asking = body | {"reason": "account_was_sold"}
    status, asked = await office.desk.stand.call("POST", "/v1/accounts/transfers", "operator", asking)
    assert status in (200, 201), asked
    path = f"/v1/accounts/transfers/{asked['id']}/approve"
    return await office.desk.stand.call("POST", path, changed.pop("who", "admin"), body | changed)


@pytest.mark.req("R5.2-15")
async def test_an_account_goes_to_another_client_by_two_peoples_word(office: Office) -> None:
    """What a client had and gave up is nobody's to take: without an approved transfer a second client is refused and
    stores nothing; approved for another client, another account, by the one who asked, or too late, it is not. It
    serves one consent, and the account is the second client's from then on, also for the first."""
    first, second = await office.client(), await office.client()
    await office.connected(first, "x")
    await office.act(first, "x", "disconnect")
    assert await maintenance.end_disconnected(office.app) == 1

    async def refused(client: UUID, name: str) -> None:
        done = await office.connect(client, "x", name)
        assert (done["state"], done["reason"]) == ("failed", "account_was_elsewhere")
        assert not any((await office.live(client, "x", done["account_id"])).values())
        assert office.sql("SELECT count(*) FROM byokeep.account_grant WHERE state <> 'revoked'") == "0"

    await refused(second, "mine")
    assert "account_was_elsewhere" in office.desk.stand.alerts()
    for row in office.sql(
        f"SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record WHERE chain = '{second}'"
    ).splitlines():
        assert str(first) not in row
    number = ACCOUNTS["x"][0]["id"]
    for changed, status in (
        ({"who": "operator"}, 403), ({"who": "approver"}, 403), ({"account": "1"}, 404),
        ({"client_id": str(first)}, 404), ({"login": "tiktok"}, 404),
    ):  # fmt: skip
        assert (await transfer(office, second, number, **changed))[0] == status, changed
        await refused(second, "mine")
    assert (await transfer(office, first, number))[0] == 200  # the other way round
    assert (await transfer(office, second, "1"))[0] == 200  # another account
    # Nor does what a row alone says, without the record of who approved.
    office.sql("UPDATE byokeep.approval SET approved_by = id, approved_at = now() WHERE approved_by IS NULL")
    await refused(second, "mine")
    assert (await transfer(office, second, number))[0] == 200
    office.sql("UPDATE byokeep.approval SET expires_at = now() - interval '1 second', used_at = NULL")
    await refused(second, "mine")
    assert (await transfer(office, second, number))[0] == 200
    await office.connected(second, "x", "mine")
    outcomes = [json.loads(line)["outcome"] for line in office.desk.stand.events("account.transferred")]
    assert (outcomes[0], outcomes[-2:]) == ("intended", ["ok", "ok"])
    await office.connected(second, "x", "mine")  # again: it is theirs
    await office.act(second, "x", "disconnect", name="mine")
    assert await maintenance.end_disconnected(office.app) == 1
    await refused(first, "acme")
    await office.connected(second, "x", "mine")


async def by_hand(office: Office, client: UUID, username: str, display_name: str) -> None:
    """Register an account of X under its id, as the owner tells it."""
    body = {"platform": "x", "account": "880001", "username": username, "display_name": display_name}
    assert (await office.desk.call("POST", f"/v1/clients/{client}/accounts", "operator", body))[0] == 201


@pytest.mark.req("R5.2-6", "R5.2-8")
async def test_a_stand_in_does_not_pass_the_first_consent_of_an_account_registered_by_hand(office: Office) -> None:
    """Another id under a name that looks the same, another id under the very name, and the id under a look-alike: each
    ends at a critical alert, nothing is stored and no lane opens; the registered id connects."""
    client = await office.client()
    await by_hand(office, client, "shopping.queen", "Shopping Queen")
    twin = {"username": "shopp\u0456ng.queen", "display_name": "Shopp\u0456ng Qu\u0435en"}
    same = {"username": "shopping.queen", "display_name": "Shopping Queen"}
    for account, number, names, cause, points in (
        ("far", "880666", twin, "other_id", ""),
        ("thief", "880667", same, "other_id", ""),
        ("near", "880001", twin, "look_alike", "<U+0456><U+0435>"),
    ):
        await office.social.tell("accounts", platform="x", account=account, id=number, posts=2, **names)
        done = await office.connect(client, "x", "880001", account=account)
        assert (done["state"], done["reason"], done["code_points"]) == ("quarantined", "other_account", points)
        assert json.loads(office.desk.stand.events("account.quarantined")[-1])["fields"]["cause"] == cause
        await office.nothing_kept(client, "x", done["account_id"])
        status, reply = await office.desk.call("GET", "/v1/alerts", "operator")
        (alert,) = [one for one in reply["alerts"] if one["reason"] == "other_account"]
        assert (status, alert["severity"], alert["code_points"]) == (200, "critical", points)
        seen = await office.state(client, "x", "880001")
        assert (seen["state"], seen["policy"]) == ("registered", "off")
    assert office.sql("SELECT count(*) FROM byokeep.account_grant") == "0"
    assert office.desk.stand.events("platform_connected") == []
    await office.social.tell("accounts", platform="x", account="own", id="880001", posts=2, **same)
    await office.connected(client, "x", "880001", account="own")
    assert (await office.state(client, "x", "880001"))["state"] == "connected"


async def test_an_ended_account_comes_back_as_itself(office: Office) -> None:
    """After a disconnect another account under its name is another account; the same one connects."""
    client = await office.client()
    done = await office.connected(client, "x")
    await office.act(client, "x", "disconnect")
    assert await maintenance.end_disconnected(office.app) == 1
    other = await office.connect(client, "x", account="bravo")
    assert (other["state"], other["reason"]) == ("quarantined", "other_account")
    assert not any((await office.live(client, "x", done["account_id"])).values())
    await office.connected(client, "x")


async def test_another_account_replaces_nothing(office: Office) -> None:
    """A reconnect that ends at another account is quarantined and the tokens stay; the same account replaces them."""
    client = await office.client()
    done = await office.connected(client, "tiktok")
    before = await office.tokens(client, "tiktok", done["account_id"])
    other = await office.connect(client, "tiktok", account="bravo")
    assert (other["state"], other["reason"]) == ("quarantined", "other_account")
    assert (await office.tokens(client, "tiktok", done["account_id"])).access.matches(before.access)
    assert "other_account" in office.desk.stand.alerts()
    again = await office.connected(client, "tiktok")
    after = await office.tokens(client, "tiktok", done["account_id"])
    assert not after.access.matches(before.access)
    assert office.sql("SELECT version FROM byokeep.account_grant") == "2"
    assert again["account_id"] == done["account_id"]
    assert len(office.desk.stand.events("platform_connected")) == 2


async def test_what_there_was_to_choose_from_is_said(office: Office) -> None:
    """No account, several, and one that is not there are three reasons; a name that an account of the other login has
    is refused, and no advice ends that account."""
    client = await office.client()
    await office.fault("x", "wrong_identity", "identity", lie="two_accounts")
    several = await office.connect(client, "x", "cafe")
    assert (several["state"], several["reason"]) == ("failed", "several_accounts")
    picked = await office.connect(client, "meta", "cafe", pick="99999")
    assert (picked["state"], picked["reason"]) == ("failed", "pick_not_there")
    await office.fault("x", "wrong_identity", "identity", lie="no_account")
    none = await office.connect(client, "x", "cafe")
    assert (none["state"], none["reason"]) == ("failed", "no_account")
    await office.connected(client, "instagram", "cafe")
    path = f"/v1/clients/{client}/logins/meta/accounts/cafe/connect"
    status, reply = await office.desk.call("POST", path, "operator", {})
    assert (status, reply["code"], reply["login"]) == (409, "other_login", "instagram")
    assert "Choose another one." in reply["next_step"]
    assert "isconnect" not in reply["next_step"]
    assert (await office.state(client, "meta", "cafe"))["state"] == "connected"


async def test_a_name_that_was_never_connected_goes(office: Office) -> None:
    """While somebody may answer it is listed; when the consent has failed it is gone, its records are not, and the name
    is free, for the other login of the platform too."""
    client = await office.client()

    async def listed() -> list[tuple[str, str]]:
        status, reply = await office.desk.call("GET", f"/v1/clients/{client}/accounts", "operator")
        assert status == 200
        return [(one["account"], one["state"]) for one in reply["accounts"]]

    begun = await office.begin(client, "meta", "cafe", pick="99999")
    assert await listed() == [("cafe", "not_connected")]
    said = await office.consent(begun["authorize_url"], "meta")
    await office.bring(client, begun, said)
    assert await office.finish() == 1
    assert (await office.look(client, begun))["state"] == "failed"
    assert await listed() == []
    assert len(office.desk.stand.events("platform_connect_failed")) == 1
    await office.connected(client, "instagram", "cafe")
    body = {"platform": "x", "account": "hand", "username": "hand", "display_name": "By hand"}
    assert (await office.desk.call("POST", f"/v1/clients/{client}/accounts", "operator", body))[0] == 201
    assert await listed() == [("cafe", "connected"), ("hand", "registered")]


async def test_a_persons_login_takes_the_first_steps_back(office: Office) -> None:
    """A closed platform comes to *permitted*, in order and on record, and a broken renewal is over."""
    client = await office.client()
    done = await office.connected(client, "x")
    office.sql(
        f"INSERT INTO byokeep.reenabling VALUES"
        f" ('{client}', 'x', 'revoked', 'closed', ARRAY[1,5], 0, 0, 0, 1, 0, now());"
        f"UPDATE byokeep.account_grant SET state = 'needs_reauth' WHERE client_id = '{client}';"
        f"INSERT INTO byokeep.refresh_journal (id, client_id, account_id, base, phase, owner, job_id) SELECT"
        f" gen_random_uuid(), '{client}', '{done['account_id']}', 1, 'broken', gen_random_uuid(), job_id"
        f" FROM byokeep.connection LIMIT 1"
    )
    await office.connected(client, "x")
    assert office.sql("SELECT stage, way FROM byokeep.reenabling") == "permitted|2"
    stages = [json.loads(line)["fields"]["stage"] for line in office.desk.stand.events("platform.reenabling_stepped")]
    assert stages == ["reauthorised", "identified", "permitted"]
    assert office.sql("SELECT count(*) FROM byokeep.refresh_journal WHERE ended_at IS NULL") == "0"


@pytest.mark.req("R5.2-9", "R2.1-8")
async def test_the_lane_policy_is_one_word_after_verification(office: Office) -> None:
    """Each policy sets its lanes; before verification it is a conflict; lists, null and capitals are refused; a
    platform without OAuth is declared, refuses a connection with its reason, offers the browser, has no API lane."""
    client = await office.client()
    await office.begin(client, "x")
    assert (await office.act(client, "x", "lane", {"policy": "api"}))[1]["code"] == "account_not_verified"
    done = await office.connected(client, "x")
    for policy in LanePolicy:
        status, reply = await office.act(client, "x", "lane", {"policy": policy.value})
        if Lane.BROWSER in LANES_OF[policy]:  # with a proved profile it is set: test_profile_keys
            assert (status, reply["code"]) == (409, "profile_not_proved"), policy
            assert f"`byokeep profile create {client} x/acme`" in reply["next_step"]
        else:
            assert (status, reply["lanes"]) == (200, sorted(lane.value for lane in LANES_OF[policy])), policy
    bad: list[Any] = ["api,browser", None, "ALL", "API", ["api"], ""]
    for policy in bad:
        assert (await office.act(client, "x", "lane", {"policy": policy}))[0] == 422, policy
    assert (await office.state(client, "x"))["policy"] == "off"
    office.sql(f"UPDATE byokeep.account_grant SET state = 'needs_reauth' WHERE account_id = '{done['account_id']}'")
    assert (await office.act(client, "x", "lane", {"policy": "api"}))[1]["code"] == "account_not_verified"
    status, reply = await office.desk.call("GET", "/v1/logins", "operator")
    (skool,) = [one for one in reply["logins"] if one["login"] == "skool"]
    assert (skool["oauth"], skool["lanes"]) == ("none", ["browser"])
    assert skool["why"]
    path = f"/v1/clients/{client}/logins/skool/accounts/acme/connect"
    status, reply = await office.desk.call("POST", path, "operator", {})
    assert (status, reply["code"]) == (422, "platform_without_oauth")
    assert "browser" in reply["next_step"]
    body = {"platform": "skool", "account": "acme", "username": "acme", "display_name": "Acme"}
    assert (await office.desk.call("POST", f"/v1/clients/{client}/accounts", "operator", body))[0] == 201
    for policy in ("api", "hybrid"):
        assert (await office.act(client, "skool", "lane", {"policy": policy}))[1]["code"] == "lane_not_offered"
    assert (await office.act(client, "skool", "lane", {"policy": "browser"}))[1]["code"] == "profile_not_proved"


async def test_an_account_is_looked_at_again(office: Office) -> None:
    """A look on demand proves a match; another account turns the lanes off; who can not be asked is not a match."""
    client = await office.client()
    await office.connected(client, "x")
    assert (await office.act(client, "x", "lane", {"policy": "api"}))[0] == 200
    assert await maintenance.check_due(office.app) == 0
    assert (await office.act(client, "x", "verify"))[0] == 202
    assert await maintenance.check_due(office.app) == 1
    state = await office.state(client, "x")
    assert (state["state"], state["identity"], state["policy"]) == ("connected", "match", "api")
    assert state["verified_at"] is not None
    await office.act(client, "x", "verify")
    await office.fault("x", "status", "identity", status=503)
    await maintenance.check_due(office.app)
    state = await office.state(client, "x")
    assert (state["identity"], state["verified_at"], state["policy"]) == ("unknown", None, "api")
    assert (state["state"], state["reason"]) == ("connected", "transient")
    await office.act(client, "x", "verify")
    await maintenance.check_due(office.app)
    state = await office.state(client, "x")
    assert (state["identity"], state["reason"]) == ("match", "")
    await office.act(client, "x", "verify")
    await office.fault("x", "wrong_identity", "identity", lie="other")
    await maintenance.check_due(office.app)
    state = await office.state(client, "x")
    assert (state["state"], state["identity"], state["policy"]) == ("mismatch", "mismatch", "off")
    assert office.sql("SELECT stage, cause FROM byokeep.reenabling") == "closed|identity_mismatch"
    assert "other_account" in office.desk.stand.alerts()
    assert (await office.act(client, "x", "lane", {"policy": "api"}))[1]["code"] == "account_not_verified"


@pytest.mark.parametrize(
    ("login", "kind", "more"), [("instagram", "empty", {}), ("x", "wrong_identity", {"lie": "numeric_id"})]
)
async def test_a_look_without_an_id_is_not_another_account(
    office: Office, login: str, kind: str, more: dict[str, str]
) -> None:
    """An empty reply, as of a proxy, or an id written as a number is no match, and loses no account."""
    client = await office.client()
    await office.connected(client, login)
    await office.act(client, login, "lane", {"policy": "api"})
    await office.act(client, login, "verify")
    await office.fault(login, kind, "identity", **more)
    await maintenance.check_due(office.app)
    state = await office.state(client, login)
    assert [state[name] for name in ("state", "identity", "policy", "reason")] == [
        "connected",
        "unknown",
        "api",
        "no_id",
    ]


async def test_a_look_that_failed_takes_no_mismatch_back(office: Office) -> None:
    """A job saw another account; a 503 does not prove that it was wrong, so no lane can be set; a match does."""
    client = await office.client()
    await office.connected(client, "x")
    office.sql("UPDATE byokeep.platform_account SET identity = 'mismatch', identified_at = now()")
    for seen, policy in (("mismatch", 409), ("match", 200)):
        await office.act(client, "x", "verify")
        if seen == "mismatch":
            await office.fault("x", "status", "identity", status=503)
        assert await maintenance.check_due(office.app) == 1
        assert (await office.state(client, "x"))["identity"] == seen
        assert (await office.act(client, "x", "lane", {"policy": "api"}))[0] == policy


@pytest.mark.req("S-OAUTH-9")
@pytest.mark.parametrize(
    ("login", "said", "probe"),
    [("x", "confirmed", 200), ("youtube", "confirmed", 200), ("youtube", "confirmed", 503),
     ("instagram", "not_offered", 200)],
)  # fmt: skip
async def test_a_disconnected_account_serves_nobody(office: Office, login: str, said: str, probe: int) -> None:
    """Use stops at once; what is said was proved by use; a platform that answers 200 and keeps the token alive is
    *unconfirmed*, and asked again; so is one that could not be asked whether the token lives."""
    client = await office.client()
    done = await office.connected(client, login)
    await office.act(client, login, "lane", {"policy": "api"})
    if login != "instagram":
        await office.fault(login, "feigned", "revoke", times=2)
    if probe != 200:
        await office.fault(login, "status", "identity", status=probe)
    status, reply = await office.act(client, login, "disconnect")
    assert (status, reply["state"], reply["policy"], reply["next"]) == (200, "disconnecting", "off", "")
    assert office.sql("SELECT state FROM byokeep.credential_ref") == "deactivated"
    for act, body in (("lane", {"policy": "api"}), ("lane", {"policy": "off"}), ("verify", None)):
        status, refused = await office.act(client, login, act, body)
        assert (status, refused["code"]) == (409, "disconnecting"), act
    assert await maintenance.end_disconnected(office.app) == 1
    if login != "instagram":
        last = json.loads(office.desk.stand.events("grant.revoked")[-1])
        assert (last["outcome"], last["fields"]["verification"]) == ("failed", "unconfirmed")
        assert (await office.live(client, login, done["account_id"]))["access"] == []
        assert await maintenance.end_disconnected(office.app) == 0
        office.sql("UPDATE byokeep.account_grant SET changed_at = now() - interval '1 hour'")
        office.sql("UPDATE byokeep.platform_account SET lanes = '{api}'")  # as an older installation may have left it
        assert await maintenance.end_disconnected(office.app) == 1
    last = json.loads(office.desk.stand.events("grant.revoked")[-1])
    assert (last["outcome"], last["fields"]["verification"]) == ("ok", said)
    state = await office.state(client, login)
    assert (state["state"], state["policy"], state["lanes"]) == ("disconnected", "off", [])
    assert not any((await office.live(client, login, done["account_id"])).values())
    assert office.sql("SELECT state FROM byokeep.credential_ref") == "destroyed"  # the inventory misses nothing
    assert await maintenance.end_disconnected(office.app) == 0
    await office.connected(client, login)


async def test_a_consent_whose_finisher_died_leaves_nothing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends as failed, what it had stored is destroyed; one that nobody answered expires. One that waited for long
    and was taken just now goes on, and so does one that is begun while what an expired one left is destroyed."""
    client = await office.client()
    begun = await office.begin(client, "x")
    said = await office.consent(begun["authorize_url"], "x")
    assert (await office.bring(client, begun, said))[0] == 200
    async with office.custody(client, "x") as custody:
        for part in ("tokens", "access"):
            await custody.write(office.place(client, "x", begun["account_id"], part), Secret("left-behind"), cas=0)
    office.sql("UPDATE byokeep.connection SET state = 'taken', answered_at = now() - interval '1 hour'")
    late = await office.begin(client, "tiktok")
    office.sql(
        f"UPDATE byokeep.connection SET started_at = now() - interval '20 minutes',"
        f" expires_at = now() - interval '10 minutes' WHERE id = '{late['connection']}'"
    )
    again, held = list[dict[str, Any]](), maintenance.held

    @asynccontextmanager
    async def later(app: Any, client_id: Any, provider: Provider) -> AsyncIterator[Any]:
        if provider is Provider.TIKTOK:
            again.append(await office.begin(client, "tiktok"))
        async with held(app, client_id, provider) as custody:
            yield custody

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(maintenance, "held", later)
        assert await maintenance.sweep_lost(office.app) == 2
    assert (await office.look(client, begun))["reason"] == "interrupted"
    assert (await office.look(client, late))["state"] == "expired"
    await office.nothing_kept(client, "x", begun["account_id"])
    said = await office.consent(again[0]["authorize_url"], "tiktok")
    assert (await office.bring(client, again[0], said))[0] == 200
    assert await office.finish() == 1
    assert (await office.look(client, again[0]))["state"] == "connected"
    begun = await office.begin(client, "x")
    assert (await office.bring(client, begun, await office.consent(begun["authorize_url"], "x")))[0] == 200
    office.sql("UPDATE byokeep.connection SET answered_at = now() - interval '6 minutes' WHERE state = 'answered'")
    async with office.app.db.begin(every_client=True) as tx:
        taken = await tx.one(Connection, "connection_take", full=[])
    assert await maintenance.sweep_lost(office.app) == 0
    assert await connect_finish.finish(office.app, taken) == "connected"

    # Begun before a restore: its grant may be what the older database lacks, so its tokens stay, and people are told.
    other = await office.client()
    begun = await office.begin(other, "x")
    said = await office.consent(begun["authorize_url"], "x")
    assert (await office.bring(other, begun, said))[0] == 200
    async with office.custody(other, "x") as custody:
        for part in ("tokens", "access"):
            await custody.write(office.place(other, "x", begun["account_id"], part), Secret("left-behind"), cas=0)
    office.sql("UPDATE byokeep.connection SET state = 'taken', answered_at = now() - interval '1 hour'"
               f" WHERE id = '{begun['connection']}'")  # fmt: skip
    restored: dict[str, Any] = {"backup": str(uuid4()), "epoch": 0, "count": 0, "found": 0}
    await backups.say(office.desk.stand.app, EventName.BACKUP_RESTORED, restored)
    assert await maintenance.sweep_lost(office.app) == 1
    live = await office.live(other, "x", begun["account_id"])
    assert (live["tokens"], live["access"]) == ([1], [1])
    assert "orphan_kept" in office.desk.stand.alerts()
    await office.connected(other, "x", account="bravo")


async def test_tokens_of_a_refused_consent_that_stay_are_told(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused when its tokens lie in the store already, and the store is away when they are to be destroyed:
    people hear of them, and the consent ends with what refused it."""
    client = await office.client()
    monkeypatch.setattr(connect_finish, "record", AsyncMock(side_effect=Conflict("begun_before_close")))
    destroy = LeasedValues.destroy

    async def away(self: LeasedValues, ref: Any, versions: list[int]) -> None:
        if ref.part is SecretPart.TOKENS:
            raise Unavailable("store_unavailable")
        await destroy(self, ref, versions)

    monkeypatch.setattr(LeasedValues, "destroy", away)
    done = await office.connect(client, "x")
    assert (done["state"], done["reason"]) == ("failed", "begun_before_close")
    assert (await office.live(client, "x", done["account_id"]))["tokens"] == [1]
    assert "orphan_not_destroyed" in office.desk.stand.alerts()


async def test_an_account_on_a_later_page_of_the_list_is_found(office: Office) -> None:
    """Who has more Pages than Facebook lists at once can pick any of them, and loses none when it is looked at."""
    client, ids = await office.client(), [f"10400000000002{number}" for number in range(3)]
    await office.social.tell("rules", platform="meta", most_listed=1)
    for number, page in enumerate(ids):
        name = f"leaf{number}"
        await office.social.tell(
            "accounts", platform="meta", account=name, owner="one", id=page, username=name, display_name=name
        )
    done = await office.connect(client, "meta", "cafe", account="leaf0", pick=ids[2])
    assert done["state"] == "connected"
    await office.act(client, "meta", "verify", name="cafe")
    await maintenance.check_due(office.app)
    state = await office.state(client, "meta", "cafe")
    assert (state["state"], state["identity"]) == ("connected", "match")


async def test_the_accounts_of_a_login_are_listed_as_plain_text_to_who_may_see_the_client(office: Office) -> None:
    """Several and none picked, and a pick that is not there: ids and names are listed, every odd character spelt, no
    secret-shaped name; no record and no log has them, nobody of another client sees them, and a day later nobody."""
    client = await office.client()
    ids = [f"10400000000001{number}" for number in range(4)]
    names = ("Acme Bakery", "\u0421\u0430fe \u202e\u200b[2J<b>", "sk-ant-" + "aB3" * 12, "")
    for number, name in enumerate(names):
        await office.social.tell(
            "accounts", platform="meta", account=f"page{number}", owner="one", id=ids[number],
            username=f"page.{number}", display_name=name or f"page.{number}",
        )  # fmt: skip
    several = await office.connect(client, "meta", "cafe", account="page0")
    offered = [
        {"id": ids[0], "name": "Acme Bakery"},
        {"id": ids[1], "name": "<U+0421><U+0430>fe <U+202E><U+200B>[2J<U+003C>b<U+003E>"},
        {"id": ids[2], "name": "-"}, {"id": ids[3], "name": "page.3"},
    ]  # fmt: skip
    assert (several["state"], several["reason"], several["offered"]) == ("failed", "several_accounts", offered)
    gone = await office.connect(client, "meta", "cafe", account="page0", pick="99999")
    assert (gone["state"], gone["reason"], gone["offered"]) == ("failed", "pick_not_there", offered)
    path = f"/v1/clients/{client}/connections/{several['connection']}"
    elsewhere = office.desk.stand.subject("operator", clients=(await office.client(),))
    assert (await office.desk.call("GET", path, elsewhere))[0] == 404
    records = office.sql("SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record")
    assert "Bakery" not in records
    assert ids[1] not in records
    office.sql("UPDATE byokeep.connection SET ended_at = now() - interval '25 hours'")
    assert await maintenance.forget_offered(office.app) == 2
    assert (await office.look(client, several))["offered"] == []
    picked = await office.connect(client, "meta", "cafe", account="page0", pick=ids[1])
    assert (picked["state"], picked["offered"], picked["held_as"]) == ("connected", [], "")
