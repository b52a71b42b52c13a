"""The hook into loguru: each record as a handler takes it, after every patcher.

Rules
- An exception becomes redacted text below the message; loguru's own shows the values of variables.
- On failure the message is ``redaction_error`` and nothing else of the record is left but its time, level and place.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from byokeep_redact.hooks.patches import Patches
from byokeep_redact.hooks.wall import REDACTION_ERROR, Wall

_TEXTS: Final = ("name", "function", "module")
_NAMED: Final = ("thread", "process")


class LoguruHook:
    """Puts the wall before every sink."""

    def __init__(self, wall: Wall) -> None:
        self._wall = wall
        self._patches = Patches()

    def place(self) -> None:
        """Take the handlers' one entry."""
        self._patches.put(import_module("loguru._handler").Handler, "emit", self._emit)

    def remove(self) -> None:
        """Give it back."""
        self._patches.undo()

    def _emit(self, original: Callable[..., None]) -> Callable[..., None]:
        def emit(handler: Any, record: dict[str, Any], *more: Any) -> None:
            if self._wall.on:
                try:
                    record = self._clean(record)
                except Exception:  # better no record than a raw one
                    record = record | {"message": REDACTION_ERROR, "exception": None, "extra": {}}
                    record |= {name: _renamed(record[name], "") for name in _NAMED}
            original(handler, record, *more)

        return emit

    def _clean(self, record: dict[str, Any]) -> dict[str, Any]:
        wall = self._wall
        message = wall.line(record["message"])
        error = record["exception"].value if record["exception"] else None
        if error is not None:
            message += "\n" + wall.report(error)
        texts = {name: wall.line(record[name]) for name in _TEXTS if isinstance(record[name], str)}
        named = {name: _renamed(record[name], wall.line(record[name].name)) for name in _NAMED}
        extra = wall.fields(record["extra"])
        return record | texts | named | {"message": message, "exception": None, "extra": extra}


def _renamed(found: Any, name: str) -> Any:
    """Return loguru's own record of a thread or process under another name."""
    return type(found)(found.id, name)
