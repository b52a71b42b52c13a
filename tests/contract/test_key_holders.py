"""What every holder of key-encryption keys promises: a real OpenBao, a real SoftHSM, an HTTP server of AWS KMS."""

from __future__ import annotations

import base64
import dataclasses
import uuid

import pytest

from byokeep.adapters.system import SystemClock
from byokeep.core.errors import Conflict, Denied, Integrity, Rejected, Unavailable
from byokeep.core.kek import KekFault, KeyProvider, Wrapped
from byokeep.core.model import ClientId, Environment
from byokeep.core.secret import Secret
from tests.support.key_holders import DEK, Case, a_context, aws_case, code_of, pkcs11_case, transit_case

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(params=["transit", "aws", "pkcs11"])
def case(request: pytest.FixtureRequest) -> Case:
    context = a_context()
    if request.param == "transit":
        return transit_case(request.getfixturevalue("bao"), context)
    if request.param == "aws":
        return aws_case(request.getfixturevalue("kms"), context)
    return pkcs11_case(request.getfixturevalue("token"), context)


async def test_a_dek_comes_back_as_it_was(case: Case) -> None:
    """Without a KEK nothing is wrapped; with one the DEK opens to the same bytes, under another text each time."""
    assert (await case.holder.versions(case.scope)).newest == 0
    assert await code_of(case.holder.wrap(Secret(DEK), case.context)) == "kek_missing"
    made = await case.holder.rotate(case.scope, expected=0)
    assert (made.newest, made.min_encryption, made.min_decryption, made.faults) == (1, 1, 1, ())
    assert made.versions[0].created_at is not None
    assert abs((made.versions[0].created_at - SystemClock().now()).total_seconds()) < 60
    first, second = [await case.holder.wrap(Secret(DEK), case.context) for _ in range(2)]
    assert first.ciphertext != second.ciphertext
    assert (first.holder.value, first.kek_version) == (case.name, 1)
    assert "development" in first.kek_id
    for wrapped in (first, second):
        assert (await case.holder.unwrap(wrapped, case.context)).matches(DEK)
        assert DEK not in base64.b64decode(wrapped.ciphertext.rpartition(":")[2])
    assert await case.holder.versions(case.scope) == made


async def test_another_profile_client_or_environment_opens_nothing(case: Case) -> None:
    """The context is bound: a wrapped key taken to another profile, client or environment is refused."""
    await case.holder.rotate(case.scope, expected=0)
    wrapped = await case.holder.wrap(Secret(DEK), case.context)
    other_profile = dataclasses.replace(case.context, profile_id=uuid.uuid4())
    for act in (case.holder.unwrap, case.holder.rewrap):
        assert await code_of(act(wrapped, other_profile)) == "wrapped_key_broken"
    neighbour = dataclasses.replace(case.context, client_id=ClientId(uuid.uuid4()))
    theirs = case.as_client(neighbour.client_id)
    if case.name != "aws":  # there one KEK serves all
        await theirs.rotate(neighbour.scope, expected=0)
    assert await code_of(theirs.unwrap(wrapped, neighbour)) == "wrapped_key_broken"
    renamed = dataclasses.replace(wrapped, kek_id=(await theirs.versions(neighbour.scope)).kek_id)
    assert await code_of(theirs.unwrap(renamed, neighbour)) == "wrapped_key_broken"


@pytest.mark.req("R2.3-1")
async def test_a_kek_is_of_one_environment(case: Case) -> None:
    """A record copied to another environment does not open there, told the truth or not; no id stands for two."""
    await case.holder.rotate(case.scope, expected=0)
    wrapped = await case.holder.wrap(Secret(DEK), case.context)
    elsewhere = case.of(Environment.PRODUCTION)
    moved = dataclasses.replace(case.context, environment=Environment.PRODUCTION)
    assert await code_of(elsewhere.unwrap(wrapped, case.context)) == "other_environment"
    assert await code_of(elsewhere.unwrap(wrapped, moved)) == "wrapped_key_broken"
    renamed = dataclasses.replace(wrapped, kek_id=wrapped.kek_id.replace("development", "production"))
    with pytest.raises((Denied, Integrity, Rejected)):
        await elsewhere.unwrap(renamed, moved)
    for act in (case.holder.wrap(Secret(DEK), moved), case.holder.rotate(moved.scope, expected=0)):
        assert await code_of(act) == "other_environment"


@pytest.mark.req("S-GCM-11")
async def test_a_changed_bit_opens_nothing_and_a_dek_has_one_length(case: Case) -> None:
    """Each flipped bit of the wrapped key is one Integrity code; a DEK that is not 256 bits is refused unwrapped."""
    await case.holder.rotate(case.scope, expected=0)
    for length in (0, 16, 31, 33, 64):
        assert await code_of(case.holder.wrap(Secret(bytes(length)), case.context)) == "bad_dek_length"
    wrapped = await case.holder.wrap(Secret(DEK), case.context)
    head, colon, text = wrapped.ciphertext.rpartition(":")
    raw = bytearray(base64.b64decode(text))
    # The simulated KMS opens its blob with the id of the key, in clear; the real one has no such part.
    first = 36 if case.name == "aws" else 0
    for place in {first, first + 5, first + 12, len(raw) // 2, len(raw) - 17, len(raw) - 1}:
        raw[place] ^= 0x10
        changed = dataclasses.replace(wrapped, ciphertext=head + colon + base64.b64encode(raw).decode())
        for act in (case.holder.unwrap, case.holder.rewrap):
            with pytest.raises(Integrity, match="wrapped_key_broken"):
                await act(changed, case.context)
        raw[place] ^= 0x10
    for cut in (raw[:-1], raw[: first + 20], bytes(raw) + b"\0"):
        changed = dataclasses.replace(wrapped, ciphertext=head + colon + base64.b64encode(cut).decode())
        with pytest.raises(Integrity, match="wrapped_key_broken"):
            await case.holder.unwrap(changed, case.context)
    assert (await case.holder.unwrap(wrapped, case.context)).matches(DEK)


async def test_rotation_moves_new_wraps_and_rewrapping_the_old(case: Case) -> None:
    """After a rotation new wraps are of the new version, old ones still open, and rewrapping changes no DEK."""
    await case.holder.rotate(case.scope, expected=0)
    old = await case.holder.wrap(Secret(DEK), case.context)
    turned = await case.holder.rotate(case.scope, expected=1)
    assert (turned.newest, turned.min_encryption, turned.min_decryption, turned.faults) == (2, 2, 1, ())
    assert [version.number for version in turned.versions] == [1, 2]
    assert (await case.holder.wrap(Secret(DEK), case.context)).kek_version == 2
    assert (await case.holder.unwrap(old, case.context)).matches(DEK)
    moved = await case.holder.rewrap(old, case.context)
    assert (moved.kek_version, moved.kek_id) == (2, old.kek_id)
    assert (await case.holder.unwrap(moved, case.context)).matches(DEK)
    # KMS says IncorrectKeyException; the simulated one says that access is denied.
    with pytest.raises(Denied if case.name == "aws" else Integrity):
        await case.holder.unwrap(dataclasses.replace(moved, kek_version=1), case.context)
    for stale in (0, 1, 3):
        with pytest.raises(Conflict, match="kek_version_moved"):
            await case.holder.rotate(case.scope, expected=stale)
    assert await case.holder.versions(case.scope) == turned


async def test_a_retired_version_opens_nothing(case: Case) -> None:
    """What was moved still opens, what was left behind does not; the newest is never retired; it is no alarm."""
    await case.holder.rotate(case.scope, expected=0)
    old = await case.holder.wrap(Secret(DEK), case.context)
    await case.holder.rotate(case.scope, expected=1)
    moved = await case.holder.rewrap(old, case.context)
    for bad in (0, 1, 3):
        assert await code_of(case.holder.retire(case.scope, below=bad)) == "bad_kek_version"
    closed = await case.holder.retire(case.scope, below=2)
    assert (closed.newest, closed.min_decryption, closed.faults) == (2, 2, ())
    assert [version.number for version in closed.versions] == [2]
    for act in (case.holder.unwrap, case.holder.rewrap):
        assert await code_of(act(old, case.context)) == "kek_disabled"
    assert (await case.holder.unwrap(moved, case.context)).matches(DEK)
    again = await case.holder.rotate(case.scope, expected=2)
    assert (again.newest, again.min_encryption, again.min_decryption, again.faults) == (3, 3, 2, ())


async def test_what_was_disabled_outside_is_found(case: Case) -> None:
    """A key that somebody switched off stands in the status as a fault, protects nothing and opens nothing."""
    await case.holder.rotate(case.scope, expected=0)
    wrapped = await case.holder.wrap(Secret(DEK), case.context)
    await case.disable()
    assert (await case.holder.versions(case.scope)).faults == (KekFault.DISABLED,)
    for act in (case.holder.wrap(Secret(DEK), case.context), case.holder.unwrap(wrapped, case.context)):
        assert await code_of(act) == "kek_disabled"
    assert await code_of(case.holder.rotate(case.scope, expected=1)) == "kek_disabled"


async def test_what_was_deleted_outside_is_found(case: Case) -> None:
    """A key that was deleted, or is waiting for it, is named; what it wrapped does not open."""
    await case.holder.rotate(case.scope, expected=0)
    old = await case.holder.wrap(Secret(DEK), case.context)
    if case.name == "pkcs11":
        await case.holder.rotate(case.scope, expected=1)
    await case.delete()
    found = await case.holder.versions(case.scope)
    # A Transit key goes with all its versions: then there is no KEK, which who keeps its records knows to be wrong.
    assert found.faults == (() if case.name == "transit" else (case.deleted,))
    assert found.newest == {"transit": 0, "aws": 1, "pkcs11": 2}[case.name]
    assert await code_of(case.holder.unwrap(old, case.context)) == case.deleted.value


async def test_a_holder_that_is_down_is_unavailable(case: Case) -> None:
    """Every call to a holder that does not answer is Unavailable: never an empty status, never a broken key."""
    await case.holder.rotate(case.scope, expected=0)
    wrapped = await case.holder.wrap(Secret(DEK), case.context)
    for act in (
        case.down.wrap(Secret(DEK), case.context), case.down.unwrap(wrapped, case.context),
        case.down.rewrap(wrapped, case.context), case.down.versions(case.scope),
        case.down.rotate(case.scope, expected=1), case.down.retire(case.scope, below=2),
    ):  # fmt: skip
        with pytest.raises(Unavailable):
            await act
    assert (await case.holder.unwrap(wrapped, case.context)).matches(DEK)


async def test_what_another_holder_wrapped_is_not_tried(case: Case) -> None:
    """A record of another holder is a conflict of settings, not a broken key."""
    text = "vault:v1:" + base64.b64encode(bytes(60)).decode()
    other = KeyProvider.AWS if case.name != "aws" else KeyProvider.TRANSIT
    wrapped = Wrapped(holder=other, kek_id=case.scope.tenant_kek, kek_version=1, ciphertext=text)
    with pytest.raises(Conflict, match="kek_of_another_holder"):
        await case.holder.unwrap(wrapped, case.context)
