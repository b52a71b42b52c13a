"""``byokeep incident report``: what a credential was exposed to (runbook 7.1)."""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

from cyclopts import Parameter

from byokeep.cli.api import Listing, call, run, tell_all
from byokeep.cli.names import Account, Client, Key, Profile
from byokeep.cli.new_file import new_file
from byokeep.cli.terminal import again, say, session
from byokeep.cli.times import moment
from byokeep.core.errors import Rejected, Unavailable

_MOST: Final = 1 << 22  # bytes of a file of figures
_WHY: Final = {
    "calls_missing": "fewer calls arrived than the runner made",
    "devices_disagree": "the store's logs say different things",
    "hour_missing": "the provider's figures lack this hour",
    "job_open": "the job is open still",
    "lease_row_missing": "a lease on record has no row",
    "lease_unrecorded": "a lease has no record",
    "no_source": "nobody brought the provider's own figures",
    "not_kept": "single calls are kept for 35 days",
    "not_running": "no checkpoint says that byokeep ran",
    "not_told": "the runner never said how many calls it made",
    "read_unexplained": "somebody read without a lease of ours",
    "reads_differ": "the holder told another number of reads",
    "store_log_begins_late": "the store's log begins later",
    "store_log_unread": "the store's log could not be read",
    "not_answered": "the provider did not answer in time",
    "not_counted_yet": "the provider had not counted these hours yet",
    "usage_not_allowed": "the administrator's key may not read what was used",
    "version_unknown": "the store's log does not say which version",
}
_SERIES: Final = ("hour", "provider", "model", "requests", "tokens")
Flag = Annotated[bool, Parameter(negative=())]


def report(
    *, client: Client | None = None, key: Key | None = None, account: Account | None = None,
    profile: Profile | None = None, since: str | None = None, until: str | None = None, any_span: Flag = False,
    provider_usage: Path | None = None, incident: UUID | None = None, file: Path | None = None,
) -> int:  # fmt: skip
    """Report who could read a credential, who did, and what was done with it; signed and on record, without a value.

    It covers 24 to 72 hours. Without --since it begins with its incident, or 72 hours are assumed, and the report says
    so. What is unknown is named: a report with a gap is not complete, and the command ends with 4.

    Example: byokeep incident report --key ACME/openai --since 48h

    Example: byokeep incident report --client ACME --provider-usage usage.csv --file report.json

    Args:
        client: Everything of this client.
        key: This key alone.
        account: The tokens of this account alone.
        profile: This browser profile alone.
        since: Since when others may have had it: a time such as 2026-01-31T12:00:00Z, or so long ago: 30h, 3d.
        until: As --since; default: now.
        any_span: Another span than 24 to 72 hours is meant.
        provider_usage: What the provider's own page counted, where it cannot be asked with the client's administrator
            key (`byokeep key admin`), as CSV with a heading: hour, model, requests; a line for
            each hour, also where it is 0.
        incident: Which incident it is for.
        file: Write the signed report to this new file, for `byokeep evidence verify`.
    """
    keep = None if file is None else new_file(file)
    body: dict[str, Any] = {
        "client_id": client, "ref_id": key, "account_id": account, "profile_id": profile, "incident_id": incident,
        "since": moment(since), "until": moment(until),
    }  # fmt: skip
    body = {name: given for name, given in body.items() if given is not None} | {"any_span": any_span}
    if provider_usage is not None:
        body["provider_usage"] = _figures(provider_usage)
    made = run(call("POST", "/v1/exposure", body=body))
    if keep is not None:
        keep(made["envelope"].encode())
        say(f"Written: {file}")
    _shown(made)
    return 0 if made["report"]["state"] == "complete" else Unavailable.exit_code


def _figures(path: Path) -> list[dict[str, Any]]:
    """Return a file's figures, model by model, hour by hour."""
    step = "Give CSV with the heading hour,model,requests; an hour is written as 2026-01-31T12:00:00Z."
    found: dict[str, dict[datetime, int]] = {}
    try:
        if path.stat().st_size > _MOST:
            raise ValueError
        for one in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
            hours = found.setdefault(one["model"], {})
            hour = datetime.fromisoformat(moment(one["hour"]) or "")
            if hour in hours:
                raise ValueError
            hours[hour] = int(one["requests"])
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        raise Rejected("bad_figures", next_step=step) from None
    return [
        {"model": model, "since": min(hours).isoformat(), "requests": [hours.get(min(hours) + timedelta(hours=n))
         for n in range((max(hours) - min(hours)) // timedelta(hours=1) + 1)]}
        for model, hours in found.items()
    ]  # fmt: skip


def _calls_known(found: dict[str, Any]) -> dict[str, str]:
    """Return what takes the place of the number of calls where some are not known: no zero is a fact then."""
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
    reads = [one | {"by": one["name"] or one["by"] or "nobody of ours"} for one in found["reads"]]
    calls = [one | {"by": one["name"] or one["by"]} for one in found["calls"]]
    note = "" if not gaps else "Not complete: what is unknown stands under Unknown, and is not zero."
    tell_all(
        made, Listing([summary], "Exposure report", note=note),
        Listing(reads, "Read at the store", ("at", "by", "secret", "version", "job_id")),
        Listing(calls, "Uses", ("at", "by", "tool", "outcome", "job_id", "args_digest")),
        Listing(found["provider_usage"]["series"] or None, "Counted by the provider", _SERIES),
        Listing(gaps or None, "Unknown", ("section", "why", "since", "until")),
    )  # fmt: skip
    if not session().as_json and found["provider_usage"]["source"] == "none":
        say(f"The provider's own figures are missing: {again('incident report ... --provider-usage FILE.csv')}")
