"""Brings a database to the schema of this release, and never back.

Rules
- A revision (``versions/``) changes tables; it is frozen once released. Expand first, contract a release later.
- Functions, triggers, row policies, grants and comments (``objects/*.sql``) are declared, not changed: laid down anew,
  in one transaction with the revisions, whenever their text differs from what stands in the database.
- The database knows exactly the events of the code, and for each the roles that may write it (``writers.toml``).
- The closed sets of platforms follow the catalog: a constraint that lacks a name gets it, none loses one.
- Two starters do not race: the second waits for an advisory lock and finds nothing to do.
- No downgrade: a backup is the way back.

It may not run as any role but the owner.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from hashlib import sha256
from importlib import resources
from typing import Final

from alembic import command, op, util
from alembic.config import Config
from sqlalchemy import Connection, create_engine, pool, text
from sqlalchemy.exc import DBAPIError, OperationalError

from byokeep.core.errors import Conflict, Rejected, Unavailable
from byokeep.core.events import EventName
from byokeep.core.model import OAUTH_PLATFORMS, PLATFORMS, Provider

_PACKAGE: Final = "byokeep.adapters.postgres.migrations"
_LOCK_KEY: Final = 0x62796F6B656570  # "byokeep"
_OBJECTS: Final = ("functions", "audit", "rows", "subjects", "walls", "grants", "comments")
_SETS: Final = (
    "SELECT relname, conname, pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN pg_class r ON r.oid = conrelid"
    " WHERE contype = 'c' AND relnamespace = 'byokeep'::regnamespace"
    " AND conname IN (relname || '_platform_ck', relname || '_provider_ck')"
)
_LITERAL: Final = re.compile(r"'([a-z0-9_]+)'")
_SESSION: Final = {"connect_timeout": 5, "options": "-c timezone=UTC -c lock_timeout=30s -c search_path=pg_catalog"}


def migrate(url: str) -> None:
    """Bring the database at ``url`` (role ``byokeep_owner``) to this release. Blocking; safe to run by many at once.

    Raises:
        Unavailable: ``database_unavailable``; nothing was changed.
        Conflict: ``schema_newer``, the database was migrated by a later release; ``migration_failed``.
    """
    engine = create_engine(url, poolclass=pool.NullPool, connect_args=_SESSION, hide_parameters=True)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            connection.execute(text("CREATE SCHEMA IF NOT EXISTS byokeep"))
            command.upgrade(configuration(connection), "head")
            _widen_sets(connection)
            _lay_objects(connection)
            # Asked for by the revision with which rows began to have records, once the functions are there.
            if connection.execute(text("SELECT current_setting('byokeep.state_rows', true)")).scalar() == "on":
                connection.execute(text("SELECT byokeep.state_rows()"))
    except util.CommandError:
        raise Conflict("schema_newer", next_step="Run a release at least as new as the one that migrated.") from None
    except OperationalError:
        raise Unavailable("database_unavailable") from None
    except DBAPIError:
        raise Conflict("migration_failed", next_step="See the database's log; nothing was changed.") from None
    finally:
        engine.dispose()


def configuration(connection: Connection) -> Config:
    """Alembic's configuration, bound to a connection whose transaction the caller owns."""
    config = Config()
    config.set_main_option("script_location", f"{_PACKAGE.rpartition('.')[0]}:migrations")
    config.attributes["connection"] = connection
    return config


def script(name: str) -> str:
    """Return a packaged SQL file of this room, by its path below the package."""
    return resources.files(_PACKAGE).joinpath(name).read_text(encoding="utf-8")


# Which database role may write which event.
WRITERS: Final = {
    EventName(name): tuple(f"byokeep_{role}" for role in roles.split())
    for roles, names in tomllib.loads(script("writers.toml")).items()
    for name in names.split()
}


def objects_digest() -> str:
    """Return the digest of everything that is declared rather than migrated."""
    declared = [script(f"objects/{name}.sql") for name in _OBJECTS]
    declared += [f"{event.value}:{','.join(WRITERS[event])}:{_fields(event)}" for event in sorted(WRITERS)]
    return sha256("\x00".join(declared).encode()).hexdigest()


def _fields(event: EventName) -> str:
    """The names of an event's fields, in order, each in quotes after a comma."""
    return "".join(f',"{name}"' for name in sorted(event.fields))


def run_script(connection: Connection, sql: str) -> None:
    """Run SQL of many statements as it stands, without parameters."""
    connection.exec_driver_sql(sql, execution_options={"no_parameters": True})


def runs(name: str) -> Callable[[], None]:
    """Return a revision's ``upgrade``: it runs the SQL file of that name."""

    def upgrade() -> None:
        run_script(op.get_bind(), script(f"versions/{name}.sql"))

    return upgrade


def refuse() -> None:
    """Refuse to go back: the ``downgrade`` of every revision."""
    raise Rejected("downgrade_refused", next_step="Restore a backup made before the upgrade.")


def _widen_sets(connection: Connection) -> None:
    """Let every constraint that lists platforms know all that the code knows."""
    known = {"platform": PLATFORMS, "provider": OAUTH_PLATFORMS, "credential_ref.provider": Provider}
    for table, rule, definition in connection.execute(text(_SETS)):
        column = rule.removeprefix(f"{table}_").removesuffix("_ck")
        stands, wanted = set(_LITERAL.findall(definition)), set(known.get(f"{table}.{column}", known[column]))
        if not wanted <= stands:
            listed = ", ".join(f"'{word}'" for word in sorted(wanted | stands))
            run_script(
                connection,
                f"ALTER TABLE byokeep.{table} DROP CONSTRAINT {rule},"
                f" ADD CONSTRAINT {rule} CHECK ({column} IN ({listed}))",
            )


def _lay_objects(connection: Connection) -> None:
    digest = objects_digest()
    if connection.execute(text("SELECT digest FROM byokeep.schema_objects")).scalar() == digest:
        return
    for name in _OBJECTS:
        run_script(connection, script(f"objects/{name}.sql"))
    connection.execute(text("DELETE FROM byokeep.audit_vocabulary"))
    connection.execute(
        text("INSERT INTO byokeep.audit_vocabulary (event, writers, fields) VALUES (:event, :writers, :fields)"),
        [
            {"event": event.value, "writers": list(writers), "fields": _fields(event)}
            for event, writers in WRITERS.items()
        ],
    )
    connection.execute(text("DELETE FROM byokeep.schema_objects"))
    connection.execute(text("INSERT INTO byokeep.schema_objects (digest) VALUES (:digest)"), {"digest": digest})
