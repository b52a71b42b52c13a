"""Routes that combine several domains: the inventory, and everything known about a client's keys."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from byokeep.accounts import accounts, connect
from byokeep.accounts.connect import AppSecret
from byokeep.accounts.routes import AccountReply
from byokeep.core.model import Actor, ClientId
from byokeep.http.openapi import At, Reply, Routes, refusals
from byokeep.http.request import Authenticator, PathId
from byokeep.kernel.app import WebApp
from byokeep.keys import refs
from byokeep.keys.refs import Inventory, InventoryItem, Orphan, Transition
from byokeep.keys.routes import RefReply
from byokeep.profiles import kek_inventory
from byokeep.profiles.kek_inventory import Checked, InventoryFinding, VaultInventory, VaultKey
from byokeep.tenancy import clients
from byokeep.tenancy.schemas import ClientReply


class TransitionReply(Reply, of=Transition, shows="ref_id state_from state_to reason at by"):
    """A change of a key's state."""


class ExportedRefReply(RefReply):
    """Where a secret is, whose it is and when it was last leased."""

    owner: str | None
    last_leased_at: At | None


class ExportReply(Reply):
    """Everything known of a client's keys, without a value."""

    client: ClientReply
    refs: list[ExportedRefReply]
    transitions: list[TransitionReply]
    accounts: list[AccountReply]


class ChecksReply(Reply):
    """The clients whose profiles are compared."""

    clients: list[UUID]
    asked_at: At


class InventoryItemReply(ExportedRefReply):
    """A line of the inventory."""

    client: str
    store: str


class OrphanReply(Reply, of=Orphan, shows="client_id provider versions"):
    """Versions in the store that no reference names."""


class InventoryKeyReply(Reply, of=VaultKey, shows="kind client_id key=about owner state made_at due_at last_used_at"):
    """A key of browser profiles."""

    kind: Annotated[str, Field(serialization_alias="class")]


class InventoryCheckReply(Reply, of=Checked, shows="client_id check=cause found checked_at"):
    """When a client's rows, records and blobs were compared."""


class InventoryFindingReply(
    Reply, of=InventoryFinding, shows="finding=reason client_id profile=profile_id place since"
):
    """Rows, records and blobs that do not agree."""


class InventoryAppReply(Reply, of=AppSecret, shows="login platform=provider version set_at due_at store"):
    """The secret of our app at a login."""


class InventoryReply(Reply):
    """Every key, compared with the store; ``result`` is the worst of all comparisons."""

    result: str
    items: list[InventoryItemReply]
    apps: list[InventoryAppReply]
    orphans: list[OrphanReply]
    keys: list[InventoryKeyReply]
    checked: list[InventoryCheckReply]
    findings: list[InventoryFindingReply]


def inventory_out(inventory: Inventory, vault: VaultInventory, apps: list[AppSecret]) -> dict[str, Any]:
    """Return the inventory with our apps' secrets and the keys of browser profiles; the result is the worst of all."""
    order = ("match", "unknown", "findings")
    results = [{"present": "match", "missing": "findings"}.get(one.store, "unknown") for one in apps]
    return {
        "result": max(inventory.result, vault.result, *results, key=order.index),
        "items": [_item(one) for one in inventory.items], "orphans": inventory.orphans, "apps": apps,
        "keys": vault.keys, "checked": vault.checked, "findings": vault.findings,
    }  # fmt: skip


def _item(item: InventoryItem) -> dict[str, Any]:
    return _exported(item) | {"client": item.client_name, "store": item.store}


def _exported(item: InventoryItem) -> dict[str, Any]:
    return RefReply.fields(item.ref) | {"owner": item.owner, "last_leased_at": item.last_leased_at}


def export(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the route on which everything of a client's keys is given out."""
    routes = Routes("clients", auth, 403, prefix="/v1/clients")

    @routes.get("/{client_id}/export", response_model=ExportReply)
    async def export(client_id: PathId, actor: Actor) -> dict[str, Any]:
        """Give out everything known of a client's keys, without a value: to move to another store."""
        one = ClientId(client_id)
        found = await refs.exported(app, actor, one)
        return {
            "client": await clients.get_client(app, actor, one), "refs": [_exported(item) for item in found],
            "transitions": await refs.transitions(app, actor, one),
            "accounts": await accounts.list_accounts(app, actor, one, whole=True),
        }  # fmt: skip

    return routes


def inventory(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes of the inventory."""
    routes = Routes("keys", auth, 403)

    @routes.get("/inventory", response_model=InventoryReply, responses=refusals(409))
    async def inventory(actor: Actor) -> dict[str, Any]:
        """List every key and compare with the store; never a value."""
        listed = await refs.inventory(app, actor)
        vault = await kek_inventory.vault_inventory(app, actor)
        return inventory_out(listed, vault, await connect.app_secrets(app, actor))

    @routes.post("/inventory/checks", status_code=202, response_model=ChecksReply, responses=refusals(409))
    async def ask_checks(actor: Actor) -> dict[str, Any]:
        """Ask workers to compare rows, records and blobs of every client that has profiles."""
        found = await kek_inventory.ask_checks(app, actor)
        return {"clients": found, "asked_at": app.clock.now()}

    return routes
