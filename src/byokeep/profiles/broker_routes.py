"""Broker routes for a job that uses a sealed browser profile: open, beat, take record and blob, end; seal it again.

Everything passes through as it is stored: a wrapped key with its manifest, and ciphertext with its digest.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import Field

from byokeep.core.model import Actor
from byokeep.core.sealed_record import StoredArtifact
from byokeep.http.emergency import Emergency
from byokeep.http.openapi import BYTES, AtOffset, Reply, Routes, answers, raw_body
from byokeep.http.request import Authenticator, Id, PathId, Strict, json_body, stream_bytes
from byokeep.jobs.broker_routes import StatusReply, ValidForReply
from byokeep.kernel.app import BrokerApp
from byokeep.profiles import checkout
from byokeep.profiles.openings import GenerationPlan
from byokeep.sealing.generation import Generation

T = TypeVar("T")
_BINARY: Final = {"type": "string", "format": "binary"}
MAX_RECORD: Final = 144 * 1024  # bytes; see core/sealed_record.py
Epoch = Annotated[int, Path(ge=1, le=2**53)]
Number = Annotated[int, Field(ge=1, le=2**53)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Word = Annotated[str, Field(max_length=80)]


class OpenProfileBody(Strict):
    """Open a profile under a use lease of the job."""

    lease_id: Id


class EndBody(Strict):
    """Say that the browser is closed and nothing of the profile is left, and why."""

    cause: Word


class AnnounceBody(Strict):
    """Announce a seal: the generation that was opened, and the id of the new key."""

    base: Number
    dek_id: Id


class SealedBody(Strict):
    """Give the record of what was sealed, as docs/spec/manifest.md has it; the broker writes it. ``receipt`` came with
    the blob.
    """

    base: Number
    record: Annotated[str, Field(max_length=MAX_RECORD)]
    receipt: Digest


_OPENED: Final = (
    "generation dek_id holder kek_id kek_version blob_key blob_sha256 blob_size packed_size manifest_hash"
    " record_version browser_version key_state sealed_at sealed_by job_id"
)


class OpenedGenerationReply(Reply, of=Generation, shows=_OPENED, at=AtOffset):
    """The generation that a job opened: which key and which blob, nothing that is in them."""


class OpenedReply(Reply, of=checkout.OpenedProfile, shows="epoch life_s beat_s packing environment generation"):
    """An opening, for how long it holds and how often to show life, in seconds."""

    generation: OpenedGenerationReply


class AnnouncedReply(Reply, of=GenerationPlan, shows="generation blob_key path created_by=sealed_by created_at"):
    """Where and as what a seal that was announced is written."""

    created_at: str


class BlobReply(Reply, of=StoredArtifact, shows="blob_sha256=sha256_hex blob_size=size receipt"):
    """A blob that was written."""

    receipt: str


class GenerationNumberReply(Reply):
    """The generation that is the newest now."""

    generation: int


def router(app: BrokerApp, auth: Authenticator, emergency: Emergency) -> APIRouter:
    """Return the routes."""
    routes = Routes("profiles", auth, 403, 409, prefix="/v1/jobs/{job_id}/profiles/{profile_id}/openings")
    _using(routes, app, emergency)
    _sealing(routes, app, emergency)
    return routes


def _using(routes: Routes, app: BrokerApp, emergency: Emergency) -> None:

    @routes.post("", status_code=201, response_model=OpenedReply)
    async def open_profile(
        job_id: PathId, profile_id: PathId, actor: Actor, body: OpenProfileBody
    ) -> checkout.OpenedProfile:
        """Have a profile open, alone."""
        emergency.require_room()
        return await checkout.open_profile(app, actor, job_id, profile_id, body.lease_id)

    @routes.post("/{epoch}/beat", response_model=ValidForReply)
    async def beat_profile(job_id: PathId, profile_id: PathId, epoch: Epoch, actor: Actor) -> dict[str, Any]:
        """Ask whether the browser may stay open, and for how long."""
        return {"valid_for_s": await checkout.beat(app, actor, job_id, profile_id, epoch)}

    @routes.get("/{epoch}/record", response_class=Response, responses=answers(BYTES, _BINARY))
    async def take_record(job_id: PathId, profile_id: PathId, epoch: Epoch, actor: Actor) -> Response:
        """Take the record of what the job has just opened, byte for byte."""
        emergency.require_room()
        return Response(await checkout.sealed_record(app, actor, job_id, profile_id, epoch), media_type=BYTES)

    @routes.get("/{epoch}/blob", response_class=StreamingResponse, responses=answers(BYTES, _BINARY))
    async def take_blob(job_id: PathId, profile_id: PathId, epoch: Epoch, actor: Actor) -> StreamingResponse:
        """Take the sealed blob of what the job has open."""
        sealed, chunks = await checkout.blob(app, actor, job_id, profile_id, epoch)
        digest = f"sha-256=:{base64.b64encode(sealed.blob_sha256).decode()}:"
        headers = {"Content-Length": str(sealed.blob_size), "Repr-Digest": digest}
        return StreamingResponse(await _begun(chunks), media_type=BYTES, headers=headers)

    @routes.post("/{epoch}/end", response_model=StatusReply)
    async def end_profile(
        job_id: PathId, profile_id: PathId, epoch: Epoch, actor: Actor, body: EndBody
    ) -> dict[str, Any]:
        """End an opening."""
        await checkout.end(app, actor, job_id, profile_id, epoch, body.cause)
        return {"status": "ended"}


def _sealing(routes: Routes, app: BrokerApp, emergency: Emergency) -> None:
    sealed_body = Depends(json_body(SealedBody, limit=2 * MAX_RECORD))  # every quotation mark takes two bytes

    @routes.post("/{epoch}/sealing", response_model=StatusReply)
    async def begin_sealing(job_id: PathId, profile_id: PathId, epoch: Epoch, actor: Actor) -> dict[str, Any]:
        """Say that the browser is closed and has moved; the job acts no more."""
        emergency.require_room()
        await checkout.begin(app, actor, job_id, profile_id, epoch)
        return {"status": "sealing"}

    @routes.post("/{epoch}/seals", status_code=201, response_model=AnnouncedReply)
    async def announce_seal(
        job_id: PathId, profile_id: PathId, epoch: Epoch, actor: Actor, body: AnnounceBody
    ) -> dict[str, Any]:
        """Announce a seal before anything of it is written."""
        emergency.require_room()
        plan, at = await checkout.announce(app, actor, job_id, profile_id, epoch, body.base, body.dek_id)
        return AnnouncedReply.fields(plan, created_at=at)

    @routes.put("/{epoch}/seals/{dek_id}/blob", status_code=201, response_model=BlobReply, openapi_extra=raw_body())
    async def put_blob(
        request: Request, job_id: PathId, profile_id: PathId, epoch: Epoch, dek_id: PathId, actor: Actor
    ) -> dict[str, Any]:
        """Write an announced blob, once."""
        emergency.require_room()
        chunks = stream_bytes(request, media=BYTES)
        done, receipt = await checkout.put_blob(app, actor, job_id, profile_id, epoch, dek_id, chunks)
        return BlobReply.fields(done, receipt=receipt)

    @routes.post("/{epoch}/seals/{dek_id}/record", response_model=GenerationNumberReply)
    async def record_seal(
        job_id: PathId, profile_id: PathId, epoch: Epoch, dek_id: PathId, actor: Actor, body: SealedBody = sealed_body
    ) -> dict[str, Any]:
        """Make what was sealed the newest generation; the opening ends with it."""
        emergency.require_room()
        return {
            "generation": await checkout.record(
                app, actor, job_id, profile_id, epoch, body.base, dek_id, body.record.encode(), body.receipt
            )
        }


async def _begun(blob: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    """Take the first chunk before the reply begins, so that a missing blob is an error and not a truncated reply."""
    first = await anext(blob, b"")

    async def all_of_it() -> AsyncIterator[bytes]:
        async with aclosing(blob) as chunks:
            yield first
            async for chunk in chunks:
                yield chunk

    return all_of_it()
