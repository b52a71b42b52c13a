"""The log of epochs: every minute, one leaf that commits to the heads of all chains (docs/spec/checkpoint.md).

Rules
- An epoch may only add: every chain goes on from where the last epoch left it, none disappears. The one exception says
  so itself: a rebased epoch names every head anew, after two people accepted a database that had lost records.
- The log's state is what a replay of its epochs gives; who keeps epochs, signs them or checks them uses this replay.
- Heads are kept as changes from one epoch to the next.

It may not sign, and it trusts no stored root that it can compute.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from uuid import UUID

from byokeep.core import merkle
from byokeep.core.audit import ChainHead
from byokeep.core.canonical import canonical_json, parse_canonical
from byokeep.core.errors import Integrity
from byokeep.core.note import Checkpoint, NoteKey, note_text, open_checkpoint, parse_checkpoint

PERIOD_S: Final = 60  # seconds from one checkpoint to the next
EXPLAINED_S: Final = 2 * PERIOD_S  # how far back a record may lie that no checkpoint covers
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{1,62}\Z")
_NEXT: Final = "Keep the database and the checkpoint directory as they are; run `byokeep audit verify` on both."


class EpochLeaf(NamedTuple):
    """One epoch: its number from 0, Unix time in microseconds, the root over all heads and how many they are.

    ``rebased`` is the code of why it continues no head of the epochs before it; empty = it does.
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
    try:
        found: Any = parse_canonical(data)
        version = found["v"] if isinstance(found, dict) and "v" in found else 0
        if version not in (1, 2):
            raise ValueError("version")
        more = ("rebased",) if version == 2 else ()
        found = _object(found, "at_us", "chains", "epoch", "heads_root", "v", *more)
        rebased = str(found["rebased"]) if more else ""
        if more and (not _CODE.match(rebased) or found["epoch"] == 0):
            raise ValueError("rebased")
        return EpochLeaf(
            _count(found["epoch"]), _count(found["at_us"]), hash_from(found["heads_root"]), _count(found["chains"]),
            rebased,
        )  # fmt: skip
    except (ValueError, TypeError):
        raise Integrity("bad_epoch") from None


def _members(head: ChainHead) -> dict[str, str | int]:
    return {"chain": str(head.chain), "seq": head.seq, "hash": head.hash.hex()}


def head_data(head: ChainHead) -> bytes:
    """Return a head's bytes as a leaf of the heads tree."""
    return canonical_json(_members(head))


def heads_data(heads: Sequence[ChainHead]) -> bytes:
    """Return changed heads as they are kept: a canonical JSON list sorted by chain."""
    return canonical_json([_members(head) for head in sorted(heads)])


def parse_heads(data: bytes) -> list[ChainHead]:
    """Parse what :func:`heads_data` wrote.

    Raises:
        Integrity: ``bad_epoch``.
    """
    try:
        found = parse_canonical(data)
        heads = [parse_head(item) for item in _list(found)]
        if any(a.chain >= b.chain for a, b in pairwise(heads)):
            raise ValueError("order")
    except (ValueError, TypeError):
        raise Integrity("bad_epoch") from None
    return heads


def parse_head(value: object) -> ChainHead:
    """Read one head from parsed JSON. Raises ValueError or TypeError on any other shape."""
    found = _object(value, "chain", "hash", "seq")
    chain = UUID(found["chain"])
    if str(chain) != found["chain"] or _count(found["seq"]) < 1:
        raise ValueError("not a head")
    return ChainHead(chain, found["seq"], hash_from(found["hash"]))


class SignedEpoch(NamedTuple):
    """One epoch as kept outside the database: its leaf, the heads that moved, the signed checkpoint."""

    leaf: bytes
    heads: bytes
    note: bytes

    def line(self) -> bytes:
        """Return its line in the file of epochs, without the line end."""
        return canonical_json(
            {"v": 1, "leaf": self.leaf.decode(), "heads": self.heads.decode(), "note": self.note.decode()}
        )


def parse_epoch_line(line: bytes) -> SignedEpoch:
    """Parse what :meth:`SignedEpoch.line` wrote.

    Raises:
        Integrity: ``bad_epoch``.
    """
    try:
        found = _object(parse_canonical(line), "heads", "leaf", "note", "v")
        if found["v"] != 1:
            raise ValueError("version")
        return SignedEpoch(found["leaf"].encode(), found["heads"].encode(), found["note"].encode())
    except (ValueError, TypeError, AttributeError):
        raise Integrity("bad_epoch") from None


class LogState(NamedTuple):
    """What a log stands at. ``hashes`` are the heads tree's leaf hashes by chain; ``leaf`` the newest epoch's bytes.

    ``base`` is the number of the last epoch that was rebased; 0 = none was. ``before`` is the tree without the newest
    epoch: the way from it to the root.
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
        """Return the leaf that follows when these heads have moved on; ``rebased`` = when these are all there is."""
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
        keys: Public keys; None = do not check the signature (who keeps epochs holds no keys), only what it says.

    Raises:
        Integrity: ``checkpoint_inconsistent``, or what is wrong with the note.
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
    """Return the error of a log that is not a continuation of what was published."""
    return Integrity("checkpoint_inconsistent", next_step=_NEXT, reason=reason, **fields)


class Inclusion(NamedTuple):
    """Proof that a chain's head stands in a signed checkpoint, for somebody who has nothing but the public key."""

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
        """Check signature and both paths; returns the checkpoint.

        Raises:
            Integrity: What does not hold.
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
        KeyError: The checkpoint does not know the chain yet.
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


def parse_inclusion(value: object) -> Inclusion:
    """Read a proof from parsed JSON. Raises ValueError or TypeError on any other shape."""
    found = _object(value, "checkpoint", "epoch_path", "head", "heads_path", "leaf", "position")
    return Inclusion(
        parse_head(found["head"]), _count(found["position"]),
        tuple(hash_from(part) for part in _list(found["heads_path"])), str(found["leaf"]).encode(),
        tuple(hash_from(part) for part in _list(found["epoch_path"])), str(found["checkpoint"]).encode(),
    )  # fmt: skip


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


def _object(value: Any, *names: str) -> dict[str, Any]:
    if not isinstance(value, dict) or sorted(value) != sorted(names):
        raise ValueError("not the members expected")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("not a list")
    return value
