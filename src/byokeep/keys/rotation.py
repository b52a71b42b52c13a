"""Rotation of a provider's key (runbook 6.2): a new version beside the one that serves, until its cutover is proved.

Rules
- One rotation of a reference at a time: the database decides. The reference keeps its id.
- Until the cutover the current version serves, whatever becomes of the new one. A value that is refused, or cannot be
  checked, changes nothing; a pasted value in the place of one that is not verified yet belongs to the same run.
- The new version is of the same account, as far as the provider tells; another's stops the run until a person accepts.
- Where a step has no proof of its own (no rehearsal, no measurement, a key that only a person can revoke) the run stops
  and says so, until a person accepts that by its name, on record. Not measured is not passed.
- Before it one to three dry runs pass (:mod:`byokeep.jobs.dry_runs`). Where no job template calls with the key there
  is nothing to run, and a person accepts that; where there is one, nobody does.
- The old version ends last (:mod:`byokeep.keys.old_version`).
- Both versions live for a bounded time (:data:`DUAL_PERIOD`): past it the key is overdue, with an alert. Nothing is cut
  over or dropped because of that.
- Until its revocation begins a rollback pins the old version again, if the provider says that it is alive.
- What serves is never revoked or destroyed: neither this reference's own version nor a value that another one has, too.
- A key that leaked is served to nobody before anything else happens; the jobs that declared it end, and so does a
  rotation in flight. Where a new key ends the old one at once, it is paused while there is none, and the gap is on
  record. Paused is the key's state: a kill switch would stop our own look at it too, and takes two people to release.
- What its steps, and a rollback, do in a worker stands apart (:mod:`byokeep.keys.rotation_steps`).

It may not see a value: the worker's custody does, for the length of one call.
"""

from __future__ import annotations

import hmac
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import NAMESPACE_OID, UUID, uuid5

from byokeep.core.errors import Conflict, NotFound, Rejected
from byokeep.core.events import EventName
from byokeep.core.incident import IncidentKind, IncidentSource
from byokeep.core.keystate import KeyState
from byokeep.core.model import Actor, ClientId, CredentialRef, Provider, SecretKind
from byokeep.core.policy import Verb, require_proof
from byokeep.core.procedure import Run
from byokeep.core.ref import SecretRef
from byokeep.kernel import incidents, procedures
from byokeep.kernel.app import App, WebApp
from byokeep.kernel.command import command, open_alert, permit, record, recorded
from byokeep.kernel.ports import OutcomeStatus, Tx
from byokeep.kernel.procedures import RunStatus
from byokeep.kernel.sops import SopRun
from byokeep.keys.administration import REFUSED, admin_of, say
from byokeep.keys.refs import LEAK_SUSPECTED, end_jobs, get_ref, move, ref_from

GRACE_S: Final = {"now": 0, "1h": 3600, "24h": 86_400}  # how long the old version stays good after the cutover
POLICY: Final = "24h"
PAUSE: Final = "rotation_pause"
STAYS_ALIVE: Final = "stays_alive"  # of a key that serves nobody: its owner keeps it
VALUE_GONE: Final = "old_value_gone"  # so that no call can ever prove that the key is dead
# What a run stops for until a person accepts it by this name.
ACCEPTABLE: Final = frozenset({
    "other_account", "not_rehearsed", "soak_unknown", "revoke_by_hand", STAYS_ALIVE, VALUE_GONE
})  # fmt: skip
ASKS: Final = ACCEPTABLE | {"old_key_alive"}  # a person is needed, and nothing went wrong
_SERVING: Final = ("active", "verified")
OVER: Final = (KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED)  # no version of it serves again
DEAD: Final = frozenset({OutcomeStatus.INVALID_KEY, OutcomeStatus.DISABLED})
ROTATE: Final = "rotate_key"
MINTED: Final = "rotate_key_minted"
CUTOVER: Final = "rotate_key_cutover"
UNUSED: Final = "end_unused_key"
LEAKED: Final = "rotate_key_leaked"
DUAL_PERIOD: Final = timedelta(days=7)  # how long an old and a new version may live side by side
ALIVE: Final = frozenset({
    OutcomeStatus.VERIFIED, OutcomeStatus.VERIFIED_NO_QUOTA, OutcomeStatus.NO_CREDIT, OutcomeStatus.RESTRICTED_BUT_LIVE,
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRotation(Run):
    """A run. ``object_id``: the reference. ``version``: the new one, 0 = none yet; ``from_version``: the old one."""

    client_id: ClientId

    @property
    def provider(self) -> Provider:
        """Whose key it is."""
        return Provider(self.facts["provider"])

    @property
    def mode(self) -> str:
        """How the provider's keys are rotated."""
        return str(self.facts["mode"])

    @property
    def version(self) -> int:
        """The new version."""
        return int(self.facts.get("version", 0))

    @property
    def from_version(self) -> int:
        """The version that served when it began."""
        return int(self.facts["from_version"])

    @property
    def old(self) -> tuple[int, ...]:
        """The versions that it ends: after an emergency also one that a rotation before it had left alive."""
        also = int(self.facts.get("also_version", 0))
        return (self.from_version, also) if also else (self.from_version,)

    @property
    def pauses(self) -> bool:
        """Whether the key is suspended until it has another one to serve."""
        return self.procedure in (LEAKED, CUTOVER) and "serve" not in self.evidence

    @property
    def overlaps(self) -> bool:
        """Whether it has cut over and still has the old version to end."""
        return "cutover" in self.evidence and self.state != "undoing" and self.procedure != LEAKED

    @property
    def gap_s(self) -> int | None:
        """For how many seconds the key was served to nobody; None: it never was, or it lasts."""
        return int(self.facts["took_s"]) if "stopped_at" in self.facts and "took_s" in self.facts else None

    @property
    def place(self) -> SecretRef:
        """Where the versions lie."""
        return SecretRef(self.client_id, self.provider)

    @property
    def at(self) -> dict[str, Any]:
        """Its reference, for a statement."""
        return {"client_id": self.client_id, "id": self.object_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationRequest:
    """How to rotate.

    Attributes:
        grace: When the old version ends after the cutover, a name of :data:`GRACE_S`; ``policy`` = as usual.
        skip_rehearsal: No dry run of the new version comes before the cutover.
        mint: A worker makes the new key at the provider, with the client's administrator key; where the provider has
            no call for it, it is a person's task with a date.
        leaked: The key is served to nobody from now on and revoked at once; the new one comes after. Where a keyless
            one serves already, its rotation ends the stored one at once.
    """

    grace: str | None = None
    skip_rehearsal: bool = False
    mint: bool = False
    leaked: bool = False

    def facts(self) -> dict[str, int]:
        """Return what the steps go by. Raises Rejected(``unknown_grace``)."""
        if self.grace not in (None, "policy", *GRACE_S):
            raise Rejected("unknown_grace", next_step="Use one of: now, 1h, 24h, policy.")
        chosen = {} if self.grace is None else {"grace_s": GRACE_S.get(self.grace, GRACE_S[POLICY])}
        return chosen | ({"skip_rehearsal": 1} if self.skip_rehearsal else {})


async def start(app: WebApp, actor: Actor, ref_id: UUID, wish: RotationRequest) -> RunStatus:
    """Begin a rotation of a reference; its new value comes next.

    Raises:
        Denied, NotFound: As :func:`byokeep.keys.refs.get_ref`.
        Rejected: ``unknown_grace``; ``not_a_provider_key``; ``serves_keyless``: it has none; ``nothing_serves``: the
            key is not in use, so that there is nothing to keep alive; ``cannot_mint``: the provider has no call for
            it, or there is no administrator's key, or one that is known to be refused; none of it if it leaked.
        Unauthenticated: ``step_up_required``, unless the key leaked.
        Conflict: ``rotation_in_flight``.
    """
    ref = await get_ref(app, actor, ref_id, Verb.KEY_WRITE)
    async with command(
        app, actor, Verb.KEY_WRITE, client_id=ref.client_id, object_id=ref_id, refused_as=EventName.KEY_ROTATION,
        on_client=True,
    ) as tx:  # fmt: skip
        if not wish.leaked:  # stopping never asks
            require_proof(actor)
        facts = wish.facts()
        await tx.all(None, "ref_lock", client_id=ref.client_id, provider=ref.provider.value)
        ref = await tx.one(ref_from, "ref_lock_row", client_id=ref.client_id, id=ref_id)
        if (ref.kind, ref.purpose) != (SecretKind.PROVIDER_API_KEY, "default"):
            step = "A key of another kind has its own command: `byokeep key admin` or `byokeep account webhook set`."
            raise Rejected("not_a_provider_key", next_step=step, kind=ref.kind.value)
        open_ = await in_flight(tx, ref.client_id, ref_id)
        if wish.leaked and ref.provider_place and open_ is not None and open_.overlaps:
            run: Run = await _end_at_once(tx, app, actor, ref, open_)
        else:
            run = await _start(tx, app, actor, ref, wish, facts, open_)
    await procedures.wake(app, run)
    return await procedures.status(app, actor, run.id)


async def _start(
    tx: Tx, app: App, actor: Actor, ref: CredentialRef, wish: RotationRequest, facts: dict[str, int],
    open_: KeyRotation | None,
) -> KeyRotation:  # fmt: skip
    refuse_keyless(ref, *KeyState)
    live = wish.leaked and ref.state in (KeyState.ACTIVE, KeyState.SUSPENDED)  # whatever is known of it
    if (ref.state, ref.verification) != _SERVING and not live:
        step = f"Add a key: `byokeep key add {ref.client_id} {ref.provider}`."
        raise Rejected("nothing_serves", next_step=step, state=ref.state)
    ended = None
    if wish.leaked:
        ended = await end_jobs(tx, ref, LEAK_SUSPECTED)
        paused = open_ is not None and open_.pauses
        facts |= {"was_suspended": int(ref.state == KeyState.SUSPENDED and not paused)}
        facts |= await _pre_empt(tx, app, actor, ref, open_)
    elif open_ is not None:
        raise taken(open_)
    stops = app.limits.rotation_modes.get(ref.provider.value) == "cutover"
    # Where a provider has no call for it, a person makes the key by a date; nobody's key is paused unasked.
    mints = wish.mint and (stops or "mint" in app.limits.rotation_acts.get(ref.provider.value, ()))
    if mints and not wish.leaked:  # one that leaked is stopped whatever comes after
        await _may_mint(tx, app, ref)
    usual = CUTOVER if stops else ROTATE
    run = await _begin(tx, app, actor, ref, facts, LEAKED if wish.leaked else MINTED if mints else usual)
    if wish.skip_rehearsal:
        await _accept(tx, actor, run, "not_rehearsed")
    if run.procedure in (LEAKED, CUTOVER):
        await _stop(tx, app, actor, ref, run, ended)
    return run


async def _end_at_once(tx: Tx, app: App, actor: Actor, ref: CredentialRef, run: KeyRotation) -> Run:
    """A stored key leaked whose keyless successor serves: its rotation ends it now, whoever holds it, and serves on."""
    ended = await end_jobs(tx, ref, LEAK_SUSPECTED, given=True, until=await pinned_at(tx, run))
    await _leak_told(tx, app, actor, ref)
    return await end_old_now(tx, app, actor, run, ended)


async def end_old_now(tx: Tx, app: App, actor: Actor, run: KeyRotation, ended: int | None = None) -> Run:
    """Have a rotation that has cut over end the old version at once: it leaked, and ``ended`` jobs that held it."""
    await say(tx, actor, run, "leaked", version=run.from_version, count=ended)
    return await procedures.revive(tx, actor, app.procedures[run.procedure], run, grace_s=0, leaked=1)


async def _pre_empt(tx: Tx, app: App, actor: Actor, ref: CredentialRef, run: KeyRotation | None) -> dict[str, int]:
    """End a rotation in flight as it stands: the emergency takes over, also the old version that it has not ended."""
    if run is None:
        return {}
    if run.procedure == LEAKED:
        raise taken(run)
    if ref.candidate is not None:
        await tx.maybe(ref_from, "ref_drop_candidate", **run.at, version=ref.candidate)
    await procedures.end(tx, actor, app.procedures[run.procedure], run, reason="pre_empted")
    if (new := ref.candidate or run.version) != ref.version:
        await left_alive(tx, app, actor, run, new)
    minted = {"minted_before": 1} if run.procedure == MINTED else {}
    both = "cutover" in run.evidence and run.from_version != ref.version
    return minted | ({"also_version": run.from_version} if both else {})


def unused_id(of: UUID, version: int) -> UUID:
    """Return the id of the run that ends a version which a rotation, or an incident, gave up: there is one."""
    return uuid5(NAMESPACE_OID, f"{UNUSED}/{of}/{version}")


async def left_alive(
    tx: Tx, app: App, actor: Actor, run: KeyRotation, version: int, *, alive: bool = False
) -> Run | None:
    """Begin the end of a new version that a run gave up, unless it is keyless or refused.

    Else its value would be destroyed with the old one, and the key live on at its provider.

    Args:
        alive: The provider did not refuse it just now, whatever its verification came to.
    """
    at = {"client_id": run.client_id, "ref_id": run.object_id}
    sop = await tx.maybe(SopRun, "sop_of_version", **at, version=version)
    refused = sop is not None and sop.state == "failed" and sop.reason in {one.value for one in DEAD}
    if (refused and not alive) or version in (0, *run.old):
        return None
    if await tx.all(int, "rotation_keyless", **at, version=version):
        return None
    facts = {"rotation": str(run.id), "pinned_at": stamp(app.clock.now())}  # whoever was given it may hold it
    where = run.client_id, run.object_id, run.provider.value
    return await end_unused(tx, app, actor, run.id, *where, version, facts=facts)


async def replaced(tx: Tx, app: App, actor: Actor, ref: CredentialRef, by: UUID) -> None:
    """Begin the end of a known key in whose place another value came while it served nobody: it may be alive.

    Args:
        ref: As it was; nobody keeps alive what was seen in a log.
        by: The onboarding of the other value.
    """
    if ref.verification not in ("verified", "quarantined") or ref.provider_place:
        return
    facts = {"pinned_at": stamp(app.clock.now())} | ({"rotation": str(by)} if ref.verification == "verified" else {})
    at = ref.client_id, ref.id, ref.provider.value, ref.version
    await end_unused(tx, app, actor, by, *at, facts=facts)


async def end_unused(
    tx: Tx, app: App, actor: Actor, given_up: UUID, client_id: ClientId, ref_id: UUID, provider: str, version: int, *,
    facts: dict[str, Any],
) -> Run:  # fmt: skip
    """Begin the run that ends a version which serves nobody, with the alert that it may be alive, or return it.

    Args:
        given_up: The rotation, onboarding or incident that gave the version up.
    """
    about = unused_id(given_up, version)
    known: Run | None = await tx.maybe(Run, "procedure_get", id=about)
    if known is not None:
        return known
    mode = app.limits.rotation_modes.get(provider, "manual")
    begun: Run = await procedures.insert_run(
        tx, app, actor, app.procedures[UNUSED], client_id=client_id, object_id=ref_id, run_id=about,
        facts={"provider": provider, "mode": mode, "from_version": version, **facts},
    )  # fmt: skip
    await say(tx, actor, of(begun), "left_alive", version=version)
    reason = "unused_key_alive"
    await open_alert(tx, app, actor, reason=reason, severity="warning", client_id=client_id, object_id=ref_id)
    return begun


async def _stop(tx: Tx, app: App, actor: Actor, ref: CredentialRef, run: KeyRotation, ended: int | None) -> None:
    """Serve a key to nobody, until its rotation has another one; ``ended``: how many jobs that held it were ended."""
    if ref.state == KeyState.ACTIVE:
        reason = LEAK_SUSPECTED if run.procedure == LEAKED else PAUSE
        await move(tx, app, actor, ref, to=KeyState.SUSPENDED, reason=reason)
    if run.procedure == LEAKED:
        await _leak_told(tx, app, actor, ref)
    procedure = app.procedures[run.procedure]
    said: dict[str, int | str] = {} if ended is None else {"count": ended}
    said |= {"provider": ref.provider.value, "from_version": ref.version, "stopped_at": stamp(app.clock.now())}
    await procedures.passed(tx, actor, procedure, run, procedure.step("stop"), said)


async def _leak_told(tx: Tx, app: App, actor: Actor, ref: CredentialRef) -> None:
    await open_alert(tx, app, actor, reason="key_leak_suspected", client_id=ref.client_id, object_id=ref.id)
    await incidents.opened(
        tx, app, actor, IncidentKind.SUSPECTED_LEAK, client_id=ref.client_id, source=IncidentSource.PERSON,
        object_kind="key", object_id=ref.id,
    )  # fmt: skip


async def _may_mint(tx: Tx, app: App, ref: CredentialRef) -> None:
    able = "mint" in app.limits.rotation_acts.get(ref.provider.value, ())
    admin = await admin_of(tx, ref.client_id, ref.provider)
    if not able or admin is None:
        step = f"Add the new key: `byokeep key add {ref.client_id} {ref.provider} < key.txt`"
        add = f"; or first give the administrator key: `byokeep key admin {ref.client_id} {ref.provider}`."
        raise Rejected("cannot_mint", next_step=step + (add if able else "."))
    known = await tx.all(UUID, "rotation_admin_refused", client_id=ref.client_id, id=admin.id, reason=REFUSED)
    if known:
        give = f"`byokeep key admin {ref.client_id} {ref.provider}`"
        step = f"The provider refuses the administrator key. Give another one: {give}. If it works again:"
        raise Rejected("cannot_mint", next_step=f"{step} `byokeep alert close {known[0]}`.")


async def in_flight(tx: Tx, client_id: ClientId, ref_id: UUID) -> KeyRotation | None:
    """Return the rotation of a reference that is not over, held until the transaction ends."""
    return await tx.maybe(KeyRotation, "rotation_open", client_id=client_id, ref_id=ref_id)


def taken(run: KeyRotation) -> Conflict:
    """Return the refusal to begin beside a rotation that is not over."""
    step = f"See it: `byokeep rotate status {run.id}`; go on with it, or end it with `byokeep rotate abort` (before the"
    return Conflict("rotation_in_flight", next_step=f"{step} cutover) or `rollback` (after it).", run=run.id)


def takes_key(app: App, run: KeyRotation) -> bool:
    """Whether a run that is not over lets a value come in beside the current one."""
    step = app.procedures[run.procedure].next(run)
    early = step is not None and step.name in ("create", "verify")
    return early and run.state != "undoing" and run.procedure != MINTED


async def admit(tx: Tx, app: App, ref: CredentialRef) -> None:
    """Let a value come in beside the current one, before it is written. Raises Conflict(``rotation_in_flight``)."""
    run = await in_flight(tx, ref.client_id, ref.id)
    if run is not None and run.reason == "revoke_by_hand" and run.procedure == LEAKED:
        first = f"End the leaked key first, at its provider, and record it: {look(run.id)}."
        raise Conflict("rotation_in_flight", next_step=first, run=run.id)
    if run is not None and not takes_key(app, run):
        raise taken(run)


def refuse_keyless(ref: CredentialRef, *states: KeyState) -> None:
    """Refuse to rotate what has no key, in these states. Raises Rejected(``serves_keyless``)."""
    if ref.provider_place and ref.kind is SecretKind.PROVIDER_API_KEY and ref.state in states:
        step = "It is keyless, so there is no stored key to rotate. To replace it, first"
        step = f"{step} `byokeep key state {ref.id} suspended --reason CODE`."
        raise Rejected("serves_keyless", next_step=step)


async def refuse_unchanged(tx: Tx, ref: CredentialRef, fingerprint: str) -> None:
    """Refuse the value that is in use as its own successor, and one that its rotation ends. Raises Rejected.

    A value that was refused, or that nobody could check, may be tried again.
    """
    run = await in_flight(tx, ref.client_id, ref.id)
    ended = () if run is None else run.old
    known = (ref.version, *ended) if ended or ref.verification in ("verified", "quarantined") else ()
    for version in known:
        same = await tx.maybe(str, "fingerprint_get", ref_id=ref.id, version=version)
        if hmac.compare_digest(same or "", fingerprint):
            step = "This is the key in use, or one that its rotation ends. Have the provider make another one."
            raise Rejected("unchanged", next_step=step, version=version)


async def offered(tx: Tx, app: App, actor: Actor, ref: CredentialRef, facts: dict[str, int]) -> UUID:
    """Put on record that a value waits beside the current one: step *create* of the rotation.

    Returns:
        The rotation's id.
    """
    run = await in_flight(tx, ref.client_id, ref.id) or await _begin(tx, app, actor, ref, facts)
    if run.version != ref.candidate:
        await left_alive(tx, app, actor, run, run.version)
    run = replace(run, facts={**run.facts, **facts, "version": ref.candidate or 0})
    if facts.get("skip_rehearsal"):
        await _accept(tx, actor, run, "not_rehearsed")
    # What was revoked is what this run began with, whatever became of the reference since.
    before = run.from_version if "revoke" in run.evidence else ref.version
    said = {"provider": ref.provider.value, "version": ref.candidate or 0, "from_version": before}
    procedure = app.procedures[run.procedure]
    await procedures.passed(tx, actor, procedure, run, procedure.step("create"), said)
    return run.id


async def require_open(tx: Tx, run: KeyRotation) -> None:
    """See that a run still has its reference: another may have pre-empted it. Raises Conflict(``procedure_moved``)."""
    now = await in_flight(tx, run.client_id, run.object_id)
    if now is None or now.id != run.id:
        raise Conflict("procedure_moved", next_step=f"Another rotation replaced it: {look(run.id)}.", run=run.id)


async def stopped_for(tx: Tx, ref: CredentialRef | None) -> bool:
    """Whether a key is suspended because its rotation waits for another one."""
    run = None if ref is None else await in_flight(tx, ref.client_id, ref.id)
    return run is not None and run.pauses


async def look_again(tx: Tx, app: App, actor: Actor, ref: CredentialRef) -> None:
    """Let a rotation that stopped for the verification of its new version go on: it is verified once more."""
    run = await in_flight(tx, ref.client_id, ref.id)
    step = None if run is None else app.procedures[run.procedure].next(run)
    if run is not None and run.state == "failed" and step is not None and step.name in ("verify", "cutover"):
        await procedures.revive(tx, actor, app.procedures[run.procedure], run)


async def _begin(
    tx: Tx, app: App, actor: Actor, ref: CredentialRef, facts: dict[str, int], name: str = ROTATE
) -> KeyRotation:
    mode = app.limits.rotation_modes.get(ref.provider.value, "manual")
    if mode == "cutover":  # whoever has the new key has ended the old one with it: nothing may hold it up
        facts = {**facts, "grace_s": 0}
    known: dict[str, Any] = {
        "grace_s": GRACE_S[POLICY], **facts, "provider": ref.provider.value, "mode": mode, "from_version": ref.version,
        "was_risk": ref.risk.value, "was_due_at": stamp(ref.rotation_due_at), "was_created_at": stamp(ref.created_at),
        "was_created_by": str(ref.created_by), "was_expires_at": stamp(ref.expires_at) if ref.expires_at else "",
    }  # fmt: skip
    return await procedures.start_on_record(
        tx, app, actor, app.procedures[name], client_id=ref.client_id, object_id=ref.id, facts=known, shape=KeyRotation
    )


def stamp(at: datetime) -> str:
    """Return a time as facts of a run carry it."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def resume(app: WebApp, actor: Actor, run_id: UUID, *, accept: str = "") -> RunStatus:
    """Give a rotation that stopped back to the workers.

    Args:
        accept: What it stopped for, one of :data:`ACCEPTABLE`; on record with who accepts it.

    Raises:
        Denied, NotFound: As :func:`find`.
        Conflict: ``nothing_to_accept``: it did not stop for that; ``dry_run_first``: a job template calls with the
            key, so that its dry runs decide; and as :func:`byokeep.kernel.procedures.resume`.
    """
    run = await find(app, actor, run_id)
    if accept:
        async with _changing(app, actor, run), app.db.begin(client_id=run.client_id) as tx:
            run = await tx.one(KeyRotation, "procedure_get", id=run_id)
            procedure = app.procedures[run.procedure]
            step = procedure.next(run)
            if accept == "not_rehearsed" and run.reason == accept and await rehearsal_needed(tx, run):
                how = f"`byokeep job dry-run {run.client_id} TEMPLATE --rotation {run_id}`"
                raise Conflict(
                    "dry_run_first", next_step=f"Rehearse it with a registered job template: {how}.", run=run_id
                )
            # One that leaked does not stay alive by a word: its run is of no rotation that took it back.
            kept = {STAYS_ALIVE} if run.procedure == UNUSED and "rotation" in run.facts else set()
            stops_for = {run.reason} - {STAYS_ALIVE} | kept
            if accept not in stops_for & ACCEPTABLE or run.state != "failed" or step is None:
                why = run.reason if run.reason in ACCEPTABLE else "nothing that can be accepted"
                raise Conflict("nothing_to_accept", next_step=f"It waits for: {why}. See `byokeep rotate status`.")
            await _accept(tx, actor, run, accept)
            await procedures.revive(tx, actor, procedure, run)
    return await procedures.resume(app, actor, run_id)


async def _accept(tx: Tx, actor: Actor, run: KeyRotation, code: str) -> None:
    """Put on record that a person accepts what a run stops for; of its new version, once there is one."""
    await say(tx, actor, run, "accept", cause=code, version=run.version)


async def accepted(app: App, run: KeyRotation, code: str) -> bool:
    """Whether a person accepted what a run would stop for, by the record: its row cannot say it."""
    asked = {**run.at, "run": str(run.id), "cause": code, "version": run.version}
    async with app.db.begin(client_id=run.client_id) as tx:
        return bool(await tx.all(int, "rotation_accepted", **asked))


async def is_leaked(tx: Tx, run: KeyRotation) -> bool:
    """Whether a person said that the old version leaked, so that nothing is measured, waited for or taken back.

    By the record: its row cannot say it.
    """
    asked = {**run.at, "run": str(run.id), "version": run.from_version}
    return bool(await tx.all(int, "rotation_leaked", **asked))


async def abort(app: WebApp, actor: Actor, run_id: UUID) -> RunStatus:
    """End a rotation before its cutover: the new version goes, the current one never stopped serving.

    Raises:
        Denied, NotFound: As :func:`find`.
        Conflict: ``cut_over_already``; and as :func:`byokeep.kernel.procedures.abort`.
    """
    run = await find(app, actor, run_id)
    async with _changing(app, actor, run):
        if "cutover" in run.evidence:
            raise Conflict("cut_over_already", next_step=f"Roll back: `byokeep rotate rollback {run_id}`.", run=run_id)
        return await procedures.abort(app, actor, run_id)


async def rollback(app: WebApp, actor: Actor, run_id: UUID) -> RunStatus:
    """Go back to the old version after the cutover, as long as it was not revoked.

    Raises:
        Denied, NotFound: As :func:`find`.
        Conflict: ``not_cut_over``; ``procedure_goes_on``: the call to revoke the old one has begun;
            ``reference_ended``: the key was retired; and as :func:`byokeep.kernel.procedures.abort`.
    """
    run = await find(app, actor, run_id)
    async with _changing(app, actor, run):
        if "cutover" not in run.evidence:
            early = f"The old key still serves. End it: `byokeep rotate abort {run_id}`."
            raise Conflict("not_cut_over", next_step=early, run=run_id)
        return await procedures.abort(app, actor, run_id)


async def may_go_back(tx: Tx, run: KeyRotation) -> None:
    """See that an old version may serve again, if another one does: whoever ends its rotation, and by which command.

    Raises:
        Conflict: ``reference_ended``, ``procedure_goes_on``.
    """
    if "cutover" not in run.evidence:
        return
    ref = await tx.one(ref_from, "ref_get", id=run.object_id)
    if ref.state in OVER:
        over = f"The key was retired, so no version serves again. The rotation ends the old one: {look(run.id)}."
        raise Conflict("reference_ended", next_step=over, state=ref.state)
    if await is_leaked(tx, run) or await revocation_begun(tx, run):
        step = f"The old key is being ended at its provider, so the new one stays: {look(run.id)}."
        raise Conflict("procedure_goes_on", next_step=step, run=run.id)


def _changing(app: WebApp, actor: Actor, run: KeyRotation) -> AbstractAsyncContextManager[None]:
    return recorded(
        app, actor, Verb.KEY_WRITE, client_id=run.client_id, object_id=run.object_id,
        refused_as=EventName.KEY_ROTATION, on_client=True,
    )  # fmt: skip


async def find(app: App, actor: Actor, run_id: UUID, verb: Verb = Verb.KEY_WRITE) -> KeyRotation:
    """Return a rotation. Raises Denied(``not_permitted``), NotFound(``not_found``), also for another client's."""
    async with command(app, actor, verb, object_id=run_id) as tx:
        run = await tx.one(Run, "procedure_get", id=run_id)
        if not run.procedure.startswith((ROTATE, UNUSED)):
            raise NotFound("not_found")
    await permit(app, actor, verb, client_id=run.client_id)
    return of(run)


async def decided(app: App, client_id: ClientId, ref_id: UUID) -> None:
    """Let the rotation of a reference go on, if there is one: its new version was verified, or was not."""
    async with app.db.begin(client_id=client_id) as tx:
        run = await in_flight(tx, client_id, ref_id)
    if run is not None and run.state == "running":
        await procedures.wake(app, run)


def of(run: Run) -> KeyRotation:
    """Return a run as a rotation. Raises NotFound(``not_found``): it is none."""
    if run.client_id is None:
        raise NotFound("not_found")
    return KeyRotation(**{name: getattr(run, name) for name in Run.__slots__})


async def rehearsal_needed(tx: Tx, run: KeyRotation) -> bool:
    """Whether a job template calls with this key, so that nobody accepts a cutover without a dry run."""
    about = {"client_id": run.client_id, "provider": run.provider.value}
    return bool(await tx.all(str, "templates_named", **about))


async def pinned_at(tx: Tx, run: KeyRotation) -> datetime:
    """Return from when on nobody was given the old version: a worker's clock, before it cuts over, does not know."""
    on_record = await tx.maybe(datetime, "rotation_pinned_at", **run.at, version=run.version)
    return on_record or datetime.fromisoformat(run.facts["pinned_at"])


async def note_pin(tx: Tx, actor: Actor, run: KeyRotation, version: int, before: int) -> None:
    """Put on record which version leases get from now on."""
    await record(
        tx, actor, EventName.KEY_PINNED, client_id=run.client_id, object_id=run.object_id,
        provider=run.provider.value, version=version, from_version=before,
    )  # fmt: skip


async def revocation_begun(tx: Tx, run: KeyRotation) -> bool:
    """Whether a call to end the old key at its provider is on record, answered or not."""
    asked = {**run.at, "run": str(run.id), "version": run.from_version}
    return bool(await tx.all(int, "rotation_revocations", **asked))


def grace_of(run: Run) -> timedelta:
    """Return how long the old version stays good after the cutover."""
    return timedelta(seconds=int(run.facts.get("grace_s", 0)))


def look(run_id: UUID) -> str:
    """Return the command that shows a rotation."""
    return f"`byokeep rotate status {run_id}`"
