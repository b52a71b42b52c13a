"""``byokeep account``: platform accounts, how they stand, and through which lanes they may act."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime
from shlex import quote
from typing import Any, Final
from uuid import UUID

from cyclopts import App

from byokeep.cli import connect, refreshers, transfer, way_back, webhook
from byokeep.cli.api import call, run, segment
from byokeep.cli.choices import Lane, LanePolicy, Platform
from byokeep.cli.names import tell
from byokeep.cli.terminal import again, busy, say, session
from byokeep.core import next_steps
from byokeep.core.errors import Conflict, Unavailable

app: Final = App(name="account")
app.command(connect.app)
app.command(connect.logins)
app.command(connect.connect)
app.command(transfer.transfer)
app.command(transfer.transfer_approve)
app.command(webhook.app)
app.command(refreshers.refreshers)
app.command(refreshers.refresher_gone)
_COLUMNS: Final = ("platform", "login", "account", "state", "policy", "identity", "username", "reauth_at", "next")
_LOOK_S: Final = 60
_OVER: Final = frozenset({"needs_reauth", "unverified", "disconnecting", "disconnected"})


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
    found = run(call("GET", f"/v1/clients/{client}/accounts"))["accounts"]
    tell(found, title="Accounts", columns=_COLUMNS)
    if lines := way_back.of_client(client, accounts=found):
        say(lines)


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
def verify(client: UUID, where: str, account: str, *, wait: bool = True) -> int:
    """Ask the platform now whose account it is.

    Exit code 0: the same account. 4: nobody could tell, which is no match. 6: another account answered, or its owner
    must log in again.

    Example: byokeep account verify $CLIENT x acme

    Args:
        where: The platform, or the login.
        wait: Wait until the answer is there, and for the renewal that it may ask for.
    """
    path = _path(client, where, account)
    if not wait:
        found = run(call("POST", f"{path}/verify"))
        _show(found, note="Asked. Next: " + again(f"account show {client} {quote(where)} {quote(account)}"))
        return 0
    found = run(_looked(path))
    code, said = _judged(found)
    _show(found, note="\n".join(line for line in (said, _next(client, where, found)) if line))
    return code


def _judged(found: Mapping[str, Any]) -> tuple[int, str]:
    """Return the exit code of a look, and what to do where it did not come to a match."""
    if found["state"] not in ("connected", "name_changed"):
        return Conflict.exit_code, _lost(found)
    if found["verified_at"] is None or found["identity"] != "match":
        return Unavailable.exit_code, next_steps.of_look("unknown")
    return 0, ""


def _lost(found: Mapping[str, Any]) -> str:
    if found["state"] != "mismatch":
        return next_steps.of_loss(found["reason"])
    said = (found["said_username"], found["said_display_name"])
    odd = any("<U+" in (name or "") for name in said) and said != (found["username"], found["display_name"])
    return next_steps.of_look("look_alike" if odd and found["reason"] == "identity_mismatch" else "mismatch")


async def _looked(path: str) -> dict[str, Any]:
    """Ask for a look and return what it came to; a token that was over is renewed, and then looked with again."""
    found: dict[str, Any] = await call("GET", path)
    first, seen, renewed = found["identified_at"], found["identified_at"], found["renewed_at"]
    await call("POST", f"{path}/verify")
    deadline = time.monotonic() + _LOOK_S
    with busy("Asking the platform ..."):
        while time.monotonic() < deadline:
            found = await call("GET", path)
            looked = found["identified_at"] != seen
            if found["verified_at"] is not None or found["state"] in _OVER or (looked and found["state"] == "mismatch"):
                return found
            if looked and found["renewed_at"] != renewed:
                seen, renewed = found["identified_at"], found["renewed_at"]
            elif looked and not _renewing(found):
                return found
            await asyncio.sleep(0.2)
    if found["identified_at"] == first:
        raise Unavailable("not_looked_yet", next_step="Is the refresher up? `byokeep doctor` tells.")
    return found


def _renewing(found: Mapping[str, Any]) -> bool:
    """Whether the look made a renewal due that has not been tried yet."""
    due, at = found["next_renewal_at"], found["identified_at"]
    return due is not None and datetime.fromisoformat(due) <= datetime.fromisoformat(at)


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
def disconnect(client: UUID, where: str, account: str, *, also: bool = False) -> None:
    """Stop the use of an account at once, end its grant at the platform, destroy its tokens.

    Some platforms (Facebook Pages, YouTube) end the owner's whole consent: the client's other accounts there are named
    and nothing is done, unless --also is given.

    Example: byokeep account disconnect $CLIENT x acme

    Args:
        where: The platform, or the login.
        also: The other accounts may end that the same owner connected.
    """
    found = run(call("POST", _path(client, where, account, "disconnect"), body={"also": True} if also else None))
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
    if step.startswith("profile "):
        account = f"{client} {found['platform']}/{quote(found['account'])}"
        return "Next: " + again(f"{step} {found['profile'] or account}")
    at = found["login"] or where
    words = f"account {step} {client} {quote(at)} {quote(found['account'])}"
    if step == "lane":
        words += " api"
    if step == "confirm-name":
        names = (found["said_username"] or "-", found["said_display_name"] or "-")
        words += f" --username {quote(names[0])} --display-name {quote(names[1])}"
    return "Next: " + again(words)
