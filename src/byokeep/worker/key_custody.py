"""The custodian's reach to the keys of one client's browser profiles: their records, and the key that wraps theirs.

Rules
- A custody job that declares ``profile`` and no work of a profile: its lease reaches every record of one client.
- Each act names the lease, so the store's own log explains it. One login serves the acts of less than a second: a
  rotation moves many keys, and each would cost a login of its own.
- Keys of profiles stay wrapped here; what a record holds is of no use without the client's KEK.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from byokeep.client.http import Broker
from byokeep.client.job import Job
from byokeep.client.keep import Keep
from byokeep.client.settings import ClientSettings, read_token
from byokeep.core.errors import NotFound, Unavailable
from byokeep.core.model import PROFILE, Environment
from byokeep.core.ref import ProfileRef
from byokeep.core.secret import Secret
from byokeep.ports import Written
from byokeep.sealing.transit import TransitKeys
from byokeep.wire.bao_http import BaoHttp
from byokeep.wire.openbao import destroy_versions, live_versions, read_secret, write_secret

_REUSED_S: Final = 0.8  # seconds; a token lives for two


class BrokerKekCustodian:
    """:class:`byokeep.flows.kek_app.KekCustodian` through the broker.

    Args:
        settings: Where the broker is; ``runner_token_file`` is the custodian's.
        environment: Of the installation.
    """

    def __init__(self, settings: ClientSettings, environment: Environment) -> None:
        self._settings, self._environment = settings, environment

    @asynccontextmanager
    async def open_keys(self, job_id: UUID) -> AsyncIterator[LeasedKeys]:
        """Hold a custody lease of a job for the length of the block."""
        async with Keep(self._settings) as keep, keep.attach(job_id) as job:
            yield LeasedKeys(job, self._environment)

    async def close(self, job_id: UUID) -> None:
        """End a job, as the custodian whose job it is."""
        broker, token = Broker(self._settings), read_token(self._settings.runner_token_file)
        try:
            await broker.call("POST", f"/v1/jobs/{job_id}/close", token)
        finally:
            await broker.close()  # which tells of the leases, in the token's name
            token.wipe()


class LeasedKeys:
    """:class:`byokeep.flows.kek_app.KekCustody` of a held lease."""

    def __init__(self, job: Job, environment: Environment) -> None:
        self._job = job
        self._held: tuple[float, str, BaoHttp, Secret] | None = None
        self._turn = asyncio.Lock()
        self.keys = TransitKeys(self._log_in, environment)

    async def newest(self, ref: ProfileRef) -> int:
        """Return the newest version's number, 0 when nothing was ever written."""
        store, token, lease_id = await self._log_in()
        newest, _ = await live_versions(store, token, ref.path, lease_id=lease_id)
        return newest

    async def read(self, ref: ProfileRef, version: int) -> bytes:
        """Return exactly this version; one that is gone is not found."""
        store, token, lease_id = await self._log_in()
        try:
            value = await read_secret(store, token, ref.path, version, lease_id)
        except (NotFound, Unavailable) as error:
            if error.code not in ("store_not_found", "secret_version_gone"):
                raise
            raise NotFound("record_missing") from None
        try:
            return bytes(value.reveal())
        finally:
            value.wipe()

    async def write(self, ref: ProfileRef, record: bytes, *, cas: int) -> Written:
        """Write version ``cas + 1``."""
        store, token, lease_id = await self._log_in()
        stored = await write_secret(store, token, ref.path, Secret(record), cas=cas, lease_id=lease_id)
        return Written(version=stored.version, request_id=stored.request_id)

    async def live_versions(self, ref: ProfileRef) -> list[int]:
        """Return versions neither deleted nor destroyed."""
        store, token, lease_id = await self._log_in()
        _, live = await live_versions(store, token, ref.path, lease_id=lease_id)
        return live

    async def destroy(self, ref: ProfileRef, versions: list[int]) -> None:
        """Destroy versions for good."""
        store, token, lease_id = await self._log_in()
        await destroy_versions(store, token, ref.path, versions, lease_id=lease_id)

    async def _log_in(self) -> tuple[BaoHttp, Secret, str]:
        async with self._turn:
            held, lease = self._held, self._job.lease
            if held is None or time.monotonic() - held[0] > _REUSED_S or held[1] != lease.id or not lease.holds:
                asked_at = time.monotonic()
                store, token, _, _ = await lease.login(PROFILE)
                held = self._held = (asked_at, lease.id, store, token)
        # A copy: whoever uses it may wipe it.
        return held[2], Secret(bytes(held[3].reveal())), held[1]
