"""Routes of browser profiles and of the keys that guard them: make, ask for work, confirm, look; rotate, compare, end.

Rules
- A worker does what is asked for. No session, key or record ever passes here.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from byokeep.core import profile as life
from byokeep.core.errors import Rejected
from byokeep.core.manifest import Packing
from byokeep.core.model import Actor, ClientId
from byokeep.core.policy import Verb
from byokeep.core.profile import ProfileTask
from byokeep.http.openapi import NUMBER, At, Reply, Routes, describe, parameters, refusals
from byokeep.http.request import Authenticator, Budget, Id, PathId, Strict, json_body, query_of, spend, whole_number
from byokeep.kernel.app import WebApp
from byokeep.profiles import kek_requests, profiles
from byokeep.profiles.kek import Dependent, Kek, KekMove, Rotation
from byokeep.profiles.kek_requests import ShownKek
from byokeep.profiles.profiles import Expected, Opening, Profile, ProofPicture, Work
from byokeep.sealing.generation import Generation

Word = Annotated[str, Field(max_length=64)]
Seen = Annotated[str, Field(max_length=400)]


class ProfileAccountBody(Strict):
    """An account that was registered or connected."""

    platform: Word
    account: Word


class CreateBody(Strict):
    """Make a profile for accounts, one for each platform."""

    accounts: Annotated[list[ProfileAccountBody], Field(min_length=1, max_length=profiles.MOST_ACCOUNTS)]
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


class ProfileAccountReply(Reply, of=Expected, shows="platform account username"):
    """An account that a profile is logged in to."""


_PROFILE: Final = (
    "profile=id client_id sop=sop_id state reason packing generation proved accounts created_at created_by confirmed_at"
    " confirmed_by sealed_at validated_at validated_generation due_at due_cause incident replaces next_step"
)


class ProfileReply(Reply, of=Profile, shows=_PROFILE):
    """A profile; one that has no use any more is due for nothing."""

    accounts: list[ProfileAccountReply]


class ProfilesReply(Reply):
    """A client's profiles."""

    profiles: list[ProfileReply]


_WORK: Final = "work=id profile=profile_id kind state reason result generation asked_by asked_at confirmed_at ended_at"


class WorkReply(Reply, of=Work, shows=_WORK):
    """A piece of work."""


class ProofReply(Reply, of=ProofPicture, shows="platform generation sha256 file"):
    """A picture that proves who is logged in: which file below ``proofs_dir`` of the worker's host it is."""


class ProfileLookReply(ProfileReply):
    """A profile, its proofs, and the newest work on it."""

    proofs: list[ProofReply]
    work: WorkReply | None


_GENERATION: Final = (
    "generation key=dek_id key_state holder kek=kek_id kek_version blob_size blob_sha256 manifest_sha256=manifest_hash"
    " browser_version sealed_at sealed_by job=job_id gone_at"
)


class GenerationReply(Reply, of=Generation, shows=_GENERATION):
    """A generation: which key and which blob, nothing that is in them."""


class OpeningReply(Reply, of=Opening, shows="open purpose generation job=job_id opened_at until"):
    """Who had a profile open last."""


class ProfileHistoryReply(ProfileReply):
    """A profile with everything that was sealed of it and the work on it."""

    generations: list[GenerationReply]
    opening: OpeningReply | None
    work: list[WorkReply]


def router(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes that make profiles and look at them."""
    routes = Routes("profiles", auth, 403)

    @routes.post(
        "/clients/{client_id}/profiles", status_code=201, response_model=ProfileReply, responses=refusals(409, 429)
    )
    async def create(request: Request, client_id: PathId, actor: Actor, body: CreateBody) -> Profile:
        """Make a profile; a login fills it."""
        spend(request, writes, actor, ClientId(client_id))
        made = await profiles.create(
            app, actor, ClientId(client_id), accounts=[(one.platform, one.account) for one in body.accounts],
            packing=Packing(body.packing), replaces=body.replaces,
        )  # fmt: skip
        return shown(made)

    @routes.get(
        "/clients/{client_id}/profiles",
        response_model=ProfilesReply,
        openapi_extra=parameters({"due": {"type": "boolean"}}),
    )
    async def list_profiles(request: Request, client_id: PathId, actor: Actor) -> dict[str, Any]:
        """List a client's profiles; with `due=true` those that are due for a new key."""
        given = query_of(request, "due").get("due", "false")
        if given not in ("true", "false"):
            raise Rejected("bad_request", next_step="Give due=true or due=false.")
        found = await profiles.list_profiles(app, actor, ClientId(client_id), due=given == "true")
        return {"profiles": [shown(one) for one in found]}

    return routes


def looks(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes that look at one profile."""
    routes = Routes("profiles", auth, 403, prefix="/v1/profiles/{profile_id}")

    @routes.get("", response_model=ProfileLookReply)
    async def get(profile_id: PathId, actor: Actor) -> dict[str, Any]:
        """Look at a profile, and at the newest work on it."""
        found, proofs, work = await profiles.look(app, actor, profile_id)
        return ProfileReply.fields(shown(found)) | {"proofs": proofs, "work": work}

    @routes.get("/history", response_model=ProfileHistoryReply)
    async def history(profile_id: PathId, actor: Actor) -> dict[str, Any]:
        """Tell what was sealed of a profile, by which keys, and who had it open last."""
        found, sealed, opening, work = await profiles.history(app, actor, profile_id)
        return ProfileReply.fields(shown(found)) | {"generations": sealed, "opening": opening, "work": work}

    @routes.get("/works/{work_id}", response_model=WorkReply)
    async def work(profile_id: PathId, work_id: PathId, actor: Actor) -> Work:
        """Look at a piece of work."""
        return await profiles.get_work(app, actor, profile_id, work_id)

    return routes


def acts(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes that ask a worker for something."""
    routes = Routes("profiles", auth, 403, 409, 429, prefix="/v1/profiles/{profile_id}")
    shred_body = Depends(json_body(ShredBody, optional=True))

    async def asked(request: Request, actor: Actor, profile_id: PathId, kind: ProfileTask, **about: Any) -> Work:
        found = await profiles.find(app, actor, Verb.PROFILE_WORK, profile_id)
        spend(request, writes, actor, found.client_id)
        return await profiles.ask_work(app, actor, found, kind, **about)

    @routes.post("/login", status_code=202, response_model=WorkReply)
    async def login(request: Request, profile_id: PathId, actor: Actor) -> Work:
        """Open a clean browser at a worker and wait there for a person."""
        return await asked(request, actor, profile_id, ProfileTask.LOGIN)

    @routes.post("/validate", status_code=202, response_model=WorkReply)
    async def validate(request: Request, profile_id: PathId, actor: Actor) -> Work:
        """Prove the newest generation: open it read-only, identify, take a picture."""
        return await asked(request, actor, profile_id, ProfileTask.VALIDATE)

    @routes.post("/rekey", status_code=202, response_model=WorkReply)
    async def rekey(request: Request, profile_id: PathId, actor: Actor) -> Work:
        """Seal the newest generation again, under a new key."""
        return await asked(request, actor, profile_id, ProfileTask.REKEY)

    @routes.post("/restore", status_code=202, response_model=WorkReply)
    async def restore(request: Request, profile_id: PathId, actor: Actor, body: RestoreBody) -> Work:
        """Bring an older generation back as the newest."""
        return await asked(request, actor, profile_id, ProfileTask.RESTORE, generation=body.generation)

    @routes.post("/shred", status_code=202, response_model=WorkReply, openapi_extra=describe(ShredBody, required=False))
    async def shred(request: Request, profile_id: PathId, actor: Actor, body: ShredBody = shred_body) -> Work:
        """Ask that a profile be destroyed for good; an approver confirms."""
        return await asked(request, actor, profile_id, ProfileTask.SHRED, incident=body.incident)

    return routes


def decisions(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes by which a person decides about work that waits or goes on."""
    routes = Routes("profiles", auth, 403, 409, prefix="/v1/profiles/{profile_id}")

    @routes.post("/shred/approve", status_code=202, response_model=WorkReply)
    async def approve(profile_id: PathId, actor: Actor) -> Work:
        """Agree, as the second person, that a profile is destroyed for good."""
        found = await profiles.find(app, actor, Verb.PROFILE_SHRED, profile_id)
        return await profiles.approve_shred(app, actor, found)

    @routes.post("/confirm", response_model=WorkReply, responses=refusals(429))
    async def confirm(request: Request, profile_id: PathId, actor: Actor, body: ConfirmBody) -> Work:
        """Confirm which accounts the waiting browser is logged in to."""
        found = await profiles.find(app, actor, Verb.PROFILE_CONFIRM, profile_id)
        spend(request, writes, actor, found.client_id)
        return await profiles.confirm(app, actor, found, seen=body.seen)

    @routes.post("/cancel", response_model=WorkReply)
    async def cancel(profile_id: PathId, actor: Actor) -> Work:
        """End what is under way for a profile."""
        found = await profiles.find(app, actor, Verb.PROFILE_WORK, profile_id)
        return await profiles.cancel_work(app, actor, found)

    return routes


def shown(one: Profile) -> Profile:
    """Return a profile as it is shown: one that is no longer of use is due for nothing."""
    return one if life.living(one.state) else replace(one, due_at=None, due_cause="")


_KEK: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
Code = Annotated[str, Field(max_length=64)]


class ReasonBody(Strict):
    """Why, as a code."""

    reason: Code


class RotateKekBody(ReasonBody):
    """Why, and which version that has no row is passed."""

    past: Annotated[int, Field(ge=1, lt=2**31 - 1)] | None = None


_KEK_SHOWN: Final = (
    "kek=kek_id holder version client_id environment algorithm bits state owner dependents made_at protect_until"
    " process_until rotation_due_at=due_at urgency compromised_at check checked_at changed_at changed_by"
)


class KekReply(Reply, of=ShownKek, shows=_KEK_SHOWN):
    """A version of a key that guards profiles; never the key."""


_ROTATION: Final = (
    "rotation=id kek=kek_id from_version to_version state moved remaining reason started_by started_at ended_at"
)


class RotationReply(Reply, of=Rotation, shows=_ROTATION):
    """A rotation: how much was moved to the new version, and what is left."""

    remaining: int | None


class KeksReply(Reply):
    """The versions of the caller's clients' keys and their rotations."""

    keks: list[KekReply]
    rotations: list[RotationReply]


_DEPENDENT: Final = (
    "client_id client profile=profile_id generation dek=dek_id kek_version artifact=blob_key size=blob_size key_state"
    " profile_state newest accounts sealed_at"
)


class DependentReply(Reply, of=Dependent, shows=_DEPENDENT):
    """Something that a version wraps."""


class DependentsReply(Reply):
    """What a version wraps, or every version of a key."""

    count: int
    dependents: list[DependentReply]


class MoveReply(Reply, of=KekMove, shows="from=state_from to=state_to reason at by"):
    """A change of a version's state."""


class KekStateReply(Reply, of=Kek, shows="kek=kek_id version state"):
    """A version and its state."""


class KekHistoryReply(KekStateReply):
    """Who moved a version, when and why."""

    moves: list[MoveReply]


class KekPlanReply(KekStateReply):
    """What a compromise of a version leaves to do."""

    compromised_at: At | None
    found: int
    remaining: int
    done: bool
    left: list[DependentReply]


class RotatingReply(Reply):
    """A client whose key gets a version after this one."""

    client_id: UUID
    after_version: int


class CheckingReply(Reply):
    """A client whose key is compared with its holder."""

    client_id: UUID


def kek_router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes that look."""
    routes = Routes("keks", auth, 403)

    @routes.get("/keks", response_model=KeksReply)
    async def list_keks(actor: Actor) -> dict[str, Any]:
        """List the versions of the caller's clients' keys and their rotations; never a key."""
        found, rotations = await kek_requests.status(app, actor)
        return {"keks": found, "rotations": rotations}

    @routes.get(
        "/keks/{kek_id}/dependents", response_model=DependentsReply, openapi_extra=parameters({"version": NUMBER})
    )
    async def dependents(request: Request, kek_id: str, actor: Actor) -> dict[str, Any]:
        """Tell what hangs on a version, or on every version of a key."""
        version = whole_number("version", query_of(request, "version").get("version"))
        found = await kek_requests.dependents(app, actor, _checked(kek_id), version)
        return {"count": len(found), "dependents": found}

    @routes.get("/keks/{kek_id}/versions/{version}/history", response_model=KekHistoryReply)
    async def history(kek_id: str, version: int, actor: Actor) -> dict[str, Any]:
        """Tell who moved a version, when and why."""
        found, moves = await kek_requests.history(app, actor, _checked(kek_id), version)
        return KekStateReply.fields(found) | {"moves": moves}

    @routes.get("/keks/{kek_id}/versions/{version}/plan", response_model=KekPlanReply, responses=refusals(409))
    async def plan(kek_id: str, version: int, actor: Actor) -> dict[str, Any]:
        """Tell what a compromise of a version leaves to do."""
        return plan_out(await kek_requests.plan(app, actor, _checked(kek_id), version))

    return routes


def kek_acts(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes that ask a worker for something, or stop a key."""
    routes = Routes("keks", auth, 403, 409)

    @routes.post(
        "/clients/{client_id}/kek/rotate", status_code=202, response_model=RotatingReply, responses=refusals(429)
    )
    async def rotate(request: Request, client_id: PathId, actor: Actor, body: RotateKekBody) -> dict[str, Any]:
        """Ask for the next version of a client's key; a worker makes it and moves what the old one wraps."""
        spend(request, writes, actor, ClientId(client_id))
        after = await kek_requests.ask_rotation(app, actor, ClientId(client_id), reason=body.reason, past=body.past)
        return {"client_id": client_id, "after_version": after}

    @routes.post(
        "/clients/{client_id}/kek/rewrap", status_code=202, response_model=RotationReply, responses=refusals(429)
    )
    async def rewrap(request: Request, client_id: PathId, actor: Actor) -> Rotation:
        """Hand what a rotation left to a worker once more."""
        spend(request, writes, actor, ClientId(client_id))
        return await kek_requests.ask_rewrap(app, actor, ClientId(client_id))

    @routes.post(
        "/clients/{client_id}/kek/check", status_code=202, response_model=CheckingReply, responses=refusals(429)
    )
    async def check(request: Request, client_id: PathId, actor: Actor) -> dict[str, Any]:
        """Ask for a comparison of a client's key with its holder."""
        spend(request, writes, actor, ClientId(client_id))
        await kek_requests.ask_check(app, actor, ClientId(client_id))
        return {"client_id": client_id}

    @routes.post("/keks/{kek_id}/versions/{version}/end", status_code=202, response_model=KekStateReply)
    async def end(kek_id: str, version: int, actor: Actor, body: ReasonBody) -> Kek:
        """Ask for the end of an old version, as a second person."""
        return await kek_requests.ask_end(app, actor, _checked(kek_id), version, reason=body.reason)

    @routes.post("/keks/{kek_id}/versions/{version}/compromise", response_model=KekPlanReply)
    async def compromise(kek_id: str, version: int, actor: Actor, body: ReasonBody) -> dict[str, Any]:
        """Call a version compromised; the reply is what is to be done."""
        return plan_out(await kek_requests.compromise(app, actor, _checked(kek_id), version, reason=body.reason))

    return routes


def _checked(kek_id: str) -> str:
    if not _KEK.fullmatch(kek_id):
        raise Rejected("bad_kek_id", next_step="Take it from `byokeep kek status`.")
    return kek_id


def plan_out(plan: kek_requests.KekPlan) -> dict[str, Any]:
    """Return what a compromise leaves to do."""
    one, left, found = plan
    more = {"compromised_at": one.compromised_at, "found": found, "remaining": len(left), "done": not left}
    return KekStateReply.fields(one) | more | {"left": left}
