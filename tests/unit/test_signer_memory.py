"""Signing the same claims again: asked of the store once, remembered for a while, and nothing but the same bytes."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest

from byokeep.adapters.openbao import ports
from byokeep.adapters.openbao.ports import TransitSigner
from byokeep.wire.bao_http import BaoReply

KEYS = {"1": {"creation_time": "2026-01-01T00:00:00Z", "public_key": base64.b64encode(bytes(32)).decode()}}


class Login:
    """Answers as the store would, and counts what is signed."""

    def __init__(self) -> None:
        self.signed: list[str] = []

    async def request(self, method: str, _path: str, *, body: Any = None) -> BaoReply:
        if method == "GET":
            return BaoReply(200, {"keys": KEYS}, "r")
        self.signed.append(body["input"])
        made = bytes([len(self.signed)]) * 64
        return BaoReply(200, {"signature": f"vault:v1:{base64.b64encode(made).decode()}"}, "r")


def claims(number: int = 1) -> dict[str, object]:
    return {"iat": 1_800_000_000, "exp": 1_800_000_003, "lease_id": str(number)}


async def test_same_claims_are_signed_once() -> None:
    """The second time the bytes are the same and the store is not asked; other claims are asked for."""
    login = Login()
    made: Any = TransitSigner(login)  # type: ignore[arg-type]
    first = await made.sign_jwt(claims())
    assert await made.sign_jwt(dict(reversed(claims().items()))) == first
    assert len(login.signed) == 1
    other = await made.sign_jwt(claims() | {"exp": 1_800_000_004})
    assert other.rpartition(".")[2] != first.rpartition(".")[2]
    assert len(login.signed) == 2
    assert not any(first.rpartition(".")[2] in repr(entry) for entry in made._made.values())


async def test_signatures_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """After two minutes, and beyond the bound, the oldest are wiped; what is asked for again is signed again."""
    login, clock = Login(), time.monotonic()
    monkeypatch.setattr(ports.time, "monotonic", lambda: clock)
    made: Any = TransitSigner(login)  # type: ignore[arg-type]
    await made.sign_jwt(claims(1))
    kept = [secret for _, secret in made._made.values()]
    clock += ports._REMEMBER_S + 1
    await made.sign_jwt(claims(2))
    assert [secret.wiped for secret in kept] == [True]
    await made.sign_jwt(claims(1))
    assert len(login.signed) == 3
    monkeypatch.setattr(ports, "_REMEMBERED", 2)
    await made.sign_jwt(claims(3))
    assert len(made._made) == 2
