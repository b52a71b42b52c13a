"""Fixtures of a real PostgreSQL: write ``pytest_plugins = ["tests.support.postgres_fixtures"]`` in a test module.

``postgres_server`` is one server for the session, ``postgres`` a new migrated database for a test, ``shared_postgres``
one for a module.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from byokeep.adapters.postgres.embedded import EmbeddedPostgres
from tests.support.postgres import FreshDatabase, drop_database, fresh_database, running_postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: EmbeddedPostgres) -> Iterator[FreshDatabase]:
    database = fresh_database(postgres_server)
    yield database
    drop_database(database)


@pytest.fixture(scope="module")
def shared_postgres(postgres_server: EmbeddedPostgres) -> Iterator[FreshDatabase]:
    """One database for the tests of a module that stay out of each other's way."""
    database = fresh_database(postgres_server)
    yield database
    drop_database(database)
