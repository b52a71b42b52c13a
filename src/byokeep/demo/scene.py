"""The stage of the demo: a fresh home, simulators, a stack, people and machines."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from byokeep.cli.api import call
from byokeep.cli.intake import read_token_file, write_private
from byokeep.cli.terminal import TerminalSession, current, session
from byokeep.client import ClientSettings, Keep
from byokeep.core.secret import Secret
from byokeep.processes.supervisor import Say, Stack
from byokeep.settings import load
from byokeep.telemetry import log
from byokeep_redact.canary import new_canary
from byokeep_sim import Sim, start

PROVIDERS: Final = ("anthropic", "openai", "google", "openrouter", "kie", "heygen")
CLIENTS: Final = ("Acme Bakery", "Bolt Cycles")


@dataclass(slots=True)
class Scene:
    """What the steps work on.

    Attributes:
        keys: (client name, provider) -> the canary key.
        tokens: Person -> API token.
        clients: Client name -> id.
        sops: Runs of SOP 5.1.
    """

    home: Path
    stack: Stack
    sim: Sim
    http: aiohttp.ClientSession
    keys: dict[tuple[str, str], bytes] = field(default_factory=dict, repr=False)
    tokens: dict[str, Secret] = field(default_factory=dict)
    clients: dict[str, str] = field(default_factory=dict)
    sops: list[str] = field(default_factory=list)

    async def api(self, who: str, method: str, path: str, **sent: Any) -> Any:
        """Call the operator API as a person."""
        return await call(method, path, token=self.tokens[who], **sent)

    def keep(self) -> Keep:
        """The SDK with the machine identities of this home."""
        place = self.home / "credentials"
        return Keep(
            ClientSettings(
                broker_url=self.stack.broker_url,
                runner_token_file=place / "runner.token",
                dispatcher_token_file=place / "dispatcher.token",
            )
        )

    async def effects(self) -> int:
        """How many effects the simulated platform has seen."""
        async with self.http.get(f"{self.sim.url}/_sim/effects") as reply:
            return int((await reply.json())["total"])


@asynccontextmanager
async def scene(keep: Path | None, *, say: Say) -> AsyncIterator[Scene]:
    """Set the stage, whose stack says how it gets on; strike it at the end, whatever happened."""
    home = keep or Path(tempfile.mkdtemp(prefix="byokeep-demo-"))
    home.mkdir(parents=True, exist_ok=keep is None)
    home.chmod(0o711)  # the database's own user must reach its data below
    sim = await start()
    urls = "".join(f'{name} = "{sim.base_url(name)}"\n' for name in PROVIDERS)
    (home / "config.toml").write_text(f"[provider_urls]\n{urls}")
    settings = load(home=home, web_listen="127.0.0.1:0", broker_listen="127.0.0.1:0")
    log.configure("demo", path=settings.path("log_dir") / "demo.log")
    stack = Stack(settings, say=say)
    before = session()
    current.set(TerminalSession(settings=settings, as_json=before.as_json))
    try:
        async with aiohttp.ClientSession() as http:
            yield Scene(home=home, stack=stack, sim=sim, http=http)
    finally:
        current.set(before)
        await stack.stop()
        await sim.stop()
        if keep is None:
            shutil.rmtree(home, ignore_errors=True)


async def people(stage: Scene) -> None:
    """Make an operator, an approver and an auditor with the first admin's token."""
    stage.tokens["admin"] = read_token_file(stage.home / "credentials" / "admin.token")
    for role in ("operator", "approver", "auditor"):
        body = {"name": f"demo-{role}", "roles": [role], "clients": [], "all_clients": True}
        made = await stage.api("admin", "POST", "/v1/operators", body=body)
        invitation = await stage.api("admin", "POST", f"/v1/operators/{made['id']}/tokens", body={"days": 1})
        stage.tokens[role], password = Secret(invitation["token"]), secrets.token_urlsafe(24)
        await stage.api(role, "PUT", f"/v1/operators/{made['id']}/password", raw=Secret(password))
        session = await stage.api(role, "POST", "/v1/session", body={"name": made["name"], "password": password})
        stage.tokens[role] = Secret(session["token"])
        write_private(stage.home / "credentials" / f"{role}.token", stage.tokens[role])


async def make_key(stage: Scene, client: str, provider: str) -> Secret:
    """Make a canary key that the simulated provider knows."""
    value = new_canary(provider)
    stage.keys[client, provider] = value
    known = {"provider": provider, "key": value.decode(), "state": "valid", "account_id": f"{client}-{provider}"}
    async with stage.http.post(f"{stage.sim.url}/_sim/keys", json=known) as reply:
        reply.raise_for_status()
    return Secret(value)
