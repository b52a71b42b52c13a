"""Made-up secrets for the tests of redaction: fills the templates of tests/vectors/redact.

`<b62:48>` in a template becomes 48 letters and digits, and so on for the kinds below; what must be gone stands between
`<<` and `>>`. The same seed gives the same text.
"""

from __future__ import annotations

import base64
import json
import random
import re
import string
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

VECTORS: Final = Path(__file__).parents[1] / "vectors" / "redact"
_KIND: Final = re.compile(r"<([A-Za-z][A-Za-z0-9-]*?)((?::[0-9]+)*)>")
_ALPHABETS: Final = {
    "b62": string.ascii_letters + string.digits,
    "id": string.ascii_letters + string.digits + "-_",
    "hex": "0123456789abcdef",
    "HEX": "0123456789ABCDEF",
    "b32": string.ascii_uppercase + "234567",
    "upper": string.ascii_uppercase + string.digits,
    "lower": string.ascii_lowercase + string.digits,
    "dec": "123456789",
}


def _b64(chance: random.Random, size: int) -> str:
    return base64.b64encode(chance.randbytes(size)).decode()


def _lines(chance: random.Random, size: int, width: int) -> str:
    text = _b64(chance, size)
    return "\n".join(text[at : at + width] for at in range(0, len(text), width))


def _jose(document: dict[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def _made(chance: random.Random, kind: str, sizes: list[int]) -> str | None:
    if kind in _ALPHABETS:
        return "".join(chance.choices(_ALPHABETS[kind], k=sizes[0]))
    made = {
        "root": lambda: _b64(chance, 32),
        "tgz": lambda: ".tgz",
        "b64": lambda: _b64(chance, sizes[0]),
        "b64-nopad": lambda: _b64(chance, sizes[0]).rstrip("="),
        "b64-url": lambda: _b64(chance, sizes[0]).replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        "b64-lines": lambda: _lines(chance, sizes[0], sizes[1]),
        "uuid": lambda: str(uuid.UUID(bytes=chance.randbytes(16), version=4)),
        "basic": lambda: base64.b64encode(f"user:{chance.getrandbits(80):x}".encode()).decode(),
        "jwt": lambda: (
            ".".join(
                (
                    _jose({"alg": "HS256", "typ": "JWT"}),
                    _jose({"sub": chance.randbytes(9).hex()}),
                    "ab" + _b64(chance, 31)[:41],
                )
            )
            .replace("+", "-")
            .replace("/", "_")
        ),
        "jwt-cut": lambda: _jose({"alg": "RS256", "kid": "1"}) + "." + _jose({"sub": chance.randbytes(9).hex()}),
        "jwe": lambda: _jose({"alg": "dir", "enc": "A256GCM"}) + ".." + "".join(chance.choices(_ALPHABETS["id"], k=90)),
    }
    return made[kind]() if kind in made else None


def filled(template: str, seed: object) -> str:
    """Return `template` with every kind replaced by something drawn; the marks stay."""
    chance = random.Random(f"{template}/{seed}")

    def fill(found: re.Match[str]) -> str:
        made = _made(chance, found[1], [int(size) for size in found[2].split(":")[1:]])
        return found[0] if made is None else made

    return _KIND.sub(fill, template)


def marked(text: str) -> tuple[bytes, list[tuple[int, int]]]:
    """Return the text without its marks, and the [start, end) that stood between them."""
    out, spans = b"", []
    for number, part in enumerate(re.split(r"<<|>>(?!>)", text)):
        data = part.encode()
        if number % 2:
            spans.append((len(out), len(out) + len(data)))
        out += data
    return out, spans


def secrets() -> Iterator[tuple[str, str]]:
    """Yield (rule, template) for every sample there is."""
    document = tomllib.loads((VECTORS / "secrets.toml").read_text())
    for rule, samples in document["rule"].items():
        for shape in samples.get("shapes", []):
            for wrap in document["wraps"]:
                yield rule, wrap.replace("{}", shape)
        for line in samples.get("lines", []):
            yield rule, line


def clean() -> list[str]:
    """Return the templates of lines that must survive byte for byte."""
    lines = (VECTORS / "clean.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("## ")]
