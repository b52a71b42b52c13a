"""The OpenBao implementations against the suite that every backend has to pass, and what is theirs alone."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

import pytest

from byokeep.adapters.openbao.embedded import bring_up
from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.adapters.openbao.ports import SETTLE_S, BaoIntake, BaoScanKey, EntityCutoff, TransitSigner
from byokeep.core.errors import Denied, Unavailable
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretRef
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp, lease_login
from tests.support.openbao import Bao, lease_claims
from tests.support.store_suite import check_cutoff, check_intake, check_signer

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_intake(bao: Bao) -> None:
    """The suite for Intake."""
    await check_intake(BaoIntake(bao.web))


async def test_signer(bao: Bao) -> None:
    """The suite for Signer."""
    await check_signer(bao.signer)


async def test_cutoff(bao: Bao) -> None:
    """The suite for Cutoff."""

    async def enroll_jwt(client: uuid.UUID) -> str:
        return (await bao.jwt(client, "enroll")).reveal().decode()

    async def may_log_in(client: uuid.UUID) -> bool:
        try:
            await bao.lease(client, "use", "openai")
        except Denied:
            return False
        return True

    await check_cutoff(EntityCutoff(bao.broker), enroll_jwt, may_log_in)


async def test_a_disable_that_is_not_confirmed_everywhere_is_not_done(bao: Bao) -> None:
    """With a confirmation to wait for, its failure is the caller's failure, after the entity was cut off."""
    asked: list[tuple[str, bool]] = []

    async def confirm(entities: Sequence[str], disabled: bool) -> None:
        asked.extend((entity, disabled) for entity in entities)
        raise Unavailable("cutoff_unconfirmed")

    client = uuid.uuid4()
    entity = await bao.enroll(client)
    cutoff = EntityCutoff(bao.broker, confirm=confirm)
    with pytest.raises(Unavailable, match="cutoff_unconfirmed"):
        await cutoff.disable(entity)
    assert asked == [(entity, True)]
    with pytest.raises(Denied):
        await bao.lease(client, "use", "openai")


async def test_a_rotated_lease_key_settles_before_it_signs(bao: Bao) -> None:
    """After a rotation old claims sign to the same bytes, later claims use the new key; the old still log in."""
    client, now = uuid.uuid4(), int(time.time())
    claims = lease_claims(bao.desired, client, "use", ("openai",), iat=now - 5, nbf=now - 5, exp=now + 20)
    before = await bao.signer.sign_jwt(claims)
    root = await bao.root()
    await bao.http.request("POST", "transit/keys/leases/rotate", token=root, body={})
    await bao.retire(root)
    bao.server.root_live.write_bytes(b"")
    assert await bring_up(bao.server, bao.desired)  # tells the login method of the new key
    fresh = TransitSigner(bao.broker)
    assert await fresh.sign_jwt(claims) == before
    later = now + SETTLE_S + 30
    future = await fresh.sign_jwt(claims | {"iat": later, "exp": later + 3})
    assert future.split(".")[0] != before.split(".")[0]
    assert set(await fresh.public_keys("leases")) == {"1", "2"}
    still = await fresh.sign_jwt(lease_claims(bao.desired, client, "use", ("openai",)))
    assert still.split(".")[0] == before.split(".")[0]
    assert (await lease_login(bao.http, Secret(still), "use-openai")).reveal()


async def test_a_store_that_is_gone_is_unavailable_to_every_port(bao: Bao) -> None:
    """With nobody listening each port raises Unavailable and nothing else."""
    nowhere = AppRoleLogin(BaoHttp(f"unix://{bao.server.home}/none.sock"), bao.credentials / "web.approle")
    ref = SecretRef(ClientId(uuid.uuid4()), Provider.KIE)
    intake, signer, cutoff = BaoIntake(nowhere), TransitSigner(nowhere), EntityCutoff(nowhere)
    now = int(time.time())
    calls = (
        intake.put(ref, Secret("x"), cas=0),
        intake.current_version(ref),
        intake.live_versions(ref),
        intake.value_fingerprint(Secret("x")),
        BaoScanKey(nowhere).shown(),
        BaoScanKey(nowhere).digests(Secret("x")),
        signer.sign_jwt({"iat": now, "exp": now + 3}),
        signer.sign("evidence", b"x"),
        signer.public_keys("leases"),
        cutoff.enroll("a.b.c"),
        cutoff.disable(str(uuid.uuid4())),
        cutoff.enable(str(uuid.uuid4())),
    )
    for call in calls:
        with pytest.raises(Unavailable, match="store_unreachable"):
            await call
