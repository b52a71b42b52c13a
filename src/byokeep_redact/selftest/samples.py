"""The samples of the self-test: made-up secrets in every shape, live values in every encoding, and ids that must stay.

The shapes are in ``samples.toml``; a project adds its own in a corpus of templates (``docs/leak-pack.md``).
Rules: each sample names its class and shape, the parts of it that are secret, and those that must survive. What all
keys of a kind share (``sk-proj-``) is no secret. Every run draws fresh values, and a printed seed draws the same again;
a live value is registered in the project's own way before its sample is emitted.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import string
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from byokeep_redact.encodings import ENCODINGS
from byokeep_redact.errors import Rejected

SURVIVE, HEADERS, ENCODED, EVASION, COST, OWN = "must-survive", "span-headers", "encodings", "evasions", "cost", "own"
KINDS: Final = ("prefixed", "opaque", "cookie", "pem")
MEGABYTE: Final = 1 << 20
LONG: Final = "longer-than-limit"
_ALNUM: Final = string.ascii_letters + string.digits
_ALPHABETS: Final = {
    "alnum": _ALNUM, "hex": "0123456789abcdef", "url-safe": _ALNUM + "-_",
    "upper": string.ascii_uppercase + string.digits,
}  # fmt: skip
_TEMPLATES: Final[dict[str, dict[str, str]]] = tomllib.loads(
    files("byokeep_redact.selftest").joinpath("samples.toml").read_text("utf-8")
)
MADE: Final = tuple(group for group in _TEMPLATES if group not in (HEADERS, SURVIVE))
_PLACE: Final = re.compile(r"\{([a-z0-9-]+):(\d+)\}")
_KEPT: Final = re.compile("«(.*?)»")
_LEAST: Final = 16  # random characters: fewer would be found by chance


def fresh_seed() -> str:
    """Return a new seed: 16 hexadecimal characters."""
    return secrets.token_hex(8)


class ValueGenerator:
    """A stream of values that follows from ``seed`` and ``purpose`` alone. They open nothing anywhere."""

    def __init__(self, seed: str, purpose: str) -> None:
        self._name = f"{seed}/{purpose}"
        self._drawn = 0

    def octets(self, count: int) -> bytes:
        """Return ``count`` bytes."""
        self._drawn += 1
        return hashlib.shake_256(f"{self._name}/{self._drawn}".encode()).digest(count)

    def text(self, kind: str, count: int) -> str:
        """Return ``count`` characters of an alphabet; the first and the last are letters or digits."""
        drawn, alphabet = self.octets(2 * count), _ALPHABETS[kind]
        numbers = [int.from_bytes(drawn[at : at + 2], "big") for at in range(0, 2 * count, 2)]
        ends = alphabet[:62]
        middle = "".join(alphabet[number % len(alphabet)] for number in numbers[1:-1])
        return ends[numbers[0] % len(ends)] + middle + ends[numbers[-1] % len(ends)]

    def filled(self, template: str) -> tuple[str, tuple[bytes, ...]]:
        """Return a template with a fresh value in each place, and these values."""
        parts: list[str] = []

        def fill(place: re.Match[str]) -> str:
            text, drawn = self._drawn_for(place[1], int(place[2]))
            parts.extend(drawn)
            return text

        text = _PLACE.sub(fill, template)
        return text, tuple(part.encode() for part in parts)

    def _drawn_for(self, kind: str, count: int) -> tuple[str, list[str]]:
        """Return what stands in a place for a value of a kind, and the secret parts of it."""
        if kind in _ALPHABETS:
            text = self.text(kind, count)
        elif kind == "uuid":
            made = self.octets(count).hex()
            text = f"{made[:8]}-{made[8:12]}-4{made[13:16]}-a{made[17:20]}-{made[20:]}"
        elif kind == "basic":
            password = self.text("alnum", count)
            text = base64.b64encode(f"service:{password}".encode()).decode()
            return text, [text, password]
        elif kind == "jwt":
            head, claims, mark = map(_url_safe, (b'{"alg":"EdDSA","typ":"JWT"}', self.octets(count), self.octets(64)))
            return f"{head}.eyJ{claims}.{mark}", [claims, mark]
        elif kind == "base64url":
            text = _url_safe(self.octets(count))
        else:
            text = base64.b64encode(self.octets(count)).decode()
            if kind != "base64":
                form, _, columns = kind.partition("-")
                lines = textwrap.wrap(text, int(columns))
                return ("\n" if form == "lines" else "\\n").join(lines), lines
        return text, [text]


def _url_safe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Sample:
    """One text to be emitted.

    Attributes:
        group: Class of the sample, e.g. ``sk-like``.
        shape: What it looks like, e.g. ``in-url``; printed when it leaks.
        text: What is emitted.
        secrets: Parts of which no 12 bytes in a row may be recoverable from what came out.
        keep: Parts that must come out as they went in.
        live: The value to register before the text is emitted; empty = none, it must go by its looks.
        kind: Kind of the live value, one of KINDS.
    """

    group: str
    shape: str
    text: str = field(repr=False)
    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    keep: tuple[str, ...] = ()
    live: bytes = field(default=b"", repr=False)
    kind: str = "opaque"


def shapes(seed: str, group: str) -> list[Sample]:
    """Return every sample of one class of ``samples.toml``. Raises KeyError for a class that is not there."""
    draw, made = ValueGenerator(seed, group), []
    for shape, template in _TEMPLATES[group].items():
        text, parts = draw.filled(template)
        kept = tuple(_KEPT.findall(text))
        made.append(Sample(group, shape, _KEPT.sub(r"\1", text), () if kept else parts, kept))
    return made


def value_of(draw: ValueGenerator, kind: str) -> tuple[bytes, bytes, tuple[bytes, ...]]:
    """Return the value to register, what an application would emit of it, and its secret parts."""
    template = {
        "prefixed": "sk-proj-{url-safe:74}T3BlbkFJ{url-safe:74}",
        "pem": "-----BEGIN PRIVATE KEY-----\n{lines-64:138}\n-----END PRIVATE KEY-----",
    }.get(kind, "{url-safe:64}")
    text, parts = draw.filled(template)
    value = text.encode()
    return value, b"sessionid=%s; Path=/" % value if kind == "cookie" else value, parts


def encoded(seed: str) -> list[Sample]:
    """Return every encoding of a fresh value of every kind."""
    draw, made = ValueGenerator(seed, ENCODED), []
    for name, encode in ENCODINGS.items():
        for kind in KINDS:
            value, emitted, parts = value_of(draw, kind)
            text = f"body {encode(emitted).decode('latin-1')} end"
            made.append(Sample(ENCODED, f"{name}/{kind}", text, parts, live=value, kind=kind))
    return made


def evading(seed: str, ways: Sequence[str]) -> list[Sample]:
    """Return a fresh opaque value for each way of slipping by; the sample's text is the bare value."""
    draw, made = ValueGenerator(seed, EVASION), []
    for way in ways:
        value, _emitted, parts = value_of(draw, "opaque")
        made.append(Sample(EVASION, way, value.decode(), parts, live=value))
    return made


# fragments that make a careless expression or decoder backtrack, and one longer than any line may be
_FILLERS: Final[dict[str, str]] = {
    LONG: "lorem ipsum ",  # first, so that it is part of every run
    "one-letter": "a",
    "prefixes": "sk-",
    "bearers": "Bearer ",
    "escapes": "\\u0041%2541&#65;",
    "base64": "{url-safe:4096}",
    "pairs": '"token": ',
    "pem-heads": "-----BEGIN PRIVATE KEY-----\n",
}


def costly(seed: str) -> list[Sample]:
    """Return adversarial lines of 1 MB, and one of 3 MB, each with a live value at its end."""
    draw, made = ValueGenerator(seed, COST), []
    for shape, filler in _FILLERS.items():
        value, _emitted, parts = value_of(draw, "opaque")
        piece, size = draw.filled(filler)[0], MEGABYTE * (3 if shape == LONG else 1)
        text = (piece * (size // len(piece) + 1))[: size - len(value) - 1] + " " + value.decode()
        made.append(Sample(COST, shape, text, parts, live=value))
    return made


def _refuse(at: str) -> Rejected:
    return Rejected("bad_leak_corpus", next_step="See docs/leak-pack.md for the form of the file.", entry=at)


def load_own(path: Path, seed: str) -> list[Sample]:
    """Read a project's own corpus; return its samples, survivors too.

    Raises:
        Rejected: ``bad_leak_corpus`` - unreadable, empty, an unknown field, a template without ``{value}``.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise _refuse("file") from None
    draw = ValueGenerator(seed, OWN)
    made = [
        _own(entry, draw, f"sample[{at}]")
        for at, entry in enumerate(
            _entries(document, "sample", {"shape", "text", "prefix", "alphabet", "length", "registered"})
        )
    ]
    for at, entry in enumerate(_entries(document, "keep", {"shape", "text", "keep"})):
        if "keep" not in entry or str(entry["keep"]) not in str(entry["text"]):
            raise _refuse(f"keep[{at}]")
        made.append(Sample(SURVIVE, f"own-{entry['shape']}", str(entry["text"]), keep=(str(entry["keep"]),)))
    if not made:
        raise _refuse("file")
    return made


def _entries(document: Mapping[str, Any], name: str, fields: set[str]) -> list[dict[str, Any]]:
    found = document.get(name, [])
    if not set(document) <= {"sample", "keep"} or not isinstance(found, list):
        raise _refuse("file")
    for at, entry in enumerate(found):
        if not isinstance(entry, dict) or not {"shape", "text"} <= set(entry) <= fields:
            raise _refuse(f"{name}[{at}]")
    return found


def _own(entry: Mapping[str, Any], draw: ValueGenerator, at: str) -> Sample:
    alphabet, length, text = entry.get("alphabet", "alnum"), entry.get("length", 40), str(entry["text"])
    known = alphabet in _ALPHABETS and type(length) is int and length >= _LEAST
    if not known or text.count("{value}") != 1:
        raise _refuse(at)
    body = draw.text(alphabet, length)
    value = str(entry.get("prefix", "")) + body
    live = value.encode() if entry.get("registered") is True else b""
    return Sample(OWN, str(entry["shape"]), text.replace("{value}", value), (body.encode(),), live=live)
