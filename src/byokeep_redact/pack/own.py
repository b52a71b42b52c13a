"""A project's own corpus: a TOML file of templates, never of values.

[[sample]]                      # must be redacted
shape = "acme-token"
text = "login with {value}"     # {value} is prefix + random characters
prefix = "acme_"                # default ""
alphabet = "alnum"              # alnum, hex, url-safe or upper; default alnum
length = 32                     # default 40
registered = false              # true: registered as a live value first

[[keep]]                        # must survive
shape = "order-id"
text = "order ORD-2026-000123 shipped"
keep = "ORD-2026-000123"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from byokeep_redact.errors import Rejected
from byokeep_redact.pack.corpus import SURVIVE, Sample
from byokeep_redact.pack.draw import ALNUM, HEX, UPPER, URL_SAFE, Draw
from byokeep_redact.pack.registered import RegisteredValues

OWN: Final = "own"
_ALPHABETS: Final = {"alnum": ALNUM, "hex": HEX, "url-safe": URL_SAFE, "upper": UPPER}
_SAMPLE: Final = {"shape", "text", "prefix", "alphabet", "length", "registered"}
_KEEP: Final = {"shape", "text", "keep"}
_LEAST: Final = 16  # random characters: fewer would be found by chance


def _refuse(at: str) -> Rejected:
    return Rejected("bad_leak_corpus", next_step="See docs/leak-pack.md for the form of the file.", entry=at)


def load_own(path: Path, seed: str) -> tuple[list[Sample], list[RegisteredValues]]:
    """Read the file; return its samples (survivors too) and its registered ones.

    Raises:
        Rejected: ``bad_leak_corpus`` - unreadable, empty, an unknown field, a template without ``{value}``.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise _refuse("file") from None
    draw, plain, live = Draw(seed, OWN), [], []
    for at, entry in enumerate(_entries(document, "sample", _SAMPLE)):
        prefix, sample = _sample(entry, draw, f"sample[{at}]")
        if entry.get("registered") is True:
            live.append(RegisteredValues("opaque", prefix.encode() + sample.secrets[0], sample))
        else:
            plain.append(sample)
    for at, entry in enumerate(_entries(document, "keep", _KEEP)):
        if set(entry) != _KEEP or str(entry["keep"]) not in str(entry["text"]):
            raise _refuse(f"keep[{at}]")
        plain.append(Sample(SURVIVE, f"own-{entry['shape']}", str(entry["text"]), keep=(str(entry["keep"]),)))
    if not plain and not live:
        raise _refuse("file")
    return plain, live


def _entries(document: Mapping[str, Any], name: str, fields: set[str]) -> list[dict[str, Any]]:
    found = document.get(name, [])
    if not set(document) <= {"sample", "keep"} or not isinstance(found, list):
        raise _refuse("file")
    for at, entry in enumerate(found):
        if not isinstance(entry, dict) or not {"shape", "text"} <= set(entry) <= fields:
            raise _refuse(f"{name}[{at}]")
    return found


def _sample(entry: Mapping[str, Any], draw: Draw, at: str) -> tuple[str, Sample]:
    alphabet, length = entry.get("alphabet", "alnum"), entry.get("length", 40)
    known = alphabet in _ALPHABETS and type(length) is int and length >= _LEAST
    if not known or str(entry["text"]).count("{value}") != 1:
        raise _refuse(at)
    prefix, body = str(entry.get("prefix", "")), draw.text(_ALPHABETS[alphabet], length)
    text = str(entry["text"]).replace("{value}", prefix + body)
    return prefix, Sample(OWN, str(entry["shape"]), text, (body.encode(),))
