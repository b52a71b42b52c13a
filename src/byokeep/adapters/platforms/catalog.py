"""The side of a consent that needs no network: the logins, where a person consents, what to make of the answer.

Rules
- Addresses come from our own files; of an answer only the code and the issuer are read, and both are judged.

It may not send anything, nor hold a secret of our app.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote, urlencode

from byokeep.adapters.platforms.calls import PlatformApp, TokenPlace, challenge, new_verifier, oauth_of
from byokeep.core.errors import Rejected
from byokeep.core.secret import Secret
from byokeep.core.tokens import scope_set
from byokeep.kernel.ports import Begun, LoginInfo
from byokeep.platforms.descriptor import (
    PLATFORM_DESCRIPTORS,
    ClientAuth,
    MixUp,
    OAuth,
    Pkce,
    PlatformDescriptor,
    ScopePurpose,
)

_LONGEST_CODE: Final = 4096


class ConsentSide:
    """One login, as one app of ours, up to the code.

    Args:
        descriptor: The platform.
        app: Our app there.
        place: Where the platform is; a simulator outside production only.

    Raises:
        Rejected: ``platform_without_oauth``.
    """

    def __init__(self, descriptor: PlatformDescriptor, app: PlatformApp, place: TokenPlace | None = None) -> None:
        self.descriptor = descriptor
        self.oauth: OAuth = oauth_of(descriptor)
        self.app = app
        self._place = place or TokenPlace()

    def scopes(self, *purposes: ScopePurpose) -> tuple[str, ...]:
        """Return the scopes of some purposes, sorted; those of connecting are always among them."""
        wanted = {scope for purpose in (ScopePurpose.CONNECT, *purposes) for scope in self.oauth.scopes[purpose]}
        return scope_set(tuple(wanted))

    def authorization_url(self, *, state: Secret, verifier: Secret | None, scopes: tuple[str, ...]) -> str:
        """Return the address to send the person's browser to.

        Args:
            state: Unguessable, made for this consent.
            verifier: Of :func:`~byokeep.adapters.platforms.calls.new_verifier`; None where there is no challenge.

        Raises:
            ValueError: A verifier too many or too few, or no scopes.
        """
        if not scopes or (verifier is None) != (self.oauth.pkce is Pkce.NONE):
            raise ValueError("scopes, and a verifier where the platform has challenges")
        page = self.oauth.authorize
        query = {
            **page.fixed,
            page.client_id_name: self.app.client_id,
            "redirect_uri": self.app.redirect_uri,
            "scope": page.scope_separator.join(scopes),
            "state": state.reveal().decode(),
        }
        if verifier is not None:
            query |= {"code_challenge": challenge(self.oauth.pkce, verifier), "code_challenge_method": "S256"}
        return f"{self._place.at(page.url)}?{urlencode(query, quote_via=quote)}"

    def check_issuer(self, iss: str | None) -> None:
        """Let an answer pass that cannot be another issuer's.

        Args:
            iss: The answer's ``iss``, None without one. Where the platform sends none, its own redirect address is
                what tells issuers apart, and the caller has compared that.

        Raises:
            Rejected: ``wrong_issuer``.
        """
        needed = self.oauth.mix_up is MixUp.ISS
        if (iss is None and needed) or (iss is not None and iss != self.oauth.issuer):
            raise Rejected("wrong_issuer", next_step="Start the connection again.", platform=self.descriptor.id)

    def clean_code(self, code: str) -> Secret:
        """Return the code of an answer without what the platform hangs on to it.

        Raises:
            Rejected: ``bad_code``.
        """
        suffix = self.oauth.authorize.code_suffix
        code = code.removesuffix(suffix) if suffix else code
        if not 1 <= len(code) <= _LONGEST_CODE or not code.isascii() or not code.isprintable() or " " in code:
            raise Rejected("bad_code", next_step="Start the connection again.", platform=self.descriptor.id)
        return Secret(code)


# What every consent asks for: who it is, and the posts that prove it (SOP 5.2, step 5).
ALWAYS = (ScopePurpose.CONNECT, ScopePurpose.READ)


class Catalog:
    """:class:`byokeep.kernel.ports.Consents` over the data files.

    Args:
        places: Login -> base address of a simulator; outside production only.
    """

    def __init__(self, places: Mapping[str, str] | None = None) -> None:
        self._places = dict(places or {})

    def logins(self) -> Sequence[LoginInfo]:
        """Return all logins, by id."""
        return tuple(_info(PLATFORM_DESCRIPTORS[name]) for name in sorted(PLATFORM_DESCRIPTORS))

    def begin(self, login: str, *, app_id: str, redirect_uri: str, state: str, purposes: Sequence[str]) -> Begun:
        """Return where to send the person's browser, and the verifier where the platform has challenges."""
        side = self._side(login, app_id, redirect_uri)
        verifier = None if side.oauth.pkce is Pkce.NONE else new_verifier()
        scopes = side.scopes(*ALWAYS, *(ScopePurpose(purpose) for purpose in purposes))
        return Begun(
            url=side.authorization_url(state=Secret(state), verifier=verifier, scopes=scopes), verifier=verifier
        )

    def check_issuer(self, login: str, iss: str | None) -> None:
        """Let an answer pass that cannot be another issuer's."""
        self._side(login).check_issuer(iss)

    def clean_code(self, login: str, code: str) -> Secret:
        """Return the code of an answer."""
        return self._side(login).clean_code(code)

    def _side(self, login: str, app_id: str = "-", redirect_uri: str = "") -> ConsentSide:
        if login not in PLATFORM_DESCRIPTORS:
            raise Rejected("unknown_login", next_step="See `byokeep account logins`.")
        app = PlatformApp(client_id=app_id, client_secret=None, redirect_uri=redirect_uri)
        return ConsentSide(PLATFORM_DESCRIPTORS[login], app, TokenPlace(base=self._places.get(login)))


def _info(one: PlatformDescriptor) -> LoginInfo:
    oauth = one.oauth
    asked = () if oauth is None else tuple(p.value for p in ScopePurpose if p not in ALWAYS and oauth.scopes.get(p))
    return LoginInfo(
        id=one.id, provider=one.provider, name=one.published_name, lanes=one.lanes, oauth=oauth is not None,
        why_not=one.why_no_oauth,
        secret_optional=oauth is not None and oauth.client_auth is ClientAuth.BASIC_OR_PUBLIC, purposes=asked,
        revokes_all=oauth is not None and oauth.revokes_all,
    )  # fmt: skip
