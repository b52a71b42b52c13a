"""The surfaces under fuzzing: whatever is sent, the answer is one that docs/openapi/ describes."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from yarl import URL

from tests.support.surface import DOCUMENTS, surfaces
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]

pytestmark = pytest.mark.timeout(400)  # some ten seconds of work, on a busy machine minutes
SEED = 20260131
EACH = {schemathesis.GenerationMode.POSITIVE: 1, schemathesis.GenerationMode.NEGATIVE: 1}
ROLES = ("admin", "operator", "approver", "auditor", "dispatcher", "runner", "custodian")


def cases(document: dict[str, Any], number: int, times: int) -> list[Any]:
    """Requests that fit the document, and some that do not, of a seed; those that read come first."""
    made: list[Any] = []
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        for mode, count in EACH.items():

            @seed(number)
            @settings(
                max_examples=count * times, database=None, deadline=None, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(operation.as_strategy(generation_mode=mode))
            def collect(case: Any) -> None:
                made.append(case)

            with contextlib.suppress(Unsatisfiable):  # where nothing can be wrong, nothing wrong is made
                collect()
        assert any(case.operation.label == operation.label for case in made), operation.label
    return sorted(made, key=lambda case: case.method != "GET")


def requests_of(made: list[Any], known: dict[str, str], chance: random.Random) -> Iterator[requests.PreparedRequest]:
    """The cases as they go out; most name objects that are there, or routes would answer 404 alone."""
    for case in made:
        for name in case.path_parameters or {}:
            if name in known and chance.random() < 0.7:
                case.path_parameters[name] = known[name]
        if isinstance(case.body, dict) and "client_id" in case.body and chance.random() < 0.7:
            case.body["client_id"] = known["client_id"]
        sent = case.as_transport_kwargs(base_url="http://host")
        sent["headers"] = {name: sent["headers"][name] for name in ("Content-Type",) if name in sent["headers"]}
        yield requests.Request(**sent).prepare()


async def told(desk: Desk) -> dict[str, str]:
    """Ids of one object of each kind."""
    client = await desk.stand.client()
    done = await desk.onboard(client)
    desk.stand.account(client)
    job = await desk.stand.job(client)
    lease = (await desk.stand.lease(job))["lease_id"]
    permit = (await desk.stand.permit(lease))[1]["permit_id"]
    somebody = desk.stand.subject("operator", "somebody")
    return {
        "client_id": str(client), "ref_id": done["ref"], "sop_id": done["sop"], "job_id": str(job), "lease_id": lease,
        "permit_id": permit, "subject_id": str(somebody.id), "provider": "openai", "platform": "x", "where": "x",
        "account": "acme", "login": "x", "profile_id": str(uuid4()),
    }  # fmt: skip


async def fuzz(desk: Desk, process: str, number: int, times: int = 1) -> None:
    """Send the cases of a seed, each as somebody; every answer must be described, and none an error of ours."""
    document = json.loads((DOCUMENTS / f"{process}.json").read_text())
    known, chance = await told(desk), random.Random(number)
    http = desk.http if process == "web" else desk.stand.http
    statuses: dict[int, int] = {}
    for request in requests_of(cases(document, number, times), known, chance):
        who = chance.choice((*ROLES, None))
        # A connection each: the server closes one whose body it did not read to its end.
        headers = {**request.headers, "Connection": "close"}
        if who:
            headers["Authorization"] = f"Bearer {desk.people[who].token}"
        said = f"{request.method} {request.url} as {who}, seed {number}"
        url = URL(str(request.url), encoded=True)
        async with http.request(request.method or "", url, data=request.body, headers=headers) as reply:
            # A stream has no end: its first event is looked at.
            stream = reply.content_type == "text/event-stream"
            content = await (reply.content.readuntil(b"\n\n") if stream else reply.read())
        try:
            surfaces()[process].check(request.method or "", url.raw_path, reply.status, reply.content_type, content)
        except AssertionError as error:
            raise AssertionError(f"{error}; {said}") from None
        assert reply.status < 500 or json.loads(content)["code"] != "internal_error", said
        statuses[reply.status] = statuses.get(reply.status, 0) + 1
    assert {200, 401, 403, 404, 422} <= set(statuses), statuses


@pytest.mark.parametrize("process", ["web", "broker"])
async def test_no_answer_is_a_server_error_or_undocumented(desk: Desk, process: str) -> None:
    """Status, media type and body of every answer stand in the document, and none of them is an error of ours."""
    await fuzz(desk, process, SEED)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("process", ["web", "broker"])
async def test_no_answer_is_undocumented_in_a_long_run(desk: Desk, process: str) -> None:
    """The same with 45 times as many requests, of a seed that is new in every run."""
    await fuzz(desk, process, random.randrange(2**32), times=45)
