"""Port Platform: one login of one platform, asked as one app of ours; and what the flows must know of each login.

Rules
- What the flows know of a login is read from its data file; a login without OAuth is not among them.
- Tokens, faces and counts pass, and faults of one word; nothing else of a reply.

It may not read stores or decide what a refusal leads to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from uuid import UUID

from byokeep.accounts.refresher_app import AppAt, Ending, Login, Posts, RevocationResult
from byokeep.adapters.platforms.calls import PlatformApp, TokenPlace
from byokeep.adapters.platforms.oauth import PlatformClient
from byokeep.core.errors import Rejected
from byokeep.core.fault import Fault
from byokeep.core.identity import Face
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet
from byokeep.platforms.descriptor import ScopePurpose
from byokeep.platforms.load import PLATFORM_DESCRIPTORS
from byokeep.wire.outbound import Got, Outbound


def logins() -> dict[str, Login]:
    """Return what is known of every login that has OAuth."""
    found: dict[str, Login] = {}
    for name, one in PLATFORM_DESCRIPTORS.items():
        if one.oauth is None:
            continue
        found[name] = Login(
            id=name,
            provider=one.provider,
            issuer=one.oauth.issuer,
            rules=one.oauth.refresh_rules,
            needed={purpose.value: tuple(one.oauth.scopes[purpose]) for purpose in ScopePurpose},
            posts_scope=one.oauth.posts.scope,
            several_allowed=one.oauth.identity.several_allowed,
            revokes_alone=one.oauth.revokes_alone,
            revokes_all=one.oauth.revokes_all,
            revokes_by_access=not any("{refresh_token}" in call.form.values() for call in one.oauth.revoke),
            endpoint=one.oauth.identity.call.name,
            check_every_s=one.oauth.health.every_s,
        )
    return found


class Asking:
    """:class:`byokeep.accounts.refresher_app.PlatformMore` over :class:`PlatformClient`.

    Args:
        client: One login as one app.
        clock: Returns UTC.
    """

    def __init__(self, client: PlatformClient, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._clock = clock

    async def exchange(self, code: Secret, verifier: Secret | None, *, by: UUID) -> TokenSet | Fault:
        """Redeem a code."""
        return await self._client.exchange(code, verifier, by=by, clock=self._clock)

    async def refresh(
        self, tokens: TokenSet, *, landed: Callable[[int, Secret, datetime], Awaitable[None]]
    ) -> TokenSet | Fault:
        """Renew: exactly one request."""

        async def land(got: Got) -> None:
            await landed(got.status, got.body, self._clock().replace(microsecond=0))

        return await self._client.refresh(tokens, landed=land, clock=self._clock)

    def read_landed(self, tokens: TokenSet, *, status: int, body: Secret, at: datetime) -> TokenSet | Fault:
        """Read a reply that was landed before a crash."""
        return self._client.read_landed(tokens, status=status, body=body, at=at)

    async def identify(self, tokens: TokenSet) -> tuple[Face, ...] | Fault:
        """Return the accounts that the token opens."""
        return await self._client.identify(tokens)

    async def look(self, tokens: TokenSet, account: Face) -> Posts | Fault:
        """List recent posts, read-only."""
        found = await self._client.recent_posts(tokens, account)
        return found if isinstance(found, Fault) else Posts(count=found.count, newest_id=found.newest_id)

    async def granted(self, tokens: TokenSet) -> tuple[str, ...] | Fault | None:
        """Return the scopes that were granted; None when nothing says so."""
        return await self._client.granted(tokens)

    async def consent_end(self, tokens: TokenSet) -> datetime | Fault | None:
        """Return when the person must consent again, None where no end is known."""
        return await self._client.consent_end(tokens)

    async def revoke(self, tokens: TokenSet) -> Ending:
        """End the grant at the platform, and prove it by use."""
        done = await self._client.revoke(tokens)
        return Ending(ended=RevocationResult(done.state.value), retry_after_s=done.retry_after_s)


def asker(
    http: Outbound, clock: Callable[[], datetime], places: Mapping[str, str]
) -> Callable[[AppAt, Secret | None], Asking]:
    """Return the maker of callers.

    Args:
        http: The caller closes it.
        clock: Returns UTC.
        places: Login -> address of a simulator on this machine; empty in production.

    Raises:
        Rejected: ``bad_setting``: a place for a login that there is not.
    """
    if set(places) - set(logins()):
        raise Rejected("bad_setting", next_step="platform_urls names unknown logins.", setting="platform_urls")

    def make(app: AppAt, secret: Secret | None) -> Asking:
        ours = PlatformApp(client_id=app.app_id, client_secret=secret, redirect_uri=app.redirect_uri)
        place = TokenPlace(base=places.get(app.login))
        return Asking(PlatformClient(PLATFORM_DESCRIPTORS[app.login], ours, http, place), clock)

    return make
