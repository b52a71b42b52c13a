"""``byokeep web`` as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI

from byokeep.accounts import routes as accounts
from byokeep.audit import routes as audit
from byokeep.console import live
from byokeep.console import routes as console
from byokeep.core.model import Actor, ClientId, Environment, Provider
from byokeep.core.ref import SecretRef
from byokeep.http import procedures
from byokeep.http.emergency import Emergency
from byokeep.http.guard import Guard
from byokeep.http.openapi import Document, publish, server, take
from byokeep.http.request import Authenticator, Budget, caller, ready
from byokeep.incidents import routes as incidents
from byokeep.kernel.app import WebApp
from byokeep.keys import routes as keys
from byokeep.operations import routes as operations
from byokeep.portal import routes as portal
from byokeep.profiles import routes as profiles
from byokeep.tenancy import routes as tenancy
from byokeep.web import forward, inventory, vault

_NOBODY = ClientId(UUID(int=0))


def create_app(
    app: WebApp,
    auth: Authenticator,
    *,
    broker_address: str,
    broker_ca_file: Path | None = None,
    killswitch_address: str = "",
    killswitch_ca_file: Path | None = None,
    emergency: Emergency | None = None,
    broker_document: Callable[[], Document] = dict,
) -> FastAPI:
    """Build the application.

    Args:
        app: Its ports.
        auth: Token and request id to actor (:func:`byokeep.tenancy.authenticate.authenticate`).
        broker_address: Where the broker is, for the forwarded routes.
        broker_ca_file: PEM of the only issuer to trust for it; default: the system's.
        killswitch_address, killswitch_ca_file: The same for the kill process; empty = the broker does its work.
        emergency: What frees space on a full disk, so that a key can still be revoked; ``None`` = nothing does.
        broker_document: How the broker describes the forwarded routes; default: they are not described.
    """
    door = forward.BrokerDoor(broker_address, ca_file=broker_ca_file)
    kill = forward.BrokerDoor(killswitch_address, ca_file=killswitch_ca_file) if killswitch_address else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(live.keep_looking(app))
        yield
        looking.cancel()
        await asyncio.wait({looking})
        await door.close()
        if kill is not None:
            await kill.close()

    async def readyz() -> dict[str, str]:
        """Database and store answer."""
        look = app.intake.current_version(SecretRef(_NOBODY, Provider.OPENAI))
        return await ready(database=app.db.ping(), store=look)

    api = server("byokeep web", app, ready=readyz, lifespan=lifespan)
    publish(api, broker_document, forward.ROUTES)
    forwarder = forward.Forwarder(door, kill)
    writes = Budget(app.clock, per_minute=app.limits.client_writes_per_minute)
    emergency = emergency or Emergency()
    own = _rooms(app, auth, emergency, writes)
    pages = (
        console.router(app, auth, forwarder.send, writes, emergency),
        portal.router(app, forwarder.send, writes, emergency),
    )
    take(api, (*own, forward.router(forwarder), *(one.router for one in pages)))
    api.state.lost = {one.site.home: one.lost for one in pages} | {"/": partial(pages[0].stray, pages)}
    if app.environment is not Environment.PRODUCTION:
        _add_description(api, auth)
    api.add_middleware(Guard)
    return api


def _rooms(app: WebApp, auth: Authenticator, emergency: Emergency, writes: Budget) -> tuple[APIRouter, ...]:
    """Return this process's own routes."""
    return (
        tenancy.sessions(app, auth),
        tenancy.people(app, auth),
        tenancy.clients_router(app, auth, writes),
        inventory.export(app, auth),
        accounts.state_router(app, auth, writes),
        accounts.acts(app, auth, writes),
        accounts.app_routes(app, auth),
        accounts.consent_routes(app, auth, writes),
        accounts.refresher_routes(app, auth),
        keys.values(app, auth, writes),
        keys.keyless_routes(app, auth, writes),
        keys.router(app, auth, writes, emergency),
        keys.rotations(app, auth),
        inventory.inventory(app, auth),
        audit.router(app, auth),
        tenancy.names(app, auth),
        keys.leaks(app, auth),
        keys.webhook_values(app, auth, writes),
        keys.webhooks_router(app, auth),
        profiles.router(app, auth, writes),
        profiles.looks(app, auth),
        profiles.acts(app, auth, writes),
        profiles.decisions(app, auth, writes),
        profiles.kek_router(app, auth),
        profiles.kek_acts(app, auth, writes),
        vault.router(app, auth),
        procedures.router(app, auth),
        incidents.router(app, auth),
        operations.router(app, auth),
        incidents.revocations_router(app, auth),
    )


def _add_description(api: FastAPI, auth: Authenticator) -> None:
    who = Depends(caller(auth))

    @api.get("/openapi.json", include_in_schema=False)
    async def openapi(_: Actor = who) -> dict[str, Any]:
        """Describe the API; not in production, and never to strangers."""
        return api.openapi()
