"""What every connection of the product is told when it is made.

Rules
- The server limits what a caller may have forgotten: a statement, a lock wait, an idle transaction.
- Names resolve in our schemas only.

It may not hold a password: peer authentication, a client certificate or the driver's password file do.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.engine import make_url

CONNECT_S: Final = 2  # seconds to connect, or to be given a connection from a pool
OPTIONS: Final = (
    "-c timezone=UTC -c search_path=byokeep,procrastinate -c statement_timeout=5000 -c lock_timeout=3000"
    " -c idle_in_transaction_session_timeout=10000"
)


def driver_arguments(url: str, application_name: str) -> dict[str, object]:
    """Return psycopg's connection arguments for a SQLAlchemy URL."""
    parsed = make_url(url)
    place: dict[str, object] = dict(parsed.translate_connect_args(username="user", database="dbname"))
    place.update(parsed.query)
    return place | session_arguments(application_name)


def session_arguments(application_name: str) -> dict[str, object]:
    """Return the arguments that hold for every connection, wherever it goes."""
    return {"connect_timeout": CONNECT_S, "options": OPTIONS, "application_name": application_name}
