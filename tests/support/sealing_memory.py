"""``python -m tests.support.sealing_memory BYTES``: seal and open, and print the peak of memory that each added, MiB.

The blob goes to a file, so that the process holds none of it. The peak is the kernel's, reset before each half; before
them stand a self-test, which loads everything, and what the process then has.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

from byokeep.core.ref import KeyRef
from byokeep.core.sealed_record import SealedRecord
from byokeep.sealing.sealer import Sealer, new_dek, open_into, seal
from tests.support.sealing import WRAPPED, manifest

BLOCK = 512 * 1024


class Drawn:
    """Half random, half not, as the bytes of a profile are; the last read may be shorter."""

    def __init__(self, size: int) -> None:
        self._left, self._block = size, os.urandom(BLOCK) + b"state of a session " * (BLOCK // 19)

    def read(self, size: int, /) -> bytes:
        taken = min(size, self._left, len(self._block))
        self._left -= taken
        return self._block[:taken]


class Count:
    """A sink that only counts."""

    def __init__(self) -> None:
        self.size, self.committed = 0, False

    def write(self, data: memoryview) -> None:
        self.size += len(data)

    def commit(self) -> None:
        self.committed = True

    def abort(self) -> None:
        self.size = -1


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


async def measured(size: int, place: Path) -> tuple[float, float]:
    dek, dek_id, of = new_dek(), uuid4(), manifest()
    reset_peak()
    before = mib("VmRSS")
    with place.open("wb", buffering=0) as target:
        said = await seal(Drawn(size), target, dek=dek, dek_id=dek_id, manifest=of, place=of.place)
    sealed = mib("VmHWM") - before
    record = SealedRecord(
        manifest=of, dek_id=dek_id, wrapped_dek=WRAPPED, kek=KeyRef("transit", "profiles"), kek_version=1,
        blob_sha256=said.sha256, blob_size=said.size, packed_size=said.packed_size,
    )  # fmt: skip
    reset_peak()
    sink = Count()
    with place.open("rb", buffering=0) as source:
        await open_into(source, sink, dek=dek, record=record, place=of.place)
    opened = mib("VmHWM") - before
    if not sink.committed or sink.size != size:
        raise SystemExit("what came out is not what went in")
    return sealed, opened


def main() -> None:
    Sealer()
    with tempfile.TemporaryDirectory() as folder:
        sealed, opened = asyncio.run(measured(int(sys.argv[1]), Path(folder) / "blob"))
        sys.stdout.write(f"{sealed} {opened}\n")


if __name__ == "__main__":
    main()
