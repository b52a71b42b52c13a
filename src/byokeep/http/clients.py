"""The wire form of a client: web and broker answer alike."""

from __future__ import annotations

from uuid import UUID

from byokeep.core.model import ClientState, Risk
from byokeep.http.reply import At, Reply


class ClientReply(Reply):
    """A client."""

    id: UUID
    name: str
    state: ClientState
    risk: Risk
    created_at: At
    created_by: UUID
