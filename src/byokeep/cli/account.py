"""``byokeep account``: platform accounts and what identifies them."""

from __future__ import annotations

from shlex import quote
from typing import Final
from uuid import UUID

from cyclopts import App

from byokeep.cli.api import call, run, segment
from byokeep.cli.choices import Lane, Platform
from byokeep.cli.names import tell
from byokeep.cli.terminal import again

app: Final = App(name="account", help="Register platform accounts and enable their lanes.")


@app.command
def add(client: UUID, platform: Platform, account: str, *, username: str, display_name: str) -> None:
    """Register an account and the identity it must show before every effect.

    Example: byokeep account add $CLIENT x acme --username acme --display-name "Acme Bakery"

    Args:
        account: Our name for it, such as `acme`.
        username: The name the platform shows for it.
        display_name: The title the platform shows for it.
    """
    body = {"platform": platform, "account": account, "username": username, "display_name": display_name}
    tell(run(call("POST", f"/v1/clients/{client}/accounts", body=body)), title="Account",
         note="Next: " + again(f"account lanes {client} {platform} {quote(account)} --lane api"))  # fmt: skip


@app.command
def lanes(client: UUID, platform: Platform, account: str, *, lane: list[Lane]) -> None:
    """Set which lanes may act: api, browser, or both.

    Example: byokeep account lanes $CLIENT x acme --lane api
    """
    path = f"/v1/clients/{client}/accounts/{platform}/{segment(account)}/lanes"
    tell(run(call("POST", path, body={"lanes": lane})), title="Account")


@app.command(name="list")
def list_(client: UUID) -> None:
    """List a client's accounts.

    Example: byokeep account list $CLIENT
    """
    tell(run(call("GET", f"/v1/clients/{client}/accounts"))["accounts"], title="Accounts",
         columns=("platform", "account", "username", "lanes", "identity", "identified_at"))  # fmt: skip
