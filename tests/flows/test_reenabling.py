"""The way back of a platform, kept in the database: lost at once, back step by step, never two at the same step."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from byokeep.core.errors import Conflict, Denied
from byokeep.core.reenable import (
    CanaryStarted,
    Event,
    IdentityChecked,
    Jump,
    Reauthorised,
    RecoveryCause,
    Reenable,
    ScopesChecked,
    Stage,
)
from byokeep.jobs import reenabling
from tests.support.broker import Stand

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]
BACK: tuple[Event, ...] = (Reauthorised(by_person=True), IdentityChecked(True), ScopesChecked(frozenset()))


async def lost(
    stand: Stand, client: UUID, platform: str = "x", cause: RecoveryCause = RecoveryCause.REVOKED
) -> Reenable:
    async with stand.app.db.begin(client_id=client) as tx:
        return await reenabling.lose(tx, stand.app, stand.app.system(), client, platform, cause)


async def stepped(stand: Stand, client: UUID, *events: Event, platform: str = "x") -> Reenable | None:
    state = None
    for event in events:
        async with stand.app.db.begin(client_id=client) as tx:
            state = await reenabling.step(tx, stand.app, stand.app.system(), client, platform, event)
    return state


def fields(payloads: list[str]) -> list[dict[str, Any]]:
    return [json.loads(payload)["fields"] for payload in payloads]


async def test_a_loss_is_on_record_once_and_raises_one_alert(stand: Stand) -> None:
    """The same loss told twice is one; another cause is another, and voids the way that was begun."""
    client = await stand.client()
    first = await lost(stand, client)
    assert (first.stage, first.way, first.revision) == (Stage.CLOSED, 1, 0)
    assert await lost(stand, client) == first
    again = await lost(stand, client, cause=RecoveryCause.COMPROMISED)
    assert (again.stage, again.cause, again.way) == (Stage.CLOSED, RecoveryCause.COMPROMISED, 2)
    assert [one["cause"] for one in fields(stand.events("platform.closed"))] == ["revoked", "compromised"]
    assert stand.alerts() == ["platform_closed"]


async def test_the_way_back_is_stepped_in_order_and_on_record(stand: Stand) -> None:
    """Login, identity, permissions; nothing is skipped, and a platform that was never lost has no steps."""
    client = await stand.client()
    assert await stepped(stand, client, BACK[0]) is None
    await lost(stand, client)
    for early in (*BACK[1:], CanaryStarted(), Jump()):
        with pytest.raises(Conflict, match="reenable_out_of_order"):
            await stepped(stand, client, early)
    with pytest.raises(Denied, match="reauth_needs_a_person"):
        await stepped(stand, client, Reauthorised(by_person=False))
    state = await stepped(stand, client, *BACK)
    assert state is not None
    assert (state.stage, state.way) == (Stage.PERMITTED, 2)
    seen = [one["stage"] for one in fields(stand.events("platform.reenabling_stepped", "ok"))]
    assert seen == ["reauthorised", "identified", "permitted"]


@pytest.mark.req("R7.2-4", "R7.2-5")
@pytest.mark.parametrize(
    ("events", "cause", "missing"),
    [
        ((BACK[0], IdentityChecked(False)), "identity_mismatch", None),
        ((BACK[0], IdentityChecked(None)), "identity_unchecked", None),
        ((*BACK[:2], ScopesChecked(frozenset({"tweet.write", "x.y"}))), "missing_scope", "tweet.write,x.y"),
        ((*BACK[:2], ScopesChecked(None)), "scopes_unchecked", None),
    ],
)  # fmt: skip
async def test_a_check_that_fails_leads_back_and_says_what_is_missing(
    stand: Stand, events: tuple[Event, ...], cause: str, missing: str | None
) -> None:
    """Another account, nobody to ask, a missing scope, no word of scopes: closed, on record, an alert."""
    client = await stand.client()
    await lost(stand, client)
    state = await stepped(stand, client, *events)
    assert state is not None
    assert (state.stage, state.cause) == (Stage.CLOSED, cause)
    [failed] = fields(stand.events("platform.reenabling_stepped", "failed"))
    assert (failed["cause"], failed.get("missing")) == (cause, missing)
    assert stand.alerts() == ["platform_closed", "reenabling_failed"]


async def test_of_many_who_take_one_step_one_takes_it(stand: Stand) -> None:
    """Sixteen transactions check the identity at once: one moves the way on, the others come too late."""
    client = await stand.client()
    await lost(stand, client)
    await stepped(stand, client, BACK[0])
    answers = await asyncio.gather(*(stepped(stand, client, BACK[1]) for _ in range(16)), return_exceptions=True)
    assert sum(isinstance(answer, Reenable) for answer in answers) == 1
    assert all(isinstance(answer, Reenable | Conflict) for answer in answers)


@pytest.mark.req("R7.2-6")
async def test_who_lost_the_race_for_a_step_is_told(stand: Stand) -> None:
    """A step from a revision that is not the stored one is a conflict, and the row stays as it was."""
    client = await stand.client()
    seen = await lost(stand, client)
    row = stand.db.sql("SELECT * FROM byokeep.reenabling")
    for stale in (replace(seen, revision=seen.revision + 1), replace(seen, revision=7)):
        async with stand.app.db.begin(client_id=client) as tx:
            with pytest.raises(Conflict, match="reenable_changed"):
                await reenabling._store(tx, client, "x", stale, replace(seen, stage=Stage.OPEN))
    assert stand.db.sql("SELECT * FROM byokeep.reenabling") == row
    async with stand.app.db.begin(client_id=client) as tx:
        await reenabling._store(tx, client, "x", seen, replace(seen, revision=1))
    assert stand.db.sql("SELECT revision FROM byokeep.reenabling") == "1"


async def test_only_an_operator_of_the_client_counts_as_a_person(stand: Stand) -> None:
    """A runner, a dispatcher, an auditor, an operator of others, nobody: no person whose login leads back."""
    client, other = await stand.client(), await stand.client()
    theirs = stand.subject("operator", "Other", clients=(other,))
    async with stand.app.db.begin(client_id=client) as tx:
        assert await reenabling.is_person(tx, client, stand.people["operator"].id)
        for person in (stand.people["runner"], stand.people["dispatcher"], stand.people["auditor"], theirs):
            assert not await reenabling.is_person(tx, client, person.id)


async def test_a_row_that_nobody_can_read_is_closed_again(stand: Stand) -> None:
    """A stage that contradicts its counters steps nowhere; losing the platform sets it right."""
    client = await stand.client()
    await lost(stand, client)
    stand.db.sql("UPDATE byokeep.reenabling SET stage = 'canary', number = 7, revision = 9")
    with pytest.raises(Exception, match="reenabling_unreadable"):
        await stepped(stand, client, BACK[0])
    state = await lost(stand, client)
    assert (state.stage, state.number, state.revision) == (Stage.CLOSED, 0, 10)
