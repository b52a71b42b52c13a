"""``byokeep client``: tenants."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from uuid import UUID

from cyclopts import App

from byokeep.cli.api import call, run, tell, web_url
from byokeep.cli.choices import Risk
from byokeep.cli.names import Client, said_of
from byokeep.cli.terminal import again
from byokeep.core.errors import ByokeepError, Rejected, refusing
from byokeep.core.secret import Secret
from byokeep.envcheck.sources import read_file

app: Final = App(name="client")
_COLUMNS: Final = ("id", "name", "state", "risk")


@app.command
def create(name: str, *, risk: Risk = "standard") -> None:
    """Create a client and enrol it at the secret store.

    Example: byokeep client create "Acme Bakery" --risk high

    Args:
        name: Display name, unique.
        risk: `standard` or `high`; high shortens rotation to 30 days.
    """
    made = run(_create(name, risk))
    step = again(f"key add {made['id']} PROVIDER", own_token=False)
    tell(made, title="Client", note=f"Next, by an operator of this client: {step} < key.txt")


async def _create(name: str, risk: str) -> Any:
    made = await call("POST", "/v1/clients", body={"name": name, "risk": risk})
    try:
        await call("POST", f"/v1/clients/{made['id']}/enroll")
    except ByokeepError as error:
        enroll = again(f"client enroll {made['id']}")
        error.next_step += f" The client was created, but not enrolled. Next, once that is done: {enroll}"
        raise
    return await call("GET", f"/v1/clients/{made['id']}")


@app.command
def enroll(client: Client) -> None:
    """Finish a creation that was interrupted before the client was enrolled at the store.

    Example: byokeep client enroll $CLIENT
    """
    tell(run(call("POST", f"/v1/clients/{client}/enroll")), title="Client")


@app.command(name="list")
def list_() -> None:
    """List the clients you are assigned to.

    Example: byokeep client list --json
    """
    found = run(call("GET", "/v1/clients"))["clients"]
    assign = again("operator change ID --client CLIENT", own_token=False)
    none = f"No client is assigned to you, or there is none yet. An admin assigns one: {assign}"
    tell(found, title="Clients", columns=_COLUMNS, note="" if found else none)


@app.command(name="show")
def show_(client: Client) -> None:
    """Show one client.

    Example: byokeep client show $CLIENT
    """
    tell(run(call("GET", f"/v1/clients/{client}")), title="Client")


@app.command
def suspend(client: Client) -> None:
    """Suspend a client: it gets no lease, no permit and no new key.

    Example: byokeep client suspend $CLIENT
    """
    note = f"Running jobs end within seconds. To undo this: {again(f'client resume {client}')}"
    tell(run(call("POST", f"/v1/clients/{client}/suspend")), title="Client", note=note)
    said_of("Suspended", client)


@app.command
def resume(client: Client) -> None:
    """Resume a suspended client.

    Example: byokeep client resume $CLIENT
    """
    tell(run(call("POST", f"/v1/clients/{client}/resume")), title="Client")


_CONTACTS: Final = ("id", "name", "address", "state", "invited_until", "signed_in_at")


@app.command
def invite(client: Client, *, name: str | None = None, days: int = 7) -> None:
    """Invite a client's contact person to the portal, where they enter and end the client's keys. The link works once.

    Example: byokeep client invite $CLIENT --name "Ada of Acme"

    Args:
        name: Whom the invitation is for; by default a name is made up. To let somebody back in who no longer can sign
            in, invite them again under the same name; a number is added to it.
        days: How long the link works, 1 to 30.
    """
    if name is not None and not name.strip():
        raise Rejected("bad_name", next_step="Give a name, or leave out --name: then one is made up.", field="name")
    made = run(call("POST", f"/v1/clients/{client}/contacts", body={"name": name, "days": days}))
    made["link"] = f"{made.pop('portal') or web_url()}/portal/invitation#{made.pop('token')}"
    back = again(f"client uninvite {made['id']}", own_token=False)
    note = f"Send it to that person alone: whoever accepts it first acts for the client. To withdraw it: {back}"
    if not made.pop("mails"):
        note += "\nNobody can accept it yet, because no mail server is set. Put `portal.url` into `notify_dir`."
    tell(made, title="Invitation", note=note)


@app.command
def contacts(client: Client) -> None:
    """List a client's contact persons: who is invited, which e-mail address was verified, and who signed in.

    Example: byokeep client contacts $CLIENT --json
    """
    found = run(call("GET", f"/v1/clients/{client}/contacts"))["contacts"]
    none = f"Nobody has been invited yet: {again(f'client invite {client}', own_token=False)}"
    tell(found, title="Contact persons", columns=_CONTACTS, note="" if found else none)


@app.command
def uninvite(contact: UUID) -> None:
    """End a contact person's access: the invitation and every session, at once and for good.

    Example: byokeep client uninvite 7f0c9b1e-8d5b-4a53-9e0c-2f1f6a3c4d5e

    Args:
        contact: Id of the contact person, as `byokeep client contacts` lists it.
    """
    tell(run(call("DELETE", f"/v1/contacts/{contact}")), title="Contact person")


@app.command
def logo(client: Client, file: Path | None = None) -> None:
    """Set the logo of a client's portal pages, a PNG. Without a file, the logo is removed.

    Example: byokeep client logo $CLIENT acme.png

    Args:
        file: At most 128 KiB and 1024 pixels each way, not interlaced. Everything but the picture is stripped.
    """
    with refusing("file_unreadable", Rejected, on=(OSError, ValueError), next_step="Give a readable PNG file."):
        raw = Secret(b"" if file is None else read_file(file))
    tell(run(call("PUT", f"/v1/clients/{client}/logo", raw=raw)), title="Portal")


@app.command
def colour(client: Client, colour: str) -> None:
    """Set the colour of a client's portal pages. White text must be easy to read on it.

    Example: byokeep client colour $CLIENT "#1d4ed8"

    Args:
        colour: Six hex digits.
    """
    tell(run(call("PUT", f"/v1/clients/{client}/colour", body={"colour": colour})), title="Portal")
