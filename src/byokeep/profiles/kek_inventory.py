"""The inventory of the keys that guard browser profiles, and the comparison of the places where they are.

Rules
- It shows what each key is, whose, its state, its age, when it is due and when it was last used; never what it holds.
- Its comparison is the last one a worker recorded. A client that was not or could not be compared is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.core.model import Actor
from byokeep.core.policy import Verb
from byokeep.kernel.app import App
from byokeep.kernel.command import command
from byokeep.profiles.kek import CHECK_TASK, FINDINGS, UNKNOWN
from byokeep.profiles.kek_requests import hand_on
from byokeep.tenancy.clients import scope_of

FRESH_FOR_S: Final = 7200  # seconds for which a check counts


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultKey:
    """One key: a KEK version or the DEK of a generation. ``about``: the key's id, or the profile and generation."""

    kind: str
    client_id: UUID | None
    about: str
    owner: str
    state: str
    made_at: datetime
    due_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a client's last check came to: ``match``, a finding's code, or ``unknown``."""

    client_id: UUID
    cause: str
    found: int
    checked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryFinding:
    """Something strange that a check found, and whose alert nobody has closed."""

    reason: str
    client_id: UUID | None
    profile_id: UUID | None
    place: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultInventory:
    """``result`` is ``match``, ``findings`` or ``unknown``."""

    result: str
    keys: tuple[VaultKey, ...]
    checked: tuple[Checked, ...]
    findings: tuple[InventoryFinding, ...]


async def vault_inventory(app: App, actor: Actor) -> VaultInventory:
    """List every key that guards profiles of the actor's clients, and the results of their last checks.

    Raises:
        Denied: ``not_permitted``.
    """
    ids = scope_of(actor)
    async with command(app, actor, Verb.KEY_LIST) as tx:
        keys = await tx.all(
            VaultKey, "vault_inventory_keys", ids=ids, days=app.limits.kek_rotation_days, limit=None
        )
        checked = await tx.all(Checked, "vault_inventory_checks", ids=ids, fresh_s=FRESH_FOR_S)
        findings = await tx.all(
            InventoryFinding, "vault_inventory_findings", ids=ids, reasons=list(FINDINGS), limit=None
        )
    bad = any(one.found for one in checked)
    known = all(one.cause != UNKNOWN for one in checked)
    return VaultInventory(
        result="findings" if bad else "match" if known else UNKNOWN, keys=tuple(keys), checked=tuple(checked),
        findings=tuple(findings) if bad else (),
    )  # fmt: skip


async def ask_checks(app: App, actor: Actor) -> list[UUID]:
    """Ask workers to compare the places of each of the actor's clients that has profiles; returns those clients.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.KEK_CHECK) as tx:
        found = await tx.all(Checked, "vault_inventory_checks", ids=scope_of(actor), fresh_s=FRESH_FOR_S)
        for one in found:
            await hand_on(tx, actor, CHECK_TASK, Verb.KEK_CHECK, one.client_id)
    return [one.client_id for one in found]
