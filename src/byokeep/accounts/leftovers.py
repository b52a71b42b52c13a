"""End tokens that serve nobody any more: of a renewal that came too late, and of a login that a later one replaced.

Rules
- A grant is ended at its platform only when no renewal of it is under way: the newest pair is what has to die. One
  whose request has not left is closed; one under way is waited for, for as long as any takes.
- The pair of a late renewal is stored as the newest, which is what the end revokes; when the grant has ended already
  it is revoked here, proved by use, and destroyed.
- A pair that comes after a new login of the same account replaced its grant, and what a login replaced, is revoked
  where that leaves the new one alone; elsewhere nothing is faked: the record says so, and people are told of a refresh
  token that may live on. The end of the grant ends every pair that a login of it replaced.
- A reply that is lost may have held tokens that nobody has: then no end of a one-time chain is called confirmed.
- Tokens that a consent brought after a person disconnected the account are revoked; they were stored nowhere.
- What is cut off anywhere here stays in the journal and in its slot, and is taken up at the next start.

It may not pin a version, or decide that a grant has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from byokeep.accounts import refresh_journal
from byokeep.accounts.model import Connection, OAuthGrant, PlatformAccount
from byokeep.accounts.refresh_journal import GrantStanding, RenewableGrant, Renewal, standing
from byokeep.accounts.refresher_app import (
    AccountCustody,
    Ending,
    Login,
    PlatformMore,
    RefresherApp,
    RevocationResult,
    burn,
    is_gone,
)
from byokeep.core.errors import ByokeepError, Conflict, Integrity, NotFound
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.model import ClientId
from byokeep.core.reenable import RecoveryCause
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.core.refresh import ROTATING, Phase
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet
from byokeep.jobs import reenabling
from byokeep.kernel.command import open_alert
from byokeep.kernel.ports import Tx
from byokeep.wire.tokens import pack_tokens, unpack_tokens

WAIT_S: Final = 900  # as long as any renewal takes
REPLACED_LEFT: Final = "replaced_tokens_left"
_UNPROVED: Final = "revocation_unconfirmed"
PAUSES_S: Final = (5.0, 30.0)  # between tries of ending a pair that came too late


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What renewals left behind when a grant ends.

    Args:
        under_way: Another machine still has one, for longer than any takes.
        lost: A reply to a renewal of the newest version was lost, or may still come.
    """

    under_way: bool
    lost: bool


class Came(StrEnum):
    """What became of a renewal.

    ``disconnected``: it brought nothing. ``handed_over``: the end revokes its pair. ``given_back``: revoked here.
    """

    DISCONNECTED = "disconnected"
    HANDED_OVER = "handed_over"
    GIVEN_BACK = "given_back"


async def before_end(tx: Tx, client_id: ClientId, account_id: UUID) -> Traces | None:
    """Make sure that a grant may be ended at its platform now; None: it has to wait, or is not to be ended any more.

    Args:
        tx: Has not appended to the audit trail yet. The grant is locked in it from here on.
    """
    same = {"client_id": client_id, "account_id": account_id}
    await tx.maybe(RenewableGrant, "refresh_grant_hold", **same)
    if await standing(tx, client_id, account_id) is not GrantStanding.ENDING or await _consenting(
        tx, client_id, account_id
    ):
        return None
    await tx.all(UUID, "refresh_unsent_close", **same)  # whoever has one finds it closed when the request is to leave
    if await tx.maybe(UUID, "grant_waits", **same, wait_s=WAIT_S) is not None:
        return None
    under_way, lost = await tx.one(lambda row: (bool(row["open"]), bool(row["lost"])), "refresh_traces", **same)
    return Traces(under_way=under_way, lost=lost)


async def refuse_while_consenting(app: RefresherApp, grant: RenewableGrant) -> None:
    """Let pass when no consent of the account is being finished.

    Raises:
        Conflict: ``connection_in_progress``: its tokens may lie in the store without being on record.
    """
    async with app.db.begin(client_id=grant.client_id) as tx:
        if await _consenting(tx, *grant.key):
            raise _in_progress()


def _in_progress() -> Conflict:
    return Conflict("connection_in_progress", next_step="It is taken up again when the consent has ended.")


async def _consenting(tx: Tx, client_id: ClientId, account_id: UUID) -> bool:
    """Whether a consent of the account is being finished: it writes to the same places."""
    open_ones = await tx.all(Connection, "connections_of", client_id=client_id, account_id=account_id)
    return any(one.state in ("answered", "taken") for one in open_ones)


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """A renewal that goes on although its grant was ended or replaced.

    Args:
        ask: Makes the caller of the platform.
        new: The pair, if the reply is in memory.
        cut_off: Whether its request had left when it was cut off, before it was taken up again.
    """

    app: RefresherApp
    login: Login
    grant: RenewableGrant
    renewal: Renewal
    custody: AccountCustody
    ask: Callable[[], Awaitable[PlatformMore]]
    new: TokenSet | None
    cut_off: bool

    async def give_back(self) -> Came:
        """Let nothing of it live on.

        Raises:
            ByokeepError: It can not be done now; the journal is open, and it is taken up again.
        """
        base = self.renewal.journal.base
        now, first = await self._stands()
        if first and now is not GrantStanding.ENDED:
            return await self._replaced(now, first)
        if now is GrantStanding.HELD:
            raise Conflict("grant_changed", next_step="It is taken up again as what it is by then.")
        newest = await self.custody.newest(self.grant.place(SecretPart.TOKENS))
        pair, gone = self.new or await self._landed(), False
        if pair is None and newest > base:
            try:
                pair = await self._stored(newest)
            except NotFound:
                gone = True  # revoked and destroyed, and then cut off
        if pair is None:
            return await self._nothing(now, gone=gone)
        try:
            if now is GrantStanding.ENDED:
                return await self._revoke(pair)
            if newest <= base:
                newest = await self._store(pair)
            if not await self._close(Came.HANDED_OVER, only=now, version=newest):
                raise Conflict("grant_changed")
            return Came.HANDED_OVER
        finally:
            pair.wipe()

    async def _replaced(self, now: GrantStanding, first: int) -> Came:
        """Let nothing of a replaced login live on, and touch nothing of the new one, whose version is ``first``."""
        base, gone = self.renewal.journal.base, False
        place = self.grant.place(SecretPart.TOKENS)
        written = base + 1 if first > base + 1 else 0  # ours, for the store took it only right after the base
        pair = self.new or await self._landed()
        try:
            if pair is None and written:
                pair = await self._stored(written)
        except NotFound:
            gone = True  # revoked and destroyed, and then cut off
        if pair is None:
            return await self._nothing(now, gone=gone)
        try:
            ended = RevocationResult.UNCONFIRMED
            if self.login.revokes_alone or now is GrantStanding.ENDING:
                ended = await self._revoked_at_platform(pair)
        finally:
            pair.wipe()
        async with self.app.db.begin(client_id=self.grant.client_id) as tx:
            if ended is not RevocationResult.CONFIRMED and self.login.rules.model in ROTATING:
                await self._alert(tx, REPLACED_LEFT)
            await tx.append(
                self._revoked(Outcome.FAILED if ended is RevocationResult.UNCONFIRMED else Outcome.OK, ended)
            )
        if written:
            await self.custody.destroy(place, [written])
        await self._close(Came.GIVEN_BACK)
        return Came.GIVEN_BACK

    async def _stands(self) -> tuple[GrantStanding, int]:
        """Return how the grant stands, and the first version of a login that replaced what was renewed; 0: none did.

        Raises Conflict while a consent of the account is being finished.
        """
        async with self.app.db.begin(client_id=self.grant.client_id) as tx:
            if await _consenting(tx, *self.grant.key):
                raise _in_progress()
            return await standing(tx, *self.grant.key), await refresh_journal.replaced(
                tx, self.grant, self.renewal.journal.base
            )

    async def _read(self, part: SecretPart, version: int) -> Secret:
        """Read a version. Raises NotFound for one that was destroyed as for one that never was."""
        try:
            return await self.custody.read(self.grant.place(part), version)
        except ByokeepError as error:
            if is_gone(error):
                raise NotFound("not_found") from None
            raise

    async def _stored(self, version: int) -> TokenSet:
        packed = await self._read(SecretPart.TOKENS, version)
        try:
            return unpack_tokens(packed)
        finally:
            packed.wipe()

    async def _landed(self) -> TokenSet | None:
        """Take the pair out of the slot; None when there is none that can be read."""
        if not self.renewal.landing_version:
            return None
        try:
            key = await self._read(SecretPart.LANDING, self.renewal.landing_version)
            try:
                found = await self.app.slots.landed(self.renewal.id, key)
            finally:
                key.wipe()
            if found is None or found[0] != self.renewal.journal.base:
                return None
            _, status, body, at = found
            try:
                old = await self._before(at)
                answer = (await self.ask()).read_landed(old, status=status, body=body, at=at)
            finally:
                body.wipe()
        except (Integrity, NotFound):
            return None
        return answer if isinstance(answer, TokenSet) else None

    async def _before(self, at: datetime) -> TokenSet:
        """Return the set that was renewed; when that is destroyed one that says nothing: the new tokens are enough."""
        try:
            return await self._stored(self.renewal.journal.base)
        except NotFound:
            return TokenSet(
                platform=self.login.id, issuer=self.login.issuer, app_id=self.grant.app_id, access=Secret("-"),
                refresh=None, scopes=None, account_id=None, obtained_at=at, obtained_by=self.app.installation_id,
                access_expires_at=None, refresh_expires_at=None,
            )  # fmt: skip

    async def _store(self, pair: TokenSet) -> int:
        packed = pack_tokens(pair)
        try:
            place = self.grant.place(SecretPart.TOKENS)
            return (await self.custody.write(place, packed, cas=self.renewal.journal.base)).version
        finally:
            packed.wipe()

    async def _nothing(self, now: GrantStanding, *, gone: bool) -> Came:
        journal = self.renewal.journal
        # One that was cut off is closed as soon as it sees a newer version, and its reply is lost all the same.
        under_way = journal.phase in (Phase.SENT, Phase.LANDED) or (self.cut_off and journal.phase is Phase.CLOSED)
        lost = 0 if gone else journal.lost + under_way
        await self._close(Came.DISCONNECTED, lost=lost)
        one_time = self.login.rules.model in ROTATING
        if lost and (
            now is GrantStanding.ENDED or (now is GrantStanding.HELD and one_time)
        ):  # the end of a grant says it itself
            async with self.app.db.begin(client_id=self.grant.client_id) as tx:
                await self._alert(tx, REPLACED_LEFT if now is GrantStanding.HELD else _UNPROVED)
        return Came.DISCONNECTED

    async def _revoked_at_platform(self, pair: TokenSet) -> RevocationResult:
        platform = await self.ask()
        done = await platform.revoke(pair)
        for pause_s in PAUSES_S:
            if done.ended is not RevocationResult.UNCONFIRMED:
                break
            await asyncio.sleep(pause_s)
            done = await platform.revoke(pair)
        return done.ended

    async def _revoke(self, pair: TokenSet) -> Came:
        ended = await self._revoked_at_platform(pair)
        async with self.app.db.begin(client_id=self.grant.client_id) as tx:
            if ended is not RevocationResult.CONFIRMED:
                await self._alert(tx, f"revocation_{ended.value}")
            outcome = Outcome.FAILED if ended is RevocationResult.UNCONFIRMED else Outcome.OK
            await tx.append(self._revoked(outcome, ended))
        for part in (SecretPart.ACCESS, SecretPart.TOKENS):
            await burn(self.custody, self.grant.place(part))
        await self._close(Came.GIVEN_BACK)
        return Came.GIVEN_BACK

    def _revoked(self, outcome: Outcome, ended: RevocationResult) -> Event:
        grant = self.grant
        fields: dict[str, FieldValue] = {
            "platform": grant.provider.value, "login": grant.login, "account": str(grant.account_id),
            "job": str(self.renewal.job_id), "verification": ended.value, "reason": "came_too_late",
        }  # fmt: skip
        return Event(name=EventName.GRANT_REVOKED, actor=self.app.system(), outcome=outcome,
                     client_id=grant.client_id, object_id=grant.account_id, fields=fields)  # fmt: skip

    async def _alert(self, tx: Tx, reason: str) -> None:
        await open_alert(
            tx, self.app, self.app.system(), reason=reason, severity="warning",
            client_id=self.grant.client_id, object_id=self.grant.account_id,
        )  # fmt: skip

    async def _close(
        self, came: Came, *, only: GrantStanding | None = None, lost: int | None = None, **more: FieldValue
    ) -> bool:
        """Close the journal, on record; False when the grant does not stand as it has to (``only``)."""
        journal = self.renewal.journal
        closed = replace(journal, phase=Phase.CLOSED, lost=journal.lost if lost is None else lost)
        renewal = replace(self.renewal, journal=closed)
        grant = self.grant
        async with self.app.db.begin(client_id=grant.client_id) as tx:
            await tx.maybe(RenewableGrant, "refresh_grant_hold", client_id=grant.client_id, account_id=grant.account_id)
            if only is not None and await standing(tx, grant.client_id, grant.account_id) is not only:
                return False
            with suppress(NotFound):  # it was closed by the end itself: nothing had been sent
                await refresh_journal.move(tx, self.app, grant, renewal, reason=came.value)
            await tx.append(
                refresh_journal.event(
                    self.app, EventName.REFRESH_FAILED, Outcome.FAILED, grant, renewal, reason=came.value, **more
                )
            )
        return True


_UNSUPPORTED: Final = "unsupported"


async def end_replaced(
    app: RefresherApp, login: Login, one: Connection, account: PlatformAccount, custody: AccountCustody,
    platform: PlatformMore, *, version: int,
) -> None:  # fmt: skip
    """End what a login replaced, on record; the login stands whatever comes of it.

    Args:
        version: Of the tokens that were replaced.
    """
    ended = None
    if login.revokes_alone:
        place = SecretRef(one.client_id, account.platform, SecretPart.TOKENS, account.id)
        try:
            ended = (await _revoke(app, login, custody, platform, place, version)).ended
        except ByokeepError:
            ended = RevocationResult.UNCONFIRMED
    dead = ended is RevocationResult.CONFIRMED
    said: dict[str, FieldValue] = {"verification": ended.value if ended else _UNSUPPORTED, "version": version}
    with suppress(ByokeepError):  # not on record then, and tried again when the grant ends
        async with app.db.begin(client_id=one.client_id) as tx:
            stolen = await reenabling.lost_by(tx, one.client_id, account.platform.value) is RecoveryCause.COMPROMISED
            if dead:
                await tx.one(UUID, "connection_replaces", client_id=one.client_id, id=one.id, version=0)
            elif ended is not None or stolen:
                await open_alert(
                    tx, app, app.system(one.request_id), reason=REPLACED_LEFT, severity="warning",
                    client_id=one.client_id, object_id=account.id,
                )  # fmt: skip
            await tx.append(_revoked(app, one, account, Outcome.OK if dead else Outcome.FAILED, "replaced", **said))


async def end_earlier(
    app: RefresherApp, grant: OAuthGrant, custody: AccountCustody, platform: PlatformMore
) -> tuple[Ending, bool]:
    """End what logins of a grant replaced, after its own pair is proved to be dead.

    Returns:
        What is known of all of them together, and whether to try again is of no use.
    """
    async with app.db.begin(client_id=grant.client_id) as tx:
        replaced = await tx.all(int, "connections_replaced", client_id=grant.client_id, account_id=grant.account_id)
    login = app.logins.get(grant.login)
    place = SecretRef(grant.client_id, grant.provider, SecretPart.TOKENS, grant.account_id)
    worst, useless = Ending(ended=RevocationResult.CONFIRMED), False
    for version in replaced:
        try:
            done = await _revoke(app, login, custody, platform, place, version)
        except ByokeepError as error:
            if not is_gone(error) and not isinstance(error, Integrity):
                raise
            if login is not None and login.revokes_all:
                continue
            done, useless = Ending(ended=RevocationResult.UNCONFIRMED), True
        if done.ended is not RevocationResult.CONFIRMED:
            worst = Ending(ended=RevocationResult.UNCONFIRMED, retry_after_s=done.retry_after_s)
    return worst, useless


async def give_back(
    app: RefresherApp, one: Connection, account: PlatformAccount, platform: PlatformMore, tokens: TokenSet
) -> None:
    """Revoke what a consent brought that a person disconnected meanwhile; nothing where nobody did."""
    with suppress(ByokeepError):  # the consent ends for what it failed of
        async with app.db.begin(client_id=one.client_id) as tx:
            now = await tx.one(Connection, "connection_get", client_id=one.client_id, id=one.id)
        if now.reason != "disconnected":
            return
        ended = (await platform.revoke(tokens)).ended
        async with app.db.begin(client_id=one.client_id) as tx:
            if ended is not RevocationResult.CONFIRMED:
                await open_alert(
                    tx, app, app.system(one.request_id), reason=f"revocation_{ended.value}", severity="warning",
                    client_id=one.client_id, object_id=account.id,
                )  # fmt: skip
            outcome = Outcome.FAILED if ended is RevocationResult.UNCONFIRMED else Outcome.OK
            await tx.append(_revoked(app, one, account, outcome, "came_too_late", verification=ended.value))


async def _revoke(
    app: RefresherApp, login: Login | None, custody: AccountCustody, platform: PlatformMore, place: SecretRef,
    version: int,
) -> Ending:  # fmt: skip
    """Revoke a version. Raises what :meth:`AccountCustody.read` does."""
    packed = await custody.read(place, version)
    try:
        pair = unpack_tokens(packed)
    finally:
        packed.wipe()
    try:
        done = await platform.revoke(pair)
    finally:
        pair.wipe()
    over = pair.access_expires_at is None or pair.access_expires_at <= app.clock.now()
    by_access = login is None or login.revokes_by_access
    if done.ended is RevocationResult.CONFIRMED and pair.refresh is not None and by_access and over:
        return Ending(
            ended=RevocationResult.UNCONFIRMED
        )  # the access token died by itself; of the other nothing is known
    return done


def _revoked(
    app: RefresherApp, one: Connection, account: PlatformAccount, outcome: Outcome, reason: str, **said: FieldValue
) -> Event:
    fields: dict[str, FieldValue] = {
        "platform": account.platform.value, "login": one.login, "account": str(account.id), "job": str(one.job_id),
        "sop": str(one.sop_id), "reason": reason,
    }  # fmt: skip
    return Event(
        name=EventName.GRANT_REVOKED, actor=app.system(one.request_id), outcome=outcome, client_id=one.client_id,
        object_id=account.id, fields=fields | said,
    )  # fmt: skip
