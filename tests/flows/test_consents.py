"""A platform that is slow to take a code holds up no other consent: not another login's, and not for ever its own."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from byokeep.accounts import connect_finish
from byokeep.accounts.connect_finish import ConsentTasks
from tests.support.connect import Office

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.connect",
]  # fmt: skip


async def answered(office: Office, login: str) -> tuple[UUID, dict[str, Any]]:
    """A consent of a new client that waits to be finished."""
    client = await office.client()
    begun = await office.begin(client, login)
    said = await office.consent(begun["authorize_url"], login)
    status, reply = await office.bring(client, begun, said)
    assert status == 200, reply
    return client, begun


async def state(office: Office, one: tuple[UUID, dict[str, Any]]) -> str:
    return str((await office.look(*one))["state"])


async def test_a_slow_platform_holds_up_no_other_one(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three consents wait at a platform that takes 8 s: two are its share, the third waits; another login's goes by."""
    monkeypatch.setattr(connect_finish, "MOST", 4)
    monkeypatch.setattr(connect_finish, "SHARE", 2)
    await office.fault("x", "slow", "token", delay_s=8, times=3)
    slow = [await answered(office, "x") for _ in range(3)]
    consents = ConsentTasks(office.app)
    assert await consents.start_answered() == 2
    assert sorted([await state(office, one) for one in slow]) == ["answered", "taken", "taken"]
    quick = await answered(office, "tiktok")
    assert await consents.start_answered() == 1
    async with asyncio.timeout(7):
        while await state(office, quick) != "connected":
            await asyncio.sleep(0.1)
    assert sorted([await state(office, one) for one in slow]) == ["answered", "taken", "taken"], "they were not slow"
    async with asyncio.timeout(7):
        while (left := await consents.drain(0.05)) > 2:
            pass
    assert left == 2
    await consents.settle()
    assert await consents.start_answered() == 1, "the share is free again"
    await consents.settle()
    assert "answered" not in [await state(office, one) for one in slow]


async def test_no_more_than_so_many_at_once(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three answers of three logins two are begun; the third one when a place is free."""
    monkeypatch.setattr(connect_finish, "MOST", 2)
    await office.fault("x", "slow", "token", delay_s=3)
    await office.fault("tiktok", "slow", "token", delay_s=3)
    waiting = [await answered(office, login) for login in ("x", "tiktok", "linkedin")]
    consents = ConsentTasks(office.app)
    assert await consents.start_answered() == 2
    assert await consents.start_answered() == 0
    assert [await state(office, one) for one in waiting] == ["taken", "taken", "answered"]
    await consents.settle()
    assert await consents.start_answered() == 1
    await consents.settle()
    assert [await state(office, one) for one in waiting] == ["connected"] * 3
