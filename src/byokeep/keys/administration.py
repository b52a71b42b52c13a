"""The administrator key of a client's account at a provider, and the calls that a worker makes with it.

Rules
- There is one per client and provider, separate from every key that jobs get: no job's lease opens it, and no other key
  replaces it. A worker holds it under custody while it makes its calls.
- Each call is recorded before it is made, and again when it was answered or failed.
- If the provider refuses the key, people are notified, and what needed it stops until a person resumes it.

It may not decide what the key is used for: rotations and exposure reports do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from uuid import UUID

from byokeep.core.errors import Conflict
from byokeep.core.events import EventName, Outcome
from byokeep.core.model import Actor, ClientId, Provider
from byokeep.core.ref import SecretPart
from byokeep.core.secret import Secret
from byokeep.jobs.jobs import in_custody
from byokeep.kernel.app import App, WorkerApp
from byokeep.kernel.command import Said, open_alert, record
from byokeep.kernel.ports import Tx, ValueCustody

if TYPE_CHECKING:
    from byokeep.keys.rotation import KeyRotation

CALLS: Final = 5  # tries of one call to a provider's administration; then a person is asked
REFUSED: Final = "admin_key_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminKey:
    """Where the key lies that administers a client's account at a provider, and where in the account its keys are."""

    id: UUID
    version: int
    provider_place: str

    @property
    def place(self) -> dict[str, str]:
        """The names and ids that the provider's calls need."""
        pairs = (pair.partition("=") for pair in self.provider_place.split(",") if pair)
        return {name: value for name, _, value in pairs}


async def admin_of(tx: Tx, client_id: ClientId, provider: Provider) -> AdminKey | None:
    """Return a client's administrator key at a provider."""
    return await tx.maybe(AdminKey, "rotation_admin", client_id=client_id, provider=provider.value)


def custody_of(app: WorkerApp, run: KeyRotation) -> AbstractAsyncContextManager[ValueCustody]:
    """Hold custody of the versions of a rotation's key, and of its administrator's."""
    return in_custody(app, app.custodian.open, app.custodian.close, run.client_id, run.provider.value)


@asynccontextmanager
async def administering(
    app: WorkerApp, actor: Actor, run: KeyRotation
) -> AsyncIterator[tuple[ValueCustody, AdminKey, Secret]]:
    """Hold the administrator's key of a run's provider, for the calls of the block.

    Raises:
        Conflict: ``admin_key_missing``; ``admin_key_refused``, with an alert; what the block raises.
    """
    async with app.db.begin(client_id=run.client_id) as tx:
        admin = await admin_of(tx, run.client_id, run.provider)
    if admin is None:
        step = f"Give the administrator key: `byokeep key admin {run.client_id} {run.provider}`, then resume."
        raise Conflict("admin_key_missing", next_step=step)
    async with custody_of(app, run) as custody:
        secret = await custody.read(replace(run.place, part=SecretPart.ADMIN), admin.version)
        try:
            yield custody, admin, secret
        except Conflict as error:
            if error.code == REFUSED:
                async with app.db.begin(client_id=run.client_id) as tx:
                    await open_alert(tx, app, actor, reason=REFUSED, client_id=run.client_id, object_id=admin.id)
            raise
        finally:
            secret.wipe()


async def not_answered(app: WorkerApp, actor: Actor, run: KeyRotation, act: str, cause: str, **said: Said) -> int:
    """Put on record that a call came to nothing; returns how many of its kind did in this run, of that version."""
    await called(app, actor, run, act, "", Outcome.FAILED, cause=cause, **said)
    async with app.db.begin(client_id=run.client_id) as tx:
        return await calls_of(tx, run, f"{act}_call", Outcome.FAILED, version=said.get("version"))


async def calls_of(tx: Tx, run: KeyRotation, stage: str, outcome: Outcome, *, version: Said = None) -> int:
    """Return how many calls of a kind are on record for a run, or for one version in it."""
    about = {**run.at, "run": str(run.id), "version": version}
    return await tx.one(int, "rotation_calls", **about, stage=stage, outcome=outcome.value)


async def called(
    app: WorkerApp, actor: Actor, run: KeyRotation, act: str, key_id: str, outcome: Outcome, **more: Said
) -> None:
    """Put a call to the provider's administration on record: before it, and when it was answered."""
    async with app.db.begin(client_id=run.client_id) as tx:
        await say(tx, actor, run, f"{act}_call", outcome, **more, provider_key=key_id or None)


async def say(
    tx: Tx, actor: Actor, run: KeyRotation, stage: str, outcome: Outcome = Outcome.OK, /, **said: Said
) -> None:  # fmt: skip
    """Put on record what was done or decided in a run."""
    about: dict[str, Said] = {"run": run.id, "stage": stage, "provider": run.provider.value, **said}
    await record(
        tx, actor, EventName.KEY_ROTATION, about, outcome=outcome, client_id=run.client_id, object_id=run.object_id
    )


async def tell(app: App, actor: Actor, run: KeyRotation, reason: str) -> None:
    """Open an alert about a run's key."""
    async with app.db.begin(client_id=run.client_id) as tx:
        await open_alert(tx, app, actor, reason=reason, client_id=run.client_id, object_id=run.object_id)
