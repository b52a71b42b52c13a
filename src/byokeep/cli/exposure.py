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
