"""Writes the vectors of refs, audit records, checkpoints, proofs and evidence: ``python -m tests.vectors.make_audit``.

Each folder holds files and a ``cases.json`` that says, for each, whether it verifies or with which code it is refused.
A test makes them anew and compares: a format changes only on purpose.
"""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

from byokeep.core import evidence
from byokeep.core.audit import GENESIS, Record, chain_hash, export_line
from byokeep.core.canonical import canonical_json, parse_canonical
from byokeep.core.checkpoint import NoteKey, SignedEpoch, write_note
from byokeep.core.events import EventName
from tests.support.auditlog import ALICE, BOB, INSTALLATION, MemoryLog, named, sample_log
from tests.support.signer import SeededSigner

HERE = Path(__file__).parent
Files = dict[str, bytes]
ACCOUNT = "0f8fad5b-d9cb-469f-a165-70867728950e"


def _file(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _cases(**cases: dict[str, Any]) -> bytes:
    return json.dumps(cases, indent=1, sort_keys=True).encode() + b"\n"


def ref_vectors() -> Files:
    """References: every accepted spelling and the nearest refused ones."""
    client = str(ALICE)
    accepted = [f"vault://kv/clients/{client}/providers/{name}" for name in ("openai", "anthropic", "meta", "skool")]
    account = f"vault://kv/clients/{client}/providers/x/accounts/{ACCOUNT}"
    accepted += [f"vault://kv/clients/{client}/providers/heygen/webhook"]
    accepted += [f"vault://kv/clients/{client}/providers/openai/admin"]
    accepted += [f"{account}/{part}" for part in ("tokens", "access", "verifier", "code", "landing")]
    profile = f"vault://kv/clients/{client}/profiles/{ACCOUNT}"
    accepted += [profile]
    accepted += ["kms://transit/evidence"]
    refused = [
        "", f"vault://kv/clients/{client}/providers/", f"vault://kv/clients/{client}/providers/OpenAI",
        f"vault://kv/clients/{client.upper()}/providers/openai", f"vault://kv/clients/{client}/providers/openai/",
        f"vault://kv/clients/{client}/providers/openai?version=1", f"vault://kv/clients/{client}/providers/openai#1",
        f"vault://kv/clients/{client}/providers/../openai", f"vault://kv//clients/{client}/providers/openai",
        f"vault://kv/data/clients/{client}/providers/openai", f"VAULT://kv/clients/{client}/providers/openai",
        f"vault://user@kv/clients/{client}/providers/openai", f"vault://kv/clients/{client}/providers/openai\n",
        f"vault://kv/clients/{client}/providers/open\u0430i", f"vault://kv/clients/{client[:-1]}/providers/openai",
        "vault://kv/clients/*/providers/openai", "vault://kv/clients/+/providers/openai", "kms://transit/",
        "kms://aws/key-1", "kms://transit/Key", "kms://transit/a/b", "sk-not-a-reference-at-all-000000000000",
        f"vault://kv/clients/{client}/providers/unknown", "x" * 201,
        f"{profile}/", f"{profile}/dek", profile.upper(), profile[:-1],
        f"vault://kv/clients/{client}/profiles/", f"{profile}?version=1",
        account, f"{account}/webhook", f"{account}/tokens/more", f"{account}/Tokens", f"{account}/",
        account.replace(ACCOUNT, ACCOUNT.upper()) + "/tokens", account.replace(ACCOUNT, "+") + "/access",
        f"vault://kv/clients/{client}/providers/x/tokens", f"vault://kv/clients/{client}/providers/heygen/webhook/more",
    ]  # fmt: skip
    return {"ref/refs.json": json.dumps({"accepted": accepted, "refused": refused}, indent=1).encode() + b"\n"}


def audit_vectors() -> Files:
    """Exports of one chain and of a whole log, and every way of tampering."""
    log = sample_log()
    lines, records = log.lines(ALICE), log.chains[ALICE]

    def with_line(number: int, record: Record) -> list[bytes]:
        return [*lines[:number], export_line(record, prev=record.prev or GENESIS), *lines[number + 1 :]]

    edited = records[2]._replace(payload=records[2].payload.replace(b'"version":1', b'"version":2'))
    later = records[2]._replace(at_us=records[2].at_us + 1)
    writer = records[2]._replace(writer="byokeep_web")
    foreign = log.chains[BOB][1]._replace(seq=3)
    renamed = foreign._replace(chain=ALICE)
    rehashed = _rehash([*records[:2], edited, *records[3:]])
    files: dict[str, tuple[list[bytes], dict[str, Any]]] = {
        "good": (lines, {}),
        "payload-edited": (with_line(2, edited), {"seq": 3, "reason": "edited"}),
        "time-edited": (with_line(2, later), {"seq": 3, "reason": "edited"}),
        "writer-edited": (with_line(2, writer), {"seq": 3, "reason": "edited"}),
        "removed": (lines[:2] + lines[3:], {"seq": 3, "reason": "removed"}),
        "reordered": ([*lines[:2], lines[3], lines[2], *lines[4:]], {"seq": 3, "reason": "reordered"}),
        "repeated": ([*lines[:3], *lines[2:]], {"seq": 3, "reason": "inserted"}),
        "of-another-client": (with_line(2, foreign), {"seq": 3, "reason": "foreign_chain"}),
        "renamed-from-another-client": (with_line(2, renamed), {"seq": 3, "reason": "edited"}),
        "hashed-anew": (rehashed, {"seq": 5, "reason": "forked"}),
        "tail-cut": (lines[:-1], {"seq": len(lines), "reason": "tail_cut"}),
    }
    out = {f"audit/{name}.jsonl": _file(content) for name, (content, _) in files.items()}
    cases = {f"{name}.jsonl": {"code": "audit_chain_broken", **want} if want else {"code": ""}
             for name, (_, want) in files.items()}  # fmt: skip
    spelled = {
        "space-added": lines[0].replace(b'"v":1', b'"v": 1'), "key-order": b'{"v":1,' + lines[0][1:-1] + b"}",
        "unknown-version": lines[0].replace(b'"v":1', b'"v":2'),
        "leading-zero": lines[0].replace(b'"seq":1', b'"seq":01'),
        "upper-case-hash": lines[0].replace(records[0].hash.hex().encode(), records[0].hash.hex().upper().encode()),
        "other-escape": lines[0].replace(b'{\\"actor', b'\\u007b\\"actor'),
    }  # fmt: skip
    for name, line in spelled.items():
        out[f"audit/{name}.jsonl"] = _file([line, *lines[1:]])
        cases[f"{name}.jsonl"] = {"code": "bad_audit_line", "line": 1}
    out["audit/torn.jsonl"] = _file(lines)[:-1]
    cases["torn.jsonl"] = {"code": "bad_audit_line", "line": len(lines)}
    out["audit/whole-log.jsonl"] = _file(log.all_lines())
    cases["whole-log.jsonl"] = {"code": "", "whole": True}
    out["audit/log-without-a-client.jsonl"] = _file([line for line in log.all_lines() if str(BOB).encode() not in line])
    cases["log-without-a-client.jsonl"] = {"code": "audit_chain_broken", "reason": "tail_cut", "seq": 1, "whole": True}
    out["audit/cases.json"] = _cases(**cases)
    return out


def _rehash(records: list[Record]) -> list[bytes]:
    prev, lines = GENESIS, []
    for r in records:
        digest = chain_hash(prev=prev, chain=r.chain, seq=r.seq, at_us=r.at_us, writer=r.writer, payload=r.payload)
        lines.append(export_line(r._replace(hash=digest), prev=prev))
        prev = digest
    return lines


def checkpoint_vectors() -> Files:
    """The public keys, the published epochs, a client's proof; and logs that were rolled back, forked or resigned."""
    log = sample_log()
    epochs, keys = log.epochs, log.keys
    note, text = epochs[-1].note, epochs[-1].note.split(b"\n\n")[0].decode() + "\n"
    stranger = MemoryLog(signer=SeededSigner("a stranger"))
    out: Files = {
        "checkpoint/keys.txt": str(keys).encode(),
        "checkpoint/epochs.jsonl": _file([epoch.line() for epoch in epochs]),
        "checkpoint/old-checkpoint": epochs[0].note,
    }
    epoch_files = {
        "epochs-missing-one": ([epochs[0], epochs[2]], "checkpoint_inconsistent"),
        "epochs-reordered": ([epochs[1], epochs[0], epochs[2]], "checkpoint_inconsistent"),
        "epochs-heads-edited": (
            [epochs[0], epochs[1]._replace(heads=epochs[2].heads), epochs[2]], "checkpoint_inconsistent",
        ),
        "epochs-note-of-another": ([epochs[0], epochs[1]._replace(note=epochs[2].note)], "checkpoint_inconsistent"),
        "epochs-signed-by-a-stranger": (_resigned(log, stranger), "unverified_note"),
    }  # fmt: skip
    rebased = _rebased_log()
    last, lines = rebased.epochs[-1], [epoch.line() for epoch in rebased.epochs]
    silent = last._replace(leaf=last.leaf.replace(b'"rebased":"checkpoint_mismatch","v":2', b'"v":1'))
    epoch_files |= {
        "epochs-went-back": ([*rebased.epochs[:-1], silent], "checkpoint_inconsistent"),
        "epochs-rebased-without-a-code": (
            [*rebased.epochs[:-1], last._replace(leaf=last.leaf.replace(b"checkpoint_mismatch", b"A restore"))],
            "bad_epoch",
        ),
        "epochs-rebased-unsigned": (
            [*epochs, epochs[-1]._replace(leaf=last.leaf, heads=last.heads)],
            "checkpoint_inconsistent",
        ),
    }  # fmt: skip
    out["checkpoint/epochs-rebased.jsonl"] = _file(lines)
    cases: dict[str, dict[str, Any]] = {
        "epochs.jsonl": {"kind": "epochs", "code": ""},
        "epochs-rebased.jsonl": {"kind": "epochs", "code": "", "base": 3},
    }  # fmt: skip
    for name, (content, code) in epoch_files.items():
        out[f"checkpoint/{name}.jsonl"] = _file([epoch.line() for epoch in content])
        cases[f"{name}.jsonl"] = {"kind": "epochs", "code": code}
    key = keys.log[0]
    signature = log.signer.sign_now("checkpoints", text.encode())[0]
    extended, padded = text + "extension\n", text.replace("\n3\n", "\n03\n")
    notes = {
        "checkpoint": (note, ""),
        "with-an-unknown-signature": (note + b"\xe2\x80\x94 witness.example " + b64encode(bytes(68)) + b"\n", ""),
        "bad-signature": (write_note(text, [(key, bytes(64))]), "bad_note_signature"),
        "signed-by-a-stranger": (_resigned(log, stranger)[-1].note, "unverified_note"),
        "extension-line": (_signed(log, extended), "bad_checkpoint"),
        "size-with-leading-zero": (_signed(log, padded), "bad_checkpoint"),
        "root-too-short": (
            _signed(log, text.replace(text.split("\n")[2], b64encode(bytes(31)).decode())),
            "bad_checkpoint",
        ),
        "of-another-log": (_signed(log, text.replace(str(INSTALLATION), str(ALICE))), "foreign_checkpoint"),
        "crlf": (note.replace(b"\n", b"\r\n"), "bad_note"),
        "no-signature": (text.encode() + b"\n", "bad_note"),
        "signature-twice": (write_note(text, [(key, signature), (key, signature)]), "bad_note"),
    }
    for name, (content, code) in notes.items():
        out[f"checkpoint/{name}"] = content
        cases[name] = {"kind": "note", "code": code}
    return out | _proofs(log, cases)


def _rebased_log() -> MemoryLog:
    """An older state of the log was put back, used, and made the new base: Alice's chain is shorter, Bob's is gone."""
    log = sample_log()
    del log.chains[ALICE][2:], log.chains[BOB]
    log.append(ALICE, EventName.JOB_OPENED, object_id=named("another job"))
    log.checkpoint(rebased="checkpoint_mismatch")
    return log


def _signed(log: MemoryLog, text: str) -> bytes:
    return write_note(text, [(log.keys.log[0], log.signer.sign_now("checkpoints", text.encode())[0])])


def _resigned(log: MemoryLog, stranger: MemoryLog) -> list[SignedEpoch]:
    """The same epochs signed with a key nobody knows."""
    key = NoteKey(log.origin, stranger.signer.public_now("checkpoints")["1"])
    out = []
    for epoch in log.epochs:
        text = epoch.note.split(b"\n\n")[0].decode() + "\n"
        signature = stranger.signer.sign_now("checkpoints", text.encode())[0]
        out.append(epoch._replace(note=write_note(text, [(key, signature)])))
    return out


def _proofs(log: MemoryLog, cases: dict[str, dict[str, Any]]) -> Files:
    """A client's proof and its nearest forgeries."""
    good: Any = parse_canonical(log.proof(ALICE))
    bob: Any = parse_canonical(log.proof(BOB))
    records, inclusion = good["records"], good["inclusion"]
    proofs: dict[str, tuple[dict[str, Any], str]] = {
        "proof": (good, ""),
        "proof-record-removed": ({**good, "records": records[:2] + records[3:]}, "audit_chain_broken"),
        "proof-tail-cut": ({**good, "records": records[:-1]}, "audit_chain_broken"),
        "proof-of-another-chain": ({**good, "records": bob["records"]}, "audit_chain_broken"),
        "proof-head-edited": (
            {**good, "inclusion": {**inclusion, "head": {**inclusion["head"], "seq": 2}}}, "bad_inclusion_proof"),
        "proof-position-moved": ({**good, "inclusion": {**inclusion, "position": 0 if inclusion["position"] else 1}},
                                 "bad_inclusion_proof"),
        "proof-old-checkpoint": (
            {**good, "inclusion": {**inclusion, "checkpoint": log.epochs[0].note.decode()}}, "bad_inclusion_proof"),
        "proof-of-another-log": ({**good, "origin": f"byokeep/{ALICE}"}, "unverified_note"),
        "proof-unknown-version": ({**good, "v": 2}, "bad_client_proof"),
        "proof-member-added": ({**good, "more": 1}, "bad_client_proof"),
    }  # fmt: skip
    for name, (_, code) in proofs.items():
        cases[f"{name}.json"] = {"kind": "proof", "code": code}
    out = {f"checkpoint/{name}.json": canonical_json(content) for name, (content, _) in proofs.items()}
    out["checkpoint/cases.json"] = _cases(**cases)
    return out


def evidence_vectors() -> Files:
    """A bundle that is complete, bundles that lack an item, and forgeries."""
    log = sample_log()
    about = evidence.Onboarding(
        origin=log.origin, sop=named("sop"), client=ALICE, provider=evidence.Provider.OPENAI, ref=named("ref"),
        version=1, items={item: seq for seq, item in enumerate(evidence.ITEMS_OF[evidence.ONBOARD], 2)},
    )  # fmt: skip
    good = log.bundle(about)
    statement, _ = evidence.open_envelope(good, log.keys.evidence)
    said: Any = parse_canonical(statement)
    opened: Any = parse_canonical(good)
    bundles: dict[str, tuple[bytes, dict[str, Any]]] = {"complete": (good, {"code": "", "missing": []})}
    for item in evidence.ITEMS_OF[evidence.ONBOARD]:
        rest = {name: seq for name, seq in about.items.items() if name != item}
        bundles[f"without-{item.replace('_', '-')}"] = (
            log.bundle(replace(about, items=rest)), {"code": "", "missing": [item]},
        )  # fmt: skip

    def forged(name: str, code: str, item: str = "", **predicate: Any) -> None:
        changed = {**said, "predicate": {**said["predicate"], **predicate}}
        bundles[name] = (log.seal(canonical_json(changed)), {"code": code} | ({"item": item} if item else {}))

    items = said["predicate"]["items"]
    forged("of-another-version", "foreign_evidence", "vault_write_event", version=2)
    forged("of-another-provider", "foreign_evidence", "vault_write_event", provider="anthropic")
    forged("of-another-sop", "foreign_evidence", "verification_success", sop=str(named("another sop")))
    forged("of-another-client", "foreign_evidence", "chain", client=str(BOB))
    forged("onboarding-as-verification", "foreign_evidence", "verification_success",
           items={**items, "verification_success": items["onboarding_event"]})  # fmt: skip
    forged("record-edited", "audit_chain_broken", records=[
        said["predicate"]["records"][0].replace("openai", "google"), *said["predicate"]["records"][1:]])  # fmt: skip
    forged("record-removed", "audit_chain_broken", records=said["predicate"]["records"][1:])
    forged("not-covered", "audit_chain_broken", records=said["predicate"]["records"][:-1])
    forged("unknown-item", "bad_statement", items={**items, "more": 2})
    forged("item-beyond-the-records", "foreign_evidence", "onboarding_event", items={**items, "onboarding_event": 99})
    bundles["bad-signature"] = (
        canonical_json({**opened, "signatures": [{"keyid": "1", "sig": b64encode(bytes(64)).decode()}]}),
        {"code": "bad_evidence_signature"},
    )
    bundles["payload-swapped"] = (
        canonical_json({**opened, "payload": b64encode(statement.replace(b'"version":1', b'"version":2')).decode()}),
        {"code": "bad_evidence_signature"},
    )
    bundles["unknown-key"] = (
        canonical_json({**opened, "signatures": [{**opened["signatures"][0], "keyid": "9"}]}),
        {"code": "unknown_evidence_key"},
    )
    bundles["another-payload-type"] = (
        canonical_json({**opened, "payloadType": "text/plain"}),
        {"code": "bad_envelope"},
    )
    bundles["not-an-envelope"] = (b"{}", {"code": "bad_envelope"})
    bundles |= _pieces()
    bundles["failed-job"] = _failed_job()
    bundles["leak-found"] = _leak_found()
    out = {f"evidence/{name}.json": content for name, (content, _) in bundles.items()}
    out["evidence/keys.txt"] = str(log.keys).encode()
    out["evidence/cases.json"] = _cases(**{f"{name}.json": want for name, (_, want) in bundles.items()})
    return out


def _pieces() -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Version 2: a piece for each stretch up to the first checkpoint that covers its items, with much in between."""
    log = MemoryLog()
    log.append(INSTALLATION, EventName.INSTALLED)
    about = log.onboard(ALICE, pause=4)
    log.checkpoint()
    for _ in range(4):
        log.append(ALICE, EventName.JOB_OPENED)
    log.checkpoint()
    good: Any = parse_canonical(log.pieces(about))
    predicate = good["predicate"]
    first, last = predicate["pieces"]

    def with_(**changed: Any) -> bytes:
        return log.seal(canonical_json({**good, "predicate": {**predicate, **changed}}))

    broken, bad = {"code": "audit_chain_broken"}, {"code": "bad_statement"}
    cut = {**last, "records": last["records"][:-1]}
    return {
        "pieces": (log.seal(canonical_json(good)), {"code": "", "missing": []}),
        "pieces-out-of-order": (with_(pieces=[last, first]), bad),
        "pieces-over-another": (with_(pieces=[first, first, last]), bad),
        "pieces-none": (with_(pieces=[]), bad),
        "pieces-one-left-out": (with_(pieces=[last]), {"code": "foreign_evidence", "item": "vault_write_event"}),
        "pieces-record-removed": (with_(pieces=[first, cut]), broken),
        "pieces-proof-of-another": (with_(pieces=[first, {**last, "inclusion": first["inclusion"]}]), broken),
        "pieces-of-version-1": (with_(v=1), bad),
        "pieces-member-more": (with_(pieces=[{**first, "more": 1}, last]), bad),
        "pieces-without-an-item": (with_(items={"vault_write_event": predicate["items"]["vault_write_event"]}), bad),
    }


def _with_onboarding(**changed: dict[str, Any]) -> bytes:
    """A bundle of a log in which one record of the onboarding says something else."""
    log = MemoryLog()
    about = log.onboard(BOB)
    original = log.chains.pop(BOB)
    for (item, seq), record in zip(about.items.items(), original, strict=True):
        said: Any = parse_canonical(record.payload)
        change = dict(changed.get(item, {}))
        said["outcome"] = change.pop("outcome", said["outcome"])
        said["fields"] |= change
        assert log.append_payload(BOB, canonical_json(said)).seq == seq
    log.checkpoint()
    return log.bundle(about)


def _failed_job() -> tuple[bytes, dict[str, Any]]:
    bundle = _with_onboarding(verification_success={"outcome": "failed", "http_status": 401})
    return bundle, {"code": "foreign_evidence", "item": "verification_success"}


def _leak_found() -> tuple[bytes, dict[str, Any]]:
    return _with_onboarding(leak_check_pass={"found": 1}), {"code": "foreign_evidence", "item": "leak_check_pass"}


def all_vectors() -> Files:
    """Every vector by its path below this folder."""
    return ref_vectors() | audit_vectors() | checkpoint_vectors() | evidence_vectors()


if __name__ == "__main__":
    for path, content in all_vectors().items():
        (HERE / path).parent.mkdir(exist_ok=True)
        (HERE / path).write_bytes(content)
