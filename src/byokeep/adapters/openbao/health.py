"""Port StoreHealth: whether the store serves, as its last answer to a probe says; and whether it is new enough.

Rules
- A probe asks ``sys/leader``: no token, no entry in the audit logs. A node that is sealed, or knows no active
  node, does not serve.
- The decision asks nobody: it looks at the age of the last good answer, so that it costs a request nothing.
- Never probed counts as not serving.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

from byokeep.core.errors import Rejected, Unavailable
from byokeep.kernel.freshness import Freshness
from byokeep.wire.bao_http import BaoHttp

MINIMUM: Final = (2, 6, 2)  # before it a standby does not pass on every request that it must not answer itself
_VERSION: Final = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?![\d.])")


async def require_version(http: BaoHttp) -> str:
    """Let pass a store of the minimum release or a later one; return what it says, and the minimum.

    Raises:
        Rejected: ``openbao_too_old``.
        Unavailable: ``openbao_version_unknown``, and what :meth:`BaoHttp.request` raises.
    """
    version = str((await http.request("GET", "sys/seal-status")).data.get("version", ""))
    found, needed = _VERSION.match(version), ".".join(map(str, MINIMUM))
    if found is None:
        raise Unavailable("openbao_version_unknown", next_step="Let the store tell its version in sys/seal-status.")
    if tuple(int(part or 0) for part in found.groups()) < MINIMUM:
        raise Rejected("openbao_too_old", next_step=f"Upgrade OpenBao to {needed} or a later release.")
    return f"{version}, at least {needed} is needed"


class ProbedStoreHealth:
    """What the last probe of a store said.

    Args:
        http: The store.
        believed_s: For how many seconds a good answer is believed.
        deadline_s: Of one probe, in seconds.
        clock: Seconds that only grow.
    """

    def __init__(
        self, http: BaoHttp, *, believed_s: float = 3.0, deadline_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._http = http
        self._deadline_s, self._clock = deadline_s, clock
        self._answered = Freshness(believed_s, _unreachable)

    async def probe(self) -> None:
        """Ask the store now. Raises Unavailable: it does not serve."""
        asked_at = self._clock()
        reply = await self._http.request("GET", "sys/leader", timeout_s=self._deadline_s)
        if reply.data.get("ha_enabled") is not False and not reply.data.get("leader_address"):
            raise Unavailable("store_no_leader")
        self._answered.proved(asked_at)

    def require(self) -> None:
        """Raise Unavailable (``store_unreachable``) when the last good answer is too old."""
        self._answered.require(self._clock())


def _unreachable() -> Unavailable:
    step = "The secret store does not answer; nothing is served until it does."
    return Unavailable("store_unreachable", next_step=step)
