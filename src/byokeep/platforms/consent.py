"""The parts of a consent that need no network: our app at a login, where a person consents, and the challenge.

Rules
- Addresses come from our own files.
- A verifier is for one consent; only its challenge travels with the browser. A platform without challenges is declared
  as such.

It may not send anything.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from byokeep.core.errors import Rejected
from byokeep.core.secret import Secret
from byokeep.platforms.descriptor import OAuth, Pkce, PlatformDescriptor
from byokeep.wire.transport import loopback_base

_BYTES: Final = 48  # 64 characters, within the 43 to 128 of RFC 7636


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformApp:
    """Our app at a platform.

    Args:
        client_id: Its public id.
        client_secret: None for a public app, if the platform supports those.
        redirect_uri: The address that is registered only for this platform.
    """

    client_id: str
    client_secret: Secret | None = field(repr=False)
    redirect_uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlace:
    """Where a platform is reached. ``base``: address of a simulator on this machine; None for the platform itself."""

    base: str | None = None

    def at(self, url: str) -> str:
        """Return the address of a call.

        Raises:
            Rejected: ``bad_base_url``, ``host_not_allowed``.
        """
        if self.base is None:
            return url
        split = urlsplit(url)
        return f"{loopback_base(self.base)}/{split.netloc}{split.path}"


def oauth_of(descriptor: PlatformDescriptor) -> OAuth:
    """Return a login's OAuth.

    Raises:
        Rejected: ``platform_without_oauth``: declared as such; the browser lane is offered instead (R2.1-8).
    """
    if descriptor.oauth is None:
        step = (
            "This platform has no OAuth. Its accounts are registered with `byokeep account add` and act through the"
            " browser lane."
        )
        raise Rejected("platform_without_oauth", platform=descriptor.id, next_step=step)
    return descriptor.oauth


def authorization_url(
    oauth: OAuth, app: PlatformApp, place: TokenPlace, *, state: str, verifier: Secret | None, scopes: tuple[str, ...]
) -> str:
    """Return the address to which the person's browser is sent.

    Args:
        state: Unguessable, made for this consent.
        verifier: From :func:`new_verifier`; None if the platform has no challenge.

    Raises:
        ValueError: A verifier without a challenge or the reverse, or no scopes.
    """
    if not scopes or (verifier is None) != (oauth.pkce is Pkce.NONE):
        raise ValueError("scopes, and a verifier where the platform has challenges")
    page = oauth.authorize
    who = {page.client_id_name: app.client_id, "redirect_uri": app.redirect_uri}
    query = {**page.fixed, **who, "scope": page.scope_separator.join(scopes), "state": state}
    if verifier is not None:
        query |= {"code_challenge": challenge(oauth.pkce, verifier), "code_challenge_method": "S256"}
    return f"{place.at(page.url)}?{urlencode(query, quote_via=quote)}"
