"""What a flow of ``byokeep worker`` gets for browser profiles: its ports, and the context of a piece of work.

Rules
- A key in clear is a Secret that its user wipes; a session in clear exists in a workspace alone, which is memory: it
  ends with its process, and what is in it was never on a disk (R5.3-7).
- A browser says what it sees; whether that is right the flow decides.
- Everything is done inside a custody lease of the work's own job; when that ends, so does the work.
- While work goes on it shows life, for itself and for the opening; who is told to stop leaves the last good generation.

It may not know a library.

SOP 5.3, steps 2 to 5: a person logs in by hand, confirms, and what the browser holds then is sealed.

Rules
- The browser is clean and in memory; the worker opens it, shows it to a person and waits. It types nothing.
- A person's confirmation comes first, the worker's own look after it: both must name the same account (R5.3-6).
- Another account, none, or one that can not be told: nothing is sealed, and the profile is out of use.
- What is sealed is what a clean close left: a browser that was killed has lost cookies.

SOP 5.3, step 7: the newest generation is opened read-only, identified and photographed; that completes the SOP.

Rules
- Nothing is sealed, written or acted: blob and record stay as they are (R5.3-16).
- Every account of the profile must show itself as expected, and one picture of each is kept with its digest.
- Another account, a logged-out page, a challenge, an unclear page: not proved, lane off, out of use (R5.3-17). A page
  that could not be reached says nothing, and changes nothing.
- The proof is of one generation; the run of the SOP follows the newest (R5.3-20).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from uuid import UUID

from byokeep.core import profile as life
from byokeep.core.canonical import parse_canonical
from byokeep.core.errors import ByokeepError, Conflict, Integrity, Unavailable
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.manifest import ExpectedAccount, Packing
from byokeep.core.model import Actor, ProfileId, Provider
from byokeep.core.profile import ProfileAct
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import SealedRecord
from byokeep.kernel import sops
from byokeep.kernel.app import App
from byokeep.kernel.ports import ArtifactStore, Look, Shot, Tx, Window
from byokeep.kernel.rows import Row
from byokeep.kernel.sops import SopRun
from byokeep.profiles import openings, profiles
from byokeep.profiles.kek_store import ProfileCustody, check_process
from byokeep.profiles.kek_tasks import prepare
from byokeep.profiles.openings import MISSING, manifest_of, seal, unseal
from byokeep.profiles.profiles import LOGIN_S, Expected, Opening, Profile, Work, expected_account
from byokeep.sealing.generation import ALTERED, Generation, Sealing, Sink, Source, StoredGeneration

if TYPE_CHECKING:
    from byokeep.sealing.sealer import Sealer
if TYPE_CHECKING:
    pass

T = TypeVar("T")
BEAT_S: Final = 5.0  # seconds between two signs of life
ASK_S: Final = 1.0  # seconds between two looks at the lease


class HeldCustody(ProfileCustody, Protocol):
    """Custody that somebody may end: a kill, the client's suspension, the job's end."""

    @property
    def lease_id(self) -> str:
        """Of the lease in force."""

    async def still(self) -> None:
        """Return if it may go on. Raises Denied: stop; Unavailable: could not be asked, so stop as well."""


class ProfileCustodian(Protocol):
    """The worker's own identity at the broker, for jobs about profiles."""

    def open_profile(self, job_id: UUID, profile_id: UUID) -> AbstractAsyncContextManager[HeldCustody]:
        """Hold a custody lease of a job. Raises Denied, Unavailable."""

    async def close(self, job_id: UUID) -> None:
        """End a job. Raises Unavailable, Denied."""


class Browser(Protocol):
    """A browser that runs in a room."""

    @property
    def version(self) -> str:
        """Four numbers."""

    def hand_over(
        self, platform: Provider, *, facts: Mapping[str, str], then: str
    ) -> AbstractAsyncContextManager[Window]:
        """Show a platform's login page to a person, for as long as the block runs.

        Args:
            facts: What the person is to know, by its label.
            then: The command to run after Done.

        Raises:
            Unavailable: There is no such browser any more.
        """

    async def look(self, expected: ExpectedAccount) -> Look:
        """Say whose page a platform shows. Raises nothing that a page can bring about."""

    async def prove(self, expected: ExpectedAccount) -> Shot:
        """Photograph the page that was looked at last. Raises Rejected, Unavailable."""

    async def log_out(self, platform: Provider) -> str:
        """End the session at a platform and show it once more: ``revoked``, ``unsupported`` or ``failed``.

        The browser holds no session afterwards. Raises Unavailable, Rejected.
        """

    async def pack(self) -> object:
        """Take the session out, as the last act, and close; it is the room's content then.

        Raises:
            Conflict: ``not_closed_cleanly``.
            Rejected: What can not be packed.
            Unavailable: The browser failed.
        """


class TaskRoom(Protocol):
    """A place in memory for one profile."""

    @property
    def sink(self) -> Sink:
        """Where an opened blob goes; what was committed is the room's content."""

    def content(self) -> AbstractContextManager[Source]:
        """Give the room's content, to be sealed."""

    def browser(self) -> AbstractAsyncContextManager[Browser]:
        """Start a browser on the room's content, or a clean one when there is none; it is gone after the block."""


class TaskRooms(Protocol):
    """Makes rooms."""

    def enter(self, profile_id: UUID, packing: Packing) -> AbstractAsyncContextManager[TaskRoom]:
        """Give a room for the length of the block; it is wiped then. Raises Unavailable: there is no such memory."""


class Notes(Protocol):
    """Where people at the worker's host find the address of a waiting browser; files of mode 0600."""

    async def leave(self, work_id: UUID, window: Window) -> None:
        """Leave it. Raises Unavailable."""

    async def take_away(self, work_id: UUID) -> None:
        """Remove it; one that is gone is fine."""


class Proofs(Protocol):
    """Where proof screenshots are kept; they hold nothing that is secret, and are named by what they prove."""

    async def keep(self, client_id: UUID, profile_id: UUID, generation: int, shot: Shot) -> str:
        """Keep one as long as its profile; returns its name. Raises Unavailable."""

    async def altered(self, client_id: UUID, profile_id: UUID) -> bool:
        """Whether one that was kept is not what it was."""

    async def remove(self, client_id: UUID, profile_id: UUID) -> None:
        """Remove all of a profile; none is fine. Raises Unavailable."""


Digest = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileApp(App):
    """``byokeep worker``, as far as it looks after profiles.

    Attributes:
        owner: This process, for the work that it takes up.
        digest: Keyed digest of an account's id, for records.
        rekey_days: The installation's interval between two keys; 0 = by risk.
    """

    custodian: ProfileCustodian
    sealer: Sealer
    artifacts: ArtifactStore
    rooms: TaskRooms
    notes: Notes
    proofs: Proofs
    owner: UUID
    digest: Callable[[str], str]
    rekey_days: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A piece of work under way, with the profile as it was when it began, and the opening that is held for it."""

    app: ProfileApp
    actor: Actor
    work: Work
    profile: Profile
    opening: Opening
    custody: HeldCustody

    @property
    def sealing(self) -> Sealing:
        """What seals and opens, under this work's lease."""
        return Sealing(sealer=self.app.sealer, artifacts=self.app.artifacts, keys=self.custody.keys)

    async def now(self, tx: Tx) -> Profile:
        """Return the profile as it stands, in its line."""
        await tx.all(None, "profile_lock", profile_id=self.profile.id)
        return await tx.one(Profile, "profile_get", client_id=self.profile.client_id, id=self.profile.id)

    async def rows(self, tx: Tx) -> list[Generation]:
        """Return every generation that is kept in view, newest first."""
        return await tx.all(
            Generation, "generations_of", client_id=self.profile.client_id, profile_id=self.profile.id,
            limit=profiles.KEPT_IN_VIEW,
        )  # fmt: skip

    async def beat(self, *, state: str | None = None, result: str | None = None) -> Work:
        """Show life; returns the work as it stands.

        Args:
            state: Where it stands from now on; None: where it stood.
            result: How far a person got; None: as before.

        Raises:
            Conflict: ``work_ended``, ``opening_lost``: stop.
        """
        at = {"client_id": self.work.client_id, "id": self.work.id}
        async with self.app.db.begin(client_id=self.work.client_id) as tx:
            now = await tx.maybe(Work, "work_beat", **at, owner=self.app.owner, state=state, result=result)
            if now is None:
                raise Conflict("work_ended", next_step="It was cancelled, or another worker took it up.")
            await openings.beat(tx, self.opening)
        return now

    async def while_alive(self, work: Awaitable[T]) -> T:
        """Do something and show life meanwhile; it is cancelled when life is refused.

        Raises:
            Conflict: As :meth:`beat`; and what the work raises.
            Denied, Unavailable: The lease holds no more, or nobody could say.
        """
        doing = asyncio.ensure_future(work)
        beating = asyncio.ensure_future(self._beat_on())
        try:
            await asyncio.wait({doing, beating}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                doing.cancel()
                await asyncio.wait({doing})
                beating.result()
            return doing.result()
        finally:
            for task in (doing, beating):
                task.cancel()
                with suppress(BaseException):
                    await task

    async def _beat_on(self) -> None:
        """Ask every second whether the lease holds, so that a kill closes a browser that waits; beat now and then."""
        since = 0.0
        while True:
            await asyncio.sleep(ASK_S)
            await self.custody.still()
            since += ASK_S
            if since >= BEAT_S:
                since = 0.0
                await self.beat()


LOOK_EVERY_S: Final = 0.5
UNKNOWN: Final = "unknown"


async def log_in(bench: Bench) -> str:
    """Wait for a person's login and confirmation, then seal; returns ``sealed``.

    Raises:
        Conflict: ``login_not_confirmed``, ``work_ended``, ``opening_lost``, ``not_closed_cleanly``; ``other_account``:
            the profile is quarantined.
        Rejected: As :func:`byokeep.profiles.kek_tasks.prepare`.
        Unavailable: Browser, stores or OpenBao; ``identity_unchecked``.
    """
    # Before a person types a password for nothing.
    await prepare(bench.app, bench.actor, bench.custody.keys, bench.profile.client_id)
    async with bench.app.rooms.enter(bench.profile.id, bench.profile.packing) as room:
        async with room.browser() as browser:
            await _confirmed(bench, browser)
            for one in bench.profile.accounts:
                await require_match(bench, one, await browser.look(expected_account(one)))
            version = browser.version
            await browser.pack()
        await reseal(bench, room, version)
    return "sealed"


async def _confirmed(bench: Bench, browser: Browser) -> None:
    """Let a person at the browser, one platform after the other, until somebody has confirmed who is logged in."""
    app = bench.app
    until = app.clock.monotonic() + LOGIN_S
    *before, last = bench.profile.accounts
    async with app.db.begin(client_id=bench.profile.client_id) as tx:
        client = await tx.one(lambda row: str(row["name"]), "client_get", id=bench.profile.client_id)
    try:
        for one in before:
            then = f"byokeep profile handoff {bench.profile.id}"
            async with browser.hand_over(one.platform, facts=_facts(bench, client, one), then=then) as window:
                await app.notes.leave(bench.work.id, window)
                await _left(bench, window, until)
        named = " ".join(f"{one.platform.value}/ACCOUNT" for one in bench.profile.accounts)
        then = f"byokeep profile confirm {bench.profile.id} {named}"
        async with browser.hand_over(last.platform, facts=_facts(bench, client, last), then=then) as window:
            await app.notes.leave(bench.work.id, window)
            await _wait(bench, window, until)
    finally:
        with suppress(ByokeepError):
            await app.notes.take_away(bench.work.id)


def _facts(bench: Bench, client: str, one: Expected) -> dict[str, str]:
    return {"client": client, "profile": str(bench.profile.id), "account": f"{one.platform.value}/{one.account}"}


async def _left(bench: Bench, window: Window, until: float) -> None:
    """Wait until the person has pressed Done here; a login that is cancelled meanwhile ends at once."""
    while not await window.done(LOOK_EVERY_S):
        if bench.app.clock.monotonic() > until:
            raise _nobody()
        await bench.beat()


async def _wait(bench: Bench, window: Window, until: float) -> None:
    now = await bench.beat(state="waiting")
    done = False
    while now.state != "confirmed":
        if bench.app.clock.monotonic() > until:
            raise _nobody()
        done = done or await window.done(LOOK_EVERY_S)
        if done:
            await asyncio.sleep(LOOK_EVERY_S)
        now = await bench.beat(result=life.LOGIN_DONE if done else None)


def _nobody() -> Conflict:
    return Conflict("login_not_confirmed", next_step="Start the login again when the person is there.")


async def require_match(bench: Bench, expected: Expected, seen: Look) -> None:
    """Let the one right account pass; everything else takes the profile out of use.

    Raises:
        Conflict: ``other_account``.
        Unavailable: ``identity_unchecked``: the platform could not be looked at, which says nothing of the profile.
    """
    if seen.verdict == "match":
        return
    if seen.verdict == UNKNOWN:
        raise Unavailable("identity_unchecked", next_step="The platform could not be reached; try again later.",
                          platform=expected.platform.value)  # fmt: skip
    said: dict[str, FieldValue] = {
        "platform": expected.platform.value, "account": str(expected.account_id),
        "expected_id": bench.app.digest(expected.external_id), "work": str(bench.work.id),
    }  # fmt: skip
    if seen.observed_id is not None:
        said["observed_id"] = bench.app.digest(seen.observed_id)
    async with bench.app.db.begin(client_id=bench.profile.client_id) as tx:
        now = await bench.now(tx)
        await openings.quarantine(tx, bench.app, bench.actor, now, cause=seen.cause, said=said)
    raise Conflict("other_account", next_step="Log in afresh as the right account: `byokeep profile login`.",
                   platform=expected.platform.value, cause=seen.cause)  # fmt: skip


async def reseal(bench: Bench, room: TaskRoom, browser_version: str, *, base: int | None = None) -> Profile:
    """Seal a room's content as the next generation; returns the profile as it is then.

    Args:
        browser_version: Of the browser that made it.
        base: Of a restore: the generation that it is the content of.

    Raises:
        Conflict: ``opening_lost``, ``generation_moved``, ``stale_version``, ``profile_state``: another was first;
            ``record_history_full``.
        Unavailable: What was written counts for nothing.
        Integrity: ``duplicate_key_material``; an alert is raised.
    """
    app = bench.app
    await prepare(bench.app, bench.actor, bench.custody.keys, bench.profile.client_id)
    try:
        async with app.db.begin(client_id=bench.profile.client_id) as tx:
            now = await bench.now(tx)
            life.after(now.state, ProfileAct.SEAL if base is None else ProfileAct.RESTORE)
            plan = await openings.announce(tx, app, bench.actor, now, bench.opening, dek_id=app.ids.uuid(), base=base)
    except Integrity as error:
        await openings.alarm(app, bench.actor, bench.profile, error.code)
        raise
    await _room_left(bench, plan)
    with room.content() as source:
        manifest = manifest_of(plan.profile, plan, browser_version=browser_version, now=app.clock.now())
        sealed = await seal(bench.sealing, bench.custody, manifest, plan.dek_id, source, stays=plan.stays)
    async with app.db.begin(client_id=bench.profile.client_id) as tx:
        return await openings.record(tx, app, bench.actor, plan, sealed, rekey_days=app.rekey_days, work=bench.work.id)


async def _room_left(bench: Bench, plan: openings.GenerationPlan) -> None:
    """Let a seal go on that still has room for its record; said before a byte of it is written."""
    app, profile = bench.app, bench.profile
    newest = await bench.custody.newest(ProfileRef(profile.client_id, ProfileId(profile.id)))
    try:
        async with app.db.begin(client_id=profile.client_id) as tx:
            await openings.check_room(tx, app, bench.actor, profile, newest=newest, stays=plan.stays)
    except Conflict as error:
        await openings.tell_full(app, bench.actor, profile.client_id, profile.id, error)
        raise


Probe = Callable[[Bench, Browser, list[ExpectedAccount]], Awaitable[None]]
_QUARANTINING: Final = MISSING | {ALTERED, "superseded", openings.ROLLED_BACK}


async def validate(bench: Bench, *, before: Probe | None = None) -> str:
    """Prove the newest generation; returns ``valid``.

    Args:
        before: What else the open browser must pass, first.

    Raises:
        Conflict: ``other_account``: the profile is quarantined.
        Rejected: No picture could be taken that shows nothing else.
        Integrity: As :func:`open_into`; the profile is quarantined.
        Unavailable: Something could not be asked.
    """
    async with bench.app.rooms.enter(bench.profile.id, bench.profile.packing) as room:
        generation, record = await open_into(bench, room, bench.profile.generation)
        expected = {one.platform: one for one in record.manifest.accounts}  # what is bound decides, no copy of it
        async with room.browser() as browser:
            if before is not None:
                await before(bench, browser, list(expected.values()))
            shots = [await _proved(bench, browser, one, expected[one.platform]) for one in bench.profile.accounts]
            version = browser.version
    if await bench.app.proofs.altered(bench.profile.client_id, bench.profile.id):
        await openings.alarm(bench.app, bench.actor, bench.profile, "proof_altered")
    for _, _, shot in shots:
        await bench.app.proofs.keep(bench.profile.client_id, bench.profile.id, generation.generation, shot)
    async with bench.app.db.begin(client_id=bench.profile.client_id) as tx:
        await _record(tx, bench, shots, version)
    return "valid"


async def open_into(bench: Bench, room: TaskRoom, number: int) -> tuple[Generation, SealedRecord]:
    """Open a generation into a room; what is wrong with it takes it out of use, with what was found in its place.

    Returns the row and the record that was bound to the blob.

    Raises:
        Rejected: ``key_state``, ``key_period_over``: of its key, or of the key that wraps that.
        Denied: ``key_compromised``.
        Integrity: A reason of :mod:`.profile_record`; ``kek_unknown_outside``.
        Unavailable: Something could not be asked.
    """
    app, found = bench.app, StoredGeneration()
    async with app.db.begin(client_id=bench.profile.client_id) as tx:
        rows = await bench.rows(tx)
        newest = max((row.generation for row in rows), default=0)
        behind = await openings.rolled_back(tx, bench.profile.client_id, bench.profile.id, newest)
    generation = next((row for row in rows if row.generation == number), None)
    if generation is None:
        raise Integrity("generation_row_missing", generation=number)
    async with app.db.begin(client_id=bench.profile.client_id) as tx:
        await check_process(tx, app, holder=generation.holder, kek_id=generation.kek_id, version=generation.kek_version,
                            protected_at=generation.sealed_at)  # fmt: skip
    try:
        if behind:
            raise Integrity(openings.ROLLED_BACK, next_step="Look who can write to the database; log in afresh.")
        return generation, await unseal(
            bench.sealing, bench.custody, generation, app.environment, room.sink, found=found, others=rows
        )
    except Integrity as error:
        if error.code in _QUARANTINING:
            await openings.quarantine_like(
                app, bench.actor, bench.profile, cause=error.code, dek_id=found.dek_id, digest=found.digest,
                named=found.profile_id,
            )  # fmt: skip
        raise


async def _proved(
    bench: Bench, browser: Browser, one: Expected, expected: ExpectedAccount
) -> tuple[Expected, Look, Shot]:
    seen = await browser.look(expected)
    try:
        if seen.verdict != "match":
            await _not_proved(bench, one, seen, seen.cause)
            await require_match(bench, one, seen)
        return one, seen, await browser.prove(expected)
    except ByokeepError as error:
        if seen.verdict == "match":
            await _not_proved(bench, one, seen, error.code)
        raise


async def _not_proved(bench: Bench, one: Expected, seen: Look, cause: str) -> None:
    verification = seen.verdict if seen.verdict != "match" else UNKNOWN
    async with bench.app.db.begin(client_id=bench.profile.client_id) as tx:
        fields = _fields(bench, one, seen) | {"verification": verification, "cause": cause}
        await tx.append(
            profiles.event(EventName.PROFILE_VALIDATED, Outcome.FAILED, bench.actor, bench.profile, **fields)
        )


async def _record(tx: Tx, bench: Bench, shots: list[tuple[Expected, Look, Shot]], version: str) -> None:
    """Proof, state, and the run of the SOP: together or not at all."""
    now = await bench.now(tx)
    if now.generation != bench.opening.generation:
        raise profiles.moved(now)
    to = life.after(now.state, ProfileAct.VALIDATE)
    at = {"client_id": now.client_id, "id": now.id}
    if not await tx.maybe(
        datetime, "profile_validated", **at, generation=now.generation, state=to.value, state_from=now.state.value
    ):
        raise profiles.moved(now)
    run = await tx.maybe(SopRun, "sop_of_profile", client_id=now.client_id, profile_id=now.id)
    said: dict[str, FieldValue] = {"browser": version}
    if run is not None:
        said["sop"] = str(run.id)
    seqs = {}
    for one, seen, shot in shots:
        fields = _fields(bench, one, seen) | {"verification": "match", "screenshot": shot.sha256} | said
        told = profiles.event(EventName.PROFILE_VALIDATED, Outcome.OK, bench.actor, now, **fields)
        seqs[one.platform] = (await tx.append(told)).seq
    if run is not None:
        await _complete(tx, bench, now, run, seqs[run.provider])


async def _complete(tx: Tx, bench: Bench, now: Profile, run: sops.SopRun, verify_seq: int) -> None:
    written = await tx.maybe(dict, "sealed_record", client_id=now.client_id, profile_id=now.id)
    sealed = _sealed_fields(written)
    if sealed is None or written is None or sealed.get("generation") != now.generation:
        raise Integrity("seal_not_on_record", profile=now.id)
    done = await tx.append(profiles.event(EventName.PROFILE_ONBOARDED, Outcome.OK, bench.actor, now, sop=str(run.id)))
    await tx.one(
        sops.SopRun, "sop_profile_proved", client_id=now.client_id, id=run.id, version=now.generation,
        write_seq=written["seq"],
        verify_seq=verify_seq, done_seq=done.seq, store_request=str(sealed.get("store_request", "")),
    )  # fmt: skip


def _sealed_fields(row: Row | None) -> dict[str, Any] | None:
    if row is None:
        return None
    said: Any = parse_canonical(bytes(row["payload"]))
    return dict(said["fields"])


def _fields(bench: Bench, one: Expected, seen: Look) -> dict[str, FieldValue]:
    fields: dict[str, FieldValue] = {
        "work": str(bench.work.id), "job": str(bench.opening.job_id), "platform": one.platform.value,
        "account": str(one.account_id), "expected_id": bench.app.digest(one.external_id), "endpoint": seen.endpoint,
    }  # fmt: skip
    if seen.observed_id is not None:
        fields["observed_id"] = bench.app.digest(seen.observed_id)
    return fields
