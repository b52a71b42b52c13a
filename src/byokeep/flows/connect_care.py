"""What the refresher does for connected accounts beside renewing: look who they are, end them, and clear up.

Rules
- An account is looked at as often as its login's price and limits suggest, and at once when a person asks.
- Another account, or none, ends the grant as a loss does: lanes off, the platform closed, a person logs in again. So
  does an account that its platform has locked, and a grant that is over and has nothing to renew it with.
- Could not be checked is not a match either.
- A grant is ended at its platform when no renewal of it is under way: the newest pair is what has to die.
- A grant that a person ended serves nobody from that moment; what the platform made of it is said as it was proved
  (S-OAUTH-9): confirmed, unconfirmed or not offered. Its tokens are destroyed.
- A consent whose finisher died is ended, and what it had stored without a record is destroyed. Of one that ended before
  the platform was asked code and verifier are destroyed, unless a newer one of the account is under way: that one does.
- What fails for one account holds up no other one; who could not be looked at for any reason is no match.

It may not renew a token.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final
from uuid import UUID

from byokeep.core.errors import ByokeepError
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.fault import Cause, Fault
from byokeep.core.identity import Comparison, Face, Fingerprint, Verdict, compare
from byokeep.core.keystate import KeyState
from byokeep.core.model import Actor, ClientId, LeaseKind, Provider
from byokeep.core.reenable import Cause as Lost
from byokeep.core.ref import Part, SecretRef
from byokeep.core.refresh import LONGEST_ASKED_S, ROTATING
from byokeep.core.tokens import TokenSet
from byokeep.flows import apps, connections, refs
from byokeep.flows.accounts import PlatformAccount, account_from
from byokeep.flows.apart import each
from byokeep.flows.connections import Connection, Grant
from byokeep.flows.jobs import JobSpec, open_job
from byokeep.flows.refresh_end import close_for, hold
from byokeep.flows.refresh_over import Traces, before_end, is_gone
from byokeep.flows.refresher_app import AccountCustody, AppAt, Ended, Ending, Login, PlatformMore, RefresherApp
from byokeep.flows.refusal import raise_alert
from byokeep.ports import Query, Tx
from byokeep.wire.tokens import unpack_tokens

TAKEN_FOR_S: Final = 300  # seconds after which somebody who took an answer is taken for dead
MOST_TRIES: Final = 6  # of ending a grant at its platform
_KEPT: Final = 10  # versions that the store keeps of a place
_LOST: Final = Query("connections_lost", connections.connection_from)
_LEFT: Final = Query("connections_left", connections.connection_from)
_BEGINS: Final = Query("connect_lock", lambda _: None)
_TO_CHECK: Final = Query("grants_to_check", connections.grant_from)
_CHECKED: Final = Query("grant_checked", connections.grant_from)
_UNCHECKED: Final = Query("grant_unchecked", connections.grant_from)
_SEEN: Final = Query("account_seen", account_from)
_TO_END: Final = Query("grants_to_end", connections.grant_from)
_ENDING: Final = Query("grant_ending", connections.grant_from)
_END_LATER: Final = Query("grant_end_later", lambda row: row["account_id"])
_ENDED: Final = Query("grant_ended", connections.grant_from)
_RETIRED: Final = Query("account_refs_retired", refs.ref_from)
_OVER: Final = frozenset({Cause.REVOKED, Cause.EXPIRED})


async def tend(app: RefresherApp) -> int:
    """Do everything that is due; returns how many consents, looks and ends there were.

    Raises:
        Unavailable: The database is away.
    """
    parts = (sweep_lost, sweep_left, check_due, end_disconnected)
    done = await asyncio.gather(*(part(app) for part in parts), return_exceptions=True)
    for one in done:
        if isinstance(one, BaseException):
            raise one
    return sum(one for one in done if isinstance(one, int))


def _resting(app: RefresherApp, what: str) -> list[UUID]:
    return app.apart.resting(what, app.clock.monotonic())


async def sweep_lost(app: RefresherApp, *, taken_for_s: int = TAKEN_FOR_S) -> int:
    """End consents that nobody will finish, and destroy what they left in the store."""
    async with app.db.begin(every_client=True) as tx:
        lost = await tx.all(_LOST, taken_for_s=taken_for_s, resting=_resting(app, "consent_sweep"))
    return await each(app, app.apart, "consent_sweep", lost, lambda one: _end_lost(app, one))


async def _end_lost(app: RefresherApp, one: Connection) -> None:
    actor = app.system(one.request_id)
    async with app.db.begin(client_id=one.client_id) as tx:
        account = await tx.one(connections.ACCOUNT, client_id=one.client_id, id=one.account_id)
        grant = await tx.maybe(connections.GRANT, client_id=one.client_id, account_id=one.account_id)
        to, reason = ("expired", "not_answered") if one.state == "started" else ("failed", "interrupted")
        if not await connections.end(tx, actor, one, account, to=to, reason=reason):
            return
    parts = [Part.CODE, Part.VERIFIER]
    if one.state == "taken" and (grant is None or grant.state == "revoked"):
        parts += [Part.TOKENS, Part.ACCESS]  # written, perhaps, and never on record
    try:
        async with held(app, one.client_id, account.platform) as custody:
            for part in parts:
                await _burn(custody, SecretRef(one.client_id, account.platform, part, account.id))
    except ByokeepError:
        if Part.TOKENS not in parts:
            return  # worthless by itself: a code is over within minutes, a verifier opens nothing without its code
        async with app.db.begin(client_id=one.client_id) as tx:
            await raise_alert(
                tx, app, actor, reason="orphan_not_destroyed", client_id=one.client_id, object_id=account.id
            )


async def sweep_left(app: RefresherApp) -> int:
    """Destroy code and verifier of consents that ended before anybody used them; returns how many consents."""
    async with app.db.begin(every_client=True) as tx:
        left = await tx.all(_LEFT, resting=_resting(app, "consent_clear"))

    async def clear(one: Connection) -> None:
        with suppress(ByokeepError):  # they open nothing by themselves, and come again while the job is open
            await _clear_left(app, one)

    return await each(app, app.apart, "consent_clear", left, clear)


async def _clear_left(app: RefresherApp, one: Connection) -> None:
    async with app.db.begin(client_id=one.client_id) as tx:
        account = await tx.one(connections.ACCOUNT, client_id=one.client_id, id=one.account_id)
        # A consent that begins writes its verifier under this lock: what is destroyed here is not its.
        await tx.all(_BEGINS, client_id=one.client_id, platform=account.platform.value, account=account.account)
        if not await tx.all(connections.OF_ACCOUNT, client_id=one.client_id, account_id=one.account_id):
            async with app.custodian.open(one.job_id) as custody:
                for part in (Part.CODE, Part.VERIFIER):
                    await _burn(custody, SecretRef(one.client_id, account.platform, part, account.id))
    await app.custodian.close(one.job_id)


async def _burn(custody: AccountCustody, place: SecretRef) -> None:
    newest = await custody.newest(place)
    if newest:
        await custody.destroy(place, list(range(max(1, newest - _KEPT + 1), newest + 1)))


@asynccontextmanager
async def held(app: RefresherApp, client_id: ClientId, provider: Provider) -> AsyncIterator[AccountCustody]:
    """Hold a custody lease of a job of its own.

    Raises:
        ByokeepError: There is no custodian, or the broker gives none.
    """
    spec = JobSpec(client_id=client_id, runner_id=None, kind=LeaseKind.CUSTODY, secrets=(provider.value,))
    async with app.db.begin(client_id=client_id) as tx:
        job = await open_job(tx, app, app.system(), spec)
    try:
        async with app.custodian.open(job.id) as custody:
            yield custody
    finally:
        with suppress(ByokeepError):  # it ends by itself
            await app.custodian.close(job.id)


@asynccontextmanager
async def opened(app: RefresherApp, grant: Grant) -> AsyncIterator[tuple[AccountCustody, PlatformMore, TokenSet]]:
    """Hold the tokens of a grant, and its platform; they are wiped at the end.

    Raises:
        ByokeepError: Not to be had.
    """
    async with app.db.begin(client_id=grant.client_id) as tx:
        ours = await tx.one(apps.GET, login=grant.login)
    async with held(app, grant.client_id, grant.provider) as custody:
        place = SecretRef(grant.client_id, grant.provider, Part.TOKENS, grant.account_id)
        packed = await custody.read(place, await custody.newest(place))
        try:
            tokens = unpack_tokens(packed)
        finally:
            packed.wipe()
        version, secret = ours.secret_version, None
        try:
            if version:
                secret = await custody.app_secret(grant.provider, grant.login, version)
            at = AppAt(login=grant.login, app_id=grant.app_id, redirect_uri=ours.redirect_uri, secret_version=version)
            yield custody, app.platform(at, secret), tokens
        finally:
            tokens.wipe()
            if secret is not None:
                secret.wipe()


async def check_due(app: RefresherApp) -> int:
    """Look at accounts that are due; returns how many there were."""
    count = 0
    for login in app.logins.values():
        async with app.db.begin(every_client=True) as tx:
            resting = _resting(app, "account_check")
            due = await tx.all(_TO_CHECK, login=login.id, every_s=login.check_every_s, resting=resting)
        count += await each(app, app.apart, "account_check", due, partial(_look, app, login))
    return count


async def _look(app: RefresherApp, login: Login, grant: Grant) -> None:
    try:
        await check(app, login, grant)
    except ByokeepError:
        raise
    except Exception:
        with suppress(Exception):  # what nobody foresaw is no match either
            async with app.db.begin(client_id=grant.client_id) as tx:
                now = await tx.maybe(connections.GRANT, client_id=grant.client_id, account_id=grant.account_id)
                if now is not None and (now.state, now.connected_seq) == ("live", grant.connected_seq):
                    await _unknown(tx, app, login, grant, "failed")
        raise


async def check(app: RefresherApp, login: Login, grant: Grant) -> str:
    """Ask an account who it is and write down what follows.

    Returns:
        ``match``, ``drift``, ``mismatch``, ``unknown``, ``lost``, or ``superseded``: a person connected it meanwhile.
    """
    cause, faces = await _asked(app, login, grant)
    async with app.db.begin(client_id=grant.client_id) as tx:
        # Held before anything is on record: a loss takes the platform's lock before the client's chain.
        lost = _loss(grant, cause)
        expected = await tx.one(connections.ACCOUNT, client_id=grant.client_id, id=grant.account_id)
        seen = None if cause else _compared(login, grant, expected, faces)
        if lost is None and seen is not None and seen.verdict is Verdict.MISMATCH:
            lost = Lost.IDENTITY_MISMATCH, "identity_mismatch"
        if lost is not None:
            await hold(tx, grant.client_id, grant.account_id, grant.provider)
        now = await tx.maybe(connections.GRANT, client_id=grant.client_id, account_id=grant.account_id)
        if now is None or (now.state, now.connected_seq) != ("live", grant.connected_seq):
            return "superseded"
        if lost is not None:
            await _lose(tx, app, login, grant, lost, cause, seen, faces)
            return "lost" if seen is None else seen.verdict.value
        if seen is None:
            return await _unknown(tx, app, login, grant, cause)
        return await _seen(tx, app, login, grant, seen, faces)


async def _asked(app: RefresherApp, login: Login, grant: Grant) -> tuple[str, tuple[Face, ...]]:
    """Return why nobody could say who it is, empty when somebody could, and the accounts that answered."""
    try:
        async with opened(app, grant) as (_, platform, tokens):
            found = await platform.identify(tokens)
            if isinstance(found, Fault) and _loss(grant, found.cause.value) and login.rules.confirm_s:
                await asyncio.sleep(login.rules.confirm_s)  # a word that this platform is known to say falsely
                found = await platform.identify(tokens)
    except ByokeepError as error:
        return error.code, ()
    return (found.cause.value, ()) if isinstance(found, Fault) else ("", found)


def _loss(grant: Grant, cause: str) -> tuple[Lost, str] | None:
    """Return what a refusal to say who it is ends for good, and the code for it; None when a renewal may help."""
    if cause == Cause.LOCKOUT:
        return Lost.LOCKOUT, "locked"
    # Nothing is ever due of a grant that has nothing to be renewed with.
    return (Lost.REVOKED, "reauth") if cause in _OVER and grant.due_at is None else None


def _compared(login: Login, grant: Grant, account: PlatformAccount, faces: tuple[Face, ...]) -> Comparison:
    expected = Fingerprint(
        account_id=grant.external_id, username=account.username or None, display_name=account.display_name or None,
        app_id=grant.app_id,
    )  # fmt: skip
    return compare(expected, faces, app_id=grant.app_id, several_allowed=login.several_allowed)


async def _lose(
    tx: Tx, app: RefresherApp, login: Login, grant: Grant, lost: tuple[Lost, str], cause: str, seen: Comparison | None,
    faces: tuple[Face, ...],
) -> None:  # fmt: skip
    actor, (why, reason) = app.system(), lost
    fields: dict[str, FieldValue] = {"endpoint": login.endpoint, "expected_id": app.digest(grant.external_id)}
    if len(faces) == 1 and faces[0].account_id:
        fields["observed_id"] = app.digest(faces[0].account_id)
    said = {"verification": "unknown", "cause": cause}
    if seen is not None:
        said = {"verification": seen.verdict.value, "cause": seen.why.value}
    identity = "unknown" if seen is None else "mismatch"
    await close_for(tx, app, grant.client_id, grant.account_id, grant.provider, why, reason=reason)
    await tx.one(_SEEN, client_id=grant.client_id, id=grant.account_id, identity=identity)
    await tx.append(_event(EventName.ACCOUNT_VERIFIED, Outcome.FAILED, actor, grant, **said, **fields))
    if seen is not None:
        del fields["endpoint"]
        points = ",".join(seen.code_points)
        fields |= {"code_points": points} if points else {}
        await tx.append(
            _event(EventName.ACCOUNT_QUARANTINED, Outcome.FAILED, actor, grant, cause=seen.why.value, **fields)
        )
        await raise_alert(
            tx, app, actor, reason="other_account", client_id=grant.client_id, object_id=grant.account_id,
            code_points=points,
        )  # fmt: skip
    await tx.append(_event(EventName.REAUTH_NEEDED, Outcome.FAILED, actor, grant, reason=reason))


async def _unknown(tx: Tx, app: RefresherApp, login: Login, grant: Grant, cause: str) -> str:
    """Nobody could look: that is no match, and the gate has to see it so."""
    renew = cause in _OVER
    await tx.maybe(_UNCHECKED, client_id=grant.client_id, account_id=grant.account_id, renew=renew, cause=cause)
    await tx.one(_SEEN, client_id=grant.client_id, id=grant.account_id, identity="unknown")
    fields: dict[str, FieldValue] = {"verification": "unknown", "cause": cause, "endpoint": login.endpoint}
    await tx.append(_event(EventName.ACCOUNT_VERIFIED, Outcome.FAILED, app.system(), grant, **fields))
    return "unknown"


async def _seen(
    tx: Tx, app: RefresherApp, login: Login, grant: Grant, seen: Comparison, faces: tuple[Face, ...]
) -> str:
    actor, expected = app.system(), app.digest(grant.external_id)
    fields: dict[str, FieldValue] = {
        "version": grant.version, "verification": seen.verdict.value, "endpoint": login.endpoint,
        "expected_id": expected, "observed_id": expected,
    }  # fmt: skip
    face = next(face for face in faces if face.account_id == grant.external_id)
    drift = seen.verdict is Verdict.DRIFT
    await tx.maybe(
        _CHECKED, client_id=grant.client_id, account_id=grant.account_id, drift=drift, username=face.username,
        display_name=face.display_name,
    )  # fmt: skip
    await tx.one(_SEEN, client_id=grant.client_id, id=grant.account_id, identity="match")
    await tx.append(_event(EventName.ACCOUNT_VERIFIED, Outcome.OK, actor, grant, **fields))
    if drift and not grant.drift:
        await tx.append(_event(EventName.ACCOUNT_DRIFTED, Outcome.OK, actor, grant, count=len(seen.changed)))
        await raise_alert(
            tx, app, actor, reason="account_name_changed", severity="warning", client_id=grant.client_id,
            object_id=grant.account_id,
        )  # fmt: skip
    return seen.verdict.value


async def end_disconnected(app: RefresherApp) -> int:
    """End grants that a person gave up at their platforms; returns how many were tried."""
    async with app.db.begin(every_client=True) as tx:
        due = await tx.all(_TO_END, resting=_resting(app, "account_end"))
    return await each(app, app.apart, "account_end", due, lambda one: _end_grant(app, one))


async def _end_grant(app: RefresherApp, grant: Grant) -> None:
    actor = app.system()
    async with app.db.begin(client_id=grant.client_id) as tx:
        traces = await before_end(tx, grant.client_id, grant.account_id)
        if traces is None:
            return
        now = await tx.one(_ENDING, client_id=grant.client_id, account_id=grant.account_id)
        await tx.append(_event(EventName.GRANT_REVOKED, Outcome.INTENDED, actor, grant))
    last = now.tries >= MOST_TRIES
    try:
        async with opened(app, grant) as (custody, platform, tokens):
            await _burn(custody, SecretRef(grant.client_id, grant.provider, Part.ACCESS, grant.account_id))
            done = await platform.revoke(tokens)
            if _unproved(app, grant, traces, done):
                done, last = Ending(ended=Ended.UNCONFIRMED), True
            if done.ended is not Ended.UNCONFIRMED or last:
                for part in (Part.TOKENS,) if traces.under_way else (Part.TOKENS, Part.LANDING):
                    await _burn(custody, SecretRef(grant.client_id, grant.provider, part, grant.account_id))
    except ByokeepError as error:
        if not is_gone(error):
            return  # the store or the broker is away; tried again
        done, last = Ending(ended=Ended.UNCONFIRMED), True  # the tokens are gone: nothing can be proved any more
    await _record_end(app, actor, grant, done, last=last)


def _unproved(app: RefresherApp, grant: Grant, traces: Traces, done: Ending) -> bool:
    """Whether a one-time token may have been spent for a pair that nobody has: the death of ours proves nothing."""
    login = app.logins.get(grant.login)
    one_time = login is None or login.rules.model in ROTATING
    return traces.lost and one_time and done.ended is Ended.CONFIRMED


async def _record_end(app: RefresherApp, actor: Actor, grant: Grant, done: Ending, *, last: bool) -> None:
    ended = done.ended
    outcome = Outcome.FAILED if ended is Ended.UNCONFIRMED else Outcome.OK
    async with app.db.begin(client_id=grant.client_id) as tx:
        await tx.append(_event(EventName.GRANT_REVOKED, outcome, actor, grant, verification=ended.value))
        if ended is Ended.UNCONFIRMED and not last:
            wait_s = min(done.retry_after_s or 0.0, float(LONGEST_ASKED_S))
            await tx.maybe(_END_LATER, client_id=grant.client_id, account_id=grant.account_id, wait_s=wait_s)
            return
        await tx.maybe(_ENDED, client_id=grant.client_id, account_id=grant.account_id, reason=ended.value)
        for ref in await tx.all(_RETIRED, client_id=grant.client_id, account_id=grant.account_id):
            await refs.move(tx, app, actor, ref, to=KeyState.DESTROYED, reason="disconnected")
        await tx.one(_SEEN, client_id=grant.client_id, id=grant.account_id, identity="unchecked")
        if ended is not Ended.CONFIRMED:
            await raise_alert(
                tx, app, actor, reason=f"revocation_{ended.value}", severity="warning", client_id=grant.client_id,
                object_id=grant.account_id,
            )  # fmt: skip


def _event(name: EventName, outcome: Outcome, actor: Actor, grant: Grant, **fields: FieldValue) -> Event:
    return Event(
        name=name, actor=actor, outcome=outcome, client_id=grant.client_id, object_id=grant.account_id,
        fields={"platform": grant.provider.value, "login": grant.login, "version": grant.version} | fields,
    )  # fmt: skip
