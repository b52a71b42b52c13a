"""Signed bundles of each procedure: what an item must say to count, and each way in which a bundle is none."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from byokeep.core import evidence
from byokeep.core.audit import empty
from byokeep.core.canonical import canonical_json, parse_canonical
from byokeep.core.errors import Integrity
from byokeep.core.evidence import CONNECT, ITEMS_OF, ONBOARD, PROCEDURE, PROFILE, Onboarding, verify_evidence
from byokeep.core.model import Provider
from tests.support.advice import assert_advice
from tests.support.auditlog import ALICE, BOB, REF, SOP, START_US, MemoryLog
from tests.support.procedures import VERSION, Fields, foreign, said_of

PROVIDERS = {ONBOARD: Provider.OPENAI, CONNECT: Provider.X, PROFILE: Provider.X}


def made(
    kind: str, changed: Mapping[str, Fields] = {}, *, lead: int = 1, order: tuple[str, ...] = ()
) -> tuple[MemoryLog, Onboarding]:
    """A log with one run; ``changed`` replaces members of an item's payload; a dot stands before a field's name."""
    log = MemoryLog()
    for number in range(lead):
        payload = said_of(ONBOARD, "onboarding_event") | {"event": "job.opened", "fields": {"job": str(number)}}
        log.append_payload(ALICE, canonical_json(payload))
    items = {}
    for item in order or tuple(ITEMS_OF[kind]):
        items[item] = log.append_payload(ALICE, canonical_json(said_of(kind, item, changed.get(item, {})))).seq
    log.checkpoint()
    return log, Onboarding(
        origin=log.origin, sop=SOP, client=ALICE, provider=PROVIDERS[kind], ref=REF, version=VERSION, items=items,
        kind=kind,
    )  # fmt: skip


def refusal(check: Callable[..., object], *arguments: object) -> tuple[str, object]:
    with pytest.raises(Integrity) as caught:
        check(*arguments)
    return caught.value.code, caught.value.fields.get("item")


@pytest.mark.req("R5.1-12", "R5.1-13", "R5.1-14", "R5.1-15")
@pytest.mark.parametrize("kind", ITEMS_OF)
def test_a_whole_run_is_complete_and_every_item_that_lacks_is_named(kind: str) -> None:
    """All items: complete. Without any one of them, or with none: not complete, and those are named, in order."""
    log, about = made(kind)
    report = verify_evidence(log.bundle(about), log.keys)
    assert (report.complete, report.missing, report.onboarding) == (True, (), about)
    first = log.chains[ALICE][about.items["vault_write_event"] - 1]
    assert (report.stored_at_us, report.epoch) == (first.at_us, 0)
    assert report.stored_at_us > START_US
    assert report.signed_by in log.keys.evidence
    for item in about.items:
        rest = {name: seq for name, seq in about.items.items() if name != item}
        report = verify_evidence(log.bundle(replace(about, items=rest)), log.keys)
        assert (report.complete, report.missing) == (False, (item,))
        assert (report.stored_at_us == 0) is (item == "vault_write_event")
    report = verify_evidence(log.bundle(replace(about, items={}), first=2), log.keys)
    assert (report.missing, report.stored_at_us) == (tuple(ITEMS_OF[kind]), 0)


# Of one item: what its record must say besides.
UNPROVED: Mapping[str, Mapping[str, list[Fields]]] = {
    ONBOARD: {
        "vault_write_event": [{".path": f"kv/clients/{BOB}/providers/openai"}, {".path": None}, {".store_request": ""}],
        "verification_success": [
            {".http_status": 199}, {".http_status": 300}, {".http_status": 401}, {".http_status": "200"},
            {".http_status": None}, {".job": None}, {".endpoint": None}, {".job": ""}, {".endpoint": ""},
        ],
        "leak_check_pass": [{".found": 1}, {".found": None}, {".lines": 0}, {".lines": None}, {".lines": "1"}],
    },
    CONNECT: {
        "vault_write_event": [
            {".path": f"kv/clients/{ALICE}/providers/x"}, {".store_request": None},
            {".path": f"kv/clients/{ALICE}/providers/x/accounts/{BOB}/tokens"},
            {".path": f"kv/clients/{ALICE}/providers/x/accounts/{REF}/access"},
        ],
        "identity_verification": [
            {".observed_id": "105"}, {".observed_id": None, ".expected_id": None},
            {".observed_id": "", ".expected_id": ""},
            {".expected_id": "105"}, {".job": None}, {".endpoint": None}, {".count": None}, {".count": "1"},
        ],
    },
    PROFILE: {
        "vault_write_event": [
            *({f".{name}": None} for name in ("store_request", "blob_digest", "manifest", "dek", "kek", "path")),
            {".path": f"kv/clients/{ALICE}/profiles/{BOB}"}, {".path": f"kv/clients/{BOB}/profiles/{REF}"},
        ],
        "runner_validation_proof": [
            *({f".{name}": None} for name in ("job", "endpoint", "screenshot", "verification", "platform")),
            {".observed_id": "105"}, {".expected_id": "105"}, {".observed_id": "", ".expected_id": ""},
            {".verification": "mismatch"}, {".platform": "tiktok"},
        ],
    },
}  # fmt: skip


@pytest.mark.req("R5.1-12", "R5.1-13", "R5.1-14")
@pytest.mark.parametrize(("kind", "item"), [(kind, item) for kind, items in ITEMS_OF.items() for item in items])
def test_an_item_counts_for_what_it_says_alone(kind: str, item: str) -> None:
    """A record of another event, outcome, client, object, version, provider or run, or that proves too little, is no
    evidence: the bundle is refused by that item."""
    for change in foreign(kind, item) + UNPROVED[kind].get(item, []):
        log, about = made(kind, {item: change})
        assert refusal(verify_evidence, log.bundle(about), log.keys) == (
            "foreign_evidence", item,
        ), change  # fmt: skip
    if item == "verification_success":
        log, about = made(kind, {item: {".http_status": 299}})
        assert verify_evidence(log.bundle(about), log.keys).complete


def test_the_write_of_a_key_stands_for_a_later_run() -> None:
    """A second verification of the same version refers to the first write; nothing else is taken from another run."""
    log, about = made(ONBOARD, {"vault_write_event": {".sop": str(BOB)}})
    assert verify_evidence(log.bundle(about), log.keys).complete
    for kind in (CONNECT, PROFILE):
        log, about = made(kind, {"vault_write_event": {".sop": str(BOB)}})
        assert refusal(verify_evidence, log.bundle(about), log.keys)[0] == "foreign_evidence"


@pytest.mark.parametrize("kind", [CONNECT, PROFILE])
def test_a_look_that_is_older_than_the_write_proves_nothing(kind: str) -> None:
    """The identity check of an account, or of a profile, comes after what was written."""
    write, look, last = ITEMS_OF[kind]
    log, about = made(kind, order=(look, write, last))
    assert refusal(verify_evidence, log.bundle(about), log.keys) == ("foreign_evidence", look)
    # Of a key the order is not asked for: the version that was verified is named.
    write, look, *rest = ITEMS_OF[ONBOARD]
    log, about = made(ONBOARD, order=(look, write, *rest))
    assert verify_evidence(log.bundle(about), log.keys).complete


@pytest.mark.parametrize("kind", ITEMS_OF)
def test_the_closing_event_comes_last(kind: str) -> None:
    """A closing event that stands before another item closes nothing."""
    names = tuple(ITEMS_OF[kind])
    for order in ((names[-1], *names[:-1]), (*names[:-2], names[-1], names[-2])):
        log, about = made(kind, order=order)
        code, item = refusal(verify_evidence, log.bundle(about), log.keys)
        assert code == "foreign_evidence"
        assert item == names[-1] or item in ("identity_verification", "runner_validation_proof")


def opened(log: MemoryLog, about: Onboarding) -> Any:
    return parse_canonical(evidence.open_envelope(log.bundle(about), log.keys.evidence)[0])


def altered(said: Any, path: str, value: Any) -> bytes:
    """The statement with one member, by its dotted path, replaced; ``...`` takes it out."""
    copy = parse_canonical(canonical_json(said))
    place: Any = copy
    *way, last = path.split(".")
    for name in way:
        place = place[int(name)] if isinstance(place, list) else place[name]
    if value is ...:
        del place[last]
    elif isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return canonical_json(copy)


BAD_STATEMENTS: list[tuple[str, Any]] = [
    *((name, ...) for name in ("_type", "subject", "predicateType", "predicate")),
    *((f"predicate.{name}", ...) for name in ("v", "origin", "sop", "client", "provider", "ref", "version", "items",
                                              "before", "records", "inclusion")),
    *((f"predicate.before.{name}", ...) for name in ("seq", "hash")),
    *((f"subject.0.{name}", ...) for name in ("name", "digest")),
    ("subject.0.digest.sha256", ...), ("more", 1), ("predicate.more", 1), ("predicate.before.more", 1),
    ("subject.0.more", 1), ("subject.0.digest.more", 1),
    ("_type", "https://in-toto.io/Statement/v2"), ("predicateType", "https://example.test/x"), ("predicateType", 1),
    ("predicate.v", 2), ("predicate.sop", "x"), ("predicate.client", 1), ("predicate.ref", "x"),
    ("predicate.provider", "nobody"), ("predicate.version", "x"), ("predicate.items.more", 2),
    ("predicate.items.vault_write_event", "x"), ("predicate.items", [1]), ("predicate.records", []),
    ("predicate.before.seq", -1), ("predicate.before.hash", "00"), ("predicate.before.hash", "zz"),
    ("predicate.inclusion", {}), ("subject", []), ("subject.0.name", f"account:{REF}"),
    ("subject.0.digest.sha256", "0" * 64), ("predicate", 1), ("subject", 1),
]  # fmt: skip


@pytest.mark.req("S-TLOG-9")
@pytest.mark.parametrize(("path", "value"), BAD_STATEMENTS)
def test_a_statement_has_one_form(path: str, value: Any) -> None:
    """Signed, but with a member missing, too many, of another type or another content: refused as a bad statement."""
    log, about = made(ONBOARD)
    bundle = log.seal(altered(opened(log, about), path, value))
    assert refusal(verify_evidence, bundle, log.keys) == ("bad_statement", None)


@pytest.mark.req("S-TLOG-9")
def test_a_bundle_is_of_one_client_one_log_and_one_unbroken_piece() -> None:
    """Another client's head, another log's key, a gap, a doubled record or another start is refused."""
    log, about = made(ONBOARD)
    said = opened(log, about)
    lines = said["predicate"]["records"]
    assert refusal(verify_evidence, log.seal(altered(said, "predicate.client", str(BOB))), log.keys) == (
        "foreign_evidence", "chain",
    )  # fmt: skip
    for path, value in (
        ("predicate.records", lines[1:]), ("predicate.records", lines[:-1]), ("predicate.records", [*lines, lines[-1]]),
        ("predicate.records", [lines[1], lines[0], *lines[2:]]), ("predicate.before.seq", 0),
        ("predicate.before.hash", "00" * 32),
    ):  # fmt: skip
        code, _ = refusal(verify_evidence, log.seal(altered(said, path, value)), log.keys)
        assert code in ("audit_chain_broken", "foreign_evidence", "bad_statement"), path
    other = altered(said, "predicate.origin", f"byokeep/{BOB}")
    with pytest.raises(Integrity):
        verify_evidence(log.seal(other), log.keys)
    for seq in (1, 0, -1, 99, about.items["onboarding_event"] + 1):
        forged = altered(said, "predicate.items.verification_success", seq)
        assert refusal(verify_evidence, log.seal(forged), log.keys) == (
            "foreign_evidence", "verification_success",
        ), seq  # fmt: skip


def test_a_bundle_may_begin_with_the_chain() -> None:
    """A run whose first record is the client's first one starts from the empty chain."""
    log, about = made(ONBOARD, lead=0)
    assert verify_evidence(log.bundle(about), log.keys).complete
    assert opened(log, about)["predicate"]["before"]["seq"] == empty(ALICE).seq == 0


def test_what_a_statement_says() -> None:
    """Its subject is named by the procedure and digested as the closing record, or the last one there is."""
    for kind, name in ((ONBOARD, "ref"), (CONNECT, "account"), (PROFILE, "profile")):
        log, about = made(kind)
        said = opened(log, about)
        assert said["subject"][0]["name"] == f"{name}:{REF}"
        assert said["subject"][0]["digest"] == {"sha256": log.chains[ALICE][max(about.items.values()) - 1].hash.hex()}
        few = {item: seq for item, seq in about.items.items() if item == "vault_write_event"}
        said = opened(log, replace(about, items=few))
        assert said["subject"][0]["digest"] == {"sha256": log.chains[ALICE][few["vault_write_event"] - 1].hash.hex()}
        bare = log.bundle(replace(about, items={}), first=2)
        said = parse_canonical(evidence.open_envelope(bare, log.keys.evidence)[0])
        assert said["subject"][0]["digest"] == {"sha256": log.chains[ALICE][1].hash.hex()}


def test_an_envelope_has_one_form() -> None:
    """A member missing, too many or of another type, other base64, two signatures, another type: refused."""
    log, about = made(ONBOARD)
    bundle = log.bundle(about)
    whole: Any = parse_canonical(bundle)
    key = whole["signatures"][0]
    assert evidence.open_envelope(bundle, log.keys.evidence)[1] == key["keyid"]
    payload = whole["payload"]
    for changed in (
        {"payload": None}, {"payload": 1}, {"payload": payload + "="}, {"payload": payload + "\n"},
        {"payload": "*" + payload[1:]}, {"payloadType": "text/plain"}, {"payloadType": None}, {"more": 1},
        {"signatures": []}, {"signatures": [key, key]}, {"signatures": [key | {"more": 1}]}, {"signatures": 1},
        {"signatures": [{"keyid": "1"}]}, {"signatures": [{"sig": key["sig"]}]}, {"signatures": [key | {"sig": "*"}]},
        {"signatures": [key | {"sig": 1}]},
    ):  # fmt: skip
        bad = canonical_json(whole | changed)
        assert refusal(evidence.open_envelope, bad, log.keys.evidence) == ("bad_envelope", None), changed
    for name in ("payload", "payloadType", "signatures"):
        bad = canonical_json({member: value for member, value in whole.items() if member != name})
        assert refusal(evidence.open_envelope, bad, log.keys.evidence)[0] == "bad_envelope"
    for raw in (b"", b"[]", b"null", bundle + b" ", bundle[:-1], b"\xff"):
        assert refusal(evidence.open_envelope, raw, log.keys.evidence)[0] == "bad_envelope"
    # Base64 that decodes to the same and is spelled otherwise.
    twin = b64encode(b"ab").decode().replace("I=", "J=")
    bad = canonical_json(whole | {"payload": twin})
    assert refusal(evidence.open_envelope, bad, log.keys.evidence)[0] == "bad_envelope"
    with pytest.raises(Integrity, match="bad_evidence_signature"):
        evidence.open_envelope(canonical_json(whole | {"payload": b64encode(b"{}").decode()}), log.keys.evidence)
    with pytest.raises(Integrity, match="unknown_evidence_key") as caught:
        evidence.open_envelope(bundle, {"9": bytes(32)})
    assert_advice(caught.value, "`byokeep audit keys`")


def test_what_is_signed_is_the_payload_with_its_type() -> None:
    """DSSE's own encoding, so that other tools verify it too."""
    assert evidence.pae(b"hello world", "http://example.com/HelloWorld") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert evidence.pae(b"x") == b"DSSEv1 28 application/vnd.in-toto+json 1 x"
    assert isinstance(REF, UUID)


def stepped(*said: Mapping[str, Any]) -> tuple[MemoryLog, Onboarding]:
    """A log with a run of two steps of a procedure that is none of the three."""
    log, items = MemoryLog(), {}
    for number, step in enumerate(("look", "act")):
        changed = dict(said[number]) if number < len(said) else {}
        payload = said_of(ONBOARD, "onboarding_event") | {
            "event": "procedure.stepped", "fields": {"run": str(SOP), "stage": step, "count": number},
        } | changed  # fmt: skip
        items[step] = log.append_payload(ALICE, canonical_json(payload)).seq
    log.checkpoint()
    steps = dict.fromkeys(items, "procedure.stepped")
    return log, Onboarding(
        origin=log.origin, sop=SOP, client=ALICE, ref=REF, kind=PROCEDURE, name="exercise", items=items, steps=steps
    )


def sealed(log: MemoryLog, about: Onboarding) -> bytes:
    return log.seal(log.pieces(about))


def test_any_procedure_shows_its_steps_and_takes_no_other_record() -> None:
    """Both steps: complete; one is missing and named; a record of another run, step, object, event or outcome is no
    evidence, and the closing one must be the last."""
    log, about = stepped()
    report = verify_evidence(sealed(log, about), log.keys)
    assert (report.complete, report.onboarding) == (True, about)
    report = verify_evidence(sealed(log, replace(about, items={"look": about.items["look"]})), log.keys)
    assert report.missing == ("act",)
    for changed in (
        {"fields": {"run": str(BOB), "stage": "look"}}, {"fields": {"run": str(SOP), "stage": "act"}},
        {"object": str(BOB)}, {"event": "job.opened"}, {"outcome": "failed"}, {"client": str(BOB)},
    ):  # fmt: skip
        log, about = stepped(changed)
        assert refusal(verify_evidence, sealed(log, about), log.keys) == ("foreign_evidence", "look"), changed
    log, about = stepped()
    swapped = {"act": "procedure.stepped", "look": "procedure.stepped"}
    assert refusal(verify_evidence, sealed(log, replace(about, steps=swapped)), log.keys) == (
        "foreign_evidence",
        "look",
    )
