"""Refuses what would put a session somewhere: traces, archives of the network, the storage as a file or an object.

Rules
- Asked for on the context that was handed out, it raises; nothing is begun and nothing is written.
- A picture of a page is the caller's business: :mod:`byokeep.redact.hooks.browser` takes one without secrets.

It stops who forgets, not who means to: the runner has the browser in its hands, and that is said in the threat model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn

from byokeep.core.errors import Denied

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext

_OF_CONTEXT: Final = ("storage_state", "set_storage_state", "route_from_har")
_OF_TRACING: Final = ("start", "start_chunk", "start_har", "stop", "stop_chunk", "stop_har", "group")


@contextmanager
def unrecorded(context: BrowserContext) -> Iterator[BrowserContext]:
    """Give a context that refuses to be recorded, for the length of the block."""
    refused: list[tuple[Any, str]] = [(context, name) for name in _OF_CONTEXT if hasattr(context, name)]
    refused += [(context.tracing, name) for name in _OF_TRACING if hasattr(context.tracing, name)]
    for target, name in refused:
        setattr(target, name, _refuse)
    try:
        yield context
    finally:
        for target, name in refused:
            delattr(target, name)


async def _refuse(*_arguments: object, **_named: object) -> NoReturn:
    """Refuse. Raises Denied(``profile_stays_sealed``)."""
    raise Denied("profile_stays_sealed", next_step="A sealed profile's browser is not recorded and not exported.")
