"""Workers to be killed while keys are rotated: ``python -m tests.support.rotation_worker``.

What it reads from standard input are lines of JSON: the first says where everything is, each further one is a worker.
A worker is a process forked from this one, which has read all of the program; it does what waits in the queue. It is
killed with SIGKILL after ``life_s``, or kills itself ``before`` or ``after`` the record of a step. What it came to, is
told as a line: ``killed``, or ``ended``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from byokeep.adapters.postgres.database import PostgresDatabase, build_app
from byokeep.adapters.providers.descriptor import DESCRIPTORS, acts
from byokeep.adapters.system import SystemClock, SystemIds
from byokeep.core.model import Environment
from byokeep.kernel import procedures
from byokeep.kernel.app import ServiceLimits
from byokeep.procedures import PROCEDURES
from byokeep.wire.transport import Outbound
from byokeep.worker.tasks import register
from tests.support.web import telemetry_in, worker_app


async def main(said: dict[str, Any]) -> None:
    """Be a worker until nothing is left to do."""
    app: Any = SimpleNamespace(
        clock=SystemClock(), ids=SystemIds(), installation_id=UUID(said["installation"]),
        environment=Environment.DEVELOPMENT, procedures=PROCEDURES, limits=ServiceLimits(
            rotation_modes={name: one.rotation.mode for name, one in DESCRIPTORS.items()},
            rotation_default_days={name: one.rotation_days for name, one in DESCRIPTORS.items()},
            rotation_acts={name: acts(one) for name, one in DESCRIPTORS.items() if acts(one)},
        ),
    )  # fmt: skip
    stand: Any = SimpleNamespace(home=Path(said["home"]), url=said["broker"], app=app)
    stand.people = {"custodian": SimpleNamespace(token=said["token"])}
    sim: Any = SimpleNamespace(base_url=lambda name: said["vendors"][name])
    db = PostgresDatabase(said["database"])
    async with Outbound() as http:
        queue = build_app(said["database"])
        register(queue, worker_app(stand, sim, http, db, stand.home / "logs"))
        queue.periodic_registry.periodic_tasks.clear()
        async with queue.open_async():
            await queue.run_worker_async(wait=False, install_signal_handlers=False, listen_notify=False)
    await db.close()


def die_at(when: str, stage: str) -> None:
    """Let this process kill itself before or after the record of a step is committed."""
    whole = procedures._do_next

    async def cut_off(app: Any, actor: Any, procedure: Any, run: Any) -> Any:
        step = procedure.next(run)
        if when == "before" and step is not None and step.name == stage:
            passed = procedures.passed

            async def never(*given: Any) -> Any:
                await passed(*given)  # not committed
                os.kill(os.getpid(), signal.SIGKILL)

            procedures.passed = never
        moved = await whole(app, actor, procedure, run)
        if moved is not None and step is not None and step.name == stage:
            os.kill(os.getpid(), signal.SIGKILL)
        return moved

    procedures._do_next = cut_off


def _follow() -> None:
    said = json.loads(sys.stdin.readline())
    gc.freeze()
    print("go", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            with (Path(said["home"]) / "worker.err").open("ab") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            if asked.get("when"):
                die_at(asked["when"], asked["stage"])
            with telemetry_in(Path(said["home"]) / "logs"):  # where the search for values looks
                asyncio.run(main(said))
            os._exit(0)
        handle = os.pidfd_open(pid)
        began = time.monotonic()
        if not select.select([handle], [], [], asked.get("life_s"))[0]:
            os.kill(pid, signal.SIGKILL)
        os.close(handle)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        named = {0: "ended", -signal.SIGKILL: "killed"}.get(code, f"failed {code}")
        print(json.dumps({"end": named, "took_s": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    _follow()
