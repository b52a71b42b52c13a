"""What the identities ``web`` and ``broker`` do at the store: values and records, signatures, the cut-off of a client.

The signature of a lease must come out the same when the reconciler signs its claims again, even after a rotation of the
key. So the key version is a function of the claims: the newest version that was at least ``SETTLE_S`` old at ``iat``,
else the oldest. Every verifier therefore also knows a new version before it is used.

Once the active node has committed a write to a client's entity it refuses the client's live tokens and every new
login. A standby that serves reads may lag (0.1 s was seen), so in a cluster the act is done when every node has applied
the write.

Rules
- ``web`` writes clients' values and the secrets of our own apps, and looks at versions. It reads neither.
- The one key that ``web`` may read is that of the leak fingerprints, which is no client's value. It is read for each
  use and not kept (docs/adr/0019-fingerprints-of-live-values.md).
- ``broker`` reads the record of a profile that a runner has open, and writes the next one. A record holds a wrapped key
  and no value. A runner's own login reaches none, so it can neither read nor touch another profile's record; the store
  could not tell two profiles of one client apart.
- Only the reconciliation ever asks to sign again, within a minute or two. So the signature of a login token is
  remembered for that long, by the digest of what was signed: it depends on the claims alone, whoever computes it. By
  then the token is worthless, and the claims needed to put it together again are elsewhere.
- For a cut-off each node is asked for its own view, which is what it judges logins and live tokens by. The cut-off
  holds when every node has applied it or, if a node cannot be asked, when everything signed before it has expired.
  Until then it is not acknowledged. A node that cannot be asked does not hold up a release: that node refuses.
- A store that is older than the database may not know an entity. It lets nobody in under it, so a cut-off holds when
  everything signed before has expired, and a release has nothing to let in.
- A health probe asks ``sys/leader``: no token, no entry in the audit logs. A node that is sealed, or knows no active
  node, does not serve. Never probed counts as not serving. The decision whether the store serves asks nobody: it looks
  at the age of the last good answer.

It may not hold a signing key: they stay in OpenBao's Transit.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.adapters.openbao.provisioning import (
    IDENTITY_KEY,
    IDENTITY_TTL,
    LOGIN_LIFE_S,
    LOGIN_PATH,
    MAX_TOKEN_TTL_S,
    SETTLE_S,
)
from byokeep.core.errors import ByokeepError, Denied, NotFound, Rejected, Unavailable, refusing
from byokeep.core.exchange import identity_path
from byokeep.core.ref import AppRef, ProfileRef, SecretRef
from byokeep.core.sealed_record import MOST_KEPT
from byokeep.core.secret import Secret
from byokeep.kernel.freshness import Freshness
from byokeep.kernel.ports import StoreLook, Written
from byokeep.wire import fingerprints
from byokeep.wire.bao_http import BaoHttp, keep_more, live_versions, read_secret, record_from, write_secret
from byokeep_redact.fingerprint import digests_of


class _Kv:
    """What the ports have in common: writing the next version of a path, and looking at its versions."""

    def __init__(self, login: AppRoleLogin) -> None:
        self._login = login

    async def _write(self, path: str, value: Secret, cas: int) -> Written:
        stored = await self._login.retrying(lambda token: write_secret(self._login.http, token, path, value, cas=cas))
        return Written(version=stored.version, request_id=stored.request_id)

    async def _versions(self, path: str) -> tuple[int, list[int]]:
        """Return the newest version's number, 0 if the path was never written, and the live ones."""
        return await self._login.retrying(lambda token: live_versions(self._login.http, token, path))


PUBLIC_FOR_S: Final = 60.0  # seconds for which a public document is kept
PUBLIC_FAILED_FOR_S: Final = 2.0  # seconds for which a failure to read it is kept


@dataclass(slots=True)
class _Public:
    """A public document as last read, or why it could not be read."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    until: float = float("-inf")
    said: Mapping[str, Any] = field(default_factory=dict)
    failure: ByokeepError | None = None


class BaoIntake(_Kv):
    """Writes values, and the secrets of our own apps, as the identity ``web``, which cannot read them.

    Public documents are cached: anybody may ask for them, and the store records each request.
    """

    def __init__(self, login: AppRoleLogin) -> None:
        super().__init__(login)
        self._public: dict[str, _Public] = {}

    async def put(self, ref: SecretRef | AppRef, value: Secret, *, cas: int) -> Written:
        """Write version ``cas + 1``.

        Raises:
            Conflict: ``stale_version``.
            Rejected: ``value_not_text``.
            Unavailable: The store could not be reached or asked; the write may have happened.
        """
        return await self._write(ref.path, value, cas)

    async def current_version(self, ref: SecretRef | AppRef) -> int:
        """Return the newest version's number, 0 if the path was never written. Raises Unavailable."""
        return (await self._versions(ref.path))[0]

    async def live_versions(self, ref: SecretRef | AppRef) -> list[int]:
        """Return the versions that are neither deleted nor destroyed. Raises Unavailable."""
        return (await self._versions(ref.path))[1]

    async def keep_more(self, ref: SecretRef | AppRef) -> None:
        """Have the store keep more versions of a place. Raises Unavailable, Denied: an earlier set-up."""
        await self._login.retrying(lambda token: keep_more(self._login.http, token, ref.path, MOST_KEPT))

    async def value_fingerprint(self, value: Secret) -> str:
        """Return HMAC-SHA256 in hex, under a Transit key that never leaves the store. Raises Unavailable."""
        return await self._login.retrying(lambda token: fingerprints.value_fingerprint(self._login.http, token, value))

    async def trust(self, ref: SecretRef, audience: str) -> None:
        """Let the store make identity tokens of a client for a provider. It may be repeated. Raises Unavailable."""
        key = f"identity/oidc/key/{ref.client_id}"
        await self._login.request("POST", key, body=IDENTITY_KEY)
        role = {"key": str(ref.client_id), "client_id": audience, "ttl": IDENTITY_TTL}
        await self._login.request("POST", identity_path(ref.client_id, ref.provider.value, "role"), body=role)
        self._public = {}  # a new client's public key is shown at once, even while an older read is under way

    async def discovery(self, name: str) -> dict[str, Any]:
        """Return a public document of the store as issuer, at most a minute old. Raises Unavailable.

        The store is asked once a minute, or every two seconds while it fails, however many ask here.
        """
        kept = self._public.setdefault(name, _Public())
        async with kept.turn:
            if time.monotonic() >= kept.until:
                await self._publish(name, kept)
        if kept.failure is not None:
            raise copy(kept.failure)  # one for each caller: the error itself notes whether it is on record
        return dict(kept.said)

    async def _publish(self, name: str, kept: _Public) -> None:
        kept.until = time.monotonic() + PUBLIC_FAILED_FOR_S
        kept.failure = Unavailable("store_timeout")  # in case the caller goes away
        try:
            reply = await self._login.http.request("GET", f"identity/oidc/.well-known/{name}")
        except ByokeepError as error:
            kept.until, kept.failure = time.monotonic() + PUBLIC_FAILED_FOR_S, error
        else:
            kept.until, kept.said, kept.failure = time.monotonic() + PUBLIC_FOR_S, reply.data, None


class BaoScanKey(_Kv):
    """Reads the key of the leak fingerprints, makes digests with it, and hands it out for a scan."""

    async def digests(self, value: Secret) -> list[str]:
        """Return the digests of a value's windows in hex; none if it is too weak to be recognised.

        Raises:
            Unavailable: As :meth:`shown`.
        """
        with await self._key() as key:
            return digests_of(value.reveal(), key.reveal())

    async def shown(self) -> str:
        """Return the key as 64 hex digits.

        Raises:
            Unavailable: ``scan_key_missing``: a release without one set up the store; or the store is away.
        """
        with await self._key() as key:
            return key.reveal().hex()

    async def _key(self) -> Secret:
        try:
            return await self._login.retrying(lambda token: fingerprints.scan_key(self._login.http, token))
        except Denied:
            raise fingerprints.key_missing() from None


class BaoProfileRecords(_Kv):
    """Reads and writes as the identity ``broker``, under no lease."""

    async def newest(self, ref: ProfileRef | SecretRef) -> int:
        """Return the newest version's number, 0 if the path was never written. Raises Unavailable."""
        return (await self._versions(ref.path))[0]

    async def read(self, ref: ProfileRef, version: int) -> bytes:
        """Return exactly this version.

        Raises:
            NotFound: ``record_missing``.
            Unavailable: ``records_refused``: the store was set up before ``broker`` got this right.
        """
        try:
            reading = self._login.retrying(lambda token: read_secret(self._login.http, token, ref.path, version, None))
            return await record_from(reading)
        except NotFound:
            raise
        except Denied:  # this process was refused, not the runner that asked
            step = "Update the store's set-up: `byokeep up`, or `byokeep init` for your own store."
            raise Unavailable("records_refused", next_step=step) from None

    async def write(self, ref: ProfileRef, record: bytes, *, cas: int) -> Written:
        """Write version ``cas + 1``. Raises Conflict(``stale_version``), Unavailable."""
        return await self._write(ref.path, Secret(record), cas)


MAX_JWT_LIFE_S: Final = 30  # seconds
_KEEP_S: Final = 60.0  # seconds for which a list of versions is trusted; less than SETTLE_S
_REMEMBER_S: Final = 120.0  # seconds; a usual round of the reconciliation looks back no further
_REMEMBERED: Final = 50_000  # signatures at most
_PURPOSES: Final = frozenset({"leases", "checkpoints", "evidence"})


@dataclass(frozen=True, slots=True)
class _Version:
    number: int
    created: float
    public_key: bytes


class TransitSigner:
    """Signs as the identity ``broker`` with the Ed25519 keys ``leases``, ``checkpoints`` and ``evidence``."""

    def __init__(self, login: AppRoleLogin) -> None:
        self._login = login
        self._known: dict[str, tuple[float, list[_Version]]] = {}
        self._lock = asyncio.Lock()
        self._made: dict[bytes, tuple[float, Secret]] = {}  # oldest first

    async def sign_jwt(self, claims: Mapping[str, object]) -> str:
        """Return a compact EdDSA JWT, typ ``byokeep-lease+jwt``, kid = key version; the same for the same claims.

        Raises:
            Rejected: ``bad_claims``: no integer ``iat`` and ``exp``, or more than 30 s between them. The store itself
                does not limit a token's life.
            Unavailable: Not signed.
        """
        issued, expires = claims.get("iat"), claims.get("exp")
        if type(issued) is not int or type(expires) is not int or not 0 < expires - issued <= MAX_JWT_LIFE_S:
            raise Rejected("bad_claims")
        versions = await self._versions("leases")
        settled = [v for v in versions if v.created + SETTLE_S <= issued] or versions[:1]
        number = settled[-1].number
        header = {"alg": "EdDSA", "kid": str(number), "typ": "byokeep-lease+jwt"}
        signed = f"{_b64url(_canonical(header))}.{_b64url(_canonical(claims))}"
        signature = await self._sign_once(signed.encode(), number)
        return f"{signed}.{_b64url(signature)}"

    async def sign(self, purpose: str, message: bytes) -> tuple[bytes, str]:
        """Sign with the newest version of key ``checkpoints`` or ``evidence``; returns (64-byte signature, key id).

        Raises:
            Rejected: ``unknown_key_purpose``.
            Unavailable: Not signed.
        """
        if purpose == "leases":
            raise Rejected("unknown_key_purpose")  # only claims are signed with it, by sign_jwt
        number = (await self._versions(purpose))[-1].number
        return await self._sign(purpose, message, number), str(number)

    async def public_keys(self, purpose: str) -> dict[str, bytes]:
        """Return key id -> raw 32-byte Ed25519 public key, all versions. Raises as :meth:`sign`."""
        return {str(v.number): v.public_key for v in await self._versions(purpose)}

    async def _sign_once(self, message: bytes, number: int) -> bytes:
        digest, now = sha256(message).digest(), time.monotonic()
        if (made := self._made.get(digest)) is not None:
            return made[1].reveal()
        signature = await self._sign("leases", message, number)
        self._made[digest] = now, Secret(signature)
        while len(self._made) > _REMEMBERED or next(iter(self._made.values()))[0] < now - _REMEMBER_S:
            self._made.pop(next(iter(self._made)))[1].wipe()
        return signature

    async def _sign(self, purpose: str, message: bytes, number: int) -> bytes:
        body = {"input": base64.b64encode(message).decode(), "key_version": number}
        reply = await self._login.request("POST", f"transit/sign/{purpose}", body=body)
        prefix, _, text = str(reply.data.get("signature")).rpartition(":")
        signature = fingerprints.unb64(text)
        if prefix != f"vault:v{number}" or len(signature) != 64:
            raise Unavailable("store_garbage")
        return signature

    async def _versions(self, purpose: str) -> list[_Version]:
        if purpose not in _PURPOSES:
            raise Rejected("unknown_key_purpose")
        async with self._lock:
            read_at, versions = self._known.get(purpose, (0.0, []))
            now = time.monotonic()
            if not versions or now - read_at > _KEEP_S:
                reply = await self._login.request("GET", f"transit/keys/{purpose}")
                versions = _parse_versions(reply.data.get("keys"))
                self._known[purpose] = (now, versions)
            return versions


def _parse_versions(keys: object) -> list[_Version]:
    versions = []
    try:
        if isinstance(keys, dict):
            for number, key in keys.items():
                created = datetime.fromisoformat(key["creation_time"]).timestamp()
                versions.append(_Version(int(number), created, fingerprints.unb64(key["public_key"])))
    except (KeyError, TypeError, ValueError):
        versions = []
    if not versions or any(len(v.public_key) != 32 for v in versions):
        raise Unavailable("store_garbage")
    return sorted(versions, key=lambda v: v.number)


def _canonical(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


# What the store's status says about its health when it does not serve.
_STATES: Final = {429: "standby", 472: "standby", 473: "standby", 501: "not_set_up", 503: "sealed"}
_BELIEVED_S: Final = 3.0  # seconds for which a good answer counts
_PROBE_S: Final = 1.0  # seconds of one probe


class ProbedStoreHealth:
    """What the last probe of a store said.

    Args:
        http: The store.
        login: The identity whose login is the write of a look.
        clock: Seconds that only grow.
    """

    def __init__(
        self, http: BaoHttp, login: AppRoleLogin | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._http, self._login, self._clock = http, login, clock
        self._answered = Freshness(_BELIEVED_S, _unreachable)

    async def probe(self) -> None:
        """Ask the store now. Raises Unavailable: it does not serve."""
        asked_at = self._clock()
        reply = await self._http.request("GET", "sys/leader", timeout_s=_PROBE_S)
        if reply.data.get("ha_enabled") is not False and not reply.data.get("leader_address"):
            raise Unavailable("store_no_leader")
        self._answered.proved(asked_at)

    def require(self) -> None:
        """Raise Unavailable (``store_unreachable``) if the last good answer is too old."""
        self._answered.require(self._clock())

    async def look(self) -> StoreLook:
        """Ask the store how it is, and write to it. Raises Unavailable: no answer, or the write was refused."""
        reply = await self._http.request("GET", "sys/health", accept=frozenset(_STATES), timeout_s=2 * _PROBE_S)
        state, at = _STATES.get(reply.status, "serving"), reply.data.get("server_time_utc")
        if not isinstance(at, int) or self._login is None:
            raise Unavailable("store_garbage")
        began = self._clock()
        if state == "serving":
            await self._login.write()
        return StoreLook(state=state, at=datetime.fromtimestamp(at, UTC), took_s=self._clock() - began)


def _unreachable() -> Unavailable:
    step = "The secret store does not answer. Nothing is served until it does."
    return Unavailable("store_unreachable", next_step=step)


LOOK_AGAIN_S: Final = 0.02
_LOOK_S: Final = 0.005  # seconds for one more entity at one node


class StoreNodes:
    """Every node of the cluster behind a store's address.

    Args:
        login: The broker's identity.
        ca_file: PEM file of the only CA to trust; default: the system's.
        outlived_s: Seconds after which no login token or store token from before a cut-off is alive.
        within_s: For how many seconds to wait for the nodes at a time.
        clock: Seconds that only grow.
    """

    def __init__(
        self, login: AppRoleLogin, *, ca_file: Path | None = None, outlived_s: float, within_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._login = login
        self._ca_file = ca_file
        self._outlived_s, self._within_s = outlived_s, within_s
        self._clock = clock
        self._nodes: dict[str, BaoHttp] = {}
        self._cut_off_at: dict[str, float] = {}  # those not confirmed yet

    async def close(self) -> None:
        """Close all connections."""
        while self._nodes:
            await self._nodes.popitem()[1].close()

    async def confirm(self, entity_ids: Sequence[str], disabled: bool) -> None:
        """Return once every node has applied what was just written; the list of nodes is asked for once.

        Raises:
            Unavailable: ``store_node_behind``: a node has not, or cannot be asked; a cut-off does not hold there yet.
        """
        if not disabled:
            self._forget(entity_ids)
            with suppress(ByokeepError, TimeoutError):
                await self._applied(entity_ids, disabled=False)
            return
        now = self._clock()
        since = max((self._cut_off_at.setdefault(one, now) for one in entity_ids), default=now)
        try:
            await self._applied(entity_ids, disabled=True)
        except (ByokeepError, TimeoutError):
            if self._clock() - since < self._outlived_s:
                raise Unavailable("store_node_behind") from None
        self._forget(entity_ids)

    def _forget(self, entity_ids: Sequence[str]) -> None:
        for one in entity_ids:
            self._cut_off_at.pop(one, None)

    async def _applied(self, entity_ids: Sequence[str], *, disabled: bool) -> None:
        if not entity_ids:
            return
        async with asyncio.timeout(self._within_s + _LOOK_S * len(entity_ids)):
            nodes = await self.all()
            await asyncio.gather(*(self._applied_at(node, entity_ids, disabled=disabled) for node in nodes))

    async def _applied_at(self, node: BaoHttp, entity_ids: Sequence[str], *, disabled: bool) -> None:
        left = list(entity_ids)
        while left:
            with suppress(NotFound, Denied):  # a node that is behind may know neither the entity nor our token
                path, token = f"identity/entity/id/{left[-1]}", await self._login.token()
                if (await node.request("GET", path, token=token)).data.get("disabled") is disabled:
                    left.pop()
                    continue
            await asyncio.sleep(LOOK_AGAIN_S)

    async def all(self) -> list[BaoHttp]:
        """Return every node. Raises Unavailable: a member has not told the active node its address."""
        status = await self._login.request("GET", "sys/ha-status")
        addresses = {str(node.get("api_address")) for node in status.data.get("nodes", [])}
        if len(addresses) < await self._members():
            raise Unavailable("store_node_unknown")
        for address in addresses - self._nodes.keys():
            self._nodes[address] = BaoHttp(address, ca_file=self._ca_file, this_node=True)
        return [self._nodes[address] for address in addresses]

    async def _members(self) -> int:
        """Return how many nodes have a copy of the data, as far as the storage knows; 0 if it is not raft."""
        try:
            reply = await self._login.request("GET", "sys/storage/raft/configuration")
        except (NotFound, Rejected):
            return 0
        servers = (reply.data.get("config") or {}).get("servers")
        if not isinstance(servers, list):
            raise Unavailable("store_garbage")
        return len(servers)


_LEASE_MOUNT: Final = "auth/lease/"
_COPIES_S: Final = 20.0  # seconds; enough for a thousand copies, and asked again it goes on where it stopped
_AT_ONCE: Final = 32  # entities switched in parallel
_OUTLIVED_S: Final = float(LOGIN_LIFE_S + MAX_TOKEN_TTL_S)  # seconds; then nothing that was signed before is alive


class EntityCutoff:
    """Sets ``disabled`` on a client's entity as the identity ``broker``, and looks at it.

    Args:
        login: The broker's identity.
        confirm: Awaited with entity ids and whether they are disabled; returns once that holds at every node.
    """

    def __init__(
        self, login: AppRoleLogin, *, confirm: Callable[[Sequence[str], bool], Awaitable[None]] | None = None
    ) -> None:
        self._login = login
        self._confirm = confirm
        self._unknown: dict[str, float] = {}  # since when those are to be cut off that the store does not know

    async def enroll(self, jwt: str, lease_id: UUID | None = None) -> str:
        """Log in once with the powerless role ``enroll``, which makes the client's entity; returns its id.

        Raises:
            Denied: ``lease_refused``.
            Unavailable: Not enrolled, or not known whether.
        """
        with refusing("lease_refused", Denied, on=(Rejected, Denied)):
            reply = await self._login.http.request(
                "POST", LOGIN_PATH, body={"role": "enroll", "jwt": Secret(jwt)},
                lease_header=None if lease_id is None else str(lease_id),
            )  # fmt: skip
        return _entity(reply.auth.get("entity_id"), Unavailable("store_garbage"))

    async def disable(self, *entity_ids: str) -> None:
        """Return once every token of these entities is refused. All are tried; then the first failure is raised.

        Raises:
            Rejected: ``bad_entity_id``.
            Unavailable: The store did not acknowledge: treat the clients as not cut off. ``entity_unknown``: the same,
                of one that it does not know, until nothing signed before is alive.
        """
        await self._set(entity_ids, disabled=True)

    async def enable(self, *entity_ids: str) -> None:
        """Let the entities log in again. Raises as :meth:`disable`."""
        await self._set(entity_ids, disabled=False)

    async def disabled(self, entity_id: str) -> bool | None:
        """Return whether the store refuses this entity; None if the policy does not let us look.

        Raises:
            Rejected: ``bad_entity_id``.
            Unavailable: ``entity_unknown``, ``store_garbage``, or the store did not answer.
        """
        path = f"identity/entity/id/{_entity(entity_id, Rejected('bad_entity_id'))}"
        try:
            found = (await self._login.request("GET", path)).data.get("disabled")
        except NotFound:  # a kind of Denied
            raise Unavailable("entity_unknown") from None
        except Denied:
            return None
        if not isinstance(found, bool):
            raise Unavailable("store_garbage")
        return found

    async def entities(self, client_id: UUID | None) -> list[str]:
        """Return the ids of the entities of a client, or of all, as the store itself knows them.

        Raises:
            Unavailable: ``store_garbage``, or the store did not answer.
        """
        try:
            found = (await self._login.request("LIST", "identity/entity/id")).data.get("key_info")
        except NotFound:  # there are none
            return []
        if not isinstance(found, dict):
            raise Unavailable("store_garbage")
        wanted = None if client_id is None else str(client_id)
        return [
            _entity(entity_id, Unavailable("store_garbage"))
            for entity_id, said in found.items()
            for alias in said.get("aliases") or ()
            if alias.get("mount_path") == _LEASE_MOUNT and wanted in (None, alias.get("name"))
        ]

    async def end_copies(self, path: str) -> None:
        """End every wrapping token that keeps an answer of a path, below which no other token is made.

        None can be used any more from then on. The store removes them afterwards, also after a restart.

        Raises:
            Denied: The store was set up by an earlier release.
            Rejected: ``bad_store_path``.
            Unavailable: Some may be left.
        """
        await self._login.request("POST", f"sys/leases/revoke-prefix/{path}", body={"sync": False}, timeout_s=_COPIES_S)

    async def _set(self, entity_ids: Sequence[str], *, disabled: bool) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(entity_id: str) -> str | None:
            path = f"identity/entity/id/{_entity(entity_id, Rejected('bad_entity_id'))}"
            try:
                async with gate:
                    await self._login.request("POST", path, body={"disabled": disabled})
            except (Rejected, NotFound):
                if disabled and not self._outlived(entity_id):
                    raise Unavailable("entity_unknown") from None
                return None
            self._unknown.pop(entity_id, None)
            return entity_id

        results = await asyncio.gather(*map(one, entity_ids), return_exceptions=True)
        if self._confirm is not None:
            await self._confirm([one for one in results if isinstance(one, str)], disabled)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        for entity_id in entity_ids:  # not before all of them have passed: one would begin anew while others wait
            self._unknown.pop(entity_id, None)

    def _outlived(self, entity_id: str) -> bool:
        """Whether nothing is alive that was signed before the store was first seen not to know an entity."""
        return time.monotonic() - self._unknown.setdefault(entity_id, time.monotonic()) >= _OUTLIVED_S


def _entity(text: object, error: Exception) -> str:
    try:
        if isinstance(text, str) and str(UUID(text)) == text:
            return text
    except ValueError:
        pass
    raise error
