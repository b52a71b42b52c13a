"""Makes what FastAPI builds of a declared parameter or reply once a process.

A test has applications of its own, each with the same hundreds of declarations; what validates a value by one of them
holds no state. Everything else of an application is made anew.
"""

from __future__ import annotations

from typing import Any

from fastapi._compat.v2 import ModelField, asdict
from pydantic import TypeAdapter

_build = ModelField.__post_init__
# The declaration is kept with what was made of it, so that no other object comes to lie, and to be shown, at its place.
_made: dict[Any, tuple[TypeAdapter[Any], object]] = {}


def _once(self: ModelField) -> None:
    declared = asdict(self.field_info)
    key = declared["annotation"], repr((declared["metadata"], declared["attributes"], self.config))
    if key not in _made:
        _build(self)
        _made[key] = self._type_adapter, self.field_info
    self._type_adapter = _made[key][0]


def share() -> None:
    """From now on, and for the process."""
    ModelField.__post_init__ = _once  # type: ignore[method-assign]
