"""The worker's ports for browser profiles: the part of the wiring that needs Chromium and Tink.

Rules: as of :mod:`byokeep.wiring`. Imported by the worker alone, and only where the extra `browser` is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from byokeep.adapters.files.profile_notes import HandOffNotes, ProofFiles
from byokeep.browser.rooms import ProfileRooms, sites
from byokeep.client.settings import ClientSettings
from byokeep.jobs.worker_app import WorkerApp
from byokeep.kernel.ports import Shot, Window
from byokeep.profiles.login import ProfileApp
from byokeep.sealing.sealer import Sealer
from byokeep.settings import Settings
from byokeep.wiring_profiles import Rooms, artifact_store, windows
from byokeep.worker.custody import BrokerCustodian


def profile_app(
    settings: Settings, app: WorkerApp, memory: Rooms, *, broker: ClientSettings, digest: Callable[[str], str]
) -> ProfileApp:
    """Return the worker's ports for profiles.

    Args:
        app: The worker's own.
        memory: Where plain profiles lie (:func:`rooms`).
        broker: Where the custodian finds the broker, and its token.
        digest: Keyed digest of an account's id.

    Raises:
        Rejected, Unavailable: As :func:`artifact_store`; ``bad_website_file``; ``sealing_self_test_failed``.
    """
    own, notes = settings.file("websites_dir"), windows(settings)
    notes.clear()
    return ProfileApp(
        db=app.db,
        clock=app.clock,
        ids=app.ids,
        installation_id=app.installation_id,
        environment=app.environment,
        limits=app.limits,
        custodian=BrokerCustodian(broker, app.environment),
        sealer=Sealer(),
        artifacts=artifact_store(settings, may_remove=True),
        rooms=ProfileRooms(memory, sites(settings.website_urls, own)),
        notes=_Notes(notes),
        proofs=_Proofs(ProofFiles(settings.path("proofs_dir").absolute())),
        owner=app.ids.uuid(),
        digest=digest,
        rekey_days=settings.profile_rekey_days,
    )


@dataclass(frozen=True, slots=True)
class _Notes:
    files: HandOffNotes

    async def leave(self, work_id: UUID, window: Window) -> None:
        await self.files.leave(work_id, address=window.address, instructions=window.instructions)

    async def take_away(self, work_id: UUID) -> None:
        await self.files.take_away(work_id)


@dataclass(frozen=True, slots=True)
class _Proofs:
    files: ProofFiles

    async def keep(self, client_id: UUID, profile_id: UUID, generation: int, shot: Shot) -> str:
        return await self.files.keep(client_id, profile_id, generation, picture=shot.picture, sha256=shot.sha256)

    async def altered(self, client_id: UUID, profile_id: UUID) -> bool:
        return await self.files.altered(client_id, profile_id)

    async def remove(self, client_id: UUID, profile_id: UUID) -> None:
        await self.files.remove(client_id, profile_id)
