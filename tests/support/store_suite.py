"""What every implementation of Intake, Signer and Cutoff must do; a backend's test calls these with its own objects."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Awaitable, Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from byokeep.core.errors import Conflict, Denied, Rejected, Unavailable
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretRef
from byokeep.core.secret import Secret
from byokeep.kernel.ports import Cutoff, Intake, Signer


async def check_intake(intake: Intake) -> None:
    """Versions count from one, conflicts leave them alone, fingerprints are keyed, stable and of the value alone."""
    ref = SecretRef(ClientId(uuid.uuid4()), Provider.ANTHROPIC)
    assert await intake.current_version(ref) == 0
    assert await intake.live_versions(ref) == []
    first = await intake.put(ref, Secret("one"), cas=0)
    second = await intake.put(ref, Secret("two"), cas=1)
    assert (first.version, second.version) == (1, 2)
    assert first.request_id
    assert first.request_id != second.request_id
    for stale in (0, 1, 3):
        with pytest.raises(Conflict) as conflict:
            await intake.put(ref, Secret("late"), cas=stale)
        assert conflict.value.code == "stale_version"
    with pytest.raises(Rejected):
        await intake.put(ref, Secret(b"\xff\x00"), cas=2)
    assert await intake.current_version(ref) == 2
    assert await intake.live_versions(ref) == [1, 2]
    racing = await asyncio.gather(*(intake.put(ref, Secret(f"v{n}"), cas=2) for n in range(8)), return_exceptions=True)
    assert sum(isinstance(outcome, Conflict) for outcome in racing) == 7
    marks = [await intake.value_fingerprint(Secret(text)) for text in ("one", "one", "two", "\xfc")]
    assert marks[0] == marks[1]
    assert len(set(marks)) == 3
    assert all(len(bytes.fromhex(mark)) == 32 for mark in marks)
    assert await intake.value_fingerprint(Secret(b"\xff\x00"))


async def check_signer(signer: Signer) -> None:
    """A JWT is the same for the same claims and true to its key; other purposes have other keys; limits hold."""
    now = int(time.time())
    claims = {"sub": "job", "iat": now, "exp": now + 3, "aud": "openbao", "secrets": ["x", "openai"], "name": "ключ"}
    token = await signer.sign_jwt(claims)
    assert token == await signer.sign_jwt(dict(reversed(claims.items())))
    header, payload, signature = (base64.urlsafe_b64decode(part + "==") for part in token.split("."))
    shown = json.loads(header)
    assert (shown["alg"], shown["typ"]) == ("EdDSA", "byokeep-lease+jwt")
    assert payload == json.dumps(claims, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    leases = await signer.public_keys("leases")
    signed = token.rpartition(".")[0].encode()
    Ed25519PublicKey.from_public_bytes(leases[shown["kid"]]).verify(signature, signed)
    assert token != await signer.sign_jwt(claims | {"sub": "other"})
    for bad in ({"exp": now + 31}, {"exp": now}, {"exp": None}, {"iat": "now"}):
        with pytest.raises(Rejected):
            await signer.sign_jwt(claims | bad)
    seen = set(leases.values())
    for purpose in ("checkpoints", "evidence"):
        raw, key_id = await signer.sign(purpose, b"message \x00")
        assert len(raw) == 64
        keys = await signer.public_keys(purpose)
        Ed25519PublicKey.from_public_bytes(keys[key_id]).verify(raw, b"message \x00")
        assert not seen & set(keys.values())
        seen |= set(keys.values())
    for purpose in ("leases", "fingerprints", "../leases", ""):
        with pytest.raises(Rejected):
            await signer.sign(purpose, b"message")


async def check_cutoff(
    cutoff: Cutoff,
    enroll_jwt: Callable[[uuid.UUID], Awaitable[str]],
    may_log_in: Callable[[uuid.UUID], Awaitable[bool]],
) -> None:
    """Enrolling twice gives one entity; disabling is at once, repeatable, of this client alone; enabling undoes it."""
    client, other = uuid.uuid4(), uuid.uuid4()
    entity = await cutoff.enroll(await enroll_jwt(client))
    assert entity == await cutoff.enroll(await enroll_jwt(client))
    assert entity != await cutoff.enroll(await enroll_jwt(other))
    assert await may_log_in(client)
    for _ in range(2):
        await cutoff.disable(entity)
        assert not await may_log_in(client)
    assert await may_log_in(other)
    with pytest.raises(Denied):
        await cutoff.enroll(await enroll_jwt(client))
    for _ in range(2):
        await cutoff.enable(entity)
        assert await may_log_in(client)
    with pytest.raises(Denied):
        await cutoff.enroll("not.a.token")
    with pytest.raises(Unavailable):
        await cutoff.disable(str(uuid.uuid4()))
    await cutoff.enable(str(uuid.uuid4()))  # there is nothing to let in
    for act in (cutoff.disable, cutoff.enable):
        for bad in ("", "*", "../x", str(uuid.uuid4()).upper(), entity + "/"):
            with pytest.raises(Rejected):
                await act(bad)
