"""Structures: nothing comes through in a key, a leaf, or over several of them, and what is no secret stays."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import secrets
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from byokeep.core.secret import Secret
from byokeep_redact import Redactor
from byokeep_redact.automaton import Engine
from byokeep_redact.encodings import recoverable

ENGINES: tuple[Engine, ...] = ("hyperscan", "pure")
KEY = b"k" * 32
WORDS = "amber lanterns cross a quiet harbour at dusk"
VALUE = secrets.token_urlsafe(48)


@pytest.fixture(params=ENGINES)
def redactor(request: pytest.FixtureRequest) -> Redactor:
    redactor = Redactor(key=KEY, engine=request.param)
    redactor.register(VALUE, "lease")
    return redactor


def _deep(value: Any, levels: int) -> Any:
    for level in range(levels):
        value = {f"level{level}": [value]} if level % 2 else (value, level)
    return value


class _Pair(NamedTuple):
    left: int
    right: str


def _kind(value: str) -> enum.Enum:
    kinds: type[enum.Enum] = enum.Enum("kinds", {"A": value})
    return next(iter(kinds))


PLACES: dict[str, Callable[[str], Any]] = {
    "leaf": lambda value: {"event": f"sent {value} out"},
    "nested 6 levels": lambda value: _deep(value, 6),
    "nested 20 levels": lambda value: _deep(value, 20),
    "key": lambda value: {value: 1, "b": {f"x-{value}": 2}},
    "bytes": lambda value: {"a": value.encode(), "b": bytearray(value.encode()), "c": memoryview(value.encode())},
    "bytes key": lambda value: {value.encode(): 1},
    "list of chars": lambda value: {"chars": list(value)},
    "tuple of codes": lambda value: {"codes": tuple(value.encode())},
    "two fields": lambda value: {"first": value[:11], "second": value[11:22]},
    "arguments": lambda value: ("%s%s", value[:9], value[9:20]),
    "pieces of four": lambda value: [value[at : at + 4] for at in range(0, len(value), 4)],
    "json in string": lambda value: {"body": json.dumps({"a": json.dumps({"b": value})})},
    "mapping": lambda value: MappingProxyType({"a": OrderedDict(b=value)}),
    "deque and sets": lambda value: [deque([value]), {value}, frozenset([value])],
    "named tuple": lambda value: _Pair(1, value),
    "path": lambda value: {"path": pathlib.PurePath("/tmp") / value},
    "enum": lambda value: {"kind": _kind(value)},
    "hex key": lambda value: {"dump": {value.encode().hex(): None}},
    "number": lambda value: {"n": int.from_bytes(value.encode()[:4])},
}


@pytest.mark.parametrize("place", PLACES)
def test_registered_value_does_not_come_through_in(redactor: Redactor, place: str) -> None:
    """A known value is gone from every place of a structure; words that nobody registered stay in it."""
    shown = repr(redactor.value(PLACES[place](VALUE)))
    assert not recoverable(shown.encode(), VALUE.encode())
    if place != "number":
        assert "[redacted:lease:" in shown
        assert "[redacted:" not in repr(redactor.value(PLACES[place](WORDS)))
    again = redactor.value(redactor.value(PLACES[place](VALUE)))
    assert again == redactor.value(PLACES[place](VALUE))


def test_fields_named_like_secrets_are_masked_whatever_they_hold(redactor: Redactor) -> None:
    """A short password, a header and a cookie's value go; their names, and fields that only sound alike, stay."""
    shown = redactor.value(
        {
            "password": "hunter2",
            "argv": ["curl", "--max-time", "5", "--api-key", "hunter2", "--proxy-password", "hunter2", "x"],
            "headers": [("Authorization", "Basic abc"), ("Accept", "text/html"), (b"x-api-key", b"k1")],
            "cookies": [{"name": "sid", "value": "abc", "domain": "x.test", "path": "/"}],
            "sent": {"cookies": [{"name": "sid", "value": "abc"}]},
            "header": {"name": "Set-Cookie", "value": "a=b"},
            "nested": {"api_key": {"inner": "abc", "n": 7}, "api_keys": ["hunter2", "x-hunter2"]},
            "status": 200,
            "path": "/v1/clients",
        }
    )
    assert "hunter2" not in repr(shown)
    assert shown["argv"][:3] == ["curl", "--max-time", "5"]
    assert shown["headers"][0][0] == "Authorization"
    assert shown["headers"][0][1].startswith("[redacted:")
    assert shown["headers"][1] == ("Accept", "text/html")
    assert b"k1" not in repr(shown["headers"][2]).encode()
    cookie = shown["cookies"][0]
    assert (cookie["name"], cookie["domain"], cookie["path"]) == ("sid", "x.test", "/")
    assert cookie["value"].startswith("[redacted:")
    assert shown["sent"]["cookies"][0]["name"] == "sid"
    assert shown["sent"]["cookies"][0]["value"].startswith("[redacted:")
    assert shown["header"]["value"].startswith("[redacted:")
    assert shown["nested"]["api_key"]["inner"].startswith("[redacted:")
    assert (shown["status"], shown["path"]) == (200, "/v1/clients")
    assert redactor.value(shown) == shown


@dataclasses.dataclass
class _Holder:
    token: str


class _Text(str):
    def __str__(self) -> str:
        return "harmless"


def test_unknown_types_are_dropped_and_secrets_masked(redactor: Redactor) -> None:
    """An object shows its type's name and nothing it holds; a Secret shows a mask; a wiped one too."""
    wiped = Secret("x" * 20)
    wiped.wipe()
    shown = redactor.value(
        {
            "a": _Holder(VALUE),
            "b": [object()],
            "c": Secret("abc"),
            "d": wiped,
            "e": ValueError(VALUE),
            "f": _Text(VALUE),
        }
    )
    assert VALUE not in repr(shown)
    assert shown["a"].endswith("_Holder>")
    assert shown["b"] == ["<builtins.object>"]
    assert shown["c"].startswith("[redacted:secret:")
    assert shown["d"].startswith("[redacted:secret:")
    assert shown["e"] == "<builtins.ValueError>"
    assert shown["f"].startswith("[redacted:lease:")


def test_plain_values_stay_what_they_are(redactor: Redactor) -> None:
    """Numbers, times, ids, digests and the shape of the structure survive; a clean event is the same object."""
    now = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
    value = {
        "n": 1, "f": 1.5, "b": True, "none": None, "when": now, "id": uuid.UUID(int=7), "p": decimal.Decimal("1.2"),
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "digest": "sha256:" + "ab12" * 16, "big": 1 << 60,
        "list": ["a", ("b", 2)], 3: "int key", None: "none key",
    }  # fmt: skip
    assert redactor.value(value) == value
    event = {"event": "request finished", "status": 200, "request_id": str(uuid.UUID(int=9))}
    assert redactor.value(event) is event


HEX = secrets.token_hex(16)
WEAKLY: dict[str, Any] = {
    "field": {"key": HEX, "status": 200},
    "bytes": {"a": {"auth": HEX.encode()}},
    "list": {"code": [HEX]},
    "pair": [("app_sig", HEX)],
    "entry": {"headers": [{"name": "x-session", "value": HEX}]},
    "among others": {"event": "x", "csrf": HEX, "n": None, "share": 0.5},
}


@pytest.mark.parametrize("place", WEAKLY)
def test_a_name_that_says_little_tells_long_hex(redactor: Redactor, place: str) -> None:
    """What a line of JSON would lose under names such as `key`, a structure loses too; digests under others stay."""
    for _ in range(2):  # the second time the names are remembered
        assert HEX not in repr(redactor.value(WEAKLY[place]))
    again = redactor.value(WEAKLY[place])
    assert redactor.value(again) == again
    kept = {
        "code": "E1234",
        "digest": HEX,
        "key": "clients/7",
        "auth": "none",
        "n": 10**12,
        "session": str(uuid.UUID(int=7)),
    }
    assert redactor.value(kept) == kept


def test_circles_and_depth_end(redactor: Redactor) -> None:
    """A structure that holds itself, or goes on for ever, is cut with a word."""
    circle: dict[str, Any] = {"a": VALUE}
    circle["self"] = circle
    shown = redactor.value(circle)
    assert shown["self"] == "[circle]"
    assert VALUE not in repr(shown)
    assert "[too deep]" in repr(redactor.value(_deep(VALUE, 200)))
    assert VALUE not in repr(redactor.value(_deep(VALUE, 200)))
    shared = [VALUE]
    assert "[circle]" not in repr(redactor.value([shared, shared]))


def test_keys_that_become_alike_are_both_kept(redactor: Redactor) -> None:
    """Two keys with one mask do not swallow each other's fields."""
    shown = redactor.value({VALUE: 1, VALUE.encode(): 2, f"{VALUE}": 3})
    assert sorted(shown.values()) == [2, 3]
    shown = redactor.value({VALUE: 1, VALUE.encode().hex(): 2})
    assert sorted(shown.values()) == [1, 2]


def test_name_that_becomes_a_secret_is_masked(redactor: Redactor) -> None:
    """A field name seen and found harmless before is masked once it is a registered value."""
    name = secrets.token_hex(6) + "quiet" + secrets.token_hex(6)
    event = {"event": "x", name: "y"}
    assert redactor.value(event) is event
    with redactor.register(name):
        assert name not in repr(redactor.value(event))
    assert redactor.value(event) == event


def test_objects_that_a_renderer_writes_out_hide_no_value() -> None:
    """A key that is a UUID or all digits is masked as an object, too, also as a name; others stay the objects."""
    redactor = Redactor(key=KEY, engine="pure")
    key, other, digits = uuid.UUID(int=0xA1B2C3D4E5F6 << 80), uuid.uuid4(), decimal.Decimal("48151623421082374619")
    with redactor.register(str(key)), redactor.register(str(digits)):
        shown = redactor.value({"id": key, "n": [digits], key: {"of": other}, other: decimal.Decimal("1.5")})
        assert str(digits)[:12] not in repr(redactor.value({int(digits): 1, 10**12: 2}))
        assert 10**12 in redactor.value({10**12: 2})
    assert not any(one in repr(shown) for one in (str(key)[:13], str(digits)[:12]))
    assert shown[other] == decimal.Decimal("1.5")
    assert other in [inside["of"] for inside in shown.values() if isinstance(inside, dict)]


def test_names_that_become_the_same_are_told_apart_in_short() -> None:
    """A mapping by objects of one type keeps all its entries, under names that do not grow with their number."""
    redactor = Redactor(key=KEY, engine="pure")
    shown = redactor.value({(number, number): number for number in range(3000)})
    assert sorted(shown.values()) == list(range(3000))
    assert max(map(len, shown)) < 40


def test_a_number_in_a_long_record_stays_a_number() -> None:
    """A record that is too long to be read as one keeps its numbers."""
    redactor = Redactor(key=KEY, engine="pure", max_line=1024)
    assert redactor.value({"n": 10**12, "text": "a b " * 400})["n"] == 10**12
