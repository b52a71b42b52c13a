"""The queue as a worker knows it: every task, none of which does anything."""

from __future__ import annotations

from types import SimpleNamespace

from procrastinate import App

from byokeep.adapters.postgres.database import build_app
from byokeep.adapters.system import SystemClock
from byokeep.operations import tasks as operations
from byokeep.profiles import kek_tasks
from byokeep.profiles import tasks as profile_tasks
from byokeep.worker import tasks


def known(url: str) -> App:
    """Return the queue of a worker, not yet opened."""
    queue, app = build_app(url), SimpleNamespace(clock=SystemClock())
    for rooms in (tasks, kek_tasks, profile_tasks):
        rooms.register(queue, app)  # type: ignore[attr-defined]
    operations.register(queue, app, profiles=True)  # type: ignore[arg-type]
    return queue


def rounds_of(queue: App) -> set[str]:
    """Return the names of the tasks that come by the clock."""
    return {name for name, _ in queue.periodic_registry.periodic_tasks}
