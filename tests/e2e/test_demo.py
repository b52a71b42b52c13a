"""`byokeep demo`: ten claims on a fresh stack; one that does not hold makes the demo fail."""

from __future__ import annotations

import asyncio
import json
import shutil
import tomllib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from byokeep import demo
from byokeep.cli.terminal import TerminalSession, current
from byokeep.demo import STEPS
from byokeep.settings import Settings
from tests.support.cli import Shell
from tests.support.stack import ForkedStack, family, lives, new_home, until

pytestmark = pytest.mark.timeout(400)  # whole stacks start; how fast is a benchmark
WITHIN_S = 150.0


async def test_all_claims_hold(tmp_path: Path) -> None:
    """Exit code 0, one JSON document, every step there and held; nothing is left running."""
    ran = await Shell(tmp_path / "none", loaded=True).run("demo", "--json", within_s=WITHIN_S)
    assert ran.code == 0, ran.said
    assert ran.document["ok"] is True
    assert [row["step"] for row in ran.document["steps"]] == [step.__name__ for step in STEPS]
    assert all(row["ok"] and row["claim"] and row["seen"] for row in ran.document["steps"])
    assert ran.err == ""


async def spoil(keep: Path, fault: dict[str, Any]) -> None:
    """Tell the demo's simulator what goes wrong, as soon as it is there."""
    config = keep / "config.toml"
    await until(lambda: config.exists() and "heygen" in config.read_text(), 30, "the demo has no simulator yet")
    url = tomllib.loads(config.read_text())["provider_urls"]["openai"].rpartition("/")[0]
    async with aiohttp.ClientSession() as http, http.post(f"{url}/_sim/faults", json=fault) as reply:
        assert reply.status == 201, await reply.text()


BROKEN_PLATFORM = {"provider": "platform", "kind": "status", "status": 500, "times": 9, "match": {"method": "POST"}}


async def test_a_claim_that_does_not_hold_fails_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 5; the steps after it are not run; the stack is stopped all the same."""
    monkeypatch.setattr(demo, "Stack", ForkedStack)
    monkeypatch.setattr(demo.log, "configure", lambda *_, **__: None)  # this process is not the demo's own
    said = list[Any]()
    monkeypatch.setattr(demo, "show", said.append)
    current.set(TerminalSession(settings=Settings(), as_json=True))
    place = new_home()
    keep = place / "kept"
    try:
        running = asyncio.create_task(demo.run(keep=keep, as_json=True))
        await spoil(keep, BROKEN_PLATFORM)
        await until(lambda: running.done() or (keep / "stack.json").exists(), WITHIN_S, "the stack did not start")
        parts = json.loads((keep / "stack.json").read_text())["pids"].values()
        pids = [below for pid in parts for below in family(pid)]
        assert await asyncio.wait_for(running, WITHIN_S) == 5
    finally:
        shutil.rmtree(place, ignore_errors=True)
    [document] = said
    assert document["ok"] is False
    rows = document["steps"]
    assert [row["ok"] for row in rows] == [True] * (len(rows) - 1) + [False]
    assert rows[-1]["step"] == "publish"
    assert pids
    assert not [pid for pid in pids if lives(pid)]


async def test_what_did_not_hold_is_said_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without ``--json``: what held and what did not as a table, and that the rest was not run; the same code."""

    async def held(_stage: Any) -> str:
        """It holds."""
        return "seen"

    async def broken(_stage: Any) -> str:
        """It does not."""
        raise demo.Broken("another value came back")

    async def never(_stage: Any) -> str:
        """It is not run."""
        raise AssertionError

    monkeypatch.setattr(demo, "STEPS", {held: "it holds", broken: "it holds, too", never: "and this"})
    for name in ("scene", "busy"):
        monkeypatch.setattr(demo, name, lambda *_, **__: nullcontext())
    assert await demo.run() == 5
    said, hint = capsys.readouterr()
    assert "demo --keep DIR" in hint
    assert "no " in said
    assert "another value came back" in said
    assert "A claim did not hold" in said
    assert "and this" not in said
