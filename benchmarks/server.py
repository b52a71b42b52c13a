"""What serving a request costs under granian, which we use, and under uvicorn: the same application, the same callers.

Rules
- One process each, on a unix socket, with sixteen callers that keep their connections, as runners do.
- The server's CPU for a request is what counts: callers and server share the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Final

import aiohttp

from benchmarks.driver import PEER_PYTHON
from benchmarks.report import Row

CALLERS: Final = 16
REQUESTS: Final = 4000
BODY: Final = {"client_id": "5d7f6a34-4b71-4a52-8a3f-0d8a1a3e2f10", "secrets": ["openai"]}
APPLICATION: Final = """
import sys
from pydantic import BaseModel
from fastapi import FastAPI
class Asked(BaseModel):
    client_id: str
    secrets: list[str]
class Given(BaseModel):
    id: str
    count: int
api = FastAPI()
@api.post("/v1/jobs")
async def open_job(body: Asked) -> Given:
    return Given(id=body.client_id, count=len(body.secrets))
socket = sys.argv[1]
"""
SERVERS: Final = {
    "granian": """
from pathlib import Path
import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server
server = Server(api, uds=Path(socket), interface=Interfaces.ASGI, log_enabled=False)
uvloop.run(server.serve())
""",
    "uvicorn": """
import uvicorn
uvicorn.run(api, uds=socket, loop="uvloop", http="httptools", log_level="critical", access_log=False)
""",
}


async def server() -> list[Row]:
    """Measure each; the first row is ours and the base of the ratios."""
    if not PEER_PYTHON.exists():
        return [Row(what="granian beside uvicorn", note="not measured: .venv-peers was not made")]
    found = {name: await _serve(APPLICATION + program) for name, program in SERVERS.items()}
    base = found["granian"][0]
    return [
        Row(
            what=f"POST of a small JSON body, {name}",
            callers=CALLERS,
            p50=f"{cpu / REQUESTS * 1e6:.0f} us CPU",
            rate=f"{REQUESTS / took:,.0f}/s",
            ratio=f"{cpu / base:.2f}x ours",
        )
        for name, (cpu, took) in found.items()
    ]


async def _serve(program: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="byokeep-bench-") as home:
        socket = Path(home) / "s"
        process = await asyncio.create_subprocess_exec(str(PEER_PYTHON), "-c", program, str(socket))
        try:
            await _answers(socket)
            idle = _cpu(process.pid)
            began = time.perf_counter()
            await _load(socket)
            took = time.perf_counter() - began
            return _cpu(process.pid) - idle, took
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _answers(socket: Path) -> None:
    for _ in range(400):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_unix_connection(socket)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise RuntimeError("the server did not start")


async def _load(socket: Path) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket), limit=0)) as http:

        async def call() -> None:
            for _ in range(REQUESTS // CALLERS):
                async with http.post("http://server/v1/jobs", json=BODY) as reply:
                    if reply.status != 200:
                        raise RuntimeError("a request was refused")
                    await reply.read()

        await asyncio.gather(*(call() for _ in range(CALLERS)))
