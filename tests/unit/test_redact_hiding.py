"""No match may hide another: pairs whose values are the names of secrets, around real ones, in every form of a pair.

A rule takes `"class":"secret","client_token":"..."` for a name and its value once, and must then still see the pair.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable
from typing import Literal
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byokeep_redact import Redactor
from byokeep_redact.leaks import Shapes
from byokeep_redact.mask import Mask
from byokeep_redact.rules import default_rules

KEY = b"k" * 32
MOST_SHOWN = 11  # characters of a secret that may be left in a row
NAMES = ("client_token", "password", "api_key", "secret_id", "refresh_token", "client_secret", "token", "unseal_key")
WORDS = (
    "secret", "token", "password", "api_key", "key", "auth", "session", "credential", "Bearer", "Basic", "cookie",
    "Authorization", "client_token", "app_client_session_id", "secret-id", "none", "value", "--token", "authorization",
    "",
)  # fmt: skip
PLAIN = ("mount_class", "kind", "class", "secret", "token", "authorization", "cookie", "auth", "key", "bearer", "flow")
_DRAWN = random.Random(7)  # so that no value stands in this file
SECRET = "".join(_DRAWN.choices(string.ascii_letters + string.digits, k=22))
DIGITS = _DRAWN.randbytes(16).hex()
_ENGINES: tuple[Literal["hyperscan", "pure"], ...] = ("hyperscan", "pure")
_REDACTORS = {engine: Redactor(key=KEY, engine=engine) for engine in _ENGINES}
_SHAPES = Shapes(Mask(KEY), weak=True)

Pairs = list[tuple[str, str]]


def _dumped(pairs: Pairs) -> str:
    """JSON by hand, so that a name may come twice."""
    return "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs) + "}"


def _spaced(pairs: Pairs) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in pairs) + "}"


def _nested(pairs: Pairs) -> str:
    return '{"type":"secret","data":{"auth":' + _dumped(pairs) + ',"token":"secret"}}'


FORMS: dict[str, Callable[[Pairs], str]] = {
    "json": _dumped,
    "json with blanks": _spaced,
    "json nested": _nested,
    "json in json": lambda pairs: json.dumps({"secret": _dumped(pairs)}),
    "json in json in json": lambda pairs: json.dumps({"token": json.dumps({"key": _dumped(pairs)})}),
    "json lines": lambda pairs: "\n".join(_dumped([pair]) for pair in pairs),
    "repr": lambda pairs: "{" + ", ".join(f"{name!r}: {value!r}" for name, value in pairs) + "}",
    "tuples": repr,
    "lists": json.dumps,
    "bytes": lambda pairs: repr([(name.encode(), value.encode()) for name, value in pairs]),
    "flat list": lambda pairs: ",".join(f'"{name}","{value}"' for name, value in pairs),
    "headers": lambda pairs: "\r\n".join(f"{name}: {value}" for name, value in pairs),
    "yaml": lambda pairs: "auth:\n" + "\n".join(f"  {name}: {value}" for name, value in pairs),
    "query": lambda pairs: "GET /v1?" + urlencode(pairs),
    "words": lambda pairs: " ".join(f"{name}={value}" for name, value in pairs),
    "commas": lambda pairs: ",".join(f"{name}={value}" for name, value in pairs),
    "quoted words": lambda pairs: " ".join(f'{name}="{value}"' for name, value in pairs),
    "har": lambda pairs: json.dumps([{"name": name, "value": value} for name, value in pairs]),
}

_value = st.text(string.ascii_letters + string.digits, min_size=22, max_size=40).filter(
    lambda text: (
        all(not set(text) <= set(kind) for kind in (string.ascii_letters, string.digits, string.hexdigits))
        and len(set(text)) > 12
    )
)
_plain = st.tuples(st.sampled_from(PLAIN), st.sampled_from(WORDS))


@st.composite
def _lines(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Return a line and the secrets in it."""
    secrets = draw(st.lists(_value, min_size=1, max_size=3, unique=True))
    pairs = draw(st.lists(_plain, max_size=4))
    pairs += [(draw(st.sampled_from(NAMES)), value) for value in secrets]
    return FORMS[draw(st.sampled_from(sorted(FORMS)))](draw(st.permutations(pairs))), secrets


def _shown(text: str, value: str) -> bool:
    size = MOST_SHOWN + 1
    return any(value[at : at + size] in text for at in range(len(value) - size + 1))


@settings(max_examples=600, deadline=None)
@given(_lines())
def test_no_word_hides_a_pair(line: tuple[str, list[str]]) -> None:
    """Whatever stands before, after and between: no secret comes out, both engines say the same, twice is once."""
    text, secrets = line
    outs = {engine: redactor.text(text) for engine, redactor in _REDACTORS.items()}
    assert outs["hyperscan"] == outs["pure"]
    assert not [value for value in secrets if _shown(outs["pure"], value)]
    assert _REDACTORS["pure"].text(outs["pure"]) == outs["pure"]


@settings(max_examples=250, deadline=None)
@given(_lines())
def test_the_scanner_agrees_with_every_rule(line: tuple[str, list[str]]) -> None:
    """Each place that a rule names is in what the scanner found."""
    data = line[0].encode()
    found = list(_SHAPES.find(data))
    for value in line[1]:
        named = [one for one in default_rules().find(data) if value.encode() in data[one.start : one.end]]
        assert not named or any(value.encode()[:12] in data[one.start : one.end] for one in found)


CASES = {
    "class before token": f'{{"class":"secret","client_token":"{SECRET}"}}',
    "mount class": f'{{"mount_class":"secret","x":1,"kind":"token","client_token":"{SECRET}"}}',
    "single quotes": f"x 'token','password':'{SECRET}'",
    "bearer twice": f"Bearer Bearer {SECRET}",
    "a mapping without quotes": f"secret={{client_token={SECRET}}}",
    "an option without a value": f"--token --password {SECRET}",
    "a placeholder's header": f'{{"authorization":"none","Proxy-Authorization":"{SECRET}"}}',
    "a cookie's name": f"[\"cookie\",\"set-cookie\":\"sid={SECRET}\"]",
    "weakly named": f'["key","app_client_session_id":"{DIGITS}"]',
}  # fmt: skip


@pytest.mark.parametrize("engine", _ENGINES)
@pytest.mark.parametrize("case", CASES)
def test_a_refused_match_hides_nothing(case: str, engine: Literal["hyperscan", "pure"]) -> None:
    """Lines in which a match that is refused, or whose value is a name, overlaps the pair that counts."""
    out = _REDACTORS[engine].text(CASES[case])
    assert not _shown(out, SECRET)
    assert not _shown(out, DIGITS)


@pytest.mark.parametrize("case", sorted(set(CASES) - {"weakly named"}))
def test_the_scanner_sees_behind_a_refused_match(case: str) -> None:
    """The same for what a scan reports."""
    data = CASES[case].encode()
    assert any(SECRET.encode() in data[one.start : one.end] for one in Shapes(Mask(KEY)).find(data))


_ENDLESS = ('"token",', "token={secret=", "authorization: x ", "--token ", '"cookie","', "basic ")


@pytest.mark.parametrize("unit", _ENDLESS)
def test_names_without_end_are_masked_rather_than_read(unit: str) -> None:
    """A line of names alone that nest without end hides no secret at its end."""
    line = unit * (1 << 14) + f'"client_token":"{SECRET}"'
    assert not _shown(_REDACTORS["pure"].text(line), SECRET)
