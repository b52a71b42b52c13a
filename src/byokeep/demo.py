"""``byokeep demo``: the main job on a fresh stack with simulated providers, and the evidence for it.

Rules
- Everything is real but the providers: OpenBao, PostgreSQL, the three processes, HTTP, the command line.
- Each step says what it claims, does it, and looks; a claim that does not hold makes the demo fail.
- Keys are canaries made for this run; the last step searches everything for them.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import aiohttp
from rich.table import Table
from rich.text import Text

from byokeep.cli.api import call, fetch
from byokeep.cli.intake import read_token_file
from byokeep.cli.job import client_settings
from byokeep.cli.new_file import new_directory, new_file
from byokeep.cli.terminal import TerminalSession, busy, called, current, err, out, say, session, show
from byokeep.client import Keep
from byokeep.client import verify as offline
from byokeep.core.errors import ByokeepError, Conflict, Denied, Unavailable
from byokeep.core.secret import Secret
from byokeep.process import Progress, work_of
from byokeep.processes.supervisor import Say, Stack
from byokeep.settings import load
from byokeep.telemetry import log
from byokeep.wire.bao_http import read_secret
from byokeep_redact.canary import Canary, new_canary
from byokeep_redact.leaks import Scanner
from byokeep_redact.scan import positive_control
from byokeep_redact.search import Report, Sweep
from byokeep_sim import Sim, start

PROVIDERS: Final = ("anthropic", "openai", "google", "openrouter", "kie", "heygen")
CLIENTS: Final = ("Acme Bakery", "Bolt Cycles")
_BUSY: Final = frozenset({"database_busy", "no_connection_free"})


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
        """Call the operator API as a person; what a busy machine refused was not done, so it is asked for again."""
        for pause_s in (1, 2, 4, 8):
            try:
                return await call(method, path, token=self.tokens[who], **sent)
            except Unavailable as error:
                if error.code not in _BUSY:
                    raise
            await asyncio.sleep(pause_s)
        return await call(method, path, token=self.tokens[who], **sent)

    def keep(self) -> Keep:
        """The SDK with the machine identities of this home."""
        return Keep(client_settings())

    async def effects(self) -> int:
        """How many effects the simulated platform has seen."""
        async with self.http.get(f"{self.sim.url}/_sim/effects") as reply:
            return int((await reply.json())["total"])


@asynccontextmanager
async def scene(keep: Path | None, *, say: Say) -> AsyncIterator[Scene]:
    """Set the stage, whose stack says how it gets on; strike it at the end, whatever happened."""
    home = keep or Path(tempfile.mkdtemp(prefix="byokeep-demo-"))
    async with AsyncExitStack() as undo:
        if keep is None:
            undo.callback(shutil.rmtree, home, ignore_errors=True)
        else:
            new_directory(keep, mode=0o711)
        home.chmod(0o711)  # the database's own user must reach its data below
        sim = await start()
        undo.push_async_callback(sim.stop)
        urls = "".join(f'{name} = "{sim.base_url(name)}"\n' for name in PROVIDERS)
        (home / "config.toml").write_text(f"[provider_urls]\n{urls}")
        settings = load(home=home, web_listen="127.0.0.1:0", broker_listen="127.0.0.1:0")
        log.configure("demo", path=settings.path("log_dir") / "demo.log")
        stack = Stack(settings, say=say)
        undo.push_async_callback(stack.stop)
        undo.callback(say, f"stopping the stack{'' if keep else ' and removing it'}")
        undo.callback(current.set, session())
        current.set(TerminalSession(settings=settings, as_json=session().as_json))
        http = await undo.enter_async_context(aiohttp.ClientSession())
        yield Scene(home=home, stack=stack, sim=sim, http=http)


async def people(stage: Scene) -> None:
    """Sign in the first admin, and make an operator, an approver and an auditor."""
    stage.tokens["admin"] = read_token_file(stage.home / "credentials" / "admin.token")
    await _signed_in(stage, "admin", await stage.api("admin", "GET", "/v1/self"))
    for role in ("operator", "approver", "auditor"):
        body = {"name": f"demo-{role}", "roles": [role], "clients": [], "all_clients": True}
        made = await stage.api("admin", "POST", "/v1/operators", body=body)
        invitation = await stage.api("admin", "POST", f"/v1/operators/{made['id']}/tokens", body={"days": 1})
        stage.tokens[role] = Secret(invitation["token"])
        await _signed_in(stage, role, made)


async def _signed_in(stage: Scene, role: str, person: Mapping[str, Any]) -> None:
    password = secrets.token_urlsafe(24)
    await stage.api(role, "PUT", f"/v1/operators/{person['id']}/password", raw=Secret(password))
    session = await stage.api(role, "POST", "/v1/session", body={"name": person["name"], "password": password})
    stage.tokens[role] = Secret(session["token"])
    new_file(stage.home / "credentials" / f"{role}.token", replace=True)(stage.tokens[role])  # for a home that is kept


async def make_key(stage: Scene, client: str, provider: str) -> Secret:
    """Make a canary key that the simulated provider knows."""
    value = new_canary(provider)
    stage.keys[client, provider] = value
    known = {"provider": provider, "key": value.decode(), "state": "valid", "account_id": f"{client}-{provider}"}
    async with stage.http.post(f"{stage.sim.url}/_sim/keys", json=known) as reply:
        reply.raise_for_status()
    return Secret(value)


A, B = CLIENTS
_SETTLED_S: Final = 11.0


class Broken(Exception):
    """A claim that did not hold; the text is ours."""


def _must(held: object, what: str) -> None:
    if not held:
        raise Broken(what)


async def start_stack(stage: Scene) -> str:
    """Start everything on an empty home."""
    began = time.monotonic()
    await stage.stack.start()
    took = time.monotonic() - began
    await people(stage)
    return f"OpenBao, PostgreSQL, broker, web, worker ready in {took:.1f} s"


async def onboard(stage: Scene) -> str:
    """Onboard six keys for each of two clients."""
    for name in CLIENTS:
        made = await stage.api("admin", "POST", "/v1/clients", body={"name": name, "risk": "standard"})
        stage.clients[name] = made["id"]
        await stage.api("admin", "POST", f"/v1/clients/{made['id']}/enroll")
        for provider in PROVIDERS:
            key = await make_key(stage, name, provider)
            path = f"/v1/clients/{made['id']}/providers/{provider}/value"
            stage.sops.append((await stage.api("operator", "PUT", path, raw=key))["sop"])
            key.wipe()
    progress, states = Progress(), dict.fromkeys(stage.sops, "")
    while progress.goes_on(*states.values(), work_of(stage.stack.pid("worker"))):
        states = {sop: (await stage.api("operator", "GET", f"/v1/sops/{sop}"))["state"] for sop in stage.sops}
        if all(state == "complete" for state in states.values()):
            return f"{len(states)} of {len(states)} complete"
        _must("failed" not in states.values(), "an onboarding failed")
        await asyncio.sleep(0.2)
    raise Unavailable(
        "part_not_ready", part="worker", next_step="The worker made no progress: see worker.log in the log directory."
    )


async def evidence(stage: Scene) -> str:
    """Export signed evidence and check it with the public keys alone."""
    keys = stage.home / "public-keys.txt"
    keys.write_bytes(await fetch("GET", "/v1/audit/keys", token=stage.tokens["auditor"]))
    file = stage.home / "evidence.json"
    file.write_bytes(await fetch("POST", f"/v1/evidence/{stage.sops[0]}", token=stage.tokens["auditor"]))
    offline.verify_evidence(file, offline.read_keys(keys))
    changed = stage.home / "forged.json"
    changed.write_bytes(file.read_bytes().replace(b"A", b"B", 1))
    try:
        offline.verify_evidence(changed, offline.read_keys(keys))
    except ByokeepError:
        return "signature, chain and checkpoint checked"
    raise Broken("forged evidence was accepted")


async def publish(stage: Scene) -> str:
    """One job, one secret, one effect; a repeat with the same key is no second effect."""
    client = stage.clients[A]
    body = {"platform": "x", "account": "acme", "username": "acme", "display_name": "Acme Bakery"}
    await stage.api("operator", "POST", f"/v1/clients/{client}/accounts", body=body)
    await stage.api("operator", "POST", f"/v1/clients/{client}/accounts/x/acme/lane", body={"policy": "api"})
    about = {"platform": "x", "account": "acme", "id": "acme", "username": "acme", "display_name": "Acme Bakery"}
    async with stage.http.post(f"{stage.sim.url}/_sim/accounts", json=about) as reply:
        reply.raise_for_status()
    async with stage.keep() as keep:
        work = keep.job(client=client, secrets=["openai"], platforms=["x"], effects=["publish"])
        async with work as job:
            key = await job.secret("openai")
            _must(key.matches(stage.keys[A, "openai"]), "the job got another value")
            async with stage.http.get(f"{stage.sim.platform_url}/x/acme/identity") as reply:
                seen = await reply.json()
            _must(await job.identify("x", "acme", seen) == "match", "the account was not recognised")
            for _ in range(2):
                try:
                    async with job.effect("publish", platform="x", account="acme", key="demo-post-0001"):
                        sent = stage.http.post(f"{stage.sim.platform_url}/x/acme/posts", json={"text": "hello"})
                        async with sent as reply:
                            reply.raise_for_status()
                except Conflict:
                    pass
    count = await stage.effects()
    _must(count == 1, f"{count} effects instead of one")
    return "1 effect, the repeat was refused"


async def cross_tenant(stage: Scene) -> str:
    """A lease of one client tried on the other, and on a secret it did not declare."""
    refused = 0
    async with stage.keep() as keep, keep.job(client=stage.clients[A], secrets=["openai"]) as job:
        store, token, path, version = await job.lease.login("openai")
        for other in (path.replace(stage.clients[A], stage.clients[B]), path.replace("/openai", "/anthropic")):
            try:
                await read_secret(store, token, other, version, job.lease.id)
            except Denied:
                refused += 1
        own = await read_secret(store, token, path, version, job.lease.id)
        _must(own.matches(stage.keys[A, "openai"]), "the lease's own secret was refused")
        lease = job.lease.id
    log = (stage.home / "store-audit" / "audit-a.jsonl").read_text(encoding="utf-8")
    of_lease = [line for line in log.splitlines() if lease in line and '"response"' in line]
    lines = [line for line in of_lease if "permission denied" in line]
    _must(refused == 2, f"{refused} of 2 foreign reads were refused")
    _must(len(lines) >= refused, "the store's own log does not show the refusals")
    return f"{len(lines)} refusals in its audit log"


async def kill(stage: Scene) -> str:
    """Kill one client while it works; lift it again with two people."""
    client = stage.clients[B]
    wish = {"client_id": client, "reason": "demo"}
    async with stage.keep() as keep, keep.job(client=client, secrets=["openai"]) as job:
        store, token, path, version = await job.lease.login("openai")
        began = time.monotonic()
        await stage.api("operator", "POST", "/v1/switches/close", body=wish)
        took = (time.monotonic() - began) * 1000
        await _refused(read_secret(store, token, path, version, job.lease.id), "a live store token still read")
        await _refused(_lease(stage, client), "a new lease was given")
    asked = await stage.api("operator", "POST", "/v1/switches/open-requests", body=wish)
    approve = f"/v1/switches/open-requests/{asked['id']}/approve"
    await _refused(stage.api("operator", "POST", approve), "one person opened the switch alone")
    await stage.api("approver", "POST", approve)
    await _lease(stage, client)
    return f"acknowledged and true after {took:.0f} ms"


async def _lease(stage: Scene, client: str) -> None:
    async with stage.keep() as keep, keep.job(client=client, secrets=["openai"]) as job:
        await job.secret("openai")


async def _refused(act: Awaitable[object], otherwise: str) -> None:
    try:
        await act
    except Denied:
        return
    raise Broken(otherwise)


async def store_down(stage: Scene) -> str:
    """Stop OpenBao: no effect, exit code 4; start it: work goes on."""
    before = await stage.effects()
    await stage.stack.stop_part("store")
    code = await _job_run(stage)
    _must(code == Unavailable.exit_code, f"exit code {code} instead of 4")
    _must(await stage.effects() == before, "an effect happened without the store")
    await stage.stack.start_part("store")
    await stage.stack.ready()
    code = await _job_run(stage)
    _must(code == 0, "work did not resume after the store came back")
    return "0 effects; resumed by itself when it came back"


async def _job_run(stage: Scene) -> int:
    job = ["job", "run", "--home", str(stage.home), "--client", stage.clients[A], "--secret", "openai"]
    command = [sys.executable, "-m", "byokeep.cli", *job, "--", "sh", "-c", "test -s $0", "{openai}"]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()


async def audit(stage: Scene) -> str:
    """Verify the log, online and offline; prove one client's history; find a changed record."""
    online = await stage.api("auditor", "POST", "/v1/audit/verify")
    keys = offline.read_keys(stage.home / "public-keys.txt")
    export = stage.home / "client.jsonl"
    body = {"client_id": stage.clients[A]}
    export.write_bytes(await fetch("POST", "/v1/audit/export", body=body, token=stage.tokens["auditor"]))
    epochs = stage.home / "checkpoints" / "epochs.jsonl"
    chain = UUID(stage.clients[A])
    offline.verify_export([export], keys, epochs=epochs, chain=chain)
    proof = stage.home / "proof.json"
    proof.write_bytes(await fetch("POST", f"/v1/audit/proof/{stage.clients[A]}", token=stage.tokens["auditor"]))
    offline.verify_proof(proof, keys)
    lines = export.read_bytes().splitlines(keepends=True)
    export.write_bytes(b"".join(lines[:3] + lines[4:]))
    try:
        offline.verify_export([export], keys, epochs=epochs, chain=chain)
    except ByokeepError as error:
        return f"{online['records']} records, {online['epochs']} checkpoints; a removed record: {error.code}"
    raise Broken("a removed record went unnoticed")


async def reconcile(stage: Scene) -> str:
    """Explain every login and read in the store's own log, once it has settled: 11 s."""
    await asyncio.sleep(_SETTLED_S)
    report: Any = await stage.api("auditor", "POST", "/v1/audit/reconcile", body={"minutes": 60})
    reasons = sorted({finding["reason"] for finding in report["findings"]})
    _must(report["state"] != "unknown", "the store's log could not be read")
    _must(not report["findings"], "unexplained: " + ", ".join(reasons))
    return f"{report['logins']} logins, 0 unexplained"


async def sweep(stage: Scene) -> str:
    """Search every file, the database and the processes for the keys of this run: up to a minute."""
    control = await asyncio.to_thread(positive_control, partial(new_canary, "openai"))
    canaries = [Canary(f"{client}/{provider}", value) for (client, provider), value in stage.keys.items()]
    search = Sweep(canaries)
    dump = stage.home / "dump.sql"
    new_file(dump)(await asyncio.to_thread(stage.stack.dump_database))
    report = await asyncio.to_thread(search.scan_paths, [stage.home])
    report = report + await asyncio.to_thread(search.scan_proc, list(stage.stack.pids.values()))
    report = replace(report, control=control)
    _must(control.passed, "the search missed a planted value, so it proves nothing")
    found = sorted({Path(finding.source).name for finding in report.findings})
    _must(not report.findings, "a key was found in " + ", ".join(found))
    spoken = await asyncio.to_thread(Scanner().scan_paths, [stage.home / "logs"])
    _must(not spoken.findings, f"{len(spoken.findings)} places in the logs look like a secret")
    _whole(report)
    _whole(spoken)
    mib = report.bytes_scanned / 2**20
    return f"{report.sources_scanned} files and processes, {mib:.0f} MiB; control: {control.planted} planted, all found"


def _whole(report: Report) -> None:
    """Raise Unavailable when a search could not look at everything, or at nothing."""
    if report.clean:
        return
    names = sorted({f"{Path(one.source).name} {one.reason}" for one in report.unreadable})[:5]
    what = f"{len(report.unreadable)} sources could not be searched: " + ", ".join(names)
    raise Unavailable("could_not_check", next_step=what if names else "There was nothing to search.")


# Each tells what it saw, and shows what stands beside it.
STEPS: Final[Mapping[Callable[[Scene], Awaitable[str]], str]] = {
    start_stack: "A fresh stack starts by itself",
    onboard: "Keys are stored once, verified, closed with evidence",
    evidence: "Evidence verifies offline; a changed byte does not",
    publish: "A job reads its secret and publishes once, also when repeated",
    cross_tenant: "Another client's and an undeclared secret: 403 by OpenBao itself",
    kill: "Kill: leases, reads and permits stop at once; two people release it",
    store_down: "OpenBao down: nothing is served, nothing acts, exit code 4",
    audit: "The audit verifies offline; a removed record is found",
    reconcile: "Every login and read in OpenBao's log is explained by a lease",
    sweep: "The keys are nowhere: files, database, store, logs, arguments, environments",
}


FAILED = 5


async def run(*, keep: Path | None = None, as_json: bool = False) -> int:
    """Run the demo.

    Args:
        keep: Keep the state in this new directory.
        as_json: Print one JSON document instead of the table.

    Returns:
        0 when every claim held, 5 when one did not, 4 when one could not be shown: a part did not start or answer.
    """
    rows: list[dict[str, Any]] = []
    began = time.monotonic()
    async with scene(keep, say=say) as stage:
        for step, claim in STEPS.items():
            rows.append(await _one(step, claim, stage, quiet=as_json))
            if not rows[-1]["ok"]:
                break
    held = all(row["ok"] for row in rows) and len(rows) == len(STEPS)
    took = time.monotonic() - began
    if as_json:
        document = {"ok": held, "took_s": round(took, 1), "steps": rows, "state": str(keep) if keep else None}
        show(document)
    else:
        _show(rows, held=held, took=took, keep=keep)
    return 0 if held else int(rows[-1].pop("exit_code", FAILED))


async def _one(step: Any, claim: str, stage: Any, *, quiet: bool) -> dict[str, Any]:
    began = time.monotonic()
    name = step.__name__
    summary = str(step.__doc__).split("\n", 1)[0]
    row: dict[str, Any] = {"step": name, "ok": False, "claim": summary}
    try:
        if not quiet and not err.is_terminal:
            err.print(Text(summary))
        with busy(summary):
            row["seen"] = await step(stage)
        row |= {"ok": True, "claim": claim}
    except Broken as broken:
        row["seen"] = str(broken)
    except ByokeepError as error:
        row["seen"] = f"{error} {error.next_step}"
        if isinstance(error, Unavailable):
            row["exit_code"] = error.exit_code
    except Exception as error:  # a simulator that fails, a file that is gone: the claim was not shown
        row["seen"] = f"unexpected {type(error).__name__}"
    return row | {"took_s": round(time.monotonic() - began, 2)}


def _show(rows: list[dict[str, Any]], *, held: bool, took: float, keep: Path | None) -> None:
    table = Table(title="What was shown", title_justify="left", header_style="bold", pad_edge=False)
    for column in ("", "claim", "seen"):
        table.add_column(column, overflow="fold")
    table.add_column("s", justify="right")
    for row in rows:
        mark = Text("ok", style="green") if row["ok"] else Text("no", style="bold red")
        table.add_row(mark, Text(row["claim"]), Text(row["seen"]), f"{row['took_s']:.1f}")
    out.print(table)
    if held:
        out.print(Text(f"All {len(rows)} claims held, in {took:.0f} s.", style="bold green"))
    else:
        said = "A claim could not be checked" if "exit_code" in rows[-1] else "A claim did not hold"
        out.print(Text(f"{said}; the steps after it were not run.", style="bold red"))
    step = f"Next: {called()} up" if held else f"To keep the logs next time: {called()} demo --keep DIR"
    err.print(f"State is kept in {keep}" if keep else step, style="dim")
