"""Who there is: people and machines as rows, and the statements that read and write them.

Rules
- A subject holds roles, a state and assignments; never a token and never a password in clear.
- Changes take the one lock of all subjects, so that rules about all of them hold under concurrency.
- A row exists only with the record that says what it says: functions of the database write both
  (``objects/subjects.sql``). A row that its record does not carry signs nobody in.

It may not decide: that is :mod:`byokeep.tenancy.operators` and :mod:`byokeep.tenancy.tokens`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final
from uuid import UUID

from byokeep.core.canonical import canonical_json
from byokeep.core.errors import Rejected
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.model import Actor, Role
from byokeep.core.secret import Secret
from byokeep.kernel.app import App
from byokeep.kernel.ports import Tx
from byokeep.kernel.record import record_params

# What a token starts with, so that people and scanners know it (contract of all surfaces).
PREFIX: Final = {Role.DISPATCHER: "bkd_", Role.RUNNER: "bkr_", Role.CUSTODIAN: "bkc_"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A person (``kind`` operator) or a machine.

    Attributes:
        clients: What it is assigned to unless ``all_clients``.
        password_mark: A digest of the stored password string, or nothing.
        held_until: Until when it approves nothing, UTC.
        admin_until: Until when an admin whom another stopped counts on as one, UTC.
        record_seq: The number of the record that says what the row says.
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
        """The digest of all that the row says; ``byokeep.subject_rights`` makes the same."""
        clients = ",".join(sorted(str(client) for client in self.clients))
        said = (str(self.id), self.kind, self.name, self.roles_text, self.state,
                "all" if self.all_clients else "some", clients, self.password_mark)  # fmt: skip
        return sha256("|".join(said).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectToken:
    """A token as the database knows it: everything but the token."""

    id: UUID
    subject_id: UUID
    kind: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A new token, whose value is shown this once."""

    token: SubjectToken
    text: str = field(repr=False)

    @property
    def value(self) -> Secret:
        """The token, wrapped."""
        return Secret(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A credential of a person that somebody else issued. ``by`` is a name, or nothing for the installation itself."""

    kind: str
    by: str
    at: datetime


async def require_clients(tx: Tx, clients: Iterable[UUID]) -> None:
    """Let clients pass that exist.

    Raises:
        Rejected: ``unknown_client``.
    """
    wanted = sorted(set(clients))
    if wanted and len(await tx.all(UUID, "subject_clients_known", clients=wanted)) != len(wanted):
        raise Rejected("unknown_client", next_step="Name clients as `byokeep client list` prints them.")


async def put(
    tx: Tx, app: App, actor: Actor, subject: Subject, *, new: bool, approval: UUID | None = None, reason: str = ""
) -> Subject:
    """Make or change a person or machine, with its record; returns the row as it is then.

    Args:
        subject: As it is to be.
        new: Whether it is made.
        approval: The request that ``actor`` approved, as the second admin, in this transaction.
        reason: What was asked for: ``create``, ``change`` or ``vouch``.

    Raises:
        Denied: ``second_admin_needed``.
        Conflict: The name is taken.
    """
    said = record_params(subject_event(actor, subject, Outcome.OK, new=new, reason=reason))
    await tx.all(
        None, "subject_put", id=subject.id, kind=subject.kind, name=subject.name,
        roles=sorted(role.value for role in subject.roles),
        state=subject.state, all_clients=subject.all_clients, clients=sorted(subject.clients), approval=approval,
        hold_s=app.limits.approval_hold_s, event=said["event"], actor=actor.id, request=actor.request_id,
        payload=said["payload"],
    )  # fmt: skip
    return await tx.one(Subject, "subject_get", id=subject.id)


def asked(subject: Subject, what: str) -> str:
    """Return what an approver is shown, as canonical JSON.

    Args:
        subject: As it is to be.
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
    fields: dict[str, FieldValue] = {
        "subject": str(subject.id), "roles": subject.roles_text, "rights": subject.rights,
    }  # fmt: skip
    if reason:
        fields["reason"] = reason
    return Event(name=name, actor=actor, outcome=outcome, object_id=subject.id, fields=fields)
