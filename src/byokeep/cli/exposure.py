"""``byokeep incident report``, what a credential was exposed to (runbook 7.1), and ``byokeep incident revoke``, many
keys and accounts at once (runbook section 7).
"""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

from cyclopts import App, Parameter

from byokeep.cli.api import Listing, call, run, tell_all
from byokeep.cli.choices import ApiProvider, Platform
from byokeep.cli.names import Account, Client, Key, Machine, Profile, among
from byokeep.cli.new_file import new_file
from byokeep.cli.terminal import again, say, session
from byokeep.cli.times import moment
from byokeep.cli.usage import WHY
from byokeep.core.errors import Rejected, Unavailable, refusing
from byokeep.envcheck.sources import read_file

_MOST: Final = 1 << 22  # bytes of a file of figures
_LONGEST: Final = timedelta(days=93)  # as far as usage is kept, and as a report may go back
_WHY: Final = {
    **WHY,
    "devices_disagree": "the store's logs say different things",
    "hour_missing": "the provider's figures lack this hour",
    "lease_row_missing": "a lease on record has no row",
    "lease_unrecorded": "a lease has no record",
    "no_source": "the figures of a provider were not given; a file names none",
    "read_unexplained": "something was read without one of our leases",
    "reads_differ": "the lease's holder reported a different number of reads",
    "store_log_begins_late": "the store's log starts later",
    "store_log_unread": "the store's log could not be read",
    "not_answered": "the provider did not answer in time",
    "not_counted_yet": "the provider had not yet counted these hours",
    "usage_not_allowed": "the administrator key may not read usage",
    "version_unknown": "the store's log does not name the version",
}
_SERIES: Final = ("hour", "provider", "model", "requests", "tokens")
Flag = Annotated[bool, Parameter(negative=())]


def report(
    *, client: Client | None = None, key: Key | None = None, account: Account | None = None,
    profile: Profile | None = None, since: str | None = None, until: str | None = None, any_span: Flag = False,
    provider_usage: Path | None = None, incident: UUID | None = None, file: Path | None = None,
) -> int:  # fmt: skip
    """Report who could read a credential, who did, and how it was used. The report is signed and holds no value.

    It covers 24 to 72 hours and is on record. Without --since it starts at its incident, or else assumes 72 hours and
    says so. It names what is unknown. A report with gaps is incomplete, and the exit code is 4.

    Example: byokeep incident report --key ACME/openai --since 48h

    Example: byokeep incident report --client ACME --provider-usage usage.csv --file report.json

    Args:
        client: Every credential of this client.
        key: Only this key.
        account: Only the tokens of this account.
        profile: Only this browser profile.
        since: Since when others may have had it: a time such as 2026-01-31T12:00:00Z, or an age: 30h, 3d.
        until: End of the span, in the same forms as --since; default: now.
        any_span: Allow a span other than 24 to 72 hours.
        provider_usage: The figures of the provider's own page, if the provider cannot be asked with the client's
            administrator key (`byokeep key admin`). CSV with the header hour, model, requests, and
            a line for each hour, even if it is 0.
        incident: The incident that it is for.
        file: Write the signed report to this new file, for `byokeep evidence verify`.
    """
    keep = None if file is None else new_file(file)
    body: dict[str, Any] = {
        "client_id": client, "ref_id": key, "account_id": account, "profile_id": profile, "incident_id": incident,
        "since": moment(since), "until": moment(until), "any_span": any_span,
        "provider_usage": provider_usage and _figures(provider_usage),
    }  # fmt: skip
    made = run(call("POST", "/v1/exposure", body=body))
    if keep is not None:
        keep(made["envelope"].encode())
        say(f"Written: {file}")
    _shown(made)
    return 0 if made["report"]["state"] == "complete" else Unavailable.exit_code


def _figures(path: Path) -> list[dict[str, Any]]:
    """Return a file's figures, model by model, hour by hour."""
    step = "Give CSV with the header hour,model,requests; write an hour as 2026-01-31T12:00:00Z."
    found: dict[str, dict[datetime, int]] = {}
    with refusing("bad_figures", Rejected, on=(OSError, ValueError, KeyError, TypeError, csv.Error), next_step=step):
        for one in csv.DictReader(read_file(path, _MOST).decode().splitlines()):
            hours = found.setdefault(one["model"], {})
            hour = datetime.fromisoformat(moment(one["hour"]) or "")
            if hour in hours:
                raise ValueError
            hours[hour] = int(one["requests"])
            if hour - min(hours) > _LONGEST or max(hours) - hour > _LONGEST:
                raise ValueError
    return [
        {"model": model, "since": min(hours).isoformat(), "requests": [hours.get(min(hours) + timedelta(hours=n))
         for n in range((max(hours) - min(hours)) // timedelta(hours=1) + 1)]}
        for model, hours in found.items()
    ]  # fmt: skip


def _calls_known(found: dict[str, Any]) -> dict[str, str]:
    """Return what replaces the number of calls if some are unknown: then a zero is not a fact."""
    if all(gap["section"] != "calls" for gap in found["gaps"]):
        return {}
    many = found["totals"]["calls"]
    return {"calls": f"at least {many}" if many else "not known"}


def _shown(made: dict[str, Any]) -> None:
    found = made["report"]
    summary = {
        "about": f"{found['about']['kind']} {found['about']['id']}", "since": found["since"], "until": found["until"],
        "since_is": found["since_is"], "state": found["state"], "gaps": len(found["gaps"]),
        **found["totals"], **_calls_known(found), "digest": made["digest"],
    }  # fmt: skip
    gaps = [{**one, "why": _WHY.get(one["why"], one["why"])} for one in found["gaps"]]
    reads = [one | {"by": one["name"] or one["by"] or "nobody on our side"} for one in found["reads"]]
    calls = [one | {"by": one["name"] or one["by"]} for one in found["calls"]]
    note = "" if not gaps else "Incomplete: what is unknown is listed under Unknown. It is not zero."
    tell_all(
        made, Listing([summary], "Exposure report", note=note),
        Listing(reads, "Read at the store", ("at", "by", "secret", "version", "job_id")),
        Listing(calls, "Uses", ("at", "by", "tool", "outcome", "job_id", "args_digest")),
        Listing(found["provider_usage"]["series"] or None, "Counted by the provider", _SERIES),
        Listing(gaps or None, "Unknown", ("section", "why", "since", "until")),
    )  # fmt: skip
    if not session().as_json and found["provider_usage"]["source"] == "none":
        say(f"The provider's own figures are missing: {again('incident report ... --provider-usage FILE.csv')}")


app: Final = App(name="revoke", help="Revoke many keys and accounts at once: by integration, runner or time.")
# `byokeep incident revoke`: many keys and accounts at once.
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
    return _revoked(made, note)


@app.command(name="show")
def show_(run_id: UUID) -> int:
    """Show what is ended at its provider and what is left, which comes first. Exit code 4 while anything is left.

    Example: byokeep incident revoke show $RUN
    """
    return _revoked(run(call("GET", f"/v1/mass-revocations/{run_id}")))


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
    return _revoked(run(call("POST", f"{at}/items/{of}/settle")))


def _revoked(found: dict[str, Any], note: str = "") -> int:
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
