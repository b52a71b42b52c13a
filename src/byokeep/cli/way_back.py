"""What leads a client's lost platforms back (runbook 7.2), in lines with the exact commands.

Rules
- It says what the server reported about platforms and accounts. It tells nothing to callers who may not or cannot ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any, Final
from uuid import UUID

from byokeep.cli.api import call, run
from byokeep.cli.terminal import again, session
from byokeep.core.errors import ByokeepError

Rows = Sequence[Mapping[str, Any]]
_WAITS: Final = frozenset({"needs_reauth", "unverified"})
_LIVES: Final = frozenset({"connected", "name_changed"})


def of_client(client: UUID, *, lost: Rows | None = None, accounts: Rows | None = None) -> str:
    """Return how a client's lost platforms stand, and what is next; empty if all are open, or for programs.

    Args:
        lost, accounts: As the server reported them; None = it is asked.
    """
    if session().as_json:
        return ""
    base = f"/v1/clients/{client}"
    try:
        lost = run(call("GET", f"{base}/platforms"))["platforms"] if lost is None else lost
        if not any(one["stage"] != "open" for one in lost):
            return ""
        accounts = run(call("GET", f"{base}/accounts"))["accounts"] if accounts is None else accounts
    except ByokeepError:
        accounts = accounts or ()
    return "\n".join(of_platform(client, one, accounts) for one in lost or () if one["stage"] != "open")


def of_platform(client: UUID, one: Mapping[str, Any], accounts: Rows) -> str:
    """Return how one lost platform stands, and what is next.

    Args:
        one: The platform, as the server reports it.
        accounts: The client's accounts, on any platform.
    """
    name = one["platform"]
    head = f"{name} is closed for this client ({one['cause']})"
    if one["stage"] == "canary":
        return f"{head} except for the acts of its canary. Next: {again(f'incident platform status {client}')}"
    if one["stage"] == "permitted":
        return f"{head} until its canary. Next: {again(f'incident platform canary {client} {name}')}"
    here = [row for row in accounts if row["platform"] == name and row.get("login")]
    waiting = [row for row in here if row["state"] in _WAITS or (row["state"], row["next"]) == ("mismatch", "connect")]
    if waiting:
        who = "its owner has" if len(waiting) == 1 else "the owner of each of these has"
        return f"{head}: nothing acts there until {who} logged in again. Next:" + _logins(client, waiting)
    living = [row for row in here if row["state"] in _LIVES]
    if living:
        return f"{head}: nothing acts there until an owner has logged in again. Next, one of:" + _logins(client, living)
    step = again(f"account connect {client} LOGIN ACCOUNT")
    return f"{head}: nothing acts there until an account is connected. Next: {step}"


def _logins(client: UUID, rows: Rows) -> str:
    return "".join(
        "\n  " + again(f"account connect {client} {quote(row['login'])} {quote(row['account'])}") for row in rows
    )
