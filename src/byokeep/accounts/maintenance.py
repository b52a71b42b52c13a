"""What the refresher does for accounts besides renewals: identity checks, ends, reminders, cleanup.

Rules
- An account is checked as often as its login's price and limits suggest, and at once when a person asks.
- If another account answers, or none, the grant ends as lost: lanes off, the platform closed, a person must log in
  again. The same applies to an account that its platform has locked, and to an expired grant that cannot be renewed.
- What could not be checked, for any reason, is not a match, and not another account: a reply without a valid id, too.
- A grant is ended at its platform when no renewal of it is in progress, because the newest pair has to die. It serves
  nobody from the moment a person ended it. The platform's part is recorded as it was proved (S-OAUTH-9): confirmed,
  unconfirmed or not offered. Its tokens are destroyed. What earlier logins of the grant left at the platform is ended
  with it; without proof of that, the end is not confirmed.
- A consent whose finisher died is ended, and what it had stored without a record is destroyed. It may have ended what
  it was to replace: that is renewed at once, and a refusal is then no theft. Code and verifier of one that ended before
  the platform was asked are destroyed, unless the account has a newer one in progress. The accounts that a person may
  choose from are forgotten after a day. What a login replaced is ended also if its finisher died before that.
- One alert, which stays open, tells people that a grant will end unless somebody logs in again, or that its tokens have
  not been renewed for :data:`IDLE_DAYS`: platforms end idle grants silently.
- A failure for one account holds up no other.

It may not renew a token.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from byokeep.accounts import leftovers
from byokeep.accounts.connect_finish import superseded
from byokeep.accounts.leftovers import CONFIRMED, UNCONFIRMED, Traces, before_end, outcome_of
from byokeep.accounts.model import Connection, OAuthGrant, PlatformAccount, end_consent
from byokeep.accounts.refresh_journal import close_for, hold
from byokeep.accounts.refresher_app import RefresherApp, burn, each, each_due, held, identified, is_gone, opened
from byokeep.core.errors import ByokeepError, Integrity, Unavailable
from byokeep.core.events import EventName, Outcome
from byokeep.core.fault import LOCKS, OVER, Fault, FaultCause
from byokeep.core.identity import Comparison, Face, IdentityVerdict, Why, compare, printable
from byokeep.core.keystate import KeyState
from byokeep.core.reenable import RecoveryCause as Lost
from byokeep.core.ref import SecretPart
from byokeep.core.refresh import LONGEST_ASKED_S, ROTATING
from byokeep.kernel.command import Said
from byokeep.kernel.ports import Tx, ValueCustody
from byokeep.kernel.restored import restored_at, was_before
from byokeep.keys import refs
from byokeep.platforms.client import Ending
from byokeep.platforms.descriptor import OAuth

TAKEN_FOR_S: Final = 300  # seconds after which whoever took an answer is presumed dead
IDLE_DAYS: Final = 120
MOST_TRIES: Final = 6  # to end a grant at its platform, each of which asked it
_CONSENT: Final = (SecretPart.CODE, SecretPart.VERIFIER)
_GRANT: Final = (SecretPart.ACCESS, SecretPart.TOKENS, SecretPart.LANDING)


async def tend(app: RefresherApp) -> int:
    """Do everything that is due; returns how many consents, checks and ends there were.

    Raises:
        Unavailable: The database cannot be reached.
    """
    parts = (sweep_lost, sweep_left, clear_slots, forget_offered, check_due, end_disconnected, end_replaced)
    done = await asyncio.gather(*(part(app) for part in parts), return_exceptions=True)
    for one in done:
        if isinstance(one, BaseException):
            raise one
    return sum(one for one in done if isinstance(one, int))


async def sweep_lost(app: RefresherApp) -> int:
    """End consents that nobody will finish, and destroy what they left in the store."""
    act = partial(_end_lost, app, await restored_at(app))
    return await each_due(app, "consent_sweep", Connection, "connections_lost", act, taken_for_s=TAKEN_FOR_S)


async def clear_slots(app: RefresherApp) -> int:
    """Remove the slots of ended renewals, because whoever ended one may have been interrupted. The slot of a renewal
    that is not on record stays: nothing is known about it.
    """
    there = await app.slots.all()
    ended = await app.db.read(UUID, "refresh_journals_ended", {"ids": there}, every_client=True) if there else []
    for one in ended:
        await app.slots.clear(one)
    return len(ended)


async def _end_lost(app: RefresherApp, restored: datetime | None, one: Connection) -> None:
    async with app.db.begin(client_id=one.client_id) as tx:
        account = await tx.one(PlatformAccount, "account_of", client_id=one.client_id, id=one.account_id)
        to, reason = ("expired", "not_answered") if one.state == "started" else ("failed", "interrupted")
        ended = one.state != "taken" and await end_consent(
            tx, app.system(one.request_id), one, account, to=to, reason=reason
        )
    try:
        async with held(app, one.client_id, account.platform) as custody:
            if one.state == "taken":
                await _take_back(app, one, account, custody, restored)
            if one.state == "taken" or ended:
                await _burn_left(app, one, account, custody)
    except Unavailable:
        raise
    except ByokeepError:
        if one.state == "taken":
            await _leave(app, one)
        raise


async def _take_back(
    app: RefresherApp, one: Connection, account: PlatformAccount, custody: ValueCustody, restored: datetime | None
) -> None:
    """End a consent that was taken. What it stored is destroyed first, or a renewal may take it for its own."""
    actor = app.system(one.request_id)
    async with app.db.begin(client_id=one.client_id) as tx:
        grant = await tx.maybe(OAuthGrant, "refresh_grant_hold", **one.ids)
        now = await tx.one(Connection, "connection_lock", client_id=one.client_id, id=one.id)
        if now.state != "taken":
            return
        live = grant if grant is not None and grant.state != "revoked" else None
        # What is newer than the grant may be the grant's, of a time that the database lacks.
        keep = any(was_before(restored, at) for at in (one.started_at, live.obtained_at if live else one.started_at))
        asked = not await custody.live_versions(account.place(SecretPart.CODE))
        renewal = await tx.maybe(dict, "refresh_journal_open", **one.ids)
        if not keep and (renewal is None or renewal["phase"] not in ("sent", "landed")):  # nothing newer is a renewal's
            pinned = (live.version, live.access_version) if live else (0, 0)
            for part, last in zip((SecretPart.TOKENS, SecretPart.ACCESS), pinned, strict=True):
                left = [version for version in await custody.live_versions(account.place(part)) if version > last]
                if left:
                    await custody.destroy(account.place(part), left)
        if asked and live:
            login = app.logins.get(one.login)
            ends = login is None or login.refresh_rules.model in ROTATING
            await superseded(tx, app, actor, one.client_id, one.account_id, ends=ends)
        await end_consent(tx, actor, one, account, to="failed", reason="interrupted")
        if keep and not live:
            await one.alert(tx, app, reason="orphan_kept", actor=actor)
        if asked and now.reason == "disconnected":  # whoever finishes it would have given its tokens back
            await one.alert(tx, app, reason="revocation_unconfirmed", severity="warning", actor=actor)


async def _leave(app: RefresherApp, one: Connection) -> None:
    """Tell people of what a consent may have left in the store. It ends, unless a renewal could take that for its own.
    """
    actor = app.system(one.request_id)
    async with app.db.begin(client_id=one.client_id) as tx:
        grant = await tx.maybe(OAuthGrant, "refresh_grant_hold", **one.ids)
        if grant is None or grant.state == "revoked":
            account = await tx.one(PlatformAccount, "account_of", client_id=one.client_id, id=one.account_id)
            await end_consent(tx, actor, one, account, to="failed", reason="interrupted")
        await one.alert(tx, app, reason="orphan_not_destroyed", actor=actor)


async def sweep_left(app: RefresherApp) -> int:
    """Destroy code and verifier of consents that ended before anybody used them; returns how many consents."""
    return await each_due(app, "consent_clear", Connection, "connections_left", partial(_clear_left, app))


async def _clear_left(app: RefresherApp, one: Connection) -> None:
    with suppress(ByokeepError):  # they are useless alone, and are found again while the job is open
        async with app.db.begin(client_id=one.client_id) as tx:
            account = await tx.one(PlatformAccount, "account_of", client_id=one.client_id, id=one.account_id)
        async with app.custodian.open(one.job_id) as custody:
            await _burn_left(app, one, account, custody)
        await app.custodian.close(one.job_id)


async def _burn_left(app: RefresherApp, one: Connection, account: PlatformAccount, custody: ValueCustody) -> None:
    """Destroy code and verifier of a consent, unless the account has a newer one."""
    async with app.db.begin(client_id=one.client_id) as tx:
        # A new consent writes its verifier under this lock, so what is destroyed here does not belong to it.
        named = {"platform": account.platform.value, "account": account.account}
        await tx.all(None, "connect_lock", client_id=one.client_id, **named)
        if not await tx.all(Connection, "connections_of", **one.ids):
            await burn(custody, *map(account.place, _CONSENT))


async def forget_offered(app: RefresherApp) -> int:
    """Forget the accounts that consents offered, a day after these ended; returns how many consents."""
    async with app.db.begin(every_client=True) as tx:
        return len(await tx.all(UUID, "connections_forget"))


async def remind(app: RefresherApp) -> int:
    """Raise the reminders that are due; returns how many grants they are about.

    Raises:
        Unavailable: The database.
    """
    now = app.clock.now()
    found = await app.db.read(OAuthGrant, "refresh_ends_soon", {"now": now, "idle_days": IDLE_DAYS}, every_client=True)

    async def tell(grant: OAuthGrant) -> None:
        soon = grant.alarm_at is not None and grant.alarm_at <= now
        async with app.db.begin(client_id=grant.client_id) as tx:
            reason = "account_reauth_due" if soon else "account_idle_reauth_due"
            await grant.alert(tx, app, reason=reason, severity="warning")

    return await each(app, "account_remind", found, tell)


async def check_due(app: RefresherApp) -> int:
    """Check the identity of accounts that are due; returns how many there were."""
    count = 0
    for login in app.logins.values():
        act, due = partial(_look, app, login), {"login": login.id, "every_s": login.health.every_s}
        count += await each_due(app, "account_check", OAuthGrant, "grants_to_check", act, **due)
    return count


async def _look(app: RefresherApp, login: OAuth, grant: OAuthGrant) -> None:
    try:
        await check(app, login, grant)
    except ByokeepError:
        raise
    except Exception:
        with suppress(Exception):  # an unforeseen error is not a match either
            async with app.db.begin(client_id=grant.client_id) as tx:
                if await _as_it_was(tx, grant):
                    await _unknown(tx, app, login, grant, "failed")
        raise


async def _as_it_was(tx: Tx, grant: OAuthGrant) -> bool:
    """Whether a grant is live and nobody has connected its account again; it stays so until the transaction ends."""
    now = await tx.maybe(OAuthGrant, "refresh_grant_hold", **grant.ids)
    return now is not None and (now.state, now.connected_seq) == ("live", grant.connected_seq)


async def check(app: RefresherApp, login: OAuth, grant: OAuthGrant) -> str:
    """Ask the platform whose account it is, and record the result.

    Returns:
        ``match``, ``drift``, ``mismatch``, ``unknown``, ``lost``, or ``superseded``: a person connected it meanwhile.
    """
    cause, faces = await _asked(app, login, grant)
    async with app.db.begin(client_id=grant.client_id) as tx:
        # Lock before anything is recorded: a loss takes the platform's lock before the client's chain.
        lost = _loss(grant, cause)
        expected = await tx.one(PlatformAccount, "account_of", client_id=grant.client_id, id=grant.account_id)
        seen = None if cause else _compared(login, grant, expected, faces)
        if lost is None and seen is not None and seen.verdict is IdentityVerdict.MISMATCH:
            lost = Lost.IDENTITY_MISMATCH, "identity_mismatch"
        if lost is not None:
            await hold(tx, grant)
        if not await _as_it_was(tx, grant):
            return "superseded"
        if lost is not None:
            await _lose(tx, app, login, grant, lost, cause, seen, faces)
            return "lost" if seen is None else seen.verdict.value
        if seen is None:
            return await _unknown(tx, app, login, grant, cause)
        return await _seen(tx, app, login, grant, seen, faces)


async def _asked(app: RefresherApp, login: OAuth, grant: OAuthGrant) -> tuple[str, tuple[Face, ...]]:
    """Return why nobody could say whose account it is (empty if somebody could), and the accounts that answered."""
    try:
        async with opened(app, grant) as (_, platform, tokens):
            found = await identified(login, platform, tokens)
    except ByokeepError as error:
        return error.code, ()
    if isinstance(found, Fault):
        return found.cause.value, ()
    if not all(one.account_id for one in found):  # as in an empty reply of somebody on the way
        return Why.NO_ID.value, ()
    strange = any(one.account_id == grant.external_id and not printable(one) for one in found)
    return ("name_not_printable", ()) if strange else ("", found)


def _loss(grant: OAuthGrant, cause: str) -> tuple[Lost, str] | None:
    """Return the loss that a refused identity call means, and its code; None if a renewal may help."""
    if cause in LOCKS:
        return Lost.LOCKOUT, "locked" if cause == FaultCause.LOCKOUT else cause
    # A grant that cannot be renewed never has a due date.
    return (Lost.REVOKED, "reauth") if cause in OVER and grant.due_at is None else None


def _compared(login: OAuth, grant: OAuthGrant, account: PlatformAccount, faces: tuple[Face, ...]) -> Comparison:
    expected = account.fingerprint(grant.external_id, grant.app_id)
    return compare(expected, faces, app_id=grant.app_id, several_allowed=login.identity.several_allowed)


async def _lose(
    tx: Tx, app: RefresherApp, login: OAuth, grant: OAuthGrant, lost: tuple[Lost, str], cause: str,
    seen: Comparison | None, faces: tuple[Face, ...],
) -> None:  # fmt: skip
    why, reason = lost
    fields: dict[str, Said] = {"expected_id": app.digest(grant.external_id)}
    if len(faces) == 1 and faces[0].account_id:
        fields["observed_id"] = app.digest(faces[0].account_id)
    said = {"verification": "unknown", "cause": cause, "endpoint": login.identity.call.name}
    if seen is not None:
        said |= {"verification": seen.verdict.value, "cause": seen.why.value}
    await close_for(tx, app, grant, why, reason=reason)
    await _show(tx, grant, "unknown" if seen is None else "mismatch")
    await _record(tx, EventName.ACCOUNT_VERIFIED, Outcome.FAILED, app, grant, **said, **fields)
    if seen is not None:
        for face in faces if seen.why is Why.LOOK_ALIKE else ():  # one has that id; people have to see it
            if face.account_id == grant.external_id:
                names = {"username": face.username, "display_name": face.display_name}
                await tx.maybe(UUID, "grant_said", **grant.ids, **names)
        points = ",".join(seen.code_points)
        fields |= {"code_points": points} if points else {}
        quarantined, cause = EventName.ACCOUNT_QUARANTINED, seen.why.value
        await _record(tx, quarantined, Outcome.FAILED, app, grant, cause=cause, **fields)
        await grant.alert(tx, app, reason="other_account", code_points=points)
    await _record(tx, EventName.REAUTH_NEEDED, Outcome.FAILED, app, grant, reason=reason)


async def _unknown(tx: Tx, app: RefresherApp, login: OAuth, grant: OAuthGrant, cause: str) -> str:
    """Record that the check could not be made: that is not a match, and the gate must see it so."""
    await tx.maybe(OAuthGrant, "grant_unchecked", **grant.ids, renew=cause in OVER, cause=cause)
    await _show(tx, grant, "unknown")
    fields: dict[str, Said] = {"verification": "unknown", "cause": cause, "endpoint": login.identity.call.name}
    await _record(tx, EventName.ACCOUNT_VERIFIED, Outcome.FAILED, app, grant, **fields)
    return "unknown"


async def _seen(
    tx: Tx, app: RefresherApp, login: OAuth, grant: OAuthGrant, seen: Comparison, faces: tuple[Face, ...]
) -> str:
    expected = app.digest(grant.external_id)
    face = next(face for face in faces if face.account_id == grant.external_id)
    drift = seen.verdict is IdentityVerdict.DRIFT
    names = {"username": face.username, "display_name": face.display_name}
    await tx.maybe(OAuthGrant, "grant_checked", **grant.ids, **names, drift=drift)
    await _show(tx, grant, "match")
    said = {"verification": seen.verdict.value, "endpoint": login.identity.call.name}
    same = {"expected_id": expected, "observed_id": expected}
    await _record(tx, EventName.ACCOUNT_VERIFIED, Outcome.OK, app, grant, **said, **same)
    if drift and not grant.drift:
        await _record(tx, EventName.ACCOUNT_DRIFTED, Outcome.OK, app, grant, count=len(seen.changed))
        await grant.alert(tx, app, reason="account_name_changed", severity="warning")
    return seen.verdict.value


async def _show(tx: Tx, grant: OAuthGrant, identity: str) -> None:
    await tx.one(PlatformAccount, "account_seen", client_id=grant.client_id, id=grant.account_id, identity=identity)


async def end_disconnected(app: RefresherApp) -> int:
    """End, at their platforms, the grants that a person disconnected; returns how many were tried."""
    return await each_due(app, "account_end", OAuthGrant, "grants_to_end", partial(_end_grant, app))


async def _end_grant(app: RefresherApp, grant: OAuthGrant) -> None:
    async with app.db.begin(client_id=grant.client_id) as tx:
        traces = await before_end(tx, grant)
        if traces is None:
            return
        await tx.one(UUID, "grant_ending", **grant.ids)
        await _record(tx, EventName.GRANT_REVOKED, Outcome.INTENDED, app, grant)
    last = False
    try:
        async with opened(app, grant) as (custody, platform, tokens):
            async with app.db.begin(client_id=grant.client_id) as tx:
                last = await tx.one(int, "grant_end_tried", **grant.ids) >= MOST_TRIES
            await burn(custody, grant.place(SecretPart.ACCESS))
            done = await platform.revoke(tokens)
            if _unproved(app, grant, traces, done):
                done = Ending(ended=UNCONFIRMED, final=True)
            last = last or done.final
            if done.ended is CONFIRMED or (done.ended is UNCONFIRMED and last):
                earlier = await leftovers.end_earlier(app, grant, custody, platform)
                done, last = (done if done.ended is UNCONFIRMED else earlier), last or earlier.final
            if done.ended is not UNCONFIRMED or last:
                await burn(custody, *map(grant.place, _GRANT[:2] if traces.under_way else _GRANT))
    except ByokeepError as error:
        # Nobody can end it: it belongs to another app of ours, or what is stored or answered cannot be read.
        unreadable = isinstance(error, Integrity) and (last or error.code == "token_set_unreadable")
        if unreadable or error.code in ("app_changed", "app_missing"):
            async with held(app, grant.client_id, grant.provider) as custody:
                await burn(custody, *map(grant.place, _GRANT))
        elif not is_gone(error):
            raise  # the store or the broker cannot be reached; it is tried again, after a growing pause
        done, last = Ending(ended=UNCONFIRMED), True  # the tokens are gone: nothing can be proved
    await _record_end(app, grant, done, last=last)
    login = app.logins.get(grant.login)
    if login is not None and login.revokes_all:  # which other accounts had the same owner's consent is checked at once
        async with app.db.begin(client_id=grant.client_id) as tx:
            await tx.all(UUID, "grants_beside_look", **grant.ids, login=grant.login)


async def end_replaced(app: RefresherApp) -> int:
    """End what logins replaced that nobody has ended; returns how many logins."""
    act, asked = partial(_end_replaced, app), {"taken_for_s": TAKEN_FOR_S, "logins": list(app.logins)}
    return await each_due(app, "replaced_end", Connection, "connections_replaced_left", act, **asked)


async def _end_replaced(app: RefresherApp, one: Connection) -> None:
    async with app.db.begin(client_id=one.client_id) as tx:
        account = await tx.one(PlatformAccount, "account_of", client_id=one.client_id, id=one.account_id)
        grant = await tx.one(OAuthGrant, "grant_of", **one.ids)
    async with opened(app, grant) as (custody, platform, _):
        login, version = app.logins[one.login], one.replaces or 0
        await leftovers.end_replaced(app, login, one, account, custody, platform, version=version)


def _unproved(app: RefresherApp, grant: OAuthGrant, traces: Traces, done: Ending) -> bool:
    """Whether a one-time token may have been spent on a pair that nobody has, so that the death of ours proves nothing.
    """
    login = app.logins.get(grant.login)
    one_time = login is None or login.refresh_rules.model in ROTATING
    return traces.lost and one_time and done.ended is CONFIRMED


async def _record_end(app: RefresherApp, grant: OAuthGrant, done: Ending, *, last: bool) -> None:
    ended = done.ended
    revoked, outcome = EventName.GRANT_REVOKED, outcome_of(ended)
    async with app.db.begin(client_id=grant.client_id) as tx:
        if ended is UNCONFIRMED and not last:
            await _record(tx, revoked, outcome, app, grant, verification=ended.value)
            wait_s = min(done.retry_after_s or 0.0, float(LONGEST_ASKED_S))
            await tx.maybe(UUID, "grant_end_later", **grant.ids, wait_s=wait_s)
            return
        await tx.maybe(OAuthGrant, "grant_ended", **grant.ids, reason=ended.value)
        await _record(tx, revoked, outcome, app, grant, verification=ended.value)
        for ref in await tx.all(refs.ref_from, "account_refs_retired", **grant.ids):
            await refs.move(tx, app, app.system(), ref, to=KeyState.DESTROYED, reason="disconnected")
        if ended is not CONFIRMED:
            await grant.alert(tx, app, reason=f"revocation_{ended.value}", severity="warning")


async def _record(
    tx: Tx, name: EventName, outcome: Outcome, app: RefresherApp, grant: OAuthGrant, **fields: Said
) -> None:
    said = {"platform": grant.provider.value, "login": grant.login, "version": grant.version}
    await grant.record(tx, name, outcome, app.system(), **said | fields)
