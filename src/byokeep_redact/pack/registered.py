"""Samples of live values: registered with the redactor, then emitted in every encoding and in ways meant to slip by.

Rules: one fresh value per sample; the value goes in through the project's own way of registering; what the encodings
are is said by ``byokeep_redact.encodings``, not here.
"""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from byokeep_redact.encodings import ENCODINGS
from byokeep_redact.pack.corpus import Sample
from byokeep_redact.pack.draw import URL_SAFE, Draw

ENCODED: Final = "encodings"
EVASION: Final = "evasions"
COST: Final = "cost"
KINDS: Final = ("prefixed", "opaque", "cookie", "pem")
MEGABYTE: Final = 1 << 20
LONG: Final = "longer-than-limit"


@dataclass(frozen=True, slots=True)
class RegisteredValues:
    """A value to register, and the sample that holds it. ``kind`` is one of KINDS."""

    kind: str
    value: bytes = field(repr=False)
    sample: Sample


def value_of(draw: Draw, kind: str) -> tuple[bytes, bytes, tuple[bytes, ...]]:
    """Return the value to register, what an application would emit of it, and its secret parts."""
    if kind == "prefixed":
        first, second = draw.text(URL_SAFE, 74).encode(), draw.text(URL_SAFE, 74).encode()
        value = b"sk-proj-" + first + b"T3BlbkFJ" + second
        return value, value, (first, second)
    if kind == "pem":
        lines = tuple(line.encode() for line in textwrap.wrap(base64.b64encode(draw.octets(138)).decode(), 64))
        value = b"\n".join([b"-----BEGIN PRIVATE KEY-----", *lines, b"-----END PRIVATE KEY-----"])
        return value, value, lines
    value = draw.text(URL_SAFE, 64).encode()
    return value, b"sessionid=%s; Path=/" % value if kind == "cookie" else value, (value,)


def encoded(seed: str, kinds: Sequence[str] = KINDS) -> list[RegisteredValues]:
    """Return every encoding of a fresh value of every kind."""
    draw, made = Draw(seed, ENCODED), []
    for name, encode in ENCODINGS.items():
        for kind in kinds:
            value, emitted, parts = value_of(draw, kind)
            text = f"body {encode(emitted).decode('latin-1')} end"
            made.append(RegisteredValues(kind, value, Sample(ENCODED, f"{name}/{kind}", text, parts)))
    return made


def evading(seed: str, ways: Sequence[str]) -> list[RegisteredValues]:
    """Return a fresh opaque value for each way of slipping by; the sample's text is the bare value."""
    draw, made = Draw(seed, EVASION), []
    for way in ways:
        value, _emitted, parts = value_of(draw, "opaque")
        made.append(RegisteredValues("opaque", value, Sample(EVASION, way, value.decode(), parts)))
    return made


# fragments that make a careless expression or decoder backtrack, and one longer than any line may be
_FILLERS: Final[dict[str, Callable[[Draw], str]]] = {
    LONG: lambda _draw: "lorem ipsum ",  # first, so that it is part of every run
    "one-letter": lambda _draw: "a",
    "prefixes": lambda _draw: "sk-",
    "bearers": lambda _draw: "Bearer ",
    "escapes": lambda _draw: "\\u0041%2541&#65;",
    "base64": lambda draw: draw.text(URL_SAFE, 4096),
    "pairs": lambda _draw: '"token": ',
    "pem-heads": lambda _draw: "-----BEGIN PRIVATE KEY-----\n",
}


def costly(seed: str) -> list[RegisteredValues]:
    """Return adversarial lines of 1 MB, and one of 3 MB, each with a live value at its end."""
    draw, made = Draw(seed, COST), []
    for shape, filler in _FILLERS.items():
        value, _emitted, parts = value_of(draw, "opaque")
        piece, size = filler(draw), MEGABYTE * (3 if shape == LONG else 1)
        text = (piece * (size // len(piece) + 1))[: size - len(value) - 1] + " " + value.decode()
        made.append(RegisteredValues("opaque", value, Sample(COST, shape, text, parts)))
    return made
