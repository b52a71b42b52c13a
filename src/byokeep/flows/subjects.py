"""Who there is: people and machines as rows, and the statements that read and write them.

Rules
- A subject holds roles, a state and assignments; never a token and never a password in clear.
- Changes take the one lock of all subjects, so that rules about all of them hold under concurrency.

It may not decide: that is :mod:`byokeep.flows.operators` and :mod:`byokeep.flows.tokens`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.core.errors import Rejected
from byokeep.core.model import Role
from byokeep.core.secret import Secret
from byokeep.ports import Query, Row, Tx

# What a token starts with, so that people and scanners know it (contract of all surfaces).
PREFIX: Final = {Role.DISPATCHER: "bkd_", Role.RUNNER: "bkr_", Role.CUSTODIAN: "bkc_"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A person (``kind`` operator) or a machine. ``clients`` is what it is assigned to unless ``all_clients``."""

    id: UUID
    kind: str
    name: str
    roles: frozenset[Role]
    state: str
    all_clients: bool
    clients: frozenset[UUID]
    has_password: bool
    created_at: datetime
    created_by: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
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

    token: Token
    text: str = field(repr=False)

    @property
    def value(self) -> Secret:
        """The token, wrapped."""
        return Secret(self.text)


def _subject(row: Row) -> Subject:
    return Subject(
        id=row["id"],
        kind=row["kind"],
        name=row["name"],
        roles=frozenset(Role(name) for name in row["roles"]),
        state=row["state"],
        all_clients=row["all_clients"],
        clients=frozenset(row["clients"]),
        has_password=row["password_phc"] is not None,
        created_at=row["created_at"],
        created_by=row["created_by"],
    )


def _token(row: Row) -> Token:
    return Token(**{name: row[name] for name in Token.__dataclass_fields__})


LOCK: Final = Query("subject_lock", lambda _: None)
COUNT: Final = Query("subject_count", lambda row: int(row["found"]))
INSERT: Final = Query("subject_insert", _subject)
GET: Final = Query("subject_get", _subject)
LIST: Final = Query("subjects_list", _subject)
UPDATE: Final = Query("subject_update", _subject)
ADMINS_LEFT: Final = Query("admins_left", lambda row: int(row["found"]))
SET_PASSWORD: Final = Query("subject_set_password", lambda row: UUID(str(row["id"])))
MACHINE_NAMED: Final = Query("machine_named", _subject)
BY_NAME: Final = Query("subject_named", lambda row: (_subject(row), row["password_phc"]))
TOKEN_INSERT: Final = Query("token_insert", _token)
TOKEN_GET: Final = Query("token_get", _token)
TOKENS_LIST: Final = Query("tokens_list", _token)
TOKEN_REVOKE: Final = Query("token_revoke", _token)
TOKEN_REVOKE_SHOWN: Final = Query("token_revoke_shown", _token)
TOKENS_REVOKE: Final = Query("tokens_revoke", _token)
TOKENS_END_SOON: Final = Query("tokens_end_soon", _token)
_UNASSIGN: Final = Query("subject_unassign", lambda row: UUID(str(row["client_id"])))
_ASSIGN: Final = Query("subject_assign", lambda row: UUID(str(row["client_id"])))


async def assign(tx: Tx, subject_id: UUID, clients: Iterable[UUID]) -> None:
    """Make ``clients`` the assignments of a subject.

    Raises:
        Rejected: ``unknown_client`` when one of them does not exist.
    """
    wanted = sorted(set(clients))
    await tx.all(_UNASSIGN, subject_id=subject_id)
    done = await tx.all(_ASSIGN, subject_id=subject_id, clients=wanted)
    if len(done) != len(wanted):
        raise Rejected("unknown_client", next_step="Name clients as `byokeep client list` prints them.")
