"""A real PostgreSQL for tests: one server for a session, a fresh migrated database for a test.

The fixtures are in :mod:`tests.support.postgres_fixtures`. ``python -m tests.support.postgres`` prints the tables of a
migrated database: what `docs/schema.sql` has to say.
"""

# ruff: noqa: S608 - statements are put together from made-up values
from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import count
from pathlib import Path

from byokeep.adapters.postgres.database import parse
from byokeep.adapters.postgres.embedded import ROLES, EmbeddedPostgres, installed, is_current, release_of
from byokeep.adapters.postgres.migrations import migrate
from tests.support.psql import Sessions

_TEMPLATE = "byokeep_template"
ENGINES = "byk-engines-"  # how the home of an engine in memory begins
_ROOM = 2 << 30  # bytes free in memory, below which the server lies on the disk
SCHEMA_RULES = """\
-- The tables of byokeep as the migrations leave them: made by `python -m tests.support.postgres > docs/schema.sql`, and
-- compared by a test with what a database says. Functions, triggers, row policies and rights are declared in
-- src/byokeep/adapters/postgres/migrations/objects/; the queue's own tables live in schema `procrastinate`.
--
-- - No column holds or could hold a value: references, ids, enums, times, counters, keyed digests (R1.1-2).
-- - Client data carries client_id in every key and every foreign key, so a row cannot hang on another client's parent
--   (S-OWASP-23).
-- - What must be unique or well-formed is a constraint here, not only a check in code.
"""
TABLES = Path(__file__).with_name("tables.sql").read_text(encoding="utf-8")
_numbers = count(1)
_sessions = Sessions()


@dataclass(frozen=True)
class FreshDatabase:
    """A migrated database of its own on a shared server."""

    server: EmbeddedPostgres
    name: str

    def url(self, role: str) -> str:
        """URL of a role (``byokeep_web`` and so on) in this database."""
        return self.server.url(role, database=self.name)

    def conninfo(self, role: str) -> str:
        """The same for plain psycopg."""
        return f"host={self.server.socket.parent} user={role} dbname={self.name}"

    def sql(self, statement: str) -> str:
        """Run SQL as superuser: sees everything, bound by nothing but triggers."""
        return _sessions.run(self.server, self.name, statement).strip()

    async def ask(self, statement: str) -> str:
        """The same, while the loop goes on."""
        return await asyncio.to_thread(self.sql, statement)

    def leave(self) -> None:
        """Close the superuser's session: nobody else is in the way of a copy."""
        _sessions.end(self.server, self.name)


def lacks_fixes() -> bool:
    """Return whether this machine's PostgreSQL is one that production refuses."""
    release = release_of(installed() / "bin" / "postgres")
    return release is None or not is_current(release)


def short_home() -> Path:
    """A new directory that the server's user can reach and whose socket path stays short."""
    home = Path(tempfile.mkdtemp(prefix="byk-", dir="/tmp"))
    home.chmod(0o711)
    return home


def quick_home() -> Path:
    """The same in memory, where there is room: for servers that many tests share and none looks at the disk of."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < _ROOM:
        return short_home()
    home = Path(tempfile.mkdtemp(prefix=ENGINES, dir=memory))
    home.chmod(0o711)
    return home


@contextlib.contextmanager
def running_postgres() -> Iterator[EmbeddedPostgres]:
    """Start a server in a new home; stop it and remove the home afterwards."""
    home = quick_home()
    server = EmbeddedPostgres(home)
    try:
        asyncio.run(server.start())
        yield server
    finally:
        _sessions.end(server)
        asyncio.run(server.stop())
        shutil.rmtree(home, ignore_errors=True)


def fresh_database(server: EmbeddedPostgres, *, template: str = "") -> FreshDatabase:
    """Create a migrated database from a template, which is made on first use, or from another database."""
    if template:
        return empty_database(server, f"t{os.getpid()}_{next(_numbers)}", template=template)
    made = FreshDatabase(server, "postgres").sql(f"SELECT count(*) FROM pg_database WHERE datname = '{_TEMPLATE}'")
    if made == "0":
        empty_database(server, _TEMPLATE)
        migrate(server.url("byokeep_owner", database=_TEMPLATE))
    return empty_database(server, f"t{os.getpid()}_{next(_numbers)}", template=_TEMPLATE)


def empty_database(server: EmbeddedPostgres, name: str, *, template: str = "template1") -> FreshDatabase:
    """Create a database with the rights of the product's own."""
    FreshDatabase(server, "postgres").sql(
        f"CREATE DATABASE {name} OWNER byokeep_owner TEMPLATE {template} STRATEGY file_copy;\n"
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO {', '.join(ROLES)};"
    )
    return FreshDatabase(server, name)


def drop_database(database: FreshDatabase) -> None:
    """Drop it, whoever is still connected."""
    _sessions.spare(database.server, database.name)
    FreshDatabase(database.server, "postgres").sql(f"DROP DATABASE {database.name} WITH (FORCE)")


def schema_of(database: FreshDatabase) -> str:
    """Every table as SQL, as the catalog says: columns, checks, keys and indexes, and what they are for."""
    return f"{SCHEMA_RULES}\n{database.sql(TABLES)}\n"


def statements(own: str = "") -> Mapping[str, str]:
    """The statements that the transactions themselves need, the switches', and a test's own (``-- name: x`` blocks)."""
    folder = resources.files("byokeep.adapters.postgres").joinpath("sql")
    files = [(name, folder.joinpath(name).read_text()) for name in ("core.sql", "switches.sql")]
    return parse([*files, ("test", f"-- A test's own.\n{own}")])


if __name__ == "__main__":
    with running_postgres() as running:
        print(schema_of(fresh_database(running)), end="")
