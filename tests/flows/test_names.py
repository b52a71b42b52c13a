"""Names behind ids: for who may look at clients, and of the clients that are theirs."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

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
