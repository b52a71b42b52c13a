"""Seals that are cut off again and again never push a good record out of the store, which keeps so many versions."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

import pytest

from byokeep.adapters.openbao.provisioning import KV_MAX_VERSIONS
from byokeep.core.errors import Conflict, Unavailable
from byokeep.core.model import ClientId
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import FOR_ROTATION, KEPT, check_seal
from byokeep.profiles import kek_tasks, openings
from tests.flows.test_kek import finish, rotated
from tests.support.keks import keys_on
from tests.support.vault import Vault

pytest_plugins = [
    "tests.support.postgres_fixtures",
    "tests.support.broker",
    "tests.support.web",
    "tests.support.vault",
]
SESSION = b"the last good session" * 1000


def cut_off(patch: pytest.MonkeyPatch) -> None:
    """Let the database be away whenever a record that was written should be followed by its row."""

    async def gone(*_: Any, **__: Any) -> None:
        raise Unavailable("database_unreachable")

    patch.setattr(openings, "record", gone)


async def versions(vault: Vault, client: UUID, profile: UUID) -> int:
    async with vault.custody(client, profile) as held:
        return int(await held.newest(ProfileRef(ClientId(client), profile)))


@pytest.mark.parametrize("swept", [False, pytest.param(True, marks=pytest.mark.campaign)])
async def test_twenty_five_cut_seals_leave_the_last_good_generation(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, swept: bool
) -> None:
    """Whether their records are destroyed between or not: at last they are refused, and what was good opens."""
    client, profile = await vault.valid(session=SESSION)
    with monkeypatch.context() as patch:
        cut_off(patch)
        results = []
        for _ in range(25):
            results.append(await vault.done(profile, "rekey"))
            if swept:
                await vault.care()
    written = await versions(vault, client, profile)
    assert results.index("record_history_full") == written - 1 == KEPT - FOR_ROTATION - 1
    assert set(results[written - 1 :]) == {"record_history_full"}
    assert "database_unreachable" in results
    before = len(vault.blobs(client))
    assert await vault.done(profile, "rekey") == "record_history_full"
    assert len(vault.blobs(client)) == before, "it was refused before a byte was sealed"
    assert await vault.done(profile, "validate") == "valid"
    assert vault.script.opened[-1] == SESSION
    assert vault.state(profile) == "valid/1"


async def refused(vault: Vault, patch: pytest.MonkeyPatch) -> tuple[UUID, UUID]:
    """A client and a profile of which so many seals were cut off that no other may begin."""
    client, profile = await vault.valid(session=SESSION)
    with patch.context() as cut:
        cut_off(cut)
        while await vault.done(profile, "rekey") != "record_history_full":
            continue
    return client, profile


async def test_a_rotation_of_the_key_makes_room_again(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes the good record anew, as the newest; what was refused is sealed after it."""
    client, profile = await refused(vault, monkeypatch)
    async with keys_on(vault.desk.stand) as keys:
        await finish(keys, await rotated(keys, client, 1), client)
    assert await vault.done(profile, "validate") == "valid"
    assert vault.script.opened[-1] == SESSION
    assert await vault.done(profile, "rekey") == "rekeyed"
    assert vault.state(profile) == "valid/2"


async def test_a_rotation_pushes_no_record_out_either(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its own record would be the one too many, it writes nothing and calls people; the good one opens."""
    client, profile = await refused(vault, monkeypatch)
    ref = ProfileRef(ClientId(client), profile)
    record = await vault.record(client, profile, 1)
    async with vault.custody(client, profile) as held:
        while (newest := await held.newest(ref)) < KEPT:
            await held.write(ref, await held.read(ref, newest), cas=newest)
    async with keys_on(vault.desk.stand) as keys:
        rotation = await rotated(keys, client, 1)
        assert await kek_tasks.rewrap(keys.app, keys.system, rotation.id, ClientId(client)) == 0
    assert await versions(vault, client, profile) == KEPT
    assert "kek_rewrap_blocked" in vault.desk.stand.alerts()
    assert await vault.record(client, profile, 1) == record
    assert await vault.done(profile, "validate") == "valid"
    assert vault.script.opened[-1] == SESSION


def test_the_bound_is_the_store_s() -> None:
    """The last version that still leaves the one that must stay, and the first that would not; no bound, no refusal."""
    assert KV_MAX_VERSIONS == KEPT == 20
    for check, kept in ((check_seal, KEPT - FOR_ROTATION), (partial(check_seal, rotates=True), KEPT)):
        check(newest=kept - 1, stays=1)
        check(newest=1000, stays=0)
        with pytest.raises(Conflict, match="record_history_full"):
            check(newest=kept, stays=1)
