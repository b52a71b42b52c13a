"""How often somebody may call: budgets for each client's writes.

Rules
- A budget belongs to one key; nobody can use up another's (S-OWASP-25, S-ASVS-8).
- Counts live in this process and are bounded in number; restarting forgets them.
"""

from __future__ import annotations

from starlette.requests import Request

from byokeep.core.bucket import Buckets
from byokeep.core.errors import RateLimited
from byokeep.core.model import Actor, ClientId, Role
from byokeep.kernel.ports import Clock


class Budget:
    """A token bucket for each key.

    Args:
        per_minute: How many calls a minute; also how many at once.
    """

    def __init__(self, clock: Clock, *, per_minute: int) -> None:
        self._clock = clock
        self._buckets = Buckets(per_minute=per_minute)

    def spend(self, key: str) -> None:
        """Take one call from a key's budget.

        Raises:
            RateLimited: ``too_many_requests`` with ``retry_after_s``.
        """
        if wait := self._buckets.take(key, self._clock.monotonic()):
            raise RateLimited("too_many_requests", next_step="Wait, then go on.", retry_after_s=max(1, int(wait) + 1))


def spend(request: Request, budget: Budget, actor: Actor, client_id: ClientId) -> None:
    """Take one write from a client's budget; who is not assigned to it, or writes nothing, can not use it up.

    Raises:
        RateLimited: ``too_many_requests``.
    """
    request.scope["state"]["tenant"] = client_id
    if Role.OPERATOR in actor.roles and (actor.clients is None or client_id in actor.clients):
        budget.spend(str(client_id))
