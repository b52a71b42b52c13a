"""The queue: procrastinate on the same PostgreSQL, so that a task exists only when its transaction committed.

Rules
- Arguments of tasks are ids; the queue prints them, and a constraint of its table refuses anything else.
- What a task raises reaches the queue's log as one of our errors: foreign text stays out.

It may not define tasks: the worker does.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.app import WorkerOptions
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

from byokeep.adapters.postgres.session import CONNECT_S, driver_arguments
from byokeep.core.errors import ByokeepError, Unavailable

_CONNECTIONS: Final = 4


def build_app(url: str) -> App:
    """Return the queue of a role (the worker's, where tasks run), not yet opened.

    Args:
        url: SQLAlchemy URL of the database.
    """
    quiet()
    connector = PsycopgConnector(
        kwargs=driver_arguments(url, "byokeep-queue"), min_size=1, max_size=_CONNECTIONS, timeout=CONNECT_S
    )
    return App(connector=connector, worker_defaults=_WORKER)


def quiet() -> None:
    """Keep the queue's and the driver's running commentary, arguments included, out of every log."""
    for name in ("procrastinate", "psycopg", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.WARNING)


async def own_errors_only(call_next: Callable[[], Awaitable[Any]], _context: Any, _worker: Any) -> Any:
    """Run a task; what it raises is ours, or becomes ``task_failed`` with the exception's class and nothing else."""
    try:
        return await call_next()
    except ByokeepError as error:
        failure = error
        failure.__cause__ = failure.__context__ = None
    except Exception as error:
        failure = Unavailable("task_failed", error=type(error).__name__)
    raise failure.with_traceback(None)


# A commit wakes the worker; the poll is for what was committed while the worker was not listening yet.
_WORKER: Final[WorkerOptions] = {"worker_middleware": [own_errors_only], "fetch_job_polling_interval": 2.0}


class Enqueuer:
    """Puts tasks into the queue on a connection whose transaction somebody else owns."""

    def __init__(self) -> None:
        quiet()
        self._app = App(connector=PsycopgConnector())  # never opened: it only knows how to ask

    async def enqueue(
        self,
        connection: psycopg.AsyncConnection[Any],
        task: str,
        ids: Mapping[str, str],
        *,
        key: str,
        at: datetime | None,
    ) -> bool:
        """Insert a task. With a ``key`` it is left out, and False returned, when one with that key waits already.

        Raises:
            psycopg.Error: The driver's, for the caller to translate.
        """
        job = self._app.configure_task(task, connection=connection, queueing_lock=key or None, schedule_at=at)
        try:
            if not key:
                await job.defer_async(**ids)
                return True
            # A key that waits already is a unique violation: the savepoint keeps the transaction alive.
            async with connection.transaction():
                await job.defer_async(**ids)
            return True
        except AlreadyEnqueued:
            return False
        except ConnectorException as error:
            failure = error.__cause__ if isinstance(error.__cause__, psycopg.Error) else psycopg.OperationalError()
            raise failure from None
