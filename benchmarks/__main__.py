"""`python -m benchmarks [--record] [name ...]`: measure, print, write ``build/benchmarks.json``.

``--record`` also writes the figures into docs/benchmarks.md. Exits 1 when an aim is missed or a run is void.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Final

from benchmarks import (
    audit,
    console,
    driver,
    kill,
    lease,
    mass_revoke,
    permit,
    portable,
    redaction,
    report,
    rewrap,
    rotation,
    sealing,
    server,
    start,
)  # fmt: skip
from benchmarks.report import Row
from benchmarks.stage import Stage, stage
from byokeep.core.errors import ByokeepError

ON_A_STACK: Final[dict[str, Callable[[Stage], Awaitable[list[Row]]]]] = {
    "kill": kill.kill, "permit": permit.permit, "lease": lease.lease, "repeat": lease.repeat, "audit": audit.audit,
    "verify": audit.verify, "rotation": rotation.rotation,
    "mass_revoke": mass_revoke.mass_revoke,
}  # fmt: skip
# On a stack of its own: its pages show what is there, and the leases of the others would be there, too.
ON_ITS_OWN: Final[dict[str, Callable[[Stage], Awaitable[list[Row]]]]] = {"console": console.console}
ALONE: Final[dict[str, Callable[[], Awaitable[list[Row]]]]] = {
    "redaction": redaction.redaction, "sealing": sealing.sealing, "rewrap": rewrap.rewrap,
    "portable": portable.portable, "start": start.start, "driver": driver.driver, "server": server.server,
}  # fmt: skip
# What has a part of the document to itself.
PARTS: Final = {
    "redaction": report.REDACTION, "sealing": report.SEALING,
    "kill": report.KILLS, "rotation": report.KILLS, "mass_revoke": report.KILLS,
    "console": report.CONSOLE,
}  # fmt: skip
NAMES: Final = (*ALONE, *ON_A_STACK, *ON_ITS_OWN)


async def measure(names: list[str]) -> dict[str, list[Row]]:
    """Run the named benchmarks; each shows its rows when it is done. Returns them by part of the document."""
    parts: dict[str, list[Row]] = {part: [] for part in report.MARKS}
    for name, alone in ALONE.items():
        if name in names:
            parts[PARTS.get(name, report.STACK)] += _show(name, await alone())
    for together in (ON_A_STACK, ON_ITS_OWN):
        wanted = {name: work for name, work in together.items() if name in names}
        if wanted:
            async with stage() as ready:
                for name, work in wanted.items():
                    parts[PARTS.get(name, report.STACK)] += _show(name, await _tried(name, work(ready)))
    return parts


async def _tried(name: str, work: Awaitable[list[Row]]) -> list[Row]:
    try:
        return await work
    except ByokeepError as error:  # the others may still be worth having
        return [Row(what=name, held=False, note=f"VOID: {error.code}")]


def _show(name: str, rows: list[Row]) -> list[Row]:
    print(f"\n{name}")
    for row in rows:
        mark = {True: "+", False: "-", None: " "}[row.held]
        callers = f"{row.callers} callers" if row.callers else ""
        print(f" {mark} {row.what:<62} {callers:>10} {row.p50:>10} {row.p99:>10} {row.rate:>12}  {row.ratio} {row.aim}")
        if row.note:
            print(f"     {row.note}")
    sys.stdout.flush()
    return rows


def main() -> int:
    names = [name for name in sys.argv[1:] if name != "--record"] or list(NAMES)
    if unknown := set(names) - set(NAMES):
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    about, began = report.machine(), time.monotonic()
    try:
        parts = asyncio.run(measure(names))
    except Exception:
        traceback.print_exc()  # the product's own logging keeps what is uncaught out of the terminal
        return 2
    about |= {"load_after": [round(one, 2) for one in os.getloadavg()], "seconds": round(time.monotonic() - began)}
    if parts[report.REDACTION]:
        about["versions"][report.REDACTION] |= redaction.versions()
    if parts[report.SEALING]:
        about["versions"][report.SEALING] |= sealing.versions()
    for part, rows in parts.items():
        if rows:
            print("\n" + report.facts(about, part))
    report.write(parts, about, record="--record" in sys.argv)
    return 1 if any(row.held is False for rows in parts.values() for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
