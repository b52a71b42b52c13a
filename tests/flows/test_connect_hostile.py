"""SOP 5.2 under attack: whatever is not this consent's own answer is refused, and nothing is stored."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from byokeep.accounts import maintenance
from byokeep.accounts.refresher_app import Apart
from byokeep.core.errors import Denied, Integrity
from byokeep.core.secret import Secret
from tests.support.connect import LOGINS, Office
from tests.support.social import ACCOUNTS, SECRET

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.connect",
]  # fmt: skip
LIES = {
    "other": "quarantined", "other_case": "quarantined", "lookalike": "quarantined", "missing_id": "quarantined",
    "null_id": "quarantined", "empty_id": "quarantined", "numeric_id": "quarantined", "two_accounts": "quarantined",
    "no_account": "quarantined", "duplicate_keys": "failed", "cut_json": "failed", "error_200": "failed",
}  # fmt: skip
BROKEN = ("html", "huge", "empty", "garbage", "truncated", "redirect")
WHOLE = pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.campaign)], ids=["turns", "all"])


def has_turn(login: str, at: int) -> bool:
    """Whether a login is one of the two to which the case of this number comes."""
    return at % 3 == LOGINS.index(login) % 3


def asked(login: str, lie: str) -> int:
    """How often an account is asked for: LinkedIn calls a new token revoked for seconds, so it is asked again."""
    return 2 if (login, lie) == ("linkedin", "error_200") else 1


def query_of(begun: dict[str, Any]) -> dict[str, str]:
    """The parameters of the address of a consent."""
    return dict(parse_qsl(urlsplit(begun["authorize_url"]).query, strict_parsing=True))


async def untouched(office: Office, client: Any, begun: dict[str, Any]) -> None:
    """The consent still waits, nothing was taken, and no code lies in the store."""
    assert (await office.look(client, begun))["state"] == "started"
    assert await office.finish() == 0
    assert (await office.live(client, "x", begun["account_id"]))["code"] == []


@pytest.mark.req("R5.2-1", "S-OAUTH-2")
async def test_a_state_holds_once_for_its_own_consent(office: Office) -> None:
    """Replayed, another client's, another platform's, another account's, made up, expired: refused, and on record."""
    client, other = await office.client(), await office.client()
    mine = await office.begin(client, "x")
    foreign = {
        "client": await office.begin(other, "x"),
        "platform": await office.begin(client, "tiktok"),
        "account": await office.begin(client, "x", "second"),
    }
    states = [query_of(one)["state"] for one in (mine, *foreign.values())]
    assert len(set(states)) == 4
    assert all(len(state) == 43 for state in states)
    said = await office.consent(mine["authorize_url"], "x")
    for begun in foreign.values():
        status, reply = await office.bring(client, mine, said | {"state": query_of(begun)["state"]})
        assert (status, reply["code"]) == (422, "wrong_state")
    for bad in ("", "x" * 43, query_of(mine)["state"] + "a"):
        assert (await office.bring(client, mine, said | {"state": bad}))[0] == 422
    for begun in foreign.values():
        path_client = other if begun is foreign["client"] else client
        assert (await office.bring(path_client, begun, said))[1]["code"] == "wrong_state"
    assert (await office.bring(other, mine, said))[0] == 404
    await untouched(office, client, mine)
    assert (await office.bring(client, mine, said))[0] == 200
    status, reply = await office.bring(client, mine, said)
    assert (status, reply["code"]) == (422, "connection_over")
    assert await office.finish() == 1
    assert (await office.bring(client, mine, said))[1]["code"] == "connection_over"
    late = foreign["account"]
    said = await office.consent(late["authorize_url"], "x", "bravo")
    office.sql(
        f"UPDATE byokeep.connection SET started_at = now() - interval '20 minutes',"
        f" expires_at = now() - interval '10 minutes' WHERE id = '{late['connection']}'"
    )
    assert (await office.bring(client, late, said))[1]["code"] == "connection_over"
    assert await office.finish() == 0
    lines = office.desk.stand.events("connection.answered", "rejected")
    rejected = [json.loads(line)["fields"]["reason"] for line in lines]
    assert rejected.count("wrong_state") >= 6


@pytest.mark.req("R5.2-1", "S-OAUTH-1")
async def test_a_consent_is_bound_to_who_began_it_and_to_its_verifier(office: Office) -> None:
    """Another person, a foreign binding (login CSRF) and a code made for another challenge get nowhere; a platform
    without challenges is declared, and its state is used all the same."""
    client = await office.client()
    begun = await office.begin(client, "x")
    said = await office.consent(begun["authorize_url"], "x")
    colleague = office.desk.stand.subject("operator", "colleague")
    status, reply = await office.bring(client, begun, said, who=colleague)
    assert (status, reply["code"]) == (403, "another_persons_connection")
    attackers = await office.begin(client, "x", "attackers")
    status, reply = await office.bring(client, begun, said, binding=attackers["binding"])
    assert (status, reply["code"]) == (422, "wrong_binding")
    await untouched(office, client, begun)
    challenges = set()
    for login in LOGINS:
        query = query_of(await office.begin(client, login, "challenge"))
        assert query["state"]
        if login in ("tiktok", "x", "youtube"):
            assert query["code_challenge_method"] == "S256"
            challenges.add(query["code_challenge"])
            challenges.add(query_of(await office.begin(client, login, "challenge"))["code_challenge"])
        else:
            assert "code_challenge" not in query
    assert len(challenges) == 6
    stolen = await office.consent(attackers["authorize_url"], "x", "bravo")
    status, reply = await office.bring(client, begun, said | {"code": stolen["code"]})
    assert (status, reply["state"]) == (200, "answered")
    assert await office.finish() == 1
    assert (await office.look(client, begun))["reason"] == "exchange_refused"
    await office.nothing_kept(client, "x", begun["account_id"])


@pytest.mark.req("R5.2-1", "S-OAUTH-3")
async def test_an_answer_of_another_issuer_is_not_taken(office: Office) -> None:
    """A foreign ``iss`` ends the consent; an answer at another login's address is refused; two logins never share one;
    the code reaches no token endpoint."""
    client = await office.client()
    for iss in ("https://evil.example", "https://www.tiktok.com"):
        begun = await office.begin(client, "linkedin")
        said = await office.consent(begun["authorize_url"], "linkedin")
        status, reply = await office.bring(client, begun, said | {"iss": iss})
        assert (status, reply["code"]) == (422, "wrong_issuer")
        ended = await office.look(client, begun)
        assert (ended["state"], ended["reason"]) == ("failed", "wrong_issuer")
    begun = await office.begin(client, "linkedin")
    tiktok = await office.begin(client, "tiktok")
    said = await office.consent(tiktok["authorize_url"], "tiktok")
    mixed = said | {"state": query_of(begun)["state"]}
    status, reply = await office.bring(client, begun, mixed, redirect=tiktok["redirect_uri"])
    assert (status, reply["code"]) == (422, "wrong_redirect")
    path = f"/v1/apps/x?app_id=app&redirect_uri={tiktok['redirect_uri']}"
    status, reply = await office.desk.call("PUT", path, "admin", raw=SECRET.encode())
    assert (status, reply["code"]) == (409, "redirect_uri_taken")
    assert await office.finish() == 0
    for login in ("linkedin", "tiktok"):
        assert "token" not in await office.social.calls(login)


@pytest.mark.req("R5.2-1")
async def test_every_other_answer_is_refused_and_nothing_is_stored(office: Office) -> None:
    """The address has a challenge, a random state and the exact redirect; ``error=``, no code, a bad code, a changed
    redirect, a stranger's login: refused, and the store holds nothing."""
    for login in LOGINS:
        client = await office.client()  # each has a budget of writes
        begun = await office.begin(client, login)
        assert query_of(begun)["redirect_uri"] == begun["redirect_uri"]
        said = await office.consent(begun["authorize_url"], login, deny=True)
        status, reply = await office.bring(client, begun, said)
        assert (status, reply["state"]) == (200, "failed"), login
        assert reply["reason"] in ("consent_refused", "platform_said_error")
        assert (await office.bring(client, begun, said))[1]["code"] == "connection_over"
        for bad in ("", "with blank", "c" * 5000):
            begun = await office.begin(client, login)
            answer = {"state": query_of(begun)["state"], "code": bad}
            status, reply = await office.bring(client, begun, answer)
            assert (status, reply["code"]) == (422, "bad_code"), (login, bad)
        begun = await office.begin(client, login)
        for where in (begun["redirect_uri"] + "/", "https://evil.example/x", begun["redirect_uri"] + "?next=//evil"):
            answer = {"state": query_of(begun)["state"], "code": "c" * 20}
            assert (await office.bring(client, begun, answer, redirect=where))[1]["code"] == "wrong_redirect"
        await office.bring(client, begun, answer)
        assert await office.finish() == 1
        assert (await office.look(client, begun))["reason"] == "exchange_refused"
        await office.nothing_kept(client, login, begun["account_id"])
    raw = f"/v1/clients/{client}/connections/{begun['connection']}/answer"
    for body in (
        b"",
        b"state=a&state=b&binding=c&redirect=d",
        b"\xff",
        b"state=a",
        b"state=a&binding=b&redirect=c&x=1",
    ):
        assert (await office.desk.call("POST", raw, "operator", raw=body))[1]["code"] == "bad_answer"
    path = f"/v1/clients/{client}/logins/x/accounts/acme/connect"
    for who, status in (("auditor", 403), ("approver", 403), ("admin", 403), ("dispatcher", 401)):
        assert (await office.desk.call("POST", path, who, {}))[0] == status, who
    assert (await office.desk.call("POST", path, None, {}))[0] == 401


@pytest.mark.req("R5.2-4", "R5.2-8", "R5.2-13")
@pytest.mark.parametrize("login", LOGINS)
@WHOLE
async def test_an_identity_endpoint_that_lies_in_twelve_ways(office: Office, login: str, whole: bool) -> None:
    """Each lie is refused at a later consent of each login, and at the first one, where the logins take turns: nothing
    is stored, nothing replaced, no event says connected; the right id under another name warns and waits for a person.
    """
    client, call = await office.client(), "accounts" if login == "meta" else "identity"
    pick = {"pick": ACCOUNTS[login][0]["id"]}
    for at, lie in enumerate(LIES):
        if not whole and not has_turn(login, at):
            continue
        if lie == "lookalike":
            continue  # at a first consent there is no name yet that it could look like
        if (lie, login) in (("two_accounts", "meta"), ("other_case", login)) and ACCOUNTS[login][0]["id"].isdigit():
            continue  # several are allowed there and one was picked; digits have no case
        await office.fault(login, "wrong_identity", call, lie=lie, times=asked(login, lie))
        done = await office.connect(client, login, f"first-{lie.replace('_', '-')}", **pick)
        assert done["state"] == "failed", lie
        # Of these two a reply with a second account does not have the platform's form at all.
        several = "account_not_chosen" if login in ("instagram", "linkedin") else "several_accounts"
        assert lie != "two_accounts" or done["reason"] == several
        await office.nothing_kept(client, login, done["account_id"])
    await office.connected(client, login)
    held = office.sql("SELECT version, external_id FROM byokeep.account_grant")
    failed = len(office.desk.stand.events("platform_connect_failed"))
    for lie, end in LIES.items():
        if (lie, login) in (("two_accounts", "meta"), ("other_case", login)) and ACCOUNTS[login][0]["id"].isdigit():
            continue
        await office.fault(login, "wrong_identity", call, lie=lie, times=asked(login, lie))
        done = await office.connect(client, login)
        assert done["state"] == end, (lie, done)
        assert office.sql("SELECT version, external_id FROM byokeep.account_grant") == held, lie
        failed += 1
    assert len(office.desk.stand.events("platform_connected")) == 1
    assert len(office.desk.stand.events("platform_connect_failed")) == failed
    await office.fault(login, "wrong_identity", call, lie="other_name")
    assert (await office.connect(client, login))["state"] == "connected"
    assert (await office.state(client, login))["state"] == "name_changed"


@pytest.mark.req("R5.2-2")
@pytest.mark.parametrize("login", LOGINS)
@WHOLE
async def test_a_token_reply_that_is_none_is_refused(office: Office, login: str, whole: bool) -> None:
    """HTML, an endless body, an empty one, garbage, a redirect, half a body, each at two logins: refused, nothing
    stored; a good one is stored with both tokens' ends, scopes, issuer, account, giver and time."""
    client = await office.client()
    pick = {"pick": ACCOUNTS[login][0]["id"]} if login == "meta" else {}
    lacking = ["no_scope"] if login in ("x", "youtube") else []  # a field that must be there
    broken = [kind for at, kind in enumerate(BROKEN) if whole or has_turn(login, at)]
    for kind in (*broken, *lacking):
        more = {"location": "https://evil.example/token", "status": 307} if kind == "redirect" else {}
        await office.fault(login, kind, "token", **more)
        done = await office.connect(client, login, kind.replace("_", "-"), **pick)
        assert (done["state"], done["reason"]) == ("failed", "exchange_refused"), kind
        await office.nothing_kept(client, login, done["account_id"])
    done = await office.connected(client, login)
    place = office.place(client, login, done["account_id"], "tokens")
    async with office.custody(client, login) as custody:
        raw = json.loads((await custody.read(place, 1)).reveal())
    assert {
        "access_token", "refresh_token", "scopes", "issuer", "access_expires_at", "account_id", "obtained_by",
        "obtained_at",
    } <= set(raw)  # fmt: skip
    assert all(raw[name] for name in ("access_token", "refresh_token", "scopes", "issuer", "access_expires_at"))
    assert raw["obtained_by"] == str(office.desk.people["operator"].id)


@pytest.mark.req("R5.2-3")
async def test_nothing_secret_is_left_anywhere_but_in_the_store(office: Office) -> None:
    """Codes, states, bindings, tokens and our app's secret stand in no row, no log, no span, no record, no reply; the
    search finds what is there to be found."""
    client = await office.client()
    secrets: list[bytes] = [SECRET.encode()]
    for login in LOGINS:
        name = f"acme-{login}"  # two logins of one platform are two accounts
        begun = await office.begin(client, login, name)
        said = await office.consent(begun["authorize_url"], login)
        await office.bring(client, begun, said | {"iss": "https://evil.example"})
        pick = {"pick": ACCOUNTS[login][0]["id"]} if login == "meta" else {}
        begun = await office.begin(client, login, name, **pick)
        said = await office.consent(begun["authorize_url"], login)
        replies = [await office.bring(client, begun, said), await office.bring(client, begun, said)]
        assert await office.finish() == 1
        replies.append(await office.desk.call("GET", f"/v1/clients/{client}/accounts", "operator"))
        replies.append(await office.desk.call("GET", "/v1/apps", "admin"))
        tokens = await office.tokens(client, login, begun["account_id"])
        kept = [tokens.access.reveal(), *([tokens.refresh.reveal()] if tokens.refresh is not None else [])]
        kept += [begun["binding"].encode(), *(code.encode() for code in office.seen if len(code) > 15)]
        secrets += kept
        for _, reply in replies:
            assert not [one for one in kept if one.decode() in json.dumps(reply)]
    dump = "".join(
        office.sql(f"SELECT * FROM byokeep.{table}")
        for table in office.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'byokeep'").split()
    )
    records = office.sql("SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record")
    queue = office.sql("SELECT args FROM procrastinate.procrastinate_jobs")
    files = [path for path in office.desk.files.rglob("*") if path.is_file()]
    assert files
    left = (dump + records + queue).encode() + b"".join(path.read_bytes() for path in files)
    assert b"platform_connected" in left  # the search looks where something is
    assert len(secrets) > 30
    assert [one for one in secrets if one in left or one.hex().encode() in left] == []  # columns of bytes are in hex


@pytest.mark.req("S-OAUTH-15")
async def test_the_secret_of_our_app_is_a_secret_with_versions(office: Office) -> None:
    """It is listed by version, compared in the inventory, replaced by another, used from then on, and can be read by
    nobody here; an app that accounts live under is not exchanged, and who is no admin sets none."""
    client = await office.client()
    await office.connected(client, "x")
    new = "another-made-up-secret-0123456789"
    first = int(office.sql("SELECT secret_version FROM byokeep.platform_app WHERE login = 'x'"))
    await office.social.tell("apps", platform="x", client_id="app", client_secret=new,
                             redirect_uris=["http://127.0.0.1:8431/x"])  # fmt: skip
    failed = await office.connect(client, "x", "second", account="bravo")
    assert (failed["state"], failed["reason"]) == ("failed", "exchange_refused")
    path = "/v1/apps/x?app_id=app&redirect_uri=http://127.0.0.1:8431/x"
    assert (await office.desk.call("PUT", path, "operator", raw=new.encode()))[0] == 403
    status, reply = await office.desk.call("PUT", path, "admin", raw=new.encode())
    assert (status, reply["secret_version"]) == (200, first + 1)
    await office.connected(client, "x", "second", account="bravo")
    other = path.replace("app_id=app", "app_id=other")
    assert (await office.desk.call("PUT", other, "admin", raw=new.encode()))[1]["code"] == "app_in_use"
    status, reply = await office.desk.call("GET", "/v1/apps", "auditor")
    assert {one["login"]: one["secret_version"] for one in reply["apps"]}["x"] == first + 1
    assert SECRET not in json.dumps(reply)
    record = json.loads(office.desk.stand.events("platform_app.set", "ok")[-1])["fields"]
    assert (record["path"], record["version"]) == ("kv/platform/apps/x/x", first + 1)
    assert record["store_request"]
    status, _ = await office.desk.call("PUT", path.replace("/x?", "/skool?"), "admin", raw=b"s" * 20)
    assert status == 422

    async def kept() -> tuple[str, str, int]:
        found = (await office.desk.call("GET", "/v1/inventory", "operator"))[1]
        assert {one["login"] for one in found["apps"]} == set(LOGINS)
        [own] = [one for one in found["apps"] if one["login"] == "x"]
        assert own["due_at"] > own["set_at"]
        return found["result"], own["store"], own["version"]

    assert await kept() == ("match", "present", first + 1)
    office.sql(f"UPDATE byokeep.platform_app SET secret_version = {first + 7} WHERE login = 'x'")
    assert await kept() == ("findings", "missing", first + 7)
    office.sql(f"UPDATE byokeep.platform_app SET secret_version = {first + 1} WHERE login = 'x'")


@pytest.mark.req("S-OAUTH-10")
async def test_a_revocation_that_did_not_work_is_tried_again(office: Office) -> None:
    """A 503 leaves the grant as *unconfirmed*, blocked here meanwhile, and the next try ends it; after six people are
    told to end it by hand."""
    client = await office.client()
    for name, account, times, reason in (("good", "acme", 2, "confirmed"), ("never", "bravo", 100, "unconfirmed")):
        done = await office.connected(client, "x", name, account=account)
        await office.fault("x", "status", "revoke", status=503, times=times)
        assert (await office.act(client, "x", "disconnect", name=name))[0] == 200
        for _ in range(maintenance.MOST_TRIES + 1):
            office.sql("UPDATE byokeep.account_grant SET changed_at = now() - interval '1 day'")
            state = await office.state(client, "x", name)
            assert (state["policy"], state["lanes"]) == ("off", [])
            await maintenance.end_disconnected(office.app)
        state = await office.state(client, "x", name)
        assert (state["state"], state["reason"]) == ("disconnected", reason), name
        assert not any((await office.live(client, "x", done["account_id"])).values())
    assert office.desk.stand.alerts().count("revocation_unconfirmed") == 1


async def test_a_try_for_which_the_store_could_not_be_asked_is_none(office: Office) -> None:
    """A kill, or a store that is away, stops each try before the platform is asked: however many there were, the first
    503 of the platform is not the last, and the tokens are kept for the next one. A kill is no failure to be told."""

    class NoPause(Apart):
        def resting(self, *_: Any) -> Any:
            return []

    class Stopped:
        def open(self, job_id: Any) -> Any:
            raise Denied("switch_closed")

        async def close(self, job_id: Any) -> None:
            raise Denied("switch_closed")

    client = await office.client()
    done = await office.connected(client, "x")
    assert (await office.act(client, "x", "disconnect"))[0] == 200
    stopped: Any = Stopped()
    app = replace(office.app, custodian=stopped, apart=NoPause())
    for _ in range(maintenance.MOST_TRIES):
        await maintenance.end_disconnected(app)
        office.sql("UPDATE byokeep.account_grant SET changed_at = now() - interval '1 day'")
    await office.fault("x", "status", "revoke", status=503, times=2)
    await maintenance.end_disconnected(office.app)
    assert (await office.state(client, "x"))["state"] == "disconnecting"
    assert (await office.live(client, "x", done["account_id"]))["tokens"] == [1]
    office.sql("UPDATE byokeep.account_grant SET changed_at = now() - interval '1 day'")
    await maintenance.end_disconnected(office.app)
    assert (await office.state(client, "x"))["reason"] == "confirmed"
    assert "account_end_failed" not in office.sql("SELECT string_agg(reason, ' ') FROM byokeep.alert")


async def test_tokens_that_cannot_be_read_end_as_unconfirmed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can end them at the platform, so people are told; a disconnect that went on for ever would let nobody
    connect the account again."""

    @contextlib.asynccontextmanager
    async def opened(*_: Any) -> AsyncIterator[Any]:
        raise Integrity("token_set_unreadable")
        yield

    client = await office.client()
    done = await office.connected(client, "x")
    assert (await office.act(client, "x", "disconnect"))[0] == 200
    with monkeypatch.context() as patch:
        patch.setattr(maintenance, "opened", opened)
        await maintenance.end_disconnected(office.app)
    assert (await office.state(client, "x"))["reason"] == "unconfirmed"
    assert (await office.live(client, "x", done["account_id"]))["tokens"] == []
    await office.connected(client, "x")


def due_in(office: Office) -> float:
    """Seconds until a grant that could not be ended is tried again."""
    return float(
        office.sql(
            "SELECT extract(epoch FROM changed_at + make_interval(secs => 15 * power(2, least(tries, 10))) - now())"
            " FROM byokeep.account_grant WHERE state <> 'revoked'"
        )
    )


@pytest.mark.req("S-OAUTH-10")
async def test_a_platform_that_says_when_to_come_back_is_not_asked_before(office: Office) -> None:
    """503 with Retry-After, of the refresh token alone: nothing is asked until then, no job gets the token meanwhile,
    then it is ended."""
    client, stand = await office.client(), office.desk.stand
    await office.connected(client, "x")
    assert (await office.act(client, "x", "lane", {"policy": "api"}))[0] == 200
    await office.fault("x", "status", "revoke", status=503, retry_after_s=900, times=1)
    assert (await office.act(client, "x", "disconnect"))[0] == 200
    assert await maintenance.end_disconnected(office.app) == 1
    said = json.loads(stand.events("grant.revoked")[-1])
    assert (said["outcome"], said["fields"]["verification"]) == ("failed", "unconfirmed")
    assert 890 < due_in(office) <= 900
    before = (await office.social.calls("x"))["revoke"]["received"]
    assert await maintenance.end_disconnected(office.app) == 0
    assert (await office.social.calls("x"))["revoke"]["received"] == before
    job = await stand.job(client, secrets=["x"])
    status, reply = await stand.call("POST", f"/v1/jobs/{job}/leases", "runner")
    assert (status, reply["code"]) == (403, "missing_credential")
    office.sql("UPDATE byokeep.account_grant SET changed_at = changed_at - interval '16 minutes'")
    assert await maintenance.end_disconnected(office.app) == 1
    assert (await office.state(client, "x"))["reason"] == "confirmed"


@pytest.mark.req("S-OAUTH-10", "S-OAUTH-11")
async def test_a_token_that_the_platform_can_not_revoke_is_not_called_dead(office: Office) -> None:
    """The refresh token is shown first. Refused as of an unsupported type: the access token is revoked all the same,
    and its death proves nothing of the other. It is asked again, and at last a person is told to end it by hand."""
    client, stand = await office.client(), office.desk.stand
    done = await office.connected(client, "x")
    tokens = await office.tokens(client, "x", done["account_id"])
    assert tokens.refresh is not None
    both = [one.reveal().decode() for one in (tokens.refresh, tokens.access)]
    shown = [(await office.social.tell("hash", value=one))["hash"] for one in both]
    await office.fault("x", "refusal", "revoke", case="unsupported_token")
    assert (await office.act(client, "x", "disconnect"))[0] == 200
    assert await maintenance.end_disconnected(office.app) == 1
    log = (await office.social.show("requests"))["requests"]
    revoked = [one["hash"] for entry in log if entry.get("call") == "revoke" for one in entry["secrets"]
               if one["name"] == "token"]  # fmt: skip
    assert revoked == shown
    assert (await office.state(client, "x"))["state"] != "disconnected"
    assert json.loads(stand.events("grant.revoked")[-1])["fields"]["verification"] == "unconfirmed"
    assert (await office.social.identity("x", both[1])).status == 401
    await office.fault("x", "refusal", "revoke", case="unsupported_token", times=100)
    for _ in range(maintenance.MOST_TRIES):
        office.sql("UPDATE byokeep.account_grant SET changed_at = now() - interval '1 day'")
        await maintenance.end_disconnected(office.app)
    state = await office.state(client, "x")
    assert (state["state"], state["reason"]) == ("disconnected", "unconfirmed")
    assert "revocation_unconfirmed" in stand.alerts()
    assert not any((await office.live(client, "x", done["account_id"])).values())
    again = await office.connected(client, "x")
    await office.act(client, "x", "disconnect")
    await office.social.ask("DELETE", f"{office.social.sim.url}/_sim/faults")
    assert await maintenance.end_disconnected(office.app) == 1
    assert (await office.state(client, "x"))["reason"] == "confirmed"
    families = await office.social.families("x")
    assert {one["state"] for one in families if one["account"] == "acme"} == {"dead"}
    assert again["account_id"] == done["account_id"]


async def test_a_code_that_somebody_else_spent_gives_nothing(office: Office) -> None:
    """The platform refuses a code the second time, and what was in the store is gone."""
    client = await office.client()
    begun = await office.begin(client, "x")
    said = await office.consent(begun["authorize_url"], "x")
    assert (await office.bring(client, begun, said))[0] == 200
    place = office.place(client, "x", begun["account_id"], "verifier")
    async with office.custody(client, "x") as custody:
        verifier: Secret = await custody.read(place, 1)
    spent = await office.social.redeem(
        "x", said["code"], redirect_uri=begun["redirect_uri"], code_verifier=verifier.reveal().decode()
    )
    assert spent.status == 200
    assert await office.finish() == 1
    assert (await office.look(client, begun))["reason"] == "exchange_refused"
    await office.nothing_kept(client, "x", begun["account_id"])
