"""The wire form of people, machines, their tokens and what waits for a second admin: web and broker answer alike."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from byokeep.flows.approvals import Approval
from byokeep.flows.subjects import Issued, Subject, Token

# Where a login comes from, as web saw it: for the brake on guessing, and for nothing else.
SOURCE: Final = "Byokeep-Login-From"


def at_out(at: datetime | None) -> str | None:
    """Return the wire form of a time."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def issued_out(issued: Issued) -> dict[str, Any]:
    """Return the wire form of a new token, with the token; this once."""
    return {**token_out(issued.token), "token": issued.text}


def token_out(token: Token) -> dict[str, Any]:
    """Return the wire form of a token's row."""
    return {
        "id": str(token.id), "subject_id": str(token.subject_id), "kind": token.kind,
        "created_at": at_out(token.created_at), "expires_at": at_out(token.expires_at),
        "revoked_at": at_out(token.revoked_at),
    }  # fmt: skip


def subject_out(subject: Subject) -> dict[str, Any]:
    """Return the wire form of a person or machine."""
    return {
        "id": str(subject.id), "kind": subject.kind, "name": subject.name,
        "roles": sorted(role.value for role in subject.roles), "state": subject.state,
        "all_clients": subject.all_clients, "clients": sorted(str(client) for client in subject.clients),
        "has_password": subject.has_password, "created_at": at_out(subject.created_at),
        "created_by": None if subject.created_by is None else str(subject.created_by),
        "held_until": at_out(subject.held_until), "token_until": at_out(subject.token_until),
    }  # fmt: skip


def approval_out(approval: Approval) -> dict[str, Any]:
    """Return the wire form of a request that takes a second person."""
    asked = json.loads(approval.asked)
    what = asked.pop("what", f"{approval.reason} {asked['name']}")
    return {
        "id": str(approval.id), "action": approval.action, "what": what, "reason": approval.reason,
        "requested_by": str(approval.requested_by), "expires_at": at_out(approval.expires_at),
        "asked": asked | {"all_clients": bool(asked["all_clients"])},
    }  # fmt: skip
