"""A browser from a client's sealed profile, for as long as a block lasts: what ``job.browser`` does (ADR 0029).

async with keep.job(
    client=cid, secrets=["profile"], platforms=["tiktok"], effects=["publish"], lanes=["browser"]
) as job:
    async with job.browser("tiktok/acme") as context:
        page = context.pages[0]
        async with job.effect("publish", platform="tiktok", account="acme", key="post-0001", lane="browser"):
            await page.get_by_role("button", name="Post").click()

Rules
- The profile is first opened at the broker: one opener at a time, and only while the broker says so. Every call names
  the epoch; ``opening_lost`` means that somebody else may have it by now. Blobs and records pass through the broker: a
  runner has no right at either store (ADR 0033). Each act logs in to OpenBao again, for seconds, and names its lease.
- Plain data stays in memory and is wiped when the block ends, however it ends. Then the opening is ended, with a code
  for why.
- The context is handed out after the account was compared with what is bound to the blob, and with what the broker
  knows. What could not be checked counts as another's (R5.3-17).
- It asks again and again whether the browser may stay open (R7.3-1). A no closes it at once. So does a silence, because
  it may hide a kill switch: soon enough that the browser is gone within ``life_s`` of the broker's last yes. A browser
  told to close has ``CLOSE_S``; then its processes are killed. From the switch to the last process it takes less than
  five seconds. The block is cancelled after the browser is gone, and ends with what the broker said. A browser that
  starts late is stopped as well.
- Changes are sealed only if the browser closed cleanly and still showed the right account. Otherwise the last good
  generation stays, and the changes are lost.
- Nothing is recorded, and the session is not handed out: traces, network archives, videos, the storage as a file or
  object, and another context beside this one are refused before anything begins. This stops those who forget, not those
  who mean to: the runner holds the browser and its protocol, and the threat model says so. A picture of a page is up to
  the caller: :mod:`byokeep_redact.hooks.browser` takes one without secrets.

It needs the extra ``browser`` and a use lease, and no credential of a store. It may not log in, and it acts on a page
only to see whose it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self
from uuid import UUID, uuid4

from byokeep.browser.ephemeral import Rooms, shared_place, swept
from byokeep.browser.launch import Running
from byokeep.browser.rooms import ProfileRoom, ProfileRooms, RoomBrowser, sites
from byokeep.client.http import Broker, end, now
from byokeep.client.lease import HeldLease
from byokeep.core.errors import ByokeepError, Conflict, Denied, Integrity, Rejected, Unavailable, refusing
from byokeep.core.identity import Face
from byokeep.core.keystate import KeyState
from byokeep.core.manifest import ExpectedAccount, Manifest, Packing
from byokeep.core.model import PROFILE, ClientId, Environment, Provider
from byokeep.core.sealed_record import MAX_RECORD, ArtifactKey, SealedRecord, StoredArtifact
from byokeep.core.secret import Secret
from byokeep.sealing.generation import Generation, Sealing, StoredGeneration
from byokeep.sealing.sealer import Sealer
from byokeep.sealing.transit import TransitKeys
from byokeep.wire.bao_http import BaoHttp

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page

    from byokeep.client.job import Job

ENDED_WITHIN_S = 5.0  # seconds to say that it is over; the opening also expires by itself


class ProfileOpening:
    """One profile that this job has open.

    Attributes:
        row: What is opened: the generation's row, with which record, key and blob are compared.
        packing: How it was packed.
        environment: The installation's.
        life_s: Seconds that may pass without an answer.
        beat_s: Seconds between two questions.
    """

    def __init__(
        self, broker: Broker, token: Secret, job_id: UUID, client_id: UUID, profile_id: UUID, reply: Mapping[str, Any]
    ) -> None:
        self._broker, self._token = broker, token
        self._place = f"/v1/jobs/{job_id}/profiles/{profile_id}/openings"
        self._receipt = ""
        with refusing("broker_garbage", Unavailable):
            self.epoch = int(reply["epoch"])
            self.row = _row(reply["generation"], client_id, profile_id)
            self.packing, self.environment = Packing(reply["packing"]), Environment(reply["environment"])
            self.life_s, self.beat_s = float(reply["life_s"]), float(reply["beat_s"])
        if not 0 < self.beat_s < self.life_s <= 60:
            raise Unavailable("broker_garbage")

    @classmethod
    async def begin(
        cls, broker: Broker, token: Secret, *, job_id: UUID, client_id: UUID, profile_id: UUID, lease_id: str
    ) -> Self:
        """Open the profile.

        Raises:
            Conflict: ``profile_in_use``, with ``since``.
            Denied: ``profile_not_usable``, ``switch_closed``, ...
            Unavailable: The broker could not be asked.
        """
        place = f"/v1/jobs/{job_id}/profiles/{profile_id}/openings"
        # Not retried: if the answer was lost, the profile is open, and we would find it in use by ourselves.
        reply = await broker.call("POST", place, token, {"lease_id": lease_id})
        return cls(broker, token, job_id, client_id, profile_id, reply)

    async def beat(self) -> float:
        """Return how many seconds the browser may stay open. Raises Denied, Conflict, Unavailable."""
        path = f"{self._place}/{self.epoch}/beat"
        reply = await self._broker.call("POST", path, self._token, timeout_s=self.life_s / 5)
        life_s = reply.get("valid_for_s")
        if not isinstance(life_s, int) or not 0 < life_s <= 60:
            raise Unavailable("broker_garbage")
        return float(life_s)

    async def sealed_record(self) -> bytes:
        """Take the record of what was opened, as the broker gives it; the caller compares it with its row.

        Raises:
            Integrity: It is not what was sealed, and the profile is now out of use.
            Denied, Conflict, Unavailable: As :meth:`beat`; ``opening_not_fresh``.
        """
        return await self._broker.persist(self._taken)

    async def end(self, cause: str) -> None:
        """Say that it is over. If that fails, nobody waits for it: the opening expires."""
        with suppress(ByokeepError):
            await self._call("end", {"cause": cause}, timeout_s=ENDED_WITHIN_S)

    async def begin_sealing(self) -> None:
        """Say that the browser is closed and has changes. Raises Conflict(``permits_open``), Denied, Unavailable."""
        await self._broker.persist(lambda: self._call("sealing"))

    async def announce(self, dek_id: UUID, manifest: Manifest) -> Manifest:
        """Announce a seal of what was opened; returns its manifest, with maker and time as the broker gives them.

        Raises:
            Conflict, Denied, Unavailable: As :meth:`beat`.
        """
        reply = await self._call("seals", {"base": self.row.generation, "dek_id": str(dek_id)})
        with refusing("broker_garbage", Unavailable):
            return replace(
                manifest, generation=int(reply["generation"]), created_by=UUID(reply["created_by"]),
                created_at=datetime.fromisoformat(reply["created_at"]),
            )  # fmt: skip

    async def record(self, record: SealedRecord) -> None:
        """Make what was sealed the newest generation; the broker writes the record. This ends the opening.

        Raises as :meth:`announce`.
        """
        body = {"base": self.row.generation, "record": record.canonical.decode(), "receipt": self._receipt}
        await self._broker.persist(lambda: self._call(f"seals/{record.dek_id}/record", body))

    async def put(self, client_id: UUID, key: ArtifactKey, chunks: AsyncIterator[bytes]) -> StoredArtifact:
        """Write a blob through the broker. Raises as the port says."""
        path = f"{self._place}/{self.epoch}/seals/{UUID(hex=key.random)}/blob"
        reply = await self._broker.upload(path, self._token, chunks)
        with refusing("broker_garbage", Unavailable):
            self._receipt = str(reply["receipt"])
            return StoredArtifact(size=int(reply["blob_size"]), sha256_hex=str(reply["blob_sha256"]))

    async def get(self, client_id: UUID, key: ArtifactKey, expected: StoredArtifact) -> AsyncGenerator[bytes, None]:
        """Yield the blob; the caller compares length and digest.

        Raises:
            Integrity: ``artifact_altered``: it broke off, because the broker saw that it is not what was stored.
        """
        try:
            async with aclosing(self._broker.download(f"{self._place}/{self.epoch}/blob", self._token)) as pieces:
                async for piece in pieces:
                    yield piece
        except Unavailable as error:
            broke_off = error
        else:
            return
        try:
            await self.beat()
        except Conflict:  # taken out of use meanwhile
            raise Integrity("artifact_altered") from None
        except ByokeepError:
            pass
        raise broke_off

    async def delete(self, client_id: UUID, key: ArtifactKey) -> None:
        """Refuse."""
        raise Denied("may_not_remove")

    async def list_keys(self, client_id: UUID | None) -> Sequence[ArtifactKey]:
        """Refuse."""
        raise Denied("may_not_list")

    async def probe(self) -> None:
        """Check nothing: the broker has answered."""

    async def _taken(self) -> bytes:
        text = bytearray()
        async with aclosing(self._broker.download(f"{self._place}/{self.epoch}/record", self._token)) as pieces:
            async for piece in pieces:
                text += piece
                if len(text) > MAX_RECORD:
                    raise Unavailable("broker_garbage")
        return bytes(text)

    async def _call(
        self, below: str, body: Mapping[str, Any] | None = None, *, timeout_s: float | None = None
    ) -> dict[str, Any]:
        path = f"{self._place}/{self.epoch}/{below}"
        return await self._broker.call("POST", path, self._token, body, timeout_s=timeout_s)


def _row(said: Mapping[str, Any], client_id: UUID, profile_id: UUID) -> Generation:
    plain = {
        name: said[name]
        for name in ("generation", "holder", "kek_id", "kek_version", "blob_key", "blob_size", "packed_size",
                     "record_version", "browser_version")
    }  # fmt: skip
    return Generation(
        **plain, client_id=ClientId(client_id), profile_id=profile_id, dek_id=UUID(said["dek_id"]),
        blob_sha256=bytes.fromhex(said["blob_sha256"]), manifest_hash=bytes.fromhex(said["manifest_hash"]),
        key_state=KeyState(said["key_state"]), sealed_at=datetime.fromisoformat(said["sealed_at"]),
        sealed_by=UUID(said["sealed_by"]), job_id=UUID(said["job_id"]), store_request="", gone_at=None,
    )  # fmt: skip


_TRACING: Final = ("start", "start_chunk", "start_har", "stop", "stop_chunk", "stop_har", "group")
# What is refused on a context or a page and on their parts, as far as this release of Playwright has it.
_REFUSED: Final = {
    "": ("storage_state", "set_storage_state", "route_from_har"), "request": ("storage_state",),
    "browser": ("start_tracing", "stop_tracing", "new_context", "new_page", "bind"), "screencast": ("start",),
    "tracing": _TRACING, "request.tracing": _TRACING,
}  # fmt: skip


@contextmanager
def unrecorded(context: BrowserContext) -> Iterator[BrowserContext]:
    """Yield a context that refuses to be recorded while the block lasts."""
    refused: list[tuple[Any, str]] = []

    def guard(opened: BrowserContext | Page) -> None:
        """Replace by the refusal each function that exists and is not refused yet."""
        for place, names in _REFUSED.items():
            target: Any = opened
            for part in filter(None, place.split(".")):
                target = getattr(target, part, None)
            for name in names:
                if hasattr(target, name) and name not in vars(target):
                    setattr(target, name, _refuse)
                    refused.append((target, name))

    guard(context)
    for page in context.pages:
        guard(page)
    context.on("page", guard)  # called before the page reaches whoever opened it
    try:
        yield context
    finally:
        context.remove_listener("page", guard)
        for target, name in refused:
            delattr(target, name)


async def _refuse(*_arguments: object, **_named: object) -> NoReturn:
    """Refuse. Raises Denied(``profile_stays_sealed``)."""
    raise Denied("profile_stays_sealed", next_step="A sealed profile's browser is not recorded and not exported.")


CLOSE_S: Final = 1.5
CLOSING_S: Final = 1.9  # seconds before its time runs out at which a silent browser begins to close
LATE_S: Final = 0.2  # seconds after which whoever asks stood still
LATE_ASK_S: Final = 1.0  # seconds for an answer to whoever did


class OpeningWatch:
    """Whether it may go on. ``stopped`` says why not, ``killed`` whether the browser had to be killed."""

    def __init__(self, opening: ProfileOpening) -> None:
        self.stopped: ByokeepError | None = None
        self.killed = False
        self._opening = opening
        self._running: Running | None = None
        self._asked_at = now()
        self._may_until = self._asked_at + opening.life_s
        self._over = False

    def guard(self, running: Running) -> None:
        """Set the browser that is to be closed. Raises why it was stopped, if it was."""
        self._running = running
        if self.stopped is not None:
            raise self.stopped

    def finish(self) -> None:
        """Stop asking: the browser is closed, and the opening is about to end."""
        self._over = True

    async def until_stopped(self) -> bool:
        """Return True once the browser was closed because it had to be; False if the watch ended before."""
        while True:
            close_at = self._may_until - min(CLOSING_S, self._opening.life_s / 2)
            await asyncio.sleep(min(self._asked_at + self._opening.beat_s, close_at) - now())
            stopped = await self._asked(close_at)
            if self._over:
                return False
            if stopped is not None:
                self.stopped = stopped
                try:
                    await self._close()
                except Exception:  # whatever still runs, the block ends
                    self.killed = True
                return True

    async def _asked(self, close_at: float) -> ByokeepError | None:
        """Ask once; returns why the browser must close. Without an answer it is asked again until ``close_at``."""
        self._asked_at = now()
        try:
            left_s = close_at - self._asked_at
            async with asyncio.timeout(LATE_ASK_S if left_s < -LATE_S else max(left_s, 0)):
                self._may_until = self._asked_at + await self._opening.beat()
        except Exception as error:  # whatever it is, it is no yes
            silent = isinstance(error, TimeoutError | Unavailable)
            if silent and now() < close_at:
                return None
            return error if isinstance(error, ByokeepError) else Unavailable("broker_timeout")
        return None

    async def _close(self) -> None:
        if self._running is not None:
            self.killed = (await self._running.close(CLOSE_S)).killed > 0


@asynccontextmanager
async def watched(opening: ProfileOpening) -> AsyncIterator[OpeningWatch]:
    """Run a block for as long as the broker lets the opening go on.

    Raises:
        ByokeepError: Why it was stopped, whatever the block had raised by then.
    """
    watch = OpeningWatch(opening)
    scope = asyncio.timeout(None)
    asking = asyncio.create_task(_then(watch.until_stopped, lambda: scope.reschedule(0)))
    try:
        async with scope:
            yield watch
    except BaseException:
        if watch.stopped is not None:
            await asyncio.wait({asking})  # the browser is gone before anybody hears of it
            raise watch.stopped from None
        raise
    finally:
        await end(asking)


async def _then(work: Callable[[], Awaitable[bool]], after: Callable[[], None]) -> None:
    if await work():
        with suppress(RuntimeError):  # the block is already over
            after()


PERMITS_END_S: Final = 20.0  # seconds after which a permit that nobody closed counts as unknown
_LOOK_S: Final = 1.0


@asynccontextmanager
async def opened(job: Job, broker: Broker, token: Secret, name: str) -> AsyncIterator[BrowserContext]:
    """Give the browser of an account's sealed profile.

    Args:
        broker, token: The job's.
        name: ``platform/account``, as registered.

    Raises:
        Denied: ``not_declared``, ``profile_not_usable``, ``switch_closed``, ``identity_mismatch``,
            ``identity_unproven``, ``identity_drift``, ...
        Conflict: ``profile_in_use``, with ``since``; ``opening_lost``.
        Integrity: The sealed profile is not what it was.
        Unavailable: Something could not be asked or started; ``sealing_self_test_failed``, before anything is asked;
            ``profile_not_sealed``: the changes are lost.
    """
    sealer = await asyncio.to_thread(Sealer)
    platform, _, account = name.partition("/")
    profile_id = await job.lease.profile(f"{PROFILE}/{name}")
    opening = await ProfileOpening.begin(
        broker, token, job_id=job.id, client_id=job.client_id, profile_id=profile_id, lease_id=await job.lease.renewed()
    )
    run = _Run(job, broker, token, opening, (Provider(platform), account), profile_id, sealer)
    try:
        async with watched(opening) as watch, run.room() as room:
            try:
                async with run.browser(room, watch) as context:
                    yield context
            finally:
                await run.seal(room, watch)
                watch.finish()
    finally:
        await asyncio.shield(opening.end(run.cause))


def leased_keys(lease: HeldLease, name: str, environment: Environment) -> TransitKeys:
    """Return the client's KEK, as far as a lease reaches that pins the profile under this name."""

    async def log_in() -> tuple[BaoHttp, Secret, str]:
        store, token, _, _ = await lease.login(name)
        return store, token, lease.id

    return TransitKeys(log_in, environment)


class _Run:
    def __init__(
        self, job: Job, broker: Broker, token: Secret, opening: ProfileOpening, named: tuple[Provider, str],
        profile_id: UUID, sealer: Sealer,
    ) -> None:  # fmt: skip
        self.cause = "failed"
        self._job, self._broker, self._token = job, broker, token
        self._opening, self._profile_id, self._sealer = opening, profile_id, sealer
        self._platform, self._account = named
        self._moved = self._failed = False

    @asynccontextmanager
    async def room(self) -> AsyncIterator[ProfileRoom]:
        """Yield a room in memory; it is wiped at the end."""
        settings = self._broker.settings
        if settings.site_urls and self._opening.environment is Environment.PRODUCTION:
            raise Rejected("test_hook_in_production", next_step="Remove site_urls.")
        rooms = await asyncio.to_thread(Rooms, settings.room_dir or shared_place(), private=False)
        known = sites(settings.site_urls)
        if self._platform not in known:
            raise Rejected("platform_without_website", platform=self._platform.value)
        async with swept(rooms), ProfileRooms(rooms, known).enter(self._opening.packing) as room:
            yield room

    @asynccontextmanager
    async def browser(self, room: ProfileRoom, watch: OpeningWatch) -> AsyncIterator[BrowserContext]:
        """Give the context of a browser on the opened profile, and take out what moved."""
        self._record = await self._unsealed(room)
        try:
            async with room.browser() as browser:
                watch.guard(browser.running)
                self._version = browser.version
                await self._prove(browser)
                self.cause = "failed"
                failure: Exception | None = None
                with unrecorded(browser.running.context) as context:
                    try:
                        yield context
                    except Exception as error:
                        failure = error
                self._failed = failure is not None
                await self._leave(browser)
                if failure is not None:
                    raise failure
        finally:
            if watch.stopped is not None:
                self.cause = "killed" if watch.killed else "stopped"

    async def seal(self, room: ProfileRoom, watch: OpeningWatch) -> None:
        """Seal the changes as the next generation, even after an error in the block, which is then raised before ours.

        Raises:
            Unavailable: ``profile_not_sealed``.
        """
        if not self._moved:
            return
        try:
            await self._begin_sealing()
            await self._sealed(room, watch)
        except ByokeepError as error:
            if not self._failed:
                raise _not_sealed(error) from None

    async def _unsealed(self, room: ProfileRoom) -> SealedRecord:
        opening = self._opening
        sealing = self._sealing(self._job.lease, f"{PROFILE}/{self._platform.value}/{self._account}")
        try:
            text = await opening.sealed_record()
            return await sealing.unseal(text, opening.row, opening.environment, room.sink, found=StoredGeneration())
        except Integrity:
            self.cause = "altered"
            raise

    def _sealing(self, lease: HeldLease, name: str) -> Sealing:
        keys = leased_keys(lease, name, self._opening.environment)
        return Sealing(sealer=self._sealer, artifacts=self._opening, keys=keys)

    async def _prove(self, browser: RoomBrowser) -> None:
        """Let pass only what is clearly the expected account, both to us and to the broker."""
        self.cause = "not_identified"
        expected = self._expected()
        seen = await browser.look(expected)
        if seen.face is not None and seen.verdict == "mismatch":
            self.cause = "wrong_account"
        elif seen.cause in ("logged_out", "challenge"):
            self.cause = seen.cause
        said = await self._job.identify(self._platform.value, self._account, _said(seen.face), lane="browser")
        if said == "mismatch":
            self.cause = "wrong_account"
        if said != "match" or self.cause == "wrong_account":
            code = {"mismatch": "identity_mismatch", "drift": "identity_drift"}.get(said, "identity_unproven")
            code = "identity_mismatch" if self.cause == "wrong_account" else code
            raise Denied(code, next_step="The browser was closed before anything was done. Tell an operator.")

    def _expected(self) -> ExpectedAccount:
        for one in self._record.manifest.accounts:
            if (one.platform, one.account) == (self._platform, self._account):
                return one
        raise Denied("identity_unproven", next_step="The profile was sealed for other accounts. Tell an operator.")

    async def _leave(self, browser: RoomBrowser) -> None:
        """Look once more, take the session out as the last act, close. Never raises because of what a page did."""
        try:
            if not browser.running.context.pages:
                await browser.running.context.new_page()
            await self._prove(browser)
            self.cause = "crashed"
            self._moved = await browser.pack()
            self.cause = "failed" if self._moved else "closed"  # a session that is sealed ends its opening by itself
        except ByokeepError as error:
            if not self._failed:
                raise _not_sealed(error) from None
        except Exception:  # Playwright's words hold addresses and values of the page
            self.cause = "crashed"
            if not self._failed:
                raise Unavailable("browser_failed") from None

    async def _begin_sealing(self) -> None:
        waited = 0.0
        while True:
            try:
                await self._opening.begin_sealing()
            except Conflict as error:
                if error.code != "permits_open" or self._failed or waited >= PERMITS_END_S:
                    raise
                waited += _LOOK_S
                await asyncio.sleep(_LOOK_S)
            else:
                return

    async def _sealed(self, room: ProfileRoom, watch: OpeningWatch) -> None:
        opening = self._opening
        await self._job.lease.close()  # the job no longer acts, and reads nothing else
        custody = HeldLease(self._broker, self._token, self._job.id)
        try:
            await custody.open()
            dek_id, manifest = uuid4(), replace(self._record.manifest, browser_version=self._version)
            manifest = await opening.announce(dek_id, manifest)
            with room.content() as source:
                record = await self._sealing(custody, f"{PROFILE}/{self._profile_id}").seal(manifest, dek_id, source)
            watch.finish()  # the opening ends with the record
            await opening.record(record)
        finally:
            await custody.close()


def _not_sealed(error: ByokeepError) -> Unavailable:
    step = "The acts are done. Changes to the session are lost; the last good profile stays."
    return Unavailable("profile_not_sealed", next_step=step, reason=error.code)


def _said(face: Face | None) -> Mapping[str, str | None] | None:
    if face is None:
        return None
    return {"id": face.account_id, "username": face.username, "display_name": face.display_name}
