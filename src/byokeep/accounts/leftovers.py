"""Ending tokens that no longer serve anybody: of a renewal that came too late, or of a replaced login.

Rules
- A grant is ended at its platform only when no renewal of it is in progress, because the newest pair has to die. A
  renewal whose request has not left is closed. One that is in progress is waited for, as long as a renewal can take.
- The pair of a late renewal is stored as the newest, which the end then revokes. If the grant has already ended, the
  pair is revoked here, proved dead by use, and destroyed.
- A pair that comes after a new login replaced its grant, and the pair that a login replaced, are revoked if that leaves
  the new one alone. Otherwise nothing is faked: the record says so, and people are told of a refresh token that may
  still be live. The end of a grant ends every pair that a login of it replaced.
- A lost reply may have held tokens that nobody has, so then the end of a one-time chain is never called confirmed.
- Tokens that a consent brought after a person disconnected the account are revoked; they were stored nowhere.
- What is interrupted here stays in the journal and in its slot, and is taken up at the next start.

It may not pin a version, or decide that a grant has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar
from uuid import UUID

from byokeep.accounts import refresh_journal
from byokeep.accounts.model import Connection, OAuthGrant, PlatformAccount
from byokeep.accounts.refresh_journal import GrantStanding, Renewal, consenting, refuse_while_consenting, standing
from byokeep.accounts.refresher_app import (
    RefresherApp,
    app_of,
    asked,
    burn,
    is_gone,
    newest_there,
    read_tokens,
    write_after,
)
from byokeep.core.errors import ByokeepError, Conflict, Integrity, NotFound
from byokeep.core.events import EventName, Outcome
from byokeep.core.reenable import RecoveryCause
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.core.refresh import ROTATING, Phase
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet
from byokeep.jobs import reenabling
from byokeep.kernel.command import Said
from byokeep.kernel.ports import Tx, ValueCustody
from byokeep.platforms.client import Ending, PlatformClient, RevocationResult
from byokeep.platforms.descriptor import OAuth

WAIT_S: Final = 900  # as long as a renewal can take
REPLACED_LEFT: Final = "replaced_tokens_left"
CAME_TOO_LATE: Final = "came_too_late"
PAUSES_S: Final = (5.0, 30.0)  # between tries of ending a pair that came too late
T = TypeVar("T")
CONFIRMED, UNCONFIRMED = RevocationResult.CONFIRMED, RevocationResult.UNCONFIRMED


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What renewals have left behind when a grant ends.

    Args:
        under_way: Another machine still has one, for longer than a renewal can take.
        lost: A reply to a renewal of the newest version was lost, or may still come.
    """

    under_way: bool
    lost: bool


class Came(StrEnum):
    """What happened to a late renewal.

    ``disconnected``: it brought nothing. ``handed_over``: the end revokes its pair. ``given_back``: revoked here.
    """

    DISCONNECTED = "disconnected"
    HANDED_OVER = "handed_over"
    GIVEN_BACK = "given_back"


async def _there(reading: Awaitable[T]) -> T:
    """Read a version. Raises NotFound for one that was destroyed, as for one that never existed."""
    try:
        return await reading
    except ByokeepError as error:
        if is_gone(error):
            raise NotFound("not_found") from None
        raise


def outcome_of(ended: RevocationResult) -> Outcome:
    """Return the outcome for the record of an end."""
    return Outcome.FAILED if ended is UNCONFIRMED else Outcome.OK


async def before_end(tx: Tx, grant: OAuthGrant) -> Traces | None:
    """Check that a grant may be ended at its platform now; None if it has to wait, or is no longer to be ended.

    Args:
        tx: Has not yet appended to the audit log. It holds the grant's lock from here on.
    """
    await tx.maybe(OAuthGrant, "refresh_grant_hold", **grant.ids)
    if await standing(tx, grant) is not GrantStanding.ENDING or await consenting(tx, grant):
        return None
    await tx.all(UUID, "refresh_unsent_close", **grant.ids)  # its owner finds it closed before sending the request
    if await tx.maybe(UUID, "grant_waits", **grant.ids, wait_s=WAIT_S) is not None:
        return None
    under_way, lost = await tx.one(lambda row: (bool(row["open"]), bool(row["lost"])), "refresh_traces", **grant.ids)
    return Traces(under_way=under_way, lost=lost)


class RenewalInHand:
    """What a renewal works with, and how it ends if its grant was ended or replaced meanwhile.

    Args:
        app: The refresher's ports.
        login: What is known about the platform's login.
        renewal: As :func:`byokeep.accounts.refresh_journal.take` gave it.
        custody: Open until the renewal ends.
        held: Closed when the renewal ends.
    """

    def __init__(
        self, app: RefresherApp, login: OAuth, renewal: Renewal, custody: ValueCustody, held: AsyncExitStack
    ) -> None:
        self.app, self.login, self.custody, self._held_until = app, login, custody, held
        self.renewal, self.grant = renewal, renewal.grant
        # Whether its request had left when it was interrupted, before it was taken up again.
        self._cut_off = renewal.journal.phase in (Phase.SENT, Phase.LANDED)
        self._platform: PlatformClient | None = None
        self._key: Secret | None = None  # of the slot
        self.new: TokenSet | None = None  # the pair, if the reply is in memory

    async def ask(self) -> PlatformClient:
        """Return the client of the platform."""
        if self._platform is None:
            asking = asked(self.app, self.custody, self.grant.provider, await app_of(self.app, self.grant))
            self._platform = await self._held_until.enter_async_context(asking)
        return self._platform

    async def reply(self) -> tuple[int, Secret, datetime] | None:
        """Return the reply in the slot: status, body, time. None if this renewal has none that can be read."""
        if not self.renewal.landing_version:
            return None
        try:
            place = self.grant.place(SecretPart.LANDING)
            if self._key is None:
                self._key = await _there(self.custody.read(place, self.renewal.landing_version))
            found = await self.app.slots.landed(self.renewal.id, self._key)
        except (Integrity, NotFound):
            return None
        return found[1:] if found is not None and found[0] == self.renewal.journal.base else None

    async def give_back(self) -> Came:
        """Leave nothing of the renewal live.

        Raises:
            ByokeepError: It cannot be done now. The journal stays open, and it is taken up again.
        """
        grant, base = self.grant, self.renewal.journal.base
        async with self.app.db.begin(client_id=grant.client_id) as tx:
            await refuse_while_consenting(tx, grant)
            now = await standing(tx, grant)
            first = await refresh_journal.replaced(tx, self.renewal)
        tokens = grant.place(SecretPart.TOKENS)
        if first and now is not GrantStanding.ENDED:
            # If ours was written, it is the version right after the base, before the new login's.
            return await self._replaced(now, base + 1 if first > base + 1 else 0)
        if now is GrantStanding.HELD:
            raise Conflict("grant_changed", next_step="This is retried with the state that it has by then.")
        newest = await self.custody.newest(tokens)
        pair, gone = await self._pair(newest if newest > base else 0)
        if pair is None:
            return await self._nothing(now, gone=gone)
        with pair:
            if now is GrantStanding.ENDED:
                return await self._revoke(pair)
            if (newest := await newest_there(self.custody, tokens, base)) <= base:
                newest = (await write_after(self.custody, tokens, pair, base)).version
            if not await self._close(Came.HANDED_OVER, only=now, version=newest):
                raise Conflict("grant_changed")
            return Came.HANDED_OVER

    async def _pair(self, written: int) -> tuple[TokenSet | None, bool]:
        """Return the pair that came, and whether it is gone: revoked and destroyed before an interruption.

        Args:
            written: The version under which the store may have it; 0: none.
        """
        pair = self.new or await self._landed()
        if pair is None and written:
            with suppress(NotFound):
                return await self._stored(written), False
            return None, True
        return pair, False

    async def _replaced(self, now: GrantStanding, written: int) -> Came:
        """Leave nothing of a replaced login live, and touch nothing of the new one."""
        pair, gone = await self._pair(written)
        if pair is None:
            return await self._nothing(now, gone=gone)
        with pair:
            ended = UNCONFIRMED
            if self.login.revokes_alone or now is GrantStanding.ENDING:
                ended = await self._revoked_at_platform(pair)
        left = ended is not CONFIRMED and self.login.refresh_rules.model in ROTATING
        await self._tell(ended, REPLACED_LEFT if left else "")
        if written:
            await self.custody.destroy(self.grant.place(SecretPart.TOKENS), [written])
        await self._close(Came.GIVEN_BACK)
        return Came.GIVEN_BACK

    async def _stored(self, version: int) -> TokenSet:
        return await _there(read_tokens(self.custody, self.grant.place(SecretPart.TOKENS), version))

    async def _landed(self) -> TokenSet | None:
        """Read the pair in the slot; None if there is none that can be read."""
        found = await self.reply()
        if found is None:
            return None
        status, body, at = found
        try:
            answer = (await self.ask()).read_landed(await self._before(at), status=status, body=body, at=at)
        except (Integrity, NotFound):
            return None
        finally:
            body.wipe()
        return answer if isinstance(answer, TokenSet) else None

    async def _before(self, at: datetime) -> TokenSet:
        """Return the set that was renewed. If it is destroyed, return an empty one: the new tokens are enough."""
        try:
            return await self._stored(self.renewal.journal.base)
        except NotFound:
            return TokenSet(
                platform=self.login.id, issuer=self.login.issuer, app_id=self.grant.app_id, access=Secret("-"),
                obtained_at=at, obtained_by=self.app.installation_id,
            )  # fmt: skip

    async def _nothing(self, now: GrantStanding, *, gone: bool) -> Came:
        journal = self.renewal.journal
        # An interrupted renewal is closed as soon as it sees a newer version, but its reply is still lost.
        under_way = journal.phase in (Phase.SENT, Phase.LANDED) or (self._cut_off and journal.phase is Phase.CLOSED)
        lost = 0 if gone else journal.lost + under_way
        await self._close(Came.DISCONNECTED, lost=lost)
        held, one_time = now is GrantStanding.HELD, self.login.refresh_rules.model in ROTATING
        if lost and (now is GrantStanding.ENDED or (held and one_time)):  # the end of a grant reports it itself
            async with self.app.db.begin(client_id=self.grant.client_id) as tx:
                reason = REPLACED_LEFT if held else "revocation_unconfirmed"
                await self.grant.alert(tx, self.app, reason=reason, severity="warning")
        return Came.DISCONNECTED

    async def _revoked_at_platform(self, pair: TokenSet) -> RevocationResult:
        platform = await self.ask()
        done = await platform.revoke(pair)
        for pause_s in PAUSES_S:
            if done.ended is not UNCONFIRMED or done.final:
                break
            await asyncio.sleep(pause_s)
            done = await platform.revoke(pair)
        return done.ended

    async def _revoke(self, pair: TokenSet) -> Came:
        ended = await self._revoked_at_platform(pair)
        await self._tell(ended, "" if ended is CONFIRMED else f"revocation_{ended.value}")
        for part in (SecretPart.ACCESS, SecretPart.TOKENS):
            await burn(self.custody, self.grant.place(part))
        await self._close(Came.GIVEN_BACK)
        return Came.GIVEN_BACK

    async def _tell(self, ended: RevocationResult, alarm: str) -> None:
        """Record what happened to the pair, and raise the alert ``alarm`` if there is one."""
        grant = self.grant
        fields = {
            "platform": grant.provider.value, "login": grant.login, "account": grant.account_id,
            "job": self.renewal.job_id, "verification": ended.value, "reason": CAME_TOO_LATE,
        }  # fmt: skip
        async with self.app.db.begin(client_id=grant.client_id) as tx:
            if alarm:
                await grant.alert(tx, self.app, reason=alarm, severity="warning")
            await grant.record(tx, EventName.GRANT_REVOKED, outcome_of(ended), self.app.system(), **fields)

    async def _close(
        self, came: Came, *, only: GrantStanding | None = None, lost: int | None = None, **more: Said
    ) -> bool:
        """Close the journal, on record; False if the grant's standing is not the required one (``only``)."""
        renewal = self.renewal.at(Phase.CLOSED)
        if lost is not None:
            renewal = replace(renewal, journal=replace(renewal.journal, lost=lost))
        async with self.app.db.begin(client_id=renewal.grant.client_id) as tx:
            await tx.maybe(OAuthGrant, "refresh_grant_hold", **renewal.grant.ids)
            if only is not None and await standing(tx, renewal.grant) is not only:
                return False
            with suppress(NotFound):  # the end itself closed it: nothing had been sent
                await refresh_journal.move(tx, self.app, renewal, reason=came.value)
            await renewal.record(tx, self.app, EventName.REFRESH_FAILED, Outcome.FAILED, reason=came.value, **more)
        return True


async def end_replaced(
    app: RefresherApp, login: OAuth, one: Connection, account: PlatformAccount, custody: ValueCustody,
    platform: PlatformClient, *, version: int,
) -> None:  # fmt: skip
    """End what a login replaced, on record. The login stands whatever the result.

    Args:
        version: The version of the tokens that were replaced.
    """
    ended = None
    if login.revokes_alone:
        try:
            ended = (await _revoke(custody, platform, account.place(SecretPart.TOKENS), version)).ended
        except ByokeepError:
            ended = UNCONFIRMED
    with suppress(ByokeepError):  # then it is not on record, and is tried again when the grant ends
        async with app.db.begin(client_id=one.client_id) as tx:
            stolen = await reenabling.lost_by(tx, one.client_id, account.platform.value) is RecoveryCause.COMPROMISED
            if ended is CONFIRMED:
                await tx.one(UUID, "connection_replaces", client_id=one.client_id, id=one.id, version=0)
            elif ended is not None or stolen:
                await one.alert(tx, app, reason=REPLACED_LEFT, severity="warning", actor=app.system(one.request_id))
            said = {"verification": ended.value if ended else "unsupported", "version": version}
            outcome = Outcome.OK if ended is CONFIRMED else Outcome.FAILED
            await _record_revoked(tx, app, one, account, outcome, reason="replaced", **said)


async def end_earlier(
    app: RefresherApp, grant: OAuthGrant, custody: ValueCustody, platform: PlatformClient
) -> Ending:
    """End what logins of a grant replaced, after its own pair is proved dead; returns what is known of all together.
    """
    replaced = await app.db.read(int, "connections_replaced", grant.ids, client_id=grant.client_id)
    login, place = app.logins.get(grant.login), grant.place(SecretPart.TOKENS)
    worst = Ending(ended=CONFIRMED)
    for version in replaced:
        try:
            done = await _revoke(custody, platform, place, version)
        except ByokeepError as error:
            if not is_gone(error) and not isinstance(error, Integrity):
                raise
            if login is not None and login.revokes_all:
                continue
            done = Ending(ended=UNCONFIRMED, final=True)
        if done.ended is not CONFIRMED:
            final = worst.final or done.final
            worst = Ending(ended=UNCONFIRMED, retry_after_s=done.retry_after_s, final=final)
    return worst


async def give_back(
    app: RefresherApp, one: Connection, account: PlatformAccount, platform: PlatformClient, tokens: TokenSet
) -> None:
    """Revoke the tokens of a consent if a person disconnected the account meanwhile; otherwise do nothing."""
    with suppress(ByokeepError):  # the consent ends with its own error
        async with app.db.begin(client_id=one.client_id) as tx:
            now = await tx.one(Connection, "connection_get", client_id=one.client_id, id=one.id)
        if now.reason != "disconnected":
            return
        ended = (await platform.revoke(tokens)).ended
        async with app.db.begin(client_id=one.client_id) as tx:
            if ended is not CONFIRMED:
                reason, actor = f"revocation_{ended.value}", app.system(one.request_id)
                await one.alert(tx, app, reason=reason, severity="warning", actor=actor)
            said = {"reason": CAME_TOO_LATE, "verification": ended.value}
            await _record_revoked(tx, app, one, account, outcome_of(ended), **said)


async def _revoke(custody: ValueCustody, platform: PlatformClient, place: SecretRef, version: int) -> Ending:
    """Revoke a version. Raises what :meth:`ValueCustody.read` does."""
    with await read_tokens(custody, place, version) as pair:
        return await platform.revoke(pair)


async def _record_revoked(
    tx: Tx, app: RefresherApp, one: Connection, account: PlatformAccount, outcome: Outcome, **said: Said
) -> None:
    ids = {"account": account.id, "job": one.job_id, "sop": one.sop_id}
    about, actor = {"platform": account.platform.value, "login": one.login}, app.system(one.request_id)
    await one.record(tx, EventName.GRANT_REVOKED, outcome, actor, **about, **ids, **said)
