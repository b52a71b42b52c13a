"""The gate that every effect on a platform passes (docs/spec/gate.md).

Rules
- A decision is not a return value: the function returns ``None`` or raises. There is no boolean to forget.
- Everything that the decision needs is passed in. An input that could not be read is passed as ``None`` and denies.
- Default deny: a lane, stage, state or version that is not named here is refused (R12-1).

It may not look anything up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from byokeep.core.errors import Denied
from byokeep.core.model import EffectKind, Lane
from byokeep.core.reenable import Stage

GATE_VERSION: Final = 1
NEVER_LOST: Final = "never_lost"  # the stage of a platform that was never closed


class DenyReason(StrEnum):
    """Every reason the gate can give (docs/spec/gate.md), and what to do then.

    Attributes:
        next_step: One sentence.
    """

    next_step: str

    def __new__(cls, name: str, next_step: str) -> DenyReason:
        """Make a reason from its name and what to do."""
        made = str.__new__(cls, name)
        made._value_ = name
        made.next_step = next_step
        return made

    BAD_REQUEST = "bad_request", "Name a published effect and lane; see /v1/gate/schema."
    UNKNOWN_VERSION = "unknown_version", "Use gate version 1; see /v1/gate/schema."
    SWITCH_CLOSED = "switch_closed", "A kill switch is engaged. `byokeep kill status` says which, since when and why."
    SWITCH_UNKNOWN = "switch_unknown", "The kill switch could not be read, so it counts as engaged."
    CLIENT_NOT_ACTIVE = "client_not_active", "The client is not active. An admin can resume it."
    JOB_NOT_OPEN = "job_not_open", "The job has ended. Ask the dispatcher for a new one."
    DRY_RUN = "dry_run", "This job rehearses a new key before its cutover and may cause no effects. Leave them out."
    JOB_SEALING = "job_sealing", "The job is sealing its profile and acts no longer. Ask the dispatcher for a new one."
    LEASE_EXPIRED = "lease_expired", "Ask for a new lease and check again before acting."
    LEASE_KIND = "lease_kind", "A custody lease may not cause effects. Run this in a use job."
    EFFECT_NOT_DECLARED = "effect_not_declared", "Declare the effect when the job is opened."
    PLATFORM_NOT_DECLARED = "platform_not_declared", "Declare the platform when the job is opened."
    LANE_NOT_DECLARED = "lane_not_declared", "Declare the lane when the job is opened."
    PLATFORM_CLOSED = (
        "platform_closed",
        "The platform is closed for the client. See `byokeep incident platform status`.",
    )
    PLATFORM_UNKNOWN = "platform_unknown", "The platform's state could not be read, so it counts as closed."
    LANE_POLICY_UNKNOWN = "lane_policy_unknown", "The stored lane policy is unknown. An operator must set it again."
    LANE_NOT_ENABLED = "lane_not_enabled", "An operator must enable the lane: `byokeep account lane`."
    ACCOUNT_NOT_CONNECTED = (
        "account_not_connected",
        "No record says that this account was connected. An operator must connect it.",
    )
    GRANT_NOT_LIVE = "grant_not_live", "The account's grant is lost or not verified. An operator must connect it again."
    PROFILE_NOT_USABLE = "profile_not_usable", "The account has no valid browser profile. An operator must look at it."
    PROFILE_NOT_OPEN = "profile_not_open", "Act inside `async with job.browser(...)` of this account."
    CREDENTIAL_NOT_USABLE = (
        "credential_not_usable",
        "There is no usable key. `byokeep key list CLIENT` shows its state.",
    )
    IDENTITY_UNPROVEN = "identity_unproven", "Identify the account in this job before the first effect."
    IDENTITY_MISMATCH = "identity_mismatch", "This is not the registered account. Stop, and tell an operator."
    IDENTITY_DRIFT = "identity_drift", "The account shows another name. An operator must confirm it first."
    IDENTITY_STALE = "identity_stale", "Identify the account again: the last proof is too old."
    EFFECT_HELD = "effect_held", "The effect is held: its platform is closed. It is requeued if that opens in time."
    EFFECT_MISSED = "effect_missed", "Its time passed while it was held. An operator must requeue or cancel it."
    EFFECT_CANCELLED = (
        "effect_cancelled",
        "The effect was cancelled. If it is still wanted, announce it again under another key.",
    )
    CANARY_STAGE_FULL = "canary_stage_full", "Every act of this stage is taken. Wait until they have ended."
    DRILL = "disaster_recovery_drill", "This installation runs a recovery drill and causes no effects."
    GATE_ERROR = "gate_error", "The gate could not decide, so it denied. An alert was raised."


# Not failures: nobody may act for the client now.
HELD: Final = frozenset({
    DenyReason.SWITCH_CLOSED, DenyReason.SWITCH_UNKNOWN, DenyReason.CLIENT_NOT_ACTIVE, DenyReason.JOB_NOT_OPEN
})  # fmt: skip


NEXT_STEPS: Final[Mapping[DenyReason, str]] = MappingProxyType({reason: reason.next_step for reason in DenyReason})


@dataclass(frozen=True, slots=True, kw_only=True)
class GateInput:
    """The gate's input, schema v1. ``None`` = could not be established, which denies.

    Attributes:
        version: Schema version the caller speaks.
        effect, platform, lane: What is wanted. Unknown names deny.
        switches_open: All kill switches of the effect's scopes were read as open, under lock.
        client_active: The client's state is active.
        job_open: The job is open and unexpired.
        dry_run: The job tries a new key before its cutover.
        job_sealing: The job has closed its browser and seals the profile; it may act no longer.
        lease_kind: ``use`` or ``custody``.
        lease_valid: The lease is this runner's, of this job, and unexpired.
        declared_effects, declared_platforms, declared_lanes: What the job declared.
        platform_stage: How far the client's platform has come on its way back (:mod:`byokeep.core.reenable`);
            ``never_lost`` if it was never lost.
        canary_free: The canary's stage has an act left; checked only in a canary.
        enabled_lanes: Lanes enabled for this account by a separate decision of an operator.
        connected: The account's access came, or was to come, from a consent. The next three are checked only then.
        connection_recorded: Its grant names the record of a completed connection, and that record exists.
        grant_state: State of the grant; ``live`` passes.
        drift: The account shows another name than before, and nobody has confirmed that.
        profile_usable: The account's browser profile may be opened: sealed, validated, not overdue. This and the next
            are checked only in the browser lane.
        profile_open: This job itself has it open.
        credentials_usable: Every secret the job declared is active, verified and unexpired.
        identity: ``match``, ``mismatch``, ``unknown`` or ``unchecked``.
        identity_at: When the identity was last compared, UTC. In the browser lane a comparison counts only if a job
            made it, after the profile was opened.
        scheduled: State of what was announced under this idempotency key; ``none`` if nothing was.
        now: The database's clock, UTC.
        identity_fresh_for: How old a comparison may be.
        drill: Whether this installation is a recovery drill.
    """

    version: int
    effect: str
    platform: str
    lane: str
    switches_open: bool | None
    client_active: bool | None
    job_open: bool | None
    dry_run: bool | None
    job_sealing: bool | None
    lease_kind: str | None
    lease_valid: bool | None
    declared_effects: tuple[str, ...]
    declared_platforms: tuple[str, ...]
    declared_lanes: tuple[str, ...]
    platform_stage: str | None
    canary_free: bool | None
    enabled_lanes: tuple[str, ...]
    connected: bool | None
    connection_recorded: bool | None
    grant_state: str | None
    drift: bool | None
    profile_usable: bool | None
    profile_open: bool | None
    credentials_usable: bool | None
    identity: str | None
    identity_at: datetime | None
    scheduled: str | None
    now: datetime
    identity_fresh_for: timedelta
    drill: bool | None


def deny(reason: DenyReason) -> Denied:
    """Return the refusal for a published reason."""
    return Denied(reason.value, next_step=NEXT_STEPS[reason])


def check_effect(gate: GateInput) -> None:
    """Check that one effect may happen (R1.5, R12-1).

    Raises:
        Denied: The code is a :class:`DenyReason`: the first that applies, most severe first.
    """
    for applies, reason in _reasons(gate):
        if applies:
            raise deny(reason)


def _reasons(gate: GateInput) -> Iterator[tuple[bool, DenyReason]]:
    """Yield every reason in order with whether it applies, which is computed only if none before it did."""
    yield gate.version != GATE_VERSION, DenyReason.UNKNOWN_VERSION
    yield gate.effect not in set(EffectKind) or gate.lane not in set(Lane), DenyReason.BAD_REQUEST
    yield gate.drill is not False, DenyReason.DRILL
    yield gate.switches_open is None, DenyReason.SWITCH_UNKNOWN
    yield gate.switches_open is not True, DenyReason.SWITCH_CLOSED
    yield gate.client_active is not True, DenyReason.CLIENT_NOT_ACTIVE
    yield gate.job_open is not True, DenyReason.JOB_NOT_OPEN
    yield gate.dry_run is not False, DenyReason.DRY_RUN
    yield gate.job_sealing is not False, DenyReason.JOB_SEALING
    yield gate.lease_kind != "use", DenyReason.LEASE_KIND
    yield gate.lease_valid is not True, DenyReason.LEASE_EXPIRED
    yield gate.effect not in gate.declared_effects, DenyReason.EFFECT_NOT_DECLARED
    yield gate.platform not in gate.declared_platforms, DenyReason.PLATFORM_NOT_DECLARED
    yield gate.lane not in gate.declared_lanes, DenyReason.LANE_NOT_DECLARED
    yield gate.platform_stage not in {NEVER_LOST, *Stage}, DenyReason.PLATFORM_UNKNOWN
    yield gate.platform_stage not in (NEVER_LOST, Stage.OPEN, Stage.CANARY), DenyReason.PLATFORM_CLOSED
    yield not set(gate.enabled_lanes) <= set(Lane), DenyReason.LANE_POLICY_UNKNOWN
    # A mismatch turned the lane off: nobody is told to turn it on again unseen.
    yield gate.lane not in gate.enabled_lanes and gate.identity == "mismatch", DenyReason.IDENTITY_MISMATCH
    yield gate.lane not in gate.enabled_lanes, DenyReason.LANE_NOT_ENABLED
    if gate.connected is not False:
        recorded = gate.connected is not None and gate.connection_recorded is True
        yield not recorded, DenyReason.ACCOUNT_NOT_CONNECTED
        yield gate.grant_state != "live", DenyReason.GRANT_NOT_LIVE
    if gate.lane == Lane.BROWSER:  # off without a sealed and validated profile, whatever was set (R5.3-21)
        yield gate.profile_usable is not True, DenyReason.PROFILE_NOT_USABLE
        yield gate.profile_open is not True, DenyReason.PROFILE_NOT_OPEN
    yield gate.credentials_usable is not True, DenyReason.CREDENTIAL_NOT_USABLE
    yield gate.identity == "mismatch", DenyReason.IDENTITY_MISMATCH
    yield gate.connected is not False and gate.drift is not False, DenyReason.IDENTITY_DRIFT
    age = None if gate.identity_at is None else gate.now - gate.identity_at
    yield gate.identity != "match" or age is None, DenyReason.IDENTITY_UNPROVEN
    # A comparison from the future means a clock that cannot be trusted.
    yield age is None or not timedelta(seconds=-5) <= age <= gate.identity_fresh_for, DenyReason.IDENTITY_STALE
    yield gate.scheduled == "held", DenyReason.EFFECT_HELD
    yield gate.scheduled == "missed", DenyReason.EFFECT_MISSED
    yield gate.scheduled == "cancelled", DenyReason.EFFECT_CANCELLED
    yield gate.scheduled not in ("none", "scheduled", "done"), DenyReason.GATE_ERROR
    # Last, so that what is denied for another reason takes none of the canary's acts.
    yield gate.platform_stage == Stage.CANARY and gate.canary_free is not True, DenyReason.CANARY_STAGE_FULL


def gate_schema() -> dict[str, object]:
    """Return the published schema of the gate: version, inputs, reasons (R12-1)."""
    return {
        "version": GATE_VERSION,
        "inputs": [spec.name for spec in fields(GateInput)],
        "effects": [kind.value for kind in EffectKind],
        "lanes": [lane.value for lane in Lane],
        "deny_reasons": {reason.value: text for reason, text in NEXT_STEPS.items()},
        "default": "deny",
    }
