"""``psql`` that stays: the superuser of a test's database, without a new process for each of a test's many statements.

Only the server's own user may become the superuser, so a program of that user has to ask. To start one costs more than
most statements do: one whose database goes is connected to the next. Each question still finds a session as new:
nothing open, nothing set.
"""

from __future__ import annotations

import subprocess
import threading
from uuid import uuid4

from byokeep.adapters.postgres.embedded import _ENVIRONMENT, _SUPERUSER, EmbeddedPostgres, _identity
from byokeep.core.errors import Unavailable

_OPTIONS = ("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1")
_LONGEST = 32_000  # bytes; what fits into a pipe is written whole, so that neither side waits for the other to read
_AS_NEW = "ROLLBACK;\nDISCARD ALL;"  # what the end of a program of its own would do


class _Lost(Exception):
    """The server ended the connection."""


class _Session:
    """One ``psql`` in one database."""

    def __init__(self, server: EmbeddedPostgres, database: str) -> None:
        place = ("-h", str(server.socket.parent), "-U", _SUPERUSER, "-d", database)
        self._process = subprocess.Popen(
            [str(server._bin / "psql"), *_OPTIONS, *place], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, cwd="/", env=_ENVIRONMENT, **_identity(server._account),
        )  # fmt: skip
        self.busy = threading.Lock()

    def run(self, sql: str) -> str:
        """Run statements; returns bare output. Raises Unavailable when one failed, _Lost without a server."""
        return self._say(f"{sql}\n;\n{_AS_NEW}\n")

    def go_to(self, database: str) -> None:
        """Leave the database, which may be gone, for another. Raises as :meth:`run`."""
        self._say(f"\\connect {database}\n")

    def _say(self, text: str) -> str:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        end = f"end-{uuid4().hex}\n".encode()
        said = bytearray()
        try:
            stdin.write(f"{text}\\echo ".encode() + end)
            stdin.flush()
        except BrokenPipeError:
            raise _Lost from None
        while line := stdout.readline():
            if line.endswith(end):
                return (said + line.removesuffix(end)).decode()
            said += line
        if self._process.wait() == 2:  # psql's code for a connection that went bad
            raise _Lost
        raise Unavailable("postgres_admin_failed")

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


class Sessions:
    """The sessions of this process, one for a database."""

    def __init__(self) -> None:
        self._open: dict[tuple[EmbeddedPostgres, str], _Session] = {}
        self._spare: list[tuple[EmbeddedPostgres, _Session]] = []
        self._change = threading.Lock()

    def run(self, server: EmbeddedPostgres, database: str, sql: str) -> str:
        """Run statements as superuser, in a session as good as new; returns bare output.

        Raises:
            Unavailable: ``postgres_admin_failed``.
        """
        if len(sql.encode()) > _LONGEST:
            return server._psql(sql, database)
        with self._change:
            session = self._open.get((server, database))
            if session is None or not session.lives:
                session = self._open[server, database] = self._moved(server, database) or _Session(server, database)
        if not session.busy.acquire(blocking=False):
            return server._psql(sql, database)  # two threads at once: neither waits for what the other does
        try:
            return session.run(sql)
        except _Lost:
            return server._psql(sql, database)
        finally:
            session.busy.release()

    def _moved(self, server: EmbeddedPostgres, database: str) -> _Session | None:
        for spare in self._spare:
            if spare[0] is server:
                self._spare.remove(spare)
                try:
                    spare[1].go_to(database)
                except (_Lost, Unavailable):
                    spare[1].end()
                    return None
                return spare[1]
        return None

    def spare(self, server: EmbeddedPostgres, database: str) -> None:
        """Keep the session of a database that is about to go for one that comes."""
        with self._change:
            session = self._open.pop((server, database), None)
            if session is not None:
                self._spare.append((server, session))

    def end(self, server: EmbeddedPostgres, database: str = "") -> None:
        """End the session of a database, or all of a server."""
        with self._change:
            ended = [of for of in self._open if of[0] is server and database in ("", of[1])]
            sessions = [self._open.pop(of) for of in ended]
            if not database:
                sessions += [session for of, session in self._spare if of is server]
                self._spare = [spare for spare in self._spare if spare[0] is not server]
        for session in sessions:
            session.end()
