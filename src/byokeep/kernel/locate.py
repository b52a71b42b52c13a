"""Find the client that a job, lease or permit belongs to.

Rules
- The answer for an id never changes, so it is cached. What may change is never cached here.
- The caller is authorised for the verb before the id is looked up, and for its client afterwards. So to every role, an
  id of another client looks like an id that does not exist (S-VAULT-7).
"""

from __future__ import annotations

from typing import Final, Literal
from uuid import UUID

from byokeep.core.errors import NotFound
from byokeep.core.model import Actor, ClientId
from byokeep.core.policy import Verb, authorise
from byokeep.kernel.app import App

Kind = Literal["client", "job", "lease", "permit"]
_MAX: Final = 20_000  # ids remembered by one process


def remember(app: App, object_id: UUID, client_id: ClientId) -> None:
    """Keep what was just written, so that the next call need not ask."""
    app.owners[object_id] = client_id
    if len(app.owners) > _MAX:
        app.owners.popitem(last=False)


async def authorise_for(app: App, actor: Actor, verb: Verb, client_id: UUID) -> None:
    """Let a verb pass for a client that there is; who is assigned to all clients may name one that there is not.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``: no such client, or not the actor's.
    """
    authorise(actor, verb, client_id=client_id)
    if actor.clients is None:
        await _client_of(app, "client", client_id)


async def client_for(app: App, actor: Actor, verb: Verb, kind: Kind, object_id: UUID) -> ClientId:
    """Return the client an object belongs to, if the actor may do ``verb`` there.

    Raises:
        Denied: ``not_permitted``, whether there is such an object or not.
        NotFound: ``not_found``; another client's object is none either.
    """
    authorise(actor, verb)
    client_id = await _client_of(app, kind, object_id)
    authorise(actor, verb, client_id=client_id)
    return client_id


async def _client_of(app: App, kind: Kind, object_id: UUID) -> ClientId:
    if (known := app.owners.get(object_id)) is not None:
        return known
    found = await app.db.read(ClientId, f"auth_client_of_{kind}", {"id": object_id}, every_client=True)
    if not found:
        raise NotFound("not_found")
    remember(app, object_id, found[0])
    return found[0]
