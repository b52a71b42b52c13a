"""The custodian: a machine identity that obtains custody leases from the broker and uses them at the store.

Rules
- The SDK keeps the lease: it renews, and it ends the moment the broker or the store says no.
- Each act logs in anew and names the lease, so the store's own log explains it.
- A place that is not the lease's own is refused here before the store refuses it.
- This process's redactor knows a value from the moment it is read until custody ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from byokeep.client.http import Broker
from byokeep.client.job import Job
from byokeep.client.keep import Keep
from byokeep.client.settings import ClientSettings, read_token
from byokeep.core.errors import Denied
from byokeep.core.model import Provider
from byokeep.core.ref import SecretRef, app_path
from byokeep.core.secret import Secret
from byokeep.ports import Written
from byokeep.telemetry.spans import span
from byokeep.wire.bao_http import BaoHttp
from byokeep.wire.openbao import destroy_versions, live_versions, read_secret, write_secret
from byokeep_redact.engine import default
from byokeep_redact.known import KnownValueRefused, Registration


class BrokerCustodian:
    """:class:`byokeep.flows.worker_app.Custodian` through the broker.

    Args:
        settings: Where the broker is; ``runner_token_file`` is the custodian's.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings

    @asynccontextmanager
    async def open(self, job_id: UUID) -> AsyncIterator[LeasedCustody]:
        """Hold a custody lease of a job for the length of the block."""
        async with Keep(self._settings) as keep, keep.attach(job_id) as job:
            custody = LeasedCustody(job)
            try:
                yield custody
            finally:
                custody.forget()

    async def close(self, job_id: UUID) -> None:
        """End a job, as the custodian whose job it is."""
        broker, token = Broker(self._settings), read_token(self._settings.runner_token_file)
        try:
            await broker.call("POST", f"/v1/jobs/{job_id}/close", token)
        finally:
            await broker.close()  # which tells of the leases, in the token's name
            token.wipe()


class LeasedCustody:
    """:class:`byokeep.flows.worker_app.Custody` of a held lease."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._known: list[Registration] = []

    def forget(self) -> None:
        """Let the redactor forget what was read; the values themselves are wiped by whoever asked for them."""
        while self._known:
            self._known.pop().forget()

    async def read(self, ref: SecretRef, version: int) -> Secret:
        """Return exactly this version."""
        with span("custody_read", job=self._job.id, provider=ref.provider.value, version=version):
            store, token, path = await self._log_in(ref)
            value = await read_secret(store, token, path, version, self._job.lease.id)
            with suppress(KnownValueRefused):  # too short, too plain or too long to be looked for; its shape still is
                self._known.append(default().register(value, kind="secret"))
            return value

    async def newest(self, ref: SecretRef) -> int:
        """Return the newest version's number, 0 when the place was never written."""
        store, token, path = await self._log_in(ref)
        newest, _ = await live_versions(store, token, path, lease_id=self._job.lease.id)
        return newest

    async def write(self, ref: SecretRef, value: Secret, *, cas: int) -> Written:
        """Write version ``cas + 1``."""
        with span("custody_write", job=self._job.id, provider=ref.provider.value, version=cas + 1):
            store, token, path = await self._log_in(ref)
            stored = await write_secret(store, token, path, value, cas=cas, lease_id=self._job.lease.id)
            return Written(version=stored.version, request_id=stored.request_id)

    async def app_secret(self, provider: Provider, login: str, version: int) -> Secret:
        """Return the secret of our own app at a login of the platform that the job is for."""
        store, token, _, _ = await self._job.lease.login(provider.value)
        value = await read_secret(store, token, app_path(provider, login), version, self._job.lease.id)
        with suppress(KnownValueRefused):
            self._known.append(default().register(value, kind="secret"))
        return value

    async def live_versions(self, ref: SecretRef) -> list[int]:
        """Return versions neither deleted nor destroyed."""
        store, token, path = await self._log_in(ref)
        _, live = await live_versions(store, token, path, lease_id=self._job.lease.id)
        return live

    async def destroy(self, ref: SecretRef, versions: list[int]) -> None:
        """Destroy versions for good."""
        with span("custody_destroy", job=self._job.id, provider=ref.provider.value, count=len(versions)):
            store, token, path = await self._log_in(ref)
            await destroy_versions(store, token, path, versions, lease_id=self._job.lease.id)

    async def _log_in(self, ref: SecretRef) -> tuple[BaoHttp, Secret, str]:
        store, token, path, _ = await self._job.lease.login(ref.provider.value)
        if path != SecretRef(ref.client_id, ref.provider).path:
            raise Denied("not_declared", next_step="A custody job is for one client and one provider.")
        return store, token, ref.path
