"""What a browser and its driver inherit of our environment: nothing that lets anybody in anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import psutil
import pytest

from byokeep.browser.launch import driver
from tests.support.website import fresh

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("own_drivers")]


def below(pid: int) -> list[Path]:
    """Every process that descends from one."""
    return [Path("/proc") / str(child.pid) for child in psutil.Process(pid).children(recursive=True)]


@pytest.mark.req("S-OWASP-8")
async def test_no_process_of_a_browser_has_our_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver and every process below it: neither the name nor the value; what the driver needs is there."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up-not-for-children")
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "none"))
    async with fresh() as one:
        await one.page.goto("about:blank")
        seen = {}
        for child in below(os.getpid()):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
                seen[child] = (child / "comm").read_text(), (child / "environ").read_bytes()
        names = " ".join(name for name, _ in seen.values())
        assert "node" in names
        assert "chrom" in names.lower()
        for _, environment in seen.values():
            assert b"AWS_SECRET_ACCESS_KEY" not in environment
            assert b"made-up-not-for-children" not in environment
        assert any(b"PLAYWRIGHT_BROWSERS_PATH=" in environment for _, environment in seen.values())


async def test_a_driver_that_is_cancelled_while_it_starts_leaves_no_process() -> None:
    """Neither at once nor later: it would live as long as the runner does."""

    async def run() -> None:
        async with driver():
            raise AssertionError("it started")

    before, starting = set(below(os.getpid())), asyncio.create_task(run())
    while not set(below(os.getpid())) - before:
        await asyncio.sleep(0.005)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    for _ in range(100):  # what was told to end ends a moment later
        if not set(below(os.getpid())) - before:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("its process is still there")
