"""Signed evidence of a procedure: a key onboarded (SOP 5.1), an account connected (5.2), a profile created (5.3), any.

Rules
- The items (for a key: write, verification, leak check, onboarding; for an account: write, identity verification,
  connection; for a browser profile: seal, runner validation, creation) are audit records, verbatim, in unbroken pieces
  of the client's chain, each of which ends in a signed checkpoint: nothing in the bundle has to be believed (S-TLOG-9).
- A piece ends at the first checkpoint that covers its items: what a client does later is neither carried nor shown. A
  bundle of version 1 holds one piece that reaches to where the chain stood when it was signed; it still verifies.
- An item counts only for the same client, object, version and procedure, with outcome *ok* (R5.1-12 to R5.1-15,
  R5.2-11 to R5.2-14, R5.3-19 to R5.3-21). A verification that is older than the write proves nothing of what was
  written. A profile's version is its generation.
- Of any other procedure the items are its steps, and the bundle names the event of each: what it shows is that these
  records of this run stand there in this order, not what such a procedure must contain.
- A missing item is named; a record that does not belong is not evidence at all but tampering.

It may not hold a value, nor anything about another client.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from byokeep.core.audit import ChainHead, Facts, Record, parse_line, read_payload, verify_chain
from byokeep.core.canonical import canonical_json, parse_canonical
from byokeep.core.checkpoint import Inclusion, PublicKeys, parse_inclusion, verifies
from byokeep.core.errors import Integrity
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import ProfileRef, SecretPart, SecretRef

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
# Item -> the event that proves it.
ITEMS: Final[Mapping[str, str]] = {
    WRITE: "key.stored",
    VERIFICATION: "key.verified",
    LEAK_CHECK: "key.leak_checked",
    DONE: "client_key_onboarded",
}
CONNECT_ITEMS: Final[Mapping[str, str]] = {
    WRITE: "tokens.stored",
    IDENTITY: "account.verified",
    CONNECTED: "platform_connected",
}
PROFILE_ITEMS: Final[Mapping[str, str]] = {
    WRITE: "profile.sealed",
    VALIDATION: "profile.validated",
    CREATED: "browser_profile_created",
}
ITEMS_OF: Final[Mapping[str, Mapping[str, str]]] = {
    ONBOARD: ITEMS, CONNECT: CONNECT_ITEMS, PROFILE: PROFILE_ITEMS,
}  # fmt: skip
_VERSION: Final = 2
_PREDICATES: Final = {
    ONBOARD: "https://byokeep.dev/evidence/onboard-key/v",
    CONNECT: "https://byokeep.dev/evidence/connect-account/v",
    PROFILE: "https://byokeep.dev/evidence/create-profile/v",
    PROCEDURE: "https://byokeep.dev/evidence/procedure/v",
}
_PROCEDURES: Final = {
    f"{predicate}{version}": (kind, version)
    for kind, predicate in _PREDICATES.items()
    for version in (1, _VERSION)
    if (kind, version) != (PROCEDURE, 1)
}
_SUBJECTS: Final = {ONBOARD: "ref", CONNECT: "account", PROFILE: "profile", PROCEDURE: "object"}
# A verification proves nothing of what was written after it.
_AFTER_WRITE: Final = frozenset({IDENTITY, VALIDATION})


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarding:
    """What the bundle is about. ``items`` holds the sequence number of each record that there is.

    ``kind`` is the procedure; when an account was connected ``ref`` is the account and ``provider`` its platform; of a
    browser profile ``ref`` is the profile, ``version`` its generation, ``provider`` the platform that was proved. Any
    other has a ``name`` and ``steps``, each with its event, neither provider nor version, and as ``client`` the chain.
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
        pieces: In the order of the chain; together they hold every item, and each holds one at least.
    """
    lines = {piece.before.seq + 1 + at: line for piece in pieces for at, line in enumerate(piece.lines)}
    last = about.items.get(about.closing) or max(about.items.values(), default=min(lines))
    said: dict[str, Any] = {
        "v": _VERSION, "origin": about.origin, "sop": str(about.sop), "client": str(about.client),
        "ref": str(about.ref), **_named(about), "items": dict(about.items),
        "pieces": [
            {"before": {"seq": piece.before.seq, "hash": piece.before.hash.hex()},
             "records": [line.decode() for line in piece.lines], "inclusion": piece.inclusion.members()}
            for piece in pieces
        ],
    }  # fmt: skip
    return canonical_json(
        {
            "_type": STATEMENT,
            "subject": [{"name": f"{_SUBJECTS[about.kind]}:{about.ref}",
                         "digest": {"sha256": parse_line(lines[last]).hash.hex()}}],
            "predicateType": f"{_PREDICATES[about.kind]}{_VERSION}",
            "predicate": said,
        }
    )  # fmt: skip


def _named(about: Onboarding) -> dict[str, Any]:
    if about.kind == PROCEDURE:
        return {"procedure": about.name, "steps": [[step, event] for step, event in about.steps.items()]}
    return {"provider": str(about.provider), "version": about.version}


def pae(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Return DSSE's pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def envelope(payload: bytes, *, signature: bytes, key_id: str) -> bytes:
    """Return the DSSE envelope's bytes."""
    return canonical_json(
        {
            "payload": b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": key_id, "sig": b64encode(signature).decode()}],
        }
    )


def open_envelope(data: bytes, keys: Mapping[str, bytes]) -> tuple[bytes, str]:
    """Verify an envelope; returns its payload and the key id that signed it.

    Raises:
        Integrity: ``bad_envelope`` (malformed), ``unknown_evidence_key``, ``bad_evidence_signature``.
    """
    try:
        found = _members(parse_canonical(data), "payload", "payloadType", "signatures")
        (signed,) = found["signatures"]
        signature, key_id = _base64(_members(signed, "keyid", "sig")["sig"]), str(signed["keyid"])
        payload = _base64(found["payload"])
        if found["payloadType"] != PAYLOAD_TYPE:
            raise ValueError("payload type")
    except (ValueError, TypeError):
        raise Integrity("bad_envelope") from None
    if key_id not in keys:
        raise Integrity("unknown_evidence_key", next_step="Give the key as `byokeep audit keys` prints it.")
    if not verifies(keys[key_id], signature, pae(payload)):
        raise Integrity("bad_evidence_signature")
    return payload, key_id


def verify_evidence(bundle: bytes, keys: PublicKeys) -> EvidenceReport:
    """Check a bundle with nothing but public keys.

    Raises:
        Integrity: Malformed, a bad signature, a broken or unproved piece of chain, or a record that is not this
            client's, reference's, version's or procedure's (``foreign_evidence`` with the item's name).
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
    """Return the records of a piece, by number, once its checkpoint and every hash in it were checked."""
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
    if record is None:
        raise Integrity("foreign_evidence", item=name)
    said = read_payload(record.payload)
    fields = said.fields
    if about.kind == PROCEDURE:
        if not _proves_step(about, name, said):
            raise Integrity("foreign_evidence", item=name)
        return record
    same = (
        said.event == ITEMS_OF[about.kind][name] and said.outcome == "ok" and said.client == about.client
        and said.object == about.ref
        and fields.get("generation" if about.kind == PROFILE else "version") == about.version
        and (about.kind == PROFILE or _of_provider(about, fields))
        # The write of a key stands for later runs too.
        and ((name == WRITE and about.kind == ONBOARD) or fields.get("sop") == str(about.sop))
    )  # fmt: skip
    early = name in _AFTER_WRITE and about.items.get(WRITE, 0) > record.seq
    if not same or not _PROOFS[name](about, said) or early:
        raise Integrity("foreign_evidence", item=name)
    return record


def _proves_step(about: Onboarding, name: str, said: Facts) -> bool:
    """A good record about the same object that names this run, and this step where it names one."""
    same = said.event == about.steps[name] and said.outcome == "ok" and said.object == about.ref
    whose = said.client in (about.client, None)  # None: the platform's own chain
    return same and whose and str(about.sop) in said.fields.values() and said.fields.get("stage", name) == name


def _proves_write(about: Onboarding, said: Facts) -> bool:
    """The store's own request id and the one path of this client and provider (R5.1-12)."""
    if about.kind == PROFILE:
        return _proves_seal(about, said)
    place = SecretRef(ClientId(about.client), Provider(str(about.provider)))
    if about.kind == CONNECT:
        place = SecretRef(place.client_id, place.provider, SecretPart.TOKENS, about.ref)
    path = place.path
    return bool(said.fields.get("store_request")) and said.fields.get("path") == path


def _of_provider(about: Onboarding, fields: Mapping[str, Any]) -> bool:
    return fields.get("provider" if about.kind == ONBOARD else "platform") == about.provider


def _proves_seal(about: Onboarding, said: Facts) -> bool:
    """The store's own request id, the one path of this profile, and which blob, key and manifest it was (R5.3-19)."""
    fields = said.fields
    named = all(fields.get(name) for name in ("store_request", "blob_digest", "manifest", "dek", "kek"))
    return named and fields.get("path") == ProfileRef(ClientId(about.client), about.ref).path


def _proves_validation(about: Onboarding, said: Facts) -> bool:
    """A job looked at a named page as the expected account, and a picture of it was kept (R5.3-17, R5.3-20)."""
    fields = said.fields
    same = bool(fields.get("observed_id")) and fields.get("observed_id") == fields.get("expected_id")
    kept = all(fields.get(name) for name in ("job", "endpoint", "screenshot"))
    return same and kept and fields.get("verification") == "match" and _of_provider(about, fields)


def _proves_verification(_: Onboarding, said: Facts) -> bool:
    """A job asked a named endpoint and was answered with success (R5.1-13)."""
    status = said.fields.get("http_status")
    return type(status) is int and 200 <= status < 300 and bool(said.fields.get("job") and said.fields.get("endpoint"))


def _proves_leak_check(_: Onboarding, said: Facts) -> bool:
    """Something was scanned and nothing was found (R5.1-11)."""
    scanned = said.fields.get("lines")
    return said.fields.get("found") == 0 and type(scanned) is int and scanned > 0


def _proves_identity(_: Onboarding, said: Facts) -> bool:
    """A job asked a named endpoint, and the account that answered is the one that was expected (R5.2-12)."""
    fields = said.fields
    same = bool(fields.get("observed_id")) and fields.get("observed_id") == fields.get("expected_id")
    return same and bool(fields.get("job") and fields.get("endpoint")) and type(fields.get("count")) is int


def _proves_onboarding(_: Onboarding, __: Facts) -> bool:
    return True


_PROOFS: Final = {
    WRITE: _proves_write,
    VERIFICATION: _proves_verification,
    LEAK_CHECK: _proves_leak_check,
    DONE: _proves_onboarding,
    IDENTITY: _proves_identity,
    CONNECTED: _proves_onboarding,
    VALIDATION: _proves_validation,
    CREATED: _proves_onboarding,
}


def _parse_statement(payload: bytes) -> tuple[Onboarding, list[EvidencePiece], str]:
    try:
        found = _members(parse_canonical(payload), "_type", "predicate", "predicateType", "subject")
        kind, version = _PROCEDURES[str(found["predicateType"])]
        carried = ("before", "inclusion", "records") if version == 1 else ("pieces",)
        own = ("procedure", "steps") if kind == PROCEDURE else ("provider", "version")
        said = _members(found["predicate"], "client", "items", "origin", "ref", "sop", "v", *own, *carried)
        if (found["_type"], said["v"]) != (STATEMENT, version):
            raise ValueError("type")
        steps = {str(step): str(event) for step, event in said.get("steps", ())}
        items = {name: int(said["items"][name]) for name in ITEMS_OF.get(kind, steps) if name in said["items"]}
        about = Onboarding(
            origin=str(said["origin"]), sop=UUID(said["sop"]), client=UUID(said["client"]), ref=UUID(said["ref"]),
            provider=Provider(said["provider"]) if "provider" in said else None, version=int(said.get("version", 0)),
            items=items, kind=kind, name=str(said.get("procedure", "")), steps=steps,
        )  # fmt: skip
        (subject,) = found["subject"]
        digest = str(_members(_members(subject, "digest", "name")["digest"], "sha256")["sha256"])
        if subject["name"] != f"{_SUBJECTS[kind]}:{about.ref}" or len(items) != len(said["items"]):
            raise ValueError("subject or items")
        one = [{name: said[name] for name in carried}] if version == 1 else said["pieces"]
        return about, _parse_pieces(about, one), digest
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Integrity("bad_statement") from None


def _parse_pieces(about: Onboarding, found: Any) -> list[EvidencePiece]:
    """Read the pieces: in order, none over another, and none without an item."""
    pieces: list[EvidencePiece] = []
    reached = 0
    for one in found if isinstance(found, list) else ():
        said = _members(one, "before", "inclusion", "records")
        start = _members(said["before"], "hash", "seq")
        before = ChainHead(about.client, int(start["seq"]), bytes.fromhex(start["hash"]))
        lines = [str(line).encode() for line in said["records"]]
        inside = range(before.seq + 1, before.seq + len(lines) + 1)
        if not lines or before.seq < reached or len(before.hash) != 32:
            raise ValueError("records")
        if len(found) > 1 and not any(seq in inside for seq in about.items.values()):
            raise ValueError("a piece without an item")
        pieces.append(EvidencePiece(before=before, lines=lines, inclusion=parse_inclusion(said["inclusion"])))
        reached = before.seq + len(lines)
    if not pieces:
        raise ValueError("pieces")
    return pieces


def _members(value: Any, *names: str) -> dict[str, Any]:
    if not isinstance(value, dict) or sorted(value) != sorted(names):
        raise ValueError("not the members expected")
    return value


def _base64(text: Any) -> bytes:
    data = b64decode(text, validate=True)
    if b64encode(data).decode() != text:
        raise ValueError("not canonical base64")
    return data
