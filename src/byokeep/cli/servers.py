"""Commands that run servers: ``up``, ``demo``, each process alone, ``init``, ``doctor``, ``sim``.

Rules
- Their modules are imported when the command runs, by name: a client-only install does not have them.
- Each server process hardens itself before it imports anything that could hold a secret. It does not start with a
  client's secret in its environment, or with another environment's role.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cyclopts import App, Group

from byokeep.cli.api import run
from byokeep.cli.terminal import called, must_have_home, say, say_if_heard, session, show
from byokeep.core.errors import Rejected, Unavailable
from byokeep.process import harden
from byokeep.settings import default_home

_EXTRA: Final = "Install the server parts, from a checkout: pip install '/path/to/byokeep[server,embedded,sim]'."


def load(name: str) -> Any:
    """Import a part that only the server extra has. Raises Unavailable: it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        raise Unavailable("part_not_installed", next_step=_EXTRA, module=missing) from None


def refuse_environment() -> None:
    """Refuse to start this process if its environment holds what it must not. Raises Denied."""
    load("byokeep.envcheck.secret").refuse_client_secrets(os.environ)
    load("byokeep.envcheck.bootstrap").refuse_foreign_role(os.environ, session().settings.environment.value)


def up() -> None:
    """Run the whole stack on this machine: OpenBao, PostgreSQL and the byokeep processes. Ctrl-C stops it.

    Example: byokeep up

    Example: byokeep up --home ./state
    """
    harden()
    refuse_environment()
    supervisor = load("byokeep.processes.supervisor")
    since = time.time()

    def ready(stack: Any) -> None:
        first = stack.settings.path("credentials_dir") / "admin.token"
        home = stack.settings.home
        facts = {"web": stack.web_url, "broker": stack.broker_url, "home": str(home)}
        words = f"{called()} doctor"  # which needs no token
        if first.exists():
            facts["first_admin_invitation"] = str(first)
            facts["it_ends"] = datetime.fromtimestamp(first.stat().st_mtime + 86_400, UTC).isoformat()
            token = f"--token-file {shlex.quote(str(first))}"
            password = f"{called()} operator password {token}"
            made_now = first.stat().st_mtime >= since - 1
            words = password if made_now else f"{words}\nIf nobody has a password yet: {password}"
        at = "" if home == default_home() else f"export BYOKEEP_HOME={shlex.quote(str(home))}\n"
        with contextlib.suppress(OSError):
            show(facts, title="byokeep is up", note=f"Ctrl-C stops it. Next, in another terminal:\n{at}{words}")

    run(supervisor.up(session().settings, say=say_if_heard, ready=ready))


def _serve(name: str) -> None:
    harden()
    refuse_environment()
    gc.disable()  # nothing that loads is garbage; once all of it is there, `serve` collects and goes on collecting
    load("byokeep.processes.serve").serve(name, session().settings)


def web() -> None:
    """Run the operator API alone. `byokeep up` runs it for you.

    Example: byokeep web --config /etc/byokeep/web.toml
    """
    _serve("web")


def broker() -> None:
    """Run the broker alone. Keep it on an internal network.

    Example: byokeep broker --config /etc/byokeep/broker.toml
    """
    _serve("broker")


def killswitch() -> None:
    """Run the kill switches in their own process, which works even if the broker does not.

    Example: byokeep killswitch --config /etc/byokeep/killswitch.toml
    """
    _serve("killswitch")


def worker() -> None:
    """Run one worker. Run more of them for more work.

    Example: byokeep worker --config /etc/byokeep/worker.toml
    """
    _serve("worker")


def refresher() -> None:
    """Run the process that connects accounts and renews their tokens. Run one for each slots_dir.

    Example: byokeep refresher --config /etc/byokeep/refresher.toml
    """
    _serve("refresher")


def init(*, admin_token_fd: int | None = None, database_sql: bool = False) -> None:
    """Provision your own OpenBao and PostgreSQL: mounts, policies, roles, keys, migrations. Safe to repeat.

    The store's admin token is read from a descriptor and not kept; revoke it afterwards. The database roles must exist:
    a superuser makes them with the SQL that --database-sql prints. If that superuser lets byokeep_logins log in, each
    role gets its own login (*.pgpass in the credentials directory), which byokeep rotates.

    Example: byokeep init --database-sql | psql -d postgres

    Example: byokeep init --config production.toml --admin-token-fd 3 3< admin-token

    Args:
        admin_token_fd: Descriptor with the store's admin token.
        database_sql: Only print the SQL that makes the database and its roles.
    """
    harden()
    refuse_environment()
    if database_sql:
        sys.stdout.write(load("byokeep.processes.wiring").database_sql())
        return
    with load("byokeep.cli.intake").admin_token(admin_token_fd, needed=True) as token:
        done = run(load("byokeep.processes.installation").provision_external(session().settings, token))
    step = f"give each process its files of the credentials directory, then {called()} broker, killswitch, web, worker,"
    note = f"Revoke the admin token now. Next: {step} refresher --config FILE"
    show(done, title="Provisioned", note=note)


def doctor(*, upgrade: bool = False) -> int:
    """Check this installation: its parts, file modes, hardening, audit devices and known limits.

    Example: byokeep doctor

    Example: byokeep doctor --upgrade

    Args:
        upgrade: Check instead, with a new release that is not started yet, whether it can take over from the running
            one.
    """
    harden()
    settings = session().settings
    must_have_home()
    looks = load("byokeep.processes.upgrade").examine_upgrade if upgrade else load("byokeep.processes.doctor").examine
    outcomes = run(looks(settings))
    states = [one.state.value for one in outcomes]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("ok", "failed", "unknown"))
    advice = sum(bool(one.ok and one.next_step) for one in outcomes)
    rows = [one.row() for one in outcomes]
    for row in rows:  # it is running
        row["detail"] = str(row["detail"]).replace(Unavailable.usual_step, "Try again.")
    show(rows, title="Doctor", columns=("check", "state", "detail"), note=f"{counts}; {advice} of those ok advise.")
    return 0 if all(one.ok for one in outcomes) else Unavailable.exit_code


def demo(*, keep: Path | None = None) -> int:
    """Run the main use case on a fresh stack with simulated providers, and show the evidence.

    Example: byokeep demo

    Example: byokeep demo --json

    Args:
        keep: Keep the state in this new directory instead of a temporary one.
    """
    say("byokeep demo: starts a stack of its own, tries it and removes it, in about two minutes")
    return int(run(load("byokeep.demo").run(keep=keep, as_json=session().as_json)))


def sim(*, port: int = 0) -> int:
    """Run the simulators of the providers and the platform on loopback.

    A stack uses them if its settings file has lines such as openai = "http://127.0.0.1:8430/openai" under
    [provider_urls].

    Example: byokeep sim --port 8430

    Args:
        port: The port to listen on; 0 takes a free one.
    """
    serve = load("byokeep_sim.__main__").serve
    try:
        serve(["--port", str(port)])
    except (ValueError, OSError, OverflowError):
        raise Rejected(
            "port_not_free", next_step="The port is taken, or you may not use it. --port 0 takes a free one.", port=port
        ) from None
    return 0


def register(app: App, group: Group) -> None:
    """Add the commands to the tree, under one heading."""
    for command in (up, demo, web, broker, killswitch, worker, refresher, init, doctor, sim):
        app.command(command, group=group)
