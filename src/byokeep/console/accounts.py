"""A client's accounts: register one, have its owner consent (SOP 5.2), compare who answered, renew, disconnect.
A client's browser profiles (SOP 5.3): the gallery, a profile with its proofs and its work, and a client's jobs.

Rules
- A link leads the owner's browser to the platform. The whole address at which it ends is pasted back, goes to the flow
  and is on no page. What binds the answer to whoever started is in a cookie that no script can read.
- Names from a platform are shown as the flow prints them, beside the expected ones.
- A worker does the work, and a person logs in at its browser; here the work is asked for and confirmed.
- The screenshots that prove a profile are on the worker's host; the page names them by the digest on record.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.accounts import accounts, connect
from byokeep.accounts.accounts import AccountState
from byokeep.accounts.connect import ConsentAnswer
from byokeep.console.lists import exported_as, paged
from byokeep.console.pages import HEADERS, Console, Refusal
from byokeep.console.visit import Visitor, cookie_of, keep
from byokeep.core.errors import Rejected
from byokeep.core.identity import shown
from byokeep.core.model import PLATFORMS, ClientId, LanePolicy
from byokeep.core.next_steps import no_reauth, of_connection, of_consent, of_look, of_loss
from byokeep.core.policy import Verb, authorise
from byokeep.core.profile import ProfileTask, next_step_of_work
from byokeep.core.ref import given_id
from byokeep.http.request import spend
from byokeep.profiles import profiles
from byokeep.tenancy import clients

BINDING: Final = "__Host-byokeep-consent"
OPEN: Final = ("started", "answered", "taken")


def add(console: Console) -> None:
    """Add the pages."""
    _new(console)
    _consents(console)
    _profiles(console)

    async def account(request: Request, who: Visitor, _: Any = None, error: Refusal | None = None) -> Response:
        about, path = client_of(request), request.path_params
        found = await accounts.get_state(
            console.app, who.actor, about, where=path["where"], account=path["account"]
        )  # fmt: skip
        said = [shown(name) if name else "" for name in (found.said_username, found.said_display_name)]
        more: dict[str, Any] = {
            "one": found, "client": await clients.get_client(console.app, who.actor, about), "said": said,
            "differs": bool(found.login) and found.state in ("mismatch", "name_changed"), "steps": _advice(found),
            "reauth": found.reauth_at or no_reauth(found.state, renewed=found.due_at is not None),
            "may": who.may(Verb.ACCOUNT_CONNECT), "policies": list(LanePolicy),
        }  # fmt: skip
        return await console.form(request, error, "account.html", who=who, **more)

    async def account_moved(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        about, path = client_of(request), request.path_params
        at = {"where": path["where"], "account": path["account"]}
        app, actor, act = console.app, who.actor, given["act"]
        spend(request, console.writes, actor, about)
        if act == "verify":
            await accounts.ask_look(app, actor, about, **at)
        elif act == "confirm":
            names = {name: given[name] for name in ("username", "display_name")}
            await accounts.confirm_name(app, actor, about, **at, **names)
        elif act == "disconnect":
            await accounts.disconnect(app, actor, about, **at, also=given["also"] == "yes")
        elif act == "lane" and given["policy"] in set(LanePolicy):
            await accounts.set_policy(app, actor, about, **at, policy=LanePolicy(given["policy"]))
        else:
            raise Rejected("bad_request", next_step="Send the form as the page does.")
        return RedirectResponse(request.url.path, 303, HEADERS)

    path = "/clients/{client_id}/accounts/{where}/{account}"
    console.add("GET", path, account)
    console.post(path, account_moved, "act", "policy", "username", "display_name", "also", again=account)


def client_of(request: Request) -> ClientId:
    """Return the client in an address. Raises as :func:`byokeep.core.ref.given_id`."""
    return ClientId(given_id(request.path_params["client_id"]))


def _advice(found: AccountState) -> str:
    """Return what to do about an account, in words."""
    if found.state == "mismatch":
        return of_look("look_alike" if found.grant_reason == "look_alike" else "mismatch")
    if found.state == "needs_reauth":
        return of_loss(found.grant_reason)
    if found.state == "connected" and found.grant_reason:
        return of_look("unknown")
    return ""


def _new(console: Console) -> None:
    async def new_account(
        request: Request, who: Visitor, given: dict[str, str] | None = None, error: Refusal | None = None
    ) -> Response:
        authorise(who.actor, Verb.ACCOUNT_REGISTER, client_id=client_of(request))
        ours = {one.login for one in await connect.list_apps(console.app, who.actor)}
        logins = [one for one in await connect.list_logins(console.app, who.actor) if one.oauth is not None]
        return await console.form(
            request, error, "new-account.html", who=who, given=given or {}, platforms=sorted(PLATFORMS),
            client=await clients.get_client(console.app, who.actor, client_of(request)),
            logins=[one for one in logins if one.id in ours], missing=[one.id for one in logins if one.id not in ours],
        )  # fmt: skip

    async def account_made(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        about = client_of(request)
        spend(request, console.writes, who.actor, about)
        made = await accounts.register_account(console.app, who.actor, about, **given)
        to = f"/console/clients/{about}/accounts/{made.platform.value}/{quote(made.account, safe='')}"
        return RedirectResponse(to, 303, HEADERS)

    async def begun(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        about = client_of(request)
        wanted = None if given["again"] else [name for name in ("publish", "engage") if given[name]]
        spend(request, console.writes, who.actor, about)
        started, url, binding = await connect.start(
            console.app, who.actor, about, login=given["login"], account=given["account"], purposes=wanted,
            wanted=given["pick"] or None,
        )  # fmt: skip
        client = await clients.get_client(console.app, who.actor, about)
        reply = console.page(
            request, "consent.html", who=who, error=None, client=client, started=started, url=url, given=given
        )
        keep(reply, BINDING, f"{started.id}.{binding}")
        return reply

    console.add("GET", "/clients/{client_id}/new-account", new_account)
    names = ("platform", "account", "username", "display_name")
    console.post("/clients/{client_id}/new-account", account_made, *names, again=new_account)
    asked = ("login", "account", "publish", "engage", "pick", "again")
    console.post("/clients/{client_id}/consents", begun, *asked, again=new_account)


def _consents(console: Console) -> None:
    async def consent(request: Request, who: Visitor, _: Any = None, error: Refusal | None = None) -> Response:
        about = client_of(request)
        one = await connect.look(console.app, who.actor, about, given_id(request.path_params["consent_id"]))
        every = await accounts.list_states(console.app, who.actor, about)
        step = (
            "" if one.state == "connected" else of_connection("running" if one.state in OPEN else "failed", one.reason)
        )
        if one.reason == "other_account" and one.code_points:
            step = of_consent("look_alike").format(points=one.code_points)
        more: dict[str, Any] = {
            "one": one, "step": step, "account": next((it for it in every if it.id == one.account_id), None),
            "client": await clients.get_client(console.app, who.actor, about), "open": one.state in OPEN,
            "offered": [line.split(" ", 1) for line in one.offered],
        }  # fmt: skip
        return await console.form(request, error, "consented.html", who=who, **more)

    async def answered(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        about, consent_id = client_of(request), given_id(request.path_params["consent_id"])
        spend(request, console.writes, who.actor, about)
        named, _, binding = cookie_of(request, BINDING).partition(".")
        if named != str(consent_id):
            raise Rejected("wrong_binding", next_step="Finish it in the browser in which you began, or begin again.")
        await connect.answer(console.app, who.actor, about, consent_id, answer_of(given["address"], binding))
        reply = RedirectResponse(request.url.path, 303, HEADERS)
        keep(reply, BINDING, "")
        return reply

    console.add("GET", "/clients/{client_id}/consents/{consent_id}", consent)
    console.post("/clients/{client_id}/consents/{consent_id}", answered, "address", again=consent)


def answer_of(address: str, binding: str) -> ConsentAnswer:
    """Read the address at which the owner's browser ended; the flow refuses what is wrong in it.

    Raises:
        Rejected: ``not_the_answer``.
    """
    try:
        split = urlsplit(address.strip())
        pairs = parse_qsl(split.query, keep_blank_values=True, max_num_fields=16)
    except ValueError:
        split, pairs = urlsplit(""), []
    given = dict(pairs)
    if not given.get("state") or len(given) != len(pairs):
        step = "Paste the whole address that the browser ended at, from https:// or http:// on."
        raise Rejected("not_the_answer", next_step=step)
    return ConsentAnswer(
        state=given["state"], binding=binding, redirect=f"{split.scheme}://{split.netloc}{split.path}",
        code=given.get("code"), iss=given.get("iss"), error="error" in given,
        refused=given.get("error") == "access_denied",
    )  # fmt: skip


MOST_JOBS: Final = 100  # the newest, which the broker lists: jobs/jobs.py, MAX_JOBS
_WORK: Final = {
    ProfileTask.LOGIN: "Open a browser to log in", ProfileTask.VALIDATE: "Prove it",
    ProfileTask.REKEY: "Seal it under a new key", ProfileTask.SHRED: "Ask for its destruction",
}  # fmt: skip


def _profiles(console: Console) -> None:
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
        every = (await console.ask(who, "GET", "/v1/clients/{client_id}/jobs", ids={"client_id": about}))["jobs"]
        found = [one for one in every if one["kind"] == asked.get("kind", "use")]
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
    console.asking("/clients/{client_id}/jobs", jobs, "kind", "state", "page")
