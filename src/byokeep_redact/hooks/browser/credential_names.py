"""Which names of headers, parameters, fields and page elements say that a credential stands beside them.

Rules: read by words, so that `author` is no `auth`; in doubt a name counts, for what is masked too much is only lost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from byokeep_redact.mask import MASKED

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_MASK: Final = re.compile(MASKED.pattern.decode())
_CREDENTIAL_WORDS: Final = frozenset(
    ("apikey", "assertion", "auth", "authenticity", "authorization", "bearer", "cookie", "credential", "credentials",
     "csrf", "csrftoken", "jwt", "mfa", "nonce", "oauth", "otp", "pass", "passcode", "passkey", "passphrase", "passwd",
     "password", "passwords", "pin", "pw", "pwd", "recaptcha", "secret", "secrets", "session", "sessionid",
     "sessiontoken", "sid", "sig", "signature", "signed", "ssid", "tan", "token", "tokens", "totp", "twofactor", "xsrf")
)  # fmt: skip
_BEFORE_KEY: Final = frozenset(
    ("access", "account", "api", "app", "auth", "client", "consumer", "encryption", "goog", "license", "master",
     "private", "secret", "security", "service", "session", "shared", "signing", "storage", "vault", "x")
)  # fmt: skip
# Named like credentials; what they hold is public.
_PUBLIC: Final = frozenset(
    ("tokentype", "tokenendpoint", "authurl", "authmethod", "cookiepartitionkey", "siteauth", "sessionstorage",
     "cookies", "secwebsocketversion", "authority", "issession", "sessiontype", "credentialspolicy", "withcredentials",
     "accesscontrolallowcredentials", "publickeypins", "cookieenabled")
)  # fmt: skip
_SECRET_AUTOCOMPLETE: Final = frozenset(
    ("current-password", "new-password", "one-time-code", "cc-number", "cc-csc", "cc-exp", "webauthn")
)
_ELEMENT_NAMES: Final = ("name", "id", "aria-label", "placeholder", "data-testid", "ng-model", "formcontrolname")


@lru_cache(maxsize=8192)
def is_credential(name: str) -> bool:
    """True when `name` (any case or style: `X-Api-Key`, `accessToken`, `csrf_token`) is a name for a credential."""
    words = [word.lower() for word in _WORD.findall(_MASK.sub("", name[:200]))]  # a mask says `cookie` and is none
    joined = "".join(words)
    if not words or joined in _PUBLIC:
        return False
    if not _CREDENTIAL_WORDS.isdisjoint((*words, joined)) or joined.endswith(
        ("token", "secret", "password", "sessionid")
    ):
        return True
    return any(word in ("key", "keys") and words[at - 1] in _BEFORE_KEY for at, word in enumerate(words) if at)


def is_secret_element(attributes: Mapping[str, str]) -> bool:
    """True when a page element with these attributes takes or holds a password, one-time code, token or the like."""
    if attributes.get("type", "").lower() == "password":
        return True
    if not _SECRET_AUTOCOMPLETE.isdisjoint(attributes.get("autocomplete", "").lower().split()):
        return True
    return any(is_credential(attributes.get(name, "")) for name in _ELEMENT_NAMES)
