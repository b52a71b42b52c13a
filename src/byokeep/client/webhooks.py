"""Verify webhooks of platforms and providers inside a customer's own server.

.. code-block:: python

    hooks = Webhooks("tiktok", [secret])            # two secrets while one replaces the other
    with hooks.delivery(request.headers, await request.body()):
        ...                                         # handle it; an exception lets the sender try again

Rules
- Refused deliveries raise before the block is entered: answer ``error.http_status``, 401 for a bad one.
- A delivery counts as handled when the block is left without an exception; until then a copy of it is refused as well.
- One object for each client and secret, kept for the life of the process: its memory is what stops replays. Several
  processes each have their own; behind a balancer let the handler be idempotent by the platform's event id.

It may not fetch secrets: they come from a job, or from wherever the owner of the address keeps them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from byokeep.core import webhook
from byokeep.core.errors import Rejected
from byokeep.core.secret import Secret
from byokeep.core.webhook import SCHEMES, Delivery

__all__ = ["SCHEMES", "Delivery", "Webhooks"]

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
_NO_SCHEME: Final = "Use one of: " + ", ".join(sorted(SCHEMES)) + "."


class Webhooks:
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
        self,
        sender: str,
        secrets: Sequence[Secret],
        *,
        remember: int = webhook.MAX_REMEMBERED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        scheme = SCHEMES.get(sender)
        if scheme is None:
            raise Rejected("unknown_webhook_sender", next_step=_NO_SCHEME)
        self._scheme = scheme
        self._secrets = tuple(secrets)
        self._memory = webhook.Memory(remember)
        self._clock = clock

    @contextmanager
    def delivery(self, headers: Headers, body: bytes) -> Iterator[Delivery]:
        """Enter the block with a verified delivery that was not handled before.

        Args:
            headers: As they came; a mapping of a server that can hold doubles is given as its pairs.
            body: The raw bytes, before any parsing.

        Raises:
            Unauthenticated: What :func:`byokeep.core.webhook.verify` raises, or ``webhook_replayed``.
            RateLimited: ``webhook_memory_full``.
            Rejected: ``webhook_too_large``.
        """
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        now = self._clock()
        found = webhook.verify(self._scheme, pairs, body, [secret.reveal() for secret in self._secrets], now=now)
        until = None if found.sent_at is None else found.sent_at + webhook.WINDOW_S
        self._memory.claim(found.id, now=now, until=until)
        try:
            yield found
        except BaseException:
            self._memory.forget(found.id)
            raise

    def answer(self, challenge: str) -> str:
        """Return the answer to the sender's test of the address, made with the first secret.

        Raises:
            Rejected: ``webhook_no_challenge``, ``webhook_bad_challenge``.
            Unauthenticated: ``webhook_no_key``.
        """
        key = self._secrets[0].reveal() if self._secrets else b""
        return webhook.answer(self._scheme, challenge, key)
