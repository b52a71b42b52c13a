"""Port Consents: the catalog of logins as ``byokeep web`` sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from byokeep.adapters.platforms.calls import PlatformApp, TokenPlace
from byokeep.adapters.platforms.consent import ConsentSide
from byokeep.adapters.platforms.pkce import new_verifier
from byokeep.core.errors import Rejected
from byokeep.core.secret import Secret
from byokeep.kernel.ports import Begun, LoginInfo
from byokeep.platforms.descriptor import ClientAuth, Pkce, PlatformDescriptor, ScopePurpose
from byokeep.platforms.load import PLATFORM_DESCRIPTORS

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
        """Let an answer pass that can not be another issuer's."""
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
