"""What a server process loads: its own part, and nothing that only the others need."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
