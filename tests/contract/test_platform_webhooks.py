"""A customer's server that verifies with the SDK, and the simulated platforms that call it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from byokeep.client.webhooks import Webhooks
from byokeep.core.errors import ByokeepError
from byokeep.core.secret import Secret
from byokeep.core.webhook import SeenDeliveries, removed_user
from tests.support.social import ACCOUNTS, SECRET, Social, running_platforms

SIGNERS = ["meta", "instagram", "tiktok", "linkedin", "youtube", "x", "heygen"]
PREVIOUS = "made-up-previous-secret-012345"


@dataclass
class Customer:
    """A server with one address; which sender's secrets it holds is set by a test."""

    url: str = ""
    hooks: Webhooks | None = None
    handled: list[bytes] = field(default_factory=list)
    fails: bool = False

    def hold(self, sender: str, *secrets: str) -> None:
        name = "meta" if sender == "instagram" else sender
        self.hooks = Webhooks(name, [Secret(one) for one in secrets])

    async def post(self, request: web.Request) -> web.Response:
        assert self.hooks is not None
        body = await request.read()
        try:
            with self.hooks.delivery(request.headers.items(), body):
                if self.fails:
                    raise OSError
                self.handled.append(body)
        except ByokeepError as error:
            return web.Response(status=error.http_status)
        except OSError:
            return web.Response(status=500)
        return web.Response(status=204)

    async def get(self, request: web.Request) -> web.Response:
        assert self.hooks is not None
        if "crc_token" in request.query:
            return web.json_response({"response_token": self.hooks.answer(request.query["crc_token"])})
        word = request.query["challengeCode"]
        return web.json_response({"challengeCode": word, "challengeResponse": self.hooks.answer(word)})


@pytest.fixture
async def social() -> AsyncIterator[Social]:
    async with running_platforms() as running:
        yield running


@pytest.fixture
async def customer() -> AsyncIterator[Customer]:
    one, app = Customer(), web.Application()
    app.add_routes([web.post("/hook", one.post), web.get("/hook", one.get)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield one
    await runner.cleanup()


@pytest.mark.parametrize("sender", SIGNERS)
async def test_only_signed_first_deliveries_are_handled(social: Social, customer: Customer, sender: str) -> None:
    """Signed is 2xx; wrong, absent, changed, replayed, of another client, or without a secret is 401, never handled."""

    async def send(payload: Any, **more: Any) -> int:
        sent = await social.tell(
            "webhooks", platform=sender, **{"secret": SECRET, **more}, payload=payload, deliver_to=customer.url
        )
        status = sent["status"]
        assert isinstance(status, int)
        return status

    customer.hold(sender, SECRET, PREVIOUS)
    assert await send({"n": 1}) == 204
    assert await send({"n": 2}, secret=PREVIOUS) == 204
    assert len(customer.handled) == 2
    for spoil in ("absent", "wrong_secret", "changed_body"):
        assert await send({"n": 3}, spoil=spoil) == 401
    assert await send({"n": 3}, secret="the-secret-of-another-client") == 401
    await social.tell("clock", frozen=True)
    assert await send({"n": 4}) == 204
    assert await send({"n": 4}) == 401
    if sender == "tiktok":
        assert await send({"n": 5}, age_s=301) == 401
    customer.fails = True
    assert await send({"n": 6}) == 500
    customer.fails = False
    assert await send({"n": 6}) == 204
    assert len(customer.handled) == 4
    customer.hold(sender, SECRET)
    assert await send({"n": 7}, secret=PREVIOUS) == 401
    customer.hold(sender)
    assert await send({"n": 8}) == 401
    assert len(customer.handled) == 4


@pytest.mark.parametrize("sender", ["x", "linkedin"])
async def test_address_tests_are_answered(social: Social, customer: Customer, sender: str) -> None:
    """The platform takes the answer for right."""
    customer.hold(sender, SECRET)
    asked = await social.tell(
        "webhooks", platform=sender, secret=SECRET, challenge="word-0123456789", deliver_to=customer.url
    )
    assert asked == {"status": 200, "right": True}


async def test_meta_s_call_after_the_app_was_removed_names_the_person(social: Social) -> None:
    """The simulator's signed request is verified and read."""
    made = await social.tell("webhooks", platform="meta", client_id="app", removed="acme")
    request = dict(parse_qsl(made["body"]))["signed_request"]
    accounts = (await social.show("accounts"))["meta"]
    person = next(one["person_id"] for one in accounts if one["account"] == ACCOUNTS["meta"][0]["account"])
    assert removed_user(request, [SECRET.encode()], SeenDeliveries(), now=time.time()).user == person
