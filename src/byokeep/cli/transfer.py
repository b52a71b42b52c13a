"""``byokeep account transfer`` and ``transfer-approve``: an account of a platform goes to another client."""

from __future__ import annotations

from shlex import quote
from typing import Any
from uuid import UUID

from byokeep.cli.api import call, requested, run, tell
from byokeep.cli.names import Client


def transfer(client: Client, login: str, account_id: str, *, reason: str = "account_moved") -> None:
    """Ask for an account that another client had to go to this one; an admin must approve, within a day.

    Its present client disconnects it first. The next consent that finds it then connects it, once.

    Example: byokeep account transfer $CLIENT x 2244994945 --reason account_was_sold

    Args:
        client: Who gets it.
        login: As `byokeep account logins` lists it.
        account_id: The platform's id of the account.
        reason: A code, kept in the audit: 2 to 63 characters, small letters, digits and _, a letter first.
    """
    body = {"client_id": str(client), "login": login, "account": account_id, "reason": reason}
    asked: Any = run(call("POST", "/v1/accounts/transfers", body=body))
    words = f"account transfer-approve {asked['id']} {client} {quote(login)} {quote(account_id)}"
    requested(asked, words, by="an admin")


def transfer_approve(request: UUID, client: Client, login: str, account_id: str) -> None:
    """Let an account go to a client, as the second person; name what you approve.

    Example: byokeep account transfer-approve $REQUEST $CLIENT x 2244994945

    Args:
        request: As `byokeep account transfer` printed it.
        client: Who gets it.
        login: As it was asked for.
        account_id: As it was asked for.
    """
    body = {"client_id": str(client), "login": login, "account": account_id}
    done: Any = run(call("POST", f"/v1/accounts/transfers/{request}/approve", body=body))
    tell({name: value for name, value in done.items() if name != "repeated"}, title="Transfer")
