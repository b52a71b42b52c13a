"""The wire form of clients, people, machines, tokens and what waits for a second admin: web and broker answer alike."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import BeforeValidator, Field

from byokeep.core.model import ClientState, Risk, Role
from byokeep.http.reply import At, Reply
from byokeep.kernel.approvals import Approval
from byokeep.tenancy.tokens import Issued


class ClientReply(Reply):
    """A client."""

    id: UUID
    name: str
    state: ClientState
    risk: Risk
    created_at: At
    created_by: UUID


# Where a login comes from, as web saw it: for the brake on guessing, and for nothing else.
SOURCE: Final = "Byokeep-Login-From"


class SubjectReply(Reply):
    """A person or machine."""

    id: UUID
    kind: str
    name: str
    roles: Annotated[list[Role], BeforeValidator(sorted)]
    state: str
    all_clients: bool
    clients: Annotated[list[UUID], BeforeValidator(sorted)]
    has_password: bool
    created_at: At | None
    created_by: UUID | None
    held_until: At | None
    token_until: At | None


class ApiTokenReply(Reply):
    """A token's row, without the token."""

    id: UUID
    subject_id: UUID
    kind: str
    created_at: At
    expires_at: At
    revoked_at: At | None


class IssuedReply(ApiTokenReply):
    """A new token, with the token; this once."""

    token: Annotated[str, Field(repr=False)]


class RightsReply(Reply):
    """What somebody would be once an approver agreed."""

    all_clients: bool
    clients: list[UUID]
    kind: str
    name: str
    roles: list[Role]
    state: str
    subject: UUID


class ApprovalReply(Reply):
    """A request that takes a second person."""

    id: UUID
    action: str
    what: str
    reason: str
    requested_by: UUID
    expires_at: At
    asked: RightsReply


def issued_out(issued: Issued) -> dict[str, Any]:
    """Return a new token, with the token; this once."""
    return ApiTokenReply.fields(issued.token) | {"token": issued.text}


def approval_out(approval: Approval) -> dict[str, Any]:
    """Return a request that takes a second person."""
    asked = json.loads(approval.asked)
    what = asked.pop("what", f"{approval.reason} {asked['name']}")
    return {
        "id": approval.id, "action": approval.action, "what": what, "reason": approval.reason,
        "requested_by": approval.requested_by, "expires_at": approval.expires_at,
        "asked": asked | {"all_clients": bool(asked["all_clients"])},
    }  # fmt: skip
