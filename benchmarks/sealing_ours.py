"""``python -m benchmarks.sealing_ours seal|open PROFILE BLOB``: our half of the benchmark.

Prints a JSON object: seconds, CPU seconds, MiB of memory on top of what the process had. What packs and unpacks is made
of the standard library's `tarfile`; the product unpacks with checks of its own, which this does not measure.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import resource
import shutil
import sys
import tarfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from byokeep.adapters.sealing import SealedBlob, open_into, seal, self_test
from byokeep.core.manifest import ExpectedAccount, Manifest, Packing
from byokeep.core.model import ClientId, Environment, ProfileId, Provider
from byokeep.core.ref import KeyRef
from byokeep.core.sealed_record import SealedRecord
from byokeep.core.secret import Secret

BUFFER = 1024 * 1024
DEK, DEK_ID = Secret(bytes(range(32))), UUID(int=4)
MANIFEST = Manifest(
    environment=Environment.DEVELOPMENT, client_id=ClientId(UUID(int=1)), profile_id=ProfileId(UUID(int=2)),
    generation=1, platforms=(Provider.X,), created_by=UUID(int=3), created_at=datetime(2026, 3, 1, tzinfo=UTC),
    accounts=(
        ExpectedAccount(platform=Provider.X, account="acme", account_id="1", username=None, display_name=None),
    ),
    packing=Packing.FULL, browser_version="156.0.8078.79",
)  # fmt: skip


class Packed:
    """A directory as a tar stream; takes from its files only what is asked for."""

    def __init__(self, folder: Path) -> None:
        self._pieces = self._files(folder)
        self._now: io.RawIOBase | io.BytesIO | None = io.BytesIO()
        self._buffer = memoryview(bytearray(BUFFER))

    def read(self, size: int, /) -> bytes:
        wanted, at = self._buffer[:size], 0
        while at < len(wanted) and self._now is not None:
            got = self._now.readinto(wanted[at:]) or 0
            at += got
            if not got:
                self._now.close()
                self._now = next(self._pieces, None)
        return bytes(wanted[:at])

    @staticmethod
    def _files(folder: Path) -> Iterator[io.RawIOBase | io.BytesIO]:
        archive = tarfile.TarFile(fileobj=io.BytesIO(), mode="w")
        for path in sorted(folder.rglob("*")):
            about = archive.gettarinfo(path, str(path.relative_to(folder)))
            yield io.BytesIO(about.tobuf(tarfile.USTAR_FORMAT))
            if about.isreg():
                yield path.open("rb", buffering=0)
                yield io.BytesIO(bytes(-about.size % 512))
        yield io.BytesIO(bytes(1024))


class Unpacked:
    """Unpacks a tar stream as it comes, beside its place, and moves it there when it is told to commit."""

    def __init__(self, place: Path) -> None:
        self._place, self._beside = place, place.with_name(place.name + ".part")
        self._beside.mkdir()
        self._header, self._file, self._left, self._skip = bytearray(), -1, 0, 0

    def write(self, data: memoryview) -> None:
        while data:
            if self._left:
                took = os.write(self._file, data[: self._left])
                self._left -= took
                if not self._left:
                    os.close(self._file)
            elif self._skip:
                took = min(self._skip, len(data))
                self._skip -= took
            else:
                took = min(512 - len(self._header), len(data))
                self._header += data[:took]
                if len(self._header) == 512:
                    self._begin(bytes(self._header))
                    self._header.clear()
            data = data[took:]

    def _begin(self, header: bytes) -> None:
        if not any(header):
            return
        about = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        path = self._beside / about.name
        if about.isdir():
            path.mkdir(mode=0o700)
            return
        if not about.isreg() or ".." in path.parts:
            raise ValueError(about.name)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._left, self._skip = about.size, -about.size % 512
        if not self._left:
            os.close(self._file)

    def commit(self) -> None:
        self._beside.rename(self._place)

    def abort(self) -> None:
        shutil.rmtree(self._beside)


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
    with open(blob, "wb", buffering=0) as target:  # noqa: ASYNC230, PTH123 - nothing else runs in this loop
        said = await seal(Packed(profile), target, dek=DEK, dek_id=DEK_ID, manifest=MANIFEST, place=MANIFEST.place)
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
        await open_into(source, Unpacked(profile), dek=DEK, record=record, place=MANIFEST.place)


def main() -> None:
    what, profile, blob = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    self_test()
    print(json.dumps(asyncio.run(measured(lambda: (sealed if what == "seal" else opened)(profile, blob)))))


if __name__ == "__main__":
    main()
