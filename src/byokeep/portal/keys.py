"""A client's first page and its keys: entering one, replacing one, ending one.

Rules
- A key goes from the form into :func:`byokeep.keys.onboard.onboard`, the flow of ``byokeep key add``: it is checked,
  stored, and the provider is asked. Next to a key that serves, it waits until it is proved, so there is no outage.
- Whoever tries keys again and again waits longer and longer, so that nobody learns here which keys of others are valid.
- What could not be found out is shown as such. A provider that does not answer says nothing about the key.
- While a rotation takes no other key, the form is not shown: nobody pastes what would be refused.
- Ending a key is confirmed on a page of its own, and the agency's people are told.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.accounts import accounts
from byokeep.console.pages import HEADERS, Console, Refusal
from byokeep.console.visit import Visitor, secret_form_of
from byokeep.core.errors import Conflict, NotFound, RateLimited, Rejected, Unavailable
from byokeep.core.keystate import KeyState
from byokeep.core.model import API_PROVIDERS, TITLES, ClientId, CredentialRef, SecretKind
from byokeep.core.ref import given_id
from byokeep.jobs import switches
from byokeep.kernel import sops
from byokeep.keys import onboard, refs, rotation, rotation_view, usage
from byokeep.tenancy import clients
from byokeep.tenancy.attempt_brake import AttemptBrake

SESSION: Final = "__Host-byokeep-portal"
MOST_USES: Final = 50  # the newest
MOST_ENTERED: Final = 1000  # keys whose check may be over, and nobody looked
LOOKS: Final = 8
LOOK_EACH_S: Final = 0.25
USED_WITHIN: Final = timedelta(days=7)
_ENDED: Final = frozenset({KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED})
# What a check found, as far as the client can do something about it; the rest is the agency's.
_FOUND: Final[Mapping[str, str]] = {
    "invalid_key": "The provider does not know this key. Make another one there and enter it.",
    "disabled": "The key was switched off at the provider. Switch it on there, or enter another one.",
    "leaked": "The provider reports this key as leaked. Make another one there and enter it.",
    "wrong_key_kind": "This key administers your account there. Make a plain API key and enter that.",
    "verified_no_quota": "The key is good, but its balance is used up.",
    "no_credit": "The provider knows the key, but your account there has no credit.",
    "provider_down": "The provider did not work just now, which says nothing about the key.",
    "timeout": "The provider did not answer in time, which says nothing about the key.",
    "rate_limited": "The provider limits calls just now, which says nothing about the key.",
    "restricted_but_live": "The key works, but may not list models. Allow that there, or enter another one.",
    "forbidden": "The provider refuses calls from here. Check the key's permissions and its allowed addresses there.",
    "reflected": "The provider's answer contained the key itself. Make another one there and enter it.",
    "secret_in_logs": "The key was seen in a log here. Make another one there and enter it.",
    "tls_error": "The provider could not be reached safely, which says nothing about the key.",
}
_WHY: Final[Mapping[str, tuple[KeyState, str]]] = {
    "unused": (KeyState.DEACTIVATED, "ended_by_client"), "leaked": (KeyState.COMPROMISED, "leaked_says_client"),
}  # fmt: skip


def client_of(who: Visitor) -> ClientId:
    """Return the client of a visitor; authentication lets in nobody who has no client, or two."""
    (only,) = who.actor.clients or frozenset()
    return ClientId(only)


def provider_name(provider: str) -> str:
    """Return what people call a provider or platform."""
    return TITLES.get(provider, provider)


def add(console: Console) -> None:
    """Add the pages."""
    _first(console)
    brake, checks = AttemptBrake(console.app.clock), deque[UUID](maxlen=MOST_ENTERED)
    _entering(console, brake, checks)
    _one(console, brake, checks)
    _ending(console)


def _first(console: Console) -> None:
    async def first(request: Request, who: Visitor) -> Response:
        app, actor, client_id = console.app, who.actor, client_of(who)
        stopped, unknown = [], False
        try:
            stopped = [one for one in await switches.list_switches(app, actor) if one.closed]
        except Unavailable:
            unknown = True
        used = await usage.usage(app, actor, client_id, "", None, None)
        sums: Counter[tuple[str, str]] = Counter()  # what was not used has no row
        untold = {one.provider for one in used.hours if one.untold}
        for hour in used.hours:
            for what in ("leases", "permits", "calls", "calls_failed"):
                sums[hour.provider, what] += getattr(hour, what)
        return console.page(
            request, "home.html", who=who, client=await clients.get_client(app, actor, client_id), stopped=stopped,
            unknown=unknown, keys=[one for one in await refs.list_refs(app, actor, client_id) if is_shown(one)],
            accounts=await accounts.list_states(app, actor, client_id), sums=+sums, untold=untold, gaps=used.gaps,
            named=provider_name, ended=_ENDED,
        )  # fmt: skip

    console.add("GET", "", first)


def is_shown(ref: CredentialRef) -> bool:
    """Whether a reference is a key that a client enters here, not an administrator's key or a token of a login."""
    return ref.kind is SecretKind.PROVIDER_API_KEY and ref.provider in API_PROVIDERS


def _entering(console: Console, brake: AttemptBrake, checks: deque[UUID]) -> None:
    names = sorted(API_PROVIDERS)

    def of(text: str) -> str:
        if text not in names:
            raise Rejected("unknown_provider", next_step="Choose one of those on the page.")
        return text

    async def asked_for(
        request: Request, who: Visitor, provider: str, error: Refusal | RateLimited | None = None
    ) -> Response:
        return await console.form(
            request, error, "key-new.html", who=who, provider=provider, named=provider_name,
            client=await clients.get_client(console.app, who.actor, client_of(who)),
            **await _beside(console, who, provider),
        )  # fmt: skip

    async def question(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        if "provider" in asked:
            return await asked_for(request, who, of(asked["provider"]))
        sent = bool(request.url.query)
        return console.page(request, "provider.html", who=who, names=names, named=provider_name, missing=sent)

    async def entered(request: Request, who: Visitor) -> Response:
        given, value = await secret_form_of(console.app, request, "key", "provider", session=SESSION)
        provider, client_id = of(given["provider"]), client_of(who)
        try:
            brake.attempt(str(client_id), "keys")
            console.writes.spend(str(client_id))
            done = await onboard.onboard(
                console.app, who.actor, client_id=client_id, provider=provider, value=value,
                wish=onboard.OnboardRequest(),
            )  # fmt: skip
        except (Rejected, Conflict, RateLimited) as error:
            return await asked_for(request, who, provider, error)
        checks.append(done.sop_id)
        return RedirectResponse(f"/portal/keys/{done.ref_id}?run={done.sop_id}", 303, HEADERS)

    console.asking("/keys/new", question, "provider")
    console.add("POST", "/keys/new", entered)


async def _beside(console: Console, who: Visitor, provider: str) -> dict[str, Any]:
    """Return whether a key of this provider already serves, and its rotation, if no other key may come in during it."""
    app, actor = console.app, who.actor
    known = [one for one in await refs.list_refs(app, actor, client_of(who))
             if is_shown(one) and one.provider == provider and one.state not in _ENDED]  # fmt: skip
    runs = await rotation_view.running(app, actor, client_of(who))
    held = [run for one in known if (run := runs.get(one.id)) is not None and not rotation.takes_key(app, run)]
    shown = (await rotation_view.show(app, actor, held[0].id))[0] if held else None
    return {"serves": any(one.state == KeyState.ACTIVE for one in known), "held": shown}


def _one(console: Console, brake: AttemptBrake, checks: deque[UUID]) -> None:
    async def key(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        app, actor = console.app, who.actor
        ref = await _own(console, request, who)
        run = await sops.sop_status(app, actor, given_id(asked["run"])) if "run" in asked else None
        if run is not None and run.run.object_id != ref.id:
            raise NotFound("not_found")
        for _ in range(LOOKS):  # most checks end in a moment, so the page can say how at once
            if run is None or run.state != "running":
                break
            await asyncio.sleep(LOOK_EACH_S)
            run = await sops.sop_status(app, actor, run.run.id)
            ref = await _own(console, request, who)  # its state after the check
        if run is not None and run.state == "complete" and run.run.id in checks:  # looking again is no success
            checks.remove(run.run.id)
            brake.succeeded(str(ref.client_id), "keys")
        found = await usage.key_usage(
            app, actor, ref.id, since=app.clock.now() - USED_WITHIN, until=None, limit=MOST_USES
        )
        rotations = await rotation_view.list_rotations(app, actor, ref.id)
        return console.page(
            request, "key.html", who=who, ref=ref, named=provider_name, run=run, why=_words_of(run), used=found,
            rotation=next((one for one in rotations if one.run.closed_at is None), None), ended=ref.state in _ENDED,
        )  # fmt: skip

    console.asking("/keys/{ref_id}", key, "run")


def _words_of(run: sops.SopStatus | None) -> str:
    """Return what a failed check found, or what a running one waits for, in words for the client."""
    if run is None or run.state == "complete":
        return ""
    why = run.run.reason.partition("/")[0]
    return _FOUND.get(why, "")


async def _own(console: Console, request: Request, who: Visitor) -> CredentialRef:
    """Return the key in an address. Raises NotFound if it is not this client's."""
    ref = await refs.read_ref(console.app, who.actor, given_id(request.path_params["ref_id"]))
    if not is_shown(ref) or ref.client_id != client_of(who):
        raise NotFound("not_found")
    return ref


def _ending(console: Console) -> None:
    async def sure(request: Request, who: Visitor, _: Any = None, error: Refusal | None = None) -> Response:
        ref = await _own(console, request, who)
        return await console.form(request, error, "key-end.html", who=who, ref=ref, named=provider_name, missing=False)

    async def done(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        ref = await _own(console, request, who)
        if given["why"] not in _WHY:
            return console.page(
                request, "key-end.html", status=422, who=who, ref=ref, named=provider_name, error=None, missing=True
            )
        to, reason = _WHY[given["why"]]
        await console.emergency.stopping(
            partial(refs.change_state, console.app, who.actor, ref.id, to=to, reason=reason)
        )
        return RedirectResponse(f"/portal/keys/{ref.id}", 303, HEADERS)

    console.add("GET", "/keys/{ref_id}/end", sure)
    console.post("/keys/{ref_id}/end", done, "why", stops=True, again=sure)
