"""OpenAI, simulated: a restricted key gets 401 although it is alive, an empty account gets 429.

Rules
- The 401 text echoes a masked form of the key, as the real one does.
"""

from __future__ import annotations

from typing import Final

from byokeep_sim.reply import SimCall, SimKeyState, SimReply, Vendor, masked, route

_MISSING_SCOPES: Final = (
    "You have insufficient permissions for this operation. Missing scopes: api.model.read. Check that you have the "
    "correct role in your organization and project, and if you're using a restricted API key, that it has the "
    "necessary scopes."
)
_LIMITS: Final = {
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-limit-tokens": "30000",
    "x-ratelimit-remaining-requests": "499",
    "x-ratelimit-remaining-tokens": "29999",
    "x-ratelimit-reset-requests": "120ms",
    "x-ratelimit-reset-tokens": "6m0s",
}
_CODES: Final = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "forbidden"),
    404: ("invalid_request_error", "unknown_url"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}


def _error(status: int, message: str, kind: str, code: str | None) -> SimReply:
    return SimReply(status=status, body={"error": {"message": message, "type": kind, "param": None, "code": code}})


def error(status: int) -> SimReply:
    """Return OpenAI's error body for a status."""
    default = ("server_error", None) if status >= 500 else ("invalid_request_error", None)
    kind, code = _CODES.get(status, default)
    return _error(status, "simulated error", kind, code)


def _refusal(call: SimCall) -> SimReply | None:
    match call.state:
        case None if not call.key:
            return _error(401, "You didn't provide an API key.", "invalid_request_error", None)
        case None | SimKeyState.REVOKED | SimKeyState.LEAKED | SimKeyState.DISABLED:
            text = f"Incorrect API key provided: {masked(call.key, 8, 4, '*' * 20)}."
            return _error(401, text, "invalid_request_error", "invalid_api_key")
        case SimKeyState.RESTRICTED if call.route == "models":
            return _error(401, _MISSING_SCOPES, "invalid_request_error", None)
        case SimKeyState.GEO_BLOCKED:
            text = "Country, region, or territory not supported"
            return _error(403, text, "request_forbidden", "unsupported_country_region_territory")
        case SimKeyState.RATE_LIMITED:
            reply = _error(429, "Rate limit reached.", "rate_limit_error", "rate_limit_exceeded")
            return reply.with_headers(retry_after="1", **_LIMITS)
        case SimKeyState.BILLING_BLOCKED:
            return _quota()
        case SimKeyState.NO_CREDIT if call.route != "models":
            return _quota()
        case _:
            return None


def _quota() -> SimReply:
    return _error(429, "You exceeded your current quota.", "insufficient_quota", "insufficient_quota")


def _success(call: SimCall) -> SimReply:
    if call.route == "models":
        model = {"id": "gpt-sim-1", "object": "model", "created": 1767225600, "owned_by": "openai"}
        return SimReply(status=200, body={"object": "list", "data": [model]})
    choice = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
    body = {
        "id": f"chatcmpl-sim-{call.seq}",
        "object": "chat.completion",
        "created": 1767225600,
        "model": "gpt-sim-1",
        "choices": [choice],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    return SimReply(status=200, body=body, headers=_LIMITS)


def answer(call: SimCall) -> SimReply:
    """Answer one call."""
    reply = _refusal(call) or _success(call)
    reply = reply.with_headers(x_request_id=f"req_sim_{call.seq}", openai_version="2020-10-01")
    if reply.status == 200:
        reply = reply.with_headers(openai_organization=call.account, openai_processing_ms="3")
    return reply


VENDOR: Final = Vendor(
    name="openai",
    key_headers=(("authorization", "Bearer "),),
    routes=(route("GET", r"/v1/models", "models"), route("POST", r"/v1/chat/completions", "chat")),
    answer=answer,
    error=error,
)
