"""Whether the browser lane may be enabled for an account: only with a complete run of SOP 5.3.

Rules
- Asked when a person sets lanes; the gate asks again before every effect, whatever was set (R5.3-21).
"""

from __future__ import annotations

from uuid import UUID

from byokeep.core.errors import Conflict
from byokeep.core.model import ClientId, Lane
from byokeep.flows import sops
from byokeep.ports import Tx


async def require_proof(tx: Tx, client_id: ClientId, account_id: UUID, lanes: frozenset[Lane]) -> None:
    """Let lanes be enabled; the browser lane needs a proved profile.

    Raises:
        Conflict: ``profile_not_proved``, with what is missing.
    """
    if Lane.BROWSER not in lanes:
        return
    run = await tx.maybe(sops.SopRun, "sop_of_account_profile", client_id=client_id, account_id=account_id)
    status = None if run is None else await sops.status_of(tx, run)
    if status is None or status.state != "complete":
        missing = "profile" if status is None else ", ".join(status.missing)
        where, profile = await tx.one(
            lambda row: (f"{row['platform']}/{row['account']}", row["profile_id"]),
            "account_profile",
            client_id=client_id,
            account_id=account_id,
        )
        step = f"See what is next for it: `byokeep profile show {profile}`."
        if profile is None:
            step = f"Make a profile first: `byokeep profile create {client_id} {where}`."
        raise Conflict("profile_not_proved", missing=missing, next_step=step)
