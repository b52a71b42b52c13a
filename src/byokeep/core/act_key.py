"""The form of an idempotency key, which names one act for the program that does it and for the gate that judges it.

It may not make one: only the program knows which acts are the same act.
"""

from __future__ import annotations

import re
from typing import Final

from byokeep.core.errors import Rejected

_KEY: Final = re.compile(r"[A-Za-z0-9_.:-]{8,64}\Z")


def is_key(text: str) -> bool:
    """Whether a text has the form of an idempotency key."""
    return _KEY.match(text) is not None


def check_key(text: object) -> None:
    """Check the form of an idempotency key, before anything is looked up under it.

    Raises:
        Rejected: ``bad_key``.
    """
    if not isinstance(text, str) or not is_key(text):
        raise Rejected("bad_key", next_step="An idempotency key has 8 to 64 letters, digits and . _ : - characters.")
