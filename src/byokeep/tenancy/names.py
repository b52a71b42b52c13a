"""Names behind ids that somebody already holds: of people, machines and clients.

Rules
- Who asks names the ids; nobody lists people here. A client that is not the actor's stays without a name.
- An id without a name is left out: nothing can be told from its absence.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from byokeep.core.model import Actor
from byokeep.core.policy import Verb
from byokeep.kernel.app import App
from byokeep.kernel.command import command
from byokeep.tenancy.clients import scope_of


async def names_of(app: App, actor: Actor, wanted: Iterable[UUID]) -> dict[UUID, str]:
    """Return the names of those ids that have one for this actor.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.CLIENT_READ) as tx:
        return dict(
            await tx.all(
                lambda row: (UUID(str(row["id"])), str(row["name"])),
                "names_known",
                wanted=sorted(set(wanted), key=str),
                clients=scope_of(actor),
            )
        )
