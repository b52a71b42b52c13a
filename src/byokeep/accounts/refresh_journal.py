"""The written side of a renewal: the journal's row, the grant's pins and end, and the records that go with them.

Rules
- The open row of the journal is the compare-and-set between processes; its place is taken before anything else is.
- Locks are taken in one order: switches, the grant, the journal, the audit chain. A grant ends under the platform's
  exclusive lock: when that is committed no act that saw the platform open is uncommitted.
- A transaction that lets a request leave has seen every switch open, and its own installation. None lets one leave, or
  pins its reply, for a grant that a person has ended, or replaced by a new login.
- A grant that ends loses nothing that is stored; the account is off, the platform closed, and people are told at once.

It may not speak to a platform or to the store, or decide that a grant has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from byokeep.accounts.refresher_app import AppAt, Login, RefresherApp
from byokeep.core.errors import Conflict, Denied
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.model import ClientId, LeaseKind, Provider
from byokeep.core.reenable import RecoveryCause
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.core.refresh import ENDS, Journal, Phase, alarm_at, due_at, reauth_at, too_short
from byokeep.core.tokens import TokenSet
from byokeep.jobs.jobs import JobSpec, open_job
from byokeep.jobs.reenabling import lose
from byokeep.kernel.command import open_alert
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row
from byokeep.tenancy.scopes import client_scopes, hold_open, require_open

JOB_S: Final = 900  # life of a renewal's custody job
_AHEAD: Final = timedelta(minutes=5)  # by which a token may seem to be of the future


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewableGrant:
    """What a renewal must know of an account's grant."""

    client_id: ClientId
    account_id: UUID
    provider: Provider
    login: str
    app_id: str
    state: str
    version: int
    access_version: int
    obtained_at: datetime
    reauth_at: datetime | None
    alarm_at: datetime | None
    due_at: datetime | None
    tries: int
    changed_at: datetime
    purposes: Sequence[str]
    superseded_at: datetime | None

    def place(self, part: SecretPart) -> SecretRef:
        """Return a part of the account."""
        return SecretRef(self.client_id, self.provider, part, self.account_id)

    @property
    def key(self) -> tuple[ClientId, UUID]:
        """What tells one account's renewals from another's."""
        return self.client_id, self.account_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A row of the journal."""

    id: UUID
    owner: UUID
    journal: Journal
    landing_version: int
    job_id: UUID
    job_open: bool


class GrantStanding(StrEnum):
    """Whether a person has ended a grant. ``ending``: its end at the platform is to come; ``ended``: it is over."""

    HELD = "held"
    ENDING = "ending"
    ENDED = "ended"


def renewal_from(row: Row) -> Renewal:
    """Build a renewal from a row."""
    journal = Journal(base=row["base"], phase=Phase(row["phase"]), lost=row["lost"], sent_at=row["sent_at"])
    return Renewal(
        id=row["id"], owner=row["owner"], journal=journal, landing_version=row["landing_version"],
        job_id=row["job_id"], job_open=row["job_open"],
    )  # fmt: skip


async def standing(tx: Tx, client_id: ClientId, account_id: UUID) -> GrantStanding:
    """Return how a grant stands now; for as long as the transaction lasts when it holds the grant's row."""
    return await tx.one(
        lambda row: GrantStanding(row["standing"]), "grant_standing", client_id=client_id, account_id=account_id
    )


async def replaced(tx: Tx, grant: RenewableGrant, base: int) -> int:
    """Return the version of the first login that replaced what ``base`` is of; 0 when a person has made none since.

    For as long as the transaction lasts when it holds the grant's row.
    """
    return await tx.one(int, "refresh_replaced", client_id=grant.client_id, account_id=grant.account_id, base=base)


async def goes_on(tx: Tx, grant: RenewableGrant, base: int) -> bool:
    """Whether a renewal of version ``base`` still serves anybody: its grant is neither ended nor replaced."""
    held = await standing(tx, *grant.key) is GrantStanding.HELD
    return held and not await replaced(tx, grant, base)


async def take(app: RefresherApp, grant: RenewableGrant) -> tuple[RenewableGrant, Renewal] | None:
    """Begin a renewal, or take up the one that was begun here; on record before anything is asked.

    One whose grant a person has ended is taken up whatever the switches say: it only gives back.

    Returns:
        None when there is nothing to do, or somebody else does it.

    Raises:
        Denied: ``switch_closed``, ``switch_unknown``, ``other_installation``, ``clock_unsound``, ``client_not_active``.
        Unavailable: The database; nothing was begun.
    """
    async with app.db.begin(client_id=grant.client_id) as tx:
        if await standing(tx, *grant.key) is GrantStanding.HELD:
            await _may_call(tx, app, grant)
        else:
            await _at_home(tx, app)
        held = await tx.maybe(
            RenewableGrant, "refresh_grant_hold", client_id=grant.client_id, account_id=grant.account_id
        )
        if held is None:
            return None
        kept = await standing(tx, *grant.key) is GrantStanding.HELD
        found = await tx.maybe(
            renewal_from, "refresh_journal_open", client_id=grant.client_id, account_id=grant.account_id
        )
        now = app.clock.now()
        under_way = found is not None and found.journal.phase in (Phase.SENT, Phase.LANDED)
        due = kept and held.state == "live" and held.due_at is not None and held.due_at <= now
        if (found is not None and found.owner != app.owner) or not (due or under_way):
            return None
        if held.obtained_at > now + _AHEAD:
            raise Denied("clock_unsound", next_step="Set this machine's clock; it is behind the tokens.")
        if found is not None and found.job_open:
            return held, found
        spec = JobSpec(client_id=held.client_id, runner_id=None, kind=LeaseKind.CUSTODY,
                       secrets=(held.provider.value,), ttl_s=JOB_S)  # fmt: skip
        job = await open_job(tx, app, app.system(), spec)
        if found is not None:
            found = replace(found, job_id=job.id, job_open=True)
            await move(tx, app, held, found)
        else:
            found = await tx.maybe(renewal_from, "refresh_journal_begin", id=app.ids.uuid(), client_id=held.client_id,
                account_id=held.account_id,
                                   base=held.version, owner=app.owner, job_id=job.id)  # fmt: skip
            if found is None:
                raise Conflict("renewal_under_way")
        await tx.append(event(app, EventName.REFRESH_STARTED, Outcome.INTENDED, held, found))
    return held, found


async def app_of(app: RefresherApp, grant: RenewableGrant) -> AppAt:
    """Return our app, under which the grant was given.

    Raises:
        Denied: ``app_missing``, ``app_changed``.
    """
    async with app.db.begin() as tx:
        found = await tx.maybe(AppAt, "refresh_app", login=grant.login, environment=app.environment.value)
    if found is None:
        raise Denied("app_missing", next_step="An admin sets the app of this login.", login=grant.login)
    if found.app_id != grant.app_id:
        raise Denied("app_changed", next_step="Connect the account again under the new app.", login=grant.login)
    return found


async def mark_sent(app: RefresherApp, grant: RenewableGrant, renewal: Renewal) -> bool:
    """Write that the request leaves now; False when a person has ended or replaced the grant: it may not leave then.

    Raises as :func:`take`; the request may not leave then either.
    """
    async with app.db.begin(client_id=grant.client_id) as tx:
        await _may_call(tx, app, grant)
        await tx.maybe(RenewableGrant, "refresh_grant_hold", client_id=grant.client_id, account_id=grant.account_id)
        if not await goes_on(tx, grant, renewal.journal.base):
            return False
        await move(tx, app, grant, renewal)
    return True


async def save(app: RefresherApp, grant: RenewableGrant, renewal: Renewal) -> None:
    """Write how far a renewal is."""
    async with app.db.begin(client_id=grant.client_id) as tx:
        await move(tx, app, grant, renewal)


async def move(tx: Tx, app: RefresherApp, grant: RenewableGrant, renewal: Renewal, *, reason: str = "") -> None:
    """Write the journal's row; one that has ended is closed.

    Raises:
        NotFound: The row is not ours any more.
    """
    journal = renewal.journal
    await tx.one(
        UUID, "refresh_journal_move", client_id=grant.client_id, id=renewal.id, owner=app.owner,
        phase=journal.phase.value,
        lost=journal.lost, sent_at=journal.sent_at, landing_version=renewal.landing_version, job_id=renewal.job_id,
        reason=reason, over=journal.phase in ENDS,
    )  # fmt: skip


async def placed(
    app: RefresherApp, login: Login, grant: RenewableGrant, renewal: Renewal, tokens: TokenSet, *, version: int,
    access_version: int, reason: str, **more: FieldValue,
) -> bool:  # fmt: skip
    """Move every pin to a version that the store has, close the journal, and put it on record: all or nothing.

    Returns:
        False when a person has ended or replaced the grant: nothing was written then.
    """
    due = due_at(login.rules, tokens, seed=seed_of(grant, version))
    ends: dict[str, Any] = {
        "obtained_at": tokens.obtained_at, "access_expires_at": tokens.access_expires_at,
        "refresh_expires_at": tokens.refresh_expires_at, "consent_expires_at": tokens.consent_expires_at,
        "reauth_at": reauth_at(login.rules, tokens), "alarm_at": alarm_at(login.rules, tokens), "due_at": due,
    }  # fmt: skip
    async with app.db.begin(client_id=grant.client_id) as tx:
        await tx.maybe(RenewableGrant, "refresh_grant_hold", client_id=grant.client_id, account_id=grant.account_id)
        if not await goes_on(tx, grant, renewal.journal.base):
            return False
        moved = await tx.maybe(
            int, "refresh_placed", client_id=grant.client_id, account_id=grant.account_id, version=version,
            access_version=access_version, scopes=list(tokens.scopes or ()), scopes_known=tokens.scopes is not None,
            **ends,
        )  # fmt: skip
        if moved is not None:
            await tx.all(
                UUID,
                "refresh_ref_move",
                client_id=grant.client_id,
                account_id=grant.account_id,
                version=version,
                due_at=due,
            )
        await move(tx, app, grant, renewal, reason=reason)
        fields = dict(more)
        if due is not None:
            fields["due_at"] = due.strftime("%Y-%m-%dT%H:%M:%SZ")
        if reason:
            fields["reason"] = reason
        await tx.append(event(app, EventName.REFRESHED, Outcome.OK, grant, renewal, version=version, **fields))
        if too_short(tokens):
            await open_alert(tx, app, app.system(), reason="token_life_short", severity="warning",
                              client_id=grant.client_id, object_id=grant.account_id)  # fmt: skip
    return True


async def put_off(
    app: RefresherApp,
    grant: RenewableGrant,
    renewal: Renewal,
    *,
    wait_s: float,
    tries: int,
    reason: str,
    **more: FieldValue,
) -> None:
    """Write when to try again; nothing else changes."""
    due = app.clock.now() + timedelta(seconds=wait_s)
    async with app.db.begin(client_id=grant.client_id) as tx:
        await tx.maybe(RenewableGrant, "refresh_grant_hold", client_id=grant.client_id, account_id=grant.account_id)
        await tx.all(
            int, "refresh_put_off", client_id=grant.client_id, account_id=grant.account_id, due_at=due, tries=tries
        )
        await move(tx, app, grant, renewal)
        fields: dict[str, FieldValue] = {"reason": reason, "due_at": due.strftime("%Y-%m-%dT%H:%M:%SZ"), **more}
        await tx.append(event(app, EventName.REFRESH_FAILED, Outcome.FAILED, grant, renewal, **fields))


def seed_of(grant: RenewableGrant, version: int) -> bytes:
    """Return what the jitter of a version follows from."""
    return f"{grant.account_id}:{version}".encode()


def event(
    app: RefresherApp, name: EventName, outcome: Outcome, grant: RenewableGrant, renewal: Renewal, **more: FieldValue
) -> Event:
    """Return a record of a renewal."""
    fields: dict[str, FieldValue] = {
        "platform": grant.provider.value, "login": grant.login, "account": str(grant.account_id),
        "job": str(renewal.job_id), "journal": str(renewal.id), "base": renewal.journal.base,
    }  # fmt: skip
    return Event(name=name, actor=app.system(), outcome=outcome, client_id=grant.client_id,
                 object_id=grant.account_id, fields=fields | more)  # fmt: skip


async def _may_call(tx: Tx, app: RefresherApp, grant: RenewableGrant) -> None:
    """Let pass what no switch stops, in the very installation that this process was started for."""
    scopes = [*client_scopes(grant.client_id), f"client:{grant.client_id}:platform:{grant.provider.value}"]
    await hold_open(tx, scopes)
    await _at_home(tx, app)
    facts = await tx.one(
        dict, "job_open_facts", client_id=grant.client_id, installation_id=app.installation_id, scopes=scopes
    )
    require_open(facts)
    if facts["client_state"] != "active":
        raise Denied("client_not_active", next_step="An admin resumes the client first.")


async def _at_home(tx: Tx, app: RefresherApp) -> None:
    """Let nothing happen in a copy of another installation."""
    here = await tx.maybe(dict, "installation_get")
    if here is None or here["id"] != app.installation_id or here["environment"] != app.environment.value:
        raise Denied("other_installation", next_step="This is a copy of another installation; it renews nothing.")


SUPERSEDED: Final = "superseded"


async def close_for(
    tx: Tx,
    app: RefresherApp,
    client_id: ClientId,
    account_id: UUID,
    provider: Provider,
    lost_by: RecoveryCause,
    *,
    reason: str,
) -> None:
    """Let a grant end in the caller's transaction: a person must log in again, and nothing acts there until then.

    Args:
        tx: Has not appended to the audit trail yet; the locks of :func:`hold` are in it.
        reason: A code; stands on the grant and the alert.
    """
    await lose(tx, app, app.system(), client_id, provider.value, lost_by, account_id=account_id)
    await tx.all(int, "refresh_ended", client_id=client_id, account_id=account_id, reason=reason)
    await tx.all(UUID, "refresh_lanes_off", client_id=client_id, account_id=account_id)
    await open_alert(tx, app, app.system(), reason=f"account_{reason}", client_id=client_id, object_id=account_id)


async def lose_permission(app: RefresherApp, grant: RenewableGrant, renewal: Renewal) -> bool:
    """End a grant whose renewal, which is on record, brought less than its purposes need; False: it was over already.

    Raises:
        Unavailable: The database; nothing has changed then.
    """
    async with app.db.begin(client_id=grant.client_id) as tx:
        held = await hold(tx, grant.client_id, grant.account_id, grant.provider)
        if held is None or held.state != "live":
            return False
        reason = RecoveryCause.MISSING_SCOPE.value
        await close_for(
            tx, app, grant.client_id, grant.account_id, grant.provider, RecoveryCause.MISSING_SCOPE, reason=reason
        )
        said = event(app, EventName.REAUTH_NEEDED, Outcome.FAILED, held, renewal, reason=reason, version=held.version)
        await tx.append(said)
    return True


async def hold(tx: Tx, client_id: ClientId, account_id: UUID, provider: Provider) -> RenewableGrant | None:
    """Take the locks under which a grant ends, in the order of everybody; returns the grant as it stands now."""
    await hold_open(tx, client_scopes(client_id))
    await tx.all(None, "switch_lock_exclusive", scope=f"client:{client_id}:platform:{provider.value}")
    return await tx.maybe(RenewableGrant, "refresh_grant_hold", client_id=client_id, account_id=account_id)


async def give_up(
    app: RefresherApp,
    grant: RenewableGrant,
    renewal: Renewal,
    lost_by: RecoveryCause,
    *,
    reason: str,
    **more: FieldValue,
) -> str:
    """End a grant: a person must log in again. Returns the reason; empty when a person has ended it already, and
    nothing was written.

    A token that is refused after a consent which may have ended it was not stolen: its reason is ``superseded``.

    Args:
        renewal: As it is to be written: closed, or broken.
        reason: A code; stands on the grant, the record and the alert.
        more: Further fields of the record.

    Raises:
        Unavailable: The database; nothing has changed then, and the journal is still open.
    """
    name = EventName.CHAIN_BROKEN if lost_by is RecoveryCause.CHAIN_BROKEN else EventName.REAUTH_NEEDED
    async with app.db.begin(client_id=grant.client_id) as tx:
        now = await hold(tx, grant.client_id, grant.account_id, grant.provider)
        if not await goes_on(tx, grant, renewal.journal.base):
            return ""
        if (
            lost_by in (RecoveryCause.COMPROMISED, RecoveryCause.REVOKED)
            and now is not None
            and now.superseded_at is not None
        ):
            lost_by, reason = RecoveryCause.REVOKED, SUPERSEDED
        await close_for(tx, app, grant.client_id, grant.account_id, grant.provider, lost_by, reason=reason)
        await move(tx, app, grant, renewal, reason=reason)
        await tx.append(event(app, name, Outcome.FAILED, grant, renewal, reason=reason, version=grant.version, **more))
    return reason
