"""Reads each provider's replies. One function per provider, from a reply to a verdict.

Rules
- A status alone never verifies: the body must have the published form.
- Texts are compared, never kept. The account id in a verdict is hashed before it leaves the room.
- What a provider does not explain keeps the meaning of its HTTP status.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from byokeep.adapters.providers.outcome import OutcomeStatus as S

_LONGEST_ID: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderReply:
    """A reply as read: ``document`` is the parsed body, None when it was no JSON object or was cut off."""

    status: int
    headers: Mapping[str, str]
    document: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class KeyVerdict:
    """What a reply means; ``account_id`` in clear, to be hashed by the caller."""

    status: S
    account_id: str | None = None


def classify(provider: str, seen: ProviderReply) -> KeyVerdict:
    """Return what this provider's reply means. Raises KeyError for an unknown provider."""
    if 300 <= seen.status < 400:
        return KeyVerdict(S.REDIRECT_REFUSED)
    if seen.status != 200:
        return KeyVerdict(_REFUSALS.get(provider, _plain_refusal)(seen))
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


def _plain_refusal(seen: ProviderReply) -> S:
    return by_status(seen.status)


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
    return float(value) if math.isfinite(value) else None


def _listed(value: object, name: str, expected: str | None = None) -> bool:
    """Whether value is a list with items that all have the field; an empty list proves nothing."""
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
    return by_status(seen.status)


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
    """Return what is left under the billing type in force, None when the reply does not say."""

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
        "anthropic": _anthropic_refusal,
        "openai": _openai_refusal,
        "google": _google_refusal,
        "heygen": _heygen_refusal,
    }
)
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
