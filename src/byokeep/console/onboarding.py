"""Adding a client, and a client's key (SOP 5.1).

Rules
- A value goes from its form to the flow and nowhere else: no page repeats it, even if it is refused.
- A refusal is shown above its form, with what to do. A provider that could not be asked is not a refusal: then the
  value is stored and waits.
- A value that continues a rotation keeps what was chosen when it began: the form does not ask again.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console.pages import HEADERS, Console, Refusal
from byokeep.console.visit import Visitor, secret_form_of
from byokeep.core.errors import ByokeepError, Conflict, Rejected
from byokeep.core.model import API_PROVIDERS, Client, ClientId, Risk
from byokeep.core.policy import Verb, authorise
from byokeep.core.ref import given_id
from byokeep.core.secret import Secret
from byokeep.http.request import spend, whole_number
from byokeep.keys import onboard, refs, rotation, rotation_view
from byokeep.tenancy import clients

GRACES: Final = {
    "policy": ("As usual, 24 hours after the cutover", "Until then you can go back."),
    "1h": ("One hour after the cutover", "There is an hour to notice that something fails, and to go back."),
    "now": ("At the cutover, once no job holds it", "There is hardly time to go back."),
    "24h": ("24 hours after the cutover", "Whatever the policy says."),
}
_LIVE: Final = ("pre_activation", "active", "suspended")
_KEY_FIELDS: Final = ("provider", "risk", "rotation_days", "old_ends", "skip_rehearsal")


def add(console: Console) -> None:
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
    return next((GRACES[code][0] for code, s in rotation.GRACE_S.items() if s == run.facts["grace_s"]), "")


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
