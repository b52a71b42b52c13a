"""Jobs: the server-issued context in which secrets may be used (R4.1-2); and what expires.

Rules
- A job is for one client, one runner, and what it declares. It may not have what it does not declare (R4.1-4).
- A job ends once: closed, expired or killed. Nothing reopens it.
- Only a use job may name effects.
- Expiry is enforced by time wherever a job is read; :func:`expire` only records what has already happened (R4.1-3).
- A permit that nobody closed is *unknown*, never done and never failed: a person looks.

It may not hand out access: that is :mod:`byokeep.jobs.lease`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeVar
from uuid import UUID

from byokeep.core.errors import ByokeepError, Conflict, NotFound, Rejected, Unavailable
from byokeep.core.events import EventName, Outcome
from byokeep.core.model import (
    MACHINE_ROLES,
    PLATFORMS,
    PROFILE,
    Actor,
    ClientId,
    DeclaredJob,
    EffectKind,
    Lane,
    LeaseKind,
    Provider,
    Role,
)
from byokeep.core.plain_text import check_reason
from byokeep.core.policy import Verb, authorise
from byokeep.core.reenable import EffectResult
from byokeep.jobs.reenabling import ended as canary_ended
from byokeep.kernel.app import App
from byokeep.kernel.command import authorise_for, client_for, open_alert, record, remember
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row
from byokeep.tenancy.scopes import client_scopes, hold_open, require_open

C = TypeVar("C")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What is asked for. :func:`check_spec` checks its words.

    Attributes:
        client_id: The client.
        runner_id: The machine that will do it; ``None`` = the longest-standing custodian (only custody).
        kind: ``use`` or ``custody``.
        secrets: Providers whose secret may be read; ``profile`` = the browser profiles of the declared platforms'
            accounts.
        platforms, lanes, effects: Where and how it may act.
        ttl_s: Life in seconds; ``None`` = the default.
    """

    client_id: ClientId
    runner_id: UUID | None
    kind: LeaseKind
    secrets: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    lanes: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    ttl_s: int | None = None


MAX_JOBS: Final = 100
_KNOWN: Final = {
    "secrets": frozenset(Provider) | {PROFILE},
    "platforms": PLATFORMS,
    "lanes": frozenset(Lane),
    "effects": frozenset(EffectKind),
}


def check_spec(app: App, spec: JobSpec) -> None:
    """Refuse a job that nobody can mean.

    Raises:
        Rejected: ``unknown_name``, ``repeated_name``, ``custody_has_no_effects``, ``nothing_declared``,
            ``profile_without_lane``, ``bad_ttl``, ``runner_missing``.
    """
    for field, known in _KNOWN.items():
        words: tuple[str, ...] = getattr(spec, field)
        if len(set(words)) != len(words):
            raise Rejected("repeated_name", next_step="List each thing only once.", field=field)
        if not set(words) <= known:
            raise Rejected("unknown_name", next_step="Use only the published names.", field=field)
    if not spec.secrets and not spec.effects:
        raise Rejected("nothing_declared", next_step="Declare the secrets the job needs.")
    if spec.kind is LeaseKind.CUSTODY and (spec.effects or spec.platforms or spec.lanes):
        raise Rejected("custody_has_no_effects", next_step="Declare only secrets: this is a custody job.")
    if spec.kind is LeaseKind.USE:
        _check_use(spec)
    if spec.ttl_s is not None and not 1 <= spec.ttl_s <= app.limits.job_ttl_max_s:
        raise Rejected("bad_ttl", next_step="Give 1 second up to the longest allowed.", max_s=app.limits.job_ttl_max_s)


def _check_use(spec: JobSpec) -> None:
    if PROFILE in spec.secrets and (Lane.BROWSER not in spec.lanes or not spec.platforms):
        raise Rejected("profile_without_lane", next_step="Declare the lane `browser` and the profile's platforms.")
    if spec.runner_id is None:
        raise Rejected("runner_missing", next_step="Name the runner that will do the job.")


async def open_job(tx: Tx, app: App, actor: Actor, spec: JobSpec, **of: str) -> DeclaredJob:
    """Open a job in the caller's transaction; the caller checks the switches.

    The system's own jobs (verification) have no dispatcher, so their custodian is in that column. The audit record
    names the real opener, and has ``of`` as more fields.

    Raises:
        Rejected: As :func:`check_spec`, or ``unknown_runner``.
        Denied: ``not_permitted``.
        NotFound: The client is not one of the actor's.
        Conflict: ``client_not_active``.
    """
    authorise(actor, Verb.JOB_OPEN, client_id=spec.client_id)
    check_spec(app, spec)
    role = Role.RUNNER if spec.kind is LeaseKind.USE else Role.CUSTODIAN
    asked = {"client_id": spec.client_id, "scopes": client_scopes(spec.client_id)}
    facts = await tx.maybe(dict, "job_open_facts", **asked, installation_id=app.installation_id)
    if facts is None:
        raise NotFound("not_found")
    if facts["client_state"] != "active":
        raise Conflict("client_not_active", next_step="An admin must first enrol or resume the client.")
    if Role.SYSTEM not in actor.roles:
        require_open(facts)
    runner_id = await tx.maybe(UUID, "job_runner", role=role.value, runner_id=spec.runner_id, client_id=spec.client_id)
    if runner_id is None:
        raise Rejected("unknown_runner", next_step=f"Give an active {role.value} that is assigned to this client.")
    job = await tx.one(
        DeclaredJob, "job_insert", id=app.ids.uuid(), client_id=spec.client_id, runner_id=runner_id,
        kind=spec.kind.value, dispatcher_id=runner_id if Role.SYSTEM in actor.roles else actor.id, state="open",
        ttl_s=spec.ttl_s or app.limits.job_ttl_default_s, reason="",
        **{field: sorted(getattr(spec, field)) for field in _KNOWN},
    )  # fmt: skip
    lists = {field: ",".join(getattr(job, field)) for field in _KNOWN if getattr(job, field)}
    ends = job.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    await _say(tx, EventName.JOB_OPENED, actor, job, expires_at=ends, **lists, **of)
    return job


async def open_custody(
    tx: Tx, app: App, client_id: ClientId, secret: str, request_id: UUID | None = None, *, ttl_s: int | None = None
) -> UUID:
    """Open the job under which our own workers look after one secret of a client, and end it; returns its id.

    Raises:
        Unavailable: ``no_custodian``. As :func:`open_job` otherwise.
    """
    spec = JobSpec(client_id=client_id, runner_id=None, kind=LeaseKind.CUSTODY, secrets=(str(secret),), ttl_s=ttl_s)
    try:
        return (await open_job(tx, app, app.system(request_id), spec)).id
    except Rejected as error:
        if error.code != "unknown_runner":
            raise
    raise Unavailable("no_custodian", next_step="Create a custodian machine, and start the worker with its token.")


@asynccontextmanager
async def in_custody(
    app: App, opened: Callable[[UUID], AbstractAsyncContextManager[C]], close: Callable[[UUID], Awaitable[None]],
    client_id: ClientId, secret: str, request_id: UUID | None = None,
) -> AsyncIterator[C]:  # fmt: skip
    """Hold custody of one secret of a client, under a job of its own that ends with it; one that stays open expires.

    Args:
        opened: Holds a custody lease of a job, as the custodian to whom it is given.
        close: Ends a job as that custodian.

    Raises:
        As :func:`open_custody`, and as ``opened``.
    """
    async with app.db.begin(client_id=client_id) as tx:
        job_id = await open_custody(tx, app, client_id, secret, request_id)
    try:
        async with opened(job_id) as custody:
            yield custody
    finally:
        with suppress(ByokeepError):
            await close(job_id)


async def dispatch(app: App, actor: Actor, spec: JobSpec) -> DeclaredJob:
    """Open a job for a dispatcher, unless a kill switch is engaged.

    Raises:
        Denied: ``switch_closed``, ``switch_unknown``, and as :func:`open_job`.
    """
    authorise(actor, Verb.JOB_OPEN, client_id=spec.client_id)
    async with app.db.begin(client_id=spec.client_id) as tx:
        await hold_open(tx, client_scopes(spec.client_id))
        job = await open_job(tx, app, actor, spec)
    remember(app, job.id, job.client_id)
    return job


async def read_job(app: App, actor: Actor, job_id: UUID) -> DeclaredJob:
    """Return a job to its dispatcher, its runner, or a person who may look.

    Raises:
        NotFound: There is no such job, or it is not the actor's.
    """
    async with _mine(app, actor, Verb.JOB_READ, job_id) as (_, job):
        return job


async def list_jobs(app: App, actor: Actor, client_id: ClientId) -> list[DeclaredJob]:
    """Return a client's newest jobs, at most ``MAX_JOBS`` of each kind; for a machine, those that it opened or runs.

    Raises:
        Denied: ``not_permitted``.
        NotFound: The client is not one of the actor's.
    """
    await authorise_for(app, actor, Verb.JOB_READ, client_id)
    machine = actor.id if actor.roles & MACHINE_ROLES else None
    async with app.db.begin(client_id=client_id) as tx:
        return await tx.all(DeclaredJob, "jobs_newest", client_id=client_id, machine=machine, limit=MAX_JOBS)


async def close_job(app: App, actor: Actor, job_id: UUID) -> DeclaredJob:
    """End a job; closing an ended job changes nothing and returns it as it is.

    Raises:
        NotFound: There is no such job, or it is not the actor's.
    """
    async with _mine(app, actor, Verb.JOB_CLOSE, job_id) as (tx, job):
        closed = await tx.maybe(DeclaredJob, "job_close", id=job_id, client_id=job.client_id)
        if closed is None:
            return await tx.one(DeclaredJob, "job_read", id=job_id, client_id=job.client_id)
        await _say(tx, EventName.JOB_CLOSED, actor, closed)
    return closed


async def report_blocked(app: App, actor: Actor, job_id: UUID, reason: str) -> None:
    """Tell people that a job could not go on: the broker did not fail, so only the runner knows (R1.5-1).

    Jobs of one client that one cause blocks share one alert with a count; it names the first of them.

    Args:
        reason: The runner's error code.

    Raises:
        NotFound: There is no such job, or it is not the actor's.
        Rejected: As :func:`byokeep.core.plain_text.check_reason`.
    """
    check_reason(reason, example="store_unreachable")
    async with _mine(app, actor, Verb.JOB_CLOSE, job_id) as (tx, job):
        await open_alert(
            tx, app, actor, reason=f"blocked_{reason}", severity="warning", client_id=job.client_id, object_id=job_id,
            key=f"blocked_{reason}:{job.client_id}",
        )  # fmt: skip


@asynccontextmanager
async def _mine(app: App, actor: Actor, verb: Verb, job_id: UUID) -> AsyncIterator[tuple[Tx, DeclaredJob]]:
    """Begin with a job. One that a machine neither opened nor runs answers like one that does not exist (S-VAULT-7)."""
    client_id = await client_for(app, actor, verb, "job", job_id)
    async with app.db.begin(client_id=client_id) as tx:
        job = await tx.one(DeclaredJob, "job_read", id=job_id, client_id=client_id)
        if actor.roles & MACHINE_ROLES and actor.id not in (job.dispatcher_id, job.runner_id):
            raise NotFound("not_found")
        yield tx, job


async def _say(tx: Tx, name: EventName, actor: Actor, job: DeclaredJob, **fields: str) -> None:
    about = {"kind": job.kind.value, "runner": str(job.runner_id), **fields}
    await record(tx, actor, name, about, client_id=job.client_id, object_id=job.id)


def _pair(row: Row) -> tuple[UUID, UUID]:
    return row["id"], row["client_id"]


async def expire(app: App) -> tuple[int, int]:
    """Record what has expired, at most 500 of each at a time; returns (jobs expired, permits unknown).

    Raises:
        Unavailable: The database; nothing is lost, and the next run continues.
    """
    async with app.db.begin(every_client=True) as tx:
        jobs = await tx.all(_pair, "job_expired")
        permits = await tx.all(_pair, "permit_overdue")
    actor = app.system()
    ended = unknown = 0
    for job_id, client_id in jobs:
        async with app.db.begin(client_id=client_id) as tx:
            if await tx.maybe(UUID, "job_expire", client_id=client_id, id=job_id) is None:
                continue
            await record(tx, actor, EventName.JOB_EXPIRED, client_id=client_id, object_id=job_id)
            ended += 1
    for permit_id, client_id in permits:
        async with app.db.begin(client_id=client_id) as tx:
            row = await tx.maybe(dict, "permit_unknown", client_id=client_id, id=permit_id)
            if row is None:
                continue
            if row["way"] is not None:  # nobody knows how a canary's act ended, which closes the platform again
                told = EffectResult(ok=None, way=row["way"], number=row["stage"])
                await canary_ended(tx, app, actor, client_id, row["platform"], told)
            await open_alert(
                tx, app, actor, reason="permit_unknown", severity="warning", client_id=client_id, object_id=permit_id
            )
            await record(
                tx, actor, EventName.PERMIT_UNKNOWN, outcome=Outcome.FAILED, client_id=client_id, object_id=permit_id,
                job=str(row["job_id"]), lease=str(row["lease_id"]),
            )  # fmt: skip
            unknown += 1
    return ended, unknown
