"""A job on a plain profile, for tests that look at the disk afterwards. Run as a program; the last step is a kill.

Arguments: what to do (``work`` or ``browse``), where artifacts lie, a file with the canary. What is done, in order:
unpack into a room, [browse with a cookie that is the canary,] pack, seal, store; then half of it once more, and wait.
"""

from __future__ import annotations

import asyncio
import io
import os
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from byokeep.adapters.blobs.local import LocalArtifacts
from byokeep.browser.archive import ArchiveEntry, Pack, Unpack, write_head
from byokeep.browser.ephemeral import prepare
from byokeep.core.sealed_record import MAGIC as SEALED_MAGIC
from byokeep.core.sealed_record import ArtifactKey


def main(what: str, store: str, canary_file: str) -> None:
    canary = Path(canary_file).read_bytes()
    rooms = prepare(None, 256)  # first, while there is one thread
    asyncio.run(job(what, rooms, LocalArtifacts(Path(store)), canary))


async def job(what, rooms, store, canary):  # type: ignore[no-untyped-def]
    cookies = canary * 2000
    with rooms.open() as room:
        profile = room.path / "profile"
        with Unpack(profile) as sink:
            sink.write(write_head([ArchiveEntry("F", "Cookies", len(cookies))]) + cookies)
            sink.commit()
        if what == "browse":
            await browse(room.path, canary.decode())
        paths = [path.relative_to(profile).as_posix() for path in profile.rglob("*") if path.is_file()]
        key = ArtifactKey(client_id=uuid4(), profile_id=uuid4(), generation=1, random=secrets.token_hex(16))
        stored = await store.put(key.client_id, key, sealed(Pack(profile, paths)))
        second = ArtifactKey(client_id=key.client_id, profile_id=key.profile_id, generation=2, random=key.random)
        await store.put(second.client_id, second, sealed(Pack(profile, paths), stops=True))
        raise AssertionError(stored)


async def sealed(pack: io.RawIOBase, *, stops: bool = False) -> AsyncIterator[bytes]:
    """Some seal; what is on the way is encrypted piece by piece."""
    key = AESGCM(AESGCM.generate_key(256))
    yield SEALED_MAGIC
    while piece := pack.read(1 << 16):
        nonce = os.urandom(12)
        yield nonce + key.encrypt(nonce, piece, None)
        if stops:
            sys.stdout.write("half way\n")
            sys.stdout.flush()
            await asyncio.sleep(3600)


async def browse(room: Path, canary: str) -> None:
    """Log in: a cookie that outlives the browser; close, so that it is written down; and look that it is there."""
    from playwright.async_api import async_playwright

    from byokeep.chromium import find_chromium

    home = room / "home"
    home.mkdir()
    # Whatever wants a home or a temporary directory gets the room.
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home)}
    cookie = {"name": "session", "value": canary, "domain": "example.org", "path": "/", "expires": 2_000_000_000.0}
    given = {"executable_path": str(find_chromium()), "args": ["--no-sandbox"], "env": env, "downloads_path": home}
    profile = room / "profile"
    async with async_playwright() as playwright:
        for opened in range(2):
            context = await playwright.chromium.launch_persistent_context(profile, **given)  # type: ignore[arg-type]
            await context.route("**/*", lambda route: route.fulfill(body="hello", content_type="text/html"))
            page = await context.new_page()
            await page.goto("https://example.org/")
            if opened:
                found = await context.cookies("https://example.org/")
                assert [entry["value"] for entry in found] == [canary], "the profile did not keep its cookie"
                assert await page.evaluate("localStorage.getItem('session')") == canary
            else:
                await context.add_cookies([cookie])  # type: ignore[list-item]
                await page.evaluate("value => localStorage.setItem('session', value)", canary)
            await context.close()
    kept = [
        path for path in (profile / "Default").rglob("*") if path.is_file() and canary.encode() in path.read_bytes()
    ]
    assert kept, "Chromium wrote nothing plain, so a clean disk would show nothing"
    for path in profile.rglob("Singleton*"):
        path.unlink()


if __name__ == "__main__":
    main(*sys.argv[1:])
