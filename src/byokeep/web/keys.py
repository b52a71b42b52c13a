"""Routes of keys: put a value in, look at references, verify, change a state, read a run's evidence."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from byokeep.core.errors import Rejected
from byokeep.core.keystate import KeyState
from byokeep.core.model import Actor, ClientId, Risk
from byokeep.core.secret import Secret
from byokeep.flows import onboard, refs, sops, vault_inventory
from byokeep.flows.app import WebApp
from byokeep.http.body import PathId, describe, json_body, no_query, read_bytes
from byokeep.http.emergency import Emergency
from byokeep.http.people import at_out
from byokeep.http.token import Authenticator, caller
from byokeep.web.clients import spend
from byokeep.web.limits import Budget
from byokeep.web.words import StateBody, inventory_out, query_of, ref_out, sop_out, whole_number, with_vault

MAX_VALUE: Final = 8 * 1024  # bytes
VERSION_HEADER: Final = "x-byokeep-version"
_GOES_ON: Final = frozenset({KeyState.PRE_ACTIVATION, KeyState.ACTIVE})  # the others end the key's use
RAW: Final = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def _wish(request: Request) -> onboard.Wish:
    given = query_of(request, "risk", "rotation_days")
    risk = given.get("risk")
    if risk is not None and risk not in set(Risk):
        raise Rejected("bad_risk", next_step="standard or high.")
    return onboard.Wish(
        risk=None if risk is None else Risk(risk),
        rotation_days=whole_number("rotation_days", given.get("rotation_days")),
        version=whole_number("version", request.headers.get(VERSION_HEADER)),
    )


def refuse(error: Rejected) -> None:
    """Raise a refusal that was kept."""
    raise error


async def submitted(request: Request) -> tuple[bytes, Rejected | None]:
    """Read the value; a refusal is kept, so that it is decided and recorded in its place."""
    try:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/octet-stream":
            raise Rejected("unsupported_media_type", next_step="Send the value as application/octet-stream.")
        return await read_bytes(request, limit=MAX_VALUE), None
    except Rejected as error:
        return b"", error


def values(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the one route on which a secret comes in."""
    routes = APIRouter(prefix="/v1", tags=["keys"])
    who = Depends(caller(auth))

    @routes.put("/clients/{client_id}/providers/{provider}/value", status_code=202, openapi_extra=RAW)
    async def put_value(request: Request, client_id: PathId, provider: str, actor: Actor = who) -> JSONResponse:
        """Store a client's key; the whole body is the key. Verification follows by itself."""
        spend(request, writes, actor, ClientId(client_id))
        wish = _wish(request)
        raw, problem = await submitted(request)
        done = await onboard.onboard(
            app, actor, client_id=ClientId(client_id), provider=provider, value=Secret(raw), wish=wish,
            check=partial(refuse, problem) if problem else partial(app.check_format, provider, raw),
        )  # fmt: skip
        return JSONResponse(
            {
                "ref": str(done.ref_id), "sop": str(done.sop_id), "version": done.version, "state": done.state,
                "verification": done.verification, "rule": done.rule, "rotation_due_at": at_out(done.due_at),
                "serves": done.serves,
            },
            202,
        )  # fmt: skip

    return routes


def router(app: WebApp, auth: Authenticator, writes: Budget, emergency: Emergency) -> APIRouter:
    """Return the routes of references and runs."""
    routes = APIRouter(prefix="/v1", tags=["keys"], dependencies=[Depends(no_query)])
    who, who_stops = Depends(caller(auth)), Depends(caller(emergency.admitting(auth)))
    state_body = Depends(json_body(StateBody))

    @routes.get("/clients/{client_id}/refs")
    async def list_refs(client_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """List a client's references."""
        return {"refs": [ref_out(ref) for ref in await refs.list_refs(app, actor, ClientId(client_id))]}

    @routes.get("/refs/{ref_id}")
    async def get_ref(ref_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Look at a reference."""
        return ref_out(await refs.read_ref(app, actor, ref_id))

    @routes.post("/refs/{ref_id}/verify", status_code=202)
    async def verify(request: Request, ref_id: PathId, actor: Actor = who) -> JSONResponse:
        """Verify the stored version again."""
        run = await onboard.verify_again(app, actor, ref_id, before=partial(spend, request, writes, actor))
        return JSONResponse({"ref": str(ref_id), "sop": str(run.id), "version": run.version}, 202)

    @routes.post("/refs/{ref_id}/state", openapi_extra=describe(StateBody))
    async def change_state(ref_id: PathId, actor: Actor = who_stops, body: StateBody = state_body) -> dict[str, Any]:
        """Move a key to another state of its life; what stops its use works on a full disk, too."""
        change = partial(refs.change_state, app, actor, ref_id, to=KeyState(body.to), reason=body.reason)
        return ref_out(await (change() if body.to in _GOES_ON else emergency.stopping(change)))

    @routes.get("/sops/{sop_id}")
    async def get_sop(sop_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Look at a run: its state, its evidence, what is missing."""
        return sop_out(await sops.sop_status(app, actor, sop_id))

    @routes.get("/inventory")
    async def inventory(actor: Actor = who) -> dict[str, Any]:
        """List every key and compare with the store; never a value."""
        listed = await refs.inventory(app, actor)
        return with_vault(inventory_out(listed), await vault_inventory.vault_inventory(app, actor))

    @routes.post("/inventory/checks", status_code=202)
    async def ask_checks(actor: Actor = who) -> JSONResponse:
        """Ask workers to compare rows, records and blobs of every client that has profiles."""
        found = await vault_inventory.ask_checks(app, actor)
        return JSONResponse({"clients": [str(one) for one in found], "asked_at": at_out(app.clock.now())}, 202)

    return routes
