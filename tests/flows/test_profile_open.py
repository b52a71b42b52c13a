"""A sealed profile is opened as what was sealed, by one opener, or not at all; and proved to be the right account's."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock
from uuid import UUID

import pytest

from byokeep.core.canonical import canonical_json
from byokeep.core.errors import Rejected, Unavailable
from byokeep.core.kek import KeyContext
from byokeep.core.model import ClientId, Environment, ProfileId
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import parse_record
from byokeep.sealing import sealer
from tests.support.vault import Vault

pytest_plugins = [
    "tests.support.postgres_fixtures",
    "tests.support.broker",
    "tests.support.web",
    "tests.support.vault",
]

SEGMENT = 1 << 20  # bytes of sealed text (docs/spec/sealed-blob.md)


@pytest.mark.req("R5.3-16")
async def test_a_validation_changes_nothing(vault: Vault) -> None:
    """Blob, record and version stay as they are, nothing was sealed, no permit given; two openers are too many."""
    client, profile = await vault.sealed(session=b"the session" * 1000)
    (blob,) = vault.blobs()
    before, record = blob.read_bytes(), await vault.record(client, profile)
    assert await vault.done(profile, "validate") == "valid"
    assert vault.script.opened[-1] == b"the session" * 1000
    assert vault.state(profile) == "valid/1"
    assert [one.read_bytes() for one in vault.blobs()] == [before]
    assert await vault.record(client, profile) == record
    assert len(vault.events("profile.seal")) == 1
    shown = (await vault.call("GET", f"/v1/profiles/{profile}"))[1]
    sha256 = vault.proofs.kept[-1].sha256
    file = f"{client}/{profile}/1-{sha256}.png"  # as ProofFiles names it
    assert shown["proofs"] == [{"platform": "x", "generation": 1, "sha256": sha256, "file": file}]
    assert not vault.events("permit.issued")
    assert vault.sql("SELECT count(*) FROM byokeep.permit") == "0"
    # While one has it open, another is told so.
    vault.script.pause = asyncio.Event()
    work = await vault.ask(profile, "validate")
    doing = asyncio.create_task(vault.do(profile, work))
    await _opened(vault, profile)
    assert (await vault.call("POST", f"/v1/profiles/{profile}/validate"))[0] == 409
    vault.sql(f"UPDATE byokeep.profile_work SET state = 'done', ended_at = now() WHERE id = '{work}'")
    other = await vault.ask(profile, "validate")
    assert await vault.do(profile, other) == "profile_in_use"
    vault.script.pause.set()
    await doing


async def _opened(vault: Vault, profile: UUID) -> None:
    for _ in range(200):
        found = vault.sql(f"SELECT until > now() FROM byokeep.profile_opening WHERE profile_id = '{profile}'")
        if found == "t" and vault.script.opened:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it was not opened")


@pytest.mark.req("R5.3-17", "R6.3-3")
@pytest.mark.parametrize(
    ("shows", "cause"),
    [
        (("mismatch", "other_id", "evil"), "other_id"),
        (("mismatch", "logged_out", None), "logged_out"),
        (("mismatch", "challenge", None), "challenge"),
        (("mismatch", "ambiguous", None), "ambiguous"),
        (("match", "same", "evil"), "other_id"),  # the record expects another account than is registered
    ],
)
async def test_whoever_is_not_the_account_takes_the_lane_with_him(
    vault: Vault, shows: tuple[str, str, str | None], cause: str
) -> None:
    """Another account on any platform, a logged-out page, a challenge, an unclear one: lanes off, quarantined, on
    record."""
    client, profile = await vault.valid("tiktok", "x")  # the first shows the right account
    vault.sql(f"UPDATE byokeep.platform_account SET lanes = '{{api,browser}}' WHERE client_id = '{client}'")
    vault.script.shows["x"] = shows
    assert await vault.done(profile, "validate") == "other_account"
    assert vault.state(profile) == "quarantined/1"
    assert vault.sql(f"SELECT DISTINCT lanes FROM byokeep.platform_account WHERE client_id = '{client}'") == "{api}"
    said = json.loads(vault.events("profile.validated", "failed")[-1])["fields"]
    assert (said["cause"], said["platform"]) == (cause, "x")
    assert "profile_quarantined" in vault.desk.stand.alerts()
    opened = vault.sql("SELECT kind, source, object_kind, object_id FROM byokeep.incident")
    assert opened == (f"lockout|platform|profile|{profile}" if cause == "challenge" else "")
    assert (await vault.call("POST", f"/v1/profiles/{profile}/validate"))[0] == 409


async def test_a_page_that_can_not_be_reached_or_photographed_proves_nothing(vault: Vault) -> None:
    """The proof fails, and the profile stays as it was: nothing is known against it."""
    _, profile = await vault.sealed()
    vault.script.shows["x"] = ("unknown", "unreachable", None)
    assert await vault.done(profile, "validate") == "identity_unchecked"
    vault.script.shows.clear()
    vault.script.proof = Rejected("page_not_allowed")
    assert await vault.done(profile, "validate") == "page_not_allowed"
    assert vault.state(profile) == "sealed/1"
    assert not vault.proofs.kept
    assert len(vault.events("profile.validated", "failed")) == 2


@pytest.mark.req("R5.3-4")
async def test_record_key_and_blob_are_all_needed_and_named_when_they_lack(vault: Vault) -> None:
    """Each of the three taken away: a reason of its own, an alert, nothing visible in the room."""
    for missing, take in (("manifest_missing", _no_record), ("dek_missing", _no_key), ("blob_missing", _no_blob)):
        client, profile = await vault.sealed()
        await take(vault, client, profile)
        seen = len(vault.rooms.visible)
        assert await vault.done(profile, "validate") == missing
        assert len(vault.rooms.visible) == seen
        assert vault.state(profile) == "quarantined/1"
        assert (
            vault.sql(
                f"SELECT count(*) FROM byokeep.alert WHERE object_id = '{profile}' AND reason = 'profile_integrity'"
            )
            == "1"
        )


async def _no_record(vault: Vault, client: UUID, profile: UUID) -> None:
    ref = ProfileRef(ClientId(client), profile)
    async with vault.custody(client, profile) as held:
        await held.destroy(ref, [await held.newest(ref)])


async def _no_key(vault: Vault, client: UUID, profile: UUID) -> None:
    said = json.loads(await vault.record(client, profile))
    del said["wrapped_dek"]
    await vault.put_record(client, profile, canonical_json(said))


async def _no_blob(vault: Vault, client: UUID, profile: UUID) -> None:
    for blob in vault.blobs(client):
        blob.unlink()


@pytest.mark.req("R5.3-14")
@pytest.mark.parametrize(
    "edit",
    [
        ("client_id", "00000000-0000-4000-8000-000000000000"),
        ("profile_id", "00000000-0000-4000-8000-000000000000"),
        ("generation", 2),
        ("platforms", ["skool"]),
        ("accounts", []),
        ("packing", "full"),
        ("environment", "production"),
        ("created_by", "00000000-0000-4000-8000-000000000000"),
        ("created_at", "2020-01-01T00:00:00Z"),
        ("browser_version", "1.2.3.4"),
    ],
)
async def test_an_edited_manifest_opens_nothing(vault: Vault, edit: tuple[str, object]) -> None:
    """Any field of the manifest in the store: one and the same refusal, and nothing visible."""
    client, profile = await vault.sealed()
    said = json.loads(await vault.record(client, profile))
    manifest = json.loads(said["manifest"])
    manifest[edit[0]] = edit[1]
    said["manifest"] = canonical_json(manifest).decode()
    await vault.put_record(client, profile, canonical_json(said))
    assert await vault.done(profile, "validate") == "sealed_profile_altered"
    assert not vault.rooms.visible
    assert vault.state(profile) == "quarantined/1"


@pytest.mark.req("S-NIST-19", "S-OWASP-22")
async def test_a_wrapped_key_that_came_back_damaged_is_seen_before_its_first_use(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flipped character, a good wrap of another key, that of the generation before: the header's commitment tells,
    nothing is opened, no byte is tried with that key, and it is told."""
    client, profile = await vault.valid()
    before = json.loads(await vault.record(client, profile))["wrapped_dek"]
    assert await vault.done(profile, "rekey") == "rekeyed"
    said = json.loads(await vault.record(client, profile))
    good = said["wrapped_dek"]
    head, _, body = good.rpartition(":")
    async with vault.custody(client, profile) as held:
        context = KeyContext(
            environment=Environment.DEVELOPMENT, client_id=ClientId(client), profile_id=ProfileId(profile)
        )
        another = (await held.keys.wrap(vault.app.sealer.new_dek(), context)).ciphertext
    flipped = f"{head}:{body[:20]}{'A' if body[20] != 'A' else 'B'}{body[21:]}"
    seen, aead = len(vault.rooms.visible), Mock(wraps=sealer.stream_aead)
    monkeypatch.setattr(sealer, "stream_aead", aead)
    for number, wrapped in enumerate((flipped, another, before)):
        await vault.put_record(client, profile, canonical_json(said | {"wrapped_dek": wrapped}))
        assert await vault.done(profile, "validate") == "sealed_profile_altered", number
        assert (len(vault.rooms.visible), aead.call_count) == (seen, 0)
        assert vault.state(profile) == "quarantined/2"
        assert "profile_integrity" in vault.desk.stand.alerts()
        vault.sql("UPDATE byokeep.profile SET state = 'sealed', reason = ''")
        vault.sql("UPDATE byokeep.alert SET closed_at = now(), closed_by = id")
    assert vault.sql("SELECT key_state FROM byokeep.profile_generation WHERE generation = 2") == "active"
    await vault.put_record(client, profile, canonical_json(said))
    assert await vault.done(profile, "validate") == "valid"
    assert aead.called


@pytest.mark.req("R5.3-14")
async def test_a_row_that_was_edited_to_fit_does_not_help(vault: Vault) -> None:
    """The database's copies follow an edited manifest: the binding is in the blob itself. A name that was edited alone
    is not what the profile must show."""
    client, profile = await vault.sealed()
    vault.sql("UPDATE byokeep.platform_account SET username = 'evil'")
    assert await vault.done(profile, "validate") == "valid"
    assert {(one.account_id, one.username) for one in vault.script.looks} == {("acme", "acme")}
    seen = len(vault.rooms.visible)
    said = json.loads(await vault.record(client, profile))
    manifest = json.loads(said["manifest"])
    manifest["accounts"][0]["account_id"] = "evil"
    said["manifest"] = canonical_json(manifest).decode()
    await vault.put_record(client, profile, canonical_json(said))
    forged = parse_record(canonical_json(said)).manifest.hash.hex()
    vault.sql(f"UPDATE byokeep.profile_generation SET manifest_hash = '\\x{forged}' WHERE profile_id = '{profile}'")
    vault.sql("UPDATE byokeep.platform_account SET account = 'evil'")
    assert await vault.done(profile, "validate") == "sealed_profile_altered"
    assert len(vault.rooms.visible) == seen


@pytest.mark.req("R5.3-15")
async def test_swaps_are_caught_and_both_are_out_of_use(vault: Vault) -> None:
    """Blobs, keys, manifests and records swapped between two clients' profiles and two of one client: refused, and
    both out of use, with an alert that names each."""
    for swap in (_swap_blobs, _swap_keys, _swap_manifests, _swap_records):
        for together in (False, True):
            client, one = await vault.sealed()
            if together:
                other_client, other = client, await vault.create(client, "tiktok")
                assert await vault.log_in(other) == "sealed"
            else:
                other_client, other = await vault.sealed()
            await swap(vault, (client, one), (other_client, other))
            seen = len(vault.rooms.visible)
            assert await vault.done(one, "validate") == "sealed_profile_altered", swap.__name__
            if swap in (_swap_keys, _swap_manifests):  # a part alone leads to nobody: the other is found when opened
                assert await vault.done(other, "validate") == "sealed_profile_altered"
            assert len(vault.rooms.visible) == seen
            assert (vault.state(one), vault.state(other)) == ("quarantined/1", "quarantined/1"), swap.__name__
            named = vault.sql("SELECT object_id FROM byokeep.alert WHERE reason = 'profile_integrity'").splitlines()
            assert {str(one), str(other)} <= set(named)


@pytest.mark.req("R5.3-15")
@pytest.mark.parametrize("part", ["wrapped_dek", "manifest"])
async def test_parts_of_another_generation_are_caught(vault: Vault, part: str) -> None:
    """The key or the manifest of the generation before, in the newest one's record: refused, nothing visible."""
    client, profile = await vault.sealed()
    old = json.loads(await vault.record(client, profile))
    assert await vault.done(profile, "rekey") == "rekeyed"
    new = json.loads(await vault.record(client, profile))
    assert new[part] != old[part]
    await vault.put_record(client, profile, canonical_json(new | {part: old[part]}))
    seen = len(vault.rooms.visible)
    assert await vault.done(profile, "validate") == "sealed_profile_altered"
    assert (len(vault.rooms.visible), vault.state(profile)) == (seen, "quarantined/2")


Place = tuple[UUID, UUID]


async def _swap_blobs(vault: Vault, one: Place, other: Place) -> None:
    (first,), (second,) = [[at for at in vault.blobs(of[0]) if str(of[1]) in str(at)] for of in (one, other)]
    mine, theirs = first.read_bytes(), second.read_bytes()
    _overwrite(first, theirs)
    _overwrite(second, mine)


async def _swap_keys(vault: Vault, one: Place, other: Place) -> None:
    await _swap_parts(vault, one, other, "wrapped_dek")


async def _swap_manifests(vault: Vault, one: Place, other: Place) -> None:
    await _swap_parts(vault, one, other, "manifest")


async def _swap_parts(vault: Vault, one: Place, other: Place, part: str) -> None:
    mine, theirs = json.loads(await vault.record(*one)), json.loads(await vault.record(*other))
    mine[part], theirs[part] = theirs[part], mine[part]
    await vault.put_record(*one, canonical_json(mine))
    await vault.put_record(*other, canonical_json(theirs))


async def _swap_records(vault: Vault, one: Place, other: Place) -> None:
    mine, theirs = await vault.record(*one), await vault.record(*other)
    await vault.put_record(*one, theirs)
    await vault.put_record(*other, mine)


def _overwrite(place: Path, data: bytes) -> None:
    place.unlink()
    place.write_bytes(data)
    place.chmod(0o600)


@pytest.mark.req("R5.3-15")
async def test_a_blob_of_an_older_generation_is_not_the_newest(vault: Vault) -> None:
    """The older blob under the newer one's name is refused."""
    client, profile = await vault.sealed()
    (old,) = vault.blobs(client)
    content = old.read_bytes()
    assert await vault.done(profile, "rekey") == "rekeyed"
    (new,) = [blob for blob in vault.blobs(client) if blob != old]
    _overwrite(new, content)
    assert await vault.done(profile, "validate") == "sealed_profile_altered"


@pytest.mark.req("R5.3-24")
async def test_an_older_record_that_was_put_back_is_refused(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifest and key of the generation before, as the newest version again: superseded, an alert, out of use. Where
    nobody can say which version is the newest nothing is opened."""
    client, profile = await vault.sealed()
    old = await vault.record(client, profile)
    assert await vault.done(profile, "rekey") == "rekeyed"
    ref = ProfileRef(ClientId(client), profile)
    async with vault.custody(client, profile) as held:
        await held.write(ref, old, cas=await held.newest(ref))

    async def away(*_: object) -> int:
        raise Unavailable("store_unreachable")

    with monkeypatch.context() as patched:
        patched.setattr(type(held), "newest", away)
        seen = len(vault.rooms.visible)
        assert await vault.done(profile, "validate") == "store_unreachable"
        assert len(vault.rooms.visible) == seen
    assert await vault.done(profile, "validate") == "superseded"
    assert vault.state(profile) == "quarantined/2"
    assert "profile_integrity" in vault.desk.stand.alerts()


@pytest.mark.req("R5.3-24")
async def test_rows_that_were_put_back_open_no_older_generation(vault: Vault) -> None:
    """A seal that was cut leaves a newer record without a row, and the older generation opens. Rows that were taken
    away leave the same in the store: it is out of use, with an alert."""
    _, profile = await vault.sealed()
    assert await vault.done(profile, "rekey") == "rekeyed"
    other, cut = await vault.sealed()
    first, place = parse_record(await vault.record(other, cut)), ProfileRef(ClientId(other), cut)
    left = replace(first, manifest=replace(first.manifest, generation=2))
    async with vault.custody(other, cut) as held:
        await held.write(place, left.canonical, cas=await held.newest(place))
    assert await vault.done(cut, "validate") == "valid"
    assert "profile_integrity" not in vault.desk.stand.alerts()
    shown = len(vault.rooms.visible)
    vault.sql(
        "BEGIN; SET LOCAL session_replication_role = replica;"
        f"DELETE FROM byokeep.profile_generation WHERE profile_id = '{profile}' AND generation = 2;"
        f"UPDATE byokeep.profile_generation SET key_state = 'active' WHERE profile_id = '{profile}';"
        f"UPDATE byokeep.profile SET generation = 1, validated_generation = 1, state = 'valid' WHERE id = '{profile}';"
        "COMMIT"
    )
    assert await vault.done(profile, "validate") == "generation_rolled_back"
    assert vault.state(profile) == "quarantined/1"
    assert "profile_integrity" in vault.desk.stand.alerts()
    assert len(vault.rooms.visible) == shown


async def test_a_flipped_byte_anywhere_opens_nothing(vault: Vault) -> None:
    """Header, start, middle and end of the blob: refused, nothing visible."""
    client, profile = await vault.sealed(session=b"\0" * 3_000_000)
    (blob,) = vault.blobs(client)
    good = blob.read_bytes()
    for at in (0, 9, 20, 60, len(good) // 2, len(good) - 1):
        bad = bytearray(good)
        bad[at] ^= 1
        _overwrite(blob, bytes(bad))
        vault.sql(f"UPDATE byokeep.profile SET state = 'sealed', reason = '' WHERE id = '{profile}'")
        assert await vault.done(profile, "validate") == "sealed_profile_altered", at
    assert not vault.rooms.visible


@pytest.mark.req("R5.3-22")
async def test_a_stream_that_was_cut_swapped_repeated_or_added_to_opens_nothing(vault: Vault) -> None:
    """At each boundary of the blob's segments: the work fails, nothing becomes visible, no browser starts."""
    client, profile = await vault.sealed(session=secrets.token_bytes(4_200_000))
    (blob,) = vault.blobs(client)
    good = blob.read_bytes()
    segments = [good[at : at + SEGMENT] for at in range(0, len(good), SEGMENT)]
    assert len(segments) >= 5
    bad = [b"".join(segments[:count]) for count in range(len(segments))]
    bad += [good[:at] for at in (80, 81, len(good) - 1)]
    first, second, third, *rest = segments
    bad += [
        b"".join([first, third, second, *rest]), b"".join([first, second, second, third, *rest]),
        b"".join([*segments, segments[-1]]), good + b"\0", b"".join([*segments, second]),
    ]  # fmt: skip
    browsers = len(vault.script.opened)
    for number, content in enumerate(bad):
        _overwrite(blob, content)
        vault.sql(f"UPDATE byokeep.profile SET state = 'sealed', reason = '' WHERE id = '{profile}'")
        assert await vault.done(profile, "validate") == "sealed_profile_altered", number
        assert (await vault.show(profile))["work"]["state"] == "failed"
    assert not vault.rooms.visible
    assert vault.rooms.aborted == len(bad)
    assert len(vault.script.opened) == browsers
    _overwrite(blob, good)
    vault.sql(f"UPDATE byokeep.profile SET state = 'sealed', reason = '' WHERE id = '{profile}'")
    assert await vault.done(profile, "validate") == "valid"


async def test_what_can_not_be_asked_changes_nothing(vault: Vault) -> None:
    """The artifact store away: unavailable, and the profile stays in use."""
    _, profile = await vault.sealed()
    vault.artifacts.rename(vault.artifacts.with_name("away"))
    vault.artifacts.write_text("not a directory")
    try:
        assert await vault.done(profile, "validate") == "artifact_store_unavailable"
    finally:
        vault.artifacts.unlink()
        vault.artifacts.with_name("away").rename(vault.artifacts)
    assert vault.state(profile) == "sealed/1"
    assert await vault.done(profile, "validate") == "valid"
