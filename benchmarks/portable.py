"""A portable profile from document to sealed generation and back, as the worker does it, without the browser.

Each round takes a custody lease of its own, as each of the worker's acts does: broker, login at the store, key, wrap,
blob on the disk, record; then another lease, record, unwrap, blob, document. Real servers, one round after the other.
"""

from __future__ import annotations

import io
import json
import logging
import random
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import structlog

from benchmarks.load import Run
from benchmarks.report import Row, row_of
from benchmarks.rewrap import real_stand
from byokeep.adapters.blobs.local import LocalArtifacts
from byokeep.core.keystate import KeyState
from byokeep.core.manifest import Manifest, Packing
from byokeep.core.model import ClientId, Environment, ProfileId
from byokeep.core.sealed_record import SealedRecord
from byokeep.kernel.ports import Written
from byokeep.profiles.openings import seal, unseal
from byokeep.sealing.generation import Generation, Sealing, StoredGeneration
from byokeep.sealing.sealer import Sealer
from tests.support.keks import HERE, Keys, keys_on
from tests.support.sealing import account, manifest

ROUNDS: Final = 60
WARM_UP: Final = 5
WITHIN_MS: Final = 150.0
SIZE: Final = 50_000  # bytes: what cookies, local storage and IndexedDB of a real profile come to


class Document:
    """Takes an opened document; it counts when it was committed."""

    def __init__(self) -> None:
        self.taken, self.done = bytearray(), False

    def write(self, data: memoryview) -> int:
        self.taken += data
        return len(data)

    def commit(self) -> None:
        self.done = True

    def abort(self) -> None:
        self.taken.clear()


async def portable() -> list[Row]:
    """Measure sealing and opening of one portable document."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # the broker is in here
    document = _document()
    seals, opens, both = Run(1), Run(1), Run(1)
    with tempfile.TemporaryDirectory(prefix="byokeep-bench-") as name:
        async with real_stand() as stand, keys_on(stand) as keys:
            artifacts, client = LocalArtifacts(Path(name) / "blobs"), await keys.client()
            await keys.kek(client)
            for number in range(-WARM_UP, ROUNDS):
                profile = uuid4()
                began = time.perf_counter()
                generation = await _sealed(keys, artifacts, client, profile, document)
                between = time.perf_counter()
                opened = await _opened(keys, artifacts, generation)
                ended = time.perf_counter()
                if opened != document:
                    raise RuntimeError("what was opened is not what was sealed")
                if number >= 0:
                    for run, took in ((seals, between - began), (opens, ended - between), (both, ended - began)):
                        run.took.append(took)
                        run.seconds += took
    size = f"{SIZE // 1000} KB"
    return [
        row_of(f"portable profile of {size}, sealed: lease, wrap, blob, record", seals),
        row_of(f"portable profile of {size}, opened: lease, record, unwrap, blob", opens),
        row_of("portable profile, sealed and opened", both, aim=f"p50 < {WITHIN_MS:.0f} ms",
               held=both.ms(50) < WITHIN_MS),
    ]  # fmt: skip


def _document() -> bytes:
    draw = random.Random(20261125)
    cookies, size = [], 0
    while size < SIZE:
        cookies.append({"name": f"c{len(cookies)}", "value": draw.randbytes(48).hex(), "domain": ".example.test"})
        size += len(json.dumps(cookies[-1])) + 2
    return json.dumps({"cookies": cookies}).encode()


async def _sealed(
    keys: Keys, artifacts: LocalArtifacts, client: ClientId, profile: UUID, document: bytes
) -> Generation:
    about = manifest(
        environment=HERE, client_id=client, profile_id=ProfileId(profile), generation=1, accounts=(account(),),
        created_at=datetime.now(UTC).replace(microsecond=0), packing=Packing.PORTABLE,
    )  # fmt: skip
    dek_id = uuid4()
    async with keys.custody(client) as custody:
        sealing = Sealing(sealer=Sealer(), artifacts=artifacts, keys=custody.keys)
        made = await seal(sealing, custody, about, dek_id, io.BytesIO(document), stays=0)
    return _row(about, *made)


def _row(about: Manifest, made: SealedRecord, written: Written) -> Generation:
    return Generation(
        client_id=about.client_id, profile_id=about.profile_id, generation=1, dek_id=made.dek_id, blob_key="",
        key_state=KeyState.ACTIVE, sealed_at=about.created_at, sealed_by=about.created_by, job_id=uuid4(), gone_at=None,
        holder=made.kek.holder, kek_id=made.kek.key_id, kek_version=made.kek_version, blob_sha256=made.blob_sha256,
        blob_size=made.blob_size, packed_size=made.packed_size, manifest_hash=about.hash,
        record_version=written.version, browser_version=about.browser_version, store_request=written.request_id,
    )  # fmt: skip


async def _opened(keys: Keys, artifacts: LocalArtifacts, generation: Generation) -> bytes:
    sink = Document()
    async with keys.custody(generation.client_id) as custody:
        sealing = Sealing(sealer=Sealer(), artifacts=artifacts, keys=custody.keys)
        await unseal(sealing, custody, generation, Environment(HERE), sink, found=StoredGeneration())
    return bytes(sink.taken) if sink.done else b""
