"""Files that the worker leaves beside a profile: where a waiting browser is, and what a validation saw.

Rules
- Directories 0700, files 0600. A file appears whole or not at all.
- The address of a browser goes away with it; a proof stays, is named by its own digest and is never written again.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from pathlib import Path
from uuid import UUID

from byokeep.core.errors import Unavailable


class HandOffNotes:
    """Addresses of browsers that wait, one file each: ``{work}.json``."""

    def __init__(self, place: Path) -> None:
        self._place = place

    async def leave(self, work_id: UUID, *, address: str, instructions: str) -> None:
        """Leave an address. Raises Unavailable(``run_dir_unusable``)."""
        text = json.dumps({"address": address, "instructions": instructions}) + "\n"
        await asyncio.to_thread(_put, self._place, f"{work_id}.json", text.encode(), "run_dir_unusable")

    async def take_away(self, work_id: UUID) -> None:
        """Remove an address."""
        await asyncio.to_thread((self._place / f"{work_id}.json").unlink, missing_ok=True)


class ProofFiles:
    """Screenshots: ``{client}/{profile}/{generation}-{sha256}.png``."""

    def __init__(self, place: Path) -> None:
        self._place = place

    async def keep(self, client_id: UUID, profile_id: UUID, generation: int, *, picture: bytes, sha256: str) -> str:
        """Keep a picture; returns its name below the place. Raises Unavailable(``proofs_dir_unusable``)."""
        folder = self._place / str(client_id) / str(profile_id)
        name = f"{generation}-{sha256}.png"
        if not await asyncio.to_thread((folder / name).exists):
            await asyncio.to_thread(_put, folder, name, picture, "proofs_dir_unusable")
        return f"{client_id}/{profile_id}/{name}"


def _put(place: Path, name: str, data: bytes, code: str) -> None:
    partial = place / f".{secrets.token_hex(8)}"
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(place / name)
        finally:
            partial.unlink(missing_ok=True)
    except OSError:
        raise Unavailable(code, next_step="Only our own user may use it, and there must be space.") from None
