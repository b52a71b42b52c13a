"""Forged, stale and misdirected answers of an OpenID provider, over HTTP: each is refused, and says by which claim."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OctKey, RSAKey

from byokeep.adapters.openid import SKEW_S
from byokeep.adapters.system import SystemClock
from byokeep.core.errors import ByokeepError, Rejected, Unavailable
from byokeep.processes.wiring import limits
from byokeep.processes.wiring import sso as wired
from byokeep.settings import load
from byokeep.tenancy.sso import REDIRECT
from byokeep.wire.transport import Outbound
from tests.support.openid import CLIENT, SECRET, Provider, elliptic, ours, provider, set_of

BACK = "http://localhost:8420/console/sso"
NONCE, VERIFIER = "n" * 43, "v" * 43


@pytest.fixture
async def there() -> AsyncIterator[Provider]:
    async with provider(BACK) as made:
        yield made


async def sign_in(
    there: Provider, groups: object = ("operators",), verifier: str = VERIFIER, issuer: str | None = None,
    asked_at: int | None = None, **more: str,
) -> tuple[bytes, frozenset[str]]:  # fmt: skip
    async with Outbound() as http:
        check = ours(http, there.base, BACK, **more)
        came = there.let_in(await check.address("s" * 43, NONCE, VERIFIER), groups=groups)
        at = int(time.time()) if asked_at is None else asked_at
        return await check.person(NONCE, verifier, at, came["code"], there.base if issuer is None else issuer)


def text_of(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


async def refused(there: Provider, **how: Any) -> str:
    with pytest.raises(ByokeepError) as caught:
        await sign_in(there, **how)
    assert caught.value.next_step
    return str(caught.value.fields.get("claim", caught.value.code))


async def test_who_signed_in_is_known_by_issuer_and_subject_and_brings_groups(there: Provider) -> None:
    """Two of one mail are two; a subject is one whatever its groups; keys are read at each sign-in."""
    there.claims = {"email": "ann@agency.example"}
    first = await sign_in(there, groups=["operators", "staff"])
    assert first[1] == {"operators", "staff"}
    assert await sign_in(there, groups="staff") == (first[0], frozenset({"staff"}))
    there.claims = {"sub": "bob", "email": "ann@agency.example"}
    assert (await sign_in(there))[0] != first[0]
    there.own = elliptic()
    there.headers = {"alg": "ES256"}
    assert await sign_in(there)
    for methods in (None, ["client_secret_post"]):
        there.metadata = {"token_endpoint_auth_methods_supported": methods}
        assert await sign_in(there)


def wrong(now: int) -> dict[str, list[tuple[str, Any]]]:
    """What must not be said, by the claim that is named then."""
    return {
        "iss": [("iss", "https://other.example"), ("iss", None)],
        "sub": [("sub", None), ("sub", ""), ("sub", 7), ("sub", "a\nb"), ("sub", "a" * 256)],
        "aud": [("aud", None), ("aud", "another"), ("aud", [CLIENT, "another"]), ("aud", [])],
        "azp": [("azp", "another")],
        "exp": [("exp", now - 120), ("exp", None), ("exp", True), ("exp", "9999999999")],
        "nbf": [("nbf", now + 600)],
        "iat": [("iat", now - 600), ("iat", now + 600), ("iat", None)],
        "nonce": [("nonce", None), ("nonce", "m" * 43), ("nonce", 7)],
        "auth_time": [("auth_time", it) for it in (None, now - 3600, now + 3600, str(now))],
        "sso_groups_missing": [("groups", it) for it in (None, {"operators": True}, [7], ["a"] * 2001)],
    }


@pytest.mark.parametrize("claim", wrong(0))
async def test_a_claim_that_does_not_hold_is_named_and_refused(there: Provider, claim: str) -> None:
    """One wrong claim at a time, all else right; the last sign-in, with none wrong, works."""
    for name, value in wrong(int(time.time()))[claim]:
        there.claims = {name: value}
        assert await refused(there) == claim, (name, value)
    there.claims = {}
    assert await sign_in(there)


def wrong_logouts(there: Provider) -> list[tuple[str, dict[str, Any]]]:
    now, event = int(time.time()), "http://schemas.openid.net/event/backchannel-logout"
    return [
        ("iss", {"iss": "https://other.example"}), ("aud", {"aud": "another"}), ("aud", {"aud": [CLIENT, "another"]}),
        ("sub", {"sub": None}), ("sub", {"sub": ["ann"]}), ("azp", {"azp": "another"}),
        ("exp", {"exp": now - 120}), ("exp", {"exp": None}), ("nbf", {"nbf": now + 600}),
        ("iat", {"iat": now - 300}), ("iat", {"iat": now + 300}), ("iat", {"iat": None}), ("iat", {"iat": str(now)}),
        ("jti", {"jti": None}), ("jti", {"jti": ""}), ("jti", {"jti": 7}), ("jti", {"jti": "j" * 256}),
        ("events", {"events": None}), ("events", {"events": {}}), ("events", {"events": [event]}),
        ("events", {"events": {event: "yes"}}), ("events", {"events": {event + "2": {}}}),
        ("nonce", {"nonce": NONCE}), ("nonce", {"nonce": ""}),
    ]  # fmt: skip


async def test_a_logout_token_is_held_against_every_claim_and_no_id_token_is_one(there: Provider) -> None:
    """One wrong claim at a time; another key, none, no token; with none wrong it says whom a sign-in was of."""
    signed_in, _ = await sign_in(there)
    async with Outbound() as http:
        check = ours(http, there.base, BACK)

        async def why(token: str) -> str:
            with pytest.raises(Rejected, match="sso_answer_refused") as caught:
                await check.logged_out(token)
            return str(caught.value.fields["claim"])

        asked = len(there.calls)
        for claim, other in wrong_logouts(there):
            assert await why(there.logout(**other)) == claim, other
        assert await why(there.token(NONCE, {"sub": "ann"})) in ("jti", "events", "nonce")
        header, body, signature = there.logout().split(".")
        claims = json.loads(base64.urlsafe_b64decode(body + "=="))
        heads = [text_of(head) for head in ({"alg": "none"}, {"alg": "HS256"}, {"alg": ["RS256"]}, {}, [], 5, None)]
        heads += ["", "x", "_w", base64.urlsafe_b64encode(b"[" * 300).decode()]
        junk = ["", "x", "." * 16_000, f"{header}.{body}", f"{header}.{body}.{signature}.a.b", "\ud800.a.b"]
        junk += [f"{header}.{part}.{signature}" for part in ("", "x", "_w", text_of([]), text_of(claims)[:-9])]
        for token in junk + [f"{head}.{body}.{signature}" for head in heads]:
            assert await why(token) == "signature", token[:60]
        assert len(there.calls) == asked  # none of these is worth a question
        assert await why(f"{header}.{text_of(claims | {'sub': 'root'})}.{signature}") == "signature"
        assert len(there.calls) == asked + 2
        there.key = RSAKey.generate_key(2048, {"kid": "one"})
        assert await why(there.logout()) == "signature"
        there.key = None
        now = int(time.time())
        at = datetime.fromtimestamp(now - 30 + SKEW_S, UTC)
        assert await check.logged_out(there.logout(iat=now - 30)) == (signed_in, at)
        assert (await check.logged_out(there.logout("bob")))[0] != signed_in
        there.down = True
        with pytest.raises(Unavailable, match="sso_unreachable"):
            await check.logged_out(there.logout())


@pytest.mark.req("S-JWT-1", "S-JWT-3")
async def test_a_signature_that_is_not_of_a_key_of_the_provider_is_refused(there: Provider) -> None:
    """No algorithm, a public key as a shared secret, one not allowed; another key, an unknown, a short one, none."""
    thief = elliptic()
    brought = {"jwk": thief.as_dict(private=False), "jku": f"{there.base}/thief", "x5u": f"{there.base}/thief"}
    brought["alg"] = "ES256"
    for headers, key in (
        (brought, thief),
        (brought | {"kid": "../../dev/null"}, thief),
        ({"alg": "RS512"}, there.own),
        ({}, RSAKey.generate_key(2048, {"kid": "one"})),
        ({"kid": "two"}, RSAKey.generate_key(2048, {"kid": "two"})),
    ):
        there.headers, there.key = dict(headers), key
        before = len(there.calls)
        assert await refused(there) == "signature", headers
        assert there.calls[before:].count("/keys") == 1  # an unknown key asks for no more of them
        assert "/thief" not in there.calls
    there.headers, there.key = {}, None
    with pytest.warns(Warning, match="Key size"):
        short = RSAKey.generate_key(1024, {"kid": "one"})
    octet = OctKey.generate_key(256, {"kid": "one"})
    for_encryption = there.own.as_dict(private=False) | {"use": "enc"}
    there.key = short
    there.published = set_of(short)
    assert await refused(there) in ("signature", "keys")
    there.headers, there.key, there.published = {"alg": "HS256"}, octet, {"keys": [octet.as_dict()]}
    assert await refused(there) in ("signature", "keys")
    there.headers, there.key = {}, None
    for published in ({"keys": [for_encryption]}, {"keys": []}, {"keys": "none"}, {"keys": [7]}):
        there.published = published
        assert await refused(there) in ("signature", "keys"), published
    there.published = {"keys": [
        {"kty": "EC", "kid": "three", "crv": "brainpoolP256r1", "x": "AA", "y": "AA"}, {"kty": "EC"},
        there.own.as_dict(private=False) | {"kid": 7}, there.own.as_dict(private=False),
    ]}  # fmt: skip
    assert await sign_in(there)  # a strange one keeps nobody out
    there.published = None
    header, body, signature = there.token(NONCE, {"sub": "ann", "groups": ["operators"]}).split(".")
    other, shared = text_of({"sub": "root"}), text_of({"alg": "HS256", "kid": "one"})
    digest = hmac.digest(there.own.as_pem(private=False), f"{shared}.{body}".encode(), "sha256")
    confused = f"{shared}.{body}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
    bare = f"{text_of({'alg': 'none'})}.{body}."
    for token in (f"{header}.{other}.{signature}", confused, bare, "not.a.token", 7, None):
        there.answer = {"id_token": token}
        assert await refused(there) in ("signature", "id_token"), token
    there.answer = None
    assert await sign_in(there)


async def test_a_code_serves_its_own_sign_in_once(there: Provider) -> None:
    """Another's verifier, a code twice, an answer that names another provider or none: refused."""
    assert await refused(there, verifier="w" * 43) == "code"
    before = there.calls.count("/token")
    assert await refused(there, issuer="https://other.example") == "iss"
    assert await refused(there, issuer="") == "iss"  # this provider says that it names itself
    assert there.calls.count("/token") == before  # the code went nowhere
    there.metadata = {"authorization_response_iss_parameter_supported": False}
    assert await sign_in(there, issuer="")
    assert await refused(there, issuer="https://other.example") == "iss"
    async with Outbound() as http:
        check = ours(http, there.base, BACK)
        code = there.let_in(await check.address("s" * 43, NONCE, VERIFIER))["code"]
        await check.person(NONCE, VERIFIER, int(time.time()), code, there.base)
        with pytest.raises(Rejected, match="sso_answer_refused"):
            await check.person(NONCE, VERIFIER, int(time.time()), code, there.base)


async def test_the_wiring_asks_as_the_settings_say_and_reads_the_secret_from_a_private_file(
    there: Provider, tmp_path: Path
) -> None:
    """With the file of mode 0600 somebody is signed in; without it, or open to others, nobody, and nothing is sent."""
    settings = load(
        home=tmp_path, sso_issuer=there.base, sso_client_id=CLIENT, console_origin=BACK.removesuffix(REDIRECT),
        sso_groups={"operators": "operator"},
    )  # fmt: skip
    file = tmp_path / "credentials" / "sso.secret"
    file.parent.mkdir(mode=0o700)
    assert (limits(settings).sso, limits(settings).sso_groups) == ("127.0.0.1", {"operators": "operator"})
    async with wired(settings, SystemClock()) as check, wired(load(home=tmp_path), SystemClock()) as off:
        assert off is None
        assert check is not None
        for mode, code in ((None, "credentials_missing"), (0o640, "credentials_unsafe"), (0o600, "")):
            if mode is not None:
                file.write_text(f"{SECRET}\n")
                file.chmod(mode)
            code_there = there.let_in(await check.address("s" * 43, NONCE, VERIFIER))["code"]
            came = check.person(NONCE, VERIFIER, int(time.time()), code_there, there.base)
            if code:
                with pytest.raises(Unavailable, match=code):
                    await came
            else:
                assert (await came)[1] == {"operators"}
    assert there.calls.count("/token") == 1


async def test_a_kind_of_sign_in_that_is_asked_for_must_be_the_one_that_was(there: Provider) -> None:
    """Where the settings name an acr, it is asked for, and a token without it or with another counts for nothing."""
    async with Outbound() as http:
        assert "acr_values=phr" in await ours(http, there.base, BACK, acr="phr").address("s", NONCE, VERIFIER)
    for said, good in ((None, False), ("pwd", False), ("phr", True)):
        there.claims = {"acr": said}
        assert (await sign_in(there, acr="phr"))[0] if good else await refused(there, acr="phr") == "acr"


async def test_a_provider_that_does_not_answer_as_it_should_signs_nobody_in(there: Provider) -> None:
    """Down, another's name, addresses in clear, elsewhere or with a user in them, no JSON: nothing is sent."""
    for wrong in (
        {"issuer": "https://other.example"}, {"token_endpoint": "http://169.254.169.254/token"},
        {"token_endpoint": f"http://user@127.0.0.1:{there.base[-5:]}/token"}, {"token_endpoint": None},
        {"jwks_uri": "file:///etc/passwd"}, {"jwks_uri": "http://keys.example/"},
    ):  # fmt: skip
        there.metadata = wrong
        assert await refused(there) in ("sso_unreachable", "sso_address_refused"), wrong
    there.metadata = {"authorization_endpoint": "javascript:alert(1)"}
    assert await refused(there) == "sso_unreachable"
    there.metadata = {}
    for there.status, there.answer, code in (
        (401, {"error": "invalid_client"}, "sso_secret_refused"), (403, {"error": "a"}, "sso_secret_refused"),
        (401, "no object", "sso_unreachable"), (403, {"message": "a proxy's"}, "sso_unreachable"),
    ):  # fmt: skip
        assert await refused(there) == code
    async with Outbound() as http:
        with pytest.raises(Unavailable, match="sso_address_refused"):
            await ours(http, "https://10.1.2.3", BACK).address("s", NONCE, VERIFIER)
    there.status, there.answer = 400, ["no object"]
    assert await refused(there) == "sso_unreachable"
    there.answer, there.down = None, True
    with pytest.raises(Unavailable, match="sso_unreachable"):
        await sign_in(there)
