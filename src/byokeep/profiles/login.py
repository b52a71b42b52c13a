"""SOP 5.3, steps 2 to 7 at a worker: a person logs in by hand and confirms, the profile is sealed, and then proved.

Rules
- A key in clear is a Secret that its user wipes. A session in clear exists only in a workspace, which is memory. It
  ends with its process, and its content was never on a disk (R5.3-7).
- Everything happens inside a custody lease of the work's own job, and stops when that ends. Meanwhile it gives signs of
  life, for the work and for the opening. Whoever is told to stop leaves the last good generation.
- The browser is clean and in memory. The worker opens it, shows it to a person and waits. It types nothing. It reports
  what it sees; whether that is right is decided here.
- A person's confirmation comes first, the worker's own look after it. Both must name the same account (R5.3-6). With
  another account, none, or one that cannot be told, nothing is sealed, and the profile is out of use.
- Only what a clean close left is sealed: a browser that was killed has lost cookies.
- To prove the newest generation is to open it read-only, identify it and take a picture; blob and record stay as they
  are (R5.3-16). Every account must show itself as the record expects, with the id that it has in the database
  (ADR 0102), and one picture of each is kept with its digest. Another
  account, a logged-out page, a challenge or an unclear page means: not proved, lane off, out of use (R5.3-17). A page
  that could not be reached says nothing and changes nothing. The SOP's run follows the newest generation (R5.3-20).

It may not know a library.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from uuid import UUID

from byokeep.core import profile as life
from byokeep.core.canonical import parse_canonical
from byokeep.core.errors import ByokeepError, Conflict, Integrity, Unavailable
from byokeep.core.events import EventName, Outcome
from byokeep.core.evidence import CREATED, VALIDATION, WRITE
from byokeep.core.manifest import ExpectedAccount
from byokeep.core.model import Actor, ProfileId
from byokeep.core.profile import ProfileAct
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import SealedRecord
from byokeep.kernel.command import open_alert
from byokeep.kernel.ports import Look, Shot, Tx, Window
from byokeep.kernel.sops import SopRun, proved
from byokeep.profiles import openings, profiles
from byokeep.profiles.kek import HeldCustody, KekApp, check_process
from byokeep.profiles.kek_tasks import prepare
from byokeep.profiles.openings import MISSING, manifest_of, seal, unseal
from byokeep.profiles.profiles import LOGIN_S, Expected, Opening, Profile, Work, expected_account, locked
from byokeep.sealing.generation import ALTERED, Generation, Sealing, StoredGeneration

if TYPE_CHECKING:
    from byokeep.browser.rooms import ProfileRoom, ProfileRooms, RoomBrowser
    from byokeep.sealing.sealer import Sealer

T = TypeVar("T")
BEAT_S: Final = 5.0  # seconds between two signs of life
ASK_S: Final = 1.0  # seconds between two looks at the lease


class Notes(Protocol):
    """Where people at the worker's host find the address of a waiting browser: files of mode 0600."""

    async def leave(self, work_id: UUID, window: Window) -> None:
        """Write the address. Raises Unavailable."""

    async def take_away(self, work_id: UUID) -> None:
        """Remove it; a missing one is fine."""


class Proofs(Protocol):
    """Where proof screenshots are kept. They hold nothing secret, and are named after what they prove."""

    async def keep(self, client_id: UUID, profile_id: UUID, generation: int, shot: Shot) -> str:
        """Keep one for as long as its profile; returns its name. Raises Unavailable."""

    async def altered(self, client_id: UUID, profile_id: UUID) -> bool:
        """Whether a kept one is no longer what it was."""

    async def remove(self, client_id: UUID, profile_id: UUID) -> None:
        """Remove all of a profile; having none is fine. Raises Unavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileApp(KekApp):
    """``byokeep worker``, as far as it looks after profiles.

    Attributes:
        owner: This process, on the work that it takes.
        digest: Keyed digest of an account's id, for records.
    """

    sealer: Sealer
    rooms: ProfileRooms
    notes: Notes
    proofs: Proofs
    owner: UUID
    digest: Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A piece of work under way, with the profile as it was at the beginning, and the opening held for it."""

    app: ProfileApp
    actor: Actor
    work: Work
    profile: Profile
    opening: Opening
    custody: HeldCustody

    def begin(self) -> AbstractAsyncContextManager[Tx]:
        """Open a transaction that sees the client's rows."""
        return self.app.db.begin(client_id=self.profile.client_id)

    @property
    def sealing(self) -> Sealing:
        """Return what seals and opens, under this work's lease."""
        return Sealing(sealer=self.app.sealer, artifacts=self.app.artifacts, keys=self.custody.keys)

    async def now(self, tx: Tx) -> Profile:
        """Return the profile as it stands, locked."""
        return await locked(tx, self.profile.client_id, self.profile.id)

    async def rows(self, tx: Tx) -> list[Generation]:
        """Return every generation that is kept in view, newest first."""
        return await tx.all(Generation, "generations_of", **self.profile.at, limit=profiles.KEPT_IN_VIEW)

    async def beat(self, *, state: str | None = None, result: str | None = None) -> Work:
        """Give a sign of life; returns the work as it stands.

        Args:
            state: Its new state; None: unchanged.
            result: How far a person got; None: unchanged.

        Raises:
            Conflict: ``work_ended``, ``opening_lost``: stop.
        """
        async with self.begin() as tx:
            now = await tx.maybe(Work, "work_beat", **self.work.at, owner=self.app.owner, state=state, result=result)
            if now is None:
                raise Conflict("work_ended", next_step="It was cancelled, or another worker took it over.")
            await openings.beat(tx, self.opening)
        return now

    async def while_alive(self, work: Awaitable[T]) -> T:
        """Do something while giving signs of life. It is cancelled when one is refused.

        Raises:
            Conflict: As :meth:`beat`; and what the work raises.
            Denied, Unavailable: The lease no longer holds, or nobody could say.
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
        """Ask every second whether the lease holds, so that a kill closes a waiting browser; beat now and then."""
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
        Unavailable: RoomBrowser, stores or OpenBao; ``identity_unchecked``.
    """
    # Before a person types a password for nothing.
    await prepare(bench.app, bench.actor, bench.custody.keys, bench.profile.client_id)
    async with bench.app.rooms.enter(bench.profile.packing) as room:
        async with room.browser() as browser:
            await _confirmed(bench, browser)
            for one in bench.profile.accounts:
                await require_match(bench, one, await browser.look(expected_account(one)))
            version = browser.version
            await browser.pack()
        await reseal(bench, room, version)
    return "sealed"


async def _confirmed(bench: Bench, browser: RoomBrowser) -> None:
    """Let a person use the browser, one platform after the other, until somebody has confirmed who is logged in."""
    app = bench.app
    until = app.clock.monotonic() + LOGIN_S
    named = " ".join(f"{one.platform.value}/ACCOUNT" for one in bench.profile.accounts)
    *_, last = bench.profile.accounts
    async with bench.begin() as tx:
        client = await tx.one(lambda row: str(row["name"]), "client_get", id=bench.profile.client_id)
    try:
        for one in bench.profile.accounts:
            then = f"confirm {bench.profile.id} {named}" if one is last else f"handoff {bench.profile.id}"
            where = f"{one.platform.value}/{one.account}"
            facts = {"client": client, "profile": str(bench.profile.id), "account": where}
            async with browser.hand_over(one.platform, facts=facts, then=f"byokeep profile {then}") as window:
                await app.notes.leave(bench.work.id, window)
                await _wait(bench, window, until, last=one is last)
    finally:
        with suppress(ByokeepError):
            await app.notes.take_away(bench.work.id)


async def _wait(bench: Bench, window: Window, until: float, *, last: bool) -> None:
    """Wait until the person has pressed Done here; on the last platform, until somebody has confirmed who it is.

    A login that is cancelled meanwhile ends at once.
    """
    now = await bench.beat(state="waiting" if last else None)
    done = False
    while now.state != "confirmed" if last else not done:
        if bench.app.clock.monotonic() > until:
            raise Conflict("login_not_confirmed", next_step="Start the login again when the person is there.")
        if done:
            await asyncio.sleep(LOOK_EVERY_S)
        done = done or await window.done(LOOK_EVERY_S)
        now = await bench.beat(result=life.LOGIN_DONE if done and last else None)


async def require_match(bench: Bench, expected: Expected, seen: Look) -> None:
    """Let only the right account pass; anything else takes the profile out of use.

    Raises:
        Conflict: ``other_account``.
        Unavailable: ``identity_unchecked``: the platform could not be looked at, which says nothing about the profile.
    """
    if seen.verdict == "match":
        return
    if seen.verdict == UNKNOWN:
        raise Unavailable("identity_unchecked", next_step="The platform could not be reached. Try again later.",
                          platform=expected.platform.value)  # fmt: skip
    said = _fields(bench, expected, seen)
    async with bench.begin() as tx:
        now = await bench.now(tx)
        await openings.quarantine(tx, bench.app, bench.actor, now, cause=seen.cause, said=said)
    raise Conflict("other_account", next_step="Log in again as the right account: `byokeep profile login`.",
                   platform=expected.platform.value, cause=seen.cause)  # fmt: skip


async def reseal(bench: Bench, room: ProfileRoom, browser_version: str, *, base: int | None = None) -> Profile:
    """Seal a room's content as the next generation; returns the profile as it then is.

    Args:
        browser_version: The version of the browser that made it.
        base: In a restore, the generation whose content it is.

    Raises:
        Conflict: ``opening_lost``, ``generation_moved``, ``stale_version``, ``profile_state``: another was first;
            ``record_history_full``.
        Unavailable: Whatever was written does not count.
        Integrity: ``duplicate_key_material``; an alert is raised.
    """
    app, profile = bench.app, bench.profile
    await prepare(app, bench.actor, bench.custody.keys, profile.client_id)
    newest = await bench.custody.newest(ProfileRef(profile.client_id, ProfileId(profile.id)))
    try:
        async with bench.begin() as tx:
            now = await bench.now(tx)
            life.after(now.state, ProfileAct.SEAL if base is None else ProfileAct.RESTORE)
            plan = await openings.announce(
                tx, app, bench.actor, now, bench.opening, dek_id=app.ids.uuid(), newest=newest, base=base
            )
    except (Conflict, Integrity) as error:
        await openings.tell_refused(app, bench.actor, profile.client_id, profile.id, error)
        raise
    with room.content() as source:
        manifest = manifest_of(app, plan, browser_version=browser_version)
        made = await seal(bench.sealing, bench.custody, manifest, plan.dek_id, source, stays=plan.stays)
    async with bench.begin() as tx:
        return await openings.record(tx, app, bench.actor, plan, *made, work=bench.work.id)


Probe = Callable[["Bench", "RoomBrowser", list[ExpectedAccount]], Awaitable[None]]
_QUARANTINING: Final = MISSING | {ALTERED, "superseded", openings.ROLLED_BACK}


async def validate(bench: Bench, *, before: Probe | None = None) -> str:
    """Prove the newest generation; returns ``valid``.

    Args:
        before: Another check that the open browser must pass first.

    Raises:
        Conflict: ``other_account``: the profile is quarantined.
        Rejected: No picture could be taken that shows only the account.
        Integrity: As :func:`open_into`; the profile is quarantined.
        Unavailable: Something could not be asked.
    """
    async with bench.app.rooms.enter(bench.profile.packing) as room:
        generation, record = await open_into(bench, room, bench.profile.generation)
        expected = {one.platform: one for one in record.manifest.accounts}  # what is bound decides, no copy of it
        async with room.browser() as browser:
            if before is not None:
                await before(bench, browser, list(expected.values()))
            shots = [await _proved(bench, browser, one, expected[one.platform]) for one in bench.profile.accounts]
            version = browser.version
    if await bench.app.proofs.altered(bench.profile.client_id, bench.profile.id):
        async with bench.begin() as tx:
            await open_alert(tx, bench.app, bench.actor, reason="proof_altered", client_id=bench.profile.client_id,
                             object_id=bench.profile.id)  # fmt: skip
    for _, _, shot in shots:
        await bench.app.proofs.keep(bench.profile.client_id, bench.profile.id, generation.generation, shot)
    async with bench.begin() as tx:
        await _record(tx, bench, shots, version)
    return "valid"


async def open_into(bench: Bench, room: ProfileRoom, number: int) -> tuple[Generation, SealedRecord]:
    """Open a generation into a room. A fault in it takes it out of use, with whatever was found in its place.

    Returns the row, and the record bound to the blob.

    Raises:
        Rejected: ``key_state``, ``key_period_over``: of its key, or of the key that wraps that.
        Denied: ``key_compromised``.
        Integrity: A reason of :mod:`.profile_record`; ``kek_unknown_outside``.
        Unavailable: Something could not be asked.
    """
    app, found = bench.app, StoredGeneration()
    async with bench.begin() as tx:
        rows = await bench.rows(tx)
        newest = max((row.generation for row in rows), default=0)
        behind = await openings.rolled_back(tx, bench.profile.client_id, bench.profile.id, newest)
    generation = next((row for row in rows if row.generation == number), None)
    if generation is None:
        raise Integrity("generation_row_missing", generation=number)
    async with bench.begin() as tx:
        await check_process(tx, app, holder=generation.holder, kek_id=generation.kek_id, version=generation.kek_version,
                            protected_at=generation.sealed_at)  # fmt: skip
    try:
        if behind:
            raise Integrity(
                openings.ROLLED_BACK, next_step="Find out who can write to the database, then log in again."
            )
        return generation, await unseal(
            bench.sealing, bench.custody, generation, app.environment, room.sink, found=found, others=rows
        )
    except Integrity as error:
        if error.code in _QUARANTINING:
            await openings.quarantine_like(app, bench.actor, bench.profile, cause=error.code, found=found)
        raise


async def _proved(
    bench: Bench, browser: RoomBrowser, one: Expected, expected: ExpectedAccount
) -> tuple[Expected, Look, Shot]:
    seen = await browser.look(expected)
    # A runner may have written the record that says whom to expect, and the page agrees with it.
    if seen.verdict == "match" and (seen.face is None or seen.face.account_id != one.external_id):
        seen = replace(seen, verdict="mismatch", cause="other_id")
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
    async with bench.begin() as tx:
        fields = _proof_fields(bench, one, seen) | {"verification": verification, "cause": cause}
        await profiles.note(tx, EventName.PROFILE_VALIDATED, bench.actor, bench.profile, Outcome.FAILED, **fields)


async def _record(tx: Tx, bench: Bench, shots: list[tuple[Expected, Look, Shot]], version: str) -> None:
    """Record the proof, the state and the run of the SOP, together or not at all."""
    now = await bench.now(tx)
    if now.generation != bench.opening.generation:
        raise profiles.moved(now)
    moves = {"state": life.after(now.state, ProfileAct.VALIDATE).value, "state_from": now.state.value}
    if not await tx.maybe(datetime, "profile_validated", **now.row, **moves, generation=now.generation):
        raise profiles.moved(now)
    run = await tx.maybe(SopRun, "sop_of_profile", **now.at)
    said = {"verification": "match", "browser": version, "sop": run and run.id}
    seqs = {}
    for one, seen, shot in shots:
        fields = _proof_fields(bench, one, seen) | said | {"screenshot": shot.sha256}
        seqs[one.platform] = (await profiles.note(tx, EventName.PROFILE_VALIDATED, bench.actor, now, **fields)).seq
    if run is not None:
        await _complete(tx, bench, now, run, seqs[run.provider])


async def _complete(tx: Tx, bench: Bench, now: Profile, run: SopRun, verify_seq: int) -> None:
    written = await tx.maybe(dict, "sealed_record", **now.at)
    record: Any = None if written is None else parse_canonical(bytes(written["payload"]))
    sealed = {} if record is None else record["fields"]
    if written is None or sealed.get("generation") != now.generation:
        raise Integrity("seal_not_on_record", profile=now.id)
    done = await profiles.note(tx, EventName.PROFILE_ONBOARDED, bench.actor, now, sop=run.id)
    steps = {WRITE: written["seq"], VALIDATION: verify_seq, CREATED: done.seq}
    request = str(sealed.get("store_request", ""))
    await proved(tx, run, steps, complete=True, again=True, version=now.generation, store_request=request)


def _fields(bench: Bench, one: Expected, seen: Look) -> dict[str, Any]:
    return {
        "work": bench.work.id, "platform": one.platform, "account": one.account_id,
        "expected_id": bench.app.digest(one.external_id),
        "observed_id": None if seen.face is None else bench.app.digest(seen.face.account_id),
    }  # fmt: skip


def _proof_fields(bench: Bench, one: Expected, seen: Look) -> dict[str, Any]:
    return _fields(bench, one, seen) | {"job": bench.opening.job_id, "endpoint": seen.endpoint}
