"""Finds a secret of ours in a text that a platform says: names, ids and scopes are kept and shown, secrets are not.

Rules
- Looks for the whole secret and for any run of 20 characters of it, in any case of letters.
- Answers yes or no; it never says where or what.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from byokeep.core.secret import Secret

_RUN: Final = 20
_SHORTEST: Final = 8  # what is shorter stands in a text by chance


def repeats(texts: Iterable[str | None], secrets: Iterable[Secret | None]) -> bool:
    """Whether any text holds a secret, or a long part of one; a secret that was wiped is passed over."""
    said = [text.lower() for text in texts if text]
    runs = {text[at : at + _RUN] for text in said for at in range(len(text) - _RUN + 1)}
    for secret in secrets:
        if secret is None or secret.wiped:
            continue
        held = secret.reveal().decode("utf-8", "replace").lower()
        if len(held) < _SHORTEST:
            continue
        if any(held in text for text in said) or any(
            held[at : at + _RUN] in runs for at in range(len(held) - _RUN + 1)
        ):
            return True
    return False
