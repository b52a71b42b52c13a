"""The hook into structlog: the last processor before the renderer.

Rules
- An exception becomes redacted text here, so that no renderer prints frames with their locals; frames that another
  processor has made already lose theirs.
- Text that could begin a line of its own is escaped, unless the renderer quotes it (``one_line=False``).
- On failure the event is ``redaction_error`` with the time and level it came with, and nothing else.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

from structlog import BoundLoggerBase

from byokeep_redact.hooks.wall import REDACTION_ERROR, PatchingHook, Wall, one_line

_MULTILINE: Final = frozenset({"exception", "stack"})
_PASSING: Final = ("_record", "_logger", "_from_structlog")


class StructlogWall:
    """A processor: put it last before the renderer.

    Args:
        wall: What cleans.
        one_line: Escape control characters in texts; ``False`` for a renderer that quotes them, as JSON does.
        failed: Makes the record that stands for one that could not be cleaned.
    """

    def __init__(
        self, wall: Wall, *, one_line: bool = True, failed: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    ) -> None:
        self.wall, self._one_line, self._failed = wall, one_line, failed or _failed

    def __call__(self, _: object, __: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Return the record without secrets."""
        try:
            if not self.wall.on:
                return record
            if "exc_info" in record or "exception" in record or "_record" in record:
                return self._closely(record)
            clean: dict[str, Any] = self.wall.value(record)
            return self._lined(clean) if self._one_line else clean
        except Exception:  # better no record than a raw one
            return self._failed(record)

    def _closely(self, record: MutableMapping[str, Any]) -> dict[str, Any]:
        error = _error_of(record.pop("exc_info", None))
        if error is not None:
            record["exception"] = self.wall.report(error)
        if isinstance(record.get("exception"), list | tuple):
            record["exception"] = _without_locals(record["exception"])
        passing = {name: record[name] for name in _PASSING if name in record}
        clean = self.wall.value({name: item for name, item in record.items() if name not in passing})
        return (self._lined(clean) if self._one_line else clean) | passing

    def _lined(self, clean: dict[str, Any]) -> dict[str, Any]:
        for name, item in clean.items():
            if type(item) is str and not item.isprintable() and name not in _MULTILINE:
                clean[name] = one_line(item)
        return clean


def _error_of(found: object) -> BaseException | None:
    if isinstance(found, BaseException):
        return found
    if isinstance(found, tuple) and len(found) == 3:
        return found[1] if isinstance(found[1], BaseException) else None
    return sys.exc_info()[1] if found else None


def _without_locals(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _without_locals(item) for name, item in value.items() if name != "locals"}
    return [_without_locals(item) for item in value] if isinstance(value, list | tuple) else value


def _failed(record: Mapping[str, Any]) -> dict[str, Any]:
    level = record.get("level")
    kept = {"level": level} if isinstance(level, str) and level.upper() in logging.getLevelNamesMapping() else {}
    return kept | {"event": REDACTION_ERROR}


class StructlogHook(PatchingHook):
    """Puts the processor before the renderer of every logger, however and whenever it was set up.

    A chain that has the processor keeps it when the hook is removed, inert.
    """

    def __init__(self, wall: Wall) -> None:
        super().__init__(wall)
        self._processor = StructlogWall(wall)

    def place(self) -> None:
        """Take the one place that runs processors."""
        self._take(BoundLoggerBase, "_process_event", self._process_event)

    def _process_event(self, original: Callable[..., Any], logger: Any, *said: Any) -> Any:
        chain = vars(logger)["_processors"]
        if not any(type(step) is StructlogWall for step in chain):
            vars(logger)["_processors"] = self._guarded(chain)
        return original(logger, *said)

    def _guarded(self, chain: Any) -> Any:
        """Return the chain with the processor in it; a list is changed itself, so that its other users have it too."""
        place = max(len(chain) - 1, 0)
        if isinstance(chain, list):
            chain.insert(place, self._processor)
            return chain
        return [*chain[:place], self._processor, *chain[place:]]
