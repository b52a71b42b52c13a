"""Accounts on platforms, consents and grants, as every process that works with them sees them.

Rules
- A consent goes ``started -> answered -> taken -> connected``; every other end is ``failed``, ``quarantined`` or
  ``expired``. Each step is a compare-and-set on the state, so an answer counts once and one process finishes it.
- State and binding are stored as keyed digests; whoever shows them must have been given them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from byokeep.core.events import EventName, Outcome
from byokeep.core.identity import Fingerprint
from byokeep.core.model import Actor, ClientId, Provider, SopId
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.kernel.app import App
from byokeep.kernel.command import Said, Severity, open_alert, record
from byokeep.kernel.ports import Receipt, Tx
from byokeep.kernel.rows import NO_COLUMN
from byokeep.kernel.sops import SopRun


class OfAccount:
    """Anything that belongs to one account of one client."""

    __slots__ = ()
    client_id: ClientId
    account_id: UUID

    @property
    def ids(self) -> dict[str, Any]:
        """Which account, as parameters of a SQL statement."""
        return {"client_id": self.client_id, "account_id": self.account_id}

    async def record(self, tx: Tx, name: EventName, outcome: Outcome, actor: Actor, /, **fields: Said) -> Receipt:
        """Append a record about the account."""
        client_id, object_id = self.client_id, self.account_id
        return await record(tx, actor, name, fields, outcome=outcome, client_id=client_id, object_id=object_id)

    async def alert(
        self, tx: Tx, app: App, *, reason: str, severity: Severity = "critical", actor: Actor | None = None,
        code_points: str = "",
    ) -> None:  # fmt: skip
        """Open an alert about the account. Parameters as :func:`byokeep.kernel.command.open_alert`."""
        await open_alert(
            tx, app, actor or app.system(), reason=reason, severity=severity, client_id=self.client_id,
            object_id=self.account_id, code_points=code_points,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection(OfAccount):
    """One consent.

    Attributes:
        replaces: Version of the tokens that it replaces; None for the first; 0 once those were proved to be ended.
        reason: A code; ``disconnected`` for one still being finished means that it may no longer be recorded.
        code_points: If a look-alike answered, the characters that give it away (``0456,0430``); otherwise empty.
        held_as: The name under which this client already has the account; otherwise empty.
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
class OAuthGrant(OfAccount):
    """What a client's consent gave for one account.

    Attributes:
        superseded_at: When a consent that was not kept may have ended the tokens; None: none has since they were given.
    """

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
    alarm_at: datetime | None
    due_at: datetime | None
    tries: int
    changed_at: datetime
    verified_at: datetime | None
    superseded_at: datetime | None
    drift: bool
    connected_seq: int | None

    def place(self, part: SecretPart) -> SecretRef:
        """Return where a part of the account is in the store."""
        return SecretRef(self.client_id, self.provider, part, self.account_id)

    @property
    def scope(self) -> str:
        """The kill switch of the client's platform."""
        return f"client:{self.client_id}:platform:{self.provider.value}"


async def record_consent(
    tx: Tx, name: EventName, outcome: Outcome, actor: Actor, one: Connection, account: PlatformAccount, **fields: Said
) -> Receipt:
    """Append a record about a consent; its object is the account."""
    said = {"platform": account.platform.value, "login": one.login, "account": _name_on_record(account.account)}
    ids = {"sop": one.sop_id, "job": one.job_id, "connection": one.id}
    return await one.record(tx, name, outcome, actor, **said, **ids, **fields)


def _name_on_record(account: str) -> str:
    """Return our name of an account as a record may hold it: a record's text begins with a lower-case letter or digit.
    """
    return account if account[:1].isascii() and (account[:1].islower() or account[:1].isdigit()) else f"a:{account}"


async def end_consent(
    tx: Tx, actor: Actor, one: Connection, account: PlatformAccount, *, to: str, reason: str, **fields: Said
) -> bool:
    """End a consent without success, with its run and its record; False if it has left its state meanwhile.

    Args:
        to: ``failed``, ``quarantined`` or ``expired``.
        reason: A code of ours.
        fields: More fields of the record ``platform_connect_failed``.
    """
    ended = await tx.maybe(
        Connection, "connection_end", client_id=one.client_id, id=one.id, state=to, reason=reason, state_from=one.state,
        code_points=str(fields.get("code_points") or ""),
    )  # fmt: skip
    if ended is None:
        return False
    await tx.maybe(SopRun, "sop_fail", client_id=one.client_id, id=one.sop_id, reason=reason)
    await record_consent(tx, EventName.CONNECT_FAILED, Outcome.FAILED, actor, one, account, reason=reason, **fields)
    return True


async def drop_consent(tx: Tx, actor: Actor, one: Connection) -> None:
    """End a consent in progress of an account that is disconnected; whoever is finishing it gives its tokens back."""
    if one.state == "taken":
        await tx.one(UUID, "connection_disown", client_id=one.client_id, id=one.id)
        return
    account = await tx.one(PlatformAccount, "account_of", client_id=one.client_id, id=one.account_id)
    await end_consent(tx, actor, one, account, to="expired", reason="disconnected")


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

    def place(self, part: SecretPart) -> SecretRef:
        """Return where a part of the account is in the store."""
        return SecretRef(self.client_id, self.platform, part, self.id)

    def fingerprint(self, account_id: str, app_id: str) -> Fingerprint:
        """Return what the platform must answer: an id, and the names that are expected with it."""
        names = {"username": self.username or None, "display_name": self.display_name or None}
        return Fingerprint(account_id=account_id, app_id=app_id, **names)

    @property
    def named(self) -> dict[str, Any]:
        """Which account, by name, as parameters of a SQL statement."""
        return {"client_id": self.client_id, "platform": self.platform.value, "account": self.account}

    async def record(self, tx: Tx, name: EventName, actor: Actor, **fields: Said) -> None:
        """Append a record of what somebody did to the account."""
        platform = self.platform.value
        await record(tx, actor, name, fields, platform=platform, client_id=self.client_id, object_id=self.id)


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
