"""Seals a profile of 200 MB, for tests that watch where its bytes go. Run as a program.

Arguments: how it ends (``well``, ``raises``, ``waits`` half way to be killed, ``full`` when what is sealed does not get
smaller), where artifacts lie, a file with the canary. Prints ``sealed``, the code of an error, or ``half way``.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from byokeep.adapters.blobs.local import LocalArtifacts
from byokeep.browser.archive import Pack
from byokeep.browser.ephemeral import prepare
from byokeep.core.errors import ByokeepError
from byokeep.core.kek import Wrapped
from byokeep.kernel.ports import Written
from byokeep.profiles.openings import seal
from byokeep.sealing.generation import Sealing
from byokeep.sealing.sealer import Sealer
from tests.support.sealing import WRAPPED, manifest

FILES, SIZE = 20, 10 * 1024 * 1024


class Source:
    """The packed profile, up to half of it."""

    def __init__(self, pack: Pack, ends: str) -> None:
        self._pack, self._ends, self._given = pack, ends, 0

    def read(self, size: int, /) -> bytes:
        data = self._pack.read(size) or b""
        self._given += len(data)
        if self._given > FILES * SIZE // 2 and self._ends == "raises":
            raise OSError(5, "made up")
        if self._given > FILES * SIZE // 2 and self._ends == "waits":
            say("half way")
            time.sleep(3600)
        return data


@dataclass
class Custody:
    """A key holder and a record's place that take what they are given."""

    lease_id = "a-lease"

    @property
    def keys(self) -> Any:
        return self

    async def wrap(self, dek: object, context: object) -> Wrapped:
        return Wrapped(holder="transit", kek_id="profiles", kek_version=1, ciphertext=WRAPPED)

    async def newest(self, ref: object) -> int:
        return 0

    async def write(self, ref: object, record: bytes, *, cas: int) -> Written:
        return Written(version=cas + 1, request_id="")


def main(ends: str, store: str, canary_file: str) -> None:
    canary = Path(canary_file).read_bytes()
    rooms = prepare(None, 512)  # first, while there is one thread
    with rooms.open() as room:
        profile = room.path / "profile"
        profile.mkdir(mode=0o700)
        noise = os.urandom(64 * 1024 - len(canary)) + canary
        for number in range(FILES):
            whole = noise * (SIZE // len(noise))
            (profile / f"{number}").write_bytes(os.urandom(SIZE) if ends == "full" else whole)
        artifacts: Any = LocalArtifacts(Path(store))
        custody: Any = Custody()
        sealing = Sealing(sealer=Sealer(), artifacts=artifacts, keys=custody.keys)
        source = Source(Pack(profile, [f"{number}" for number in range(FILES)]), ends)
        try:
            done, _ = asyncio.run(seal(sealing, custody, manifest(), uuid4(), source, stays=0))
        except (ByokeepError, OSError) as error:
            say(f"{type(error).__name__} {error.code if isinstance(error, ByokeepError) else error.errno}")
        else:
            assert done.packed_size > FILES * SIZE * 0.99
            say("sealed")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
