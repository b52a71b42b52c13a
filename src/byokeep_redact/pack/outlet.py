"""What a sink is given, and what it is."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Marked = tuple[str, str, str]  # the mark of a sample, its text, its shape


@dataclass(frozen=True, slots=True)
class Outlet:
    """What a sink may use: a logger, a scratch directory, and where to put text that no process stream carries."""

    log: logging.Logger
    scratch: Path
    show: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class OutletSink:
    """One way out.

    Attributes:
        needs: Modules that must be importable.
        takes: Whether a text fits.
        share: One in this many samples goes through it, others in other runs.
        ours: It is a filter of ``byokeep_redact`` that a project with another redactor does not have.
    """

    feed: Callable[[Outlet, Sequence[Marked]], None]
    needs: tuple[str, ...] = ()
    takes: Callable[[str], bool] = lambda _text: True
    share: int = 4
    ours: bool = False

    @property
    def available(self) -> bool:
        """Whether the libraries it needs are installed."""
        return all(importlib.util.find_spec(name) for name in self.needs)


def one_line(text: str) -> bool:
    """Whether a text is printable and of one line."""
    return text.isascii() and text.isprintable()
