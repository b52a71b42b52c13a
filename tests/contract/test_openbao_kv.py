"""Versions, destruction and wrapping at the real server, and what our client makes of each."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from byokeep.adapters.openbao.ports import BaoIntake
from byokeep.core.errors import Conflict, Denied, NotFound, Rejected, Unavailable
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import AppRef, SecretPart, SecretRef
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import destroy_versions, live_versions, read_secret, write_secret
from tests.support.openbao import Bao

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def root(bao: Bao) -> AsyncIterator[Secret]:
    token = await bao.root()
    yield token
    await bao.retire(token)


def _ref() -> SecretRef:
    return SecretRef(ClientId(uuid.uuid4()), Provider.OPENAI)


@pytest.mark.req("S-VAULT-19")
async def test_a_version_can_be_hidden_and_shown_and_destroyed_for_ever(bao: Bao, root: Secret) -> None:
    """Soft delete refuses the read until undelete, which the trail shows; destroy is final; a stale write conflicts."""
    ref, intake = _ref(), BaoIntake(bao.web)
    for number, value in enumerate((b"one", b"two", b"three")):
        assert (await intake.put(ref, Secret(value), cas=number)).version == number + 1
    part = ref.path[3:]

    async def read(version: int) -> Secret:
        return await read_secret(bao.http, await bao.lease(ref.client_id, "use", "openai"), ref.path, version, "lease")

    assert (await read(1)).matches(b"one")
    assert (await read(3)).matches(b"three")
    await bao.http.request("POST", f"kv/delete/{part}", token=root, body={"versions": [2]})
    with pytest.raises(Unavailable, match="secret_version_gone"):
        await read(2)
    assert await intake.live_versions(ref) == [1, 3]
    undeleted = await bao.http.request("POST", f"kv/undelete/{part}", token=root, body={"versions": [2]})
    assert undeleted.status == 204
    assert (await read(2)).matches(b"two")
    assert f'"path":"kv/undelete/{part}"'.encode() in bao.audit_files["a"].read_bytes()

    custody = await bao.lease(ref.client_id, "custody", "openai")
    await destroy_versions(bao.http, custody, ref.path, [1], lease_id="lease")
    with pytest.raises(Unavailable, match="secret_version_gone"):
        await read(1)
    await bao.http.request("POST", f"kv/undelete/{part}", token=root, body={"versions": [1]})
    with pytest.raises(Unavailable, match="secret_version_gone"):
        await read(1)
    assert await live_versions(bao.http, custody, ref.path) == (3, [2, 3])
    with pytest.raises(Conflict, match="stale_version"):
        await intake.put(ref, Secret("late"), cas=2)
    with pytest.raises(Conflict, match="stale_version"):
        await write_secret(bao.http, custody, ref.path, Secret("late"), cas=0)
    with pytest.raises(NotFound):
        await read(9)
    # A writer that names no version it means to follow is refused by the store itself, at old places and new ones.
    for place in (part, _ref().path[3:]):
        for body in ({"data": {"value": "blind"}}, {"data": {"value": "blind"}, "options": {}}):
            status, said = await bao.raw("POST", f"kv/data/{place}", await bao.web.token(), json=body)
            assert (status, b"check-and-set" in said) == (400, True)
    assert await intake.current_version(ref) == 3


async def test_of_many_writers_one_wins(bao: Bao) -> None:
    """Twenty writers of the same next version: one is stored, nineteen conflict, and the value is the winner's."""
    ref, intake = _ref(), BaoIntake(bao.web)
    attempts = [intake.put(ref, Secret(f"value-{number}"), cas=0) for number in range(20)]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    won = [number for number, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
    assert len(won) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 19
    token = await bao.lease(ref.client_id, "use", "openai")
    assert (await read_secret(bao.http, token, ref.path, 1, "lease")).matches(f"value-{won[0]}".encode())


async def test_a_write_without_its_base_version_is_refused_by_the_server(bao: Bao) -> None:
    """Check-and-set is a rule of the mount, not a habit of our client."""
    ref = _ref()
    path = f"kv/data/{ref.path[3:]}"
    for body in ({"data": {"value": "x"}}, {"options": {}, "data": {"value": "x"}}):
        with pytest.raises(Rejected, match="store_rejected"):
            await bao.web.request("POST", path, body=body)
    assert await BaoIntake(bao.web).current_version(ref) == 0


async def test_twenty_versions_are_kept(bao: Bao) -> None:
    """A token refreshed every two hours keeps its versions for more than a day; the oldest then goes."""
    ref, intake = _ref(), BaoIntake(bao.web)
    for number in range(22):
        await intake.put(ref, Secret(f"v{number}"), cas=number)
    assert await intake.live_versions(ref) == list(range(3, 23))


async def test_of_a_key_more_versions_are_kept_and_nothing_else_is_changed(bao: Bao) -> None:
    """Web and custody may have the store keep a thousand: no fewer, none for a while only; of a secret of a webhook, of
    an administrator or of our app web alone, and nobody of any other place."""
    ref, intake = _ref(), BaoIntake(bao.web)
    await intake.put(ref, Secret("v0"), cas=0)
    part = f"kv/metadata/{ref.path[3:]}"
    for token in (await bao.web.token(), await bao.lease(ref.client_id, "custody", "openai")):
        for body in ({"max_versions": "1"}, {"max_versions": "1000", "delete_version_after": "1s"},
                     {"cas_required": False}):  # fmt: skip
            assert (await bao.raw("POST", part, token, json=body))[0] == 403, body
    web, custody, more = await bao.web.token(), token, {"max_versions": "1000"}
    for at in (replace(ref, part=SecretPart.WEBHOOK), replace(ref, part=SecretPart.ADMIN), AppRef(Provider.X, "x")):
        place = f"kv/metadata/{at.path[3:]}"
        assert (await bao.raw("POST", place, web, json=more))[0] == 403, place  # none is there yet
        await intake.put(at, Secret("v0"), cas=0)
        assert [(await bao.raw("POST", place, one, json=more))[0] for one in (web, custody)] == [204, 403], place
    for place in ("kv/metadata/platform/token-key", f"{part}/accounts/{uuid.uuid4()}/tokens"):
        assert (await bao.raw("POST", place, web, json=more))[0] == 403, place
    await intake.keep_more(ref)
    for number in range(1, 22):
        await intake.put(ref, Secret(f"v{number}"), cas=number)
    assert await intake.live_versions(ref) == list(range(1, 23))


async def test_a_wrapping_token_opens_once_and_nothing_else(bao: Bao) -> None:
    """Looking does not use it up; it unwraps once; as a bearer elsewhere, or shown twice, it is burnt unopened."""

    async def wrap() -> Secret:
        with pytest.raises(Rejected):  # no life given
            await bao.web.request("POST", "sys/wrapping/wrap", body={"note": "hand-over"})
        token = await bao.web.token()
        reply = await bao.http.request(
            "POST", "sys/wrapping/wrap", token=token, body={"note": Secret("hand-over")}, wrap_ttl_s=60
        )
        assert not reply.data
        return Secret(reply.wrap["token"])

    wrapped = await wrap()
    for _ in range(3):
        seen = await bao.http.request("POST", "sys/wrapping/lookup", body={"token": wrapped})
        assert seen.data["creation_path"] == "sys/wrapping/wrap"
        assert seen.data["creation_ttl"] == 60
        assert seen.data["creation_time"]
    client = uuid.uuid4()
    await BaoIntake(bao.web).put(SecretRef(ClientId(client), Provider.OPENAI), Secret("v"), cas=0)
    for path in (f"kv/data/clients/{client}/providers/openai", "auth/token/lookup-self", "sys/mounts", "transit/keys"):
        burnt = await wrap()
        with pytest.raises(Denied, match="store_denied"):
            await bao.http.request("GET", path, token=burnt)
        with pytest.raises((Rejected, Denied)):
            await bao.http.request("POST", "sys/wrapping/unwrap", token=burnt)
    opened = await bao.http.request("POST", "sys/wrapping/unwrap", token=wrapped)
    assert opened.data == {"note": "hand-over"}
    for spent in (wrapped, Secret("s.unknownunknownunknownunk"), Secret(wrapped.reveal()[:12])):
        with pytest.raises((Rejected, Denied)):
            await bao.http.request("POST", "sys/wrapping/unwrap", token=spent)
        with pytest.raises((Rejected, Denied)):
            await bao.http.request("POST", "sys/wrapping/lookup", body={"token": spent})
    twice = await wrap()
    with pytest.raises((Rejected, Denied, Unavailable)):
        await bao.http.request("POST", "sys/wrapping/unwrap", token=twice, body={"token": twice})
    with pytest.raises((Rejected, Denied)):
        await bao.http.request("POST", "sys/wrapping/unwrap", token=twice)
