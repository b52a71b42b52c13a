"""What a flow of ``byokeep worker`` gets for the keys that guard profiles: custody of one client's records and KEK.

Rules
- A KEK is reachable inside a custody lease only, one client's at a time; the KEK itself never leaves OpenBao.
- A DEK does not come out here: what moves between versions of a KEK stays wrapped (S-GCM-11).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from byokeep.core.kek_life import DEFAULT_ROTATION_DAYS
from byokeep.core.model import PROFILE, Actor, ClientId
from byokeep.core.ref import ProfileRef
from byokeep.jobs.jobs import custody_job
from byokeep.kernel.app import App
from byokeep.kernel.ports import ArtifactStore, Written

if TYPE_CHECKING:
    from byokeep.sealing.transit import TransitKeys


class KekCustody(Protocol):
    """Custody of a client's sealed records and of the KEK that wraps their keys."""

    @property
    def keys(self) -> TransitKeys:
        """Wraps, rotates, and ends old versions."""

    async def newest(self, ref: ProfileRef) -> int:
        """Return the newest version's number of a record, 0 when nothing was ever written."""

    async def read(self, ref: ProfileRef, version: int) -> bytes:
        """Return exactly this version. Raises NotFound, Unavailable, Denied."""

    async def write(self, ref: ProfileRef, record: bytes, *, cas: int) -> Written:
        """Write version ``cas + 1``. Raises Conflict(``stale_version``), Unavailable, Denied."""

    async def live_versions(self, ref: ProfileRef) -> list[int]:
        """Return versions neither deleted nor destroyed."""

    async def destroy(self, ref: ProfileRef, versions: list[int]) -> None:
        """Destroy versions for good."""


class KekCustodian(Protocol):
    """The worker's own identity at the broker, for jobs about a client's keys."""

    def open_keys(self, job_id: UUID) -> AbstractAsyncContextManager[KekCustody]:
        """Hold a custody lease of a job. Raises Denied, Unavailable."""

    async def close(self, job_id: UUID) -> None:
        """End a job. Raises Unavailable, Denied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KekApp(App):
    """``byokeep worker``, as far as it looks after KEKs.

    Attributes:
        artifacts: Where sealed profiles lie, to be compared with; nothing is opened or removed.
        kek_owner: Who answers for the keys, for the inventory: a role name or mailbox.
        kek_rotation_days: The policy.
    """

    kek_custodian: KekCustodian
    artifacts: ArtifactStore
    kek_owner: str = "operations"
    kek_rotation_days: int = DEFAULT_ROTATION_DAYS


@asynccontextmanager
async def custody_of(app: KekApp, actor: Actor, client_id: ClientId) -> AsyncIterator[KekCustody]:
    """Hold a custody lease of a job of its own for a client's keys. Raises as ``open_keys``."""
    by = app.system(actor.request_id)
    job = custody_job(app, app.kek_custodian, client_id, PROFILE, by=by)
    async with job as job_id, app.kek_custodian.open_keys(job_id) as custody:
        yield custody
