"""``byokeep job schedule`` and what people do with what was announced."""

from __future__ import annotations

import asyncio
from datetime import datetime
from uuid import UUID

from byokeep.cli.api import call, run, tell
from byokeep.cli.choices import Effect, Lane, Platform
from byokeep.cli.job import app, client_settings
from byokeep.client import Keep
from byokeep.core.errors import Rejected

_COLUMNS = ("id", "state", "due_at", "platform", "account", "lane", "effect", "changed_at")


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Rejected("bad_due_at", next_step="Write the time with its zone, like 2026-03-01T09:00:00Z.")
    return found


def schedule(
    *, client: UUID, effect: Effect, platform: Platform, account: str, key: str, at: str, lane: Lane = "api"
) -> None:
    """Announce something that a job will do later, as the dispatcher.

    Nothing is done by it. While the platform, the lane or the client is closed it is held; when its time passes
    meanwhile it is missed, and a person puts it back or cancels it. The job that does it asks under the same key.

    Example: byokeep job schedule --client $CLIENT --effect publish --platform x --account acme --key p-0001 --at $TIME

    Args:
        client: Whose act.
        effect: What it will be.
        platform: Where.
        account: As which account.
        key: The idempotency key that the job will use.
        at: When, with a time zone, such as 2026-03-01T09:00:00Z.
        lane: How, api or browser.
    """
    due_at = _time(at)

    async def announce() -> UUID:
        async with Keep(client_settings()) as keep:
            return await keep.schedule(
                client=client, effect=effect, platform=platform, account=account, key=key, due_at=due_at, lane=lane
            )

    made = asyncio.run(announce())
    tell({"id": str(made), "state": "scheduled", "due_at": due_at.isoformat()}, title="Announced")


def scheduled(client: UUID) -> None:
    """List what a client has announced: what is to come or was missed first, then what is over.

    Example: byokeep job scheduled $CLIENT
    """
    tell(run(call("GET", f"/v1/clients/{client}/effects/scheduled"))["effects"], title="Announced", columns=_COLUMNS)


def requeue(client: UUID, effect: UUID, *, at: str) -> None:
    """Put something back that was missed or is held, with a new time.

    Example: byokeep job requeue $CLIENT $EFFECT --at $TIME

    Args:
        client: Whose act.
        effect: Id, as `byokeep job scheduled` lists it.
        at: When, with a time zone, such as 2026-03-01T09:00:00Z.
    """
    path = f"/v1/clients/{client}/effects/scheduled/{effect}/requeue"
    tell(run(call("POST", path, body={"due_at": _time(at).isoformat()})), title="Announced")


def cancel(client: UUID, effect: UUID) -> None:
    """Call something announced off; the gate denies its key from then on.

    Example: byokeep job cancel $CLIENT $EFFECT
    """
    tell(run(call("POST", f"/v1/clients/{client}/effects/scheduled/{effect}/cancel")), title="Announced")


for _command in (schedule, scheduled, requeue, cancel):
    app.command(_command)
