"""``byokeep account``: platform accounts and what identifies them."""

from __future__ import annotations

from typing import Final

from cyclopts import App

from byokeep.cli.api import call, run
from byokeep.cli.terminal import show

app: Final = App(name="account", help="Register platform accounts and enable their lanes.")


@app.command
def add(client: str, platform: str, account: str, *, username: str, display_name: str) -> None:
    """Register an account and the identity it must show before every effect.

    Example: byokeep account add 7f0c9b1e-... x acme --username acme --display-name "Acme Bakery"
    """
    body = {"platform": platform, "account": account, "username": username, "display_name": display_name}
    show(run(call("POST", f"/v1/clients/{client}/accounts", body=body)), title="Account",
         note="Next: byokeep account lanes CLIENT PLATFORM ACCOUNT --lane api")  # fmt: skip


@app.command
def lanes(client: str, platform: str, account: str, *, lane: list[str]) -> None:
    """Set which lanes may act: api, browser, or both.

    Example: byokeep account lanes 7f0c9b1e-... x acme --lane api
    """
    path = f"/v1/clients/{client}/accounts/{platform}/{account}/lanes"
    show(run(call("POST", path, body={"lanes": lane})), title="Account")


@app.command(name="list")
def list_(client: str) -> None:
    """List a client's accounts.

    Example: byokeep account list 7f0c9b1e-...
    """
    show(run(call("GET", f"/v1/clients/{client}/accounts"))["accounts"], title="Accounts",
         columns=("platform", "account", "username", "lanes", "identity", "identified_at"))  # fmt: skip
