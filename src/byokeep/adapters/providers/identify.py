"""Asks a provider, once and read-only, whether it knows a key, and says what its answer means.

Rules
- One GET. Only 429 and 5xx are retried, at most twice, and never earlier than the provider says.
- It goes to the provider's own host over HTTPS or, where overriding is allowed, to a loopback address. Names are judged
  twice: as written, and by the addresses that they resolve to. The key is in one header, the provider's; anywhere else
  the request is refused before it is sent.
- No redirect is followed, no more than 256 KiB is read, no compressed body is unpacked.
- A status alone never verifies: ``verified`` needs a 200 and a body of the published form. What a provider does not
  explain keeps the meaning of its HTTP status. A live key that was refused is a reason of its own.
- A reply that holds the key, or a run of 20 characters of it, in any encoding, is ``reflected``. A masked label (12 and
  4 of 73) is normal.
- Every failure becomes a status. No exception, text or header of a reply leaves, and the account id only as a hash.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote_to_bytes, urlencode

import aiohttp

from byokeep.adapters.providers.descriptor import ProviderDescriptor, check_format
from byokeep.core.canonical import read_json
from byokeep.core.errors import Rejected
from byokeep.core.secret import Secret
from byokeep.kernel.ports import CheckOutcome, OutcomeStatus
from byokeep.wire.transport import Outbound, Watch, is_packed, loopback_base, not_allowed

_LONGEST_ID: Final = 256


S: TypeAlias = OutcomeStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderReply:
    """A reply as read. ``document`` is the parsed body, None if it was no JSON object or was cut off."""

    status: int
    headers: Mapping[str, str]
    document: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class KeyVerdict:
    """What a reply means. ``account_id`` is in clear, to be hashed by the caller."""

    status: S
    account_id: str | None = None


def classify(provider: str, seen: ProviderReply) -> KeyVerdict:
    """Return what this provider's reply means. Raises KeyError for an unknown provider."""
    if 300 <= seen.status < 400:
        return KeyVerdict(S.REDIRECT_REFUSED)
    if seen.status in (401, 403) and not _error(seen) and (seen.document or {}).get("code") != seen.status:
        return KeyVerdict(S.UNEXPECTED_STATUS)  # a provider says why: this may be somebody's on the way there
    if seen.status != 200:
        return KeyVerdict(_REFUSALS[provider](seen) if provider in _REFUSALS else by_status(seen.status))
    body = seen.document
    if body is None or (provider != "kie" and body.get("error")):
        return KeyVerdict(S.MALFORMED)
    return _SUCCESSES[provider](seen, body)


def by_status(status: int) -> S:
    """Return the meaning of an HTTP status that the provider does not explain."""
    if status >= 500:
        return S.PROVIDER_DOWN
    known = {
        401: S.INVALID_KEY,
        402: S.NO_CREDIT,
        403: S.FORBIDDEN,
        404: S.NOT_FOUND,
        408: S.TIMEOUT,
        429: S.RATE_LIMITED,
    }
    return known.get(status, S.MALFORMED if 200 <= status < 300 else S.UNEXPECTED_STATUS)


def _error(seen: ProviderReply) -> Mapping[str, Any]:
    error = (seen.document or {}).get("error")
    return error if isinstance(error, dict) else {}


def _text(where: Mapping[str, Any], name: str) -> str:
    value = where.get(name)
    return value if isinstance(value, str) else ""


def _id(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and value.isprintable() else None


def _number(value: object) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    with suppress(OverflowError):
        return float(value) if math.isfinite(value) else None
    return None


def _listed(value: object, name: str, expected: str | None = None) -> bool:
    """Whether a value is a list whose items all have the field; an empty list proves nothing."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(i, dict) and _text(i, name) and expected in (None, i[name]) for i in value)


def _anthropic_refusal(seen: ProviderReply) -> S:
    error = _error(seen)
    kind = _text(error, "type")
    if kind == "billing_error":
        return S.NO_CREDIT
    if seen.status == 400 and _text(error, "message").lower().startswith("your credit balance is too low"):
        return S.NO_CREDIT
    if seen.status == 404 and kind == "not_found_error":
        return S.DISABLED
    return by_status(seen.status)


def _anthropic(seen: ProviderReply, body: Mapping[str, Any]) -> KeyVerdict:
    if not _listed(body.get("data"), "type", "model"):
        return KeyVerdict(S.MALFORMED)
    return KeyVerdict(S.VERIFIED, _id(seen.headers.get("anthropic-organization-id")))


def _openai_refusal(seen: ProviderReply) -> S:
    error = _error(seen)
    message, code = _text(error, "message").lower(), _text(error, "code")
    if code == "invalid_api_key":
        return S.INVALID_KEY
    if seen.status in (401, 403) and ("missing scopes" in message or "insufficient permissions" in message):
        return S.RESTRICTED_BUT_LIVE
    if seen.status == 401 and (message.startswith("ip ") or " ip " in message or "member of an organi" in message):
        return S.FORBIDDEN
    if seen.status == 403 and (code.startswith("unsupported_country") or "country" in message):
        return S.GEO_BLOCKED
    quota = {"insufficient_quota", "credit_balance_exhausted"}
    if seen.status == 429 and quota & {_text(error, "type"), code}:
        return S.NO_CREDIT
    return S.UNEXPECTED_STATUS if seen.status == 401 else by_status(seen.status)  # a live key gets 401 for much


def _openai(seen: ProviderReply, body: Mapping[str, Any]) -> KeyVerdict:
    if body.get("object") != "list" or not _listed(body.get("data"), "id"):
        return KeyVerdict(S.MALFORMED)
    return KeyVerdict(S.VERIFIED, _id(seen.headers.get("openai-organization")))


def _google_refusal(seen: ProviderReply) -> S:
    error = _error(seen)
    message = _text(error, "message").lower()
    details = error.get("details")
    reasons = {_text(d, "reason") for d in details if isinstance(d, dict)} if isinstance(details, list) else set()
    if seen.status == 400:
        if "API_KEY_INVALID" in reasons or "api key not valid" in message or "api key not found" in message:
            return S.INVALID_KEY
        return S.GEO_BLOCKED if _text(error, "status") == "FAILED_PRECONDITION" else S.UNEXPECTED_STATUS
    if seen.status == 401 and "ACCESS_TOKEN_TYPE_UNSUPPORTED" in reasons:
        return S.UNEXPECTED_STATUS  # some accounts get it for live keys
    if seen.status == 403 and "reported as leaked" in message:
        return S.LEAKED
    if seen.status == 403 and any(r.startswith("API_KEY_") and r.endswith("_BLOCKED") for r in reasons):
        return S.RESTRICTED_BUT_LIVE
    return by_status(seen.status)


def _google(seen: ProviderReply, body: Mapping[str, Any]) -> KeyVerdict:
    return KeyVerdict(S.VERIFIED if _listed(body.get("models"), "name") else S.MALFORMED)


def _openrouter(seen: ProviderReply, body: Mapping[str, Any]) -> KeyVerdict:
    data = body.get("data")
    if not isinstance(data, dict) or not _text(data, "label") or _number(data.get("usage")) is None:
        return KeyVerdict(S.MALFORMED)
    account = _id(data.get("creator_user_id"))
    if data.get("is_management_key") is True or data.get("is_provisioning_key") is True:
        return KeyVerdict(S.WRONG_KEY_KIND)
    left = _number(data.get("limit_remaining"))
    return KeyVerdict(S.VERIFIED_NO_QUOTA if left is not None and left <= 0 else S.VERIFIED, account)


_KIE_CODES: Final[Mapping[int, S]] = MappingProxyType({455: S.PROVIDER_DOWN, 505: S.FORBIDDEN})


def _kie(seen: ProviderReply, body: Mapping[str, Any]) -> KeyVerdict:
    code, balance = body.get("code"), _number(body.get("data"))
    if isinstance(code, bool) or not isinstance(code, int):
        return KeyVerdict(S.MALFORMED)
    if code != 200:
        return KeyVerdict(_KIE_CODES.get(code) or by_status(code))
    if balance is None:
        return KeyVerdict(S.MALFORMED)
    return KeyVerdict(S.VERIFIED if balance > 0 else S.VERIFIED_NO_QUOTA)


def _heygen_refusal(seen: ProviderReply) -> S:
    code = _text(_error(seen), "code")
    if code == "insufficient_credit" or (seen.status == 429 and code == "quota_exceeded"):
        return S.NO_CREDIT
    return by_status(seen.status)


def _heygen_left(data: Mapping[str, Any]) -> float | None:
    """Return what is left under the billing type in force, None if the reply does not say."""

    def part(where: object, name: str) -> Any:
        return where.get(name) if isinstance(where, dict) else None

    kind = data.get("billing_type")
    if kind == "wallet":
        return _number(part(data.get("wallet"), "remaining_balance"))
    if kind == "usage_based":
        return _number(part(data.get("usage_based"), "remaining_credits"))
    credits_ = part(data.get("subscription"), "credits")
    premium = _number(part(part(credits_, "premium_credits"), "remaining"))
    added = part(credits_, "add_on_credits")
    extra = _number(part(added, "remaining") if isinstance(added, dict) else added)
    return None if premium is None else premium + (extra or 0.0)


def _heygen(seen: ProviderReply, body: Mapping[str, Any]) -> KeyVerdict:
    data = body.get("data")
    if not isinstance(data, dict) or not _text(data, "username"):
        return KeyVerdict(S.MALFORMED)
    left = _heygen_left(data)
    account = _id(f"{data['username']}|{_text(data, 'email').lower()}")
    return KeyVerdict(S.VERIFIED_NO_QUOTA if left is not None and left <= 0 else S.VERIFIED, account)


_REFUSALS: Final[Mapping[str, Callable[[ProviderReply], S]]] = MappingProxyType(
    {
        "anthropic": _anthropic_refusal, "openai": _openai_refusal, "google": _google_refusal,
        "heygen": _heygen_refusal, "kie": lambda seen: _KIE_CODES.get(seen.status) or by_status(seen.status),
    }
)  # fmt: skip
_SUCCESSES: Final[Mapping[str, Callable[[ProviderReply, Mapping[str, Any]], KeyVerdict]]] = MappingProxyType(
    {
        "anthropic": _anthropic,
        "openai": _openai,
        "google": _google,
        "openrouter": _openrouter,
        "kie": _kie,
        "heygen": _heygen,
    }
)


_RUN: Final = 20


def reflects(key: bytes, body: bytes, headers: Iterable[tuple[bytes, bytes]], text: str) -> bool:
    """Whether the reply holds the key raw, percent-encoded, JSON-escaped, in hex or in base64.

    Args:
        key: ASCII key, at least 8 bytes.
        body: The bytes that were read.
        headers: Raw header pairs.
        text: The body's JSON written without escapes, empty if it was no JSON.
    """
    texts = [body, text.encode("utf-8", "surrogatepass"), *(name + b": " + value for name, value in headers)]
    joined = b"\n".join(texts)
    views = (joined, unquote_to_bytes(joined.replace(b"+", b"%2B")))
    needles = [*_runs(key), *_base64_forms(key)]
    return any(needle in view for view in views for needle in needles) or key.hex().encode() in joined.lower()


def _runs(key: bytes) -> list[bytes]:
    # A key shorter than two runs is compared as a whole, so that its masked form does not count.
    if len(key) < 2 * _RUN:
        return [key]
    return [key[at : at + _RUN] for at in range(len(key) - _RUN + 1)]


def _base64_forms(key: bytes) -> list[bytes]:
    """Return what the three alignments have in common, in both alphabets."""
    forms = []
    for pad in range(3):
        whole = base64.b64encode(bytes(pad) + key)
        # Characters that also encode bits from before or after the key are left out.
        inner = whole[(0, 2, 3)[pad] : (pad + len(key)) * 8 // 6]
        forms += [inner, inner.replace(b"+", b"-").replace(b"/", b"_")]
    return forms


def resolve(descriptor: ProviderDescriptor, base_url: str | None, *, allow_loopback: bool) -> tuple[str, bool]:
    """Return the identity URL, and whether it is on this machine.

    Args:
        base_url: Configured override, a simulator's address; None for the provider's own host.
        allow_loopback: Whether there may be an override; never in production.

    Raises:
        Rejected: ``bad_base_url``, ``host_not_allowed``.
    """
    if base_url and not allow_loopback:
        raise not_allowed()
    base = loopback_base(base_url) if base_url else descriptor.base_url
    query = f"?{urlencode(descriptor.query)}" if descriptor.query else ""
    return base + descriptor.path + query, bool(base_url)


def guard(descriptor: ProviderDescriptor, url: str, headers: Mapping[str, str], key: bytes) -> None:
    """Refuse a request that carries the key anywhere but in the provider's header.

    Raises:
        Rejected: ``secret_in_url``, ``secret_in_wrong_place``.
    """
    if key in url.encode() or quote(key, safe="") in url:
        raise Rejected("secret_in_url", provider=descriptor.provider)
    carriers = [name.lower() for name, value in headers.items() if key in value.encode()]
    if carriers != [descriptor.auth_header]:
        raise Rejected("secret_in_wrong_place", provider=descriptor.provider)


MAX_ATTEMPTS: Final = 3
MAX_BODY: Final = 256 * 1024
MAX_RETRY_AFTER_S: Final = 5.0
_FIRST_WAIT_S: Final = 0.2
_RETRIED: Final = frozenset({OutcomeStatus.RATE_LIMITED, OutcomeStatus.PROVIDER_DOWN})
_JITTER: Final = random.SystemRandom()


async def identify(
    descriptor: ProviderDescriptor,
    secret: Secret,
    *,
    base_url: str | None,
    http: Outbound,
    account_hasher: Callable[[str], str],
    allow_loopback: bool = False,
    deadline_s: float = 15.0,
    short_lived: bool = False,
) -> CheckOutcome:
    """Make the identity call.

    Args:
        short_lived: It is not a key, but what an identity token was exchanged for.
        base_url: Configured override of the provider's address, None for its own.
        account_hasher: Keyed hash; takes ``provider:account id`` and returns what may be stored.
        allow_loopback: Whether ``base_url`` may be a loopback address; never in production.
        deadline_s: Seconds for all attempts and the waits between them.

    Raises:
        Rejected: Because of the address or the key nothing was sent: ``host_not_allowed``, ``bad_base_url``,
            ``secret_in_url``, ``secret_in_wrong_place``, or a code of :func:`check_format`.
    """
    url, loopback = resolve(descriptor, base_url, allow_loopback=allow_loopback)
    key = secret.reveal()
    if short_lived and (exchange := descriptor.keyless) is not None:
        extra = {**descriptor.extra_headers, **exchange.extra}
        descriptor = replace(
            descriptor, auth_header=exchange.header, auth_prefix=exchange.prefix, extra_headers=extra
        )  # fmt: skip
    else:
        check_format(descriptor.provider, key, accept_shape_mismatch=True)
    headers = {**descriptor.extra_headers, descriptor.auth_header: descriptor.auth_prefix + key.decode("ascii")}
    guard(descriptor, url, headers, key)
    ends, attempts = time.monotonic() + deadline_s, 0
    while True:
        attempts += 1
        began, status, wait_s = time.monotonic(), None, None
        left_s = max(ends - began, 0.001)
        within = aiohttp.ClientTimeout(total=left_s, ceil_threshold=math.inf)  # otherwise it rounds up to a full second
        try:
            async with http.ask("GET", url, headers=headers, loopback=loopback, watch=Watch(), within=within) as reply:
                verdict = await _verdict(descriptor.provider, reply, key)
                status, wait_s = reply.status, _wait(verdict.status, reply.headers.get("retry-after"), attempts)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as problem:
            verdict = KeyVerdict(_failure(problem))
        now, account = time.monotonic(), verdict.account_id
        if wait_s is None or now + wait_s >= ends:
            return CheckOutcome(
                status=verdict.status, http_status=status, latency_ms=int((now - began) * 1000),
                account_hash=account_hasher(f"{descriptor.provider}:{account}") if account else None,
                endpoint=descriptor.endpoint, attempts=attempts,
            )  # fmt: skip
        await asyncio.sleep(wait_s)


def _wait(status: OutcomeStatus, asked: str | None, attempts: int) -> float | None:
    """Return the seconds before the next attempt, None if there is none."""
    if status not in _RETRIED or attempts >= MAX_ATTEMPTS:
        return None
    if asked is None:
        return float(_FIRST_WAIT_S * 2 ** (attempts - 1) * _JITTER.uniform(0.5, 1.5))
    # A date, or more than we are willing to wait, means: not now.
    if not (asked.isascii() and asked.isdigit() and len(asked) <= 3 and float(asked) <= MAX_RETRY_AFTER_S):
        return None
    return float(asked) + _JITTER.uniform(0.01, 0.1)


def _failure(problem: BaseException) -> OutcomeStatus:
    if isinstance(problem, TimeoutError):
        return OutcomeStatus.TIMEOUT
    if isinstance(problem, aiohttp.ClientSSLError):
        return OutcomeStatus.TLS_ERROR
    down = isinstance(problem, OSError | aiohttp.ClientPayloadError)  # a reply that breaks off says nothing
    return OutcomeStatus.PROVIDER_DOWN if down else OutcomeStatus.MALFORMED


async def _verdict(provider: str, reply: aiohttp.ClientResponse, key: bytes) -> KeyVerdict:
    """Read the reply and say what it means. A key in it outweighs everything else, even if the reply breaks off."""
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
    """Fill ``body``; return whether it is the whole, uncompressed body."""
    async for chunk in reply.content.iter_any():
        body += chunk[: MAX_BODY + 1 - len(body)]
        if len(body) > MAX_BODY:
            return False
    return not is_packed(reply)


def _parse(body: bytes) -> tuple[dict[str, Any] | None, str]:
    """Return the body as a JSON object, and its text without escapes; (None, "") if it is not one."""
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False)  # a key may hide in any of it
    except (ValueError, RecursionError):
        return None, ""
    try:
        document = read_json(body)
    except ValueError:
        return None, text
    return (document if isinstance(document, dict) else None), text
