"""The release before runs on this schema: what a migration may do (docs/adr/0079) is held against its statements."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from byokeep.adapters.postgres.connections import _spelled
from byokeep.adapters.postgres.database import load
from byokeep.adapters.postgres.embedded import ROLES, EmbeddedPostgres
from byokeep.adapters.postgres.fit import RUNS_FROM
from byokeep.adapters.postgres.migrations import migrate
from tests.contract.test_postgres_migrations import restored
from tests.support.postgres import FreshDatabase, drop_database, empty_database
from tests.support.previous import RELEASES, previous

pytest_plugins = ["tests.support.postgres_fixtures"]
COLUMNS = (
    "SELECT c.table_name, c.column_name, c.is_nullable = 'NO' AND c.column_default IS NULL AND c.is_identity = 'NO'"
    " FROM information_schema.columns c WHERE c.table_schema = 'byokeep' ORDER BY 1, 2"
)
VOCABULARY = "SELECT event || ' ' || unnest(writers) FROM byokeep.audit_vocabulary"
FIELDS = "SELECT event || ' ' || unnest(string_to_array(fields, ',')) FROM byokeep.audit_vocabulary"


def able(database: FreshDatabase, statements: dict[str, str], roles: tuple[str, ...] = ROLES) -> dict[str, str]:
    """What each role can run, by the server's word: role and statement -> its columns with their types."""
    found: dict[str, str] = {}
    for role in roles:
        with psycopg.connect(database.conninfo(role), autocommit=True) as session:
            for name, statement in statements.items():
                text = _spelled(statement)[0]
                planned = session.pgconn.exec_(b"EXPLAIN (GENERIC_PLAN) " + text)
                if planned.status == 2 and session.pgconn.prepare(b"", text).status == 1:
                    told = session.pgconn.describe_prepared(b"")
                    found[f"{role} {name}"] = json.dumps(
                        [(str(told.fname(at), "utf-8"), told.ftype(at)) for at in range(told.nfields)]
                    )
    return found


def lost(had: dict[str, str], gives: dict[str, str]) -> set[str]:
    """What no longer gives every column that it gave, by name and type; a value that stands alone stays alone."""
    columns = {key: json.loads(told) for key, told in had.items()}
    now = {key: json.loads(told) for key, told in gives.items()}
    return {
        key
        for key, before in columns.items()
        if key not in now or (now[key] != before if len(before) == 1 else any(one not in now[key] for one in before))
    }


def must_give(database: FreshDatabase) -> set[str]:
    """Columns that an INSERT has to name."""
    rows = (line.split("|") for line in database.sql(COLUMNS).splitlines())
    return {f"{table}.{column}" for table, column, needed in rows if needed == "t"}


RESERVED = ("service.started", "audit.device_changed", "evidence.read")  # that release knows them and records none


def lines(database: FreshDatabase, asked: str) -> set[str]:
    return set(database.sql(asked).splitlines())


@pytest.mark.timeout(300)
def test_postgres_the_release_before_runs_on_this_schema(postgres_server: EmbeddedPostgres, tmp_path: Path) -> None:
    """Each of its statements is planned for every role that could run it, with the columns it had; its events are there
    with their fields and writers; nothing new has to be given. Each breach of the rule is seen."""
    said = previous(tmp_path).said
    before = restored(postgres_server, "before", (RELEASES / f"r{said['schema']}.sql").read_bytes())
    had, told, fields = able(before, said["statements"]), lines(before, VOCABULARY), lines(before, FIELDS)
    given = must_give(before)
    tables = {one.split(".")[0] for one in given}
    assert len(had) > 400
    migrate(before.url("byokeep_owner"))
    if said["schema"] < RUNS_FROM:
        return  # it refuses to start on this schema, which another test holds
    assert lost(had, able(before, said["statements"])) == set()
    ours = dict(load())  # a statement that asks for more must not leave a role behind that runs it too
    assert {key for key in had if key.split()[1] in ours} - set(able(before, ours)) == set()
    assert {one for one in told if one.split()[0] not in RESERVED} <= lines(before, VOCABULARY)
    assert {one for one in fields if one.split()[0] not in RESERVED} <= lines(before, FIELDS)
    assert {one for one in must_give(before) - given if one.split(".")[0] in tables} == set()
    some = {name: text for name, text in said["statements"].items() if "byokeep.alert" in text}
    names = {f"byokeep_broker {name}" for name in some}
    of_broker = {key: columns for key, columns in had.items() if key in names}
    assert of_broker
    for change in (
        "ALTER TABLE byokeep.alert DROP COLUMN acknowledged_at CASCADE",
        "ALTER TABLE byokeep.alert RENAME COLUMN reason TO why",
        "ALTER TABLE byokeep.alert RENAME TO warning",
        "ALTER TABLE byokeep.alert ALTER COLUMN count TYPE bigint",
        "REVOKE SELECT ON byokeep.alert FROM byokeep_broker",
    ):
        before.leave()
        changed = empty_database(postgres_server, "changed", template=before.name)
        changed.sql(change)
        assert lost(of_broker, able(changed, some, ("byokeep_broker",))), change
        drop_database(changed)
    before.sql("ALTER TABLE byokeep.alert ADD COLUMN must text NOT NULL DEFAULT ''; "
               "ALTER TABLE byokeep.alert ALTER COLUMN must DROP DEFAULT; "
               "DELETE FROM byokeep.audit_vocabulary WHERE event = 'alert.closed'")  # fmt: skip
    assert {one for one in must_give(before) - given if one.split(".")[0] in tables} == {"alert.must"}
    assert not told <= lines(before, VOCABULARY)
    drop_database(before)
