"""Signed notes and checkpoints: one spelling, known keys only, no repair."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep.core.checkpoint import (
    Checkpoint,
    NoteKey,
    PublicKeys,
    note_text,
    open_checkpoint,
    open_note,
    parse_checkpoint,
    parse_key,
    parse_keys,
    write_note,
)
from byokeep.core.errors import Integrity, Rejected
from tests.support.signer import SeededSigner

# The example of the format's reference implementation (golang.org/x/mod/sumdb/note): made by other people's code.
PUBLISHED_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PUBLISHED_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
SIGNER = SeededSigner()
ORIGIN = "byokeep/2f6f0d5e-5d6c-4d61-9a3e-0b8c6a1f4f10"
KEY = NoteKey(ORIGIN, SIGNER.public_now("checkpoints")["1"])
OTHER = NoteKey("witness.example", SIGNER.public_now("evidence")["1"])
TEXT = Checkpoint(ORIGIN, 7, bytes(range(32))).text()


def signature(text: str = TEXT, purpose: str = "checkpoints") -> bytes:
    return SIGNER.sign_now(purpose, text.encode())[0]


def line(key: NoteKey, blob: bytes) -> bytes:
    return f"\u2014 {key.name} ".encode() + b64encode(key.key_id + blob) + b"\n"


GOOD = write_note(TEXT, [(KEY, signature())])


@pytest.mark.req("S-TLOG-2")
def test_a_note_made_by_the_reference_implementation_verifies() -> None:
    """Key id, signature and layout are those of the published format; one changed byte of its text is refused."""
    key = parse_key(PUBLISHED_KEY)
    note = open_note(PUBLISHED_NOTE, [key])
    assert note.signed_by == (key,)
    assert str(key) == PUBLISHED_KEY
    with pytest.raises(Integrity, match="bad_note_signature"):
        open_note(PUBLISHED_NOTE.replace(b"answer", b"Answer"), [key])


@pytest.mark.req("S-TLOG-2")
def test_a_checkpoint_has_three_lines_and_one_spelling() -> None:
    """Origin, decimal size, base64 root; every other spelling of the same content is refused."""
    root = b64encode(bytes(range(32))).decode()
    assert parse_checkpoint(f"{ORIGIN}\n7\n{root}\n") == Checkpoint(ORIGIN, 7, bytes(range(32)))
    assert parse_checkpoint(f"{ORIGIN}\n0\n{root}\n").size == 0
    for wrong in (
        f"{ORIGIN}\n07\n{root}\n", f"{ORIGIN}\n+7\n{root}\n", f"{ORIGIN}\n7 \n{root}\n", f"{ORIGIN}\n-7\n{root}\n",
        f"{ORIGIN}\n\u0667\n{root}\n", f"{ORIGIN}\n7\n{root}\nextension\n", f"{ORIGIN}\n7\n{root}", f"{ORIGIN}\n7\n",
        f"\n7\n{root}\n", f"a b\n7\n{root}\n", f"a+b\n7\n{root}\n", f"{ORIGIN}\n7\n{root[:-1]}\n",
        f"{ORIGIN}\n7\n{root.replace('=', '')}\n", f"{ORIGIN}\n7\n{b64encode(bytes(31)).decode()}\n",
        f"{ORIGIN}\n7\n{b64encode(bytes(33)).decode()}\n", f"{ORIGIN}\n7\n {root}\n", f"{ORIGIN}\r\n7\n{root}\n",
        f"{ORIGIN}\n{10**16}\n{root}\n",
    ):  # fmt: skip
        with pytest.raises(Integrity, match="bad_checkpoint"):
            parse_checkpoint(wrong)


@pytest.mark.req("S-TLOG-6")
def test_unknown_keys_are_ignored_and_a_known_key_must_sign_truly() -> None:
    """A foreign signature neither helps nor hurts; a bad one of a known key rejects the note even beside a good one."""
    foreign = line(OTHER, bytes(64))
    assert open_note(GOOD + foreign, [KEY]).signed_by == (KEY,)
    with pytest.raises(Integrity, match="bad_note_signature"):
        open_note(GOOD + foreign, [KEY, OTHER])
    with pytest.raises(Integrity, match="unverified_note"):
        open_note(GOOD, [OTHER])
    with pytest.raises(Integrity, match="unverified_note"):
        open_note(GOOD, [])
    both = write_note(TEXT, [(KEY, signature()), (OTHER, signature(purpose="evidence"))])
    assert open_note(both, [KEY, OTHER]).signed_by == (KEY, OTHER)


@pytest.mark.req("S-TLOG-6")
def test_a_signature_counts_for_its_own_name_and_key_only() -> None:
    """The same key under another name has another key id; a signature moved there does not verify."""
    renamed = NoteKey("another-log", KEY.public)
    assert renamed.key_id != KEY.key_id
    moved = TEXT.encode() + b"\n" + line(renamed, signature())
    assert open_note(moved, [renamed]).signed_by == (renamed,)
    with pytest.raises(Integrity, match="unverified_note"):
        open_note(moved, [KEY])
    with pytest.raises(Integrity, match="foreign_checkpoint"):
        open_checkpoint(moved, [renamed], origin="another-log")


@pytest.mark.req("S-TLOG-6", "S-TLOG-2")
@pytest.mark.parametrize(
    "wrong",
    [
        b"", b"\n", GOOD[:-1], GOOD + b"\n", GOOD.replace(b"\n\n", b"\n"), GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace("\u2014".encode(), b"-"), GOOD + line(KEY, signature()), b"\xff" + GOOD, b"\x07" + GOOD,
        TEXT.encode() + b"\n", TEXT.encode() + b"\n" + line(KEY, b""),
        GOOD.replace(b"\n\n", b"\n\n\n"), TEXT.encode() + b"\n" + line(OTHER, bytes(64)) * 17,
        GOOD[:-2] + b"\n", b"x" * 70_000 + GOOD,
    ],
)  # fmt: skip
def test_a_malformed_note_is_refused(wrong: bytes) -> None:
    """No repair: a note in any other shape is refused, whoever signed it."""
    with pytest.raises(Integrity, match=r"bad_note|unverified_note"):
        open_note(wrong, [KEY])


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_changed_byte_survives(place: int, change: int) -> None:
    """Whatever byte of a signed checkpoint is changed, it no longer verifies as this log's checkpoint."""
    data = bytearray(GOOD)
    data[place] ^= change
    with pytest.raises(Integrity):
        open_checkpoint(bytes(data), [KEY], origin=ORIGIN)


@given(st.text(min_size=0, max_size=200), st.integers(1, 3))
def test_what_is_written_is_read_back(body: str, count: int) -> None:
    """Any text that can be a note's comes back byte for byte; any other is refused by the writer."""
    text = body + "\n"
    try:
        note = write_note(text, [(KEY, signature(text))] + [(OTHER, bytes(64))] * (count - 1))
    except (ValueError, UnicodeEncodeError):
        assert len(text) < 2 or any(c < " " and c != "\n" for c in body) or not body.isprintable()
        return
    assert open_note(note, [KEY]).text == text == note_text(note)


def test_the_writer_refuses_what_the_reader_would() -> None:
    """A name with a space or plus, a short signature, no signature, a text without its end: refused when written."""
    for key, blob in ((NoteKey("a b", KEY.public), bytes(64)), (NoteKey("a+b", KEY.public), bytes(64)), (KEY, b"x")):
        with pytest.raises(ValueError, match="not a note signature"):
            write_note(TEXT, [(key, blob)])
    for text, signatures in ((TEXT, []), ("no end", [(KEY, bytes(64))]), ("\n", [(KEY, bytes(64))])):
        with pytest.raises(ValueError, match="not a note text"):
            write_note(text, signatures)


def test_a_public_key_is_read_only_in_its_own_spelling() -> None:
    """The id inside a key's text must be the key's; another algorithm, length or base64 spelling is refused."""
    name, key_id, data = PUBLISHED_KEY.split("+", 2)
    other_kind = b64encode(b"\x04" + b64decode(data)[1:]).decode()
    for wrong in (
        "", name, f"{name}+00000000+{data}", f"{name}x+{key_id}+{data}", f"{name}+{key_id}+{other_kind}",
        f"{name}+{key_id}+{data[:-4]}", f"{name}+{key_id.upper()}+{data}", f"{name}+{key_id}+{data}\n",
    ):  # fmt: skip
        with pytest.raises(Rejected, match="bad_note_key"):
            parse_key(wrong)


@pytest.mark.req("S-TLOG-8")
def test_both_eras_verify_after_the_key_was_rotated() -> None:
    """With the file of all versions, notes of the old and of the new key verify; with one key, its own only."""
    signer = SeededSigner("rotating")
    old_note = write_note(TEXT, [(NoteKey(ORIGIN, signer.public_now("checkpoints")["1"]),
                                  signer.sign_now("checkpoints", TEXT.encode())[0])])  # fmt: skip
    signer.rotate("checkpoints")
    log = tuple(NoteKey(ORIGIN, public) for public in signer.public_now("checkpoints").values())
    keys = parse_keys(str(PublicKeys(log=log, evidence=signer.public_now("evidence"))))
    new_note = write_note(TEXT, [(log[1], signer.sign_now("checkpoints", TEXT.encode())[0])])
    for note in (old_note, new_note):
        assert open_checkpoint(note, keys.log, origin=ORIGIN).size == 7
    with pytest.raises(Integrity, match="unverified_note"):
        open_checkpoint(new_note, log[:1], origin=ORIGIN)


def test_a_key_file_names_the_line_that_is_wrong() -> None:
    """The file of public keys round-trips; a line of any other kind is refused by its number."""
    keys = PublicKeys(log=(KEY,), evidence={"1": OTHER.public})
    assert parse_keys(str(keys)) == keys
    for wrong in (
        "log x\n",
        f"{keys}evidence 1 {b64encode(OTHER.public).decode()}\n",
        f"{keys}evidence 2 AAAA\n",
        "key\n",
    ):
        with pytest.raises(Rejected, match="bad_key_file") as caught:
            parse_keys(wrong)
        assert caught.value.fields["line"] == len(wrong.splitlines())
