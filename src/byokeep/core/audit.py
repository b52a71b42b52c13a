"""What an audit record is: its canonical bytes, its place in a chain, its line in an export.

Rules
- The payload's bytes are stored and exported verbatim; a verifier hashes stored bytes, never a re-encoding (S-TLOG-7).
- A chain starts at sequence number 1 after 32 zero bytes; one chain per client and one for the platform.
- docs/spec/audit-record.md describes the format; tests/vectors/audit pins every byte of it.

It may not decide what is recorded: that is :mod:`byokeep.core.events`.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple
from uuid import UUID

from byokeep.core.canonical import MAX_INT, canonical_json, parse_canonical
from byokeep.core.errors import Integrity, refusing
from byokeep.core.events import Event

DOMAIN: Final = b"byokeep/audit/v1\x00"
GENESIS: Final = bytes(32)
MAX_LINE: Final = 64 * 1024  # bytes; a record of our vocabulary stays far below

_PLACE: Final = struct.Struct(">16sqqi")  # chain, seq, microseconds, length of the writer's name
_WRITER: Final = re.compile(r"[a-z_][a-z0-9_$-]{0,62}\Z")
_quoted: Final = json.JSONEncoder(ensure_ascii=False).encode
_decode: Final = json.JSONDecoder().raw_decode  # json.loads also looks for white space, and takes half as long again
_NEXT: Final = "Treat the log as tampered with. Keep both copies, and compare them from this point on."
_NEXT_CUT: Final = (
    "Export again: an export must be newer than the checkpoints. If it still ends here, it was truncated."
)


class Record(NamedTuple):
    """One record as stored. ``at_us`` is Unix time in microseconds; ``prev`` is None where the store keeps none."""

    chain: UUID
    seq: int
    at_us: int
    writer: str
    payload: bytes
    hash: bytes
    prev: bytes | None = None


class ChainHead(NamedTuple):
    """Where a chain stands: ``hash`` fixes everything up to ``seq``. An empty chain has seq 0 and zero bytes."""

    chain: UUID
    seq: int
    hash: bytes


def empty(chain: UUID) -> ChainHead:
    """Return the head of a chain without records."""
    return ChainHead(chain, 0, GENESIS)


def canonical_payload(event: Event) -> bytes:
    """Return the canonical JSON of an event: what the chain hashes and the database stores.

    Raises:
        ValueError: The event holds something that canonical JSON cannot express.
    """
    actor = event.actor
    return canonical_json(
        _payload(
            event.name.value, event.outcome.value, actor.id, sorted(role.value for role in actor.roles),
            event.client_id, event.object_id, actor.request_id, event.fields,
        )
    )  # fmt: skip


def _payload(
    event: str, outcome: str, actor: UUID, roles: Sequence[str], client: UUID | None, about: UUID | None, request: UUID,
    fields: Mapping[str, str | int],
) -> dict[str, object]:  # fmt: skip
    return {
        "v": 1, "event": event, "outcome": outcome, "actor": str(actor), "roles": list(roles),
        "client": None if client is None else str(client), "object": None if about is None else str(about),
        "request": str(request), "fields": dict(fields),
    }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a payload says. ``event`` stays text, because a log may be older or newer than its reader."""

    event: str
    outcome: str
    actor: UUID
    roles: tuple[str, ...]
    client: UUID | None
    object: UUID | None
    request: UUID
    fields: Mapping[str, str | int]


def read_payload(payload: bytes) -> Facts:
    """Read a payload strictly: exactly what :func:`canonical_payload` writes.

    Raises:
        Integrity: ``bad_audit_payload``.
    """
    with refusing("bad_audit_payload", on=(ValueError, KeyError, TypeError, AttributeError), next_step=_NEXT):
        found: Any = parse_canonical(payload)
        client, about, roles, fields = found["client"], found["object"], found["roles"], found["fields"]
        facts = Facts(
            event=found["event"], outcome=found["outcome"], actor=UUID(found["actor"]), roles=tuple(roles),
            client=None if client is None else UUID(client), object=None if about is None else UUID(about),
            request=UUID(found["request"]), fields=fields,
        )  # fmt: skip
        plain = all(isinstance(one, str) for one in (facts.event, facts.outcome, *roles))
        plain = plain and all(isinstance(one, str | int) for one in fields.values())
        said = (facts.event, facts.outcome, facts.actor, roles, facts.client, facts.object, facts.request, fields)
        if not plain or _payload(*said) != found:
            raise ValueError("not as it is written")
    return facts


def chain_hash(*, prev: bytes, chain: UUID, seq: int, at_us: int, writer: str, payload: bytes) -> bytes:
    """Return a record's hash: SHA-256 over the domain, the previous hash, the place, the writer and the payload."""
    name = writer.encode()
    return sha256(DOMAIN + prev + _PLACE.pack(chain.bytes, seq, at_us, len(name)) + name + payload).digest()


def verify_chain(
    records: Iterable[Record],
    *,
    chain: UUID,
    start: ChainHead | None = None,
    through: Mapping[int, bytes] | None = None,
) -> ChainHead:
    """Check that ``records`` continue ``start`` without a gap and pass through every known head.

    Args:
        records: In the order of the log; consumed once.
        chain: The chain they must all belong to.
        start: A head already trusted; None = the beginning.
        through: Heads known from elsewhere, such as checkpoints: sequence number -> hash; later than ``start``.

    Returns:
        The head reached.

    Raises:
        Integrity: ``audit_chain_broken`` with the first bad ``seq`` and a ``reason``: ``edited``, ``unlinked``,
            ``removed``, ``reordered``, ``inserted``, ``foreign_chain``, ``forked``, ``tail_cut``.
    """
    heads = verify_log(records, starts={chain: start or empty(chain)}, through={chain: through or {}}, only=chain)
    return heads[chain]


def verify_log(
    records: Iterable[Record],
    *,
    starts: Mapping[UUID, ChainHead] | None = None,
    through: Mapping[UUID, Mapping[int, bytes]] | None = None,
    only: UUID | None = None,
) -> dict[UUID, ChainHead]:
    """Check a log that holds many chains. Records of different chains may be mixed; each chain keeps its own order.

    Args:
        records: Consumed once.
        starts: Heads already trusted, by chain.
        through: Heads known from elsewhere, as in :func:`verify_chain`, by chain; a chain that no record belongs to
            counts as cut off.
        only: The one chain that all records belong to.

    Returns:
        The head of each chain, including those of ``starts``.

    Raises:
        Integrity: ``audit_chain_broken`` as :func:`verify_chain`.
    """
    heads = dict(starts or {})
    known = {chain: dict(points) for chain, points in (through or {}).items()}
    rest = iter(records)
    # State of the current chain, so that nothing is looked up for each record.
    last, prev, points, named, at = 0, GENESIS, None, b"", None
    for record in rest:
        of, seq, at_us, writer, payload, stored, claimed = record
        chain = only or of
        if chain is not at:
            if at is not None:
                heads[at] = ChainHead(at, last, prev)
            (_, last, prev), points = heads.get(chain) or empty(chain), known.get(chain)
            named, at = chain.bytes, chain
        if seq != last + 1 or (of is not chain and of != chain):
            raise _misplaced(record, rest, chain, last + 1)
        name = writer.encode()  # as `chain_hash` does, without a call for each record
        digest = sha256(DOMAIN + prev + _PLACE.pack(named, seq, at_us, len(name)) + name + payload).digest()
        if digest != stored or (claimed is not None and claimed != prev):
            raise _broken(chain, seq, _why_unequal(record, prev))
        if points is not None and points.pop(seq, digest) != digest:
            raise _broken(chain, seq, "forked")
        last, prev = seq, digest
    if at is not None:
        heads[at] = ChainHead(at, last, prev)
    for chain, points in known.items():
        _must_be_met(chain, heads.get(chain) or empty(chain), points)
    return heads


def _must_be_met(chain: UUID, reached: ChainHead, points: Mapping[int, bytes]) -> None:
    if points:
        first = min(points)
        cut = first > reached.seq
        raise _broken(chain, reached.seq + 1 if cut else first, "tail_cut" if cut else "forked")


def _why_unequal(record: Record, prev: bytes) -> str:
    """Tell why a hash does not fit: a record that fits its own ``prev`` was moved, or follows a replaced one."""
    if record.prev is None or record.prev == prev:
        return "edited"
    chain, seq, at_us, writer, payload, *_ = record
    own = chain_hash(prev=record.prev, chain=chain, seq=seq, at_us=at_us, writer=writer, payload=payload)
    return "unlinked" if own == record.hash else "edited"


def _misplaced(record: Record, rest: Iterator[Record], chain: UUID, seq: int) -> Integrity:
    if record.chain != chain:
        return _broken(chain, seq, "foreign_chain")
    if record.seq < seq:
        return _broken(chain, record.seq, "inserted")
    reordered = any(later.seq == seq and later.chain == chain for later in rest)
    return _broken(chain, seq, "reordered" if reordered else "removed")


def _broken(chain: UUID, seq: int, reason: str) -> Integrity:
    step = _NEXT_CUT if reason == "tail_cut" else _NEXT
    return Integrity("audit_chain_broken", next_step=step, chain=chain, seq=seq, reason=reason)


def export_line(record: Record, *, prev: bytes) -> bytes:
    """Return a record's line of an export, without the line end: canonical JSON, payload verbatim as text.

    Raises:
        Integrity: ``bad_audit_payload``; the stored payload is not UTF-8 text.
    """
    with refusing("bad_audit_payload", next_step=_NEXT, chain=record.chain, seq=record.seq):
        payload = record.payload.decode("utf-8")
    return (
        f'{{"at_us":{record.at_us},"chain":"{record.chain}","hash":"{record.hash.hex()}",'
        f'"payload":{_quoted(payload)},"prev":"{prev.hex()}","seq":{record.seq},'
        f'"v":1,"writer":"{record.writer}"}}'
    ).encode()


def parse_line(line: bytes) -> Record:
    """Parse one line of an export, without its line end. Accepts only the spelling :func:`export_line` writes.

    Raises:
        Integrity: ``bad_audit_line``.
    """
    with refusing("bad_audit_line", next_step=_NEXT):
        if len(line) > MAX_LINE:
            raise ValueError("too long")
        said, _ = _decode(line.decode())  # anything behind it shows up when it is written again
        prev = bytes.fromhex(said["prev"])
        record = Record(
            _chain(said["chain"]), said["seq"], said["at_us"], said["writer"], said["payload"].encode(),
            bytes.fromhex(said["hash"]), prev,
        )  # fmt: skip
        _, seq, at_us, writer, *_ = record
        whole = type(seq) is int and type(at_us) is int and 0 < seq <= MAX_INT and 0 <= at_us <= MAX_INT
        if not whole or not _WRITER.match(writer) or len(record.hash) != 32 or len(prev) != 32:
            raise ValueError("not a record")
        if export_line(record, prev=prev) != line:
            raise ValueError("not as it is written")
    return record


def parse_lines(lines: Iterable[bytes]) -> Iterator[Record]:
    """Parse the lines of an export file as read, each with its line end.

    Raises:
        Integrity: ``bad_audit_line`` with the number of the line; a last line without its end counts as bad.
    """
    number = 0
    try:
        for line in lines:
            number += 1
            if line[-1:] != b"\n":
                raise Integrity("bad_audit_line")
            yield parse_line(line[:-1])
    except Integrity:
        raise Integrity("bad_audit_line", next_step=_NEXT, line=number) from None


@lru_cache(maxsize=4096)
def _chain(text: str) -> UUID:
    return UUID(text)
