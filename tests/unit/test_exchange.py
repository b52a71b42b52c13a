"""The swap of an identity token: what is sent, what a reply means, and what the store's own log has of it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock
from uuid import uuid4

import pytest
from aiohttp import web

from byokeep.adapters.providers.descriptor import DESCRIPTORS, load
from byokeep.client import lease
from byokeep.client.exchange import swapped
from byokeep.client.http import Broker
from byokeep.client.lease import HeldLease
from byokeep.client.settings import ClientSettings
from byokeep.core.errors import Denied, Rejected, Unavailable
from byokeep.core.exchange import Exchange, check_ids, declaration, declared
from byokeep.core.secret import Secret
from tests.unit.test_explain_profiles import CLIENT, known, reason

TOKEN = "t" * 40
EXCHANGE = Exchange(
    url="https://api.vendor.example/token", audience="a", body={"assertion": "$token", "rule": "$rule", "at": "$at"},
    needs=("rule",), may=("at",), life_s=600,
)  # fmt: skip


@asynccontextmanager
async def vendor(status: int, body: Any, headers: Mapping[str, str]) -> AsyncIterator[tuple[Exchange, list[bytes]]]:
    """A vendor that answers every swap in the same way, and what it was sent."""
    seen: list[bytes] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(await request.read())
        return web.Response(status=status, body=body if isinstance(body, bytes) else json.dumps(body), headers=headers)

    app = web.Application()
    app.router.add_post("/token", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield replace(EXCHANGE, url=f"http://127.0.0.1:{runner.addresses[0][1]}/token"), seen
    finally:
        await runner.cleanup()


INVALID = {"error": "invalid_grant"}
GOOD = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}


@pytest.mark.parametrize(
    ("status", "body", "headers", "code"),
    [
        (200, GOOD, {}, ""), (200, GOOD | {"token_type": "mac"}, {}, "exchange_garbage"),
        (200, GOOD | {"access_token": "short"}, {}, "exchange_garbage"),
        (200, GOOD | {"expires_in": 0}, {}, "exchange_garbage"),
        (200, {"access_token": TOKEN}, {}, "exchange_garbage"), (200, b"<html>", {}, "exchange_garbage"),
        (200, b"x" * 70_000, {}, "exchange_garbage"), (302, {}, {"Location": "/other"}, "exchange_garbage"),
        (400, INVALID, {}, "exchange_refused"), (401, {}, {}, "exchange_refused"),
        (401, INVALID, {}, "exchange_refused"), (403, INVALID, {}, "exchange_refused"),
        (404, b"<html>", {}, "exchange_refused"), (400, {"error": "sk-canary"}, {}, "exchange_refused"),
        (400, {"error": ["invalid_grant"]}, {}, "exchange_refused"), (401, [1], {}, "exchange_refused"),
        (403, {}, {}, "exchange_refused"), (429, {}, {"Retry-After": "7"}, "exchange_unavailable"),
        (500, {}, {}, "exchange_unavailable"), (529, GOOD, {}, "exchange_unavailable"),
    ],
)  # fmt: skip
async def test_what_a_reply_means(status: int, body: Any, headers: Mapping[str, str], code: str) -> None:
    """A refusal is one by its status; busy, down and unreadable never are; a token lives no longer than is said."""
    async with vendor(status, body, headers) as (exchange, seen):
        identity = Secret("header.body.signature")
        if not code:
            token, life_s = await swapped(exchange, {"rule": "r1"}, identity)
            assert (token.reveal().decode(), life_s) == (TOKEN, 600)
            assert json.loads(seen[0]) == {"assertion": "header.body.signature", "rule": "r1"}
        else:
            with pytest.raises(Denied if code == "exchange_refused" else Unavailable, match=code) as caught:
                await swapped(exchange, {"rule": "r1"}, identity)
            assert caught.value.fields.get("retry_after_s") == (7 if status == 429 else None)
            clear = status in (400, 401) and body == INVALID
            assert caught.value.fields.get("reason") == ("invalid_grant" if clear else None)
            assert TOKEN not in repr(caught.value)
        assert identity.wiped
        assert len(seen) == 1


async def test_a_token_goes_to_no_address_in_clear() -> None:
    """Plain HTTP is for simulators on this machine; nothing is sent anywhere else."""
    for url in ("http://api.vendor.example/token", "https://169.254.169.254/token", "https://10.0.0.7/token"):
        with pytest.raises(Rejected, match="host_not_allowed"):
            await swapped(replace(EXCHANGE, url=url), {"rule": "r1"}, Secret("a.b.c"))


async def test_an_identity_token_is_wiped_when_the_lease_lapses_before_the_swap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Read and not swapped any more: nothing is sent, and neither the token nor what was read stays in memory."""
    identity, kept, swap = Secret("a.b.c"), Secret(declaration({"rule": "r1"})), AsyncMock()
    said = {"url": "https://x", "headers": {}, "body": {}, "form": False, "life_s": 60, "identity": "identity/oidc/t"}
    reply = {
        "lease_id": str(uuid4()), "jwt": "a.b.c", "life_s": 5,
        "store": {"address": "unix:///s", "roles": {"openai": "use-openai"}},
        "secrets": {"openai": {"path": "kv/clients/c/providers/openai", "version": 1, "exchange": said}},
    }  # fmt: skip
    broker = Broker(ClientSettings(broker_url="http://127.0.0.1:1", runner_token_file=Path("none")))
    held = HeldLease(broker, Secret(b"t"), uuid4())

    async def late(*_: Any) -> Secret:
        held.stop(Denied("switch_closed"))
        return identity

    monkeypatch.setattr(broker, "call", AsyncMock(return_value=reply))
    monkeypatch.setattr(broker, "store", lambda _: SimpleNamespace(may_be_behind=False))
    monkeypatch.setattr(lease, "lease_login", AsyncMock(return_value=Secret(b"b.token")))
    monkeypatch.setattr(lease, "read_secret", AsyncMock(return_value=kept))
    monkeypatch.setattr(lease, "read_identity", late)
    monkeypatch.setattr(lease, "swapped", swap)
    with pytest.raises(Denied, match="switch_closed"):
        await held.secret("openai")
    assert (identity.wiped, kept.wiped, swap.await_count) == (True, True, 0)
    await held.close()
    await broker.close()


def test_what_is_kept_are_ids_and_never_taken_for_a_key() -> None:
    """A declaration reads back; a key is none; ids that are missing, unknown, no ids or a key are refused."""
    assert declared(declaration({"rule": "r1"})) == {"rule": "r1"}
    assert declared(b"sk-proj-whatever") is None
    for ids in (
        {},
        {"rule": "r1", "more": "x"},
        {"rule": ""},
        {"rule": "a b"},
        {"rule": "r" * 129},
        {"rule": "sk-proj-abcdef"},
    ):
        with pytest.raises(Rejected, match="bad_provider_ids"):
            check_ids(ids, EXCHANGE)
    check_ids({"rule": "r1", "at": "w1"}, EXCHANGE)


@pytest.mark.parametrize(
    "changed",
    [{"url": "http://api.openai.com/t"}, {"life_s": 0}, {"life_s": 3601}, {"body": {"a": "$token", "b": "$token"}},
     {"body": {"a": "$token", "b": "$other"}}, {"body": {"a": "b"}}],
)  # fmt: skip
def test_a_data_file_that_swaps_unsafely_does_not_load(changed: dict[str, Any]) -> None:
    """In clear, for hours, the token twice or nowhere, an id that nobody declares: the file is refused."""
    text = resources.files("byokeep.adapters.providers").joinpath("data/openai.toml").read_text()
    document = tomllib.loads(text)
    assert load("openai", tomllib.loads(text)).keyless == DESCRIPTORS["openai"].keyless
    document["keyless"] |= changed
    with pytest.raises(ValueError, match="openai"):
        load("openai", document)


def test_an_identity_token_is_explained_by_a_lease_for_that_provider_and_nothing_else() -> None:
    """As a read of the key there is: no lease, another provider, client, entity or time is a finding."""
    path = f"identity/oidc/token/{CLIENT}-openai"
    for kind in ("use", "custody"):
        assert reason(*known(kind, "openai"), ("read", path)) == ""
    found, request = known("use", "openai")
    assert reason(found, request, ("read", path), lease_header="") == "read_without_lease"
    assert reason(found, request, ("read", path.replace("openai", "anthropic"))) == "lease_header_forged"
    assert reason(found, request, ("read", path.replace(str(CLIENT), str(uuid4())))) == "lease_header_forged"
    assert reason(found, request, ("read", path), entity_id=str(uuid4())) == "lease_header_forged"
    for kept in (f"identity/oidc/key/{CLIENT}", f"identity/oidc/role/{CLIENT}-openai"):
        assert reason(found, request, ("update", kept), machine="web") == ""
        assert reason(found, request, ("update", kept)) == "unlisted_request"
        assert reason(found, request, ("delete", kept), machine="web") == "unlisted_request"
    found.setups = ()
    assert reason(found, request, ("update", "identity/oidc/config")) == "store_setup_changed"
