"""Replaced attributes of foreign classes and modules, and the way back.

Rules
- What was found is put back, or taken away where nothing stood.
- Where somebody else has replaced ours meanwhile, theirs stays; ours is then inert, because its wall is off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

_NOTHING: Final = object()


class Patches:
    """The replacements of one hook."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, str, object, object]] = []

    def put(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replace ``owner.name`` by what ``make`` makes of it.

        Raises:
            AttributeError: There is no such attribute: the library is not the one this hook was written for.
        """
        before = vars(owner).get(name, _NOTHING)
        ours = make(getattr(owner, name))
        setattr(owner, name, ours)
        self._made.append((owner, name, before, ours))

    def add(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute that need not be there, such as a module's own ``print``."""
        self._made.append((owner, name, vars(owner).get(name, _NOTHING), value))
        setattr(owner, name, value)

    def undo(self) -> None:
        """Put back everything, last first."""
        while self._made:
            owner, name, before, ours = self._made.pop()
            if vars(owner).get(name) is not ours:
                continue
            if before is _NOTHING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
