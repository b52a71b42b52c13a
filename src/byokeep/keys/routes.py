"""Routes of keys, webhooks' signing secrets and leak fingerprints: put a value in, look, verify, retire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import AliasPath, Field

from byokeep.core import next_steps
from byokeep.core.errors import Rejected
from byokeep.core.evidence import CONNECT, PROFILE
from byokeep.core.keystate import KeyState
from byokeep.core.model import Actor, ClientId, CredentialRef, Risk
from byokeep.core.ref import SecretPart
from byokeep.core.secret import Secret
from byokeep.http.emergency import Emergency
from byokeep.http.openapi import NUMBER, At, Reply, Routes, parameters, raw_body, refusals
from byokeep.http.procedures import ProcedureReply, StepReply, run_out
from byokeep.http.request import (
    Authenticator,
    Budget,
    PathId,
    Strict,
    caller,
    query_of,
    read_bytes,
    spend,
    whole_number,
)
from byokeep.kernel import sops
from byokeep.kernel.app import WebApp
from byokeep.kernel.procedures import RunStatus, StepRecord
from byokeep.kernel.sops import SopRun, SopStatus
from byokeep.keys import keyless, onboard, orphans, refs, rotation, rotation_view, webhooks
from byokeep.keys.refs import LiveFingerprints, LiveValue, live_values
from byokeep.keys.rotation_view import RotationRecord, RotationShare
from byokeep_redact.fingerprint import FORMAT, WINDOW


class StateBody(Strict):
    """Change a key's state."""

    to: Literal["pre_activation", "active", "suspended", "deactivated", "compromised", "destroyed"]
    reason: Annotated[str, Field(max_length=63)]


class IntervalBody(Strict):
    """Choose after how many days a key is rotated."""

    days: int
    reason: Annotated[str, Field(max_length=63)]


class RefReply(
    Reply,
    of=CredentialRef,
    shows="id client_id provider kind purpose environment secret_ref version state verification risk"
    " created_at created_by rotation_due_at rotation_days expires_at candidate provider_place",
):
    """Where a secret is, never what it is (runbook 3.2, R3.2-1)."""


class RefsReply(Reply):
    """A client's references."""

    refs: list[RefReply]


class OnboardedReply(
    Reply,
    of=onboard.Onboarded,
    shows="ref=ref_id sop=sop_id version state verification rule rotation_due_at=due_at serves rotation joined",
):
    """A key that was taken in; its verification follows."""


class VerifyingReply(Reply):
    """A version that is verified again."""

    ref: UUID
    sop: UUID
    version: int


class EvidenceReply(Reply, of=StepRecord, shows="seq event at"):
    """The record that proves a step."""


class SopReply(
    Reply,
    of=SopRun,
    shows="id sop=procedure client_id provider ref=object_id version state missing reason next_step started_at"
    " started_by closed_at store_request",
):
    """A run of a procedure with its evidence."""

    missing: list[str]
    next_step: str
    evidence: dict[str, EvidenceReply]


def sop_out(status: SopStatus) -> dict[str, Any]:
    """Return a run with its evidence."""
    reason = status.run.reason.partition("/")[0]
    return SopReply.fields(
        status.run, state=status.state, missing=status.missing, reason=reason, next_step=_next(status),
        evidence=dict(status.evidence),
    )  # fmt: skip


def _next(status: SopStatus) -> str:
    if status.run.procedure == CONNECT:
        return next_steps.of_connection(status.state, status.run.reason)
    if status.run.procedure == PROFILE:
        return next_steps.of_profile(status.state, status.missing)
    return next_steps.of_run(status.state, status.run.reason, status.missing)


MAX_VALUE: Final = 8 * 1024  # bytes
VERSION_HEADER: Final = "x-byokeep-version"
_GOES_ON: Final = frozenset({KeyState.PRE_ACTIVATION, KeyState.ACTIVE})  # the others end the key's use
_GRACE: Final = ("now", "1h", "24h", "policy")
_WISH: Final = parameters(
    {"risk": {"type": "string", "enum": [*map(str, Risk)]}, "rotation_days": NUMBER,
     "old_ends": {"type": "string", "enum": [*_GRACE]}, "skip_rehearsal": {"type": "boolean"}}
)["parameters"]  # fmt: skip
_VERSION: Final = parameters({VERSION_HEADER: NUMBER}, place="header")["parameters"]


def _wish(request: Request) -> onboard.OnboardRequest:
    given = query_of(request, "risk", "rotation_days", "old_ends", "skip_rehearsal")
    risk, skip = given.get("risk"), given.get("skip_rehearsal", "false")
    if skip not in ("true", "false"):
        raise Rejected("bad_flag", next_step="Give skip_rehearsal as true or false.")
    if risk is not None and risk not in set(Risk):
        raise Rejected("bad_risk", next_step="Give standard or high.")
    return onboard.OnboardRequest(
        risk=None if risk is None else Risk(risk),
        rotation_days=whole_number("rotation_days", given.get("rotation_days")),
        version=whole_number("version", request.headers.get(VERSION_HEADER)),
        rotation=rotation.RotationRequest(grace=given.get("old_ends"), skip_rehearsal=skip == "true"),
    )


async def submitted(
    request: Request, check: Callable[[bytes], None] = lambda _: None
) -> tuple[Secret, Rejected | None]:  # fmt: skip
    """Read the value and look at its form; a refusal is kept, so that it is decided and recorded in its place."""
    try:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/octet-stream":
            raise Rejected("unsupported_media_type", next_step="Send the value as application/octet-stream.")
        raw = await read_bytes(request, limit=MAX_VALUE)
        check(raw)
        return Secret(raw), None
    except Rejected as error:
        return Secret(b""), error.with_traceback(None)  # whose frames hold it in the clear


def values(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the one route on which a secret comes in."""
    routes = Routes("keys", auth, 403)

    @routes.put(
        "/clients/{client_id}/providers/{provider}/value", status_code=202, response_model=OnboardedReply,
        openapi_extra=raw_body() | {"parameters": _WISH + _VERSION}, responses=refusals(409, 429),
    )  # fmt: skip
    async def put_value(request: Request, client_id: PathId, provider: str, actor: Actor) -> onboard.Onboarded:
        """Store a client's key; the whole body is the key. Verification follows by itself."""
        spend(request, writes, actor, ClientId(client_id))
        wish = _wish(request)
        value, problem = await submitted(request)
        return await onboard.onboard(
            app, actor, client_id=ClientId(client_id), provider=provider, value=value, wish=wish, problem=problem
        )

    return routes


class KeylessBody(Strict):
    """Declare a keyless credential: ids by the names that the provider gives them, and how to take it in."""

    ids: Annotated[dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=4)]
    risk: Literal["standard", "high"] | None = None
    old_ends: Literal["now", "1h", "24h", "policy"] | None = None
    skip_rehearsal: bool = False


class TrustReply(Reply, of=keyless.Trust, shows="issuer keys_url audience subject needs may"):
    """What a client enters at a provider, and which ids it then declares."""


def keyless_routes(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes of keyless credentials, and the documents by which providers check identity tokens."""
    routes = Routes("keys", auth, 403)

    @routes.get("/clients/{client_id}/providers/{provider}/keyless", response_model=TrustReply)
    async def show_trust(client_id: PathId, provider: str, actor: Actor) -> keyless.Trust:
        """Tell what a client enters at a provider, so that it trusts the client's identity tokens."""
        return await keyless.trust(app, actor, ClientId(client_id), provider)

    @routes.put(
        "/clients/{client_id}/providers/{provider}/keyless", status_code=202, response_model=OnboardedReply,
        responses=refusals(409, 429),
    )  # fmt: skip
    async def declare(
        request: Request, client_id: PathId, provider: str, actor: Actor, body: KeylessBody
    ) -> onboard.Onboarded:
        """Declare a keyless credential; the proof follows by itself. Nothing secret is stored."""
        spend(request, writes, actor, ClientId(client_id))
        wish = onboard.OnboardRequest(
            risk=None if body.risk is None else Risk(body.risk),
            rotation=rotation.RotationRequest(grace=body.old_ends, skip_rehearsal=body.skip_rehearsal),
        )
        return await keyless.declare(app, actor, ClientId(client_id), provider, body.ids, wish)

    @routes.get("/identity/oidc/.well-known/openid-configuration", include_in_schema=False)
    async def configuration() -> dict[str, Any]:
        """Say who issues identity tokens here, and where its keys are. Public: providers ask for it."""
        return await app.intake.discovery("openid-configuration")

    @routes.get("/identity/oidc/.well-known/keys", include_in_schema=False)
    async def public_keys() -> dict[str, Any]:
        """Show the public keys of identity tokens. Public: providers check tokens with them."""
        return await app.intake.discovery("keys")

    return routes


def router(app: WebApp, auth: Authenticator, writes: Budget, emergency: Emergency) -> APIRouter:
    """Return the routes of references and runs."""
    routes = Routes("keys", auth, 403)
    who_stops = Depends(caller(emergency.admitting(auth)))

    @routes.get("/clients/{client_id}/refs", response_model=RefsReply)
    async def list_refs(client_id: PathId, actor: Actor) -> dict[str, Any]:
        """List a client's references."""
        return {"refs": await refs.list_refs(app, actor, ClientId(client_id))}

    @routes.get("/refs/{ref_id}", response_model=RefReply)
    async def get_ref(ref_id: PathId, actor: Actor) -> CredentialRef:
        """Look at a reference."""
        return await refs.read_ref(app, actor, ref_id)

    @routes.post("/refs/{ref_id}/verify", status_code=202, response_model=VerifyingReply, responses=refusals(409, 429))
    async def verify(request: Request, ref_id: PathId, actor: Actor) -> dict[str, Any]:
        """Verify the stored version again."""
        run = await onboard.verify_again(app, actor, ref_id, before=partial(spend, request, writes, actor))
        return {"ref": ref_id, "sop": run.id, "version": run.version}

    @routes.post("/refs/{ref_id}/state", response_model=RefReply, responses=refusals(409))
    async def change_state(ref_id: PathId, *, actor: Actor = who_stops, body: StateBody) -> CredentialRef:
        """Move a key to another state of its life; what stops its use works on a full disk, too."""
        change = partial(refs.change_state, app, actor, ref_id, to=KeyState(body.to), reason=body.reason)
        return await (change() if body.to in _GOES_ON else emergency.stopping(change))

    @routes.post("/refs/{ref_id}/interval", response_model=RefReply)
    async def set_interval(ref_id: PathId, *, actor: Actor, body: IntervalBody) -> CredentialRef:
        """Choose after how many days a key is to be rotated; its due date follows."""
        return await refs.set_interval(app, actor, ref_id, days=body.days, reason=body.reason)

    @routes.post(
        "/clients/{client_id}/providers/{provider}/purge", status_code=201, response_model=ProcedureReply,
        responses=refusals(409),
    )  # fmt: skip
    async def purge(client_id: PathId, provider: str, actor: Actor) -> dict[str, Any]:
        """Ask for what the store holds there without a record to be destroyed; an approver approves it."""
        return run_out(await orphans.purge(app, actor, ClientId(client_id), provider))

    @routes.get("/sops/{sop_id}", response_model=SopReply)
    async def get_sop(sop_id: PathId, actor: Actor) -> dict[str, Any]:
        """Look at a run: its state, its evidence, what is missing."""
        return sop_out(await sops.sop_status(app, actor, sop_id))

    return routes


class RotateBody(Strict):
    """Begin a rotation."""

    old_ends: Literal["now", "1h", "24h", "policy"] = "policy"
    skip_rehearsal: bool = False
    mint: bool = False
    leaked: bool = False


class RotationResumeBody(Strict):
    """Go on; ``accept`` names what the rotation stopped for."""

    accept: Annotated[str, Field(max_length=63)] = ""


class RotationRecordReply(Reply, of=RotationRecord, shows="seq at event stage outcome cause by"):
    """What is on record of a rotation: a step, what was undone, a stop or the end."""


class KeyRotationReply(
    Reply,
    of=rotation.KeyRotation,
    shows="id client_id ref=object_id provider mode from_version version state reason waits_for next_step due_at"
    " started_by started_at closed_by closed_at gap_s",
):
    """A rotation: how far it is, which versions it is about, what is next, how it ended."""

    waits_for: str
    next_step: str
    ended: str
    steps: list[StepReply]
    missing: list[str]
    history: list[RotationRecordReply]


class KeyRotationsReply(Reply):
    """Rotations, those that are not over first."""

    rotations: list[KeyRotationReply]


class RotationShareReply(Reply, of=RotationShare, shows="mode count percent"):
    """How many credentials are rotated in one way."""


class RotationGradeReply(Reply):
    """A client's credentials by how they are rotated, the best first."""

    grade: list[RotationShareReply]


def rotation_out(
    app: WebApp, actor: Actor, status: RunStatus, history: Sequence[RotationRecord] = (), *, held: int = 0
) -> dict[str, Any]:
    """Return a rotation as a reply. One that stopped for a person is ``waiting``; ``held``: by so many jobs."""
    shown = rotation_view.told(app, actor, status, held=held)
    return KeyRotationReply.fields(
        rotation.of(status.run), **shown, steps=status.steps, missing=status.missing, history=history
    )


def rotations(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes of rotations."""
    routes = Routes("rotations", auth, 403)

    @routes.post("/refs/{ref_id}/rotations", status_code=201, response_model=KeyRotationReply, responses=refusals(409))
    async def start(ref_id: PathId, actor: Actor, body: RotateBody) -> dict[str, Any]:
        """Begin a rotation of a key that serves; its new value comes next."""
        wish = rotation.RotationRequest(
            grace=body.old_ends, skip_rehearsal=body.skip_rehearsal, mint=body.mint, leaked=body.leaked
        )
        begun = await rotation.start(app, actor, ref_id, wish)
        return rotation_out(app, actor, begun, held=await rotation_view.held_by(app, begun))

    @routes.get("/refs/{ref_id}/rotations", response_model=KeyRotationsReply)
    async def of_ref(ref_id: PathId, actor: Actor) -> dict[str, Any]:
        """List the rotations of one key."""
        await refs.get_ref(app, actor, ref_id)
        found = await rotation_view.list_rotations(app, actor, ref_id)
        return {"rotations": [rotation_out(app, actor, one) for one in found]}

    @routes.get("/clients/{client_id}/rotation-grade", response_model=RotationGradeReply)
    async def grade(client_id: PathId, actor: Actor) -> dict[str, Any]:
        """Tell how a client's credentials are rotated: how many in which way."""
        return {"grade": await rotation_view.grade(app, actor, ClientId(client_id))}

    @routes.get("/rotations", response_model=KeyRotationsReply)
    async def list_(actor: Actor) -> dict[str, Any]:
        """List rotations, those that are not over first."""
        return {"rotations": [rotation_out(app, actor, one) for one in await rotation_view.list_rotations(app, actor)]}

    @routes.get("/rotations/{run_id}", response_model=KeyRotationReply)
    async def show(run_id: PathId, actor: Actor) -> dict[str, Any]:
        """Look at a rotation: the steps that are proved, those that are missing, what it waits for."""
        found, history = await rotation_view.show(app, actor, run_id)
        return rotation_out(app, actor, found, history, held=await rotation_view.held_by(app, found))

    @routes.post("/rotations/{run_id}/resume", response_model=KeyRotationReply, responses=refusals(409))
    async def resume(run_id: PathId, actor: Actor, body: RotationResumeBody) -> dict[str, Any]:
        """Give a rotation that stopped back to the workers, accepting what it stopped for."""
        return rotation_out(app, actor, await rotation.resume(app, actor, run_id, accept=body.accept))

    @routes.post("/rotations/{run_id}/abort", response_model=KeyRotationReply, responses=refusals(409))
    async def abort(run_id: PathId, actor: Actor) -> dict[str, Any]:
        """End a rotation before its cutover; the new version goes."""
        return rotation_out(app, actor, await rotation.abort(app, actor, run_id))

    @routes.post("/rotations/{run_id}/rollback", response_model=KeyRotationReply, responses=refusals(409))
    async def rollback(run_id: PathId, actor: Actor) -> dict[str, Any]:
        """Go back to the old version after the cutover, before it is revoked."""
        return rotation_out(app, actor, await rotation.rollback(app, actor, run_id))

    return routes


_LIVE: Final = frozenset({KeyState.PRE_ACTIVATION, KeyState.ACTIVE, KeyState.SUSPENDED})


class RetireBody(Strict):
    """Retire a signing secret, or only the previous one."""

    reason: Annotated[str, Field(max_length=63)]
    previous_only: bool = False


class WebhookSecretReply(RefReply):
    """A signing secret's reference; nothing is due of one that was retired."""

    rotation_due_at: At | None
    previous_version: int | None
    previous_until: At | None


class WebhookSecretsReply(Reply):
    """A client's signing secrets; never a value."""

    webhooks: list[WebhookSecretReply]


def secret_out(found: webhooks.WebhookSecret) -> dict[str, Any]:
    """Return a signing secret's reference."""
    shown = RefReply.fields(found.ref)
    if found.ref.state not in _LIVE:
        shown["rotation_due_at"] = None
    return shown | {"previous_version": found.previous_version, "previous_until": found.previous_until}


def webhook_values(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the route on which a signing secret comes in."""
    routes = Routes("webhooks", auth, 403)

    @routes.put(
        "/clients/{client_id}/providers/{provider}/webhook", status_code=201, response_model=WebhookSecretReply,
        openapi_extra=raw_body() | parameters({"keep_previous_s": NUMBER}), responses=refusals(409, 429),
    )  # fmt: skip
    async def put_secret(request: Request, client_id: PathId, provider: str, actor: Actor) -> dict[str, Any]:
        """Store a client's webhook secret; the whole body is the secret."""
        spend(request, writes, actor, ClientId(client_id))
        keep = whole_number("keep_previous_s", query_of(request, "keep_previous_s").get("keep_previous_s"))
        value, problem = await submitted(request, webhooks.check_form)
        done = await webhooks.store_secret(
            app, actor, client_id=ClientId(client_id), provider=provider, value=value, problem=problem,
            keep_previous_s=keep or 0,
        )  # fmt: skip
        return secret_out(done)

    @routes.put(
        "/clients/{client_id}/providers/{provider}/admin", status_code=201, response_model=RefReply,
        openapi_extra=raw_body() | parameters({"at": {"type": "string"}}), responses=refusals(409, 429),
    )  # fmt: skip
    async def put_admin(request: Request, client_id: PathId, provider: str, actor: Actor) -> CredentialRef:
        """Store the key that administers a client's account at a provider; the whole body is the key."""
        spend(request, writes, actor, ClientId(client_id))
        where = query_of(request, "at").get("at") or ""
        value, problem = await submitted(request, webhooks.check_admin_form)
        done = await webhooks.store_secret(
            app, actor, client_id=ClientId(client_id), provider=provider, value=value, problem=problem,
            part=SecretPart.ADMIN, provider_place=where,
        )  # fmt: skip
        return done.ref

    return routes


def webhooks_router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes that look at signing secrets and retire them."""
    routes = Routes("webhooks", auth, 403)

    @routes.get("/clients/{client_id}/webhooks", response_model=WebhookSecretsReply)
    async def list_secrets(client_id: PathId, actor: Actor) -> dict[str, Any]:
        """List a client's signing secrets; never a value."""
        found = await webhooks.list_secrets(app, actor, ClientId(client_id))
        return {"webhooks": [secret_out(one) for one in found]}

    @routes.post(
        "/clients/{client_id}/providers/{provider}/webhook/retire", response_model=WebhookSecretReply,
        responses=refusals(409),
    )  # fmt: skip
    async def retire(client_id: PathId, provider: str, actor: Actor, body: RetireBody) -> dict[str, Any]:
        """Retire a signing secret, or only the previous one."""
        return secret_out(
            await webhooks.retire(
                app, actor, ClientId(client_id), provider, previous_only=body.previous_only, reason=body.reason
            )
        )

    return routes


PER_MINUTE: Final = 10  # of one auditor


class DigestReply(Reply):
    """A fingerprint and whose it is."""

    label: str
    digest: str


class FingerprintsReply(Reply):
    """The document of docs/spec/leak-fingerprints.md."""

    format: str
    key: str
    window: int
    digests: list[DigestReply]


class UnknownValueReply(Reply, of=LiveValue, shows="client_id ref=ref_id provider version reason"):
    """A live value that has no fingerprint, and why."""

    client_id: Annotated[UUID, Field(validation_alias=AliasPath("place", "client_id"))]
    provider: Annotated[str, Field(validation_alias=AliasPath("place", "provider"))]


class LiveValuesReply(Reply, of=LiveFingerprints, shows="fingerprints values unknown replaced_unknown all_clients"):
    """Keyed fingerprints of the live values, never a value."""

    fingerprints: FingerprintsReply
    values: int
    unknown: list[UnknownValueReply]


def leaks(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the route."""
    routes = Routes("leaks", auth, 403, prefix="/v1/leaks")
    budget = Budget(app.clock, per_minute=PER_MINUTE)

    @routes.get("/fingerprints", response_model=LiveValuesReply, responses=refusals(429))
    async def fingerprints(actor: Actor) -> dict[str, Any]:
        """Give out keyed fingerprints of the live values, never a value; it is on record."""
        budget.spend(str(actor.id))
        return _live_out(await live_values(app, actor))

    return routes


def _live_out(live: LiveFingerprints) -> dict[str, Any]:
    """Return the reply."""
    rows = [{"label": _label(one), "digest": digest} for one in live.watched for digest in one.digests]
    found = {"format": FORMAT, "key": live.key, "window": WINDOW, "digests": rows}
    return LiveValuesReply.fields(live, fingerprints=found, values=len(live.watched))


def _label(one: LiveValue) -> str:
    part = "/admin" if one.place.part is SecretPart.ADMIN else ""
    return f"{one.place.provider.value}{part} v{one.version} ref={one.ref_id} client={one.place.client_id}"
