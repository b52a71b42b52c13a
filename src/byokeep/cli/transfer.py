"""``byokeep account transfer`` and ``transfer-approve``: an account of a platform goes to another client."""

from __future__ import annotations

from shlex import quote
from typing import Any
from uuid import UUID

from byokeep.cli.api import call, requested, run, tell
from byokeep.cli.names import Client


def transfer(client: Client, login: str, account_id: str, *, reason: str = "account_moved") -> None:
    """Ask to transfer an account from another client to this one. An admin must approve within a day.

    The present client disconnects the account first. The next consent for it then connects it here, once.

    Example: byokeep account transfer $CLIENT x 2244994945 --reason account_was_sold

    Args:
        client: The client that gets the account.
        login: The login, as `byokeep account logins` lists it.
        account_id: The account's id at the platform.
        reason: A code, kept in the audit: 2 to 63 characters, small letters, digits and _, a letter first.
    """
    body = {"client_id": str(client), "login": login, "account": account_id, "reason": reason}
    asked: Any = run(call("POST", "/v1/accounts/transfers", body=body))
    words = f"account transfer-approve {asked['id']} {client} {quote(login)} {quote(account_id)}"
    requested(asked, words, by="an admin")


def transfer_approve(request: UUID, client: Client, login: str, account_id: str) -> None:
    """Approve the transfer of an account to a client, as the second person. Name what you approve.

    Example: byokeep account transfer-approve $REQUEST $CLIENT x 2244994945

    Args:
        request: Id of the request, as `byokeep account transfer` printed it.
        client: The client that gets the account.
        login: The login in the request.
        account_id: The account id in the request.
    """
    body = {"client_id": str(client), "login": login, "account": account_id}
    done: Any = run(call("POST", f"/v1/accounts/transfers/{request}/approve", body=body))
    tell({name: value for name, value in done.items() if name != "repeated"}, title="Transfer")
