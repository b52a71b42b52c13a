"""Bodies and replies of the broker: the wire form of the nouns."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from byokeep.accounts.recovery import PlatformState
from byokeep.core.model import LeaseKind
from byokeep.core.reenable import RecoveryCause, Reenable, Stage
from byokeep.http.body import Id, Strict
from byokeep.http.reply import AtOffset, Reply
from byokeep.jobs.lease import IssuedLease, PinnedSecret

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


class StatusReply(Reply):
    """It was taken note of."""

    status: Literal["told", "ended", "sealing"]


class ValidForReply(Reply):
    """For how long a lease or an opening holds."""

    valid_for_s: int


class TransferReply(Reply):
    """A transfer that was asked for."""

    id: UUID
    reason: str
    requested_by: UUID
    expires_at: AtOffset
    repeated: bool


class JobReply(Reply):
    """A job."""

    id: UUID
    client_id: UUID
    dispatcher_id: UUID
    runner_id: UUID
    kind: LeaseKind
    secrets: list[str]
    platforms: list[str]
    lanes: list[str]
    effects: list[str]
    state: str
    opened_at: AtOffset
    expires_at: AtOffset


class JobsReply(Reply):
    """A client's newest jobs."""

    jobs: list[JobReply]


class StoreReply(Reply):
    """Where to log in, and as what for each secret."""

    address: str
    roles: dict[str, str]


class PinReply(Reply):
    """Where a secret is; of a browser profile, which generation, too."""

    path: str
    version: int
    profile_id: UUID | None = None
    generation: int | None = None
    blob_key: str | None = None


class LeaseReply(Reply):
    """A lease, with its login token."""

    lease_id: UUID
    kind: LeaseKind
    jwt: Annotated[str, Field(repr=False)]
    store: StoreReply
    secrets: dict[str, PinReply]
    expires_at: AtOffset
    life_s: int
    epoch: int


class PermitReply(Reply):
    """Leave to cause one effect."""

    permit_id: UUID
    expires_at: AtOffset
    ttl_s: int


class StateReply(Reply):
    """What it is now."""

    state: str


class AskedReply(Reply):
    """Whether a renewal was asked for, or was already."""

    asked: bool


class IdentityReply(Reply):
    """How what a platform said compares with what is expected."""

    identity: str


class GateReply(Reply):
    """The gate's schema (docs/spec/gate.md)."""

    version: int
    inputs: list[str]
    effects: list[str]
    lanes: list[str]
    deny_reasons: dict[str, str]
    default: str


class MachineReply(Reply):
    """Who calls."""

    id: UUID
    roles: list[str]


class SwitchReply(Reply):
    """A kill switch."""

    scope: str
    client_id: UUID | None
    closed: bool
    epoch: int
    reason: str
    by: UUID
    at: AtOffset
    store_cut_off: bool


class OpenRequestReply(Reply):
    """A request to open."""

    id: UUID
    scope: str
    epoch: int
    reason: str
    requested_by: UUID
    expires_at: AtOffset
    repeated: bool


class SwitchesReply(Reply):
    """The switches, and the requests to open them that wait for an approver."""

    switches: list[SwitchReply]
    requests: list[OpenRequestReply]


StageName = Annotated[str, Field(json_schema_extra={"enum": [*map(str, Stage), "unknown"]})]
CauseName = Annotated[str, Field(json_schema_extra={"enum": [*map(str, RecoveryCause)]})]


class StageReply(Reply):
    """Where a platform of a client stands on its way back."""

    platform: str
    stage: StageName
    cause: CauseName
    way: int
    number: int
    of: int
    acts: int
    taken: int
    done: int


class PlatformReply(Reply):
    """A platform that was lost; one that cannot be read is ``unknown`` and closed, and nothing else is said of it."""

    platform: str
    stage: StageName
    cause: CauseName | None = None
    way: int | None = None
    number: int | None = None
    of: int | None = None
    acts: int | None = None
    taken: int | None = None
    done: int | None = None
    changed_at: AtOffset


class PlatformsReply(Reply):
    """The platforms that a client lost at some time, and the canaries that wait for an approver."""

    platforms: list[PlatformReply]
    requests: list[OpenRequestReply]


class ScheduledReply(Reply):
    """Something announced to be done later."""

    id: UUID
    client_id: UUID
    platform: str
    account: str
    lane: str
    effect: str
    due_at: AtOffset
    state: str
    reason: str
    created_at: AtOffset
    created_by: UUID
    changed_at: AtOffset


class ScheduledListReply(Reply):
    """What a client has announced."""

    effects: list[ScheduledReply]


def lease_out(grant: IssuedLease) -> dict[str, Any]:
    """Return the wire form of a lease as :class:`LeaseReply` describes it; by hand, for it is hot."""
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


def _pin_out(pin: PinnedSecret) -> dict[str, Any]:
    found: dict[str, Any] = {"path": pin.path, "version": pin.version}
    if pin.profile_id is not None:
        found |= {"profile_id": str(pin.profile_id), "generation": pin.generation, "blob_key": pin.blob_key}
    return found


def stage_out(platform: str, state: Reenable) -> dict[str, Any]:
    """Return where a platform stands on its way back."""
    return {
        "platform": platform, "stage": state.stage, "cause": state.cause, "way": state.way, "number": state.number,
        "of": len(state.stages), "acts": state.acts, "taken": state.taken, "done": state.done,
    }  # fmt: skip


def platform_out(one: PlatformState) -> dict[str, Any]:
    """Return a platform that was lost; one that cannot be read is closed."""
    state = {"platform": one.platform, "stage": "unknown"} if one.state is None else stage_out(one.platform, one.state)
    return state | {"changed_at": one.changed_at}
