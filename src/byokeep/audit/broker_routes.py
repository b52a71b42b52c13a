"""Routes of the audit and of evidence: what only the broker can sign, hash or read of the store's own log."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from pydantic import Field

from byokeep.audit import disclosure, log
from byokeep.audit.log import Malformed
from byokeep.core.errors import Rejected
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor
from byokeep.core.policy import Verb
from byokeep.core.secret import Secret
from byokeep.http.openapi import answers, describe, raw_body, refusals
from byokeep.http.reply import AtOffset, Reply
from byokeep.http.request import Authenticator, Id, PathId, Strict, caller, json_body, no_query, read_bytes
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import permit
from byokeep.reconciliation import reconcile
from byokeep.reconciliation.reconcile import Reconciliation

MAX_VALUE: Final = 8192  # bytes of a value to hash
MAX_MINUTES: Final = 2880  # of the store's log in one run: a day, and the day that was forgotten
MAX_FINDINGS: Final = 100  # malformed records that a reply names; all are counted
_JSON: Final = "application/json"
_LINES: Final = "application/jsonl"
SIGNED: Final = {"type": "object"}  # docs/spec/evidence.md, docs/spec/proof.md


class ReconcileBody(Strict):
    """How far back to look."""

    minutes: int = 60


class ExportBody(Strict):
    """Whose chain; the platform's when no client is named."""

    client_id: Id | None = None


class CheckpointReply(Reply):
    """A signed checkpoint."""

    size: int
    chains: int
    root: Annotated[str, Field(validation_alias="root_hex")]


class BrokenRecordReply(Reply, of=Malformed, shows="chain seq code"):
    """A record that is not well formed."""


class VerifyReply(Reply):
    """What the whole log is against all checkpoints; at most 100 of the findings are named."""

    state: Literal["ok", "findings"]
    epochs: int
    chains: int
    records: int
    newer_than_checkpoint: int
    rebased: int
    malformed: int
    findings: list[BrokenRecordReply]


class FindingReply(Reply):
    """Something in the store's log that nobody of ours explains."""

    reason: str
    severity: str
    at: AtOffset
    store_request: Annotated[str, Field(validation_alias="request_id")]
    device: str
    client_id: UUID | None
    lease_id: UUID | None


class ReconcileReply(Reply):
    """How the store's log compares with ours."""

    state: str
    requests: int
    logins: int
    unread: list[str]
    until: AtOffset
    findings: list[FindingReply]


class DeviceReply(Reply):
    """An audit device of the store."""

    name: str
    state: Literal["healthy", "unhealthy"]
    reason: str
    recording_since: AtOffset | None
    last_write_at: AtOffset | None
    size_bytes: int
    disk_free_bytes: int


class AuditHealthReply(Reply):
    """Whether the store's audit records."""

    healthy: bool
    devices: list[DeviceReply]


def router(app: BrokerApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1", tags=["audit"], dependencies=[Depends(no_query)], responses=refusals(403))
    _runs(routes, app, Depends(caller(auth)))
    _files(routes, app, Depends(caller(auth)))
    return routes


def _runs(routes: APIRouter, app: BrokerApp, who: Any) -> None:
    span = Depends(json_body(ReconcileBody))

    @routes.post("/audit/checkpoint", response_model=CheckpointReply, responses=refusals(409))
    async def checkpoint(actor: Actor = who) -> log.Signed:
        """Sign and publish a checkpoint over all chains as they stand."""
        return await log.checkpoint(app, actor)

    @routes.post("/audit/verify", response_model=VerifyReply, responses=refusals(409))
    async def verify(actor: Actor = who) -> dict[str, Any]:
        """Verify the whole log against all checkpoints."""
        await log.checkpoint(app, actor)
        found = await log.verify(app, actor)
        return {"state": "findings" if found.malformed else "ok", "epochs": found.epochs, "chains": found.chains,
                "records": found.records, "newer_than_checkpoint": found.uncovered, "rebased": found.rebased,
                "malformed": len(found.malformed), "findings": found.malformed[:MAX_FINDINGS]}  # fmt: skip

    @routes.post("/audit/reconcile", response_model=ReconcileReply, openapi_extra=describe(ReconcileBody))
    async def run_reconcile(actor: Actor = who, body: ReconcileBody = span) -> Reconciliation:
        """Explain everything the store recorded in the last minutes."""
        if not 1 <= body.minutes <= MAX_MINUTES:
            raise Rejected("bad_minutes", next_step=f"From 1 to {MAX_MINUTES} minutes, which are two days.",
                           field="minutes")  # fmt: skip
        since = app.clock.now() - timedelta(minutes=body.minutes)
        return await reconcile.reconcile(app, actor, since=since)

    @routes.get("/audit/health", response_model=AuditHealthReply)
    async def health(actor: Actor = who) -> dict[str, Any]:
        """Probe the store's audit devices now."""
        await permit(app, actor, Verb.ALERT_READ)
        devices = await app.store_audit.devices()
        return {
            "healthy": bool(devices) and all(device.healthy for device in devices),
            "devices": [
                {"name": device.name, "state": "healthy" if device.healthy else "unhealthy", "reason": device.reason,
                 "recording_since": device.recording_since, "last_write_at": device.last_write_at,
                 "size_bytes": device.size_bytes, "disk_free_bytes": device.disk_free_bytes}
                for device in devices
            ],
        }  # fmt: skip


def _files(routes: APIRouter, app: BrokerApp, who: Any) -> None:
    chosen = Depends(json_body(ExportBody))

    @routes.post("/evidence/{sop_id}", response_class=Response, responses=answers(_JSON, SIGNED) | refusals(409))
    async def sign(sop_id: PathId, actor: Actor = who) -> Response:
        """Sign the evidence of a complete procedure."""
        return Response(await disclosure.sign_evidence(app, actor, sop_id), media_type=_JSON)

    @routes.post(
        "/audit/export", response_class=StreamingResponse, openapi_extra=describe(ExportBody),
        responses=answers(_LINES) | refusals(404, 409),
    )  # fmt: skip
    async def export(actor: Actor = who, body: ExportBody = chosen) -> Response:
        """Return a chain, one record a line."""
        return StreamingResponse(
            await disclosure.export(app, actor, body.client_id or app.installation_id), media_type=_LINES
        )

    @routes.post("/audit/proof/{client_id}", response_class=Response, responses=answers(_JSON, SIGNED) | refusals(409))
    async def proof(client_id: PathId, actor: Actor = who) -> Response:
        """Return a proof of one client's whole history, for a stranger with the public keys."""
        return Response(await disclosure.client_proof(app, actor, client_id), media_type=_JSON)

    @routes.get("/audit/keys", response_class=PlainTextResponse)
    async def keys(actor: Actor = who) -> Response:
        """Return the public keys of log and evidence."""
        await permit(app, actor, Verb.SWITCH_READ)
        return PlainTextResponse(str(await log.public_keys(app)))

    @routes.post("/audit/hash", openapi_extra=raw_body())
    async def hash_value(request: Request, actor: Actor = who) -> dict[str, str]:
        """Return the keyed hash of the raw body, as each device would write it (R8.2-6)."""
        await permit(app, actor, Verb.AUDIT_HASH)
        value = Secret(await read_bytes(request, limit=MAX_VALUE))
        try:
            async with app.db.begin() as tx:
                await tx.append(Event(name=EventName.AUDIT_HASHED, actor=actor, outcome=Outcome.OK))
            devices = await app.store_audit.devices()
            names = [device.name for device in devices if device.reason != "node_not_named"]
            if not names:
                raise Rejected("no_audit_device", next_step="Declare an audit device at the store.")
            return {name: await app.store_audit.hash(name, value) for name in names}
        finally:
            value.wipe()
