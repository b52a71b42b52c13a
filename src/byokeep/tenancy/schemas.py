"""The wire form of clients, people, machines, tokens and what waits for a second admin, shared by web and broker."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import Field
from starlette.requests import Request

from byokeep.core.model import Client, Role
from byokeep.http.openapi import Reply
from byokeep.kernel.approvals import Approval
from byokeep.tenancy.tokens import Issued, Subject, SubjectToken


class ClientReply(Reply, of=Client, shows="id name state risk created_at created_by"):
    """A client."""


# Where a login comes from, as web saw it; used only for the brake on guessing.
SOURCE: Final = "Byokeep-Login-From"


def login_from(request: Request) -> dict[str, str]:
    """Return the header that tells the broker where a login comes from."""
    return {SOURCE: request.client.host} if request.client else {}


class SubjectReply(
    Reply,
    of=Subject,
    shows="id kind name roles state all_clients clients has_password created_at created_by held_until token_until",
):
    """A person or machine."""


class ApiTokenReply(Reply, of=SubjectToken, shows="id subject_id kind created_at expires_at revoked_at"):
    """A token's row, without the token."""


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


class ApprovalReply(Reply, of=Approval, shows="id action what reason requested_by expires_at"):
    """A request that takes a second person."""

    what: str
    asked: RightsReply


def issued_out(issued: Issued) -> dict[str, Any]:
    """Return a new token's reply with the token itself, which is shown only this once."""
    return ApiTokenReply.fields(issued.token) | {"token": issued.text}


def approval_out(approval: Approval) -> dict[str, Any]:
    """Return a request that needs a second person."""
    asked = json.loads(approval.asked)
    what = asked.pop("what", f"{approval.reason} {asked['name']}")
    return ApprovalReply.fields(approval, what=what, asked=asked | {"all_clients": bool(asked["all_clients"])})
