"""Which record counts as which item of a run: what it says decides, not the column that points to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from byokeep.core.canonical import canonical_json
from byokeep.core.evidence import CONNECT, ITEMS_OF, ONBOARD, PROFILE, WRITE
from byokeep.core.model import ClientId, SopId
from byokeep.core.procedure import Proof
from byokeep.kernel.sops import SOPS, SopRun
from tests.support.auditlog import ACTOR, ALICE, REF, SOP
from tests.support.procedures import VERSION, foreign, said_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WRITTEN, LATER = 5, 6
LACKING: dict[str, list[dict[str, Any]]] = {
    "leak_check_pass": [{".lines": 0}, {".found": 1}, {".lines": None}, {".found": None}],
    "identity_verification": [{".observed_id": "105"}, {".expected_id": None}],
    "runner_validation_proof": [{".observed_id": "105"}, {".expected_id": None}, {".screenshot": ""}],
}


def run_of(kind: str) -> SopRun:
    provider = "openai" if kind == ONBOARD else "x"
    return SopRun(
        id=SopId(SOP), client_id=ClientId(ALICE), procedure=kind, object_id=REF, revision=0, state="running", reason="",
        facts={"provider": provider, "version": VERSION}, evidence={WRITE: WRITTEN}, due_at=None, asked_by=ACTOR.id,
        started_by=ACTOR.id, started_at=NOW, closed_at=None, closed_by=None,
    )  # fmt: skip


def record_of(said: dict[str, Any], seq: int = LATER) -> Proof:
    """As the database gives it: columns beside the payload."""
    return Proof(
        seq=seq, event=said["event"], outcome=said["outcome"], object_id=UUID(said["object"]), at=NOW,
        payload=canonical_json(said), actor_id=ACTOR.id, hash=b"",
    )  # fmt: skip


def proves(kind: str, item: str, record: Proof) -> bool:
    return SOPS[kind].proves(run_of(kind), SOPS[kind].step(item), record)


@pytest.mark.req("R5.1-12", "R5.1-13", "R5.1-14", "R5.1-15")
@pytest.mark.parametrize(("kind", "item"), [(kind, item) for kind, items in ITEMS_OF.items() for item in items])
def test_an_item_is_proved_by_its_own_record_alone(kind: str, item: str) -> None:
    """Another event, outcome, client, object, version, provider or run, or columns that say something else than the
    payload, make no item; nor does a payload that lacks what the item is about, or is none."""
    good = record_of(said_of(kind, item))
    assert proves(kind, item, good)
    for change in foreign(kind, item) + LACKING.get(item, []):
        assert not proves(kind, item, record_of(said_of(kind, item, change))), change
    for twisted in (
        replace(good, event="job.opened"), replace(good, outcome="failed"), replace(good, object_id=SOP),
        replace(good, payload=b"{}"), replace(good, payload=b"[]"), replace(good, payload=b"x"),
    ):  # fmt: skip
        assert not proves(kind, item, twisted), twisted


def test_a_look_is_younger_than_what_was_written() -> None:
    """An identity check or a validation that stands before the write proves nothing of it."""
    for kind, item in ((CONNECT, "identity_verification"), (PROFILE, "runner_validation_proof")):
        for seq in (WRITTEN - 1, WRITTEN):
            assert not proves(kind, item, record_of(said_of(kind, item), seq))
