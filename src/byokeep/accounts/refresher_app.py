"""What a flow of ``byokeep refresher`` gets: custody of accounts, platforms to ask, slots, and many tasks at a time.

Rules
- A value can be reached only inside a custody lease; leaving the block ends that and wipes what was read. A lease has a
  job of its own, which is closed with it. An app's secret is used only with that app's id.
- A platform answers with tokens, faces and counts, or with a Fault that has one cause. Nothing else of a reply gets
  here.
- A slot of full size exists and is synced before the request leaves whose reply it is for (ADR 0023).
- A failure for one account affects only that account, whatever was raised. This process leaves the account alone for a
  growing pause, in which it takes no place in a round. People are told at once of an unforeseen error, and of one with
  a code when it happens for the third time in a row.

No other process has these ports.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

from byokeep.accounts.model import OAuthGrant, OfAccount, OurApp
from byokeep.core.errors import ByokeepError, Conflict, Denied, NotFound, Rejected
from byokeep.core.fault import LOCKS, OVER, Fault
from byokeep.core.gate import HELD
from byokeep.core.identity import Face
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.core.sealed_record import KEPT
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet
from byokeep.jobs.jobs import in_custody
from byokeep.kernel.app import App
from byokeep.kernel.ports import Custodian, ValueCustody, Written
from byokeep.platforms.client import PlatformClient
from byokeep.platforms.consent import PlatformApp, TokenPlace
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS, OAuth
from byokeep.wire.tokens import pack_tokens, unpack_tokens
from byokeep.wire.transport import Outbound

SIDE_BY_SIDE: Final = 4
FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 3600.0
TOLD_AFTER: Final = 3  # failures in a row that have a code


T = TypeVar("T", bound=OfAccount)
K = TypeVar("K")


@dataclass(slots=True)
class Apart:
    """Which accounts failed at what, in this process.

    Args:
        told: Called with what was done, the account and a code, for each failure.
    """

    told: Callable[[str, OfAccount, str], None] = lambda *_: None
    _failed: dict[tuple[str, UUID], tuple[int, float]] = field(default_factory=dict)  # how often in a row, until when

    def resting(self, what: str, now: float) -> list[UUID]:
        """Return the accounts that are left alone for now. ``now`` is in monotonic seconds."""
        return [account for (name, account), (_, until) in self._failed.items() if name == what and until > now]

    def failed(self, what: str, account: UUID, now: float) -> int:
        """Note a failure; returns how many there were in a row."""
        self._failed = {k: v for k, v in self._failed.items() if v[1] > now - 2 * LONGEST_PAUSE_S}
        times = self._failed.get((what, account), (0, now))[0] + 1
        pause_s = min(FIRST_PAUSE_S * 2.0 ** min(times - 1, 20), LONGEST_PAUSE_S)
        self._failed[what, account] = times, now + pause_s
        return times

    def worked(self, what: str, account: UUID) -> None:
        """Forget what failed before."""
        self._failed.pop((what, account), None)


async def each(app: RefresherApp, what: str, found: Sequence[T], act: Callable[[T], Awaitable[object]]) -> int:
    """Do something for each of ``found``, some in parallel; returns how many there were.

    Args:
        what: A code; the alert about a failure is ``WHAT_failed``.
    """
    room = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one_of(one: T) -> None:
        async with room:
            try:
                await act(one)
            except Exception as error:  # of any kind: it affects only this account
                await _note(app, what, one, error)
            else:
                app.apart.worked(what, one.account_id)

    await asyncio.gather(*(one_of(one) for one in found))
    return len(found)


async def each_due(
    app: RefresherApp, what: str, shape: type[T], statement: str, act: Callable[[T], Awaitable[object]],
    **params: object,
) -> int:  # fmt: skip
    """Do something for each row of a statement, except for accounts that failed and are in a pause. As :func:`each`."""
    resting = app.apart.resting(what, app.clock.monotonic())
    found = await app.db.read(shape, statement, {"resting": resting, **params}, every_client=True)
    return await each(app, what, found, act)


async def _note(app: RefresherApp, what: str, one: OfAccount, error: Exception) -> None:
    known = isinstance(error, ByokeepError)
    code = error.code if isinstance(error, ByokeepError) else f"failed_{type(error).__name__.lower()}"
    times = app.apart.failed(what, one.account_id, app.clock.monotonic())
    app.apart.told(what, one, code)
    if code in HELD or (known and times < TOLD_AFTER):
        return  # a kill or a suspension is no failure
    with suppress(Exception):  # the log has it
        async with app.db.begin(client_id=one.client_id) as tx:
            await one.alert(tx, app, reason=f"{what}_failed")


class Slots(Protocol):
    """Places on this machine's disk for replies, each sealed with a key of its own that is in the store."""

    async def prepare(self, journal_id: UUID) -> None:
        """Allocate and sync a slot of full size. Raises Unavailable(``no_room_to_land``)."""

    async def land(self, journal_id: UUID, key: Secret, *, base: int, status: int, body: Secret, at: datetime) -> None:
        """Seal a reply into its slot and sync it. Raises Unavailable."""

    async def landed(self, journal_id: UUID, key: Secret) -> tuple[int, int, Secret, datetime] | None:
        """Return base, status, body and time of a landed reply; None if the slot holds none.

        Raises Integrity(``landed_reply_unreadable``) if it was altered.
        """

    async def has(self, journal_id: UUID) -> bool:
        """Whether the slot holds a complete reply, without opening it."""

    async def clear(self, journal_id: UUID) -> None:
        """Remove a slot, if it is there."""

    async def all(self) -> list[UUID]:
        """Return the journals that have a slot here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefresherApp(App):
    """``byokeep refresher``: the only process that talks to token endpoints.

    Attributes:
        owner: The owner of the slots on this machine; another owner's journals are left alone.
        logins: Login id -> what is known about it, for logins that have OAuth.
        platform: Makes the client of a login for an app of ours; the secret is None for a public app.
        digest: Keyed digest of an account id or post id, for records.
        apart: Which accounts failed at what, in this process.
    """

    custodian: Custodian
    slots: Slots
    owner: UUID
    logins: dict[str, OAuth]
    platform: Callable[[OurApp, Secret | None], PlatformClient]
    digest: Callable[[str], str]
    apart: Apart = field(default_factory=Apart)


def logins() -> dict[str, OAuth]:
    """Return what is known about every login that has OAuth."""
    return {name: one.oauth for name, one in PLATFORM_DESCRIPTORS.items() if one.oauth is not None}


def identity_calls(places: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """Return the identity call of each login: (method, address) -> its name. ``places`` as for :func:`asker`."""
    calls = {name: login.identity.call for name, login in logins().items()}
    return {(call.method, TokenPlace(base=places.get(name)).at(call.url)): call.name for name, call in calls.items()}


def asker(
    http: Outbound, clock: Callable[[], datetime], places: Mapping[str, str]
) -> Callable[[OurApp, Secret | None], PlatformClient]:
    """Return the function that makes clients of platforms.

    Args:
        http: The caller closes it.
        clock: Returns UTC.
        places: Login -> address of a simulator on this machine; empty in production.

    Raises:
        Rejected: ``bad_setting``: a place for an unknown login.
    """
    known = logins()
    if set(places) - set(known):
        raise Rejected("bad_setting", next_step="platform_urls names unknown logins.", setting="platform_urls")

    def make(app: OurApp, secret: Secret | None) -> PlatformClient:
        ours = PlatformApp(client_id=app.app_id, client_secret=secret, redirect_uri=app.redirect_uri)
        place = TokenPlace(base=places.get(app.login))
        return PlatformClient(known[app.login], ours, http, place, clock=clock)

    return make


async def identified(login: OAuth, platform: PlatformClient, tokens: TokenSet) -> tuple[Face, ...] | Fault:
    """Return whose tokens these are. A refusal that the platform is known to give wrongly is asked for twice."""
    found, wrong_s = await platform.identify(tokens), login.refresh_rules.confirm_s
    if isinstance(found, Fault) and found.cause in LOCKS | OVER and wrong_s:
        await asyncio.sleep(wrong_s)
        found = await platform.identify(tokens)
    return found


class UnderWay(Generic[K]):
    """The running tasks of one process, each with what it is for. Nothing cancels one."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[None], K] = {}

    def _start(self, what: K, act: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(act)
        self._running[task] = what
        task.add_done_callback(self._running.pop)

    async def settle(self) -> None:
        """Wait until no task is running."""
        while self._running:
            await asyncio.wait(self._running)

    async def drain(self, within_s: float) -> int:
        """Wait for running tasks; returns how many did not end in time."""
        if self._running:
            await asyncio.wait(self._running, timeout=within_s)
        return len(self._running)


def held(app: RefresherApp, client_id: ClientId, provider: Provider) -> AbstractAsyncContextManager[ValueCustody]:
    """Hold a custody lease of a job of its own.

    Raises:
        ByokeepError: There is no custodian, or the broker gives no lease.
    """
    return in_custody(app, app.custodian.open, app.custodian.close, client_id, provider.value)


@asynccontextmanager
async def opened(app: RefresherApp, grant: OAuthGrant) -> AsyncIterator[tuple[ValueCustody, PlatformClient, TokenSet]]:
    """Hold the tokens of a grant and the client of its platform; the tokens are wiped at the end.

    Raises:
        Denied: ``app_changed``: the grant is another app's; nothing of ours may be shown for it.
        ByokeepError: They cannot be had.
    """
    ours = await app_of(app, grant)
    async with held(app, grant.client_id, grant.provider) as custody:
        with await _newest(custody, grant.place(SecretPart.TOKENS), grant.version) as tokens:
            async with asked(app, custody, grant.provider, ours) as platform:
                yield custody, platform, tokens


async def app_of(app: RefresherApp, grant: OAuthGrant) -> OurApp:
    """Return our app under which a grant was given.

    Raises:
        Denied: ``app_missing``; ``app_changed``: the grant is another app's; nothing of ours may be shown for it.
    """
    async with app.db.begin() as tx:
        ours = await tx.maybe(OurApp, "refresh_app", login=grant.login, environment=app.environment.value)
    if ours is None:
        raise Denied("app_missing", next_step="An admin sets the app of this login.", login=grant.login)
    if ours.app_id != grant.app_id:
        raise Denied("app_changed", next_step="Connect the account again under the new app.", login=grant.login)
    return ours


@asynccontextmanager
async def asked(
    app: RefresherApp, custody: ValueCustody, provider: Provider, ours: OurApp
) -> AsyncIterator[PlatformClient]:
    """Hold the client of a platform as our app, whose secret is wiped at the end."""
    secret = None
    try:
        if ours.secret_version:
            secret = await custody.app_secret(provider, ours.login, ours.secret_version)
        yield app.platform(ours, secret)
    finally:
        if secret is not None:
            secret.wipe()


async def read_tokens(custody: ValueCustody, place: SecretRef, version: int) -> TokenSet:
    """Return the token set of a version. Raises as :meth:`ValueCustody.read`."""
    with await custody.read(place, version) as packed:
        return unpack_tokens(packed)


async def write_tokens(custody: ValueCustody, place: SecretRef, tokens: TokenSet, *, cas: int) -> Written:
    """Write a token set as version ``cas + 1``. Raises as :meth:`ValueCustody.write`."""
    with pack_tokens(tokens) as packed:
        return await custody.write(place, packed, cas=cas)


async def newest_there(custody: ValueCustody, place: SecretRef, base: int) -> int:
    """Return the newest version that exists; ``base`` if all after it are destroyed, as what a failed consent wrote."""
    if (newest := await custody.newest(place)) <= base:
        return newest
    return max((one for one in await custody.live_versions(place) if one > base), default=base)


async def write_after(custody: ValueCustody, place: SecretRef, tokens: TokenSet, base: int) -> Written:
    """Write the version that follows ``base``; destroyed ones in between have only used up their numbers.

    Raises:
        Conflict: ``stale_version``: there is another version after it. And as :meth:`ValueCustody.write`.
    """
    try:
        return await write_tokens(custody, place, tokens, cas=base)
    except Conflict:
        if await newest_there(custody, place, base) != base:
            raise
    return await write_tokens(custody, place, tokens, cas=await custody.newest(place))


def is_gone(error: ByokeepError) -> bool:
    """Whether the store says that a version no longer exists; it calls a destroyed one unavailable."""
    return isinstance(error, NotFound) or error.code == "secret_version_gone"


async def _newest(custody: ValueCustody, place: SecretRef, pinned: int) -> TokenSet:
    """Read the newest version that exists; one that was written and never recorded may have been destroyed."""
    newest = await custody.newest(place)
    for version in range(newest, pinned, -1):
        try:
            return await read_tokens(custody, place, version)
        except ByokeepError as error:
            if not is_gone(error):
                raise
    return await read_tokens(custody, place, min(newest, pinned))


def kept(newest: int) -> list[int]:
    """Return the versions that the store keeps of a place."""
    return list(range(max(1, newest - KEPT + 1), newest + 1))


async def burn(custody: ValueCustody, *places: SecretRef) -> None:
    """Destroy every version that the store keeps of some places."""
    for place in places:
        if newest := await custody.newest(place):
            await custody.destroy(place, kept(newest))
