"""A client's key: its state, how its verification ended, and who used it; and its rotations: begin one, see how far it
is, continue, accept what it stopped for, end it, go back.

Rules
- The value is shown only as a keyed fingerprint, which is useless outside this installation, and never in part.
- A provider that could not be asked has refused nothing, and the page says so.
- A leak has one entry point: a confirmation page says what will happen, and from then on the pages of the key, its
  incident and its rotation link to each other.
- Before a rotation begins, the page says when the old key ends and what that means. A leaked key has a page of its own,
  which says what will happen. A key that a rotation cannot replace is marked compromised there.
- A button is shown if the flow behind it may be called now; the flow decides.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.audit.disclosure import RecordWindow
from byokeep.console.clients import GRACES, ends_of
from byokeep.console.pages import HEADERS, Console, Refusal
from byokeep.console.timeline import timeline
from byokeep.console.visit import Visitor
from byokeep.core.errors import NotFound, Rejected
from byokeep.core.incident import IncidentKind
from byokeep.core.keystate import KeyState
from byokeep.core.model import CredentialRef
from byokeep.core.next_steps import NEEDS_NEW_KEY, of_run
from byokeep.core.policy import Verb, authorise
from byokeep.core.ref import given_id
from byokeep.http.request import spend
from byokeep.incidents import incidents
from byokeep.kernel import sops
from byokeep.keys import onboard, refs, rotation, rotation_view
from byokeep.keys.rotation import ACCEPTABLE, LEAKED, STAYS_ALIVE, UNUSED, VALUE_GONE, KeyRotation
from byokeep.tenancy import clients

MOST_RECORDS: Final = 20
_REFUSED: Final = NEEDS_NEW_KEY | {"disabled", "restricted_but_live", "forbidden"}
_MOVES: Final = {
    KeyState.SUSPENDED: "Suspend it",
    KeyState.ACTIVE: "Serve it again",
    KeyState.DEACTIVATED: "Retire it for good",
}
_FROM: Final = {
    "active": (KeyState.SUSPENDED, KeyState.DEACTIVATED), "suspended": (KeyState.ACTIVE, KeyState.DEACTIVATED),
    "pre_activation": (KeyState.DEACTIVATED,),
}  # fmt: skip


def add(console: Console) -> None:
    """Add the pages."""

    async def key(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        app, actor = console.app, who.actor
        ref = await refs.read_ref(app, actor, given_id(request.path_params["ref_id"]))
        one = await clients.get_client(app, actor, ref.client_id)
        rows: list[dict[str, Any]] = [rotation_view.told(app, actor, it) | {"run": it.run} for it in
                await rotation_view.list_rotations(app, actor, ref.id)]  # fmt: skip
        running = next((it["run"] for it in rows if not it["ended"] and it["run"].procedure != UNUSED), None)
        return console.page(
            request, "key.html", who=who, ref=ref, client=one, mark=await refs.value_mark(app, ref), rotations=rows,
            running=running, leaking=running is not None and running.procedure == LEAKED,
            incident=await leak_of(console, who, ref),
            at_provider=app.limits.provider_pages.get(ref.provider.value, ""),
            check=await _check(console, who, ref, asked.get("sop")), past=await _history(console, who, ref.id),
            may_write=who.may(Verb.KEY_WRITE), keyless=bool(ref.provider_place), moves=[
                (state.value, _MOVES[state]) for state in _FROM.get(ref.state, ())
            ], is_key=(ref.kind, ref.purpose) == ("provider_api_key", "default"),
        )  # fmt: skip

    async def key_moved(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        ref_id = given_id(request.path_params["ref_id"])
        to = given["to"]
        if to == "verify":
            run = await onboard.verify_again(
                console.app, who.actor, ref_id, before=lambda about: spend(request, console.writes, who.actor, about)
            )
            return RedirectResponse(f"/console/keys/{ref_id}?sop={run.id}", 303, HEADERS)
        if to not in (*_MOVES, KeyState.COMPROMISED):
            raise Rejected("bad_request", next_step="Send the form as the page does.")
        change = partial(refs.change_state, console.app, who.actor, ref_id, to=KeyState(to), reason=given["reason"])
        await (change() if to == KeyState.ACTIVE else console.emergency.stopping(change))
        return RedirectResponse(f"/console/keys/{ref_id}", 303, HEADERS)

    console.asking("/keys/{ref_id}", key, "sop")
    console.post("/keys/{ref_id}", key_moved, "to", "reason", stops=True)
    _rotations(console)


async def leak_of(console: Console, who: Visitor, ref: CredentialRef) -> UUID | None:
    """Return the open incident about a suspected leak of a key; None, too, for a role that may not see incidents."""
    if not who.may(Verb.INCIDENT_READ):
        return None
    found = await incidents.list_incidents(console.app, who.actor, client_id=ref.client_id, only_open=True)
    about = (one.id for one in found if one.object_id == ref.id and one.kind == IncidentKind.SUSPECTED_LEAK)
    return next(about, None)


async def _check(console: Console, who: Visitor, ref: CredentialRef, named: str | None) -> dict[str, Any] | None:
    """Return how the named verification, or that of the newest version, ended."""
    if named is None:
        found = await onboard.run_of(console.app, who.actor, ref)
    else:
        found = await sops.sop_status(console.app, who.actor, given_id(named))
        if found.run.object_id != ref.id:
            raise NotFound("not_found")
    if found is None:
        return None
    reason = found.run.reason.partition("/")[0]
    return {"state": found.state, "refused": found.state == "failed" and reason in _REFUSED, "reason": reason,
            "run": found.run, "next": of_run(found.state, found.run.reason, found.missing),
            "steps": len(found.evidence), "another": found.run.version != ref.version}  # fmt: skip


async def _history(console: Console, who: Visitor, ref_id: UUID) -> refs.KeyHistory | None:
    """Return who used a key and its records; None for a role that may not see that."""
    if not who.may(Verb.KEY_HISTORY):
        return None
    return await refs.key_history(console.app, who.actor, ref_id, RecordWindow(limit=MOST_RECORDS))


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


def _rotations(console: Console) -> None:
    """Add the pages."""
    _starts(console)

    async def rotation_page(request: Request, who: Visitor) -> Response:
        app = console.app
        status, history = await rotation_view.show(app, who.actor, given_id(request.path_params["run_id"]))
        said = rotation_view.told(app, who.actor, status, held=await rotation_view.held_by(app, status))
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
