"""The simulator: what a vendor answers, what the log keeps, what counts as an effect."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import byokeep_sim as simulator
from byokeep_sim.book import MOST, Effects, RequestLog
from byokeep_sim.vendors import VENDORS

KEY = "made-up-key-0123456789"

USES: dict[str, tuple[dict[str, str], str, dict[str, str]]] = {
    # provider: (identity headers, inference path, extra headers)
    "anthropic": ({"x-api-key": KEY}, "/v1/messages", {"anthropic-version": "2023-06-01"}),
    "openai": ({"Authorization": f"Bearer {KEY}"}, "/v1/chat/completions", {}),
    "google": ({"x-goog-api-key": KEY}, "/v1beta/models/gemini-sim-1:generateContent", {}),
    "openrouter": ({"Authorization": f"Bearer {KEY}"}, "/api/v1/chat/completions", {}),
    "kie": ({"Authorization": f"Bearer {KEY}"}, "/api/v1/jobs/createTask", {}),
    "heygen": ({"x-api-key": KEY}, "/v2/video/generate", {}),
}


class Desk:
    def __init__(self, sim: simulator.Sim, http: aiohttp.ClientSession) -> None:
        self.sim = sim
        self.http = http

    async def call(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        async with self.http.request(method, self.sim.url + path, **more) as reply:
            return reply.status, await reply.json()

    async def know(self, provider: str, state: str = "valid") -> None:
        spec = {"provider": provider, "key": KEY, "state": state}
        status, _ = await self.call("POST", "/_sim/keys", json=spec)
        assert status == 200


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    sim = await simulator.start()
    async with aiohttp.ClientSession() as http:
        yield Desk(sim, http)
    await sim.stop()


@pytest.mark.parametrize("provider", USES)
async def test_inference_needs_a_known_key(desk: Desk, provider: str) -> None:
    """A job's call works with a valid key and fails the vendor's way without, unknown, or out of credit."""
    auth, path, extra = USES[provider]
    url = f"/{provider}{path}"
    expected = {
        "anthropic": (401, 400),
        "openai": (401, 429),
        "google": (400, 429),
        "openrouter": (401, 402),
        "kie": (200, 200),
        "heygen": (401, 402),
    }[provider]
    status, body = await desk.call("POST", url, json={}, headers={**auth, **extra})
    assert status == expected[0]
    assert provider != "kie" or body["code"] == 401
    await desk.know(provider)
    status, body = await desk.call("POST", url, json={}, headers={**auth, **extra})
    assert status == 200
    assert provider != "kie" or body["code"] == 200
    await desk.know(provider, "no_credit")
    status, body = await desk.call("POST", url, json={}, headers={**auth, **extra})
    assert status == expected[1]
    assert provider != "kie" or body["code"] == 402
    status, _ = await desk.call("POST", url, json={})
    assert status in (200, 401, 403)


async def test_published_details_of_replies(desk: Desk) -> None:
    """Details that clients stumble over: organization header, masked echo, label, public list, version header."""
    for provider in USES:
        await desk.know(provider)
    base = desk.sim.url
    async with desk.http.get(f"{base}/anthropic/v1/models", headers=USES["anthropic"][0]) as reply:
        assert reply.status == 400
    both = {**USES["anthropic"][0], "anthropic-version": "2023-06-01"}
    async with desk.http.get(f"{base}/anthropic/v1/models", headers=both) as reply:
        assert reply.headers["anthropic-organization-id"].startswith("anthropic-account-")
    bearer = {"Authorization": f"Bearer {KEY}", "anthropic-version": "2023-06-01"}
    async with desk.http.get(f"{base}/anthropic/v1/models", headers=bearer) as reply:
        assert reply.status == 401  # a key is no token
    wrong = "sk-proj-" + "x" * 40 + "tail"
    async with desk.http.get(f"{base}/openai/v1/models", headers={"Authorization": f"Bearer {wrong}"}) as reply:
        message = (await reply.json())["error"]["message"]
        assert message.endswith("tail.")
        assert wrong not in message
    async with desk.http.post(f"{base}/openai/v1/chat/completions", headers=USES["openai"][0]) as reply:
        assert reply.headers["x-ratelimit-reset-tokens"] == "6m0s"
    async with desk.http.get(f"{base}/openrouter/api/v1/models") as reply:
        assert reply.status == 200
    twice = {**USES["google"][0], "Authorization": f"Bearer {KEY}"}
    status, body = await desk.call("GET", "/google/v1beta/models", headers=twice)
    assert (status, "Multiple" in body["error"]["message"]) == (400, True)


async def test_the_log_shows_who_sent_what_without_keeping_it(desk: Desk) -> None:
    """The log names the credential's header and its hash; a key in URL, path or header is nowhere in clear."""
    await desk.know("google")
    await desk.call("GET", f"/google/v1beta/models?key={KEY}")
    await desk.call("GET", f"/google/v1beta/{KEY}")
    await desk.call("GET", "/google/v1beta/models", headers={"x-goog-api-key": KEY, "x-copy": KEY})
    _, found = await desk.call("POST", "/_sim/hash", json={"value": KEY})
    status, log = await desk.call("GET", "/_sim/requests")
    assert status == 200
    query, path, header = log["requests"]
    assert (query["key_in_url"], query["auth"], query["query_names"]) == (True, None, ["key"])
    assert (path["key_in_url"], path["path"]) == (True, "/google/v1beta/[key]")
    assert header["auth"] == {"header": "x-goog-api-key", "hash": found["hash"]}
    assert header["other_auth"] == [{"header": "x-copy", "hash": found["hash"]}]
    assert header["key_in_url"] is False
    assert KEY not in str(log)
    other = await simulator.start()
    try:
        assert other.book.keys.digest(KEY) != found["hash"]
    finally:
        await other.stop()


async def test_each_new_effect_counts_once(desk: Desk) -> None:
    """Publish, comment, message, like and delete count; reading, a repeated key and a missing post do not."""
    me = "/platform/x/acme"
    status, identity = await desk.call("GET", f"{me}/identity")
    assert (status, identity["id"], identity["username"]) == (200, "x-acme", "acme")
    assert desk.sim.book.effects.total == 0
    once = {"Idempotency-Key": "one"}
    status, post = await desk.call("POST", f"{me}/posts", headers=once)
    assert (status, post["replayed"]) == (201, False)
    status, again = await desk.call("POST", f"{me}/posts", headers=once)
    assert (status, again["id"], again["replayed"]) == (200, post["id"], True)
    for what in ("comments", "messages", "likes"):
        assert (await desk.call("POST", f"{me}/{what}", headers=once))[0] == 201
    assert (await desk.call("DELETE", f"/platform/x/other/posts/{post['id']}"))[0] == 404
    assert (await desk.call("DELETE", f"{me}/posts/{post['id']}"))[0] == 200
    assert (await desk.call("DELETE", f"{me}/posts/{post['id']}"))[0] == 404
    assert (await desk.call("POST", f"{me}/unknown"))[0] == 404
    _, effects = await desk.call("GET", "/_sim/effects")
    assert effects["total"] == 5
    kinds = {"publish": 1, "comment": 1, "dm": 1, "engage": 1, "delete": 1}
    assert effects["by_platform"] == {"x": {"acme": kinds}}
    assert len(effects["ids"]) == 5
    await desk.call("POST", "/_sim/reset")
    assert (await desk.call("GET", "/_sim/effects"))[1]["total"] == 0


async def test_parallel_repeats_of_one_key_are_one_effect(desk: Desk) -> None:
    """Twenty callers with the same idempotency key cause one effect."""
    calls = (desk.call("POST", "/platform/x/a/posts", headers={"Idempotency-Key": "k"}) for _ in range(20))
    ids = {body["id"] for _, body in await asyncio.gather(*calls)}
    assert (len(ids), desk.sim.book.effects.total) == (1, 1)


async def test_an_identity_can_be_set_and_mistaken(desk: Desk) -> None:
    """An account says what it was told to say, until a fault makes it somebody else."""
    who = {"id": "1784", "username": "acme", "display_name": "Acme"}
    await desk.call("POST", "/_sim/accounts", json={"platform": "x", "account": "a", **who})
    assert (await desk.call("GET", "/platform/x/a/identity"))[1] == who
    await desk.call("POST", "/_sim/faults", json={"provider": "platform", "kind": "wrong_identity"})
    assert (await desk.call("GET", "/platform/x/a/identity"))[1]["id"] == "stranger-1"
    assert (await desk.call("GET", "/platform/x/a/identity"))[1] == who


async def test_a_fault_can_strike_before_or_after_the_effect(desk: Desk) -> None:
    """A reset before the act leaves no effect, a reset after it leaves one that the caller can not see."""
    for when, total in (("before", 0), ("after", 1)):
        spec = {"provider": "platform", "kind": "reset", "when": when, "match": {"method": "POST"}}
        assert (await desk.call("POST", "/_sim/faults", json=spec))[0] == 201
        assert (await desk.call("GET", "/platform/x/a/identity"))[0] == 200
        with pytest.raises(aiohttp.ClientConnectionError):
            await desk.call("POST", "/platform/x/a/posts")
        assert desk.sim.book.effects.total == total


async def test_faults_match_count_and_vanish(desk: Desk) -> None:
    """A fault strikes only what it matches, as often as it says, and can be listed and removed."""
    await desk.know("heygen")
    spec = {"provider": "heygen", "kind": "status", "status": 503, "times": 2, "match": {"path": "/v3/*"}}
    await desk.call("POST", "/_sim/faults", json=spec)
    assert (await desk.call("GET", "/heygen/v2/user/remaining_quota", headers={"x-api-key": KEY}))[0] == 200
    seen = [(await desk.call("GET", "/heygen/v3/users/me", headers={"x-api-key": KEY}))[0] for _ in range(3)]
    assert seen == [503, 503, 200]
    await desk.call("POST", "/_sim/faults", json={**spec, "times": 5})
    _, listed = await desk.call("GET", "/_sim/faults")
    assert [f["left"] for f in listed["faults"]] == [5]
    assert (await desk.call("DELETE", "/_sim/faults"))[1] == {"removed": 1}
    assert (await desk.call("GET", "/heygen/v3/users/me", headers={"x-api-key": KEY}))[0] == 200


@pytest.mark.parametrize(
    ("provider", "path"),
    [("anthropic", "/v1/organizations/api_keys"), ("google", "/v2/projects/p/locations/global/keys"),
     ("openai", "/v1/organization/projects/p/api_keys"), ("openrouter", "/api/v1/keys")],
)  # fmt: skip
async def test_a_key_that_administers_can_be_made_known(desk: Desk, provider: str, path: str) -> None:
    """Whoever tries a rotation on the simulator registers one by a call; it lists keys, and does no job's work."""
    administers = {"Authorization": f"Bearer {KEY}"}
    assert (await desk.call("GET", f"/{provider}{path}", headers=administers))[0] == 401
    await desk.know(provider, "management")
    assert (await desk.call("GET", f"/{provider}{path}", headers=administers))[0] == 200
    auth, job, extra = USES[provider]
    assert (await desk.call("POST", f"/{provider}{job}", json={}, headers={**auth, **extra}))[0] in (400, 401, 403)


async def test_anthropic_sets_a_keys_status_and_says_so(desk: Desk) -> None:
    """Inactive can be taken back, archived ends; both are listed, and the reply is the key as it is now."""
    known = desk.sim.book.keys.put("anthropic", KEY, simulator.SimKeyState.VALID, "acme")
    desk.sim.book.keys.put("anthropic", "admin", simulator.SimKeyState.MANAGEMENT, "acme")
    admin, own = {"x-api-key": "admin"}, {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    place = "/anthropic/v1/organizations/api_keys"
    assert (await desk.call("POST", f"{place}/{known.id}", json={"status": "gone"}, headers=admin))[0] == 400
    for status, then in (("inactive", 404), ("active", 200), ("archived", 401)):
        found, body = await desk.call("POST", f"{place}/{known.id}", json={"status": status}, headers=admin)
        assert (found, body["id"], body["status"]) == (200, known.id, status)
        assert (await desk.call("GET", place, headers=admin))[1]["data"] == [body]
        assert (await desk.call("GET", "/anthropic/v1/models", headers=own))[0] == then


async def test_a_reset_forgets_everything(desk: Desk) -> None:
    """What a test set on the simulator is as at its start again."""
    book = desk.sim.book
    before = repr(book)
    book.page, book.late, book.minted, book.usage = 2, 1, 1, {"openai": {}}
    assert (await desk.call("POST", "/_sim/reset"))[1] == {"reset": True}
    assert repr(book) == before


BAD: list[tuple[str, Any]] = [
    ("/_sim/keys", {"provider": "open-router", "key": KEY}),
    ("/_sim/keys", {"provider": "openai"}),
    ("/_sim/keys", {"provider": "kie", "key": KEY, "state": "management"}),
    ("/_sim/keys", {"provider": "openai", "key": 5}),
    ("/_sim/keys", {"provider": "openai", "key": KEY, "extra": 1}),
    ("/_sim/keys", [KEY]),
    ("/_sim/accounts", {"platform": "x"}),
    ("/_sim/hash", {}),
    ("/_sim/faults", {"provider": "nobody", "kind": "reset"}),
    ("/_sim/faults", {"provider": "openai", "kind": "explode"}),
    ("/_sim/faults", {"provider": "openai", "kind": "status"}),
    ("/_sim/faults", {"provider": "openai", "kind": "status", "status": 99}),
    ("/_sim/faults", {"provider": "openai", "kind": "redirect"}),
    ("/_sim/faults", {"provider": "openai", "kind": "redirect", "location": "http://a\r\nb: c"}),
    ("/_sim/faults", {"provider": "openai", "kind": "hang", "delay_s": 1e9}),
    ("/_sim/faults", {"provider": "openai", "kind": "hang", "delay_s": "1"}),
    ("/_sim/faults", {"provider": "openai", "kind": "reset", "times": 0}),
    ("/_sim/faults", {"provider": "openai", "kind": "reset", "match": {"host": "x"}}),
    ("/_sim/faults", {"provider": "openai", "kind": "reset", "wen": "after"}),
]


@pytest.mark.parametrize(("path", "spec"), BAD)
async def test_bad_control_input_is_answered_with_a_sentence(desk: Desk, path: str, spec: Any) -> None:
    """Control input that can not be used is a 400 that says why and repeats no key."""
    status, body = await desk.call("POST", path, json=spec)
    assert status == 400
    assert len(body["error"]) > 10
    assert KEY not in body["error"]
    assert desk.sim.faults.active == []
    assert len(desk.sim.book.keys) == 0


async def test_control_input_that_is_no_json_is_answered_with_a_sentence(desk: Desk) -> None:
    """Broken and endlessly nested JSON are a 400, not a fault of the server."""
    for body in (b"", b"{", b"[" * 200_000, b"\xff"):
        assert (await desk.call("POST", "/_sim/faults", data=body))[0] == 400


async def test_the_number_of_faults_is_bounded(desk: Desk) -> None:
    """The fault after the last allowed one is refused."""
    for _ in range(200):
        desk.sim.faults.add({"provider": "kie", "kind": "reset"})
    status, body = await desk.call("POST", "/_sim/faults", json={"provider": "kie", "kind": "reset"})
    assert (status, body["error"]) == (400, "at most 200 faults at once")


def test_log_and_effect_ids_are_bounded() -> None:
    """Old entries go, totals stay exact."""
    log, effects = RequestLog(), Effects()
    for _ in range(MOST + 5):
        log.add({})
        effects.add("x", "a", "publish", "")
    assert (len(log.entries), log.seen, log.entries[0]["seq"]) == (MOST, MOST + 5, 6)
    assert (len(effects.recent), len(effects.posts), effects.total) == (MOST, MOST, MOST + 5)


async def test_unknown_paths_and_vendors_are_404(desk: Desk) -> None:
    """A vendor's unknown path is its own 404, an unknown vendor is ours; both are logged."""
    await desk.know("openai")
    for name in (*VENDORS, "nobody"):
        assert (await desk.call("GET", f"/{name}/no/such/path"))[0] == 404
    assert desk.sim.book.log.seen == len(VENDORS) + 1


async def test_only_loopback_is_listened_on() -> None:
    """Another address is refused before a port is opened."""
    for host in ("0.0.0.0", "10.0.0.1", "example.com"):  # noqa: S104 - refused
        with pytest.raises(ValueError, match="loopback"):
            await simulator.start(host)


async def test_the_command_prints_its_url_writes_its_port_and_stops_on_sigterm(tmp_path: Path) -> None:
    """The process says where it listens, answers there, and ends with 0 on SIGTERM."""
    port_file = tmp_path / "port"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "byokeep_sim", "--port", "0", "--port-file", str(port_file),
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url = (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()
        async with aiohttp.ClientSession() as http, http.get(f"{url}/_sim/effects") as reply:
            assert (await reply.json())["total"] == 0
        for _ in range(100):
            if port_file.exists():
                break
            await asyncio.sleep(0.05)
        assert url.endswith(":" + port_file.read_text().strip())
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_command_refuses_an_outside_address() -> None:
    """A host that is not loopback ends the command with code 2."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "byokeep_sim", "--host", "10.0.0.1",
        stderr=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, b"loopback" in said) == (2, True)
