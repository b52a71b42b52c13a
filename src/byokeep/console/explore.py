"""The audit explorer: records by filter, one of them in a drawer, who used a key, proofs and their verification.

Rules
- The filter is the address. A page says how many records are left, and how many of our own heartbeats it hides.
- Names replace ids if the visitor may know them; the id is on the page of the record.
- The broker and the command line's verifier verify; a page only shows their result.
- A file that leaves the house is made by the same flow as on the command line, and is sent as it was signed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from byokeep.audit import disclosure
from byokeep.audit.disclosure import RecordWindow, ShownRecord
from byokeep.console.lists import attached, exported_as
from byokeep.console.pages import Console
from byokeep.console.visit import Visitor
from byokeep.core.checkpoint import parse_keys, verify_client_proof
from byokeep.core.errors import Integrity, NotFound
from byokeep.core.events import EventName, Outcome
from byokeep.core.model import ClientId
from byokeep.core.ref import given_id
from byokeep.core.times import moment
from byokeep.http.request import whole_number
from byokeep.keys import refs, usage
from byokeep.operations import lists
from byokeep.tenancy import clients, operators

PER_PAGE: Final = 100
_ASKED: Final = ("client", "key", "actor", "event", "outcome", "since", "until", "all", "before", "record")
_ID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\Z")
_RUNS: Final = ("run", "sop")  # fields that name a procedure whose evidence can be downloaded


def days(now: datetime) -> Mapping[str, dict[str, str]]:
    """Return the usual spans, as parts of an address."""
    today, before = f"{now.astimezone(UTC):%Y-%m-%d}", f"{now.astimezone(UTC) - timedelta(days=1):%Y-%m-%d}"
    return {"The last hour": {"since": "1h"}, "Today": {"since": today},
            "Yesterday": {"since": before, "until": before}, "24 hours": {"since": "24h"},
            "7 days": {"since": "7d"}}  # fmt: skip


def add(console: Console) -> None:
    """Add the pages."""

    async def audit(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        return await _audit_page(console, request, who, asked)

    async def verified(request: Request, who: Visitor, _given: dict[str, str]) -> Response:
        found = await console.ask(who, "POST", "/v1/audit/verify")
        return console.page(request, "verified.html", who=who, log=found, proof=None, client=None, broken="")

    async def proof(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        about = ClientId(given_id(given["client"]))
        path = "/v1/audit/proof/{client_id}"
        made = await console.fetch(who, "POST", path, ids={"client_id": about})
        if given["act"] == "keep":
            return attached(made, f"proof-{about}.json")
        keys = parse_keys((await console.fetch(who, "GET", "/v1/audit/keys")).decode())
        held, broken = None, ""
        try:
            held = await asyncio.to_thread(verify_client_proof, made, keys.log)
        except Integrity as error:
            broken = error.code
        one = await clients.get_client(console.app, who.actor, about)
        return console.page(request, "verified.html", who=who, log=None, proof=held, client=one, broken=broken)

    async def evidence(_: Request, who: Visitor, given: dict[str, str]) -> Response:
        run = given_id(given["run"])
        return attached(await console.fetch(who, "POST", "/v1/evidence/{sop_id}", ids={"sop_id": run}),
                        f"evidence-{run}.json")  # fmt: skip

    async def used(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        now, about = console.app.clock.now(), given_id(request.path_params["ref_id"])
        since = moment(asked.get("since", "24h"), now)
        found = await usage.key_usage(
            console.app, who.actor, about, since=since, until=moment(asked.get("until", ""), now, end=True),
            limit=PER_PAGE,
        )  # fmt: skip
        onward = asked | {"until": found.next.isoformat()} if found.next else {}
        names = await clients.names_of(console.app, who.actor, {about, found.ref.client_id})
        spans = {text: f"?{urlencode(span)}" for text, span in days(now).items()}
        return console.page(request, "used.html", who=who, asked=asked, found=found, names=names, spans=spans,
                            onward=urlencode(onward))  # fmt: skip

    console.asking("/audit", audit, *_ASKED)
    console.post("/audit/verified", verified, "verify")
    console.post("/audit/proof", proof, "client", "act")
    console.post("/audit/evidence", evidence, "run")
    console.asking("/used/{ref_id}", used, "since", "until")


async def _audit_page(console: Console, request: Request, who: Visitor, asked: dict[str, str]) -> Response:
    app, actor, now = console.app, who.actor, console.app.clock.now()
    chain, wanted, window = await lists.audit_filter(app, actor, asked)
    window = replace(window, before=whole_number("before", asked.get("before")), limit=PER_PAGE)
    found = await disclosure.read_audit(app, actor, chain, window, wanted)
    record = await _record(console, who, chain, whole_number("record", asked.get("record")))
    known = await clients.list_clients(app, actor)

    def address(**changed: object) -> str:
        kept = {name: text for name, text in asked.items() if name not in ("record", *changed)}
        return "/console/audit?" + urlencode(kept | {name: text for name, text in changed.items() if text})

    ids = {UUID(text) for text in (*asked.values(), *_texts(record)) if _ID.match(text)}
    return console.page(
        request, "audit.html", who=who, asked=asked, found=found, record=record, address=address, clients=known,
        keys=await refs.list_refs(app, actor, chain) if chain else [], chain=chain,
        people=await operators.list_subjects(app, actor), outcomes=list(Outcome),
        events=sorted({event.value.partition(".")[0] + "." * ("." in event) for event in EventName}), runs=_RUNS,
        export=exported_as("audit", asked),
        spans={text: address(**({"since": "", "until": "", "before": ""} | span)) for text, span in days(now).items()},
        names={str(one): name for one, name in (await clients.names_of(app, actor, ids)).items()},
    )  # fmt: skip


async def _record(console: Console, who: Visitor, chain: ClientId | None, seq: int | None) -> ShownRecord | None:
    """Return one record of a chain."""
    if seq is None:
        return None
    window = RecordWindow(since_seq=seq, before=seq + 1, limit=1)
    found = (await disclosure.read_audit(console.app, who.actor, chain, window)).records
    if not found or found[0].seq != seq:
        raise NotFound("not_found")
    return found[0]


def _texts(record: ShownRecord | None) -> list[str]:
    if record is None:
        return []
    said = {**record.said, **record.said["fields"]}
    return [text for text in said.values() if isinstance(text, str)]
