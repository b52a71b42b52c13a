"""Break-glass grants: requested, approved by another person, opened once by the holder, ended, reviewed, closed.

Rules
- There is one at a time, until its review is closed: the database refuses a second one.
- Exactly what was approved is opened: approval, record and row have the same digest, and the approver may still
  approve.
- The token is given wrapped, to the holder alone. It is announced on record first, so that a crash never leaves a token
  that nobody asked for. A token whose issue was not recorded is ended.
- Nothing is opened while the store's audit or ours cannot record, nor against a kill switch, or one that
  cannot be read.
- Each opening, use and misuse raises an alert about the holder, who therefore cannot close it.

It may not see a token, nor read a value.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from byokeep.breakglass import model
from byokeep.breakglass.model import BREAK_GLASS, BREAK_GLASS_DRILL, DRILL, EVERYTHING, Grant
from byokeep.core.canonical import canonical_json
from byokeep.core.errors import ByokeepError, Conflict, Denied, NotFound, Unavailable
from byokeep.core.events import EventName, Outcome
from byokeep.core.model import Actor, ClientId, Role
from byokeep.core.plain_text import check_reason, check_ticket
from byokeep.core.policy import Verb
from byokeep.core.procedure import Procedure
from byokeep.core.ref import parse_provider
from byokeep.core.secret import Secret
from byokeep.jobs.lease import claims
from byokeep.kernel import approvals, procedures
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import (
    Said,
    Trail,
    command,
    open_alert,
    permit,
    record,
    recorded,
    stamp,
    state_over,
    tell_state,
)
from byokeep.kernel.ports import Tx, WrappedToken
from byokeep.kernel.rows import Row
from byokeep.tenancy.scopes import require_open

_MOST: Final = 200
DRILLED: Final = "break_glass_drilled"  # goes as it should, and reads no secret
NOT_ALONE: Final = "break_glass_role_not_alone"
ON_HOST: Final = "break_glass_on_host"
ROLE_KEY: Final = "state/break_glass_role"
CREATION_PATH: Final = "auth/lease/cel/login"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A grant with the wrapping token, which is shown once and kept nowhere, and when it was wrapped."""

    grant: Grant
    token: str = field(repr=False)
    wrapped_at: str


def procedure_of(grant: Grant) -> Procedure:
    """Return the procedure that a grant is a run of."""
    return BREAK_GLASS_DRILL if grant.procedure == BREAK_GLASS_DRILL.name else BREAK_GLASS


async def say(tx: Tx, actor: Actor, name: EventName, grant: Grant, outcome: Outcome = Outcome.OK, **said: Said) -> None:
    """Put something on record of a grant, with its reason and ticket."""
    known: dict[str, Said] = {"run": grant.id, **about(grant), **said}
    await record(tx, actor, name, known, outcome=outcome, client_id=grant.client_id, object_id=grant.id)


async def warn(tx: Tx, app: BrokerApp, actor: Actor, grant: Grant, reason: str) -> None:
    """Raise an alert about the holder, one for each grant; everybody else may close it."""
    await open_alert(
        tx, app, actor, reason=reason, severity="warning" if reason == DRILLED else "critical",
        client_id=grant.client_id, object_id=grant.holder, key=f"{reason}/{grant.id}",
    )  # fmt: skip


async def listed(
    tx: Tx, *, grant_id: UUID | None = None, ids: list[UUID] | None = None, only_open: bool = False
) -> list[Grant]:
    """Return grants, open ones first."""
    return await tx.all(Grant, "glass_grants", id=grant_id, ids=ids, only_open=only_open, limit=_MOST)


async def find(app: BrokerApp, actor: Actor, verb: Verb, grant_id: UUID) -> Grant:
    """Return a grant to somebody who may do ``verb`` for its client. Raises Denied, NotFound."""
    async with command(app, actor, verb, object_id=grant_id) as tx:
        found = await listed(tx, grant_id=grant_id)
        if not found:
            raise NotFound("not_found")
    await permit(app, actor, verb, client_id=found[0].client_id)
    return found[0]


async def list_grants(app: BrokerApp, actor: Actor) -> tuple[list[Grant], Row]:
    """Return the grants of the actor's clients, open ones first, and when drills last worked. Raises Denied."""
    async with command(app, actor, Verb.GLASS_READ) as tx:
        found = await listed(tx, ids=None if actor.clients is None else list(actor.clients))
        [drilled] = await tx.all(dict, "glass_last_drill")
        return found, drilled


async def request(
    app: BrokerApp, actor: Actor, client_id: ClientId, *, scope: str, reason: str, ticket: str, life_s: int
) -> Grant:
    """Ask for a grant, which somebody else approves within 15 minutes.

    Args:
        scope: ``all``, a provider or platform of the client, or ``drill``.

    Raises:
        Denied: ``not_permitted``, ``approval_held``.
        Rejected: ``bad_reason``, ``bad_ticket``, ``secret_like_content``, ``bad_duration``, ``unknown_provider``.
        Conflict: ``break_glass_taken``: one is not closed yet.
    """
    await lapse(app)
    async with command(
        app, actor, Verb.GLASS_REQUEST, client_id=client_id, object_id=client_id,
        refused_as=EventName.GLASS_REQUESTED, on_client=True,
    ) as tx:  # fmt: skip
        check_reason(reason, example="runner_down")
        model.check_life(life_s)
        ticket = check_ticket(ticket)
        scope = scope if scope in (EVERYTHING, DRILL) else parse_provider(scope).value
        said: dict[str, Any] = {"scope": scope, "life_s": life_s, "cause": reason}
        digest = model.digest_of(
            client_id=client_id, holder=actor.id, scope=scope, life_s=life_s, cause=reason, ticket=ticket
        )
        run_id = app.ids.uuid()
        shown = canonical_json({**said, "client": str(client_id), "ticket": ticket}).decode()
        asked = await approvals.request(
            tx, app, actor, action=approvals.BREAK_GLASS, scope=f"{run_id}/{digest}", epoch=0, asked=shown,
            reason=reason, life_s=model.REQUEST_S,
        )  # fmt: skip
        procedure = BREAK_GLASS_DRILL if scope == DRILL else BREAK_GLASS
        facts = said | {"approval": str(asked.id)}
        await procedures.insert_run(
            tx, app, actor, procedure, client_id=client_id, object_id=run_id, run_id=run_id, facts=facts
        )
        about: dict[str, Said] = {"run": run_id, "ticket": ticket, "reason": reason, "scope": scope}
        about |= {"life_s": life_s, "digest": digest}
        await record(tx, actor, EventName.GLASS_REQUESTED, about, client_id=client_id, object_id=run_id)
        return (await listed(tx, grant_id=run_id))[0]


def approved_scope(grant: Grant) -> str:
    """Return what an approval of this grant, as its row stands now, must say."""
    if grant.client_id is None:
        raise NotFound("not_found")
    digest = model.digest_of(
        client_id=grant.client_id, holder=grant.holder, scope=grant.scope, life_s=grant.life_s, cause=grant.cause,
        ticket=grant.ticket,
    )  # fmt: skip
    if digest != grant.digest or grant.procedure != (BREAK_GLASS_DRILL if grant.scope == DRILL else BREAK_GLASS).name:
        raise Denied("approval_changed", next_step="It is not what was asked for. See the alerts, then ask again.")
    return f"{grant.id}/{digest}"


def _waits(grant: Grant) -> None:
    if grant.status == "expired":
        raise Denied("approval_expired", next_step="It was not approved and opened in time. Ask again.")
    if grant.closed_at is not None or "issue" in grant.evidence:
        raise Denied("approval_used", next_step=f"It is {grant.status} already: {model.of(grant.id)}.")


async def approve(app: BrokerApp, actor: Actor, grant_id: UUID) -> Grant:
    """Approve exactly what was asked for, as the second person; the holder opens it.

    Raises:
        Denied: ``not_permitted``, ``same_person``, ``approval_used``, ``approval_expired``, ``approval_changed``.
        NotFound: ``not_found``.
    """
    grant = await find(app, actor, Verb.GLASS_APPROVE, grant_id)
    async with on_grant(app, actor, Verb.GLASS_APPROVE, grant, EventName.GLASS_APPROVED) as tx:
        _waits(grant)
        asked = await approvals.find(tx, grant.approval_id or grant.id, approvals.BREAK_GLASS)
        await approvals.give(tx, actor, asked, scope=approved_scope(grant), epoch=0)
        await say(tx, actor, EventName.GLASS_APPROVED, grant, digest=grant.digest)
        return (await listed(tx, grant_id=grant_id))[0]


async def deny(app: BrokerApp, actor: Actor, grant_id: UUID) -> Grant:
    """End a request that was not opened: an approver says no, or whoever asked takes it back."""
    verb = Verb.GLASS_REQUEST if Role.OPERATOR in actor.roles else Verb.GLASS_APPROVE
    grant = await find(app, actor, verb, grant_id)
    async with on_grant(app, actor, verb, grant, EventName.GLASS_DENIED) as tx:
        if verb is Verb.GLASS_REQUEST and grant.holder != actor.id:
            raise Denied("not_the_holder", next_step="An approver can deny it; the requester can withdraw it.")
        _waits(grant)
        await say(tx, actor, EventName.GLASS_DENIED, grant)
        await procedures.end(tx, actor, procedure_of(grant), grant, reason="denied")
        return (await listed(tx, grant_id=grant_id))[0]


async def open_glass(app: BrokerApp, actor: Actor, grant_id: UUID) -> Opened:
    """Give the holder the wrapping token of an approved grant, once.

    Raises:
        Denied: ``not_the_holder``, ``approval_held``, ``approval_missing``, ``approver_gone``, ``approval_expired``,
            ``approval_used``, ``approval_changed``, ``switch_closed``, ``switch_unknown``.
        Conflict: ``break_glass_role_not_alone``.
        Unavailable: The store, the database, or no audit that records; nothing was given.
    """
    grant = await find(app, actor, Verb.GLASS_REQUEST, grant_id)
    trail = _trail(grant, EventName.GLASS_ISSUED)
    async with recorded(app, actor, Verb.GLASS_REQUEST, client_id=grant.client_id, **trail):
        if grant.holder != actor.id:
            raise Denied("not_the_holder", next_step="Only the requester can open it.")
        if actor.held:  # since the request: whoever issued their credentials may be the one who opens
            raise Denied("approval_held", next_step="Your approvals are held, so you cannot open it. Another must ask.")
        app.store_health.require()
        app.store_recording.require(app.clock.monotonic())
        app.platform_chain.require(app.clock.monotonic())
        await require_alone(app)
        iat = await _announce(app, actor, grant)
        given = await _from_store(app, actor, grant, iat)
        return await _hand_over(app, actor, grant, given)


async def _hand_over(app: BrokerApp, actor: Actor, grant: Grant, given: WrappedToken) -> Opened:
    """Put on record what is given; else it is ended. A kill switch or a denial that came meanwhile goes before."""
    try:
        hashes = [await app.store_audit.hash(one.name, Secret(given.token)) for one in await app.store_audit.devices()]
        async with app.db.begin(client_id=grant.client_id) as tx:
            [grant] = await listed(tx, grant_id=grant.id)
            _waits(grant)
            require_open(await switches(tx, app, grant))
            said = about(grant) | {
                "scope": grant.scope, "life_s": grant.life_s, "accessor": f"a.{given.accessor}", **_where(app),
                "wrap_accessor": f"a.{given.wrap_accessor}",
                "wrap_mark": ",".join(sorted({mark.rpartition(":")[2][:24] for mark in hashes})[:5]),
            }  # fmt: skip
            steps = procedure_of(grant)
            await procedures.passed(tx, actor, steps, grant, steps.step("issue"), said, facts={})
            await warn(tx, app, actor, grant, DRILLED if grant.scope == DRILL else "break_glass_opened")
            [grant] = await listed(tx, grant_id=grant.id)
            return Opened(grant=grant, token=given.token, wrapped_at=given.wrapped_at)
    except BaseException:
        await app.glass.revoke(given.accessor, given.wrap_accessor)
        raise


async def require_alone(app: BrokerApp) -> None:
    """See that the store has one break-glass role, ours; otherwise raise an alert, which ends when it is so again.

    Raises:
        Conflict: ``break_glass_role_not_alone``.
        Unavailable: ``break_glass_not_set_up``: the store was set up by a release before; or it is away.
    """
    try:
        strangers = await app.glass.strangers()
    except Denied:
        step = "Update the store's set-up: `byokeep up`, or `byokeep init` for your own store."
        raise Unavailable("break_glass_not_set_up", next_step=step) from None
    await tell_state(app, strangers, reason=NOT_ALONE, key=ROLE_KEY)
    if strangers:
        step = "Another role at the store grants what only break glass may. Remove it, or set up the store again."
        raise Conflict(NOT_ALONE, next_step=step, count=len(strangers))


async def _announce(app: BrokerApp, actor: Actor, grant: Grant) -> int:
    """Use the approval up and say what is about to be given; returns when its claims are of."""
    async with app.db.begin(client_id=grant.client_id) as tx:
        [grant] = await listed(tx, grant_id=grant.id)
        _waits(grant)
        scope = approved_scope(grant)
        if grant.approval_used_at is not None:
            raise Denied("approval_used", next_step="It was already opened. Ask for another grant.")
        if grant.approval_scope != scope:
            raise Denied("approval_changed", next_step="It is not what was approved. See the alerts, then ask again.")
        if grant.approved_by is None:
            step = f"Another person must approve it: `byokeep breakglass approve {grant.id}`."
            raise Denied("approval_missing" if grant.approval_in_time else "approval_expired", next_step=step)
        if not grant.approver_able:
            raise Denied("approver_gone", next_step="Its approver may no longer approve. Ask for another grant.")
        require_open(await switches(tx, app, grant))
        used = await approvals.collect(tx, actor, action=approvals.BREAK_GLASS, scope=scope, epoch=0)
        if used is None:  # just now
            code = "approval_used" if grant.approval_in_time else "approval_expired"
            raise Denied(code, next_step="Ask for another grant.")
        iat = int(grant.looked_at.timestamp())
        await say(
            tx, actor, EventName.GLASS_ISSUED, grant, Outcome.INTENDED, scope=grant.scope, life_s=grant.life_s,
            jwt_iat=iat, jwt_exp=iat + app.limits.lease_jwt_ttl_s,
        )  # fmt: skip
        return iat


async def switches(tx: Tx, app: BrokerApp, grant: Grant) -> Row:
    """Read the kill switches that go before a grant: of everything, of its client, and of what it would open."""
    own = f"client:{grant.client_id}"
    scopes = ["global", own, *(f"{own}:platform:{name}" for name in model.secrets_of(grant.scope))]
    return await tx.one(dict, "glass_switches", scopes=scopes, installation_id=app.installation_id)


async def _from_store(app: BrokerApp, actor: Actor, grant: Grant, iat: int) -> WrappedToken:
    said = signed_claims(app, grant.client_id or grant.id, grant.id, grant.scope, grant.life_s, iat)
    try:
        jwt = Secret(await app.signer.sign_jwt(said))
        return await app.glass.issue(jwt, grant_id=grant.id, wrap_s=int(model.WRAPPED.total_seconds()))
    except ByokeepError as error:
        async with app.db.begin(client_id=grant.client_id) as tx:
            await say(tx, actor, EventName.GLASS_EXPIRED, grant, cause=error.code)
            await procedures.end(tx, actor, procedure_of(grant), grant, reason="not_issued")
        if error.code in ("store_denied", "store_rejected"):
            step = "The store no longer admits this client's logins. See `byokeep kill status`, then ask again."
            raise Denied("store_refused", next_step=step) from None
        raise


def signed_claims(
    app: BrokerApp, client_id: UUID, grant_id: UUID, scope: str, life_s: int, iat: int
) -> dict[str, object]:
    """Return the claims of a grant; the same grant gives the same bytes for ever."""
    own = claims(
        app, client_id=client_id, job_id=grant_id, lease_id=grant_id, kind=model.KIND, secrets=model.secrets_of(scope),
        iat=iat,
    )  # fmt: skip
    return own | {"life_s": life_s}


async def end(app: BrokerApp, actor: Actor, grant: Grant, event: EventName, *, cause: str) -> None:
    """End the token at the store, then the grant; a drill is over with it.

    Raises:
        Conflict: ``procedure_moved``: somebody else ended it.
        Unavailable: The store or the database; the grant's own end holds all the same.
    """
    await app.glass.revoke(grant.accessor, grant.wrap_accessor)
    async with app.db.begin(client_id=grant.client_id) as tx:
        await say(tx, actor, event, grant, cause=cause)
        steps = procedure_of(grant)
        if grant.scope == DRILL:
            uses = await tx.all(dict, "glass_uses", client_id=grant.client_id, id=grant.id)
            seen = {one["event"] for one in uses if one["outcome"] == "ok"}
            worked = {EventName.GLASS_UNWRAPPED.value, EventName.GLASS_USED.value} <= seen and not any(
                one["event"] == EventName.GLASS_MISUSED.value for one in uses
            )
            outcome = Outcome.OK if worked else Outcome.FAILED
            await say(tx, actor, EventName.GLASS_DRILLED, grant, outcome, cause=cause, **_where(app))
        ended = {"ended_at": stamp(grant.looked_at)}
        await procedures.passed(tx, actor, steps, grant, steps.step("end"), {"cause": cause}, facts=ended)


def _where(app: BrokerApp) -> dict[str, str]:
    return {"component": "host"} if app.on_host else {}


async def close(app: BrokerApp, actor: Actor, grant_id: UUID) -> Grant:
    """Close a reviewed grant, as the second person: neither the holder nor whoever reviewed it.

    Raises:
        Denied: ``not_permitted``, ``same_person``.
        NotFound: ``not_found``.
        Conflict: ``not_reviewed``; ``procedure_over``.
    """
    grant = await find(app, actor, Verb.GLASS_APPROVE, grant_id)
    async with on_grant(app, actor, Verb.GLASS_APPROVE, grant, EventName.GLASS_CLOSED) as tx:
        if grant.status != "to_close":
            raise Conflict("not_reviewed", next_step=f"It is {grant.status}: `byokeep breakglass review {grant_id}`.")
        proved = await procedures.proved_steps(tx, grant.client_id or grant.id, BREAK_GLASS, grant)
        by = {one.name: one.by for one in proved}
        if len(by) != len(BREAK_GLASS.steps) - 1:
            raise Conflict("not_reviewed", next_step="A record that proves a step is missing. See the alerts.")
        if actor.id in (grant.holder, by["review"]):
            raise Denied("same_person", next_step="Another approver, who did not review it, must close it.")
        await procedures.passed(tx, actor, BREAK_GLASS, grant, BREAK_GLASS.step("close"), about(grant), facts={})
    await state_over(app, f"state/break_glass_review/{grant_id}")
    return await find(app, actor, Verb.GLASS_READ, grant_id)


async def lapse(app: BrokerApp) -> None:
    """End requests that nobody approved or opened in time, and openings that a crash cut off."""
    host = app.system()
    async with app.db.begin(every_client=True) as tx:
        for grant in await listed(tx, only_open=True):
            late = grant.begun_at is not None and grant.looked_at - grant.begun_at > model.INTERRUPTED
            lapsed = grant.begun_at is None and not grant.approval_in_time
            if "issue" not in grant.evidence and (late or lapsed):
                await say(tx, host, EventName.GLASS_EXPIRED, grant, cause="interrupted" if late else "not_opened")
                await procedures.end(tx, host, procedure_of(grant), grant, reason="expired")


async def open_on_host(app: BrokerApp) -> tuple[str, str]:
    """Put on record, as a critical alert, that somebody serves break glass on the host; returns a message to people.

    Raises:
        Unavailable: The database: what nobody can record, nobody opens.
    """
    raised = app.ids.uuid()  # each time is one of its own
    async with app.db.begin(every_client=True) as tx:
        await open_alert(tx, app, None, reason=ON_HOST, key=f"{ON_HOST}/{raised}", object_id=app.installation_id)
    app.platform_chain.proved(app.clock.monotonic())
    return "byokeep: break glass on the host", f"critical alert {ON_HOST}, {stamp(app.clock.now())}"


def review_due(grant: Grant) -> bool:
    """Whether the review of a grant is overdue."""
    return "end" in grant.evidence and grant.looked_at - (grant.ended_at or grant.looked_at) > model.REVIEW_WITHIN


def places(grant: Grant) -> list[str]:
    """Return where in the store's KV lies what a grant opens; an account's access token lies below its platform."""
    if grant.scope == DRILL:
        return ["kv/platform/breakglass-drill"]
    return [f"kv/clients/{grant.client_id}/providers/{name}" for name in model.secrets_of(grant.scope)]


def about(grant: Grant) -> dict[str, str | int]:
    """Return what each record says of a grant beside its id."""
    return {"ticket": grant.ticket, "reason": grant.cause}


def _trail(grant: Grant, event: EventName) -> Trail:
    said = {"run": str(grant.id), "ticket": grant.ticket}
    return Trail(object_id=grant.id, refused_as=event, denied_as=event, on_client=True, fields=said)


def on_grant(
    app: BrokerApp, actor: Actor, verb: Verb, grant: Grant, event: EventName
) -> AbstractAsyncContextManager[Tx]:
    """Return the command that a step of a grant is; what is refused is on record of the grant."""
    return command(app, actor, verb, client_id=grant.client_id, **_trail(grant, event))
