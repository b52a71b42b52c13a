"""Routes of the audit and of evidence: what only the broker can sign, hash, or read in the store's own log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from byokeep.audit import disclosure, log
from byokeep.audit.log import LogReport, Malformed
from byokeep.core.errors import Rejected
from byokeep.core.events import EventName
from byokeep.core.model import Actor
from byokeep.core.policy import Verb
from byokeep.core.secret import Secret
from byokeep.http.openapi import AtOffset, Reply, Routes, answers, raw_body, refusals
from byokeep.http.request import Authenticator, Id, PathId, Strict, read_bytes
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import permit, record
from byokeep.kernel.ports import DeviceHealth
from byokeep.reconciliation import reconcile
from byokeep.reconciliation.explain import LogFinding
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


class CheckpointReply(Reply, of=log.Signed, shows="size chains root=root_hex"):
    """A signed checkpoint."""


class BrokenRecordReply(Reply, of=Malformed, shows="chain seq code"):
    """A record that is not well formed."""


class VerifyReply(
    Reply, of=LogReport, shows="state epochs chains records newer_than_checkpoint=uncovered rebased malformed findings"
):
    """What the whole log is against all checkpoints; at most 100 of the findings are named."""

    state: Literal["ok", "findings"]
    malformed: int
    findings: list[BrokenRecordReply]


class FindingReply(
    Reply, of=LogFinding, shows="reason severity at store_request=request_id device client_id lease_id", at=AtOffset
):
    """Something in the store's log that nobody of ours explains."""

    severity: str


class ReconcileReply(Reply, of=Reconciliation, shows="state requests logins unread until", at=AtOffset):
    """How the store's log compares with ours."""

    findings: list[FindingReply]


class DeviceReply(
    Reply,
    of=DeviceHealth,
    shows="name state reason recording_since last_write_at size_bytes disk_free_bytes",
    at=AtOffset,
):
    """An audit device of the store."""

    state: Literal["healthy", "unhealthy"]


class AuditHealthReply(Reply):
    """Whether the store's audit records."""

    healthy: bool
    devices: list[DeviceReply]


def router(app: BrokerApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = Routes("audit", auth, 403)
    _runs(routes, app)
    _files(routes, app)
    return routes


def _runs(routes: Routes, app: BrokerApp) -> None:

    @routes.post("/audit/checkpoint", response_model=CheckpointReply, responses=refusals(409))
    async def checkpoint(actor: Actor) -> log.Signed:
        """Sign and publish a checkpoint over all chains as they stand."""
        return await log.checkpoint(app, actor)

    @routes.post("/audit/verify", response_model=VerifyReply, responses=refusals(409))
    async def verify(actor: Actor) -> dict[str, Any]:
        """Verify the whole log against all checkpoints."""
        found = await log.verify(app, actor, signs=True)
        bad = found.malformed
        state = "findings" if bad else "ok"
        return VerifyReply.fields(found, state=state, malformed=len(bad), findings=bad[:MAX_FINDINGS])

    @routes.post("/audit/reconcile", response_model=ReconcileReply)
    async def run_reconcile(actor: Actor, body: ReconcileBody) -> Reconciliation:
        """Explain everything the store recorded in the last minutes."""
        if not 1 <= body.minutes <= MAX_MINUTES:
            raise Rejected("bad_minutes", next_step=f"Give 1 to {MAX_MINUTES} minutes (two days).",
                           field="minutes")  # fmt: skip
        since = app.clock.now() - timedelta(minutes=body.minutes)
        return await reconcile.reconcile(app, actor, since=since)

    @routes.get("/audit/health", response_model=AuditHealthReply)
    async def health(actor: Actor) -> dict[str, Any]:
        """Probe the store's audit devices now."""
        await permit(app, actor, Verb.ALERT_READ)
        devices = await app.store_audit.devices()
        shown = [DeviceReply.fields(one, state="healthy" if one.healthy else "unhealthy") for one in devices]
        return {"healthy": bool(devices) and all(device.healthy for device in devices), "devices": shown}


def _files(routes: Routes, app: BrokerApp) -> None:

    @routes.post("/evidence/{sop_id}", response_class=Response, responses=answers(_JSON, SIGNED) | refusals(409))
    async def sign(sop_id: PathId, actor: Actor) -> Response:
        """Sign the evidence of a complete procedure."""
        return Response(await disclosure.sign_evidence(app, actor, sop_id), media_type=_JSON)

    @routes.post("/audit/export", response_class=StreamingResponse, responses=answers(_LINES) | refusals(404, 409))
    async def export(actor: Actor, body: ExportBody) -> Response:
        """Return a chain, one record a line."""
        return StreamingResponse(
            await disclosure.export(app, actor, body.client_id or app.installation_id), media_type=_LINES
        )

    @routes.post("/audit/proof/{client_id}", response_class=Response, responses=answers(_JSON, SIGNED) | refusals(409))
    async def proof(client_id: PathId, actor: Actor) -> Response:
        """Return a proof of one client's whole history, for a stranger with the public keys."""
        return Response(await disclosure.client_proof(app, actor, client_id), media_type=_JSON)

    @routes.get("/audit/keys", response_class=PlainTextResponse)
    async def keys(actor: Actor) -> Response:
        """Return the public keys of log and evidence."""
        await permit(app, actor, Verb.SWITCH_READ)
        return PlainTextResponse(str(await log.public_keys(app)))

    @routes.post("/audit/hash", openapi_extra=raw_body())
    async def hash_value(request: Request, actor: Actor) -> dict[str, str]:
        """Return the keyed hash of the raw body, as each device would write it (R8.2-6)."""
        await permit(app, actor, Verb.AUDIT_HASH)
        with Secret(await read_bytes(request, limit=MAX_VALUE)) as value:
            async with app.db.begin() as tx:
                await record(tx, actor, EventName.AUDIT_HASHED)
            devices = await app.store_audit.devices()
            names = [device.name for device in devices if device.reason != "node_not_named"]
            if not names:
                raise Rejected("no_audit_device", next_step="Configure an audit device at the store.")
            return {name: await app.store_audit.hash(name, value) for name in names}
