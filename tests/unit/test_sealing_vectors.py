"""Sealed blobs, named for their defect: each is refused in the same words, and nothing of it is visible."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidTag

from byokeep.core.canonical import canonical_json
from byokeep.core.errors import Integrity
from byokeep.core.manifest import RecordPlace, parse_manifest
from byokeep.core.model import ClientId, Environment, ProfileId
from byokeep.core.secret import Secret
from byokeep.sealing.sealer import open_into
from tests.support.sealed import drawn, edited, opens_as_gcm
from tests.support.sealed_recipes import blob_of, sealing_of
from tests.support.sealing import Sink, record
from tests.vectors import make_sealed

VECTORS = Path(__file__).parents[1] / "vectors" / "sealed" / "cases.json"
DOCUMENT: dict[str, Any] = json.loads(VECTORS.read_text(encoding="utf-8"))
FIELDS: dict[str, Any] = json.loads(DOCUMENT["manifest"])


@cache
def blob(name: str) -> bytes:
    made = blob_of(DOCUMENT["blobs"][name], FIELDS)
    assert hashlib.sha256(made).hexdigest() == DOCUMENT["blobs"][name]["sha256"]
    return made


def place_of(fields: dict[str, Any]) -> RecordPlace:
    return RecordPlace(
        environment=Environment(fields["environment"]), client_id=ClientId(UUID(fields["client_id"])),
        profile_id=ProfileId(UUID(fields["profile_id"])), generation=fields["generation"],
    )  # fmt: skip


async def opened(case: dict[str, Any], sink: Sink) -> None:
    recipe = DOCUMENT["blobs"][case["blob"]]
    edit = [make_sealed.zeros() if part == "zeros" else part for part in case.get("edit", ["cut", None])]
    data = edited(blob(case["blob"]), edit)
    # The record agrees with what is presented in all that needs no key: the seal alone must refuse it.
    about = record(
        data, packed_size=case.get("packed", recipe["packed"])[1],
        of=parse_manifest(canonical_json(FIELDS | case.get("manifest", {}))),
        dek_id=UUID(case.get("dek_id", recipe["dek_id"])),
    )  # fmt: skip
    dek = Secret(drawn(case.get("dek", recipe["dek"]), 32))
    await open_into(io.BytesIO(data), sink, dek=dek, record=about, place=place_of(FIELDS | case.get("place", {})))


def test_the_vectors_are_those_that_their_maker_makes() -> None:
    """Each case of the maker is in the file and none else, so that no defect is lost."""
    assert DOCUMENT["cases"] == json.loads(make_sealed.text())["cases"]
    assert len(DOCUMENT["cases"]) > 80
    assert sum(case["opens"] for case in DOCUMENT["cases"]) == 4


@pytest.mark.req("S-GCM-3", "S-GCM-5", "S-GCM-7", "S-GCM-12")
@pytest.mark.parametrize("case", DOCUMENT["cases"], ids=lambda case: case["name"])
async def test_vectors_hold(case: dict[str, Any]) -> None:
    """A good blob is visible once and whole; every other is refused in the same words, aborted, nothing visible."""
    sink = Sink()
    if case["opens"]:
        await opened(case, sink)
        assert sink.ends == ["commit"]
        packed = sealing_of(DOCUMENT["blobs"][case["blob"]], FIELDS).packed
        free = slice(7, 23) if "two keys" in case["name"] else slice(0, 0)  # the block that makes both tags agree
        assert sink.visible is not None
        assert (sink.visible[: free.start], sink.visible[free.stop :]) == (packed[: free.start], packed[free.stop :])
        return
    with pytest.raises(Integrity) as caught:
        await opened(case, sink)
    assert sink.ends == ["abort"]
    assert sink.visible is None
    # What came before the refusal is of segments that were good: of a blob of one segment nothing.
    assert sealing_of(DOCUMENT["blobs"][case["blob"]], FIELDS).packed.startswith(bytes(sink.came))
    assert case["blob"] != "small" or not sink.came
    refused = caught.value
    assert (refused.code, refused.fields, refused.exit_code) == ("sealed_blob_unreadable", {}, 5)
    assert refused.next_step == "The blob is quarantined. See who can write to its store."
    assert refused.__cause__ is None


@pytest.mark.req("S-GCM-8")
async def test_a_blob_that_is_good_under_two_keys_opens_under_none_but_the_one_it_commits_to() -> None:
    """One ciphertext whose tag holds under both keys: AES-GCM opens it twice, we refuse the key not committed to."""
    for name, opens in (("two keys, commitment of the first", True), ("two keys, commitment of neither", False)):
        recipe = DOCUMENT["blobs"][name]
        one = sealing_of(recipe, FIELDS)
        two = replace(one, dek=drawn(recipe["second"], 32), commitment=one.header[-32:])
        first, second = (opens_as_gcm(blob(name), sealing, FIELDS) for sealing in (one, two))
        assert first != second
        assert len(first) == len(second)
        with pytest.raises(InvalidTag):  # and the test of it can fail
            opens_as_gcm(edited(blob(name), ["flip", -20, 1]), one, FIELDS)
        for dek, good in ((recipe["dek"], opens), (recipe["second"], False)):
            sink = Sink()
            if good:
                await opened({"blob": name, "dek": dek}, sink)
                assert sink.visible is not None
                continue
            with pytest.raises(Integrity, match="sealed_blob_unreadable"):
                await opened({"blob": name, "dek": dek}, sink)
            assert sink.visible is None
