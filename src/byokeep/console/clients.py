"""Clients: the list, and a client's page with its keys, accounts, profiles, jobs, switches and alerts.
Adding a client, and a client's key (SOP 5.1).

Rules
- A part that a role may not see is not asked for, and the page says which role may see it.
- A key is shown by its state and its dates, never by a value or a part of one.
- A value goes from its form to the flow and nowhere else: no page repeats it, even if it is refused.
- A refusal is shown above its form, with what to do. A provider that could not be asked is not a refusal: then the
  value is stored and waits.
- A value that continues a rotation keeps what was chosen when it began: the form does not ask again.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.accounts import accounts
from byokeep.audit import alerts
from byokeep.audit.alerts import AlertFilter
from byokeep.console.lists import exported_as, paged
from byokeep.console.pages import HEADERS, Console, Refusal
from byokeep.console.scopes import in_words
from byokeep.console.visit import Visitor, secret_form_of
from byokeep.core.errors import ByokeepError, Conflict, Rejected, Unavailable
from byokeep.core.model import API_PROVIDERS, HUMAN_ROLES, Client, ClientId, Risk
from byokeep.core.policy import Verb, authorise
from byokeep.core.ref import given_id
from byokeep.core.secret import Secret
from byokeep.http.request import spend, whole_number
from byokeep.keys import onboard, refs, rotation, rotation_view
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
                every = (await console.ask(who, "GET", path, ids={"client_id": about}))["jobs"]
                jobs = [one for one in every if one["kind"] == "use"][:MOST_JOBS]
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
    _onboarding(console)


GRACES: Final = {
    "policy": ("As usual, 24 hours after the cutover", "Until then you can go back."),
    "1h": ("One hour after the cutover", "There is an hour to notice that something fails, and to go back."),
    "now": ("At the cutover, once no job holds it", "There is hardly time to go back."),
}
_LIVE: Final = ("pre_activation", "active", "suspended")
_KEY_FIELDS: Final = ("provider", "risk", "rotation_days", "old_ends", "skip_rehearsal")


def _onboarding(console: Console) -> None:
    """Add the pages."""

    async def new_client(
        request: Request, who: Visitor, given: dict[str, str] | None = None, error: Refusal | None = None
    ) -> Response:
        authorise(who.actor, Verb.CLIENT_CREATE)
        return await console.form(request, error, "new-client.html", who=who, given=given or {})

    async def client_made(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        made = await clients.create_client(console.app, who.actor, name=given["name"], risk=_risk(given["risk"]))
        with suppress(ByokeepError):  # it exists: its page offers to finish what could not be done now
            await console.ask(who, "POST", "/v1/clients/{client_id}/enroll", ids={"client_id": made.id})
        return RedirectResponse(f"/console/clients/{made.id}", 303, HEADERS)

    async def client_moved(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        about, act = given_id(request.path_params["client_id"]), given["act"]
        if act not in ("enroll", "suspend", "resume"):
            raise Rejected("bad_request", next_step="Send the form as the page does.")
        await console.ask(who, "POST", f"/v1/clients/{{client_id}}/{act}", ids={"client_id": about})
        return RedirectResponse(f"/console/clients/{about}", 303, HEADERS)

    async def new_key(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        more = await _about(console, who, request)
        return console.page(request, "new-key.html", who=who, given=asked, error=None, **more)

    async def key_taken_in(request: Request, who: Visitor) -> Response:
        given, value = await secret_form_of(console.app, request, "value", *_KEY_FIELDS)
        more = await _about(console, who, request)
        try:
            done = await _take_in(console, request, who, more, given, value)
        except (Rejected, Conflict) as error:
            return await console.form(request, error, "new-key.html", who=who, given=given, **more)
        return RedirectResponse(f"/console/keys/{done.ref_id}?sop={done.sop_id}", 303, HEADERS)

    console.add("GET", "/new-client", new_client)
    console.post("/new-client", client_made, "name", "risk", again=new_client)
    console.post("/clients/{client_id}", client_moved, "act")
    console.asking("/clients/{client_id}/new-key", new_key, "provider")
    console.add("POST", "/clients/{client_id}/new-key", key_taken_in)


async def _about(console: Console, who: Visitor, request: Request) -> dict[str, Any]:
    """Return the client, and its keys that a new value would replace."""
    about = ClientId(given_id(request.path_params["client_id"]))
    authorise(who.actor, Verb.KEY_WRITE, client_id=about)
    one = await clients.get_client(console.app, who.actor, about)
    found = await refs.list_refs(console.app, who.actor, about)
    there = {it.provider.value: it for it in found if it.kind == "provider_api_key" and it.state in _LIVE}
    runs = await rotation_view.running(console.app, who.actor, about)
    continues = {
        name: {"id": run.id, "ends": ends_of(console, run)} for name, ref in there.items()
        if (run := runs.get(ref.id)) is not None and rotation.takes_key(console.app, run)
    }  # fmt: skip
    return {"client": one, "there": there, "continues": continues, "providers": sorted(API_PROVIDERS),
            "graces": GRACES}  # fmt: skip


def ends_of(console: Console, run: rotation.KeyRotation) -> str:
    """Return when a rotation ends the old key, in the words of the choice; empty: it has no overlap, or is past it."""
    steps = {step.name for step in console.app.procedures[run.procedure].steps} - set(run.evidence)
    if run.closed_at is not None or run.state == "undoing" or "soak" not in steps:
        return ""
    known = {s: GRACES["policy" if code == rotation.POLICY else code][0] for code, s in rotation.GRACE_S.items()}
    return known.get(run.facts["grace_s"], "")


async def _take_in(
    console: Console, request: Request, who: Visitor, about: dict[str, Any], given: dict[str, str], value: Secret
) -> onboard.Onboarded:
    client: Client = about["client"]
    spend(request, console.writes, who.actor, client.id)
    asked = rotation.RotationRequest(grace=given["old_ends"] or None, skip_rehearsal=given["skip_rehearsal"] == "yes")
    wish = onboard.OnboardRequest(
        risk=_risk(given["risk"]) if given["risk"] else None,
        rotation_days=whole_number("rotation_days", given["rotation_days"] or None),
        rotation=rotation.RotationRequest() if given["provider"] in about["continues"] else asked,
    )
    return await onboard.onboard(
        console.app, who.actor, client_id=client.id, provider=given["provider"], value=value, wish=wish
    )


def _risk(text: str) -> Risk:
    if text not in set(Risk):
        raise Rejected("bad_risk", next_step="standard or high.")
    return Risk(text)
