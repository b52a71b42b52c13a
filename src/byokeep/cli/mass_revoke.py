"""``byokeep incident revoke``: many keys and accounts at once (runbook section 7)."""

from __future__ import annotations

from typing import Annotated, Any, Final
from uuid import UUID

from cyclopts import App, Parameter

from byokeep.cli.api import Listing, call, run, tell_all
from byokeep.cli.choices import ApiProvider, Platform
from byokeep.cli.names import Client, Machine, among
from byokeep.cli.terminal import again
from byokeep.cli.times import moment
from byokeep.core.errors import Unavailable

app: Final = App(name="revoke", help="Revoke many keys and accounts at once: by integration, runner or time.")
_COLUMNS: Final = ("state", "cause", "client_id", "provider", "kind", "object_id", "item", "version", "seq")


@app.command
def start(
    *, provider: ApiProvider | Platform | None = None, runner: Machine | None = None, since: str | None = None,
    until: str | None = None, client: Client | None = None, reason: str = "suspected_breach",
    incident: UUID | None = None, dry_run: Annotated[bool, Parameter(negative=())] = False,
) -> int:  # fmt: skip
    """Cut off all matching keys and accounts at once, and have workers end each one at its provider.

    No job gets them from then on, their lanes are off, and the jobs that had them are ended. Each comes back with a new
    key or consent of its client. Exit code 4 while anything is not proved to be ended at its provider.

    Example: byokeep incident revoke start --provider meta --dry-run

    Example: byokeep incident revoke start --runner runner-7 --since 24h --reason runner_stolen

    Example: byokeep incident revoke start --since 2026-01-31T12:00:00Z --client ACME

    Args:
        provider: Everything of this provider or platform.
        runner: Everything that jobs of this runner held, in the last 72 hours unless --since is given; its jobs
            end.
        since: Everything that jobs held since a time such as 2026-01-31T12:00:00Z, or an age: 30m, 24h, 7d.
        until: End of the span, for --since or --runner, in the same forms; default: now.
        client: Only credentials of this client; default: of every client.
        reason: A code, kept in the audit: 2 to 63 characters, small letters, digits and _, a letter first.
        incident: The incident that it is for.
        dry_run: List what would be cut off, and change nothing.
    """
    body: dict[str, Any] = {
        "provider": provider, "runner_id": runner, "since": moment(since), "until": moment(until), "client_id": client,
        "incident_id": incident, "reason": reason,
    }  # fmt: skip
    if dry_run:
        found = run(call("POST", "/v1/mass-revocations/preview", body=body))
        note = f"Nothing was changed. {len(found['targets'])} would be cut off, and {found['jobs']} open jobs ended."
        note += _others(found)
        columns = ("client_id", "kind", "provider", "object_id", "version")
        tell_all(found, Listing(found["targets"], "Would be revoked", columns, note))
        return 0
    made = run(call("POST", "/v1/mass-revocations", body=body))
    note = "All of it is cut off here. "
    if runner is not None:
        note += (
            f"The runner itself, by an admin: {again(f'operator change {runner} --state disabled', own_token=False)}\n"
        )
    return _shown(made, note)


@app.command(name="show")
def show_(run_id: UUID) -> int:
    """Show what is ended at its provider and what is left, which comes first. Exit code 4 while anything is left.

    Example: byokeep incident revoke show $RUN
    """
    return _shown(run(call("GET", f"/v1/mass-revocations/{run_id}")))


@app.command
def settle(run_id: UUID, item: str) -> int:
    """Record that you ended one by hand at the provider, a key with all its versions.

    The provider is then asked about a key once more. Either way it is on record.

    Example: byokeep incident revoke settle $RUN ACME/openai

    Args:
        run_id: The revocation.
        item: The key or account: its name, its id or its `item` in `byokeep incident revoke show`.
    """
    at = f"/v1/mass-revocations/{run_id}"
    ids = {one["object_id"] for one in run(call("GET", at))["items"]}
    of = among(item, ids, f"byokeep incident revoke show {run_id}")
    return _shown(run(call("POST", f"{at}/items/{of}/settle")))


def _shown(found: dict[str, Any], note: str = "") -> int:
    own, left = found["run"], found["left"]
    done = own["state"] == "complete"
    if done:
        note += "Next: " + again(f"evidence export {own['id']} FILE")
    else:
        note += f"{left} of {len(found['items'])} are left: " + again(f"incident revoke show {own['id']}")
        if any(item["cause"] == "keyless" and not item["settled_by"] for item in found["items"]):
            note += "\nA keyless one has no stored key: disable its rule or service account at the provider."
        if any(item["state"] in _BY_HAND and not item["settled_by"] for item in found["items"]):
            note += "\nEnd each one that is not pending at its provider, then record it: "
            note += again(f"incident revoke settle {own['id']} ITEM")
    note += _others(found)
    counts = {one: sum(item["state"] == one for item in found["items"]) for one in _STATES}
    hands = own["state"] == "failed" and own["reason"] == "revoke_by_hand"  # the run waits, nothing went wrong
    stands = {"state": "waiting", "waits_for": "people to end what is left"} if hands else {
        "state": own["state"], "reason": own["reason"]
    }  # fmt: skip
    summary = {"id": own["id"], **stands, "left": left, **counts}
    items = [
        one | {"state": one["state"] + " (settled by hand)" * bool(one["settled_by"]), "item": one["object_id"][:8]}
        for one in found["items"]
    ]
    tell_all(found, Listing(summary, "Mass revocation"), Listing(items, "Revoked", _COLUMNS, note))
    return 0 if done else Unavailable.exit_code


def _others(found: dict[str, Any]) -> str:
    if not found.get("others_end"):  # an older web does not say it
        return ""
    return (
        f"\nAt {' and '.join(found['others_end'])} the end of an account ends all that its owner consented to:"
        " accounts that are not listed may end, too, also of other clients."
    )


_STATES: Final = ("pending", "revoked", "unsupported", "failed", "unconfirmed")
_BY_HAND: Final = ("unsupported", "failed", "unconfirmed")
