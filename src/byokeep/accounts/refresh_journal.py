"""What a renewal writes to the database: the journal's row, the grant's pins and end, and their records.

Rules
- The journal's open row is the compare-and-set between processes; it is taken before anything else is done.
- Locks are taken in one order: switches, the grant, the journal, the audit chain. A grant ends under the platform's
  exclusive lock: once that is committed, no act that saw the platform open is uncommitted.
- A transaction that lets a request leave has seen every switch open, and that this is its own installation. No
  transaction lets a request leave, or pins its reply, for a grant that a person has ended or replaced by a new login.
- The end of a grant destroys nothing that is stored. The account is off, the platform closed, and people are told at
  once.

It may not talk to a platform or to the store, or decide that a grant has ended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Any, Final
from uuid import UUID

from byokeep.accounts.model import Connection, OAuthGrant
from byokeep.accounts.refresher_app import RefresherApp
from byokeep.core.errors import Conflict, Denied
from byokeep.core.events import EventName, Outcome
from byokeep.core.model import LeaseKind
from byokeep.core.reenable import RecoveryCause
from byokeep.core.refresh import ENDS, Journal, Phase, alarm_at, due_at, reauth_at, too_short
from byokeep.core.tokens import TokenSet
from byokeep.jobs.jobs import JobSpec, open_job
from byokeep.jobs.reenabling import lose
from byokeep.kernel.command import Said
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row
from byokeep.platforms.descriptor import OAuth
from byokeep.tenancy.scopes import client_scopes, hold_open, require_open

JOB_S: Final = 900  # life of a renewal's custody job
SUPERSEDED: Final = "superseded"
_AHEAD: Final = timedelta(minutes=5)  # how far in the future a token may seem to be


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A row of the journal, and the grant as it was when the renewal was taken."""

    grant: OAuthGrant
    id: UUID
    owner: UUID
    journal: Journal
    landing_version: int
    job_id: UUID
    job_open: bool

    def at(self, phase: Phase) -> Renewal:
        """Return the renewal at ``phase``."""
        return replace(self, journal=replace(self.journal, phase=phase))

    async def record(self, tx: Tx, app: RefresherApp, name: EventName, outcome: Outcome, **more: Said) -> None:
        """Append a record of the renewal."""
        grant, base = self.grant, self.journal.base
        about = {"platform": grant.provider.value, "login": grant.login, "account": grant.account_id}
        ids = {"job": self.job_id, "journal": self.id}
        await grant.record(tx, name, outcome, app.system(), **about, **ids, base=base, **more)


class GrantStanding(StrEnum):
    """Whether a person has ended a grant. ``ending``: not yet at the platform; ``ended``: completely."""

    HELD = "held"
    ENDING = "ending"
    ENDED = "ended"


async def standing(tx: Tx, grant: OAuthGrant) -> GrantStanding:
    """Return a grant's current standing, which lasts until the transaction ends if that holds the grant's row."""
    return await tx.one(lambda row: GrantStanding(row["standing"]), "grant_standing", **grant.ids)


async def replaced(tx: Tx, renewal: Renewal) -> int:
    """Return the version of the first login that replaced what is renewed; 0 if there was none since.

    This lasts until the transaction ends if that holds the grant's row.
    """
    return await tx.one(int, "refresh_replaced", **renewal.grant.ids, base=renewal.journal.base)


async def goes_on(tx: Tx, renewal: Renewal) -> bool:
    """Whether a renewal still serves anybody: its grant is neither ended nor replaced."""
    held = await standing(tx, renewal.grant) is GrantStanding.HELD
    return held and not await replaced(tx, renewal)


async def consenting(tx: Tx, grant: OAuthGrant) -> bool:
    """Whether a consent of the account is being finished, which writes to the same places."""
    open_ones = await tx.all(Connection, "connections_of", **grant.ids)
    return any(one.state in ("answered", "taken") for one in open_ones)


async def refuse_while_consenting(tx: Tx, grant: OAuthGrant) -> None:
    """Check that no consent of the account is being finished.

    Raises:
        Conflict: ``connection_in_progress``: its tokens may be in the store without being on record, and the stored
            ones may have ended.
    """
    if await consenting(tx, grant):
        raise Conflict("connection_in_progress", next_step="This is retried once the consent has ended.")


def _renewal_of(grant: OAuthGrant, row: Row) -> Renewal:
    journal = Journal(base=row["base"], phase=Phase(row["phase"]), lost=row["lost"], sent_at=row["sent_at"])
    same = {name: row[name] for name in ("id", "owner", "landing_version", "job_id", "job_open")}
    return Renewal(grant=grant, journal=journal, **same)


async def take(app: RefresherApp, grant: OAuthGrant) -> Renewal | None:
    """Begin a renewal, or take up the one that was begun here; it is on record before anything is asked.

    If a person has ended the grant, it is taken up whatever the switches say, because it only gives back.

    Returns:
        None if there is nothing to do, or somebody else does it.

    Raises:
        Denied: ``switch_closed``, ``switch_unknown``, ``other_installation``, ``clock_unsound``, ``client_not_active``.
        Unavailable: The database; nothing was begun.
    """
    async with app.db.begin(client_id=grant.client_id) as tx:
        if await standing(tx, grant) is GrantStanding.HELD:
            await _may_call(tx, app, grant)
        else:
            await _at_home(tx, app)
        held = await tx.maybe(OAuthGrant, "refresh_grant_hold", **grant.ids)
        if held is None:
            return None
        kept = await standing(tx, grant) is GrantStanding.HELD
        found = await tx.maybe(partial(_renewal_of, held), "refresh_journal_open", **grant.ids)
        now = app.clock.now()
        under_way = found is not None and found.journal.phase in (Phase.SENT, Phase.LANDED)
        due = kept and held.state == "live" and held.due_at is not None and held.due_at <= now
        if (found is not None and found.owner != app.owner) or not (due or under_way):
            return None
        if held.obtained_at > now + _AHEAD:
            raise Denied("clock_unsound", next_step="Set this machine's clock: it is behind the tokens' times.")
        if found is not None and found.job_open:
            return found
        secrets = (held.provider.value,)
        spec = JobSpec(client_id=held.client_id, runner_id=None, kind=LeaseKind.CUSTODY, secrets=secrets, ttl_s=JOB_S)
        job = await open_job(tx, app, app.system(), spec)
        if found is not None:
            found = replace(found, job_id=job.id, job_open=True)
            await move(tx, app, found)
        else:
            begun = {"id": app.ids.uuid(), "base": held.version, "owner": app.owner, "job_id": job.id}
            found = await tx.maybe(partial(_renewal_of, held), "refresh_journal_begin", **grant.ids, **begun)
            if found is None:
                raise Conflict("renewal_under_way")
        await found.record(tx, app, EventName.REFRESH_STARTED, Outcome.INTENDED)
    return found


async def mark_sent(app: RefresherApp, renewal: Renewal) -> bool:
    """Record that the request leaves now; False if a person has ended or replaced the grant: then it may not leave.

    Raises as :func:`take`, and Conflict as :func:`refuse_while_consenting`; then, too, the request may not leave.
    """
    async with app.db.begin(client_id=renewal.grant.client_id) as tx:
        await _may_call(tx, app, renewal.grant)
        await tx.maybe(OAuthGrant, "refresh_grant_hold", **renewal.grant.ids)
        await refuse_while_consenting(tx, renewal.grant)
        if not await goes_on(tx, renewal):
            return False
        await move(tx, app, renewal)
    return True


async def save(app: RefresherApp, renewal: Renewal) -> None:
    """Write how far a renewal has come."""
    async with app.db.begin(client_id=renewal.grant.client_id) as tx:
        await move(tx, app, renewal)


async def move(tx: Tx, app: RefresherApp, renewal: Renewal, *, reason: str = "") -> None:
    """Write the journal's row; one that has ended is closed.

    Raises:
        NotFound: The row is no longer ours.
    """
    journal = renewal.journal
    await tx.one(
        UUID, "refresh_journal_move", client_id=renewal.grant.client_id, id=renewal.id, owner=app.owner,
        phase=journal.phase.value, lost=journal.lost, sent_at=journal.sent_at,
        landing_version=renewal.landing_version, job_id=renewal.job_id, reason=reason, over=journal.phase in ENDS,
    )  # fmt: skip


async def placed(
    app: RefresherApp, login: OAuth, renewal: Renewal, tokens: TokenSet, *, version: int, access_version: int,
    reason: str, **more: Said,
) -> bool:  # fmt: skip
    """Move every pin to a version that the store has, close the journal, and record it: all or nothing.

    Returns:
        False if a person has ended or replaced the grant: then nothing was written.
    """
    grant, ends = renewal.grant, ends_of(login, tokens, renewal.grant.account_id, version)
    async with app.db.begin(client_id=grant.client_id) as tx:
        await tx.maybe(OAuthGrant, "refresh_grant_hold", **grant.ids)
        if not await goes_on(tx, renewal):
            return False
        moved = await tx.maybe(
            int, "refresh_placed", **grant.ids, **ends, version=version, access_version=access_version,
            scopes=list(tokens.scopes or ()), scopes_known=tokens.scopes is not None,
        )  # fmt: skip
        if moved is not None:
            await tx.all(UUID, "refresh_ref_move", **grant.ids, version=version, due_at=ends["due_at"])
        await move(tx, app, renewal, reason=reason)
        said = {"version": version, "due_at": ends["due_at"], "reason": reason or None}
        await renewal.record(tx, app, EventName.REFRESHED, Outcome.OK, **said, **more)
        if too_short(tokens):
            await grant.alert(tx, app, reason="token_life_short", severity="warning")
    return True


async def put_off(app: RefresherApp, renewal: Renewal, *, wait_s: float, tries: int, reason: str, **more: Said) -> None:
    """Write when to try again; nothing else changes."""
    due = app.clock.now() + timedelta(seconds=wait_s)
    async with app.db.begin(client_id=renewal.grant.client_id) as tx:
        await tx.maybe(OAuthGrant, "refresh_grant_hold", **renewal.grant.ids)
        await tx.all(int, "refresh_put_off", **renewal.grant.ids, due_at=due, tries=tries)
        await move(tx, app, renewal)
        await renewal.record(tx, app, EventName.REFRESH_FAILED, Outcome.FAILED, reason=reason, due_at=due, **more)


def seed_of(account_id: UUID, version: int) -> bytes:
    """Return the seed of a version's jitter."""
    return f"{account_id}:{version}".encode()


def ends_of(login: OAuth, tokens: TokenSet, account_id: UUID, version: int) -> dict[str, Any]:
    """Return the times of a token set, and those derived from them, as columns of its grant."""
    names = ("obtained_at", "access_expires_at", "refresh_expires_at", "consent_expires_at")
    return {name: getattr(tokens, name) for name in names} | {
        "due_at": due_at(login.refresh_rules, tokens, seed=seed_of(account_id, version)),
        "reauth_at": reauth_at(login.refresh_rules, tokens), "alarm_at": alarm_at(login.refresh_rules, tokens),
    }  # fmt: skip


async def _may_call(tx: Tx, app: RefresherApp, grant: OAuthGrant) -> None:
    """Check that no switch stops it, and that this is the installation that the process was started for."""
    scopes = [*client_scopes(grant.client_id), grant.scope]
    await hold_open(tx, scopes)
    await _at_home(tx, app)
    here = {"client_id": grant.client_id, "installation_id": app.installation_id}
    facts = await tx.one(dict, "job_open_facts", **here, scopes=scopes)
    require_open(facts)
    if facts["client_state"] != "active":
        raise Denied("client_not_active", next_step="An admin resumes the client first.")


async def _at_home(tx: Tx, app: RefresherApp) -> None:
    """Refuse to act in a copy of another installation."""
    here = await tx.maybe(dict, "installation_get")
    if here is None or here["id"] != app.installation_id or here["environment"] != app.environment.value:
        raise Denied("other_installation", next_step="This is a copy of another installation, so it renews nothing.")


async def close_for(tx: Tx, app: RefresherApp, grant: OAuthGrant, lost_by: RecoveryCause, *, reason: str) -> None:
    """End a grant in the caller's transaction: a person must log in again, and nothing acts there until then.

    Args:
        tx: Has not yet appended to the audit log, and has the locks of :func:`hold`.
        reason: A code, for the grant and the alert.
    """
    account_id = grant.account_id
    await lose(tx, app, app.system(), grant.client_id, grant.provider.value, lost_by, account_id=account_id)
    await tx.all(int, "refresh_ended", **grant.ids, reason=reason)
    await tx.all(UUID, "refresh_lanes_off", **grant.ids)
    await grant.alert(tx, app, reason=f"account_{reason}")


async def lose_permission(app: RefresherApp, renewal: Renewal) -> None:
    """End a grant whose recorded renewal gave less than its purposes need, unless it has already ended.

    Raises:
        Unavailable: The database; then nothing has changed.
    """
    async with app.db.begin(client_id=renewal.grant.client_id) as tx:
        held = await hold(tx, renewal.grant)
        if held is None or held.state != "live":
            return
        lost_by = RecoveryCause.MISSING_SCOPE
        await close_for(tx, app, held, lost_by, reason=lost_by.value)
        said = {"reason": lost_by.value, "version": held.version}
        await renewal.record(tx, app, EventName.REAUTH_NEEDED, Outcome.FAILED, **said)


async def hold(tx: Tx, grant: OAuthGrant) -> OAuthGrant | None:
    """Take the locks under which a grant ends, in the common order; returns the grant's current state."""
    await hold_open(tx, client_scopes(grant.client_id))
    await tx.all(None, "switch_lock_exclusive", scope=grant.scope)
    return await tx.maybe(OAuthGrant, "refresh_grant_hold", **grant.ids)


async def give_up(app: RefresherApp, renewal: Renewal, lost_by: RecoveryCause, *, reason: str, **more: Said) -> str:
    """End a grant: a person must log in again. Returns the reason; empty if a person has already ended it, and then
    nothing was written.

    A token that is refused after a consent that may have ended it was not stolen: the reason becomes ``superseded``.

    Args:
        renewal: As it must be written: closed, or broken.
        reason: A code, for the grant, the record and the alert.
        more: Further fields of the record.

    Raises:
        Conflict: As :func:`refuse_while_consenting`; then, too, nothing has changed.
        Unavailable: The database; then nothing has changed, and the journal is still open.
    """
    grant = renewal.grant
    name = EventName.CHAIN_BROKEN if lost_by is RecoveryCause.CHAIN_BROKEN else EventName.REAUTH_NEEDED
    async with app.db.begin(client_id=grant.client_id) as tx:
        now = await hold(tx, grant)
        if not await goes_on(tx, renewal):
            return ""
        await refuse_while_consenting(tx, grant)
        refused = lost_by in (RecoveryCause.COMPROMISED, RecoveryCause.REVOKED)
        if refused and now is not None and now.superseded_at is not None:
            lost_by, reason = RecoveryCause.REVOKED, SUPERSEDED
        await close_for(tx, app, grant, lost_by, reason=reason)
        await move(tx, app, renewal, reason=reason)
        await renewal.record(tx, app, name, Outcome.FAILED, reason=reason, version=grant.version, **more)
    return reason
