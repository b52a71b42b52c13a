"""Logging in with a lease at the real server: what is accepted and refused, how long it lasts, how it is cut off."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from byokeep.adapters.openbao import provisioning
from byokeep.adapters.openbao.embedded import bring_up
from byokeep.adapters.openbao.ports import EntityCutoff, TransitSigner
from byokeep.adapters.openbao.provisioning import provision, rotate_leases, rotate_signing_keys
from byokeep.core.errors import Denied, Rejected
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import lease_login, read_secret
from tests.support.openbao import Bao, running_openbao

pytestmark = pytest.mark.asyncio(loop_scope="session")
HEADER = {"alg": "EdDSA", "kid": "1", "typ": "byokeep-lease+jwt"}


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return ".".join(_b64(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))


async def _signed(bao: Bao, header: dict[str, Any], claims: dict[str, Any], *, version: int = 0) -> str:
    """Signed by the true key, its newest version or another, through the broker's own right, without our checks."""
    text = _unsigned(header, claims)
    body = {"input": base64.b64encode(text.encode()).decode(), "key_version": version}
    reply = await bao.broker.request("POST", "transit/sign/leases", body=body)
    return f"{text}.{_b64(base64.b64decode(reply.data['signature'].rpartition(':')[2]))}"


async def _refused(bao: Bao, jwt: str, role: str = "use-openai") -> None:
    with pytest.raises(Denied) as refused:
        await lease_login(bao.http, Secret(jwt), role)
    assert refused.value.code == "lease_refused"


async def _accepted(bao: Bao, jwt: str, role: str = "use-openai") -> Secret:
    return await lease_login(bao.http, Secret(jwt), role)


async def _taken(bao: Bao) -> dict[str, Any]:
    """What the store is told to take for a lease."""
    root = await bao.root()
    try:
        return dict((await bao.http.request("GET", "auth/lease/config", token=root)).data)
    finally:
        await bao.retire(root)


@pytest.mark.req("S-JWT-1")
async def test_only_the_one_algorithm_is_taken(bao: Bao) -> None:
    """`none` in every case, HMAC with the public key, another algorithm's name: refused; the true one is taken."""
    claims = bao.claims(uuid.uuid4(), "use", ("openai",))
    await _accepted(bao, await _signed(bao, HEADER, claims))
    for none in ("none", "None", "NoNe", "NONE", ""):
        for signature in ("", _b64(bytes(64))):
            await _refused(bao, f"{_unsigned(HEADER | {'alg': none}, claims)}.{signature}")
    public = Ed25519PublicKey.from_public_bytes((await bao.signer.public_keys("leases"))["1"])
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for key in (pem, pem.strip(), public.public_bytes_raw(), _b64(public.public_bytes_raw()).encode()):
        for name, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
            text = _unsigned(HEADER | {"alg": name}, claims)
            await _refused(bao, f"{text}.{_b64(hmac.digest(key, text.encode(), digest))}")
    for name in ("HS256", "RS256", "ES256", "PS256", "eddsa", "Ed448"):
        await _refused(bao, await _signed(bao, HEADER | {"alg": name}, claims))
    assert (await _taken(bao))["jwt_supported_algs"] == ["EdDSA"]


@pytest.mark.req("S-JWT-2")
async def test_issuer_audience_and_subject_of_this_installation_only(bao: Bao) -> None:
    """Another installation's issuer, another audience, a subject that is not the job, a missing one: refused; what is
    accepted reads nothing of another client."""
    client = uuid.uuid4()
    for changed in (
        {"iss": f"byokeep/{uuid.uuid4()}"},
        {"iss": bao.desired.issuer + "/"},
        {"iss": bao.desired.issuer.upper()},
        {"iss": None},
        {"aud": "evidence"},
        {"aud": ["evidence"]},
        {"aud": None},
        {"sub": str(uuid.uuid4())},
        {"sub": None},
        {"sub": 7, "job_id": "7"},
        {"job_id": None},
        {"sub": None, "job_id": None},
        {"client_id": None},
        {"client_id": 7},
    ):
        await _refused(bao, (await bao.jwt(client, "use", "openai", **changed)).reveal().decode())
    for whose in (client, other := uuid.uuid4()):
        body = {"options": {"cas": 0}, "data": {"value": "v"}}
        await bao.web.request("POST", f"kv/data/clients/{whose}/providers/openai", body=body)
    token = await _accepted(bao, (await bao.jwt(client, "use", "openai")).reveal().decode())
    await read_secret(bao.http, token, f"kv/clients/{client}/providers/openai", 1, "lease")
    with pytest.raises(Denied, match="store_denied"):
        await read_secret(bao.http, token, f"kv/clients/{other}/providers/openai", 1, "lease")


@pytest.mark.req("S-JWT-3")
async def test_key_hints_in_the_header_are_data(bao: Bao) -> None:
    """A kid of paths or SQL, an own key in the header, a key URL: refused without a true signature, never fetched."""
    called = 0

    async def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal called
        called += 1
        writer.close()

    listener = await asyncio.start_server(count, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/keys"
    thief = Ed25519PrivateKey.generate()
    own = {"kty": "OKP", "crv": "Ed25519", "x": _b64(thief.public_key().public_bytes_raw())}
    claims = bao.claims(uuid.uuid4(), "use", ("openai",))
    async with listener:
        for hint in (
            {"kid": "../../dev/null"},
            {"kid": "1' OR '1'='1"},
            {"kid": "1\x00"},
            {"jwk": own},
            {"jku": url},
            {"x5u": url},
            {"x5c": ["AAAA"]},
            {"jku": url, "jwk": own, "kid": "2"},
        ):
            text = _unsigned(HEADER | hint, claims)
            await _refused(bao, f"{text}.{_b64(thief.sign(text.encode()))}")
            await _refused(bao, f"{text}.{_b64(bytes(64))}")
        await asyncio.sleep(0.1)
    assert called == 0
    said = await _taken(bao)  # keys are given to the store: it fetches none
    assert said["jwt_validation_pubkeys"]
    assert not [name for name in ("jwks_url", "oidc_discovery_url") if said.get(name)]


async def test_edited_claims_and_foreign_signatures_are_refused(bao: Bao) -> None:
    """Any changed claim, a signature of another token or key, a cut or doubled token: refused."""
    client = uuid.uuid4()
    claims = bao.claims(client, "use", ("openai",))
    token = await _signed(bao, HEADER, claims)
    header, payload, signature = token.split(".")
    for changed in ({"client_id": str(uuid.uuid4())}, {"secrets": ["openai", "kie"]}, {"exp": claims["exp"] + 1}):
        edited = _unsigned(HEADER, claims | changed)
        await _refused(bao, f"{edited}.{signature}")
    other = await _signed(bao, HEADER, bao.claims(client, "custody", ("openai",)))
    text = f"{header}.{payload}"
    for forged in (
        f"{text}.{other.rpartition('.')[2]}",
        f"{text}.{_b64(Ed25519PrivateKey.generate().sign(text.encode()))}",
        f"{text}.",
        text,
        f"{text}.{signature[:-4]}",
        f"{text}.{signature}.{signature}",
        f"{payload}.{header}.{signature}",
        "",
    ):
        await _refused(bao, forged)
    await _accepted(bao, token)


async def test_a_lease_opens_its_own_kind_and_secret_alone(bao: Bao) -> None:
    """Use on custody roles, custody on use roles, another secret's role, enroll on any: refused, and the reverse."""
    client = uuid.uuid4()
    for kind, other in (("use", "custody"), ("custody", "use")):
        jwt = (await bao.jwt(client, kind, "openai")).reveal().decode()
        await _accepted(bao, jwt, f"{kind}-openai")
        for role in (f"{other}-openai", f"{kind}-kie", "enroll", f"{kind}-openai ", "", "use-*"):
            await _refused(bao, jwt, role)
    enroll = (await bao.jwt(client, "enroll", "openai")).reveal().decode()
    for role in ("use-openai", "custody-openai"):
        await _refused(bao, enroll, role)


@pytest.mark.req("S-JWT-7")
async def test_times_have_no_leeway_and_cutting_off_comes_before_expiry(bao: Bao) -> None:
    """Expired, missing exp, from the future: refused to the second; a cut-off client's valid token too."""
    client, now = uuid.uuid4(), int(time.time())
    for changed in ({"exp": now}, {"exp": now - 1}, {"exp": None}, {"nbf": now + 2}, {"iat": now + 2}, {"exp": "soon"}):
        await _refused(bao, await _signed(bao, HEADER, bao.claims(client, "use", ("openai",), **changed)))
    for changed in ({"exp": None}, {"exp": now + 60}, {"exp": now - 1}, {"iat": None}, {"iat": 1.5}):
        with pytest.raises(Rejected, match="bad_claims"):
            await bao.jwt(client, "use", "openai", **changed)
    entity = await bao.enroll(client)
    jwt = (await bao.jwt(client, "use", "openai", exp=int(time.time()) + 5)).reveal().decode()
    await _accepted(bao, jwt)
    cutoff = EntityCutoff(bao.broker)
    await cutoff.disable(entity)
    await _refused(bao, jwt)
    await cutoff.enable(entity)
    await _accepted(bao, jwt)


@pytest.mark.req("R4.1-2")
async def test_the_store_takes_no_login_token_older_than_seconds(bao: Bao) -> None:
    """However far off its end, a token that is not fresh is refused by each role: the signer cannot make it last."""
    client, now = uuid.uuid4(), int(time.time())
    roles = (("use-openai", "use", "openai"), ("custody-x", "custody", "x"), ("enroll", "enroll", ""))
    for role, kind, secret in roles:
        for iat, exp in ((now, now + 315_360_000), (now, now + 6), (now - 6, now + 60), (now - 6, now - 1), (0, 2**40),
                         (now + 60, now + 63), (now + 2**40, now + 2**40 + 3), (-(2**40), now + 1)):  # fmt: skip
            claims = bao.claims(client, kind, (secret,), iat=iat, nbf=min(iat, now), exp=exp)
            await _refused(bao, await _signed(bao, HEADER, claims), role)
        for gone in ("iat", "exp"):
            await _refused(bao, await _signed(bao, HEADER, bao.claims(client, kind, (secret,), **{gone: None})), role)
        await _accepted(bao, await _signed(bao, HEADER, bao.claims(client, kind, (secret,))), role)
    for plain in ("use-openai", "enroll"):  # the method's other door has no role
        jwt = await _signed(bao, HEADER, bao.claims(client, "use", ("openai",)))
        status, _ = await bao.raw("POST", "auth/lease/login", json={"role": plain, "jwt": jwt})
        assert status == 400


@pytest.mark.req("R4.1-2")
async def test_after_a_rotation_nothing_signed_before_counts(tmp_path: Path) -> None:
    """Also a token for a time to come, and also after the next set-up; old claims are signed as ever."""
    async with running_openbao(tmp_path) as bao:
        client, now = uuid.uuid4(), int(time.time())
        claims = bao.claims(client, "use", ("openai",))
        kept = [await _signed(bao, HEADER, bao.claims(client, "use", ("openai",), iat=at, nbf=at, exp=at + 3))
                for at in range(now, now + 20)]  # fmt: skip
        await _accepted(bao, kept[int(time.time()) - now])
        before = await bao.signer.sign_jwt(claims)
        root = await bao.root()
        try:
            assert await rotate_leases(bao.http, root) == 2
            bound = (await bao.http.request("GET", "auth/lease/config", token=root)).data
            assert (bound["bound_issuer"], bound["jwt_supported_algs"]) == (bao.desired.issuer, ["EdDSA"])
            for _ in range(2):
                await _refused(bao, kept[int(time.time()) - now])
                new = await _signed(bao, HEADER | {"kid": "2"}, bao.claims(client, "use", ("openai",)))
                await _accepted(bao, new)
                await provision(bao.http, root, bao.desired, credentials_dir=bao.credentials)
            assert await TransitSigner(bao.broker).sign_jwt(claims) == before
        finally:
            await bao.retire(root)
        assert not await bring_up(bao.server, bao.desired)


async def test_a_token_outlives_nothing(bao: Bao) -> None:
    """With nobody cleaning up, a lease's JWT dies at `exp` and its token within two seconds of the last login."""
    client = uuid.uuid4()
    entity = await bao.enroll(client)
    assert entity
    await bao.web.request(
        "POST",
        f"kv/data/clients/{client}/providers/openai",
        body={"options": {"cas": 0}, "data": {"value": "v"}},
    )
    while time.time() % 1 > 0.1:
        await asyncio.sleep(0.01)
    claims = bao.claims(client, "use", ("openai",))
    jwt, exp = await bao.signer.sign_jwt(claims), claims["exp"]
    last_login = last_read = 0.0
    token = await _accepted(bao, jwt)
    while True:
        before = time.time()
        try:
            token = await _accepted(bao, jwt)
            last_login = before
        except Denied:
            break
        await asyncio.sleep(0.02)
    assert claims["iat"] - 1 < last_login < exp + 0.05
    while True:
        before = time.time()
        try:
            await read_secret(bao.http, token, f"kv/clients/{client}/providers/openai", 1, "lease")
            last_read = before
        except Denied:
            break
        await asyncio.sleep(0.02)
    assert last_read < claims["iat"] + 5


async def test_cutting_off_holds_at_once_and_can_be_undone(bao: Bao) -> None:
    """A disabled entity's live token is refused from the next request on, logins too; another client is untouched."""
    client, bystander = uuid.uuid4(), uuid.uuid4()
    for one in (client, bystander):
        body = {"options": {"cas": 0}, "data": {"value": "v"}}
        await bao.web.request("POST", f"kv/data/clients/{one}/providers/openai", body=body)
    entity = await bao.enroll(client)
    cutoff = EntityCutoff(bao.broker)
    path = f"kv/clients/{client}/providers/openai"
    for _ in range(5):
        live = [await bao.lease(client, kind, "openai") for kind in ("use", "custody")]
        other = await bao.lease(bystander, "use", "openai")
        for token in live:
            await read_secret(bao.http, token, path, 1, "lease")
        await cutoff.disable(entity)
        for token in live:
            with pytest.raises(Denied, match="store_denied"):
                await read_secret(bao.http, token, path, 1, "lease")
        with pytest.raises(Denied, match="lease_refused"):
            await bao.lease(client, "use", "openai")
        await read_secret(bao.http, other, f"kv/clients/{bystander}/providers/openai", 1, "lease")
        await cutoff.enable(entity)
        await read_secret(bao.http, await bao.lease(client, "use", "openai"), path, 1, "lease")


async def test_a_login_writes_nothing(bao: Bao) -> None:
    """A client's second login and its reads add no entry to the raft log."""
    client = uuid.uuid4()
    await bao.enroll(client)
    root = await bao.root()
    try:
        grown = []
        for _ in range(3):  # others write now and then; twenty logins that wrote would add twenty each time
            before = await _applied(bao, root)
            for _ in range(20):
                await bao.lease(client, "use", "openai")
            grown.append(await _applied(bao, root) - before)
        assert min(grown) <= 1, grown
    finally:
        await bao.retire(root)


async def _applied(bao: Bao, root: Secret) -> int:
    reply = await bao.http.request("GET", "sys/storage/raft/autopilot/state", token=root)
    return int(reply.data["servers"]["embedded"]["last_index"])


@pytest.mark.req("R2.2-2")
async def test_a_planned_rotation_refuses_nothing_that_was_signed(tmp_path: Path) -> None:
    """The key in use and the next one are both believed, also when it is done twice in a row; an older one is not."""
    async with running_openbao(tmp_path) as bao:
        client, root = uuid.uuid4(), await bao.root()
        old = TransitSigner(bao.broker)
        key_ids = {name: set(await old.public_keys(name)) for name in ("leases", "checkpoints", "evidence")}

        async def by(kid: str) -> str:
            claims = bao.claims(client, "use", ("openai",))
            return await _signed(bao, HEADER | {"kid": kid}, claims, version=int(kid))

        try:
            assert await rotate_signing_keys(bao.http, root, public=True) == 3
            assert await rotate_signing_keys(bao.http, root, public=False) == 1
            bound = (await bao.http.request("GET", "auth/lease/config", token=root)).data
            assert bound["bound_issuer"] == bao.desired.issuer
            signed = await old.sign_jwt(bao.claims(client, "use", ("openai",)))
            assert json.loads(base64.urlsafe_b64decode(signed.partition(".")[0] + "=="))["kid"] == "1"
            await _accepted(bao, signed)
            for kid in ("1", "2", "3"):
                await _accepted(bao, await by(kid))
            later = TransitSigner(bao.broker)
            assert {name: set(await later.public_keys(name)) - kids for name, kids in key_ids.items()} == {
                "leases": {"2", "3"}, "checkpoints": {"2"}, "evidence": {"2"},
            }  # fmt: skip
            monkey = provisioning.SETTLE_S
            provisioning.SETTLE_S = 0  # type: ignore[misc]
            try:
                assert await rotate_signing_keys(bao.http, root, public=False) == 1
            finally:
                provisioning.SETTLE_S = monkey  # type: ignore[misc]
            await _refused(bao, await by("2"))
            await _accepted(bao, await by("4"))
        finally:
            await bao.retire(root)
