"""Bodies and replies of the broker: the wire form of the nouns."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from byokeep.core.model import Job
from byokeep.core.reenable import Reenable
from byokeep.flows.incident import Platform
from byokeep.flows.lease import Grant, Pin
from byokeep.flows.scheduled import Announced
from byokeep.flows.switches import OpenRequest, Switch
from byokeep.flows.transfers import Transfer
from byokeep.http.body import Id, Strict

Word = Annotated[str, Field(max_length=64)]
Time = Annotated[str, Field(max_length=40)]
Words = Annotated[list[Word], Field(max_length=16)]


class JobBody(Strict):
    """Open a job. Lists left out are empty: undeclared = none."""

    client_id: Id
    runner_id: Id
    kind: Literal["use", "custody"] = "use"
    secrets: Words = Field(default_factory=list)
    platforms: Words = Field(default_factory=list)
    lanes: Words = Field(default_factory=list)
    effects: Words = Field(default_factory=list)
    ttl_s: int | None = None


class BlockedBody(Strict):
    """Say why a job could not go on."""

    reason: Word


class LeaseUse(Strict):
    """How often a lease was used: attempts to log in, and to read each declared secret."""

    lease_id: Id
    logins: int
    reads: dict[Word, int]


class UseBody(Strict):
    """Tell how often leases were used."""

    leases: Annotated[list[LeaseUse], Field(min_length=1, max_length=100)]


class RenewalBody(Strict):
    """Say that an account's access token has expired: its name in the lease, and the version that was seen."""

    secret: Annotated[str, Field(max_length=96)]
    version: int


class PermitBody(Strict):
    """Ask for one effect; version 1 of the gate's request."""

    version: int
    effect: Word
    platform: Word
    account: Word
    lane: Word
    idempotency_key: Word


class CloseBody(Strict):
    """Say how an act ended."""

    outcome: Literal["done", "failed"]


class SeenBody(Strict):
    """What a platform said about an account; null = nothing usable, which is never a match.

    In the lane ``browser`` a null name is one that the website does not show; there the id decides.
    """

    lease_id: Id
    lane: Literal["api", "browser"] = "api"
    id: Annotated[str, Field(max_length=256)] | None = None
    username: Annotated[str, Field(max_length=256)] | None = None
    display_name: Annotated[str, Field(max_length=256)] | None = None


class ScopeBody(Strict):
    """Name a switch: nothing = global, the browser lane, a client, a client's platform or lane; and a reason."""

    client_id: Id | None = None
    platform: Word | None = None
    lane: Word | None = None
    reason: Word


class LostBody(Strict):
    """Say that a client lost a platform, and why."""

    client_id: Id
    platform: Word
    cause: Word


class CanaryBody(Strict):
    """Ask for the canary of a platform to begin; ``open`` is what somebody asks who wants to skip it."""

    client_id: Id
    platform: Word
    reason: Word
    stage: Literal["canary", "open"] = "canary"


class TransferOfBody(Strict):
    """Name an account of a platform and the client that it goes to."""

    client_id: Id
    login: Word
    account: Annotated[str, Field(max_length=256)]


class TransferBody(TransferOfBody):
    """Ask for an account of a platform to go to a client."""

    reason: Word


class PlanBody(Strict):
    """Announce something to be done; ``due_at`` is an RFC 3339 time with its zone."""

    client_id: Id
    platform: Word
    account: Word
    lane: Word
    effect: Word
    idempotency_key: Word
    due_at: Time


class RequeueBody(Strict):
    """Put something announced back, with a new time."""

    due_at: Time


def transfer_out(one: Transfer) -> dict[str, Any]:
    """Return the wire form of a transfer that was asked for."""
    return {
        "id": str(one.id), "reason": one.reason, "requested_by": str(one.requested_by),
        "expires_at": one.expires_at.isoformat(), "repeated": one.repeated,
    }  # fmt: skip


def job_out(job: Job) -> dict[str, Any]:
    """Return the wire form of a job."""
    return {
        "id": str(job.id), "client_id": str(job.client_id), "dispatcher_id": str(job.dispatcher_id),
        "runner_id": str(job.runner_id), "kind": job.kind.value, "secrets": list(job.secrets),
        "platforms": list(job.platforms), "lanes": list(job.lanes), "effects": list(job.effects), "state": job.state,
        "opened_at": job.opened_at.isoformat(), "expires_at": job.expires_at.isoformat(),
    }  # fmt: skip


def lease_out(grant: Grant) -> dict[str, Any]:
    """Return the wire form of a lease, with its login token."""
    return {
        "lease_id": str(grant.lease_id),
        "kind": grant.kind.value,
        "jwt": grant.jwt,
        "store": {"address": grant.store_address, "roles": dict(grant.roles)},
        "secrets": {name: _pin_out(pin) for name, pin in grant.secrets.items()},
        "expires_at": grant.expires_at.isoformat(),
        "life_s": grant.life_s,
        "epoch": grant.epoch,
    }


def _pin_out(pin: Pin) -> dict[str, Any]:
    found: dict[str, Any] = {"path": pin.path, "version": pin.version}
    if pin.profile_id is not None:
        found |= {"profile_id": str(pin.profile_id), "generation": pin.generation, "blob_key": pin.blob_key}
    return found


def switch_out(switch: Switch) -> dict[str, Any]:
    """Return the wire form of a switch."""
    return {
        "scope": switch.scope, "client_id": None if switch.client_id is None else str(switch.client_id),
        "closed": switch.closed, "epoch": switch.epoch, "reason": switch.reason, "by": str(switch.by),
        "at": switch.at.isoformat(), "store_cut_off": switch.store_cut_off,
    }  # fmt: skip


def request_out(request: OpenRequest) -> dict[str, Any]:
    """Return the wire form of a request to open."""
    return {
        "id": str(request.id), "scope": request.scope, "epoch": request.epoch, "reason": request.reason,
        "requested_by": str(request.requested_by), "expires_at": request.expires_at.isoformat(),
        "repeated": request.repeated,
    }  # fmt: skip


def reenable_out(state: Reenable) -> dict[str, Any]:
    """Return the wire form of where a platform stands on its way back."""
    return {
        "stage": state.stage.value, "cause": state.cause.value, "way": state.way, "number": state.number,
        "of": len(state.stages), "acts": state.acts, "taken": state.taken, "done": state.done,
    }  # fmt: skip


def platform_out(one: Platform) -> dict[str, Any]:
    """Return the wire form of a platform that was lost; one that can not be read is closed."""
    state = {"stage": "unknown"} if one.state is None else reenable_out(one.state)
    return {"platform": one.platform, **state, "changed_at": one.changed_at.isoformat()}


def announced_out(one: Announced) -> dict[str, Any]:
    """Return the wire form of something announced."""
    return {
        "id": str(one.id), "client_id": str(one.client_id), "platform": one.platform, "account": one.account,
        "lane": one.lane, "effect": one.effect, "due_at": one.due_at.isoformat(), "state": one.state,
        "reason": one.reason, "created_at": one.created_at.isoformat(), "created_by": str(one.created_by),
        "changed_at": one.changed_at.isoformat(),
    }  # fmt: skip
