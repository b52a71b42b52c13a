"""kill -9 in the middle of sealing and opening a profile: the last good generation stays, nothing is left behind."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from uuid import UUID

import pytest

from byokeep.core import next_steps
from byokeep.core.model import ClientId
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import FOR_ROTATION, FULL, KEPT, LOW, parse_record
from byokeep.profiles import openings
from tests.flows.test_kek import finish, rotated
from tests.support import forks
from tests.support.keks import keys_on
from tests.support.profile_killer import OPENING, POINTS, SEALING
from tests.support.vault import Vault

pytest_plugins = [
    "tests.support.postgres_fixtures",
    "tests.support.broker",
    "tests.support.web",
    "tests.support.vault",
]

SESSION = b"a session cookie that must not be lost " * 20_000
_AFTER = frozenset({"committed"})
A_PROFILE = 25  # kills; a record that a cut seal left takes a version in its place, and there is room for so many


async def killed(vault: Vault, client: UUID, profile: UUID, act: str, point: str) -> None:
    """Start a worker on a piece of work, and kill it where it stands."""
    work = await vault.ask(profile, act)
    given = {
        "database": vault.desk.stand.db.url("byokeep_worker"), "broker": vault.desk.stand.url,
        "token": str(vault.desk.stand.home / "custodian.token"), "artifacts": str(vault.artifacts),
        "installation": str(vault.app.installation_id), "client": str(client), "work": str(work), "point": point,
    }  # fmt: skip
    with forks.stopped("tests.support.profile_killer", json.dumps(given).encode()) as printed:
        said = (await asyncio.wait_for(asyncio.to_thread(printed.readline), 60)).decode().strip()
        assert said == point, said


async def time_passes(vault: Vault, profile: UUID) -> None:
    """Signs of life are missed; the round of the clock comes by."""
    vault.sql(
        "UPDATE byokeep.profile_opening SET opened_at = opened_at - interval '1 hour', until = now() -"
        f" interval '1 hour' WHERE profile_id = '{profile}' AND until > now();"
        "UPDATE byokeep.profile_work SET beat_at = now() - interval '1 hour' WHERE ended_at IS NULL"
    )
    await vault.care()


async def check(vault: Vault, client: UUID, profile: UUID, generation: int) -> None:
    """The newest generation opens as it was sealed; each blob and each record in the stores is a row's."""
    assert vault.sql(f"SELECT generation FROM byokeep.profile WHERE id = '{profile}'") == str(generation)
    assert await vault.done(profile, "validate") == "valid"
    assert vault.script.opened[-1] == SESSION
    rows = vault.sql(
        f"SELECT dek_id || ' ' || record_version FROM byokeep.profile_generation WHERE profile_id = '{profile}'"
        " AND gone_at IS NULL ORDER BY generation"
    ).split()
    deks, versions = rows[::2], [int(one) for one in rows[1::2]]
    assert sorted(blob.name.split("-")[1].removesuffix(".sealed") for blob in vault.blobs(client)) == sorted(
        UUID(dek).hex for dek in deks
    )
    ref = ProfileRef(ClientId(client), profile)
    async with vault.custody(client, profile) as held:
        live = await held.live_versions(ref)
        assert versions[-1] in live  # the store keeps twenty versions of a place; older ones may be gone
        for version in live:
            assert str(parse_record(await held.read(ref, version)).dek_id) in deks
    assert await vault.care() == 0


async def kills(vault: Vault, plan: list[tuple[str, str]]) -> Counter[str]:
    client, profile = await vault.valid(session=SESSION)
    done: Counter[str] = Counter()
    for act, point in plan:
        before = int(vault.sql(f"SELECT generation FROM byokeep.profile WHERE id = '{profile}'"))
        await killed(vault, client, profile, act, point)
        await time_passes(vault, profile)
        await check(vault, client, profile, before + (act == "rekey" and point in _AFTER))
        done[f"{act} {point}"] += 1
    return done


@pytest.mark.timeout(300)
async def test_a_killed_worker_leaves_the_last_good_generation(vault: Vault) -> None:
    """Eleven points of a rekey and two of a validation: what was sealed before opens, nothing strange is left."""
    plan = [("rekey", point) for point in POINTS if point not in ("opened",)]
    await kills(vault, [*plan, ("validate", "record_read"), ("validate", "blob_half_read")])


@pytest.mark.timeout(600)
async def test_killed_seals_tell_people_before_none_may_begin(vault: Vault) -> None:
    """Each worker dies with its record written: at half of the room an alert opens, at its end another one, by name; a
    rotation of the client's key makes room, and sealing goes on."""
    client, profile = await vault.valid(session=SESSION)
    since: dict[str, int] = {}
    for number in range(1, KEPT - FOR_ROTATION):
        await killed(vault, client, profile, "rekey", "record_written")
        for reason in vault.desk.stand.alerts():
            since.setdefault(reason, number)
        await time_passes(vault, profile)
    assert since == {openings.LOW: LOW}, "said by the seal that found half of the room gone, before it was cut"
    assert await vault.done(profile, "rekey") == FULL
    assert vault.desk.stand.alerts().count(FULL) == 1
    for reason in (openings.LOW, FULL):
        assert "byokeep kek rotate" in next_steps.of_alert(reason)
    async with keys_on(vault.desk.stand) as keys:
        await finish(keys, await rotated(keys, client, 1), client)
    assert await vault.done(profile, "rekey") == "rekeyed"
    await time_passes(vault, profile)
    await check(vault, client, profile, 2)


@pytest.mark.campaign
@pytest.mark.timeout(14_400)
async def test_five_hundred_kills(vault: Vault) -> None:
    """The same at random points, five hundred times."""
    seed = random.SystemRandom().randrange(2**32)
    chosen = random.Random(seed)
    plan = [("rekey", chosen.choice((*OPENING[1:], *SEALING))) for _ in range(400)]
    plan += [("validate", chosen.choice(OPENING[1:])) for _ in range(100)]
    chosen.shuffle(plan)
    sys.stdout.write(f"seed {seed}\n")
    done: Counter[str] = Counter()
    for start in range(0, len(plan), A_PROFILE):
        done += await kills(vault, plan[start : start + A_PROFILE])
        sys.stdout.write(f"{done.total()} kills\n")
    sys.stdout.write(f"{dict(done)}\n")
    assert done.total() == len(plan) == 500
