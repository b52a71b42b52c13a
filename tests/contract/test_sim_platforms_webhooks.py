"""Signed webhooks and address tests that the simulated platforms send."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tests.support.social import SECRET, Social, running_platforms


class Receiver:
    """A client's endpoint: keeps what arrives, answers address tests as told."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[tuple[bytes, dict[str, str]]] = []
        self.query: dict[str, str] = {}
        self.answer: Any = ""

    async def post(self, request: web.Request) -> web.Response:
        self.seen.append((await request.read(), dict(request.headers)))
        return web.Response(status=202)

    async def get(self, request: web.Request) -> web.Response:
        self.query = dict(request.query)
        return web.Response(text=self.answer) if isinstance(self.answer, str) else web.json_response(self.answer)


@pytest.fixture
async def social() -> AsyncIterator[Social]:
    async with running_platforms() as running:
        yield running


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    one, app = Receiver(), web.Application()
    app.add_routes([web.post("/hook", one.post), web.get("/hook", one.get)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield one
    await runner.cleanup()


def _hmac(body: bytes, name: str = "sha256") -> bytes:
    return hmac.new(SECRET.encode(), body, name).digest()


PAYLOAD = {"text": "caf\u00e9", "n": 1}


@pytest.mark.parametrize("platform", ["meta", "instagram", "linkedin", "x", "tiktok", "youtube", "heygen"])
async def test_the_signature_is_over_the_bytes_sent(social: Social, receiver: Receiver, platform: str) -> None:
    """What arrives verifies in each platform's scheme and form."""
    who = {"secret": SECRET} if platform == "heygen" else {"client_id": "app"}
    told = await social.tell("webhooks", platform=platform, payload=PAYLOAD, deliver_to=receiver.url, **who)
    ((body, headers),) = receiver.seen
    assert (told["status"], json.loads(body)) == (202, PAYLOAD)
    assert headers["Content-Type"] == "application/json"
    match platform:
        case "meta" | "instagram":
            assert headers["X-Hub-Signature-256"] == "sha256=" + _hmac(body).hex()
        case "linkedin":
            assert headers["X-LI-Signature"] == _hmac(body).hex()
        case "x":
            assert headers["x-twitter-webhooks-signature"] == "sha256=" + base64.b64encode(_hmac(body)).decode()
        case "tiktok":
            moment, _, made = headers["TikTok-Signature"].removeprefix("t=").partition(",s=")
            assert made == _hmac(moment.encode() + b"." + body).hex()
        case "youtube":
            assert headers["X-Hub-Signature"] == "sha1=" + _hmac(body, "sha1").hex()
        case _:
            assert headers["signature"] == _hmac(body).hex()


async def test_spoilt_webhooks(social: Social, receiver: Receiver) -> None:
    """Absent, of another secret, over another body, and old."""
    mine = {"platform": "tiktok", "client_id": "app", "payload": PAYLOAD, "deliver_to": receiver.url}
    for spoil in ("absent", "wrong_secret", "changed_body"):
        await social.tell("webhooks", **mine, spoil=spoil)
    told = await social.tell("webhooks", **mine, age_s=3600)
    absent, wrong, changed, old = receiver.seen
    assert "TikTok-Signature" not in absent[1]
    for body, headers in (wrong, changed):
        moment, _, made = headers["TikTok-Signature"].removeprefix("t=").partition(",s=")
        assert made != _hmac(moment.encode() + b"." + body).hex()
    now = (await social.show("clock"))["now"]
    assert 3590 < now - int(old[1]["TikTok-Signature"][2:].partition(",")[0]) < 3700
    assert told["headers"]["TikTok-Signature"] == old[1]["TikTok-Signature"]


async def test_the_key_may_be_another_secret(social: Social) -> None:
    """X signs with the consumer secret; without an address the webhook is only shown."""
    consumer = "another-consumer-secret"
    await social.tell("apps", platform="x", client_id="app", client_secret=SECRET, webhook_secret=consumer)
    told = await social.tell("webhooks", platform="x", client_id="app", payload=PAYLOAD)
    made = hmac.new(consumer.encode(), told["body"].encode(), hashlib.sha256).digest()
    assert told["headers"]["x-twitter-webhooks-signature"] == "sha256=" + base64.b64encode(made).decode()
    assert told["status"] is None


async def test_address_tests(social: Social, receiver: Receiver) -> None:
    """The right answer is told from a wrong one, for each platform that tests addresses."""
    word = "challenge-1"
    x = {"response_token": "sha256=" + base64.b64encode(_hmac(word.encode())).decode()}
    linkedin = {"challengeCode": word, "challengeResponse": _hmac(word.encode()).hex()}
    for platform, right, name in (
        ("meta", word, "hub.challenge"),
        ("x", x, "crc_token"),
        ("linkedin", linkedin, "challengeCode"),
    ):
        spec = {"platform": platform, "client_id": "app", "challenge": word, "deliver_to": receiver.url}
        receiver.answer = right
        assert await social.tell("webhooks", **spec, verify_token="v") == {"status": 200, "right": True}
        assert receiver.query[name] == word
        receiver.answer = "wrong"
        assert (await social.tell("webhooks", **spec))["right"] is False
    assert receiver.query == {"challengeCode": word}


async def test_a_removed_app_is_told(social: Social, receiver: Receiver) -> None:
    """TikTok's content is JSON in a text, X names user and app, Meta posts a signed form."""
    mine = {"client_id": "app", "removed": "acme", "deliver_to": receiver.url}
    for platform in ("tiktok", "x", "meta"):
        assert (await social.tell("webhooks", platform=platform, **mine, reason=4))["status"] == 202
    tiktok, x, meta = (body for body, _ in receiver.seen)
    event = json.loads(tiktok)
    assert (event["event"], event["user_openid"]) == ("authorization.removed", "-000AcmeOpenId")
    assert json.loads(event["content"]) == {"reason": 4}
    data = json.loads(x)["data"]
    assert data["event_type"] == "oauth.revoke"
    assert set(data["payload"]) == {"user_id", "app_id", "date_time"}
    made, _, payload = meta.decode().removeprefix("signed_request=").partition(".")
    assert base64.urlsafe_b64decode(made + "=") == _hmac(payload.encode())
    person = (await social.show("accounts"))["meta"][0]["person_id"]
    assert json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["user_id"] == person
    assert receiver.seen[2][1]["Content-Type"] == "application/x-www-form-urlencoded"


async def test_a_dead_receiver_is_reported(social: Social) -> None:
    """Nobody listening is status 0, not a fault of the simulator."""
    spec = {"platform": "x", "client_id": "app", "deliver_to": "http://127.0.0.1:9/hook"}
    assert (await social.tell("webhooks", **spec))["status"] == 0
    assert await social.tell("webhooks", **spec, challenge="c") == {"status": 0, "right": False}
