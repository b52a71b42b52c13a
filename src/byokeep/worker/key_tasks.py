"""The queue's tasks about the keys that guard profiles: what people asked for, and rounds by the clock.

Rules
- As in :mod:`byokeep.worker.tasks`: a task names a flow, its arguments are ids and codes, and only Unavailable is tried
  again.
- What a worker does because a person asked is on record with that person as its actor.
- A rotation goes on until nothing is left: a round every minute hands on what a dead worker left.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from procrastinate import App as Queue
from procrastinate import RetryStrategy

from byokeep.core.errors import ByokeepError, Unavailable
from byokeep.core.model import Actor, ClientId, Role
from byokeep.profiles import kek_tasks
from byokeep.profiles.kek import CHECK_TASK, END_TASK, ROTATE_TASK
from byokeep.profiles.kek_store import KekApp
from byokeep.profiles.vault_check import check_vault
from byokeep.telemetry.log import get_log
from byokeep.telemetry.spans import span

_TRIES: Final = 5
_EVERY_MINUTE: Final = "* * * * *"


def asked(app: KekApp, asked_by: str, request_id: str = "") -> Actor:
    """Return the person that asked, with no more rights here than the worker's own."""
    return Actor(
        id=UUID(asked_by), roles=frozenset({Role.SYSTEM}), clients=None,
        request_id=UUID(request_id) if request_id else app.ids.uuid(),
    )  # fmt: skip


def register(queue: Queue, app: KekApp) -> None:
    """Make the tasks known to a queue that is not yet opened."""
    retry = RetryStrategy(max_attempts=_TRIES - 1, exponential_wait=2, retry_exceptions={Unavailable})

    @queue.task(name=ROTATE_TASK, retry=retry)
    async def rotate(*, client_id: str, asked_by: str, request_id: str, expected: str, reason: str) -> None:
        client, actor = ClientId(UUID(client_id)), asked(app, asked_by, request_id)
        with span("kek_rotate"):
            try:
                made = await kek_tasks.rotate(app, actor, client, expected=int(expected), reason=reason)
            except Unavailable:
                raise
            except ByokeepError as error:
                await kek_tasks.told(app, actor, client, error)
                return
        get_log().info("kek_rotated", tenant=client, outcome="rotated" if made else "made")

    @queue.task(name=kek_tasks.TASK, retry=retry)
    async def rewrap(*, rotation_id: str, client_id: str, asked_by: str) -> None:
        client = ClientId(UUID(client_id))
        with span("kek_rewrap"):
            batch = await kek_tasks.rewrap(app, asked(app, asked_by), UUID(rotation_id), client)
        get_log().info("kek_rewrapped", tenant=client, count=batch.moved)

    @queue.task(name=CHECK_TASK, retry=retry)
    async def check(*, client_id: str, asked_by: str, request_id: str) -> None:
        client, actor = ClientId(UUID(client_id)), asked(app, asked_by, request_id)
        with span("kek_check"):
            strays = await check_vault(app, actor, client)
            found = await kek_tasks.check(app, actor, client)
        get_log().info("kek_checked", tenant=client, count=len(found) + len(strays))

    @queue.task(name=END_TASK, retry=retry)
    async def end(
        *, client_id: str, asked_by: str, request_id: str, kek_id: str, holder: str, version: str, reason: str
    ) -> None:
        client, actor = ClientId(UUID(client_id)), asked(app, asked_by, request_id)
        with span("kek_end"):
            try:
                ended = await kek_tasks.end_versions(
                    app, actor, client, kek_id=kek_id, holder=holder, version=int(version), reason=reason
                )
            except Unavailable:
                raise
            except ByokeepError as error:
                await kek_tasks.told(app, actor, client, error)
                return
        get_log().info("kek_ended", tenant=client, count=ended)

    _rounds(queue, app)


def _rounds(queue: Queue, app: KekApp) -> None:
    @queue.periodic(cron=_EVERY_MINUTE)
    @queue.task(name="kek_care", queueing_lock="kek_care", lock="kek_care")
    async def care(timestamp: int) -> None:
        with span("kek_care", epoch=timestamp):
            done = await kek_tasks.care(app)
        if done:
            get_log().info("keks_cared_for", count=done)
