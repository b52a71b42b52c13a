"""SOP 5.3, step 6 told: which screenshots prove the generation of a profile that was validated last.

Rules
- From the records of the proofs, which nobody can change; the files themselves lie at the worker's host.

It may not open a picture: a person does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from byokeep.core.canonical import parse_canonical
from byokeep.core.model import Actor, ClientId
from byokeep.core.policy import Verb
from byokeep.flows import profiles
from byokeep.flows.app import App
from byokeep.kernel.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofPicture:
    """A screenshot of one element of the account's page, as it is on record: its SHA-256 in hex."""

    platform: str
    generation: int
    sha256: str


def _proof_from(row: Row) -> ProofPicture:
    said: Any = parse_canonical(bytes(row["payload"]))
    told = said["fields"]
    return ProofPicture(platform=told["platform"], generation=told["generation"], sha256=told["screenshot"])


async def proofs(app: App, actor: Actor, client_id: ClientId, profile_id: UUID) -> list[ProofPicture]:
    """Return the screenshots that prove the newest generation that was validated; one for each platform.

    Raises:
        Denied, NotFound: As :func:`byokeep.flows.profiles.get`.
    """
    found = await profiles.find(app, actor, Verb.PROFILE_READ, client_id, profile_id)
    async with app.db.begin(client_id=client_id) as tx:
        kept = await tx.all(_proof_from, "profile_proofs", client_id=client_id, profile_id=profile_id)
    newest = {one.platform: one for one in reversed(kept) if one.generation == found.validated_generation}
    return [newest[platform] for platform in sorted(newest)]
