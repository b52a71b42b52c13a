"""Webhooks: only a signed, fresh, first delivery gets into the handler."""

from __future__ import annotations

import base64
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from byokeep.client.webhooks import Webhooks
from byokeep.core import webhook
from byokeep.core.errors import ByokeepError, RateLimited, Rejected, Unauthenticated
from byokeep.core.secret import Secret
from byokeep.core.webhook import SCHEMES, SeenDeliveries, answer, removed_user, verify

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "webhooks" / "cases.json").read_text())
KEY = b"made-up-webhook-secret-0001"
NOW = 1_700_000_000.0


def code(error: pytest.ExceptionInfo[Any]) -> str:
    assert isinstance(error.value, ByokeepError)
    return error.value.code


@pytest.mark.parametrize(
    "case", VECTORS["deliveries"], ids=[f"{one['scheme']}-{one['case']}" for one in VECTORS["deliveries"]]
)
def test_a_delivery_is_what_its_vector_says(case: dict[str, Any]) -> None:
    """Signatures that were made without this product, and every way of spoiling one."""
    headers = [(name, value) for name, value in case["headers"]]
    body, keys = base64.b64decode(case["body_base64"]), [key.encode() for key in case["keys"]]
    if case["expect"] == "ok":
        found = verify(SCHEMES[case["scheme"]], headers, body, keys, now=case["now"])
        assert (found.sent_at is not None) == (SCHEMES[case["scheme"]].form == "timed_hex")
        return
    with pytest.raises(Unauthenticated) as refused:
        verify(SCHEMES[case["scheme"]], headers, body, keys, now=case["now"])
    assert refused.value.code == case["expect"]
    assert refused.value.http_status == 401


def test_every_scheme_has_vectors_and_says_whether_it_is_confirmed() -> None:
    """A scheme taken from the field is marked as such."""
    assert {case["scheme"] for case in VECTORS["deliveries"]} == set(SCHEMES)
    assert {name for name, one in SCHEMES.items() if not one.confirmed} == {"linkedin", "youtube", "heygen"}


@pytest.mark.req("R2.1-9")
def test_every_key_is_tried_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that fits does not end the comparison: both are always compared, by the constant-time function."""
    compared: list[int] = []
    real = hmac.compare_digest

    def counting(first: bytes, second: bytes) -> bool:
        compared.append(1)
        return real(first, second)

    monkeypatch.setattr(webhook.hmac, "compare_digest", counting)  # type: ignore[attr-defined]
    old = b"made-up-webhook-secret-0000"
    for first in (KEY, old):
        compared.clear()
        headers = [("x-hub-signature-256", "sha256=" + hmac.digest(first, b"{}", "sha256").hex())]
        assert verify(SCHEMES["meta"], headers, b"{}", [KEY, old], now=NOW).key == (first == old)
        assert len(compared) == 2


@given(body=st.binary(max_size=200), at=st.integers(0, 200), flip=st.integers(1, 255))
def test_any_changed_byte_is_noticed(body: bytes, at: int, flip: int) -> None:
    """Of the body, wherever it is."""
    headers = [("x-hub-signature", "sha1=" + hmac.digest(KEY, body, "sha1").hex())]
    verify(SCHEMES["youtube"], headers, body, [KEY], now=NOW)
    changed = bytearray(body or b"\0")
    changed[at % len(changed)] ^= flip
    with pytest.raises(Unauthenticated):
        verify(SCHEMES["youtube"], headers, bytes(changed), [KEY], now=NOW)


def test_a_body_past_the_bound_is_refused_before_it_is_hashed() -> None:
    """One mebibyte is the most."""
    with pytest.raises(Rejected) as refused:
        verify(SCHEMES["meta"], [], b"x" * (webhook.MAX_BODY + 1), [KEY], now=NOW)
    assert code(refused) == "webhook_too_large"


@pytest.mark.parametrize("case", VECTORS["challenges"], ids=["x", "linkedin"])
def test_an_address_test_is_answered(case: dict[str, Any]) -> None:
    """X's and LinkedIn's; the others' answer holds no secret, so there is none here."""
    assert answer(SCHEMES[case["scheme"]], case["challenge"], case["key"].encode()) == case["expect"]


@pytest.mark.parametrize("text", ["", "{}", '{"a":1}', "a b", "x" * 257, "a\n", "\u0430"])
def test_nobody_gets_a_body_signed_by_calling_it_a_challenge(text: str) -> None:
    """The key of the challenge signs deliveries too: what could be a body is not signed."""
    with pytest.raises(Rejected) as refused:
        answer(SCHEMES["x"], text, KEY)
    assert code(refused) == "webhook_bad_challenge"
    with pytest.raises(Rejected):
        answer(SCHEMES["meta"], "word", KEY)
    with pytest.raises(Unauthenticated):
        answer(SCHEMES["x"], "word", b"")


@pytest.mark.parametrize("case", VECTORS["removals"]["cases"], ids=lambda case: case["case"])
def test_who_removed_the_app_is_believed_by_signature_alone(case: dict[str, Any]) -> None:
    """Meta's signed request: the account id, or the reason why not."""
    key, now = VECTORS["removals"]["key"].encode(), VECTORS["removals"]["now"]
    if case["expect"].isdigit():
        assert removed_user(case["signed_request"], [key], SeenDeliveries(), now=now).user == case["expect"]
        return
    with pytest.raises(Unauthenticated) as refused:
        removed_user(case["signed_request"], [key], SeenDeliveries(), now=now)
    assert code(refused) == case["expect"]
    with pytest.raises(Unauthenticated):
        removed_user(case["signed_request"], [], SeenDeliveries(), now=now)


def test_a_removal_counts_once_and_again_when_handling_it_failed() -> None:
    """The same call within its window is a replay; an exception in the block lets Meta try again; others send none."""
    case, clock = VECTORS["removals"]["cases"][0], Clock()
    clock.now = VECTORS["removals"]["now"]
    hooks = Webhooks("meta", [Secret(VECTORS["removals"]["key"])], clock=clock)
    with pytest.raises(RuntimeError), hooks.removal(case["signed_request"]):
        raise RuntimeError
    with hooks.removal(case["signed_request"]) as found:
        assert found.user == case["expect"]
    for later in (0, 300):
        clock.now = VECTORS["removals"]["now"] + later
        with pytest.raises(Unauthenticated) as refused, hooks.removal(case["signed_request"]):
            raise AssertionError
        assert code(refused) == "webhook_replayed"
    clock.now += 1
    with pytest.raises(Unauthenticated) as refused, hooks.removal(case["signed_request"]):
        raise AssertionError
    assert code(refused) == "webhook_too_old"
    with pytest.raises(Rejected) as other, Webhooks("x", [Secret(KEY)]).removal(case["signed_request"]):
        raise AssertionError
    assert code(other) == "webhook_no_removals"


def signed(scheme: str, body: bytes) -> list[tuple[str, str]]:
    made, one = hmac.digest(KEY, body, "sha256"), SCHEMES[scheme]
    return [(one.header, one.prefix + (base64.b64encode(made).decode() if scheme == "x" else made.hex()))]


@given(st.from_regex(r"[A-Za-z0-9_=+/.-]{1,256}", fullmatch=True))
@example("abc123")
@example("123")
@example("true")
@example("null")
@example("-1.5e+3")
def test_an_answer_to_a_test_of_the_address_is_no_delivery(text: str) -> None:
    """Whoever has the address tested chooses the text: its signature lets no body into the handler."""
    hooks = Webhooks("x", [Secret(KEY)])
    headers = [("x-twitter-webhooks-signature", hooks.answer(text))]
    with pytest.raises(Unauthenticated) as refused, hooks.delivery(headers, text.encode()):
        raise AssertionError
    assert code(refused) == "webhook_other_kind"


def test_a_signed_request_is_no_delivery_and_a_delivery_no_signed_request() -> None:
    """Meta signs both with one key; neither passes for the other, and only an object is a delivery."""
    payload = base64.urlsafe_b64encode(b'{"algorithm":"HMAC-SHA256","issued_at":1700000000,"user_id":"1"}').rstrip(b"=")
    hooks = Webhooks("meta", [Secret(KEY)], clock=Clock())
    for body in (
        payload,
        b"[]",
        b"1",
        b"null",
        b'"{}"',
        b"",
        b"[" * 100_000,
        b"{}x",
        b"\xff\xfe{\0}\0",
        b"object=page",
    ):
        with pytest.raises(Unauthenticated) as refused, hooks.delivery(signed("meta", body), body):
            raise AssertionError
        assert code(refused) == "webhook_other_kind", body[:20]
    body = b'{"algorithm":"HMAC-SHA256","issued_at":1700000000,"user_id":"1"}'
    with hooks.delivery(signed("meta", body), body):
        pass
    signature = base64.urlsafe_b64encode(hmac.digest(KEY, body, "sha256")).rstrip(b"=").decode()
    with pytest.raises(Unauthenticated) as refused, hooks.removal(f"{signature}.{body.decode()}"):
        raise AssertionError
    assert code(refused) == "webhook_signature_malformed"


def test_a_full_memory_refuses_what_can_get_old_and_forgets_what_can_not() -> None:
    """Within a timestamp's window nothing is forgotten; without one the oldest goes."""
    timed = SeenDeliveries(2)
    for name in (b"1", b"2"):
        timed.claim(name, now=0, until=300)
    with pytest.raises(RateLimited):
        timed.claim(b"3", now=300, until=600)
    timed.claim(b"3", now=301, until=601)
    assert len(timed) == 1
    untimed = SeenDeliveries(2)
    for name in (b"1", b"2", b"3"):
        untimed.claim(name, now=0, until=None)
    assert len(untimed) == 2
    with pytest.raises(Unauthenticated):
        untimed.claim(b"3", now=0, until=None)
    untimed.claim(b"1", now=0, until=None)
    with pytest.raises(ValueError, match="at least one"):
        SeenDeliveries(0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400)), max_size=60))
def test_no_delivery_passes_twice_within_its_window(calls: list[tuple[int, int]]) -> None:
    """Whatever the order and the pauses; the memory never grows past its bound."""
    memory, now, until = SeenDeliveries(3), 0, dict.fromkeys(range(6), -1)
    for name, pause in calls:
        now += pause
        try:
            memory.claim(b"%d" % name, now=now, until=now + 300)
        except (Unauthenticated, RateLimited):
            pass
        else:
            assert until[name] < now
            until[name] = now + 300
        assert len(memory) <= 3


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-900, 900)), max_size=60))
def test_no_delivery_passes_twice_when_the_clock_goes_back(calls: list[tuple[int, int]]) -> None:
    """A clock that was ahead has made the memory forget; what it may have forgotten is refused, not let in again."""
    memory, now, passed = SeenDeliveries(2), 10_000, set()
    for name, pause in calls:
        now += pause
        try:
            memory.claim(b"%d" % name, now=now, until=10_000 + 100 * name)
        except (Unauthenticated, RateLimited):
            continue
        assert name not in passed
        passed.add(name)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def delivered(body: bytes = b"{}", moment: float = NOW, key: bytes = KEY) -> dict[str, str]:
    made = hmac.digest(key, b"%d." % int(moment) + body, "sha256").hex()
    return {"Content-Type": "application/json", "TikTok-Signature": f"t={int(moment)},s={made}"}


def test_the_handler_runs_for_a_signed_delivery_and_for_nothing_else() -> None:
    """Once; wrong, absent, old, replayed and keyless are 401 without the handler; two keys verify during a rotation."""
    handled: list[str] = []
    clock = Clock()
    hooks = Webhooks("tiktok", [Secret(KEY), Secret(b"made-up-webhook-secret-0000")], clock=clock)

    def receive(hooks: Webhooks, headers: dict[str, str], body: bytes = b"{}") -> int:
        try:
            with hooks.delivery(headers, body):
                handled.append("ran")
        except ByokeepError as error:
            return error.http_status
        return 200

    good = delivered()
    assert receive(hooks, good) == 200
    assert receive(hooks, good) == 401
    assert receive(hooks, delivered(b'{"n":1}', key=b"made-up-webhook-secret-0000"), b'{"n":1}') == 200
    assert handled == ["ran", "ran"]
    for headers in ({}, {"TikTok-Signature": good["TikTok-Signature"][:-1] + "0"}, delivered(moment=NOW - 301)):
        assert receive(hooks, headers, b"{2}") == 401
    assert receive(Webhooks("tiktok", [], clock=clock), delivered()) == 401
    assert receive(Webhooks("tiktok", [Secret(b"another-client-s-secret-00")], clock=clock), delivered()) == 401
    clock.now += 10_000
    assert receive(hooks, good) == 401
    assert handled == ["ran", "ran"]


def test_a_failed_handler_lets_the_sender_try_again_and_a_running_one_does_not() -> None:
    """A copy that arrives while the first is handled is refused; after an exception it passes."""
    hooks = Webhooks("tiktok", [Secret(KEY)], clock=Clock())
    with pytest.raises(RuntimeError), hooks.delivery(delivered(), b"{}"):  # noqa: PT012
        with pytest.raises(Unauthenticated) as refused, hooks.delivery(delivered(), b"{}"):
            raise AssertionError
        assert code(refused) == "webhook_replayed"
        raise RuntimeError
    with hooks.delivery(delivered().items(), b"{}") as found:
        assert (found.sent_at, found.key) == (int(NOW), 0)
    assert KEY.decode() not in repr(hooks)


def test_the_sender_must_be_known() -> None:
    """An unknown name is refused with the list of those that are known; challenges go through the first secret."""
    with pytest.raises(Rejected) as refused:
        Webhooks("myspace", [Secret(KEY)])
    assert code(refused) == "unknown_webhook_sender"
    case = VECTORS["challenges"][0]
    assert Webhooks("x", [Secret(case["key"])]).answer(case["challenge"]) == case["expect"]
    with pytest.raises(Unauthenticated):
        Webhooks("x", []).answer("word")
