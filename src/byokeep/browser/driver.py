"""Playwright's driver, started with a short environment: it inherits ours otherwise, credentials included.

Rules
- What a browser needs is given to the browser (:mod:`.launch`); the driver needs where its own parts are.
- Whoever else in this process uses Playwright gets what it always got.

It may not start a browser.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from byokeep.process import clean_environment

if TYPE_CHECKING:
    from playwright.async_api import Playwright

_PLAYWRIGHTS: Final = frozenset({
    "PW_LANG_NAME", "PW_LANG_NAME_VERSION", "PW_CLI_DISPLAY_VERSION", "PLAYWRIGHT_BROWSERS_PATH",
    "PLAYWRIGHT_NODEJS_PATH",
})  # fmt: skip
_short: Final[ContextVar[bool]] = ContextVar("short_driver_environment", default=False)


@asynccontextmanager
async def driver() -> AsyncIterator[Playwright]:
    """Run the driver for the length of the block."""
    from playwright.async_api import async_playwright  # noqa: PLC0415 - an extra, needed by this room alone

    transport: Any = import_module("playwright._impl.transport")
    whole: Any = transport.get_driver_env
    if not isinstance(whole, _Environment):
        transport.get_driver_env = _Environment(whole)
    before = _short.set(True)
    try:
        manager = async_playwright()
        playwright = await manager.__aenter__()  # its task takes the variable along
    finally:
        _short.reset(before)
    try:
        yield playwright
    finally:
        await manager.__aexit__(None, None, None)


class _Environment:
    """In the place of the function that makes the driver's environment."""

    def __init__(self, whole: Callable[[], dict[str, str]]) -> None:
        self._whole = whole

    def __call__(self) -> dict[str, str]:
        given = self._whole()
        if not _short.get():
            return given
        kept = _PLAYWRIGHTS | clean_environment().keys()
        return {name: value for name, value in given.items() if name in kept}
