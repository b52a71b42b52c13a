"""``byokeep leaks``: search files, processes and a running instance for secrets that must not be there.

Rules
- One rule of exit codes for all searches: 0 clean, 1 found, 4 unknown. A finding outweighs what could not be read.
  Nothing searched, or nothing to compare with when live values were asked for, is never clean.
- No value is printed, nor a name that holds one.
- The fingerprints of live values reveal no value, but whoever holds them can test guesses of weak ones. They stay in
  memory and are never printed or written down. A live value without fingerprints is counted, so that a scan can say
  what it did not look for.
- What only the extras have is imported by name when it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib
import json
import os
import platform
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from cyclopts import App
from yarl import URL

from byokeep.cli.api import call, own_token, run, stack, web_url
from byokeep.cli.intake import drain, read_secret
from byokeep.cli.new_file import new_file
from byokeep.cli.terminal import CLEAN, FOUND, STATES, UNKNOWN, again, busy, clean, err, fail, say, session, show_all
from byokeep.core.errors import ByokeepError, Denied, Rejected, Unavailable, refusing
from byokeep.core.secret import Secret
from byokeep.wire.transport import TooLarge, Transport, read_body

if TYPE_CHECKING:
    from byokeep_redact.fingerprint import Fingerprints
    from byokeep_redact.leaks import Baseline, BaselineEntry
    from byokeep_redact.search import Finding, Report

PATH: Final = "/v1/leaks/fingerprints"


async def fetch_fingerprints(*, token: Secret | None = None) -> tuple[Secret, int]:
    """Return the fingerprints of every live value that the caller may look for. The fetch is on record.

    Args:
        token: An auditor's token; default: the caller's own.

    Returns:
        The JSON of docs/spec/leak-fingerprints.md, and how many live values are not in it, stored by an earlier
        release or too weak to be watched: if there are any, a scan that finds nothing does not prove that nothing is
        there.

    Raises:
        Denied: ``not_permitted``: not an auditor.
        RateLimited: ``too_many_requests``.
        Unavailable: Server, database or store; ``server_garbage``. Then nothing can be said about leaks.
    """
    reply = await call("GET", PATH, token=token)
    with refusing("server_garbage", Unavailable, next_step="This is not a byokeep server of this release."):
        return Secret(json.dumps(reply["fingerprints"]).encode()), len(reply["unknown"])


_MOST_DOCUMENT: Final = 256 << 20  # bytes
app: Final = App(name="leaks")


def _part(name: str) -> Any:
    return importlib.import_module(f"byokeep_redact.{name}")


@app.command
def scan(
    *paths: Path, live: bool = False, fingerprints_fd: int | None = None, baseline: Path | None = None,
    write_baseline: bool = False, sarif: Path | None = None, exclude: list[str] | None = None, weak: bool = False,
    rules: Path | None = None, replace: bool = False, record: bool = False,
) -> int:  # fmt: skip
    """Search files and directories for anything that looks like a secret, however it is encoded or packed.

    It looks into base64, hex, URL and JSON escapes, UTF-16, gzip, zlib (git objects, PNG text), zip, tar, zstd, bzip2
    and xz, nested in each other; SQLite files with their log and freed pages; and file names. Each finding has its
    place, its type and a fingerprint, never the value. With --live, it also finds the values that byokeep keeps,
    whatever they look like, by fingerprints from the server.

    Exit codes: 0 clean, 1 found, 4 unknown: something could not be read, there was nothing to search, or live values
    could not be looked for.

    Example: byokeep leaks scan . --baseline leaks.json

    Example: byokeep leaks scan /var/log /srv/app --live --record

    Args:
        paths: Files and directories to search.
        live: Also look for live values; asks the server for their fingerprints (auditors only).
        fingerprints_fd: Read those fingerprints from this descriptor instead of asking the server.
        baseline: File of known findings, which are not reported again.
        write_baseline: Write the findings to the baseline; exit code 0 if everything could be read.
        sarif: Write the result to this new file as SARIF 2.1.0.
        exclude: Glob of names or paths to leave out; repeat the option as needed.
        weak: Also report values that are not random, such as password=changeme.
        rules: Use this rule file instead of the packaged one.
        replace: Overwrite the file of --sarif if it exists.
        record: Record that this scan ran, for the daily checklist (auditors only).
    """
    if not paths:
        raise Rejected("nothing_to_scan", next_step="Name files or directories.")
    if not any(os.path.lexists(path) for path in paths):
        raise Rejected("no_such_path", next_step=f"Nothing was searched: there is no {clean(paths)}.")
    if write_baseline and baseline is None:
        raise Rejected("no_baseline_named", next_step="Name the file with --baseline.")
    keep_sarif = None if sarif is None else new_file(sarif, replace=replace)
    keep_baseline = new_file(baseline, replace=True) if write_baseline and baseline is not None else None
    leaks = _part("leaks")
    fresh = baseline is None or (write_baseline and not baseline.exists())
    known: Baseline = leaks.Baseline.new() if fresh else leaks.read(baseline)
    prints, unsure = _fingerprints(live=live, descriptor=fingerprints_fd)
    with _progress(paths) as watch:
        shapes = _part("rules").Rules.load(rules)
        search = leaks.Scanner(
            fingerprints=prints, rules=shapes, key=known.key, exclude=exclude or (), weak=weak, watch=watch
        )
        report: Report = search.scan_paths(paths)
    result = _judged(report, known, baseline, paths, unsure)
    if keep_baseline is not None and baseline is not None:
        _write_baseline(result, known, baseline.parent, keep_baseline)
    if keep_sarif is not None:
        reasons = {finding: entry.reason for finding, entry in result.known.items()}
        document = leaks.document(report, reasons, keyed=baseline is not None)
        keep_sarif(json.dumps(document, indent=1).encode() + b"\n")
    _print(result, search.excluded, search.withheld, live=prints is not None)
    return _record(result, paths, exclude, search.excluded, live=prints is not None) if record else result.code


@dataclass(frozen=True, slots=True)
class _Result:
    """A scan, compared with a baseline. `unsure`: codes why live values were not, or not all, looked for."""

    report: Report
    new: list[Finding]
    known: dict[Finding, BaselineEntry]
    stale: list[BaselineEntry]
    unsure: list[str]

    @property
    def code(self) -> int:
        if self.new:
            return FOUND
        read_all = self.report.sources_scanned and self.report.bytes_scanned and not self.report.unreadable
        return CLEAN if read_all and not self.unsure and not self.report.findings_dropped else UNKNOWN


def _judged(report: Report, known: Baseline, file: Path | None, paths: tuple[Path, ...], unsure: list[str]) -> _Result:
    folder = file.parent if file is not None else Path()
    fits = known.known(report.findings, folder)
    tops = [os.path.relpath(path, folder) for path in paths]
    stale = [
        entry
        for entry in sorted(known.entries - set(fits.values()))
        if any(top == "." or entry.source == top or entry.source.startswith(f"{top}/") for top in tops)
    ]
    return _Result(report, [one for one in report.findings if one not in fits], fits, stale, unsure)


def _record(
    result: _Result, paths: tuple[Path, ...], exclude: list[str] | None, excluded: int, *, live: bool
) -> int:  # fmt: skip
    """Record the result at the server, with a digest of what was searched; returns its code, and that of a refusal only
    if nothing was found."""
    searched = [platform.node(), sorted(map(os.path.abspath, paths)), sorted(exclude or ())]
    digest = hashlib.sha256(json.dumps(searched).encode()).hexdigest()
    said = {"result": STATES[result.code], "sources": result.report.sources_scanned, "found": len(result.new),
            "unknown": len(result.report.unreadable) + len(result.unsure), "live": live, "excluded": excluded,
            "known": len(result.known), "digest": digest}  # fmt: skip
    try:
        run(call("POST", "/v1/leaks/scans", body=said))
    except ByokeepError as error:
        refused = fail(error, as_json=False)  # beside the report, which stays one document
        return result.code if result.code == FOUND else refused
    return result.code


def _write_baseline(result: _Result, known: Baseline, folder: Path, keep: Callable[[bytes], None]) -> None:
    made = _part("leaks").written(result.report.findings, folder, known)
    keep(made.document().encode())
    fresh = made.known(result.new, folder)
    result.new[:] = [one for one in result.new if one not in fresh]
    say(f"{len(made.entries)} findings are in the baseline. Give each one a reason in the file.")


def _fingerprints(*, live: bool, descriptor: int | None) -> tuple[Fingerprints | None, list[str]]:
    """Return the fingerprints of live values, and codes of what has none."""
    prints = _part("fingerprint")
    unsure: list[str] = []
    try:
        if descriptor is not None:
            return prints.parse(drain(descriptor, _MOST_DOCUMENT, too_long="These are no fingerprints.")), unsure
        if live:
            document, unknown = run(fetch_fingerprints())
            if unknown:
                unsure.append("live_values_without_fingerprints")
                say("An earlier release stored some live keys, or they are too weak to be looked for.")
                say(f"Enter another key in the place of each: {again('key add CLIENT PROVIDER')}")
            return prints.parse(document.reveal()), unsure
    except ByokeepError as error:
        return None, [*unsure, error.code]
    return None, unsure


@contextlib.contextmanager
def _progress(paths: tuple[Path, ...]) -> Iterator[Callable[[int], None] | None]:
    """Show how far the scan is, on a terminal only."""
    if session().as_json or not err.is_terminal:
        yield None
        return
    progress = importlib.import_module("rich.progress")
    total = sum(_size(path) for path in paths)
    columns = (progress.TextColumn("Scanning"), progress.BarColumn(), progress.DownloadColumn(),
               progress.TransferSpeedColumn())  # fmt: skip
    with progress.Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("scan", total=total)
        yield lambda size: bar.advance(task, size)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else (Path(top, name) for top, _, names in os.walk(path) for name in names)
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += file.lstat().st_size
    return total


def _print(result: _Result, excluded: int, withheld: int, *, live: bool) -> None:
    report = result.report
    found = [
        {"place": f"{one.source}:{one.line}" if one.line else f"{one.source} at byte {one.offset}",
         "type": f"live value {one.label}" if one.kind == "live_value" else f"{one.kind} ({one.label})",
         "encoding": one.encoding, "fingerprint": one.fingerprint}
        for one in result.new
    ]  # fmt: skip
    unread = [{"source": one.source, "reason": one.reason, "state": "unknown"} for one in report.unreadable]
    if not unread and not (report.sources_scanned and report.bytes_scanned):
        unread = [{"source": "-", "reason": "nothing_there_to_search", "state": "unknown"}]
    stale = [{"source": one.source, "rule": one.rule, "fingerprint": one.fingerprint} for one in result.stale]
    totals = {"found": len(result.new), "known": len(result.known), "stale": len(stale), "unknown": len(unread),
              "not_shown": report.findings_dropped, "files": report.sources_scanned, "bytes": report.bytes_scanned,
              "excluded": excluded, "withheld": withheld, "live_values": live,
              "not_looked_for": result.unsure}  # fmt: skip
    scan = {"state": STATES[result.code], **totals}
    rows = [{"source": one.source, "line": one.line or None, "offset": one.offset, "rule": one.label,
             "kind": one.kind, "encoding": one.encoding, "fingerprint": one.fingerprint}
            for one in result.new]  # fmt: skip
    kinds = Counter(row["type"] for row in found)
    counts = [{"type": name, "found": count} for name, count in kinds.most_common()]
    show_all(
        scan | {"findings": rows, "unreadable": unread, "stale_entries": stale},
        ("Found, by type", counts if len(found) > len(counts) else []), ("Found", found), ("Not read", unread),
        ("In the baseline, but no longer found", stale), ("Scan", scan),
    )  # fmt: skip


@app.command
def sweep(*paths: Path, fd: int | None = None, processes: bool = True) -> int:
    """Search for one value in every encoding: base64, hex, URL, JSON, UTF-16, in archives and databases.

    The value is read from standard input, --fd or a prompt.

    Exit codes: 0 everything was searched and is clean, 1 found, 4 something could not be read.

    Example: byokeep leaks sweep /var/log /srv/app < suspected-key.txt

    Args:
        paths: Files and directories to search.
        fd: Read the value from this descriptor.
        processes: Also search the command lines and environments of processes.
    """
    if not paths and not processes:
        raise Rejected("nothing_to_sweep", next_step="Name files or directories.")
    value = read_secret(prompt="Value", fd=fd)
    try:
        search = _part("search").Sweep([_part("canary").Canary("value", value.reveal())])
    except ValueError:
        raise Rejected("value_too_short", next_step="A search needs at least 12 bytes that are not public.") from None
    finally:
        value.wipe()
    report: Report = search.scan_paths(list(paths))
    if processes:
        report = report + search.scan_proc()
    found = [{"source": one.source, "offset": one.offset, "encoding": one.encoding} for one in report.findings]
    unread = [{"source": one.source, "reason": one.reason, "state": "unknown"} for one in report.unreadable]
    code = FOUND if found else CLEAN if report.clean else UNKNOWN
    state = STATES[code]
    totals = {"state": state, "sources": report.sources_scanned, "bytes": report.bytes_scanned,
              "processes_of_others": report.denied}  # fmt: skip
    show_all({**totals, "findings": found, "unreadable": unread}, ("Found", found), ("Not read", unread),
             ("Sweep", {"state": state, "found": len(found), "unreadable": len(unread), **totals}))  # fmt: skip
    return code


# What an embedded stack writes, below its home.
_PLACES: Final = {
    "logs and spans": "logs", "database": "postgres", "store": "openbao", "store audit": "store-audit",
    "checkpoints": "checkpoints",
}  # fmt: skip
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, connect=3)
_MOST: Final = 64 << 20  # bytes of one reply
_AT_ONCE: Final = 8
_SETTLE_S: Final = 1.0  # for the last log lines and spans to be written


@app.command
def pack() -> int:
    """Send canaries in every input of a running server, in requests it must refuse; then search for them.

    It searches all replies and, on the host of an embedded stack, its logs, spans, database, store, audit logs and
    checkpoints, in every encoding. Nothing is changed: a request that would act if accepted is sent without a token.
    Each request leaves its refusal in the logs. Exit codes: 0 all searched and clean, 1 found, 4 something is unknown.

    Example: byokeep leaks pack --token-file operator.token
    """
    live, exits = _part("selftest.live"), _part("selftest.pack").EXIT
    try:
        with busy("Sending canaries and searching"):
            places = run(_places(live))
    except (Unavailable, Denied) as error:
        places = [live.LivePlace("server", 0, 0, 1, (str(error),))]
    verdict = live.overall(places)
    rows = [{"place": one.name, "looked_at": one.looked_at, "found": one.found, "unknown": one.unknown,
             "state": one.verdict} for one in places]  # fmt: skip
    details = [{"place": one.name, "detail": detail} for one in places for detail in one.details]
    document = {"state": verdict, "places": rows, "details": details}
    show_all(document, ("Leak pack", rows), ("Details", details))
    return int(exits[verdict])


async def _places(live: Any) -> list[Any]:
    """Send, wait for the logs, search. What cannot be searched is a place of its own."""
    probes = live.probes(await call("GET", "/openapi.json"))
    if not probes:
        raise Unavailable("description_empty", next_step="The server describes no operations.")
    sent, search, home = await _send(probes), live.search_for(probes), session().settings.home
    await asyncio.sleep(_SETTLE_S)
    places = [await asyncio.to_thread(live.evaluate_control)]
    places.append(await asyncio.to_thread(live.evaluate_replies, sent, search))
    if str(stack(home).get("web_url", "")).rstrip("/") == web_url():
        for name, below in _PLACES.items():
            places.append(await asyncio.to_thread(live.evaluate_files, name, Path(home, below), search))
    return places


async def _send(probes: list[Any]) -> list[tuple[Any, int, bytes]]:
    token, gate, url = own_token(), asyncio.Semaphore(_AT_ONCE), web_url()
    async with Transport(ca_file=session().settings.file("web_ca_file")) as http:

        async def one(probe: Any) -> tuple[Any, int, bytes]:
            bearer = {"Authorization": "Bearer " + token.reveal().decode()} if probe.with_token else {}
            headers, status, said = dict(probe.headers) | bearer, 0, b""
            async with gate:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, TooLarge):
                    async with http.request(
                        probe.method, URL(url + probe.path), headers=headers, within=_TIMEOUT, data=probe.body
                    ) as reply:
                        said = repr(sorted(reply.headers.items())).encode() + b"\n"
                        said += await read_body(reply, _MOST)
                        status = reply.status  # 0: not read to its end, so nothing is known of it
            return probe, status, said

        return await asyncio.gather(*(one(probe) for probe in probes))
