"""The door of the SDK: open a job or attach to one.

async with Keep.from_settings() as keep:
    async with keep.job(client=cid, secrets=["openai"], platforms=["x"], effects=["publish"]) as job:
        key = await job.secret("openai")
        async with job.effect("publish", platform="x", account="acme", key="post-0001"):
            ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from byokeep.client.http import Broker
from byokeep.client.job import Job
from byokeep.client.lease import HeldLease
from byokeep.client.settings import ClientSettings, from_environment, read_token
from byokeep.core.act_key import check_key
from byokeep.core.errors import ByokeepError, Denied, Unavailable
from byokeep.core.secret import Secret


class Keep:
    """Connections and tokens of one process.

    Args:
        settings: Where the broker is and which files hold the tokens.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._broker = Broker(settings)
        self._runner: Secret | None = None
        self._runner_id = ""

    @classmethod
    def from_settings(cls) -> Self:
        """Read the settings of this process: ``BYOKEEP_*``, or the local stack.

        Raises:
            Unavailable: ``no_broker``.
            Rejected: A setting is wrong.
        """
        return cls(from_environment())

    def __repr__(self) -> str:
        return "Keep()"

    async def __aenter__(self) -> Self:
        self._runner = read_token(self._settings.runner_token_file)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._broker.close()
        if self._runner is not None:
            self._runner.wipe()
            self._runner = None

    @asynccontextmanager
    async def job(
        self,
        *,
        client: UUID | str,
        secrets: Sequence[str] = (),
        platforms: Sequence[str] = (),
        effects: Sequence[str] = (),
        lanes: Sequence[str] = (),
        runner_id: UUID | str | None = None,
        ttl_s: int | None = None,
    ) -> AsyncIterator[Job]:
        """Open a job as the dispatcher, do it as the runner, close it.

        Args:
            client: The tenant.
            secrets: Providers whose secret may be read. What is not declared is refused.
            platforms, effects: Where and what the job may act.
            lanes: How; with effects declared and none named, ``api``.
            runner_id: Who does it; default the identity of the runner's token.
            ttl_s: Life in seconds at the longest.

        Raises:
            Denied: Not permitted, switch closed, credential not usable.
            Rejected: ``token_file_too_open``, ``token_file_unreadable``.
            Unavailable: The broker can not be reached.
        """
        if self._settings.dispatcher_token_file is None:
            raise Denied("no_dispatcher_token", next_step="Name a dispatcher's token file, or attach to a job.")
        dispatcher = read_token(self._settings.dispatcher_token_file)
        try:
            body: dict[str, Any] = {
                "client_id": str(client), "runner_id": str(runner_id or await self._whoami()), "kind": "use",
                "secrets": list(secrets), "platforms": list(platforms), "effects": list(effects),
                "lanes": list(lanes) or (["api"] if effects else []), "ttl_s": ttl_s,
            }  # fmt: skip
            reply = await self._broker.call("POST", "/v1/jobs", dispatcher, body)
            job_id = _id(reply)
            try:
                async with self.attach(job_id) as job:
                    yield job
            finally:
                # If it can not be closed now, its hour closes it.
                with suppress(ByokeepError):
                    await self._broker.call("POST", f"/v1/jobs/{job_id}/close", dispatcher)
        finally:
            dispatcher.wipe()

    async def schedule(
        self, *, client: UUID | str, effect: str, platform: str, account: str, key: str, due_at: datetime,
        lane: str = "api",
    ) -> UUID:  # fmt: skip
        """Announce, as the dispatcher, an act that is to be done later; returns the announcement's id.

        The act itself is done as ever: a job asks for it with :meth:`byokeep.client.job.Job.effect` under the same key.
        Until then the announcement is held while the platform, lane or client is closed, and people see what came too
        late.

        Args:
            client, effect, platform, account, lane: What the act will be.
            key: Its idempotency key. Announcing the same again under it changes nothing.
            due_at: When, with a time zone.

        Raises:
            Rejected: ``bad_key``, ``bad_due_at``, ``bad_effect``, ``unknown_account``; as :meth:`job`.
            Conflict: ``idempotency_key_reused``, ``client_not_active``.
            Denied: Not permitted.
        """
        check_key(key)
        if self._settings.dispatcher_token_file is None:
            raise Denied("no_dispatcher_token", next_step="Name a dispatcher's token file.")
        body = {
            "client_id": str(client), "platform": platform, "account": account, "lane": lane, "effect": effect,
            "idempotency_key": key, "due_at": due_at.isoformat(),
        }  # fmt: skip
        dispatcher = read_token(self._settings.dispatcher_token_file)
        try:
            return _id(
                await self._broker.persist(lambda: self._broker.call("POST", "/v1/effects/scheduled", dispatcher, body))
            )
        finally:
            dispatcher.wipe()

    @asynccontextmanager
    async def attach(self, job_id: UUID | str) -> AsyncIterator[Job]:
        """Do a job that somebody else opened for this runner. The job stays open afterwards; the lease does not.

        Raises:
            NotFound: No such job for this runner.
            Denied: It may not be done now.
            Unavailable: The broker can not be reached.
        """
        if self._runner is None:
            raise Unavailable("keep_not_open", next_step="Use `async with Keep.from_settings() as keep`.")
        found = await self._broker.persist(self._call("GET", f"/v1/jobs/{UUID(str(job_id))}"))
        lease = HeldLease(self._broker, self._runner, _id(found))
        try:
            await lease.open()
            yield Job(_id(found), _id(found, "client_id"), self._broker, self._runner, lease)
        finally:
            await lease.close()

    async def _whoami(self) -> str:
        if not self._runner_id:
            self._runner_id = str(_id(await self._broker.persist(self._call("GET", "/v1/self"))))
        return self._runner_id

    def _call(self, method: str, path: str) -> Any:
        if self._runner is None:
            raise Unavailable("keep_not_open", next_step="Use `async with Keep.from_settings() as keep`.")
        token = self._runner
        return lambda: self._broker.call(method, path, token)


def _id(reply: dict[str, Any], name: str = "id") -> UUID:
    try:
        return UUID(reply[name])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Unavailable("broker_garbage") from None
