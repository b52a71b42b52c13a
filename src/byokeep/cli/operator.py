"""``byokeep operator``: people, machines and their tokens."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any, Final
from uuid import UUID

from cyclopts import App

from byokeep.cli.api import call, run, tell, web_url
from byokeep.cli.approve import missing_token
from byokeep.cli.choices import MachineRole, PersonRole, SubjectState
from byokeep.cli.intake import read_secret
from byokeep.cli.names import Clients, Person, Subject, find, said_of
from byokeep.cli.new_file import new_file
from byokeep.cli.servers import load
from byokeep.cli.terminal import again, clean, err, say, session, show
from byokeep.core.errors import Rejected
from byokeep.core.secret import Secret
from byokeep.process import harden

app: Final = App(name="operator")


def _hand_over(
    reply: dict[str, Any], save: Path | None, keep: Callable[[Secret], None] | None, *, own: bool = False
) -> None:
    token = Secret(str(reply.pop("token")))
    asks = token if own else None  # the token that this command was given may have ended
    if keep is not None:
        keep(token)
        tell(reply | {"saved_to": str(save)}, title="Token", token=asks)
        return
    # The one moment a token is shown (R2.2-3): in the document, or after the table.
    text = token.reveal().decode()
    tell(reply | ({"token": text} if session().as_json else {}), title="Token", token=asks)
    if not session().as_json:
        err.print(text, markup=False, soft_wrap=True)
        say("This is shown only once. Keep it in a 0600 file; `--save FILE` writes one.")


@app.command
def create(name: str, *, role: list[PersonRole], client: Clients | None = None, all_clients: bool = False) -> None:
    """Create a person's account. With two or more admins, a second admin must approve a new approver or admin.

    Example: byokeep operator create maria --role operator --client $CLIENT

    Args:
        role: admin, operator, approver or auditor; some pairs are refused.
        client: Clients this person works for.
        all_clients: The person works for every client.
    """
    body = {"name": name, "roles": role, "clients": client or [], "all_clients": all_clients}
    made = _made(run(call("POST", "/v1/operators", body=body)))
    if made is None:
        return
    step = again(f"operator token {quote(made['name'])} --save FILE")
    tell(made, title="Operator", note=f"{_without_clients(made)}Next: {step}")


@app.command
def machine(name: str, *, role: MachineRole, client: Clients | None = None, all_clients: bool = False) -> None:
    """Create a machine identity: a dispatcher opens jobs, a runner does them. A second admin, if any, must approve.

    Example: byokeep operator machine runner-1 --role runner --all-clients
    """
    body = {"name": name, "role": role, "clients": client or [], "all_clients": all_clients}
    made = _made(run(call("POST", "/v1/machines", body=body)))
    if made is None:
        return
    step = again(f"operator token {made['id']} --machine --save FILE")
    tell(made, title="Machine", note=f"{_without_clients(made)}Next: {step}")


def _made(reply: dict[str, Any]) -> dict[str, Any] | None:
    """Return what was made or changed; None if it waits for a second admin, which is then said."""
    if "waiting" not in reply:
        return reply
    asked = reply["waiting"]
    step = again(f"approve {asked['id']}", own_token=False)
    if not session().as_json:
        asked = {name: asked[name] for name in ("id", "what", "requested_by", "expires_at")}
    tell(asked, title="Request", note=f"This takes two people. Next, another admin approves within a day: {step}")
    return None


def _without_clients(made: dict[str, Any]) -> str:
    if made["all_clients"] or made["clients"]:
        return ""
    step = again(f"operator change {made['id']} --client CLIENT")
    return f"Assigned to no client: nothing can be seen or done yet. To assign one, or all (--all-clients):\n{step}\n"


@app.command
def token(
    subject: str | None = None, *, machine: bool = False, days: int = 30, overlap_s: int = 0, save: Path | None = None,
    replace: bool = False,
) -> None:  # fmt: skip
    """Issue a token, shown once: for a machine, for yourself, or, for another person, one that only sets a password.

    Older tokens of the same kind and subject end after --overlap-s. A second admin, if there is one, must approve a
    machine's token with `byokeep approve`, unless the two of you made the machine; then run the same command again.

    Example: byokeep operator token $ID --save ~/.config/byokeep/invitation

    Args:
        subject: The person or machine, by name or id; default: yourself.
        machine: The subject is a machine.
        days: Life of the token in days: 1 to 30 for a machine, 1 to 90 for a person.
        overlap_s: How long older tokens keep working.
        save: Write it to this new file (0600) instead of showing it.
        replace: Overwrite the file if it exists.
    """
    keep = None if save is None else new_file(save, replace=replace)  # before a new token ends the older ones
    room = "machines" if machine else "operators"
    body = {"days": days, "overlap_s": overlap_s}
    kind = "machine" if machine else "operator"
    whose = run(call("GET", "/v1/self"))["id"] if subject is None else find(subject, kind)
    issued = _made(run(call("POST", f"/v1/{room}/{whose}/tokens", body=body)))
    if issued is None:
        say("Once it is approved, run the same command again, within the day. Older tokens keep working meanwhile.")
        return
    invitation = issued["kind"] == "invitation"
    _hand_over(issued, save, keep, own=not (machine or invitation))  # another person gets an invitation
    end = f"in {overlap_s} s" if overlap_s else "now"
    say(f"Older tokens of this {'machine' if machine else 'person'}, if there are any, end {end}.")
    if invitation:
        step = again(f"operator password --token-file {quote(str(save or 'FILE'))}", own_token=False)
        say(f"It is an invitation: it sets its holder's password, once, and opens nothing else. Next, they run: {step}")
        people = [] if session().as_json else run(call("GET", "/v1/operators"))["operators"]
        held = next((one["held_until"] for one in people if one["id"] == str(whose)), None)
        if held and datetime.fromisoformat(held) > datetime.now(UTC):
            sooner = again(f"operator vouch {whose}")
            say(f"They cannot approve until {clean(held)}: one admin alone let them in. A second admin ends it sooner"
                f" by approving what you ask for with: {sooner}")  # fmt: skip


@app.command
def password() -> None:
    """Set your own password, with an invitation or while logged in. It is read from a prompt or standard input.

    Nobody can set another person's password: an admin issues an invitation with `byokeep operator token`.

    Example: byokeep operator password --token-file ~/.config/byokeep/invitation
    """
    me = run(call("GET", "/v1/self"))
    with read_secret(prompt="New password", what="password", chosen=True) as value:
        run(call("PUT", f"/v1/operators/{me['id']}/password", raw=value))
    login = again(f"operator login {quote(me['name'])} --save FILE", own_token=False)
    show({"id": me["id"], "password": "set"}, note=f"Next, FILE being where your token is kept: {login}")


@app.command
def whoami() -> None:
    """Show who you are here, and who issued credentials for you in the last 30 days.

    Example: byokeep operator whoami
    """
    found = run(call("GET", "/v1/self"))
    notes = [
        f"A credential of yours ({one['kind']}) was issued by {one['by'] or 'this installation'} at {clean(one['at'])}."
        for one in found["issued_by_others"]
    ]
    if since := found.get("linked_at"):
        step = again("operator unlink")
        notes.append(f"Linked to an account at the OpenID provider since {clean(since)}. To end the link: {step}")
    if found["approvals_held"]:
        notes.append(_held(found))
    names = ("id", "name", "roles", "clients", *(["held_until"] if found["approvals_held"] else []))
    shown = {name: found.get(name) for name in names}
    shown["clients"] = "all clients" if found["clients"] is None else found["clients"]
    tell(shown, title="You", note="\n".join(notes), whole=found, known={})


def _held(found: dict[str, Any]) -> str:
    """Why a person cannot approve yet, and what ends that."""
    newest = next(iter(found["issued_by_others"]), None)
    recovered = newest is not None and newest["kind"] == "invitation" and not newest["by"]
    why = "a recovery on the host let you in" if recovered else "one admin alone gave you the role or a credential"
    return (
        f"You cannot approve until {clean(found['held_until'])}: {why}. To end it sooner, another admin asks and"
        f" a second one approves: {again('operator vouch ' + quote(found['name']), own_token=False)}"
    )


@app.command
def vouch(person: Person) -> None:
    """Ask a second admin to end the hold on another person's approvals.

    Example: byokeep operator vouch jonas

    Args:
        person: Name or id, as `byokeep operator list` shows it.
    """
    _made(run(call("POST", f"/v1/operators/{person}/vouch")))


@app.command
def recover(name: str, *, save: Path | None = None) -> None:
    """Let a locked-out admin sign in again, on the host, with the home's own credentials. This raises an alert.

    It saves an invitation that sets the admin's password within 24 hours, and is on record. If another admin can sign
    in, they must approve first; then run the same command again. A request that nobody answers for a day is granted. An
    admin whom another admin disabled, or took the role from, within the last day is an admin again.

    Example: byokeep operator recover first-admin

    Args:
        name: The admin, as `byokeep operator list` shows the name.
        save: A new file (0600) for the invitation; default: recover.token among the home's credentials.
    """
    harden()
    settings = session().settings
    file = save or settings.path("credentials_dir") / "recover.token"
    keep = new_file(file)
    invitation = run(load("byokeep.processes.installation").recover(settings, name))
    if not isinstance(invitation, Secret):
        asked = {"id": str(invitation.id), "reason": invitation.reason, "expires_at": invitation.expires_at.isoformat()}
        note = f"Another admin can sign in and must approve: {again(f'approve {invitation.id}', own_token=False)}"
        show(asked, title="Request", note=f"{note}\nThen, or after a day, run the same command again.")
        return
    keep(invitation)
    step = again(f"operator password --token-file {quote(str(file))}", own_token=False)
    note = f"Next: {step}\nDelete {file} afterwards."
    show({"name": name, "saved_to": str(file)}, title="Invitation", note=note)


@app.command
def login(name: str | None = None, *, browser: bool = False, save: Path | None = None, replace: bool = False) -> None:
    """Log in with name and password, or in a browser; the session token is saved for later commands.

    Example: byokeep operator login maria

    Args:
        name: Yours, as you were invited by.
        browser: Sign in to the console, whichever way you do there, and bring a code from its page "You".
        save: A new file (0600) for the token; default: the home's own, which later commands read by themselves.
        replace: Overwrite the file if it exists.
    """
    if (name is None) is not browser:
        step = "Give your name, or --browser to sign in to the console and bring a code from there."
        raise Rejected("name_or_browser", next_step=step)
    place = save or session().settings.home / "credentials" / "cli.token"
    keep = new_file(place, replace=replace or save is None, ours=save is None)  # before a session is there to lose
    if browser:
        say(f'Sign in at {_console()}/you and press "Make a code" there. It works once, for two minutes.')
    with read_secret(prompt="Code" if browser else "Password", what="code" if browser else "value") as value:
        text = value.reveal().decode("utf-8", "replace")
    body = {"code": text.strip()} if browser else {"name": name, "password": text}
    reply = run(call("POST", "/v1/session", body=body, anonymous=True))
    _hand_over(reply, place, keep, own=True)
    if save is not None:
        say(f"To work with it in this terminal:\nexport BYOKEEP_TOKEN_FILE={quote(str(save.absolute()))}")


@app.command
def console() -> None:
    """Make a one-time code that signs you in to the console in a browser within two minutes.

    Example: byokeep operator console
    """
    reply = run(call("POST", "/v1/session/code"))
    shown = {"open": _console(), "expires_at": reply["expires_at"]}
    show(shown | ({"code": str(reply["token"])} if session().as_json else {}), title="Console")
    if not session().as_json:
        err.print(str(reply["token"]), markup=False, soft_wrap=True)
        say("Open the page and enter this code there. It is shown once and works once.")


def _console() -> str:
    """Where people open the console: passkeys and single sign-on work only at the address that is set."""
    return f"{session().settings.console_origin or web_url()}/console"


@app.command
def unlink(person: Person | None = None) -> None:
    """End the link to the OpenID provider, yours or, as an admin, somebody's: no account there signs them in any more.

    All their sessions end, but for the one that asks. Only an invitation links anew.

    Example: byokeep operator unlink maria

    Args:
        person: Name or id, as `byokeep operator list` shows it; yourself unless it is given.
    """
    whose = run(call("GET", "/v1/self"))["id"] if person is None else person
    run(call("DELETE", f"/v1/operators/{whose}/link"))
    said = again(f"operator token {whose} --save FILE")
    show({"id": str(whose), "link": "ended"}, note=f"To let them link an account again, an admin: {said}")


@app.command(name="list")
def list_() -> None:
    """List people and machines, and until when their tokens work. --json also shows who uses single sign-on.

    Example: byokeep operator list
    """
    found = run(call("GET", "/v1/operators"))["operators"]
    if not session().as_json:
        found = [one | {"clients": "all" if one["all_clients"] else one["clients"]} for one in found]
    columns = ("id", "name", "kind", "roles", "state", "clients", "token_until", "held_until")
    tell(found, title="Operators", columns=columns)


@app.command
def change(
    subject: Subject, *, role: list[PersonRole] | None = None, client: Clients | None = None,
    state: SubjectState | None = None, all_clients: bool | None = None,
) -> None:  # fmt: skip
    """Change roles, clients or state. The change takes effect at the next call.

    Disabling another admin, or removing the role, raises an alert. If no other admin remains, you cannot create a
    machine, approver or admin for a day; within that day, the same command lets that admin back in.

    Example: byokeep operator change maria --state disabled

    Args:
        subject: The person or machine, by name or id.
        role: All roles from now on; they replace the present ones.
        client: All clients from now on; they replace the present ones.
        all_clients: Whether the subject works for every client.
    """
    body = {"roles": role or None, "clients": client or None, "state": state, "all_clients": all_clients}
    changed = _made(run(call("PATCH", f"/v1/operators/{subject}", body=body)))
    if changed is not None:
        undo = again(f"operator change {changed['id']} --state active")
        ended = f"None of their tokens or passwords works now. To let them back in: {undo}"
        stopped = changed["state"] == "disabled"
        tell(changed, title="Operator", note=ended if stopped else missing_token(changed))
        if stopped:
            said_of("Disabled", changed["id"])


@app.command
def revoke(token: UUID) -> None:
    """Revoke one token by its id.

    Example: byokeep operator revoke $TOKEN_ID
    """
    run(call("DELETE", f"/v1/tokens/{token}"))
    show({"token": str(token), "state": "revoked"})
