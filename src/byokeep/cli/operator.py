"""``byokeep operator``: people, machines and their tokens."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from cyclopts import App

from byokeep.cli.api import call, run
from byokeep.cli.choices import MachineRole, PersonRole, SubjectState
from byokeep.cli.intake import check_writable, read_secret, write_private
from byokeep.cli.names import tell
from byokeep.cli.terminal import again, err, say, session, show
from byokeep.core.errors import Rejected
from byokeep.core.secret import Secret

app: Final = App(name="operator", help="Accounts of people and machines, their roles and tokens.")


def _ids(given: list[UUID] | None) -> list[str]:
    return [str(one) for one in given or []]


def _keep(reply: dict[str, Any], save: Path | None) -> None:
    token = Secret(str(reply.pop("token")))
    if save is not None:
        write_private(save, token)
        tell(reply | {"saved_to": str(save)}, title="Token")
        return
    # The one moment a token is shown (R2.2-3): in the document, or after the table.
    text = token.reveal().decode()
    tell(reply | ({"token": text} if session().as_json else {}), title="Token")
    if not session().as_json:
        err.print(text, markup=False, soft_wrap=True)
        say("This is shown once. Keep it in a 0600 file; `--save FILE` writes one.")


@app.command
def create(name: str, *, role: list[PersonRole], client: list[UUID] | None = None, all_clients: bool = False) -> None:
    """Create a person's account.

    Example: byokeep operator create maria --role operator --client $CLIENT

    Args:
        role: admin, operator, approver or auditor; some pairs are refused.
        client: Clients this person works for.
        all_clients: Works for every client.
    """
    body = {"name": name, "roles": role, "clients": _ids(client), "all_clients": all_clients}
    made = run(call("POST", "/v1/operators", body=body))
    step = again(f"operator token {made['id']} --save FILE")
    tell(made, title="Operator", note=f"{_without_clients(made)}Next: {step}")


@app.command
def machine(name: str, *, role: MachineRole, client: list[UUID] | None = None, all_clients: bool = False) -> None:
    """Create a machine identity: a dispatcher opens jobs, a runner does them.

    Example: byokeep operator machine runner-1 --role runner --all-clients
    """
    body = {"name": name, "role": role, "clients": _ids(client), "all_clients": all_clients}
    made = run(call("POST", "/v1/machines", body=body))
    step = again(f"operator token {made['id']} --machine --save FILE")
    tell(made, title="Machine", note=f"{_without_clients(made)}Next: {step}")


def _without_clients(made: dict[str, Any]) -> str:
    if made["all_clients"] or made["clients"]:
        return ""
    step = again(f"operator change {made['id']} --client CLIENT")
    return f"Assigned to no client: none can be seen or worked for. To assign one, or with --all-clients all:\n{step}\n"


@app.command
def token(
    subject: UUID,
    *,
    machine: bool = False,
    days: int = 30,
    overlap_s: int = 0,
    save: Path | None = None,
    replace: bool = False,
) -> None:
    """Issue a token, shown once. Older tokens of the subject end after --overlap-s.

    Example: byokeep operator token $ID --save ~/.config/byokeep/token

    Args:
        machine: The subject is a machine.
        days: Life of the token, 1 to 90.
        overlap_s: How long older tokens keep working.
        save: Write it to this file (0600) instead of showing it.
        replace: The file may be there; what it holds is replaced.
    """
    if save is not None and not replace and os.path.lexists(save):
        # Before anything is issued: a new token ends the older ones.
        raise Rejected("file_exists", next_step="Name another file, or give --replace to replace what it holds.")
    if save is not None:
        check_writable(save)
    room = "machines" if machine else "operators"
    body = {"days": days, "overlap_s": overlap_s}
    _keep(run(call("POST", f"/v1/{room}/{subject}/tokens", body=body)), save)
    say(f"Older tokens of this {'machine' if machine else 'person'}, if there are any, end {_when(overlap_s)}.")


def _when(overlap_s: int) -> str:
    return f"in {overlap_s} s" if overlap_s else "now"


def _person(given: str) -> str:
    with contextlib.suppress(ValueError):
        return str(UUID(given))
    everybody = run(call("GET", "/v1/operators"))["operators"]
    ids = [str(one["id"]) for one in everybody if one["kind"] == "operator" and one["name"] == given]
    if len(ids) != 1:
        raise Rejected("unknown_person", next_step="Give the id or the exact name, as `byokeep operator list` shows.")
    return ids[0]


@app.command
def password(subject: str) -> None:
    """Set a person's password (for local login); read from a prompt or standard input.

    Example: byokeep operator password maria

    Args:
        subject: The person's id or name.
    """
    subject = _person(subject)
    value = read_secret(prompt="New password")
    run(call("PUT", f"/v1/operators/{subject}/password", raw=value))
    value.wipe()
    show({"id": subject, "password": "set"}, note="Next: " + again("operator login NAME", own_token=False))


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
    found = run(call("GET", "/v1/operators"))["operators"]
    if not session().as_json:
        found = [one | {"clients": "all" if one["all_clients"] else one["clients"]} for one in found]
    tell(found, title="Operators", columns=("id", "name", "kind", "roles", "state", "clients"))


@app.command
def change(
    subject: UUID,
    *,
    role: list[PersonRole] | None = None,
    client: list[UUID] | None = None,
    state: SubjectState | None = None,
    all_clients: bool | None = None,
) -> None:
    """Change roles, clients or state; takes effect at the next call.

    Example: byokeep operator change $ID --state disabled

    Args:
        role: The roles from now on, all of them.
        client: The clients from now on, all of them.
        all_clients: Works for every client, or not.
    """
    given = (("roles", role), ("clients", _ids(client)), ("state", state))
    body: dict[str, Any] = {name: value for name, value in given if value}
    if all_clients is not None:
        body["all_clients"] = all_clients
    tell(run(call("PATCH", f"/v1/operators/{subject}", body=body)), title="Operator")


@app.command
def revoke(token: UUID) -> None:
    """Revoke one token by its id.

    Example: byokeep operator revoke $TOKEN_ID
    """
    run(call("DELETE", f"/v1/tokens/{token}"))
    show({"token": str(token), "state": "revoked"})
