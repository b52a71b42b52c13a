"""Finds and removes secret values in what the system writes.

    from byokeep_redact import Redactor, install

Rules: this distribution stands alone: it imports nothing of byokeep. Nothing here repeats a value it found; a source
that could not be read is never counted as clean. The names below are imported when they are first used, so that
the engine alone costs no hook and a hook costs no browser.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from byokeep_redact.engine import RedactionFailed as RedactionFailed
    from byokeep_redact.engine import Redactor as Redactor
    from byokeep_redact.engine import Span as Span
    from byokeep_redact.engine import default as default
    from byokeep_redact.install import install as install
    from byokeep_redact.known import KnownValueRefused as KnownValueRefused
    from byokeep_redact.known import Registration as Registration
    from byokeep_redact.rules import RuleError as RuleError
    from byokeep_redact.rules import Rules as Rules
    from byokeep_redact.rules import default_rules as default_rules

__version__ = "0.1.0"

_HOMES = {
    "engine": ("RedactionFailed", "Redactor", "Span", "default"),
    "install": ("install",),
    "known": ("KnownValueRefused", "Registration"),
    "rules": ("RuleError", "Rules", "default_rules"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
