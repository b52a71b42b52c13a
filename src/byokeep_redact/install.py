"""One call that puts the redactor in front of everything a process says.

    import byokeep_redact

    byokeep_redact.install()

Rules
- Without rules nothing is hooked and the caller hears of it: a process that believes itself guarded is guarded.
- All hooks or none: one that cannot be placed takes back those before it.
- Calling it again changes nothing; :meth:`Installed.uninstall` leaves everything as it was found.

It may not configure logging, tracing or streams: it guards what is there and what comes later.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from threading import RLock
from types import ModuleType
from typing import Any, Final, Protocol

from byokeep_redact.engine import Redactor, default
from byokeep_redact.errors import Conflict
from byokeep_redact.hooks.exceptions import ExceptionHooks
from byokeep_redact.hooks.http import HttpClientHook
from byokeep_redact.hooks.logging import LoggingHook
from byokeep_redact.hooks.wall import Wall
from byokeep_redact.rules import Rules

# Library -> module and class of its hook, where the library is installed.
_OPTIONAL: Final = {
    "structlog": ("structlog", "StructlogHook"),
    "loguru": ("logging", "LoguruHook"),
    "opentelemetry.sdk": ("otel", "TracingHook"),
}
_turn: Final = RLock()
_current: Installed | None = None


class Hook(Protocol):
    """Something of a process that can be guarded."""

    def place(self) -> None:
        """Put the guard in."""

    def remove(self) -> None:
        """Leave everything as it was found."""


@dataclass(frozen=True)
class Installed:
    """The guard of this process.

    Attributes:
        redactor: Register live values with it.
        wall: For hooks placed by hand, such as :class:`byokeep_redact.hooks.structlog.StructlogWall`.
    """

    redactor: Redactor
    wall: Wall = field(repr=False)
    _hooks: tuple[Hook, ...] = field(repr=False)

    def uninstall(self) -> None:
        """Take every hook away. Calling it twice is fine."""
        global _current
        with _turn:
            if _current is self:
                _current = None
            self.wall.on = False
            for hook in reversed(self._hooks):
                hook.remove()


def install(
    *, rules: Rules | None = None, key: bytes | None = None, descriptors: Sequence[int] = (), faulthandler: bool = False
) -> Installed:
    """Guard logging, warnings, uncaught exceptions, structlog, loguru, OpenTelemetry and HTTP debug output.

    What is not installed in this environment is not hooked. Call it once at the start of each process; one that was
    forked is guarded as its parent was.

    Args:
        rules: Shapes of secrets; default the packaged ones.
        key: Key of the fingerprints in masks, 16 bytes or more; default random, so that masks of two processes differ.
        descriptors: Also filter all that is written to these, for example ``(1, 2)``: prints, C code, children.
        faulthandler: Also enable :mod:`faulthandler`, its report filtered by a small child process.

    Raises:
        RuleError: The rules are missing, empty or wrong. Nothing was hooked.
        Conflict: ``redactor_in_use``: installed before, with other rules or another key.
    """
    global _current
    with _turn:
        if _current is not None:
            if rules is not None or key is not None or descriptors or faulthandler:
                raise Conflict("redactor_in_use", next_step="Install once, or uninstall first.")
            return _current
        redactor = default() if rules is None and key is None else Redactor(rules, key=key)
        wall = Wall(redactor)
        hooks: list[Hook] = []
        installed = None
        try:
            for hook in _hooks(wall, descriptors, faulthandler):
                hooks.append(hook)
                hook.place()
            installed = _current = Installed(redactor, wall, tuple(hooks))
        finally:
            if installed is None:
                for hook in reversed(hooks):
                    hook.remove()
        return installed


def current() -> Installed | None:
    """Return the guard of this process, if it has one."""
    return _current


def _hooks(wall: Wall, descriptors: Sequence[int], faulthandler: bool) -> list[Hook]:
    hooks: list[Hook] = [LoggingHook(wall), ExceptionHooks(wall), HttpClientHook(wall)]
    hooks += [_of(*place)(wall) for library, place in _OPTIONAL.items() if _there(library)]
    if descriptors:
        hooks.append(_of("streams", "DescriptorHook")(descriptors, wall.redactor))
    if faulthandler:
        hooks.append(_of("streams", "FaultHook")())
    return hooks


def _of(module: str, name: str) -> Callable[..., Hook]:
    hook: Callable[..., Hook] = getattr(import_module(f"byokeep_redact.hooks.{module}"), name)
    return hook


def _there(library: str) -> bool:
    package = library.partition(".")[0]
    return find_spec(package) is not None and find_spec(library) is not None


class _Callable(ModuleType):
    """This module under the name of its one function: ``byokeep_redact.install`` is both, whoever imported what."""

    def __call__(self, **options: Any) -> Installed:
        return install(**options)


sys.modules[__name__].__class__ = _Callable
