"""Leases: permission for one runner to log in at the store for one job, for seconds; and what holders tell of them.

Rules
- The record of the lease is committed before the store's key signs anything: no lease without its record.
- The signed token is only in the reply (for the reconciliation, the signer remembers signatures, not tokens). It
  expires after ``lease_jwt_ttl_s``, and the store's own token after ``lease_token_ttl_s``, so within their sum the
  store itself refuses a job that has ended (R4.1-3).
- A holder sends a heartbeat every few seconds (:func:`heartbeat`). It must stop by itself if nobody answers.
- The database's clock decides. A doubt denies.
- A holder counts before it tries, so what it tells is an upper bound. It tells once, when the lease can no longer be
  used. Each telling is a record, so nobody can take it back, and the lowest one counts.
- Enrolment: no process may create an entity or an alias. The store does, when a token signed for exactly this client
  logs in under a role without any policy, so nothing can bind a client to another's entity. Enrolling twice changes
  nothing. An entity created while a kill switch is engaged is disabled at once.

It may not read a value. It cannot know who told: whoever has the broker's identity can tell for a lease whose holder
never does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from byokeep.core.errors import ByokeepError, Conflict, Denied, NotFound, RateLimited, Rejected
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.exchange import Exchange, identity_path
from byokeep.core.gate import NEXT_STEPS, DenyReason, deny
from byokeep.core.model import PROFILE, SEAL, Actor, ClientId, LeaseId, LeaseKind, Provider, Role
from byokeep.core.policy import Verb, authorise
from byokeep.core.ref import ProfileRef, SecretPart, SecretRef, parse
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import client_for, permit, record, record_params, record_refusal, remember
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row
from byokeep.tenancy.scopes import client_scopes, hold_open, require_open, switches_open

AUDIENCE: Final = "openbao"
_REDIRECTED: Final = "reference_redirected"
_CUSTODY_STATES: Final = frozenset({"pending", "verified", "failed", "quarantined"})  # a leaked one must be ended, too


@dataclass(frozen=True, slots=True)
class PinnedSecret:
    """Where a secret is and which version; 0 = nothing is pinned (custody of a place that is still empty).

    For a browser profile's record also whose it is, which generation, and the sealed blob's key; "" = none yet. For a
    keyless credential how its client's identity token is swapped, and where the store makes that token.
    """

    path: str
    version: int
    profile_id: UUID | None = None
    generation: int = 0
    blob_key: str = ""
    exchange: Exchange | None = None
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedLease:
    """What a runner gets. The token is shown once and stored nowhere.

    Attributes:
        jwt: Login token for the store.
        roles: Name of a secret -> role to log in with.
        secrets: Name -> pinned place. A name is a provider, or ``platform/account`` for a connected account. With
            ``/webhook`` after a provider it is the signing secret, and with ``/webhook/previous`` the one before it
            while both are valid. ``profile/platform/account`` is the record of an account's sealed browser profile; in
            custody, ``profile/id`` is that of the profile being sealed.
        expires_at: When the lease ends at the latest: with its job.
        life_s: Seconds for which it is valid without a heartbeat.
        epoch: Unix second of issue, by the database's clock.
    """

    lease_id: LeaseId
    kind: LeaseKind
    jwt: str = field(repr=False)
    store_address: str
    roles: Mapping[str, str]
    secrets: Mapping[str, PinnedSecret]
    expires_at: datetime
    life_s: int
    epoch: int


def _verb(actor: Actor) -> Verb:
    return Verb.LEASE_CUSTODY if Role.CUSTODIAN in actor.roles else Verb.LEASE_USE


def claims(app: BrokerApp, *, client_id: UUID, job_id: UUID, lease_id: UUID, kind: str, secrets: list[str],
           iat: int) -> dict[str, object]:  # fmt: skip
    """Return the claims of a lease's token; the same lease always gives the same bytes."""
    return {
        "iss": f"byokeep/{app.installation_id}",
        "aud": AUDIENCE,
        "sub": str(job_id),
        "client_id": str(client_id),
        "job_id": str(job_id),
        "lease_id": str(lease_id),
        "kind": kind,
        "secrets": secrets,
        "iat": iat,
        "nbf": iat,
        "exp": iat + app.limits.lease_jwt_ttl_s,
        "jti": str(lease_id),
    }


async def issue_lease(app: BrokerApp, actor: Actor, job_id: UUID) -> IssuedLease:
    """Give a job's own runner a lease.

    Args:
        app: The broker.
        actor: The runner (use) or custodian (custody).
        job_id: Its job.

    Raises:
        NotFound: No such job for this runner.
        Denied: ``not_permitted``, ``job_not_open``, ``client_not_active``, ``switch_closed``, ``switch_unknown``,
            ``missing_credential``, ``credential_not_usable``.
        RateLimited: ``too_many_leases``.
        Unavailable: Database or store; nothing was released. ``store_not_recording``: no audit device of the store is
            proved to record. ``audit_chain_held``: the broker cannot record anything.
    """
    verb = _verb(actor)
    await permit(app, actor, verb)
    app.store_health.require()
    app.store_recording.require(app.clock.monotonic())
    app.platform_chain.require(app.clock.monotonic())
    try:
        client_id = await client_for(app, actor, verb, "job", job_id)
    except NotFound as refusal:
        await record_refusal(app, actor, EventName.LEASE_ISSUED, refusal, client_id=None, object_id=job_id)
        raise
    lease_id = LeaseId(app.ids.uuid())
    try:
        row, pins = await _record(app, actor, client_id, job_id, lease_id)
    except (Denied, RateLimited) as refusal:
        await record_refusal(
            app, actor, EventName.LEASE_ISSUED, refusal, client_id=client_id, object_id=job_id,
            alerted=await _alarm(app, client_id, job_id, refusal),
        )  # fmt: skip
        raise
    remember(app, lease_id, client_id)
    signed = await app.signer.sign_jwt(
        claims(app, client_id=client_id, job_id=job_id, lease_id=lease_id, kind=_kind(row), secrets=_secrets(row),
               iat=row["now_s"])
    )  # fmt: skip
    return IssuedLease(
        lease_id=lease_id, kind=_kind(row), jwt=signed, store_address=app.store_address,
        roles={name: _role(row, name) for name in pins}, secrets=pins,
        expires_at=row["expires_at"], life_s=app.limits.lease_life_s, epoch=row["now_s"],
    )  # fmt: skip


async def _alarm(app: BrokerApp, client_id: ClientId, job_id: UUID, refusal: Denied | RateLimited) -> str:
    """Return the alert for a refusal: a storm, a reference that was redirected to another place, or a request for an
    ended secret (S-OWASP-1); empty for none.
    """
    if isinstance(refusal, RateLimited):
        return "lease_storm"
    if refusal.fields.get("cause") == _REDIRECTED:
        return _REDIRECTED
    if refusal.code not in ("missing_credential", DenyReason.CREDENTIAL_NOT_USABLE):
        return ""
    with suppress(ByokeepError):  # the refusal stands even if its reason cannot be found
        asked = {"client_id": client_id, "job_id": job_id, "environment": app.environment.value}
        (ended,) = await app.db.read(str, "lease_ended_secret", asked, client_id=client_id)
        return ended
    return ""


async def _record(
    app: BrokerApp, actor: Actor, client_id: ClientId, job_id: UUID, lease_id: LeaseId
) -> tuple[Row, Mapping[str, PinnedSecret]]:
    """Decide on the lease, and write it with its audit record in one transaction."""
    scopes = client_scopes(client_id)
    async with app.db.begin(client_id=client_id) as tx:
        await hold_open(tx, scopes)
        row = await tx.one(
            dict, "lease_facts", client_id=client_id, job_id=job_id, scopes=scopes, installation_id=app.installation_id,
            environment=app.environment.value,
        )  # fmt: skip
        pins = decide(app, actor, client_id, row)
        iat, exp = row["now_s"], row["now_s"] + app.limits.lease_jwt_ttl_s
        event = Event(
            name=EventName.LEASE_ISSUED, actor=actor, outcome=Outcome.INTENDED, client_id=client_id, object_id=lease_id,
            fields={"job": str(job_id), "kind": _kind(row).value, "secrets": ",".join(_secrets(row)), "jwt_iat": iat,
                    "versions": ",".join(str(pins[one].version if one in pins else 0) for one in _secrets(row)),
                    "jwt_exp": exp},
        )  # fmt: skip
        await tx.last(
            None, "lease_insert", id=lease_id, client_id=client_id, job_id=job_id, runner_id=actor.id,
            kind=_kind(row).value, secrets=_secrets(row), jwt_iat=iat, jwt_exp=exp, expires_at=row["expires_at"],
            **record_params(event),
        )  # fmt: skip
    return row, pins


def _kind(row: Row) -> LeaseKind:
    """Return the kind of lease: a use job that seals its profile has custody of that, and of nothing else (ADR 0026).
    """
    return LeaseKind.CUSTODY if row["sealing"] else LeaseKind(row["kind"])


def _secrets(row: Row) -> list[str]:
    return [SEAL] if row["sealing"] else list(row["secrets"])


def _role(row: Row, name: str) -> str:
    """Return the store's role for a secret. A job that seals can only wrap a key there, and reads no profile's record.
    """
    secret = name.partition("/")[0]
    return f"{SEAL}-{secret}" if row["sealing"] else f"{_kind(row)}-{secret}"


def decide(app: BrokerApp, actor: Actor, client_id: ClientId, row: Row) -> Mapping[str, PinnedSecret]:
    """Check that a lease may be issued, and return its pins; the most severe reason against it is raised.

    Raises:
        NotFound, Denied, RateLimited: As :func:`issue_lease`.
    """
    if row["runner_id"] != actor.id:
        raise NotFound("not_found")
    if (row["kind"] == LeaseKind.CUSTODY) != (Role.CUSTODIAN in actor.roles):
        raise deny(DenyReason.LEASE_KIND)
    require_open(row)
    if row["client_state"] != "active":
        raise deny(DenyReason.CLIENT_NOT_ACTIVE)
    if row["job_open"] is not True:
        raise deny(DenyReason.JOB_NOT_OPEN)
    if row["recent"] >= app.limits.client_leases_per_second:
        raise RateLimited("too_many_leases", next_step="Keep one lease for a job and renew it.", retry_after_s=1)
    refs = {ref["provider"]: ref for ref in row["refs"]}
    pins: dict[str, PinnedSecret] = _hooks(client_id, row) if _kind(row) is LeaseKind.USE else {}
    if PROFILE in row["secrets"]:
        pins |= _profile_pins(client_id, row)
    for provider in _secrets(row):
        if provider in (PROFILE, SEAL):
            continue
        connected = [account for account in row["accounts"] if account["platform"] == provider]
        # Where the client has no key of a sender and never had one, its signing secret alone is enough for a lease.
        alone = f"{provider}/webhook" in pins and provider not in refs and provider not in row["ended"]
        if connected and not (alone and not any(account["usable"] is True for account in connected)):
            pins |= _account_pins(client_id, provider, connected)
        elif not alone:
            pins[provider] = _pin(row["kind"], client_id, provider, refs.get(provider), ended=provider in row["ended"])
            if pins[provider].version and refs[provider]["keyless"] and _kind(row) is LeaseKind.USE:
                pins[provider] = _keyless(app, client_id, provider, pins[provider])
    return pins


def _profile_pins(client_id: ClientId, row: Row) -> dict[str, PinnedSecret]:
    """Return the records of every profile that may be opened; in custody, those of the current work."""
    if _kind(row) is LeaseKind.CUSTODY:
        if row["sealing"] and not row["profiles_in_custody"]:
            raise Denied("profile_not_open", next_step="The profile's opening has ended. Changes since then are lost.")
        pins = {f"{PROFILE}/{one['profile']}": _profile_pin(client_id, one) for one in row["profiles_in_custody"]}
        # A worker's custody also reaches the client's key itself, which guards all profiles.
        return pins if row["sealing"] else pins | {PROFILE: PinnedSecret(f"kv/clients/{client_id}/profiles", 0)}
    usable = [one for one in row["profiles"] if one["usable"] is True]
    if not usable:
        raise deny(DenyReason.PROFILE_NOT_USABLE)
    return {f"{PROFILE}/{one['platform']}/{one['account']}": _profile_pin(client_id, one) for one in usable}


def _profile_pin(client_id: ClientId, one: Mapping[str, Any]) -> PinnedSecret:
    profile_id = UUID(one["profile"])
    return PinnedSecret(
        ProfileRef(client_id, profile_id).path, int(one["version"]), profile_id=profile_id,
        generation=int(one["generation"]), blob_key=one["blob"] or "",
    )  # fmt: skip


def _account_pins(client_id: ClientId, platform: str, accounts: Sequence[Mapping[str, Any]]) -> dict[str, PinnedSecret]:
    """Return the access tokens of every usable account; a lost account does not affect the others."""
    pins = {
        f"{platform}/{account['account']}": PinnedSecret(
            SecretRef(client_id, Provider(platform), SecretPart.ACCESS, UUID(account["account_id"])).path,
            int(account["version"]),
        )
        for account in accounts
        if account["usable"] is True
    }
    if not pins:
        raise _unusable(platform)
    return pins


def _hooks(client_id: ClientId, row: Row) -> dict[str, PinnedSecret]:
    pins = {}
    for hook in row["hooks"]:
        name, place = hook["provider"], SecretRef(client_id, Provider(hook["provider"]), SecretPart.WEBHOOK)
        if parse(hook["ref"]) != place:
            raise _unusable(name, cause=_REDIRECTED)
        pins[f"{name}/webhook"] = PinnedSecret(place.path, int(hook["version"]))
        if hook["previous"] is not None:
            pins[f"{name}/webhook/previous"] = PinnedSecret(place.path, int(hook["previous"]))
    return pins


def _pin(kind: str, client_id: ClientId, provider: str, ref: Mapping[str, Any] | None, *, ended: bool) -> PinnedSecret:
    place = SecretRef(client_id, Provider(provider))
    custody = kind == LeaseKind.CUSTODY
    if ref is None:
        if custody:
            return PinnedSecret(place.path, 0)
        if ended:
            raise _unusable(provider)
        step = "Add this client's own key first: there is no fallback."
        raise Denied("missing_credential", next_step=step, provider=provider)
    if parse(ref["ref"]) != place:
        raise _unusable(provider, cause=_REDIRECTED)
    usable = ref["state"] == "active" and ref["verification"] == "verified" and ref["unexpired"] is True
    usable = usable and ref["version"] is not None
    if not (ref["verification"] in _CUSTODY_STATES if custody else usable):
        raise _unusable(provider)
    return PinnedSecret(place.path, int(ref["version"]))


def _keyless(app: BrokerApp, client_id: ClientId, provider: str, pin: PinnedSecret) -> PinnedSecret:
    if (exchange := app.limits.exchanges.get(provider)) is None:
        raise _unusable(provider)
    return replace(pin, exchange=exchange, identity=identity_path(client_id, provider))


def _unusable(provider: str, **why: str) -> Denied:
    """Return the refusal for an unusable key: not verified, suspended, expired, revoked, compromised or elsewhere."""
    reason = DenyReason.CREDENTIAL_NOT_USABLE
    return Denied(reason.value, next_step=NEXT_STEPS[reason], provider=provider, **why)


async def heartbeat(app: BrokerApp, actor: Actor, lease_id: UUID) -> int:
    """Return for how many seconds a holder may go on.

    Raises:
        NotFound: No such lease for this runner.
        Denied: It must stop: job ended, client not active, switch engaged or unknown.
        Unavailable: The store does not serve, or that could not be checked; the holder stops when its time runs out.
    """
    try:
        client_id = await client_for(app, actor, _verb(actor), "lease", lease_id)
        asked = {"client_id": client_id, "lease_id": lease_id, "scopes": client_scopes(client_id)}
        asked |= {"installation_id": app.installation_id}
        rows = await app.db.read(dict, "lease_heartbeat", asked, client_id=client_id)
        if not rows or rows[0]["runner_id"] != actor.id:
            raise NotFound("not_found")
        row = rows[0]
    except Denied as refusal:
        await record_refusal(app, actor, EventName.ACCESS, refusal, client_id=None, object_id=lease_id)
        raise
    try:
        _must_go_on(app, row)
    except Denied as refusal:  # on the client's own chain, because a kill makes every holder ask once more
        await record_refusal(app, actor, EventName.ACCESS, refusal, client_id=client_id, object_id=lease_id)
        raise
    return app.limits.lease_life_s


def _must_go_on(app: BrokerApp, row: Row) -> None:
    require_open(row)
    app.store_health.require()
    if row["client_state"] != "active":
        raise deny(DenyReason.CLIENT_NOT_ACTIVE)
    if row["job_open"] is not True or row["lease_unexpired"] is not True:
        raise deny(DenyReason.JOB_NOT_OPEN)


MOST: Final = 10_000  # logins, or reads of one secret, under one lease
_MOST_TOLD: Final = 2  # different tellings for one lease: the second is an alert, further ones are ignored


@dataclass(frozen=True, slots=True)
class Telling:
    """What a holder counted for one lease: attempts to log in, and to read each declared secret."""

    lease_id: UUID
    logins: int
    reads: Mapping[str, int]


async def tell(app: BrokerApp, actor: Actor, tellings: Sequence[Telling]) -> None:
    """Record what a holder counted for its leases; repeating the same makes no second record.

    Args:
        app: The broker.
        actor: The runner or custodian whose leases they are; they may have ended.
        tellings: At most a hundred.

    Raises:
        NotFound: A lease is not this runner's, or does not exist; the others are on record.
        Rejected: ``bad_count``; nothing is on record.
        Unavailable: The database.
    """
    for one in tellings:
        if any(not 0 <= count <= MOST for count in (one.logins, *one.reads.values())) or len(one.reads) > 32:
            raise Rejected("bad_count", next_step=f"Give counts from 0 to {MOST}.", maximum=MOST)
    missing: NotFound | None = None
    of: dict[ClientId, list[Telling]] = {}
    for one in tellings:
        try:
            of.setdefault(await client_for(app, actor, _verb(actor), "lease", one.lease_id), []).append(one)
        except NotFound as error:
            missing = error
    for client_id, mine in of.items():
        async with app.db.begin(client_id=client_id) as tx:
            asked = {"ids": [one.lease_id for one in mine], "runner_id": actor.id}
            leases = {row["id"]: row for row in await tx.all(dict, "leases_of_holder", client_id=client_id, **asked)}
            for one in mine:
                if (lease := leases.get(one.lease_id)) is None:
                    missing = NotFound("not_found")
                elif (counted := _new(one, lease)) is not None:
                    await record(
                        tx, actor, EventName.LEASE_USE_TOLD, client_id=client_id, object_id=one.lease_id,
                        logins=one.logins, reads=counted,
                    )  # fmt: skip
    if missing is not None:
        raise missing


def _new(said: Telling, lease: Row) -> str | None:
    """Return the counts of a telling as its record has them; None if it says nothing new about its lease."""
    counted = ",".join(str(said.reads.get(secret, 0)) for secret in lease["secrets"])
    before = set(lease["told"])
    if len(before) >= _MOST_TOLD or f"{said.logins} {counted}" in before:
        return None
    lease["told"].append(f"{said.logins} {counted}")
    return counted


def told(row: Row) -> tuple[int | None, Mapping[str, int]]:
    """Return the lowest counts told for a lease: logins, and reads of each secret; ``None``: nothing was told."""
    tellings = row["told"] or []
    reads = [str(one.get("reads", "")).split(",") for one in tellings]
    return (
        min((_count(one.get("logins")) for one in tellings), default=None),
        {secret: min((_count(*said[place : place + 1]) for said in reads), default=0)
         for place, secret in enumerate(row["secrets"])},
    )  # fmt: skip


def pinned(row: Row) -> Mapping[str, int]:
    """Return the version that a lease pinned of each key, 0: none; nothing of an earlier release's lease."""
    return dict(zip(row["secrets"], map(_count, row["versions"].split(",")), strict=False)) if row["versions"] else {}


def _count(said: object = None) -> int:
    """Read a count from a record. What is not a count is 0, so that a forged one cannot stop the comparison."""
    return int(text) if (text := str(said)).isdecimal() else 0


async def enroll_client(app: BrokerApp, actor: Actor, client_id: ClientId) -> str:
    """Enrol a new client at the store; returns its state.

    Raises:
        NotFound: No such client.
        Denied: ``switch_closed``, ``switch_unknown``, ``not_permitted``.
        Conflict: ``client_not_enrolling``, ``entity_differs``.
        Unavailable: Store or database; try again.
    """
    authorise(actor, Verb.CLIENT_CHANGE, client_id=client_id)
    job_id, lease_id = app.ids.uuid(), app.ids.uuid()
    async with app.db.begin(client_id=client_id) as tx:
        row = await _enroll_facts(tx, app, client_id)
        if row["client_state"] == "active" and row["entity_id"]:
            return "active"
        if row["client_state"] != "enrolling":
            raise Conflict("client_not_enrolling", next_step="Nothing to do: only a new client can be enrolled.")
        require_open(row)
        # A login at the store needs a lease to explain it, and a lease needs a job; this one ends as it begins.
        await tx.one(
            lambda row: UUID(str(row["id"])), "job_insert", id=job_id, client_id=client_id, dispatcher_id=actor.id,
            runner_id=actor.id, kind="custody", secrets=[], platforms=[], lanes=[], effects=[], state="closed",
            reason="enroll", ttl_s=60,
        )  # fmt: skip
        await tx.one(
            None, "lease_insert", id=lease_id, client_id=client_id, job_id=job_id, runner_id=actor.id, kind="enroll",
            secrets=[], jwt_iat=row["now_s"], jwt_exp=row["now_s"] + app.limits.lease_jwt_ttl_s, expires_at=row["now"],
            **record_params(_event(actor, client_id, Outcome.INTENDED, job_id, lease_id)),
        )  # fmt: skip
    token = await app.signer.sign_jwt(
        claims(app, client_id=client_id, job_id=job_id, lease_id=lease_id, kind="enroll", secrets=[], iat=row["now_s"])
    )
    entity_id = await app.cutoff.enroll(token, lease_id)
    return await _finish(app, actor, client_id, job_id, lease_id, entity_id)


async def _enroll_facts(tx: Tx, app: BrokerApp, client_id: ClientId) -> Row:
    """Return the facts for an enrolment; the client's switches stay as they are until the transaction ends."""
    scopes = client_scopes(client_id)
    await hold_open(tx, scopes)
    asked = {"client_id": client_id, "scopes": scopes, "installation_id": app.installation_id}
    row: Row = await tx.one(dict, "lease_enroll_facts", **asked)
    return row


async def _finish(
    app: BrokerApp, actor: Actor, client_id: ClientId, job_id: UUID, lease_id: UUID, entity_id: str
) -> str:
    async with app.db.begin(client_id=client_id) as tx:
        row = await _enroll_facts(tx, app, client_id)
        state = await tx.maybe(str, "lease_enrolled", client_id=client_id, entity_id=entity_id)
        if state is None:
            raise Conflict("entity_differs", next_step="The store has another entity of this client. Find out why.")
        await tx.append(_event(actor, client_id, Outcome.OK, job_id, lease_id))
    if switches_open(row) is not True:
        await app.cutoff.disable(entity_id)
    return state


def _event(actor: Actor, client_id: UUID, outcome: Outcome, job_id: UUID, lease_id: UUID) -> Event:
    return Event(
        name=EventName.CLIENT_ENROLLED, actor=actor, outcome=outcome, client_id=client_id, object_id=client_id,
        fields={"job": str(job_id), "lease": str(lease_id)},
    )  # fmt: skip
