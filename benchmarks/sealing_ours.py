"""``python -m benchmarks.sealing_ours seal|open PROFILE BLOB``: our half of the benchmark.

Prints a JSON object: seconds, CPU seconds, MiB of memory on top of what the process had. All of it is the product's own
way: packing with its checks of every file, sealing, opening, unpacking into a place that becomes visible at the end.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from byokeep.browser.archive import Pack, Unpack
from byokeep.core.manifest import ExpectedAccount, Manifest, Packing
from byokeep.core.model import ClientId, Environment, ProfileId, Provider
from byokeep.core.ref import KeyRef
from byokeep.core.sealed_record import SealedRecord
from byokeep.core.secret import Secret
from byokeep.sealing.generation import SealedBlob
from byokeep.sealing.sealer import Sealer, open_into, seal

DEK, DEK_ID = Secret(bytes(range(32))), UUID(int=4)
MANIFEST = Manifest(
    environment=Environment.DEVELOPMENT, client_id=ClientId(UUID(int=1)), profile_id=ProfileId(UUID(int=2)),
    generation=1, platforms=(Provider.X,), created_by=UUID(int=3), created_at=datetime(2026, 3, 1, tzinfo=UTC),
    accounts=(
        ExpectedAccount(platform=Provider.X, account="acme", account_id="1", username=None, display_name=None),
    ),
    packing=Packing.FULL, browser_version="156.0.8078.79",
)  # fmt: skip


def memory(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


async def measured(work: Callable[[], Awaitable[object]]) -> dict[str, float]:
    reset_peak()
    before, used, began = memory("VmRSS"), resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    await work()
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return {"seconds": seconds, "cpu": cpu, "extra_mib": memory("VmHWM") - before}


async def sealed(profile: Path, blob: Path) -> SealedBlob:
    paths = [str(path.relative_to(profile)) for path in profile.rglob("*")]  # noqa: ASYNC240 - as below
    # Nothing else runs in this loop.
    with open(blob, "wb", buffering=0) as target, closing(Pack(profile, paths)) as packed:  # noqa: ASYNC230, PTH123
        said = await seal(packed, target, dek=DEK, dek_id=DEK_ID, manifest=MANIFEST, place=MANIFEST.place)
    about = {"sha256": said.sha256.hex(), "size": said.size, "packed_size": said.packed_size}
    blob.with_suffix(".json").write_text(json.dumps(about), encoding="ascii")
    return said


async def opened(profile: Path, blob: Path) -> None:
    about = json.loads(blob.with_suffix(".json").read_text(encoding="ascii"))
    record = SealedRecord(
        manifest=MANIFEST, dek_id=DEK_ID, wrapped_dek="not-wrapped-in-a-benchmark-" * 3, kek=KeyRef("transit", "bench"),
        kek_version=1, blob_sha256=bytes.fromhex(about["sha256"]), blob_size=about["size"],
        packed_size=about["packed_size"],
    )  # fmt: skip
    with open(blob, "rb", buffering=0) as source:  # noqa: ASYNC230, PTH123 - nothing else runs in this loop
        await open_into(source, Unpack(profile), dek=DEK, record=record, place=MANIFEST.place)


def main() -> None:
    what, profile, blob = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    Sealer()
    print(json.dumps(asyncio.run(measured(lambda: (sealed if what == "seal" else opened)(profile, blob)))))


if __name__ == "__main__":
    main()
