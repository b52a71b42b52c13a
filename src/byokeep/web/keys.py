"""Routes of keys: put a value in, look at references, verify, change a state, read a run's evidence."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Depends, Request

from byokeep.core.errors import Rejected
from byokeep.core.keystate import KeyState
from byokeep.core.model import Actor, ClientId, CredentialRef, Risk
from byokeep.core.secret import Secret
from byokeep.http.body import PathId, json_body, no_query, read_bytes
from byokeep.http.emergency import Emergency
from byokeep.http.openapi import NUMBER, describe, parameters, raw_body, refusals
from byokeep.http.token import Authenticator, caller
from byokeep.kernel import sops
from byokeep.kernel.app import WebApp
from byokeep.keys import onboard, refs
from byokeep.profiles import vault_inventory
from byokeep.web.clients import spend
from byokeep.web.limits import Budget
from byokeep.web.schemas import (
    ChecksReply,
    InventoryReply,
    OnboardedReply,
    RefReply,
    RefsReply,
    SopReply,
    StateBody,
    VerifyingReply,
    inventory_out,
    query_of,
    sop_out,
    whole_number,
)

MAX_VALUE: Final = 8 * 1024  # bytes
VERSION_HEADER: Final = "x-byokeep-version"
_GOES_ON: Final = frozenset({KeyState.PRE_ACTIVATION, KeyState.ACTIVE})  # the others end the key's use
_WISH: Final = parameters({"risk": {"type": "string", "enum": [*map(str, Risk)]}, "rotation_days": NUMBER})[
    "parameters"
]
_VERSION: Final = parameters({VERSION_HEADER: NUMBER}, place="header")["parameters"]


def _wish(request: Request) -> onboard.OnboardRequest:
    given = query_of(request, "risk", "rotation_days")
    risk = given.get("risk")
    if risk is not None and risk not in set(Risk):
        raise Rejected("bad_risk", next_step="standard or high.")
    return onboard.OnboardRequest(
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
    routes = APIRouter(prefix="/v1", tags=["keys"], responses=refusals(403))
    who = Depends(caller(auth))

    @routes.put(
        "/clients/{client_id}/providers/{provider}/value", status_code=202, response_model=OnboardedReply,
        openapi_extra=raw_body() | {"parameters": _WISH + _VERSION}, responses=refusals(409, 429),
    )  # fmt: skip
    async def put_value(request: Request, client_id: PathId, provider: str, actor: Actor = who) -> onboard.Onboarded:
        """Store a client's key; the whole body is the key. Verification follows by itself."""
        spend(request, writes, actor, ClientId(client_id))
        wish = _wish(request)
        raw, problem = await submitted(request)
        return await onboard.onboard(
            app, actor, client_id=ClientId(client_id), provider=provider, value=Secret(raw), wish=wish,
            check=partial(refuse, problem) if problem else partial(app.check_format, provider, raw),
        )  # fmt: skip

    return routes


def router(app: WebApp, auth: Authenticator, writes: Budget, emergency: Emergency) -> APIRouter:
    """Return the routes of references and runs."""
    routes = APIRouter(prefix="/v1", tags=["keys"], dependencies=[Depends(no_query)], responses=refusals(403))
    who, who_stops = Depends(caller(auth)), Depends(caller(emergency.admitting(auth)))
    state_body = Depends(json_body(StateBody))

    @routes.get("/clients/{client_id}/refs", response_model=RefsReply)
    async def list_refs(client_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """List a client's references."""
        return {"refs": await refs.list_refs(app, actor, ClientId(client_id))}

    @routes.get("/refs/{ref_id}", response_model=RefReply)
    async def get_ref(ref_id: PathId, actor: Actor = who) -> CredentialRef:
        """Look at a reference."""
        return await refs.read_ref(app, actor, ref_id)

    @routes.post("/refs/{ref_id}/verify", status_code=202, response_model=VerifyingReply, responses=refusals(409, 429))
    async def verify(request: Request, ref_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Verify the stored version again."""
        run = await onboard.verify_again(app, actor, ref_id, before=partial(spend, request, writes, actor))
        return {"ref": ref_id, "sop": run.id, "version": run.version}

    @routes.post(
        "/refs/{ref_id}/state", response_model=RefReply, openapi_extra=describe(StateBody), responses=refusals(409)
    )
    async def change_state(ref_id: PathId, actor: Actor = who_stops, body: StateBody = state_body) -> CredentialRef:
        """Move a key to another state of its life; what stops its use works on a full disk, too."""
        change = partial(refs.change_state, app, actor, ref_id, to=KeyState(body.to), reason=body.reason)
        return await (change() if body.to in _GOES_ON else emergency.stopping(change))

    @routes.get("/sops/{sop_id}", response_model=SopReply)
    async def get_sop(sop_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Look at a run: its state, its evidence, what is missing."""
        return sop_out(await sops.sop_status(app, actor, sop_id))

    @routes.get("/inventory", response_model=InventoryReply, responses=refusals(409))
    async def inventory(actor: Actor = who) -> dict[str, Any]:
        """List every key and compare with the store; never a value."""
        listed = await refs.inventory(app, actor)
        return inventory_out(listed, await vault_inventory.vault_inventory(app, actor))

    @routes.post("/inventory/checks", status_code=202, response_model=ChecksReply, responses=refusals(409))
    async def ask_checks(actor: Actor = who) -> dict[str, Any]:
        """Ask workers to compare rows, records and blobs of every client that has profiles."""
        found = await vault_inventory.ask_checks(app, actor)
        return {"clients": found, "asked_at": app.clock.now()}

    return routes
