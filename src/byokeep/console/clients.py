"""Clients: the list, and a client's page with its keys, accounts, profiles, jobs, switches and alerts.

Rules
- A part that a role may not see is not asked for, and the page says which role may see it.
- A key is shown by its state and its dates, never by a value or a part of one.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from byokeep.accounts import accounts
from byokeep.audit import alerts
from byokeep.audit.alerts import AlertFilter
from byokeep.console.lists import exported_as, paged
from byokeep.console.pages import Console
from byokeep.console.scopes import in_words
from byokeep.console.visit import Visitor
from byokeep.core.errors import Unavailable
from byokeep.core.model import HUMAN_ROLES, ClientId
from byokeep.core.policy import Verb
from byokeep.core.ref import given_id
from byokeep.keys import refs
from byokeep.operations import lists
from byokeep.profiles.profiles import list_profiles
from byokeep.tenancy import clients

MOST_JOBS = 50  # the newest; the command line has all


def add(console: Console) -> None:
    """Add the pages."""

    async def client_list(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        found, total = await lists.clients_of(console.app, who.actor, asked)
        stopped: list[str] | None = None
        with suppress(Unavailable):
            switches = (await console.ask(who, "GET", "/v1/switches"))["switches"]
            stopped = [one["scope"] for one in switches if one["closed"]]
        return console.page(
            request, "clients.html", who=who, asked=asked, any=bool(total), stopped=stopped,
            export=exported_as("clients", asked),
            **paged(found, asked, "/console/clients"),
        )  # fmt: skip

    async def client(request: Request, who: Visitor) -> Response:
        about = ClientId(given_id(request.path_params["client_id"]))
        one = await clients.get_client(console.app, who.actor, about)
        app, actor = console.app, who.actor
        unseen: dict[str, str] = {}

        def sees(part: str, verb: Verb) -> bool:
            if who.may(verb):
                return True
            unseen[part] = ", ".join(sorted(role.value for role in verb.roles & HUMAN_ROLES))
            return False

        more: dict[str, Any] = {
            "keys": await refs.list_refs(app, actor, about) if sees("keys", Verb.KEY_LIST) else [],
            "accounts": await accounts.list_accounts(app, actor, about) if sees("accounts", Verb.CLIENT_READ) else [],
            "profiles": await list_profiles(app, actor, about) if sees("profiles", Verb.PROFILE_READ) else [],
            "alerts": (await alerts.list_alerts(app, actor, AlertFilter(client_id=about)))[0],
        }
        jobs: list[dict[str, Any]] = []
        stopped: list[dict[str, Any]] = []
        unknown = ""
        try:
            if sees("jobs", Verb.JOB_READ):
                path = "/v1/clients/{client_id}/jobs"
                jobs = (await console.ask(who, "GET", path, ids={"client_id": about}))["jobs"][:MOST_JOBS]
            switches = (await console.ask(who, "GET", "/v1/switches"))["switches"]
            stopped = [it for it in switches if it["closed"] and it["client_id"] in (None, str(about))]
        except Unavailable as error:
            unknown = error.next_step
        words = await in_words(app, actor, [it["scope"] for it in stopped])
        names = await clients.names_of(app, actor, {UUID(job["runner_id"]) for job in jobs})
        return console.page(
            request, "client.html", who=who, client=one, jobs=jobs, stopped=stopped, words=words, unseen=unseen,
            used=who.may(Verb.KEY_HISTORY),
            names={str(it): name for it, name in names.items()}, unknown=unknown,
            export={name: exported_as(name, {"client": str(about)}) for name in ("keys", "accounts")}, **more,
        )  # fmt: skip

    console.asking("/clients", client_list, "find", "state", "page")
    console.add("GET", "/clients/{client_id}", client)
