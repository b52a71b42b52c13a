"""One real OpenBao for all tests of this directory that ask for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.openbao import Bao, running_openbao


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bao(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bao]:
    async with running_openbao(tmp_path_factory.mktemp("bao")) as running:
        yield running
