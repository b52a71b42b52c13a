"""Time and randomness of the operating system.

Rules
- No process may be told another time or another source of randomness: there is no setting for either.
"""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from uuid import UUID, uuid4


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Return the aware UTC time."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""
        return time.monotonic()


class SystemIds:
    """The kernel's random source."""

    def uuid(self) -> UUID:
        """Return a random UUID (version 4)."""
        return uuid4()

    def token(self) -> str:
        """Return 256 random bits, base64url without padding."""
        return secrets.token_urlsafe(32)
