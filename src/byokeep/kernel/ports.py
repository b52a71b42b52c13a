"""Every Protocol that the flows need, with few methods each.

Rules
- A port uses the nouns of :mod:`byokeep.core` and hides its driver completely.
- A port raises only errors of :mod:`byokeep.core.errors`. ``Unavailable`` = could not be done or checked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from byokeep.core.audit import ChainHead
from byokeep.core.checkpoint import LogState, SignedEpoch
from byokeep.core.events import Event
from byokeep.core.identity import Face
from byokeep.core.model import Provider
from byokeep.core.ref import AppRef, ProfileRef, SecretRef
from byokeep.core.sealed_record import ArtifactKey, StoredArtifact
from byokeep.core.secret import Secret
from byokeep.kernel.rows import Shape

T = TypeVar("T")
Place_contra = TypeVar("Place_contra", contravariant=True)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Where an audit record stands: chain (client id or platform chain), sequence number, hash in hex."""

    chain: UUID
    seq: int
    hash_hex: str


class Tx(Protocol):
    """One database transaction. Leaving the block commits; an exception rolls back.

    A statement is named; it lies in ``adapters/postgres/sql/*.sql``. What its rows become is said by a shape.
    """

    @property
    def pid(self) -> int:
        """The server's number for this session; 0 when it has ended. Nobody is asked."""

    async def one(self, shape: Shape[T], statement: str, /, **params: object) -> T:
        """Return the only row. Raises NotFound(``not_found``) when there is none."""

    async def maybe(self, shape: Shape[T], statement: str, /, **params: object) -> T | None:
        """Return the row or None."""

    async def all(self, shape: Shape[T], statement: str, /, **params: object) -> list[T]:
        """Return all rows.

        Args:
            shape: What a row becomes.
            statement: Name of the statement.
            params: The statement's parameters.
        """

    async def last(self, shape: Shape[T], statement: str, /, **params: object) -> list[T]:
        """As :meth:`all`, and commit with it, in the same trip; nothing may follow in the block.

        Raises Unavailable(``commit_outcome_unknown``) if the commit's outcome cannot be known.
        """

    async def ahead(self, statement: str, /, **params: object) -> None:
        """Send a statement along with the next one, before it; its rows say nothing: a lock."""

    async def append(self, event: Event, *, commit: bool = False) -> Receipt:
        """Append to the audit chain of ``event.client_id`` (or the platform's) here; ``commit`` = as :meth:`last`."""

    async def defer(self, task: str, *, delay_s: float = 0, key: str = "", lock: str = "", **ids: str) -> bool:
        """Enqueue a task in this transaction; ``key`` = queueing lock: False when one waits already. Ids only.

        ``lock``: of the tasks that name it one at a time is worked on, on all machines.
        """


class Database(Protocol):
    """The one door to PostgreSQL."""

    def begin(self, *, client_id: UUID | None = None, every_client: bool = False) -> AbstractAsyncContextManager[Tx]:
        """Open a transaction that sees one client's rows, every client's, or (the default) no client's (S-OWASP-23).

        Raises Unavailable(``database_unavailable``); ValueError for both scopes at once.
        """

    async def read(
        self, shape: Shape[T], statement: str, params: Mapping[str, object], *, client_id: UUID | None = None,
        every_client: bool = False,
    ) -> list[T]:  # fmt: skip
        """Return the rows of one statement, in a transaction of its own that may not write. Raises as :meth:`begin`."""

    async def ping(self) -> None:
        """Raise Unavailable unless the database answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A stored version and the store's own request id."""

    version: int
    request_id: str


class Custody(Protocol[Place_contra, Value]):
    """One client's places of one kind at the store, for as long as a custody lease lasts."""

    async def newest(self, ref: Place_contra) -> int:
        """Return the newest version's number, 0 when the place was never written."""

    async def read(self, ref: Place_contra, version: int) -> Value:
        """Return exactly this version. Raises NotFound, Unavailable, Denied, Integrity."""

    async def write(self, ref: Place_contra, value: Value, /, *, cas: int) -> Written:
        """Write version ``cas + 1``. Raises Conflict(``stale_version``), Unavailable, Denied."""

    async def live_versions(self, ref: Place_contra) -> list[int]:
        """Return versions neither deleted nor destroyed."""

    async def destroy(self, ref: Place_contra, versions: list[int]) -> None:
        """Destroy versions for good."""


class ValueCustody(Custody[SecretRef, Secret], Protocol):
    """Custody of the values at one provider or platform."""

    async def keep_more(self, ref: SecretRef) -> None:
        """As :meth:`Intake.keep_more`."""

    async def app_secret(self, provider: Provider, login: str, version: int) -> Secret:
        """Return the secret of our own app at a login."""

    async def identity(self, ref: SecretRef) -> Secret:
        """Return an identity token of the client for the provider. Raises Denied, Unavailable."""

    async def fingerprints(self, ref: SecretRef, value: Secret) -> tuple[str, list[str]]:
        """Return the keyed HMAC (hex) and the leak digests (hex) of a key that is about to be written there.

        Raises Denied, Unavailable.
        """


class Custodian(Protocol):
    """The identity of one of our own workers at the broker."""

    def open(self, job_id: UUID) -> AbstractAsyncContextManager[ValueCustody]:
        """Obtain a custody lease of a job and log in at the store.

        Raises Denied when the job, client or switches do not allow it, Unavailable when that could not be asked.
        """

    async def close(self, job_id: UUID) -> None:
        """End a job. Raises Unavailable, Denied."""


class OutcomeStatus(StrEnum):
    """The closed list of what a provider's identity call comes to."""

    VERIFIED = "verified"
    VERIFIED_NO_QUOTA = "verified_no_quota"
    INVALID_KEY = "invalid_key"
    DISABLED = "disabled"
    RESTRICTED_BUT_LIVE = "restricted_but_live"
    LEAKED = "leaked"
    NO_CREDIT = "no_credit"
    RATE_LIMITED = "rate_limited"
    PROVIDER_DOWN = "provider_down"
    TIMEOUT = "timeout"
    TLS_ERROR = "tls_error"
    REDIRECT_REFUSED = "redirect_refused"
    MALFORMED = "malformed"
    REFLECTED = "reflected"
    FORBIDDEN = "forbidden"
    GEO_BLOCKED = "geo_blocked"
    NOT_FOUND = "not_found"
    WRONG_KEY_KIND = "wrong_key_kind"
    UNEXPECTED_STATUS = "unexpected_status"
    EXCHANGE_REFUSED = "exchange_refused"


_VERIFIED: Final = frozenset({OutcomeStatus.VERIFIED, OutcomeStatus.VERIFIED_NO_QUOTA})
_AGAIN: Final = frozenset({OutcomeStatus.RATE_LIMITED, OutcomeStatus.PROVIDER_DOWN, OutcomeStatus.TIMEOUT})
_ALERTS: Final = frozenset({OutcomeStatus.LEAKED, OutcomeStatus.REFLECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """The result of one identity call: all that may be kept of it.

    Args:
        http_status: Status of the last answer, None when there was none.
        latency_ms: Duration of the last attempt.
        account_hash: Keyed hash of the account id, None when the provider tells none or nothing was verified.
        endpoint: Name of the call, such as ``anthropic.models``.
        attempts: GETs sent, 1 to 3.

    Raises:
        ValueError: ``verified`` without a 2xx answer.
    """

    status: OutcomeStatus
    http_status: int | None
    latency_ms: int
    account_hash: str | None
    endpoint: str
    attempts: int

    def __post_init__(self) -> None:
        if self.verified and not (self.http_status is not None and 200 <= self.http_status < 300):
            raise ValueError("only a 2xx answer verifies a key")

    @property
    def verified(self) -> bool:
        """Whether the provider confirmed the key."""
        return self.status in _VERIFIED

    @property
    def again(self) -> bool:
        """Whether asking later may end differently: busy, down and slow may; everything else is an answer."""
        return self.status in _AGAIN

    @property
    def alert(self) -> bool:
        """Whether a person must hear of it at once."""
        return self.status in _ALERTS


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKey:
    """A key as its provider lists it; ``hint`` is its masked label."""

    id: str
    name: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MintedKey:
    """A key that was made at its provider: its id there, its value, and after how many seconds it ends by itself."""

    id: str
    value: Secret = field(repr=False)
    life_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderUsage:
    """What a provider counted: for model and bucket, how much.

    ``buckets``: the beginnings of all that it told of; ``back``: of so many back from now at most, 0 = of all; ``cost``
    in millionths of a US dollar, None = it does not tell.
    """

    unit: str
    width_s: int
    back: int
    buckets: frozenset[datetime]
    counted: Mapping[tuple[str, datetime], int]
    cost: Mapping[tuple[str, datetime], int] | None = None


class KeyIssuer(Protocol):
    """A client's keys at their provider, under the key that administers the account.

    Raises Unavailable when it is not known whether an act was done, Conflict when it was refused.
    """

    async def mint(self, provider: str, admin: Secret, name: str, place: Mapping[str, str]) -> MintedKey:
        """Make a key under a name."""

    async def keys(self, provider: str, admin: Secret, place: Mapping[str, str]) -> list[ProviderKey]:
        """Return the account's keys."""

    async def find(
        self, provider: str, admin: Secret, value: Secret, place: Mapping[str, str], others: Sequence[Secret] = ()
    ) -> str:
        """Return the id of the key whose masked label fits a value and none of the others; empty: nobody can tell."""

    async def revoke(self, provider: str, admin: Secret, key_id: str, place: Mapping[str, str]) -> None:
        """End a key; one that is gone already is fine."""

    async def usage(
        self, provider: str, admin: Secret, place: Mapping[str, str], since: datetime, until: datetime
    ) -> ProviderUsage:
        """Return what the account used in a span, of every page or not at all."""


class Intake(Protocol):
    """What ``web`` may do at the store: write and look at metadata, never read."""

    async def put(self, ref: SecretRef | AppRef, value: Secret, *, cas: int) -> Written:
        """Write version ``cas + 1``. Raises Conflict(``stale_version``), Unavailable."""

    async def current_version(self, ref: SecretRef | AppRef) -> int:
        """Return the newest version's number, 0 when the path was never written."""

    async def live_versions(self, ref: SecretRef | AppRef) -> list[int]:
        """Return versions neither deleted nor destroyed."""

    async def keep_more(self, ref: SecretRef | AppRef) -> None:
        """Have the store keep more versions of a place. Raises Unavailable, Denied: an earlier set-up."""

    async def value_fingerprint(self, value: Secret) -> str:
        """Return a keyed HMAC (hex) under a key that never leaves the store (R1.3-4)."""

    async def trust(self, ref: SecretRef, audience: str) -> None:
        """Let the store make identity tokens of a client for a provider. Raises Unavailable."""

    async def discovery(self, name: str) -> dict[str, Any]:
        """Return a public document of the store as issuer: ``openid-configuration``, ``keys``. Raises Unavailable."""


class ProfileRecords(Protocol):
    """What ``broker`` may do with the records of sealed profiles: read one, write the next one. It removes none."""

    async def newest(self, ref: ProfileRef) -> int:
        """Return the newest version's number, 0 when the path was never written. Raises Unavailable."""

    async def read(self, ref: ProfileRef, version: int) -> bytes:
        """Return exactly this version. Raises NotFound(``record_missing``), Unavailable."""

    async def write(self, ref: ProfileRef, record: bytes, *, cas: int) -> Written:
        """Write version ``cas + 1``. Raises Conflict(``stale_version``), Unavailable."""


class BrokerRecords(ProfileRecords, Protocol):
    """And of a key: its newest version's number."""

    async def newest(self, ref: ProfileRef | SecretRef) -> int:
        """Return the newest version's number, 0 when the path was never written. Raises Unavailable."""


class ScanKey(Protocol):
    """The key of the leak fingerprints: what it makes may be kept, the key itself may not."""

    async def digests(self, value: Secret) -> list[str]:
        """Return the digests (hex) of a value's windows; none when it is too weak. Raises Unavailable."""

    async def shown(self) -> str:
        """Return the key as 64 hex digits, for somebody who may have it. Raises Unavailable."""


class Signer(Protocol):
    """What ``broker`` may sign with. Private keys stay in the store (S-JWT-5, S-TLOG-8)."""

    async def sign_jwt(self, claims: Mapping[str, object]) -> str:
        """Return a compact EdDSA JWT, typ ``byokeep-lease+jwt``, kid = key version. Deterministic."""

    async def sign(self, purpose: str, message: bytes) -> tuple[bytes, str]:
        """Sign with key ``checkpoints`` or ``evidence``; returns (64-byte signature, key id)."""

    async def public_keys(self, purpose: str) -> dict[str, bytes]:
        """Return key id -> raw 32-byte Ed25519 public key, all versions."""


class Cutoff(Protocol):
    """The store's own switch: the client's entity."""

    async def enroll(self, jwt: str, lease_id: UUID | None = None) -> str:
        """Log in once with a powerless role so that the client's entity exists; returns the entity id.

        ``lease_id``: named to the store, whose log shows it.
        """

    async def disable(self, *entity_ids: str) -> None:
        """Return only when every token of these entities is refused; all are tried. Raises Unavailable."""

    async def enable(self, *entity_ids: str) -> None:
        """Let the entities log in again."""

    async def disabled(self, entity_id: str) -> bool | None:
        """Return whether the entity is disabled; None where we may not look. Raises Unavailable."""

    async def end_copies(self, path: str) -> None:
        """End what wrapped answers of a path left at the store. Raises Denied, Rejected, Unavailable."""


LEAST_FREE_BYTES: Final = 256 << 20  # on the disk of an audit device: with less it is `disk_low`


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceHealth:
    """State of one audit device. ``reason`` is a code, empty when healthy; its file holds entries since then.

    ``name``: the device's; of one node in a cluster ``node/device``, see :func:`node_of`.

    ``records``: a probe's mark stands in its file and on disk; true also of a device that is unhealthy otherwise.
    """

    name: str
    healthy: bool
    reason: str
    last_write_at: datetime | None
    size_bytes: int
    disk_free_bytes: int
    records: bool = False
    recording_since: datetime | None = None


def node_of(device: str) -> str:
    """Return the cluster's node whose file of a device is meant; empty where there is one node."""
    return device.rpartition("/")[0]


TORN: Final = "torn"  # the kind of an entry that stands for a line which a crash cut off
HASHED_NAME: Final = "leases"  # of the key that signs leases, as each answer about it names it


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreEntry:
    """One request-response of the store's own audit log, allow-listed fields only.

    ``lets_in``: of an update of an entity, that it does anything but disable it. ``name_hash``: of an answer about the
    key that signs leases, the device's hash of ``HASHED_NAME``. The store chose the value, so nobody who asks can spoil
    it: another hash than the device makes now was made with another key. ``version``: of an answer to the read of a
    value, which version it was; 0 = the entry does not say. ``machine``: the AppRole whose login gave the token that
    asks; a token that was made in another way has none. ``accessor_hash`` is that of the
    token that asks; ``wrapped_hash``, of an unwrapping or a wrapping anew, that of the wrapping token which was shown.
    ``wrapped``: the answer was kept at the store for whoever has a wrapping token, or such a copy was taken out.
    """

    device: str
    at: datetime
    kind: str
    status_error: bool
    request_id: str = ""
    operation: str = ""
    path: str = ""
    entity_id: str = ""
    lease_header: str = ""
    login_jwt_hash: str = ""
    lets_in: bool = False
    name_hash: str = ""
    version: int = 0
    machine: str = ""
    accessor_hash: str = ""
    wrapped_hash: str = ""
    wrapped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedToken:
    """A token that nobody but the holder of ``token`` can get out, once; accessors end it and what is in it.

    ``wrapped_at``: when it was wrapped, in the store's own words.
    """

    token: str = field(repr=False)
    wrapped_at: str
    wrap_accessor: str
    accessor: str


class BreakGlassRole(Protocol):
    """The store's one role for break glass."""

    async def strangers(self) -> tuple[str, ...]:
        """Return the names of roles that are there and should not, or the other way round. Raises Unavailable."""

    async def issue(self, jwt: Secret, *, grant_id: UUID, wrap_s: int) -> WrappedToken:
        """Return what the role gives for signed claims. Raises Denied, Rejected, Integrity, Unavailable."""

    async def revoke(self, *accessors: str) -> None:
        """End tokens. Raises Unavailable."""


class StoreAudit(Protocol):
    """The store's own audit trail."""

    async def devices(self) -> list[DeviceHealth]:
        """Return every declared device's health, proven by a probe written just now."""

    async def hash(self, device: str, value: Secret) -> str:
        """Return the device's keyed hash of a value, as it would stand in its log."""

    def entries(self, device: str, *, since: datetime) -> AsyncIterator[StoreEntry]:
        """Yield entries in file order. Raises Unavailable(``store_audit_unreadable``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLook:
    """What the store shows of itself: ``serving``, ``sealed``, ``standby`` or ``not_set_up``, and its own clock.

    ``took_s``: seconds of a write, which is tried of a store that serves.
    """

    state: str
    at: datetime
    took_s: float


class StoreHealth(Protocol):
    """Whether the secret store serves, as the last probe says."""

    async def probe(self) -> None:
        """Ask the store now. Raises Unavailable: it does not serve."""

    def require(self) -> None:
        """Raise Unavailable when the store has not answered a probe for a few seconds. Asks nobody."""

    async def look(self) -> StoreLook:
        """Ask the store how it is, and write to it. Raises Unavailable: it does not answer, or takes no write."""


class Tombstones(Protocol):
    """What was ended or withdrawn, in a place that no restore of database, store or blobs takes back.

    Ids of destroyed data keys and of revoked tokens; and engaged kill switches, disabled people and machines, suspended
    clients: ``switch:SCOPE``, ``subject:ID``, ``client:ID``.
    """

    async def all(self) -> frozenset[UUID]:
        """Return every id. Raises Integrity: it is not what it was; Unavailable."""

    async def add(self, ids: Iterable[UUID]) -> None:
        """Add ids, durably; none is ever taken out. Raises as :meth:`all`."""

    async def withdrawn(self) -> Mapping[str, ChainHead]:
        """Return what was withdrawn, with the record that says so last. Raises as :meth:`all`."""

    async def withdraw(self, what: Mapping[str, ChainHead]) -> None:
        """Note what is withdrawn, durably, where its record is not the one noted last. Raises as :meth:`all`."""


class AuditCopy(Protocol):
    """The second copy of the audit log, since the last rebased epoch."""

    async def copied_heads(self) -> dict[UUID, ChainHead]:
        """Return where the copy of each chain ends."""

    async def copy_append(self, lines: Sequence[bytes]) -> None:
        """Add export lines (without line ends) to the copy, durably: all of them or none. Raises Unavailable."""


class CheckpointStore(AuditCopy, Protocol):
    """A place that the database cannot write: signed checkpoints and the second copy of the audit log.

    It only grows, and it refuses an epoch that does not continue the last one (S-TLOG-3, S-TLOG-5).
    """

    async def newest(self) -> tuple[SignedEpoch | None, list[ChainHead]]:
        """Return the last epoch and the last records copied: a quick look, without a check of what came before."""

    async def covering(self, chain: UUID, seq: int) -> tuple[LogState, bytes] | None:
        """Return the state and note of the first epoch that covers a record; None = none does yet."""

    async def latest(self) -> tuple[LogState, bytes]:
        """Return the replayed state and the newest note; an empty state and ``b""`` before the first epoch.

        Raises Integrity when what is kept does not add up; Unavailable when it cannot be read.
        """

    async def publish(self, epoch: SignedEpoch) -> None:
        """Keep one more epoch, durably. Raises Integrity(``checkpoint_inconsistent``), Unavailable."""

    def epochs(self) -> AsyncIterator[SignedEpoch]:
        """Yield all epochs, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at a platform came to.

    Attributes:
        verdict: ``match``; anything else is none (``drift``, ``mismatch``, ``unknown``).
        cause: A code: why.
        face: The account that showed itself; None when none did.
        endpoint: A name for what was looked at.
    """

    platform: Provider
    verdict: str
    cause: str
    face: Face | None = field(repr=False)
    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A proof screenshot, PNG, and its SHA-256 in hex."""

    picture: bytes = field(repr=False)
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Where a person finds the waiting browser. Who has the address is at its keyboard.

    ``done(seconds)`` waits until the person says that this platform's login is done; False when they do not.
    """

    address: str = field(repr=False)
    instructions: str = field(repr=False)
    done: Callable[[float], Awaitable[bool]] = field(repr=False)


class ArtifactStore(Protocol):
    """Where sealed browser profiles lie. It takes nothing else, and what lies there is never written again.

    Every call says for which client; a key of another one raises Denied(``artifact_of_another_client``). A store that
    does not answer raises Unavailable(``artifact_store_unavailable``); nothing of a cut-off call is left.
    """

    async def put(self, client_id: UUID, key: ArtifactKey, chunks: AsyncIterator[bytes]) -> StoredArtifact:
        """Store a stream under a key, durably. Raises Rejected(``not_sealed``), Conflict(``artifact_exists``)."""

    def get(self, client_id: UUID, key: ArtifactKey, expected: StoredArtifact) -> AsyncGenerator[bytes, None]:
        """Yield the bytes. What was yielded counts only when the last one has been: the digest is known then.

        Raises Integrity(``artifact_altered``), NotFound(``blob_missing``).
        """

    async def delete(self, client_id: UUID, key: ArtifactKey) -> None:
        """Remove one generation; one that is gone is fine. Raises Denied(``may_not_remove``), Conflict."""

    async def list_keys(self, client_id: UUID | None) -> Sequence[ArtifactKey]:
        """Return what a client has, ordered by key; ``None``: what every client has.

        Raises Integrity(``strange_artifact``): a name we never gave.
        """

    async def probe(self) -> None:
        """Raise unless the store can be reached and written."""


class Clock(Protocol):
    """Time. Monotonic for durations, UTC for records; only tests replace it (S-ASVS-31)."""

    def now(self) -> datetime:
        """Aware UTC time."""

    def monotonic(self) -> float:
        """Seconds that never run backwards."""


class Ids(Protocol):
    """Randomness from the operating system."""

    def uuid(self) -> UUID:
        """A random UUID (version 4)."""

    def token(self) -> str:
        """256 random bits, base64url without padding."""
