"""``python -m byokeep_sim``: run the simulator until SIGTERM or Ctrl-C.

Rules
- Prints one line, the URL; with ``--port-file`` it also writes the port there, whole or not at all.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from byokeep_sim.server import start


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m byokeep_sim", description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--port-file", type=Path, help="write the port number to this file once listening")
    parser.add_argument("--seed", type=int, default=0, help="makes garbage answers repeatable")
    return parser.parse_args(argv)


def _write_port(path: Path, url: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(f"{urlsplit(url).port}\n")
    part.replace(path)


async def _serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sim = await start(options.host, options.port, seed=options.seed)
    try:
        print(sim.url, flush=True)
        if options.port_file is not None:
            await asyncio.to_thread(_write_port, options.port_file, sim.url)
        await stop.wait()
    finally:
        await sim.stop()


def serve(argv: list[str]) -> None:
    """Run until told to stop. Raises ValueError, OSError, OverflowError: host or port cannot be used."""
    asyncio.run(_serve(_arguments(argv)))


def main(argv: list[str] | None = None) -> int:
    """Run; returns 0, or 2 when host or port cannot be used."""
    try:
        serve(sys.argv[1:] if argv is None else argv)
    except (ValueError, OSError, OverflowError) as problem:
        print(f"simulator: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
