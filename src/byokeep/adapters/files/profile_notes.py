"""Files that the worker leaves beside a profile: where a waiting browser is, and what a validation saw.

Rules
- Directories 0700, files 0600. A file appears whole or not at all.
- A browser's address is removed together with it. The worker that has the browser holds the file while it lives. A file
  that nobody holds is a dead worker's: it is not believed, and the next start removes it.
- A proof stays as long as its profile, is named by its own digest and is never rewritten.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from pathlib import Path
from uuid import UUID

from byokeep.core.errors import Unavailable
from byokeep.kernel.durable_write import draft
from byokeep.kernel.ports import Shot, Window
from byokeep.process import hold, is_held, is_what_it_says, to_its_end


class HandOffNotes:
    """Addresses of waiting browsers, one file each: ``{work}.json``."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._held: dict[UUID, int] = {}

    def clear(self) -> int:
        """Remove what dead workers left; returns how many files."""
        gone = 0
        for file in self._place.iterdir() if self._place.is_dir() else ():
            if not is_held(file):
                with contextlib.suppress(OSError):  # it is already gone, or not a file of ours
                    file.unlink()
                    gone += 1
        return gone

    async def leave(self, work_id: UUID, window: Window) -> None:
        """Write an address. Raises Unavailable(``run_dir_unusable``)."""
        text = json.dumps({"address": window.address, "instructions": window.instructions}) + "\n"

        def put() -> None:
            handle = _put(self._place, f"{work_id}.json", text.encode(), "run_dir_unusable", held=True)
            self._let_go(work_id)
            self._held[work_id] = handle

        await to_its_end(asyncio.to_thread(put))  # or it would stand there after it was taken away

    async def take_away(self, work_id: UUID) -> None:
        """Remove an address."""
        await asyncio.to_thread((self._place / f"{work_id}.json").unlink, missing_ok=True)
        self._let_go(work_id)

    def _let_go(self, work_id: UUID) -> None:
        if (handle := self._held.pop(work_id, None)) is not None:
            os.close(handle)


class ProofFiles:
    """Screenshots: ``{client}/{profile}/{generation}-{sha256}.png``."""

    def __init__(self, place: Path) -> None:
        self._place = place

    async def keep(self, client_id: UUID, profile_id: UUID, generation: int, shot: Shot) -> str:
        """Keep a picture; returns its name below the directory. Raises Unavailable(``proofs_dir_unusable``).

        A file of that name with other content is overwritten.
        """
        folder = self._place / str(client_id) / str(profile_id)
        name = f"{generation}-{shot.sha256}.png"
        if await asyncio.to_thread(is_what_it_says, folder / name) is not True:
            await asyncio.to_thread(_put, folder, name, shot.picture, "proofs_dir_unusable")
        return f"{client_id}/{profile_id}/{name}"

    async def altered(self, client_id: UUID, profile_id: UUID) -> bool:
        """Whether a picture of a profile is not what its name says."""
        folder = self._place / str(client_id) / str(profile_id)

        def look() -> bool:
            return any(is_what_it_says(file) is False for file in folder.glob("*.png"))

        return await asyncio.to_thread(look)

    async def remove(self, client_id: UUID, profile_id: UUID) -> None:
        """Remove every picture of a profile. Raises Unavailable(``proofs_dir_unusable``)."""
        folder = self._place / str(client_id) / str(profile_id)

        def clear() -> None:
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                return
            except OSError:
                raise Unavailable("proofs_dir_unusable", next_step="Let only this process' user use it.") from None

        await asyncio.to_thread(clear)


def _put(place: Path, name: str, data: bytes, code: str, *, held: bool = False) -> int:
    """Write a file whole or not at all; returns its handle, which stays open if it is to be held."""
    handle = -1
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with draft(place / name) as file:
            handle = os.dup(file.fileno())
            hold(handle)
            file.write(data)
        if not held:
            os.close(handle)
        return handle
    except OSError:
        if handle >= 0:
            os.close(handle)
        raise Unavailable(code, next_step="Let only this process' user use it, and free disk space.") from None
