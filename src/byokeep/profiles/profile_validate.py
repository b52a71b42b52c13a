"""SOP 5.3, step 7: the newest generation is opened read-only, identified and photographed; that completes the SOP.

Rules
- Nothing is sealed, written or acted: blob and record stay as they are (R5.3-16).
- Every account of the profile must show itself as expected, and one picture of each is kept with its digest.
- Another account, a logged-out page, a challenge, an unclear page: not proved, lane off, out of use (R5.3-17). A page
  that could not be reached says nothing, and changes nothing.
- The proof is of one generation; the run of the SOP follows the newest (R5.3-20).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

from byokeep.core import profile as life
from byokeep.core.canonical import parse_canonical
from byokeep.core.errors import ByokeepError, Integrity
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.manifest import ExpectedAccount
from byokeep.core.profile import ProfileAct
from byokeep.core.sealed_record import SealedRecord
from byokeep.kernel import sops
from byokeep.kernel.ports import Look, Shot, Tx
from byokeep.kernel.rows import Row
from byokeep.kernel.sops import SopRun
from byokeep.profiles import profile_book, profiles
from byokeep.profiles.kek_book import check_process
from byokeep.profiles.profile_app import Bench, Browser, TaskRoom
from byokeep.profiles.profile_login import UNKNOWN, require_match
from byokeep.profiles.profile_record import MISSING, unseal
from byokeep.profiles.profiles import Expected, Profile
from byokeep.sealing.generation import ALTERED, Generation, StoredGeneration

Probe = Callable[[Bench, Browser, list[ExpectedAccount]], Awaitable[None]]
_QUARANTINING: Final = MISSING | {ALTERED, "superseded", profile_book.ROLLED_BACK}


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
        await profile_book.alarm(bench.app, bench.actor, bench.profile, "proof_altered")
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
        behind = await profile_book.rolled_back(tx, bench.profile.client_id, bench.profile.id, newest)
    generation = next((row for row in rows if row.generation == number), None)
    if generation is None:
        raise Integrity("generation_row_missing", generation=number)
    async with app.db.begin(client_id=bench.profile.client_id) as tx:
        await check_process(tx, app, holder=generation.holder, kek_id=generation.kek_id, version=generation.kek_version,
                            protected_at=generation.sealed_at)  # fmt: skip
    try:
        if behind:
            raise Integrity(profile_book.ROLLED_BACK, next_step="Look who can write to the database; log in afresh.")
        return generation, await unseal(
            bench.sealing, bench.custody, generation, app.environment, room.sink, found=found, others=rows
        )
    except Integrity as error:
        if error.code in _QUARANTINING:
            await profile_book.quarantine_like(
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
