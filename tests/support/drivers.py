"""One Playwright driver for the browsers that the tests of a process start: each of its own costs a third of a second.

What a driver inherits, and what is left when it ends in the middle of a start, is looked at by tests that ask for
``own_drivers``; browsers in other processes have drivers of their own as ever.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

_LAUNCH = "byokeep.browser.launch"


@pytest_asyncio.fixture(scope="session", autouse=True, loop_scope="session")
async def one_driver() -> AsyncIterator[Callable[[], AbstractAsyncContextManager[Any]] | None]:
    """Share a driver, started by the first browser; gives how production starts one. Nothing where none is loaded."""
    launch: Any = sys.modules.get(_LAUNCH)
    if launch is None:
        yield None
        return
    own, running = launch.driver, list[Any]()
    async with AsyncExitStack() as stack:

        @asynccontextmanager
        async def shared() -> AsyncIterator[Any]:
            if not running:
                running.append(await stack.enter_async_context(own()))
            yield running[0]

        launch.driver = shared
        try:
            yield own
        finally:
            launch.driver = own


@pytest.fixture
def own_drivers(one_driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each browser of a test a driver of its own, as in production."""
    monkeypatch.setattr(sys.modules[_LAUNCH], "driver", one_driver)
