"""Runs one process: ``web``, ``broker``, ``killswitch``, ``worker``, ``refresher``, break glass on the host, a drill.

Rules
- Logs and spans are configured before anything that could hold a secret is built.
- TLS between hosts is the reverse proxy's. These listeners stay on loopback or an internal network.
- SIGTERM drains: no new requests, running ones end, then the process does.
- A process imports its own modules when it is run: without what the others need it starts a third faster.
- Whatever would stop the loop for a moment later is done before anything is served: the redactor's automaton is
  compiled, and what was imported is left out of garbage collection for good. A thread that works through the store's
  log yields within ``_SWITCH_S``: each step of a kill waits for that.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import uvloop

from byokeep import __version__
from byokeep.adapters.passwords import Passwords
from byokeep.browser.ephemeral import Rooms, swept
from byokeep.core.errors import ByokeepError, Unavailable
from byokeep.jobs.gatekeep import at_start
from byokeep.kernel.app import App
from byokeep.kernel.command import raise_alert
from byokeep.kernel.store_recording import probe
from byokeep.process import WORKER_READY, come_first, say_ready
from byokeep.processes import wiring
from byokeep.processes.installation import install, must_be_bounded, must_record, must_write_once, no_signing_key
from byokeep.settings import Settings
from byokeep.telemetry import log, spans
from byokeep.telemetry.log import no_loose_output
from byokeep.tenancy.authenticate import authenticate, authenticate_on_host

_DRAIN_S: Final = 5.0
_HEADERS_MS: Final = 10_000  # a connection that says nothing for this long loses its place
_SWITCH_S: Final = 0.0005
_SERVER: Final = ("granian.constants", "granian.http", "granian.server.embed")
_OWN: Final = {
    "web": ("byokeep.web.app", *_SERVER),
    "broker": ("byokeep.broker.app", "byokeep.broker.rounds", "byokeep.adapters.passkeys", *_SERVER),
    "breakglass": ("byokeep.broker.app", "byokeep.broker.rounds", *_SERVER),
    "drill": ("byokeep.broker.app", "byokeep.broker.rounds", *_SERVER),
    "killswitch": ("byokeep.killswitch.app", *_SERVER),
    "worker": ("byokeep.worker.tasks",),
    "refresher": ("byokeep.accounts.tasks",),
}


def serve(name: str, settings: Settings) -> None:
    """Run a process until SIGTERM or SIGINT. Blocking."""
    # First: a place of its own in memory needs a process with one thread.
    worker = partial(_worker, memory=wiring.rooms(settings)) if name == "worker" else None
    place = settings.path("log_dir")
    log.configure(name, path=place / f"{name}.log", level=logging.getLevelNamesMapping()[settings.log_level])
    spans.configure(name, place / "spans.jsonl")
    no_signing_key(settings)
    log.get_log().info("process_started", version=__version__)
    servers = {"web": _web, "broker": _broker, "killswitch": _killswitch, "refresher": _refresher}
    run = worker or (servers | {"breakglass": _breakglass, "drill": _drill})[name]
    if name in ("broker", "killswitch"):
        log.warm()
    for module in _OWN[name]:  # now, so that it is left out of garbage collection too
        import_module(module)
    gc.collect()
    gc.freeze()
    gc.enable()
    sys.setswitchinterval(_SWITCH_S)
    with no_loose_output():
        uvloop.run(run(settings))
    log.get_log().info("process_stopped")


async def _web(settings: Settings) -> None:
    from byokeep.web.app import create_app as create_web  # noqa: PLC0415 - see the top

    async with wiring.web_app(settings) as app:
        api = create_web(
            app, partial(authenticate, app), broker_address=wiring.broker_url(settings),
            broker_ca_file=settings.file("broker_ca_file"), killswitch_address=wiring.killswitch_url(settings),
            killswitch_ca_file=settings.file("killswitch_ca_file"),
            emergency=wiring.emergency_of(settings) if settings.embedded_database else None,
            broker_document=_broker_document,
        )  # fmt: skip
        await _listen(api, settings.web_listen)


def _broker_document() -> dict[str, Any]:
    from byokeep.broker.app import described  # noqa: PLC0415 - asked for by people who develop, and by them alone

    return described()


async def _broker(settings: Settings, socket: Path | None = None) -> None:
    from byokeep.adapters.passkeys import Passkeys  # noqa: PLC0415 - see the top
    from byokeep.broker.app import create_app as create_broker  # noqa: PLC0415 - see the top
    from byokeep.broker.rounds import Rounds  # noqa: PLC0415 - see the top

    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(wiring.broker_app(settings))
        await must_be_bounded(app.db)
        await must_record(app)
        await at_start(app)
        if not app.drill:  # a drill's bucket is production's: nothing is written there
            await must_write_once(app.artifacts)
        emergency = wiring.emergency_of(settings)
        with suppress(ByokeepError):  # otherwise nothing is leased before the first round
            await probe(app)
        app.platform_chain.proved(app.clock.monotonic())  # from now on: the first checkpoint is due
        rounds = asyncio.create_task(Rounds(app, emergency).run())
        stack.callback(rounds.cancel)
        lane = await stack.enter_async_context(wiring.kill_lane(settings, app, "byokeep_broker"))
        api = create_broker(
            app, partial(authenticate, app), emergency, passwords=Passwords(),
            passkeys=Passkeys(settings.console_origin) if settings.console_origin else None,
            sso=None if app.drill else await stack.enter_async_context(wiring.sso(settings, app.clock)),
            lane=(lane, partial(authenticate, lane)),
            mail=wiring.notifier(settings).mail, mails=wiring.notifier(settings).mails,
        )  # fmt: skip
        await _listen(api, settings.broker_listen, socket, beside=rounds)


async def _drill(settings: Settings) -> None:
    """Run what a recovery drill restored: the store, the database and a broker on a socket; nothing else acts there."""
    store, database = wiring.embedded_store(settings), wiring.embedded_database(settings)
    try:
        await asyncio.gather(store.start(), database.start())
        await install(settings, store)
        await _broker(settings, wiring.drill_socket(settings))
    finally:
        await asyncio.gather(store.stop(), database.stop())


async def _breakglass(settings: Settings) -> None:
    """Serve break glass on a socket of this home; others are told before, or nothing is served."""
    from byokeep.breakglass.grants import open_on_host  # noqa: PLC0415 - see the top
    from byokeep.broker.app import create_host_app  # noqa: PLC0415 - see the top
    from byokeep.broker.rounds import ON_HOST, Rounds  # noqa: PLC0415 - see the top

    async with wiring.broker_app(settings) as broker:
        app, emergency = replace(broker, on_host=True), wiring.emergency_of(settings)
        message, out = await open_on_host(app), wiring.notifier(settings)
        await _told(app, out.names(), lambda one: out.send(one, *message, "failure"))
        with suppress(ByokeepError):  # otherwise nothing is opened before the first round
            await probe(app)
        rounds = asyncio.create_task(Rounds(app, emergency, only=ON_HOST).run())
        api = create_host_app(app, partial(authenticate_on_host, app), emergency, passwords=Passwords())
        try:
            await _listen(api, "", wiring.breakglass_socket(settings), beside=rounds)
        finally:
            rounds.cancel()
            await asyncio.to_thread(wiring.breakglass_socket(settings).unlink, missing_ok=True)


async def _told(app: App, names: Sequence[str], send: Callable[[str], Awaitable[str]]) -> None:
    """Send a message to each target by itself, for no worker may run; what does not arrive is logged and an alert."""
    answers = await asyncio.gather(*(send(one) for one in names), return_exceptions=True)
    for name, answer in zip(names, answers, strict=True):
        code = "not_delivered" if isinstance(answer, BaseException) else answer
        if code:
            log.get_log().warning("message_failed", target=name, code=code)
            key = f"notification_failing/{name}"
            await raise_alert(app, reason="notification_failing", key=key, severity="warning")


async def _killswitch(settings: Settings) -> None:
    from byokeep.killswitch.app import create_app as create_killswitch  # noqa: PLC0415 - see the top

    come_first()
    async with wiring.kill_app(settings) as app, wiring.kill_lane(settings, app, "byokeep_killswitch") as lane:
        await must_be_bounded(app.db)
        api = create_killswitch(
            app, partial(authenticate, app), wiring.emergency_of(settings), lane=(lane, partial(authenticate, lane))
        )
        await _listen(api, settings.killswitch_listen, wiring.killswitch_socket(settings))


async def _worker(settings: Settings, memory: Rooms) -> None:
    from byokeep.worker.tasks import run as run_worker  # noqa: PLC0415 - see the top

    async with wiring.worker_app(settings, memory) as (queue, app, profiles, keys, notify), swept(memory, _swept):
        if profiles is not None:
            await must_write_once(profiles.artifacts)
        ready = partial(say_ready, settings.path("log_dir") / WORKER_READY)
        async with _own_token(app, settings):
            await run_worker(queue, app, profiles, keys, notify, ready=ready)


def _swept(count: int, code: str) -> None:
    log.get_log().warning("rooms_swept", count=count, code=code)


async def _refresher(settings: Settings) -> None:
    from byokeep.accounts.tasks import run as run_refresher  # noqa: PLC0415 - see the top

    async with wiring.refresher_app(settings) as app, _own_token(app, settings):
        await run_refresher(app)


@asynccontextmanager
async def _own_token(app: App, settings: Settings) -> AsyncIterator[None]:
    """Keep this process's machine token alive; of the embedded stack the supervisor does."""
    from byokeep.worker.own_token import keep  # noqa: PLC0415 - see the top

    if settings.embedded_database:
        yield
        return
    keeping = asyncio.create_task(keep(app, wiring.custodian_settings(settings)))
    try:
        yield
    finally:
        keeping.cancel()


async def _listen(
    api: Any, listen: str, socket: Path | None = None, *, beside: asyncio.Task[None] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT. If the server, or what runs beside it, ends before that, it has failed.

    Raises:
        Unavailable: ``server_stopped``; or what ended it.
    """
    from granian.constants import Interfaces  # noqa: PLC0415 - see the top
    from granian.http import HTTP1Settings  # noqa: PLC0415 - see the top
    from granian.server.embed import Server  # noqa: PLC0415 - see the top

    host, _, port = listen.rpartition(":")
    if socket is not None:
        await asyncio.to_thread(socket.unlink, missing_ok=True)  # left by a killed process
    server = Server(
        api, address=host.strip("[]"), port=int(port or 0), uds=socket, interface=Interfaces.ASGI,
        log_enabled=False, websockets=False, backlog=1024,
        # It counts connections, even idle ones: at the default, runners that keep theirs open would lock out a kill.
        backpressure=4096, http1_settings=HTTP1Settings(header_read_timeout=_HEADERS_MS),
    )  # fmt: skip
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    ended, _ = await asyncio.wait({serving, stopping, beside or serving}, return_when=asyncio.FIRST_COMPLETED)
    told = stop.is_set()
    if told:
        server.stop()  # type: ignore[no-untyped-call]
        await asyncio.wait({serving}, timeout=_DRAIN_S)
    stopping.cancel()
    serving.cancel()
    if not told:
        ended.pop().result()
        raise Unavailable("server_stopped", next_step="Read its log, and start it again.")
