"""The worker's ports: custody of a client's values and records, the identity call's trace, the search of the logs.

Rules
- Custody is held under leases of a custody job. The SDK keeps the lease: it renews, and it ends the moment the broker
  or the store says no. Each act logs in and names the lease, so the store's own log explains it.
- A place outside the lease is refused here before the store refuses it.
- This process's redactor knows a value from the moment it is read until custody ends. A profile's record is text
  without a secret in clear, but is wiped all the same, because it holds a wrapped key.
- A job that declares ``profile`` and no particular profile reaches every record of one client. Its acts within a second
  share a login: a rotation moves many keys, and each would cost one.
- Every log is searched to its end, for a value in any encoding it may have there, or the search is not readable. A
  missing source is not readable. Only counts leave: no line, and no position in one.
- A line counts if its own time is within the span. Everything from a little before the span on is searched, counted or
  not, and nothing older: the cost follows what was written, not the size of the logs.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from byokeep.client.exchange import swapped
from byokeep.client.http import Broker
from byokeep.client.job import Job, Keep
from byokeep.client.settings import ClientSettings, read_token
from byokeep.core.errors import Denied, Rejected
from byokeep.core.exchange import declared, identity_path
from byokeep.core.model import PROFILE, Environment, Provider
from byokeep.core.ref import AppRef, ProfileRef, SecretRef
from byokeep.core.sealed_record import MOST_KEPT
from byokeep.core.secret import Secret
from byokeep.kernel.app import LeakCount, ServiceLimits, Swap
from byokeep.kernel.ports import CheckOutcome, Written
from byokeep.sealing.transit import TransitKeys
from byokeep.telemetry.log import FULL, get_log
from byokeep.telemetry.spans import span
from byokeep.wire import bao_http, fingerprints
from byokeep.wire.bao_http import BaoHttp
from byokeep_redact.canary import Canary
from byokeep_redact.engine import default
from byokeep_redact.fingerprint import digests_of
from byokeep_redact.known import KnownValueRefused, Registration
from byokeep_redact.search import Sweep

Place = TypeVar("Place", SecretRef, ProfileRef)
_REUSED_S: Final = 0.8  # seconds; a token lives for two


class BrokerCustodian:
    """The custodian's identity at the broker: the ports of custody in the flows.

    Args:
        settings: Where the broker is; ``runner_token_file`` is the custodian's.
        environment: The installation's; part of the names of the clients' KEKs.
    """

    def __init__(self, settings: ClientSettings, environment: Environment) -> None:
        self._settings, self._environment = settings, environment

    @asynccontextmanager
    async def open(self, job_id: UUID) -> AsyncIterator[LeasedValues]:
        """Hold custody of the values that a job declares, while the block lasts."""
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
        token, broker = read_token(self._settings.runner_token_file), Broker(self._settings)
        try:
            await broker.call("POST", f"/v1/jobs/{job_id}/close", token)
        finally:
            await broker.close()  # this tells the leases, in the token's name
            token.wipe()

    @asynccontextmanager
    async def _attached(self, job_id: UUID) -> AsyncIterator[Job]:
        async with Keep(self._settings) as keep, keep.attach(job_id) as job:
            yield job


class _Leased(ABC, Generic[Place]):
    """What any custody does at the store; :meth:`_log_in` logs in for a place."""

    def __init__(self, job: Job) -> None:
        self._job = job

    async def newest(self, ref: Place) -> int:
        """Return the newest version's number, 0 if the place was never written."""
        return (await self._versions(ref))[0]

    async def live_versions(self, ref: Place) -> list[int]:
        """Return the versions that are neither deleted nor destroyed."""
        return (await self._versions(ref))[1]

    async def destroy(self, ref: Place, versions: list[int]) -> None:
        """Destroy versions for good."""
        with span("custody_destroy", job=self._job.id, count=len(versions)):
            store, token, lease_id = await self._log_in(ref)
            await bao_http.destroy_versions(store, token, ref.path, versions, lease_id=lease_id)

    async def _versions(self, ref: Place) -> tuple[int, list[int]]:
        store, token, lease_id = await self._log_in(ref)
        return await bao_http.live_versions(store, token, ref.path, lease_id=lease_id)

    async def _read(self, ref: Place, version: int) -> Secret:
        with span("custody_read", job=self._job.id, version=version):
            store, token, lease_id = await self._log_in(ref)
            return await bao_http.read_secret(store, token, ref.path, version, lease_id)

    async def _write(self, ref: Place, value: Secret, cas: int) -> Written:
        with span("custody_write", job=self._job.id, version=cas + 1):
            store, token, lease_id = await self._log_in(ref)
            stored = await bao_http.write_secret(store, token, ref.path, value, cas=cas, lease_id=lease_id)
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
        """Let the redactor forget what was read; whoever asked for the values wipes them."""
        while self._known:
            self._known.pop().forget()

    async def read(self, ref: SecretRef, version: int) -> Secret:
        """Return exactly this version."""
        return self._noted(await self._read(ref, version))

    async def write(self, ref: SecretRef, value: Secret, *, cas: int) -> Written:
        """Write version ``cas + 1``."""
        return await self._write(ref, value, cas)

    async def keep_more(self, ref: SecretRef) -> None:
        """Have the store keep more versions of a place."""
        store, token, lease_id = await self._log_in(ref)
        await bao_http.keep_more(store, token, ref.path, MOST_KEPT, lease_id=lease_id)

    async def app_secret(self, provider: Provider, login: str, version: int) -> Secret:
        """Return the secret of our own app at a login of the platform that the job is for."""
        store, token, _, _ = await self._job.lease.login(provider.value)
        place = AppRef(provider, login).path
        return self._noted(await bao_http.read_secret(store, token, place, version, self._job.lease.id))

    async def identity(self, ref: SecretRef) -> Secret:
        """Return an identity token of the client for the provider."""
        store, token, lease_id = await self._log_in(ref)
        return await bao_http.read_identity(store, token, identity_path(ref.client_id, ref.provider.value), lease_id)

    async def fingerprints(self, ref: SecretRef, value: Secret) -> tuple[str, list[str]]:
        """Return the fingerprint and the leak digests of a value that is about to be written."""
        with span("custody_fingerprints", job=self._job.id):
            try:
                store, token, lease_id = await self._log_in(ref)
                whole = await fingerprints.value_fingerprint(store, token, value, lease_id)
                store, token, lease_id = await self._log_in(ref)
                with await fingerprints.scan_key(store, token, lease_id) as key:
                    return whole, digests_of(value.reveal(), key.reveal())
            except Denied as error:
                if error.code != "store_denied":
                    raise
                raise fingerprints.key_missing() from None  # as an earlier release set up the store

    def _noted(self, value: Secret) -> Secret:
        with suppress(KnownValueRefused):  # too short, too plain or too long to search for; its shape is still searched
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
        return await bao_http.record_from(self._read(ref, version))

    async def write(self, ref: ProfileRef, record: bytes, *, cas: int) -> Written:
        """Write version ``cas + 1``."""
        with Secret(record) as value:
            return await self._write(ref, value, cas)


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
        """The id of the lease in force."""
        return self._job.lease.id

    async def still(self) -> None:
        """Return if it may go on; a lease that lapsed in silence is replaced."""
        await self._job.lease.renewed()

    async def _log_in(self, ref: ProfileRef | None = None) -> tuple[BaoHttp, Secret, str]:
        store, token, path, _ = await self._job.lease.login(self._pin)
        if ref is not None and path != ref.path:
            raise Denied("not_declared", next_step="A custody job of profiles is for the profile of its work.")
        return store, token, self.lease_id


# The request that a task comes from, so that the log line of a provider's call names it too.
asked_by: ContextVar[UUID | None] = ContextVar("asked_by", default=None)


Ask = Callable[[Provider, Secret], Awaitable[CheckOutcome]]


def noted(ask: Ask) -> Ask:
    """Wrap an identity call so that it leaves a span and a log line of allow-listed fields."""

    async def identify(provider: Provider, secret: Secret) -> CheckOutcome:
        with span("identity_call", provider=provider.value):
            found = await ask(provider, secret)
        get_log().info("identity_call", provider=provider.value, outcome=found.status.value, status=found.http_status,
                       took_ms=found.latency_ms, attempt=found.attempts, request_id=asked_by.get())  # fmt: skip
        return found

    return identify


def swapper(limits: ServiceLimits) -> Swap:
    """Return what exchanges a client's identity token at a provider, by what is kept there; None: a key is kept."""

    async def swap(provider: Provider, kept: Secret, identity: Callable[[], Awaitable[Secret]]) -> Secret | None:
        if (ids := declared(kept.reveal())) is None:
            return None
        if (exchange := limits.exchanges.get(provider.value)) is None:
            raise Rejected("not_keyless", next_step="Add a key.")
        return (await swapped(exchange, ids, await identity()))[0]

    return swap


def account_hasher(key: Secret) -> Callable[[str], str]:
    """Return the keyed hash under which a provider's account id is stored; its key is not in the database."""
    return lambda account: hmac.new(key.reveal(), account.encode(), hashlib.sha256).hexdigest()


TAIL: Final = FULL  # bytes of a source that are searched
EARLIER: Final = timedelta(seconds=10)  # lines of several writers may not be in the order of their times
# How a line without a time is treated: it is searched in any case, and not counted.
_LATEST: Final = datetime.max.replace(tzinfo=UTC)
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_TIMES: Final = ("at", "@timestamp", "time", "timestamp")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFiles:
    """Where the processes write.

    Attributes:
        logs: Log files; ours have one JSON object per line.
        spans: Span files, one JSON object per line.
    """

    logs: Sequence[Path]
    spans: Sequence[Path]

    async def search(self, value: Secret, since: datetime) -> LeakCount:
        """Search everything written since a time. It raises nothing: the count says if a source is unreadable."""
        return await asyncio.to_thread(self._search, value, since)

    def _search(self, value: Secret, since: datetime) -> LeakCount:
        try:
            sweep = Sweep([Canary("value", value.reveal())])
        except ValueError:  # too short to search for
            return LeakCount(sources=0, lines=0, spans=0, found=0, readable=False)
        counts = {"lines": 0, "spans": 0}
        found, readable = 0, bool(self.logs and self.spans)
        for kind, paths in (("lines", self.logs), ("spans", self.spans)):
            for path in paths:
                tail = _tail(path, since)
                if tail is None:
                    readable = False
                    continue
                lines = _lines_since(tail, since - EARLIER)
                report = sweep.scan_bytes(b"".join(lines), source=path.name)
                found += len(report.findings)
                readable = readable and not report.unreadable
                counts[kind] += sum(since <= (_time_of(line) or _EARLIEST) for line in lines)
        return LeakCount(
            sources=len(self.logs) + len(self.spans), lines=counts["lines"], spans=counts["spans"], found=found,
            readable=readable,
        )  # fmt: skip


def _tail(path: Path, since: datetime) -> bytes | None:
    """Return the end of a log with everything since a time, None if that cannot be had."""
    older = path.with_name(f"{path.name}.1")  # its name since it was full
    try:
        data, whole = _end(path)
        if whole and not _reaches(data, since) and older.exists():
            before, whole = _end(older)
            data = before + data
    except OSError:
        return None
    return data if whole or _reaches(data, since) else None


def _end(path: Path) -> tuple[bytes, bool]:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL))
        return file.read(), size < TAIL


def _reaches(data: bytes, since: datetime) -> bool:
    """Whether data that may begin midway through a line begins before a time."""
    first = next((at for line in data.splitlines()[1:] if (at := _time_of(line)) is not None), None)
    return first is not None and first < since


def _lines_since(data: bytes, since: datetime) -> list[bytes]:
    """Return the lines since a time, and lines before them that no line with a time shows to be older."""
    lines = data.splitlines(keepends=True)
    return lines[bisect_left(lines, since, key=lambda line: _time_of(line) or _LATEST) :]


def _time_of(line: bytes) -> datetime | None:
    try:
        said: Any = json.loads(line)
        if not isinstance(said, dict):
            return None
        if isinstance(ended := said.get("end_ns"), int):
            return datetime.fromtimestamp(ended / 1e9, UTC)
        text = next((said[name] for name in _TIMES if isinstance(said.get(name), str)), None)
        at = None if text is None else datetime.fromisoformat(text.replace(" UTC", "+00:00"))
    except (ValueError, OverflowError, OSError):
        return None
    return at if at is not None and at.tzinfo is not None else None
