"""The key of one profile, reached under the job's own lease: a use lease unwraps, a sealing lease wraps.

Rules
- Each act logs in at the store anew, for seconds, and names its lease: the store's own log explains it.
- No record is read or written here: the store refuses it to a runner, and the broker hands out what is open (ADR 0033).

It may not keep a token or a key.
"""

from __future__ import annotations

from byokeep.client.lease import HeldLease
from byokeep.core.model import Environment
from byokeep.core.secret import Secret
from byokeep.sealing.transit import TransitKeys
from byokeep.wire.bao_http import BaoHttp


def leased_keys(lease: HeldLease, name: str, environment: Environment) -> TransitKeys:
    """Return the client's KEK as far as a lease reaches.

    Args:
        lease: Held for as long as this is used.
        name: Under which the profile is pinned there.
        environment: Of the installation.
    """

    async def log_in() -> tuple[BaoHttp, Secret, str]:
        store, token, _, _ = await lease.login(name)
        return store, token, lease.id

    return TransitKeys(log_in, environment)
