"""Checkpoints: the log of epochs, the signed note over it, the public keys, a client's proof (docs/spec/checkpoint.md).

Rules
- There is one spelling: the writers here give back byte for byte what :func:`open_note` and :func:`parse_checkpoint`
  accept.
- A signature by an unknown key is ignored. A bad signature by a known key rejects the note. A note that no known key
  signed is not verified (S-TLOG-6).
- A checkpoint has three lines and no extensions: origin, size in decimal, root in base64 (S-TLOG-2).
- Every minute one leaf commits to the heads of all chains. An epoch may only add. There is one exception, which says so
  itself: a rebased epoch names every head again, after two people accepted a database that had lost records.
- The log's state is what a replay of its epochs gives. Whoever keeps, signs or checks epochs uses this replay.
- Public keys are a file, one a line: ``log <note key>`` or ``evidence <key id> <base64>``. Old versions stay listed, so
  that what they signed still verifies (S-TLOG-8). A verifier gets this file by another way than what it verifies.
- A client's proof holds every record of one chain and shows that their head is in a signed checkpoint. Of other chains
  it holds only hashes. For a proof of some records see :mod:`byokeep.core.evidence`.

It may not sign (the private key stays in the store), and may not trust a stored root that it can compute.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from byokeep.core import merkle
from byokeep.core.audit import ChainHead, parse_line, verify_chain
from byokeep.core.canonical import canonical_json
from byokeep.core.errors import Integrity, Rejected, refusing

MAX_NOTE: Final = 64 * 1024  # bytes
MAX_SIGNATURES: Final = 16
_ED25519: Final = b"\x01"
_NAME: Final = re.compile(r"[^\s+]{1,200}\Z")
_SIGNATURE: Final = re.compile(r"\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})\Z")
_SIZE: Final = re.compile(r"(?:0|[1-9][0-9]{0,15})\Z")
_KEY: Final = re.compile(r"([^\s+]{1,200})\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})\Z")


class NoteKey(NamedTuple):
    """A public key for checking notes: its name and 32 raw Ed25519 bytes."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes before each signature of this key."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(_ED25519 + self.public).decode()}"


class Note(NamedTuple):
    """A verified note: its text and the keys that signed it."""

    text: str
    signed_by: tuple[NoteKey, ...]


class Checkpoint(NamedTuple):
    """What a log commits to: its first ``size`` leaves have this ``root``."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the text to sign."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


def parse_key(text: str) -> NoteKey:
    """Parse a public key as :class:`NoteKey` prints it, ``name+id+base64``.

    Raises:
        Rejected: ``bad_note_key``.
    """
    found = _KEY.match(text)
    data = _bytes(found.group(3)) if found else None
    if found and data is not None and data[:1] == _ED25519 and len(data) == 33:
        key = NoteKey(found.group(1), data[1:])
        if key.key_id.hex() == found.group(2):
            return key
    raise Rejected("bad_note_key", next_step="Give the key as `byokeep audit keys` prints it.")


def write_note(text: str, signatures: Iterable[tuple[NoteKey, bytes]]) -> bytes:
    """Return the note: text, an empty line, one line for each ``(key, 64-byte signature)``.

    Raises:
        ValueError: A text, name or signature that a note cannot hold.
    """
    lines = []
    for key, signature in signatures:
        if not _NAME.match(key.name) or len(signature) != 64:
            raise ValueError("not a note signature")
        lines.append(f"\u2014 {key.name} {b64encode(key.key_id + signature).decode()}\n")
    if not _is_text(text) or not lines or len(lines) > MAX_SIGNATURES:
        raise ValueError("not a note text")
    return f"{text}\n{''.join(lines)}".encode()


def open_note(data: bytes, keys: Iterable[NoteKey]) -> Note:
    """Verify a note.

    Raises:
        Integrity: ``bad_note`` (malformed), ``bad_note_signature`` (a known key's signature is wrong),
            ``unverified_note`` (no known key signed it).
    """
    text, signatures = _split(data)
    known = {(key.name, key.key_id): key for key in keys}
    signed_by = []
    for name, blob in signatures:
        key = known.get((name, blob[:4]))
        if key is None:
            continue
        if not verifies(key.public, blob[4:], text.encode()):
            raise Integrity("bad_note_signature")
        if key in signed_by:
            raise Integrity("bad_note")
        signed_by.append(key)
    if not signed_by:
        raise Integrity("unverified_note", next_step="Give the log's public key, as `byokeep audit keys` prints it.")
    return Note(text, tuple(signed_by))


def parse_checkpoint(text: str) -> Checkpoint:
    """Parse the text of a checkpoint.

    Raises:
        Integrity: ``bad_checkpoint``.
    """
    lines = text.split("\n")
    if len(lines) == 4 and lines[3] == "" and _NAME.match(lines[0]) and _SIZE.match(lines[1]):
        root = _bytes(lines[2])
        if root is not None and len(root) == 32:
            return Checkpoint(lines[0], int(lines[1]), root)
    raise Integrity("bad_checkpoint")


def open_checkpoint(data: bytes, keys: Iterable[NoteKey], *, origin: str) -> Checkpoint:
    """Verify and parse a signed checkpoint of the log ``origin``.

    Raises:
        Integrity: As :func:`open_note` and :func:`parse_checkpoint`; ``foreign_checkpoint`` for another log's.
    """
    checkpoint = parse_checkpoint(open_note(data, keys).text)
    if checkpoint.origin != origin:
        raise Integrity("foreign_checkpoint")
    return checkpoint


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` (64 bytes) of ``message`` is by the raw Ed25519 key ``public``."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def note_text(data: bytes) -> str:
    """Return the text of a note without checking its signatures: for whoever keeps notes and has no keys.

    Raises:
        Integrity: ``bad_note``.
    """
    return _split(data)[0]


def _split(data: bytes) -> tuple[str, list[tuple[str, bytes]]]:
    with refusing("bad_note"):
        note = data.decode("utf-8")
    text, gap, tail = note.rpartition("\n\n")
    lines = tail.split("\n")
    if len(data) > MAX_NOTE or not gap or not _is_text(text + "\n") or lines.pop() != "":
        raise Integrity("bad_note")
    if not 1 <= len(lines) <= MAX_SIGNATURES:
        raise Integrity("bad_note")
    signatures = []
    for line in lines:
        found = _SIGNATURE.match(line)
        blob = _bytes(found.group(2)) if found else None
        if found is None or blob is None or len(blob) < 5:
            raise Integrity("bad_note")
        signatures.append((found.group(1), blob))
    return text + "\n", signatures


def _is_text(text: str) -> bool:
    """Whether a text ends with a line end and holds no other control character."""
    return text.endswith("\n") and len(text) > 1 and not any(c < " " and c != "\n" for c in text)


def _bytes(text: str) -> bytes | None:
    """Decode base64 in its one canonical spelling."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        return None
    return data if b64encode(data).decode() == text else None


_EVIDENCE: Final = re.compile(r"evidence ([A-Za-z0-9_.:-]{1,64}) ([A-Za-z0-9+/]{43}=)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKeys:
    """Keys of the log, and keys of evidence by key id (32 raw bytes each)."""

    log: tuple[NoteKey, ...]
    evidence: Mapping[str, bytes]

    def __str__(self) -> str:
        lines = [f"log {key}" for key in self.log]
        lines += [f"evidence {key_id} {b64encode(public).decode()}" for key_id, public in sorted(self.evidence.items())]
        return "".join(line + "\n" for line in lines)


def parse_keys(text: str) -> PublicKeys:
    """Parse a file of public keys.

    Raises:
        Rejected: ``bad_key_file`` with the line.
    """
    log: list[NoteKey] = []
    evidence: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        kind, _, rest = line.partition(" ")
        found = _EVIDENCE.match(line)
        try:
            if kind == "log":
                log.append(parse_key(rest))
            elif found and found.group(1) not in evidence:
                evidence[found.group(1)] = b64decode(found.group(2), validate=True)
            else:
                raise ValueError("neither")
        except (ValueError, Rejected):
            step = "Give the file that `byokeep audit keys` wrote."
            raise Rejected("bad_key_file", next_step=step, line=number) from None
    return PublicKeys(log=tuple(log), evidence=evidence)


PERIOD_S: Final = 60  # seconds from one checkpoint to the next
EXPLAINED_S: Final = 2 * PERIOD_S  # how old a record may be that no checkpoint covers
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{1,62}\Z")
_NEXT: Final = "Keep the database and the checkpoint directory as they are; run `byokeep audit verify` on both."


class EpochLeaf(NamedTuple):
    """One epoch: its number from 0, Unix time in microseconds, the root over all heads, and their number.

    ``rebased`` is a code for why it does not continue the heads of the epochs before it; empty = it does.
    """

    epoch: int
    at_us: int
    heads_root: bytes
    chains: int
    rebased: str = ""

    def data(self) -> bytes:
        """Return the leaf's bytes in the epoch tree."""
        said: dict[str, object] = {
            "v": 1, "epoch": self.epoch, "at_us": self.at_us, "heads_root": self.heads_root.hex(),
            "chains": self.chains,
        }  # fmt: skip
        return canonical_json(said | {"v": 2, "rebased": self.rebased} if self.rebased else said)


def parse_leaf(data: bytes) -> EpochLeaf:
    """Parse an epoch leaf.

    Raises:
        Integrity: ``bad_epoch``.
    """
    with refusing("bad_epoch"):
        found: Any = json.loads(data)
        rebased = str(found.get("rebased", ""))
        leaf = EpochLeaf(
            _count(found["epoch"]), _count(found["at_us"]), hash_from(found["heads_root"]), _count(found["chains"]),
            rebased,
        )  # fmt: skip
        if leaf.data() != data or (rebased and (not _CODE.match(rebased) or leaf.epoch == 0)):
            raise ValueError("not as it is written")
        return leaf


def _members(head: ChainHead) -> dict[str, str | int]:
    return {"chain": str(head.chain), "seq": head.seq, "hash": head.hash.hex()}


def head_data(head: ChainHead) -> bytes:
    """Return a head's bytes as a leaf of the heads tree."""
    return canonical_json(_members(head))


def heads_data(heads: Sequence[ChainHead]) -> bytes:
    """Return changed heads as they are stored: a canonical JSON list sorted by chain."""
    return canonical_json([_members(head) for head in sorted(heads)])


def parse_heads(data: bytes) -> list[ChainHead]:
    """Parse what :func:`heads_data` wrote.

    Raises:
        Integrity: ``bad_epoch``.
    """
    with refusing("bad_epoch"):
        found: Any = json.loads(data)
        heads = [parse_head(item) for item in found]
        if heads_data(heads) != data or any(a.chain == b.chain for a, b in pairwise(heads)):
            raise ValueError("not as they are written")
        return heads


def parse_head(value: Any) -> ChainHead:
    """Read one head from parsed JSON. Raises ValueError, KeyError or TypeError for any other shape."""
    head = ChainHead(UUID(value["chain"]), _count(value["seq"]), hash_from(value["hash"]))
    if _members(head) != value or head.seq < 1:
        raise ValueError("not a head")
    return head


class SignedEpoch(NamedTuple):
    """One epoch as kept outside the database: its leaf, the heads that changed, the signed checkpoint."""

    leaf: bytes
    heads: bytes
    note: bytes

    def line(self) -> bytes:
        """Return its line in the file of epochs, without the line end."""
        said = {"leaf": self.leaf.decode(), "heads": self.heads.decode(), "note": self.note.decode()}
        return canonical_json(said | {"v": 1})


def parse_epoch_line(line: bytes) -> SignedEpoch:
    """Parse what :meth:`SignedEpoch.line` wrote.

    Raises:
        Integrity: ``bad_epoch``.
    """
    with refusing("bad_epoch"):
        found: Any = json.loads(line)
        epoch = SignedEpoch(found["leaf"].encode(), found["heads"].encode(), found["note"].encode())
        if epoch.line() != line:
            raise ValueError("not as it is written")
        return epoch


class LogState(NamedTuple):
    """The state of a log. ``hashes`` are the heads tree's leaf hashes by chain; ``leaf`` the newest epoch's bytes.

    ``base`` is the number of the last rebased epoch; 0 = there was none. ``before`` is the tree without the newest
    epoch, which gives the path from that epoch to the root.
    """

    edge: merkle.Edge = merkle.Edge(0, ())
    heads: Mapping[UUID, ChainHead] = MappingProxyType({})
    hashes: Mapping[UUID, bytes] = MappingProxyType({})
    leaf: bytes = b""
    base: int = 0
    before: merkle.Edge = merkle.Edge(0, ())

    @property
    def size(self) -> int:
        """Number of epochs."""
        return self.edge.size

    @property
    def at_us(self) -> int:
        """Time of the newest epoch, Unix microseconds; 0 before the first."""
        return parse_leaf(self.leaf).at_us if self.leaf else 0

    def checkpoint(self, origin: str) -> Checkpoint:
        """Return what is to be signed for this state."""
        return Checkpoint(origin, self.size, self.edge.root())

    def next_leaf(self, changed: Sequence[ChainHead], *, at_us: int, rebased: str = "") -> EpochLeaf:
        """Return the leaf that follows when these heads have changed; with ``rebased`` there are no other heads."""
        moved = {head.chain: merkle.leaf_hash(head_data(head)) for head in changed}
        hashes = moved if rebased else {**self.hashes, **moved}
        return EpochLeaf(self.size, at_us, _root(hashes), len(hashes), rebased)

    def advance(self, leaf: bytes, changed: Sequence[ChainHead]) -> LogState:
        """Return the state after one more epoch.

        Raises:
            Integrity: ``checkpoint_inconsistent``; the epoch does not continue this state. ``reason`` is one of
                ``epoch_number``, ``time_ran_back``, ``chain_went_back``, ``heads_root``.
        """
        found = parse_leaf(leaf)
        if found.epoch != self.size:
            raise inconsistent("epoch_number", epoch=found.epoch)
        if found.at_us < self.at_us:
            raise inconsistent("time_ran_back", epoch=found.epoch)
        known, trees = ({}, {}) if found.rebased else (self.heads, self.hashes)
        for head in changed:
            before = known.get(head.chain)
            if before and head.seq <= before.seq:
                raise inconsistent("chain_went_back", epoch=found.epoch, chain=head.chain, seq=head.seq)
        heads = {**known, **{head.chain: head for head in changed}}
        hashes = {**trees, **{head.chain: merkle.leaf_hash(head_data(head)) for head in changed}}
        if found.chains != len(heads) or found.heads_root != _root(hashes):
            raise inconsistent("heads_root", epoch=found.epoch)
        base = found.epoch if found.rebased else self.base
        return LogState(self.edge.append(merkle.leaf_hash(leaf)), heads, hashes, leaf, base, self.edge)


def replay(state: LogState, epoch: SignedEpoch, *, origin: str, keys: Sequence[NoteKey] | None) -> LogState:
    """Return the state after ``epoch``, checked against its note.

    Args:
        state: The log before it.
        epoch: The next epoch.
        origin: Whose log this is.
        keys: Public keys; None = check only what the note says, not its signature, for who keeps epochs without keys.

    Raises:
        Integrity: ``checkpoint_inconsistent``, or an error of the note.
    """
    after = state.advance(epoch.leaf, parse_heads(epoch.heads))
    if keys is None:
        said = parse_checkpoint(note_text(epoch.note))
    else:
        said = open_checkpoint(epoch.note, keys, origin=origin)
    if said != after.checkpoint(origin):
        raise inconsistent("note", epoch=state.size)
    return after


def inconsistent(reason: str, **fields: UUID | int) -> Integrity:
    """Return the error for a log that does not continue what was published."""
    return Integrity("checkpoint_inconsistent", next_step=_NEXT, reason=reason, **fields)


class Inclusion(NamedTuple):
    """Proof that a chain's head is in a signed checkpoint, for somebody who has only the public key."""

    head: ChainHead
    position: int
    heads_path: tuple[bytes, ...]
    leaf: bytes
    epoch_path: tuple[bytes, ...]
    note: bytes

    @property
    def epoch(self) -> int:
        """Number of the epoch that holds the head."""
        return parse_leaf(self.leaf).epoch

    def members(self) -> dict[str, object]:
        """Return the proof as JSON members."""
        return {
            "head": _members(self.head),
            "position": self.position,
            "heads_path": [part.hex() for part in self.heads_path],
            "leaf": self.leaf.decode(),
            "epoch_path": [part.hex() for part in self.epoch_path],
            "checkpoint": self.note.decode(),
        }

    def verify(self, keys: Sequence[NoteKey], *, origin: str) -> Checkpoint:
        """Check the signature and both paths; returns the checkpoint.

        Raises:
            Integrity: As :func:`open_checkpoint` or :func:`byokeep.core.merkle.verify_inclusion`.
        """
        checkpoint = open_checkpoint(self.note, keys, origin=origin)
        leaf = parse_leaf(self.leaf)
        merkle.verify_inclusion(
            leaf=merkle.leaf_hash(self.leaf), index=leaf.epoch, size=checkpoint.size,
            proof=self.epoch_path, tree_root=checkpoint.root,
        )  # fmt: skip
        merkle.verify_inclusion(
            leaf=merkle.leaf_hash(head_data(self.head)), index=self.position, size=leaf.chains,
            proof=self.heads_path, tree_root=leaf.heads_root,
        )  # fmt: skip
        return checkpoint


def include(state: LogState, chain: UUID, *, note: bytes) -> Inclusion:
    """Build the proof for ``chain`` in the newest epoch; its cost does not grow with the number of epochs.

    Args:
        state: The log at the checkpoint that ``note`` signs.
        chain: The chain to prove.
        note: The signed checkpoint.

    Raises:
        KeyError: The checkpoint does not include the chain yet.
    """
    chains = sorted(state.hashes)
    index = chains.index(chain) if chain in state.hashes else -1
    if index < 0:
        raise KeyError(chain)
    return Inclusion(
        state.heads[chain], index,
        tuple(merkle.inclusion_proof([state.hashes[name] for name in chains], index)), state.leaf,
        tuple(reversed(state.before.hashes)), note,  # the full subtrees to the left of the last leaf, smallest first
    )  # fmt: skip


def parse_inclusion(value: Any) -> Inclusion:
    """Read a proof from parsed JSON. Any other shape raises what :func:`refusing` turns into one error."""
    found = Inclusion(
        parse_head(value["head"]), _count(value["position"]),
        tuple(hash_from(part) for part in value["heads_path"]), value["leaf"].encode(),
        tuple(hash_from(part) for part in value["epoch_path"]), value["checkpoint"].encode(),
    )  # fmt: skip
    if found.members() != value:
        raise ValueError("not as it is written")
    return found


def _root(hashes: Mapping[UUID, bytes]) -> bytes:
    return merkle.root([hashes[chain] for chain in sorted(hashes)])


def hash_from(text: Any) -> bytes:
    """Read 32 bytes in lower-case hex. Raises ValueError or TypeError."""
    data = bytes.fromhex(text)
    if len(data) != 32 or data.hex() != text:
        raise ValueError("not a SHA-256 in hex")
    return data


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a count")
    return int(value)


TYPE: Final = "byokeep/client-proof/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientProof:
    """What a verified proof says: whose chain, how many records, and the epoch up to which nothing can be missing."""

    origin: str
    chain: UUID
    records: int
    last_hash_hex: str
    epoch: int
    log_size: int


def client_proof_data(origin: str, lines: Sequence[bytes], inclusion: Inclusion) -> bytes:
    """Return the file's bytes."""
    records = [line.decode() for line in lines]
    said = {"v": 1, "type": TYPE, "origin": origin, "records": records, "inclusion": inclusion.members()}
    return canonical_json(said)


def verify_client_proof(data: bytes, keys: Sequence[NoteKey]) -> ClientProof:
    """Check a proof against the log's public keys, whose name is the log's.

    Raises:
        Integrity: ``bad_client_proof`` (malformed), or the check that failed.
    """
    with refusing("bad_client_proof"):
        found: Any = json.loads(data)
        origin, lines = found["origin"], [line.encode() for line in found["records"]]
        inclusion = parse_inclusion(found["inclusion"])
        if client_proof_data(origin, lines, inclusion) != data:
            raise ValueError("not as it is written")
    named = [key for key in keys if key.name == origin]
    checkpoint = inclusion.verify(named, origin=origin)
    head = inclusion.head
    reached = verify_chain(map(parse_line, lines), chain=head.chain, through={head.seq: head.hash})
    if reached != head:
        raise Integrity("bad_client_proof", chain=head.chain, seq=reached.seq)
    return ClientProof(
        origin=origin, chain=head.chain, records=reached.seq, last_hash_hex=reached.hash.hex(),
        epoch=inclusion.epoch, log_size=checkpoint.size,
    )  # fmt: skip
