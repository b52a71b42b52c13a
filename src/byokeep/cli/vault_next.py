"""What comes next in an incident of the vault (runbook 7.3): the commands to type, with their ids.

Rules
- They follow from what the server says is still to do; the step alone says only which one is worked on.
- A step's own command comes last: it looks whether anything is left, and may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from byokeep.cli.terminal import again

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
