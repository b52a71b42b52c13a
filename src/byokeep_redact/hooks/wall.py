"""What every hook asks: text, structures and exceptions in, the same without secrets out; and how a hook is placed.

Rules
- Whatever goes wrong here is raised; the hook then drops its record.
- In a structure, an object of a type that the engine does not know becomes its type's name: what a renderer would make
  of it later cannot be seen. Exceptions and addresses become their redacted text.
- An exception becomes text without frame locals. Where a consumer insists on an exception it gets :class:`Told`.
- Text that could begin a line of its own in a log is shown escaped.
- What a patch replaced is put back, or taken away where nothing stood. Where somebody else has replaced ours
  meanwhile, theirs stays; ours is then inert, because its wall is off.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from typing import Any, Final, cast

from byokeep_redact.engine import Redactor

_NOTHING: Final = object()


REDACTION_ERROR: Final = "redaction_error"
_SHOWN: Final = frozenset({"URL", "IPv4Address", "IPv6Address", "SplitResult", "ParseResult"})
# C0 without the tab, C1, line and paragraph separators, and what turns the direction of writing.
_CONTROL: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\x1b": "\\x1b"}


def one_line(text: str) -> str:
    """Show control characters as escapes, so that text can neither begin a line nor steer a terminal."""
    return _CONTROL.sub(_shown, text) if _CONTROL.search(text) else text


def _shown(match: re.Match[str]) -> str:
    char = match[0]
    return _SHORT.get(char) or (f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}")


class Told(Exception):
    """Stands for an exception where it is reported: its type's name and redacted text, and no frames.

    Attributes:
        report: The redacted traceback of the exception and of what caused it.
    """

    report: str = ""


class Wall:
    """A redactor as the hooks use it.

    Args:
        redactor: Who decides what is a secret.
    """

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self.on = True

    def text(self, text: str) -> str:
        """Return text without secrets."""
        return self.redactor.text(text) if self.on else text

    def line(self, text: str) -> str:
        """Return text without secrets and on one line."""
        return one_line(self.redactor.text(text)) if self.on else text

    def or_error(self, make: Callable[[], str], end: str = "") -> str:
        """Return the text that `make` makes, or ``redaction_error``: better no record than a raw one."""
        try:
            return make()
        except Exception:
            return REDACTION_ERROR + end

    def secret_name(self, name: str) -> bool:
        """Whether a field, header or parameter of this name holds a secret, whatever its value looks like."""
        return self.redactor.rules.secret_name(name)

    def named(self, name: str, value: str) -> str:
        """Return a value without secrets, and masked whole where its name says that it is one."""
        return cast(str, next(iter(self.redactor.value({name: value}).values())))  # the name may be masked, too

    def value(self, value: object) -> Any:
        """Return a structure without secrets; an object of an unknown type becomes its type's name.

        A dict in which there is nothing to change comes back as it is.
        """
        return self.redactor.value(value, _told_of)

    def report(self, error: BaseException) -> str:
        """Return the traceback of an exception and its causes: no locals, no secrets, no forged lines."""
        told = traceback.TracebackException(type(error), error, error.__traceback__, capture_locals=False, compact=True)
        _indent_notes(told, set())
        return self.text("".join(_indented(part) for part in told.format()).rstrip("\n"))

    def told(self, error: BaseException) -> Told:
        """Return what stands for an exception towards a consumer that wants one."""
        kind = type(error)
        name, module = self.line(kind.__name__), self.line(kind.__module__)
        stand_in = type(name, (Told,), {"__module__": module, "__qualname__": name, "__doc__": Told.__doc__})
        made = cast(Told, stand_in(self.line(_text_of(error))))
        made.report = self.report(error)
        made.__suppress_context__ = True
        return made


def _told_of(value: object) -> str | None:
    """Return the text of an exception or an address, the objects that logs are full of."""
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {_text_of(value)}"
    return str(value) if type(value).__name__ in _SHOWN else None


def _indent_notes(told: traceback.TracebackException, seen: set[int]) -> None:
    """Indent what was noted on an exception and on what caused it: each line of a note is printed as it is."""
    if id(told) in seen:
        return
    seen.add(id(told))
    if isinstance(told.__notes__, list):
        told.__notes__ = ["    " + _text_of(note).replace("\n", "\n    ") for note in told.__notes__]
    for other in (told.__cause__, told.__context__, *(told.exceptions or ())):
        if other is not None:
            _indent_notes(other, seen)


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception:  # its own __str__ fails
        return "<no text>"


def _indented(part: str) -> str:
    """Indent what follows the first line of an exception's text, which could otherwise pass for a log line."""
    body = part.rstrip("\n")
    if not body or part.startswith((" ", "\n")):
        return "\n".join(_CONTROL.sub(_shown, line) for line in part.split("\n"))
    return "\n    ".join(_CONTROL.sub(_shown, line) for line in body.split("\n")) + "\n"


def shown(value: object) -> str:
    """Return the ``repr`` of an object, or its type's name where it has none that works."""
    try:
        return repr(value)
    except Exception:  # a broken object must not take the record with it
        return f"<{type(value).__name__}>"


class PatchingHook:
    """A hook that is placed by replacing attributes of somebody else's classes and modules."""

    def __init__(self, wall: Wall) -> None:
        self._wall = wall
        self._made: list[tuple[Any, str, object, object]] = []

    def _take(self, owner: Any, name: str, ours: Callable[..., Any]) -> None:
        """Have ``ours`` called for ``owner.name``, with the original as first argument, while the wall is on.

        Raises:
            AttributeError: There is no such attribute: the library is not the one this hook was written for.
        """
        original = getattr(owner, name)

        def taken(*args: Any, **named: Any) -> Any:
            return ours(original, *args, **named) if self._wall.on else original(*args, **named)

        self._put(owner, name, taken)

    def _put(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute that need not be there, such as a module's own ``print``."""
        self._made.append((owner, name, vars(owner).get(name, _NOTHING), value))
        setattr(owner, name, value)

    def remove(self) -> None:
        """Give back what was replaced, last first."""
        while self._made:
            owner, name, before, ours = self._made.pop()
            if vars(owner).get(name) is not ours:
                continue
            if before is _NOTHING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
