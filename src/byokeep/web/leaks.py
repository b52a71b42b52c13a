"""The route on which an auditor takes the fingerprints of the live values, to look for copies of them elsewhere."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends

from byokeep.core.model import Actor
from byokeep.http.body import no_query
from byokeep.http.openapi import refusals
from byokeep.http.reply import Reply
from byokeep.http.token import Authenticator, caller
from byokeep.kernel.app import WebApp
from byokeep.keys.refs import LiveFingerprints, Watched, live_values
from byokeep.web.limits import Budget
from byokeep_redact.fingerprint import FORMAT, WINDOW

PER_MINUTE: Final = 10  # of one auditor


class DigestReply(Reply):
    """A fingerprint and whose it is."""

    label: str
    digest: str


class FingerprintsReply(Reply):
    """The document of docs/spec/leak-fingerprints.md."""

    format: str
    key: str
    window: int
    digests: list[DigestReply]


class UnknownValueReply(Reply):
    """A live value that has no fingerprint, and why."""

    client_id: UUID
    ref: UUID
    provider: str
    version: int
    reason: str


class LiveValuesReply(Reply):
    """Keyed fingerprints of the live values, never a value."""

    fingerprints: FingerprintsReply
    values: int
    unknown: list[UnknownValueReply]
    replaced_unknown: int
    all_clients: bool


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the route."""
    routes = APIRouter(prefix="/v1/leaks", tags=["leaks"], dependencies=[Depends(no_query)], responses=refusals(403))
    who = Depends(caller(auth))
    budget = Budget(app.clock, per_minute=PER_MINUTE)

    @routes.get("/fingerprints", response_model=LiveValuesReply, responses=refusals(429))
    async def fingerprints(actor: Actor = who) -> dict[str, Any]:
        """Give out keyed fingerprints of the live values, never a value; it is on record."""
        budget.spend(str(actor.id))
        return _out(await live_values(app, actor))

    return routes


def _out(live: LiveFingerprints) -> dict[str, Any]:
    """Return the reply."""
    rows = [{"label": _label(one), "digest": digest} for one in live.watched for digest in one.digests]
    return {
        "fingerprints": {"format": FORMAT, "key": live.key, "window": WINDOW, "digests": rows},
        "values": len(live.watched),
        "unknown": [
            {"client_id": one.place.client_id, "ref": one.ref_id, "provider": one.place.provider,
             "version": one.version, "reason": one.reason}
            for one in live.unknown
        ],
        "replaced_unknown": live.replaced_unknown,
        "all_clients": live.all_clients,
    }  # fmt: skip


def _label(one: Watched) -> str:
    return f"{one.place.provider.value} v{one.version} ref={one.ref_id} client={one.place.client_id}"
