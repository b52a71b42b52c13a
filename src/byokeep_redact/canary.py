"""Canaries: made-up keys in the shape of each provider's real ones, and the search for known values in every form.

The haystack is squeezed first (white space, NUL, colon and backslash out), so that UTF-16 text, wrapped base64 and
separated hex become their plain forms.
Rules: a canary is random every time and opens nothing anywhere; its value is never part of a repr.
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field
from typing import Final

from byokeep_redact.known import FRAGMENT_BYTES, PUBLIC

_URL_SAFE = string.ascii_letters + string.digits + "-_"
_ALNUM = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"


# A key's alphabet, and its parts in order: letters as they are, and how many are drawn.
_SHAPES: Final[dict[str, tuple[str, tuple[str | int, ...]]]] = {
    "anthropic": (_URL_SAFE, ("sk-ant-api03-", 93, "AA")),
    "google": (_URL_SAFE, ("AQ.Ab8RN6", 44)),
    "heygen": (_ALNUM, ("sk_V2_hgu_k", 10, "_", 32)),
    "kie": (_HEX, (32,)),
    "openai": (_URL_SAFE, ("sk-proj-", 74, "T3BlbkFJ", 74)),
    "openrouter": (_HEX, ("sk-or-v1-", 64)),
}
PROVIDERS: Final = tuple(_SHAPES)


def new_canary(provider: str) -> bytes:
    """Return a fresh key in the shape of `provider` (one of PROVIDERS).

    Raises KeyError for a provider without a known shape.
    """
    alphabet, parts = _SHAPES[provider]
    return "".join(
        part if isinstance(part, str) else "".join(secrets.choice(alphabet) for _ in range(part)) for part in parts
    ).encode()


@dataclass(frozen=True, slots=True)
class Canary:
    """A known value to search for: a label that may be shown, and bytes that may not.

    Any 12 bytes in a row of the value count as a leak, less the public start that all keys of its kind share. Raises
    ValueError when fewer than 12 searchable bytes remain, for a shorter pattern would be found by chance.
    """

    label: str
    value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.searched) < FRAGMENT_BYTES:
            raise ValueError("canary_too_short")

    @property
    def searched(self) -> bytes:
        """The bytes of which any 12 in a row count as a leak."""
        start = PUBLIC.match(self.value)
        return self.value[start.end() :] if start else self.value
