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
    from byokeep_redact.engine import RedactionFailed, Redactor, Span, default
    from byokeep_redact.install import install
    from byokeep_redact.known import KnownValueRefused, Registration
    from byokeep_redact.rules import RuleError, Rules, default_rules

__version__ = "0.1.0"

_HOMES = {
    "KnownValueRefused": "known",
    "RedactionFailed": "engine",
    "Redactor": "engine",
    "Registration": "known",
    "RuleError": "rules",
    "Rules": "rules",
    "Span": "engine",
    "default": "engine",
    "default_rules": "rules",
    "install": "install",
}

__all__ = [
    "KnownValueRefused",
    "RedactionFailed",
    "Redactor",
    "Registration",
    "RuleError",
    "Rules",
    "Span",
    "default",
    "default_rules",
    "install",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
