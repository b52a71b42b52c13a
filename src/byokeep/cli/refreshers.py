"""``byokeep account refreshers`` and ``refresher-gone``: the machines that renew tokens."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from byokeep.cli.api import call, run
from byokeep.cli.names import tell
from byokeep.cli.terminal import again, say, session


def refreshers() -> None:
    """List the machines that have renewals under way; not those that wait. None is the rule: a renewal takes seconds.

    Example: byokeep account refreshers
    """
    found = run(call("GET", "/v1/refreshers"))["refreshers"]
    if not found and not session().as_json:
        say("No renewal is under way, which is the rule. Whether a refresher runs tells: " + again("doctor"))
        return
    tell(found, title="Refreshers", columns=("owner", "renewals", "oldest_at", "newest_at", "gone"))


def refresher_gone(owner: UUID, *, reason: str) -> None:
    """Say that a machine that renewed tokens will not come back, as an admin.

    Another machine takes up what it had under way within seconds: it asks the platform once more, or reports that an
    account must be connected again. Never say it of a machine that may come back: start that one instead.

    Example: byokeep account refresher-gone $OWNER --reason machine_lost

    Args:
        owner: As `byokeep account refreshers` lists it.
        reason: A code, kept in the audit: 2 to 63 characters, small letters, digits and _, a letter first.
    """
    done: Any = run(call("POST", f"/v1/refreshers/{owner}/gone", body={"reason": reason}))
    tell(done, title="Refresher", note="Next: " + again("alert list"))
