"""Another key in the place of a version: found out by the rows, whatever name it goes by."""

# ruff: noqa: S608 - statements are put together from our own ids

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from byokeep.core.errors import Rejected
from byokeep.core.kek import KekFault
from byokeep.core.model import ClientId
from byokeep.core.secret import Secret
from byokeep.profiles import kek_tasks
from tests.support.broker import Stand
from tests.support.keks import Keys, keys_on

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]

DEK = bytes(range(32))


@pytest.fixture
async def keys(stand: Stand) -> AsyncIterator[Keys]:
    async with keys_on(stand) as made:
        yield made


async def swap(keys: Keys, client: ClientId, *, versions: int) -> None:
    """Put another key of the same kind under the same name, as somebody who has all rights at OpenBao does."""
    path = f"tenant/keys/development-{client}"
    await keys.as_root(("POST", f"{path}/config", {"deletion_allowed": True}), ("DELETE", path, {}))
    await asyncio.sleep(1.1)  # a key is told by the second that it was made in
    again = [("POST", f"{path}/rotate", {}) for _ in range(versions - 1)]
    limit = {"min_encryption_version": versions}
    await keys.as_root(
        ("POST", path, {"type": "aes256-gcm96", "derived": True}), *again, ("POST", f"{path}/config", limit)
    )


async def prepared(keys: Keys, client: ClientId) -> int:
    async with keys.custody(client) as custody:
        return (await kek_tasks.prepare(keys.app, keys.system, custody.keys, client)).version


async def test_another_key_under_the_name_of_a_version_protects_nothing(keys: Keys) -> None:
    """No seal begins, no rotation hides it, what was wrapped does not move, and the comparison raises the alert."""
    client = await keys.client()
    scope = keys.scope(client)
    assert await prepared(keys, client) == 1
    assert await kek_tasks.check(keys.app, keys.system, client) == ()
    context = keys.context(client, uuid4())
    async with keys.custody(client) as custody:
        old = await custody.keys.wrap(Secret(DEK), context)
        await swap(keys, client, versions=1)
        assert (await custody.keys.versions(scope)).faults == (), "by itself it looks like ours"
        assert (await kek_tasks.compared(keys.app, custody.keys, scope)).faults == (KekFault.FOREIGN,)
        for moves in (custody.keys.unwrap, custody.keys.rewrap):
            with pytest.raises(Exception, match="wrapped_key_broken"):
                await moves(old, context)
    for act in (
        prepared(keys, client), kek_tasks.rotate(keys.app, keys.person(), client, expected=1, reason="scheduled"),
    ):  # fmt: skip
        with pytest.raises(Rejected, match="kek_foreign"):
            await act
    found = await kek_tasks.check(keys.app, keys.system, client)
    assert [(one.version, one.finding.value) for one in found] == [(1, "kek_altered_outside")]
    assert keys.stand.alerts().count("kek_altered_outside") == 1


async def test_an_old_version_that_was_replaced_is_found_and_a_key_from_before_is_pinned(keys: Keys) -> None:
    """A version without an identity gets it at a comparison, once; afterwards another key there is told."""
    client = await keys.client()
    assert await prepared(keys, client) == 1
    where = f"WHERE client_id = '{client}'"
    keys.sql(f"UPDATE byokeep.kek_version SET identity = '' {where}")
    assert await kek_tasks.check(keys.app, keys.system, client) == ()
    first = keys.sql(f"SELECT identity FROM byokeep.kek_version {where} ORDER BY made_at DESC LIMIT 1")
    assert first
    await kek_tasks.rotate(keys.app, keys.person(), client, expected=1, reason="scheduled")
    await swap(keys, client, versions=2)
    found = await kek_tasks.check(keys.app, keys.system, client)
    assert (1, "kek_altered_outside") in [(one.version, one.finding.value) for one in found]
    with pytest.raises(Rejected, match="kek_foreign"):
        await kek_tasks.end_versions(
            keys.app, keys.person("approver"), client, kek_id=f"development-{client}", holder="transit", version=1,
            reason="not_needed",
        )  # fmt: skip
    assert keys.sql(f"SELECT identity FROM byokeep.kek_version {where} AND version = 1") == first, "never told anew"
