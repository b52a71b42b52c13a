"""Which client a job, lease or permit belongs to.

Rules
- The answer never changes for an id, so it is remembered; what may change is never remembered here.
- It grants nothing: whoever asks is authorised for that client afterwards, and an id of another client answers
  like an id that does not exist (S-VAULT-7).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Literal
from uuid import UUID

from byokeep.core.errors import NotFound
from byokeep.core.model import ClientId
from byokeep.flows.app import App
from byokeep.ports import Query

Kind = Literal["job", "lease", "permit"]
_MAX: Final = 20_000  # ids remembered by one process
_known: OrderedDict[UUID, ClientId] = OrderedDict()
_QUERIES: Final = {
    kind: Query(f"auth_client_of_{kind}", lambda row: ClientId(row["client_id"])) for kind in ("job", "lease", "permit")
}


def remember(object_id: UUID, client_id: ClientId) -> None:
    """Keep what was just written, so that the next call need not ask."""
    _known[object_id] = client_id
    if len(_known) > _MAX:
        _known.popitem(last=False)


async def client_of(app: App, kind: Kind, object_id: UUID) -> ClientId:
    """Return the client an object belongs to.

    Raises:
        NotFound: ``not_found``.
    """
    if (known := _known.get(object_id)) is not None:
        return known
    found = await app.db.read(_QUERIES[kind], {"id": object_id}, every_client=True)
    if not found:
        raise NotFound("not_found")
    remember(object_id, found[0])
    return found[0]
