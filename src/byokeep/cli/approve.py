"""``byokeep approve``: what takes two people waits here for the second."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from byokeep.cli.api import call, run, tell
from byokeep.cli.terminal import again, session
from byokeep.core.errors import Denied

_OF_APPROVERS: Final = (
    "What waits for an approver: `byokeep kill status`, `byokeep breakglass list`, `byokeep procedure list`, `byokeep"
    " incident platform status CLIENT`."
)


def approve(request: UUID | None = None) -> None:
    """Approve, as a second admin, what takes two people. Without a request, list the requests that wait.

    Example: byokeep approve

    Example: byokeep approve $REQUEST

    Args:
        request: Id of the request, as the list shows it.
    """
    if request is not None:
        done = run(call("POST", f"/v1/approvals/{request}/approve"))
        tell(done, title="Approved", note=missing_token(done))
        return
    try:
        found = run(call("GET", "/v1/approvals"))["approvals"]
    except Denied as error:
        if error.code == "not_permitted":
            error.next_step += f" {_OF_APPROVERS}"
        raise
    if not session().as_json:
        found = [
            {"id": one["id"], "what": one["what"], "by": one["requested_by"], "expires_at": one["expires_at"],
             "clients": "all" if one["asked"]["all_clients"] else one["asked"]["clients"]}
            for one in found
        ]  # fmt: skip
    note = f"Next, by another admin: {again('approve ' + found[0]['id'], own_token=False)}" if len(found) == 1 else ""
    tell(found, title="Waiting requests", columns=("id", "by", "expires_at", "clients", "what"), note=note)


def missing_token(done: dict[str, Any]) -> str:
    """Return what a person or machine without a way in needs; empty if it has one, or is not in use."""
    if done["state"] != "active" or done["has_password"] or done["token_until"]:
        return ""
    flag = " --machine" if done["kind"] == "machine" else ""
    return "Next: " + again(f"operator token {done['id']}{flag} --save FILE")
