"""Check files of byokeep with nothing but public keys: no network, no database, no trust in who made them.

Rules
- A function returns what it checked, in numbers; anything that does not hold raises. Nothing checked is not a pass.
- A chain alone proves nothing: anybody can hash a new one. Records that no signed checkpoint covers were not checked,
  and the report says how many.
- A checkpoint comes each minute. So only records newer than two minutes may be uncovered, and only by a file of epochs
  that is no older. An old file proves the log up to its end, and nothing that somebody appended.

It may not print: the command line does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from byokeep.core import checkpoint, merkle
from byokeep.core.audit import Record, parse_lines, verify_chain, verify_log
from byokeep.core.errors import Integrity, Rejected, Unavailable, refusing
from byokeep.core.evidence import DRILL, DUE, EXPOSURE, LIST, EvidenceReport, read_report
from byokeep.core.evidence import verify_evidence as check_evidence
from byokeep.core.file_kind import HEAD, Kind, expect

MAX_FILE: Final = 1 << 30  # bytes of a file that is read whole
_NO_CHECKPOINT: Final = (
    "No checkpoint looked at: give --epochs, the epochs.jsonl of the checkpoints directory. "
    "The records fit each other, which anybody can arrange."
)
_TOO_OLD: Final = (
    "Take epochs.jsonl from the checkpoints directory as it is now: a log that goes on has a checkpoint over these "
    "records within two minutes. If it still covers no more, they were not written by this log."
)
_NOT_COVERED: Final = "No checkpoint in this file of epochs covers a record of the export. Give the file of this log."


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What an export held. ``covered`` of its ``records`` are in a signed checkpoint; later ones are only chained.

    ``checkpoint_at`` is the time of the newest checkpoint that was looked at. ``rebased`` is the number of the last
    epoch that continued none before it: a database that had lost records was then accepted; 0 = none was.
    """

    chains: int
    records: int
    epochs: int
    covered: int
    checkpoint_at: datetime | None = None
    rebased: int = 0

    @property
    def whole(self) -> bool:
        """Whether a signed checkpoint covers every record; anybody could have chained the ones after it."""
        return self.covered == self.records


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistencyReport:
    """The newer checkpoint only added to the older one."""

    origin: str
    old_size: int
    new_size: int


def read_keys(path: Path) -> checkpoint.PublicKeys:
    """Read a file of public keys. Raises Rejected(``bad_key_file``, ``unreadable_file``, and as :func:`expect`)."""
    with refusing("bad_key_file", Rejected):
        return checkpoint.parse_keys(_read(path, "keys").decode("utf-8"))


def verify_export(
    paths: Sequence[Path], keys: checkpoint.PublicKeys, *, epochs: Path | None = None, chain: UUID | None = None,
    now: datetime | None = None,
) -> ExportReport:  # fmt: skip
    """Check exports or the second copy against the published epochs. Without the epochs file it can only fail.

    Args:
        paths: Files of export lines, in sequence.
        keys: Public keys of the log.
        epochs: ``epochs.jsonl`` of the checkpoint directory: every chain must pass through every head published.
        chain: The one chain in ``paths``; None = all chains of the log.
        now: The time of the check; None = the machine's clock.

    Raises:
        Integrity: The first thing that does not hold, with chain and sequence number.
        Rejected: ``nothing_to_verify``, ``unreadable_file``, and as :func:`expect`; ``one_chain``, ``other_chain``: the
            files hold only one chain, and ``chain`` does not name it.
        Unavailable: ``not_verified``: nothing is wrong in itself, but no signed checkpoint was looked at that covers
            any of it, or more is uncovered than the age of the newest one explains.
    """
    for path in paths:
        expect("export", _head(path))
    state, known = checkpoint.LogState(), dict[UUID, dict[int, bytes]]()
    if epochs is not None:
        state, known = _published(epochs, keys)
    loose: list[int] = []
    records = _noting(parse_lines(_lines(paths)), state, loose)
    try:
        if chain is None:
            heads = verify_log(records, through=known)
        else:
            heads = {chain: verify_chain(records, chain=chain, through=known.get(chain))}
    except Integrity:
        _say_if_alone(paths, known, chain)
        raise
    report = ExportReport(
        chains=len(heads), records=sum(head.seq for head in heads.values()), epochs=state.size,
        covered=sum(state.heads[name].seq for name in heads if name in state.heads),
        checkpoint_at=datetime.fromtimestamp(state.at_us / 1e6, UTC) if state.size else None, rebased=state.base,
    )  # fmt: skip
    if not report.records:
        raise Rejected("nothing_to_verify", next_step="Give files that hold records.")
    if not report.covered:
        raise Unavailable(
            "not_verified", next_step=_NO_CHECKPOINT if epochs is None else _NOT_COVERED, state="unknown",
            records=report.records, covered=0,
        )  # fmt: skip
    if not _explained(state, loose, now or datetime.now(UTC)):
        raise Unavailable(
            "not_verified", next_step=_TOO_OLD, state="unknown", records=report.records, covered=report.covered,
            not_covered=report.records - report.covered,
        )  # fmt: skip
    return report


def _noting(records: Iterable[Record], state: checkpoint.LogState, loose: list[int]) -> Iterator[Record]:
    """Pass records on, and note the first and last time of those that no checkpoint covers."""
    heads = state.heads
    for record in records:
        head = heads.get(record.chain)
        if head is None or record.seq > head.seq:
            loose[:] = [min([*loose[:1], record.at_us]), max([*loose[1:], record.at_us])]
        yield record


def _explained(state: checkpoint.LogState, loose: Sequence[int], now: datetime) -> bool:
    """Whether all that is uncovered is as new as a log with a checkpoint each minute may leave it."""
    at_us, slack = int(now.timestamp() * 1e6), checkpoint.EXPLAINED_S * 1_000_000
    times = [state.at_us, *loose]
    return not loose or (min(times) >= at_us - slack and max(times) <= at_us + slack)


def _say_if_alone(paths: Sequence[Path], known: Mapping[UUID, object], chain: UUID | None) -> None:
    """Tell mistake from damage: the file is one chain's export, and another chain or the whole log was asked for."""
    with suppress(Integrity):
        chains = {record.chain for record in parse_lines(_lines(paths))}
        if len(chains) != 1 or chains == {chain}:
            return
        (held,) = chains
        if chain is not None:
            raise Rejected("other_chain", next_step=f"The file holds chain {held}: give --chain {held}.", chain=held)
        if len(known) > 1:
            raise Rejected("one_chain", next_step=f"The files hold one chain of the log: add --chain {held}.")


def verify_epochs(path: Path, keys: checkpoint.PublicKeys) -> checkpoint.LogState:
    """Replay a file of epochs with all signatures; returns the state it ends in.

    Raises:
        Integrity: What does not hold.
        Rejected: ``nothing_to_verify``.
    """
    return _published(path, keys)[0]


def verify_consistency(old: Path, new: Path, epochs: Path, keys: checkpoint.PublicKeys) -> ConsistencyReport:
    """Check that a newer signed checkpoint only adds to an older one (S-TLOG-4).

    Args:
        old: The older note.
        new: The newer note.
        epochs: ``epochs.jsonl``; only its leaves are used, for the proof.
        keys: Public keys of the log.

    Raises:
        Integrity: ``bad_consistency_proof``, ``checkpoint_inconsistent``, or what is wrong with a note or an epoch.
    """
    origin = _origin(keys)
    first = checkpoint.open_checkpoint(_read(old), keys.log, origin=origin)
    last = checkpoint.open_checkpoint(_read(new), keys.log, origin=origin)
    leaves = [merkle.leaf_hash(epoch.leaf) for epoch in _epochs(epochs)]
    if not 1 <= first.size <= last.size <= len(leaves):
        raise Integrity("bad_consistency_proof", next_step="The newer checkpoint is smaller, or epochs are missing.")
    proof = merkle.consistency_proof(leaves[: last.size], first.size)
    merkle.verify_consistency(
        old=first.size, old_root=first.root, new=last.size, new_root=last.root, proof=proof
    )  # fmt: skip
    if merkle.root(leaves[: last.size]) != last.root:
        raise Integrity("bad_consistency_proof")
    return ConsistencyReport(origin=origin, old_size=first.size, new_size=last.size)


def verify_proof(path: Path, keys: checkpoint.PublicKeys) -> checkpoint.ClientProof:
    """Check a client's proof. Raises Integrity, Rejected(``unreadable_file``, and as :func:`expect`)."""
    return checkpoint.verify_client_proof(_read(path, "proof"), keys.log)


def verify_evidence(path: Path, keys: checkpoint.PublicKeys) -> EvidenceReport:
    """Check a bundle of evidence; look at ``complete`` and ``missing``. Raises Integrity, Rejected."""
    return check_evidence(_read(path, "evidence"), keys)


def verify_report(path: Path, keys: checkpoint.PublicKeys) -> dict[str, Any] | None:
    """Check a signed report, and return what to tell of it, led by its ``kind``; None: it is other evidence.

    A report is of an exposure, of what is due, of a list (``csv_sha256`` is the digest of its table as CSV) or of a
    recovery drill, whose steps are as the report has them. Raises Integrity, Rejected.
    """
    found = read_report(_read(path, "evidence"), keys.evidence)
    if found is None:
        return None
    kind, said, payload, key_id = found
    return _TOLD[kind](said, payload) | {"signed_by": key_id}


def _of_exposure(said: Mapping[str, Any], payload: bytes) -> dict[str, Any]:
    return {
        "kind": "exposure_report", "client": said["client"], "about": said["about"]["id"], "since": said["since"],
        "until": said["until"], "complete": said["state"] == "complete", "gaps": len(said["gaps"]),
        "reads": len(said["reads"]), "digest": sha256(payload).hexdigest(),
    }  # fmt: skip


def _of_due(said: Mapping[str, Any], _: bytes) -> dict[str, Any]:
    overdue = sum(one["state"] == "overdue" for one in said["items"])
    return {
        "kind": "due_list", "client": said["client"] or "all", "made_at": said["made_at"], "until": said["until"],
        "items": len(said["items"]), "overdue": overdue, "more": said["more"], "digest": said["digest"],
    }  # fmt: skip


def _of_list(said: Mapping[str, Any], payload: bytes) -> dict[str, Any]:
    (about,) = json.loads(payload)["subject"]
    asked = dict(said["asked"])
    about_client = asked.pop("client", "")
    client = f"{said.get('client') or 'its name is not told'} ({about_client})" if about_client else "none named"
    return {
        "kind": "list", "list": said["list"], "client": client,
        "filter": ", ".join(f"{name} {text}" for name, text in sorted(asked.items())) or "none",
        "made_at": said["made_at"], "made_by": said["made_by"], "made_by_name": said.get("made_by_name", ""),
        "rows": len(said["rows"]), "left": said["left"], "left_is": said["left_is"],
        "csv_sha256": about["digest"]["sha256"],
    }  # fmt: skip


def _of_drill(said: Mapping[str, Any], payload: bytes) -> dict[str, Any]:
    told = {name: said[name] for name in ("id", "outcome", "origin", "backup", "started_at", "ended_at", "network")}
    told |= {name: said[name] for name in ("run_by", "seed", "clients", "rto_s", "rpo_s", "steps")}
    return {"kind": "recovery_drill", **told, "digest": sha256(payload).hexdigest()}


_TOLD: Final = {EXPOSURE: _of_exposure, DUE: _of_due, LIST: _of_list, DRILL: _of_drill}


def _published(path: Path, keys: checkpoint.PublicKeys) -> tuple[checkpoint.LogState, dict[UUID, dict[int, bytes]]]:
    origin, state = _origin(keys), checkpoint.LogState()
    known: dict[UUID, dict[int, bytes]] = {}
    expect("epochs", _head(path))
    for epoch in _epochs(path):
        state = checkpoint.replay(state, epoch, origin=origin, keys=keys.log)
        if state.base == state.size - 1 > 0:
            known.clear()  # it says that it continues none of the heads before it
        for head in checkpoint.parse_heads(epoch.heads):
            known.setdefault(head.chain, {})[head.seq] = head.hash
    if not state.size:
        raise Rejected("nothing_to_verify", next_step="Give another file: this file of epochs is empty.")
    return state, known


def _epochs(path: Path) -> Iterator[checkpoint.SignedEpoch]:
    for line in _lines([path]):
        if not line.endswith(b"\n"):
            raise Integrity("bad_epoch")
        yield checkpoint.parse_epoch_line(line[:-1])


def _origin(keys: checkpoint.PublicKeys) -> str:
    names = {key.name for key in keys.log}
    if len(names) != 1:
        raise Rejected("bad_key_file", next_step="Give the keys of exactly one log.")
    return names.pop()


def _lines(paths: Sequence[Path]) -> Iterator[bytes]:
    for path in paths:
        with _reading(path), path.open("rb") as file:
            yield from file


def _head(path: Path, size: int = HEAD) -> bytes:
    with _reading(path), path.open("rb") as file:
        return file.read(size)


def _reading(path: Path) -> AbstractContextManager[None]:
    name = "".join(one if one.isprintable() else "?" for one in str(path))
    step = f"{name} cannot be read. Give files that exist and that you may read."
    return refusing("unreadable_file", Rejected, on=OSError, next_step=step)


def _read(path: Path, wanted: Kind | None = None) -> bytes:
    data = _head(path, MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise Rejected("file_too_large")
    if wanted is not None:
        expect(wanted, data)
    return data
