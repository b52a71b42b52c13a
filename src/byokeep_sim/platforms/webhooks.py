"""Signed calls that a platform makes to its clients.

Rules
- The signature is over the exact bytes that are sent.
- They go to loopback addresses only.
- Not published, so a guess: the header of LinkedIn's and HeyGen's signature.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp

from byokeep_sim.faults import BadControlError
from byokeep_sim.platforms.oauth import on_loopback

# platform: (header, its form, hash)
_SIGNATURES: Final = {
    "meta": ("X-Hub-Signature-256", "sha256={hex}", "sha256"),
    "instagram": ("X-Hub-Signature-256", "sha256={hex}", "sha256"),
    "tiktok": ("TikTok-Signature", "t={moment},s={hex}", "sha256"),
    "linkedin": ("X-LI-Signature", "{hex}", "sha256"),
    "youtube": ("X-Hub-Signature", "sha1={hex}", "sha1"),
    "x": ("x-twitter-webhooks-signature", "sha256={base64}", "sha256"),
    "heygen": ("signature", "{hex}", "sha256"),
}
SIGNERS: Final = tuple(_SIGNATURES)
_LIMIT_S: Final = 10.0


def _mac(secret: str, message: bytes, name: str = "sha256") -> bytes:
    return hmac.new(secret.encode(), message, name).digest()


def signature(platform: str, secret: str, body: bytes, moment: int) -> dict[str, str]:
    """Return the headers that sign a body.

    Args:
        platform: One of ``SIGNERS``.
        secret: The app's secret; for X the consumer secret, for YouTube the hub's.
        moment: Seconds since 1970; only TikTok signs the time.
    """
    header, form, name = _SIGNATURES[platform]
    mac = _mac(secret, f"{moment}.".encode() + body if platform == "tiktok" else body, name)
    return {header: form.format(hex=mac.hex(), base64=base64.b64encode(mac).decode(), moment=moment)}


def removal(platform: str, secret: str, app: str, user_id: str, reason: int, moment: int) -> tuple[bytes, str]:
    """Return the body of the call after a person removed the app, and its content type.

    Args:
        app: Id of the app.
        reason: TikTok's number: 0 unknown, 1 the person, 2 account deleted, 3 age, 4 banned, 5 the developer.

    Raises:
        BadControlError: The platform tells nobody.
    """
    match platform:
        case "meta" | "instagram":
            document = {"algorithm": "HMAC-SHA256", "issued_at": moment, "user_id": user_id}
            payload = base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=")
            made = base64.urlsafe_b64encode(_mac(secret, payload)).rstrip(b"=")
            return b"signed_request=" + made + b"." + payload, "application/x-www-form-urlencoded"
        case "tiktok":
            event: dict[str, Any] = {
                "client_key": app,
                "event": "authorization.removed",
                "create_time": moment,
                "user_openid": user_id,
                "content": json.dumps({"reason": reason}),
            }
        case "x":
            when = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            revoked = {"user_id": user_id, "app_id": app, "date_time": when}
            event = {"data": {"event_type": "oauth.revoke", "filter": {"user_id": user_id}, "payload": revoked}}
        case _:
            raise BadControlError("meta, instagram, tiktok and x tell when a person removed the app")
    return json.dumps(event).encode(), "application/json"


def challenge(platform: str, secret: str, word: str, verify_token: str) -> tuple[dict[str, str], Any]:
    """Return the query of a call that tests an address, and the right answer: text, or a JSON object.

    Args:
        word: What the answer must repeat or sign.
        verify_token: The word agreed with Meta; the others have none.

    Raises:
        BadControlError: The platform does not test addresses.
    """
    match platform:
        case "meta" | "instagram":
            return {"hub.mode": "subscribe", "hub.verify_token": verify_token, "hub.challenge": word}, word
        case "linkedin":
            answer = {"challengeCode": word, "challengeResponse": _mac(secret, word.encode()).hex()}
            return {"challengeCode": word}, answer
        case "x":
            made = "sha256=" + base64.b64encode(_mac(secret, word.encode())).decode()
            return {"crc_token": word}, {"response_token": made}
        case _:
            raise BadControlError("meta, instagram, linkedin and x test addresses")


async def deliver(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """Send a webhook and return the HTTP status, 0 when nobody answered. Raises BadControlError."""
    return (await _called("POST", url, data=body, headers=headers))[0]


async def ask(url: str, query: Mapping[str, str], right: Any) -> tuple[int, bool]:
    """Test an address; returns the HTTP status and whether the answer was right. Raises BadControlError."""
    status, text = await _called("GET", url, params=query)
    try:
        return status, status == 200 and (text if isinstance(right, str) else json.loads(text)) == right
    except ValueError:
        return status, False


async def _called(method: str, url: str, **sent: Any) -> tuple[int, str]:
    if not url.startswith("http://") or not on_loopback(url):
        raise BadControlError("webhooks go to http addresses on loopback only")
    timeout = aiohttp.ClientTimeout(total=_LIMIT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.request(method, url, allow_redirects=False, **sent) as reply,
        ):
            return reply.status, (await reply.content.read(65_536)).decode(errors="replace")
    except (aiohttp.ClientError, TimeoutError):
        return 0, ""
