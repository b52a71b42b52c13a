"""Canonical bytes, the chain, and the strict lines of an export."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from byokeep.core.audit import (
    GENESIS,
    MAX_LINE,
    ChainHead,
    Record,
    canonical_payload,
    chain_hash,
    empty,
    export_line,
    parse_line,
    parse_lines,
    read_payload,
    verify_chain,
    verify_log,
)
from byokeep.core.canonical import canonical_json, parse_canonical
from byokeep.core.errors import Integrity, refusing
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Role
from tests.support.auditlog import ACTOR, ALICE, BOB, INSTALLATION, REF, MemoryLog, named
from tests.support.work import calls

INTS = st.integers(-(2**53) + 1, 2**53 - 1)
PLAIN = st.recursive(
    st.none() | INTS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
EVENTS = st.sampled_from(EventName).flatmap(
    lambda name: st.builds(
        Event,
        name=st.just(name),
        actor=st.builds(replace, st.just(ACTOR), roles=st.frozensets(st.sampled_from(Role)), request_id=st.uuids()),
        outcome=st.sampled_from(Outcome),
        client_id=st.none() | st.uuids(),
        object_id=st.none() | st.uuids(),
        fields=st.dictionaries(
            st.sampled_from(sorted(name.fields)),
            INTS | st.from_regex(r"[a-z0-9][a-zA-Z0-9_.:/,+-]{0,30}", fullmatch=True),
            max_size=6,
        ),
    )
)


def chain(length: int, of: UUID = ALICE) -> list[Record]:
    """A chain of job records as a database gives them: without the previous hash beside them."""
    log = MemoryLog()
    for number in range(length):
        log.append(of, EventName.KEY_LISTED, {"count": number}, object_id=REF)
    return [record._replace(prev=None) for record in log.chains[of]]


def rehash(records: list[Record], start: int) -> list[Record]:
    """What an intruder does who can write the database: make the chain whole again from ``start`` on."""
    prev = records[start - 1].hash if start else GENESIS
    out = records[:start]
    for offset, record in enumerate(records[start:], start + 1):
        fixed = record._replace(seq=offset)
        prev = chain_hash(
            prev=prev, chain=fixed.chain, seq=offset, at_us=fixed.at_us, writer=fixed.writer, payload=fixed.payload
        )
        out.append(fixed._replace(hash=prev))
    return out


@given(PLAIN)
def test_our_encoder_and_the_rfc_8785_package_write_the_same_bytes(value: Any) -> None:
    """For everything records can hold, both encoders agree and the parser gives the value back."""
    try:
        expected = rfc8785.dumps(value)
    except (UnicodeEncodeError, rfc8785.CanonicalizationError):
        with pytest.raises(ValueError, match=r"surrogates|text"):
            canonical_json(value)
        return
    assert canonical_json(value) == expected
    assert parse_canonical(expected) == value


@pytest.mark.parametrize("value", [1.5, True, b"x", {1: "x"}, 2**53, -(2**53), float("nan"), {"a": {2}}, object()])
def test_what_has_no_single_spelling_is_refused(value: object) -> None:
    """Floats, booleans, bytes, odd keys and integers beyond 53 bits have no place in a record."""
    with pytest.raises(ValueError, match=r"canonical|names"):
        canonical_json(value)


@pytest.mark.parametrize(
    "data",
    [b'{"a":1, "b":2}', b'{"b":1,"a":2}', b'{"a":1,"a":1}', b'{"a":1.0}', b'{"a":1e2}', b'"\\u0041"', b'"\\/"',
     b"[1]\n", b" [1]", b"[true]", b"[NaN]", b"\xff", b"", b"[" * 100_000, b'{"a":' * 700 + b"1" + b"}" * 700],
)  # fmt: skip
def test_any_other_spelling_is_refused_when_read(data: bytes) -> None:
    """Spaces, key order, repeated keys, other escapes and numbers, deep nesting: refused, never repaired."""
    with pytest.raises(ValueError):  # noqa: PT011 - the decoder's own text differs by version
        parse_canonical(data)


@pytest.mark.req("S-TLOG-7")
@given(EVENTS)
def test_a_payload_says_exactly_what_the_event_said(event: Event) -> None:
    """Canonical bytes, equal to the reference encoder's, and read back without loss; any changed byte is noticed."""
    payload = canonical_payload(event)
    assert payload == rfc8785.dumps(json.loads(payload))
    said = read_payload(payload)
    assert (said.event, said.outcome, said.client, said.object) == (
        event.name.value, event.outcome.value, event.client_id, event.object_id,
    )  # fmt: skip
    assert (said.actor, said.request, dict(said.fields)) == (event.actor.id, event.actor.request_id, event.fields)
    assert set(said.roles) == {role.value for role in event.actor.roles}
    for wrong in (b" " + payload, payload + b"\n", payload.replace(b'"v":1', b'"v":2'), payload[:-1] + b',"x":1}'):
        with pytest.raises(Integrity, match="bad_audit_payload"):
            read_payload(wrong)


def test_a_payload_with_members_missing_or_of_another_type_is_refused() -> None:
    """Each member must be there and of its type."""
    good = json.loads(canonical_payload(Event(name=EventName.LOGIN, actor=ACTOR, outcome=Outcome.OK)))
    for name, value in good.items():
        wrong: list[object] = [7.5, True, [7], {"a": [1]}, "x" if not isinstance(value, str) else 7]
        if name not in ("client", "object"):
            wrong.append(None)
        for other in wrong:
            with pytest.raises(Integrity, match="bad_audit_payload"):
                read_payload(json.dumps({**good, name: other}, sort_keys=True, separators=(",", ":")).encode())
        with pytest.raises(Integrity, match="bad_audit_payload"):
            read_payload(canonical_json({key: kept for key, kept in good.items() if key != name}))


@pytest.mark.req("S-TLOG-7")
def test_the_chain_hashes_stored_bytes_whatever_they_are() -> None:
    """A payload of another era (floats, other key order, unicode) keeps verifying: nothing is encoded anew."""
    log = MemoryLog()
    for payload in (
        b'{"b":1.50,"a":"\xc3\xa9"}',
        b'{"v":9,"new":true}',
        b'not json at all \\ " \x7f',
        "\u2028".encode(),
    ):
        log.append_payload(ALICE, payload)
    lines = [line + b"\n" for line in log.lines(ALICE)]
    assert verify_chain(parse_lines(lines), chain=ALICE) == log.head(ALICE)
    assert [record.payload for record in parse_lines(lines)] == [record.payload for record in log.chains[ALICE]]
    log.chains[ALICE][0] = log.chains[ALICE][0]._replace(payload=b'{"a":"\xc3\xa9","b":1.5}')
    with pytest.raises(Integrity, match="edited"):
        verify_chain(log.chains[ALICE], chain=ALICE)


def mutations(records: list[Record], place: int, foreign: Record) -> dict[str, tuple[list[Record], int]]:
    """Nine ways to tamper at index ``place``: the records afterwards, and the first bad sequence number."""
    here, seq = records[place], place + 1
    edited = here._replace(payload=here.payload.replace(b'"count":', b'"count":9', 1))
    moved = [*records[:place], *records[place + 1 : place + 2], here, *records[place + 2 :]]
    extra = edited._replace(seq=seq)
    return {
        "payload edited": ([*records[:place], edited, *records[place + 1 :]], seq),
        "time edited": ([*records[:place], here._replace(at_us=here.at_us + 1), *records[place + 1 :]], seq),
        "writer edited": ([*records[:place], here._replace(writer="byokeep_web"), *records[place + 1 :]], seq),
        "removed": (records[:place] + records[place + 1 :], seq),
        "reordered": (moved, seq),
        "inserted": ([*records[:place], extra, *records[place:]], seq),
        "repeated": ([*records[: place + 1], here, *records[place + 1 :]], seq),
        "copied from another client": ([*records[:place], foreign._replace(seq=seq), *records[place + 1 :]], seq),
        "edited and hashed anew to the end": (
            rehash([*records[:place], edited, *records[place + 1 :]], place), len(records),
        ),
    }  # fmt: skip


@pytest.mark.req("S-TLOG-4")
@given(st.integers(2, 12), st.data())
def test_each_of_nine_mutations_is_found_wherever_it_is_made(length: int, data: st.DataObject) -> None:
    """Edited, removed, reordered, inserted, repeated, transplanted or rehashed: found, with the first bad place."""
    records = chain(length)
    place = data.draw(st.integers(0, length - 1))
    head = ChainHead(ALICE, length, records[-1].hash)
    foreign = chain(length, of=BOB)[place]
    for name, (tampered, first_bad) in mutations(records, place, foreign).items():
        if name in ("removed", "reordered") and place == length - 1:
            continue  # removing the last one is a cut tail: the next test
        with pytest.raises(Integrity, match="audit_chain_broken") as caught:
            verify_chain(tampered, chain=ALICE, through={head.seq: head.hash})
        assert caught.value.fields["seq"] == first_bad, name
        mixed = [record for record in tampered if record.chain == ALICE]
        if len(mixed) == len(tampered):
            with pytest.raises(Integrity, match="audit_chain_broken"):
                verify_log(tampered, through={ALICE: {head.seq: head.hash}})
    assert verify_chain(records, chain=ALICE, through={head.seq: head.hash}) == head


@pytest.mark.campaign
def test_nine_mutations_at_a_thousand_places() -> None:
    """Every kind at every place of a long chain is found."""
    records, foreign = chain(1_000), chain(1_000, of=BOB)
    head = {1_000: records[-1].hash}
    for place in range(1_000):
        for name, (tampered, first_bad) in mutations(records, place, foreign[place]).items():
            # Of the last record, removal is a cut tail and a swap is no change.
            if name == "reordered" and place == 999:
                continue
            with pytest.raises(Integrity, match=rf"audit_chain_broken .* seq={first_bad}\n"):
                verify_chain(tampered, chain=ALICE, through=head)


@pytest.mark.req("S-TLOG-10")
@given(st.integers(1, 12), st.data())
def test_a_cut_tail_shows_against_a_known_head_and_only_against_it(length: int, data: st.DataObject) -> None:
    """Without a checkpoint the rest is a valid chain; with one, the first missing record is named."""
    records = chain(length)
    keep = data.draw(st.integers(0, length - 1))
    assert verify_chain(records[:keep], chain=ALICE).seq == keep
    with pytest.raises(Integrity, match=f"reason=tail_cut seq={keep + 1}"):
        verify_chain(records[:keep], chain=ALICE, through={length: records[-1].hash})
    with pytest.raises(Integrity, match=f"reason=tail_cut seq={keep + 1}"):
        verify_log(records[:keep], through={ALICE: {length: records[-1].hash}})


@pytest.mark.parametrize(
    ("reason", "tamper"),
    [
        ("edited", lambda r: [r[0], r[1]._replace(payload=b"{}"), r[2]]),
        ("removed", lambda r: [r[0], r[2]]),
        ("reordered", lambda r: [r[0], r[2], r[1]]),
        ("inserted", lambda r: [r[0], r[1], r[1], r[2]]),
        ("foreign_chain", lambda r: [r[0], r[1]._replace(chain=BOB), r[2]]),
        ("unlinked", lambda r: [r[0], _standing_alone(r[1])]),
        ("forked", lambda r: rehash([r[0], r[1]._replace(payload=b"{}"), r[2]], 1)),
    ],
)
def test_the_reason_says_what_was_done(reason: str, tamper: Any) -> None:
    """The verifier tells an edit from a removal, a swap, an insertion, a transplant, a fork."""
    records = chain(3)
    with pytest.raises(Integrity, match=f"reason={reason} "):
        verify_chain(tamper(records), chain=ALICE, through={3: records[2].hash})


def _standing_alone(record: Record) -> Record:
    """A record whole in itself, made to follow something else."""
    other = bytes([7]) * 32
    digest = chain_hash(
        prev=other, chain=record.chain, seq=record.seq, at_us=record.at_us, writer=record.writer, payload=record.payload
    )
    return record._replace(hash=digest, prev=other)


def test_a_part_of_a_chain_verifies_from_a_head_that_is_trusted() -> None:
    """From a known head on only what follows is read; from another head nothing fits."""
    records = chain(6)
    start = ChainHead(ALICE, 3, records[2].hash)
    assert verify_chain(records[3:], chain=ALICE, start=start).seq == 6
    assert verify_chain([], chain=ALICE, start=start) == start
    assert verify_log(records[3:], starts={ALICE: start})[ALICE].seq == 6
    with pytest.raises(Integrity, match="edited"):
        verify_chain(records[3:], chain=ALICE, start=start._replace(hash=GENESIS))
    with pytest.raises(Integrity, match="removed"):
        verify_chain(records[4:], chain=ALICE, start=start)
    with pytest.raises(Integrity, match="forked"):
        verify_chain(records[3:], chain=ALICE, start=start, through={2: GENESIS})


def test_a_mixed_log_keeps_its_chains_apart() -> None:
    """Many chains in one file verify each by itself, and a chain that is missing whole is noticed."""
    log = MemoryLog()
    for number in range(30):
        log.append((ALICE, BOB, INSTALLATION)[number % 3], EventName.KEY_LISTED, {"count": number})
    heads = {chain: log.head(chain) for chain in log.chains}
    lines = [line + b"\n" for line in log.all_lines()]
    points = {chain: {head.seq: head.hash} for chain, head in heads.items()}
    assert verify_log(parse_lines(lines), through=points) == heads
    without_bob = [line for line in lines if str(BOB).encode() not in line]
    assert BOB not in verify_log(parse_lines(without_bob))
    with pytest.raises(Integrity, match=f"chain={BOB} reason=tail_cut seq=1"):
        verify_log(parse_lines(without_bob), through=points)
    late = named("nobody's chain")
    with pytest.raises(Integrity, match=f"chain={late} reason=tail_cut seq=1"):
        verify_log(parse_lines(lines), through={late: {1: GENESIS}})
    assert empty(late).seq == 0


RECORDS = st.builds(
    Record,
    chain=st.uuids(), seq=st.integers(1, 2**53 - 1), at_us=st.integers(0, 2**53 - 1),
    writer=st.from_regex(r"[a-z_][a-z0-9_$-]{0,20}", fullmatch=True),
    payload=st.text(max_size=60).map(lambda text: text.encode("utf-8", "ignore")),
    hash=st.binary(min_size=32, max_size=32), prev=st.binary(min_size=32, max_size=32),
)  # fmt: skip


@given(RECORDS)
def test_a_line_is_canonical_json_and_comes_back_byte_for_byte(record: Record) -> None:
    """Export and parser are each other's reverse, and the line is what the reference encoder would write."""
    assert record.prev is not None
    line = export_line(record, prev=record.prev)
    assert line == rfc8785.dumps(json.loads(line))
    assert parse_line(line) == record


GOOD = export_line(chain(1)[0], prev=GENESIS)


@given(st.integers(0, len(GOOD) - 1), st.sampled_from(b' "\\{}:,0aZ\n\x00\x7f\xff'))
def test_a_line_with_a_byte_more_is_refused_or_says_something_else(place: int, byte: int) -> None:
    """No inserted byte is skipped over: the line is refused, or its record differs and no longer verifies."""
    changed = GOOD[:place] + bytes([byte]) + GOOD[place:]
    record = None
    with suppress(Integrity):
        record = parse_line(changed)
    if record is None:
        return
    assert export_line(record, prev=record.prev or b"") == changed
    with pytest.raises(Integrity):
        verify_chain([record], chain=ALICE)


@pytest.mark.parametrize(
    "wrong",
    [
        b"", b"{}", GOOD + b" ", b" " + GOOD, GOOD.replace(b'"v":1', b'"v":2'), GOOD.replace(b'"seq":1', b'"seq":01'),
        GOOD.replace(b'"seq":1', b'"seq":0'), GOOD.replace(b'"seq":1', b'"seq":9999999999999999'),
        GOOD.replace(b'"at_us":1', b'"at_us":01'), GOOD.replace(b'"hash":"', b'"hash":"A'),
        GOOD.replace(b'"payload":"', b'"payload":"\\u0041'), GOOD.replace(b'"payload":"', b'"payload":"\\x'),
        GOOD.replace(b'"payload":"', b'"payload":"\xff'), GOOD.replace(b'\\"', b'"', 1),
        GOOD.replace(b'"writer":"byokeep_broker"', b'"writer":"A"'), GOOD.replace(b"}", b',"x":1}')[-40:],
        GOOD.replace(b'"payload":"', b'"payload":"' + b"x" * 70_000),
    ],
)  # fmt: skip
def test_a_line_of_any_other_form_is_refused(wrong: bytes) -> None:
    """Versions, leading zeros, other escapes, invalid UTF-8, unescaped quotes, oversize: refused."""
    with pytest.raises(Integrity, match="bad_audit_line"):
        parse_line(wrong)


def test_a_file_names_the_line_that_is_bad() -> None:
    """The number of a bad line is reported; a last line without its end counts as torn."""
    lines = [line + b"\n" for line in MemoryLogOf(3).lines(ALICE)]
    for broken, number in (([lines[0], b"x\n"], 2), ([lines[0], lines[1], lines[2][:-1]], 3), ([b"\n"], 1)):
        with pytest.raises(Integrity, match=f"bad_audit_line line={number}"):
            list(parse_lines(broken))


def MemoryLogOf(length: int) -> MemoryLog:  # noqa: N802 - reads as the class it makes
    log = MemoryLog()
    for number in range(length):
        log.append(ALICE, EventName.KEY_LISTED, {"count": number})
    return log


def test_a_payload_that_is_no_text_can_not_be_exported() -> None:
    """Bytes that are not UTF-8 are tampering: they are named, not replaced."""
    record = MemoryLog().append_payload(ALICE, b"\xff")
    with pytest.raises(Integrity, match=f"bad_audit_payload chain={ALICE} seq=1"):
        export_line(record, prev=GENESIS)


def test_verifying_keeps_up_with_a_large_log() -> None:
    """Verifying a record is the same few calls in a long log as in a short one."""
    short, long = chain(200), chain(2_000)
    with calls() as few:
        verify_chain(short, chain=ALICE)
    with calls() as many:
        verify_chain(long, chain=ALICE)
    assert many.calls <= 10 * few.calls
    assert many.calls < 40 * len(long)


def test_ids_of_other_clients_never_verify_as_ones_own() -> None:
    """A whole, valid chain of one client is refused where another's is asked for."""
    with pytest.raises(Integrity, match="foreign_chain"):
        verify_chain(chain(2, of=BOB), chain=ALICE)
    with pytest.raises(Integrity, match="foreign_chain"):
        verify_chain(chain(2), chain=uuid4())


TAMPERED = "Treat the log as tampered with. Keep both copies, and compare them from this point on."
CUT = "Export again: an export must be newer than the checkpoints. If it still ends here, it was truncated."


def advice_of(check: Any, *arguments: Any, **options: Any) -> tuple[str, str, dict[str, Any]]:
    with pytest.raises(Integrity) as caught:
        list(check(*arguments, **options))
    return caught.value.code, caught.value.next_step, caught.value.fields


def test_every_finding_says_what_to_do() -> None:
    """A tampered log: compare the copies from here on. A log that only ends early: export again first."""
    records, broken = chain(3), "audit_chain_broken"
    where = {"chain": str(ALICE), "seq": 2, "reason": "edited"}
    edited = [records[0], records[1]._replace(payload=b"{}"), records[2]]
    assert advice_of(verify_chain, edited, chain=ALICE) == (broken, TAMPERED, where)
    assert advice_of(verify_log, edited) == (broken, TAMPERED, where)
    cut = {"chain": str(ALICE), "seq": 3, "reason": "tail_cut"}
    known = {3: records[2].hash}
    assert advice_of(verify_chain, records[:2], chain=ALICE, through=known) == (broken, CUT, cut)
    assert advice_of(verify_log, records[:2], through={ALICE: known}) == (broken, CUT, cut)
    forked = {"chain": str(ALICE), "seq": 3, "reason": "forked"}
    assert advice_of(verify_chain, records, chain=ALICE, through={3: GENESIS}) == (broken, TAMPERED, forked)
    assert advice_of(verify_log, records, through={ALICE: {3: GENESIS}}) == (broken, TAMPERED, forked)
    assert advice_of(parse_line, b"") == ("bad_audit_line", TAMPERED, {})
    for old, new in ((b'"seq":1', b'"seq":9999999999999999'), (b'"payload":"', b'"payload":"\\x')):
        assert advice_of(parse_line, GOOD.replace(old, new)) == ("bad_audit_line", TAMPERED, {})
    assert advice_of(parse_lines, [GOOD]) == ("bad_audit_line", TAMPERED, {"line": 1})
    assert advice_of(read_payload, b"{}") == ("bad_audit_payload", TAMPERED, {})
    raw = MemoryLog().append_payload(ALICE, b"\xff")
    said = {"chain": str(ALICE), "seq": 1}
    assert advice_of(export_line, raw, prev=GENESIS) == ("bad_audit_payload", TAMPERED, said)


def test_a_mixed_log_tells_what_was_done_to_it_as_a_chain_does() -> None:
    """Removed, reordered, inserted, unlinked, of several known heads the first that is not met: by name and place."""
    records = chain(4)
    for tampered, reason, seq in (
        ([records[0], records[2]], "removed", 2), ([records[0], records[2], records[1]], "reordered", 2),
        ([records[0], records[1], records[1]], "inserted", 2), ([records[1]], "removed", 1),
        ([records[0], _standing_alone(records[1])], "unlinked", 2),
    ):  # fmt: skip
        for check, options in ((verify_chain, {"chain": ALICE}), (verify_log, {})):
            code, _, fields = advice_of(check, tampered, **options)
            assert (code, fields["reason"], fields["seq"]) == ("audit_chain_broken", reason, seq), (check, reason)
    # A previous hash that is not the record's own is an edit, in either.
    twisted = [records[0], records[1]._replace(prev=bytes([9]) * 32)]
    assert advice_of(verify_chain, twisted, chain=ALICE)[2]["reason"] == "edited"
    assert advice_of(verify_log, twisted)[2]["reason"] == "edited"
    points = {2: records[1].hash, 9: GENESIS, 7: GENESIS}
    assert advice_of(verify_log, records, through={ALICE: points})[2] == {
        "chain": str(ALICE), "seq": 5, "reason": "tail_cut",
    }  # fmt: skip
    start = ChainHead(ALICE, 2, records[1].hash)
    assert advice_of(verify_log, records[2:], starts={ALICE: start}, through={ALICE: {1: GENESIS}})[2]["seq"] == 1
    assert verify_log(records, through={ALICE: {2: records[1].hash}})[ALICE] == ChainHead(ALICE, 4, records[3].hash)
    assert verify_log([]) == {}


def test_a_line_may_be_as_long_and_its_numbers_as_large_as_allowed() -> None:
    """The longest line and the largest numbers are read; one more is refused."""
    room = MAX_LINE - len(GOOD)
    longest = GOOD.replace(b'"payload":"', b'"payload":"' + b"x" * room)
    assert len(longest) == MAX_LINE
    assert len(parse_line(longest).payload) > room
    longer = GOOD.replace(b'"payload":"', b'"payload":"' + b"x" * (room + 1))
    assert advice_of(parse_line, longer)[0] == "bad_audit_line"
    largest = 2**53 - 1
    record = parse_line(GOOD)._replace(seq=largest, at_us=largest)
    assert parse_line(export_line(record, prev=GENESIS)) == record._replace(prev=GENESIS)
    for wrong in (record._replace(seq=largest + 1), record._replace(at_us=largest + 1)):
        assert advice_of(parse_line, export_line(wrong, prev=GENESIS))[0] == "bad_audit_line"
    text = '\u00e9\u2028\\ " \x7f \x01'.encode()
    assert parse_line(export_line(record._replace(payload=text), prev=GENESIS)).payload == text


@pytest.mark.parametrize(
    ("member", "wrong"),
    [("v", 2), ("v", "1"), ("event", 1), ("outcome", None), ("actor", "x"), ("actor", None), ("roles", "operator"),
     ("roles", [1]), ("client", "x"), ("client", 1), ("object", "X"), ("request", None), ("fields", []),
     ("fields", {"a": None}), ("fields", {"a": [1]}), ("more", 1)],
)  # fmt: skip
def test_a_payload_has_one_form(member: str, wrong: Any) -> None:
    """Each member of another type, an id of another spelling, one more member: refused; as written it is read."""
    event = Event(name=EventName.KEY_LISTED, actor=ACTOR, outcome=Outcome.OK, client_id=ALICE, fields={"count": 1})
    said: Any = parse_canonical(canonical_payload(event))
    facts = read_payload(canonical_json(said))
    assert (facts.event, facts.outcome, facts.actor, facts.client, facts.object) == (
        "key.listed", "ok", ACTOR.id, ALICE, None,
    )  # fmt: skip
    assert (facts.roles, facts.request, dict(facts.fields)) == (("operator",), ACTOR.request_id, {"count": 1})
    for bad in (said | {member: wrong}, {name: value for name, value in said.items() if name != member}):
        if bad != said:
            assert advice_of(read_payload, canonical_json(bad))[0] == "bad_audit_payload"
    upper = said | {"actor": str(ACTOR.id).upper()}
    assert advice_of(read_payload, canonical_json(upper))[0] == "bad_audit_payload"


def test_a_line_that_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands in it, nothing is made of it: it would take memory and time of its writer's choice."""
    read: list[str] = []
    monkeypatch.setattr("byokeep.core.audit._decode", lambda text: (read.append(text), {}))
    for length in (MAX_LINE, MAX_LINE + 1):
        with pytest.raises(Integrity, match="bad_audit_line"):
            parse_line(b"[" * length)
    assert [len(text) for text in read] == [MAX_LINE]


def test_a_number_beyond_all_numbers_is_refused_as_the_rest() -> None:
    """Infinity in a signed document is a fault of the document, with its code."""
    with pytest.raises(Integrity, match="bad_statement"), refusing("bad_statement"):
        int(json.loads("1e999"))
