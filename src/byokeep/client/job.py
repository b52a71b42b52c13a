"""Open a job or attach to one, and what a runner does in it: read secrets, identify accounts, cause effects.

async with Keep.from_settings() as keep:
    async with keep.job(client=cid, secrets=["openai"], platforms=["x"], effects=["publish"]) as job:
        key = await job.secret("openai")
        async with job.effect("publish", platform="x", account="acme", key="post-0001"):
            ...

Rules
- An effect without a permit cannot be written: the act is inside ``async with job.effect(...)``.
- A permit is closed *done* when the block ends, and *failed* only if the block raises :class:`NotDone`. Any other
  exception leaves it open, and the broker calls it *unknown*: a person looks before it is repeated.
- A batch stops at its first failure and says what is known of every item (R1.5-5).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar
from uuid import UUID

from byokeep.client.calls import ToldCall
from byokeep.client.http import Broker, now
from byokeep.client.lease import HeldLease
from byokeep.client.provider_calls import Sender, ToldTransport, aiohttp_trace
from byokeep.client.settings import ClientSettings, from_environment, read_token
from byokeep.client.webhooks import JobWebhooks
from byokeep.core.act_key import check_key
from byokeep.core.errors import ByokeepError, Conflict, Denied, Rejected, Unavailable, refusing
from byokeep.core.ref import parse_client_id
from byokeep.core.secret import Secret
from byokeep.core.usage import CallResult, check_tool, result_of

if TYPE_CHECKING:
    import aiohttp
    from playwright.async_api import BrowserContext

T = TypeVar("T")
Status = Literal["done", "blocked", "unknown"]
_HELD_KEY: Final = frozenset({"in_progress", "outcome_unknown"})
_BROWSER: Final = "Install the browser parts, from a checkout: pip install '/path/to/byokeep[browser]'."


class NotDone(Exception):
    """Raise it inside ``job.effect`` if the act certainly did not happen; it frees the key.

    Args:
        reason: A short code of your own; it is not sent anywhere.
    """

    def __init__(self, reason: str = "not_done") -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Permit:
    """Permission for one act.

    Attributes:
        id: For your own records.
        use_by: Begin the act before this moment, as of :data:`byokeep.client.lease.now`.
    """

    id: UUID
    use_by: float
    _stands: Callable[[], bool] = field(default=lambda: True, repr=False)

    @property
    def live(self) -> bool:
        """Whether the act may still begin: in time, with a lease that holds and no kill switch engaged since."""
        return now() < self.use_by and self._stands()


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What is known about one item of a batch.

    Attributes:
        status: ``done``; ``blocked`` = certainly not done; ``unknown`` = look before you repeat it.
        reason: A code; empty if done.
    """

    status: Status
    reason: str = ""


class Job:
    """A job under way. Made by :meth:`byokeep.client.Keep.job` and :meth:`~byokeep.client.Keep.attach`."""

    def __init__(self, job_id: UUID, client_id: UUID, broker: Broker, token: Secret, lease: HeldLease) -> None:
        self.id = job_id
        self.client_id = client_id
        self.lease = lease
        self._broker, self._token = broker, token
        self._browsing = False

    def __repr__(self) -> str:
        return f"Job(id={self.id}, client={self.client_id})"

    async def secret(self, provider: str, *, fresh: bool = False) -> Secret:
        """Return a declared secret. Repeating this within the lease's life costs no call.

        The object is wiped when the lease ends; fetch it again for each use instead of keeping it.

        Args:
            provider: ``openai``; or ``x/acme``, the access token of the connected account ``acme`` of the declared
                platform ``x``.
            fresh: The platform said that the token has expired: wait for its renewal and return the newer one.

        Raises:
            Denied: ``not_declared``, ``missing_credential``, ``credential_not_usable``, ``switch_closed``, ...
            Unavailable: It could not be read; no older value is returned. People are told.
        """
        try:
            return await (self.lease.fresh(provider) if fresh else self.lease.secret(provider))
        except ByokeepError as error:
            await self._tell(error.code)
            raise

    def called(
        self, secret: str, tool: str, outcome: CallResult | str | int, *, args: bytes | str | None = None
    ) -> None:
        """Record a call that was made with a secret: people see it as the secret's use, and failures as its gaps.

        It is reported in the background; nothing waits for it.

        Args:
            secret: As it was declared, such as ``openai`` or ``x/acme``.
            tool: What was called, as a constant of your program such as ``responses.create``.
            outcome: The reply's HTTP status; or ``ok``, ``denied``, ``limited``, ``failed``, ``unknown``.
            args: The arguments; only their digest is reported, which shows which calls were the same.

        Raises:
            Rejected: ``bad_tool``, ``secret_like_content``, ``bad_outcome``.
        """
        check_tool(tool)
        with refusing("bad_outcome", Rejected, next_step="Give a status, or one of " + ", ".join(CallResult)):
            result = result_of(outcome) if isinstance(outcome, int) else CallResult(outcome)
        said = args.encode() if isinstance(args, str) else args
        self._broker.calls.note(self.lease.id, self._token, ToldCall(secret.partition("/")[0], tool, result, said))

    def traced(self, secret: str) -> aiohttp.TraceConfig:
        """Return what records the calls that an ``aiohttp.ClientSession`` makes with a secret, as :meth:`called` does.

        Example: ``aiohttp.ClientSession(trace_configs=[job.traced("openai")])``

        Args:
            secret: As it was declared.
        """
        return aiohttp_trace(lambda tool, outcome: self.called(secret, tool, outcome))

    def transport(self, secret: str, inner: Sender) -> ToldTransport:
        """Do as :meth:`traced` does for httpx, which the providers' own packages use.

        Example: ``httpx.AsyncClient(transport=job.transport("openai", httpx.AsyncHTTPTransport()))``

        Args:
            secret: As it was declared.
            inner: The transport that sends.
        """
        return ToldTransport(inner, lambda tool, outcome: self.called(secret, tool, outcome))

    async def webhook(self, sender: str) -> JobWebhooks:
        """Return what verifies a sender's deliveries to this client, with the secret stored for it.

        Args:
            sender: A declared provider that signs webhooks. Keep the object: its memory is what stops replays.

        Raises:
            Rejected: ``unknown_webhook_sender``.
            Unauthenticated: ``webhook_no_key``: no secret is stored. Nothing ever passes without one.
            Denied, Unavailable: As :meth:`secret`.
        """
        found = JobWebhooks(sender, self.lease.signing)
        await found.secrets()
        return found

    async def identify(
        self, platform: str, account: str, seen: Mapping[str, Any] | Iterable[Any] | None, *, lane: str = "api"
    ) -> str:
        """Report what the platform says about the account; the broker compares it with the registered account.

        Args:
            platform: As registered.
            account: As registered.
            seen: ``{"id":, "username":, "display_name":}``; a list of accounts; or ``None`` = nothing usable.
                Anything but exactly one complete account counts as unknown.
            lane: ``browser``: seen on the website, where a name that is not shown may be missing.

        Returns:
            ``match``, ``mismatch`` or ``unknown``; the gate lets effects pass only after a match.
        """
        lease_id = await self.lease.renewed()
        body: dict[str, Any] = {"lease_id": lease_id, **_one_account(seen)}
        body |= {"lane": lane} if lane != "api" else {}
        path = f"/v1/accounts/{self.client_id}/{_plain(platform)}/{_plain(account)}/identity"
        reply = await self._broker.persist(lambda: self._broker.call("POST", path, self._token, body))
        return str(reply.get("identity", "unknown"))

    @asynccontextmanager
    async def browser(self, name: str) -> AsyncIterator[BrowserContext]:
        """Yield a browser that is logged in as an account: its sealed profile, opened in memory (extra ``browser``).

        The job declares the secret ``profile``, the lane ``browser`` and the account's platform. You get the context
        after the account was seen in it and the broker agreed, so that ``job.effect(..., lane="browser")`` passes for
        ten minutes. When the block ends, the session is sealed again if it changed; then the job can no longer act. Do
        not close the context inside the block. It cannot be recorded: no traces, no HAR, no storage state.

        Example: ``async with job.browser("tiktok/acme") as context: page = context.pages[0]``

        Args:
            name: ``platform/account``, as they were registered.

        Raises:
            Denied: ``not_declared``, ``profile_not_usable``, ``identity_mismatch``, ``identity_unproven``,
                ``identity_drift``, ``switch_closed``, ...; also midway through the block, with the browser closed.
            Conflict: ``profile_in_use``, with ``since``; ``browser_open``: this job already has one open.
            Unavailable: ``browser_extra_missing``, ``chromium_missing``, ...; ``profile_not_sealed`` after the block:
                the acts are done, and the changes to the session are lost.
        """
        if self._browsing:
            raise Conflict("browser_open", next_step="Close it first: a job has one browser at a time.")
        with refusing("browser_extra_missing", Unavailable, on=ModuleNotFoundError, next_step=_BROWSER):
            from byokeep.client.browser import opened  # noqa: PLC0415 - an extra that few runners have
        self._browsing = True
        try:
            async with opened(self, self._broker, self._token, name) as context:
                yield context
        except ByokeepError as error:
            await self._tell(error.code)
            raise
        finally:
            self._browsing = False

    @asynccontextmanager
    async def effect(
        self, effect: str, *, platform: str, account: str, key: str, lane: str = "api"
    ) -> AsyncIterator[Permit]:
        """Ask for a permit, let the block act, and report how it ended.

        Args:
            effect: ``publish``, ``comment``, ...
            platform: Where to act.
            account: The account to act as.
            key: Your idempotency key, 8 to 64 letters, digits and ``. _ : -``. The same act has the same key, even
                after a crash.
            lane: ``api`` or ``browser``.

        Raises:
            Rejected: ``bad_key``; nobody was asked.
            Denied: The gate's reason; the block is not entered.
            Conflict: ``already_done``, ``in_progress``, ``outcome_unknown``; the block is not entered.
            Unavailable: The gate could not be asked; the block is not entered. Or, after the block:
                ``outcome_not_recorded``: the act happened, but that could not be recorded.
        """
        permit = await self._ask(effect, platform, account, key, lane)
        try:
            yield permit
        except NotDone:
            await self._say(permit, "failed")
            raise
        await self._say(permit, "done")

    async def batch(
        self,
        items: Mapping[str, T],
        act: Callable[[T], Awaitable[object]],
        *,
        effect: str,
        platform: str,
        account: str,
        lane: str = "api",
        secrets: Iterable[str] = (),
    ) -> dict[str, ItemResult]:
        """Do many acts one after the other and stop at the first failure.

        Each item passes the gate by itself. If you run it again with the same keys, what is done is not repeated.

        Args:
            items: Idempotency key -> item, in order.
            act: Does one item; raises :class:`NotDone` if it certainly did not happen.
            effect, platform, account, lane: As for :meth:`effect`.
            secrets: Declared secrets that must be available before an item is begun.

        Returns:
            A result for every key.
        """
        results: dict[str, ItemResult] = {}
        stop = ""
        for key, item in items.items():
            if stop:
                results[key] = ItemResult("blocked", stop)
                continue
            result = await self._item(key, item, act, effect, platform, account, lane, tuple(secrets))
            results[key] = result
            stop = "" if result.status == "done" else f"after_{result.reason}"
        return results

    async def _item(
        self, key: str, item: T, act: Callable[[T], Awaitable[object]], effect: str, platform: str, account: str,
        lane: str, secrets: tuple[str, ...],
    ) -> ItemResult:  # fmt: skip
        try:
            for provider in secrets:
                await self.secret(provider)
            permit = await self._ask(effect, platform, account, key, lane)
        except Conflict as error:
            if error.code == "already_done":
                return ItemResult("done")
            return ItemResult("unknown" if error.code in _HELD_KEY else "blocked", error.code)
        except ByokeepError as error:
            return ItemResult("blocked", error.code)
        try:
            await act(item)
        except NotDone as said:
            await self._say(permit, "failed")
            return ItemResult("blocked", said.reason)
        except Exception:  # whatever an act raises, nobody knows how far it got
            return ItemResult("unknown", "act_failed")
        try:
            await self._say(permit, "done")
        except ByokeepError as error:
            return ItemResult("unknown", error.code)
        return ItemResult("done")

    async def _ask(self, effect: str, platform: str, account: str, key: str, lane: str) -> Permit:
        check_key(key)
        body = {
            "version": 1, "effect": effect, "platform": platform, "account": account, "lane": lane,
            "idempotency_key": key,
        }  # fmt: skip
        asked_at = now()

        async def ask() -> dict[str, Any]:
            nonlocal asked_at
            lease_id, asked_at = await self.lease.held(), now()
            return await self._broker.call("POST", f"/v1/leases/{lease_id}/permits", self._token, body)

        try:
            reply = await self._broker.persist(ask)
        except Unavailable as error:
            await self._tell(error.code)
            raise
        with refusing("broker_garbage", Unavailable):
            stands = self._stands(platform, lane, asked_at)
            permit = Permit(UUID(reply["permit_id"]), asked_at + float(reply["ttl_s"]), stands)
        if not permit.live:  # it lapsed, or a kill was heard while the answer was on its way
            await self._say(permit, "failed")
            raise Unavailable("lease_lapsed")
        return permit

    def _stands(self, platform: str, lane: str, since: float) -> Callable[[], bool]:
        own = f"client:{self.client_id}"
        scopes = frozenset({f"lane:{lane}", f"{own}:platform:{platform}", f"{own}:lane:{lane}"})
        return lambda: self.lease.holds and self._broker.view.allows(scopes, since)

    async def _tell(self, code: str) -> None:
        """Let people know that this job is blocked, if the broker can be reached; whoever is refused does not wait."""
        with suppress(ByokeepError, TimeoutError):
            async with asyncio.timeout(self._broker.settings.timeout_s):
                await self._broker.call("POST", f"/v1/jobs/{self.id}/blocked", self._token, {"reason": code})

    async def _say(self, permit: Permit, outcome: str) -> None:
        path, body = f"/v1/permits/{permit.id}/close", {"outcome": outcome}
        try:
            await asyncio.shield(self._broker.persist(lambda: self._broker.call("POST", path, self._token, body)))
        except ByokeepError:
            if outcome == "done":
                raise Unavailable(
                    "outcome_not_recorded", next_step="The act happened. Do not repeat it.", permit=permit.id
                ) from None
            # A failure that could not be reported ends as unknown at the broker, which is safe.


def _one_account(seen: Mapping[str, Any] | Iterable[Any] | None) -> dict[str, str | None]:
    if seen is not None and not isinstance(seen, Mapping):
        accounts = list(seen)
        seen = accounts[0] if len(accounts) == 1 and isinstance(accounts[0], Mapping) else None
    found = {name: None if seen is None else seen.get(name) for name in ("id", "username", "display_name")}
    return {name: text if isinstance(text, str) and len(text) <= 256 else None for name, text in found.items()}


def _plain(part: str) -> str:
    if not part or len(part) > 64 or not all(c.isascii() and (c.isalnum() or c in "_.-") for c in part) or ".." in part:
        raise Rejected("bad_account", next_step="Give the platform and account as they were registered.")
    return part


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
        self._entered = False
        self._closing: set[asyncio.Task[dict[str, Any]]] = set()

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
        if self._settings.dispatcher_token_file is None or os.access(self._settings.runner_token_file, os.F_OK):
            self._runner = read_token(self._settings.runner_token_file)  # a host that only dispatches has none
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await asyncio.gather(*self._closing, return_exceptions=True)
        finally:
            try:
                await self._broker.close()
            finally:
                self._entered = False
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
            client: The tenant's id.
            secrets: Providers whose secret may be read. Anything not declared is refused.
            platforms, effects: Where the job may act, and what it may do.
            lanes: How it may act; default ``api`` if effects are declared.
            runner_id: Who does it; default: the identity of the runner's token.
            ttl_s: Maximum life in seconds.

        Raises:
            Denied: Not permitted, switch closed, credential not usable.
            Rejected: ``token_file_too_open``, ``token_file_unreadable``.
            Unavailable: The broker cannot be reached.
        """
        body: dict[str, Any] = {
            "client_id": _tenant(client), "runner_id": str(runner_id or await self._whoami()), "kind": "use",
            "secrets": list(secrets), "platforms": list(platforms), "effects": list(effects),
            "lanes": list(lanes) or (["api"] if effects else []), "ttl_s": ttl_s,
        }  # fmt: skip
        async with self._opened("/v1/jobs", body) as job:
            yield job

    @asynccontextmanager
    async def dry_run(self, *, client: UUID | str, template: str, rotation: UUID | str) -> AsyncIterator[Job]:
        """Open a dry run of a rotation's new key as the dispatcher, do it as the runner, close it.

        The job gets the new version of the key, and no permit: :meth:`Job.effect` is refused with ``dry_run``. It
        passes if it reported its calls (:meth:`Job.called`, :meth:`Job.traced`) and all of them succeeded.

        Args:
            client: The tenant.
            template: Which of the client's registered jobs; this runner must be its runner.
            rotation: The rotation of the key.

        Raises:
            Conflict: ``not_verified``, ``not_to_rehearse``, ``too_many_dry_runs``.
            Denied, NotFound, Rejected, Unavailable: As :meth:`job`; ``template_without_key``.
        """
        body = {"client_id": _tenant(client), "template": template, "rotation": str(rotation)}
        async with self._opened("/v1/jobs/dry-runs", body) as job:
            yield job

    @asynccontextmanager
    async def _opened(self, path: str, body: dict[str, Any]) -> AsyncIterator[Job]:
        job_id = _id(await dispatched(self._broker, "POST", path, body))
        try:
            async with self.attach(job_id) as job:
                yield job
        finally:
            # If it cannot be closed now, it closes when its hour is over. anyio cancels again at each await, so it is
            # waited for once more before the connections go.
            closing = asyncio.ensure_future(dispatched(self._broker, "POST", f"/v1/jobs/{job_id}/close"))
            self._closing.add(closing)
            closing.add_done_callback(self._closed)
            with suppress(ByokeepError):
                await asyncio.shield(closing)

    def _closed(self, closing: asyncio.Task[dict[str, Any]]) -> None:
        self._closing.discard(closing)
        if not closing.cancelled():
            closing.exception()  # it is looked at

    async def schedule(
        self, *, client: UUID | str, effect: str, platform: str, account: str, key: str, due_at: datetime,
        lane: str = "api",
    ) -> UUID:  # fmt: skip
        """Announce, as the dispatcher, an act to be done later; returns the announcement's id.

        The act itself is done as usual: a job asks for it with :meth:`byokeep.client.job.Job.effect` and the same key.
        Until then the announcement is held while the platform, lane or client is closed, and people see what came too
        late.

        Args:
            client, effect, platform, account, lane: What the act will be.
            key: Its idempotency key. Announcing the same act again with it changes nothing.
            due_at: When, with a time zone.

        Raises:
            Rejected: ``bad_key``, ``bad_due_at``, ``bad_effect``, ``unknown_account``; as :meth:`job`.
            Conflict: ``idempotency_key_reused``, ``client_not_active``.
            Denied: Not permitted.
        """
        check_key(key)
        body = {
            "client_id": _tenant(client), "platform": platform, "account": account, "lane": lane, "effect": effect,
            "idempotency_key": key, "due_at": due_at.isoformat(),
        }  # fmt: skip
        return _id(await self._broker.persist(lambda: dispatched(self._broker, "POST", "/v1/effects/scheduled", body)))

    @asynccontextmanager
    async def attach(self, job_id: UUID | str) -> AsyncIterator[Job]:
        """Do a job that somebody else opened for this runner. The job stays open afterwards; the lease does not.

        Raises:
            NotFound: No such job for this runner.
            Denied: It may not be done now.
            Unavailable: The broker cannot be reached.
        """
        runner = self._as_runner()
        found = await self._broker.persist(self._call("GET", f"/v1/jobs/{UUID(str(job_id))}"))
        # Custody outlives a kill: a renewal that is cut off midway would lose a one-time token.
        stopped_by = None if found.get("kind") == "custody" else _id(found, "client_id")
        lease = HeldLease(self._broker, runner, _id(found), stopped_by)
        try:
            await lease.open()
            yield Job(_id(found), _id(found, "client_id"), self._broker, runner, lease)
        finally:
            await lease.close()

    async def _whoami(self) -> str:
        if not self._runner_id:
            self._runner_id = str(_id(await self._broker.persist(self._call("GET", "/v1/self"))))
        return self._runner_id

    def _call(self, method: str, path: str) -> Any:
        token = self._as_runner()
        return lambda: self._broker.call(method, path, token)

    def _as_runner(self) -> Secret:
        if not self._entered:
            raise Unavailable("keep_not_open", next_step="Use `async with Keep.from_settings() as keep`.")
        if self._runner is None:
            self._runner = read_token(self._settings.runner_token_file)
        return self._runner


async def dispatched(
    broker: Broker, method: str, path: str, body: Mapping[str, Any] | None = None
) -> dict[str, Any]:  # fmt: skip
    """Make a call as the dispatcher. Raises Denied(``no_dispatcher_token``), and as :meth:`Broker.call`."""
    if (file := broker.settings.dispatcher_token_file) is None:
        raise Denied("no_dispatcher_token", next_step="Name the file of a dispatcher's token: `dispatcher_token_file`.")
    with read_token(file) as token:
        return await broker.call(method, path, token, body)


def _tenant(client: UUID | str) -> str:
    return str(parse_client_id(str(client)))


def _id(reply: dict[str, Any], name: str = "id") -> UUID:
    with refusing("broker_garbage", Unavailable):
        return UUID(reply[name])
