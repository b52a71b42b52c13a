"""``make drill``: a recovery drill from beginning to end, on a stack of its own with simulated providers.

Rules
- Everything is real but the providers: the stack, the backup, the restore apart from it, the broker that refuses.
- The report is checked as anybody would, in a directory that holds nothing but it and the public keys.
- It fails when the drill does, or when the simulators saw an effect or a call to a token endpoint.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage

from byokeep.cli.api import fetch
from byokeep.cli.terminal import TerminalSession, current
from byokeep.client import verify as offline
from byokeep.core.errors import ByokeepError
from byokeep.demo import Scene, make_key, scene, start_stack
from byokeep.process import Progress, work_of
from byokeep.processes import backup, drill
from byokeep.processes.restore import Brought
from byokeep.settings import load

CLIENTS = {"Acme Bakery": ("openai", "anthropic"), "Bolt Cycles": ("openai",), "Corner Books": ("google", "heygen")}


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


async def _onboard(stage: Scene) -> None:
    for name, providers in CLIENTS.items():
        made = await stage.api("admin", "POST", "/v1/clients", body={"name": name, "risk": "standard"})
        await stage.api("admin", "POST", f"/v1/clients/{made['id']}/enroll")
        for provider in providers:
            path = f"/v1/clients/{made['id']}/providers/{provider}/value"
            key = await make_key(stage, name, provider)
            stage.sops.append((await stage.api("operator", "PUT", path, raw=key))["sop"])
            key.wipe()
    progress, states = Progress(), [""]
    while set(states) != {"complete"}:
        states = [(await stage.api("operator", "GET", f"/v1/sops/{sop}"))["state"] for sop in stage.sops]
        if "failed" in states or not progress.goes_on(*states, work_of(stage.stack.pid("worker"))):
            raise SystemExit(f"keys were not onboarded: {states}")
        await asyncio.sleep(0.2)


async def _token_calls(stage: Scene) -> int:
    async with stage.http.get(f"{stage.sim.url}/_sim/tokens") as reply:
        found: dict[str, Any] = await reply.json()
    return sum(len(calls) for calls in found["calls"].values())


async def _run(place: Path) -> int:
    identity, elsewhere = place / "backup.key", place / "elsewhere"
    key = pyrage.x25519.Identity.generate()
    identity.touch(mode=0o600)
    identity.write_text(f"{key}\n")
    elsewhere.mkdir()
    current.set(TerminalSession(settings=load(home=place), as_json=False))
    async with scene(None, say=_say) as stage:
        _say(await start_stack(stage))
        await _onboard(stage)
        settings = replace(stage.stack.settings, backup_recipients=str(key.to_public()))
        made = await backup.create(settings)
        await backup.verify(settings, str(made.manifest.id), identity)
        _say(f"backup {made.manifest.id}: {made.size} bytes, opened")
        keys = stage.home / "keys"
        brought = Brought(
            identity=identity, seal_key=keys / "seal.key", recovery_keys=sorted(keys.glob("recovery*.key")),
            checkpoints=None,
        )  # fmt: skip
        done = await drill.run(settings, "", brought, seed=None, say=_say)
        shutil.copyfile(done.file, elsewhere / "report.json")
        (elsewhere / "keys.txt").write_bytes(await fetch("GET", "/v1/audit/keys", token=stage.tokens["auditor"]))
        checked = offline.verify_report(elsewhere / "report.json", offline.read_keys(elsewhere / "keys.txt"))
        effects, calls = await stage.effects(), await _token_calls(stage)
    sys.stdout.write(json.dumps(checked, indent=1) + "\n")
    _say(f"checked in another directory; effects: {effects}, calls to token endpoints: {calls}")
    return 0 if done.report.passed and effects == calls == 0 else 5


def main() -> int:
    """Run it; returns the exit code."""
    place = Path(tempfile.mkdtemp(prefix="byokeep-drill-"))
    try:
        return asyncio.run(_run(place))
    except ByokeepError as error:
        _say(f"{error.code}: {error.next_step}")
        return error.exit_code
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
