"""What the key provider promises, on a real OpenBao: walls, kinds of keys, rotation, and what was done outside."""

from __future__ import annotations

import base64
import dataclasses
import re
import uuid
from pathlib import Path

import pytest

from byokeep.adapters.system import SystemClock
from byokeep.core.errors import Conflict, Denied, Integrity, Rejected, Unavailable
from byokeep.core.kek import KekFault, Wrapped
from byokeep.core.model import ClientId, Environment
from byokeep.core.secret import Secret
from byokeep.sealing.transit import TransitKeys
from byokeep.wire.bao_http import BaoHttp
from tests.support.key_provider import DEK, HERE, Case, a_context, code_of, transit_case
from tests.support.openbao import Bao

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def case(bao: Bao) -> Case:
    return transit_case(bao, a_context())


async def test_a_dek_comes_back_as_it_was(case: Case) -> None:
    """Without a KEK nothing is wrapped; with one the DEK opens to the same bytes, under another text each time."""
    assert (await case.keys.versions(case.scope)).newest == 0
    assert await code_of(case.keys.wrap(Secret(DEK), case.context)) == "kek_missing"
    made = await case.keys.rotate(case.scope, expected=0)
    assert (made.newest, made.min_encryption, made.faults) == (1, 1, ())
    assert made.versions[0].created_at is not None
    assert abs((made.versions[0].created_at - SystemClock().now()).total_seconds()) < 60
    first, second = [await case.keys.wrap(Secret(DEK), case.context) for _ in range(2)]
    assert first.ciphertext != second.ciphertext
    assert (first.holder, first.kek_version) == ("transit", 1)
    assert "development" in first.kek_id
    for wrapped in (first, second):
        assert (await case.keys.unwrap(wrapped, case.context)).matches(DEK)
        assert DEK not in base64.b64decode(wrapped.ciphertext.rpartition(":")[2])
    assert await case.keys.versions(case.scope) == made


async def test_another_profile_client_or_environment_opens_nothing(case: Case) -> None:
    """The context is bound: a wrapped key taken to another profile, client or environment is refused."""
    await case.keys.rotate(case.scope, expected=0)
    wrapped = await case.keys.wrap(Secret(DEK), case.context)
    other_profile = dataclasses.replace(case.context, profile_id=uuid.uuid4())
    for act in (case.keys.unwrap, case.keys.rewrap):
        assert await code_of(act(wrapped, other_profile)) == "wrapped_key_broken"
    neighbour = dataclasses.replace(case.context, client_id=ClientId(uuid.uuid4()))
    theirs = case.as_client(neighbour.client_id)
    await theirs.rotate(neighbour.scope, expected=0)
    assert await code_of(theirs.unwrap(wrapped, neighbour)) == "wrapped_key_broken"
    renamed = dataclasses.replace(wrapped, kek_id=(await theirs.versions(neighbour.scope)).kek_id)
    assert await code_of(theirs.unwrap(renamed, neighbour)) == "wrapped_key_broken"


@pytest.mark.req("R2.3-1")
async def test_a_kek_is_of_one_environment(case: Case) -> None:
    """A record copied to another environment does not open there, told the truth or not; no id stands for two."""
    await case.keys.rotate(case.scope, expected=0)
    wrapped = await case.keys.wrap(Secret(DEK), case.context)
    elsewhere = case.of(Environment.PRODUCTION)
    moved = dataclasses.replace(case.context, environment=Environment.PRODUCTION)
    assert await code_of(elsewhere.unwrap(wrapped, case.context)) == "other_environment"
    assert await code_of(elsewhere.unwrap(wrapped, moved)) == "wrapped_key_broken"
    renamed = dataclasses.replace(wrapped, kek_id=wrapped.kek_id.replace("development", "production"))
    with pytest.raises((Denied, Integrity, Rejected)):
        await elsewhere.unwrap(renamed, moved)
    for act in (case.keys.wrap(Secret(DEK), moved), case.keys.rotate(moved.scope, expected=0)):
        assert await code_of(act) == "other_environment"


@pytest.mark.req("S-GCM-11")
async def test_a_changed_bit_opens_nothing_and_a_dek_has_one_length(case: Case) -> None:
    """Each flipped bit of the wrapped key is one Integrity code; a DEK that is not 256 bits is refused unwrapped."""
    await case.keys.rotate(case.scope, expected=0)
    for length in (0, 16, 31, 33, 64):
        assert await code_of(case.keys.wrap(Secret(bytes(length)), case.context)) == "bad_dek_length"
    wrapped = await case.keys.wrap(Secret(DEK), case.context)
    head, colon, text = wrapped.ciphertext.rpartition(":")
    raw = bytearray(base64.b64decode(text))
    for place in {0, 5, 12, len(raw) // 2, len(raw) - 17, len(raw) - 1}:
        raw[place] ^= 0x10
        changed = dataclasses.replace(wrapped, ciphertext=head + colon + base64.b64encode(raw).decode())
        for act in (case.keys.unwrap, case.keys.rewrap):
            with pytest.raises(Integrity, match="wrapped_key_broken"):
                await act(changed, case.context)
        raw[place] ^= 0x10
    for cut in (raw[:-1], raw[:20], bytes(raw) + b"\0"):
        changed = dataclasses.replace(wrapped, ciphertext=head + colon + base64.b64encode(cut).decode())
        with pytest.raises(Integrity, match="wrapped_key_broken"):
            await case.keys.unwrap(changed, case.context)
    assert (await case.keys.unwrap(wrapped, case.context)).matches(DEK)
    bound = {"context": base64.b64encode(case.context.canonical).decode()}
    for length in (16, 31, 33):  # wrapped past us, under the same key
        body = {"plaintext": Secret(base64.b64encode(bytes(length))), **bound}
        reply = await case.keys._send("encrypt", case.scope, body)
        changed = dataclasses.replace(wrapped, ciphertext=str(reply.data["ciphertext"]))
        with pytest.raises(Integrity, match="wrapped_key_broken"):
            await case.keys.unwrap(changed, case.context)


async def test_rotation_moves_new_wraps_and_rewrapping_the_old(case: Case) -> None:
    """After a rotation new wraps are of the new version, old ones still open, and rewrapping changes no DEK."""
    await case.keys.rotate(case.scope, expected=0)
    old = await case.keys.wrap(Secret(DEK), case.context)
    turned = await case.keys.rotate(case.scope, expected=1)
    assert (turned.newest, turned.min_encryption, turned.versions[0].number, turned.faults) == (2, 2, 1, ())
    assert [version.number for version in turned.versions] == [1, 2]
    assert (await case.keys.wrap(Secret(DEK), case.context)).kek_version == 2
    assert (await case.keys.unwrap(old, case.context)).matches(DEK)
    moved = await case.keys.rewrap(old, case.context)
    assert (moved.kek_version, moved.kek_id) == (2, old.kek_id)
    assert (await case.keys.unwrap(moved, case.context)).matches(DEK)
    with pytest.raises(Integrity):
        await case.keys.unwrap(dataclasses.replace(moved, kek_version=1), case.context)
    for stale in (0, 1, 3):
        with pytest.raises(Conflict, match="kek_version_moved"):
            await case.keys.rotate(case.scope, expected=stale)
    assert await case.keys.versions(case.scope) == turned


async def test_a_retired_version_opens_nothing(case: Case) -> None:
    """What was moved still opens, what was left behind does not; the newest is never retired; it is no alarm."""
    await case.keys.rotate(case.scope, expected=0)
    old = await case.keys.wrap(Secret(DEK), case.context)
    await case.keys.rotate(case.scope, expected=1)
    moved = await case.keys.rewrap(old, case.context)
    for bad in (0, 1, 3):
        assert await code_of(case.keys.retire(case.scope, below=bad)) == "bad_kek_version"
    closed = await case.keys.retire(case.scope, below=2)
    assert (closed.newest, closed.versions[0].number, closed.faults) == (2, 2, ())
    assert [version.number for version in closed.versions] == [2]
    for act in (case.keys.unwrap, case.keys.rewrap):
        assert await code_of(act(old, case.context)) == "kek_disabled"
    assert (await case.keys.unwrap(moved, case.context)).matches(DEK)
    again = await case.keys.rotate(case.scope, expected=2)
    assert (again.newest, again.min_encryption, again.versions[0].number, again.faults) == (3, 3, 2, ())


async def test_what_was_disabled_outside_is_found(case: Case) -> None:
    """A key that somebody switched off stands in the status as a fault, protects nothing and opens nothing."""
    await case.keys.rotate(case.scope, expected=0)
    wrapped = await case.keys.wrap(Secret(DEK), case.context)
    await case.disable()
    assert (await case.keys.versions(case.scope)).faults == (KekFault.DISABLED,)
    for act in (case.keys.wrap(Secret(DEK), case.context), case.keys.unwrap(wrapped, case.context)):
        assert await code_of(act) == "kek_disabled"
    assert await code_of(case.keys.rotate(case.scope, expected=1)) == "kek_disabled"


async def test_what_was_deleted_outside_is_found(case: Case) -> None:
    """A key that was deleted goes with all its versions, which its rows know to be wrong; what it wrapped is lost."""
    await case.keys.rotate(case.scope, expected=0)
    old = await case.keys.wrap(Secret(DEK), case.context)
    await case.delete()
    found = await case.keys.versions(case.scope)
    assert (found.newest, found.faults) == (0, ())
    assert await code_of(case.keys.unwrap(old, case.context)) == "kek_missing"


async def test_a_provider_that_is_down_is_unavailable(case: Case) -> None:
    """Every call to an OpenBao that does not answer is Unavailable: never an empty status, never a broken key."""
    await case.keys.rotate(case.scope, expected=0)
    wrapped = await case.keys.wrap(Secret(DEK), case.context)
    for act in (
        case.down.wrap(Secret(DEK), case.context), case.down.unwrap(wrapped, case.context),
        case.down.rewrap(wrapped, case.context), case.down.versions(case.scope),
        case.down.rotate(case.scope, expected=1), case.down.retire(case.scope, below=2),
    ):  # fmt: skip
        with pytest.raises(Unavailable):
            await act
    assert (await case.keys.unwrap(wrapped, case.context)).matches(DEK)


async def test_what_another_provider_wrapped_is_not_tried(case: Case) -> None:
    """A wrapped key that names another provider does not open, whatever key it names there."""
    await case.keys.rotate(case.scope, expected=0)
    text = "vault:v1:" + base64.b64encode(bytes(60)).decode()
    wrapped = Wrapped(holder="aws", kek_id=case.scope.tenant_kek, kek_version=1, ciphertext=text)
    for act in (case.keys.unwrap, case.keys.rewrap):
        with pytest.raises(Integrity, match="wrapped_key_broken"):
            await act(wrapped, case.context)


@pytest.mark.req("R2.3-5")
async def test_an_old_version_protects_nothing(bao: Bao, case: Case) -> None:
    """After a rotation a wrap names the new version, and OpenBao itself refuses to protect by an old one."""
    await case.keys.rotate(case.scope, expected=0)
    old = await case.keys.wrap(Secret(DEK), case.context)
    await case.keys.rotate(case.scope, expected=1)
    new = await case.keys.wrap(Secret(DEK), case.context)
    assert (old.kek_version, new.kek_version) == (1, 2)
    assert (await case.keys.unwrap(old, case.context)).matches(DEK)
    assert new.ciphertext.startswith("vault:v2:")
    lease = await bao.lease(case.context.client_id, "custody", "profile")
    body: dict[str, object] = {
        "plaintext": base64.b64encode(DEK).decode(), "key_version": 1,
        "context": base64.b64encode(case.context.canonical).decode(),
    }  # fmt: skip
    path = f"tenant/encrypt/{case.scope.tenant_kek}"
    with pytest.raises(Rejected, match="store_rejected"):
        await bao.http.request("POST", path, token=lease, body=body)
    assert (await bao.http.request("POST", path, token=lease, body=body | {"key_version": 2})).data["key_version"] == 2


@pytest.mark.req("S-NIST-11")
async def test_a_kek_is_as_strong_as_what_it_wraps(bao: Bao) -> None:
    """A weaker or underived key that somebody put under the KEK's name wraps nothing, anew or again."""
    for kind in ({"type": "aes128-gcm96", "derived": True}, {"type": "aes256-gcm96", "derived": False}):
        case = transit_case(bao, a_context())
        root = await bao.root()
        await bao.http.request("POST", f"tenant/keys/{case.scope.tenant_kek}", token=root, body=kind)
        await bao.retire(root)
        text = "vault:v1:" + base64.b64encode(bytes(60)).decode()
        wrapped = Wrapped(holder="transit", kek_id=case.scope.tenant_kek, kek_version=1, ciphertext=text)
        assert (await case.keys.versions(case.scope)).faults == (KekFault.FOREIGN,)
        for act in (case.keys.wrap(Secret(DEK), case.context), case.keys.rewrap(wrapped, case.context)):
            with pytest.raises(Rejected, match="kek_foreign"):
                await act


async def test_a_rotation_that_was_cut_is_finished(bao: Bao, case: Case) -> None:
    """A new version whose predecessors still protect is no conflict for who asks again; they are closed then."""
    await case.keys.rotate(case.scope, expected=0)
    lease = await bao.lease(case.context.client_id, "custody", "profile")
    await bao.http.request("POST", f"tenant/keys/{case.scope.tenant_kek}/rotate", token=lease, body={})
    cut = await case.keys.versions(case.scope)
    assert (cut.newest, cut.min_encryption) == (2, 1)
    done = await case.keys.rotate(case.scope, expected=1)
    assert (done.newest, done.min_encryption) == (2, 2)


@pytest.mark.req("R4.1-7")
async def test_a_key_of_another_client_opens_under_no_context(bao: Bao, case: Case) -> None:
    """A runner's lease on another client's wrapped key: not under its own context, not under theirs, not without."""
    await case.keys.rotate(case.scope, expected=0)
    wrapped = await case.keys.wrap(Secret(DEK), case.context)
    mine = dataclasses.replace(case.context, client_id=ClientId(uuid.uuid4()))
    made = await case.as_client(mine.client_id).rotate(mine.scope, expected=0)

    async def login() -> tuple[BaoHttp, Secret, str]:
        return bao.http, await bao.lease(mine.client_id, "use", "profile"), "lease-1"

    runner = TransitKeys(login, HERE)
    assert await code_of(runner.unwrap(dataclasses.replace(wrapped, kek_id=made.kek_id), mine)) == "wrapped_key_broken"
    with pytest.raises(Denied, match="store_denied"):
        await runner.unwrap(wrapped, case.context)
    own = await case.as_client(mine.client_id).wrap(Secret(DEK), mine)
    for told in ({}, {"context": ""}):
        token, body = await bao.lease(mine.client_id, "use", "profile"), {"ciphertext": own.ciphertext, **told}
        with pytest.raises(Rejected, match="store_rejected"):
            await bao.http.request("POST", f"tenant/decrypt/{mine.scope.tenant_kek}", token=token, body=body)
    assert (await runner.unwrap(own, mine)).matches(DEK)


async def test_the_store_keeps_tenants_and_kinds_of_lease_apart(bao: Bao) -> None:
    """Another client's lease gets 403 from OpenBao itself; a use lease unwraps and does nothing else with the key."""
    case = transit_case(bao, a_context())
    await case.keys.rotate(case.scope, expected=0)
    wrapped = await case.keys.wrap(Secret(DEK), case.context)

    async def login(client: ClientId, kind: str, secret: str = "profile") -> tuple[BaoHttp, Secret, str]:
        return bao.http, await bao.lease(client, kind, secret), "lease-1"

    for kind in ("use", "custody"):
        strange = TransitKeys(lambda kind=kind: login(ClientId(uuid.uuid4()), kind), HERE)  # type: ignore[misc]
        undeclared = TransitKeys(lambda kind=kind: login(case.context.client_id, kind, "openai"), HERE)  # type: ignore[misc]
        for holder in (strange, undeclared):
            for act in (
                holder.unwrap(wrapped, case.context), holder.rewrap(wrapped, case.context),
                holder.wrap(Secret(DEK), case.context), holder.rotate(case.scope, expected=1),
                holder.versions(case.scope), holder.retire(case.scope, below=1),
            ):  # fmt: skip
                with pytest.raises(Denied, match="store_denied"):
                    await act
    using = TransitKeys(lambda: login(case.context.client_id, "use"), HERE)
    assert (await using.unwrap(wrapped, case.context)).matches(DEK)
    for act in (using.wrap(Secret(DEK), case.context), using.rewrap(wrapped, case.context), using.versions(case.scope)):
        with pytest.raises(Denied, match="store_denied"):
            await act


async def test_a_key_of_another_kind_is_not_made_and_not_used(bao: Bao) -> None:
    """Custody can not make a key that is not derived, or open one up; one that somebody opened up is foreign."""
    case = transit_case(bao, a_context())
    path = f"tenant/keys/{case.scope.tenant_kek}"
    lease = await bao.lease(case.context.client_id, "custody", "profile")
    kind: dict[str, object] = {"type": "aes256-gcm96", "derived": True}
    for body in (
        {}, {"derived": True}, {"type": "aes256-gcm96"}, kind | {"derived": False}, kind | {"type": "aes128-gcm96"},
        kind | {"exportable": True}, kind | {"allow_plaintext_backup": True}, kind | {"convergent_encryption": True},
    ):  # fmt: skip
        with pytest.raises(Denied, match="store_denied"):
            await bao.http.request("POST", path, token=lease, body=body)
    await case.keys.rotate(case.scope, expected=0)
    lease = await bao.lease(case.context.client_id, "custody", "profile")
    for opened in ("exportable", "allow_plaintext_backup", "deletion_allowed"):
        with pytest.raises(Denied, match="store_denied"):
            await bao.http.request(
                "POST", f"{path}/config", token=lease, body={opened: True, "min_encryption_version": 1}
            )
    root = await bao.root()
    await bao.http.request("POST", f"{path}/config", token=root, body={"deletion_allowed": True})
    await bao.retire(root)
    assert (await case.keys.versions(case.scope)).faults == (KekFault.FOREIGN,)
    with pytest.raises(Rejected, match="kek_foreign"):
        await case.keys.rotate(case.scope, expected=1)


async def test_the_page_lists_every_finding() -> None:
    """docs/key-providers.md says what to do about each state that OpenBao shows of a key."""
    page = (Path(__file__).parents[2] / "docs" / "key-providers.md").read_text("utf-8")
    assert set(KekFault) == set(re.findall(r"^\| `(kek_\w+)` \|", page, re.MULTILINE))
