"""What explains a request in the store's own audit log. Pure rules; :mod:`byokeep.reconciliation.reconcile` feeds them.

Rules
- Only the lease whose signed token it showed explains a login; a header is a hint, not proof.
- A login of the lease that a read names explains the read, by the same entity, for this client and provider, in time.
- A job's lease explains the read of the version of a key that it pinned, as its record says: in a dry run, the new one.
- A client's identity token is explained like a read of the client's key at that provider.
- A write is explained by the record that has the store's own request id, or by a custody lease.
- If a write of a profile's record has no such record, but a seal of that profile was announced and not yet recorded, it
  was interrupted: still a finding, but one that says so. An announcement explains one write of a run.
- A profile's record is read under custody or, without a lease, by the broker when a job has just opened the profile.
- An entity is enabled by a switch's recorded opening, and disabled by a switch's close or while one is closed.
- A close explains nothing after the release that followed it.
- What a restore asks of the store that it makes, without anybody's identity, is explained by its record, the first one
  in the restored home: it opens KEKs, ends rights and lists what is stored, and reads no value. So is the
  set-up of that store, whoever makes it.
- What a backup takes and marks is explained by its machine's login and by a backup that has begun and not ended.
- Whoever disables entities may list them first: `byokeep kill panic` asks the store for them, and nobody else does. A
  disabling that the database was not told of is a finding of its own, even if its client's switch was already engaged.
- More at the store than the lease's holder told, or two tellings that differ, means that somebody else has signed the
  lease's claims, has its token, or tells in the holder's name. A read that was told is one of the value and, for a
  keyless credential, one of an identity token; each kind is counted separately. Nothing told (the holder was killed, or
  never reached us) is a warning: silence never passes for "nothing more". An enrolment is ours, with one login.
- A signature, a keyed fingerprint, the read of a key of ours and how identity tokens are made are explained by a
  machine whose policy allows it.
- The secret of our own app at a platform is read under a custody lease for that platform.
- Nobody of ours has an answer wrapped but that of a login for break glass: a copy of a value at the store, for whoever
  has its wrapping token, is ended by no kill and no destruction. It is a finding whatever else explains the request.
- Everything else must be on the list below. What is on no list is a finding.

It may not excuse a request because it cannot explain it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from byokeep.core.model import API_PROVIDERS
from byokeep.kernel.command import Severity
from byokeep.kernel.ports import TORN, StoreEntry, node_of

LOGIN: Final = "auth/lease/cel/login"
LOGINS: Final = frozenset({LOGIN, "auth/lease/login"})  # the second is from earlier releases; it has no role now
PANIC: Final = "kill_panic"
SLACK: Final = timedelta(seconds=1)  # the store rounds times; a token's end is checked to the second
MANY_REFUSED: Final = 10  # by one entity in one span; a correct process of ours is never refused
SEAL_FOR: Final = timedelta(minutes=15)  # within which an announced seal may write its record
AFTER_OPENING: Final = timedelta(seconds=60)  # for the broker to read a record: an opening is fresh for half of it
BEFORE_MINT: Final = timedelta(seconds=60)  # of a call that makes a key: whether its fingerprints can be made is tried
AFTER_MINT: Final = timedelta(minutes=15)  # as long as the step may take
BEFORE_OPENING: Final = timedelta(seconds=30)  # the clocks of database and store may differ
NEAR_MOVE: Final = timedelta(seconds=30)  # between a switch's record and the store's half of it, clocks included
TOLD_WITHIN: Final = timedelta(seconds=25)  # from a lease's issue to its telling: dead after 6 s, then 10 s of attempts
RESTORE_FOR: Final = timedelta(hours=1)  # before its record, in a home that was empty
SETUP_FOR: Final = timedelta(minutes=10)  # how long a recorded change of set-up explains requests around it

_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
VALUE: Final = re.compile(
    rf"kv/(data|delete|undelete|destroy|metadata)/clients/({_UUID})/providers/([a-z]+)((?:/[a-z]+)?|/accounts/{_UUID}/[a-z]+)\Z"
)
# Browser profiles: a profile's record, and the client's own KEK. Only a lease for profiles touches either, and the
# broker, which reads the record for the runner that has it open and writes the record of what a runner sealed.
_PROFILE: Final = "profile"
_SEAL: Final = "seal"  # in a runner's lease: it wraps a key, and the broker writes the record
_RECORD: Final = re.compile(rf"kv/(data|delete|undelete|destroy)/clients/({_UUID})/profiles/({_UUID})\Z")
_KEK: Final = re.compile(
    rf"tenant/(encrypt|decrypt|rewrap|keys)/(?:production|staging|development)-({_UUID})(?:/rotate|/config)?\Z"
)
_DRILL: Final = re.compile(r"kv/data/platform/breakglass-drill\Z")  # what a drill of break glass reads
_IDENTITY: Final = re.compile(rf"identity/oidc/token/({_UUID})-([a-z]+)\Z")  # of a client, under its own lease
_RECOGNISES: Final = re.compile(r"(update transit/hmac/fingerprints/sha2-256|read kv/data/platform/scan-key)\Z")
IDENTITY: Final = "/identity"  # the place of an identity token, among those of a provider's values
_APP: Final = re.compile(r"kv/data/platform/apps/([a-z]+)/[a-z0-9_]+\Z")
_COPIES: Final = re.compile(r"(kv/data|tenant|identity/oidc/token|sys/wrapping)/.+\Z")  # here no other token is made
# Of what only our machines do, as their policies allow: which of them, operation and path.
_OURS: Final[Sequence[tuple[frozenset[str], re.Pattern[str]]]] = tuple(
    (frozenset(machines.split()), re.compile(what + r"\Z"))
    for machines, what in (
        ("broker", r"update transit/sign/(leases|checkpoints|evidence)"),  # a signed lease shows as a login
        ("broker", rf"update sys/leases/revoke-prefix/{_COPIES.pattern}"),  # ends wrapped copies of answers
        ("web", r"update transit/hmac/fingerprints(/[a-z0-9-]+)?"),  # keyed fingerprint of an incoming value
        ("web", r"update kv/metadata/platform/apps/[a-z]+/[a-z0-9_]+"),  # has the store keep more versions
        ("web", rf"(create|update) identity/oidc/(key/{_UUID}|role/{_UUID}-[a-z]+)"),  # how a client's tokens are made
        ("web broker killswitch", r"read kv/data/platform/token-key"),  # pepper of the hashes of people's tokens
        ("broker killswitch", r"read kv/data/platform/machine-key"),  # of machines' tokens
        ("web", r"read kv/data/platform/scan-key"),  # keys the fingerprints with which leaks are found
    )
)
# Requests that processes make on their own: operations, path, why it is harmless. None reads a secret.
_LISTED: Final[Sequence[tuple[frozenset[str], re.Pattern[str]]]] = tuple(
    (frozenset(operations.split()), re.compile(path + r"\Z"))
    for operations, path in (
        ("update", r"auth/approle/login"),  # a process shows who it is
        ("read update", r"auth/token/(lookup|renew|revoke)-self"),
        ("read", r"transit/keys/(leases|checkpoints|evidence|probe)"),  # public keys, health probe
        ("read", r"kv/metadata/platform/apps/[a-z]+/[a-z0-9_]+"),  # version numbers
        ("read", r"kv/metadata/platform/provisioning"),  # each start checks whether the set-up is the wanted one
        (
            "read",
            rf"kv/metadata/clients/{_UUID}/(providers/[a-z]+(/webhook|/admin|/accounts/{_UUID}/[a-z]+)?|profiles/{_UUID})",
        ),  # version numbers
        ("read", rf"(identity/entity/id/{_UUID}|sys/ha-status|sys/storage/raft/configuration)"),  # is a kill in force?
        ("read", r"identity/oidc/\.well-known/(openid-configuration|keys)"),  # what anybody may fetch to check a token
        ("update", r"sys/audit-hash/[a-z]+"),  # this reconciliation
        ("list read", r"auth/lease/cel/role(/[a-z-]*)?"),  # checks that break glass has one role
        ("update", r"auth/token/revoke-accessor"),  # ends what break glass gave
        ("update", r"sys/wrapping/(wrap|unwrap|lookup)"),
        ("read", r"sys/(health|seal-status|leader|internal/ui/mounts(/.*)?)"),  # health probes
    )
)
_WRAP: Final = "sys/wrapping/wrap"  # keeps what the caller sends, and no answer
_BACKUP: Final = re.compile(
    r"(read sys/storage/raft/snapshot|list tenant/keys/?|read tenant/keys/[^/]+|update tenant/encrypt/[^/]+)\Z"
)
_RESTORE: Final = re.compile(
    r"(read tenant/keys/[^/]+|update tenant/decrypt/[^/]+|update sys/leases/revoke-prefix/auth/[a-z/]+"
    r"|list kv/metadata/clients(/.*)?)\Z"
)
_ENTITY: Final = re.compile(rf"identity/entity/id/({_UUID})\Z")
_ENTITIES: Final = re.compile(r"identity/entity/id/?\Z")
_DEVICE_TEST: Final = "sys/audit/test"  # the store tests each device alone when it enables it
# What sets the store up. A record of ours that says so, near in time, explains it.
_SETUP: Final = re.compile(
    r"(sys/(init|unseal|seal|mounts|remount|auth|policies|policy|config|quotas|audit|generate-root|rekey|rotate|plugins)"
    r"|auth/(lease|approle)/(config|cel/role|role)|auth/token/(create|revoke|lookup|accessors)|transit/(keys|config)|tenant/config|kv/config"
    r"|kv/(data/platform/((token|machine|scan)-key|breakglass-drill)|metadata/platform/provisioning)|identity/(entity|group|lookup|oidc/config))"
    r"(/.*|-[a-z]+.*)?\Z"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRow:
    """A lease as issued, enough to sign its token again; and what its holder told of its use (None: nothing yet).

    ``versions``: of each key, which it pinned, or 0: none; of one that is not there nothing is known.
    """

    id: UUID
    client_id: UUID
    job_id: UUID
    kind: str
    secrets: tuple[str, ...]
    jwt_iat: int
    jwt_exp: int
    issued_at: datetime
    used_logins: int | None = None
    used_reads: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRow(LeaseRow):
    """A break-glass grant in the form of a lease. ``accessors``: each device's hash of its token's accessor."""

    life_s: int
    accessors: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request at the store, as all devices that have it report it."""

    id: str
    at: datetime
    operation: str
    path: str
    entity_id: str
    lease_header: str
    refused: bool
    login_hashes: Mapping[str, str]
    lets_in: bool = False
    version: int = 0
    machine: str = ""
    accessor_hash: str = ""
    wrapped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFinding:
    """Something that nothing explains. ``request_id`` is the store's; ``count`` is how many requests it stands for;
    ``object_id`` is a row that no record explains.
    """

    reason: str
    severity: Severity = "critical"
    at: datetime
    request_id: str = ""
    device: str = ""
    client_id: UUID | None = None
    lease_id: UUID | None = None
    object_id: UUID | None = None
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncedSeal:
    """An announced seal of a profile: the place of its record, since when, and when it was recorded (``None``: never).
    """

    path: str
    since: datetime
    until: datetime | None

    def covers(self, at: datetime, path: str) -> bool:
        """Whether a write there at that time can be this seal's, made before it was recorded."""
        end = self.since + SEAL_FOR if self.until is None else self.until
        return path == self.path and self.since - SLACK <= at <= end + SLACK


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityUpdate:
    """A recorded close or opening of a switch; ``client_id`` None: the global one.

    ``panic``: closed by `byokeep kill panic`, which told the database.
    """

    at: datetime
    client_id: UUID | None
    opens: bool
    panic: bool = False


@dataclass(slots=True, kw_only=True)
class KnownToUs:
    """What is known from our own records.

    ``logins``: (lease, entity) -> times of explained logins. ``writes``, ``app_writes``: the store's request id ->
    place. ``openings``: (client, profile) -> times at which a job that uses it opened it. ``mints``: (client, provider)
    -> times of calls that make a key there. ``seals``: announced seals that have not explained a write yet.
    ``backups``: when each began and ended. ``restores``: when each ended. ``entities``: entity at the store -> its
    client, and whether a switch of it is closed now. ``moves``: switches closed or opened since. ``grants``: of break
    glass. ``stops``: entities that disabled others in the span.
    """

    leases: Mapping[UUID, LeaseRow]
    token_ttl: timedelta
    writes: Mapping[str, tuple[UUID, str]] = field(default_factory=dict)
    seals: list[AnnouncedSeal] = field(default_factory=list)
    backups: Sequence[tuple[datetime, datetime]] = ()
    restores: Sequence[datetime] = ()
    app_writes: Mapping[str, str] = field(default_factory=dict)
    openings: Mapping[tuple[UUID, UUID], Sequence[datetime]] = field(default_factory=dict)
    mints: Mapping[tuple[UUID, str], Sequence[datetime]] = field(default_factory=dict)
    setups: Sequence[datetime] = ()
    entities: Mapping[str, tuple[UUID, bool]] = field(default_factory=dict)
    moves: Sequence[EntityUpdate] = ()
    stops: frozenset[str] = frozenset()
    logins: dict[tuple[UUID, str], list[datetime]] = field(default_factory=dict)
    grants: Sequence[GrantRow] = ()


def merge(entries: Iterable[StoreEntry]) -> tuple[list[Request], list[LogFinding]]:
    """Join what the devices say about each request, in order of time; a disagreement is a finding (R8.2-4)."""
    by_request: dict[str, list[StoreEntry]] = {}
    for entry in entries:
        if entry.kind == TORN:
            continue
        by_request.setdefault(entry.request_id, []).append(entry)
    requests, findings = [], []
    for request_id, said in by_request.items():
        requests.append(_joined(request_id, said))
        facts: dict[str, set[tuple[str, str, str, str, bool, bool, str]]] = {}
        for e in said:
            fact = (e.operation, e.path, e.entity_id, e.lease_header, e.status_error, e.lets_in, e.machine)
            facts.setdefault(e.kind, set()).add(fact)
        if differ := [one.at for one in said if len(facts[one.kind]) > 1]:
            findings.append(LogFinding(reason="devices_disagree", at=min(differ), request_id=request_id))
    return sorted(requests, key=lambda request: request.at), findings


def _joined(request_id: str, said: Sequence[StoreEntry]) -> Request:
    """Join the entries of a request. Without a response it counts as done: only a recorded error proves a refusal."""
    responses = [entry for entry in said if entry.kind == "response"]
    best = (responses or list(said))[0]
    return Request(
        id=request_id, at=best.at, operation=best.operation, path=best.path,
        entity_id=best.entity_id or next((e.entity_id for e in said if e.entity_id), ""),
        lease_header=best.lease_header, refused=bool(responses) and all(e.status_error for e in responses),
        login_hashes={e.device: e.login_jwt_hash for e in said if e.login_jwt_hash}, lets_in=best.lets_in,
        version=max(entry.version for entry in said), machine=best.machine,
        accessor_hash=best.accessor_hash, wrapped=any(entry.wrapped for entry in said),
    )  # fmt: skip


def value_read(operation: str, path: str) -> tuple[UUID, str, str] | None:
    """Return whose value a request reads: client, provider or ``profile``, and the place below it; None if no value.

    A client's identity token for a provider counts as a value; its place is :data:`IDENTITY`.
    """
    if operation == "read" and (identity := _IDENTITY.match(path)):
        return UUID(identity[1]), identity[2], IDENTITY
    value = (VALUE.match(path) or _RECORD.match(path)) if operation == "read" else None
    if value is None or value[1] != "data":
        return None
    return UUID(value[2]), *((value[3], value[4]) if value.re is VALUE else (_PROFILE, f"/{value[3]}"))


def gaps(entries: Iterable[StoreEntry], devices: Sequence[str], *, first: datetime, last: datetime) -> list[LogFinding]:
    """Return a finding for each device that lacks requests of another device of its node, away from the span's edges.

    Each node of a cluster records only what it answers itself, so no other node's files have it.
    """
    seen: dict[str, dict[str, datetime]] = {device: {} for device in devices}
    for entry in entries:
        if entry.device in seen and entry.kind != TORN and entry.path != _DEVICE_TEST:
            seen[entry.device][entry.request_id] = entry.at
    of_node: dict[str, dict[str, datetime]] = {}
    for device, found in seen.items():
        of_node.setdefault(node_of(device), {}).update((k, at) for k, at in found.items() if first <= at <= last)
    findings = []
    for device, found in seen.items():
        if missing := [at for key, at in of_node[node_of(device)].items() if key not in found]:
            first_at, count = min(missing), len(missing)
            findings.append(
                LogFinding(reason="device_gap", severity="warning", at=first_at, device=device, count=count)
            )
    return findings


def torn(entries: Iterable[StoreEntry], devices: Sequence[str], *, first: datetime) -> list[LogFinding]:
    """Return a finding for each device with cut-off lines; critical if its node has no whole device, because then a
    request is lost.
    """
    times: dict[str, list[datetime]] = {}
    for entry in entries:
        if entry.kind == TORN and entry.at >= first:
            times.setdefault(entry.device, []).append(entry.at)
    whole = {node_of(device) for device in devices if device not in times}
    return [
        LogFinding(reason="device_torn", severity="warning" if node_of(device) in whole else "critical", at=min(at),
                device=device, count=len(at))
        for device, at in times.items()
    ]  # fmt: skip


def logins_refused(requests: Iterable[Request]) -> int:
    """Return how many logins were refused. A standby refuses and forwards one; only the active node's answer counts."""
    logins = [request for request in requests if request.path in LOGINS]
    let_in = {text for login in logins if not login.refused for text in login.login_hashes.values()}
    return sum(login.refused and let_in.isdisjoint(login.login_hashes.values()) for login in logins)


def explain(request: Request, known: KnownToUs) -> LogFinding | None:
    """Return why nothing explains a request other than a login; None if something does. A refused request did nothing.
    """
    if request.refused:
        return None
    if request.wrapped and request.path != _WRAP:
        return _explain_wrapped(request, known)
    if request.lease_header and _RECOGNISES.match(f"{request.operation} {request.path}"):
        return _explain_fingerprints(request, known)
    return _explain_done(request, known)


def _explain_wrapped(request: Request, known: KnownToUs) -> LogFinding | None:
    """Return a critical finding if a copy of what a token opens was kept. What anybody may fetch is not even told of
    unless a token was shown: whoever has none could raise it at will.
    """
    lease = known.leases.get(as_uuid(request.lease_header) or UUID(int=0))
    if lease is not None and (lease.id, request.entity_id) not in known.logins:  # somebody else's, in a header
        lease = None
    of = VALUE.match(request.path) or _RECORD.match(request.path) or _KEK.match(request.path)
    token = _IDENTITY.match(request.path)
    client_id = UUID(of[2]) if of else UUID(token[1]) if token else lease.client_id if lease else None
    found = finding("answer_wrapped", request, client_id, lease.id if lease else None)
    if _COPIES.match(request.path):
        return found
    shown = request.entity_id or request.machine or request.accessor_hash
    return _explain_done(request, known) or (replace(found, severity="warning") if shown else None)


def _explain_done(request: Request, known: KnownToUs) -> LogFinding | None:
    if _of_backup(request, known) or _of_restore(request, known):
        return None
    if app := _APP.match(request.path):
        return _explain_app(request, known, app.group(1))
    if _DRILL.match(request.path) and request.operation == "read" and _granted(request, known) is not None:
        return None
    value = VALUE.match(request.path)
    if value and (value.group(1) != "metadata" or request.operation == "update"):
        return _explain_value(request, known, UUID(value.group(2)), value.group(3), value.group(4))
    if record := _RECORD.match(request.path):
        return _explain_record(request, known, UUID(record.group(2)), UUID(record.group(3)))
    if own := _KEK.match(request.path):
        return _explain_lease(request, known, UUID(own.group(2)), _PROFILE, reads=own.group(1) == "decrypt")
    if identity := _IDENTITY.match(request.path):
        return _explain_lease(request, known, UUID(identity.group(1)), identity.group(2), reads=True)
    if request.operation != "read" and (entity := _ENTITY.match(request.path)):
        return _explain_entity(request, known, entity.group(1))
    if _is_listed(request):
        return None
    if request.operation == "list" and _ENTITIES.match(request.path) and request.entity_id in known.stops:
        told = any(move.panic and abs(move.at - request.at) <= NEAR_MOVE for move in known.moves)
        return None if told else finding(PANIC, request)
    setup = _SETUP.match(request.path)
    if setup and (restored(request.at, known) or any(abs(request.at - at) <= SETUP_FOR for at in known.setups)):
        return None
    return finding("store_setup_changed" if setup else "unlisted_request", request)


def _is_listed(request: Request) -> bool:
    if any(request.operation in operations and path.match(request.path) for operations, path in _LISTED):
        return True
    done = f"{request.operation} {request.path}"
    return any(request.machine in machines and what.match(done) for machines, what in _OURS)


def _of_backup(request: Request, known: KnownToUs) -> bool:
    """Whether the backup machine does this while a backup is being made."""
    if request.machine != "backup" or not _BACKUP.match(f"{request.operation} {request.path}"):
        return False
    return any(begun - SLACK <= request.at <= over + SLACK for begun, over in known.backups)


def _of_restore(request: Request, known: KnownToUs) -> bool:
    """Whether a restore does this at the store that it makes, with a root token."""
    if request.machine or request.entity_id or not _RESTORE.match(f"{request.operation} {request.path}"):
        return False
    return restored(request.at, known)


def restored(at: datetime, known: KnownToUs) -> bool:
    """Whether a restore was in progress."""
    return any(done - RESTORE_FOR <= at <= done + SLACK for done in known.restores)


def copied(requests: Iterable[Request]) -> list[str]:
    """Return the paths whose answers were wrapped: copies that outlive lease, kill and destruction lie at the store."""
    paths = {one.path for one in requests if one.wrapped and not one.refused and one.path != _WRAP}
    return sorted(path for path in paths if _COPIES.match(path))


def probing(requests: Iterable[Request]) -> list[UUID]:
    """Return who was refused so often that they seem to look for a way in: entities of machines and clients."""
    refused = Counter(request.entity_id for request in requests if request.refused)
    return [entity for text, count in refused.items() if count >= MANY_REFUSED and (entity := as_uuid(text))]


def put_out(requests: Iterable[Request]) -> list[tuple[str, str]]:
    """Return who disabled whom: pairs of the store's entities."""
    done = [one for one in requests if one.operation == "update" and not one.lets_in and not one.refused]
    return [(one.entity_id, of.group(1)) for one in done if (of := _ENTITY.match(one.path))]


def _explain_entity(request: Request, known: KnownToUs, entity_id: str) -> LogFinding | None:
    client_id, closed = known.entities.get(entity_id, (None, False))
    moves = [move for move in known.moves if move.client_id in (None, client_id)]
    near = [move for move in moves if abs(move.at - request.at) <= NEAR_MOVE]
    if request.operation == "update" and request.lets_in and any(move.opens for move in near):
        return None
    if request.operation != "update" or request.lets_in:
        return finding("cut_off_undone", request, client_id)
    released = max((move.at for move in moves if move.opens and move.at <= request.at), default=None)
    closes = [move for move in near if not move.opens and (released is None or move.at > released)]
    if closed or closes or any(move.opens and move.at > request.at for move in moves):
        return None
    return finding("cut_off_unexplained", request, client_id)


def _explain_value(request: Request, known: KnownToUs, client_id: UUID, provider: str, below: str) -> LogFinding | None:
    reads = request.operation == "read" and request.path.startswith("kv/data/")
    if reads and (grant := _granted(request, known)) is not None:
        own = grant.client_id == client_id and provider in grant.secrets
        return None if own else finding("use_outside_lease", request, client_id, grant.id)
    if not reads and not request.lease_header:
        if request.machine == "web" and "/accounts" not in below and request.path.startswith("kv/metadata/"):
            return None  # it has the store keep more versions: its policy lets it change nothing else there
        if known.writes.get(request.id) == (client_id, f"kv/clients/{client_id}/providers/{provider}{below}"):
            return None
        return finding("write_unexplained", request, client_id)
    found = _explain_lease(request, known, client_id, provider, reads=reads)
    return found or (_explain_version(request, known, client_id, provider) if reads and not below else None)


def _explain_version(request: Request, known: KnownToUs, client_id: UUID, provider: str) -> LogFinding | None:
    """A job's lease is for the version of a key that it pins, if any; the store refuses none. Custody reads any."""
    lease = known.leases[UUID(request.lease_header)]
    pinned = lease.versions.get(provider)
    if lease.kind != "use" or pinned is None or request.version in (0, pinned):
        return None
    return finding("version_not_pinned", request, client_id, lease.id)


def _granted(request: Request, known: KnownToUs) -> GrantRow | None:
    """Return the break-glass grant whose token a request showed: no other token has its accessor."""
    return next((one for one in known.grants if request.accessor_hash in one.accessors), None)


def _explain_record(request: Request, known: KnownToUs, client_id: UUID, profile_id: UUID) -> LogFinding | None:
    reads = request.operation == "read" and request.path.startswith("kv/data/")
    if request.lease_header:  # if it is none of custody, the store's policy is not ours
        return _explain_lease(request, known, client_id, _PROFILE, reads=reads, not_custody="record_under_use_lease")
    if not reads:
        return _explain_seal(request, known, client_id)
    for at in known.openings.get((client_id, profile_id), ()):
        if -BEFORE_OPENING <= request.at - at <= AFTER_OPENING:
            return None
    return finding("read_without_lease", request, client_id)


def _explain_app(request: Request, known: KnownToUs, platform: str) -> LogFinding | None:
    """The secret of our own app at a platform is read under custody of one of the platform's accounts."""
    if request.operation != "read":
        explained = known.app_writes.get(request.id) == request.path.replace("kv/data/", "kv/", 1)
        return None if explained else finding("write_unexplained", request)
    return _explain_lease(request, known, None, platform, reads=True, not_custody="use_outside_lease")


def _explain_fingerprints(request: Request, known: KnownToUs) -> LogFinding | None:
    """A worker makes the fingerprints of a key that it has a provider make, under custody of its place."""
    lease = known.leases.get(as_uuid(request.lease_header) or UUID(int=0))
    of = next((one for one in lease.secrets if one in API_PROVIDERS), "") if lease else ""
    found = _explain_lease(request, known, None, of, reads=True, not_custody="use_outside_lease")
    if found is not None or lease is None:
        return found
    mints = known.mints.get((lease.client_id, of), ())
    if any(-BEFORE_MINT <= request.at - at <= AFTER_MINT for at in mints):
        return None
    found = finding("unlisted_request", request, lease.client_id, lease.id)
    return replace(found, severity="warning")  # or of a worker that died before it put the call on record


def _explain_seal(request: Request, known: KnownToUs, client_id: UUID) -> LogFinding | None:
    """Return why no audit record of a seal explains the broker's write of a profile's record."""
    path = request.path.replace("kv/data/", "kv/", 1)
    if known.writes.get(request.id) == (client_id, path):
        return None
    for one in known.seals:
        if one.covers(request.at, path):
            known.seals.remove(one)
            return replace(finding("write_cut_off", request, client_id), severity="warning")
    return finding("write_unexplained", request, client_id)


def _explain_lease(
    request: Request, known: KnownToUs, client_id: UUID | None, secret: str, *, reads: bool, not_custody: str = ""
) -> LogFinding | None:
    """Return why no lease of this client (None: any) for this secret explains a request.

    Only custody may do more than read, and read what has a reason for a lease that is ``not_custody``.
    """
    if not request.lease_header:
        return finding("read_without_lease" if reads else "write_unexplained", request, client_id)
    lease = known.leases.get(as_uuid(request.lease_header) or UUID(int=0))
    times = known.logins.get((lease.id, request.entity_id), []) if lease else []
    declared = lease is not None and (secret in lease.secrets or _wraps(request, lease))
    if lease is None or client_id not in (None, lease.client_id) or not declared or not times:
        return finding("lease_header_forged", request, client_id)
    if not reads and lease.kind != "custody":
        return finding("write_under_use_lease", request, client_id, lease.id)
    if not any(-SLACK <= request.at - at <= known.token_ttl + SLACK for at in times):
        return finding("use_outside_lease", request, client_id, lease.id)
    return finding(not_custody, request, lease.client_id, lease.id) if not_custody and lease.kind != "custody" else None


def _wraps(request: Request, lease: LeaseRow) -> bool:
    """Whether a sealing runner does this at the store: it wraps, and looks at the wrapping key."""
    return _SEAL in lease.secrets and re.match(r"tenant/(encrypt/|keys/.*/config\Z)", request.path) is not None


def finding(reason: str, request: Request, client_id: UUID | None = None, lease_id: UUID | None = None) -> LogFinding:
    """Return a critical finding about a request."""
    return LogFinding(reason=reason, at=request.at, request_id=request.id, client_id=client_id, lease_id=lease_id)


def as_uuid(text: str) -> UUID | None:
    """Parse a canonical UUID; None for anything else."""
    return UUID(text) if re.fullmatch(_UUID, text, re.ASCII) else None


def surplus(requests: Iterable[Request], known: KnownToUs, after: datetime, until: datetime) -> list[LogFinding]:
    """Return a finding for each lease issued in ``(after, until]`` for which the store did more than its holder told.
    """
    logins: dict[UUID, list[datetime]] = {}
    for (lease_id, _), times in known.logins.items():
        logins.setdefault(lease_id, []).extend(times)
    due = [lease for lease in known.leases.values() if after < lease.issued_at <= until]
    reads = {str(lease.id): Counter[tuple[str, bool]]() for lease in due}
    for request in requests:
        read = value_read(request.operation, request.path) if request.lease_header in reads else None
        if read is None or read[1] == _PROFILE:
            continue
        if not request.refused and explain(request, known) is None:  # otherwise it is a finding of its own
            reads[request.lease_header][read[1], read[2] == IDENTITY] += 1
    compared = (_compare(lease, logins.get(lease.id, []), reads[str(lease.id)]) for lease in due)
    return [found for found in compared if found]


def _compare(lease: LeaseRow, logins: list[datetime], reads: Mapping[tuple[str, bool], int]) -> LogFinding | None:
    said = 1 if lease.kind == "enroll" else lease.used_logins
    more = lease.kind == "use" and any(count > lease.used_reads.get(one, 0) for (one, _), count in reads.items())
    if not (logins or reads if said is None else len(logins) > said or more):
        return None
    found = LogFinding(
        reason="lease_use_surplus", at=max(logins, default=lease.issued_at), client_id=lease.client_id,
        lease_id=lease.id, count=len(logins),
    )  # fmt: skip
    return found if said is not None else replace(found, reason="lease_use_untold", severity="warning")
