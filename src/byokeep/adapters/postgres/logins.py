"""Logins of our processes at a PostgreSQL that asks for passwords: made, proved, put into use, and ended.

Rules
- A process logs in as a member of its role under a name nobody else has, such as ``byokeep_web_3f2a91bc04de``, and acts
  as its role from then on. Its password exists only in a private file in the driver's own format, which the driver
  reads. The server is sent a verifier, never the password.
- A new login replaces the one in use only after it has logged in with its password. Until then, and for ``GRACE`` after
  it, the old one works; then the server itself refuses it. A session of it that is still open ends at the rotation
  after, when the login is dropped.
- An end is committed before anything that may fail. A login that cannot be dropped, because it owns something that none
  of ours does, stays refused. The role itself has no working password, since whoever acts as it may give it one.
- If it is cut off anywhere, it resumes: the new login is written beside the file before the server hears of it, and
  earlier ones stay in the file until the server has been told when they end.

It may not make a role, or touch a login that is not one of these.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, LiteralString, TypeAlias

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from byokeep.adapters.postgres.connections import CONNECT_S, address_of, read_logins, unavailable
from byokeep.core.errors import Conflict, Unavailable
from byokeep.kernel.durable_write import durable_write, sync_directory

MAKER: Final = "byokeep_logins"  # the role that makes them; logins.sql
ROLES: Final = tuple(f"byokeep_{name}" for name in ("owner", "web", "broker", "killswitch", "worker"))
GRACE: Final = timedelta(hours=24)
_KEPT: Final = 10  # lines of a file: the new login, and earlier ones that may still be accepted
_BOUNDS: Final = {"lock_timeout": "3s", "idle_in_transaction_session_timeout": "10s"}  # as provision.sql has them

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]


def may_be_made(url: str) -> bool:
    """Whether the server's operator lets :data:`MAKER` log in; any role can ask. Blocking."""
    asked = "SELECT FROM pg_roles WHERE rolname = %s AND rolcanlogin AND rolcreaterole"
    try:
        with _connected(url) as connection:
            return connection.execute(asked, [MAKER]).fetchone() is not None
    except psycopg.Error:  # whoever needs the database reports it
        return False


def stands(maker: str, url: str, file: Path) -> bool:
    """Whether the login of a file is accepted or, if it cannot get in, whether the server has it. Blocking.

    Raises:
        Unavailable: Neither is known, which is no reason to replace it.
    """
    if not (held := read_logins(file)):
        return False
    with contextlib.suppress(psycopg.Error):
        return _logs_in(url, held[0][0], file) is not None
    asked: LiteralString = (
        "SELECT FROM pg_roles WHERE rolname = %s AND rolcanlogin"
        " AND coalesce(rolvaliduntil, 'infinity') > clock_timestamp()"
    )
    try:
        with _connected(maker) as connection:
            return connection.execute(asked, [held[0][0]]).fetchone() is not None
    except psycopg.Error:  # its text may quote what it was sent
        failure: Unavailable = unavailable()
    raise failure


def renew(maker: str, url: str, role: str, file: Path, *, grace: timedelta = GRACE) -> None:
    """Give a role of this host's file a new login, and the old one an end. Blocking.

    Args:
        maker: URL of :data:`MAKER`.
        url: URL of the role.
        role: Whose login it is.
        file: Password file; it need not exist yet.
        grace: How long the old login is accepted. None: replaced ones of other hosts end as well, and so
            do sessions of the role itself.

    Raises:
        Conflict: ``rotation_failed``: whatever was in use is accepted as before.
        OSError: The disk said no.
    """
    new, held = file.with_suffix(".new"), read_logins(file)
    login, line = (read_logins(new) or [_invented(role)])[0]
    durable_write(new, b"".join(one + b"\n" for one in [line, *(kept for _, kept in held)][:_KEPT]))
    try:
        with _connected(maker) as connection:
            _make(connection, role, login, line.rpartition(b":")[2])
        proved = _logs_in(url, login, new) == (login, role)
        if proved:
            new.replace(file)
            sync_directory(file.parent)
            with _connected(maker, autocommit=True) as connection:
                _end(connection, role, [old for old, _ in held], grace)
            return
    except psycopg.Error:  # its text may quote what it was sent
        pass
    step = (
        f"The old login works on. Let pg_hba.conf take +{role} and {MAKER} with scram-sha-256, keep no password in a"
        " service file, then repeat it."
    )
    raise Conflict("rotation_failed", next_step=step, role=role)


def _connected(url: str, **more: Any) -> Connection:
    return psycopg.connect(**address_of(url) | {"connect_timeout": CONNECT_S} | more)


def _invented(role: str) -> tuple[str, bytes]:
    login = f"{role}_{secrets.token_hex(6)}"
    return login, f"*:*:*:{login}:{secrets.token_urlsafe(32)}".encode()


def _logs_in(url: str, login: str, file: Path) -> tuple[Any, ...] | None:
    """Return as whom a login gets in and acts; None if nobody asked for its password, which then proves nothing."""
    with _connected(url, user=login, passfile=str(file)) as connection:
        found = connection.execute("SELECT session_user::text, current_user::text").fetchone()
        return found if connection.pgconn.used_password else None


def _run(connection: Connection, statement: LiteralString, login: str, *values: str | Identifier) -> None:
    given = [one if isinstance(one, Identifier) else Literal(one) for one in values]
    connection.execute(SQL(statement).format(Identifier(login), *given))


def _make(connection: Connection, role: str, login: str, word: bytes) -> None:
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [login]).fetchone() is None:
        _run(connection, "CREATE ROLE {} LOGIN INHERIT IN ROLE {}", login, Identifier(role))
    verifier = connection.pgconn.encrypt_password(word, login.encode(), b"scram-sha-256").decode()
    _run(connection, "ALTER ROLE {} PASSWORD {} VALID UNTIL 'infinity'", login, verifier)
    _run(connection, "ALTER ROLE {} SET role = {}", login, role)
    for name, value in _BOUNDS.items() if role != "byokeep_owner" else ():
        _run(connection, "ALTER ROLE {} SET {} = {}", login, Identifier(name), value)


def _end(connection: Connection, role: str, old: Sequence[str], grace: timedelta) -> None:
    """Set logins an end, unless they have an earlier one; drop those whose end has come, of any host."""
    now, ours = not grace, f"^{role}_[0-9a-f]{{12}}$"
    connection.execute("SET lock_timeout = '1s'")
    ends = connection.execute(
        "SELECT rolname::text, oid, (clock_timestamp() + %s)::text FROM pg_roles"
        " WHERE rolname ~ %s AND (rolname = ANY (%s) OR %s AND rolvaliduntil < 'infinity')"
        " AND coalesce(rolvaliduntil, 'infinity') > clock_timestamp() + %s",
        [grace, ours, list(old), now, grace],
    ).fetchall()
    for login, oid, at in ends:
        _against(connection, [oid], "ALTER ROLE {} VALID UNTIL {}", login, at)
    over = connection.execute(
        "SELECT rolname::text, oid FROM pg_roles WHERE rolname ~ %s AND rolvaliduntil <= clock_timestamp()", [ours]
    ).fetchall()
    for login, oid in over:
        _against(connection, [oid], "ALTER ROLE {} NOLOGIN", login)
    oids = [oid for _, oid in over]
    _terminate(connection, oids)
    for login, _ in over:
        with contextlib.suppress(psycopg.errors.DependentObjectsStillExist, psycopg.errors.LockNotAvailable):
            _run(connection, "DROP ROLE {}", login)
    _terminate(connection, oids)  # those let in just before the end
    if old:  # a login of this role is in use since before, so nobody needs the role's own password
        itself = [row[0] for row in connection.execute("SELECT oid FROM pg_roles WHERE rolname = %s", [role])] * now
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
            _against(connection, itself, "ALTER ROLE {} PASSWORD NULL VALID UNTIL '-infinity'", role)
        _terminate(connection, itself)


def _against(connection: Connection, oids: Sequence[int], statement: LiteralString, login: str, *values: str) -> None:
    """Run a statement on a role that its own sessions may hold locked; end these, if they are to end anyway."""
    for left in reversed(range(5)):
        try:
            return _run(connection, statement, login, *values)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.InternalError):  # or it was changed just then
            if not left:
                raise
            _terminate(connection, oids)
    return None


def _terminate(connection: Connection, oids: Sequence[int]) -> None:
    connection.execute(
        "SELECT pg_terminate_backend(pid, 3000) FROM pg_stat_activity WHERE usesysid = ANY (%s::oid[])", [list(oids)]
    )
