"""``byokeep breakglass``: read a client's secrets for some minutes, approved by another person, and reviewed after it.

Rules
- The broker is asked, so that it works without `byokeep web`; the token is unwrapped at the store, by the holder's own
  command, which looks first where it was made. No process of byokeep sees it.
"""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Final
from uuid import UUID

from cyclopts import App, Parameter

from byokeep.cli.api import Listing, call_broker, run, segment, tell, tell_all
from byokeep.cli.names import Client
from byokeep.cli.new_file import new_file
from byokeep.cli.servers import load, refuse_environment
from byokeep.cli.terminal import again, clean, say, session, show
from byokeep.core.canonical import read_json
from byokeep.core.errors import ByokeepError, Conflict, Denied, Integrity, Rejected
from byokeep.core.secret import Secret
from byokeep.core.times import seconds
from byokeep.process import harden

app: Final = App(name="breakglass")
_COLUMNS: Final = ("id", "status", "client_id", "scope", "reason", "ticket", "holder", "expires_at")
_USES: Final = ("at", "event", "outcome", "count", "path")
_CREATED_AT: Final = "auth/lease/cel/login"
_MARKER: Final = "kv/data/platform/breakglass-drill"
For = Annotated[str, Parameter(name="--for")]


def _post(grant: UUID, what: str) -> Any:
    return run(call_broker("POST", f"/v1/breakglass/{segment(str(grant))}/{what}"))


def _say(grant: dict[str, Any], title: str = "Break glass") -> None:
    shown = grant if session().as_json else {name: value for name, value in grant.items() if name != "next_step"}
    tell(shown, title=title, note=f"Next: {grant['next_step']}")


@app.command
def request(*, client: Client, ref: str = "all", reason: str, ticket: str, for_: For = "15m") -> None:
    """Ask to read a client's secrets. An approver says yes within 15 minutes; one grant at a time.

    Example: byokeep breakglass request --client "Café Zoé" --reason runner_down --ticket INC-42 --for 15m

    Example: byokeep breakglass request --client $CLIENT --ref openai --reason provider_asks --ticket INC-43

    Args:
        client: Whose secrets.
        ref: One provider or platform of the client; default: all of them. Read only.
        reason: A code, kept in the audit: small letters, digits and _, a letter first.
        ticket: The ticket's id, such as INC-42.
        for_: How long the token lives, from its opening on: 1s to 60m.
    """
    body = {"client_id": str(client), "scope": ref, "reason": reason, "ticket": ticket, "life_s": seconds(for_)}
    _say(run(call_broker("POST", "/v1/breakglass", body=body)))


@app.command
def approve(grant: UUID) -> None:
    """Approve exactly what was asked for, as another person with the role approver.

    Example: byokeep breakglass approve $GRANT
    """
    _say(_post(grant, "approve"))


@app.command
def deny(grant: UUID) -> None:
    """Say no to a request, as an approver, or take your own back.

    Example: byokeep breakglass deny $GRANT
    """
    _say(_post(grant, "deny"))


@app.command(name="open")
def open_(grant: UUID, *, save: Path | None = None) -> None:
    """Open an approved grant, as whoever asked for it. What comes is a wrapping token: `breakglass unwrap` is next.

    It is told to others at once. The wrapping token lives for five minutes and works once.

    Example: byokeep breakglass open $GRANT --save glass.json

    Args:
        grant: The grant.
        save: A new file (0600) for it; only --json, which prints it, does without.
    """
    if save is None and not session().as_json:
        raise Rejected("usage", next_step="Give --save FILE: it opens once, and `byokeep breakglass unwrap` reads it.")
    keep = new_file(save) if save else None
    opened: dict[str, Any] = _post(grant, "open")
    if keep is None or save is None:
        show(opened)
        return
    keep(json.dumps(opened).encode())
    opened.pop("wrapping_token")
    _say(opened | {"next_step": again(f"breakglass unwrap {save} --save glass.token", own_token=False)})


@app.command
def unwrap(file: Path, *, save: Path) -> None:
    """Unwrap what `breakglass open` saved, at the store itself, once. Where it fails, the grant ends.

    Example: byokeep breakglass unwrap glass.json --save glass.token

    Args:
        file: What was saved.
        save: A new file (0600) for the token.
    """
    keep = new_file(save)
    opened = _saved(file)
    keep(run(_unwrapped(opened)))
    places = "\n".join(f"  {clean(one)}" for one in opened["places"][:12])
    note = f"It reads:\n{places}\n"
    note += "".join(
        f"To read one, beside `bao kv get`:\n{_reading(save, opened, one)}\n" for one in opened["places"][:1]
    )
    note += f"Then, and delete both files: {again('breakglass revoke ' + opened['id'])}"
    show({"grant": opened["id"], "saved_to": str(save), "expires_at": opened["expires_at"]}, title="Token", note=note)


def _reading(token: Path, opened: dict[str, Any], one: str) -> str:
    """Return a line to paste that reads one place; the token stands in no argument and no environment."""
    address, ca_file = clean(opened["store_address"]), session().settings.file("store_ca_file")
    at = "--unix-socket " + quote(address.removeprefix("unix://")) if address.startswith("unix://") else ""
    at += f"--cacert {quote(str(ca_file))}" if ca_file is not None and not at else ""
    base = "http://store" if address.startswith("unix://") else address
    place = quote(f"{base}/v1/{clean(one).replace('kv/', 'kv/data/', 1)}")
    return " ".join(filter(None, (f"(printf 'X-Vault-Token: '; cat {quote(str(token))}) | curl -sS -H @-", at, place)))


def _saved(file: Path) -> dict[str, Any]:
    try:
        opened: dict[str, Any] = read_json(file.read_bytes())
        if {"id", "store_address", "places", "expires_at"} <= opened.keys():
            return opened
    except (OSError, ValueError, AttributeError):
        pass
    raise Rejected("bad_file", next_step="Give the file that `byokeep breakglass open --save` wrote.")


async def _unwrapped(opened: dict[str, Any]) -> Secret:
    """Look where and when the token was made, then unwrap it.

    Whatever is wrong with it, or that none came, is told at once, and ends the grant.

    Raises:
        Rejected: ``wrapped_at_missing``: the broker is too old to say when; nobody is told, and the grant goes on.
        Integrity: ``wrapping_token_misused``.
    """
    from byokeep.wire.bao_http import BaoHttp  # noqa: PLC0415 - a page of help needs none of it

    if "wrapped_at" not in opened:
        step = "An older release of the broker opened it. Unwrap it with that release of byokeep."
        raise Rejected("wrapped_at_missing", next_step=step)
    shown = Secret(str(opened.get("wrapping_token") or ""))
    ca_file = session().settings.file("store_ca_file")
    async with BaoHttp(opened["store_address"], ca_file=ca_file) as http:
        try:
            if not opened.get("wrapping_token"):
                raise Integrity("wrapping_token_missing", next_step="Nothing to do: it was already unwrapped.")
            looked = await http.request("POST", "sys/wrapping/lookup", body={"token": shown})
            made = looked.data.get("creation_path"), looked.data.get("creation_time")
            if made != (_CREATED_AT, opened["wrapped_at"]):
                raise Integrity(
                    "wrapped_by_another",
                    next_step="Somebody unwrapped it before you, and wrapped another. Treat what it opens as leaked.",
                )
            reply = await http.request("POST", "sys/wrapping/unwrap", token=shown)
            return Secret(reply.auth["client_token"])
        except (Rejected, Denied, Integrity, KeyError):
            step = "Somebody else used it, or its five minutes are over. The grant is ended, and others are notified."
            try:
                await call_broker("POST", f"/v1/breakglass/{opened['id']}/misused")
            except Conflict:  # what the store's log shows of it has ended the grant already
                pass
            except ByokeepError:
                end = again(f"breakglass revoke {opened['id']}")
                step = (
                    f"Somebody else used it, or its five minutes are over, and nobody could be notified. End it: {end}"
                )
            raise Integrity("wrapping_token_misused", next_step=step) from None


@app.command
def revoke(grant: UUID) -> None:
    """End an open grant before its time; its token is refused from then on.

    Example: byokeep breakglass revoke $GRANT
    """
    _say(_post(grant, "revoke"))


@app.command
def review(grant: UUID, *, accept_gaps: Annotated[bool, Parameter(negative=())] = False) -> None:
    """List everything that was done with a grant that is over. What was read is on the due list for a rotation already.

    Example: byokeep breakglass review $GRANT

    Args:
        grant: The grant.
        accept_gaps: Take it upon yourself, on record, that a part of the store's log is gone for good.
    """
    path = f"/v1/breakglass/{segment(str(grant))}/review"
    _uses(run(call_broker("POST", path, body={"accept_gaps": accept_gaps})))


@app.command
def close(grant: UUID) -> None:
    """Close a reviewed grant, as an approver who is neither its holder nor reviewed it.

    Example: byokeep breakglass close $GRANT
    """
    _say(_post(grant, "close"))


@app.command(name="list")
def list_() -> None:
    """List the grants, open ones first, and when a drill last proved that the door opens.

    Example: byokeep breakglass list
    """
    found: Any = run(call_broker("GET", "/v1/breakglass"))
    drilled = f"Last drill: {clean(found['last_drill_at'] or 'never')}."
    drilled += f" On the host: {clean(found['last_host_drill_at'] or 'never')}."
    tell_all(found, Listing(found["grants"], "Break glass", _COLUMNS, drilled))


@app.command(name="show")
def show_(grant: UUID) -> None:
    """Show a grant and what was done with it.

    Example: byokeep breakglass show $GRANT
    """
    _uses(run(call_broker("GET", f"/v1/breakglass/{segment(str(grant))}")))


def _uses(found: dict[str, Any]) -> None:
    rest = {name: value for name, value in found.items() if name not in ("uses", "next_step")}
    uses = Listing(found["uses"] or None, "Done with it", _USES)
    tell_all(found, Listing(rest, "Break glass", note=f"Next: {found['next_step']}"), uses)


@app.command
def drill(grant: UUID | None = None, *, client: Client | None = None, ticket: str = "") -> None:
    """Prove that the door opens: asked for, approved by another person, unwrapped, a marker read, ended. On record.

    Without a grant it asks for one; once that is approved, run it again with the grant's id. It opens no secret.

    Example: byokeep breakglass drill --client $CLIENT --ticket OPS-7

    Example: byokeep breakglass drill $GRANT

    Args:
        grant: The approved drill.
        client: On whose way in it is tried.
        ticket: The ticket's id.
    """
    if grant is None:
        if client is None or not ticket:
            raise Rejected("usage", next_step="Give --client and --ticket, or the id of an approved drill.")
        body = {"client_id": str(client), "scope": "drill", "reason": "drill", "ticket": ticket, "life_s": 60}
        asked: dict[str, Any] = run(call_broker("POST", "/v1/breakglass", body=body))
        step = f"{asked['next_step']} Then: `byokeep breakglass drill {asked['id']}`."
        _say(asked | {"next_step": step}, "Drill")
        return
    opened: dict[str, Any] = _post(grant, "open")
    run(_read_marker(opened))
    ended = _post(grant, "revoke")
    say("Break glass works: approved, unwrapped once, the marker read, ended.")
    _say(ended | {"next_step": again("breakglass list", own_token=False)}, "Drill")


@app.command
def host() -> None:
    """Serve break glass on this host until Ctrl-C: for when the broker, `web` and single sign-on are down.

    It needs the store, the database and this home's own credentials, and nothing else of byokeep; without the database
    nothing is opened, for nothing could be put on record. Others are told at once. In another terminal of this host
    the commands above work as they always do: two people, each with a token or password of their own.

    Example: byokeep breakglass host
    """
    harden()
    refuse_environment()
    socket = session().settings.home.absolute() / "breakglass.sock"
    step = again("breakglass request --client ID --reason CODE --ticket ID", own_token=False)
    say(f"Others are notified. Ctrl-C ends it. Meanwhile, in another terminal on this host: {step}")
    say(f"To log in with a password there: {again('operator login NAME', own_token=False)} --url unix://{socket}")
    load("byokeep.processes.serve").serve("breakglass", session().settings)


async def _read_marker(opened: dict[str, Any]) -> None:
    """Read the marker with the token of a drill."""
    from byokeep.wire.bao_http import BaoHttp  # noqa: PLC0415 - a page of help needs none of it

    token = await _unwrapped(opened)
    async with BaoHttp(opened["store_address"], ca_file=session().settings.file("store_ca_file")) as http:
        try:
            await http.request("GET", _MARKER, token=token)
        except ByokeepError as error:
            raise Integrity("drill_failed", next_step="The token reads nothing. End it, and see the alerts.") from error
        finally:
            token.wipe()
