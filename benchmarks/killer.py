"""`python -m benchmarks.killer HOME`: kill each client named on standard input, as the command line does, and say when
that began and when it was acknowledged.

A process of its own, with one connection a kill: what waits in the loop of those who read is theirs, not the kill's.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from byokeep.cli.api import call_kill
from byokeep.cli.intake import read_token_file
from byokeep.cli.terminal import TerminalSession, current
from byokeep.core.errors import ByokeepError
from byokeep.settings import load


async def kill(home: Path, client: str) -> dict[str, object]:
    """Kill one client; moments are those of ``time.perf_counter``, which all processes of a machine share."""
    code, token = "", read_token_file(home / "credentials" / "operator.token")
    began = time.perf_counter()
    try:
        await call_kill("POST", "/v1/switches/close", token=token, body={"client_id": client, "reason": "bench"})
    except ByokeepError as error:
        code = error.code
    return {"began": began, "acknowledged": time.perf_counter(), "code": code}


def main() -> None:
    home = Path(sys.argv[1])
    current.set(TerminalSession(settings=load(home=home), as_json=True))
    for line in sys.stdin:
        print(json.dumps(asyncio.run(kill(home, line.strip()))), flush=True)


if __name__ == "__main__":
    main()
