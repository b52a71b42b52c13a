"""Manifest and record of a sealed profile: what may be written, and that nothing else is read."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep.core.canonical import canonical_json
from byokeep.core.errors import Integrity, Rejected
from byokeep.core.identity import Face, IdentityVerdict, compare
from byokeep.core.manifest import (
    BROWSER_APP,
    MAX_ACCOUNTS,
    MAX_GENERATION,
    MAX_SIZE,
    ExpectedAccount,
    Manifest,
    Packing,
    parse_manifest,
)
from byokeep.core.model import API_PROVIDERS, PLATFORMS, ClientId, Environment, ProfileId, Provider
from byokeep.core.ref import KeyRef
from byokeep.core.sealed_record import SealedRecord, parse_record
from tests.support.advice import assert_advice
from tests.support.sealing import WRAPPED, account, manifest, record
from tests.vectors import make_sealed

VECTORS = Path(__file__).parents[1] / "vectors" / "sealed" / "manifests.json"
DOCUMENT: dict[str, Any] = json.loads(VECTORS.read_text(encoding="utf-8"))


def made_record(**changes: Any) -> SealedRecord:
    return replace(record(b"blob", packed_size=10, of=manifest(), dek_id=UUID(int=4)), **changes)


@pytest.mark.req("R5.3-10")
@pytest.mark.parametrize("case", DOCUMENT["manifests"], ids=lambda case: case["name"])
def test_vectors_of_manifests_hold(case: dict[str, Any]) -> None:
    """A manifest reads and writes back byte for byte and has its hash, or is refused in one way."""
    data = case["text"].encode()
    if "sha256" in case:
        found = parse_manifest(data)
        assert found.canonical == data
        assert found.hash.hex() == case["sha256"]
        return
    with pytest.raises(Integrity, match="manifest_unreadable") as caught:
        parse_manifest(data)
    assert caught.value.fields == {}


@pytest.mark.parametrize("case", DOCUMENT["records"], ids=lambda case: case["name"])
def test_vectors_of_records_hold(case: dict[str, Any]) -> None:
    """A record reads and writes back byte for byte, or is refused with the code of what is wrong."""
    data = case["text"].encode()
    if "refused" not in case:
        assert parse_record(data).canonical == data
        return
    with pytest.raises(Integrity, match=case["refused"]):
        parse_record(data)


def test_the_vectors_are_those_that_their_maker_makes() -> None:
    """No case was lost from the file."""
    assert json.loads(make_sealed.manifests_text()) == DOCUMENT
    assert sum("sha256" in case for case in DOCUMENT["manifests"]) == 3


names = st.none() | st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=40)
accounts = st.builds(
    ExpectedAccount, platform=st.sampled_from(sorted(PLATFORMS)),
    account=st.from_regex(r"[A-Za-z0-9_.-]{1,20}", fullmatch=True),
    account_id=st.from_regex(r"[!-~]{1,30}", fullmatch=True), username=names, display_name=names,
)  # fmt: skip


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    found = draw(st.lists(accounts, min_size=1, max_size=6, unique_by=lambda one: (one.platform, one.account)))
    found.sort(key=lambda one: (one.platform.value, one.account))
    return Manifest(
        environment=draw(st.sampled_from(Environment)), client_id=ClientId(draw(st.uuids())),
        profile_id=ProfileId(draw(st.uuids())), generation=draw(st.integers(1, 2**53 - 1)),
        platforms=tuple(sorted({one.platform for one in found})), accounts=tuple(found), created_by=draw(st.uuids()),
        created_at=draw(st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1))).replace(microsecond=0, tzinfo=UTC),  # noqa: DTZ001
        packing=draw(st.sampled_from(Packing)), browser_version="156.0.8078.79",
    )  # fmt: skip


@given(manifests(), manifests())
def test_any_manifest_comes_back_and_no_two_share_a_hash(one: Manifest, other: Manifest) -> None:
    """What was written reads as the same manifest; different ones have different bytes and hashes."""
    assert parse_manifest(one.canonical) == one
    assert (one == other) == (one.canonical == other.canonical) == (one.hash == other.hash)
    about = made_record(manifest=one)
    assert parse_record(about.canonical) == about


@given(manifests(), st.data())
def test_no_edited_manifest_is_read_as_the_same(one: Manifest, data: st.DataObject) -> None:
    """A byte put in, taken out or altered: refused, or another manifest with another hash."""
    text = bytearray(one.canonical)
    at = data.draw(st.integers(0, len(text) - 1))
    what = data.draw(st.sampled_from(["flip", "drop", "add"]))
    if what == "flip":
        text[at] ^= data.draw(st.integers(1, 255))
    elif what == "drop":
        del text[at]
    else:
        text.insert(at, data.draw(st.integers(0, 255)))
    if bytes(text) == one.canonical:
        return  # a doubled byte put in beside its like, then nothing changed
    found = None
    with suppress(Integrity):
        found = parse_manifest(bytes(text))
    assert found is None or (found.hash != one.hash and found.canonical == bytes(text))


@pytest.mark.req("R5.3-11")
def test_platforms_are_a_closed_list() -> None:
    """At least one, each once, sorted, and of the social platforms alone; by hand and from the vault."""
    every = tuple(sorted(PLATFORMS))
    assert manifest(platforms=every, accounts=tuple(account(platform=one) for one in every)).platforms == every
    for platforms in ((), (Provider.X, Provider.X), (Provider.X, Provider.META), ("myspace",), (Provider.OPENAI,)):
        with pytest.raises(Rejected, match="bad_manifest field=platforms"):
            manifest(platforms=platforms)
    for provider in API_PROVIDERS:
        with pytest.raises(Rejected, match="bad_manifest field=platform"):
            account(platform=provider)
    fields = json.loads(manifest().canonical)
    for platforms in ([], ["myspace"], ["openai"], ["X"], "x", ["x", "x"], [1], None):
        with pytest.raises(Integrity, match="manifest_unreadable"):
            parse_manifest(canonical_json(fields | {"platforms": platforms}))


@pytest.mark.req("R5.3-12")
def test_each_platform_has_the_account_that_is_expected() -> None:
    """No platform without an account, no account without its platform or id; by hand and from the vault."""
    two = (account(platform=Provider.META, account_id="m"), account(account_id="x"))
    both = manifest(platforms=(Provider.META, Provider.X), accounts=two)
    assert {one.platform: one.account_id for one in both.accounts} == {Provider.META: "m", Provider.X: "x"}
    for platforms, found in (
        ((Provider.META, Provider.X), two[:1]), ((Provider.META, Provider.X), two[1:]), ((Provider.X,), ()),
        ((Provider.X,), two), ((Provider.META, Provider.X), two[::-1]), ((Provider.X,), two[1:] * 2),
        ((Provider.X,), tuple(account(account=f"a{number:02}") for number in range(33))),
    ):  # fmt: skip
        with pytest.raises(Rejected, match="bad_manifest field=accounts"):
            manifest(platforms=platforms, accounts=found)
    for wrong in ("", " ", "a b", "ä", "x" * 257, "a\n"):
        with pytest.raises(Rejected, match="bad_manifest field=account_id"):
            account(account_id=wrong)
    fields = json.loads(both.canonical)
    for kept in ([], fields["accounts"][:1], fields["accounts"][1:], fields["accounts"][::-1]):
        with pytest.raises(Integrity, match="manifest_unreadable"):
            parse_manifest(canonical_json(fields | {"accounts": kept}))


def test_the_expected_account_is_compared_as_any_other() -> None:
    """The same id matches, another does not, and a name that changed is drift."""
    expected = account().fingerprint
    for account_id, username, verdict in (
        ("4711", "acme", IdentityVerdict.MATCH), ("4711", "other", IdentityVerdict.DRIFT),
        ("4712", "acme", IdentityVerdict.MISMATCH),
    ):  # fmt: skip
        seen = Face(account_id=account_id, username=username, display_name="Acme Büro")
        assert compare(expected, [seen], app_id=BROWSER_APP).verdict is verdict


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("generation", 0), ("generation", -1), ("generation", 2**53), ("generation", True), ("generation", 1.0),
        ("created_at", datetime(2026, 3, 1, 12)),  # noqa: DTZ001
        ("created_at", datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=1)))),
        ("created_at", datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC)),
        ("browser_version", "156"), ("browser_version", "156.0.8078.079"), ("browser_version", "156.0.8078.79\n"),
        ("browser_version", ""), ("browser_version", "156.0.8078.79; x"),
    ],
)  # fmt: skip
def test_a_manifest_holds_nothing_else(field: str, value: Any) -> None:
    """A field outside its form is refused by name, without its value."""
    with pytest.raises(Rejected, match=f"bad_manifest field={field}") as caught:
        manifest(**{field: value})
    assert caught.value.fields == {"field": field}


@pytest.mark.parametrize("name", ["", "a\nb", "a\x00", "\x85", "\u2028", "\ud800", "x" * 401])
def test_names_can_be_shown(name: str) -> None:
    """A name has any script, and no control or line characters, no half of a pair, no great length."""
    assert account(username="Ä ö 中 \U0001f600", display_name=None).display_name is None
    for field in ("username", "display_name"):
        with pytest.raises(Rejected, match=f"bad_manifest field={field}"):
            account(**{field: name})
    for wrong in ("", "a b", "a/b", "x" * 65):
        with pytest.raises(Rejected, match="bad_manifest field=account"):
            account(account=wrong)


def test_nothing_of_it_can_be_changed() -> None:
    """Manifest, account and record are frozen: what was hashed stays what it was."""
    for noun, field in ((manifest(), "generation"), (account(), "account_id"), (made_record(), "dek_id")):
        with pytest.raises(FrozenInstanceError):
            setattr(noun, field, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("wrapped_dek", ""), ("wrapped_dek", "x" * 43), ("wrapped_dek", "x" * 2049), ("wrapped_dek", WRAPPED + "\n"),
        ("wrapped_dek", WRAPPED + " "), ("kek", KeyRef("file", "k")), ("kek", KeyRef("transit", "../k")),
        ("kek_version", 0), ("kek_version", 2**31), ("blob_sha256", bytes(31)), ("blob_size", 0),
        ("blob_size", 2**46 + 1), ("packed_size", 0),
    ],
)  # fmt: skip
def test_a_record_holds_nothing_else(field: str, value: Any) -> None:
    """A field outside its form is refused by name."""
    with pytest.raises(Rejected, match=f"bad_sealed_record field={field}"):
        made_record(**{field: value})


def test_a_blob_lies_below_its_client() -> None:
    """The place follows from client, profile, generation and key; a record that names another place is not read."""
    about = made_record()
    place = f"clients/{UUID(int=1)}/profiles/{UUID(int=2)}/1-{UUID(int=4)}"
    assert about.blob_key == place
    fields = json.loads(about.canonical)
    assert all(isinstance(value, str) for value in fields.values())
    for other in (place.replace("0001/", "0009/"), "/" + place, place + "/", place.replace("/1-", "/2-"), ""):
        with pytest.raises(Integrity, match="sealed_record_unreadable"):
            parse_record(canonical_json(fields | {"blob_key": other}))


def test_the_largest_is_taken_and_no_larger_one() -> None:
    """Generation, number of accounts, length of names and of the whole: the limit is allowed, one more is refused."""
    assert manifest(generation=MAX_GENERATION).generation == MAX_GENERATION
    many = tuple(account(account=f"a{number:02}") for number in range(MAX_ACCOUNTS))
    assert len(manifest(platforms=(Provider.X,), accounts=many).accounts) == MAX_ACCOUNTS
    assert account(username="x" * 400, account="a" * 64, account_id="i" * 256).username == "x" * 400
    wide = tuple(
        account(account=f"a{number:02}", username="\U0001f600" * 400, display_name="\U0001f600" * 400)
        for number in range(MAX_ACCOUNTS)
    )
    with pytest.raises(Rejected, match=r"^bad_manifest field=size\b") as caught:
        manifest(platforms=(Provider.X,), accounts=wide)
    assert_advice(caught.value, "docs/spec/manifest.md")
    names = [["x", "x"] for _ in range(MAX_ACCOUNTS)]

    def named() -> Manifest:
        return manifest(
            platforms=(Provider.X,),
            accounts=tuple(account(account=f"a{n:02}", username=u, display_name=d) for n, (u, d) in enumerate(names)),
        )

    room = MAX_SIZE - len(named().canonical)
    for pair in names:
        for at in (0, 1):
            many_bytes = min(390, room // 4)
            pair[at] += "\U0001f600" * many_bytes
            room -= 4 * many_bytes
    names[-1][0] += "x" * room
    exact = named()
    assert len(exact.canonical) == MAX_SIZE
    assert parse_manifest(exact.canonical) == exact


@pytest.mark.parametrize("field", sorted(json.loads(manifest().canonical)))
def test_a_stored_manifest_has_every_field_in_its_form(field: str) -> None:
    """A field that is gone, of another type or spelling is unreadable, and the reader is told where to look."""
    fields = json.loads(manifest().canonical)
    for wrong in (..., None, 7, "", " ", [], {}, "X" * 40, [None], [{}]):
        changed = {name: value for name, value in fields.items() if name != field or wrong is not ...}
        changed |= {} if wrong is ... else {field: wrong}
        if changed == fields or (field == "generation" and wrong == 7):
            continue
        with pytest.raises(Integrity, match=r"^manifest_unreadable\b") as caught:
            parse_manifest(canonical_json(changed))
        assert_advice(caught.value, "who can write to the vault")
    for extra in (fields | {"more": 1}, {**fields, "accounts": [fields["accounts"][0] | {"more": 1}]}):
        with pytest.raises(Integrity, match=r"^manifest_unreadable\b"):
            parse_manifest(canonical_json(extra))
    with pytest.raises(Integrity, match=r"^manifest_unreadable\b"):
        parse_manifest(b"[" + b" " * MAX_SIZE)


@pytest.mark.parametrize("field", ["platform", "account", "account_id", "username", "display_name"])
def test_a_stored_account_has_every_field_in_its_form(field: str) -> None:
    """The same of each account; a name that a platform does not tell is null, and comes back as none."""
    fields = json.loads(manifest().canonical)
    [one] = fields["accounts"]
    for wrong in (..., 7, [], {}, ""):
        account_of = {name: value for name, value in one.items() if name != field}
        account_of |= {} if wrong is ... else {field: wrong}
        with pytest.raises(Integrity, match=r"^manifest_unreadable\b"):
            parse_manifest(canonical_json(fields | {"accounts": [account_of]}))
    if field in ("username", "display_name"):
        told = parse_manifest(canonical_json(fields | {"accounts": [one | {field: None}]}))
        assert getattr(told.accounts[0], field) is None


def test_a_manifest_says_which_profile_it_is() -> None:
    """Its place has its own environment, client, profile and generation, and no other one's."""
    one = manifest()
    place = one.place
    assert (place.environment, place.client_id, place.profile_id, place.generation) == (
        one.environment, one.client_id, one.profile_id, one.generation,
    )  # fmt: skip
