"""Verify webhooks of platforms and providers inside a customer's own server.

.. code-block:: python

    hooks = Webhooks("tiktok", [secret])            # two secrets while one replaces the other
    with hooks.delivery(request.headers, await request.body()):
        ...                                         # handle it; an exception lets the sender try again

Rules
- Refused deliveries raise before the block is entered: answer ``error.http_status``, 401 for a bad one.
- A delivery counts as handled when the block is left without an exception. Until then a copy of it is refused as well.
- Keep one object per client and secret for the life of the process: its memory is what stops replays. Several processes
  each have their own; behind a load balancer make the handler idempotent by the platform's event id.
- In a job the secrets are those that the store holds now: at most :data:`FRESH_S` seconds old, one or two.

It may not keep secrets: :class:`Webhooks` is given them, :class:`JobWebhooks` asks the job's lease at each delivery.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Final, TypeVar

from byokeep.core import webhook
from byokeep.core.errors import Denied, Rejected, Unauthenticated
from byokeep.core.secret import Secret
from byokeep.core.webhook import SCHEMES, Delivery, Removal

__all__ = ["SCHEMES", "Delivery", "JobWebhooks", "Removal", "Webhooks"]

T = TypeVar("T", Delivery, Removal)
Headers = Mapping[str, str] | Iterable[tuple[str, str]]
FRESH_S: Final = 60.0
AGAIN_S: Final = 5.0  # if no secret fits a delivery, ones at most this old are fetched: one may have been replaced
_NO_SECRET: Final = frozenset({"not_declared", "missing_credential", "credential_not_usable"})
_NO_SCHEME: Final = "Use one of: " + ", ".join(sorted(SCHEMES)) + "."


class _Sender:
    """One sender to one client: how it signs, and which of its deliveries were handled."""

    def __init__(self, sender: str, *, remember: int, clock: Callable[[], float]) -> None:
        if sender not in SCHEMES:
            raise Rejected("unknown_webhook_sender", next_step=_NO_SCHEME)
        self._scheme, self._memory, self._clock = SCHEMES[sender], webhook.SeenDeliveries(remember), clock

    def _delivered(self, headers: Sequence[tuple[str, str]], body: bytes, secrets: Sequence[Secret]) -> Delivery:
        now = self._clock()
        found = webhook.verify(self._scheme, headers, body, [secret.reveal() for secret in secrets], now=now)
        until = None if found.sent_at is None else found.sent_at + webhook.WINDOW_S
        self._memory.claim(found.id, now=now, until=until)
        return found

    def _removed(self, signed_request: str, secrets: Sequence[Secret]) -> Removal:
        if self._scheme.name != "meta":
            raise Rejected("webhook_no_removals", next_step="Only Meta sends them.")
        keys = [secret.reveal() for secret in secrets]
        return webhook.removed_user(signed_request, keys, self._memory, now=self._clock())

    @contextmanager
    def _handled(self, found: T) -> Iterator[T]:
        """Let what was found pass again if the block fails."""
        try:
            yield found
        except BaseException:
            self._memory.forget(found.id)
            raise


class Webhooks(_Sender):
    """Verifies the deliveries of one sender to one client.

    Args:
        sender: ``meta`` (both logins), ``tiktok``, ``linkedin``, ``youtube``, ``x`` or ``heygen``.
        secrets: The signing secret; two while it is being replaced.
        remember: Deliveries to remember.
        clock: Returns Unix seconds.

    Raises:
        Rejected: ``unknown_webhook_sender``.
    """

    def __init__(
        self, sender: str, secrets: Sequence[Secret], *, remember: int = webhook.MAX_REMEMBERED,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        super().__init__(sender, remember=remember, clock=clock)
        self._secrets = tuple(secrets)

    @contextmanager
    def delivery(self, headers: Headers, body: bytes) -> Iterator[Delivery]:
        """Enter the block with a verified delivery that was not handled before.

        Args:
            headers: As they came; pass a server's mapping that can hold duplicates as pairs.
            body: The raw bytes, before any parsing.

        Raises:
            Unauthenticated: What :func:`byokeep.core.webhook.verify` raises, or ``webhook_replayed``.
            RateLimited: ``webhook_memory_full``.
            Rejected: ``webhook_too_large``.
        """
        with self._handled(self._delivered(_pairs(headers), body, self._secrets)) as found:
            yield found

    @contextmanager
    def removal(self, signed_request: str) -> Iterator[Removal]:
        """Enter the block with who removed the app, from a call of Meta's that was not handled before.

        Args:
            signed_request: That field of the form that Meta sends to the address for removals or deletions.

        Raises:
            Unauthenticated, RateLimited: What :func:`byokeep.core.webhook.removed_user` raises.
            Rejected: ``webhook_no_removals``: another sender's.
        """
        with self._handled(self._removed(signed_request, self._secrets)) as found:
            yield found

    def answer(self, challenge: str) -> str:
        """Return the answer to the sender's test of the address, made with the first secret.

        Raises:
            Rejected: ``webhook_no_challenge``, ``webhook_bad_challenge``.
            Unauthenticated: ``webhook_no_key``.
        """
        key = self._secrets[0].reveal() if self._secrets else b""
        return webhook.answer(self._scheme, challenge, key)


class JobWebhooks(_Sender):
    """Verifies the deliveries of one sender with the secrets of a job's client; made by ``Job.webhook``.

    Args:
        sender: As for :class:`Webhooks`.
        signing: Returns a provider's signing secrets, as :meth:`byokeep.client.lease.HeldLease.signing`.
        remember, clock: As for :class:`Webhooks`.

    Raises:
        Rejected: ``unknown_webhook_sender``.
    """

    def __init__(
        self, sender: str, signing: Callable[..., Awaitable[tuple[Secret, ...]]], *,
        remember: int = webhook.MAX_REMEMBERED, clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        super().__init__(sender, remember=remember, clock=clock)
        self._signing = signing

    async def verify(self, body: bytes, headers: Headers) -> Delivery:
        """Let a delivery pass if it is the sender's and was not seen before.

        Use :meth:`delivery` if handling can fail: after this a copy is refused, whatever becomes of the first.

        Raises:
            Unauthenticated, RateLimited, Rejected: As :meth:`Webhooks.delivery`.
            Denied, Unavailable: The secrets could not be fetched; answer 503, and the sender delivers again.
        """
        return await self._with_secrets(partial(self._delivered, _pairs(headers), body))

    @asynccontextmanager
    async def delivery(self, headers: Headers, body: bytes) -> AsyncIterator[Delivery]:
        """Enter the block with a verified delivery that was not handled before. Raises as :meth:`verify`."""
        with self._handled(await self.verify(body, headers)) as found:
            yield found

    @asynccontextmanager
    async def removal(self, signed_request: str) -> AsyncIterator[Removal]:
        """Enter the block with who removed the app. Raises as :meth:`Webhooks.removal`, and as :meth:`verify`."""
        with self._handled(await self._with_secrets(partial(self._removed, signed_request))) as found:
            yield found

    async def _with_secrets(self, act: Callable[[Sequence[Secret]], T]) -> T:
        """Act with the secrets that hold; if none fits, once more with younger ones."""
        try:
            return act(await self.secrets())
        except Unauthenticated as error:
            if error.code != "webhook_signature_wrong":
                raise
        return act(await self.secrets(fresh_s=AGAIN_S))

    async def answer(self, challenge: str) -> str:
        """Return the answer to the sender's test of the address. Raises as :meth:`Webhooks.answer`."""
        return webhook.answer(self._scheme, challenge, (await self.secrets())[0].reveal())

    async def secrets(self, *, fresh_s: float = FRESH_S) -> tuple[Secret, ...]:
        """Return the secrets that hold: the current one, and the previous one while both do.

        Raises:
            Unauthenticated: ``webhook_no_key``.
            Denied, Unavailable: They could not be fetched.
        """
        try:
            found = await self._signing(self._scheme.name, fresh_s=fresh_s)
        except Denied as error:
            if error.code not in _NO_SECRET:
                raise
            found = ()
        if not found:
            raise Unauthenticated("webhook_no_key", next_step="Store it with `byokeep account webhook set`.")
        return found


def _pairs(headers: Headers) -> list[tuple[str, str]]:
    return list(headers.items() if isinstance(headers, Mapping) else headers)
