"""State, verifier and challenge of one flow of consent.

Rules
- A verifier serves one flow; only its challenge travels with the browser.
- A platform without challenges is declared so in its data; the state is used all the same.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

from byokeep.core.secret import Secret
from byokeep.platforms.descriptor import Pkce

_BYTES: Final = 48  # 64 characters, within the 43 to 128 of RFC 7636


def new_state() -> Secret:
    """Return a state that nobody can guess: 32 random bytes, base64url. Stored as its SHA-256."""
    return Secret(secrets.token_urlsafe(32))


def new_verifier() -> Secret:
    """Return a code verifier of 64 characters."""
    return Secret(secrets.token_urlsafe(_BYTES))


def challenge(form: Pkce, verifier: Secret) -> str:
    """Return the challenge of a verifier in a platform's form.

    Raises:
        ValueError: The platform has no challenges.
    """
    digest = hashlib.sha256(verifier.reveal()).digest()
    if form is Pkce.S256:
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    if form is Pkce.HEX:
        return digest.hex()
    raise ValueError("no challenge here")


def appsecret_proof(client_secret: Secret, access_token: Secret) -> str:
    """Return Meta's proof that the caller knows the app's secret: HMAC-SHA256 over the access token, in hexadecimal."""
    return hmac.digest(client_secret.reveal(), access_token.reveal(), "sha256").hex()
