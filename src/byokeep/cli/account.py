"""``byokeep account``: platform accounts, how they stand, and through which lanes they may act."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from shlex import quote
from typing import Any, Final
from uuid import UUID

from cyclopts import App

from byokeep.cli import connect, refreshers, webhook
from byokeep.cli.api import call, run, segment
from byokeep.cli.choices import Lane, LanePolicy, Platform
from byokeep.cli.names import tell
from byokeep.cli.terminal import again, busy, session
from byokeep.core import next_steps
from byokeep.core.errors import Unavailable

app: Final = App(name="account", help="Connect platform accounts, and enable their lanes.")
app.command(connect.app)
app.command(connect.logins)
app.command(connect.connect)
app.command(webhook.app)
app.command(refreshers.refreshers)
app.command(refreshers.refresher_gone)
_COLUMNS: Final = ("platform", "login", "account", "state", "policy", "identity", "username", "reauth_at", "next")
_LOOK_S: Final = 60


@app.command
def add(client: UUID, platform: Platform, account: str, *, username: str, display_name: str) -> None:
    """Register an account by hand, and the identity it must show before every effect.

    Example: byokeep account add $CLIENT skool acme --username acme --display-name "Acme Bakery"

    Args:
        account: The id that the platform reports for it: what a job reports with `job.identify` must be equal.
        username: The name the platform shows for it.
        display_name: The title the platform shows for it.
    """
    body = {"platform": platform, "account": account, "username": username, "display_name": display_name}
    step = f"account lanes {client} {platform} {quote(account)} --lane api"
    if platform == "skool":  # it has no API: a browser profile comes first
        step = f"profile create {client} {platform}/{quote(account)}"
    tell(run(call("POST", f"/v1/clients/{client}/accounts", body=body)), title="Account", note="Next: " + again(step))


@app.command
def lanes(client: UUID, platform: Platform, account: str, *, lane: list[Lane]) -> None:
    """Set the lanes of an account that was registered by hand: api, browser, or both. See `account lane`.

    Example: byokeep account lanes $CLIENT x acme --lane api
    """
    path = f"/v1/clients/{client}/accounts/{platform}/{segment(account)}/lanes"
    tell(run(call("POST", path, body={"lanes": lane})), title="Account")


@app.command(name="lane")
def lane_(client: UUID, where: str, account: str, policy: LanePolicy) -> None:
    """Set the lane policy of a verified account: exactly one word.

    Example: byokeep account lane $CLIENT x acme api

    Args:
        where: The platform, or the login.
        policy: Through what it may act.
    """
    tell(run(call("POST", _path(client, where, account, "lane"), body={"policy": policy})), title="Account")


@app.command(name="list")
def list_(client: UUID) -> None:
    """List a client's accounts: how they stand, and what comes next.

    Example: byokeep account list $CLIENT
    """
    tell(run(call("GET", f"/v1/clients/{client}/accounts"))["accounts"], title="Accounts", columns=_COLUMNS)


@app.command(name="show")
def show_(client: UUID, where: str, account: str) -> None:
    """Show one account.

    Example: byokeep account show $CLIENT x acme

    Args:
        where: The platform, or the login.
    """
    found = run(call("GET", _path(client, where, account)))
    _show(found, note=_next(client, where, found))


@app.command
def verify(client: UUID, where: str, account: str, *, wait: bool = True) -> None:
    """Ask the platform now whose account it is.

    Example: byokeep account verify $CLIENT x acme

    Args:
        where: The platform, or the login.
        wait: Wait until the answer is there.
    """
    path = _path(client, where, account)
    found = run(_looked(path, wait=wait))
    tell(found, title="Account", note=_next(client, where, found))


async def _looked(path: str, *, wait: bool) -> dict[str, Any]:
    before: dict[str, Any] = await call("GET", path)
    asked: dict[str, Any] = await call("POST", f"{path}/verify")
    if not wait:
        return asked
    deadline = time.monotonic() + _LOOK_S
    with busy("Asking the platform ..."):
        while time.monotonic() < deadline:
            found: dict[str, Any] = await call("GET", path)
            if found["verified_at"] is not None or found["identified_at"] != before["identified_at"]:
                return found
            await asyncio.sleep(0.2)
    raise Unavailable("not_looked_yet", next_step="Is the refresher up? `byokeep doctor` tells.")


@app.command(name="confirm-name")
def confirm_name(client: UUID, where: str, account: str, *, username: str, display_name: str) -> None:
    """Make the names that the platform says now the expected ones, as `account show` prints them.

    Example: byokeep account confirm-name $CLIENT x acme --username acme --display-name "Acme Bakery"

    Args:
        where: The platform, or the login.
        username: The `said username` that you saw; `-` for none.
        display_name: The `said display name` that you saw; `-` for none.
    """
    body = {"username": username, "display_name": display_name}
    tell(run(call("POST", _path(client, where, account, "confirm-name"), body=body)), title="Account")


@app.command
def disconnect(client: UUID, where: str, account: str) -> None:
    """Stop the use of an account at once, end its grant at the platform, destroy its tokens.

    Example: byokeep account disconnect $CLIENT x acme

    Args:
        where: The platform, or the login.
    """
    found = run(call("POST", _path(client, where, account, "disconnect")))
    _show(found, note=_next(client, where, found))


def _path(client: UUID, where: str, account: str, act: str = "") -> str:
    return f"/v1/clients/{client}/accounts/{segment(where)}/{segment(account)}" + (f"/{act}" if act else "")


def _show(found: Mapping[str, Any], *, note: str) -> None:
    shown = dict(found)
    if found["reauth_at"] is None and not session().as_json:  # a dash would leave open whether anybody knows
        shown["reauth_at"] = next_steps.no_reauth(found["state"], renewed=found["next_renewal_at"] is not None)
    tell(shown, title="Account", note=note)


def _next(client: UUID, where: str, found: Mapping[str, Any]) -> str:
    step = found["next"]
    if found["state"] == "disconnecting":
        look = again(f"account show {client} {quote(found['login'] or where)} {quote(found['account'])}")
        return f"Use stopped; the refresher ends the grant. Next: {look}"
    if not step:
        return ""
    at = found["login"] or where
    words = f"account {step} {client} {quote(at)} {quote(found['account'])}"
    if step == "lane":
        words += " api"
    if step == "confirm-name":
        names = (found["said_username"] or "-", found["said_display_name"] or "-")
        words += f" --username {quote(names[0])} --display-name {quote(names[1])}"
    return "Next: " + again(words)
