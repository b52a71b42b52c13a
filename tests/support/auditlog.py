"""An audit log in memory: chains, epochs, signed checkpoints, evidence. Deterministic, for vectors and unit tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

from byokeep.core import evidence
from byokeep.core.audit import GENESIS, ChainHead, Record, canonical_payload, chain_hash, empty, export_line
from byokeep.core.canonical import canonical_json, parse_canonical
from byokeep.core.checkpoint import (
    Inclusion,
    LogState,
    NoteKey,
    PublicKeys,
    SignedEpoch,
    client_proof_data,
    heads_data,
    include,
    replay,
    write_note,
)
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, Provider, Role
from tests.support.signer import SeededSigner

START_US = 1_795_564_800_000_000  # 2026-11-24T12:00:00Z


def named(name: str) -> UUID:
    """A UUID that is the same in every run."""
    return uuid5(NAMESPACE_DNS, f"{name}.byokeep.test")


INSTALLATION, ALICE, BOB = named("installation"), named("alice"), named("bob")
REF, SOP, JOB = named("ref"), named("sop"), named("job")
ACTOR = Actor(id=named("operator"), roles=frozenset({Role.OPERATOR}), clients=None, request_id=named("request"))


@dataclass
class MemoryLog:
    """What a database would hold, and what is published of it."""

    signer: SeededSigner = field(default_factory=SeededSigner)
    installation: UUID = INSTALLATION
    chains: dict[UUID, list[Record]] = field(default_factory=dict)
    epochs: list[SignedEpoch] = field(default_factory=list)
    state: LogState = field(default_factory=LogState)
    now_us: int = START_US

    @property
    def origin(self) -> str:
        return f"byokeep/{self.installation}"

    @property
    def keys(self) -> PublicKeys:
        log = tuple(NoteKey(self.origin, public) for public in self.signer.public_now("checkpoints").values())
        return PublicKeys(log=log, evidence=self.signer.public_now("evidence"))

    def append(
        self,
        chain: UUID,
        event: EventName,
        fields: Mapping[str, str | int] | None = None,
        *,
        outcome: Outcome = Outcome.OK,
        object_id: UUID | None = None,
        actor: Actor = ACTOR,
    ) -> Record:
        """Append a record as the database would."""
        payload = canonical_payload(
            Event(
                name=event,
                actor=actor,
                outcome=outcome,
                client_id=None if chain == self.installation else chain,
                object_id=object_id,
                fields=fields or {},
            )
        )
        return self.append_payload(chain, payload)

    def append_payload(self, chain: UUID, payload: bytes) -> Record:
        """Append any payload."""
        records = self.chains.setdefault(chain, [])
        prev, seq = (records[-1].hash if records else GENESIS), len(records) + 1
        self.now_us += 1_234_567
        place = {"prev": prev, "chain": chain, "seq": seq, "at_us": self.now_us, "writer": "byokeep_broker"}
        record = Record(
            chain,
            seq,
            self.now_us,
            "byokeep_broker",
            payload,
            chain_hash(**place, payload=payload),
            prev,  # type: ignore[arg-type]
        )
        records.append(record)
        return record

    def head(self, chain: UUID) -> ChainHead:
        records = self.chains[chain]
        return ChainHead(chain, records[-1].seq, records[-1].hash)

    def lines(self, chain: UUID, start: int = 0) -> list[bytes]:
        """Export lines of a chain's records after ``start``."""
        return [export_line(record, prev=record.prev or GENESIS) for record in self.chains[chain][start:]]

    def all_lines(self) -> list[bytes]:
        """Export lines of all chains, mixed by time."""
        records = sorted((r for records in self.chains.values() for r in records), key=lambda record: record.at_us)
        return [export_line(record, prev=record.prev or GENESIS) for record in records]

    def checkpoint(self, rebased: str = "") -> SignedEpoch:
        """Sign one more epoch over all heads; ``rebased`` = which continue none before it."""
        heads = [self.head(chain) for chain in self.chains]
        moved = [head for head in heads if rebased or self.state.heads.get(head.chain) != head]
        leaf = self.state.next_leaf(moved, at_us=self.now_us, rebased=rebased).data()
        text = self.state.advance(leaf, moved).checkpoint(self.origin).text()
        signature, key_id = self.signer.sign_now("checkpoints", text.encode())
        key = NoteKey(self.origin, self.signer.public_now("checkpoints")[key_id])
        epoch = SignedEpoch(leaf, heads_data(moved), write_note(text, [(key, signature)]))
        self.state = replay(self.state, epoch, origin=self.origin, keys=self.keys.log)
        self.epochs.append(epoch)
        return epoch

    def inclusion(self, chain: UUID) -> Inclusion:
        """Proof of a chain's head in the newest epoch."""
        return include(self.state, chain, note=self.epochs[-1].note)

    def proof(self, chain: UUID) -> bytes:
        """A client's proof up to the newest epoch."""
        inclusion = self.inclusion(chain)
        return client_proof_data(self.origin, self.lines(chain)[: inclusion.head.seq], inclusion)

    def onboard(self, client: UUID, *, version: int = 1, pause: int = 0) -> evidence.Onboarding:
        """Append the records of an onboarding and return what they are about.

        ``pause`` = a checkpoint after the write, and so many other records before the rest.
        """
        common: dict[str, str | int] = {"provider": "openai", "version": version, "sop": str(SOP)}
        path = f"kv/clients/{client}/providers/openai"
        told: list[tuple[str, EventName, dict[str, str | int]]] = [
            (evidence.WRITE, EventName.KEY_STORED, {"path": path, "store_request": str(named("store request"))}),
            (evidence.VERIFICATION, EventName.KEY_VERIFIED,
             {"job": str(JOB), "endpoint": "openai.models", "http_status": 200, "latency_ms": 120}),
            (evidence.LEAK_CHECK, EventName.KEY_LEAK_CHECKED, {"lines": 42, "spans": 7, "found": 0}),
            (evidence.DONE, EventName.KEY_ONBOARDED, {"path": path}),
        ]  # fmt: skip
        items = {}
        for item, event, fields in told:
            items[item] = self.append(client, event, {**common, **fields}, object_id=REF).seq
            if pause and item == evidence.WRITE:
                self.checkpoint()
                for _ in range(pause):
                    self.append(client, EventName.JOB_OPENED)
        return evidence.Onboarding(
            origin=self.origin, sop=SOP, client=client, provider=Provider.OPENAI, ref=REF, version=version, items=items
        )

    def bundle(self, about: evidence.Onboarding, *, first: int | None = None) -> bytes:
        """Sign evidence over the chain from the first item to the newest checkpoint's head."""
        start = (min(about.items.values()) if first is None else first) - 1
        records = self.chains[about.client]
        before = ChainHead(about.client, start, records[start - 1].hash) if start else empty(about.client)
        inclusion = self.inclusion(about.client)
        lines = self.lines(about.client)[start : inclusion.head.seq]
        piece = evidence.EvidencePiece(before=before, lines=lines, inclusion=inclusion)
        return self.seal(first_version(evidence.statement(about, [piece])))

    def pieces(self, about: evidence.Onboarding) -> bytes:
        """The statement as version 2 carries it: each item with its chain up to the first checkpoint that covers it."""
        pieces: list[evidence.EvidencePiece] = []
        for seq in sorted(about.items.values()):
            if pieces and seq <= pieces[-1].inclusion.head.seq:
                continue
            state = LogState()
            for epoch in self.epochs:
                state = replay(state, epoch, origin=self.origin, keys=self.keys.log)
                if about.client in state.heads and state.heads[about.client].seq >= seq:
                    break
            inclusion = include(state, about.client, note=epoch.note)
            records = self.chains[about.client]
            before = ChainHead(about.client, seq - 1, records[seq - 2].hash) if seq > 1 else empty(about.client)
            lines = self.lines(about.client)[seq - 1 : inclusion.head.seq]
            pieces.append(evidence.EvidencePiece(before=before, lines=lines, inclusion=inclusion))
        return evidence.statement(about, pieces)

    def seal(self, payload: bytes) -> bytes:
        """Put a statement into a signed envelope."""
        signature, key_id = self.signer.sign_now("evidence", evidence.pae(payload))
        return evidence.envelope(payload, signature=signature, key_id=key_id)


def first_version(statement: bytes) -> bytes:
    """The same statement as version 1 spelled it: one piece, its members beside the others."""
    said: Any = parse_canonical(statement)
    (piece,) = said["predicate"].pop("pieces")
    said["predicate"] |= piece | {"v": 1}
    said["predicateType"] = said["predicateType"].replace("/v2", "/v1")
    return canonical_json(said)


def sample_log() -> MemoryLog:
    """Two clients and the platform, three epochs, an onboarding of Alice's."""
    log = MemoryLog()
    log.append(INSTALLATION, EventName.INSTALLED)
    for client in (ALICE, BOB):
        log.append(client, EventName.CLIENT_CREATED, {"risk": "standard"}, object_id=client)
    log.checkpoint()
    log.onboard(ALICE)
    log.append(BOB, EventName.LEASE_ISSUED, {"job": str(JOB), "kind": "use", "secrets": "openai"})
    log.checkpoint()
    log.append(INSTALLATION, EventName.CHECKPOINT_SIGNED, {"epoch": 1, "size": 2}, outcome=Outcome.INTENDED)
    log.append(ALICE, EventName.JOB_OPENED, object_id=JOB)
    log.checkpoint()
    return log
