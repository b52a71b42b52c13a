"""Names behind ids: for who may look at clients, and of the clients that are theirs."""

from __future__ import annotations

import difflib
import threading
import unicodedata
from typing import Any
from uuid import uuid4

import pytest

from byokeep.tenancy import clients
from tests.support.broker import Person
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]


async def test_ids_that_are_known_get_their_names(desk: Desk) -> None:
    """People, machines, the installation and own clients have names; another client's and nobody's id stay without."""
    own, other = await desk.stand.client(), await desk.stand.client()
    narrow = desk.stand.subject("operator", "narrow", clients=(own,))
    runner, home = desk.people["runner"].id, desk.stand.app.installation_id
    ids = [str(one) for one in (own, other, narrow.id, runner, home, uuid4())]

    async def names(who: Any) -> Any:
        return (await desk.call("POST", "/v1/names", who, {"ids": ids}))[1]["names"]

    seen = await names("auditor")
    assert set(seen) == set(ids[:5])
    assert (seen[ids[0]], seen[ids[4]]) == (f"Client {own.hex[:8]}", "byokeep")
    assert seen[ids[3]].startswith("runner ")
    assert set(await names(narrow)) == {ids[0], *ids[2:5]}
    assert (await desk.call("POST", "/v1/names", "runner", {"ids": ids}))[0] == 401
    assert (await desk.call("POST", "/v1/names", "auditor", {"ids": ids * 51}))[0] == 422


async def test_what_no_database_holds_is_refused_where_it_comes_in(desk: Desk) -> None:
    """A NUL in an address is the caller's mistake: nobody is told that the database is away."""
    for path, who in (("/v1/alerts?reason=%00", "operator"), ("/v1/audit?event=a%00", "auditor")):
        status, reply = await desk.call("GET", path, who)
        assert (status, reply["code"]) == (422, "unexpected_query"), (path, reply)


async def test_a_machine_is_told_where_its_token_works(desk: Desk) -> None:
    """Web cannot know whose it is: it says that a machine calls the broker, and nothing of whether the token lives."""
    told = {(await desk.call("GET", "/v1/self", who))[1]["next_step"]
            for who in ("runner", Person(desk.people["runner"].id, "bkr_" + "A" * 43))}  # fmt: skip
    assert told == {"A machine's token counts at the broker alone; here, use a person's."}
    status, reply = await desk.call("GET", "/v1/self", Person(uuid4(), "bko_" + "A" * 43))
    assert (status, "has ended or is unknown" in reply["next_step"]) == (401, True)


async def test_a_name_leads_to_an_id_among_what_the_caller_may_see(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Case and composition do not matter; a name of several gives all of them, one of none those like it.

    However many names there are the one that is meant is found; what is like it is looked for beside the event loop.
    """
    stand, shop = desk.stand, f"Café Zoé {uuid4().hex[:6]}"
    own, other = await stand.client("openai"), await stand.client()
    desk.sql(f"UPDATE byokeep.client SET name = '{shop}' WHERE id = '{own}'")  # noqa: S608
    job = await stand.job(own)

    async def find(who: Any, kinds: list[str], name: str) -> tuple[list[str], list[str]]:
        status, reply = await desk.call("POST", "/v1/names/find", who, {"kinds": kinds, "name": name})
        assert status == 200, reply
        return [one["id"] for one in reply["found"]], [one["name"] for one in reply["near"]]

    assert await find("auditor", ["client"], shop) == ([str(own)], [])
    assert await find("auditor", ["client"], unicodedata.normalize("NFD", shop).upper()) == ([str(own)], [])
    assert await find("auditor", ["client"], shop[:-1]) == ([], [shop])
    with monkeypatch.context() as many:
        many.setattr(clients, "_MOST_COMPARED", 0)
        assert await find("auditor", ["client"], unicodedata.normalize("NFD", shop).upper()) == ([str(own)], [])
    where, real = list[bool](), difflib.get_close_matches

    def compared(*given: Any, **more: Any) -> list[str]:
        where.append(threading.current_thread() is threading.main_thread())
        return real(*given, **more)

    monkeypatch.setattr(difflib, "get_close_matches", compared)
    assert await find("auditor", ["client"], shop[:-1]) == ([], [shop])
    assert where == [False]
    narrow = stand.subject("operator", "narrow", clients=(other,))
    assert await find(narrow, ["client"], shop) == ([], [])
    assert await find(narrow, ["client"], str(other)[:3]) == ([], [f"Client {other.hex[:8]}"])
    ref = desk.sql(f"SELECT id FROM byokeep.credential_ref WHERE client_id = '{own}'")  # noqa: S608
    old, table = "jsonb_build_object('id', gen_random_uuid(), 'state', 'destroyed')", "byokeep.credential_ref"
    desk.sql(f"INSERT INTO {table} SELECT (jsonb_populate_record(r, {old})).* FROM {table} r WHERE id = '{ref}'")  # noqa: S608
    with monkeypatch.context() as many:
        many.setattr(clients, "MAX_ROWS", 1)  # of an old and a new key of one name, the one that it means
        assert await find("operator", ["key"], f"{shop}/openai") == ([ref], [])
    assert await find("operator", ["job"], str(job)[:8]) == ([str(job)], [])
    assert await find(narrow, ["job"], str(job)[:8]) == ([], [])
    assert (await find("operator", ["job"], "%"))[0] == []
    runner = desk.people["runner"].id
    name = desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{runner}'")  # noqa: S608
    assert (await find("auditor", ["operator", "machine"], name))[0] == [str(runner)]
    assert (await find("auditor", ["operator"], name))[0] == []
    assert (await find("operator", ["machine"], name))[0] == [str(runner)]  # who opens jobs and stops a runner names it
    refused = await desk.call("POST", "/v1/names/find", "operator", {"kinds": ["operator"], "name": name})
    assert refused[0] == 403
    assert (await desk.call("POST", "/v1/names/find", "auditor", {"kinds": ["token"], "name": "a"}))[0] == 422
