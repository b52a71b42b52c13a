"""``byokeep job``: run a command with a client's secret, shown to nobody else; announce what a job does later."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args
from uuid import UUID

from cyclopts import App

from byokeep.cli.api import call, no_stack_here, no_such, run, stack, tell
from byokeep.cli.choices import ApiProvider, Effect, Lane, OAuthPlatform, Platform
from byokeep.cli.names import Client, Machine, RunningJob
from byokeep.cli.terminal import err, say, session
from byokeep.client import ClientSettings, Job, Keep
from byokeep.client.http import Broker
from byokeep.client.job import dispatched
from byokeep.core.errors import ByokeepError, NotFound, Rejected, Unavailable, refusing
from byokeep.process import adopt_orphans, below, child_setup, clean_environment, harden

app: Final = App(name="job")
_COLUMNS: Final = ("id", "state", "opened_at", "expires_at", "kind", "secrets", "platforms", "effects", "runner_id")
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_GRACE_S: Final = 2.0
_KILLED_S: Final = 5.0
_LOOK_S: Final = 0.2
_ENDED_BY: Final = {
    "switch_closed": "a kill switch was engaged (`byokeep kill status`)",
    "job_not_open": "its time is up, or it was closed",
    "client_not_active": "the client was suspended",
}
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@app.command(name="run")
def run_(
    *, client: Client, secret: list[str], platform: list[Platform] | None = None, effect: list[Effect] | None = None,
    ttl_s: int | None = None,
) -> int:  # fmt: skip
    """Run a command that may read a client's secrets.

    Each secret is put into a private memory file that only the command inherits. Write {openai} where the command
    expects a file name; the name is also in BYOKEEP_SECRET_OPENAI_FILE. The value is in no argument and in no
    environment variable. The job's id goes to standard error. If the job is killed, its lease ends or byokeep stops,
    the command and what it started are ended too.

    Exit codes: the command's own; 3 the command was ended because the job may not go on (kill switch engaged, job over
    or closed, client suspended); 4 the broker or the store could not be reached; 128 plus its number after a signal.

    Example: byokeep job run --client $CLIENT --secret openai -- python post.py --key-file {openai}

    Example: byokeep job run --client $CLIENT --secret x/acme -- python post.py --token-file {x/acme}

    Args:
        client: Name or id.
        secret: What the command may read: a provider's key, or PLATFORM/ACCOUNT for the access token of a connected
            account (in BYOKEEP_SECRET_X_ACME_FILE).
        platform: Platforms it may act on.
        effect: Effects it may cause.
        ttl_s: Longest life of the job, in seconds.
    """
    harden()
    command = session().rest
    if "token-file" in session().given:
        say("--token-file is used here only to look up names: a job runs with the tokens of its dispatcher and runner.")
    _check_names(secret)
    if not command:
        raise Rejected("no_command", next_step="Put the command after --, e.g. `-- python post.py`.")
    _check(command, secret)
    try:
        declared = {"client": client, "platforms": platform or [], "effects": effect or [], "ttl_s": ttl_s}
        return run(_run(command, secret, **declared))
    except NotFound as error:
        error.next_step = error.next_step or no_such("client")
        raise


def _check_names(secrets: Sequence[str]) -> None:
    """Refuse what is not a secret's name, without repeating it: it may be a pasted key."""
    for name in secrets:
        platform, slash, account = name.partition("/")
        if name not in get_args(ApiProvider) and not (
            slash and platform in get_args(OAuthPlatform) and _ACCOUNT.match(account)
        ):
            raise Rejected(
                "unknown_secret",
                next_step=f"For --secret use one of {', '.join(get_args(ApiProvider))}, or PLATFORM/ACCOUNT.",
            )
    if len({_variable(name) for name in secrets}) != len(secrets):
        raise Rejected("repeated_secret", next_step="Name each secret once, and accounts that differ in letters.")


def _variable(name: str) -> str:
    return f"BYOKEEP_SECRET_{re.sub('[^A-Z0-9]', '_', name.upper())}_FILE"


def _check(command: Sequence[str], secrets: Sequence[str]) -> None:
    """Refuse, before a job is opened, what could not run in it."""
    for provider in get_args(ApiProvider):
        if provider not in secrets and any("{" + provider + "}" in word for word in command):
            raise Rejected(
                "secret_not_declared", provider=provider,
                next_step=f"The command asks for {{{provider}}}: add --secret {provider}, or leave it out.",
            )  # fmt: skip
    if Path(command[0]).is_dir():
        raise Rejected("command_not_found", next_step="The command is a directory: name a program. No job was opened.")
    if "{" not in command[0] and shutil.which(command[0]) is None:
        raise Rejected("command_not_found", next_step="Check the command's name, PATH and mode. No job was opened.")


def client_settings() -> ClientSettings:
    """Return the SDK's settings for this call.

    Raises:
        Unavailable: ``no_broker``.
    """
    settings = session().settings
    url = settings.broker_url or str(stack(settings.home).get("broker_url", ""))
    if not url:
        raise Unavailable("no_broker", next_step=no_stack_here() + "its broker with BYOKEEP_BROKER_URL.")
    place = settings.path("credentials_dir")
    return ClientSettings(
        broker_url=url,
        runner_token_file=Path(settings.runner_token_file or place / "runner.token"),
        dispatcher_token_file=Path(settings.dispatcher_token_file or place / "dispatcher.token"),
        broker_ca_file=settings.file("broker_ca_file"),
        store_ca_file=settings.file("store_ca_file"),
    )


async def _run(command: Sequence[str], secrets: Sequence[str], **declared: Any) -> int:
    of = sorted({name.partition("/")[0] for name in secrets})
    async with Keep(client_settings()) as keep, keep.job(secrets=of, **declared) as job:
        say(f"job {job.id}")
        files = {}
        try:
            for name in secrets:
                files[name] = _memory_file(name.replace("/", "-"), (await job.secret(name)).reveal())
            return await _child(job, command, files)
        finally:
            for descriptor in files.values():
                os.ftruncate(descriptor, 0)  # what the command still holds open is empty now
                os.close(descriptor)


def _memory_file(name: str, value: bytes) -> int:
    descriptor = os.memfd_create(f"byokeep-{name}", os.MFD_CLOEXEC)
    os.write(descriptor, value)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


async def _child(job: Job, command: Sequence[str], files: dict[str, int]) -> int:
    names = {provider: f"/dev/fd/{descriptor}" for provider, descriptor in files.items()}
    words = [_fill(word, names) for word in command]
    extra = {_variable(secret): name for secret, name in names.items()}
    told: list[int] = []
    adopt_orphans()
    loop = asyncio.get_running_loop()
    for number in _ENDING:
        loop.add_signal_handler(number, told.append, int(number))
    with refusing("command_not_started", Rejected, on=OSError, next_step="Check the command's name and mode."):
        process = await asyncio.create_subprocess_exec(
            *words, env=clean_environment(HOME=os.environ.get("HOME", "/"), BYOKEEP_JOB=str(job.id), **extra),
            pass_fds=tuple(files.values()), preexec_fn=child_setup(death_signal=signal.SIGKILL),
        )  # fmt: skip
    ended = asyncio.create_task(process.wait())
    try:
        return await _watch(job, list(files), ended, told)
    finally:
        await _end(process, ended)


async def _watch(job: Job, providers: list[str], ended: asyncio.Task[int], told: list[int]) -> int:
    """Return the exit code once the command has ended, or the lease has, or somebody told us to stop."""
    stopped = asyncio.create_task(_stopped(job, providers))
    try:
        while not (ended.done() or told or stopped.done()):
            await asyncio.wait({ended, stopped}, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
    if ended.done():
        return ended.result() if ended.result() >= 0 else 128 - ended.result()
    if told:
        return 128 + told[0]
    refused = stopped.result()
    away = f"broker or store could not be reached ({refused.code})"
    why = away if isinstance(refused, Unavailable) else _ENDED_BY.get(refused.code, refused.code)
    err.print(f"The job was stopped: {why}. Ending the command.", style="red", soft_wrap=True)
    return refused.exit_code


async def _stopped(job: Job, providers: list[str]) -> ByokeepError:
    """Return why the job no longer gets its secrets, once it does not; a silent broker is asked for many seconds."""
    while True:
        await asyncio.sleep(_LOOK_S)
        try:
            for provider in [] if job.lease.holds else providers:
                await job.secret(provider)
        except ByokeepError as error:
            return error


async def _end(process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    """End a command that still runs, and all that it started: the key is in a wrapper's children as well."""
    if ended.done():
        return
    for number, within_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _KILLED_S)):
        until, left, told = time.monotonic() + within_s, below(os.getpid()), set[int]()
        while left and time.monotonic() < until:
            for pid in {*left} - told:  # once: many programs take a second signal for impatience
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            told.update(left)
            await asyncio.wait({ended}, timeout=_LOOK_S / 4)
            await asyncio.sleep(_LOOK_S / 4)
            left = below(os.getpid())
    if not ended.done():
        process.kill()
    await ended


def _fill(word: str, names: dict[str, str]) -> str:
    for provider, name in names.items():
        word = word.replace("{" + provider + "}", name)
    return word


@app.command(name="show")
def show_(job: RunningJob) -> None:
    """Show a job.

    Example: byokeep job show $JOB
    """
    reply: Any = run(call("GET", f"/v1/jobs/{job}"))
    tell(reply, title="Job")


@app.command(name="list")
def list_(client: Client, *, kind: Literal["use", "custody"] = "use") -> None:
    """List a client's newest jobs.

    Example: byokeep job list $CLIENT

    Args:
        kind: Jobs of runners (use), or what our own workers do with stored values (custody).
    """
    found = run(call("GET", f"/v1/clients/{client}/jobs"))["jobs"]
    tell([one for one in found if one["kind"] == kind], title="Jobs", columns=_COLUMNS)


_ANNOUNCED = ("id", "state", "due_at", "platform", "account", "lane", "effect", "changed_at")


def _time(text: str) -> datetime:
    with refusing("bad_due_at", Rejected, next_step="Write the time with its zone, like 2026-03-01T09:00:00Z."):
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise ValueError
        return found


@app.command
def schedule(
    *, client: Client, effect: Effect, platform: Platform, account: str, key: str, at: str, lane: Lane = "api"
) -> None:
    """Announce, as the dispatcher, an effect that a job will cause later.

    This causes nothing by itself. While the platform, the lane or the client is closed, the effect is held. If its time
    passes meanwhile, it is missed, and a person requeues or cancels it. The job that does it uses the same key.

    Example: byokeep job schedule --client $CLIENT --effect publish --platform x --account acme --key p-0001 --at $TIME

    Args:
        client: The client.
        effect: The effect.
        platform: The platform.
        account: The account that acts.
        key: The idempotency key that the job will use.
        at: When, with a time zone, such as 2026-03-01T09:00:00Z.
        lane: The lane, api or browser.
    """
    due_at = _time(at)

    async def announce() -> UUID:
        async with Keep(client_settings()) as keep:
            return await keep.schedule(
                client=client, effect=effect, platform=platform, account=account, key=key, due_at=due_at, lane=lane
            )

    made = asyncio.run(announce())
    tell({"id": str(made), "state": "scheduled", "due_at": due_at.isoformat()}, title="Announced")


@app.command
def scheduled(client: Client) -> None:
    """List a client's announced effects: first those still to come or missed, then those that are over.

    Example: byokeep job scheduled $CLIENT
    """
    tell(run(call("GET", f"/v1/clients/{client}/effects/scheduled"))["effects"], title="Announced", columns=_ANNOUNCED)


@app.command
def requeue(client: Client, effect: UUID, *, at: str) -> None:
    """Give an announced effect that was missed or is held a new time.

    Example: byokeep job requeue $CLIENT $EFFECT --at $TIME

    Args:
        client: The client.
        effect: Id of the effect, as `byokeep job scheduled` lists it.
        at: When, with a time zone, such as 2026-03-01T09:00:00Z.
    """
    path = f"/v1/clients/{client}/effects/scheduled/{effect}/requeue"
    tell(run(call("POST", path, body={"due_at": _time(at).isoformat()})), title="Announced")


@app.command
def cancel(client: Client, effect: UUID) -> None:
    """Cancel an announced effect; the gate denies its key from then on.

    Example: byokeep job cancel $CLIENT $EFFECT
    """
    tell(run(call("POST", f"/v1/clients/{client}/effects/scheduled/{effect}/cancel")), title="Announced")


template: Final = App(
    name="template", help="What a client's regular jobs declare, so that new keys can be tried with it."
)
app.command(template)
_TEMPLATE: Final = ("name", "secrets", "platforms", "lanes", "runner_id", "set_at", "ended_at")


def _dispatched(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Call the broker as the dispatcher."""

    async def asked() -> Any:
        broker = Broker(client_settings())
        try:
            return await dispatched(broker, method, path, body)
        finally:
            await broker.close()

    return run(asked())


@template.command(name="set")
def set_(
    client: Client, name: str, *, runner: Machine, secret: list[ApiProvider], platform: list[Platform] | None = None,
    lane: list[Lane] | None = None,
) -> None:  # fmt: skip
    """Register, as the dispatcher, what a regular job declares, except its effects.

    The rotation of a key that it declares cuts over only after a dry run of a template has passed.

    Example: byokeep job template set $CLIENT daily-post --runner $RUNNER --secret openai --platform x --lane api

    Args:
        client: Whose job.
        name: Name of the template, such as daily-post; an existing one of that name is replaced.
        runner: The machine that does the job.
        secret: Providers whose keys the job calls with.
        platform: Platforms that the job works on.
        lane: Lanes that the job uses.
    """
    body = {"runner_id": str(runner), "secrets": secret, "platforms": platform or [], "lanes": lane or []}
    tell(_dispatched("PUT", f"/v1/clients/{client}/job-templates/{name}", body), title="Job template")


@template.command(name="list")
def templates(client: Client) -> None:
    """List a client's job templates, as the dispatcher.

    Example: byokeep job template list $CLIENT
    """
    found = _dispatched("GET", f"/v1/clients/{client}/job-templates")["templates"]
    tell(found, title="Job templates", columns=_TEMPLATE)


@template.command(name="end")
def end(client: Client, name: str) -> None:
    """End a template: rotations no longer ask for a dry run of it.

    Example: byokeep job template end $CLIENT daily-post
    """
    tell(_dispatched("DELETE", f"/v1/clients/{client}/job-templates/{name}"), title="Job template")


@app.command
def dry_run(client: Client, template: str, *, rotation: UUID) -> None:
    """Open a dry run: a job that gets a rotation's new key before the cutover, and no permits.

    The template's runner does it like any job, with `keep.attach(JOB)`, but without effects, and reports its calls with
    `job.called`. If its calls with the key succeed, `byokeep rotate resume ROTATION` cuts over.

    Example: byokeep job dry-run $CLIENT daily-post --rotation $ROTATION

    Args:
        client: The client whose key it is.
        template: Name of a job template that declares the key's provider.
        rotation: Id of the rotation, as `byokeep rotate status` shows it.
    """
    body = {"client_id": str(client), "template": template, "rotation": str(rotation)}
    tell(_dispatched("POST", "/v1/jobs/dry-runs", body), title="Job")
    say(f"Its runner attaches to the job. When the job has ended: `byokeep rotate resume {rotation}`.")
