"""Bodies and replies of ``web``: the wire form of the nouns, and the few queries that are allowed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field
from starlette.requests import Request

from byokeep.core import next_steps
from byokeep.core.errors import Rejected
from byokeep.core.identity import spelt
from byokeep.core.model import Client, CredentialRef
from byokeep.flows.accounts import PlatformAccount
from byokeep.flows.alerts import Alert
from byokeep.flows.audit_read import DEFAULT_RECORDS, Shown, Window
from byokeep.flows.history import KeyHistory
from byokeep.flows.refs import Inventory, InventoryItem, Transition
from byokeep.flows.sops import CONNECT, PROFILE, SopStatus
from byokeep.flows.vault_inventory import VaultInventory
from byokeep.http.body import Strict
from byokeep.http.people import at_out

Name = Annotated[str, Field(max_length=200)]
_MAX_INT: Final = 9  # digits


class ClientBody(Strict):
    """Create a client."""

    name: Name
    risk: Literal["standard", "high"] = "standard"


class AccountBody(Strict):
    """Register an account."""

    platform: Annotated[str, Field(max_length=32)]
    account: Name
    username: Name
    display_name: Name


class LanesBody(Strict):
    """Set an account's lanes."""

    lanes: Annotated[list[Literal["api", "browser"]], Field(max_length=2)]


class StateBody(Strict):
    """Change a key's state."""

    to: Literal["pre_activation", "active", "suspended", "deactivated", "compromised", "destroyed"]
    reason: Annotated[str, Field(max_length=63)]


def query_of(request: Request, *allowed: str) -> dict[str, str]:
    """Return the query, of which every name is allowed and stands once.

    Raises:
        Rejected: ``unexpected_query``.
    """
    found = request.query_params.multi_items()
    names = [name for name, _ in found]
    if len(set(names)) != len(names) or not set(names) <= set(allowed):
        raise Rejected("unexpected_query", next_step="This route takes: " + ", ".join(allowed) + "; each once.")
    return dict(found)


def whole_number(name: str, text: str | None) -> int | None:
    """Parse decimal digits; ``None`` stays ``None``.

    Raises:
        Rejected: ``bad_number`` with the name.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_INT):
        raise Rejected("bad_number", next_step="Use decimal digits.", field=name)
    return int(text)


def instant(name: str, text: str | None) -> datetime | None:
    """Parse an RFC 3339 time with an offset; ``None`` stays ``None``.

    Raises:
        Rejected: ``bad_time`` with the name.
    """
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    raise Rejected("bad_time", next_step="Use a time such as 2026-01-31T12:00:00Z.", field=name)


def client_out(client: Client) -> dict[str, Any]:
    """Return the wire form of a client."""
    return {
        "id": str(client.id), "name": client.name, "state": client.state.value, "risk": client.risk.value,
        "created_at": at_out(client.created_at), "created_by": str(client.created_by),
    }  # fmt: skip


def account_out(account: PlatformAccount) -> dict[str, Any]:
    """Return the wire form of an account."""
    return {
        "id": str(account.id), "client_id": str(account.client_id), "platform": account.platform.value,
        "account": account.account, "username": account.username, "display_name": account.display_name,
        "lanes": list(account.lanes), "identity": account.identity, "identified_at": at_out(account.identified_at),
        "created_at": at_out(account.created_at), "created_by": str(account.created_by),
    }  # fmt: skip


def ref_out(ref: CredentialRef) -> dict[str, Any]:
    """Return the wire form of a reference (runbook 3.2, R3.2-1)."""
    return {
        "id": str(ref.id), "client_id": str(ref.client_id), "provider": ref.provider.value, "kind": ref.kind.value,
        "purpose": ref.purpose, "environment": ref.environment.value, "secret_ref": ref.secret_ref,
        "version": ref.version, "state": ref.state, "verification": ref.verification.value, "risk": ref.risk.value,
        "created_at": at_out(ref.created_at), "created_by": str(ref.created_by),
        "rotation_due_at": at_out(ref.rotation_due_at), "expires_at": at_out(ref.expires_at),
        "candidate": ref.candidate,
    }  # fmt: skip


def transition_out(change: Transition) -> dict[str, Any]:
    """Return the wire form of a change of state."""
    return {
        "ref_id": str(change.ref_id), "state_from": change.state_from, "state_to": change.state_to,
        "reason": change.reason, "at": at_out(change.at), "by": str(change.by),
    }  # fmt: skip


def item_out(item: InventoryItem) -> dict[str, Any]:
    """Return the wire form of a line of the inventory."""
    return {
        **ref_out(item.ref), "client": item.client_name, "owner": item.owner,
        "last_leased_at": at_out(item.last_leased_at), "store": item.store,
    }  # fmt: skip


def inventory_out(inventory: Inventory) -> dict[str, Any]:
    """Return the wire form of the inventory."""
    return {
        "result": inventory.result,
        "items": [item_out(item) for item in inventory.items],
        "orphans": [
            {"client_id": str(one.client_id), "provider": one.provider.value, "versions": list(one.versions)}
            for one in inventory.orphans
        ],
    }


def with_vault(found: dict[str, Any], vault: VaultInventory) -> dict[str, Any]:
    """Return an inventory with the keys of browser profiles; the result is the worse of the two."""
    order = ("match", "unknown", "findings")
    return found | {
        "result": max(found["result"], vault.result, key=order.index),
        "keys": [
            {"class": one.kind, "client_id": None if one.client_id is None else str(one.client_id), "key": one.about,
             "owner": one.owner, "state": one.state, "made_at": at_out(one.made_at), "due_at": at_out(one.due_at),
             "last_used_at": at_out(one.last_used_at)}
            for one in vault.keys
        ],
        "checked": [
            {"client_id": str(one.client_id), "check": one.cause, "found": one.found,
             "checked_at": at_out(one.checked_at)}
            for one in vault.checked
        ],
        "findings": [
            {"finding": one.reason, "client_id": None if one.client_id is None else str(one.client_id),
             "profile": None if one.profile_id is None else str(one.profile_id), "place": one.place,
             "since": at_out(one.since)}
            for one in vault.findings
        ],
    }  # fmt: skip


def sop_out(status: SopStatus) -> dict[str, Any]:
    """Return the wire form of a run with its evidence."""
    run = status.run
    return {
        "id": str(run.id), "sop": run.sop, "client_id": str(run.client_id), "provider": run.provider.value,
        "ref": str(run.ref_id), "version": run.version, "state": status.state, "missing": list(status.missing),
        "reason": run.reason.partition("/")[0], "next_step": _next(status),
        "started_at": at_out(run.started_at), "started_by": str(run.started_by),
        "closed_at": at_out(run.closed_at), "store_request": run.store_request,
        "evidence": {
            item: {"seq": record.seq, "event": record.event, "at": at_out(record.at)}
            for item, record in status.evidence.items()
        },
    }  # fmt: skip


def _next(status: SopStatus) -> str:
    if status.run.sop == CONNECT:
        return next_steps.of_connection(status.state, status.run.reason)
    if status.run.sop == PROFILE:
        return next_steps.of_profile(status.state, status.missing)
    return next_steps.of_run(status.state, status.run.reason, status.missing)


def alert_out(alert: Alert) -> dict[str, Any]:
    """Return the wire form of an alert."""
    return {
        "id": str(alert.id), "client_id": None if alert.client_id is None else str(alert.client_id),
        "object_id": None if alert.object_id is None else str(alert.object_id), "reason": alert.reason,
        "severity": alert.severity, "count": alert.count, "opened_at": at_out(alert.opened_at),
        "closed_at": at_out(alert.closed_at), "closed_by": None if alert.closed_by is None else str(alert.closed_by),
        "code_points": spelt(alert.code_points),
    }  # fmt: skip


def window_of(given: dict[str, str]) -> Window:
    """Return the window that ``since``, ``until``, ``before`` and ``limit`` of a query name.

    Raises:
        Rejected: ``bad_time``, ``bad_number``.
    """
    return Window(
        since=instant("since", given.get("since")),
        until=instant("until", given.get("until")),
        before=whole_number("before", given.get("before")),
        limit=whole_number("limit", given.get("limit")) or DEFAULT_RECORDS,
    )


def history_out(history: KeyHistory) -> dict[str, Any]:
    """Return the wire form of a key's history."""
    return {
        "ref": ref_out(history.ref),
        "last_used_at": at_out(history.last_used_at), "last_rotated_at": at_out(history.last_rotated_at),
        "refused": history.refused,
        "access": [
            {"actor": str(one.actor), "name": one.name, "leases": one.leases, "first_at": at_out(one.first_at),
             "last_at": at_out(one.last_at)}
            for one in history.holders
        ],
        "records": [
            {"seq": one.seq, "at": at_out(one.at), "actor_name": one.actor_name, **one.said} for one in history.entries
        ],
    }  # fmt: skip


def record_out(record: Shown) -> dict[str, Any]:
    """Return the wire form of an audit record."""
    return {"seq": record.seq, "at": at_out(record.at), **record.said, "hash": record.hash_hex}
