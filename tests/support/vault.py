"""A worker that looks after profiles, on a stand: real broker, store, database and sealing; a scripted browser.

Use it with ``pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web",
"tests.support.vault"]`` and the fixture ``vault``.
"""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import io
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.blobs.local import LocalArtifacts
from byokeep.client import ClientSettings
from byokeep.core.errors import Conflict, Unavailable
from byokeep.core.identity import Face
from byokeep.core.manifest import ExpectedAccount, Packing
from byokeep.core.model import ClientId, Environment, Provider
from byokeep.core.ref import ProfileRef
from byokeep.core.vault_incident import SessionEnd
from byokeep.kernel.ports import Look, Shot, Window
from byokeep.profiles.login import ProfileApp
from byokeep.profiles.tasks import care, do_work
from byokeep.sealing.generation import Sink, Source
from byokeep.sealing.sealer import Sealer
from byokeep.worker.ports import BrokerCustodian
from tests.support.web import Desk

VERSION = "156.0.8078.79"
PICTURE = b"\x89PNG made up"


@dataclass
class Script:
    """What the browser shows, and what came of it.

    Attributes:
        shows: Platform -> (verdict, cause, id); a platform that is not named shows the expected account.
        session: What a browser that was logged in to holds.
        clean: Whether it closes as it should.
        logins: Hand-overs so far.
        told: What the person was told at each.
        opened: What a browser was started on, oldest first; empty = a clean one.
        looks: Which account a page was looked at for, oldest first.
        proof: Raised instead of a picture.
        ends: Platform -> what a logout comes to; a platform that is not named ends it.
        blind: Takes any account for the right one.
        leaves: Whether the person presses Done at every platform before the last.
        done: Whether the person has pressed Done at the last platform.
    """

    shows: dict[str, tuple[str, str, str | None]] = field(default_factory=dict)
    session: bytes = b""
    clean: bool = True
    logins: int = 0
    told: list[dict[str, str]] = field(default_factory=list)
    opened: list[bytes] = field(default_factory=list)
    looks: list[ExpectedAccount] = field(default_factory=list)
    proof: Exception | None = None
    ends: dict[str, str] = field(default_factory=dict)
    blind: bool = False
    pause: asyncio.Event | None = None
    leaves: bool = True
    done: asyncio.Event = field(default_factory=asyncio.Event)


class ScriptedRooms:
    """Rooms whose browser follows a script; ``visible`` is what became a room's content, in order."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.visible: list[bytes] = []
        self.aborted = 0

    @contextlib.asynccontextmanager
    async def enter(self, packing: Packing) -> AsyncIterator[ScriptedRoom]:
        yield ScriptedRoom(self)


class ScriptedRoom:
    def __init__(self, rooms: ScriptedRooms) -> None:
        self.rooms = rooms
        self.held: bytes | None = None

    @property
    def sink(self) -> Sink:
        return _Sink(self)

    @contextlib.contextmanager
    def content(self) -> Iterator[Source]:
        assert self.held is not None
        yield io.BytesIO(self.held)

    @contextlib.asynccontextmanager
    async def browser(self) -> AsyncIterator[ScriptedBrowser]:
        self.rooms.script.opened.append(self.held or b"")
        yield ScriptedBrowser(self)


class _Sink:
    def __init__(self, room: ScriptedRoom) -> None:
        self.room, self.taken = room, bytearray()

    def write(self, data: memoryview) -> int:
        self.taken += data
        return len(data)

    def commit(self) -> None:
        self.room.held = bytes(self.taken)
        self.room.rooms.visible.append(self.room.held)

    def abort(self) -> None:
        self.room.rooms.aborted += 1


class ScriptedBrowser:
    version = VERSION

    def __init__(self, room: ScriptedRoom) -> None:
        self.room, self.script = room, room.rooms.script

    @contextlib.asynccontextmanager
    async def hand_over(self, platform: Provider, *, facts: Mapping[str, str], then: str) -> AsyncIterator[Window]:
        self.script.logins += 1
        self.script.told.append({**facts, "then": then})

        async def done(within_s: float) -> bool:
            if "profile handoff" in then:  # the next platform waits for this one
                await asyncio.sleep(0 if self.script.leaves else within_s)
                return self.script.leaves
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.script.done.wait(), within_s)
            return self.script.done.is_set()

        yield Window(address=f"http://127.0.0.1:1/{secrets.token_hex(16)}/", instructions="Open it.", done=done)

    async def look(self, expected: ExpectedAccount) -> Look:
        self.script.looks.append(expected)
        if self.script.pause is not None:
            await self.script.pause.wait()
        real = self.script.blind or expected.account_id == expected.account  # as they are registered here
        shown = ("match", "same", expected.account_id) if real else ("mismatch", "look_alike", expected.account)
        said = self.script.shows.get(expected.platform.value, shown)
        return Look(
            platform=expected.platform,
            verdict=said[0],
            cause=said[1],
            endpoint="website/x",
            face=None if said[2] is None else Face(account_id=said[2], username=None, display_name=None),
        )

    async def prove(self, expected: ExpectedAccount) -> Shot:
        if self.script.proof is not None:
            raise self.script.proof
        return Shot(picture=PICTURE, sha256=hashlib.sha256(PICTURE).hexdigest())

    async def log_out(self, expected: ExpectedAccount) -> SessionEnd:
        assert expected.account_id  # a session is ended for somebody
        ended = self.script.ends.get(expected.platform.value, "revoked")
        if ended == "raises":
            raise Unavailable("browser_not_cleared")
        return SessionEnd(ended)

    async def pack(self) -> None:
        if not self.script.clean:
            raise Conflict("not_closed_cleanly")
        self.room.held = self.script.session


class NoNotes:
    """Remembers where the person was sent."""

    def __init__(self) -> None:
        self.left: dict[UUID, Window] = {}
        self.taken: list[UUID] = []

    async def leave(self, work_id: UUID, window: Window) -> None:
        self.left[work_id] = window

    async def take_away(self, work_id: UUID) -> None:
        self.taken.append(work_id)


class NoProofs:
    """Remembers the pictures."""

    def __init__(self) -> None:
        self.kept: list[Shot] = []
        self.removed: list[UUID] = []
        self.are_altered = False

    async def keep(self, client_id: UUID, profile_id: UUID, generation: int, shot: Shot) -> str:
        self.kept.append(shot)
        return shot.sha256

    async def altered(self, client_id: UUID, profile_id: UUID) -> bool:
        return self.are_altered

    async def remove(self, client_id: UUID, profile_id: UUID) -> None:
        self.removed.append(profile_id)


@dataclass
class Vault:
    """One worker for profiles, beside ``web`` and the broker."""

    desk: Desk
    app: ProfileApp
    script: Script
    rooms: ScriptedRooms
    notes: NoNotes
    proofs: NoProofs
    artifacts: Path

    def sql(self, statement: str) -> str:
        return self.desk.sql(statement)

    def events(self, name: str, outcome: str = "") -> list[str]:
        return self.desk.stand.events(name, outcome)

    async def call(self, method: str, path: str, body: Any = None, who: str = "operator") -> tuple[int, Any]:
        return await self.desk.call(method, path, who, body)

    async def client(self) -> UUID:
        """An active client."""
        return await self.desk.stand.client()

    async def create(self, client: UUID, *platforms: str, account: str = "acme") -> UUID:
        """A profile of registered accounts."""
        named = platforms or ("x",)
        for platform in named:
            self.desk.stand.account(client, platform, account, identity="unchecked")
        body = {"accounts": [{"platform": platform, "account": account} for platform in named]}
        status, made = await self.call("POST", f"/v1/clients/{client}/profiles", body)
        assert status == 201, made
        return UUID(made["profile"])

    async def ask(self, profile: UUID, act: str, body: Any = None, who: str = "operator") -> UUID:
        """Ask for work; it must be taken."""
        status, made = await self.call("POST", f"/v1/profiles/{profile}/{act}", body, who)
        assert status == 202, made
        return UUID(made["work"])

    async def do(self, profile: UUID, work: UUID) -> str:
        """What the queue's task calls."""
        client = UUID(self.sql(f"SELECT client_id FROM byokeep.profile WHERE id = '{profile}'"))
        return await do_work(self.app, ClientId(client), work)

    async def done(self, profile: UUID, act: str, body: Any = None) -> str:
        """Ask for work and do it; returns what came of it."""
        return await self.do(profile, await self.ask(profile, act, body))

    async def until(self, profile: UUID, work: UUID, state: str) -> None:
        """Wait until work has reached a state."""
        for _ in range(200):
            if self.sql(f"SELECT state FROM byokeep.profile_work WHERE id = '{work}'") == state:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(self.sql(f"SELECT state, reason FROM byokeep.profile_work WHERE id = '{work}'"))

    async def log_in(self, profile: UUID, session: bytes = b"", *, seen: dict[str, str] | None = None) -> str:
        """All of a login; the person sees the right account. Returns what came of it, before or after a person came."""
        self.script.session = session or secrets.token_bytes(300_000)
        work = await self.ask(profile, "login")
        doing = asyncio.create_task(self.do(profile, work))
        try:
            waits = asyncio.create_task(self.until(profile, work, "waiting"))
            await asyncio.wait((waits, doing), return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                waits.cancel()
                return doing.result()
            await waits
            status, made = await self.call(
                "POST", f"/v1/profiles/{profile}/confirm", {"seen": seen or self.seen(profile)}
            )
            assert status == 200, made
            return await doing
        finally:
            doing.cancel()

    def seen(self, profile: UUID) -> dict[str, str]:
        """What a person sees who looks at the right accounts."""
        rows = self.sql(
            "SELECT a.platform || '=' || a.account FROM byokeep.profile_account p JOIN byokeep.platform_account a"
            f" ON a.id = p.account_id WHERE p.profile_id = '{profile}'"
        )
        return dict(row.split("=", 1) for row in rows.splitlines())

    async def sealed(self, *platforms: str, session: bytes = b"") -> tuple[UUID, UUID]:
        """A client with a sealed profile; returns both."""
        client = await self.client()
        profile = await self.create(client, *platforms)
        assert await self.log_in(profile, session) == "sealed"
        return client, profile

    async def valid(self, *platforms: str, session: bytes = b"") -> tuple[UUID, UUID]:
        """A client with a validated profile; returns both."""
        client, profile = await self.sealed(*platforms, session=session)
        assert await self.done(profile, "validate") == "valid"
        return client, profile

    async def show(self, profile: UUID) -> dict[str, Any]:
        status, found = await self.call("GET", f"/v1/profiles/{profile}")
        assert status == 200, found
        return dict(found)

    async def history(self, profile: UUID) -> dict[str, Any]:
        status, found = await self.call("GET", f"/v1/profiles/{profile}/history")
        assert status == 200, found
        return dict(found)

    def state(self, profile: UUID) -> str:
        return self.sql(f"SELECT state || '/' || generation FROM byokeep.profile WHERE id = '{profile}'")

    def blobs(self, client: UUID | None = None) -> list[Path]:
        """Every file in the artifact store, or a client's."""
        place = self.artifacts if client is None else self.artifacts / str(client)
        return sorted(path for path in place.rglob("*.sealed") if path.is_file())

    async def care(self) -> int:
        """A round of the clock."""
        return await care(self.app, cut_off_s=0)

    @contextlib.asynccontextmanager
    async def custody(self, client: UUID, profile: UUID) -> AsyncIterator[Any]:
        """What somebody at the store could do with a profile's records: an attacker, for tests."""
        from byokeep.profiles.tasks import _custody

        async with _custody(self.app, ClientId(client), profile) as held:
            yield held

    async def record(self, client: UUID, profile: UUID, version: int = 0) -> bytes:
        """The record as it lies in the store."""
        ref = ProfileRef(ClientId(client), profile)
        async with self.custody(client, profile) as held:
            return bytes(await held.read(ref, version or await held.newest(ref)))

    async def put_record(self, client: UUID, profile: UUID, record: bytes) -> None:
        """Write a record as whoever may write there could, and let the row point at it."""
        ref = ProfileRef(ClientId(client), profile)
        async with self.custody(client, profile) as held:
            written = await held.write(ref, record, cas=await held.newest(ref))
        self.sql(
            f"UPDATE byokeep.profile_generation g SET record_version = {written.version} FROM byokeep.profile p"
            f" WHERE g.profile_id = '{profile}' AND p.id = g.profile_id AND g.generation = p.generation"
        )


def digest(account: str) -> str:
    return hmac.digest(b"k" * 32, account.encode(), hashlib.sha256).hex()


@contextlib.asynccontextmanager
async def vault_on(desk: Desk, **changed: Any) -> AsyncIterator[Vault]:
    """Put a worker for profiles on a desk."""
    token = desk.stand.home / "custodian.token"
    script = Script()
    rooms, notes, proofs = ScriptedRooms(script), NoNotes(), NoProofs()
    worker = desk.worker
    settings = ClientSettings(broker_url=desk.stand.url, runner_token_file=token, attempts=1, timeout_s=10)
    app = ProfileApp(
        db=worker.db, clock=worker.clock, ids=worker.ids, installation_id=worker.installation_id,
        environment=worker.environment, limits=worker.limits,
        custodian=BrokerCustodian(settings, Environment.DEVELOPMENT),
        sealer=Sealer(), artifacts=LocalArtifacts(desk.stand.home / "artifacts", may_remove=True), rooms=rooms,
        notes=notes, proofs=proofs, owner=uuid4(), digest=digest,
    )  # fmt: skip
    app = replace(app, **changed)
    yield Vault(desk, app, script, rooms, notes, proofs, desk.stand.home / "artifacts")


@pytest.fixture
async def vault(desk: Desk) -> AsyncIterator[Vault]:
    async with vault_on(desk) as made:
        yield made
        assert desk.not_once_on_record() == []
