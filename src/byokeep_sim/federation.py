"""How the simulated vendors exchange an identity token for a short-lived one of theirs (workload identity federation).

An account trusts one subject of one issuer for one audience, under the ids of a rule. The token's signature is checked
with the issuer's published keys, fetched for each exchange; issuer, audience, subject and times by the rule.

Rules
- RS256 only. No vendor publishes that a token may be shown only once, so a repeat within its life is accepted.
- The short-lived token is a key like any other until its end. Anthropic's is sent as a bearer with its beta header or
  not at all, as that vendor's package says.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp import web

from byokeep_sim.book import Book, SimKeyState
from byokeep_sim.reply import SimReply
from byokeep_sim.vendors import VENDORS

_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
_ID: Final = "urn:ietf:params:oauth:token-type:id_token"
_SHA256_INFO: Final = bytes.fromhex("3031300d060960864801650304020105000420")
_SWAPS: Final[Mapping[str, Any]] = {name: one.table["swap"] for name, one in VENDORS.items() if "swap" in one.table}
TRUSTING: Final = tuple(_SWAPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRule:
    """What an account trusts. ``keys_url`` replaces the address that the issuer's own discovery names."""

    ids: Mapping[str, str]
    issuer: str
    keys_url: str
    audience: str
    subject: str
    account: str
    life_s: int


class Federation:
    """Rules and short-lived tokens of all vendors."""

    def __init__(self, book: Book) -> None:
        self.rules: list[tuple[str, TrustRule]] = []
        self.swaps = 0
        self._book = book
        self._ends: dict[str, float] = {}  # by salted hash

    def reset(self) -> None:
        """Forget everything."""
        self.rules, self.swaps, self._ends = [], 0, {}

    def trust(self, vendor: str, rule: TrustRule) -> None:
        """Add a rule of an account."""
        self.rules.append((vendor, rule))

    def serves(self, vendor: str, method: str, path: str) -> bool:
        """Whether a call is an exchange."""
        return vendor in _SWAPS and (method, path) == ("POST", _SWAPS[vendor]["path"])

    def refuses(self, vendor: str, key: str, headers: Mapping[str, str]) -> bool:
        """Whether a presented key is not shown as its vendor wants it, or is a short-lived token that has expired."""
        end = self._ends.get(self._book.keys.digest(key)) if key else None
        *_, beta = _SWAPS.get(vendor, {}).get("betas", [""])
        if end is None:  # a key, which Anthropic takes in a header of its own
            return bool(beta) and "x-api-key" not in headers
        shown = "authorization" in headers and beta in headers.get("anthropic-beta", "")
        return time.time() >= end or not shown

    async def keys(self, vendor: str, request: web.Request) -> tuple[TrustRule | None, dict[str, str], list[Any]]:
        """Return the rule that a call names, its fields, and the keys that the rule's issuer publishes."""
        swap = _SWAPS[vendor]
        given = await fields_of(request, form=swap.get("form", False))
        fields = {name: text for name, text in given.items() if isinstance(text, str)}
        named = {name: text for name, text in fields.items() if name in swap["ids"]}
        rule = next((one for of, one in self.rules if of == vendor and one.ids == named), None)
        if rule is None:
            return None, fields, []
        async with aiohttp.ClientSession() as http, http.get(rule.keys_url) as reply:
            return rule, fields, (await reply.json())["keys"]

    def answer(
        self,
        vendor: str,
        headers: Mapping[str, str],
        rule: TrustRule | None,
        fields: Mapping[str, str],
        keys: list[Any],
    ) -> SimReply:
        """Answer an exchange."""
        swap, most_s = _SWAPS[vendor], _SWAPS[vendor]["most_s"]
        if any(beta not in headers.get("anthropic-beta", "") for beta in swap.get("betas", ())):
            return _refused(400, "invalid_request")
        typed = swap["field"] != "subject_token" or fields.get("subject_token_type") in (_JWT, _ID)
        if fields.get("grant_type") != swap["grant"] or not typed:
            return _refused(400, "unsupported_grant_type")
        claims = verified(fields.get(swap["field"], ""), keys)
        if rule is None or claims is None or not _fits(claims, rule):
            return _refused(swap["mismatch"], "invalid_grant")
        life_s, token = min(rule.life_s or most_s, most_s), "st_" + secrets.token_urlsafe(48)
        known = self._book.keys.put(vendor, token, SimKeyState.VALID, rule.account)
        self._ends[self._book.keys.digest(token)] = time.time() + life_s
        self.swaps += 1
        body = {"access_token": token, "token_type": "Bearer", "expires_in": life_s}
        return SimReply(status=200, body=body | ({"scope": known.account} if vendor == "openrouter" else {}))


def _fits(claims: Mapping[str, Any], rule: TrustRule) -> bool:
    now, said = time.time(), (claims.get("iss"), claims.get("aud"), claims.get("sub"))
    issued, ends = claims.get("iat"), claims.get("exp")
    timely = isinstance(issued, int) and isinstance(ends, int) and issued <= now + 60 and now < ends
    return timely and said == (rule.issuer, rule.audience, rule.subject)


def verified(token: str, keys: list[Any]) -> dict[str, Any] | None:
    """Return the claims of a token that one of the keys signed, None when none did."""
    try:
        head, body, signature = token.split(".")
        header = json.loads(_unb64(head))
        key = next(one for one in keys if one["kid"] == header["kid"] and one["kty"] == "RSA")
        modulus, exponent = (int.from_bytes(_unb64(key[name]), "big") for name in ("n", "e"))
        size = (modulus.bit_length() + 7) // 8
        opened = pow(int.from_bytes(_unb64(signature), "big"), exponent, modulus).to_bytes(size, "big")
        digest = _SHA256_INFO + hashlib.sha256(f"{head}.{body}".encode()).digest()
        wanted = b"\0\1" + b"\xff" * (size - len(digest) - 3) + b"\0" + digest
        claims = json.loads(_unb64(body))
    except (ValueError, KeyError, TypeError, StopIteration, OverflowError):
        return None
    good = header["alg"] == "RS256" and secrets.compare_digest(opened, wanted)
    return claims if good and isinstance(claims, dict) else None


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def fields_of(request: web.Request, *, form: bool = False) -> Mapping[str, Any]:
    """Return the fields of a form, or of the JSON object that the body is; empty when it is none."""
    try:
        found = dict(await request.post()) if form else await request.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _refused(status: int, error: str) -> SimReply:
    return SimReply(status=status, body={"error": error, "error_description": "The assertion is not trusted."})
