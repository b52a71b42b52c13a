"""``byokeep incident vault``: the vault of browser profiles may be compromised (runbook 7.3); and what comes next: the
commands to type, with their ids.

Rules
- The next commands follow from what the server says is still to do; the step alone says only which one is worked on.
- A step's own command comes last: it looks whether anything is left, and may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal
from uuid import UUID

from cyclopts import App

from byokeep.cli import alert
from byokeep.cli.api import Listing, call, call_kill, run, tell_all
from byokeep.cli.choices import Platform
from byokeep.cli.names import Client, Profile
from byokeep.cli.terminal import again, say, session
from byokeep.cli.times import moment
from byokeep.core.errors import Conflict, Rejected

Cause = Literal["suspected_leak", "artifact_store_exposure", "runner_compromise", "account_lockout", "drill"]
app: Final = App(name="vault", help="The vault of browser profiles may be compromised: recover step by step.")
_INCIDENT: Final = ("incident", "client_id", "cause", "step", "since", "since_assumed", "opened_at", "closed_at")
_ITEMS: Final = (
    "client_id", "profile", "platform", "session", "new_profile", "fresh_login", "keys", "keys_destroyed", "proved",
    "to_do",
)  # fmt: skip
_EVIDENCE: Final = ("step", "seq", "at", "by", "hash")
_ABOUT: Final = (*_INCIDENT[:-1], "opened_by", "closed_at", "closed_by", "missing")
_ALERTS: Final = frozenset({"vault_incident_opened", "session_to_end_by_hand", "profile_due", "profile_work_failed"})


@app.command(name="open")
def open_(
    *, client: Client | None = None, everybody: bool = False, cause: Cause = "suspected_leak", since: str | None = None
) -> None:
    """Open an incident. Every profile in its scope is due for a new key from now on. One person is enough.

    With the cause artifact_store_exposure, the browser lane of each account goes off at once, and workers seal each
    profile under a new key. Profiles that could not be handed to a worker are listed (`left.exposed`); step 1 retries
    them.

    Example: byokeep incident vault open --client $CLIENT --cause runner_compromise

    Example: byokeep incident vault open --everybody --cause artifact_store_exposure

    Args:
        client: The client whose profiles are affected.
        everybody: The profiles of all clients are affected.
        cause: What is known.
        since: Since when others may have had access, such as 2026-05-01T12:00:00Z or 24h; default: 72 hours.
    """
    if (client is None) != everybody:
        raise Rejected("scope_missing", next_step="Give --client C, or --everybody.")
    body = {"everybody": everybody, "cause": cause, "client_id": client, "since": moment(since)}
    _told(run(call("POST", "/v1/vault-incidents", body=body)))


@app.command(name="list")
def list_() -> None:
    """List the incidents, open ones first.

    Example: byokeep incident vault list
    """
    found: Any = run(call("GET", "/v1/vault-incidents"))
    tell_all(found, Listing(found["incidents"], "Incidents", _INCIDENT))


@app.command
def status(incident: UUID) -> int:
    """Show the progress of each profile, what is left, and the record of each step.

    Exit code 6 while anything is left.

    Example: byokeep incident vault status $INCIDENT
    """
    found: Any = run(call("GET", f"/v1/vault-incidents/{incident}"))
    _told(found)
    return Conflict.exit_code if found["step"] != "closed" and any(found["left"].values()) else 0


@app.command(name="lane-off")
def lane_off(incident: UUID, *, reason: str = "profile_vault_suspected") -> None:
    """Step 1: close the browser lane of the scope, and check that no job still has a browser open.

    Example: byokeep incident vault lane-off $INCIDENT

    Args:
        reason: A code for the switch, kept in the audit.
    """
    found: Any = run(call("GET", f"/v1/vault-incidents/{incident}"))
    if found["step"] == "opened":
        scope = {"lane": "browser"} | ({"client_id": found["client_id"]} if found["client_id"] else {})
        run(call_kill("POST", "/v1/switches/close", body=scope | {"reason": reason}))
    _step(incident, "lane-off")


@app.command
def sessions(incident: UUID) -> None:
    """Step 2: have workers log out everywhere. Repeat until nothing is left; a person ends the rest by hand.

    Example: byokeep incident vault sessions $INCIDENT
    """
    _step(incident, "sessions")


@app.command(name="session-ended")
def session_ended(incident: UUID, profile: Profile, platform: Platform) -> None:
    """Record that you ended a session at its platform yourself, because no worker could.

    Example: byokeep incident vault session-ended $INCIDENT $PROFILE x

    Args:
        profile: The profile of the session.
        platform: The platform of the session.
    """
    body = {"profile": str(profile), "platform": platform}
    _told(run(call("POST", f"/v1/vault-incidents/{incident}/sessions/end", body=body)))


@app.command
def recreate(incident: UUID) -> None:
    """Step 3: retire the old profiles and make new ones. Then log in to each one with `byokeep profile login`.

    Example: byokeep incident vault recreate $INCIDENT
    """
    _step(incident, "recreate")


@app.command
def rekey(incident: UUID) -> None:
    """Step 4: mark the old keys as compromised and ask for their destruction. An approver runs `approve`.

    Example: byokeep incident vault rekey $INCIDENT
    """
    _step(incident, "rekey")


@app.command
def approve(incident: UUID) -> None:
    """Approve, as the second person, that the old profiles are destroyed with their keys.

    Example: byokeep incident vault approve $INCIDENT
    """
    _step(incident, "approve")


@app.command
def validate(incident: UUID) -> None:
    """Step 5: prove the new profiles, and prove that a wrong account would be caught on each platform.

    Example: byokeep incident vault validate $INCIDENT
    """
    _step(incident, "validate")


@app.command
def close(incident: UUID) -> None:
    """Close the incident, as the second person, once all evidence is there. Two people release the browser lane apart.

    Example: byokeep incident vault close $INCIDENT
    """
    _step(incident, "close")


def _step(incident: UUID, name: str) -> None:
    _told(run(call("POST", f"/v1/vault-incidents/{incident}/{name}")), approver=name in ("approve", "close"))


def _told(found: Any, *, approver: bool = False) -> None:
    """Show an incident and what comes next."""
    about = {name: found[name] for name in _ABOUT}
    about |= {"left": {name: count for name, count in found["left"].items() if count}}
    tell_all(found, Listing(about, "Incident"), Listing(found["items"] or None, "Profiles", _ITEMS),
             Listing(found["evidence"] or None, "Evidence", _EVIDENCE))  # fmt: skip
    say("")
    say(lines(found, approver=approver))
    if found["step"] == "closed" and not session().as_json:
        objects = {found["incident"], *(one["profile"] for one in found["items"])}
        standing = alert.to_close(_ALERTS, client_id=found["client_id"], objects=objects)
        say("Each account's browser lane went off with its old profile. Then set it again: `byokeep account lane`.")
        say("Profiles stay marked as due until they have new keys." + ("\n" + standing if standing else ""))


# What comes next: the commands to type.
_COMMAND: Final = {
    "opened": "lane-off", "lane_off": "sessions", "sessions_ended": "recreate", "recreated": "rekey",
    "rekeyed": "validate", "validated": "close",
}  # fmt: skip
_APPROVER: Final = "  (an approver)"
_MOST: Final = 5  # profiles that are named here; the table names all


def lines(found: Mapping[str, Any], *, approver: bool = False) -> str:
    """Return the next commands of an incident, one per line; for a closed one, those that open the lane again.

    Args:
        approver: Whether an approver asks, for whom the operator's commands are another person's.
    """
    named = list(dict.fromkeys(_all(found, approver)))
    left = ", ".join(f"{name} {count}" for name, count in found["left"].items() if count)
    told = [f"Left: {left}."] if left and found["step"] != "closed" else []
    if any(one["to_do"] == "wait_for_worker" for one in found["items"]):
        told.append("A worker is working on it. The next command checks again.")
    if len(named) > _MOST + 1:  # what is done for each profile, then the step's own command
        told.append(f"For {len(named) - 1 - _MOST} more see the table.")
        named = [*named[:_MOST], named[-1]]
    return "\n".join([*told, *(f"{'Then' if at else 'Next'}: {one}" for at, one in enumerate(named))])


def _all(found: Mapping[str, Any], approver: bool) -> Iterator[str]:
    step, incident = found["step"], found["incident"]
    if step == "closed":
        scope = f"--client {found['client_id']} " if found["client_id"] else ""
        yield _operator(f"kill off {scope}--lane browser --reason incident_over", approver)
        yield again("kill approve REQUEST", own_token=approver) + _APPROVER
        return
    if step != "opened" and any(one["to_do"] == "lane_off_again" for one in found["items"]):
        yield _operator(f"incident vault lane-off {incident}", approver) + "  (for profiles that are left)"
    for one in found["items"]:
        yield from _of_item(incident, one, approver)
    unproved = step == "validated" and found["left"].get("validated")  # a new profile that was made since
    if any(one["to_do"] == "make_another" for one in found["items"]):
        yield _operator(f"incident vault recreate {incident}", approver) + "  (for new profiles that were destroyed)"
        return
    words = f"incident vault {'validate' if unproved else _COMMAND[step]} {incident}"
    done = step == "validated" and not unproved
    yield again(words, own_token=approver) + _APPROVER if done else _operator(words, approver)


def _operator(words: str, approver: bool) -> str:
    return again(words, own_token=not approver) + ("  (an operator)" if approver else "")


def _of_item(incident: str, one: Mapping[str, Any], approver: bool) -> Iterator[str]:
    to_do = one["to_do"]
    if to_do == "end_session_by_hand":
        ended = f"incident vault session-ended {incident} {one['profile']} {one['platform']}"
        yield _operator(ended, approver) + f"  (after you have logged out at {one['platform']} by hand)"
    if to_do == "log_in":
        yield _operator(f"profile login {one['new_profile']}", approver)
    if to_do in ("log_in", "confirm_login"):
        yield _operator(f"profile confirm {one['new_profile']} ACCOUNT", approver) + "  (the user name that you saw)"
    if to_do == "approve_destruction":
        yield again(f"incident vault approve {incident}", own_token=approver) + _APPROVER
