"""``byokeep operator``: people, machines and their tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from cyclopts import App

from byokeep.cli.api import call, run
from byokeep.cli.intake import read_secret, write_private
from byokeep.cli.terminal import err, session, show
from byokeep.core.secret import Secret

app: Final = App(name="operator", help="Accounts of people and machines, their roles and tokens.")


def _keep(reply: dict[str, Any], save: Path | None) -> None:
    token = Secret(str(reply.pop("token")))
    if save is not None:
        write_private(save, token)
        reply["saved_to"] = str(save)
    show(reply, title="Token")
    if save is None:
        # The one moment a token is shown (R2.2-3); with --json it goes to the same stream as the document.
        err.print(token.reveal().decode(), markup=False, soft_wrap=True)
        err.print("This is shown once. Keep it in a 0600 file.")


@app.command
def create(name: str, *, role: list[str], client: list[str] | None = None, all_clients: bool = False) -> None:
    """Create a person's account.

    Example: byokeep operator create maria --role operator --client 7f0c9b1e-...

    Args:
        role: admin, operator, approver or auditor; some pairs are refused.
        client: Clients this person works for.
        all_clients: Works for every client.
    """
    body = {"name": name, "roles": role, "clients": client or [], "all_clients": all_clients}
    show(run(call("POST", "/v1/operators", body=body)), title="Operator", note="Next: byokeep operator token ID")


@app.command
def machine(name: str, *, role: str, client: list[str] | None = None, all_clients: bool = False) -> None:
    """Create a machine identity: a dispatcher opens jobs, a runner does them.

    Example: byokeep operator machine runner-1 --role runner --all-clients
    """
    body = {"name": name, "role": role, "clients": client or [], "all_clients": all_clients}
    made = run(call("POST", "/v1/machines", body=body))
    show(made, title="Machine", note="Next: byokeep operator token ID --machine")


@app.command
def token(subject: str, *, machine: bool = False, days: int = 30, overlap_s: int = 0, save: Path | None = None) -> None:
    """Issue a token, shown once. Older tokens of the subject end after --overlap-s.

    Example: byokeep operator token 3e1f... --save ~/.config/byokeep/token

    Args:
        machine: The subject is a machine.
        days: Life of the token, 1 to 90.
        overlap_s: How long older tokens keep working.
        save: Write it to this file (0600) instead of showing it.
    """
    room = "machines" if machine else "operators"
    body = {"days": days, "overlap_s": overlap_s}
    _keep(run(call("POST", f"/v1/{room}/{subject}/tokens", body=body)), save)


@app.command
def password(subject: str) -> None:
    """Set a person's password (for local login); read from a prompt or standard input.

    Example: byokeep operator password 3e1f...
    """
    value = read_secret(prompt="New password")
    run(call("PUT", f"/v1/operators/{subject}/password", raw=value))
    value.wipe()


@app.command
def login(name: str, *, save: Path | None = None) -> None:
    """Log in with name and password; the session token is saved for later commands.

    Example: byokeep operator login maria
    """
    value = read_secret(prompt="Password")
    body = {"name": name, "password": value.reveal().decode("utf-8", "replace")}
    value.wipe()
    reply = run(call("POST", "/v1/session", body=body, anonymous=True))
    _keep(reply, save or session().settings.home / "credentials" / "cli.token")


@app.command(name="list")
def list_() -> None:
    """List people and machines.

    Example: byokeep operator list
    """
    show(run(call("GET", "/v1/operators"))["operators"], title="Operators",
         columns=("id", "kind", "name", "roles", "state", "all_clients"))  # fmt: skip


@app.command
def change(
    subject: str, *, role: list[str] | None = None, client: list[str] | None = None, state: str | None = None
) -> None:
    """Change roles, clients or state; takes effect at the next call.

    Example: byokeep operator change 3e1f... --state disabled
    """
    body = {name: value for name, value in (("roles", role), ("clients", client), ("state", state)) if value}
    show(run(call("PATCH", f"/v1/operators/{subject}", body=body)), title="Operator")


@app.command
def revoke(token: str) -> None:
    """Revoke one token by its id.

    Example: byokeep operator revoke 8a2d...
    """
    run(call("DELETE", f"/v1/tokens/{token}"))
    show({"token": token, "state": "revoked"})
