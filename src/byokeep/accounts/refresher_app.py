"""What a flow of ``byokeep refresher`` gets: one client's accounts under custody, platforms that can be asked, slots.

Rules
- A value is reachable inside a custody lease only; leaving the block ends the reach.
- A platform answers with tokens, faces and counts, or with a Fault of one word; nothing else of a reply gets here.
- A slot is there, of full size and synced, before the request leaves whose reply it is for (ADR 0023).

No other process has these ports.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from byokeep.accounts.apart import Apart
from byokeep.core.fault import Fault
from byokeep.core.identity import Face
from byokeep.core.model import Provider
from byokeep.core.ref import SecretRef
from byokeep.core.refresh import RefreshRules
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet
from byokeep.kernel.app import App
from byokeep.kernel.ports import Written

ALWAYS: Final = ("connect", "read")  # purposes that each account has


class AccountCustody(Protocol):
    """One client's accounts on one platform, for as long as the lease lasts. Every place is a part of an account."""

    async def read(self, ref: SecretRef, version: int) -> Secret:
        """Return exactly this version. Raises NotFound, Unavailable, Denied, Integrity."""

    async def newest(self, ref: SecretRef) -> int:
        """Return the newest version's number, 0 when the place was never written."""

    async def write(self, ref: SecretRef, value: Secret, *, cas: int) -> Written:
        """Write version ``cas + 1``. Raises Conflict(``stale_version``), Unavailable, Denied."""

    async def destroy(self, ref: SecretRef, versions: list[int]) -> None:
        """Destroy versions for good."""

    async def app_secret(self, provider: Provider, login: str, version: int) -> Secret:
        """Return the secret of our own app at a login."""


class AccountCustodian(Protocol):
    """The refresher's own identity at the broker."""

    def open(self, job_id: UUID) -> AbstractAsyncContextManager[AccountCustody]:
        """Obtain a custody lease of a job. Raises Denied, Unavailable."""

    async def close(self, job_id: UUID) -> None:
        """End a job. Raises Unavailable, Denied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posts:
    """What a read of recent posts proves: how many there were, and the newest one's id."""

    count: int
    newest_id: str | None


class RevocationResult(StrEnum):
    """What is known after a grant was to be ended at its platform."""

    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"
    NOT_OFFERED = "not_offered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What came of an attempt to end a grant, and when the platform says to come back, None when it does not say."""

    ended: RevocationResult
    retry_after_s: float | None = None


class OAuthPlatform(Protocol):
    """One login of one platform, asked as one app of ours. One method, one request, no retry."""

    async def exchange(self, code: Secret, verifier: Secret | None, *, by: UUID) -> TokenSet | Fault:
        """Redeem a code. ``by`` is the operator who began."""

    async def refresh(
        self, tokens: TokenSet, *, landed: Callable[[int, Secret, datetime], Awaitable[None]]
    ) -> TokenSet | Fault:
        """Renew. ``landed`` gets status, body and time of every 2xx reply before anything reads it."""

    def read_landed(self, tokens: TokenSet, *, status: int, body: Secret, at: datetime) -> TokenSet | Fault:
        """Read a reply that was landed before a crash, as :meth:`refresh` would have."""

    async def identify(self, tokens: TokenSet) -> tuple[Face, ...] | Fault:
        """Return the accounts that the token opens."""

    async def look(self, tokens: TokenSet, account: Face) -> Posts | Fault:
        """List recent posts, read-only."""


class PlatformMore(OAuthPlatform, Protocol):
    """The rarer acts."""

    async def granted(self, tokens: TokenSet) -> tuple[str, ...] | Fault | None:
        """Return the scopes that were granted; None when nothing says so."""

    async def consent_end(self, tokens: TokenSet) -> datetime | Fault | None:
        """Return when the person must consent again, None where no end is known."""

    async def revoke(self, tokens: TokenSet) -> Ending:
        """End the grant at the platform, and prove it by use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What the flows must know of a login as data; see ``platforms/data``.

    Attributes:
        needed: Purpose -> scopes; those of ``connect`` are always needed.
        posts_scope: The scope without which recent posts can not be read.
        several_allowed: Whether one grant opens several accounts, of which one is picked.
        revokes_alone: Whether to revoke a pair ends the login that it came of, and no later one of the same person.
        revokes_all: Whether to revoke a pair ends every login of that person with our app, as the platform documents.
        revokes_by_access: Whether a pair is revoked by its access token alone: a dead one proves nothing of the other.
        check_every_s: How often an identity check is sensible, by price and limits.
    """

    id: str
    provider: Provider
    issuer: str
    rules: RefreshRules
    needed: dict[str, tuple[str, ...]]
    posts_scope: str
    several_allowed: bool
    revokes_alone: bool
    revokes_all: bool
    revokes_by_access: bool
    endpoint: str
    check_every_s: int

    def scopes_for(self, purposes: Iterable[str]) -> frozenset[str]:
        """Return every scope that these purposes need, and those that each account needs."""
        return frozenset(scope for what in (*ALWAYS, *purposes) for scope in self.needed.get(what, ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class AppAt:
    """Our app at a login: the public half, and which version of the secret the store has (0: none)."""

    login: str
    app_id: str
    redirect_uri: str
    secret_version: int


class Slots(Protocol):
    """Places on this machine's disk for replies, each sealed with a key of its own that lies in the store."""

    async def prepare(self, journal_id: UUID) -> None:
        """Allocate and sync a slot of full size. Raises Unavailable(``no_room_to_land``)."""

    async def land(self, journal_id: UUID, key: Secret, *, base: int, status: int, body: Secret, at: datetime) -> None:
        """Seal a reply into its slot and sync it. Raises Unavailable."""

    async def landed(self, journal_id: UUID, key: Secret) -> tuple[int, int, Secret, datetime] | None:
        """Return base, status, body and time of a landed reply, None when the slot holds none.

        Raises Integrity(``landed_reply_unreadable``) for one that was altered.
        """

    async def has(self, journal_id: UUID) -> bool:
        """Whether the slot holds a complete reply, without opening it."""

    async def clear(self, journal_id: UUID) -> None:
        """Remove a slot; one that is not there is fine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefresherApp(App):
    """``byokeep refresher``: the only process that talks to token endpoints.

    Attributes:
        owner: Of the slots on this machine; another owner's journals are left alone.
        logins: Login id -> what is known of it; one without OAuth is not in it.
        platform: Makes the caller of a login as an app of ours; the secret is None for a public app.
        digest: Keyed digest of an account id or post id, for records.
        apart: Which accounts failed at what, in this process.
    """

    custodian: AccountCustodian
    slots: Slots
    owner: UUID
    logins: dict[str, Login]
    platform: Callable[[AppAt, Secret | None], PlatformMore]
    digest: Callable[[str], str]
    apart: Apart = field(default_factory=Apart)
