"""``byokeep usage``: how often clients' credentials are used, and whether that is unusual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from byokeep.cli.api import call, names, run, tell
from byokeep.cli.choices import ApiProvider, Platform
from byokeep.cli.names import Client
from byokeep.cli.new_file import new_file
from byokeep.cli.terminal import again, clean, say, session, show
from byokeep.cli.times import moment
from byokeep.core.sheet import sheet

_COLUMNS: Final = ("client_id", "provider", "leases", "permits", "calls", "calls_failed")
WHY: Final = {
    "not_running": "no checkpoint shows that byokeep was running",
    "not_told": "the runner never reported how many calls it made",
    "job_open": "the job is still open",
    "calls_missing": "fewer calls were reported than the runner made",
    "not_kept": "single calls are kept for 35 days",
}


def usage(
    *, client: Client | None = None, provider: ApiProvider | Platform | None = None, since: str = "24h",
    until: str | None = None, hours: Annotated[bool, Parameter(negative=())] = False,
    file: Annotated[Path | None, Parameter(name="--csv")] = None,
) -> None:  # fmt: skip
    """Show how often credentials were used, and how the last full hour compares with the days before.

    Leases and permits are counted from the record, calls from the runners' reports. What nobody reported is unknown:
    `?` = nothing is known, `12+` = 12 and perhaps more. The hour is compared with the same hour of the last 28 days:
    with their median, and with how far they usually lie from it. Also shown: what was refused, and what providers
    counted and charged, if they say; with --json also by job. Looking is itself recorded.

    Example: byokeep usage --since 7d

    Example: byokeep usage --client ACME --provider openai --hours

    Example: byokeep usage --since 30d --csv usage.csv

    Args:
        client: Only usage of this client.
        provider: Only usage of this provider or platform.
        since: A time such as 2026-01-31T12:00:00Z, or an age: 30m, 24h, 7d; at most 93 days.
        until: End of the span, in the same forms as --since.
        hours: Show each hour instead of the sums.
        file: Also write each hour to this new file; what is unknown is marked there as it is here.
    """
    keep = None if file is None else new_file(file)
    params = {"client_id": client, "provider": provider, "since": moment(since), "until": moment(until)}
    found = run(call("GET", "/v1/usage", params=params))
    if keep is not None:
        known = names([one["client_id"] for one in found["hours"]])
        keep(sheet(("hour", "client", *_COLUMNS, "untold"), (
            one | {"client": known.get(one["client_id"], "")}
            | {name: _number(one, name) for name in ("calls", "calls_failed")} for one in found["hours"]
        )))  # fmt: skip
        say(f"Written: {file}")
    if session().as_json:
        show(found)
        return
    rows = found["hours"] if hours else _sums(found["hours"])
    shown = [one | {name: _number(one, name) for name in ("calls", "calls_failed")} for one in rows]
    tell(shown, title="Usage", columns=("hour", *_COLUMNS) if hours else _COLUMNS)
    if found["refused"]:
        tell(found["refused"], title="Refused", columns=("client_id", "what", "provider", "reason", "number"))
    if found["counted"]:
        told = [one | {"cost": _dollars(one), "told": f"{one['told']} of {one['buckets']}"} for one in found["counted"]]
        tell(told, title="Counted by providers", columns=("client_id", "provider", "number", "unit", "told", "cost"))
    gaps(found["gaps"])
    if found["compared"]:
        say("")
        told = [one | {"compared": one["words"]} for one in found["compared"]]
        hour = clean(found["compared"][0]["hour"])
        tell(told, title=f"The hour from {hour}", columns=("client_id", "provider", "verdict", "compared"))


def _dollars(one: Mapping[str, Any]) -> str:
    return "?" if one["cost_micro"] is None else f"{one['cost_micro'] / 1_000_000:.2f} USD"


def gaps(found: Sequence[Mapping[str, Any]]) -> None:
    """Say what is unknown, one line for each reason and stretch of time."""
    for one in found:
        under = f" (lease {one['lease_id']}, job {one['job_id']})" if one["lease_id"] else ""
        say(f"Unknown from {clean(one['since'])} to {clean(one['until'])}: {WHY.get(one['why'], one['why'])}{under}.")


def _sums(hours: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    sums: dict[tuple[str, str], dict[str, Any]] = {}
    for one in hours:
        at = sums.setdefault((one["client_id"], one["provider"]), {"client_id": one["client_id"]} | {
            "provider": one["provider"], "leases": 0, "permits": 0, "calls": None, "calls_failed": None, "untold": 0,
        })  # fmt: skip
        for name in ("leases", "permits", "untold"):
            at[name] += one[name]
        for name in ("calls", "calls_failed"):
            if one[name] is not None:
                at[name] = (at[name] or 0) + one[name]
    return list(sums.values())


def _number(row: Mapping[str, Any], name: str) -> str:
    """Return a number as far as it is known: what nobody reported is not zero."""
    if row[name] is None or (not row["calls"] and row["untold"]):
        return "?"
    return f"{row[name]}+" if row["untold"] else str(row[name])


def used(ref: str, found: Mapping[str, Any], *, since: str) -> None:
    """Print what used a key."""
    rows = [one | {"tool": one["tool"] or _reads(one), "by": one["runner_id"]} for one in found["uses"]]
    tell(rows, title="Uses", columns=("at", "what", "by", "outcome", "tool", "job_id"), whole=found)
    gaps(found["gaps"])
    if found["left"]:
        onward = again(f"key used {ref} --since {since} --until {found['next']}")
        say(f"{found['left']} older uses are left: {onward}")


def _reads(one: Mapping[str, Any]) -> str:
    if one["what"] not in ("lease", "custody"):
        return ""
    if one["reads"] is None:
        return "reads not reported"
    return f"read {one['reads']} {'time' if one['reads'] == 1 else 'times'}"
