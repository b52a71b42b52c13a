"""One error tree. What an error is named says what its receiver should do next.

Rules
- Every error carries a stable ``code`` (lower_snake) and safe fields only: ids, enums, integers.
- No foreign text ever gets in: no driver message, no HTTP body, no submitted value.
- HTTP status and CLI exit code are properties of the class, so that every surface answers alike.

It may not hold a cause: raise with ``from None``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final
from uuid import UUID

_CODE: Final = re.compile(r"[a-z][a-z0-9_]{1,62}\Z")
_SAFE_TEXT: Final = re.compile(r"[A-Za-z0-9_.:,/@\[\] -]{0,200}\Z")

type_of_field = str | int | UUID | None


class ByokeepError(Exception):
    """Root of all errors.

    Args:
        code: Stable machine-readable reason, ``[a-z][a-z0-9_]*``.
        next_step: One sentence telling the receiver what to do; a constant of the program.
        fields: Ids, enum values and integers that explain the code.

    Raises:
        ValueError: A code or field that could carry foreign text.
    """

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, code: str, *, next_step: str = "", **fields: type_of_field) -> None:
        if not _CODE.match(code):
            raise ValueError("error code must be lower_snake")
        for name, value in fields.items():
            if isinstance(value, str) and not _SAFE_TEXT.match(value):
                raise ValueError(f"error field {name} holds text that an error may not carry")
        super().__init__(code)
        self.code = code
        self.next_step = next_step
        self.on_record = False  # set by who records the refusal, so that nobody on its way out records it again
        self.fields: dict[str, str | int | None] = {
            name: str(value) if isinstance(value, UUID) else value for name, value in fields.items()
        }

    def __str__(self) -> str:
        """Return the code and the safe fields, for logs and terminals."""
        detail = " ".join(f"{name}={value}" for name, value in sorted(self.fields.items()))
        return f"{self.code} {detail}".rstrip()


class Rejected(ByokeepError):
    """The input is wrong; nothing was stored (REJECT)."""

    exit_code = 2
    http_status = 422


class Denied(ByokeepError):
    """The caller may not do this; nothing changed (DENY)."""

    exit_code = 3
    http_status = 403


class Unauthenticated(Denied):
    """No valid credential was shown."""

    http_status = 401


class NotFound(Denied):
    """There is no such object for this caller; another client's object answers the same."""

    http_status = 404


class Unavailable(ByokeepError):
    """A part that must work does not; nothing was released and nothing acted (UNAVAIL)."""

    exit_code = 4
    http_status = 503


class Pending(Unavailable):
    """What was asked for holds, and a part that could not be reached is still to follow by itself (PENDING)."""

    exit_code = 7


class RateLimited(Unavailable):
    """Too many calls; ``retry_after_s`` says when to come back."""

    http_status = 429


class Integrity(ByokeepError):
    """Stored bytes are not what was written; the object is quarantined (TAMPER)."""

    exit_code = 5
    http_status = 409


class Conflict(ByokeepError):
    """Somebody else was first; their state is intact (CONFLICT)."""

    exit_code = 6
    http_status = 409


# What the classes are called on the wire (RFC 9457 ``type``), the narrower before the wider.
KINDS: Final[Mapping[str, type[ByokeepError]]] = MappingProxyType(
    {
        "rejected": Rejected, "unauthenticated": Unauthenticated, "not_found": NotFound, "denied": Denied,
        "rate_limited": RateLimited, "pending": Pending, "unavailable": Unavailable,
        "integrity": Integrity, "conflict": Conflict,
    }
)  # fmt: skip
