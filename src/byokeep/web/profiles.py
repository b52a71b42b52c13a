"""Routes of browser profiles: make one, ask for work on it, confirm, look. Never a session, a key or a record."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from byokeep.core import profile as life
from byokeep.core.errors import Rejected
from byokeep.core.manifest import Packing
from byokeep.core.model import Actor, ClientId
from byokeep.core.policy import Verb
from byokeep.core.profile import Kind
from byokeep.flows import profile_shots, profile_work, profiles
from byokeep.flows.app import WebApp
from byokeep.flows.profile_shots import Proof
from byokeep.flows.profile_work import Work
from byokeep.flows.profiles import Generation, History, Opening, Profile
from byokeep.http.body import Id, PathId, Strict, describe, json_body, no_query
from byokeep.http.people import at_out
from byokeep.http.token import Authenticator, caller
from byokeep.web.clients import spend
from byokeep.web.limits import Budget
from byokeep.web.words import query_of

Word = Annotated[str, Field(max_length=64)]
Seen = Annotated[str, Field(max_length=400)]


class AccountBody(Strict):
    """An account that was registered or connected."""

    platform: Word
    account: Word


class CreateBody(Strict):
    """Make a profile for accounts, one for each platform."""

    accounts: Annotated[list[AccountBody], Field(min_length=1, max_length=profiles.MOST_ACCOUNTS)]
    packing: Literal["portable", "full"] = "portable"
    replaces: Id | None = None


class RestoreBody(Strict):
    """Bring an older generation back as the newest."""

    generation: Annotated[int, Field(ge=1, le=1_000_000)]


class ShredBody(Strict):
    """Destroy a profile; one that an open incident counts on only with that incident's name."""

    incident: Id | None = None


class ConfirmBody(Strict):
    """Say, as the person who looked, which account each platform shows."""

    seen: Annotated[dict[Word, Seen], Field(min_length=1, max_length=profiles.MOST_ACCOUNTS)]


def router(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes that make profiles and look at them."""
    routes = APIRouter(prefix="/v1", tags=["profiles"])
    who, create_body = Depends(caller(auth)), Depends(json_body(CreateBody))
    plain = Depends(no_query)

    @routes.post(
        "/clients/{client_id}/profiles", status_code=201, openapi_extra=describe(CreateBody), dependencies=[plain]
    )
    async def create(
        request: Request, client_id: PathId, actor: Actor = who, body: CreateBody = create_body
    ) -> JSONResponse:
        """Make a profile; a login fills it."""
        spend(request, writes, actor, ClientId(client_id))
        made = await profiles.create(
            app, actor, ClientId(client_id), accounts=[(one.platform, one.account) for one in body.accounts],
            packing=Packing(body.packing), replaces=body.replaces,
        )  # fmt: skip
        return JSONResponse(profile_out(made), 201)

    @routes.get("/clients/{client_id}/profiles")
    async def list_profiles(request: Request, client_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """List a client's profiles; with `due=true` those that are due for a new key."""
        given = query_of(request, "due").get("due", "false")
        if given not in ("true", "false"):
            raise Rejected("bad_request", next_step="Say due=true or due=false.")
        found = await profiles.list_profiles(app, actor, ClientId(client_id), due=given == "true")
        return {"profiles": [profile_out(one) for one in found]}

    return routes


def looks(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes that look at one profile."""
    routes = APIRouter(prefix="/v1/profiles/{profile_id}", tags=["profiles"], dependencies=[Depends(no_query)])
    who = Depends(caller(auth))

    @routes.get("")
    async def get(profile_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Look at a profile, and at the newest work on it."""
        client_id = await profiles.owner_of(app, actor, Verb.PROFILE_READ, profile_id)
        found = await profiles.get(app, actor, client_id, profile_id)
        work = await profile_work.newest(app, actor, client_id, profile_id, limit=1)
        proofs = [proof_out(found, one) for one in await profile_shots.proofs(app, actor, client_id, profile_id)]
        return profile_out(found) | {"proofs": proofs, "work": work_out(work[0]) if work else None}

    @routes.get("/history")
    async def history(profile_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Tell what was sealed of a profile, by which keys, and who had it open last."""
        client_id = await profiles.owner_of(app, actor, Verb.PROFILE_READ, profile_id)
        found = await profiles.history(app, actor, client_id, profile_id)
        work = await profile_work.newest(app, actor, client_id, profile_id)
        return history_out(found) | {"work": [work_out(one) for one in work]}

    @routes.get("/works/{work_id}")
    async def work(profile_id: PathId, work_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Look at a piece of work."""
        client_id = await profiles.owner_of(app, actor, Verb.PROFILE_READ, profile_id)
        return work_out(await profile_work.look(app, actor, client_id, profile_id, work_id))

    return routes


def acts(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes that ask a worker for something."""
    routes = APIRouter(prefix="/v1/profiles/{profile_id}", tags=["profiles"], dependencies=[Depends(no_query)])
    who, restore_body = Depends(caller(auth)), Depends(json_body(RestoreBody))
    shred_body = Depends(json_body(ShredBody, optional=True))

    async def asked(request: Request, actor: Actor, profile_id: PathId, kind: Kind, **about: Any) -> JSONResponse:
        client_id = await profiles.owner_of(app, actor, Verb.PROFILE_WORK, profile_id)
        spend(request, writes, actor, client_id)
        made = await profile_work.ask(app, actor, client_id, profile_id, kind, **about)
        return JSONResponse(work_out(made), 202)

    @routes.post("/login", status_code=202)
    async def login(request: Request, profile_id: PathId, actor: Actor = who) -> JSONResponse:
        """Open a clean browser at a worker and wait there for a person."""
        return await asked(request, actor, profile_id, Kind.LOGIN)

    @routes.post("/validate", status_code=202)
    async def validate(request: Request, profile_id: PathId, actor: Actor = who) -> JSONResponse:
        """Prove the newest generation: open it read-only, identify, take a picture."""
        return await asked(request, actor, profile_id, Kind.VALIDATE)

    @routes.post("/rekey", status_code=202)
    async def rekey(request: Request, profile_id: PathId, actor: Actor = who) -> JSONResponse:
        """Seal the newest generation again, under a new key."""
        return await asked(request, actor, profile_id, Kind.REKEY)

    @routes.post("/restore", status_code=202, openapi_extra=describe(RestoreBody))
    async def restore(
        request: Request, profile_id: PathId, actor: Actor = who, body: RestoreBody = restore_body
    ) -> JSONResponse:
        """Bring an older generation back as the newest."""
        return await asked(request, actor, profile_id, Kind.RESTORE, generation=body.generation)

    @routes.post("/shred", status_code=202, openapi_extra=describe(ShredBody, required=False))
    async def shred(
        request: Request, profile_id: PathId, actor: Actor = who, body: ShredBody = shred_body
    ) -> JSONResponse:
        """Ask that a profile be destroyed for good; an approver confirms."""
        return await asked(request, actor, profile_id, Kind.SHRED, incident=body.incident)

    return routes


def decisions(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes by which a person decides about work that waits or goes on."""
    routes = APIRouter(prefix="/v1/profiles/{profile_id}", tags=["profiles"], dependencies=[Depends(no_query)])
    who, confirm_body = Depends(caller(auth)), Depends(json_body(ConfirmBody))

    @routes.post("/shred/approve", status_code=202)
    async def approve(profile_id: PathId, actor: Actor = who) -> JSONResponse:
        """Agree, as the second person, that a profile is destroyed for good."""
        client_id = await profiles.owner_of(app, actor, Verb.PROFILE_SHRED, profile_id)
        return JSONResponse(work_out(await profile_work.approve(app, actor, client_id, profile_id)), 202)

    @routes.post("/confirm", openapi_extra=describe(ConfirmBody))
    async def confirm(
        request: Request, profile_id: PathId, actor: Actor = who, body: ConfirmBody = confirm_body
    ) -> dict[str, Any]:
        """Confirm which accounts the waiting browser is logged in to."""
        client_id = await profiles.owner_of(app, actor, Verb.PROFILE_CONFIRM, profile_id)
        spend(request, writes, actor, client_id)
        return work_out(await profile_work.confirm(app, actor, client_id, profile_id, seen=body.seen))

    @routes.post("/cancel")
    async def cancel(profile_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """End what is under way for a profile."""
        client_id = await profiles.owner_of(app, actor, Verb.PROFILE_WORK, profile_id)
        return work_out(await profile_work.cancel(app, actor, client_id, profile_id))

    return routes


def profile_out(one: Profile) -> dict[str, Any]:
    """Return the wire form of a profile; one that has no use any more is due for nothing."""
    lives = life.living(one.state)
    incident = "" if one.incident is None else str(one.incident)
    return {
        "profile": str(one.id), "client_id": str(one.client_id), "sop": None if one.sop_id is None else str(one.sop_id),
        "state": one.state.value, "reason": one.reason,
        "packing": one.packing.value, "generation": one.generation, "proved": one.proved,
        "accounts": [
            {"platform": account.platform.value, "account": account.account, "username": account.username}
            for account in one.accounts
        ],
        "created_at": at_out(one.created_at), "created_by": str(one.created_by),
        "confirmed_at": at_out(one.confirmed_at),
        "confirmed_by": None if one.confirmed_by is None else str(one.confirmed_by),
        "sealed_at": at_out(one.sealed_at), "validated_at": at_out(one.validated_at),
        "validated_generation": one.validated_generation, "due_at": at_out(one.due_at) if lives else None,
        "due_cause": one.due_cause if lives else "",
        "incident": incident or None,
        "replaces": None if one.replaces is None else str(one.replaces),
        "next_step": life.next_step(
            one.state, profile=str(one.id), due=one.due_cause, incident=incident, proved=one.proved,
            sealed=one.generation > 0,
        ),
    }  # fmt: skip


def proof_out(profile: Profile, one: Proof) -> dict[str, Any]:
    """Return the wire form of a proof: which file below ``proofs_dir`` of the worker's host it is."""
    file = f"{profile.client_id}/{profile.id}/{one.generation}-{one.sha256}.png"
    return {"platform": one.platform, "generation": one.generation, "sha256": one.sha256, "file": file}


def history_out(one: History) -> dict[str, Any]:
    """Return the wire form of a profile with everything that was sealed of it."""
    return profile_out(one.profile) | {
        "generations": [generation_out(each) for each in one.generations],
        "opening": None if one.opening is None else opening_out(one.opening),
    }


def generation_out(one: Generation) -> dict[str, Any]:
    """Return the wire form of a generation: which key and which blob, nothing that is in them."""
    return {
        "generation": one.generation, "key": str(one.dek_id), "key_state": one.key_state.value, "holder": one.holder,
        "kek": one.kek_id, "kek_version": one.kek_version, "blob_size": one.blob_size,
        "blob_sha256": one.blob_sha256.hex(), "manifest_sha256": one.manifest_hash.hex(),
        "browser_version": one.browser_version, "sealed_at": at_out(one.sealed_at), "sealed_by": str(one.sealed_by),
        "job": str(one.job_id), "gone_at": at_out(one.gone_at),
    }  # fmt: skip


def opening_out(one: Opening) -> dict[str, Any]:
    """Return the wire form of an opening."""
    return {
        "open": one.open, "purpose": one.purpose.value, "generation": one.generation, "job": str(one.job_id),
        "opened_at": at_out(one.opened_at), "until": at_out(one.until),
    }  # fmt: skip


def work_out(one: Work) -> dict[str, Any]:
    """Return the wire form of a piece of work."""
    return {
        "work": str(one.id), "profile": str(one.profile_id), "kind": one.kind.value, "state": one.state,
        "reason": one.reason, "result": one.result, "generation": one.generation, "asked_by": str(one.asked_by),
        "asked_at": at_out(one.asked_at), "confirmed_at": at_out(one.confirmed_at), "ended_at": at_out(one.ended_at),
    }  # fmt: skip
