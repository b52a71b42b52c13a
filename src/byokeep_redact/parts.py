"""What of a secret tells it from other text: the parts that are no public start or frame, and their strong windows.

Rules: what chance would find, or what all keys of a kind share, is neither searched for nor counted as entropy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from byokeep_redact.canary import FRAGMENT_BYTES

SQUEEZED: Final = b"\r\n\t \0:\\\"',[](){}<>;|`"
_LEAST_DISTINCT: Final = 5

# What all keys of a kind share says nothing about one of them: it is neither searched for nor counted as entropy.
_PUBLIC: Final = re.compile(
    rb"\A(?:sk-(?:ant-[a-z]+[0-9]{2}-|proj-|svcacct-|admin-|or-v1-)|sk_(?:live|test)_|sk_V2_hgu_k?|AQ\.Ab8RN6|AIza|ya29\."
    rb"|github_pat_|gh[pousr]_|xox[abprs]-|hv[sbr]\.|eyJ[A-Za-z0-9_-]+\.)"
    rb"|-----(?:BEGIN|END) [A-Z ]{1,40}-----"
    rb"|(?<![A-Za-z0-9+/])(?:MII[A-Za-z0-9+/]{3}IBADANBgkqhkiG9w0BAQEFAASC[A-Za-z0-9+/]{22}(?:AoI[A-Za-z0-9+/]{4})?"
    rb"|MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg|MC4CAQAwBQYDK2VwBCIEI)"
)


def private_parts(value: bytes) -> list[bytes]:
    """Return what is left of a value without public starts, PEM frames and the constants inside keys."""
    return [part for part in _PUBLIC.sub(b"\0\0\0\0", value).split(b"\0\0\0\0") if len(part) >= FRAGMENT_BYTES]


def told_apart(part: bytes) -> bytes:
    """Return the squeezed part, or nothing when it tells the value from no other text."""
    plain = part.translate(None, SQUEEZED)
    return b"" if len(plain) < FRAGMENT_BYTES or (len(plain) < 20 and _one_class(plain)) else plain


def strong_windows(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield [start, end) of each stretch that is long and mixed enough to be found by."""
    for at in range(len(text) - FRAGMENT_BYTES + 1):
        if len(set(text[at : at + FRAGMENT_BYTES])) >= _LEAST_DISTINCT:
            yield at, at + FRAGMENT_BYTES


def _one_class(text: bytes) -> bool:
    return text.isdigit() or (text.isalpha() and (text.islower() or text.isupper()))
