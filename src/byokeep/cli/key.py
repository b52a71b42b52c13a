"""``byokeep key``: clients' provider keys (SOP 5.1)."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from cyclopts import App

from byokeep.cli.api import call, run
from byokeep.cli.intake import read_secret
from byokeep.cli.terminal import err, say, session, show
from byokeep.core.errors import Rejected, Unavailable

app: Final = App(name="key", help="Onboard, list and verify clients' provider keys.")
_COLUMNS: Final = ("id", "provider", "version", "state", "verification", "risk", "rotation_due_at")
_WAIT_S: Final = 90


@app.command
def add(
    client: str,
    provider: str,
    *,
    fd: int | None = None,
    risk: str | None = None,
    rotation_days: int | None = None,
    wait: bool = True,
) -> int:
    """Onboard a key: store, verify at the provider, check for leaks, close with evidence.

    The key is read from standard input, from --fd, or from a prompt that does not show it.

    Example: byokeep key add 7f0c9b1e-... openai < key.txt
    Example: byokeep key add 7f0c9b1e-... anthropic --risk high

    Args:
        client: Client id.
        provider: anthropic, openai, google, openrouter, kie or heygen.
        fd: Read the key from this descriptor.
        risk: `standard` or `high`; default: the client's.
        rotation_days: 30 to 90; default: by provider policy and risk.
        wait: Wait until the procedure is complete.
    """
    value = read_secret(prompt=f"{provider} key", fd=fd)
    params = {
        name: str(given) for name, given in (("risk", risk), ("rotation_days", rotation_days)) if given is not None
    }
    stored = run(call("PUT", f"/v1/clients/{client}/providers/{provider}/value", raw=value, params=params))
    value.wipe()
    return _finish(str(stored["sop"]), wait=wait)


@app.command
def verify(ref: str, *, wait: bool = True) -> int:
    """Run the verification of a stored key again.

    Example: byokeep key verify 0d2a...
    """
    return _finish(str(run(call("POST", f"/v1/refs/{ref}/verify"))["sop"]), wait=wait)


def _finish(sop: str, *, wait: bool) -> int:
    result = run(wait_for(sop)) if wait else run(call("GET", f"/v1/sops/{sop}"))
    show(result, title="SOP 5.1")
    if result["state"] == "complete":
        say(f"Evidence: byokeep evidence show {sop}")
        return 0
    if not wait:
        return 0
    say("The key stays unusable. Fix the cause, then add the key again or run `byokeep key verify`.")
    return Rejected.exit_code if result["state"] == "failed" else Unavailable.exit_code


async def wait_for(sop: str, *, limit_s: float = _WAIT_S) -> dict[str, Any]:
    """Poll a procedure until it is complete or failed; shows a spinner on a terminal."""
    deadline = time.monotonic() + limit_s
    quiet = session().as_json or not err.is_terminal
    with err.status("Verifying at the provider ...") if not quiet else _nothing():
        while True:
            result: dict[str, Any] = await call("GET", f"/v1/sops/{sop}")
            if result["state"] != "running" or time.monotonic() > deadline:
                return result
            await asyncio.sleep(0.15)


class _nothing:  # noqa: N801 - a null context
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


@app.command(name="list")
def list_(client: str) -> None:
    """List a client's references: what, where, state, due date. Never a value.

    Example: byokeep key list 7f0c9b1e-...
    """
    show(run(call("GET", f"/v1/clients/{client}/refs"))["refs"], title="Keys", columns=_COLUMNS)


@app.command(name="show")
def show_(ref: str) -> None:
    """Show one reference.

    Example: byokeep key show 0d2a...
    """
    show(run(call("GET", f"/v1/refs/{ref}")), title="Key")


@app.command
def state(ref: str, to: str, *, reason: str) -> None:
    """Move a key to another state of its life.

    Example: byokeep key state 0d2a... compromised --reason seen_in_chat

    Args:
        to: suspended, active, deactivated, compromised or destroyed.
        reason: A short code such as `seen_in_chat`.
    """
    show(run(call("POST", f"/v1/refs/{ref}/state", body={"to": to, "reason": reason})), title="Key")


@app.command
def inventory() -> None:
    """List every secret the product manages: class, owner, state, age, due. Never a value.

    Example: byokeep key inventory --json
    """
    show(run(call("GET", "/v1/inventory"))["items"], title="Inventory")
