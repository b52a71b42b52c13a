"""Logins at a PostgreSQL with passwords: replaced while in use, cut off half-way, refused when their time is over."""

# ruff: noqa: S608 - statements are put together from names that logins have

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from byokeep.adapters.postgres import logins
from byokeep.adapters.postgres.connections import address_of, read_logins
from byokeep.adapters.postgres.dump import dump
from byokeep.adapters.postgres.migrations import migrate
from byokeep.core.errors import Conflict, Unavailable
from byokeep.processes import installation, wiring
from byokeep.settings import Settings
from tests.support.external import Database, give_passwords, their_database
from tests.support.stack import until


@pytest.fixture(scope="module")
def theirs() -> Iterator[Database]:
    """A migrated server whose administrator gave passwords to the owner and the maker of logins alone."""
    place = Path(tempfile.mkdtemp(prefix="byk-"))
    place.chmod(0o711)
    try:
        with their_database(place / "pg") as database:
            for _ in range(2):  # it may be repeated
                database.psql(wiring.database_sql())
            give_passwords(database, "byokeep_owner", logins.MAKER)
            database.psql("ALTER SYSTEM SET log_statement = 'all'")  # as one who looks for something may do
            database.psql("SELECT pg_reload_conf()")
            migrate(wiring.database_url(Settings(database_url=database.url), "byokeep_owner"))
            yield database
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def settings(theirs: Database, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of a host with a login for each role."""
    place = tmp_path_factory.mktemp("host")
    settings = Settings(home=place, database_url=theirs.url, credentials_dir=str(place / "credentials"))
    assert not logs_in(settings, "byokeep_web")
    assert asyncio.run(installation.renew_logins(settings, missing=True)) == len(logins.ROLES)
    return settings


def logs_in(settings: Settings, role: str, **changed: str) -> bool:
    try:
        psycopg.connect(**address_of(wiring.database_url(settings, role)) | changed).close()
    except psycopg.OperationalError:
        return False
    return True


def renew(settings: Settings, role: str, **given: timedelta) -> None:
    url = wiring.database_url(settings, role)
    logins.renew(wiring.database_url(settings, logins.MAKER), url, role, wiring.login_file(settings, role), **given)


@pytest.mark.req("R2.2-5")
async def test_postgres_logins_are_made_where_none_is_and_stay(settings: Settings, theirs: Database) -> None:
    """Each role gets one, acts as its role alone, and the server knows no password; asked again, nothing changes."""
    files = {role: wiring.login_file(settings, role) for role in logins.ROLES}
    before = {role: file.read_bytes() for role, file in files.items()}
    assert await installation.renew_logins(settings, missing=True) == 0
    assert {role: file.read_bytes() for role, file in files.items()} == before
    for role, file in files.items():
        assert file.stat().st_mode & 0o077 == 0
        with psycopg.connect(**address_of(wiring.database_url(settings, role))) as session:
            said = session.execute("SELECT session_user::text, current_user::text").fetchone()
            assert said == (read_logins(file)[0][0], role)
            assert session.execute("SELECT byokeep.role_of(session_user)").fetchone() == (role,)
            if role != "byokeep_owner":
                assert session.execute("SHOW lock_timeout").fetchone() == ("3s",)
                for other in {*logins.ROLES, logins.MAKER} - {role}:
                    with pytest.raises(psycopg.errors.InsufficientPrivilege), session.transaction():
                        session.execute(f"SET ROLE {other}")
    async with wiring.database(settings, "byokeep_broker") as db:
        await installation.must_be_bounded(db)
    with (settings.home / "dump").open("wb") as out:  # by the owner's login, too
        await dump(wiring.database_url(settings, "byokeep_owner"), out, major=theirs.psql("SHOW server_version")[:2])
    assert (settings.home / "dump").read_bytes().startswith(b"PGDMP")
    log = (theirs.passfile.parent / "log").read_text()
    assert "SCRAM-SHA-256$" in log, "nothing is logged"
    known = theirs.psql("SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL")
    for content in before.values():
        word = content.rpartition(b":")[2].strip().decode()
        assert word not in known
        assert word not in log
    theirs.psql(f"DROP ROLE {read_logins(files['byokeep_killswitch'])[0][0]}")  # the database was made anew, say
    assert await installation.renew_logins(settings, missing=True) == 1
    assert logs_in(settings, "byokeep_killswitch")


@pytest.mark.req("R2.2-5", "R10.3-2")
async def test_postgres_logins_are_replaced_while_they_are_in_use(settings: Settings, theirs: Database) -> None:
    """No transaction fails over three rotations; the old login works until its end, and then no more."""
    role, file = "byokeep_broker", wiring.login_file(settings, "byokeep_broker")
    done, failed, used, over = 0, [], set(), asyncio.Event()
    async with wiring.database(settings, role) as db, wiring.database(settings, role, pool_size=1) as one:
        async with one.begin() as held:  # a transaction that is under way all along
            await held.one(None, "clock_now")

            async def work() -> None:
                nonlocal done
                while not over.is_set():
                    try:
                        used.update(await db.read(lambda row: str(row["name"]), "test_who", {}))
                        done += 1
                    except Exception as error:
                        failed.append(error)
                    await asyncio.sleep(0)

            db._queries = {**db._queries, "test_who": "SELECT session_user AS name"}
            working = [asyncio.create_task(work()) for _ in range(8)]
            names = [read_logins(file)[0][0]]
            for _ in range(3):
                goal = done + 50
                while done < goal:
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(renew, settings, role)
                names.append(read_logins(file)[0][0])
            goal = done + 50
            while done < goal:
                await asyncio.sleep(0.01)
            used.clear()
            goal = done + 50
            while done < goal:
                await asyncio.sleep(0.01)
            over.set()
            await asyncio.gather(*working)
        assert failed == []
        assert used == {names[-1]}, "what was replaced is used no more"
    old = file.parent / "old"
    old.write_bytes(file.read_bytes().splitlines()[1] + b"\n")
    old.chmod(0o600)
    assert logs_in(settings, role, user=names[-2], passfile=str(old))
    ends = theirs.psql(f"SELECT rolvaliduntil - now() FROM pg_roles WHERE rolname = '{names[-2]}'")
    assert ends.startswith(("23:59", "24:00"))
    late_session = psycopg.connect(**address_of(wiring.database_url(settings, role)), autocommit=True)
    await asyncio.to_thread(renew, settings, role, grace=timedelta(seconds=1))
    late = file.parent / "late"
    late.write_bytes(file.read_bytes().splitlines()[1] + b"\n")
    late.chmod(0o600)
    shown = {"user": names[-1], "passfile": str(late)}
    await until(lambda: not logs_in(settings, role, **shown), 20, "its end has come")
    assert logs_in(settings, role)
    assert late_session.execute("SELECT 1").fetchone() == (1,), "what was begun before goes on"
    await asyncio.to_thread(renew, settings, role)
    with pytest.raises(psycopg.OperationalError), late_session:
        late_session.execute("SELECT 1")
    assert logs_in(settings, role)
    assert theirs.psql(f"SELECT count(*) FROM pg_roles WHERE rolname = '{names[-1]}'") == "0\n"
    await asyncio.to_thread(renew, settings, role, grace=timedelta(0))  # one was stolen
    left = theirs.psql(f"SELECT rolname FROM pg_roles WHERE rolname ~ '^{role}_'").split()
    assert left == [read_logins(file)[0][0]], "those that had a day left have none"


@pytest.mark.req("R2.2-5")
@pytest.mark.parametrize("at", ["made", "proved", "moved", "ended"])
async def test_postgres_logins_are_taken_up_after_a_cut(
    settings: Settings, theirs: Database, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Cut off anywhere, what is in use works, and the next attempt leaves one login in use and an end to all others."""
    role = "byokeep_web"
    before = read_logins(wiring.login_file(settings, role))[0][0]

    class Cut(BaseException):
        pass

    def cut(*_: object, **__: object) -> None:
        raise Cut

    with monkeypatch.context() as patched:
        if at == "moved":
            patched.setattr(logins, "sync_directory", cut)
        else:
            patched.setattr(logins, {"made": "_make", "proved": "_logs_in", "ended": "_end"}[at], cut)
        with pytest.raises(Cut):
            renew(settings, role)
    assert logs_in(settings, role)
    assert theirs.psql(f"SELECT rolvaliduntil = 'infinity' FROM pg_roles WHERE rolname = '{before}'") == "t\n"
    renew(settings, role)
    assert logs_in(settings, role)
    now = read_logins(wiring.login_file(settings, role))[0][0]
    endless = theirs.psql(
        f"SELECT rolname FROM pg_roles WHERE rolname ~ '^{role}_' AND coalesce(rolvaliduntil, 'infinity') = 'infinity'"
    ).split()
    assert now != before
    assert endless == [now], "no login is left that nobody ends"
    assert not wiring.login_file(settings, role).with_suffix(".new").exists()


@pytest.mark.req("R2.2-5")
async def test_postgres_a_login_that_is_not_proved_replaces_nothing(settings: Settings, theirs: Database) -> None:
    """A server that lets the new login in without its password, or not at all: the old one works on."""
    role = "byokeep_worker"
    file = wiring.login_file(settings, role)
    before = file.read_bytes()
    hba = Path(theirs.psql("SHOW hba_file").strip())
    was = hba.read_text()
    held = read_logins(file)[0][0]
    rules = f"host all {held},postgres,byokeep_logins,byokeep_owner 127.0.0.1/32 scram-sha-256\n"
    try:
        for rule in ("", f"host all +{role} 127.0.0.1/32 trust\n"):
            hba.write_text(rules + rule)
            theirs.psql("SELECT pg_reload_conf()")
            shut, open_to_all = lambda: not logs_in(settings, "byokeep_web"), lambda: logs_in(settings, role, user=role)
            await until(open_to_all if rule else shut, 20, "the rules are not read")
            with pytest.raises(Conflict) as refused:
                renew(settings, role)
            assert refused.value.code == "rotation_failed"
            assert refused.value.fields["role"] == role
            assert f"+{role}" in refused.value.next_step
            assert file.read_bytes() == before
            assert logs_in(settings, role)
    finally:
        hba.write_text(was)
        theirs.psql("SELECT pg_reload_conf()")
    await until(lambda: logs_in(settings, "byokeep_web"), 20, "the rules are not read")
    renew(settings, role)
    assert read_logins(file)[0][0] != held


def stolen(settings: Settings, role: str) -> dict[str, str]:
    """A copy of a role's login, by its arguments for the driver."""
    file = wiring.login_file(settings, role)
    copy = file.with_suffix(".stolen")
    copy.write_bytes(file.read_bytes().splitlines()[0] + b"\n")
    copy.chmod(0o600)
    return {"user": read_logins(file)[0][0], "passfile": str(copy)}


def as_thief(settings: Settings, role: str, shown: dict[str, str]) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(**address_of(wiring.database_url(settings, role)) | shown, autocommit=True)


@pytest.mark.req("R2.2-5")
async def test_postgres_a_login_that_owns_something_ends_all_the_same(settings: Settings, theirs: Database) -> None:
    """It and the others of its role are refused, whatever holds it in the database or keeps its row."""
    role, web = "byokeep_web", stolen(settings, "byokeep_web")
    with as_thief(settings, role, web) as session, as_thief(settings, role, web) as holding:
        session.execute("SET ROLE NONE")
        for makes in ("lo_create(0)", "lo_creat(-1)", "lo_from_bytea(0, 'x')", "lo_put(1, 0, 'x')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):  # they would fill the disk, outside any table
                session.execute(f"SELECT {makes}")
        session.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO byokeep_web")
        holding.execute("SET idle_in_transaction_session_timeout = 0")
        for statement in ("BEGIN", "SET LOCAL ROLE NONE", f"ALTER ROLE {web['user']} PASSWORD 'x'"):
            holding.execute(statement)
        renew(settings, role)
        second = stolen(settings, role)
        renew(settings, role, grace=timedelta(0))
        for one in (session, holding):
            with pytest.raises(psycopg.OperationalError):
                one.execute("SELECT 1")
    assert not logs_in(settings, role, **web)
    assert not logs_in(settings, role, **second)
    left = theirs.psql(f"SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname ~ '^{role}_'").split()
    assert sorted(left) == sorted([f"{web['user']}|f", f"{read_logins(wiring.login_file(settings, role))[0][0]}|t"])
    async with wiring.database(settings, role) as db:
        assert await db.read(lambda row: str(row["name"]), "logins_undropped", {}) == [web["user"]]
    theirs.psql(f"DROP OWNED BY {web['user']}", "byokeep")
    renew(settings, role)
    assert theirs.psql(f"SELECT count(*) FROM pg_roles WHERE rolname = '{web['user']}'") == "0\n"


@pytest.mark.req("R2.2-5")
async def test_postgres_who_comes_again_and_again_is_out_at_the_end(
    settings: Settings, theirs: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that logs in again at each end of its session has none when the login is gone."""
    role, shown, over = "byokeep_broker", stolen(settings, "byokeep_broker"), asyncio.Event()
    held: list[psycopg.Connection[tuple[object, ...]]] = []

    def come_once() -> None:
        with contextlib.suppress(psycopg.OperationalError):
            held.append(as_thief(settings, role, shown))

    def come() -> None:
        while not over.is_set():
            come_once()

    def run(connection: logins.Connection, statement: LiteralString, login: str, *values: str) -> None:
        if statement.startswith("DROP"):  # between the end of its sessions and the end of the login
            come_once()
        run_it(connection, statement, login, *values)

    run_it = logins._run
    monkeypatch.setattr(logins, "_run", run)
    oid = theirs.psql(f"SELECT oid FROM pg_roles WHERE rolname = '{shown['user']}'").strip()
    coming = [asyncio.create_task(asyncio.to_thread(come)) for _ in range(2)]
    await until(lambda: len(held) > 2, 20, "nobody comes")
    await asyncio.to_thread(renew, settings, role, grace=timedelta(0))
    over.set()
    await asyncio.gather(*coming)
    try:
        assert theirs.psql(f"SELECT count(*) FROM pg_stat_activity WHERE usesysid = {oid}") == "0\n"
        assert not logs_in(settings, role, **shown)
    finally:
        for one in held:
            one.close()


@pytest.mark.req("R2.2-5")
async def test_postgres_a_role_has_no_password_of_its_own(settings: Settings, theirs: Database) -> None:
    """What somebody who acts as the role gave it works for nobody after the next rotation, given again or not."""
    role, word = "byokeep_worker", settings.home / "word"
    word.write_text(f"*:*:*:{role}:x\n")
    word.chmod(0o600)
    shown = {"user": role, "passfile": str(word)}
    theirs.psql(f"ALTER ROLE {role} VALID UNTIL 'infinity'")  # as its administrator made it
    with as_thief(settings, role, stolen(settings, role)) as session:
        session.execute(f"ALTER ROLE {role} PASSWORD 'x'")
        with as_thief(settings, role, shown) as itself:
            renew(settings, role)
            assert not logs_in(settings, role, **shown)
            itself.execute(f"ALTER ROLE {role} PASSWORD 'x'")
            assert not logs_in(settings, role, **shown)
            renew(settings, role, grace=timedelta(0))
            with pytest.raises(psycopg.OperationalError):
                itself.execute("SELECT 1")
    assert logs_in(settings, role)


@pytest.mark.req("R2.2-5")
async def test_postgres_what_another_host_replaced_ends_too(
    settings: Settings, theirs: Database, tmp_path: Path
) -> None:
    """With no time left to any, also the replaced login of another host; the one in use there is that host's to end."""
    role, there = "byokeep_web", replace(settings, credentials_dir=str(tmp_path))
    renew(there, role)
    replaced = stolen(there, role)
    renew(there, role)
    assert logs_in(settings, role, **replaced)
    renew(settings, role, grace=timedelta(0))
    assert not logs_in(settings, role, **replaced)
    assert logs_in(there, role)
    renew(there, role, grace=timedelta(0))
    assert logs_in(settings, role)


@pytest.mark.req("R2.2-5")
async def test_postgres_a_login_that_cannot_come_in_now_is_not_replaced(settings: Settings, theirs: Database) -> None:
    """A server with no room for its role lets it in later; one that nobody reaches says nothing."""
    role, files = "byokeep_broker", {role: wiring.login_file(settings, role) for role in logins.ROLES}
    before = {name: file.read_bytes() for name, file in files.items()}
    login = read_logins(files[role])[0][0]
    theirs.psql(f"ALTER ROLE {login} CONNECTION LIMIT 0")
    try:
        assert not logs_in(settings, role)
        assert await installation.renew_logins(settings, missing=True) == 0
    finally:
        theirs.psql(f"ALTER ROLE {login} CONNECTION LIMIT -1")
    assert {name: file.read_bytes() for name, file in files.items()} == before
    away = "postgresql+psycopg://byokeep_broker@/byokeep?host=127.0.0.1&port=1"
    with pytest.raises(Unavailable):
        logins.stands(away, away, files[role])
