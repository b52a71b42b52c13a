"""Destroyed keys stay destroyed when database, store and blobs are all put back as they were."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from byokeep.adapters.files.tombstones import NAME
from byokeep.core.errors import Integrity
from byokeep.core.model import ClientId
from byokeep.core.ref import ProfileRef
from byokeep.profiles.openings import TOMBSTONE, keep_tombstones
from tests.support.vault import Vault

pytest_plugins = [
    "tests.support.postgres_fixtures",
    "tests.support.broker",
    "tests.support.web",
    "tests.support.vault",
]
TABLES = ("profile", "profile_generation", "profile_account", "profile_opening", "profile_work")


async def shredded(vault: Vault, profile: object) -> None:
    work = await vault.ask(profile, "shred")  # type: ignore[arg-type]
    assert (await vault.call("POST", f"/v1/profiles/{profile}/shred/approve", who="approver"))[0] == 202
    assert await vault.do(profile, work) == "shredded"  # type: ignore[arg-type]


@pytest.mark.req("R2.3-6")
async def test_a_restore_of_everything_does_not_bring_a_destroyed_key_back(vault: Vault) -> None:
    """Rows, record and blob as before: the key is destroyed again, with an alert; a live one is let be."""
    app = vault.desk.stand.app
    client, profile = await vault.valid()
    other_client, other = await vault.valid()
    record, blobs = await vault.record(client, profile), {blob: blob.read_bytes() for blob in vault.blobs(client)}
    assert await keep_tombstones(app) == 0
    assert await app.tombstones.all() == frozenset()
    for table in TABLES[:2]:
        vault.sql(f"CREATE TABLE public.old_{table} AS SELECT * FROM byokeep.{table}")
    await shredded(vault, profile)
    assert await keep_tombstones(app) == 0
    dek = vault.sql(f"SELECT dek_id FROM byokeep.profile_generation WHERE profile_id = '{profile}'")
    assert {str(one) for one in await app.tombstones.all()} == {dek, str(profile)}
    vault.sql(
        "BEGIN; SET session_replication_role = replica;"
        f"UPDATE byokeep.profile_generation g SET key_state = o.key_state, gone_at = o.gone_at FROM"
        f" public.old_profile_generation o WHERE o.dek_id = g.dek_id AND g.profile_id = '{profile}';"
        f"UPDATE byokeep.profile p SET state = o.state, reason = o.reason FROM public.old_profile o WHERE o.id = p.id"
        f" AND p.id = '{profile}'; COMMIT"
    )
    ref = ProfileRef(ClientId(client), profile)
    async with vault.custody(client, profile) as held:
        await held.write(ref, record, cas=await held.newest(ref))
    for blob, content in blobs.items():
        blob.write_bytes(content)
    assert vault.state(profile) == "valid/1"
    assert await keep_tombstones(app) == 1
    state = f"SELECT key_state FROM byokeep.profile_generation WHERE profile_id = '{profile}'"
    assert vault.sql(state) == "destroyed"
    usable = "SELECT byokeep.profile_usable('{}', '{}')"
    assert vault.sql(usable.format(client, profile)) == "f"
    assert vault.sql(usable.format(other_client, other)) == "t"
    assert await vault.done(profile, "validate") == "key_state"
    assert "destroyed_key_back" in vault.desk.stand.alerts()
    last = json.loads(vault.events("dek.state_changed")[-1])
    said = last["fields"]
    assert (said["dek"], said["state_to"], said["reason"]) == (dek, "destroyed", TOMBSTONE)
    assert await keep_tombstones(app) == 0


async def test_a_shredded_profile_comes_back_with_none_of_its_keys(vault: Vault) -> None:
    """The shred had only begun when its tombstone was made: later every key of it that is back is destroyed again."""
    app = vault.desk.stand.app
    _, profile = await vault.valid()
    _, other = await vault.valid()
    assert await keep_tombstones(app) == 0
    vault.sql(f"CREATE TABLE public.begun AS SELECT * FROM byokeep.profile WHERE id = '{profile}'")
    mine = f"WHERE id = '{profile}'"
    vault.sql(f"UPDATE byokeep.profile SET state = 'shredded' {mine}")
    assert await keep_tombstones(app) == 0, "its worker destroys it, and nothing came back"
    assert await app.tombstones.all() == {profile}
    states = f"SELECT string_agg(key_state, ',') FROM byokeep.profile_generation WHERE profile_id = '{profile}'"
    before = vault.sql(states)
    assert "destroyed" not in before
    vault.sql(
        "BEGIN; SET session_replication_role = replica;"
        "UPDATE byokeep.profile p SET state = o.state FROM public.begun o WHERE o.id = p.id; COMMIT"
    )
    assert await keep_tombstones(app) == len(before.split(","))
    assert set(vault.sql(states).split(",")) == {"destroyed"}
    assert "destroyed_key_back" in vault.desk.stand.alerts()
    assert vault.state(other) == "valid/1"
    assert await keep_tombstones(app) == 0


async def test_tombstones_only_grow_and_are_not_believed_when_they_shrank(vault: Vault) -> None:
    """Added twice is there once; a foreign line, or a line gone, is refused and nothing is added to it."""
    stones, file = vault.desk.stand.app.tombstones, vault.desk.stand.home / "checkpoints" / NAME
    one, two = uuid4(), uuid4()
    await stones.add([one])
    await stones.add([one, two])
    assert await stones.all() == {one, two}
    good = file.read_bytes()
    assert len(good.splitlines()) == 2
    for bad, code in ((good[:37], "tombstones_lost"), (good + b"nobody\n", "tombstones_unreadable"),
                      (good + str(one).upper().encode() + b"\n", "tombstones_unreadable")):  # fmt: skip
        file.write_bytes(bad)
        for act in (stones.all(), stones.add([uuid4()])):
            with pytest.raises(Integrity, match=code):
                await act
        assert file.read_bytes() == bad
    file.write_bytes(b"x\n" + good)
    with pytest.raises(Integrity, match="tombstones_unreadable"):
        await keep_tombstones(vault.desk.stand.app)
