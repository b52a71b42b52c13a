"""RFC 6962 / 9162 Merkle trees: roots, proofs, and their verification.

Rules
- Leaves are hashed with prefix 0x00, nodes with 0x01; the root of nothing is SHA-256 of nothing (S-TLOG-1).
- Trees are given as leaf hashes, left to right. There is no recursion, and a proof's length is not trusted.
- A check raises: there is no result that a caller could forget to look at.

It may not know what a leaf means.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from byokeep.core.errors import Integrity

EMPTY_ROOT: Final = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Hash a leaf's data."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into one."""
    return sha256(b"\x01" + left + right).digest()


def root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    while len(level) > 1:
        level = _up(level)
    return level[0]


def inclusion_proof(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Return the path from leaf ``index`` to the root (RFC 9162, 2.1.3.1).

    Raises:
        ValueError: No such leaf.
    """
    if not 0 <= index < len(hashes):
        raise ValueError("no such leaf")
    path, level = [], list(hashes)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = _up(level)
        index >>= 1
    return path


def consistency_proof(hashes: Sequence[bytes], old: int) -> list[bytes]:
    """Return the proof that the tree over the first ``old`` leaves is a prefix of the whole (RFC 9162, 2.1.4.1).

    Raises:
        ValueError: ``old`` is not between 1 and the number of leaves.
    """
    if not 1 <= old <= len(hashes):
        raise ValueError("no such earlier tree")
    low, high, whole, proof = 0, len(hashes), True, []
    while old < high:
        split = low + (1 << (high - low - 1).bit_length() - 1)
        if old <= split:
            proof.append(root(hashes[split:high]))
            high = split
        else:
            proof.append(root(hashes[low:split]))
            low, whole = split, False
    if not whole:
        proof.append(root(hashes[low:high]))
    proof.reverse()
    return proof


def verify_inclusion(*, leaf: bytes, index: int, size: int, proof: Sequence[bytes], tree_root: bytes) -> None:
    """Check that the leaf hash ``leaf`` is at ``index`` in the tree of ``size`` leaves (RFC 9162, 2.1.3.2).

    Raises:
        Integrity: ``bad_inclusion_proof``.
    """
    if not 0 <= index < size:
        raise Integrity("bad_inclusion_proof")
    position, last, found = index, size - 1, leaf
    for part in proof:
        if last == 0:
            raise Integrity("bad_inclusion_proof")
        if position & 1 or position == last:
            found = node_hash(part, found)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            found = node_hash(found, part)
        position, last = position >> 1, last >> 1
    if last or found != tree_root:
        raise Integrity("bad_inclusion_proof")


def verify_consistency(*, old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of ``new`` leaves only appends to the tree of ``old`` leaves (RFC 9162, 2.1.4.2).

    Raises:
        Integrity: ``bad_consistency_proof``; also when the new tree is smaller.
    """
    if not 0 <= old <= new:
        raise Integrity("bad_consistency_proof")
    if old in (0, new):
        expected = EMPTY_ROOT if old == 0 else new_root
        if proof or old_root != expected:
            raise Integrity("bad_consistency_proof")
        return
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    if not path:
        raise Integrity("bad_consistency_proof")
    was = now = path[0]
    for part in path[1:]:
        if last == 0:
            raise Integrity("bad_consistency_proof")
        if position & 1 or position == last:
            was, now = node_hash(part, was), node_hash(part, now)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            now = node_hash(now, part)
        position, last = position >> 1, last >> 1
    if last or was != old_root or now != new_root:
        raise Integrity("bad_consistency_proof")


class Edge(NamedTuple):
    """The right edge of a tree: what is needed to append a leaf and to know the root, log2(size) hashes.

    ``hashes`` are the roots of the full subtrees, largest first: one for each bit set in ``size``.
    """

    size: int
    hashes: tuple[bytes, ...]

    def append(self, leaf: bytes) -> Edge:
        """Return the edge after one more leaf hash."""
        hashes, size, found = list(self.hashes), self.size, leaf
        while size & 1:
            found = node_hash(hashes.pop(), found)
            size >>= 1
        return Edge(self.size + 1, (*hashes, found))

    def root(self) -> bytes:
        """Return the tree's root.

        Raises:
            Integrity: ``bad_tree_edge``; the edge does not fit its size.
        """
        if len(self.hashes) != self.size.bit_count():
            raise Integrity("bad_tree_edge")
        if not self.hashes:
            return EMPTY_ROOT
        found = self.hashes[-1]
        for part in reversed(self.hashes[:-1]):
            found = node_hash(part, found)
        return found


def _up(level: list[bytes]) -> list[bytes]:
    """Join neighbours. An odd last one moves up unchanged, which amounts to RFC 6962's split."""
    above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    if len(level) & 1:
        above.append(level[-1])
    return above
