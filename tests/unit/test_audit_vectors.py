"""The published vectors: the product's verifier and an independent one agree on every file."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from byokeep.client.verify import (
    read_keys,
    verify_consistency,
    verify_epochs,
    verify_evidence,
    verify_export,
    verify_proof,
)
from byokeep.core.checkpoint import EXPLAINED_S, open_checkpoint, parse_leaf
from byokeep.core.errors import Integrity, Rejected, Unavailable
from byokeep.core.events import EventName
from byokeep.core.evidence import ITEMS_OF, ONBOARD
from byokeep.core.evidence import verify_evidence as verify_bundle
from byokeep.core.ref import parse
from tests.support.auditlog import ALICE, BOB, MemoryLog, named, sample_log
from tests.vectors.make_audit import all_vectors

FOLDER = Path(__file__).parent.parent / "vectors"
SECOND = FOLDER / "independent_verify.py"
KEYS = read_keys(FOLDER / "checkpoint" / "keys.txt")
EPOCHS = FOLDER / "checkpoint" / "epochs.jsonl"


def cases(folder: str) -> list[Any]:
    """(file name, what is expected) of a folder."""
    found = json.loads((FOLDER / folder / "cases.json").read_text())
    assert found
    return [pytest.param(FOLDER / folder / name, want, id=name) for name, want in found.items()]


def second_agrees(good: bool, *arguments: str | Path) -> None:
    """Run the independent verifier in a process of its own, without the product on its path."""
    command = [sys.executable, "-I", str(SECOND), str(FOLDER / "checkpoint" / "keys.txt"), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert (result.returncode == 0) == good, result.stderr.decode()


def test_vectors_are_what_the_generator_writes() -> None:
    """A format that changed by accident shows here; every generated file is listed in its folder's cases."""
    made = all_vectors()
    kept = {
        f"{folder}/{file.name}": file.read_bytes()
        for folder in ("ref", "audit", "checkpoint", "evidence")
        for file in (FOLDER / folder).iterdir()
    }
    assert kept == made


def test_the_second_verifier_shares_no_code() -> None:
    """It imports the standard library and one cryptographic primitive."""
    text = SECOND.read_text()
    imports = [line for line in text.splitlines() if line.startswith(("import ", "from "))]
    assert not [line for line in imports if "byokeep" in line or "tests" in line]


@pytest.mark.req("S-TLOG-1", "S-TLOG-4", "S-TLOG-10")
@pytest.mark.parametrize(("path", "want"), cases("audit"))
def test_exports(path: Path, want: dict[str, Any]) -> None:
    """Good exports pass both verifiers; each tampered one fails both, ours naming the first bad place and why."""
    chain = None if want.get("whole") else ALICE
    second_agrees(not want["code"], "--epochs", EPOCHS, "--export", path, *(["--whole"] if chain is None else []))
    if not want["code"]:
        report = verify_export([path], KEYS, epochs=EPOCHS, chain=chain)
        assert report.covered == report.records > 0
        assert report.epochs == 3
        return
    with pytest.raises(Integrity) as caught:
        verify_export([path], KEYS, epochs=EPOCHS, chain=chain)
    expected = {name: value for name, value in want.items() if name in ("seq", "reason", "line")}
    assert caught.value.code == want["code"]
    assert {name: caught.value.fields.get(name) for name in expected} == expected


@pytest.mark.req("S-TLOG-1", "S-TLOG-2", "S-TLOG-3", "S-TLOG-6", "S-TLOG-9")
@pytest.mark.parametrize(("path", "want"), cases("checkpoint"))
def test_checkpoints_and_proofs(path: Path, want: dict[str, Any]) -> None:
    """Notes, files of epochs and a client's proof: both verifiers accept the good and refuse each forgery."""
    second_agrees(not want["code"], f"--{want['kind']}", path)

    def check() -> None:
        if want["kind"] == "note":
            open_checkpoint(path.read_bytes(), KEYS.log, origin=KEYS.log[0].name)
        elif want["kind"] == "epochs":
            state, base = verify_epochs(path, KEYS), want.get("base", 0)
            assert (state.size, state.base) == (4 if base else 3, base)
            assert (BOB in state.heads, state.heads[ALICE].seq) == ((False, 3) if base else (True, 6))
        else:
            proof = verify_proof(path, KEYS)
            assert (proof.chain, proof.records, proof.log_size) == (ALICE, 6, 3)

    if not want["code"]:
        check()
        return
    with pytest.raises(Integrity) as caught:
        check()
    assert caught.value.code == want["code"]


@pytest.mark.req("R5.1-12", "R5.1-13", "R5.1-15", "S-TLOG-9")
@pytest.mark.parametrize(("path", "want"), cases("evidence"))
def test_evidence(path: Path, want: dict[str, Any]) -> None:
    """A complete bundle is complete; a missing item is named; a record that does not belong is refused by its item."""
    keys = read_keys(FOLDER / "evidence" / "keys.txt")
    if not want["code"]:
        report = verify_evidence(path, keys)
        assert list(report.missing) == want["missing"]
        assert report.complete == (not want["missing"])
        assert set(report.onboarding.items) | set(report.missing) == set(ITEMS_OF[ONBOARD])
        return
    with pytest.raises(Integrity) as caught:
        verify_bundle(path.read_bytes(), keys)
    assert caught.value.code == want["code"]
    assert caught.value.fields.get("item") == want.get("item")


def test_refs() -> None:
    """Every accepted reference comes back byte for byte; every other spelling is refused without an echo."""
    found = json.loads((FOLDER / "ref" / "refs.json").read_text())
    for text in found["accepted"]:
        assert str(parse(text)) == text
    for text in found["refused"]:
        with pytest.raises(Rejected) as caught:
            parse(text)
        assert not text or text not in f"{caught.value} {caught.value.next_step}"


@pytest.mark.req("S-TLOG-4")
def test_an_older_and_a_newer_checkpoint_are_compared(tmp_path: Path) -> None:
    """The newer only added to the older; swapped, or with an epoch changed or missing, they do not fit."""
    old, new = FOLDER / "checkpoint" / "old-checkpoint", FOLDER / "checkpoint" / "checkpoint"
    report = verify_consistency(old, new, EPOCHS, KEYS)
    assert (report.old_size, report.new_size) == (1, 3)
    with pytest.raises(Integrity, match="bad_consistency_proof"):
        verify_consistency(new, old, EPOCHS, KEYS)
    lines = EPOCHS.read_bytes().splitlines(keepends=True)
    for broken in (lines[:2], [lines[1], lines[1], lines[2]], [lines[0], lines[2], lines[1]]):
        (tmp_path / "epochs.jsonl").write_bytes(b"".join(broken))
        with pytest.raises(Integrity, match="bad_consistency_proof"):
            verify_consistency(old, new, tmp_path / "epochs.jsonl", KEYS)
    (tmp_path / "torn.jsonl").write_bytes(EPOCHS.read_bytes()[:-1])
    with pytest.raises(Integrity, match="bad_epoch"):
        verify_consistency(old, new, tmp_path / "torn.jsonl", KEYS)


def test_a_proof_of_one_client_says_nothing_of_another() -> None:
    """Neither the id nor any hash of another client's records stands in a proof."""
    proof = (FOLDER / "checkpoint" / "proof.json").read_text()
    assert str(ALICE) in proof
    assert str(BOB) not in proof
    for line in (FOLDER / "audit" / "whole-log.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert (record["hash"] in proof) == (record["chain"] == str(ALICE))


def test_nothing_checked_is_not_a_pass(tmp_path: Path) -> None:
    """Empty files, missing files and keys of no log or of two logs are refused, never reported as sound."""
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    for call in (
        lambda: verify_export([empty], KEYS), lambda: verify_export([], KEYS), lambda: verify_epochs(empty, KEYS),
        lambda: verify_export([empty], KEYS, epochs=EPOCHS),
        lambda: verify_export([empty], KEYS, epochs=EPOCHS, chain=ALICE),
        lambda: verify_export([FOLDER / "audit" / "good.jsonl", empty], KEYS, epochs=EPOCHS, chain=ALICE),
        lambda: verify_export([FOLDER / "audit" / "good.jsonl"], KEYS, epochs=empty),
        lambda: verify_export([tmp_path / "missing"], KEYS), lambda: verify_proof(tmp_path / "missing", KEYS),
        lambda: verify_epochs(EPOCHS, read_keys(empty)),
    ):  # fmt: skip
        with pytest.raises(Rejected):
            call()


@pytest.mark.req("S-TLOG-4")
def test_an_export_without_a_checkpoint_over_it_is_not_verified(tmp_path: Path) -> None:
    """Hashed anew, cut off, under a stranger's keys or beside other chains' checkpoints: exit code 4, no pass."""
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join((FOLDER / "audit" / "good.jsonl").read_bytes().splitlines(keepends=True)[:2]))
    strange = read_keys(FOLDER / "evidence" / "keys.txt")
    new = MemoryLog()
    for _ in range(2):
        new.append(named("carol"), EventName.KEY_STORED)
    uncovered = tmp_path / "uncovered.jsonl"
    uncovered.write_bytes(b"".join(line + b"\n" for line in new.lines(named("carol"))))
    for path, keys, epochs, chain, says in (
        (FOLDER / "audit" / "good.jsonl", KEYS, None, ALICE, "give --epochs"),
        (FOLDER / "audit" / "good.jsonl", KEYS, None, None, "give --epochs"),
        (FOLDER / "audit" / "good.jsonl", strange, None, ALICE, "give --epochs"),
        (FOLDER / "audit" / "hashed-anew.jsonl", KEYS, None, ALICE, "give --epochs"),
        (cut, KEYS, None, ALICE, "give --epochs"),
        (uncovered, KEYS, EPOCHS, named("carol"), "covers a record"),
    ):
        with pytest.raises(Unavailable, match="not_verified") as caught:
            verify_export([path], keys, epochs=epochs, chain=chain)
        assert (caught.value.exit_code, caught.value.fields["state"], says in caught.value.next_step) == (
            4, "unknown", True,
        )  # fmt: skip
    with pytest.raises(Integrity, match="edited"):
        verify_export([FOLDER / "audit" / "payload-edited.jsonl"], KEYS, chain=ALICE)


def test_another_chains_export_is_a_wrong_flag() -> None:
    """The chain that the file holds is named and nothing is called tampered; one foreign record among others is."""
    good = FOLDER / "audit" / "good.jsonl"
    for epochs in (EPOCHS, None):
        with pytest.raises(Rejected, match="other_chain") as caught:
            verify_export([good], KEYS, epochs=epochs, chain=BOB)
        assert f"The file holds chain {ALICE}" in caught.value.next_step
    with pytest.raises(Integrity, match="foreign_chain"):
        verify_export([FOLDER / "audit" / "of-another-client.jsonl"], KEYS, epochs=EPOCHS, chain=ALICE)


@pytest.mark.req("S-TLOG-4")
@pytest.mark.parametrize("chained", [True, False])
def test_old_checkpoints_are_no_proof_of_what_was_appended(tmp_path: Path, chained: bool) -> None:
    """The first lines of a genuine file of epochs under a longer export, genuine or forged: exit code 4, no pass."""
    log = sample_log()
    epochs, export = tmp_path / "epochs.jsonl", tmp_path / "export.jsonl"
    epochs.write_bytes(EPOCHS.read_bytes().splitlines(keepends=True)[0])
    if not chained:
        del log.chains[ALICE][1:]
        for _ in range(3):
            log.append(ALICE, EventName.KEY_STORED)
    export.write_bytes(b"".join(line + b"\n" for line in log.lines(ALICE)))
    first = datetime.fromtimestamp(parse_leaf(log.epochs[0].leaf).at_us / 1e6, UTC)
    last = datetime.fromtimestamp(log.chains[ALICE][-1].at_us / 1e6, UTC)
    soon = max(first, last) + timedelta(seconds=1)
    report = verify_export([export], KEYS, epochs=epochs, chain=ALICE, now=soon)
    assert (report.covered, report.whole) == (1, False), "new, and so is the checkpoint: told, and no more"
    for now in (first + timedelta(seconds=EXPLAINED_S + 1), first - timedelta(seconds=EXPLAINED_S + 1), None):
        with pytest.raises(Unavailable, match="not_verified") as caught:
            verify_export([export], KEYS, epochs=epochs, chain=ALICE, now=now)
        assert (caught.value.exit_code, caught.value.fields["state"], caught.value.fields["not_covered"]) == (
            4, "unknown", len(log.chains[ALICE]) - 1,
        )  # fmt: skip
    only = tmp_path / "covered.jsonl"
    only.write_bytes(export.read_bytes().splitlines(keepends=True)[0])
    assert verify_export([only], KEYS, epochs=epochs, chain=ALICE).whole, "what it covers it covers for ever"


@pytest.mark.req("S-TLOG-4")
def test_a_record_that_says_it_is_new_needs_a_new_checkpoint(tmp_path: Path) -> None:
    """Forged records dated today, above genuine ones and old checkpoints, are not explained by their own date."""
    log = sample_log()
    epochs, export = tmp_path / "epochs.jsonl", tmp_path / "export.jsonl"
    epochs.write_bytes(EPOCHS.read_bytes())
    now = datetime.fromtimestamp(log.now_us / 1e6, UTC) + timedelta(days=300)
    log.now_us = int(now.timestamp() * 1e6)
    log.append(ALICE, EventName.KEY_STORED)
    export.write_bytes(b"".join(line + b"\n" for line in log.lines(ALICE)))
    with pytest.raises(Unavailable, match="not_verified"):
        verify_export([export], KEYS, epochs=epochs, chain=ALICE, now=now + timedelta(seconds=5))
