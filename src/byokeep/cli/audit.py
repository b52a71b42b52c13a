"""``byokeep audit``: read, verify, reconcile and export the audit."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from cyclopts import App, Parameter

from byokeep.cli.api import call, run, tell
from byokeep.cli.intake import read_secret
from byokeep.cli.names import Client, Key, Subject
from byokeep.cli.new_file import fetch_to
from byokeep.cli.terminal import again, err, facts, say, session, show
from byokeep.cli.times import moment
from byokeep.client import verify as offline
from byokeep.core.errors import Integrity, Rejected, Unavailable

app: Final = App(name="audit")
Outcome = Literal["intended", "ok", "denied", "rejected", "failed"]


@app.command(name="list")
def list_(
    *,
    client: Client | None = None,
    key: Key | None = None,
    actor: Subject | None = None,
    event: str | None = None,
    outcome: Outcome | None = None,
    since: str | None = None,
    until: str | None = None,
    before: int | None = None,
    limit: int = 50,
    all_: Annotated[bool, Parameter(name="--all")] = False,
) -> None:
    """Show records, newest first. Reading is itself recorded.

    Each client has a chain of its own, and so has the platform, where refusals stand: it is shown without --client and
    --key. Where there are more records than are shown, how many and the command for them are said. With --json none is
    folded away, and how many are left, with the --before of the next page, is said on standard error.

    Example: byokeep audit list --since 24h --outcome denied

    Example: byokeep audit list --key ACME/openai --event key. --since 7d

    Args:
        client: The records of this client.
        key: What names this key, and the leases that could read it.
        actor: What this person or machine did.
        event: Of this event, or of all that begin so, such as key.
        outcome: What ended so.
        since: A time such as 2026-01-31T12:00:00Z, or so long ago: 30m, 24h, 7d.
        until: As --since; records before it.
        before: Go on here; a page that is not the last one says it.
        limit: Records at most, up to 500.
        all_: Show what the installation records by itself each minute, too, instead of its count.
    """
    given = {"client_id": client, "key": key, "actor": actor, "event": event, "outcome": outcome}
    window = {"since": moment(since), "until": moment(until), "before": before, "limit": limit or None}
    fold = not (all_ or event or session().as_json)
    page = run(call("GET", "/v1/audit", params=given | window | {"fold": "true" if fold else "false"}))
    tell(page["records"], title="Audit", columns=("seq", "at", "event", "outcome", "actor", "object"))
    if page["folded"]:
        say(f"Not shown: {page['folded']} records that the installation makes by itself (--all shows them).")
    if page["next"] is not None:
        words = {"client": client, "key": key, "actor": actor, "event": event, "outcome": outcome, "since": since,
                 "until": until, "before": page["next"], "limit": limit}  # fmt: skip
        left = f"{page['left']} or more" if page["left"] and not page["counted"] else f"{page['left']}"
        left = f"{left} older records are left" if page["left"] else f"Before {page['next']} nothing was looked at"
        more = " ".join(f"--{name} {quote(str(value))}" for name, value in words.items() if value is not None)
        say(f"{left}: {again('audit list ' + more + ' --all' * all_)}")
        if session().as_json:  # the document is the records alone; what it leaves out is said beside it
            err.print(f"{left}: --before {page['next']}", soft_wrap=True)


@app.command
def verify(*files: Path, keys: Path | None = None, epochs: Path | None = None, chain: UUID | None = None) -> int:
    """Verify the log: online without files, offline with exported files, public keys and published checkpoints.

    Exit code 5 = broken, 4 = nothing wrong found, but no checkpoint looked at that covers the records: no pass. Records
    of the last two minutes may be only chained, and how many is said; older ones need a newer file of checkpoints.

    Example: byokeep audit verify

    Example: byokeep audit verify acme.jsonl --keys public-keys.txt --epochs epochs.jsonl --chain $CLIENT

    Args:
        files: What `byokeep audit export` wrote; none = ask the server to verify everything.
        keys: Public keys as `byokeep audit keys` writes them.
        epochs: The published checkpoints, kept outside the database. Without them nothing passes.
        chain: The files hold this one chain: a client's id, or the platform's. Needed for what one export wrote.
    """
    if not files:
        return _findings(run(call("POST", "/v1/audit/verify")), title="Audit")
    if keys is None:
        raise Rejected("keys_missing", next_step="Give --keys FILE, as `byokeep audit keys` writes it.")
    report = offline.verify_export(files, offline.read_keys(keys), epochs=epochs, chain=chain)
    show({**facts(report), "not_covered": report.records - report.covered}, title="Audit")
    if report.rebased:
        say(f"At epoch {report.rebased} a database that had lost records was accepted by two people. Records before it"
            " are held against that epoch alone; what was lost stands in the copy before it.")  # fmt: skip
    if not report.whole:
        say(f"Not proven: the last {report.records - report.covered} records came after the newest checkpoint."
            " Whoever had the file could have added them; export again after the next one.")  # fmt: skip
    return 0


def _findings(report: Any, *, title: str) -> int:
    """Show a report and its findings; returns the exit code that findings have."""
    findings = report["findings"]
    if session().as_json:
        show(report)
    else:
        show({name: value for name, value in report.items() if name != "findings"}, title=title)
        if findings:
            tell(findings, title="Findings")
    return Integrity.exit_code if findings else 0


@app.command
def reconcile(*, minutes: int = 60) -> int:
    """Join the store's own audit with ours: every login, read and write must be explained.

    Example: byokeep audit reconcile --minutes 5

    Args:
        minutes: How far back, 1 to 2880 (two days).
    """
    report = run(call("POST", "/v1/audit/reconcile", body={"minutes": minutes}))
    code = _findings(report, title="Reconciliation")
    return code if code or report.get("state") == "clean" else Unavailable.exit_code


@app.command
def hash(*, fd: int | None = None) -> None:  # noqa: A001 - the command's published name
    """Print the store's keyed hash of a value, to search its audit log for it.

    The value is read from standard input, --fd or a prompt; it is not stored.

    Example: byokeep audit hash < suspected-key.txt
    """
    value = read_secret(prompt="Value", fd=fd)
    reply: Any = run(call("POST", "/v1/audit/hash", raw=value))
    value.wipe()
    show(reply, title="Hash")


@app.command
def health() -> int:
    """Show the store's audit devices, proven by a probe written just now.

    Example: byokeep audit health
    """
    reply = run(call("GET", "/v1/audit/health"))
    show(reply["devices"], title="Audit devices")
    return 0 if reply["healthy"] else Unavailable.exit_code


@app.command
def checkpoint() -> None:
    """Sign a checkpoint over all chains now and publish it outside the database.

    Example: byokeep audit checkpoint
    """
    show(run(call("POST", "/v1/audit/checkpoint")), title="Checkpoint")


@app.command
def keys(file: Path) -> None:
    """Write the public keys that evidence and checkpoints are verified with.

    Example: byokeep audit keys public-keys.txt

    Args:
        file: A new file for the keys; one that is there stays.
    """
    fetch_to(file, "GET", "/v1/audit/keys")


@app.command
def export(file: Path, *, client: Client | None = None) -> None:
    """Write a chain (a client's, or the platform's) as JSON lines. Exporting is itself recorded.

    Example: byokeep audit export platform.jsonl

    Args:
        file: A new file for the records; one that is there stays.
        client: Whose chain; the platform's unless it is given.
    """
    fetch_to(file, "POST", "/v1/audit/export", body={"client_id": str(client)} if client else {})


@app.command
def proof(client: Client, file: Path) -> None:
    """Write a proof of one client's whole history that a stranger can check.

    Example: byokeep audit proof $CLIENT acme-proof.json

    Args:
        client: Whose history.
        file: A new file for the proof; one that is there stays.
    """
    fetch_to(file, "POST", f"/v1/audit/proof/{client}")


@app.command(name="check-proof")
def check_proof(file: Path, *, keys: Path) -> None:
    """Check a client's proof offline, with the public keys only. Exit code 5 = it does not hold.

    Example: byokeep audit check-proof acme-proof.json --keys public-keys.txt

    Args:
        file: What `byokeep audit proof` wrote.
        keys: Public keys as `byokeep audit keys` writes them.
    """
    show(facts(offline.verify_proof(file, offline.read_keys(keys))), title="Proof")
