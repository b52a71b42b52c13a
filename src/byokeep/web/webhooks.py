"""Routes of webhooks' signing secrets: put one in, look at them, retire one."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from byokeep.core.keystate import KeyState
from byokeep.core.model import Actor, ClientId
from byokeep.core.secret import Secret
from byokeep.http.body import PathId, Strict, json_body, no_query
from byokeep.http.openapi import NUMBER, describe, parameters, raw_body, refusals
from byokeep.http.reply import At, Reply
from byokeep.http.token import Authenticator, caller
from byokeep.kernel.app import WebApp
from byokeep.keys import webhooks
from byokeep.web.clients import spend
from byokeep.web.keys import refuse, submitted
from byokeep.web.limits import Budget
from byokeep.web.schemas import RefReply, query_of, whole_number

_LIVE: Final = frozenset({KeyState.PRE_ACTIVATION, KeyState.ACTIVE, KeyState.SUSPENDED})


class RetireBody(Strict):
    """Retire a signing secret, or only the previous one."""

    reason: Annotated[str, Field(max_length=63)]
    previous_only: bool = False


class WebhookSecretReply(RefReply):
    """A signing secret's reference; nothing is due of one that was retired."""

    rotation_due_at: At | None  # type: ignore[assignment]
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


def values(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the route on which a signing secret comes in."""
    routes = APIRouter(prefix="/v1", tags=["webhooks"], responses=refusals(403))
    who = Depends(caller(auth))

    @routes.put(
        "/clients/{client_id}/providers/{provider}/webhook", status_code=201, response_model=WebhookSecretReply,
        openapi_extra=raw_body() | parameters({"keep_previous_s": NUMBER}), responses=refusals(409, 429),
    )  # fmt: skip
    async def put_secret(request: Request, client_id: PathId, provider: str, actor: Actor = who) -> dict[str, Any]:
        """Store a client's webhook secret; the whole body is the secret."""
        spend(request, writes, actor, ClientId(client_id))
        keep = whole_number("keep_previous_s", query_of(request, "keep_previous_s").get("keep_previous_s"))
        raw, problem = await submitted(request)
        done = await webhooks.store_secret(
            app, actor, client_id=ClientId(client_id), provider=provider, value=Secret(raw), keep_previous_s=keep or 0,
            check=partial(refuse, problem) if problem else partial(webhooks.check_form, raw),
        )  # fmt: skip
        return secret_out(done)

    return routes


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes that look at signing secrets and retire them."""
    routes = APIRouter(prefix="/v1", tags=["webhooks"], dependencies=[Depends(no_query)], responses=refusals(403))
    who = Depends(caller(auth))
    retire_body = Depends(json_body(RetireBody))

    @routes.get("/clients/{client_id}/webhooks", response_model=WebhookSecretsReply)
    async def list_secrets(client_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """List a client's signing secrets; never a value."""
        found = await webhooks.list_secrets(app, actor, ClientId(client_id))
        return {"webhooks": [secret_out(one) for one in found]}

    @routes.post(
        "/clients/{client_id}/providers/{provider}/webhook/retire", response_model=WebhookSecretReply,
        openapi_extra=describe(RetireBody), responses=refusals(409),
    )  # fmt: skip
    async def retire(
        client_id: PathId, provider: str, actor: Actor = who, body: RetireBody = retire_body
    ) -> dict[str, Any]:
        """Retire a signing secret, or only the previous one."""
        return secret_out(
            await webhooks.retire(
                app, actor, ClientId(client_id), provider, previous_only=body.previous_only, reason=body.reason
            )
        )

    return routes
