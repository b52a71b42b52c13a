"""``byokeep client``: tenants."""

from __future__ import annotations

from typing import Final

from cyclopts import App

from byokeep.cli.api import call, run
from byokeep.cli.terminal import show

app: Final = App(name="client", help="Create, list, suspend and resume clients.")
_COLUMNS: Final = ("id", "name", "state", "risk", "created_at")


@app.command
def create(name: str, *, risk: str = "standard") -> None:
    """Create a client and enrol it at the secret store.

    Example: byokeep client create "Acme Bakery" --risk high

    Args:
        name: Display name, unique.
        risk: `standard` or `high`; high shortens rotation to 30 days.
    """
    show(run(_create(name, risk)), title="Client", note="Next: byokeep key add CLIENT PROVIDER")


async def _create(name: str, risk: str) -> object:
    made = await call("POST", "/v1/clients", body={"name": name, "risk": risk})
    await call("POST", f"/v1/clients/{made['id']}/enroll")
    return await call("GET", f"/v1/clients/{made['id']}")


@app.command
def enroll(client: str) -> None:
    """Finish a creation that was cut before the store knew the client.

    Example: byokeep client enroll 7f0c9b1e-...
    """
    show(run(call("POST", f"/v1/clients/{client}/enroll")), title="Client")


@app.command(name="list")
def list_() -> None:
    """List the clients you are assigned to.

    Example: byokeep client list --json
    """
    show(run(call("GET", "/v1/clients"))["clients"], title="Clients", columns=_COLUMNS)


@app.command(name="show")
def show_(client: str) -> None:
    """Show one client.

    Example: byokeep client show 7f0c9b1e-...
    """
    show(run(call("GET", f"/v1/clients/{client}")), title="Client")


@app.command
def suspend(client: str) -> None:
    """Suspend a client: no lease, no permit, no new key.

    Example: byokeep client suspend 7f0c9b1e-...
    """
    show(run(call("POST", f"/v1/clients/{client}/suspend")), title="Client")


@app.command
def resume(client: str) -> None:
    """Resume a suspended client.

    Example: byokeep client resume 7f0c9b1e-...
    """
    show(run(call("POST", f"/v1/clients/{client}/resume")), title="Client")
