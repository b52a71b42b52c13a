"""A second verifier, written from docs/spec alone: imports nothing of byokeep, so that one mistake is not made twice.

``python independent_verify.py keys.txt (--note FILE | --epochs FILE [--export FILE] | --proof FILE)``
Exit code 0 = it holds. Any other = it does not, or it is malformed.
"""

import argparse
import base64
import hashlib
import json
import struct
import uuid
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def mth(leaves):
    """RFC 6962, 2.1, over leaf hashes."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else sha(b"")
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return sha(b"\x01", mth(leaves[:k]), mth(leaves[k:]))


def root_from(leaf, index, size, path):
    """RFC 6962 path, evaluated from the top down."""
    if size == 1:
        assert index == 0
        assert not path
        return leaf
    k = 1 << (size - 1).bit_length() - 1
    if index < k:
        return sha(b"\x01", root_from(leaf, index, k, path[:-1]), path[-1])
    return sha(b"\x01", path[-1], root_from(leaf, index - k, size - k, path[:-1]))


def exact(text):
    """JSON in exactly one spelling: sorted names, no spaces, no escapes that are not needed."""
    value = json.loads(text)
    assert json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) == text
    return value


def keys_of(path):
    keys = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith("log "):
            name, key_id, data = line[4:].split("+", 2)
            raw = base64.b64decode(data, validate=True)
            assert sha(name.encode(), b"\n", raw)[:4].hex() == key_id
            assert raw[0] == 1
            assert len(raw) == 33
            keys[name, raw[1:]] = bytes.fromhex(key_id)
    return keys


def checkpoint(note, keys):
    """Returns size and root of a signed checkpoint."""
    assert "\r" not in note
    text, signatures = note[: note.rindex("\n\n") + 1], note[note.rindex("\n\n") + 2 :]
    origin, size, root, rest = text.split("\n")
    assert rest == ""
    assert signatures.endswith("\n")
    assert str(int(size)) == size
    found = []
    for line in signatures[:-1].split("\n"):
        dash, name, blob = line.split(" ")
        blob = base64.b64decode(blob, validate=True)
        assert dash == "\u2014"
        for (key_name, public), key_id in keys.items():
            if (name, blob[:4]) == (key_name, key_id):
                Ed25519PublicKey.from_public_bytes(public).verify(blob[4:], text.encode())
                found.append(key_name)
    assert found == [origin]
    assert len(base64.b64decode(root, validate=True)) == 32
    return int(size), base64.b64decode(root)


def leaf_of(text):
    return sha(b"\x00", text.encode())


def canonical(head):
    return json.dumps(head, sort_keys=True, separators=(",", ":"))


def epochs_of(path, keys):
    """Replays the epochs; returns every head that was ever published, by chain and number."""
    leaves, heads, known = [], {}, {}
    for line in Path(path).read_bytes().decode().splitlines():
        epoch = exact(line)
        said = exact(epoch["leaf"])
        assert sorted(said) == ["at_us", "chains", "epoch", "heads_root", *(["rebased"] if said["v"] == 2 else []), "v"]
        if said["v"] == 2:  # continues none of the heads before it
            heads, known = {}, {}
        for head in exact(epoch["heads"]):
            assert head["seq"] > heads.get(head["chain"], {"seq": 0})["seq"]
            heads[head["chain"]] = head
            known.setdefault(head["chain"], {})[head["seq"]] = head["hash"]
        assert said["v"] in (1, 2)
        assert said["epoch"] == len(leaves)
        assert said["chains"] == len(heads)
        assert said["heads_root"] == mth([leaf_of(canonical(heads[chain])) for chain in sorted(heads)]).hex()
        leaves.append(leaf_of(epoch["leaf"]))
        assert checkpoint(epoch["note"], keys) == (len(leaves), mth(leaves))
    assert leaves
    return known


def chain_of(lines):
    """Checks records in order of each chain; returns the hash of each, by chain and number."""
    hashes = {}
    for line in lines:
        r = exact(line)
        done = hashes.setdefault(r["chain"], {0: "00" * 32})
        assert r["v"] == 1
        assert r["seq"] == len(done)
        assert r["prev"] == done[len(done) - 1]
        place = struct.pack(">16sqqi", uuid.UUID(r["chain"]).bytes, r["seq"], r["at_us"], len(r["writer"].encode()))
        done[r["seq"]] = sha(
            b"byokeep/audit/v1\x00", bytes.fromhex(r["prev"]), place, r["writer"].encode(), r["payload"].encode()
        ).hex()
        assert done[r["seq"]] == r["hash"]
    return hashes


def check_export(path, known, whole):
    text = Path(path).read_bytes().decode()
    assert text.endswith("\n")
    hashes = chain_of(text[:-1].split("\n"))
    for chain in known if whole else hashes:
        for seq, expected in known[chain].items():
            assert hashes[chain][seq] == expected


def check_proof(path, keys):
    proof = exact(Path(path).read_text(encoding="utf-8"))
    assert proof["v"] == 1
    assert proof["type"] == "byokeep/client-proof/v1"
    assert sorted(proof) == ["inclusion", "origin", "records", "type", "v"]
    shown, head = proof["inclusion"], proof["inclusion"]["head"]
    size, root = checkpoint(shown["checkpoint"], {key: kid for key, kid in keys.items() if key[0] == proof["origin"]})
    leaf = exact(shown["leaf"])
    path_of = {name: [bytes.fromhex(part) for part in shown[name]] for name in ("epoch_path", "heads_path")}
    assert root_from(leaf_of(shown["leaf"]), leaf["epoch"], size, path_of["epoch_path"]) == root
    heads_root = root_from(leaf_of(canonical(head)), shown["position"], leaf["chains"], path_of["heads_path"])
    assert heads_root.hex() == leaf["heads_root"]
    hashes = chain_of(proof["records"])
    assert list(hashes) == [head["chain"]]
    assert list(hashes[head["chain"]].items())[-1] == (head["seq"], head["hash"])


if __name__ == "__main__":
    if not __debug__:
        raise SystemExit("run it without -O: its checks are assertions")
    parser = argparse.ArgumentParser()
    parser.add_argument("keys")
    for option in ("--note", "--epochs", "--export", "--proof"):
        parser.add_argument(option)
    parser.add_argument("--whole", action="store_true")
    args = parser.parse_args()
    trusted = keys_of(args.keys)
    assert args.note or args.epochs or args.proof
    if args.note:
        checkpoint(Path(args.note).read_bytes().decode(), trusted)
    if args.epochs:
        published = epochs_of(args.epochs, trusted)
        if args.export:
            check_export(args.export, published, args.whole)
    if args.proof:
        check_proof(args.proof, trusted)
