"""Accounts on platforms: who a client's posts must appear as, and through which lanes.

Rules
- An account is registered with the identity it is expected to show; runners report what they see to the broker.
- A lane is off until it is enabled by a decision of its own (runbook 5.2, step 6).
- Text that people type is held to the rules of names (R1.1-4).
"""

from __future__ import annotations

import re
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.core.errors import Conflict, Rejected
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import PLATFORMS, Actor, ClientId, Lane, Provider
from byokeep.core.plain_text import check_name, refuse_secret
from byokeep.core.policy import Verb
from byokeep.core.ref import parse_provider
from byokeep.kernel.app import App
from byokeep.kernel.command import command
from byokeep.kernel.ports import Tx
from byokeep.kernel.sops import require_proof
from byokeep.tenancy.clients import MAX_ROWS, require_active

ACCOUNT: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_USERNAME: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}\Z")


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


def parse_platform(text: str) -> Provider:
    """Parse a platform's name.

    Raises:
        Rejected: ``unknown_provider`` or ``not_a_platform``.
    """
    provider = parse_provider(text)
    if provider not in PLATFORMS:
        raise Rejected("not_a_platform", next_step="Use one of: " + ", ".join(sorted(PLATFORMS)) + ".")
    return provider


async def register_account(
    app: App, actor: Actor, client_id: ClientId, *, platform: str, account: str, username: str, display_name: str
) -> PlatformAccount:
    """Register the identity that an account must show. All lanes are off.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
        Rejected: ``not_a_platform``, ``bad_account``, ``bad_username``, ``bad_name``, ``secret_like_content``,
            ``client_not_active``.
        Conflict: The account is registered already.
    """
    async with _registering(app, actor, client_id) as tx:
        known = parse_platform(platform)
        check_new_account(account)
        check_shape("username", username, _USERNAME)
        check_name("display_name", display_name)
        await require_active(tx, client_id)
        row = await tx.one(
            PlatformAccount,
            "account_insert",
            id=app.ids.uuid(),
            client_id=client_id,
            platform=known.value,
            account=account,
            username=username,
            display_name=display_name,
            created_by=actor.id,
        )
        await tx.append(_event(actor, EventName.ACCOUNT_REGISTERED, row))
    return row


def _registering(app: App, actor: Actor, client_id: ClientId) -> AbstractAsyncContextManager[Tx]:
    registered = EventName.ACCOUNT_REGISTERED
    return command(app, actor, Verb.ACCOUNT_REGISTER, client_id=client_id, refused_as=registered, on_client=True)


async def set_lanes(
    app: App, actor: Actor, client_id: ClientId, *, platform: str, account: str, lanes: frozenset[Lane]
) -> PlatformAccount:
    """Set which lanes may be used with an account that is not connected.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found`` for an unknown account.
        Rejected: ``not_a_platform``, ``bad_account``.
        Conflict: ``profile_not_proved``: the browser lane, without a validated profile; ``connected_meanwhile``.
    """
    async with _registering(app, actor, client_id) as tx:
        check_shape("account", account, ACCOUNT)
        named = {"client_id": client_id, "platform": parse_platform(platform).value, "account": account}
        found = await tx.one(PlatformAccount, "account_hold", **named)
        if await tx.maybe(lambda _: True, "grant_of", client_id=client_id, account_id=found.id):
            raise Conflict("connected_meanwhile", next_step="See `byokeep account show`, then set its lanes again.")
        await require_proof(tx, client_id, found.id, lanes)
        enabled = sorted(lane.value for lane in lanes)
        row = await tx.one(PlatformAccount, "account_set_lanes", **named, lanes=enabled)
        await tx.append(_event(actor, EventName.ACCOUNT_REGISTERED, row))
    return row


async def list_accounts(app: App, actor: Actor, client_id: ClientId) -> list[PlatformAccount]:
    """Return a client's accounts.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
    """
    async with command(app, actor, Verb.CLIENT_READ, client_id=client_id) as tx:
        return await tx.all(PlatformAccount, "accounts_list", client_id=client_id, limit=MAX_ROWS)


def check_new_account(account: str) -> None:
    """Accept a name that an account may be given; one that was given before this rule is used on.

    Raises:
        Rejected: ``bad_account``: ``.`` and ``..`` are steps of a path, and what begins with ``-`` is an option of a
            command; ``secret_like_content``.
    """
    check_shape("account", account, ACCOUNT)
    if account[0] in ".-":
        raise Rejected("bad_account", next_step="Begin it with a letter, a digit or _.")


def check_shape(field: str, text: str, shape: re.Pattern[str]) -> None:
    """Refuse a short text that has not its form, or looks like a secret.

    Raises:
        Rejected: ``bad_`` and the field, ``secret_like_content``.
    """
    refuse_secret(field, text)
    if not shape.match(text):
        raise Rejected(f"bad_{field}", next_step="Use 1 to 64 letters, digits and . _ - (user names: @ too).")


def _event(actor: Actor, name: EventName, row: PlatformAccount) -> Event:
    return Event(
        name=name,
        actor=actor,
        outcome=Outcome.OK,
        client_id=row.client_id,
        object_id=row.id,
        fields={"platform": row.platform.value, "lanes": ",".join(row.lanes)},
    )
