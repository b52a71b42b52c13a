"""``byokeep account connect``, ``app`` and ``logins``: our apps at platforms, and consents (SOP 5.2)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from datetime import datetime
from shlex import quote
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from cyclopts import App, Parameter
from rich.text import Text

from byokeep.cli.api import call, run, segment
from byokeep.cli.intake import read_secret
from byokeep.cli.names import tell
from byokeep.cli.redirect import Listener, form_of, is_local, need_free
from byokeep.cli.terminal import again, busy, err, say, session, show
from byokeep.core import next_steps
from byokeep.core.errors import ByokeepError, Conflict, Rejected, Unavailable
from byokeep.core.secret import Secret

app: Final = App(name="app", help="Our own apps at the platforms: their public half, and their secret.")
_LIFE_S: Final = 600
_FINISH_S: Final = 120
_STOPPED: Final = 130  # as a shell says it of Ctrl-C
_WHOSE: Final = ("external_id", "username", "display_name", "purposes")
_OPEN: Final = frozenset({"started", "answered", "taken"})


@app.command(name="set")
def set_(login: str, *, app_id: str, redirect_uri: str, public: bool = False, fd: int | None = None) -> None:
    """Name our app at a login. Its secret is read from standard input, from --fd, or from a prompt that hides it.

    Example: byokeep account app set x --app-id $APP_ID --redirect-uri http://127.0.0.1:8431/x < secret.txt

    Args:
        login: As `byokeep account logins` lists it.
        app_id: The public id that the platform shows.
        redirect_uri: As registered at the platform; every login has one of its own.
        public: The app has no secret; where the platform knows such.
        fd: Read the secret from this descriptor.
    """
    secret = Secret(b"") if public else read_secret(prompt=f"{login} app secret", fd=fd, what="app's secret")
    params = {"app_id": app_id, "redirect_uri": redirect_uri}
    made = run(call("PUT", f"/v1/apps/{segment(login)}", raw=secret, params=params))
    secret.wipe()
    tell(made, title="App", note="Next: an operator connects an account: " + again(
        f"account connect CLIENT {quote(login)} ACCOUNT", own_token=False))  # fmt: skip


@app.command(name="list")
def list_() -> None:
    """List our apps; never a secret.

    Example: byokeep account app list
    """
    tell(run(call("GET", "/v1/apps"))["apps"], title="Apps",
         columns=("login", "platform", "app_id", "redirect_uri", "secret_version", "set_at"))  # fmt: skip


def logins() -> None:
    """List the ways to log in at platforms, and what each can do.

    Example: byokeep account logins
    """
    show(run(call("GET", "/v1/logins"))["logins"], title="Logins",
         columns=("login", "platform", "oauth", "lanes", "purposes", "name", "why"))  # fmt: skip


def connect(
    client: UUID,
    login: str,
    account: str,
    *,
    for_: Annotated[str | None, Parameter(name="--for")] = None,
    pick: str | None = None,
    open_: Annotated[bool, Parameter(name="--open")] = False,
    paste: bool = False,
) -> int:
    """Connect an account: a person consents in a browser, the refresher stores and verifies the tokens.

    Example: byokeep account connect $CLIENT x acme --for publish,engage

    Args:
        login: As `byokeep account logins` lists it.
        account: Our name for it, such as `acme`; a new one is made.
        for_: What the account is for beside reading: publish, engage, or both with a comma; '' = reading alone. When it
            is connected again and this is left out, what it was for before.
        pick: The platform's id of the account, where one consent opens several.
        open_: Open the address in this machine's browser.
        paste: Ask for the address that the browser came to, instead of waiting for it on this machine.
    """
    purposes = None if for_ is None else for_.split(",") if for_ else []
    if not all(purposes or ()):
        raise Rejected("bad_purpose", next_step="Write purposes with one comma between, such as publish,engage.")
    try:
        return run(_connect(client, login, account, {"purposes": purposes, "pick": pick}, browse=open_, paste=paste))
    except KeyboardInterrupt:
        say("Stopped waiting. An answer that was brought is finished all the same: "
            + again(f"account show {client} {quote(login)} {quote(account)}"))  # fmt: skip
        return _STOPPED


async def _connect(client: UUID, login: str, account: str, body: dict[str, Any], *, browse: bool, paste: bool) -> int:
    path = f"/v1/clients/{client}/logins/{segment(login)}/accounts/{segment(account)}/connect"
    if not paste:  # before anything begins: that ends what somebody else waits for
        ours = (await call("GET", "/v1/apps"))["apps"]
        for uri in (one["redirect_uri"] for one in ours if one["login"] == login and is_local(one["redirect_uri"])):
            await need_free(uri)
    begun = await call("POST", path, body=body)
    url, uri, binding = begun["authorize_url"], begun["redirect_uri"], Secret(begun["binding"])
    state = Secret(dict(parse_qsl(urlsplit(url).query)).get("state", ""))
    base = f"/v1/clients/{client}/connections/{begun['connection']}"
    if paste or not is_local(uri):
        _invite(url, browse=browse)
        found = await _finished(base, await _pasted(uri, state, binding))
    else:
        async with Listener(uri, state=state, binding=binding) as listener:
            _invite(url, browse=browse)
            until = datetime.fromisoformat(begun["expires_at"])
            say(f"Waiting at {urlsplit(uri).netloc} until {until:%H:%M} UTC; Ctrl-C ends it.")
            with busy("Waiting for the person ..."):
                form = await listener.answer(limit_s=_LIFE_S, sop=begun["sop"])
            found = await _finished(base, form)
            await listener.linger()
    if found["state"] != "connected":
        return _told(client, found)
    whose, onward = await _onward(client, login, account)
    return _told(client, found | whose, onward)


async def _onward(client: UUID, login: str, account: str) -> tuple[dict[str, Any], str]:
    """Return whose account it is, and what comes after a login: a lane, where none is open; where the platform was lost
    its other accounts, or a canary (7.2)."""
    who = f"{client} {quote(login)} {quote(account)}"
    lane = f"No lane is open: what it may do a person says. Next: {again(f'account lane {who} api')}"
    try:
        at = await call("GET", f"/v1/clients/{client}/accounts/{segment(login)}/{segment(account)}")
        lost = (await call("GET", f"/v1/clients/{client}/platforms"))["platforms"]
    except ByokeepError:  # it is connected all the same
        return {}, lane
    whose = {name: at[name] for name in _WHOSE}
    note = lane if at["policy"] == "off" else f"Next: {again(f'account show {who}')}"
    here = [one for one in lost if one["platform"] == at["platform"]]
    if any(one["stage"] == "permitted" for one in here):
        canary = again(f"incident platform canary {client} {at['platform']}")
        note += f"\nThe platform was lost, which empties lanes, and opens by a canary. Then: {canary}"
    elif any(one["stage"] == "closed" and one["cause"] == "missing_scope" for one in here):
        note += (
            "\nThe platform stays closed: it was for more than was granted now. Connect again with that as --for;"
            f" or, if this is all it is for from now on, as it is: {again(f'account connect {who}')}"
        )
    elif any(one["stage"] == "closed" for one in here):
        note += f"\nThe platform stays closed for other accounts: {again(f'incident platform status {client}')}"
    return whose, note


def _invite(url: str, *, browse: bool) -> None:
    """Show the address, on standard error: it is for the person who sits here, not for a pipe."""
    err.print(Text("Open this address in the browser of the person who owns the account:"))
    err.print(Text(url), soft_wrap=True)
    if browse:
        opener = "open" if sys.platform == "darwin" else "xdg-open"
        try:
            subprocess.Popen(
                [opener, url], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except OSError:
            say("No browser could be opened; open the address by hand.")


async def _pasted(uri: str, state: Secret, binding: Secret) -> Secret:
    came = await asyncio.to_thread(read_secret, prompt="The address the browser came to")
    form = form_of(came.reveal().decode("utf-8", "replace").strip(), redirect_uri=uri, state=state, binding=binding)
    came.wipe()
    if form is None:
        raise Rejected("not_the_answer", next_step="Paste the whole address that the browser ended at; start again.")
    return form


async def _finished(base: str, form: Secret) -> dict[str, Any]:
    """Bring the answer, and wait until the refresher has made of it what it makes."""
    await call("POST", f"{base}/answer", raw=form)
    form.wipe()
    deadline = time.monotonic() + _FINISH_S
    with busy("Storing and verifying ..."):
        while True:
            found: dict[str, Any] = await call("GET", base)
            if found["state"] not in _OPEN or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.2)


def _told(client: UUID, found: dict[str, Any], onward: str = "") -> int:
    shown = {name: found[name] for name in ("connection", "sop", "login", "state", "reason")}
    shown |= {name: found[name] for name in ("code_points", "held_as", "offered") if found[name]}
    if found["state"] == "connected":
        shown |= {name: found[name] for name in _WHOSE if name in found}
        show(shown, title="Account", note=onward)
        return 0
    if session().as_json:
        show(shown)
    else:
        offered = shown.pop("offered", [])
        show(shown, title="Account")
        if offered:
            show(offered, title="Accounts of this login")
    if found["state"] in _OPEN:
        say(next_steps.of_connection("running", ""))
        return Unavailable.exit_code
    alike = found["reason"] == "other_account" and found["code_points"]
    say(
        next_steps.of_consent("look_alike").format(points=alike)
        if alike
        else next_steps.of_connection("failed", found["reason"])
    )
    if found["held_as"]:
        say(
            next_steps.of_consent("maybe_ended")
            + again(f"account show {client} {quote(found['login'])} {quote(found['held_as'])}")
        )
    return Conflict.exit_code if found["state"] == "quarantined" else Rejected.exit_code
