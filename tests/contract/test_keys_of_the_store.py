"""Keys inside OpenBao: each is for one thing, and what was ended stays so when the store starts again."""

from __future__ import annotations

import base64
import dataclasses
import shutil
import uuid

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from byokeep.adapters.openbao.provisioning import Desired
from byokeep.core.errors import Rejected
from byokeep.core.kek import Wrapped
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import destroy_versions, live_versions, read_secret, write_secret
from tests.support.key_provider import DEK, a_context, code_of, transit_case
from tests.support.openbao import Bao, running_openbao
from tests.support.postgres import short_home

pytestmark = pytest.mark.asyncio(loop_scope="session")
CHECKPOINT = b"byokeep/checkpoint\n1\nroot\n"


@pytest.mark.req("S-NIST-10")
async def test_a_key_is_for_one_thing(bao: Bao) -> None:
    """A key of leases signs no checkpoint, signing keys wrap nothing, a KEK takes no data, a DEK is no KEK."""
    with pytest.raises(Rejected, match="unknown_key_purpose"):
        await bao.signer.sign("leases", CHECKPOINT)
    with pytest.raises(Rejected, match="unknown_key_purpose"):
        await bao.signer.sign("fingerprints", CHECKPOINT)
    signature, number = await bao.signer.sign("checkpoints", CHECKPOINT)
    keys = {name: await bao.signer.public_keys(name) for name in ("leases", "checkpoints", "evidence")}
    Ed25519PublicKey.from_public_bytes(keys["checkpoints"][number]).verify(signature, CHECKPOINT)
    for name in ("leases", "evidence"):
        for raw in keys[name].values():
            with pytest.raises(InvalidSignature):
                Ed25519PublicKey.from_public_bytes(raw).verify(signature, CHECKPOINT)
    text = base64.b64encode(DEK).decode()
    broker, web = await bao.broker.token(), await bao.web.token()
    for token in (broker, web):
        for key in ("leases", "checkpoints", "evidence", "fingerprints"):
            for act in ("encrypt", "datakey/plaintext", "rewrap"):
                status, _ = await bao.raw("POST", f"transit/{act}/{key}", token, json={"plaintext": text})
                assert status == 403, (act, key)
    case = transit_case(bao, a_context())
    await case.keys.rotate(case.scope, expected=0)
    for size in (0, 16, 31, 33, 4096):
        assert await code_of(case.keys.wrap(Secret(bytes(size)), case.context)) == "bad_dek_length", size
    for act in ("sign", "hmac", "datakey/plaintext"):
        lease = await bao.lease(case.context.client_id, "custody", "profile")
        status, _ = await bao.raw("POST", f"tenant/{act}/{case.scope.tenant_kek}", lease, json={"input": text})
        assert status == 403, act
    wrapped = await case.keys.wrap(Secret(DEK), case.context)
    by_a_dek = dataclasses.replace(wrapped, kek_id=str(uuid.uuid4()))
    assert await code_of(case.keys.unwrap(by_a_dek, case.context)) == "wrapped_key_broken"
    assert (await case.keys.unwrap(wrapped, case.context)).matches(DEK)


@pytest.mark.req("R2.3-6")
async def test_what_was_ended_stays_so_when_the_store_starts_again() -> None:
    """An ended version and a destroyed record open nothing, before and after a restart; the rest does."""
    home, desired, context = short_home(), Desired(installation_id=uuid.uuid4()), a_context()
    path = f"kv/clients/{context.client_id}/profiles/{context.profile_id}"
    try:
        async with running_openbao(home, desired=desired) as bao:
            case = transit_case(bao, context)
            await bao.enroll(context.client_id)
            await case.keys.rotate(case.scope, expected=0)
            old = await case.keys.wrap(Secret(DEK), context)
            await case.keys.rotate(case.scope, expected=1)
            kept = await case.keys.rewrap(old, context)
            for cas, text in enumerate((old.ciphertext, kept.ciphertext)):
                lease = await bao.lease(context.client_id, "custody", "profile")
                await write_secret(bao.http, lease, path, Secret(text), cas=cas)
            await case.keys.retire(case.scope, below=2)
            lease = await bao.lease(context.client_id, "custody", "profile")
            await destroy_versions(bao.http, lease, path, [1])
            await _ended(bao, old, kept, path)
        async with running_openbao(home, desired=desired) as bao:
            await _ended(bao, old, kept, path)
            versions = await transit_case(bao, context).keys.versions(context.scope)
            assert (versions.newest, versions.versions[0].number) == (2, 2)
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _ended(bao: Bao, old: Wrapped, kept: Wrapped, path: str) -> None:
    client, profile = (uuid.UUID(path.split("/")[at]) for at in (2, 4))
    context = dataclasses.replace(a_context(), client_id=client, profile_id=profile)
    case = transit_case(bao, context)
    assert old.holder == "transit"
    assert await code_of(case.keys.unwrap(old, context)) == "kek_disabled"
    assert (await case.keys.unwrap(kept, context)).matches(DEK)
    lease = await bao.lease(client, "custody", "profile")
    assert (await live_versions(bao.http, lease, path))[1] == [2]
    assert await code_of(read_secret(bao.http, lease, path, 1, "lease-1")) == "secret_version_gone"
    assert (await read_secret(bao.http, lease, path, 2, "lease-1")).matches(kept.ciphertext.encode())
