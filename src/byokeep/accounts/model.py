"""Accounts on platforms, consents under way and grants, as every process that has a part in them sees them.

Rules
- A consent goes ``started -> answered -> taken -> connected``; every other end is ``failed``, ``quarantined`` or
  ``expired``. Each step is a compare-and-set on the state: an answer counts once, and one process finishes.
- State and binding are kept as keyed digests; who shows them must have been given them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.model import Actor, ClientId, Provider, SopId
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import NO_COLUMN
from byokeep.kernel.sops import SopRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One consent.

    Attributes:
        replaces: Version of the tokens that were there, None at the first; 0 once those were proved to be ended.
        reason: A code; ``disconnected`` of one that is still being finished: it may not be recorded any more.
        code_points: Of a look-alike that answered, the characters that give it away (``0456,0430``); else empty.
        held_as: The name under which this client has the account already; else empty.
        offered: What its person may pick from, as :func:`byokeep.core.identity.offer` writes it; forgotten after a day.
    """

    id: UUID
    client_id: ClientId
    account_id: UUID
    job_id: UUID
    sop_id: SopId
    login: str
    purposes: tuple[str, ...]
    state_hash: bytes = field(repr=False)
    binding_hash: bytes = field(repr=False)
    redirect_uri: str
    wanted: str | None
    replaces: int | None
    state: str
    reason: str
    started_by: UUID
    started_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    request_id: UUID
    code_points: str
    held_as: str
    offered: tuple[str, ...]
    over: bool = field(default=False, metadata=NO_COLUMN)


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthGrant:
    """What a client's consent gave for one account, as far as flows look at it."""

    client_id: ClientId
    account_id: UUID
    provider: Provider
    login: str
    app_id: str
    external_id: str
    username: str | None
    display_name: str | None
    link: str | None
    state: str
    reason: str
    version: int
    access_version: int
    purposes: tuple[str, ...]
    scopes: tuple[str, ...]
    obtained_by: UUID
    obtained_at: datetime
    reauth_at: datetime | None
    due_at: datetime | None
    tries: int
    verified_at: datetime | None
    drift: bool
    connected_seq: int | None


def consent_event(
    name: EventName, outcome: Outcome, actor: Actor, one: Connection, account: PlatformAccount, **fields: FieldValue
) -> Event:
    """Return a record about a consent; its object is the account."""
    return Event(
        name=name, actor=actor, outcome=outcome, client_id=one.client_id, object_id=one.account_id,
        fields={
            "platform": account.platform.value, "login": one.login, "account": _name_on_record(account.account),
            "sop": str(one.sop_id), "job": str(one.job_id), "connection": str(one.id), **fields,
        },
    )  # fmt: skip


def _name_on_record(account: str) -> str:
    """Return our name of an account as a record may carry it: a record's text begins with a small letter or digit."""
    return account if account[:1].isascii() and (account[:1].islower() or account[:1].isdigit()) else f"a:{account}"


async def end_consent(
    tx: Tx, actor: Actor, one: Connection, account: PlatformAccount, *, to: str, reason: str, **fields: FieldValue
) -> bool:
    """End a consent without success, with its run and its record; False when it has left its state meanwhile.

    Args:
        to: ``failed``, ``quarantined`` or ``expired``.
        reason: A code of ours.
        fields: More of the record ``platform_connect_failed``.
    """
    ended = await tx.maybe(
        Connection, "connection_end", client_id=one.client_id, id=one.id, state=to, reason=reason, state_from=one.state,
        code_points=str(fields.get("code_points", "")),
    )  # fmt: skip
    if ended is None:
        return False
    await tx.maybe(SopRun, "sop_fail", client_id=one.client_id, id=one.sop_id, reason=reason)
    await tx.append(
        consent_event(EventName.CONNECT_FAILED, Outcome.FAILED, actor, one, account, reason=reason, **fields)
    )
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformAccount:
    """An account as it must identify itself."""

    id: UUID
    client_id: ClientId
    platform: Provider
    account: str
    username: str
    display_name: str
    lanes: tuple[str, ...]
    identity: str
    identified_at: datetime | None
    created_at: datetime
    created_by: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class OurApp:
    """Our app at a login; ``secret_version`` 0 = it has no secret."""

    login: str
    provider: Provider
    app_id: str
    redirect_uri: str
    secret_version: int
    set_at: datetime
    set_by: UUID
