"""Asks a provider, once and read-only, whether it knows a key.

Rules
- One GET. Only 429 and 5xx are asked again, at most twice, and never earlier than the provider says.
- No redirect is followed, no more than 256 KiB is read, no compressed body is unpacked.
- Every failure becomes a status; no exception, text or header of the reply leaves.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from byokeep.adapters.providers.classify import KeyVerdict, ProviderReply, classify
from byokeep.adapters.providers.descriptor import ProviderDescriptor
from byokeep.adapters.providers.outcome import CheckOutcome, OutcomeStatus
from byokeep.adapters.providers.reflect import reflects
from byokeep.adapters.providers.shape import check_format
from byokeep.adapters.providers.target import ProviderTarget, guard, resolve
from byokeep.core.secret import Secret
from byokeep.core.strict_json import read_json
from byokeep.wire.outbound import Outbound, Watch, is_packed

MAX_ATTEMPTS: Final = 3
MAX_BODY: Final = 256 * 1024
MAX_RETRY_AFTER_S: Final = 5.0
_FIRST_WAIT_S: Final = 0.2
_RETRIED: Final = frozenset({OutcomeStatus.RATE_LIMITED, OutcomeStatus.PROVIDER_DOWN})
_JITTER: Final = random.SystemRandom()


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """One GET: what came of it and how long it took."""

    verdict: KeyVerdict
    http_status: int | None = None
    retry_after: str | None = None
    latency_ms: int = 0


async def identify(
    descriptor: ProviderDescriptor,
    secret: Secret,
    *,
    base_url: str | None,
    http: Outbound,
    account_hasher: Callable[[str], str],
    allow_loopback: bool = False,
    deadline_s: float = 15.0,
) -> CheckOutcome:
    """Make the identity call.

    Args:
        base_url: Configured override of the provider's address, None for its own.
        account_hasher: Keyed hash; gets ``provider:account id`` and returns what may be stored.
        allow_loopback: Whether ``base_url`` may be a loopback address; never in production.
        deadline_s: Seconds for all attempts and the waits between them.

    Raises:
        Rejected: The address or the key is such that nothing was sent: ``host_not_allowed``, ``insecure_scheme``,
            ``bad_base_url``, ``secret_in_url``, ``secret_in_wrong_place``, or a code of :func:`check_format`.
    """
    target = resolve(descriptor, base_url, allow_loopback=allow_loopback)
    key = secret.reveal()
    check_format(descriptor.provider, key, accept_shape_mismatch=True)
    ends = time.monotonic() + deadline_s
    attempts = 0
    while True:
        attempts += 1
        attempt = await _attempt(descriptor, target, key, http, max(ends - time.monotonic(), 0.001))
        wait_s = _wait(attempt, attempts)
        if wait_s is None or time.monotonic() + wait_s >= ends:
            return _outcome(descriptor, attempt, attempts, account_hasher)
        await asyncio.sleep(wait_s)


def _outcome(
    descriptor: ProviderDescriptor, attempt: _Attempt, attempts: int, account_hasher: Callable[[str], str]
) -> CheckOutcome:
    account = attempt.verdict.account_id
    return CheckOutcome(
        status=attempt.verdict.status,
        http_status=attempt.http_status,
        latency_ms=attempt.latency_ms,
        account_hash=account_hasher(f"{descriptor.provider}:{account}") if account else None,
        endpoint=descriptor.endpoint,
        attempts=attempts,
    )


def _wait(attempt: _Attempt, attempts: int) -> float | None:
    """Return the seconds before the next attempt, None when there is none."""
    if attempt.http_status is None or attempt.verdict.status not in _RETRIED or attempts >= MAX_ATTEMPTS:
        return None
    asked = attempt.retry_after
    if asked is None:
        return float(_FIRST_WAIT_S * 2 ** (attempts - 1) * _JITTER.uniform(0.5, 1.5))
    # A date, or more than we wait for, means: not now.
    if not (asked.isascii() and asked.isdigit() and len(asked) <= 3 and float(asked) <= MAX_RETRY_AFTER_S):
        return None
    return float(asked) + _JITTER.uniform(0.01, 0.1)


async def _attempt(
    descriptor: ProviderDescriptor, target: ProviderTarget, key: bytes, http: Outbound, budget_s: float
) -> _Attempt:
    started = time.monotonic()
    try:
        attempt = await _get(descriptor, target, key, http, budget_s)
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as problem:
        attempt = _Attempt(verdict=KeyVerdict(_failure(problem)))
    attempt.latency_ms = int((time.monotonic() - started) * 1000)
    return attempt


def _failure(problem: BaseException) -> OutcomeStatus:
    if isinstance(problem, TimeoutError):
        return OutcomeStatus.TIMEOUT
    if isinstance(problem, aiohttp.ClientSSLError):
        return OutcomeStatus.TLS_ERROR
    return OutcomeStatus.PROVIDER_DOWN if isinstance(problem, OSError) else OutcomeStatus.MALFORMED


async def _get(
    descriptor: ProviderDescriptor, target: ProviderTarget, key: bytes, http: Outbound, budget_s: float
) -> _Attempt:
    headers = {**descriptor.extra_headers, descriptor.auth_header: descriptor.auth_prefix + key.decode("ascii")}
    guard(descriptor, target.url, headers, key)
    within = aiohttp.ClientTimeout(total=budget_s, ceil_threshold=math.inf)  # else it waits for the next full second
    asked = http.ask("GET", target.url, headers=headers, loopback=target.loopback, watch=Watch(), within=within)
    async with asked as reply:
        verdict = await _verdict(descriptor.provider, reply, key)
        return _Attempt(verdict=verdict, http_status=reply.status, retry_after=reply.headers.get("retry-after"))


async def _verdict(provider: str, reply: aiohttp.ClientResponse, key: bytes) -> KeyVerdict:
    """Read the reply and say what it means. A key in it outweighs all else, even when the reply breaks off."""
    body = bytearray()
    try:
        whole = await _read(reply, body)
    except (aiohttp.ClientError, OSError):
        if reflects(key, bytes(body), reply.raw_headers, ""):
            return KeyVerdict(OutcomeStatus.REFLECTED)
        raise
    document, text = _parse(bytes(body)) if whole else (None, "")
    if reflects(key, bytes(body), reply.raw_headers, text):
        return KeyVerdict(OutcomeStatus.REFLECTED)
    return classify(provider, ProviderReply(status=reply.status, headers=reply.headers, document=document))


async def _read(reply: aiohttp.ClientResponse, body: bytearray) -> bool:
    """Fill ``body`` and return whether it is the whole, plain body."""
    async for chunk in reply.content.iter_any():
        body += chunk[: MAX_BODY + 1 - len(body)]
        if len(body) > MAX_BODY:
            return False
    return not is_packed(reply)


def _parse(body: bytes) -> tuple[dict[str, Any] | None, str]:
    """Return the body as a JSON object, and its text without escapes; (None, "") when it is none."""
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False)  # whatever a key may hide in
    except (ValueError, RecursionError):
        return None, ""
    try:
        document = read_json(body)
    except ValueError:
        return None, text
    return (document if isinstance(document, dict) else None), text
