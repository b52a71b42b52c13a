"""Made-up values from a seed: every run draws fresh ones, and a printed seed draws the same again."""

from __future__ import annotations

import hashlib
import secrets
import string
from typing import Final

ALNUM: Final = string.ascii_letters + string.digits
URL_SAFE: Final = ALNUM + "-_"
UPPER: Final = string.ascii_uppercase + string.digits
HEX: Final = "0123456789abcdef"


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

    def text(self, alphabet: str, count: int) -> str:
        """Return ``count`` characters of ``alphabet``."""
        drawn = self.octets(2 * count)
        return "".join(
            alphabet[int.from_bytes(drawn[at : at + 2], "big") % len(alphabet)] for at in range(0, 2 * count, 2)
        )

    def secret(self, count: int = 43) -> str:
        """Return a token as most issuers make them: letters and digits, both cases."""
        return self.text(ALNUM, count)

    def uuid(self) -> str:
        """Return a random UUID (version 4)."""
        text = self.octets(16).hex()
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
