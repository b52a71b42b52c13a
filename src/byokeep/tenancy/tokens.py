"""People and machines as rows, and their tokens and invitations: how each is made and how it ends.

Rules
- A row exists only with the record that says what it says: functions of the database write both
  (``objects/subjects.sql``). A row that does not match its record signs nobody in.
- Changes take one lock on all subjects, so that rules about all of them hold under concurrency.
- A token is 256 random bits, shown once, stored as a keyed hash, and always expires (S-ASVS-3, S-ASVS-19). There is one
  hash key for people's tokens and one for machines'; only the broker has the latter. Only the broker checks a password
  and issues a session; ``web`` forwards both.
- What an admin issues for a person is an invitation: it sets that person's password, once, and does nothing else. For
  passwords, and sessions by a password or a code, see :mod:`byokeep.tenancy.logins`.
- Every hour the broker looks for machines whose last token ends within 14 days, or has ended: one open alert for each.
  It does the same for people's API tokens, except those issued for 14 days or less. If no admin can sign in, that is an
  alert, too, until one can. A custodian, which is a process of ours, renews its own token; no other
  machine issues or asks for one of its own.
- A renewal ends the token that is shown after at least a day, so that whoever else holds it is not locked out at once.
  A token that is renewed a second time has two holders, or a renewal was interrupted: it is renewed, because hosts may
  share one, and people are told (``machine_token_forked``). A machine with ``MOST_LIVE`` working tokens renews none.

It may not decide who may do what: that is :mod:`byokeep.tenancy.operators`. It may not remember a token: one that its
holder forgot is replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from types import MappingProxyType
from typing import Final
from uuid import UUID

from byokeep.core.canonical import canonical_json
from byokeep.core.errors import NotFound, Rejected, Unauthenticated
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.model import HUMAN_ROLES, Actor, Role
from byokeep.core.policy import Verb, require_proof
from byokeep.core.secret import Secret
from byokeep.kernel import approvals
from byokeep.kernel.app import App, BrokerApp, WebApp
from byokeep.kernel.approvals import Approval
from byokeep.kernel.command import command, open_alert, permit, record_params, recorded, state_over, unblocked
from byokeep.kernel.ports import Tx

PASSKEYS_CHANGED: Final = "passkeys_changed"  # why sessions ended; sql/auth.sql knows it
LOGGED_OUT: Final = "logged_out_there"  # and this
# What a token starts with, so that people and scanners know it (contract of all surfaces).
PREFIX: Final = {Role.DISPATCHER: "bkd_", Role.RUNNER: "bkr_", Role.CUSTODIAN: "bkc_"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A person (``kind`` operator) or a machine.

    Attributes:
        clients: What it is assigned to unless ``all_clients``.
        password_mark: A digest of the stored password string, or empty.
        held_until: Until when it may approve nothing, UTC.
        admin_until: Until when an admin whom another stopped still counts as one, UTC.
        record_seq: The sequence number of the record that says what the row says.
        token_until: Until when the last of its own tokens works, UTC; sessions and invitations do not count.
    """

    id: UUID
    kind: str
    name: str
    roles: frozenset[Role]
    state: str
    all_clients: bool
    clients: frozenset[UUID]
    password_mark: str = ""
    created_at: datetime | None = None
    created_by: UUID | None = None
    held_until: datetime | None = None
    admin_until: datetime | None = None
    record_seq: int | None = None
    token_until: datetime | None = None

    @property
    def has_password(self) -> bool:
        """Whether this person can log in with a password."""
        return bool(self.password_mark)

    @property
    def roles_text(self) -> str:
        """The roles as records name them."""
        return ",".join(sorted(role.value for role in self.roles))

    @property
    def rights(self) -> str:
        """The digest of everything in the row; ``byokeep.subject_rights`` computes the same."""
        clients = ",".join(sorted(str(client) for client in self.clients))
        said = (str(self.id), self.kind, self.name, self.roles_text, self.state,
                "all" if self.all_clients else "some", clients, self.password_mark)  # fmt: skip
        return sha256("|".join(said).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectToken:
    """A token as the database knows it: everything except the token itself."""

    id: UUID
    subject_id: UUID
    kind: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A new token, whose value is shown only this once."""

    token: SubjectToken
    text: str = field(repr=False)

    @property
    def value(self) -> Secret:
        """The token, wrapped."""
        return Secret(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A credential of a person that somebody else issued. ``by`` is a name, or empty for the installation itself."""

    kind: str
    by: str = ""
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey:
    """A passkey as its owner knows it. ``used_at``: when it was last used, UTC."""

    id: UUID
    name: str
    created_at: datetime
    used_at: datetime | None


async def require_clients(tx: Tx, clients: Iterable[UUID]) -> None:
    """Check that clients exist.

    Raises:
        Rejected: ``unknown_client``.
    """
    wanted = sorted(set(clients))
    if wanted and len(await tx.all(UUID, "subject_clients_known", clients=wanted)) != len(wanted):
        raise Rejected("unknown_client", next_step="Name clients as `byokeep client list` prints them.")


async def put(
    tx: Tx, app: App, actor: Actor, subject: Subject, *, new: bool, approval: UUID | None = None, reason: str = ""
) -> Subject:
    """Create or change a person or machine, with its record; returns the new row.

    Args:
        subject: As it will be.
        new: Whether it is created.
        approval: The request that ``actor`` approved, as the second admin, in this transaction.
        reason: What was asked for: ``create``, ``change`` or ``vouch``.

    Raises:
        Denied: ``second_admin_needed``.
        Conflict: The name is taken.
    """
    await tx.all(
        None, "subject_put", id=subject.id, kind=subject.kind, name=subject.name,
        roles=sorted(role.value for role in subject.roles), state=subject.state, all_clients=subject.all_clients,
        clients=sorted(subject.clients), approval=approval, hold_s=app.limits.approval_hold_s,
        **record_params(subject_event(actor, subject, Outcome.OK, new=new, reason=reason)),
    )  # fmt: skip
    return await tx.one(Subject, "subject_get", id=subject.id)


def asked(subject: Subject, what: str) -> str:
    """Return what an approver is shown, as canonical JSON.

    Args:
        subject: As it will be.
        what: The same as a sentence.
    """
    said = {
        "what": what, "subject": str(subject.id), "kind": subject.kind, "name": subject.name,
        "roles": sorted(role.value for role in subject.roles), "state": subject.state,
        "all_clients": int(subject.all_clients), "clients": sorted(str(client) for client in subject.clients),
    }  # fmt: skip
    return canonical_json(said).decode()


def subject_event(actor: Actor, subject: Subject, outcome: Outcome, *, new: bool, reason: str = "") -> Event:
    """Return the record of a person or machine that says what its row says."""
    if subject.kind == "machine":
        name = EventName.MACHINE_CREATED if new else EventName.MACHINE_CHANGED
    else:
        name = EventName.OPERATOR_CREATED if new else EventName.OPERATOR_CHANGED
    fields = {"roles": subject.roles_text, "rights": subject.rights} | ({"reason": reason} if reason else {})
    return event_of(name, actor, subject.id, outcome, **fields)


SESSION_S: Final = 8 * 3600  # absolute life of a session
DAY_S: Final = 86_400
TOKEN_DAYS: Final = 30  # runbook 6.1: internal service tokens
MAX_TOKEN_DAYS: Final = 90
SHORT: Final = timedelta(days=14)  # a token with a life no longer than this is renewed by whoever made it that short
MAX_OVERLAP_S: Final = 7 * DAY_S
LEAST_OVERLAP_S: Final = DAY_S  # for a renewal
MOST_LIVE: Final = 8


NO_ADMIN_KEY: Final = "state/no_admin"


async def issue_token(
    app: BrokerApp, actor: Actor, subject_id: UUID, *, days: int = TOKEN_DAYS, overlap_s: int = 0
) -> Issued | Approval:
    """Issue a token for a machine or for oneself, or an invitation for somebody else; older ones of its kind end.

    A machine's token needs a second admin, who approves the request that is returned; calling again then issues it. A
    custodian renews its own: if several hold one token, each ends only the one that it showed.

    Args:
        days: Life in days: 1 to 30 for a machine, 1 to 90 for a person.
        overlap_s: How long older tokens keep working, in seconds; 0 = they end now.

    Raises:
        Denied: ``not_permitted``, ``approval_held``, ``second_admin_needed``.
        NotFound: ``not_found``.
        Rejected: ``bad_token_days``, ``bad_overlap``, ``subject_disabled``, ``too_many_tokens``.
        Unauthenticated: ``step_up_required``; as :func:`still_in`.
    """
    renewal = subject_id == actor.id and Role.CUSTODIAN in actor.roles and _is_long(actor)
    own = subject_id == actor.id and bool(actor.roles & HUMAN_ROLES)
    if not (own or renewal):
        await permit(app, actor, Verb.TOKEN_ISSUE)
    trail = recorded(app, actor, Verb.TOKEN_ISSUE, object_id=subject_id, refused_as=EventName.TOKEN_ISSUED)
    async with trail, app.db.begin(every_client=True) as tx:
        require_proof(actor)
        if not 0 <= overlap_s <= MAX_OVERLAP_S:
            raise Rejected("bad_overlap", next_step="0 seconds to 7 days.", minimum=0, maximum=MAX_OVERLAP_S)
        await tx.all(None, "subject_lock")
        await still_in(tx, actor)
        subject = await tx.one(Subject, "subject_get", id=subject_id)
        most = TOKEN_DAYS if subject.kind == "machine" else MAX_TOKEN_DAYS
        if not 1 <= days <= most:
            step = f"1 to {TOKEN_DAYS} days for a machine, to {MAX_TOKEN_DAYS} for a person."
            raise Rejected("bad_token_days", next_step=step, minimum=1, maximum=most)
        if subject.state != "active":
            raise Rejected("subject_disabled", next_step="Enable it first.", subject=subject_id)
        if Role.CONTACT in subject.roles:
            raise Rejected("contact_person", next_step="An operator invites anew: `byokeep client invite CLIENT`.")
        kind = "api" if own or subject.kind == "machine" else "invitation"
        if kind == "invitation":
            await _tell_of_invitation(tx, app, actor, subject)
        approval = None if renewal else await _approval(tx, app, actor, subject, days)
        if isinstance(approval, Approval):
            return approval
        shown = actor.token_id if renewal else None
        if shown is not None:
            await _look_at_renewal(tx, app, actor, shown)
        issued = await new_token(
            tx, app, actor, subject, kind=kind, life_s=days * DAY_S, approval=approval, shown=shown
        )
        if shown is not None:
            in_s = max(overlap_s, LEAST_OVERLAP_S)
            await end_token(tx, actor, await tx.one(SubjectToken, "token_get", id=shown), in_s=in_s)
        else:
            await revoke_all(tx, actor, subject_id, kind=kind, but=issued.token.id, in_s=overlap_s)
    return issued


async def _look_at_renewal(tx: Tx, app: BrokerApp, actor: Actor, shown: UUID) -> None:
    """Tell people of a token that is renewed again, and refuse if the machine has too many."""
    renewed, live = await tx.one(lambda row: (row["renewed"], row["live"]), "token_renewals", id=shown)
    if live >= MOST_LIVE:
        step = "End what nobody uses: `byokeep operator revoke TOKEN`, or give each host a machine of its own."
        raise Rejected("too_many_tokens", next_step=step, maximum=MOST_LIVE)
    if renewed:
        key = f"machine_token_forked:{shown}"
        await open_alert(
            tx, app, actor, reason="machine_token_forked", severity="critical", object_id=actor.id, key=key
        )


def _is_long(actor: Actor) -> bool:
    """Whether the token that was shown was issued for long: whoever issued a short one wants it to end."""
    return bool(actor.token_since and actor.token_until and actor.token_until - actor.token_since > SHORT)


async def _approval(tx: Tx, app: BrokerApp, actor: Actor, subject: Subject, days: int) -> Approval | UUID | None:
    """Return the request that waits for a second admin, or what a second approved; None if it takes one person."""
    if subject.kind != "machine" or await tx.one(bool, "machine_own", id=subject.id, actor=actor.id):
        return None
    if not await approvals.takes_two(tx):
        return None
    scope, epoch = f"token:{subject.id}:{days * DAY_S}", subject.record_seq or 0
    if not actor.held:
        given = await approvals.collect(tx, actor, action=approvals.ISSUE_TOKEN, scope=scope, epoch=epoch)
        if given is not None:
            return given
    what = f"issue a token for {days} day{'s' * (days > 1)} to the machine {subject.name} ({subject.roles_text})"
    request = await approvals.request(
        tx, app, actor, action=approvals.ISSUE_TOKEN, scope=scope, epoch=epoch, asked=asked(subject, what),
        reason="token",
    )  # fmt: skip
    if not request.repeated:
        await tx.append(intended(actor, subject))
    return request


def intended(actor: Actor, subject: Subject) -> Event:
    """Return the record of asking for, or approving, a machine's token or an admin's recovery."""
    kind = "api" if subject.kind == "machine" else "invitation"
    return event_of(EventName.TOKEN_ISSUED, actor, subject.id, Outcome.INTENDED, kind=kind)


async def _tell_of_invitation(tx: Tx, app: BrokerApp, actor: Actor, subject: Subject) -> None:
    """Raise an alert if somebody who can already sign in gets a second way in from another person."""
    if subject.has_password or await tx.all(SubjectToken, "tokens_list", subject_id=subject.id):
        reason = "credentials_of_another_issued"
        key = f"{reason}:{subject.id}:{actor.id}"
        await open_alert(tx, app, actor, reason=reason, severity="warning", object_id=subject.id, key=key)


async def tell_of_stopped(tx: Tx, app: BrokerApp, actor: Actor, admin: UUID) -> None:
    """Raise the alert that an admin took away another's access or role."""
    key = f"admin_stopped:{admin}:{actor.id}"
    await open_alert(tx, app, actor, reason="admin_stopped", object_id=admin, key=key)


def seen_by(actor: Actor, one: Subject) -> Subject | None:
    """Return what an actor may see of somebody; None if nothing.

    Whoever is assigned to only some clients, and is not an admin, sees those who share one of them, and of clients only
    the shared ones.
    """
    if actor.clients is None or Role.ADMIN in actor.roles or one.id == actor.id:
        return one
    shared = one.clients & actor.clients
    return replace(one, clients=shared) if shared or one.all_clients else None


async def list_tokens(app: WebApp, actor: Actor, subject_id: UUID) -> list[SubjectToken]:
    """Return a subject's live tokens, without the tokens.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``: somebody whom the actor may not see, or nobody.
    """
    async with command(app, actor, Verb.SUBJECT_READ) as tx:
        subject = await tx.maybe(Subject, "subject_get", id=subject_id)
        if actor.clients is not None and (subject is None or seen_by(actor, subject) is None):
            raise NotFound("not_found")
        return await tx.all(SubjectToken, "tokens_list", subject_id=subject_id)


async def issued_by_others(app: WebApp, actor: Actor) -> list[Given]:
    """Return who issued credentials of this person within the last 30 days, newest first."""
    return await app.db.read(Given, "tokens_given", {"subject_id": actor.id}, every_client=True)


async def revoke_token(app: BrokerApp, actor: Actor, token_id: UUID) -> SubjectToken:
    """End a token now; ending an ended one changes nothing. Ending another admin's only way in raises an alert.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``.
    """
    async with command(app, actor, Verb.TOKEN_REVOKE, object_id=token_id, opened=unblocked(app)) as tx:
        await tx.all(None, "subject_lock")
        token = await tx.one(SubjectToken, "token_get", id=token_id)
        whose = await tx.one(Subject, "subject_get", id=token.subject_id)
        if Role.ADMIN in whose.roles and whose.id != actor.id and not whose.has_password:
            await tell_of_stopped(tx, app, actor, whose.id)
        return await end_token(tx, actor, token) or token


async def end_older(tx: Tx, actor: Actor, subject_id: UUID, *, passkeys: bool) -> None:
    """End somebody's earlier ways in: sessions, invitations, tokens that others issued, and passkeys if asked."""
    lost = await passkeys_of(tx, subject_id) if passkeys else []
    for one in lost:
        await end_passkey(tx, actor, one.id)
    await revoke_all(tx, actor, subject_id, kind="session", reason=PASSKEYS_CHANGED if lost else "")
    await revoke_all(tx, actor, subject_id, kind="invitation")
    await revoke_all(tx, actor, subject_id, kind="api", given=True)


async def still_in(tx: Tx, actor: Actor) -> None:
    """Check, under the lock on subjects, that what an actor showed has not ended while the call was under way.

    Raises:
        Unauthenticated: ``bad_token``.
    """
    if actor.token_id is not None and not await tx.all(dict, "auth_living", ids=[actor.token_id]):
        step = "What you showed has ended meanwhile. Sign in again, or ask an admin for another invitation."
        raise Unauthenticated("bad_token", next_step=step)


async def unlink(tx: Tx, actor: Actor, subject_id: UUID) -> None:
    """End a person's link to the OpenID provider, with its record; do nothing if there is none."""
    digest = await tx.maybe(str, "sso_digest", subject_id=subject_id)
    if digest is not None:
        said = record_params(event_of(EventName.SSO_UNLINKED, actor, subject_id, digest=digest))
        await tx.all(None, "sso_unlink", subject=subject_id, **said)


async def new_token(
    tx: Tx,
    app: BrokerApp,
    actor: Actor,
    subject: Subject,
    *,
    kind: str,
    life_s: int,
    event: EventName = EventName.TOKEN_ISSUED,
    approval: UUID | None = None,
    shown: UUID | None = None,
    by: Mapping[str, FieldValue] = MappingProxyType({}),
    value: str = "",
    keyed_hash: bytes = b"",
) -> Issued:
    """Make a token in the caller's transaction, with its record.

    Args:
        shown: The token that it renews.
        by: How its owner proved their identity, if not by a password: ``passkey`` or ``sso``.
        value, keyed_hash: For a token that is not our usual random text.
    """
    prefix = next((PREFIX[role] for role in subject.roles if role in PREFIX), "bko_")
    value = value or f"{prefix}{app.ids.token()}"
    key = app.machine_key if subject.kind == "machine" else app.token_key
    token_id, keyed_hash = app.ids.uuid(), keyed_hash or key(value.encode())
    digest = sha256(keyed_hash).hexdigest()
    said = event_of(event, actor, subject.id, token=str(token_id), kind=kind, life_s=life_s, digest=digest, **by)
    token = await tx.one(
        SubjectToken, "token_issue", id=token_id, subject_id=subject.id, keyed_hash=keyed_hash, kind=kind,
        life_s=life_s, approval=approval, hold_s=app.limits.approval_hold_s, shown=shown,
        **record_params(said),
    )  # fmt: skip
    return Issued(token=token, text=value)


async def new_session(
    tx: Tx, app: BrokerApp, actor: Actor, subject: Subject, kind: str, by: Mapping[str, FieldValue] = {}
) -> Issued:
    """Open a session of somebody who has just proved their identity; ``by`` as for :func:`new_token`."""
    return await new_token(tx, app, actor, subject, kind=kind, life_s=SESSION_S, event=EventName.LOGIN, by=by)


async def end_token(
    tx: Tx, actor: Actor, token: SubjectToken, *, in_s: int = 0, event: EventName = EventName.TOKEN_REVOKED,
    reason: str = "",
) -> SubjectToken | None:  # fmt: skip
    """End a token in the caller's transaction, with its record, now or in ``in_s`` seconds.

    Args:
        reason: Why, if known. Later use of a token that ended with :data:`PASSKEYS_CHANGED` raises no alert.

    Returns:
        The token afterwards; None if it had already ended.
    """
    more: dict[str, FieldValue] = {"life_s": in_s} if in_s else {}
    more |= {"reason": reason} if reason else {}
    said = record_params(event_of(event, actor, token.subject_id, token=str(token.id), **more))
    return await tx.maybe(SubjectToken, "token_end", id=token.id, in_s=in_s, **said)


async def revoke_all(
    tx: Tx, actor: Actor, subject_id: UUID, *, kind: str | None = None, but: UUID | None = None, in_s: int = 0,
    given: bool = False, begun_by: datetime | None = None, reason: str = "",
) -> None:  # fmt: skip
    """End every token of a subject ``but`` one in the caller's transaction, now or in ``in_s`` seconds.

    Args:
        given: Only those that the subject did not issue to itself.
        begun_by: Only those made by then, and whatever a code for the command line may have opened since.
        reason: As for :func:`end_token`.
    """
    for live in await tx.all(
        SubjectToken, "tokens_live", subject_id=subject_id, except_id=but or UUID(int=0), kind=kind, given=given,
        begun_by=begun_by,
    ):  # fmt: skip
        await end_token(tx, actor, live, in_s=in_s, reason=reason)


async def passkeys_of(tx: Tx, subject_id: UUID) -> list[Passkey]:
    """Return the passkeys of a person, whether or not they match their records: each is a reason to ask for one."""
    return await tx.all(Passkey, "passkeys_of", subject_id=subject_id)


async def end_passkey(tx: Tx, actor: Actor, passkey: UUID) -> None:
    """End one of the actor's passkeys in the caller's transaction, with its record. Raises NotFound(``not_found``)."""
    said = record_params(event_of(EventName.PASSKEY_REMOVED, actor, actor.id, passkey=str(passkey)))
    await tx.one(UUID, "passkey_end", id=passkey, **said)


def event_of(
    name: EventName, actor: Actor, subject_id: UUID, outcome: Outcome = Outcome.OK, /, **fields: FieldValue
) -> Event:
    """Return a record about a person or machine."""
    said = {"subject": str(subject_id), **fields}
    return Event(name=name, actor=actor, outcome=outcome, object_id=subject_id, fields=said)


async def watch_admins(app: BrokerApp) -> None:
    """Raise the alert ``no_admin_can_sign_in`` while no admin can, and close it when one can. Raises Unavailable."""
    async with app.db.begin(every_client=True) as tx:
        able = await tx.one(lambda row: int(row["able"]), "admins_able")
        if not able:
            await open_alert(tx, app, None, reason="no_admin_can_sign_in", key=NO_ADMIN_KEY)
    if able:
        await state_over(app, NO_ADMIN_KEY)
