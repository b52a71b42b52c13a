"""The OpenID provider at which people sign in: where a browser is sent, and who it says came back.

Rules
- Authorization code with PKCE (S256) and our own client secret. State, nonce and verifier are the caller's, for one
  sign-in.
- Each sign-in is a new proof: the provider is told to ask the person again, and must say that it has done so since.
- An ID token counts if a key that the provider publishes now has signed it, with an algorithm of ``ALGORITHMS``, and
  each claim of ours holds. The keys are read after the token, each time; a key that is not among them is unknown.
- A logout token comes from anybody: one that would not count even if it were signed costs the provider no question.
- Calls go through :mod:`byokeep.wire.transport`: https to public addresses, or this machine for a provider on loopback.
- A failure is a code and, for a token, the name of the claim. What the provider says about it is dropped, and so is its
  access token.

It may not keep anything, or decide who somebody is here: :mod:`byokeep.tenancy.sso` does.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet, import_key
from joserfc.jws import extract_compact

from byokeep.core.canonical import strict_object
from byokeep.core.errors import Rejected, Unavailable
from byokeep.core.secret import Secret
from byokeep.kernel.ports import Clock
from byokeep.wire.address import is_loopback
from byokeep.wire.transport import NotGot, Outbound, exchange

ALGORITHMS: Final = ("ES256", "PS256", "RS256")
SKEW_S: Final = 60  # seconds by which two clocks may differ
LOGOUT_S: Final = 120  # seconds for which a logout token counts
MOST_KEYS: Final = 50
MOST_GROUPS: Final = 2000
_LOGGED_OUT: Final = "http://schemas.openid.net/event/backchannel-logout"
_CALL_S: Final = 10.0  # seconds for one call
_ADDRESS: Final = re.compile(r"https?://[A-Za-z0-9._~:/?&=%+@,;\[\]-]{1,1000}\Z")
_RSA_2048: Final = 342  # characters of the modulus
_STEP: Final = "This sign-in does not count. Start again. If it persists, tell an admin the code and the claim."


class OpenIdProvider:
    """One provider, and our client there.

    Args:
        issuer: As the provider calls itself.
        client_id: Our client's public id.
        secret: Reads the client's secret.
        redirect: Our address as registered there; no other is ever named.
        scopes: Separated by blanks.
        groups_claim: The claim that lists a person's groups.
        acr: What a sign-in must have been; empty = anything.
    """

    def __init__(
        self, http: Outbound, clock: Clock, *, issuer: str, client_id: str, secret: Callable[[], Secret], redirect: str,
        scopes: str, groups_claim: str, acr: str = "",
    ) -> None:  # fmt: skip
        self._http, self._clock, self._issuer, self._client, self._secret = http, clock, issuer, client_id, secret
        self._redirect, self._scopes, self._groups, self._acr = redirect, scopes, groups_claim, acr
        self._loopback = is_loopback(urlsplit(issuer).hostname or "", named=True)

    async def address(self, state: str, nonce: str, verifier: str) -> str:
        """Return where to send the browser. Raises Unavailable(``sso_unreachable``, ``sso_address_refused``)."""
        at = _endpoint(await self._described(), "authorization_endpoint", self._loopback)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code", "client_id": self._client, "redirect_uri": self._redirect, "scope": self._scopes,
            "state": state, "nonce": nonce, "code_challenge": challenge, "code_challenge_method": "S256",
            "prompt": "login", "max_age": "0",
        } | ({"acr_values": self._acr} if self._acr else {})  # fmt: skip
        return f"{at}{'&' if '?' in at else '?'}{urlencode(query)}"

    async def person(
        self, nonce: str, verifier: str, asked_at: int, code: str, issuer: str
    ) -> tuple[bytes, frozenset[str]]:
        """Return who signed in, for the code that a browser brought back: a digest of issuer and subject, and groups.

        Args:
            asked_at: When the sign-in began, in seconds since 1970.
            issuer: ``iss`` as the browser brought it, or empty.

        Raises:
            Rejected: ``sso_answer_refused``: the code or a claim does not hold; ``sso_groups_missing``.
            Unavailable: ``sso_unreachable``, ``sso_address_refused``; ``sso_secret_refused``: our secret is refused;
                and as reading the secret raises.
        """
        said = await self._described()
        if issuer != self._issuer and (issuer or said.get("authorization_response_iss_parameter_supported") is True):
            raise _does_not_count("iss")
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self._redirect,
                "code_verifier": verifier}  # fmt: skip
        headers = {"content-type": "application/x-www-form-urlencoded"}
        secret = self._secret().reveal().decode("ascii", "replace")
        # RFC 8414: silence means basic.
        methods = said.get("token_endpoint_auth_methods_supported")
        if not isinstance(methods, list) or "client_secret_basic" in methods:
            pair = f"{quote_plus(self._client)}:{quote_plus(secret)}"
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            form |= {"client_id": self._client, "client_secret": secret}
        at = _endpoint(said, "token_endpoint", self._loopback)
        answer = await self._call("POST", at, headers, urlencode(form).encode())
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise _does_not_count("id_token")
        return self._checked(token, await self._keys(said), nonce, asked_at)

    async def logged_out(self, token: str) -> tuple[bytes, datetime]:
        """Return a digest of who logged out, and when: the latest time that it may have been by our clock.

        OpenID Connect Back-Channel Logout 1.0, 2.6. A token that names only a session there (``sid``) is refused.

        Raises:
            Rejected: ``sso_answer_refused``.
            Unavailable: ``sso_unreachable``, ``sso_address_refused``.
        """
        self._logged_out(_unproved(token))  # a stranger's junk is not worth a question to the provider
        return self._logged_out(_signed(token, await self._keys(await self._described())))

    def _logged_out(self, claims: Mapping[str, Any]) -> tuple[bytes, datetime]:
        now = int(self._clock.now().timestamp())
        events, jti, iat = claims.get("events"), claims.get("jti"), claims.get("iat")
        whose = self._whose(claims, now, {
            "iat": _is_whole(iat) and iat in range(now - LOGOUT_S, now + SKEW_S + 1),
            "jti": isinstance(jti, str) and 0 < len(jti) <= 255,
            "events": isinstance(events, dict) and isinstance(events.get(_LOGGED_OUT), dict),
            "nonce": "nonce" not in claims,  # or an ID token would do
        })  # fmt: skip
        return whose, datetime.fromtimestamp(claims["iat"] + SKEW_S, UTC)

    async def _keys(self, said: Mapping[str, Any]) -> KeySet:
        found = (await self._call("GET", _endpoint(said, "jwks_uri", self._loopback))).get("keys")
        keys: list[Key] = []
        for one in found[:MOST_KEYS] if isinstance(found, list) else []:
            # A key that the library does not know is skipped (RFC 7517, 5).
            with contextlib.suppress(JoseError, ValueError, TypeError, KeyError, AttributeError):
                if _is_good(one):
                    keys.append(import_key(one))
        if not keys:
            raise _does_not_count("keys")
        return KeySet(keys)

    def _checked(self, token: str, keys: KeySet, asked: str, asked_at: int) -> tuple[bytes, frozenset[str]]:
        """Return the person whom an ID token is about (OpenID Connect Core 3.1.3.7)."""
        now, claims = int(self._clock.now().timestamp()), _signed(token, keys)
        since, nonce = range(asked_at - SKEW_S, now + SKEW_S + 1), claims.get("nonce")
        whose = self._whose(claims, now, {
            "iat": _is_whole(claims.get("iat")) and claims["iat"] in since,
            "nonce": isinstance(nonce, str) and hmac.compare_digest(nonce.encode("utf-8", "replace"), asked.encode()),
            "auth_time": _is_whole(claims.get("auth_time")) and claims["auth_time"] in since,
            "acr": not self._acr or claims.get("acr") == self._acr,
        })  # fmt: skip
        groups = claims.get(self._groups)
        groups = [groups] if isinstance(groups, str) else groups
        if not isinstance(groups, list) or len(groups) > MOST_GROUPS or not all(isinstance(it, str) for it in groups):
            step = f"The provider does not send your groups (claim {self._groups}). Ask whoever runs it: docs/sso.md."
            raise Rejected("sso_groups_missing", next_step=step)
        return whose, frozenset(groups)

    def _whose(self, claims: Mapping[str, Any], now: int, more: Mapping[str, bool]) -> bytes:
        """Return a digest of whom a token is about, if each claim holds: those of every token, and ``more``."""
        subject = claims.get("sub")
        holds = {
            "iss": claims.get("iss") == self._issuer,
            "sub": isinstance(subject, str) and 0 < len(subject) <= 255 and subject.isprintable(),
            "aud": claims.get("aud") in (self._client, [self._client]),
            "azp": claims.get("azp", self._client) == self._client,
            "exp": _is_whole(claims.get("exp")) and claims["exp"] > now - SKEW_S,
            "nbf": "nbf" not in claims or (_is_whole(claims["nbf"]) and claims["nbf"] <= now + SKEW_S),
        }
        for claim, good in {**holds, **more}.items():
            if not good:
                raise _does_not_count(claim)
        return hashlib.sha256(f"{self._issuer}\0{subject}".encode()).digest()

    async def _described(self) -> Mapping[str, Any]:
        said = await self._call("GET", f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        if said.get("issuer") != self._issuer:
            raise _unreachable()
        return said

    async def _call(
        self, method: str, url: str, headers: dict[str, str] | None = None, content: bytes = b""
    ) -> Mapping[str, Any]:
        try:
            got = await exchange(
                self._http, method, url, headers=headers or {}, content=content, loopback=self._loopback,
                deadline_s=_CALL_S,
            )  # fmt: skip
        except Rejected:  # `host_not_allowed`: a private address
            step = "The sign-in provider's address is not public, so it was not asked. Tell an admin: docs/sso.md."
            raise Unavailable("sso_address_refused", next_step=step) from None
        if isinstance(got, NotGot):
            raise _unreachable()
        said = strict_object(got.body.reveal())
        if method == "POST" and got.status in (401, 403) and "error" in (said or {}):  # else it may be a proxy's
            step = "The sign-in provider does not accept what is in `sso.secret`. Tell an admin."
            raise Unavailable("sso_secret_refused", next_step=step)
        if method == "POST" and got.status == 400:
            raise _does_not_count("code")
        if got.status != 200 or said is None:
            raise _unreachable()
        return said


def _endpoint(said: Mapping[str, Any], name: str, loopback: bool) -> str:
    """Return an address of the provider's: https, or on this machine if the provider is."""
    at = str(said.get(name))
    parts = urlsplit(at) if _ADDRESS.match(at) else urlsplit("")
    here = loopback and is_loopback(parts.hostname or "", named=True)
    if "@" in parts.netloc or not (here or parts.scheme == "https"):
        raise _unreachable()
    return at


def _signed(token: str, keys: KeySet) -> Mapping[str, Any]:
    """Return the claims of a token that one of the keys has signed. Raises Rejected."""
    try:
        return jwt.decode(token, keys, algorithms=list(ALGORITHMS)).claims
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise _does_not_count("signature") from None


def _unproved(token: str) -> Mapping[str, Any]:
    """Return the claims of a token of one of the algorithms, whoever has signed it. Raises Rejected."""
    try:
        found = extract_compact(token.encode())
        alg, claims = found.headers().get("alg"), strict_object(found.payload or b"")
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _does_not_count("signature") from None
    if alg not in ALGORITHMS or claims is None:
        raise _does_not_count("signature")
    return claims


def _is_good(key: object) -> bool:
    """Whether a key may have signed: not a shared secret, not too short. The library checks what it is for."""
    if not isinstance(key, dict):
        return False
    return key.get("kty") == "EC" or (key.get("kty") == "RSA" and len(str(key.get("n"))) >= _RSA_2048)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _does_not_count(claim: str) -> Rejected:
    return Rejected("sso_answer_refused", next_step=_STEP, claim=claim)


def _unreachable() -> Unavailable:
    step = "The sign-in provider does not answer as it should. You can still sign in with a password or a passkey."
    return Unavailable("sso_unreachable", next_step=step)
