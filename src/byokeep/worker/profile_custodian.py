"""Custody of browser profiles: their records at the store and the KEK that wraps their keys, under leases of a job.

Rules
- As in :mod:`byokeep.worker.custodian`: the SDK keeps the lease, each act logs in anew and names it.
- A record is text without a secret in clear; it is wiped all the same, for it holds a wrapped key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from byokeep.client.http import Broker
from byokeep.client.job import Job
from byokeep.client.keep import Keep
from byokeep.client.settings import ClientSettings, read_token
from byokeep.core.errors import Denied, NotFound, Unavailable
from byokeep.core.model import PROFILE, Environment
from byokeep.core.ref import ProfileRef
from byokeep.core.secret import Secret
from byokeep.ports import Written
from byokeep.sealing.transit import TransitKeys
from byokeep.telemetry.spans import span
from byokeep.wire.bao_http import BaoHttp
from byokeep.wire.openbao import destroy_versions, live_versions, read_secret, write_secret


class BrokerProfileCustodian:
    """:class:`byokeep.flows.profile_ports.ProfileCustodian` through the broker.

    Args:
        settings: Where the broker is; ``runner_token_file`` is the custodian's.
        environment: Of the installation.
    """

    def __init__(self, settings: ClientSettings, environment: Environment) -> None:
        self._settings, self._environment = settings, environment

    @asynccontextmanager
    async def open_profile(self, job_id: UUID, profile_id: UUID) -> AsyncIterator[LeasedProfile]:
        """Hold a custody lease of a job for the length of the block."""
        async with Keep(self._settings) as keep, keep.attach(job_id) as job:
            yield LeasedProfile(job, profile_id, self._environment)

    async def close(self, job_id: UUID) -> None:
        """End a job, as the custodian whose job it is."""
        broker, token = Broker(self._settings), read_token(self._settings.runner_token_file)
        try:
            await broker.call("POST", f"/v1/jobs/{job_id}/close", token)
        finally:
            await broker.close()  # which tells of the leases, in the token's name
            token.wipe()


class LeasedProfile:
    """:class:`byokeep.flows.profile_ports.ProfileCustody` of a held lease."""

    def __init__(self, job: Job, profile_id: UUID, environment: Environment) -> None:
        self._job, self._pin = job, f"{PROFILE}/{profile_id}"
        self.keys = TransitKeys(self._for_keys, environment)

    @property
    def lease_id(self) -> str:
        """Of the lease in force."""
        return self._job.lease.id

    async def still(self) -> None:
        """Return if it may go on; a lease that lapsed in silence is taken anew."""
        await self._job.lease.renewed()

    async def newest(self, ref: ProfileRef) -> int:
        """Return the newest version's number, 0 when nothing was ever written."""
        store, token, path = await self._log_in(ref)
        newest, _ = await live_versions(store, token, path, lease_id=self.lease_id)
        return newest

    async def live_versions(self, ref: ProfileRef) -> list[int]:
        """Return versions neither deleted nor destroyed."""
        store, token, path = await self._log_in(ref)
        _, live = await live_versions(store, token, path, lease_id=self.lease_id)
        return live

    async def read(self, ref: ProfileRef, version: int) -> bytes:
        """Return exactly this version."""
        with span("custody_read", job=self._job.id, version=version):
            store, token, path = await self._log_in(ref)
            try:
                value = await read_secret(store, token, path, version, self.lease_id)
            except Unavailable as error:
                if error.code != "secret_version_gone":
                    raise
            else:
                try:
                    return bytes(value.reveal())
                finally:
                    value.wipe()
        raise NotFound("record_missing")

    async def write(self, ref: ProfileRef, record: bytes, *, cas: int) -> Written:
        """Write version ``cas + 1``."""
        value = Secret(record)
        try:
            with span("custody_write", job=self._job.id, version=cas + 1):
                store, token, path = await self._log_in(ref)
                stored = await write_secret(store, token, path, value, cas=cas, lease_id=self.lease_id)
        finally:
            value.wipe()
        return Written(version=stored.version, request_id=stored.request_id)

    async def destroy(self, ref: ProfileRef, versions: list[int]) -> None:
        """Destroy versions for good."""
        with span("custody_destroy", job=self._job.id, count=len(versions)):
            store, token, path = await self._log_in(ref)
            await destroy_versions(store, token, path, versions, lease_id=self.lease_id)

    async def _log_in(self, ref: ProfileRef) -> tuple[BaoHttp, Secret, str]:
        store, token, path, _ = await self._job.lease.login(self._pin)
        if path != ref.path:
            raise Denied("not_declared", next_step="A custody job of profiles is for the profile of its work.")
        return store, token, ref.path

    async def _for_keys(self) -> tuple[BaoHttp, Secret, str]:
        store, token, _, _ = await self._job.lease.login(self._pin)
        return store, token, self.lease_id
