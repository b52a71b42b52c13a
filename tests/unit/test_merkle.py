"""Merkle trees against published vectors and against a second, recursive implementation that shares no code."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep.core import merkle
from byokeep.core.errors import Integrity

# The eight leaves and roots that Certificate Transparency's own test suites use.
LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
HASHES = [merkle.leaf_hash(leaf) for leaf in LEAVES]


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962, 2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_consistency(m: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """RFC 6962, 2.1.2, word for word."""
    if m == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*naive_consistency(m, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_consistency(m - k, leaves[k:], False), naive_root(leaves[:k])]


@pytest.mark.req("S-TLOG-1")
def test_published_roots_are_met_by_both_implementations() -> None:
    """Each prefix of the published leaves has its published root; another prefix byte would not."""
    for size, expected in enumerate(ROOTS):
        assert merkle.root(HASHES[:size]).hex() == expected == naive_root(LEAVES[:size]).hex()
    assert sha256(b"\x01" + LEAVES[1]).digest() != HASHES[1]


@pytest.mark.req("S-TLOG-1", "S-TLOG-4")
@given(st.integers(1, 70), st.data())
def test_proofs_equal_the_recursive_ones_and_verify(size: int, data: st.DataObject) -> None:
    """For any tree and place both implementations give one proof, and it verifies."""
    leaves = [bytes([i]) * 3 for i in range(size)]
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    path = merkle.inclusion_proof(hashes, index)
    assert path == naive_path(index, leaves)
    merkle.verify_inclusion(leaf=hashes[index], index=index, size=size, proof=path, tree_root=naive_root(leaves))
    proof = merkle.consistency_proof(hashes, old)
    assert proof == naive_consistency(old, leaves)
    merkle.verify_consistency(
        old=old, old_root=naive_root(leaves[:old]), new=size, new_root=naive_root(leaves), proof=proof
    )


@pytest.mark.req("S-TLOG-4")
def test_every_wrong_place_size_or_proof_is_refused() -> None:
    """In all trees up to 17 leaves a proof verifies for its own place and size, and after no change to it."""
    hashes = [merkle.leaf_hash(bytes([i])) for i in range(17)]
    for size in range(1, 18):
        tree_root = merkle.root(hashes[:size])
        for index in range(size):
            path = merkle.inclusion_proof(hashes[:size], index)
            for other in [*range(size + 1), -1]:
                if other != index:
                    refuse_inclusion(hashes[index], other, size, path, tree_root)
            refuse_inclusion(hashes[index], index, size, [*path, path[0] if path else hashes[0]], tree_root)
            refuse_inclusion(merkle.leaf_hash(b"other"), index, size, path, tree_root)
            for cut in range(len(path)):
                refuse_inclusion(hashes[index], index, size, path[:cut] + path[cut + 1 :], tree_root)
                refuse_inclusion(hashes[index], index, size, [*path[:cut], bytes(32), *path[cut + 1 :]], tree_root)


def refuse_inclusion(leaf: bytes, index: int, size: int, proof: list[bytes], tree_root: bytes) -> None:
    with pytest.raises(Integrity, match="bad_inclusion_proof"):
        merkle.verify_inclusion(leaf=leaf, index=index, size=size, proof=proof, tree_root=tree_root)


@pytest.mark.req("S-TLOG-4")
def test_every_tree_that_does_not_continue_the_older_one_is_refused() -> None:
    """A fork, a smaller tree, a proof too long, too short or changed: all are refused."""
    hashes = [merkle.leaf_hash(bytes([i])) for i in range(17)]
    fork = [merkle.leaf_hash(b"fork"), *hashes[1:]]
    for new in range(1, 18):
        for old in range(1, new + 1):
            good: dict[str, Any] = {"old": old, "old_root": merkle.root(hashes[:old]), "new": new}
            good |= {"new_root": merkle.root(hashes[:new]), "proof": merkle.consistency_proof(hashes[:new], old)}
            merkle.verify_consistency(**good)
            proof = list(good["proof"])
            wrong: list[dict[str, Any]] = [
                {"old_root": merkle.root(fork[:old])}, {"new_root": merkle.root(fork[:new])},
                {"proof": [*proof, hashes[0]]}, {"old": new, "new": old - 1}, {"old": -1},
            ]  # fmt: skip
            wrong += [{"proof": [*proof[:i], bytes(32), *proof[i + 1 :]]} for i in range(len(proof))]
            wrong += [{"proof": proof[:i] + proof[i + 1 :]} for i in range(len(proof))]
            for change in wrong:
                with pytest.raises(Integrity, match="bad_consistency_proof"):
                    merkle.verify_consistency(**{**good, **change})


def test_an_empty_tree_is_a_prefix_of_every_tree_but_only_as_the_empty_root() -> None:
    """Size 0 needs no proof and no other root than that of nothing."""
    tree_root = merkle.root(HASHES)
    merkle.verify_consistency(old=0, old_root=merkle.EMPTY_ROOT, new=8, new_root=tree_root, proof=[])
    changes: list[dict[str, Any]] = [{"old_root": tree_root}, {"proof": [tree_root]}]
    for change in changes:
        good: dict[str, Any] = {"old": 0, "old_root": merkle.EMPTY_ROOT, "new": 8, "new_root": tree_root, "proof": []}
        with pytest.raises(Integrity):
            merkle.verify_consistency(**{**good, **change})


def test_asking_for_a_proof_that_can_not_be_is_an_error_of_the_caller() -> None:
    """No such leaf and no such earlier tree are refused before anything is computed."""
    for index in (-1, 8):
        with pytest.raises(ValueError, match="no such leaf"):
            merkle.inclusion_proof(HASHES, index)
    for old in (0, 9):
        with pytest.raises(ValueError, match="no such earlier tree"):
            merkle.consistency_proof(HASHES, old)


@given(st.lists(st.binary(max_size=8), max_size=40))
def test_the_right_edge_gives_the_root_of_the_whole_tree(leaves: list[bytes]) -> None:
    """Appending leaf by leaf to the edge gives the root that the whole tree has."""
    edge = merkle.Edge(0, ())
    for leaf in leaves:
        edge = edge.append(merkle.leaf_hash(leaf))
    assert edge.root() == naive_root(leaves)
    assert len(edge.hashes) == len(leaves).bit_count()


def test_an_edge_that_does_not_fit_its_size_is_refused() -> None:
    """Stored hashes that are too few or too many are not a tree."""
    for edge in (merkle.Edge(3, (HASHES[0],)), merkle.Edge(0, (HASHES[0],))):
        with pytest.raises(Integrity, match="bad_tree_edge"):
            edge.root()
