"""The page that a browser sees when a platform has sent it back: ours alone, with the one style that it lets in."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re

from byokeep.cli.redirect import Listener
from byokeep.core.secret import Secret
from tests.support.ports import free_port


async def fetched(port: int, path: str) -> tuple[str, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return head, body


def listening(port: int) -> Listener:
    return Listener(f"http://127.0.0.1:{port}/x", state=Secret(b"s" * 32), binding=Secret(b"b" * 32))


async def test_the_page_says_what_to_do_and_lets_in_its_own_style_alone() -> None:
    """Nothing from elsewhere loads, no script runs, and the digest in the header is that of the style in the page."""
    port = free_port()
    async with listening(port):
        for path, status, told in (("/x/done", "200", "return to the terminal"), ("/other", "404", "Nothing here")):
            head, body = await fetched(port, path)
            assert head.startswith(f"HTTP/1.1 {status} ")
            assert told in body
            (style,) = re.findall(r"<style>(.*?)</style>", body, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
            (policy,) = re.findall(r"Content-Security-Policy: (.*)", head)
            assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
            assert "script" not in body + policy
            assert "//" not in body


async def test_a_browser_that_connects_and_says_nothing_keeps_nobody() -> None:
    """Browsers connect in advance: whoever leaves waits for none of these connections, and leaves none behind."""
    port, before = free_port(), asyncio.all_tasks()
    async with asyncio.timeout(5):
        async with listening(port):
            _, silent = await asyncio.open_connection("127.0.0.1", port)
            await fetched(port, "/x/done")
    assert asyncio.all_tasks() == before
    silent.close()
