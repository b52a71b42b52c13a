"""SOP 5.1 steps 5 and 6, in the worker: read under a custody lease, ask the provider, search the logs, close the run.

Rules
- Of a keyless credential the stored ids are swapped for a short-lived token, which is what is looked at. One that
  serves is asked again when its swap is refused, and fails only where the provider says clearly why: our own outage, or
  a proxy's no, takes nothing out of service. An alert says that it was refused.
- The value is wiped before anything is recorded. The record holds only allow-listed outcomes and counts (R5.1-8).
- Verification, leak check and what follows from them commit together: a key found in a log is never usable, not for a
  moment.
- Searching nothing is not a pass: unreadable sources, zero lines or zero spans make the leak check unknown (R5.1-11).
- An outcome that may change later, or that says nothing of the key, is retried a few times. Then the run fails, and the
  key stays as it was.
- A proved candidate waits for the cutover of its rotation (:mod:`byokeep.keys.rotation`), which is notified. A refused
  one is dropped. One that is live, or about which the answer says nothing, waits. The key in use keeps serving, also
  when it is itself verified again with such an answer.
- The run closes with ``client_key_onboarded`` only when its three records prove it (:mod:`byokeep.kernel.sops`).

It may not cause an effect: a custody lease cannot ask for one.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Final
from uuid import UUID

from byokeep.core.errors import ByokeepError, Unavailable
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.evidence import DONE, LEAK_CHECK, VERIFICATION
from byokeep.core.incident import IncidentKind, IncidentSource
from byokeep.core.keystate import KeyState
from byokeep.core.model import ClientId, CredentialRef, Verification
from byokeep.core.ref import SecretRef
from byokeep.core.secret import Secret
from byokeep.kernel import incidents
from byokeep.kernel.app import LeakCount, WorkerApp
from byokeep.kernel.command import Said, Severity, hold_chain, open_alert, record
from byokeep.kernel.ports import CheckOutcome, OutcomeStatus, Tx
from byokeep.kernel.sops import SopRun, proved, ready
from byokeep.keys import refs, rotation
from byokeep.keys.refs import ref_from

SLACK: Final = timedelta(seconds=5)  # between the database's clock and those that stamp log lines
_NOTHING: Final = LeakCount(sources=0, lines=0, spans=0, found=0, readable=False)


class LeakVerdict(StrEnum):
    """How a search ended."""

    PASS = "pass"  # noqa: S105 - a verdict
    FOUND = "found"
    UNKNOWN = "unknown"


async def search(app: WorkerApp, value: Secret, since: datetime) -> LeakCount:
    """Search everything written since the run began. A search that failed looked at nothing."""
    try:
        return await app.search_logs(value, since - SLACK)
    except ByokeepError:
        return _NOTHING


def verdict(count: LeakCount) -> LeakVerdict:
    """Judge a search; a find counts even when other sources were unreadable."""
    if count.found:
        return LeakVerdict.FOUND
    if count.readable and count.lines > 0 and count.spans > 0:
        return LeakVerdict.PASS
    return LeakVerdict.UNKNOWN


def fields(count: LeakCount) -> dict[str, FieldValue]:
    """Return what goes on record."""
    said = {"sources": count.sources, "lines": count.lines, "spans": count.spans, "found": count.found}
    return {**said, "verification": verdict(count).value}


_NO_QUOTA: Final = "verified_no_quota"
# What is not about the key, or no answer of its provider: it may come of the way there.
_UNTOLD: Final = frozenset({
    OutcomeStatus.TLS_ERROR, OutcomeStatus.REDIRECT_REFUSED, OutcomeStatus.MALFORMED, OutcomeStatus.GEO_BLOCKED,
    OutcomeStatus.NOT_FOUND, OutcomeStatus.UNEXPECTED_STATUS,
})  # fmt: skip
_WAITS: Final = rotation.ALIVE | _UNTOLD  # what says nothing against a key that serves or waits
_SERVES_ON: Final = _WAITS | {OutcomeStatus.FORBIDDEN}  # a no that may be to where we ask from, and not to the key
_AGAIN: Final = "The queue asks again by itself."
_LIVE: Final = frozenset({KeyState.PRE_ACTIVATION, KeyState.ACTIVE, KeyState.SUSPENDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The ids that a queued verification consists of; ``request_id`` is the call that asked for it (S-OWASP-13)."""

    client_id: ClientId
    ref_id: UUID
    version: int
    sop_id: UUID
    job_id: UUID
    request_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What came of looking: a note and a count, or the reason why nobody looked. ``clear``: the provider says why."""

    note: CheckOutcome | None
    count: LeakCount | None
    failure: str = ""
    clear: bool = True


async def verify_key(app: WorkerApp, task: Task, *, last_attempt: bool) -> str:
    """Verify one version and close its run as far as the evidence goes; returns how it ended, as a code.

    Args:
        last_attempt: What could not be decided now will not be asked again.

    Raises:
        Unavailable: To be tried again later; nothing was recorded. Not raised on the last attempt unless the
            database itself is away.
    """
    async with app.db.begin(client_id=task.client_id) as tx:
        if isinstance(book := await _book(tx, app, task), str):
            return book
    ref = book.ref
    await find_shared_value(app, task)
    seen = await _look(app, task, ref, book.run, last_attempt=last_attempt)
    result = await _record(app, task, seen)
    if task.version == ref.candidate:
        with suppress(ByokeepError):  # it looks by itself within a minute
            await rotation.decided(app, ref.client_id, ref.id)
    with suppress(ByokeepError):  # an open job ends by itself
        await app.custodian.close(task.job_id)
    return result


async def waits(app: WorkerApp, task: Task, reason: str) -> None:
    """Let whoever looks at a run see that it waits for its next attempt, and why.

    Args:
        reason: As :func:`byokeep.core.next_steps.wait_of` returns it.
    """
    async with app.db.begin(client_id=task.client_id) as tx:
        await tx.maybe(SopRun, "sop_waits", client_id=task.client_id, id=task.sop_id, reason=reason)


async def find_shared_value(app: WorkerApp, task: Task) -> None:
    """Tell operators of the platform, and nobody else, when another reference holds the same value (R1.3-4).

    Runs for every verification, in the worker, so that no answer to a tenant takes longer or says more.
    """
    async with app.db.begin(every_client=True) as tx:
        sharers = await tx.all(UUID, "fingerprint_sharers", ref_id=task.ref_id, version=task.version)
        if not sharers:
            return
        actor = app.system(task.request_id)
        await open_alert(tx, app, actor, reason="shared_value", severity="warning", object_id=task.ref_id)
        said: dict[str, FieldValue] = {"ref": str(sharers[0]), "count": len(sharers), "version": task.version}
        await record(tx, actor, EventName.KEY_SHARED_VALUE, said, object_id=task.ref_id)
        serves = set(await tx.all(UUID, "fingerprint_serves", ref_id=task.ref_id, version=task.version))
    for one in serves.intersection(sharers):  # each in a transaction of its own: an alert may hold the platform's chain
        async with app.db.begin(every_client=True) as tx:
            await open_alert(tx, app, actor, reason="shared_value", severity="warning", object_id=one)


async def _look(app: WorkerApp, task: Task, ref: CredentialRef, run: SopRun, *, last_attempt: bool) -> _Seen:
    place = SecretRef(ref.client_id, ref.provider)
    try:
        async with app.custodian.open(task.job_id) as custody:
            with await custody.read(place, task.version) as kept:
                token = await app.swap(ref.provider, kept, partial(custody.identity, place))
                with kept if token is None else token as value:
                    ask = app.identify if token is None else app.identify_token
                    note = await ask(ref.provider, value)
                    count = await search(app, value, run.started_at)
    except Unavailable as error:
        if not last_attempt:
            raise
        return _Seen(None, None, error.code)
    except ByokeepError as error:
        refused = _refusal(ref, error)
        if refused is not None and _serves(task, ref) and not last_attempt:
            raise Unavailable("ask_again", next_step=_AGAIN, reason=refused.status.value) from None
        return _Seen(refused, None, error.code, clear=refused is None or "reason" in error.fields)
    untold = note.again or note.status in _UNTOLD
    if untold and not last_attempt and verdict(count) is not LeakVerdict.FOUND:
        raise Unavailable("ask_again", next_step=_AGAIN, reason=note.status.value)
    return _Seen(note, count)


def _refusal(ref: CredentialRef, error: ByokeepError) -> CheckOutcome | None:
    """Return what is kept of a provider's refusal to swap an identity token; None: it refused nothing."""
    if error.code != OutcomeStatus.EXCHANGE_REFUSED:
        return None
    status = error.fields.get("status")
    return CheckOutcome(
        status=OutcomeStatus.EXCHANGE_REFUSED, http_status=status if isinstance(status, int) else None, latency_ms=0,
        account_hash=None, endpoint=f"{ref.provider}.exchange", attempts=1,
    )  # fmt: skip


async def _record(app: WorkerApp, task: Task, seen: _Seen) -> str:
    """Write down what was seen and everything that follows from it, in one transaction."""
    async with app.db.begin(client_id=task.client_id) as tx:
        if isinstance(book := await _book(tx, app, task), str):
            return book
        ref = book.ref
        verify_seq = await book.verification(seen)
        leak = LeakVerdict.UNKNOWN if seen.count is None else verdict(seen.count)
        # What becomes of the row comes before a record that says what the row is.
        if leak is LeakVerdict.FOUND:
            await book.mark(Verification.QUARANTINED)
        elif verify_seq is not None and not book.candidate:
            await book.mark(Verification.VERIFIED)
        leak_seq = await book.leak(seen.count, leak)
        seqs = {VERIFICATION: verify_seq, LEAK_CHECK: leak_seq}
        run = await proved(tx, book.run, {step: seq for step, seq in seqs.items() if seq is not None})
        if leak is LeakVerdict.FOUND:
            await book.alarm("secret_in_logs")
            return await book.fail("secret_in_logs")
        if verify_seq is None:
            return await book.not_verified(seen)
        if book.candidate and ref.state not in _LIVE:
            await book.mark(Verification.FAILED)
            return await book.fail("reference_ended")
        if seen.note is not None and seen.note.status == _NO_QUOTA:
            await book.alarm("key_no_quota", severity="warning")
            if book.candidate:  # good, but it would do no work: what serves goes on
                return await book.fail(_NO_QUOTA)
        if ref.state == KeyState.PRE_ACTIVATION:
            await refs.move(tx, app, book.actor, ref, to=KeyState.ACTIVE, reason="verified")
        if leak is LeakVerdict.UNKNOWN:
            await book.alarm("leak_check_unknown", severity="warning")
            return "leak_check_unknown"
        return await book.complete(run)


async def _book(tx: Tx, app: WorkerApp, task: Task) -> _Book | str:
    """Return the book of a run that is about what serves or waits, and hold both; else end it, and return how."""
    ref = await tx.maybe(ref_from, "ref_lock_row", client_id=task.client_id, id=task.ref_id)
    await hold_chain(tx, task.client_id)  # before the run, as whoever ends one does
    run = await tx.maybe(SopRun, "sop_lock", client_id=task.client_id, id=task.sop_id)
    if ref is None or run is None or run.state != "running" or not _belongs(task, run, ref):
        return "superseded"
    book = _Book(tx, app, task, run, ref)
    if task.version not in (ref.version, ref.candidate):  # replaced or taken back: else its run would never end
        return await book.fail("superseded" if ref.state in _LIVE else "reference_ended")
    return book


class _Book:
    """The entries of one recording transaction."""

    def __init__(self, tx: Tx, app: WorkerApp, task: Task, run: SopRun, ref: CredentialRef) -> None:
        self.actor = app.system(task.request_id)
        self._tx, self._app, self._task, self.run, self.ref = tx, app, task, run, ref
        self._place = {"client_id": ref.client_id, "id": ref.id, "version": task.version}
        self.candidate = task.version == ref.candidate

    async def verification(self, seen: _Seen) -> int | None:
        """Record the outcome of the identity call; the sequence number when it proves the key."""
        note = seen.note
        if note is None:
            await self._append(EventName.KEY_VERIFIED, Outcome.FAILED, reason=seen.failure)
            return None
        seq = await self._append(
            EventName.KEY_VERIFIED, Outcome.OK if note.verified else Outcome.FAILED, verification=note.status.value,
            endpoint=note.endpoint, latency_ms=note.latency_ms, attempts=note.attempts, http_status=note.http_status,
            account_hash=note.account_hash,
        )  # fmt: skip
        return seq if note.verified else None

    async def leak(self, count: LeakCount | None, verdict: LeakVerdict) -> int | None:
        """Record the leak check; the sequence number when it passed."""
        if count is None:
            return None
        passed = verdict is LeakVerdict.PASS
        seq = await self._append(EventName.KEY_LEAK_CHECKED, Outcome.OK if passed else Outcome.FAILED, **fields(count))
        return seq if passed else None

    async def not_verified(self, seen: _Seen) -> str:
        """Close a run whose key was not verified: failed for good, or as it was when nobody could tell."""
        note = seen.note
        serves = _serves(self._task, self.ref)
        waits = _SERVES_ON if serves else _WAITS if self.candidate else _UNTOLD
        refused = note is not None and note.status is OutcomeStatus.EXCHANGE_REFUSED and serves
        if note is not None and not (note.again or note.status in waits or (refused and not seen.clear)):
            await self.mark(Verification.FAILED)
        if refused:
            await self.alarm("exchange_refused")
        if note is not None and note.alert:
            await self.alarm(f"key_{note.status}")
            if note.status is OutcomeStatus.LEAKED and not self.candidate:
                await incidents.opened(
                    self._tx, self._app, self.actor, IncidentKind.SUSPECTED_LEAK, client_id=self.ref.client_id,
                    source=IncidentSource.PROVIDER, object_kind="key", object_id=self.ref.id,
                )  # fmt: skip
        return await self.fail(note.status.value if note is not None else seen.failure)

    async def mark(self, verification: Verification) -> None:
        """Set what is known of the pinned version; a candidate that is not verified is dropped instead."""
        if self.candidate:
            await self._tx.one(refs.ref_from, "ref_drop_candidate", **self._place)
        else:
            await self._tx.one(refs.ref_from, "ref_set_verification", **self._place, verification=verification.value)

    async def alarm(self, reason: str, severity: Severity = "critical") -> None:
        """Raise an alert about the reference."""
        await open_alert(
            self._tx, self._app, self.actor, reason=reason, severity=severity, client_id=self.ref.client_id,
            object_id=self.ref.id,
        )  # fmt: skip

    async def fail(self, reason: str) -> str:
        """End the run without success."""
        await self._append(EventName.KEY_ONBOARDING_FAILED, Outcome.FAILED, reason=reason)
        await self._tx.one(SopRun, "sop_fail", client_id=self.run.client_id, id=self.run.id, reason=reason)
        return reason

    async def complete(self, run: SopRun) -> str:
        """End the run with success when its records prove it, else leave it open."""
        if not await ready(self._tx, run, {}):
            await self.alarm("evidence_missing")
            return "evidence_missing"
        if self.candidate and await rotation.in_flight(self._tx, self.ref.client_id, self.ref.id) is None:
            # A value that an earlier release left waiting, without a rotation.
            await self._tx.one(refs.ref_from, "ref_pin_candidate", **self._place)
            await self._append(EventName.KEY_PINNED, Outcome.OK, from_version=self.ref.version)
        seq = await self._append(EventName.KEY_ONBOARDED, Outcome.OK)
        await proved(self._tx, run, {DONE: seq}, complete=True)
        return "complete"

    async def _append(self, name: EventName, outcome: Outcome, **fields: Said) -> int:
        receipt = await record(
            self._tx, self.actor, name, fields, outcome=outcome, client_id=self.ref.client_id, object_id=self.ref.id,
            provider=self.ref.provider.value, version=self._task.version, sop=str(self.run.id),
            job=str(self._task.job_id),
        )  # fmt: skip
        return receipt.seq


def _serves(task: Task, ref: CredentialRef) -> bool:
    return task.version == ref.version and ref.verification is Verification.VERIFIED


def _belongs(task: Task, run: SopRun, ref: CredentialRef) -> bool:
    return (
        run.client_id == ref.client_id == task.client_id
        and run.object_id == ref.id == task.ref_id
        and run.version == task.version
    )
