"""Dry runs: a client's regular jobs are tried with a new key before its cutover.

Rules
- A template is what a regular job declares, without its effects. Its dispatcher registers it.
- A dry run is a job of a template for one rotation. Only it is given the new version, which is verified; all other jobs
  keep the current one. It gets no permit: the gate refuses every effect.
- A version has one to three dry runs; the database counts them.
- The result of one is read from the calls that its runner reported (:mod:`byokeep.keys.rotation`).

It may not decide on a cutover.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.core.errors import Conflict, NotFound, Rejected
from byokeep.core.events import EventName
from byokeep.core.model import API_PROVIDERS, Actor, ClientId, DeclaredJob, LeaseKind
from byokeep.core.policy import Verb
from byokeep.jobs.jobs import JobSpec, check_spec, open_job
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import command, record, remember
from byokeep.tenancy.scopes import client_scopes, hold_open

MOST: Final = 3  # for one version
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,40}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTemplate:
    """What a regular job of a client declares; after ``ended_at`` rotations need no dry run of it."""

    client_id: ClientId
    name: str
    runner_id: UUID
    secrets: tuple[str, ...]
    platforms: tuple[str, ...]
    lanes: tuple[str, ...]
    set_at: datetime
    set_by: UUID
    ended_at: datetime | None

    def spec(self) -> JobSpec:
        """Return what a dry run of the template declares."""
        return JobSpec(
            client_id=self.client_id, runner_id=self.runner_id, kind=LeaseKind.USE, secrets=self.secrets,
            platforms=self.platforms, lanes=self.lanes,
        )  # fmt: skip


async def set_template(app: BrokerApp, actor: Actor, name: str, spec: JobSpec) -> JobTemplate:
    """Register a template, or replace the one of that name.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.command`.
        Rejected: ``bad_template_name``, ``template_without_key``; and as :func:`byokeep.jobs.jobs.check_spec`.
    """
    async with command(app, actor, Verb.JOB_OPEN, client_id=spec.client_id) as tx:
        if not _NAME.match(name):
            raise Rejected("bad_template_name", next_step="Use a-z, 0-9, - and _, like `daily-post`.")
        check_spec(app, spec)
        if not spec.secrets or not set(spec.secrets) <= set(API_PROVIDERS):
            raise Rejected("template_without_key", next_step="Declare the providers whose keys the job calls with.")
        lists = {field: sorted(getattr(spec, field)) for field in ("secrets", "platforms", "lanes")}
        asked = {"client_id": spec.client_id, "name": name, "runner_id": spec.runner_id, "by": actor.id}
        made = await tx.one(JobTemplate, "template_set", **asked, **lists)
        said = {field: ",".join(words) for field, words in lists.items() if words}
        await record(
            tx, actor, EventName.JOB_TEMPLATE_SET, said, client_id=spec.client_id, template=name, state="live",
            runner=str(made.runner_id),
        )  # fmt: skip
    return made


async def end_template(app: BrokerApp, actor: Actor, client_id: ClientId, name: str) -> JobTemplate:
    """End a template, so that rotations need no dry run of it. Raises as :func:`set_template`, NotFound(``not_found``).
    """
    async with command(app, actor, Verb.JOB_OPEN, client_id=client_id) as tx:
        if (ended := await tx.maybe(JobTemplate, "template_end", client_id=client_id, name=name)) is None:
            raise NotFound("not_found")
        await record(tx, actor, EventName.JOB_TEMPLATE_SET, client_id=client_id, template=name, state="ended")
    return ended


async def list_templates(app: BrokerApp, actor: Actor, client_id: ClientId) -> Sequence[JobTemplate]:
    """Return a client's live templates. Raises as :func:`byokeep.kernel.command.command`."""
    async with command(app, actor, Verb.JOB_READ, client_id=client_id) as tx:
        return await tx.all(JobTemplate, "templates_list", client_id=client_id, name="")


async def open_dry_run(app: BrokerApp, actor: Actor, client_id: ClientId, name: str, run_id: UUID) -> DeclaredJob:
    """Open a dry run of a template with the new version of a rotation's key.

    Raises:
        Denied, NotFound: As :func:`byokeep.jobs.jobs.open_job`; no such template or rotation of the client.
        Rejected: ``template_without_key``: it declares another provider's key.
        Conflict: ``not_verified``: the new version is not verified, so nobody may have it; ``not_to_rehearse``: the
            rotation is past its rehearsal; ``too_many_dry_runs``.
    """
    async with command(app, actor, Verb.JOB_OPEN, client_id=client_id, object_id=run_id) as tx:
        await hold_open(tx, client_scopes(client_id))
        found = await tx.all(JobTemplate, "templates_list", client_id=client_id, name=name)
        facts = await tx.maybe(dict, "dry_run_facts", client_id=client_id, run_id=run_id)
        if facts is None or not found:
            raise NotFound("not_found")
        look = f"See `byokeep rotate status {run_id}`."
        if facts["provider"] not in found[0].secrets:
            raise Rejected("template_without_key", next_step=f"Give a template that declares {facts['provider']}.")
        if facts["over"]:
            raise Conflict("not_to_rehearse", next_step=f"The rotation is past its rehearsal, or has ended. {look}")
        if not facts["verified"] or facts["version"] is None:
            raise Conflict("not_verified", next_step=f"The new key is not verified, so no job gets it. {look}")
        made = {"template": name, "version": facts["version"]}
        of = {"template": name, "rotation": str(run_id), "version": str(facts["version"])}
        job = await open_job(tx, app, actor, found[0].spec(), **of)
        made |= {"job_id": job.id, "run_id": run_id, "ref_id": facts["ref_id"], "number": facts["count"] + 1}
        if facts["count"] >= MOST or await tx.maybe(UUID, "dry_run_insert", client_id=client_id, **made) is None:
            raise Conflict("too_many_dry_runs", next_step=f"One to three dry runs are enough. {look}")
    remember(app, job.id, client_id)
    return job
