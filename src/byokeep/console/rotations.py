"""Rotations: begin one, see how far it is, continue, accept what it stopped for, end it, go back.

Rules
- Before one begins, the page says when the old key ends and what that means. A leaked key has a page of its own, which
  says what will happen. A key that a rotation cannot replace is marked compromised there.
- A button is shown if the flow behind it may be called now; the flow decides.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console.keys import leak_of
from byokeep.console.onboarding import GRACES, ends_of
from byokeep.console.pages import HEADERS, Console, Refusal
from byokeep.console.timeline import timeline
from byokeep.console.visit import Visitor
from byokeep.core.errors import Rejected
from byokeep.core.policy import Verb, authorise
from byokeep.core.ref import given_id
from byokeep.keys import refs, rotation, rotation_view
from byokeep.keys.rotation import ACCEPTABLE, LEAKED, STAYS_ALIVE, UNUSED, VALUE_GONE, KeyRotation
from byokeep.tenancy import clients

STEPS: Final = {
    "create": "The new key is brought", "verify": "The new key is verified", "rehearse": "Dry run with the new key",
    "cutover": "Jobs get the new key", "soak": "Old and new side by side", "revoke": "The old key is revoked",
    "prove_dead": "The old key is proved dead", "destroy": "The old value is destroyed",
    "stop": "The key is served to nobody", "serve": "The key is served again", "mint": "A worker makes the new key",
}  # fmt: skip
_ACCEPTS: Final = {
    "not_rehearsed": "No dry run shows that jobs work with the new key. Cut over without one.",
    "other_account": "The new key is of another account than the old one. That is meant.",
    "revoke_by_hand": "You have revoked the old key on the provider's page. Its death is proved by a call next.",
    "soak_unknown": "No runner told how calls with the new key ended. End the old one all the same.",
    STAYS_ALIVE: "Its owner keeps the key for something else.",
    VALUE_GONE: "You have made sure that the old key is dead. No call proves it: the store has lost its value.",
}


def add(console: Console) -> None:
    """Add the pages."""
    _starts(console)

    async def rotation_page(request: Request, who: Visitor) -> Response:
        app = console.app
        status, history = await rotation_view.show(app, who.actor, given_id(request.path_params["run_id"]))
        said = rotation_view.told(app, status, held=await rotation_view.held_by(app, status))
        run = rotation.of(status.run)
        ref = await refs.get_ref(app, who.actor, run.object_id)
        names = await clients.names_of(app, who.actor, {one.by for one in history})
        it = await timeline(console, who, status, said=said, names=STEPS)
        skipped = {one.seq for one in history if (one.stage, one.cause) == ("rehearse", "skipped")}
        accepted = [one.by for one in history if (one.stage, one.cause) == ("accept", "not_rehearsed")]
        for row in it["steps"]:
            if row.get("seq") in skipped:  # by the record that proves the step
                row |= {"state": "skipped", "by": names.get(accepted[0], row["by"]) if accepted else row["by"]}
        may, back = who.may(Verb.KEY_WRITE), "cutover" in run.evidence
        brings = ""
        if run.closed_at is None and rotation.takes_key(app, run):
            brings = "Put another key in" if run.version else "Put the new key in"
        return console.page(
            request, "rotation.html", who=who, it=it, run=run, said=said, history=history, names=names, steps=STEPS,
            ends=ends_of(console, run),
            accepts=_acceptable(run), may=may, brings=brings, back=back, may_end=it["may_end"],
            buttons=_buttons(run, brings=brings, may_end=it["may_end"]) if may else {},
            incident=await leak_of(console, who, ref) if run.procedure == LEAKED else None,
        )  # fmt: skip

    async def rotation_moved(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        run_id = given_id(request.path_params["run_id"])
        if given["act"] == "resume":
            await rotation.resume(console.app, who.actor, run_id, accept=given["accept"])
        elif given["act"] in ("abort", "rollback"):
            await getattr(rotation, given["act"])(console.app, who.actor, run_id)
        else:
            raise Rejected("bad_request", next_step="Send the form as the page does.")
        return RedirectResponse(f"/console/rotations/{run_id}", 303, HEADERS)

    console.add("GET", "/rotations/{run_id}", rotation_page)
    console.post("/rotations/{run_id}", rotation_moved, "act", "accept")


def _starts(console: Console) -> None:
    async def rotate(request: Request, who: Visitor, asked: dict[str, str], error: Refusal | None = None) -> Response:
        limits = console.app.limits
        ref = await refs.get_ref(console.app, who.actor, given_id(request.path_params["ref_id"]))
        authorise(who.actor, Verb.KEY_WRITE, client_id=ref.client_id)
        is_key = (ref.kind, ref.purpose) == ("provider_api_key", "default")
        stored = not ref.provider_place or ref.id in await rotation_view.running(console.app, who.actor, ref.client_id)
        more: dict[str, Any] = {
            "leaked": bool(asked.get("leaked")), "rotates": is_key and stored and ref.state in ("active", "suspended"),
            "page_of": limits.provider_pages.get(ref.provider.value, "the provider's page"),
            "ref": ref, "client": await clients.get_client(console.app, who.actor, ref.client_id), "graces": GRACES,
            "pauses": limits.rotation_modes.get(ref.provider.value) == "cutover",
            "mints": "mint" in limits.rotation_acts.get(ref.provider.value, ()),
        }  # fmt: skip
        return await console.form(request, error, "rotate.html", who=who, **more)

    async def rotation_begun(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        ref = await refs.get_ref(console.app, who.actor, given_id(request.path_params["ref_id"]), Verb.KEY_WRITE)
        wish = rotation.RotationRequest(
            grace=given["old_ends"] or None, skip_rehearsal=given["skip_rehearsal"] == "yes",
            mint=given["mint"] == "yes", leaked=given["leaked"] == "yes",
        )  # fmt: skip
        begun = await rotation.start(console.app, who.actor, ref.id, wish)
        return RedirectResponse(f"/console/rotations/{begun.run.id}", 303, HEADERS)

    console.asking("/keys/{ref_id}/rotate", rotate, "leaked")
    fields = ("old_ends", "skip_rehearsal", "mint", "leaked")
    console.post("/keys/{ref_id}/rotate", rotation_begun, *fields, again=rotate)


def _buttons(run: KeyRotation, *, brings: str, may_end: bool) -> dict[str, str]:
    """Return the labels of the page's buttons, by how the equivalent commands begin; longer ones first."""
    rotate = "byokeep rotate"
    found = {
        f"{rotate} resume {run.id} --accept {code}": f"Accept: {code.replace('_', ' ')}" for code in _acceptable(run)
    }  # fmt: skip
    if run.state == "failed" and run.closed_at is None:
        found |= {f"{rotate} resume {run.id} --accept": "", f"{rotate} resume {run.id}": "Go on"}
    if may_end and "cutover" in run.evidence:
        found[f"{rotate} rollback"] = "Go back to the old key"
    elif may_end:
        found[f"{rotate} abort"] = "End it: keep the old key"
    return found | ({"byokeep key add": brings} if brings else {})


def _acceptable(run: KeyRotation) -> dict[str, str]:
    """Return what a person may accept of a rotation that stopped, with what that means."""
    if run.state != "failed" or run.closed_at is not None:
        return {}
    kept = {STAYS_ALIVE} if run.procedure == UNUSED and "rotation" in run.facts else set()
    return {code: _ACCEPTS[code] for code in sorted(({run.reason} - {STAYS_ALIVE} | kept) & ACCEPTABLE)}
