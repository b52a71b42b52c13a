"""The hooks for what nobody caught: warnings, uncaught exceptions of the program, its threads and its finalisers.

Rules
- What Python would print is printed: the same words, redacted, without locals. Somebody else's hook is called with an
  exception that has neither frames nor its raw text.
- asyncio says "never retrieved" through :mod:`logging`, whose hook cleans it; nothing is done for it here.
- A report that cannot be cleaned is ``redaction_error``.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable
from types import SimpleNamespace, TracebackType
from typing import Any

from byokeep_redact.hooks.wall import REDACTION_ERROR, PatchingHook, one_line, shown

Original = Callable[..., Any]


class ExceptionHooks(PatchingHook):
    """Cleans what the interpreter says by itself."""

    def place(self) -> None:
        """Take the hooks of :mod:`sys`, :mod:`threading` and :mod:`warnings`."""
        self._take(sys, "excepthook", self._uncaught)
        self._take(threading, "excepthook", self._in_thread)
        self._take(sys, "unraisablehook", self._unraisable)
        self._take(warnings, "formatwarning", self._formatted_warning)
        self._take(warnings, "showwarning", self._warning)

    def _print(self, make: Callable[[], str]) -> None:
        if sys.stderr is not None:
            sys.stderr.write(self._wall.or_error(make) + "\n")
            sys.stderr.flush()

    def _uncaught(self, original: Original, kind: object, error: BaseException, trace: TracebackType | None) -> None:
        if original is sys.__excepthook__:
            self._print(lambda: self._wall.report(error.with_traceback(trace)))
        else:
            self._pass_on(lambda told: original(type(told), told, None), error)

    def _in_thread(self, original: Original, args: threading.ExceptHookArgs) -> None:
        error, thread = args.exc_value, args.thread
        if args.exc_type is SystemExit or error is None:
            original(args)
        elif original is threading.__excepthook__:
            name = thread.name if thread else str(threading.get_ident())
            self._print(lambda: self._wall.line(f"Exception in thread {name}:") + "\n" + self._wall.report(error))
        else:
            self._pass_on(lambda told: original(threading.ExceptHookArgs((type(told), told, None, thread))), error)

    def _pass_on(self, tell: Callable[[Any], None], error: BaseException) -> None:
        try:
            told = self._wall.told(error)
        except Exception:  # the other hook hears nothing rather than everything
            self._print(lambda: REDACTION_ERROR)
            return
        tell(told)

    def _unraisable(self, original: Original, found: sys.UnraisableHookArgs) -> None:
        if original is sys.__unraisablehook__ or found.exc_value is None:
            self._print(lambda: self._unraisable_text(found))
        else:
            self._pass_on(lambda told: original(self._unraisable_of(told, found)), found.exc_value)

    def _unraisable_of(self, told: BaseException, found: sys.UnraisableHookArgs) -> SimpleNamespace:
        """Return what another unraisable hook is given: the fields of Python's own, none of them raw."""
        said = self._wall.line(_place(found))
        return SimpleNamespace(exc_type=type(told), exc_value=told, exc_traceback=None, err_msg=said, object=None)

    def _unraisable_text(self, found: sys.UnraisableHookArgs) -> str:
        report = "" if found.exc_value is None else self._wall.report(found.exc_value)
        return f"{self._wall.line(_place(found))}\n{report}"

    def _formatted_warning(self, original: Original, *args: Any, **named: Any) -> str:
        return self._wall.or_error(lambda: self._wall.text(original(*args, **named)), end="\n")

    def _warning(
        self,
        original: Original,
        message: Any,
        category: Any,
        filename: str,
        lineno: int,
        file: Any = None,
        line: Any = None,
    ) -> None:
        try:
            message = self._wall.line(str(message))
            filename, line = self._wall.line(filename), line and self._wall.line(line)
        except Exception:
            message, line = REDACTION_ERROR, ""
        original(message, category, filename, lineno, file, line)


def _place(found: sys.UnraisableHookArgs) -> str:
    return one_line(f"{found.err_msg or 'Exception ignored in'}: {shown(found.object)}")
