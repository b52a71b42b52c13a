"""Google Gemini, simulated: a bad key is HTTP 400 for one key kind and 401 for the other.

Rules
- ``?key=`` is accepted, as by the real service, so that the request log can show who uses it.
"""

from __future__ import annotations

from typing import Final

from byokeep_sim.reply import SimCall, SimKeyState, SimReply, Vendor, route

_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def error(status: int, message: str = "simulated error", *, name: str = "", reason: str = "") -> SimReply:
    """Return Google's error body for a status."""
    body: dict[str, object] = {"code": status, "message": message, "status": name or _STATUS.get(status, "UNKNOWN")}
    if reason:
        body["details"] = [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": reason,
                "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"},
            }
        ]
    return SimReply(status=status, body={"error": body})


def _invalid(call: SimCall) -> SimReply:
    if not call.key:
        return error(403, "Method doesn't allow unregistered callers.")
    if call.key.startswith("AQ."):
        return error(401, "Request had invalid authentication credentials.")
    text = "API key not valid. Please pass a valid API key."
    return error(400, text, reason="API_KEY_INVALID")


def _refusal(call: SimCall) -> SimReply | None:
    if call.both_credentials:
        return error(400, "Multiple authentication credentials received. Please pass only one.")
    match call.state:
        case None | SimKeyState.REVOKED | SimKeyState.DISABLED:
            return _invalid(call)
        case SimKeyState.LEAKED:
            return error(403, "Your API key was reported as leaked. Please use another API key.")
        case SimKeyState.RESTRICTED:
            text = "Requests to this API method are blocked."
            return error(403, text, reason="API_KEY_SERVICE_BLOCKED")
        case SimKeyState.GEO_BLOCKED:
            text = "User location is not supported for the API use without billing."
            return error(400, text, name="FAILED_PRECONDITION")
        case SimKeyState.RATE_LIMITED | SimKeyState.BILLING_BLOCKED:
            return error(429, "Resource has been exhausted (e.g. check quota).")
        case SimKeyState.NO_CREDIT if call.route != "models":
            return error(429, "Resource has been exhausted (e.g. check quota).")
        case _:
            return None


def answer(call: SimCall) -> SimReply:
    """Answer one call."""
    refusal = _refusal(call)
    if refusal is not None:
        return refusal
    if call.route == "models":
        model = {"name": "models/gemini-sim-1", "version": "1", "displayName": "Gemini Sim 1"}
        return SimReply(status=200, body={"models": [model], "nextPageToken": "next"})
    if call.route == "count_tokens":
        return SimReply(status=200, body={"totalTokens": 1})
    candidate = {"content": {"role": "model", "parts": [{"text": "ok"}]}, "finishReason": "STOP", "index": 0}
    return SimReply(status=200, body={"candidates": [candidate], "modelVersion": "gemini-sim-1"})


VENDOR: Final = Vendor(
    name="google",
    key_headers=(("x-goog-api-key", ""),),
    key_query="key",
    routes=(
        route("GET", r"/v1(?:beta)?/models", "models"),
        route("POST", r"/v1(?:beta)?/models/[A-Za-z0-9._-]+:generateContent", "generate"),
        route("POST", r"/v1(?:beta)?/models/[A-Za-z0-9._-]+:countTokens", "count_tokens"),
    ),
    answer=answer,
    error=error,
)
