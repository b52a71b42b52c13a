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
    *, client: Client | None = None, key: Key | None = None, actor: Subject | None = None, event: str | None = None,
    outcome: Outcome | None = None, since: str | None = None, until: str | None = None, before: int | None = None,
    limit: int = 50, all_: Annotated[bool, Parameter(name="--all")] = False,
) -> None:  # fmt: skip
    """Show records, newest first. Reading is itself recorded.

    Each client has its own chain, and so has the platform, which also holds refusals. Without --client and --key, you
    see the platform's chain. If there are more records, their number and the command for the next page are printed.
    With --json no record is folded away; the number left, and the --before of the next page, go to standard error.

    Example: byokeep audit list --since 24h --outcome denied

    Example: byokeep audit list --key ACME/openai --event key. --since 7d

    Args:
        client: Only records of this client.
        key: Only records that name this key or a lease that could read it.
        actor: Only what this person or machine did.
        event: Only this event, or all events with this prefix, such as key.
        outcome: Only records with this outcome.
        since: A time such as 2026-01-31T12:00:00Z, or so long ago: 30m, 24h, 7d.
        until: Only records before this time; same forms as --since.
        before: Where to continue; each page but the last prints it.
        limit: At most this many records, up to 500.
        all_: Also show what the installation records by itself each minute, instead of only counting it.
    """
    given = {"client_id": client, "key": key, "actor": actor, "event": event, "outcome": outcome}
    window = {"since": moment(since), "until": moment(until), "before": before, "limit": limit or None}
    fold = not (all_ or event or session().as_json)
    page = run(call("GET", "/v1/audit", params=given | window | {"fold": "true" if fold else "false"}))
    tell(page["records"], title="Audit", columns=("seq", "at", "event", "outcome", "actor", "object"))
    if page["folded"]:
        say(f"Not shown: {page['folded']} records that the installation writes by itself (--all shows them).")
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
    """Verify the log: online if you give no files, offline with exported files, public keys and published checkpoints.

    Exit code 5 = broken. 4 = nothing wrong was found, but no checkpoint given covers the records: not a pass. Records
    of the last two minutes may be chained only; their number is printed. For older ones, give a newer file of
    checkpoints.

    Example: byokeep audit verify

    Example: byokeep audit verify acme.jsonl --keys public-keys.txt --epochs epochs.jsonl --chain $CLIENT

    Args:
        files: Files that `byokeep audit export` wrote; none = ask the server to verify everything.
        keys: The public keys, as `byokeep audit keys` writes them.
        epochs: The published checkpoints, which are kept outside the database. Without them nothing passes.
        chain: The one chain that the files hold: a client's id, or the platform's. Needed for the output of one export.
    """
    if not files:
        return _findings(run(call("POST", "/v1/audit/verify", within_s=610.0)), title="Audit")
    if keys is None:
        raise Rejected("keys_missing", next_step="Give --keys FILE, which `byokeep audit keys` writes.")
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
    """Show a report and its findings; returns the exit code for findings."""
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
    """Compare the store's own audit with ours: every login, read and write must have an explanation.

    Example: byokeep audit reconcile --minutes 5

    Args:
        minutes: How far back, 1 to 2880 (two days).
    """
    report = run(call("POST", "/v1/audit/reconcile", body={"minutes": minutes}))
    code = _findings(report, title="Reconciliation")
    return code if code or report.get("state") == "clean" else Unavailable.exit_code


@app.command
def hash(*, fd: int | None = None) -> None:  # noqa: A001 - the command's published name
    """Print the store's keyed hash of a value, so that you can search the store's audit log for it.

    The value is read from standard input, --fd or a prompt; it is not stored.

    Example: byokeep audit hash < suspected-key.txt

    Args:
        fd: Read the value from this descriptor.
    """
    with read_secret(prompt="Value", fd=fd) as value:
        reply: Any = run(call("POST", "/v1/audit/hash", raw=value))
    show(reply, title="Hash")


@app.command
def health() -> int:
    """Show the store's audit devices, each proven by a probe that is written now.

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
        file: A new file for the keys; an existing file is never overwritten.
    """
    fetch_to(file, "GET", "/v1/audit/keys")


@app.command
def export(file: Path, *, client: Client | None = None) -> None:
    """Export a chain (a client's, or the platform's) as JSON lines. The export is itself recorded.

    Example: byokeep audit export platform.jsonl

    Args:
        file: A new file for the records; an existing file is never overwritten.
        client: Whose chain; default: the platform's.
    """
    fetch_to(file, "POST", "/v1/audit/export", body={"client_id": client})


@app.command
def proof(client: Client, file: Path) -> None:
    """Write a proof of one client's whole history that a stranger can check.

    Example: byokeep audit proof $CLIENT acme-proof.json

    Args:
        client: Whose history.
        file: A new file for the proof; an existing file is never overwritten.
    """
    fetch_to(file, "POST", f"/v1/audit/proof/{client}")


@app.command(name="check-proof")
def check_proof(file: Path, *, keys: Path) -> None:
    """Check a client's proof offline, with nothing but the public keys. Exit code 5 = the proof does not hold.

    Example: byokeep audit check-proof acme-proof.json --keys public-keys.txt

    Args:
        file: The file that `byokeep audit proof` wrote.
        keys: The public keys, as `byokeep audit keys` writes them.
    """
    show(facts(offline.verify_proof(file, offline.read_keys(keys))), title="Proof")
