"""kie.ai, simulated: a refused key is HTTP 200 with an error code in the body.

Rules
- Only the rate limit is also an HTTP status.
"""

from __future__ import annotations

from typing import Final

from byokeep_sim.reply import SimCall, SimKeyState, SimReply, Vendor, route

_MESSAGES: Final = {
    401: "You do not have access permissions",
    402: "Insufficient credits",
    404: "Not found",
    422: "Bad parameter",
    429: "Rate limited",
    455: "Service unavailable: maintenance",
    500: "Server error",
    505: "Feature disabled",
}
_CODE: Final = {
    None: 401,
    SimKeyState.REVOKED: 401,
    SimKeyState.LEAKED: 401,
    SimKeyState.DISABLED: 401,
    SimKeyState.RESTRICTED: 505,
    SimKeyState.GEO_BLOCKED: 505,
    SimKeyState.RATE_LIMITED: 429,
    SimKeyState.BILLING_BLOCKED: 402,
    SimKeyState.MAINTENANCE: 455,
}


def _coded(code: int, status: int = 200) -> SimReply:
    return SimReply(status=status, body={"code": code, "msg": _MESSAGES.get(code, "error"), "data": None})


def error(status: int) -> SimReply:
    """Return kie's error body under an HTTP status; 200 carries code 500."""
    return _coded(500 if status == 200 else status, status)


def answer(call: SimCall) -> SimReply:
    """Answer one call."""
    code = _CODE.get(call.state)
    if call.state is SimKeyState.NO_CREDIT and call.route != "credit":
        code = 402
    if code == 429:
        return _coded(429, 429)
    if code is not None:
        return _coded(code)
    if call.route == "credit":
        balance = 0 if call.state is SimKeyState.NO_CREDIT else 738.5
        return SimReply(status=200, body={"code": 200, "msg": "success", "data": balance})
    return SimReply(status=200, body={"code": 200, "msg": "success", "data": {"taskId": f"task_sim_{call.seq}"}})


VENDOR: Final = Vendor(
    name="kie",
    key_headers=(("authorization", "Bearer "),),
    routes=(
        route("GET", r"/api/v1/chat/credit", "credit"),
        route("POST", r"/api/v1/jobs/createTask", "create_task"),
        route("GET", r"/api/v1/jobs/recordInfo", "record_info"),
    ),
    answer=answer,
    error=error,
    extra_states=frozenset({SimKeyState.MAINTENANCE}),
)
