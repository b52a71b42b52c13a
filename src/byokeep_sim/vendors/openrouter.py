"""OpenRouter, simulated: the key endpoint answers with a label made from the key, masked.

Rules
- ``GET /models`` is public, so it says nothing about a key; a test of a key must not use it.
"""

from __future__ import annotations

from typing import Final

from byokeep_sim.reply import SimCall, SimKeyState, SimReply, Vendor, masked, route

_LIMITS: Final = {"x-ratelimit-limit": "20", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1767225600000"}


def error(status: int, message: str = "simulated error") -> SimReply:
    """Return OpenRouter's error body for a status."""
    body: dict[str, object] = {"code": status, "message": message}
    if status == 429:
        body["metadata"] = {"error_type": "rate_limit_exceeded"}
    return SimReply(status=status, body={"error": body}, headers=_LIMITS if status == 429 else {})


def _refusal(call: SimCall) -> SimReply | None:
    match call.state:
        case None | SimKeyState.REVOKED | SimKeyState.LEAKED | SimKeyState.DISABLED:
            return error(401, "No auth credentials found" if not call.key else "User not found.")
        case SimKeyState.RESTRICTED | SimKeyState.GEO_BLOCKED:
            return error(403, "Access denied by a guardrail.")
        case SimKeyState.RATE_LIMITED:
            return error(429, "Rate limit exceeded").with_headers(retry_after="1")
        case SimKeyState.BILLING_BLOCKED:
            return error(402, "Insufficient credits")
        case SimKeyState.NO_CREDIT | SimKeyState.CAP_REACHED if call.route != "key":
            return error(402, "Insufficient credits")
        case SimKeyState.MANAGEMENT if call.route != "key":
            return error(403, "Management keys cannot be used for completions.")
        case _:
            return None


def _key(call: SimCall) -> SimReply:
    capped = call.state is SimKeyState.CAP_REACHED
    data = {
        "label": masked(call.key, 12, 4, "..."),
        "limit": 10 if capped else None,
        "limit_remaining": 0 if capped else None,
        "limit_reset": None,
        "usage": 10 if capped else 1.25,
        "usage_daily": 0,
        "usage_weekly": 0,
        "usage_monthly": 1.25,
        "byok_usage": 0,
        "is_free_tier": False,
        "is_management_key": call.state is SimKeyState.MANAGEMENT,
        "is_provisioning_key": call.state is SimKeyState.MANAGEMENT,
        "creator_user_id": call.account,
        "expires_at": None,
        "include_byok_in_limit": False,
        "rate_limit": {"requests": -1, "interval": "10s", "note": "deprecated"},
    }
    return SimReply(status=200, body={"data": data})


def answer(call: SimCall) -> SimReply:
    """Answer one call."""
    if call.route == "models":
        return SimReply(status=200, body={"data": [{"id": "vendor/model-sim-1", "name": "Model Sim 1"}]})
    refusal = _refusal(call)
    if refusal is not None:
        return refusal
    if call.route == "key":
        return _key(call)
    choice = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
    body = {
        "id": f"gen-sim-{call.seq}",
        "object": "chat.completion",
        "model": "vendor/model-sim-1",
        "choices": [choice],
    }
    return SimReply(status=200, body=body)


VENDOR: Final = Vendor(
    name="openrouter",
    key_headers=(("authorization", "Bearer "),),
    routes=(
        route("GET", r"/api/v1/key", "key"),
        route("GET", r"/api/v1/models", "models"),
        route("POST", r"/api/v1/chat/completions", "chat"),
    ),
    answer=answer,
    error=error,
    extra_states=frozenset({SimKeyState.MANAGEMENT, SimKeyState.CAP_REACHED}),
)
