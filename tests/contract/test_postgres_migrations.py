"""Migrations on a real server: they add up to the tables of the page, run once and never race."""

# ruff: noqa: S608 - statements are put together from names of tables
from __future__ import annotations

import asyncio
import hashlib
import re
from pathlib import Path

import pytest
from procrastinate.schema import SchemaManager

from byokeep.adapters.postgres import fit, migrations
from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.adapters.postgres.embedded import EmbeddedPostgres
from byokeep.adapters.postgres.fit import must_fit, revisions
from byokeep.adapters.postgres.migrations import WRITERS, migrate
from byokeep.core.errors import Conflict, Unavailable
from byokeep.core.events import EventName
from tests.support.postgres import FreshDatabase, drop_database, empty_database, fresh_database, schema_of
from tests.support.postgres_rows import populate

pytest_plugins = ["tests.support.postgres_fixtures"]

# Dumps of databases as a release left them, one for each released revision, made by `dump` below at the release.
RELEASES = Path(__file__).parent / "releases"

SCHEMA = (Path(__file__).parents[2] / "docs/schema.sql").read_text(encoding="utf-8")


def counts(database: FreshDatabase) -> dict[str, int]:
    """Rows of every table, as superuser."""
    tables = re.findall(r"CREATE TABLE byokeep.(\w+)", SCHEMA)
    lines = database.sql("\n".join(f"SELECT count(*) FROM byokeep.{name};" for name in tables)).split()
    return dict(zip(tables, map(int, lines), strict=True))


def columns(database: FreshDatabase) -> dict[str, str]:
    """The columns of every table that holds rows of a user, as they stand now."""
    lines = database.sql(
        "SELECT table_name, string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position)"
        " FROM information_schema.columns WHERE table_schema = 'byokeep'"
        " AND table_name NOT IN ('alembic_version', 'schema_objects', 'audit_vocabulary') GROUP BY 1"
    )
    return dict(line.split("|") for line in lines.splitlines())


def contents(database: FreshDatabase, of: dict[str, str]) -> dict[str, str]:
    """Each table's rows, in the columns named."""
    return {
        table: database.sql(f"SELECT {names} FROM byokeep.{table} ORDER BY ({names})::text")
        for table, names in of.items()
    }


def dump(database: FreshDatabase) -> bytes:
    """A database as SQL, rights and data included."""
    return database.server.run_tool("pg_dump", "-d", database.name, "--inserts")


def restored(server: EmbeddedPostgres, name: str, sql: bytes) -> FreshDatabase:
    """A new database from a dump."""
    database = empty_database(server, name)
    server.run_tool("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", name, stdin=sql)
    return database


def test_postgres_migrations_add_up_to_the_page(postgres: FreshDatabase) -> None:
    """A migrated database is as `docs/schema.sql` says; a column, type, check, key or index more or less is seen."""
    assert SCHEMA.count("CONSTRAINT ") > 150
    said = schema_of(postgres)
    assert said == SCHEMA
    for change in (
        "ADD COLUMN nickname text", "ALTER COLUMN moved TYPE bigint", "ALTER COLUMN moved DROP DEFAULT",
        "ALTER COLUMN ended_at SET NOT NULL", "DROP CONSTRAINT kek_rotation_numbers_ck",
        "RENAME CONSTRAINT kek_rotation_client_id_fk TO another_fk", "DROP CONSTRAINT another_fk",
        "DROP COLUMN started_by", "ADD UNIQUE (reason)",
    ):  # fmt: skip
        postgres.sql(f"ALTER TABLE byokeep.kek_rotation {change}")
        before, said = said, schema_of(postgres)
        assert said != before, change
    postgres.sql("DROP INDEX byokeep.permit_idempotency_uq")
    assert schema_of(postgres) != said


def test_postgres_each_revision_has_a_number_of_its_own() -> None:
    """Two files with one number would hide one another: the number is the place in the order."""
    folder = Path(migrations.__file__).parent / "versions"
    numbers = [path.name[:5] for path in folder.glob("r*.sql")]
    assert len(numbers) == len(set(numbers)) > 20
    assert all(re.fullmatch(r"r\d{4}", number) for number in numbers)


def test_postgres_revisions_run_in_the_order_of_the_releases(
    postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that stopped at a revision out of order goes on with what it has not seen, to the same schema."""
    order: list[str] = []
    script, value = migrations.script, migrations._value
    monkeypatch.setattr(migrations, "script", lambda name: order.append(name[10:14]) or script(name))
    database = empty_database(postgres_server, "in_order")
    migrate(database.url("byokeep_owner"))
    ran = [number for number in order if number.isdecimal()]
    assert ran[12:23] == ["0013", "0021", "0016", "0018", "0015", "0014", "0023", "0024", "0022", "0026", "0027"]
    assert ran[:12] + ran[23:] == sorted(set(ran) - set(ran[12:23]))
    drop_database(database)
    for stop in ("0021", "0018", "0024"):
        database = empty_database(postgres_server, f"stopped_at_{stop}")
        with monkeypatch.context() as early:
            seen = ran[: ran.index(stop) + 1]
            early.setattr(migrations, "revisions", lambda of=seen: {number: revisions()[number] for number in of})
            early.setattr(migrations, "_lay_objects", lambda _: None)
            early.setattr(migrations, "_widen_sets", lambda _: None)
            early.setattr(migrations, "_value", lambda *asked: None if "state_rows" in asked[1] else value(*asked))
            migrate(database.url("byokeep_owner"))
        migrate(database.url("byokeep_owner"))
        assert schema_of(database) == SCHEMA
        drop_database(database)


def test_postgres_vocabulary_equals_the_code(shared_postgres: FreshDatabase) -> None:
    """The database knows exactly the events of the code, each with at least one role that may write it."""
    stored = dict(
        line.split("|") for line in shared_postgres.sql("SELECT event, writers FROM byokeep.audit_vocabulary").split()
    )
    assert set(stored) == {event.value for event in EventName}
    assert set(WRITERS) == set(EventName)
    assert all(stored[event.value] == "{" + ",".join(writers) + "}" and writers for event, writers in WRITERS.items())


def test_postgres_declared_objects_are_laid_again_when_they_differ(postgres: FreshDatabase) -> None:
    """A trigger lost together with the digest is back after the next migration; with the digest nothing is done."""
    triggers = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = 'byokeep.audit_record'::regclass"
    before = postgres.sql("SELECT max(xmin::text::bigint) FROM byokeep.audit_vocabulary")
    migrate(postgres.url("byokeep_owner"))
    assert postgres.sql("SELECT max(xmin::text::bigint) FROM byokeep.audit_vocabulary") == before
    postgres.sql("DROP TRIGGER audit_record_append_only ON byokeep.audit_record; DELETE FROM byokeep.schema_objects")
    assert postgres.sql(triggers) == "0"
    migrate(postgres.url("byokeep_owner"))
    assert postgres.sql(triggers) == "1"


async def test_postgres_two_migrators_do_not_race(postgres_server: EmbeddedPostgres) -> None:
    """Four starters on an empty database all succeed and one of them did the work."""
    database = empty_database(postgres_server, "raced")
    await asyncio.gather(*(asyncio.to_thread(migrate, database.url("byokeep_owner")) for _ in range(4)))
    assert database.sql("SELECT count(*) FROM byokeep.alembic_version") == "1"
    assert schema_of(database) == SCHEMA
    drop_database(database)


def test_postgres_upgrade_keeps_the_rows_of_every_release(postgres_server: EmbeddedPostgres) -> None:
    """A full database of each release, dumped and restored, migrates to this release with all its rows, twice.

    Every table's rows stand there afterwards in the columns they had, to the letter.
    """
    source = fresh_database(postgres_server)
    populate(source)
    full = counts(source)
    assert min(number for name, number in full.items() if not name.startswith("audit_")) >= 1
    dumps = {"this_release": dump(source)} | {path.stem: path.read_bytes() for path in sorted(RELEASES.glob("*.sql"))}
    for name, sql in dumps.items():
        database = restored(postgres_server, f"restored_{name}", sql)
        had = columns(database)
        before = contents(database, had)
        assert all(before.values()) or name != "r0013"  # the dump that has a row in every table, trail included
        migrate(database.url("byokeep_owner"))
        after = contents(database, had)
        assert set(before.pop("audit_record").splitlines()) <= set(after["audit_record"].splitlines())
        del before["audit_head"]  # it stands where the records of what the upgrade found end
        assert {table: after[table] for table in before} == before
        migrate(database.url("byokeep_owner"))
        assert contents(database, had) == after
        if name < "r0014":  # people, machines and live tokens were put on record, once
            assert counts(database)["subject"] > 0
            assert database.sql("SELECT count(*) FROM byokeep.subject WHERE NOT byokeep.subject_recorded(id)") == "0"
            without = "LEFT JOIN byokeep.procedure_run r ON r.id = i.id WHERE r.id IS NULL"
            assert database.sql(f"SELECT count(*) FROM byokeep.profile_incident i {without}") == "0"
        assert schema_of(database) == SCHEMA
        drop_database(database)
    drop_database(source)


def test_postgres_values_of_the_first_release_have_no_leak_fingerprints(postgres_server: EmbeddedPostgres) -> None:
    """What was stored before there were fingerprints is kept as it was, and has none: it can be told as unknown."""
    database = restored(postgres_server, "without_fingerprints", (RELEASES / "r0001.sql").read_bytes())
    refs = "SELECT id, client_id, version, state, verification FROM byokeep.credential_ref ORDER BY id"
    before = database.sql(refs)
    assert before
    assert database.sql("SELECT to_regclass('byokeep.leak_fingerprint') IS NULL") == "t"
    migrate(database.url("byokeep_owner"))
    assert database.sql(refs) == before
    joined = "credential_ref r LEFT JOIN byokeep.leak_fingerprint f ON f.ref_id = r.id"
    assert database.sql(f"SELECT count(*) FROM byokeep.{joined} WHERE f.ref_id IS NULL") == str(len(before.split()))
    drop_database(database)


def test_postgres_a_number_that_no_reader_takes_goes_from_a_run(postgres: FreshDatabase) -> None:
    """Of a run that somebody gave such evidence or facts the rest stays, and no run takes any more of it."""
    run = "INSERT INTO byokeep.procedure_run (id, procedure, object_id, asked_by, started_by, evidence, facts) SELECT"
    four = ", ".join(["gen_random_uuid()", "'x'", *["gen_random_uuid()"] * 3])
    evidence = '{"write": 1e300, "seen": 0.5, "done": 7}'
    facts = '{"version": -1e300, "provider": "openai", "ok": true}'
    postgres.sql(f"ALTER TABLE byokeep.procedure_run DROP CONSTRAINT procedure_run_numbers_ck; {run} {four},"
                 f" '{evidence}', '{facts}'; {run} {four}, '{{\"write\": 3}}', '{{\"version\": 2}}'")  # fmt: skip
    postgres.sql(migrations.script("versions/r0035_whole_numbers.sql"))
    left = postgres.sql("SELECT evidence, facts FROM byokeep.procedure_run ORDER BY 1")
    assert left.splitlines() == ['{"done": 7}|{"ok": true, "provider": "openai"}', '{"write": 3}|{"version": 2}']


def test_postgres_sessions_that_passkeys_ended_are_told_from_others(postgres: FreshDatabase) -> None:
    """Of the sessions of a release that judged them by passkeys each is judged as before, by its own row."""
    populate(postgres)
    new = ("end_reason", "unproved")
    postgres.sql("ALTER TABLE byokeep.api_token " + ", ".join(f"DROP COLUMN {name}" for name in new))
    postgres.sql("UPDATE byokeep.passkey SET created_at = now() - interval '2 hours', ended_at = NULL")
    stands = "'{phone}', sha256('{name}'), '{kind}', now() - interval '3 hours', now() + interval '1 hour'"
    ended = {"added": ("session", "2 hours"), "console": ("console", "1:59:57"), "stolen": ("session", "1 hour"),
             "api": ("api", "2 hours"), "live": ("session", "")}  # fmt: skip
    whose = postgres.sql("SELECT subject_id FROM byokeep.passkey LIMIT 1")
    for name, (kind, ago) in ended.items():
        at = f"now() - interval '{ago}'" if ago else "NULL"
        values = stands.format(phone=whose, name=name, kind=kind)
        seen = "now()" if kind == "console" else "NULL"
        postgres.sql("INSERT INTO byokeep.api_token (id, subject_id, keyed_hash, kind, created_at, expires_at,"
                     f" revoked_at, seen_at) VALUES (gen_random_uuid(), {values}, {at}, {seen})")  # fmt: skip
    postgres.sql(migrations.script("versions/r0052_sessions_that_ended.sql"))
    for name, said in {"added": "passkeys_changed|f", "console": "passkeys_changed|f", "stolen": "|f", "api": "|f",
                       "live": "|t"}.items():  # fmt: skip
        row = f"SELECT end_reason, unproved FROM byokeep.api_token WHERE keyed_hash = sha256('{name}')"
        assert postgres.sql(row) == said, name


SERVING = ("byokeep_web", "byokeep_broker", "byokeep_worker", "byokeep_killswitch")


async def fits(database: FreshDatabase) -> set[str]:
    """What each process is told of this schema before it starts; "" = it starts."""
    said = set()
    for role in SERVING:
        db = PostgresDatabase(database.url(role), pool_size=1)
        try:
            await must_fit(db)
            said.add("")
        except Conflict as error:
            said.add(error.code)
        finally:
            await db.close()
    return said


async def test_postgres_a_release_runs_on_its_schema_and_on_a_later_one_that_takes_it(postgres: FreshDatabase) -> None:
    """Older, or later and not for this code: no process starts and nothing is changed. Later and for it: all start, and
    a start lays nothing of the older release over it."""
    assert await fits(postgres) == {""}
    newest, whole = max(revisions()), "SELECT digest, runs_from FROM byokeep.schema_objects"
    later = "UPDATE byokeep.alembic_version SET version_num = '9999'; UPDATE byokeep.schema_objects SET"
    for runs_from in ("'9999'", f"'{int(newest) + 1:04}'", "NULL"):
        postgres.sql(f"{later} digest = repeat('0', 64), runs_from = {runs_from}")
        said = postgres.sql(whole)
        assert await fits(postgres) == {"schema_newer"}, runs_from
        with pytest.raises(Conflict, match="schema_newer"):
            migrate(postgres.url("byokeep_owner"))
        assert postgres.sql(f"SELECT version_num FROM byokeep.alembic_version; {whole}") == f"9999\n{said}"
    for runs_from in (newest, fit.RUNS_FROM):
        postgres.sql(f"{later} runs_from = '{runs_from}'")
        assert await fits(postgres) == {""}, runs_from
        migrate(postgres.url("byokeep_owner"))
        assert postgres.sql(f"SELECT version_num FROM byokeep.alembic_version; {whole}").startswith("9999\n0000")
    postgres.sql("UPDATE byokeep.alembic_version SET version_num = '0046'; UPDATE byokeep.schema_objects SET"
                 " runs_from = NULL")  # fmt: skip
    assert await fits(postgres) == {"schema_older"}
    postgres.sql("ALTER TABLE byokeep.schema_objects DROP COLUMN runs_from")  # as it was before there was any
    assert await fits(postgres) == {"schema_older"}


def test_postgres_migration_needs_the_owner(postgres_server: EmbeddedPostgres) -> None:
    """A service's role can not migrate; nothing answering is Unavailable."""
    database = empty_database(postgres_server, "not_owned")
    with pytest.raises(Conflict, match="migration_failed"):
        migrate(database.url("byokeep_web"))
    assert database.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'byokeep'") == "0"
    drop_database(database)
    with pytest.raises(Unavailable, match="database_unavailable"):
        migrate("postgresql+psycopg://byokeep_owner@/byokeep?host=/nonexistent")


def test_postgres_queue_schema_is_the_one_migrated() -> None:
    """A release of the queue with another schema fails here until a revision brings its changes."""
    digest = hashlib.sha256(SchemaManager.get_schema().encode()).hexdigest()
    assert digest == "c70ec4b400a60ad9592787653aae5ae77ae41bf801d56b5bd2712751a07f2009"
