"""A client's key: its state, how its verification ended, its rotations, and who used it.

Rules
- The value is shown only as a keyed fingerprint, which is useless outside this installation, and never in part.
- A provider that could not be asked has refused nothing, and the page says so.
- A leak has one entry point: a confirmation page says what will happen, and from then on the pages of the key, its
  incident and its rotation link to each other.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.audit.disclosure import RecordWindow
from byokeep.console.pages import HEADERS, Console
from byokeep.console.visit import Visitor
from byokeep.core.errors import NotFound, Rejected
from byokeep.core.incident import IncidentKind
from byokeep.core.keystate import KeyState
from byokeep.core.model import CredentialRef
from byokeep.core.next_steps import NEEDS_NEW_KEY, of_run
from byokeep.core.policy import Verb
from byokeep.core.ref import given_id
from byokeep.http.request import spend
from byokeep.incidents import incidents
from byokeep.kernel import sops
from byokeep.keys import onboard, refs, rotation_view
from byokeep.keys.rotation import LEAKED, UNUSED
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
        rows: list[dict[str, Any]] = [rotation_view.told(app, it) | {"run": it.run} for it in
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
