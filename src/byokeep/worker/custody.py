"""Custody: how our own workers reach one client's values and records, under leases of a custody job.

Rules
- The SDK keeps the lease: it renews, and it ends the moment the broker or the store says no. Each act logs in and names
  the lease, so the store's own log explains it.
- A place that is not the lease's own is refused here before the store refuses it.
- This process's redactor knows a value from the moment it is read until custody ends. A record of a profile is text
  without a secret in clear; it is wiped all the same, for it holds a wrapped key.
- A job that declares ``profile`` and no profile of its own reaches every record of one client. Its acts within a second
  share a login: a rotation moves many keys, and each would cost one.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Generic, TypeVar
from uuid import UUID

from byokeep.client.http import Broker
from byokeep.client.job import Job, Keep
from byokeep.client.settings import ClientSettings, read_token
from byokeep.core.errors import Denied, NotFound, Unavailable
from byokeep.core.model import PROFILE, Environment, Provider
from byokeep.core.ref import ProfileRef, SecretRef, app_path
from byokeep.core.secret import Secret
from byokeep.kernel.ports import Written
from byokeep.sealing.transit import TransitKeys
from byokeep.telemetry.spans import span
from byokeep.wire.bao_http import BaoHttp
from byokeep.wire.openbao import destroy_versions, live_versions, read_secret, write_secret
from byokeep_redact.engine import default
from byokeep_redact.known import KnownValueRefused, Registration

Place = TypeVar("Place", SecretRef, ProfileRef)
_REUSED_S: Final = 0.8  # seconds; a token lives for two


class BrokerCustodian:
    """The custodian's identity at the broker: the ports of custody in the flows.

    Args:
        settings: Where the broker is; ``runner_token_file`` is the custodian's.
        environment: Of the installation; names the clients' KEKs.
    """

    def __init__(self, settings: ClientSettings, environment: Environment) -> None:
        self._settings, self._environment = settings, environment

    @asynccontextmanager
    async def open(self, job_id: UUID) -> AsyncIterator[LeasedValues]:
        """Hold custody of the values that a job declares, for the length of the block."""
        async with self._attached(job_id) as job:
            custody = LeasedValues(job)
            try:
                yield custody
            finally:
                custody.forget()

    @asynccontextmanager
    async def open_keys(self, job_id: UUID) -> AsyncIterator[LeasedKeys]:
        """Hold custody of all records of a client's profiles, and of its KEK."""
        async with self._attached(job_id) as job:
            yield LeasedKeys(job, self._environment)

    @asynccontextmanager
    async def open_profile(self, job_id: UUID, profile_id: UUID) -> AsyncIterator[LeasedProfile]:
        """Hold custody of one profile's records, and of its client's KEK."""
        async with self._attached(job_id) as job:
            yield LeasedProfile(job, profile_id, self._environment)

    async def close(self, job_id: UUID) -> None:
        """End a job, as the custodian whose job it is."""
        broker, token = Broker(self._settings), read_token(self._settings.runner_token_file)
        try:
            await broker.call("POST", f"/v1/jobs/{job_id}/close", token)
        finally:
            await broker.close()  # which tells of the leases, in the token's name
            token.wipe()

    @asynccontextmanager
    async def _attached(self, job_id: UUID) -> AsyncIterator[Job]:
        async with Keep(self._settings) as keep, keep.attach(job_id) as job:
            yield job


class _Leased(ABC, Generic[Place]):
    """What any custody does at the store; a place is logged in to by :meth:`_log_in`."""

    def __init__(self, job: Job) -> None:
        self._job = job

    async def newest(self, ref: Place) -> int:
        """Return the newest version's number, 0 when the place was never written."""
        return (await self._versions(ref))[0]

    async def live_versions(self, ref: Place) -> list[int]:
        """Return versions neither deleted nor destroyed."""
        return (await self._versions(ref))[1]

    async def destroy(self, ref: Place, versions: list[int]) -> None:
        """Destroy versions for good."""
        with span("custody_destroy", job=self._job.id, count=len(versions)):
            store, token, lease_id = await self._log_in(ref)
            await destroy_versions(store, token, ref.path, versions, lease_id=lease_id)

    async def _versions(self, ref: Place) -> tuple[int, list[int]]:
        store, token, lease_id = await self._log_in(ref)
        return await live_versions(store, token, ref.path, lease_id=lease_id)

    async def _read(self, ref: Place, version: int) -> Secret:
        with span("custody_read", job=self._job.id, version=version):
            store, token, lease_id = await self._log_in(ref)
            return await read_secret(store, token, ref.path, version, lease_id)

    async def _write(self, ref: Place, value: Secret, cas: int) -> Written:
        with span("custody_write", job=self._job.id, version=cas + 1):
            store, token, lease_id = await self._log_in(ref)
            stored = await write_secret(store, token, ref.path, value, cas=cas, lease_id=lease_id)
            return Written(version=stored.version, request_id=stored.request_id)

    @abstractmethod
    async def _log_in(self, ref: Place) -> tuple[BaoHttp, Secret, str]:
        """Return the store, a token and the id of the lease. Raises Denied: the place is not the job's."""


class LeasedValues(_Leased[SecretRef]):
    """Custody of the values at one provider or platform."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._known: list[Registration] = []

    def forget(self) -> None:
        """Let the redactor forget what was read; the values themselves are wiped by whoever asked for them."""
        while self._known:
            self._known.pop().forget()

    async def read(self, ref: SecretRef, version: int) -> Secret:
        """Return exactly this version."""
        return self._noted(await self._read(ref, version))

    async def write(self, ref: SecretRef, value: Secret, *, cas: int) -> Written:
        """Write version ``cas + 1``."""
        return await self._write(ref, value, cas)

    async def app_secret(self, provider: Provider, login: str, version: int) -> Secret:
        """Return the secret of our own app at a login of the platform that the job is for."""
        store, token, _, _ = await self._job.lease.login(provider.value)
        return self._noted(await read_secret(store, token, app_path(provider, login), version, self._job.lease.id))

    def _noted(self, value: Secret) -> Secret:
        with suppress(KnownValueRefused):  # too short, too plain or too long to be looked for; its shape still is
            self._known.append(default().register(value, kind="secret"))
        return value

    async def _log_in(self, ref: SecretRef) -> tuple[BaoHttp, Secret, str]:
        store, token, path, _ = await self._job.lease.login(ref.provider.value)
        if path != SecretRef(ref.client_id, ref.provider).path:
            raise Denied("not_declared", next_step="A custody job is for one client and one provider.")
        return store, token, self._job.lease.id


class _LeasedRecords(_Leased[ProfileRef]):
    async def read(self, ref: ProfileRef, version: int) -> bytes:
        """Return exactly this version; one that is gone is not found."""
        try:
            value = await self._read(ref, version)
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
        value = Secret(record)
        try:
            return await self._write(ref, value, cas)
        finally:
            value.wipe()


class LeasedKeys(_LeasedRecords):
    """Custody of a client's records, and of the KEK that wraps the keys in them."""

    def __init__(self, job: Job, environment: Environment) -> None:
        super().__init__(job)
        self._held: tuple[float, str, BaoHttp, Secret] | None = None
        self._turn = asyncio.Lock()
        self.keys = TransitKeys(self._log_in, environment)

    async def _log_in(self, ref: ProfileRef | None = None) -> tuple[BaoHttp, Secret, str]:
        async with self._turn:
            held, lease = self._held, self._job.lease
            if held is None or time.monotonic() - held[0] > _REUSED_S or held[1] != lease.id or not lease.holds:
                asked_at = time.monotonic()
                store, token, _, _ = await lease.login(PROFILE)
                held = self._held = (asked_at, lease.id, store, token)
        # A copy: whoever uses it may wipe it.
        return held[2], Secret(bytes(held[3].reveal())), held[1]


class LeasedProfile(_LeasedRecords):
    """Custody of one profile's records, and of the KEK that wraps the keys in them."""

    def __init__(self, job: Job, profile_id: UUID, environment: Environment) -> None:
        super().__init__(job)
        self._pin = f"{PROFILE}/{profile_id}"
        self.keys = TransitKeys(self._log_in, environment)

    @property
    def lease_id(self) -> str:
        """Of the lease in force."""
        return self._job.lease.id

    async def still(self) -> None:
        """Return if it may go on; a lease that lapsed in silence is taken anew."""
        await self._job.lease.renewed()

    async def _log_in(self, ref: ProfileRef | None = None) -> tuple[BaoHttp, Secret, str]:
        store, token, path, _ = await self._job.lease.login(self._pin)
        if ref is not None and path != ref.path:
            raise Denied("not_declared", next_step="A custody job of profiles is for the profile of its work.")
        return store, token, self.lease_id
