"""Brings a database to the schema of this release, and never back.

Rules
- A revision is a file of SQL, ``versions/rNNNN_*.sql``, that changes tables. They run in the order of their numbers,
  except for eight of them. A released one is frozen. Expand first, contract a release later.
- Functions, triggers, row policies, grants and comments (``objects/*.sql``) are declared, not changed: they are laid
  down again, in one transaction with the revisions, whenever their text differs from what is in the database.
- The database knows exactly the events of the code, and for each the roles that may write it (``writers.toml``).
- The closed sets of platforms follow the catalog: a constraint that lacks a name gets it; none loses one.
- Two starters do not race: the second waits for an advisory lock and finds nothing to do.
- No downgrade. A database that a later release migrated is left as it is: this one runs on it or refuses (`fit.py`).

It may not run as any role but the owner.
"""

from __future__ import annotations

import re
import tomllib
from hashlib import sha256
from importlib import resources
from typing import Any, Final, TypeAlias

import psycopg
from procrastinate.schema import SchemaManager

from byokeep.adapters.postgres.connections import address_of
from byokeep.adapters.postgres.fit import RUNS_FROM, is_later, revisions
from byokeep.core.errors import Conflict, Unavailable
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
# Released in this order, after 0013; the others in the order of their numbers.
_OUT_OF_ORDER: Final = ("0021", "0016", "0018", "0015", "0014", "0023", "0024", "0022")
_RUNS_FROM: Final = "SELECT runs_from FROM byokeep.schema_objects"
_LITERAL: Final = re.compile(r"'([a-z0-9_]+)'")
_SESSION: Final = {"connect_timeout": 5, "options": "-c timezone=UTC -c lock_timeout=30s -c search_path=pg_catalog"}


Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]


def migrate(url: str) -> None:
    """Bring the database at ``url`` (role ``byokeep_owner``) to this release. Blocking; safe to run by many at once.

    Raises:
        Unavailable: ``database_unavailable``; nothing was changed.
            ``database_roles_outdated``: a role of this release is missing; only a superuser can create it.
        Conflict: ``schema_newer``, a later release migrated the database and this one does not run on it;
            ``migration_failed``.
    """
    try:
        with psycopg.connect(**address_of(url) | _SESSION) as connection:  # one transaction
            connection.prepare_threshold = None
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])
            _require_roles(connection)
            connection.execute(script("versions/applied.sql"))
            stands = str(_value(connection, "SELECT version_num FROM byokeep.alembic_version") or "")
            runs_from = _value(connection, _RUNS_FROM) if stands >= "0047" else ""
            if is_later(stands, str(runs_from or "")):
                return
            _run_revisions(connection, stands)
            _widen_sets(connection)
            _lay_objects(connection)
            # The revision with which rows began to have records asks for this, once the functions are there.
            if _value(connection, "SELECT current_setting('byokeep.state_rows', true)") == "on":
                connection.execute("SELECT byokeep.state_rows()")
    except psycopg.OperationalError:
        raise Unavailable("database_unavailable") from None
    except psycopg.Error:
        raise Conflict("migration_failed", next_step="Nothing was changed. See the database's log.") from None


def _require_roles(connection: Connection) -> None:
    roles = sorted({role for writers in WRITERS.values() for role in writers})
    there = "SELECT min(name) FROM unnest(%s::text[]) AS name WHERE name NOT IN (SELECT rolname FROM pg_roles)"
    row = connection.execute(there, [roles]).fetchone()
    if row and row[0]:
        step = "Have a superuser run the SQL that `byokeep init --database-sql` prints. It is safe to repeat."
        raise Unavailable("database_roles_outdated", role=row[0], next_step=step)


def _run_revisions(connection: Connection, newest: str) -> None:
    """Run the revisions that the database has not seen. Its newest is in a table that the first releases named."""
    known = revisions()
    for number in sorted((number for number in known if _place(number) > _place(newest)), key=_place):
        connection.execute(script(f"versions/{known[number]}"))
        if number == min(known):
            _make_queue(connection)
        connection.execute("DELETE FROM byokeep.alembic_version")
        connection.execute("INSERT INTO byokeep.alembic_version VALUES (%s)", [number])


def _place(number: str) -> tuple[str, int]:
    return ("0013", 1 + _OUT_OF_ORDER.index(number)) if number in _OUT_OF_ORDER else (number, 0)


def _make_queue(connection: Connection) -> None:
    """Make the queue's tables as its own release makes them, in a schema beside ours."""
    connection.execute("CREATE SCHEMA procrastinate; SET LOCAL search_path = procrastinate, pg_catalog")
    connection.execute(SchemaManager.get_schema())
    connection.execute(script("versions/queue.sql"))


def _value(connection: Connection, query: str) -> object:
    row = connection.execute(query).fetchone()
    return row[0] if row else None


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
    declared += [RUNS_FROM]
    declared += [f"{event.value}:{','.join(WRITERS[event])}:{_fields(event)}" for event in sorted(WRITERS)]
    return sha256("\x00".join(declared).encode()).hexdigest()


def _fields(event: EventName) -> str:
    """Return the names of an event's fields, in order, each in quotes after a comma."""
    return "".join(f',"{name}"' for name in sorted(event.fields))


def _widen_sets(connection: Connection) -> None:
    """Let every constraint that lists platforms know all that the code knows."""
    known = {"platform": PLATFORMS, "provider": OAUTH_PLATFORMS, "credential_ref.provider": Provider}
    for table, rule, definition in connection.execute(_SETS):
        column = rule.removeprefix(f"{table}_").removesuffix("_ck")
        stands, wanted = set(_LITERAL.findall(definition)), set(known.get(f"{table}.{column}", known[column]))
        if not wanted <= stands:
            listed = ", ".join(f"'{word}'" for word in sorted(wanted | stands))
            connection.execute(
                f"ALTER TABLE byokeep.{table} DROP CONSTRAINT {rule},"
                f" ADD CONSTRAINT {rule} CHECK ({column} IN ({listed}))"
            )


def _lay_objects(connection: Connection) -> None:
    digest = objects_digest()
    if _value(connection, "SELECT digest FROM byokeep.schema_objects") == digest:
        return
    for name in _OBJECTS:
        connection.execute(script(f"objects/{name}.sql"))
    connection.execute("DELETE FROM byokeep.audit_vocabulary; DELETE FROM byokeep.schema_objects")
    for event, writers in WRITERS.items():
        row = [event.value, list(writers), _fields(event)]
        connection.execute("INSERT INTO byokeep.audit_vocabulary (event, writers, fields) VALUES (%s, %s, %s)", row)
    connection.execute("INSERT INTO byokeep.schema_objects (digest, runs_from) VALUES (%s, %s)", [digest, RUNS_FROM])
