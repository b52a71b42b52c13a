"""``byokeep kill``: the kill switch. One person engages it; two release it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from cyclopts import App

from byokeep.cli.api import Listing, call, call_kill, ids_of, names, requested, run, tell, tell_all, waiting
from byokeep.cli.choices import Lane, Platform
from byokeep.cli.names import Client, said_of
from byokeep.cli.servers import load
from byokeep.cli.terminal import again, clean, say, session, show
from byokeep.core.errors import Pending, Rejected, Unavailable
from byokeep.process import harden

app: Final = App(name="kill")


def _scope(client: UUID | None, platform: str | None, lane: str | None, everything: bool) -> dict[str, str]:
    every_lane = lane == "browser" and not client
    homeless = not client and (platform or (lane and not every_lane))
    if everything == (bool(client) or every_lane) or (platform and lane) or homeless:
        step = "Give --client C (with --platform P or --lane L), --lane browser alone, or --everything."
        raise Rejected("bad_scope", next_step=step)
    named = {"client_id": client and str(client), "platform": platform, "lane": lane}
    return {name: value for name, value in named.items() if value}


@app.command
def on(
    *, client: Client | None = None, platform: Platform | None = None, lane: Lane | None = None,
    everything: bool = False, reason: str = "operator_decision", dry_run: bool = False,
) -> None:  # fmt: skip
    """Engage the kill switch. Returns only once no lease, read or permit passes.

    Exit codes: 0 it holds everywhere; 7 engaged, but the store has still to confirm: no lease or permit passes, but the
    store did not confirm within 3 s and is tried every second; 2, 3 it was not engaged; 4 it was not, or that is
    unknown: look at `byokeep kill status`, then try again. `byokeep kill panic` stops a client without the database.

    Example: byokeep kill on --client $CLIENT --reason suspected_leak

    Example: byokeep kill on --client "Café Zoé" --dry-run

    Example: byokeep kill on --everything --reason incident

    Example: byokeep kill on --lane browser --reason profile_vault_suspected

    Args:
        client: Stop one client.
        platform: Stop one platform of that client.
        lane: Stop one lane (api, browser) of that client; browser without a client stops it for every client.
        everything: Stop all clients.
        reason: A code, kept in the audit: 2 to 63 characters, small letters, digits and _, a letter first.
        dry_run: Stop nothing; list the jobs that would be stopped.
    """
    scope = _scope(client, platform, lane, everything)
    words = " ".join(f"--{name.removesuffix('_id')} {value}" for name, value in scope.items()) or "--everything"
    if dry_run:
        found, now = run(call_kill("POST", "/v1/switches/preview", body=scope)), run(call_kill("GET", "/v1/switches"))
        _would_stop(found, words, [one["scope"] for one in now["switches"] if one["closed"]])
        return
    try:
        closed: Any = run(call_kill("POST", "/v1/switches/close", body=scope | {"reason": reason}))
    except Unavailable as error:
        if not isinstance(error, Pending):  # it holds
            whom = f"--client {client}" if client else "--everything"
            whole = ", which stops all of it" if platform or lane else ""
            error.next_step += f" On the host of the kill process: `byokeep kill panic {whom}`{whole}."
        raise
    step = again(f"kill off {words} --reason CODE", own_token=False)
    say(f"Kill switch engaged: {closed['scope']}.")  # before names are asked for: `web` may hang
    known = {} if session().as_json else names(ids_of([closed]))
    if client:
        said_of("Stopped", client, known=known)
    approve = again("kill approve REQUEST", own_token=False)
    note = f"{outliving(closed)}Releasing it takes two people. An operator: {step}\nThen an approver: {approve}"
    tell(closed, title="Kill switch", note=note, known=known)


def outliving(closed: dict[str, Any]) -> str:
    """Return what a kill does not end at once; empty if there is nothing."""
    where = ", ".join(closed.get("keyless", ()))  # a kill is told also when the answer is an older release's
    return where and (
        f"A token given before may stay valid at {where} until {clean(closed['keyless_until'])}: to end it sooner"
        " the client disables the rule or the service account there.\n"
    )


def _would_stop(found: Any, words: str, engaged: Sequence[str]) -> None:
    """Print the jobs that engaging would stop, and the switches that are already engaged."""
    ends = "would end for good" if found["ends_jobs"] else "would continue, with their acts there refused"
    count = f"{len(found['jobs'])}{' and more' if found['more'] else ''}"
    step = again(f"kill on {words} --reason CODE")
    note = f"Nothing was stopped. Open jobs that {ends}: {count}. To stop them: {step}"
    if engaged:
        note = f"Engaged already: {', '.join(engaged)}.\n{note}"
    columns = ("id", "client_id", "runner_id", "opened_at", "secrets", "platforms", "effects")
    tell_all(found, Listing(found["jobs"], "Jobs that it would stop", columns, note))


@app.command
def panic(*, client: Client | None = None, everything: bool = False) -> int:
    """Cut clients off at the store, from this host, without the database and without any byokeep process.

    Use this when `byokeep kill on` does not answer. It needs the credentials of the kill process on this host; for an
    id or everything, it asks for no token. The store refuses from then on. If the database answers, the switch is
    engaged as well; otherwise the broker engages it within a minute of its return. Either way the alert `kill_panic` is
    raised. As always, two people release the switch.

    Without the database, no name is known here or at the store: keep `byokeep client list --json` with the runbook.

    Exit codes: 0 the switch is engaged as well; 7 the store refuses, but the database was not told; 4 the store did not
    answer.

    Example: byokeep kill panic --everything

    Example: byokeep kill panic --client $CLIENT

    Args:
        client: Stop one client; by its id if the database, which knows the names, does not answer.
        everything: Stop all clients.
    """
    if everything == bool(client):
        raise Rejected("bad_scope", next_step="Give --client C or --everything.")
    harden()
    done: Any = run(load("byokeep.processes.panic").panic(session().settings, client))
    engaged = done["database"] == "engaged"
    note = "The store refuses. The database was not told: the broker engages the switch within a minute of its return."
    show(done, title="Cut off", note="The switch is engaged as well." if engaged else note)
    return 0 if engaged else Pending.exit_code


@app.command
def off(
    *, client: Client | None = None, platform: Platform | None = None, lane: Lane | None = None,
    everything: bool = False, reason: str = "cause_removed",
) -> None:  # fmt: skip
    """Ask to release a kill switch. Another person, an approver, must approve within 15 minutes.

    If a request is already waiting, it is named instead of made again.

    Example: byokeep kill off --client $CLIENT --reason key_replaced

    Args:
        client: Release one client.
        platform: Release one platform of that client.
        lane: Release one lane (api, browser) of that client; browser without a client releases it for every client.
        everything: Release the global switch.
        reason: A code, kept in the audit: 2 to 63 characters, small letters, digits and _, a letter first.
    """
    body = _scope(client, platform, lane, everything) | {"reason": reason}
    asked: Any = run(call("POST", "/v1/switches/open-requests", body=body))
    requested(asked, f"kill approve {asked['id']}")


@app.command
def approve(request: UUID) -> None:
    """Approve a request to release a switch.

    Example: byokeep kill approve $REQUEST
    """
    tell(run(call("POST", f"/v1/switches/open-requests/{request}/approve")), title="Kill switch",
         note="Leases are granted again. Next, to see what else is still engaged: " + again("kill status"))  # fmt: skip


@app.command
def status() -> None:
    """Show all switches, and the release requests that wait for an approver.

    Example: byokeep kill status
    """
    found: Any = run(call_kill("GET", "/v1/switches"))
    rows = [one | {"state": "engaged" if one["closed"] else "released"} for one in found["switches"]]
    columns = ("scope", "state", "reason", "at", "by", "store_cut_off")
    tell_all(found, Listing(rows, "Switches", columns), waiting(found["requests"], "kill approve"))
