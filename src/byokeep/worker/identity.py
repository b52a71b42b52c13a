"""What is logged of a provider's answer, and under which hash its account id is kept."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from uuid import UUID

from byokeep.core.model import Provider
from byokeep.core.secret import Secret
from byokeep.kernel.ports import CheckOutcome
from byokeep.telemetry.log import get_log
from byokeep.telemetry.spans import span

# The request that a task goes back to, so that the log line of a provider's call names it too.
asked_by: ContextVar[UUID | None] = ContextVar("asked_by", default=None)


Ask = Callable[[Provider, Secret], Awaitable[CheckOutcome]]


def noted(ask: Ask) -> Ask:
    """Wrap an identity call so that it leaves a span and a log line of allow-listed fields."""

    async def identify(provider: Provider, secret: Secret) -> CheckOutcome:
        with span("identity_call", provider=provider.value):
            found = await ask(provider, secret)
        get_log().info("identity_call", provider=provider.value, outcome=found.status.value, status=found.http_status,
                       took_ms=found.latency_ms, attempt=found.attempts, request_id=asked_by.get())  # fmt: skip
        return found

    return identify


def account_hasher(key: Secret) -> Callable[[str], str]:
    """Return the keyed hash under which a provider's account id is kept; the key is not in the database."""
    return lambda account: hmac.new(key.reveal(), account.encode(), hashlib.sha256).hexdigest()
