"""The root of the error tree, and what the redactor raises of it; :mod:`byokeep_redact.errors` has the rest.

Rules
- Every error carries a stable ``code`` (lower_snake) and safe fields only: ids, enums, integers.
- No foreign text ever gets in: no driver message, no HTTP body, no submitted value.
- HTTP status and CLI exit code are properties of the class, so that every surface answers alike.

It may not hold a cause: raise with ``from None``.
"""

from __future__ import annotations

import re
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
        self._next_step = ""
        self.next_step = next_step
        self.on_record = False  # set by who records the refusal, so that nobody on its way out records it again
        self.fields: dict[str, str | int | None] = {
            name: str(value) if isinstance(value, UUID) else value for name, value in fields.items()
        }

    @property
    def next_step(self) -> str:
        """What the receiver is told to do; a traceback shows it."""
        return self._next_step

    @next_step.setter
    def next_step(self, said: str) -> None:
        others = [note for note in getattr(self, "__notes__", ()) if note != self._next_step]
        self._next_step, self.__notes__ = said, [said, *others] if said else others

    def __str__(self) -> str:
        """Return the code and the safe fields, for logs and terminals."""
        detail = " ".join(f"{name}={value}" for name, value in sorted(self.fields.items()))
        return f"{self.code} {detail}".rstrip()


class Rejected(ByokeepError):
    """The input is wrong; nothing was stored (REJECT)."""

    exit_code = 2
    http_status = 422


class Conflict(ByokeepError):
    """Somebody else was first; their state is intact (CONFLICT)."""

    exit_code = 6
    http_status = 409
