"""A client's browser profiles (SOP 5.3): the gallery, a profile with its proofs and its work, and a client's jobs.

Rules
- A worker does the work, and a person logs in at its browser; here the work is asked for and confirmed.
- The screenshots that prove a profile are on the worker's host; the page names them by the digest on record.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console.accounts import client_of
from byokeep.console.lists import exported_as, paged
from byokeep.console.pages import HEADERS, Console, Refusal
from byokeep.console.visit import Visitor
from byokeep.core.errors import Rejected
from byokeep.core.model import PLATFORMS
from byokeep.core.policy import Verb
from byokeep.core.profile import ProfileTask, next_step_of_work
from byokeep.core.ref import given_id
from byokeep.http.request import spend
from byokeep.profiles import profiles
from byokeep.tenancy import clients

MOST_JOBS: Final = 100  # the newest, which the broker lists: jobs/jobs.py, MAX_JOBS
_WORK: Final = {
    ProfileTask.LOGIN: "Open a browser to log in", ProfileTask.VALIDATE: "Prove it",
    ProfileTask.REKEY: "Seal it under a new key", ProfileTask.SHRED: "Ask for its destruction",
}  # fmt: skip


def add(console: Console) -> None:
    """Add the pages."""
    _lists(console)

    async def profile_made(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        about = client_of(request)
        spend(request, console.writes, who.actor, about)
        made = await profiles.create(
            console.app, who.actor, about, accounts=[(given["platform"], given["account"])]
        )  # fmt: skip
        return RedirectResponse(f"/console/profiles/{made.id}", 303, HEADERS)

    async def profile(request: Request, who: Visitor, _: Any = None, error: Refusal | None = None) -> Response:
        one, proofs, work = await profiles.look(console.app, who.actor, given_id(request.path_params["profile_id"]))
        step = next_step_of_work(work.state, work.reason, result=work.result, profile=str(one.id)) if work else ""
        busy = work is not None and not work.ended_at
        stands = {"confirm": "Confirm and seal"} if busy else {task.value: said for task, said in _WORK.items()}
        may = who.may(Verb.PROFILE_WORK)
        more: dict[str, Any] = {
            "one": one, "proofs": proofs, "work": work, "step": step, "tasks": _WORK,
            "client": await clients.get_client(console.app, who.actor, one.client_id),
            "may": may, "busy": busy,
            "buttons": {f"byokeep profile {act}": said for act, said in stands.items() if may},
        }  # fmt: skip
        return await console.form(request, error, "profile.html", who=who, **more)

    async def profile_moved(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        profile_id, act = given_id(request.path_params["profile_id"]), given["act"]
        one = await profiles.find(console.app, who.actor, Verb.PROFILE_WORK, profile_id)
        spend(request, console.writes, who.actor, one.client_id)
        if act == "confirm":
            seen = {platform.value: given[platform] for platform in one.platforms}
            await profiles.confirm(console.app, who.actor, one, seen=seen)
        elif act == "cancel":
            await profiles.cancel_work(console.app, who.actor, one)
        elif act in set(_WORK):
            await profiles.ask_work(console.app, who.actor, one, ProfileTask(act))
        else:
            raise Rejected("bad_request", next_step="Send the form as the page does.")
        return RedirectResponse(f"/console/profiles/{profile_id}", 303, HEADERS)

    console.post("/clients/{client_id}/profiles", profile_made, "platform", "account")
    console.add("GET", "/profiles/{profile_id}", profile)
    console.post("/profiles/{profile_id}", profile_moved, "act", *PLATFORMS, again=profile)


def _lists(console: Console) -> None:
    async def gallery(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        about = client_of(request)
        found = await profiles.list_profiles(console.app, who.actor, about)
        more = paged(found, asked, f"/console/clients/{about}/profiles", more=-(len(found) == clients.MAX_ROWS))
        return console.page(
            request, "profiles.html", who=who, client=await clients.get_client(console.app, who.actor, about),
            proofs=await profiles.proofs_of(console.app, about, more["rows"]), **more,
        )  # fmt: skip

    async def jobs(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        about = client_of(request)
        found = (await console.ask(who, "GET", "/v1/clients/{client_id}/jobs", ids={"client_id": about}))["jobs"]
        fits = [one for one in found if asked.get("state") in (None, one["state"])]
        more = paged(fits, asked, f"/console/clients/{about}/jobs", more=-(len(found) == MOST_JOBS))
        names = await clients.names_of(console.app, who.actor, {UUID(one["runner_id"]) for one in more["rows"]})
        return console.page(
            request, "jobs.html", who=who, asked=asked, export=exported_as("jobs", asked | {"client": str(about)}),
            states=sorted({one["state"] for one in found}),
            client=await clients.get_client(console.app, who.actor, about),
            names={str(one): name for one, name in names.items()}, **more,
        )  # fmt: skip

    console.asking("/clients/{client_id}/profiles", gallery, "page")
    console.asking("/clients/{client_id}/jobs", jobs, "state", "page")
