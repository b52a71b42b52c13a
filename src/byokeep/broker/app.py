"""The broker as an ASGI application."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from byokeep.accounts import broker_routes as accounts
from byokeep.audit import broker_routes as audit
from byokeep.breakglass import broker_routes as breakglass
from byokeep.core.model import Environment
from byokeep.http import procedures
from byokeep.http.emergency import Emergency
from byokeep.http.guard import Door, FastRouter, Guard
from byokeep.http.openapi import Document, server, take
from byokeep.http.request import Authenticator, ready
from byokeep.incidents import broker_routes as incidents
from byokeep.jobs import broker_routes as jobs
from byokeep.kernel.app import BrokerApp
from byokeep.killswitch.app import cutting_off
from byokeep.operations import broker_routes as operations
from byokeep.profiles import broker_routes as profiles
from byokeep.tenancy import broker_routes as tenancy
from byokeep.tenancy import contact_routes
from byokeep.tenancy.contacts import Mail
from byokeep.tenancy.logins import PasswordCheck
from byokeep.tenancy.passkeys import PasskeyCheck
from byokeep.tenancy.sso import SsoCheck

ALL_THE_TIME: Final = frozenset({"issue_lease", "heartbeat", "issue_permit", "close_permit", "close"})
STARTING: Final = tuple(re.compile(text) for text in (r"POST /v1/jobs", r"POST /v1/jobs/[^/]+/leases"))
READY_FOR_S: Final = 5.0  # seconds: by then the next probe has proved it again


def create_app(
    app: BrokerApp, auth: Authenticator, emergency: Emergency | None = None,
    *, passwords: PasswordCheck, passkeys: PasskeyCheck | None = None, sso: SsoCheck | None = None,
    lane: tuple[BrokerApp, Authenticator] | None = None, mail: Mail | None = None,
    mails: Callable[[], bool] | None = None,
) -> FastAPI:  # fmt: skip
    """Build the broker's application.

    Args:
        app: Its ports.
        auth: Token and request id to actor (:func:`byokeep.tenancy.authenticate.authenticate`).
        emergency: What happens on a full disk; ``None`` = no space is reserved.
        passwords: Makes and checks Argon2id strings.
        passkeys, sso: Ask browsers for passkeys, and an OpenID provider who came; ``None`` = there are none.
        lane: ``app`` and ``auth`` over database connections of their own, for the switches: a kill must not wait for a
            connection behind the calls that it stops. ``None`` = they share.
        mail: Sends a code to a contact person; ``None`` = none is sent.
        mails: Whether there is a server for that now; ``None`` = there is one if ``mail`` is given.
    """
    room = emergency or Emergency()
    (kill_app, kill_auth), mails_now = lane or (app, auth), mails or (lambda: mail is not None)

    async def readyz() -> dict[str, str]:
        """Database and store answer, and the store is proved to record: whoever asks a moment later is served."""

        async def recording() -> None:
            app.store_recording.require(app.clock.monotonic(), for_s=READY_FOR_S)

        return await ready(database=app.db.ping(), store=app.store_health.probe(), recording=recording())

    api = server(
        "byokeep broker", app, ready=readyz, lifespan=lambda _: cutting_off(kill_app),
        described=app.environment is not Environment.PRODUCTION,
    )  # fmt: skip
    routers = (
        jobs.jobs_router(app, auth, room), jobs.effects_router(app, auth, room), profiles.router(app, auth, room),
        jobs.switches_router(kill_app, kill_auth, room, follow=auth), jobs.scheduled_router(app, auth, room),
        tenancy.transfers_router(app, auth), accounts.router(kill_app, kill_auth, room), audit.router(app, auth),
        tenancy.router(app, auth), tenancy.credentials(app, auth), procedures.approvals_router(app, auth),
        tenancy.sessions(app, auth, passwords, passkeys, sso), incidents.router(app, auth),
        operations.router(app, auth), breakglass.router(app, auth, room), contact_routes.router(app, auth, mails_now),
        contact_routes.portal(app, mail or contact_routes.no_mail, mails_now, passkeys),
    )  # fmt: skip
    take(api, routers)
    declared = [route for routes in routers for route in routes.routes if isinstance(route, APIRoute)]
    api.add_middleware(FastRouter, routes=[route for route in declared if route.name in ALL_THE_TIME])
    api.add_middleware(Door, starting=STARTING)
    api.add_middleware(Guard)
    return api


def create_host_app(app: BrokerApp, auth: Authenticator, emergency: Emergency, *, passwords: PasswordCheck) -> FastAPI:
    """Build break glass on the host: the same routes over the same flows, plus sessions and one's own password."""
    api = server("byokeep break glass", app)
    take(api, (breakglass.router(app, auth, emergency), tenancy.sessions(app, auth, passwords, console=False)))
    api.add_middleware(Guard)
    return api


def described() -> Document:
    """Return the document of the broker's surface. It needs no ports: nothing is asked while it is made."""
    nothing: Any = SimpleNamespace(environment=Environment.DEVELOPMENT, clock=None)
    return create_app(nothing, nothing, passwords=nothing).openapi()
