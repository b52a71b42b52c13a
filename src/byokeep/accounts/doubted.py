"""The accounts of a platform that a person closed, where tokens or faces are in doubt (runbook 7.2, steps 2 to 4).

Rules
- A person who closes names a platform, no account. So each one that is connected there counts as lost, as if our own
  check had found it: its grant serves nobody, its lanes are off, and its own login alone brings it back.
- *compromised*, *revoked* and *identity_mismatch* speak of what an account's tokens or its face are worth. *lockout*
  and *missing_scope* speak of neither: there the platform closes, and what is connected stays so.
- Their rows are held before the platform's, as whoever ends one grant holds them.
- A close that is said again counts anew: logins that were begun before it are worth nothing.

It may not close a platform.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor
from byokeep.core.reenable import RecoveryCause
from byokeep.kernel.ports import Tx

OF_EVERY_ACCOUNT: Final = frozenset({RecoveryCause.COMPROMISED, RecoveryCause.REVOKED, RecoveryCause.IDENTITY_MISMATCH})
REASON: Final = "closed_by_person"


async def hold(tx: Tx, client_id: UUID, platform: str, *, locked: bool) -> None:
    """Take the locks under which the accounts of a platform are lost.

    Args:
        locked: Wait for the decisions under way; a caller that sets it to False has waited by itself.
    """
    if locked:
        await tx.all(None, "switch_lock_exclusive", scope=f"client:{client_id}:platform:{platform}")
    await tx.all(UUID, "grants_hold", client_id=client_id, platform=platform)


async def put_out_of_use(tx: Tx, actor: Actor, client_id: UUID, platform: str, cause: RecoveryCause) -> int:
    """Let every connected account of a closed platform wait for its own login; returns how many there were.

    Args:
        tx: The locks of :func:`hold` are in it, and the platform is closed.
        cause: As the person said it.
    """
    await tx.all(str, "reenabling_said_again", client_id=client_id, platform=platform)
    if cause not in OF_EVERY_ACCOUNT:
        return 0
    lost = await tx.all(dict, "grants_doubted", client_id=client_id, platform=platform, reason=REASON)
    for one in lost:
        await tx.append(
            Event(
                name=EventName.REAUTH_NEEDED, actor=actor, outcome=Outcome.FAILED, client_id=client_id,
                object_id=one["account_id"],
                fields={"platform": platform, "login": one["login"], "version": one["version"], "reason": REASON,
                        "cause": cause.value},
            )
        )  # fmt: skip
    return len(lost)
