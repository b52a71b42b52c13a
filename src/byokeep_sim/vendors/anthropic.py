"""Anthropic, simulated: missing credit is HTTP 400, and the model list does not reveal it.

Rules
- The organization id is a response header on every answer to a known key.
- A token may come as a bearer too: so the vendor's package sends what it is given as `auth_token`.
"""

from __future__ import annotations

from typing import Final

from byokeep_sim.reply import SimCall, SimKeyState, SimReply, Vendor, route

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_NO_CREDIT: Final = (
    "Your credit balance is too low to access the Anthropic API. "
    "Please go to Plans & Billing to upgrade or purchase credits."
)
_LIMITS: Final = {
    f"anthropic-ratelimit-{kind}-{part}": value
    for kind in ("requests", "tokens", "input-tokens", "output-tokens")
    for part, value in (("limit", "1000"), ("remaining", "999"), ("reset", "2030-01-01T00:00:00Z"))
}


def error(status: int, message: str = "simulated error") -> SimReply:
    """Return Anthropic's error body for a status."""
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_sim"}
    return SimReply(status=status, body=body, headers={"request-id": "req_sim"})


def _refusal(call: SimCall) -> SimReply | None:
    match call.state:
        case None | SimKeyState.REVOKED | SimKeyState.LEAKED:
            return error(401, "invalid x-api-key")
        case SimKeyState.DISABLED:
            return error(404, "not found")
        case SimKeyState.RESTRICTED:
            return error(403, "Your API key does not have permission to use the specified resource.")
        case SimKeyState.GEO_BLOCKED:
            return error(403, "Request not allowed")
        case SimKeyState.RATE_LIMITED:
            return error(429, "This request would exceed your rate limit.").with_headers(retry_after="1", **_limits())
        case SimKeyState.BILLING_BLOCKED:
            return error(400, _NO_CREDIT)
        case SimKeyState.NO_CREDIT if call.route != "models":
            return error(400, _NO_CREDIT)
        case _:
            return None


def _limits() -> dict[str, str]:
    return dict(_LIMITS)


def _success(call: SimCall) -> SimReply:
    if call.route == "models":
        model = {
            "type": "model",
            "id": "claude-sim-1",
            "display_name": "Claude Sim 1",
            "created_at": "2026-01-01T00:00:00Z",
        }
        body = {"data": [model], "has_more": True, "first_id": "claude-sim-1", "last_id": "claude-sim-1"}
        return SimReply(status=200, body=body)
    if call.route == "count_tokens":
        return SimReply(status=200, body={"input_tokens": 1})
    message = {
        "id": f"msg_sim_{call.seq}",
        "type": "message",
        "role": "assistant",
        "model": "claude-sim-1",
        "content": [{"type": "text", "text": "ok"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    return SimReply(status=200, body=message, headers=_LIMITS)


def answer(call: SimCall) -> SimReply:
    """Answer one call."""
    reply = _refusal(call)
    if reply is None and "anthropic-version" not in call.headers:
        reply = error(400, "anthropic-version: header is required")
    reply = (reply or _success(call)).with_headers(request_id=f"req_sim_{call.seq}")
    if call.state not in (None, SimKeyState.REVOKED, SimKeyState.LEAKED):
        reply = reply.with_headers(anthropic_organization_id=call.account)
    return reply


VENDOR: Final = Vendor(
    name="anthropic",
    key_headers=(("x-api-key", ""), ("authorization", "Bearer ")),
    routes=(
        route("GET", r"/v1/models", "models"),
        route("POST", r"/v1/messages", "messages"),
        route("POST", r"/v1/messages/count_tokens", "count_tokens"),
    ),
    answer=answer,
    error=error,
)
