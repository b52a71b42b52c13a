"""Evidence of SOP 5.2: what a signed bundle says of a connected account, and that nothing less is signed."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.audit.disclosure import sign_evidence
from byokeep.audit.log import public_keys
from byokeep.client.verify import read_keys, verify_evidence
from byokeep.core.audit import parse_line
from byokeep.core.errors import Conflict, Integrity
from byokeep.core.evidence import CONNECT, ITEMS_OF
from byokeep.core.model import Actor, Role
from tests.support.connect import Office
from tests.support.postgres_rows import pointed, points

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.connect",
]  # fmt: skip


async def signed(office: Office, sop: str) -> bytes:
    person = office.desk.people["auditor"].id
    actor = Actor(id=person, roles=frozenset({Role.AUDITOR}), clients=None, request_id=uuid4())
    return await sign_evidence(office.desk.stand.app, actor, UUID(sop))


def records_of(bundle: bytes) -> dict[str, dict[str, Any]]:
    """The records in a bundle, by event; the last of each."""
    statement = json.loads(base64.b64decode(json.loads(bundle)["payload"]))
    pieces = statement["predicate"]["pieces"]
    lines = [parse_line(line.encode()) for piece in pieces for line in piece["records"]]
    said = [{**json.loads(line.payload), "at": line.at_us / 1e6} for line in lines]
    return {record["event"]: record for record in said}


async def unsigned(office: Office, sop: str, item: str) -> None:
    """The run is incomplete for want of an item, and nobody signs it."""
    status = await office.desk.sop(sop)
    assert status["state"] == "incomplete"
    assert item in status["missing"]
    with pytest.raises(Conflict, match="sop_incomplete") as caught:
        await signed(office, sop)
    assert item in str(caught.value.fields["missing"])


@pytest.mark.req("R5.2-11", "R5.2-12", "R5.2-14")
async def test_the_bundle_says_what_was_written_and_who_answered(office: Office, tmp_path: Path) -> None:
    """The write with its place, version and the store's own request; the identity expected and observed, by what call,
    when, with what result. One byte changed does not verify; each item withheld in turn is not signed, nor is a check
    that is older than the tokens."""
    client = await office.client()
    done = await office.connected(client, "x")
    bundle, file, keys = await signed(office, done["sop"]), tmp_path / "bundle.json", tmp_path / "keys.txt"
    file.write_bytes(bundle)
    keys.write_text(str(await public_keys(office.desk.stand.app)))
    report = verify_evidence(file, read_keys(keys))
    assert report.complete
    assert set(report.onboarding.items) == set(ITEMS_OF[CONNECT])
    records = records_of(bundle)
    write, identity = records["tokens.stored"]["fields"], records["account.verified"]
    place = office.place(client, "x", done["account_id"], "tokens")
    assert (write["path"], write["version"]) == (place.path, 1)
    assert UUID(write["store_request"])
    said = identity["fields"]
    assert said["expected_id"] == said["observed_id"] == office.app.digest("2244994945")
    assert (said["endpoint"], said["verification"], said["version"]) == (
        office.app.logins["x"].identity.call.name,
        "first",
        1,
    )
    assert identity["outcome"] == "ok"
    assert abs(time.time() - identity["at"]) < 120
    file.write_bytes(bundle.replace(b"A", b"B", 1))
    with pytest.raises(Integrity):
        verify_evidence(file, read_keys(keys))
    for item in ITEMS_OF[CONNECT]:
        held = office.sql(pointed(done["sop"], item))
        for odd in ("NULL", "1", str(int(held) + 1000)):
            office.sql(points(done["sop"], item, odd))
            await unsigned(office, done["sop"], item)
        office.sql(points(done["sop"], item, held))
    assert await signed(office, done["sop"])


@pytest.mark.req("R5.2-12")
async def test_a_check_of_older_tokens_proves_nothing_of_newer_ones(office: Office) -> None:
    """The second run may not show the first one's check, nor a run a version later than what was checked."""
    client = await office.client()
    first = await office.connected(client, "x")
    second = await office.connected(client, "x")
    assert await signed(office, second["sop"])
    old, held = (office.sql(pointed(one["sop"], "identity_verification")) for one in (first, second))
    office.sql(points(second["sop"], "identity_verification", old))
    await unsigned(office, second["sop"], "identity_verification")
    office.sql(points(second["sop"], "identity_verification", held))
    later = "facts = facts || jsonb_build_object('version', 3)"
    office.sql(f"UPDATE byokeep.procedure_run SET {later} WHERE id = '{second['sop']}'")
    await unsigned(office, second["sop"], "identity_verification")
