"""Effect permits and identity comparison: what stands between a runner and a post on somebody's account.

Rules
- A permit is one transaction: locks of every scope, facts, :func:`byokeep.core.gate.check_effect`, record, row. If
  anything goes wrong in between, there is no permit (R1.5).
- A fact that is missing or not understood becomes ``None``, which denies.
- One permit is for one act and one idempotency key. A key becomes free only if its act surely did not happen (R1.5-6).
- An act of a canary is taken under the lock of the platform's row, by compare-and-set, before anything is recorded, so
  that parallel jobs together never take more acts than the stage has.
- The caller never says what is true. It names what it wants, and what it saw of an account; the broker compares.
- Whatever is not understood is denied as ``bad_request`` (R12-1).

It may not act: the runner does, once it has the permit.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from byokeep.core.errors import ByokeepError, Conflict, Denied, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.gate import NEVER_LOST, DenyReason, GateInput, check_effect, deny
from byokeep.core.identity import Comparison, Face, Fingerprint, IdentityVerdict, Why
from byokeep.core.identity import compare as compare_faces
from byokeep.core.model import PLATFORMS, Actor, ClientId, Lane, PermitId
from byokeep.core.policy import Verb, authorise
from byokeep.core.reenable import EffectResult, Stage
from byokeep.jobs.reenabling import ended, state_of, take
from byokeep.jobs.scheduled import ACCOUNT_NAME, well_formed
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import client_for, open_alert, permit, record, record_params, record_refusal, remember
from byokeep.kernel.rows import Row
from byokeep.tenancy.scopes import effect_scopes, hold_open, switch_refusal, switches_open

_COULD_NOT_CHECK = frozenset({Why.COULD_NOT_CHECK, Why.NO_ACCOUNT, Why.NO_ID})


def account_facts(row: Row) -> dict[str, Any]:
    """Return the facts of a decision that are about the account, named as in ``GateInput``."""
    stage, free = _stage(row["way_back"])
    grant: Mapping[str, Any] | None = row["account_grant"]
    identity, identity_at = row["identity"], row["identified_at"]
    profile: Mapping[str, Any] | None = row["profile"]
    if identity == "mismatch":
        pass  # it stays until somebody has looked
    elif profile is not None:
        identity, identity_at = _in_browser(profile["seen"])
    elif grant is not None:
        identity, identity_at = _newest(grant, identity, identity_at)
    announced: Mapping[str, Any] | None = row["announced"]
    return {
        "platform_stage": stage,
        "canary_free": free,
        "connected": grant is not None or row["begun"],
        "connection_recorded": None if grant is None else grant["recorded"],
        "grant_state": None if grant is None else grant["state"],
        "drift": None if grant is None else grant["drift"],
        "profile_usable": None if profile is None else profile["usable"],
        "profile_open": None if profile is None else profile["open"],
        "identity": identity,
        "identity_at": identity_at,
        "scheduled": "none" if announced is None else announced["state"],
    }


def _compared(said: Mapping[str, Any], seen: Face | None, names: tuple[str, ...], app_id: str = "") -> Comparison:
    """Compare an account with what is on record of it; of the names only those that the website shows."""
    told = {name: said[name] if name in names else None for name in ("username", "display_name")}
    expected = Fingerprint(account_id=said["external_id"], app_id=app_id, **told)
    return compare_faces(expected, None if seen is None else (seen,), app_id=app_id)


def against_grant(grant: Mapping[str, Any], seen: Face | None, *, names: tuple[str, ...]) -> str:
    """Compare an account with its consent's fingerprint: ``match``, ``drift``, ``mismatch`` or ``unknown``.

    Args:
        names: Which names are compared: a website does not show all that the platform gives to an app.
    """
    found = _compared(grant, seen, names, str(grant["app_id"]))
    if found.verdict is IdentityVerdict.MISMATCH and found.why in _COULD_NOT_CHECK:
        return "unknown"
    return found.verdict.value


def given_away(row: Row, seen: Face | None, *, names: tuple[str, ...]) -> str:
    """Return the characters that give a look-alike away (``0456,0430``): the right id under a name made to look the
    same. Otherwise empty. ``row`` = the account's, with what its grant says; ``names`` as for :func:`against_grant`.
    """
    return ",".join(_compared(row["account_grant"] or {**row, "external_id": row["account"]}, seen, names).code_points)


def _stage(way_back: Row | None) -> tuple[str | None, bool | None]:
    if way_back is None:
        return NEVER_LOST, None
    try:
        state = state_of(way_back)
    except (Integrity, KeyError, TypeError, ValueError):
        return None, None
    return state.stage.value, state.taken < state.acts


def _in_browser(seen: Mapping[str, Any] | None) -> tuple[str, datetime | None]:
    """Return what this job reported last since it opened the profile: no one else looked into its browser."""
    return ("unchecked", None) if seen is None else (seen["identity"], datetime.fromisoformat(seen["at"]))


def _newest(
    grant: Mapping[str, Any], identity: str | None, identified_at: datetime | None
) -> tuple[str | None, datetime | None]:
    """Return the later of what a job saw and what our verification found."""
    if grant["verified_at"] is None:
        return identity, identified_at
    verified_at = datetime.fromisoformat(grant["verified_at"])
    if identified_at is not None and identified_at > verified_at:
        return identity, identified_at
    return "match", verified_at


# How a decision may end besides with a permit. Anything else, including a statement that the database refused, means
# that the gate itself failed.
_EXPECTED: Final = frozenset(DenyReason) | {
    "not_found", "already_done", "in_progress", "outcome_unknown", "idempotency_key_reused",
    "database_unavailable", "database_busy", "commit_outcome_unknown", "no_connection_free",
}  # fmt: skip
_ONE_KEY: Final = "Use a different key for each effect."
_NOT_A_NAME: Final = re.compile(r"[<>{}\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectRequest:
    """What a runner wants to do: schema v1 of the request. Built from untrusted input, checked by the flow."""

    version: int
    effect: str
    platform: str
    account: str
    lane: str
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class IssuedPermit:
    """Permission for one act until ``expires_at``."""

    id: PermitId
    expires_at: datetime
    ttl_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedAccount:
    """What the platform said about the account; ``None`` = nothing usable.

    In the browser lane, a name that is ``None`` is one that the website does not show; the id decides there.
    """

    id: str | None
    username: str | None
    display_name: str | None
    lane: Lane = Lane.API

    @property
    def shown(self) -> tuple[str, ...]:
        """What must be compared."""
        every = ("id", "username", "display_name")
        return every if self.lane is Lane.API else tuple(n for n in every if n == "id" or getattr(self, n) is not None)

    def face(self) -> Face | None:
        """The account as a platform's answer; None if it had no id."""
        if self.id is None or _NOT_A_NAME.search(self.id):
            return None
        return Face(account_id=self.id, username=self.username, display_name=self.display_name)


async def issue_permit(app: BrokerApp, actor: Actor, lease_id: UUID, wish: EffectRequest | None) -> IssuedPermit:
    """Decide on one effect.

    Args:
        app: The broker.
        actor: The runner that holds the lease.
        lease_id: Its lease.
        wish: What the runner wants; ``None`` = it could not be understood.

    Raises:
        NotFound: No such lease for this runner.
        Denied: A reason of :class:`byokeep.core.gate.DenyReason`; recorded.
        Conflict: ``already_done``, ``in_progress``, ``outcome_unknown``, ``idempotency_key_reused``.
        Unavailable: ``store_unreachable``, ``audit_chain_held``, or the database could not be asked: no permit.
    """
    await permit(app, actor, Verb.PERMIT)
    app.store_health.require()
    app.platform_chain.require(app.clock.monotonic())
    try:
        client_id = await client_for(app, actor, Verb.PERMIT, "lease", lease_id)
    except NotFound as refusal:
        await record_refusal(app, actor, EventName.PERMIT_ISSUED, refusal, client_id=None, object_id=lease_id)
        raise
    try:
        return await _decide(app, actor, client_id, lease_id, wish)
    except Exception as error:  # a gate that breaks denies (R1.5-4)
        expected = isinstance(error, ByokeepError) and error.code in _EXPECTED
        failure = error if isinstance(error, ByokeepError) and expected else deny(DenyReason.GATE_ERROR)
    if not isinstance(failure, Unavailable):
        await _record_denial(app, actor, client_id, lease_id, wish, failure)
    raise failure


async def _record_denial(
    app: BrokerApp, actor: Actor, client_id: ClientId, lease_id: UUID, wish: EffectRequest | None, refusal: ByokeepError
) -> None:
    known: dict[str, FieldValue] = {"lease": str(lease_id)}
    if wish is not None and _well_formed(wish):
        known |= _what(app, client_id, wish)
    alert = refusal.code if refusal.code in (DenyReason.GATE_ERROR, DenyReason.SWITCH_UNKNOWN) else ""
    issued = EventName.PERMIT_ISSUED
    await record_refusal(
        app, actor, issued, refusal, client_id=client_id, object_id=lease_id, fields=known, alerted=alert
    )


def _well_formed(wish: EffectRequest) -> bool:
    return well_formed(wish.platform, wish.account, wish.lane, wish.effect, wish.idempotency_key)


def _what(app: BrokerApp, client_id: ClientId, wish: EffectRequest) -> dict[str, FieldValue]:
    """Return the request as audit fields. A keyed digest replaces the key, which may say anything and can be guessed
    (S-TLOG-11).
    """
    digest = app.token_key(f"idempotency/{client_id}/{wish.idempotency_key}".encode()).hex()
    return {"effect": wish.effect, "platform": wish.platform, "lane": wish.lane, "idempotency": digest}


async def _decide(
    app: BrokerApp, actor: Actor, client_id: ClientId, lease_id: UUID, wish: EffectRequest | None
) -> IssuedPermit:
    if wish is None:
        raise deny(DenyReason.BAD_REQUEST)
    if wish.version != 1:
        raise deny(DenyReason.UNKNOWN_VERSION)
    if not _well_formed(wish):
        raise deny(DenyReason.BAD_REQUEST)
    scopes = effect_scopes(client_id, wish.platform, wish.lane)
    place = {
        "client_id": client_id, "lease_id": lease_id, "platform": wish.platform, "account": wish.account,
        "lane": wish.lane, "effect": wish.effect, "idempotency_key": wish.idempotency_key,
    }  # fmt: skip
    permit_id, by_key = PermitId(app.ids.uuid()), {name: place[name] for name in ("client_id", "idempotency_key")}
    async with app.db.begin(client_id=client_id) as tx:
        await hold_open(tx, scopes)
        row = await tx.one(
            dict, "permit_facts", **place, scopes=scopes, installation_id=app.installation_id,
            environment=app.environment.value, platforms=PLATFORMS,
        )  # fmt: skip
        if row["runner_id"] != actor.id:
            raise NotFound("not_found")
        account = account_facts(row)
        try:
            check_effect(gate_input(app, wish, row, account))
        except Denied as refusal:
            raise switch_refusal(row) if refusal.code == DenyReason.SWITCH_CLOSED else refusal from None
        if row["announced"] is not None and row["announced"]["same"] is not True:
            raise Conflict("idempotency_key_reused", next_step=_ONE_KEY)
        if row["held_by"] is not None:
            if row["held_same"] is not True:
                raise Conflict("idempotency_key_reused", next_step=_ONE_KEY, permit=row["held_by"])
            raise _same_key(row["held_by"], row["held_state"])
        canary = account["platform_stage"] == Stage.CANARY
        taken = await take(tx, client_id, wish.platform) if canary else None  # None: the platform is open
        event = Event(
            name=EventName.PERMIT_ISSUED, actor=actor, outcome=Outcome.INTENDED, client_id=client_id,
            object_id=permit_id,
            fields={**_what(app, client_id, wish), "lease": str(lease_id), "job": str(row["job_id"]),
                    "account": str(row["account_id"])},
        )  # fmt: skip
        insert = tx.last if taken is None else tx.all  # a canary's act is not committed if the key is taken
        inserted = await insert(
            lambda row: row["expires_at"], "permit_insert", id=permit_id, job_id=row["job_id"],
            ttl_s=app.limits.permit_ttl_s, way=None if taken is None else taken.way,
            stage=None if taken is None else taken.number, **place, **record_params(event),
        )  # fmt: skip
        if not inserted and taken is not None:  # the rollback gives the act back to its stage
            raise await tx.one(_holder, "permit_holder", **by_key)
    if not inserted:  # another transaction took the key between the two statements; nothing was written
        held = await app.db.read(_holder, "permit_holder", by_key, client_id=client_id)
        raise held[0] if held else NotFound("not_found")
    remember(app, permit_id, client_id)
    return IssuedPermit(permit_id, inserted[0], app.limits.permit_ttl_s)


def _holder(row: Row) -> Conflict:
    return _same_key(row["id"], row["state"])


def _same_key(permit_id: UUID, state: str) -> Conflict:
    """Return the conflict for a repeated idempotency key, by the state of the permit that holds it."""
    code = {"done": "already_done", "issued": "in_progress"}.get(state, "outcome_unknown")
    steps = {
        "already_done": "The effect happened under this key. Do not repeat it.",
        "in_progress": "Another attempt holds this key. Wait until it ends.",
        "outcome_unknown": "Check at the platform whether the effect happened. If it did not, use a new key.",
    }
    return Conflict(code, next_step=steps[code], permit=permit_id)


_AS_FOUND: Final = ("client_active", "job_open", "dry_run", "job_sealing", "lease_kind", "credentials_usable", "now")


def gate_input(app: BrokerApp, wish: EffectRequest, row: Row, account: Mapping[str, Any]) -> GateInput:
    """Return the gate's input from what was found. What the row lacks is ``None``, which denies."""
    return GateInput(
        version=wish.version,
        effect=wish.effect,
        platform=wish.platform,
        lane=wish.lane,
        switches_open=switches_open(row),
        lease_valid=row["lease_unexpired"],
        declared_effects=tuple(row["effects"]),
        declared_platforms=tuple(row["platforms"]),
        declared_lanes=tuple(row["lanes"]),
        enabled_lanes=tuple(row["enabled_lanes"] or ()),
        identity_fresh_for=app.limits.identity_fresh_for,
        drill=app.drill,
        **{name: row[name] for name in _AS_FOUND},
        **account,
    )


async def close_permit(app: BrokerApp, actor: Actor, permit_id: UUID, outcome: str) -> str:
    """Report how an act ended; returns the permit's state.

    Args:
        app: The broker.
        actor: The runner that holds the permit.
        permit_id: The permit.
        outcome: ``done``, or ``failed`` = it surely did not happen, which frees the key.

    A late ``done`` is accepted even after the sweep made the permit *unknown*, because it can only tell the truth. A
    late ``failed`` is not: it would free a key whose effect somebody may already be looking for.

    Raises:
        NotFound: No such permit for this runner.
        Rejected: ``bad_outcome``.
        Conflict: ``already_done``, ``already_failed``, ``outcome_unknown``.
    """
    if outcome not in ("done", "failed"):
        raise Rejected("bad_outcome", next_step="Give done or failed.")
    client_id = await client_for(app, actor, Verb.PERMIT, "permit", permit_id)
    from_states = ["issued", "unknown"] if outcome == "done" else ["issued"]
    async with app.db.begin(client_id=client_id) as tx:
        row = await tx.one(dict, "permit_read", client_id=client_id, id=permit_id)
        if row["runner_id"] != actor.id:
            raise NotFound("not_found")
        if row["state"] == outcome:
            return outcome
        # Mark what was announced as done, and tell the canary, before the record takes the client's chain.
        if row["state"] in from_states and outcome == "done" and row["announced"] is True:
            await tx.all(UUID, "permit_announced_done", client_id=client_id, id=permit_id)
        if row["state"] in from_states and row["way"] is not None:
            told = EffectResult(ok=outcome == "done", way=row["way"], number=row["stage"])
            await ended(tx, app, actor, client_id, row["platform"], told)
        event = Event(
            name=EventName.PERMIT_CLOSED, actor=actor, client_id=client_id, object_id=permit_id,
            outcome=Outcome.OK if outcome == "done" else Outcome.FAILED,
            fields={"job": str(row["job_id"]), "lease": str(row["lease_id"])},
        )  # fmt: skip
        at = {"client_id": client_id, "id": permit_id, "state": outcome, "from_states": from_states}
        closed = await tx.last(lambda row: row["id"], "permit_close", **at, **record_params(event))
    if not closed:  # it was in another state; nothing was written
        other = "already_done" if outcome == "failed" else "already_failed"
        raise Conflict("outcome_unknown" if row["state"] == "unknown" else other, permit=permit_id)
    return outcome


def compare(registered: Mapping[str, str], seen: ObservedAccount) -> str:
    """Compare an account with its registered fingerprint: ``match``, ``mismatch`` or ``unknown``.

    The comparison is exact after Unicode composition (NFC): no trimming, no case folding. What is missing, empty or
    looks like a page instead of a name could not be checked, and that is not a match (R1.5-2). A name that a website
    does not show is not needed.
    """
    for name in seen.shown:
        text = getattr(seen, name)
        if not isinstance(text, str) or not text.strip() or _NOT_A_NAME.search(text):
            return "unknown"
    same = all(
        unicodedata.normalize("NFC", getattr(seen, name)) == unicodedata.normalize("NFC", registered[column])
        for name, column in (("id", "account"), ("username", "username"), ("display_name", "display_name"))
        if name in seen.shown
    )
    return "match" if same else "mismatch"


async def report_identity(
    app: BrokerApp, actor: Actor, client_id: ClientId, platform: str, account: str, lease_id: UUID,
    seen: ObservedAccount,
) -> str:  # fmt: skip
    """Compare what a runner saw of an account with its fingerprint, and store the result.

    After a mismatch the account's lanes are off, and no later report of a runner takes the mismatch back. A person sets
    the lanes again; for a connected account, only after our own verification has found the right one.

    Returns:
        ``match``, ``mismatch`` (a critical alert is raised), ``unknown`` or, for a connected account, ``drift``: the
        same id under another name, which a person must confirm before the next effect.

    Raises:
        NotFound: No such account or lease for this runner.
        Denied: ``job_not_open``, ``lease_kind``, ``platform_not_declared``.
        Rejected: ``bad_account``.
    """
    authorise(actor, Verb.PERMIT, client_id=client_id)
    if platform not in PLATFORMS or not ACCOUNT_NAME.match(account):
        raise Rejected("bad_account", next_step="Give the platform and account as they were registered.")
    async with app.db.begin(client_id=client_id) as tx:
        row = await tx.maybe(
            dict, "account_facts", client_id=client_id, platform=platform, account=account, lease_id=lease_id
        )
        if row is None or row["runner_id"] != actor.id:
            step = "There is no such account or lease. An operator registers an account: `byokeep account add`."
            raise NotFound("not_found", next_step=step)
        if row["kind"] != "use":
            raise deny(DenyReason.LEASE_KIND)
        if row["job_open"] is not True or row["lease_unexpired"] is not True:
            raise deny(DenyReason.JOB_NOT_OPEN)
        if row["platform_declared"] is not True:
            raise deny(DenyReason.PLATFORM_NOT_DECLARED)
        grant = row["account_grant"]
        result = compare(row, seen) if grant is None else against_grant(grant, seen.face(), names=seen.shown)
        stored = "unknown" if result == "drift" else result
        about = {"client_id": client_id, "object_id": row["id"]}
        said = {"platform": platform, "job": str(row["job_id"])}
        await tx.one(datetime, "account_identified", client_id=client_id, id=row["id"], identity=stored)
        if result == "drift":
            await open_alert(tx, app, actor, reason="account_name_changed", severity="warning", **about)
        if result == "mismatch":
            off = await tx.maybe(UUID, "account_lanes_off", client_id=client_id, id=row["id"])
            odd = given_away(row, seen.face(), names=seen.shown)
            await open_alert(tx, app, actor, reason="identity_mismatch", **about, code_points=odd)
            if off is not None:
                await record(tx, actor, EventName.LANES_SET, said, **about, reason="identity_mismatch", lanes="")
        outcome = Outcome.OK if result == "match" else Outcome.FAILED
        identified, said["lease"] = EventName.ACCOUNT_IDENTIFIED, str(lease_id)
        await record(tx, actor, identified, said, **about, outcome=outcome, reason=result)
    return result
