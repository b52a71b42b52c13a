"""Tokens of our own processes renew themselves in time; an admin who is locked out comes back over the host alone."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from byokeep.client import ClientSettings
from byokeep.core.errors import ByokeepError, Denied
from byokeep.core.secret import Secret
from byokeep.kernel.approvals import Approval
from byokeep.tenancy.operators import recover
from byokeep.tenancy.tokens import watch_admins
from byokeep.worker import own_token
from tests.support.broker import Person
from tests.support.renewal import Ahead
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]


class Host:
    """Where a process of ours keeps the token that an admin gave it."""

    def __init__(self, desk: Desk, name: str, token: str) -> None:
        file = desk.stand.home / f"{name}.token"
        file.touch(mode=0o600)
        file.write_text(token)
        self.file, self.desk = file, desk
        self.settings = ClientSettings(broker_url=desk.stand.url, runner_token_file=file)

    @property
    def token(self) -> str:
        return self.file.read_text().strip()

    async def works(self, token: str = "") -> bool:
        who = Person(UUID(int=0), token or self.token)
        return bool((await self.desk.stand.call("GET", "/v1/self", who))[0] == 200)


async def custodian(desk: Desk, days: int) -> str:
    """A token of a worker's identity, as an admin issues it; older ones end."""
    path = f"/v1/machines/{desk.people['custodian'].id}/tokens"
    status, issued = await desk.call("POST", path, "admin", {"days": days})
    assert status == 201, issued
    return str(issued["token"])


def later(desk: Desk, days: float) -> None:
    """So many days later, as tokens go."""
    ago = f"created_at = created_at - interval '{days} days', expires_at = expires_at - interval '{days} days'"
    desk.sql(f"UPDATE byokeep.api_token SET {ago} WHERE subject_id = '{desk.people['custodian'].id}'")


async def test_a_worker_renews_its_token_and_two_hosts_do_not_quarrel(desk: Desk) -> None:
    """Sixty days with one token on two hosts, and two admins whom nobody asks: both serve on, none is orphaned."""
    given = await custodian(desk, 30)
    desk.stand.subject("admin", "second")
    hosts = [Host(desk, "one", given), Host(desk, "two", given)]
    assert [await own_token.renew(host.settings) for host in hosts] == [False, False]
    issued = f"SELECT count(*) FROM byokeep.api_token WHERE subject_id = '{desk.people['custodian'].id}'"
    before = int(desk.sql(issued))
    for _ in range(12):
        later(desk, 5)
        for host in hosts:
            await own_token.renew(host.settings)
            assert await host.works()
    assert int(desk.sql(issued)) - before <= 8, "each renewed again and again what the other ended"
    assert hosts[0].token != hosts[1].token
    told = "SELECT severity, count FROM byokeep.alert WHERE reason = 'machine_token_forked'"
    assert desk.sql(told) == "critical|1", "people are told once that one token is in two hands"
    assert not await hosts[0].works(given)
    assert desk.not_once_on_record() == []


async def test_nothing_is_lost_where_a_token_cannot_be_renewed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, no answer, a crash after it was issued: what lies in the file works. A short token is left to end."""
    host = Host(desk, "one", await custodian(desk, 30))
    old = host.token
    later(desk, 16)
    gone = replace(host.settings, broker_url="http://127.0.0.1:9", attempts=1)
    with pytest.raises(ByokeepError):
        await own_token.renew(gone)

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "no room")

    count = "SELECT count(*) FROM byokeep.api_token"
    before = desk.sql(count)
    with monkeypatch.context() as disk:
        disk.setattr(own_token, "draft", full)
        with pytest.raises(OSError, match="no room"):
            await own_token.renew(host.settings)
    assert desk.sql(count) == before, "nothing was issued for a file that cannot be written"
    with monkeypatch.context() as killed:
        killed.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="no room"):
            await own_token.renew(host.settings)
    assert (host.token, await host.works()) == (old, True)
    assert await own_token.renew(host.settings)
    assert (host.token != old, await host.works(), await host.works(old)) == (True, True, True)
    short = Host(desk, "short", await custodian(desk, 7))
    later(desk, 6)
    assert not await own_token.renew(short.settings)


@pytest.mark.req("R2.2-3")
async def test_who_is_given_a_token_does_not_prolong_it(desk: Desk) -> None:
    """No runner or dispatcher issues or asks for its own, however many admins; nor a custodian from a short one."""
    given = []
    for role, life, wanted in (("runner", 30, 30), ("dispatcher", 30, 30), ("custodian", 9, 9), ("custodian", 30, 30)):
        who = desk.people[role]
        path = f"/v1/machines/{who.id}/tokens"
        status, issued = await desk.call("POST", path, "admin", {"days": life, "overlap_s": 60})
        assert status == 201, issued
        given.append((path, Person(who.id, issued["token"]), wanted))
    for admins in (1, 2):
        if admins == 2:
            desk.stand.subject("admin", "second")
        for path, who, wanted in given[:3]:
            status, reply = await desk.stand.call("POST", path, who, {"days": wanted})
            assert (status, reply.get("code")) == (403, "not_permitted"), (admins, path, reply)
    path, who, _ = given[3]
    assert (await desk.stand.call("POST", path, who, {"days": 31}))[1]["code"] == "bad_token_days"
    status, reply = await desk.stand.call("POST", path, who, {"days": 30, "overlap_s": 0})
    assert status == 201
    lives = "revoked_at IS NULL AND expires_at > now() + interval '23 hours'"
    of_it = f"FROM byokeep.api_token WHERE subject_id = '{who.id}' AND {lives}"
    assert desk.sql(f"SELECT count(*) {of_it} AND renewed_to IS NOT NULL") == "1", "it is not ended at once"
    later = of_it.replace("23 hours", "25 hours")
    assert desk.sql(f"SELECT count(*) {later}") == "1", "it is ended, whatever its own life was"
    for _ in range(8):
        if status == 201:
            who = Person(who.id, reply["token"])
            status, reply = await desk.stand.call("POST", path, who, {"days": 30})
    assert (status, reply["code"], reply["maximum"]) == (422, "too_many_tokens", 8)
    assert int(desk.sql(f"SELECT count(*) {of_it}")) <= 8


async def invite(desk: Desk, subject: str, name: str) -> None:
    """A person gets a password."""
    issued = (await desk.call("POST", f"/v1/operators/{subject}/tokens", "admin", {"days": 1}))[1]
    guest, word = Person(UUID(subject), issued["token"]), b"a long enough pass phrase"
    assert (await desk.exchange("PUT", f"/v1/operators/{subject}/password", guest, raw=word))[0] == 204, name


def name_of(desk: Desk, who: Person) -> str:
    return desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{who.id}'")


@pytest.mark.req("R4.1-12")
async def test_the_host_recovers_an_admin_with_another_where_there_is_one(desk: Desk) -> None:
    """The second admin approves, and nobody else; each step is a critical alert and on record; no route leads there."""
    me, app, second = desk.people["admin"], desk.stand.app, desk.stand.subject("admin", "second")
    asked = await recover(app, name_of(desk, me))
    assert isinstance(asked, Approval)
    again = await recover(app, name_of(desk, me))
    assert isinstance(again, Approval)
    assert (again.id, again.repeated) == (asked.id, True)
    use = f"/v1/approvals/{asked.id}/approve"
    for who in ("admin", "operator", "approver"):  # whom it is about, and who is no admin
        status, no = await desk.call("POST", use, who)
        assert (status, no["code"]) in ((403, "own_rights"), (403, "not_permitted")), who
    [shown] = (await desk.call("GET", "/v1/approvals", second))[1]["approvals"]
    assert shown["what"].startswith("let the admin ")
    assert (await desk.call("POST", use, second))[0] == 200
    invitation = await recover(app, name_of(desk, me))
    assert isinstance(invitation, Secret)
    assert isinstance(await recover(app, name_of(desk, me)), Approval), "one approval, one invitation"
    for reason in ("admin_recovery_asked", "admin_recovered"):
        said = f"FROM byokeep.alert WHERE reason = '{reason}' AND object_id = '{me.id}'"
        assert desk.sql(f"SELECT severity {said}") == "critical", reason
    on_record = f"FROM byokeep.audit_record WHERE event = 'token.issued' AND object_id = '{me.id}'"
    assert desk.sql(f"SELECT string_agg(outcome, ' ' ORDER BY seq) {on_record} AND seq > 0").endswith(
        "intended intended ok intended"
    )
    paths = [*(await desk.call("GET", "/openapi.json", "admin"))[1]["paths"]]
    assert not [path for path in paths if re.search(r"operators?/.*recover|/recover", path)]
    assert desk.not_once_on_record() == []


async def test_two_admins_who_both_lost_their_way_in_are_not_lost(desk: Desk) -> None:
    """Whose every token has ended is not asked; a password that nobody remembers holds the host up for a day."""
    me, app, second = desk.people["admin"], desk.stand.app, desk.stand.subject("admin", "second")
    await invite(desk, str(second.id), name_of(desk, second))
    desk.sql(f"UPDATE byokeep.api_token SET revoked_at = now() WHERE subject_id = '{second.id}'")
    asked = await recover(app, name_of(desk, me))
    assert isinstance(asked, Approval)
    for hours, given in ((23, Approval), (24, Secret)):
        later = replace(app, clock=Ahead(desk.stand, timedelta(hours=hours)))
        assert isinstance(await recover(later, name_of(desk, me)), given)
    gone = "password_phc = NULL, password_mark = ''"
    desk.sql(f"UPDATE byokeep.subject SET {gone} WHERE id = '{second.id}'")
    admins = f"subject_id IN ('{me.id}', '{second.id}')"
    desk.sql("UPDATE byokeep.api_token SET created_at = now() - interval '9 days', expires_at = now()"
             f" WHERE {admins}")  # fmt: skip
    open_ones = "SELECT count(*) FROM byokeep.alert WHERE reason = 'no_admin_can_sign_in' AND closed_at IS NULL"
    await watch_admins(app)
    assert desk.sql(open_ones) == "1"
    desk.sql("DELETE FROM byokeep.approval")
    assert isinstance(await recover(app, name_of(desk, me)), Secret)
    await watch_admins(app)
    assert desk.sql(open_ones) == "0", "the invitation is a way in"
    with pytest.raises(Denied, match="no_such_admin"):
        await recover(app, name_of(desk, desk.people["operator"]))
