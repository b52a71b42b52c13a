"""What a flow is given: the ports of one process, and the figures it needs.

Rules
- Each process fills in only what its identity may use. A port that a process lacks is absent from its class, so a flow
  that needs more than its process may do does not type-check.
- A worker has no standing right at the store: it can reach a value only inside a custody lease. A provider's answer
  arrives as an allow-listed outcome, and what logs hold arrives as counts.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

from byokeep.core.bucket import Buckets
from byokeep.core.errors import Unavailable
from byokeep.core.exchange import Exchange
from byokeep.core.model import Actor, ClientId, Environment, Provider, Role
from byokeep.core.procedure import Procedure
from byokeep.core.secret import Secret
from byokeep.kernel import ports
from byokeep.kernel.freshness import Freshness
from byokeep.kernel.views import Views


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """Figures of the procedures. Units in the names; caps are enforced by wiring.

    The login token and the store token together live <= 5 s, so that a closed job is refused by the store
    itself within 5 s (R4.1-3); ADR 0013.
    """

    lease_jwt_ttl_s: int = 3
    lease_token_ttl_s: int = 2
    lease_life_s: int = 5
    permit_ttl_s: int = 15
    job_ttl_default_s: int = 900
    job_ttl_max_s: int = 86_400
    identity_fresh_for: timedelta = timedelta(minutes=10)
    rotation_default_days: Mapping[str, int] = field(default_factory=dict)
    rotation_modes: Mapping[str, str] = field(default_factory=dict)
    rotation_acts: Mapping[str, frozenset[str]] = field(default_factory=dict)  # what its API can: mint, revoke, usage
    rotation_places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # which names say where keys are
    provider_pages: Mapping[str, str] = field(default_factory=dict)  # where a provider tells of its keys
    exchanges: Mapping[str, Exchange] = field(default_factory=dict)  # of providers that need no key
    rotation_min_days: int = 30
    rotation_max_days: int = 90
    client_writes_per_minute: int = 60
    client_leases_per_second: int = 200
    kek_owner: str = "operations"
    kek_rotation_days: int = 365
    profile_blob_max: int = 1 << 30
    profile_rekey_days: int = 0
    approval_hold_s: int = 86_400
    app_secret_rotation_days: int = 365
    backup_hours: int = 0  # between two backups; 0 = none is expected
    console_origin: str = ""  # where people open the console; empty = no passkeys
    sso: str = ""  # the name of the host at which people sign in; empty = here alone
    sso_groups: Mapping[str, str] = field(default_factory=dict)  # group there -> roles and clients, in words
    drills: bool = True  # whether a recovery drill can be run here; not where store or database are people's own


EVERY_MINUTE: Final = "* * * * *"  # when most of a worker's rounds are due
RECORDED_AT_ONCE: Final = 1200  # refusals of one actor that are recorded in a burst
RECORDED_PER_MINUTE: Final = 60  # and as many go on being recorded in a flood
RECORDED_FOR_S: Final = 15.0  # seconds for which a proof of recording holds: three probes of the broker's rounds
APPENDED_FOR_S: Final = 90.0  # and one of getting a record onto the platform's chain: one checkpoint and a half


def not_recording() -> Unavailable:
    """Return the refusal that applies while no audit device of the store is proved to record."""
    step = "No audit device of the store is proved to record. See `byokeep audit health`. Kills still work."
    return Unavailable("store_not_recording", next_step=step, retry_after_s=1)


def _chain_held() -> Unavailable:
    step = (
        "The broker cannot write to the platform's chain. Find out who holds a transaction open at the database"
        " (pg_stat_activity), and the alerts. Kills still work."
    )
    return Unavailable("audit_chain_held", next_step=step, retry_after_s=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """What every process has.

    Attributes:
        recorded: Bounds how many refusals of one actor are recorded (S-OWASP-16).
        owners: Of ids whose client never changes; see :mod:`byokeep.kernel.command`.
        procedures: What can be run here, by name; see :mod:`byokeep.kernel.procedures`.
        marks: Of tokens whose rows were seen to say what their records say; see :mod:`byokeep.tenancy.authenticate`.
    """

    db: ports.Database
    clock: ports.Clock
    ids: ports.Ids
    installation_id: UUID
    environment: Environment
    limits: ServiceLimits
    recorded: Buckets = field(
        default_factory=lambda: Buckets(per_minute=RECORDED_PER_MINUTE, size=RECORDED_AT_ONCE), repr=False
    )
    procedures: Mapping[str, Procedure] = field(default_factory=dict, repr=False)
    owners: OrderedDict[UUID, ClientId] = field(default_factory=OrderedDict, repr=False)
    marks: dict[UUID, tuple[str, frozenset[UUID]]] = field(default_factory=dict, repr=False)

    def system(self, request_id: UUID | None = None) -> Actor:
        """Return the actor of the process's own tasks."""
        return Actor(
            id=self.installation_id,
            roles=frozenset({Role.SYSTEM}),
            clients=None,
            request_id=request_id or self.ids.uuid(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WebApp(App):
    """``byokeep web``: takes secrets in, cannot read one.

    Attributes:
        settings: Those that this process reads, for people, by group: name, value, and by what it was given.
    """

    intake: ports.Intake
    scan_key: ports.ScanKey
    token_key: Callable[[bytes], bytes]
    check_format: Callable[[str, Secret], None]
    check_admin: Callable[[str, Secret], None]
    platform_urls: Mapping[str, str]
    settings: Mapping[str, Sequence[tuple[str, str, str]]] = field(default_factory=dict, repr=False)
    views: Views = field(default_factory=Views, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KillApp(App):
    """``byokeep killswitch``: engages kill switches, ends jobs and cuts clients off at the store; releases nothing.

    Attributes:
        telling: Alerts of kills that were answered already; :func:`byokeep.kernel.command.tell_later`.
    """

    cutoff: ports.Cutoff
    store_health: ports.StoreHealth
    token_key: Callable[[bytes], bytes]
    machine_key: Callable[[bytes], bytes]
    views: Views = field(default_factory=Views, repr=False)
    telling: set[asyncio.Task[Any]] = field(default_factory=set, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerApp(KillApp):
    """``byokeep broker``: hands out access, cannot read a value.

    Attributes:
        store_recording: The last probe that found an audit device recording (:mod:`byokeep.kernel.store_recording`).
        platform_chain: The last record on the platform's chain. The rounds prove it by what they have to record anyway:
            each reconciliation and each checkpoint; a start has as long for the first of them as there is between two.
            While they cannot, no alert can be raised, so leases and permits fail closed. Kills, withdrawals and the end
            of jobs never ask.
        on_host: It serves break glass alone, on the host, beside or in the place of the broker.
    """

    signer: ports.Signer
    store_audit: ports.StoreAudit
    checkpoints: ports.CheckpointStore
    store_address: str
    artifacts: ports.ArtifactStore
    records: ports.BrokerRecords
    tombstones: ports.Tombstones
    glass: ports.BreakGlassRole
    store_recording: Freshness = field(default_factory=lambda: Freshness(RECORDED_FOR_S, not_recording))
    platform_chain: Freshness = field(default_factory=lambda: Freshness(APPENDED_FOR_S, _chain_held))
    drill: bool = False
    on_host: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakCount:
    """What a search of logs and spans looked at and found. ``readable`` is False if any source could not be read."""

    sources: int
    lines: int
    spans: int
    found: int
    readable: bool


Swap: TypeAlias = Callable[[Provider, Secret, Callable[[], Awaitable[Secret]]], Awaitable[Secret | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerApp(App):
    """``byokeep worker``: reads a value inside a lease, and nowhere else."""

    custodian: ports.Custodian
    issuer: ports.KeyIssuer
    identify: Callable[[Provider, Secret], Awaitable[ports.CheckOutcome]]
    search_logs: Callable[[Secret, datetime], Awaitable[LeakCount]]
    swap: Swap
    identify_token: Callable[[Provider, Secret], Awaitable[ports.CheckOutcome]]
