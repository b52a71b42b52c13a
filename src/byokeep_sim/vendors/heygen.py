"""HeyGen, simulated: who am I and what is left come in one answer, with personal data in it.

Rules
- Errors have the v3 shape; the code text is lower snake case.
"""

from __future__ import annotations

from typing import Final

from byokeep_sim.reply import SimCall, SimKeyState, SimReply, Vendor, route

_CODES: Final = {
    400: "invalid_parameter",
    401: "unauthorized",
    402: "insufficient_credit",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    413: "payload_too_large",
    429: "rate_limit_exceeded",
}


def error(status: int, code: str = "") -> SimReply:
    """Return HeyGen's v3 error body for a status."""
    name = code or _CODES.get(status, "internal_error" if status >= 500 else "invalid_parameter")
    return SimReply(
        status=status,
        body={"error": {"code": name, "message": "simulated error", "param": None, "doc_url": None}},
    )


def _refusal(call: SimCall) -> SimReply | None:
    match call.state:
        case None | SimKeyState.REVOKED | SimKeyState.LEAKED | SimKeyState.DISABLED:
            return error(401)
        case SimKeyState.RESTRICTED | SimKeyState.GEO_BLOCKED:
            return error(403, "resource_access_denied")
        case SimKeyState.RATE_LIMITED:
            return error(429).with_headers(retry_after="1")
        case SimKeyState.BILLING_BLOCKED:
            return error(402)
        case SimKeyState.NO_CREDIT if call.route == "generate":
            return error(402)
        case _:
            return None


def answer(call: SimCall) -> SimReply:
    """Answer one call."""
    refusal = _refusal(call)
    if refusal is not None:
        return refusal
    left = 0 if call.state is SimKeyState.NO_CREDIT else 48.5
    if call.route == "generate":
        return SimReply(status=200, body={"error": None, "data": {"video_id": f"video_sim_{call.seq}"}})
    if call.route == "quota":
        return SimReply(status=200, body={"error": None, "data": {"remaining_quota": int(left * 60)}})
    data = {
        "username": call.account,
        "email": f"{call.account}@example.test",
        "first_name": "Sim",
        "last_name": "Person",
        "billing_type": "wallet",
        "wallet": {"currency": "credits", "remaining_balance": left, "auto_reload": None},
        "subscription": None,
        "usage_based": None,
    }
    return SimReply(status=200, body={"data": data})


VENDOR: Final = Vendor(
    name="heygen",
    key_headers=(("x-api-key", ""),),
    routes=(
        route("GET", r"/v3/users/me", "me"),
        route("GET", r"/v2/user/remaining_quota", "quota"),
        route("POST", r"/v2/video/generate", "generate"),
    ),
    answer=answer,
    error=error,
)
