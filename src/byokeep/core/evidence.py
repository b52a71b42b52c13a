"""Signed evidence of a key onboarded (SOP 5.1), an account connected (5.2), a profile created (5.3), any procedure.

Rules
- The items are audit records, verbatim. For a key: write, verification, leak check, onboarding. For an account: write,
  identity verification, connection. For a browser profile: seal, runner validation, creation. They come in unbroken
  pieces of the client's chain, each of which ends in a signed checkpoint, so nothing in the bundle has to be believed
  (S-TLOG-9).
- A piece ends at the first checkpoint that covers its items, so what a client does later is not in the bundle. A bundle
  of version 1 holds one piece, up to where the chain stood when it was signed; it still verifies.
- An item counts only for the same client, object, version and procedure, with outcome *ok* (R5.1-12 to R5.1-15, R5.2-11
  to R5.2-14, R5.3-19 to R5.3-21). A verification that is older than the write proves nothing about what was written. A
  profile's version is its generation.
- The items of any other procedure are its steps, and the bundle names the event of each. It shows that these records of
  this run are there in this order, not what such a procedure must contain.
- A missing item is named. A record that does not belong is not weak evidence but tampering.

It may not hold a value, or anything about another client.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from byokeep.core import drill
from byokeep.core.audit import ChainHead, Facts, Record, parse_line, read_payload, verify_chain
from byokeep.core.canonical import canonical_json
from byokeep.core.checkpoint import Inclusion, PublicKeys, hash_from, parse_inclusion, verifies
from byokeep.core.errors import Integrity, refusing
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import ProfileRef, SecretPart, SecretRef
from byokeep.core.sheet import sheet

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
WRITE: Final = "vault_write_event"
VERIFICATION: Final = "verification_success"
LEAK_CHECK: Final = "leak_check_pass"
DONE: Final = "onboarding_event"
IDENTITY: Final = "identity_verification"
CONNECTED: Final = "platform_connected"
VALIDATION: Final = "runner_validation_proof"
CREATED: Final = "browser_profile_created"
ONBOARD: Final = "onboard_key"
CONNECT: Final = "connect_account"
PROFILE: Final = "create_profile"
PROCEDURE: Final = "procedure"  # any other
# For each procedure: item -> the event that proves it.
ITEMS_OF: Final[Mapping[str, Mapping[str, str]]] = {
    ONBOARD: {
        WRITE: "key.stored", VERIFICATION: "key.verified", LEAK_CHECK: "key.leak_checked", DONE: "client_key_onboarded",
    },
    CONNECT: {WRITE: "tokens.stored", IDENTITY: "account.verified", CONNECTED: "platform_connected"},
    PROFILE: {WRITE: "profile.sealed", VALIDATION: "profile.validated", CREATED: "browser_profile_created"},
}  # fmt: skip
_VERSION: Final = 2
_SUBJECTS: Final = {ONBOARD: "ref", CONNECT: "account", PROFILE: "profile", PROCEDURE: "object"}
_PREDICATES: Final = {
    f"https://byokeep.dev/evidence/{kind.replace('_', '-')}/v{version}": (kind, version)
    for kind in _SUBJECTS
    for version in (1, _VERSION)
    if (kind, version) != (PROCEDURE, 1)
}
_TYPE_OF: Final = {said: predicate for predicate, said in _PREDICATES.items()}
# A verification proves nothing about what was written after it.
AFTER_WRITE: Final = frozenset({IDENTITY, VALIDATION})


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarding:
    """What the bundle is about. ``items`` maps each item that exists to its record's sequence number.

    ``kind`` is the procedure. For a connected account ``ref`` is the account and ``provider`` its platform. For a
    browser profile ``ref`` is the profile, ``version`` its generation, ``provider`` the platform that was proved. Any
    other procedure has a ``name``, ``steps`` with the event of each, no provider or version, and the chain as
    ``client``.
    """

    origin: str
    sop: UUID
    client: UUID
    provider: Provider | None = None
    ref: UUID
    version: int = 0
    items: Mapping[str, int]
    kind: str = ONBOARD
    name: str = ""
    steps: Mapping[str, str] = field(default_factory=dict)

    @property
    def events(self) -> Mapping[str, str]:
        """Item -> the event that proves it, in order."""
        return self.steps if self.kind == PROCEDURE else ITEMS_OF[self.kind]

    @property
    def closing(self) -> str:
        """The last item."""
        return list(self.events)[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceReport:
    """What a verified bundle shows. ``missing`` names the items without which the SOP is not complete."""

    onboarding: Onboarding
    missing: tuple[str, ...]
    stored_at_us: int
    epoch: int
    signed_by: str

    @property
    def complete(self) -> bool:
        """Whether all items are there."""
        return not self.missing


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePiece:
    """Part of the client's chain, without a gap.

    Attributes:
        before: Where the chain stood before the first line.
        lines: Export lines up to the head that ``inclusion`` proves.
        inclusion: Proof of that head.
    """

    before: ChainHead
    lines: Sequence[bytes]
    inclusion: Inclusion


def statement(about: Onboarding, pieces: Sequence[EvidencePiece]) -> bytes:
    """Return the Statement's bytes, to be signed as :func:`pae` says.

    Args:
        about: The onboarding.
        pieces: In the order of the chain. Together they hold every item; each holds at least one.
    """
    lines = {piece.before.seq + 1 + at: line for piece in pieces for at, line in enumerate(piece.lines)}
    last = about.items.get(about.closing) or max(about.items.values(), default=min(lines))
    return _written(about, pieces, digest=parse_line(lines[last]).hash.hex(), version=_VERSION)


def _written(about: Onboarding, pieces: Sequence[EvidencePiece], *, digest: str, version: int) -> bytes:
    carried = [
        {"before": {"seq": piece.before.seq, "hash": piece.before.hash.hex()},
         "records": [line.decode() for line in piece.lines], "inclusion": piece.inclusion.members()}
        for piece in pieces
    ]  # fmt: skip
    said: dict[str, Any] = {
        "v": version, "origin": about.origin, "sop": str(about.sop), "client": str(about.client),
        "ref": str(about.ref), **_named(about), "items": dict(about.items),
    } | (carried[0] if version == 1 else {"pieces": carried})  # fmt: skip
    return _said(_TYPE_OF[about.kind, version], f"{_SUBJECTS[about.kind]}:{about.ref}", digest, said)


def _said(kind: str, subject: str, digest: str, said: Mapping[str, Any]) -> bytes:
    subjects = [{"name": subject, "digest": {"sha256": digest}}]
    return canonical_json({"_type": STATEMENT, "subject": subjects, "predicateType": kind, "predicate": said})


def _named(about: Onboarding) -> dict[str, Any]:
    if about.kind == PROCEDURE:
        return {"procedure": about.name, "steps": [[step, event] for step, event in about.steps.items()]}
    return {"provider": str(about.provider), "version": about.version}


def pae(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Return DSSE's pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


EXPOSURE: Final = "https://byokeep.dev/evidence/exposure/v1"


def exposure_statement(report: Mapping[str, Any]) -> bytes:
    """Return the statement of an exposure report. Its subject is the client's chain as it stood then."""
    return _said(EXPOSURE, f"client:{report['client']}", report["chain"]["hash"], report)


DUE: Final = "https://byokeep.dev/evidence/due-list/v1"


def due_statement(report: Mapping[str, Any]) -> bytes:
    """Return the statement of a due list. Its subject is the list, by its digest."""
    return _said(DUE, f"due:{report['origin']}", report["digest"], report)


LIST: Final = "https://byokeep.dev/evidence/list/v1"


def list_statement(report: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return the statement of a list and the digest of its table as CSV, which is the statement's subject."""
    rows = [dict(zip(report["columns"], row, strict=True)) for row in report["rows"]]
    digest = hashlib.sha256(sheet(report["columns"], rows)).hexdigest()
    return _said(LIST, f"list:{report['list']}", digest, report), digest


DRILL: Final = "https://byokeep.dev/evidence/recovery-drill/v1"


def drill_statement(report: Mapping[str, Any]) -> bytes:
    """Return the statement of a recovery drill. Its subject is the drill, by the digest of its report.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: It is not a report of a drill.
    """
    said = drill.parse(report).members()
    return _said(DRILL, f"drill:{said['id']}", hashlib.sha256(canonical_json(said)).hexdigest(), said)


_WRITTEN: Final[Mapping[str, Callable[[Mapping[str, Any]], bytes]]] = {
    EXPOSURE: exposure_statement, DUE: due_statement, LIST: lambda said: list_statement(said)[0],
    DRILL: drill_statement,
}  # fmt: skip


def read_report(bundle: bytes, keys: Mapping[str, bytes]) -> tuple[str, dict[str, Any], bytes, str] | None:
    """Return the kind of a signed report, the report, its payload and the key id; None if it is other evidence.

    The kind is :data:`EXPOSURE`, :data:`DUE`, :data:`LIST` or :data:`DRILL`.

    Raises:
        Integrity: As :func:`open_envelope`; ``bad_statement``.
    """
    payload, key_id = open_envelope(bundle, keys)
    with refusing("bad_statement"):
        found: Any = json.loads(payload)
        kind = found["predicateType"]
        if kind not in _WRITTEN:
            return None
        if _WRITTEN[kind](found["predicate"]) != payload:
            raise ValueError("not as it is written")
        return kind, found["predicate"], payload, key_id


def envelope(payload: bytes, *, signature: bytes, key_id: str) -> bytes:
    """Return the DSSE envelope's bytes."""
    signatures = [{"keyid": key_id, "sig": b64encode(signature).decode()}]
    said = {"payload": b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": signatures}
    return canonical_json(said)


def open_envelope(data: bytes, keys: Mapping[str, bytes]) -> tuple[bytes, str]:
    """Verify an envelope; returns its payload and the key id that signed it.

    Raises:
        Integrity: ``bad_envelope`` (malformed), ``unknown_evidence_key``, ``bad_evidence_signature``.
    """
    with refusing("bad_envelope"):
        found: Any = json.loads(data)
        (signed,) = found["signatures"]
        payload, signature, key_id = b64decode(found["payload"]), b64decode(signed["sig"]), str(signed["keyid"])
        if envelope(payload, signature=signature, key_id=key_id) != data:
            raise ValueError("not as it is written")
    if key_id not in keys:
        raise Integrity("unknown_evidence_key", next_step="Give the key as `byokeep audit keys` prints it.")
    if not verifies(keys[key_id], signature, pae(payload)):
        raise Integrity("bad_evidence_signature")
    return payload, key_id


def verify_evidence(bundle: bytes, keys: PublicKeys) -> EvidenceReport:
    """Check a bundle with nothing but public keys.

    Raises:
        Integrity: Malformed, a bad signature, a broken or unproved piece of chain, or a record of another client,
            reference, version or procedure (``foreign_evidence`` with the item's name).
    """
    payload, key_id = open_envelope(bundle, keys.evidence)
    about, pieces, digest = _parse_statement(payload)
    records: dict[int, Record] = {}
    for piece in pieces:
        records |= _records(about, piece, keys)
    found = {name: _item(about, name, records) for name in about.items}
    last = found.get(about.closing) or max(found.values(), key=lambda record: record.seq, default=records[min(records)])
    if last.seq != max(about.items.values(), default=last.seq) or about.items.get(WRITE, 0) > last.seq:
        raise Integrity("foreign_evidence", item=about.closing)
    in_order = [about.items[name] for name in about.events if name in about.items]
    if digest != last.hash.hex() or (about.kind == PROCEDURE and in_order != sorted(set(in_order))):
        raise Integrity("bad_statement")
    return EvidenceReport(
        onboarding=about, epoch=pieces[-1].inclusion.epoch,
        missing=tuple(name for name in about.events if name not in found),
        stored_at_us=found[WRITE].at_us if WRITE in found else 0, signed_by=key_id,
    )  # fmt: skip


def _records(about: Onboarding, piece: EvidencePiece, keys: PublicKeys) -> dict[int, Record]:
    """Check the checkpoint of a piece and every hash in it; returns its records by number."""
    piece.inclusion.verify([key for key in keys.log if key.name == about.origin], origin=about.origin)
    head = piece.inclusion.head
    if head.chain != about.client:
        raise Integrity("foreign_evidence", item="chain")
    records = [parse_line(line) for line in piece.lines]
    if verify_chain(records, chain=about.client, start=piece.before, through={head.seq: head.hash}) != head:
        raise Integrity("bad_statement")
    return {record.seq: record for record in records}


def _item(about: Onboarding, name: str, records: Mapping[int, Record]) -> Record:
    """Return the item's record if it proves what the item claims."""
    record = records.get(about.items[name])
    early = name in AFTER_WRITE and about.items.get(WRITE, 0) > about.items[name]
    if record is None or early or not _proves(about, name, read_payload(record.payload)):
        raise Integrity("foreign_evidence", item=name)
    return record


def _proves(about: Onboarding, name: str, said: Facts) -> bool:
    """Whether a record is a success about the same object, names this run, and says what its item must prove."""
    fields = said.fields
    if said.event != about.events[name] or said.outcome != "ok" or said.object != about.ref:
        return False
    if about.kind == PROCEDURE:  # if it names a step, then this one; without a client: the platform's own chain
        whose = said.client in (about.client, None)
        return whose and str(about.sop) in fields.values() and fields.get("stage", name) == name
    same = (
        said.client == about.client
        and of_version(about, fields)
        # The write of a key counts for later runs, too.
        and ((name == WRITE and about.kind == ONBOARD) or fields.get("sop") == str(about.sop))
    )
    return same and says(about, name, fields)


def of_version(about: Onboarding, fields: Mapping[str, Any]) -> bool:
    """Whether the fields of a record are of the version that a bundle is about; for a profile, of its generation."""
    same = fields.get("generation" if about.kind == PROFILE else "version") == about.version
    return same and (about.kind == PROFILE or _of_provider(about, fields))


def says(about: Onboarding, name: str, fields: Mapping[str, Any]) -> bool:
    """Whether the fields of a record say what its item must prove."""
    named = {one for one, value in fields.items() if value}
    expected = "observed_id" in named and fields["observed_id"] == fields.get("expected_id")
    status, scanned = fields.get("http_status"), fields.get("lines")
    if name == WRITE:  # the store's request id and the one path; for a profile also its blob and key (R5.1-12)
        blob = {"blob_digest", "manifest", "dek", "kek"} if about.kind == PROFILE else set[str]()
        return {"store_request", *blob} <= named and fields.get("path") == _place(about)
    if name == VERIFICATION:  # a job asked a named endpoint and was answered with success (R5.1-13)
        return {"job", "endpoint"} <= named and type(status) is int and 200 <= status < 300
    if name == LEAK_CHECK:  # something was scanned and nothing was found (R5.1-11)
        return fields.get("found") == 0 and type(scanned) is int and scanned > 0
    if name == IDENTITY:  # a job asked a named endpoint, and the account that answered is the expected one (R5.2-12)
        return expected and {"job", "endpoint"} <= named and type(fields.get("count")) is int
    if name == VALIDATION:  # a job looked at a named page as the expected account; a picture was kept (R5.3-17, -20)
        kept = {"job", "endpoint", "screenshot"} <= named
        return expected and kept and fields.get("verification") == "match" and _of_provider(about, fields)
    return name == about.closing


def _place(about: Onboarding) -> str:
    client = ClientId(about.client)
    if about.kind == PROFILE:
        return ProfileRef(client, about.ref).path
    provider = Provider(str(about.provider))
    if about.kind == CONNECT:
        return SecretRef(client, provider, SecretPart.TOKENS, about.ref).path
    return SecretRef(client, provider).path


def _of_provider(about: Onboarding, fields: Mapping[str, Any]) -> bool:
    return fields.get("provider" if about.kind == ONBOARD else "platform") == about.provider


def _parse_statement(payload: bytes) -> tuple[Onboarding, list[EvidencePiece], str]:
    with refusing("bad_statement"):
        found: Any = json.loads(payload)
        kind, version = _PREDICATES[found["predicateType"]]
        said, digest = found["predicate"], str(found["subject"][0]["digest"]["sha256"])
        steps = {str(step): str(event) for step, event in said.get("steps", ())}
        about = Onboarding(
            origin=str(said["origin"]), sop=UUID(said["sop"]), client=UUID(said["client"]), ref=UUID(said["ref"]),
            provider=Provider(said["provider"]) if "provider" in said else None, version=int(said.get("version", 0)),
            items={name: int(said["items"][name]) for name in ITEMS_OF.get(kind, steps) if name in said["items"]},
            kind=kind, name=str(said.get("procedure", "")), steps=steps,
        )  # fmt: skip
        pieces = _parse_pieces(about, [said] if version == 1 else said["pieces"])
        if _written(about, pieces, digest=digest, version=version) != payload:
            raise ValueError("not as it is written")
        return about, pieces, digest


def _parse_pieces(about: Onboarding, found: Any) -> list[EvidencePiece]:
    """Read the pieces: in order, without overlap, none without an item."""
    pieces: list[EvidencePiece] = []
    reached = 0
    for said in found:
        before = ChainHead(about.client, int(said["before"]["seq"]), hash_from(said["before"]["hash"]))
        lines = [line.encode() for line in said["records"]]
        inside = range(before.seq + 1, before.seq + len(lines) + 1)
        if not lines or before.seq < reached:
            raise ValueError("records")
        if len(found) > 1 and not any(seq in inside for seq in about.items.values()):
            raise ValueError("a piece without an item")
        pieces.append(EvidencePiece(before=before, lines=lines, inclusion=parse_inclusion(said["inclusion"])))
        reached = before.seq + len(lines)
    if not pieces:
        raise ValueError("pieces")
    return pieces
