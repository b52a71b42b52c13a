"""`python -m benchmarks.killer HOME CLIENT`: for each line ``kill`` on standard input kill the client as the command
line does, for each ``bare`` let the engines take the same steps and no others; and say when that began and ended.

A process of its own, with one connection a kill: what waits in the loop of those who read is theirs, not the kill's.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

from byokeep.adapters.openbao.login import log_in
from byokeep.adapters.postgres.connections import driver_arguments
from byokeep.cli.api import call_kill
from byokeep.cli.intake import read_token_file
from byokeep.cli.terminal import TerminalSession, current
from byokeep.core.errors import ByokeepError
from byokeep.processes import wiring
from byokeep.settings import load


async def main(home: Path, client: str) -> None:
    """Do what the lines say; moments are those of ``time.perf_counter``, which all processes of a machine share."""
    settings = load(home=home)
    current.set(TerminalSession(settings=settings, as_json=True))
    owner, token = wiring.database_url(settings, "byokeep_owner"), read_token_file(home / "credentials/operator.token")
    touch = "UPDATE byokeep.alembic_version SET version_num = version_num"
    said: dict[str, Any] = {"client_id": client, "reason": "bench"}
    async with (
        await psycopg.AsyncConnection.connect(**driver_arguments(owner, "bench"), autocommit=True) as database,
        wiring.store_http(settings) as store,
    ):
        asked = await database.execute("SELECT entity_id FROM byokeep.client WHERE id = %s", [client])
        [entity] = await asked.fetchone() or [""]
        own, _ = await log_in(store, wiring.credentials(settings, "killswitch.approle"))
        while line := await asyncio.to_thread(sys.stdin.readline):
            code, began = "", time.perf_counter()
            try:
                if line.strip() == "kill":
                    await call_kill("POST", "/v1/switches/close", token=token, body=said)
                else:
                    await database.execute(touch)
                    await store.request("POST", f"identity/entity/id/{entity}", token=own, body={"disabled": True})
                    await database.execute(touch)
            except ByokeepError as error:
                code = error.code
            print(json.dumps({"began": began, "ended": time.perf_counter(), "code": code}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
