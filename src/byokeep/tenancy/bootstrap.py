"""The first minutes of an installation: its id, its first admin, the machine identities of the embedded stack.

Rules
- An installation keeps one id and one environment forever. A copy that claims another environment is refused.
- Nothing here gives a person rights: the first admin's invitation lives a day and sets one password (S-ASVS-23).
- Tokens of local machines live the runbook's 30 days (6.1). They are renewed, at a start and while running, when half
  of that has passed. The database says how long one has left, by the token in its file; a file's own time proves
  nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from byokeep.core.errors import Conflict
from byokeep.core.events import EventName
from byokeep.core.model import Actor, Environment, Role
from byokeep.core.secret import Secret
from byokeep.kernel.app import App, BrokerApp
from byokeep.kernel.command import record
from byokeep.kernel.ports import Database, Ids
from byokeep.tenancy.tokens import Subject, new_token, put, revoke_all

LOCAL_TOKEN_S: Final = 30 * 24 * 3600  # runbook 6.1
RENEW_LEFT_S: Final = LOCAL_TOKEN_S // 2  # a token with less left is renewed, which leaves two weeks for failures
OVERLAP_S: Final = 7 * 24 * 3600  # how long whoever read the file before a renewal can go on


@dataclass(frozen=True, slots=True)
class Installation:
    """Which installation this is."""

    id: UUID
    environment: Environment


async def installation(db: Database, ids: Ids, environment: Environment) -> Installation:
    """Return this installation, creating it at the first start; event 0 of its chain records that (R1.4-2).

    Raises:
        Conflict: ``other_environment``: the database belongs to another environment.
    """
    async with db.begin() as tx:
        found = await tx.maybe(Installation, "installation_get")
    if found is None:
        async with db.begin() as tx:
            found = await tx.maybe(Installation, "installation_create", id=ids.uuid(), environment=environment.value)
            if found is not None:
                actor = Actor(id=found.id, roles=frozenset({Role.SYSTEM}), clients=None, request_id=ids.uuid())
                fields = {"installation": str(found.id), "environment": environment.value}
                await record(tx, actor, EventName.INSTALLED, fields, object_id=found.id)
        found = found or await known_installation(db)
    if found.environment is not environment:
        step = "This database belongs to another environment; settings and data must agree."
        said = {"stored": found.environment.value, "configured": environment.value}
        raise Conflict("other_environment", next_step=step, **said)
    return found


async def known_installation(db: Database) -> Installation:
    """Return this installation.

    Raises:
        NotFound: Nothing is installed yet.
    """
    async with db.begin() as tx:
        return await tx.one(Installation, "installation_get")


async def store_provisioned(app: App, component: str = "store") -> None:
    """Record that the store was set up or changed, which explains those requests in the store's own log.

    Args:
        app: That of ``web``, or of the host.
        component: What was changed; ``lease-key``: the key that signs leases.
    """
    about, changed = app.installation_id, EventName.CONFIG_CHANGED
    async with app.db.begin() as tx:
        await record(tx, app.system(), changed, object_id=about, component=component)


async def token_left_s(app: BrokerApp, name: str, token: bytes) -> float:
    """Return for how many seconds a token still works for the machine of this name; 0 or less: no longer, or never did.
    """
    asked = {"keyed_hash": app.machine_key(token), "name": name}
    found = await app.db.read(lambda row: float(row["left_s"]), "token_left", asked, every_client=True)
    return found[0] if found else 0.0


async def local_machine(app: BrokerApp, *, name: str, role: Role, overlap_s: int = 0) -> Secret | None:
    """Make sure that a machine of the embedded stack exists, and issue it a new token; older ones end.

    Args:
        overlap_s: How long older tokens keep working, in seconds; 0 = they end now.

    Returns:
        The token, for a file that only the machine reads; None if an admin disabled the machine or changed its role.
    """
    actor = app.system()
    async with app.db.begin(every_client=True) as tx:
        await tx.all(None, "subject_lock")
        subject = await tx.maybe(Subject, "machine_named", name=name)
        if subject is None:
            made = Subject(id=app.ids.uuid(), kind="machine", name=name, roles=frozenset({role}), state="active",
                           all_clients=True, clients=frozenset())  # fmt: skip
            subject = await put(tx, app, actor, made, new=True)
        if subject.roles != frozenset({role}) or subject.state != "active":
            return None
        issued = await new_token(tx, app, actor, subject, kind="api", life_s=LOCAL_TOKEN_S)
        await revoke_all(tx, actor, subject.id, but=issued.token.id, in_s=overlap_s)
    return issued.value
