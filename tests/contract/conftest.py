"""One real OpenBao, one token of SoftHSM and one simulated KMS for all tests of this directory that ask for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.support.key_holders import Token, moto_kms, softhsm_token
from tests.support.openbao import Bao, running_openbao


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bao(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bao]:
    async with running_openbao(tmp_path_factory.mktemp("bao")) as running:
        yield running


@pytest.fixture(scope="session")
def kms() -> Iterator[str]:
    with moto_kms() as address:
        yield address


@pytest.fixture(scope="session")
def token(tmp_path_factory: pytest.TempPathFactory) -> Token:
    return softhsm_token(tmp_path_factory.mktemp("softhsm"))
