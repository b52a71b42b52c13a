"""``byokeep client``: tenants."""

from __future__ import annotations

from typing import Any, Final

from cyclopts import App

from byokeep.cli.api import call, run, tell
from byokeep.cli.choices import Risk
from byokeep.cli.names import Client, said_of
from byokeep.cli.terminal import again

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
    await call("POST", f"/v1/clients/{made['id']}/enroll")
    return await call("GET", f"/v1/clients/{made['id']}")


@app.command
def enroll(client: Client) -> None:
    """Finish a creation that was cut before the store knew the client.

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
    none = f"None is assigned to this account, or there is none yet. An admin assigns one: {assign}"
    tell(found, title="Clients", columns=_COLUMNS, note="" if found else none)


@app.command(name="show")
def show_(client: Client) -> None:
    """Show one client.

    Example: byokeep client show $CLIENT
    """
    tell(run(call("GET", f"/v1/clients/{client}")), title="Client")


@app.command
def suspend(client: Client) -> None:
    """Suspend a client: no lease, no permit, no new key.

    Example: byokeep client suspend $CLIENT
    """
    note = f"Running jobs end within seconds. To undo it: {again(f'client resume {client}')}"
    tell(run(call("POST", f"/v1/clients/{client}/suspend")), title="Client", note=note)
    said_of("Suspended", client)


@app.command
def resume(client: Client) -> None:
    """Resume a suspended client.

    Example: byokeep client resume $CLIENT
    """
    tell(run(call("POST", f"/v1/clients/{client}/resume")), title="Client")
