"""A value that must not be shown.

Rules
- :meth:`Secret.reveal` is the only way out; everything else refuses or masks.
- Comparison goes through :meth:`Secret.matches` (constant time), never ``==``.
- :meth:`Secret.wipe`, which also ends a ``with`` block over a secret, overwrites our copy. Python keeps others
  (TLS buffers, ``str`` objects of libraries); the threat model says so.
"""

from __future__ import annotations

import hmac
from typing import Final, NoReturn, Self, final

MASK: Final = "***"


@final
class Secret:
    """Holds secret bytes.

    Args:
        value: The secret; ``str`` is encoded as UTF-8.

    Raises:
        TypeError: On any attempt to pickle, compare, hash, iterate or measure it.
        ValueError: :meth:`reveal` after :meth:`wipe`.
    """

    __slots__ = ("_buffer",)

    def __init__(self, value: bytes | bytearray | str) -> None:
        self._buffer: bytearray | None = bytearray(value.encode() if isinstance(value, str) else value)

    def reveal(self) -> bytes:
        """Return the plaintext bytes. Callers keep the copy as short as they can."""
        if self._buffer is None:
            raise ValueError("secret was wiped")
        return bytes(self._buffer)

    def matches(self, other: bytes | Secret) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.reveal(), other.reveal() if isinstance(other, Secret) else other)

    def wipe(self) -> None:
        """Overwrite and drop our copy. Calling it twice is fine."""
        if self._buffer is not None:
            self._buffer[:] = bytes(len(self._buffer))
            self._buffer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()

    @property
    def wiped(self) -> bool:
        """Whether :meth:`wipe` has run."""
        return self._buffer is None

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a Secret cannot be compared, hashed, measured, iterated, copied or serialised")

    __eq__ = _refuse
    __ne__ = _refuse
    __hash__ = _refuse
    __len__ = _refuse
    __iter__ = _refuse
    __bytes__ = _refuse
    __reduce__ = _refuse
    __reduce_ex__ = _refuse
    __getstate__ = _refuse
    __copy__ = _refuse
    __deepcopy__ = _refuse
