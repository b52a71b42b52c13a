"""From a provider's answer to the note that is kept.

Rules
- Field by field: what is not listed in the note cannot get through.
- Busy, down and slow may end differently later; everything else is an answer.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Final, Protocol
from uuid import UUID

from byokeep.core.model import Provider
from byokeep.core.secret import Secret
from byokeep.jobs.worker_app import IdentityNote
from byokeep.telemetry.log import get_log
from byokeep.telemetry.spans import span

# The request that a task goes back to, so that the log line of a provider's call names it too.
asked_by: ContextVar[UUID | None] = ContextVar("asked_by", default=None)
ASK_AGAIN: Final = frozenset({"rate_limited", "provider_down", "timeout"})


class IdentityAnswer(Protocol):
    """What an identity call comes to."""

    @property
    def status(self) -> str:
        """Code of the outcome."""

    @property
    def http_status(self) -> int | None:
        """Status of the last answer."""

    @property
    def latency_ms(self) -> int:
        """Duration of the last attempt."""

    @property
    def account_hash(self) -> str | None:
        """Keyed hash of the account id."""

    @property
    def endpoint(self) -> str:
        """Name of the call."""

    @property
    def attempts(self) -> int:
        """GETs sent."""

    @property
    def verified(self) -> bool:
        """Whether the provider confirmed the key."""

    @property
    def alert(self) -> bool:
        """Whether a person must hear of it."""


Ask = Callable[[Provider, Secret], Awaitable[IdentityAnswer]]


def noted(ask: Ask) -> Callable[[Provider, Secret], Awaitable[IdentityNote]]:
    """Wrap an identity call so that it leaves a span, a log line and a note, each of allow-listed fields."""

    async def identify(provider: Provider, secret: Secret) -> IdentityNote:
        with span("identity_call", provider=provider.value):
            answer = await ask(provider, secret)
        status = str(answer.status)
        get_log().info("identity_call", provider=provider.value, outcome=status, status=answer.http_status,
                       took_ms=answer.latency_ms, attempt=answer.attempts,
                       request_id=asked_by.get())  # fmt: skip
        return IdentityNote(
            status=status,
            verified=answer.verified,
            again=status in ASK_AGAIN,
            alarming=answer.alert,
            endpoint=answer.endpoint,
            http_status=answer.http_status,
            latency_ms=answer.latency_ms,
            attempts=answer.attempts,
            account_hash=answer.account_hash,
        )

    return identify


def account_hasher(key: Secret) -> Callable[[str], str]:
    """Return the keyed hash under which a provider's account id is kept; the key is not in the database."""
    return lambda account: hmac.new(key.reveal(), account.encode(), hashlib.sha256).hexdigest()
