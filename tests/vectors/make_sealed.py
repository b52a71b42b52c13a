"""Writes the vectors of sealed profiles: ``python -m tests.vectors.make_sealed``.

Blobs are described, not stored: they have several segments of 1 MiB, and the second implementation of the format
(tests/support/sealed.py) makes them from the description. Their digests are stored.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from byokeep.core.canonical import canonical_json
from tests.support.sealed import OUTER, SEGMENT
from tests.support.sealed_recipes import blob_of

PLACE = Path(__file__).parent / "sealed"
FIELDS: dict[str, Any] = {
    "format": "byokeep-profile-manifest/1", "environment": "production",
    "client_id": "11111111-1111-4111-8111-111111111111", "profile_id": "22222222-2222-4222-8222-222222222222",
    "generation": 7, "platforms": ["linkedin", "x"],
    "accounts": [
        {"platform": "linkedin", "account": "acme", "account_id": "urn:li:person:AbC", "username": None,
         "display_name": "Acme Büro"},
        {"platform": "x", "account": "acme-de", "account_id": "4711", "username": "acme_de", "display_name": "Acme"},
    ],
    "created_by": "33333333-3333-4333-8333-333333333333", "created_at": "2026-03-01T12:00:00Z",
    "packing": "portable", "browser_version": "156.0.8078.79",
}  # fmt: skip
OTHER_ID = "44444444-4444-4444-8444-444444444444"
FULL = SEGMENT - 40 - 16 - 30  # bytes packed: with the frame's own, all that the first segment holds
LARGE = 2 * SEGMENT + 300_000  # bytes packed: three segments


def blobs() -> dict[str, dict[str, Any]]:
    """How each blob is made. ``dek`` and the rest are names that bytes are drawn from."""
    small = {"dek": "dek one", "dek_id": "55555555-5555-4555-8555-555555555555", "salt": "salt", "inner": "inner",
             "prefix": "prefix", "packed": ["content", 300]}  # fmt: skip
    large = small | {"salt": "salt of large", "packed": ["large content", LARGE]}
    return {
        "small": small,
        "large": large,
        "one full segment": small | {"packed": ["full", FULL]},
        "one full segment, and an empty one": small | {"packed": ["full", FULL], "empty_last": True},
        "large, last flag on the second segment": large | {"last_at": 1},
        "large, last flag on the first segment": large | {"last_at": 0},
        "large, no last flag": large | {"last_at": 99},
        "lower version, all else right": small | {"version": 0},
        "higher version, all else right": small | {"version": 2},
        "unknown suite, all else right": small | {"suite": 2},
        "commitment of nobody": small | {"commitment": "nobody"},
        "two keys, commitment of the first": small | {"second": "dek two"},
        "two keys, commitment of neither": small | {"second": "dek two", "commitment": "neither"},
        "no frame": small | {"frame": "00" * 40},
        "frame cut short": small | {"frame_cut": 40},
        "frame followed by something": small | {"frame_more": "0011223344556677"},
        "more than was packed": small | {"packed": ["content", 301]},
        "less than was packed": small | {"packed": ["content", 299]},
        "nothing packed": small | {"frame": "28b52ffd0058010000"},
    }  # fmt: skip


def cases() -> list[dict[str, Any]]:
    """Which blob, what is done to it, and as what it is opened; all but the first three are refused."""
    end = OUTER + SEGMENT
    good = ("small", "large", "one full segment")
    found: list[dict[str, Any]] = [{"name": name, "blob": name, "opens": True} for name in good]

    def add(name: str, blob: str = "small", **more: Any) -> None:
        found.append({"name": name, "blob": blob, "opens": False, **more})

    for size in (0, 1, 8, 79, 80, 81, 119, 120, 121, 200, -1):
        add(f"small cut at {size}", edit=["cut", size])
    for size in (end - 1, end, end + 1, end + SEGMENT // 2, end + SEGMENT - 1, end + SEGMENT, end + SEGMENT + 1, -1):
        add(f"large cut at {size}", "large", edit=["cut", size])
    for name, order in {
        "segments swapped, first two": [1, 0, 2], "segments swapped, last two": [0, 2, 1],
        "first repeated": [0, 0, 1, 2],
        "second repeated": [0, 1, 1, 2], "last repeated": [0, 1, 2, 2], "first dropped": [1, 2],
        "second dropped": [0, 2], "all twice": [0, 1, 2, 0, 1, 2],
    }.items():  # fmt: skip
        add(name, "large", edit=["order", order])
    add("byte appended", edit=["append", "00"])
    add("byte appended to large", "large", edit=["append", "00"])
    add("a segment of zeros appended", "large", edit=["append", "zeros"])
    for size in (4, 8, 12):
        add(f"tag of {size} bytes", edit=["cut", size - 16])
    add("first bytes missing", edit=["cut_front", 1])
    for name, at, data in (
        ("another magic", 0, "42594f4b5345414c"[:-2] + "4d"), ("version zero", 8, "0000"), ("version two", 8, "0002"),
        ("suite zero", 10, "0000"), ("suite two", 10, "0002"), ("reserved bits", 12, "00000001"),
        ("another salt", 16, "00"), ("another commitment", 48, "00"), ("inner header longer", 80, "29"),
        ("inner salt altered", 81, "00"), ("nonce prefix altered", 113, "00"), ("tag altered", -1, "00"),
    ):  # fmt: skip
        add(name, edit=["put", at, data])
    for field, value in {
        "environment": "staging", "client_id": OTHER_ID, "profile_id": OTHER_ID, "generation": 6,
        "created_by": OTHER_ID, "created_at": "2026-03-01T12:00:01Z", "packing": "full",
        "browser_version": "156.0.8078.80",
    }.items():  # fmt: skip
        add(f"manifest of another {field}", manifest={field: value})
        if field in ("environment", "client_id", "profile_id", "generation"):
            add(f"asked for another {field}", place={field: value})
            add(f"asked for another {field}, manifest agrees", manifest={field: value}, place={field: value})
    add("rolled back: the manifest is of the generation before, blob and question are not", manifest={"generation": 6})
    add("rolled back: blob and manifest are of this generation, the next is asked for", place={"generation": 8})
    first, second = FIELDS["accounts"]
    add("another account expected", manifest={"accounts": [{**first, "account_id": "other"}, second]})
    add("another key", dek="dek two")
    add("another id of the key", dek_id=OTHER_ID)
    for name, recipe in list(blobs().items())[3:]:
        said = ["content", 300] if recipe["packed"][0] == "content" else recipe["packed"]
        add(name, name, packed=said)
    add("two keys, commitment of the first, opened with the second", "two keys, commitment of the first", dek="dek two")
    add("two keys, commitment of neither, opened with the second", "two keys, commitment of neither", dek="dek two")
    return [one | ({"opens": True} if one["name"] == "two keys, commitment of the first" else {}) for one in found]


def zeros() -> str:
    """What ``zeros`` in a case stands for: a segment of zero bytes, in hex."""
    return "00" * SEGMENT


def text() -> str:
    """The file."""
    described = blobs()
    for recipe in described.values():
        recipe["sha256"] = hashlib.sha256(blob_of(recipe, FIELDS)).hexdigest()
    document = {
        "format": "byokeep-sealed-blob/1", "manifest": canonical_json(FIELDS).decode(), "blobs": described,
        "cases": cases(),
    }  # fmt: skip
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def manifests_text() -> str:
    """The file of manifests and records. Each is one text, good as it is or named for what is wrong with it."""
    whole = canonical_json(FIELDS)
    good = [("two platforms", FIELDS)]
    one = {"platforms": ["x"], "accounts": FIELDS["accounts"][1:], "packing": "full"}
    good.append(("one platform, full", FIELDS | one))
    good.append(("last generation", FIELDS | {"generation": 2**53 - 1}))
    manifests: list[dict[str, str]] = [
        {"name": name, "text": canonical_json(one).decode(), "sha256": hashlib.sha256(canonical_json(one)).hexdigest()}
        for name, one in good
    ]
    manifests += [{"name": f"{field} missing", "text": _without(FIELDS, field)} for field in FIELDS]
    for name, change in {
        "another version": {"format": "byokeep-profile-manifest/2"}, "no version": {"format": ""},
        "unknown field": {"note": "x"}, "unknown environment": {"environment": "prod"}, "client in capitals":
        {"client_id": OTHER_ID.replace("4", "A")}, "client in braces": {"client_id": "{" + OTHER_ID + "}"},
        "profile of no form": {"profile_id": "x"}, "generation zero": {"generation": 0},
        "generation as text": {"generation": "7"}, "generation negative": {"generation": -1},
        "no platform": {"platforms": [], "accounts": []}, "unknown platform": {"platforms": ["linkedin", "myspace"]},
        "platform of an API provider": {"platforms": ["openai"]}, "platform twice": {"platforms": ["x", "x"]},
        "platforms not sorted": {"platforms": ["x", "linkedin"]}, "platform without account": {"platforms":
        ["linkedin", "meta", "x"]}, "account without platform": {"platforms": ["x"]}, "accounts not sorted":
        {"accounts": FIELDS["accounts"][::-1]}, "account twice":
        {"accounts": FIELDS["accounts"] + FIELDS["accounts"][1:]},
        "account without id": {"accounts": [FIELDS["accounts"][0], FIELDS["accounts"][1] | {"account_id": ""}]},
        "account with more": {"accounts": [FIELDS["accounts"][0], FIELDS["accounts"][1] | {"note": "x"}]},
        "time with a fraction": {"created_at": "2026-03-01T12:00:00.0Z"}, "time of another zone":
        {"created_at": "2026-03-01T12:00:00+00:00"}, "time in short": {"created_at": "2026-3-1T12:00:00Z"},
        "no such day": {"created_at": "2026-02-30T12:00:00Z"}, "unknown packing": {"packing": "Portable"},
        "browser version in short": {"browser_version": "156"}, "author of no form": {"created_by": ""},
    }.items():  # fmt: skip
        manifests.append({"name": name, "text": canonical_json(FIELDS | change).decode()})
    manifests += [
        {"name": "a space", "text": whole.decode().replace(":", ": ", 1)},
        {"name": "a line end", "text": whole.decode() + "\n"},
        {"name": "a field twice", "text": whole.decode()[:-1] + ',"generation":7}'},
        {"name": "escaped letter", "text": whole.decode().replace("Büro", "B\\u00fcro")},
        {"name": "fraction", "text": whole.decode().replace('"generation":7', '"generation":7.0')},
        {"name": "a list", "text": "[]"}, {"name": "empty", "text": ""}, {"name": "cut", "text": whole.decode()[:-1]},
    ]  # fmt: skip
    document = {"manifests": manifests, "records": _records(whole.decode())}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _records(manifest: str) -> list[dict[str, str]]:
    client, profile = FIELDS["client_id"], FIELDS["profile_id"]
    good = {
        "format": "byokeep-sealed-profile/1", "manifest": manifest, "dek_id": OTHER_ID,
        "wrapped_dek": "vault:v1:" + "made-up-wrapped-key-" * 3, "kek_holder": "transit", "kek_id": "profiles",
        "kek_version": "1", "blob_key": f"clients/{client}/profiles/{profile}/7-{OTHER_ID}", "blob_sha256": "ab" * 32,
        "blob_size": "1000", "packed_size": "3000",
    }  # fmt: skip
    records = [{"name": "good", "text": canonical_json(good).decode()}]
    code = "sealed_record_unreadable"
    records += [{"name": f"{field} missing", "text": _without(good, field), "refused": code} for field in good]
    for name, change in {
        "another version": {"format": "byokeep-sealed-profile/2"}, "unknown field": {"note": "x"}, "number as number":
        {"blob_size": 1000}, "number with a zero before it": {"blob_size": "01000"}, "number with a sign":
        {"blob_size": "+1000"}, "size zero": {"packed_size": "0"}, "digest in capitals": {"blob_sha256": "AB" * 32},
        "digest too short": {"blob_sha256": "ab" * 31}, "unknown holder": {"kek_holder": "file"}, "key id with a path":
        {"kek_id": "../root"}, "wrapped key too short": {"wrapped_dek": "vault:v1:"}, "wrapped key with a blank":
        {"wrapped_dek": good["wrapped_dek"] + " "}, "blob of another client": {"blob_key":
        good["blob_key"].replace(client, OTHER_ID)}, "blob of another generation": {"blob_key":
        good["blob_key"].replace("/7-", "/6-")}, "blob of another key": {"dek_id": profile}, "blob outside":
        {"blob_key": "../" + good["blob_key"]}, "key id in capitals": {"dek_id": OTHER_ID.replace("4", "A")},
        "manifest as object": {"manifest": FIELDS},
    }.items():  # fmt: skip
        records.append({"name": name, "text": canonical_json(good | change).decode(), "refused": code})
    bad = canonical_json(good | {"manifest": manifest + " "}).decode()
    records.append({"name": "manifest with a space", "text": bad, "refused": "manifest_unreadable"})
    records.append({"name": "a line end", "text": canonical_json(good).decode() + "\n", "refused": code})
    return records


def _without(fields: dict[str, Any], field: str) -> str:
    return canonical_json({name: value for name, value in fields.items() if name != field}).decode()


if __name__ == "__main__":
    (PLACE / "cases.json").write_text(text(), encoding="utf-8")
    (PLACE / "manifests.json").write_text(manifests_text(), encoding="utf-8")
