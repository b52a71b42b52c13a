"""``byokeep rotate``: what is due, and the rotation of keys."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from cyclopts import App, Parameter

from byokeep.cli.api import Listing, call, run, steps_of, tell, tell_all
from byokeep.cli.choices import DueKind
from byokeep.cli.intake import admin_token
from byokeep.cli.names import Client, Key
from byokeep.cli.new_file import fetch_to, new_file
from byokeep.cli.servers import load
from byokeep.cli.terminal import again, say, session, show, typed
from byokeep.core.errors import Rejected, refusing
from byokeep.core.sheet import sheet
from byokeep.process import harden

app: Final = App(name="rotate")
_COLUMNS: Final = ("due_at", "state", "days", "kind", "name", "client_id", "command")
_RUNS: Final = ("id", "client_id", "provider", "from_version", "version", "state", "reason", "ended", "next")
_HISTORY: Final = ("seq", "at", "event", "stage", "outcome", "cause", "by")
_DAYS: Final = re.compile(r"([0-9]{1,4})d?\Z")

OldEnds = Literal["now", "1h", "24h", "policy"]
Accept = Literal["not_rehearsed", "old_value_gone", "other_account", "revoke_by_hand", "soak_unknown", "stays_alive"]


@app.command
def due(
    *, client: Client | None = None, kind: DueKind | None = None, until: str | None = None,
    file: Annotated[Path | None, Parameter(name="--csv")] = None, signed: Path | None = None,
) -> None:  # fmt: skip
    """List everything that is due for rotation, renewal or consent, by date, with the command for each.

    Overdue items and items without a date are always listed. The digest identifies the list as it is now, for whoever
    signs it off; it is on record that you saw it. With --kind for keys, keyless ones are named too: they need no
    rotation.

    Example: byokeep rotate due --client "Acme Bakery"

    Example: byokeep rotate due --until 90d --csv due.csv

    Example: byokeep rotate due --signed due.json

    Args:
        client: Only items of this client; default: of all your clients.
        kind: Only items of this kind.
        until: How far ahead to look: days, such as `90d` or `90`, or a date such as 2026-12-31; default: 14 days.
        file: Also write the list to this new file.
        signed: Also write the list to this new file as a signed document, for `byokeep evidence verify`.
    """
    params = {"client_id": client, "kind": kind, "until": None if until is None else _time(until)}
    keep = None if file is None else new_file(file)
    if signed is not None:
        if file is not None:
            raise Rejected("one_file", next_step="Give --csv or --signed: each is a list of its own moment.")
        fetch_to(signed, "POST", "/v1/due/sign", body=params)
        return
    found = run(call("GET", "/v1/due", params=params))
    if keep is not None:
        keep(sheet(_CELLS, found["items"]))
        say(f"Written: {file}")
    none = {"keyless": "none"}
    rows = [one | {"due_at": (one["due_at"] or none.get(one["state"], "unknown"))[:10], "state": _state(one),
                   "command": again(one["command"].removeprefix("byokeep "), own_token=False)}
            for one in found["items"]]  # fmt: skip
    note = f"Until {found['until'][:10]}. Digest of this list: {found['digest']}"
    if found["more"]:
        note = f"{found['more']} more do not fit: filter by client or kind.\n{note}"
    tell_all(found, Listing(rows, "Due", _COLUMNS, note))


def _time(text: str) -> str:
    """Return the time meant by days from now, by a day, which counts whole, or by a time."""
    if days := _DAYS.match(text):
        return (datetime.now(UTC) + timedelta(days=int(days[1]))).isoformat()
    step = "Use days, such as 90d, a day such as 2026-12-31, or a time such as 2026-12-31T12:00:00Z."
    with refusing("bad_time", Rejected, next_step=step, field="until"):
        at = datetime.fromisoformat(text) + timedelta(days=len(text) == len("2026-12-31"))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()


def _state(one: dict[str, Any]) -> str:
    """Return how an item stands, and why it is due before its date. Only what was due on an earlier day is overdue."""
    state = "due today" if (one["state"], one["days"]) == ("overdue", 0) else one["state"]
    return f"{state} ({one['cause']})" if one["cause"] else state


_CELLS: Final = (
    "due_at", "state", "days", "kind", "item", "name", "client_id", "client", "provider", "cause", "command",
)  # fmt: skip


@app.command
def grade(client: Client) -> None:
    """Show how a client's credentials are rotated: how many in each way, best first.

    continuous: renewed all the time; keyless: there is no key; full: a worker makes and ends the key; assisted: a
        worker ends it; cutover: service pauses while there is no key; manual: a person does it.

    Example: byokeep rotate grade "Acme Bakery"
    """
    found = run(call("GET", f"/v1/clients/{client}/rotation-grade"))["grade"]
    step = f"Fewer by hand: {again(f'key admin {client} PROVIDER')} < admin.txt"
    by_hand = any(one["mode"] == "manual" for one in found)
    tell(found, title="Rotation grade", columns=("mode", "count", "percent"), note=step if by_hand else "")


@app.command
def start(
    ref: Key, *, old_ends: OldEnds = "policy", skip_rehearsal: bool = False, mint: bool = False, leaked: bool = False
) -> None:
    """Start the rotation of a key. The key in use keeps serving until the cutover.

    Then give the new key with `byokeep key add`, which can also start a rotation by itself.

    Example: byokeep rotate start $REF

    Example: byokeep rotate start $REF --leaked

    Example: byokeep rotate start $REF --mint --old-ends 1h --skip-rehearsal

    Args:
        ref: The key, as `byokeep key list` shows it.
        old_ends: How long the old key stays valid after the cutover; policy: 24 h. Jobs that have it end first.
        skip_rehearsal: Cut over without a dry run of the new key.
        mint: Have a worker make the new key at the provider, with the client's administrator key (`byokeep key admin`).
            If the provider has no call for this, a person does it within a week.
        leaked: The key leaked: no job gets it from now on, and it is revoked before the new one comes. A rotation under
            way ends.
    """
    body = {"old_ends": old_ends, "skip_rehearsal": skip_rehearsal, "mint": mint, "leaked": leaked}
    _show(run(call("POST", f"/v1/refs/{ref}/rotations", body=body)))


@app.command
def status(rotation: UUID | None = None, *, ref: Key | None = None) -> None:
    """Show a rotation: its progress, next step and records. Without an id, list all rotations, finished ones too.

    A key that serves nobody any more is listed until it is dead at its provider.

    Example: byokeep rotate status

    Example: byokeep rotate status $ROTATION

    Args:
        rotation: Id of the rotation, as the list shows it.
        ref: Only rotations of this key.
    """
    if rotation is not None:
        found = run(call("GET", f"/v1/rotations/{rotation}"))
        _show(found)
        if not session().as_json:
            say("")
            tell(found["history"], title="On record", columns=_HISTORY)
        return
    found = run(call("GET", "/v1/rotations" if ref is None else f"/v1/refs/{ref}/rotations"))["rotations"]
    rows = found if session().as_json else [
        _read(one) | {"next": "" if one["ended"] else typed(one["next_step"])} for one in found
    ]  # fmt: skip
    tell(rows, title="Rotations", columns=_RUNS, note="" if found else "Nothing has been rotated yet.")


@app.command
def resume(rotation: UUID, *, accept: Accept | None = None) -> None:
    """Resume a rotation that stopped. You may accept what it stopped for, on record and in your name.

    Example: byokeep rotate resume $ROTATION --accept not_rehearsed

    Args:
        rotation: As `byokeep rotate status` shows it.
        accept: What it stopped for; stays_alive: the owner keeps a key that serves nobody.
    """
    _show(run(call("POST", f"/v1/rotations/{rotation}/resume", body={"accept": accept or ""})))


@app.command
def abort(rotation: UUID) -> None:
    """End a rotation before its cutover. The new key is withdrawn; the key in use never stopped serving.

    Example: byokeep rotate abort $ROTATION

    Args:
        rotation: As `byokeep rotate status` shows it.
    """
    _show(run(call("POST", f"/v1/rotations/{rotation}/abort")))


@app.command
def rollback(rotation: UUID) -> None:
    """Roll back to the old key after the cutover, unless it was already revoked.

    Example: byokeep rotate rollback $ROTATION

    Args:
        rotation: As `byokeep rotate status` shows it.
    """
    _show(run(call("POST", f"/v1/rotations/{rotation}/rollback")))


@app.command
def internal(
    *, admin_token_fd: int | None = None, dry_run: bool = False, old_logins_end: Literal["now", "24h"] = "24h"
) -> None:
    """Rotate the platform's own secrets, on the host, while everything serves. After a crash, run it again to resume.

    It makes new secret ids for our processes at the store; new signing keys for leases, checkpoints and evidence; new
    logins at your own PostgreSQL, if byokeep makes them; and new tokens for the embedded stack's machines. `byokeep up`
    does this by itself every 30 days, except for the keys of checkpoints and evidence, whose public halves others keep:
    pass those on with `byokeep audit keys`.

    Example: byokeep rotate internal --dry-run

    Example: byokeep rotate internal

    Args:
        admin_token_fd: Descriptor with the admin token of your own store.
        dry_run: Change nothing; list each secret, when it was rotated and when it is due.
        old_logins_end: When your PostgreSQL starts to refuse the old logins. Use `now` if one was stolen: this is done
            first; their sessions end, and what is under way in them fails. Hosts with copies of the files fail until
            they have the new ones; a login that another host made for itself is ended there.
    """
    harden()
    settings, host = session().settings, load("byokeep.processes.platform_secrets")
    if dry_run:
        rows = run(host.platform_secrets(settings))
        show(rows, title="Platform secrets", columns=("secret", "owner", "rotated_at", "due_at", "how"))
        return
    with admin_token(admin_token_fd, needed=not settings.embedded_store) as token:
        grace = timedelta(hours=0 if old_logins_end == "now" else 24)
        done = run(host.rotate_internal(settings, token, grace=grace))
    facts = {"id": str(done.run.id), "state": done.run.state, "done": [one.name for one in done.steps]}
    note = "Next, for those who verify what you sign: `byokeep audit keys FILE`. On record: `byokeep procedure list`."
    if not settings.embedded_database:
        when = "now" if old_logins_end == "now" else "within 24 hours"
        note = f"Copy the new *.pgpass files to other hosts {when}: then the old logins are refused.\n{note}"
    show(facts, title="Platform secrets", note=note)


def _read(one: dict[str, Any]) -> dict[str, Any]:
    """Return a rotation as people read it: without a version there is none yet."""
    return one | {"version": one["version"] or None}


def _show(found: dict[str, Any]) -> None:
    note = found["next_step"]
    if not session().as_json:
        more: dict[str, Any] = {}
        if found["steps"] or not found["ended"]:
            more = {"done": steps_of(found), "missing": ", ".join(found["missing"]) or "nothing"}
        hidden = ("steps", "missing", "next_step", "history")
        found = {name: one for name, one in _read(found).items() if name not in hidden} | more
    tell(found, title="Rotation", note=f"Next: {note}")
