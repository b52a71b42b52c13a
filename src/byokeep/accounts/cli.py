"""``byokeep account``: our apps at platforms, consents (SOP 5.2), accounts and their lanes, the machines that renew,
an account's transfer to another client, and the secrets with which senders sign what they send to a client's server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime
from shlex import quote
from typing import Annotated, Any, Final, get_args
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from cyclopts import App, Parameter
from rich.text import Text

from byokeep.cli import way_back
from byokeep.cli.api import ask_until, call, requested, run, segment, tell
from byokeep.cli.choices import LanePolicy, OAuthPlatform, Platform, WebhookSender
from byokeep.cli.intake import read_secret
from byokeep.cli.names import Client, said_of
from byokeep.cli.redirect import Listener, is_local, need_free, open_browser, pasted_form
from byokeep.cli.terminal import again, busy, clean, err, say, session, show
from byokeep.core import next_steps
from byokeep.core.errors import ByokeepError, Conflict, Rejected, Unavailable
from byokeep.core.secret import Secret
from byokeep.core.times import seconds

apps: Final = App(name="app", help="Our own apps at the platforms: their public ids and their secrets.")
_LIFE_S: Final = 600
_FINISH_S: Final = 120
_STOPPED: Final = 130  # as a shell reports Ctrl-C
_WHOSE: Final = ("external_id", "username", "display_name", "purposes")
_OPEN: Final = frozenset({"started", "answered", "taken"})


@apps.command(name="set")
def set_app(login: str, *, app_id: str, redirect_uri: str, public: bool = False, fd: int | None = None) -> None:
    """Set our app for a login. The app's secret is read from standard input, from --fd, or from a hidden prompt.

    Example: byokeep account app set x --app-id $APP_ID --redirect-uri http://127.0.0.1:8431/x < secret.txt

    Args:
        login: The login, as `byokeep account logins` lists it.
        app_id: The public id that the platform shows.
        redirect_uri: The redirect address registered at the platform; each login has its own.
        public: The app has no secret, if the platform supports such apps.
        fd: Read the secret from this descriptor.
    """
    params = {"app_id": app_id, "redirect_uri": redirect_uri}
    with Secret(b"") if public else read_secret(prompt=f"{login} app secret", fd=fd, what="app's secret") as secret:
        made = run(call("PUT", f"/v1/apps/{segment(login)}", raw=secret, params=params))
    tell(made, title="App", note="Next: an operator connects an account: " + again(
        f"account connect CLIENT {quote(login)} ACCOUNT", own_token=False))  # fmt: skip


@apps.command(name="list")
def list_apps() -> None:
    """List our apps, never their secrets.

    Example: byokeep account app list
    """
    tell(run(call("GET", "/v1/apps"))["apps"], title="Apps",
         columns=("login", "platform", "app_id", "redirect_uri", "secret_version", "set_at"))  # fmt: skip


def logins() -> None:
    """List the logins at platforms, and what each can do.

    Example: byokeep account logins
    """
    show(run(call("GET", "/v1/logins"))["logins"], title="Logins",
         columns=("login", "platform", "oauth", "lanes", "purposes", "name", "why"))  # fmt: skip


def connect(
    client: Client,
    login: str,
    account: str,
    *,
    for_: Annotated[str | None, Parameter(name="--for")] = None,
    pick: str | None = None,
    open_: Annotated[bool, Parameter(name="--open")] = False,
    paste: bool = False,
) -> int:
    """Connect an account: a person consents in a browser; the refresher stores and verifies the tokens.

    Example: byokeep account connect $CLIENT x acme --for publish,engage

    Args:
        login: The login, as `byokeep account logins` lists it.
        account: Our name for the account, such as `acme`; a new account is created.
        for_: What the account is for besides reading: publish, engage, or both with a comma; '' = reading only. If you
            connect it again without this option, its purposes stay as they were.
        pick: The account's id at the platform, if one consent opens several.
        open_: Open the address in this machine's browser.
        paste: Ask for the address that the browser ended at, instead of waiting for it on this machine.
    """
    purposes = None if for_ is None else for_.split(",") if for_ else []
    if not all(purposes or ()):
        raise Rejected("bad_purpose", next_step="Separate purposes with a comma, such as publish,engage.")
    try:
        return run(_connect(client, login, account, {"purposes": purposes, "pick": pick}, browse=open_, paste=paste))
    except KeyboardInterrupt:
        say("Stopped waiting. An answer that has arrived is still processed: "
            + again(f"account show {client} {quote(login)} {quote(account)}"))  # fmt: skip
        return _STOPPED


async def _connect(client: UUID, login: str, account: str, body: dict[str, Any], *, browse: bool, paste: bool) -> int:
    path = f"/v1/clients/{client}/logins/{segment(login)}/accounts/{segment(account)}/connect"
    if not paste:  # before anything begins, because beginning ends what somebody else waits for
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
            say(f"Waiting at {urlsplit(uri).netloc} until {clean(begun['expires_at'])}; Ctrl-C ends it.")
            with busy("Waiting for the person ..."):
                form = await listener.answer(limit_s=_LIFE_S, sop=begun["sop"])
            found = await _finished(base, form)
            await listener.linger()
    if found["state"] != "connected":
        return _told(client, found)
    whose, onward = await _onward(client, login, account)
    return _told(client, found | whose, onward)


async def _onward(client: UUID, login: str, account: str) -> tuple[dict[str, Any], str]:
    """Return whose account it is, and what comes after a login: a lane if none is enabled; if the platform was lost,
    its other accounts or a canary (7.2).
    """
    who = f"{client} {quote(login)} {quote(account)}"
    lane = f"No lane is open: a person decides what the account may do. Next: {again(f'account lane {who} api')}"
    try:
        at = await call("GET", _path(client, login, account))
        lost = (await call("GET", f"/v1/clients/{client}/platforms"))["platforms"]
    except ByokeepError:  # it is connected anyway
        return {}, lane
    whose = {name: at[name] for name in _WHOSE}
    note = lane if at["policy"] == "off" else f"Next: {again(f'account show {who}')}"
    here = [one for one in lost if one["platform"] == at["platform"]]
    if any(one["stage"] == "permitted" for one in here):
        canary = again(f"incident platform canary {client} {at['platform']}")
        note += f"\nThe platform was lost: that emptied its lanes, and only a canary opens it again. Then: {canary}"
    elif any(one["stage"] == "closed" and one["cause"] == "missing_scope" for one in here):
        note += (
            "\nThe platform stays closed: it was for more than was granted now. Connect again with that as --for;"
            f" or, if this is all it is for from now on, as it is: {again(f'account connect {who}')}"
        )
    elif any(one["stage"] == "closed" for one in here):
        note += f"\nThe platform stays closed for other accounts: {again(f'incident platform status {client}')}"
    return whose, note


def _invite(url: str, *, browse: bool) -> None:
    """Show the address on standard error: it is for the person at this terminal, not for a pipe."""
    err.print(Text("Open this address in the browser of the person who owns the account:"))
    err.print(Text(url), soft_wrap=True)
    if browse and not open_browser(url):
        say("No browser could be opened. Open the address yourself.")


async def _pasted(uri: str, state: Secret, binding: Secret) -> Secret:
    came = await asyncio.to_thread(read_secret, prompt="The address the browser came to")
    return pasted_form(came, redirect_uri=uri, state=state, binding=binding)


async def _finished(base: str, form: Secret) -> dict[str, Any]:
    """Send the answer, and wait until the refresher has processed it."""
    await call("POST", f"{base}/answer", raw=form)
    form.wipe()
    found: dict[str, Any] = await ask_until(base, lambda found: found["state"] not in _OPEN, within_s=_FINISH_S,
                                            saying="Storing and verifying ...")  # fmt: skip
    return found


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
    if found["reason"] == "other_account" and found["code_points"]:
        say(next_steps.of_consent("look_alike").format(points=found["code_points"]))
    else:
        say(next_steps.of_connection("failed", found["reason"]))
    if found["held_as"]:
        look = again(f"account show {client} {quote(found['login'])} {quote(found['held_as'])}")
        say(next_steps.of_consent("maybe_ended") + look)
    return Conflict.exit_code if found["state"] == "quarantined" else Rejected.exit_code


def refreshers() -> None:
    """List the machines with renewals under way, not those that wait. Usually there are none: a renewal takes seconds.

    Example: byokeep account refreshers
    """
    found = run(call("GET", "/v1/refreshers"))["refreshers"]
    if not found and not session().as_json:
        say("No renewal is under way, as usual. To check that a refresher runs: " + again("doctor"))
        return
    tell(found, title="Refreshers", columns=("owner", "renewals", "oldest_at", "newest_at", "gone"))


def refresher_gone(owner: UUID, *, reason: str) -> None:
    """Declare, as an admin, that a machine that renewed tokens will not come back.

    Never declare this of a machine that may come back: start that machine instead. Within seconds, another machine
    takes over what was under way: it asks the platform once more, or reports that an account must be connected again.

    Example: byokeep account refresher-gone $OWNER --reason machine_lost

    Args:
        owner: The machine, as `byokeep account refreshers` lists it.
        reason: A code, kept in the audit: 2 to 63 characters, small letters, digits and _, a letter first.
    """
    done: Any = run(call("POST", f"/v1/refreshers/{owner}/gone", body={"reason": reason}))
    tell(done, title="Refresher", note="Next: " + again("alert list"))


account: Final = App(name="account")
account.command(apps)
account.command(logins)
account.command(connect)
account.command(refreshers)
account.command(refresher_gone)
# Accounts and their lanes.
_COLUMNS: Final = ("platform", "login", "account", "state", "policy", "identity", "username", "reauth_at", "next")
_LOOK_S: Final = 60
_OVER: Final = frozenset({"needs_reauth", "unverified", "disconnecting", "disconnected"})


@account.command
def add(client: Client, platform: Platform, account: str, *, username: str, display_name: str) -> None:
    """Register an account by hand, with the identity it must show before every effect.

    Example: byokeep account add $CLIENT skool acme --username acme --display-name "Acme Bakery"

    Args:
        account: The account's id at the platform: what a job reports with `job.identify` must match it.
        username: The user name that the platform shows.
        display_name: The display name that the platform shows.
    """
    body = {"platform": platform, "account": account, "username": username, "display_name": display_name}
    step = f"account lane {client} {platform} {quote(account)} api"
    if platform not in get_args(OAuthPlatform):  # it has no API: a browser profile comes first
        step = f"profile create {client} {platform}/{quote(account)}"
    tell(run(call("POST", f"/v1/clients/{client}/accounts", body=body)), title="Account", note="Next: " + again(step))


@account.command(name="lane")
def lane_(client: Client, where: str, account: str, policy: LanePolicy) -> None:
    """Set the lane policy of an account that was verified, or registered by hand: exactly one word.

    Example: byokeep account lane $CLIENT x acme api

    Args:
        where: The platform, or the login.
        policy: The lanes through which the account may act.
    """
    tell(run(call("POST", _path(client, where, account, "lane"), body={"policy": policy})), title="Account")


@account.command(name="list")
def list_(client: Client) -> None:
    """List a client's accounts: their state, and what comes next.

    Example: byokeep account list $CLIENT
    """
    found = run(call("GET", f"/v1/clients/{client}/accounts"))["accounts"]
    tell(found, title="Accounts", columns=_COLUMNS)
    if lines := way_back.of_client(client, accounts=found):
        say(lines)


@account.command(name="show")
def show_(client: Client, where: str, account: str) -> None:
    """Show one account.

    Example: byokeep account show $CLIENT x acme

    Args:
        where: The platform, or the login.
    """
    found = run(call("GET", _path(client, where, account)))
    _show(found, note=_next(client, where, found))


@account.command
def verify(client: Client, where: str, account: str, *, wait: bool = True) -> int:
    """Ask the platform now whose account it is.

    Exit codes: 0 it is the same account; 4 this is unknown, which is not a match; 6 another account answered, or its
    owner must log in again.

    Example: byokeep account verify $CLIENT x acme

    Args:
        where: The platform, or the login.
        wait: Wait for the answer, and for the renewal that it may need.
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
    """Return the exit code of an identity check, and what to do if it was not a match."""
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
    """Ask for an identity check and return its result; with an expired token, after a renewal and another check."""
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
        raise Unavailable("not_looked_yet", next_step="Check that the refresher is running: `byokeep doctor`.")
    return found


def _renewing(found: Mapping[str, Any]) -> bool:
    """Whether the check made a renewal due that has not been tried yet."""
    due, at = found["next_renewal_at"], found["identified_at"]
    return due is not None and datetime.fromisoformat(due) <= datetime.fromisoformat(at)


@account.command(name="confirm-name")
def confirm_name(client: Client, where: str, account: str, *, username: str, display_name: str) -> None:
    """Accept the names that the platform now reports as the expected ones; `account show` prints them.

    Example: byokeep account confirm-name $CLIENT x acme --username acme --display-name "Acme Bakery"

    Args:
        where: The platform, or the login.
        username: The user name that `account show` prints as said; `-` for none.
        display_name: The display name that it prints as said; `-` for none.
    """
    body = {"username": username, "display_name": display_name}
    tell(run(call("POST", _path(client, where, account, "confirm-name"), body=body)), title="Account")


@account.command
def disconnect(client: Client, where: str, account: str, *, also: bool = False) -> None:
    """Stop using an account at once, end its grant at the platform, and destroy its tokens.

    Some platforms (Facebook Pages, YouTube) end the owner's whole consent. Then the client's other accounts there are
    named and nothing is done, unless you give --also.

    Example: byokeep account disconnect $CLIENT x acme

    Args:
        where: The platform, or the login.
        also: Accept that the other accounts that the same owner connected may end, too.
    """
    found = run(call("POST", _path(client, where, account, "disconnect"), body={"also": True} if also else None))
    _show(found, note=_next(client, where, found))
    said_of(f"Use stopped: {where} {account} of", client)


def _path(client: UUID, where: str, account: str, act: str = "") -> str:
    return f"/v1/clients/{client}/accounts/{segment(where)}/{segment(account)}" + (f"/{act}" if act else "")


def _show(found: Mapping[str, Any], *, note: str) -> None:
    shown = dict(found)
    if found["reauth_at"] is None and not session().as_json:  # a dash would not say whether it is known
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


@account.command
def transfer(client: Client, login: str, account_id: str, *, reason: str = "account_moved") -> None:
    """Ask to transfer an account from another client to this one. An admin must approve within a day.

    The present client disconnects the account first. The next consent for it then connects it here, once.

    Example: byokeep account transfer $CLIENT x 2244994945 --reason account_was_sold

    Args:
        client: The client that gets the account.
        login: The login, as `byokeep account logins` lists it.
        account_id: The account's id at the platform.
        reason: A code, kept in the audit: 2 to 63 characters, small letters, digits and _, a letter first.
    """
    body = {"client_id": str(client), "login": login, "account": account_id, "reason": reason}
    asked: Any = run(call("POST", "/v1/accounts/transfers", body=body))
    words = f"account transfer-approve {asked['id']} {client} {quote(login)} {quote(account_id)}"
    requested(asked, words, by="an admin")


@account.command
def transfer_approve(request: UUID, client: Client, login: str, account_id: str) -> None:
    """Approve the transfer of an account to a client, as the second person. Name what you approve.

    Example: byokeep account transfer-approve $REQUEST $CLIENT x 2244994945

    Args:
        request: Id of the request, as `byokeep account transfer` printed it.
        client: The client that gets the account.
        login: The login in the request.
        account_id: The account id in the request.
    """
    body = {"client_id": str(client), "login": login, "account": account_id}
    done: Any = run(call("POST", f"/v1/accounts/transfers/{request}/approve", body=body))
    tell({name: value for name, value in done.items() if name != "repeated"}, title="Transfer")


webhook: Final = App(name="webhook", help="Signing secrets of webhooks, for each client and sender.")
account.command(webhook)
# The secrets with which senders sign.
_WEBHOOK: Final = (
    "provider", "version", "state", "verification", "previous_version", "previous_until", "rotation_due_at",
)  # fmt: skip


@webhook.command(name="set")
def webhook_set(client: Client, sender: WebhookSender, *, keep_previous: str = "0s", fd: int | None = None) -> None:
    """Store a signing secret. Jobs that declare the sender verify with it at once.

    The secret is read from standard input, from --fd, or from a prompt that does not show it.

    Example: byokeep account webhook set $CLIENT tiktok < secret.txt

    Example: byokeep account webhook set $CLIENT meta --keep-previous 24h < secret.txt

    Args:
        client: Name or id.
        sender: The sender that signs.
        keep_previous: How long the previous secret stays valid as well: a number with s, m, h or d; at most 30d.
        fd: Read the secret from this descriptor.
    """
    params = {"keep_previous_s": str(seconds(keep_previous))}
    with read_secret(prompt=f"{sender} webhook secret", fd=fd, what="signing secret") as value, busy("Storing ..."):
        stored = run(call("PUT", f"/v1/clients/{client}/providers/{sender}/webhook", raw=value, params=params))
    say(f"Stored as version {stored['version']}.")
    tell({name: stored[name] for name in _WEBHOOK}, title="Webhook secret")


@webhook.command(name="list")
def webhook_list(client: Client) -> None:
    """List a client's signing secrets: where each one is, its state, and older ones still valid. Never a value.

    The state is `active` from the start. The verification stays `pending`, because there is nobody to ask.

    Example: byokeep account webhook list $CLIENT
    """
    tell(run(call("GET", f"/v1/clients/{client}/webhooks"))["webhooks"], title="Webhook secrets", columns=_WEBHOOK)


@webhook.command
def retire(client: Client, sender: WebhookSender, *, reason: str, previous_only: bool = False) -> None:
    """Retire a signing secret: deliveries signed with it are refused.

    Example: byokeep account webhook retire $CLIENT tiktok --reason not_used

    Args:
        reason: A code of 2 to 63 characters: small letters, digits and _, a letter first; such as `not_used`.
        previous_only: End only the secret before the current one.
    """
    body = {"reason": reason, "previous_only": previous_only}
    found = run(call("POST", f"/v1/clients/{client}/providers/{sender}/webhook/retire", body=body))
    tell({name: found[name] for name in _WEBHOOK}, title="Webhook secret")
    said_of(f"Ended: {sender} of", client)
