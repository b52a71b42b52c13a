"""A wrong file is told from a damaged one: what to give instead, and no word of tampering."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from byokeep.client.verify import read_keys, verify_epochs, verify_evidence, verify_export, verify_proof
from byokeep.core.errors import Integrity, Rejected
from byokeep.core.file_kind import Kind
from tests.support.auditlog import ALICE

FOLDER = Path(__file__).parent.parent / "vectors"
FILES: dict[Kind, Path] = {
    "export": FOLDER / "audit" / "good.jsonl",
    "proof": FOLDER / "checkpoint" / "proof.json",
    "evidence": FOLDER / "evidence" / "complete.json",
    "epochs": FOLDER / "checkpoint" / "epochs.jsonl",
    "keys": FOLDER / "checkpoint" / "keys.txt",
}
KEYS = read_keys(FILES["keys"])
READERS: dict[Kind, Callable[[Path], object]] = {
    "export": lambda path: verify_export([path], KEYS, epochs=FILES["epochs"], chain=ALICE),
    "proof": lambda path: verify_proof(path, KEYS),
    "evidence": lambda path: verify_evidence(path, read_keys(FOLDER / "evidence" / "keys.txt")),
    "epochs": lambda path: verify_epochs(path, KEYS),
    "keys": read_keys,
}
WRITERS: dict[Kind, str] = {
    "export": "byokeep audit export", "proof": "byokeep audit proof", "evidence": "byokeep evidence export",
    "epochs": "checkpoints/epochs.jsonl", "keys": "byokeep audit keys",
}  # fmt: skip


@pytest.mark.parametrize("wanted", FILES)
def test_each_reader_takes_its_own_files_and_names_the_others(wanted: Kind, tmp_path: Path) -> None:
    """Our other files, foreign ones and an empty one are bad input with the right file named; its own is read."""
    READERS[wanted](FILES[wanted])
    strange = {"notes.txt": b"nothing of ours\n", "empty.json": b" \n", "other.json": b'{"a": 1}', "bytes": b"\xff\0"}
    for name, content in strange.items():
        (tmp_path / name).write_bytes(content)
    for kind, path in [*FILES.items(), *(("", tmp_path / name) for name in strange)]:
        if kind == wanted:
            continue
        with pytest.raises(Rejected) as caught:
            READERS[wanted](path)
        assert caught.value.code == ("empty_file" if path.name == "empty.json" else "wrong_file")
        assert WRITERS[wanted] in caught.value.next_step
        if kind == "proof":
            assert "byokeep audit check-proof" in caught.value.next_step


@pytest.mark.parametrize("kind", ["export", "proof", "evidence", "epochs"])
def test_a_damaged_file_of_the_right_kind_is_no_mistake(kind: Kind, tmp_path: Path) -> None:
    """Cut off or changed in one place it is refused as damaged."""
    whole = FILES[kind].read_bytes()
    damaged = tmp_path / "damaged"
    for content in (whole[:-20], whole.replace(b"0", b"1", 1), whole[: len(whole) - 9] + b"x" * 9):
        damaged.write_bytes(content)
        with pytest.raises(Integrity):
            READERS[kind](damaged)


def test_one_chains_export_is_told_from_a_log_that_lost_the_others(tmp_path: Path) -> None:
    """Against the checkpoints of all chains it says which option is missing; with it the file holds."""
    export, epochs = FILES["export"], FILES["epochs"]
    with pytest.raises(Rejected) as caught:
        verify_export([export], KEYS, epochs=epochs)
    assert (caught.value.code, f"--chain {ALICE}" in caught.value.next_step) == ("one_chain", True)
    assert verify_export([export], KEYS, epochs=epochs, chain=ALICE).chains == 1
    short = tmp_path / "whole-log.jsonl"
    lines = (FOLDER / "audit" / "whole-log.jsonl").read_bytes().splitlines(keepends=True)
    short.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(Integrity):
        verify_export([short], KEYS, epochs=epochs)


def test_a_backup_is_named(tmp_path: Path) -> None:
    """It is not said that we did not write it."""
    (tmp_path / "backup.age").write_bytes(b"age-encryption.org/v1\n-> X25519 \xff")
    with pytest.raises(Rejected, match="wrong_file") as caught:
        READERS["evidence"](tmp_path / "backup.age")
    assert caught.value.next_step.startswith("This is a backup; ")
