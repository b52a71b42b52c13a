"""The one tree of errors, and how any other failure becomes one of them.

The class of an error tells its receiver what to do next. The root, its rules, and the two classes that the redactor
raises, too, are in :mod:`byokeep_redact.errors`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import ClassVar, Final

from byokeep_redact.errors import ByokeepError, Conflict, Rejected, type_of_field

__all__ = [
    "KINDS", "ByokeepError", "Conflict", "Denied", "Integrity", "NotFound", "Pending", "RateLimited", "Rejected",
    "Unauthenticated", "Unavailable", "refusing",
]  # fmt: skip


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
    usual_step: ClassVar[str] = (
        "Try again. If it persists, run `byokeep doctor` on the server's host to see what is wrong."
    )

    def __init__(self, code: str, *, next_step: str = "", **fields: type_of_field) -> None:
        """Use the class's own next step if the caller gives none."""
        of_store = "The store did not respond as it must: nothing was released, and nothing that was sent in serves. "
        usual = of_store * code.startswith("store_") + self.usual_step
        super().__init__(code, next_step=next_step or usual, **fields)


class Pending(Unavailable):
    """What was asked for holds, and a part that could not be reached is still to follow by itself (PENDING)."""

    exit_code = 7
    usual_step = "It is retried automatically."


class RateLimited(Unavailable):
    """Too many calls; ``retry_after_s`` says when to come back."""

    http_status = 429
    usual_step = "Wait for as many seconds as `retry_after_s` says, then try again."


class Integrity(ByokeepError):
    """Stored bytes are not what was written; the object is quarantined (TAMPER)."""

    exit_code = 5
    http_status = 409


# What the classes are called on the wire (RFC 9457 ``type``), subclasses before their base.
KINDS: Final[Mapping[str, type[ByokeepError]]] = MappingProxyType(
    {
        "rejected": Rejected, "unauthenticated": Unauthenticated, "not_found": NotFound, "denied": Denied,
        "rate_limited": RateLimited, "pending": Pending, "unavailable": Unavailable,
        "integrity": Integrity, "conflict": Conflict,
    }
)  # fmt: skip

_MISREAD: Final = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


@contextmanager
def refusing(
    code: str, kind: type[ByokeepError] = Integrity, *, next_step: str = "",
    on: type[Exception] | tuple[type[Exception], ...] = _MISREAD, **fields: type_of_field,
) -> Iterator[None]:  # fmt: skip
    """Turn every error of reading a document or a reply, or those of ``on``, into one refusal with ``code``.

    A parser of a signed document builds what it says, writes that again and compares: there is one spelling.

    Args:
        kind: The class of the refusal, which gets the code and the other arguments.
        on: Which errors, if not those of reading.
    """
    try:
        yield
    except on:
        raise kind(code, next_step=next_step, **fields) from None
