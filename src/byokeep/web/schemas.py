"""Bodies and replies of ``web``: the wire form of the nouns, and the few queries that are allowed."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field
from starlette.requests import Request

from byokeep.audit.disclosure import DEFAULT_RECORDS, RecordWindow, ShownRecord
from byokeep.core import next_steps
from byokeep.core.errors import Rejected
from byokeep.core.identity import spelt
from byokeep.core.model import Environment, Provider, Risk, SecretKind, Verification
from byokeep.http.body import Strict
from byokeep.http.clients import ClientReply
from byokeep.http.reply import At, Reply, at_out
from byokeep.kernel.sops import CONNECT, PROFILE, SopStatus
from byokeep.keys.refs import Inventory, InventoryItem, KeyHistory
from byokeep.profiles.vault_inventory import VaultInventory

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
    with suppress(ValueError, OverflowError):  # the first and last hours that there are have no time in UTC
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    raise Rejected("bad_time", next_step="Use a time such as 2026-01-31T12:00:00Z.", field=name)


class ClientsReply(Reply):
    """The caller's clients."""

    clients: list[ClientReply]


class AccountReply(Reply):
    """An account of a platform."""

    id: UUID
    client_id: UUID
    platform: Provider
    account: str
    username: str
    display_name: str
    lanes: list[str]
    identity: str
    identified_at: At | None
    created_at: At
    created_by: UUID


class RefReply(Reply):
    """Where a secret is, never what it is (runbook 3.2, R3.2-1)."""

    id: UUID
    client_id: UUID
    provider: Provider
    kind: SecretKind
    purpose: str
    environment: Environment
    secret_ref: str
    version: int
    state: str
    verification: Verification
    risk: Risk
    created_at: At
    created_by: UUID
    rotation_due_at: At
    expires_at: At | None
    candidate: int | None


class RefsReply(Reply):
    """A client's references."""

    refs: list[RefReply]


class TransitionReply(Reply):
    """A change of a key's state."""

    ref_id: UUID
    state_from: str
    state_to: str
    reason: str
    at: At
    by: UUID


class ExportReply(Reply):
    """Everything known of a client's keys, without a value."""

    client: ClientReply
    refs: list[RefReply]
    transitions: list[TransitionReply]
    accounts: list[AccountReply]


class OnboardedReply(Reply):
    """A key that was taken in; its verification follows."""

    ref: Annotated[UUID, Field(validation_alias="ref_id")]
    sop: Annotated[UUID, Field(validation_alias="sop_id")]
    version: int
    state: str
    verification: str
    rule: str
    rotation_due_at: Annotated[At, Field(validation_alias="due_at")]
    serves: int | None


class VerifyingReply(Reply):
    """A version that is verified again."""

    ref: UUID
    sop: UUID
    version: int


class ChecksReply(Reply):
    """The clients whose profiles are compared."""

    clients: list[UUID]
    asked_at: At


class InventoryItemReply(RefReply):
    """A line of the inventory."""

    client: str
    owner: str | None
    last_leased_at: At | None
    store: str


class OrphanReply(Reply):
    """Versions in the store that no reference names."""

    client_id: UUID
    provider: Provider
    versions: list[int]


class InventoryKeyReply(Reply):
    """A key of browser profiles."""

    kind: Annotated[str, Field(serialization_alias="class")]
    client_id: UUID | None
    key: Annotated[str, Field(validation_alias="about")]
    owner: str
    state: str
    made_at: At
    due_at: At | None
    last_used_at: At | None


class InventoryCheckReply(Reply):
    """When a client's rows, records and blobs were compared."""

    client_id: UUID
    check: Annotated[str, Field(validation_alias="cause")]
    found: int
    checked_at: At | None


class InventoryFindingReply(Reply):
    """Rows, records and blobs that do not agree."""

    finding: Annotated[str, Field(validation_alias="reason")]
    client_id: UUID | None
    profile: Annotated[UUID | None, Field(validation_alias="profile_id")]
    place: str
    since: At


class InventoryReply(Reply):
    """Every key, compared with the store; ``result`` is the worst of all comparisons."""

    result: str
    items: list[InventoryItemReply]
    orphans: list[OrphanReply]
    keys: list[InventoryKeyReply]
    checked: list[InventoryCheckReply]
    findings: list[InventoryFindingReply]


class EvidenceReply(Reply):
    """The record that proves a step."""

    seq: int
    event: str
    at: At


class SopReply(Reply):
    """A run of a procedure with its evidence."""

    id: UUID
    sop: str
    client_id: UUID
    provider: Provider
    ref: UUID
    version: int
    state: str
    missing: list[str]
    reason: str
    next_step: str
    started_at: At
    started_by: UUID
    closed_at: At | None
    store_request: str
    evidence: dict[str, EvidenceReply]


class AlertReply(Reply):
    """An alert."""

    id: UUID
    client_id: UUID | None
    object_id: UUID | None
    reason: str
    severity: str
    count: int
    opened_at: At
    closed_at: At | None
    closed_by: UUID | None
    code_points: Annotated[str, BeforeValidator(spelt)]


class AlertsReply(Reply):
    """The open alerts that concern the caller, critical ones first, and how many more there are."""

    alerts: list[AlertReply]
    more: int


class AccessReply(Reply):
    """Somebody who had access to a key."""

    actor: UUID
    name: str | None
    leases: int
    first_at: At
    last_at: At


class HistoryRecordReply(Reply):
    """A record of a key's history; further fields are those of its event (docs/events.md)."""

    model_config = ConfigDict(extra="allow")

    seq: int
    at: str
    actor_name: str | None


class KeyHistoryReply(Reply):
    """Who had access to a key, when it was used and last rotated."""

    ref: RefReply
    last_used_at: At | None
    last_rotated_at: At | None
    refused: int
    access: list[AccessReply]
    records: list[HistoryRecordReply]


class RecordReply(Reply):
    """An audit record; further fields are those of its event (docs/events.md)."""

    model_config = ConfigDict(extra="allow")

    seq: int
    at: str
    hash: str


class RecordsReply(Reply):
    """Audit records, newest first."""

    records: list[RecordReply]


def inventory_out(inventory: Inventory, vault: VaultInventory) -> dict[str, Any]:
    """Return the inventory with the keys of browser profiles; the result is the worse of the two."""
    order = ("match", "unknown", "findings")
    return {
        "result": max(inventory.result, vault.result, key=order.index),
        "items": [_item(one) for one in inventory.items], "orphans": inventory.orphans,
        "keys": vault.keys, "checked": vault.checked, "findings": vault.findings,
    }  # fmt: skip


def _item(item: InventoryItem) -> dict[str, Any]:
    return RefReply.fields(item.ref) | {
        "client": item.client_name, "owner": item.owner, "last_leased_at": item.last_leased_at, "store": item.store,
    }  # fmt: skip


def sop_out(status: SopStatus) -> dict[str, Any]:
    """Return a run with its evidence."""
    run = status.run
    return {
        "id": run.id, "sop": run.sop, "client_id": run.client_id, "provider": run.provider, "ref": run.ref_id,
        "version": run.version, "state": status.state, "missing": status.missing,
        "reason": run.reason.partition("/")[0],
        "next_step": _next(status), "started_at": run.started_at, "started_by": run.started_by,
        "closed_at": run.closed_at, "store_request": run.store_request, "evidence": dict(status.evidence),
    }  # fmt: skip


def _next(status: SopStatus) -> str:
    if status.run.sop == CONNECT:
        return next_steps.of_connection(status.state, status.run.reason)
    if status.run.sop == PROFILE:
        return next_steps.of_profile(status.state, status.missing)
    return next_steps.of_run(status.state, status.run.reason, status.missing)


def window_of(given: dict[str, str]) -> RecordWindow:
    """Return the window that ``since``, ``until``, ``before`` and ``limit`` of a query name.

    Raises:
        Rejected: ``bad_time``, ``bad_number``.
    """
    return RecordWindow(
        since=instant("since", given.get("since")),
        until=instant("until", given.get("until")),
        before=whole_number("before", given.get("before")),
        limit=whole_number("limit", given.get("limit")) or DEFAULT_RECORDS,
    )


def history_out(history: KeyHistory) -> dict[str, Any]:
    """Return a key's history."""
    return {
        "ref": history.ref, "last_used_at": history.last_used_at, "last_rotated_at": history.last_rotated_at,
        "refused": history.refused, "access": history.holders,
        "records": [
            {"seq": one.seq, "at": at_out(one.at), "actor_name": one.actor_name, **one.said} for one in history.entries
        ],
    }  # fmt: skip


def record_out(record: ShownRecord) -> dict[str, Any]:
    """Return the wire form of an audit record."""
    return {"seq": record.seq, "at": at_out(record.at), **record.said, "hash": record.hash_hex}
