"""``byokeep kek``: the keys that guard sealed browser profiles (runbook 6.1, 7.3)."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from cyclopts import App

from byokeep.cli.api import call, run, segment
from byokeep.cli.names import tell
from byokeep.cli.terminal import again, say, session, show
from byokeep.core.errors import Integrity, Unavailable

app: Final = App(name="kek")
_COLUMNS: Final = (
    "kek", "version", "state", "dependents", "check", "urgency", "rotation_due_at", "protect_until", "process_until",
)  # fmt: skip
_ROTATIONS: Final = ("kek", "from_version", "to_version", "state", "moved", "remaining", "started_at", "ended_at")
_DEPENDENTS: Final = ("client", "profile", "generation", "accounts", "key_state", "kek_version", "artifact")


@app.command
def status() -> int:
    """List every version, what hangs on it, when it is due, and whether OpenBao shows the same.

    Ends with 5 when a version differs from OpenBao, and with 4 when one could not be compared.

    Example: byokeep kek status
    """
    found: Any = run(call("GET", "/v1/keks"))
    if session().as_json:
        show(found)
    else:
        tell(found["keks"], title="Keys that guard profiles", columns=_COLUMNS)
        if found["rotations"]:
            say("")
            tell(found["rotations"], title="Rotations", columns=_ROTATIONS)
    checks = {one["check"] for one in found["keks"]}
    if checks - {"match", "unknown"}:
        return Integrity.exit_code
    return Unavailable.exit_code if "unknown" in checks else 0


@app.command
def check(client: UUID) -> None:
    """Ask a worker to compare a client's key with OpenBao; `byokeep kek status` tells what came of it.

    Example: byokeep kek check $CLIENT
    """
    tell(run(call("POST", f"/v1/clients/{client}/kek/check")), title="Asked", note="Then: " + again("kek status"))


@app.command
def rotate(client: UUID, *, reason: str = "scheduled") -> None:
    """Make the next version of a client's key. A worker does it, then moves every wrapped key; blobs are not touched.

    Example: byokeep kek rotate $CLIENT

    Args:
        reason: A code, kept in the audit: 2 to 63 characters, small letters, digits and _, a letter first.
    """
    asked = run(call("POST", f"/v1/clients/{client}/kek/rotate", body={"reason": reason}))
    tell(asked, title="Asked", note="It is done when nothing remains: " + again("kek status"))


@app.command
def rewrap(client: UUID) -> None:
    """Hand what a rotation left on older versions to a worker once more; it also goes on by itself.

    Example: byokeep kek rewrap $CLIENT
    """
    tell(run(call("POST", f"/v1/clients/{client}/kek/rewrap")), title="Rotation", columns=_ROTATIONS)


@app.command
def dependents(kek: str, version: int | None = None) -> None:
    """Tell what hangs on a key, or on one version of it: artifacts, clients, profiles, accounts.

    Example: byokeep kek dependents development-$CLIENT 1

    Args:
        kek: As `byokeep kek status` shows it.
        version: One version; all when left out.
    """
    below = f"?version={version}" if version is not None else ""
    found: Any = run(call("GET", f"/v1/keks/{segment(kek)}/dependents{below}"))
    if session().as_json:
        show(found)
        return
    if not found["dependents"]:
        say("Nothing depends on it.")
        return
    tell(found["dependents"], title=f"Depends on it: {found['count']}", columns=_DEPENDENTS)


@app.command
def history(kek: str, version: int) -> None:
    """Tell who moved a version to which state, when and why.

    Example: byokeep kek history development-$CLIENT 1

    Args:
        kek: As `byokeep kek status` shows it.
    """
    found: Any = run(call("GET", f"/v1/keks/{segment(kek)}/versions/{version}/history"))
    if session().as_json:
        show(found)
        return
    tell(found["moves"], title=f"Version {version}, {found['state']}", columns=("from", "to", "reason", "at", "by"))


@app.command
def disable(kek: str, version: int, *, reason: str = "not_needed") -> None:
    """Let an old version, and those before it, open nothing any more, as a second person. Its row stays.

    Refused while anything hangs on it, with the count.

    Example: byokeep kek disable development-$CLIENT 1

    Args:
        kek: As `byokeep kek status` shows it.
        reason: A code, kept in the audit.
    """
    path = f"/v1/keks/{segment(kek)}/versions/{version}/end"
    asked = run(call("POST", path, body={"reason": reason}))
    note = "That is its state until a worker has ended it at OpenBao; then it is destroyed: " + again("kek status")
    tell(asked, title="Asked", note=note)


@app.command
def compromise(kek: str, version: int, *, reason: str) -> None:
    """Call a version compromised: it protects nothing, and every key that it ever wrapped is to be replaced.

    Example: byokeep kek compromise development-$CLIENT 1 --reason artifact_store_exposure

    Args:
        kek: As `byokeep kek status` shows it.
        reason: A code, kept in the audit.
    """
    path = f"/v1/keks/{segment(kek)}/versions/{version}/compromise"
    _planned(run(call("POST", path, body={"reason": reason})))


@app.command
def plan(kek: str, version: int) -> None:
    """Tell what a compromise leaves to do; done when nothing remains.

    Example: byokeep kek plan development-$CLIENT 1

    Args:
        kek: As `byokeep kek status` shows it.
    """
    _planned(run(call("GET", f"/v1/keks/{segment(kek)}/versions/{version}/plan")))


def _planned(found: Any) -> None:
    if session().as_json:
        show(found)
        return
    note = "Nothing remains." if found["done"] else _after_compromise(found)
    tell(found["left"], title=f"Remaining: {found['remaining']} of {found['found']}", columns=_DEPENDENTS, note=note)


def _after_compromise(found: Any) -> str:
    """What comes next, client by client: a version that may protect, then a new login for each profile."""
    steps = []
    for client in sorted({one["client_id"] for one in found["left"]}):
        rotate = again(f"kek rotate {client}")
        steps.append(rotate + ", then " + again(f"incident vault open --client {client} --cause suspected_leak"))
    first = "Nothing is sealed while it is the newest version, and each profile needs a new login. Next: "
    return first + "; ".join(steps) + "."
