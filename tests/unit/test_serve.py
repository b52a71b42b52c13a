"""What a server process loads: its own part, and nothing that only the others need."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from byokeep.core.errors import Unavailable
from byokeep.processes import serve

FOREIGN = {
    "web": {
        "byokeep.broker.app",
        "byokeep.accounts.tasks",
        "byokeep.worker.tasks",
        "byokeep.adapters.postgres.migrations",
    },
    "broker": {
        "byokeep.web.app",
        "byokeep.accounts.tasks",
        "byokeep.worker.tasks",
        "byokeep.adapters.postgres.migrations",
    },
    "killswitch": {
        "byokeep.web.app",
        "byokeep.broker.app",
        "byokeep.accounts.tasks",
        "byokeep.worker.tasks",
        "byokeep.adapters.postgres.migrations",
    },
    "worker": {
        "byokeep.web.app",
        "byokeep.broker.app",
        "byokeep.accounts.tasks",
        "byokeep.adapters.postgres.migrations",
        "fastapi",
        "granian",
    },
    "refresher": {
        "byokeep.web.app",
        "byokeep.broker.app",
        "byokeep.worker.tasks",
        "byokeep.adapters.postgres.migrations",
        "fastapi",
        "granian",
    },
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_process_does_not_load_what_the_others_need(name: str) -> None:
    """A start is paid for five times: neither the web framework nor migrations nor a neighbour's routes are in it."""
    code = f"import sys, byokeep.processes.serve, {', '.join(serve._OWN[name])}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert set(serve._OWN[name]) <= loaded
    assert not loaded & FOREIGN[name]
    assert {"psycopg", "structlog"} <= loaded  # the look at what is loaded sees what all of them need


async def test_a_server_that_ends_without_being_told_has_failed(tmp_path: Path) -> None:
    """No place to listen at is its own error, and an end of what runs beside it is that one's: neither is a stop."""

    async def api(*_: object) -> None:
        raise AssertionError("nobody calls")

    async def fails() -> None:
        raise KeyError("a fault of ours")

    with pytest.raises(Exception, match=r".") as caught:
        await asyncio.wait_for(serve._listen(api, "", tmp_path / "nowhere" / "web.sock"), 10)
    assert not isinstance(caught.value, TimeoutError)
    with pytest.raises(KeyError, match="a fault of ours"):
        await asyncio.wait_for(serve._listen(api, "", tmp_path / "web.sock", beside=asyncio.create_task(fails())), 10)
    with pytest.raises(Unavailable, match="server_stopped"):
        await asyncio.wait_for(
            serve._listen(api, "", tmp_path / "web.sock", beside=asyncio.create_task(asyncio.sleep(0))), 10
        )
