"""Refuses what would put a session somewhere: traces, archives of the network, videos, the storage as a file or object.

Rules
- Asked for on the context that was handed out, on its pages, also those opened later, on their requests or on its
  browser, it raises; nothing is begun and nothing is written.
- A browser of a profile has this one context: another one would be recorded beside it.
- A picture of a page is the caller's business: :mod:`byokeep_redact.hooks.browser` takes one without secrets.

It stops who forgets, not who means to: the runner has the browser in its hands, its protocol (CDP) included, and that
is said in the threat model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn

from byokeep.core.errors import Denied

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page

_OF_CONTEXT: Final = ("storage_state", "set_storage_state", "route_from_har")
_OF_REQUEST: Final = ("storage_state",)
_OF_TRACING: Final = ("start", "start_chunk", "start_har", "stop", "stop_chunk", "stop_har", "group")
_OF_PAGE: Final = ("route_from_har",)
_OF_SCREENCAST: Final = ("start",)
_OF_BROWSER: Final = ("start_tracing", "stop_tracing", "new_context", "new_page", "bind")


@contextmanager
def unrecorded(context: BrowserContext) -> Iterator[BrowserContext]:
    """Give a context that refuses to be recorded, for the length of the block."""
    refused: list[tuple[Any, str]] = []

    def guard(page: Page) -> None:
        _close(_of_page(page), refused)

    _close(_of_context(context), refused)
    for page in context.pages:
        guard(page)
    context.on("page", guard)  # called before whoever opened it has it
    try:
        yield context
    finally:
        context.remove_listener("page", guard)
        for target, name in refused:
            delattr(target, name)


def _of_context(context: BrowserContext) -> Iterator[tuple[Any, Iterable[str]]]:
    yield context, _OF_CONTEXT
    yield context.tracing, _OF_TRACING
    yield from _of_request(context.request)
    if context.browser is not None:
        yield context.browser, _OF_BROWSER


def _of_page(page: Page) -> Iterator[tuple[Any, Iterable[str]]]:
    yield page, _OF_PAGE
    yield from _of_request(page.request)
    if hasattr(page, "screencast"):  # later releases of Playwright
        yield page.screencast, _OF_SCREENCAST


def _of_request(request: Any) -> Iterator[tuple[Any, Iterable[str]]]:
    yield request, _OF_REQUEST
    if hasattr(request, "tracing"):  # later releases of Playwright
        yield request.tracing, _OF_TRACING


def _close(targets: Iterable[tuple[Any, Iterable[str]]], refused: list[tuple[Any, str]]) -> None:
    """Put the refusal in place of each function that is there and not refused yet."""
    for target, names in targets:
        for name in names:
            if hasattr(target, name) and name not in vars(target):
                setattr(target, name, _refuse)
                refused.append((target, name))


async def _refuse(*_arguments: object, **_named: object) -> NoReturn:
    """Refuse. Raises Denied(``profile_stays_sealed``)."""
    raise Denied("profile_stays_sealed", next_step="A sealed profile's browser is not recorded and not exported.")
